//! The commands as a person runs them: the real binary, and a server of canned answers where one is asked.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpListener;
use std::thread::JoinHandle;

use crate::binary::{command, json, outwork, text};
use serde_json::{Value as Json, json};

/// A request as the server saw it: its first line, its token, its body.
#[derive(Debug, PartialEq)]
struct Seen {
    line: String,
    token: Option<String>,
    body: String,
}

/// A server that gives these answers in turn, each on its own connection, and tells what it was asked.
fn server(answers: Vec<(u16, &'static str, String)>) -> (String, JoinHandle<Vec<Seen>>) {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
    let url = format!("http://{}", listener.local_addr().expect("an address"));
    let handle = std::thread::spawn(move || {
        let mut seen = Vec::new();
        for (status, kind, body) in answers {
            let (stream, _) = listener.accept().expect("a connection");
            let mut reader = BufReader::new(stream);
            let mut line = String::new();
            reader.read_line(&mut line).expect("a request");
            let (mut token, mut length, mut chunked) = (None, 0, false);
            loop {
                let mut header = String::new();
                reader.read_line(&mut header).expect("a header");
                let Some((name, value)) = header.trim_end().split_once(':') else { break };
                match name.to_ascii_lowercase().as_str() {
                    "authorization" => token = Some(value.trim().to_owned()),
                    "content-length" => length = value.trim().parse().expect("a length"),
                    "transfer-encoding" => chunked = true,
                    _ => {}
                }
            }
            let mut sent = vec![0; length];
            reader.read_exact(&mut sent).expect("a body");
            while chunked {
                let mut size = String::new();
                reader.read_line(&mut size).expect("a chunk's size");
                let size = usize::from_str_radix(size.trim(), 16).expect("a size in hex");
                let mut chunk = vec![0; size + 2];
                reader.read_exact(&mut chunk).expect("a chunk");
                sent.extend(&chunk[..size]);
                chunked = size > 0;
            }
            seen.push(Seen { line: line.trim_end().to_owned(), token, body: text(&sent) });
            let length = body.len();
            let head = format!(
                "HTTP/1.1 {status} X\r\ncontent-type: {kind}\r\ncontent-length: {length}\r\nconnection: close\r\n\r\n"
            );
            reader.get_mut().write_all(format!("{head}{body}").as_bytes()).expect("an answer");
        }
        seen
    });
    (url, handle)
}

fn answer(body: Json) -> (u16, &'static str, String) {
    (200, "application/json", body.to_string())
}

fn lease(address: &str, hostname: &str) -> Json {
    json!({"address": address, "state": "active", "mac": "02:00:5e:10:00:01", "hostname": hostname, "subnet_id": 1,
        "expires": "2030-01-01T00:00:00Z", "fixed": false, "client_id": null, "relay": null})
}

#[test]
fn check_reports_every_fault_at_its_line_and_fails() {
    let dir = tempfile::tempdir().expect("a directory");
    std::fs::write(dir.path().join("outwork.toml"), "[store]\ndata_dir = 3\ndata_dr = 'x'\n").expect("a file");
    let output = outwork(dir.path(), &["check"]);
    assert_eq!(output.status.code(), Some(1));
    let report = text(&output.stderr);
    assert!(report.contains("--> outwork.toml:2:12") && report.contains("--> outwork.toml:3:1"), "{report}");
    assert!(report.contains("did you mean \"data_dir\"?") && report.contains("2 faults"), "{report}");
    assert!(!report.contains('\x1b'), "colour is for terminals");
    let faults = json(&outwork(dir.path(), &["check", "--json"]));
    assert_eq!((&faults[0]["line"], &faults[1]["key"]), (&json!(2), &json!("store.data_dr")));
    assert!(text(&outwork(dir.path(), &["check", "--color", "always"]).stderr).contains('\x1b'));
}

#[test]
fn check_reports_faults_between_values_beside_values_that_cannot_be_read() {
    let dir = tempfile::tempdir().expect("a directory");
    let file = "[store]\ndata_dir = 3\n[admin]\nmax_connections = 0\n\
        [[dhcp.class]]\nname = 'phones'\ntest = \"option[60].hex = 'x'\"\n\
        [[dhcp.subnet]]\nid = 0\nprefix = '10.1.0.0/24'\nallow_classes = ['phones', 'ghosts']\n\
        [[dhcp.subnet]]\nid = 2\nprefix = '10.0.0.0/8'\n\
        [[dhcp.subnet]]\nid = 3\nprefix = '10.2.0.0/24'\n\
        [[dhcp.subnet]]\nid = 4\nprefix = '10.3.0.0/24'\nnetwork = 'none'\n";
    std::fs::write(dir.path().join("outwork.toml"), file).expect("a file");
    let report = json(&outwork(dir.path(), &["check", "--json"]));
    let errors = report.as_array().into_iter().flatten().filter(|fault| fault["severity"] == "error");
    let keys: Vec<_> = errors.clone().filter_map(|fault| fault["key"].as_str()).collect();
    let expected = [
        "store.data_dir",
        "admin.max_connections",
        "dhcp.class[0].test",
        "dhcp.subnet[0].id",
        "dhcp.subnet[2].prefix",
        "dhcp.subnet[3].prefix",
        "dhcp.subnet[3].network",
    ];
    assert_eq!(keys, expected, "{report:#}");
    let overlap = &report[4];
    assert!(overlap["expected"].is_string() && overlap["help"].is_string(), "{overlap}");
    assert_eq!(report[3]["expected"], "a value 1 or more");
    let shown = text(&outwork(dir.path(), &["check"]).stderr);
    assert!(shown.contains("test = \"option[60].hex = 'x'\"\n  |                        ^\n"), "{shown}");
}

#[test]
fn check_warns_where_no_client_is_heard_or_served_and_does_not_fail() {
    let dir = tempfile::tempdir().expect("a directory");
    let check = |file: &str, flags: &[&str]| {
        std::fs::write(dir.path().join("outwork.toml"), file).expect("a file");
        outwork(dir.path(), &[&["check"], flags].concat())
    };
    let output = check("", &[]);
    assert!(
        output.status.success() && text(&output.stderr).contains("warning: no service is configured"),
        "{output:?}"
    );
    let output = check("dhcp.enabled = true\n", &[]);
    assert!(output.status.success());
    let (said, last) = (text(&output.stderr), text(&output.stdout));
    assert!(
        said.contains("warning: dhcp.subnet: there is no subnet") && said.contains("dhcp.listen: only this"),
        "{said}"
    );
    assert_eq!(last, "outwork.toml: no faults, 2 warnings\n");
    let output = check("", &["--json"]);
    assert_eq!((output.status.success(), &json(&output)[0]["severity"]), (true, &json!("warning")));
    let subnet = "[[dhcp.subnet]]\nid = 1\nprefix = '192.0.2.0/24'\n";
    for (file, warnings) in [
        (format!("[dhcp]\ninterfaces = ['eth0']\n{subnet}"), "no faults\n"),
        (format!("[dhcp]\nlisten = ['0.0.0.0:67']\n{subnet}"), "no faults\n"),
        (format!("{subnet}relay = ['127.0.0.1']\n"), "no faults\n"),
        (subnet.to_owned(), "1 warning\n"),
        ("dhcp.enabled = false\n".to_owned(), "no faults\n"),
        (
            format!(
                "[dhcp]\ninterfaces = ['eth0']\n[[dhcp.class]]\nname = 'long'\nmin_lease_time = '2h'\n{subnet}lease_time = '1h'\n"
            ),
            "1 warning\n",
        ),
    ] {
        let last = text(&check(&file, &[]).stdout);
        assert!(last.ends_with(warnings), "{file}: {last}");
    }
}

#[test]
fn check_does_not_warn_of_the_lack_of_what_it_could_not_read() {
    let dir = tempfile::tempdir().expect("a directory");
    let subnet = "[[dhcp.subnet]]\nid = 1\nprefix = '192.0.2.0/24'\n";
    for file in [
        format!("[dhcp]\nlisten = ['nonsense']\n{subnet}"),
        format!("[dhcp]\nlisten = []\ninterfaces = [5]\n{subnet}"),
        format!("[dhcp]\ninterfaces = 'eth0'\n{subnet}"),
        "[dhcp]\nlisten = ['0.0.0.0:67']\n[[dhcp.subnet]]\nid = 1\nprefix = 'x'\n".to_owned(),
        "[dhcp]\nenabled = 'no'\n".to_owned(),
        "dhcp = 3\n".to_owned(),
    ] {
        std::fs::write(dir.path().join("outwork.toml"), &file).expect("a file");
        let report = json(&outwork(dir.path(), &["check", "--json"]));
        let all = report.as_array().into_iter().flatten();
        assert!(all.clone().count() > 0 && all.clone().all(|fault| fault["severity"] == "error"), "{file}: {report:#}");
    }
    let file = "[log]\nlevel = 5\n";
    std::fs::write(dir.path().join("outwork.toml"), file).expect("a file");
    let report = text(&outwork(dir.path(), &["check"]).stderr);
    assert!(
        report.contains("warning: no service is configured"),
        "what has nothing to do with the fault is still told: {report}"
    );
}

#[test]
fn a_reservation_of_the_file_knows_a_hardware_address_in_every_usual_notation() {
    let dir = tempfile::tempdir().expect("a directory");
    for mac in ["aabb.ccdd.eeff", "AA-BB-CC-DD-EE-FF", "aabbccddeeff", "aa:bb:cc:dd:ee:ff"] {
        let file = format!(
            "[dhcp]\nlisten = ['0.0.0.0:67']\n[[dhcp.subnet]]\nid = 1\nprefix = '192.0.2.0/24'\n\
             [[dhcp.reservation]]\nmac = '{mac}'\naddress = '192.0.2.9'\n"
        );
        std::fs::write(dir.path().join("outwork.toml"), file).expect("a file");
        let output = outwork(dir.path(), &["check"]);
        assert_eq!(text(&output.stdout), "outwork.toml: no faults\n", "{mac}: {output:?}");
    }
}

#[test]
fn the_last_line_of_check_names_where_the_faults_really_are() {
    let dir = tempfile::tempdir().expect("a directory");
    let last = |line: &[&str]| text(&outwork(dir.path(), line).stderr).lines().last().map(str::to_owned);
    let flag = ["check", "--set", "dhcp.lease_tim=2h"];
    assert_eq!(last(&flag).as_deref(), Some("--set dhcp.lease_tim: 1 fault"));
    std::fs::write(dir.path().join("outwork.toml"), "[store]\ndata_dir = 3\ndata_dr = 'x'\n").expect("a file");
    assert_eq!(last(&flag).as_deref(), Some("outwork.toml: 2 faults, --set dhcp.lease_tim: 1 fault"));
}

#[test]
fn stats_shows_the_mean_beside_the_percentiles() {
    let dir = tempfile::tempdir().expect("a directory");
    let sample =
        json!({"labels": {}, "count": 4, "sum": 10.0, "avg": 2.5, "p50": 2.0, "p95": 4.0, "p99": 4.0, "max": 4.0});
    let metric =
        json!({"name": "outwork_x_seconds", "kind": "histogram", "unit": "seconds", "help": "", "samples": [sample]});
    let (url, seen) = server(vec![answer(json!({"metrics": [metric]}))]);
    let shown = text(&outwork(dir.path(), &["stats", "--url", &url, "--token", "t"]).stdout);
    seen.join().expect("the server");
    let columns: Vec<Vec<_>> =
        shown.lines().map(|line| line.split("  ").map(str::trim).filter(|cell| !cell.is_empty()).collect()).collect();
    assert_eq!(columns[0], ["METRIC", "LABELS", "VALUE", "AVG", "P50", "P95", "P99", "MAX", "UNIT"]);
    assert_eq!(
        columns[1],
        ["outwork_x_seconds", "4", "2.500 s", "2.000 s", "4.000 s", "4.000 s", "4.000 s", "seconds"]
    );
}

#[test]
fn what_the_readme_shows_has_no_faults() {
    let readme = include_str!("../../../../README.md");
    let shown: Vec<&str> = readme.split("```toml\n").skip(1).filter_map(|rest| rest.split("```").next()).collect();
    assert!(shown.len() > 1, "there are configurations in it");
    for file in shown {
        let dir = tempfile::tempdir().expect("a directory");
        std::fs::write(dir.path().join("outwork.toml"), file).expect("a file");
        let told = json(&outwork(dir.path(), &["check", "--json"]));
        // Folders are where whoever follows it has theirs.
        let missing = |fault: &Json| fault["found"].as_str().is_some_and(|found| found.ends_with(" is not there"));
        let faults = told.as_array().expect("a list").iter().filter(|one| one["severity"] == "error" && !missing(one));
        assert_eq!(faults.collect::<Vec<_>>(), Vec::<&Json>::new());
    }
}

#[test]
fn a_starter_file_is_written_once_and_changes_nothing() {
    let dir = tempfile::tempdir().expect("a directory");
    assert!(outwork(dir.path(), &["config", "init"]).status.success());
    let checked = outwork(dir.path(), &["check"]);
    assert_eq!(text(&checked.stdout), "outwork.toml: no faults, 1 warning\n");
    let again = outwork(dir.path(), &["config", "init"]);
    assert!(!again.status.success() && text(&again.stderr).contains("--force"));
    assert!(outwork(dir.path(), &["config", "init", "--force"]).status.success());
    let shown = json(&outwork(dir.path(), &["config", "show", "--json", "--changed"]));
    assert_eq!(shown, json!([]));
}

/// Which lines, by their number and text.
type Pick<'a> = &'a dyn Fn(usize, &str) -> bool;

#[test]
fn the_lines_of_a_starter_file_are_good_without_their_mark_one_by_one_and_together() {
    let dir = tempfile::tempdir().expect("a directory");
    std::fs::create_dir(dir.path().join("site")).expect("the folder of the example");
    let starter = text(&outwork(dir.path(), &["config", "init", "-"]).stdout);
    let example = starter.lines().position(|line| line.starts_with('[')).expect("a header");
    let one = |_: usize, line: &str| line.starts_with("# data_dir = ");
    let picks: [(&str, Pick<'_>); 4] = [
        ("one key", &one),
        ("the example", &|number, _| number < example),
        ("all defaults", &|number, _| number > example),
        ("everything", &|_, _| true),
    ];
    for (name, wanted) in picks {
        let lines = starter.lines().enumerate().map(|(number, line)| match line.strip_prefix("# ") {
            Some(text) if wanted(number, line) => text,
            _ => line,
        });
        let file = lines.collect::<Vec<_>>().join("\n");
        assert_ne!(file.trim_end(), starter.trim_end(), "{name}");
        std::fs::write(dir.path().join("outwork.toml"), file).expect("a file");
        let checked = outwork(dir.path(), &["check"]);
        assert!(checked.status.success(), "{name}: {}", text(&checked.stderr));
    }
}

#[test]
fn an_admin_api_that_other_machines_reach_without_tls_is_warned_of() {
    let dir = tempfile::tempdir().expect("a directory");
    let checked = outwork(dir.path(), &["check", "--set", "admin.listen=[\"0.0.0.0:8067\"]"]);
    let said = text(&checked.stderr);
    assert!(checked.status.success() && said.contains("0.0.0.0:8067 without TLS"), "{said}");
    assert!(said.contains("[admin.tls]"), "{said}");
}

#[test]
fn a_pool_that_is_full_is_remarked_on_in_its_own_column() {
    let dir = tempfile::tempdir().expect("a directory");
    let pool = |free: u32, warning: bool| {
        json!({"range": "192.0.2.1-192.0.2.9", "total": 9, "active": 9 - free, "offered": 0, "declined": 0, "free": free,
            "utilisation": 0.9, "warning": warning})
    };
    let pools = json!([pool(0, true), pool(1, true), pool(9, false)]);
    let mut subnet = json!({"id": 1, "prefix": "192.0.2.0/24", "name": null, "pools": pools, "utilisation": 0.9});
    for count in ["total", "active", "offered", "declined", "free"] {
        subnet[count] = json!(9);
    }
    let answers = || answer(json!({"items": [subnet]}));
    let (url, _) = server(vec![answers(), answers()]);
    let shown = |line: &[&str]| text(&outwork(dir.path(), &[line, &["--url", &url, "--token", "t"]].concat()).stdout);
    let table = shown(&["subnets"]);
    let lines: Vec<_> = table.lines().collect();
    assert!(lines[0].ends_with("USED  RESERVED  REMARK") && lines[1].ends_with("90.0%         -"), "{table}");
    assert!(lines[2].ends_with("-  full") && lines[3].ends_with("-  nearly full"), "{table}");
    assert!(lines[4].ends_with("90.0%         -"), "{table}");
    assert_eq!(shown(&["subnets", "list"]), table);
}

#[test]
fn a_reservation_is_removed_by_its_address_or_its_id() {
    let dir = tempfile::tempdir().expect("a directory");
    let gone = || (204, "application/json", String::new());
    let page = |address: &str, next: Json| answer(json!({"items": [{"id": "7", "address": address}], "next": next}));
    let missing = json!({"title": "Not found", "status": 404, "detail": "there is no reservation 8"});
    let (url, seen) = server(vec![
        page("192.0.2.1", json!("5")),
        page("192.0.2.30", Json::Null),
        gone(),
        gone(),
        page("192.0.2.1", Json::Null),
        (404, "application/problem+json", missing.to_string()),
    ]);
    let remove = |wanted: &str| outwork(dir.path(), &["reservations", "remove", wanted, "--url", &url, "--token", "t"]);
    assert_eq!(text(&remove("192.0.2.30").stdout), "removed reservation 7\n");
    assert!(remove("7").status.success());
    for unknown in ["192.0.2.31", "8"] {
        let output = remove(unknown);
        let said = text(&output.stderr);
        assert!(output.status.code() == Some(1) && said.contains("= help: `outwork reservations list`"), "{output:?}");
    }
    let lines: Vec<_> = seen.join().expect("the server ends well").into_iter().map(|seen| seen.line).collect();
    assert_eq!(
        lines[1..4],
        [
            "GET /api/v1/dhcp/reservations?after=5 HTTP/1.1",
            "DELETE /api/v1/dhcp/reservations/7 HTTP/1.1",
            "DELETE /api/v1/dhcp/reservations/7 HTTP/1.1",
        ]
    );
}

#[test]
fn a_load_whose_port_is_taken_names_the_process_and_the_way_around() {
    let dir = tempfile::tempdir().expect("a directory");
    let taken = std::net::UdpSocket::bind("127.0.0.1:0").expect("a free port");
    let port = taken.local_addr().expect("an address").port().to_string();
    let output = outwork(dir.path(), &["bench", "dhcp", "--target", "127.0.0.1:9", "--relay-port", &port]);
    let said = text(&output.stderr);
    let holder = format!("process {} (", std::process::id());
    assert!(said.contains(&holder) && said.contains("--relay-port"), "{said}");
}

#[test]
fn a_report_of_the_server_is_printed_as_it_is_and_drives_no_terminal() {
    let dir = tempfile::tempdir().expect("a directory");
    let detail = "error: dhcp.workers: found 0\n --> o.toml:1:1\n  = help: evil\u{1b}[2J\n\no.toml: 1 fault";
    let problem = json!({"title": "Refused", "status": 422, "detail": detail});
    let (url, _) = server(vec![(422, "application/problem+json", problem.to_string())]);
    let refused = outwork(dir.path(), &["reload", "--url", &url, "--token", "t"]);
    assert_eq!(refused.status.code(), Some(1));
    assert_eq!(text(&refused.stderr), format!("{}\n", detail.replace('\u{1b}', "\u{fffd}")));
}

#[test]
fn the_configuration_is_shown_with_who_set_it() {
    let dir = tempfile::tempdir().expect("a directory");
    let shown = json(&outwork(dir.path(), &["config", "show", "--json", "--set", "store.data_dir=/srv"]));
    let entry = json!({"key": "store.data_dir", "value": "/srv", "origin": "--set store.data_dir"});
    assert!(shown.as_array().is_some_and(|entries| entries.contains(&entry)), "{shown}");
    let missing = outwork(dir.path(), &["check", "--config", "absent.toml"]);
    assert!(!missing.status.success() && text(&missing.stderr).contains("cannot read the configuration absent.toml"));
}

#[test]
fn shells_and_man_get_what_they_read() {
    let dir = tempfile::tempdir().expect("a directory");
    for shell in ["bash", "zsh", "fish"] {
        assert!(text(&outwork(dir.path(), &["completions", shell]).stdout).contains("reservations"), "{shell}");
    }
    assert!(text(&outwork(dir.path(), &["man"]).stdout).contains(".TH outwork 1"));
    assert!(outwork(dir.path(), &["man", "--dir", "share/man1"]).status.success());
    assert!(dir.path().join("share/man1/outwork-leases-list.1").exists(), "in a directory that was made for them");
}

#[test]
fn all_leases_are_fetched_page_by_page_with_the_token_of_this_machine() {
    let dir = tempfile::tempdir().expect("a directory");
    std::fs::create_dir(dir.path().join("data")).expect("a directory");
    std::fs::write(dir.path().join("data/admin.token"), "secret\n").expect("a file");
    let (url, seen) = server(vec![
        answer(json!({"items": [lease("192.0.2.1", "a")], "next": "p 2", "total": 2})),
        answer(json!({"items": [lease("192.0.2.2", "b")], "next": null, "total": 2})),
    ]);
    let output = outwork(dir.path(), &["leases", "list", "--all", "--subnet", "1", "--url", &url]);
    assert!(output.status.success(), "{output:?}");
    let table = text(&output.stdout);
    assert!(table.starts_with("ADDRESS") && table.contains("192.0.2.1") && table.contains("192.0.2.2"), "{table}");
    let seen = seen.join().expect("the server ends well");
    let lines: Vec<_> = seen.iter().map(|seen| seen.line.as_str()).collect();
    assert_eq!(
        lines,
        [
            "GET /api/v1/dhcp/leases?subnet=1&limit=1000 HTTP/1.1",
            "GET /api/v1/dhcp/leases?subnet=1&limit=1000&after=p%202 HTTP/1.1",
        ]
    );
    assert!(seen.iter().all(|seen| seen.token.as_deref() == Some("Bearer secret")));
}

#[test]
fn a_lease_of_a_reserved_address_shows_who_holds_it_and_when_it_ends() {
    let dir = tempfile::tempdir().expect("a directory");
    let (mut reserved, mut endless) = (lease("192.0.2.1", "a"), lease("192.0.2.2", "b"));
    reserved["fixed"] = json!(true);
    endless["expires"] = json!("9999-12-31T23:59:59Z");
    let (url, _) = server(vec![answer(json!({"items": [reserved, endless], "next": null, "total": 2}))]);
    let table = text(&outwork(dir.path(), &["leases", "list", "--url", &url, "--token", "t"]).stdout);
    let rows: Vec<Vec<_>> = table.lines().map(|line| line.split_whitespace().collect()).collect();
    assert_eq!(rows[1][2..], ["02:00:5e:10:00:01", "a", "1", "2030-01-01T00:00:00Z", "yes", "-"], "{table}");
    assert_eq!(rows[2][2..], ["02:00:5e:10:00:01", "b", "1", "never", "-", "-"], "{table}");
}

#[test]
fn a_reservation_of_an_address_that_another_holds_comes_with_the_servers_warning() {
    let dir = tempfile::tempdir().expect("a directory");
    let (url, _) = server(vec![answer(json!({"id": "1", "warning": "192.0.2.9 is leased to 02:00:5e:10:00:07"}))]);
    let add = ["reservations", "add", "192.0.2.9", "--subnet", "1", "--mac", "02:00:5e:10:00:01", "--url", &url];
    let output = outwork(dir.path(), &add);
    assert_eq!(text(&output.stdout), "reserved 192.0.2.9 for mac 02:00:5e:10:00:01\n");
    assert_eq!(text(&output.stderr), "warning: 192.0.2.9 is leased to 02:00:5e:10:00:07\n");
}

#[test]
fn a_reservation_says_all_that_the_api_takes_and_needs_no_address() {
    let dir = tempfile::tempdir().expect("a directory");
    let (url, seen) = server(vec![answer(json!({"id": "1"})), answer(json!({"id": "2"}))]);
    let run = |line: &[&str]| text(&outwork(dir.path(), &[line, &["--url", &url, "--token", "t"]].concat()).stdout);
    let line = "reservations add --mac 0200.5e10.0001 --class phones --class slow --next-server 192.0.2.5 \
        --server-hostname boot --boot-file pxe.0 --lease-time 8h --min-lease-time 60 --max-lease-time 1d \
        --renew-time 1h --rebind-time 2h --option tftp-server-name=boot --option ntp-servers=[\"192.0.2.1\"] \
        --option default-ip-ttl=64";
    let said = run(&line.split_whitespace().collect::<Vec<_>>());
    assert_eq!(said, "made a reservation for mac 02:00:5e:10:00:01\n");
    let file = json!({"id": "9", "source": "api", "subnet_id": 1, "address": "192.0.2.7", "hostname": "a",
        "identifier": {"kind": "flex", "value": "x"}});
    std::fs::write(dir.path().join("r.json"), file.to_string()).expect("a file");
    let said = run(&["reservations", "add", "192.0.2.8", "--hostname", "b", "--json-body", "r.json"]);
    assert_eq!(said, "reserved 192.0.2.8 for flex x\n", "what is given counts over the body");
    let seen = seen.join().expect("the server ends well");
    let body = |index: usize| serde_json::from_str::<Json>(&seen[index].body).expect("JSON");
    let full = json!({
        "identifier": {"kind": "mac", "value": "02:00:5e:10:00:01"}, "classes": ["phones", "slow"],
        "next_server": "192.0.2.5", "server_hostname": "boot", "boot_file": "pxe.0", "lease_time_seconds": 28800,
        "min_lease_time_seconds": 60, "max_lease_time_seconds": 86400, "renew_time_seconds": 3600,
        "rebind_time_seconds": 7200,
        "options": {"tftp-server-name": "boot", "ntp-servers": ["192.0.2.1"], "default-ip-ttl": 64},
    });
    assert_eq!(body(0), full);
    let identifier = json!({"kind": "flex", "value": "x"});
    assert_eq!(body(1), json!({"subnet_id": 1, "address": "192.0.2.8", "hostname": "b", "identifier": identifier}));
    for line in ["reservations add 192.0.2.9", "reservations add --mac 0a --flex x"] {
        let output = outwork(dir.path(), &line.split(' ').collect::<Vec<_>>());
        assert_eq!(output.status.code(), Some(2), "{line}: one client, neither none nor two");
    }
}

#[test]
fn a_reservation_is_shown_and_changed_in_what_is_named_only() {
    let dir = tempfile::tempdir().expect("a directory");
    let there = json!({"id": "7", "source": "api", "subnet_id": 3, "address": "192.0.2.9", "hostname": "a",
        "identifier": {"kind": "mac", "value": "02:00:5e:10:00:01"}, "classes": ["phones"], "lease_time_seconds": 60,
        "options": {"routers": ["192.0.2.1"]}});
    let (url, seen) = server((0..5).map(|_| answer(there.clone())).collect());
    let run = |line: &[&str]| outwork(dir.path(), &[line, &["--url", &url, "--token", "t"]].concat());
    let shown = text(&run(&["reservations", "get", "7"]).stdout);
    for part in ["192.0.2.9", "phones", "60 s", "option routers", "[\"192.0.2.1\"]", "api"] {
        assert!(shown.contains(part), "{part}: {shown}");
    }
    assert_eq!(json(&run(&["reservations", "get", "7", "--json"])), there);
    let change = ["--address", "192.0.2.8", "--clear", "classes", "--clear", "times", "--option", "domain-name=x"];
    let done = run(&[["reservations", "update", "7"].as_slice(), &change].concat());
    assert_eq!(text(&done.stdout), "changed reservation 7\n", "{done:?}");
    let idle = run(&["reservations", "update", "7", "--hostname", "a"]);
    assert!(idle.status.code() == Some(1) && text(&idle.stderr).contains("nothing would change"), "{idle:?}");
    let seen = seen.join().expect("the server ends well");
    assert_eq!(seen[3].line, "PUT /api/v1/dhcp/reservations/7 HTTP/1.1");
    let expected = json!({"subnet_id": 3, "address": "192.0.2.8", "hostname": "a",
        "identifier": {"kind": "mac", "value": "02:00:5e:10:00:01"},
        "options": {"routers": ["192.0.2.1"], "domain-name": "x"}});
    assert_eq!(serde_json::from_str::<Json>(&seen[3].body).expect("JSON"), expected);
}

#[test]
fn a_client_is_found_by_its_whole_name_only() {
    let dir = tempfile::tempdir().expect("a directory");
    let items = [lease("192.0.2.1", "Printer")];
    let (url, seen) = server(vec![answer(json!({"items": items, "next": null, "total": 1}))]);
    let found = json(&outwork(dir.path(), &["leases", "get", "printer", "--json", "--url", &url]));
    assert_eq!(found, json!(items));
    assert!(seen.join().expect("the server ends well")[0].line.contains("?hostname=printer&"));
}

#[test]
fn a_change_is_sent_as_the_api_takes_it() {
    let dir = tempfile::tempdir().expect("a directory");
    let tokens = json!({"items": [{"id": 5, "name": "a/b"}, {"id": 6, "name": "5x"}]});
    let gone = (204, "application/json", String::new());
    let (url, seen) = server(vec![answer(json!({})), answer(json!({})), answer(tokens), gone]);
    let run = |line: &[&str]| {
        let output = outwork(dir.path(), &[line, &["--url", &url, "--token", "t"]].concat());
        assert!(output.status.success(), "{output:?}");
    };
    run(&["leases", "update", "192.0.2.1", "--hostname", "", "--lease-time", "2h"]);
    run(&["reservations", "add", "192.0.2.9", "--subnet", "3", "--circuit-id", "0a0b"]);
    run(&["token", "revoke", "a/b"]);
    let seen = seen.join().expect("the server ends well");
    assert_eq!(seen[0].line, "PATCH /api/v1/dhcp/leases/192.0.2.1 HTTP/1.1");
    let body = |index: usize| serde_json::from_str::<Json>(&seen[index].body).expect("JSON");
    assert_eq!(body(0), json!({"hostname": null, "lease_time": 7200}));
    let identifier = json!({"kind": "circuit_id", "value": "hex:0a0b"});
    assert_eq!(body(1), json!({"subnet_id": 3, "address": "192.0.2.9", "identifier": identifier}));
    assert_eq!(seen[3].line, "DELETE /api/v1/tokens/5 HTTP/1.1", "by its name");
}

#[test]
fn a_load_that_nobody_answers_fails_with_what_to_look_at() {
    let dir = tempfile::tempdir().expect("a directory");
    let silent = std::net::UdpSocket::bind("127.0.0.1:0").expect("a free port");
    let target = format!("localhost:{}", silent.local_addr().expect("an address").port());
    let rest = ["--clients", "1", "--duration", "200ms", "--timeout", "100ms"];
    let port = std::net::UdpSocket::bind("127.0.0.1:0").and_then(|free| free.local_addr()).expect("a free port").port();
    let port = port.to_string();
    let run = |more: &[&str]| {
        let line = [["bench", "dhcp", "--target", &target].as_slice(), &rest, &["--relay-port", &port], more].concat();
        let output = outwork(dir.path(), &line);
        assert_eq!(output.status.code(), Some(1), "{output:?}");
        output
    };
    let output = run(&[]);
    assert!(text(&output.stdout).contains(": 1 client, "), "{output:?}");
    let hint = text(&output.stderr);
    assert!(hint.contains("a subnet for the relay agent's address (127.0.0.1)") && hint.contains("firewall"), "{hint}");
    let report = json(&run(&["--json"]));
    assert!(report["exchange"]["p99_us"].is_f64() && report["hint"].is_string(), "{report}");
    let renew = text(&run(&["--scenario", "renew"]).stderr);
    assert!(renew.contains("no client got an address") && renew.contains("= help:"), "{renew}");
}

#[test]
fn an_option_that_would_have_no_effect_is_refused_with_what_to_do() {
    let dir = tempfile::tempdir().expect("a directory");
    for (line, expected) in [
        (["reload", "--set", "dhcp.lease_time=2h"].as_slice(), "change the file"),
        (&["--set", "dhcp.lease_time=2h", "reload"], "change the file"),
        (&["config", "init", "--config", "x.toml"], "`outwork config init FILE`"),
        (&["schema", "-c", "x.toml"], "reads no configuration"),
    ] {
        let output = outwork(dir.path(), line);
        let said = text(&output.stderr);
        assert!(output.status.code() == Some(2) && said.contains(expected), "{line:?}: {output:?}");
    }
    let mut from_environment = command(dir.path(), &["schema"]);
    assert!(from_environment.env("OUTWORK_CONFIG", "x.toml").output().expect("it runs").status.success());
}

#[test]
fn with_json_an_error_is_json_too() {
    let dir = tempfile::tempdir().expect("a directory");
    let problem = json!({"title": "Cannot reload", "status": 409, "detail": "x", "key": "dhcp.workers"});
    let (url, _) = server(vec![(409, "application/problem+json", problem.to_string())]);
    let run = |line: &[&str], code: i32| {
        let output = outwork(dir.path(), &[line, &["--json"]].concat());
        assert!(output.status.code() == Some(code) && output.stderr.is_empty(), "{output:?}");
        serde_json::from_slice::<Json>(&output.stdout).expect("JSON")["error"].clone()
    };
    let refused = run(&["reload", "--url", &url], 1);
    assert_eq!((&refused["status"], &refused["key"]), (&json!(409), &json!("dhcp.workers")), "{refused}");
    assert_eq!(refused["message"], "Cannot reload (409): x");
    let unreachable = run(&["status", "--url", "http://127.0.0.1:9"], 1);
    assert!(unreachable["help"].as_str().is_some_and(|help| help.contains("`outwork run`")), "{unreachable}");
    assert!(run(&["leases", "list", "--limit", "0"], 2)["message"].as_str().is_some_and(|text| text.contains("--all")));
    std::fs::write(dir.path().join("outwork.toml"), "[store]\ndata_dir = 3\n").expect("a file");
    assert_eq!(run(&["config", "show"], 1)["faults"][0]["key"], "store.data_dir");
}

#[test]
fn a_change_without_an_answer_says_in_json_what_was_done() {
    let dir = tempfile::tempdir().expect("a directory");
    let gone = || (204, "application/json", String::new());
    let (url, _) = server(vec![answer(json!({"items": [{"id": 5, "name": "a"}]})), gone(), gone()]);
    let run = |line: &[&str]| json(&outwork(dir.path(), &[line, &["--url", &url, "--token", "t", "--json"]].concat()));
    assert_eq!(run(&["token", "revoke", "a"]), json!({"revoked": {"id": 5, "name": "a"}}));
    assert_eq!(run(&["leases", "release", "192.0.2.1"]), json!({"done": "released 192.0.2.1"}));
}

#[test]
fn a_client_is_found_by_its_address_in_any_notation() {
    let dir = tempfile::tempdir().expect("a directory");
    // Groups of four are a hardware address's alone.
    for (wanted, asked) in [("02-00-5E-10-00-01", 2), ("0200.5e10.0001", 1), ("02005e100001", 2)] {
        let found = || answer(json!({"items": [lease("192.0.2.1", "a")], "next": null, "total": 1}));
        let (url, seen) = server((0..asked).map(|_| found()).collect());
        let found = json(&outwork(dir.path(), &["leases", "get", wanted, "--json", "--url", &url]));
        assert_eq!(found, json!([lease("192.0.2.1", "a")]), "{wanted}: one lease, however it is found");
        let seen = seen.join().expect("the server ends well");
        assert!(
            seen[0].line.contains(&format!("?mac={}&", "02:00:5e:10:00:01".replace(':', "%3A"))),
            "{}",
            seen[0].line
        );
        assert!(seen[1..].iter().all(|one| one.line.contains("?client_id=hex%3A02005e100001&")), "{wanted}");
    }
}

#[test]
fn a_level_is_changed_among_the_others() {
    let dir = tempfile::tempdir().expect("a directory");
    let (url, seen) = server(vec![
        answer(json!({"levels": {"default": "info", "dhcp": "info"}})),
        (204, "application/json", String::new()),
    ]);
    let output = outwork(dir.path(), &["log", "set", "dhcp=debug", "--url", &url]);
    assert_eq!(text(&output.stdout), "SERVICE  LEVEL\ndefault  info\ndhcp     debug\n");
    let seen = seen.join().expect("the server ends well");
    assert_eq!(seen[1].body, r#"{"levels":{"default":"info","dhcp":"debug"}}"#);
}

#[test]
fn leases_are_exported_to_a_file_and_imported_from_one() {
    let dir = tempfile::tempdir().expect("a directory");
    let csv = "address,hwaddr\n192.0.2.1,02:00:5e:10:00:01\n";
    let (url, seen) = server(vec![(200, "text/csv; charset=utf-8", csv.into()), answer(json!({"imported": 1}))]);
    assert!(outwork(dir.path(), &["leases", "export", "-o", "l.csv", "--url", &url]).status.success());
    assert_eq!(std::fs::read_to_string(dir.path().join("l.csv")).expect("the file"), csv);
    let output = outwork(dir.path(), &["leases", "import", "l.csv", "--url", &url]);
    assert_eq!(text(&output.stdout), "1 lease imported, 0 updated, 0 unchanged; 0 refused\n");
    assert_eq!(seen.join().expect("the server ends well")[1].body, csv);
}

#[test]
fn a_refusal_and_an_absent_server_are_told_apart() {
    let dir = tempfile::tempdir().expect("a directory");
    let problem = json!({"title": "Cannot reload", "status": 409, "detail": "x", "key": "dhcp.workers"});
    let (url, seen) = server(vec![(409, "application/problem+json", problem.to_string())]);
    let refused = outwork(dir.path(), &["reload", "--url", &url]);
    assert_eq!(text(&refused.stderr), "error: Cannot reload (409): x\n  = key: dhcp.workers\n");
    assert_eq!(seen.join().expect("the server ends well")[0].line, "POST /api/v1/reload HTTP/1.1");
    let gone = outwork(dir.path(), &["reload", "--url", &url]);
    assert_eq!(gone.status.code(), Some(1));
    assert!(text(&gone.stderr).starts_with(&format!("error: cannot reach {url}")), "{gone:?}");
}

#[test]
fn what_does_not_exist_is_an_error() {
    let dir = tempfile::tempdir().expect("a directory");
    let metric = json!({"name": "outwork_dhcp_x", "unit": "bytes", "samples": [{"labels": {}, "value": 2048.0}]});
    let now = || answer(json!({"metrics": [metric]}));
    let (url, _) = server(vec![now(), now(), answer(json!({"items": []}))]);
    let run = |line: &[&str]| outwork(dir.path(), &[line, &["--url", &url, "--token", "t"]].concat());
    let shown = text(&run(&["stats", "dhcp"]).stdout);
    assert!(shown.contains("2.0 KiB"), "{shown}");
    for (line, expected) in [
        (["stats", "nonesuch"].as_slice(), "no metric has nonesuch in its name"),
        (&["token", "revoke", "nobody"], "no token has the name or id nobody"),
        (&["config", "show", "nokey"], "there is no key nokey"),
        (&["config", "show", "dhcp.nokey"], "there is no key dhcp.nokey"),
    ] {
        let output = run(line);
        assert!(output.status.code() == Some(1) && text(&output.stderr).contains(expected), "{output:?}");
    }
    let none = run(&["leases", "list", "--limit", "0"]);
    assert!(none.status.code() == Some(2) && text(&none.stderr).contains("expected 1 or more"), "{none:?}");
}

#[test]
fn a_reader_that_goes_away_is_no_error() {
    let dir = tempfile::tempdir().expect("a directory");
    for line in
        [["schema"].as_slice(), &["man"], &["completions", "bash"], &["config", "init", "-"], &["config", "show"]]
    {
        let (reader, writer) = std::io::pipe().expect("a pipe");
        drop(reader);
        let output = command(dir.path(), line).stdout(writer).output().expect("the binary runs");
        assert!(output.status.success() && output.stderr.is_empty(), "{line:?}: {output:?}");
    }
}

#[test]
fn a_subnet_is_not_wiped_unasked() {
    let dir = tempfile::tempdir().expect("a directory");
    let output = outwork(dir.path(), &["leases", "wipe", "3", "--url", "http://127.0.0.1:9"]);
    assert!(!output.status.success() && text(&output.stderr).contains("--yes"), "{output:?}");
    let (url, _) = server(vec![answer(json!({"removed": 7}))]);
    let done = outwork(dir.path(), &["leases", "wipe", "3", "--yes", "--url", &url, "--token", "t"]);
    assert_eq!(text(&done.stdout), "wiped subnet 3: 7 ended\n");
}

#[test]
fn the_settings_that_the_architecture_page_names_are_settings() {
    let dir = tempfile::tempdir().expect("a directory");
    let schema = json(&outwork(dir.path(), &["schema"]));
    let page = concat!(env!("CARGO_MANIFEST_DIR"), "/../../ARCHITECTURE.md");
    let page = std::fs::read_to_string(page).expect("the page");
    let quoted = page.split('`').skip(1).step_by(2);
    let sections = ["dhcp.", "store.", "host."];
    let keys: Vec<_> = quoted.filter(|text| sections.iter().any(|section| text.starts_with(section))).collect();
    assert!(keys.len() > 10, "{keys:?}");
    for key in keys {
        // What is quoted in it is the name of something else.
        let parts = key.split(".\"").take(1).flat_map(|key| key.split('.'));
        let found = parts.fold(&schema, |table, key| match key.strip_suffix("[]") {
            Some(list) => &table["properties"][list]["items"],
            None => &table["properties"][key],
        });
        assert!(found.is_object(), "{key}");
    }
}

#[test]
fn a_site_that_is_asked_for_what_its_controller_has_says_where_that_is_and_how_it_stands_with_it() {
    let dir = tempfile::tempdir().expect("a directory");
    let missing =
        || (404, "application/problem+json", json!({"title": "Not Found", "detail": "no such path"}).to_string());
    let follows = json!({"addresses": ["192.0.2.9:8068"], "site": "north", "version": 12, "since": "2030-01-01T00:00:00Z",
        "connected": true, "address": "192.0.2.9:8068", "connected_since": "2030-01-02T00:00:00Z",
        "certificate_expires": "2030-03-01T00:00:00Z", "reports_waiting": 3, "error": null});
    let here = json!({"site": true, "controller": null, "follows": follows});
    let run = |line: &[&str], answers: Vec<_>| {
        let (url, seen) = server(answers);
        let output = outwork(dir.path(), &[&["sdwan"][..], line, &["--url", &url, "--token", "t"]].concat());
        let seen = seen.join().expect("the server ends well");
        let lines: Vec<_> = seen.into_iter().map(|seen| seen.line).collect();
        (output, lines)
    };
    let (told, lines) = run(&["status"], vec![missing(), answer(here.clone())]);
    let shown = text(&told.stdout);
    assert!(told.status.success(), "{told:?}");
    for part in ["north", "192.0.2.9:8068, since 2030-01-02", "12, since 2030-01-01", "2030-03-01", "3"] {
        assert!(shown.contains(part), "{part}: {shown}");
    }
    assert_eq!(
        lines,
        ["GET /api/v1/controller/presence HTTP/1.1", "GET /api/v1/sdwan/status HTTP/1.1"],
        "the controller's first"
    );
    let (told, _) = run(&["status", "--json"], vec![missing(), answer(here.clone())]);
    assert_eq!(json(&told), here);
    for line in [&["changes"][..], &["tokens"], &["events"], &["undo"], &["revoke", "north"]] {
        let (refused, _) = run(line, vec![missing(), answer(here.clone())]);
        let said = text(&refused.stderr);
        assert!(
            !refused.status.success() && said.contains("for its controller, at 192.0.2.9:8068"),
            "{line:?}: {said}"
        );
        assert!(said.contains("--url"), "{said}");
    }
    let alone = json!({"site": true, "controller": null, "follows": null});
    let (told, _) = run(&["status"], vec![missing(), answer(alone.clone())]);
    assert!(text(&told.stdout).contains("follows no controller"), "{told:?}");
    let (refused, _) = run(&["changes"], vec![missing(), answer(alone)]);
    assert!(text(&refused.stderr).contains("sdwan.controller.address"), "{refused:?}");
    // Where a controller does not have it, that is what is said.
    let both = json!({"site": true, "controller": "/api/v1/controller", "follows": null});
    let (refused, _) = run(&["revoke", "north"], vec![missing(), answer(both)]);
    assert!(text(&refused.stderr).contains("Not Found (404): no such path"), "{refused:?}");
}
