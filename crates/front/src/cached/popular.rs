//! What is asked for often enough to be fetched again before it is stale. Pure; bounded.

use std::collections::HashMap;
use std::sync::atomic::Ordering;
use std::sync::{Arc, Weak};
use std::time::Duration;

use http::{HeaderMap, Uri};
use outwork_cache::{Key, UnixMillis};

use super::stored::Stored;

/// The last hour is counted in parts of five minutes.
const PART: u64 = 5 * 60_000;
const PARTS: usize = 12;
/// Of so many that are looked at, the least popular gives way to a new one.
const LOOKED_AT: usize = 8;
/// What lives shorter than this is not worth fetching before anybody asks.
const SHORTEST: Duration = Duration::from_secs(4);

/// A request that can be made again.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Repeat {
    /// The target in origin form.
    pub(crate) target: Uri,
    pub(crate) tls: bool,
    /// `Host`, and the fields that the response depends on.
    pub(crate) fields: HeaderMap,
}

/// Requests and how often they were made.
#[derive(Debug)]
pub(crate) struct Popular {
    most: usize,
    slots: Vec<Slot>,
    by_key: HashMap<Key, usize>,
    /// Where the search for who gives way goes on.
    hand: usize,
}

#[derive(Debug)]
struct Slot {
    key: Key,
    repeat: Arc<Repeat>,
    stored: Weak<Stored>,
    /// When it is fetched again, if it is asked for often enough; `None` once that was done.
    due: Option<UnixMillis>,
    counts: [u32; PARTS],
    /// The part of time that was counted last.
    part: u64,
}

impl Slot {
    /// Forgets what is more than an hour ago.
    fn move_on(&mut self, now: UnixMillis) {
        let part = now.0 / PART;
        let passed = part.saturating_sub(self.part).min(PARTS as u64);
        for later in 1..=passed {
            if let Some(count) = self.counts.get_mut((self.part + later) as usize % PARTS) {
                *count = 0;
            }
        }
        self.part = self.part.max(part);
    }

    fn add(&mut self, requests: u32) {
        if let Some(count) = self.counts.get_mut(self.part as usize % PARTS) {
            *count = count.saturating_add(requests);
        }
    }

    fn total(&self) -> u32 {
        self.counts.iter().fold(0, |sum, count| sum.saturating_add(*count))
    }

    /// Takes the hits since it was last looked at.
    fn count(&mut self, now: UnixMillis) {
        self.move_on(now);
        let hits = self.stored.upgrade().map_or(0, |stored| stored.hits.swap(0, Ordering::Relaxed));
        self.add(hits);
    }
}

impl Popular {
    /// Keeps count of so many at most.
    pub(crate) fn new(most: usize) -> Self {
        Self { most: most.max(1), slots: Vec::new(), by_key: HashMap::new(), hand: 0 }
    }

    /// A response was stored, on somebody's request if it was `asked` for.
    pub(crate) fn stored(
        &mut self,
        key: Key,
        stored: &Arc<Stored>,
        asked: bool,
        now: UnixMillis,
        repeat: impl FnOnce() -> Repeat,
    ) {
        let left = stored.life.fresh.saturating_sub(stored.age(now));
        // A tenth of its life before the end, but at least two seconds, in which it can be fetched.
        let due = (left >= SHORTEST).then(|| now.after(left - (left / 10).max(Duration::from_secs(2))));
        let at = match self.by_key.get(&key) {
            Some(at) => *at,
            None if due.is_none() => return,
            None => self.place(key, now, repeat()),
        };
        let Some(slot) = self.slots.get_mut(at) else { return };
        slot.count(now);
        slot.add(u32::from(asked));
        (slot.stored, slot.due) = (Arc::downgrade(stored), due);
    }

    fn place(&mut self, key: Key, now: UnixMillis, repeat: Repeat) -> usize {
        let slot =
            Slot { key, repeat: repeat.into(), stored: Weak::new(), due: None, counts: [0; PARTS], part: now.0 / PART };
        if self.slots.len() < self.most {
            self.slots.push(slot);
            self.by_key.insert(key, self.slots.len() - 1);
            return self.slots.len() - 1;
        }
        let count = self.slots.len();
        let looked_at = (self.hand..self.hand + LOOKED_AT.min(count)).map(|at| at % count);
        self.hand = (self.hand + LOOKED_AT) % count;
        let mut least = (0, u32::MAX);
        for at in looked_at {
            if let Some(slot) = self.slots.get_mut(at) {
                slot.count(now);
                if slot.total() < least.1 {
                    least = (at, slot.total());
                }
            }
        }
        if let Some(place) = self.slots.get_mut(least.0) {
            self.by_key.remove(&place.key);
            *place = slot;
        }
        self.by_key.insert(key, least.0);
        least.0
    }

