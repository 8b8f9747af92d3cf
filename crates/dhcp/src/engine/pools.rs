//! What is free in each pool. Addresses never used are taken in order; after them those that have been unused longest.

use super::address::Place;
use crate::lease::{Seconds, State, Table};
use crate::policy::{Policy, Pool, Reservations, Subnet};
use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::net::Ipv4Addr;

/// How long offers that lapse are held against those who want more, seconds.
const FLOOD_MEMORY: Seconds = 60;

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

    fn memory(&self) -> usize {
        self.order.capacity() * size_of::<Ipv4Addr>() + self.standing.len() * 2 * size_of::<(u32, [u64; 4])>()
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
    /// Offers that nobody asked for in time, in the minute before this one and in this one, which began at that second.
    lapsed_before: u32,
    lapsed: u32,
    lapsing_since: Seconds,
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

    fn crowd(&self, share: f64, now: Seconds) -> Crowd {
        let free = self.usable.saturating_sub(u64::from(self.active) + u64::from(self.declined));
        let window = ((free as f64 * share).ceil() as u64).max(1);
        let recent = now.abs_diff(self.lapsing_since) <= 2 * FLOOD_MEMORY;
        let lapsed = if recent { u64::from(self.lapsed) + u64::from(self.lapsed_before) } else { 0 };
        Crowd { offered: self.offered.into(), window, free, lapsed }
    }

    /// Takes the exclusions of `new` in place of those of `old`, at the cost of the leases in the ranges that differ.
    /// Reserved addresses count as usable afterwards.
    fn exclude(&mut self, old: &Subnet, new: &Subnet, pool: &Pool, leases: &Table, reservations: &Reservations) {
        self.usable = usable(new, pool);
        let within = |range: &&(Ipv4Addr, Ipv4Addr)| range.0 <= pool.last && range.1 >= pool.first;
        let inside = |(first, last): (Ipv4Addr, Ipv4Addr)| {
            let last = last.min(pool.last);
            let leases = leases.range(first.max(pool.first)).take_while(move |lease| lease.address <= last);
            leases.filter(|lease| reservations.at(lease.address).is_none())
        };
        for range in new.excluded.iter().filter(within).filter(|range| !old.excluded.contains(range)) {
            for lease in inside(*range).filter(|lease| old.exclusion(lease.address).is_none()) {
                if let Some(count) = self.count(lease.state) {
                    *count = count.saturating_sub(1);
                }
            }
        }
        for range in old.excluded.iter().filter(within).filter(|range| !new.excluded.contains(range)) {
            for lease in inside(*range).filter(|lease| new.exclusion(lease.address).is_none()) {
                match self.count(lease.state) {
                    Some(count) => *count += 1,
                    None => self.queue.push(lease.address),
                }
            }
            // Those never used were passed over.
            let first = range.0.max(pool.first);
            self.fresh = Some(self.fresh.map_or(first, |fresh| fresh.min(first)));
        }
    }

    /// Addresses that are kept for clients of reservations.
    pub(super) fn reserved(&self, subnet: &Subnet, pool: &Pool) -> u64 {
        usable(subnet, pool).saturating_sub(self.usable)
    }

    /// Addresses somebody holds.
    pub(super) fn held(&self) -> u32 {
        self.active + self.offered + self.declined
    }
}

/// Offers of a pool that nobody has asked for yet, and what strangers may still get.
#[derive(Debug, Clone, Copy)]
pub(super) struct Crowd {
    offered: u64,
    /// The share of what is free that offers to strangers may hold in a flood.
    window: u64,
    /// Addresses that nobody holds, or that are only offered.
    free: u64,
    /// Offers that lapsed in the last minute or two.
    lapsed: u64,
}

impl Crowd {
    /// True if offers to strangers had better be short.
    pub(super) fn presses(&self) -> bool {
        self.offered > self.window / 2
    }

    /// True if strangers get nothing more: they hold their share, and have let so much lapse that they mean none of it.
    /// After a power cut as many come at once, but those ask for what they are offered.
    pub(super) fn is_flood(&self) -> bool {
        self.offered >= self.window && self.lapsed >= self.window.div_ceil(2)
    }

