//! Counts of requests by key, in a table that never grows: the generic cell rate algorithm (ITU-T I.371).
//!
//! A key's count is one number: the time at which all that it has used will have come back. Keys lie in sets of eight by a hash that nobody
//! outside can compute. Where a set is full of others, the key that has used least of its limit is forgotten, and begins anew when it
//! comes again. So a key that is at its limit is forgotten only where eight others of its set are, too: who floods the table with made-up
//! clients pushes out their like. What that can gain is one burst for each key that finds no place, and it is counted.

use std::time::Duration;

use parking_lot::Mutex;

/// Places that one key may be kept in.
const WAYS: usize = 8;
/// Locks that workers spread over.
const SHARDS: usize = 64;

/// A limit: how fast what was used comes back, and how much may be used at once.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Rate {
    /// Nanoseconds in which one request comes back.
    pub(crate) interval: u64,
    /// Requests that may come at once.
    pub(crate) burst: u64,
}

impl Rate {
    pub(crate) fn new(limit: u32, window: Duration, burst: Option<u32>) -> Self {
        let window = u64::try_from(window.as_nanos()).unwrap_or(u64::MAX);
        Self { interval: (window / u64::from(limit.max(1))).max(1), burst: burst.unwrap_or(limit).max(1).into() }
    }

    /// Nanoseconds in which everything comes back.
    fn depth(self) -> u64 {
        self.interval.saturating_mul(self.burst)
    }

    /// What becomes of a request at `now`, where what was used so far will have come back at `back`; and when it will have with this one.
    pub(crate) fn decide(self, back: u64, now: u64) -> (Verdict, u64) {
        let before = back.max(now);
        let with = before.saturating_add(self.interval);
        let depth = self.depth();
        let used = with - now;
        if used > depth {
            let verdict = Verdict { allowed: false, remaining: 0, retry_after: used - depth, reset: before - now };
            return (verdict, before);
        }
        let remaining = (depth - used) / self.interval;
        (Verdict { allowed: true, remaining, retry_after: 0, reset: used }, with)
    }
}

/// What becomes of a request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Verdict {
    pub(crate) allowed: bool,
    /// Requests that could follow at once.
    pub(crate) remaining: u64,
    /// Nanoseconds until another would be allowed; 0 where this one is.
    pub(crate) retry_after: u64,
    /// Nanoseconds until all is as if there had been none.
    pub(crate) reset: u64,
}

impl Verdict {
    /// What stands in the place of one that is not there yet.
    pub(crate) const PENDING: Self = Self { allowed: true, remaining: u64::MAX, retry_after: 0, reset: 0 };
}

/// Counts by key.
#[derive(Debug)]
pub(crate) struct Cells {
    shards: Box<[Mutex<Box<[Set]>>]>,
    /// Sets of each shard.
    sets: u64,
    rate: Rate,
}

type Set = [Cell; WAYS];

#[derive(Debug, Clone, Copy, Default)]
struct Cell {
    key: u64,
    back: u64,
}

impl Cells {
    /// For about so many keys at a time, 16 bytes each.
    pub(crate) fn new(rate: Rate, keys: usize) -> Self {
        let sets = keys.div_ceil(WAYS * SHARDS).max(1);
        let shard = |_| Mutex::new(vec![Set::default(); sets].into_boxed_slice());
        Self { shards: (0..SHARDS).map(shard).collect(), sets: sets as u64, rate }
    }

    /// Counts a request of the key with this hash, and says whether another key was forgotten for it.
    pub(crate) fn take(&self, hash: u64, now: u64) -> (Verdict, bool) {
        let (shard, index) = self.place(hash);
        let mut shard = shard.map(|shard| shard.lock());
        let set = shard.as_mut().and_then(|shard| shard.get_mut(index));
        let Some(cell) = set.and_then(|set| {
            let known = set.iter().position(|cell| cell.key == hash);
            let least = || (0..WAYS).min_by_key(|way| set.get(*way).map(|cell| cell.back));
            known.or_else(least).and_then(|way| set.get_mut(way))
        }) else {
            return (self.rate.decide(0, now).0, false);
        };
        let forgotten = cell.key != hash && cell.back > now;
        if cell.key != hash {
            *cell = Cell { key: hash, back: now };
        }
        let (verdict, back) = self.rate.decide(cell.back, now);
        cell.back = back;
        (verdict, forgotten)
    }

