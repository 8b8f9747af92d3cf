//! A request's head from its fields (RFC 9114 section 4.3).

use bytes::Bytes;
use h2::ext::Protocol;
use http::header::{CONNECTION, COOKIE, HeaderName, TE, TRANSFER_ENCODING, UPGRADE};
use http::request::Parts;
use http::uri::{Authority, PathAndQuery};
use http::{HeaderMap, HeaderValue, Method, Uri, Version};

use super::qpack::{Line, Unreadable};
use crate::h1::head::FIELDS;
use crate::stream::joined;

/// Why fields are not the head of a request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Wrong {
    /// They are not to be read.
    Unreadable(Unreadable),
    /// They are malformed.
    Malformed(&'static str),
}

impl From<Unreadable> for Wrong {
    fn from(unreadable: Unreadable) -> Self {
        Self::Unreadable(unreadable)
    }
}

const fn malformed<T>(why: &'static str) -> Result<T, Wrong> {
    Err(Wrong::Malformed(why))
}

/// What begins with a colon.
#[derive(Default)]
struct Pseudo {
    method: Option<Bytes>,
    scheme: Option<Bytes>,
    authority: Option<Bytes>,
    path: Option<Bytes>,
    protocol: Option<Bytes>,
}

/// The head, with a target in origin form, and the authority.
pub(super) fn request(
    lines: impl Iterator<Item = Result<Line, Unreadable>>,
) -> Result<(Parts, Option<HeaderValue>), Wrong> {
    let (mut pseudo, mut fields, mut cookies) = (Pseudo::default(), HeaderMap::new(), Vec::new());
    for line in lines {
        let (name, value) = line?;
        if name.starts_with(b":") {
            if !fields.is_empty() || !cookies.is_empty() {
                return malformed("a pseudo-header field stands after another field");
            }
            pseudo.take(&name, value)?;
            continue;
        }
        let Ok(name) = HeaderName::from_lowercase(&name) else { return malformed("a field name is malformed") };
        let Ok(value) = HeaderValue::from_maybe_shared(value) else { return malformed("a field value is malformed") };
        if is_of_the_connection(&name, &value) {
            return malformed("a field is about the connection (RFC 9114 section 4.2)");
        }
        if fields.len() + cookies.len() >= FIELDS {
            return Err(Unreadable::TooLarge.into());
        }
        match name == COOKIE {
            true => cookies.push(value),
            false => drop(fields.append(name, value)),
        }
    }
    if let Some(cookies) = joined(cookies) {
        fields.insert(COOKIE, cookies);
    }
    let (mut head, authority) = pseudo.head()?;
    head.headers = fields;
    Ok((head, authority))
}

/// The fields after the content (RFC 9114 section 4.1).
pub(super) fn trailers(lines: impl Iterator<Item = Result<Line, Unreadable>>) -> Result<HeaderMap, Wrong> {
    let mut fields = HeaderMap::new();
    for line in lines {
        let (name, value) = line?;
        let Ok(name) = HeaderName::from_lowercase(&name) else { return malformed("a field name is malformed") };
        let Ok(value) = HeaderValue::from_maybe_shared(value) else { return malformed("a field value is malformed") };
        if is_of_the_connection(&name, &value) {
            return malformed("a field is about the connection (RFC 9114 section 4.2)");
        }
        if fields.len() >= FIELDS {
            return Err(Unreadable::TooLarge.into());
        }
        fields.append(name, value);
    }
    Ok(fields)
}

/// Fields that say something of a connection have no place here.
fn is_of_the_connection(name: &HeaderName, value: &HeaderValue) -> bool {
    [CONNECTION, TRANSFER_ENCODING, UPGRADE].contains(name)
        || ["keep-alive", "proxy-connection"].contains(&name.as_str())
        || (*name == TE && value != "trailers")
}

impl Pseudo {
    fn take(&mut self, name: &[u8], value: Bytes) -> Result<(), Wrong> {
        let place = match name {
            b":method" => &mut self.method,
            b":scheme" => &mut self.scheme,
            b":authority" => &mut self.authority,
            b":path" => &mut self.path,
            b":protocol" => &mut self.protocol,
            _ => return malformed("a pseudo-header field is unknown"),
        };
        match place.replace(value) {
            None => Ok(()),
            Some(_) => malformed("a pseudo-header field stands there twice"),
        }
    }

    fn head(self) -> Result<(Parts, Option<HeaderValue>), Wrong> {
        let Some(Ok(method)) = self.method.map(|method| Method::from_bytes(&method)) else {
            return malformed("there is no method");
        };
        let authority = match self.authority.filter(|authority| !authority.is_empty()) {
            Some(authority) => match HeaderValue::from_maybe_shared(authority) {
                Ok(authority) => Some(authority),
                Err(_) => return malformed("the authority is malformed"),
            },
            None => None,
        };
        let protocol = match self.protocol.as_deref().map(std::str::from_utf8) {
            Some(Ok(name)) if HeaderValue::from_str(name).is_ok() && !name.is_empty() => Some(Protocol::from(name)),
            Some(_) => return malformed("the protocol is malformed"),
            None => None,
        };
        let connects = method == Method::CONNECT;
        let uri = match (self.scheme.as_deref(), self.path) {
            // RFC 9114 section 4.4.
            (None, None) if connects && protocol.is_none() => {
                let to = authority.as_ref().and_then(|authority| Authority::try_from(authority.as_bytes()).ok());
                to.and_then(|authority| Uri::builder().authority(authority).build().ok())
            }
            // With CONNECT a protocol, and else none (RFC 9220 section 3).
            (Some(b"https" | b"http"), Some(path)) if connects == protocol.is_some() => target(&method, path),
            _ => None,
        };
        let Some(uri) = uri else { return malformed("scheme and path do not fit the method, or are malformed") };
        let (mut head, ()) = http::Request::new(()).into_parts();
        (head.method, head.uri, head.version) = (method, uri, Version::HTTP_3);
        if let Some(protocol) = protocol {
            head.extensions.insert(protocol);
        }
        Ok((head, authority))
    }
}

