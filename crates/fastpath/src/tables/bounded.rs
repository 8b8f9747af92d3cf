//! A map that never grows past its bound: what is new takes the place of what was not looked at.

use std::collections::{HashMap, VecDeque};
use std::hash::Hash;

/// Entries that are looked at for one to forget, before one is forgotten all the same.
const CHANCES: usize = 16;

/// A bounded map. In turn, each entry that was looked at since its last turn stays for another one (the clock algorithm).
#[derive(Debug)]
pub struct BoundedMap<K, V> {
    entries: HashMap<K, Entry<V>>,
    turns: VecDeque<K>,
    capacity: usize,
    forgotten: u64,
}

#[derive(Debug)]
struct Entry<V> {
    value: V,
    looked_at: bool,
}

impl<K: Hash + Eq + Clone, V> BoundedMap<K, V> {
    /// An empty map for at most `capacity` entries, and at least one.
    pub fn new(capacity: usize) -> Self {
        BoundedMap { entries: HashMap::new(), turns: VecDeque::new(), capacity: capacity.max(1), forgotten: 0 }
    }

    /// What is under `key`.
    pub fn get(&mut self, key: &K) -> Option<&V> {
        self.get_mut(key).map(|value| &*value)
    }

    /// What is under `key`, to be changed.
    pub fn get_mut(&mut self, key: &K) -> Option<&mut V> {
        let entry = self.entries.get_mut(key)?;
        entry.looked_at = true;
        Some(&mut entry.value)
    }

    /// Puts `value` under `key`, in place of what was there, or of another entry where the map is full.
    pub fn insert(&mut self, key: K, value: V) {
        if let Some(entry) = self.entries.get_mut(&key) {
            entry.value = value;
            return;
        }
        if self.entries.len() >= self.capacity {
            self.forget_one();
        }
        self.turns.push_back(key.clone());
        self.entries.insert(key, Entry { value, looked_at: false });
    }

    /// Keeps those of which `keep` says so.
    pub fn retain(&mut self, mut keep: impl FnMut(&K, &V) -> bool) {
        self.entries.retain(|key, entry| keep(key, &entry.value));
        let entries = &self.entries;
        self.turns.retain(|key| entries.contains_key(key));
    }

    /// Looks at the next `most` entries in turn, takes out those of which `is_over` says so, and says how many that were.
    pub fn sweep(&mut self, most: usize, mut is_over: impl FnMut(&K, &V) -> bool) -> usize {
        let before = self.entries.len();
        for _ in 0..most.min(self.turns.len()) {
            let Some(key) = self.turns.pop_front() else { break };
            match self.entries.get(&key) {
                Some(entry) if !is_over(&key, &entry.value) => self.turns.push_back(key),
                _ => drop(self.entries.remove(&key)),
            }
        }
        before - self.entries.len()
    }

    /// All of them.
    pub fn iter(&self) -> impl Iterator<Item = (&K, &V)> {
        self.entries.iter().map(|(key, entry)| (key, &entry.value))
    }

    /// How many there are.
    pub fn len(&self) -> usize {
        self.entries.len()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    /// How many had to make room.
    pub fn forgotten(&self) -> u64 {
        self.forgotten
    }

    fn forget_one(&mut self) {
        for chance in 0..=CHANCES {
            let Some(key) = self.turns.pop_front() else { return };
            match self.entries.get_mut(&key) {
                Some(entry) if entry.looked_at && chance < CHANCES => {
                    entry.looked_at = false;
                    self.turns.push_back(key);
                }
                _ => {
                    self.entries.remove(&key);
                    self.forgotten += 1;
                    return;
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_not_looked_at_makes_room() {
        let mut map = BoundedMap::new(3);
        for key in 0..3 {
            map.insert(key, key);
        }
        assert_eq!(map.get(&0), Some(&0));
        map.insert(3, 3);
        assert_eq!([0, 1, 3].map(|key| map.get(&key).copied()), [Some(0), None, Some(3)]);
        assert_eq!((map.len(), map.forgotten()), (3, 1));
    }

    #[test]
    fn room_is_found_where_everything_was_looked_at() {
        let mut map = BoundedMap::new(100);
        for key in 0..1000 {
            map.insert(key, key);
            assert_eq!(map.get(&key), Some(&key));
        }
        assert_eq!((map.len(), map.forgotten()), (100, 900));
    }

    #[test]
    fn a_sweep_goes_through_all_in_turn_and_takes_out_what_is_over() {
        let mut map = BoundedMap::new(10);
        (0..10).for_each(|key| map.insert(key, key));
        let mut met = vec![];
        for _ in 0..4 {
            map.sweep(3, |key, value| {
                met.push(*key);
                value % 2 == 0
            });
        }
        met.sort_unstable();
        met.dedup();
        assert_eq!((met.len(), map.len()), (10, 5));
        assert_eq!(map.sweep(100, |_, _| true), 5);
        assert!(map.is_empty());
    }

    #[test]
    fn what_is_not_kept_takes_no_turn() {
        let mut map = BoundedMap::new(2);
        map.insert(1, 1);
        map.insert(2, 2);
        map.retain(|key, _| *key == 2);
        map.insert(3, 3);
        assert_eq!((map.get(&2).copied(), map.len(), map.forgotten()), (Some(2), 2, 0));
    }
}
