//! The thread that writes.

use std::collections::VecDeque;
use std::io;
use std::os::unix::fs::FileExt;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use bytes::Bytes;

use super::Shared;
use super::index::{Fate, LONGEST, UNIT, tag};
use super::segment::{Mark, Segment};
use crate::behind::{Op, Taken};
use crate::codec::{self, Header};
use crate::entry::{Entry, Key};
use crate::metrics::{Behind as Tier, Tier as Any};
use crate::purge::Era;

/// Bytes that are written at once.
const BATCH: usize = 1 << 20;
/// Marks that are looked up at once: the index is locked meanwhile.
const STEP: usize = 256;
/// Segments beyond which the oldest goes, whatever their size: many starts can leave many small ones.
const SEGMENTS: usize = 1024;

pub(super) struct Writer {
    pub(super) shared: Arc<Shared>,
    pub(super) dir: PathBuf,
    /// Bytes of disk that all segments may take.
    pub(super) size: u64,
    pub(super) segment_bytes: u64,
    pub(super) max_entries: usize,
    /// Finished ones, oldest first.
    pub(super) segments: VecDeque<Segment>,
    pub(super) active: Option<Active>,
    pub(super) next: u64,
    /// Records on their way to the active segment.
    buffer: Vec<u8>,
    pending: Vec<Mark>,
}

/// The segment that is written to.
pub(super) struct Active {
    pub(super) segment: Segment,
    pub(super) marks: Vec<Mark>,
    /// Where its records end, in units.
    pub(super) end: u32,
}

impl Writer {
    pub(super) fn new(
        shared: Arc<Shared>,
        dir: PathBuf,
        (size, segment_bytes): (u64, u64),
        max_entries: usize,
        segments: VecDeque<Segment>,
    ) -> Self {
        let next = segments.back().map_or(0, |segment| segment.number + 1);
        let (buffer, pending, active) = (vec![], vec![], None);
        Self { shared, dir, size, segment_bytes, max_entries, segments, active, next, buffer, pending }
    }

    /// Writes until there is nothing more to come.
    pub(super) fn run(mut self) {
        let shared = Arc::clone(&self.shared);
        while let Some(taken) = shared.behind.wait(BATCH) {
            if shared.wipe.swap(false, Ordering::AcqRel) {
                self.wipe();
            }
            shared.keep_bans(None);
            if !taken.is_empty() {
                self.batch(&taken);
                shared.behind.done(&taken);
            }
            self.count();
        }
        if let Err(error) = self.finish() {
            tracing::debug!(%error, "the cache's last segment has no list; it will be read through at the next start");
        }
    }

    fn batch(&mut self, taken: &[Taken]) {
        let shared = Arc::clone(&self.shared);
        let stores = taken.iter().filter(|one| matches!(one.op, Op::Store(..))).count() as u64;
        if !shared.fuse.admits() {
            self.give_up(taken);
            return;
        }
        let written = taken.iter().try_for_each(|one| match &one.op {
            Op::Store(entry, era) => self.store(&one.key, entry, *era),
            Op::Remove => self.remove(&one.key),
        });
        match written.and_then(|()| self.flush()) {
            Ok(()) => {
                shared.fuse.succeeded();
                shared.metrics.written.of(Tier::L3).add(stores);
            }
            Err(error) => {
                (self.buffer, self.pending) = (vec![], vec![]);
                self.give_up(taken);
                shared.failed("write to", &error);
                // Nobody knows what of it was written. What can be read of it is found at the next start.
                if let Some(active) = self.active.take() {
                    self.segments.push_back(active.segment);
                }
                if error.kind() == io::ErrorKind::StorageFull {
                    // Others need the disk more.
                    self.evict(false);
                }
            }
        }
    }

    /// What is there of these keys is out of date.
    fn give_up(&self, taken: &[Taken]) {
        let stores = taken.iter().filter(|one| matches!(one.op, Op::Store(..))).count() as u64;
        self.shared.metrics.dropped.of(Tier::L3).add(stores);
        let mut map = self.shared.map.lock();
        for one in taken {
            map.index.remove(tag(&one.key));
        }
    }

