//! Round robin, fewest requests, two choices, slow start.

use std::collections::BTreeMap;
use std::time::Duration;

use outwork_balance::{Ask, Health, Limits, MemberSettings, Outcome, Picker, Policy, PoolSettings, SlowStart};
use outwork_engine::{Rng, Time, sim};

use super::{START, counts, key, many, once, picker, pool, secs, set_health, weighted};

fn sequence(picker: &mut Picker, pool: &outwork_balance::Pool, picks: usize, now: Time) -> String {
    (0..picks).map(|_| once(picker, pool, &Ask::default(), now)).collect()
}

#[test]
fn five_one_one_is_spread_over_seven_turns() {
    sim::seeds(200, |rng| {
        let pool = pool(weighted(Policy::RoundRobin, &[5, 1, 1]));
        let mut picker = Picker::new(rng.clone());
        let turns = sequence(&mut picker, &pool, 70, START);
        for cycle in turns.as_bytes().chunks(7) {
            let count = |key| cycle.iter().filter(|one| **one == key).count();
            assert_eq!((count(b'a'), count(b'b'), count(b'c')), (5, 1, 1), "{turns}");
        }
        assert!(!turns.contains("bc") && !turns.contains("cb") && !turns.contains("aaaaa"), "{turns}");
    });
}

#[test]
fn whatever_the_weights_shares_are_exact_in_every_cycle_and_never_far_off_within() {
    sim::seeds(100, |rng| {
        let weights: Vec<u32> = (0..1 + rng.below(12)).map(|_| 1 + rng.below(20) as u32).collect();
        let sum: u32 = weights.iter().sum();
        let pool = pool(weighted(Policy::RoundRobin, &weights));
        let mut picker = Picker::new(rng.clone());
        let mut had = vec![0u32; weights.len()];
        for turn in 1..=5 * sum {
            let key = once(&mut picker, &pool, &Ask::default(), START);
            had[usize::from(key.as_bytes()[0] - b'a')] += 1;
            for (had, weight) in had.iter().zip(&weights) {
                let due = f64::from(turn) * f64::from(*weight) / f64::from(sum);
                let off = (f64::from(*had) - due).abs();
                // Each has its turns at even distances, from a place of its own in the first.
                assert!(off < 1.0 + weights.len() as f64 / 2.0, "{weights:?}: {off} off");
                assert!(turn % sum != 0 || *had == turn / sum * weight, "{weights:?}: {had} after {turn}");
            }
        }
    });
}

#[test]
fn ten_thousand_have_one_turn_each_before_anybody_has_two() {
    let pool = pool(many(Policy::RoundRobin, 10_000));
    let mut picker = picker();
    for _ in 0..3 {
        assert_eq!(counts(&mut picker, &pool, 10_000, START).len(), 10_000);
    }
}

#[test]
fn workers_do_not_all_begin_with_the_same_member() {
    let pool = pool(many(Policy::RoundRobin, 50));
    let firsts: std::collections::BTreeSet<_> =
        (0..50).map(|seed| once(&mut Picker::new(Rng::new(seed)), &pool, &Ask::default(), START)).collect();
    assert!(firsts.len() > 10, "{firsts:?}");
}

#[test]
fn who_comes_back_does_not_get_the_turns_that_it_missed() {
    for policy in [Policy::RoundRobin, Policy::LeastConn] {
        let pool = pool(weighted(policy, &[1, 1, 1]));
        let mut picker = picker();
        set_health(&pool, "b", Health::Unhealthy, START);
        assert_eq!(counts(&mut picker, &pool, 1000, START)["a"], 500);
        set_health(&pool, "b", Health::Healthy, START);
        let turns = sequence(&mut picker, &pool, 9, START);
        assert_eq!(turns.matches('b').count(), 3, "{turns}");
    }
}

#[test]
fn a_change_of_somebodys_health_does_not_begin_every_turn_again() {
    let pool = pool(weighted(Policy::RoundRobin, &[1; 8]));
    let mut picker = picker();
    let mut had: BTreeMap<String, u64> = BTreeMap::new();
    for turn in 0..8000 {
        // Something changes with every pick; `h` is not asked in between.
        set_health(&pool, "h", if turn % 2 == 0 { Health::Unhealthy } else { Health::Healthy }, START);
        *had.entry(once(&mut picker, &pool, &Ask::default(), START)).or_default() += 1;
    }
    let (least, most) = (had.iter().filter(|(key, _)| *key != "h").map(|(_, count)| *count).min(), had.values().max());
    assert!(had.len() >= 7 && least.unwrap() * 10 > most.unwrap() * 9, "{had:?}");
}

