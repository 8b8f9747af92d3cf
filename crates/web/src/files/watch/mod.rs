//! Changes of files as the kernel tells of them (`inotify(7)`), so that what is kept needs no look at the disk to be served.
//!
//! - `index`: who depends on what.
//! - `walk`: what the way from a folder to a file depends on.
//!
//! Who makes something out of files takes a [`Ticket`] and has it follow every path that it is about to look up, whether there is something or
//! not: watches are set on the way, before each look. From then on a change raises the ticket's flag, and what was made is not used again. So
//! nothing can change unnoticed between the look and the watch.
//!
//! # When a change is seen
//! The kernel puts an event into the queue, and wakes who polls it, before the call returns that made the change. Each thread that serves polls
//! the queue together with its sockets. A request that was sent after the change therefore becomes ready after the event did, and events are
//! taken up in that order: it sees the change. Only bytes that a thread reads from a socket without having polled since (the rest of a pipelined
//! request that it was at already) may be answered as of the beginning of that turn, some microseconds before.
//!
//! # What inotify does not tell
//! Changes that another machine makes to a network file system, those below an overlay, and what programs write through memory maps. Watches are
//! only set on file systems that are known to be local, and whatever lies elsewhere, or through a queue that could not be had, or beyond
//! [`WATCHES`], is looked at with each request (`statx(2)`) instead. And everything that is kept is looked at once in a [`TURN`] all the same.

mod index;
mod walk;

use std::cell::RefCell;
use std::mem::MaybeUninit;
use std::os::fd::{AsRawFd, BorrowedFd, OwnedFd, RawFd};
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering};
use std::sync::{Arc, Weak};
use std::time::{Duration, Instant};
use std::{fmt, io};

use parking_lot::Mutex;
use rustix::fs::inotify::{self, CreateFlags, ReadFlags, WatchFlags};
use rustix::io::Errno;
use tokio::io::Interest;
use tokio::io::unix::AsyncFd;

use super::folder::Identity;
use crate::metrics::WebMetrics;
use index::{Dependency, Flag, Index, Place};

/// Inodes that are watched at most, for one folder that is served.
const WATCHES: usize = 16_384;
/// How long something may be kept without a look at it.
const TURN: Duration = Duration::from_secs(2);
/// Events that are told apart at once. After more, everything counts as changed.
const EVENTS: usize = 4096;
/// What is asked of a folder that names were looked up in.
const NAMES: WatchFlags = WatchFlags::CREATE
    .union(WatchFlags::DELETE)
    .union(WatchFlags::MOVE)
    .union(WatchFlags::ATTRIB)
    .union(WatchFlags::DELETE_SELF)
    .union(WatchFlags::MOVE_SELF);
/// What is asked of a file.
const CONTENT: WatchFlags = WatchFlags::MODIFY
    .union(WatchFlags::CLOSE_WRITE)
    .union(WatchFlags::ATTRIB)
    .union(WatchFlags::DELETE_SELF)
    .union(WatchFlags::MOVE_SELF);
/// What is asked of what the path to the folder itself leads through: others may be busy beside it, which is none of our business.
const WAY: WatchFlags = WatchFlags::DELETE_SELF.union(WatchFlags::MOVE_SELF);

thread_local! {
    /// The watches that this thread polls.
    static ATTENDED: RefCell<Vec<u64>> = const { RefCell::new(Vec::new()) };
}

static NEXT: AtomicU64 = AtomicU64::new(0);

#[derive(Debug)]
struct Queue(OwnedFd);

impl AsRawFd for Queue {
    fn as_raw_fd(&self) -> RawFd {
        self.0.as_raw_fd()
    }
}

