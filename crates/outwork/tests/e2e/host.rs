//! The machine, changed and put back in the namespace of a server.

use serde_json::{Value as Json, json};

use super::site::{LAN, Site};

const SAID: &str = r#"
[host]
recommended = false
sysctl = { "net.core.somaxconn" = 12345, "net.ipv4.tcp_fin_timeout" = 21, "net.ipv4.conf.lan.forwarding" = 1 }

[[host.interface]]
name = "lan"
queue_length = 777
"#;

fn now(site: &Site) -> Vec<String> {
    let paths = ["net/core/somaxconn", "net/ipv4/tcp_fin_timeout", "net/ipv4/conf/lan/forwarding"];
    let files =
        paths.map(|path| format!("/proc/sys/{path}")).into_iter().chain(["/sys/class/net/lan/tx_queue_len".to_owned()]);
    let read = |path: String| {
        let output = site.server.command("cat").arg(path).output().unwrap();
        String::from_utf8(output.stdout).unwrap().trim().to_owned()
    };
    files.map(read).collect()
}

#[test]
fn a_machine_is_made_as_wanted_beside_its_server_and_put_back() {
    let site = Site::running(&format!("{LAN}{SAID}"));
    let was = now(&site);
    let applied = site.json(&["host", "apply"]);
    assert_eq!((&applied["changed"], &applied["failed"]), (&json!(4), &json!(0)), "{applied}");
    assert_eq!(now(&site), ["12345", "21", "1", "777"]);
    // The server sees the same machine, and this command the limits of the server.
    let token = format!("Authorization: Bearer {}", site.token());
    let asked =
        site.server.command("curl").args(["-s", "-H", &token, "http://127.0.0.1:8067/api/v1/host"]).output().unwrap();
    let told: Json = serde_json::from_slice(&asked.stdout).unwrap();
    assert_eq!((&told["good"], &told["differs"]), (&json!(4), &json!(0)), "{told}");
    assert_eq!(site.json(&["host"]), told);
    let again = site.admin(&["host", "apply"]);
    assert_eq!(again, "everything is as wanted\n");
    site.server.command("sysctl").args(["-qw", "net.ipv4.tcp_fin_timeout=33"]).status().unwrap();
    let back = site.json(&["host", "rollback"]);
    let left: Vec<_> = back["items"].as_array().unwrap().iter().filter(|one| one["outcome"] == "left").collect();
    assert_eq!((left.len(), &left[0]["name"]), (1, &json!("net.ipv4.tcp_fin_timeout")), "{back}");
    site.admin(&["host", "rollback", "--force"]);
    assert_eq!(now(&site), was);
    assert!(!site.data().join("host-before.json").exists());
}

#[test]
fn limits_of_the_server_that_runs_are_compared_from_beside_it() {
    let listener =
        "[[front.listener]]\naddress = '127.0.0.1:8080'\n[[front.route]]\npath = '/'\nredirect = { to = '/a' }\n";
    let mut site = Site::running(&format!("{LAN}{listener}"));
    let limits = |report: &Json| {
        let rows = report["items"].as_array().unwrap();
        rows.iter().filter(|row| row["kind"] == "limit").count()
    };
    assert_eq!(limits(&site.json(&["host"])), 1);
    site.terminate();
    assert_eq!(limits(&site.json(&["host"])), 0, "nobody runs");
}
