//! Files that are looked at once in a while, when somebody asks for what is in them, and read again where they have changed.

use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};

use parking_lot::Mutex;

/// How often they are looked at, in nanoseconds.
const LOOK: u64 = 1_000_000_000;

/// What changes with a file: device, number, size, seconds and nanoseconds of its last change.
type Stamp = (u64, u64, u64, i64, i64);

/// Some files.
#[derive(Debug)]
pub(super) struct Watched {
    paths: Vec<PathBuf>,
    /// `None` for what is not there.
    seen: Mutex<Vec<Option<Stamp>>>,
    looked: AtomicU64,
}

impl Watched {
    /// These, of which nothing has been seen yet.
    pub(super) fn new(paths: Vec<PathBuf>) -> Self {
        Self { paths, seen: Mutex::default(), looked: AtomicU64::new(0) }
    }

    /// Whether somebody should look at them, at `now` in nanoseconds. Of those who ask at once, one should.
    pub(super) fn are_due(&self, now: u64) -> bool {
        let looked = self.looked.load(Ordering::Relaxed);
        let due = !self.paths.is_empty() && now.saturating_sub(looked) >= LOOK;
        due && self.looked.compare_exchange(looked, now, Ordering::Relaxed, Ordering::Relaxed).is_ok()
    }

    /// Whether they are others than when this was asked before: of what cannot be used one is told once.
    pub(super) fn have_changed(&self) -> bool {
        let stamps: Vec<_> = self.paths.iter().map(|path| stamp(path)).collect();
        let mut seen = self.seen.lock();
        let changed = *seen != stamps;
        *seen = stamps;
        changed
    }
}

fn stamp(path: &Path) -> Option<Stamp> {
    let about = std::fs::metadata(path).ok()?;
    Some((about.dev(), about.ino(), about.size(), about.ctime(), about.ctime_nsec()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn files_are_looked_at_by_one_of_those_who_ask_within_a_second_and_change_once() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("users");
        std::fs::write(&path, "one").unwrap();
        let files = Watched::new(vec![path.clone()]);
        assert!(files.are_due(LOOK) && !files.are_due(LOOK) && !files.are_due(2 * LOOK - 1) && files.are_due(2 * LOOK));
        assert!(files.have_changed() && !files.have_changed());
        std::fs::remove_file(&path).unwrap();
        assert!(files.have_changed() && !files.have_changed(), "that it is not there is news only once");
        std::fs::write(&path, "three").unwrap();
        assert!(files.have_changed() && !files.have_changed());
        let none = Watched::new(Vec::new());
        assert!(!none.are_due(LOOK) && !none.have_changed());
    }
}
