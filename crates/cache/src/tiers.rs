//! All tiers as one.

use std::sync::Arc;

use outwork_telemetry::{Collect, Family};

pub use crate::breaker::Circuit;
use crate::config::Settings;
use crate::disk::{Disk, DiskError, Past};
use crate::entry::{Clock, Entry, Key};
use crate::local::Local;
use crate::memory::Memory;
pub use crate::memory::Top;
use crate::metrics::{Behind, CacheMetrics, PurgeOrigin, Tier};
use crate::purge::{Era, Purge};
use crate::remote::{Remote, RemoteError};

/// Why the cache could not be opened.
#[derive(Debug, thiserror::Error)]
pub enum CacheError {
    /// The disk.
    #[error(transparent)]
    Disk(#[from] DiskError),
    /// Redis.
    #[error(transparent)]
    Remote(#[from] RemoteError),
    /// The operating system has no random number to tell this instance from others.
    #[error("cannot get a random number: {0}")]
    Random(getrandom::Error),
}

/// The cache. Threads share it in an [`Arc`].
pub struct Tiers {
    local: Arc<Local>,
    remote: Option<Remote>,
    disk: Option<Arc<Disk>>,
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
    /// Entries; `None` where that is not known. Of Redis: the keys of its database, whoever wrote them.
    pub entries: Option<u64>,
    /// Bytes; `None` where that is not known. Of Redis: all of its memory.
    pub bytes: Option<u64>,
    /// Bytes that it may take; `None` where that is not ours to say.
    pub limit: Option<u64>,
    /// Lookups that found an entry.
    pub hits: u64,
    /// Lookups that found none.
    pub misses: u64,
    /// Entries that made room for others. Of Redis: keys, since it was first asked.
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
    /// Opens every tier that the settings name. Redis need not be there yet.
    ///
    /// # Errors
    /// When the disk's directory cannot be used, or what is said of Redis cannot.
    pub fn open(settings: &Settings, clock: Clock) -> Result<Arc<Self>, CacheError> {
        let l1 = &settings.l1;
        let metrics = Arc::<CacheMetrics>::default();
        let queue = settings.queue.as_usize();
        let (disk, past) = match settings.l3.enabled {
            true => {
                let (disk, past) = Disk::open(&settings.l3, queue, Arc::clone(&clock), Arc::clone(&metrics))?;
                (Some(Arc::new(disk)), past)
            }
            false => (None, Past { bans: Arc::default(), epoch: None }),
        };
        let memory = Memory::new(l1.policy, l1.size.as_usize(), l1.max_entry.as_usize(), l1.ttl);
        let local = Arc::new(Local { memory, bans: past.bans, clock, metrics });
        let remote = match settings.l2.enabled {
            true => {
                let origin = getrandom::u64().map_err(CacheError::Random)?;
                let known = (origin, past.epoch);
                Some(Remote::open(&settings.l2, queue, Arc::clone(&local), disk.clone(), known)?)
            }
            false => None,
        };
        Ok(Arc::new(Self { local, remote, disk }))
    }

    /// The entry of a key, if it is in memory. It waits for nothing, and counts as a hit or a miss of memory.
    pub fn peek(&self, key: &Key) -> Option<Arc<Entry>> {
        let Local { memory, metrics, clock, .. } = &*self.local;
        let found = memory.get(key, clock());
        let counter = if found.is_some() { &metrics.hits } else { &metrics.misses };
        counter.of(Tier::L1).inc();
        found
    }

    /// Whether there is anything below memory, so that [`get`](Self::get) may find what [`peek`](Self::peek) did not.
    pub fn is_layered(&self) -> bool {
        self.remote.is_some() || self.disk.is_some()
    }

    /// The entry of a key from the first tier that has it, and which that was. It is stored in the tiers above.
    ///
    /// It follows upon [`peek`](Self::peek): that nothing is in memory is not counted again. Requires the timer of a tokio runtime where
    /// the cache [is layered](Self::is_layered).
    pub async fn get(&self, key: &Key) -> Option<(Arc<Entry>, Tier)> {
        let local = &self.local;
        if let Some(entry) = local.memory.get(key, (local.clock)()) {
            local.metrics.hits.of(Tier::L1).inc();
            return Some((entry, Tier::L1));
        }
        // Whatever is purged from here on is not stored in memory again.
        let era = self.era();
        if let Some(remote) = &self.remote
            && let Some(entry) = remote.get(key).await
        {
            local.keep(*key, &entry, era);
            return Some((entry, Tier::L2));
        }
        let entry = self.disk.as_ref()?.get(key).await?;
        local.keep(*key, &entry, era);
        if let Some(remote) = &self.remote {
            remote.put(*key, &entry, era);
        }
        Some((entry, Tier::L3))
    }

    /// How many purges came so far: to be taken before a fetch, for [`put_since`](Self::put_since).
    pub fn era(&self) -> Era {
        self.local.bans.era()
    }

    /// Stores an entry that was made just now.
    pub fn put(&self, key: Key, entry: Entry) -> Arc<Entry> {
        self.put_since(key, entry, self.era())
    }

    /// Stores an entry that was fetched since `era`, unless it was purged meanwhile: in memory at once, below it soon. What is too large or
    /// out of date is not stored, nor is what it would replace left in memory.
    pub fn put_since(&self, key: Key, entry: Entry, era: Era) -> Arc<Entry> {
        let entry = Arc::new(entry);
        self.local.keep(key, &entry, era);
        if let Some(remote) = &self.remote {
            remote.put(key, &entry, era);
        }
        if let Some(disk) = &self.disk {
            disk.put(key, &entry, era);
        }
        entry
    }

    /// Removes an entry from memory at once, and from the tiers below soon. Other instances keep what they have in memory and on disk: that
    /// takes a [`purge`](Self::purge).
    pub fn remove(&self, key: &Key) {
        self.local.memory.remove(key);
        if let Some(remote) = &self.remote {
            remote.remove(key);
        }
        if let Some(disk) = &self.disk {
            disk.remove(key);
        }
    }

    /// Throws out what a purge means, here and in every other instance that shares Redis: from the return on, this instance gives none of it
    /// out, wherever it may come back from.
    pub async fn purge(&self, purge: &Purge) -> Purged {
        // First: what comes from Redis while it does not know is not taken.
        let told = self.remote.as_ref().map(|remote| (remote, remote.tell(purge)));
        self.local.ban(purge, PurgeOrigin::Own);
        let mut removed = 0;
        for part in 0..self.local.memory.parts() {
            removed += self.local.sweep(part, purge);
            tokio::task::yield_now().await;
        }
        let reach = |done| if done { Reach::Done } else { Reach::Pending };
        let disk = match &self.disk {
            None => Reach::Off,
            Some(disk) => {
                if *purge == Purge::All {
                    disk.wipe();
                }
                reach(disk.keep_bans(None).await)
            }
        };
        let shared = match told {
            None => Reach::Off,
            Some((remote, told)) => reach(remote.told(told).await),
        };
        Purged { removed, shared, disk }
    }

    /// Comes back once all that was put so far has been written below memory, or given up.
    pub async fn settled(&self) {
        if let Some(remote) = &self.remote {
            remote.settled().await;
        }
        if let Some(disk) = &self.disk {
            disk.settled().await;
        }
    }

    /// What every tier holds and did.
    pub fn stats(&self) -> Stats {
        let metrics = &self.local.metrics;
        let counted = |tier, circuit| TierStats {
            entries: None,
            bytes: None,
            limit: None,
            hits: metrics.hits.of(tier).get(),
            misses: metrics.misses.of(tier).get(),
            evictions: metrics.evictions.of(tier).get(),
            errors: metrics.errors.of(tier).get(),
            circuit,
        };
        let memory = &self.local.memory;
        Stats {
            l1: TierStats {
                entries: Some(memory.entries() as u64),
                bytes: Some(memory.used() as u64),
                limit: Some(memory.limit() as u64),
                ..counted(Tier::L1, Circuit::Closed)
            },
            l2: self.remote.as_ref().map(|remote| {
                let size = remote.size();
                TierStats {
                    entries: size.map(|size| size.keys),
                    bytes: size.map(|size| size.used),
                    limit: size.and_then(|size| size.limit),
                    ..counted(Tier::L2, remote.circuit())
                }
            }),
            l3: self.disk.as_ref().map(|disk| TierStats {
                entries: Some(disk.entries() as u64),
                bytes: Some(disk.used()),
                limit: Some(disk.limit()),
                ..counted(Tier::L3, disk.circuit())
            }),
        }
    }

    /// Whether Redis is used, is connected, and can be trusted to know of every purge.
    pub fn is_shared(&self) -> bool {
        self.remote.as_ref().is_some_and(Remote::is_connected)
    }

    /// Of the entries in memory that are wanted, those with the most hits, the most first.
    pub fn top(&self, count: usize, wanted: impl Fn(&Entry) -> bool) -> Vec<Top> {
        self.local.memory.top(count, wanted)
    }

    /// Writes what waits, and ends the threads of the lower tiers. It blocks. What is put afterwards stays in memory alone.
    pub fn close(&self) {
        // The thread of Redis uses the disk.
        if let Some(remote) = &self.remote {
            remote.close();
        }
        if let Some(disk) = &self.disk {
            disk.close();
        }
    }
}

impl Drop for Tiers {
    fn drop(&mut self) {
        self.close();
    }
}

impl Collect for Tiers {
    fn collect(&self, families: &mut Vec<Family>) {
        fn set(gauge: &outwork_telemetry::Gauge, amount: u64) {
            gauge.set(i64::try_from(amount).unwrap_or(i64::MAX));
        }
        let breaker = |circuit| match circuit {
            Circuit::Closed => 0,
            Circuit::HalfOpen => 1,
            Circuit::Open => 2,
        };
        let Local { memory, metrics, .. } = &*self.local;
        set(metrics.used.of(Tier::L1), memory.used() as u64);
        set(metrics.entries.of(Tier::L1), memory.entries() as u64);
        if let Some(remote) = &self.remote {
            set(metrics.queued.of(Behind::L2), remote.queued() as u64);
            set(&metrics.purges_pending, remote.untold() as u64);
            // What it holds while nobody sees it is not known.
            let size = remote.size().unwrap_or_default();
            set(metrics.used.of(Tier::L2), size.used);
            set(metrics.entries.of(Tier::L2), size.keys);
            set(metrics.breaker.of(Behind::L2), breaker(remote.circuit()));
        }
        if let Some(disk) = &self.disk {
            set(metrics.used.of(Tier::L3), disk.used());
            set(metrics.entries.of(Tier::L3), disk.entries() as u64);
            set(metrics.queued.of(Behind::L3), disk.queued() as u64);
            set(metrics.breaker.of(Behind::L3), breaker(disk.circuit()));
        }
        metrics.collect(families);
    }
}
