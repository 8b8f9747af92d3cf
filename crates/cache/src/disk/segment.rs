//! A segment: a file of records, one after the other, and once it is full a list of them at its end.
//!
//! A mark is 16 bytes: half a key, the first unit and how many; none where the key's entry is removed. After the marks: `OWSEGM01`, their
//! number in 32 bits, the CRC-32 of marks and number, and where the records end, in bytes. A segment without that list was not finished:
//! its records are found by their headers.

use std::fs::{File, OpenOptions};
use std::io;
use std::os::unix::fs::{FileExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use rustix::fs::FallocateFlags;

use super::index::{LONGEST, Place, SLOTS, UNIT, tag};
use crate::codec::{HEADER, Header};

const MAGIC: [u8; 8] = *b"OWSEGM01";
const MARK: u64 = 16;
const TRAILER: u64 = 24;
const SUFFIX: &str = "segment";
/// Numbers stay below: enough for a segment each millisecond of some thousand years.
const LAST: u64 = 1 << 48;
/// What is read at once to look for headers.
const WINDOW: usize = 64 << 10;

/// A record of a segment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Mark {
    pub(super) tag: u64,
    pub(super) first: u32,
    /// None where the key's entry is removed.
    pub(super) units: u32,
}

#[derive(Debug)]
pub(super) struct Segment {
    /// Counts up from segment to segment.
    pub(super) number: u64,
    pub(super) file: Arc<File>,
    path: PathBuf,
    /// Bytes of disk that it takes.
    pub(super) bytes: u64,
}

/// What a segment that was found holds.
#[derive(Debug)]
pub(super) struct Contents {
    pub(super) marks: Vec<Mark>,
    /// Where its records end, in units.
    pub(super) end: u32,
}

impl Segment {
    fn path(dir: &Path, number: u64) -> PathBuf {
        dir.join(format!("{number:016x}.{SUFFIX}"))
    }

    /// The numbers of the segments in a directory, oldest first.
    pub(super) fn list(dir: &Path) -> io::Result<Vec<u64>> {
        let mut numbers = vec![];
        for file in dir.read_dir()? {
            let path = file?.path();
            let stem = path.file_stem().and_then(|stem| stem.to_str());
            if path.extension().is_some_and(|suffix| suffix == SUFFIX)
                && let Some(number) = stem.and_then(|stem| u64::from_str_radix(stem, 16).ok())
                && path == Self::path(dir, number)
                && number < LAST
            {
                numbers.push(number);
            }
        }
        numbers.sort_unstable();
        Ok(numbers)
    }

    /// Makes an empty one and has the disk set aside what it will need, so that a full disk is known before anything is written.
    pub(super) fn create(dir: &Path, number: u64, bytes: u64) -> io::Result<Self> {
        let path = Self::path(dir, number);
        let file = OpenOptions::new().create_new(true).read(true).write(true).mode(0o600).open(&path)?;
        let segment = Self { number, file: Arc::new(file), path, bytes };
        if let Err(error) = segment.set_aside(bytes) {
            segment.delete()?;
            return Err(error);
        }
        Ok(segment)
    }

    fn set_aside(&self, bytes: u64) -> io::Result<()> {
        match rustix::fs::fallocate(&self.file, FallocateFlags::empty(), 0, bytes) {
            // Such a file system sets nothing aside.
            Err(rustix::io::Errno::OPNOTSUPP) => self.file.set_len(bytes),
            set => set.map_err(Into::into),
        }
    }

    pub(super) fn open(dir: &Path, number: u64) -> io::Result<Self> {
        let path = Self::path(dir, number);
        let file = OpenOptions::new().read(true).write(true).open(&path)?;
        let bytes = file.metadata()?.len();
        Ok(Self { number, file: Arc::new(file), path, bytes })
    }

    /// Cuts off what comes after its records, so that more can be written.
    pub(super) fn reopen(&mut self, end: u32, bytes: u64) -> io::Result<()> {
        self.file.set_len(u64::from(end) * UNIT)?;
        self.set_aside(bytes)?;
        self.bytes = bytes;
        Ok(())
    }

    pub(super) fn slot(&self) -> u16 {
        (self.number % SLOTS as u64) as u16
    }

    pub(super) fn place(&self, mark: &Mark) -> Place {
        Place::new(self.slot(), mark.first, mark.units)
    }

