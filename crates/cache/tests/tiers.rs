//! Memory over disk, as one.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use outwork_cache::tiers::Reach;
use outwork_cache::{Decoded, Entry, Key, Purge, Settings, Tier, Tiers, UnixMillis};
use outwork_config::ByteSize;
use outwork_engine::Rng;
use outwork_telemetry::Registry;
use tokio::runtime::Runtime;

const NOW: UnixMillis = UnixMillis(1_000_000_000);

fn runtime() -> Runtime {
    tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap()
}

fn settings(dir: &Path) -> Settings {
    let mut settings = Settings::default();
    settings.l1.size = ByteSize::mib(1);
    settings.l1.max_entry = ByteSize::kib(512);
    settings.l3.enabled = true;
    settings.l3.path = dir.join("cache");
    settings.l3.size = ByteSize::mib(64);
    settings.l3.max_entry = ByteSize::mib(1);
    settings.l3.timeout = Duration::from_secs(10);
    settings
}

fn open(settings: &Settings) -> Arc<Tiers> {
    Tiers::open(settings, Arc::new(|| NOW)).unwrap()
}

fn key(name: &str) -> Key {
    Key::of(&[name.as_bytes()])
}

fn entry(name: &str, body: usize) -> Entry {
    let (meta, body) = ("meta".into(), vec![1; body].into());
    Entry {
        name: name.into(),
        meta,
        body,
        tags: ["tag".into()].into(),
        expires: UnixMillis::NEVER,
        decoded: Decoded::default(),
    }
}

fn store(tiers: &Tiers, name: &str, body: usize) {
    tiers.put(key(name), entry(name, body));
}

#[test]
fn what_memory_gives_up_is_found_on_disk_and_comes_back_to_memory() {
    let (dir, runtime) = (tempfile::tempdir().unwrap(), runtime());
    let tiers = open(&settings(dir.path()));
    for number in 0..500 {
        store(&tiers, &number.to_string(), 10_000);
    }
    runtime.block_on(tiers.settled());
    let find = |name: &str| runtime.block_on(tiers.get(&key(name)));
    assert!(tiers.peek(&key("0")).is_none());
    let (found, tier) = find("0").unwrap();
    assert_eq!((&*found.name, found.body.len(), tier), ("0", 10_000, Tier::L3));
    assert_eq!(find("0").unwrap().1, Tier::L1);
    assert!(find("none").is_none());
    let stats = tiers.stats();
    let (l1, l3) = (stats.l1, stats.l3.unwrap());
    assert_eq!((l1.hits, l1.misses, l3.hits, l3.misses, l3.entries), (1, 1, 1, 1, Some(500)));
    assert!(l1.bytes <= l1.limit && l1.evictions > 300 && l3.bytes > Some(5_000_000));
    assert!(stats.l2.is_none());
}

#[test]
fn a_larger_entry_than_memory_takes_is_on_disk_alone() {
    let (dir, runtime) = (tempfile::tempdir().unwrap(), runtime());
    let tiers = open(&settings(dir.path()));
    store(&tiers, "large", 700_000);
    assert!(tiers.peek(&key("large")).is_none());
    runtime.block_on(tiers.settled());
    assert_eq!(runtime.block_on(tiers.get(&key("large"))).unwrap().1, Tier::L3);
}

#[test]
fn what_was_purged_or_removed_comes_back_from_nowhere() {
    let (dir, runtime) = (tempfile::tempdir().unwrap(), runtime());
    let tiers = open(&settings(dir.path()));
    for name in ["/a/1", "/a/2", "/b", "/c"] {
        store(&tiers, name, 100);
    }
    let era = tiers.era();
    let purged = runtime.block_on(tiers.purge(&Purge::Prefix("/a/".into())));
    assert_eq!((purged.removed, purged.disk, purged.shared), (2, Reach::Done, Reach::Off));
    tiers.remove(&key("/b"));
    tiers.put_since(key("/a/2"), entry("/a/2", 1), era);
    tiers.put_since(key("/d"), entry("/d", 1), era);
    runtime.block_on(tiers.settled());
    let found = |tiers: &Tiers| {
        ["/a/1", "/a/2", "/b", "/c", "/d"].map(|name| runtime.block_on(tiers.get(&key(name))).is_some())
    };
    let expected = [false, false, false, true, true];
    assert_eq!(found(&tiers), expected);
    drop(tiers);
    assert_eq!(found(&open(&settings(dir.path()))), expected, "after a restart");
}

