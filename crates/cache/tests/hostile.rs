//! Bytes that mean harm, from disk and Redis: the fuzz corpus and its mutations. `fuzz/` holds the same targets for libFuzzer.
#![allow(clippy::unwrap_used, clippy::panic, clippy::expect_used, clippy::indexing_slicing)]

#[path = "../../../fuzz/src/cache.rs"]
#[allow(unreachable_pub)]
mod cache;

use outwork_engine::{Rng, sim};

fn corpus(target: &str) -> Vec<Vec<u8>> {
    let dir = format!("{}/../../fuzz/corpus/{target}", env!("CARGO_MANIFEST_DIR"));
    let mut files: Vec<_> = std::fs::read_dir(dir).unwrap().map(|file| file.unwrap().path()).collect();
    files.sort();
    assert!(!files.is_empty());
    files.into_iter().map(|file| std::fs::read(file).unwrap()).collect()
}

/// One of the corpus with a few bytes changed, cut off, doubled or put in.
fn mutate(rng: &mut Rng, corpus: &[Vec<u8>]) -> Vec<u8> {
    let mut bytes = corpus[rng.below(corpus.len() as u64) as usize].clone();
    for _ in 0..=rng.below(4) {
        let at = rng.below(bytes.len() as u64 + 1) as usize;
        match rng.below(5) {
            0 => bytes.truncate(at),
            1 => {
                let until = (at + rng.below(64) as usize).min(bytes.len());
                let again = bytes[at..until].to_vec();
                bytes.splice(at..at, again);
            }
            2 => drop(bytes.splice(at..at, [rng.next_u32() as u8, 0, 0xff])),
            3 if at < bytes.len() => bytes[at] ^= 1 << rng.below(8),
            _ if at < bytes.len() => bytes[at] = [0, 1, 0x7f, 0x80, 0xff][rng.below(5) as usize],
            _ => {}
        }
    }
    bytes
}

#[test]
fn no_bytes_break_the_codec() {
    let corpus = corpus("cache_record");
    corpus.iter().for_each(|bytes| cache::record(bytes));
    sim::seeds(20, |rng| (0..2000).for_each(|_| cache::record(&mutate(rng, &corpus))));
}

#[test]
fn nothing_that_is_found_on_disk_keeps_the_cache_from_working() {
    let corpus = corpus("cache_disk");
    let disk = |bytes: &[u8]| {
        let dir = tempfile::tempdir().unwrap();
        cache::disk(dir.path(), bytes);
    };
    corpus.iter().for_each(|bytes| disk(bytes));
    sim::seeds(150, |rng| disk(&mutate(rng, &corpus)));
}
