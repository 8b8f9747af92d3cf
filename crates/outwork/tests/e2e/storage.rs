//! File systems in memory, of a few MiB, that fill up or refuse writes.

use std::path::{Path, PathBuf};
use std::process::Command;

/// A mounted file system; unmounted when dropped.
pub(crate) struct Disk(PathBuf);

impl Disk {
    /// Mounts a file system of so many MiB on a directory, which is made for it.
    pub(crate) fn mount(on: &Path, mib: u32) -> Disk {
        std::fs::create_dir_all(on).unwrap();
        mount(&["-t", "tmpfs", "-o", &format!("size={mib}m"), "outwork-test"], on);
        Disk(on.to_owned())
    }

    /// From now on nothing can be written.
    pub(crate) fn make_read_only(&self) {
        mount(&["-o", "remount,ro"], &self.0);
    }

    /// Ends [`make_read_only`](Self::make_read_only).
    pub(crate) fn make_writable(&self) {
        mount(&["-o", "remount,rw"], &self.0);
    }

    /// Fills it to the last byte.
    pub(crate) fn fill(&self) {
        let mut file = std::fs::File::create(self.0.join("ballast")).unwrap();
        for size in [64 << 10, 4 << 10, 1] {
            while std::io::Write::write_all(&mut file, &vec![0x5a; size]).is_ok() {}
        }
    }

    /// Gives back what [`fill`](Self::fill) took.
    pub(crate) fn make_room(&self) {
        std::fs::remove_file(self.0.join("ballast")).unwrap();
    }
}

impl Drop for Disk {
    fn drop(&mut self) {
        // Lazily: the server may still be ending.
        let _ = Command::new("umount").arg("-l").arg(&self.0).status();
    }
}

fn mount(options: &[&str], on: &Path) {
    let output = Command::new("mount").args(options).arg(on).output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
}
