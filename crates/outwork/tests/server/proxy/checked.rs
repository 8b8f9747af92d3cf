//! What checks of health ask, and what they take for a good answer.

use std::sync::{Arc, Mutex};

use super::backend::{Backend, answer};
use super::choosing::{configure, of_backends};
use super::extras::count;
use super::site;
use crate::binary::{Client, Place, field, get, until};

/// A check by HTTP that is made often, with this besides.
fn check(more: &str) -> String {
    let often = "interval = '20ms', fast_interval = '20ms', unhealthy_threshold = 1, healthy_threshold = 1";
    format!("panic_threshold = 0\nhealth_check = {{ path = '/healthz', {often}, {more} }}")
}

/// A backend that answers a check with this.
fn answering(host: &str, status: &'static str, body: &'static str) -> Backend {
    Backend::acting(host, move |seen, to| match seen.line.contains("/healthz") {
        true => answer(to, status, "", body.as_bytes()),
        false => answer(to, "200 OK", "", b"hello"),
    })
}

/// Waits until these are judged so.
fn judged(place: &Place, backends: &[(&Backend, &str)], wanted: &[&str]) {
    let backends: Vec<&Backend> = backends.iter().map(|(backend, _)| *backend).collect();
    until(&format!("{wanted:?}"), || of_backends(place, &backends, "health") == wanted);
}

#[test]
fn an_answer_is_a_good_one_by_its_status_and_by_what_is_in_it() {
    let mut place = Place::new();
    let answers = [("200 OK", "all is well"), ("200 OK", "all is ill"), ("404 X", "is well"), ("302 X", "is well")];
    let made = answers.map(|(status, body)| answering(place.host(), status, body));
    let backends: Vec<(&Backend, &str)> = made.iter().map(|backend| (backend, "")).collect();
    configure(&place, &backends, "", &check("status = '200-299, 404'"));
    place.start();
    judged(&place, &backends, &["healthy", "healthy", "healthy", "unhealthy"]);
    let key = |backend: &Backend| format!("outwork_proxy_backend_state{{pool=\"app\",backend=\"{}\"}}", backend.url());
    until("it to be shown", || (count(&place, &key(&made[0])), count(&place, &key(&made[3]))) == (1, 4));
    configure(&place, &backends, "", &check("status = '200-299, 404', body = 'is well'"));
    place.must(&["reload"]);
    judged(&place, &backends, &["healthy", "unhealthy", "healthy", "unhealthy"]);
    configure(&place, &backends, "", &check("body = 'is ill'"));
    place.must(&["reload"]);
    // A redirection is a good answer where nothing is said of that; what is in it is not.
    judged(&place, &backends, &["unhealthy", "healthy", "unhealthy", "unhealthy"]);
    configure(&place, &backends[..1], "", &format!("{}\ndrain = '0s'", check("body = 'is well'")));
    place.must(&["reload"]);
    let states = || {
        let shown = get(&format!("http://{}:8067/metrics", place.host()), &[]);
        shown.lines().filter(|line| line.starts_with("outwork_proxy_backend_state{")).count()
    };
    until("those that have left to be told of no longer", || states() == 1);
}

#[test]
fn a_check_asks_for_the_host_that_it_is_told() {
    let mut place = Place::new();
    let asked: Arc<Mutex<Vec<String>>> = Arc::default();
    let told = Arc::clone(&asked);
    let backend = Backend::acting(place.host(), move |seen, to| {
        if seen.line.contains("/healthz") {
            told.lock().expect("one at a time").push(seen.field("host").unwrap_or("none").to_owned());
        }
        answer(to, "200 OK", "", b"hello")
    });
    configure(&place, &[(&backend, "")], "", &check("host = 'checked.example.org'"));
    place.start();
    judged(&place, &[(&backend, "")], &["healthy"]);
    assert!(asked.lock().expect("one at a time").iter().all(|host| host == "checked.example.org"));
}

#[test]
fn a_protocol_is_switched_to_only_where_the_route_lets_it() {
    let mut place = Place::new();
    let (backend, seen) = Backend::telling(place.host(), "hello");
    super::configure(&place, &[&backend], "", "");
    place.start();
    let ask = || {
        let mut client = Client::new(&format!("{}:8080", place.host()));
        let fields = "Host: a.test\r\nConnection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Key: k\r\n";
        client.ask_with("GET /", fields);
        let seen = seen.recv().expect("a request");
        (seen.field("upgrade").map(str::to_owned), seen.field("connection").map(str::to_owned))
    };
    assert_eq!(ask(), (Some("websocket".to_owned()), Some("upgrade".to_owned())));
    super::configure(&place, &[&backend], "", ", upgrade = false");
    place.must(&["reload"]);
    assert_eq!(ask(), (None, None));
}

#[test]
fn whose_a_request_is_is_told_as_the_route_says() {
    let mut place = Place::new();
    let (backend, seen) = Backend::telling(place.host(), "hello");
    super::configure(&place, &[&backend], "", ", forwarded = 'forwarded'");
    place.start();
    let ask = || {
        let forged = ["-H", "Forwarded: for=192.0.2.66", "-H", "X-Forwarded-For: 192.0.2.66"];
        assert_eq!(field(&get(&site(&place), &forged), "content-length"), Some("5"));
        let seen = seen.recv().expect("a request");
        ["forwarded", "x-forwarded-for"].map(|name| seen.field(name).map(str::to_owned))
    };
    let [forwarded, other] = ask();
    let forwarded = forwarded.expect("it is told");
    assert!(forwarded.starts_with("for=127.") && forwarded.contains(";proto=http;host="), "{forwarded}");
    assert_eq!(other, None);
    super::configure(&place, &[&backend], "", ", forwarded = 'off'");
    place.must(&["reload"]);
    assert_eq!(ask(), [None, None]);
    super::configure(&place, &[&backend], "", ", forwarded = 'both'");
    place.must(&["reload"]);
    assert!(ask().iter().flatten().all(|told| !told.contains("192.0.2.66")) && ask().iter().all(Option::is_some));
}
