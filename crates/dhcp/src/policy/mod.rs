//! What the configuration means for a packet: subnets, pools, classes, reservations and options, compiled for lookup.
//!
//! - `facts`: what a request is, by policy alone: its classes and its subnet. Needs no lease, so no lock.
//! - `reservation`: who gets which address whatever happens, from the file and from the API.
//! - `rule`: what a scope may say, in the file and through the API alike.
//! - `compile`: the file's sections to a [`Policy`], all faults at once.
#![deny(clippy::disallowed_methods)]

pub mod compile;
mod facts;
mod reservation;
mod rule;

pub use facts::{ClassSet, Facts, Locator, Refusal, Request, Via};
pub use reservation::{Clash, Identifier, IdentifierKind, NoSuchKind, Reservation, Reservations};
pub use rule::{Breach, host_name};

use crate::expr;
use crate::options::{Definitions, OptionSet};
use std::collections::HashMap;
use std::net::Ipv4Addr;
use std::sync::Arc;

/// The most classes a configuration may have, built-in ones included: what a [`ClassSet`] holds.
pub const MAX_CLASSES: usize = 256;

/// Lease times in seconds. `None` in a scope: the wider scope's.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Times {
    /// What a client gets that asks for nothing.
    pub lease: Option<u32>,
    /// The least a client may ask for.
    pub min: Option<u32>,
    /// The most a client may ask for.
    pub max: Option<u32>,
    /// T1, option 58.
    pub renew: Option<u32>,
    /// T2, option 59.
    pub rebind: Option<u32>,
    /// How long an offer holds its address.
    pub offer: Option<u32>,
}

/// Boot fields of the header.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Boot {
    /// `siaddr`.
    pub next_server: Option<Ipv4Addr>,
    /// `sname`.
    pub server_hostname: Option<String>,
    /// `file`.
    pub file: Option<String>,
}

/// What any scope may say.
#[derive(Debug, Clone, Default)]
pub struct Scope {
    /// Options to send.
    pub options: OptionSet,
    /// Lease times.
    pub times: Times,
    /// Boot fields.
    pub boot: Boot,
}

/// Which clients a network, subnet or pool serves: all if empty, else those in any of the classes.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Admission(pub ClassSet);

impl Admission {
    /// True if a client of these classes is served.
    pub fn admits(&self, classes: &ClassSet) -> bool {
        self.0.is_empty() || self.0.intersects(classes)
    }
}

/// A client class.
#[derive(Debug)]
pub struct Class {
    /// Its name, as `member('name')` knows it.
    pub name: String,
    /// Its test; `None` for built-in classes and those only a reservation puts a client in.
    pub test: Option<expr::Test>,
    /// Evaluated only where a subnet or pool requires it.
    pub only_if_required: bool,
    /// True if the test depends on the client being known, so that it waits for the reservation.
    pub late: bool,
    /// What members get.
    pub scope: Scope,
}

/// A range of addresses handed out to whom it admits.
#[derive(Debug)]
pub struct Pool {
    /// First address.
    pub first: Ipv4Addr,
    /// Last address.
    pub last: Ipv4Addr,
    /// Whom it serves.
    pub admission: Admission,
    /// Classes evaluated for its clients.
    pub required: ClassSet,
    /// What its clients get.
    pub scope: Scope,
}

impl Pool {
    /// True if the address lies in the range.
    pub fn contains(&self, address: Ipv4Addr) -> bool {
        self.first <= address && address <= self.last
    }
}

/// A prefix and what is served in it.
#[derive(Debug)]
pub struct Subnet {
    /// Stable id; leases name it.
    pub id: u32,
    /// What people call it.
    pub name: Option<String>,
    /// First address of the prefix.
    pub first: Ipv4Addr,
    /// Last address of the prefix (its broadcast address).
    pub last: Ipv4Addr,
    /// Length of the prefix.
    pub length: u8,
    /// Index of its network in [`Policy::networks`].
    pub network: usize,
    /// Interface its clients are attached to, if said.
    pub interface: Option<String>,
    /// Relay agents that speak for it.
    pub relays: Vec<Ipv4Addr>,
    /// Whom it serves.
    pub admission: Admission,
    /// How long its clients must have tried before they are offered something, seconds.
    pub min_secs: u16,
    /// Classes evaluated for its clients.
    pub required: ClassSet,
    /// Its pools.
    pub pools: Vec<Pool>,
    /// Addresses never handed out dynamically, as sorted ranges that share no address.
    pub excluded: Vec<(Ipv4Addr, Ipv4Addr)>,
    /// What its clients get.
    pub scope: Scope,
}

impl Subnet {
    /// True if the address lies in the prefix.
    pub fn contains(&self, address: Ipv4Addr) -> bool {
        self.first <= address && address <= self.last
    }

