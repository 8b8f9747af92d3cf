//! Reading and changing leases from outside DHCP: leasequery (RFC 4388), and the operator's edits.

use super::{Answer, Decision, Engine, Event, Now, Queried, Silence};
use crate::codec::{Kind, code};
use crate::lease::{Change, INFINITE, Lease, Seconds, State};
use crate::policy::{ClassSet, Request, Reservation};
use std::net::Ipv4Addr;
use std::sync::Arc;

/// The most addresses of one client that a leasequery's answer names besides the one it is about.
const MAX_ASSOCIATED: usize = 32;

/// How full one pool is.
#[derive(Debug, Clone, PartialEq)]
#[allow(missing_docs)]
pub struct PoolUse {
    pub first: Ipv4Addr,
    pub last: Ipv4Addr,
    /// Addresses that it can hand out: neither excluded nor reserved.
    pub total: u64,
    /// Addresses that a reservation took out of it.
    pub reserved: u64,
    /// What those of `total` are doing; leases of the others count nowhere here.
    pub active: u32,
    pub offered: u32,
    pub declined: u32,
}

impl PoolUse {
    /// Part of the pool that somebody holds, 0 to 1.
    pub fn utilisation(&self) -> f64 {
        if self.total == 0 {
            return 0.0;
        }
        f64::from(self.active + self.offered + self.declined) / self.total as f64
    }
}

/// A pool whose use has reached the part that is warned of, or has fallen below it again.
#[derive(Debug, Clone, Copy, PartialEq)]
#[allow(missing_docs)]
pub struct PoolWarning {
    pub subnet: u32,
    pub first: Ipv4Addr,
    pub last: Ipv4Addr,
    /// Addresses that somebody holds.
    pub held: u32,
    /// Addresses that it can hand out: neither excluded nor reserved.
    pub total: u64,
    /// True if it has reached the threshold, false if it has fallen again.
    pub high: bool,
}

impl Engine {
    /// Pools whose use has crossed `warn_at` since the last call. Half a percent of slack keeps one lease from telling it twice.
    pub fn pool_warnings(&mut self) -> Vec<PoolWarning> {
        let warn_at = f64::from(self.policy.rules.warn_at);
        let mut warnings = Vec::new();
        for free in self.pools.iter_mut() {
            let total = free.usable;
            let usage = if total == 0 { 0.0 } else { f64::from(free.held()) / total as f64 };
            let high = warn_at > 0.0 && usage >= if free.warned { warn_at - 0.005 } else { warn_at };
            if high != free.warned {
                free.warned = high;
                let (subnet, first, last) = (free.subnet, free.first, free.last);
                warnings.push(PoolWarning { subnet, first, last, held: free.held(), total, high });
            }
        }
        for warning in &warnings {
            self.event(|| Event {
                address: Some(warning.first),
                subnet: Some(warning.subnet),
                ..Event::new(if warning.high { "pool_high" } else { "pool_normal" })
            });
        }
        warnings
    }

    /// How full each pool of a subnet is.
    pub fn pool_use(&self, subnet: usize) -> Vec<PoolUse> {
        let Some(scope) = self.policy.subnets.get(subnet) else { return Vec::new() };
        let pools = scope.pools.iter().enumerate().map(|(index, pool)| {
            let free = self.pools.get(subnet, index);
            PoolUse {
                first: pool.first,
                last: pool.last,
                total: free.map_or(0, |f| f.usable),
                reserved: free.map_or(0, |f| f.reserved(scope, pool)),
                active: free.map_or(0, |f| f.active),
                offered: free.map_or(0, |f| f.offered),
                declined: free.map_or(0, |f| f.declined),
            }
        });
        pools.collect()
    }

    /// Addresses of a subnet that somebody holds, reserved ones and those outside of pools included.
    pub fn subnet_totals(&self, subnet: usize) -> super::Totals {
        self.pools.totals_of(subnet)
    }

    /// Ends a lease at an operator's word. False if the address has none that is held.
    pub fn release_address(&mut self, address: Ipv4Addr, now: Seconds) -> bool {
        match self.leases.at(address).map(|lease| lease.state) {
            Some(State::Active) => self.end(address, now),
            Some(State::Offered) => self.withdraw_offer(address),
            Some(State::Declined) => {
                self.journal.record(|out| Change::write_forget(address, out));
                self.forget(address);
            }
            _ => return false,
        }
        true
    }

    /// Puts a lease in at an operator's word (added, changed or imported), in place of what the address held.
    pub fn put_lease(&mut self, lease: Lease) {
        let address = lease.address;
        let holds = lease.state.holds();
        self.journal.record(|out| Change::write_lease(&lease, out));
        self.put(lease);
        if !holds {
            self.pools.freed(&self.policy, address);
        }
    }

