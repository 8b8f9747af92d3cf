//! Circuit breakers and budgets.

use std::sync::Barrier;

use outwork_balance::pool::PoolError;
use outwork_balance::{
    Ask, BudgetSettings, Extra, Limits, MemberSettings, NoBackend, Picker, Policy, Pool, PoolSettings, Refused,
    Resource, Scope,
};
use outwork_engine::Rng;

use super::{START, picker, pool, secs, weighted};

fn limited(limits: Limits, of_member: Limits) -> Pool {
    let mut settings = weighted(Policy::RoundRobin, &[1, 1]);
    settings.limits = limits;
    settings.members[0].limits = of_member;
    pool(settings)
}

#[test]
fn each_resource_has_its_limit_for_the_pool_and_for_the_member() {
    let all = |limit| Limits {
        requests: Some(limit),
        connections: Some(limit),
        pending: Some(limit),
        retries: Some(limit),
        hedges: Some(limit),
    };
    for resource in Resource::ALL {
        let pool = limited(all(3), all(2));
        let member = pool.find("a").unwrap().member();
        let first = pool.hold(resource, Some(member)).unwrap();
        let _second = pool.hold(resource, Some(member)).unwrap();
        let refused = |scope| Some(Refused { resource, scope });
        assert_eq!(pool.hold(resource, Some(member)).err(), refused(Scope::Member));
        assert_eq!(pool.ledger().gauge(resource).now(), 2, "what the member refuses the pool does not keep");
        let _third = pool.hold(resource, None).unwrap();
        assert_eq!(pool.hold(resource, Some(member)).err(), refused(Scope::Pool));
        assert_eq!((member.gauge(resource).refused(), pool.ledger().gauge(resource).refused()), (1, 1));
        drop(first);
        assert!(pool.hold(resource, Some(member)).is_ok(), "what is given back can be had again");
    }
}

#[test]
fn a_refusal_says_whose_limit_it_is_and_of_what() {
    let pool = limited(Limits { connections: Some(0), ..Limits::default() }, Limits::default());
    let refused = pool.hold(Resource::Connections, None).unwrap_err();
    assert_eq!(refused.to_string(), "the limit of the pool for connections is reached");
}

#[test]
fn retries_are_a_part_of_what_is_in_flight_and_so_many_a_second() {
    let mut settings = weighted(Policy::RoundRobin, &[1, 1]);
    settings.retry = BudgetSettings { ratio: 0.2, floor: 2 };
    let pool = pool(settings);
    let mut picker = picker();
    let retry = || pool.again(Extra::Retry, None, START);
    let _leases: Vec<_> = (0..15).map(|_| picker.pick(&pool, &Ask::default(), START).unwrap()).collect();
    let _covered: Vec<_> = (0..3).map(|_| retry().unwrap()).collect();
    let _floor: Vec<_> = (0..2).map(|_| retry().unwrap()).collect();
    assert_eq!(retry().unwrap_err(), Refused { resource: Resource::Retries, scope: Scope::Budget });
    assert_eq!(
        (pool.ledger().gauge(Resource::Retries).now(), pool.ledger().gauge(Resource::Retries).refused()),
        (5, 1)
    );
    assert!(pool.again(Extra::Retry, None, START + secs(1)).is_ok(), "the floor is one of every second");
    let hedge = pool.again(Extra::Hedge, None, START).unwrap_err();
    assert_eq!(hedge, Refused { resource: Resource::Hedges, scope: Scope::Budget }, "hedging is off unless asked for");
}

#[test]
fn the_floor_of_a_budget_outlives_a_rebuild() {
    let settings =
        PoolSettings { retry: BudgetSettings { ratio: 0.0, floor: 1 }, ..weighted(Policy::RoundRobin, &[1]) };
    let old = pool(settings.clone());
    assert!(old.again(Extra::Retry, None, START).is_ok());
    let new = old.rebuild(settings, START).unwrap();
    assert!(new.again(Extra::Retry, None, START).is_err());
}

#[test]
fn threads_that_pick_at_the_same_time_never_exceed_a_limit_nor_lose_a_count() {
    let limits = |requests| Limits { requests: Some(requests), ..Limits::default() };
    for policy in super::POLICIES {
        let mut settings = weighted(policy, &[1, 1, 1]);
        settings.limits = limits(7);
        settings.members.iter_mut().for_each(|member| member.limits = limits(3));
        let pool = pool(settings);
        let barrier = Barrier::new(4);
        std::thread::scope(|scope| {
            for seed in 0..4 {
                let (pool, barrier) = (&pool, &barrier);
                scope.spawn(move || {
                    let (mut picker, mut held) = (Picker::new(Rng::new(seed)), vec![]);
                    barrier.wait();
                    for flow in 0..5000 {
                        let ask = Ask { hash: Some(flow), ..Ask::default() };
                        match picker.pick(pool, &ask, START) {
                            Ok(lease) => held.push(lease),
                            Err(NoBackend::PoolLimit | NoBackend::MemberLimits) => held.clear(),
                            Err(other) => panic!("{other}"),
                        }
                        assert!(pool.ledger().gauge(Resource::Requests).now() <= 7);
                        assert!(pool.slots().iter().all(|slot| slot.member().gauge(Resource::Requests).now() <= 3));
                    }
                });
            }
        });
        assert_eq!(pool.ledger().gauge(Resource::Requests).now(), 0);
        assert!(pool.slots().iter().all(|slot| slot.member().gauge(Resource::Requests).now() == 0));
    }
}

#[test]
fn a_pool_that_cannot_be_is_refused_by_name_and_the_old_one_goes_on() {
    let of = |members| PoolSettings { members, ..PoolSettings::default() };
    let old = pool(weighted(Policy::RoundRobin, &[1]));
    let twice = of(vec![MemberSettings::new("x"), MemberSettings::new("y"), MemberSettings::new("x")]);
    assert_eq!(old.rebuild(twice, START).unwrap_err(), PoolError::Duplicate { key: "x".to_owned() });
    assert_eq!(old.find("a").unwrap().leaving(), None);
    let heavy = Pool::new(of(vec![MemberSettings::new("x").weight(65_536)])).unwrap_err();
    assert_eq!(heavy.to_string(), "backend `x` has weight 65536: expected 0 to 65535");
    let many = (0..65_536).map(|number| MemberSettings::new(number.to_string()));
    assert_eq!(Pool::new(of(many.collect())).unwrap_err(), PoolError::TooMany { members: 65_536 });
}
