//! Backends that get many requests at once on one connection.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering::SeqCst};
use std::thread::JoinHandle;

use super::backend::{Backend, answer};
use super::{body, configure, site};
use crate::binary::{Client, Place, get, text, until};
use crate::refusals::fault;

/// What a backend does about the targets that are asked for on a connection and have no answer yet, whenever there is one more. How many it has answered, or `None` where
/// the connection is to end. It is told how many were answered there before.
type Act = dyn Fn(usize, &[String], &mut TcpStream) -> Option<usize> + Send + Sync;

/// A backend that sees the requests behind those that it has not answered.
struct Lined {
    address: SocketAddr,
    connections: Arc<AtomicUsize>,
}

impl Lined {
    fn new(
        host: &str,
        act: impl Fn(usize, &[String], &mut TcpStream) -> Option<usize> + Send + Sync + 'static,
    ) -> Self {
        let listener = TcpListener::bind((host, 0)).expect("a port");
        let address = listener.local_addr().expect("an address");
        let (connections, act): (Arc<AtomicUsize>, Arc<Act>) = (Arc::default(), Arc::new(act));
        let accepted = Arc::clone(&connections);
        std::thread::spawn(move || {
            for stream in listener.incoming().map_while(Result::ok) {
                accepted.fetch_add(1, SeqCst);
                let act = Arc::clone(&act);
                std::thread::spawn(move || in_line(stream, &*act));
            }
        });
        Self { address, connections }
    }
}

fn in_line(mut stream: TcpStream, act: &Act) {
    let (mut read, mut targets, mut before) = (Vec::new(), Vec::new(), 0);
    let mut some = [0; 1 << 16];
    while let Ok(length @ 1..) = stream.read(&mut some) {
        read.extend_from_slice(&some[..length]);
        while let Some(end) = read.windows(4).position(|four| four == b"\r\n\r\n") {
            let head: Vec<u8> = read.drain(..end + 4).collect();
            targets.push(text(&head).split(' ').nth(1).expect("a target").to_owned());
        }
        while !targets.is_empty() {
            match act(before, &targets, &mut stream) {
                Some(0) => break,
                Some(answered) => {
                    targets.drain(..answered);
                    before += answered;
                }
                None => return,
            }
        }
    }
}

/// The content that belongs to a target: of many sizes, and never that of another.
fn page(target: &str) -> Vec<u8> {
    let length = target.bytes().map(usize::from).sum::<usize>() * 7919 % 9001;
    format!("<{target}>").into_bytes().into_iter().cycle().take(length.max(target.len() + 2)).collect()
}

/// Answers the first request with its page.
fn told(targets: &[String], to: &mut TcpStream) -> Option<usize> {
    answer(to, "200 OK", "", &page(&targets[0])).then_some(1)
}

/// A place that passes requests on to such a backend by one thread, with more lines for the pool.
fn place_of(make: impl FnOnce(&str) -> Lined, pool: &str) -> (Place, Lined) {
    let mut place = Place::new();
    let backend = make(place.host());
    set(&place, &backend, pool);
    place.start();
    (place, backend)
}

fn set(place: &Place, backend: &Lined, pool: &str) {
    configure(place, &[], pool, "");
    place.change(|text| {
        let url = format!("backend = [{{ url = 'http://{}' }}", backend.address);
        text.replace("backend = [", &url).replace("# proxy\n", "# proxy\n[front]\nworkers = 1\n")
    });
}

const PIPELINE: &str = "connections = { pipeline = 16 }";

/// The content of what a target is answered with, by a connection of its own.
fn asked(place: &Place, target: String) -> JoinHandle<String> {
    let url = format!("{}{target}", site(place));
    std::thread::spawn(move || get(&url, &[]))
}

