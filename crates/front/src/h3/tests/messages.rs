//! Requests and responses.

use std::io::{Read, Write};
use std::net::TcpStream;

use rustls::pki_types::ServerName;

use super::*;
use crate::door::tests::FILE;

#[test]
fn every_kind_of_answer_arrives() {
    let running = Running::new(limits(), 2);
    run(async {
        let mut client = running.client().await;
        let now = client.get("/now").await.unwrap();
        assert_eq!((now.status, now.text()), (StatusCode::OK, "at once"));
        assert_eq!((now.field("content-length"), now.field("content-type")), (Some("7"), Some("text/plain")));
        assert!(now.field("date").unwrap().ends_with("GMT") && now.field("alt-svc").is_none());
        assert_eq!(client.get("/later").await.unwrap().text(), "in a while");
        for (path, length) in [("/stream", None), ("/sized", Some("9"))] {
            let streamed = client.get(path).await.unwrap();
            assert_eq!((streamed.text(), streamed.field("content-length")), ("onetwosix", length), "{path}");
        }
        assert_eq!(client.get("/gone").await.unwrap().status, StatusCode::NOT_FOUND);
        let nothing = client.send(Method::OPTIONS, "/", None).await.unwrap();
        assert_eq!((nothing.status, nothing.field("content-length")), (StatusCode::NO_CONTENT, None));
        assert!(client.get("/broken").await.is_err(), "what is longer than it was said to be is no answer");
        assert_eq!(client.get("/who").await.unwrap().text(), "nobody at a.test HTTP/3.0");
    });
    assert_eq!(running.metrics.protocols.of(crate::door::metrics::Protocol::Http3).get(), 8);
    assert_eq!((running.metrics.connections.get(), running.metrics.quic_connections.get()), (1, 1));
}

#[test]
fn a_file_is_sent_whole_and_its_head_alone_where_that_is_asked_for() {
    let running = Running::new(limits(), 1);
    run(async {
        let mut client = running.client().await;
        let file = client.get("/file").await.unwrap();
        assert_eq!(file.content.len() as u64, FILE - 20);
        assert!(file.content.starts_with(b"first") && file.content.ends_with(b"last!"));
        let head = client.send(Method::HEAD, "/file", None).await.unwrap();
        assert_eq!((head.field("content-length"), head.content.len()), (Some("3145708"), 0));
    });
}

#[test]
fn a_body_reaches_its_handler_or_is_left_where_it_is() {
    let running = Running::new(limits(), 1);
    run(async {
        let mut client = running.client().await;
        let sent: Vec<u8> = (0..700_000u32).map(|at| (at % 251) as u8).collect();
        assert!(client.send(Method::POST, "/echo", Some(&sent)).await.unwrap().content == sent);
        assert_eq!(client.send(Method::POST, "/echo", Some(b"")).await.unwrap().text(), "");
        // More than there is room for: it is told that nobody listens.
        let quic = running.quic(&endpoint()).await.unwrap();
        let (mut send, mut receive) = quic.open_bi().await.unwrap();
        send.write_all(&head(&[(":method", "POST"), (":path", "/deaf")])).await.unwrap();
        assert_eq!(status(&receive.read_to_end(1000).await.unwrap()), "200");
        send.write_all(&frame(0, b"is anybody there?")).await.unwrap();
        assert_eq!(send.stopped().await.unwrap().unwrap().into_inner(), 0x100);
        let (mut send, _receive) = quic.open_bi().await.unwrap();
        send.write_all(&head(&[(":method", "POST"), (":path", "/deaf"), ("content-length", "5")])).await.unwrap();
        assert_eq!(send.stopped().await.unwrap().unwrap().into_inner(), 0x100, "there is some to come");
        assert_eq!(client.get("/now").await.unwrap().text(), "at once");
    });
    let sizes = running.metrics.request_body_size.snapshot();
    assert_eq!((sizes.count(), sizes.sum()), (1, 700_000), "what is empty or was not read is not counted");
}

#[test]
fn a_client_that_ends_its_request_after_it_was_answered_is_not_told_to_stop() {
    let running = Running::new(limits(), 1);
    run(async {
        let quic = running.quic(&endpoint()).await.unwrap();
        let (mut send, mut receive) = quic.open_bi().await.unwrap();
        send.write_all(&head(&[(":path", "/now")])).await.unwrap();
        assert_eq!(status(&receive.read_to_end(1000).await.unwrap()), "200");
        // Whatever the server had to say of it would have come before this answer.
        assert_eq!(status(&exchange(&quic, &head(&[(":path", "/now")])).await.unwrap()), "200");
        send.finish().expect("it is open");
        assert_eq!(send.stopped().await.unwrap(), None, "the end has arrived");
    });
}

#[test]
fn nobody_works_for_a_client_that_has_given_its_request_up() {
    let running = Running::new(limits(), 1);
    run(async {
        let quic = running.quic(&endpoint()).await.unwrap();
        for _ in 0..2 {
            let (mut send, mut receive) = quic.open_bi().await.unwrap();
            send.write_all(&head(&[(":path", "/never")])).await.unwrap();
            send.finish().unwrap();
            receive.stop(0x10cu32.into()).unwrap();
        }
        while running.metrics.requests_abandoned.get() != 2 {
            tokio::task::yield_now().await;
        }
        quic.close(0u32.into(), b"");
    });
}

