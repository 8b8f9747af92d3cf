//! The bytes of a log segment and of a snapshot: one file header, one frame, one record list.
//!
//! ```text
//! file   = header (40 bytes) at 0, the same header again at 4096, frames from 8192 on, each aligned to 8 bytes
//! header = magic 8 | version 4 | number 8 | synced 8 | salt 8 | crc 4
//! frame  = magic 4 | payload length 4 | first 8 | synced 8 | records 4 | crc 4 | payload
//! payload= (length 4 | record)*
//! ```
//! All integers are little-endian. The salt is random per file and part of every frame's magic and checksum: what a client
//! put into a record can therefore never pass for a frame when a damaged file is searched for the next valid one.

use std::io;

use super::disk::DiskFile;

/// Magic of a log segment; `number` is its sequence number.
pub(crate) const SEGMENT_MAGIC: [u8; 8] = *b"OWLOGSEG";
/// Magic of a snapshot; `number` is the last sequence number it covers.
pub(crate) const SNAPSHOT_MAGIC: [u8; 8] = *b"OWLOGSNP";
/// Version of the format written and read.
pub(crate) const VERSION: u32 = 1;
/// Where the second copy of the file header lies.
const SECOND_COPY: u64 = 4096;
/// Where frames start.
pub(crate) const FRAMES_START: u64 = 8192;
/// Bytes of a frame header.
pub(crate) const FRAME_HEADER: usize = 32;
/// Bytes of a record's length prefix.
pub(crate) const RECORD_PREFIX: usize = 4;
/// The largest payload a reader accepts; options keep batches below it.
pub(crate) const MAX_PAYLOAD: usize = 256 << 20;

const FILE_HEADER: usize = 40;
const FRAME_MAGIC: u32 = 0x5746_524d;
const WINDOW: usize = 1 << 20;

/// What the head of a file says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct FileHeader {
    pub(crate) magic: [u8; 8],
    pub(crate) number: u64,
    pub(crate) synced: u64,
    pub(crate) salt: u64,
}

/// Why a file's head cannot be used.
#[derive(Debug)]
pub(crate) enum HeaderFault {
    Unreadable,
    Version(u32),
}

impl FileHeader {
    fn encode(&self) -> [u8; FILE_HEADER] {
        let mut out = [0; FILE_HEADER];
        out[0..8].copy_from_slice(&self.magic);
        out[8..12].copy_from_slice(&VERSION.to_le_bytes());
        out[12..20].copy_from_slice(&self.number.to_le_bytes());
        out[20..28].copy_from_slice(&self.synced.to_le_bytes());
        out[28..36].copy_from_slice(&self.salt.to_le_bytes());
        let crc = crc32fast::hash(&out[..36]);
        out[36..40].copy_from_slice(&crc.to_le_bytes());
        out
    }

    /// Writes both copies.
    pub(crate) fn write(&self, file: &dyn DiskFile) -> io::Result<()> {
        let head = self.encode();
        let mut area = vec![0; FRAMES_START as usize];
        area[..FILE_HEADER].copy_from_slice(&head);
        area[SECOND_COPY as usize..SECOND_COPY as usize + FILE_HEADER].copy_from_slice(&head);
        file.write_at(&area, 0)
    }

    /// Where copies lie that cannot be read.
    pub(crate) fn damaged_copies(file: &dyn DiskFile, magic: [u8; 8]) -> io::Result<Vec<u64>> {
        let mut damaged = Vec::new();
        for offset in [0, SECOND_COPY] {
            let mut head = [0; FILE_HEADER];
            let whole = read_full(file, &mut head, offset)? == FILE_HEADER;
            if !whole || head[..8] != magic || u32_at(&head, 36) != crc32fast::hash(&head[..36]) {
                damaged.push(offset);
            }
        }
        Ok(damaged)
    }

    /// Reads the first copy, or the second where the first is damaged.
    pub(crate) fn read(file: &dyn DiskFile, magic: [u8; 8]) -> io::Result<Result<Self, HeaderFault>> {
        let mut fault = HeaderFault::Unreadable;
        for offset in [0, SECOND_COPY] {
            let mut head = [0; FILE_HEADER];
            if read_full(file, &mut head, offset)? < FILE_HEADER {
                continue;
            }
            if head[..8] != magic || u32_at(&head, 36) != crc32fast::hash(&head[..36]) {
                continue;
            }
            let version = u32_at(&head, 8);
            if version != VERSION {
                fault = HeaderFault::Version(version);
                continue;
            }
            return Ok(Ok(Self {
                magic,
                number: u64_at(&head, 12),
                synced: u64_at(&head, 20),
                salt: u64_at(&head, 28),
            }));
        }
        Ok(Err(fault))
    }
}

