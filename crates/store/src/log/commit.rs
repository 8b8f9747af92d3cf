//! The commit thread: takes what waits, writes it as one frame, syncs, publishes; and what it does when the disk fails.

use std::io;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant, SystemTime};

use parking_lot::{Condvar, Mutex, RwLock};

use super::Lsn;
use super::batch::{self, Batch, Queue};
use super::compaction::Upkeep;
use super::disk::Disk;
use super::error::{AppendError, OpenError, ReplayError, WaitError};
use super::frame::{FRAME_HEADER, FRAMES_START, RECORD_PREFIX, frame_size, seal_frame};
use super::options::{Durability, LogOptions};
use super::recovery::{self, Recovery};
use super::segment::{Fault, Files, OpenSegment, Segment, create_segment, segment_name};
use super::stats::{Commit, Counters, Failure, Health, Stats};

/// With [`Durability::None`] commits are at least this far apart: nobody waits for them.
const LAZY: Duration = Duration::from_millis(100);
/// First pause after a failure; doubles up to `BACKOFF_MAX`.
const BACKOFF_MIN: Duration = Duration::from_millis(20);
const BACKOFF_MAX: Duration = Duration::from_secs(2);

/// What only the commit thread touches.
#[derive(Debug)]
pub(crate) struct Writer {
    pub(crate) segment: Option<OpenSegment>,
    /// Taken from the queue and not durable yet.
    batch: Option<Batch>,
}

type Observer = Box<dyn Fn(&Commit) + Send + Sync>;

/// What the threads and the callers share.
pub(crate) struct Core {
    pub(crate) disk: Arc<dyn Disk>,
    pub(crate) options: LogOptions,
    pub(crate) queue: Mutex<Queue>,
    work: Condvar,
    /// Last record that counts as durable.
    pub(crate) durable: AtomicU64,
    /// Last record that was written, and synced where that is asked for; behind `durable` only with `Durability::None`.
    pub(crate) committed: AtomicU64,
    /// Last record known to be on stable storage: the evidence written into frames.
    pub(crate) synced: AtomicU64,
    /// A sync outside of a commit has failed since the last snapshot. The kernel counts those pages as clean now, so that
    /// a later sync of the same file proves nothing.
    pub(crate) sync_failed: AtomicBool,
    next_seq: AtomicU64,
    progress: Mutex<Progress>,
    progressed: Condvar,
    pub(crate) observers: RwLock<Vec<Observer>>,
    failure: Mutex<Option<Failure>>,
    pub(crate) files: Mutex<Files>,
    pub(crate) upkeep: Upkeep,
    pub(crate) counters: Counters,
}

#[derive(Debug, Default)]
struct Progress {
    /// The commit thread has ended: nothing becomes durable any more.
    ended: bool,
}

impl Core {
    /// Recovers what is on disk and starts a new segment; no threads.
    pub(crate) fn open(
        disk: Arc<dyn Disk>,
        options: LogOptions,
        replay: &mut dyn FnMut(&[u8]) -> Result<(), ReplayError>,
    ) -> Result<(Self, Writer, Recovery), OpenError> {
        let recovered = recovery::recover(&*disk, replay)?;
        let end = recovered.report.last.0;
        let seq = recovered.next_seq;
        let segment = create_segment(&*disk, options.segment_bytes, seq, end)
            .map_err(|fault| OpenError::io(fault.action, fault.path)(fault.error))?;
        recovery::clean(&*disk, &recovered)?;
        let mut segments = recovered.segments;
        let upkeep = Upkeep::default();
        upkeep.grown.store(segments.iter().map(|segment| segment.bytes).sum(), Ordering::Relaxed);
        segments.push(Segment { seq, last: 0, bytes: FRAMES_START });
        let core = Self {
            queue: Mutex::new(Queue::new(&options, end + 1)),
            work: Condvar::new(),
            durable: AtomicU64::new(end),
            committed: AtomicU64::new(end),
            synced: AtomicU64::new(end),
            sync_failed: AtomicBool::new(false),
            next_seq: AtomicU64::new(seq + 1),
            progress: Mutex::default(),
            progressed: Condvar::new(),
            observers: RwLock::default(),
            failure: Mutex::new(None),
            files: Mutex::new(Files { segments, spare: None, snapshot: recovered.snapshot }),
            upkeep,
            counters: Counters::default(),
            disk,
            options,
        };
        Ok((core, Writer { segment: Some(segment), batch: None }, recovered.report))
    }

