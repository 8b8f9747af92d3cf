//! WebSockets with backends that speak HTTP/2 alone.

use std::io::{Read, Write};
use std::net::{Shutdown, SocketAddr, TcpStream};
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use h2::ext::Protocol;
use http::{Method, Response};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio_rustls::TlsAcceptor;

use super::http2::runtime;
use crate::binary::{Place, text, until};
use crate::tls::Ca;

/// A server that says back what it hears on a WebSocket, and its path first, if it takes any; other requests it answers.
fn server(host: &str, takes: bool, tls: Option<TlsAcceptor>) -> SocketAddr {
    let listener = std::net::TcpListener::bind((host, 0)).expect("a port");
    listener.set_nonblocking(true).expect("a mode");
    let address = listener.local_addr().expect("an address");
    std::thread::spawn(move || {
        runtime().block_on(async {
            let listener = tokio::net::TcpListener::from_std(listener).expect("a listener");
            while let Ok((stream, _)) = listener.accept().await {
                match tls.clone() {
                    None => drop(tokio::spawn(serve(stream, takes))),
                    // Whoever offers no HTTP/2 is refused in here.
                    Some(tls) => drop(tokio::spawn(async move {
                        if let Ok(stream) = tls.accept(stream).await {
                            serve(stream, takes).await;
                        }
                    })),
                }
            }
        });
    });
    address
}

async fn serve(stream: impl AsyncRead + AsyncWrite + Unpin, takes: bool) {
    let mut builder = h2::server::Builder::new();
    if takes {
        builder.enable_connect_protocol();
    }
    let Ok(mut connection) = builder.handshake::<_, Bytes>(stream).await else { return };
    while let Some(Ok((request, mut respond))) = connection.accept().await {
        tokio::spawn(async move {
            let (head, mut body) = request.into_parts();
            let wanted = head.extensions.get::<Protocol>().is_some_and(|protocol| protocol.as_str() == "websocket");
            let whole = wanted && head.method == Method::CONNECT && !head.headers.contains_key("sec-websocket-key");
            if !whole || head.uri.path() == "/refused" {
                let refused = Response::builder().status(if wanted { 403 } else { 200 }).body(()).expect("a head");
                return drop(respond.send_response(refused, true));
            }
            let chosen = head.headers.get("sec-websocket-protocol").cloned().expect("one");
            let head_back = Response::builder().header("sec-websocket-protocol", chosen).body(()).expect("a head");
            let mut stream = respond.send_response(head_back, false).expect("it is heard");
            stream.send_data(Bytes::from(head.uri.path().to_owned()), false).expect("it is heard");
            while let Some(Ok(part)) = body.data().await {
                body.flow_control().release_capacity(part.len()).expect("a window");
                stream.send_data(part, false).expect("it is heard");
            }
            // Its client may be gone.
            let _ = stream.send_data(Bytes::from("bye"), true);
        });
    }
}

fn place_of(takes: bool) -> Place {
    let place = Place::new();
    let address = server(place.host(), takes, None);
    started(place, &format!("h2c://{address}"), "")
}

fn started(mut place: Place, url: &str, more: &str) -> Place {
    place.change(|text| {
        let host = place.host();
        format!(
            "{text}\n[[front.listener]]\naddress = '{host}:8080'\n[[front.route]]\npath = '/*'\nproxy = {{ pool = 'app' }}\n\
             [proxy.pool.app]\nbackend = [{{ url = '{url}' }}]\nretry = {{ attempts = 0 }}\n{more}\n"
        )
    });
    place.start();
    place
}

fn ask(place: &Place, path: &str, upgrade: &str) -> TcpStream {
    let mut stream = TcpStream::connect((place.host(), 8080)).expect("it listens");
    stream.set_read_timeout(Some(Duration::from_secs(60))).expect("a timeout");
    let head = format!(
        "GET {path} HTTP/1.1\r\nHost: a\r\nConnection: Upgrade\r\nUpgrade: {upgrade}\r\nSec-WebSocket-Version: 13\r\n\
         Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Protocol: chat\r\n\r\n"
    );
    stream.write_all(head.as_bytes()).expect("it is heard");
    stream
}

fn hear(stream: &mut TcpStream, end: &str) -> String {
    let mut heard = String::new();
    while !heard.contains(end) {
        let mut some = [0; 1000];
        let read = stream.read(&mut some).expect("more");
        assert!(read > 0, "{heard}");
        heard.push_str(&text(&some[..read]));
    }
    heard
}

