//! Defaults, the file, the environment and flags: who wins, and who is named for it.

mod site;

use std::net::Ipv4Addr;

use outwork_config::{Origin, hours, mins, secs};
use serde_json::json;
use site::{Durability, Site, bad, good, lines, sources};

#[test]
fn nothing_written_gives_the_defaults() {
    let loaded = good("", &[], &[]);
    assert_eq!(loaded.value, Site::default());
    assert_eq!(loaded.value.dhcp.lease_time, hours(12));
    assert_eq!(loaded.origin("dhcp.lease_time"), Origin::Default);
}

#[test]
fn a_later_layer_wins_and_is_named_as_the_origin() {
    let file = "dhcp.lease_time = '1h'\ndhcp.workers = 1\n[dhcp.log]\nleases = false\n";
    let env = [("OUTWORK__DHCP__LEASE_TIME", "2h"), ("OUTWORK__DHCP__WORKERS", "2"), ("HOME", "/root")];
    let loaded = good(file, &env, &["dhcp.lease_time=3h"]);
    assert_eq!((loaded.value.dhcp.lease_time, loaded.value.dhcp.workers), (hours(3), 2));
    assert_eq!(loaded.origin("dhcp.lease_time").to_string(), "--set dhcp.lease_time");
    assert_eq!(loaded.origin("dhcp.workers").to_string(), "environment variable OUTWORK__DHCP__WORKERS");
    assert_eq!(loaded.origin("dhcp.log.leases").to_string(), "site.toml:4:10");
    assert_eq!(loaded.origin("dhcp.buffer"), Origin::Default);
}

