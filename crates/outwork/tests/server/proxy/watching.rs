//! What is told of pools while they work.

use std::io::Write;
use std::net::TcpStream;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering::SeqCst};
use std::sync::mpsc::channel;

use serde_json::Value as Json;

use super::backend::{Backend, answer};
use super::{configure, place_of, site};
use crate::binary::{Client, Place, get, until, until_some};

/// The pool of the place, as the API tells of it.
fn pool(place: &Place) -> Json {
    let pools: Json = serde_json::from_str(&place.must(&["--json", "backends", "list", "app"])).expect("JSON");
    pools[0].clone()
}

/// What is told of a backend.
fn told(pool: &Json, backend: &Backend) -> Json {
    let all = pool["backends"].as_array().expect("backends");
    all.iter().find(|one| one["key"] == backend.url().as_str()).expect("the backend").clone()
}

/// What is told of a backend once that is so.
fn once(place: &Place, backend: &Backend, what: &str, so: impl Fn(&Json) -> bool) -> Json {
    until_some(what, || Some(told(&pool(place), backend)).filter(|shown| so(shown)))
}

fn number(value: &Json) -> f64 {
    value.as_f64().unwrap_or(-1.0)
}

#[test]
fn a_backend_is_shown_with_how_much_it_gets_and_since_when_it_is_what_it_is() {
    let checked = Arc::new(AtomicUsize::new(200));
    let mut place = Place::new();
    let said = Arc::clone(&checked);
    let one = Backend::acting(place.host(), move |seen, to| match seen.line.contains("/healthz") {
        true => answer(to, &format!("{} X", said.load(SeqCst)), "", b""),
        false => answer(to, "200 OK", "", b"one"),
    });
    let two = Backend::named(place.host(), "two");
    let check = "{ path = '/healthz', interval = '20ms', fast_interval = '20ms', healthy_threshold = 1, unhealthy_threshold = 1 }";
    configure(&place, &[&one, &two], &format!("slow_start = '1h'\nhealth_check = {check}"), "");
    place.start();
    let shown =
        once(&place, &one, "a check", |one| number(&one["checked_ago"]) >= 0.0 && number(&one["state_for"]) > 0.0);
    assert!(shown["state"] == "usable" && shown["share"].is_null() && shown["leaving"] == false, "{shown}");
    let shown = once(&place, &one, "a rate", |one| {
        let answer = get(&site(&place), &[]);
        assert!(answer.contains(" 200 "), "{answer}");
        number(&one["rate"]) > 1.0
    });
    assert_eq!((&shown["failures"], number(&shown["failure_rate"])), (&0.into(), 0.0), "{shown}");
    checked.store(500, SeqCst);
    let shown = once(&place, &one, "the check to fail", |one| one["state"] == "unhealthy");
    assert!(shown["problem"].as_str().is_some_and(|problem| problem.contains("500")), "{shown}");
    assert!(number(&shown["state_for"]) >= 0.0 && shown["ejected_by"].is_null(), "{shown}");
    checked.store(200, SeqCst);
    let shown = once(&place, &one, "it to be back", |one| one["state"] == "usable");
    // A tenth of its weight to begin with, and all of it in an hour.
    assert!((0.09..0.2).contains(&number(&shown["share"])) && number(&shown["starts_for"]) > 3500.0, "{shown}");
}

