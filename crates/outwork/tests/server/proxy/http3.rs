//! Clients of HTTP/3: bodies to backends, WebSockets and tunnels. The client is another implementation; where that one cannot ask for a stream, its frames are
//! written byte by byte.

use std::future::poll_fn;
use std::io::Write;
use std::net::SocketAddr;

use bytes::{Buf, Bytes};
use quinn::Connection;
use tokio::io::AsyncWriteExt;

use super::backend::{Backend, answer};
use super::connect;
use super::pressure::{Giver, Turns, fill, held, length, plain, run};
use crate::binary::Place;
use crate::http3::{self, PORT, certify};

/// Kinds of frames (RFC 9114 section 7.2).
const DATA: u8 = 0;
const HEADERS: u8 = 1;
/// The status 200, as it is written in a field section: a line of the static table (RFC 9204 appendix A).
const OK: u8 = 0xc0 | 25;

/// A place that passes requests on to the one and connections to the other, by one thread; and where it is found by QUIC.
fn place_of(web: SocketAddr, bare: SocketAddr, mut place: Place) -> (Place, SocketAddr) {
    place.change(|text| {
        let host = place.host();
        format!(
            "{text}\n[front]\nworkers = 1\nlimits = {{ max_body = '1GiB' }}\n[[front.listener]]\naddress = '{host}:8080'\n\
             [[front.listener]]\naddress = '{host}:{PORT}'\ntls = {{ certificate = 'a.pem', key = 'a.key', http3 = {{ retry_above = 0 }} }}\n\
             [[front.route]]\npath = '/turn'\nrespond = {{ body = 'turned' }}\n[[front.route]]\npath = '/*'\nproxy = {{ pool = 'web' }}\n\
             [[front.route]]\npath = '/*'\nhost = ['db.test']\nproxy = {{ pool = 'bare', connect = true }}\n\
             [proxy.pool.web]\nbackend = [{{ url = 'http://{web}' }}]\n[proxy.pool.bare]\nbackend = [{{ url = 'tcp://{bare}' }}]\n"
        )
    });
    certify(place.path(), &["a.test", "db.test"]);
    place.start();
    let to = SocketAddr::new(place.host().parse().expect("an address"), PORT);
    (place, to)
}

type Requests = h3::client::SendRequest<h3_quinn::OpenStreams, Bytes>;

async fn requests(quic: Connection) -> Requests {
    let (mut driver, requests) = h3::client::new(h3_quinn::Connection::new(quic)).await.expect("HTTP/3");
    tokio::spawn(async move { poll_fn(|context| driver.poll_close(context)).await });
    requests
}

/// A field section of literals, which are short.
fn section(lines: &[(&str, &str)]) -> Vec<u8> {
    let mut section = vec![0, 0];
    for (name, value) in lines {
        assert!(value.len() < 127, "{value}");
        match name.len().checked_sub(7) {
            None => section.push(0x20 | name.len() as u8),
            Some(rest) => section.extend([0x27, rest as u8]),
        }
        section.extend_from_slice(name.as_bytes());
        section.push(value.len() as u8);
        section.extend_from_slice(value.as_bytes());
    }
    section
}

fn frame(kind: u8, payload: &[u8]) -> Vec<u8> {
    // The length is one of four octets, whatever it is (RFC 9000 section 16).
    let length = u32::try_from(payload.len()).expect("a short one") | 0x8000_0000;
    [&[kind][..], &length.to_be_bytes(), payload].concat()
}

/// An integer (RFC 9000 section 16) and what follows it, where all of it is there.
fn integer(bytes: &[u8]) -> Option<(usize, &[u8])> {
    let first = *bytes.first()?;
    let (own, rest) = bytes.split_at_checked(1 << (first >> 6))?;
    let value = own[1..].iter().fold(usize::from(first & 0x3f), |value, byte| (value << 8) | usize::from(*byte));
    Some((value, rest))
}

/// The head and the content of so much of an answer.
fn taken_apart(mut bytes: &[u8]) -> (Vec<u8>, Vec<u8>) {
    let (mut head, mut content) = (Vec::new(), Vec::new());
    while let Some((kind, rest)) = integer(bytes)
        && let Some((length, rest)) = integer(rest)
    {
        let (own, rest) = rest.split_at(length.min(rest.len()));
        match u8::try_from(kind) {
            Ok(DATA) => content.extend_from_slice(own),
            Ok(HEADERS) => head.extend_from_slice(own),
            _ => {}
        }
        bytes = rest;
    }
    (head, content)
}

