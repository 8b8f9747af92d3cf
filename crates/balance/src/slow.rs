//! Slow start: a member that comes up gets its weight bit by bit, so that it can warm up.

use std::time::Duration;

use outwork_engine::Time;

/// How the weight of a member grows (Envoy's slow start).
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct SlowStart {
    /// How long it takes.
    pub window: Duration,
    /// 1 is in proportion to time; greater ones are faster in the beginning. Not below 0.01.
    pub aggression: f64,
    /// The part of the weight that it has from the beginning; 0.1 is a tenth. Not below 0.01, so that its turn comes.
    pub least: f64,
}

impl SlowStart {
    /// The part of its weight that a member has at `now` which came up at `up`; [`Time::ZERO`] is one that was always there.
    pub fn share(&self, up: Time, now: Time) -> f64 {
        if up == Time::ZERO {
            return 1.0;
        }
        let age = now.since(up);
        if age >= self.window {
            return 1.0;
        }
        let passed = age.as_secs_f64() / self.window.as_secs_f64();
        passed.powf(1.0 / self.aggression.max(0.01)).clamp(self.least.clamp(0.01, 1.0), 1.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const START: SlowStart = SlowStart { window: Duration::from_secs(100), aggression: 1.0, least: 0.1 };

    #[test]
    fn a_weight_grows_from_its_least_share_to_all_of_it_in_its_window() {
        let shares = [0, 5, 10, 50, 99, 100, 1000].map(|age| START.share(Time::from_secs(7), Time::from_secs(7 + age)));
        let expected = [0.1, 0.1, 0.1, 0.5, 0.99, 1.0, 1.0];
        assert!(shares.iter().zip(expected).all(|(share, expected)| (share - expected).abs() < 1e-9), "{shares:?}");
        assert_eq!(START.share(Time::ZERO, Time::from_secs(1)), 1.0, "who was always there starts with all of it");
    }

    #[test]
    fn more_aggression_is_faster_in_the_beginning() {
        let at = |aggression| SlowStart { aggression, ..START }.share(Time::from_secs(7), Time::from_secs(32));
        assert!((at(2.0) - 0.5).abs() < 1e-9 && (at(1.0) - 0.25).abs() < 1e-9);
        assert_eq!(at(0.0), 0.1, "no aggression at all is clamped, and not a division by zero");
    }
}
