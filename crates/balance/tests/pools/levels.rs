//! Priorities, zones and panic.

use std::collections::BTreeMap;

use outwork_balance::{Ask, Health, How, Limits, NoBackend, Policy, Pool, PoolSettings, ZonePreference};

use super::{START, counts, key, many, once, picker, pool, secs, set_health};

/// Twenty members, the later half of priority 1.
fn two_levels(policy: Policy) -> PoolSettings {
    let mut settings = many(policy, 20);
    settings.members.iter_mut().skip(10).for_each(|member| member.priority = 1);
    settings
}

/// Twenty members, the later half of them in our zone.
fn two_zones(policy: Policy, at_least: u32) -> PoolSettings {
    let mut settings = many(policy, 20);
    for (number, member) in settings.members.iter_mut().enumerate() {
        member.zone = Some(if number < 10 { "there" } else { "here" }.to_owned());
    }
    settings.zone = Some(ZonePreference { zone: "here".to_owned(), at_least });
    settings
}

/// How many percent of picks are of the later half.
fn later_half(pool: &Pool) -> u64 {
    let counts = counts(&mut picker(), pool, 10_000, START);
    let later: u64 = counts.iter().filter(|(key, _)| key.as_str() >= "m00010").map(|(_, count)| count).sum();
    (later + 50) / 100
}

fn fail(pool: &Pool, keys: std::ops::Range<usize>) {
    pool.slots()[keys].iter().for_each(|slot| slot.member().set_health(Health::Unhealthy, START));
}

#[test]
fn the_next_level_gets_what_the_first_one_cannot_take() {
    for policy in super::POLICIES {
        for (failed, expected) in [(0, 0), (2, 0), (5, 30), (8, 72), (10, 100)] {
            let pool = pool(two_levels(policy));
            fail(&pool, 0..failed);
            let part = later_half(&pool);
            assert!(
                part.abs_diff(expected) <= 2,
                "{policy:?}: {part} % instead of {expected} % with {failed} of 10 failed"
            );
        }
    }
}

#[test]
fn a_level_that_is_full_or_has_been_tried_overflows_into_the_next() {
    let mut settings = two_levels(Policy::RoundRobin);
    settings.members.iter_mut().for_each(|member| member.limits = Limits { requests: Some(1), ..Limits::default() });
    let pool = pool(settings);
    let mut picker = picker();
    let leases: Vec<_> = (0..15).map(|_| picker.pick(&pool, &Ask::default(), START).unwrap()).collect();
    assert_eq!(leases.iter().filter(|lease| key(lease).as_str() < "m00010").count(), 10);
}

#[test]
fn a_level_is_not_weaker_for_those_that_drain() {
    let pool = pool(two_levels(Policy::RoundRobin));
    pool.slots()[..6].iter().for_each(|slot| slot.member().drain(START + secs(60)));
    assert_eq!(later_half(&pool), 0);
}

#[test]
fn which_zone_is_drawn_says_nothing_of_which_level_was() {
    for policy in [Policy::RoundRobin, Policy::Maglev] {
        // Of the first level a half is usable: two of five here, three of five there.
        let mut settings = two_levels(policy);
        settings.members[..5].iter_mut().for_each(|member| member.zone = Some("here".to_owned()));
        settings.zone = Some(ZonePreference { zone: "here".to_owned(), at_least: 1 });
        let pool = pool(settings);
        fail(&pool, 0..3);
        fail(&pool, 5..7);
        let had = counts(&mut picker(), &pool, 20_000, START);
        let of = |keys: std::ops::Range<&str>| -> u64 {
            had.iter().filter(|(key, _)| keys.contains(&key.as_str())).map(|(_, count)| count).sum()
        };
        let (here, there) = (of("m00000".."m00005"), of("m00005".."m00010"));
        assert!((here + there).abs_diff(14_000) < 400, "{here} and {there}");
        assert!((here * 100 / (here + there)).abs_diff(56) <= 2, "{here} and {there}: 56 and 44 % were due");
    }
}

#[test]
fn the_own_zone_comes_first_as_long_as_enough_of_it_is_healthy() {
    for policy in super::POLICIES {
        for (failed, expected) in [(0, 100), (2, 100), (5, 70), (10, 0)] {
            let pool = pool(two_zones(policy, 1));
            fail(&pool, 10..10 + failed);
            let part = later_half(&pool);
            assert!(
                part.abs_diff(expected) <= 2,
                "{policy:?}: {part} % instead of {expected} % with {failed} of 10 failed"
            );
        }
    }
}

#[test]
fn a_zone_with_few_members_does_not_take_everybodys_load() {
    assert_eq!(later_half(&pool(two_zones(Policy::RoundRobin, 11))), 50);
    let mut elsewhere = two_zones(Policy::RoundRobin, 0);
    elsewhere.zone = Some(ZonePreference { zone: "nowhere".to_owned(), at_least: 0 });
    assert_eq!(later_half(&pool(elsewhere)), 50);
}

#[test]
fn health_is_ignored_and_said_so_when_too_few_are_healthy() {
    for policy in super::POLICIES {
        let pool = pool(many(policy, 10));
        let mut picker = picker();
        fail(&pool, 0..5);
        let calm = picker.pick(&pool, &Ask::default(), START).unwrap();
        assert_eq!(calm.how(), How::Policy, "half of them are healthy, as many as the threshold wants");
        fail(&pool, 5..6);
        let panic = picker.pick(&pool, &Ask::default(), START).unwrap();
        assert_eq!(panic.how(), How::Panic);
        drop((calm, panic));
        assert_eq!(counts(&mut picker, &pool, 2000, START).len(), 10, "{policy:?}: everybody is asked");
    }
}

