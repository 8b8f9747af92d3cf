//! Connections that a proxy passes on with the PROXY protocol, to the front door of the real binary.

use std::io::{Read, Write};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::process::Output;

use crate::binary::{Place, curl, get, text, until_some};
use serde_json::Value as Json;

/// A site that proxies on this machine pass connections on to, in clear text and over TLS; at 8081 they are not trusted.
fn site(more: &str) -> Place {
    let trusted = "proxy_protocol = { from = ['127.0.0.0/8'] }";
    let mut place = Place::with(&format!(
        "[front]\nworkers = 1\n{more}\n\
         [[front.listener]]\naddress = 'HOST:8080'\n{trusted}\n\
         [[front.listener]]\naddress = 'HOST:8443'\n{trusted}\ntls = {{ local = ['localhost'], http3 = {{ enabled = false }} }}\n\
         [[front.listener]]\naddress = 'HOST:8081'\nproxy_protocol = {{ from = ['203.0.113.0/24'] }}\n\
         [front.access_log]\nfile = 'access.log'\nflush = '10ms'\nfields = ['target', 'client', 'tls', 'status']\n\
         [[front.route]]\npath = '/*'\naddresses = {{ deny = ['192.0.2.66'] }}\nrespond = {{ body = 'fine' }}\n"
    ));
    place.start();
    place
}

/// A proxy that passes one connection on, and says that it is this client's; where it is.
fn proxy(place: &Place, port: u16, client: &str) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
    let address = listener.local_addr().expect("an address").to_string();
    let (door, family) = (format!("{}:{port}", place.host()), if client.contains(':') { 6 } else { 4 });
    let to = if family == 6 { "2001:db8::1" } else { "198.51.100.1" };
    let line = format!("PROXY TCP{family} {client} {to} 4711 443\r\n");
    std::thread::spawn(move || {
        let (mut client, _) = listener.accept().expect("a client");
        let mut door = TcpStream::connect(door).expect("the door");
        door.write_all(line.as_bytes()).expect("it hears");
        let (mut back, mut from) = (client.try_clone().expect("a socket"), door.try_clone().expect("a socket"));
        let back =
            std::thread::spawn(move || std::io::copy(&mut from, &mut back).map(|_| back.shutdown(Shutdown::Both)));
        let _ = std::io::copy(&mut client, &mut door).map(|_| door.shutdown(Shutdown::Write));
        let _ = back.join();
    });
    address
}

/// What is logged of a request: whose it was, whether over TLS, and its status.
fn logged(place: &Place, target: &str) -> (String, bool, u64) {
    let file = place.path().join("access.log");
    let line = until_some("its line", || {
        let text = std::fs::read_to_string(&file).ok()?;
        let mut lines = text.lines().filter_map(|line| serde_json::from_str::<Json>(line).ok());
        lines.find(|line| line["target"] == target)
    });
    let client = line["client"].as_str().unwrap_or_default().to_owned();
    (client, line["tls"] == true, line["status"].as_u64().unwrap_or_default())
}

fn asks(place: &Place, url: &str, more: &[&str]) -> Output {
    let url = url.replace("HOST", place.host());
    curl().args(["-i", "-k", &url]).args(more).output().expect("curl")
}

/// What is answered to these bytes at a port.
fn raw(place: &Place, port: u16, bytes: &[u8]) -> String {
    let mut stream = TcpStream::connect(format!("{}:{port}", place.host())).expect("the door");
    // What is refused is closed at once.
    let _ = stream.write_all(bytes);
    let mut answer = Vec::new();
    let _ = stream.read_to_end(&mut answer);
    text(&answer)
}

fn cut(place: &Place) -> u64 {
    let all = get(&format!("http://{}:8067/metrics", place.host()), &[]);
    let line =
        all.lines().find(|line| line.starts_with("outwork_front_connections_cut") && line.contains("reason=\"proxy\""));
    line.and_then(|line| line.rsplit(' ').next()?.parse().ok()).expect("the counter")
}

