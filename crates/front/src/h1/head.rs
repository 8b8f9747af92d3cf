//! The head of an HTTP/1 request: bytes to a request, and how its body is framed (RFC 9112).
//!
//! Strict where leniency lets one message be read as two: line ends are CRLF, a field name touches its colon, lines are not
//! folded, there is one length, and `Transfer-Encoding` is `chunked` and nothing else.

use std::mem::MaybeUninit;

use bytes::Bytes;
use http::header::{CONNECTION, CONTENT_LENGTH, EXPECT, HOST, HeaderName, TRANSFER_ENCODING};
use http::request::Parts;
use http::uri::{Authority, PathAndQuery, Uri};
use http::{HeaderMap, HeaderValue, Method, StatusCode, Version};

/// Fields that a head may have.
pub(crate) const FIELDS: usize = 100;

/// What a head may measure.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct HeadLimits {
    /// Bytes of the request line's target.
    pub(crate) target: usize,
    /// Bytes of it all.
    pub(crate) head: usize,
}

/// A request whose head was read.
#[derive(Debug)]
pub(crate) struct Head {
    pub(crate) parts: Parts,
    /// Its length, the empty line included.
    pub(crate) bytes: usize,
    pub(crate) framing: Framing,
    /// The client keeps the connection open for another request.
    pub(crate) keep_alive: bool,
    /// The client waits for `100 Continue` before it sends the body.
    pub(crate) expects_continue: bool,
}

/// Where a body ends (RFC 9112 section 6.3).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Framing {
    /// There is none.
    None,
    /// After so many bytes.
    Length(u64),
    /// Where its chunks say.
    Chunked,
}

/// Why a head is not accepted. The connection cannot go on after it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("{why}")]
pub(crate) struct Reject {
    pub(crate) status: StatusCode,
    pub(crate) why: &'static str,
}

const fn bad(why: &'static str) -> Reject {
    Reject { status: StatusCode::BAD_REQUEST, why }
}

const HEAD_TOO_LARGE: Reject =
    Reject { status: StatusCode::REQUEST_HEADER_FIELDS_TOO_LARGE, why: "the header fields are too large" };
const MORE_HOSTS: Reject = bad("there is more than one Host");
const TARGET_TOO_LONG: Reject = Reject { status: StatusCode::URI_TOO_LONG, why: "the request target is too long" };

