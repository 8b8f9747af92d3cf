//! Keeping all that is valid of a damaged directory. The originals are set aside first, and a crash in between leaves
//! either the damaged log or the repaired one.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::time::{SystemTime, UNIX_EPOCH};

use super::check::open_existing;
use super::disk::{Disk, DiskFile};
use super::error::OpenError;
use super::frame::{FRAME_HEADER, FRAMES_START, FileHeader, SEGMENT_MAGIC, push_record, seal_frame};
use super::options::Compression;
use super::recovery::{self, Item, Survey, SurveyedSnapshot};
use super::segment::{TEMPORARY, segment_name};
use super::snapshot::{SnapshotWriter, read_snapshot, snapshot_name};
use crate::file::{create_private, create_private_dir};

/// Payload gathered for a frame of a repaired segment.
const FRAME: usize = 1 << 20;
/// Size at which a repaired log goes on in a second segment.
const SEGMENT: u64 = 1 << 30;

/// What a repair did.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct RepairReport {
    /// Where the original files are; `None` where nothing was damaged and nothing was done.
    pub set_aside: Option<PathBuf>,
    /// Records of the snapshot that were kept.
    pub snapshot_records: u64,
    /// Records of the log that were kept.
    pub log_records: u64,
    /// Records that are lost, as far as they can be counted.
    pub lost: u64,
    /// Whether there may be more: a file's head or end was unreadable.
    pub lost_more: bool,
}

/// Repairs the log in `dir`, which no running log may use. Leaves an undamaged one as it is.
pub fn repair(dir: &Path) -> Result<RepairReport, OpenError> {
    let disk = open_existing(dir)?;
    let survey = recovery::survey(&disk)?;
    match recovery::judge(&disk, &survey) {
        Ok(_) => return Ok(RepairReport::default()),
        Err(OpenError::Damaged(_)) => {}
        Err(error) => return Err(error),
    }
    let mut report = RepairReport { set_aside: Some(set_aside(&disk, dir, &survey)?), ..RepairReport::default() };
    let mut named = Vec::new();
    if let Some(snapshot) = survey.snapshot.as_ref().filter(|snapshot| !snapshot.faults.is_empty()) {
        named.push(rewrite_snapshot(&disk, snapshot, &mut report)?);
    } else if let Some(end) = survey.snapshot.as_ref().and_then(|snapshot| snapshot.end) {
        report.snapshot_records = end.records;
    }
    named.extend(rewrite_log(&disk, &survey, &mut report)?);
    // The last segment first: as long as the one before it has no name, the damage shows and a repair starts over.
    for name in named.iter().rev() {
        let temporary = format!("{name}{TEMPORARY}");
        disk.rename(&temporary, name).map_err(OpenError::io("name", disk.path(name)))?;
    }
    disk.sync_dir().map_err(OpenError::io("sync", dir.to_owned()))?;
    for segment in &survey.segments {
        let name = segment_name(segment.seq);
        disk.remove(&name).map_err(OpenError::io("remove", disk.path(&name)))?;
    }
    disk.sync_dir().map_err(OpenError::io("sync", dir.to_owned()))?;
    Ok(report)
}

/// Gives every file a second name in a directory of its own; copies it where the file system has no hard links.
fn set_aside(disk: &dyn Disk, dir: &Path, survey: &Survey) -> Result<PathBuf, OpenError> {
    let mut number = 1;
    let aside = loop {
        let aside = dir.join(format!("damaged-{number}"));
        match create_private_dir(&aside) {
            Ok(()) => break aside,
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => number += 1,
            Err(error) => return Err(OpenError::io("create", aside)(error)),
        }
    };
    let snapshot = survey.snapshot.iter().map(|snapshot| snapshot_name(snapshot.through));
    for name in snapshot.chain(survey.segments.iter().map(|segment| segment_name(segment.seq))) {
        let (from, to) = (disk.path(&name), aside.join(&name));
        fs::hard_link(&from, &to)
            .or_else(|_| {
                let mut copy = create_private(&to)?;
                io::copy(&mut fs::File::open(&from)?, &mut copy)?;
                copy.sync_all()
            })
            .map_err(OpenError::io("set aside", from))?;
    }
    fs::File::open(&aside).and_then(|aside| aside.sync_all()).map_err(OpenError::io("sync", aside.clone()))?;
    Ok(aside)
}

