//! Who gets a request: policies, zones and priorities, as the configuration says them.

use std::sync::atomic::{AtomicBool, Ordering::SeqCst};
use std::sync::mpsc::channel;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use super::backend::{Backend, answer};
use super::extras::count;
use super::{body, site};
use crate::binary::{Client, Place, get, json, until};

/// Has one thread pass everything on to these backends, each with more of its own, with more lines for the proxy as a whole and for the pool.
pub(super) fn configure(place: &Place, backends: &[(&Backend, &str)], all: &str, pool: &str) {
    let list = backends.iter().map(|(backend, more)| format!("{{ url = '{}'{more} }}", backend.url()));
    let list = list.collect::<Vec<_>>().join(", ");
    place.change(|text| {
        let kept = text.split("# proxy").next().unwrap_or_default().to_owned();
        let host = place.host();
        format!(
            "{kept}# proxy\n[front]\nworkers = 1\n[[front.listener]]\naddress = '{host}:8080'\n\
             [[front.route]]\npath = '/*'\nproxy = {{ pool = 'app' }}\n\
             [proxy]\n{all}\n[proxy.pool.app]\nbackend = [{list}]\n{pool}\n"
        )
    });
}

/// Who answers so many requests, one after the other.
fn answers(place: &Place, count: usize) -> Vec<String> {
    let mut client = Client::new(&format!("{}:8080", place.host()));
    (0..count).map(|_| body(&client.ask("GET /", "a.test")).to_owned()).collect()
}

/// What the API says of each of these under a key.
pub(super) fn of_backends(place: &Place, backends: &[&Backend], key: &str) -> Vec<String> {
    let shown = json(&place.outwork(&["backends", "list", "--json"]));
    let listed = shown[0]["backends"].as_array().expect("a list");
    let of = |backend: &&Backend| {
        let own = listed.iter().find(|one| one["key"] == backend.url());
        own.and_then(|own| own[key].as_str()).unwrap_or_default().to_owned()
    };
    backends.iter().map(of).collect()
}

#[test]
fn at_random_the_quicker_of_two_gets_nearly_all() {
    let mut place = Place::new();
    let quick = Backend::named(place.host(), "quick");
    let slow = Backend::acting(place.host(), |_, to| {
        std::thread::sleep(Duration::from_millis(100));
        answer(to, "200 OK", "", b"slow")
    });
    configure(&place, &[(&quick, ""), (&slow, "")], "", "policy = 'random'");
    place.start();
    let answers = answers(&place, 60);
    let of_slow = answers.iter().filter(|answer| *answer == "slow").count();
    assert!(of_slow <= 20, "in turn they would have thirty each: {answers:?}");
}

/// Has one of two backends, each with more of its own, keep a request, and says whether the other one gets all that come meanwhile.
fn the_other_gets_all(more: &str, pool: &str) {
    let mut place = Place::new();
    let (go, wait) = channel::<()>();
    let wait = Arc::new(Mutex::new(wait));
    let [one, two] = ["one", "two"].map(|name| {
        let wait = Arc::clone(&wait);
        Backend::acting(place.host(), move |seen, to| {
            if seen.line.contains("/hold") {
                let _ = wait.lock().expect("one at a time").recv();
            }
            answer(to, "200 OK", "", name.as_bytes())
        })
    });
    configure(&place, &[(&one, more), (&two, more)], "", pool);
    place.start();
    let url = format!("{}/hold", site(&place));
    let held = std::thread::spawn(move || get(&url, &[]));
    until("it to be there", || one.requests() + two.requests() == 1);
    let (busy, idle) = if one.requests() == 1 { ("one", "two") } else { ("two", "one") };
    assert_eq!(answers(&place, 6), [idle; 6]);
    go.send(()).expect("it waits");
    assert_eq!(body(&held.join().expect("an answer")), busy);
}

#[test]
fn who_has_a_request_under_way_gets_none_where_another_has_fewer() {
    the_other_gets_all("", "policy = 'least_conn'");
}

#[test]
fn who_has_as_many_requests_as_it_may_have_gets_none_though_it_were_its_turn() {
    the_other_gets_all(", max_requests = 1", "policy = 'round_robin'");
}

#[test]
fn backends_get_as_much_as_their_weights_say_and_nothing_with_none() {
    let mut place = Place::new();
    let [one, two, none] = ["one", "two", "none"].map(|name| Backend::named(place.host(), name));
    configure(&place, &[(&one, ", weight = 3"), (&two, ""), (&none, ", weight = 0")], "", "");
    place.start();
    let answers = answers(&place, 40);
    let of = |name: &str| answers.iter().filter(|answer| *answer == name).count();
    assert!((28..=32).contains(&of("one")) && of("none") == 0, "{answers:?}");
}

