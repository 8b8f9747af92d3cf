//! What is free in each pool. Addresses never used are taken in order; after them those that have been unused longest.

use crate::lease::{State, Table};
use crate::policy::{Policy, Pool, Reservations, Subnet};
use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::net::Ipv4Addr;

/// Addresses in the order they came, each at most once.
#[derive(Debug, Default)]
struct Queue {
    order: VecDeque<Ipv4Addr>,
    /// Those that stand in it, a bit each, by /24.
    standing: BTreeMap<u32, [u64; 4]>,
}

impl Queue {
    fn bit(address: Ipv4Addr) -> (u32, usize, u64) {
        let address = u32::from(address);
        (address >> 8, (address >> 6 & 3) as usize, 1 << (address & 63))
    }

    fn push(&mut self, address: Ipv4Addr) {
        let (block, word, bit) = Self::bit(address);
        let words = self.standing.entry(block).or_default();
        if words[word] & bit == 0 {
            words[word] |= bit;
            self.order.push_back(address);
        }
    }

    fn pop(&mut self) -> Option<Ipv4Addr> {
        let address = self.order.pop_front()?;
        let (block, word, bit) = Self::bit(address);
        if let Some(words) = self.standing.get_mut(&block) {
            words[word] &= !bit;
            if *words == [0; 4] {
                self.standing.remove(&block);
            }
        }
        Some(address)
    }
}

/// The subnet and pool of an address that is not excluded.
fn place(policy: &Policy, address: Ipv4Addr) -> Option<(usize, usize)> {
    let subnet = policy.subnet_of(address)?;
    Some((subnet, policy.subnets.get(subnet)?.pool_of(address)?))
}

/// Addresses of a pool that are not excluded.
fn usable(subnet: &Subnet, pool: &Pool) -> u64 {
    let span = |first: Ipv4Addr, last: Ipv4Addr| u64::from(u32::from(last)) - u64::from(u32::from(first)) + 1;
    let excluded = subnet.excluded.iter().filter(|(first, last)| *first <= pool.last && *last >= pool.first);
    let lost: u64 = excluded.map(|(first, last)| span(*first.max(&pool.first), *last.min(&pool.last))).sum();
    let edges = [subnet.first, subnet.last].into_iter();
    let edges = edges.filter(|edge| pool.contains(*edge) && subnet.exclusion(*edge) == Some((*edge, *edge)));
    span(pool.first, pool.last).saturating_sub(lost + edges.count() as u64)
}

/// One pool's free addresses and counts.
#[derive(Debug)]
pub(super) struct Free {
    pub(super) subnet: u32,
    pub(super) first: Ipv4Addr,
    pub(super) last: Ipv4Addr,
    /// No address before this one is fresh. `None`: none is fresh any more.
    fresh: Option<Ipv4Addr>,
    /// Addresses that were used and are free again, the longest unused first. Checked when taken.
    queue: Queue,
    /// Addresses that it can hand out: neither excluded nor reserved. What else lies in its range counts nowhere here.
    pub(super) usable: u64,
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
    pub(super) fn count_all(policy: &Policy, leases: &Table, reservations: &Reservations) -> Self {
        let mut totals = Totals::default();
        for lease in leases.range(Ipv4Addr::UNSPECIFIED) {
            if let Some(count) = totals.count(lease.state) {
                *count += 1;
            }
        }
        Self { totals, ..Self::new(policy, None, Self::default(), leases, reservations) }
    }

    /// Pools of a policy. Those that `old`, counted under the policy `before`, had alike are moved over; the others are
    /// counted from the table.
    pub(super) fn new(
        policy: &Policy,
        before: Option<&Policy>,
        old: Self,
        leases: &Table,
        reservations: &Reservations,
    ) -> Self {
        let totals = old.totals;
        let before: BTreeMap<u32, &Subnet> =
            before.iter().flat_map(|before| &before.subnets).map(|subnet| (subnet.id, subnet)).collect();
        let mut known: BTreeMap<(u32, Ipv4Addr, Ipv4Addr), Free> =
            old.free.into_iter().flatten().map(|free| ((free.subnet, free.first, free.last), free)).collect();
        let mut pools = Vec::with_capacity(policy.subnets.len());
        let mut counted = BTreeSet::new();
        for (index, subnet) in policy.subnets.iter().enumerate() {
            // What was passed over as excluded stands in no queue, so that an exclusion that goes needs a new count.
            let same = |old: &&Subnet| old.excluded == subnet.excluded && old.prefix() == subnet.prefix();
            let alike = before.get(&subnet.id).is_some_and(same);
            let free = subnet.pools.iter().enumerate().map(|(at, pool)| {
                let same = known.remove(&(subnet.id, pool.first, pool.last)).filter(|_| alike);
                same.unwrap_or_else(|| {
                    counted.insert((index, at));
                    Self::count(subnet, pool, leases, reservations)
                })
            });
            pools.push(free.collect());
        }
        let mut pools = Self { free: pools, totals };
        for address in reservations.addresses().filter(|_| !counted.is_empty()) {
            if let Some(at) = place(policy, address).filter(|at| counted.contains(at))
                && let Some(free) = pools.at(at)
            {
                free.usable -= 1;
            }
        }
        pools
    }

