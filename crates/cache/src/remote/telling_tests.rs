use bytes::Bytes;
use outwork_engine::{Rng, sim};

use super::*;
use crate::entry::UnixMillis;

const OWN: Origin = Origin(1);
const OTHER: Origin = Origin(0xfeed_0000_0000_0002);
const KEY: Key = Key::from_bytes([3; 16]);

fn purge(name: &str) -> Told {
    Told::Purge(Purge::Name(name.into()))
}

/// The epoch of a number in the one history that most tests need.
fn epoch(count: u64) -> Epoch {
    Epoch { count, mark: if count == 0 { 0 } else { count.wrapping_mul(0x9e37_79b9_7f4a_7c15) } }
}

fn message(count: u64, origin: Origin, told: Told) -> Message {
    Message { epoch: epoch(count), before: epoch(count.saturating_sub(1)).mark, origin, told }
}

fn entry(name: &str) -> Entry {
    let (meta, body) = (Bytes::new(), Bytes::new());
    Entry { name: name.into(), meta, body, tags: [].into(), expires: UnixMillis::NEVER, decoded: Default::default() }
}

fn names(names: &[&str]) -> Vec<Purge> {
    names.iter().map(|name| Purge::Name((*name).into())).collect()
}

/// A [`Heard`] that knows of no purge, and Redis counts so many.
fn at(count: u64) -> Heard {
    let mut heard = Heard::new(None);
    match heard.catch_up(epoch(count), &[], true, OWN) {
        CaughtUp::First(history) => heard.replace(history),
        other => panic!("{other:?}"),
    }
    heard
}

impl History {
    fn has(&self, count: u64, name: &str) -> bool {
        self.admits(epoch(count).stamp(), &KEY, &entry(name))
    }
}

impl Heard {
    fn has(&self, count: u64, name: &str) -> bool {
        self.history().unwrap().has(count, name)
    }
}

#[test]
fn a_message_is_read_as_the_script_writes_it() {
    let reset = Told::Reset { known: epoch(4), seen: Epoch::default() };
    for told in [purge("https://a/b c"), Told::Key(KEY), Told::Forget, reset, Told::Purge(Purge::All)] {
        let text = format!("{} {:016x} {OTHER} {}", epoch(17), epoch(16).mark, told.encode());
        assert_eq!(Message::decode(&text), Some(message(17, OTHER, told)));
    }
    for wrong in [
        "",
        "17-1 1 1",
        "17 1 1 a",
        "x-1 1 1 a",
        "17-x 1 1 a",
        "17-1 x 1 a",
        "17-1 1 x a",
        "17-1 1 1 ",
        "17-1 1 1 r",
        "0-1 1 1 a",
    ] {
        assert_eq!(Message::decode(wrong), None, "{wrong}");
    }
    assert_eq!(Message::decode("1099511627776-1 1 1 a"), None, "a stamp does not hold it");
}

#[test]
fn what_another_tells_is_heeded_once_and_then_held_against_older_entries() {
    let mut heard = at(7);
    assert!(!heard.has(6, "a"), "what was told before is not known");
    assert!(heard.has(7, "a"));
    let told = message(8, OTHER, purge("a"));
    assert_eq!(heard.message(&told, OWN), Heed::Purge(Some(Purge::Name("a".into()))));
    assert!(heard.has(7, "a"), "not before it was heeded");
    heard.note(told.clone());
    assert!(!heard.has(7, "a") && heard.has(7, "b") && heard.has(8, "a"));
    assert_eq!(heard.message(&told, OWN), Heed::Known);
}

#[test]
fn what_this_instance_told_and_what_concerns_redis_alone_purges_nothing_here() {
    let mut heard = at(0);
    let reset = Told::Reset { known: epoch(2), seen: epoch(1) };
    for (count, origin, told) in [(1, OWN, purge("a")), (2, OTHER, Told::Key(KEY)), (3, OTHER, reset)] {
        let message = message(count, origin, told);
        assert_eq!(heard.message(&message, OWN), Heed::Purge(None));
        heard.note(message);
        assert_eq!(heard.epoch(), Some(epoch(count)));
    }
    assert!(!heard.has(2, "anything") && heard.has(3, "anything"));
}

#[test]
fn an_entry_of_another_history_does_not_count_though_its_number_does() {
    let mut heard = at(3);
    heard.note(message(4, OTHER, purge("a")));
    let stamp = Epoch { mark: 5, ..epoch(4) }.stamp();
    assert!(!heard.history().unwrap().admits(stamp, &KEY, &entry("b")));
    assert!(heard.has(4, "b") && !heard.has(5, "b"));
}

