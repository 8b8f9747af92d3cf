//! The arguments of `outwork qos`.

use clap::Subcommand;

/// `outwork qos`.
#[derive(Debug, Subcommand)]
pub(crate) enum QosCommand {
    /// The same as `outwork qos`
    Show,
    /// Shapes uplinks again that were rolled back, or whose classes somebody has taken away
    Apply,
    /// Takes shaping back: what was at the uplinks' interfaces before is there again
    ///
    /// A server that runs shapes no more until `outwork qos apply`, its next start, or a reload that changes [sdwan]. Where none runs, what one that crashed has left is taken away: that takes
    /// root, and the configuration that names its data directory.
    Rollback,
}