#[test]
fn a_rebuild_goes_on_with_the_turns_of_those_who_stay() {
    for policy in [Policy::RoundRobin, Policy::LeastConn] {
        sim::seeds(50, |rng| {
            let settings = weighted(policy, &[1; 6]);
            let old = pool(settings.clone());
            let mut picker = Picker::new(rng.clone());
            let mut turns = sequence(&mut picker, &old, 3, START);
            let mut grown = settings;
            grown.members.insert(0, MemberSettings::new("0"));
            let new = old.rebuild(grown, START).unwrap();
            turns += &sequence(&mut picker, &new, 4, START).replace('0', "");
            let had: std::collections::BTreeSet<_> = turns.chars().take(6).collect();
            assert_eq!(had.len(), 6.min(turns.len()), "{turns}");
        });
    }
}

#[test]
fn the_one_with_the_fewest_requests_by_weight_is_taken() {
    let pool = pool(weighted(Policy::LeastConn, &[1, 2, 4]));
    let mut picker = picker();
    let leases: Vec<_> = (0..70).map(|_| picker.pick(&pool, &Ask::default(), START).unwrap()).collect();
    let had = |of: &str| leases.iter().filter(|lease| key(lease) == of).count();
    assert_eq!((had("a"), had("b"), had("c")), (10, 20, 40));
}

#[test]
fn equals_take_turns() {
    let pool = pool(weighted(Policy::LeastConn, &[5, 1, 1]));
    let had = counts(&mut picker(), &pool, 700, START);
    assert_eq!((had["a"], had["b"], had["c"]), (500, 100, 100));
}

#[test]
fn large_pools_are_filled_evenly_though_no_choice_looks_at_everybody() {
    let pool = pool(many(Policy::LeastConn, 1000));
    let mut picker = picker();
    let _leases: Vec<_> = (0..10_000).map(|_| picker.pick(&pool, &Ask::default(), START).unwrap()).collect();
    let gauges = pool.slots().iter().map(|slot| slot.member().gauge(outwork_balance::Resource::Requests).now());
    let (least, most) = (gauges.clone().min().unwrap(), gauges.max().unwrap());
    assert!(least >= 8 && most <= 12, "{least} to {most}");
}

/// Ten members that are asked a thousand times a second, one of them slow; how many of 20,000 requests it gets.
fn asked_though_slow(policy: Policy, rng: &mut Rng) -> u32 {
    let pool = pool(many(policy, 10));
    let mut picker = Picker::new(rng.clone());
    let mut under_way = std::collections::BinaryHeap::new();
    let mut leases = BTreeMap::new();
    let (mut now, mut slow) = (START, 0);
    for number in 0..20_000u32 {
        now += secs(1).mul_f64(-rng.unit().max(1e-9).ln() / 1000.0);
        while let Some(std::cmp::Reverse((at, lease))) = under_way.peek().copied()
            && at <= now
        {
            under_way.pop();
            let lease: outwork_balance::Lease = leases.remove(&lease).unwrap();
            lease.finish(&pool, Outcome::Answered, at);
        }
        let lease = picker.pick(&pool, &Ask::default(), now).unwrap();
        let is_slow = key(&lease) == "m00003";
        slow += u32::from(is_slow);
        let takes = if is_slow { 400.0 } else { 10.0 } * (0.5 + rng.unit());
        under_way.push(std::cmp::Reverse((now + secs(1).mul_f64(takes / 1000.0), number)));
        leases.insert(number, lease);
    }
    slow
}

#[test]
fn a_slow_member_gets_few_requests_of_two_choices_and_its_part_of_round_robin() {
    sim::seeds(5, |rng| {
        let part = asked_though_slow(Policy::RoundRobin, &mut rng.clone());
        assert_eq!(part, 2000);
        let part = asked_though_slow(Policy::Choices, &mut rng.clone());
        assert!((1..400).contains(&part), "{part} of 20000, a tenth would be 2000");
    });
}

#[test]
fn two_choices_give_heavy_members_their_part() {
    let pool = pool(weighted(Policy::Choices, &[8, 1, 1]));
    let mut picker = picker();
    let leases: Vec<_> = (0..1000).map(|_| picker.pick(&pool, &Ask::default(), START).unwrap()).collect();
    let had = leases.iter().filter(|lease| key(lease) == "a").count();
    assert!((760..840).contains(&had), "{had}");
}

