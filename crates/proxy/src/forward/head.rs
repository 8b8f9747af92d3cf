//! What of a request goes on to a backend, and what of its answer comes back.

use bytes::{BufMut, BytesMut};
use http::header::{
    CONNECTION, CONTENT_LENGTH, COOKIE, EXPECT, FORWARDED, HOST, TE, TRAILER, TRANSFER_ENCODING, UPGRADE,
};
use http::request::Parts;
use http::{HeaderMap, HeaderName, HeaderValue, Method, Request, Uri, Version};
use outwork_front::message::Origin;

use super::grpc;
use crate::config::Forwarded;

const KEEP_ALIVE: HeaderName = HeaderName::from_static("keep-alive");
const PROXY_CONNECTION: HeaderName = HeaderName::from_static("proxy-connection");
const X_FORWARDED_FOR: HeaderName = HeaderName::from_static("x-forwarded-for");
const X_FORWARDED_PROTO: HeaderName = HeaderName::from_static("x-forwarded-proto");
const X_FORWARDED_HOST: HeaderName = HeaderName::from_static("x-forwarded-host");
const X_FORWARDED_PORT: HeaderName = HeaderName::from_static("x-forwarded-port");
/// What was to be said of a connection of HTTP/2 that nobody switches to any more (RFC 9113 appendix B).
pub(super) const HTTP2_SETTINGS: HeaderName = HeaderName::from_static("http2-settings");
const X_REAL_IP: HeaderName = HeaderName::from_static("x-real-ip");

/// What a head is written of.
pub(super) struct Outgoing<'a> {
    pub(super) head: &'a Parts,
    pub(super) origin: &'a Origin,
    /// What `Host` says, where it is not what the client says.
    pub(super) host: Option<&'a HeaderValue>,
    /// `None` where the fields that say so are ours already.
    pub(super) forwarded: Option<Forwarded>,
    pub(super) upgrade: Option<&'a HeaderValue>,
    pub(super) body: Length,
    /// What is left of the time that a call of gRPC has, in the place of what its client says.
    pub(super) timeout: Option<&'a HeaderValue>,
    /// The backend is to say first whether it wants the body.
    pub(super) expects: bool,
}

/// How long the content of a request is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Length {
    /// There is none.
    None,
    Known(u64),
    Unknown,
}

