//! Where maps and links outlive the process: `DIRECTORY/vN/` for layout N, a file a map, and in `held/` a file for each interface that a program has hold of.
//!
//! Whoever finds maps of another layout, or of other sizes than are asked for, cannot read or use them: they make way, and with them the flows that they know.

use std::io;
use std::path::{Path, PathBuf};

use super::maps::MAPS;
use super::{Found, OpenError};
use crate::layout::LAYOUT;
use crate::settings::Sizes;
use crate::sys::bpf::shape;

/// `BPF_FS_MAGIC`.
const BPF_FS: u64 = 0xcafe_4a11;

/// Where a BPF file system is mounted by habit.
pub const USUAL: &str = "/sys/fs/bpf";

/// Where a BPF file system is to be mounted for a directory to be on one, though it need not be there yet; `None` where it is on one.
pub fn missing_file_system(directory: &Path) -> Option<PathBuf> {
    let there = directory.ancestors().find(|one| one.exists());
    let is_on_one = |path: &Path| rustix::fs::statfs(path).is_ok_and(|found| found.f_type as u64 == BPF_FS);
    let mount = if directory.starts_with(USUAL) { Path::new(USUAL) } else { directory };
    (!there.is_some_and(is_on_one)).then(|| mount.to_owned())
}

/// A directory of a BPF file system that is ours. What lies there is removed when this goes, unless it is to be kept: what an earlier process has left is, until
/// this one has taken it over.
#[derive(Debug)]
pub(super) struct Pins {
    directory: PathBuf,
    kept: bool,
}

impl Pins {
    pub(super) fn open(directory: &Path, sizes: &Sizes) -> Result<(Pins, Found), OpenError> {
        let failed = |error| OpenError::Directory { path: directory.to_owned(), error };
        // In place of one there may be files of the kernel's in which nobody makes a directory.
        if let Some(mount) = missing_file_system(directory) {
            return Err(OpenError::NotBpf { path: directory.to_owned(), mount });
        }
        std::fs::create_dir_all(directory).map_err(failed)?;
        let own = format!("v{LAYOUT}");
        let mut why = None;
        for entry in std::fs::read_dir(directory).map_err(failed)? {
            let name = entry.map_err(failed)?.file_name().to_string_lossy().into_owned();
            let layout = name.strip_prefix('v').filter(|number| number.parse::<u32>().is_ok());
            if let Some(layout) = layout.filter(|_| name != own) {
                why = Some(format!("it is of layout {layout}, and this version has layout {LAYOUT}"));
                remove(&directory.join(&name)).map_err(failed)?;
            }
        }
        let mut pins = Pins { directory: directory.join(own), kept: false };
        let mut found = Found::Nothing;
        if pins.directory.exists() {
            match pins.differs(sizes) {
                None => {
                    found = Found::Left { services: 0 };
                    pins.kept = true;
                }
                Some(difference) => {
                    why = Some(difference);
                    remove(&pins.directory).map_err(failed)?;
                }
            }
        }
        std::fs::create_dir_all(pins.held()).map_err(failed)?;
        if let (Found::Nothing, Some(why)) = (&found, why) {
            found = Found::Replaced { why };
        }
        Ok((pins, found))
    }

    /// Why the maps there are not those that are asked for.
    fn differs(&self, sizes: &Sizes) -> Option<String> {
        MAPS.iter().find_map(|map| {
            let found = match aya::maps::MapData::from_pin(self.map(map.name)) {
                Ok(data) => shape(std::os::fd::AsFd::as_fd(data.fd())),
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
}

impl Drop for Pins {
    fn drop(&mut self) {
        if !self.kept {
            // Whoever has the maps has them still; what could not be removed is found by the next start.
            let _ = remove(&self.directory);
        }
    }
}

/// Removes what lies in a directory for another process, which does not come: programs that nobody holds go with it.
pub fn discard(directory: &Path) {
    // Most often there is none.
    let _ = remove(directory);
}

/// Removes a directory with what lies in it. Links that nobody holds are detached by this.
fn remove(directory: &Path) -> io::Result<()> {
    for entry in std::fs::read_dir(directory)? {
        let entry = entry?;
        match entry.file_type()?.is_dir() {
            true => remove(&entry.path())?,
            false => std::fs::remove_file(entry.path())?,
        }
    }
    std::fs::remove_dir(directory)
}
