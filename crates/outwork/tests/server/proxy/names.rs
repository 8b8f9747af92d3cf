//! Backends whose names are looked up: by their addresses, and as services.

use serde_json::Value as Json;

use super::backend::Backend;
use super::dns::{A, AAAA, Dns, Target};
use super::site;
use crate::binary::{Client, Place, get, json, until, until_some};
use crate::refusals::fault;
use crate::upgrade::Load;

const SERVICE: &str = "_http._tcp.app.test";

/// A place that passes everything on to a pool with one backend, by this name, which a name server knows.
fn configure(place: &Place, dns: &Dns, url: &str, pool: &str) {
    place.change(|text| {
        let kept = text.split("# proxy").next().unwrap_or_default().to_owned();
        format!(
            "{kept}# proxy\n[[front.listener]]\naddress = '{0}:8080'\n[[front.route]]\npath = '/*'\nproxy = {{ pool = 'app' }}\n\
             [[proxy.listener]]\nname = 'raw'\naddress = ['{0}:7000']\npool = 'raw'\n\
             [proxy.resolver]\nservers = ['{1}']\ntimeout = '1s'\nattempts = 1\nmin_ttl = '100ms'\n\
             [proxy.pool.raw]\nbackend = [{{ url = 'tcp+srv://{SERVICE}' }}]\n\
             [proxy.pool.app]\nbackend = [{{ url = '{url}' }}]\n{pool}\n",
            place.host(),
            dns.address
        )
    });
}

/// Where a backend is one of a service, by this priority and weight.
fn target(backend: &Backend, priority: u16, weight: u16) -> Target<'static> {
    Target { priority, weight, port: backend.address.port(), host: "node.test" }
}

