//! Somebody who is asked about requests before they are passed on.

use super::backend::{Backend, answer};
use super::{body, configure, site};
use crate::binary::{Place, field, get, text};

#[test]
fn a_request_is_passed_on_once_somebody_has_said_whose_it_is() {
    let mut place = Place::new();
    let asked = Backend::acting(place.host(), |seen, to| match seen.field("cookie") {
        Some("session=good") => {
            let told =
                [seen.field("x-forwarded-uri"), seen.field("x-forwarded-method")] == [Some("/path?q=1"), Some("POST")];
            answer(to, if told { "200 OK" } else { "500 No" }, "x-user: anna\r\n", b"")
        }
        _ => answer(to, "302 Found", "location: https://login.test/\r\n", b"sign in"),
    });
    let (app, seen) = Backend::telling(place.host(), "hello");
    configure(&place, &[&app], "", "");
    let forward = format!("\nforward_auth = {{ url = '{}/verify', answer_fields = ['x-user'] }}\n", asked.url());
    place.change(|text| text.replace("proxy = { pool = 'app' }", &format!("proxy = {{ pool = 'app' }}{forward}")));
    place.start();
    let url = format!("{}/path?q=1", site(&place));
    let stranger = get(&url, &["-d", "x", "-H", "X-User: root"]);
    assert!(stranger.contains(" 302 ") && body(&stranger) == "sign in", "{stranger}");
    assert_eq!((field(&stranger, "location"), app.requests()), (Some("https://login.test/"), 0));
    let known = get(&url, &["-d", "x", "-H", "X-User: root", "-b", "session=good"]);
    assert_eq!(body(&known), "hello", "{known}");
    let seen = seen.recv().expect("a request");
    assert_eq!((seen.field("x-user"), &*seen.body), (Some("anna"), &b"x"[..]));
    asked.set_down(true);
    let unknown = get(&url, &["-d", "x", "-b", "session=good"]);
    assert!(unknown.contains(" 503 ") || unknown.contains(" 502 "), "{unknown}");
    assert_eq!(app.requests(), 1);
    let wrong = place.outwork(&["--set", "front.forward_auth.url=http://me:secret@host/", "check"]);
    assert!(text(&wrong.stderr).contains("names no server"), "{wrong:?}");
}
