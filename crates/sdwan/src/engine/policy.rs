//! Which policy a flow falls under, compiled: each field of a flow says which policies it leaves over, and the first of those that all leave over is it.

use std::collections::HashMap;
use std::hash::BuildHasher;
use std::net::IpAddr;
use std::ops::RangeInclusive;

use foldhash::quality::FixedState;

use super::class::{CLASSES, ClassId};
use super::prefix::{Addresses, Intervals, POLICIES, Prefix, Set};
use super::site::UplinkId;

/// A policy, by the number that the controller gave it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct PolicyId(pub u32);

/// An application, by its place in the list.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct AppId(pub u16);

/// How paths are chosen among those that keep the class's limits.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Strategy {
    /// The one that serves the class best.
    Best,
    /// The first of these uplinks of ours that will do; others after them.
    Ordered(Box<[UplinkId]>),
    /// Each flow on one of them, more on the wider ones.
    Weighted,
    /// Each packet on two that fail apart.
    Duplicate,
    /// Each packet on one, and after `data` of them `parity` others on a second that mend what was lost.
    Fec {
        /// Packets of a group.
        data: u8,
        /// Packets that mend it.
        parity: u8,
    },
}

/// What a flow has to be. An empty list leaves all over.
#[derive(Debug, Clone, PartialEq, Default)]
#[allow(missing_docs)]
pub struct Match {
    pub sources: Vec<Prefix>,
    pub destinations: Vec<Prefix>,
    pub protocols: Vec<u8>,
    pub source_ports: Vec<RangeInclusive<u16>>,
    pub destination_ports: Vec<RangeInclusive<u16>>,
    pub dscp: Vec<u8>,
    pub applications: Vec<AppId>,
}

/// What becomes of which flows.
#[derive(Debug, Clone, PartialEq)]
pub struct Policy {
    /// Its number.
    pub id: PolicyId,
    /// The lowest is asked first; of equal ones that with the lowest number.
    pub priority: u32,
    /// Which flows.
    pub matches: Match,
    /// What they need.
    pub class: ClassId,
    /// How they are spread.
    pub strategy: Strategy,
    /// The traffic class (DSCP) that their packets have from then on; none, they keep theirs.
    pub mark: Option<u8>,
}

/// An application: names that its servers have, or ports.
#[derive(Debug, Clone, PartialEq, Default, Hash)]
pub struct Application {
    /// `example.com` is that name and all below it.
    pub names: Vec<String>,
    /// Protocol and port at the server. Counts for flows that show no name.
    pub ports: Vec<(u8, RangeInclusive<u16>)>,
}

/// What is known of a flow.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[allow(missing_docs)]
pub struct Flow {
    pub source: IpAddr,
    pub destination: IpAddr,
    pub protocol: u8,
    pub source_port: u16,
    pub destination_port: u16,
    pub dscp: u8,
    /// By the name that it asked for.
    pub application: Option<AppId>,
}

impl Flow {
    /// What answers it.
    pub fn reversed(&self) -> Flow {
        Flow {
            source: self.destination,
            destination: self.source,
            source_port: self.destination_port,
            destination_port: self.source_port,
            ..*self
        }
    }

    /// A hash of what tells flows apart. Another `seed` is another hash.
    pub fn hash(&self, seed: u64) -> u64 {
        let mix = outwork_balance::hash::mix;
        let address = |seed: u64, address: IpAddr| match address {
            IpAddr::V4(v4) => mix(seed ^ u64::from(v4.to_bits())),
            IpAddr::V6(v6) => mix(mix(seed ^ v6.to_bits() as u64) ^ (v6.to_bits() >> 64) as u64),
        };
        let ports =
            u64::from(self.protocol) << 32 | u64::from(self.source_port) << 16 | u64::from(self.destination_port);
        mix(address(address(seed, self.source), self.destination) ^ ports)
    }
}

/// What traffic of some policies has in common: class and strategy. Paths are chosen once for all of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct LaneId(pub u16);

/// Class and strategy.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[allow(missing_docs)]
pub struct Lane {
    pub class: ClassId,
    pub strategy: Strategy,
}

/// Why policies cannot be compiled.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[allow(missing_docs)]
pub enum PolicyError {
    #[error("{0} policies are more than the {POLICIES} that can be told apart; join some")]
    TooMany(usize),
    #[error("{0} classes are more than the {CLASSES} that paths are judged by; join some")]
    TooManyClasses(usize),
    #[error("policy {} names class {} of {known}; define it or name another", .policy.0, .class.0)]
    NoSuchClass { policy: PolicyId, class: ClassId, known: usize },
    #[error("policy {} names application {} of {known}; define it or name another", .policy.0, .application.0)]
    NoSuchApplication { policy: PolicyId, application: AppId, known: usize },
}

