//! Which path is taken, and when another one is.

use super::*;
use flow::{Fate, FlowTable};
use outwork_engine::sim;

#[test]
fn a_better_path_is_taken_only_if_it_is_so_by_enough_and_after_the_cooldown() {
    let mut lab = pair(Strategy::Best, Link { delay: millis(30), ..CLEAN }, &mut Rng::new(1));
    lab.talk(seconds(10), millis(50));
    let first = lab.pick(0, &flow(1, 2, 1000)).unwrap().path;
    let (own, remote) = if lab.key(0, first).own.0 == 10 { (11, 21) } else { (10, 20) };
    lab.set(own, remote, Link { delay: millis(25), ..CLEAN });
    lab.talk(seconds(120), millis(50));
    assert_eq!(lab.switches(0), [], "five milliseconds are not worth it");
    lab.set(own, remote, Link { delay: millis(5), ..CLEAN });
    lab.talk(seconds(10), millis(50));
    assert_eq!(lab.switches(0).iter().map(|(_, why)| *why).collect::<Vec<_>>(), [Why::Better]);
    let first = lab.key(0, first);
    lab.set(own, remote, Link { delay: millis(40), ..CLEAN });
    lab.set(first.own.0, first.remote.0, Link { delay: millis(5), ..CLEAN });
    let changed = lab.switches(0)[0].0;
    lab.talk(seconds(100), millis(50));
    let (again, why) = lab.switches(0)[1];
    assert!(why == Why::Better && again.since(changed) >= seconds(60), "{why:?} {:?}", again.since(changed));
}

#[test]
fn flows_stay_while_nothing_is_wrong_and_move_when_their_path_goes() {
    let mut lab = pair(Strategy::Best, Link { delay: millis(30), ..CLEAN }, &mut Rng::new(1));
    lab.talk(seconds(10), millis(50));
    let mut flows = FlowTable::new(1024);
    let one = flow(1, 2, 7);
    let route = |lab: &Lab, flows: &mut FlowTable, flow: &Flow| {
        flows.route(lab.now, flow.hash(1), &lab.tables[0].look_up(flow).unwrap()).unwrap()
    };
    let (pick, fate) = route(&lab, &mut flows, &one);
    assert_eq!(fate, Fate::New);
    let key = lab.key(0, pick.path);
    let (own, remote) = if key.own.0 == 10 { (11, 21) } else { (10, 20) };
    lab.set(own, remote, Link { delay: millis(5), ..CLEAN });
    lab.talk(seconds(100), millis(50));
    assert_eq!(route(&lab, &mut flows, &one), (pick, Fate::Stays), "it is slower, and good enough");
    let (other, fate) = route(&lab, &mut flows, &flow(1, 2, 8));
    assert!(other.path != pick.path && fate == Fate::New, "new ones take the better path");
    lab.set(key.own.0, key.remote.0, Link { dead: true, ..CLEAN });
    lab.talk(seconds(31), millis(50));
    let (moved, fate) = route(&lab, &mut flows, &one);
    assert_eq!((moved.path, fate), (other.path, Fate::Moves { from: pick.path }));
    assert_eq!((flows.moved(), flows.evicted()), (1, 0));
}

#[test]
fn duplicates_go_by_two_paths_that_share_no_uplink_and_lose_nothing_when_one_is_cut() {
    sim::seeds(10, |rng| {
        let mut lab = Lab::new(&[site(1, 2), site(2, 2)], Strategy::Duplicate, CLEAN, rng);
        lab.talk(seconds(10), millis(50));
        let pick = lab.pick(0, &flow(1, 2, 1000)).unwrap();
        let (first, second) = (lab.key(0, pick.path), lab.key(0, pick.second.unwrap()));
        assert!(!first.shares_uplink(&second), "{first:?} {second:?}");
        lab.arrived.clear();
        for number in 0..1000 {
            if number == 300 {
                // All of an uplink.
                for remote in 20..22 {
                    lab.set(first.own.0, remote, Link { dead: true, ..CLEAN });
                }
            }
            lab.datagram(number);
            lab.run(millis(1));
        }
        lab.run(millis(100));
        assert_eq!(lab.arrived.len(), 1000);
    });
}

