//! Who may do what by the API of the proxy.

use super::backend::Backend;
use super::place_of;
use crate::binary::{Place, curl, json, said};

fn token(place: &Place, role: &str) -> String {
    place.must(&["token", "create", role, "--role", role]).trim().to_owned()
}

/// The status of the answer to whoever has this token.
fn ask(place: &Place, token: &str, (method, path, body): (&str, &str, &str)) -> String {
    let mut curl = curl();
    curl.args(["-o", "/dev/null", "-w", "%{http_code}", "-X", method, "-H", &format!("Authorization: Bearer {token}")]);
    if !body.is_empty() {
        curl.args(["-H", "Content-Type: application/json", "-d", body]);
    }
    said(curl.arg(format!("http://{}:8067/api/v1/proxy{path}", place.host())))
}

fn backend(host: &str) -> Backend {
    Backend::named(host, "one")
}

#[test]
fn admins_alone_load_others_and_make_virtual_functions() {
    let (place, [_backend]) = place_of([backend], "", "");
    let [viewer, operator, admin] = ["viewer", "operator", "admin"].map(|role| token(&place, role));
    let asked = [
        // Nobody may load this one, who may begin a benchmark or not.
        (("POST", "/benchmark/latency", r#"{"target": "10.255.255.1:80"}"#), "400"),
        (("GET", "/benchmarks", ""), "200"),
        (("GET", "/benchmarks/1", ""), "404"),
        (("DELETE", "/benchmarks/1", ""), "404"),
    ];
    for (asked, status) in asked {
        let told = [&viewer, &operator, &admin].map(|token| ask(&place, token, asked));
        assert_eq!(told, ["403", "403", status], "{asked:?}");
    }
    let functions = ("PUT", "/acceleration/vfs/lo", r#"{"count": 2}"#);
    let [viewer, operator, admin] = [viewer, operator, admin].map(|token| ask(&place, &token, functions));
    assert_eq!([&viewer, &operator], ["403", "403"]);
    assert!(["404", "409"].contains(&&*admin), "it has none: {admin}");
}

#[test]
fn viewers_look_at_backends_and_operators_take_them_out() {
    let (place, [one]) = place_of([backend], "", "");
    let [viewer, operator] = ["viewer", "operator"].map(|role| token(&place, role));
    let state = || json(&place.outwork(&["backends", "list", "app", "--json"]))[0]["backends"][0]["state"].clone();
    for looked in ["/pools", "/listeners", "/acceleration", "/acceleration/vfs", "/rules/classification"] {
        assert_eq!(ask(&place, &viewer, ("GET", looked, "")), "200", "{looked}");
    }
    for (action, result) in [("drain", "draining"), ("admit", "usable"), ("eject", "ejected"), ("admit", "usable")] {
        let body = format!("{{\"backend\": \"{}\", \"action\": \"{action}\"}}", one.url());
        let (asked, before) = (("POST", "/pools/app/backends", &*body), state());
        assert_eq!((ask(&place, &viewer, asked), state()), ("403".to_owned(), before), "{action}");
        assert_eq!((ask(&place, &operator, asked), state()), ("200".to_owned(), result.into()), "{action}");
    }
    let weigh = |more: &str| format!("{{\"backend\": \"{}\", \"action\": \"weight\"{more}}}", one.url());
    for (more, [of_viewer, of_operator]) in [
        (", \"weight\": 7", ["403", "200"]),
        ("", ["403", "200"]),
        (", \"weight\": 65536", ["403", "400"]),
        (", \"weight\": 7, \"seconds\": 60", ["403", "400"]),
    ] {
        let body = weigh(more);
        let told = [&viewer, &operator].map(|token| ask(&place, token, ("POST", "/pools/app/backends", &body)));
        assert_eq!(told, [of_viewer, of_operator], "{more}");
    }
}
