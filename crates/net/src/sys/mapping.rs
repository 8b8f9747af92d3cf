//! Files in memory: `mmap` and sending from it.

use std::io;
use std::os::fd::{AsRawFd, BorrowedFd};
use std::ptr::NonNull;

/// A file's pages, read only. Nothing in this process reads them: where the file has become shorter that would end it (`SIGBUS`).
/// The kernel may copy out of them, which then fails with `EFAULT`.
#[derive(Debug)]
pub(crate) struct Pages {
    start: NonNull<libc::c_void>,
    length: usize,
}

// SAFETY: the pages are never read or written through the pointer, only handed to system calls, which any thread may do.
unsafe impl Send for Pages {}
// SAFETY: as above; the pointer and the length never change.
unsafe impl Sync for Pages {}

impl Pages {
    /// Maps the first `length` bytes of a file, at least one.
    pub(crate) fn map(file: BorrowedFd<'_>, length: usize) -> io::Result<Self> {
        // SAFETY: the kernel chooses the place, so nothing that is in use is replaced; it checks the descriptor and the length.
        let start =
            unsafe { libc::mmap(std::ptr::null_mut(), length, libc::PROT_READ, libc::MAP_SHARED, file.as_raw_fd(), 0) };
        if start == libc::MAP_FAILED {
            return Err(io::Error::last_os_error());
        }
        let start = NonNull::new(start).ok_or(io::ErrorKind::AddrNotAvailable)?;
        Ok(Self { start, length })
    }

    /// Bytes that are mapped.
    pub(crate) fn len(&self) -> usize {
        self.length
    }

    /// Sends up to `length` bytes from `offset` to a socket, as far as both reach. `more` says that others follow at once.
    pub(crate) fn send(&self, socket: BorrowedFd<'_>, offset: usize, length: usize, more: bool) -> io::Result<usize> {
        let length = length.min(self.length.saturating_sub(offset));
        if length == 0 {
            return Ok(0);
        }
        let flags = libc::MSG_NOSIGNAL | if more { libc::MSG_MORE } else { 0 };
        // SAFETY: `offset + length` is within the mapping, which lives as long as `self`. Only the kernel reads from there, and it fails with
        // `EFAULT` where there are no pages.
        let sent = unsafe {
            let from = self.start.as_ptr().byte_add(offset);
            libc::send(socket.as_raw_fd(), from, length, flags)
        };
        usize::try_from(sent).map_err(|_| io::Error::last_os_error())
    }
}

impl Drop for Pages {
    fn drop(&mut self) {
        // SAFETY: this is what `map` mapped, and nobody else knows the place.
        unsafe { libc::munmap(self.start.as_ptr(), self.length) };
    }
}
