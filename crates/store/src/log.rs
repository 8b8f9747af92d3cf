//! The append log with group commit: what was acknowledged is there after any crash.
//!
//! * `options`    what a log can be told
//! * `error`      what can go wrong, and what to do about it
//! * `batch`      what waits for the disk, under the append lock
//! * `commit`     the commit thread: one write and one `fdatasync` for everything that waits; failure and retry
//! * `stats`      what a log tells about itself
//! * `segment`    the files it consists of
//! * `frame`      the bytes of segments and snapshots
//! * `snapshot`   writing and reading a snapshot file
//! * `compaction` the fuzzy snapshot taken beside running appends, and what it lets go of
//! * `recovery`   what is on disk after a crash, what of it counts, and replay
//! * `check`      looking a directory over without changing it
//! * `repair`     keeping all that is valid of a damaged directory
//! * `disk`       the seam to the file system
//!
//! # Crash semantics
//! With [`Durability::Fsync`] a frame is written only after the `fdatasync` of the frame before it returned, and every
//! frame, segment header and snapshot carries the last record known to be on stable storage when it was written. From
//! that evidence recovery knows what had been acknowledged, whatever else is broken:
//! * An invalid frame that no evidence reaches is a torn tail: it was never acknowledged. It is cut off and reported.
//! * An invalid or missing frame that evidence reaches is damage: [`OpenError::Damaged`], and nothing is replayed.
//! * The last frame before a crash has no evidence behind it yet; damage to just that frame looks like a torn tail. A clean
//!   close leaves a mark that covers it.
//!
//! With [`Durability::Os`] and [`Durability::None`] the kernel may write frames in any order, so a power loss may leave
//! holes. Recovery then keeps the longest run of records without a hole - a state the log really went through - and reports
//! what lay behind the hole as `dropped`. Evidence comes from snapshots, opens and clean closes: what they cover is held to
//! the same standard as with `Fsync`.
//!
//! After a failed write or sync nothing of that batch counts, and the file it went to is left: the kernel may have dropped
//! the pages and marked them clean. The batch stays in memory and goes to a new segment until that works. Where segments
//! overlap, the later one wins, record by record; the contents are the same unless a recovery had cut the earlier one.
//! What recovery reads and no evidence covers is written again in place and synced before anything is built on it, because
//! it may have been only in the page cache.

mod batch;
mod check;
mod commit;
mod compaction;
mod disk;
mod error;
mod frame;
mod options;
mod recovery;
mod repair;
mod segment;
mod snapshot;
mod stats;

#[cfg(test)]
mod bit_rot;
#[cfg(test)]
mod fault_disk;
#[cfg(test)]
mod simulation;
#[cfg(test)]
mod tests;

use std::fmt;
use std::sync::atomic::Ordering;
use std::sync::{Arc, Weak};
use std::thread::JoinHandle;
use std::time::Instant;

use parking_lot::Mutex;

pub use check::{CheckReport, check};
pub use compaction::{Cursor, Slice, Snapshot, Source};
pub(crate) use error::advice;
pub use error::{AppendError, CompactError, Damage, OpenError, ReplayError, WaitError};
pub use options::{Compression, Durability, LogOptions};
pub use recovery::{Recovery, TornTail};
pub use repair::{RepairReport, repair};
pub use stats::{Commit, Failure, Health, Stats};

use commit::Core;
use disk::{Disk, RealDisk};

/// Log sequence number: the first record ever appended is 1; 0 stands before it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct Lsn(pub u64);