    /// Forgets the leases of a subnet, at most `limit` of them from `from` on. Returns how many, and where to go on.
    pub fn wipe(&mut self, subnet: u32, from: Ipv4Addr, limit: usize) -> (usize, Option<Ipv4Addr>) {
        let (mut chosen, mut next) = (Vec::new(), None);
        for (walked, lease) in self.leases.range(from).enumerate() {
            if chosen.len() == limit || walked == limit.saturating_mul(16) {
                next = Some(lease.address);
                break;
            }
            chosen.extend((lease.subnet == subnet).then_some(lease.address));
        }
        for address in &chosen {
            self.journal.record(|out| Change::write_forget(*address, out));
            self.forget(*address);
        }
        (chosen.len(), next)
    }

    /// Adds or replaces a reservation made through the API; `json` is its form on disk.
    ///
    /// # Errors
    /// [`crate::policy::Clash`] if its client or address has one already.
    pub fn reserve(&mut self, reservation: Reservation, json: &[u8]) -> Result<(), crate::policy::Clash> {
        let id = reservation.id;
        self.reserve_in_pools(Arc::new(reservation))?;
        self.aside.retain(|other| other.id != id);
        self.journal.record(|out| Change::write_reserve(id, json, out));
        Ok(())
    }

    /// Puts a reservation in force, in place of an older one of its id.
    fn reserve_in_pools(&mut self, reservation: Arc<Reservation>) -> Result<(), crate::policy::Clash> {
        let before = self.reservations.get(reservation.id).and_then(|old| old.address);
        let after = reservation.address;
        self.reservations.insert(reservation)?;
        if before != after {
            before.into_iter().for_each(|address| self.pools.unreserve(&self.policy, &self.leases, address));
            after.into_iter().for_each(|address| self.pools.reserve(&self.policy, &self.leases, address));
        }
        Ok(())
    }

    /// Takes a reservation out. `None` if there is none of that id.
    pub fn unreserve(&mut self, id: u64) -> Option<Arc<Reservation>> {
        let aside = self.aside.iter().position(|other| other.id == id).map(|index| self.aside.swap_remove(index));
        let old = self.reservations.remove(id);
        if let Some(address) = old.as_ref().and_then(|old| old.address) {
            self.pools.unreserve(&self.policy, &self.leases, address);
        }
        let old = old.or(aside)?;
        self.journal.record(|out| Change::write_unreserve(id, out));
        Some(old)
    }

    /// Takes a reservation out of the log, whether it is in force or does not fit the configuration.
    pub fn discard_reservation(&mut self, id: u64) {
        if self.unreserve(id).is_none() {
            self.journal.record(|out| Change::write_unreserve(id, out));
        }
    }

    /// RFC 4388: who has an address, what a client has. Only for relay agents that are allowed to ask.
    pub(super) fn leasequery(&self, now: Now, request: &Request<'_>) -> Decision {
        let message = &request.message;
        if !self.policy.rules.may_query(message.giaddr()) {
            return Decision::Silent(Silence::QueryRefused);
        }
        let wanted = message.ciaddr();
        let mut others = Vec::new();
        let (kind, found) = if !wanted.is_unspecified() {
            match self.leases.at(wanted).filter(|lease| lease.state == State::Active) {
                Some(lease) => (Kind::LeaseActive, Some(lease)),
                None if self.policy.subnet_of(wanted).is_some() => (Kind::LeaseUnassigned, None),
                None => (Kind::LeaseUnknown, None),
            }
        } else {
            let mut active: Vec<&Lease> = match message.option(code::CLIENT_ID) {
                Some(id) => self.leases.of_id(id).map(|(_, lease)| lease).collect(),
                None if message.chaddr().is_empty() => return Decision::Silent(Silence::NoClient),
                None => self.leases.of_hardware(message.htype(), message.chaddr()).map(|(_, lease)| lease).collect(),
            };
            active.retain(|lease| lease.state == State::Active);
            // Section 6.4.2: the most recent one is answered for, the others are named.
            active.sort_unstable_by_key(|lease| (std::cmp::Reverse(lease.starts), lease.address));
            others = active.iter().skip(1).take(MAX_ASSOCIATED).map(|lease| lease.address).collect();
            match active.first() {
                Some(lease) => (Kind::LeaseActive, Some(*lease)),
                None => (Kind::LeaseUnknown, None),
            }
        };
        let address = found.map_or(wanted, |lease| lease.address);
        let subnet = self.policy.subnet_of(address).unwrap_or(usize::MAX);
        Decision::Answer(Box::new(Answer {
            kind,
            address,
            subnet,
            pool: self.policy.subnets.get(subnet).and_then(|subnet| subnet.pool_of(address)),
            lease_time: found.map(|lease| match lease.expires {
                INFINITE => INFINITE,
                expires => expires.saturating_sub(now.unix),
            }),
            classes: ClassSet::default(),
            reservation: self.reservations.at(address).cloned(),
            server_id: request.via.server,
            reason: None,
            queried: found.map(|lease| {
                let age = now.unix.saturating_sub(lease.starts);
                Box::new(Queried { lease: lease.clone(), age, others })
            }),
            durable: true,
            rapid: false,
        }))
    }
}
