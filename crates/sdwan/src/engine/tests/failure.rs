//! What fails is left, and nothing else is.

use super::*;
use liveness::Cause;
use outwork_engine::sim;

const JITTERY: Link = Link { jitter: Duration::from_millis(10), ..CLEAN };

#[test]
fn hours_of_jitter_switch_nothing() {
    sim::seeds(2, |rng| {
        let link = Link { jitter: millis(25), ..CLEAN };
        let mut lab = pair(Strategy::Best, link, rng);
        lab.talk(seconds(3600), seconds(2));
        assert_eq!((lab.downs(), lab.switches(0), lab.switches(1)), (vec![], vec![], vec![]));
    });
}

#[test]
fn a_dead_link_is_seen_within_three_hellos_and_jitter() {
    sim::seeds(30, |rng| {
        let mut lab = pair(Strategy::Best, JITTERY, rng);
        lab.talk(seconds(20) + millis(rng.below(500)), millis(50));
        let path = lab.pick(0, &flow(1, 2, 1000)).unwrap().path;
        let key = lab.key(0, path);
        lab.set(key.own.0, key.remote.0, Link { dead: true, ..CLEAN });
        let cut = lab.now;
        lab.talk(millis(400), millis(1));
        let (at, ..) = lab.downs()[0];
        // Three periods; what was under way; four times jitter, which is a third of its range; slack.
        let bound = millis(3 * 30) + JITTERY.delay + JITTERY.jitter + millis(4 * 5 + 2);
        assert!(at.since(cut) <= bound, "{:?}", at.since(cut));
        let (at, why) = lab.switches(0)[0];
        assert!(why == Why::Gone && at.since(cut) <= bound, "{why:?} {:?}", at.since(cut));
        assert_ne!(lab.pick(0, &flow(1, 2, 1000)).unwrap().path, path);
    });
}

#[test]
fn of_a_link_that_is_dead_in_one_direction_both_ends_learn() {
    sim::seeds(20, |rng| {
        let mut lab = pair(Strategy::Best, JITTERY, rng);
        lab.talk(seconds(20), millis(50));
        let path = lab.pick(0, &flow(1, 2, 1000)).unwrap().path;
        let key = lab.key(0, path);
        lab.links.insert((key.own.0, key.remote.0), Link { dead: true, ..CLEAN });
        let cut = lab.now;
        lab.talk(millis(300), millis(1));
        let causes: Vec<_> = lab.downs().iter().map(|(_, engine, cause)| (*engine, *cause)).collect();
        assert_eq!(causes, [(1, Some(Cause::Silence)), (0, Some(Cause::Deaf))]);
        assert!(lab.switches(0)[0].0.since(cut) < millis(200));
    });
}

#[test]
fn carrier_and_socket_errors_act_at_once() {
    let mut lab = pair(Strategy::Best, CLEAN, &mut Rng::new(1));
    lab.talk(seconds(5), millis(50));
    let first = lab.pick(0, &flow(1, 2, 1000)).unwrap().path;
    let own = lab.key(0, first).own;
    lab.input(0, Input::Carrier(own, false));
    let second = lab.pick(0, &flow(1, 2, 1000)).unwrap().path;
    assert_ne!(second, first);
    assert_eq!(lab.downs().last().unwrap().2, Some(Cause::Carrier));
    // The other end is heard all the time: it has to go on for as long as silence would have to.
    for _ in 0..4 {
        lab.input(0, Input::SocketError(second));
        lab.run(millis(30));
    }
    assert_eq!(lab.pick(0, &flow(1, 2, 1000)), None);
    lab.input(0, Input::Carrier(own, true));
    lab.run(seconds(2));
    assert!(lab.pick(0, &flow(1, 2, 1000)).is_some(), "what is on trial is better than nothing");
}