fn rewrite_snapshot(
    disk: &dyn Disk,
    snapshot: &SurveyedSnapshot,
    report: &mut RepairReport,
) -> Result<String, OpenError> {
    let name = snapshot_name(snapshot.through);
    let temporary = format!("{name}{TEMPORARY}");
    for fault in &snapshot.faults {
        match fault.lost {
            Some((first, last)) => report.lost += (last + 1).saturating_sub(first),
            None => report.lost_more = true,
        }
    }
    let rewrite = || {
        let file = disk.create(&temporary, 0)?;
        let mut writer = SnapshotWriter::new(file, disk.salt()?, snapshot.through, Compression::Zstd(1))?;
        if let Some(salt) = snapshot.salt {
            let read = read_snapshot(&*disk.open(&name)?, salt, |payload, records| {
                writer.block.extend_from_slice(payload);
                writer.in_block += records;
                writer.write_full_block()
            });
            read?.map(drop)?;
        }
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        let (end, taken) = match snapshot.end {
            Some(end) => (end.end, end.taken),
            None => (snapshot.through, u64::try_from(now.as_millis()).unwrap_or(u64::MAX)),
        };
        writer.finish(end, taken)
    };
    let (records, _) = rewrite().map_err(OpenError::io("write", disk.path(&temporary)))?;
    report.snapshot_records = records;
    Ok(name)
}

/// Writes all valid records to new segments, with marks for those given up. Returns the names they are to have.
fn rewrite_log(disk: &dyn Disk, survey: &Survey, report: &mut RepairReport) -> Result<Vec<String>, OpenError> {
    let through = survey.snapshot.as_ref().map_or(0, |snapshot| snapshot.through);
    let last = survey.runs.last().map_or(0, |run| run.last).max(survey.evidence).max(through);
    report.lost_more |= survey.segments.iter().any(|segment| segment.salt.is_none());
    let next_seq = survey.segments.last().map_or(1, |segment| segment.seq + 1);
    let mut out = Rewriter { disk, seq: next_seq, synced: last, next: through + 1, file: None, names: Vec::new() };
    let mut frame = Pending { buffer: vec![0; FRAME_HEADER], records: 0 };
    for run in &survey.runs {
        if run.last < out.next {
            continue;
        }
        report.lost += out.give_up(run.first)?;
        let from = out.next;
        recovery::for_each_record(disk, run, survey.salt(run.seq), from, |item| match item {
            Item::Record(_, record) => {
                report.log_records += 1;
                push_record(&mut frame.buffer, record);
                frame.records += 1;
                if frame.buffer.len() >= FRAME { out.put(&mut frame) } else { Ok(()) }
            }
            Item::GivenUp(count) => {
                out.put(&mut frame)?;
                out.give_up(out.next + count).map(drop)
            }
        })?;
        out.put(&mut frame)?;
    }
    report.lost += out.give_up(last + 1)?;
    out.close()
}

/// A frame under construction.
struct Pending {
    buffer: Vec<u8>,
    records: u32,
}

struct Rewriter<'d> {
    disk: &'d dyn Disk,
    seq: u64,
    synced: u64,
    next: u64,
    file: Option<(Box<dyn DiskFile>, u64, u64)>,
    names: Vec<String>,
}

impl Rewriter<'_> {
    fn put(&mut self, frame: &mut Pending) -> Result<(), OpenError> {
        if frame.records == 0 {
            return Ok(());
        }
        self.write(&mut frame.buffer, frame.records)?;
        frame.buffer.clear();
        frame.buffer.resize(FRAME_HEADER, 0);
        frame.records = 0;
        Ok(())
    }

    /// Marks what is missing before record `upto` as given up; returns how many.
    fn give_up(&mut self, upto: u64) -> Result<u64, OpenError> {
        let missing = upto.saturating_sub(self.next);
        while self.next < upto {
            let records = u32::try_from(upto - self.next).unwrap_or(u32::MAX);
            self.write(&mut vec![0; FRAME_HEADER], records)?;
        }
        Ok(missing)
    }

    fn write(&mut self, buffer: &mut Vec<u8>, records: u32) -> Result<(), OpenError> {
        let path = self.disk.path(&segment_name(self.seq));
        self.try_write(buffer, records).map_err(OpenError::io("write", path))
    }

    fn try_write(&mut self, buffer: &mut Vec<u8>, records: u32) -> io::Result<()> {
        if let Some((file, _, _)) = self.file.take_if(|(_, _, position)| *position >= SEGMENT) {
            file.sync()?;
        }
        let (file, salt, position) = match &mut self.file {
            Some(open) => open,
            None => {
                let name = segment_name(self.seq);
                let file = self.disk.create(&format!("{name}{TEMPORARY}"), 0)?;
                let salt = self.disk.salt()?;
                FileHeader { magic: SEGMENT_MAGIC, number: self.seq, synced: self.synced, salt }.write(&*file)?;
                self.names.push(name);
                self.seq += 1;
                self.file.insert((file, salt, FRAMES_START))
            }
        };
        seal_frame(buffer, *salt, self.next, self.synced, records);
        file.write_at(buffer, *position)?;
        *position += buffer.len() as u64;
        self.next += u64::from(records);
        Ok(())
    }

    fn close(mut self) -> Result<Vec<String>, OpenError> {
        if let Some((file, _, _)) = self.file.take() {
            file.sync().map_err(OpenError::io("sync", self.disk.path("")))?;
        }
        Ok(self.names)
    }
}
