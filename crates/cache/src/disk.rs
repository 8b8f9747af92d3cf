//! L3: disk of this machine.
//!
//! A ring of segments: entries are appended to the newest in large writes, and the oldest segment goes as a whole. What was read of it since
//! it was written is written again to the newest, up to half a segment: first in, first out with another turn for what is wanted, as in
//! memory. A file an entry would cost a directory entry, an inode and a system call or three for each, and leave the disk's seeks and the
//! flash's erase blocks to chance; a ring writes in order, frees megabytes at once, needs no compaction, and is as crash-safe as an append
//! is: a record has checksums, and what is not whole is not there. The price is that what is replaced or removed takes room until its
//! segment goes.
//!
//! In memory there are 16 bytes for each entry. Purges are not looked for: their bans are kept in a file of their own (synced before a
//! purge is answered) and held against what is read.

mod bans;
mod index;
mod readers;
mod segment;
mod writer;

use std::collections::VecDeque;
use std::fs::{File, OpenOptions, TryLockError};
use std::io::{self, IoSliceMut};
use std::os::unix::fs::{DirBuilderExt, FileExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use bytes::Bytes;
use parking_lot::Mutex;
use rustix::io::ReadWriteFlags;
use tokio::sync::oneshot;

use crate::behind::{Behind, Op};
use crate::breaker::{Circuit, Fuse};
use crate::codec;
use crate::config::L3;
use crate::entry::{Clock, Entry, Key};
use crate::metrics::{Behind as Below, CacheMetrics, Tier};
use crate::purge::{Bans, Epoch, Era};
use bans::BanFile;
use index::{Index, Place, SLOTS, tag};
use readers::Readers;
use segment::Segment;
use writer::{Active, Writer};

/// Records up to this size are read by whoever asks, if that needs no waiting for the disk.
const AT_ONCE: usize = 128 << 10;

/// Why the disk's tier could not be opened.
#[derive(Debug, thiserror::Error)]
pub enum DiskError {
    /// Another process has the directory.
    #[error("{path} is in use by another Outwork: set another cache.l3.path")]
    Locked {
        /// The lock file.
        path: PathBuf,
    },
    /// The operating system refused.
    #[error("cannot {action} {path}: {source}")]
    Io {
        /// What was tried.
        action: &'static str,
        /// On what.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
}

impl DiskError {
    fn io(action: &'static str, path: &Path) -> impl FnOnce(io::Error) -> Self {
        move |source| Self::Io { action, path: path.to_owned(), source }
    }
}

/// Which record lies where, and the files of the segments by their slot.
struct Map {
    index: Index,
    files: Vec<Option<Arc<File>>>,
}

/// What the threads share.
struct Shared {
    map: Mutex<Map>,
    behind: Behind,
    bans: Arc<Bans>,
    file: Mutex<BanFile>,
    /// The newest ban that is on stable storage.
    persisted: AtomicU64,
    wipe: AtomicBool,
    fuse: Fuse,
    metrics: Arc<CacheMetrics>,
    clock: Clock,
    ttl: Duration,
    used: AtomicU64,
}

/// The tier.
pub(crate) struct Disk {
    shared: Arc<Shared>,
    readers: Readers,
    writer: Mutex<Option<JoinHandle<()>>>,
    max_entry: usize,
    timeout: Duration,
    size: u64,
    /// Until it is closed: from then on the directory may be another process's.
    lock: Mutex<Option<Lock>>,
}

/// What was on disk of purges when it was opened.
pub(crate) struct Past {
    /// The purges of this instance and of others.
    pub(crate) bans: Arc<Bans>,
    /// What other instances told of up to that number is among them.
    pub(crate) epoch: Option<Epoch>,
}

impl Shared {
    /// Counts a failure, and says so when the tier is left alone because of it.
    fn failed(&self, action: &str, error: &io::Error) {
        self.metrics.errors.of(Tier::L3).inc();
        if self.fuse.failed() {
            tracing::warn!(%error, "cannot {action} the cache on disk; it is left alone for a while");
        } else {
            tracing::debug!(%error, "cannot {action} the cache on disk");
        }
    }

    /// Brings bans to stable storage that are not there yet; `epoch` is what other instances told of up to now. Whether that was possible.
    fn keep_bans(&self, epoch: Option<Epoch>) -> bool {
        if epoch.is_none() && self.bans.era().0 <= self.persisted.load(Ordering::Acquire) {
            return true;
        }
        let mut file = self.file.lock();
        let update = self.bans.with(|list| file.lacks(list, epoch));
        match file.add(update, epoch) {
            Ok(newest) => {
                self.persisted.store(newest, Ordering::Release);
                true
            }
            Err(error) => {
                self.failed("write a purge to", &error);
                false
            }
        }
    }
}

impl Disk {
    /// Opens the directory and finds what is there.
    pub(crate) fn open(
        settings: &L3,
        queue: usize,
        clock: Clock,
        metrics: Arc<CacheMetrics>,
    ) -> Result<(Self, Past), DiskError> {
        let dir = &settings.path;
        std::fs::DirBuilder::new()
            .recursive(true)
            .mode(0o700)
            .create(dir)
            .map_err(DiskError::io("create the directory", dir))?;
        let lock = lock(dir)?;
        let (file, found) = BanFile::open(dir).map_err(DiskError::io("read the purges in", dir))?;
        let epoch = found.epoch.filter(|_| found.whole);
        let persisted = AtomicU64::new(found.list.newest());
        let bans = Arc::new(Bans::new(found.list));
        let shared = Arc::new(Shared {
            map: Mutex::new(Map { index: Index::default(), files: vec![None; SLOTS] }),
            behind: Behind::new(queue),
            bans: Arc::clone(&bans),
            file: Mutex::new(file),
            persisted,
            wipe: AtomicBool::new(false),
            fuse: Fuse::new(settings.failures, settings.retry),
            metrics,
            clock,
            ttl: settings.ttl,
            used: AtomicU64::new(0),
        });
        let segment_bytes = settings.segment_bytes();
        let segments = match found.whole {
            true => load(&shared, dir, settings.max_entries as usize),
            false => discard(dir),
        };
        let segments = segments.map_err(DiskError::io("read the segments in", dir))?;
        let sizes = (settings.size.get(), segment_bytes);
        let mut writer = Writer::new(Arc::clone(&shared), dir.clone(), sizes, settings.max_entries as usize, segments);
        resume(&mut writer);
        let thread = std::thread::Builder::new().name("cache-write".to_owned()).spawn(move || writer.run());
        let thread = thread.map_err(DiskError::io("start the thread that writes to", dir))?;
        let readers = Readers::start(settings.readers).map_err(DiskError::io("start the threads that read", dir))?;
        let disk = Self {
            shared,
            readers,
            writer: Mutex::new(Some(thread)),
            max_entry: usize::try_from(settings.largest()).unwrap_or(usize::MAX),
            timeout: settings.timeout,
            size: settings.size.get(),
            lock: Mutex::new(Some(lock)),
        };
        Ok((disk, Past { bans, epoch }))
    }

    /// Looks for an entry. Requires the timer of a tokio runtime.
    pub(crate) async fn get(&self, key: &Key) -> Option<Arc<Entry>> {
        let metrics = &self.shared.metrics;
        let found = match self.shared.behind.look(key) {
            Some(Op::Store(entry, era)) => Some(entry).filter(|entry| self.is_good(key, entry, era)),
            Some(Op::Remove) => None,
            None => self.read(key).await,
        };
        let counter = if found.is_some() { &metrics.hits } else { &metrics.misses };
        counter.of(Tier::L3).inc();
        found
    }

    fn is_good(&self, key: &Key, entry: &Entry, era: Era) -> bool {
        entry.expires > (self.shared.clock)() && !self.shared.bans.bars(era, key, entry)
    }

    async fn read(&self, key: &Key) -> Option<Arc<Entry>> {
        let shared = &self.shared;
        let (place, file) = self.find(key)?;
        if !shared.fuse.admits() {
            shared.metrics.skipped.of(Below::L3).inc();
            return None;
        }
        let began = Instant::now();
        let read = match read_at_once(&file, place) {
            Some(bytes) => Ok(codec::decode(&bytes)),
            None => self.read_waiting(file, place).await,
        };
        shared.metrics.lookup_time.of(Below::L3).record(began.elapsed());
        let record = match read {
            Ok(record) => record,
            Err(error) => {
                shared.failed("read", &error);
                return None;
            }
        };
        shared.fuse.succeeded();
        match record {
            // Half of its key is that of another.
            Ok((header, _)) if header.key != *key => None,
            Ok((header, entry)) if self.is_good(key, &entry, Era(header.era)) => Some(Arc::new(entry)),
            Ok(_) => {
                shared.map.lock().index.remove_from(tag(key), place);
                None
            }
            Err(error) => {
                shared.metrics.damaged.of(Below::L3).inc();
                tracing::debug!(%error, "an entry of the cache on disk is damaged");
                shared.map.lock().index.remove_from(tag(key), place);
                None
            }
        }
    }

    fn find(&self, key: &Key) -> Option<(Place, Arc<File>)> {
        let mut map = self.shared.map.lock();
        let place = map.index.read(tag(key))?;
        let file = map.files.get(place.slot()).cloned().flatten();
        if file.is_none() {
            map.index.remove_from(tag(key), place);
        }
        file.map(|file| (place, file))
    }

    /// Has a reader do it.
    async fn read_waiting(
        &self,
        file: Arc<File>,
        place: Place,
    ) -> io::Result<Result<(codec::Header, Entry), codec::Malformed>> {
        let (reply, answer) = oneshot::channel();
        let taken = self.readers.run(move || {
            let mut bytes = vec![0; place.length()];
            let read = file.read_exact_at(&mut bytes, place.offset());
            // Whoever asked may have given up.
            _ = reply.send(read.map(|()| codec::decode(&bytes.into())));
        });
        if !taken {
            return Err(io::Error::other("too many reads wait"));
        }
        match tokio::time::timeout(self.timeout, answer).await {
            Ok(Ok(read)) => read,
            Ok(Err(_)) => Err(io::Error::other("the reader has ended")),
            Err(_) => Err(io::ErrorKind::TimedOut.into()),
        }
    }

    /// Has an entry written soon, which has passed every ban up to `era`.
    pub(crate) fn put(&self, key: Key, entry: &Arc<Entry>, era: Era) {
        let fits = entry.len() <= self.max_entry;
        let op = if fits { Op::Store(Arc::clone(entry), era) } else { Op::Remove };
        if !self.shared.behind.add(key, op) {
            self.shared.metrics.dropped.of(Below::L3).inc();
        }
    }

    /// Has an entry removed soon. It is not found from now on.
    pub(crate) fn remove(&self, key: &Key) {
        if !self.shared.behind.add(*key, Op::Remove) {
            self.shared.map.lock().index.remove(tag(key));
        }
    }

    /// Has the bans so far written to stable storage; `epoch` is what other instances told of up to now. Whether they are there.
    pub(crate) async fn keep_bans(&self, epoch: Option<Epoch>) -> bool {
        let (reply, answer) = oneshot::channel();
        let shared = Arc::clone(&self.shared);
        let taken = self.readers.run(move || {
            // Whoever asked may have given up.
            _ = reply.send(shared.keep_bans(epoch));
        });
        let kept = taken && answer.await.unwrap_or(false);
        if !kept {
            // The writer tries again.
            self.shared.behind.nudge();
        }
        kept
    }

    /// Gives up everything, soon; a ban holds already.
    pub(crate) fn wipe(&self) {
        self.shared.map.lock().index.clear();
        self.shared.wipe.store(true, Ordering::Release);
        self.shared.behind.nudge();
    }

    /// Comes back once all that was put so far is written.
    pub(crate) async fn settled(&self) {
        self.shared.behind.settled().await;
    }

    pub(crate) fn entries(&self) -> usize {
        self.shared.map.lock().index.len()
    }

    pub(crate) fn used(&self) -> u64 {
        self.shared.used.load(Ordering::Relaxed)
    }

    pub(crate) fn limit(&self) -> u64 {
        self.size
    }

    pub(crate) fn queued(&self) -> usize {
        self.shared.behind.len()
    }

    pub(crate) fn circuit(&self) -> Circuit {
        self.shared.fuse.circuit()
    }

    /// Writes what waits, ends the threads, and leaves the directory to whoever opens it next.
    pub(crate) fn close(&self) {
        self.shared.behind.close();
        if self.writer.lock().take().is_some_and(|writer| writer.join().is_err()) {
            tracing::error!("the thread that writes the cache's disk has panicked");
        }
        self.readers.close();
        drop(self.lock.lock().take());
    }
}

impl Drop for Disk {
    fn drop(&mut self) {
        self.close();
    }
}

/// Reads a record, if all of it is in the page cache.
fn read_at_once(file: &File, place: Place) -> Option<Bytes> {
    if place.length() > AT_ONCE {
        return None;
    }
    let mut bytes = vec![0; place.length()];
    let read = rustix::io::preadv2(file, &mut [IoSliceMut::new(&mut bytes)], place.offset(), ReadWriteFlags::NOWAIT);
    read.is_ok_and(|read| read == bytes.len()).then(|| bytes.into())
}

/// A lock that ends with this, though a process that is just being started may have a copy of the file.
struct Lock(File);

impl Drop for Lock {
    fn drop(&mut self) {
        // Closing the file does it as well, unless there is such a copy.
        let _ = self.0.unlock();
    }
}

fn lock(dir: &Path) -> Result<Lock, DiskError> {
    let path = dir.join("lock");
    let opened = OpenOptions::new().create(true).truncate(false).write(true).mode(0o600).open(&path);
    let file = opened.map_err(DiskError::io("open", &path))?;
    match file.try_lock() {
        Ok(()) => Ok(Lock(file)),
        Err(TryLockError::WouldBlock) => Err(DiskError::Locked { path }),
        Err(TryLockError::Error(source)) => Err(DiskError::Io { action: "lock", path, source }),
    }
}

/// Removes every segment: what was purged is not known.
fn discard(dir: &Path) -> io::Result<VecDeque<Segment>> {
    for number in Segment::list(dir)? {
        Segment::open(dir, number)?.delete()?;
    }
    Ok(VecDeque::new())
}

/// Fills the index from the segments.
fn load(shared: &Shared, dir: &Path, max_entries: usize) -> io::Result<VecDeque<Segment>> {
    let began = Instant::now();
    let mut segments = VecDeque::new();
    for number in Segment::list(dir)? {
        let segment = Segment::open(dir, number)?;
        // A segment of the same slot is older by thousands of segments.
        let mut map = shared.map.lock();
        for mark in segment.contents()?.marks {
            match mark.units {
                0 => drop(map.index.remove(mark.tag)),
                _ if map.index.len() < max_entries => map.index.put(mark.tag, segment.place(&mark)),
                _ => drop(map.index.remove(mark.tag)),
            }
        }
        map.files[usize::from(segment.slot())] = Some(Arc::clone(&segment.file));
        drop(map);
        segments.push_back(segment);
    }
    let entries = shared.map.lock().index.len();
    let millis = began.elapsed().as_millis();
    tracing::debug!(entries, segments = segments.len(), millis, "the cache on disk is open");
    Ok(segments)
}

/// Goes on with the newest segment, if there is room in it.
fn resume(writer: &mut Writer) {
    let Some(mut segment) = writer.segments.pop_back() else { return };
    let resumed = segment.contents().and_then(|contents| {
        let finished = Segment::finished(u64::from(contents.end), contents.marks.len());
        let room = finished < writer.segment_bytes / 2;
        if room {
            segment.reopen(contents.end, writer.segment_bytes)?;
        }
        Ok(room.then_some(contents))
    });
    match resumed {
        Ok(Some(contents)) => {
            writer.active = Some(Active { segment, marks: contents.marks, end: contents.end });
        }
        Ok(None) => writer.segments.push_back(segment),
        Err(error) => {
            tracing::debug!(%error, "the newest segment of the cache is not written to any more");
            writer.segments.push_back(segment);
        }
    }
}

#[cfg(test)]
mod tests;
