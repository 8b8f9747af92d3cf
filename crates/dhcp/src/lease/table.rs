//! The lease table: slots in pages, an ordered index by address, hashed indexes by client identifier and by hardware address.
//!
//! Nothing here is ever copied whole: pages don't move, the address index grows a /24 at a time, and each hashed index is
//! cut into parts that grow one by one, so that no single packet pays for a rehash of a million entries.

use super::{Client, Lease};
use foldhash::quality::FixedState;
use hashbrown::HashTable;
use std::collections::BTreeMap;
use std::hash::BuildHasher;
use std::net::Ipv4Addr;

/// Where a lease lies in its table. Stable until the lease is removed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Slot(u32);

const PAGE: usize = 1024;
const PARTS: usize = 256;
const NONE: u32 = u32::MAX;

/// One /24 of the address index.
#[derive(Debug)]
struct Block {
    slots: Box<[u32; 256]>,
    used: u16,
}

#[derive(Debug)]
struct Parts(Vec<HashTable<u32>>);

impl Parts {
    fn new() -> Self {
        Self((0..PARTS).map(|_| HashTable::new()).collect())
    }

    fn part(&self, hash: u64) -> &HashTable<u32> {
        &self.0[(hash >> 40) as usize % PARTS]
    }

    fn part_mut(&mut self, hash: u64) -> &mut HashTable<u32> {
        &mut self.0[(hash >> 40) as usize % PARTS]
    }
}

/// All leases of the server.
#[derive(Debug)]
pub struct Table {
    pages: Vec<Vec<Option<Lease>>>,
    vacant: Vec<u32>,
    blocks: BTreeMap<u32, Block>,
    /// By client identifier, of those that have one.
    identifiers: Parts,
    hardware: Parts,
    hasher: FixedState,
    len: usize,
    /// Bytes of the leases' details.
    details: usize,
}

impl Table {
    /// An empty table. The seed keeps a peer from choosing identifiers that collide.
    pub fn new(seed: u64) -> Self {
        Self {
            pages: Vec::new(),
            vacant: Vec::new(),
            blocks: BTreeMap::new(),
            identifiers: Parts::new(),
            hardware: Parts::new(),
            hasher: FixedState::with_seed(seed),
            len: 0,
            details: 0,
        }
    }

    /// Leases in the table, in whatever state.
    pub fn len(&self) -> usize {
        self.len
    }

    /// Bytes the table takes, the allocator's rounding aside.
    pub fn memory(&self) -> usize {
        let slots = self.pages.len() * PAGE * size_of::<Option<Lease>>();
        let blocks = self.blocks.len() * (256 * size_of::<u32>() + 2 * size_of::<Block>());
        let index = |parts: &Parts| parts.0.iter().map(|part| part.allocation_size()).sum::<usize>();
        slots + blocks + index(&self.identifiers) + index(&self.hardware) + self.vacant.capacity() * 4 + self.details
    }

    /// True if there are none.
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// The slot of an address.
    pub fn find(&self, address: Ipv4Addr) -> Option<Slot> {
        let address = u32::from(address);
        let slot = self.blocks.get(&(address >> 8))?.slots[(address & 255) as usize];
        (slot != NONE).then_some(Slot(slot))
    }

    /// The lease in a slot.
    pub fn get(&self, slot: Slot) -> Option<&Lease> {
        self.pages.get(slot.0 as usize / PAGE)?.get(slot.0 as usize % PAGE)?.as_ref()
    }

    /// The lease of an address.
    pub fn at(&self, address: Ipv4Addr) -> Option<&Lease> {
        self.get(self.find(address)?)
    }

