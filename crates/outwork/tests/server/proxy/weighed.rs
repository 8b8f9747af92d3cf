//! What backends weigh by hand.

use serde_json::Value as Json;

use super::backend::Backend;
use super::extras::count;
use super::{body, choosing, configure, place_of, site};
use crate::binary::{Client, Place, get, json, until};

/// What is shown of a backend: what it weighs, and what it would.
fn weights(place: &Place, backend: &Backend) -> (Json, Json) {
    let shown = json(&place.outwork(&["backends", "list", "app", "--json"]));
    let listed = shown[0]["backends"].as_array().expect("a list");
    let own = listed.iter().find(|one| one["key"] == backend.url()).expect("it is there");
    (own["weight"].clone(), own["configured_weight"].clone())
}

/// How many of so many requests are answered so.
fn answered(place: &Place, count: usize, name: &str) -> usize {
    let mut client = Client::new(&format!("{}:8080", place.host()));
    (0..count).filter(|_| body(&client.ask("GET /", "a.test")) == name).count()
}

#[test]
fn a_backend_gets_as_much_as_is_said_by_hand_until_that_is_taken_back() {
    let mut place = Place::new();
    let [one, two] = ["one", "two"].map(|name| Backend::named(place.host(), name));
    choosing::configure(&place, &[(&one, ", weight = 3"), (&two, "")], "", "");
    place.start();
    assert_eq!(weights(&place, &one), (3.into(), Json::Null));
    let said = place.must(&["backends", "weight", "app", &one.url(), "0"]);
    assert!(said.contains("weighs 0") && !said.contains("any weight now"), "{said}");
    assert_eq!((answered(&place, 20, "two"), weights(&place, &one)), (20, (0.into(), 3.into())));
    assert!(place.must(&["backends", "list", "app"]).contains("0 (configured: 3)"));
    assert!(place.must(&["status"]).contains("1 backend weighed by hand"));
    place.must(&["backends", "weight", "app", &one.url(), "1"]);
    let ones = answered(&place, 20, "one");
    assert!((9..=11).contains(&ones), "{ones}");
    place.must(&["backends", "weight", "app", &one.url(), "configured"]);
    let ones = answered(&place, 40, "one");
    assert!((28..=32).contains(&ones), "{ones}");
    assert_eq!(weights(&place, &one), (3.into(), Json::Null));
    assert!(!place.must(&["status"]).contains("by hand"));
}

#[test]
fn who_takes_the_last_weight_of_a_pool_is_told_so() {
    let (place, [one]) = place_of([|host| Backend::named(host, "one")], "", "");
    let said = place.must(&["backends", "weight", "app", &one.url(), "0"]);
    assert!(said.contains("no backend of app has any weight now"), "{said}");
    until("the log to say so", || {
        let log = std::fs::read_to_string(place.path().join("log"));
        log.is_ok_and(|log| log.contains("no backend of the pool has any weight now"))
    });
    let told = get(&site(&place), &[]);
    assert!(told.contains(" 503 ") && told.contains("all weigh 0"), "{told}");
    assert!(!told.contains("no backends") && !told.contains("behind this one"), "nobody there is at fault: {told}");
    assert_eq!(count(&place, "outwork_proxy_refused_total{reason=\"weightless\"}"), 1);
    place.must(&["backends", "weight", "app", &one.url(), "configured"]);
    assert!(get(&site(&place), &[]).ends_with("one"));
}

#[test]
fn what_a_backend_weighs_by_hand_holds_through_reloads_upgrades_and_restarts() {
    let make: [fn(&str) -> Backend; 2] = [|host| Backend::named(host, "one"), |host| Backend::named(host, "two")];
    let (mut place, [one, two]) = place_of(make, "", "");
    place.must(&["backends", "weight", "app", &one.url(), "0"]);
    let holds = |place: &Place, when: &str| {
        assert_eq!(weights(place, &one), (0.into(), 1.into()), "{when}");
        assert_eq!(answered(place, 6, "two"), 6, "{when}");
    };
    // Who is drained and let in again weighs what it did.
    place.must(&["backends", "drain", "app", &one.url()]);
    place.must(&["backends", "admit", "app", &one.url()]);
    holds(&place, "let in again");
    configure(&place, &[&one, &two], "policy = 'least_conn'", "");
    place.must(&["reload"]);
    holds(&place, "a reload");
    assert!(place.stop(15).success());
    place.start();
    holds(&place, "a restart");
    let upgraded = json(&place.outwork(&["upgrade", "--json"]));
    assert!(place.succeed(&upgraded["process"]).wait().expect("it ends").success());
    holds(&place, "an upgrade");
}

#[test]
fn what_a_backend_that_is_gone_weighs_by_hand_is_listed_and_can_be_taken_back() {
    let make: [fn(&str) -> Backend; 2] = [|host| Backend::named(host, "one"), |host| Backend::named(host, "two")];
    let (place, [one, two]) = place_of(make, "drain = '0s'", "");
    place.must(&["backends", "weight", "app", &one.url(), "0"]);
    configure(&place, &[&two], "drain = '0s'", "");
    place.must(&["reload"]);
    until("it to be gone", || place.must(&["backends", "list", "app"]).contains("weighs 0, should it come back"));
    let refused = |arguments: &[&str]| !place.outwork(arguments).status.success();
    assert!(refused(&["backends", "weight", "app", &one.url(), "3"]), "it is not there");
    assert!(refused(&["backends", "admit", "app", &one.url()]), "it is not taken out");
    place.must(&["backends", "weight", "app", &one.url(), "configured"]);
    assert!(!place.must(&["backends", "list", "app"]).contains("ABSENT"));
    assert!(refused(&["backends", "weight", "app", &one.url(), "configured"]), "there is nothing to take back");
    configure(&place, &[&one, &two], "drain = '0s'", "");
    place.must(&["reload"]);
    assert_eq!(weights(&place, &one), (1.into(), Json::Null));
}
