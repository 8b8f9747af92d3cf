//! One process to a directory.

use std::fs::{self, File, OpenOptions, TryLockError};
use std::io::{self, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use rustix::fs::OFlags;

use crate::file::create_private;

/// Name of the lock file.
pub const FILE: &str = "lock";

/// A directory that no other process can lock while this lives. The kernel ends it with the process, however that ends.
#[derive(Debug)]
pub struct DirLock {
    _file: File,
}

/// Why a directory was not locked.
#[derive(Debug, thiserror::Error)]
pub enum LockError {
    /// Another process has it.
    #[error(
        "{path} is locked by process {holder}: another Outwork runs on this data directory; stop it or choose another directory"
    )]
    Held {
        /// The lock file.
        path: PathBuf,
        /// The process number found in it.
        holder: String,
    },
    /// The operating system refused.
    #[error("cannot lock {path}: {source}{}", crate::log::advice(.source))]
    Io {
        /// The lock file.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
}

impl DirLock {
    /// Locks an existing directory.
    ///
    /// # Errors
    /// When another process has it locked, or the lock file cannot be opened.
    pub fn take(dir: &Path) -> Result<Self, LockError> {
        let path = dir.join(FILE);
        let opened = match create_private(&path) {
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {
                let no_link = OFlags::NOFOLLOW.bits().cast_signed();
                OpenOptions::new().read(true).write(true).custom_flags(no_link).open(&path)
            }
            created => created,
        };
        let mut file = opened.map_err(|source| LockError::Io { path: path.clone(), source })?;
        match file.try_lock() {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => {
                let holder = fs::read_to_string(&path).unwrap_or_default().trim().to_owned();
                return Err(LockError::Held { path, holder });
            }
            Err(TryLockError::Error(source)) => return Err(LockError::Io { path, source }),
        }
        // The number only serves the message above: the lock itself holds without it, even on a full disk.
        if let Err(error) = file.set_len(0).and_then(|()| writeln!(file, "{}", std::process::id())) {
            tracing::debug!(path = %path.display(), %error, "process number not written into the lock file");
        }
        Ok(Self { _file: file })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_second_process_is_told_who_has_the_directory_until_that_one_ends() {
        let dir = tempfile::tempdir().unwrap();
        let first = DirLock::take(dir.path()).unwrap();
        let refused = DirLock::take(dir.path()).unwrap_err();
        assert!(matches!(&refused, LockError::Held { holder, .. } if *holder == std::process::id().to_string()));
        drop(first);
        DirLock::take(dir.path()).unwrap();
    }

    #[test]
    fn a_link_in_the_place_of_the_lock_is_not_followed() {
        let (dir, aim) = (tempfile::tempdir().unwrap(), tempfile::NamedTempFile::new().unwrap());
        std::os::unix::fs::symlink(aim.path(), dir.path().join(FILE)).unwrap();
        assert!(matches!(DirLock::take(dir.path()), Err(LockError::Io { .. })));
    }
}
