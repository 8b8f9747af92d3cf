//! The fuzzy snapshot: the whole state of the source, walked in slices while appends go on, and the segments it replaces.
//!
//! # Contract of a source
//! 1. A change of the state and the append of its record happen under one lock of the source, and `slice` takes that lock.
//! 2. A record is absolute: it sets or deletes one key, whatever was there. Replaying records over a later state
//!    therefore converges to the state after the last of them.
//! 3. A key that exists during the whole walk is emitted at least once.
//!
//! # Why it is right
//! The walk starts by noting record s, the last one appended, and ends by noting e. By (1) the image holds every effect up
//! to s, and possibly some up to e. Replaying s+1..=n over it converges by (2) to the state after n - provided n >= e, or
//! the image would mix moments: a lease that moved during the walk could appear twice. So the snapshot gets its name only
//! once e is on stable storage, and it records e: recovery refuses a log that ends before. Only once that name is on
//! stable storage are older snapshots and the segments wholly up to s deleted. A crash anywhere leaves either the old
//! snapshot with all its segments, or the new one.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{OnceLock, Weak};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use parking_lot::{Condvar, Mutex};

use super::Lsn;
use super::commit::Core;
use super::error::CompactError;
use super::frame::{FRAME_HEADER, MAX_PAYLOAD, push_record};
use super::options::{Durability, LogOptions};
use super::segment::{Fault, Files, TEMPORARY, segment_name};
use super::snapshot::{SnapshotWriter, snapshot_name};

/// Segment files that may pile up, whatever their size, before a snapshot is taken.
const MAX_SEGMENTS: usize = 128;
/// Pause after a snapshot that failed.
const RETRY: Duration = Duration::from_secs(30);

/// Where a walk over the source stands; what the number means is the source's own affair.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Cursor(pub u64);

/// Whoever owns the state that the log's records describe. See the module's contract.
pub trait Source: Send + Sync {
    /// Emits the records that recreate the next part of the state, from `cursor` on (the walk starts at `Cursor(0)`), and
    /// says where to go on; `None` at the end. About a thousand entries at a time keep the source's lock short.
    fn slice(&self, cursor: Cursor, out: &mut Slice<'_>) -> Option<Cursor>;
}

/// Takes the records of one slice. In memory only: a source may hold its lock while it fills it.
#[derive(Debug)]
pub struct Slice<'a> {
    block: &'a mut Vec<u8>,
    records: &'a mut u32,
}

impl Slice<'_> {
    /// Emits one record.
    pub fn push(&mut self, record: &[u8]) {
        push_record(self.block, record);
        *self.records += 1;
    }
}

/// A snapshot on disk.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Snapshot {
    /// It replaces every record up to this one.
    pub through: Lsn,
    /// Records in it.
    pub records: u64,
    /// Size of the file.
    pub bytes: u64,
    /// When it was complete.
    pub taken: SystemTime,
}

/// A walk under way.
pub(crate) struct Compaction {
    through: u64,
    cursor: Cursor,
    writer: SnapshotWriter,
}

/// A snapshot that is written but has no name yet.
pub(crate) struct Written {
    pub(crate) snapshot: Snapshot,
    /// The record that must be on stable storage first.
    pub(crate) end: u64,
}

impl Compaction {
    /// Notes s and creates the file. `None` where the newest snapshot covers everything already.
    pub(crate) fn begin(core: &Core) -> Result<Option<Self>, CompactError> {
        let through = core.queue.lock().rotate();
        if core.files.lock().snapshot.is_some_and(|snapshot| snapshot.through.0 == through) {
            return Ok(None);
        }
        let name = temporary(through);
        let create = || {
            let file = core.disk.create(&name, 0)?;
            SnapshotWriter::new(file, core.disk.salt()?, through, core.options.compression)
        };
        let writer = create().map_err(CompactError::io("create", core.disk.path(&name)))?;
        Ok(Some(Self { through, cursor: Cursor(0), writer }))
    }

    /// Walks one slice; false at the end.
    pub(crate) fn step(&mut self, core: &Core, source: &dyn Source) -> Result<bool, CompactError> {
        let mut slice = Slice { block: &mut self.writer.block, records: &mut self.writer.in_block };
        let next = source.slice(self.cursor, &mut slice);
        let size = self.writer.block.len() - FRAME_HEADER;
        if size > MAX_PAYLOAD {
            return Err(CompactError::TooLarge(size));
        }
        self.writer.write_full_block().map_err(CompactError::io("write", core.disk.path(&temporary(self.through))))?;
        match next {
            Some(cursor) => self.cursor = cursor,
            None => return Ok(false),
        }
        Ok(true)
    }

