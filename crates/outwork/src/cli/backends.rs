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
    /// Says what a backend weighs: its part of the requests beside the others
    ///
    /// With 0 it gets nothing new but that of clients that are tied to it. It holds through reloads, upgrades and restarts, until `configured` takes it back:
    /// of a backend that is not there now, too.
    #[command(after_help = "\
Examples:
  outwork backends weight app http://10.0.0.7:8080 1
  outwork backends weight app http://10.0.0.7:8080 0
  outwork backends weight app http://10.0.0.7:8080 configured")]
    Weight(Weight),
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

/// The arguments of `weight`.
#[derive(Debug, Args)]
pub(crate) struct Weight {
    #[command(flatten)]
    pub(crate) which: Which,
    /// From 0 to 65535; or `configured`: what the configuration says.
    #[arg(value_name = "WEIGHT", value_parser = weight)]
    pub(crate) weight: Said,
}

/// What a backend is to weigh.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Said {
    /// So much.
    Weight(u16),
    /// What the configuration says.
    Configured,
}

fn weight(text: &str) -> Result<Said, String> {
    match text {
        "configured" => Ok(Said::Configured),
        number => number.parse().map(Said::Weight).map_err(|_| "expected a number up to 65535, or `configured`".into()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_weight_is_a_number_or_what_the_configuration_says() {
        for (text, said) in [("0", Said::Weight(0)), ("65535", Said::Weight(65_535)), ("configured", Said::Configured)]
        {
            assert_eq!(weight(text), Ok(said));
        }
        for wrong in ["", "65536", "-1", "50%", "Configured"] {
            assert!(weight(wrong).is_err(), "{wrong}");
        }
    }
}
