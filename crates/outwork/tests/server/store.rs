//! `outwork store`, over the leases of a real server.

use std::path::PathBuf;

use crate::binary::{Place, json, outwork, text};
use serde_json::json;

/// A server with leases of `.20` to `.29`, killed: its log has a record for each.
fn crashed() -> Place {
    let mut place = Place::running();
    for number in 20..30 {
        place.must(&["leases", "add", &format!("192.0.2.{number}"), "--mac", &format!("02:00:5e:10:00:{number}")]);
    }
    place.stop(9);
    place
}

/// The log's segments: their names and what is in them.
fn segments(place: &Place) -> Vec<(PathBuf, Vec<u8>)> {
    let files =
        std::fs::read_dir(place.data().join("dhcp")).expect("the log").map(|entry| entry.expect("an entry").path());
    let segments = files.filter(|path| path.extension().is_some_and(|ending| ending == "seg"));
    segments.map(|path| (path.clone(), std::fs::read(path).expect("a segment"))).collect()
}

/// Damages the record of the lease of this hardware address.
fn damage(place: &Place, mac: [u8; 6]) {
    let found = segments(place).into_iter().find_map(|(path, bytes)| {
        let at = bytes.windows(6).position(|window| window == mac)?;
        Some((path, bytes, at))
    });
    let (path, mut bytes, at) = found.expect("the record");
    bytes[at] ^= 0x40;
    std::fs::write(&path, bytes).expect("the segment");
}

/// The client of the fourth lease.
const VICTIM: [u8; 6] = [0x02, 0x00, 0x5e, 0x10, 0x00, 0x23];

#[test]
fn a_sound_log_is_said_to_be_so_and_repair_leaves_it() {
    let place = crashed();
    let before = segments(&place);
    let said = place.must(&["store", "check"]);
    assert!(said.starts_with("data/dhcp: no damage\n10 records can be read"), "{said}");
    let repaired = json(&place.outwork(&["store", "repair", "--yes", "--json"]));
    assert_eq!((&repaired["repaired"], &repaired["damage"]), (&json!(false), &json!([])));
    assert!(segments(&place) == before, "repair left it");
}

#[test]
fn a_damaged_log_names_the_command_that_keeps_all_that_is_valid() {
    let mut place = crashed();
    damage(&place, VICTIM);
    let refused = text(&place.outwork(&["run"]).stderr);
    assert!(refused.contains("`outwork store repair`") && refused.contains("1 acknowledged record (4)"), "{refused}");

    let check = place.outwork(&["store", "check"]);
    assert_eq!(check.status.code(), Some(1));
    assert!(
        text(&check.stdout).contains("record 4\n") && text(&check.stdout).contains("9 records can be read"),
        "{check:?}"
    );

    let asked = place.outwork(&["store", "repair"]);
    assert_eq!(asked.status.code(), Some(1));
    assert!(text(&asked.stdout).contains("1 record cannot") && text(&asked.stderr).contains("--yes"), "{asked:?}");
    let found = json(&place.outwork(&["store", "check", "--json"]));
    assert_eq!(found["damage"][0]["lost"], json!({"first": 4, "last": 4}), "nothing was changed: {found}");
    assert_eq!((&found["lost"], &found["lost_more"], &found["repaired"]), (&json!(1), &json!(false), &json!(false)));

    let said = place.must(&["store", "repair", "--yes"]);
    assert!(said.contains("kept 9 records, gave up 1 record\n") && said.contains("data/dhcp/damaged-1"), "{said}");
    assert!(place.data().join("dhcp/damaged-1").join(segment_name(&found)).exists());
    place.must(&["store", "check"]);
    place.start();
    let log = std::fs::read_to_string(place.path().join("log")).expect("the log");
    let read = log.lines().find(|line| line.contains("the leases were read")).expect("how many came back");
    assert!(read.contains("INFO") && read.contains("leases=9 ") && read.contains("elapsed="), "{read}");
    let lost = log.lines().find(|line| line.contains("gave up changes")).expect("what was given up");
    assert!(lost.contains("WARN") && lost.contains("records=1"), "{lost}");
    let leases = place.must(&["leases", "list"]);
    assert!(
        leases.contains("192.0.2.22 ") && leases.contains("192.0.2.24 ") && !leases.contains("192.0.2.23 "),
        "{leases}"
    );
}

fn segment_name(found: &serde_json::Value) -> String {
    let file = found["damage"][0]["file"].as_str().expect("a file");
    file.rsplit('/').next().expect("a name").to_owned()
}

#[test]
fn a_damaged_copy_of_a_head_is_listed_though_nothing_is_lost() {
    let place = crashed();
    let (path, mut bytes) = segments(&place).into_iter().next().expect("a segment");
    bytes[20] ^= 0x40;
    std::fs::write(&path, bytes).expect("the segment");
    let said = place.must(&["store", "check"]);
    assert!(said.contains("no damage") && said.contains("the one at byte 0 is damaged; nothing is lost"), "{said}");
    let found = json(&place.outwork(&["store", "check", "--json"]));
    assert_eq!(found["damaged_copies"][0]["offset"], 0, "{found}");
}

#[test]
fn a_running_server_is_left_alone() {
    let place = Place::running();
    for line in [["store", "check"].as_slice(), &["store", "repair", "--yes"]] {
        let output = place.outwork(line);
        assert_eq!(output.status.code(), Some(1));
        let holder = format!("data/dhcp/lock is locked by process {}", place.pid());
        assert!(text(&output.stderr).contains(&holder), "{output:?}");
    }
}

#[test]
fn where_there_is_no_log_none_is_made() {
    let dir = tempfile::tempdir().expect("a directory");
    let output = outwork(dir.path(), &["store", "check"]);
    assert_eq!(output.status.code(), Some(1));
    assert!(text(&output.stderr).contains("there is no data in data/dhcp yet"), "{output:?}");
    assert!(!dir.path().join("data").exists());
}
