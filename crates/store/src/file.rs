//! Files for nobody else's eyes: they hold who is on the network, and the hashes of tokens.

use std::fs::{self, DirBuilder, File, OpenOptions, Permissions};
use std::io::{self, Write};
use std::os::unix::fs::{DirBuilderExt, MetadataExt, OpenOptionsExt, PermissionsExt, fchown};
use std::path::{Path, PathBuf};

use rustix::fs::OFlags;

/// The mode of every file that is kept.
const PRIVATE: u32 = 0o600;
/// The mode of every directory that is made among them.
const PRIVATE_DIR: u32 = 0o700;

/// Creates a file that only its owner may read and write, whatever the umask says. What root makes in another user's
/// directory is that user's: the service must be able to go on with what root repaired.
///
/// # Errors
/// Those of the system; `AlreadyExists` where there is a file, or a link, of this name.
pub fn create_private(path: &Path) -> io::Result<File> {
    let file = create_own(path)?;
    give_to_owner(&file, path)?;
    Ok(file)
}

/// The same, and whoever makes it owns it.
fn create_own(path: &Path) -> io::Result<File> {
    let file = OpenOptions::new().create_new(true).read(true).write(true).mode(PRIVATE).open(path)?;
    file.set_permissions(Permissions::from_mode(PRIVATE))?;
    Ok(file)
}

/// Puts a file that only its owner may read in the place of what was there: after a crash it is the one or the other, whole.
///
/// # Errors
/// Those of the system.
pub fn replace_private(path: &Path, content: &[u8]) -> io::Result<()> {
    replace(path, content, create_private)
}

/// The same, and whoever writes it owns it, wherever it lies: what root is to believe later nobody else may have written.
///
/// # Errors
/// Those of the system.
pub fn replace_own(path: &Path, content: &[u8]) -> io::Result<()> {
    replace(path, content, create_own)
}

fn replace(path: &Path, content: &[u8], create: impl Fn(&Path) -> io::Result<File>) -> io::Result<()> {
    let mut beside = path.as_os_str().to_owned();
    beside.push(".new");
    let beside = PathBuf::from(beside);
    // One that a crash left may have other modes.
    match fs::remove_file(&beside) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
        _ => {}
    }
    let mut file = create(&beside)?;
    file.write_all(content)?;
    file.sync_all()?;
    fs::rename(&beside, path)?;
    File::open(folder(path))?.sync_all()
}

/// Creates a directory that only its owner may use: [`create_private`] for directories.
///
/// # Errors
/// Those of the system; `AlreadyExists` where there is something of this name.
pub fn create_private_dir(path: &Path) -> io::Result<()> {
    DirBuilder::new().mode(PRIVATE_DIR).create(path)?;
    let no_link = (OFlags::NOFOLLOW | OFlags::DIRECTORY).bits().cast_signed();
    let dir = OpenOptions::new().read(true).custom_flags(no_link).open(path)?;
    give_to_owner(&dir, path)
}

/// What root has made is given to who owns the directory it is in.
fn give_to_owner(made: &File, path: &Path) -> io::Result<()> {
    let (own, dir) = (made.metadata()?, fs::metadata(folder(path))?);
    if own.uid() == 0 && dir.uid() != 0 {
        fchown(made, Some(dir.uid()), Some(dir.gid()))?;
    }
    Ok(())
}

/// Where a file is.
fn folder(path: &Path) -> &Path {
    path.parent().filter(|dir| !dir.as_os_str().is_empty()).unwrap_or(Path::new("."))
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::chown;

    use super::*;

    #[test]
    fn a_file_is_its_owners_alone_and_never_follows_a_link() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("file");
        assert_eq!(create_private(&path).unwrap().metadata().unwrap().mode() & 0o777, PRIVATE);
        let (link, aim) = (dir.path().join("link"), dir.path().join("aim"));
        std::os::unix::fs::symlink(&aim, &link).unwrap();
        assert_eq!(create_private(&link).unwrap_err().kind(), io::ErrorKind::AlreadyExists);
        assert!(!aim.exists());
    }

    #[test]
    fn a_file_is_replaced_whole_whatever_a_crash_has_left_beside_it() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("file");
        fs::write(dir.path().join("file.new"), "half").unwrap();
        replace_private(&path, b"one").unwrap();
        replace_private(&path, b"two").unwrap();
        assert_eq!((fs::read(&path).unwrap(), fs::metadata(&path).unwrap().mode() & 0o777), (b"two".to_vec(), PRIVATE));
        assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 1);
    }

    #[test]
    fn what_its_writer_is_to_believe_later_stays_its_writers_in_another_users_directory() {
        let dir = tempfile::tempdir().unwrap();
        let own = fs::metadata(dir.path()).unwrap().uid();
        chown(dir.path(), Some(if own == 0 { 12_345 } else { own }), None).unwrap();
        let path = dir.path().join("file");
        replace_own(&path, b"one").unwrap();
        let made = fs::metadata(&path).unwrap();
        assert_eq!((made.uid(), made.mode() & 0o777), (own, PRIVATE));
    }

    #[test]
    fn what_root_makes_in_another_users_directory_is_that_users() {
        let dir = tempfile::tempdir().unwrap();
        let own = fs::metadata(dir.path()).unwrap();
        // Only root can give a directory away; where the tests run as an ordinary user, the file is that user's.
        let owner = if own.uid() == 0 { (12_345, 54_321) } else { (own.uid(), own.gid()) };
        chown(dir.path(), Some(owner.0), Some(owner.1)).unwrap();
        create_private(&dir.path().join("file")).unwrap();
        create_private_dir(&dir.path().join("sub")).unwrap();
        for name in ["file", "sub"] {
            let made = fs::metadata(dir.path().join(name)).unwrap();
            assert_eq!((made.uid(), made.gid(), made.mode() & 0o077), (owner.0, owner.1, 0), "{name}");
        }
    }
}
