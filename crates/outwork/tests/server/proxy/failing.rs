//! Backends that fail.

use std::sync::atomic::{AtomicUsize, Ordering::SeqCst};
use std::sync::mpsc::channel;

use super::backend::{Backend, answer};
use super::{body, configure, place_of, site};
use crate::binary::{Client, Place, field, get, json, until};

/// A port where nobody listens.
fn nobody(host: &str) -> String {
    let listener = std::net::TcpListener::bind((host, 0)).expect("a port");
    listener.local_addr().expect("an address").to_string()
}

#[test]
fn a_request_that_one_backend_fails_is_answered_by_another() {
    let make: [fn(&str) -> Backend; 2] = [|host| Backend::named(host, "good"), |host| Backend::named(host, "bad")];
    let (place, [good, bad]) = place_of(make, "", "");
    bad.set_down(true);
    let mut client = Client::new(&format!("{}:8080", place.host()));
    for _ in 0..20 {
        assert!(client.ask("GET /", "a.test").ends_with("\r\n\r\ngood"));
    }
    assert_eq!(good.requests(), 20);
    let tried = bad.connections();
    assert!((5..=6).contains(&tried), "after five failures in a row it is left out: {tried}");
}

#[test]
fn the_only_backend_is_asked_again_and_no_more_often_than_that() {
    let (place, [bad]) = place_of([|host| Backend::named(host, "bad")], "outlier = { enabled = false }", "");
    bad.set_down(true);
    let answer = get(&site(&place), &[]);
    assert!(answer.contains(" 502 ") && bad.connections() == 3, "{} {answer}", bad.connections());
    bad.set_down(false);
    assert_eq!(body(&get(&site(&place), &[])), "bad");
}

#[test]
fn what_is_tried_again_has_all_of_its_content() {
    let echo = |seen: &super::backend::Seen, to: &mut std::net::TcpStream| {
        answer(to, "200 OK", &format!("x-length: {}\r\n", seen.field("content-length").unwrap_or("none")), &seen.body)
    };
    let failing =
        |_: &super::backend::Seen, to: &mut std::net::TcpStream| answer(to, "503 Service Unavailable", "", b"");
    let mut place = Place::new();
    let (good, bad) = (Backend::acting(place.host(), echo), Backend::acting(place.host(), failing));
    configure(&place, &[&good, &bad], "outlier = { enabled = false }", "");
    place.start();
    for (framing, length) in [("X-Nothing: 1", Some("11")), ("Transfer-Encoding: chunked", None)] {
        for _ in 0..4 {
            let told = get(&site(&place), &["-X", "PUT", "-d", "hello again", "-H", framing]);
            assert_eq!(body(&told), "hello again", "{told}");
            assert_eq!(field(&told, "x-length"), length.or(Some("none")), "{told}");
        }
    }
    assert!(bad.requests() > 0 && good.requests() == 8, "{} {}", bad.requests(), good.requests());
}

#[test]
fn what_must_not_be_asked_twice_is_not() {
    let make: [fn(&str) -> Backend; 2] = [|host| Backend::named(host, "good"), |host| Backend::named(host, "bad")];
    let (place, [good, bad]) = place_of(make, "", "");
    bad.set_down(true);
    let answers: Vec<String> = (0..4).map(|_| get(&site(&place), &["-d", "x=1"])).collect();
    let failed = answers.iter().filter(|answer| answer.contains(" 502 ")).count();
    // Each thread has its own turns.
    assert_eq!((failed, failed + good.requests()), (bad.connections(), 4), "{answers:?}");
    let told = answers.iter().find(|answer| answer.contains(" 502 ")).expect("one");
    assert!(told.contains("the backend broke off before it answered"), "{told}");
}

#[test]
fn what_no_backend_has_begun_with_is_asked_of_another_whatever_it_is() {
    let mut place = Place::new();
    let good = Backend::named(place.host(), "good");
    let gone = nobody(place.host());
    configure(&place, &[&good], "", "");
    place.change(|text| text.replace("backend = [", &format!("backend = [{{ url = 'http://{gone}' }}, ")));
    place.start();
    for _ in 0..6 {
        assert_eq!(body(&get(&site(&place), &["-d", "x=1"])), "good");
    }
}

#[test]
fn whose_fault_it_is_is_said() {
    let mut place = Place::new();
    let slow = Backend::acting(place.host(), |_, to| {
        // It says nothing, and waits for the end.
        let mut rest = Vec::new();
        let _ = std::io::Read::read_to_end(to, &mut rest);
        false
    });
    let gone = nobody(place.host());
    configure(&place, &[&slow], "connections = { response_timeout = '200ms' }\nretry = { attempts = 0 }", "");
    place.start();
    let ask = |expected: &str| {
        let answer = get(&site(&place), &["-H", "Accept: application/json"]);
        assert!(answer.contains(expected) && answer.contains("\"fault\":\"upstream\""), "{answer}");
        assert!(answer.contains("\"request_id\":"), "{answer}");
    };
    ask(" 504 ");
    configure(&place, &[], "retry = { attempts = 0 }", "");
    place.change(|text| text.replace("backend = [", &format!("backend = [{{ url = 'http://{gone}' }}")));
    place.must(&["reload"]);
    ask(" 502 ");
    configure(
        &place,
        &[],
        "panic_threshold = 0\nhealth_check = { kind = 'tcp', interval = '20ms', fast_interval = '20ms' }",
        "",
    );
    place.change(|text| text.replace("backend = [", &format!("backend = [{{ url = 'http://{gone}' }}")));
    place.must(&["reload"]);
    until("the check to fail", || get(&site(&place), &[]).contains(" 503 "));
    ask("no backend is healthy");
}

