//! The secret of the data directory: who can read it there is an admin on this machine, with no token to carry about.

use std::fs;
use std::io::{self, Write};
use std::path::{Path, PathBuf};

use outwork_store::file::create_private;
use outwork_store::tokens::{CreateError, Secret};

/// The file's name in the data directory.
pub const LOCAL_TOKEN_FILE: &str = "admin.token";
/// What it is called until it is whole.
const UNFINISHED: &str = "admin.token.tmp";

/// The file with the secret of this start. Dropping it removes the file.
#[derive(Debug)]
pub struct LocalToken(PathBuf);

/// Why there is no such file.
#[derive(Debug, thiserror::Error)]
pub enum LocalTokenError {
    /// The file was not written.
    #[error("cannot write {}: {source}", path.display())]
    Io {
        /// The file.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// There is no secret to write.
    #[error(transparent)]
    Create(#[from] CreateError),
}

impl LocalToken {
    /// Writes a new secret for the owner of the data directory, over one that an unclean end left. The directory is to be
    /// locked: another process's file must stay.
    ///
    /// # Errors
    /// When the file cannot be written, or there are no random bits.
    pub fn write(data_dir: &Path) -> Result<(Self, Secret), LocalTokenError> {
        let secret = Secret::random()?;
        let (path, unfinished) = (data_dir.join(LOCAL_TOKEN_FILE), data_dir.join(UNFINISHED));
        let write = || {
            match fs::remove_file(&unfinished) {
                Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
                _ => {}
            }
            writeln!(create_private(&unfinished)?, "{}", secret.expose())?;
            fs::rename(&unfinished, &path)
        };
        match write() {
            Ok(()) => Ok((Self(path), secret)),
            Err(source) => Err(LocalTokenError::Io { path, source }),
        }
    }
}

impl Drop for LocalToken {
    fn drop(&mut self) {
        // One that stays is refused by the next start.
        if let Err(error) = fs::remove_file(&self.0) {
            tracing::warn!(path = %self.0.display(), %error, "the local token was not removed");
        }
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    #[test]
    fn each_start_has_a_secret_of_its_own_that_ends_with_it() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join(LOCAL_TOKEN_FILE);
        fs::write(&path, "left by an unclean end").unwrap();
        fs::write(dir.path().join(UNFINISHED), "half of").unwrap();
        let (first, secret) = LocalToken::write(dir.path()).unwrap();
        assert_eq!(fs::read_to_string(&path).unwrap().trim(), secret.expose());
        assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
        drop(first);
        assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 0);
        assert_ne!(LocalToken::write(dir.path()).unwrap().1, secret);
    }
}
