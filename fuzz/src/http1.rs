//! What the fuzz target does with bytes from a client of HTTP/1, and what must hold whatever they are. Public API only: the test
//! `crates/front/tests/hostile.rs` includes this file and replays the corpus through it.
#![allow(clippy::expect_used, clippy::indexing_slicing)]

use http::header::{CONTENT_LENGTH, HOST, TRANSFER_ENCODING};
use http::{Method, Version};
use outwork_front::h1::{End, Taken, dissect};

/// Takes bytes apart, whole and cut, and writes what is in them again in the plainest form: they are the same requests in every way.
pub fn requests(bytes: &[u8]) {
    let whole = dissect(bytes);
    let all: Vec<_> = whole.requests.iter().map(plain).collect();
    for (request, plain) in whole.requests.iter().zip(&all) {
        sound(request, plain);
    }
    for cut in [bytes.len() / 3, bytes.len() / 2, bytes.len().saturating_sub(1)] {
        let part = dissect(&bytes[..cut]);
        let of_part: Vec<_> = part.requests.iter().map(plain).collect();
        assert!(all.starts_with(&of_part), "what came first does not depend on what follows");
        if let End::Refused(_) = part.end {
            assert!(matches!(whole.end, End::Refused(_)) && all.len() == of_part.len(), "what is refused stays so");
        }
    }
    // The last one may have ended its connection before there was a next.
    let kept = all.len().saturating_sub(1);
    let again = dissect(&all[..kept].concat());
    assert_eq!((again.end, again.requests.iter().map(plain).collect::<Vec<_>>()), (End::Whole, all[..kept].to_vec()));
    if let Some(last) = all.last() {
        let again = dissect(last);
        assert_eq!((again.end, again.requests.iter().map(plain).collect::<Vec<_>>()), (End::Whole, vec![last.clone()]));
    }
}

/// One framing, one host, and nothing in the head that would be another line of it.
fn sound(request: &Taken, plain: &[u8]) {
    let Taken { head, content } = request;
    let count = |name| head.headers.get_all(name).iter().count();
    assert!(count(CONTENT_LENGTH) + count(TRANSFER_ENCODING) <= 1);
    assert!(count(HOST) == 1 || (count(HOST) == 0 && head.version == Version::HTTP_10));
    if let Some(length) = head.headers.get(CONTENT_LENGTH) {
        let length = length.to_str().expect("a number is text").parse::<usize>();
        assert_eq!(length, Ok(content.len()));
    }
    let lines = plain[..plain.len() - content.len()].split(|octet| *octet == b'\n').count();
    let framing = usize::from(!content.is_empty()) + 3 - count(CONTENT_LENGTH) - count(TRANSFER_ENCODING);
    assert_eq!(lines, head.headers.len() + framing);
}

/// A request as bytes: with a length where it has content, and no other framing.
fn plain(request: &Taken) -> Vec<u8> {
    let Taken { head, content } = request;
    let target = match head.method {
        Method::CONNECT => head.uri.to_string(),
        _ => head.uri.path_and_query().expect("a target in origin form").to_string(),
    };
    let mut bytes = format!("{} {target} {:?}\r\n", head.method, head.version).into_bytes();
    let fields = head.headers.iter().filter(|(name, _)| ![CONTENT_LENGTH, TRANSFER_ENCODING].contains(name));
    for (name, value) in fields {
        bytes.extend_from_slice(&[name.as_str().as_bytes(), b": ", value.as_bytes(), b"\r\n"].concat());
    }
    if !content.is_empty() {
        bytes.extend_from_slice(format!("content-length: {}\r\n", content.len()).as_bytes());
    }
    bytes.extend_from_slice(b"\r\n");
    bytes.extend_from_slice(content);
    bytes
}