#[test]
fn a_backend_that_fails_its_checks_gets_nothing_until_it_passes_them_again() {
    let healthy = std::sync::Arc::new(AtomicUsize::new(200));
    let mut place = Place::new();
    let said = std::sync::Arc::clone(&healthy);
    let one = Backend::acting(place.host(), move |seen, to| match seen.line.contains("/healthz") {
        true => answer(to, &format!("{} X", said.load(SeqCst)), "", b"all is well"),
        false => answer(to, "200 OK", "", b"one"),
    });
    let two = Backend::acting(place.host(), |seen, to| match seen.line.contains("/healthz") {
        true => answer(to, "200 OK", "", b"all is well"),
        false => answer(to, "200 OK", "", b"two"),
    });
    let check = "health_check = { path = '/healthz', status = '200', body = 'is well', interval = '20ms', fast_interval = '20ms' }";
    configure(&place, &[&one, &two], check, "");
    place.start();
    let answers = || -> Vec<String> { (0..4).map(|_| body(&get(&site(&place), &[])).to_owned()).collect() };
    until("both to answer", || answers().iter().any(|answer| answer == "one"));
    healthy.store(500, SeqCst);
    until("one to be left out", || answers().iter().all(|answer| answer == "two"));
    healthy.store(200, SeqCst);
    until("it to be back", || answers().iter().any(|answer| answer == "one"));
}

#[test]
fn a_backend_that_is_killed_under_load_costs_no_request() {
    let make: [fn(&str) -> Backend; 3] =
        [|host| Backend::named(host, "one"), |host| Backend::named(host, "two"), |host| Backend::named(host, "three")];
    let (place, backends) = place_of(make, "retry = { floor = 1000 }", "");
    let url = site(&place);
    let load = std::thread::spawn({
        let dir = place.path().to_owned();
        move || {
            crate::binary::outwork(
                &dir,
                &[
                    "--json",
                    "bench",
                    "web",
                    &url,
                    "--duration",
                    "3s",
                    "--warm-up",
                    "0s",
                    "--connections",
                    "8",
                    "--rate",
                    "300",
                ],
            )
        }
    });
    until("the load to be there", || backends[0].requests() > 50);
    backends[0].set_down(true);
    until("the others to go on", || backends[1].requests() > 300);
    backends[0].set_down(false);
    let report = json(&load.join().expect("a report"));
    let (answered, failures) = (&report["statuses"]["200"], &report["failures"]);
    assert_eq!((answered, failures.as_object().map(serde_json::Map::len)), (&report["answered"], Some(0)), "{report}");
}

#[test]
fn requests_wait_for_a_backend_that_has_as_many_as_it_may_have() {
    let (go, wait) = channel::<()>();
    let wait = std::sync::Mutex::new(wait);
    let mut host = Place::new();
    let backend = Backend::acting(host.host(), move |_, to| {
        wait.lock().expect("one at a time").recv().expect("it goes on");
        answer(to, "200 OK", "", b"done")
    });
    configure(&host, &[&backend], "limits = { requests = 1, pending = 1, pending_timeout = '60s' }", "");
    host.start();
    let ask = || {
        let url = site(&host);
        std::thread::spawn(move || get(&url, &[]))
    };
    let first = ask();
    until("the first to be there", || backend.requests() == 1);
    let second = ask();
    let metrics = format!("http://{}:8067/metrics", host.host());
    let waiting = || get(&metrics, &[]).contains("outwork_proxy_waiting 1\n");
    until("the second to wait", waiting);
    let third = get(&site(&host), &[]);
    assert!(third.contains(" 503 ") && third.contains("too many requests wait for a backend already"), "{third}");
    assert_eq!(field(&third, "retry-after"), Some("1"), "{third}");
    go.send(()).expect("the backend waits");
    assert_eq!(body(&first.join().expect("an answer")), "done");
    go.send(()).expect("the backend waits");
    assert_eq!(body(&second.join().expect("an answer")), "done");
}

#[test]
fn an_answer_that_is_no_http_goes_no_further() {
    let wrong = |host: &str| {
        Backend::acting(host, |_, to| {
            std::io::Write::write_all(
                to,
                b"HTTP/1.1 200 OK\r\ncontent-length: 5\r\ntransfer-encoding: chunked\r\n\r\n0\r\n\r\n",
            )
            .expect("it is read");
            false
        })
    };
    let (place, [_backend]) = place_of([wrong], "retry = { attempts = 0 }", "");
    let answer = get(&site(&place), &[]);
    assert!(answer.contains(" 502 ") && answer.contains("the backend's answer is malformed"), "{answer}");
    assert_eq!(field(&answer, "transfer-encoding"), None);
}

#[test]
fn an_answer_that_breaks_off_is_not_taken_for_a_whole_one() {
    let cut = |host: &str| {
        Backend::acting(host, |_, to| {
            std::io::Write::write_all(to, b"HTTP/1.1 200 OK\r\ncontent-length: 500000\r\n\r\nhalf")
                .expect("it is read");
            false
        })
    };
    let mut there = Place::new();
    let backend = cut(there.host());
    configure(&there, &[&backend], "", "");
    there.start();
    let output = crate::binary::curl().arg(site(&there)).output().expect("curl");
    assert!(!output.status.success(), "{output:?}");
}