impl Outgoing<'_> {
    /// As HTTP/1.1 has it (RFC 9112).
    pub(super) fn http1(&self) -> BytesMut {
        let mut out = BytesMut::new();
        self.write(&mut out);
        out
    }

    /// The same behind what is there.
    pub(super) fn write(&self, out: &mut BytesMut) {
        let Self { head, origin, .. } = self;
        out.reserve(256 + head.headers.len() * 48);
        out.put_slice(head.method.as_str().as_bytes());
        out.put_u8(b' ');
        out.put_slice(head.uri.path_and_query().map_or("/", |target| target.as_str()).as_bytes());
        out.put_slice(b" HTTP/1.1\r\n");
        let said = head.headers.get(HOST);
        push(out, "host", self.host.or(said).map_or(b"", HeaderValue::as_bytes));
        let connection = listed(&head.headers);
        for (name, value) in &head.headers {
            if self.passes(name) && !connection.iter().any(|listed| name == listed) {
                push(out, name.as_str(), value.as_bytes());
            }
        }
        self.each_forwarded(origin, said, &mut |name, value| push(out, name.as_str(), value));
        if let Some(left) = self.timeout {
            push(out, grpc::TIMEOUT.as_str(), left.as_bytes());
        }
        match self.upgrade {
            Some(protocol) => {
                push(out, "connection", b"upgrade");
                push(out, "upgrade", protocol.as_bytes());
            }
            None if takes_trailers(&head.headers) => {
                push(out, "connection", b"te");
                push(out, "te", b"trailers");
            }
            None => {}
        }
        match self.body {
            Length::Known(length) => push(out, "content-length", itoa::Buffer::new().format(length).as_bytes()),
            Length::Unknown => push(out, "transfer-encoding", b"chunked"),
            // Without it, some wait for the body of a method that has one.
            Length::None if [Method::POST, Method::PUT, Method::PATCH].contains(&head.method) => {
                push(out, "content-length", b"0");
            }
            Length::None => {}
        }
        if self.expects {
            push(out, "expect", b"100-continue");
        }
        out.put_slice(b"\r\n");
    }

    /// As HTTP/2 has it (RFC 9113 section 8.3.1); `None` where it cannot be said there.
    pub(super) fn http2(&self, authority: &HeaderValue, encrypted: bool) -> Option<Request<()>> {
        let Self { head, origin, .. } = self;
        let said = head.headers.get(HOST);
        let authority = self.host.or(said).filter(|host| !host.is_empty()).unwrap_or(authority);
        let target = head.uri.path_and_query().map_or("/", |target| target.as_str());
        // OPTIONS of the server itself has no path of its own.
        let uri = Uri::builder()
            .scheme(if encrypted { "https" } else { "http" })
            .authority(authority.as_bytes())
            .path_and_query(target)
            .build()
            .ok()?;
        let mut request = Request::new(());
        (*request.method_mut(), *request.uri_mut(), *request.version_mut()) =
            (head.method.clone(), uri, Version::HTTP_2);
        let connection = listed(&head.headers);
        let fields = request.headers_mut();
        for (name, value) in &head.headers {
            if self.passes(name) && !connection.iter().any(|listed| name == listed) {
                fields.append(name.clone(), value.clone());
            }
        }
        self.each_forwarded(origin, said, &mut |name, value| {
            if let Ok(value) = HeaderValue::from_bytes(value) {
                fields.append(name, value);
            }
        });
        if let Some(left) = self.timeout {
            fields.insert(grpc::TIMEOUT, left.clone());
        }
        if let Length::Known(length) = self.body {
            fields.insert(CONTENT_LENGTH, length.into());
        }
        if takes_trailers(&head.headers) {
            fields.insert(TE, HeaderValue::from_static("trailers"));
        }
        Some(request)
    }

    /// Whether a field goes on as it is.
    fn passes(&self, name: &HeaderName) -> bool {
        let is_ours = self.timeout.is_some() && name == grpc::TIMEOUT;
        let is_told = self.forwarded.is_none() || !says_whose(name);
        name != HOST && name != HTTP2_SETTINGS && !stays(name) && is_told && !is_ours
    }

    fn each_forwarded(&self, origin: &Origin, host: Option<&HeaderValue>, each: &mut dyn FnMut(HeaderName, &[u8])) {
        let client = origin.peer.ip().to_canonical();
        let scheme = if origin.tls { "https" } else { "http" };
        if matches!(self.forwarded, Some(Forwarded::XForwarded | Forwarded::Both)) {
            each(X_FORWARDED_FOR, client.to_string().as_bytes());
            each(X_FORWARDED_PROTO, scheme.as_bytes());
            if let Some(host) = host {
                each(X_FORWARDED_HOST, host.as_bytes());
            }
        }
        if matches!(self.forwarded, Some(Forwarded::Forwarded | Forwarded::Both)) {
            // An IPv6 address has colons, which want quotes (RFC 7239 section 6).
            let client = if client.is_ipv6() { format!("\"[{client}]\"") } else { client.to_string() };
            let mut said = format!("for={client};proto={scheme}");
            if let Some(host) = host.and_then(|host| host.to_str().ok()).filter(|host| !host.contains(['"', '\\'])) {
                said.push_str(&format!(";host=\"{host}\""));
            }
            each(FORWARDED, said.as_bytes());
        }
    }
}

/// Whether a client takes what comes after the content. Some leave it out where nobody says so (RFC 9110 section 6.5.1).
fn takes_trailers(headers: &HeaderMap) -> bool {
    let codings = headers.get_all(TE).iter().flat_map(|value| value.as_bytes().split(|byte| *byte == b','));
    codings.map(<[u8]>::trim_ascii).any(|coding| coding.eq_ignore_ascii_case(b"trailers"))
}

fn push(out: &mut BytesMut, name: &str, value: &[u8]) {
    out.put_slice(name.as_bytes());
    out.put_slice(b": ");
    out.put_slice(value);
    out.put_slice(b"\r\n");
}

/// Fields that are of the connection that they came on (RFC 9110 section 7.6.1), or frame a body.
fn stays(name: &HeaderName) -> bool {
    is_of_connection(name) || [CONTENT_LENGTH, EXPECT].contains(name)
}

/// Fields that say whose request it is, which only we can say.
fn says_whose(name: &HeaderName) -> bool {
    [FORWARDED, X_FORWARDED_FOR, X_FORWARDED_PROTO, X_FORWARDED_HOST, X_FORWARDED_PORT, X_REAL_IP].contains(name)
}

