//! Waiting: `ppoll` and `eventfd`.

use std::fs::File;
use std::io;
use std::os::fd::FromRawFd;
use std::time::Duration;

use super::check;

/// Waits until one of `entries` is ready or the timeout ends; says how many are. `None` waits for ever. A signal ends the wait with none ready.
pub(crate) fn poll(entries: &mut [libc::pollfd], timeout: Option<Duration>) -> io::Result<usize> {
    let timeout = timeout.map(|timeout| libc::timespec {
        tv_sec: libc::time_t::try_from(timeout.as_secs()).unwrap_or(libc::time_t::MAX),
        tv_nsec: timeout.subsec_nanos().into(),
    });
    let timeout = timeout.as_ref().map_or(std::ptr::null(), std::ptr::from_ref);
    // SAFETY: `entries` is writable for its length; `timeout` is null or points to a local that lives through the call; the signal mask is absent.
    match check(unsafe { libc::ppoll(entries.as_mut_ptr(), entries.len() as libc::nfds_t, timeout, std::ptr::null()) })
    {
        Ok(ready) => Ok(ready as usize),
        Err(error) if error.kind() == io::ErrorKind::Interrupted => {
            entries.iter_mut().for_each(|entry| entry.revents = 0);
            Ok(0)
        }
        Err(error) => Err(error),
    }
}

/// A non-blocking event counter.
pub(crate) fn counter() -> io::Result<File> {
    // SAFETY: the call takes no pointers.
    let fd = check(unsafe { libc::eventfd(0, libc::EFD_CLOEXEC | libc::EFD_NONBLOCK) })?;
    // SAFETY: the kernel has just made this descriptor, and nothing else owns it.
    Ok(unsafe { File::from_raw_fd(fd) })
}
