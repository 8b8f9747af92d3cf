//! Rings that a process and the kernel share (AF_XDP): one writes, the other reads, each says how far it is.

use std::io;
use std::os::fd::BorrowedFd;
use std::ptr::NonNull;
use std::sync::atomic::{AtomicU32, Ordering};

use rustix::mm::{MapFlags, ProtFlags, mmap, mmap_anonymous, munmap};
use rustix::net::xdp::XdpRingOffset;

/// An entry of a ring.
///
/// # Safety
/// `repr(C)` as the kernel has it, and any bytes are one.
pub(crate) unsafe trait Entry: Copy {}

// SAFETY: an integer.
unsafe impl Entry for u64 {}

/// Where a frame lies in the shared memory (`struct xdp_desc`).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(C)]
pub(crate) struct Descriptor {
    pub(crate) address: u64,
    pub(crate) length: u32,
    pub(crate) options: u32,
}

// SAFETY: integers, laid out as the kernel's structure is.
unsafe impl Entry for Descriptor {}

/// A ring, of which this end is either the writer or the reader.
#[derive(Debug)]
pub(crate) struct Ring<T> {
    start: NonNull<u8>,
    length: usize,
    offset: XdpRingOffset,
    size: u32,
    entries: std::marker::PhantomData<T>,
}

// SAFETY: the mapping is nobody else's in this process, and is reached through `&mut self` or as atomics.
unsafe impl<T> Send for Ring<T> {}

impl<T: Entry> Ring<T> {
    /// Maps a ring of `size` entries, a power of two, that the socket was told to have. `page` is which ring, `offset` where its parts are.
    pub(crate) fn new(socket: BorrowedFd<'_>, page: u64, offset: XdpRingOffset, size: u32) -> io::Result<Ring<T>> {
        let length = offset.desc as usize + size as usize * size_of::<T>();
        // SAFETY: a new mapping, at an address of the kernel's choice, touches no memory that is ours.
        let start = unsafe {
            mmap(
                std::ptr::null_mut(),
                length,
                ProtFlags::READ | ProtFlags::WRITE,
                MapFlags::SHARED | MapFlags::POPULATE,
                socket,
                page,
            )?
        };
        let start = NonNull::new(start.cast()).ok_or(io::ErrorKind::OutOfMemory)?;
        Ok(Ring { start, length, offset, size, entries: std::marker::PhantomData })
    }

    fn word(&self, offset: u64) -> &AtomicU32 {
        // SAFETY: the kernel has said that a word is there, aligned, in the part that is mapped; both sides reach it as an atomic.
        unsafe { AtomicU32::from_ptr(self.start.as_ptr().add(offset as usize).cast()) }
    }

    fn entry(&self, at: u32) -> *mut T {
        let index = (at & (self.size - 1)) as usize;
        // SAFETY: `size` entries follow `desc`, and the mapping is as long as they are; the mask keeps the index below `size`, a power of two.
        unsafe { self.start.as_ptr().add(self.offset.desc as usize).cast::<T>().add(index) }
    }

    /// Writes entries, as many as there is room for, and says how many those were. For the writer's end.
    pub(crate) fn push(&mut self, entries: impl IntoIterator<Item = T>) -> u32 {
        let (written, read) = (self.word(self.offset.producer), self.word(self.offset.consumer));
        let from = written.load(Ordering::Relaxed);
        let room = self.size - from.wrapping_sub(read.load(Ordering::Acquire)).min(self.size);
        let mut count = 0;
        for entry in entries.into_iter().take(room as usize) {
            // SAFETY: the place is in the ring (`entry`), and the reader is done with it: it lies within the room that it has left.
            unsafe { self.entry(from.wrapping_add(count)).write(entry) };
            count += 1;
        }
        written.store(from.wrapping_add(count), Ordering::Release);
        count
    }

