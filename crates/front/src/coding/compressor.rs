//! The work of compressing: off the event loop, so much of it at once, and no more waiting than is good.

use std::io;
use std::sync::Arc;
use std::time::Instant;

use bytes::Bytes;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use super::metrics::{CodingMetrics, Uncompressed};
use super::{Coding, Levels};

/// Contents that may wait for their turn.
const WAITING: usize = 256;
/// Contents that are compressed as they come, at once: each holds an encoder, which is up to a few MiB.
const STREAMS: usize = 256;

/// What somebody does who finds everything busy.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Patience {
    /// Goes without.
    None,
    /// Waits for its turn, unless too many wait already.
    Queue,
    /// Waits in any case.
    Endless,
}

/// Why a content was not compressed.
#[derive(Debug, thiserror::Error)]
pub enum CompressError {
    /// Everything is busy.
    #[error("everything that compresses is busy")]
    Busy,
    /// It could not be read, or not encoded.
    #[error("cannot compress: {0}")]
    Failed(#[from] io::Error),
}

/// Compresses, for all handlers of the process.
pub struct Compressor {
    slots: Arc<Semaphore>,
    /// Places in the queue.
    places: Arc<Semaphore>,
    streams: Arc<Semaphore>,
    metrics: Arc<CodingMetrics>,
}

impl Compressor {
    /// One that compresses `slots` contents at once.
    pub fn new(slots: usize, metrics: Arc<CodingMetrics>) -> Arc<Self> {
        Arc::new(Self {
            slots: Arc::new(Semaphore::new(slots.max(1))),
            places: Arc::new(Semaphore::new(WAITING)),
            streams: Arc::new(Semaphore::new(STREAMS)),
            metrics,
        })
    }

    /// What it counts.
    pub fn metrics(&self) -> &CodingMetrics {
        &self.metrics
    }

    pub(super) async fn slot(&self, patience: Patience) -> Option<OwnedSemaphorePermit> {
        if let Ok(slot) = Arc::clone(&self.slots).try_acquire_owned() {
            return Some(slot);
        }
        let _place = match patience {
            Patience::None => return None,
            Patience::Queue => Some(Arc::clone(&self.places).try_acquire_owned().ok()?),
            Patience::Endless => None,
        };
        Arc::clone(&self.slots).acquire_owned().await.ok()
    }

    /// Does some work in another thread, when it is its turn; `None` where that is not to be waited for.
    pub(super) async fn run<T: Send + 'static>(
        &self,
        patience: Patience,
        work: impl FnOnce() -> T + Send + 'static,
    ) -> Option<io::Result<T>> {
        let slot = self.slot(patience).await?;
        let done = tokio::task::spawn_blocking(move || {
            let done = work();
            drop(slot);
            done
        });
        Some(done.await.map_err(io::Error::other))
    }

    /// Compresses what `content` gives, which may read from a disk.
    ///
    /// # Errors
    /// When that is not to be waited for, or fails.
    pub async fn compress(
        &self,
        coding: Coding,
        levels: &Levels,
        patience: Patience,
        content: impl FnOnce() -> io::Result<Bytes> + Send + 'static,
    ) -> Result<Bytes, CompressError> {
        let (levels, metrics) = (levels.clone(), Arc::clone(&self.metrics));
        let work = move || encode(coding, &levels, &content()?, &metrics);
        let done = match self.run(patience, work).await {
            None => Err(CompressError::Busy),
            Some(done) => done.and_then(|done| done).map_err(CompressError::Failed),
        };
        if let Err(error) = &done {
            let reason = match error {
                CompressError::Busy => Uncompressed::Busy,
                CompressError::Failed(_) => Uncompressed::Failed,
            };
            self.metrics.uncompressed.of(reason).inc();
        }
        done
    }

    /// Compresses here and now, which is for what is small.
    ///
    /// # Errors
    /// When encoding fails.
    pub(super) fn compress_here(&self, coding: Coding, levels: &Levels, content: &[u8]) -> io::Result<Bytes> {
        encode(coding, levels, content, &self.metrics)
    }

