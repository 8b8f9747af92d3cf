//! Takes bytes apart as a connection does, without one.

use http::StatusCode;
use http::request::Parts;

use super::chunked::{Decoder, Piece};
use super::head::parse;
use crate::door::Options;

/// The requests in bytes.
#[derive(Debug)]
pub struct Dissected {
    /// They, in their order.
    pub requests: Vec<Taken>,
    /// What comes after them.
    pub end: End,
}

/// A request.
#[derive(Debug)]
pub struct Taken {
    /// Its head, with the target in origin form.
    pub head: Parts,
    /// Its content, without the framing.
    pub content: Vec<u8>,
}

/// Why there are no more requests.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum End {
    /// There are no more bytes, or the connection is over before them.
    Whole,
    /// One has begun.
    Unfinished,
    /// One is refused with this status, and nothing after it is read.
    Refused(StatusCode),
}

/// Reads all of it as what a client has sent, with the limits of a connection that none are set for.
pub fn dissect(mut bytes: &[u8]) -> Dissected {
    let limits = Options::default().head_limits();
    let mut requests = Vec::new();
    let end = loop {
        if bytes.is_empty() {
            break End::Whole;
        }
        let head = match parse(bytes, &limits) {
            Ok(Some(head)) => head,
            Ok(None) => break End::Unfinished,
            Err(reject) => break End::Refused(reject.status),
        };
        bytes = bytes.get(head.bytes..).unwrap_or_default();
        let (mut decoder, mut content) = (Decoder::new(head.framing), Vec::new());
        let framed = loop {
            if decoder.is_done() {
                break None;
            }
            if bytes.is_empty() {
                break Some(End::Unfinished);
            }
            let taken = match decoder.decode(bytes) {
                Ok(Piece::End) => break None,
                Ok(Piece::Framing(taken)) => taken,
                Ok(Piece::Content(taken)) => {
                    content.extend_from_slice(bytes.get(..taken).unwrap_or_default());
                    taken
                }
                Err(_) => break Some(End::Refused(StatusCode::BAD_REQUEST)),
            };
            bytes = bytes.get(taken..).unwrap_or_default();
        };
        if let Some(end) = framed {
            break end;
        }
        requests.push(Taken { head: head.parts, content });
        if !head.keep_alive {
            break End::Whole;
        }
    };
    Dissected { requests, end }
}
