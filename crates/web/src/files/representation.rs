//! A form of a file that is sent: as it is, or in a coding; with its header fields made ready.

use std::fs::File;
use std::io;
use std::ops::Range;
use std::os::unix::fs::FileExt;
use std::sync::Arc;

use bytes::Bytes;
use http::header::{ACCEPT_RANGES, CACHE_CONTROL, CONTENT_ENCODING, CONTENT_TYPE, ETAG, LAST_MODIFIED, VARY};
use http::{HeaderMap, HeaderValue};
use md5::Md5;
use outwork_front::coding::Coding;
use outwork_front::message::{Body, FilePart, ReadyHead, Transfer};
use outwork_net::Mapping;
use sha2::{Digest, Sha256};

use super::folder::{Identity, open_direct};
use crate::assets::Lasting;
use crate::config::{EtagKind, Files as Settings};
use crate::metrics::{Tier, WebMetrics};

/// Files above this size are not read for the sake of their tag.
const HASHED: u64 = 16 << 20;

/// A form of a file.
#[derive(Debug)]
pub(super) struct Representation {
    pub(super) coding: Option<Coding>,
    /// Its strong entity tag.
    pub(super) etag: Option<HeaderValue>,
    pub(super) length: u64,
    /// All of its header fields.
    pub(super) ready: Arc<ReadyHead>,
    /// Those that a client is told again when nothing has changed.
    pub(super) validators: Arc<ReadyHead>,
    /// What parts several parts of it. The content is not searched for it: it is a hash of more than the content.
    pub(super) boundary: Box<str>,
    content: Content,
}

#[derive(Debug)]
enum Content {
    Memory(Bytes),
    File { file: Arc<File>, transfer: Transfer, tier: Tier },
}

/// What all forms of a file have in common.
pub(super) struct Common<'a> {
    pub(super) settings: &'a Settings,
    pub(super) metrics: &'a WebMetrics,
    /// The path of the file as it is.
    pub(super) path: &'a str,
    /// Its state.
    pub(super) identity: &'a Identity,
    pub(super) media_type: HeaderValue,
    /// Whether there are other forms.
    pub(super) varies: bool,
    /// How long it may be kept, where it was made.
    pub(super) lasting: Option<Lasting>,
}

impl Representation {
    /// Of an open file.
    pub(super) fn of_file(
        common: &Common<'_>,
        coding: Option<Coding>,
        file: File,
        identity: &Identity,
    ) -> io::Result<Self> {
        let settings = common.settings;
        let content = match identity.length <= settings.memory_file.get() {
            true => Content::Memory(read(&file, identity.length)?),
            false => Content::of_large(settings, common.metrics, file, identity.length),
        };
        let etag = match settings.etag {
            EtagKind::None => None,
            EtagKind::Sha256 | EtagKind::Md5 if identity.length <= HASHED => {
                Some(content.hash(settings.etag, identity.length)?)
            }
            EtagKind::Sha256 | EtagKind::Md5 | EtagKind::Metadata => Some(format!(
                "{:x}-{:x}-{:x}.{:x}",
                identity.inode, identity.length, identity.modified.0, identity.modified.1
            )),
        };
        Ok(Self::new(common, coding, etag, identity.length, content))
    }

    /// Of a content that was made of the file. Its tag is of its own bytes: another build may compress the same file to others.
    pub(super) fn of_encoded(common: &Common<'_>, plain: &Self, coding: Coding, encoded: Bytes) -> Self {
        let length = encoded.len() as u64;
        let etag = match common.settings.etag {
            EtagKind::None => None,
            EtagKind::Metadata => plain.etag.as_ref().and_then(|etag| {
                let etag = etag.to_str().ok()?;
                Some(format!("{}-{}-{length:x}", etag.trim_matches('"'), coding.token()))
            }),
            kind => Some(digest(kind, &encoded)),
        };
        Self::new(common, Some(coding), etag, length, Content::Memory(encoded))
    }

