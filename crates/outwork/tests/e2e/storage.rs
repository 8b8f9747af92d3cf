//! File systems of a few MiB that fill up, refuse writes, or fail.

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

/// A disk whose file system turns read-only at its first error, as ext4 does; unmounted when dropped.
pub(crate) struct FailingDisk {
    image: PathBuf,
    disk: Disk,
}

impl FailingDisk {
    /// Mounts a file system of so many MiB on a directory, which is made for it; the disk is a file beside that.
    pub(crate) fn mount(on: &Path, mib: u64) -> FailingDisk {
        std::fs::create_dir_all(on).unwrap();
        let image = on.with_extension("img");
        std::fs::File::create(&image).unwrap().set_len(mib << 20).unwrap();
        run(Command::new("mkfs.ext4").arg("-q").arg(&image));
        let disk = FailingDisk { image, disk: Disk(on.to_owned()) };
        disk.attach();
        disk
    }

    fn attach(&self) {
        mount(&["-o", "loop,errors=remount-ro", self.image.to_str().unwrap()], &self.disk.0);
    }

    /// The file system meets an error: whoever has a file open for writing is refused from now on (EROFS).
    pub(crate) fn fail(&self) {
        let mounts = std::fs::read_to_string("/proc/self/mounts").unwrap();
        let on = self.disk.0.to_str().unwrap();
        let line = mounts.lines().find(|line| line.split(' ').nth(1) == Some(on)).unwrap();
        let device = line.split(' ').next().unwrap().trim_start_matches("/dev/");
        std::fs::write(format!("/sys/fs/ext4/{device}/trigger_fs_error"), "1").unwrap();
    }

    /// As a machine does that starts anew: checks the file system and mounts it again. It is a copy of the disk as it was left:
    /// the mount namespaces of servers that other tests start meanwhile may hold on to the one that failed.
    pub(crate) fn repair(&mut self) {
        run(Command::new("umount").arg("-l").arg(&self.disk.0));
        let copy = self.image.with_extension("copy");
        std::fs::copy(&self.image, &copy).unwrap();
        self.image = copy;
        // 1: errors were corrected.
        let status = Command::new("e2fsck").args(["-p", self.image.to_str().unwrap()]).status().unwrap();
        assert!(matches!(status.code(), Some(0 | 1)), "{status}");
        self.attach();
    }
}

impl Drop for Disk {
    fn drop(&mut self) {
        // Lazily: the server may still be ending.
        let _ = Command::new("umount").arg("-l").arg(&self.0).status();
    }
}

fn mount(options: &[&str], on: &Path) {
    run(Command::new("mount").args(options).arg(on));
}

fn run(command: &mut Command) {
    let output = command.output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
}
