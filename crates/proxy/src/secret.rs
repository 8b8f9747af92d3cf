//! The key that signs cookies, which outlives restarts so that clients stay with their backends.

use std::io;
use std::path::Path;

use outwork_store::file::replace_private;

/// The key in this file; where there is none, a new one, which is kept there.
///
/// # Errors
/// Those of the system, and when the file holds something else.
pub fn keep(path: &Path) -> io::Result<[u8; 16]> {
    match std::fs::read(path) {
        Ok(kept) => kept.try_into().map_err(|_| {
            io::Error::new(io::ErrorKind::InvalidData, "it is no key of 16 bytes; remove it, and another is made")
        }),
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            let mut key = [0; 16];
            getrandom::fill(&mut key).map_err(io::Error::other)?;
            replace_private(path, &key)?;
            Ok(key)
        }
        Err(error) => Err(error),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_is_made_once_and_kept() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("proxy.key");
        let key = keep(&path).unwrap();
        assert_eq!(keep(&path).unwrap(), key);
        assert_ne!(keep(&dir.path().join("other.key")).unwrap(), key);
        std::fs::write(&path, "short").unwrap();
        assert!(keep(&path).unwrap_err().to_string().contains("remove it"));
    }
}