    fn new(common: &Common<'_>, coding: Option<Coding>, etag: Option<String>, length: u64, content: Content) -> Self {
        let settings = common.settings;
        let etag = etag.and_then(|etag| HeaderValue::try_from(format!("\"{etag}\"")).ok());
        let mut fields = HeaderMap::new();
        fields.extend(etag.clone().map(|etag| (ETAG, etag)));
        if settings.last_modified {
            let modified = httpdate::fmt_http_date(common.identity.modified());
            fields.extend(HeaderValue::try_from(modified).ok().map(|modified| (LAST_MODIFIED, modified)));
        }
        let rule = settings.cache_rules.iter().find(|rule| rule.files.iter().any(|glob| glob.fits(common.path)));
        let control = rule.map(|rule| rule.value.as_str()).or(settings.cache_control.as_deref());
        let control = match common.lasting {
            Some(Lasting::Forever) => Some("public, max-age=31536000, immutable"),
            // What it is made of may change at any time.
            Some(Lasting::Now) => control.or(Some("no-cache")),
            None => control,
        };
        fields.extend(control.and_then(|control| Some((CACHE_CONTROL, HeaderValue::from_str(control).ok()?))));
        if common.varies {
            fields.insert(VARY, HeaderValue::from_static("accept-encoding"));
        }
        let validators = ReadyHead::new(fields.clone());
        fields.insert(CONTENT_TYPE, common.media_type.clone());
        fields.extend(coding.map(|coding| (CONTENT_ENCODING, coding.value())));
        fields.insert(ACCEPT_RANGES, HeaderValue::from_static("bytes"));
        let boundary = Sha256::digest(format!("{}{:?}{coding:?}", common.path, common.identity));
        let boundary: String = boundary.iter().take(12).map(|byte| format!("{byte:02x}")).collect();
        Self { coding, etag, length, ready: ReadyHead::new(fields), validators, boundary: boundary.into(), content }
    }

    /// What is sent of it.
    pub(super) fn part(&self, range: Range<u64>) -> Body {
        match &self.content {
            Content::Memory(content) => {
                let at = |offset: u64| usize::try_from(offset).unwrap_or(usize::MAX).min(content.len());
                Body::Full(content.slice(at(range.start)..at(range.end)))
            }
            Content::File { file, transfer, .. } => Body::File(FilePart {
                file: Arc::clone(file),
                offset: range.start,
                length: range.end.saturating_sub(range.start),
                transfer: transfer.clone(),
            }),
        }
    }

    /// Where it is sent from.
    pub(super) fn tier(&self) -> Tier {
        match &self.content {
            Content::Memory(_) => Tier::Memory,
            Content::File { tier, .. } => *tier,
        }
    }

    /// What gives all of it; it may have to be read.
    pub(super) fn whole(&self) -> impl FnOnce() -> io::Result<Bytes> + Send + 'static {
        let content = match &self.content {
            Content::Memory(content) => Ok(content.clone()),
            Content::File { file, .. } => Err(Arc::clone(file)),
        };
        let length = self.length;
        move || content.or_else(|file| read(&file, length))
    }

    /// Memory that it takes.
    pub(super) fn weight(&self) -> usize {
        match &self.content {
            Content::Memory(content) => content.len(),
            Content::File { .. } => 0,
        }
    }
}

impl Content {
    /// Of a file that is not for memory: read past the page cache, mapped, or sent by the kernel, as is wanted and possible.
    fn of_large(settings: &Settings, metrics: &WebMetrics, file: File, length: u64) -> Self {
        let usual = || match settings.zero_copy {
            true => (Transfer::Kernel, Tier::Sendfile),
            false => (Transfer::Read, Tier::Read),
        };
        let refused = |error: &dyn std::error::Error| {
            metrics.tier_refused.inc();
            tracing::debug!(%error, "a file is sent in the usual way");
            usual()
        };
        let mmap = &settings.mmap;
        let (transfer, tier) = if settings.direct_io && length >= settings.direct_io_threshold.get() {
            match open_direct(&file) {
                Ok(direct) => (Transfer::Direct(Arc::new(direct)), Tier::Direct),
                Err(error) => refused(&error),
            }
        } else if mmap.enabled && length >= mmap.threshold.get() && length <= mmap.max_size.get() {
            match Mapping::new(&file, usize::try_from(length).unwrap_or(usize::MAX)) {
                Ok(mapping) => (Transfer::Mapped(Arc::new(mapping)), Tier::Mapped),
                Err(error) => refused(&error),
            }
        } else {
            usual()
        };
        Self::File { file: Arc::new(file), transfer, tier }
    }

    fn hash(&self, kind: EtagKind, length: u64) -> io::Result<String> {
        match self {
            Self::Memory(content) => Ok(digest(kind, content)),
            Self::File { file, .. } if kind == EtagKind::Md5 => hash::<Md5>(file, length),
            Self::File { file, .. } => hash::<Sha256>(file, length),
        }
    }
}

fn digest(kind: EtagKind, content: &[u8]) -> String {
    match kind {
        EtagKind::Md5 => text(&Md5::digest(content)),
        _ => text(&Sha256::digest(content)),
    }
}

fn text(digest: &[u8]) -> String {
    digest.iter().take(16).map(|byte| format!("{byte:02x}")).collect()
}

fn hash<D: Digest>(file: &File, length: u64) -> io::Result<String> {
    let mut hash = D::new();
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
    Ok(text(&hash.finalize()))
}

fn read(file: &File, length: u64) -> io::Result<Bytes> {
    let mut content = vec![0; usize::try_from(length).map_err(io::Error::other)?];
    file.read_exact_at(&mut content, 0)?;
    Ok(content.into())
}
