//! Flows of the kernel that go on without the process, and what is left of them.

use std::path::Path;

use super::{FileSystem, Rooms, exchange};
use crate::wait_for;

/// The folders in a BPF file system. (Files the kernel has put there itself.)
fn names(file_system: &Path) -> Vec<String> {
    let entries = std::fs::read_dir(file_system).unwrap().map(Result::unwrap);
    let folders = entries.filter(|entry| entry.file_type().unwrap().is_dir());
    folders.map(|entry| entry.file_name().into_string().unwrap()).collect()
}

#[test]
fn flows_are_kept_in_the_usual_place_where_that_is_asked_for_and_a_clean_stop_leaves_nothing_there() {
    let (mut rooms, file_system) = (Rooms::new(), FileSystem::new());
    rooms.site.mount(file_system.path());
    rooms.configure("tiers = ['tc']");
    rooms.site.start();
    rooms.connect(10);
    assert!(names(file_system.path()).is_empty(), "nobody has asked for it");
    rooms.site.terminate();

    rooms.configure("tiers = ['tc']\npins = true");
    rooms.site.start();
    let (mut stream, _) = rooms.connect(10);
    let kept = names(file_system.path());
    assert!(kept.len() == 1 && kept[0].starts_with("outwork-"), "{kept:?}");
    rooms.site.kill();
    exchange(&mut stream, 5_000);
    rooms.site.start();
    assert!(rooms.site.log().contains("tables of an earlier process are taken over"), "{}", rooms.site.log());
    exchange(&mut stream, 5_000);
    assert_eq!(names(file_system.path()), kept);
    rooms.site.terminate();
    assert!(names(file_system.path()).is_empty(), "{:?}", names(file_system.path()));

    rooms.site.start();
    let (mut stream, _) = rooms.connect(11);
    let upgraded = rooms.site.outwork(&["upgrade", "--token", &rooms.site.token()]);
    let told = String::from_utf8_lossy(&upgraded.stderr).into_owned();
    assert!(upgraded.status.success() && !told.contains("are cut"), "{told}");
    exchange(&mut stream, 5_000);
}

#[test]
fn what_was_kept_is_taken_off_by_a_start_that_wants_no_programs() {
    let (mut rooms, file_system) = (Rooms::new(), FileSystem::new());
    rooms.site.mount(file_system.path());
    rooms.configure("tiers = ['xdp']\npins = true");
    rooms.site.start();
    drop(rooms.connect(10));
    rooms.site.kill();
    assert!(rooms.xdp("c0").contains("prog/xdp"), "it is kept");
    rooms.configure_alone("tiers = []\npins = true");
    rooms.site.start();
    wait_for("programs to go", || rooms.xdp("c0"), || (!rooms.xdp("c0").contains("prog/xdp")).then_some(()));
    let (_stream, _, seen) = rooms.connect_somehow(11);
    assert_eq!(seen, 1, "sockets serve");
    rooms.site.terminate();

    rooms.configure("tiers = ['tc']\npins = true");
    rooms.site.start();
    drop(rooms.connect(10));
    rooms.site.kill();
    let kept = || !names(file_system.path()).is_empty();
    assert!(kept());
    // Nothing is said of it any more, and ports take the place of programs.
    rooms.configure("tiers = ['af_xdp']");
    rooms.site.start();
    rooms.wait_for_tier("af_xdp-native");
    let (mut stream, _) = rooms.connect(12);
    exchange(&mut stream, 5_000);
    assert!(rooms.site.log().contains("programs of an earlier process are taken off"), "{}", rooms.site.log());
    rooms.site.terminate();
}

#[test]
fn where_tables_that_are_to_be_kept_cannot_be_the_tier_is_left_by_name() {
    let (mut rooms, file_system) = (Rooms::new(), FileSystem::new());
    let folder = file_system.path().join("pins");
    std::fs::create_dir(&folder).unwrap();
    std::os::unix::fs::chown(&folder, Some(65534), None).unwrap();
    rooms.configure(&format!("tiers = ['tc']\npins = '{}'", folder.display()));
    rooms.site.start();
    let rule = rooms.rule();
    assert!(rule["tier"] == "application" && rule.to_string().contains("it is user 65534's"), "{rule}");
}