/// Asks for a stream that is somebody else's, and says words on it that have to come back, after what is said first and before what is said last.
async fn speaks(quic: &Connection, asked: &[(&str, &str)], [first, last]: [&str; 2]) {
    let (mut send, mut receive) = quic.open_bi().await.expect("a stream");
    send.write_all(&frame(HEADERS, &section(asked))).await.expect("it is heard");
    let (mut heard, mut said) = (Vec::new(), first.to_owned());
    for word in ["one", " two", " three"] {
        send.write_all(&frame(DATA, word.as_bytes())).await.expect("it is heard");
        said.push_str(word);
        while taken_apart(&heard).1 != said.as_bytes() {
            let part = receive.read_chunk(1000, true).await.expect("it is open");
            heard.extend_from_slice(&part.expect("more").bytes);
        }
    }
    send.finish().expect("it is open");
    heard.extend(receive.read_to_end(1000).await.expect("its end"));
    let (head, content) = taken_apart(&heard);
    assert_eq!(head.get(2), Some(&OK), "{head:x?}");
    assert_eq!(content, [said.as_bytes(), last.as_bytes()].concat());
}

/// A backend that says back what it hears: bodies, and what comes on a WebSocket.
fn echo(host: &str) -> Backend {
    Backend::acting(host, |seen, to| {
        if !seen.line.starts_with("GET /chat ") {
            return answer(to, "200 OK", "", &seen.body);
        }
        assert_eq!((seen.field("upgrade"), seen.field("connection")), (Some("websocket"), Some("upgrade")), "{seen:?}");
        let head = b"HTTP/1.1 101 Switching Protocols\r\nupgrade: websocket\r\nconnection: Upgrade\r\n\r\nhello ";
        to.write_all(head).expect("it is read");
        let mut from = to.try_clone().expect("the same stream");
        std::io::copy(&mut from, to).expect("an echo");
        false
    })
}

#[test]
fn bodies_websockets_and_tunnels_of_a_client_reach_backends_by_streams_of_one_connection() {
    let place = Place::new();
    let (web, bare) = (echo(place.host()), connect::echo(place.host()));
    let (place, to) = place_of(web.address, bare, place);
    run(async {
        let quic = http3::connect(&place, to).await.expect("a connection");
        let mut requests = requests(quic.clone()).await;
        let websocket = [
            (":method", "CONNECT"),
            (":scheme", "https"),
            (":authority", "a.test"),
            (":path", "/chat"),
            (":protocol", "websocket"),
            ("sec-websocket-version", "13"),
        ];
        speaks(&quic, &websocket, ["hello ", ""]).await;
        speaks(&quic, &[(":method", "CONNECT"), (":authority", "db.test:5432")], ["", "bye"]).await;
        let content: Vec<u8> = (0..3_000_000_u32).map(|number| (number % 251) as u8).collect();
        let request = http::Request::put(format!("https://a.test:{PORT}/")).body(()).expect("a request");
        let mut stream = requests.send_request(request).await.expect("a stream");
        for part in content.chunks(10_000) {
            stream.send_data(Bytes::copy_from_slice(part)).await.expect("it is taken");
        }
        stream.finish().await.expect("it is open");
        assert_eq!(stream.recv_response().await.expect("an answer").status(), 200);
        let mut back = Vec::new();
        while let Some(mut part) = stream.recv_data().await.expect("content") {
            back.extend_from_slice(&part.copy_to_bytes(part.remaining()));
        }
        assert!(back == content, "{} bytes came back, or others", back.len());
    });
}

#[test]
fn nothing_is_taken_from_a_backend_for_a_client_that_takes_nothing_and_all_of_it_comes_once_it_does() {
    run(async {
        let place = Place::new();
        let listener = tokio::net::TcpListener::bind((place.host(), 0)).await.expect("a port");
        let address = listener.local_addr().expect("an address");
        let (place, to) = place_of(address, address, place);
        let mut turns = Turns::of(&place, 8080).await;
        let mut requests = requests(http3::connect(&place, to).await.expect("a connection")).await;
        let request = http::Request::get(format!("https://a.test:{PORT}/")).body(()).expect("a request");
        let mut stream = requests.send_request(request).await.expect("a stream");
        stream.finish().await.expect("it is open");
        let (mut backend, length) = (plain(&listener).await, length());
        let head = format!("HTTP/1.1 200 OK\r\ncontent-length: {length}\r\n\r\n");
        backend.write_all(head.as_bytes()).await.expect("it is heard");
        let mut giver = Giver::Plain(backend);
        let taken = fill(&mut giver, length, &mut turns).await;
        assert!(taken < held(), "{taken} bytes were taken for a client that took none");
        let take = async {
            assert_eq!(stream.recv_response().await.expect("an answer").status(), 200);
            let mut come = 0;
            while let Some(part) = stream.recv_data().await.expect("the rest") {
                come += part.remaining();
            }
            assert_eq!(come, length);
        };
        tokio::join!(giver.give_all(length - taken), take);
    });
}
