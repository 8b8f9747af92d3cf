//! CONNECT: clients that get a connection to a backend, and speak whatever they like over it.

use std::io::{Read, Write};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::time::Duration;

use bytes::Bytes;
use http::{Method, Request, StatusCode};

use super::backend::Backend;
use super::http2::runtime;
use crate::binary::{Place, curl, get, said, text, until};
use crate::refusals::fault;

/// A place that passes connections on to these, with more lines for the pool and for the route.
fn configure(place: &Place, backends: &[SocketAddr], pool: &str, route: &str) {
    let list: Vec<String> = backends.iter().map(|backend| format!("{{ url = 'tcp://{backend}' }}")).collect();
    place.change(|text| {
        let kept = text.split("# proxy").next().unwrap_or_default().to_owned();
        format!(
            "{kept}# proxy\n[[front.listener]]\naddress = '{}:8080'\n[[front.route]]\npath = '/*'\nrespond = {{ body = 'here' }}\n\
             [[front.route]]\npath = '/*'\nhost = ['a.test', 'db.test']\n{route}\nproxy = {{ pool = 'app', connect = true }}\n\
             [proxy.pool.app]\nbackend = [{}]\n{pool}\n",
            place.host(),
            list.join(", ")
        )
    });
}

/// One that says back what it hears, until its client ends.
pub(super) fn echo(host: &str) -> SocketAddr {
    let listener = TcpListener::bind((host, 0)).expect("a port");
    let address = listener.local_addr().expect("an address");
    std::thread::spawn(move || {
        for mut stream in listener.incoming().map_while(Result::ok) {
            std::thread::spawn(move || {
                let mut from = stream.try_clone().expect("the same stream");
                // Its client may go before it is done.
                let _ = std::io::copy(&mut from, &mut stream).and_then(|_| stream.write_all(b"bye"));
                let _ = stream.shutdown(Shutdown::Write);
            });
        }
    });
    address
}

fn place_of(backends: &[fn(&str) -> SocketAddr], pool: &str) -> Place {
    let mut place = Place::new();
    let backends: Vec<_> = backends.iter().map(|make| make(place.host())).collect();
    configure(&place, &backends, pool, "");
    place.start();
    place
}

/// A connection that asks for another, with what it says first.
fn ask(place: &Place, target: &str, first: &str) -> TcpStream {
    let mut stream = TcpStream::connect((place.host(), 8080)).expect("it listens");
    stream.set_read_timeout(Some(Duration::from_secs(60))).expect("a timeout");
    let head = format!("CONNECT {target} HTTP/1.1\r\nHost: {target}\r\n\r\n{first}");
    stream.write_all(head.as_bytes()).expect("it is heard");
    stream
}

/// What is heard until it ends so.
fn hear(stream: &mut TcpStream, end: &str) -> String {
    let mut heard = String::new();
    while !heard.ends_with(end) {
        let mut some = [0; 1000];
        let read = stream.read(&mut some).expect("more");
        assert!(read > 0, "{heard}");
        heard.push_str(&text(&some[..read]));
    }
    heard
}

fn tunnels(place: &Place) -> f64 {
    let shown = get(&format!("http://{}:8067/metrics", place.host()), &[]);
    let line = shown.lines().find_map(|line| line.strip_prefix("outwork_proxy_tunnels "));
    line.map_or(0.0, |count| count.parse().expect("a number"))
}

#[test]
fn curl_speaks_to_a_backend_through_a_tunnel() {
    let mut place = Place::new();
    let (backend, seen) = Backend::telling(place.host(), "behind");
    configure(&place, &[backend.address], "", "");
    place.start();
    let proxy = format!("http://{}:8080", place.host());
    let through = |url: &str| said(curl().args(["--noproxy", "", "--proxytunnel", "--proxy", &proxy, url]));
    assert_eq!(through("http://a.test/path"), "behind");
    let seen = seen.recv().expect("a request");
    assert_eq!((seen.line.as_str(), seen.field("Host")), ("GET /path HTTP/1.1", Some("a.test")));
    assert_eq!(seen.field("x-forwarded-for"), None, "nobody has looked into it");
    // Who asks for anything else is answered here.
    assert!(get(&proxy, &["-H", "Host: a.test"]).ends_with("here"));
}

#[test]
fn bytes_go_both_ways_from_the_first_on_through_reloads_until_both_sides_have_ended() {
    let place = place_of(&[echo], "");
    let mut client = ask(&place, "db.test:5432", "early");
    let head = hear(&mut client, "early");
    let (head, _) = head.split_once("\r\n\r\n").expect("a head");
    assert!(head.starts_with("HTTP/1.1 200 OK"), "{head}");
    assert!(!head.contains("content-length") && !head.contains("transfer-encoding"), "{head}");
    assert!(!head.contains("connection"), "{head}");
    assert_eq!(tunnels(&place), 1.0);
    place.change(|text| text.replace("'here'", "'there'"));
    place.must(&["reload"]);
    client.write_all(b" and late").expect("it is heard");
    hear(&mut client, " and late");
    client.shutdown(Shutdown::Write).expect("a half of it");
    assert_eq!(hear(&mut client, "bye"), "bye", "the other half goes on");
    assert_eq!(client.read(&mut [0]).expect("its end"), 0);
    until("it to be over", || tunnels(&place) == 0.0);
}

