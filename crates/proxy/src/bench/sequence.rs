//! Loads one after the other: a whole suite, or one alone.

use std::sync::Arc;

use parking_lot::Mutex;

use super::{Load, Options, Report, Under};

/// Loads under way, each in its turn. They end with this.
#[derive(Debug)]
pub(super) struct Sequence {
    progress: Arc<Mutex<Progress>>,
    thread: Option<std::thread::JoinHandle<()>>,
}

#[derive(Debug, Default)]
struct Progress {
    done: Vec<Report>,
    under_way: Option<Arc<Under>>,
    is_cancelled: bool,
}

impl Sequence {
    /// Begins, and says when all of it is `over`.
    ///
    /// # Errors
    /// When there are no threads for it.
    pub(super) fn start(parts: Vec<Options>, over: impl FnOnce() + Send + 'static) -> std::io::Result<Sequence> {
        let progress = Arc::new(Mutex::new(Progress::default()));
        let mut parts = parts.into_iter();
        let mut load = parts.next().map(Load::start).transpose()?;
        progress.lock().under_way = load.as_ref().map(Load::under);
        let told = Arc::clone(&progress);
        let run = move || {
            while let Some(mut current) = load.take() {
                current.wait();
                let mut progress = told.lock();
                progress.done.push(current.report());
                let next = parts.next().filter(|_| !progress.is_cancelled).map(Load::start);
                load = next.and_then(|next| {
                    next.inspect_err(|error| tracing::warn!(%error, "the rest of a benchmark does not run")).ok()
                });
                progress.under_way = load.as_ref().map(Load::under);
            }
            over();
        };
        let thread = Some(std::thread::Builder::new().name("bench-proxy-all".to_owned()).spawn(run)?);
        Ok(Sequence { progress, thread })
    }

    /// What has come of each that has begun, so far.
    pub(super) fn reports(&self) -> Vec<Report> {
        let progress = self.progress.lock();
        progress.done.iter().cloned().chain(progress.under_way.as_ref().map(|load| load.report())).collect()
    }

    /// Ends the one that is under way before its time, and begins no other.
    pub(super) fn cancel(&self) {
        let mut progress = self.progress.lock();
        progress.is_cancelled = true;
        if let Some(load) = &progress.under_way {
            load.cancel();
        }
    }

    /// Waits until it is over.
    pub(super) fn wait(&mut self) {
        if let Some(thread) = self.thread.take() {
            // What it panicked of was told by then.
            let _ = thread.join();
        }
    }
}

impl Drop for Sequence {
    fn drop(&mut self) {
        // Who says that it is over may let go of it then, and does not wait for itself.
        self.cancel();
    }
}
