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

/// A slot, and the hash of its key: growing and looking up then touch no lease that is not the one.
#[derive(Debug, Clone, Copy)]
struct Entry {
    hash: u32,
    slot: u32,
}

/// A hashed index. Its parts fill at about the same time, so that each must grow quickly, too.
#[derive(Debug)]
struct Index(Vec<HashTable<Entry>>);

impl Index {
    fn new() -> Self {
        Self((0..PARTS).map(|_| HashTable::new()).collect())
    }

    fn part(&self, hash: u32) -> &HashTable<Entry> {
        &self.0[hash as usize % PARTS]
    }

    fn part_mut(&mut self, hash: u32) -> &mut HashTable<Entry> {
        &mut self.0[hash as usize % PARTS]
    }

    /// Slots whose key has this hash, and perhaps others.
    fn find(&self, hash: u32) -> impl Iterator<Item = Slot> {
        let same = self.part(hash).iter_hash(spread(hash)).filter(move |entry| entry.hash == hash);
        same.map(|entry| Slot(entry.slot))
    }

    fn insert(&mut self, hash: u32, slot: Slot) {
        let entry = Entry { hash, slot: slot.0 };
        self.part_mut(hash).insert_unique(spread(hash), entry, |entry| spread(entry.hash));
    }

    fn remove(&mut self, hash: u32, slot: Slot) {
        if let Ok(entry) = self.part_mut(hash).find_entry(spread(hash), |entry| entry.slot == slot.0) {
            entry.remove();
        }
    }

    fn memory(&self) -> usize {
        self.0.iter().map(HashTable::allocation_size).sum()
    }
}

/// The hash as a table wants it, whose place it takes from the low bits and whose tag from the high ones.
fn spread(hash: u32) -> u64 {
    u64::from(hash / PARTS as u32).wrapping_mul(0x9e37_79b9_7f4a_7c15)
}

/// All leases of the server.
#[derive(Debug)]
pub struct Table {
    pages: Vec<Vec<Option<Lease>>>,
    vacant: Vec<u32>,
    blocks: BTreeMap<u32, Block>,
    /// By client identifier, of those that have one.
    identifiers: Index,
    hardware: Index,
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
            identifiers: Index::new(),
            hardware: Index::new(),
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
        slots + blocks + self.identifiers.memory() + self.hardware.memory() + self.vacant.capacity() * 4 + self.details
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
        let same = |lease: &&Lease| lease.any_client_id() == Some(id);
        self.identifiers
            .find(self.by_id(id))
            .filter_map(move |slot| self.get(slot).filter(same).map(|lease| (slot, lease)))
    }

    /// Leases of a hardware address, whatever identifier came with it.
    pub fn of_hardware<'t>(&'t self, htype: u8, address: &'t [u8]) -> impl Iterator<Item = (Slot, &'t Lease)> {
        self.hardware.find(self.by_hardware(htype, address)).filter_map(move |slot| {
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

    fn by_id(&self, id: &[u8]) -> u32 {
        self.hasher.hash_one(id) as u32
    }

    fn by_hardware(&self, htype: u8, address: &[u8]) -> u32 {
        self.hasher.hash_one((htype, address)) as u32
    }

    /// Hashes of a lease's keys, of those it has. Clients without a hardware address would all have the same one.
    fn hashes(&self, slot: Slot) -> Option<(Option<u32>, Option<u32>)> {
        let lease = self.get(slot)?;
        let hardware = (lease.hlen > 0).then(|| self.by_hardware(lease.htype, lease.hardware()));
        Some((lease.any_client_id().map(|id| self.by_id(id)), hardware))
    }

    fn link(&mut self, slot: Slot) {
        let Some((id, hardware)) = self.hashes(slot) else { return };
        id.into_iter().for_each(|hash| self.identifiers.insert(hash, slot));
        hardware.into_iter().for_each(|hash| self.hardware.insert(hash, slot));
    }

    fn unlink(&mut self, slot: Slot) {
        let Some((id, hardware)) = self.hashes(slot) else { return };
        id.into_iter().for_each(|hash| self.identifiers.remove(hash, slot));
        hardware.into_iter().for_each(|hash| self.hardware.remove(hash, slot));
    }
}
