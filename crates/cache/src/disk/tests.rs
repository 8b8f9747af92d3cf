use std::collections::HashMap;
use std::process::{Command, Stdio};

use outwork_config::ByteSize;
use outwork_engine::{Rng, sim};
use tokio::runtime::Runtime;

use super::*;
use crate::entry::UnixMillis;
use crate::purge::{Ban, Purge};

const NOW: UnixMillis = UnixMillis(1_000_000_000);
const HOUR: Duration = Duration::from_secs(3600);

fn key(number: u64) -> Key {
    Key::of(&[&number.to_le_bytes()])
}

fn entry(name: &str, body: impl Into<Bytes>) -> Arc<Entry> {
    let (meta, body) = (Bytes::from_static(b"meta"), body.into());
    Arc::new(Entry {
        name: name.into(),
        meta,
        body,
        tags: ["tag".into()].into(),
        expires: NOW.after(HOUR),
        decoded: Default::default(),
    })
}

fn settings(dir: &Path) -> L3 {
    L3 {
        enabled: true,
        path: dir.to_owned(),
        size: ByteSize::mib(8),
        max_entry: ByteSize::mib(1),
        timeout: Duration::from_secs(10),
        retry: HOUR,
        ..L3::default()
    }
}

struct Opened {
    disk: Disk,
    bans: Arc<Bans>,
    metrics: Arc<CacheMetrics>,
    runtime: Runtime,
}

fn open_at(settings: &L3, now: UnixMillis) -> Opened {
    let metrics = Arc::<CacheMetrics>::default();
    let (disk, past) = Disk::open(settings, 64 << 20, Arc::new(move || now), Arc::clone(&metrics)).unwrap();
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    Opened { disk, bans: past.bans, metrics, runtime }
}

fn open(dir: &Path) -> Opened {
    open_at(&settings(dir), NOW)
}

impl Opened {
    fn get(&self, number: u64) -> Option<Arc<Entry>> {
        self.runtime.block_on(self.disk.get(&key(number)))
    }

    fn put(&self, number: u64, entry: &Arc<Entry>) {
        self.disk.put(key(number), entry, self.bans.era());
    }

    fn settle(&self) {
        self.runtime.block_on(self.disk.settled());
    }

    fn purge(&self, purge: Purge) {
        self.bans.add(Ban::Purge(purge));
        assert!(self.runtime.block_on(self.disk.keep_bans(None)));
    }

    fn damaged(&self) -> u64 {
        self.metrics.damaged.of(Below::L3).get()
    }

    fn errors(&self) -> u64 {
        self.metrics.errors.of(Tier::L3).get()
    }
}

fn segments(dir: &Path) -> Vec<PathBuf> {
    let mut files: Vec<_> = dir.read_dir().unwrap().map(|file| file.unwrap().path()).collect();
    files.retain(|file| file.extension().is_some_and(|suffix| suffix == "segment"));
    files.sort();
    files
}

fn on_disk(dir: &Path) -> u64 {
    segments(dir).iter().map(|file| file.metadata().unwrap().len()).sum()
}

#[test]
fn what_is_written_is_found_at_once_and_after_a_restart() {
    let dir = tempfile::tempdir().unwrap();
    let bodies = [0, 1, 1000, 200_000, 900_000].map(|length| vec![7u8; length]);
    let site = open(dir.path());
    for (number, body) in (0..).zip(&bodies) {
        site.put(number, &entry("e", body.clone()));
        assert_eq!(site.get(number).unwrap().body, body, "while it waits");
    }
    site.settle();
    let check = |site: &Opened| {
        for (number, body) in (0..).zip(&bodies) {
            assert_eq!(*site.get(number).unwrap(), *entry("e", body.clone()));
        }
        assert!(site.get(99).is_none());
        assert_eq!((site.disk.entries(), site.damaged(), site.errors()), (5, 0, 0));
    };
    check(&site);
    drop(site);
    check(&open(dir.path()));
}

