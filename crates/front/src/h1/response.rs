//! The head of an HTTP/1 response, and how its body is framed.

use http::header::{ALT_SVC, CONNECTION, CONTENT_LENGTH, DATE, TE, TRANSFER_ENCODING};
use http::request::Parts;
use http::{HeaderMap, HeaderValue, Method, StatusCode, Version};

use crate::message::{Body, Hit, Response};

/// What of a request its response depends on.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Asked {
    pub(crate) is_head: bool,
    /// It is a CONNECT: after a success the connection is somebody else's.
    pub(crate) connects: bool,
    pub(crate) version: Version,
    /// The connection may serve another request.
    pub(crate) keep_alive: bool,
    /// The client knows what to do with fields that come after the body (RFC 9110 section 6.5.1).
    pub(crate) takes_trailers: bool,
}

impl Asked {
    pub(crate) fn new(head: &Parts, keep_alive: bool) -> Self {
        let says = |value: &HeaderValue| {
            let mut words = value.to_str().unwrap_or_default().split([',', ';']);
            words.any(|word| word.trim().eq_ignore_ascii_case("trailers"))
        };
        Self {
            is_head: head.method == Method::HEAD,
            connects: head.method == Method::CONNECT,
            version: head.version,
            keep_alive,
            takes_trailers: head.headers.get_all(TE).iter().any(says),
        }
    }
}

/// What follows the head of a response.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Follows {
    Nothing,
    /// The body as it is.
    Plain,
    /// The body in chunks.
    Chunks,
    /// The body, and then the end of the connection.
    UntilClose,
}

/// Writes the head of `response` and says what has to follow. `alt_svc` is a line that it has unless it says the same itself.
pub(crate) fn write_head(
    out: &mut Vec<u8>,
    response: &Response,
    asked: Asked,
    date: &[u8],
    alt_svc: &[u8],
) -> (Follows, bool) {
    let status = response.status;
    // RFC 9110 section 9.3.6.
    let opened = asked.connects && status.is_success();
    let bodiless =
        status.is_informational() || opened || status == StatusCode::NO_CONTENT || status == StatusCode::NOT_MODIFIED;
    let length = response.body.length();
    let follows = match length {
        _ if bodiless || asked.is_head => Follows::Nothing,
        Some(0) => Follows::Nothing,
        Some(_) => Follows::Plain,
        None if asked.version == Version::HTTP_11 => Follows::Chunks,
        None => Follows::UntilClose,
    };
    let keep_alive = asked.keep_alive && follows != Follows::UntilClose;
    out.extend_from_slice(b"HTTP/1.1 ");
    out.extend_from_slice(status.as_str().as_bytes());
    out.push(b' ');
    out.extend_from_slice(status.canonical_reason().unwrap_or("").as_bytes());
    out.extend_from_slice(b"\r\n");
    if !status.is_informational() && !is_dated(response) {
        push_field(out, "date", date);
    }
    for ready in response.ready_heads() {
        out.extend_from_slice(&ready.lines);
    }
    if let Some(hit) = response.hit {
        push_hit(out, hit);
    }
    if !alt_svc.is_empty() && response.field(&ALT_SVC).is_none() {
        out.extend_from_slice(alt_svc);
    }
    for (name, value) in &response.headers {
        if !ours(name, status) {
            push_field(out, name.as_str(), value.as_bytes());
        }
    }
    match (length, follows) {
        (_, Follows::Chunks) => push_field(out, "transfer-encoding", b"chunked"),
        (_, Follows::UntilClose) => {}
        (Some(length), _) if length > 0 || !(bodiless || asked.is_head) => push_length(out, length),
        // A response without the body that a GET would have had may say how long that would have been.
        _ if !status.is_informational() && !opened && status != StatusCode::NO_CONTENT => {
            if let Some(said) = response.headers.get(CONTENT_LENGTH) {
                push_field(out, "content-length", said.as_bytes());
            }
        }
        _ => {}
    }
    match (keep_alive, asked.version) {
        _ if status == StatusCode::SWITCHING_PROTOCOLS || opened => {}
        (false, _) => push_field(out, "connection", b"close"),
        (true, Version::HTTP_10) => push_field(out, "connection", b"keep-alive"),
        (true, _) => {}
    }
    out.extend_from_slice(b"\r\n");
    (follows, keep_alive)
}