/// One frame: in a segment a batch, in a snapshot a block.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Frame<'a> {
    /// Number of the first record.
    pub(crate) first: u64,
    /// In a segment: the last record known to be on stable storage when this was written. In a snapshot: the length of
    /// the payload once decompressed, 0 where it is stored as it is.
    pub(crate) synced: u64,
    /// Records inside. In a segment, with an empty payload: records given up by a repair.
    pub(crate) records: u32,
    pub(crate) crc: u32,
    pub(crate) payload: &'a [u8],
}

impl Frame<'_> {
    /// Number of the last record; `first - 1` where there is none.
    pub(crate) fn last(&self) -> u64 {
        self.first.saturating_add(u64::from(self.records)).saturating_sub(1)
    }

    /// Bytes in the file.
    pub(crate) fn size(&self) -> u64 {
        frame_size(self.payload.len())
    }
}

/// Bytes in the file of a frame with `payload` bytes.
pub(crate) fn frame_size(payload: usize) -> u64 {
    ((FRAME_HEADER + payload) as u64).next_multiple_of(8)
}

/// Completes a frame in place: `buffer` holds room for the header, then the payload. Returns its checksum.
pub(crate) fn seal_frame(buffer: &mut Vec<u8>, salt: u64, first: u64, synced: u64, records: u32) -> u32 {
    debug_assert!(buffer.len() >= FRAME_HEADER);
    let payload = buffer.len() - FRAME_HEADER;
    buffer[0..4].copy_from_slice(&frame_magic(salt).to_le_bytes());
    buffer[4..8].copy_from_slice(&(payload as u32).to_le_bytes());
    buffer[8..16].copy_from_slice(&first.to_le_bytes());
    buffer[16..24].copy_from_slice(&synced.to_le_bytes());
    buffer[24..28].copy_from_slice(&records.to_le_bytes());
    let crc = frame_crc(salt, &buffer[..28], &buffer[FRAME_HEADER..]);
    buffer[28..32].copy_from_slice(&crc.to_le_bytes());
    buffer.resize(frame_size(payload) as usize, 0);
    crc
}

/// Appends one record to a payload under construction.
pub(crate) fn push_record(payload: &mut Vec<u8>, record: &[u8]) {
    payload.extend_from_slice(&(record.len() as u32).to_le_bytes());
    payload.extend_from_slice(record);
}

/// The records of a payload; `Err` where the lengths do not add up.
pub(crate) fn records(mut payload: &[u8]) -> impl Iterator<Item = Result<&[u8], MalformedPayload>> {
    std::iter::from_fn(move || {
        if payload.is_empty() {
            return None;
        }
        let Some((prefix, rest)) = payload.split_first_chunk::<RECORD_PREFIX>() else {
            payload = &[];
            return Some(Err(MalformedPayload));
        };
        let Some((record, rest)) = rest.split_at_checked(u32::from_le_bytes(*prefix) as usize) else {
            payload = &[];
            return Some(Err(MalformedPayload));
        };
        payload = rest;
        Some(Ok(record))
    })
}

/// A payload whose record lengths do not add up although its checksum holds.
#[derive(Debug, thiserror::Error)]
#[error("the record lengths of a frame do not add up")]
pub(crate) struct MalformedPayload;

/// What lies at one place of a file.
pub(crate) enum Found<'a> {
    /// A valid frame.
    Frame(u64, Frame<'a>),
    /// Bytes that are no frame, with a valid frame right after them.
    Bad { offset: u64, end: u64 },
    /// No valid frame from here to the end of the file: `torn` bytes, then zeros.
    End { offset: u64, torn: u64 },
}

/// Reads a file's frames in order, searching on behind damage.
pub(crate) struct FrameReader<'f> {
    file: &'f dyn DiskFile,
    salt: u64,
    length: u64,
    position: u64,
    window: Vec<u8>,
    window_at: u64,
}

impl<'f> FrameReader<'f> {
    /// A reader of `file`, whose header said `salt`, from `position`.
    pub(crate) fn new(file: &'f dyn DiskFile, salt: u64, position: u64) -> io::Result<Self> {
        Ok(Self { file, salt, length: file.length()?, position, window: Vec::new(), window_at: 0 })
    }

