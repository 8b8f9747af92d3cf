use bytes::Bytes;
use outwork_engine::{Rng, sim};

use super::*;
use crate::entry::{Entry, UnixMillis};

const OWN: Origin = Origin(1);
const OTHER: Origin = Origin(0xfeed_0000_0000_0002);
const KEY: Key = Key::from_bytes([3; 16]);

fn purge(name: &str) -> Told {
    Told::Purge(Purge::Name(name.into()))
}

fn message(epoch: u64, origin: Origin, told: Told) -> Message {
    Message { epoch, origin, told }
}

fn entry(name: &str) -> Entry {
    let (meta, body) = (Bytes::new(), Bytes::new());
    Entry { name: name.into(), meta, body, tags: [].into(), expires: UnixMillis::NEVER, decoded: Default::default() }
}

/// A [`Heard`] that knows of no purge, and Redis counts so many.
fn at(epoch: u64) -> Heard {
    let mut heard = Heard::new(None);
    let (caught_up, list) = heard.catch_up(epoch, vec![], OWN);
    assert_eq!(caught_up, CaughtUp::Purge(vec![]), "there is nothing here yet that could be meant");
    heard.replace(list);
    heard
}

impl Heard {
    fn bars(&self, era: u64, name: &str) -> bool {
        self.list().unwrap().bars(era, &KEY, &entry(name))
    }
}

#[test]
fn a_message_is_read_as_the_script_writes_it() {
    let told = [purge("https://a/b c"), Told::Key(KEY), Told::Reset, Told::Purge(Purge::All)];
    for told in told {
        let text = format!("17 {OTHER} {}", told.encode());
        assert_eq!(Message::decode(&text), Some(message(17, OTHER, told)));
    }
    for wrong in ["", "17", "17 1", "x 1 a", "17 x a", "17 1 ", "17 1 x", "-1 1 a"] {
        assert_eq!(Message::decode(wrong), None, "{wrong}");
    }
}

#[test]
fn what_another_tells_is_heeded_once_and_then_held_against_older_entries() {
    let mut heard = at(7);
    assert!(heard.bars(6, "a"), "what was told before is not known");
    let (heed, noted) = heard.message(message(8, OTHER, purge("a")), OWN);
    assert_eq!(heed, Heed::Purge(Purge::Name("a".into())));
    assert!(!heard.bars(7, "a") && heard.epoch() == Some(7), "not before it was heeded");
    heard.note(noted.unwrap());
    assert!(heard.bars(7, "a") && !heard.bars(7, "b") && !heard.bars(8, "a"));
    assert_eq!(heard.message(message(8, OTHER, purge("a")), OWN), (Heed::Nothing, None));
}

#[test]
fn what_this_instance_told_and_what_concerns_redis_alone_purges_nothing_here() {
    let mut heard = at(0);
    for (epoch, origin, told) in [(1, OWN, purge("a")), (2, OTHER, Told::Key(KEY)), (3, OTHER, Told::Reset)] {
        let (heed, noted) = heard.message(message(epoch, origin, told), OWN);
        assert_eq!(heed, Heed::Nothing);
        heard.note(noted.unwrap());
        assert_eq!(heard.epoch(), Some(epoch));
    }
    assert!(heard.bars(2, "anything"));
}

#[test]
fn a_message_that_does_not_follow_the_last_makes_it_ask() {
    let heard = &mut at(3);
    assert_eq!(heard.message(message(5, OTHER, purge("a")), OWN), (Heed::Ask, None));
    assert_eq!(Heard::new(None).message(message(1, OTHER, purge("a")), OWN), (Heed::Ask, None));
    let (caught_up, list) = heard.catch_up(5, vec![message(4, OTHER, purge("b")), message(5, OTHER, purge("a"))], OWN);
    let names = ["b", "a"].map(|name| Purge::Name(name.into()));
    assert_eq!(caught_up, CaughtUp::Purge((4..).zip(names).collect()));
    heard.replace(list);
    assert!(heard.bars(3, "b") && !heard.bars(4, "b") && heard.bars(4, "a"));
}

#[test]
fn purges_that_redis_does_not_have_any_more_were_missed() {
    let heard = at(3);
    for messages in [vec![], vec![message(5, OTHER, purge("a")), message(6, OTHER, purge("b"))]] {
        let (caught_up, list) = heard.catch_up(6, messages, OWN);
        assert_eq!((caught_up, list.newest()), (CaughtUp::Missed, 6));
        assert!(list.bars(3, &KEY, &entry("anything")));
    }
}

