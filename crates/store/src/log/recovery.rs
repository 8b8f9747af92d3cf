//! What is on disk after a crash: found, judged, and replayed.
//!
//! First everything is read and verified (`survey`), then it is decided what counts and whether anything acknowledged is
//! missing (`judge`); only then are records replayed. See the module `log` for the rules.

use std::io;
use std::path::PathBuf;
use std::time::{Duration, UNIX_EPOCH};

use super::Lsn;
use super::compaction::Snapshot;
use super::disk::{Disk, DiskFile};
use super::error::{Damage, OpenError, ReplayError};
use super::frame::{FRAMES_START, FileHeader, Found, FrameReader, HeaderFault, SEGMENT_MAGIC, SNAPSHOT_MAGIC, records};
use super::segment::{Segment, TEMPORARY, segment_name};
use super::snapshot::{SnapshotEnd, SnapshotFault, read_snapshot, snapshot_name};

/// What an open found.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Recovery {
    /// The last record recovered; the next append gets the number after it.
    pub last: Lsn,
    /// Records replayed from the snapshot.
    pub snapshot_records: u64,
    /// Records replayed from the log behind it.
    pub log_records: u64,
    /// A tail that was cut off: a batch that was being written when the process or the machine stopped.
    pub torn: Option<TornTail>,
    /// Valid records behind a hole that a power loss left, dropped with it. Only with a durability weaker than `Fsync`.
    pub dropped: u64,
    /// Records that an earlier repair gave up.
    pub given_up: u64,
}

/// A torn tail. What it held was never acknowledged (with a durability weaker than `Fsync`: never synced).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TornTail {
    /// The segment.
    pub path: PathBuf,
    /// Where the tail started.
    pub offset: u64,
    /// How long it was.
    pub bytes: u64,
}

/// Consecutive frames of one segment with consecutive records.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Run {
    pub(crate) seq: u64,
    pub(crate) from: u64,
    pub(crate) to: u64,
    pub(crate) first: u64,
    /// The last record that counts: the frames may hold more, which a later segment replaces.
    pub(crate) last: u64,
}

/// Bytes of a segment that are no frame.
#[derive(Debug, Clone, Copy)]
struct Gap {
    offset: u64,
    bytes: u64,
    /// Whether valid frames follow in the file.
    inner: bool,
}

/// One segment file, as found.
#[derive(Debug)]
pub(crate) struct Surveyed {
    pub(crate) seq: u64,
    /// `None` where the head is unreadable.
    pub(crate) salt: Option<u64>,
    pub(crate) length: u64,
    gaps: Vec<Gap>,
}

impl Surveyed {
    /// Where its valid frames end.
    fn data_end(&self) -> u64 {
        self.gaps.last().map_or(self.length, |gap| gap.offset)
    }
}

/// The snapshot that counts, as found.
#[derive(Debug)]
pub(crate) struct SurveyedSnapshot {
    pub(crate) through: u64,
    pub(crate) salt: Option<u64>,
    pub(crate) end: Option<SnapshotEnd>,
    /// Records that can be read.
    pub(crate) records: u64,
    pub(crate) length: u64,
    pub(crate) faults: Vec<SnapshotFault>,
}

/// Everything on disk.
#[derive(Debug, Default)]
pub(crate) struct Survey {
    pub(crate) snapshot: Option<SurveyedSnapshot>,
    pub(crate) segments: Vec<Surveyed>,
    /// What counts, in order; without overlap, perhaps with holes.
    pub(crate) runs: Vec<Run>,
    /// The last record that something found on disk proves to have been on stable storage.
    pub(crate) evidence: u64,
    /// Files that play no part: under construction, or replaced by a newer snapshot.
    pub(crate) stale: Vec<String>,
}

/// What an open goes on from.
pub(crate) struct Recovered {
    pub(crate) report: Recovery,
    pub(crate) snapshot: Option<Snapshot>,
    pub(crate) segments: Vec<Segment>,
    pub(crate) next_seq: u64,
    stale: Vec<String>,
    cut: Option<(String, u64)>,
}

