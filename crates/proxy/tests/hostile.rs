//! Bytes that mean harm, of a backend whose connection many clients share: what one is told must not depend on how the network has cut it up, nor be another's.
//! `fuzz/` holds the same target for libFuzzer.
#![allow(clippy::unwrap_used, clippy::panic, clippy::expect_used, clippy::indexing_slicing)]

#[path = "../../../fuzz/src/http1_answer.rs"]
#[allow(unreachable_pub)]
mod http1_answer;

use outwork_engine::{Rng, sim};

fn corpus() -> Vec<Vec<u8>> {
    let dir = concat!(env!("CARGO_MANIFEST_DIR"), "/../../fuzz/corpus/http1_answer");
    let mut files: Vec<_> = std::fs::read_dir(dir).unwrap().map(|file| file.unwrap().path()).collect();
    files.sort();
    assert!(files.len() >= 8, "a corpus that is there");
    files.into_iter().map(|file| std::fs::read(file).unwrap()).collect()
}

/// What makes two answers of one.
const HARM: [&[u8]; 10] = [
    b"\r\n",
    b"\n",
    b"\r\n\r\n",
    b"\0",
    b" ",
    b"0\r\n\r\n",
    b"Content-Length: 1\r\n",
    b"Transfer-Encoding: chunked\r\n",
    b"HTTP/1.1 200 OK\r\nContent-Length: 1\r\n\r\nx",
    b"HTTP/1.1 100 Continue\r\n\r\n",
];

/// One of the corpus with a few bytes changed, cut off, doubled, put in, or another one behind it.
fn mutate(rng: &mut Rng, corpus: &[Vec<u8>]) -> Vec<u8> {
    let pick = |rng: &mut Rng| corpus[rng.below(corpus.len() as u64) as usize].clone();
    let mut bytes = pick(rng);
    for _ in 0..=rng.below(4) {
        let at = rng.below(bytes.len() as u64 + 1) as usize;
        let until = (at + rng.below(24) as usize).min(bytes.len());
        match rng.below(6) {
            0 => bytes.truncate(at),
            1 => drop(bytes.splice(at..at, HARM[rng.below(HARM.len() as u64) as usize].iter().copied())),
            2 => drop(bytes.drain(at..until)),
            3 => drop(bytes.splice(at..at, bytes[at..until].to_vec())),
            4 => bytes.extend(pick(rng)),
            _ if at < bytes.len() => bytes[at] = rng.next_u32() as u8,
            _ => {}
        }
    }
    bytes
}

#[test]
fn what_a_backend_says_is_understood_in_one_way_however_it_is_cut_up() {
    let corpus = corpus();
    corpus.iter().for_each(|bytes| http1_answer::answers(bytes));
    sim::seeds(10, |rng| (0..1000).for_each(|_| http1_answer::answers(&mutate(rng, &corpus))));
}
