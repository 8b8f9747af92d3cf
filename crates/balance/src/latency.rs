//! Peak EWMA: a latency that rises at once, and is forgotten with a time constant (Finagle's `PeakEwma`).

use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::time::Duration;

use outwork_engine::Time;

/// Which part of a nanosecond clock is kept: about a millisecond, in 32 bits that come round after 52 days. A member that nobody asked for that
/// long is misjudged until it is asked once.
const TICK_SHIFT: u32 = 20;

/// A moving average of latencies. One word, so that value and time cannot come apart between threads: nanoseconds as the bits of an `f32`, and the
/// tick at which they were true. Zero is "never observed".
#[derive(Debug, Default)]
pub struct PeakEwma(AtomicU64);

fn tick(now: Time) -> u32 {
    (now.as_nanos() >> TICK_SHIFT) as u32
}

fn pack(nanos: f32, tick: u32) -> u64 {
    // A latency of zero must not look like none.
    u64::from(nanos.max(1.0).to_bits()) << 32 | u64::from(tick)
}

/// Ticks from the packed one to `tick`.
fn elapsed(packed: u64, tick: u32) -> u32 {
    let elapsed = tick.wrapping_sub(packed as u32);
    // A thread whose clock was read earlier is not 52 days late.
    if elapsed > u32::MAX / 2 { 0 } else { elapsed }
}

/// What is left after the time from the packed tick to `tick`, and the factor.
fn decayed(packed: u64, tick: u32, decay: Duration) -> (f32, f32) {
    let elapsed = elapsed(packed, tick);
    if elapsed == 0 {
        return (f32::from_bits((packed >> 32) as u32), 1.0);
    }
    let nanos = elapsed as f32 * (1u64 << TICK_SHIFT) as f32;
    let factor = (-nanos / (decay.as_nanos().max(1) as f32)).exp();
    (f32::from_bits((packed >> 32) as u32) * factor, factor)
}

impl PeakEwma {
    /// Takes in that an answer took `latency`.
    pub fn observe(&self, latency: Duration, now: Time, decay: Duration) {
        self.update(
            now,
            |old| match old {
                Some((was, factor)) if latency.as_nanos() as f32 <= was => {
                    was * factor + latency.as_nanos() as f32 * (1.0 - factor)
                }
                _ => latency.as_nanos() as f32,
            },
            decay,
        );
    }

    /// Takes in that a failure took `latency`: it may be slower than what was known, but a quick failure makes nobody look fast.
    pub fn observe_failure(&self, latency: Duration, now: Time, decay: Duration) {
        self.update(now, |old| old.map_or(0.0, |(was, factor)| was * factor).max(latency.as_nanos() as f32), decay);
    }

    fn update(&self, now: Time, next: impl Fn(Option<(f32, f32)>) -> f32, decay: Duration) {
        let tick = tick(now);
        let _ = self.0.fetch_update(Relaxed, Relaxed, |packed| {
            let old = (packed != 0).then(|| {
                let (_, factor) = decayed(packed, tick, decay);
                (f32::from_bits((packed >> 32) as u32), factor)
            });
            Some(pack(next(old), tick))
        });
    }

    /// Nanoseconds; what nobody adds to decays. `None` before the first observation.
    pub fn nanos(&self, now: Time, decay: Duration) -> Option<f32> {
        let packed = self.0.load(Relaxed);
        (packed != 0).then(|| decayed(packed, tick(now), decay).0)
    }

    /// Nanoseconds as they were at the last observation, to be shown: what is left of them by now is nothing that anybody has measured. `None` where there was
    /// no observation `within` this time.
    pub fn last(&self, now: Time, within: Duration) -> Option<f32> {
        let packed = self.0.load(Relaxed);
        let since = Duration::from_nanos(u64::from(elapsed(packed, tick(now))) << TICK_SHIFT);
        (packed != 0 && since <= within).then(|| f32::from_bits((packed >> 32) as u32))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const DECAY: Duration = Duration::from_secs(10);

    fn millis(ewma: &PeakEwma, now: Time) -> f32 {
        ewma.nanos(now, DECAY).unwrap() / 1e6
    }

    #[test]
    fn a_peak_is_believed_at_once_and_forgotten_with_time() {
        let ewma = PeakEwma::default();
        assert_eq!(ewma.nanos(Time::ZERO, DECAY), None);
        let mut now = Time::from_secs(100);
        ewma.observe(Duration::from_millis(10), now, DECAY);
        ewma.observe(Duration::from_millis(1000), now, DECAY);
        assert_eq!(millis(&ewma, now), 1000.0);
        for _ in 0..1000 {
            now += Duration::from_millis(10);
            ewma.observe(Duration::from_millis(10), now, DECAY);
        }
        let expected = 10.0 + 990.0 / std::f32::consts::E;
        assert!((millis(&ewma, now) - expected).abs() < 10.0, "{} after one time constant", millis(&ewma, now));
    }

    #[test]
    fn who_is_not_asked_is_forgiven() {
        let ewma = PeakEwma::default();
        ewma.observe(Duration::from_secs(5), Time::from_secs(1), DECAY);
        assert!(millis(&ewma, Time::from_secs(101)) < 1.0);
        assert_eq!(millis(&ewma, Time::ZERO), 5000.0, "an earlier clock changes nothing");
    }

    #[test]
    fn what_is_shown_is_what_was_measured_lately_and_then_nothing() {
        let (ewma, within) = (PeakEwma::default(), Duration::from_secs(10));
        let shown = |now| ewma.last(Time::from_secs(now), within).map(|nanos| nanos / 1e6);
        assert_eq!(shown(1), None);
        ewma.observe(Duration::from_millis(50), Time::from_secs(100), DECAY);
        assert_eq!([shown(99), shown(100), shown(109), shown(111)], [Some(50.0), Some(50.0), Some(50.0), None]);
    }

    #[test]
    fn a_quick_failure_makes_nobody_look_fast() {
        let ewma = PeakEwma::default();
        let now = Time::from_secs(1);
        ewma.observe(Duration::from_millis(100), now, DECAY);
        ewma.observe_failure(Duration::from_micros(1), now, DECAY);
        assert_eq!(millis(&ewma, now), 100.0);
        ewma.observe_failure(Duration::from_millis(700), now, DECAY);
        assert_eq!(millis(&ewma, now), 700.0);
    }
}