/// Policies, compiled.
#[derive(Debug)]
pub struct Matcher {
    sources: Addresses<Set>,
    destinations: Addresses<Set>,
    protocols: Box<[Set]>,
    dscp: Box<[Set]>,
    source_ports: Intervals<u16, Set>,
    destination_ports: Intervals<u16, Set>,
    /// By application; the last is for flows of none.
    applications: Box<[Set]>,
    names: HashMap<Box<str>, AppId, FixedState>,
    /// Of TCP and UDP.
    by_port: [Intervals<u16, Option<AppId>>; 2],
    /// By place in the order of priority.
    policies: Box<[Ruling]>,
    lanes: Box<[Lane]>,
    /// A hash of all applications.
    generation: u64,
}

/// What becomes of a flow.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Ruling {
    /// The policy that it falls under.
    pub policy: Option<PolicyId>,
    /// Its lane.
    pub lane: LaneId,
    /// The traffic class that its packets are given.
    pub mark: Option<u8>,
}

/// What becomes of flows under no policy.
const NONE: Ruling = Ruling { policy: None, lane: LaneId(0), mark: None };

const TCP: u8 = 6;
const UDP: u8 = 17;

/// For each number below `count` the policies that name it or none.
fn by_number(count: usize, policies: &[&Policy], of: impl Fn(&Match) -> Vec<usize>) -> Box<[Set]> {
    let mut sets = vec![Set::default(); count];
    for (place, policy) in policies.iter().enumerate() {
        let numbers = of(&policy.matches);
        match numbers.is_empty() {
            true => sets.iter_mut().for_each(|set| set.insert(place)),
            false => {
                for number in numbers {
                    if let Some(set) = sets.get_mut(number) {
                        set.insert(place);
                    }
                }
            }
        }
    }
    sets.into()
}

/// The policies whose list is empty, and what the others list.
fn listed<T: Clone>(policies: &[&Policy], of: impl Fn(&Match) -> &Vec<T>) -> (Set, Vec<(T, usize)>) {
    let (mut always, mut found) = (Set::default(), vec![]);
    for (place, policy) in policies.iter().enumerate() {
        let list = of(&policy.matches);
        if list.is_empty() {
            always.insert(place);
        }
        found.extend(list.iter().map(|one| (one.clone(), place)));
    }
    (always, found)
}

fn ports(policies: &[&Policy], of: impl Fn(&Match) -> &Vec<RangeInclusive<u16>>) -> Intervals<u16, Set> {
    let (always, found) = listed(policies, of);
    let found: Vec<_> = found.into_iter().map(|(range, place)| (*range.start(), *range.end(), place)).collect();
    Intervals::sets(always, &found)
}

/// Of applications that share a port the first one has it.
fn applications_by_port(applications: &[Application], protocol: u8) -> Intervals<u16, Option<AppId>> {
    let mut owners: Vec<(u16, u16, AppId)> = vec![];
    for (id, application) in (0..).map(AppId).zip(applications) {
        let ports = application.ports.iter().filter(|(its, _)| *its == protocol);
        owners.extend(ports.map(|(_, range)| (*range.start(), *range.end(), id)));
    }
    let mut edges: Vec<u16> =
        owners.iter().flat_map(|(first, last, _)| [Some(*first), last.checked_add(1)]).flatten().collect();
    edges.sort_unstable();
    edges.dedup();
    let owner =
        |port: u16| owners.iter().filter(|(first, last, _)| (*first..=*last).contains(&port)).map(|one| one.2).min();
    Intervals::of(None, edges.into_iter().map(|edge| (edge, owner(edge))))
}