/// So many clients at once, each of which asks for so many pages and gets those and no others.
fn asked_by_many(place: &Place, clients: usize, each: usize) {
    let address = format!("{}:8080", place.host());
    let clients: Vec<_> = (0..clients)
        .map(|client| {
            let address = address.clone();
            std::thread::spawn(move || {
                let mut connection = None;
                for number in 0..each {
                    let target = format!("/page-{client}-{number}");
                    let connection = connection.get_or_insert_with(|| Client::new(&address));
                    let got = connection.ask(&format!("GET {target}"), "a.test");
                    let is_its_own = body(&got).as_bytes() == page(&target);
                    assert!(got.starts_with("HTTP/1.1 200 ") && is_its_own, "{target}: {got}");
                }
            })
        })
        .collect();
    clients.into_iter().for_each(|client| client.join().expect("its own answers"));
}

/// Has a connection be there that has carried a request, as those have to have that many share.
fn warm(place: &Place) {
    let got = get(&format!("{}/warm", site(place)), &[]);
    assert!(got.starts_with("HTTP/1.1 200 "), "{got}");
}

#[test]
fn requests_of_many_clients_go_out_before_those_ahead_are_answered() {
    let three = |_: usize, targets: &[String], to: &mut TcpStream| match targets[0].starts_with("/three") {
        true if targets.len() < 3 => Some(0),
        true => targets.iter().all(|target| told(std::slice::from_ref(target), to).is_some()).then_some(targets.len()),
        false => told(targets, to),
    };
    let (place, backend) = place_of(|host| Lined::new(host, three), PIPELINE);
    warm(&place);
    let asked = ["/three-1", "/three-22", "/three-333"].map(|target| (target, asked(&place, target.to_owned())));
    for (target, got) in asked {
        assert_eq!(body(&got.join().expect("an answer")).as_bytes(), page(target));
    }
    assert_eq!(backend.connections.load(SeqCst), 1);
    // What has content has a connection for itself.
    assert!(get(&site(&place), &["-d", "a=b", "--http1.1"]).starts_with("HTTP/1.1 200 "));
    asked_by_many(&place, 24, 40);
    let metrics = get(&format!("http://{}:8067/metrics", place.host()), &[]);
    let again = metrics.lines().find(|line| line.starts_with("outwork_proxy_pipelined_again_total"));
    assert_eq!(again, Some("outwork_proxy_pipelined_again_total 0"));
}

#[test]
fn a_backend_that_ends_each_connection_after_some_answers_costs_no_request() {
    for most in [3, 70] {
        let closing = move |before: usize, targets: &[String], to: &mut TcpStream| match before < most {
            true => told(targets, to),
            false => None,
        };
        let pool = "connections = { pipeline = 16 }\nretry = { attempts = 0 }\noutlier = { consecutive_5xx = 1, consecutive_gateway = 1 }";
        let (place, backend) = place_of(|host| Lined::new(host, closing), pool);
        asked_by_many(&place, 16, 50);
        assert!(backend.connections.load(SeqCst) >= 800 / most, "after {most}");
        let metrics = get(&format!("http://{}:8067/metrics", place.host()), &[]);
        assert!(metrics.contains("outwork_proxy_requests_total{outcome=\"reset\"} 0\n"), "after {most}: {metrics}");
    }
}

#[test]
fn an_answer_that_is_no_http_is_given_to_nobody_else() {
    let wrong = |_: usize, targets: &[String], to: &mut TcpStream| match targets[0].as_str() {
        "/wrong" => {
            let more = "HTTP/1.1 200 OK\r\ncontent-length: 6\r\n\r\nforged";
            let head = "HTTP/1.1 200 OK\r\ncontent-length: 1\r\ncontent-length: 2\r\n\r\n";
            to.write_all(format!("{head}{more}{more}{more}").as_bytes()).ok();
            None
        }
        _ => told(targets, to),
    };
    let pool = "connections = { pipeline = 16 }\nretry = { attempts = 0 }\noutlier = { enabled = false }";
    let (place, _backend) = place_of(|host| Lined::new(host, wrong), pool);
    warm(&place);
    let wrong: Vec<_> = (0..5).map(|_| asked(&place, "/wrong".to_owned())).collect();
    asked_by_many(&place, 16, 30);
    for wrong in wrong {
        let got = wrong.join().expect("an answer");
        assert!(got.contains(" 502 ") && got.contains("the backend's answer is malformed"), "{got}");
    }
}

