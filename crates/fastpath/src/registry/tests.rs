use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use outwork_balance::{Health, MemberSettings, Policy, PoolSettings};

use super::*;
use crate::layout::Protocol;
use crate::settings::{Failed, Sizes};
use crate::tables::Tables;

const NOW: Time = Time::from_secs(1);

struct Bench {
    registry: Registry,
    tables: Tables,
}

fn settings() -> Settings {
    let sizes = Sizes { flows: 64, services: 4, backends: 8, places: 3 * 65_540, sources: 64, prefixes: 2 };
    Settings { sizes, ..Settings::default() }
}

fn pool(members: &[&str]) -> Pool {
    Pool::new(pool_settings(members)).unwrap()
}

fn pool_settings(members: &[&str]) -> PoolSettings {
    let members = members.iter().map(|key| MemberSettings::new(*key)).collect();
    PoolSettings { members, policy: Policy::Maglev, drain: Duration::from_secs(10), ..PoolSettings::default() }
}

fn vip(last: u8) -> Vip {
    Vip::new(format!("198.51.100.{last}:80").parse().unwrap(), Protocol::Tcp)
}

fn at(key: &str) -> Option<SocketAddr> {
    key.parse().ok()
}

impl Bench {
    fn new(settings: Settings) -> Bench {
        let (registry, begin) = Registry::new(settings);
        let mut bench = Bench { registry, tables: Tables::new(&settings.sizes) };
        bench.carry_out(&begin);
        bench
    }

    fn carry_out(&mut self, writes: &[Write]) {
        for write in writes {
            // Nobody is in use whose place is written: that is the order that the kernel's programs lean on.
            if let Write::Places { at, numbers } = write {
                let written = *at..*at + numbers.len() as u32;
                for service in self.tables.services.values().filter_map(|service| Region::of(service.table)) {
                    let used = service.start..service.start + service.size;
                    assert!(written.end <= used.start || used.end <= written.start, "{written:?} over {used:?}");
                }
            }
            self.tables.apply(write).unwrap();
            self.holds();
        }
    }

    /// Whoever is named by a table in use is there, and of that service.
    fn holds(&self) {
        for (vip, service) in &self.tables.services {
            let Some(region) = Region::of(service.table) else { continue };
            assert_eq!(self.tables.vips[service.number as usize], *vip);
            let places = &self.tables.places[region.start as usize..][..region.size as usize];
            for number in places.iter().collect::<BTreeSet<_>>() {
                let backend = self.tables.backends[*number as usize];
                assert!(backend.epoch != 0 && backend.service == service.number, "{number} of {vip}: {backend:?}");
            }
        }
    }

    fn serve(&mut self, vip: Vip, pool: &Pool, now: Time) -> Vec<Write> {
        let writes = self.registry.serve(vip, ServiceSettings::default(), pool, at, now).unwrap();
        self.carry_out(&writes);
        writes
    }

    /// How many places each backend has.
    fn shares(&self, vip: Vip) -> BTreeMap<SocketAddr, usize> {
        let mut shares = BTreeMap::new();
        let service = self.tables.services[&vip];
        let Some(region) = Region::of(service.table) else { return shares };
        for number in &self.tables.places[region.start as usize..][..region.size as usize] {
            let backend = self.tables.backends[*number as usize];
            *shares.entry((backend.address.ip(), u16::from_be_bytes(backend.port)).into()).or_default() += 1;
        }
        shares
    }

    fn flags(&self, vip: Vip, key: &str) -> Option<u8> {
        let number = self.registry.backends(&vip).find(|(address, _)| Some(*address) == at(key))?.1;
        Some(self.tables.backends[number as usize].flags)
    }
}