#[test]
fn a_message_that_does_not_follow_the_last_makes_it_ask() {
    let mut heard = at(3);
    assert_eq!(heard.message(&message(5, OTHER, purge("a")), OWN), Heed::Ask);
    let counted_again = Message { epoch: Epoch { mark: 9, ..epoch(3) }, ..message(3, OTHER, purge("a")) };
    assert_eq!(heard.message(&counted_again, OWN), Heed::Ask);
    assert_eq!(Heard::new(None).message(&message(1, OTHER, purge("a")), OWN), Heed::Ask);
    heard.note(message(4, OTHER, purge("z")));
    let kept = [(4, "z"), (5, "b"), (6, "a")].map(|(count, name)| message(count, OTHER, purge(name)));
    match heard.catch_up(epoch(6), &kept, false, OWN) {
        CaughtUp::Purge(purges, history) => {
            assert_eq!(purges, names(&["b", "a"]));
            assert!(!history.has(4, "b") && history.has(5, "b") && !history.has(5, "a"));
        }
        other => panic!("{other:?}"),
    }
    assert_eq!(heard.catch_up(epoch(4), &[], false, OWN), CaughtUp::Known);
}

#[test]
fn purges_that_redis_does_not_have_any_more_were_missed() {
    let mut heard = at(2);
    heard.note(message(3, OTHER, purge("z")));
    let kept = [(3, "z"), (5, "a"), (6, "b")].map(|(count, name)| message(count, OTHER, purge(name)));
    assert_eq!(heard.catch_up(epoch(6), &kept, false, OWN), CaughtUp::Lost(None));
    assert_eq!(heard.catch_up(epoch(6), &kept[1..], false, OWN), CaughtUp::AskForAll);
    assert_eq!(heard.catch_up(epoch(6), &kept[1..], true, OWN), CaughtUp::Lost(None));
}

#[test]
fn after_a_restart_what_was_told_meanwhile_is_heeded_and_what_was_before_is_not_again() {
    let kept: Vec<_> = (1..=4).map(|count| message(count, OTHER, purge(&count.to_string()))).collect();
    match Heard::new(Some(epoch(2))).catch_up(epoch(4), &kept, true, OWN) {
        CaughtUp::Purge(purges, history) => {
            assert_eq!(purges, names(&["3", "4"]));
            assert!(!history.has(0, "1"), "entries in Redis may be as old as the first");
            assert!(history.has(0, "5"));
        }
        other => panic!("{other:?}"),
    }
    assert_eq!(Heard::new(Some(epoch(2))).catch_up(epoch(4), &kept[3..], true, OWN), CaughtUp::Lost(None));
    assert!(matches!(Heard::new(Some(epoch(3))).catch_up(epoch(4), &kept, true, OWN),
        CaughtUp::Purge(purges, _) if purges == names(&["4"])));
}

#[test]
fn a_redis_that_forgot_is_reset_and_who_knew_as_much_as_who_reset_it_misses_nothing() {
    let mut heard = at(0);
    (1..=3).for_each(|count| heard.note(message(count, OTHER, purge("x"))));
    // All is gone, and one purge was told since.
    let told = Message { epoch: Epoch { count: 1, mark: 77 }, before: 0, ..message(1, OTHER, purge("new")) };
    let kept = [told.clone()];
    assert_eq!(heard.catch_up(told.epoch, &kept, true, OWN), CaughtUp::Lost(Some(names(&["new"]))));
    assert_eq!(heard.catch_up(Epoch::default(), &[], true, OWN), CaughtUp::Lost(Some(vec![])));
    // Another was first.
    let reset = message(4, OTHER, Told::Reset { known: epoch(3), seen: told.epoch });
    let kept = [told, reset, message(5, OTHER, purge("newer"))];
    match heard.catch_up(epoch(5), &kept, true, OWN) {
        CaughtUp::Purge(purges, history) => {
            assert_eq!(purges, names(&["new", "newer"]));
            assert!(!history.has(3, "a") && history.has(4, "a") && !history.has(4, "newer"));
        }
        other => panic!("{other:?}"),
    }
    // Who knew less has missed what Redis has lost.
    let mut late = at(0);
    late.note(message(1, OTHER, purge("x")));
    assert_eq!(late.catch_up(epoch(5), &kept, true, OWN), CaughtUp::Lost(None));
}

/// Redis as far as purges go: the epoch, the last few of what was told, and entries by name with their stamp and when they were written.
#[derive(Clone, Default)]
struct Redis {
    epoch: Epoch,
    kept: Vec<Message>,
    entries: Vec<(u64, String, u64)>,
}

