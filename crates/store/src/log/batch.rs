//! What waits for the disk: the batch being filled, sealed ones behind it, and empty buffers to fill next.

use std::collections::VecDeque;

use super::error::AppendError;
use super::frame::{FRAME_HEADER, RECORD_PREFIX, push_record};
use super::options::LogOptions;

/// Records that go to disk together, as one frame.
#[derive(Debug)]
pub(crate) struct Batch {
    /// Room for the frame header, then the payload; once sealed into a frame, also its padding.
    pub(crate) buffer: Vec<u8>,
    /// Bytes of payload.
    pub(crate) payload: usize,
    pub(crate) first: u64,
    pub(crate) records: u32,
    /// Start a new segment with this batch.
    pub(crate) rotate: bool,
}

impl Batch {
    fn new(mut buffer: Vec<u8>, first: u64) -> Self {
        buffer.clear();
        buffer.resize(FRAME_HEADER, 0);
        Self { buffer, payload: 0, first, records: 0, rotate: false }
    }

    /// Number of the last record.
    pub(crate) fn last(&self) -> u64 {
        self.first + u64::from(self.records) - 1
    }
}

/// What the commit thread is doing, so that an append wakes it only when that changes anything.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Commit {
    /// At work: it looks again before it sleeps.
    Busy,
    /// Asleep until there is anything.
    Idle,
    /// Asleep until a batch is full or the delay has passed.
    Gathering,
}

/// Everything under the append lock.
#[derive(Debug)]
pub(crate) struct Queue {
    open: Batch,
    sealed: VecDeque<Batch>,
    spare: Vec<Vec<u8>>,
    /// Memory of the batch that is being written.
    writing: usize,
    pending: usize,
    batch_records: u32,
    batch_bytes: usize,
    pending_limit: usize,
    pub(crate) commit: Commit,
    pub(crate) closed: bool,
}

/// Buffers kept for reuse; what a stall needed beyond it is given back to the allocator.
const SPARE_BUFFERS: usize = 4;

impl Queue {
    /// An empty queue whose first record will be `next`.
    pub(crate) fn new(options: &LogOptions, next: u64) -> Self {
        Self {
            open: Batch::new(Vec::with_capacity(64 << 10), next),
            sealed: VecDeque::new(),
            spare: vec![Vec::with_capacity(64 << 10)],
            writing: 0,
            pending: 0,
            batch_records: options.batch_records,
            batch_bytes: options.batch_bytes,
            pending_limit: options.pending_bytes,
            commit: Commit::Busy,
            closed: false,
        }
    }

    /// Number of the last record appended.
    pub(crate) fn last(&self) -> u64 {
        self.open.first + u64::from(self.open.records) - 1
    }

    /// Bytes appended and not durable yet.
    pub(crate) fn pending(&self) -> usize {
        self.pending
    }

    /// Bytes of memory that all buffers take.
    pub(crate) fn memory(&self) -> usize {
        let sealed: usize = self.sealed.iter().map(|batch| batch.buffer.capacity()).sum();
        let spare: usize = self.spare.iter().map(Vec::capacity).sum();
        let batches = self.sealed.capacity() * size_of::<Batch>();
        self.open.buffer.capacity() + self.writing + sealed + spare + batches
    }

    /// Appends a group that stays in one batch: after a crash all of it is there, or none. Says whether to wake the
    /// commit thread.
    pub(crate) fn append<'a>(
        &mut self,
        group: impl Iterator<Item = &'a [u8]>,
        bytes: usize,
        records: usize,
    ) -> Result<bool, AppendError> {
        let (limit_bytes, limit_records) = (self.batch_bytes, self.batch_records);
        if bytes > limit_bytes || records > limit_records as usize {
            return Err(AppendError::TooLarge { bytes, records, limit_bytes, limit_records });
        }
        if self.closed {
            return Err(AppendError::Closed);
        }
        if self.pending + bytes > self.pending_limit {
            return Err(AppendError::Full { pending: self.pending, limit: self.pending_limit });
        }
        let mut sealed = false;
        if self.open.payload + bytes > limit_bytes || self.open.records as usize + records > limit_records as usize {
            self.seal();
            sealed = true;
        }
        for record in group {
            push_record(&mut self.open.buffer, record);
        }
        self.open.payload += bytes;
        self.open.records += records as u32;
        self.pending += bytes;
        let wake = match self.commit {
            Commit::Busy => false,
            Commit::Idle => true,
            Commit::Gathering => {
                sealed || self.open.records >= limit_records || self.open.payload + RECORD_PREFIX >= limit_bytes
            }
        };
        if wake {
            self.commit = Commit::Busy;
        }
        Ok(wake)
    }

    /// Closes the batch being filled and says which record was the last; the next batch starts a new segment.
    pub(crate) fn rotate(&mut self) -> u64 {
        if self.open.records > 0 {
            self.seal();
        }
        self.open.rotate = true;
        self.last()
    }

    /// The next batch to write.
    pub(crate) fn take(&mut self) -> Option<Batch> {
        if self.sealed.is_empty() && self.open.records > 0 {
            self.seal();
        }
        let batch = self.sealed.pop_front()?;
        self.writing = batch.buffer.capacity();
        Some(batch)
    }

    /// Whether anything waits to be written.
    pub(crate) fn is_empty(&self) -> bool {
        self.sealed.is_empty() && self.open.records == 0
    }

    /// Whether a batch is full, so that gathering more for it is over.
    pub(crate) fn is_full(&self) -> bool {
        !self.sealed.is_empty()
            || self.open.records >= self.batch_records
            || self.open.payload + RECORD_PREFIX >= self.batch_bytes
    }

    /// Takes back a batch that is durable now.
    pub(crate) fn done(&mut self, batch: Batch) {
        self.pending -= batch.payload;
        self.writing = 0;
        if self.spare.len() < SPARE_BUFFERS {
            self.spare.push(batch.buffer);
        }
    }

    fn seal(&mut self) {
        let next = Batch::new(self.spare.pop().unwrap_or_default(), self.last() + 1);
        self.sealed.push_back(std::mem::replace(&mut self.open, next));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_memory_of_records_is_counted_from_their_append_until_their_buffer_is_given_back() {
        let options = LogOptions { batch_bytes: 1 << 20, ..LogOptions::new("unused") };
        let mut queue = Queue::new(&options, 1);
        let empty = queue.memory();
        let record = vec![7; 900_000];
        for _ in 0..6 {
            queue.append(std::iter::once(&record[..]), RECORD_PREFIX + record.len(), 1).unwrap();
        }
        let full = queue.memory();
        assert!(full > empty + 5 * record.len() && full >= queue.pending(), "{empty}, {full}");
        let mut batches = Vec::new();
        while let Some(batch) = queue.take() {
            assert!(queue.memory() >= record.len(), "the one being written counts");
            batches.push(batch);
        }
        batches.into_iter().for_each(|batch| queue.done(batch));
        assert!(queue.memory() < full, "only some are kept for the next");
        assert_eq!(queue.pending(), 0);
    }
}
