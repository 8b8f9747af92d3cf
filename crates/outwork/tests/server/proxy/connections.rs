//! How long connections to backends are waited for, stand still and are kept: settings of `connections`.

use std::io::{ErrorKind, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::time::Duration;

use super::backend::{Backend, answer};
use super::extras::count;
use crate::binary::{Client, Place, get, json, text, until};

/// Has one thread pass `/a` and `/b` on to pools of one backend each, with more lines for each.
fn configure(place: &Place, [a, b]: [(SocketAddr, &str); 2]) {
    place.change(|text| {
        let host = place.host();
        format!(
            "{text}\n[front]\nworkers = 1\n[[front.listener]]\naddress = '{host}:8080'\n\
             [[front.route]]\npath = '/a'\nproxy = {{ pool = 'a' }}\n[[front.route]]\npath = '/b'\nproxy = {{ pool = 'b' }}\n\
             [proxy.pool.a]\nbackend = [{{ url = 'http://{}' }}]\n{}\n[proxy.pool.b]\nbackend = [{{ url = 'http://{}' }}]\n{}\n",
            a.0, a.1, b.0, b.1
        )
    });
}

/// A place with two backends, `one` at `/a` and `two` at `/b`, with more lines for the pool of each.
fn place_of(a: &str, b: &str) -> (Place, [Backend; 2]) {
    let mut place = Place::new();
    let [one, two] = ["one", "two"].map(|name| Backend::named(place.host(), name));
    configure(&place, [(one.address, a), (two.address, b)]);
    place.start();
    (place, [one, two])
}

fn client(place: &Place) -> Client {
    Client::new(&format!("{}:8080", place.host()))
}

/// A listener that nobody else is let in by: those are there who stand in its line.
fn full(host: &str) -> (TcpListener, Vec<TcpStream>) {
    let listener = TcpListener::bind((host, 0)).expect("a port");
    rustix::net::listen(&listener, 0).expect("a shorter line");
    let address = listener.local_addr().expect("an address");
    let mut line = Vec::new();
    while let Ok(stream) = TcpStream::connect_timeout(&address, Duration::from_millis(300)) {
        line.push(stream);
        assert!(line.len() < 100, "the line does not end");
    }
    (listener, line)
}

#[test]
fn a_connection_to_a_backend_is_waited_for_as_long_as_the_pool_says() {
    let mut place = Place::new();
    let (listener, line) = full(place.host());
    let address = listener.local_addr().expect("an address");
    let [long, short] = ["10m", "100ms"]
        .map(|time| format!("retry = {{ attempts = 0 }}\nconnections = {{ connect_timeout = '{time}' }}"));
    configure(&place, [(address, &*long), (address, &*short)]);
    place.start();
    let url = |path: &str| format!("http://{}:8080{path}", place.host());
    let patient = std::thread::spawn({
        let url = url("/a");
        move || get(&url, &[])
    });
    let under_way = || json(&place.outwork(&["backends", "list", "a", "--json"]))[0]["backends"][0]["requests"].clone();
    until("the first to wait", || under_way() == 1);
    let told = get(&url("/b"), &[]);
    assert!(told.starts_with("HTTP/1.1 504 ") && told.contains("the backend takes too long to connect to"), "{told}");
    assert!(!patient.is_finished(), "each pool has its own patience");
    // With nobody there, the next packet that asks for the connection is told so.
    drop((listener, line));
    let told = patient.join().expect("an answer");
    assert!(told.starts_with("HTTP/1.1 502 ") && told.contains("the backend cannot be connected to"), "{told}");
}

#[test]
fn an_answer_that_stands_still_for_too_long_is_cut_off() {
    let mut place = Place::new();
    let still = Backend::acting(place.host(), |_, to| {
        to.write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 10\r\n\r\nfirst").expect("it is read");
        // Its client ends it.
        let _ = to.read(&mut [0]);
        false
    });
    configure(&place, [(still.address, "connections = { idle_timeout = '300ms' }"), (still.address, "")]);
    place.start();
    let ask = |path: &str| {
        let mut stream = TcpStream::connect((place.host(), 8080)).expect("it listens");
        // Less than what holds where nobody says otherwise.
        stream.set_read_timeout(Some(Duration::from_secs(30))).expect("a timeout");
        stream.write_all(format!("GET {path} HTTP/1.1\r\nHost: a\r\n\r\n").as_bytes()).expect("it is heard");
        let mut heard = String::new();
        while !heard.ends_with("first") {
            let mut some = [0; 1000];
            let read = stream.read(&mut some).expect("a part");
            assert!(read > 0, "{heard}");
            heard.push_str(&text(&some[..read]));
        }
        stream
    };
    let (other, mut cut) = (ask("/b"), ask("/a"));
    let mut rest = Vec::new();
    if let Err(error) = cut.read_to_end(&mut rest) {
        assert_eq!(error.kind(), ErrorKind::ConnectionReset, "{}", text(&rest));
    }
    assert_eq!(text(&rest), "", "what has not come is not made up");
    other.set_nonblocking(true).expect("a mode");
    let open = (&other).read(&mut [0]).map_err(|error| error.kind());
    assert_eq!(open, Err(ErrorKind::WouldBlock), "the other pool has its own patience");
}

#[test]
fn a_backend_that_falls_silent_is_held_to_the_length_that_it_has_said_and_to_nothing_else() {
    let mut place = Place::new();
    let silent = |said: &'static str| {
        Backend::acting(place.host(), move |seen, to| {
            if seen.line.contains("?whole ") {
                return answer(to, "200 OK", "", b"well");
            }
            to.write_all(format!("HTTP/1.1 200 OK\r\n{said}").as_bytes()).expect("it is read");
            // Its client ends it.
            let _ = to.read(&mut [0]);
            false
        })
    };
    let stream = silent("transfer-encoding: chunked\r\n\r\n5\r\nfirst\r\n");
    let part = silent("content-length: 10\r\n\r\nfirst");
    let pool = "connections = { idle_timeout = '300ms' }\noutlier = { consecutive_gateway = 1 }\npanic_threshold = 0";
    configure(&place, [(stream.address, pool), (part.address, pool)]);
    place.start();
    for path in ["/a", "/b"] {
        let mut stream = TcpStream::connect((place.host(), 8080)).expect("it listens");
        stream.set_read_timeout(Some(Duration::from_secs(30))).expect("a timeout");
        stream.write_all(format!("GET {path} HTTP/1.1\r\nHost: a\r\n\r\n").as_bytes()).expect("it is heard");
        if let Err(error) = stream.read_to_end(&mut Vec::new()) {
            assert_eq!(error.kind(), ErrorKind::ConnectionReset, "{path}");
        }
    }
    let mut client = client(&place);
    assert!(client.ask("GET /a?whole", "a.test").ends_with("well"), "it may have had nothing to say");
    let told = client.ask("GET /b?whole", "a.test");
    assert!(told.starts_with("HTTP/1.1 503 "), "it owed the rest: {told}");
}

