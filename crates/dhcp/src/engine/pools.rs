//! What is free in each pool. Addresses never used are taken in order; after them those that have been unused longest.

use crate::lease::{Lease, State, Table};
use crate::policy::{Policy, Reservations};
use std::collections::VecDeque;
use std::net::Ipv4Addr;

/// One pool's free addresses and counts.
#[derive(Debug)]
pub(super) struct Free {
    subnet: u32,
    first: Ipv4Addr,
    last: Ipv4Addr,
    /// No address before this one is fresh. `None`: none is fresh any more.
    fresh: Option<Ipv4Addr>,
    /// Addresses that were used and are free again, the longest unused first. Checked when taken.
    queue: VecDeque<Ipv4Addr>,
    pub(super) active: u32,
    pub(super) offered: u32,
    pub(super) declined: u32,
    /// True once its use has been warned of, until it falls again.
    pub(super) warned: bool,
}

impl Free {
    fn count(&mut self, state: State) -> Option<&mut u32> {
        match state {
            State::Active => Some(&mut self.active),
            State::Offered => Some(&mut self.offered),
            State::Declined => Some(&mut self.declined),
            State::Released | State::Expired => None,
        }
    }

    /// Addresses somebody holds.
    pub(super) fn held(&self) -> u32 {
        self.active + self.offered + self.declined
    }
}

/// Free addresses of every pool, in the policy's order: by subnet index, then by pool.
#[derive(Debug, Default)]
pub(super) struct Pools(Vec<Vec<Free>>);

impl Pools {
    /// Pools of a policy. Those that `old` had alike are moved over; the others are counted from the table.
    pub(super) fn new(policy: &Policy, mut old: Self, leases: &mut Table) -> Self {
        let mut known: Vec<Free> = old.0.drain(..).flatten().collect();
        let mut pools = Vec::with_capacity(policy.subnets.len());
        for subnet in &policy.subnets {
            let free = subnet.pools.iter().map(|pool| {
                let same = |f: &Free| f.subnet == subnet.id && f.first == pool.first && f.last == pool.last;
                match known.iter().position(same) {
                    Some(index) => known.swap_remove(index),
                    None => Self::count(subnet.id, pool.first, pool.last, leases),
                }
            });
            pools.push(free.collect());
        }
        Self(pools)
    }

    fn count(subnet: u32, first: Ipv4Addr, last: Ipv4Addr, leases: &mut Table) -> Free {
        let (active, offered, declined) = (0, 0, 0);
        let mut free = Free {
            subnet,
            first,
            last,
            fresh: Some(first),
            queue: VecDeque::new(),
            active,
            offered,
            declined,
            warned: false,
        };
        let mut unused: Vec<(u32, Ipv4Addr)> = Vec::new();
        for lease in leases.range(first).take_while(|lease| lease.address <= last) {
            match free.count(lease.state) {
                Some(count) => *count += 1,
                None => unused.push((lease.expires, lease.address)),
            }
        }
        unused.sort_unstable();
        for (_, address) in unused {
            if let Some(slot) = leases.find(address) {
                leases.update(slot, |lease| lease.queued = true);
            }
            free.queue.push_back(address);
        }
        free
    }

    pub(super) fn get(&self, subnet: usize, pool: usize) -> Option<&Free> {
        self.0.get(subnet)?.get(pool)
    }

    fn of(&mut self, policy: &Policy, address: Ipv4Addr) -> Option<&mut Free> {
        let subnet = policy.subnet_of(address)?;
        let pool = policy.subnets.get(subnet)?.pools.iter().position(|pool| pool.contains(address))?;
        self.0.get_mut(subnet)?.get_mut(pool)
    }

    /// An address changed hands: counts move from the state it was in (`None`: not in the table) to the one it is in.
    pub(super) fn moved(&mut self, policy: &Policy, address: Ipv4Addr, from: Option<State>, to: Option<State>) {
        if from == to {
            return;
        }
        let Some(free) = self.of(policy, address) else { return };
        if let Some(count) = from.and_then(|state| free.count(state)) {
            *count = count.saturating_sub(1);
        }
        if let Some(count) = to.and_then(|state| free.count(state)) {
            *count += 1;
        }
    }

    /// An address is free again. True if it was put in a queue, so that its lease must remember it stands there.
    pub(super) fn freed(&mut self, policy: &Policy, address: Ipv4Addr) -> bool {
        match self.of(policy, address) {
            Some(free) => {
                free.queue.push_back(address);
                true
            }
            None => false,
        }
    }

    /// Takes a free address of a pool. It is no longer queued; the caller puts it to use or frees it again.
    pub(super) fn take(
        &mut self,
        policy: &Policy,
        subnet: usize,
        pool: usize,
        leases: &mut Table,
        reservations: &Reservations,
    ) -> Option<Ipv4Addr> {
        let scope = policy.subnets.get(subnet)?;
        let free = self.0.get_mut(subnet)?.get_mut(pool)?;
        while let Some(from) = free.fresh {
            let Some(address) = leases.first_absent(from, free.last) else {
                free.fresh = None;
                break;
            };
            let next = |address: Ipv4Addr| u32::from(address).checked_add(1).map(Ipv4Addr::from);
            if let Some((_, end)) = scope.exclusion(address) {
                free.fresh = next(end);
                continue;
            }
            free.fresh = next(address);
            let network_or_broadcast = scope.length < 31 && (address == scope.first || address == scope.last);
            if !network_or_broadcast && reservations.at(address).is_none() {
                return Some(address);
            }
        }
        // Entries that turn out to be in use again were paid for when they were queued.
        while let Some(address) = free.queue.pop_front() {
            let slot = leases.find(address);
            let held = slot.and_then(|slot| leases.update(slot, unqueue)).unwrap_or(false);
            if !held && reservations.at(address).is_none() && scope.exclusion(address).is_none() {
                return Some(address);
            }
        }
        None
    }
}

/// Notes that the address no longer stands in a queue; true if somebody holds it.
fn unqueue(lease: &mut Lease) -> bool {
    lease.queued = false;
    lease.state.holds()
}
