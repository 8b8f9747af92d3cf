//! What can go wrong, and what to do about it.

use std::fmt;
use std::io;
use std::path::PathBuf;

use super::Lsn;

/// An error of whoever replays records.
pub type ReplayError = Box<dyn std::error::Error + Send + Sync>;

/// Why a log could not be opened. Nothing on disk has been changed by a failed open, except the tail of what was never
/// acknowledged.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// An option that cannot work.
    #[error("store: {option} is {got}: expected {expected}")]
    Option {
        /// The option's name.
        option: &'static str,
        /// What it was set to.
        got: String,
        /// What it may be.
        expected: &'static str,
    },
    /// Another process has the directory.
    #[error(
        "{path} is locked by process {holder}: another Outwork runs on this data directory; stop it or choose another directory"
    )]
    Locked {
        /// The lock file.
        path: PathBuf,
        /// The process number found in it.
        holder: String,
    },
    /// The operating system refused.
    #[error("cannot {action} {path}: {source}{}", advice(.source))]
    Io {
        /// What was tried.
        action: &'static str,
        /// On what.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// Acknowledged records cannot be read.
    #[error(
        "{0}. Nothing was started and nothing was changed. Restore the directory from a backup, or run `outwork store repair`: \
         it says what it would give up, and with --yes sets the damaged files aside and keeps every record that is still valid"
    )]
    Damaged(Box<Damage>),
    /// A file of a later version of Outwork.
    #[error("{path} has format {version}, this version reads {expected}: run the version of Outwork that wrote it", expected = super::frame::VERSION)]
    Version {
        /// The file.
        path: PathBuf,
        /// The format it has.
        version: u32,
    },
    /// The caller refused a record.
    #[error("record {lsn} cannot be replayed: {source}")]
    Replay {
        /// Which record; for a snapshot, the last record the snapshot covers.
        lsn: Lsn,
        /// What the caller said.
        source: ReplayError,
    },
    /// A thread could not be started.
    #[error("cannot start the {name} thread: {source}")]
    Thread {
        /// Its name.
        name: &'static str,
        /// What the system said.
        source: io::Error,
    },
}

impl OpenError {
    pub(crate) fn io(action: &'static str, path: PathBuf) -> impl FnOnce(io::Error) -> Self {
        move |source| Self::Io { action, path, source }
    }
}

/// What a user can do about an error of the system.
pub(crate) fn advice(error: &io::Error) -> &'static str {
    match error.kind() {
        io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => {
            ": free space on this file system, then start again"
        }
        io::ErrorKind::ReadOnlyFilesystem => ": remount the file system read-write, or set another data directory",
        io::ErrorKind::PermissionDenied => ": give the user Outwork runs as the right to write there",
        _ => "",
    }
}

/// Acknowledged records that cannot be read back.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub struct Damage {
    /// The damaged file, or the one after a missing file.
    pub path: PathBuf,
    /// Where in it the damage starts.
    pub offset: u64,
    /// How many bytes are unreadable there; 0 where they are missing.
    pub bytes: u64,
    /// The lost records, first and last; `None` where they cannot be counted.
    pub lost: Option<(Lsn, Lsn)>,
    /// Whether they are records of the snapshot (then `lost` counts within it).
    pub snapshot: bool,
}

impl fmt::Display for Damage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} is damaged at byte {}", self.path.display(), self.offset)?;
        match self.bytes {
            0 => write!(f, " (what should be there is missing)")?,
            bytes => write!(f, " ({bytes} bytes)")?,
        }
        let kind = if self.snapshot { "snapshot" } else { "acknowledged" };
        match self.lost {
            Some((first, last)) if first == last => write!(f, ": 1 {kind} record ({first}) cannot be read"),
            Some((first, last)) => {
                let count = (last.0 + 1).saturating_sub(first.0);
                write!(f, ": {count} {kind} records ({first} to {last}) cannot be read")
            }
            None => write!(f, ": an unknown number of {kind} records cannot be read"),
        }
    }
}

/// Why a record was not taken.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum AppendError {
    /// Too much waits for the disk already.
    #[error("{pending} bytes wait for the disk, the limit is {limit}: the disk is too slow or failing")]
    Full {
        /// Bytes that wait.
        pending: usize,
        /// The limit, `pending_bytes`.
        limit: usize,
    },
    /// One record or group is larger than a batch may be.
    #[error(
        "{bytes} bytes in {records} records do not fit into one batch of {limit_bytes} bytes and {limit_records} records"
    )]
    TooLarge {
        /// Bytes of the group.
        bytes: usize,
        /// Records of the group.
        records: usize,
        /// The limit, `batch_bytes`.
        limit_bytes: usize,
        /// The limit, `batch_records`.
        limit_records: u32,
    },
    /// The log has been closed.
    #[error("the log is closed")]
    Closed,
}

/// Why a wait for a record ended without it being durable. The record may still become durable later.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum WaitError {
    /// The deadline passed while the disk works.
    #[error("record {0} is not on disk yet: the disk is slow")]
    Deadline(Lsn),
    /// The deadline passed while the disk fails.
    #[error("record {lsn} is not on disk: {failure}")]
    Failing {
        /// The record.
        lsn: Lsn,
        /// What fails.
        failure: super::Failure,
    },
    /// The log was closed before the record reached the disk.
    #[error("record {0} never reached the disk: the log is closed")]
    Closed(Lsn),
}

/// Why a snapshot was not taken. The log is as it was.
#[derive(Debug, thiserror::Error)]
pub enum CompactError {
    /// The operating system refused.
    #[error("cannot {action} {path}: {source}{}", advice(.source))]
    Io {
        /// What was tried.
        action: &'static str,
        /// On what.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// The log was closed meanwhile.
    #[error("the log was closed before the snapshot was complete")]
    Closed,
    /// A source emitted a record that no block can hold.
    #[error("a snapshot record of {0} bytes is larger than 256 MiB")]
    TooLarge(usize),
}

impl CompactError {
    pub(crate) fn io(action: &'static str, path: PathBuf) -> impl FnOnce(io::Error) -> Self {
        move |source| Self::Io { action, path, source }
    }
}
