//! What the fuzz targets do with bytes from disk and Redis, and what must hold whatever they are. Public API only: the test
//! `crates/cache/tests/hostile.rs` includes this file and replays the corpus through it.
#![allow(clippy::expect_used, clippy::indexing_slicing)]

use std::path::Path;
use std::sync::Arc;

use bytes::Bytes;
use outwork_cache::codec::{HEADER, Header, decode, encode};
use outwork_cache::{Entry, Key, Settings, Tiers, UnixMillis};
use outwork_config::ByteSize;

/// Reads bytes as a record: as they are, and with the checksums that they would need.
pub fn record(bytes: &[u8]) {
    read(bytes);
    let mut sealed = bytes.to_vec();
    seal(&mut sealed);
    read(&sealed);
}

/// Makes the checksums right, so that what lies behind them is reached.
fn seal(bytes: &mut [u8]) {
    if bytes.len() < HEADER {
        return;
    }
    bytes[..4].copy_from_slice(b"OWR1");
    let length = |at: usize| bytes[at..at + 4].iter().rev().fold(0, |sum: u64, byte| sum << 8 | u64::from(*byte));
    let total = [48, 52, 56, 60].into_iter().map(length).fold(HEADER as u64, |sum, length| sum + length);
    if let Some(body) = usize::try_from(total).ok().and_then(|total| bytes.get(HEADER..total)) {
        let sum = crc32fast::hash(body);
        bytes[8..12].copy_from_slice(&sum.to_le_bytes());
    }
    let sum = crc32fast::hash(&bytes[8..HEADER]);
    bytes[4..8].copy_from_slice(&sum.to_le_bytes());
}

fn read(bytes: &[u8]) {
    let bytes = Bytes::copy_from_slice(bytes);
    if let Ok(header) = Header::decode(&bytes) {
        assert!(header.total() >= HEADER as u64);
    }
    let Ok((header, entry)) = decode(&bytes) else { return };
    let total = HEADER + entry.len() + 2 * entry.tags.len();
    assert_eq!(header.total(), total as u64);
    assert!(total <= bytes.len(), "it is longer than the bytes");
    let mut again = vec![];
    encode(&header.key, header.era, &entry, header.expires, &mut again).expect("what was read can be written");
    assert_eq!(decode(&again.into()).expect("and read again").1, entry);
}

/// The time at which [`disk`] happens.
const NOW: UnixMillis = UnixMillis(1_000);

/// Opens a cache whose newest segment, or whose purges, are these bytes (the first says which), looks for what may be in it, and goes on.
pub fn disk(dir: &Path, bytes: &[u8]) {
    let Some((which, bytes)) = bytes.split_first() else { return };
    let name = if which % 2 == 0 { "0000000000000003.segment" } else { "bans" };
    let mut settings = Settings::default();
    settings.l1.size = ByteSize::mib(1);
    settings.l1.max_entry = ByteSize::mib(1);
    settings.l3.enabled = true;
    settings.l3.path = dir.to_owned();
    settings.l3.size = ByteSize::mib(8);
    settings.l3.max_entry = ByteSize::mib(1);
    settings.l3.readers = 1;
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
    let open = || Tiers::open(&settings, Arc::new(|| NOW)).expect("a cache opens whatever it finds");
    // There is a file of purges, or all that is found counts as out of date.
    drop(open());
    std::fs::write(dir.join(name), bytes).expect("a file is written");
    let tiers = open();
    for at in (0..bytes.len()).step_by(64).take(64) {
        if let Ok(header) = Header::decode(&bytes[at..]) {
            runtime.block_on(tiers.get(&header.key));
        }
    }
    let key = Key::of(&[b"new"]);
    let entry = Entry {
        name: "new".into(),
        meta: Bytes::new(),
        body: "body".into(),
        tags: [].into(),
        expires: UnixMillis::NEVER,
        decoded: Default::default(),
    };
    tiers.put(key, entry);
    drop(tiers);
    let found = runtime.block_on(open().get(&key)).expect("what is stored is found after a restart");
    assert_eq!(*found.0.body, *b"body");
}