#[test]
fn a_stream_of_http_2_is_a_tunnel_beside_requests() {
    let place = place_of(&[echo], "");
    let host = place.host().to_owned();
    runtime().block_on(async {
        let stream = tokio::net::TcpStream::connect((host.as_str(), 8080)).await.expect("it listens");
        let (mut send, connection) = h2::client::handshake(stream).await.expect("HTTP/2");
        tokio::spawn(connection);
        let head = Request::builder().method(Method::CONNECT).uri("db.test:5432").body(()).expect("a head");
        let (response, mut up) = send.send_request(head, false).expect("it is heard");
        let response = response.await.expect("a head");
        assert_eq!(response.status(), StatusCode::OK);
        assert!(!response.headers().contains_key("content-length"));
        let mut down = response.into_body();
        for word in ["one", "two"] {
            up.send_data(Bytes::from(word), false).expect("it is heard");
            assert_eq!(down.data().await.expect("a part").expect("whole"), word);
            let other = Request::get(format!("http://{host}:8080/")).body(()).expect("a head");
            let (other, _) = send.send_request(other, true).expect("it is heard");
            assert_eq!(other.await.expect("an answer").status(), StatusCode::OK);
        }
        up.send_data(Bytes::new(), true).expect("a half of it");
        assert_eq!(down.data().await.expect("a part").expect("whole"), "bye");
        while let Some(part) = down.data().await {
            assert!(part.expect("whole").is_empty());
        }
        let nowhere = Request::builder().method(Method::CONNECT).uri("c.test:5432").body(()).expect("a head");
        let (nowhere, _) = send.send_request(nowhere, true).expect("it is heard");
        assert_eq!(nowhere.await.expect("an answer").status(), StatusCode::FORBIDDEN);
    });
}

#[test]
fn where_there_is_no_connection_the_client_is_told_why_and_what_was_to_go_through_it_is_no_request() {
    let nobody = |host: &str| TcpListener::bind((host, 0)).expect("a port").local_addr().expect("an address");
    let place = place_of(&[nobody], "retry = { attempts = 0 }");
    let told = |target: &str| {
        let mut client = ask(&place, target, "GET / HTTP/1.1\r\nHost: b\r\n\r\n");
        let mut heard = String::new();
        client.read_to_string(&mut heard).expect("an answer");
        let (head, rest) = heard.split_once("\r\n\r\n").expect("a head");
        assert!(head.contains("\r\nconnection: close") && !rest.contains("HTTP/1.1"), "{heard}");
        head.to_owned()
    };
    assert!(told("db.test:5432").starts_with("HTTP/1.1 502 "));
    assert!(told("c.test:5432").starts_with("HTTP/1.1 403 "), "whom nobody is connected to is the client's choice");
    configure(
        &place,
        &["127.0.0.1:1".parse().expect("an address")],
        "panic_threshold = 0\nhealth_check = { interval = '20ms', fast_interval = '20ms' }",
        "",
    );
    place.must(&["reload"]);
    until("the check to fail", || told("db.test:5432").starts_with("HTTP/1.1 503 "));
}

#[test]
fn a_dead_backend_is_passed_over_and_a_tunnel_that_stands_still_ends_in_time() {
    let nobody = |host: &str| TcpListener::bind((host, 0)).expect("a port").local_addr().expect("an address");
    let place = place_of(&[nobody, echo], "connections = { tunnel_timeout = '1s' }");
    for _ in 0..4 {
        hear(&mut ask(&place, "db.test:5432", "hello"), "hello");
    }
    let mut client = ask(&place, "db.test:5432", "hello");
    hear(&mut client, "hello");
    assert_eq!(client.read(&mut [0]).unwrap_or(0), 0, "nobody has said anything for so long");
}

#[test]
fn a_tunnel_ends_once_the_time_of_its_backend_is_over() {
    let mut place = Place::new();
    let backend = echo(place.host());
    configure(&place, &[backend], "", "");
    place.start();
    let mut client = ask(&place, "db.test:5432", "hello");
    hear(&mut client, "hello");
    place.must(&["backends", "drain", "app", &format!("tcp://{backend}"), "--for", "1s"]);
    assert_eq!(client.read(&mut [0]).unwrap_or(0), 0);
    until("it to be over", || tunnels(&place) == 0.0);
}

#[test]
fn a_backend_is_told_whose_a_tunnel_is() {
    let place = place_of(&[echo], "send_proxy = 'v1'");
    let mut client = ask(&place, "db.test:5432", "hello");
    let heard = hear(&mut client, "hello");
    let (_, told) = heard.split_once("\r\n\r\n").expect("a head");
    let own = client.local_addr().expect("an end");
    let ends = format!("PROXY TCP4 {} {} {} 8080\r\nhello", own.ip(), place.host(), own.port());
    assert_eq!(told, ends);
}

#[test]
fn what_a_route_of_connections_cannot_have_is_refused() {
    let pools = "[proxy.pool.db]\nbackend = [{ url = 'tcp://192.0.2.1:5432' }]\n[proxy.pool.web]\nbackend = [{ url = 'http://192.0.2.1' }]\n";
    let listener = "[[front.listener]]\naddress = 'HOST:8080'\n[[front.route]]\n";
    let route =
        |keys: &str, key: &str| fault(&format!("{pools}{listener}{keys}\n"), &format!("front.route[0].{key}")).0;
    let found = route("path = '/*'\nproxy = { pool = 'web', connect = true }", "proxy.pool");
    assert!(found.contains("takes no connections"), "{found}");
    route("path = '/a'\nproxy = { pool = 'db', connect = true }", "path");
    route("path = '/*'\nmethods = ['GET']\nproxy = { pool = 'db', connect = true }", "methods[0]");
    route("path = '/*'\ncache = {}\nproxy = { pool = 'db', connect = true }", "cache");
    route("path = '/*'\nproxy = { pool = 'db', connect = true, host = 'backend' }", "proxy.host");
    let found = route("path = '/*'\nmethods = ['CONNECT']\nrespond = {}", "methods[0]");
    assert!(found.contains("CONNECT"), "{found}");
}
