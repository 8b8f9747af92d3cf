//! A snapshot file: the records of the source's whole state, in blocks, each a frame; the last frame ends the file.
//!
//! In a block, `first` counts the records of the file from 1, and `synced` is the length of the payload once
//! decompressed (0 where it is stored as it is). The end frame holds no records and this payload:
//! `end 8 | records 8 | taken 8 (Unix milliseconds) | checksum 4`, the checksum over the checksums of all blocks.

use std::io;

use super::disk::DiskFile;
use super::frame::{
    FRAME_HEADER, FRAMES_START, FileHeader, Found, Frame, FrameReader, MAX_PAYLOAD, SNAPSHOT_MAGIC, seal_frame,
};
use super::options::Compression;

/// Raw bytes gathered before a block is written.
const BLOCK: usize = 256 << 10;
/// Bytes written between syncs. Small, so that no `fdatasync` of the log has to wait for a large one of ours.
const SYNC_EVERY: u64 = 4 << 20;
const END_PAYLOAD: usize = 28;

/// Name of the snapshot that covers records up to `through`.
pub(crate) fn snapshot_name(through: u64) -> String {
    format!("snapshot-{through:020}.snap")
}

/// Writes a snapshot.
pub(crate) struct SnapshotWriter {
    file: Box<dyn DiskFile>,
    salt: u64,
    position: u64,
    synced: u64,
    /// Room for a frame header, then the block being filled.
    pub(crate) block: Vec<u8>,
    /// Records in it.
    pub(crate) in_block: u32,
    records: u64,
    checksum: crc32fast::Hasher,
    compressor: Option<zstd::bulk::Compressor<'static>>,
}

impl SnapshotWriter {
    /// Starts the snapshot that covers records up to `through` in an empty file.
    pub(crate) fn new(file: Box<dyn DiskFile>, salt: u64, through: u64, compression: Compression) -> io::Result<Self> {
        FileHeader { magic: SNAPSHOT_MAGIC, number: through, synced: 0, salt }.write(&*file)?;
        let compressor = match compression {
            Compression::None => None,
            Compression::Zstd(level) => Some(zstd::bulk::Compressor::new(level)?),
        };
        Ok(Self {
            file,
            salt,
            position: FRAMES_START,
            synced: 0,
            block: vec![0; FRAME_HEADER],
            in_block: 0,
            records: 0,
            checksum: crc32fast::Hasher::new(),
            compressor,
        })
    }

    /// Writes the block where it is large enough.
    pub(crate) fn write_full_block(&mut self) -> io::Result<()> {
        if self.block.len() - FRAME_HEADER >= BLOCK { self.write_block() } else { Ok(()) }
    }

    fn write_block(&mut self) -> io::Result<()> {
        if self.in_block == 0 {
            return Ok(());
        }
        let raw = self.block.len() - FRAME_HEADER;
        let mut unpacked = 0;
        if let Some(compressor) = &mut self.compressor {
            let packed = compressor.compress(&self.block[FRAME_HEADER..])?;
            if packed.len() < raw {
                self.block.truncate(FRAME_HEADER);
                self.block.extend_from_slice(&packed);
                unpacked = raw as u64;
            }
        }
        let crc = seal_frame(&mut self.block, self.salt, self.records + 1, unpacked, self.in_block);
        self.checksum.update(&crc.to_le_bytes());
        self.records += u64::from(self.in_block);
        self.put()
    }

    /// Writes the end frame and syncs. `end` is the last record whose effect the image may hold. Returns records and bytes.
    pub(crate) fn finish(mut self, end: u64, taken: u64) -> io::Result<(u64, u64)> {
        self.write_block()?;
        let checksum = self.checksum.clone().finalize();
        for number in [end, self.records, taken] {
            self.block.extend_from_slice(&number.to_le_bytes());
        }
        self.block.extend_from_slice(&checksum.to_le_bytes());
        seal_frame(&mut self.block, self.salt, self.records + 1, 0, 0);
        self.put()?;
        self.file.sync()?;
        Ok((self.records, self.position))
    }

