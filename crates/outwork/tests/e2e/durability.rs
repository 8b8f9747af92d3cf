//! No acknowledged lease is lost: not by kill -9, a full disk, a disk that refuses writes, or damaged files.

use std::collections::HashMap;
use std::path::PathBuf;
use std::time::{Duration, Instant};

use outwork_engine::Rng;
use outwork_net::testing::Patience;

use super::load::{Relay, written};
use super::site::Site;
use super::storage::{Disk, FailingDisk};
use super::{PATIENCE, wait_for};

/// A subnet with room for a million clients behind one relay.
const WIDE: &str = r#"
[dhcp]
listen = ["10.1.0.1:67"]

[[dhcp.subnet]]
id = 1
prefix = "10.64.0.0/12"
relay = ["10.1.0.2"]
pools = [{ range = "10.64.0.1-10.79.255.254" }]
"#;

fn relay(site: &Site) -> Relay {
    let namespace = site.plug("relay");
    namespace.ip("addr add 10.1.0.2/24 dev eth0");
    Relay::new(&namespace, [10, 1, 0, 2], ([10, 1, 0, 1], 67))
}

/// Every lease that was acknowledged is there, and is its client's.
fn assert_nothing_is_lost(site: &Site, relay: &Relay) {
    let table = site.admin(&["leases", "export"]);
    let mut lines = table.lines();
    let columns: Vec<_> = lines.next().unwrap().split(',').collect();
    let column = |name: &str| columns.iter().position(|column| *column == name).unwrap();
    let (address, hwaddr, state) = (column("address"), column("hwaddr"), column("state"));
    let rows: Vec<Vec<&str>> = lines.map(|line| line.split(',').collect()).collect();
    let active = rows.iter().filter(|row| row[state] == "0");
    let leases: HashMap<&str, &str> = active.map(|row| (row[address], row[hwaddr])).collect();
    for (mac, address) in &relay.acknowledged {
        let (mac, address) = (written(*mac), address.to_string());
        assert_eq!(leases.get(address.as_str()).copied(), Some(mac.as_str()), "the holder of {address}");
    }
    let addresses: std::collections::HashSet<_> = relay.acknowledged.values().collect();
    assert_eq!(addresses.len(), relay.acknowledged.len(), "an address was given to two clients");
}

/// Loads the server until so many more leases are made.
fn load_some(relay: &mut Relay, leases: usize) {
    let (enough, mut patience) = (relay.acknowledged.len() + leases, Patience::new(PATIENCE));
    relay.load(|made| {
        assert!(!patience.is_over(), "{made} leases were made, {enough} were to be");
        made < enough
    });
}

/// Loads the server until nothing is acknowledged any more, however often it is asked for; it says that it is not ready.
fn load_in_vain(site: &Site, relay: &mut Relay) {
    let mut last = (relay.acknowledged.len(), Instant::now());
    let mut patience = Patience::new(PATIENCE);
    relay.load(|made| {
        assert!(!patience.is_over(), "leases are made on a disk that takes nothing\n{}", site.log());
        if made > last.0 {
            last = (made, Instant::now());
        }
        last.1.elapsed() < Duration::from_secs(2)
    });
    assert!(is_unready(site), "{}", site.log());
}

fn is_unready(site: &Site) -> bool {
    site.get("/readyz").unwrap().starts_with("HTTP/1.1 503 ")
}

/// Five kills, or as many as `OUTWORK_KILLS` says; `OUTWORK_SEED` replays their moments.
#[test]
fn after_kill_9_at_random_moments_under_load_every_acknowledged_lease_is_there() {
    let number = |name: &str| std::env::var(name).ok().map(|text| text.parse::<u64>().unwrap());
    let kills = number("OUTWORK_KILLS").unwrap_or(5);
    let seed = number("OUTWORK_SEED").unwrap_or_else(|| u64::from(std::process::id()));
    eprintln!("replay with OUTWORK_SEED={seed}");
    let mut rng = Rng::new(seed);
    let mut site = Site::running(WIDE);
    let mut relay = relay(&site);
    for _ in 0..kills {
        let (warm, end) = (relay.acknowledged.len() + 1, Duration::from_millis(rng.below(700)));
        let (mut started, mut patience) = (None, Patience::new(PATIENCE));
        relay.load(|made| {
            assert!(made >= warm || !patience.is_over(), "no lease is made\n{}", site.log());
            if made >= warm && started.is_none() {
                started = Some(Instant::now());
            }
            started.is_none_or(|start| start.elapsed() < end)
        });
        site.kill();
        // What it sent before it died still counts.
        while relay.hear() {}
        site.start();
        assert_nothing_is_lost(&site, &relay);
    }
    eprintln!("{} leases were acknowledged, and all are there after {kills} kills", relay.acknowledged.len());
}