#[test]
fn who_waits_behind_an_answer_that_does_not_come_is_answered_by_another_connection() {
    let slow = |_: usize, targets: &[String], to: &mut TcpStream| match targets[0].as_str() {
        // All that is behind it waits for good.
        "/slow" => Some(0),
        _ => told(targets, to),
    };
    let pool = "connections = { pipeline = 16, response_timeout = '1s' }\nretry = { attempts = 0 }";
    let (place, _backend) = place_of(|host| Lined::new(host, slow), pool);
    warm(&place);
    let slow = asked(&place, "/slow".to_owned());
    asked_by_many(&place, 8, 10);
    let got = slow.join().expect("an answer");
    assert!(got.contains(" 504 "), "{got}");
    asked_by_many(&place, 8, 10);
}

#[test]
fn a_client_that_leaves_in_the_middle_costs_nobody_an_answer() {
    let large = |_: usize, targets: &[String], to: &mut TcpStream| match targets[0].as_str() {
        "/large" => answer(to, "200 OK", "", &vec![b'x'; 20 << 20]).then_some(1),
        _ => told(targets, to),
    };
    let (place, _backend) = place_of(|host| Lined::new(host, large), PIPELINE);
    warm(&place);
    let others = std::thread::scope(|scope| {
        let others = scope.spawn(|| asked_by_many(&place, 8, 60));
        for _ in 0..10 {
            let mut client = TcpStream::connect((place.host(), 8080)).expect("it listens");
            client.write_all(b"GET /large HTTP/1.1\r\nHost: a\r\n\r\n").expect("it is heard");
            assert!(client.read(&mut [0; 1000]).expect("its beginning") > 0);
        }
        others.join()
    });
    others.expect("their own answers");
}

#[test]
fn an_answer_that_takes_long_once_it_has_begun_holds_up_nobody_for_long() {
    let came = Arc::new(AtomicBool::new(false));
    let has_come = Arc::clone(&came);
    let endless = move |_: usize, targets: &[String], to: &mut TcpStream| match targets[0].as_str() {
        "/events" if targets.len() < 2 => {
            has_come.store(true, SeqCst);
            Some(0)
        }
        "/events" => {
            let head = b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n5\r\nfirst\r\n";
            to.write_all(head).expect("it is read");
            // Until the other end goes.
            let _ = to.read_to_end(&mut Vec::new());
            None
        }
        _ => told(targets, to),
    };
    let (place, _backend) = place_of(|host| Lined::new(host, endless), PIPELINE);
    warm(&place);
    let mut events = TcpStream::connect((place.host(), 8080)).expect("it listens");
    events.set_read_timeout(Some(std::time::Duration::from_secs(60))).expect("a timeout");
    events.write_all(b"GET /events HTTP/1.1\r\nHost: a\r\n\r\n").expect("it is heard");
    until("it to come", || came.load(SeqCst));
    // It is behind, and nothing ever comes after what it is behind of.
    let behind = get(&format!("{}/behind", site(&place)), &[]);
    assert_eq!(body(&behind).as_bytes(), page("/behind"));
    let mut so_far = Vec::new();
    while !text(&so_far).contains("first") {
        let mut some = [0; 1024];
        let read = events.read(&mut some).expect("a part");
        assert!(read > 0, "{}", text(&so_far));
        so_far.extend_from_slice(&some[..read]);
    }
}

