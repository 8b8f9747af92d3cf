//! The files of a folder, as far as they would be served and something is made of them.

use std::collections::HashMap;
use std::fs::File as Open;
use std::io::{self, Read};
use std::os::fd::{AsFd, OwnedFd};
use std::sync::Arc;

use rustix::fs::Dir;
use sha2::{Digest as _, Sha256};

use super::config::Assets;
use super::fault::AssetFault;
use super::notice::Notice;
use super::plan::{Digest, File, concerns, is_text};
use crate::config::Files as Settings;
use crate::files::folder::{Folder, Identity, Named};
use crate::files::is_hidden;

/// Folders within folders.
const DEPTH: usize = 64;

/// What was found.
#[derive(Debug, Default)]
pub(super) struct Found {
    pub(super) files: Vec<File>,
    pub(super) faults: Vec<AssetFault>,
    states: HashMap<Arc<str>, (Identity, File)>,
}

impl Found {
    /// What a file was when it was looked at.
    pub(super) fn state(&self, path: &str) -> Option<Identity> {
        self.states.get(path).map(|(identity, _)| *identity)
    }

    /// Whether nothing has changed since another look.
    pub(super) fn is_same(&self, other: &Self) -> bool {
        let state = |found: &Self, path: &str| found.state(path);
        self.files == other.files
            && self.faults == other.faults
            && self.files.iter().all(|file| state(self, &file.path) == state(other, &file.path))
    }
}

/// Looks through a folder. What has not changed since `before` is not read again.
pub(super) fn scan(
    folder: &Folder,
    settings: &Settings,
    assets: &Assets,
    before: &Found,
    notice: &mut Notice,
) -> io::Result<Found> {
    let mut scan = Scan { folder, settings, assets, before, notice, found: Found::default(), total: 0, full: false };
    let root = match folder.named("/")? {
        Named::Folder(root) => root,
        _ => return Err(io::ErrorKind::NotADirectory.into()),
    };
    scan.read(root)?;
    let Scan { mut found, full, .. } = scan;
    if full {
        let told = format!("there are more than {} files, or {} of them", assets.max_files, assets.max_total);
        let help = "what is beyond is served as it is; raise assets.max_files or assets.max_total";
        found.faults.push(AssetFault::new("/", told, help));
    }
    found.files.sort_by(|one, other| one.path.cmp(&other.path));
    Ok(found)
}

struct Scan<'a> {
    folder: &'a Folder,
    settings: &'a Settings,
    assets: &'a Assets,
    before: &'a Found,
    notice: &'a mut Notice,
    found: Found,
    total: u64,
    full: bool,
}

/// A folder that is to be read, its path with a slash at its end, and the inodes of those around it.
type Due = (String, OwnedFd, Vec<(u64, u64)>);

impl Scan<'_> {
    fn read(&mut self, root: OwnedFd) -> io::Result<()> {
        let mut due: Vec<Due> = vec![("/".to_owned(), root, Vec::new())];
        while let Some((path, open, mut around)) = due.pop() {
            let stat = Identity::of(&rustix::fs::fstat(&open)?);
            let inode = (stat.device, stat.inode);
            // A link to a folder around it.
            if around.contains(&inode) || around.len() >= DEPTH {
                continue;
            }
            around.push(inode);
            self.notice.watch(open.as_fd());
            let mut names: Vec<String> = Vec::new();
            for entry in Dir::read_from(&open)? {
                let entry = entry?;
                let Ok(name) = entry.file_name().to_str() else { continue };
                let control = name.bytes().any(|byte| byte < b' ' || byte == 0x7f);
                if matches!(name, "." | "..") || control || !self.settings.hidden && is_hidden(name) {
                    continue;
                }
                names.push(name.to_owned());
            }
            // So that a bound cuts the same files off each time.
            names.sort_unstable();
            for name in names {
                let path = format!("{path}{}", name.replace('%', "%25"));
                match self.folder.named(&path)? {
                    Named::Folder(inner) => due.push((format!("{path}/"), inner, around.clone())),
                    Named::File(file, identity) if concerns(self.assets, &path) => self.file(path, file, identity)?,
                    Named::File(..) | Named::Nothing | Named::Forbidden => {}
                }
            }
        }
        Ok(())
    }

    fn file(&mut self, path: String, open: Open, identity: Identity) -> io::Result<()> {
        if identity.length > self.assets.max_file.get() {
            if is_text(&path) {
                let told = format!("it is larger than {}", self.assets.max_file);
                let fault = AssetFault::new(&path, told, "it is served as it is; raise assets.max_file");
                self.found.faults.push(fault);
            }
            return Ok(());
        }
        self.total += identity.length;
        if self.found.files.len() >= self.assets.max_files as usize || self.total > self.assets.max_total.get() {
            self.full = true;
            return Ok(());
        }
        let path: Arc<str> = path.into();
        let known = self.before.states.get(&path).filter(|(then, _)| *then == identity);
        let file = match known {
            Some((_, file)) => file.clone(),
            None => self.content(&path, open, &identity)?,
        };
        if is_text(&path) && file.text.is_none() {
            let fault = AssetFault::new(&path, "it is no UTF-8", "it is served as it is; write it in UTF-8");
            self.found.faults.push(fault);
        }
        self.found.states.insert(path, (identity, file.clone()));
        self.found.files.push(file);
        Ok(())
    }

    fn content(&self, path: &Arc<str>, open: Open, identity: &Identity) -> io::Result<File> {
        // One that grows meanwhile is looked at again.
        let open = open.take(self.assets.max_file.get().saturating_add(1));
        if !is_text(path) {
            let (length, digest) = hash(open)?;
            return Ok(File { path: Arc::clone(path), length, digest, text: None });
        }
        let mut open = open;
        let mut content = Vec::with_capacity(usize::try_from(identity.length).unwrap_or(0));
        open.read_to_end(&mut content)?;
        let digest = Sha256::digest(&content).into();
        let (length, text) = (content.len() as u64, String::from_utf8(content).ok());
        // A byte order mark says nothing in UTF-8, and would stand in the middle of what is put together.
        let text = text.map(|text| text.strip_prefix('\u{feff}').unwrap_or(&text).into());
        Ok(File { path: Arc::clone(path), length, digest, text })
    }
}

/// The length and the SHA-256 of a content.
pub(super) fn hash(mut content: impl Read) -> io::Result<(u64, Digest)> {
    let mut hash = Sha256::new();
    let mut piece = vec![0; 64 << 10];
    let mut length = 0;
    loop {
        match content.read(&mut piece)? {
            0 => return Ok((length, hash.finalize().into())),
            read => {
                hash.update(piece.get(..read).unwrap_or_default());
                length += read as u64;
            }
        }
    }
}