    fn put(&mut self) -> io::Result<()> {
        self.file.write_at(&self.block, self.position)?;
        self.position += self.block.len() as u64;
        self.block.clear();
        self.block.resize(FRAME_HEADER, 0);
        self.in_block = 0;
        if self.position - self.synced >= SYNC_EVERY {
            self.file.sync()?;
            self.synced = self.position;
        }
        Ok(())
    }
}

/// What a snapshot's end frame says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct SnapshotEnd {
    pub(crate) end: u64,
    pub(crate) records: u64,
    pub(crate) taken: u64,
    checksum: u32,
}

impl SnapshotEnd {
    fn parse(frame: &Frame<'_>) -> Option<Self> {
        let payload: &[u8; END_PAYLOAD] = frame.payload.try_into().ok()?;
        let number = |at: usize| {
            let mut out = [0; 8];
            out.copy_from_slice(&payload[at..at + 8]);
            u64::from_le_bytes(out)
        };
        let checksum = u32::from_le_bytes([payload[24], payload[25], payload[26], payload[27]]);
        Some(Self { end: number(0), records: number(8), taken: number(16), checksum })
    }
}

/// Something wrong in a snapshot.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct SnapshotFault {
    pub(crate) offset: u64,
    pub(crate) bytes: u64,
    /// The records lost, counted within the snapshot.
    pub(crate) lost: Option<(u64, u64)>,
}

/// The end frame, and what is wrong.
pub(crate) type Verdict = (Option<SnapshotEnd>, Vec<SnapshotFault>);

/// Gives every valid block to `block`, decompressed, and tells the end frame and the faults found.
pub(crate) fn read_snapshot<E>(
    file: &dyn DiskFile,
    salt: u64,
    mut block: impl FnMut(&[u8], u32) -> Result<(), E>,
) -> io::Result<Result<Verdict, E>> {
    let mut reader = FrameReader::new(file, salt, FRAMES_START)?;
    let mut unpacked = Vec::new();
    let mut faults = Vec::new();
    let mut pending: Option<SnapshotFault> = None;
    let mut checksum = crc32fast::Hasher::new();
    let mut expected = 1;
    let mut end = None;
    loop {
        match reader.next()? {
            Found::Bad { offset, end } => pending = Some(SnapshotFault { offset, bytes: end - offset, lost: None }),
            Found::End { offset, torn } => {
                if end.is_none() {
                    faults.push(SnapshotFault { offset, bytes: torn, lost: None });
                }
                break;
            }
            Found::Frame(offset, frame) => {
                if frame.first != expected || pending.is_some() {
                    let mut fault = pending.take().unwrap_or(SnapshotFault { offset, bytes: 0, lost: None });
                    fault.lost = Some((expected, frame.first.saturating_sub(1)));
                    faults.push(fault);
                }
                if frame.records == 0 {
                    end = SnapshotEnd::parse(&frame);
                    break;
                }
                expected = frame.last() + 1;
                checksum.update(&frame.crc.to_le_bytes());
                let payload = match unpack(&frame, &mut unpacked) {
                    Ok(payload) => payload,
                    Err(_) => {
                        let lost = Some((frame.first, frame.last()));
                        faults.push(SnapshotFault { offset, bytes: frame.size(), lost });
                        continue;
                    }
                };
                if let Err(error) = block(payload, frame.records) {
                    return Ok(Err(error));
                }
            }
        }
    }
    if let Some(end) = end
        && faults.is_empty()
        && (end.records + 1 != expected || end.checksum != checksum.finalize())
    {
        faults.push(SnapshotFault { offset: FRAMES_START, bytes: 0, lost: None });
    }
    Ok(Ok((end, faults)))
}

/// A block's payload as it was before compression.
fn unpack<'a>(frame: &Frame<'a>, buffer: &'a mut Vec<u8>) -> io::Result<&'a [u8]> {
    if frame.synced == 0 {
        return Ok(frame.payload);
    }
    let size =
        usize::try_from(frame.synced).ok().filter(|size| *size <= MAX_PAYLOAD).ok_or(io::ErrorKind::InvalidData)?;
    buffer.resize(size, 0);
    match zstd::bulk::decompress_to_buffer(frame.payload, buffer)? == size {
        true => Ok(buffer),
        false => Err(io::ErrorKind::InvalidData.into()),
    }
}