#[test]
fn weighted_flows_are_spread_by_bandwidth_and_only_those_of_a_path_that_goes_move() {
    let mut sites = [site(1, 2), site(2, 2)];
    (sites[0].uplinks[0].bandwidth, sites[0].uplinks[1].bandwidth) = (300_000_000, 100_000_000);
    sites[1].uplinks.iter_mut().for_each(|uplink| uplink.bandwidth = 1_000_000_000);
    let mut lab = Lab::new(&sites, Strategy::Weighted, CLEAN, &mut Rng::new(1));
    lab.set(10, 21, Link { dead: true, ..CLEAN });
    lab.set(11, 20, Link { dead: true, ..CLEAN });
    lab.talk(seconds(10), millis(50));
    let spread = |lab: &Lab| (0..4000).map(|port| lab.pick(0, &flow(1, 2, port)).unwrap().path).collect::<Vec<_>>();
    let (before, wide) = (spread(&lab), lab.path(0, 10, 20));
    let count = before.iter().filter(|path| **path == wide).count();
    assert!((2800..3200).contains(&count), "{count} of 4000");
    lab.input(0, Input::Carrier(UplinkId(11), false));
    let after = spread(&lab);
    assert!(before.iter().zip(&after).all(|(before, after)| *after == wide && (before == after || *before != wide)));
}

#[test]
fn an_ordered_list_is_kept_to_and_returned_to() {
    let order = Strategy::Ordered([UplinkId(11), UplinkId(10)].into());
    let mut lab = pair(order, CLEAN, &mut Rng::new(1));
    lab.set(11, 21, Link { delay: millis(60), ..CLEAN });
    lab.talk(seconds(90), millis(50));
    let own = |lab: &Lab| lab.key(0, lab.pick(0, &flow(1, 2, 1000)).unwrap().path).own.0;
    assert_eq!(own(&lab), 11, "slower, and first in the list");
    lab.input(0, Input::Carrier(UplinkId(11), false));
    assert_eq!(own(&lab), 10);
    lab.input(0, Input::Carrier(UplinkId(11), true));
    lab.talk(seconds(30), millis(50));
    assert_eq!(own(&lab), 10, "not before the cooldown");
    lab.talk(seconds(60), millis(50));
    assert_eq!(own(&lab), 11);
}

#[test]
fn another_network_keeps_paths_and_traffic_where_they_are() {
    let mut lab = pair(Strategy::Best, CLEAN, &mut Rng::new(1));
    lab.talk(seconds(10), millis(50));
    let before = lab.pick(0, &flow(1, 2, 1000)).unwrap();
    let mut with_third = network(site(1, 2), &[site(1, 2), site(2, 2), site(3, 1)], Strategy::Best);
    lab.engines[0].configure(&with_third, lab.now).unwrap();
    let mut table = None;
    while let Some(output) = lab.engines[0].poll_output() {
        match output {
            Output::Table(new) => table = Some(new),
            Output::Event(event) => panic!("{event:?}"),
            Output::Hello(..) | Output::Probe(..) | Output::Silent { .. } | Output::Mtu(..) | Output::Look => {}
        }
    }
    let flow = flow(1, 2, 1000);
    assert_eq!(table.unwrap().look_up(&flow).unwrap().pick(flow.hash(1)), Some(before));
    assert_eq!(lab.engines[0].paths().count(), 6);
    with_third.policies[0].class = ClassId(9);
    assert!(lab.engines[0].configure(&with_third, lab.now).is_err());
    assert_eq!(lab.engines[0].paths().count(), 6, "an error changes nothing");
}

#[test]
fn backups_take_no_share_while_there_are_others() {
    let mut sites = [site(1, 3), site(2, 1)];
    sites[0].uplinks[2].backup = true;
    let mut lab = Lab::new(&sites, Strategy::Weighted, CLEAN, &mut Rng::new(1));
    lab.talk(seconds(90), millis(50));
    let used = |lab: &Lab| {
        let mut used: Vec<_> = (0..200).map(|port| lab.pick(0, &flow(1, 2, port)).unwrap().path).collect();
        used.sort_unstable();
        used.dedup();
        used.into_iter().map(|path| lab.key(0, path).own.0).collect::<Vec<_>>()
    };
    assert_eq!(used(&lab), [10, 11]);
    lab.input(0, Input::Carrier(UplinkId(10), false));
    lab.input(0, Input::Carrier(UplinkId(11), false));
    assert_eq!(used(&lab), [12]);
}

#[test]
fn a_full_table_of_flows_forgets_the_quietest_and_counts_it() {
    let mut lab = pair(Strategy::Best, CLEAN, &mut Rng::new(1));
    lab.talk(seconds(5), millis(50));
    let mut flows = FlowTable::new(4);
    let one = flow(1, 2, 7);
    let found = lab.tables[0].look_up(&one).unwrap();
    let mut fate = |secs, hash| flows.route(Time::from_secs(secs), hash, &found).unwrap().1;
    for hash in 1..=4 {
        assert_eq!(fate(hash * 2, hash), Fate::New);
    }
    assert_eq!(fate(12, 1), Fate::Stays);
    assert_eq!(fate(14, 5), Fate::New, "in the place of 2");
    assert_eq!(
        (fate(16, 1), fate(16, 3), fate(16, 4), fate(16, 5)),
        (Fate::Stays, Fate::Stays, Fate::Stays, Fate::Stays)
    );
    assert_eq!(fate(18, 2), Fate::New);
    assert_eq!(fate(600, 2), Fate::New, "it was quiet for long");
    assert_eq!(flows.evicted(), 2);
}