    /// What comes next. After `End` there is nothing more.
    pub(crate) fn next(&mut self) -> io::Result<Found<'_>> {
        let offset = self.position;
        if let Some(size) = self.frame_at(offset)? {
            self.position = offset + size;
            let frame = parse(self.bytes(offset, size as usize)?);
            return Ok(Found::Frame(offset, frame));
        }
        let (next, last_used) = self.search(offset)?;
        match next {
            Some(end) => {
                self.position = end;
                Ok(Found::Bad { offset, end })
            }
            None => Ok(Found::End { offset, torn: last_used.saturating_sub(offset) }),
        }
    }

    /// The size of the valid frame at `offset`, if there is one.
    fn frame_at(&mut self, offset: u64) -> io::Result<Option<u64>> {
        let salt = self.salt;
        let head = self.bytes(offset, FRAME_HEADER)?;
        if head.len() < FRAME_HEADER || u32_at(head, 0) != frame_magic(salt) {
            return Ok(None);
        }
        let payload = u32_at(head, 4) as usize;
        let size = frame_size(payload);
        if payload > MAX_PAYLOAD || offset.saturating_add((FRAME_HEADER + payload) as u64) > self.length {
            return Ok(None);
        }
        let bytes = self.bytes(offset, FRAME_HEADER + payload)?;
        let whole = bytes.len() == FRAME_HEADER + payload
            && u32_at(bytes, 28) == frame_crc(salt, &bytes[..28], &bytes[FRAME_HEADER..])
            && u64_at(bytes, 8).checked_add(u64::from(u32_at(bytes, 24))).is_some();
        Ok(whole.then_some(size))
    }

    /// The first valid frame behind `offset`, and the end of the last byte that is not zero.
    fn search(&mut self, offset: u64) -> io::Result<(Option<u64>, u64)> {
        let magic = frame_magic(self.salt).to_le_bytes();
        let mut used = offset;
        let mut at = offset;
        while at < self.length {
            let chunk = self.bytes(at, WINDOW)?;
            if chunk.is_empty() {
                break;
            }
            let read = chunk.len() as u64;
            let Some(last) = chunk.iter().rposition(|byte| *byte != 0) else {
                at += read;
                continue;
            };
            used = at + last as u64 + 1;
            let candidates: Vec<u64> = (0..chunk.len())
                .step_by(8)
                .filter(|i| chunk[*i..].starts_with(&magic))
                .map(|i| at + i as u64)
                .filter(|candidate| *candidate > offset)
                .collect();
            for candidate in candidates {
                if self.frame_at(candidate)?.is_some() {
                    return Ok((Some(candidate), used));
                }
            }
            at += read;
        }
        Ok((None, used))
    }

    /// Up to `want` bytes at `offset`; fewer only at the end of the file.
    fn bytes(&mut self, offset: u64, want: usize) -> io::Result<&[u8]> {
        let want = usize::try_from(self.length.saturating_sub(offset)).unwrap_or(usize::MAX).min(want);
        let inside = offset >= self.window_at && offset + want as u64 <= self.window_at + self.window.len() as u64;
        if !inside {
            let size =
                usize::try_from(self.length - offset.min(self.length)).unwrap_or(usize::MAX).min(want.max(WINDOW));
            self.window.resize(size, 0);
            let read = read_full(self.file, &mut self.window, offset)?;
            self.window.truncate(read);
            self.window_at = offset;
        }
        let from = (offset - self.window_at) as usize;
        let to = (from + want).min(self.window.len());
        Ok(&self.window[from..to])
    }
}

/// Takes a frame apart that `frame_at` has verified.
fn parse(bytes: &[u8]) -> Frame<'_> {
    let payload = u32_at(bytes, 4) as usize;
    Frame {
        first: u64_at(bytes, 8),
        synced: u64_at(bytes, 16),
        records: u32_at(bytes, 24),
        crc: u32_at(bytes, 28),
        payload: &bytes[FRAME_HEADER..FRAME_HEADER + payload],
    }
}

fn frame_magic(salt: u64) -> u32 {
    FRAME_MAGIC ^ (salt as u32)
}

fn frame_crc(salt: u64, head: &[u8], payload: &[u8]) -> u32 {
    let mut hasher = crc32fast::Hasher::new();
    hasher.update(&salt.to_le_bytes());
    hasher.update(head);
    hasher.update(payload);
    hasher.finalize()
}

fn read_full(file: &dyn DiskFile, mut buffer: &mut [u8], mut offset: u64) -> io::Result<usize> {
    let mut total = 0;
    while !buffer.is_empty() {
        match file.read_at(buffer, offset) {
            Ok(0) => break,
            Ok(read) => {
                total += read;
                offset += read as u64;
                buffer = &mut buffer[read..];
            }
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    Ok(total)
}

fn u32_at(bytes: &[u8], at: usize) -> u32 {
    let mut out = [0; 4];
    out.copy_from_slice(&bytes[at..at + 4]);
    u32::from_le_bytes(out)
}

fn u64_at(bytes: &[u8], at: usize) -> u64 {
    let mut out = [0; 8];
    out.copy_from_slice(&bytes[at..at + 8]);
    u64::from_le_bytes(out)
}
