//! A map with a capacity, whose entries lapse.

use std::collections::{BTreeSet, HashMap};
use std::hash::Hash;

use foldhash::fast::FixedState;

use crate::Time;

/// How many lapsed entries one insertion clears away: two for the one it adds, so that the lapsed never pile up.
const CLEARED_PER_INSERT: usize = 2;

/// The map holds as many live entries as it may.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Full;

/// A bounded map from `K` to `V` where each entry has its own deadline. From its deadline on an entry is not seen any more.
#[derive(Debug, Clone)]
pub struct ExpiringMap<K, V> {
    entries: HashMap<K, (Time, V), FixedState>,
    by_deadline: BTreeSet<(Time, K)>,
    capacity: usize,
    refused: u64,
}

impl<K: Hash + Ord + Clone, V> ExpiringMap<K, V> {
    /// An empty map for at most `capacity` entries. `seed` makes its hashes hard to guess for a peer.
    pub fn new(capacity: usize, seed: u64) -> Self {
        let entries = HashMap::with_hasher(FixedState::with_seed(seed));
        ExpiringMap { entries, by_deadline: BTreeSet::new(), capacity, refused: 0 }
    }

    /// Puts `value` under `key` until `deadline`, in place of what was there.
    /// When the map is full of live entries a new key is refused and counted.
    pub fn insert(&mut self, key: K, value: V, deadline: Time, now: Time) -> Result<(), Full> {
        self.clear_lapsed(now, CLEARED_PER_INSERT, |_, _| ());
        if self.entries.len() >= self.capacity && !self.entries.contains_key(&key) {
            self.refused += 1;
            return Err(Full);
        }
        if let Some((old, _)) = self.entries.insert(key.clone(), (deadline, value)) {
            self.by_deadline.remove(&(old, key.clone()));
        }
        self.by_deadline.insert((deadline, key));
        Ok(())
    }

    /// What is live under `key`.
    pub fn get(&self, key: &K, now: Time) -> Option<&V> {
        self.entries.get(key).filter(|(deadline, _)| now < *deadline).map(|(_, value)| value)
    }

    /// What is live under `key`, to be changed. Its deadline stays.
    pub fn get_mut(&mut self, key: &K, now: Time) -> Option<&mut V> {
        self.entries.get_mut(key).filter(|(deadline, _)| now < *deadline).map(|(_, value)| value)
    }

    /// Takes out what is under `key`; `None` when there was nothing live.
    pub fn remove(&mut self, key: &K, now: Time) -> Option<V> {
        let (deadline, value) = self.entries.remove(key)?;
        self.by_deadline.remove(&(deadline, key.clone()));
        (now < deadline).then_some(value)
    }

    /// Takes out at most `limit` lapsed entries, the earliest first, and hands each to `lapsed`. Says how many.
    pub fn clear_lapsed(&mut self, now: Time, limit: usize, mut lapsed: impl FnMut(K, V)) -> usize {
        for cleared in 0..limit {
            if self.next_deadline().is_none_or(|deadline| now < deadline) {
                return cleared;
            }
            if let Some((_, key)) = self.by_deadline.pop_first()
                && let Some((_, value)) = self.entries.remove(&key)
            {
                lapsed(key, value);
            }
        }
        limit
    }

    /// Bytes of memory of the tables, the allocator's rounding aside; what keys and values point at is not among them.
    pub fn memory(&self) -> usize {
        let entries = self.entries.capacity() * (size_of::<(K, (Time, V))>() + 1);
        entries + self.by_deadline.len() * 2 * size_of::<(Time, K)>()
    }

    /// When the next entry lapses.
    pub fn next_deadline(&self) -> Option<Time> {
        self.by_deadline.first().map(|(deadline, _)| *deadline)
    }

    /// Entries held, the lapsed ones that are not cleared away yet included.
    pub fn len(&self) -> usize {
        self.entries.len()
    }

    /// Whether nothing is held.
    pub fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    /// Insertions refused for want of room.
    pub fn refused(&self) -> u64 {
        self.refused
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sim;
    use std::collections::BTreeMap;

    const fn at(secs: u64) -> Time {
        Time::from_secs(secs)
    }

    #[test]
    fn an_entry_is_gone_at_its_deadline_and_not_before() {
        let mut map = ExpiringMap::new(4, 1);
        map.insert("a", 1, at(10), at(0)).unwrap();
        assert_eq!(map.get(&"a", at(9)), Some(&1));
        assert_eq!(map.get(&"a", at(10)), None);
        assert_eq!(map.get_mut(&"a", at(10)), None);
        assert_eq!(map.remove(&"a", at(10)), None);
        assert!(map.is_empty());
    }

    #[test]
    fn a_full_map_refuses_new_keys_until_one_lapses() {
        let mut map = ExpiringMap::new(2, 1);
        map.insert("a", 1, at(10), at(0)).unwrap();
        map.insert("b", 2, at(20), at(0)).unwrap();
        assert_eq!((map.insert("c", 3, at(30), at(9)), map.refused()), (Err(Full), 1));
        assert_eq!(map.insert("a", 4, at(10), at(9)), Ok(()), "a key that is there is replaced");
        assert_eq!(map.insert("c", 3, at(30), at(10)), Ok(()));
        assert_eq!((map.get(&"a", at(10)), map.len()), (None, 2));
    }

    #[test]
    fn a_map_agrees_with_a_plain_one_that_is_searched_in_full() {
        sim::seeds(100, |rng| {
            let mut map = ExpiringMap::new(12, rng.next_u64());
            let mut model = BTreeMap::<u64, (Time, u64)>::new();
            let mut now = Time::ZERO;
            for step in 0..400 {
                now += std::time::Duration::from_secs(rng.below(3));
                let key = rng.below(20);
                match rng.below(4) {
                    0 | 1 => {
                        let deadline = now + std::time::Duration::from_secs(rng.below(20));
                        if map.insert(key, step, deadline, now).is_ok() {
                            model.insert(key, (deadline, step));
                        } else {
                            assert!(map.len() == 12 && model.get(&key).is_none_or(|(deadline, _)| now >= *deadline));
                        }
                    }
                    2 => {
                        let expected =
                            model.remove(&key).filter(|(deadline, _)| now < *deadline).map(|(_, value)| value);
                        assert_eq!(map.remove(&key, now), expected);
                    }
                    _ => {
                        map.clear_lapsed(now, 3, |key, value| {
                            assert_eq!(model.remove(&key).map(|entry| entry.1), Some(value))
                        });
                    }
                }
                for key in 0..20 {
                    let expected = model.get(&key).filter(|(deadline, _)| now < *deadline).map(|(_, value)| value);
                    assert_eq!(map.get(&key, now), expected);
                }
                assert!(map.len() <= 12);
            }
        });
    }
}
