//! Certificates by ACME from a real server: pebble, with a DNS of its own.
#![allow(missing_docs, clippy::expect_used)]

mod pebble;
mod site;

use std::time::{Duration, SystemTime};

use outwork_front::acme::Settings;
use outwork_front::config::AcmeChallenge::{Http01, TlsAlpn01};

use pebble::{Options, Pebble};
use site::Site;

const DAYS: u64 = 90 * 86_400;

#[test]
fn a_certificate_comes_by_tls_alpn_01_to_a_listener_that_serves_before_it_does() {
    let pebble = Pebble::start(Options::default());
    let dir = tempfile::tempdir().expect("a directory");
    let site =
        Site::open(&pebble, dir.path(), &["alpn.test"], Settings { challenges: vec![TlsAlpn01], ..pebble.settings() });
    assert!(site.entry("alpn.test").certificate().provisional);
    assert_eq!(site.get("alpn.test", None), "routed", "before anything was ordered");
    site.order();
    site.until(|site| !site.entry("alpn.test").certificate().provisional);
    assert_eq!(site.get("alpn.test", Some(&pebble.roots())), "routed");
    let renewal = site.entry("alpn.test").renewal();
    assert_eq!((renewal.failures, renewal.error), (0, None));
}

#[test]
fn a_certificate_for_each_name_comes_by_http_01_through_a_clear_text_listener() {
    let pebble = Pebble::start(Options::default());
    let dir = tempfile::tempdir().expect("a directory");
    let names = ["one.http.test", "two.http.test"];
    let site = Site::open(&pebble, dir.path(), &names, Settings { challenges: vec![Http01], ..pebble.settings() });
    site.order();
    site.until(|site| names.iter().all(|name| !site.entry(name).certificate().provisional));
    for name in names {
        assert_eq!(site.entry(name).certificate().facts.names, [name]);
        assert_eq!(site.get(name, Some(&pebble.roots())), "routed");
    }
    assert!(site.clear("one.http.test").contains("308 https://one.http.test/"), "redirected again once that is done");
}

#[test]
fn a_certificate_is_renewed_in_time_and_a_failing_order_keeps_the_one_before() {
    let mut pebble = Pebble::start(Options { validity: 30, ..Options::default() });
    let dir = tempfile::tempdir().expect("a directory");
    let site = Site::open(&pebble, dir.path(), &["short.test"], pebble.settings());
    site.order();
    site.until(|site| !site.entry("short.test").certificate().provisional);
    let first = site.entry("short.test").certificate();
    let due = site.until_some(|site| site.entry("short.test").renewal().next);
    let life = first.facts.life();
    assert!(due > first.facts.not_before + life / 2 && due < first.facts.not_after, "{due:?}");
    let name = |site: &Site| site.entry("short.test").certificate().facts.fingerprint;
    site.until(|site| name(site) != first.facts.fingerprint);
    assert_eq!(site.get("short.test", Some(&pebble.roots())), "routed");
    let second = name(&site);
    pebble.stop();
    let stopped = SystemTime::now();
    let renewal =
        site.until_some(|site| Some(site.entry("short.test").renewal()).filter(|renewal| renewal.failures > 0));
    assert_eq!(name(&site), second);
    assert!(renewal.error.is_some_and(|error| error.contains("onnect")), "it says what is wrong");
    let next = renewal.next.expect("what failed says when it is tried again");
    assert!(next > stopped + Duration::from_secs(30), "in a while: {next:?}");
}

#[test]
fn a_restart_goes_on_with_the_account_and_the_certificate_that_are_kept() {
    let pebble = Pebble::start(Options::default());
    let dir = tempfile::tempdir().expect("a directory");
    let fingerprint = {
        let site = Site::open(&pebble, dir.path(), &["kept.test"], pebble.settings());
        site.order();
        site.until(|site| !site.entry("kept.test").certificate().provisional);
        site.entry("kept.test").certificate().facts.fingerprint
    };
    let settings = Settings { email: Some("ops@kept.test".into()), ..pebble.settings() };
    let site = Site::open(&pebble, dir.path(), &["kept.test", "more.test"], settings);
    assert_eq!(site.entry("kept.test").certificate().facts.fingerprint, fingerprint, "served from the first moment on");
    site.order();
    site.until(|site| !site.entry("more.test").certificate().provisional);
    assert_eq!(pebble.accounts(), 1);
    assert_eq!(site.entry("kept.test").certificate().facts.fingerprint, fingerprint);
    for file in site::files(dir.path()) {
        use std::os::unix::fs::PermissionsExt;
        let mode = std::fs::metadata(&file).expect("a file").permissions().mode() & 0o777;
        assert_eq!(mode, 0o600, "{}", file.display());
    }
}

