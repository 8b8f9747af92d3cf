//! Commands on the server's own machine: no token, no URL.

use std::io::{BufRead, BufReader};
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::time::Duration;

use outwork_net::testing::Patience;
use serde_json::Value as Json;

use crate::binary::{Place, json, outwork, text};

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
fn the_data_directory_lies_beside_the_file_wherever_a_command_is_run() {
    let place = Place::running();
    let (away, file) = (tempfile::tempdir().expect("a directory"), place.path().join("outwork.toml"));
    let file = file.to_str().expect("a path");
    let status = outwork(away.path(), &["--config", file, "status"]);
    assert!(status.status.success(), "{status:?}");
    let shown = |more: &[&str]| {
        let line = [["config", "show", "store.data_dir", "--json", "--config", file].as_slice(), more].concat();
        json(&outwork(away.path(), &line))[0]["value"].as_str().map(str::to_owned)
    };
    assert_eq!(shown(&[]).as_deref(), place.data().to_str());
    assert_eq!(shown(&["--set", "store.data_dir=here"]).as_deref(), Some("here"), "a flag means where it was given");
    let text = std::fs::read_to_string(file).expect("the file");
    std::fs::write(file, format!("{text}[store]\ndata_dir = 'data'\n")).expect("the file");
    assert_eq!(shown(&[]).as_deref(), place.data().to_str());
    let tls = "[admin.tls]\ncertificate = 'a.pem'\nkey = '/b.pem'\n";
    std::fs::write(file, tls).expect("the file");
    let certificate = json(&outwork(away.path(), &["config", "show", "admin.tls", "--json", "--config", file]));
    let certificate = certificate.to_string();
    assert!(certificate.contains(place.path().join("a.pem").to_str().expect("a path")), "{certificate}");
    assert!(certificate.contains("\"/b.pem\""), "{certificate}");
}

