//! Parts of files, read for connections: out of the page cache at once, off the disk in other threads.

use std::fs::File;
use std::io::{self, IoSliceMut};
use std::num::NonZeroU64;
use std::ops::Range;
use std::os::unix::fs::FileExt;
use std::sync::Arc;

use bytes::Bytes;
use outwork_telemetry::labels;
use rustix::fs::Advice;
use rustix::io::{Errno, ReadWriteFlags};
use tokio::sync::{Semaphore, SemaphorePermit};
use tokio::task::JoinHandle;

use crate::message::FilePart;

/// Bytes that the disk is asked for at once.
const PIECE: usize = 256 << 10;
/// Bytes that a connection holds of a file while they are sent.
pub(crate) const HELD: usize = 64 << 10;
/// Bytes that the kernel reads ahead, as it usually is.
const STRIDE: usize = 128 << 10;
/// What offsets, lengths and addresses are multiples of that are read past the page cache: the largest block that disks have.
const BLOCK: usize = 4096;
/// Reads past the page cache that are under way at once, of the process. A disk does no more with more.
static DIRECT_READS: Semaphore = Semaphore::const_new(32);
/// Connections that read past the page cache in large pieces, and one ahead: 128 MiB of them. Beyond that, pieces are small and come one by one,
/// for many slow clients would hold a lot of memory.
static AHEAD: Semaphore = Semaphore::const_new(256);

labels! {
    /// How a part of a file was sent.
    pub enum FileTransfer as "transfer" { Sendfile = "sendfile", Mapped = "mapped", Direct = "direct", Read = "read" }
}

/// Reads what the page cache has of a file, up to a whole buffer; `None` where that would have to wait for the disk.
pub(crate) fn read_cached(file: &File, buffer: &mut [u8], offset: u64) -> io::Result<Option<usize>> {
    loop {
        match rustix::io::preadv2(file, &mut [IoSliceMut::new(buffer)], offset, ReadWriteFlags::NOWAIT) {
            Ok(read) => return Ok(Some(read)),
            Err(Errno::INTR) => {}
            // Not every file system can tell; then nobody knows that it would not wait.
            Err(Errno::AGAIN | Errno::OPNOTSUPP) => return Ok(None),
            Err(error) => return Err(error.into()),
        }
    }
}

/// Whether a part of a file can be had without waiting for the disk, as far as the file system can tell, and as a few of its bytes show.
pub(crate) fn is_cached(file: &File, part: Range<u64>) -> bool {
    let flags = ReadWriteFlags::NOWAIT;
    let is_there = |at| rustix::io::preadv2(file, &mut [IoSliceMut::new(&mut [0])], at, flags) != Err(Errno::AGAIN);
    samples(part).all(is_there)
}

/// Where a part is looked at: its two ends, for others may have read only what lies before or behind, and in between as far apart as the kernel
/// reads ahead. To look at every page would cost about as much as to send it.
fn samples(part: Range<u64>) -> impl Iterator<Item = u64> {
    let last = part.end.checked_sub(1).filter(|last| *last > part.start);
    part.step_by(STRIDE).chain(last)
}

/// Has a part of a file read into the page cache.
pub(crate) async fn warm(file: Arc<File>, part: Range<u64>) -> io::Result<()> {
    let read = move || {
        // It is a hint, and the read below does it in any case.
        let _ = rustix::fs::fadvise(&file, part.start, NonZeroU64::new(part.end - part.start), Advice::WillNeed);
        // A byte here and there waits for what lies before it.
        let mut at = part.start;
        while at < part.end {
            at = (at + PIECE as u64).min(part.end);
            file.read_at(&mut [0], at - 1)?;
        }
        Ok(())
    };
    tokio::task::spawn_blocking(read).await.map_err(io::Error::other)?
}

/// Reads the next piece of what is left of a part, up to `most` bytes and at least one, in another thread; and has what follows read, too.
pub(crate) async fn read(file: &Arc<File>, left: Range<u64>, most: usize) -> io::Result<Bytes> {
    let file = Arc::clone(file);
    let read = move || {
        let left_bytes = left.end.saturating_sub(left.start);
        let ahead = NonZeroU64::new(left_bytes.min(PIECE as u64));
        let _ = rustix::fs::fadvise(&file, left.start, ahead, Advice::WillNeed);
        let mut piece = vec![0; usize::try_from(left_bytes).unwrap_or(usize::MAX).min(most)];
        file.read_exact_at(&mut piece, left.start)?;
        Ok(piece.into())
    };
    tokio::task::spawn_blocking(read).await.map_err(io::Error::other)?
}