impl Matcher {
    /// Compiles policies. Flows of none of them are of the last of `classes`, by the best path.
    pub fn compile(policies: &[Policy], applications: &[Application], classes: usize) -> Result<Matcher, PolicyError> {
        if policies.len() > POLICIES {
            return Err(PolicyError::TooMany(policies.len()));
        }
        if classes > CLASSES {
            return Err(PolicyError::TooManyClasses(classes));
        }
        for Policy { id: policy, class, matches, .. } in policies {
            if usize::from(class.0) >= classes {
                return Err(PolicyError::NoSuchClass { policy: *policy, class: *class, known: classes });
            }
            if let Some(application) = matches.applications.iter().find(|one| usize::from(one.0) >= applications.len())
            {
                let known = applications.len();
                return Err(PolicyError::NoSuchApplication { policy: *policy, application: *application, known });
            }
        }
        let mut order: Vec<&Policy> = policies.iter().collect();
        order.sort_by_key(|policy| (policy.priority, policy.id));
        let mut lanes = vec![Lane { class: ClassId(classes.saturating_sub(1) as u8), strategy: Strategy::Best }];
        let by_lane = order.iter().map(|policy| {
            let lane = Lane { class: policy.class, strategy: policy.strategy.clone() };
            let known = lanes.iter().position(|known| *known == lane).unwrap_or_else(|| {
                lanes.push(lane);
                lanes.len() - 1
            });
            Ruling { policy: Some(policy.id), lane: LaneId(known as u16), mark: policy.mark }
        });
        let policies = by_lane.collect();
        let (any_source, sources) = listed(&order, |matches| &matches.sources);
        let (any_destination, destinations) = listed(&order, |matches| &matches.destinations);
        let names = applications.iter().enumerate().rev().flat_map(|(id, application)| {
            application.names.iter().map(move |name| (name.to_ascii_lowercase().into(), AppId(id as u16)))
        });
        let numbers = |list: &[u8]| list.iter().map(|one| usize::from(*one)).collect();
        Ok(Matcher {
            sources: Addresses::sets(any_source, sources),
            destinations: Addresses::sets(any_destination, destinations),
            protocols: by_number(256, &order, |matches| numbers(&matches.protocols)),
            dscp: by_number(64, &order, |matches| numbers(&matches.dscp)),
            source_ports: ports(&order, |matches| &matches.source_ports),
            destination_ports: ports(&order, |matches| &matches.destination_ports),
            applications: by_number(applications.len() + 1, &order, |matches| {
                matches.applications.iter().map(|one| usize::from(one.0)).collect()
            }),
            names: names.collect(),
            by_port: [applications_by_port(applications, TCP), applications_by_port(applications, UDP)],
            policies,
            lanes: lanes.into(),
            generation: FixedState::default().hash_one(applications),
        })
    }

    /// The application of a server's name. No allocation.
    pub fn application(&self, name: &str) -> Option<AppId> {
        let mut lower = [0; 255];
        let lower = lower.get_mut(..name.len())?;
        lower.copy_from_slice(name.as_bytes());
        lower.make_ascii_lowercase();
        let mut rest = std::str::from_utf8(lower).ok()?.trim_end_matches('.');
        loop {
            if let Some(found) = self.names.get(rest) {
                return Some(*found);
            }
            rest = rest.split_once('.')?.1;
        }
    }

    /// The application of a flow: the one whose name it has shown, or else the one whose port it goes to. No allocation.
    pub fn application_of(&self, flow: &Flow) -> Option<AppId> {
        let [tcp, udp] = &self.by_port;
        flow.application.or_else(|| match flow.protocol {
            TCP => *tcp.at(flow.destination_port),
            UDP => *udp.at(flow.destination_port),
            _ => None,
        })
    }

    /// Whether any application is known by a name.
    pub fn has_names(&self) -> bool {
        !self.names.is_empty()
    }

    /// Differs where applications do: their numbers mean something else then.
    pub fn generation(&self) -> u64 {
        self.generation
    }

    /// What becomes of a flow. No allocation.
    pub fn decide(&self, flow: &Flow) -> Ruling {
        let none = Set::default();
        let last = self.applications.len().saturating_sub(1);
        let application = self.application_of(flow).map_or(last, |application| usize::from(application.0).min(last));
        let left = self
            .destinations
            .at(flow.destination)
            .and(self.sources.at(flow.source))
            .and(self.destination_ports.at(flow.destination_port))
            .and(self.source_ports.at(flow.source_port))
            .and(self.protocols.get(usize::from(flow.protocol)).unwrap_or(&none))
            .and(self.dscp.get(usize::from(flow.dscp)).unwrap_or(&none))
            .and(self.applications.get(application).unwrap_or(&none));
        left.first().and_then(|place| self.policies.get(place)).copied().unwrap_or(NONE)
    }

    /// All lanes. The first is that of flows under no policy.
    pub fn lanes(&self) -> &[Lane] {
        &self.lanes
    }
}
