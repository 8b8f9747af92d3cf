//! What a server leaves in its data directory for commands on this machine: a secret, for who can read it there is an admin with no token to carry about;
//! and where it listens, whatever the configuration says by now.

use std::fs;
use std::io;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};

use outwork_store::file::replace_private;
use outwork_store::tokens::{CreateError, Secret};

/// The name of the secret's file in the data directory.
pub const LOCAL_TOKEN_FILE: &str = "admin.token";
/// The name of the file that says where the server listens.
pub const LOCAL_URLS_FILE: &str = "admin.url";

/// A file of the data directory that is there as long as the server serves. Dropping it removes the file.
#[derive(Debug)]
pub struct LocalFile(PathBuf);

/// Why there is no such file.
#[derive(Debug, thiserror::Error)]
pub enum LocalFileError {
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

impl LocalFile {
    /// Writes a new secret for the owner of the data directory. The directory is to be locked: another process's file must stay.
    ///
    /// # Errors
    /// When the file cannot be written, or there are no random bits.
    pub fn token(data_dir: &Path) -> Result<(Self, Secret), LocalFileError> {
        let secret = Secret::random()?;
        Ok((Self::write(data_dir, LOCAL_TOKEN_FILE, &format!("{}\n", secret.expose()))?, secret))
    }

    /// Writes where the server listens, and whether encrypted: a URL on each line. The directory is to be locked.
    ///
    /// # Errors
    /// When the file cannot be written.
    pub fn urls(data_dir: &Path, addresses: &[(SocketAddr, bool)]) -> Result<Self, LocalFileError> {
        let line = |(address, tls): &(SocketAddr, bool)| format!("{}{address}\n", scheme(*tls));
        Self::write(data_dir, LOCAL_URLS_FILE, &addresses.iter().map(line).collect::<String>())
    }

    /// Writes a file that is whole at once, over one that an unclean end left.
    fn write(data_dir: &Path, name: &str, text: &str) -> Result<Self, LocalFileError> {
        let path = data_dir.join(name);
        match replace_private(&path, text.as_bytes()) {
            Ok(()) => Ok(Self(path)),
            Err(source) => Err(LocalFileError::Io { path, source }),
        }
    }
}

impl Drop for LocalFile {
    fn drop(&mut self) {
        // A secret that stays is refused by the next start, and where that listens is written anew.
        if let Err(error) = fs::remove_file(&self.0) {
            tracing::warn!(path = %self.0.display(), %error, "a file of this start was not removed");
        }
    }
}

fn scheme(tls: bool) -> &'static str {
    if tls { "https://" } else { "http://" }
}

/// Where the server of this data directory says that it listens, and whether encrypted: what [`LocalFile::urls`] has written. Nowhere where there
/// is no such file, or none that this user may read. An unclean end leaves the file behind.
pub fn local_urls(data_dir: &Path) -> Vec<(SocketAddr, bool)> {
    let text = fs::read_to_string(data_dir.join(LOCAL_URLS_FILE)).unwrap_or_default();
    let read = |line: &str| {
        [true, false].into_iter().find_map(|tls| Some((line.strip_prefix(scheme(tls))?.parse().ok()?, tls)))
    };
    text.lines().filter_map(read).collect()
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
        fs::write(dir.path().join("admin.token.new"), "half of").unwrap();
        let (first, secret) = LocalFile::token(dir.path()).unwrap();
        assert_eq!(fs::read_to_string(&path).unwrap().trim(), secret.expose());
        assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
        drop(first);
        assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 0);
        assert_ne!(LocalFile::token(dir.path()).unwrap().1, secret);
    }

    #[test]
    fn where_a_start_listens_is_read_back_by_its_owner_until_it_ends() {
        let dir = tempfile::tempdir().unwrap();
        assert_eq!(local_urls(dir.path()), []);
        let listening = [("127.0.0.1:8067".parse().unwrap(), false), ("[2001:db8::1]:8443".parse().unwrap(), true)];
        let file = LocalFile::urls(dir.path(), &listening).unwrap();
        let path = dir.path().join(LOCAL_URLS_FILE);
        assert_eq!(fs::read_to_string(&path).unwrap(), "http://127.0.0.1:8067\nhttps://[2001:db8::1]:8443\n");
        assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
        assert_eq!(local_urls(dir.path()), listening);
        drop(file);
        assert_eq!(local_urls(dir.path()), []);
    }
}
