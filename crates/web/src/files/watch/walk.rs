//! What the way from a folder to a file depends on: every name that is looked up, in the folder where that happens.

use std::ffi::OsStr;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

use rustix::fs::inotify::WatchFlags;
use rustix::fs::{FileType, Mode, OFlags};

use super::{CONTENT, NAMES, Ticket, WAY};

/// Symbolic links that one way leads through at most, as the kernel has it (`path_resolution(7)`).
const LINKS: usize = 40;

/// The folder that the last name of a path was looked up in.
#[derive(Debug)]
pub(in crate::files) struct Beside(Option<OwnedFd>);

/// A name on the way is watched in the folder where it stands, or as what it names.
enum Watching {
    Names,
    Themselves,
}

impl Ticket {
    /// Depends on everything that decides what `path` names below a folder, and on the file's content. To be called before it is looked up.
    pub(in crate::files) fn follow(&mut self, folder: &OwnedFd, path: &str) -> Beside {
        if self.blind {
            return Beside(None);
        }
        let mut walk = Walk::new(folder, path.as_bytes());
        walk.go(self, &Watching::Names);
        Beside(walk.last)
    }

    /// The same for another name in the folder where the last one was.
    pub(in crate::files) fn follow_beside(&mut self, beside: &Beside, name: &str) {
        let Some(folder) = &beside.0 else { return };
        Walk::new(folder, name.as_bytes()).go(self, &Watching::Names);
    }

    /// Depends on everything that decides where an absolute path leads.
    pub(in crate::files) fn follow_way(&mut self, path: &Path) {
        let Ok(root) = rustix::fs::open("/", OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC, Mode::empty()) else {
            self.blind = true;
            return;
        };
        Walk::new(&root, path.as_os_str().as_bytes()).go(self, &Watching::Themselves);
    }
}

struct Walk<'a> {
    start: &'a OwnedFd,
    /// The folders that lead to where it is, from below the start.
    way: Vec<OwnedFd>,
    /// Names that are still to be looked up, the next one last; and whether it is the last of the path itself.
    names: Vec<(Vec<u8>, bool)>,
    links: usize,
    /// Where the last name that was asked for stands.
    last: Option<OwnedFd>,
}

impl<'a> Walk<'a> {
    fn new(start: &'a OwnedFd, path: &[u8]) -> Self {
        let mut walk = Self { start, way: Vec::new(), names: Vec::new(), links: 0, last: None };
        walk.push(path);
        if let Some((_, is_last)) = walk.names.first_mut() {
            *is_last = true;
        }
        walk
    }

    fn push(&mut self, path: &[u8]) {
        let names = path.split(|byte| *byte == b'/').rev().filter(|name| !name.is_empty());
        self.names.extend(names.map(|name| (name.to_vec(), false)));
    }

    fn here(&self) -> BorrowedFd<'_> {
        self.way.last().unwrap_or(self.start).as_fd()
    }

    fn go(&mut self, ticket: &mut Ticket, watching: &Watching) {
        while let Some((name, is_last)) = self.names.pop() {
            match &*name {
                b"." => {}
                // What leads out is found nowhere, and that does not change by itself.
                b".." if self.way.pop().is_none() && matches!(watching, Watching::Names) => return,
                b".." => {}
                name => {
                    if is_last {
                        self.last = self.here().try_clone_to_owned().ok();
                        ticket.blind |= self.last.is_none();
                    }
                    if !self.step(ticket, watching, name) {
                        return;
                    }
                }
            }
        }
    }

    /// Looks one name up, after what tells of its changes is set; false where the way ends.
    fn step(&mut self, ticket: &mut Ticket, watching: &Watching, name: &[u8]) -> bool {
        let by_name = matches!(watching, Watching::Names);
        if by_name {
            ticket.depend(self.here(), NAMES, Some(name));
        }
        let flags = OFlags::PATH | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        // Where it may not be looked up, the folder's attributes tell when that changes.
        let Ok(found) = rustix::fs::openat(self.here(), OsStr::from_bytes(name), flags, Mode::empty()) else {
            return false;
        };
        let Ok(stat) = rustix::fs::fstat(&found) else { return false };
        match FileType::from_raw_mode(stat.st_mode) {
            FileType::Symlink => {
                if !by_name {
                    ticket.depend(found.as_fd(), WAY | WatchFlags::ATTRIB, None);
                }
                self.links += 1;
                let Ok(target) = rustix::fs::readlinkat(&found, "", Vec::new()) else { return false };
                let target = target.as_bytes();
                if target.starts_with(b"/") {
                    if by_name {
                        return false;
                    }
                    self.way.clear();
                }
                self.push(target);
                self.links <= LINKS
            }
            FileType::Directory => {
                if !by_name {
                    ticket.depend(found.as_fd(), WAY, None);
                }
                self.way.push(found);
                true
            }
            FileType::RegularFile if by_name => {
                ticket.depend(found.as_fd(), CONTENT, None);
                false
            }
            _ => false,
        }
    }
}
