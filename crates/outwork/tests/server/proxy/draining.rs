//! Backends that are taken out: what they have goes on until its time is over, and no longer.

use std::io::{ErrorKind, Read, Write};
use std::net::TcpStream;
use std::sync::Mutex;
use std::sync::mpsc::{Receiver, Sender, channel};
use std::thread::JoinHandle;
use std::time::Duration;

use super::backend::{Backend, Seen};
use super::extras::count;
use super::{configure, site};
use crate::binary::{Place, get, json, text, until};

/// Says a part of its answer at `/long`, and the rest once it is told to; nothing at `/silent`; and back what it hears on a WebSocket.
struct Slow {
    backend: Backend,
    go: Sender<()>,
}

impl Slow {
    fn start(host: &str) -> Self {
        let (go, goes) = channel();
        let goes = Mutex::new(goes);
        Self { backend: Backend::acting(host, move |seen, to| slow(seen, to, &goes)), go }
    }
}

fn slow(seen: &Seen, to: &mut TcpStream, goes: &Mutex<Receiver<()>>) -> bool {
    if seen.line.starts_with("GET /long ") {
        to.write_all(b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n5\r\nfirst\r\n").expect("it is read");
        // Who asked may have been told that there is no more.
        return goes.lock().expect("one at a time").recv().is_ok() && to.write_all(b"4\r\nlast\r\n0\r\n\r\n").is_ok();
    }
    if seen.line.starts_with("GET /chat ") {
        let head = b"HTTP/1.1 101 Switching Protocols\r\nupgrade: websocket\r\nconnection: Upgrade\r\n\r\nhello";
        to.write_all(head).expect("it is read");
    }
    let mut from = to.try_clone().expect("the same stream");
    // Its client may be cut off.
    let _ = std::io::copy(&mut from, to);
    false
}

/// A connection that asks for this, with what it hears until it ends so.
fn ask(place: &Place, path: &str, fields: &str, end: &str) -> TcpStream {
    let mut stream = TcpStream::connect((place.host(), 8080)).expect("it listens");
    stream.set_read_timeout(Some(Duration::from_secs(60))).expect("a timeout");
    stream.write_all(format!("GET {path} HTTP/1.1\r\nHost: a\r\n{fields}\r\n").as_bytes()).expect("it is heard");
    let mut heard = String::new();
    while !heard.contains(end) {
        let mut some = [0; 1024];
        let read = stream.read(&mut some).expect("more");
        assert!(read > 0, "{heard}");
        heard.push_str(&text(&some[..read]));
    }
    stream
}

fn chat(place: &Place) -> TcpStream {
    ask(place, "/chat", "Connection: Upgrade\r\nUpgrade: websocket\r\n", "hello")
}

fn long(place: &Place) -> TcpStream {
    ask(place, "/long", "", "first")
}

fn silent(place: &Place) -> JoinHandle<String> {
    let url = format!("{}/silent", site(place));
    std::thread::spawn(move || get(&url, &[]))
}

/// What is heard until a connection ends, however that is.
fn rest(mut stream: TcpStream) -> String {
    let mut heard = Vec::new();
    if let Err(error) = stream.read_to_end(&mut heard) {
        assert_eq!(error.kind(), ErrorKind::ConnectionReset, "{}", text(&heard));
    }
    text(&heard)
}

fn drained(place: &Place, what: &str) -> u64 {
    count(place, &format!("outwork_proxy_drained_total{{what=\"{what}\"}}"))
}

/// That all of this ends before its end, and is counted, and that who has heard nothing yet is told so.
fn ends(place: &Place, chat: TcpStream, long: TcpStream, silent: JoinHandle<String>, told: &str) {
    assert_eq!(rest(chat), "");
    let answer = rest(long);
    assert!(!answer.contains("last") && !answer.ends_with("0\r\n\r\n"), "{answer:?}");
    let answer = silent.join().expect("an answer");
    assert!(answer.starts_with(&format!("HTTP/1.1{told}")), "{answer}");
    assert_eq!(["tunnel", "answer", "request"].map(|what| drained(place, what)), [1; 3]);
    until("its connections to have ended", || count(place, "outwork_proxy_connections") == 0);
}

#[test]
fn what_a_drained_backend_has_ends_once_its_time_is_over() {
    let mut place = Place::new();
    let slow = Slow::start(place.host());
    configure(&place, &[&slow.backend], "", "");
    place.start();
    let (chat, long, silent) = (chat(&place), long(&place), silent(&place));
    until("the backend to have all", || slow.backend.requests() == 3);
    place.must(&["backends", "drain", "app", &slow.backend.url(), "--for", "1s"]);
    ends(&place, chat, long, silent, " 503 ");
    assert_eq!(count(&place, "outwork_proxy_tunnels"), 0);
}

#[test]
fn a_request_ends_with_the_time_of_its_backend_however_lately_it_has_begun() {
    let mut place = Place::new();
    let slow = Slow::start(place.host());
    configure(&place, &[&slow.backend], "", "");
    // No request is older than this.
    place.change(|text| text.replace("path = '/*'\n", "path = '/*'\ntimeout = '900ms'\n"));
    place.start();
    // It may be over before its backend is drained, where the machine is slow.
    let ends = (0..20).any(|_| {
        let before = slow.backend.requests();
        let silent = silent(&place);
        until("the backend to have it", || slow.backend.requests() > before);
        place.must(&["backends", "drain", "app", &slow.backend.url(), "--for", "0s"]);
        drop(silent.join().expect("an answer"));
        place.must(&["backends", "admit", "app", &slow.backend.url()]);
        drained(&place, "request") > 0
    });
    assert!(ends, "it was left alone until it was over");
}

#[test]
fn what_a_backend_has_that_was_taken_out_of_the_configuration_ends_after_the_drain_of_its_pool() {
    let mut place = Place::new();
    let (slow, other) = (Slow::start(place.host()), Backend::named(place.host(), "other"));
    configure(&place, &[&slow.backend], "", "");
    place.start();
    let (chat, long, silent) = (chat(&place), long(&place), silent(&place));
    until("the backend to have all", || slow.backend.requests() == 3);
    configure(&place, &[&other], "drain = '1s'", "");
    place.must(&["reload"]);
    ends(&place, chat, long, silent, " 200 ");
    assert!(get(&site(&place), &[]).ends_with("other"));
}

#[test]
fn what_a_pool_has_that_left_the_configuration_ends_after_its_drain() {
    let mut place = Place::new();
    let slow = Slow::start(place.host());
    configure(&place, &[&slow.backend], "drain = '1s'", "");
    place.start();
    let (chat, long, silent) = (chat(&place), long(&place), silent(&place));
    until("the backend to have all", || slow.backend.requests() == 3);
    place.change(|text| {
        let kept = text.split("# proxy").next().unwrap_or_default().to_owned();
        let host = place.host();
        format!("{kept}[[front.listener]]\naddress = '{host}:8080'\n[[front.route]]\npath = '/*'\nrespond = {{ body = 'here' }}\n")
    });
    place.must(&["reload"]);
    ends(&place, chat, long, silent, " 503 ");
    assert!(get(&site(&place), &[]).ends_with("here"));
}

#[test]
fn what_ends_before_its_time_is_over_is_left_alone() {
    let mut place = Place::new();
    let slow = [Slow::start(place.host()), Slow::start(place.host())];
    configure(&place, &[&slow[0].backend, &slow[1].backend], "", "");
    place.start();
    let long = long(&place);
    until("one to have it", || slow.iter().any(|slow| slow.backend.requests() == 1));
    let (has, other) = if slow[0].backend.requests() == 1 { (&slow[0], &slow[1]) } else { (&slow[1], &slow[0]) };
    place.must(&["backends", "drain", "app", &has.backend.url(), "--for", "10m"]);
    // By this, others are seen to have been looked at.
    let chat = chat(&place);
    assert_eq!(other.backend.requests(), 1);
    place.must(&["backends", "drain", "app", &other.backend.url(), "--for", "1s"]);
    assert_eq!(rest(chat), "");
    has.go.send(()).expect("it waits");
    let mut long = long;
    let mut heard = String::new();
    while !heard.ends_with("4\r\nlast\r\n0\r\n\r\n") {
        let mut some = [0; 1024];
        let read = long.read(&mut some).expect("the rest of it");
        assert!(read > 0, "{heard}");
        heard.push_str(&text(&some[..read]));
    }
    assert_eq!(["tunnel", "answer"].map(|what| drained(&place, what)), [1, 0]);
}

#[test]
fn what_is_said_of_a_backend_after_an_upgrade_holds_of_what_it_had_before_it() {
    let mut place = Place::new();
    let slow = Slow::start(place.host());
    configure(&place, &[&slow.backend], "", "");
    place.start();
    let chat = chat(&place);
    let upgraded = json(&place.outwork(&["upgrade", "--json"]));
    let mut before = place.succeed(&upgraded["process"]);
    place.must(&["backends", "drain", "app", &slow.backend.url(), "--for", "1s"]);
    assert_eq!(rest(chat), "");
    assert!(before.wait().expect("it ends").success());
}

#[test]
fn what_a_drained_backend_has_not_answered_in_time_another_is_asked_for() {
    let mut place = Place::new();
    let (slow, other) = (Slow::start(place.host()), Backend::named(place.host(), "other"));
    configure(&place, &[&slow.backend, &other], "", "");
    place.start();
    place.must(&["backends", "eject", "app", &other.url(), "--for", "1h"]);
    let silent = silent(&place);
    until("the backend to have it", || slow.backend.requests() == 1);
    place.must(&["backends", "admit", "app", &other.url()]);
    place.must(&["backends", "drain", "app", &slow.backend.url(), "--for", "1s"]);
    let told = silent.join().expect("an answer");
    assert!(told.starts_with("HTTP/1.1 200 ") && told.ends_with("other"), "{told}");
    assert_eq!(count(&place, "outwork_proxy_ejections_total{detector=\"consecutive-gateway\"}"), 0);
}

#[test]
fn the_access_log_names_who_had_not_answered_when_it_was_taken_out_and_nobody_else_was_there() {
    let mut place = Place::new();
    let slow = Slow::start(place.host());
    let log = "[front.access_log]\nfile = 'access.log'\nfields = ['status', 'backend', 'attempts']";
    configure(&place, &[&slow.backend], log, "");
    place.start();
    let silent = silent(&place);
    until("the backend to have it", || slow.backend.requests() == 1);
    place.must(&["backends", "drain", "app", &slow.backend.url(), "--for", "1s"]);
    assert!(silent.join().expect("an answer").starts_with("HTTP/1.1 503 "));
    assert!(place.stop(15).success());
    let line = std::fs::read_to_string(place.path().join("access.log")).expect("a log");
    let line: serde_json::Value = serde_json::from_str(line.trim()).expect("one line");
    assert_eq!(line["status"], 503);
    assert_eq!((&line["backend"], &line["attempts"]), (&slow.backend.url().into(), &1.into()), "{line}");
}
