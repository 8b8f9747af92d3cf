//! What things were before they were changed: a small file in the data directory, which is on the disk before the first change.
//!
//! Who puts things back by it is root, as a rule, and the data directory is the service's. So the file is believed only where it belongs to who reads it, and nobody
//! else can write it: otherwise whoever breaks into the service could have root write anything into the kernel.

use std::fs::{File, OpenOptions, TryLockError};
use std::io::{self, Read};
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::time::Duration;

use outwork_store::file::replace_own;
use rustix::fs::OFlags;
use serde::{Deserialize, Serialize};

use crate::knob::Knob;

/// Its name in the data directory.
pub const FILE: &str = "host-before.json";
/// Octets of it at most.
const MOST: u64 = 4 << 20;
/// A lock that somebody has is asked for again so often, after such a pause each.
const TRIES: u32 = 20;
const PAUSE: Duration = Duration::from_millis(25);

/// A thing that was changed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Entry {
    /// The thing.
    pub knob: Knob,
    /// What it was before anybody here changed it.
    pub before: String,
    /// What it was made.
    pub set: String,
}

/// The file's content.
#[derive(Debug, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Content {
    entries: Vec<Entry>,
}

/// What things were before.
#[derive(Debug)]
pub struct Before {
    path: PathBuf,
    entries: Vec<Entry>,
    /// Two that change things at once would each forget what the other remembers.
    _lock: Option<File>,
}

/// Why that cannot be known, or kept.
#[derive(Debug, thiserror::Error)]
pub enum BeforeError {
    /// The system refuses.
    #[error("{path}: {source}")]
    Io {
        /// The file.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// Somebody changes things by it now.
    #[error("another `outwork host` changes this machine now, by {path}\n  = help: wait until it has ended")]
    Busy {
        /// The file.
        path: PathBuf,
    },
    /// Somebody else may have written it.
    #[error(
        "{path} says what settings of the kernel were, and belongs to user {owner}, or others can write it: it is not believed\n  = expected: a file of user {own} that only this user can write\n  = help: where you know what is in it, `chown {own} {path}` and `chmod 600 {path}`; else remove it, and set what was changed by hand"
    )]
    Foreign {
        /// The file.
        path: PathBuf,
        /// Whose it is.
        owner: u32,
        /// Whose it should be.
        own: u32,
    },
    /// It is not ours, or damaged.
    #[error(
        "{path} says what settings of the kernel were, and cannot be read: {why}\n  = help: mend it, or remove it and set what was changed by hand; the kernel's own defaults come back with a restart of the machine"
    )]
    Damaged {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        why: String,
    },
}

/// Takes a lock that somebody may just be giving up: whoever starts a program has what it had open in two processes for a moment.
fn locked(file: &File) -> Result<(), TryLockError> {
    for _ in 0..TRIES {
        match file.try_lock() {
            Err(TryLockError::WouldBlock) => std::thread::sleep(PAUSE),
            taken => return taken,
        }
    }
    file.try_lock()
}

impl Before {
    /// Reads it; where there is none, nothing was changed.
    ///
    /// # Errors
    /// When it cannot be read, or not be believed.
    pub fn read(data_dir: &Path) -> Result<Before, BeforeError> {
        let path = data_dir.join(FILE);
        let failed = |source| BeforeError::Io { path: path.clone(), source };
        let lock = match File::open(data_dir) {
            // Nothing was ever kept there.
            Err(error) if error.kind() == io::ErrorKind::NotFound => None,
            opened => Some(opened.map_err(failed)?),
        };
        match lock.as_ref().map_or(Ok(()), locked) {
            Err(TryLockError::WouldBlock) => return Err(BeforeError::Busy { path }),
            Err(TryLockError::Error(error)) => return Err(failed(error)),
            Ok(()) => {}
        }
        let no_link = (OFlags::NOFOLLOW | OFlags::NONBLOCK).bits().cast_signed();
        let file = match OpenOptions::new().read(true).custom_flags(no_link).open(&path) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                return Ok(Before { path, entries: Vec::new(), _lock: lock });
            }
            opened => opened.map_err(failed)?,
        };
        let found = file.metadata().map_err(failed)?;
        let own = rustix::process::geteuid().as_raw();
        if found.uid() != own || found.mode() & 0o022 != 0 {
            return Err(BeforeError::Foreign { path, owner: found.uid(), own });
        }
        let mut text = String::new();
        let damaged = |why: String| BeforeError::Damaged { path: path.clone(), why };
        file.take(MOST).read_to_string(&mut text).map_err(|error| damaged(error.to_string()))?;
        let content: Content = serde_json::from_str(&text).map_err(|error| damaged(error.to_string()))?;
        Ok(Before { path, entries: content.entries, _lock: lock })
    }

    /// Its file.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// What was changed, in the order of that.
    pub fn entries(&self) -> &[Entry] {
        &self.entries
    }

    /// Remembers what is about to be changed. What a thing was before its first change stays.
    pub(crate) fn remember(&mut self, knob: &Knob, now: &str, value: &str) {
        match self.entries.iter_mut().find(|entry| entry.knob == *knob) {
            Some(known) => value.clone_into(&mut known.set),
            None => {
                self.entries.push(Entry { knob: knob.clone(), before: now.to_owned(), set: value.to_owned() });
            }
        }
    }

    /// Says what became of a change: what the thing is now.
    pub(crate) fn became(&mut self, knob: &Knob, now: &str) {
        if let Some(known) = self.entries.iter_mut().find(|entry| entry.knob == *knob) {
            now.clone_into(&mut known.set);
        }
        self.entries.retain(|entry| entry.knob != *knob || entry.before != now);
    }

    /// Forgets a thing.
    pub(crate) fn forget(&mut self, knob: &Knob) {
        self.entries.retain(|entry| entry.knob != *knob);
    }

    /// Has it on the disk; where there is nothing to remember, there is no file.
    pub(crate) fn keep(&self) -> Result<(), BeforeError> {
        let failed = |source| BeforeError::Io { path: self.path.clone(), source };
        if self.entries.is_empty() {
            return match std::fs::remove_file(&self.path) {
                Err(error) if error.kind() != io::ErrorKind::NotFound => Err(failed(error)),
                _ => Ok(()),
            };
        }
        let content = Content { entries: self.entries.clone() };
        let text = serde_json::to_vec_pretty(&content).map_err(|error| failed(error.into()))?;
        replace_own(&self.path, &text).map_err(failed)
    }
}
