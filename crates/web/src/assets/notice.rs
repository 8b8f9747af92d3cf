//! Word that something in a folder has changed, for the thread that makes what is made of it.
//!
//! What is made depends on every name in every folder, so the folders themselves are watched (`inotify(7)`), each for whatever happens in it. What
//! that does not tell, on file systems of several machines or through links into hidden folders, is looked for at intervals.

use std::io;
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::sync::Arc;
use std::time::{Duration, Instant};

use rustix::event::{EventfdFlags, PollFd, PollFlags, Timespec, eventfd, poll};
use rustix::fs::inotify::{self, CreateFlags, WatchFlags};
use rustix::io::Errno;

use crate::files::watch::is_told_of;

/// How often it is looked for what would be told.
const LOOK: Duration = Duration::from_secs(30);
/// How often it is looked for what would not be told.
const LOOK_BLIND: Duration = Duration::from_secs(2);
/// What is asked of each folder.
const EVERYTHING: WatchFlags = WatchFlags::CREATE
    .union(WatchFlags::DELETE)
    .union(WatchFlags::MOVE)
    .union(WatchFlags::MODIFY)
    .union(WatchFlags::CLOSE_WRITE)
    .union(WatchFlags::ATTRIB)
    .union(WatchFlags::DELETE_SELF)
    .union(WatchFlags::MOVE_SELF);

/// Why a thread no longer waits.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Woken {
    /// Something has changed.
    Changed,
    /// Nothing is known to have; it is time to look.
    Due,
    /// There is nothing more to do.
    Stopped,
}

/// Ends the waiting of a thread, when it is told to or dropped.
#[derive(Debug, Clone)]
pub(super) struct Stop(Arc<OwnedFd>);

impl Stop {
    pub(super) fn new() -> io::Result<Self> {
        Ok(Self(Arc::new(eventfd(0, EventfdFlags::CLOEXEC | EventfdFlags::NONBLOCK)?)))
    }

    /// Ends it. A counter that is full has been told already.
    pub(super) fn stop(&self) {
        let _ = rustix::io::write(&*self.0, &1_u64.to_ne_bytes());
    }
}

/// The folders that are watched.
#[derive(Debug)]
pub(super) struct Notice {
    queue: Option<OwnedFd>,
    /// Not everything is told.
    blind: bool,
    stop: Stop,
}

impl Notice {
    /// Of no folder yet; `wanted` is whether inotify is to be used.
    pub(super) fn new(stop: &Stop, wanted: bool) -> Self {
        let queue = wanted.then(|| inotify::init(CreateFlags::NONBLOCK | CreateFlags::CLOEXEC).ok()).flatten();
        Self { blind: queue.is_none(), queue, stop: stop.clone() }
    }

    /// Watches a folder. To be called before it is read.
    pub(super) fn watch(&mut self, folder: BorrowedFd<'_>) {
        let Some(queue) = &self.queue else { return };
        let path = format!("/proc/self/fd/{}", folder.as_raw_fd());
        let watched = is_told_of(folder) && inotify::add_watch(queue, &*path, EVERYTHING | WatchFlags::ONLYDIR).is_ok();
        self.blind |= !watched;
    }

    /// What was seen was not all of it.
    pub(super) fn distrust(&mut self) {
        self.blind = true;
    }

    /// Waits for a change, and then until there has been none for a while, but not without end.
    pub(super) fn wait(&self, quiet: Duration) -> Woken {
        let woken = self.wait_for(if self.blind { LOOK_BLIND } else { LOOK });
        if woken != Woken::Changed {
            return woken;
        }
        let until = Instant::now() + quiet * 10;
        while Instant::now() < until {
            self.drain();
            match self.wait_for(quiet) {
                Woken::Changed => {}
                Woken::Due => break,
                Woken::Stopped => return Woken::Stopped,
            }
        }
        Woken::Changed
    }

    fn wait_for(&self, patience: Duration) -> Woken {
        let timeout = Timespec::try_from(patience).unwrap_or(Timespec { tv_sec: 1, tv_nsec: 0 });
        // Without a queue there is but one to listen to.
        let queue = self.queue.as_ref().map_or(self.stop.0.as_fd(), AsFd::as_fd);
        let mut polled = [
            PollFd::from_borrowed_fd(self.stop.0.as_fd(), PollFlags::IN),
            PollFd::from_borrowed_fd(queue, PollFlags::IN),
        ];
        loop {
            match poll(&mut polled, Some(&timeout)) {
                Err(Errno::INTR) => {}
                Err(_) | Ok(0) => return Woken::Due,
                Ok(_) if polled[0].revents().is_empty() => return Woken::Changed,
                Ok(_) => return Woken::Stopped,
            }
        }
    }

    /// Takes what was told out of the queue.
    fn drain(&self) {
        let Some(queue) = &self.queue else { return };
        let mut buffer = [MaybeUninit::uninit(); 4096];
        let mut reader = inotify::Reader::new(queue, &mut buffer);
        while matches!(reader.next(), Ok(_) | Err(Errno::INTR)) {}
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_change_wakes_and_so_does_the_end() {
        let folder = tempfile::tempdir().unwrap();
        let stop = Stop::new().unwrap();
        let mut notice = Notice::new(&stop, true);
        let open = std::fs::File::open(folder.path()).unwrap();
        notice.watch(open.as_fd());
        std::fs::write(folder.path().join("a"), "").unwrap();
        assert_eq!(notice.wait(Duration::from_millis(1)), Woken::Changed);
        stop.stop();
        assert_eq!(notice.wait(Duration::from_millis(1)), Woken::Stopped);
        let blind = Notice::new(&Stop::new().unwrap(), false);
        assert!(blind.blind);
        assert_eq!(blind.wait_for(Duration::from_millis(1)), Woken::Due);
    }
}
