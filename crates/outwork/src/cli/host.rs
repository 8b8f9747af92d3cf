//! The arguments of `outwork host`.

use clap::Subcommand;

/// `outwork host`.
#[derive(Debug, Subcommand)]
pub(crate) enum HostCommand {
    /// The same as `outwork host`
    Check {
        /// Exits with 1 where something is not as wanted.
        #[arg(long)]
        strict: bool,
    },
    /// Makes the machine as wanted: takes root
    ///
    /// What it was is in the data directory before anything is changed, and what it was before the first time stays there. What is larger than wanted stays. What is refused
    /// stops nothing else; the exit code is 1 then.
    #[command(after_help = "\
Examples:
  outwork host apply --dry-run           what would be changed
  outwork host apply
  outwork host sysctl > /etc/sysctl.d/60-outwork.conf     so that it holds through restarts of the machine")]
    Apply {
        /// Says what would be changed, and changes nothing.
        #[arg(long)]
        dry_run: bool,
    },
    /// Puts back what `apply` has changed: takes root
    ///
    /// What somebody else has changed since stays as it is, and is named.
    #[command(after_help = "\
Examples:
  outwork host rollback --dry-run        what would be put back
  outwork host rollback
  outwork host rollback --force          what others have changed since, too")]
    Rollback {
        /// Says what would be put back, and changes nothing.
        #[arg(long)]
        dry_run: bool,
        /// Puts back what somebody else has changed since, too.
        #[arg(long)]
        force: bool,
    },
    /// Prints a file for /etc/sysctl.d, with the reasons
    ///
    /// What concerns interfaces and interrupts is not in it: `outwork host apply` does it at each start of the machine, before the service (deploy/outwork.service says how).
    Sysctl,
}
