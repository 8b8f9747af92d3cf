//! Deadlines by the second.

use std::collections::BTreeMap;

use crate::Unix;

/// Which keys fall due in which second of the wall clock.
///
/// Cancelling is lazy: nothing is ever removed before its second. The owner looks at each due key, lets it go when it no longer exists, and schedules it
/// again when its deadline has moved. An owner that schedules a key only when it has no entry yet keeps one entry a key, however often the deadline moves out.
#[derive(Debug, Clone)]
pub struct Calendar<K> {
    buckets: BTreeMap<Unix, Vec<K>>,
    len: usize,
    /// Keys that the buckets have room for.
    room: usize,
    /// Where the next sweep goes on: a second, and an index in its bucket.
    swept: (Unix, usize),
}

impl<K> Default for Calendar<K> {
    fn default() -> Self {
        Calendar { buckets: BTreeMap::new(), len: 0, room: 0, swept: (Unix(0), 0) }
    }
}

impl<K> Calendar<K> {
    /// Makes `key` due in the second `at`.
    pub fn schedule(&mut self, at: Unix, key: K) {
        let keys = self.buckets.entry(at).or_default();
        let before = keys.capacity();
        keys.push(key);
        self.room += keys.capacity() - before;
        self.len += 1;
    }

    /// Appends to `due` at most `limit` keys whose second is `now` or earlier, the earliest seconds first, and says how many.
    /// A million leases that end together thus disturb nobody: what is left stays due.
    pub fn take_due(&mut self, now: Unix, limit: usize, due: &mut Vec<K>) -> usize {
        let before = due.len();
        while let Some(mut bucket) = self.buckets.first_entry().filter(|bucket| *bucket.key() <= now) {
            let keys = bucket.get_mut();
            let room = limit - (due.len() - before);
            due.extend(keys.drain(keys.len().saturating_sub(room)..));
            if !keys.is_empty() {
                break;
            }
            self.room -= bucket.remove().capacity();
        }
        let taken = due.len() - before;
        self.len -= taken;
        taken
    }

    /// Looks at no more than `limit` keys, and lets go of those that are not `awaited` any more. The next call goes on behind
    /// them, and after the last second at the first: an owner whose deadlines move nearer calls it to bound what stays behind.
    pub fn sweep(&mut self, limit: usize, mut awaited: impl FnMut(&K) -> bool) {
        let (mut second, mut index) = self.swept;
        for _ in 0..limit {
            let Some((&found, keys)) = self.buckets.range_mut(second..).next() else {
                (second, index) = (Unix(0), 0);
                continue;
            };
            if found != second {
                (second, index) = (found, 0);
            }
            match keys.get(index) {
                Some(key) if awaited(key) => index += 1,
                Some(_) => {
                    keys.swap_remove(index);
                    self.len -= 1;
                    if keys.is_empty() {
                        self.room -= keys.capacity();
                        self.buckets.remove(&found);
                    }
                }
                None => (second, index) = (Unix(second.0.saturating_add(1)), 0),
            }
        }
        self.swept = (second, index);
    }

    /// Bytes of memory behind it, the allocator's rounding aside.
    pub fn memory(&self) -> usize {
        self.room * size_of::<K>() + self.buckets.len() * 2 * size_of::<(Unix, Vec<K>)>()
    }

    /// The earliest second with a key.
    pub fn next(&self) -> Option<Unix> {
        self.buckets.keys().next().copied()
    }

    /// Entries held.
    pub fn len(&self) -> usize {
        self.len
    }

    /// Whether nothing is scheduled.
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sim;

    #[test]
    fn a_second_that_holds_more_than_a_slice_is_taken_in_slices() {
        let mut calendar = Calendar::default();
        (0..10).for_each(|key| calendar.schedule(Unix(5), key));
        calendar.schedule(Unix(4), 99);
        calendar.schedule(Unix(6), 100);
        let mut due = Vec::new();
        assert_eq!(calendar.take_due(Unix(3), 4, &mut due), 0);
        assert_eq!(calendar.take_due(Unix(5), 4, &mut due), 4);
        assert_eq!((due[0], calendar.next(), calendar.len()), (99, Some(Unix(5)), 8));
        assert_eq!(calendar.take_due(Unix(5), 100, &mut due), 7);
        assert_eq!((calendar.next(), calendar.len()), (Some(Unix(6)), 1));
        assert_eq!(calendar.take_due(Unix(6), 0, &mut due), 0);
        assert!(!calendar.is_empty());
    }

    #[test]
    fn every_key_falls_due_once_and_never_early() {
        sim::seeds(50, |rng| {
            let mut calendar = Calendar::default();
            let mut pending = BTreeMap::new();
            let mut key = 0u32;
            for now in 0..200 {
                for _ in 0..rng.below(8) {
                    let at = now + rng.below(40) as u32;
                    calendar.schedule(Unix(at), key);
                    pending.insert(key, at);
                    key += 1;
                }
                let mut due = Vec::new();
                let limit = rng.below(10) as usize;
                let taken = calendar.take_due(Unix(now), limit, &mut due);
                assert_eq!(taken, due.len());
                assert_eq!(calendar.room, calendar.buckets.values().map(Vec::capacity).sum::<usize>());
                assert!(taken <= limit);
                for key in due {
                    assert!(pending.remove(&key).expect("due once") <= now);
                }
                let overdue = pending.values().filter(|at| **at <= now).count();
                assert!(overdue == 0 || taken == limit, "a slice with room left nothing due");
                assert_eq!(
                    (calendar.len(), calendar.next().map(|at| at.0)),
                    (pending.len(), pending.values().min().copied())
                );
            }
        });
    }

    #[test]
    fn a_sweep_lets_go_of_what_nobody_awaits_a_few_keys_at_a_time() {
        sim::seeds(50, |rng| {
            let mut calendar = Calendar::default();
            let mut kept = Vec::new();
            for key in 0..200u32 {
                let at = Unix(rng.below(20) as u32);
                calendar.schedule(at, key);
                if key % 3 == 0 {
                    kept.push(key);
                }
                let mut looked = 0;
                calendar.sweep(2, |_| {
                    looked += 1;
                    true
                });
                assert!(looked <= 2);
            }
            // Twice around: every key, every end of a second, and the way back to the first.
            for _ in 0..2 * (200 + 20 + 2) {
                calendar.sweep(1, |key| key % 3 == 0);
            }
            assert_eq!(calendar.len(), kept.len());
            let mut left = Vec::new();
            calendar.take_due(Unix(20), usize::MAX, &mut left);
            left.sort_unstable();
            assert_eq!(left, kept);
            calendar.sweep(10, |_| true);
        });
    }
}