    /// What is to be fetched again now: it was asked for at least `threshold` times in the last hour, and will soon be stale. Each is told once.
    pub(crate) fn due(&mut self, threshold: u32, now: UnixMillis) -> Vec<Arc<Repeat>> {
        let mut due = Vec::new();
        for slot in &mut self.slots {
            slot.count(now);
            if slot.due.is_some_and(|at| at <= now) {
                slot.due = None;
                if slot.total() >= threshold {
                    due.push(Arc::clone(&slot.repeat));
                }
            }
        }
        due
    }
}

#[cfg(test)]
mod tests {
    use http::StatusCode;

    use super::*;
    use crate::cached::stored::Life;

    const NOW: UnixMillis = UnixMillis(784_111_777_000);

    fn at(seconds: u64) -> UnixMillis {
        NOW.after(Duration::from_secs(seconds))
    }

    fn response(born: UnixMillis, seconds: u64) -> Arc<Stored> {
        let life = Life { fresh: Duration::from_secs(seconds), ..Life::default() };
        Arc::new(Stored::new(StatusCode::OK, HeaderMap::new(), born, life))
    }

    fn repeat(path: &'static str) -> Repeat {
        Repeat { target: Uri::from_static(path), tls: false, fields: HeaderMap::new() }
    }

    fn key(number: u8) -> Key {
        Key::from_bytes([number; 16])
    }

    fn paths(due: Vec<Arc<Repeat>>) -> Vec<String> {
        due.iter().map(|repeat| repeat.target.to_string()).collect()
    }

    #[test]
    fn what_is_popular_is_due_once_before_it_is_stale() {
        let mut popular = Popular::new(10);
        let (often, seldom) = (response(NOW, 300), response(NOW, 300));
        popular.stored(key(1), &often, true, NOW, || repeat("/often"));
        popular.stored(key(2), &seldom, true, NOW, || repeat("/seldom"));
        often.hits.store(9, Ordering::Relaxed);
        seldom.hits.store(8, Ordering::Relaxed);
        assert!(popular.due(10, at(269)).is_empty());
        assert_eq!(paths(popular.due(10, at(270))), ["/often"]);
        assert!(popular.due(10, at(271)).is_empty(), "once");
        popular.stored(key(1), &response(at(271), 300), false, at(271), || repeat("/often"));
        assert_eq!(
            paths(popular.due(10, at(541))),
            ["/often"],
            "what was counted before still counts, and being fetched does not"
        );
    }

    #[test]
    fn an_hour_later_nobody_knows() {
        let mut popular = Popular::new(10);
        let stored = response(NOW, 86_400);
        popular.stored(key(1), &stored, true, NOW, || repeat("/a"));
        stored.hits.store(100, Ordering::Relaxed);
        assert!(popular.due(10, at(10)).is_empty());
        stored.hits.store(9, Ordering::Relaxed);
        assert!(popular.due(10, at(86_400 / 10 * 9)).is_empty());
    }

    #[test]
    fn what_lives_too_short_is_left_alone() {
        let mut popular = Popular::new(10);
        popular.stored(key(1), &response(NOW, 3), true, NOW, || unreachable!());
        assert!(popular.due(0, at(3)).is_empty() && popular.slots.is_empty());
    }

    #[test]
    fn there_is_room_for_so_many_and_the_less_popular_give_way() {
        let mut popular = Popular::new(8);
        let hot = response(NOW, 300);
        popular.stored(key(0), &hot, true, NOW, || repeat("/hot"));
        hot.hits.store(50, Ordering::Relaxed);
        for number in 1..200 {
            popular.stored(key(number), &response(NOW, 300), true, NOW, || repeat("/cold"));
        }
        assert_eq!((popular.slots.len(), popular.by_key.len()), (8, 8));
        assert_eq!(paths(popular.due(10, at(290))), ["/hot"]);
        assert!(popular.by_key.iter().all(|(key, at)| popular.slots[*at].key == *key));
    }
}
