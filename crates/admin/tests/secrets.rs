//! Nothing secret is ever logged.

#![allow(clippy::unwrap_used, clippy::print_stdout)]

mod site;

use std::process::Command;

use outwork_store::tokens::Role;
use outwork_telemetry::logs::{Level, Levels};
use serde_json::json;
use site::Site;

const CHILD: &str = "OUTWORK_TEST_CHILD";

/// Logs go to standard error, so the work is done in a process of its own, at the most talkative level.
#[test]
fn no_token_and_no_cookie_reaches_the_log() {
    if std::env::var_os(CHILD).is_some() {
        return talk();
    }
    let mut child = Command::new(std::env::current_exe().unwrap());
    let output = child
        .args(["--exact", "no_token_and_no_cookie_reaches_the_log", "--nocapture"])
        .env(CHILD, "1")
        .output()
        .unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let (log, secrets) = (String::from_utf8(output.stderr).unwrap(), String::from_utf8(output.stdout).unwrap());
    let secrets: Vec<_> = secrets.lines().filter_map(|line| line.strip_prefix("secret ")).collect();
    assert_eq!(secrets.len(), 4);
    assert!(log.contains("token.create") && log.contains("an unknown token"), "{log}");
    for secret in secrets {
        assert!(!log.contains(secret), "{secret} in {log}");
    }
}

/// Uses a token, makes one, presents a wrong one, signs in and out; prints every secret.
fn talk() {
    let site = Site::start();
    site::logs().set(Levels { default: Level::Trace, services: [].into() }).unwrap();
    let admin = site.token("admin", Role::Admin);
    let made = site.ask("POST", "/api/v1/tokens", &admin, Some(r#"{"name": "n", "role": "viewer"}"#)).json();
    let wrong = "outwork_wrong_token_that_someone_mistyped";
    assert_eq!(site.ask("GET", "/api/v1/status", wrong, None).status, 401);
    let body = json!({ "token": admin }).to_string();
    let signed_in = site.send("POST", "/api/v1/session", &[("x-outwork", "1")], Some(&body));
    let cookie = signed_in.header("set-cookie").split(';').next().unwrap().to_owned();
    site.send("DELETE", "/api/v1/session", &[("cookie", &cookie), ("x-outwork", "1")], None);
    let session = cookie.split_once('=').unwrap().1;
    for secret in [&admin, made["token"].as_str().unwrap(), wrong, session] {
        println!("secret {secret}");
    }
}
