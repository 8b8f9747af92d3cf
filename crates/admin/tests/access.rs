//! Who may do what, and what is written down about it.

#![allow(clippy::unwrap_used)]

mod site;

use outwork_admin::{AdminSettings, FirstRunError, first_token};
use outwork_store::audit::{Filter, Page, StoredEntry, list};
use outwork_store::tokens::Role;
use serde_json::json;
use site::{Answer, Site};

fn audit(site: &Site) -> Vec<StoredEntry> {
    site.database.read(|db| list(db, &Filter::default(), Page { before: None, limit: 100 })).wait().unwrap()
}

#[test]
fn each_role_may_do_what_it_should_and_no_more() {
    let site = Site::start();
    let roles = [Role::Viewer, Role::Operator, Role::Admin].map(|role| site.token(role.word(), role));
    let token = r#"{"name": "new", "role": "viewer"}"#;
    for (method, path, body, expected) in [
        ("GET", "/api/v1/status", None, [200, 200, 200]),
        ("GET", "/api/v1/audit", None, [200, 200, 200]),
        ("DELETE", "/api/v1/thing/thing", None, [403, 200, 409]),
        ("POST", "/api/v1/reload", None, [403, 422, 422]),
        ("PUT", "/api/v1/log/levels", Some(r#"{"levels": {}}"#), [403, 200, 200]),
        ("GET", "/api/v1/tokens", None, [403, 403, 200]),
        ("POST", "/api/v1/tokens", Some(token), [403, 403, 201]),
        ("DELETE", "/api/v1/tokens/999", None, [403, 403, 404]),
    ] {
        for (caller, status) in roles.iter().zip(expected) {
            let answer = site.ask(method, path, caller, body);
            assert_eq!(answer.status, status, "{method} {path}: {}", answer.text);
        }
    }
}

#[test]
fn nobody_is_let_in_without_a_token_or_with_a_wrong_one() {
    let site = Site::start();
    let nobody = site.send("GET", "/api/v1/status", &[], None);
    assert_eq!((nobody.status, nobody.header("www-authenticate")), (401, "Bearer"));
    assert_eq!(nobody.header("content-type"), "application/problem+json");
    assert_eq!(nobody.json()["fault"], "client");
    let wrong = format!("outwork_{}", "0".repeat(64));
    assert_eq!(site.ask("GET", "/api/v1/status", &wrong, None).status, 401);
    assert_eq!(site.ask("GET", "/api/v1/status", "", None).status, 401);
}

#[test]
fn the_secret_of_the_data_directory_makes_an_admin_called_local() {
    let site = Site::start();
    let secret = site.local.expose().to_owned();
    // Even while others on this machine keep guessing.
    (0..12).for_each(|n| drop(site.ask("GET", "/api/v1/status", &format!("guess{n}"), None)));
    let me = site.ask("GET", "/api/v1/session", &secret, None);
    assert_eq!(me.json(), json!({"name": "local", "role": "admin"}));
    assert_eq!(site.ask("POST", "/api/v1/tokens", &secret, Some(r#"{"name": "a", "role": "admin"}"#)).status, 201);
    assert_eq!(audit(&site)[0].entry.actor, "local");
    let listed = site.ask("GET", "/api/v1/tokens", &secret, None);
    assert!(!listed.text.contains("local"), "it is in no table: {}", listed.text);
    let taken = site.ask("POST", "/api/v1/tokens", &secret, Some(r#"{"name": "local", "role": "viewer"}"#));
    assert_eq!((taken.status, taken.json()["key"].as_str()), (400, Some("name")), "{}", taken.text);
}

#[test]
fn a_browser_can_sign_in_with_the_secret_of_the_data_directory() {
    let site = Site::start();
    let cookie = sign_in(&site, site.local.expose());
    let me = site.send("GET", "/api/v1/session", &[("cookie", &cookie)], None);
    assert_eq!((me.status, me.json()["name"].as_str()), (200, Some("local")), "{}", me.text);
}

#[test]
fn an_address_that_keeps_guessing_is_turned_away_while_a_good_token_passes_from_there() {
    let site = Site::start();
    let good = site.token("good", Role::Viewer);
    let answers: Vec<_> = (0..12).map(|n| site.ask("GET", "/api/v1/status", &format!("guess{n}"), None)).collect();
    assert_eq!((answers[9].status, answers[10].status), (401, 429));
    assert!(answers[10].header("retry-after").parse::<u64>().unwrap() <= 60);
    assert_eq!(site.ask("GET", "/api/v1/status", &good, None).status, 200, "though it was never seen before");
    assert_eq!(site.ask("GET", "/api/v1/status", "guess12", None).status, 429, "and it is no amnesty");
    sign_in(&site, &site.token("browser", Role::Viewer));
}

#[test]
fn every_change_leaves_a_row_that_says_who_what_and_how_it_ended() {
    let site = Site::start();
    let (viewer, operator) = (site.token("eye", Role::Viewer), site.token("hand", Role::Operator));
    site.ask("GET", "/api/v1/status", &operator, None);
    site.send("DELETE", "/api/v1/thing/thing", &[], None);
    assert!(audit(&site).is_empty(), "looking leaves no row, and neither does a stranger");
    site.ask("DELETE", "/api/v1/thing/thing", &operator, None);
    site.ask("DELETE", "/api/v1/thing/thing", &operator, None);
    site.ask("DELETE", "/api/v1/thing/thing", &viewer, None);
    site.ask("POST", "/api/v1/reload", &operator, None);
    let rows = site.ask("GET", "/api/v1/audit", &viewer, None).json();
    let row = |n: usize, field: &str| rows["items"][n][field].as_str().unwrap().to_owned();
    assert_eq!(rows["items"].as_array().unwrap().len(), 4);
    assert_eq!((row(3, "who"), row(3, "role"), row(3, "result")), ("hand".into(), "operator".into(), "ok".into()));
    assert_eq!((row(3, "action"), row(3, "target")), ("thing.remove".into(), "the thing".into()));
    assert!(row(3, "peer").starts_with("127.0.0.1:") && row(3, "time").ends_with('Z'));
    assert_eq!(row(2, "result"), "refused: 409");
    assert_eq!((row(1, "who"), row(1, "result")), ("eye".into(), "refused: 403".into()));
    let tried = ("DELETE /thing/thing".into(), "/api/v1/thing/thing".into());
    assert_eq!((row(1, "action"), row(1, "target")), tried);
    assert_eq!((row(0, "action"), row(0, "target")), ("config.reload".into(), "dhcp.workers".into()));
}

#[test]
fn a_change_whose_row_cannot_be_kept_is_not_acknowledged() {
    let site = Site::start();
    let operator = site.token("hand", Role::Operator);
    assert_eq!(site.ask("GET", "/api/v1/status", &operator, None).status, 200);
    site.database.call(|db| db.execute_batch("DROP TABLE audit")).wait().unwrap();
    let answer = site.ask("DELETE", "/api/v1/thing/thing", &operator, None);
    assert_eq!((answer.status, &answer.json()["fault"]), (500, &json!("us")));
    assert_eq!(site.metrics.audit_failed.get(), 1);
}

#[test]
fn the_audit_log_is_read_in_pages() {
    let site = Site::start();
    let operator = site.token("hand", Role::Operator);
    (0..5).for_each(|_| drop(site.ask("DELETE", "/api/v1/thing/thing", &operator, None)));
    let (mut after, mut seen) = (String::new(), Vec::new());
    loop {
        let page = site.ask("GET", &format!("/api/v1/audit?limit=2{after}"), &operator, None).json();
        seen.extend(page["items"].as_array().unwrap().iter().map(|row| row["id"].as_i64().unwrap()));
        let Some(next) = page["next"].as_str() else { break };
        after = format!("&after={next}");
    }
    assert_eq!(seen, [5, 4, 3, 2, 1]);
    assert_eq!(site.ask("GET", "/api/v1/audit?limit=x", &operator, None).json()["key"], "limit");
}

/// Signs in and returns the cookie.
fn sign_in(site: &Site, token: &str) -> String {
    let body = json!({ "token": token }).to_string();
    let answer = site.send("POST", "/api/v1/session", &[("x-outwork", "1")], Some(&body));
    assert_eq!(answer.status, 200, "{}", answer.text);
    let cookie = answer.header("set-cookie");
    assert!(cookie.contains("HttpOnly") && cookie.contains("SameSite=Strict"), "{cookie}");
    assert!(!cookie.contains(token), "the cookie is not the token");
    cookie.split(';').next().unwrap().to_owned()
}

#[test]
fn a_browser_trades_its_token_for_a_cookie_and_back() {
    let site = Site::start();
    let token = site.token("browser", Role::Operator);
    let cookie = sign_in(&site, &token);
    let who = site.send("GET", "/api/v1/session", &[("cookie", &cookie)], None);
    assert_eq!(who.json(), json!({"name": "browser", "role": "operator"}));
    let out = site.send("DELETE", "/api/v1/session", &[("cookie", &cookie), ("x-outwork", "1")], None);
    assert_eq!((out.status, out.header("set-cookie").contains("Max-Age=0")), (204, true));
    assert_eq!(site.send("GET", "/api/v1/session", &[("cookie", &cookie)], None).status, 401);
    let actions: Vec<_> = audit(&site).into_iter().map(|row| row.entry.action).collect();
    assert_eq!(actions, ["session.close", "session.open"]);
}

#[test]
fn another_site_cannot_use_the_cookie_to_change_anything() {
    let site = Site::start();
    let cookie = sign_in(&site, &site.token("browser", Role::Operator));
    let own = format!("http://{}", site.address);
    let change = |headers: &[(&str, &str)]| -> Answer {
        let headers = [&[("cookie", cookie.as_str())], headers].concat();
        site.send("DELETE", "/api/v1/thing/thing", &headers, None)
    };
    for forged in [
        &[][..],
        &[("origin", own.as_str())],
        &[("x-outwork", "1"), ("origin", "http://evil.example")],
        &[("x-outwork", "1"), ("origin", "null")],
        &[("x-outwork", "1"), ("sec-fetch-site", "cross-site")],
        &[("x-outwork", "1"), ("sec-fetch-site", "same-site")],
    ] {
        assert_eq!(change(forged).status, 403, "{forged:?}");
    }
    assert_eq!(*site.things.lock().unwrap(), 1);
    let own = [("x-outwork", "1"), ("origin", own.as_str()), ("sec-fetch-site", "same-origin")];
    assert_eq!(change(&own).status, 200);
    let body = json!({ "token": "x" }).to_string();
    let refused = site.send("POST", "/api/v1/session", &[], Some(&body));
    assert_eq!(refused.status, 403, "nobody is signed in by another site");
    assert!(refused.text.contains("send the header `X-Outwork: 1`"), "{}", refused.text);
}

#[test]
fn a_removed_token_is_refused_at_once_and_so_are_its_sessions() {
    let site = Site::start();
    let (admin, other) = (site.token("admin", Role::Admin), site.token("other", Role::Viewer));
    let cookie = sign_in(&site, &other);
    assert_eq!(site.ask("GET", "/api/v1/status", &other, None).status, 200);
    let tokens = site.ask("GET", "/api/v1/tokens", &admin, None).json();
    let id = tokens["items"].as_array().unwrap().iter().find(|token| token["name"] == "other").unwrap()["id"].clone();
    assert_eq!(site.ask("DELETE", &format!("/api/v1/tokens/{id}"), &admin, None).status, 204);
    assert_eq!(site.ask("GET", "/api/v1/status", &other, None).status, 401);
    assert_eq!(site.send("GET", "/api/v1/status", &[("cookie", &cookie)], None).status, 401);
    assert_eq!(site.metrics.sessions.get(), 0);
}

#[test]
fn a_token_is_shown_once_and_works_at_once() {
    let site = Site::start();
    let admin = site.token("admin", Role::Admin);
    let made = site.ask("POST", "/api/v1/tokens", &admin, Some(r#"{"name": "n", "role": "viewer", "expires_in": 60}"#));
    let secret = made.json()["token"].as_str().unwrap().to_owned();
    assert_eq!(site.ask("GET", "/api/v1/status", &secret, None).status, 200);
    for path in ["/api/v1/tokens", "/api/v1/audit", "/api/v1/config", "/api/v1/metrics/now", "/metrics"] {
        assert!(!site.ask("GET", path, &admin, None).text.contains(&secret), "{path} shows the token");
    }
    let again = site.ask("POST", "/api/v1/tokens", &admin, Some(r#"{"name": "n", "role": "viewer"}"#));
    assert_eq!((again.status, &again.json()["key"]), (409, &json!("name")));
}

#[test]
fn a_wrong_body_names_its_field() {
    let site = Site::start();
    let admin = site.token("admin", Role::Admin);
    for (body, status, key) in [
        (r#"{"name": "n"}"#, 400, "role"),
        (r#"{"name": "n", "role": "king"}"#, 400, "role"),
        (r#"{"name": "n", "role": "viewer", "nmae": 1}"#, 400, "nmae"),
        (r#"{"name": "", "role": "viewer"}"#, 400, "name"),
        (r#"{"name": "n", "role": "viewer", "expires_in": 0}"#, 400, "expires_in"),
    ] {
        let answer = site.ask("POST", "/api/v1/tokens", &admin, Some(body));
        assert_eq!((answer.status, answer.json()["key"].as_str()), (status, Some(key)), "{body}: {}", answer.text);
    }
    let levels = site.ask("PUT", "/api/v1/log/levels", &admin, Some(r#"{"levels": {"dhpc": "debug"}}"#));
    assert_eq!(levels.json()["key"], "levels.dhpc");
    let text = site.send("POST", "/api/v1/tokens", &[("authorization", &format!("Bearer {admin}"))], None);
    assert_eq!(text.status, 415);
}

#[test]
fn the_first_start_on_loopback_makes_one_token_and_a_public_one_needs_a_token_before() {
    let site = Site::start();
    let public = AdminSettings { listen: vec!["0.0.0.0:8067".parse().unwrap()], ..AdminSettings::default() };
    let refused = first_token(&site.database, &public).unwrap_err();
    assert!(matches!(refused, FirstRunError::Exposed(_)));
    assert!(refused.to_string().contains("0.0.0.0:8067 can be reached"), "{refused}");
    assert!(refused.to_string().contains("`outwork token create NAME --role admin --offline`"), "{refused}");
    let first = first_token(&site.database, &AdminSettings::default()).unwrap().unwrap();
    assert_eq!(site.ask("GET", "/api/v1/tokens", first.secret.expose(), None).status, 200);
    assert!(first_token(&site.database, &AdminSettings::default()).unwrap().is_none());
    assert!(first_token(&site.database, &public).unwrap().is_none());
    let stored: Vec<u8> =
        site.database.read(|db| db.query_row("SELECT hash FROM tokens", [], |row| row.get(0))).wait().unwrap();
    assert_ne!(stored, first.secret.expose().as_bytes());
}
