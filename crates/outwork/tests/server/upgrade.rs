//! Another process in the place of the one that runs: no connection is refused, nothing that was asked stays unanswered.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::os::unix::net::UnixDatagram;
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::time::Duration;

use crate::binary::{Place, command, get, install, json, text, until};
use serde_json::Value as Json;

const LARGE: usize = 64 << 20;

/// A place with a front door, and the door's address.
fn place() -> (Place, String) {
    let place = Place::with(
        "[[front.listener]]\naddress = 'HOST:8080'\n[[front.route]]\npath = '/'\nrespond = { body = 'routed' }\n\
         [[front.route]]\npath = '/files/*'\nfiles = { root = '.' }\n\
         [[front.route]]\npath = '/kept'\nrespond = { body = 'kept' }\ncache = { ttl = '1h' }\n\
         [cache.l3]\nenabled = true\nsize = '16MiB'\n",
    );
    let address = format!("{}:8080", place.host());
    std::fs::create_dir(place.path().join("files")).expect("a folder");
    std::fs::write(place.path().join("files/large"), vec![b'x'; LARGE]).expect("a file");
    (place, address)
}

fn connect(address: &str) -> TcpStream {
    let stream = TcpStream::connect(address).expect("nobody is refused");
    stream.set_read_timeout(Some(Duration::from_secs(60))).expect("a timeout");
    stream
}