/// Watches what is served of one folder.
pub(super) struct Watch {
    id: u64,
    /// None where inotify is not wanted or not to be had.
    queue: Option<Arc<Queue>>,
    index: Mutex<Index>,
    /// Some thread does not poll: nothing may be taken for unchanged because nothing was told.
    blind: AtomicBool,
    started: Instant,
    turn: AtomicU32,
    root: PathBuf,
    /// What that path led to, and who is to know when it no longer does.
    led_to: Mutex<Option<(Identity, Arc<Flag>)>>,
    pub(super) metrics: Arc<WebMetrics>,
}

impl fmt::Debug for Watch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Watch").field("root", &self.root).finish_non_exhaustive()
    }
}

impl Watch {
    /// Of a folder; `wanted` is whether inotify is to be used.
    pub(super) fn new(root: PathBuf, wanted: bool, metrics: Arc<WebMetrics>) -> Arc<Self> {
        let queue = wanted.then(|| inotify::init(CreateFlags::NONBLOCK | CreateFlags::CLOEXEC));
        let queue = queue.and_then(|queue| {
            let root = root.display();
            queue
                .inspect_err(
                    |error| tracing::warn!(%root, %error, "changes are not told of: each request looks for them"),
                )
                .ok()
        });
        Arc::new(Self {
            id: NEXT.fetch_add(1, Ordering::Relaxed),
            queue: queue.map(|queue| Arc::new(Queue(queue))),
            index: Mutex::default(),
            blind: AtomicBool::new(false),
            started: Instant::now(),
            turn: AtomicU32::new(0),
            root,
            led_to: Mutex::new(None),
            metrics,
        })
    }

    /// Whether changes are told of, and how many inodes are watched for that.
    pub(super) fn state(&self) -> (bool, usize) {
        (self.sees(), self.index.lock().len())
    }

    /// The number of the turn that it is, for [`Ticket`] holders to look once in each.
    pub(super) fn turn(&self) -> u32 {
        self.turn.load(Ordering::Relaxed)
    }

    /// Whether what tickets say can be relied on.
    fn sees(&self) -> bool {
        self.queue.is_some() && !self.blind.load(Ordering::Relaxed)
    }

    /// Has the calling thread poll, if it does not yet. Within a `LocalSet`, before anything is taken for unchanged.
    pub(super) fn attend(self: &Arc<Self>) {
        if !ATTENDED.with_borrow(|attended| attended.contains(&self.id)) {
            self.begin();
        }
    }