#[test]
fn a_flow_that_stays_behind_keeps_its_path_watched() {
    let mut sites = [site(1, 3), site(2, 3)];
    sites[0].uplinks[0].cost = 1;
    let mut lab = Lab::new(&sites, Strategy::Best, Link { dead: true, ..CLEAN }, &mut Rng::new(1));
    lab.set(10, 20, Link { delay: millis(40), ..CLEAN });
    lab.talk(seconds(30), millis(50));
    let old = lab.path(0, 10, 20);
    lab.set(11, 21, Link { delay: millis(5), ..CLEAN });
    lab.set(12, 22, CLEAN);
    // New flows go by the second, the third stands by; one flow stays on the first.
    for _ in 0..1500 {
        lab.talk(millis(50), millis(50));
        lab.input(0, Input::Traffic { path: old, sent: 1, received: 0 });
    }
    assert_eq!(lab.pick(0, &flow(1, 2, 1000)).unwrap().path, lab.path(0, 11, 21));
    lab.set(10, 20, Link { dead: true, ..CLEAN });
    let cut = lab.now;
    lab.run(millis(400));
    // What is under way for 40 ms, three periods, and until the other paths, which are quicker, leave no doubt.
    assert!(lab.downs()[0].0.since(cut) < millis(180));
}

#[test]
fn the_number_of_a_path_that_goes_rests_for_a_while() {
    let all: Vec<_> = (1..=4).map(|id| site(id, 1)).collect();
    let of = |ids: &[usize]| {
        let sites: Vec<_> = ids.iter().map(|id| all[id - 1].clone()).collect();
        network(all[0].clone(), &sites, Strategy::Best)
    };
    let mut engine = Engine::new(&of(&[2]), 1, Time::ZERO).unwrap();
    let numbers = |engine: &Engine| engine.paths().map(|(id, spec, ..)| (id.0, spec.key.site.0)).collect::<Vec<_>>();
    assert_eq!(numbers(&engine), [(0, 2)]);
    engine.configure(&of(&[3]), Time::ZERO).unwrap();
    assert_eq!(numbers(&engine), [(1, 3)], "workers may still read a table in which 0 leads to site 2");
    engine.configure(&of(&[3, 4]), Time::ZERO).unwrap();
    assert_eq!(numbers(&engine), [(0, 4), (1, 3)]);
}

#[test]
fn a_flow_that_shows_its_name_with_its_first_data_takes_the_path_of_its_application_and_one_that_has_sent_some_stays() {
    let mut lab = pair(Strategy::Best, CLEAN, &mut Rng::new(1));
    lab.set(10, 20, Link { delay: millis(5), ..CLEAN });
    lab.set(11, 21, Link { delay: millis(60), ..CLEAN });
    let mut named = network(site(1, 2), &[site(1, 2), site(2, 2)], Strategy::Ordered([UplinkId(11)].into()));
    named.applications = vec![Application { names: vec!["calls.test".to_owned()], ports: vec![] }];
    named.policies[0].matches.applications = vec![policy::AppId(0)];
    let now = lab.now;
    lab.engines[0].configure(&named, now).unwrap();
    lab.drain(0);
    lab.talk(seconds(90), millis(50));
    let (mut flows, now, calls) = (FlowTable::new(1024), lab.now, Some(policy::AppId(0)));
    let table = Arc::clone(&lab.tables[0]);
    let unnamed = table.look_up(&flow(1, 2, 7)).unwrap();
    let of_calls = table.look_up(&Flow { application: calls, ..flow(1, 2, 7) }).unwrap();
    for (hash, anew, uplink, fate) in [(1, true, 11, Fate::New), (2, false, 10, Fate::Stays)] {
        flows.begins(now, hash);
        let (pick, first) = flows.route(now, hash, &unnamed).unwrap();
        assert_eq!((lab.key(0, pick.path).own.0, first), (10, Fate::New), "all that is known of it is its ports");
        flows.shows(now, hash, calls, anew);
        let (pick, then) = flows.route(now, hash, &of_calls).unwrap();
        assert_eq!((lab.key(0, pick.path).own.0, then), (uplink, fate));
        assert_eq!(flows.route(now, hash, &of_calls).unwrap().1, Fate::Stays);
    }
    assert_eq!(flows.moved(), 0);
}
