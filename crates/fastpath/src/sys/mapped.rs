//! Arrays of the kernel's that are part of our memory: a write is a store, and no system call.

use std::io;
use std::os::fd::BorrowedFd;
use std::sync::atomic::AtomicU64;

use rustix::mm::{MapFlags, ProtFlags, mmap, munmap};

/// An array (`BPF_F_MMAPABLE`) in our memory.
#[derive(Debug)]
pub(crate) struct Mapped {
    start: std::ptr::NonNull<AtomicU64>,
    words: usize,
}

// SAFETY: what is behind the pointer is only ever reached as atomics.
unsafe impl Send for Mapped {}
// SAFETY: what is behind the pointer is only ever reached as atomics.
unsafe impl Sync for Mapped {}

impl Mapped {
    /// Maps the array behind `fd`, which has so many words of 64 bits: its elements lie on multiples of eight octets.
    pub(crate) fn new(fd: BorrowedFd<'_>, words: usize) -> io::Result<Mapped> {
        // SAFETY: a new mapping, at an address of the kernel's choice, touches no memory that is ours.
        let start = unsafe {
            mmap(std::ptr::null_mut(), words * 8, ProtFlags::READ | ProtFlags::WRITE, MapFlags::SHARED, fd, 0)?
        };
        let start = std::ptr::NonNull::new(start.cast()).ok_or(io::ErrorKind::OutOfMemory)?;
        Ok(Mapped { start, words })
    }

    /// Its words.
    pub(crate) fn words(&self) -> &[AtomicU64] {
        // SAFETY: the mapping has so many words, is aligned to pages, readable and writable until `self` goes, and is reached by nobody but as atomics, or by
        // the kernel's programs, whose accesses are of whole words.
        unsafe { std::slice::from_raw_parts(self.start.as_ptr(), self.words) }
    }
}

impl Drop for Mapped {
    fn drop(&mut self) {
        // SAFETY: the mapping is ours, and nobody borrows it any more. It fails only for addresses that are none.
        let _ = unsafe { munmap(self.start.as_ptr().cast(), self.words * 8) };
    }
}
