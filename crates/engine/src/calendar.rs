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
}

impl<K> Default for Calendar<K> {
    fn default() -> Self {
        Calendar { buckets: BTreeMap::new(), len: 0 }
    }
}

impl<K> Calendar<K> {
    /// Makes `key` due in the second `at`.
    pub fn schedule(&mut self, at: Unix, key: K) {
        self.buckets.entry(at).or_default().push(key);
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
            bucket.remove();
        }
        let taken = due.len() - before;
        self.len -= taken;
        taken
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
}