#[test]
fn no_version_but_the_last_is_ever_found_whatever_happens() {
    sim::seeds(12, |rng| {
        let dir = tempfile::tempdir().unwrap();
        let mut site = open(dir.path());
        let mut last: HashMap<u64, Option<String>> = HashMap::new();
        for step in 0..1500 {
            let number = rng.below(60);
            match rng.below(100) {
                0..50 => {
                    let name = format!("{number} {step}");
                    site.put(number, &entry(&name, vec![step as u8; rng.below(60_000) as usize]));
                    last.insert(number, Some(name));
                }
                50..65 => {
                    site.disk.remove(&key(number));
                    last.insert(number, None);
                }
                65..67 => {
                    let prefix = format!("{}", 1 + rng.below(9));
                    site.purge(Purge::Prefix(prefix.as_str().into()));
                    let meant = |name: &Option<String>| name.as_ref().is_some_and(|name| name.starts_with(&prefix));
                    last.values_mut().filter(|name| meant(name)).for_each(|name| *name = None);
                }
                67 => {
                    drop(site);
                    site = open(dir.path());
                }
                68..72 => site.settle(),
                _ => {
                    let found = site.get(number);
                    let expected = last.get(&number).cloned().flatten();
                    assert!(found.is_none() || found.map(|found| found.name.to_string()) == expected);
                }
            }
        }
        site.settle();
        assert!(on_disk(dir.path()) <= 8 << 20);
        // It holds more than all of this.
        let found = last.iter().filter(|(number, name)| name.is_some() && site.get(**number).is_some()).count();
        let expected = last.values().flatten().count();
        assert!(found * 10 >= expected * 9, "{found} of {expected}");
        assert_eq!((site.damaged(), site.errors()), (0, 0));
    });
}

#[test]
fn the_ring_stays_within_its_size_and_keeps_what_is_read() {
    let dir = tempfile::tempdir().unwrap();
    let site = open(dir.path());
    for number in 0..4000 {
        site.put(number, &entry(&number.to_string(), vec![1; 10_000]));
        if number % 20 == 0 {
            site.settle();
            for hot in 0..20 {
                assert_eq!(&*site.get(hot.min(number)).unwrap().name, hot.min(number).to_string());
            }
        }
    }
    site.settle();
    assert!(on_disk(dir.path()) <= 8 << 20, "{}", on_disk(dir.path()));
    assert_eq!(site.disk.used(), on_disk(dir.path()));
    let entries = site.disk.entries();
    assert!((500..800).contains(&entries), "{entries} of 10 kB in 8 MiB");
    assert_eq!(site.metrics.evictions.of(Tier::L3).get(), 4000 - entries as u64);
    assert!(site.get(1000).is_none(), "nobody asked for it again");
    drop(site);
    let site = open(dir.path());
    assert_eq!(site.disk.entries(), entries);
    assert!((0..20).all(|hot| site.get(hot).is_some()));
}

#[test]
fn there_are_no_more_entries_than_may_be() {
    let dir = tempfile::tempdir().unwrap();
    let settings = L3 { max_entries: 1000, ..settings(dir.path()) };
    let site = open_at(&settings, NOW);
    for number in 0..5000 {
        site.put(number, &entry("small", vec![1; 3000]));
        if number % 100 == 0 {
            site.settle();
        }
    }
    site.settle();
    assert!((500..=1000).contains(&site.disk.entries()), "{}", site.disk.entries());
    assert!(site.get(4999).is_some());
}

#[test]
fn a_damaged_entry_is_a_miss_is_counted_and_is_gone() {
    let dir = tempfile::tempdir().unwrap();
    let site = open(dir.path());
    site.put(1, &entry("first", vec![1; 1000]));
    site.settle();
    site.put(2, &entry("second", vec![2; 300_000]));
    site.settle();
    let file = OpenOptions::new().write(true).open(&segments(dir.path())[0]).unwrap();
    file.write_all_at(b"damage", 500).unwrap();
    file.write_all_at(b"damage", 200_000).unwrap();
    for (number, damaged) in [(1, 1), (1, 1), (2, 2), (2, 2)] {
        assert!(site.get(number).is_none());
        assert_eq!((site.damaged(), site.errors()), (damaged, 0));
    }
    assert_eq!(site.disk.entries(), 0);
    site.put(1, &entry("again", "x"));
    site.settle();
    assert!(site.get(1).is_some());
}

#[test]
fn segments_that_are_garbled_cost_what_is_in_them_and_no_more() {
    let dir = tempfile::tempdir().unwrap();
    let site = open(dir.path());
    (0..400).for_each(|number| site.put(number, &entry(&number.to_string(), vec![1; 10_000])));
    site.settle();
    drop(site);
    let files = segments(dir.path());
    assert!(files.len() > 3);
    let garble = |file: &Path, at: u64| {
        let file = OpenOptions::new().write(true).open(file).unwrap();
        file.write_all_at(&[0xa5; 400], at).unwrap();
    };
    // The list at the end of one, the middle of another's records; and one is cut in half.
    garble(&files[0], files[0].metadata().unwrap().len() - 400);
    garble(&files[1], 500_000);
    let third = OpenOptions::new().write(true).open(&files[2]).unwrap();
    third.set_len(500_000).unwrap();
    let site = open(dir.path());
    let found = (0..400).filter(|number| site.get(*number).is_some()).count();
    assert!((300..390).contains(&found), "{found}");
    (0..400).for_each(|number| site.put(number, &entry("new", vec![1; 10_000])));
    site.settle();
    assert!((0..400).all(|number| &*site.get(number).unwrap().name == "new"));
}

