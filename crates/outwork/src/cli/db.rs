//! The arguments of `outwork db`.

use clap::Subcommand;

/// `outwork db`.
#[derive(Debug, Subcommand)]
pub(crate) enum DbCommand {
    /// Checks the databases, brings their statistics up to date, and gives room back that they do not need
    ///
    /// The server may be running: its work goes on in between. Exits with 1 if a database is damaged, which is left as it is then.
    #[command(after_help = "\
Examples:
  outwork db maintain
  outwork db maintain --check          changes nothing
  outwork db maintain --json | jq '.[] | select(.faults != [])'")]
    Maintain {
        /// Looks, and changes nothing.
        #[arg(long)]
        check: bool,
    },
}