    /// Addresses that somebody holds.
    pub(super) fn totals(&self) -> Totals {
        self.totals
    }

    /// Every pool, by subnet.
    pub(super) fn iter_mut(&mut self) -> impl Iterator<Item = &mut Free> {
        self.free.iter_mut().flatten()
    }

    /// Reserved addresses still counted as usable.
    fn count(subnet: &Subnet, pool: &Pool, leases: &Table, reservations: &Reservations) -> Free {
        let (active, offered, declined) = (0, 0, 0);
        let mut free = Free {
            subnet: subnet.id,
            first: pool.first,
            last: pool.last,
            fresh: Some(pool.first),
            queue: Queue::default(),
            usable: usable(subnet, pool),
            active,
            offered,
            declined,
            warned: false,
        };
        let mut unused: Vec<(u32, Ipv4Addr)> = Vec::new();
        for lease in leases.range(pool.first).take_while(|lease| lease.address <= pool.last) {
            if subnet.exclusion(lease.address).is_some() || reservations.at(lease.address).is_some() {
                continue;
            }
            match free.count(lease.state) {
                Some(count) => *count += 1,
                None => unused.push((lease.expires, lease.address)),
            }
        }
        unused.sort_unstable();
        for (_, address) in unused {
            free.queue.push(address);
        }
        free
    }

    pub(super) fn get(&self, subnet: usize, pool: usize) -> Option<&Free> {
        self.free.get(subnet)?.get(pool)
    }

    fn at(&mut self, (subnet, pool): (usize, usize)) -> Option<&mut Free> {
        self.free.get_mut(subnet)?.get_mut(pool)
    }

    fn of(&mut self, policy: &Policy, address: Ipv4Addr) -> Option<&mut Free> {
        self.at(place(policy, address)?)
    }

    /// An address is kept for one client from now on: it is no part of its pool any more.
    pub(super) fn reserve(&mut self, policy: &Policy, leases: &Table, address: Ipv4Addr) {
        let Some(free) = self.of(policy, address) else { return };
        free.usable = free.usable.saturating_sub(1);
        if let Some(count) = leases.at(address).and_then(|lease| free.count(lease.state)) {
            *count = count.saturating_sub(1);
        }
    }

    /// A reservation let go of the address: whoever may have it can be given it again.
    pub(super) fn unreserve(&mut self, policy: &Policy, leases: &Table, address: Ipv4Addr) {
        let Some(free) = self.of(policy, address) else { return };
        free.usable += 1;
        match leases.at(address).and_then(|lease| free.count(lease.state)) {
            Some(count) => *count += 1,
            None => free.queue.push(address),
        }
    }

    /// An address changed hands: counts move from the state it was in (`None`: not in the table) to the one it is in.
    pub(super) fn moved(
        &mut self,
        policy: &Policy,
        reservations: &Reservations,
        address: Ipv4Addr,
        from: Option<State>,
        to: Option<State>,
    ) {
        if from == to {
            return;
        }
        if let Some(count) = from.and_then(|state| self.totals.count(state)) {
            *count = count.saturating_sub(1);
        }
        if let Some(count) = to.and_then(|state| self.totals.count(state)) {
            *count += 1;
        }
        let Some(free) = self.of(policy, address).filter(|_| reservations.at(address).is_none()) else { return };
        if let Some(count) = from.and_then(|state| free.count(state)) {
            *count = count.saturating_sub(1);
        }
        if let Some(count) = to.and_then(|state| free.count(state)) {
            *count += 1;
        }
    }

    /// An address is free again, or may be given again.
    pub(super) fn freed(&mut self, policy: &Policy, address: Ipv4Addr) {
        if let Some(free) = self.of(policy, address) {
            free.queue.push(address);
        }
    }

    /// Takes a free address of a pool. The caller puts it to use.
    pub(super) fn take(
        &mut self,
        policy: &Policy,
        subnet: usize,
        pool: usize,
        leases: &Table,
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
            if reservations.at(address).is_none() {
                return Some(address);
            }
        }
        // Entries that turn out to be in use again were paid for when they were queued.
        while let Some(address) = free.queue.pop() {
            let held = leases.at(address).is_some_and(|lease| lease.state.holds());
            if !held && reservations.at(address).is_none() && scope.exclusion(address).is_none() {
                return Some(address);
            }
        }
        None
    }
}
