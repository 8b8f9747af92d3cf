//! Benchmarks that have come to their end, in a file: they outlive a restart.

use std::io;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use outwork_store::file::replace_private;
use parking_lot::Mutex;
use serde::{Deserialize, Serialize};

use super::Report;
use super::api::RunState;

/// A benchmark that has ended.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(super) struct Ended {
    pub(super) id: u64,
    pub(super) by: String,
    /// Milliseconds since 1970.
    began: u64,
    pub(super) state: RunState,
    /// How many loads it was to have.
    pub(super) parts: usize,
    pub(super) results: Vec<Report>,
}

impl Ended {
    pub(super) fn new(id: u64, by: &str, began: SystemTime, parts: usize) -> Self {
        let since = began.duration_since(UNIX_EPOCH).unwrap_or_default();
        let began = u64::try_from(since.as_millis()).unwrap_or(u64::MAX);
        Self { id, by: by.to_owned(), began, state: RunState::Done, parts, results: Vec::new() }
    }

    pub(super) fn began(&self) -> SystemTime {
        UNIX_EPOCH + Duration::from_millis(self.began)
    }
}

/// Where they are kept; nowhere, until that is said.
#[derive(Debug, Default)]
pub(super) struct Kept(Mutex<Option<PathBuf>>);

impl Kept {
    /// What is in this file, which keeps them from now on. It is nothing that anybody needs: where it cannot be read, it is told, and begun anew.
    pub(super) fn open(&self, path: &Path) -> Vec<Ended> {
        *self.0.lock() = Some(path.to_owned());
        let read = std::fs::read(path).and_then(|text| Ok(serde_json::from_slice(&text)?));
        read.unwrap_or_else(|error: io::Error| {
            if error.kind() != io::ErrorKind::NotFound {
                tracing::warn!(%error, file = %path.display(), "benchmarks that were run before are not known");
            }
            Vec::new()
        })
    }

    /// Writes down what `runs` says then: whoever comes later writes what is later.
    pub(super) fn write(&self, runs: impl FnOnce() -> Vec<Ended>) {
        let path = self.0.lock();
        let Some(path) = &*path else { return };
        let written = serde_json::to_vec(&runs()).map_err(io::Error::from);
        if let Err(error) = written.and_then(|text| replace_private(path, &text)) {
            tracing::warn!(%error, file = %path.display(), "a benchmark is forgotten with a restart");
        }
    }
}
