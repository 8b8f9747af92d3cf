use super::*;
use crate::cached::config::Cache;

/// Sun, 06 Nov 1994 08:49:37 GMT
const NOW: UnixMillis = UnixMillis(784_111_777_000);
const TIMES: Times = Times { asked: NOW, came: NOW };

fn fields(fields: &[(&'static str, &str)]) -> HeaderMap {
    let field =
        |(name, value): &(&'static str, &str)| (HeaderName::from_static(name), HeaderValue::from_str(value).unwrap());
    fields.iter().map(field).collect()
}

fn rules(change: impl FnOnce(&mut Cache)) -> Rules {
    let mut settings = Cache::default();
    change(&mut settings);
    Rules::new(&settings, "test", None)
}

fn of(status: u16, lines: &[(&'static str, &str)], rules: &Rules) -> Result<Keep, Pass> {
    judge(Asker::default(), StatusCode::from_u16(status).unwrap(), &fields(lines), TIMES, rules)
}

fn kept(lines: &[(&'static str, &str)]) -> Result<Keep, Pass> {
    of(200, lines, &rules(|_| {}))
}

fn fresh(kept: Result<Keep, Pass>) -> Option<u64> {
    kept.ok().map(|keep| keep.stored.life.fresh.as_secs())
}

fn control(value: &str) -> Result<Keep, Pass> {
    kept(&[("cache-control", value)])
}

/// RFC 9111 section 3.
#[test]
fn what_is_stored_and_what_is_not() {
    for (status, lines, expected) in [
        (200, &[("cache-control", "max-age=60")][..], None),
        (200, &[("cache-control", "no-store, max-age=60")], Some(Pass::NoStore)),
        (200, &[("cache-control", "private, max-age=60")], Some(Pass::Private)),
        (200, &[("cache-control", "private=\"x-a\", max-age=60")], None),
        (200, &[], Some(Pass::Stale)),
        (200, &[("etag", "\"x\"")], None),
        (200, &[("cache-control", "max-age=0")], Some(Pass::Stale)),
        (200, &[("cache-control", "max-age=0"), ("etag", "\"x\"")], None),
        (200, &[("cache-control", "no-cache, max-age=60")], Some(Pass::Stale)),
        (200, &[("cache-control", "no-cache, max-age=60"), ("last-modified", "Sat, 05 Nov 1994 08:49:37 GMT")], None),
        (200, &[("cache-control", "max-age=60"), ("set-cookie", "a=b")], Some(Pass::SetCookie)),
        (200, &[("cache-control", "max-age=60, no-cache=\"set-cookie\""), ("set-cookie", "a=b")], None),
        (200, &[("cache-control", "max-age=60"), ("vary", "*")], Some(Pass::Vary)),
        (200, &[("cache-control", "max-age=60"), ("vary", "accept, *")], Some(Pass::Vary)),
        (200, &[("cache-control", "max-age=60"), ("vary", "a b")], Some(Pass::Vary)),
        (206, &[("cache-control", "max-age=60")], Some(Pass::Status)),
        (304, &[("cache-control", "max-age=60")], Some(Pass::Status)),
        (302, &[("etag", "\"x\"")], Some(Pass::Status)),
        (302, &[("cache-control", "max-age=60")], None),
        (302, &[("expires", "Sun, 06 Nov 1994 08:50:37 GMT")], None),
        (302, &[("cache-control", "public"), ("etag", "\"x\"")], None),
        (500, &[("cache-control", "max-age=60")], None),
        (503, &[], Some(Pass::Status)),
        // Section 5.2.2.3.
        (200, &[("cache-control", "must-understand, no-store, max-age=60")], None),
        (299, &[("cache-control", "must-understand, no-store, max-age=60")], Some(Pass::Status)),
    ] {
        assert_eq!(of(status, lines, &rules(|_| {})).err(), expected, "{status} {lines:?}");
    }
}

/// RFC 9111 section 3.5.
#[test]
fn what_somebody_in_particular_asked_for_is_stored_only_where_the_response_says_so() {
    let asker = Asker { authorized: true, ..Asker::default() };
    for (control, stored) in [
        ("max-age=60", false),
        ("max-age=60, public", true),
        ("s-maxage=60", true),
        ("max-age=60, must-revalidate", true),
        ("max-age=60, proxy-revalidate", false),
    ] {
        let judged = judge(asker, StatusCode::OK, &fields(&[("cache-control", control)]), TIMES, &rules(|_| {}));
        assert_eq!(judged.err(), (!stored).then_some(Pass::Authorization), "{control}");
    }
    assert!(!control("max-age=60").unwrap().stored.life.for_authorized);
    assert!(control("max-age=60, public").unwrap().stored.life.for_authorized);
}

#[test]
fn what_was_asked_for_with_cookies_is_stored_if_it_says_so_or_the_route_does() {
    let with = |lines: &[(&'static str, &str)], change: fn(&mut Cache)| {
        judge(Asker { cookies: true, ..Asker::default() }, StatusCode::OK, &fields(lines), TIMES, &rules(change))
            .is_ok()
    };
    assert!(with(&[("cache-control", "max-age=60")], |_| {}));
    assert!(!with(&[], |settings| settings.default_ttl = Duration::from_secs(60)));
    assert!(!with(&[("last-modified", "Sat, 05 Nov 1994 08:49:37 GMT")], |_| {}));
    assert!(with(&[("vary", "cookie")], |settings| settings.default_ttl = Duration::from_secs(60)));
    assert!(with(&[], |settings| settings.ttl = Some(Duration::from_secs(60))));
    assert!(with(&[], |settings| (settings.default_ttl, settings.cookies) = (Duration::from_secs(60), Cookies::Ignore)));
    assert!(with(&[], |settings| (settings.default_ttl, settings.key.cookies) =
        (Duration::from_secs(60), vec!["a".into()])));
}

/// RFC 9111 section 4.2.1.
#[test]
fn a_response_lives_as_long_as_the_most_particular_says() {
    for (lines, expected) in [
        (&[("cache-control", "max-age=60, s-maxage=90"), ("expires", "Sun, 06 Nov 1994 08:49:47 GMT")][..], 90),
        (&[("cache-control", "max-age=60"), ("expires", "Sun, 06 Nov 1994 08:49:47 GMT")], 60),
        (&[("expires", "Sun, 06 Nov 1994 08:49:47 GMT")], 10),
        // From its own date on, whatever our clock says.
        (&[("expires", "Sun, 06 Nov 1994 08:49:47 GMT"), ("date", "Sun, 06 Nov 1994 08:49:27 GMT")], 20),
        // Section 5.3.
        (&[("expires", "0"), ("etag", "\"x\"")], 0),
        (&[("expires", "Sun, 06 Nov 1994 08:49:07 GMT"), ("etag", "\"x\"")], 0),
        // RFC 9213 section 2.2: neither of the two counts then.
        (
            &[
                ("cdn-cache-control", "max-age=5"),
                ("cache-control", "max-age=60"),
                ("expires", "Sun, 06 Nov 1994 08:49:47 GMT"),
            ],
            5,
        ),
        // Section 4.2.2: a tenth of a day.
        (&[("last-modified", "Sat, 05 Nov 1994 08:49:37 GMT")], 8640),
        (&[("last-modified", "Sat, 06 Nov 1993 08:49:37 GMT")], 86_400),
        (&[("last-modified", "Mon, 07 Nov 1994 08:49:37 GMT")], 0),
        (&[("cache-control", "max-age=60, no-cache"), ("etag", "\"x\"")], 0),
    ] {
        assert_eq!(fresh(kept(lines)), Some(expected), "{lines:?}");
    }
}

#[test]
fn rules_speak_where_the_response_is_silent_and_one_of_them_always() {
    let seconds = Duration::from_secs;
    let quiet = rules(|settings| {
        settings.default_ttl = seconds(30);
        settings.status_ttl.insert("404".into(), seconds(5));
        settings.status_ttl.insert("503".into(), seconds(1));
    });
    assert_eq!(fresh(of(200, &[], &quiet)), Some(30));
    assert_eq!(fresh(of(200, &[("cache-control", "max-age=60")], &quiet)), Some(60));
    assert_eq!(fresh(of(404, &[], &quiet)), Some(5));
    assert_eq!(fresh(of(503, &[], &quiet)), Some(1));
    assert_eq!(of(500, &[], &quiet).err(), Some(Pass::Status));
    let firm = rules(|settings| settings.ttl = Some(seconds(7)));
    assert_eq!(fresh(of(200, &[("cache-control", "max-age=60")], &firm)), Some(7));
    assert_eq!(fresh(of(500, &[("cache-control", "max-age=60")], &firm)), Some(60), "errors live as they say");
    assert_eq!(of(200, &[("cache-control", "no-store")], &firm).err(), Some(Pass::NoStore));
    let cookies = rules(|settings| settings.set_cookie = SetCookie::Strip);
    let kept = of(200, &[("cache-control", "max-age=60"), ("set-cookie", "a=b")], &cookies).unwrap();
    assert!(!kept.stored.fields().contains_key(SET_COOKIE));
    let cookies = rules(|settings| settings.set_cookie = SetCookie::Keep);
    assert!(
        of(200, &[("cache-control", "max-age=60"), ("set-cookie", "a=b")], &cookies)
            .unwrap()
            .stored
            .fields()
            .contains_key(SET_COOKIE)
    );
}

/// RFC 5861, and RFC 9111 sections 4.2.4, 5.2.2.2, 5.2.2.8 and 5.2.2.10.
#[test]
fn a_stale_response_is_given_only_where_nothing_forbids_it() {
    let lenient = rules(|settings| {
        (settings.stale_while_revalidate, settings.stale_if_error) = (Duration::from_secs(10), Duration::from_secs(20));
    });
    for (control, while_revalidate, if_error, forbids) in [
        ("max-age=60", 10, 20, false),
        ("max-age=60, stale-while-revalidate=3, stale-if-error=0", 3, 0, false),
        ("max-age=60, must-revalidate, stale-while-revalidate=3", 0, 0, true),
        ("max-age=60, proxy-revalidate, stale-if-error=3", 0, 0, true),
        ("s-maxage=60", 0, 0, true),
        ("s-maxage=60, stale-while-revalidate=3", 3, 0, true),
        ("no-cache, stale-while-revalidate=3", 0, 0, true),
    ] {
        let life = of(200, &[("cache-control", control), ("etag", "\"x\"")], &lenient).unwrap().stored.life;
        let seen = (life.while_revalidate.as_secs(), life.if_error.as_secs(), life.forbids_stale);
        assert_eq!(seen, (while_revalidate, if_error, forbids), "{control}");
    }
}

/// RFC 9111 section 4.2.3.
#[test]
fn the_age_of_a_response_is_the_larger_of_what_its_date_and_its_age_make() {
    let times = Times { asked: UnixMillis(NOW.0 - 4000), came: NOW };
    let age = |lines: &[(&'static str, &str)]| {
        let lines = [&[("cache-control", "max-age=600")], lines].concat();
        judge(Asker::default(), StatusCode::OK, &fields(&lines), times, &rules(|_| {}))
            .unwrap()
            .stored
            .age(NOW)
            .as_secs()
    };
    assert_eq!(age(&[]), 4, "the time that it took");
    assert_eq!(age(&[("age", "30")]), 34);
    assert_eq!(age(&[("date", "Sun, 06 Nov 1994 08:48:37 GMT")]), 60);
    assert_eq!(age(&[("date", "Sun, 06 Nov 1994 08:48:37 GMT"), ("age", "90")]), 94);
    assert_eq!(age(&[("date", "Sun, 06 Nov 1994 08:59:37 GMT")]), 4, "a clock ahead of ours");
    // Section 5.1.
    assert_eq!(age(&[("age", "x")]), 4);
    assert_eq!(age(&[("age", "30, 60")]), 34);
}

/// RFC 9111 section 3.1.
#[test]
fn fields_of_the_connection_and_those_that_are_forbidden_are_not_stored() {
    let lines = [
        ("cache-control", "max-age=60, private=\"x-mine\", no-cache=\"x-once\""),
        ("connection", "close, x-hop"),
        ("x-hop", "1"),
        ("x-mine", "1"),
        ("x-once", "1"),
        ("x-end", "1"),
        ("keep-alive", "5"),
        ("transfer-encoding", "chunked"),
        ("content-length", "7"),
        ("age", "3"),
        ("proxy-authenticate", "basic"),
        ("surrogate-control", "max-age=90"),
    ];
    let kept = of(200, &lines, &rules(|settings| settings.targets = vec![])).unwrap();
    let mut names: Vec<_> = kept.stored.fields().keys().map(HeaderName::as_str).collect();
    names.sort_unstable();
    assert_eq!(names, ["accept-ranges", "cache-control", "date", "x-end"]);
    assert_eq!(kept.stored.fields()[DATE], "Sun, 06 Nov 1994 08:49:37 GMT");
}

#[test]
fn what_is_for_this_cache_stays_here_and_what_is_for_the_one_before_it_goes_on() {
    let lines = [
        ("outwork-cache-control", "max-age=60"),
        ("cdn-cache-control", "max-age=90"),
        ("surrogate-key", "a b a"),
        ("cache-tag", "c, d e"),
    ];
    let keep = kept(&lines).unwrap();
    assert_eq!(&*keep.tags, ["a", "b", "c", "d e"].map(Box::from));
    assert!(keep.stored.fields().contains_key("cdn-cache-control"));
    for consumed in ["outwork-cache-control", "surrogate-key", "cache-tag"] {
        assert!(!keep.stored.fields().contains_key(consumed), "{consumed}");
    }
    let lifetime = Some((HeaderName::from_static("surrogate-control"), HeaderValue::from_static("max-age=86400")));
    let edge = EdgeFields { lifetime, tags: (HeaderName::from_static("cache-tag"), ",") };
    let keep = of(200, &lines, &Rules::new(&Cache::default(), "test", Some(edge))).unwrap();
    assert_eq!(keep.stored.fields()["surrogate-control"], "max-age=86400");
    assert_eq!(keep.stored.fields()["cache-tag"], "a,b,c,d e", "a cache that is purged by tags has to know them");
    assert!(!keep.stored.fields().contains_key("surrogate-key"));
    let own = Cache { tags: vec!["own".into(), "c".into()], ..Cache::default() };
    let keep = of(200, &lines, &Rules::new(&own, "test", None)).unwrap();
    assert_eq!(&*keep.tags, ["own", "c", "a", "b", "d e"].map(Box::from));
}

#[test]
fn tags_are_bounded_in_number_and_length() {
    let many: Vec<String> = (0..1000).map(|number| format!("t{number}")).chain(["x".repeat(300)]).rev().collect();
    let keep = kept(&[("cache-control", "max-age=60"), ("surrogate-key", &many.join(" "))]).unwrap();
    assert!(keep.tags.len() == MOST_TAGS && keep.tags.iter().all(|tag| tag.len() <= TAG_BYTES));
}

#[test]
fn what_it_depends_on_is_one_list_however_it_is_written_and_a_rule_may_say_otherwise() {
    let vary = |lines: &[(&'static str, &str)], rules: &Rules| of(200, lines, rules).unwrap().vary;
    let expected = [HeaderName::from_static("accept"), HeaderName::from_static("x-a")];
    assert_eq!(vary(&[("etag", "\"x\""), ("vary", "X-A,accept"), ("vary", ", x-a")], &rules(|_| {})), expected);
    let ruled = rules(|settings| settings.vary = Some(vec!["X-A".into(), "Accept".into()]));
    assert_eq!(vary(&[("etag", "\"x\""), ("vary", "*")], &ruled), expected);
}

#[test]
fn it_is_kept_for_as_long_as_it_may_be_of_use() {
    let lines = [("cache-control", "max-age=60, stale-while-revalidate=10, stale-if-error=30"), ("age", "20")];
    assert_eq!(kept(&lines).unwrap().expires.left(NOW), Duration::from_secs(60 + 30 - 20));
    let validated = [&lines[..], &[("etag", "\"x\"")]].concat();
    assert_eq!(kept(&validated).unwrap().expires.left(NOW), Duration::from_secs(60 + 600 - 20));
}

#[test]
fn of_what_its_handler_watches_nothing_is_guessed_and_what_is_said_counts() {
    let of = |lines: &[(&'static str, &str)], change: fn(&mut Cache)| of(200, lines, &rules(change).without_guesses());
    let file = [("etag", "\"x\""), ("last-modified", "Sat, 06 Nov 1993 08:49:37 GMT")];
    let graces: fn(&mut Cache) = |settings| {
        settings.stale_while_revalidate = Duration::from_secs(60);
        settings.stale_if_error = Duration::from_secs(3600);
    };
    assert_eq!(of(&file, graces).err(), Some(Pass::Stale));
    assert_eq!(of(&[&file[..], &[("cache-control", "public")]].concat(), graces).err(), Some(Pass::Stale));
    assert_eq!(fresh(of(&[&file[..], &[("cache-control", "max-age=9")]].concat(), graces)), Some(9));
    assert_eq!(fresh(of(&file, |settings| settings.ttl = Some(Duration::from_secs(8)))), Some(8));
    assert_eq!(fresh(of(&file, |settings| settings.default_ttl = Duration::from_secs(7))), Some(7));
}

#[test]
fn an_error_is_stored_only_where_it_or_the_route_says_for_how_long() {
    let modified = [("last-modified", "Sat, 06 Nov 1993 08:49:37 GMT"), ("etag", "\"x\"")];
    for status in [404, 405, 410, 414, 501] {
        let with = |lines: &[(&'static str, &str)], change: fn(&mut Cache)| of(status, lines, &rules(change));
        assert_eq!(with(&modified, |_| {}).err(), Some(Pass::Status), "{status}");
        let defaults: fn(&mut Cache) = |settings| {
            settings.default_ttl = Duration::from_secs(60);
            settings.stale_while_revalidate = Duration::from_secs(60);
        };
        assert_eq!(with(&modified, defaults).err(), Some(Pass::Status), "{status}");
        assert!(with(&[("cache-control", "public")], defaults).is_err(), "{status}");
        assert_eq!(fresh(with(&[("cache-control", "max-age=9")], |_| {})), Some(9));
        assert_eq!(fresh(with(&[], |settings| settings.ttl = Some(Duration::from_secs(8)))), Some(8));
    }
    assert_eq!(
        fresh(of(
            404,
            &[],
            &rules(|settings| {
                settings.status_ttl.insert("404".into(), Duration::from_secs(7));
            })
        )),
        Some(7)
    );
}

#[test]
fn what_was_fresh_to_nobody_is_stale_to_nobody() {
    let grace = |lines: &[(&'static str, &str)], default_ttl: u64| {
        let rules = rules(|settings| {
            settings.default_ttl = Duration::from_secs(default_ttl);
            settings.stale_while_revalidate = Duration::from_secs(60);
            settings.stale_if_error = Duration::from_secs(90);
        });
        let life = of(200, lines, &rules).unwrap().stored.life;
        (life.while_revalidate.as_secs(), life.if_error.as_secs())
    };
    assert_eq!(grace(&[("etag", "\"x\"")], 0), (0, 90));
    assert_eq!(grace(&[("etag", "\"x\"")], 1), (60, 90));
    assert_eq!(grace(&[("etag", "\"x\""), ("cache-control", "max-age=0")], 0), (60, 90));
    assert_eq!(grace(&[("etag", "\"x\""), ("cache-control", "stale-while-revalidate=30")], 0), (30, 90));
}