/// Reads, judges and replays; then makes sure that what it read is on stable storage.
pub(crate) fn recover(
    disk: &dyn Disk,
    replay: &mut dyn FnMut(&[u8]) -> Result<(), ReplayError>,
) -> Result<Recovered, OpenError> {
    let survey = survey(disk)?;
    let end = judge(disk, &survey)?;
    let through = survey.snapshot.as_ref().map_or(0, |snapshot| snapshot.through);
    let (kept, beyond): (Vec<Run>, Vec<Run>) = survey.runs.iter().partition(|run| run.last <= end);
    let mut report = Recovery { last: Lsn(end), ..Recovery::default() };
    report.dropped = beyond.iter().map(|run| run.last - run.first + 1).sum();
    if let Some(snapshot) = &survey.snapshot {
        report.snapshot_records = replay_snapshot(disk, snapshot, replay)?;
    }
    for run in &kept {
        let salt = survey.salt(run.seq);
        let given_up = &mut report.given_up;
        let count = &mut report.log_records;
        for_each_record(disk, run, salt, through + 1, |item| match item {
            Item::Record(lsn, record) => {
                *count += 1;
                replay(record).map_err(|source| OpenError::Replay { lsn: Lsn(lsn), source })
            }
            Item::GivenUp(records) => {
                *given_up += records;
                Ok(())
            }
        })?;
    }
    for run in kept.iter().filter(|run| run.last > survey.evidence) {
        make_certain(disk, run, survey.salt(run.seq), survey.evidence)
            .map_err(OpenError::io("write", path(disk, run.seq)))?;
    }
    report.torn = survey.torn(disk, &kept);
    let cut = survey.cut(&kept, &beyond);
    Ok(survey.into_recovered(report, &kept, cut))
}

/// Deletes what plays no part any more, and cuts the torn tail. Called once a new segment carries the evidence of it.
pub(crate) fn clean(disk: &dyn Disk, recovered: &Recovered) -> Result<(), OpenError> {
    if let Some((name, length)) = &recovered.cut {
        disk.open(name)
            .and_then(|file| file.truncate(*length).and_then(|()| file.sync()))
            .map_err(OpenError::io("cut the torn tail of", disk.path(name)))?;
    }
    for name in &recovered.stale {
        match disk.remove(name) {
            // A file under construction whose name the new segment has just used and left.
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            result => result.map_err(OpenError::io("remove", disk.path(name)))?,
        }
    }
    disk.sync_dir().map_err(OpenError::io("sync", disk.path("")))
}

/// Reads and verifies every file.
pub(crate) fn survey(disk: &dyn Disk) -> Result<Survey, OpenError> {
    let mut survey = Survey::default();
    let (mut snapshots, mut segments) = (Vec::new(), Vec::new());
    for name in disk.list().map_err(OpenError::io("list", disk.path("")))? {
        if name.ends_with(TEMPORARY) {
            survey.stale.push(name);
        } else if let Some(number) = number(&name, "snapshot-", ".snap") {
            snapshots.push(number);
        } else if let Some(number) = number(&name, "log-", ".seg") {
            segments.push(number);
        }
    }
    snapshots.sort_unstable();
    segments.sort_unstable();
    if let Some(newest) = snapshots.pop() {
        survey.stale.extend(snapshots.into_iter().map(snapshot_name));
        let snapshot = survey_snapshot(disk, newest)?;
        survey.evidence = snapshot.end.map_or(newest, |end| end.end);
        survey.snapshot = Some(snapshot);
    }
    for seq in segments {
        survey.add_segment(disk, seq)?;
    }
    Ok(survey)
}

fn survey_snapshot(disk: &dyn Disk, through: u64) -> Result<SurveyedSnapshot, OpenError> {
    let name = snapshot_name(through);
    let failed = || OpenError::io("read", disk.path(&name));
    let file = disk.open(&name).map_err(failed())?;
    let length = file.length().map_err(failed())?;
    let mut out = SurveyedSnapshot { through, salt: None, end: None, records: 0, length, faults: Vec::new() };
    match read_header(disk, &name, &*file, SNAPSHOT_MAGIC)? {
        None => out.faults.push(SnapshotFault { offset: 0, bytes: FRAMES_START, lost: None }),
        Some(header) => {
            let counted = read_snapshot::<()>(&*file, header.salt, |_, records| {
                out.records += u64::from(records);
                Ok(())
            });
            let counted = counted.map_err(failed())?;
            out.salt = Some(header.salt);
            if let Ok((end, faults)) = counted {
                out.end = end;
                out.faults = faults;
            }
        }
    }
    Ok(out)
}