impl Redis {
    fn publish(&mut self, rng: &mut Rng, count: u64, origin: Origin, told: Told) -> Message {
        let before = std::mem::replace(&mut self.epoch, Epoch { count, mark: rng.next_u64() }).mark;
        let message = Message { epoch: self.epoch, before, origin, told };
        self.kept.retain(|kept| kept.epoch.count < count);
        self.kept.push(message.clone());
        if self.kept.len() > 6 {
            self.kept.remove(0);
        }
        message
    }
}

/// An instance, and what it purged when.
struct Instance {
    origin: Origin,
    heard: Heard,
    purged: Vec<(u64, Purge)>,
}

impl Instance {
    fn message(&mut self, message: Message, now: u64) {
        if let Heed::Purge(purge) = self.heard.message(&message, self.origin) {
            self.purged.extend(purge.map(|purge| (now, purge)));
            self.heard.note(message);
        }
    }

    fn catch_up(&mut self, redis: &mut Redis, rng: &mut Rng, now: u64) {
        let mut all = self.heard.epoch().is_none();
        for _ in 0..4 {
            let from = if all { 0 } else { self.heard.known().count };
            let kept: Vec<_> = redis.kept.iter().filter(|kept| kept.epoch.count >= from).cloned().collect();
            let history = match self.heard.catch_up(redis.epoch, &kept, all, self.origin) {
                CaughtUp::Known => return,
                CaughtUp::AskForAll => {
                    all = true;
                    continue;
                }
                CaughtUp::Purge(purges, history) => {
                    self.purged.extend(purges.into_iter().map(|purge| (now, purge)));
                    history
                }
                CaughtUp::First(history) => {
                    self.purged.push((now, Purge::All));
                    history
                }
                CaughtUp::Lost(purges) => {
                    let purges = purges.unwrap_or_else(|| vec![Purge::All]);
                    self.purged.extend(purges.into_iter().map(|purge| (now, purge)));
                    let (known, seen) = (self.heard.known(), redis.epoch);
                    let count = known.count.max(seen.count) + 1;
                    let message = redis.publish(rng, count, self.origin, Told::Reset { known, seen });
                    History::at(message.epoch)
                }
            };
            self.heard.replace(history);
            assert_eq!(self.heard.epoch(), Some(redis.epoch));
            return;
        }
        panic!("it never catches up");
    }
}

#[test]
fn whatever_is_lost_on_the_way_or_by_redis_nothing_that_was_purged_passes_in_the_end() {
    sim::seeds(2000, |rng: &mut Rng| {
        let (mut redis, mut snapshot) = (Redis::default(), Redis::default());
        let instance = |origin| Instance { origin: Origin(origin), heard: Heard::new(None), purged: vec![] };
        let mut instances = [1, 2, 3].map(instance);
        // When, by whom, of which name.
        let mut told: Vec<(u64, usize, String)> = vec![];
        for now in 0..120 {
            let who = rng.below(3) as usize;
            match rng.below(24) {
                0..7 => {
                    instances[who].catch_up(&mut redis, rng, now);
                    let name = rng.below(5).to_string();
                    let count = redis.epoch.count + 1;
                    let message = redis.publish(rng, count, instances[who].origin, purge(&name));
                    told.push((now, who, name));
                    for (index, instance) in instances.iter_mut().enumerate() {
                        // Who tells asks at once.
                        if index == who || rng.chance(0.7) {
                            instance.message(message.clone(), now);
                        }
                    }
                }
                7..14 => {
                    if let Some(epoch) = instances[who].heard.epoch() {
                        redis.entries.push((epoch.stamp(), rng.below(5).to_string(), now));
                    }
                }
                14 => snapshot = redis.clone(),
                15 => redis = if rng.chance(0.5) { snapshot.clone() } else { Redis::default() },
                // Redis needs room, and takes what it likes.
                16 => redis.kept.clear(),
                17 => redis.epoch = Epoch::default(),
                _ => instances[who].catch_up(&mut redis, rng, now),
            }
            if now % 40 != 39 {
                continue;
            }
            for _ in 0..3 {
                instances.iter_mut().for_each(|instance| instance.catch_up(&mut redis, rng, now));
            }
            for (index, instance) in instances.iter().enumerate() {
                let history = instance.heard.history().unwrap();
                assert_eq!(history.epoch(), redis.epoch);
                for (stamp, name, written) in &redis.entries {
                    let purged = told.iter().any(|(when, _, purged)| when >= written && purged == name);
                    assert!(!purged || !history.admits(*stamp, &KEY, &entry(name)), "{name} of {written} at {now}");
                }
                for (when, who, name) in &told {
                    let heeded = instance.purged.iter().any(|(at, purge)| at >= when && purge.matches(&entry(name)));
                    assert!(*who == index || heeded, "{index} has not heeded {name} of {when}");
                }
            }
        }
    });
}
