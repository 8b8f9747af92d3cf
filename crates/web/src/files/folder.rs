//! A folder that nothing leads out of: files are opened below it by the kernel's own rule (`openat2(2)`, `RESOLVE_BENEATH`).

use std::borrow::Cow;
use std::fs::File;
use std::io;
use std::os::fd::{AsRawFd, OwnedFd};
use std::path::Path;
use std::time::{Duration, SystemTime};

use rustix::fs::{AtFlags, FileType, Mode, OFlags, ResolveFlags, Stat};
use rustix::io::Errno;

/// How often a path is tried that the kernel cannot follow now.
const TRIES: usize = 64;

/// A folder, open.
#[derive(Debug)]
pub(crate) struct Folder {
    root: OwnedFd,
    resolve: ResolveFlags,
}

/// What tells one state of a file from another.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Identity {
    pub(crate) device: u64,
    pub(crate) inode: u64,
    pub(crate) length: u64,
    pub(crate) modified: (i64, i64),
    changed: (i64, i64),
}

/// What a path names.
#[derive(Debug)]
pub(crate) enum Named {
    File(File, Identity),
    Folder(OwnedFd),
    /// Nothing, or nothing that is served.
    Nothing,
    /// Something that we may not read.
    Forbidden,
}

impl Folder {
    pub(crate) fn open(path: &Path, symlinks: bool) -> io::Result<Self> {
        let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
        let root = rustix::fs::open(path, flags, Mode::empty())?;
        let mut resolve = ResolveFlags::BENEATH | ResolveFlags::NO_MAGICLINKS;
        if !symlinks {
            resolve |= ResolveFlags::NO_SYMLINKS;
        }
        Ok(Self { root, resolve })
    }

    pub(crate) fn descriptor(&self) -> &OwnedFd {
        &self.root
    }

    /// What it is itself.
    pub(crate) fn identity(&self) -> io::Result<Identity> {
        Ok(Identity::of(&rustix::fs::fstat(&self.root)?))
    }

    /// Opens what a path below the folder names.
    pub(crate) fn named(&self, path: &str) -> io::Result<Named> {
        // Without it, opening a pipe would wait for a writer.
        let flags = OFlags::RDONLY | OFlags::CLOEXEC | OFlags::NONBLOCK | OFlags::NOCTTY;
        let opened = match self.open_below(path, flags) {
            Ok(opened) => opened,
            Err(Errno::NOENT | Errno::NOTDIR | Errno::LOOP | Errno::XDEV | Errno::NAMETOOLONG | Errno::NXIO) => {
                return Ok(Named::Nothing);
            }
            Err(Errno::ACCESS | Errno::PERM) => return Ok(Named::Forbidden),
            Err(error) => return Err(error.into()),
        };
        let stat = rustix::fs::fstat(&opened)?;
        Ok(match FileType::from_raw_mode(stat.st_mode) {
            FileType::RegularFile => Named::File(File::from(opened), Identity::of(&stat)),
            FileType::Directory => Named::Folder(opened),
            _ => Named::Nothing,
        })
    }

    /// What a path below the folder names, without opening it; `None` where nothing is.
    pub(crate) fn stat(&self, path: &str) -> Option<Stat> {
        rustix::fs::fstat(self.open_below(path, OFlags::PATH | OFlags::CLOEXEC).ok()?).ok()
    }

    fn open_below(&self, path: &str, flags: OFlags) -> Result<OwnedFd, Errno> {
        let name = file_name(path);
        let mut opened = Err(Errno::AGAIN);
        for _ in 0..TRIES {
            opened = rustix::fs::openat2(&self.root, &*name, flags, Mode::empty(), self.resolve);
            // The kernel could not tell whether the path stayed below, because something was moved meanwhile; or somebody holds a lease on the
            // file, which may take long to end.
            if !matches!(opened, Err(Errno::AGAIN | Errno::INTR)) {
                break;
            }
        }
        opened
    }

    /// The state of the file that a path names; `None` where it names none that is served.
    pub(crate) fn state(&self, path: &str) -> Option<Identity> {
        let stat = self.stat(path)?;
        (FileType::from_raw_mode(stat.st_mode) == FileType::RegularFile).then(|| Identity::of(&stat))
    }

    /// Whether a path names a file in this state, in a single call: only to be asked of what was opened before, for links may lead out.
    pub(crate) fn is_still(&self, path: &str, state: &Identity) -> bool {
        let stat = rustix::fs::statat(&self.root, &*file_name(path), AtFlags::empty());
        stat.is_ok_and(|stat| Identity::of(&stat) == *state)
    }
}

/// The name of a file below the folder, out of a path that is normal: there, of all that may be escaped, only the percent sign still is.
pub(crate) fn file_name(path: &str) -> Cow<'_, str> {
    match path.trim_start_matches('/') {
        "" => ".".into(),
        name if name.contains('%') => name.replace("%25", "%").into(),
        name => name.into(),
    }
}

/// The same file, opened to be read past the page cache.
pub(crate) fn open_direct(file: &File) -> io::Result<File> {
    let path = format!("/proc/self/fd/{}", file.as_raw_fd());
    let flags = OFlags::RDONLY | OFlags::CLOEXEC | OFlags::NOCTTY | OFlags::DIRECT;
    Ok(rustix::fs::open(path, flags, Mode::empty())?.into())
}

impl Identity {
    pub(crate) fn of(stat: &Stat) -> Self {
        Self {
            device: stat.st_dev,
            inode: stat.st_ino,
            length: u64::try_from(stat.st_size).unwrap_or(0),
            modified: (stat.st_mtime, stat.st_mtime_nsec as i64),
            changed: (stat.st_ctime, stat.st_ctime_nsec as i64),
        }
    }

    /// Of whatever an absolute path names.
    pub(crate) fn of_path(path: &Path) -> io::Result<Self> {
        Ok(Self::of(&rustix::fs::stat(path)?))
    }

    pub(crate) fn is_same_inode(&self, other: &Self) -> bool {
        (self.device, self.inode) == (other.device, other.inode)
    }

    /// When it was changed last.
    pub(crate) fn modified(&self) -> SystemTime {
        let since = Duration::from_secs(self.modified.0.unsigned_abs());
        match self.modified.0 >= 0 {
            true => SystemTime::UNIX_EPOCH + since + Duration::from_nanos(self.modified.1.unsigned_abs()),
            false => SystemTime::UNIX_EPOCH,
        }
    }
}