#[test]
fn the_table_is_the_one_that_the_pool_resolves() {
    let mut bench = Bench::new(settings());
    let pool = pool(&["10.0.0.1:80", "10.0.0.2:80", "10.0.0.3:80"]);
    pool.find("10.0.0.2:80").unwrap().member().set_health(Health::Unhealthy, NOW);
    bench.serve(vip(1), &pool, NOW);
    let usable = |slot: &outwork_balance::Slot| slot.member().health() != Health::Unhealthy;
    let resolved = pool.ranks()[0].cohorts()[0].resolve(pool.slots(), usable).unwrap();
    let region = Region::of(bench.tables.services[&vip(1)].table).unwrap();
    assert_eq!(region.size as usize, resolved.len());
    for (place, index) in resolved.iter().enumerate() {
        let backend = bench.tables.backends[bench.tables.places[region.start as usize + place] as usize];
        assert_eq!(Some(SocketAddr::new(backend.address.ip(), 80)), at(pool.slots()[*index as usize].member().key()));
    }
}

#[test]
fn what_has_not_changed_is_not_written_again() {
    let mut bench = Bench::new(settings());
    let pool = pool(&["10.0.0.1:80", "10.0.0.2:80"]);
    assert!(bench.serve(vip(1), &pool, NOW).len() > 3);
    assert_eq!(bench.serve(vip(1), &pool, NOW), []);
}

#[test]
fn who_fails_gets_nobody_new_and_keeps_what_it_has_until_told_otherwise() {
    let mut bench = Bench::new(settings());
    let pool = pool(&["10.0.0.1:80", "10.0.0.2:80"]);
    bench.serve(vip(1), &pool, NOW);
    let write = bench.registry.fail(&vip(1), at("10.0.0.1:80").unwrap()).unwrap();
    bench.carry_out(&[write]);
    assert_eq!(bench.flags(vip(1), "10.0.0.1:80"), Some(KEEPS_KNOWN), "at once");
    assert_eq!(bench.registry.fail(&vip(1), at("10.0.0.1:80").unwrap()), None, "once");
    assert_eq!(bench.shares(vip(1)).len(), 2, "the table follows");
    pool.find("10.0.0.1:80").unwrap().member().set_health(Health::Unhealthy, NOW);
    bench.serve(vip(1), &pool, NOW);
    assert_eq!(bench.shares(vip(1)).len(), 1);
    let moving = ServiceSettings { failed: Failed::Move, ..ServiceSettings::default() };
    let writes = bench.registry.serve(vip(1), moving, &pool, at, NOW).unwrap();
    bench.carry_out(&writes);
    assert_eq!(bench.flags(vip(1), "10.0.0.1:80"), Some(0));
    pool.find("10.0.0.1:80").unwrap().member().set_health(Health::Healthy, NOW);
    bench.serve(vip(1), &pool, NOW);
    assert_eq!((bench.flags(vip(1), "10.0.0.1:80"), bench.shares(vip(1)).len()), (Some(TAKES_NEW | KEEPS_KNOWN), 2));
}

#[test]
fn who_leaves_the_pool_keeps_its_flows_while_it_drains_and_loses_them_then() {
    let mut bench = Bench::new(settings());
    let before = pool(&["10.0.0.1:80", "10.0.0.2:80"]);
    bench.serve(vip(1), &before, NOW);
    let after = before.rebuild(pool_settings(&["10.0.0.2:80"]), NOW).unwrap();
    bench.serve(vip(1), &after, NOW);
    assert_eq!((bench.flags(vip(1), "10.0.0.1:80"), bench.shares(vip(1)).len()), (Some(KEEPS_KNOWN), 1));
    bench.serve(vip(1), &after, NOW + Duration::from_secs(11));
    assert_eq!(bench.flags(vip(1), "10.0.0.1:80"), None);
    assert!(bench.tables.backends.iter().filter(|backend| backend.epoch != 0).count() == 1);
}

#[test]
fn a_backend_that_comes_back_is_another_to_the_flows_of_the_one_that_went() {
    let mut bench = Bench::new(settings());
    let epochs = |bench: &Bench| bench.tables.backends.iter().map(|backend| backend.epoch).max();
    bench.serve(vip(1), &pool(&["10.0.0.1:80"]), NOW);
    let first = epochs(&bench);
    bench.serve(vip(1), &pool(&["10.0.0.2:80"]), NOW);
    bench.serve(vip(1), &pool(&["10.0.0.1:80"]), NOW);
    assert!(epochs(&bench) > first);
}

