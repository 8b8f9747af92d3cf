//! One shard: S3-FIFO, or least recently used.
//!
//! S3-FIFO (Yang et al., SOSP 2023): what is new waits in a small queue. What was asked for again by the end of that queue goes on to the
//! main one; what was not leaves, and only its key is remembered for a while: should it come back, it goes to the main queue at once. In
//! the main queue, what was asked for gets another turn. So a scan, which asks for everything once, washes through the small queue and
//! leaves the main one alone; and a hit moves nothing, so it needs no exclusive lock.

use std::collections::VecDeque;
use std::sync::Arc;
use std::sync::atomic::{AtomicU8, AtomicU32, Ordering::Relaxed};

use hashbrown::{HashTable, hash_table};
use slab::Slab;

use crate::config::Policy;
use crate::entry::{Entry, Key, UnixMillis};

/// What is counted of hits since an entry was last looked at for eviction.
const HOTTEST: u8 = 3;
/// Hits that carry an entry from the small queue to the main one.
const WARM: u8 = 2;
/// The small queue's share of the bytes is one in so many.
const SMALL: usize = 10;
/// Entries that one eviction gives another turn at most: it holds the lock.
const TURNS: u32 = 64;
/// Keys that are remembered though fewer entries are there.
const GHOSTS: usize = 64;

/// Memory that an entry takes here beside its own: its node in a slab that grows by half, its place in the table, and one remembered key.
pub(super) const OVERHEAD: usize = size_of::<Node>() * 3 / 2 + 8 + 48;

const NONE: u32 = u32::MAX;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Side {
    Small,
    Main,
}

#[derive(Debug)]
struct Node {
    key: Key,
    entry: Arc<Entry>,
    until: UnixMillis,
    cost: usize,
    hits: AtomicU32,
    heat: AtomicU8,
    side: Side,
    newer: u32,
    older: u32,
}

/// A list of nodes through themselves.
#[derive(Debug)]
struct Queue {
    newest: u32,
    oldest: u32,
    bytes: usize,
}

impl Queue {
    const EMPTY: Self = Self { newest: NONE, oldest: NONE, bytes: 0 };
}

/// Keys that left the small queue, oldest first. One that comes back is taken out of `known` only.
#[derive(Debug, Default)]
struct Ghosts {
    known: HashTable<(u64, u64)>,
    order: VecDeque<(u64, u64)>,
    next: u64,
}

impl Ghosts {
    fn add(&mut self, key: &Key, room: usize) {
        let ghost = (key.low(), self.next);
        self.next += 1;
        match self.known.entry(ghost.0, |known| known.0 == ghost.0, |known| known.0) {
            hash_table::Entry::Occupied(mut known) => *known.get_mut() = ghost,
            hash_table::Entry::Vacant(vacant) => drop(vacant.insert(ghost)),
        }
        self.order.push_back(ghost);
        while self.order.len() > room {
            if let Some(oldest) = self.order.pop_front()
                && let Ok(known) = self.known.find_entry(oldest.0, |known| *known == oldest)
            {
                known.remove();
            }
        }
    }

    fn take(&mut self, key: &Key) -> bool {
        let low = key.low();
        self.known.find_entry(low, |known| known.0 == low).map(|known| known.remove()).is_ok()
    }
}

#[derive(Debug)]
pub(super) struct Shard {
    policy: Policy,
    table: HashTable<u32>,
    nodes: Slab<Node>,
    small: Queue,
    main: Queue,
    ghosts: Ghosts,
}

impl Shard {
    pub(super) fn new(policy: Policy) -> Self {
        let (small, main) = (Queue::EMPTY, Queue::EMPTY);
        Self { policy, table: HashTable::new(), nodes: Slab::new(), small, main, ghosts: Ghosts::default() }
    }

    fn find(&self, key: &Key) -> Option<u32> {
        self.table.find(key.low(), |at| self.nodes.get(*at as usize).is_some_and(|node| node.key == *key)).copied()
    }

    fn node(&self, at: u32) -> Option<&Node> {
        self.nodes.get(at as usize)
    }

    /// The entry, counted as used, if its time is not over.
    pub(super) fn hit(&self, key: &Key, now: UnixMillis) -> Option<Arc<Entry>> {
        let node = self.node(self.find(key)?).filter(|node| node.until > now)?;
        // Two at once may count as one: it is a measure.
        node.hits.fetch_add(1, Relaxed);
        let heat = node.heat.load(Relaxed);
        if heat < HOTTEST {
            node.heat.store(heat + 1, Relaxed);
        }
        Some(Arc::clone(&node.entry))
    }

    /// Makes an entry the most recently used.
    pub(super) fn promote(&mut self, key: &Key) {
        if let Some(at) = self.find(key) {
            self.unlink(at);
            self.link(at, Side::Main);
        }
    }

