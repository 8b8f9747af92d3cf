//! A folder that nothing leads out of: files are opened below it by the kernel's own rule (`openat2(2)`, `RESOLVE_BENEATH`).

use std::fs::File;
use std::io;
use std::os::fd::OwnedFd;
use std::path::Path;
use std::time::{Duration, SystemTime};

use rustix::fs::{FileType, Mode, OFlags, ResolveFlags, Stat};
use rustix::io::Errno;

/// A folder, open.
#[derive(Debug)]
pub(super) struct Folder {
    root: OwnedFd,
    resolve: ResolveFlags,
}

/// What tells one state of a file from another.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Identity {
    pub(super) device: u64,
    pub(super) inode: u64,
    pub(super) length: u64,
    pub(super) modified: (i64, i64),
    changed: (i64, i64),
}

/// What a path names.
#[derive(Debug)]
pub(super) enum Named {
    File(File, Identity),
    Folder,
    /// Nothing, or nothing that is served.
    Nothing,
    /// Something that we may not read.
    Forbidden,
}

impl Folder {
    pub(super) fn open(path: &Path, symlinks: bool) -> io::Result<Self> {
        let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
        let root = rustix::fs::open(path, flags, Mode::empty())?;
        let mut resolve = ResolveFlags::BENEATH | ResolveFlags::NO_MAGICLINKS;
        if !symlinks {
            resolve |= ResolveFlags::NO_SYMLINKS;
        }
        Ok(Self { root, resolve })
    }

    /// Opens what a path below the folder names.
    pub(super) fn named(&self, path: &str) -> io::Result<Named> {
        // Without it, opening a pipe would wait for a writer.
        let flags = OFlags::RDONLY | OFlags::CLOEXEC | OFlags::NONBLOCK | OFlags::NOCTTY;
        let relative = match path.trim_start_matches('/') {
            "" => ".",
            relative => relative,
        };
        let opened = loop {
            match rustix::fs::openat2(&self.root, relative, flags, Mode::empty(), self.resolve) {
                // The kernel could not tell whether the path stayed below, because something was moved meanwhile.
                Err(Errno::AGAIN | Errno::INTR) => {}
                opened => break opened,
            }
        };
        let file = match opened {
            Ok(file) => file,
            Err(Errno::NOENT | Errno::NOTDIR | Errno::LOOP | Errno::XDEV | Errno::NAMETOOLONG | Errno::NXIO) => {
                return Ok(Named::Nothing);
            }
            Err(Errno::ACCESS | Errno::PERM) => return Ok(Named::Forbidden),
            Err(error) => return Err(error.into()),
        };
        let stat = rustix::fs::fstat(&file)?;
        Ok(match FileType::from_raw_mode(stat.st_mode) {
            FileType::RegularFile => Named::File(File::from(file), Identity::of(&stat)),
            FileType::Directory => Named::Folder,
            _ => Named::Nothing,
        })
    }

    /// Whether a path still names what it named.
    pub(super) fn is_still(&self, path: &str, identity: &Identity) -> bool {
        let relative = path.trim_start_matches('/');
        rustix::fs::statat(&self.root, relative, rustix::fs::AtFlags::empty())
            .is_ok_and(|stat| Identity::of(&stat) == *identity)
    }
}

impl Identity {
    fn of(stat: &Stat) -> Self {
        Self {
            device: stat.st_dev,
            inode: stat.st_ino,
            length: u64::try_from(stat.st_size).unwrap_or(0),
            modified: (stat.st_mtime, stat.st_mtime_nsec as i64),
            changed: (stat.st_ctime, stat.st_ctime_nsec as i64),
        }
    }

    /// When it was changed last.
    pub(super) fn modified(&self) -> SystemTime {
        let since = Duration::from_secs(self.modified.0.unsigned_abs());
        match self.modified.0 >= 0 {
            true => SystemTime::UNIX_EPOCH + since + Duration::from_nanos(self.modified.1.unsigned_abs()),
            false => SystemTime::UNIX_EPOCH,
        }
    }
}
