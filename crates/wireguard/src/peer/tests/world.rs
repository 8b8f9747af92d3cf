//! Hours over a link that loses, doubles and reorders.

use std::collections::BTreeSet;

use outwork_engine::sim::{Event, Node, Quality, World, seeds};

use super::*;

const HOUR: Duration = Duration::from_secs(3600);

/// Runs two ends over a link, each sending a packet every `period`. Gives, an end, what it sent while it could.
fn live(rng: &mut Rng, quality: Quality, period: Duration, long: Duration) -> ([End; 2], [BTreeSet<u64>; 2], u64) {
    let mut ends = ends(rng);
    let mut world: World<(SocketAddr, Vec<u8>)> = World::new(rng, quality);
    let mut sent = [BTreeSet::new(), BTreeSet::new()];
    let mut next = [Time::from_secs(1), Time::from_secs(1) + period / 2];
    let (mut number, mut unsent) = (0, 0);
    while world.now() < Time::ZERO + long {
        let due =
            |at: usize, ends: &[End; 2]| ends[at].peer.poll_timeout().map_or(Time::MAX, |(at, _)| at).min(next[at]);
        let deadline = due(0, &ends).min(due(1, &ends)).max(world.now());
        match world.step(Some(deadline)) {
            Event::Arrival(arrival) => {
                let (from, datagram) = arrival.message;
                ends[arrival.to.0 as usize].receive(world.now(), from, &datagram);
            }
            _ => {
                let now = world.now();
                for at in 0..2 {
                    if ends[at].peer.poll_timeout().is_some_and(|(at, _)| at <= now) {
                        ends[at].timeout(now);
                    }
                    if next[at] <= now {
                        next[at] = now + period;
                        number += 1;
                        if ends[at].send(now, number) {
                            sent[at].insert(number);
                        } else {
                            unsent += 1;
                        }
                    }
                }
            }
        }
        for (at, end) in ends.iter_mut().enumerate() {
            let from = end.address;
            for (_, datagram) in std::mem::take(&mut end.sent) {
                world.send(Node(at as u32), Node(1 - at as u32), (from, datagram));
            }
        }
    }
    (ends, sent, unsent)
}

#[test]
fn a_good_link_loses_nothing_while_keys_take_over_from_each_other_for_hours() {
    // Delay and jitter, so that packets are under way and overtake each other when keys change.
    let quality =
        Quality { loss: 0.0, duplication: 0.1, delay: Duration::from_millis(200), jitter: Duration::from_millis(400) };
    seeds(3, |rng| {
        let (ends, sent, unsent) = live(rng, quality, Duration::from_millis(500), 3 * HOUR);
        assert!(unsent < 8, "{unsent} before the first session");
        for at in 0..2 {
            let got: BTreeSet<_> = ends[1 - at].got.iter().copied().collect();
            assert_eq!(got.len(), ends[1 - at].got.len(), "nothing came twice");
            let lost: Vec<_> = sent[at].difference(&got).collect();
            // The last may still be under way.
            assert!(lost.len() <= 3 && lost.iter().all(|number| **number + 10 > *sent[at].last().unwrap()), "{lost:?}");
            assert!(ends[at].said.iter().filter(|said| **said == "seal").count() >= 85, "keys every two minutes");
            assert!(!ends[at].said.contains(&"lost"));
            assert!(ends[at].table.used() <= 6);
        }
    });
}

#[test]
fn a_bad_link_stays_up_for_hours() {
    seeds(4, |rng| {
        let (ends, sent, unsent) = live(rng, Quality::BAD, Duration::from_secs(1), 4 * HOUR);
        assert!(unsent < 100, "{unsent} of {}", sent[0].len());
        for at in 0..2 {
            let got: BTreeSet<_> = ends[1 - at].got.iter().copied().collect();
            assert_eq!(got.len(), ends[1 - at].got.len(), "nothing came twice");
            assert!(got.is_subset(&sent[at]));
            assert!(got.len() * 10 > sent[at].len() * 7, "{} of {}", got.len(), sent[at].len());
            assert!(!ends[at].said.contains(&"gave up"));
            assert!(ends[at].table.used() <= 6);
        }
    });
}