/// Fields that are of the connection that they came on.
fn is_of_connection(name: &HeaderName) -> bool {
    [CONNECTION, TE, TRAILER, TRANSFER_ENCODING, UPGRADE, KEEP_ALIVE, PROXY_CONNECTION].contains(name)
}

/// Fields that `Connection` says are of the connection.
fn listed(headers: &HeaderMap) -> Vec<HeaderName> {
    let values = headers.get_all(CONNECTION).iter().filter_map(|value| value.to_str().ok());
    let names = values.flat_map(|value| value.split(','));
    names.filter_map(|name| HeaderName::from_bytes(name.trim().as_bytes()).ok()).collect()
}

/// The protocol that a request wants to switch to (RFC 9110 section 7.8).
pub(super) fn upgrade(head: &Parts) -> Option<&HeaderValue> {
    let wanted = head.headers.get(UPGRADE)?;
    // A connection of HTTP/2 to a backend would carry requests past all that stands before it here.
    let is_http2 = |token: &[u8]| {
        token.trim_ascii().to_ascii_lowercase().starts_with(b"h2") || token.trim_ascii().starts_with(b"HTTP/")
    };
    if wanted.as_bytes().split(|byte| *byte == b',').any(is_http2) {
        return None;
    }
    listed(&head.headers).contains(&UPGRADE).then_some(wanted)
}

/// Takes out of an answer what is of its connection.
pub(super) fn strip(headers: &mut HeaderMap, bodiless: bool) {
    if headers.contains_key(CONNECTION) {
        for name in listed(headers) {
            headers.remove(name);
        }
    }
    for name in [CONNECTION, TE, TRAILER, TRANSFER_ENCODING, UPGRADE, KEEP_ALIVE, PROXY_CONNECTION] {
        headers.remove(name);
    }
    // Without a body, it says what a GET would have had.
    if !bodiless {
        headers.remove(CONTENT_LENGTH);
    }
}

