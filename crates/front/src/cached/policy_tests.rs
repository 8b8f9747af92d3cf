use std::time::Duration;

use http::{HeaderName, HeaderValue, StatusCode};
use proptest::prelude::*;

use super::*;
use crate::cached::config::Cache;
use crate::cached::rules::Rules;
use crate::cached::storing::{Asker, Pass, Times, judge};

const BORN: UnixMillis = UnixMillis(784_111_777_000);

fn fields(lines: &[(&'static str, &str)]) -> HeaderMap {
    let field =
        |(name, value): &(&'static str, &str)| (HeaderName::from_static(name), HeaderValue::from_str(value).unwrap());
    lines.iter().map(field).collect()
}

fn stored(control: &str, settings: &Cache) -> Result<Stored, Pass> {
    let times = Times { asked: BORN, came: BORN };
    let fields = fields(&[("cache-control", control), ("etag", "\"x\"")]);
    judge(Asker::default(), StatusCode::OK, &fields, times, &Rules::new(settings, "", None)).map(|keep| keep.stored)
}

fn asked(lines: &[(&'static str, &str)]) -> Asked {
    let fields = fields(lines);
    let facts = Facts::of(&fields);
    Asked { control: facts.control(&fields, Obeyed::All), authorized: facts.authorized, refresh: false }
}

#[test]
fn a_request_of_somebody_who_is_known_by_other_means_is_theirs_as_one_with_authorization_is() {
    let (mut head, ()) = http::Request::builder().header("cookie", "token=x").body(()).unwrap().into_parts();
    assert!(!Facts::of_request(&head).authorized);
    head.extensions.insert(Personal);
    assert!(Facts::of_request(&head).authorized && Facts::of_request(&head).cookies);
}

/// What becomes of a request with this `Cache-Control`, of a response with that one and of this age.
fn of(request: &str, response: &str, age: u64) -> Plan {
    let lines = [("cache-control", request)];
    let lines = if request.is_empty() { &lines[..0] } else { &lines[..] };
    plan(
        &asked(lines),
        Some(&stored(response, &Cache::default()).unwrap()),
        Forward::UriMiss,
        BORN.after(Duration::from_secs(age)),
    )
}

#[test]
fn what_is_fresh_is_served_and_what_is_not_is_asked_for_again() {
    use Plan::{Fetch, GatewayTimeout, Revalidate, Serve, ServeStale};
    for (request, response, age, expected) in [
        // RFC 9111 section 4.2.
        ("", "max-age=60", 0, Serve),
        ("", "max-age=60", 59, Serve),
        ("", "max-age=60", 60, Revalidate(Forward::Stale)),
        // Section 5.2.2.4.
        ("", "no-cache, max-age=60", 0, Revalidate(Forward::Stale)),
        // Section 5.2.1.4.
        ("no-cache", "max-age=60", 1, Revalidate(Forward::Request)),
        ("no-cache", "max-age=60, stale-while-revalidate=60", 61, Revalidate(Forward::Stale)),
        // Section 5.2.1.1.
        ("max-age=10", "max-age=60", 10, Serve),
        ("max-age=10", "max-age=60", 11, Revalidate(Forward::Request)),
        ("max-age=0", "max-age=60", 1, Revalidate(Forward::Request)),
        ("max-age=10, max-stale=5", "max-age=60", 11, Serve),
        // Section 5.2.1.2.
        ("max-stale", "max-age=60", 99_999, Serve),
        ("max-stale=5", "max-age=60", 65, Serve),
        ("max-stale=5", "max-age=60", 66, Revalidate(Forward::Stale)),
        ("max-stale", "max-age=60, must-revalidate", 61, Revalidate(Forward::Stale)),
        ("max-stale", "max-age=60, proxy-revalidate", 61, Revalidate(Forward::Stale)),
        ("max-stale", "s-maxage=60", 61, Revalidate(Forward::Stale)),
        // Section 5.2.1.3.
        ("min-fresh=20", "max-age=60", 40, Serve),
        ("min-fresh=20", "max-age=60", 41, Revalidate(Forward::Request)),
        ("min-fresh=1", "max-age=60, stale-while-revalidate=60", 61, Revalidate(Forward::Stale)),
        // Section 5.2.1.7.
        ("only-if-cached", "max-age=60", 1, Serve),
        ("only-if-cached", "max-age=60", 61, GatewayTimeout),
        ("only-if-cached, max-stale", "max-age=60", 61, Serve),
        ("only-if-cached, no-cache", "max-age=60", 1, GatewayTimeout),
        // RFC 5861 section 3.
        ("", "max-age=60, stale-while-revalidate=10", 69, ServeStale),
        ("", "max-age=60, stale-while-revalidate=10", 70, Revalidate(Forward::Stale)),
        ("", "max-age=60, stale-while-revalidate=10, must-revalidate", 61, Revalidate(Forward::Stale)),
        ("only-if-cached", "max-age=60, stale-while-revalidate=10", 61, ServeStale),
    ] {
        assert_eq!(of(request, response, age), expected, "{request} | {response} | {age}");
    }
    assert_eq!(plan(&asked(&[]), None, Forward::VaryMiss, BORN), Fetch(Forward::VaryMiss));
    assert_eq!(plan(&asked(&[("cache-control", "only-if-cached")]), None, Forward::UriMiss, BORN), GatewayTimeout);
}

/// RFC 9111 section 3.5.
#[test]
fn who_names_itself_gets_what_is_stored_only_where_the_response_allows_it() {
    let of = |response: &str| {
        plan(
            &asked(&[("authorization", "x")]),
            Some(&stored(response, &Cache::default()).unwrap()),
            Forward::UriMiss,
            BORN,
        )
    };
    assert_eq!(of("max-age=60"), Plan::Fetch(Forward::Bypass));
    assert_eq!(of("max-age=60, public"), Plan::Serve);
    assert_eq!(of("s-maxage=60"), Plan::Serve);
}

/// RFC 5861 section 4.
#[test]
fn a_stale_response_stands_in_for_an_error_while_it_may() {
    let stands_in = |request: &[(&'static str, &str)], response: &str, age: u64| {
        may_stand_in(
            &asked(request),
            &stored(response, &Cache::default()).unwrap(),
            BORN.after(Duration::from_secs(age)),
        )
    };
    assert!(stands_in(&[], "max-age=60, stale-if-error=10", 69));
    assert!(!stands_in(&[], "max-age=60, stale-if-error=10", 70));
    assert!(!stands_in(&[], "max-age=60, stale-if-error=10, must-revalidate", 61));
    assert!(!stands_in(&[], "max-age=60", 61));
    assert!(stands_in(&[], "max-age=60, stale-while-revalidate=10", 61));
    assert!(!stands_in(&[("authorization", "x")], "max-age=60, stale-if-error=10", 61));
}

#[test]
fn a_client_is_obeyed_as_far_as_the_route_says() {
    let fields =
        fields(&[("cache-control", "no-cache, no-store, max-age=0, min-fresh=5, max-stale=7, only-if-cached")]);
    let facts = Facts::of(&fields);
    assert_eq!(facts.control(&fields, Obeyed::None), ClientControl::default());
    let lenient =
        ClientControl { max_stale: Some(Duration::from_secs(7)), only_if_cached: true, ..ClientControl::default() };
    assert_eq!(facts.control(&fields, Obeyed::Lenient), lenient);
    let all = facts.control(&fields, Obeyed::All);
    assert!(all.no_cache && all.no_store && all.max_age.is_some() && all.min_fresh.is_some());
}

#[test]
fn the_time_to_live_is_negative_once_it_is_over() {
    let stored = stored("max-age=60", &Cache::default()).unwrap();
    let at = |age: u64| time_to_live(&stored, BORN.after(Duration::from_secs(age)));
    assert_eq!((at(0), at(60), at(75)), (60, 0, -15));
}

/// A list of directives, any of them with any argument.
fn directives(names: &'static [&'static str]) -> impl Strategy<Value = String> {
    let one = (proptest::sample::select(names), proptest::option::of(prop_oneof![0u32..100, 100u32..100_000]));
    let text = |(name, number): (&str, Option<u32>)| match number {
        Some(number) => format!("{name}={number}"),
        None => name.to_owned(),
    };
    proptest::collection::vec(one.prop_map(text), 0..6).prop_map(|all| all.join(", "))
}

const RESPONSE: &[&str] = &[
    "no-store",
    "no-cache",
    "private",
    "public",
    "must-revalidate",
    "proxy-revalidate",
    "must-understand",
    "max-age",
    "s-maxage",
    "stale-while-revalidate",
    "stale-if-error",
    "x",
];
const REQUEST: &[&str] = &["no-cache", "no-store", "max-age", "max-stale", "min-fresh", "only-if-cached", "x"];

/// Whether a list has a directive without an argument, which for some is another directive than with one.
fn has_bare(list: &str, name: &str) -> bool {
    list.split(", ").any(|one| one == name)
}

/// Whether a list has a directive.
fn has(list: &str, name: &str) -> bool {
    list.split(", ").any(|one| one.split('=').next() == Some(name))
}

/// Bytes that a field may have, most of them such that mean something in one.
fn value() -> impl Strategy<Value = Vec<u8>> {
    const PIECES: [&str; 20] = [
        "max-age",
        "=",
        ",",
        ";",
        "\"",
        "\\",
        "(",
        ")",
        "?1",
        "@",
        ":",
        "*",
        "-",
        "1",
        "q=0.",
        " ",
        "\t",
        "\u{e9}",
        "no-store",
        "99999999999999999999",
    ];
    let piece = prop_oneof![
        proptest::sample::select(&PIECES[..]).prop_map(|text| text.as_bytes().to_vec()),
        proptest::collection::vec(any::<u8>(), 0..4)
    ];
    proptest::collection::vec(piece, 0..20).prop_map(|pieces| pieces.concat())
}

proptest! {
    #[test]
    fn nothing_that_anybody_sends_does_harm(values in proptest::collection::vec(value(), 1..4), bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
        let names = ["cache-control", "cdn-cache-control", "surrogate-control", "expires", "age", "date", "vary", "accept", "cookie", "surrogate-key"];
        for name in names {
            let values = values.iter().filter_map(|value| HeaderValue::from_bytes(value).ok());
            let fields: HeaderMap = values.map(|value| (HeaderName::from_static(name), value)).collect();
            let rules = Rules::new(&Cache { default_ttl: Duration::from_secs(1), ..Cache::default() }, "", None);
            let times = Times { asked: BORN, came: BORN };
            if let Ok(keep) = judge(Asker::default(), StatusCode::OK, &fields, times, &rules) {
                let facts = Facts::of(&fields);
                let asked = Asked { control: facts.control(&fields, Obeyed::All), ..Asked::default() };
                plan(&asked, Some(&keep.stored), Forward::UriMiss, BORN);
            }
            let varies = crate::cached::stored::Varies { nonce: 0, names: vec![HeaderName::from_static(name)] };
            crate::cached::key::variant(&outwork_cache::Key::from_bytes([0; 16]), &varies, &fields);
            crate::cached::key::cookies(&fields).count();
        }
        crate::cached::stored::Record::decode(&bytes);
    }

    #[test]
    fn what_may_not_be_stored_never_is(control in directives(RESPONSE), ttl in proptest::option::of(0u64..1000), authorized: bool) {
        let settings = Cache { ttl: ttl.map(Duration::from_secs), default_ttl: Duration::from_secs(60), ..Cache::default() };
        let fields = fields(&[("cache-control", &control), ("etag", "\"x\"")]);
        let asker = Asker { authorized, ..Asker::default() };
        let times = Times { asked: BORN, came: BORN };
        let judged = judge(asker, StatusCode::OK, &fields, times, &Rules::new(&settings, "", None));
        let for_all = ["public", "must-revalidate", "s-maxage"].iter().any(|name| has(&control, name));
        let forbidden = has_bare(&control, "private")
            || (has(&control, "no-store") && !has(&control, "must-understand"))
            || (authorized && !for_all);
        prop_assert!(!(forbidden && judged.is_ok()), "{control}");
    }

    #[test]
    fn nothing_is_served_past_its_life_but_by_leave(
        response in directives(RESPONSE),
        request in directives(REQUEST),
        age in 0u64..200_000,
        grace in 0u64..100,
        authorized: bool,
    ) {
        let settings = Cache { stale_while_revalidate: Duration::from_secs(grace), default_ttl: Duration::from_secs(60), ..Cache::default() };
        let Ok(stored) = stored(&response, &settings) else { return Ok(()) };
        let mut asked = asked(&[("cache-control", &request)]);
        asked.authorized = authorized;
        let planned = plan(&asked, Some(&stored), Forward::UriMiss, BORN.after(Duration::from_secs(age)));
        let life = stored.life.fresh.as_secs();
        let strict = ["must-revalidate", "proxy-revalidate", "no-cache"].iter().any(|name| has_bare(&response, name));
        let served = matches!(planned, Plan::Serve | Plan::ServeStale);
        if served && age >= life {
            prop_assert!(!strict, "{response}");
            let leave = has(&request, "max-stale") || has(&response, "stale-while-revalidate") || grace > 0;
            prop_assert!(leave, "{response} | {request}");
        }
        if served {
            prop_assert!(!has(&request, "no-cache"));
            let for_all = ["public", "must-revalidate", "s-maxage"].iter().any(|name| has(&response, name));
            prop_assert!(!authorized || for_all);
        }
        if has(&request, "only-if-cached") {
            prop_assert!(served || planned == Plan::GatewayTimeout);
        }
    }
}