#[test]
fn a_file_with_faults_does_not_keep_commands_from_the_server() {
    let place = Place::running();
    let file = place.path().join("outwork.toml");
    let good = std::fs::read_to_string(&file).expect("the file");
    for broken in [good.replace("[dhcp]", "[dhcp]\nlease_tim = '2h'"), format!("{good}\n[[[ what\n")] {
        std::fs::write(&file, broken).expect("the file");
        let output = place.outwork(&["status"]);
        let warned = text(&output.stderr);
        assert!(output.status.success() && warned.starts_with("warning: outwork.toml:"), "{output:?}");
        assert!(warned.contains("`outwork check`") && warned.lines().count() == 1, "{warned}");
        let refused = place.outwork(&["reload"]);
        let (said, report) = (text(&refused.stderr), text(&place.outwork(&["check"]).stderr));
        assert_eq!((refused.status.code(), &*said), (Some(1), report.as_str()), "what `check` says, and once");
    }
    assert_eq!(place.outwork(&["status", "--config", "absent.toml"]).status.code(), Some(1), "a mistyped name is one");
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
fn a_port_in_use_is_named_with_the_process_that_has_it_and_every_cause_is_said_once() {
    let mut place = Place::running();
    let config = std::fs::read_to_string(place.path().join("outwork.toml")).expect("the file");
    let address = config.split('\'').nth(1).expect("where it listens").trim_end_matches(":8067").to_owned();
    let run = |more: &[&str]| {
        let line = [["run", "--set", "store.data_dir=other"].as_slice(), more].concat();
        let output = place.outwork(&line);
        assert_eq!(output.status.code(), Some(1), "{output:?}");
        text(&output.stderr).lines().filter(|line| !line.contains(" INFO ")).collect::<Vec<_>>().join("\n")
    };
    let help = format!("\n  = help: process {} (", place.pid());
    let dhcp = run(&["--set", "admin.listen=[\"127.0.0.1:0\"]"]);
    assert!(dhcp.contains(&format!("{address}:6767")) && dhcp.contains(&help), "{dhcp}");
    let admin = run(&["--set", &format!("dhcp.listen=[\"{address}:6768\"]")]);
    assert!(admin.contains(&format!("cannot listen on {address}:8067")) && admin.contains(&help), "{admin}");
    for said in [dhcp, admin] {
        assert_eq!(said.matches("(os error").count(), 1, "{said}");
    }
    place.stop(15);
    // A write-ahead log that was left would make a database of anything.
    for log in ["outwork.db-wal", "outwork.db-shm"] {
        let _ = std::fs::remove_file(place.data().join(log));
    }
    std::fs::write(place.data().join("outwork.db"), "no database").expect("a file");
    let output = text(&place.outwork(&["run"]).stderr);
    assert!(output.contains("data/outwork.db: file is not a database: this is no SQLite database"), "{output}");
    assert!(output.contains("move it away") && output.matches("file is not a database").count() == 1, "{output}");
}

#[test]
fn dhcp_runs_where_it_is_configured_and_a_reload_that_would_start_it_names_what_needs_a_restart() {
    let mut place = Place::new();
    let file = place.path().join("outwork.toml");
    let whole = std::fs::read_to_string(&file).expect("the file");
    let admin = whole.split("[dhcp]").next().expect("the part before").to_owned();
    std::fs::write(&file, admin).expect("the file");
    let services = |place: &Place| place.must(&["status"]);
    place.start();
    assert!(!services(&place).contains("dhcp"), "{}", services(&place));
    std::fs::write(&file, whole).expect("the file");
    let refused = text(&place.outwork(&["reload"]).stderr);
    assert!(refused.contains("cannot change while running") && refused.contains("dhcp.enabled"), "{refused}");
    place.stop(15);
    place.start();
    assert!(services(&place).contains("dhcp"), "{}", services(&place));
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
    let row = audit(&place).into_iter().find(|row| row["action"] == "token.create").expect("a row");
    assert_eq!((&row["who"], &row["peer"], &row["target"]), (&"offline".into(), &"cli".into(), &"first".into()));
    assert_eq!((&row["detail"], &row["result"]), (&"role admin".into(), &"ok".into()));
}

#[test]
fn a_reload_by_signal_leaves_a_row_whether_it_is_taken_or_refused() {
    let place = Place::running();
    let hang_up = |rows: usize| {
        place.hang_up();
        let mut patience = Patience::new(Duration::from_secs(30));
        loop {
            let all: Vec<_> = audit(&place).into_iter().filter(|row| row["who"] == "signal").collect();
            if all.len() == rows {
                return all[0].clone();
            }
            assert!(!patience.is_over(), "waited in vain for {rows} rows: {all:?}");
        }
    };
    let file = place.path().join("outwork.toml");
    let settings = std::fs::read_to_string(&file).expect("the file");
    std::fs::write(&file, format!("{settings}[log]\nlevel = 'debug'\n")).expect("the file");
    let taken = hang_up(1);
    assert_eq!((&taken["action"], &taken["peer"]), (&"config.reload".into(), &"SIGHUP".into()));
    assert_eq!((&taken["detail"], &taken["result"]), (&"log.level".into(), &"ok".into()));
    std::fs::write(&file, settings.replace("[dhcp]\n", "[dhcp]\nbatch = 7\n")).expect("the file");
    let refused = hang_up(2);
    assert_eq!((&refused["target"], &refused["result"]), (&"dhcp.batch".into(), &"refused".into()));
    assert!(refused["detail"].as_str().is_some_and(|detail| detail.contains("restart")), "{refused}");
}

#[test]
fn a_refused_reload_names_each_setting_and_where_its_new_value_stands() {
    let place = Place::running();
    let file = place.path().join("outwork.toml");
    let good = std::fs::read_to_string(&file).expect("the file");
    let refused = |text: String| {
        std::fs::write(&file, text).expect("the file");
        let output = place.outwork(&["reload"]);
        assert!(!output.status.success(), "{output:?}");
        crate::binary::text(&output.stderr)
    };
    let said = refused(good.replace("[dhcp]\n", "[dhcp]\nworkers = 3\nbatch = 8\n"));
    assert!(said.contains("dhcp.workers (outwork.toml:4:11), dhcp.batch (outwork.toml:5:9)"), "{said}");
    let said = refused(format!("{good}[store.sqlite]\nreaders = 3\n"));
    assert!(said.contains("store.sqlite.readers (outwork.toml:11:11)"), "{said}");
    let said = refused(good.lines().filter(|line| !line.contains(":6767")).map(|line| format!("{line}\n")).collect());
    assert!(said.contains("dhcp.listen (now the default)"), "{said}");
}

#[test]
fn every_large_part_of_the_memory_has_a_name_and_its_own_bytes() {
    let place = Place::running();
    let memory = || json(&place.outwork(&["stats", "--memory", "--json"]));
    let before = memory();
    for part in [
        "dhcp_leases",
        "dhcp_pools",
        "dhcp_calendar",
        "dhcp_probe_cache",
        "dhcp_rate_limits",
        "dhcp_journal",
        "dhcp_reservations",
        "dhcp_answer_buffers",
        "store_log_queue",
        "metrics_history",
        "event_streams",
        "other",
        "outside_allocator",
    ] {
        assert!(before["parts"][part].is_u64(), "no {part} in {before}");
    }
    let named: u64 = before["parts"]
        .as_object()
        .expect("parts")
        .iter()
        .filter(|(name, _)| *name != "outside_allocator")
        .map(|(_, bytes)| bytes.as_u64().expect("bytes"))
        .sum();
    assert_eq!(
        Some(named),
        before["allocator"]["allocated"].as_u64(),
        "nothing is counted twice, and nothing is missing"
    );
    place.must(&["reservations", "add", "192.0.2.5", "--subnet", "1", "--mac", "02:00:5e:10:00:01"]);
    place.must(&["leases", "add", "192.0.2.20", "--mac", "02:00:5e:10:00:02"]);
    let after = memory();
    for part in ["dhcp_leases", "dhcp_calendar", "dhcp_reservations", "dhcp_journal"] {
        let bytes = |memory: &Json| memory["parts"][part].as_u64().expect("bytes");
        assert!(bytes(&after) > bytes(&before), "{part}: {before}, {after}");
    }
}

#[test]
fn an_alert_that_starts_is_told_by_the_status_the_log_an_event_and_a_gauge() {
    let place = Place::running();
    assert!(!place.must(&["status"]).contains("pools_exhausted"));
    let events = BufReader::new(get(&place, "/events?topics=system").into_reader());
    let file = place.path().join("outwork.toml");
    let settings = std::fs::read_to_string(&file).expect("the file");
    std::fs::write(&file, settings.replace("192.0.2.10-192.0.2.249", "192.0.2.10-192.0.2.10")).expect("the file");
    place.must(&["reload"]);
    place.must(&["leases", "add", "192.0.2.10", "--mac", "02:00:5e:10:00:01"]);
    let mut patience = Patience::new(Duration::from_secs(30));
    let said = loop {
        let said = place.must(&["status"]);
        if said.contains("pools_exhausted") {
            break said;
        }
        assert!(!patience.is_over(), "waited in vain for the alert\n{said}");
        std::thread::sleep(Duration::from_millis(200));
    };
    assert!(said.contains("pools have no address left: 192.0.2.10-192.0.2.10 of subnet 1: 100 % (1 of 1)"), "{said}");
    assert!(said.contains("\npools_exhausted: widen the pools"), "{said}");
    let mut told = events.lines().map(|line| line.expect("an event")).filter(|line| line.contains("alert_started"));
    let event = told.find(|line| line.contains("pools_exhausted")).expect("the alert");
    let event: Json = serde_json::from_str(event.trim_start_matches("data: ")).expect("its data");
    assert_eq!((&event["kind"], &event["severity"]), (&"alert_started".into(), &"critical".into()));
    assert_eq!(event["settings"][0], "dhcp.subnet");
    let log = std::fs::read_to_string(place.path().join("log")).expect("the log");
    let line = log.lines().find(|line| line.contains("an alert starts") && line.contains("pools_exhausted"));
    assert!(line.is_some_and(|line| line.contains("WARN")), "{log}");
    assert!(
        place.must(&["stats", "alerts"]).lines().any(|line| line.contains("pools_exhausted") && line.contains(" 1"))
    );
}

#[test]
fn a_reload_whose_file_is_gone_is_refused_and_changes_nothing() {
    let place = Place::running();
    let (file, aside) = (place.path().join("outwork.toml"), place.path().join("aside.toml"));
    let subnets = place.must(&["subnets", "--json"]);
    // By signal: the commands themselves find the server by its file.
    std::fs::rename(&file, &aside).expect("moved");
    place.hang_up();
    let mut patience = Patience::new(Duration::from_secs(30));
    let log = || std::fs::read_to_string(place.path().join("log")).expect("the log");
    while !log().contains("cannot read the configuration") {
        assert!(!patience.is_over(), "waited in vain for the refusal\n{}", log());
        std::thread::sleep(Duration::from_millis(50));
    }
    assert!(!log().contains("configuration reloaded"), "{}", log());
    std::fs::rename(&aside, &file).expect("moved back");
    assert_eq!(place.must(&["subnets", "--json"]), subnets);
    place.must(&["reload"]);
}

/// The answer to a request with the secret of the data directory.
fn get(place: &Place, path: &str) -> ureq::Body {
    let secret = std::fs::read_to_string(place.data().join("admin.token")).expect("the secret");
    let config = std::fs::read_to_string(place.path().join("outwork.toml")).expect("the file");
    let address = config.split('\'').nth(1).expect("where it listens");
    let agent = ureq::Agent::new_with_defaults();
    let asked = agent.get(format!("http://{address}/api/v1{path}"));
    asked.header("authorization", format!("Bearer {}", secret.trim())).call().expect("an answer").into_body()
}

/// The audit log, newest first.
fn audit(place: &Place) -> Vec<Json> {
    let rows: Json = get(place, "/audit").read_json().expect("rows");
    rows["items"].as_array().expect("rows").clone()
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
