//! Names of backends, and what they stand for. Pure: who looks them up is `resolver`.

use std::collections::BTreeMap;
use std::net::IpAddr;

use crate::address::Place;
use crate::config::Backend;

/// The largest weight of a member.
const WEIGHT: u32 = outwork_balance::settings::MAX_WEIGHT;
/// The last priority.
const LAST: u32 = 127;

/// What is looked up.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) enum Question {
    /// The addresses of a host.
    Host(String),
    /// Who gives a service (RFC 2782).
    Service(String),
}

impl Question {
    /// What has to be looked up to know where a backend is.
    pub(crate) fn of(place: &Place) -> Option<Self> {
        match place {
            Place::Name { host, .. } => Some(Self::Host(host.clone())),
            Place::Service(name) => Some(Self::Service(name.clone())),
            Place::Address(_) | Place::Unix(_) => None,
        }
    }

    /// The name itself.
    pub(crate) fn name(&self) -> &str {
        match self {
            Self::Host(name) | Self::Service(name) => name,
        }
    }
}

/// One of the addresses that a name stands for.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Spot {
    pub(crate) address: IpAddr,
    /// What the records of a service say of it.
    pub(crate) part: Option<Part>,
}

/// An address's part in a service.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Part {
    pub(crate) port: u16,
    pub(crate) weight: u32,
    /// 0 for those of the first priority, 1 for those of the next one that there is.
    pub(crate) rank: u32,
}

/// A target of a service, and where that is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Target {
    pub(crate) priority: u16,
    pub(crate) weight: u16,
    pub(crate) port: u16,
    pub(crate) addresses: Vec<IpAddr>,
}

/// The addresses of a host, each once.
pub(crate) fn hosts(mut addresses: Vec<IpAddr>) -> Vec<Spot> {
    addresses.sort_unstable();
    addresses.dedup();
    addresses.into_iter().map(|address| Spot { address, part: None }).collect()
}

/// The addresses of a service, each once. Of those that several targets have, the first priority counts, and the weights add up.
pub(crate) fn service(targets: &[Target]) -> Vec<Spot> {
    let mut priorities: Vec<u16> =
        targets.iter().filter(|target| !target.addresses.is_empty()).map(|target| target.priority).collect();
    priorities.sort_unstable();
    priorities.dedup();
    let mut parts: BTreeMap<(IpAddr, u16), (u32, u32)> = BTreeMap::new();
    for target in targets {
        let rank = priorities.binary_search(&target.priority).map_or(LAST, |rank| rank as u32).min(LAST);
        // A weight of 0 is next to none, and where all have that, they are alike. What a target weighs is divided among its addresses.
        let count = target.addresses.len().max(1) as u32;
        let weight = u32::from(target.weight).div_ceil(count).max(1);
        for address in &target.addresses {
            let part = parts.entry((*address, target.port)).or_insert((rank, 0));
            if rank < part.0 {
                *part = (rank, 0);
            }
            if rank == part.0 {
                part.1 = (part.1 + weight).min(WEIGHT);
            }
        }
    }
    let spots = parts
        .into_iter()
        .map(|((address, port), (rank, weight))| Spot { address, part: Some(Part { port, weight, rank }) });
    spots.collect()
}

impl Part {
    /// What the settings of a backend say, for one of its members.
    pub(crate) fn of(self, backend: &Backend) -> Backend {
        Backend {
            weight: self.weight.saturating_mul(backend.weight).min(WEIGHT),
            priority: (backend.priority + self.rank).min(LAST),
            ..backend.clone()
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn target(priority: u16, weight: u16, port: u16, addresses: &[&str]) -> Target {
        Target { priority, weight, port, addresses: addresses.iter().map(|text| text.parse().unwrap()).collect() }
    }

    fn said(targets: &[Target]) -> Vec<(String, u16, u32, u32)> {
        let part = |spot: &Spot| spot.part.unwrap();
        service(targets)
            .iter()
            .map(|spot| (spot.address.to_string(), part(spot).port, part(spot).weight, part(spot).rank))
            .collect()
    }

    #[test]
    fn priorities_become_ranks_that_follow_each_other_and_those_without_an_address_are_none() {
        let targets = [
            target(10, 5, 80, &["10.0.0.1"]),
            target(300, 7, 81, &["10.0.0.2"]),
            target(20, 1, 82, &[]),
            target(10, 3, 83, &["10.0.0.3"]),
        ];
        let expected = [("10.0.0.1", 80, 5, 0), ("10.0.0.2", 81, 7, 1), ("10.0.0.3", 83, 3, 0)];
        assert_eq!(
            said(&targets),
            expected.map(|(address, port, weight, rank)| (address.to_owned(), port, weight, rank))
        );
    }

    #[test]
    fn a_weight_of_zero_is_next_to_none_and_a_weight_is_divided_among_the_addresses_of_a_target() {
        let targets = [target(0, 0, 80, &["10.0.0.1"]), target(0, 100, 80, &["10.0.0.2", "10.0.0.3"])];
        let weights: Vec<u32> = said(&targets).iter().map(|spot| spot.2).collect();
        assert_eq!(weights, [1, 50, 50]);
    }

    #[test]
    fn an_address_that_two_targets_have_is_one_member_of_the_first_priority() {
        let same = ["10.0.0.1"];
        let targets =
            [target(2, 9, 80, &same), target(1, 3, 80, &same), target(1, 4, 80, &same), target(1, 1, 81, &same)];
        assert_eq!(said(&targets), [("10.0.0.1".to_owned(), 80, 7, 0), ("10.0.0.1".to_owned(), 81, 1, 0)]);
    }

    #[test]
    fn what_the_settings_say_of_a_service_is_its_members_with_a_bound() {
        let backend = Backend {
            priority: 2,
            weight: 3,
            ..crate::config::Pool::of("http://a".parse().unwrap()).backend[0].clone()
        };
        let of = |weight, rank| Part { port: 1, weight, rank }.of(&backend);
        assert_eq!((of(5, 1).weight, of(5, 1).priority), (15, 3));
        assert_eq!((of(65_535, 127).weight, of(0, 127).priority), (65_535, 127));
    }
}
