//! Commands on the server's own machine: no token, no URL.
#![allow(missing_docs, clippy::expect_used)]

mod binary;

use std::os::unix::fs::PermissionsExt;
use std::path::Path;

use binary::{Place, json, text};

#[test]
fn who_can_read_the_data_directory_needs_no_token_and_no_url() {
    let mut place = Place::running();
    let status = json(&place.outwork(&["status", "--json"]));
    assert_eq!(status["services"][0]["name"], "dhcp", "{status}");
    assert_eq!(place.must(&["leases", "list"]), "no leases\n");
    assert_eq!(place.must(&["reload"]), "reloaded; nothing has changed\n");
    assert!(place.must(&["token", "create", "grafana"]).starts_with("outwork_"));
    assert_eq!(place.stop(15).code(), Some(0));
    assert!(!place.data().join("admin.token").exists(), "a clean stop takes the secret along");
}

#[test]
fn the_secret_of_an_earlier_start_is_refused() {
    let mut place = Place::running();
    let file = place.data().join("admin.token");
    let old = std::fs::read_to_string(&file).expect("the secret");
    place.stop(9);
    assert!(file.exists(), "nobody was there to remove it");
    place.start();
    let refused = place.outwork(&["status", "--token", old.trim()]);
    assert!(!refused.status.success() && text(&refused.stderr).contains("(401)"), "{refused:?}");
    assert!(text(&refused.stderr).contains("= help: is the token of --token"), "{refused:?}");
    place.must(&["status"]);
    std::fs::write(&file, old).expect("the old secret");
    let stale = text(&place.outwork(&["status"]).stderr);
    assert!(stale.contains("admin.token is not this server's") && stale.contains("--config"), "{stale}");
    std::fs::remove_file(&file).expect("removed");
    let none = text(&place.outwork(&["status"]).stderr);
    assert!(none.contains("there is no data/admin.token") && none.contains("--token"), "{none}");
}

#[test]
fn a_secret_that_may_not_be_read_is_said_to_be_so() {
    let place = Place::new();
    // Root may read every file, but nobody reads a directory.
    std::fs::create_dir_all(place.data().join("admin.token")).expect("a directory");
    let output = place.outwork(&["status"]);
    let said = text(&output.stderr);
    assert!(said.starts_with("error: cannot read data/admin.token: "), "{said}");
    assert!(said.contains("run this as root") && said.contains("--token"), "{said}");
}

#[test]
fn a_second_server_on_the_data_directory_is_refused_and_takes_nothing_away() {
    let place = Place::running();
    let second = place.outwork(&["run", "--set", "admin.listen=[\"127.0.0.1:0\"]", "--set", "dhcp.enabled=false"]);
    assert_eq!(second.status.code(), Some(1));
    let said = text(&second.stderr);
    let holder = format!("data/lock is locked by process {}: another Outwork runs", place.pid());
    assert!(said.contains(&holder), "{said}");
    place.must(&["status"]);
}

#[test]
fn a_token_made_before_the_first_start_is_good_after_it_and_nothing_is_for_others_eyes() {
    let mut place = Place::new();
    let made = json(&place.outwork(&["token", "create", "first", "--role", "admin", "--offline", "--json"]));
    assert_eq!((&made["name"], &made["role"]), (&"first".into(), &"admin".into()));
    let mode = std::fs::metadata(place.data()).expect("the data directory").permissions().mode() & 0o777;
    assert_eq!(mode, 0o700);
    place.start();
    place.must(&["token", "list", "--token", made["token"].as_str().expect("a token")]);
}

#[test]
fn nothing_in_the_data_directory_is_for_others_eyes() {
    fn walk(path: &Path, seen: &mut usize) {
        for entry in std::fs::read_dir(path).expect("a directory").map(|entry| entry.expect("an entry")) {
            let mode = entry.metadata().expect("a mode").permissions().mode() & 0o777;
            if entry.file_type().expect("a type").is_dir() {
                assert_eq!(mode, 0o700, "{entry:?}");
                walk(&entry.path(), seen);
            } else {
                assert_eq!(mode, 0o600, "{entry:?}");
                *seen += 1;
            }
        }
    }
    let place = Place::running();
    place.must(&["leases", "add", "192.0.2.20", "--mac", "02:00:5e:10:00:01"]);
    let mode = std::fs::metadata(place.data()).expect("the data directory").permissions().mode() & 0o777;
    assert_eq!(mode, 0o700);
    let mut seen = 0;
    walk(&place.data(), &mut seen);
    assert!(seen >= 6, "the database with its log, the leases' log, the secret and the locks: {seen}");
}
