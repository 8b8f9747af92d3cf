//! Where maps and links outlive the process: `DIRECTORY/vN/` for layout N, a file a map, and in `held/` a file for each interface that a program has hold of.
//!
//! Whoever finds maps of another layout, or of other sizes than are asked for, cannot read or use them: they make way, and with them the flows that they know.
//!
//! What lies there is believed, and removed: directories have to be this user's own and nobody else's to write to, and no link is followed. A BPF file system may
//! be one where every user makes directories and links.

use std::ffi::CString;
use std::io;
use std::os::fd::{AsFd, AsRawFd as _, BorrowedFd, OwnedFd};
use std::os::unix::fs::DirBuilderExt as _;
use std::path::{Path, PathBuf};

use rustix::fs::{AtFlags, CWD, Dir, FileType, Mode, OFlags};
use rustix::io::Errno;
use rustix::path::Arg;

use super::maps::MAPS;
use super::{Found, OpenError};
use crate::layout::LAYOUT;
use crate::settings::Sizes;
use crate::sys::bpf::{self, shape};

/// `BPF_FS_MAGIC`.
const BPF_FS: u64 = 0xcafe_4a11;

/// Where a BPF file system is mounted by habit.
pub const USUAL: &str = "/sys/fs/bpf";

/// Where a BPF file system is to be mounted for a directory to be on one, though it need not be there yet; `None` where it is on one.
pub fn missing_file_system(directory: &Path) -> Option<PathBuf> {
    // A link lies where it is, not where it leads to.
    let own = usize::from(directory.is_symlink());
    let there = directory.ancestors().skip(own).find(|one| one.exists());
    let is_on_one = |path: &Path| rustix::fs::statfs(path).is_ok_and(|found| found.f_type as u64 == BPF_FS);
    let mount = if directory.starts_with(USUAL) { Path::new(USUAL) } else { directory };
    (!there.is_some_and(is_on_one)).then(|| mount.to_owned())
}

/// Takes away what an earlier process has left in a directory, programs on interfaces among it, for there is nobody who would take it over. Says whether there was something.
///
/// # Errors
/// When it is another's, or cannot be removed.
pub fn discard(directory: &Path) -> Result<bool, OpenError> {
    let failed = |error| OpenError::Directory { path: directory.to_owned(), error };
    if !directory.exists() || missing_file_system(directory).is_some() {
        return Ok(false);
    }
    let above = open_own(CWD, directory).map_err(failed)?;
    let left = layouts(&above).map_err(failed)?;
    for name in &left {
        open_own(above.as_fd(), &**name).map_err(failed)?;
        remove(above.as_fd(), &**name).map_err(failed)?;
    }
    Ok(!left.is_empty())
}

/// Opens a directory, and no link to one.
fn open_directory(above: BorrowedFd<'_>, name: impl Arg) -> io::Result<OwnedFd> {
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    rustix::fs::openat(above, name, flags, Mode::empty()).map_err(|error| match error {
        Errno::LOOP | Errno::NOTDIR => io::Error::other("it is no directory, and links are not followed"),
        error => error.into(),
    })
}

/// Opens one that is this user's own, and nobody else's to write to.
fn open_own(above: BorrowedFd<'_>, name: impl Arg) -> io::Result<OwnedFd> {
    let opened = open_directory(above, name)?;
    let (found, user) = (rustix::fs::fstat(&opened)?, rustix::process::geteuid().as_raw());
    if found.st_uid != user {
        return Err(io::Error::other(format!("it is user {}'s, and this process runs as user {user}", found.st_uid)));
    }
    if found.st_mode & 0o022 != 0 {
        return Err(io::Error::other(format!("others may write there (its mode is {:04o})", found.st_mode & 0o7777)));
    }
    Ok(opened)
}

/// A directory of a BPF file system that is ours. What lies there is removed when this goes, unless it is to be kept: what an earlier process has left is, until
/// this one has taken it over.
#[derive(Debug)]
pub(super) struct Pins {
    /// What the layouts' directories lie in.
    above: OwnedFd,
    /// That of this layout.
    directory: PathBuf,
    kept: bool,
}