#[test]
fn a_connection_that_nobody_needs_is_closed_when_its_pool_says_so() {
    let (place, [one, two]) = place_of("connections = { keep_alive = '10ms' }", "");
    let mut client = client(&place);
    // The one that stays is the older one.
    for (path, name) in [("GET /b", "two"), ("GET /a", "one")] {
        assert!(client.ask(path, "a.test").ends_with(name));
    }
    until("one to be closed", || count(&place, "outwork_proxy_connections") == 1);
    for (path, name) in [("GET /b", "two"), ("GET /a", "one")] {
        assert!(client.ask(path, "a.test").ends_with(name));
    }
    assert_eq!((one.connections(), two.connections()), (2, 1));
}

#[test]
fn a_connection_that_is_needed_all_the_time_is_used_no_longer_than_its_lifetime() {
    let (place, [one, two]) = place_of("connections = { max_lifetime = '1s' }", "");
    let mut client = client(&place);
    until("another connection", || {
        let answers = ["GET /a", "GET /b"].map(|line| client.ask(line, "a.test"));
        assert!(answers.iter().all(|answer| answer.starts_with("HTTP/1.1 200 ")), "{answers:?}");
        one.connections() > 1
    });
    assert_eq!(two.connections(), 1);
}

#[test]
fn a_connection_carries_as_many_requests_as_it_may_and_one_alone_where_it_is_not_used_again() {
    let (place, [one, two]) = place_of("connections = { max_requests = 3 }", "connections = { reuse = false }");
    let mut client = client(&place);
    for _ in 0..9 {
        assert!(client.ask("GET /a", "a.test").ends_with("one"));
    }
    for _ in 0..4 {
        assert!(client.ask("GET /b", "a.test").ends_with("two"));
    }
    assert_eq!((one.connections(), two.connections()), (3, 4));
}