fn read_header(
    disk: &dyn Disk,
    name: &str,
    file: &dyn DiskFile,
    magic: [u8; 8],
) -> Result<Option<FileHeader>, OpenError> {
    match FileHeader::read(file, magic).map_err(OpenError::io("read", disk.path(name)))? {
        Ok(header) => Ok(Some(header)),
        Err(HeaderFault::Unreadable) => Ok(None),
        Err(HeaderFault::Version(version)) => Err(OpenError::Version { path: disk.path(name), version }),
    }
}

impl Survey {
    fn add_segment(&mut self, disk: &dyn Disk, seq: u64) -> Result<(), OpenError> {
        let name = segment_name(seq);
        let failed = || OpenError::io("read", disk.path(&name));
        let file = disk.open(&name).map_err(failed())?;
        let length = file.length().map_err(failed())?;
        let mut segment = Surveyed { seq, salt: None, length, gaps: Vec::new() };
        if let Some(header) = read_header(disk, &name, &*file, SEGMENT_MAGIC)? {
            segment.salt = Some(header.salt);
            self.evidence = self.evidence.max(header.synced);
            self.read_frames(&*file, &mut segment, header.salt).map_err(failed())?;
        }
        self.segments.push(segment);
        Ok(())
    }

    fn read_frames(&mut self, file: &dyn DiskFile, segment: &mut Surveyed, salt: u64) -> io::Result<()> {
        let mut reader = FrameReader::new(file, salt, FRAMES_START)?;
        loop {
            match reader.next()? {
                Found::Frame(offset, frame) => {
                    self.evidence = self.evidence.max(frame.synced);
                    if frame.records > 0 {
                        let to = offset + frame.size();
                        self.add_run(Run {
                            seq: segment.seq,
                            from: offset,
                            to,
                            first: frame.first,
                            last: frame.last(),
                        });
                    }
                }
                Found::Bad { offset, end } => segment.gaps.push(Gap { offset, bytes: end - offset, inner: true }),
                Found::End { offset, torn } => {
                    segment.gaps.push(Gap { offset, bytes: torn, inner: false });
                    return Ok(());
                }
            }
        }
    }

    /// Adds what comes next in the order of files. Records it has again replace those before it, and all behind them.
    fn add_run(&mut self, run: Run) {
        while let Some(before) = self.runs.last_mut() {
            if before.first >= run.first {
                self.runs.pop();
            } else if before.last >= run.first {
                before.last = run.first - 1;
                break;
            } else if before.last + 1 == run.first && before.seq == run.seq && before.to == run.from {
                before.last = run.last;
                before.to = run.to;
                return;
            } else {
                break;
            }
        }
        self.runs.push(run);
    }

    /// The salt of a segment that has runs.
    pub(crate) fn salt(&self, seq: u64) -> u64 {
        self.segments.iter().find(|segment| segment.seq == seq).and_then(|segment| segment.salt).unwrap_or_default()
    }

    /// Where to cut the last segment that counts: behind its valid frames, where anything follows, be it reserved space.
    fn cut(&self, kept: &[Run], beyond: &[Run]) -> Option<(u64, u64)> {
        let run = kept.last()?;
        let segment = self.segments.iter().find(|segment| segment.seq == run.seq)?;
        let offset = match beyond.iter().any(|other| other.seq == run.seq) {
            true => run.to,
            false => segment.data_end(),
        };
        (segment.length > offset).then_some((run.seq, offset))
    }

    /// The first bytes behind everything that counts that are neither frames nor zeros.
    pub(crate) fn torn(&self, disk: &dyn Disk, kept: &[Run]) -> Option<TornTail> {
        let (seq, from) = kept.last().map_or((0, 0), |run| (run.seq, run.to));
        let behind = self.segments.iter().filter(|segment| segment.seq >= seq);
        behind.flat_map(|segment| segment.gaps.iter().map(move |gap| (segment.seq, gap))).find_map(|(at, gap)| {
            let torn = gap.bytes > 0 && (at > seq || gap.offset >= from);
            torn.then(|| TornTail { path: path(disk, at), offset: gap.offset, bytes: gap.bytes })
        })
    }

