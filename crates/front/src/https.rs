//! What a listener asks for beyond its routes so that clients come by HTTPS: a redirect (RFC 9110 section 15.4.9), strict
//! transport security (RFC 6797), and the challenges of ACME servers, which come in clear text.

use std::net::SocketAddr;
use std::sync::Arc;

use bytes::Bytes;
use http::header::{HOST, LOCATION, STRICT_TRANSPORT_SECURITY};
use http::uri::Authority;
use http::{HeaderValue, Method, StatusCode};

use crate::acme::{Challenges, WELL_KNOWN};
use crate::message::{Answer, Handler, Repeated, Request, Response};

/// What one listener asks for.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Rule {
    /// In clear text: the port of HTTPS that clients are sent to, with the same host and path.
    pub redirect: Option<u16>,
    /// Encrypted: the value of `Strict-Transport-Security`.
    pub hsts: Option<HeaderValue>,
}

/// Applies the rule of the listener that a request came in by, and passes the request on.
pub struct Https {
    rules: Vec<(SocketAddr, Rule)>,
    challenges: Arc<Challenges>,
    inner: Box<dyn Handler>,
}

impl Https {
    /// With rules by the address of the listener, before this handler.
    pub fn new(rules: Vec<(SocketAddr, Rule)>, challenges: Arc<Challenges>, inner: Box<dyn Handler>) -> Self {
        Self { rules, challenges, inner }
    }

    fn rule(&self, request: &Request) -> Option<&Rule> {
        let local = request.origin.local;
        self.rules.iter().find(|(address, _)| *address == local).map(|(_, rule)| rule)
    }

    /// What is said in clear text before any route is asked.
    fn in_clear(&self, request: &Request) -> Option<Response> {
        let path = request.head.uri.path();
        if path.starts_with(WELL_KNOWN) {
            // What is not ours may be that of another client of ACME, behind a route.
            let answer =
                self.challenges.http(path).filter(|_| matches!(request.head.method, Method::GET | Method::HEAD));
            return answer.map(|text| Response::full(StatusCode::OK, "application/octet-stream", Bytes::from(text)));
        }
        let port = self.rule(request)?.redirect?;
        // `OPTIONS *` is about the server as it is asked.
        path.starts_with('/').then(|| redirect(request, port))
    }
}

impl Handler for Https {
    fn handle(&self, mut request: Request) -> Answer {
        if !request.origin.tls {
            if request.head.uri.path().starts_with(WELL_KNOWN) {
                // A challenge may come to be there at any time.
                request.head.extensions.remove::<Repeated>();
            }
            return match self.in_clear(&request) {
                Some(response) => response.into(),
                None => self.inner.handle(request),
            };
        }
        let Some(hsts) = self.rule(&request).and_then(|rule| rule.hsts.clone()) else {
            return self.inner.handle(request);
        };
        let with = |mut response: Response| {
            response.headers.entry(STRICT_TRANSPORT_SECURITY).or_insert(hsts);
            response
        };
        match self.inner.handle(request) {
            Answer::Now(response) => with(response).into(),
            Answer::Later(response) => Answer::Later(Box::pin(async { with(response.await) })),
        }
    }
}

/// To the same host and path over HTTPS. The status keeps the method and the content.
fn redirect(request: &Request, port: u16) -> Response {
    let text = "text/plain; charset=utf-8";
    let target = || {
        // Nothing but a host and perhaps a port: no user, and nothing that ends a header field or begins another part.
        let asked: Authority = request.head.headers.get(HOST)?.to_str().ok()?.parse().ok()?;
        let is_port = || asked.port_u16().is_some();
        let bare = |host: &&str| !asked.as_str().contains('@') && (asked.as_str() == *host || is_port());
        let host = Some(asked.host()).filter(|host| !host.is_empty()).filter(bare)?;
        let port = if port == 443 { String::new() } else { format!(":{port}") };
        let target = request.head.uri.path_and_query().map_or("/", |target| target.as_str());
        HeaderValue::try_from(format!("https://{host}{port}{target}")).ok()
    };
    let Some(target) = target() else {
        return Response::full(
            StatusCode::BAD_REQUEST,
            text,
            "This site is served over HTTPS; the request names no host.\n",
        );
    };
    let mut response = Response::full(StatusCode::PERMANENT_REDIRECT, text, "This site is served over HTTPS.\n");
    response.headers.insert(LOCATION, target);
    response
}

#[cfg(test)]
mod tests {
    use std::rc::Rc;

    use super::*;
    use crate::answer::Respond;
    use crate::message::{Body, Origin, RequestBody};

    const CLEAR: ([u8; 4], u16) = ([127, 0, 0, 1], 80);
    const ENCRYPTED: ([u8; 4], u16) = ([127, 0, 0, 1], 443);
    const PLAIN: ([u8; 4], u16) = ([127, 0, 0, 1], 8080);

