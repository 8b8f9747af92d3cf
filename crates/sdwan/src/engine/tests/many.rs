//! Many sites: hubs that die, lines that go one way, that flap, that jitter.

use super::*;
use crate::engine::world::{HUBS, Line, World, hubs_and_spokes, pair as two, ring};
use liveness::Cause;
use outwork_engine::sim;

const LINE: Line = Line { jitter: Duration::from_millis(5), ..Line::CLEAN };
const CALL: (SiteId, SiteId) = (SiteId(1), SiteId(2));

/// Switches of calls that are not the first choice: when, by whom, from which path to which.
fn switched(events: &[(Time, SiteId, Event)]) -> Vec<(Time, SiteId, Why)> {
    let switch = |(at, site, event): &(Time, SiteId, Event)| match event {
        Event::Switch { lane: LaneId(1), why, .. } if *why != Why::First => Some((*at, *site, *why)),
        _ => None,
    };
    events.iter().filter_map(switch).collect()
}

fn downs(events: &[(Time, SiteId, Event)]) -> Vec<(SiteId, Option<Cause>)> {
    let down = |(_, site, event): &(Time, SiteId, Event)| match event {
        Event::Path { change, .. } if change.to == State::Down => Some((*site, change.cause)),
        _ => None,
    };
    events.iter().filter_map(down).collect()
}

/// Two sites with two uplinks each that have called each other for a while.
fn talking(rng: &mut Rng) -> World {
    let mut world = World::new(&two(2), LINE, rng).unwrap();
    world.talk(&[CALL], seconds(10), millis(20));
    world.take_events();
    world
}

#[test]
fn when_a_hub_dies_all_who_spoke_by_it_speak_by_the_other() {
    sim::seeds(2, |rng| {
        let mut world = World::new(&hubs_and_spokes(20, 2), LINE, rng).unwrap();
        let pairs = ring(20);
        world.talk(&pairs, seconds(12), millis(50));
        let by = |world: &World, hub: SiteId| {
            pairs.iter().filter(|pair| world.way(**pair).is_some_and(|way| way.via == Some(hub))).count()
        };
        assert_eq!(by(&world, HUBS[0]) + by(&world, HUBS[1]), 20, "all speak by a hub");
        let dies = HUBS.into_iter().max_by_key(|hub| by(&world, *hub)).unwrap();
        world.take_events();
        world.live(dies, false);
        let cut = world.now();
        world.talk(&pairs, seconds(3), millis(50));
        assert_eq!((by(&world, dies), by(&world, HUBS[0]) + by(&world, HUBS[1])), (0, 20));
        let events = world.take_events();
        let last = switched(&events).into_iter().map(|(at, ..)| at.since(cut)).max().unwrap();
        assert!(last < millis(500), "the last one took {last:?}");
        let before = world.next_number();
        world.talk(&pairs, seconds(1), millis(50));
        world.run(millis(200));
        assert_eq!(world.missing(before), 0, "nobody speaks in vain");
    });
}

#[test]
fn an_uplink_that_sends_and_hears_nothing_and_one_that_hears_and_sends_nothing_are_left_by_both_ends() {
    for outward in [true, false] {
        sim::seeds(5, |rng| {
            let mut world = talking(rng);
            let dead = world.way(CALL).unwrap().own;
            let (there, back) = if outward { (Line::DEAD, LINE) } else { (LINE, Line::DEAD) };
            world.set(dead, there, back);
            world.talk(&[CALL, (CALL.1, CALL.0)], seconds(2), millis(20));
            assert_ne!(world.way(CALL).unwrap().own, dead);
            assert_ne!(world.way((CALL.1, CALL.0)).unwrap().remote, dead);
            let causes = downs(&world.take_events());
            // Who hears nothing says so, and the other one learns it by that.
            let (deaf, heard) = if outward { (SiteId(2), SiteId(1)) } else { (SiteId(1), SiteId(2)) };
            assert!(causes.contains(&(deaf, Some(Cause::Silence))), "{causes:?}");
            assert!(causes.contains(&(heard, Some(Cause::Deaf))), "{causes:?}");
        });
    }
}

