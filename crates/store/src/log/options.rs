//! What a log can be told.

use std::path::PathBuf;
use std::time::Duration;

use super::error::OpenError;
use super::frame::MAX_PAYLOAD;

outwork_config::choice! {
    /// When a record counts as durable.
    pub enum Durability {
        /// After `fdatasync`: survives a power loss.
        Fsync = "fsync",
        /// After `write`: survives the end of the process, but a power loss may take what the kernel had not written yet.
        Os = "os",
        /// At once: written lazily, the end of the process may take the last moments.
        None = "none",
    }
}

/// How snapshot blocks are stored.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Compression {
    /// As they are.
    None,
    /// Compressed with Zstandard at this level (1 to 22); level 1 gives most of the gain at a small part of the cost.
    Zstd(i32),
}

/// Where a log lives and how it trades latency, throughput and memory.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LogOptions {
    /// Directory of the segments and snapshots; created where missing, locked against a second process.
    pub dir: PathBuf,
    /// When a record counts as durable.
    pub durability: Durability,
    /// A batch is closed at this many records, so one write and sync never carries more.
    pub batch_records: u32,
    /// A batch is closed at this many bytes. Also the largest group that one append takes.
    pub batch_bytes: usize,
    /// How long after one commit what follows may gather before the next begins. A record that comes later than that is committed
    /// at once; with zero, what arrives during one sync shares the next.
    pub batch_delay: Duration,
    /// A segment file is left for the next one at this size; reserved on disk ahead of need.
    pub segment_bytes: u64,
    /// Bytes that may wait in memory while the disk is slow or failing; beyond it appends are refused.
    pub pending_bytes: usize,
    /// A snapshot is taken when the log has grown by this much since the last one.
    pub compact_at_bytes: u64,
    /// How snapshot blocks are stored.
    pub compression: Compression,
}

impl LogOptions {
    /// The defaults, in `dir`.
    pub fn new(dir: impl Into<PathBuf>) -> Self {
        Self {
            dir: dir.into(),
            durability: Durability::Fsync,
            batch_records: 65_536,
            batch_bytes: 4 << 20,
            batch_delay: Duration::from_micros(300),
            segment_bytes: 16 << 20,
            pending_bytes: 64 << 20,
            compact_at_bytes: 256 << 20,
            compression: Compression::Zstd(1),
        }
    }

    /// Refuses what cannot work.
    pub(crate) fn check(&self) -> Result<(), OpenError> {
        let refuse = |option, got: String, expected| Err(OpenError::Option { option, got, expected });
        if self.batch_records == 0 {
            return refuse("batch_records", self.batch_records.to_string(), "at least 1");
        }
        if !(1024..=MAX_PAYLOAD).contains(&self.batch_bytes) {
            return refuse("batch_bytes", self.batch_bytes.to_string(), "1 KiB to 256 MiB");
        }
        if self.batch_delay > Duration::from_secs(1) {
            return refuse("batch_delay", format!("{:?}", self.batch_delay), "at most 1 s");
        }
        if !(64 << 10..=4 << 30).contains(&self.segment_bytes) {
            return refuse("segment_bytes", self.segment_bytes.to_string(), "64 KiB to 4 GiB");
        }
        if self.pending_bytes < self.batch_bytes {
            return refuse("pending_bytes", self.pending_bytes.to_string(), "at least batch_bytes");
        }
        if self.compact_at_bytes < 64 << 10 {
            return refuse("compact_at_bytes", self.compact_at_bytes.to_string(), "at least 64 KiB");
        }
        if let Compression::Zstd(level) = self.compression
            && !(1..=22).contains(&level)
        {
            return refuse("compression level", level.to_string(), "1 to 22");
        }
        Ok(())
    }
}
