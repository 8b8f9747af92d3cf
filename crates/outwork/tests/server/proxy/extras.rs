//! What a pool and a route may do beside passing on: asking twice, copies, faults on purpose.

use std::sync::Mutex;
use std::sync::mpsc::channel;

use super::backend::{Backend, answer};
use super::{body, choosing, configure, site};
use crate::binary::{Client, Place, get, until};

/// A count of `/metrics`, by its name and labels.
pub(super) fn count(place: &Place, name: &str) -> u64 {
    let text = get(&format!("http://{}:8067/metrics", place.host()), &[]);
    let line = text.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(' '));
    line.and_then(|count| count.parse().ok()).expect("a count of this name")
}

/// A backend that takes requests and says nothing.
fn silent(host: &str) -> Backend {
    Backend::acting(host, |_, to| {
        let _ = std::io::Read::read_to_end(to, &mut Vec::new());
        false
    })
}

#[test]
fn another_backend_is_asked_where_the_first_takes_long() {
    let mut place = Place::new();
    let (slow, quick) = (silent(place.host()), Backend::named(place.host(), "quick"));
    let pool =
        "hedge = { after = '20ms', budget = 1.0 }\nretry = { attempts = 0 }\nconnections = { response_timeout = '2s' }";
    configure(&place, &[&slow, &quick], pool, "");
    place.start();
    let mut client = Client::new(&format!("{}:8080", place.host()));
    for _ in 0..6 {
        assert_eq!(body(&client.ask("GET /", "a.test")), "quick");
    }
    assert!(slow.requests() >= 1, "it had its turns");
    assert!(count(&place, "outwork_proxy_hedges_total{outcome=\"won\"}") >= 1);
}

#[test]
fn a_second_backend_that_is_asked_does_not_have_its_turn_by_that() {
    let mut place = Place::new();
    let (slow, quick) = (silent(place.host()), Backend::named(place.host(), "quick"));
    let pool = "hedge = { after = '200ms', budget = 1.0, floor = 1000 }\nretry = { attempts = 0 }";
    choosing::configure(&place, &[(&slow, ""), (&quick, "")], "", pool);
    place.start();
    let mut client = Client::new(&format!("{}:8080", place.host()));
    for _ in 0..4 {
        assert_eq!(body(&client.ask("GET /", "a.test")), "quick");
    }
    // Where the quick one takes long, too, the other is asked and says nothing.
    let won = count(&place, "outwork_proxy_hedges_total{outcome=\"won\"}");
    assert_eq!((won, quick.requests()), (2, 4), "they take turns, and one answers for both");
}

#[test]
fn what_must_not_be_asked_twice_waits_for_the_first() {
    let mut place = Place::new();
    let (go, goes) = channel::<()>();
    let goes = Mutex::new(goes);
    // It answers what is posted once it is told to, and nothing else.
    let slow = Backend::acting(place.host(), move |seen, to| match seen.line.starts_with("POST ") {
        true => goes.lock().expect("one at a time").recv().is_ok() && answer(to, "200 OK", "", b"slow"),
        false => {
            let _ = std::io::Read::read_to_end(to, &mut Vec::new());
            false
        }
    });
    let (quick, seen) = Backend::telling(place.host(), "quick");
    let pool = "hedge = { after = '10ms', budget = 1.0, floor = 1000 }\nretry = { attempts = 0 }";
    choosing::configure(&place, &[(&slow, ""), (&quick, "")], "", pool);
    place.start();
    let posts = [(); 2].map(|()| {
        let url = site(&place);
        std::thread::spawn(move || body(&get(&url, &["-d", "x=1"])).to_owned())
    });
    until("each to have one", || slow.requests() == 1 && quick.requests() == 1);
    // Another request has waited for long enough, after that one.
    let mut client = Client::new(&format!("{}:8080", place.host()));
    for _ in 0..2 {
        assert_eq!(body(&client.ask("GET /", "a.test")), "quick");
    }
    assert_eq!(count(&place, "outwork_proxy_hedges_total{outcome=\"won\"}"), 1);
    go.send(()).expect("it waits");
    let mut answers = posts.map(|post| post.join().expect("an answer"));
    answers.sort();
    assert_eq!(answers, ["quick", "slow"]);
    assert_eq!(seen.try_iter().filter(|seen| seen.line.starts_with("POST ")).count(), 1, "nobody else was asked");
}

