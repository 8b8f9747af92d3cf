//! What is free in each pool. Addresses never used are taken in order; after them those that have been unused longest.

use crate::lease::{Lease, State, Table};
use crate::policy::{Policy, Reservations};
use std::collections::{BTreeMap, VecDeque};
use std::net::Ipv4Addr;

/// One pool's free addresses and counts.
#[derive(Debug)]
pub(super) struct Free {
    pub(super) subnet: u32,
    pub(super) first: Ipv4Addr,
    pub(super) last: Ipv4Addr,
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

/// Addresses that somebody holds, in pools and outside of them.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
#[allow(missing_docs)]
pub struct Totals {
    pub active: usize,
    pub offered: usize,
    pub declined: usize,
}

impl Totals {
    fn count(&mut self, state: State) -> Option<&mut usize> {
        match state {
            State::Active => Some(&mut self.active),
            State::Offered => Some(&mut self.offered),
            State::Declined => Some(&mut self.declined),
            State::Released | State::Expired => None,
        }
    }
}

/// Free addresses of every pool, in the policy's order: by subnet index, then by pool.
#[derive(Debug, Default)]
pub(super) struct Pools {
    free: Vec<Vec<Free>>,
    totals: Totals,
}

impl Pools {
    /// Pools of a policy, all counted from the table.
    pub(super) fn count_all(policy: &Policy, leases: &mut Table) -> Self {
        let mut totals = Totals::default();
        for lease in leases.range(Ipv4Addr::UNSPECIFIED) {
            if let Some(count) = totals.count(lease.state) {
                *count += 1;
            }
        }
        Self { totals, ..Self::new(policy, None, Self::default(), leases) }
    }

    /// Pools of a policy. Those that `old`, counted under the policy `before`, had alike are moved over; the others are
    /// counted from the table.
    pub(super) fn new(policy: &Policy, before: Option<&Policy>, old: Self, leases: &mut Table) -> Self {
        let totals = old.totals;
        let excluded = |policy: &Policy, id: u32| {
            policy.subnet_by_id(id).and_then(|index| policy.subnets.get(index)).map(|subnet| subnet.excluded.clone())
        };
        let mut known: BTreeMap<(u32, Ipv4Addr, Ipv4Addr), Free> =
            old.free.into_iter().flatten().map(|free| ((free.subnet, free.first, free.last), free)).collect();
        let mut pools = Vec::with_capacity(policy.subnets.len());
        for subnet in &policy.subnets {
            // What was passed over as excluded stands in no queue, so that an exclusion that goes needs a new count.
            let alike = before.is_some_and(|before| excluded(before, subnet.id).as_ref() == Some(&subnet.excluded));
            let free = subnet.pools.iter().map(|pool| {
                let same = known.remove(&(subnet.id, pool.first, pool.last)).filter(|_| alike);
                same.unwrap_or_else(|| Self::count(subnet.id, pool.first, pool.last, leases))
            });
            pools.push(free.collect());
        }
        Self { free: pools, totals }
    }

    /// Addresses that somebody holds.
    pub(super) fn totals(&self) -> Totals {
        self.totals
    }

    /// Every pool, by subnet.
    pub(super) fn iter_mut(&mut self) -> impl Iterator<Item = &mut Free> {
        self.free.iter_mut().flatten()
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
        self.free.get(subnet)?.get(pool)
    }

    fn of(&mut self, policy: &Policy, address: Ipv4Addr) -> Option<&mut Free> {
        let subnet = policy.subnet_of(address)?;
        let pool = policy.subnets.get(subnet)?.pools.iter().position(|pool| pool.contains(address))?;
        self.free.get_mut(subnet)?.get_mut(pool)
    }

    /// An address changed hands: counts move from the state it was in (`None`: not in the table) to the one it is in.
    pub(super) fn moved(&mut self, policy: &Policy, address: Ipv4Addr, from: Option<State>, to: Option<State>) {
        if from == to {
            return;
        }
        if let Some(count) = from.and_then(|state| self.totals.count(state)) {
            *count = count.saturating_sub(1);
        }
        if let Some(count) = to.and_then(|state| self.totals.count(state)) {
            *count += 1;
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

    /// An address that was passed over because of a reservation may be taken now. True if it was put in a queue.
    pub(super) fn unblocked(&mut self, policy: &Policy, address: Ipv4Addr) -> bool {
        let passed = |free: &&mut Free| free.fresh.is_none_or(|fresh| address < fresh);
        self.of(policy, address).filter(passed).map(|free| free.queue.push_back(address)).is_some()
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
        let free = self.free.get_mut(subnet)?.get_mut(pool)?;
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