    fn https(port: u16) -> (Https, Arc<Challenges>) {
        let challenges = Arc::<Challenges>::default();
        let hsts = HeaderValue::from_static("max-age=60");
        let rules = vec![
            (CLEAR.into(), Rule { redirect: Some(port), hsts: None }),
            (ENCRYPTED.into(), Rule { redirect: None, hsts: Some(hsts) }),
        ];
        let inner = Box::new(Respond::new(StatusCode::OK, http::HeaderMap::new(), "routed"));
        (Https::new(rules, Arc::clone(&challenges), inner), challenges)
    }

    fn ask(https: &Https, local: ([u8; 4], u16), method: Method, host: &str, target: &str) -> Response {
        let request = http::Request::builder().method(method).uri(target).header(HOST, host);
        let (head, ()) = request.body(()).unwrap().into_parts();
        let origin =
            Origin { peer: CLEAR.into(), local: local.into(), to: None, tls: local == ENCRYPTED, session: None };
        match https.handle(Request { head, body: RequestBody::Empty, origin: Rc::new(origin) }) {
            Answer::Now(response) => response,
            Answer::Later(_) => panic!("it has nothing to wait for"),
        }
    }

    fn location(https: &Https, host: &str, target: &str) -> Option<String> {
        let response = ask(https, CLEAR, Method::POST, host, target);
        assert_eq!(response.status.as_u16(), if response.headers.contains_key(LOCATION) { 308 } else { 400 });
        response.headers.get(LOCATION).map(|location| location.to_str().unwrap().to_owned())
    }

    #[test]
    fn what_may_become_a_challenge_is_never_answered_by_heart() {
        let end = CLEAR.into();
        let inner = Box::new(Respond::new(StatusCode::OK, http::HeaderMap::new(), "routed"));
        let https = Https::new(Vec::new(), Arc::default(), inner);
        let stands = |target| {
            let (mut head, ()) = http::Request::get(target).body(()).unwrap().into_parts();
            head.extensions.insert(Repeated);
            let origin = Rc::new(Origin { peer: end, local: end, to: None, tls: false, session: None });
            match https.handle(Request { head, body: RequestBody::Empty, origin }) {
                Answer::Now(response) => response.note.is_some_and(|note| note.standing.is_some()),
                Answer::Later(_) => panic!("it has nothing to wait for"),
            }
        };
        assert!(stands("/") && !stands("/.well-known/acme-challenge/token"));
    }

    #[test]
    fn clear_text_is_sent_to_https_with_its_host_and_path() {
        let (https, _) = https(443);
        let to = |host, target| location(&https, host, target);
        assert_eq!(to("a.test:80", "/x?y=1").as_deref(), Some("https://a.test/x?y=1"));
        assert_eq!(to("[::1]:80", "//evil.test/%0d%0a").as_deref(), Some("https://[::1]//evil.test/%0d%0a"));
        for host in ["", "a@evil.test", "a.test/x", "a b", "a.test:port"] {
            assert_eq!(to(host, "/"), None, "{host}");
        }
        let (https, _) = self::https(8443);
        assert_eq!(location(&https, "a.test:8080", "/").as_deref(), Some("https://a.test:8443/"));
    }

    #[test]
    fn other_listeners_are_as_they_were_and_encrypted_ones_ask_for_encryption_from_now_on() {
        let (https, _) = https(443);
        let plain = ask(&https, PLAIN, Method::GET, "a.test", "/");
        assert!(plain.status == StatusCode::OK && plain.headers.is_empty());
        let encrypted = ask(&https, ENCRYPTED, Method::GET, "a.test", "/");
        assert_eq!(encrypted.headers.get(STRICT_TRANSPORT_SECURITY).unwrap(), "max-age=60");
        assert_eq!(ask(&https, CLEAR, Method::OPTIONS, "a.test", "*").status, StatusCode::OK);
    }

    #[test]
    fn challenges_are_answered_in_clear_text_before_any_redirect_for_as_long_as_they_last() {
        let (https, challenges) = https(443);
        let ask = |local, method, token: &str| ask(&https, local, method, "a.test", &format!("{WELL_KNOWN}{token}"));
        let posted = challenges.post_http("abc", "abc.def");
        for local in [CLEAR, PLAIN] {
            let Body::Full(answer) = ask(local, Method::GET, "abc").body else { panic!("it has a body") };
            assert_eq!(answer, "abc.def");
        }
        let routed = |response: Response| matches!(&response.body, Body::Full(body) if body == "routed");
        assert!(routed(ask(CLEAR, Method::GET, "another")));
        assert!(routed(ask(CLEAR, Method::POST, "abc")));
        assert!(routed(ask(ENCRYPTED, Method::GET, "abc")));
        drop(posted);
        assert!(routed(ask(CLEAR, Method::GET, "abc")));
    }
}
