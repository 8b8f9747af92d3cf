//! Small files that are replaced whole and for our eyes only: keys, certificates, accounts.

use std::fs::{self, DirBuilder};
use std::io;
use std::os::unix::fs::{DirBuilderExt, MetadataExt};
use std::path::Path;

use outwork_store::file::replace_private;

use super::TlsError;

/// What tells one state of a file from another, without reading it.
pub(crate) type Stamp = Option<(u64, u64, i64, i64, i64, i64)>;

/// How a file stands now; `None` where there is none.
pub(crate) fn stamp(path: &Path) -> Stamp {
    let found = fs::metadata(path).ok()?;
    Some((found.ino(), found.size(), found.mtime(), found.mtime_nsec(), found.ctime(), found.ctime_nsec()))
}

/// Puts a file in the place of what was there: after a crash it is the one or the other, and never readable by others.
pub(crate) fn replace(path: &Path, content: &[u8]) -> Result<(), TlsError> {
    let failed = |source| TlsError::Storage { path: path.to_owned(), source };
    let folder = path.parent().ok_or_else(|| failed(io::ErrorKind::InvalidInput.into()))?;
    let written = || -> io::Result<()> {
        DirBuilder::new().recursive(true).mode(0o700).create(folder)?;
        replace_private(path, content)
    };
    written().map_err(failed)
}

/// A file's content; `None` where there is none.
pub(crate) fn read(path: &Path) -> Result<Option<Vec<u8>>, TlsError> {
    match fs::read(path) {
        Ok(content) => Ok(Some(content)),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(source) => Err(TlsError::Storage { path: path.to_owned(), source }),
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    #[test]
    fn a_file_is_replaced_whole_and_is_for_nobody_else() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("tls/key.pem");
        assert_eq!((stamp(&path), read(&path).unwrap()), (None, None));
        replace(&path, b"one").unwrap();
        let first = stamp(&path);
        fs::write(dir.path().join("tls/key.pem.new"), "left by a crash").unwrap();
        replace(&path, b"two").unwrap();
        assert_ne!(stamp(&path), first);
        assert_eq!(read(&path).unwrap().unwrap(), b"two");
        let mode = |path: &Path| fs::metadata(path).unwrap().permissions().mode() & 0o777;
        assert_eq!((mode(&path), mode(path.parent().unwrap())), (0o600, 0o700));
        assert_eq!(fs::read_dir(path.parent().unwrap()).unwrap().count(), 1);
    }
}
