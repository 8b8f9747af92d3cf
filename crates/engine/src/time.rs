//! Instants that are handed in, never read from a clock.

use std::ops::{Add, AddAssign, Sub};
use std::time::Duration;

/// A monotonic instant: nanoseconds since an epoch of the shell's choosing (584 years fit).
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct Time(u64);

impl Time {
    /// The epoch.
    pub const ZERO: Time = Time(0);
    /// Later than anything: "never" for a deadline.
    pub const MAX: Time = Time(u64::MAX);

    /// The instant `nanos` nanoseconds after the epoch.
    pub const fn from_nanos(nanos: u64) -> Time {
        Time(nanos)
    }

    /// The instant `millis` milliseconds after the epoch.
    pub const fn from_millis(millis: u64) -> Time {
        Time(millis.saturating_mul(1_000_000))
    }

    /// The instant `secs` seconds after the epoch.
    pub const fn from_secs(secs: u64) -> Time {
        Time(secs.saturating_mul(1_000_000_000))
    }

    /// Nanoseconds since the epoch.
    pub const fn as_nanos(self) -> u64 {
        self.0
    }

    /// Whole seconds since the epoch.
    pub const fn as_secs(self) -> u64 {
        self.0 / 1_000_000_000
    }

    /// How long after `earlier` this is; zero when it is not.
    pub const fn since(self, earlier: Time) -> Duration {
        Duration::from_nanos(self.0.saturating_sub(earlier.0))
    }
}

impl Add<Duration> for Time {
    type Output = Time;

    /// Saturates at [`Time::MAX`].
    fn add(self, duration: Duration) -> Time {
        Time(self.0.saturating_add(u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX)))
    }
}

impl AddAssign<Duration> for Time {
    fn add_assign(&mut self, duration: Duration) {
        *self = *self + duration;
    }
}

impl Sub<Duration> for Time {
    type Output = Time;

    /// Saturates at [`Time::ZERO`].
    fn sub(self, duration: Duration) -> Time {
        Time(self.0.saturating_sub(u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX)))
    }
}

/// A second of the wall clock, counted from 1970-01-01T00:00:00Z. What outlives the process is dated in it. Good until 2106.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct Unix(pub u32);

impl Unix {
    /// Later than anything: the end of an infinite lease.
    pub const MAX: Unix = Unix(u32::MAX);

    /// Whole seconds after `earlier`; zero when it is not after.
    pub const fn since(self, earlier: Unix) -> u32 {
        self.0.saturating_sub(earlier.0)
    }
}

impl Add<u32> for Unix {
    type Output = Unix;

    /// Seconds later; saturates at [`Unix::MAX`].
    fn add(self, seconds: u32) -> Unix {
        Unix(self.0.saturating_add(seconds))
    }
}

/// What the wall clock showed at [`Time::ZERO`]. The shell makes a new one when the wall clock is set.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Epoch {
    /// Nanoseconds of the wall clock since 1970 at [`Time::ZERO`].
    unix_nanos: u64,
}

impl Epoch {
    /// From one reading of both clocks: it was `unix`, as a duration since 1970, at `time`.
    pub fn new(time: Time, unix: Duration) -> Epoch {
        let unix_nanos = u64::try_from(unix.as_nanos()).unwrap_or(u64::MAX);
        Epoch { unix_nanos: unix_nanos.saturating_sub(time.0) }
    }

    /// The wall clock second in which `time` lies.
    pub fn unix(self, time: Time) -> Unix {
        Unix(u32::try_from(self.unix_nanos.saturating_add(time.0) / 1_000_000_000).unwrap_or(u32::MAX))
    }

    /// The instant at which the wall clock second `unix` begins; [`Time::ZERO`] when that was before the epoch.
    pub fn time(self, unix: Unix) -> Time {
        Time((u64::from(unix.0) * 1_000_000_000).saturating_sub(self.unix_nanos))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_saturate_instead_of_wrapping() {
        assert_eq!(Time::from_secs(1) - Duration::from_secs(2), Time::ZERO);
        assert_eq!(Time::from_secs(1) + Duration::MAX, Time::MAX);
        assert_eq!(Time::from_secs(1).since(Time::from_secs(2)), Duration::ZERO);
        assert_eq!(Unix(u32::MAX - 1) + 5, Unix::MAX);
    }

    #[test]
    fn a_wall_clock_second_and_its_instant_convert_both_ways() {
        let epoch = Epoch::new(Time::from_secs(5), Duration::from_millis(1_700_000_005_250));
        assert_eq!(epoch.unix(Time::ZERO), Unix(1_700_000_000));
        assert_eq!(epoch.unix(Time::from_millis(749)), Unix(1_700_000_000));
        assert_eq!(epoch.unix(Time::from_millis(750)), Unix(1_700_000_001));
        assert_eq!(epoch.time(Unix(1_700_000_001)), Time::from_millis(750));
        assert_eq!(epoch.time(Unix(3)), Time::ZERO);
    }
}