#[test]
fn nobody_panics_while_another_level_makes_up_for_the_one_that_fails() {
    let pool = pool(two_levels(Policy::RoundRobin));
    fail(&pool, 0..9);
    let had = counts(&mut picker(), &pool, 2000, START);
    assert_eq!(had.len(), 11, "{had:?}");
    fail(&pool, 9..20);
    let had = counts(&mut picker(), &pool, 4000, START);
    assert_eq!(had.len(), 20, "both levels panic, and share by size");
    let lower: u64 = had.range("m00010".to_owned()..).map(|(_, count)| count).sum();
    assert!(lower.abs_diff(2000) < 200, "{lower}");
}

#[test]
fn even_a_panic_spares_those_that_drain_have_no_weight_or_are_full() {
    let mut settings = many(Policy::RoundRobin, 4);
    settings.members[1].weight = 0;
    settings.members[2].limits.requests = Some(0);
    let pool = pool(settings);
    fail(&pool, 0..4);
    pool.slots()[0].member().drain(START + secs(60));
    assert_eq!(counts(&mut picker(), &pool, 100, START), BTreeMap::from([("m00003".to_owned(), 100)]));
}

#[test]
fn an_ejection_that_ends_is_noticed_without_anybody_saying_so() {
    for policy in super::POLICIES {
        let pool = pool(many(policy, 3));
        let mut picker = picker();
        pool.slots()[1].member().eject_until(START + secs(30));
        assert_eq!(counts(&mut picker, &pool, 300, START + secs(29)).len(), 2);
        assert_eq!(counts(&mut picker, &pool, 300, START + secs(30)).len(), 3);
    }
}

#[test]
fn who_nobody_has_checked_is_trusted_or_not_as_the_pool_says() {
    let trusting = pool(many(Policy::RoundRobin, 2));
    assert!(picker().pick(&trusting, &Ask::default(), START).is_ok());
    let settings = PoolSettings { trust_unknown: false, panic_threshold: 0, ..many(Policy::RoundRobin, 2) };
    let pool = pool(settings);
    let mut picker = picker();
    assert_eq!(picker.pick(&pool, &Ask::default(), START).unwrap_err(), NoBackend::Unhealthy);
    set_health(&pool, "m00001", Health::Healthy, START);
    assert_eq!(once(&mut picker, &pool, &Ask::default(), START), "m00001");
}

#[test]
fn who_finds_nobody_is_told_why() {
    for policy in super::POLICIES {
        let calm = |count| PoolSettings { panic_threshold: 0, ..many(policy, count) };
        let why = |pool: &Pool, ask: &Ask<'_>| picker().pick(pool, ask, START).unwrap_err();
        assert_eq!(why(&pool(calm(0)), &Ask::default()), NoBackend::Empty);
        let mut weightless = calm(2);
        weightless.members.iter_mut().for_each(|member| member.weight = 0);
        assert_eq!(why(&pool(weightless), &Ask::default()), NoBackend::Weightless);

        let two = pool(calm(2));
        let ids: Vec<_> = two.slots().iter().map(|slot| slot.member().id()).collect();
        assert_eq!(why(&two, &Ask { exclude: &ids, ..Ask::default() }), NoBackend::Excluded);
        two.slots()[0].member().drain(START + secs(9));
        fail(&two, 1..2);
        assert_eq!(why(&two, &Ask::default()), NoBackend::Unhealthy);
        two.slots()[1].member().drain(START + secs(9));
        assert_eq!(why(&two, &Ask::default()), NoBackend::Draining);

        let mut full = calm(2);
        full.members.iter_mut().for_each(|member| member.limits.requests = Some(0));
        assert_eq!(why(&pool(full), &Ask::default()), NoBackend::MemberLimits);
        let closed = pool(PoolSettings { limits: Limits { requests: Some(0), ..Limits::default() }, ..calm(2) });
        assert_eq!(why(&closed, &Ask::default()), NoBackend::PoolLimit);
        assert_eq!(closed.ledger().gauge(outwork_balance::Resource::Requests).refused(), 1);
    }
}

#[test]
fn of_a_large_pool_a_change_is_seen_at_once_by_who_asks_that_member_and_soon_by_all() {
    let mut settings = many(Policy::RoundRobin, 2000);
    settings.panic_threshold = 0;
    settings.members.iter_mut().skip(1).for_each(|member| member.weight = 0);
    settings.members.truncate(1000);
    settings.members[1].weight = 1;
    let pool = pool(settings);
    let mut picker = picker();
    let (first, second) = ("m00000", "m00001");
    set_health(&pool, second, Health::Unhealthy, START);
    assert_eq!(once(&mut picker, &pool, &Ask::default(), START), first);
    set_health(&pool, first, Health::Unhealthy, START);
    assert_eq!(picker.pick(&pool, &Ask::default(), START).unwrap_err(), NoBackend::Unhealthy);
    set_health(&pool, second, Health::Healthy, START);
    assert_eq!(
        once(&mut picker, &pool, &Ask::default(), START),
        second,
        "where there is nobody else it is seen at once"
    );
    set_health(&pool, first, Health::Healthy, START);
    let soon = START + std::time::Duration::from_millis(1);
    assert_eq!(counts(&mut picker, &pool, 100, soon).len(), 2);
}