/// The value of a cookie.
pub(super) fn cookie<'h>(headers: &'h HeaderMap, name: &str) -> Option<&'h [u8]> {
    let pairs = headers.get_all(COOKIE).iter().flat_map(|value| value.as_bytes().split(|byte| *byte == b';'));
    pairs.map(<[u8]>::trim_ascii).find_map(|pair| pair.strip_prefix(name.as_bytes())?.strip_prefix(b"="))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn head(method: Method, target: &str, fields: &[(&'static str, &'static str)]) -> Parts {
        let (mut head, ()) = Request::builder().method(method).uri(target).body(()).unwrap().into_parts();
        for (name, value) in fields {
            head.headers.append(HeaderName::from_static(name), HeaderValue::from_static(value));
        }
        head
    }

    fn written<'a>(head: &'a Parts, with: impl FnOnce(&mut Outgoing<'a>)) -> String {
        let [peer, local] = ["192.0.2.7:1", "192.0.2.1:80"].map(|text| text.parse().unwrap());
        let mut outgoing = Outgoing {
            head,
            origin: Box::leak(Box::new(Origin { peer, local, to: None, tls: true, session: None })),
            host: None,
            forwarded: Some(Forwarded::Off),
            upgrade: None,
            body: Length::None,
            timeout: None,
            expects: false,
        };
        with(&mut outgoing);
        String::from_utf8(outgoing.http1().to_vec()).unwrap()
    }

    #[test]
    fn what_is_of_the_client_s_connection_goes_no_further() {
        let head = head(
            Method::GET,
            "/a?b=%20",
            &[
                ("host", "example.org"),
                ("connection", "keep-alive, X-Hop"),
                ("x-hop", "1"),
                ("keep-alive", "5"),
                ("te", "deflate, Trailers"),
                ("upgrade", "h2c"),
                ("proxy-connection", "keep-alive"),
                ("accept", "a"),
                ("accept", "b"),
            ],
        );
        assert_eq!(
            written(&head, |_| {}),
            "GET /a?b=%20 HTTP/1.1\r\nhost: example.org\r\naccept: a\r\naccept: b\r\nconnection: te\r\nte: trailers\r\n\r\n"
        );
    }

    #[test]
    fn a_client_does_not_say_itself_whose_request_it_is() {
        let forged = [
            ("host", "example.org"),
            ("x-forwarded-for", "10.0.0.1"),
            ("x-forwarded-proto", "http"),
            ("x-forwarded-host", "evil"),
            ("x-real-ip", "10.0.0.1"),
            ("forwarded", "for=10.0.0.1"),
        ];
        let head = head(Method::GET, "/", &forged);
        assert_eq!(written(&head, |_| {}), "GET / HTTP/1.1\r\nhost: example.org\r\n\r\n");
        let told = written(&head, |outgoing| outgoing.forwarded = Some(Forwarded::Both));
        assert_eq!(
            told,
            "GET / HTTP/1.1\r\nhost: example.org\r\nx-forwarded-for: 192.0.2.7\r\nx-forwarded-proto: https\r\n\
             x-forwarded-host: example.org\r\nforwarded: for=192.0.2.7;proto=https;host=\"example.org\"\r\n\r\n"
        );
    }

    #[test]
    fn a_call_of_grpc_says_what_is_left_of_its_time() {
        let head = head(Method::POST, "/", &[("host", "a"), ("grpc-timeout", "1S"), ("x", "1")]);
        assert!(written(&head, |_| {}).contains("\r\ngrpc-timeout: 1S\r\n"));
        let left = HeaderValue::from_static("900m");
        let text = written(&head, |outgoing| outgoing.timeout = Some(&*Box::leak(Box::new(left))));
        assert_eq!(text, "POST / HTTP/1.1\r\nhost: a\r\nx: 1\r\ngrpc-timeout: 900m\r\ncontent-length: 0\r\n\r\n");
    }

    #[test]
    fn the_body_is_framed_anew() {
        let post = head(Method::POST, "/", &[("host", "a"), ("content-length", "99"), ("expect", "100-continue")]);
        assert!(written(&post, |_| {}).ends_with("host: a\r\ncontent-length: 0\r\n\r\n"));
        assert!(written(&post, |outgoing| outgoing.body = Length::Known(7)).ends_with("content-length: 7\r\n\r\n"));
        let unknown = written(&post, |outgoing| (outgoing.body, outgoing.expects) = (Length::Unknown, true));
        assert!(unknown.ends_with("transfer-encoding: chunked\r\nexpect: 100-continue\r\n\r\n"), "{unknown}");
    }

    #[test]
    fn a_switch_of_protocols_is_asked_for_anew() {
        let fields = [("host", "a"), ("connection", "Upgrade"), ("upgrade", "websocket"), ("sec-websocket-key", "k")];
        let head = head(Method::GET, "/", &fields);
        let wanted = upgrade(&head);
        assert_eq!(wanted, Some(&HeaderValue::from_static("websocket")));
        let text = written(&head, |outgoing| outgoing.upgrade = wanted);
        assert!(text.ends_with("sec-websocket-key: k\r\nconnection: upgrade\r\nupgrade: websocket\r\n\r\n"), "{text}");
        let unasked = self::head(Method::GET, "/", &[("host", "a"), ("upgrade", "websocket")]);
        assert_eq!(upgrade(&unasked), None, "Connection does not say so");
        for wanted in ["h2c", "websocket, H2C", "HTTP/2.0"] {
            let fields =
                [("host", "a"), ("connection", "Upgrade"), ("upgrade", wanted), ("http2-settings", "AAMAAABk")];
            let head = self::head(Method::GET, "/", &fields);
            assert_eq!(upgrade(&head), None, "{wanted}: requests would go past what stands before backends");
            assert_eq!(written(&head, |_| {}), "GET / HTTP/1.1\r\nhost: a\r\n\r\n", "{wanted}");
        }
    }

    #[test]
    fn an_answer_loses_what_was_of_its_connection() {
        let fields = [("connection", "close, x-hop"), ("x-hop", "1"), ("content-length", "5"), ("etag", "\"x\"")];
        let mut headers = head(Method::GET, "/", &fields).headers;
        let mut bodiless = headers.clone();
        strip(&mut headers, false);
        strip(&mut bodiless, true);
        assert_eq!(headers.keys().collect::<Vec<_>>(), ["etag"]);
        assert_eq!(bodiless.len(), 2);
    }

    #[test]
    fn a_cookie_is_found_among_others() {
        let headers = head(Method::GET, "/", &[("cookie", "ab=1; a=2;b=3"), ("cookie", "c=4")]).headers;
        let of = |name| cookie(&headers, name);
        assert_eq!((of("a"), of("b"), of("c"), of("d")), (Some(&b"2"[..]), Some(&b"3"[..]), Some(&b"4"[..]), None));
    }
}
