//! What backends answer before the answer (RFC 9110 section 15.2).

use std::future::poll_fn;
use std::io::{Read, Write};
use std::net::TcpStream;
use std::sync::Mutex;
use std::sync::mpsc::{Sender, channel};
use std::time::Duration;

use bytes::Bytes;
use http::Request;

use super::backend::{Backend, answer};
use super::configure;
use super::http2::runtime;
use crate::binary::{Place, text};

/// A place whose backend gives a hint, and its answer once it is told to.
fn place() -> (Place, Backend, Sender<()>) {
    let mut place = Place::new();
    let (go, goes) = channel();
    let goes = Mutex::new(goes);
    let backend = Backend::acting(place.host(), move |seen, to| {
        let hint = b"HTTP/1.1 103 Early Hints\r\nlink: </a.css>; rel=preload\r\nconnection: x-hop\r\nx-hop: 1\r\n\r\n";
        to.write_all(hint).expect("it is read");
        goes.lock().expect("one at a time").recv().expect("it goes on");
        answer(to, "200 OK", "", &seen.body)
    });
    configure(&place, &[&backend], "", "");
    place.start();
    (place, backend, go)
}

#[test]
fn a_hint_is_heard_before_the_answer_is_made_and_an_old_client_gets_none() {
    let (place, _backend, go) = place();
    let ask = |version: &str| {
        let mut client = TcpStream::connect((place.host(), 8080)).expect("it listens");
        client.set_read_timeout(Some(Duration::from_secs(60))).expect("a timeout");
        client
            .write_all(format!("GET / HTTP/{version}\r\nHost: a\r\nConnection: close\r\n\r\n").as_bytes())
            .expect("heard");
        client
    };
    let mut client = ask("1.1");
    let mut heard = String::new();
    while !heard.ends_with("\r\n\r\n") {
        let mut some = [0; 1000];
        let read = client.read(&mut some).expect("a hint");
        assert!(read > 0, "{heard}");
        heard.push_str(&text(&some[..read]));
    }
    assert_eq!(heard, "HTTP/1.1 103 Early Hints\r\nlink: </a.css>; rel=preload\r\n\r\n");
    go.send(()).expect("it waits");
    let mut rest = String::new();
    client.read_to_string(&mut rest).expect("the answer");
    assert!(rest.starts_with("HTTP/1.1 200 OK\r\n"), "{rest}");
    let mut old = ask("1.0");
    go.send(()).expect("it waits");
    let mut all = String::new();
    old.read_to_string(&mut all).expect("the answer");
    assert!(all.starts_with("HTTP/1.1 200 OK\r\n"), "{all}");
}

#[test]
fn over_http_2_a_client_is_asked_for_its_body_and_hears_the_hint() {
    let (place, _backend, go) = place();
    let host = place.host().to_owned();
    runtime().block_on(async {
        let stream = tokio::net::TcpStream::connect((host.as_str(), 8080)).await.expect("it listens");
        let (mut send, connection) = h2::client::handshake(stream).await.expect("HTTP/2");
        tokio::spawn(connection);
        let request = Request::post(format!("http://{host}:8080/")).header("expect", "100-continue");
        let (mut response, mut up) = send.send_request(request.body(()).expect("a head"), false).expect("it is heard");
        let first = poll_fn(|context| response.poll_informational(context)).await.expect("one").expect("whole");
        assert_eq!(first.status(), 100);
        up.send_data(Bytes::from("content"), true).expect("it is heard");
        let hint = poll_fn(|context| response.poll_informational(context)).await.expect("another").expect("whole");
        assert_eq!(
            (hint.status().as_u16(), &hint.headers()["link"]),
            (103, &"</a.css>; rel=preload".parse().expect("a value"))
        );
        assert!(!hint.headers().contains_key("x-hop"));
        go.send(()).expect("it waits");
        let mut body = response.await.expect("an answer").into_body();
        assert_eq!(body.data().await.expect("some").expect("whole"), "content");
    });
}

#[test]
fn a_backend_that_says_nothing_of_a_body_that_it_is_asked_about_gets_it_all_the_same() {
    let mut place = Place::new();
    let listener = std::net::TcpListener::bind((place.host(), 0)).expect("a port");
    let address = listener.local_addr().expect("an address");
    let server = std::thread::spawn(move || {
        let (mut stream, _) = listener.accept().expect("a connection");
        stream.set_read_timeout(Some(Duration::from_secs(60))).expect("a timeout");
        let mut asked = Vec::new();
        // It does not know what it is asked, and waits for the body.
        while !asked.ends_with(b"\r\n\r\ncontent") {
            let mut byte = [0];
            stream.read_exact(&mut byte).expect("a head and a body");
            asked.push(byte[0]);
        }
        answer(&mut stream, "200 OK", "", b"thanks");
        text(&asked)
    });
    place.change(|text| {
        let host = place.host();
        format!(
            "{text}\n[[front.listener]]\naddress = '{host}:8080'\n[[front.route]]\npath = '/*'\nproxy = {{ pool = 'app' }}\n\
             [proxy.pool.app]\nbackend = [{{ url = 'http://{address}' }}]\n"
        )
    });
    place.start();
    let mut client = TcpStream::connect((place.host(), 8080)).expect("it listens");
    client.set_read_timeout(Some(Duration::from_secs(60))).expect("a timeout");
    let head = "POST / HTTP/1.1\r\nHost: a\r\nExpect: 100-continue\r\nContent-Length: 7\r\nConnection: close\r\n\r\n";
    client.write_all(head.as_bytes()).expect("it is heard");
    let mut told = [0; 25];
    client.read_exact(&mut told).expect("a word for the body");
    assert_eq!(text(&told), "HTTP/1.1 100 Continue\r\n\r\n");
    client.write_all(b"content").expect("it is heard");
    let mut rest = String::new();
    client.read_to_string(&mut rest).expect("the answer");
    assert!(rest.starts_with("HTTP/1.1 200 OK\r\n") && rest.ends_with("thanks"), "{rest}");
    let asked = server.join().expect("the backend");
    assert!(asked.contains("\r\nexpect: 100-continue\r\n"), "{asked}");
}
