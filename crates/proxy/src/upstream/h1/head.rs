//! The head of an HTTP/1 answer: bytes to fields, and how its body is framed (RFC 9112).
//!
//! As strict as with requests where leniency lets one message be read as two: who stands between the two readers is us.

use std::mem::MaybeUninit;

use bytes::Bytes;
use http::header::{CONNECTION, CONTENT_LENGTH, HeaderName, TRANSFER_ENCODING};
use http::{HeaderMap, HeaderValue, Method, StatusCode};
use outwork_front::h1::Framing;

/// Fields that a head may have.
const FIELDS: usize = 128;
/// Bytes that a head may have.
const HEAD: usize = 64 << 10;

/// The head of an answer.
#[derive(Debug)]
pub(super) struct Head {
    pub(super) status: StatusCode,
    pub(super) headers: HeaderMap,
    pub(super) framing: Frame,
    /// The connection may carry another request.
    pub(super) keep_alive: bool,
}

/// Where the body of an answer ends (RFC 9112 section 6.3).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Frame {
    /// As bodies of requests do.
    Framed(Framing),
    /// With the connection.
    UntilClose,
}

/// Reads a head from the beginning of `input`, which `whole` gives as shared bytes, as much of it as it likes beyond the head, of which it is told the length
/// and the fields; with its length, or `None` where it is not all there.
pub(super) fn parse(
    input: &[u8],
    method: &Method,
    whole: impl FnOnce(usize, &[httparse::Header<'_>]) -> Bytes,
) -> Result<Option<(Head, usize, Bytes)>, &'static str> {
    let mut slots = [const { MaybeUninit::<httparse::Header<'_>>::uninit() }; FIELDS];
    let mut raw = httparse::Response::new(&mut []);
    let status = httparse::ParserConfig::default().parse_response_with_uninit_headers(&mut raw, input, &mut slots);
    let length = match status {
        Ok(httparse::Status::Complete(length)) => length,
        Ok(httparse::Status::Partial) if input.len() >= HEAD => return Err("the head of the answer is too large"),
        Ok(httparse::Status::Partial) => return Ok(None),
        Err(httparse::Error::TooManyHeaders) => return Err("the answer has too many header fields"),
        Err(_) => return Err("the head of the answer is malformed"),
    };
    let text = input.get(..length).unwrap_or(input);
    if memchr::memchr_iter(b'\n', text).any(|at| at == 0 || text.get(at - 1) != Some(&b'\r')) {
        return Err("a line of the answer ends without a carriage return");
    }
    let (Some(code), Some(minor)) = (raw.code, raw.version) else {
        return Err("the status line is malformed");
    };
    let status = StatusCode::from_u16(code).map_err(|_| "the status is none")?;
    let shared = whole(length, raw.headers);
    let mut headers = HeaderMap::with_capacity(raw.headers.len());
    for field in raw.headers.iter() {
        let name = HeaderName::from_bytes(field.name.as_bytes()).map_err(|_| "a field name is malformed")?;
        let start = (field.value.as_ptr() as usize).wrapping_sub(input.as_ptr() as usize);
        let value = match start.checked_add(field.value.len()) {
            Some(end) if end <= shared.len() => shared.slice(start..end),
            _ => Bytes::copy_from_slice(field.value),
        };
        let value = HeaderValue::from_maybe_shared(value).map_err(|_| "a field value is malformed")?;
        headers.append(name, value);
    }
    let framing = framing(status, method, minor, &headers)?;
    let keep_alive = framing != Frame::UntilClose && persists(minor, &headers);
    Ok(Some((Head { status, headers, framing, keep_alive }, length, shared)))
}

fn framing(status: StatusCode, method: &Method, minor: u8, headers: &HeaderMap) -> Result<Frame, &'static str> {
    let mut lengths = headers.get_all(CONTENT_LENGTH).iter();
    let mut codings = headers.get_all(TRANSFER_ENCODING).iter();
    let (length, coding) = (lengths.next(), codings.next());
    if length.is_some() && coding.is_some() {
        return Err("Content-Length and Transfer-Encoding of the answer contradict each other");
    }
    let length = match length {
        Some(value) if lengths.any(|other| other != value) => return Err("the answer has two lengths"),
        Some(value) => {
            let digits = value.to_str().ok().filter(|text| text.bytes().all(|byte| byte.is_ascii_digit()));
            Some(digits.and_then(|text| text.parse().ok()).ok_or("Content-Length of the answer is malformed")?)
        }
        None => None,
    };
    let bodiless = status.is_informational()
        || matches!(status, StatusCode::NO_CONTENT | StatusCode::NOT_MODIFIED)
        || method == Method::HEAD;
    if bodiless {
        return Ok(Frame::Framed(Framing::None));
    }
    match (length, coding) {
        (Some(length), _) => Ok(Frame::Framed(Framing::Length(length))),
        (None, None) => Ok(Frame::UntilClose),
        (None, Some(_)) if minor == 0 => Err("HTTP/1.0 knows no Transfer-Encoding"),
        (None, Some(coding)) if codings.next().is_none() && coding.as_bytes().eq_ignore_ascii_case(b"chunked") => {
            Ok(Frame::Framed(Framing::Chunked))
        }
        (None, Some(_)) => Err("the answer has a transfer coding that was not asked for"),
    }
}

/// Whether the connection persists (RFC 9112 section 9.3).
fn persists(minor: u8, headers: &HeaderMap) -> bool {
    let says = |option: &str| {
        let options = headers.get_all(CONNECTION).iter().filter_map(|value| value.to_str().ok());
        options.flat_map(|value| value.split(',')).any(|one| one.trim().eq_ignore_ascii_case(option))
    };
    match minor {
        0 => says("keep-alive") && !says("close"),
        _ => !headers.contains_key(CONNECTION) || !says("close"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &str, method: Method) -> Result<Option<(u16, Frame, bool)>, &'static str> {
        let whole = |_: usize, _: &[httparse::Header<'_>]| Bytes::copy_from_slice(text.as_bytes());
        let parsed = parse(text.as_bytes(), &method, whole)?;
        Ok(parsed.map(|(reply, ..)| (reply.status.as_u16(), reply.framing, reply.keep_alive)))
    }

    #[test]
    fn an_answer_ends_where_its_head_says() {
        let of = |fields: &str| read(&format!("HTTP/1.1 200 OK\r\n{fields}\r\n"), Method::GET);
        let framed = |framing| Ok(Some((200, Frame::Framed(framing), true)));
        assert_eq!(of("content-length: 5\r\n"), framed(Framing::Length(5)));
        assert_eq!(of("content-length: 5\r\ncontent-length: 5\r\n"), framed(Framing::Length(5)));
        assert_eq!(of("transfer-encoding: Chunked\r\n"), framed(Framing::Chunked));
        assert_eq!(of(""), Ok(Some((200, Frame::UntilClose, false))));
        let head = read("HTTP/1.1 200 OK\r\ncontent-length: 5\r\n\r\n", Method::HEAD);
        assert_eq!(head, framed(Framing::None));
        let unchanged = read("HTTP/1.1 304 Not Modified\r\ncontent-length: 5\r\n\r\n", Method::GET);
        assert_eq!(unchanged, Ok(Some((304, Frame::Framed(Framing::None), true))));
        assert_eq!(read("HTTP/1.1 200 OK\r\ncontent-len", Method::GET), Ok(None), "not all there yet");
    }

    #[test]
    fn a_connection_goes_on_unless_it_is_said_to_end() {
        let of = |version: &str, field: &str| {
            let text = format!("HTTP/{version} 200 OK\r\ncontent-length: 0\r\n{field}\r\n");
            read(&text, Method::GET).unwrap().unwrap().2
        };
        assert!(of("1.1", "") && of("1.1", "connection: x\r\n") && of("1.0", "connection: keep-alive\r\n"));
        assert!(!of("1.1", "connection: x, Close\r\n") && !of("1.0", ""));
    }

    #[test]
    fn what_could_be_read_in_two_ways_is_refused() {
        for fields in [
            "content-length: 5\r\ntransfer-encoding: chunked\r\n",
            "content-length: 5\r\ncontent-length: 6\r\n",
            "content-length: +5\r\n",
            "content-length: 5, 5\r\n",
            "transfer-encoding: gzip, chunked\r\n",
            "transfer-encoding: chunked\r\ntransfer-encoding: chunked\r\n",
            "content-length : 5\r\n",
            "x: 1\n",
            " folded: 1\r\n",
        ] {
            let read = read(&format!("HTTP/1.1 200 OK\r\n{fields}\r\n"), Method::GET);
            assert!(read.is_err(), "{fields:?}: {read:?}");
        }
        assert!(read("HTTP/1.0 200 OK\r\ntransfer-encoding: chunked\r\n\r\n", Method::GET).is_err());
        assert!(read("HTTP/1.1 20 OK\r\n\r\n", Method::GET).is_err());
        assert!(read(&format!("HTTP/1.1 200 OK\r\nx: {}", "a".repeat(HEAD)), Method::GET).is_err());
    }
}