#[test]
fn requests_are_copied_for_a_pool_whose_answers_nobody_gets() {
    let mut place = Place::new();
    let main = Backend::named(place.host(), "main");
    let (told, seen) = channel();
    let shadow = Backend::acting(place.host(), move |seen, to| {
        told.send(seen.clone()).is_ok() && answer(to, "500 Internal Server Error", "", b"shadow")
    });
    let pool =
        format!("retry = {{ max_body = '1KiB' }}\n[proxy.pool.shadow]\nbackend = [{{ url = '{}' }}]", shadow.url());
    configure(&place, &[&main], &pool, ", mirror = { pool = 'shadow' }");
    place.start();
    for (options, content) in [(&["-d", "a=b"][..], &b"a=b"[..]), (&[], b"")] {
        assert_eq!(body(&get(&format!("{}/path?q", site(&place)), options)), "main");
        let copy = seen.recv().expect("a copy");
        assert!(copy.line.ends_with(" /path?q HTTP/1.1") && copy.body == content, "{copy:?}");
        assert!(copy.field("x-forwarded-for").is_some(), "{copy:?}");
    }
    until("copies have failed", || count(&place, "outwork_proxy_mirrored_total{outcome=\"failed\"}") == 2);
    assert_eq!(body(&get(&site(&place), &["-d", &"x".repeat(2000)])), "main");
    until("one was too large", || count(&place, "outwork_proxy_mirrored_total{outcome=\"not-whole\"}") == 1);
    assert_eq!((main.requests(), shadow.requests()), (3, 2));
}

#[test]
fn faults_are_made_on_purpose_for_whom_they_are_meant() {
    let mut place = Place::new();
    let backend = Backend::named(place.host(), "hello");
    let fault = ", fault = { delay = 100.0, time = '1ms', abort = 100.0, status = 504, only = 'x-fault' }";
    configure(&place, &[&backend], "", fault);
    place.start();
    assert_eq!(body(&get(&site(&place), &[])), "hello");
    let told = get(&site(&place), &["-H", "X-Fault: 1", "-H", "Accept: application/json"]);
    assert!(told.contains(" 504 ") && told.contains("made on purpose"), "{told}");
    let met =
        ["delay", "abort"].map(|fault| count(&place, &format!("outwork_proxy_injected_total{{fault=\"{fault}\"}}")));
    assert_eq!((met, backend.requests()), ([1, 1], 1));
}

#[test]
fn a_route_that_names_no_pool_hears_of_it_once() {
    let place = Place::new();
    let backend = Backend::named(place.host(), "hello");
    configure(&place, &[&backend], "", "");
    place.change(|text| text.replace("pool = 'app'", "pool = ''"));
    let told = place.outwork(&["check"]);
    let told = String::from_utf8_lossy(&[told.stdout, told.stderr].concat()).into_owned();
    assert!(told.contains("it names no pool") && !told.contains("there is no pool"), "{told}");
}

#[test]
fn a_copy_names_a_pool_that_is_there() {
    let place = Place::new();
    let backend = Backend::named(place.host(), "hello");
    configure(&place, &[&backend], "", ", mirror = { pool = 'nobody' }, fault = { time = '2s' }");
    let told = place.outwork(&["check"]);
    let told = String::from_utf8_lossy(&[told.stdout, told.stderr].concat()).into_owned();
    for expected in ["proxy.mirror.pool", "there is no pool \"nobody\"", "no request meets a fault"] {
        assert!(told.contains(expected), "{expected}: {told}");
    }
}