    /// A place for a content that is compressed as it comes.
    pub(super) fn stream(self: &Arc<Self>, coding: Coding) -> Option<OpenStream> {
        let Ok(place) = Arc::clone(&self.streams).try_acquire_owned() else {
            self.metrics.uncompressed.of(Uncompressed::Busy).inc();
            return None;
        };
        self.metrics.streams.of(coding).inc();
        self.metrics.streams_open.inc();
        Some(OpenStream { compressor: Arc::clone(self), _place: place })
    }
}

/// A content that is compressed as it comes, among those of the process.
pub(super) struct OpenStream {
    pub(super) compressor: Arc<Compressor>,
    _place: OwnedSemaphorePermit,
}

impl Drop for OpenStream {
    fn drop(&mut self) {
        self.compressor.metrics.streams_open.dec();
    }
}

fn encode(coding: Coding, levels: &Levels, content: &[u8], metrics: &CodingMetrics) -> io::Result<Bytes> {
    let started = Instant::now();
    let encoded = super::encoder::encode(coding, levels, content)?;
    metrics.time.record(started.elapsed());
    metrics.contents.of(coding).inc();
    metrics.read.add(content.len() as u64);
    metrics.written.add(encoded.len() as u64);
    Ok(encoded.into())
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc;

    use super::*;

    fn runtime() -> tokio::runtime::Runtime {
        tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap()
    }

    #[test]
    fn who_finds_all_busy_goes_without_or_waits_for_its_turn() {
        runtime().block_on(async {
            let compressor = Compressor::new(1, Arc::default());
            let (go, gate) = mpsc::channel::<()>();
            let content = move || {
                gate.recv().map_err(io::Error::other)?;
                Ok(Bytes::from_static(b"a"))
            };
            let busy = tokio::spawn({
                let compressor = Arc::clone(&compressor);
                async move { compressor.compress(Coding::Gzip, &Levels::default(), Patience::None, content).await }
            });
            while compressor.slots.available_permits() > 0 {
                tokio::task::yield_now().await;
            }
            let now = || Ok(Bytes::from_static(b"b"));
            let refused = compressor.compress(Coding::Gzip, &Levels::default(), Patience::None, now).await;
            assert!(matches!(refused, Err(CompressError::Busy)));
            assert_eq!(compressor.metrics.uncompressed.of(Uncompressed::Busy).get(), 1);
            let levels = Levels::default();
            let waiting = compressor.compress(Coding::Gzip, &levels, Patience::Queue, now);
            go.send(()).unwrap();
            assert!(waiting.await.is_ok() && busy.await.unwrap().is_ok());
            assert_eq!(compressor.metrics.contents.of(Coding::Gzip).get(), 2);
        });
    }

    #[test]
    fn the_queue_has_an_end_and_what_must_be_compressed_waits_all_the_same() {
        runtime().block_on(async {
            let compressor = Compressor::new(1, Arc::default());
            let slot = compressor.slot(Patience::None).await.unwrap();
            let places = Arc::clone(&compressor.places).try_acquire_many_owned(WAITING as u32).unwrap();
            assert!(compressor.slot(Patience::Queue).await.is_none());
            let endless = compressor.slot(Patience::Endless);
            drop(slot);
            assert!(endless.await.is_some());
            drop(places);
        });
    }

    #[test]
    fn contents_that_come_in_parts_are_bounded_in_number() {
        let compressor = Compressor::new(1, Arc::default());
        let open: Vec<_> = (0..STREAMS).map(|_| compressor.stream(Coding::Zstd).unwrap()).collect();
        assert!(compressor.stream(Coding::Zstd).is_none());
        assert_eq!(compressor.metrics.streams_open.get(), STREAMS as i64);
        drop(open);
        assert!(compressor.stream(Coding::Zstd).is_some());
        assert_eq!(compressor.metrics.streams_open.get(), 0);
    }
}