    fn store(&mut self, key: &Key, entry: &Entry, era: Era) -> io::Result<()> {
        let shared = Arc::clone(&self.shared);
        let now = (shared.clock)();
        if entry.expires <= now || shared.bans.bars(era, key, entry) {
            return self.remove(key);
        }
        // A ban that is not on disk yet may be forgotten, and its number given to another.
        let era = shared.bans.era().0.min(shared.persisted.load(Ordering::Acquire));
        let expires = entry.expires.min(now.after(shared.ttl));
        match self.append(tag(key), false, |out| codec::encode(key, era, entry, expires, out).is_ok())? {
            true => Ok(()),
            false => self.remove(key),
        }
    }

    fn remove(&mut self, key: &Key) -> io::Result<()> {
        self.shared.map.lock().index.remove(tag(key));
        self.append(tag(key), true, |out| {
            out.extend(codec::removal(key));
            true
        })
        .map(drop)
    }

    /// Appends what `encode` writes as a record of that tag. Whether it has written a record, and one that fits.
    fn append(&mut self, tag: u64, removal: bool, encode: impl FnOnce(&mut Vec<u8>) -> bool) -> io::Result<bool> {
        let start = self.buffer.len();
        let encoded = encode(&mut self.buffer);
        let units = (self.buffer.len() - start).div_ceil(UNIT as usize);
        if !encoded || units as u64 > u64::from(LONGEST) || Segment::finished(units as u64, 1) > self.segment_bytes {
            self.buffer.truncate(start);
            return Ok(false);
        }
        self.buffer.resize(start + units * UNIT as usize, 0);
        let end = |writer: &Self| writer.active.as_ref().map(|active| (active.end, active.marks.len()));
        let room = end(self).is_some_and(|(end, marks)| {
            let end = u64::from(end) + (self.buffer.len() / UNIT as usize) as u64;
            Segment::finished(end, marks + self.pending.len() + 1) <= self.segment_bytes
        });
        if !room {
            let record = self.buffer.split_off(start);
            self.flush()?;
            self.roll()?;
            self.buffer = record;
        }
        let before = (self.buffer.len() / UNIT as usize - units) as u32;
        let first = end(self).map_or(0, |(end, _)| end) + before;
        self.pending.push(Mark { tag, first, units: if removal { 0 } else { units as u32 } });
        if self.buffer.len() >= BATCH {
            self.flush()?;
        }
        Ok(true)
    }

    /// Writes what was appended, and lets it be found.
    fn flush(&mut self) -> io::Result<()> {
        if self.pending.is_empty() {
            return Ok(());
        }
        while self.shared.map.lock().index.len() + self.pending.len() > self.max_entries && !self.segments.is_empty() {
            self.evict(false);
        }
        let Some(active) = &mut self.active else { return Err(io::Error::other("there is no segment to write to")) };
        active.segment.file.write_all_at(&self.buffer, u64::from(active.end) * UNIT)?;
        let mut map = self.shared.map.lock();
        for mark in &self.pending {
            // Where all of them are in one segment, the newest have to wait for the next.
            if mark.units > 0 && map.index.len() < self.max_entries {
                map.index.put(mark.tag, active.segment.place(mark));
            } else {
                map.index.remove(mark.tag);
            }
        }
        drop(map);
        active.end += (self.buffer.len() / UNIT as usize) as u32;
        active.marks.append(&mut self.pending);
        self.buffer.clear();
        self.buffer.shrink_to(2 * BATCH);
        Ok(())
    }

    /// Finishes the active segment.
    fn finish(&mut self) -> io::Result<()> {
        let Some(mut active) = self.active.take() else { return Ok(()) };
        let finished = active.segment.finish(active.end, &active.marks);
        self.segments.push_back(active.segment);
        finished
    }

    /// Begins another segment. There is room for it: after that, room is made for the next, and what was read of late of what has to go is
    /// written to this one.
    fn roll(&mut self) -> io::Result<()> {
        if let Err(error) = self.finish() {
            tracing::debug!(%error, "a segment of the cache has no list; it will be read through at the next start");
        }
        while !self.segments.is_empty() && self.taken() + self.segment_bytes > self.size {
            self.evict(false);
        }
        let segment = Segment::create(&self.dir, self.next, self.segment_bytes)?;
        self.next += 1;
        self.shared.map.lock().files[usize::from(segment.slot())] = Some(Arc::clone(&segment.file));
        self.active = Some(Active { segment, marks: vec![], end: 0 });
        let crowded =
            |writer: &Self| writer.taken() + writer.segment_bytes > writer.size || writer.segments.len() > SEGMENTS;
        while !self.segments.is_empty() && crowded(self) {
            self.evict(true);
        }
        Ok(())
    }

