//! What a cache before this one has yet to be told of, in a way that outlives this process.
//!
//! Who is told that a purge is queued relies on it. So from when the first one waits until none does, a file says that word is missing; what cannot be
//! delivered, or finds no room, is owed as a purge of everything, and so is whatever waited when a process ended.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use parking_lot::Mutex;

use super::metrics::CachedMetrics;

/// A debt: a purge of everything settles it if it was sent after it arose.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Debt(u64);

/// The account.
pub(super) struct Owed {
    file: PathBuf,
    state: Mutex<State>,
    metrics: Arc<CachedMetrics>,
}

#[derive(Default)]
struct State {
    /// Purges that wait, or are on their way.
    waiting: i64,
    debt: Option<Debt>,
    /// Debts that there have been.
    debts: u64,
    /// Whether the file says that word is missing.
    marked: bool,
}

impl Owed {
    /// Goes on with what the file says, which another process may have left.
    pub(super) fn open(file: PathBuf, metrics: Arc<CachedMetrics>) -> Self {
        let owed = Self { file, state: Mutex::default(), metrics };
        if owed.file.exists() {
            owed.everything();
        }
        owed
    }

    /// A purge is about to wait. What it returns from is safe.
    pub(super) fn one_more(&self) {
        let mut state = self.state.lock();
        state.waiting += 1;
        self.record(&mut state);
    }

    /// A purge waits no longer.
    pub(super) fn one_less(&self) {
        let mut state = self.state.lock();
        state.waiting -= 1;
        self.record(&mut state);
    }

    /// A purge will not be told of, and so all of them are owed.
    pub(super) fn everything(&self) {
        let mut state = self.state.lock();
        state.debts += 1;
        state.debt = Some(Debt(state.debts));
        self.record(&mut state);
    }

    /// What is owed now.
    pub(super) fn debt(&self) -> Option<Debt> {
        self.state.lock().debt
    }

    /// Everything was purged. What arose meanwhile is still owed.
    pub(super) fn settle(&self, debt: Debt) {
        let mut state = self.state.lock();
        if state.debt == Some(debt) {
            state.debt = None;
            self.record(&mut state);
        }
    }

    fn record(&self, state: &mut State) {
        let missing = state.waiting > 0 || state.debt.is_some();
        if missing != state.marked {
            match if missing { mark(&self.file) } else { unmark(&self.file) } {
                Ok(()) => state.marked = missing,
                Err(error) => {
                    let file = self.file.display();
                    tracing::warn!(%file, %error, "a restart would not know which purges the cache before this one was told of");
                }
            }
        }
        // Who sees it counted finds it recorded.
        self.metrics.edge_waiting.set(state.waiting);
        self.metrics.edge_owed.set(state.debt.is_some().into());
    }
}

fn own() -> String {
    std::process::id().to_string()
}

fn mark(file: &Path) -> io::Result<()> {
    let mut marked = OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(file)?;
    marked.write_all(own().as_bytes())?;
    marked.sync_all()?;
    file.parent().map_or(Ok(()), |folder| File::open(folder)?.sync_all())
}

/// A process that has come in the place of this one has made the file its own.
fn unmark(file: &Path) -> io::Result<()> {
    if fs::read_to_string(file)? == own() { fs::remove_file(file) } else { Ok(()) }
}