    fn into_recovered(self, report: Recovery, kept: &[Run], cut: Option<(u64, u64)>) -> Recovered {
        let through = self.snapshot.as_ref().map_or(0, |snapshot| snapshot.through);
        let next_seq = self.segments.last().map_or(1, |segment| segment.seq + 1);
        let mut stale = self.stale;
        let mut segments = Vec::new();
        for segment in &self.segments {
            let last = kept.iter().filter(|run| run.seq == segment.seq).map(|run| run.last).max();
            match last.filter(|last| *last > through) {
                Some(last) => segments.push(Segment { seq: segment.seq, last, bytes: segment.data_end() }),
                None => stale.push(segment_name(segment.seq)),
            }
        }
        let cut = cut.map(|(seq, offset)| (segment_name(seq), offset)).filter(|(name, _)| !stale.contains(name));
        let snapshot = self.snapshot.as_ref().and_then(|found| {
            let end = found.end?;
            let taken = UNIX_EPOCH.checked_add(Duration::from_millis(end.taken)).unwrap_or(UNIX_EPOCH);
            Some(Snapshot { through: Lsn(found.through), records: end.records, bytes: found.length, taken })
        });
        Recovered { report, snapshot, segments, next_seq, stale, cut }
    }
}

/// Decides where the log ends; refuses where that loses an acknowledged record.
pub(crate) fn judge(disk: &dyn Disk, survey: &Survey) -> Result<u64, OpenError> {
    match survey.damage(disk).into_iter().next() {
        Some(damage) => Err(damaged(damage)),
        None => Ok(survey.end().0),
    }
}

fn damaged(damage: Damage) -> OpenError {
    OpenError::Damaged(Box::new(damage))
}

impl Survey {
    /// Every place where acknowledged records cannot be read: of the snapshot, then of the log.
    pub(crate) fn damage(&self, disk: &dyn Disk) -> Vec<Damage> {
        let lsns = |(first, last)| (Lsn(first), Lsn(last));
        let snapshot = self.snapshot.iter().flat_map(|snapshot| {
            let path = disk.path(&snapshot_name(snapshot.through));
            snapshot.faults.iter().map(move |fault| Damage {
                path: path.clone(),
                offset: fault.offset,
                bytes: fault.bytes,
                lost: fault.lost.map(lsns),
                snapshot: true,
            })
        });
        let headless = self.segments.iter().filter(|segment| segment.salt.is_none()).map(|segment| {
            let path = path(disk, segment.seq);
            Damage { path, offset: 0, bytes: segment.length, lost: None, snapshot: false }
        });
        let holes = self.holes().into_iter().filter(|(end, _)| *end < self.evidence).map(|(end, next)| {
            let last = next.map_or(self.evidence, |run| run.first - 1);
            let (path, offset, bytes) = self.locate(disk, end, next);
            Damage { path, offset, bytes, lost: Some(lsns((end + 1, last))), snapshot: false }
        });
        snapshot.chain(headless).chain(holes).collect()
    }

    /// The last record before the first hole.
    pub(crate) fn end(&self) -> (u64, Option<&Run>) {
        self.holes().into_iter().next().unwrap_or_default()
    }

    /// The last record before each hole, and the run behind it; at last where everything ends, with nothing behind it.
    fn holes(&self) -> Vec<(u64, Option<&Run>)> {
        let mut holes = Vec::new();
        let mut end = self.snapshot.as_ref().map_or(0, |snapshot| snapshot.through);
        for run in &self.runs {
            if run.first > end + 1 {
                holes.push((end, Some(run)));
            }
            end = end.max(run.last);
        }
        holes.push((end, None));
        holes
    }

    /// The place of the hole behind record `end`.
    fn locate(&self, disk: &dyn Disk, end: u64, next: Option<&Run>) -> (PathBuf, u64, u64) {
        let in_segment = |seq: u64, test: &dyn Fn(&Gap) -> bool| {
            let segment = self.segments.iter().find(|segment| segment.seq == seq)?;
            let gap = segment.gaps.iter().find(|gap| test(gap))?;
            Some((path(disk, seq), gap.offset, gap.bytes))
        };
        let before = self.runs.iter().rfind(|run| run.last <= end);
        before
            .and_then(|run| in_segment(run.seq, &|gap| gap.offset >= run.to && (gap.bytes > 0 || next.is_none())))
            .or_else(|| next.and_then(|run| in_segment(run.seq, &|gap| gap.inner && gap.offset < run.from)))
            .or_else(|| next.map(|run| (path(disk, run.seq), FRAMES_START, 0)))
            .or_else(|| self.segments.iter().find_map(|segment| in_segment(segment.seq, &|gap| gap.bytes > 0)))
            .unwrap_or_else(|| (disk.path(""), 0, 0))
    }
}