#[test]
fn a_reload_turns_it_off_and_on() {
    // The first of two is answered once the other is there: on the same connection, or on another.
    let (apart, waits) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicUsize::new(0)));
    let (is_apart, waiting) = (Arc::clone(&apart), Arc::clone(&waits));
    let pairs = move |_: usize, targets: &[String], to: &mut TcpStream| {
        if !targets[0].starts_with("/pair") {
            return told(targets, to);
        }
        if is_apart.load(SeqCst) {
            waiting.fetch_add(1, SeqCst);
            until("the other to come", || waiting.load(SeqCst) == 2);
        } else if targets.len() < 2 {
            return Some(0);
        }
        targets.iter().all(|target| told(std::slice::from_ref(target), to).is_some()).then_some(targets.len())
    };
    let (place, backend) = place_of(|host| Lined::new(host, pairs), PIPELINE);
    let pair = || {
        warm(&place);
        for (target, got) in ["/pair-1", "/pair-2"].map(|target| (target, asked(&place, target.to_owned()))) {
            assert_eq!(body(&got.join().expect("an answer")).as_bytes(), page(target));
        }
    };
    pair();
    set(&place, &backend, "connections = { pipeline = 1 }");
    place.must(&["reload"]);
    apart.store(true, SeqCst);
    pair();
    set(&place, &backend, PIPELINE);
    place.must(&["reload"]);
    apart.store(false, SeqCst);
    pair();
}

#[test]
fn a_backend_that_is_taken_out_answers_what_it_has() {
    let [came, goes] = [(); 2].map(|()| Arc::new(AtomicBool::new(false)));
    let (has_come, may_go) = (Arc::clone(&came), Arc::clone(&goes));
    let waits = move |_: usize, targets: &[String], to: &mut TcpStream| {
        if targets[0] == "/held" {
            has_come.store(true, SeqCst);
            until("it to go on", || may_go.load(SeqCst));
        }
        told(targets, to)
    };
    let (place, old) = place_of(|host| Lined::new(host, waits), PIPELINE);
    let new = Backend::named(place.host(), "new");
    warm(&place);
    let held = asked(&place, "/held".to_owned());
    until("it to come", || came.load(SeqCst));
    configure(&place, &[&new], PIPELINE, "");
    place.change(|text| text.replace("# proxy\n", "# proxy\n[front]\nworkers = 1\n"));
    place.must(&["reload"]);
    assert_eq!(body(&get(&site(&place), &[])), "new");
    goes.store(true, SeqCst);
    assert_eq!(body(&held.join().expect("an answer")).as_bytes(), page("/held"));
    assert_eq!(old.connections.load(SeqCst), 1);
}

#[test]
fn what_cannot_be_shared_is_not_to_be() {
    let pool = |lines: &str| format!("[proxy.pool.a]\nbackend = [{{ url = 'http://192.0.2.1' }}]\n{lines}\n");
    let key = "proxy.pool.a.connections.pipeline";
    fault(&pool("connections = { pipeline = 257 }"), key);
    fault(&pool("connections = { pipeline = 0 }"), key);
    fault(&pool("connections = { pipeline = 8, reuse = false }"), key);
    fault(&pool("connections = { pipeline = 8, max_idle = 0 }"), key);
    fault(&pool("connections = { pipeline = 8 }\nsend_proxy = 'v2'"), key);
    fault(&pool("connections = { pipeline = 8 }").replace("http:", "h2c:"), key);
    fault(&pool("connections = { pipeline = 8 }").replace("http:", "tcp:").replace("2.1", "2.1:80"), key);
}

#[test]
fn connections_that_are_not_kept_are_not_opened_ahead_of_requests() {
    let pool = |lines: &str| format!("[proxy.pool.a]\nbackend = [{{ url = 'http://192.0.2.1' }}]\n{lines}\n");
    let key = "proxy.pool.a.connections.min_idle";
    fault(&pool("connections = { min_idle = 1, reuse = false }"), key);
    fault(&pool("connections = { min_idle = 2, max_idle = 1 }"), key);
    fault(&pool("connections = { min_idle = 1 }\nsend_proxy = 'v2'"), key);
}