    /// The range of addresses never handed out that an address lies in. The prefix's first and last address (RFC 919: its
    /// own name and its broadcast address) are ranges of their own.
    pub fn exclusion(&self, address: Ipv4Addr) -> Option<(Ipv4Addr, Ipv4Addr)> {
        let after = self.excluded.partition_point(|(first, _)| *first <= address);
        let range = after.checked_sub(1).and_then(|index| self.excluded.get(index).copied());
        let edge = self.length < 31 && (address == self.first || address == self.last);
        range.filter(|(_, last)| address <= *last).or(edge.then_some((address, address)))
    }

    /// The pool of an address, if it may be handed out dynamically.
    pub fn pool_of(&self, address: Ipv4Addr) -> Option<usize> {
        let pool = self.pools.iter().position(|pool| pool.contains(address))?;
        self.exclusion(address).is_none().then_some(pool)
    }

    /// The prefix as text, `192.0.2.0/24`.
    pub fn prefix(&self) -> String {
        format!("{}/{}", self.first, self.length)
    }
}

/// Subnets that share a link. A subnet that shares with none is a network of its own, without a name.
#[derive(Debug, Default)]
pub struct Network {
    /// Name of a shared network.
    pub name: Option<String>,
    /// Interface its clients are attached to, if said.
    pub interface: Option<String>,
    /// Relay agents that speak for it.
    pub relays: Vec<Ipv4Addr>,
    /// Whom it serves.
    pub admission: Admission,
    /// Indices of its subnets, in the file's order.
    pub subnets: Vec<usize>,
    /// What its clients get.
    pub scope: Scope,
}

/// When to ask the link whether an address is in use before offering it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Detection {
    /// Never.
    Off,
    /// By ARP where the client is on our link; not for relayed clients.
    Arp,
    /// By ARP on our link, by ICMP echo for relayed clients.
    Ping,
}

/// Rules that are not of any one subnet.
#[derive(Debug, Clone)]
pub struct Rules {
    /// We speak for our networks: a client with a wrong address there is told so.
    pub authoritative: bool,
    /// Option 61 identifies a client; otherwise its hardware address alone.
    pub match_client_id: bool,
    /// Option 61 is echoed (RFC 6842).
    pub echo_client_id: bool,
    /// Option 82 is stored with the lease.
    pub store_relay: bool,
    /// Option 82 says who a client is on our own links too, where switches put it in.
    pub link_relay_info: bool,
    /// Rapid commit (RFC 4039) is honoured.
    pub rapid_commit: bool,
    /// Quarantine of a declined address, seconds.
    pub decline_time: u32,
    /// Conflict detection.
    pub detection: Detection,
    /// How long a probed address counts as free, seconds.
    pub probe_cache: u32,
    /// How many addresses are probed for one client before it must ask again.
    pub probe_attempts: u8,
    /// A lease younger than this part of its lifetime is confirmed as it stands, without a write. 0 is never.
    pub cache_threshold: f32,
    /// The most addresses held by offers that nobody has asked for yet.
    pub max_offers: usize,
    /// Part of a pool's free addresses that offers to strangers may hold.
    pub offer_share: f64,
    /// How long an offer to a stranger holds its address while more than half of that part is held, seconds.
    pub short_offer_time: u32,
    /// Packets a second one client may send; 0 is any number.
    pub client_rate: u32,
    /// Packets one client may send at once.
    pub client_burst: u32,
    /// Packets a second that may come from one circuit of a relay agent; 0 is any number.
    pub circuit_rate: u32,
    /// Packets that may come from one circuit at once.
    pub circuit_burst: u32,
    /// Addresses that one client or circuit may have quarantined within `decline_time`; 0 is any number.
    pub decline_limit: u32,
    /// Part of a pool that quarantine at clients' words may hold.
    pub decline_share: f64,
    /// How long a lease that has ended is kept, seconds.
    pub keep_ended: u32,
    /// Who may ask for leases (RFC 4388): relay agents by prefix.
    pub leasequery: Vec<(Ipv4Addr, Ipv4Addr)>,
    /// Use of a pool, 0 to 1, from which a warning is given.
    pub warn_at: f32,
    /// Kinds of identifiers looked up for a reservation, in order.
    pub identifiers: Vec<IdentifierKind>,
}

impl Rules {
    /// True if the relay agent may ask for leases (RFC 4388).
    pub fn may_query(&self, giaddr: Ipv4Addr) -> bool {
        let allowed = self.leasequery.iter().any(|(first, last)| *first <= giaddr && giaddr <= *last);
        allowed && !giaddr.is_unspecified()
    }
}

