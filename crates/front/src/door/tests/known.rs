//! Answers that are known by heart, on real connections.

use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};

use super::*;
use crate::answer::Respond;
use crate::door::metrics::Protocol;
use crate::filter::{Entry, Ids};
use crate::message::{Repeated, Standing};
use crate::traffic::{Listed, OfRoute, Traffic};

/// Answers with how often it was asked, and says that this stands as long as `stands` has it.
#[derive(Clone)]
struct Counting {
    asked: Arc<AtomicU32>,
    stands: Arc<AtomicBool>,
    /// Bytes after the number.
    padding: usize,
    status: StatusCode,
    later: bool,
}

impl Handler for Counting {
    fn handle(&self, request: Request) -> Answer {
        let number = self.asked.fetch_add(1, Ordering::Relaxed) + 1;
        let mut response = Response::full(self.status, "text/plain", format!("{number}{}", "x".repeat(self.padding)));
        if request.head.extensions.get::<Repeated>().is_some() {
            let stands = Arc::clone(&self.stands);
            response.note_mut().standing = Some(Standing::new(move || stands.load(Ordering::Relaxed)));
        }
        match self.later {
            true => Answer::Later(Box::pin(std::future::ready(response))),
            false => response.into(),
        }
    }
}

fn counting(padding: usize) -> Counting {
    let stands = Arc::new(AtomicBool::new(true));
    Counting { asked: Arc::default(), stands, padding, status: StatusCode::OK, later: false }
}

/// One thread, so that it knows what it was asked.
fn running(options: Options, handler: impl Handler + 'static) -> Running {
    Running::open(options, handler, 1, Vec::new())
}

/// Sends each of these by itself, and reads the answer to it.
fn each(stream: &mut TcpStream, requests: &[impl AsRef<str>]) -> Vec<String> {
    let one = |request: &_| {
        stream.write_all(AsRef::<str>::as_ref(request).as_bytes()).unwrap();
        answer(stream)
    };
    requests.iter().map(one).collect()
}

/// Reads one answer, head and body.
fn answer(stream: &mut TcpStream) -> String {
    let (mut all, mut some) = (Vec::new(), [0; 4096]);
    loop {
        let text = String::from_utf8_lossy(&all);
        if let Some((head, body)) = text.split_once("\r\n\r\n") {
            let length = head.split("content-length: ").nth(1).and_then(|rest| rest.lines().next()?.parse().ok());
            if body.len() >= length.unwrap_or(0) {
                return text.into_owned();
            }
        }
        let read = stream.read(&mut some).unwrap();
        assert!(read > 0, "the connection ended after {text}");
        all.extend_from_slice(&some[..read]);
    }
}

#[test]
fn a_head_that_comes_again_gets_the_same_answer_without_its_handler_as_long_as_that_stands() {
    let handler = counting(0);
    let running = running(Options::default(), handler.clone());
    let mut stream = running.connect();
    let (same, other) = (get("/same"), get("/other"));
    let numbers = |answers: Vec<String>| answers.iter().map(|answer| body(answer).to_owned()).collect::<Vec<_>>();
    let answers = each(&mut stream, &[&same, &same, &same, &other, &same]);
    assert_eq!((answers[1].len(), answers[2].len()), (answers[0].len(), answers[0].len()));
    assert!(answers[4].starts_with("HTTP/1.1 200 OK\r\ndate: ") && answers[4].contains(" GMT\r\n"), "{}", answers[4]);
    assert_eq!(numbers(answers), ["1", "2", "2", "3", "2"]);
    handler.stands.store(false, Ordering::Relaxed);
    assert_eq!(numbers(each(&mut stream, &[&same, &same])), ["4", "5"]);
    let metrics = &running.metrics;
    assert_eq!((metrics.protocols.of(Protocol::Http1).get(), metrics.repeated.get()), (7, 2), "each is counted");
    assert!(metrics.known.get() > 0);
}

#[test]
fn errors_and_what_takes_its_time_are_not_learned() {
    for handler in [
        Counting { status: StatusCode::SERVICE_UNAVAILABLE, ..counting(0) },
        Counting { status: StatusCode::NOT_FOUND, ..counting(0) },
        Counting { later: true, ..counting(0) },
    ] {
        let running = running(Options::default(), handler.clone());
        each(&mut running.connect(), &[(); 5].map(|()| get("/x")));
        assert_eq!((handler.asked.load(Ordering::Relaxed), running.metrics.repeated.get()), (5, 0));
    }
}

#[test]
fn what_follows_a_head_is_never_taken_for_another_request() {
    let handler = counting(0);
    let running = running(Options::default(), handler.clone());
    let mut stream = running.connect();
    let smuggled = get("/smuggled");
    let head = format!("GET /x HTTP/1.1\r\nHost: a\r\nContent-Length: {}\r\n\r\n", smuggled.len());
    for round in 1..=5 {
        stream.write_all(head.as_bytes()).unwrap();
        assert_eq!(body(&answer(&mut stream)), round.to_string());
        stream.write_all(smuggled.as_bytes()).unwrap();
    }
    assert_eq!(body(&each(&mut stream, &[get("/y")])[0]), "6");
}

#[test]
fn several_requests_in_one_piece_are_each_answered() {
    let running = running(Options::default(), counting(0));
    let mut stream = running.connect();
    each(&mut stream, &[(); 3].map(|()| get("/x")));
    stream.write_all([get("/x"), get("/x"), get("/y")].concat().as_bytes()).unwrap();
    stream.shutdown(Shutdown::Write).unwrap();
    assert_eq!(read(&mut stream).matches("HTTP/1.1 200").count(), 3);
}

