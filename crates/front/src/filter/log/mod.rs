//! The access log: a line for each request, written after its answer has been sent.
//!
//! - `field`: what a line may say.
//! - `line`: a request, from its head to the end of its answer.
//! - `format`: lines as JSON and as the combined format; what must not be in them.
//! - `file`: where lines go, and what rotation does to it.
//!
//! A worker writes its lines into memory of its own kind: a lock that nobody else wants but for the moment in which the one
//! writing thread takes all that has gathered. Nothing waits for the disk, and what does not fit is dropped and counted.

mod field;
mod file;
mod format;
mod line;

use std::cell::Cell;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::thread::{JoinHandle, Thread};
use std::time::Duration;

use parking_lot::Mutex;

pub use field::LogField;
use file::Sink;
pub(crate) use line::Line;

use super::config::AccessLogSettings;
use super::metrics::FilterMetrics;

/// Buffers that workers spread over. A power of two.
const SHARDS: usize = 16;

/// Why there can be no access log.
#[derive(Debug, thiserror::Error)]
pub enum LogError {
    /// Its file cannot be opened.
    #[error("cannot open {path}: {source}")]
    Open {
        /// The file.
        path: String,
        /// The kernel's answer.
        source: std::io::Error,
    },
    /// Its thread cannot be started.
    #[error("cannot start the thread that writes it: {0}")]
    Thread(std::io::Error),
}

/// A running access log. Dropped, it writes what it has and ends.
#[derive(Debug)]
pub struct AccessLog {
    shared: Arc<Shared>,
    settings: AccessLogSettings,
    fields: Vec<LogField>,
    metrics: Arc<FilterMetrics>,
    thread: Mutex<Option<JoinHandle<()>>>,
    writer: Thread,
}

/// What workers and the writing thread share.
#[derive(Debug)]
struct Shared {
    shards: [Shard; SHARDS],
    reopen: AtomicBool,
    stop: AtomicBool,
}

/// Lines that wait to be written.
#[derive(Debug, Default)]
#[repr(align(64))]
struct Shard(Mutex<Buffer>);

/// Lines that wait, and the second that the clock of the newest shows, which most lines share.
#[derive(Debug, Default)]
pub(super) struct Buffer {
    text: Vec<u8>,
    clock: format::Clock,
}

static NEXT_SHARD: AtomicUsize = AtomicUsize::new(0);

thread_local! {
    static SHARD: Cell<usize> = const { Cell::new(usize::MAX) };
}

impl AccessLog {
    /// Opens the log and starts its thread.
    ///
    /// # Errors
    /// When its file cannot be opened.
    pub fn open(settings: AccessLogSettings, metrics: &Arc<FilterMetrics>) -> Result<Arc<Self>, LogError> {
        let sink = Sink::open(settings.file.as_deref())?;
        let shared = Arc::new(Shared {
            shards: std::array::from_fn(|_| Shard::default()),
            reopen: AtomicBool::new(false),
            stop: AtomicBool::new(false),
        });
        let (flush, writing, counted) = (settings.flush, Arc::clone(&shared), Arc::clone(metrics));
        let thread = std::thread::Builder::new()
            .name("access-log".to_owned())
            .spawn(move || writing.write(sink, flush, &counted))
            .map_err(LogError::Thread)?;
        let (writer, fields) = (thread.thread().clone(), settings.chosen());
        let metrics = Arc::clone(metrics);
        Ok(Arc::new(Self { shared, settings, fields, metrics, thread: Mutex::new(Some(thread)), writer }))
    }

    /// What it was opened with.
    pub fn settings(&self) -> &AccessLogSettings {
        &self.settings
    }

    /// Opens the file again: somebody has moved it away.
    pub fn reopen(&self) {
        self.shared.reopen.store(true, Ordering::Relaxed);
        self.writer.unpark();
    }

    /// Writes what it has, and ends.
    pub fn close(&self) {
        self.shared.stop.store(true, Ordering::Relaxed);
        self.writer.unpark();
        if let Some(thread) = self.thread.lock().take()
            && thread.join().is_err()
        {
            tracing::error!("the thread that writes the access log has panicked");
        }
    }

    /// Adds a line, written by `write`. Where it does not fit, it is dropped.
    fn add(&self, write: impl FnOnce(&mut Vec<u8>, &mut format::Clock)) {
        let index = SHARD.with(|shard| {
            if shard.get() == usize::MAX {
                shard.set(NEXT_SHARD.fetch_add(1, Ordering::Relaxed) % SHARDS);
            }
            shard.get()
        });
        let Some(Shard(shard)) = self.shared.shards.get(index) else { return };
        let most = self.settings.buffer.as_usize();
        let mut buffer = shard.lock();
        let before = buffer.text.len();
        let Buffer { text, clock } = &mut *buffer;
        write(text, clock);
        let after = text.len();
        if after > most {
            text.truncate(before);
            drop(buffer);
            self.metrics.access_log_dropped.inc();
        } else {
            drop(buffer);
            self.metrics.access_log_lines.inc();
        }
        // Once, when half is used: the writer comes before its time.
        if before <= most / 2 && after > most / 2 {
            self.writer.unpark();
        }
    }
}

impl Drop for AccessLog {
    fn drop(&mut self) {
        // Whoever drops it may be serving: the thread ends by itself.
        self.shared.stop.store(true, Ordering::Relaxed);
        self.writer.unpark();
    }
}

impl Shared {
    fn write(&self, mut sink: Sink, flush: Duration, metrics: &FilterMetrics) {
        let mut taken = Vec::new();
        loop {
            let last = self.stop.load(Ordering::Relaxed);
            if self.reopen.swap(false, Ordering::Relaxed) || sink.was_moved() {
                sink.reopen(metrics);
            }
            for Shard(shard) in &self.shards {
                std::mem::swap(&mut shard.lock().text, &mut taken);
                sink.write(&taken, metrics);
                taken.clear();
            }
            if last {
                return;
            }
            std::thread::park_timeout(flush);
        }
    }
}

#[cfg(test)]
mod tests;