/// Reads a part of a file past the page cache, while there is memory for that one piece ahead of what is being sent.
pub(crate) struct DirectReader {
    direct: Arc<File>,
    buffered: Arc<File>,
    left: Range<u64>,
    next: Option<JoinHandle<io::Result<Direct>>>,
    ahead: Option<SemaphorePermit<'static>>,
}

/// A piece that was read, and whether the file system refused to read it past the page cache.
pub(crate) struct Direct {
    pub(crate) piece: Aligned,
    pub(crate) refused: bool,
}

impl DirectReader {
    /// Of a part of a file.
    pub(crate) fn new(part: &FilePart, direct: &Arc<File>) -> Self {
        let left = part.offset..part.offset.saturating_add(part.length);
        Self {
            direct: Arc::clone(direct),
            buffered: Arc::clone(&part.file),
            left,
            next: None,
            ahead: AHEAD.try_acquire().ok(),
        }
    }

    fn begin(&mut self) -> Option<JoinHandle<io::Result<Direct>>> {
        if self.left.is_empty() {
            return None;
        }
        let (block, piece) = (BLOCK as u64, if self.ahead.is_some() { PIECE } else { HELD } as u64);
        // Pieces end where blocks do, so that none is read twice.
        let end = (self.left.start / block * block).saturating_add(piece).min(self.left.end);
        let part = self.left.start..end;
        self.left.start = end;
        let (direct, buffered) = (Arc::clone(&self.direct), Arc::clone(&self.buffered));
        Some(tokio::task::spawn_local(async move {
            let turn = DIRECT_READS.acquire().await.map_err(io::Error::other)?;
            let read = tokio::task::spawn_blocking(move || read_direct(&direct, &buffered, part)).await;
            drop(turn);
            read.map_err(io::Error::other)?
        }))
    }

    /// The next piece; `None` at the end.
    pub(crate) async fn next(&mut self) -> io::Result<Option<Direct>> {
        let Some(next) = self.next.take().or_else(|| self.begin()) else { return Ok(None) };
        let read = next.await.map_err(io::Error::other)??;
        if self.ahead.is_some() {
            self.next = self.begin();
        }
        Ok(Some(read))
    }
}

fn read_direct(direct: &File, buffered: &File, part: Range<u64>) -> io::Result<Direct> {
    match Aligned::read(direct, part.clone()) {
        Err(error) if Errno::from_io_error(&error) == Some(Errno::INVAL) => {
            let mut bytes = vec![0; usize::try_from(part.end - part.start).map_err(io::Error::other)?];
            buffered.read_exact_at(&mut bytes, part.start)?;
            let filled = 0..bytes.len();
            Ok(Direct { piece: Aligned { bytes, filled }, refused: true })
        }
        read => Ok(Direct { piece: read?, refused: false }),
    }
}

/// Memory that begins where a block may, with what was read into it.
pub(crate) struct Aligned {
    bytes: Vec<u8>,
    filled: Range<usize>,
}

impl AsRef<[u8]> for Aligned {
    fn as_ref(&self) -> &[u8] {
        self.bytes.get(self.filled.clone()).unwrap_or_default()
    }
}

