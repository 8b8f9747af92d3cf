//! The arguments of `outwork store`.

use clap::Subcommand;

/// `outwork store`.
#[derive(Debug, Subcommand)]
pub(crate) enum StoreCommand {
    /// Reads all of the leases' log, and lists what is damaged
    ///
    /// Changes nothing. Exits with 1 if any of it cannot be read. The server must not be running.
    #[command(after_help = "\
Examples:
  outwork store check
  outwork store check --config /etc/outwork/outwork.toml --json")]
    Check,
    /// Keeps every record of a damaged log that is still valid
    ///
    /// Without --yes it says what it would give up, and changes nothing. The original files are kept beside the repaired ones,
    /// in a directory of their own. The server must not be running.
    #[command(after_help = "\
Examples:
  outwork store repair          says what would be lost
  outwork store repair --yes    does it")]
    Repair {
        /// Does it.
        #[arg(long, short)]
        yes: bool,
    },
}