/// Writes the head of an answer before the answer, which has nothing else.
pub(crate) fn write_interim(out: &mut Vec<u8>, status: StatusCode, fields: &HeaderMap) {
    out.extend_from_slice(
        format!("HTTP/1.1 {} {}\r\n", status.as_str(), status.canonical_reason().unwrap_or("")).as_bytes(),
    );
    for (name, value) in fields.iter().filter(|(name, _)| !ours(name, status)) {
        push_field(out, name.as_str(), value.as_bytes());
    }
    out.extend_from_slice(b"\r\n");
}

/// Whether a response has a date of its own.
fn is_dated(response: &Response) -> bool {
    response.ready.as_ref().is_some_and(|ready| ready.dated) || response.headers.contains_key(DATE)
}

/// Where the value of `Date` begins in the head of a response, where it is ours: the first line after the status.
pub(crate) fn place_of_date(head: &[u8], response: &Response) -> Option<usize> {
    const FIELD: &[u8] = b"\r\ndate: ";
    let line = memchr::memchr(b'\r', head).filter(|_| !is_dated(response))?;
    head.get(line..)?.starts_with(FIELD).then_some(line + FIELD.len())
}

/// Fields that say how the message is framed, which is the connection's to say.
fn ours(name: &http::HeaderName, status: StatusCode) -> bool {
    name == CONTENT_LENGTH
        || name == TRANSFER_ENCODING
        || (name == CONNECTION && status != StatusCode::SWITCHING_PROTOCOLS)
        || name == "keep-alive"
}

/// `Alt-Svc` as a line.
pub(crate) fn alt_svc_line(value: &HeaderValue) -> Box<[u8]> {
    let mut line = Vec::new();
    push_field(&mut line, ALT_SVC.as_str(), value.as_bytes());
    line.into()
}

/// Writes a field.
pub(crate) fn push_field(out: &mut Vec<u8>, name: &str, value: &[u8]) {
    out.extend_from_slice(name.as_bytes());
    out.extend_from_slice(b": ");
    out.extend_from_slice(value);
    out.extend_from_slice(b"\r\n");
}

/// What a cache says of a response that it had.
fn push_hit(out: &mut Vec<u8>, hit: Hit) {
    let mut digits = itoa::Buffer::new();
    push_field(out, "age", digits.format(hit.age).as_bytes());
    if let Some(ttl) = hit.ttl {
        out.extend_from_slice(b"cache-status: ");
        out.extend_from_slice(Hit::STATUS.as_bytes());
        out.extend_from_slice(digits.format(ttl).as_bytes());
        out.extend_from_slice(b"\r\n");
    }
}

fn push_length(out: &mut Vec<u8>, length: u64) {
    let mut digits = itoa::Buffer::new();
    push_field(out, "content-length", digits.format(length).as_bytes());
}

/// Writes the line before a chunk.
pub(crate) fn push_chunk_size(out: &mut Vec<u8>, size: usize) {
    use std::io::Write;
    // Writing to memory does not fail.
    let _ = write!(out, "{size:x}\r\n");
}

