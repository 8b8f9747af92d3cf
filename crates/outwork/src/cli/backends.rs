//! The arguments of `outwork backends`.

use std::time::Duration;

use clap::{Args, Subcommand};

/// `outwork backends`.
#[derive(Debug, Subcommand)]
pub(crate) enum BackendsCommand {
    /// Shows the backends of every pool, or of one: whether they are used, what they have, and how fast they are
    #[command(after_help = "\
Examples:
  outwork backends list
  outwork backends list app
  outwork backends list --json | jq '.[].backends[] | select(.state != \"usable\")'")]
    List {
        /// The pool.
        #[arg(value_name = "POOL")]
        pool: Option<String>,
    },
    /// Gives a backend no new requests; what it has it may finish
    ///
    /// It stays out until it is let in again (`outwork backends admit`), through reloads, upgrades and restarts.
    #[command(after_help = "\
Examples:
  outwork backends drain app http://10.0.0.7:8080
  outwork backends drain app http://10.0.0.7:8080 --for 10m")]
    Drain(Drain),
    /// Leaves a backend out for a while, after which it comes back by itself
    ///
    /// What it has goes on. It holds through reloads, upgrades and restarts.
    #[command(after_help = "\
Examples:
  outwork backends eject app http://10.0.0.7:8080 --for 5m")]
    Eject(Eject),
    /// Lets a backend in again that was drained or left out
    ///
    /// That holds of one that is not there now, too: nothing is done with it should it come back.
    #[command(after_help = "\
Examples:
  outwork backends admit app http://10.0.0.7:8080")]
    Admit(Which),
}

/// A backend.
#[derive(Debug, Args)]
pub(crate) struct Which {
    /// Its pool.
    #[arg(value_name = "POOL")]
    pub(crate) pool: String,
    /// The backend, as `outwork backends list` calls it.
    #[arg(value_name = "BACKEND")]
    pub(crate) backend: String,
}

/// The arguments of `drain`.
#[derive(Debug, Args)]
pub(crate) struct Drain {
    #[command(flatten)]
    pub(crate) which: Which,
    /// How long it may go on with what it has; unset, the pool's `drain`. What is left then is cut off.
    #[arg(long = "for", value_name = "DURATION", value_parser = super::duration)]
    pub(crate) lasts: Option<Duration>,
}

/// The arguments of `eject`.
#[derive(Debug, Args)]
pub(crate) struct Eject {
    #[command(flatten)]
    pub(crate) which: Which,
    /// How long it is left out; unset, the pool's `outlier.base_ejection`.
    #[arg(long = "for", value_name = "DURATION", value_parser = super::duration)]
    pub(crate) lasts: Option<Duration>,
}
