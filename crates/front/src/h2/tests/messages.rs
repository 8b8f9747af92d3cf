//! What reaches handlers, and what of their answers reaches clients.

use std::sync::Arc;

use rustls::pki_types::ServerName;

use super::Ends::{Answer, Connection, Stream};
use super::*;
use crate::door::tests::Site;
use crate::door::{Bound, Buffers, DoorMetrics, Farewell, Options, Place, Serving, Threads};
use crate::filter::Entry;
use crate::message::{Answer as Said, Handler, Request, Response};
use crate::tls::tests::{Ca, DAY, handshake, offer, opened};

/// Says what it is asked.
struct Telling;

impl Handler for Telling {
    fn handle(&self, request: Request) -> Said {
        let text = match request.head.uri.path() {
            "/asked" => format!("{} {:?}", request.head.uri, request.head.headers),
            _ => return Site.handle(request),
        };
        Response::full(http::StatusCode::OK, "text/plain", text).into()
    }
}

#[test]
fn what_would_be_two_requests_over_http_1_is_none() {
    let malformed = Stream(1, Reason::PROTOCOL_ERROR);
    let unreadable = Connection(Reason::PROTOCOL_ERROR);
    let refused = Answer(1, 400);
    let cases = [
        // The request line.
        (&[(":method", "GET / HTTP/1.1\r\nHost: b")][..], unreadable),
        (&[(":method", "GE T")], unreadable),
        (&[(":method", "")], unreadable),
        (&[(":path", "/ HTTP/1.1\r\nHost: b\r\n\r\nGET /x")], malformed),
        (&[(":path", "/now HTTP/1.1")], malformed),
        (&[(":path", "/n\0w")], malformed),
        (&[(":path", "/n\tw")], malformed),
        (&[(":path", "now")], malformed),
        (&[(":path", "?x")], refused),
        (&[(":path", "*")], refused),
        (&[(":path", "http://b/now")], malformed),
        (&[(":path", "//b/now")], Answer(1, 404)),
        (&[(":scheme", "http\r\nx: y")], malformed),
        (&[(":scheme", "http://b/x?")], malformed),
        (&[(":scheme", "ftp")], refused),
        // The host.
        (&[(":authority", "a\r\nx: y")], malformed),
        (&[(":authority", "a b")], malformed),
        (&[(":authority", "a/b")], malformed),
        (&[(":authority", "a?b")], malformed),
        (&[(":authority", "u@a")], refused),
        (&[(":authority", "u:p@a:80")], refused),
        (&[(":authority", "a:b")], refused),
        (&[(":authority", "a:1:2")], malformed),
        (&[(":authority", "[::1")], malformed),
        (&[("host", "b")], refused),
        (&[("host", "A")], refused),
        (&[("host", "a"), ("host", "a")], refused),
        (&[("host", "a"), ("host", "b")], refused),
        (&[("host", "a")], Answer(1, 200)),
        // The length.
        (&[("content-length", "5"), ("transfer-encoding", "chunked")], malformed),
        (&[("content-length", "0"), ("content-length", "5")], malformed),
        (&[("content-length", "0"), ("content-length", "0")], refused),
        (&[("content-length", "0, 0")], malformed),
        (&[("content-length", "+0")], malformed),
        (&[("content-length", "-0")], malformed),
        (&[("content-length", "0x0")], malformed),
        (&[("content-length", " 0")], malformed),
        (&[("content-length", "18446744073709551616")], malformed),
        (&[("content-length", "")], refused),
        (&[("content-length", "0")], Answer(1, 200)),
        // Fields that would be lines.
        (&[("x: y\r\ntransfer-encoding", "chunked")], unreadable),
        (&[("transfer-encoding ", "chunked")], unreadable),
        (&[("transfer-encoding\0", "chunked")], unreadable),
        (&[("x", "y\r\ntransfer-encoding: chunked")], unreadable),
        (&[("x", "y\rtransfer-encoding: chunked")], unreadable),
    ];
    let running = Running::new(Options::default());
    let wrong = cases.into_iter().filter_map(|(changed, ends)| {
        let kept = GET.iter().filter(|(name, _)| changed.iter().all(|(other, _)| other != name));
        // What begins with a colon goes first.
        let (mut lines, fields): (Vec<_>, Vec<_>) =
            kept.chain(changed).copied().partition(|(name, _)| name.starts_with(':'));
        lines.extend(fields);
        let mut client = Client::new(&running, &[]);
        client.say(&headers(WHOLE, 1, &lines));
        client.ends(ends).err().map(|heard| format!("{changed:?}: not {ends:?}, but {heard:?}\n"))
    });
    assert_eq!(wrong.collect::<String>(), "");
}