/// One answer of a connection.
fn ask(stream: &mut TcpStream) -> String {
    stream.write_all(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n").expect("it is open");
    let mut answer = Vec::new();
    while !answer.ends_with(b"routed") {
        let mut some = [0; 1024];
        let read = stream.read(&mut some).expect("an answer");
        assert!(read > 0, "every request is answered: {}", text(&answer));
        answer.extend_from_slice(&some[..read]);
    }
    text(&answer)
}

/// Clients that ask without a pause, on connections that stay as long as the server lets them. Whatever fails panics.
pub(crate) struct Load {
    over: Arc<AtomicBool>,
    answers: Arc<AtomicU32>,
    clients: Vec<std::thread::JoinHandle<()>>,
}

impl Load {
    pub(crate) fn begin(address: &str) -> Self {
        let (over, answers) = (Arc::<AtomicBool>::default(), Arc::<AtomicU32>::default());
        let client = |requests: usize| {
            let (over, answers, address) = (Arc::clone(&over), Arc::clone(&answers), address.to_owned());
            std::thread::spawn(move || {
                while !over.load(Ordering::Relaxed) {
                    let mut stream = connect(&address);
                    for _ in 0..requests {
                        let answer = ask(&mut stream);
                        answers.fetch_add(1, Ordering::Relaxed);
                        if answer.contains("connection: close") || over.load(Ordering::Relaxed) {
                            break;
                        }
                    }
                }
            })
        };
        let clients = vec![client(1), client(usize::MAX), client(7)];
        Self { over, answers, clients }
    }

    /// Waits until so many more were answered.
    pub(crate) fn go_on(&self, more: u32) {
        let before = self.answers.load(Ordering::Relaxed);
        while self.answers.load(Ordering::Relaxed) < before + more {
            assert!(self.clients.iter().all(|client| !client.is_finished()), "a client was refused");
            std::thread::sleep(Duration::from_millis(1));
        }
    }

    pub(crate) fn end(self) {
        self.over.store(true, Ordering::Relaxed);
        self.clients.into_iter().for_each(|client| client.join().expect("nobody was refused"));
    }
}

fn status(place: &Place) -> Json {
    json(&place.outwork(&["status", "--json"]))
}

#[test]
fn an_upgrade_refuses_no_connection_and_answers_what_was_asked_before() {
    let (mut place, address) = place();
    let supervisor = UnixDatagram::bind(place.path().join("notify")).expect("a socket");
    supervisor.set_read_timeout(Some(Duration::from_secs(60))).expect("a timeout");
    let told = || {
        let mut text = [0; 200];
        let length = supervisor.recv(&mut text).expect("a word");
        self::text(&text[..length]).trim().to_owned()
    };
    place.start_with(&[("NOTIFY_SOCKET", place.path().join("notify"))]);
    assert_eq!(told(), "READY=1");
    let load = Load::begin(&address);
    let mut download = connect(&address);
    download.write_all(b"GET /files/large HTTP/1.1\r\nHost: a\r\n\r\n").expect("it is open");
    let mut some = [0; 100];
    download.read_exact(&mut some).expect("its beginning");
    load.go_on(100);
    let kept = format!("http://{address}/kept");
    assert!(get(&kept, &[]).contains("stored"));
    let before = status(&place);
    let upgraded = json(&place.outwork(&["upgrade", "--json"]));
    let mut first = place.succeed(&upgraded["process"]);
    assert_ne!(status(&place)["started"], before["started"]);
    assert!(get(&kept, &[]).contains("Outwork; hit"), "what was on disk has gone over");
    // Each tells its part, in any order.
    let mut words = [told(), told()];
    words.sort();
    assert_eq!(words, [format!("MAINPID={}", upgraded["process"]), "READY=1".to_owned()]);
    load.go_on(100);
    let mut rest = vec![0; LARGE];
    let mut received = 0;
    // It begins with its head.
    while received < LARGE {
        let read = download.read(&mut rest[received..]).expect("what was asked before is answered");
        assert!(read > 0 || received + 100 > LARGE, "{received}");
        received += read;
        if read == 0 {
            break;
        }
    }
    drop(download);
    assert_eq!(first.wait().expect("it ends").code(), Some(0));
    // And once more, by a signal.
    let kill = Command::new("kill").args(["-USR2", &upgraded["process"].to_string()]).status();
    assert!(kill.expect("kill runs").success());
    let second = loop {
        load.go_on(10);
        let word = told();
        if let Some(process) = word.strip_prefix("MAINPID=") {
            break process.parse::<u32>().expect("a number");
        }
    };
    load.go_on(100);
    load.end();
    place.succeed(&second.into());
    assert!(status(&place)["services"].as_array().is_some_and(|all| all.iter().all(|one| one["ready"] == true)));
    let log = std::fs::read_to_string(place.path().join("log")).expect("the log");
    assert!(log.matches("another process serves in the place of this one").count() == 2, "{log}");
}

#[test]
fn a_load_over_any_version_of_http_loses_no_request_to_an_upgrade() {
    let mut place = Place::with(
        "[[front.listener]]\naddress = 'HOST:8080'\n[[front.listener]]\naddress = 'HOST:8443'\ntls = { local = ['HOST'] }\n\
         [[front.route]]\npath = '/'\nrespond = { body = 'routed' }\n",
    );
    place.start();
    let host = place.host().to_owned();
    let loads = [("1.1", "http", 8080), ("2", "http", 8080), ("2", "https", 8443), ("3", "https", 8443)];
    let loads = loads.map(|(version, scheme, port)| {
        let few = ["bench", "web", "--connections", "4", "--streams", "8", "--warm-up", "0s", "--duration", "5s"];
        let url = format!("{scheme}://{host}:{port}/");
        let line = [&few, &["--json", "--insecure", "--http", version, url.as_str()][..]].concat();
        command(place.path(), &line).stdout(Stdio::piped()).spawn().expect("a load")
    });
    let metrics = format!("http://{host}:8067/metrics");
    until("all of them", || get(&metrics, &[]).contains("\noutwork_front_connections_open 16\n"));
    let upgraded = json(&place.outwork(&["upgrade", "--json"]));
    let mut first = place.succeed(&upgraded["process"]);
    for load in loads {
        let report = json(&load.wait_with_output().expect("it ends"));
        assert!(report["failures"] == serde_json::json!({}) && report["statuses"]["200"].is_u64(), "{report}");
    }
    assert_eq!(first.wait().expect("it ends").code(), Some(0));
}

#[test]
fn a_process_whose_place_is_taken_still_ends_when_it_is_told_to() {
    let (mut place, address) = place();
    place.start();
    // It holds the process before for as long as it takes.
    let mut download = connect(&address);
    download.write_all(b"GET /files/large HTTP/1.1\r\nHost: a\r\n\r\n").expect("it is open");
    download.read_exact(&mut [0; 100]).expect("its beginning");
    let before = place.pid();
    let upgraded = json(&place.outwork(&["upgrade", "--json"]));
    let mut first = place.succeed(&upgraded["process"]);
    let kill = Command::new("kill").args(["-TERM", &before.to_string()]).status();
    assert!(kill.expect("kill runs").success());
    assert_eq!(first.wait().expect("it ends").code(), Some(0));
    ask(&mut connect(&address));
}

#[test]
fn an_upgrade_that_cannot_start_changes_nothing_and_says_why() {
    let (mut place, address) = place();
    let program = place.own_program();
    place.start();
    let mut kept = connect(&address);
    let mut refused = |why: &str, place: &Place| {
        let refused = place.outwork(&["upgrade"]);
        let said = text(&refused.stderr);
        assert!(!refused.status.success() && said.contains(why), "{why}: {said}");
        assert!(!ask(&mut kept).contains("connection: close"));
        ask(&mut connect(&address));
    };
    let file = place.path().join("outwork.toml");
    let good = std::fs::read_to_string(&file).expect("the file");
    std::fs::write(&file, good.replace("respond = {", "respnod = {")).expect("the file");
    refused("respnod", &place);
    let taken = std::net::TcpListener::bind(format!("{}:8090", address.split(':').next().expect("an address")));
    let other = taken.as_ref().expect("a port").local_addr().expect("an address");
    std::fs::write(&file, format!("{good}[[front.listener]]\naddress = '{other}'\n")).expect("the file");
    refused(&format!("cannot listen on {other}"), &place);
    std::fs::write(&file, &good).expect("the file");
    std::fs::remove_file(&program).expect("a file");
    refused("cannot start", &place);
    script(&program, "exit 3");
    refused("the other process has ended", &place);
}

#[test]
fn an_upgrade_after_which_nobody_serves_is_told_of_soon() {
    let (mut place, _) = place();
    let program = place.own_program();
    place.start();
    // It is ready, and takes the server along when its turn has come.
    script(
        &program,
        r#"exec perl -e 'do { sysread(STDIN, $word, 70000) } until $word =~ /"listeners"/;
        open(my $line, ">&=", 0); syswrite($line, "\0" x 8 . "\"ready\""); sysread(STDIN, $word, 70000); kill 9, getppid(); exit 1'"#,
    );
    let upgraded = place.outwork(&["upgrade"]);
    assert!(text(&upgraded.stderr).contains("nobody serves in its place"), "{upgraded:?}");
    assert!(!upgraded.status.success());
}

/// A program that is another.
fn script(program: &std::path::Path, lines: &str) {
    let written = program.with_extension("script");
    std::fs::write(&written, format!("#!/bin/sh\n{lines}\n")).expect("a file");
    // Not written over: it may be running.
    let _ = std::fs::remove_file(program);
    install(&written, program);
}

#[test]
fn a_successor_that_fails_after_all_is_replaced_by_the_program_before_it() {
    let (mut place, address) = place();
    let program = place.own_program();
    place.start();
    // It says that it is ready, and ends when its turn has come.
    let says = r#"exec perl -e 'do { sysread(STDIN, $word, 70000) } until $word =~ /"listeners"/;
        open(my $line, ">&=", 0); syswrite($line, "\0" x 8 . "\"ready\""); sysread(STDIN, $word, 70000); exit 1'"#;
    script(&program, says);
    let load = Load::begin(&address);
    load.go_on(100);
    let started = status(&place)["started"].clone();
    let upgraded = json(&place.outwork(&["upgrade", "--json"]));
    assert!(upgraded["process"].is_u64(), "{upgraded}");
    assert_ne!(status(&place)["started"], started);
    load.go_on(100);
    load.end();
    let log = std::fs::read_to_string(place.path().join("log")).expect("the log");
    let last = log.lines().rev().find_map(|line| line.split_once("the place of this one")?.1.split("process=").nth(1));
    let process = last.expect("the process that serves").trim().parse::<u32>().expect("a number");
    place.succeed(&process.into());
    assert!(log.contains("the upgrade has failed"), "{log}");
}