    /// Bytes that a segment of so many records and so many units takes when it is finished.
    pub(super) fn finished(end: u64, marks: usize) -> u64 {
        end * UNIT + marks as u64 * MARK + TRAILER
    }

    /// Writes the list of its records, and gives back what it does not need.
    pub(super) fn finish(&mut self, end: u32, marks: &[Mark]) -> io::Result<()> {
        let mut list = Vec::with_capacity(marks.len() * MARK as usize + TRAILER as usize);
        for mark in marks {
            list.extend(mark.tag.to_le_bytes());
            list.extend(mark.first.to_le_bytes());
            list.extend(mark.units.to_le_bytes());
        }
        let count = (marks.len() as u32).to_le_bytes();
        let sum = sum(&list, count);
        let end = u64::from(end) * UNIT;
        list.extend(MAGIC);
        list.extend(count);
        list.extend(sum.to_le_bytes());
        list.extend(end.to_le_bytes());
        self.file.write_all_at(&list, end)?;
        let bytes = end + list.len() as u64;
        self.file.set_len(bytes)?;
        self.bytes = bytes;
        Ok(())
    }

    /// What it holds: by the list at its end, or record by record.
    pub(super) fn contents(&self) -> io::Result<Contents> {
        match self.listed()? {
            Some(contents) => Ok(contents),
            None => self.found(),
        }
    }

    fn listed(&self) -> io::Result<Option<Contents>> {
        let length = self.file.metadata()?.len();
        let Some(at) = length.checked_sub(TRAILER) else { return Ok(None) };
        let mut trailer = [0; TRAILER as usize];
        self.file.read_exact_at(&mut trailer, at)?;
        let [a, b, c, d] = [8, 12, 16, 20].map(|at| trailer[at..at + 4].first_chunk().copied().unwrap_or_default());
        let end = u64::from(u32::from_le_bytes(c)) | u64::from(u32::from_le_bytes(d)) << 32;
        let marks = u64::from(u32::from_le_bytes(a)) * MARK;
        if !trailer.starts_with(&MAGIC) || end.checked_add(marks) != Some(at) || !end.is_multiple_of(UNIT) {
            return Ok(None);
        }
        let mut list = vec![0; marks as usize];
        self.file.read_exact_at(&mut list, end)?;
        if sum(&list, a) != u32::from_le_bytes(b) {
            return Ok(None);
        }
        let mark = |bytes: &[u8; 16]| {
            let word = u128::from_le_bytes(*bytes);
            Mark { tag: word as u64, first: (word >> 64) as u32, units: (word >> 96) as u32 }
        };
        let marks = list.as_chunks().0.iter().map(mark).collect();
        Ok(Some(Contents { marks, end: (end / UNIT) as u32 }))
    }

    fn found(&self) -> io::Result<Contents> {
        let length = self.file.metadata()?.len();
        let (mut marks, mut at) = (vec![], 0);
        let (mut window, mut from) = (vec![], 0);
        loop {
            let within = |from: u64, window: &[u8]| at >= from && at + HEADER as u64 <= from + window.len() as u64;
            if !within(from, &window) {
                window.resize(WINDOW, 0);
                let read = read_at(&self.file, &mut window, at)?;
                window.truncate(read);
                from = at;
            }
            let header = window.get((at - from) as usize..).map(Header::decode);
            let Some(Ok(header)) = header else { break };
            let units = header.total().div_ceil(UNIT);
            if at + header.total() > length || units > u64::from(LONGEST) {
                break;
            }
            let first = (at / UNIT) as u32;
            marks.push(Mark { tag: tag(&header.key), first, units: if header.removed { 0 } else { units as u32 } });
            at += units * UNIT;
        }
        Ok(Contents { marks, end: (at / UNIT) as u32 })
    }

    /// Removes the file. Who reads it may go on.
    pub(super) fn delete(self) -> io::Result<()> {
        std::fs::remove_file(&self.path)
    }
}

fn sum(list: &[u8], count: [u8; 4]) -> u32 {
    let mut sum = crc32fast::Hasher::new();
    sum.update(list);
    sum.update(&count);
    sum.finalize()
}

/// Reads until the buffer is full or the file ends.
fn read_at(file: &File, buffer: &mut [u8], at: u64) -> io::Result<usize> {
    let mut read = 0;
    while let Some(rest) = buffer.get_mut(read..).filter(|rest| !rest.is_empty()) {
        match file.read_at(rest, at + read as u64) {
            Ok(0) => break,
            Ok(more) => read += more,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    Ok(read)
}