    /// Stores an entry and gives the cost of the one that it replaces. That leaves it its place and its hits.
    pub(super) fn insert(&mut self, key: Key, entry: Arc<Entry>, until: UnixMillis, cost: usize) -> Option<usize> {
        if let Some(at) = self.find(&key) {
            let node = self.nodes.get_mut(at as usize)?;
            let replaced = std::mem::replace(&mut node.cost, cost);
            (node.entry, node.until) = (entry, until);
            let queue = self.queue(at)?;
            queue.bytes = queue.bytes - replaced + cost;
            if self.policy == Policy::Lru {
                self.promote(&key);
            }
            return Some(replaced);
        }
        let known = self.policy == Policy::Lru || self.ghosts.take(&key);
        let side = if known { Side::Main } else { Side::Small };
        let (hits, heat) = (AtomicU32::new(0), AtomicU8::new(0));
        let node = Node { key, entry, until, cost, hits, heat, side, newer: NONE, older: NONE };
        // Memory ends long before 32 bits do.
        let at = self.nodes.insert(node) as u32;
        let nodes = &self.nodes;
        self.table.insert_unique(key.low(), at, |at| nodes.get(*at as usize).map_or(0, |node| node.key.low()));
        self.link(at, side);
        None
    }

    /// Removes an entry and gives its cost.
    pub(super) fn remove(&mut self, key: &Key) -> Option<usize> {
        self.find(key).and_then(|at| self.drop(at)).map(|node| node.cost)
    }

    /// Removes what is of the least use and gives its cost.
    pub(super) fn evict(&mut self, now: UnixMillis) -> Option<usize> {
        for turn in 0.. {
            let last_turn = turn >= TURNS;
            let small = self.small.bytes > 0
                && (self.main.bytes == 0 || self.small.bytes * SMALL >= self.small.bytes + self.main.bytes);
            let at = if small { self.small.oldest } else { self.main.oldest };
            let node = self.node(at)?;
            let heat = match (self.policy, node.until > now) {
                (Policy::S3Fifo, true) => node.heat.load(Relaxed),
                // Nothing of its past counts.
                _ => 0,
            };
            let stays = if small { heat >= WARM } else { heat > 0 };
            if stays && !last_turn {
                node.heat.store(if small { 0 } else { heat - 1 }, Relaxed);
                self.unlink(at);
                self.link(at, Side::Main);
                continue;
            }
            let node = self.drop(at)?;
            if small && node.until > now {
                self.ghosts.add(&node.key, self.nodes.len().max(GHOSTS));
            }
            return Some(node.cost);
        }
        None
    }

    pub(super) fn entry(&self, key: &Key) -> Option<&Entry> {
        self.node(self.find(key)?).map(|node| &*node.entry)
    }

    pub(super) fn keys_where(&self, wanted: impl Fn(&Key, &Entry) -> bool) -> Vec<Key> {
        self.nodes.iter().filter(|(_, node)| wanted(&node.key, &node.entry)).map(|(_, node)| node.key).collect()
    }

    /// The entry, uncounted.
    pub(super) fn shared(&self, key: &Key) -> Option<Arc<Entry>> {
        self.node(self.find(key)?).map(|node| Arc::clone(&node.entry))
    }

    /// Hits and bytes of every entry.
    pub(super) fn counts(&self) -> impl Iterator<Item = (u64, u64, &Key, &Entry)> {
        let count = |node: &Node| u64::from(node.hits.load(Relaxed));
        self.nodes.iter().map(move |(_, node)| (count(node), node.cost as u64, &node.key, &*node.entry))
    }

    fn drop(&mut self, at: u32) -> Option<Node> {
        self.unlink(at);
        let node = self.nodes.try_remove(at as usize)?;
        if let Ok(place) = self.table.find_entry(node.key.low(), |other| *other == at) {
            place.remove();
        }
        Some(node)
    }

    fn queue(&mut self, at: u32) -> Option<&mut Queue> {
        Some(match self.nodes.get(at as usize)?.side {
            Side::Small => &mut self.small,
            Side::Main => &mut self.main,
        })
    }

    fn unlink(&mut self, at: u32) {
        let Some(node) = self.node(at) else { return };
        let (newer, older, cost) = (node.newer, node.older, node.cost);
        if let Some(node) = self.nodes.get_mut(newer as usize) {
            node.older = older;
        }
        if let Some(node) = self.nodes.get_mut(older as usize) {
            node.newer = newer;
        }
        if let Some(queue) = self.queue(at) {
            queue.bytes -= cost;
            if queue.newest == at {
                queue.newest = older;
            }
            if queue.oldest == at {
                queue.oldest = newer;
            }
        }
    }

    fn link(&mut self, at: u32, side: Side) {
        let Some(node) = self.nodes.get_mut(at as usize) else { return };
        node.side = side;
        let cost = node.cost;
        let Some(queue) = self.queue(at) else { return };
        let before = std::mem::replace(&mut queue.newest, at);
        if queue.oldest == NONE {
            queue.oldest = at;
        }
        queue.bytes += cost;
        if let Some(node) = self.nodes.get_mut(before as usize) {
            node.newer = at;
        }
        if let Some(node) = self.nodes.get_mut(at as usize) {
            (node.newer, node.older) = (NONE, before);
        }
    }
}
