//! Two thousand sites.

use super::*;
use crate::engine::prefix::Set;

/// A hub with two uplinks and 2,000 others with one: 4,000 paths.
fn large() -> Network {
    let sites: Vec<_> = (1..=2000).map(|id| site(id, 1)).collect();
    let mut network = network(site(3000, 2), &sites, Strategy::Best);
    let nets = |id: u32| vec![Prefix::new(std::net::Ipv4Addr::from(10 << 24 | id << 8).into(), 24).unwrap()];
    network.policies = (0..100)
        .map(|id| Policy {
            id: policy::PolicyId(id),
            priority: id,
            matches: policy::Match { destinations: nets(id * 20), ..Default::default() },
            class: ClassId((id % 2) as u8),
            strategy: [Strategy::Best, Strategy::Duplicate, Strategy::Weighted][id as usize % 3].clone(),
            mark: None,
        })
        .collect();
    network
}

#[test]
fn a_site_takes_a_few_kilobytes() {
    assert!(size_of::<Path>() <= 1536, "{}", size_of::<Path>());
    assert!(size_of::<Remote>() <= 256, "{}", size_of::<Remote>());
    assert!(size_of::<table::Choice>() <= 40, "{}", size_of::<table::Choice>());
    assert_eq!(size_of::<Set>(), 32);
    // Sixteen paths and a hundred lanes, the most there can be of one and many of the other.
    let seats = 100 * (size_of::<Seat>() + size_of::<table::Choice>());
    let timers = 2 * 17 * size_of::<Reverse<(Time, Timer)>>();
    assert!(16 * size_of::<Path>() + size_of::<Remote>() + seats + timers < 100_000);
}

#[test]
fn two_thousand_sites_have_their_paths_and_timers_do_not_pile_up() {
    let network = large();
    let mut engine = Engine::new(&network, 1, Time::ZERO).unwrap();
    assert_eq!((engine.paths().count(), engine.paths_left_out()), (4000, 0));
    let mut now = Time::ZERO;
    let mut hellos = 0;
    while let Some((at, _)) = engine.poll_timeout().filter(|(at, _)| *at < Time::from_secs(60)) {
        now = now.max(at);
        engine.handle_timeout(now);
        while let Some(output) = engine.poll_output() {
            hellos += u64::from(matches!(output, Output::Hello(..)));
        }
    }
    assert!(engine.timers.len() <= 2 * 6000, "{}", engine.timers.len());
    // Nobody answers: tries double their distance up to ten seconds.
    assert!((4000 * 10..4000 * 20).contains(&hellos), "{hellos}");
}

#[test]
fn a_change_of_one_site_leaves_the_entries_of_others_as_they_are() {
    let network = large();
    let mut engine = Engine::new(&network, 1, Time::ZERO).unwrap();
    let before: Vec<_> = engine.remotes.iter().map(|remote| Arc::clone(&remote.entry)).collect();
    let hello = Hello {
        sequence: 1,
        count: 1,
        stamp: 1,
        echo: None,
        claim: hello::Claim::Hears,
        hurry: false,
        late: 0,
        sent: 1,
        expected: 0,
        got: 0,
        pace: 30,
        want: 30,
    };
    engine.handle_input(Time::from_millis(1), Input::Hello(PathId(7), hello));
    let changed = engine.remotes.iter().zip(&before).filter(|(remote, before)| !Arc::ptr_eq(&remote.entry, before));
    assert_eq!(changed.count(), 1);
}