#[test]
fn health_is_ignored_where_nobody_is_usable_and_the_pool_knows_a_panic() {
    let mut bench = Bench::new(settings());
    let panicking = pool(&["10.0.0.1:80", "10.0.0.2:80"]);
    let calm = Pool::new(PoolSettings { panic_threshold: 0, ..pool_settings(&["10.0.0.1:80"]) }).unwrap();
    for pool in [&panicking, &calm] {
        pool.slots().iter().for_each(|slot| slot.member().set_health(Health::Unhealthy, NOW));
    }
    bench.serve(vip(1), &panicking, NOW);
    bench.serve(vip(2), &calm, NOW);
    assert_eq!((bench.shares(vip(1)).len(), bench.shares(vip(2)).len()), (2, 0));
    assert_eq!(bench.flags(vip(1), "10.0.0.1:80"), Some(TAKES_NEW | KEEPS_KNOWN));
}

#[test]
fn a_level_of_priority_takes_over_when_nobody_before_it_is_usable() {
    let mut bench = Bench::new(settings());
    let mut settings = pool_settings(&["10.0.0.1:80", "10.0.0.2:80"]);
    settings.members[1].priority = 1;
    let pool = Pool::new(settings).unwrap();
    bench.serve(vip(1), &pool, NOW);
    assert_eq!(bench.shares(vip(1)).keys().copied().collect::<Vec<_>>(), [at("10.0.0.1:80").unwrap()]);
    pool.find("10.0.0.1:80").unwrap().member().set_health(Health::Unhealthy, NOW);
    bench.serve(vip(1), &pool, NOW);
    assert_eq!(bench.shares(vip(1)).keys().copied().collect::<Vec<_>>(), [at("10.0.0.2:80").unwrap()]);
}

#[test]
fn a_table_is_written_beside_the_one_in_use_and_room_is_taken_again_only_after_the_wait() {
    let mut bench = Bench::new(settings());
    let pools = [pool(&["10.0.0.1:80", "10.0.0.2:80"]), pool(&["10.0.0.1:80", "10.0.0.3:80"])];
    let settled: Vec<bool> =
        (0..6).map(|round| bench.serve(vip(1), &pools[round % 2], NOW).contains(&Write::Settle)).collect();
    // There is room for three tables, of which one is in use.
    assert_eq!(settled, [false, false, false, true, false, true]);
}

#[test]
fn a_wait_that_a_service_without_room_would_have_made_is_made_by_the_next() {
    let sizes = Sizes { backends: 1000, places: 2 * 65_540, ..settings().sizes };
    let mut bench = Bench::new(Settings { sizes, ..settings() });
    bench.serve(vip(1), &pool(&["10.0.0.1:80"]), NOW);
    bench.serve(vip(1), &pool(&["10.0.0.2:80"]), NOW);
    let many: Vec<String> = (0..700).map(|n| format!("10.1.{}.{}:80", n >> 8, n & 255)).collect();
    let many: Vec<&str> = many.iter().map(String::as_str).collect();
    let full = bench.registry.serve(vip(2), ServiceSettings::default(), &pool(&many), at, NOW).unwrap_err();
    assert!(full.to_string().contains("of `places`"), "{full}");
    assert!(bench.serve(vip(1), &pool(&["10.0.0.3:80"]), NOW).contains(&Write::Settle));
}