#[test]
fn bodies_have_the_length_they_said_and_the_one_that_is_allowed() {
    let options = Options { max_body: 1000, ..limits() };
    let running = Running::new(options, 1);
    run(async {
        let quic = running.quic(&endpoint()).await.unwrap();
        let post = |length: Option<&'static str>, content: &[u8]| {
            let lines = length.map(|length| ("content-length", length));
            let lines = [(":method", "POST"), (":path", "/echo")].into_iter().chain(lines).collect::<Vec<_>>();
            [head(&lines), frame(0, content)].concat()
        };
        let said = |answer: &[u8], text: &str| String::from_utf8_lossy(answer).contains(text);
        assert!(said(&exchange(&quic, &post(Some("5"), b"hello")).await.unwrap(), "hello"));
        assert_eq!(status(&exchange(&quic, &post(Some("1001"), b"")).await.unwrap()), "413");
        assert!(said(&exchange(&quic, &post(None, &[b'x'; 1001])).await.unwrap(), "larger than 1000 bytes"));
        for (length, wrong) in [("6", "shorter than its Content-Length"), ("4", "longer than its Content-Length")] {
            assert!(said(&exchange(&quic, &post(Some(length), b"hello")).await.unwrap(), wrong));
        }
        // None at all, though some was announced.
        let none = head(&[(":method", "POST"), (":path", "/echo"), ("content-length", "5")]);
        assert_eq!(exchange(&quic, &none).await, Err(0x10e));
        // Trailers, and frames that nobody knows.
        let more = [post(None, b"he"), frame(0x21, b"grease"), frame(0, b"llo"), frame(1, &section(&[("a", "b")]))];
        assert!(said(&exchange(&quic, &more.concat()).await.unwrap(), "hello"));
    });
}

#[test]
fn heads_have_the_size_that_is_allowed() {
    let running = Running::new(Options { max_head: 2000, max_target: 100, ..limits() }, 1);
    run(async {
        let quic = running.quic(&endpoint()).await.unwrap();
        let (long, longer) = ("x".repeat(1700), "x".repeat(1900));
        assert_eq!(status(&exchange(&quic, &head(&[("a", &long)])).await.unwrap()), "200");
        assert_eq!(status(&exchange(&quic, &head(&[("a", &longer)])).await.unwrap()), "431");
        let path = format!("/{}", "x".repeat(100));
        assert_eq!(status(&exchange(&quic, &head(&[(":path", &path)])).await.unwrap()), "414");
        // A head that is announced to be larger is not waited for.
        let (mut send, mut receive) = quic.open_bi().await.unwrap();
        send.write_all(&[0x01, 0xc0, 0, 0, 1, 0, 0, 0, 0]).await.unwrap();
        assert_eq!(status(&receive.read_to_end(1000).await.unwrap()), "431");
    });
}

#[test]
fn many_requests_are_answered_at_once_and_in_any_order() {
    let running = Running::with(limits(), 2, Http3 { streams: 20, ..http3() }, |_, _| {});
    run(async {
        let client = running.client().await;
        for path in ["/later", "/now"] {
            let answers = at_once(&client, 300, path).await;
            assert!(answers.into_iter().all(|answer| answer.unwrap().status == StatusCode::OK));
        }
        let files = at_once(&client, 12, "/file").await;
        assert!(files.into_iter().all(|file| file.unwrap().content.ends_with(b"last!")));
    });
}

/// What a client of HTTP/1 over TLS reads.
fn over_tcp(running: &Running) -> String {
    let config = handshake::client(&[&rustls::version::TLS13], None);
    let name = ServerName::try_from("a.test").unwrap();
    let mut tls = rustls::ClientConnection::new(Arc::new(config), name).unwrap();
    let mut tcp = TcpStream::connect(running.address()).unwrap();
    let mut stream = rustls::Stream::new(&mut tls, &mut tcp);
    stream.write_all(b"GET /now HTTP/1.1\r\nHost: a.test\r\nConnection: close\r\n\r\n").unwrap();
    let mut answer = String::new();
    // Whether it says that it closes is not what this is about.
    let _ = stream.read_to_string(&mut answer);
    answer
}

#[test]
fn clients_of_the_older_versions_are_told_where_to_find_it() {
    let running = Running::new(limits(), 1);
    let port = running.address().port();
    let line = format!("alt-svc: h3=\":{port}\"; ma=86400\r\n");
    assert!(over_tcp(&running).contains(&line));
    run(async {
        let mut config = handshake::client(&[&rustls::version::TLS13], None);
        config.alpn_protocols = vec![b"h2".to_vec()];
        let tcp = tokio::net::TcpStream::connect(running.address()).await.unwrap();
        let name = ServerName::try_from("a.test").unwrap();
        let tls = tokio_rustls::TlsConnector::from(Arc::new(config)).connect(name, tcp).await.unwrap();
        let (mut requests, connection) = h2::client::handshake(tls).await.unwrap();
        tokio::task::spawn_local(connection);
        let request = http::Request::get("https://a.test/now").body(()).unwrap();
        let response = requests.send_request(request, true).unwrap().0.await.unwrap();
        assert_eq!(response.headers()["alt-svc"], format!("h3=\":{port}\"; ma=86400"));
    });
    let silent = Running::with(limits(), 1, Http3 { advertise: Duration::ZERO, ..http3() }, |_, _| {});
    let answer = over_tcp(&silent);
    assert!(answer.contains("200 OK") && !answer.contains("alt-svc"), "{answer}");
}
