//! Backends that are left out for what they fail, and requests that are not tried again for good: settings of `outlier` and of `retry`.

use std::io::Write;

use super::backend::{Backend, answer};
use super::choosing::{configure, of_backends};
use super::extras::count;
use super::site;
use crate::binary::{Client, Place, get, until_some};

/// One that fails, in a way that is no gateway's and is not tried again.
fn failing(host: &str) -> Backend {
    Backend::acting(host, |_, to| answer(to, "500 X", "", b"failed"))
}

/// Asks so often, on one connection.
fn ask(place: &Place, count: usize) {
    let mut client = Client::new(&format!("{}:8080", place.host()));
    (0..count).for_each(|_| drop(client.ask("GET /", "a.test")));
}

#[test]
fn so_many_failures_of_any_kind_in_a_row_eject_a_backend() {
    let mut place = Place::new();
    let (good, bad) = (Backend::named(place.host(), "good"), failing(place.host()));
    let outlier = "outlier = { consecutive_5xx = 3, consecutive_gateway = 0, success_rate = false }";
    configure(&place, &[(&good, ""), (&bad, "")], "", outlier);
    place.start();
    ask(&place, 20);
    assert_eq!((good.requests(), bad.requests()), (17, 3));
    assert_eq!(of_backends(&place, &[&good, &bad], "ejected_by"), ["", "consecutive-5xx"]);
}

#[test]
fn who_answers_503_is_said_to_have_answered_and_not_to_have_been_silent() {
    let mut place = Place::new();
    let good = Backend::named(place.host(), "good");
    let away = Backend::acting(place.host(), |_, to| answer(to, "503 X", "", b"away"));
    let outlier =
        "outlier = { consecutive_5xx = 0, consecutive_gateway = 3, success_rate = false }\nretry = { floor = 1000 }";
    configure(&place, &[(&good, ""), (&away, "")], "", outlier);
    place.start();
    ask(&place, 20);
    assert_eq!(of_backends(&place, &[&away], "ejected_because"), ["answered 502, 503 or 504 3 times in a row"]);
    let shown = place.must(&["backends", "list"]);
    assert!(shown.contains("answered 502, 503 or 504 3 times in a row"), "{shown}");
    // Nobody has asked the other one how it is.
    assert!(shown.contains("usable, not checked ") && shown.contains("UNDER WAY"), "{shown}");
    let of = |backend: &Backend, class: &str| {
        let labels = format!("pool=\"app\",backend=\"{}\",class=\"{class}\"", backend.url());
        count(&place, &format!("outwork_proxy_backend_responses_total{{{labels}}}"))
    };
    assert_eq!((of(&away, "5xx"), of(&away, "2xx"), of(&good, "2xx"), of(&good, "5xx")), (3, 0, 20, 0));
    let ended =
        |how: &str| count(&place, &format!("outwork_proxy_pool_requests_total{{pool=\"app\",outcome=\"{how}\"}}"));
    assert_eq!((ended("gateway-error"), ended("answered")), (3, 20));
    let active = format!("outwork_proxy_backend_active{{pool=\"app\",backend=\"{}\"}}", good.url());
    assert_eq!(count(&place, &active), 0);
}

#[test]
fn a_backend_that_begins_its_answers_and_breaks_them_off_is_ejected() {
    let mut place = Place::new();
    let good = Backend::named(place.host(), "good");
    let bad = Backend::acting(place.host(), |_, to| {
        let written = to.write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 100\r\n\r\na part of it");
        written.expect("it is heard");
        false
    });
    let outlier = "outlier = { consecutive_5xx = 0, consecutive_gateway = 3, success_rate = false }";
    configure(&place, &[(&good, ""), (&bad, "")], "", outlier);
    place.start();
    // What breaks off ends the connection of its client, too.
    (0..40).for_each(|_| ask(&place, 1));
    assert_eq!((good.requests(), bad.requests()), (37, 3));
    assert_eq!(of_backends(&place, &[&good, &bad], "ejected_by"), ["", "consecutive-gateway"]);
}

#[test]
fn no_more_of_a_pool_are_ejected_at_once_than_may_be() {
    let mut place = Place::new();
    let good = Backend::named(place.host(), "good");
    let bad = [(); 3].map(|()| failing(place.host()));
    let backends = [(&good, ""), (&bad[0], ""), (&bad[1], ""), (&bad[2], "")];
    let outlier = "outlier = { consecutive_5xx = 3, consecutive_gateway = 0, success_rate = false, max_ejected = 25 }";
    configure(&place, &backends, "", &format!("panic_threshold = 0\n{outlier}"));
    place.start();
    ask(&place, 60);
    let states = of_backends(&place, &[&good, &bad[0], &bad[1], &bad[2]], "state");
    assert_eq!(states.iter().filter(|state| *state == "ejected").count(), 1, "{states:?}");
}