#[test]
fn after_a_restart_what_was_told_meanwhile_is_heeded_and_what_was_before_is_not_again() {
    let messages = || (1..=4).map(|epoch| message(epoch, OTHER, purge(&epoch.to_string()))).collect::<Vec<_>>();
    let names = |epochs: &[u64]| -> Vec<_> {
        epochs.iter().map(|epoch| (*epoch, Purge::Name(epoch.to_string().into()))).collect()
    };
    let (caught_up, list) = Heard::new(Some(2)).catch_up(4, messages(), OWN);
    assert_eq!(caught_up, CaughtUp::Purge(names(&[3, 4])));
    assert!(list.bars(0, &KEY, &entry("1")), "but entries in Redis may be as old as the first");
    let (caught_up, _) = Heard::new(Some(2)).catch_up(4, messages().split_off(3), OWN);
    assert_eq!(caught_up, CaughtUp::Missed);
    let (caught_up, _) = Heard::new(Some(3)).catch_up(4, messages().split_off(3), OWN);
    assert_eq!(caught_up, CaughtUp::Purge(names(&[4])));
    let (caught_up, _) = Heard::new(None).catch_up(4, messages(), OWN);
    assert_eq!(caught_up, CaughtUp::Purge(vec![]));
}

#[test]
fn a_redis_that_lost_what_it_counted_is_noticed() {
    assert_eq!(at(9).catch_up(8, vec![], OWN).0, CaughtUp::Lost(9));
    assert_eq!(Heard::new(Some(9)).catch_up(0, vec![], OWN).0, CaughtUp::Lost(9));
    // After the reset it goes on from there, and nothing in Redis counts.
    let heard = at(9);
    let (caught_up, list) = heard.catch_up(10, vec![message(10, OWN, Told::Reset)], OWN);
    assert_eq!(caught_up, CaughtUp::Purge(vec![]));
    assert!(list.bars(9, &KEY, &entry("anything")));
}

/// Redis as far as purges go: a count, and the last few of what was told.
#[derive(Clone, Default)]
struct Model {
    epoch: u64,
    kept: Vec<Message>,
}

#[test]
fn whatever_messages_are_lost_nothing_that_was_purged_passes() {
    sim::seeds(300, |rng: &mut Rng| {
        let (mut redis, mut snapshot) = (Model::default(), Model::default());
        let mut heard = Heard::new(None);
        // Of an entry written at an epoch by that name, whether it was purged since; and what this instance purged.
        let mut told: Vec<(u64, String)> = vec![];
        let mut entries: Vec<(u64, String)> = vec![];
        let mut local: Vec<String> = vec![];
        let mut everything = false;
        for _ in 0..200 {
            match rng.below(20) {
                0..8 => {
                    redis.epoch += 1;
                    let name = rng.below(5).to_string();
                    let message = message(redis.epoch, OTHER, purge(&name));
                    told.push((redis.epoch, name));
                    redis.kept.push(message.clone());
                    if redis.kept.len() > 4 {
                        redis.kept.remove(0);
                    }
                    if rng.chance(0.6) {
                        let (heed, noted) = heard.message(message, OWN);
                        if let Heed::Purge(Purge::Name(name)) = heed {
                            local.push(name.into());
                        }
                        noted.into_iter().for_each(|noted| heard.note(noted));
                    }
                }
                8..13 => {
                    if let Some(epoch) = heard.epoch() {
                        entries.push((epoch, rng.below(5).to_string()));
                    }
                }
                13 => snapshot = redis.clone(),
                14 => {
                    // It restarts from what it saved. Entries written since are gone.
                    redis = snapshot.clone();
                    entries.retain(|(epoch, _)| *epoch <= redis.epoch);
                }
                _ => {
                    for _ in 0..2 {
                        let after = heard.epoch().unwrap_or(0);
                        let messages = redis.kept.iter().filter(|kept| kept.epoch > after).cloned().collect();
                        let (caught_up, list) = heard.catch_up(redis.epoch, messages, OWN);
                        match caught_up {
                            CaughtUp::Purge(purges) => local.extend(purges.into_iter().map(|(_, purge)| match purge {
                                Purge::Name(name) => name.into(),
                                _ => panic!("only names were purged"),
                            })),
                            CaughtUp::Missed => everything = true,
                            CaughtUp::Lost(known) => {
                                redis.epoch = known + 1;
                                redis.kept.push(message(known + 1, OWN, Told::Reset));
                                continue;
                            }
                        }
                        heard.replace(list);
                        break;
                    }
                }
            }
            let Some(known) = heard.epoch().filter(|known| *known >= redis.epoch) else { continue };
            assert_eq!(known, redis.epoch.max(known));
            for (era, name) in &entries {
                let purged = told.iter().any(|(epoch, told)| epoch > era && told == name);
                assert!(!purged || heard.bars(*era, name), "{era} {name} at {known}");
            }
            if !everything {
                let first = told.first().map_or(0, |(epoch, _)| *epoch);
                let due = told.iter().filter(|(epoch, _)| *epoch > first && *epoch <= known);
                assert!(due.count() <= local.len() + told.len(), "{local:?}");
            }
        }
    });
}
