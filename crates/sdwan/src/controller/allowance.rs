//! How much of something a site may do in a time. What counts is a moment: when all that it has done would have been done at the rate that is allowed (the generic cell rate algorithm, ITU-T
//! I.371). Time is an input.

use std::time::{Duration, Instant};

/// A rate, and how much at once.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Allowance {
    each: Duration,
    burst: Duration,
}

/// What somebody has done of it.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Spent(Option<Instant>);

impl Allowance {
    /// One every so often, and after a rest so many at once.
    pub(super) fn new(each: Duration, burst: u32) -> Allowance {
        Allowance { each, burst: each.saturating_mul(burst) }
    }

    /// How long it is until there is one.
    pub(super) fn wait(&self, spent: &Spent, now: Instant) -> Duration {
        let until = spent.0.map_or(Duration::ZERO, |until| until.saturating_duration_since(now));
        (until + self.each).saturating_sub(self.burst)
    }

    /// Takes as many as there are, at most `wanted`.
    pub(super) fn take_some(&self, spent: &mut Spent, wanted: usize, now: Instant) -> usize {
        let from = spent.0.filter(|until| *until > now).unwrap_or(now);
        let left = self.burst.saturating_sub(from.duration_since(now));
        let there = (left.as_nanos() / self.each.as_nanos().max(1)).min(wanted as u128) as u32;
        spent.0 = Some(from + self.each.saturating_mul(there));
        there as usize
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn after_a_rest_there_are_many_at_once_and_then_one_every_so_often() {
        let (each, mut spent, begun) = (Duration::from_secs(10), Spent::default(), Instant::now());
        let allowance = Allowance::new(each, 3);
        for _ in 0..3 {
            assert_eq!(allowance.wait(&spent, begun), Duration::ZERO);
            assert_eq!(allowance.take_some(&mut spent, 1, begun), 1);
        }
        assert_eq!((allowance.wait(&spent, begun), allowance.take_some(&mut spent, 1, begun)), (each, 0));
        let half = begun + each / 2;
        assert_eq!((allowance.wait(&spent, half), allowance.take_some(&mut spent, 1, half)), (each / 2, 0));
        assert_eq!(allowance.take_some(&mut spent, 2, begun + each), 1);
        // Whoever rests for long has no more than that at once.
        assert_eq!(allowance.take_some(&mut spent, 99, begun + each * 1000), 3);
    }

    #[test]
    fn of_what_is_wanted_there_is_as_much_as_there_is() {
        let (mut spent, now) = (Spent::default(), Instant::now());
        let allowance = Allowance::new(Duration::from_secs(1), 10);
        assert_eq!([7, 7, 7].map(|wanted| allowance.take_some(&mut spent, wanted, now)), [7, 3, 0]);
    }
}
