//! What fails is left, and nothing else is.

use super::*;
use liveness::Cause;
use outwork_engine::sim;

const JITTERY: Link = Link { jitter: Duration::from_millis(10), ..CLEAN };

#[test]
fn an_hour_of_jitter_switches_nothing() {
    sim::seeds(2, |rng| {
        let link = Link { jitter: millis(25), ..CLEAN };
        let mut lab = pair(Strategy::Best, link, rng);
        lab.talk(seconds(1800), seconds(2));
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
        // Three periods; what was under way; four times jitter, which is a third of its range; slack; until another path shows that the other end is at work.
        let bound = millis(3 * 30) + JITTERY.delay + JITTERY.jitter + millis(4 * 5 + 2) + millis(30);
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
        // Who sends is told so before who hears nothing has waited long enough.
        assert_eq!(causes, [(0, Some(Cause::Deaf)), (1, Some(Cause::Silence))]);
        assert!(lab.switches(0)[0].0.since(cut) < millis(150));
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
    for _ in 0..3 {
        lab.input(0, Input::SocketError(second));
        lab.run(millis(30));
    }
    lab.input(0, Input::SocketError(second));
    assert_eq!(lab.pick(0, &flow(1, 2, 1000)), None, "neither can be sent by");
    lab.input(0, Input::Carrier(own, true));
    assert_eq!(lab.pick(0, &flow(1, 2, 1000)).map(|pick| pick.path), Some(first), "it may work, and nothing else does");
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

/// Both ends' scheduling is late now and then, by up to 60 ms, seldom both together; nothing else is wrong.
fn hour_of_stalls(loss: f64, rng: &mut Rng) -> Lab {
    let mut lab = pair(Strategy::Best, Link { loss, jitter: millis(4), delay: millis(8), ..CLEAN }, rng);
    lab.talk(seconds(10), millis(10));
    let end = lab.now + seconds(3600);
    while lab.now < end {
        let engine = rng.below(2) as usize;
        lab.stall(engine, millis(60).mul_f64(rng.unit()));
        lab.talk(millis(50 + rng.below(700)), millis(10));
    }
    lab
}

#[test]
fn an_hour_in_which_ends_are_scheduled_late_takes_no_path_down_and_moves_nothing() {
    sim::seeds(1, |rng| {
        for loss in [0.0, 0.003] {
            let lab = hour_of_stalls(loss, rng);
            assert_eq!(lab.downs(), [], "{loss}");
            // What is lost by chance may make another path the better one.
            if loss == 0.0 {
                assert_eq!((lab.switches(0), lab.switches(1)), (vec![], vec![]));
            }
        }
    });
}

#[test]
fn an_hour_of_chance_losses_takes_no_path_down() {
    sim::seeds(2, |rng| {
        for (loss, delay) in [(0.01, 1), (0.02, 1), (0.02, 20), (0.02, 80)] {
            let link = Link { loss, delay: millis(delay), jitter: millis(2), ..CLEAN };
            let mut lab = pair(Strategy::Best, link, rng);
            // Four links, two seeds: an hour in all.
            lab.talk(seconds(450), millis(100));
            assert_eq!(lab.downs(), [], "{loss} of what takes {delay} ms");
        }
    });
}

#[test]
fn who_is_late_while_a_call_goes_on_has_lost_nothing_and_no_path_is_left_for_that() {
    sim::seeds(2, |rng| {
        let mut lab = pair(Strategy::Best, Link { jitter: millis(4), delay: millis(8), ..CLEAN }, rng);
        lab.talk(seconds(10), millis(10));
        for _ in 0..120 {
            let engine = rng.below(2) as usize;
            lab.stall(engine, millis(90).mul_f64(rng.unit()));
            lab.talk(millis(100 + rng.below(700)), millis(1));
        }
        assert_eq!((lab.downs(), lab.switches(0), lab.switches(1)), (vec![], vec![], vec![]));
    });
}

#[test]
fn what_turns_out_to_have_been_due_for_a_while_is_nobodys_lateness() {
    sim::seeds(5, |rng| {
        let mut lab = pair(Strategy::Best, CLEAN, rng);
        for _ in 0..5 {
            // Paths that were watched slowly are to be heard of fast from one moment to the next.
            lab.talk(seconds(3), millis(20));
            lab.run(seconds(30));
        }
        let late: Vec<_> = lab.engines.iter().map(|engine| engine.lateness(lab.now)).collect();
        assert!(late.iter().all(|late| *late < millis(1)), "{late:?}");
    });
}

#[test]
fn what_is_said_of_silence_is_a_sign_of_life_of_the_path_by_which_it_comes() {
    let mut lab = pair(Strategy::Best, CLEAN, &mut Rng::new(1));
    lab.talk(seconds(12), millis(20));
    let path = lab.pick(0, &flow(1, 2, 1000)).unwrap().path;
    let key = lab.key(0, path);
    lab.set(key.own.0, key.remote.0, Link { dead: true, ..CLEAN });
    while lab.state(0, path) == State::Up {
        lab.run(millis(1));
    }
    let silence = Silence { lasts: millis(50), late: Duration::ZERO };
    lab.input(0, Input::Silent { by: path, of: path, silence });
    assert_eq!(lab.state(0, path), State::Up);
}

#[test]
fn a_queue_of_this_host_that_only_hellos_pass_by_proves_nothing() {
    let mut lab = pair(Strategy::Best, CLEAN, &mut Rng::new(1));
    lab.talk(seconds(12), millis(20));
    let path = lab.pick(0, &flow(1, 2, 1000)).unwrap().path;
    for _ in 0..300 {
        // It is counted as sent, and waits.
        lab.input(0, Input::Traffic { path, sent: 1, received: 0 });
        lab.run(millis(1));
    }
    assert_eq!(lab.downs(), []);
}

/// How long it takes until traffic of a site has left a path of which this becomes, of a call of one datagram a millisecond, and how many are lost.
fn left_after(broken: Link, both: bool, jitter: Duration, rng: &mut Rng) -> (Duration, usize) {
    let link = Link { delay: millis(1), jitter, ..CLEAN };
    let mut lab = pair(Strategy::Best, link, rng);
    lab.talk(seconds(12) + millis(rng.below(500)), millis(20));
    lab.talk(seconds(3), millis(1));
    let path = lab.pick(0, &flow(1, 2, 1000)).unwrap().path;
    let key = lab.key(0, path);
    lab.links.insert((key.own.0, key.remote.0), Link { delay: link.delay, ..broken });
    if both {
        lab.links.insert((key.remote.0, key.own.0), Link { delay: link.delay, ..broken });
    }
    let cut = lab.now;
    lab.arrived.clear();
    for number in 0..600 {
        lab.datagram(number);
        lab.run(millis(1));
    }
    let (at, _) = lab.switches(0)[0];
    (at.since(cut), 600 - lab.arrived.len())
}

fn median<T: Ord + Copy>(mut all: Vec<T>) -> T {
    all.sort_unstable();
    all[all.len() / 2]
}

#[test]
fn what_fails_without_a_word_is_left_within_a_tenth_of_a_second() {
    for both in [true, false] {
        let took = std::cell::RefCell::new(vec![]);
        for (jitter, most) in [(1, 60), (8, 80)] {
            let broken = Link { dead: true, ..CLEAN };
            sim::seeds(40, |rng| took.borrow_mut().push(left_after(broken, both, millis(jitter), rng)));
            let (times, lost): (Vec<_>, Vec<_>) = took.take().into_iter().unzip();
            let (longest, half) = (times.iter().max().copied().unwrap(), median(times));
            let said = format!("both {both}, up to {jitter} ms later: {half:?}, at most {longest:?}");
            assert!(half <= millis(most) && longest <= millis(115), "{said}");
            assert!(median(lost) <= most as usize, "{said}");
        }
    }
}

#[test]
fn a_third_that_is_lost_of_traffic_is_left_within_a_quarter_of_a_second() {
    for both in [true, false] {
        let took = std::cell::RefCell::new(vec![]);
        sim::seeds(40, |rng| took.borrow_mut().push(left_after(Link { loss: 0.3, ..CLEAN }, both, millis(1), rng).0));
        let took = took.into_inner();
        let (longest, half) = (took.iter().max().copied().unwrap(), median(took));
        assert!(half < millis(250) && longest < millis(500), "both {both}: {half:?}, at most {longest:?}");
    }
}

#[test]
fn a_blink_in_which_all_is_lost_moves_nothing() {
    sim::seeds(10, |rng| {
        let mut lab = pair(Strategy::Best, Link { delay: millis(1), ..CLEAN }, rng);
        lab.talk(seconds(9) + millis(rng.below(500)), millis(1));
        let path = lab.pick(0, &flow(1, 2, 1000)).unwrap().path;
        let key = lab.key(0, path);
        let good = lab.links[&(key.own.0, key.remote.0)];
        for _ in 0..2 {
            lab.set(key.own.0, key.remote.0, Link { dead: true, ..CLEAN });
            lab.talk(millis(25), millis(1));
            lab.set(key.own.0, key.remote.0, good);
            lab.talk(seconds(1), millis(1));
        }
        assert_eq!((lab.downs(), lab.switches(0)), (vec![], vec![]));
    });
}

#[test]
fn when_no_path_works_traffic_goes_on_trying_the_last_one_that_did() {
    sim::seeds(5, |rng| {
        let mut lab = pair(Strategy::Best, CLEAN, rng);
        lab.talk(seconds(10), millis(20));
        let dead = Link { dead: true, ..CLEAN };
        let (mut first, mut second) = ((10, 20), (11, 21));
        if lab.key(0, lab.pick(0, &flow(1, 2, 1000)).unwrap().path).own.0 == 11 {
            std::mem::swap(&mut first, &mut second);
        }
        lab.set(first.0, first.1, dead);
        lab.talk(seconds(2), millis(20));
        lab.set(second.0, second.1, dead);
        lab.talk(seconds(2), millis(20));
        let last = lab.path(0, second.0, second.1);
        assert_eq!(
            (lab.state(0, last), lab.pick(0, &flow(1, 2, 1000)).map(|pick| pick.path)),
            (State::Down, Some(last))
        );
        let whys: Vec<_> = lab.switches(0).into_iter().map(|(_, why)| why).collect();
        assert_eq!(whys, [Why::Gone, Why::Last]);
        // Both lanes.
        assert_eq!(lab.engines[0].kept(), 2);
        // It comes back, and the first datagram that is sent arrives before any hello has said so.
        lab.set(second.0, second.1, CLEAN);
        lab.arrived.clear();
        lab.datagram(1);
        lab.run(millis(30));
        assert_eq!(lab.arrived.len(), 1);
        lab.talk(seconds(20), millis(20));
        assert_eq!(lab.state(0, last), State::Up);
    });
}

#[test]
fn a_process_that_slept_does_not_take_its_own_sleep_for_silence() {
    let mut lab = pair(Strategy::Best, CLEAN, &mut Rng::new(1));
    lab.talk(seconds(5), millis(50));
    for _ in 0..50 {
        // Two periods and a half in which nothing runs, and timers come before what lies in the queue.
        lab.stall(0, millis(75));
        lab.stall(1, millis(75));
        lab.run(millis(275));
    }
    assert_eq!(lab.downs(), []);
}

#[test]
fn who_is_late_as_a_whole_is_found_dead_all_the_same() {
    let mut lab = pair(Strategy::Best, CLEAN, &mut Rng::new(1));
    lab.talk(seconds(5), millis(20));
    lab.stall(1, seconds(100));
    let cut = lab.now;
    lab.talk(millis(400), millis(20));
    let downs: Vec<_> = lab.downs().into_iter().map(|(at, engine, _)| (at.since(cut) < millis(250), engine)).collect();
    assert_eq!(downs, [(true, 0), (true, 0)]);
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
                // Where nothing lives, the last one that did is tried.
                Some(key) => assert!(lives(key.own.0, key.remote.0) || !any, "{key:?}"),
                None => assert!(!any, "a path lives and none is taken"),
            }
        }
    });
}
