//! What every tier and both threads need of this instance: its memory, and its bans.

use std::sync::Arc;

use crate::entry::{Clock, Entry, Key};
use crate::memory::Memory;
use crate::metrics::{CacheMetrics, PurgeKind, PurgeOrigin, Tier};
use crate::purge::{Ban, Bans, Era, Purge};

pub(crate) struct Local {
    pub(crate) memory: Memory,
    pub(crate) bans: Arc<Bans>,
    pub(crate) clock: Clock,
    pub(crate) metrics: Arc<CacheMetrics>,
}

impl Local {
    /// Stores an entry in memory, unless it was purged since `era`.
    pub(crate) fn keep(&self, key: Key, entry: &Arc<Entry>, era: Era) {
        let stored = self.memory.put(key, entry, (self.clock)(), || !self.bans.bars(era, &key, entry));
        if stored.evicted > 0 {
            self.metrics.evictions.of(Tier::L1).add(stored.evicted);
        }
    }

    /// Bans what a purge means: from here on, nothing of it is stored in memory.
    pub(crate) fn ban(&self, purge: &Purge, origin: PurgeOrigin) {
        let kind = match purge {
            Purge::Name(_) => PurgeKind::Name,
            Purge::Prefix(_) => PurgeKind::Prefix,
            Purge::Tag(_) => PurgeKind::Tag,
            Purge::All => PurgeKind::All,
        };
        self.metrics.purges.of(kind).inc();
        self.metrics.purges_from.of(origin).inc();
        self.bans.add(Ban::Purge(purge.clone()));
    }

    /// Removes what a purge means from one part of memory, and says how many entries that were.
    pub(crate) fn sweep(&self, part: usize, purge: &Purge) -> u64 {
        self.memory.retain(part, |_, entry| !purge.matches(entry))
    }
}