    /// Notes e, completes the file and syncs it.
    pub(crate) fn finish(self, core: &Core, now: SystemTime) -> Result<Written, CompactError> {
        let end = core.queue.lock().last();
        let taken = now.duration_since(UNIX_EPOCH).unwrap_or_default();
        let millis = u64::try_from(taken.as_millis()).unwrap_or(u64::MAX);
        let path = core.disk.path(&temporary(self.through));
        let through = Lsn(self.through);
        let (records, bytes) = self.writer.finish(end, millis).map_err(CompactError::io("write", path))?;
        Ok(Written { snapshot: Snapshot { through, records, bytes, taken: now }, end })
    }
}

impl Written {
    /// Gives the snapshot its name and deletes what it replaces. `end` is durable by now.
    pub(crate) fn publish(self, core: &Core) -> Result<Snapshot, CompactError> {
        let through = self.snapshot.through.0;
        if core.options.durability != Durability::Fsync {
            core.sync_after(through).map_err(CompactError::from)?;
        }
        let name = snapshot_name(through);
        core.disk
            .rename(&temporary(through), &name)
            .and_then(|()| core.disk.sync_dir())
            .map_err(CompactError::io("name", core.disk.path(&name)))?;
        core.synced.fetch_max(self.end, Ordering::AcqRel);
        // What may be lost lies in segments from before the walk, which the snapshot replaces.
        core.sync_failed.store(false, Ordering::Release);
        let replaced = core.files.lock().replace(self.snapshot);
        for name in replaced {
            if let Err(error) = core.disk.remove(&name) {
                tracing::warn!(name, %error, "a replaced file stays until the next start");
            }
        }
        core.disk.sync_dir().map_err(CompactError::io("sync", core.disk.path("")))?;
        core.counters.compactions.fetch_add(1, Ordering::Relaxed);
        Ok(self.snapshot)
    }
}

impl Files {
    /// Records the new snapshot and forgets what it replaces; returns the names, oldest first.
    fn replace(&mut self, snapshot: Snapshot) -> Vec<String> {
        let through = snapshot.through;
        let older = self.snapshot.replace(snapshot).filter(|older| older.through != through);
        let current = self.segments.last().map(|segment| segment.seq);
        let mut names: Vec<String> = older.map(|older| snapshot_name(older.through.0)).into_iter().collect();
        self.segments.retain(|segment| {
            let keep = segment.last > through.0 || Some(segment.seq) == current;
            if !keep {
                names.push(segment_name(segment.seq));
            }
            keep
        });
        names
    }
}

impl From<Fault> for CompactError {
    fn from(fault: Fault) -> Self {
        Self::Io { action: fault.action, path: fault.path, source: fault.error }
    }
}

fn temporary(through: u64) -> String {
    snapshot_name(through) + TEMPORARY
}

impl Core {
    pub(crate) fn set_source(&self, source: Weak<dyn Source>) {
        if self.upkeep.source.set(source).is_err() {
            tracing::error!("a log has one source: the second one is ignored");
        }
        drop(self.upkeep.state.lock());
        self.upkeep.wake.notify_all();
    }

    pub(crate) fn compact(&self, source: &dyn Source) -> Result<Snapshot, CompactError> {
        let _one_at_a_time = self.upkeep.running.lock();
        let grown = self.upkeep.grown.swap(0, Ordering::Relaxed);
        let result = self.compact_once(source);
        match &result {
            Ok(_) => self.upkeep.state.lock().error = None,
            Err(error) => {
                self.upkeep.grown.fetch_add(grown, Ordering::Relaxed);
                self.counters.compaction_failures.fetch_add(1, Ordering::Relaxed);
                self.upkeep.state.lock().error = Some(error.to_string());
            }
        }
        result
    }

    /// Lets another process have the directory, once nobody takes a snapshot any longer.
    pub(crate) fn release(&self) {
        let _no_other = self.upkeep.running.lock();
        self.disk.release();
    }