impl Pins {
    pub(super) fn open(directory: &Path, sizes: &Sizes) -> Result<(Pins, Found), OpenError> {
        let failed_at = |path: &Path, error| OpenError::Directory { path: path.to_owned(), error };
        let failed = |error| failed_at(directory, error);
        // In place of one there may be files of the kernel's in which nobody makes a directory.
        if let Some(mount) = missing_file_system(directory) {
            return Err(OpenError::NotBpf { path: directory.to_owned(), mount });
        }
        let mut builder = std::fs::DirBuilder::new();
        builder.recursive(true).mode(0o700);
        builder.create(directory).map_err(failed)?;
        let above = open_own(CWD, directory).map_err(failed)?;
        let (mut why, mut is_there) = (None, false);
        for name in layouts(&above).map_err(failed)? {
            let path = directory.join(&name);
            // Another's, or a link, is neither taken over nor removed.
            open_own(above.as_fd(), &*name).map_err(|error| failed_at(&path, error))?;
            if name == own_name() {
                is_there = true;
                continue;
            }
            let layout = name.trim_start_matches('v');
            why = Some(format!("it is of layout {layout}, and this version has layout {LAYOUT}"));
            remove(above.as_fd(), &*name).map_err(|error| failed_at(&path, error))?;
        }
        // Until it is known what is there, nothing of it goes with this.
        let mut pins = Pins { above, directory: directory.join(own_name()), kept: true };
        let mut found = Found::Nothing;
        if is_there {
            match pins.differs(sizes) {
                None => found = Found::Left { services: 0 },
                Some(difference) => {
                    why = Some(difference);
                    pins.remove().map_err(failed)?;
                }
            }
        }
        pins.kept = matches!(found, Found::Left { .. });
        builder.create(pins.held()).map_err(failed)?;
        if let (Found::Nothing, Some(why)) = (&found, why) {
            found = Found::Replaced { why };
        }
        Ok((pins, found))
    }

    /// Why the maps there are not those that are asked for.
    fn differs(&self, sizes: &Sizes) -> Option<String> {
        MAPS.iter().find_map(|map| {
            let found = match aya::maps::MapData::from_pin(self.map(map.name)) {
                Ok(data) => shape(AsFd::as_fd(data.fd())),
                Err(error) => return Some(format!("map `{}` is missing or cannot be opened ({error})", map.name)),
            };
            let found = match found {
                Ok(found) => found,
                Err(error) => return Some(format!("map `{}` cannot be read ({error})", map.name)),
            };
            if (found.key as usize, found.value as usize) != (map.key, map.value) {
                return Some(format!("map `{}` has other keys or values than layout {LAYOUT}", map.name));
            }
            let wanted = (map.entries)(sizes).filter(|wanted| *wanted != found.entries)?;
            Some(format!("map `{}` has room for {}, and {wanted} is asked for", map.name, found.entries))
        })
    }

    /// Where all of it lies.
    pub(super) fn directory(&self) -> &Path {
        &self.directory
    }

    pub(super) fn map(&self, name: &str) -> PathBuf {
        self.directory.join(name)
    }

    pub(super) fn held(&self) -> PathBuf {
        self.directory.join("held")
    }

    /// Leaves everything where it is.
    pub(super) fn keep(mut self) {
        self.kept = true;
    }

    /// Takes over what was left.
    pub(super) fn own(&mut self) {
        self.kept = false;
    }

    fn remove(&self) -> io::Result<()> {
        remove(self.above.as_fd(), &*own_name())
    }
}

impl Drop for Pins {
    fn drop(&mut self) {
        if !self.kept {
            // Whoever has the maps has them still; what could not be removed is found by the next start.
            let _ = self.remove();
        }
    }
}

/// What the directory of this layout is called.
fn own_name() -> String {
    format!("v{LAYOUT}")
}

/// What lies in a directory that is called as those of layouts are.
fn layouts(directory: &OwnedFd) -> io::Result<Vec<String>> {
    let mut names = Vec::new();
    for entry in Dir::read_from(directory)? {
        let entry = entry?;
        let name = entry.file_name().to_str().unwrap_or_default();
        if name.strip_prefix('v').is_some_and(|number| number.parse::<u32>().is_ok()) {
            names.push(name.to_owned());
        }
    }
    Ok(names)
}

/// Takes off the program that a file of a directory keeps. The kernel sees only a moment later that the file is gone, and until then the program would be in the way of the next.
fn take_off(directory: &OwnedFd, name: &[u8]) -> io::Result<()> {
    let path = [format!("/proc/self/fd/{}/", directory.as_raw_fd()).as_bytes(), name].concat();
    bpf::unlink(bpf::open(&CString::new(path)?)?.as_fd())
}

/// Removes a directory with what lies in it, and follows no link. Links of the kernel that nobody holds are detached by this.
fn remove(above: BorrowedFd<'_>, name: impl Arg + Copy) -> io::Result<()> {
    let directory = open_directory(above, name)?;
    for entry in Dir::read_from(&directory)? {
        let entry = entry?;
        let inner = entry.file_name();
        match (inner.to_bytes(), entry.file_type()) {
            (b"." | b"..", _) => {}
            (_, FileType::Directory) => remove(directory.as_fd(), inner)?,
            (name, kind) => {
                if kind == FileType::RegularFile {
                    // What is no link of the kernel's is none to be taken off.
                    let _ = take_off(&directory, name);
                }
                rustix::fs::unlinkat(&directory, inner, AtFlags::empty())?;
            }
        }
    }
    Ok(rustix::fs::unlinkat(above, name, AtFlags::REMOVEDIR)?)
}