#[test]
fn the_last_answer_of_a_connection_says_so_though_its_head_is_known() {
    let running = running(Options { requests_per_connection: 5, ..Options::default() }, counting(0));
    let mut stream = running.connect();
    let answers = each(&mut stream, &[(); 5].map(|()| get("/x")));
    assert_eq!(answers.iter().map(|answer| body(answer)).collect::<Vec<_>>(), ["1", "2", "2", "2", "3"]);
    assert!(!answers[3].contains("connection: close") && answers[4].contains("connection: close"), "{answers:?}");
    assert_eq!(read(&mut stream), "");
}

#[test]
fn a_client_that_reads_late_gets_all_of_a_known_answer() {
    // A connection has the buffers of the socket that it came to: what the kernel takes of an answer is less than one.
    let listener = std::net::TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
    listener.set_nonblocking(true).unwrap();
    rustix::net::sockopt::set_socket_send_buffer_size(&listener, 4096).unwrap();
    let handed = Handed { address: place().address, tcp: vec![listener.into()], quic: None };
    let running = Running::open(Options::default(), counting(60_000), 1, vec![handed]);
    let mut stream = running.connect();
    let whole = each(&mut stream, &[(); 2].map(|()| get("/x")))[1].len() as u64;
    let slow = rustix::net::socket(rustix::net::AddressFamily::INET, rustix::net::SocketType::STREAM, None).unwrap();
    rustix::net::sockopt::set_socket_recv_buffer_size(&slow, 1024).unwrap();
    rustix::net::connect(&slow, &running.door.as_ref().unwrap().addresses()[0]).unwrap();
    let mut slow = TcpStream::from(slow);
    let sent = || running.metrics.sent.get();
    for round in 2..7 {
        while sent() < round * whole {
            std::thread::yield_now();
        }
        slow.write_all(get("/x").as_bytes()).unwrap();
        while sent() == round * whole {
            std::thread::yield_now();
        }
        assert!(sent() < (round + 1) * whole, "only a part of it was written so far");
        let answer = answer(&mut slow);
        assert!(body(&answer).starts_with("2x") && answer.len() as u64 == whole, "{}", &answer[..200]);
    }
    assert_eq!(running.metrics.repeated.get(), 5);
}

#[test]
fn another_configuration_knows_nothing_by_heart() {
    let running = running(Options::default(), counting(0));
    let mut stream = running.connect();
    each(&mut stream, &[(); 3].map(|()| get("/x")));
    let door = running.door.as_ref().unwrap();
    let prepared = door.prepare(&[place()]).unwrap();
    let other = Respond::new(StatusCode::OK, http::HeaderMap::new(), "another");
    door.replace(serving(Options::default(), other), prepared);
    while body(&each(&mut stream, &[get("/x")])[0]) != "another" {}
    let more = each(&mut stream, &[(); 4].map(|()| get("/x")));
    assert!(more.iter().all(|answer| body(answer) == "another"), "{more:?}");
}

#[test]
fn the_sizes_of_what_is_answered_by_heart_are_counted_like_any_others() {
    let running = running(Options::default(), counting(9));
    each(&mut running.connect(), &[(); 5].map(|()| get("/x")));
    assert_eq!(running.metrics.repeated.get(), 3);
    assert_eq!(sizes::counted(running), [(0, 0), (5, 50)]);
}

#[test]
fn routes_count_what_is_answered_by_heart_and_who_looks_at_each_request_gets_each() {
    let handler = counting(0);
    let traffic = Arc::new(Traffic::default());
    let counted = traffic.count(vec![Some(Listed { label: "/x".to_owned(), ..Listed::default() })]);
    counted.commit();
    let serving = |entry| Serving {
        options: Options::default(),
        handler: Box::new(OfRoute::new(0, Arc::new(handler.clone()))),
        entry,
    };
    let bound = Bound::bind(&[place()], Threads::of(1), Vec::new()).unwrap();
    let entry = Entry { traffic: Some(counted), ..Entry::default() };
    let ids = Ids { field: http::HeaderName::from_static("x-request-id"), trust: crate::filter::config::Trust::Nobody };
    let asked = Entry { id: Some(ids), ..entry.clone() };
    let metrics = Arc::default();
    let running = Running { door: Some(bound.serve(serving(entry), &metrics).unwrap()), metrics };
    let mut stream = running.connect();
    each(&mut stream, &[(); 5].map(|()| get("/x")));
    assert_eq!(handler.asked.load(Ordering::Relaxed), 2);
    assert_eq!(traffic.metrics.time.cell(["/x"]).snapshot().count(), 5);
    // What is sent is counted once it is sent, which the client may know before.
    each(&mut stream, &[get("/x")]);
    assert!(traffic.metrics.sent.cell(["/x"]).get() >= 5);
    let door = running.door.as_ref().unwrap();
    let prepared = door.prepare(&[place()]).unwrap();
    door.replace(serving(asked), prepared);
    while !each(&mut stream, &[get("/x")])[0].contains("x-request-id: ") {}
    let before = handler.asked.load(Ordering::Relaxed);
    let ids: std::collections::HashSet<_> = each(&mut stream, &[(); 4].map(|()| get("/x"))).into_iter().collect();
    assert_eq!((ids.len(), handler.asked.load(Ordering::Relaxed)), (4, before + 4));
}