#[test]
fn a_request_reaches_its_handler_as_one_of_http_1_would() {
    let running = Running::with(Options::default(), Telling);
    let mut client = Client::new(&running, &[]);
    let lines = [GET[0], GET[1], GET[2], (":path", "/asked?x"), ("cookie", "a=1"), ("x", "y"), ("cookie", "b=2")];
    client.say(&headers(WHOLE, 1, &lines));
    let asked = client.content(1);
    assert!(asked.starts_with("/asked?x ") && asked.contains("\"host\": \"a\""), "{asked}");
    assert!(asked.contains("\"cookie\": \"a=1; b=2\""), "RFC 9113 section 8.2.3: {asked}");
}

#[test]
fn an_answer_comes_as_windows_let_it() {
    let running = Running::new(Options::default());
    let parts = |client: &mut Client, count: usize| -> Vec<usize> {
        let mut parts = Vec::new();
        while parts.len() < count {
            match client.hear() {
                Event::Content(_, content) => parts.push(content.len()),
                Event::Status(..) | Event::Settled => {}
                other => panic!("{other:?} after {parts:?}"),
            }
        }
        parts
    };
    // RFC 9113 section 6.9.1.
    let mut client = Client::new(&running, &[(4, 1)]);
    client.say(&get(1, "/now"));
    assert_eq!(parts(&mut client, 1), [1]);
    client.say(&window(1, 2));
    assert_eq!(parts(&mut client, 1), [2]);
    client.say(&window(1, 100));
    assert_eq!(parts(&mut client, 1), [4]);
    assert_eq!(client.hear(), Event::End(1));
    // Settings change windows that are open, to less than nothing if need be (RFC 9113 section 6.9.2).
    client.say(&[settings(&[(4, 0)]), get(3, "/now"), settings(&[(4, 3)])].concat());
    assert_eq!(parts(&mut client, 1), [3]);
    client.say(&[settings(&[(4, 2)]), window(3, 1)].concat());
    assert!(!client.lives().iter().any(|event| matches!(event, Event::Content(..))));
    client.say(&window(3, 1));
    assert_eq!(parts(&mut client, 1), [1]);
    client.say(&settings(&[(4, 2), (4, 100)]));
    assert_eq!(parts(&mut client, 1), [3], "of two values the last one counts (RFC 9113 section 6.5.3)");
}

#[test]
fn a_head_beyond_its_size_is_answered_and_the_next_request_is_read() {
    let running = Running::new(Options { max_head: 2000, ..Options::default() });
    let mut client = Client::new(&running, &[]);
    let long = "x".repeat(1900);
    client.say(&headers(WHOLE, 1, &[GET[0], GET[1], GET[2], GET[3], ("a", &long)]));
    assert_eq!(client.wait(&Event::Status(1, 431)).last(), Some(&Event::Status(1, 431)));
    let many: Vec<_> = GET.into_iter().chain(std::iter::repeat_n(("a", ""), 36)).collect();
    client.say(&[headers(WHOLE, 3, &many), get(5, "/now")].concat());
    assert_eq!(client.content(5), "at once");
    // As many fields as in HTTP/1, however small.
    let running = Running::new(Options::default());
    let many: Vec<_> = GET.into_iter().chain(std::iter::repeat_n(("a", ""), 100)).collect();
    let mut client = Client::new(&running, &[]);
    client.say(&headers(WHOLE, 1, &many));
    assert_eq!(client.ends(Answer(1, 431)), Ok(()));
}

#[test]
fn who_was_to_speak_http_2_and_says_something_else_hears_why_it_is_sent_away() {
    let dir = tempfile::tempdir().unwrap();
    let files = Ca::new("ca").write(dir.path(), "a", &["a.test"], DAY);
    let certificates = crate::tls::Certificates::new(dir.path(), None);
    let tls = opened(&certificates, &offer(&[&files]));
    let place = Place {
        address: (std::net::Ipv4Addr::LOCALHOST, 0).into(),
        tls: Some(tls),
        http3: false,
        backlog: 64,
        buffers: Buffers::default(),
        proxies: crate::filter::Networks::of(&[]),
    };
    let serving = Serving { options: Options::default(), handler: Box::new(Site), entry: Entry::default() };
    let metrics = Arc::new(DoorMetrics::default());
    let door = Bound::bind(&[place], Threads::of(1), Vec::new()).unwrap().serve(serving, &metrics).unwrap();
    let mut config = handshake::client(&[&rustls::version::TLS13], None);
    config.alpn_protocols = vec![b"h2".to_vec()];
    let name = ServerName::try_from("a.test").unwrap();
    let mut tls = rustls::ClientConnection::new(Arc::new(config), name).unwrap();
    let mut tcp = TcpStream::connect(door.addresses()[0]).unwrap();
    let mut stream = rustls::Stream::new(&mut tls, &mut tcp);
    stream.write_all(b"GET / HTTP/1.1\r\nHost: a.test\r\n\r\n").unwrap();
    let mut heard = Vec::new();
    stream.read_to_end(&mut heard).unwrap();
    assert!(heard.ends_with(&frame(kind::GOAWAY, 0, 0, &[0, 0, 0, 0, 0, 0, 0, 1])), "{heard:x?}");
    drop(tcp);
    door.stop(Farewell::Brief, std::time::Duration::from_secs(5));
}
