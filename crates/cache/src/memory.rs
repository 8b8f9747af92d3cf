//! L1: memory of this process, bounded in bytes.
//!
//! Entries lie in shards by key. A hit takes a shard's lock for reading, counts, and is gone. The budget is one for all shards: whoever
//! stores first takes what it needs out of it, evicting from one shard after the other, so no shard is full while another is empty, and an
//! entry may be larger than a shard's share.

mod shard;

use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};
use std::time::Duration;

use parking_lot::RwLock;

use crate::config::Policy;
use crate::entry::{Entry, Key, UnixMillis};
use shard::Shard;

/// Fewer shards than this many bytes make: a shard with few entries sees too little to tell hot ones from cold ones.
const SHARD: usize = 4 << 20;
const SHARDS: usize = 64;

#[derive(Debug)]
pub(crate) struct Memory {
    shards: Box<[RwLock<Shard>]>,
    policy: Policy,
    limit: usize,
    max_entry: usize,
    ttl: Duration,
    used: AtomicUsize,
    entries: AtomicUsize,
    /// The shard that gives way next.
    cursor: AtomicUsize,
}

/// An entry in memory that is asked for.
#[derive(Clone, Debug)]
pub struct Top {
    /// Its key.
    pub key: Key,
    /// It.
    pub entry: Arc<Entry>,
    /// Lookups that found it in memory.
    pub hits: u64,
    /// Memory that it takes.
    pub bytes: u64,
}

/// What became of an entry.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Stored {
    /// Whether it is there.
    pub(crate) kept: bool,
    /// How many others had to go.
    pub(crate) evicted: u64,
}

impl Memory {
    pub(crate) fn new(policy: Policy, limit: usize, max_entry: usize, ttl: Duration) -> Self {
        let shards = 1 << (limit / SHARD).clamp(1, SHARDS).ilog2();
        Self {
            shards: (0..shards).map(|_| RwLock::new(Shard::new(policy))).collect(),
            policy,
            limit,
            max_entry,
            ttl,
            used: AtomicUsize::new(0),
            entries: AtomicUsize::new(0),
            cursor: AtomicUsize::new(0),
        }
    }

    /// How many shards there are is a power of two, and never none.
    fn shard(&self, key: &Key) -> &RwLock<Shard> {
        &self.shards[key.high() as usize & (self.shards.len() - 1)]
    }

    /// The entry of a key. Neither waits for anything but a short write, nor allocates.
    pub(crate) fn get(&self, key: &Key, now: UnixMillis) -> Option<Arc<Entry>> {
        let shard = self.shard(key);
        match self.policy {
            Policy::S3Fifo => shard.read().hit(key, now),
            // Where the shard is busy, its order stays as it is.
            Policy::Lru => match shard.try_write() {
                Some(mut shard) => {
                    shard.promote(key);
                    shard.hit(key, now)
                }
                None => shard.read().hit(key, now),
            },
        }
    }

    /// Stores an entry, if `admitted` says so. That is asked under the lock that [`retain`](Self::retain) takes as well: either it knows of
    /// a purge, or the purge meets the entry.
    pub(crate) fn put(&self, key: Key, entry: &Arc<Entry>, now: UnixMillis, admitted: impl FnOnce() -> bool) -> Stored {
        let cost = entry.memory() + shard::OVERHEAD;
        let mut evicted = 0;
        if cost > self.max_entry.min(self.limit) || entry.expires <= now || !self.reserve(cost, now, &mut evicted) {
            // What it would replace is out of date.
            self.remove(&key);
            return Stored { kept: false, evicted };
        }
        let until = entry.expires.min(now.after(self.ttl));
        let mut shard = self.shard(&key).write();
        let kept = admitted();
        let replaced = match kept {
            true => shard.insert(key, Arc::clone(entry), until, cost),
            // What is there came after the purge.
            false => None,
        };
        drop(shard);
        if kept {
            self.entries.fetch_add(1, Relaxed);
        } else {
            self.used.fetch_sub(cost, Relaxed);
        }
        self.freed(replaced);
        Stored { kept, evicted }
    }

    /// Takes `cost` out of the budget, evicting until it fits. It fails where all that is left belongs to entries on their way in.
    fn reserve(&self, cost: usize, now: UnixMillis, evicted: &mut u64) -> bool {
        let mut used = self.used.fetch_add(cost, Relaxed) + cost;
        let mut barren = 0;
        while used > self.limit && barren < self.shards.len() {
            let next = self.cursor.fetch_add(1, Relaxed) & (self.shards.len() - 1);
            let freed = self.shards[next].write().evict(now);
            barren = if freed.is_some() { 0 } else { barren + 1 };
            *evicted += u64::from(freed.is_some());
            self.freed(freed);
            used = self.used.load(Relaxed);
        }
        if used > self.limit {
            self.used.fetch_sub(cost, Relaxed);
            return false;
        }
        true
    }

    fn freed(&self, cost: Option<usize>) {
        if let Some(cost) = cost {
            self.used.fetch_sub(cost, Relaxed);
            self.entries.fetch_sub(1, Relaxed);
        }
    }

    pub(crate) fn remove(&self, key: &Key) {
        let removed = self.shard(key).write().remove(key);
        self.freed(removed);
    }

    /// How many parts [`retain`](Self::retain) works in.
    pub(crate) fn parts(&self) -> usize {
        self.shards.len()
    }

    /// Removes what is not wanted from one part, and says how many that were. Reading goes on while it looks.
    pub(crate) fn retain(&self, part: usize, wanted: impl Fn(&Key, &Entry) -> bool) -> u64 {
        let Some(shard) = self.shards.get(part) else { return 0 };
        let unwanted = shard.read().keys_where(|key, entry| !wanted(key, entry));
        let mut removed = 0;
        if !unwanted.is_empty() {
            let mut shard = shard.write();
            for key in unwanted {
                // It may have been replaced since.
                if shard.entry(&key).is_some_and(|entry| !wanted(&key, entry)) {
                    self.freed(shard.remove(&key));
                    removed += 1;
                }
            }
        }
        removed
    }

    /// The wanted entries with the most hits, the most first.
    pub(crate) fn top(&self, count: usize, wanted: impl Fn(&Entry) -> bool) -> Vec<Top> {
        let mut best = BinaryHeap::<Reverse<(u64, u64, Key)>>::new();
        for shard in &self.shards {
            for (hits, bytes, key, entry) in shard.read().counts() {
                let is_more = best.len() < count || best.peek().is_some_and(|Reverse((least, ..))| hits > *least);
                if is_more && wanted(entry) {
                    best.push(Reverse((hits, bytes, *key)));
                }
                if best.len() > count {
                    best.pop();
                }
            }
        }
        // One may have left meanwhile.
        let top = |Reverse((hits, bytes, key))| {
            let entry = self.shard(&key).read().shared(&key)?;
            Some(Top { key, entry, hits, bytes })
        };
        best.into_sorted_vec().into_iter().filter_map(top).collect()
    }

    pub(crate) fn entries(&self) -> usize {
        self.entries.load(Relaxed)
    }

    pub(crate) fn used(&self) -> usize {
        self.used.load(Relaxed)
    }

    pub(crate) fn limit(&self) -> usize {
        self.limit
    }
}

#[cfg(test)]
mod tests;