#[test]
fn a_pool_tells_what_was_tried_again_and_what_ejected_whom() {
    let make: [fn(&str) -> Backend; 2] = [|host| Backend::named(host, "good"), |host| Backend::named(host, "bad")];
    let (place, [good, bad]) =
        place_of(make, "outlier = { base_ejection = '1h', max_ejection = '1h' }\ndrain = '7m'", "");
    bad.set_down(true);
    let mut client = Client::new(&format!("{}:8080", place.host()));
    (0..20).for_each(|_| assert!(client.ask("GET /", "a.test").ends_with("\r\n\r\ngood")));
    let shown = once(&place, &bad, "it to be ejected", |bad| bad["state"] == "ejected");
    assert!(shown["ejected_by"] == "consecutive-gateway" && number(&shown["ejected_for"]) > 3500.0, "{shown}");
    let pool = pool(&place);
    assert_eq!((&pool["retries"], &pool["ejections"], &pool["waiting"]), (&5.into(), &1.into(), &0.into()), "{pool}");
    assert_eq!((number(&pool["drain_seconds"]), number(&pool["ejection_seconds"])), (420.0, 3600.0));
    place.must(&["backends", "admit", "app", &bad.url()]);
    place.must(&["backends", "eject", "app", &good.url(), "--for", "10m"]);
    let shown = once(&place, &good, "it to be ejected", |good| good["state"] == "ejected");
    assert!(shown["ejected_by"] == "hand" && number(&shown["ejected_for"]) <= 600.0, "{shown}");
    assert_eq!(told(&self::pool(&place), &bad)["ejected_by"], Json::Null);
    // Who is no longer in the configuration goes on with what it has.
    configure(&place, &[&good], "drain = '7m'", "");
    place.must(&["reload"]);
    let shown = once(&place, &bad, "it to leave", |bad| bad["leaving"] == true);
    assert!(shown["state"] == "draining" && number(&shown["drains_for"]) > 400.0, "{shown}");
}

#[test]
fn who_comes_back_as_its_checks_say_is_not_left_out_any_longer_but_by_hand() {
    let make: [fn(&str) -> Backend; 2] = [|host| Backend::named(host, "good"), |host| Backend::named(host, "bad")];
    let (place, [_good, bad]) = place_of(
        make,
        "outlier = { base_ejection = '1h', max_ejection = '1h' }\n\
         health_check = { interval = '50ms', fast_interval = '50ms', unhealthy_threshold = 40 }",
        "",
    );
    // The first check of all says at once what a backend is.
    once(&place, &bad, "its first check", |bad| bad["health"] == "healthy");
    bad.set_down(true);
    let mut client = Client::new(&format!("{}:8080", place.host()));
    (0..20).for_each(|_| drop(client.ask("GET /", "a.test")));
    assert_eq!(pool(&place)["ejections"], 1);
    once(&place, &bad, "its checks to fail", |bad| bad["state"] == "unhealthy");
    bad.set_down(false);
    once(&place, &bad, "it to be back", |bad| bad["state"] == "usable");
    bad.set_down(true);
    place.must(&["backends", "eject", "app", &bad.url(), "--for", "1h"]);
    once(&place, &bad, "its checks to fail", |bad| bad["state"] == "unhealthy");
    bad.set_down(false);
    let shown = once(&place, &bad, "its checks to pass", |bad| bad["health"] == "healthy");
    assert_eq!((&shown["state"], &shown["ejected_by"]), (&"ejected".into(), &"hand".into()), "{shown}");
}

#[test]
fn a_request_whose_client_leaves_the_line_is_not_counted_as_waiting_any_more() {
    let (go, wait) = channel::<()>();
    let wait = std::sync::Mutex::new(wait);
    let mut place = Place::new();
    let backend = Backend::acting(place.host(), move |_, to| {
        wait.lock().expect("one at a time").recv().expect("it goes on");
        answer(to, "200 OK", "", b"done")
    });
    configure(&place, &[&backend], "limits = { requests = 1, pending_timeout = '60s' }", "");
    place.start();
    let url = site(&place);
    let first = std::thread::spawn(move || get(&url, &[]));
    until("the first to be there", || backend.requests() == 1);
    let mut second = TcpStream::connect((place.host(), 8080)).expect("it listens");
    second.write_all(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n").expect("it is heard");
    let metrics = format!("http://{}:8067/metrics", place.host());
    let waiting = |count: u32| {
        let all = get(&metrics, &[]);
        let of_pool = format!("outwork_proxy_pool_waiting{{pool=\"app\"}} {count}\n");
        all.contains(&format!("outwork_proxy_waiting {count}\n")) && all.contains(&of_pool)
    };
    until("the second to wait", || waiting(1));
    drop(second);
    until("nobody to wait", || waiting(0));
    go.send(()).expect("the backend waits");
    assert!(first.join().expect("an answer").ends_with("done"));
}
