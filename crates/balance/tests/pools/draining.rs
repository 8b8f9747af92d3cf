//! What goes on with whom: sticky sessions, draining, members that leave and come back.

use outwork_balance::{Ask, Health, How, MemberId, NoBackend, Outcome, Policy, Pool, Resource, Standing};
use outwork_engine::Time;

use super::{START, counts, key, picker, pool, secs, weighted};

/// Who a request for `sticky` gets, and why.
fn sticky(pool: &Pool, sticky: &str, exclude: &[MemberId], now: Time) -> (String, How) {
    let lease = picker().pick(pool, &Ask { sticky: Some(sticky), exclude, ..Ask::default() }, now).unwrap();
    (key(&lease), lease.how())
}

#[test]
fn who_is_named_is_taken_whatever_the_policy_says() {
    for policy in super::POLICIES {
        let pool = pool(weighted(policy, &[1000, 1, 0]));
        for named in ["a", "b", "c"] {
            assert_eq!(sticky(&pool, named, &[], START), (named.to_owned(), How::Sticky));
        }
        let (_, how) = sticky(&pool, "nobody", &[], START);
        assert_eq!(how, How::Policy, "a name from an old cookie is no error");
    }
}

#[test]
fn who_is_named_and_cannot_serve_is_replaced() {
    let mut settings = weighted(Policy::RoundRobin, &[1, 1, 1, 1]);
    settings.members[3].limits.requests = Some(0);
    let pool = pool(settings);
    let member = |key: &str| pool.find(key).unwrap().member();
    member("a").set_health(Health::Unhealthy, START);
    member("b").eject_until(START + secs(5));
    let tried = [member("c").id()];
    assert_ne!(sticky(&pool, "a", &[], START).0, "a");
    assert_ne!(sticky(&pool, "b", &[], START).0, "b");
    assert_eq!(sticky(&pool, "d", &[], START).0, "c");
    let ask = Ask { sticky: Some("c"), exclude: &tried, ..Ask::default() };
    assert_eq!(picker().pick(&pool, &ask, START).unwrap_err(), NoBackend::MemberLimits);
}

#[test]
fn who_drains_keeps_what_it_has_until_its_deadline_and_gets_nothing_new() {
    for policy in super::POLICIES {
        let pool = pool(weighted(policy, &[1, 1]));
        let member = pool.find("a").unwrap().member();
        let deadline = START + secs(30);
        member.drain(deadline);
        assert_eq!(counts(&mut picker(), &pool, 100, START)["b"], 100);
        assert_eq!(sticky(&pool, "a", &[], START).0, "a");
        member.set_health(Health::Unhealthy, START);
        assert_eq!(sticky(&pool, "a", &[], START).0, "b", "not even a draining one serves when it fails");
        member.set_health(Health::Healthy, START);
        assert_eq!(sticky(&pool, "a", &[], deadline).0, "b");
        assert_eq!(pool.find("a").unwrap().standing(deadline, true), Standing::Drained);
        member.undrain();
        assert_eq!(counts(&mut picker(), &pool, 1000, START).len(), 2);
    }
}

#[test]
fn who_is_taken_out_goes_on_with_what_it_has_for_as_long_as_the_pool_says() {
    for policy in super::POLICIES {
        let old = pool(weighted(policy, &[1, 1]));
        let mut one = weighted(policy, &[1]);
        one.drain = secs(30);
        let new = old.rebuild(one.clone(), START).unwrap();
        assert_eq!(new.next_departure(), Some(START + secs(30)));
        assert_eq!(counts(&mut picker(), &new, 100, START)["a"], 100);
        assert_eq!(sticky(&new, "b", &[], START + secs(29)).0, "b");
        assert_eq!(sticky(&new, "b", &[], START + secs(30)).0, "a");
        assert_eq!(new.census(START), outwork_balance::Census { usable: 1, draining: 1, ..Default::default() });
        let later = new.rebuild(one.clone(), START + secs(10)).unwrap();
        assert_eq!(later.next_departure(), Some(START + secs(30)), "another rebuild does not begin its time again");
        assert_eq!(later.rebuild(one, START + secs(30)).unwrap().slots().len(), 1);
        assert_eq!(
            counts(&mut picker(), &old, 1000, START).len(),
            2,
            "a snapshot that somebody still holds is as it was"
        );
    }
}

#[test]
fn who_drains_already_has_no_more_time_for_being_taken_out() {
    let old = pool(weighted(Policy::RoundRobin, &[1, 1]));
    old.find("b").unwrap().member().drain(START + secs(5));
    let new = old.rebuild(weighted(Policy::RoundRobin, &[1]), START).unwrap();
    assert_eq!(sticky(&new, "b", &[], START + secs(4)).0, "b");
    assert_eq!(sticky(&new, "b", &[], START + secs(5)).0, "a");
}

#[test]
fn who_stays_or_comes_back_while_it_drains_is_still_known() {
    let both = weighted(Policy::RoundRobin, &[1, 1]);
    let first = pool(both.clone());
    let mut picker = picker();
    let b = first.find("b").unwrap().member();
    let lease = picker.pick(&first, &Ask { sticky: Some("b"), ..Ask::default() }, START).unwrap();
    let mut answered = picker.pick(&first, &Ask { sticky: Some("b"), ..Ask::default() }, START).unwrap();
    answered.observe(&first, Outcome::Answered, START + secs(2));
    drop(answered);
    b.set_health(Health::Healthy, START);
    b.eject_until(START + secs(100));
    let without = first.rebuild(weighted(Policy::RoundRobin, &[1]), START).unwrap();
    let again = without.rebuild(both, START + secs(1)).unwrap();
    let slot = again.find("b").unwrap();
    assert!(std::sync::Arc::ptr_eq(slot.member(), b));
    assert_eq!(slot.leaving(), None);
    assert_eq!(slot.member().gauge(Resource::Requests).now(), 1);
    assert_eq!(slot.member().health(), Health::Healthy);
    assert_eq!(slot.member().ejected_until(), START + secs(100));
    assert!(slot.member().latency().nanos(START + secs(2), secs(10)).unwrap() > 1.9e9);
    drop(lease);
    assert_eq!(b.gauge(Resource::Requests).now(), 0);
    assert_eq!(again.ledger().gauge(Resource::Requests).now(), 0);
}

#[test]
fn who_comes_back_when_it_had_left_is_somebody_else() {
    let both = weighted(Policy::RoundRobin, &[1, 1]);
    let first = pool(both.clone());
    let id = first.find("b").unwrap().member().id();
    let mut one = weighted(Policy::RoundRobin, &[1]);
    one.drain = secs(0);
    let without = first.rebuild(one, START).unwrap();
    assert_eq!(without.slots().len(), 1);
    assert_ne!(without.rebuild(both, START).unwrap().find("b").unwrap().member().id(), id);
}