#[test]
fn what_cannot_be_is_refused_by_name_and_changes_nothing() {
    let mut bench = Bench::new(settings());
    bench.serve(vip(1), &pool(&["10.0.0.1:80"]), NOW);
    let nat = ServiceSettings::default();
    let tunnel = ServiceSettings { way: Way::Tunnel, ..nat };
    let many: Vec<String> = (1..10).map(|n| format!("10.0.0.{n}:80")).collect();
    let many: Vec<&str> = many.iter().map(String::as_str).collect();
    let turns = Pool::new(PoolSettings { policy: Policy::RoundRobin, ..pool_settings(&["10.0.0.1:80"]) }).unwrap();
    let nowhere = Vip::new("0.0.0.0:80".parse().unwrap(), Protocol::Tcp);
    let cases = [
        (nowhere, nat, pool(&["10.0.0.1:80"]), "0.0.0.0:80 (tcp) is no address of a service"),
        (vip(1), nat, turns, "does not hash flows"),
        (vip(1), nat, pool(&["[2001:db8::1]:80"]), "an address of the same kind"),
        (vip(1), tunnel, pool(&["10.0.0.1:80"]), "set `tunnel_v4` to an address of this host"),
        (vip(1), tunnel, pool(&["[2001:db8::1]:80"]), "set `tunnel_v6` to an address of this host"),
        (vip(1), nat, pool(&many), "needs 8 of `backends` and 7 are left: raise `backends`, which is 8"),
    ];
    for (vip, settings, pool, expected) in cases {
        let before = format!("{:?}", bench.registry);
        let error = bench.registry.serve(vip, settings, &pool, at, NOW).unwrap_err().to_string();
        assert!(error.contains(expected), "{error}");
        assert_eq!(format!("{:?}", bench.registry), before);
    }
    let one_address = |_: &str| at("10.0.0.1:80");
    let twice = bench.registry.serve(vip(1), nat, &pool(&["a", "b"]), one_address, NOW).unwrap_err();
    assert!(twice.to_string().contains("backends `a` and `b`"), "{twice}");
    for last in 2..=3 {
        bench.serve(vip(last), &pool(&["10.0.0.1:80"]), NOW);
    }
    let full = bench.registry.serve(vip(4), nat, &pool(&["10.0.0.1:80"]), at, NOW).unwrap_err();
    assert!(full.to_string().contains("of `places`"), "{full}");
    bench.serve(vip(4), &pool(&[]), NOW);
    let full = bench.registry.serve(vip(5), nat, &pool(&[]), at, NOW).unwrap_err();
    assert!(full.to_string().contains("needs 1 of `services` and 0 are left"), "{full}");
    assert_eq!(bench.registry.withdraw(&vip(5)), Err(RegistryError::Unknown(vip(5))));
}

#[test]
fn what_is_withdrawn_makes_room() {
    let mut bench = Bench::new(settings());
    for _ in 0..10 {
        for last in 1..=3 {
            bench.serve(vip(last), &pool(&["10.0.0.1:80", "10.0.0.2:80"]), NOW);
        }
        let writes = bench.registry.retain(|_| false);
        bench.carry_out(&writes);
        assert!(bench.tables.services.is_empty() && bench.tables.backends.iter().all(|backend| backend.epoch == 0));
    }
    assert_eq!(bench.tables.control.flags, 0);
}

#[test]
fn a_service_that_retires_keeps_its_flows_and_gets_no_new_ones_until_it_is_served_again() {
    let mut bench = Bench::new(settings());
    let pool = pool(&["10.0.0.1:80", "10.0.0.2:80"]);
    bench.serve(vip(1), &pool, NOW);
    let epochs = |bench: &Bench| bench.tables.backends.iter().map(|backend| backend.epoch).collect::<Vec<_>>();
    let before = epochs(&bench);
    let table = bench.tables.services[&vip(1)].table;
    let writes = bench.registry.retire(&vip(1)).unwrap();
    bench.carry_out(&writes);
    assert_eq!(bench.tables.services[&vip(1)].table, 0);
    let flags: Vec<u8> =
        bench.tables.backends.iter().filter(|backend| backend.epoch != 0).map(|backend| backend.flags).collect();
    assert_eq!(flags, [KEEPS_KNOWN, KEEPS_KNOWN]);
    bench.serve(vip(1), &pool, NOW);
    assert_ne!(table, 0);
    assert_ne!(bench.tables.services[&vip(1)].table, 0);
    assert_eq!(epochs(&bench), before, "its flows are its own still");
    let flags: Vec<u8> =
        bench.tables.backends.iter().filter(|backend| backend.epoch != 0).map(|backend| backend.flags).collect();
    assert_eq!(flags, [KEEPS_KNOWN | TAKES_NEW, KEEPS_KNOWN | TAKES_NEW]);
    let writes = bench.registry.retire(&vip(1)).unwrap();
    bench.carry_out(&writes);
    let writes = bench.registry.retain(|_| false);
    bench.carry_out(&writes);
    assert!(bench.registry.retire(&vip(1)).is_err() && bench.tables.services.is_empty());
}

