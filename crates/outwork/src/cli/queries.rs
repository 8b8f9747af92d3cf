//! The arguments of `outwork queries`.

use clap::Subcommand;

/// `outwork queries`.
#[derive(Debug, Subcommand)]
pub(crate) enum QueriesCommand {
    /// Shows the databases that routes query, their connections, and what is kept of their answers
    #[command(after_help = "\
Examples:
  outwork queries stats
  outwork queries stats --json | jq '.databases[] | select(.waiting > 0)'")]
    Stats,
    /// Forgets what is kept of tables that were changed past this server
    #[command(after_help = "\
Examples:
  outwork queries invalidate users roles
  outwork queries invalidate users --database main
  outwork queries invalidate --all")]
    Invalidate {
        /// The tables that were changed.
        #[arg(required_unless_present = "all", value_name = "TABLE")]
        tables: Vec<String>,
        /// The database that they are in, by its name in the configuration; unset, any.
        #[arg(long, value_name = "NAME")]
        database: Option<String>,
        /// All tables.
        #[arg(long, conflicts_with = "tables")]
        all: bool,
    },
}