    /// Takes at most `most` entries. For the reader's end.
    pub(crate) fn pop(&mut self, most: usize, mut take: impl FnMut(T)) -> usize {
        let (written, read) = (self.word(self.offset.producer), self.word(self.offset.consumer));
        let from = read.load(Ordering::Relaxed);
        let waiting = written.load(Ordering::Acquire).wrapping_sub(from).min(self.size).min(most as u32);
        for at in 0..waiting {
            // SAFETY: the place is in the ring (`entry`), and the writer has written it and will not again before it is told that it was read.
            take(unsafe { self.entry(from.wrapping_add(at)).read() });
        }
        read.store(from.wrapping_add(waiting), Ordering::Release);
        waiting as usize
    }

    /// Room that the writer has.
    pub(crate) fn room(&self) -> u32 {
        let (written, read) = (self.word(self.offset.producer), self.word(self.offset.consumer));
        self.size - written.load(Ordering::Relaxed).wrapping_sub(read.load(Ordering::Acquire)).min(self.size)
    }

    /// Whether there is something that the reader has not taken.
    pub(crate) fn holds(&self) -> bool {
        self.room() < self.size
    }

    /// Whether the kernel wants to be told that there is something.
    pub(crate) fn wants_wakeup(&self) -> bool {
        const NEED_WAKEUP: u32 = 1;
        self.offset.flags.is_none_or(|flags| self.word(flags).load(Ordering::Relaxed) & NEED_WAKEUP != 0)
    }
}

impl<T> Drop for Ring<T> {
    fn drop(&mut self) {
        // SAFETY: the mapping is ours, and nobody borrows it any more. It fails only for addresses that are none.
        let _ = unsafe { munmap(self.start.as_ptr().cast(), self.length) };
    }
}

/// Memory in chunks that frames lie in, of which the kernel has some at any time.
#[derive(Debug)]
pub(crate) struct Chunks {
    start: NonNull<u8>,
    size: usize,
    count: u32,
    /// Those that are ours now.
    held: Vec<bool>,
}

// SAFETY: the mapping is nobody else's in this process; chunks are reached through `&mut self` only.
unsafe impl Send for Chunks {}

impl Chunks {
    /// So many chunks, all of them ours.
    pub(crate) fn new(count: u32, size: usize) -> io::Result<Chunks> {
        // SAFETY: a new mapping, at an address of the kernel's choice, touches no memory that is ours.
        let start = unsafe {
            let length = count as usize * size;
            mmap_anonymous(
                std::ptr::null_mut(),
                length,
                ProtFlags::READ | ProtFlags::WRITE,
                MapFlags::PRIVATE | MapFlags::POPULATE,
            )?
        };
        let start = NonNull::new(start.cast()).ok_or(io::ErrorKind::OutOfMemory)?;
        Ok(Chunks { start, size, count, held: vec![true; count as usize] })
    }

    /// Where they are.
    pub(crate) fn address(&self) -> u64 {
        self.start.as_ptr() as u64
    }

    /// Octets of all of them.
    pub(crate) fn length(&self) -> u64 {
        self.size as u64 * u64::from(self.count)
    }

    /// Gives a chunk to the kernel. Says whether it was ours.
    pub(crate) fn lend(&mut self, chunk: u32) -> bool {
        self.held.get_mut(chunk as usize).is_some_and(|held| std::mem::replace(held, false))
    }

    /// Takes a chunk from the kernel. Says whether it was the kernel's.
    pub(crate) fn take_back(&mut self, chunk: u32) -> bool {
        self.held.get_mut(chunk as usize).is_some_and(|held| !std::mem::replace(held, true))
    }

    /// A chunk that is ours.
    pub(crate) fn chunk(&mut self, chunk: u32) -> Option<&mut [u8]> {
        let held = self.held.get(chunk as usize).copied().unwrap_or(false);
        // SAFETY: the chunk is within the mapping, for `held` has an entry for each; and it is ours, so that the kernel does not touch it while it is borrowed.
        held.then(|| unsafe {
            std::slice::from_raw_parts_mut(self.start.as_ptr().add(chunk as usize * self.size), self.size)
        })
    }
}

impl Drop for Chunks {
    fn drop(&mut self) {
        // SAFETY: the mapping is ours, and nobody borrows it any more; the kernel holds pages of its own that it still uses.
        let _ = unsafe { munmap(self.start.as_ptr().cast(), self.length() as usize) };
    }
}
