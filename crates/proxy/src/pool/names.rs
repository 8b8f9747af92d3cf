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

/// The addresses of a host, by family: each is asked for apart, and may fail apart.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Addresses {
    /// Those of IPv4; `None` where nobody has said whether there are any.
    pub(crate) v4: Option<Vec<IpAddr>>,
    /// Those of IPv6.
    pub(crate) v6: Option<Vec<IpAddr>>,
}

impl Addresses {
    /// Those that are known.
    pub(crate) fn known(&self) -> impl Iterator<Item = IpAddr> {
        [&self.v4, &self.v6].into_iter().flatten().flatten().copied()
    }

    /// The same, with what nobody has said as it was.
    fn or(self, before: Option<&Self>) -> Self {
        let before = before.cloned().unwrap_or_default();
        Self { v4: self.v4.or(before.v4), v6: self.v6.or(before.v6) }
    }
}

/// A target of a service, and where that is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Target {
    pub(crate) host: String,
    pub(crate) priority: u16,
    pub(crate) weight: u16,
    pub(crate) port: u16,
    pub(crate) addresses: Addresses,
}

/// What was said of a name.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Said {
    Host(Addresses),
    Service(Vec<Target>),
}

impl Said {
    /// The same, with what nobody has said this time as it was: an answer that fails in part takes nothing away but what it says.
    pub(crate) fn or(self, before: Option<&Self>) -> Self {
        match (self, before) {
            (Self::Host(addresses), Some(Self::Host(before))) => Self::Host(addresses.or(Some(before))),
            (Self::Service(targets), Some(Self::Service(before))) => {
                let known = targets.into_iter().map(|target| {
                    let same = before.iter().find(|other| other.host == target.host);
                    Target { addresses: target.addresses.or(same.map(|other| &other.addresses)), ..target }
                });
                Self::Service(known.collect())
            }
            (said, _) => said,
        }
    }

    /// What it comes to.
    pub(crate) fn spots(&self) -> Vec<Spot> {
        match self {
            Self::Host(addresses) => hosts(addresses.known().collect()),
            Self::Service(targets) => service(targets),
        }
    }

    /// Whether that is none because somebody says so, and not because nobody says where: a service without any target is given by nobody.
    pub(crate) fn is_given_by_nobody(&self) -> bool {
        matches!(self, Self::Service(targets) if targets.is_empty())
    }
}

/// The addresses of a host, each once.
fn hosts(mut addresses: Vec<IpAddr>) -> Vec<Spot> {
    addresses.sort_unstable();
    addresses.dedup();
    addresses.into_iter().map(|address| Spot { address, part: None }).collect()
}

/// The addresses of a service, each once. Of those that several targets have, the first priority counts, and the weights add up.
fn service(targets: &[Target]) -> Vec<Spot> {
    let is_somewhere = |target: &&Target| target.addresses.known().next().is_some();
    let mut priorities: Vec<u16> = targets.iter().filter(is_somewhere).map(|target| target.priority).collect();
    priorities.sort_unstable();
    priorities.dedup();
    let mut parts: BTreeMap<(IpAddr, u16), (u32, u32)> = BTreeMap::new();
    for target in targets {
        let rank = priorities.binary_search(&target.priority).map_or(LAST, |rank| rank as u32).min(LAST);
        // A weight of 0 is next to none, and where all have that, they are alike. What a target weighs is divided among its addresses.
        let count = target.addresses.known().count().max(1) as u32;
        let weight = u32::from(target.weight).div_ceil(count).max(1);
        for address in target.addresses.known() {
            let part = parts.entry((address, target.port)).or_insert((rank, 0));
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
        let addresses = Addresses { v4: v4(addresses), v6: Some(Vec::new()) };
        Target { host: format!("{port}.test"), priority, weight, port, addresses }
    }

    fn v4(addresses: &[&str]) -> Option<Vec<IpAddr>> {
        Some(addresses.iter().map(|text| text.parse().unwrap()).collect())
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
    fn a_family_that_nobody_speaks_of_is_as_it_was_and_one_without_addresses_has_none() {
        let six = Some(vec!["2001:db8::1".parse().unwrap()]);
        let before = Said::Host(Addresses { v4: v4(&["10.0.0.1"]), v6: six.clone() });
        let half = Addresses { v4: v4(&["10.0.0.2"]), v6: None };
        let whole = Addresses { v4: v4(&["10.0.0.2"]), v6: six };
        assert_eq!(Said::Host(half.clone()).or(Some(&before)), Said::Host(whole));
        assert_eq!(Said::Host(half.clone()).or(None), Said::Host(half.clone()));
        let other = Said::Host(Addresses { v4: Some(Vec::new()), v6: None }).or(Some(&before));
        assert_eq!(other.spots().len(), 1, "of IPv4 there are none any more");
    }

    #[test]
    fn a_target_that_nobody_says_the_address_of_is_where_it_was_and_the_others_are_taken_anew() {
        let silent = |port| Target { addresses: Addresses::default(), ..target(0, 1, port, &[]) };
        let before = Said::Service(vec![target(0, 1, 80, &["10.0.0.1"]), target(0, 1, 81, &["10.0.0.2"])]);
        let now = Said::Service(vec![silent(80), silent(83), target(0, 7, 82, &["10.0.0.3"])]).or(Some(&before));
        let spots: Vec<String> = now.spots().iter().map(|spot| spot.address.to_string()).collect();
        assert_eq!(spots, ["10.0.0.1", "10.0.0.3"]);
        assert!(!now.is_given_by_nobody() && Said::Service(Vec::new()).or(Some(&before)).is_given_by_nobody());
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
