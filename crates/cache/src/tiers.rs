//! All tiers as one.

use std::sync::Arc;

use outwork_telemetry::{Collect, Family};

pub use crate::breaker::Circuit;
use crate::config::Settings;
use crate::entry::{Clock, Entry, Key};
use crate::memory::Memory;
use crate::metrics::{CacheMetrics, PurgeKind, PurgeOrigin, Tier};
use crate::purge::{Ban, Bans, Era, Purge};

/// Why the cache could not be opened.
#[derive(Debug, thiserror::Error)]
pub enum CacheError {}

/// The cache. Threads share it in an [`Arc`].
pub struct Tiers {
    memory: Memory,
    bans: Bans,
    clock: Clock,
    metrics: Arc<CacheMetrics>,
}

/// How far a purge has come in a tier.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reach {
    /// There is no such tier.
    Off,
    /// All the way.
    Done,
    /// It will be told when it can be reached, and is not asked for entries until then.
    Pending,
}

/// What a purge has done. Whatever it says, nothing that was meant is given out any more by this instance.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Purged {
    /// Entries that left memory. What lies deeper is not looked for, so it is not counted.
    pub removed: u64,
    /// Redis, and with it the other instances.
    pub shared: Reach,
    /// The disk: whether the purge holds after a restart.
    pub disk: Reach,
}

/// What a tier holds and did.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TierStats {
    /// Entries; `None` where others share it.
    pub entries: Option<u64>,
    /// Bytes; `None` where others share it.
    pub bytes: Option<u64>,
    /// Bytes that it may take; `None` where that is not ours to say.
    pub limit: Option<u64>,
    /// Lookups that found an entry.
    pub hits: u64,
    /// Lookups that found none.
    pub misses: u64,
    /// Entries that made room for others.
    pub evictions: u64,
    /// Failures and timeouts.
    pub errors: u64,
    /// Whether it is asked.
    pub circuit: Circuit,
}

/// What the cache holds and did.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Stats {
    /// Memory.
    pub l1: TierStats,
    /// Redis, where it is used.
    pub l2: Option<TierStats>,
    /// Disk, where it is used.
    pub l3: Option<TierStats>,
}

impl Tiers {
    /// Opens every tier that the settings name.
    ///
    /// # Errors
    /// None for memory.
    pub fn open(settings: &Settings, clock: Clock) -> Result<Arc<Self>, CacheError> {
        let l1 = &settings.l1;
        Ok(Arc::new(Self {
            memory: Memory::new(l1.policy, l1.size.as_usize(), l1.max_entry.as_usize(), l1.ttl),
            bans: Bans::default(),
            clock,
            metrics: Arc::default(),
        }))
    }

    /// The entry of a key, if it is in memory. It waits for nothing, and counts as a hit or a miss of memory.
    pub fn peek(&self, key: &Key) -> Option<Arc<Entry>> {
        let found = self.memory.get(key, (self.clock)());
        let counter = if found.is_some() { &self.metrics.hits } else { &self.metrics.misses };
        counter.of(Tier::L1).inc();
        found
    }

    /// Whether there is anything below memory, so that [`get`](Self::get) may find what [`peek`](Self::peek) did not.
    pub fn is_layered(&self) -> bool {
        false
    }

    /// The entry of a key from the first tier that has it, and which that was. It is stored in the tiers above.
    ///
    /// It follows upon [`peek`](Self::peek): that nothing is in memory is not counted again.
    pub async fn get(&self, key: &Key) -> Option<(Arc<Entry>, Tier)> {
        if let Some(entry) = self.memory.get(key, (self.clock)()) {
            self.metrics.hits.of(Tier::L1).inc();
            return Some((entry, Tier::L1));
        }
        None
    }

    /// How many purges came so far: to be taken before a fetch, for [`put_since`](Self::put_since).
    pub fn era(&self) -> Era {
        self.bans.era()
    }

    /// Stores an entry that was made just now.
    pub fn put(&self, key: Key, entry: Entry) -> Arc<Entry> {
        self.put_since(key, entry, self.era())
    }

    /// Stores an entry that was fetched since `era`, unless it was purged meanwhile: in memory at once, below it soon. What is too large or
    /// out of date is not stored.
    pub fn put_since(&self, key: Key, entry: Entry, era: Era) -> Arc<Entry> {
        let entry = Arc::new(entry);
        self.store(key, &entry, era);
        entry
    }

    fn store(&self, key: Key, entry: &Arc<Entry>, era: Era) {
        let stored = self.memory.put(key, entry, (self.clock)(), || !self.bans.bars(era, &key, entry));
        if stored.evicted > 0 {
            self.metrics.evictions.of(Tier::L1).add(stored.evicted);
        }
    }

    /// Removes an entry from memory at once, and from the tiers below soon. Other instances keep what they have in memory and on disk: that takes
    /// a [`purge`](Self::purge).
    pub fn remove(&self, key: &Key) {
        self.memory.remove(key);
    }

    /// Throws out what a purge means: from the return on, this instance gives none of it out, wherever it may come back from.
    pub async fn purge(&self, purge: &Purge) -> Purged {
        let kind = match purge {
            Purge::Name(_) => PurgeKind::Name,
            Purge::Prefix(_) => PurgeKind::Prefix,
            Purge::Tag(_) => PurgeKind::Tag,
            Purge::All => PurgeKind::All,
        };
        self.metrics.purges.of(kind).inc();
        self.metrics.purges_from.of(PurgeOrigin::Own).inc();
        self.bans.add(Ban::Purge(purge.clone()));
        let mut removed = 0;
        for part in 0..self.memory.parts() {
            removed += self.memory.retain(part, |_, entry| !purge.matches(entry));
            tokio::task::yield_now().await;
        }
        // Nothing is below memory that they could be held against; fetches under way may have begun before.
        Purged { removed, shared: Reach::Off, disk: Reach::Off }
    }

    /// What every tier holds and did.
    pub fn stats(&self) -> Stats {
        let counted = |tier, entries, bytes, limit, circuit| TierStats {
            entries,
            bytes,
            limit,
            hits: self.metrics.hits.of(tier).get(),
            misses: self.metrics.misses.of(tier).get(),
            evictions: self.metrics.evictions.of(tier).get(),
            errors: self.metrics.errors.of(tier).get(),
            circuit,
        };
        let memory = &self.memory;
        let (entries, bytes, limit) = (memory.entries() as u64, memory.used() as u64, memory.limit() as u64);
        Stats { l1: counted(Tier::L1, Some(entries), Some(bytes), Some(limit), Circuit::Closed), l2: None, l3: None }
    }

    /// The entries in memory with the most hits, the most first: name, hits, bytes.
    pub fn top(&self, count: usize) -> Vec<(Box<str>, u64, u64)> {
        self.memory.top(count)
    }
}

impl Collect for Tiers {
    fn collect(&self, families: &mut Vec<Family>) {
        let amount = |number: usize| i64::try_from(number).unwrap_or(i64::MAX);
        self.metrics.used.of(Tier::L1).set(amount(self.memory.used()));
        self.metrics.entries.of(Tier::L1).set(amount(self.memory.entries()));
        self.metrics.collect(families);
    }
}
