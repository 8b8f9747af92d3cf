//! Where the lines of the access log go.

use std::fs::{File, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use super::LogError;
use crate::filter::metrics::FilterMetrics;

/// A file, or standard output.
#[derive(Debug)]
pub(super) enum Sink {
    File { path: PathBuf, file: File, failing: bool },
    Stdout { failing: bool },
}

impl Sink {
    /// Opens a file, made where there is none; without a path it is standard output.
    pub(super) fn open(path: Option<&Path>) -> Result<Self, LogError> {
        let Some(path) = path else { return Ok(Self::Stdout { failing: false }) };
        let file = open(path).map_err(|source| LogError::Open { path: path.display().to_string(), source })?;
        Ok(Self::File { path: path.to_owned(), file, failing: false })
    }

    /// Whether another file, or none, is where ours was: it was rotated.
    pub(super) fn was_moved(&self) -> bool {
        let Self::File { path, file, .. } = self else { return false };
        match (std::fs::metadata(path), file.metadata()) {
            (Ok(there), Ok(ours)) => (there.dev(), there.ino()) != (ours.dev(), ours.ino()),
            (Err(error), _) => error.kind() == io::ErrorKind::NotFound,
            (_, Err(_)) => false,
        }
    }

    /// Opens the file again. Where that fails, the one that is open is written on.
    pub(super) fn reopen(&mut self, metrics: &FilterMetrics) {
        let Self::File { path, file, failing } = self else { return };
        match open(path) {
            Ok(fresh) => *file = fresh,
            Err(error) => {
                metrics.access_log_failed.inc();
                if !std::mem::replace(failing, true) {
                    tracing::warn!(path = %path.display(), %error, "the access log cannot be opened again");
                }
            }
        }
    }

    /// Writes lines. What cannot be written is lost, and counted.
    pub(super) fn write(&mut self, lines: &[u8], metrics: &FilterMetrics) {
        if lines.is_empty() {
            return;
        }
        let (written, failing) = match self {
            Self::File { file, failing, .. } => (file.write_all(lines), failing),
            Self::Stdout { failing } => {
                let mut out = io::stdout().lock();
                (out.write_all(lines).and_then(|()| out.flush()), failing)
            }
        };
        match written {
            Ok(()) => *failing = false,
            Err(error) => {
                metrics.access_log_failed.inc();
                metrics.access_log_dropped.add(memchr::memchr_iter(b'\n', lines).count() as u64);
                // Once until it works again: a full disk would fill the other log, too.
                if !std::mem::replace(failing, true) {
                    tracing::warn!(%error, "the access log cannot be written; lines are lost until it can");
                }
            }
        }
    }
}

fn open(path: &Path) -> io::Result<File> {
    OpenOptions::new().append(true).create(true).mode(0o640).open(path)
}