    pub(crate) fn append<'a>(&self, group: impl Iterator<Item = &'a [u8]> + Clone) -> Result<Lsn, AppendError> {
        let (mut bytes, mut records) = (0, 0);
        for record in group.clone() {
            bytes += RECORD_PREFIX + record.len();
            records += 1;
        }
        let mut queue = self.queue.lock();
        let result = queue.append(group, bytes, records);
        let last = queue.last();
        if self.options.durability == Durability::None && result.is_ok() {
            self.durable.store(last, Ordering::Release);
        }
        drop(queue);
        match result {
            Ok(false) => {}
            Ok(true) => {
                self.work.notify_one();
            }
            Err(error) => {
                self.counters.refused.fetch_add(1, Ordering::Relaxed);
                return Err(error);
            }
        }
        Ok(Lsn(last))
    }

    /// Waits until the record is durable.
    pub(crate) fn wait(&self, lsn: Lsn, deadline: Instant) -> Result<(), WaitError> {
        self.wait_for(&self.durable, lsn, Some(deadline))
    }

    /// Waits until the record is in a file, however long that takes.
    pub(crate) fn wait_committed(&self, lsn: Lsn) -> Result<(), WaitError> {
        self.wait_for(&self.committed, lsn, None)
    }

    fn wait_for(&self, mark: &AtomicU64, lsn: Lsn, deadline: Option<Instant>) -> Result<(), WaitError> {
        let mut progress = self.progress.lock();
        loop {
            if mark.load(Ordering::Acquire) >= lsn.0 {
                return Ok(());
            }
            if progress.ended {
                return Err(WaitError::Closed(lsn));
            }
            match deadline {
                None => self.progressed.wait(&mut progress),
                Some(deadline) => {
                    if self.progressed.wait_until(&mut progress, deadline).timed_out()
                        && mark.load(Ordering::Acquire) < lsn.0
                    {
                        drop(progress);
                        return Err(match self.health() {
                            Health::Ok => WaitError::Deadline(lsn),
                            Health::Failed(failure) => WaitError::Failing { lsn, failure },
                        });
                    }
                }
            }
        }
    }

    pub(crate) fn health(&self) -> Health {
        let Some(mut failure) = self.failure.lock().clone() else { return Health::Ok };
        let queue = self.queue.lock();
        failure.pending_bytes = queue.pending();
        failure.pending_records = queue.last().saturating_sub(self.durable.load(Ordering::Acquire));
        Health::Failed(failure)
    }

    pub(crate) fn stats(&self) -> Stats {
        let get = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        let counters = &self.counters;
        let (pending_bytes, buffer_bytes) = {
            let queue = self.queue.lock();
            (queue.pending(), queue.memory())
        };
        let files = self.files.lock();
        Stats {
            batches: get(&counters.batches),
            records: get(&counters.records),
            bytes: get(&counters.bytes),
            syncs: get(&counters.syncs),
            failures: get(&counters.failures),
            refused: get(&counters.refused),
            commit_time: Duration::from_nanos(get(&counters.nanos)),
            commit_time_max: Duration::from_nanos(get(&counters.nanos_max)),
            pending_bytes,
            buffer_bytes,
            segments: files.segments.len(),
            log_bytes: files.segments.iter().map(|segment| segment.bytes).sum(),
            snapshot: files.snapshot,
            compactions: get(&counters.compactions),
            compaction_failures: get(&counters.compaction_failures),
            compaction_error: self.upkeep.error(),
        }
    }

    pub(crate) fn begin_close(&self) {
        self.queue.lock().closed = true;
        self.work.notify_all();
        self.upkeep.close();
    }

    /// Commits the next batch, if there is one.
    pub(crate) fn step(&self, writer: &mut Writer) -> Result<bool, Failure> {
        let batch = match writer.batch.take() {
            Some(batch) => Some(batch),
            None => self.queue.lock().take(),
        };
        let Some(mut batch) = batch else { return Ok(false) };
        let started = Instant::now();
        match self.write(&mut writer.segment, &mut batch) {
            Ok(bytes) => {
                self.publish(batch, bytes, started.elapsed());
                Ok(true)
            }
            Err(fault) => {
                writer.batch = Some(batch);
                if let Some(segment) = writer.segment.take() {
                    self.abandon(segment);
                }
                Err(self.fail(fault))
            }
        }
    }

    /// Writes and syncs one batch; returns the bytes it took.
    fn write(&self, current: &mut Option<OpenSegment>, batch: &mut Batch) -> Result<usize, Fault> {
        let size = frame_size(batch.payload);
        let leave = current.as_ref().is_some_and(|segment| {
            let used = segment.position > FRAMES_START;
            used && (batch.rotate || segment.position + size > self.options.segment_bytes)
        });
        if leave {
            *current = None;
        }
        let segment = match current {
            Some(segment) => segment,
            None => current.insert(self.next_segment()?),
        };
        batch.rotate = false;
        batch.buffer.truncate(FRAME_HEADER + batch.payload);
        let synced = self.synced.load(Ordering::Acquire);
        seal_frame(&mut batch.buffer, segment.salt, batch.first, synced, batch.records);
        self.put(segment, &batch.buffer)?;
        self.account(segment, batch.last());
        Ok(batch.buffer.len())
    }

    /// Writes a sealed frame at the end of the segment, and syncs it where that is asked for.
    fn put(&self, segment: &mut OpenSegment, frame: &[u8]) -> Result<(), Fault> {
        let failed = |action| {
            let path = self.disk.path(&segment_name(segment.seq));
            move |error| Fault { action, path, error }
        };
        segment.file.write_at(frame, segment.position).map_err(failed("write"))?;
        if self.options.durability == Durability::Fsync {
            segment.file.sync().map_err(failed("sync"))?;
            self.counters.syncs.fetch_add(1, Ordering::Relaxed);
        }
        segment.position += frame.len() as u64;
        Ok(())
    }

    /// The spare segment, or a new one.
    fn next_segment(&self) -> Result<OpenSegment, Fault> {
        let (spare, newest) = {
            let mut files = self.files.lock();
            (files.spare.take(), files.segments.last().map_or(0, |segment| segment.seq))
        };
        let segment = match spare {
            Some(spare) if spare.seq > newest => spare,
            late => {
                // Prepared too late: a segment made here has overtaken it, and segments are ordered by number.
                if let Some(late) = late {
                    self.discard(late.seq);
                }
                self.create_segment()?
            }
        };
        self.files.lock().segments.push(Segment { seq: segment.seq, last: 0, bytes: FRAMES_START });
        self.upkeep.want_spare();
        Ok(segment)
    }

    /// Makes a segment ready for use.
    pub(crate) fn create_segment(&self) -> Result<OpenSegment, Fault> {
        let seq = self.next_seq.fetch_add(1, Ordering::Relaxed);
        create_segment(&*self.disk, self.options.segment_bytes, seq, self.synced.load(Ordering::Acquire))
    }

    fn account(&self, current: &OpenSegment, last: u64) {
        let mut files = self.files.lock();
        if let Some(segment) = files.segments.last_mut() {
            segment.last = last;
            segment.bytes = current.position;
        }
    }

    fn publish(&self, batch: Batch, bytes: usize, elapsed: Duration) {
        let (last, records) = (batch.last(), batch.records);
        if self.options.durability == Durability::Fsync {
            self.synced.store(last, Ordering::Release);
        }
        self.committed.store(last, Ordering::Release);
        self.durable.fetch_max(last, Ordering::AcqRel);
        if let Some(failure) = self.failure.lock().take() {
            tracing::info!(path = %failure.path.display(), attempts = failure.attempts, "the log is written again");
        }
        self.queue.lock().done(batch);
        let nanos = u64::try_from(elapsed.as_nanos()).unwrap_or(u64::MAX);
        let counters = &self.counters;
        counters.batches.fetch_add(1, Ordering::Relaxed);
        counters.records.fetch_add(u64::from(records), Ordering::Relaxed);
        counters.bytes.fetch_add(bytes as u64, Ordering::Relaxed);
        counters.nanos.fetch_add(nanos, Ordering::Relaxed);
        counters.nanos_max.fetch_max(nanos, Ordering::Relaxed);
        // Taking the lock orders this behind a waiter that has just looked and is about to sleep.
        drop(self.progress.lock());
        self.progressed.notify_all();
        let commit = Commit { durable: Lsn(last), records, bytes, elapsed };
        for observer in self.observers.read().iter() {
            observer(&commit);
        }
        self.upkeep.grown(bytes as u64, &self.options);
    }

    /// Leaves a segment whose last write or sync failed. Cutting its tail off gives reserved space back; recovery does
    /// not depend on it, so that it may fail too.
    fn abandon(&self, segment: OpenSegment) {
        let empty = segment.position == FRAMES_START;
        if empty {
            self.files.lock().segments.retain(|other| other.seq != segment.seq);
            self.discard(segment.seq);
        } else if let Err(error) = segment.file.truncate(segment.position) {
            tracing::debug!(segment = segment.seq, %error, "the tail of a failed segment stays");
        }
    }

    /// Gives the space reserved for the next segment back.
    pub(crate) fn discard_spare(&self) {
        let spare = self.files.lock().spare.take();
        if let Some(spare) = spare {
            self.discard(spare.seq);
        }
    }

    fn discard(&self, seq: u64) {
        let name = segment_name(seq);
        if let Err(error) = self.disk.remove(&name) {
            tracing::debug!(name, %error, "an unused segment stays until the next start");
        }
    }

    fn fail(&self, fault: Fault) -> Failure {
        self.counters.failures.fetch_add(1, Ordering::Relaxed);
        let mut slot = self.failure.lock();
        let failure = slot.get_or_insert_with(|| {
            tracing::error!(path = %fault.path.display(), error = %fault.error, "cannot {} the log; it is retried", fault.action);
            Failure {
                error: String::new(),
                since: SystemTime::now(),
                path: PathBuf::new(),
                attempts: 0,
                pending_bytes: 0,
                pending_records: 0,
            }
        });
        failure.attempts += 1;
        failure.error = format!("{}: {}", fault.action, fault.error);
        failure.path = fault.path;
        failure.clone()
    }

    /// Sleeps until there is something to commit; false once the log is closed and everything is written.
    fn await_work(&self) -> bool {
        let mut queue = self.queue.lock();
        while queue.is_empty() {
            if queue.closed {
                return false;
            }
            queue.commit = batch::Commit::Idle;
            self.work.wait(&mut queue);
        }
        queue.commit = batch::Commit::Busy;
        true
    }

    /// Leaves what comes right behind a commit time to gather, unless it fills a batch before. What comes after a quiet time finds
    /// nobody gathering, and is committed at once.
    fn gather(&self) {
        let delay = match self.options.durability {
            Durability::None => self.options.batch_delay.max(LAZY),
            Durability::Fsync | Durability::Os => self.options.batch_delay,
        };
        if delay.is_zero() {
            return;
        }
        let mut queue = self.queue.lock();
        let deadline = Instant::now() + delay;
        while !queue.is_full() && !queue.closed {
            queue.commit = batch::Commit::Gathering;
            if self.work.wait_until(&mut queue, deadline).timed_out() {
                break;
            }
        }
        queue.commit = batch::Commit::Busy;
    }

    /// Pauses between attempts; false once the log is being closed, so that the next attempt is the last one.
    fn pause(&self, pause: Duration) -> bool {
        let mut queue = self.queue.lock();
        let deadline = Instant::now() + pause;
        while !queue.closed {
            if self.work.wait_until(&mut queue, deadline).timed_out() {
                return true;
            }
        }
        false
    }

    /// Syncs every segment with a record behind `lsn`: what the weaker durabilities leave to the kernel.
    pub(crate) fn sync_after(&self, lsn: u64) -> Result<(), Fault> {
        let names: Vec<String> =
            self.files.lock().segments.iter().filter(|s| s.last > lsn).map(|s| segment_name(s.seq)).collect();
        for name in names {
            let failed = |error| Fault { action: "sync", path: self.disk.path(&name), error };
            match self.disk.open(&name).and_then(|file| file.sync()) {
                // Deleted meanwhile, by the snapshot that replaces it.
                Err(error) if error.kind() == io::ErrorKind::NotFound => {}
                Err(error) => {
                    self.sync_failed.store(true, Ordering::Release);
                    return Err(failed(error));
                }
                Ok(()) => {}
            }
        }
        Ok(())
    }

    /// Leaves the mark of a clean close, which is evidence for every record before it.
    pub(crate) fn finish(&self, writer: &mut Writer) -> Result<(), Fault> {
        let Some(segment) = &mut writer.segment else { return Ok(()) };
        let last = self.queue.lock().last();
        if self.options.durability != Durability::Fsync {
            if self.sync_failed.load(Ordering::Acquire) {
                return Ok(());
            }
            self.sync_after(self.synced.load(Ordering::Acquire))?;
            self.synced.store(last, Ordering::Release);
        }
        let mut frame = vec![0; FRAME_HEADER];
        seal_frame(&mut frame, segment.salt, last + 1, last, 0);
        let failed = |error| Fault { action: "close", path: self.disk.path(&segment_name(segment.seq)), error };
        segment.file.write_at(&frame, segment.position).map_err(failed)?;
        segment.file.truncate(segment.position + frame.len() as u64).map_err(failed)?;
        segment.file.sync().map_err(failed)
    }
}

/// The commit thread.
pub(crate) fn run(core: &Core, mut writer: Writer) {
    let mut backoff = BACKOFF_MIN;
    let mut last_attempt = false;
    loop {
        match core.step(&mut writer) {
            Ok(true) => {
                backoff = BACKOFF_MIN;
                core.gather();
            }
            Ok(false) => {
                if !core.await_work() {
                    break;
                }
            }
            Err(_) if last_attempt => break,
            Err(_) => {
                last_attempt = !core.pause(backoff);
                backoff = (backoff * 2).min(BACKOFF_MAX);
            }
        }
    }
    if core.failure.lock().is_none()
        && let Err(fault) = core.finish(&mut writer)
    {
        core.fail(fault);
    }
    core.progress.lock().ended = true;
    core.progressed.notify_all();
}