fn place_of(
    names: [&'static str; 2],
    targets: [(u16, u16); 2],
    seconds: u32,
    pool: &str,
) -> (Place, Dns, [Backend; 2]) {
    let mut place = Place::new();
    let backends = names.map(|name| Backend::named(place.host(), name));
    let dns = Dns::new(place.host());
    dns.host("node.test", 60, place.host());
    let given = [0, 1].map(|index| target(&backends[index], targets[index].0, targets[index].1));
    dns.service(SERVICE, seconds, &given);
    configure(&place, &dns, &format!("http+srv://{SERVICE}"), pool);
    place.start();
    (place, dns, backends)
}

fn answers(place: &Place, port: u16, count: usize) -> Vec<String> {
    let mut client = Client::new(&format!("{}:{port}", place.host()));
    (0..count).map(|_| super::body(&client.ask("GET /", "a.test")).to_owned()).collect()
}

/// What is shown of the pool `app`.
fn app(place: &Place) -> Json {
    json(&place.outwork(&["backends", "list", "app", "--json"]))[0].clone()
}

/// What is shown of its members.
fn members(place: &Place) -> Vec<Json> {
    app(place)["backends"].as_array().expect("members").clone()
}

/// Where its members are that are not leaving.
fn addresses(place: &Place) -> Vec<String> {
    let members = members(place);
    let there = members.iter().filter(|member| member["leaving"] == false);
    there.map(|member| member["address"].as_str().unwrap_or_default().to_owned()).collect()
}

#[test]
fn a_service_is_given_by_the_hosts_and_ports_of_its_records_as_much_as_their_weights_say() {
    let (place, _dns, [one, two]) = place_of(["one", "two"], [(10, 30), (10, 10)], 60, "");
    let said = answers(&place, 8080, 8);
    assert_eq!(said.iter().filter(|name| *name == "one").count(), 6, "{said:?}");
    let members = members(&place);
    let keys: Vec<&str> = members.iter().filter_map(|member| member["key"].as_str()).collect();
    let key = |backend: &Backend| format!("http+srv://{SERVICE} at {}", backend.address);
    assert!(keys.len() == 2 && [&one, &two].iter().all(|backend| keys.contains(&&*key(backend))), "{keys:?}");
    // At layer 4, a connection stays with whom it got.
    let said = answers(&place, 7000, 3);
    assert!(said.iter().all(|name| *name == said[0] && ["one", "two"].contains(&&**name)), "{said:?}");
}

#[test]
fn records_that_change_change_the_backends_once_they_no_longer_hold_and_no_request_is_lost() {
    let (place, dns, [one, two]) = place_of(["routed", "routed"], [(0, 1), (0, 1)], 1, "");
    let load = Load::begin(&format!("{}:8080", place.host()));
    for round in 0..3 {
        let (stays, goes) = if round % 2 == 0 { (&two, &one) } else { (&one, &two) };
        dns.service(SERVICE, 1, &[target(stays, 0, 1)]);
        until("the other to be left", || {
            let before = goes.requests();
            load.go_on(20);
            goes.requests() == before
        });
        dns.service(SERVICE, 1, &[target(stays, 0, 1), target(goes, 0, 1)]);
        let before = goes.requests();
        until("the other to be back", || {
            load.go_on(20);
            goes.requests() > before
        });
    }
    load.end();
}

#[test]
fn while_a_name_server_fails_backends_are_where_they_were() {
    let (place, dns, [one, _two]) = place_of(["one", "two"], [(0, 1), (0, 1)], 1, "");
    dns.set_failing(true);
    let failed = || {
        let shown = get(&format!("http://{}:8067/metrics", place.host()), &[]);
        let line = shown.lines().find_map(|line| line.strip_prefix("outwork_proxy_unresolved_total "));
        line.map_or(0.0, |count| count.parse::<f64>().expect("a number"))
    };
    until("look-ups to fail", || failed() >= 4.0);
    let said = answers(&place, 8080, 4);
    assert_eq!(said.iter().filter(|name| *name == "one").count(), 2, "{said:?}");
    dns.service(SERVICE, 1, &[target(&one, 0, 1)]);
    dns.set_failing(false);
    until("it to be heard again", || answers(&place, 8080, 4).iter().all(|name| name == "one"));
}

#[test]
fn a_family_that_cannot_be_asked_for_keeps_its_addresses_while_the_other_is_taken_anew() {
    let (place, dns, _backends) = place_of(["one", "two"], [(0, 1), (0, 1)], 60, "");
    dns.host("both.test", 1, "127.255.255.1");
    dns.host("both.test", 1, "2001:db8::1");
    configure(&place, &dns, "http://both.test:80", "");
    place.must(&["reload"]);
    until("both families", || addresses(&place) == ["127.255.255.1:80", "[2001:db8::1]:80"]);
    for (kind, changed, expected) in [
        (AAAA, "127.255.255.2", ["127.255.255.2:80", "[2001:db8::1]:80"]),
        (A, "2001:db8::2", ["127.255.255.2:80", "[2001:db8::2]:80"]),
    ] {
        dns.set_failing_at(&[("both.test", kind)]);
        dns.host("both.test", 1, changed);
        until("the other family to change", || addresses(&place) == expected);
        let names = app(&place)["names"].clone();
        let record = if kind == A { "A of both.test" } else { "AAAA of both.test" };
        assert!(names[0]["problem"].as_str().is_some_and(|problem| problem.starts_with(record)), "{names:#}");
    }
}

#[test]
fn a_target_of_a_service_that_cannot_be_looked_up_stays_and_the_others_change() {
    let (place, dns, [one, two]) = place_of(["one", "two"], [(0, 1), (0, 1)], 1, "");
    let three = Backend::named(place.host(), "three");
    // By their weight, these are told from those of before, which were at the same addresses by another name.
    let at = |backend: &Backend, host: &'static str| Target { host, ..target(backend, 0, 7) };
    dns.host("a.test", 1, place.host());
    dns.host("b.test", 1, place.host());
    dns.service(SERVICE, 1, &[at(&one, "a.test"), at(&two, "b.test")]);
    configure(&place, &dns, &format!("http+srv://{SERVICE}"), "resolve = '1s'");
    place.must(&["reload"]);
    let are = |wanted: [&Backend; 2]| {
        let mut wanted = wanted.map(|backend| backend.address.to_string());
        wanted.sort();
        let mut found = addresses(&place);
        found.sort();
        found == wanted
    };
    let are_weighed = || members(&place).iter().all(|member| member["weight"] == 7);
    until("both", || are([&one, &two]) && are_weighed());
    dns.set_failing_at(&[("a.test", A)]);
    dns.service(SERVICE, 1, &[at(&one, "a.test"), at(&three, "b.test")]);
    until("the other to be replaced", || are([&one, &three]));
}

#[test]
fn a_name_that_nobody_knows_is_shown_with_who_was_asked_and_what_they_said() {
    let (place, dns, _backends) = place_of(["one", "two"], [(0, 1), (0, 1)], 60, "");
    configure(&place, &dns, "http://none.test:80", "drain = '0s'");
    place.must(&["reload"]);
    until("it to be asked for", || app(&place)["names"][0]["tried_ago"].is_number());
    until("those of before to be gone", || members(&place).is_empty());
    let shown = place.must(&["backends", "list", "app"]);
    let (head, names) = shown.split_once("\n\n").expect("two parts");
    assert!(head.contains("their names stand for no address"), "{shown}");
    let server = dns.address.to_string();
    let told = ["none.test", &server, "it has no address", " ago", "in "];
    assert!(names.starts_with("NAME ") && told.iter().all(|word| names.contains(word)), "{shown}");
    let gone = until_some("the alert", || {
        let status = json(&place.outwork(&["status", "--json"]));
        let all = status["alerts"].as_array().cloned().unwrap_or_default();
        all.into_iter().find(|alert| alert["id"] == "backends_gone")
    });
    let what = gone["what"].as_str().unwrap_or_default();
    assert!(what.contains("the name none.test cannot be looked up: it has no address"), "{gone:#}");
}

#[test]
fn a_later_priority_is_used_once_those_of_the_first_are_gone() {
    let check = "panic_threshold = 0\nhealth_check = { path = '/', interval = '20ms', fast_interval = '20ms' }";
    let (place, _dns, [first, _later]) = place_of(["first", "later"], [(5, 1), (70, 1)], 60, check);
    assert!(answers(&place, 8080, 6).iter().all(|name| name == "first"));
    first.set_down(true);
    until("the check to fail", || answers(&place, 8080, 4).iter().all(|name| name == "later"));
    first.set_down(false);
    until("the check to pass", || answers(&place, 8080, 4).iter().all(|name| name == "first"));
}

#[test]
fn a_host_is_looked_up_again_once_its_address_no_longer_holds_and_localhost_needs_no_name_server() {
    let (place, dns, [one, _two]) = place_of(["one", "two"], [(0, 1), (0, 1)], 60, "");
    let elsewhere = Backend::named(place.host(), "here");
    // Nobody is at the first address: it is another network's.
    dns.host("app.test", 1, "127.255.255.254");
    configure(&place, &dns, &format!("http://app.test:{}", elsewhere.address.port()), "");
    place.must(&["reload"]);
    until("it to be looked up", || get(&site(&place), &[]).contains(" 502 "));
    dns.host("app.test", 60, place.host());
    until("it to be looked up again", || get(&site(&place), &[]).ends_with("here"));
    let asked = dns.asked();
    let local = std::net::TcpListener::bind("127.0.0.1:0").expect("a port").local_addr().expect("an address");
    configure(&place, &dns, &format!("http://localhost:{}", local.port()), "");
    place.must(&["reload"]);
    until("it to be known", || {
        members(&place).iter().any(|member| member["key"].as_str().is_some_and(|key| key.ends_with("at 127.0.0.1")))
    });
    assert_eq!(dns.asked(), asked, "/etc/hosts knows it, and nothing else is due");
    drop(one);
}

#[test]
fn an_answer_holds_no_longer_than_is_configured_whatever_it_says() {
    const DAY: u32 = 86_400;
    let (place, dns, _backends) = place_of(["one", "two"], [(0, 1), (0, 1)], DAY, "");
    let elsewhere = Backend::named(place.host(), "here");
    // Nobody is at the first address: it is another network's.
    dns.host("app.test", DAY, "127.255.255.254");
    configure(&place, &dns, &format!("http://app.test:{}", elsewhere.address.port()), "");
    place.change(|text| text.replace("min_ttl = '100ms'", "min_ttl = '100ms'\nmax_ttl = '1s'"));
    place.must(&["reload"]);
    until("it to be looked up", || get(&site(&place), &[]).contains(" 502 "));
    dns.host("app.test", DAY, place.host());
    until("it to be looked up again", || get(&site(&place), &[]).ends_with("here"));
}

#[test]
fn what_is_no_service_and_what_cannot_be_asked_is_refused() {
    let pool = |url: &str| format!("[proxy.pool.app]\nbackend = [{{ url = '{url}' }}]\n");
    let (found, help) = fault(&pool("http+srv://_http._tcp.app.test:80"), "proxy.pool.app.backend[0].url");
    assert!(found.contains("records") && help.contains("leave the port out"), "{found} {help}");
    fault("[proxy.resolver]\nmin_ttl = '10m'\n", "proxy.resolver.min_ttl");
    fault("[proxy.resolver]\nservers = ['0.0.0.0:53']\n", "proxy.resolver.servers[0]");
}
