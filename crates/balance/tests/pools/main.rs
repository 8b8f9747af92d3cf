//! Pools as their callers see them, by rule and by seeded simulation against simple models.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod draining;
mod hashing;
mod levels;
mod limits;
mod outliers;
mod simulation;
mod turns;

use std::collections::BTreeMap;
use std::time::Duration;

use outwork_balance::{Ask, Lease, MemberSettings, Picker, Policy, Pool, PoolSettings};
use outwork_engine::{Rng, Time};

const POLICIES: [Policy; 5] = [Policy::RoundRobin, Policy::LeastConn, Policy::Choices, Policy::IpHash, Policy::Maglev];

/// The time at which most tests begin.
const START: Time = Time::from_secs(1000);

const fn secs(secs: u64) -> Duration {
    Duration::from_secs(secs)
}

/// Settings of members `a`, `b`, ... with these weights.
fn weighted(policy: Policy, weights: &[u32]) -> PoolSettings {
    let members = weights.iter().zip('a'..).map(|(weight, key)| MemberSettings::new(key).weight(*weight));
    PoolSettings { members: members.collect(), policy, ..PoolSettings::default() }
}

/// Settings of so many members of weight 1, `m00000` and so on.
fn many(policy: Policy, count: usize) -> PoolSettings {
    let members = (0..count).map(|number| MemberSettings::new(format!("m{number:05}")));
    PoolSettings { members: members.collect(), policy, ..PoolSettings::default() }
}

fn pool(settings: PoolSettings) -> Pool {
    Pool::new(settings).unwrap()
}

fn picker() -> Picker {
    Picker::new(Rng::new(7))
}

fn key(lease: &Lease) -> String {
    lease.member().key().to_owned()
}

/// Picks and gives back at once.
fn once(picker: &mut Picker, pool: &Pool, ask: &Ask<'_>, now: Time) -> String {
    key(&picker.pick(pool, ask, now).unwrap())
}

/// How often each is picked in so many picks that are given back at once. With a new flow each time.
fn counts(picker: &mut Picker, pool: &Pool, picks: u64, now: Time) -> BTreeMap<String, u64> {
    let mut counts = BTreeMap::new();
    for flow in 0..picks {
        let ask = Ask { hash: Some(flow), ..Ask::default() };
        *counts.entry(once(picker, pool, &ask, now)).or_default() += 1;
    }
    counts
}

fn set_health(pool: &Pool, key: &str, health: outwork_balance::Health, now: Time) {
    pool.find(key).unwrap().member().set_health(health, now);
}
