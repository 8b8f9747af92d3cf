//! Routes that share requests out among pools.

use serde_json::Value as Json;

use super::backend::Backend;
use super::{body, configure, site};
use crate::binary::{Client, Place, field, get};

/// A place, and backends of the pool of its route and of another.
fn two() -> (Place, [Backend; 2]) {
    let place = Place::new();
    let backends = ["old", "new"].map(|name| Backend::named(place.host(), name));
    (place, backends)
}

/// Has the other pool get so many percent, with more lines for each pool, and more for the route.
fn split(place: &Place, [old, new]: &[Backend; 2], percent: f64, each: &str, route: &str) {
    let pool = format!("{each}\n[proxy.pool.canary]\nbackend = [{{ url = '{}' }}]\n{each}", new.url());
    let route = format!(", split = [{{ pool = 'canary', percent = {percent:?} }}]{route}");
    configure(place, &[old], &pool, &route);
}

#[test]
fn a_part_of_the_requests_goes_to_another_pool_and_the_access_log_names_that() {
    let (mut place, backends) = two();
    let [old, new] = &backends;
    // Of the log there is one.
    let pool = format!(
        "[proxy.pool.canary]\nbackend = [{{ url = '{}' }}]\n[front.access_log]\nfile = 'access.log'\nfields = ['pool', 'backend']",
        new.url()
    );
    configure(&place, &[old], &pool, ", split = [{ pool = 'canary', percent = 25 }]");
    place.start();
    let mut client = Client::new(&format!("{}:8080", place.host()));
    let answers: Vec<String> = (0..400).map(|_| body(&client.ask("GET /", "a.test")).to_owned()).collect();
    let news = answers.iter().filter(|answer| *answer == "new").count();
    assert!((50..=150).contains(&news) && old.requests() + new.requests() == 400, "{news}");
    drop(client);
    assert!(place.stop(15).success());
    let log = std::fs::read_to_string(place.path().join("access.log")).expect("a log");
    let lines: Vec<Json> = log.lines().map(|line| serde_json::from_str(line).expect("an object")).collect();
    let of = |pool: &str, backend: &Backend| {
        lines.iter().filter(|line| line["pool"] == pool && line["backend"] == backend.url()).count()
    };
    assert_eq!((of("canary", new), of("app", old)), (news, 400 - news));
}

#[test]
fn the_same_goes_to_the_same_pool_where_that_is_wanted_and_stays_there_as_its_part_grows() {
    let (mut place, backends) = two();
    split(&place, &backends, 20.0, "", ", split_by = 'header:x-user'");
    place.start();
    let news = |place: &Place| -> Vec<usize> {
        let mut client = Client::new(&format!("{}:8080", place.host()));
        let mut is_new = |user: &usize| {
            let told = client.ask_with("GET /", &format!("Host: a.test\r\nX-User: user-{user}\r\n"));
            body(&told) == "new"
        };
        (0..200).filter(|user| is_new(user)).collect()
    };
    let first = news(&place);
    assert!((15..=65).contains(&first.len()) && first == news(&place), "{first:?}");
    split(&place, &backends, 50.0, "", ", split_by = 'header:x-user'");
    place.must(&["reload"]);
    let more = news(&place);
    assert!(more.len() > first.len() && first.iter().all(|user| more.contains(user)), "{more:?}");
    split(&place, &backends, 0.0, "", ", split_by = 'header:x-user'");
    place.must(&["reload"]);
    assert!(news(&place).is_empty());
    split(&place, &backends, 100.0, "", ", split_by = 'header:x-user'");
    place.must(&["reload"]);
    assert_eq!(news(&place).len(), 200);
}

#[test]
fn who_has_no_such_cookie_goes_where_chance_has_it_and_not_where_its_address_would() {
    let (mut place, backends) = two();
    split(&place, &backends, 50.0, "", ", split_by = 'cookie:session'");
    place.start();
    let mut client = Client::new(&format!("{}:8080", place.host()));
    for _ in 0..100 {
        client.ask("GET /", "a.test");
    }
    let [old, new] = backends.each_ref().map(Backend::requests);
    assert!(old > 0 && new > 0 && old + new == 100, "{old} and {new}");
    for _ in 0..20 {
        client.ask_with("GET /", "Host: a.test\r\nCookie: session=7\r\n");
    }
    let [old_then, new_then] = backends.each_ref().map(Backend::requests);
    assert!([old_then - old, new_then - new].contains(&20), "{old_then} and {new_then}");
}

#[test]
fn a_client_that_is_tied_to_a_backend_stays_with_its_pool_as_long_as_that_has_a_part() {
    let (mut place, backends) = two();
    let sticky = "sticky = { ttl = '1h' }";
    split(&place, &backends, 50.0, sticky, "");
    place.start();
    // By chance, each comes before long.
    let tied = ["old", "new"].map(|name| {
        let answer = (0..200).map(|_| get(&site(&place), &[])).find(|answer| body(answer) == name).expect("its part");
        let cookie = field(&answer, "set-cookie").expect("a cookie").split(';').next().expect("a pair").to_owned();
        (name, format!("Cookie: {cookie}"))
    });
    for (name, cookie) in &tied {
        for _ in 0..12 {
            assert_eq!(body(&get(&site(&place), &["-H", cookie])), *name);
        }
    }
    split(&place, &backends, 0.0, sticky, "");
    place.must(&["reload"]);
    for (name, cookie) in &tied {
        assert_eq!(body(&get(&site(&place), &["-H", cookie])), "old", "{name} has no part");
    }
}

#[test]
fn parts_are_of_pools_that_take_requests_each_once_and_come_to_no_more_than_all() {
    let (place, [old, _new]) = two();
    let told = |route: &str| {
        configure(&place, &[&old], "[proxy.pool.db]\nbackend = [{ url = 'tcp://127.0.0.1:5432' }]", route);
        let told = place.outwork(&["check"]);
        assert!(!told.status.success(), "{route}");
        String::from_utf8_lossy(&[told.stdout, told.stderr].concat()).into_owned()
    };
    for (route, expected) in [
        ("split = [{ pool = 'nobody', percent = 5 }]", ["proxy.split[0].pool", "there is no pool \"nobody\""]),
        ("split = [{ pool = 'db', percent = 5 }]", ["proxy.split[0].pool", "takes no requests"]),
        ("split = [{ pool = 'app', percent = 5 }]", ["proxy.split[0].pool", "has its part already"]),
        ("split = [{ pool = 'x', percent = 60 }, { pool = 'y', percent = 61 }]", ["proxy.split", "come to 121 %"]),
        ("split = [{ pool = 'x', percent = 101 }]", ["proxy.split[0].percent", "101"]),
        ("split = [{ pool = 'x', percent = 0.0000004 }]", ["proxy.split[0].percent", "smaller than any part"]),
        ("split = [{ pool = 'x' }]", ["proxy.split[0]", "percent"]),
        ("split_by = 'client'", ["proxy.split_by", "all requests go to one pool"]),
    ] {
        let told = told(&format!(", {route}"));
        assert!(expected.iter().all(|expected| told.contains(expected)), "{route}: {told}");
    }
}
