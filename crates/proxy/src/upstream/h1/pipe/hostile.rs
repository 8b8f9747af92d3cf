//! Bytes that mean harm, of a backend whose connection many clients share: what one is told must not depend on how the network has cut it up, nor be another's.

use std::task::Waker;

use outwork_engine::{Rng, sim};

use super::*;

/// Requests that wait for what the bytes say.
const ASKED: usize = 3;

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

/// What each request is told in the end: a status and its content, or what went wrong; `most` bytes are read at a time.
fn told(bytes: &[u8], most: usize) -> Vec<Result<(u16, Vec<u8>), String>> {
    let mut line = Line::default();
    let write = |out: &mut BytesMut| out.extend_from_slice(b"GET / HTTP/1.1\r\n\r\n");
    let numbers: Vec<usize> = (0..ASKED).map(|_| line.join(Method::GET, write)).collect();
    line.wrote(line.unwritten().len());
    let mut rest = BytesMut::new();
    let mut broken = None;
    for read in bytes.chunks(most) {
        rest.extend_from_slice(read);
        if let Err(error) = line.understand(&mut rest) {
            broken = Some(error);
            break;
        }
    }
    let first = match broken {
        Some(broken) => broken.into(),
        None => line.ended(!rest.is_empty()),
    };
    line.fail(first);
    numbers.into_iter().map(|number| answer(&mut line, number)).collect()
}

fn answer(line: &mut Line, number: usize) -> Result<(u16, Vec<u8>), String> {
    let context = Context::from_waker(Waker::noop());
    let begun = line.take_head(number, &context).unwrap().map_err(|error| error.to_string())?;
    let mut content = begun.whole.clone().unwrap_or_default().to_vec();
    while begun.whole.is_none() {
        match line.take_part(number, &context).unwrap() {
            Some(part) => content.extend_from_slice(&part.map_err(|error| error.to_string())?),
            None => break,
        }
    }
    Ok((begun.reply.status.as_u16(), content))
}

fn holds(bytes: &[u8]) {
    let whole = told(bytes, bytes.len().max(1));
    let wrong = whole.iter().position(Result::is_err).unwrap_or(ASKED);
    assert!(whole.iter().skip(wrong).all(Result::is_err), "nobody is answered behind who was not: {whole:?}");
    for most in [1, 2, 7, 31] {
        assert_eq!(told(bytes, most), whole, "{} at a time: {:?}", most, String::from_utf8_lossy(bytes));
    }
}

#[test]
fn what_a_backend_says_is_understood_in_one_way_however_it_is_cut_up() {
    let corpus = corpus();
    corpus.iter().for_each(|bytes| holds(bytes));
    sim::seeds(10, |rng| (0..1000).for_each(|_| holds(&mutate(rng, &corpus))));
}
