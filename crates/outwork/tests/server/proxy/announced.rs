//! Backends that are told whose a connection is (the PROXY protocol), in front of requests.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering::SeqCst};
use std::time::Duration;

use crate::binary::{Place, get, json, until};
use crate::refusals::fault;

/// A server that answers with what it was told before the first request, and counts connections that are somebody's.
struct Told {
    address: SocketAddr,
    connections: Arc<AtomicUsize>,
    checks: Arc<AtomicUsize>,
}

impl Told {
    fn start(host: &str) -> Self {
        let listener = TcpListener::bind((host, 0)).expect("a port");
        let address = listener.local_addr().expect("an address");
        let (connections, checks): (Arc<AtomicUsize>, Arc<AtomicUsize>) = Default::default();
        let (counted, checked) = (Arc::clone(&connections), Arc::clone(&checks));
        std::thread::spawn(move || {
            for stream in listener.incoming().map_while(Result::ok) {
                let (counted, checked) = (Arc::clone(&counted), Arc::clone(&checked));
                std::thread::spawn(move || serve(stream, &counted, &checked));
            }
        });
        Self { address, connections, checks }
    }
}

fn serve(stream: TcpStream, connections: &AtomicUsize, checks: &AtomicUsize) {
    let mut to = stream.try_clone().expect("the same stream");
    let mut from = BufReader::new(stream);
    let mut told = String::new();
    if from.read_line(&mut told).unwrap_or(0) == 0 {
        return;
    }
    let counted = if told == "PROXY UNKNOWN\r\n" { checks } else { connections };
    counted.fetch_add(1, SeqCst);
    let mut line = String::new();
    while from.read_line(&mut line).unwrap_or(0) > 0 {
        if line == "\r\n" {
            let answer = format!("HTTP/1.1 200 OK\r\ncontent-length: {}\r\n\r\n{told}", told.len());
            if to.write_all(answer.as_bytes()).is_err() {
                return;
            }
        }
        line.clear();
    }
}

fn configure(place: &Place, url: &str, pool: &str) {
    place.change(|text| {
        let kept = text.split("# proxy").next().unwrap_or_default().to_owned();
        format!(
            "{kept}# proxy\n[[front.listener]]\naddress = '{}:8080'\nproxy_protocol = {{ from = ['127.0.0.0/8'] }}\n\
             [[front.route]]\npath = '/*'\nproxy = {{ pool = 'app' }}\n\
             [proxy.pool.app]\nbackend = [{{ url = '{url}' }}]\n{pool}\n",
            place.host()
        )
    });
}

/// A connection that a proxy passes on.
fn client(place: &Place, source: &str) -> TcpStream {
    let mut stream = TcpStream::connect((place.host(), 8080)).expect("it listens");
    stream.set_read_timeout(Some(Duration::from_secs(60))).expect("a timeout");
    stream.write_all(format!("PROXY TCP4 {source} 198.51.100.1 4711 443\r\n").as_bytes()).expect("it is heard");
    stream
}

/// What is answered, to its end.
fn ask(client: &mut TcpStream, end: &str) -> String {
    client.write_all(b"GET / HTTP/1.1\r\nHost: a.test\r\nAccept: application/json\r\n\r\n").expect("it is heard");
    let mut heard = String::new();
    while !heard.ends_with(end) {
        let mut some = [0; 1000];
        let read = client.read(&mut some).expect("more");
        assert!(read > 0, "{heard}");
        heard.push_str(&String::from_utf8_lossy(&some[..read]));
    }
    heard
}

#[test]
fn requests_of_one_client_go_by_its_connections_and_those_of_others_by_others() {
    let mut place = Place::new();
    let backend = Told::start(place.host());
    configure(&place, &format!("http://{}", backend.address), "send_proxy = 'v1'");
    place.start();
    let (mut one, mut two) = (client(&place, "192.0.2.7"), client(&place, "192.0.2.8"));
    for _ in 0..3 {
        assert!(ask(&mut one, " 443\r\n").ends_with("\r\n\r\nPROXY TCP4 192.0.2.7 198.51.100.1 4711 443\r\n"));
        assert!(ask(&mut two, " 443\r\n").ends_with("\r\n\r\nPROXY TCP4 192.0.2.8 198.51.100.1 4711 443\r\n"));
    }
    assert_eq!(backend.connections.load(SeqCst), 2, "each has one, and keeps it");
}

#[test]
fn checks_of_such_backends_are_nobody_s() {
    let mut place = Place::new();
    let backend = Told::start(place.host());
    let check = "health_check = { path = '/', interval = '20ms', fast_interval = '20ms' }";
    configure(&place, &format!("http://{}", backend.address), &format!("send_proxy = 'v1'\n{check}"));
    place.start();
    until("checks", || backend.checks.load(SeqCst) > 2);
    let shown = json(&place.outwork(&["backends", "list", "--json"]));
    assert_eq!(shown[0]["backends"][0]["health"], "healthy", "{shown:#}");
    assert_eq!(backend.connections.load(SeqCst), 0);
}

#[test]
fn what_is_announced_comes_before_tls_and_streams_of_http_2_are_of_one_client() {
    let mut server = Place::new();
    server.change(|text| {
        let host = server.host();
        format!(
            "{text}\n[[front.listener]]\naddress = '{host}:8443'\ntls = {{ local = ['localhost', '{host}'] }}\n\
             proxy_protocol = {{ from = ['127.0.0.0/8'] }}\n\
             [[front.route]]\npath = '/*'\naddresses = {{ allow = ['192.0.2.7'] }}\nrespond = {{ body = 'allowed' }}\n"
        )
    });
    server.start();
    let root = server.data().join("tls/local/ca.pem");
    let mut place = Place::new();
    let tls = format!("send_proxy = 'v2'\ntls = {{ ca = '{}' }}", root.display());
    configure(&place, &format!("https://{}:8443", server.host()), &tls);
    place.start();
    let (mut one, mut two) = (client(&place, "192.0.2.7"), client(&place, "192.0.2.8"));
    for _ in 0..2 {
        assert!(ask(&mut one, "allowed").starts_with("HTTP/1.1 200 "));
        assert!(ask(&mut two, "}\n").starts_with("HTTP/1.1 403 "));
    }
    let metrics = get(&format!("http://{}:8067/metrics", server.host()), &[]);
    assert!(metrics.lines().any(|line| line.contains("protocol=\"http2\"} 4")), "HTTP/2 was agreed on: {metrics}");
}

#[test]
fn what_cannot_be_announced_is_refused() {
    let pool =
        |lines: &str, key: &str| fault(&format!("[proxy.pool.app]\n{lines}\n"), &format!("proxy.pool.app.{key}"));
    pool("send_proxy = 'v2'\nbackend = [{ url = 'udp://192.0.2.1:53' }]", "send_proxy");
    let keys = "send_proxy = 'v1'\nconnections = { min_idle = 1 }\nbackend = [{ url = 'http://192.0.2.1' }]";
    pool(keys, "connections.min_idle");
}