    /// Takes back one that was counted, and would have come back by `until`: as much of it as has not come back by now.
    pub(crate) fn give_back(&self, hash: u64, until: u64, now: u64) {
        let (shard, index) = self.place(hash);
        let mut shard = shard.map(|shard| shard.lock());
        let set = shard.as_mut().and_then(|shard| shard.get_mut(index));
        // Who was forgotten meanwhile has nothing to get back.
        if let Some(cell) = set.and_then(|set| set.iter_mut().find(|cell| cell.key == hash)) {
            cell.back = cell.back.saturating_sub(until.saturating_sub(now).min(self.rate.interval));
        }
    }

    fn place(&self, hash: u64) -> (Option<&Mutex<Box<[Set]>>>, usize) {
        let (high, low) = ((hash >> 32) as usize, hash & u64::from(u32::MAX));
        // The high half of the product spreads hashes over any number of sets.
        (self.shards.get(high % SHARDS), ((low * self.sets) >> 32) as usize)
    }
}

#[cfg(test)]
mod tests {
    use outwork_engine::Rng;

    use super::*;

    const SECOND: u64 = 1_000_000_000;

    fn rate(limit: u32, seconds: u64, burst: Option<u32>) -> Rate {
        Rate::new(limit, Duration::from_secs(seconds), burst)
    }

    #[test]
    fn a_window_s_worth_passes_at_once_and_comes_back_evenly() {
        let cells = Cells::new(rate(100, 60, None), 1000);
        let now = 1000 * SECOND;
        let passed = (0..150).filter(|_| cells.take(7, now).0.allowed).count();
        assert_eq!(passed, 100);
        let refused = cells.take(7, now).0;
        assert_eq!(
            (refused.allowed, refused.remaining, refused.retry_after, refused.reset),
            (false, 0, 600_000_000, 60 * SECOND)
        );
        assert!(!cells.take(7, now + 599_999_999).0.allowed);
        assert!(cells.take(7, now + 600_000_000).0.allowed);
        assert_eq!(cells.take(7, now + 66 * SECOND).0.remaining, 99);
        assert_eq!(cells.take(8, now).0, Verdict { allowed: true, remaining: 99, retry_after: 0, reset: 600_000_000 });
    }

    #[test]
    fn a_smaller_burst_spreads_requests_out() {
        let cells = Cells::new(rate(60, 60, Some(2)), 1000);
        let passed = |now| (0..10).filter(|_| cells.take(1, now).0.allowed).count();
        assert_eq!((passed(SECOND), passed(2 * SECOND), passed(10 * SECOND)), (2, 1, 2));
    }

    #[test]
    fn what_is_given_back_is_as_if_it_had_not_been_and_no_more() {
        let cells = Cells::new(rate(2, 60, None), 1000);
        let take = |now| cells.take(1, now).0;
        let until = SECOND + take(SECOND).reset;
        assert!(take(SECOND).allowed && !take(SECOND).allowed);
        cells.give_back(1, until, SECOND);
        assert!(take(SECOND).allowed && !take(SECOND).allowed);
        let last = 61 * SECOND + take(61 * SECOND).reset;
        assert!(take(61 * SECOND).allowed && take(91 * SECOND).allowed && !take(91 * SECOND).allowed);
        cells.give_back(1, last, 91 * SECOND);
        assert!(!take(91 * SECOND).allowed, "it had come back by itself");
        cells.give_back(2, last, SECOND);
        assert!(cells.take(2, SECOND).0.allowed, "who is not known has nothing to get back");
    }

    #[test]
    fn a_flood_of_made_up_clients_does_not_push_out_who_is_at_its_limit() {
        let cells = Cells::new(rate(10, 60, None), 4096);
        let (now, mut rng) = (1000 * SECOND, Rng::new(1));
        (0..10).for_each(|_| assert!(cells.take(42, now).0.allowed));
        let forgotten = (0..200_000).filter(|_| cells.take(rng.next_u64(), now).1).count();
        assert!(!cells.take(42, now).0.allowed);
        assert!(forgotten > 150_000, "{forgotten}");
        let places: usize = cells.shards.iter().map(|shard| shard.lock().len() * WAYS).sum();
        assert!(places <= 4096 + SHARDS * WAYS, "{places}");
    }

    #[test]
    fn no_key_ever_gets_more_than_its_burst_and_its_rate() {
        for seed in 0..100 {
            let mut rng = Rng::new(seed);
            let rate = Rate::new(
                1 + rng.below(50) as u32,
                Duration::from_secs(1 + rng.below(9)),
                Some(1 + rng.below(20) as u32),
            );
            let cells = Cells::new(rate, 64);
            let start = rng.below(1000) * SECOND;
            let (mut now, mut taken) = (start, 0);
            for _ in 0..500 {
                now += rng.below(SECOND / 10);
                taken += u64::from(cells.take(7, now).0.allowed);
                assert!(taken <= rate.burst + (now - start) / rate.interval);
            }
        }
    }
}