/// One thing in a run.
pub(crate) enum Item<'a> {
    Record(u64, &'a [u8]),
    /// Records an earlier repair gave up.
    GivenUp(u64),
}

/// Gives the records of a run from `from` on.
pub(crate) fn for_each_record(
    disk: &dyn Disk,
    run: &Run,
    salt: u64,
    from: u64,
    mut item: impl FnMut(Item<'_>) -> Result<(), OpenError>,
) -> Result<(), OpenError> {
    if run.last < from {
        return Ok(());
    }
    let failed = || OpenError::io("read", path(disk, run.seq));
    let changed = |offset| {
        let lost = Some((Lsn(run.first), Lsn(run.last)));
        damaged(Damage { path: path(disk, run.seq), offset, bytes: 0, lost, snapshot: false })
    };
    let wanted = from..=run.last;
    let file = disk.open(&segment_name(run.seq)).map_err(failed())?;
    let mut reader = FrameReader::new(&*file, salt, run.from).map_err(failed())?;
    loop {
        let (offset, frame) = match reader.next().map_err(failed())? {
            Found::Frame(offset, frame) => (offset, frame),
            // Verified a moment ago: the disk does not give the same bytes twice.
            Found::Bad { offset, .. } | Found::End { offset, .. } => return Err(changed(offset)),
        };
        if frame.payload.is_empty() {
            let lost = (frame.last().min(run.last) + 1).saturating_sub(frame.first.max(from));
            if lost > 0 {
                item(Item::GivenUp(lost))?;
            }
        } else {
            for (lsn, record) in (frame.first..).zip(records(frame.payload)) {
                let record = record.map_err(|_| changed(offset))?;
                if wanted.contains(&lsn) {
                    item(Item::Record(lsn, record))?;
                }
            }
        }
        if frame.last() >= run.last || offset + frame.size() >= run.to {
            return Ok(());
        }
    }
}

fn replay_snapshot(
    disk: &dyn Disk,
    snapshot: &SurveyedSnapshot,
    replay: &mut dyn FnMut(&[u8]) -> Result<(), ReplayError>,
) -> Result<u64, OpenError> {
    let name = snapshot_name(snapshot.through);
    let failed = || OpenError::io("read", disk.path(&name));
    let file = disk.open(&name).map_err(failed())?;
    let mut count = 0;
    let outcome = read_snapshot(&*file, snapshot.salt.unwrap_or_default(), |payload, _| {
        for record in records(payload) {
            let replayed = record.map_err(ReplayError::from).and_then(&mut *replay);
            replayed.map_err(|source| OpenError::Replay { lsn: Lsn(snapshot.through), source })?;
            count += 1;
        }
        Ok(())
    });
    outcome.map_err(failed())?.map(|_| count)
}

/// Writes the frames of a run that no evidence covers again in place, and syncs: they may be only in the page cache, or
/// in pages that a failed sync has marked clean.
fn make_certain(disk: &dyn Disk, run: &Run, salt: u64, evidence: u64) -> io::Result<()> {
    let file = disk.open(&segment_name(run.seq))?;
    let mut reader = FrameReader::new(&*file, salt, run.from)?;
    let mut from = run.to;
    while let Found::Frame(offset, frame) = reader.next()? {
        if frame.last() > evidence && frame.records > 0 {
            from = offset;
            break;
        }
    }
    let mut buffer = vec![0; 1 << 20];
    while from < run.to {
        let want = buffer.len().min((run.to - from) as usize);
        let read = file.read_at(&mut buffer[..want], from)?;
        if read == 0 {
            break;
        }
        file.write_at(&buffer[..read], from)?;
        from += read as u64;
    }
    file.sync()
}

fn number(name: &str, prefix: &str, suffix: &str) -> Option<u64> {
    name.strip_prefix(prefix)?.strip_suffix(suffix)?.parse().ok()
}

fn path(disk: &dyn Disk, seq: u64) -> PathBuf {
    disk.path(&segment_name(seq))
}
