//! What engine and plane cost, measured in one process: `outwork bench sdwan`.
//!
//! - [`selection`]: the path of a flow, of tables as large as wanted, and making them anew.
//! - [`health`]: hellos, and what is decided by them.
//! - [`failover`]: from a failure to another path, in simulated time.
//! - [`throughput`]: packets cut, sealed, opened and joined, in memory.
//! - [`simulation`]: many sites, the memory of each, and a hub that dies; `ends`, two ends of tunnels in one process.
//!
//! Every report says itself what was measured, and what was not.

mod ends;
pub mod failover;
pub mod health;
pub mod selection;
pub mod simulation;
pub mod throughput;

use std::fmt;
use std::ops::RangeInclusive;

use outwork_telemetry::Latency;
use outwork_wireguard::keys::KeyError;

use crate::engine::policy::PolicyError;

/// Octets that the calling thread was given by its allocator since it began, and octets that it gave back. None where nobody counts.
pub type Counted = fn() -> Option<(u64, u64)>;

/// Why nothing was measured.
#[derive(Debug, thiserror::Error)]
#[allow(missing_docs)]
pub enum BenchError {
    #[error("--{name} {value}: expected {least} to {most}")]
    Option { name: &'static str, value: u64, least: u64, most: u64 },
    #[error("{0}")]
    Policy(#[from] PolicyError),
    #[error("{0}")]
    Key(#[from] KeyError),
    #[error("two ends in one process have come to no session")]
    NoSession,
    #[error("there is no path where there should be one")]
    NoPath,
    #[error("cannot start a thread: {0}")]
    Thread(#[from] std::io::Error),
    #[error("a thread has ended before its time")]
    Ended,
}

/// Refuses an option that is out of bounds, by its name.
fn within(name: &'static str, value: impl Into<u64>, range: RangeInclusive<u64>) -> Result<(), BenchError> {
    let value = value.into();
    let (least, most) = (*range.start(), *range.end());
    if range.contains(&value) { Ok(()) } else { Err(BenchError::Option { name, value, least, most }) }
}

/// Does something on so many threads at once, each with its number, and gives what came of it.
fn on_threads<T: Send>(count: u32, work: impl Fn(u32) -> Result<T, BenchError> + Sync) -> Result<Vec<T>, BenchError> {
    let work = &work;
    std::thread::scope(|scope| -> Result<Vec<T>, BenchError> {
        let start = |number| {
            let named = std::thread::Builder::new().name("bench-sdwan".to_owned());
            named.spawn_scoped(scope, move || work(number))
        };
        let started: std::io::Result<Vec<_>> = (0..count).map(start).collect();
        started?.into_iter().map(|thread| thread.join().unwrap_or(Err(BenchError::Ended))).collect()
    })
}

/// What is wrong where something takes longer than it is to, 99 % of the time.
fn slower(what: &str, took: &Latency, at_most_us: u32) -> Option<String> {
    let is_slow = took.p99 > f64::from(at_most_us);
    is_slow.then(|| format!("{what} within {:.3} us, which is above {at_most_us}: --at-most-us", took.p99))
}

/// The columns of [`row`].
fn columns(f: &mut fmt::Formatter<'_>, unit: &str) -> fmt::Result {
    write!(f, "  {unit:<24}")?;
    Latency::COLUMNS.iter().try_for_each(|name| write!(f, " {name:>10}"))?;
    writeln!(f)
}

/// A line of a report: how long something took, in microseconds or, by `part`, in what is as many times longer.
fn row(f: &mut fmt::Formatter<'_>, name: &str, latency: &Latency, part: f64) -> fmt::Result {
    if latency.count == 0 {
        return Ok(());
    }
    write!(f, "  {name:<24}")?;
    latency.row().iter().try_for_each(|micros| write!(f, " {:>10.3}", micros / part))?;
    writeln!(f)
}

/// The line of octets that were allocated.
fn allocated(f: &mut fmt::Formatter<'_>, octets: Option<u64>) -> fmt::Result {
    match octets {
        Some(octets) => writeln!(f, "  allocated meanwhile      {octets:>10} octets"),
        None => Ok(()),
    }
}

#[cfg(test)]
mod tests;
