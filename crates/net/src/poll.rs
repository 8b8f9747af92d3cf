//! Waiting for descriptors, level-triggered. A worker has few of them, so they are handed in anew for each wait and none is ever stale.

use std::fs::File;
use std::io::{Read, Write};
use std::marker::PhantomData;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use crate::{Context, Result, sys};

/// A descriptor to wait for.
pub struct Entry<'fd> {
    raw: libc::pollfd,
    borrowed: PhantomData<BorrowedFd<'fd>>,
}

impl<'fd> Entry<'fd> {
    /// No descriptor: never ready. For arrays that are not full.
    pub const NOTHING: Entry<'static> =
        Entry { raw: libc::pollfd { fd: -1, events: 0, revents: 0 }, borrowed: PhantomData };

    /// Wait until there is something to read.
    pub fn readable(source: &'fd impl AsFd) -> Entry<'fd> {
        let fd = source.as_fd().as_raw_fd();
        Entry { raw: libc::pollfd { fd, events: libc::POLLIN, revents: 0 }, borrowed: PhantomData }
    }

    /// Wait also until there is room to write, when `wanted`.
    pub fn or_writable(mut self, wanted: bool) -> Entry<'fd> {
        if wanted {
            self.raw.events |= libc::POLLOUT;
        }
        self
    }

    /// Whether there is something to read, or an error to collect by reading.
    pub fn is_readable(&self) -> bool {
        self.raw.revents & (libc::POLLIN | libc::POLLERR | libc::POLLHUP | libc::POLLNVAL) != 0
    }

    /// Whether an error waits to be collected: of a [carrier's socket](crate::carrier::Socket::failures), of which it is told until it is.
    pub fn has_errors(&self) -> bool {
        self.raw.revents & libc::POLLERR != 0
    }

    /// Whether there is room to write.
    pub fn is_writable(&self) -> bool {
        self.raw.revents & libc::POLLOUT != 0
    }
}

/// Waits until one of `entries` is ready or `timeout` has passed (nanosecond resolution; `None` waits for ever), and says how many are ready.
/// A signal ends the wait with none ready.
pub fn wait(entries: &mut [Entry<'_>], timeout: Option<Duration>) -> Result<usize> {
    let mut raw: [libc::pollfd; MAX_ENTRIES] = [libc::pollfd { fd: -1, events: 0, revents: 0 }; MAX_ENTRIES];
    let Some(raw) = raw.get_mut(..entries.len()) else {
        let source = std::io::ErrorKind::InvalidInput.into();
        return Err(crate::Error { action: format!("wait for more than {MAX_ENTRIES} descriptors"), source });
    };
    raw.iter_mut().zip(&*entries).for_each(|(raw, entry)| *raw = entry.raw);
    let ready = sys::event::poll(raw, timeout).context(|| "wait for descriptors".to_owned())?;
    entries.iter_mut().zip(raw).for_each(|(entry, raw)| entry.raw = *raw);
    Ok(ready)
}

/// Descriptors that one wait takes at most.
pub const MAX_ENTRIES: usize = 64;

/// Wakes a thread that waits for it to be readable. Waking a thread that is already being woken costs no system call.
#[derive(Debug)]
pub struct Waker {
    counter: File,
    woken: AtomicBool,
}

impl Waker {
    /// A waker that nobody has used yet.
    pub fn new() -> Result<Waker> {
        let counter = sys::event::counter().context(|| "make an event counter".to_owned())?;
        Ok(Waker { counter, woken: AtomicBool::new(false) })
    }

    /// Wakes the waiting thread. What was written before is seen by that thread after [`Waker::drain`].
    pub fn wake(&self) {
        if !self.woken.swap(true, Ordering::AcqRel) {
            // The only failure is a counter at its maximum, which is readable already.
            let _ = (&self.counter).write(&1u64.to_ne_bytes());
        }
    }

    /// Makes the waker wait again. The caller looks for its work after this, never before.
    pub fn drain(&self) {
        // Nothing to read is no failure: the wake was drained before.
        let _ = (&self.counter).read(&mut [0; 8]);
        self.woken.swap(false, Ordering::AcqRel);
    }
}

impl AsFd for Waker {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.counter.as_fd()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_waker_ends_the_wait_of_another_thread_until_it_is_drained() {
        let waker = Waker::new().unwrap();
        std::thread::scope(|scope| {
            scope.spawn(|| waker.wake());
            let mut entries = [Entry::readable(&waker)];
            assert_eq!(wait(&mut entries, None).unwrap(), 1);
            assert!(entries[0].is_readable());
        });
        waker.wake();
        waker.drain();
        let mut entries = [Entry::readable(&waker)];
        assert_eq!(wait(&mut entries, Some(Duration::ZERO)).unwrap(), 0);
        waker.wake();
        assert_eq!(wait(&mut entries, Some(Duration::ZERO)).unwrap(), 1);
    }

    #[test]
    fn no_wake_is_lost_between_two_threads_that_hand_over_work() {
        use std::sync::atomic::AtomicU64;
        let (waker, given) = (Waker::new().unwrap(), AtomicU64::new(0));
        std::thread::scope(|scope| {
            scope.spawn(|| {
                for _ in 0..20_000 {
                    given.fetch_add(1, Ordering::Release);
                    waker.wake();
                }
            });
            while given.load(Ordering::Acquire) < 20_000 {
                wait(&mut [Entry::readable(&waker)], None).unwrap();
                waker.drain();
            }
        });
    }

    #[test]
    fn nothing_is_never_ready() {
        let waker = Waker::new().unwrap();
        waker.wake();
        let mut entries = [Entry::NOTHING, Entry::readable(&waker), Entry::NOTHING];
        assert_eq!(wait(&mut entries, Some(Duration::ZERO)).unwrap(), 1);
        assert_eq!(entries.map(|entry| entry.is_readable()), [false, true, false]);
    }

    #[test]
    fn too_many_descriptors_are_refused() {
        let waker = Waker::new().unwrap();
        let mut entries: Vec<_> = (0..=MAX_ENTRIES).map(|_| Entry::readable(&waker)).collect();
        assert!(wait(&mut entries, Some(Duration::ZERO)).is_err());
    }
}