#[test]
fn a_variable_that_is_toml_is_read_as_toml_and_any_other_as_text() {
    let env = [
        ("OUTWORK__DHCP__INTERFACES", r#"["eth1", "eth2"]"#),
        ("OUTWORK__DHCP__DURABILITY", "os"),
        ("OUTWORK__DATA_DIR", "/srv/data"),
        ("OUTWORK__ADMIN__PASSWORD", "12345"),
        ("OUTWORK__DHCP__LOG", "{ leases = false }"),
    ];
    let site = good("dhcp.log.type = 'x'", &env, &[]).value;
    assert_eq!(site.dhcp.interfaces, ["eth1", "eth2"]);
    assert_eq!(site.dhcp.durability, Durability::Os);
    assert_eq!(site.data_dir.to_str(), Some("/srv/data"));
    assert_eq!(site.admin.password.map(|password| password.expose().to_owned()).as_deref(), Some("12345"));
    assert_eq!((site.dhcp.log.leases, site.dhcp.log.r#type.as_deref()), (false, Some("x")), "tables are merged");
}

#[test]
fn elements_that_the_file_has_can_be_changed_by_index() {
    let file = "[[dhcp.subnet]]\nid = 1\nsubnet = '192.0.2.0/24'\n[[dhcp.subnet.pool]]\nfirst = '192.0.2.9'\nlast = '192.0.2.9'\n";
    let env = [("OUTWORK__DHCP__SUBNET__0__LEASE_TIME", "30m")];
    let site = good(file, &env, &["dhcp.subnet[0].pool[0].first=192.0.2.1"]).value;
    assert_eq!(site.dhcp.subnet[0].lease_time, Some(mins(30)));
    assert_eq!(site.dhcp.subnet[0].pool[0].first, Ipv4Addr::new(192, 0, 2, 1));
    let faults = bad(file, &[], &["dhcp.subnet[1].lease_time=1h"]);
    assert_eq!(lines(&faults), ["dhcp.subnet[1] @ --set dhcp.subnet[1].lease_time: there is no element 1"]);
}

#[test]
fn keys_of_a_map_may_be_anything_that_can_be_quoted() {
    let site = good("[dhcp.labels]\n'a b' = 'x'\n", &[], &["dhcp.labels.\"c.d\"=e=f"]).value;
    assert_eq!(site.dhcp.labels.get("a b").map(String::as_str), Some("x"));
    assert_eq!(site.dhcp.labels.get("c.d").map(String::as_str), Some("e=f"));
}

#[test]
fn every_key_is_listed_with_its_value_and_its_origin() {
    let file = "[[dhcp.subnet]]\nid = 7\nsubnet = '192.0.2.0/24'\n[admin]\npassword = 'hunter2'\n[dhcp.sets.lab]\ndns = ['192.0.2.1']\n";
    let loaded = good(file, &[], &["dhcp.workers=3"]);
    let listed: Vec<_> = loaded
        .effective()
        .into_iter()
        .map(|entry| format!("{} = {} ({})", entry.key, outwork_config::toml_text(&entry.value), entry.origin))
        .collect();
    assert_eq!(
        listed,
        [
            "data_dir = \"/var/lib/outwork\" (default)",
            "dhcp.workers = 3 (--set dhcp.workers)",
            "dhcp.lease_time = \"12h\" (default)",
            "dhcp.interfaces = [] (default)",
            "dhcp.durability = \"fsync\" (default)",
            "dhcp.buffer = \"64MiB\" (default)",
            "dhcp.warn_at = 0.9 (default)",
            "dhcp.log.leases = true (default)",
            "dhcp.log.type = unset (default)",
            "dhcp.subnet[0].id = 7 (site.toml:2:6)",
            "dhcp.subnet[0].subnet = \"192.0.2.0/24\" (site.toml:3:10)",
            "dhcp.subnet[0].lease_time = unset (default)",
            "dhcp.subnet[0].pool = [] (default)",
            "dhcp.sets.lab.dns = [\"192.0.2.1\"] (site.toml:7:7)",
            "dhcp.labels = {} (default)",
            "admin.listen = \"127.0.0.1:8067\" (default)",
            "admin.password = \"********\" (site.toml:5:12)",
            "admin.session = \"30m\" (default)",
            "admin.tls.chain = \"chain.pem\" (default)",
            "admin.tls.trusted = [] (default)",
            "admin.tls.names = {} (default)",
            "admin.tls.revoked = unset (default)",
        ]
    );
}

#[test]
fn a_secret_is_in_no_dump() {
    let site = good("[admin]\npassword = 'hunter2'\n", &[], &[]).value;
    let json = serde_json::to_value(&site).unwrap();
    assert_eq!(json["admin"]["password"], json!("********"));
    assert!(!format!("{site:?}{json}").contains("hunter2"));
}

#[test]
fn a_difference_names_each_key_and_whether_it_can_change_live() {
    let subnet = "[[dhcp.subnet]]\nid = 1\nsubnet = '192.0.2.0/24'\n";
    let old = good(subnet, &[], &["admin.password=a"]).value;
    let new = good(
        &format!("{subnet}lease_time = '90s'\n"),
        &[],
        &["dhcp.workers=2", "admin.password=b", "dhcp.sets.x.dns=[]", "dhcp.log.leases=false"],
    );
    assert_eq!(new.value.dhcp.subnet[0].lease_time, Some(secs(90)));
    let changes: Vec<_> = outwork_config::diff(&old, &new.value)
        .into_iter()
        .map(|change| format!("{} {} -> {} {}", change.key, change.old, change.new, change.live))
        .collect();
    assert_eq!(
        changes,
        [
            "dhcp.workers 0 -> 2 false",
            "dhcp.log.leases true -> false true",
            "dhcp.subnet[0].lease_time null -> \"1m30s\" true",
            "dhcp.sets.x null -> {\"dns\":[]} true",
            "admin.password \"********\" -> \"********\" true",
        ]
    );
    assert_eq!(outwork_config::diff(&old, &old), []);
}

#[test]
fn adding_an_element_is_one_change_of_the_whole_array() {
    let new = good("[[dhcp.subnet]]\nid = 1\nsubnet = '192.0.2.0/24'\n", &[], &[]).value;
    let changes = outwork_config::diff(&Site::default(), &new);
    assert_eq!(changes.len(), 1);
    assert_eq!((changes[0].key.as_str(), changes[0].live), ("dhcp.subnet", true));
}

#[test]
fn a_path_begins_at_the_file_unless_a_flag_or_a_variable_gives_it() {
    let load = |text: &str, env: &[(&str, &str)], set: &[&str]| {
        let mut sources = sources(text, env, set);
        sources.file = Some(("/etc/site/site.toml".into(), text.into()));
        outwork_config::load::<Site>(sources).expect("no faults").value.admin.tls
    };
    let paths = |tls: &site::Tls| {
        let named = tls.names.values().chain(&tls.trusted).chain(&tls.revoked).chain([&tls.chain]);
        named.map(|path| path.display().to_string()).collect::<Vec<_>>()
    };
    assert_eq!(paths(&load("", &[], &[])), ["/etc/site/chain.pem"], "a default, its table absent");
    assert_eq!(paths(&load("[admin.tls]\n", &[], &[])), ["/etc/site/chain.pem"], "a default, its table there");
    let file = "[admin.tls]\ntrusted = ['a', '/b', '../c']\nnames = { x = 'd' }\nrevoked = 'e'\nchain = 'f'\n";
    assert_eq!(
        paths(&load(file, &[], &[])),
        ["/etc/site/d", "/etc/site/a", "/b", "/etc/site/../c", "/etc/site/e", "/etc/site/f"]
    );
    let over = load(file, &[("OUTWORK__ADMIN__TLS__CHAIN", "g")], &["admin.tls.trusted=['h']"]);
    assert_eq!(paths(&over), ["/etc/site/d", "h", "/etc/site/e", "g"]);
}

#[test]
fn a_path_that_is_salvaged_begins_where_it_would_otherwise() {
    let mut sources = sources("", &[], &[]);
    sources.file = Some(("/etc/site/site.toml".into(), "data_dir = 'x'\nzebra = 1\n".into()));
    let found = outwork_config::salvage::<std::path::PathBuf>(sources.clone(), "data_dir");
    assert_eq!(found.map(|(path, _)| path), Some("/etc/site/x".into()));
    sources.set.push("data_dir=y".into());
    let found = outwork_config::salvage::<std::path::PathBuf>(sources, "data_dir");
    assert_eq!(found.map(|(path, _)| path), Some("y".into()));
}
