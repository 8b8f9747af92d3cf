//! Every metric of the cache, declared once.

use outwork_telemetry::{labels, metrics};

labels! {
    /// A tier of the cache.
    pub enum Tier as "tier" {
        /// Memory of this process.
        L1 = "l1",
        /// Redis.
        L2 = "l2",
        /// Disk.
        L3 = "l3"
    }
}

labels! {
    /// A tier that is written to behind the caller's back.
    pub enum Behind as "tier" { L2 = "l2", L3 = "l3" }
}

labels! {
    /// What a purge means.
    pub enum PurgeKind as "kind" { Name = "name", Prefix = "prefix", Tag = "tag", All = "all" }
}

labels! {
    /// Where a purge came from.
    pub enum PurgeOrigin as "origin" {
        /// This instance.
        Own = "own",
        /// Another one, through Redis.
        Heard = "heard",
        /// Others were missed while Redis could not be reached, so everything was purged.
        Missed = "missed"
    }
}

metrics! {
    /// What the cache counts.
    pub struct CacheMetrics, prefix "outwork_cache" {
        /// Lookups that found an entry.
        hits: Counter by Tier => history,
        /// Lookups that found none. Each tier is asked about what those before it do not have.
        misses: Counter by Tier => history,
        /// Entries that made room for others. On disk, with the segment that they lay in; in Redis, all keys that it gave up since it was first asked.
        evictions: Counter by Tier => history,
        /// Failures and timeouts.
        errors: Counter by Tier => history,
        /// Entries that were damaged, and were removed.
        damaged: Counter by Behind,
        /// Lookups that were not made because the tier had failed too often, or was not connected.
        skipped: Counter by Behind => history,
        /// Bytes of memory, and of disk. Of Redis all that it uses, for others, too; 0 while it cannot be asked.
        used: Gauge in bytes by Tier => history,
        /// Entries held. Of Redis all keys of its database, those of others, too; 0 while it cannot be asked.
        entries: Gauge by Tier => history,
        /// Entries that wait to be written.
        queued: Gauge by Behind,
        /// Entries that were not written to a tier because too much waited already.
        dropped: Counter by Behind,
        /// Entries written.
        written: Counter by Behind,
        /// Purges.
        purges: Counter by PurgeKind,
        /// Purges, by where they came from.
        purges_from: Counter by PurgeOrigin,
        /// Purges that Redis has not been told of yet. It is not asked for entries until it has.
        purges_pending: Gauge,
        /// Whether a tier is left alone because it failed: 0 no, 1 it is being tried, 2 yes.
        breaker: Gauge by Behind,
        /// Time that a lookup took.
        lookup_time: Histogram in seconds by Behind => history,
    }
}
