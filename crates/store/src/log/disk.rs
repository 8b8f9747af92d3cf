//! The seam between the log and the file system, so that tests can lose power, tear writes and fail any call.

use std::fs::{self, File, OpenOptions};
use std::io;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};

use parking_lot::Mutex;

use super::error::OpenError;
use crate::file::{create_private, create_private_dir};
use crate::lock::{DirLock, LockError};

/// One directory of files.
pub(crate) trait Disk: Send + Sync {
    /// Names of the files in the directory.
    fn list(&self) -> io::Result<Vec<String>>;
    /// Creates (or empties) a file and reserves `allocate` bytes, which read as zeros.
    fn create(&self, name: &str, allocate: u64) -> io::Result<Box<dyn DiskFile>>;
    /// Opens an existing file for reading and writing.
    fn open(&self, name: &str) -> io::Result<Box<dyn DiskFile>>;
    /// Renames a file over any file of the new name.
    fn rename(&self, from: &str, to: &str) -> io::Result<()>;
    /// Removes a file.
    fn remove(&self, name: &str) -> io::Result<()>;
    /// Makes creations, renames and removals so far survive a power loss.
    fn sync_dir(&self) -> io::Result<()>;
    /// 64 random bits.
    fn salt(&self) -> io::Result<u64>;
    /// The full path of a file, for messages.
    fn path(&self, name: &str) -> PathBuf;
    /// Lets another process have the directory. Nothing is written into it any longer.
    fn release(&self);
}

/// One open file.
pub(crate) trait DiskFile: Send + Sync {
    fn length(&self) -> io::Result<u64>;
    /// Reads some bytes; 0 at the end.
    fn read_at(&self, buffer: &mut [u8], offset: u64) -> io::Result<usize>;
    /// Writes all of `bytes`.
    fn write_at(&self, bytes: &[u8], offset: u64) -> io::Result<()>;
    /// Makes what was written survive a power loss (`fdatasync`).
    fn sync(&self) -> io::Result<()>;
    /// Cuts the file to `length`.
    fn truncate(&self, length: u64) -> io::Result<()>;
}

/// The file system, with the directory locked against a second process.
#[derive(Debug)]
pub(crate) struct RealDisk {
    dir: PathBuf,
    handle: File,
    lock: Mutex<Option<DirLock>>,
}

impl RealDisk {
    /// Creates the directory where it is missing, and locks it.
    pub(crate) fn open(dir: &Path) -> Result<Self, OpenError> {
        if !dir.is_dir() {
            let parent = dir.parent().filter(|parent| !parent.as_os_str().is_empty());
            let create = parent.map_or(Ok(()), fs::create_dir_all).and_then(|()| create_private_dir(dir));
            create.map_err(OpenError::io("create", dir.to_owned()))?;
            if let Some(parent) = parent {
                let sync = File::open(parent).and_then(|parent| parent.sync_all());
                sync.map_err(OpenError::io("sync", parent.to_owned()))?;
            }
        }
        let handle = File::open(dir).map_err(OpenError::io("use", dir.to_owned()))?;
        let lock = DirLock::take(dir).map_err(|error| match error {
            LockError::Held { path, holder } => OpenError::Locked { path, holder },
            LockError::Io { path, source } => OpenError::io("use", path)(source),
        })?;
        Ok(Self { dir: dir.to_owned(), handle, lock: Mutex::new(Some(lock)) })
    }
}

impl Disk for RealDisk {
    fn list(&self) -> io::Result<Vec<String>> {
        let mut names = Vec::new();
        for entry in fs::read_dir(&self.dir)? {
            let entry = entry?;
            if entry.file_type()?.is_file()
                && let Ok(name) = entry.file_name().into_string()
            {
                names.push(name);
            }
        }
        Ok(names)
    }

    fn create(&self, name: &str, allocate: u64) -> io::Result<Box<dyn DiskFile>> {
        let path = self.dir.join(name);
        let file = match create_private(&path) {
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {
                fs::remove_file(&path)?;
                create_private(&path)?
            }
            created => created?,
        };
        if allocate > 0 {
            match rustix::fs::fallocate(&file, rustix::fs::FallocateFlags::empty(), 0, allocate) {
                // A file system without it grows the file write by write: slower, no less safe.
                Ok(()) | Err(rustix::io::Errno::OPNOTSUPP | rustix::io::Errno::NOSYS) => {}
                Err(error) => return Err(error.into()),
            }
            fill(&file, allocate)?;
        }
        Ok(Box::new(RealFile(file)))
    }

    fn open(&self, name: &str) -> io::Result<Box<dyn DiskFile>> {
        Ok(Box::new(RealFile(OpenOptions::new().read(true).write(true).open(self.dir.join(name))?)))
    }

    fn rename(&self, from: &str, to: &str) -> io::Result<()> {
        fs::rename(self.dir.join(from), self.dir.join(to))
    }

    fn remove(&self, name: &str) -> io::Result<()> {
        fs::remove_file(self.dir.join(name))
    }

    fn sync_dir(&self) -> io::Result<()> {
        self.handle.sync_all()
    }

    fn salt(&self) -> io::Result<u64> {
        let mut bytes = [0; 8];
        getrandom::fill(&mut bytes).map_err(io::Error::other)?;
        Ok(u64::from_le_bytes(bytes))
    }

    fn path(&self, name: &str) -> PathBuf {
        self.dir.join(name)
    }

    fn release(&self) {
        self.lock.lock().take();
    }
}

/// Bytes that are written and synced at once while a file is filled: little enough that a commit beside it waits for little.
const FILLED_AT_ONCE: u64 = 1 << 20;

/// Writes zeroes over space that was only reserved. What is written there later then changes nothing but data. Into reserved
/// space, each sync would also have to record which of it now holds data: that costs a journal commit, and ext4 has been seen
/// to lose it, and to report success, where the journal fails at that moment.
fn fill(file: &File, length: u64) -> io::Result<()> {
    let zeroes = vec![0; usize::try_from(FILLED_AT_ONCE.min(length)).map_err(io::Error::other)?];
    let mut at = 0;
    while at < length {
        let piece = usize::try_from(FILLED_AT_ONCE.min(length - at)).map_err(io::Error::other)?;
        file.write_all_at(zeroes.get(..piece).unwrap_or(&zeroes), at)?;
        file.sync_data()?;
        at += piece as u64;
    }
    Ok(())
}

struct RealFile(File);

impl DiskFile for RealFile {
    fn length(&self) -> io::Result<u64> {
        Ok(self.0.metadata()?.len())
    }

    fn read_at(&self, buffer: &mut [u8], offset: u64) -> io::Result<usize> {
        self.0.read_at(buffer, offset)
    }

    fn write_at(&self, bytes: &[u8], offset: u64) -> io::Result<()> {
        self.0.write_all_at(bytes, offset)
    }

    fn sync(&self) -> io::Result<()> {
        self.0.sync_data()
    }

    fn truncate(&self, length: u64) -> io::Result<()> {
        self.0.set_len(length)
    }
}