    /// Leases of a client, in every subnet it was seen in.
    pub fn of_client<'t>(&'t self, client: Client<'t>) -> impl Iterator<Item = (Slot, &'t Lease)> {
        let (id, hardware) = match client {
            Client::Id(id) => (Some(self.of_id(id)), None),
            Client::Hardware(htype, address) => (None, Some(self.of_hardware(htype, address))),
        };
        let leases = id.into_iter().flatten().chain(hardware.into_iter().flatten());
        leases.filter(move |(_, lease)| lease.client() == client)
    }

    /// Leases that came with a client identifier, whether it identifies their client or is only shown.
    pub fn of_id<'t>(&'t self, id: &'t [u8]) -> impl Iterator<Item = (Slot, &'t Lease)> {
        let hash = self.hasher.hash_one(id);
        self.identifiers.part(hash).iter_hash(hash).filter_map(move |slot| {
            let slot = Slot(*slot);
            self.get(slot).filter(|lease| lease.any_client_id() == Some(id)).map(|lease| (slot, lease))
        })
    }

    /// Leases of a hardware address, whatever identifier came with it.
    pub fn of_hardware<'t>(&'t self, htype: u8, address: &'t [u8]) -> impl Iterator<Item = (Slot, &'t Lease)> {
        let hash = self.hasher.hash_one((htype, address));
        self.hardware.part(hash).iter_hash(hash).filter_map(move |slot| {
            let slot = Slot(*slot);
            let same = |lease: &&Lease| lease.htype == htype && lease.hardware() == address;
            self.get(slot).filter(same).map(|lease| (slot, lease))
        })
    }

    /// Puts a lease in, in place of what its address held. Returns the slot and what it replaced.
    pub fn insert(&mut self, lease: Lease) -> (Slot, Option<Lease>) {
        self.details += lease.details.bytes().len();
        let address = u32::from(lease.address);
        if let Some(slot) = self.find(lease.address) {
            let same = self.get(slot).is_some_and(|old| {
                old.any_client_id() == lease.any_client_id()
                    && old.htype == lease.htype
                    && old.hardware() == lease.hardware()
            });
            if !same {
                self.unlink(slot);
            }
            let old = self.pages[slot.0 as usize / PAGE][slot.0 as usize % PAGE].replace(lease);
            self.details -= old.as_ref().map_or(0, |old| old.details.bytes().len());
            if !same {
                self.link(slot);
            }
            return (slot, old);
        }
        let slot = Slot(self.vacant.pop().unwrap_or_else(|| self.grow()));
        self.pages[slot.0 as usize / PAGE][slot.0 as usize % PAGE] = Some(lease);
        let block = self.blocks.entry(address >> 8).or_insert_with(|| Block { slots: Box::new([NONE; 256]), used: 0 });
        block.slots[(address & 255) as usize] = slot.0;
        block.used += 1;
        self.len += 1;
        self.link(slot);
        (slot, None)
    }

    /// Changes a lease in place. The closure must leave address, client and hardware address as they are.
    pub fn update<T>(&mut self, slot: Slot, change: impl FnOnce(&mut Lease) -> T) -> Option<T> {
        self.pages.get_mut(slot.0 as usize / PAGE)?.get_mut(slot.0 as usize % PAGE)?.as_mut().map(change)
    }

    /// Takes an address out.
    pub fn remove(&mut self, address: Ipv4Addr) -> Option<Lease> {
        let slot = self.find(address)?;
        self.unlink(slot);
        let address = u32::from(address);
        if let Some(block) = self.blocks.get_mut(&(address >> 8)) {
            block.slots[(address & 255) as usize] = NONE;
            block.used -= 1;
            if block.used == 0 {
                self.blocks.remove(&(address >> 8));
            }
        }
        self.vacant.push(slot.0);
        self.len -= 1;
        let old = self.pages.get_mut(slot.0 as usize / PAGE)?.get_mut(slot.0 as usize % PAGE)?.take();
        self.details -= old.as_ref().map_or(0, |old| old.details.bytes().len());
        old
    }

    /// Leases by ascending address from `from` on.
    pub fn range(&self, from: Ipv4Addr) -> impl Iterator<Item = &Lease> {
        let from = u32::from(from);
        self.blocks.range(from >> 8..).flat_map(move |(prefix, block)| {
            let first = if *prefix == from >> 8 { (from & 255) as usize } else { 0 };
            block.slots[first..].iter().filter(|s| **s != NONE).filter_map(|s| self.get(Slot(*s)))
        })
    }

    /// The first address from `from` to `to` that no lease stands at. Skips a full /24 in one step.
    pub fn first_absent(&self, from: Ipv4Addr, to: Ipv4Addr) -> Option<Ipv4Addr> {
        let (mut at, to) = (u32::from(from), u32::from(to));
        while at <= to {
            let next_block = (at | 255).checked_add(1);
            let found = match self.blocks.get(&(at >> 8)) {
                None => Some(at),
                Some(block) if block.used == 256 => None,
                Some(block) => {
                    block.slots[(at & 255) as usize..].iter().position(|s| *s == NONE).map(|n| at + n as u32)
                }
            };
            match found {
                Some(address) => return (address <= to).then(|| Ipv4Addr::from(address)),
                None => at = next_block?,
            }
        }
        None
    }

    fn grow(&mut self) -> u32 {
        let first = (self.pages.len() * PAGE) as u32;
        self.pages.push(vec![None; PAGE]);
        self.vacant.extend((first + 1..first + PAGE as u32).rev());
        first
    }

    fn link(&mut self, slot: Slot) {
        let (pages, hasher) = (&self.pages, &self.hasher);
        let at = |slot: &u32| pages[*slot as usize / PAGE][*slot as usize % PAGE].as_ref();
        let by_id = |lease: &Lease| hasher.hash_one(lease.any_client_id().unwrap_or_default());
        let by_hardware = |lease: &Lease| hasher.hash_one((lease.htype, lease.hardware()));
        let Some(lease) = at(&slot.0) else { return };
        if lease.any_client_id().is_some() {
            let hash = by_id(lease);
            self.identifiers.part_mut(hash).insert_unique(hash, slot.0, |slot| at(slot).map_or(0, by_id));
        }
        // Clients without a hardware address would all have the same one.
        if lease.hlen > 0 {
            let hash = by_hardware(lease);
            self.hardware.part_mut(hash).insert_unique(hash, slot.0, |slot| at(slot).map_or(0, by_hardware));
        }
    }

    fn unlink(&mut self, slot: Slot) {
        let Some(lease) = self.get(slot) else { return };
        let by_id = lease.any_client_id().map(|id| self.hasher.hash_one(id));
        let by_hardware = self.hasher.hash_one((lease.htype, lease.hardware()));
        let remove = |parts: &mut Parts, hash: u64| {
            if let Ok(entry) = parts.part_mut(hash).find_entry(hash, |s| *s == slot.0) {
                entry.remove();
            }
        };
        by_id.into_iter().for_each(|hash| remove(&mut self.identifiers, hash));
        remove(&mut self.hardware, by_hardware);
    }
}