#[test]
fn of_an_uplink_that_died_no_other_path_is_tried_first() {
    sim::seeds(20, |rng| {
        let mut world = talking(rng);
        let dead = world.way(CALL).unwrap().own;
        world.set(dead, Line::DEAD, Line::DEAD);
        let first = world.next_number();
        world.talk(&[CALL], seconds(1), millis(1));
        world.run(millis(200));
        let took: Vec<_> = switched(&world.take_events()).into_iter().filter(|(_, site, _)| *site == CALL.0).collect();
        assert!(took.len() == 1 && world.missing(first) < 200, "{} lost, {took:?}", world.missing(first));
    });
}

#[test]
fn an_uplink_that_flaps_is_left_and_not_returned_to_while_it_does() {
    sim::seeds(5, |rng| {
        let mut world = talking(rng);
        let flaps = world.way(CALL).unwrap().own;
        let first = world.next_number();
        for _ in 0..10 {
            world.set(flaps, Line::DEAD, Line::DEAD);
            world.talk(&[CALL], seconds(2), millis(20));
            world.set(flaps, LINE, LINE);
            world.talk(&[CALL], seconds(3), millis(20));
        }
        let switches = switched(&world.take_events());
        let own: Vec<_> = switches.iter().filter(|(_, site, _)| *site == CALL.0).collect();
        assert_eq!(own.len(), 1, "{own:?}");
        assert!(world.missing(first) < 15, "{} of a call were lost", world.missing(first));
    });
}

#[test]
fn many_sites_with_jitter_switch_nothing() {
    sim::seeds(1, |rng| {
        let line = Line { jitter: millis(10), ..LINE };
        let mut world = World::new(&hubs_and_spokes(10, 2), line, rng).unwrap();
        world.talk(&ring(10), seconds(90), millis(100));
        let events = world.take_events();
        assert_eq!((downs(&events), switched(&events)), (vec![], vec![]));
        assert_eq!(world.missing(10 * 20), 0, "but for the first two seconds, in which there is no path yet");
    });
}

#[test]
fn sites_that_are_configured_anew_while_they_speak_lose_nothing_and_stay_where_they_are() {
    sim::seeds(3, |rng| {
        let mut networks = hubs_and_spokes(12, 2);
        let mut world = World::new(&networks, LINE, rng).unwrap();
        let pairs = ring(12);
        world.talk(&pairs, seconds(12), millis(50));
        world.take_events();
        let ways = |world: &World| pairs.iter().map(|pair| world.way(*pair)).collect::<Vec<_>>();
        let (first, before) = (world.next_number(), ways(&world));
        for round in 0..3 {
            for network in &mut networks {
                // Once there is news: a policy that no call is of.
                if round == 1 {
                    network.policies.push(Policy {
                        id: policy::PolicyId(2),
                        priority: 0,
                        matches: policy::Match { destination_ports: vec![9..=9], ..Default::default() },
                        class: ClassId(1),
                        strategy: Strategy::Best,
                        mark: None,
                    });
                }
                world.configure(network).unwrap();
                world.talk(&pairs, millis(50), millis(50));
            }
        }
        world.run(millis(200));
        assert_eq!((world.missing(first), ways(&world)), (0, before));
        assert_eq!(switched(&world.take_events()), vec![]);
    });
}

#[test]
fn a_seed_tells_everything_that_happens() {
    let told = |seed| {
        let mut world = World::new(&hubs_and_spokes(6, 2), LINE, &mut Rng::new(seed)).unwrap();
        world.talk(&ring(6), seconds(5), millis(50));
        (world.hellos(), world.take_events())
    };
    assert_eq!(told(1), told(1));
    assert_ne!(told(1), told(2));
}
