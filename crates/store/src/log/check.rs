//! Looking a log's directory over without changing anything in it.

use std::io;
use std::path::{Path, PathBuf};

use super::disk::{Disk, RealDisk};
use super::error::{Damage, OpenError};
use super::frame::{FileHeader, SEGMENT_MAGIC, SNAPSHOT_MAGIC};
use super::recovery::{self, Item, Run, Survey, TornTail};
use super::segment::segment_name;
use super::snapshot::snapshot_name;

/// What is in a log's directory.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct CheckReport {
    /// Records of the snapshot that can be read.
    pub snapshot_records: u64,
    /// Records of the log behind it that can be read.
    pub log_records: u64,
    /// Where acknowledged records cannot be read; empty where the log is sound.
    pub damage: Vec<Damage>,
    /// Records that a repair would give up, as far as they can be counted.
    pub lost: u64,
    /// Whether there may be more: a file's head or end is unreadable.
    pub lost_more: bool,
    /// A tail that was never acknowledged; the next open cuts it off.
    pub torn: Option<TornTail>,
    /// Valid records behind a hole that a power loss left; the next open drops them. Only with a durability weaker than
    /// `Fsync`.
    pub dropped: u64,
    /// Records that an earlier repair gave up.
    pub given_up: u64,
    /// Files of which one of the two copies of the head is damaged, and where that lies. Nothing is lost by it.
    pub copies: Vec<(PathBuf, u64)>,
}

/// Looks over the log in `dir`, which no running log may use.
///
/// # Errors
/// When the directory is not there, is in use, cannot be read, or is of a later version. Damage is no error here.
pub fn check(dir: &Path) -> Result<CheckReport, OpenError> {
    let disk = open_existing(dir)?;
    examine(&disk, &recovery::survey(&disk)?)
}

/// Opens a directory that has to be there.
pub(super) fn open_existing(dir: &Path) -> Result<RealDisk, OpenError> {
    if !dir.is_dir() {
        return Err(OpenError::io("open", dir.to_owned())(io::ErrorKind::NotFound.into()));
    }
    RealDisk::open(dir)
}

fn examine(disk: &dyn Disk, survey: &Survey) -> Result<CheckReport, OpenError> {
    let mut report = CheckReport { damage: survey.damage(disk), ..CheckReport::default() };
    let sound = report.damage.is_empty();
    let mut through = 0;
    if let Some(snapshot) = &survey.snapshot {
        through = snapshot.through;
        report.snapshot_records = snapshot.records;
        let lost = snapshot.faults.iter().filter_map(|fault| fault.lost);
        report.lost = lost.map(|(first, last)| (last + 1).saturating_sub(first)).sum();
        report.lost_more = snapshot.faults.iter().any(|fault| fault.lost.is_none());
    }
    report.copies = damaged_copies(disk, survey)?;
    report.lost_more |= survey.segments.iter().any(|segment| segment.salt.is_none());
    let end = survey.end().0;
    // A sound log ends at its first hole; of a damaged one a repair keeps what lies behind each.
    let (kept, beyond): (Vec<Run>, Vec<Run>) = survey.runs.iter().partition(|run| !sound || run.last <= end);
    report.dropped = beyond.iter().map(|run| run.last - run.first + 1).sum();
    let mut next = through + 1;
    for run in kept.iter().filter(|run| run.last > through) {
        report.lost += run.first.saturating_sub(next);
        let (records, given_up) = (&mut report.log_records, &mut report.given_up);
        recovery::for_each_record(disk, run, survey.salt(run.seq), next, |item| {
            match item {
                Item::Record(..) => *records += 1,
                Item::GivenUp(count) => *given_up += count,
            }
            Ok(())
        })?;
        next = run.last + 1;
    }
    report.lost += (survey.evidence + 1).saturating_sub(next);
    if sound {
        report.torn = survey.torn(disk, &kept);
    }
    Ok(report)
}

/// The copies of heads that are damaged while the other one is whole.
fn damaged_copies(disk: &dyn Disk, survey: &Survey) -> Result<Vec<(PathBuf, u64)>, OpenError> {
    let snapshot = survey.snapshot.iter().filter(|snapshot| snapshot.salt.is_some());
    let segments = survey.segments.iter().filter(|segment| segment.salt.is_some());
    let files = snapshot
        .map(|snapshot| (snapshot_name(snapshot.through), SNAPSHOT_MAGIC))
        .chain(segments.map(|segment| (segment_name(segment.seq), SEGMENT_MAGIC)));
    let mut found = Vec::new();
    for (name, magic) in files {
        let damaged = disk.open(&name).and_then(|file| FileHeader::damaged_copies(&*file, magic));
        let damaged = damaged.map_err(OpenError::io("read", disk.path(&name)))?;
        found.extend(damaged.into_iter().map(|offset| (disk.path(&name), offset)));
    }
    Ok(found)
}