    /// Makes the next segment ready, so that rotation costs nothing and a full disk is noticed early.
    pub(crate) fn prepare_spare(&self) {
        match self.create_segment() {
            Ok(segment) => self.files.lock().spare = Some(segment),
            Err(fault) => {
                let path = fault.path.display();
                tracing::warn!(%path, error = %fault.error, "the next segment cannot be reserved: the disk is full or failing");
            }
        }
    }

    fn compact_once(&self, source: &dyn Source) -> Result<Snapshot, CompactError> {
        let Some(mut compaction) = Compaction::begin(self)? else {
            return self.files.lock().snapshot.ok_or(CompactError::Closed);
        };
        let name = temporary(compaction.through);
        let mut write = || {
            while compaction.step(self, source)? {
                if self.upkeep.closing.load(Ordering::Relaxed) {
                    return Err(CompactError::Closed);
                }
            }
            Ok(())
        };
        let outcome = write().and_then(|()| {
            let written = compaction.finish(self, SystemTime::now())?;
            self.wait_committed(Lsn(written.end)).map_err(|_| CompactError::Closed)?;
            written.publish(self)
        });
        if outcome.is_err() {
            // Gone already where only the naming failed; what stays, recovery removes.
            let _ = self.disk.remove(&name);
        }
        outcome
    }
}

/// What the upkeep thread is told.
#[derive(Default)]
pub(crate) struct Upkeep {
    state: Mutex<State>,
    wake: Condvar,
    running: Mutex<()>,
    /// Bytes the log has grown by since the last snapshot.
    pub(crate) grown: AtomicU64,
    closing: AtomicBool,
    source: OnceLock<Weak<dyn Source>>,
}

#[derive(Default)]
struct State {
    want_spare: bool,
    closing: bool,
    retry: Option<Instant>,
    error: Option<String>,
}

impl Upkeep {
    pub(crate) fn want_spare(&self) {
        self.state.lock().want_spare = true;
        self.wake.notify_all();
    }

    pub(crate) fn grown(&self, bytes: u64, options: &LogOptions) {
        let before = self.grown.fetch_add(bytes, Ordering::Relaxed);
        if before < options.compact_at_bytes && before + bytes >= options.compact_at_bytes {
            drop(self.state.lock());
            self.wake.notify_all();
        }
    }

    pub(crate) fn close(&self) {
        self.closing.store(true, Ordering::Relaxed);
        self.state.lock().closing = true;
        self.wake.notify_all();
    }

    pub(crate) fn error(&self) -> Option<String> {
        self.state.lock().error.clone()
    }
}

/// The upkeep thread: keeps a segment ready, and takes snapshots as the log grows.
pub(crate) fn run(core: &Core) {
    core.prepare_spare();
    loop {
        match next_task(core) {
            Task::Close => break,
            Task::Spare => core.prepare_spare(),
            Task::Compact => {
                let Some(source) = core.upkeep.source.get().and_then(Weak::upgrade) else { continue };
                let failed = core.compact(&*source).map_err(|error| {
                    tracing::warn!(%error, retry_in = ?RETRY, "no snapshot taken; the log stays as it is");
                });
                core.upkeep.state.lock().retry = failed.err().map(|()| Instant::now() + RETRY);
            }
        }
    }
}

enum Task {
    Close,
    Spare,
    Compact,
}

/// Sleeps until there is something to do.
fn next_task(core: &Core) -> Task {
    let upkeep = &core.upkeep;
    let mut state = upkeep.state.lock();
    loop {
        if state.closing {
            return Task::Close;
        }
        if std::mem::take(&mut state.want_spare) {
            return Task::Spare;
        }
        // Only looked at, not upgraded: the last owner of a source may own the log, and must not drop it under this lock.
        let due = upkeep.source.get().is_some_and(|source| source.strong_count() > 0) && is_due(core);
        match state.retry {
            Some(retry) if due && retry > Instant::now() => {
                upkeep.wake.wait_until(&mut state, retry);
            }
            _ if due => return Task::Compact,
            _ => upkeep.wake.wait(&mut state),
        }
    }
}

fn is_due(core: &Core) -> bool {
    let grown = core.upkeep.grown.load(Ordering::Relaxed) >= core.options.compact_at_bytes;
    grown || core.files.lock().segments.len() > MAX_SEGMENTS
}
