//! A request's head from its fields (RFC 9114 section 4.3).

use bytes::Bytes;
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
        let uri = match (self.scheme.as_deref(), self.path) {
            // RFC 9114 section 4.4.
            (None, None) if method == Method::CONNECT => {
                let to = authority.as_ref().and_then(|authority| Authority::try_from(authority.as_bytes()).ok());
                to.and_then(|authority| Uri::builder().authority(authority).build().ok())
            }
            (Some(b"https" | b"http"), Some(path)) if method != Method::CONNECT => target(&method, path),
            _ => None,
        };
        let Some(uri) = uri else { return malformed("scheme and path do not fit the method, or are malformed") };
        let (mut head, ()) = http::Request::new(()).into_parts();
        (head.method, head.uri, head.version) = (method, uri, Version::HTTP_3);
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
        assert!(is_malformed(read(&[GET[0], (":scheme", "ftp"), GET[2], GET[3]])));
    }

    #[test]
    fn there_are_not_more_fields_than_in_http_1() {
        assert!(with(&[("a", "b"); FIELDS]).is_ok());
        assert!(matches!(with(&[("a", "b"); FIELDS + 1]), Err(Wrong::Unreadable(Unreadable::TooLarge))));
        assert!(matches!(with(&[("cookie", "b"); FIELDS + 1]), Err(Wrong::Unreadable(Unreadable::TooLarge))));
    }
}
