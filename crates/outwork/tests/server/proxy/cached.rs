//! Answers of backends that are kept: what a route says that they depend on.

use super::backend::{Backend, answer};
use super::{body, configure, site};
use crate::binary::{Place, field, get};

#[test]
fn answers_are_kept_apart_by_the_fields_that_the_route_names_and_not_by_those_that_the_backend_does() {
    let mut place = Place::new();
    let backend = Backend::acting(place.host(), |seen, to| {
        let of = seen.field("x-tenant").unwrap_or("nobody");
        answer(to, "200 OK", "cache-control: max-age=60\r\nvary: x-noise\r\n", of.as_bytes())
    });
    configure(&place, &[&backend], "", " }\ncache = { vary = ['X-Tenant']");
    place.start();
    let ask = |tenant: &str, noise: &str| {
        let fields = [format!("X-Tenant: {tenant}"), format!("X-Noise: {noise}")];
        get(&site(&place), &["-H", &fields[0], "-H", &fields[1]])
    };
    for (tenant, noise, requests) in
        [("ann", "1", 1), ("bob", "1", 2), ("ann", "2", 2), ("bob", "3", 2), ("cy", "1", 3)]
    {
        let told = ask(tenant, noise);
        assert_eq!((body(&told), backend.requests()), (tenant, requests), "{told}");
        let is_hit = field(&told, "cache-status").is_some_and(|status| status.contains("hit"));
        assert_eq!(is_hit, noise != "1", "{told}");
    }
}

#[test]
fn who_calls_a_page_a_call_of_grpc_gets_the_page_and_so_does_everybody_after() {
    let mut place = Place::new();
    let backend = Backend::acting(place.host(), |_, to| answer(to, "200 OK", "", b"a page"));
    configure(&place, &[&backend], "", " }\ncache = { default_ttl = '1h'");
    place.start();
    for fields in [&["-H", "Content-Type: application/grpc", "-H", "grpc-timeout: 1n"][..], &[]] {
        let told = get(&site(&place), fields);
        assert_eq!(body(&told), "a page", "{told}");
    }
    assert_eq!(backend.requests(), 1, "it was kept");
}
