//! Budgets of retries and hedges: a part of what is in flight, and a floor a second so that a quiet pool may retry at all.
//!
//! The ratio is Envoy's retry budget, the floor Finagle's. A retry that neither covers is refused, and counted as a refusal of its resource.

use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

use outwork_engine::Time;

/// How much may be done beyond what clients asked for.
#[derive(Debug, Clone, Copy, PartialEq, Default)]
pub struct BudgetSettings {
    /// How many of those in flight, waiting ones included, may be retries: 0.2 is a fifth.
    pub ratio: f64,
    /// How many a second are allowed anyway. A second's worth may come at once.
    pub floor: u32,
}

impl BudgetSettings {
    /// Whether one more is covered, `held` of `active` being retries with it.
    pub(crate) fn covers(&self, held: u32, active: u32, floor: &Floor, now: Time) -> bool {
        f64::from(held) <= self.ratio * f64::from(active) || floor.take(self.floor, now)
    }
}

/// A token bucket without a lock: the time at which it will be full again (generic cell rate algorithm).
#[derive(Debug, Default)]
pub(crate) struct Floor(AtomicU64);

impl Floor {
    /// Takes one of `rate` a second.
    fn take(&self, rate: u32, now: Time) -> bool {
        const SECOND: u64 = 1_000_000_000;
        let Some(interval) = SECOND.checked_div(u64::from(rate)) else { return false };
        // The epoch may be this very second: an empty bucket must not look like the time before it.
        let now = now.as_nanos();
        let taken = self.0.fetch_update(Relaxed, Relaxed, |full_at| {
            let full_at = full_at.max(now).saturating_add(interval);
            (full_at - now <= SECOND).then_some(full_at)
        });
        taken.is_ok()
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn a_budget_is_a_part_of_what_is_in_flight() {
        let (budget, floor) = (BudgetSettings { ratio: 0.2, floor: 0 }, Floor::default());
        let covers = |held, active| budget.covers(held, active, &floor, Time::ZERO);
        assert!(covers(1, 5) && covers(20, 100));
        assert!(!covers(1, 4) && !covers(21, 100) && !covers(1, 0));
    }

    #[test]
    fn a_quiet_pool_may_retry_as_often_a_second_as_its_floor_says() {
        let (budget, floor) = (BudgetSettings { ratio: 0.0, floor: 3 }, Floor::default());
        let mut now = Time::from_secs(7);
        let spent = |now| (0..10).filter(|_| budget.covers(1, 0, &floor, now)).count();
        assert_eq!(spent(now), 3);
        now += Duration::from_millis(334);
        assert_eq!(spent(now), 1);
        now += Duration::from_secs(60);
        assert_eq!(spent(now), 3, "what was not used in a minute is not saved up");
    }
}
