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
use tokio::sync::Semaphore;
use tokio::task::JoinHandle;

use crate::message::FilePart;

/// Bytes that are read off the disk at once.
const PIECE: usize = 256 << 10;
/// What offsets, lengths and addresses are multiples of that are read past the page cache: the largest block that disks have.
const BLOCK: usize = 4096;
/// Reads past the page cache that are under way at once, of the process. A disk does no more with more.
static DIRECT_READS: Semaphore = Semaphore::const_new(32);

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

/// Whether a byte of a file can be had without waiting for the disk, as far as the file system can tell.
pub(crate) fn is_cached(file: &File, offset: u64) -> bool {
    let flags = ReadWriteFlags::NOWAIT;
    rustix::io::preadv2(file, &mut [IoSliceMut::new(&mut [0])], offset, flags) != Err(Errno::AGAIN)
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

/// Reads the next piece of what is left of a part, at least one byte, in another thread.
pub(crate) async fn read(file: &Arc<File>, left: Range<u64>) -> io::Result<Bytes> {
    let file = Arc::clone(file);
    let read = move || {
        let mut piece = vec![0; piece_of(&left)];
        file.read_exact_at(&mut piece, left.start)?;
        Ok(piece.into())
    };
    tokio::task::spawn_blocking(read).await.map_err(io::Error::other)?
}

fn piece_of(left: &Range<u64>) -> usize {
    usize::try_from(left.end.saturating_sub(left.start)).unwrap_or(usize::MAX).min(PIECE)
}

/// Reads a part of a file past the page cache, one piece ahead of what is being sent.
pub(crate) struct DirectReader {
    direct: Arc<File>,
    buffered: Arc<File>,
    left: Range<u64>,
    ahead: Option<JoinHandle<io::Result<Direct>>>,
}

/// A piece that was read, and whether the file system refused to read it past the page cache.
pub(crate) struct Direct {
    pub(crate) piece: Aligned,
    pub(crate) refused: bool,
}

impl DirectReader {
    /// Begins to read.
    pub(crate) fn new(part: &FilePart, direct: &Arc<File>) -> Self {
        let left = part.offset..part.offset.saturating_add(part.length);
        let mut reader = Self { direct: Arc::clone(direct), buffered: Arc::clone(&part.file), left, ahead: None };
        reader.read_ahead();
        reader
    }

    fn read_ahead(&mut self) {
        // Pieces end where blocks do, so that none is read twice.
        let end = (self.left.start / BLOCK as u64 * BLOCK as u64).saturating_add(PIECE as u64).min(self.left.end);
        if self.left.is_empty() {
            return;
        }
        let part = self.left.start..end;
        self.left.start = end;
        let (direct, buffered) = (Arc::clone(&self.direct), Arc::clone(&self.buffered));
        self.ahead = Some(tokio::task::spawn_local(async move {
            let turn = DIRECT_READS.acquire().await.map_err(io::Error::other)?;
            let read = tokio::task::spawn_blocking(move || read_direct(&direct, &buffered, part)).await;
            drop(turn);
            read.map_err(io::Error::other)?
        }));
    }

    /// The next piece; `None` at the end.
    pub(crate) async fn next(&mut self) -> io::Result<Option<Direct>> {
        let Some(ahead) = self.ahead.take() else { return Ok(None) };
        let read = ahead.await.map_err(io::Error::other)??;
        self.read_ahead();
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
        assert!(is_cached(&file, 100));
        assert_eq!(read_cached(&file, &mut buffer, 100).unwrap(), Some(5000));
        assert!(buffer == content[100..5100]);
        assert_eq!(read_cached(&file, &mut buffer, content.len() as u64).unwrap(), Some(0));
        named.as_file().sync_all().unwrap();
        rustix::fs::fadvise(&*file, 0, None, Advice::DontNeed).unwrap();
        let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
        runtime.block_on(async {
            if !is_cached(&file, 100) {
                assert_eq!(read_cached(&file, &mut buffer, 100).unwrap(), None);
            }
            warm(Arc::clone(&file), 0..content.len() as u64).await.unwrap();
            assert!(is_cached(&file, 100) && is_cached(&file, content.len() as u64 - 1));
            assert!(read(&file, 7..content.len() as u64).await.unwrap() == content[7..7 + PIECE]);
        });
    }
}