    #[cold]
    fn begin(self: &Arc<Self>) {
        ATTENDED.with_borrow_mut(|attended| attended.push(self.id));
        #[expect(
            deprecated,
            reason = "its replacement asks us to promise, unsafely, that the descriptor stays open; the queue owns it"
        )]
        let queue = self.queue.as_ref().map(|queue| AsyncFd::with_interest(Arc::clone(queue), Interest::READABLE));
        let queue = queue.transpose().unwrap_or_else(|error| {
            tracing::warn!(root = %self.root.display(), %error, "changes are not told of: each request looks for them");
            self.blind.store(true, Ordering::Relaxed);
            None
        });
        // What was told before this thread polled.
        let _ = self.drain();
        tokio::task::spawn_local(attend(self.id, queue, Arc::downgrade(self)));
    }

    /// Takes up what was told, until there is no more of it.
    fn drain(&self) -> io::Result<()> {
        let Some(queue) = &self.queue else { return Err(io::ErrorKind::WouldBlock.into()) };
        // Held throughout: who finds the queue empty may rely on what others took out of it.
        let mut index = self.index.lock();
        let mut buffer = [MaybeUninit::uninit(); 4096];
        let mut reader = inotify::Reader::new(&queue.0, &mut buffer);
        for _ in 0..EVENTS {
            let event = match reader.next() {
                Ok(event) => event,
                Err(Errno::INTR) => continue,
                Err(error) => return Err(error.into()),
            };
            self.metrics.watch_events.inc();
            let (place, kind) = (event.wd(), event.events());
            if kind.contains(ReadFlags::QUEUE_OVERFLOW) {
                self.metrics.watch_overflows.inc();
                index.raise_all();
            } else if kind.intersects(ReadFlags::IGNORED | ReadFlags::UNMOUNT) {
                let before = index.len();
                index.gone(place);
                self.count(before, index.len());
            } else {
                match event.file_name() {
                    Some(name) => index.name_changed(place, name.to_bytes()),
                    None => index.itself_changed(place),
                }
            }
        }
        // More is coming than can be told apart: what is looked up from now on is looked up after all of it.
        self.metrics.watch_overflows.inc();
        index.raise_all();
        Ok(())
    }

    /// Moves on to the turn that it is by now. The one who does looks where the path to the folder leads.
    fn move_on(&self) {
        let turn = self.started.elapsed().as_secs() / TURN.as_secs();
        if self.turn.swap(turn as u32, Ordering::Relaxed) == turn as u32 {
            return;
        }
        let led_to = self.led_to.lock().clone();
        let Some((identity, flag)) = led_to else { return };
        if !Identity::of_path(&self.root).is_ok_and(|now| now.is_same_inode(&identity)) {
            flag.raise();
        }
    }

    /// Watches an inode for a flag. Every flag that is added has to be removed.
    fn add(
        &self,
        inode: BorrowedFd<'_>,
        flags: WatchFlags,
        name: Option<&[u8]>,
        flag: &Arc<Flag>,
    ) -> io::Result<Dependency> {
        let queue = self.queue.as_ref().ok_or(io::ErrorKind::Unsupported)?;
        let path = format!("/proc/self/fd/{}", inode.as_raw_fd());
        // Held, so that nobody stops watching it in between.
        let mut index = self.index.lock();
        let before = index.len();
        let place = inotify::add_watch(&queue.0, &*path, flags | WatchFlags::MASK_ADD)?;
        if !index.knows(place) && (index.len() >= WATCHES || !is_told_of(inode)) {
            let _ = inotify::remove_watch(&queue.0, place);
            return Err(io::ErrorKind::Unsupported.into());
        }
        let dependency = Dependency { place, name: name.map(Into::into) };
        index.add(&dependency, flag);
        self.count(before, index.len());
        Ok(dependency)
    }

    fn remove(&self, dependencies: &[Dependency], flag: &Arc<Flag>) {
        let mut index = self.index.lock();
        let before = index.len();
        for dependency in dependencies {
            if index.remove(dependency, flag) {
                self.unwatch(dependency.place);
            }
        }
        self.count(before, index.len());
    }

    fn count(&self, before: usize, after: usize) {
        self.metrics.watches.add(after as i64 - before as i64);
    }

    fn unwatch(&self, place: Place) {
        if let Some(queue) = &self.queue {
            // It may be gone already, which comes to the same.
            let _ = inotify::remove_watch(&queue.0, place);
        }
    }
}

/// Whether changes of what lies on this file system are told of: on one that belongs to this machine alone, and not to layers below it.
pub(crate) fn is_told_of(inode: BorrowedFd<'_>) -> bool {
    /// ext2 to 4, XFS, Btrfs, tmpfs, ramfs, F2FS, ZFS, bcachefs, JFS, NTFS, exFAT, FAT (`statfs(2)`).
    const LOCAL: [u32; 13] = [
        0xef53,
        0x5846_5342,
        0x9123_683e,
        0x0102_1994,
        0x8584_58f6,
        0xf2f5_2010,
        0x2fc1_2fc1,
        0xca45_1a4e,
        0x3153_464a,
        0x5346_544e,
        0x7366_746e,
        0x2011_bab0,
        0x4d44,
    ];
    rustix::fs::fstatfs(inode).is_ok_and(|system| LOCAL.contains(&(system.f_type as u32)))
}