impl Body {
    pub(crate) fn is_empty(&self) -> bool {
        self.length() == Some(0)
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::message::{ReadyHead, Streamed};

    fn written(response: &Response, asked: Asked) -> (String, Follows, bool) {
        let mut out = Vec::new();
        let (follows, keep_alive) = write_head(&mut out, response, asked, b"Sun, 06 Nov 1994 08:49:37 GMT", b"");
        (String::from_utf8(out).unwrap(), follows, keep_alive)
    }

    fn get(version: Version) -> Asked {
        Asked { is_head: false, connects: false, version, keep_alive: true, takes_trailers: false }
    }

    fn streamed() -> Response {
        let mut response = Response::new(StatusCode::OK);
        response.body =
            Body::Stream(Streamed { length: None, parts: Box::pin(futures_util::stream::empty()), trailers: None });
        response
    }

    #[test]
    fn the_connection_says_how_a_body_is_framed_and_no_handler_does() {
        let mut response = Response::full(StatusCode::OK, "text/plain", "hello");
        response.headers.insert(CONTENT_LENGTH, HeaderValue::from_static("99"));
        response.headers.insert(TRANSFER_ENCODING, HeaderValue::from_static("chunked"));
        response.headers.insert(CONNECTION, HeaderValue::from_static("close"));
        let (head, follows, keep_alive) = written(&response, get(Version::HTTP_11));
        assert_eq!(
            head,
            "HTTP/1.1 200 OK\r\ndate: Sun, 06 Nov 1994 08:49:37 GMT\r\ncontent-type: text/plain\r\ncontent-length: 5\r\n\r\n"
        );
        assert_eq!((follows, keep_alive), (Follows::Plain, true));
    }

    #[test]
    fn a_body_of_unknown_length_goes_in_chunks_and_to_an_old_client_until_the_end_of_the_connection() {
        let (head, follows, keep_alive) = written(&streamed(), get(Version::HTTP_11));
        assert!(head.contains("transfer-encoding: chunked\r\n") && !head.contains("connection"), "{head}");
        assert_eq!((follows, keep_alive), (Follows::Chunks, true));
        let (head, follows, keep_alive) = written(&streamed(), get(Version::HTTP_10));
        assert!(head.contains("connection: close\r\n") && !head.contains("chunked"), "{head}");
        assert_eq!((follows, keep_alive), (Follows::UntilClose, false));
    }

    #[test]
    fn a_response_without_a_body_may_still_say_how_long_it_would_have_been() {
        let asked = Asked { is_head: true, ..get(Version::HTTP_11) };
        let (head, follows, _) = written(&Response::full(StatusCode::OK, "text/plain", "hello"), asked);
        assert!(head.contains("content-length: 5\r\n") && follows == Follows::Nothing, "{head}");
        let mut unchanged = Response::new(StatusCode::NOT_MODIFIED);
        assert!(!written(&unchanged, get(Version::HTTP_11)).0.contains("content-length"));
        unchanged.headers.insert(CONTENT_LENGTH, HeaderValue::from_static("5"));
        assert!(written(&unchanged, get(Version::HTTP_11)).0.contains("content-length: 5\r\n"));
        let empty = written(&Response::new(StatusCode::OK), get(Version::HTTP_11));
        assert!(empty.0.contains("content-length: 0\r\n") && empty.1 == Follows::Nothing, "{empty:?}");
        assert!(!written(&Response::new(StatusCode::NO_CONTENT), get(Version::HTTP_11)).0.contains("content-length"));
    }

    #[test]
    fn what_a_connect_has_opened_has_no_length_and_a_refusal_has() {
        let asked = Asked { connects: true, ..get(Version::HTTP_11) };
        let opened = written(&Response::new(StatusCode::OK), asked).0;
        assert_eq!(opened, "HTTP/1.1 200 OK\r\ndate: Sun, 06 Nov 1994 08:49:37 GMT\r\n\r\n");
        let refused = written(&Response::new(StatusCode::FORBIDDEN), asked).0;
        assert!(refused.contains("content-length: 0\r\n"), "{refused}");
    }

    #[test]
    fn fields_made_ready_before_are_written_beside_the_others() {
        let mut response = Response::new(StatusCode::OK);
        let fields = HeaderMap::from_iter([(http::header::ETAG, HeaderValue::from_static("\"x\""))]);
        response.ready = Some(Arc::clone(&ReadyHead::new(fields)));
        assert!(written(&response, get(Version::HTTP_11)).0.contains("\r\netag: \"x\"\r\n"));
    }

    #[test]
    fn a_response_that_a_cache_had_says_how_old_it_is_and_keeps_its_own_date() {
        let mut response = Response::new(StatusCode::OK);
        let fields = HeaderMap::from_iter([(DATE, HeaderValue::from_static("Sat, 05 Nov 1994 08:49:37 GMT"))]);
        response.ready = Some(ReadyHead::new(fields));
        response.hit = Some(Hit { age: 7, ttl: Some(-2) });
        let head = written(&response, get(Version::HTTP_11)).0;
        let expected = "HTTP/1.1 200 OK\r\ndate: Sat, 05 Nov 1994 08:49:37 GMT\r\nage: 7\r\ncache-status: Outwork; hit; ttl=-2\r\n";
        assert!(head.starts_with(expected) && head.matches("date:").count() == 1, "{head}");
    }

    #[test]
    fn an_old_client_hears_that_its_connection_stays_open() {
        let head = written(&Response::new(StatusCode::OK), get(Version::HTTP_10)).0;
        assert!(head.contains("connection: keep-alive\r\n"), "{head}");
    }
}