#[test]
fn who_has_never_answered_gets_one_request_to_begin_with_and_not_all() {
    let pool = pool(weighted(Policy::Choices, &[1, 1]));
    let mut picker = picker();
    let known = picker.pick(&pool, &Ask { sticky: Some("a"), ..Ask::default() }, START).unwrap();
    let now = START + Duration::from_millis(10);
    known.finish(&pool, Outcome::Answered, now);
    let leases: Vec<_> = (0..20).map(|_| picker.pick(&pool, &Ask::default(), now).unwrap()).collect();
    assert_eq!(leases.iter().filter(|lease| key(lease) == "b").count(), 1);
}

#[test]
fn a_pool_of_one_has_no_choice_to_make() {
    for policy in super::POLICIES {
        let pool = pool(weighted(policy, &[3]));
        assert_eq!(once(&mut picker(), &pool, &Ask::default(), START), "a");
    }
}

#[test]
fn who_comes_up_gets_its_part_bit_by_bit() {
    let slow_start = Some(SlowStart { window: secs(100), aggression: 1.0, least: 0.1 });
    for policy in [Policy::RoundRobin, Policy::LeastConn] {
        let before = PoolSettings { slow_start, ..weighted(policy, &[10, 10]) };
        let old = pool(before);
        let mut picker = picker();
        assert_eq!(counts(&mut picker, &old, 200, START)["b"], 100, "a pool that is new does not start slowly");
        let pool = old.rebuild(PoolSettings { slow_start, ..weighted(policy, &[10, 10, 10]) }, START).unwrap();
        let mut part = |after| counts(&mut picker, &pool, 2100, START + secs(after)).get("c").copied().unwrap_or(0);
        for (after, expected) in [(1, 100), (50, 420), (100, 700)] {
            let part = part(after);
            assert!(part.abs_diff(expected) <= 15, "{policy:?}: {part} of 2100 after {after} s");
        }
        set_health(&pool, "c", Health::Unhealthy, START + secs(200));
        set_health(&pool, "c", Health::Healthy, START + secs(300));
        assert!(part(301).abs_diff(100) <= 15, "it starts again when it answers again");
    }
}

#[test]
fn who_is_new_begins_when_its_first_check_has_passed() {
    let slow_start = Some(SlowStart { window: secs(100), aggression: 1.0, least: 0.1 });
    let settings =
        |weights: &[u32]| PoolSettings { slow_start, trust_unknown: false, ..weighted(Policy::RoundRobin, weights) };
    let old = pool(settings(&[10]));
    set_health(&old, "a", Health::Healthy, START);
    let pool = old.rebuild(settings(&[10, 10]), START).unwrap();
    set_health(&pool, "b", Health::Healthy, START + secs(500));
    let had = counts(&mut picker(), &pool, 1100, START + secs(501));
    assert!(had["b"].abs_diff(100) < 15, "{had:?}");
}

#[test]
fn turns_go_on_for_ever() {
    // Turns of a hundredth of a weight are as long as they get: virtual time would be over here if it did not begin again.
    let slow_start = Some(SlowStart { window: Duration::MAX, aggression: 1.0, least: 0.0 });
    for policy in [Policy::RoundRobin, Policy::LeastConn] {
        let old = pool(weighted(policy, &[]));
        let pool = old.rebuild(PoolSettings { slow_start, ..weighted(policy, &[1, 1]) }, START).unwrap();
        let had = counts(&mut picker(), &pool, 700_000, START);
        assert!(had["a"].abs_diff(had["b"]) < 10, "{had:?}");
    }
}

#[test]
fn who_is_full_loses_its_turn_and_nobody_waits() {
    for policy in super::POLICIES {
        let mut settings = weighted(policy, &[1, 1, 1]);
        settings.members[1].limits = Limits { requests: Some(2), ..Limits::default() };
        let pool = pool(settings);
        let mut picker = picker();
        let leases: Vec<_> = (0..60)
            .map(|flow| picker.pick(&pool, &Ask { hash: Some(flow), ..Ask::default() }, START).unwrap())
            .collect();
        assert_eq!(leases.iter().filter(|lease| key(lease) == "b").count(), 2, "{policy:?}");
    }
}

#[test]
fn who_answers_again_gets_little_of_what_one_other_gets() {
    let slow_start = Some(SlowStart { window: secs(3600), aggression: 1.0, least: 0.1 });
    for policy in [Policy::RoundRobin, Policy::LeastConn] {
        let pool = pool(PoolSettings { slow_start, trust_unknown: false, ..weighted(policy, &[1, 1]) });
        for (key, health) in
            [("a", Health::Healthy), ("b", Health::Healthy), ("a", Health::Unhealthy), ("a", Health::Healthy)]
        {
            set_health(&pool, key, health, START + secs(1));
        }
        let had = counts(&mut picker(), &pool, 44, START + secs(2));
        assert!((1..=10).contains(&had["a"]), "{policy:?}: {had:?}");
    }
}
