//! Entries as bytes: what lies on disk, and what lies in Redis. Pure.
//!
//! A record is a header of 64 bytes and what it announces. Numbers are little endian.
//!
//! | from | what |
//! |---|---|
//! | 0 | `OWR1` |
//! | 4 | CRC-32 of the header from 8 on |
//! | 8 | CRC-32 of what follows the header |
//! | 12 | flags: 1, the entry of this key is removed |
//! | 16 | key |
//! | 32 | number of the newest ban that it has passed |
//! | 40 | when it expires, Unix milliseconds |
//! | 48 | lengths of name, tags, meta and body |
//! | 64 | name; tags, each after its length in 16 bits; meta; body |

use bytes::Bytes;

use crate::entry::{Decoded, Entry, Key, UnixMillis};

/// Bytes of a header.
pub const HEADER: usize = 64;

const MAGIC: [u8; 4] = *b"OWR1";
const REMOVED: u32 = 1;

/// Why bytes are no record.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Malformed {
    /// They end early.
    #[error("it ends early")]
    Short,
    /// They do not begin as one.
    #[error("it does not begin as a record")]
    Magic,
    /// A checksum is wrong.
    #[error("its checksum is wrong")]
    Checksum,
    /// A name or a tag is not UTF-8, or tags do not end where they should.
    #[error("its name or tags are garbled")]
    Text,
}

/// An entry that has no form as a record: a tag above 64 KiB, or a part above 4 GiB.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("a part is too long")]
pub struct TooLong;

/// What a header says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Header {
    /// The key.
    pub key: Key,
    /// The number of the newest ban that it has passed.
    pub era: u64,
    /// When the entry expires.
    pub expires: UnixMillis,
    /// Whether it says that the key's entry is removed, and no more.
    pub removed: bool,
    sum: u32,
    lengths: [u32; 4],
}

fn word(bytes: &[u8], at: usize) -> u32 {
    bytes.get(at..at + 4).and_then(|bytes| bytes.first_chunk()).map_or(0, |word| u32::from_le_bytes(*word))
}

fn long(bytes: &[u8], at: usize) -> u64 {
    u64::from(word(bytes, at)) | u64::from(word(bytes, at + 4)) << 32
}

impl Header {
    /// Reads the header that bytes begin with.
    ///
    /// # Errors
    /// When they do not begin with one.
    pub fn decode(bytes: &[u8]) -> Result<Self, Malformed> {
        let header = bytes.get(..HEADER).ok_or(Malformed::Short)?;
        if !header.starts_with(&MAGIC) {
            return Err(Malformed::Magic);
        }
        if word(header, 4) != crc32fast::hash(&header[8..]) {
            return Err(Malformed::Checksum);
        }
        let mut key = [0; 16];
        key.copy_from_slice(&header[16..32]);
        Ok(Self {
            key: Key::from_bytes(key),
            era: long(header, 32),
            expires: UnixMillis(long(header, 40)),
            removed: word(header, 12) & REMOVED != 0,
            sum: word(header, 8),
            lengths: [48, 52, 56, 60].map(|at| word(header, at)),
        })
    }

    /// Bytes of the whole record.
    pub fn total(&self) -> u64 {
        self.lengths.iter().fold(HEADER as u64, |sum, length| sum + u64::from(*length))
    }

    fn encode(&self) -> [u8; HEADER] {
        let mut header = [0; HEADER];
        header[..4].copy_from_slice(&MAGIC);
        header[8..12].copy_from_slice(&self.sum.to_le_bytes());
        header[12..16].copy_from_slice(&(if self.removed { REMOVED } else { 0 }).to_le_bytes());
        header[16..32].copy_from_slice(self.key.bytes());
        header[32..40].copy_from_slice(&self.era.to_le_bytes());
        header[40..48].copy_from_slice(&self.expires.0.to_le_bytes());
        for (to, length) in header[48..].chunks_exact_mut(4).zip(self.lengths) {
            to.copy_from_slice(&length.to_le_bytes());
        }
        let sum = crc32fast::hash(&header[8..]);
        header[4..8].copy_from_slice(&sum.to_le_bytes());
        header
    }
}

/// Appends an entry as a record that has passed every ban up to `era`. What does not fit leaves `out` as it was.
///
/// # Errors
/// When the entry has no form as a record.
pub fn encode(key: &Key, era: u64, entry: &Entry, expires: UnixMillis, out: &mut Vec<u8>) -> Result<(), TooLong> {
    let tags: usize = entry.tags.iter().map(|tag| tag.len() + 2).sum();
    let length = |length: usize| u32::try_from(length).map_err(|_| TooLong);
    let lengths = [length(entry.name.len())?, length(tags)?, length(entry.meta.len())?, length(entry.body.len())?];
    if entry.tags.iter().any(|tag| tag.len() > usize::from(u16::MAX)) {
        return Err(TooLong);
    }
    let start = out.len();
    out.reserve(HEADER + entry.len() + 2 * entry.tags.len());
    out.extend([0; HEADER]);
    out.extend(entry.name.as_bytes());
    for tag in &entry.tags {
        out.extend((tag.len() as u16).to_le_bytes());
        out.extend(tag.as_bytes());
    }
    out.extend(&entry.meta);
    out.extend(&entry.body);
    let sum = crc32fast::hash(&out[start + HEADER..]);
    let header = Header { key: *key, era, expires, removed: false, sum, lengths };
    out[start..start + HEADER].copy_from_slice(&header.encode());
    Ok(())
}

