use http::HeaderValue;

use super::*;
use crate::cached::config::Cache;

fn rules(change: impl FnOnce(&mut Cache)) -> Rules {
    let mut settings = Cache::default();
    change(&mut settings);
    Rules::new(&settings, "test", None)
}

fn head(uri: &str, lines: &[(&'static str, &str)]) -> Parts {
    let mut request = http::Request::get(uri);
    for (name, value) in lines {
        request = request.header(*name, *value);
    }
    request.body(()).unwrap().into_parts().0
}

fn key(uri: &str, lines: &[(&'static str, &str)], tls: bool, rules: &Rules) -> Key {
    let head = head(uri, lines);
    Target::new(&head, tls, &rules.key).key(&head.headers, rules)
}

#[test]
fn the_same_target_has_the_same_key_and_another_has_another() {
    let rules = rules(|_| {});
    let of = |uri: &str, host: &str, tls: bool| key(uri, &[("host", host)], tls, &rules);
    let one = of("/a?b=c", "a.example", false);
    for host in ["A.Example", "a.example:80"] {
        assert_eq!(of("/a?b=c", host, false), one, "{host}");
    }
    for (uri, host, tls) in [
        ("/a", "a.example", false),
        ("/a?b=d", "a.example", false),
        ("/A?b=c", "a.example", false),
        ("/%61?b=c", "a.example", false),
        ("/a?b=c", "b.example", false),
        ("/a?b=c", "a.example:8080", false),
        ("/a?b=c", "a.example", true),
        ("/a?b=c", "a.example:80", true),
    ] {
        assert_ne!(of(uri, host, tls), one, "{uri} {host} {tls}");
    }
    let (mut elsewhere, head) = (rules.clone(), head("/a?b=c", &[("host", "a.example")]));
    elsewhere.space = "another route".into();
    assert_ne!(Target::new(&head, false, &rules.key).key(&head.headers, &elsewhere), one);
}

#[test]
fn of_the_query_counts_what_the_rules_say() {
    let counted = |query: &str, change: fn(&mut Cache)| counted(Some(query), &rules(change).key).into_owned();
    assert_eq!(
        counted("b=1&utm_source=x&a=2&utm", |settings| settings.key.ignore = vec!["utm_*".into()]),
        "b=1&a=2&utm"
    );
    assert_eq!(counted("b=1&a=2&b=0", |settings| settings.key.sort = true), "a=2&b=1&b=0");
    assert_eq!(counted("b=1&a=2", |settings| settings.key.query = Query::None), "");
    let listed = |settings: &mut Cache| {
        (settings.key.query, settings.key.params) = (Query::Listed, vec!["a".into(), "p_*".into()])
    };
    assert_eq!(counted("b=1&a=2&p_x&ab=1", listed), "a=2&p_x");
}

#[test]
fn header_fields_and_cookies_count_where_the_rules_name_them() {
    let rules = rules(|settings| {
        (settings.key.headers, settings.key.cookies) = (vec!["x-tenant".into()], vec!["theme".into()])
    });
    let of = |lines: &[(&'static str, &str)]| key("/", lines, false, &rules);
    assert_eq!(
        of(&[("x-tenant", "1"), ("x-other", "2"), ("cookie", "a=b; theme=dark")]),
        of(&[("x-tenant", "1"), ("cookie", "theme=dark;c=d")])
    );
    assert_ne!(of(&[("x-tenant", "1")]), of(&[("x-tenant", "2")]));
    assert_ne!(of(&[("cookie", "theme=dark")]), of(&[("cookie", "theme=light")]));
    assert_eq!(of(&[("cookie", "xtheme=dark")]), of(&[]));
}

#[test]
fn a_response_is_purged_by_its_url() {
    let name = |uri: &str, host: &str, tls: bool| {
        let (rules, head) = (rules(|_| {}).key, head(uri, &[("host", host)]));
        Target::new(&head, tls, &rules).name(&rules)
    };
    assert_eq!(&*name("/a?b=c", "A.example:443", true), "https://a.example/a?b=c");
    assert_eq!(&*name("/", "a.example:8080", false), "http://a.example:8080/");
    assert_eq!(&*name("//%61/../b?%63", "a.example", false), "http://a.example/b?c");
}

/// RFC 9111 section 4.1.
#[test]
fn a_variant_is_found_however_a_request_says_the_same() {
    let primary = Key::from_bytes([1; 16]);
    let of = |name: &'static str, nonce: u64, value: Option<&str>| {
        let varies = Varies { nonce, names: vec![HeaderName::from_static(name)] };
        let field = value.map(|value| (HeaderName::from_static(name), HeaderValue::from_str(value).unwrap()));
        variant(&primary, &varies, &field.into_iter().collect())
    };
    for (name, one, other) in [
        ("accept-encoding", "gzip, br", "BR ,gzip;q=1.0"),
        ("accept-encoding", "gzip;q=0.50, br", "br, gzip; q=0.5"),
        ("accept-language", "en;q=0.8, de", "DE,en;Q=0.800"),
        ("x-plain", "a", " a "),
    ] {
        assert_eq!(of(name, 1, Some(one)), of(name, 1, Some(other)), "{name}: {one} | {other}");
    }
    for (name, one, other) in [
        ("accept-encoding", Some("gzip"), Some("br")),
        ("accept-encoding", Some("gzip"), Some("gzip;q=0")),
        ("accept-encoding", Some("gzip;q=0.5"), Some("gzip;q=0.05")),
        ("accept-encoding", Some(""), None),
        ("x-plain", Some("a, b"), Some("b, a")),
        ("x-plain", Some("a"), Some("A")),
        ("accept", Some("a/b;x=\"q, r\""), Some("a/b;x=\"r, q\"")),
    ] {
        assert_ne!(of(name, 1, one), of(name, 1, other), "{name}: {one:?} | {other:?}");
    }
    assert_ne!(of("x-plain", 1, Some("a")), of("x-plain", 2, Some("a")), "what was there before is not found again");
}
