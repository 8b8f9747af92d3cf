//! The same member for the same hash.

use std::net::IpAddr;

use outwork_balance::{Ask, Health, MemberSettings, Policy, Pool, PoolSettings, Standing, hash};

use super::{START, key, many, once, picker, pool, secs, set_health, weighted};

/// Who gets each of so many flows.
fn owners(pool: &Pool, flows: u64) -> Vec<String> {
    let mut picker = picker();
    (0..flows).map(|flow| once(&mut picker, pool, &Ask { hash: Some(flow), ..Ask::default() }, START)).collect()
}

#[test]
fn a_client_always_gets_the_same_member_and_clients_are_spread() {
    let pool = pool(weighted(Policy::IpHash, &[1, 1, 2]));
    let mut had = [0u32; 3];
    for client in 0..20_000u32 {
        let client = Some(IpAddr::from((client + 0x0a00_0000).to_be_bytes()));
        // Another worker, another request of the same client.
        let first = once(&mut picker(), &pool, &Ask { client, hash: Some(1), ..Ask::default() }, START);
        let again = once(&mut picker(), &pool, &Ask { client, hash: Some(2), ..Ask::default() }, START);
        assert_eq!(first, again);
        had[usize::from(first.as_bytes()[0] - b'a')] += 1;
    }
    assert!(had.iter().zip([5000, 5000, 10_000]).all(|(had, due)| had.abs_diff(due) < 400), "{had:?}");
}

#[test]
fn neighbours_agree_whatever_order_their_settings_are_in() {
    let forward = many(Policy::Maglev, 20);
    let mut backward = forward.clone();
    backward.members.reverse();
    assert_eq!(owners(&pool(forward), 1000), owners(&pool(backward), 1000));
}

#[test]
fn only_the_flows_of_a_member_that_fails_move_and_they_come_back() {
    let pool = pool(many(Policy::Maglev, 50));
    let before = owners(&pool, 5000);
    set_health(&pool, "m00007", Health::Unhealthy, START);
    let during = owners(&pool, 5000);
    for (before, during) in before.iter().zip(&during) {
        assert!(if before == "m00007" { during != before } else { during == before });
    }
    assert_eq!(during, owners(&pool, 5000), "where they moved they stay");
    set_health(&pool, "m00007", Health::Healthy, START);
    assert_eq!(owners(&pool, 5000), before);
}

#[test]
fn flows_keep_their_member_through_rebuilds_but_for_two_in_a_hundred() {
    let mut settings = many(Policy::Maglev, 100);
    let old = pool(settings.clone());
    let before = owners(&old, 20_000);
    settings.members.push(MemberSettings::new("m00050b"));
    let new = old.rebuild(settings.clone(), START).unwrap();
    let after = owners(&new, 20_000);
    let moved = before.iter().zip(&after).filter(|(before, after)| before != after && *after != "m00050b").count();
    assert!(moved <= 400, "{moved} of 20000");
    let same = new.rebuild(settings, START + secs(1)).unwrap();
    let table = |pool: &Pool| pool.ranks()[0].cohorts()[0].table().cloned().unwrap();
    assert!(std::sync::Arc::ptr_eq(&table(&new), &table(&same)), "what has not changed is not made again");
    let (more, fewer) = (many(Policy::Maglev, 660), PoolSettings { drain: secs(0), ..many(Policy::Maglev, 600) });
    let more = pool(more);
    let fewer = more.rebuild(fewer, START).unwrap();
    assert_eq!(fewer.slots().len(), 600);
    assert_eq!(table(&fewer).entries().len(), table(&more).entries().len(), "another size would move everything");
}

#[test]
fn a_flow_under_way_goes_on_where_it_is_while_that_drains_and_no_new_one_comes() {
    let pool = pool(many(Policy::Maglev, 10));
    let (mut picker, deadline) = (picker(), START + secs(30));
    let flows = (0u64..).zip(owners(&pool, 500)).filter(|(_, owner)| owner == "m00004").map(|(flow, _)| flow);
    let flows: Vec<u64> = flows.collect();
    assert!(flows.len() > 10);
    pool.find("m00004").unwrap().member().drain(deadline);
    for hash in flows.into_iter().map(Some) {
        let mut to = |established, now| once(&mut picker, &pool, &Ask { hash, established, ..Ask::default() }, now);
        assert_eq!(to(true, START), "m00004");
        assert_ne!(to(false, START), "m00004");
        assert_ne!(to(true, deadline), "m00004", "its time is over");
    }
}