/// The record that says that a key's entry is removed.
pub(crate) fn removal(key: &Key) -> [u8; HEADER] {
    let expires = UnixMillis::NEVER;
    Header { key: *key, era: 0, expires, removed: true, sum: crc32fast::hash(&[]), lengths: [0; 4] }.encode()
}

/// Writes another era into a record whose header has been read.
pub(crate) fn pass(record: &mut [u8], header: &Header, era: u64) {
    if let Some(place) = record.first_chunk_mut::<HEADER>() {
        *place = Header { era, ..*header }.encode();
    }
}

/// Reads a record; bytes after it are ignored. Meta and body share the memory of `bytes`.
///
/// # Errors
/// When it is not whole and undamaged.
pub fn decode(bytes: &Bytes) -> Result<(Header, Entry), Malformed> {
    let header = Header::decode(bytes)?;
    let total = usize::try_from(header.total()).map_err(|_| Malformed::Short)?;
    if total > bytes.len() {
        return Err(Malformed::Short);
    }
    if crc32fast::hash(&bytes[HEADER..total]) != header.sum {
        return Err(Malformed::Checksum);
    }
    let mut at = HEADER;
    let [name, tags, meta, body] = header.lengths.map(|length| {
        let from = at;
        at += length as usize;
        bytes.slice(from..at)
    });
    let entry = Entry {
        name: std::str::from_utf8(&name).map_err(|_| Malformed::Text)?.into(),
        tags: words(&tags)?,
        meta,
        body,
        expires: header.expires,
        decoded: Decoded::default(),
    };
    Ok((header, entry))
}

fn words(mut bytes: &[u8]) -> Result<Box<[Box<str>]>, Malformed> {
    let mut words = vec![];
    while let Some((length, rest)) = bytes.split_first_chunk() {
        let (tag, rest) = rest.split_at_checked(usize::from(u16::from_le_bytes(*length))).ok_or(Malformed::Text)?;
        words.push(std::str::from_utf8(tag).map_err(|_| Malformed::Text)?.into());
        bytes = rest;
    }
    if bytes.is_empty() { Ok(words.into()) } else { Err(Malformed::Text) }
}

#[cfg(test)]
mod tests {
    use super::*;

    const KEY: Key = Key::from_bytes(*b"0123456789abcdef");

    fn entry() -> Entry {
        Entry {
            name: "https://example.net/ä?b".into(),
            meta: Bytes::from_static(b"meta"),
            body: Bytes::from_static(b"body of it"),
            tags: ["one".into(), "".into(), "three".into()].into(),
            expires: UnixMillis(77),
            decoded: Decoded::default(),
        }
    }

    fn record() -> Vec<u8> {
        let mut out = vec![];
        encode(&KEY, 5, &entry(), UnixMillis(70), &mut out).unwrap();
        out
    }

    #[test]
    fn an_entry_is_read_as_it_was_written() {
        let mut bytes = record();
        let length = bytes.len();
        bytes.extend(b"what follows");
        let (header, read) = decode(&bytes.into()).unwrap();
        assert_eq!(read, Entry { expires: UnixMillis(70), ..entry() });
        assert_eq!((header.key, header.era, header.expires, header.removed), (KEY, 5, UnixMillis(70), false));
        assert_eq!(header.total(), length as u64);
        let empty = Entry { name: "".into(), meta: Bytes::new(), body: Bytes::new(), tags: [].into(), ..entry() };
        let mut out = vec![];
        encode(&KEY, 0, &empty, empty.expires, &mut out).unwrap();
        assert_eq!((out.len(), decode(&out.into()).unwrap().1), (HEADER, empty));
    }

    #[test]
    fn a_record_with_any_bit_turned_is_refused() {
        let bytes = record();
        for bit in 0..bytes.len() * 8 {
            let mut damaged = bytes.clone();
            damaged[bit / 8] ^= 1 << (bit % 8);
            assert!(decode(&damaged.into()).is_err(), "bit {bit}");
        }
        for length in 0..bytes.len() {
            assert_eq!(decode(&bytes[..length].to_vec().into()).unwrap_err(), Malformed::Short, "{length} bytes");
        }
    }

    #[test]
    fn a_record_can_be_said_to_have_passed_later_bans() {
        let mut bytes = record();
        let header = Header::decode(&bytes).unwrap();
        pass(&mut bytes, &header, 9);
        let (header, read) = decode(&bytes.into()).unwrap();
        assert_eq!((header.era, &*read.name), (9, "https://example.net/ä?b"));
    }

    #[test]
    fn a_removal_is_a_record_of_its_own() {
        let header = Header::decode(&removal(&KEY)).unwrap();
        assert_eq!((header.key, header.removed, header.total()), (KEY, true, HEADER as u64));
    }

    #[test]
    fn a_tag_that_has_no_form_is_refused_and_leaves_nothing_behind() {
        let entry = Entry { tags: ["x".repeat(70_000).into()].into(), ..entry() };
        let mut out = vec![1];
        assert_eq!(encode(&KEY, 0, &entry, entry.expires, &mut out), Err(TooLong));
        assert_eq!(out, [1]);
    }
}
