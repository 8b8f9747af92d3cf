//! Anything may happen to a pool, in any order: against a model that is too simple to be wrong.

use std::collections::BTreeMap;

use outwork_balance::{
    Ask, BudgetSettings, Extra, Health, Held, How, Lease, Limits, MemberSettings, NoBackend, Outcome, OutlierSettings,
    Picker, Policy, Pool, PoolSettings, Resource, Slot, Standing, ZonePreference,
};
use outwork_engine::{Rng, Time, sim};

use super::{POLICIES, START, key, secs};

fn random_limit(rng: &mut Rng, up_to: u64) -> Option<u32> {
    rng.chance(0.3).then(|| rng.below(up_to) as u32)
}

fn random_settings(policy: Policy, rng: &mut Rng) -> PoolSettings {
    let zones = ["here", "there"];
    let count = rng.below(12);
    let mut members: Vec<MemberSettings> = vec![];
    for _ in 0..count {
        let key = format!("m{}", rng.below(15));
        if members.iter().any(|member| member.key == key) {
            continue;
        }
        members.push(MemberSettings {
            weight: rng.below(5) as u32,
            priority: rng.below(3) as u32,
            zone: rng.chance(0.7).then(|| zones[rng.below(2) as usize].to_owned()),
            limits: Limits { requests: random_limit(rng, 6), ..Limits::default() },
            ..MemberSettings::new(key)
        });
    }
    PoolSettings {
        members,
        policy,
        panic_threshold: if rng.chance(0.5) { 0 } else { 50 },
        zone: rng.chance(0.5).then(|| ZonePreference { zone: "here".to_owned(), at_least: 2 }),
        drain: secs(rng.below(60)),
        trust_unknown: rng.chance(0.5),
        limits: Limits { requests: random_limit(rng, 40), connections: Some(5), pending: Some(5), ..Limits::default() },
        outlier: Some(OutlierSettings {
            consecutive_5xx: Some(2),
            max_ejected_percent: 40,
            ..OutlierSettings::default()
        }),
        retry: BudgetSettings { ratio: 0.5, floor: 1 },
        hedge: BudgetSettings { ratio: 0.5, floor: 0 },
        ..PoolSettings::default()
    }
}

/// Whether a new flow may go there, health aside.
fn may(slot: &Slot, exclude: &[outwork_balance::MemberId], now: Time, trust: bool) -> bool {
    let full =
        slot.settings().limits.requests.is_some_and(|limit| slot.member().gauge(Resource::Requests).now() >= limit);
    let standing = slot.standing(now, trust);
    !full
        && slot.settings().weight > 0
        && !exclude.contains(&slot.member().id())
        && !matches!(standing, Standing::Draining | Standing::Drained)
}

struct World {
    pool: Pool,
    pickers: Vec<Picker>,
    leases: Vec<Lease>,
    held: Vec<Held>,
    now: Time,
}

impl World {
    fn pick(&mut self, rng: &mut Rng) {
        let exclude: Vec<_> =
            self.pool.slots().iter().filter(|_| rng.chance(0.2)).map(|slot| slot.member().id()).collect();
        let ask = Ask { hash: Some(rng.next_u64()), exclude: &exclude, ..Ask::default() };
        let (now, trust) = (self.now, self.pool.settings().trust_unknown);
        let could: Vec<_> = self.pool.slots().iter().filter(|slot| may(slot, &exclude, now, trust)).collect();
        let healthy = could.iter().filter(|slot| slot.standing(now, trust) == Standing::Usable).count();
        let total = self.pool.ledger().gauge(Resource::Requests).now();
        let closed = self.pool.settings().limits.requests.is_some_and(|limit| total >= limit);
        let number = rng.below(self.pickers.len() as u64) as usize;
        match self.pickers[number].pick(&self.pool, &ask, now) {
            Ok(lease) => {
                let slot = could.iter().find(|slot| slot.member().id() == lease.id());
                let slot = slot.unwrap_or_else(|| panic!("{} may not be picked", key(&lease)));
                assert!(!closed);
                let usable = slot.standing(now, trust) == Standing::Usable;
                assert!(usable || lease.how() == How::Panic, "{} is not usable", key(&lease));
                self.leases.push(lease);
            }
            Err(NoBackend::PoolLimit) => assert!(closed),
            Err(why) => assert!(!closed && healthy == 0, "{why}, though {healthy} are usable"),
        }
    }

