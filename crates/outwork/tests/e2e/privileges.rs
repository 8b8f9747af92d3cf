//! A server that gives up root once it has started.

use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::Path;

use super::client::{Client, Kind};
use super::site::{LAN, Site};
use super::wait_for;

/// Exists on every Debian.
const USER: &str = "nobody";

const ON_THE_LATE_LINK: &str = r#"
[[dhcp.subnet]]
id = 2
prefix = "10.2.0.0/24"
lease_time = "4s"
pools = [{ range = "10.2.0.10-10.2.0.200" }]
"#;

fn uid() -> u32 {
    let output = std::process::Command::new("id").args(["-u", USER]).output().unwrap();
    String::from_utf8(output.stdout).unwrap().trim().parse().unwrap()
}

/// Every file and directory below one, itself included, belongs to the user.
fn assert_owned(path: &Path, uid: u32) {
    assert_eq!(path.symlink_metadata().unwrap().uid(), uid, "the owner of {}", path.display());
    if path.is_dir() {
        for entry in std::fs::read_dir(path).unwrap() {
            assert_owned(&entry.unwrap().path(), uid);
        }
    }
}

#[test]
fn a_server_that_runs_as_another_user_leases_reloads_and_serves_an_interface_that_appears_later() {
    let lan = LAN.replace(r#"["lan"]"#, r#"["lan", "late"]"#).replace("10.1.0.1:67", "0.0.0.0:67");
    let settings = format!("[process]\nuser = \"{USER}\"\n{lan}{ON_THE_LATE_LINK}");
    let mut site = Site::new(&settings);
    // The user must reach the configuration and the data directory.
    std::fs::set_permissions(site.path(""), PermissionsExt::from_mode(0o755)).unwrap();
    site.start();
    let uid = uid();
    let status = std::fs::read_to_string(format!("/proc/{}/status", site.pid())).unwrap();
    let uids = status.lines().find_map(|line| line.strip_prefix("Uid:")).unwrap();
    assert!(uids.split_whitespace().all(|id| id == uid.to_string()), "{uids}");

    let client = Client::start(&site, Kind::Udhcpc, site.plug("client"));
    let first = client.bound(&site);
    assert_eq!(first.lease_time, "4");
    site.configure(&settings.replacen("4s", "5s", 1));
    site.admin(&["reload"]);
    let renewed = client.renewed(&site);
    assert_eq!((renewed.address, renewed.lease_time.as_str()), (first.address.clone(), "5"));
    site.configure(&settings.replacen("4s", "6s", 1));
    site.hang_up();
    wait_for("the second reload", || site.log(), || (client.renewed(&site).lease_time == "6").then_some(()));

    let late = site.lab.namespace("late");
    site.lab.veth((&site.server, "late"), (&late, "eth0"));
    site.server.ip("addr add 10.2.0.1/24 dev late");
    let late = Client::start(&site, Kind::Udhcpc, late);
    let given = late.bound(&site);
    assert!(given.address.starts_with("10.2.0."), "{given:?}");

    assert_owned(&site.data(), uid);
    // What it wrote as that user, it reads as that user.
    site.terminate();
    site.start();
    assert_eq!(site.lease(&given.address).unwrap()["mac"], late.mac());
    assert_eq!(client.renewed(&site).address, first.address);
    assert_owned(&site.data(), uid);
}
