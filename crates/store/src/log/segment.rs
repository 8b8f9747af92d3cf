//! The files a log consists of, and how a segment comes to be.

use std::fmt;
use std::io;
use std::path::PathBuf;

use super::compaction::Snapshot;
use super::disk::{Disk, DiskFile};
use super::frame::{FRAMES_START, FileHeader, SEGMENT_MAGIC};

/// Name of a segment file.
pub(crate) fn segment_name(seq: u64) -> String {
    format!("log-{seq:016}.seg")
}

/// Suffix of files under construction; recovery removes them.
pub(crate) const TEMPORARY: &str = ".tmp";

/// An error of the system, and what it was about.
#[derive(Debug)]
pub(crate) struct Fault {
    pub(crate) action: &'static str,
    pub(crate) path: PathBuf,
    pub(crate) error: io::Error,
}

/// A segment file that recovery would read.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Segment {
    pub(crate) seq: u64,
    /// The last record in it that counts.
    pub(crate) last: u64,
    pub(crate) bytes: u64,
}

/// The files the log consists of.
#[derive(Debug, Default)]
pub(crate) struct Files {
    pub(crate) segments: Vec<Segment>,
    /// A segment made ready ahead of need.
    pub(crate) spare: Option<OpenSegment>,
    pub(crate) snapshot: Option<Snapshot>,
}

/// A segment that can be written to.
pub(crate) struct OpenSegment {
    pub(crate) file: Box<dyn DiskFile>,
    pub(crate) seq: u64,
    pub(crate) salt: u64,
    pub(crate) position: u64,
}

impl fmt::Debug for OpenSegment {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("OpenSegment").field("seq", &self.seq).field("position", &self.position).finish_non_exhaustive()
    }
}

/// Makes a segment ready for use: reserved, headed, synced and named.
pub(crate) fn create_segment(disk: &dyn Disk, allocate: u64, seq: u64, synced: u64) -> Result<OpenSegment, Fault> {
    let name = segment_name(seq);
    let temporary = format!("{name}{TEMPORARY}");
    let create = || {
        let file = disk.create(&temporary, allocate)?;
        let salt = disk.salt()?;
        FileHeader { magic: SEGMENT_MAGIC, number: seq, synced, salt }.write(&*file)?;
        // Under its final name only once it is whole: an unreadable head under that name is always damage.
        file.sync()?;
        disk.rename(&temporary, &name)?;
        disk.sync_dir()?;
        Ok(OpenSegment { file, seq, salt, position: FRAMES_START })
    };
    create().map_err(|error| {
        for leftover in [&temporary, &name] {
            // Whichever of the two exists; what stays, recovery removes.
            let _ = disk.remove(leftover);
        }
        Fault { action: "create", path: disk.path(&name), error }
    })
}
