//! Milliseconds: the unit of times in what is told and kept.

use std::time::Duration;

/// A duration in milliseconds, with what is less than one.
pub(crate) fn millis(duration: Duration) -> f64 {
    duration.as_secs_f64() * 1e3
}

/// The whole milliseconds of a duration.
pub(crate) fn whole_millis(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}
