//! TAI64N: the timestamp in an initiation (5.1 and 5.4.2), by which a replayed initiation is told from a new one.

use std::time::Duration;

use outwork_engine::Time;

/// Octets on the wire.
pub const LENGTH: usize = 12;

/// Twelve octets that grow with time: big endian, so octets compare as instants do.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct Tai64N(pub [u8; LENGTH]);

/// 2^62 is 1970 in TAI64, and TAI was ten seconds ahead of UTC then. (Leap seconds since are left out, as everybody does: only growth matters.)
const EPOCH: u64 = (1 << 62) + 10;

/// The last bits of the nanoseconds are cleared: how precisely a clock runs tells who it is. 2^24 ns are 17 ms, a little less than the 20 ms
/// that a peer has to leave between two initiations.
const COARSE: u32 = !0xff_ffff;

impl Tai64N {
    /// Of a duration since 1970.
    pub fn from_unix(unix: Duration) -> Tai64N {
        let mut bytes = [0; LENGTH];
        let (seconds, nanos) = bytes.split_at_mut(8);
        seconds.copy_from_slice(&EPOCH.saturating_add(unix.as_secs()).to_be_bytes());
        nanos.copy_from_slice(&(unix.subsec_nanos() & COARSE).to_be_bytes());
        Tai64N(bytes)
    }

    /// The next one that compares as greater.
    fn next(self) -> Tai64N {
        let mut bytes = self.0;
        for byte in bytes.iter_mut().rev() {
            *byte = byte.wrapping_add(1);
            if *byte != 0 {
                break;
            }
        }
        Tai64N(bytes)
    }
}

/// Stamps that always grow, also when the wall clock is set back or stands still. One for a pair of static keys and every path between them:
/// the peer remembers the greatest stamp by our static key.
#[derive(Debug, Clone, Copy)]
pub struct Clock {
    /// What the wall clock showed at [`Time::ZERO`].
    unix: Duration,
    last: Tai64N,
}

impl Clock {
    /// From one reading of both clocks: it was `unix`, since 1970, at `time`.
    pub fn new(time: Time, unix: Duration) -> Clock {
        Clock { unix: unix.saturating_sub(time.since(Time::ZERO)), last: Tai64N::default() }
    }

    /// The wall clock was set: another reading. Stamps grow on.
    pub fn set(&mut self, time: Time, unix: Duration) {
        self.unix = Clock::new(time, unix).unix;
    }

    /// The stamp of now, greater than any before.
    pub fn stamp(&mut self, now: Time) -> Tai64N {
        let stamp = Tai64N::from_unix(self.unix.saturating_add(now.since(Time::ZERO)));
        self.last = if stamp > self.last { stamp } else { self.last.next() };
        self.last
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_beginning_of_1970_is_two_to_the_62_and_ten() {
        assert_eq!(Tai64N::from_unix(Duration::ZERO).0, [0x40, 0, 0, 0, 0, 0, 0, 10, 0, 0, 0, 0]);
        let later = Tai64N::from_unix(Duration::new(1_700_000_000, 0x1234_5678));
        assert_eq!(later.0[..8], (0x4000_0000_0000_000a_u64 + 1_700_000_000).to_be_bytes());
        assert_eq!(later.0[8..], [0x12, 0, 0, 0], "the last 24 bits of the nanoseconds are kept to ourselves");
    }

    #[test]
    fn stamps_grow_when_the_clock_is_set_back_and_when_it_stands() {
        let mut clock = Clock::new(Time::from_secs(5), Duration::from_secs(1_000_000));
        let first = clock.stamp(Time::from_secs(5));
        assert_eq!(first, Tai64N::from_unix(Duration::from_secs(1_000_000)));
        let second = clock.stamp(Time::from_secs(5));
        clock.set(Time::from_secs(6), Duration::from_secs(10));
        let third = clock.stamp(Time::from_secs(7));
        assert!(first < second && second < third);
    }

    #[test]
    fn the_next_stamp_carries() {
        assert_eq!(Tai64N([0, 0, 0, 0, 0, 0, 0, 1, 0, 0, 0xff, 0xff]).next().0, [0, 0, 0, 0, 0, 0, 0, 1, 0, 1, 0, 0]);
    }
}