#[test]
fn where_all_but_one_fail_every_flow_finds_it() {
    let mut settings = many(Policy::Maglev, 200);
    settings.panic_threshold = 0;
    let pool = pool(settings);
    pool.slots().iter().skip(1).for_each(|slot| slot.member().set_health(Health::Unhealthy, START));
    assert!(owners(&pool, 500).iter().all(|owner| owner == "m00000"));
}

#[test]
fn where_nearly_all_fail_flows_are_spread_over_those_who_are_left() {
    let mut settings = many(Policy::Maglev, 2000);
    settings.panic_threshold = 0;
    let pool = pool(settings);
    pool.slots().iter().skip(4).for_each(|slot| slot.member().set_health(Health::Unhealthy, START));
    let owners = owners(&pool, 2000);
    for left in ["m00000", "m00001", "m00002", "m00003"] {
        let part = owners.iter().filter(|owner| *owner == left).count();
        assert!((400..600).contains(&part), "{left}: {part} of 2000");
    }
}

#[test]
fn a_flow_that_has_been_tried_elsewhere_has_one_next_member() {
    let pool = pool(many(Policy::Maglev, 10));
    let first = picker().pick(&pool, &Ask { hash: Some(1), ..Ask::default() }, START).unwrap();
    let exclude = [first.id()];
    let next = |seed| {
        let mut picker = outwork_balance::Picker::new(outwork_engine::Rng::new(seed));
        key(&picker.pick(&pool, &Ask { hash: Some(1), exclude: &exclude, ..Ask::default() }, START).unwrap())
    };
    assert!((0..20).all(|seed| next(seed) == next(0)) && next(0) != key(&first));
}

#[test]
fn a_flow_stays_in_its_level_while_load_is_split_between_levels() {
    let mut settings = many(Policy::Maglev, 20);
    settings.members.iter_mut().skip(10).for_each(|member| member.priority = 1);
    let pool = pool(settings);
    pool.slots().iter().take(5).for_each(|slot| slot.member().set_health(Health::Unhealthy, START));
    let split = owners(&pool, 10_000);
    let lower = split.iter().filter(|owner| owner.as_str() >= "m00010").count();
    assert!((2700..3300).contains(&lower), "{lower} of 10000, 30 % were due");
    assert_eq!(split, owners(&pool, 10_000));
}

#[test]
fn hashes_of_text_and_of_addresses_can_be_asked_for() {
    let pool = pool(many(Policy::Maglev, 10));
    let by = |hash| once(&mut picker(), &pool, &Ask { hash: Some(hash), ..Ask::default() }, START);
    assert_eq!(by(hash::bytes(b"/index.html", 0)), by(hash::bytes(b"/index.html", 0)));
}

#[test]
fn a_table_for_the_fast_path_decides_as_the_picker_does() {
    for failed in [0, 1, 20, 29, 30] {
        let mut settings = many(Policy::Maglev, 30);
        settings.panic_threshold = 0;
        let pool = pool(settings);
        pool.slots()[..failed].iter().for_each(|slot| slot.member().set_health(Health::Unhealthy, START));
        let cohort = &pool.ranks()[0].cohorts()[0];
        let resolved = cohort.resolve(pool.slots(), |slot| slot.standing(START, true) == Standing::Usable);
        let Some(resolved) = resolved else {
            assert_eq!(failed, 30, "only where nobody is usable there is no table");
            continue;
        };
        let mut picker = picker();
        for flow in 0..3000 {
            let picked = once(&mut picker, &pool, &Ask { hash: Some(flow), ..Ask::default() }, START);
            let place = hash::below(hash::mix(flow), resolved.len() as u32);
            assert_eq!(pool.slots()[resolved[place as usize] as usize].member().key(), picked);
        }
    }
}