/// Polls for a thread, as long as somebody is interested.
async fn attend(id: u64, queue: Option<AsyncFd<Arc<Queue>>>, watch: Weak<Watch>) {
    let mut turns = tokio::time::interval(TURN);
    turns.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    let readable = async |queue: &Option<AsyncFd<Arc<Queue>>>| match queue {
        None => std::future::pending().await,
        Some(queue) => match queue.readable().await {
            Ok(mut ready) => {
                let Some(watch) = watch.upgrade() else { return false };
                match ready.try_io(|_| watch.drain()) {
                    Ok(Ok(())) => tokio::task::yield_now().await,
                    // Nothing is left.
                    Err(_) => {}
                    Ok(Err(error)) => return watch.give_up(&error),
                }
                true
            }
            Err(error) => watch.upgrade().is_some_and(|watch| watch.give_up(&error)),
        },
    };
    let mut polled = true;
    while polled {
        tokio::select! {
            biased;
            more = readable(&queue) => polled = more,
            _ = turns.tick() => match watch.upgrade() {
                Some(watch) => watch.move_on(),
                None => break,
            },
        }
    }
    ATTENDED.with_borrow_mut(|attended| attended.retain(|other| *other != id));
}

impl Watch {
    /// From now on each request looks. This thread need not poll any more.
    fn give_up(&self, error: &io::Error) -> bool {
        tracing::warn!(root = %self.root.display(), %error, "changes are no longer told of: each request looks for them");
        self.blind.store(true, Ordering::Relaxed);
        false
    }
}

/// What something was made of.
#[derive(Debug)]
pub(super) struct Ticket {
    watch: Arc<Watch>,
    flag: Arc<Flag>,
    dependencies: Vec<Dependency>,
    /// Not all of it could be watched.
    blind: bool,
    /// It follows nothing.
    idle: bool,
}

/// What a ticket says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Word {
    /// Nothing has changed.
    Unchanged,
    /// Something has.
    Changed,
    /// It has to be looked at.
    Unknown,
}

impl Ticket {
    pub(super) fn new(watch: &Arc<Watch>) -> Self {
        let blind = !watch.sees();
        Self { watch: Arc::clone(watch), flag: Arc::default(), dependencies: Vec::new(), blind, idle: false }
    }

    /// One that follows nothing, for what is not kept.
    pub(super) fn idle(watch: &Arc<Watch>) -> Self {
        Self { watch: Arc::clone(watch), flag: Arc::default(), dependencies: Vec::new(), blind: true, idle: true }
    }

    pub(super) fn is_idle(&self) -> bool {
        self.idle
    }

    pub(super) fn word(&self) -> Word {
        match self.flag.is_raised() {
            true => Word::Changed,
            false if self.blind || !self.watch.sees() => Word::Unknown,
            false => Word::Unchanged,
        }
    }

    pub(super) fn watch(&self) -> &Arc<Watch> {
        &self.watch
    }

    /// As if something had changed.
    pub(super) fn spoil(&self) {
        self.flag.raise();
    }

    fn depend(&mut self, inode: BorrowedFd<'_>, flags: WatchFlags, name: Option<&[u8]>) {
        if self.blind {
            return;
        }
        match self.watch.add(inode, flags, name, &self.flag) {
            Ok(dependency) => self.dependencies.push(dependency),
            Err(error) => {
                tracing::debug!(root = %self.watch.root.display(), %error, "a change here is not told of");
                self.watch.metrics.watch_refused.inc();
                self.blind = true;
            }
        }
    }

    /// The path to the folder itself leads to this one; says so once it no longer does.
    pub(super) fn leads_to(&self, folder: Identity) {
        *self.watch.led_to.lock() = Some((folder, Arc::clone(&self.flag)));
    }
}

impl Drop for Watch {
    fn drop(&mut self) {
        let watched = self.index.get_mut().len();
        self.count(watched, 0);
    }
}

impl Drop for Ticket {
    fn drop(&mut self) {
        if !self.dependencies.is_empty() {
            self.watch.remove(&self.dependencies, &self.flag);
        }
    }
}

#[cfg(test)]
mod tests;