#[test]
fn a_full_disk_stops_new_leases_loses_none_and_is_survived_once_there_is_room() {
    let mut site = Site::new(WIDE);
    let disk = Disk::mount(&site.data(), 8);
    site.start();
    let mut relay = relay(&site);
    load_some(&mut relay, 200);
    disk.fill();
    // What is reserved is used up first.
    load_in_vain(&site, &mut relay);
    assert!(site.log().contains("No space left on device"), "{}", site.log());

    disk.make_room();
    load_some(&mut relay, 200);
    wait_for("the server to be ready again", || site.log(), || site.ready().then_some(()));
    site.kill();
    while relay.hear() {}
    site.start();
    assert_nothing_is_lost(&site, &relay);
}

#[test]
fn a_disk_that_turns_read_only_under_load_stops_new_leases_and_loses_none() {
    let mut site = Site::new(WIDE);
    let mut disk = FailingDisk::mount(&site.data(), 64);
    site.start();
    let mut relay = relay(&site);
    let (mut failed, mut patience) = (false, Patience::new(PATIENCE));
    relay.load(|made| {
        assert!(!patience.is_over(), "the server does not notice\n{}", site.log());
        if made >= 200 && !failed {
            // In the middle of it: requests and their records are under way.
            disk.fail();
            failed = true;
        }
        !failed || !is_unready(&site)
    });
    while relay.hear() {}
    let made = relay.acknowledged.len();
    load_in_vain(&site, &mut relay);
    assert_eq!(relay.acknowledged.len(), made, "nothing is acknowledged on a disk that takes no writes");
    assert!(site.log().contains("Read-only file system"), "{}", site.log());
    site.kill();
    while relay.hear() {}
    disk.repair();
    site.start();
    assert_nothing_is_lost(&site, &relay);
    load_some(&mut relay, 200);
}

#[test]
fn a_read_only_disk_is_refused_with_what_to_do_and_keeps_its_leases() {
    let mut site = Site::new(WIDE);
    let disk = Disk::mount(&site.data(), 16);
    site.start();
    let mut relay = relay(&site);
    load_some(&mut relay, 200);
    site.kill();
    while relay.hear() {}
    disk.make_read_only();
    let said = site.start_in_vain();
    assert!(said.contains("Read-only file system") || said.contains("readonly"), "{said}");
    assert!(said.contains(site.data().to_str().unwrap()), "{said}");
    disk.make_writable();
    site.start();
    assert_nothing_is_lost(&site, &relay);
}

/// The file of the log that was written to last, and how far. Files are reserved ahead of need and end in zeros.
fn written_log(site: &Site) -> (PathBuf, usize) {
    let entries = std::fs::read_dir(site.data().join("dhcp")).unwrap();
    let mut files: Vec<_> = entries
        .map(|entry| entry.unwrap().path())
        .filter(|path| path.extension().is_some_and(|extension| extension == "seg"))
        .map(|path| {
            let end = std::fs::read(&path).unwrap().iter().rposition(|byte| *byte != 0).map_or(0, |last| last + 1);
            (path, end)
        })
        // Two copies of a header, and nothing in it yet: reserved for later.
        .filter(|(_, end)| *end > 8192)
        .collect();
    files.sort();
    files.pop().unwrap()
}

#[test]
fn a_damaged_log_is_refused_by_file_and_place_and_changes_nothing() {
    let mut site = Site::running(WIDE);
    let mut relay = relay(&site);
    load_some(&mut relay, 500);
    site.terminate();
    let (segment, end) = written_log(&site);
    let intact = std::fs::read(&segment).unwrap();
    // In the middle, and in the last record, which stands before the mark of a clean stop: that vouches for all of it.
    for at in [end / 2, end - 64] {
        let mut damaged = intact.clone();
        damaged[at..at + 8].iter_mut().for_each(|byte| *byte ^= 0x5a);
        std::fs::write(&segment, &damaged).unwrap();
        let said = site.start_in_vain();
        assert!(said.contains("damaged at byte") && said.contains(segment.to_str().unwrap()), "{said}");
        assert!(said.contains("Restore the directory from a backup"), "{said}");
        assert_eq!(std::fs::read(&segment).unwrap(), damaged, "what is damaged is left as it is");
        std::fs::write(&segment, &intact).unwrap();
    }
    site.start();
    assert_nothing_is_lost(&site, &relay);
}

#[test]
fn a_write_cut_short_by_a_crash_is_cut_off_and_everything_before_it_is_there() {
    let mut site = Site::running(WIDE);
    let mut relay = relay(&site);
    load_some(&mut relay, 500);
    site.kill();
    while relay.hear() {}
    // A batch of which only the beginning got to the disk: it was never acknowledged.
    let (segment, end) = written_log(&site);
    let mut bytes = std::fs::read(&segment).unwrap();
    let end = end.next_multiple_of(8); // as what is written is aligned
    bytes[end..end + 40].fill(0x5a);
    std::fs::write(&segment, bytes).unwrap();
    site.start();
    assert!(site.log().contains("never acknowledged"), "{}", site.log());
    assert_nothing_is_lost(&site, &relay);
    load_some(&mut relay, 100);
}