#[test]
fn a_brown_out_is_left_and_one_percent_is_borne() {
    sim::seeds(10, |rng| {
        let mut lab = pair(Strategy::Best, JITTERY, rng);
        lab.talk(seconds(10), millis(20));
        let path = lab.pick(0, &flow(1, 2, 1000)).unwrap().path;
        let key = lab.key(0, path);
        lab.set(key.own.0, key.remote.0, Link { loss: 0.3, ..JITTERY });
        lab.talk(seconds(3), millis(20));
        assert_ne!(lab.pick(0, &flow(1, 2, 1000)).unwrap().path, path);

        let mut lab = pair(Strategy::Best, Link { loss: 0.01, ..JITTERY }, rng);
        lab.talk(seconds(600), millis(100));
        assert_eq!(lab.downs(), []);
    });
}

#[test]
fn a_path_that_came_back_is_on_trial_and_is_returned_to_only_if_it_is_better() {
    let mut lab = pair(Strategy::Best, CLEAN, &mut Rng::new(1));
    lab.talk(seconds(70), millis(50));
    let path = lab.pick(0, &flow(1, 2, 1000)).unwrap().path;
    let key = lab.key(0, path);
    lab.set(key.own.0, key.remote.0, Link { dead: true, ..CLEAN });
    lab.talk(seconds(5), millis(50));
    assert_eq!(lab.state(0, path), State::Down);
    lab.set(key.own.0, key.remote.0, CLEAN);
    lab.talk(millis(4900), millis(50));
    assert_ne!(lab.state(0, path), State::Up, "it is watched before it is trusted");
    lab.talk(seconds(300), millis(50));
    assert_eq!((lab.state(0, path), lab.switches(0).len()), (State::Up, 1));
}

#[test]
fn where_nothing_is_sent_hellos_are_rare_and_death_is_still_seen() {
    let mut lab = pair(Strategy::Best, CLEAN, &mut Rng::new(1));
    lab.run(seconds(30));
    let before = lab.hellos;
    lab.run(seconds(600));
    // Two paths alive, two dead, two ends, a look of five in ten seconds.
    assert!(lab.hellos - before < 600 / 10 * 5 * 4 * 2, "{}", lab.hellos - before);
    lab.set(10, 20, Link { dead: true, ..CLEAN });
    lab.run(seconds(13));
    let path = lab.path(0, 10, 20);
    assert_eq!(lab.state(0, path), State::Down);
}

#[test]
fn a_process_that_slept_does_not_take_its_own_sleep_for_silence() {
    let mut lab = pair(Strategy::Best, CLEAN, &mut Rng::new(1));
    lab.talk(seconds(5), millis(50));
    for _ in 0..50 {
        // Two periods and a half in which nothing runs, and timers come before what lies in the queue.
        lab.now += millis(75);
        let now = lab.now;
        for engine in 0..2 {
            lab.engines[engine].handle_timeout(now);
            lab.drain(engine);
        }
        lab.run(millis(200));
    }
    assert_eq!(lab.downs(), []);
}

#[test]
fn whatever_links_do_traffic_is_on_a_path_that_lives() {
    sim::seeds(15, |rng| {
        let mut lab = Lab::new(&[site(1, 2), site(2, 2), site(3, 2)], Strategy::Best, JITTERY, rng);
        for _ in 0..8 {
            let pairs: Vec<_> = lab.links.keys().copied().collect();
            for pair in pairs {
                let dead = rng.chance(0.3);
                let loss = if rng.chance(0.2) { 0.2 } else { 0.0 };
                lab.links.insert(pair, Link { dead, loss, ..JITTERY });
            }
            lab.talk(seconds(40), millis(40));
            // The model: a path lives when both of its directions do.
            let lives = |own: u32, remote: u32| !lab.links[&(own, remote)].dead && !lab.links[&(remote, own)].dead;
            let loses = |own: u32, remote: u32| lab.links[&(own, remote)].loss + lab.links[&(remote, own)].loss > 0.0;
            let any = (10..12).any(|own| (20..22).any(|remote| lives(own, remote) && !loses(own, remote)));
            let pick = lab.pick(0, &flow(1, 2, 1000)).map(|pick| lab.key(0, pick.path));
            match pick {
                Some(key) => assert!(lives(key.own.0, key.remote.0), "{key:?}"),
                None => assert!(!any, "a path lives and none is taken"),
            }
        }
    });
}