impl fmt::Display for Lsn {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// An open log. Dropping it closes it.
///
/// ```
/// # use std::time::{Duration, Instant};
/// use outwork_store::log::{Log, LogOptions};
///
/// # let dir = tempfile::tempdir().unwrap();
/// let options = LogOptions::new(dir.path().join("leases"));
/// let (log, recovery) = Log::open(options.clone(), &mut |_record| Ok(())).unwrap();
/// log.on_commit(Box::new(|commit| println!("{} is durable", commit.durable)));
/// let lsn = log.append(b"192.0.2.1 belongs to 02:00:5e:00:53:01").unwrap();
/// log.wait(lsn, Instant::now() + Duration::from_secs(5)).unwrap();
/// drop(log);
///
/// let mut leases = Vec::new();
/// let (_log, recovery) = Log::open(options, &mut |record| {
///     leases.push(record.to_vec());
///     Ok(())
/// })
/// .unwrap();
/// assert_eq!((recovery.last, leases.len()), (lsn, 1));
/// ```
pub struct Log {
    core: Arc<Core>,
    threads: Mutex<Vec<JoinHandle<()>>>,
}

/// Without its threads the log would take records that are never written: a panic in one of them ends the process, and what was
/// acknowledged is on disk.
struct Vital(&'static str);

impl Drop for Vital {
    fn drop(&mut self) {
        if std::thread::panicking() {
            tracing::error!(thread = self.0, "a thread of the log has panicked: the process ends");
            std::process::abort();
        }
    }
}

impl Log {
    /// Opens the log in `options.dir`: verifies everything, then gives `replay` the records of the newest snapshot and
    /// those of the log behind it, in order. Nothing is replayed where acknowledged records cannot be read.
    pub fn open(
        options: LogOptions,
        replay: &mut dyn FnMut(&[u8]) -> Result<(), ReplayError>,
    ) -> Result<(Self, Recovery), OpenError> {
        options.check()?;
        let disk = RealDisk::open(&options.dir)?;
        Self::open_on(Arc::new(disk), options, replay)
    }

    pub(crate) fn open_on(
        disk: Arc<dyn Disk>,
        options: LogOptions,
        replay: &mut dyn FnMut(&[u8]) -> Result<(), ReplayError>,
    ) -> Result<(Self, Recovery), OpenError> {
        let (core, writer, recovery) = Core::open(disk, options, replay)?;
        let log = Self { core: Arc::new(core), threads: Mutex::new(Vec::new()) };
        log.spawn("store-commit", move |core| commit::run(&core, writer))?;
        log.spawn("store-upkeep", |core| compaction::run(&core))?;
        Ok((log, recovery))
    }

    fn spawn(&self, name: &'static str, body: impl FnOnce(Arc<Core>) + Send + 'static) -> Result<(), OpenError> {
        let core = Arc::clone(&self.core);
        let thread = std::thread::Builder::new()
            .name(name.to_owned())
            .spawn(move || {
                let _vital = Vital(name);
                body(core);
            })
            .map_err(|source| OpenError::Thread { name, source })?;
        self.threads.lock().push(thread);
        Ok(())
    }

    /// Appends one record. Copies it under a short lock and returns: the record is durable once [`Log::durable`] reaches
    /// the number returned. Records are replayed in the order of these numbers.
    pub fn append(&self, record: &[u8]) -> Result<Lsn, AppendError> {
        self.core.append(std::iter::once(record))
    }

    /// Appends records that belong together under one lock: after a crash all of them are there, or none. Returns the
    /// number of the last one. `records` is walked twice.
    pub fn append_all<'a, I>(&self, records: I) -> Result<Lsn, AppendError>
    where
        I: IntoIterator<Item = &'a [u8]>,
        I::IntoIter: Clone,
    {
        self.core.append(records.into_iter())
    }

    /// The last record that counts as durable, and all before it.
    pub fn durable(&self) -> Lsn {
        Lsn(self.core.durable.load(Ordering::Acquire))
    }

    /// The last record appended.
    pub fn last(&self) -> Lsn {
        Lsn(self.core.queue.lock().last())
    }

    /// Calls `observer` on the commit thread after every commit, once the records in it count as durable. It must be quick.
    pub fn on_commit(&self, observer: Box<dyn Fn(&Commit) + Send + Sync>) {
        self.core.observers.write().push(observer);
    }

    /// Blocks until the record is durable or the deadline has passed.
    pub fn wait(&self, lsn: Lsn, deadline: Instant) -> Result<(), WaitError> {
        self.core.wait(lsn, deadline)
    }

    /// Whether the disk takes what it is given.
    pub fn health(&self) -> Health {
        self.core.health()
    }

    /// Counters and sizes since the log was opened.
    pub fn stats(&self) -> Stats {
        self.core.stats()
    }

    /// Lets the log take snapshots of `source` by itself whenever it has grown by `compact_at_bytes`. Weak, so that a
    /// source may own the log.
    pub fn set_source(&self, source: Weak<dyn Source>) {
        self.core.set_source(source);
    }

    /// Takes a snapshot now and deletes what it replaces. Appends go on meanwhile; a second call waits for the first.
    pub fn compact(&self, source: &dyn Source) -> Result<Snapshot, CompactError> {
        self.core.compact(source)
    }

    /// Writes and syncs what waits, ends the threads and lets another process have the directory; later appends are refused. Says what could not be
    /// written.
    pub fn close(&self) -> Result<(), Failure> {
        self.core.begin_close();
        let (own, mut is_own) = (std::thread::current().id(), false);
        for thread in std::mem::take(&mut *self.threads.lock()) {
            // The last owner may be an observer or a source, on one of these very threads: it ends by itself.
            if thread.thread().id() == own {
                is_own = true;
            } else if thread.join().is_err() {
                tracing::error!("a store thread has panicked");
            }
        }
        self.core.discard_spare();
        if !is_own {
            self.core.release();
        }
        match self.core.health() {
            Health::Ok => Ok(()),
            Health::Failed(failure) => Err(failure),
        }
    }
}

impl Drop for Log {
    fn drop(&mut self) {
        if let Err(failure) = self.close() {
            tracing::error!(%failure, "the log was closed with records that never reached the disk");
        }
    }
}

impl fmt::Debug for Log {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Log").field("durable", &self.durable()).finish_non_exhaustive()
    }
}
