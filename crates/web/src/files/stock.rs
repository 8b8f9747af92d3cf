//! Files that are open, and the contents of small ones, kept with their header fields made ready.

use std::collections::HashMap;
use std::fs::File;
use std::io;
use std::ops::Range;
use std::os::unix::fs::FileExt;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use bytes::Bytes;
use http::header::{ACCEPT_RANGES, CACHE_CONTROL, CONTENT_TYPE, ETAG, LAST_MODIFIED};
use http::{HeaderMap, HeaderValue};
use outwork_front::message::{Body, FilePart, ReadyHead, Transfer};
use parking_lot::RwLock;
use sha2::{Digest, Sha256};

use super::folder::Identity;
use super::media::media_type;
use crate::config::{EtagKind, Files as Settings};

/// Files that are kept open at most.
const FILES: usize = 4096;
/// What an open file counts for beside its content.
const OVERHEAD: usize = 1024;
/// Files above this size are not read for the sake of their tag.
const HASHED: u64 = 16 << 20;

/// A file that is served.
#[derive(Debug)]
pub(super) struct Item {
    /// The path that it was opened by.
    pub(super) path: Box<str>,
    pub(super) identity: Identity,
    pub(super) etag: Option<HeaderValue>,
    /// All of its header fields.
    pub(super) ready: Arc<ReadyHead>,
    /// Those that a client is told again when nothing has changed.
    pub(super) validators: Arc<ReadyHead>,
    file: Arc<File>,
    content: Option<Bytes>,
    /// Asked for since room was last made.
    wanted: AtomicBool,
}

/// What is kept.
#[derive(Debug)]
pub(super) struct Stock {
    settings: Settings,
    kept: RwLock<Kept>,
}

#[derive(Debug, Default)]
struct Kept {
    by_path: HashMap<Box<str>, Arc<Item>>,
    bytes: usize,
}

impl Stock {
    pub(super) fn new(settings: &Settings) -> Self {
        Self { settings: settings.clone(), kept: RwLock::default() }
    }

    /// What was kept under a path. It may have changed since.
    pub(super) fn get(&self, path: &str) -> Option<Arc<Item>> {
        let item = Arc::clone(self.kept.read().by_path.get(path)?);
        if !item.wanted.load(Ordering::Relaxed) {
            item.wanted.store(true, Ordering::Relaxed);
        }
        Some(item)
    }

    /// Makes a file ready and keeps it under the path that was asked for; it was opened by `path`.
    pub(super) fn add(&self, asked: &str, path: &str, file: File, identity: Identity) -> io::Result<Arc<Item>> {
        let small = identity.length <= self.settings.memory_file.get();
        let content = small.then(|| read(&file, identity.length)).transpose()?;
        let etag = match self.settings.etag {
            EtagKind::None => None,
            EtagKind::Content if identity.length <= HASHED => Some(hash(&file, content.as_deref(), identity.length)?),
            EtagKind::Content | EtagKind::Metadata => Some(format!(
                "\"{:x}-{:x}-{:x}.{:x}\"",
                identity.inode, identity.length, identity.modified.0, identity.modified.1
            )),
        };
        let etag = etag.and_then(|etag| HeaderValue::try_from(etag).ok());
        let mut fields = HeaderMap::new();
        fields.extend(etag.clone().map(|etag| (ETAG, etag)));
        let modified = httpdate::fmt_http_date(identity.modified());
        fields.extend(HeaderValue::try_from(modified).ok().map(|modified| (LAST_MODIFIED, modified)));
        let control = self.settings.cache_control.as_deref().and_then(|text| HeaderValue::from_str(text).ok());
        fields.extend(control.map(|control| (CACHE_CONTROL, control)));
        let validators = ReadyHead::new(fields.clone());
        fields.insert(CONTENT_TYPE, HeaderValue::from_static(media_type(path)));
        fields.insert(ACCEPT_RANGES, HeaderValue::from_static("bytes"));
        let item = Arc::new(Item {
            path: path.into(),
            identity,
            etag,
            ready: ReadyHead::new(fields),
            validators,
            file: Arc::new(file),
            content,
            wanted: AtomicBool::new(true),
        });
        self.keep(asked, &item);
        Ok(item)
    }

    fn keep(&self, asked: &str, item: &Arc<Item>) {
        let limit = self.settings.memory.as_usize();
        if item.weight() > limit {
            return;
        }
        let mut kept = self.kept.write();
        if let Some(before) = kept.by_path.insert(asked.into(), Arc::clone(item)) {
            kept.bytes -= before.weight();
        }
        kept.bytes += item.weight();
        if kept.bytes > limit || kept.by_path.len() > FILES {
            kept.make_room(limit / 4 * 3, FILES / 4 * 3, asked);
        }
    }
}

impl Kept {
    /// Lets go of what nobody has asked for since the last time, and then of anything, until a quarter is free.
    fn make_room(&mut self, bytes: usize, files: usize, but: &str) {
        for spare_wanted in [true, false] {
            let (mut kept_bytes, mut kept_files) = (self.bytes, self.by_path.len());
            self.by_path.retain(|path, item| {
                let wanted = item.wanted.swap(false, Ordering::Relaxed);
                if (kept_bytes <= bytes && kept_files <= files) || (wanted && spare_wanted) || &**path == but {
                    return true;
                }
                kept_bytes -= item.weight();
                kept_files -= 1;
                false
            });
            self.bytes = kept_bytes;
        }
    }
}

impl Item {
    /// What is sent of it.
    pub(super) fn part(&self, range: Range<u64>) -> Body {
        if let Some(content) = &self.content {
            let at = |offset: u64| usize::try_from(offset).unwrap_or(usize::MAX).min(content.len());
            return Body::Full(content.slice(at(range.start)..at(range.end)));
        }
        let length = range.end.saturating_sub(range.start);
        Body::File(FilePart { file: Arc::clone(&self.file), offset: range.start, length, transfer: Transfer::Kernel })
    }

    /// What parts several parts of it. The content is not searched for it: it is a hash of more than the content.
    pub(super) fn boundary(&self) -> String {
        let digest = Sha256::digest(format!("{}{:?}", self.path, self.identity));
        digest.iter().take(12).map(|byte| format!("{byte:02x}")).collect()
    }

    fn weight(&self) -> usize {
        OVERHEAD + self.path.len() + self.content.as_ref().map_or(0, Bytes::len)
    }
}

fn read(file: &File, length: u64) -> io::Result<Bytes> {
    let mut content = vec![0; usize::try_from(length).map_err(io::Error::other)?];
    file.read_exact_at(&mut content, 0)?;
    Ok(content.into())
}

fn hash(file: &File, content: Option<&[u8]>, length: u64) -> io::Result<String> {
    let mut hash = Sha256::new();
    match content {
        Some(content) => hash.update(content),
        None => {
            let mut piece = vec![0; 64 << 10];
            let mut at = 0;
            while at < length {
                let read = file.read_at(&mut piece, at)?;
                if read == 0 {
                    return Err(io::ErrorKind::UnexpectedEof.into());
                }
                hash.update(piece.get(..read).unwrap_or_default());
                at += read as u64;
            }
        }
    }
    let digest: String = hash.finalize().iter().take(16).map(|byte| format!("{byte:02x}")).collect();
    Ok(format!("\"{digest}\""))
}
