//! How long packets may be, told by engines that probe each other's paths.

use super::*;
use crate::engine::mtu::MtuChange;

fn changes(lab: &Lab, path: PathId) -> Vec<(Time, MtuChange)> {
    let of = |(at, engine, event): &(Time, usize, Event)| match event {
        Event::Mtu { path: one, change } if *engine == 0 && *one == path => Some((*at, *change)),
        _ => None,
    };
    lab.events.iter().filter_map(of).collect()
}

#[test]
fn a_black_hole_lowers_what_goes_by_its_path_and_no_path_is_taken_for_down() {
    let mut lab = pair(Strategy::Best, CLEAN, &mut Rng::new(1));
    lab.talk(seconds(5), millis(50));
    let (busy, other) = (lab.pick(0, &flow(1, 2, 1000)).unwrap().path, lab.path(0, 11, 21));
    assert_eq!(lab.engines[0].mtu(busy), Some(1420));
    let key = lab.key(0, busy);
    let (hole, before) = (lab.now, (lab.downs().len(), lab.switches(0).len()));
    lab.set(key.own.0, key.remote.0, Link { mtu: 1400, ..CLEAN });
    lab.talk(seconds(5), millis(50));
    let told = changes(&lab, busy);
    assert_eq!((told[0].1.to, told[1].1), (1420, MtuChange { from: 1420, to: 1280 }));
    assert!(told[1].0.since(hole) < seconds(1), "{:?}", told[1].0.since(hole));
    assert!(lab.engines[0].mtu(busy).is_some_and(|mtu| (1393..=1400).contains(&mtu)));
    assert!(other == busy || lab.engines[0].mtu(other) == Some(1420));
    assert_eq!((lab.downs().len(), lab.switches(0).len()), before);
}

#[test]
fn paths_of_different_lengths_each_have_their_own() {
    let mut lab = pair(Strategy::Best, CLEAN, &mut Rng::new(1));
    lab.set(10, 20, Link { mtu: 1300, ..CLEAN });
    lab.talk(seconds(5), millis(50));
    let mtu = |own, remote| lab.engines[0].mtu(lab.path(0, own, remote)).unwrap();
    assert!((1293..=1300).contains(&mtu(10, 20)), "{}", mtu(10, 20));
    assert_eq!(mtu(11, 21), 1420);
    assert_eq!(mtu(10, 21), 1280, "nothing is known of what leads nowhere");
}

#[test]
fn a_path_that_carries_nothing_is_not_probed() {
    let mut engine =
        Engine::new(&network(site(1, 1), &[site(1, 1), site(2, 1)], Strategy::Best), 1, Time::ZERO).unwrap();
    while let Some((at, _)) = engine.poll_timeout().filter(|(at, _)| *at < Time::from_secs(60)) {
        engine.handle_timeout(at);
        while let Some(output) = engine.poll_output() {
            assert!(!matches!(output, Output::Probe(..) | Output::Mtu(..)), "{output:?}");
        }
    }
}