    /// True if there is something left to withhold from them.
    pub(super) fn has_spare(&self) -> bool {
        self.free > self.offered
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

/// Addresses of a subnet's prefix that somebody holds, in pools and outside of them.
#[derive(Debug)]
struct Prefix {
    subnet: u32,
    first: Ipv4Addr,
    length: u8,
    totals: Totals,
}

/// Free addresses of every pool, in the policy's order: by subnet index, then by pool.
#[derive(Debug, Default)]
pub(super) struct Pools {
    free: Vec<Vec<Free>>,
    /// By subnet index.
    prefixes: Vec<Prefix>,
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
            let alike = |old: &&&Subnet| old.first == subnet.first && old.length == subnet.length;
            let alike = before.get(&subnet.id).filter(alike);
            let free = subnet.pools.iter().enumerate().map(|(at, pool)| {
                let same = known.remove(&(subnet.id, pool.first, pool.last)).zip(alike);
                match same {
                    Some((same, old)) if old.excluded == subnet.excluded => return same,
                    _ => drop(counted.insert((index, at))),
                }
                match same {
                    Some((mut same, old)) => {
                        same.exclude(old, subnet, pool, leases, reservations);
                        same
                    }
                    None => Self::count(subnet, pool, leases, reservations),
                }
            });
            pools.push(free.collect());
        }
        let prefixes = Self::prefixes(policy, old.prefixes, leases);
        let mut pools = Self { free: pools, prefixes, totals };
        for address in reservations.addresses().filter(|_| !counted.is_empty()) {
            if let Some(at) = place(policy, address).filter(|at| counted.contains(at))
                && let Some(free) = pools.at(at)
            {
                free.usable = free.usable.saturating_sub(1);
            }
        }
        pools
    }

    /// Bytes of memory behind them, the allocator's rounding aside.
    pub(super) fn memory(&self) -> usize {
        let subnet = |pools: &Vec<Free>| {
            let queues: usize = pools.iter().map(|free| free.queue.memory()).sum();
            queues + pools.capacity() * size_of::<Free>()
        };
        let prefixes = self.prefixes.capacity() * size_of::<Prefix>();
        prefixes + self.free.capacity() * size_of::<Vec<Free>>() + self.free.iter().map(subnet).sum::<usize>()
    }

    /// Addresses that somebody holds.
    pub(super) fn totals(&self) -> Totals {
        self.totals
    }

    /// Addresses of a subnet that somebody holds, reserved ones and those outside of pools included.
    pub(super) fn totals_of(&self, subnet: usize) -> Totals {
        self.prefixes.get(subnet).map_or_else(Totals::default, |prefix| prefix.totals)
    }

    /// The subnets' own figures. Those of `old` with the same prefix are moved over; the others are counted from the table.
    fn prefixes(policy: &Policy, old: Vec<Prefix>, leases: &Table) -> Vec<Prefix> {
        let key = |subnet: u32, first: Ipv4Addr, length: u8| (subnet, first, length);
        let known: BTreeMap<_, _> =
            old.iter().map(|old| (key(old.subnet, old.first, old.length), old.totals)).collect();
        let prefix = |subnet: &Subnet| {
            let count = || {
                let mut totals = Totals::default();
                for lease in leases.range(subnet.first).take_while(|lease| lease.address <= subnet.last) {
                    totals.count(lease.state).into_iter().for_each(|count| *count += 1);
                }
                totals
            };
            let totals = known.get(&key(subnet.id, subnet.first, subnet.length)).copied().unwrap_or_else(count);
            Prefix { subnet: subnet.id, first: subnet.first, length: subnet.length, totals }
        };
        policy.subnets.iter().map(prefix).collect()
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
            lapsed_before: 0,
            lapsed: 0,
            lapsing_since: 0,
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

    /// The offers that are out in a place's pool, if strangers may have this share of what is free.
    pub(super) fn crowd(&self, place: &Place, share: f64, now: Seconds) -> Option<Crowd> {
        self.get(place.subnet, place.pool?).map(|free| free.crowd(share, now))
    }

    /// True if quarantine already holds this share of the address's pool.
    pub(super) fn declined_at(&self, policy: &Policy, address: Ipv4Addr, share: f64) -> bool {
        let free = place(policy, address).and_then(|(subnet, pool)| self.get(subnet, pool));
        free.is_some_and(|free| f64::from(free.declined) >= (free.usable as f64 * share).ceil())
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
        let prefix = policy.subnet_of(address).and_then(|subnet| self.prefixes.get_mut(subnet));
        for totals in [Some(&mut self.totals), prefix.map(|prefix| &mut prefix.totals)].into_iter().flatten() {
            if let Some(count) = from.and_then(|state| totals.count(state)) {
                *count = count.saturating_sub(1);
            }
            if let Some(count) = to.and_then(|state| totals.count(state)) {
                *count += 1;
            }
        }
        let Some(free) = self.of(policy, address).filter(|_| reservations.at(address).is_none()) else { return };
        if let Some(count) = from.and_then(|state| free.count(state)) {
            *count = count.saturating_sub(1);
        }
        if let Some(count) = to.and_then(|state| free.count(state)) {
            *count += 1;
        }
    }

    /// Nobody asked in time for what was offered at an address.
    pub(super) fn lapsed(&mut self, policy: &Policy, address: Ipv4Addr, now: Seconds) {
        if let Some(free) = self.of(policy, address) {
            let age = now.abs_diff(free.lapsing_since);
            if age > FLOOD_MEMORY {
                free.lapsed_before = if age > 2 * FLOOD_MEMORY { 0 } else { free.lapsed };
                (free.lapsed, free.lapsing_since) = (0, now);
            }
            free.lapsed = free.lapsed.saturating_add(1);
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
