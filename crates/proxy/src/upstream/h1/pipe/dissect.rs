//! What requests that share a connection are told of bytes, for who looks for bytes that are read in two ways.

use std::task::{Context, Waker};

use bytes::BytesMut;
use http::Method;

use super::line::Line;

/// What a request is told: a status and its content, or what went wrong.
pub type Told = Result<(u16, Vec<u8>), String>;

/// What so many requests are told in the end where a backend says this and no more, of which `most` bytes are read at a time.
pub fn dissect(bytes: &[u8], asked: usize, most: usize) -> Vec<Told> {
    let mut line = Line::default();
    let write = |out: &mut BytesMut| out.extend_from_slice(b"GET / HTTP/1.1\r\n\r\n");
    let numbers: Vec<usize> = (0..asked).map(|_| line.join(Method::GET, write)).collect();
    line.wrote(line.unwritten().len());
    let (mut rest, mut broken) = (BytesMut::new(), None);
    for read in bytes.chunks(most.max(1)) {
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
    numbers.into_iter().map(|number| told(&mut line, number)).collect()
}

fn told(line: &mut Line, number: usize) -> Told {
    let context = Context::from_waker(Waker::noop());
    // There is nothing more to come, and so nobody waits.
    let waits = || "it waits for ever".to_owned();
    let begun = line.take_head(number, &context).ok_or_else(waits)?.map_err(|error| error.to_string())?;
    let status = begun.reply.status.as_u16();
    if let Some(whole) = begun.whole {
        return Ok((status, whole.to_vec()));
    }
    let mut content = Vec::new();
    while let Some(part) = line.take_part(number, &context).ok_or_else(waits)? {
        content.extend_from_slice(&part.map_err(|error| error.to_string())?);
    }
    Ok((status, content))
}
