//! `outwork host`, as far as it changes nothing: what it changes is a namespace's, in `e2e`.

use serde_json::{Value as Json, json};

use crate::binary::{Place, json, outwork, text};

fn rows(report: &Json) -> &[Json] {
    report["items"].as_array().expect("a list")
}

fn row<'a>(report: &'a Json, name: &str) -> &'a Json {
    rows(report).iter().find(|row| row["name"] == name).expect("a row of this name")
}

#[test]
fn what_services_want_is_compared_with_this_machine() {
    let place = Place::with(
        "[[front.listener]]\naddress = 'HOST:8080'\nbacklog = 65535\n[[front.route]]\npath = '/'\nredirect = { to = '/a' }\n\
         [host.sysctl]\n'net.ipv4.nothing_has_this_name' = 1\n'vm.swappiness' = false\n",
    );
    let report = json(&place.outwork(&["host", "check", "--json"]));
    let somaxconn = row(&report, "net.core.somaxconn");
    assert_eq!((&somaxconn["wanted"], &somaxconn["services"]), (&json!("at least 65535"), &json!(["web"])));
    assert_eq!(row(&report, "net.core.netdev_budget")["services"], json!(["dhcp"]));
    let absent = row(&report, "net.ipv4.nothing_has_this_name");
    assert_eq!((&absent["state"], &absent["services"]), (&json!("absent"), &json!([])));
    assert!(rows(&report).iter().all(|row| row["name"] != "vm.swappiness"), "{report}");
    let count = |state: &str| json!(rows(&report).iter().filter(|row| row["state"] == state).count());
    assert_eq!(["good", "differs", "absent"].map(count), ["good", "differs", "absent"].map(|key| report[key].clone()));
    let shown = place.must(&["host"]);
    assert!(shown.contains("net.core.somaxconn") && shown.contains("as wanted, "), "{shown}");
}

#[test]
fn a_strict_look_fails_where_something_is_not_as_wanted() {
    let now: u64 =
        std::fs::read_to_string("/proc/sys/net/core/somaxconn").expect("Linux").trim().parse().expect("a number");
    let look = |value: u64, words: &[&str]| {
        let place =
            Place::with(&format!("[host]\nrecommended = false\nsysctl = {{ 'net.core.somaxconn' = {value} }}\n"));
        place.outwork(&[&["host"], words].concat())
    };
    assert_eq!(look(now, &["check", "--strict"]).status.code(), Some(0));
    let differs = look(now + 1, &["check", "--strict"]);
    assert_eq!(differs.status.code(), Some(1));
    assert!(text(&differs.stdout).contains("0 as wanted, 1 not"), "{differs:?}");
    assert_eq!(look(now + 1, &[]).status.code(), Some(0));
    let told = look(now + 1, &["apply", "--dry-run"]);
    assert!(told.status.success() && text(&told.stdout).contains("planned"), "{told:?}");
    assert!(std::fs::read_to_string("/proc/sys/net/core/somaxconn").expect("Linux").starts_with(&now.to_string()));
}

#[test]
fn a_file_for_sysctl_is_printed_with_the_reasons() {
    let place = Place::with("[host]\nrecommended = false\nsysctl = { 'net.core.somaxconn' = 12345 }\nhugepages = 3\n");
    let file = place.must(&["host", "sysctl"]);
    assert!(file.starts_with("# ") && file.contains("\n# host.sysctl\nnet.core.somaxconn = 12345\n"), "{file}");
    assert_eq!(json(&place.outwork(&["host", "sysctl", "--json"]))["net.core.somaxconn"], "12345");
}

#[test]
fn there_is_nothing_to_put_back_where_nothing_was_changed_and_junk_is_named() {
    let place = Place::new();
    for words in [&["host", "rollback"][..], &["host", "rollback", "--dry-run"]] {
        assert_eq!(place.must(words), "there is nothing to put back\n");
    }
    std::fs::create_dir_all(place.data()).expect("a folder");
    std::fs::write(place.data().join("host-before.json"), "junk").expect("a file");
    for words in [&["host", "rollback"][..], &["host", "apply", "--set", "host.recommended=false"]] {
        let refused = place.outwork(words);
        let said = text(&refused.stderr);
        assert!(!refused.status.success() && said.contains("host-before.json"), "{said}");
    }
}

#[test]
fn a_name_that_leads_out_of_the_settings_of_the_kernel_is_refused_where_it_stands() {
    let dir = tempfile::tempdir().expect("a directory");
    let file = "[host.sysctl]\n\"../../etc/passwd\" = 1\n\"/etc/passwd\" = 1\n\"net.core.somaxconn\" = true\n[[host.interface]]\nname = \"../lo\"\n";
    std::fs::write(dir.path().join("outwork.toml"), file).expect("a file");
    let report = json(&outwork(dir.path(), &["check", "--json"]));
    let errors = report.as_array().into_iter().flatten().filter(|fault| fault["severity"] == "error");
    let lines: Vec<_> = errors.filter_map(|fault| fault["line"].as_u64()).collect();
    assert_eq!(lines, [2, 3, 4, 6], "{report}");
}
