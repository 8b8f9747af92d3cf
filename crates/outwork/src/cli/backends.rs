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
    #[command(after_help = "\
Examples:
  outwork backends drain app http://10.0.0.7:8080
  outwork backends drain app http://10.0.0.7:8080 --for 10m")]
    Drain(ForAWhile),
    /// Leaves a backend out for a while
    #[command(after_help = "\
Examples:
  outwork backends eject app http://10.0.0.7:8080 --for 5m")]
    Eject(ForAWhile),
    /// Lets a backend in again that was drained or left out
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

/// A backend, and how long.
#[derive(Debug, Args)]
pub(crate) struct ForAWhile {
    #[command(flatten)]
    pub(crate) which: Which,
    /// For how long; unset, as the configuration says.
    #[arg(long = "for", value_name = "DURATION", value_parser = super::duration)]
    pub(crate) lasts: Option<Duration>,
}