#[test]
fn an_entry_ends_with_its_time_or_with_the_longest_that_the_disk_keeps() {
    let dir = tempfile::tempdir().unwrap();
    let site = open(dir.path());
    site.put(1, &entry("an hour", "x"));
    let long = Entry { expires: UnixMillis::NEVER, ..Entry::clone(&entry("forever", "x")) };
    site.put(2, &Arc::new(long));
    drop(site);
    for (after, found) in [(HOUR / 2, [true, true]), (HOUR, [false, true]), (24 * 7 * HOUR, [false, false])] {
        let site = open_at(&settings(dir.path()), NOW.after(after));
        assert_eq!([1, 2].map(|number| site.get(number).is_some()), found, "{after:?}");
    }
}

#[test]
fn a_purge_holds_after_a_restart_and_what_came_after_it_stays() {
    let dir = tempfile::tempdir().unwrap();
    let site = open(dir.path());
    (0..10).for_each(|number| site.put(number, &entry(&format!("/{number}"), "old")));
    site.settle();
    site.purge(Purge::Name("/1".into()));
    site.purge(Purge::Prefix("/2".into()));
    site.put(1, &entry("/1", "new"));
    site.settle();
    let check = |site: &Opened| {
        let found = [0, 1, 2].map(|number| site.get(number).map(|entry| entry.body.clone()));
        assert_eq!(found, [Some("old".into()), Some("new".into()), None]);
    };
    check(&site);
    drop(site);
    let site = open(dir.path());
    check(&site);
    site.purge(Purge::Tag("tag".into()));
    assert!((0..10).all(|number| site.get(number).is_none()));
    site.put(5, &entry("/5", "newer"));
    site.settle();
    site.purge(Purge::All);
    site.disk.wipe();
    site.put(6, &entry("/6", "newest"));
    site.settle();
    assert_eq!((site.disk.entries(), site.get(5)), (1, None));
    assert!(segments(dir.path()).len() == 1 && site.get(6).is_some());
}

#[test]
fn where_purges_may_have_been_lost_nothing_is_kept() {
    let dir = tempfile::tempdir().unwrap();
    let site = open(dir.path());
    site.put(1, &entry("/1", "old"));
    site.settle();
    site.purge(Purge::Name("/1".into()));
    drop(site);
    let bans = dir.path().join("bans");
    let mut bytes = std::fs::read(&bans).unwrap();
    let last = bytes.len() - 1;
    bytes[last] ^= 1;
    std::fs::write(&bans, bytes).unwrap();
    let site = open(dir.path());
    assert!(site.get(1).is_none());
    assert_eq!(site.disk.entries(), 0);
}

#[test]
fn only_one_may_use_the_directory() {
    let dir = tempfile::tempdir().unwrap();
    let first = open(dir.path());
    let second = Disk::open(&settings(dir.path()), 1 << 20, Arc::new(|| NOW), Arc::default());
    assert!(matches!(second, Err(DiskError::Locked { .. })));
    drop(first);
    open(dir.path());
}

#[test]
fn who_waits_for_the_disk_too_long_goes_on_without() {
    let dir = tempfile::tempdir().unwrap();
    let settings = L3 { readers: 1, timeout: Duration::from_millis(1), failures: 2, ..settings(dir.path()) };
    let site = open_at(&settings, NOW);
    site.put(1, &entry("large", vec![1; 500_000]));
    site.settle();
    let (release, held) = std::sync::mpsc::channel::<()>();
    assert!(site.disk.readers.run(move || _ = held.recv()));
    for failures in [1, 2] {
        assert!(site.get(1).is_none());
        assert_eq!(site.errors(), failures);
    }
    assert_eq!(site.disk.circuit(), Circuit::Open);
    assert!(site.get(1).is_none());
    assert_eq!((site.errors(), site.metrics.skipped.of(Below::L3).get()), (2, 1), "it is not asked any more");
    drop(release);
}

