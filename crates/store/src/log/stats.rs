//! What a log tells about itself: commits, counters, sizes, health.

use std::fmt;
use std::path::PathBuf;
use std::sync::atomic::AtomicU64;
use std::time::{Duration, SystemTime};

use super::Lsn;
use super::compaction::Snapshot;

/// One commit, as observers see it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Commit {
    /// Every record up to this one is durable.
    pub durable: Lsn,
    /// Records in this commit.
    pub records: u32,
    /// Bytes written for it.
    pub bytes: usize,
    /// How long write and sync took.
    pub elapsed: Duration,
}

/// What fails, since when, and what waits for it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Failure {
    /// What the system said last.
    pub error: String,
    /// When the first attempt failed.
    pub since: SystemTime,
    /// The file of the last attempt.
    pub path: PathBuf,
    /// Attempts so far.
    pub attempts: u64,
    /// Bytes that wait in memory.
    pub pending_bytes: usize,
    /// Records that wait in memory.
    pub pending_records: u64,
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { error, path, attempts, pending_bytes, pending_records, .. } = self;
        let path = path.display();
        write!(
            f,
            "cannot write {path}: {error} ({attempts} attempts; {pending_records} records, {pending_bytes} bytes wait)"
        )
    }
}

/// Whether the disk takes what it is given.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Health {
    /// It does.
    Ok,
    /// It does not: nothing appended since is durable. Retried until it works.
    Failed(Failure),
}

/// Counters since the log was opened, and sizes now.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Stats {
    /// Batches committed.
    pub batches: u64,
    /// Records committed.
    pub records: u64,
    /// Bytes written for them.
    pub bytes: u64,
    /// Syncs of segments.
    pub syncs: u64,
    /// Failed attempts to commit.
    pub failures: u64,
    /// Appends refused because too much waited.
    pub refused: u64,
    /// Time spent in write and sync.
    pub commit_time: Duration,
    /// The longest commit.
    pub commit_time_max: Duration,
    /// Bytes that wait for the disk.
    pub pending_bytes: usize,
    /// Memory of the buffers that records wait in, and of those kept for the next.
    pub buffer_bytes: usize,
    /// Segment files.
    pub segments: usize,
    /// Bytes in segments.
    pub log_bytes: u64,
    /// The newest snapshot.
    pub snapshot: Option<Snapshot>,
    /// Snapshots taken.
    pub compactions: u64,
    /// Snapshots that failed.
    pub compaction_failures: u64,
    /// Why the last snapshot failed, until one succeeds.
    pub compaction_error: Option<String>,
}

#[derive(Debug, Default)]
pub(crate) struct Counters {
    pub(crate) batches: AtomicU64,
    pub(crate) records: AtomicU64,
    pub(crate) bytes: AtomicU64,
    pub(crate) syncs: AtomicU64,
    pub(crate) failures: AtomicU64,
    pub(crate) refused: AtomicU64,
    pub(crate) nanos: AtomicU64,
    pub(crate) nanos_max: AtomicU64,
    pub(crate) compactions: AtomicU64,
    pub(crate) compaction_failures: AtomicU64,
}