fn tunnels(place: &Place) -> bool {
    let shown = crate::binary::get(&format!("http://{}:8067/metrics", place.host()), &[]);
    !shown.contains("outwork_proxy_tunnels 0\n")
}

#[test]
fn a_websocket_is_a_stream_of_the_backend_s_and_an_upgrade_of_the_client_s() {
    let place = place_of(true);
    // The first finds no connection, and the others share it.
    let mut clients: Vec<TcpStream> =
        (0..3).map(|number| ask(&place, &format!("/chat{number}"), "WebSocket")).collect();
    for (number, client) in clients.iter_mut().enumerate() {
        let heard = hear(client, &format!("/chat{number}"));
        assert!(heard.starts_with("HTTP/1.1 101 Switching Protocols\r\n"), "{heard}");
        for line in
            ["upgrade: websocket", "sec-websocket-protocol: chat", "sec-websocket-accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo="]
        {
            assert!(heard.contains(&format!("\r\n{line}\r\n")), "{line}: {heard}");
        }
        client.write_all(b"hello").expect("it is heard");
        assert_eq!(hear(client, "hello"), "hello");
    }
    for mut client in clients {
        client.shutdown(Shutdown::Write).expect("a half of it");
        assert_eq!(hear(&mut client, "bye"), "bye");
        assert_eq!(client.read(&mut [0]).expect("its end"), 0);
    }
    until("they to be over", || !tunnels(&place));
    let refused = hear(&mut ask(&place, "/refused", "websocket"), "\r\n\r\n");
    assert!(refused.starts_with("HTTP/1.1 403 "), "{refused}");
}

#[test]
fn a_backend_of_http_2_behind_tls_is_asked_for_websockets_in_its_way_and_its_clients_come_back_to_it() {
    let place = Place::new();
    let (dir, ca) = (place.path(), Ca::new(place.path()));
    ca.sign(dir, "backend", &["backend.test"], 90);
    let chain = CertificateDer::pem_file_iter(dir.join("backend.pem")).expect("a file");
    let key = PrivateKeyDer::from_pem_file(dir.join("backend.key")).expect("a key");
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let tls = rustls::ServerConfig::builder_with_provider(provider).with_safe_default_protocol_versions();
    let tls = tls.expect("versions").with_no_client_auth();
    let mut tls = tls.with_single_cert(chain.map(|one| one.expect("one")).collect(), key).expect("a certificate");
    tls.alpn_protocols = vec![b"h2".to_vec()];
    let address = server(place.host(), true, Some(TlsAcceptor::from(Arc::new(tls))));
    let more = format!(
        "tls = {{ ca = '{}', name = 'backend.test' }}\nsticky = {{ cookie = 'seat' }}\n",
        dir.join("root.pem").display()
    );
    let place = started(place, &format!("https://{address}"), &more);
    for number in 0..2 {
        let mut client = ask(&place, &format!("/chat{number}"), "websocket");
        let heard = hear(&mut client, &format!("/chat{number}"));
        assert!(heard.starts_with("HTTP/1.1 101 Switching Protocols\r\n"), "{heard}");
        assert!(heard.contains("\r\nset-cookie: seat="), "{heard}");
        client.write_all(b"hello").expect("it is heard");
        assert_eq!(hear(&mut client, "hello"), "hello");
    }
    let others = hear(&mut ask(&place, "/", "something"), "\r\n\r\n");
    assert!(others.starts_with("HTTP/1.1 200 "), "there is no other switch in HTTP/2: {others}");
    let shown = crate::binary::get(&format!("http://{}:8067/metrics", place.host()), &[]);
    assert!(shown.contains("outwork_proxy_backend_failures_total{pool=\"app\""), "{shown}");
    let failures = shown.lines().find(|line| line.starts_with("outwork_proxy_backend_failures_total{pool=\"app\""));
    assert!(failures.is_some_and(|line| line.ends_with(" 0")), "it is as good as it was: {failures:?}");
}

#[test]
fn a_backend_without_streams_for_websockets_is_not_asked_for_a_page_instead() {
    let place = place_of(false);
    let told = hear(&mut ask(&place, "/chat", "websocket"), "takes no WebSockets");
    assert!(told.starts_with("HTTP/1.1 502 ") && told.contains("takes no WebSockets"), "{told}");
    // What may be left alone is, and the backend is as good as it was.
    let left = hear(&mut ask(&place, "/", "h2c"), "\r\n\r\n");
    assert!(left.starts_with("HTTP/1.1 200 "), "{left}");
}