impl Aligned {
    /// Reads a part whole, in blocks.
    fn read(file: &File, part: Range<u64>) -> io::Result<Self> {
        let block = BLOCK as u64;
        let start = part.start / block * block;
        let length = usize::try_from(part.end.next_multiple_of(block) - start).map_err(io::Error::other)?;
        let wanted = usize::try_from(part.end - start).map_err(io::Error::other)?;
        let mut bytes = vec![0; length + BLOCK];
        let begin = bytes.as_ptr().align_offset(BLOCK).min(BLOCK);
        let mut read = 0;
        while read < wanted {
            let room = bytes.get_mut(begin + read..begin + length).unwrap_or_default();
            match file.read_at(room, start + read as u64)? {
                0 => return Err(io::ErrorKind::UnexpectedEof.into()),
                some => read += some,
            }
        }
        let skipped = usize::try_from(part.start - start).map_err(io::Error::other)?;
        Ok(Self { bytes, filled: begin + skipped..begin + wanted })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::message::Transfer;

    /// A file on a real disk, as far as the machine has one: next to the test's program.
    fn file(length: usize) -> (tempfile::NamedTempFile, Vec<u8>) {
        let folder = std::env::current_exe().unwrap().parent().unwrap().to_owned();
        let named = tempfile::NamedTempFile::new_in(folder).unwrap();
        let content: Vec<u8> = (0..length).map(|at| (at % 251) as u8).collect();
        named.as_file().write_all_at(&content, 0).unwrap();
        (named, content)
    }

    fn direct(file: &tempfile::NamedTempFile) -> File {
        let flags = rustix::fs::OFlags::RDONLY | rustix::fs::OFlags::DIRECT;
        rustix::fs::open(file.path(), flags, rustix::fs::Mode::empty()).unwrap().into()
    }

    #[test]
    fn any_part_is_read_past_the_page_cache_byte_for_byte() {
        let (named, content) = file(3 * PIECE + 777);
        let (direct, buffered) = (Arc::new(direct(&named)), Arc::new(named.reopen().unwrap()));
        let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
        for range in [0..1, 1..4097, 4096..8192, 5000..PIECE + 5000, 0..content.len(), content.len() - 1..content.len()]
        {
            let part = FilePart {
                file: Arc::clone(&buffered),
                offset: range.start as u64,
                length: range.len() as u64,
                transfer: Transfer::Read,
            };
            let read = async {
                let (mut reader, mut read) = (DirectReader::new(&part, &direct), Vec::new());
                while let Some(next) = reader.next().await.unwrap() {
                    assert!(!next.refused, "the file system of the build reads past its cache");
                    read.extend_from_slice(next.piece.as_ref());
                }
                read
            };
            let read = tokio::task::LocalSet::new().block_on(&runtime, read);
            assert!(read == content[range.clone()], "{range:?}");
        }
    }

    #[test]
    fn a_part_is_looked_at_from_its_first_byte_to_its_last_as_the_kernel_reads_ahead() {
        let at = |part: Range<u64>| samples(part).collect::<Vec<_>>();
        assert_eq!((at(5..5), at(7..8), at(7..9)), (vec![], vec![7], vec![7, 8]));
        let (turn, stride) = (1u64 << 20, STRIDE as u64);
        let looked = at(9..9 + turn);
        assert_eq!((looked.first(), looked.last(), looked.len()), (Some(&9), Some(&(8 + turn)), 9));
        assert!(looked.windows(2).all(|pair| pair[1] - pair[0] <= stride));
    }

    #[test]
    fn who_finds_no_memory_for_reading_ahead_reads_small_pieces() {
        let (named, content) = file(PIECE);
        let part = FilePart {
            file: Arc::new(named.reopen().unwrap()),
            offset: 0,
            length: content.len() as u64,
            transfer: Transfer::Read,
        };
        let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
        let read = async {
            let mut reader = DirectReader { ahead: None, ..DirectReader::new(&part, &Arc::new(direct(&named))) };
            let mut pieces = Vec::new();
            while let Some(next) = reader.next().await.unwrap() {
                assert!(reader.next.is_none() && next.piece.as_ref().len() == HELD);
                pieces.extend_from_slice(next.piece.as_ref());
            }
            pieces
        };
        assert!(tokio::task::LocalSet::new().block_on(&runtime, read) == content);
    }

    #[test]
    fn what_cannot_be_read_past_the_page_cache_is_read_through_it() {
        let (named, content) = file(10_000);
        let (direct, buffered) = (direct(&named), named.reopen().unwrap());
        // An address that is no multiple of anything is refused as a whole file system may refuse all.
        let misaligned = direct.read_at(&mut [0; 1], 1).unwrap_err();
        assert_eq!(Errno::from_io_error(&misaligned), Some(Errno::INVAL));
        let read = read_direct(&direct, &buffered, 100..9_000).unwrap();
        assert!(read.piece.as_ref() == &content[100..9_000]);
        assert_eq!(read_direct(&direct, &buffered, 9_000..20_000).err().unwrap().kind(), io::ErrorKind::UnexpectedEof);
    }

    #[test]
    fn what_was_just_written_is_in_the_page_cache_and_what_is_dropped_from_it_has_to_be_read() {
        let (named, content) = file(2 * PIECE);
        let file = Arc::new(named.reopen().unwrap());
        let mut buffer = vec![0; 5000];
        let length = content.len() as u64;
        assert!(is_cached(&file, 0..length));
        assert_eq!(read_cached(&file, &mut buffer, 100).unwrap(), Some(5000));
        assert!(buffer == content[100..5100]);
        assert_eq!(read_cached(&file, &mut buffer, content.len() as u64).unwrap(), Some(0));
        named.as_file().sync_all().unwrap();
        rustix::fs::fadvise(&*file, 0, None, Advice::DontNeed).unwrap();
        let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
        runtime.block_on(async {
            if !is_cached(&file, 0..length) {
                assert_eq!(read_cached(&file, &mut buffer, 100).unwrap(), None);
            }
            warm(Arc::clone(&file), 0..length).await.unwrap();
            assert!(is_cached(&file, 0..length));
            assert!(read(&file, 7..length, 1000).await.unwrap() == content[7..1007]);
            assert!(read(&file, 7..10, 1000).await.unwrap() == content[7..10]);
        });
    }
}
