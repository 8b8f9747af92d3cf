use std::rc::Rc;
use std::time::Duration;

use super::*;
use crate::message::{Body, Origin, RequestBody};

fn request(peer: &str, fields: &[(&'static str, &str)]) -> Request {
    let mut builder = http::Request::builder();
    for (name, value) in fields {
        builder = builder.header(*name, *value);
    }
    let (head, ()) = builder.body(()).unwrap().into_parts();
    let origin = Origin {
        peer: (peer.parse::<std::net::IpAddr>().unwrap(), 1).into(),
        local: ([127, 0, 0, 1], 80).into(),
        to: None,
        tls: false,
        session: None,
    };
    Request { head, body: RequestBody::Empty, origin: Rc::new(origin) }
}

fn limiter(settings: RateLimit) -> (Arc<Limiter>, Arc<FilterMetrics>) {
    (Arc::new(Limiter::new(settings, "test", None)), Arc::new(FilterMetrics::default()))
}

fn settings(key: &[RateKey], limit: u32) -> RateLimit {
    RateLimit { key: key.to_vec(), limit, ..RateLimit::default() }
}

fn allowed(limiter: &(Arc<Limiter>, Arc<FilterMetrics>), request: &Request, route: usize) -> bool {
    match limiter.0.check(request, route, 1_000_000_000, &limiter.1) {
        Checked::Now(verdict) => verdict.allowed,
        Checked::Later(_) => panic!("nothing has to be waited for"),
    }
}

#[test]
fn the_limit_of_the_specification_is_the_default() {
    let RateLimit { key, limit, window, burst, .. } = RateLimit::default();
    assert_eq!((key, limit, window, burst), (vec![RateKey::Client], 100, Duration::from_secs(60), None));
}

#[test]
fn clients_are_counted_by_address_and_of_ipv6_by_their_64() {
    let limiter = limiter(settings(&[RateKey::Client], 1));
    assert!(allowed(&limiter, &request("192.0.2.1", &[]), 0) && !allowed(&limiter, &request("192.0.2.1", &[]), 1));
    assert!(allowed(&limiter, &request("192.0.2.2", &[]), 0));
    assert!(
        !allowed(&limiter, &request("::ffff:192.0.2.2", &[]), 0),
        "it is the same client on a socket for both families"
    );
    assert!(allowed(&limiter, &request("2001:db8::1", &[]), 0));
    assert!(
        !allowed(&limiter, &request("2001:db8::ffff", &[]), 0)
            && allowed(&limiter, &request("2001:db8:0:1::1", &[]), 0)
    );
}

#[test]
fn keys_of_several_parts_count_each_combination() {
    let limiter = limiter(settings(&[RateKey::Route, RateKey::Header(HeaderName::from_static("x-api-key"))], 1));
    let of = |key: &str, route| allowed(&limiter, &request("192.0.2.1", &[("x-api-key", key)]), route);
    assert!(of("a", 0) && of("b", 0) && of("a", 1) && !of("a", 0) && !of("b", 0));
    let without = |peer| allowed(&limiter, &request(peer, &[]), 0);
    assert!(without("192.0.2.1") && !without("192.0.2.1") && without("192.0.2.2"), "without a key, by address");
}

#[test]
fn a_refusal_says_when_to_come_again_and_a_dry_run_refuses_nobody() {
    let (limiter, metrics) = limiter(RateLimit { limit: 2, window: Duration::from_secs(3), ..RateLimit::default() });
    let request = request("192.0.2.1", &[("accept", "application/json")]);
    let verdict = |limiter: &Arc<Limiter>| match limiter.check(&request, 0, 0, &metrics) {
        Checked::Now(verdict) => verdict,
        Checked::Later(_) => panic!("nothing has to be waited for"),
    };
    let (first, _, third) = (verdict(&limiter), verdict(&limiter), verdict(&limiter));
    assert!(limiter.judge(first, &metrics) && !limiter.judge(third, &metrics));
    let refusal = limiter.refusal(third, &request);
    assert!(refusal.status == StatusCode::TOO_MANY_REQUESTS && refusal.headers[RETRY_AFTER] == "2");
    let Body::Full(body) = &refusal.body else { panic!("it has a body") };
    assert!(std::str::from_utf8(body).unwrap().contains("2 in 3s are allowed"), "{body:?}");
    let dry = Limiter::new(RateLimit { dry_run: true, ..limiter.settings.clone() }, "", None);
    assert!(dry.judge(third, &metrics));
    let of = |outcome| metrics.rate_limited.of(outcome).get();
    assert_eq!((of(Limited::Refused), of(Limited::DryRun)), (1, 1));
}

#[test]
fn a_call_of_grpc_beyond_a_limit_is_told_so_in_its_own_way() {
    let (limiter, _) = limiter(settings(&[RateKey::Client], 1));
    let verdict = Verdict { allowed: false, remaining: 0, retry_after: 1_500_000_000, reset: 0 };
    let mut call = request("192.0.2.1", &[("content-type", "application/grpc+proto")]);
    call.head.method = http::Method::POST;
    let refusal = limiter.refusal(verdict, &call);
    assert_eq!(refusal.status, StatusCode::OK, "an error of HTTP would be taken for a server that is not there");
    assert!(refusal.headers["grpc-status"] == "8" && refusal.headers[RETRY_AFTER] == "2", "{:?}", refusal.headers);
    assert!(refusal.headers["grpc-message"].to_str().unwrap().starts_with("too many requests: 1 in "));
    let other = limiter.refusal(verdict, &request("192.0.2.1", &[("content-type", "application/json")]));
    assert_eq!(other.status, StatusCode::TOO_MANY_REQUESTS);
}

#[test]
fn what_is_left_is_told_as_either_draft_has_it() {
    let verdict = Verdict { allowed: true, remaining: 7, retry_after: 0, reset: 1_500_000_000 };
    let told = |fields| {
        let (mut headers, settings) = (HeaderMap::new(), RateLimit { fields, ..RateLimit::default() });
        Limiter::new(settings, "", None).tell(verdict, &mut headers);
        let mut lines: Vec<_> =
            headers.iter().map(|(name, value)| format!("{name}: {}", value.to_str().unwrap())).collect();
        lines.sort();
        lines
    };
    assert_eq!(told(RateFields::Three), ["ratelimit-limit: 100", "ratelimit-remaining: 7", "ratelimit-reset: 2"]);
    assert_eq!(
        told(RateFields::Structured),
        ["ratelimit-policy: \"default\";q=100;w=60", "ratelimit: \"default\";r=7;t=2"]
    );
    assert!(told(RateFields::Off).is_empty());
}

#[test]
fn what_others_see_of_a_key_does_not_tell_it() {
    let told = digest([Part::Text(b"secret")].into_iter());
    assert!(told.len() == 32 && !told.contains("secret"));
    assert_ne!(told, digest([Part::Text(b"secres")].into_iter()));
    assert_ne!(
        digest([Part::Text(b"ab"), Part::Text(b"c")].into_iter()),
        digest([Part::Text(b"a"), Part::Text(b"bc")].into_iter())
    );
}