#[test]
fn an_account_that_the_server_has_forgotten_is_made_anew() {
    let mut pebble = Pebble::start(Options::default());
    let dir = tempfile::tempdir().expect("a directory");
    {
        let site = Site::open(&pebble, dir.path(), &["one.test"], pebble.settings());
        site.order();
        site.until(|site| !site.entry("one.test").certificate().provisional);
    }
    pebble.forget();
    let site = Site::open(&pebble, dir.path(), &["two.test"], pebble.settings());
    site.order();
    site.until(|site| !site.entry("two.test").certificate().provisional);
    assert_eq!(pebble.accounts(), 1);
}

#[test]
fn an_account_is_bound_to_one_elsewhere_where_the_server_wants_that() {
    let key = "zWNDZM6eQGHWpSRTPal5eIUYFTu7EajVIoguysqZ9wG44nMEtx3MUAsUDkMTQ12W";
    let pebble = Pebble::start(Options { external: Some(("kid-1", key)), ..Options::default() });
    let dir = tempfile::tempdir().expect("a directory");
    {
        let site = Site::open(&pebble, dir.path(), &["bound.test"], pebble.settings());
        site.order();
        site.until(|site| site.entry("bound.test").renewal().failures > 0);
        let error = site.entry("bound.test").renewal().error.expect("why");
        assert!(error.contains("externalAccountRequired"), "{error}");
    }
    let dir = tempfile::tempdir().expect("a directory");
    let external_account = Some(("kid-1".to_owned(), site::decoded(key)));
    let site = Site::open(&pebble, dir.path(), &["bound.test"], Settings { external_account, ..pebble.settings() });
    site.order();
    site.until(|site| !site.entry("bound.test").certificate().provisional);
}

#[test]
fn a_name_that_the_server_refuses_is_told_of_and_holds_no_other_up() {
    let pebble = Pebble::start(Options { blocked: vec!["bad.test"], ..Options::default() });
    let dir = tempfile::tempdir().expect("a directory");
    let site = Site::open(&pebble, dir.path(), &["bad.test", "good.test"], pebble.settings());
    site.order();
    site.until(|site| !site.entry("good.test").certificate().provisional);
    let bad = site.entry("bad.test");
    let renewal = bad.renewal();
    assert!(bad.certificate().provisional && renewal.failures > 0);
    assert!(renewal.error.as_ref().is_some_and(|error| error.contains("rejectedIdentifier")), "{renewal:?}");
    assert_eq!(site.get("bad.test", None), "routed", "with a certificate that stands in");
}

#[test]
fn a_challenge_that_nobody_answers_is_explained_by_what_the_server_saw() {
    let pebble = Pebble::start(Options::default());
    let dir = tempfile::tempdir().expect("a directory");
    let settings = Settings { challenges: vec![Http01], ..pebble.settings() };
    let site = Site::encrypted(&pebble, dir.path(), &["lost.test"], settings);
    site.order();
    site.until(|site| site.entry("lost.test").renewal().failures > 0);
    let error = site.entry("lost.test").renewal().error.expect("why");
    assert!(error.contains("connection refused") || error.contains("onnection"), "{error}");
}

#[test]
fn the_server_itself_is_verified() {
    let pebble = Pebble::start(Options::default());
    let dir = tempfile::tempdir().expect("a directory");
    let site = Site::open(&pebble, dir.path(), &["a.test"], Settings { root: None, ..pebble.settings() });
    site.order();
    site.until(|site| site.entry("a.test").renewal().failures > 0);
    let error = site.entry("a.test").renewal().error.expect("why");
    assert!(error.contains("UnknownIssuer"), "{error}");
    assert_eq!(pebble.accounts(), 0);
}

#[test]
fn the_usual_life_of_a_certificate_leaves_weeks_to_renew_it() {
    let pebble = Pebble::start(Options { validity: DAYS, ..Options::default() });
    let dir = tempfile::tempdir().expect("a directory");
    let site = Site::open(&pebble, dir.path(), &["a.test"], pebble.settings());
    site.order();
    site.until(|site| !site.entry("a.test").certificate().provisional);
    let until = site.entry("a.test").certificate().facts.not_after;
    let next = site.until_some(|site| site.entry("a.test").renewal().next);
    let left = until.duration_since(next).expect("it is renewed before").as_secs() / 86_400;
    assert!((29..=34).contains(&left), "{left} days");
}