fn target(method: &Method, path: Bytes) -> Option<Uri> {
    let whole = *method == Method::OPTIONS && &path[..] == b"*";
    let fits = (path.starts_with(b"/") && !path.contains(&b'#')) || whole;
    PathAndQuery::from_maybe_shared(path).ok().filter(|_| fits).map(Uri::from)
}

#[cfg(test)]
mod tests {
    use super::*;

    const GET: [(&str, &str); 4] =
        [(":method", "GET"), (":scheme", "https"), (":authority", "a.test"), (":path", "/x?y")];

    fn read(lines: &[(&'static str, &'static str)]) -> Result<(Parts, Option<HeaderValue>), Wrong> {
        request(lines.iter().map(|(name, value)| Ok(((*name).into(), (*value).into()))))
    }

    fn with(more: &[(&'static str, &'static str)]) -> Result<(Parts, Option<HeaderValue>), Wrong> {
        read(&[&GET[..], more].concat())
    }

    #[test]
    fn a_head_has_its_target_in_origin_form_and_one_cookie_field() {
        let (head, authority) =
            with(&[("cookie", "a=1"), ("accept", "*/*"), ("cookie", "b=2"), ("te", "trailers")]).unwrap();
        assert_eq!(
            (head.method, head.uri.to_string(), head.version),
            (Method::GET, "/x?y".to_owned(), Version::HTTP_3)
        );
        assert_eq!(authority.unwrap(), "a.test");
        assert_eq!(head.headers.get_all(COOKIE).iter().collect::<Vec<_>>(), ["a=1; b=2"]);
        let whole = read(&[(":method", "OPTIONS"), (":scheme", "https"), (":authority", "a.test"), (":path", "*")]);
        assert_eq!(whole.unwrap().0.uri.path(), "*");
        let (connect, _) = read(&[(":method", "CONNECT"), (":authority", "a.test:443")]).unwrap();
        assert_eq!(connect.uri.to_string(), "a.test:443");
        let mut socket = GET.to_vec();
        (socket[0].1, socket[3].1) = ("CONNECT", "/chat");
        socket.push((":protocol", "websocket"));
        let (socket, _) = read(&socket).unwrap();
        assert_eq!((socket.uri.path(), socket.extensions.get()), ("/chat", Some(&Protocol::from("websocket"))));
    }

    #[test]
    fn what_is_no_head_is_malformed() {
        let is_malformed = |head: Result<_, Wrong>| matches!(head, Err(Wrong::Malformed(_)));
        for more in [
            (":path", "/"),
            (":status", "200"),
            (":protocol", "websocket"),
            ("Accept", "x"),
            ("a b", "x"),
            ("a", "x\ny"),
            ("connection", "close"),
            ("keep-alive", "x"),
            ("proxy-connection", "x"),
            ("transfer-encoding", "chunked"),
            ("upgrade", "x"),
            ("te", "gzip"),
        ] {
            assert!(is_malformed(with(&[more])), "{more:?}");
        }
        for missing in 0..4 {
            let lines: Vec<_> = (0..4).filter(|at| *at != missing).map(|at| GET[at]).collect();
            // An authority may be in Host instead; whoever looks at both says so.
            assert_eq!(is_malformed(read(&lines)), missing != 2);
        }
        let mut late = GET.to_vec();
        late.insert(1, ("accept", "*/*"));
        assert!(is_malformed(read(&late)));
        for path in ["", "x", "*", "/a#b", "http://a.test/", "/ "] {
            assert!(is_malformed(read(&[GET[0], GET[1], GET[2], (":path", path)])), "{path}");
        }
        assert!(is_malformed(read(&[(":method", "CONNECT"), GET[1], GET[2], GET[3]])));
        assert!(is_malformed(read(&[(":method", "CONNECT"), GET[2], (":protocol", "websocket")])));
        assert!(is_malformed(read(&[GET[0], (":scheme", "ftp"), GET[2], GET[3]])));
    }

    #[test]
    fn trailers_are_fields_and_nothing_else() {
        let read = |name: &'static str, value: &'static str| trailers([Ok((name.into(), value.into()))].into_iter());
        assert_eq!(read("x-sum", "7").unwrap()["x-sum"], "7");
        for (name, value) in [(":status", "200"), ("Upper", "x"), ("connection", "close"), ("x", "a\nb")] {
            assert!(matches!(read(name, value), Err(Wrong::Malformed(_))), "{name}");
        }
    }

    #[test]
    fn there_are_not_more_fields_than_in_http_1() {
        assert!(with(&[("a", "b"); FIELDS]).is_ok());
        assert!(matches!(with(&[("a", "b"); FIELDS + 1]), Err(Wrong::Unreadable(Unreadable::TooLarge))));
        assert!(matches!(with(&[("cookie", "b"); FIELDS + 1]), Err(Wrong::Unreadable(Unreadable::TooLarge))));
    }
}
