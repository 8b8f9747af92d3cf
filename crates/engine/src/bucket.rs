//! A rate limit for each of many clients.

use std::hash::{BuildHasher, Hash};
use std::time::Duration;

use foldhash::fast::FixedState;

use crate::Time;

/// Slots that one key may be kept in.
const WAYS: usize = 8;

/// A token bucket for each key, in a table that never grows.
///
/// A bucket is one number (the generic cell rate algorithm): the time at which it will be full again. A key hashes to a set of eight slots; when all are
/// taken by other keys, the bucket that is nearest to full is forgotten. A forgotten client starts with a full bucket: under a flood of made-up clients the
/// limit errs towards answering, and the count of the forgotten shows it.
#[derive(Debug, Clone)]
pub struct TokenBuckets {
    slots: Vec<[Slot; WAYS]>,
    hasher: FixedState,
    /// Nanoseconds that it takes to earn one token.
    interval: u64,
    /// Nanoseconds that it takes to fill an empty bucket.
    depth: u64,
    refused: u64,
    forgotten: u64,
}

#[derive(Debug, Clone, Copy, Default)]
struct Slot {
    key: u64,
    /// Nanoseconds: when the bucket is full again.
    full_at: u64,
}

impl TokenBuckets {
    /// Buckets that earn `rate` tokens a second and hold `burst`, for about `clients` keys at a time (16 bytes each).
    /// A rate or a burst of zero is taken as one.
    pub fn new(rate: u32, burst: u32, clients: usize, seed: u64) -> Self {
        let interval = 1_000_000_000 / u64::from(rate.max(1));
        TokenBuckets {
            slots: vec![Default::default(); clients.div_ceil(WAYS).max(1)],
            hasher: FixedState::with_seed(seed),
            interval,
            depth: interval * u64::from(burst.max(1)),
            refused: 0,
            forgotten: 0,
        }
    }

    /// Takes a token from the bucket of `key`. `false`, counted, when there is none.
    pub fn take<K: Hash + ?Sized>(&mut self, key: &K, now: Time) -> bool {
        let now = now.as_nanos();
        let hash = self.hasher.hash_one(key);
        // The high half of the product spreads hashes over any number of sets.
        let index = ((u128::from(hash) * self.slots.len() as u128) >> 64) as usize;
        let Some(set) = self.slots.get_mut(index) else { return true };
        let known = set.iter().position(|slot| slot.key == hash);
        let nearest_to_full = || (0..WAYS).min_by_key(|way| set.get(*way).map(|slot| slot.full_at));
        let Some(slot) = known.or_else(nearest_to_full).and_then(|way| set.get_mut(way)) else { return true };
        if slot.key != hash {
            self.forgotten += u64::from(slot.full_at > now);
            *slot = Slot { key: hash, full_at: now };
        }
        let full_at = slot.full_at.max(now).saturating_add(self.interval);
        if full_at - now > self.depth {
            self.refused += 1;
            return false;
        }
        slot.full_at = full_at;
        true
    }

    /// How long a client waits that has used its whole burst, until it has one token.
    pub fn interval(&self) -> Duration {
        Duration::from_nanos(self.interval)
    }

    /// Tokens asked for and not given.
    pub fn refused(&self) -> u64 {
        self.refused
    }

    /// Buckets forgotten before they were full again.
    pub fn forgotten(&self) -> u64 {
        self.forgotten
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sim;

    #[test]
    fn a_burst_passes_and_then_the_rate_holds() {
        let mut buckets = TokenBuckets::new(2, 3, 100, 1);
        let now = Time::from_secs(100);
        let passed = (0..10).filter(|_| buckets.take("client", now)).count();
        assert_eq!((passed, buckets.refused()), (3, 7));
        assert!(!buckets.take("client", now + Duration::from_millis(499)));
        assert!(buckets.take("client", now + Duration::from_millis(500)));
        assert!(!buckets.take("client", now + Duration::from_millis(500)));
        assert!(buckets.take("another", now), "one client's flood is not another's");
        assert_eq!((0..10).filter(|_| buckets.take("client", now + Duration::from_secs(60))).count(), 3);
    }

    #[test]
    fn a_flood_of_made_up_clients_stays_in_its_memory_and_is_counted() {
        let mut buckets = TokenBuckets::new(1, 1, 64, 1);
        let passed = (0..10_000u32).filter(|client| buckets.take(client, Time::from_secs(1))).count();
        assert_eq!(passed, 10_000);
        assert!(buckets.forgotten() >= 10_000 - 64);
    }

    #[test]
    fn no_client_ever_gets_more_than_its_burst_and_its_rate() {
        sim::seeds(100, |rng| {
            let (rate, burst) = (1 + rng.below(50) as u32, 1 + rng.below(20) as u32);
            let mut buckets = TokenBuckets::new(rate, burst, 64, rng.next_u64());
            let mut now = Time::from_secs(rng.below(1000));
            let start = now;
            let mut taken = 0;
            for _ in 0..500 {
                now += Duration::from_millis(rng.below(100));
                taken += u64::from(buckets.take(&7u32, now));
                let earned = now.since(start).as_nanos() as u64 / buckets.interval().as_nanos() as u64;
                assert!(taken <= u64::from(burst) + earned);
            }
        });
    }
}
