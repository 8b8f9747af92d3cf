//! Commands to a server that runs, while its file has become another.

use crate::binary::{Place, json, text};

#[test]
fn a_server_is_found_where_it_listens_though_its_file_says_otherwise_by_now() {
    let mut place = Place::running();
    let (file, url) = (place.path().join("outwork.toml"), place.data().join("admin.url"));
    let before = std::fs::read_to_string(&file).expect("the file");
    std::fs::write(&file, before.replace(":8067", ":8068")).expect("the file");
    let found = place.outwork(&["status"]);
    let said = text(&found.stderr);
    assert!(found.status.success() && said.lines().count() == 1, "{found:?}");
    assert!(said.contains(":8067, not as configured (admin.listen): it is asked there"), "{said}");
    let refused = place.outwork(&["reload", "--json"]);
    let faults = &json(&refused)["error"]["faults"];
    assert!(!refused.status.success() && faults[0]["key"] == "admin.listen", "{faults}");
    assert!(faults[0]["origin"].as_str().is_some_and(|origin| origin.starts_with("outwork.toml:2:")), "{faults}");

    let upgraded = place.outwork(&["upgrade", "--json"]);
    assert!(upgraded.status.success() && text(&upgraded.stderr) == said, "it is told once: {upgraded:?}");
    let mut first = place.succeed(&json(&upgraded)["process"]);
    assert!(first.wait().expect("it ends").success());
    assert!(std::fs::read_to_string(&url).expect("where it is now").contains(":8068"));
    let found = place.outwork(&["status"]);
    assert!(found.status.success() && found.stderr.is_empty(), "{found:?}");
}

#[test]
fn a_server_that_chooses_its_port_is_found_and_one_that_was_killed_is_not_looked_for_where_it_was() {
    let mut place = Place::new();
    let (file, url) = (place.path().join("outwork.toml"), place.data().join("admin.url"));
    let before = std::fs::read_to_string(&file).expect("the file");
    std::fs::write(&file, before.replace(":8067", ":0")).expect("the file");
    place.start();
    place.must(&["status"]);
    place.stop(9);
    assert!(url.exists(), "nobody was there to remove it");
    std::fs::write(&file, &before).expect("the file");
    let gone = text(&place.outwork(&["status"]).stderr);
    assert!(gone.contains("cannot reach http://127.") && gone.contains(":8067: "), "{gone}");
    place.start();
    place.must(&["status"]);
    assert_eq!(place.stop(15).code(), Some(0));
    assert!(!url.exists(), "a clean stop takes it along");
}

#[test]
fn a_reload_that_is_refused_tells_a_program_the_same_faults_as_a_check() {
    let place = Place::running();
    let file = place.path().join("outwork.toml");
    let before = std::fs::read_to_string(&file).expect("the file");
    std::fs::write(&file, before.replace("[dhcp]", "[dhcp]\nlease_tim = '2h'\nworkers = 'x'")).expect("the file");
    let refused = json(&place.outwork(&["reload", "--json"]));
    let checked = json(&place.outwork(&["check", "--json"]));
    let plain = |faults: &serde_json::Value| {
        let of = |fault: &serde_json::Value| [fault["key"].clone(), fault["found"].clone(), fault["line"].clone()];
        faults.as_array().expect("a list").iter().map(of).collect::<Vec<_>>()
    };
    assert_eq!(plain(&refused["error"]["faults"]), plain(&checked), "{refused:#}");
    assert_eq!(plain(&checked).len(), 2, "{checked:#}");
}

#[test]
fn every_service_has_a_level_that_can_be_set() {
    let place = Place::running();
    let levels = place.must(&["log", "set", "web=debug", "cache=warn"]);
    for (service, level) in [("web", "debug"), ("cache", "warn"), ("dhcp", "info")] {
        let is_set = |line: &str| line.split_whitespace().eq([service, level]);
        assert!(levels.lines().any(is_set), "{service}: {levels}");
    }
    let unknown = place.outwork(&["log", "set", "webb=debug"]);
    assert!(!unknown.status.success() && text(&unknown.stderr).contains("telemetry, web"), "{unknown:?}");
}