/// One changes a page and purges it, over and over; others ask for it and fetch it where it is not cached, while the rest of the cache is
/// turned over. Whoever asks after a purge has returned never gets what was there before.
#[test]
fn nobody_gets_what_was_purged_whoever_fetches_promotes_or_evicts_meanwhile() {
    let dir = tempfile::tempdir().unwrap();
    let tiers = open(&settings(dir.path()));
    let (origin, purged, over) = (AtomicU64::new(0), AtomicU64::new(0), AtomicBool::new(false));
    let version = |entry: &Entry| String::from_utf8_lossy(&entry.meta).parse::<u64>().unwrap();
    std::thread::scope(|scope| {
        for seed in 0..3 {
            let (tiers, origin, purged, over) = (&tiers, &origin, &purged, &over);
            scope.spawn(move || {
                let (runtime, mut rng) = (runtime(), Rng::new(seed));
                while !over.load(Ordering::Acquire) {
                    let least = purged.load(Ordering::Acquire);
                    let found = match tiers.peek(&key("page")) {
                        Some(found) => Some(found),
                        None => runtime.block_on(tiers.get(&key("page"))).map(|(found, _)| found),
                    };
                    if let Some(found) = found {
                        let found = version(&found);
                        assert!(found >= least, "{found} though {least} was purged");
                    } else {
                        let era = tiers.era();
                        let meta = origin.load(Ordering::Acquire).to_string().into();
                        std::thread::yield_now();
                        tiers.put_since(key("page"), Entry { meta, ..entry("page", 3000) }, era);
                    }
                    for _ in 0..20 {
                        store(tiers, &rng.below(1000).to_string(), 20_000);
                    }
                }
            });
        }
        let runtime = runtime();
        for change in 1..300 {
            origin.store(change, Ordering::Release);
            let purge = if change % 10 == 0 { Purge::Tag("tag".into()) } else { Purge::Name("page".into()) };
            runtime.block_on(tiers.purge(&purge));
            purged.store(change, Ordering::Release);
            if change % 3 == 0 {
                runtime.block_on(tiers.settled());
            }
        }
        over.store(true, Ordering::Release);
    });
}

#[test]
fn what_is_asked_for_most_is_known_by_name() {
    let tiers = open(&Settings::default());
    store(&tiers, "/a", 100);
    store(&tiers, "/b", 100);
    assert!((0..3).all(|_| tiers.peek(&key("/b")).is_some()));
    let top = tiers.top(1, |_| true);
    assert_eq!((&*top[0].entry.name, top[0].hits), ("/b", 3));
    assert!(!tiers.is_layered());
}

#[test]
fn everything_is_measured_under_a_name_of_its_own() {
    let (dir, runtime) = (tempfile::tempdir().unwrap(), runtime());
    let tiers = open(&settings(dir.path()));
    store(&tiers, "/a", 100);
    runtime.block_on(tiers.settled());
    runtime.block_on(tiers.purge(&Purge::All));
    assert!(tiers.peek(&key("/a")).is_none());
    let registry = Registry::default();
    registry.register(Arc::clone(&tiers) as _).unwrap();
    let text = registry.prometheus();
    for line in [
        "outwork_cache_misses_total{tier=\"l1\"} 1",
        "outwork_cache_used_bytes{tier=\"l1\"} 0",
        "outwork_cache_written_total{tier=\"l3\"} 1",
        "outwork_cache_purges_total{kind=\"all\"} 1",
        "outwork_cache_purges_from_total{origin=\"own\"} 1",
        "outwork_cache_breaker{tier=\"l3\"} 0",
    ] {
        assert!(text.lines().any(|other| other == line), "{line} in\n{text}");
    }
}

#[test]
fn a_directory_that_cannot_be_used_is_named() {
    let dir = tempfile::tempdir().unwrap();
    let mut settings = settings(dir.path());
    settings.l3.path = dir.path().join("file");
    std::fs::write(&settings.l3.path, "").unwrap();
    let error = Tiers::open(&settings, Arc::new(|| NOW)).err().unwrap().to_string();
    assert!(error.contains("file"), "{error}");
}
