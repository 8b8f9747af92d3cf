//! The compiled matcher against a list that is gone through.

use super::*;
use crate::engine::policy::{AppId, Match, PolicyId};
use outwork_engine::sim;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::ops::RangeInclusive;

fn address(rng: &mut Rng) -> IpAddr {
    match rng.chance(0.8) {
        true => Ipv4Addr::from(10 << 24 | (rng.below(4) << 8 | rng.below(4)) as u32).into(),
        false => Ipv6Addr::from(u128::from(rng.below(4)) << 64 | u128::from(rng.below(4))).into(),
    }
}

fn some<T>(rng: &mut Rng, mut one: impl FnMut(&mut Rng) -> T) -> Vec<T> {
    let count = if rng.chance(0.5) { 0 } else { 1 + rng.below(3) };
    (0..count).map(|_| one(rng)).collect()
}

fn prefix(rng: &mut Rng) -> Prefix {
    let address = address(rng);
    let length = if address.is_ipv4() { 20 + rng.below(13) } else { 60 + rng.below(69) };
    Prefix::new(address, length as u8).unwrap()
}

fn range(rng: &mut Rng) -> RangeInclusive<u16> {
    let first = rng.below(12) as u16;
    if rng.chance(0.1) { first..=u16::MAX } else { first..=first + rng.below(4) as u16 }
}

fn random_policy(rng: &mut Rng, id: u32, applications: u64) -> Policy {
    let matches = Match {
        sources: some(rng, prefix),
        destinations: some(rng, prefix),
        protocols: some(rng, |rng| [6, 17, 1][rng.below(3) as usize]),
        source_ports: some(rng, range),
        destination_ports: some(rng, range),
        dscp: some(rng, |rng| rng.below(4) as u8),
        applications: some(rng, |rng| AppId(rng.below(applications) as u16)),
    };
    let strategy = [Strategy::Best, Strategy::Duplicate, Strategy::Weighted][rng.below(3) as usize].clone();
    Policy {
        id: PolicyId(id),
        priority: rng.below(5) as u32,
        matches,
        class: ClassId(rng.below(3) as u8),
        strategy,
        mark: rng.chance(0.3).then(|| rng.below(64) as u8),
    }
}

fn naive(policies: &[Policy], applications: &[Application], flow: &Flow) -> Option<PolicyId> {
    let port = |its: &(u8, RangeInclusive<u16>)| {
        its.0 == flow.protocol && [6, 17].contains(&its.0) && its.1.contains(&flow.destination_port)
    };
    let by_port = applications.iter().position(|application| application.ports.iter().any(port));
    let application = flow.application.or(by_port.map(|index| AppId(index as u16)));
    let fits = |policy: &&Policy| {
        let matches = &policy.matches;
        let nets = |list: &[Prefix], address| list.is_empty() || list.iter().any(|net| net.contains(address));
        let ports =
            |list: &[RangeInclusive<u16>], port| list.is_empty() || list.iter().any(|range| range.contains(&port));
        nets(&matches.sources, flow.source)
            && nets(&matches.destinations, flow.destination)
            && ports(&matches.source_ports, flow.source_port)
            && ports(&matches.destination_ports, flow.destination_port)
            && (matches.protocols.is_empty() || matches.protocols.contains(&flow.protocol))
            && (matches.dscp.is_empty() || matches.dscp.contains(&flow.dscp))
            && (matches.applications.is_empty() || application.is_some_and(|one| matches.applications.contains(&one)))
    };
    policies.iter().filter(fits).min_by_key(|policy| (policy.priority, policy.id)).map(|policy| policy.id)
}

#[test]
fn the_matcher_says_what_going_through_all_policies_says() {
    sim::seeds(100, |rng| {
        let applications: Vec<_> = (0..3)
            .map(|_| Application {
                names: vec![],
                ports: some(rng, |rng| ([6, 17][rng.below(2) as usize], range(rng))),
            })
            .collect();
        let count = rng.below(100) as u32;
        let policies: Vec<_> = (0..count).map(|id| random_policy(rng, id, 3)).collect();
        let matcher = Matcher::compile(&policies, &applications, 3).unwrap();
        for _ in 0..300 {
            let flow = Flow {
                source: address(rng),
                destination: address(rng),
                protocol: [6, 17, 1, 255][rng.below(4) as usize],
                source_port: rng.below(16) as u16,
                destination_port: if rng.chance(0.1) { u16::MAX } else { rng.below(16) as u16 },
                dscp: rng.below(5) as u8,
                application: rng.chance(0.3).then(|| AppId(rng.below(3) as u16)),
            };
            let policy::Ruling { policy: found, lane, mark } = matcher.decide(&flow);
            assert_eq!(found, naive(&policies, &applications, &flow), "{flow:?}");
            let policy = found.map(|id| &policies[id.0 as usize]);
            let lane = &matcher.lanes()[usize::from(lane.0)];
            assert_eq!(
                (lane.class, &lane.strategy),
                policy.map_or((ClassId(2), &Strategy::Best), |one| (one.class, &one.strategy))
            );
            assert_eq!(mark, policy.and_then(|one| one.mark));
        }
    });
}

#[test]
fn an_application_is_known_by_its_name_and_all_below_it() {
    let named =
        |names: &[&str]| Application { names: names.iter().map(|name| name.to_string()).collect(), ports: vec![] };
    let applications = [named(&["Example.com"]), named(&["voice.example.com", "calls.test"])];
    let matcher = Matcher::compile(&[], &applications, 1).unwrap();
    let of = |name: &str| matcher.application(name).map(|id| id.0);
    assert_eq!((of("example.com"), of("www.EXAMPLE.com."), of("a.voice.example.com")), (Some(0), Some(0), Some(1)));
    assert_eq!((of("notexample.com"), of("com"), of(""), of(&"a".repeat(300))), (None, None, None, None));
}

#[test]
fn policies_that_cannot_be_told_apart_are_refused() {
    let mut rng = Rng::new(1);
    let many: Vec<_> = (0..257).map(|id| random_policy(&mut rng, id, 1)).collect();
    assert_eq!(Matcher::compile(&many, &[Application::default()], 3).unwrap_err(), PolicyError::TooMany(257));
    let applied = Policy { matches: Match { applications: vec![AppId(1)], ..Match::default() }, ..many[0].clone() };
    let refused = Matcher::compile(&[applied], &[Application::default()], 3).unwrap_err();
    assert!(refused.to_string().contains("application 1 of 1"), "{refused}");
}