    fn step(&mut self, policy: Policy, rng: &mut Rng) {
        let some = |count: usize, rng: &mut Rng| (count > 0).then(|| rng.below(count.max(1) as u64) as usize);
        let slot = some(self.pool.slots().len(), rng).map(|number| &self.pool.slots()[number]);
        let until = self.now + secs(rng.below(40));
        match (rng.below(100), slot) {
            (0..50, _) => self.pick(rng),
            (50..75, _) => {
                if let Some(number) = some(self.leases.len(), rng) {
                    let outcomes = [Outcome::Answered, Outcome::ServerError, Outcome::Cancelled, Outcome::TimedOut];
                    let lease = self.leases.swap_remove(number);
                    match rng.chance(0.2) {
                        true => drop(lease),
                        false => drop(lease.finish(&self.pool, outcomes[rng.below(4) as usize], self.now)),
                    }
                }
            }
            (75..78, Some(slot)) => slot.member().set_health(Health::Unhealthy, self.now),
            (78..83, Some(slot)) => slot.member().set_health(Health::Healthy, self.now),
            (83, Some(slot)) => slot.member().drain(until),
            (84, Some(slot)) => slot.member().undrain(),
            (85, Some(slot)) => slot.member().eject_until(until),
            (86..90, slot) => {
                let resources = [Resource::Connections, Resource::Pending];
                let member = slot.map(|slot| slot.member()).filter(|_| rng.chance(0.7));
                self.held.extend(self.pool.hold(resources[rng.below(2) as usize], member));
            }
            (90..93, slot) => {
                let extra = if rng.chance(0.5) { Extra::Retry } else { Extra::Hedge };
                self.held.extend(self.pool.again(extra, slot.map(|slot| slot.member()), self.now));
            }
            (93..95, _) => {
                let _ = some(self.held.len(), rng).map(|number| self.held.swap_remove(number));
            }
            (95, _) => drop(self.pool.sweep(self.now)),
            (96, _) => self.pool = self.pool.rebuild(random_settings(policy, rng), self.now).unwrap(),
            _ => self.now += secs(rng.below(10)),
        }
    }

    /// What is under way is what we hold, to the one.
    fn check_counts(&self) {
        let mut members: BTreeMap<_, u32> = BTreeMap::new();
        self.leases.iter().for_each(|lease| *members.entry(lease.id()).or_default() += 1);
        for slot in self.pool.slots() {
            let held = members.get(&slot.member().id()).copied().unwrap_or(0);
            assert_eq!(slot.member().gauge(Resource::Requests).now(), held);
        }
        for resource in Resource::ALL {
            let held = match resource {
                Resource::Requests => self.leases.len(),
                other => self.held.iter().filter(|held| held.resource() == other).count(),
            };
            assert_eq!(self.pool.ledger().gauge(resource).now() as usize, held, "{resource:?}");
        }
    }
}

#[test]
fn whatever_happens_only_who_may_is_picked_somebody_is_when_somebody_may_and_no_count_leaks() {
    for policy in POLICIES {
        sim::seeds(60, |rng| {
            let pool = Pool::new(random_settings(policy, rng)).unwrap();
            let pickers = (0..3).map(|_| Picker::new(Rng::new(rng.next_u64()))).collect();
            let mut world = World { pool, pickers, leases: vec![], held: vec![], now: START };
            for _ in 0..600 {
                world.step(policy, rng);
                world.check_counts();
            }
            world.leases.clear();
            world.held.clear();
            world.check_counts();
        });
    }
}