/// Reads a head from the beginning of `input`; `None` where it is not all there.
pub(crate) fn parse(input: &[u8], limits: &HeadLimits) -> Result<Option<Head>, Reject> {
    let mut slots = [const { MaybeUninit::<httparse::Header<'_>>::uninit() }; FIELDS];
    let mut raw = httparse::Request::new(&mut []);
    let status = httparse::ParserConfig::default()
        .parse_request_with_uninit_headers(&mut raw, input, &mut slots)
        .map_err(|error| malformed(error, input))?;
    let httparse::Status::Complete(bytes) = status else {
        return unfinished(input, limits).map(|()| None);
    };
    let text = input.get(..bytes).unwrap_or(input);
    if bytes > limits.head {
        return Err(HEAD_TOO_LARGE);
    }
    if memchr::memchr_iter(b'\n', text).any(|at| at == 0 || text.get(at - 1) != Some(&b'\r')) {
        return Err(bad("a line ends without a carriage return"));
    }
    let (Some(method), Some(target), Some(minor)) = (raw.method, raw.path, raw.version) else {
        return Err(bad("the request line is malformed"));
    };
    if target.len() > limits.target {
        return Err(TARGET_TOO_LONG);
    }
    let whole = Bytes::copy_from_slice(text);
    let part = |slice: &[u8]| whole.slice_ref_of(text, slice);
    let mut headers = HeaderMap::with_capacity(raw.headers.len());
    for field in raw.headers.iter() {
        let name = HeaderName::from_bytes(field.name.as_bytes()).map_err(|_| bad("a field name is malformed"))?;
        let value = HeaderValue::from_maybe_shared(part(field.value)).map_err(|_| bad("a field value is malformed"))?;
        headers.append(name, value);
    }
    let method = Method::from_bytes(method.as_bytes()).map_err(|_| bad("the method is malformed"))?;
    let version = if minor == 0 { Version::HTTP_10 } else { Version::HTTP_11 };
    let uri = target_of(&method, version, target, &part, &mut headers)?;
    check_host(version, &headers)?;
    let framing = framing(version, &headers)?;
    let expects_continue = expectation(version, &headers)?;
    let keep_alive = persists(version, &headers);
    let (mut parts, ()) = http::Request::new(()).into_parts();
    (parts.method, parts.uri, parts.version, parts.headers) = (method, uri, version, headers);
    Ok(Some(Head { parts, bytes, framing, keep_alive, expects_continue }))
}

/// Part of a buffer as a part of its copy.
trait SliceRefOf {
    fn slice_ref_of(&self, of: &[u8], part: &[u8]) -> Bytes;
}

impl SliceRefOf for Bytes {
    fn slice_ref_of(&self, of: &[u8], part: &[u8]) -> Bytes {
        let start = (part.as_ptr() as usize).wrapping_sub(of.as_ptr() as usize);
        match start.checked_add(part.len()) {
            Some(end) if end <= self.len() => self.slice(start..end),
            _ => Bytes::copy_from_slice(part),
        }
    }
}

fn malformed(error: httparse::Error, input: &[u8]) -> Reject {
    match error {
        httparse::Error::TooManyHeaders => HEAD_TOO_LARGE,
        httparse::Error::Version if names_version(input) => {
            Reject { status: StatusCode::HTTP_VERSION_NOT_SUPPORTED, why: "the version is not HTTP/1.0 or HTTP/1.1" }
        }
        httparse::Error::HeaderName => bad("a field name is malformed"),
        httparse::Error::HeaderValue => bad("a field value is malformed"),
        _ => bad("the request line is malformed"),
    }
}

/// Whether the request line ends in a version, if one that is unknown here (RFC 9112 section 2.3).
fn names_version(input: &[u8]) -> bool {
    let line = input.trim_ascii_start().split(|octet| *octet == b'\r').next().unwrap_or_default();
    let mut words = line.split(|octet| *octet == b' ');
    match (words.next(), words.next(), words.next().and_then(|word| word.strip_prefix(b"HTTP/")), words.next()) {
        (Some(_), Some(_), Some([major, b'.', minor]), None) => major.is_ascii_digit() && minor.is_ascii_digit(),
        _ => false,
    }
}

/// Whether what is there so far may still become a head.
fn unfinished(input: &[u8], limits: &HeadLimits) -> Result<(), Reject> {
    let line = memchr::memchr(b'\n', input.trim_ascii_start());
    // The target, the longest method and the version.
    if line.is_none() && input.len() > limits.target + 64 {
        return Err(TARGET_TOO_LONG);
    }
    if input.len() >= limits.head {
        return Err(HEAD_TOO_LARGE);
    }
    Ok(())
}

/// The target in one form, whatever form it came in (RFC 9112 section 3.2).
fn target_of(
    method: &Method,
    version: Version,
    target: &str,
    part: &impl Fn(&[u8]) -> Bytes,
    headers: &mut HeaderMap,
) -> Result<Uri, Reject> {
    const MALFORMED: Reject = bad("the request target is malformed");
    if target.contains('#') {
        return Err(MALFORMED);
    }
    if method == Method::CONNECT {
        // A host and a port, which it has to name (RFC 9112 section 3.2.3).
        if !is_host(target.as_bytes()) || !target.ends_with(|last: char| last.is_ascii_digit()) || !target.contains(':')
        {
            return Err(MALFORMED);
        }
        let authority = Authority::from_maybe_shared(part(target.as_bytes())).map_err(|_| MALFORMED)?;
        overrule_host(version, headers, &authority)?;
        return Uri::builder().authority(authority).build().map_err(|_| MALFORMED);
    }
    if target.starts_with('/') || (target == "*" && method == Method::OPTIONS) {
        let path = PathAndQuery::from_maybe_shared(part(target.as_bytes())).map_err(|_| MALFORMED)?;
        return Ok(Uri::from(path));
    }
    let uri = Uri::from_maybe_shared(part(target.as_bytes())).map_err(|_| MALFORMED)?;
    let (Some("http" | "https"), Some(authority)) = (uri.scheme_str(), uri.authority()) else {
        return Err(MALFORMED);
    };
    overrule_host(version, headers, authority)?;
    Ok(uri.path_and_query().cloned().map_or_else(|| Uri::from_static("/"), Uri::from))
}

/// What the target says overrules Host (RFC 9112 section 3.2.2), but since HTTP/1.1 a client has to send one Host all the same.
fn overrule_host(version: Version, headers: &mut HeaderMap, authority: &Authority) -> Result<(), Reject> {
    match headers.get_all(HOST).iter().count() {
        0 if version != Version::HTTP_10 => {}
        0 | 1 => {
            let host = HeaderValue::from_str(authority.as_str());
            headers.insert(HOST, host.map_err(|_| bad("the request target is malformed"))?);
        }
        _ => return Err(MORE_HOSTS),
    }
    Ok(())
}

/// One Host, of characters that a host has (RFC 9112 section 3.2).
fn check_host(version: Version, headers: &HeaderMap) -> Result<(), Reject> {
    let mut hosts = headers.get_all(HOST).iter();
    let host = match (hosts.next(), hosts.next()) {
        (Some(host), None) => host,
        (None, _) if version == Version::HTTP_10 => return Ok(()),
        (None, _) => return Err(bad("there is no Host")),
        _ => return Err(MORE_HOSTS),
    };
    match is_host(host.as_bytes()) {
        true => Ok(()),
        false => Err(bad("Host is malformed")),
    }
}

/// Whether it is a host, perhaps with a port, and nothing else (RFC 3986 sections 3.2.2 and 3.2.3). It may be empty (RFC 9110 section 7.2).
pub(crate) fn is_host(text: &[u8]) -> bool {
    let name = |octet: &u8| octet.is_ascii_alphanumeric() || b"-._~!$&'()*+,;=%".contains(octet);
    let address = |octet: &u8| octet.is_ascii_hexdigit() || b":.".contains(octet);
    let (host, port) = match text.strip_prefix(b"[") {
        Some(rest) => match memchr::memchr(b']', rest).and_then(|end| rest.split_at_checked(end)) {
            Some((inside, [_, port @ ..])) if !inside.is_empty() => (inside.iter().all(address), port),
            _ => return false,
        },
        None => {
            let end = memchr::memchr(b':', text).unwrap_or(text.len());
            text.split_at_checked(end).map_or((false, text), |(host, port)| (host.iter().all(name), port))
        }
    };
    host && match port {
        [] => true,
        [b':', digits @ ..] => digits.iter().all(u8::is_ascii_digit),
        _ => false,
    }
}

fn framing(version: Version, headers: &HeaderMap) -> Result<Framing, Reject> {
    let mut lengths = headers.get_all(CONTENT_LENGTH).iter();
    let mut encodings = headers.get_all(TRANSFER_ENCODING).iter();
    match (lengths.next(), encodings.next()) {
        (None, None) => Ok(Framing::None),
        (Some(_), Some(_)) => Err(bad("Content-Length and Transfer-Encoding contradict each other")),
        (None, Some(_)) if version == Version::HTTP_10 => Err(bad("HTTP/1.0 knows no Transfer-Encoding")),
        (None, Some(encoding)) => {
            if encodings.next().is_none() && encoding.as_bytes().eq_ignore_ascii_case(b"chunked") {
                return Ok(Framing::Chunked);
            }
            Err(Reject { status: StatusCode::NOT_IMPLEMENTED, why: "the transfer coding is not \"chunked\" alone" })
        }
        (Some(length), None) => {
            if lengths.next().is_some() {
                return Err(bad("there is more than one Content-Length"));
            }
            let digits = length.as_bytes();
            let length = std::str::from_utf8(digits).ok().filter(|_| digits.iter().all(u8::is_ascii_digit));
            let length = length.and_then(|text| text.parse().ok()).ok_or(bad("Content-Length is malformed"))?;
            Ok(Framing::Length(length))
        }
    }
}

fn expectation(version: Version, headers: &HeaderMap) -> Result<bool, Reject> {
    // RFC 9110 section 10.1.1: a server that sees the expectation in HTTP/1.0 must ignore it.
    if version == Version::HTTP_10 {
        return Ok(false);
    }
    let mut expected =
        headers.get_all(EXPECT).iter().map(|value| value.as_bytes().eq_ignore_ascii_case(b"100-continue"));
    match expected.all(|known| known) {
        true => Ok(headers.contains_key(EXPECT)),
        false => Err(Reject { status: StatusCode::EXPECTATION_FAILED, why: "only 100-continue can be expected" }),
    }
}

/// Whether the connection persists (RFC 9112 section 9.3).
fn persists(version: Version, headers: &HeaderMap) -> bool {
    let says = |option: &str| {
        let options = headers.get_all(CONNECTION).iter().filter_map(|value| value.to_str().ok());
        options.flat_map(|value| value.split(',')).any(|one| one.trim().eq_ignore_ascii_case(option))
    };
    if !headers.contains_key(CONNECTION) {
        return version != Version::HTTP_10;
    }
    !says("close") && (version != Version::HTTP_10 || says("keep-alive"))
}

#[cfg(test)]
#[path = "head_tests.rs"]
mod tests;
