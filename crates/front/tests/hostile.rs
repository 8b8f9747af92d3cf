//! Bytes that mean harm, of a client of HTTP/1: the fuzz corpus and its mutations. `fuzz/` holds the same target for libFuzzer.
#![allow(clippy::unwrap_used, clippy::panic, clippy::expect_used, clippy::indexing_slicing)]

#[path = "../../../fuzz/src/http1.rs"]
#[allow(unreachable_pub)]
mod http1;

use outwork_engine::{Rng, sim};

fn corpus() -> Vec<Vec<u8>> {
    let dir = concat!(env!("CARGO_MANIFEST_DIR"), "/../../fuzz/corpus/http1");
    let mut files: Vec<_> = std::fs::read_dir(dir).unwrap().map(|file| file.unwrap().path()).collect();
    files.sort();
    assert!(files.len() >= 8, "a corpus that is there");
    files.into_iter().map(|file| std::fs::read(file).unwrap()).collect()
}

/// What makes two requests of one.
const HARM: [&[u8]; 16] = [
    b"\r",
    b"\n",
    b"\r\n",
    b"\r\n\r\n",
    b"\0",
    b" ",
    b"\t",
    b":",
    b",",
    b";",
    b"0",
    b"Content-Length: 5\r\n",
    b"Transfer-Encoding: chunked\r\n",
    b"Host: b\r\n",
    b"0\r\n\r\n",
    b"GET / HTTP/1.1\r\nHost: c\r\n\r\n",
];

/// One of the corpus with a few bytes changed, cut off, doubled, put in, or taken from another one.
fn mutate(rng: &mut Rng, corpus: &[Vec<u8>]) -> Vec<u8> {
    let pick = |rng: &mut Rng| corpus[rng.below(corpus.len() as u64) as usize].clone();
    let mut bytes = pick(rng);
    for _ in 0..=rng.below(4) {
        let at = rng.below(bytes.len() as u64 + 1) as usize;
        let until = (at + rng.below(32) as usize).min(bytes.len());
        match rng.below(7) {
            0 => bytes.truncate(at),
            1 => {
                let again = bytes[at..until].to_vec();
                drop(bytes.splice(at..at, again));
            }
            2 | 3 => drop(bytes.splice(at..at, HARM[rng.below(HARM.len() as u64) as usize].iter().copied())),
            4 => drop(bytes.drain(at..until)),
            5 => bytes.extend(pick(rng)),
            _ if at < bytes.len() => bytes[at] = rng.next_u32() as u8,
            _ => {}
        }
    }
    bytes
}

#[test]
fn no_bytes_are_read_in_two_ways() {
    let corpus = corpus();
    corpus.iter().for_each(|bytes| http1::requests(bytes));
    sim::seeds(30, |rng| (0..2000).for_each(|_| http1::requests(&mutate(rng, &corpus))));
}