#[test]
fn a_disk_that_fails_is_counted_and_left_alone() {
    let dir = tempfile::tempdir().unwrap();
    let site = open(dir.path());
    site.put(1, &entry("kept", vec![1; 300_000]));
    site.settle();
    // The next segment cannot be made.
    std::fs::remove_dir_all(dir.path()).unwrap();
    for number in 2..100 {
        site.put(number, &entry("e", vec![1; 300_000]));
        site.settle();
    }
    assert_eq!((site.errors(), site.disk.circuit()), (5, Circuit::Open));
    assert!(site.metrics.dropped.of(Below::L3).get() > 90);
    assert!(site.get(50).is_none());
}

const CHILD: &str = "OUTWORK_TEST_CACHE_DIR";

/// This test again, in a process of its own.
fn itself(test: &str, dir: &Path) -> Command {
    let mut command = Command::new(std::env::current_exe().unwrap());
    command.args(["--exact", &format!("disk::tests::{test}"), "--nocapture"]).env(CHILD, dir);
    command.stdout(Stdio::piped());
    command
}

#[test]
fn what_was_written_before_a_kill_is_there_after_it() {
    use std::io::{BufRead, BufReader, Write};
    if let Some(dir) = std::env::var_os(CHILD) {
        let site = open(Path::new(&dir));
        for number in 0.. {
            site.put(number, &entry(&format!("/{number}"), vec![number as u8; 3000]));
            if number % 10 == 9 {
                site.settle();
                if number % 50 == 49 {
                    site.purge(Purge::Name(format!("/{}", number - 5).into()));
                }
                let mut out = io::stdout();
                out.write_all(format!("settled {number}\n").as_bytes()).and_then(|()| out.flush()).unwrap();
            }
        }
    }
    let dir = tempfile::tempdir().unwrap();
    for (kill, limit) in [(3, 30), (20, 200), (60, 600)] {
        let mut child = itself("what_was_written_before_a_kill_is_there_after_it", dir.path()).spawn().unwrap();
        let lines = BufReader::new(child.stdout.take().unwrap()).lines().map(Result::unwrap);
        let settled = lines.filter_map(|line| line.strip_prefix("settled ").map(|last| last.parse::<u64>().unwrap()));
        let last = settled.take(kill).last().unwrap();
        child.kill().unwrap();
        child.wait().unwrap();
        assert!(last + 1 == limit, "{last}");
        let site = open(dir.path());
        for number in 0..limit {
            let found = site.get(number);
            let purged = (49..limit).step_by(50).any(|last| number == last - 5);
            assert_eq!(found.is_some(), !purged, "{number} of {limit}");
            assert!(found.is_none_or(|found| *found.body == vec![number as u8; 3000]));
        }
        assert_eq!((site.damaged(), site.errors()), (0, 0));
        site.purge(Purge::All);
        site.disk.wipe();
    }
}

#[test]
fn a_full_disk_is_counted_and_does_no_harm() {
    if let Some(dir) = std::env::var_os(CHILD) {
        let site = open_at(&L3 { failures: 1_000_000, ..settings(Path::new(&dir)) }, NOW);
        let mut rng = Rng::new(1);
        for number in 0..600 {
            site.put(number, &entry(&number.to_string(), vec![1; rng.below(60_000) as usize]));
            site.settle();
            let found = site.get(number);
            assert!(found.is_none_or(|found| *found.name == number.to_string()));
        }
        assert!(site.errors() > 0);
        let found = (0..600).filter(|number| site.get(*number).is_some()).count();
        assert!(found > 20, "what there is room for is kept: {found}");
        assert_eq!(site.damaged(), 0);
        drop(site);
        let site = open(Path::new(&dir));
        assert_eq!((0..600).filter(|number| site.get(*number).is_some()).count(), found);
        return;
    }
    // Three segments and a half fit, where eight should.
    let dir = tempfile::tempdir().unwrap();
    let test = itself("a_full_disk_is_counted_and_does_no_harm", dir.path());
    let mut inside = Command::new("unshare");
    inside.args(["--mount", "--map-root-user", "sh", "-c"]);
    inside.arg("mount -t tmpfs -o size=3600k tmpfs \"$OUTWORK_TEST_CACHE_DIR\" && exec \"$@\"").arg("sh");
    inside.arg(test.get_program()).args(test.get_args()).env(CHILD, dir.path());
    let output = inside.output().unwrap();
    assert!(output.status.success(), "{output:?}");
    assert!(String::from_utf8_lossy(&output.stdout).contains("1 passed"), "{output:?}");
}
