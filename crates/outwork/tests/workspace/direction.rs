//! Dependencies point one way.

use std::collections::{BTreeMap, BTreeSet};

use super::{list, metadata, text};

/// The rows of ARCHITECTURE.md from the top. A crate leans only on crates of rows below its own.
const ROWS: [&[&str]; 7] = [
    &["outwork"],
    &["outwork-admin", "outwork-dhcp", "outwork-proxy", "outwork-sdwan", "outwork-web"],
    &["outwork-front", "outwork-host"],
    &["outwork-store", "outwork-cache", "outwork-net", "outwork-fastpath"],
    &["outwork-telemetry"],
    &["outwork-config", "outwork-balance", "outwork-wireguard"],
    &["outwork-engine", "outwork-wire"],
];

/// Crates that decide and never wait: no runtime in anything they build on.
const WITHOUT_RUNTIME: [&str; 5] =
    ["outwork-wire", "outwork-engine", "outwork-balance", "outwork-config", "outwork-wireguard"];

fn row(name: &str) -> Option<usize> {
    ROWS.iter().position(|row| row.contains(&name))
}

#[test]
fn every_crate_has_its_row_and_leans_only_on_rows_below() {
    let metadata = metadata();
    let members: BTreeSet<_> = list(&metadata, "workspace_members").iter().map(|id| id.as_str().unwrap()).collect();
    let mut faults = vec![];
    for package in list(&metadata, "packages").iter().filter(|package| members.contains(text(package, "id"))) {
        let name = text(package, "name");
        let Some(own) = row(name) else {
            faults.push(format!("{name} has no row: give it one here and in ARCHITECTURE.md"));
            continue;
        };
        // Dev-dependencies count as well: a test that needs the upper floors belongs up there.
        for dependency in list(package, "dependencies").iter().filter(|one| one["path"].is_string()) {
            let other = text(dependency, "name");
            if other != name && row(other).is_some_and(|other| other <= own) {
                faults.push(format!("{name} leans on {other}, which is not below it"));
            }
        }
    }
    assert!(faults.is_empty(), "{}", faults.join("\n"));
}

#[test]
fn the_rows_are_those_of_the_architecture_page() {
    let page = std::fs::read_to_string(super::root().join("ARCHITECTURE.md")).unwrap();
    let names = |row: &&[&str]| {
        let short = row.iter().map(|name| name.strip_prefix("outwork-").unwrap_or(name));
        short.collect::<Vec<_>>().join(", ")
    };
    let line = ROWS.iter().map(names).collect::<Vec<_>>().join(" -> ");
    assert!(page.contains(&line), "ARCHITECTURE.md does not say `{line}`");
}

#[test]
fn what_decides_is_built_on_no_runtime() {
    let metadata = metadata();
    let name_of: BTreeMap<_, _> =
        list(&metadata, "packages").iter().map(|package| (text(package, "id"), text(package, "name"))).collect();
    let leans_on: BTreeMap<_, Vec<_>> = list(&metadata["resolve"], "nodes")
        .iter()
        .map(|node| {
            let normal = |dep: &&serde_json::Value| list(dep, "dep_kinds").iter().any(|kind| kind["kind"].is_null());
            (text(node, "id"), list(node, "deps").iter().filter(normal).map(|dep| text(dep, "pkg")).collect())
        })
        .collect();
    for pure in WITHOUT_RUNTIME {
        let (start, _) = name_of.iter().find(|(_, name)| **name == pure).unwrap();
        let (mut seen, mut open) = (BTreeSet::new(), vec![*start]);
        while let Some(id) = open.pop() {
            if seen.insert(id) {
                open.extend(&leans_on[id]);
            }
        }
        let runtime =
            seen.iter().map(|id| name_of[id]).find(|name| ["tokio", "mio", "async-std", "smol"].contains(name));
        assert_eq!(runtime, None, "{pure} is built on a runtime");
    }
}