/// What ejects one of five that fails everything, where rates are looked at.
fn ejected_by(rates: &str) -> String {
    let mut place = Place::new();
    let (good, bad) = ([(); 4].map(|()| Backend::named(place.host(), "good")), failing(place.host()));
    let backends: Vec<(&Backend, &str)> = good.iter().chain([&bad]).map(|backend| (backend, "")).collect();
    let outlier = format!("outlier = {{ consecutive_5xx = 0, consecutive_gateway = 0, interval = '5s', {rates} }}");
    configure(&place, &backends, "", &outlier);
    place.start();
    until_some("an ejection", || {
        ask(&place, 400);
        of_backends(&place, &[&bad], "ejected_by").pop().filter(|by| !by.is_empty())
    })
}

#[test]
fn who_succeeds_far_less_often_than_the_others_is_ejected() {
    assert_eq!(ejected_by("success_rate = true, failure_percentage = 50"), "success-rate");
}

#[test]
fn who_fails_more_than_so_many_percent_is_ejected() {
    assert_eq!(ejected_by("success_rate = false, failure_percentage = 50"), "failure-percentage");
}

#[test]
fn no_other_backend_is_asked_after_one_that_broke_off_where_that_is_not_wanted() {
    let mut place = Place::new();
    let [good, bad] = ["good", "bad"].map(|name| Backend::named(place.host(), name));
    bad.set_down(true);
    let with = |more: &str| format!("outlier = {{ enabled = false }}\nretry = {{ floor = 1000, {more} }}");
    configure(&place, &[(&good, ""), (&bad, "")], "", &with("on_failure = false"));
    place.start();
    let answers = || -> Vec<String> { (0..10).map(|_| get(&site(&place), &[])).collect() };
    let failed = answers().iter().filter(|answer| answer.contains(" 502 ")).count();
    assert_eq!((failed, good.requests(), bad.connections()), (5, 5, 5), "they take turns");
    configure(&place, &[(&good, ""), (&bad, "")], "", &with("on_failure = true"));
    place.must(&["reload"]);
    assert!(answers().iter().all(|answer| answer.ends_with("good")));
    assert!(bad.connections() > 5, "it had its turns again");
}

#[test]
fn requests_are_tried_again_as_long_as_the_budget_lets_them() {
    let mut place = Place::new();
    let [good, bad] = ["good", "bad"].map(|name| Backend::named(place.host(), name));
    bad.set_down(true);
    let with = |budget: &str| format!("outlier = {{ enabled = false }}\nretry = {{ attempts = 2, {budget} }}");
    configure(&place, &[(&good, ""), (&bad, "")], "", &with("budget = 0.0, floor = 1"));
    place.start();
    let answers = || -> Vec<String> { (0..30).map(|_| get(&site(&place), &[])).collect() };
    let failed = answers().iter().filter(|answer| answer.contains(" 502 ")).count() as u64;
    let retried = |outcome: &str| count(&place, &format!("outwork_proxy_retries_total{{outcome=\"{outcome}\"}}"));
    assert!(failed >= 1 && retried("again") >= 1, "{failed} {}", retried("again"));
    assert_eq!(retried("budget"), failed, "nothing else has kept them from it");
    configure(&place, &[(&good, ""), (&bad, "")], "", &with("budget = 0.0, floor = 1000"));
    place.must(&["reload"]);
    assert!(answers().iter().all(|answer| answer.ends_with("good")));
}

#[test]
fn a_connection_that_had_ended_unseen_is_held_against_nobody() {
    let mut place = Place::new();
    // It ends connections that it has kept, as a server does whose patience is over just then.
    let backend =
        Backend::acting(place.host(), |seen, to| seen.line.starts_with("GET ") && answer(to, "200 OK", "", b"well"));
    configure(&place, &[(&backend, "")], "", "outlier = { consecutive_gateway = 1 }\npanic_threshold = 0");
    place.start();
    let mut client = Client::new(&format!("{}:8080", place.host()));
    assert!(client.ask("GET /", "a.test").starts_with("HTTP/1.1 200 "));
    let told = client.ask("POST /", "a.test");
    assert!(told.starts_with("HTTP/1.1 502 "), "nobody knows whether it was begun with: {told}");
    let ended = |outcome: &str| count(&place, &format!("outwork_proxy_requests_total{{outcome=\"{outcome}\"}}"));
    assert_eq!((ended("reset"), ended("cancelled")), (0, 1));
    assert!(get(&site(&place), &[]).starts_with("HTTP/1.1 200 "), "it is not left out");
}