#[test]
fn a_client_behind_a_trusted_proxy_is_who_the_proxy_says_and_nobody_else_may_say_so() {
    let place = site("");
    for (version, scheme, port) in [
        ("--http1.1", "http", 8080),
        ("--http2-prior-knowledge", "http", 8080),
        ("--http1.1", "https", 8443),
        ("--http2", "https", 8443),
    ] {
        let (target, through) = (format!("/{scheme}{version}"), format!("::{}", proxy(&place, port, "192.0.2.7")));
        let answer = asks(&place, &format!("{scheme}://HOST:{port}{target}"), &[version, "--connect-to", &through]);
        assert!(text(&answer.stdout).ends_with("fine"), "{target}: {answer:?}");
        assert_eq!(logged(&place, &target), ("192.0.2.7".to_owned(), scheme == "https", 200));
    }
    let ask = |target: &str, client: &str| {
        let through = format!("::{}", proxy(&place, 8080, client));
        text(&asks(&place, &format!("http://HOST:8080{target}"), &["--connect-to", &through]).stdout)
    };
    assert!(ask("/six", "2001:db8::7").ends_with("fine") && logged(&place, "/six").0 == "2001:db8::7");
    assert!(ask("/mapped", "::ffff:192.0.2.66").starts_with("HTTP/1.1 403"), "that is an IPv4 address");
    assert!(ask("/denied", "192.0.2.66").starts_with("HTTP/1.1 403"));
    // As curl writes it of itself.
    let itself = asks(&place, "http://HOST:8080/itself", &["--haproxy-protocol", "--interface", "127.0.0.8"]);
    assert!(text(&itself.stdout).ends_with("fine") && logged(&place, "/itself").0 == "127.0.0.8", "{itself:?}");
    assert_eq!(cut(&place), 0);
    // From elsewhere it is a line that is no request.
    let claims = asks(&place, "http://HOST:8081/claims", &["--haproxy-protocol"]);
    assert!(text(&claims.stdout).starts_with("HTTP/1.1 400"), "{claims:?}");
    let own = asks(&place, "http://HOST:8081/own", &["--interface", "127.0.0.8"]);
    assert!(text(&own.stdout).ends_with("fine") && logged(&place, "/own").0 == "127.0.0.8");
    // Who has to say something and does not is not heard.
    let silent = asks(&place, "http://HOST:8080/silent", &[]);
    assert!(!silent.status.success() && silent.stdout.is_empty(), "{silent:?}");
    assert_eq!(cut(&place), 1);
}

#[test]
fn both_versions_are_read_and_what_is_malformed_or_late_is_cut_off_and_counted() {
    let place = site("limits = { header_timeout = '300ms' }");
    let get = |target: &str| format!("GET {target} HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n").into_bytes();
    let v2 = |body: &[u8], ssl: &[u8]| {
        let length = u16::try_from(body.len() + ssl.len()).expect("short").to_be_bytes();
        [&b"\r\n\r\n\0\r\nQUIT\n\x21\x11"[..], &length, body, ssl].concat()
    };
    let ends = [192, 0, 2, 8, 198, 51, 100, 1, 0x12, 0x67, 0, 80];
    for (target, header, client, tls) in [
        ("/v1", b"PROXY TCP4 192.0.2.8 198.51.100.1 4711 80\r\n".to_vec(), "192.0.2.8", false),
        ("/v2", v2(&ends, b""), "192.0.2.8", false),
        ("/v2-tls", v2(&ends, b"\x20\x00\x05\x01\0\0\0\x01"), "192.0.2.8", true),
    ] {
        let answer = raw(&place, 8080, &[header, get(target)].concat());
        assert!(answer.starts_with("HTTP/1.1 200") && answer.ends_with("fine"), "{target}: {answer}");
        assert_eq!(logged(&place, target), (client.to_owned(), tls, 200));
    }
    for own in [&b"PROXY UNKNOWN\r\n"[..], b"\r\n\r\n\0\r\nQUIT\n\x20\x00\x00\x00"] {
        assert!(raw(&place, 8080, &[own, &get("/unknown")].concat()).ends_with("fine"));
    }
    assert!(logged(&place, "/unknown").0.starts_with("127."));
    assert_eq!(raw(&place, 8080, b"PROXY TCP4 192.0.2.8 198.51.100.1 4711\r\nGET / HTTP/1.1\r\n\r\n"), "");
    assert_eq!(raw(&place, 8080, &v2(&ends[..11], b"")), "");
    assert_eq!(raw(&place, 8080, b"PROXY TCP4 192.0.2.8"), "", "and then nothing");
    assert_eq!(cut(&place), 3);
    // Who only looks whether somebody listens has done nothing wrong.
    drop(TcpStream::connect(format!("{}:8080", place.host())).expect("the door"));
    assert!(raw(&place, 8080, &[&b"PROXY UNKNOWN\r\n"[..], &get("/after")].concat()).ends_with("fine"));
    assert_eq!(cut(&place), 3);
}

#[test]
fn each_client_behind_a_proxy_has_connections_of_its_own_and_a_reload_says_who_is_trusted() {
    let place = site("limits = { max_connections_per_client = 1 }");
    let connect = |client: &str| {
        let mut stream = TcpStream::connect(format!("{}:8080", place.host())).expect("the door");
        let ask = format!("PROXY TCP4 {client} 198.51.100.1 4711 80\r\nGET / HTTP/1.1\r\nHost: a\r\n\r\n");
        let _ = stream.write_all(ask.as_bytes());
        let mut first = [0; 12];
        let answered = stream.read_exact(&mut first).is_ok() && first == *b"HTTP/1.1 200";
        (stream, answered)
    };
    let (held, answered) = connect("192.0.2.50");
    assert!(answered && !connect("192.0.2.50").1 && connect("192.0.2.51").1);
    drop(held);
    place.change(|file| file.replace("127.0.0.0/8", "203.0.113.0/24"));
    place.must(&["reload"]);
    // From here on nobody may say whose a connection is, and who does asks for something that there is not.
    until_some("the reload", || raw(&place, 8080, b"PROXY UNKNOWN\r\n\r\n").starts_with("HTTP/1.1 400").then_some(()));
    // All of these are one client's now, whose last connection may be counted for a moment after it was told of its end.
    let ask = b"GET / HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n";
    until_some("room for it", || raw(&place, 8080, ask).ends_with("fine").then_some(()));
}
