//! Files mapped into memory, for the kernel to send from.

use std::fs::File;
use std::io;
use std::os::fd::AsFd;

use crate::{Context, Result, sys};

/// A file's beginning, mapped.
///
/// There is no way to read it here, and that is the point: whoever reads a page that the file no longer has gets `SIGBUS`, and a file
/// that is served may be cut short by anybody at any time. The kernel that copies from such a page merely fails. So what is mapped can be
/// sent to a socket as it is, and what has to be encrypted is read into memory of our own instead.
#[derive(Debug)]
pub struct Mapping(sys::mapping::Pages);

impl Mapping {
    /// Maps the first `length` bytes of a file, which may not be none.
    ///
    /// # Errors
    /// When the file system does not map files, or there is no room for it.
    pub fn new(file: &File, length: usize) -> Result<Self> {
        sys::mapping::Pages::map(file.as_fd(), length).map(Self).context(|| format!("map {length} bytes of a file"))
    }

    /// Bytes that are mapped.
    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// Whether nothing is mapped, which never happens.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Sends up to `length` bytes from `offset`; says how many. `more` says that others follow at once.
    ///
    /// # Errors
    /// As `send(2)`; `EFAULT` where the file has become shorter than what is to be sent.
    pub fn send(&self, socket: &impl AsFd, offset: u64, length: usize, more: bool) -> io::Result<usize> {
        let offset = usize::try_from(offset).map_err(|_| io::ErrorKind::InvalidInput)?;
        self.0.send(socket.as_fd(), offset, length, more)
    }
}

#[cfg(test)]
mod tests {
    use std::io::Read;
    use std::os::unix::fs::FileExt;
    use std::os::unix::net::UnixStream;

    use super::*;

    fn file(content: &[u8]) -> File {
        let path = std::env::temp_dir().join(format!("outwork-mapping-{}-{}", std::process::id(), content.len()));
        std::fs::write(&path, content).unwrap();
        let file = File::options().read(true).write(true).open(&path).unwrap();
        std::fs::remove_file(path).unwrap();
        file
    }

    #[test]
    fn what_is_mapped_is_sent_and_never_more_of_it() {
        let mapping = Mapping::new(&file(b"0123456789"), 10).unwrap();
        let (from, mut to) = UnixStream::pair().unwrap();
        assert_eq!(mapping.send(&from, 2, 3, false).unwrap(), 3);
        assert_eq!(mapping.send(&from, 8, 100, false).unwrap(), 2);
        assert_eq!(mapping.send(&from, 10, 1, false).unwrap(), 0);
        assert_eq!(mapping.send(&from, u64::MAX, 1, false).unwrap(), 0);
        drop(from);
        let mut sent = String::new();
        to.read_to_string(&mut sent).unwrap();
        assert_eq!((sent.as_str(), mapping.len()), ("23489", 10));
    }

    #[test]
    fn a_file_that_was_cut_short_fails_to_be_sent_and_harms_nobody() {
        let content = vec![b'x'; 64 << 10];
        let file = file(&content);
        let mapping = Mapping::new(&file, content.len()).unwrap();
        file.set_len(4096).unwrap();
        let (from, _to) = UnixStream::pair().unwrap();
        assert_eq!(mapping.send(&from, 0, 4096, false).unwrap(), 4096);
        let error = mapping.send(&from, 32 << 10, 4096, false).unwrap_err();
        assert_eq!(error.raw_os_error(), Some(libc::EFAULT));
        file.write_all_at(&content, 0).unwrap();
        assert_eq!(mapping.send(&from, 32 << 10, 4096, false).unwrap(), 4096, "it has come back");
    }
}