    /// Bytes of disk that segments take.
    fn taken(&self) -> u64 {
        let active = self.active.as_ref().map_or(0, |active| active.segment.bytes);
        self.segments.iter().map(|segment| segment.bytes).sum::<u64>() + active
    }

    /// Gives up the oldest segment. What of it was read since it was written is written again, if wanted: up to half a segment.
    fn evict(&mut self, keep: bool) {
        let Some(segment) = self.segments.pop_front() else { return };
        let slot = usize::from(segment.slot());
        let marks = segment.contents().map(|contents| contents.marks).unwrap_or_default();
        let (mut hot, mut gone, mut room) = (vec![], 0, self.segment_bytes / 2 / UNIT);
        for step in marks.chunks(STEP) {
            let mut map = self.shared.map.lock();
            for mark in step.iter().filter(|mark| mark.units > 0) {
                let fits = keep && room >= u64::from(mark.units);
                match map.index.judge(mark.tag, segment.place(mark), fits) {
                    Fate::Dead => {}
                    Fate::Cold => gone += 1,
                    Fate::Hot => {
                        room -= u64::from(mark.units);
                        hot.push(*mark);
                    }
                }
            }
        }
        for mark in hot {
            gone += u64::from(!self.rewrite(&segment, &mark));
        }
        if keep && let Err(error) = self.flush_kept() {
            self.shared.failed("write to", &error);
        }
        let mut map = self.shared.map.lock();
        map.files[slot] = None;
        // Where its list could not be read, some are left.
        if marks.is_empty() {
            gone += map.index.forget(slot) as u64;
        }
        drop(map);
        self.shared.metrics.evictions.of(Any::L3).add(gone);
        if let Err(error) = segment.delete() {
            self.shared.failed("delete a segment of", &error);
        }
    }

    /// Writes a record of a segment that goes to the active one.
    fn rewrite(&mut self, segment: &Segment, mark: &Mark) -> bool {
        let place = segment.place(mark);
        let mut bytes = vec![0; place.length()];
        let read = segment.file.read_exact_at(&mut bytes, place.offset());
        let bytes = Bytes::from(bytes);
        let shared = Arc::clone(&self.shared);
        let kept = read.is_ok()
            && codec::decode(&bytes).is_ok_and(|(header, entry)| {
                tag(&header.key) == mark.tag
                    && header.expires > (shared.clock)()
                    && !shared.bans.bars(Era(header.era), &header.key, &entry)
                    && self.again(&bytes, &header, mark)
            });
        // Under its new place it is put into the index when that is written. Until then nobody may be sent to the old one.
        shared.map.lock().index.remove_from(mark.tag, place);
        kept
    }

    fn again(&mut self, bytes: &[u8], header: &Header, mark: &Mark) -> bool {
        let era = self.shared.bans.era().0.min(self.shared.persisted.load(Ordering::Acquire));
        let active = self.active.as_ref().map_or(0, |active| u64::from(active.end));
        let units = active + (self.buffer.len() / UNIT as usize) as u64 + u64::from(mark.units);
        let marks = self.active.as_ref().map_or(0, |active| active.marks.len()) + self.pending.len() + 1;
        if self.active.is_none() || Segment::finished(units, marks) > self.segment_bytes {
            return false;
        }
        let start = self.buffer.len();
        self.buffer.extend(bytes);
        codec::pass(&mut self.buffer[start..], header, era);
        let first = (active + (start / UNIT as usize) as u64) as u32;
        self.pending.push(Mark { first, ..*mark });
        if self.buffer.len() >= BATCH {
            return self.flush_kept().is_ok();
        }
        true
    }

    /// As [`flush`](Self::flush), and what cannot be written is forgotten.
    fn flush_kept(&mut self) -> io::Result<()> {
        if self.active.is_none() {
            return Ok(());
        }
        self.flush().inspect_err(|_| (self.buffer, self.pending) = (vec![], vec![]))
    }

    /// Gives up everything.
    fn wipe(&mut self) {
        let active = self.active.take().map(|active| active.segment);
        for segment in self.segments.drain(..).chain(active) {
            let mut map = self.shared.map.lock();
            map.files[usize::from(segment.slot())] = None;
            drop(map);
            if let Err(error) = segment.delete() {
                self.shared.failed("delete a segment of", &error);
            }
        }
        self.shared.map.lock().index.clear();
    }

    fn count(&self) {
        self.shared.used.store(self.taken(), Ordering::Relaxed);
    }
}