#[test]
fn only_networks_that_have_changed_are_written_and_too_many_are_refused() {
    let mut bench = Bench::new(settings());
    let prefixes = |texts: &[&str]| texts.iter().map(|text| text.parse().unwrap()).collect::<Vec<Prefix>>();
    let writes = bench.registry.deny(prefixes(&["192.0.2.0/24", "2001:db8::/32"])).unwrap();
    assert_eq!(writes.len(), 3, "two, and that there are some: {writes:?}");
    let writes = bench.registry.deny(prefixes(&["192.0.2.0/24", "198.51.100.0/24", "2001:db8::/32"])).unwrap();
    assert_eq!(writes, [Write::Deny("198.51.100.0/24".parse().unwrap())]);
    let error = bench.registry.deny(prefixes(&["10.0.0.1", "10.0.0.2", "10.0.0.3"])).unwrap_err();
    assert!(error.to_string().contains("10.0.0.3/32 is one more denied network than `prefixes` allows"), "{error}");
    assert_eq!(bench.registry.deny([]).unwrap().len(), 4);
}

#[test]
fn what_an_earlier_process_has_left_goes_on_and_keeps_its_flows() {
    let mut bench = Bench::new(settings());
    let pool = pool(&["10.0.0.1:80", "10.0.0.2:80"]);
    bench.serve(vip(1), &pool, NOW);
    bench.serve(vip(2), &pool, NOW);
    let tables = &bench.tables;
    // The process ended in the middle of taking in another backend, of a service that nobody knows.
    let orphan = Backend { epoch: 77, service: 3, ..Backend::default() };
    let backends = tables.backends.iter().copied().zip(0..).filter(|(backend, _)| backend.epoch != 0);
    let left = Left {
        services: tables.services.iter().map(|(vip, service)| (*vip, *service)).collect(),
        backends: backends.map(|(backend, number)| (number, backend)).chain([(7, orphan)]).collect(),
        denied: vec!["192.0.2.0/24".parse().unwrap()],
        links: vec![],
        outlets: vec![],
    };
    let (registry, writes) = Registry::adopt(settings(), left);
    bench.registry = registry;
    assert!(writes.contains(&Write::Backend { number: 7, backend: Backend::default(), fresh: true }), "{writes:?}");
    let controls: Vec<&Write> = writes.iter().filter(|write| matches!(write, Write::Control(_))).collect();
    assert_eq!(controls.len(), 1, "packets go on between any two: {controls:?}");
    bench.carry_out(&writes);
    assert_eq!(bench.tables.control.flags, HAS_RETURNS | DENIES_V4);
    let before = bench.tables.backends.clone();
    bench.serve(vip(1), &pool, NOW);
    assert_eq!(bench.tables.backends, before, "same numbers, same epochs");
    let writes = bench.registry.retain(|one| *one == vip(1));
    bench.carry_out(&writes);
    assert_eq!(bench.tables.services.keys().collect::<Vec<_>>(), [&vip(1)]);
    bench.serve(vip(3), &pool, NOW);
    assert!(bench.tables.backends.iter().any(|backend| backend.epoch > 77), "epochs are not used again");
}
