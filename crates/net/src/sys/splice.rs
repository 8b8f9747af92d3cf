//! Pipes, and moving pages into and out of them.

use std::io;
use std::os::fd::{AsRawFd, BorrowedFd, FromRawFd, OwnedFd};
use std::ptr::null_mut;

use super::check;

/// A pipe that blocks nobody: the end to read from, and the one to write to.
pub(crate) fn pipe() -> io::Result<(OwnedFd, OwnedFd)> {
    let mut ends = [0; 2];
    // SAFETY: `ends` is writable for two descriptors during the call.
    check(unsafe { libc::pipe2(ends.as_mut_ptr(), libc::O_CLOEXEC | libc::O_NONBLOCK) })?;
    let [read, write] = ends;
    // SAFETY: the kernel has just made both descriptors, and nothing else owns them.
    Ok(unsafe { (OwnedFd::from_raw_fd(read), OwnedFd::from_raw_fd(write)) })
}

/// Gives a pipe room for so many octets, and says for how many it has.
pub(crate) fn set_pipe_size(fd: BorrowedFd<'_>, octets: i32) -> io::Result<i32> {
    // SAFETY: the call takes no pointers.
    check(unsafe { libc::fcntl(fd.as_raw_fd(), libc::F_SETPIPE_SZ, octets) })
}

/// Moves so many octets at most from one descriptor to the other, of which one is a pipe. None is the end of the first.
pub(crate) fn splice(from: BorrowedFd<'_>, to: BorrowedFd<'_>, most: usize) -> io::Result<usize> {
    let flags = libc::SPLICE_F_MOVE | libc::SPLICE_F_NONBLOCK;
    // SAFETY: without offsets the call takes no pointers.
    let moved = unsafe { libc::splice(from.as_raw_fd(), null_mut(), to.as_raw_fd(), null_mut(), most, flags) };
    usize::try_from(moved).map_err(|_| io::Error::last_os_error())
}