#[test]
fn where_too_few_are_well_all_are_asked_and_without_a_threshold_those_that_are() {
    let mut place = Place::new();
    let well = Backend::named(place.host(), "well");
    let ill = ["ill", "as ill"].map(|name| {
        Backend::acting(place.host(), move |seen, to| match seen.line.contains("/healthz") {
            true => answer(to, "500 X", "", b""),
            false => answer(to, "200 OK", "", name.as_bytes()),
        })
    });
    let backends = [(&well, ""), (&ill[0], ""), (&ill[1], "")];
    let check = "{ path = '/healthz', interval = '20ms', fast_interval = '20ms', unhealthy_threshold = 1, healthy_threshold = 1 }";
    let pool = |percent: u32| format!("panic_threshold = {percent}\nhealth_check = {check}");
    configure(&place, &backends, "", &pool(0));
    place.start();
    let health = || of_backends(&place, &[&well, &ill[0], &ill[1]], "health");
    until("two to be found out", || health() == ["healthy", "unhealthy", "unhealthy"]);
    until("they to be left out", || answers(&place, 9) == ["well"; 9]);
    for (percent, panics, who) in [(50, 1, &["well", "ill", "as ill"][..]), (30, 0, &["well"][..])] {
        configure(&place, &backends, "", &pool(percent));
        place.must(&["reload"]);
        until("the pool to know how it is", || count(&place, "outwork_proxy_panics{pool=\"app\"}") == panics);
        let answers = answers(&place, 30);
        for name in ["well", "ill", "as ill"] {
            assert_eq!(answers.contains(&name.to_owned()), who.contains(&name), "{percent}, {name}: {answers:?}");
        }
    }
}

#[test]
fn by_address_a_client_keeps_its_backend_and_clients_are_shared_out() {
    let mut place = Place::new();
    let [one, two] = ["one", "two"].map(|name| Backend::named(place.host(), name));
    configure(&place, &[(&one, ""), (&two, "")], "", "policy = 'ip_hash'");
    place.start();
    let of = |source: u8| body(&get(&site(&place), &["--interface", &format!("127.0.0.{source}")])).to_owned();
    let first: Vec<String> = (1..=16).map(of).collect();
    // From the last to the first, for whoever takes turns would meet the same again.
    let mut again: Vec<String> = (1..=16).rev().map(of).collect();
    again.reverse();
    assert_eq!(first, again);
    assert!(["one", "two"].iter().all(|name| first.iter().any(|found| found == name)), "{first:?}");
}

#[test]
fn backends_of_the_own_zone_come_first_as_long_as_there_are_enough_of_them() {
    let mut place = Place::new();
    let [near, far] = ["near", "far"].map(|name| Backend::named(place.host(), name));
    let backends = [(&near, ", zone = 'a'"), (&far, ", zone = 'b'")];
    configure(&place, &backends, "zone = 'a'", "");
    place.start();
    assert_eq!(answers(&place, 10), ["near"; 10]);
    configure(&place, &backends, "zone = 'b'", "");
    place.must(&["reload"]);
    assert_eq!(answers(&place, 10), ["far"; 10]);
    configure(&place, &backends, "zone = 'a'", "zone_least = 2");
    place.must(&["reload"]);
    let both = answers(&place, 10);
    assert!(["near", "far"].iter().all(|name| both.iter().any(|found| found == name)), "{both:?}");
}

#[test]
fn a_priority_is_used_when_too_few_are_left_of_those_before_it() {
    let mut place = Place::new();
    let well = |name: &'static str| Backend::named(place.host(), name);
    let (one, three) = (well("one"), well("three"));
    let two = Backend::acting(place.host(), |seen, to| match seen.line.contains("/healthz") {
        true => answer(to, "500 X", "", b""),
        false => answer(to, "200 OK", "", b"two"),
    });
    let backends = [(&one, ""), (&two, ""), (&three, ", priority = 1")];
    let check = "{ path = '/healthz', interval = '20ms', fast_interval = '20ms', unhealthy_threshold = 1, healthy_threshold = 1 }";
    configure(&place, &backends, "", "");
    place.start();
    assert!(!answers(&place, 20).contains(&"three".to_owned()), "all of those before it are there");
    // Half of them are left: twice as many as that are all.
    let pool = |percent: u32| format!("panic_threshold = 0\noverprovisioning = {percent}\nhealth_check = {check}");
    configure(&place, &backends, "", &pool(200));
    place.must(&["reload"]);
    let health = || of_backends(&place, &[&one, &two, &three], "health");
    until("one to be found out", || health() == ["healthy", "unhealthy", "healthy"]);
    assert_eq!(answers(&place, 60), ["one"; 60]);
    configure(&place, &backends, "", &pool(100));
    place.must(&["reload"]);
    until("the next priority to be used", || answers(&place, 20).contains(&"three".to_owned()));
}

#[test]
fn who_has_come_back_gets_little_to_begin_with_where_it_is_to_start_slowly() {
    let mut place = Place::new();
    let healthy = Arc::new(AtomicBool::new(true));
    let is_well = Arc::clone(&healthy);
    let back = Backend::acting(place.host(), move |seen, to| match seen.line.contains("/healthz") {
        true => answer(to, if is_well.load(SeqCst) { "200 OK" } else { "500 X" }, "", b""),
        false => answer(to, "200 OK", "", b"back"),
    });
    let other = Backend::named(place.host(), "other");
    let check = "{ path = '/healthz', interval = '20ms', fast_interval = '20ms', unhealthy_threshold = 1, healthy_threshold = 1 }";
    configure(&place, &[(&back, ""), (&other, "")], "", &format!("slow_start = '1h'\nhealth_check = {check}"));
    place.start();
    for (well, health) in [(true, "healthy"), (false, "unhealthy"), (true, "healthy")] {
        healthy.store(well, SeqCst);
        until("it to be found out", || of_backends(&place, &[&back, &other], "health") == [health, "healthy"]);
    }
    // A tenth of its weight, for quite a while.
    let answers = answers(&place, 44);
    let of_back = answers.iter().filter(|answer| *answer == "back").count();
    assert!((1..=10).contains(&of_back), "in turn it would have half of them: {answers:?}");
}