/// The whole configuration of the service, compiled. Never changes: a reload makes a new one.
#[derive(Debug)]
pub struct Policy {
    /// Rules that are not of any one subnet.
    pub rules: Rules,
    /// What every client gets unless something narrower says otherwise.
    pub scope: Scope,
    /// Built-in classes first, then the file's, in its order. `BOOTP` is among them and has no members: what comes without
    /// a message type is not answered.
    pub classes: Vec<Class>,
    /// Networks.
    pub networks: Vec<Network>,
    /// Subnets, ascending by prefix; no two overlap.
    pub subnets: Vec<Subnet>,
    /// The subnet that a relay agent speaks for, or the first one of its network, by the agent's address.
    pub relays: HashMap<Ipv4Addr, usize>,
    /// Reservations of the file.
    pub reservations: Vec<Arc<Reservation>>,
    /// The options there are to name: the standard ones and the file's own.
    pub definitions: Definitions,
    /// The flex identifier.
    pub flex: Option<expr::Identifier>,
    /// Index of the class `DROP`: its members are never answered.
    pub drop: usize,
    /// How many configurations came before it.
    pub generation: u64,
}

impl Policy {
    /// Index of the built-in class of every client.
    pub const ALL: usize = 0;
    /// Index of the built-in class of clients with a reservation.
    pub const KNOWN: usize = 1;
    /// Index of the built-in class of clients without one.
    pub const UNKNOWN: usize = 2;
    /// What the name of the built-in class of a vendor begins with; the text of option 60 follows.
    pub const VENDOR_CLASS: &str = "VENDOR_CLASS_";

    /// Index of the subnet an address lies in.
    pub fn subnet_of(&self, address: Ipv4Addr) -> Option<usize> {
        let after = self.subnets.partition_point(|subnet| subnet.first <= address);
        let index = after.checked_sub(1)?;
        self.subnets.get(index).filter(|subnet| subnet.contains(address)).map(|_| index)
    }

    /// Index of the subnet with an id.
    pub fn subnet_by_id(&self, id: u32) -> Option<usize> {
        self.subnets.iter().position(|subnet| subnet.id == id)
    }

    /// True if the subnets of both have the same ids and prefixes.
    pub fn has_subnets_of(&self, other: &Self) -> bool {
        let places = |policy: &Self| {
            let place = |subnet: &Subnet| (subnet.id, subnet.first, subnet.length);
            policy.subnets.iter().map(place).collect::<Vec<_>>()
        };
        places(self) == places(other)
    }

    /// Times that hold in a subnet for clients of no class; those of the whole service without one.
    pub fn times_in(&self, subnet: Option<&Subnet>) -> Times {
        let Some(subnet) = subnet else { return self.scope.times };
        let network = self.networks.get(subnet.network).map(|network| network.scope.times).unwrap_or_default();
        subnet.scope.times.within(network.within(self.scope.times))
    }

    /// Scopes that apply, general first: global, classes, network, subnet, pool, reservation.
    pub fn scopes<'p>(
        &'p self,
        classes: &ClassSet,
        subnet: usize,
        pool: Option<usize>,
        reservation: Option<&'p Reservation>,
        out: &mut Vec<&'p Scope>,
    ) {
        out.clear();
        out.push(&self.scope);
        // The first class a client is in wins over later ones, so it comes last here.
        out.extend(self.classes.iter().enumerate().rev().filter(|(i, _)| classes.contains(*i)).map(|(_, c)| &c.scope));
        if let Some(subnet) = self.subnets.get(subnet) {
            out.extend(self.networks.get(subnet.network).map(|network| &network.scope));
            out.push(&subnet.scope);
            out.extend(pool.and_then(|pool| subnet.pools.get(pool)).map(|pool| &pool.scope));
        }
        out.extend(reservation.map(|reservation| &reservation.scope));
    }

    /// The lease time for a client that asked for `asked` seconds, within the limits of its scopes. Classes come before
    /// everything but the reservation here, as in Kea.
    pub fn lease_time(
        &self,
        classes: &ClassSet,
        subnet: usize,
        reservation: Option<&Reservation>,
        asked: Option<u32>,
    ) -> u32 {
        let pick = |of: fn(&Times) -> Option<u32>| {
            let by_class = || {
                self.classes
                    .iter()
                    .enumerate()
                    .filter(|(i, _)| classes.contains(*i))
                    .find_map(|(_, c)| of(&c.scope.times))
            };
            let by_place = || {
                let subnet = self.subnets.get(subnet)?;
                of(&subnet.scope.times).or_else(|| of(&self.networks.get(subnet.network)?.scope.times))
            };
            reservation
                .and_then(|r| of(&r.scope.times))
                .or_else(by_class)
                .or_else(by_place)
                .or_else(|| of(&self.scope.times))
        };
        let usual = pick(|t| t.lease).unwrap_or(43_200);
        let max = pick(|t| t.max).unwrap_or(usual).max(usual);
        let min = pick(|t| t.min).unwrap_or(usual).min(usual);
        asked.map_or(usual, |asked| asked.clamp(min, max))
    }
}
