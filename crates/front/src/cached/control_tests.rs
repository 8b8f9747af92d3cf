use http::HeaderValue;
use http::header::SET_COOKIE;

use super::*;

const TARGETS: [HeaderName; 3] = [
    HeaderName::from_static("outwork-cache-control"),
    HeaderName::from_static("surrogate-control"),
    HeaderName::from_static("cdn-cache-control"),
];

fn fields(fields: &[(&'static str, &str)]) -> HeaderMap {
    let field =
        |(name, value): &(&'static str, &str)| (HeaderName::from_static(name), HeaderValue::from_str(value).unwrap());
    fields.iter().map(field).collect()
}

fn said(lines: &[(&'static str, &str)]) -> Control {
    Control::of_response(&fields(lines), &TARGETS)
}

fn control(text: &str) -> Control {
    said(&[("cache-control", text)])
}

const fn seconds(seconds: u64) -> Option<Duration> {
    Some(Duration::from_secs(seconds))
}

#[test]
fn directives_are_read_whatever_their_case_spacing_and_quotes() {
    for text in [
        "max-age=60, no-store",
        " MAX-AGE = 60 ,,No-Store",
        "no-store,max-age=\"60\"",
        "x=\"a, max-age=1\", no-store, max-age=60",
        "x=\"\\\"\", max-age=60, no-store",
    ] {
        let control = control(text);
        assert_eq!((control.max_age, control.no_store), (seconds(60), true), "{text}");
    }
    let lines = said(&[("cache-control", "max-age=60"), ("cache-control", "no-store")]);
    assert_eq!((lines.max_age, lines.no_store), (seconds(60), true));
}

/// RFC 9111 section 4.2.1.
#[test]
fn of_a_lifetime_that_is_there_twice_the_first_counts_and_one_that_is_no_number_is_none_left() {
    assert_eq!(control("max-age=60, max-age=1").max_age, seconds(60));
    for text in ["max-age=x", "max-age", "max-age=", "max-age=-1", "max-age=1.5", "max-age='60'"] {
        assert_eq!(control(text).max_age, seconds(0), "{text}");
    }
}

/// RFC 9111 section 1.2.2.
#[test]
fn a_lifetime_that_cannot_be_counted_is_a_long_one() {
    assert_eq!(control("max-age=99999999999999999999999").max_age, seconds(1 << 31));
    assert_eq!(control("max-age=4294967296").max_age, seconds(1 << 31));
}

/// RFC 9111 sections 5.2.2.4 and 5.2.2.7.
#[test]
fn private_and_no_cache_are_about_fields_where_they_name_some() {
    assert_eq!(
        control("private=\"set-cookie, X-A\"").private,
        Scope::Fields(vec![SET_COOKIE, HeaderName::from_static("x-a")])
    );
    assert_eq!(control("no-cache=set-cookie").no_cache, Scope::Fields(vec![SET_COOKIE]));
    for text in ["private", "private=\"\"", "private=\"a b\"", "private, private=x", "private=x, private"] {
        assert_eq!(control(text).private, Scope::Whole, "{text}");
    }
}

/// RFC 9213 section 2.2.
#[test]
fn the_most_specific_field_counts_alone() {
    let all = [
        ("cache-control", "no-store"),
        ("cdn-cache-control", "max-age=1"),
        ("surrogate-control", "max-age=2"),
        ("outwork-cache-control", "max-age=3"),
    ];
    for (lines, age, no_store) in [
        (&all[..], seconds(3), false),
        (&all[..3], seconds(2), false),
        (&all[..2], seconds(1), false),
        (&all[..1], None, true),
    ] {
        let control = said(lines);
        assert_eq!((control.max_age, control.no_store, control.targeted), (age, no_store, lines.len() > 1));
    }
    let none = said(&[("cache-control", "no-store"), ("cdn-cache-control", "none")]);
    assert!(none.targeted && !none.no_store, "a directive that nobody knows is there all the same");
}

/// RFC 9213 section 2.1.
#[test]
fn a_targeted_field_that_is_malformed_or_empty_is_not_there_and_a_value_of_another_type_does_not_count() {
    for value in ["", "max-age=", "Max-Age=60", "max-age=60,", "max-age=60 60"] {
        let control = said(&[("cache-control", "max-age=7"), ("cdn-cache-control", value)]);
        assert_eq!((control.max_age, control.targeted), (seconds(7), false), "{value}");
    }
    for value in ["max-age=1.5", "max-age=\"60\"", "max-age", "max-age=-1", "max-age=?1, no-store=?0", "max-age=token"]
    {
        let control = said(&[("cdn-cache-control", value)]);
        assert!(control.max_age.is_none() && !control.no_store && control.targeted, "{value}");
    }
    let control = said(&[("cdn-cache-control", "max-age=60;x=1, private=\"set-cookie\", must-revalidate")]);
    assert_eq!(
        (control.max_age, control.private, control.must_revalidate),
        (seconds(60), Scope::Fields(vec![SET_COOKIE]), true)
    );
}

#[test]
fn a_surrogate_may_be_told_how_long_it_may_go_on_with_what_is_stale() {
    let control = said(&[("surrogate-control", "max-age=3600+600, content=\"ESI/1.0\"")]);
    assert_eq!((control.max_age, control.stale_while_revalidate), (seconds(3600), seconds(600)));
}

/// RFC 9111 section 5.2.1.
#[test]
fn a_client_says_what_it_would_take() {
    let asked = |text: &str| ClientControl::of_request(&fields(&[("cache-control", text)]));
    assert_eq!(asked("max-stale").max_stale, Some(Duration::MAX));
    assert_eq!(asked("max-stale=5").max_stale, seconds(5));
    assert_eq!(asked("max-stale=x").max_stale, None);
    assert_eq!(asked("max-age=x").max_age, seconds(0));
    let all = asked("no-cache, no-store, only-if-cached, min-fresh=9");
    assert!(all.no_cache && all.no_store && all.only_if_cached && all.min_fresh == seconds(9));
}

/// RFC 9111 section 5.4.
#[test]
fn pragma_counts_where_there_is_no_cache_control() {
    assert!(ClientControl::of_request(&fields(&[("pragma", "no-cache")])).no_cache);
    assert!(!ClientControl::of_request(&fields(&[("pragma", "no-cache"), ("cache-control", "max-age=1")])).no_cache);
    assert!(said(&[("pragma", "no-cache")]) == Control::default());
}
