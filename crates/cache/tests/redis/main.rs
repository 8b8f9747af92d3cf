//! The cache with a real Redis, that works, lags, dies, comes back and forgets.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod server;

use std::sync::Arc;
use std::time::Duration;

use outwork_cache::tiers::Reach;
use outwork_cache::{Circuit, Decoded, Entry, Key, Purge, Settings, Tier, Tiers, UnixMillis, system_clock};
use outwork_config::{ByteSize, Secret};
use server::Redis;

fn settings(redis: &Redis) -> Settings {
    let mut settings = Settings::default();
    settings.l2.enabled = true;
    settings.l2.url = format!("redis://127.0.0.1:{}", redis.port);
    // A machine under load answers late, which is not what most of these tests are about.
    settings.l2.timeout = Duration::from_secs(5);
    settings.l2.retry = Duration::from_millis(50);
    settings
}

fn open(settings: &Settings) -> Arc<Tiers> {
    Tiers::open(settings, system_clock()).unwrap()
}

async fn connected(settings: &Settings) -> Arc<Tiers> {
    let tiers = open(settings);
    until(|| tiers.is_shared()).await;
    tiers
}

/// Comes back once it is so. A test in which it never is fails.
async fn until(so: impl Fn() -> bool) {
    for _ in 0..6000 {
        if so() {
            return;
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    panic!("it never was so");
}

fn key(name: &str) -> Key {
    Key::of(&[name.as_bytes()])
}

fn entry(name: &str) -> Entry {
    Entry {
        name: name.into(),
        meta: "meta".into(),
        body: format!("body of {name}").into(),
        tags: ["tag".into()].into(),
        expires: UnixMillis::NEVER,
        decoded: Decoded::default(),
    }
}

fn store(tiers: &Tiers, name: &str) {
    tiers.put(key(name), entry(name));
}

async fn find(tiers: &Tiers, name: &str) -> Option<Tier> {
    let (found, tier) = tiers.get(&key(name)).await?;
    assert_eq!(*found, entry_until(name, found.expires));
    Some(tier)
}

fn entry_until(name: &str, expires: UnixMillis) -> Entry {
    Entry { expires, ..entry(name) }
}

#[tokio::test]
async fn what_one_instance_stores_another_finds_and_keeps_in_memory() {
    let redis = Redis::start(&[]);
    let settings = settings(&redis);
    let (one, other) = (connected(&settings).await, connected(&settings).await);
    assert_eq!(find(&other, "/a").await, None);
    store(&one, "/a");
    one.settled().await;
    assert!(other.peek(&key("/a")).is_none());
    assert_eq!(find(&other, "/a").await, Some(Tier::L2));
    assert_eq!(find(&other, "/a").await, Some(Tier::L1));
    let stats = other.stats().l2.unwrap();
    assert_eq!((stats.hits, stats.misses, stats.errors, stats.circuit), (1, 1, 0, Circuit::Closed));
}

#[tokio::test]
async fn how_much_redis_holds_and_gives_up_is_known_while_it_is_there() {
    let redis = Redis::start(&["--maxmemory", "4mb", "--maxmemory-policy", "volatile-random"]);
    let tiers = connected(&settings(&redis)).await;
    for number in 0..60 {
        let body = vec![number; 100_000].into();
        tiers.put(key(&number.to_string()), Entry { body, ..entry(&number.to_string()) });
    }
    tiers.settled().await;
    until(|| tiers.stats().l2.is_some_and(|l2| l2.evictions > 0)).await;
    let l2 = tiers.stats().l2.unwrap();
    assert_eq!(l2.limit, Some(4 << 20));
    assert!(l2.bytes > Some(1_000_000) && l2.entries > Some(1) && l2.entries < Some(60), "{l2:?}");
    drop(redis);
    until(|| tiers.stats().l2.is_some_and(|l2| l2.bytes.is_none() && l2.entries.is_none())).await;
}

#[tokio::test]
async fn an_entry_that_was_removed_is_not_found_below_memory() {
    let redis = Redis::start(&[]);
    let settings = settings(&redis);
    let (one, other) = (connected(&settings).await, connected(&settings).await);
    store(&one, "/a");
    one.settled().await;
    one.remove(&key("/a"));
    assert_eq!(find(&one, "/a").await, None, "though it may still be there");
    one.settled().await;
    assert_eq!(find(&other, "/a").await, None);
}

#[tokio::test]
async fn an_entry_stays_as_long_as_it_may_and_one_that_is_too_large_does_not_come() {
    let redis = Redis::start(&[]);
    let mut settings = settings(&redis);
    settings.l2.ttl = Duration::from_secs(100);
    settings.l2.max_entry = ByteSize::kib(10);
    let tiers = connected(&settings).await;
    store(&tiers, "/a");
    tiers.put(key("/b"), Entry { expires: system_clock()().after(Duration::from_secs(50)), ..entry("/b") });
    store(&tiers, "/large");
    tiers.settled().await;
    tiers.put(key("/large"), Entry { body: vec![0; 20_000].into(), ..entry("/large") });
    tiers.settled().await;
    let left = |name: &str| redis.cli(&["TTL", &format!("outwork:{}", key(name))]).parse::<i64>().unwrap();
    assert!((51..=100).contains(&left("/a")), "{}", left("/a"));
    assert!((1..=50).contains(&left("/b")), "{}", left("/b"));
    assert_eq!(left("/large"), -2, "nor does what it replaces stay");
}

#[tokio::test]
async fn a_purge_reaches_every_instance_and_what_is_in_redis() {
    let redis = Redis::start(&[]);
    let settings = settings(&redis);
    let (one, other) = (connected(&settings).await, connected(&settings).await);
    for (purge, meant) in [
        (Purge::Name("/a/1".into()), vec!["/a/1"]),
        (Purge::Prefix("/a/".into()), vec!["/a/1", "/a/2"]),
        (Purge::Tag("tag".into()), vec!["/a/1", "/a/2", "/b"]),
        (Purge::All, vec!["/a/1", "/a/2", "/b"]),
    ] {
        for name in ["/a/1", "/a/2", "/b"] {
            store(&one, name);
        }
        one.settled().await;
        for name in ["/a/1", "/a/2", "/b"] {
            assert!(find(&other, name).await.is_some());
        }
        let purged = other.purge(&purge).await;
        assert_eq!((purged.removed, purged.shared, purged.disk), (meant.len() as u64, Reach::Done, Reach::Off));
        // Redis has it all still; at another instance nobody has asked yet.
        let third = connected(&settings).await;
        for name in ["/a/1", "/a/2", "/b"] {
            let found = !meant.contains(&name);
            assert_eq!(find(&other, name).await.is_some(), found, "{purge:?} {name}");
            assert_eq!(find(&third, name).await.is_some(), found, "{purge:?} {name}");
        }
        for name in meant {
            until(|| one.peek(&key(name)).is_none()).await;
            assert_eq!(find(&one, name).await, None);
        }
    }
    let heard = one.stats();
    assert!(heard.l2.is_some_and(|stats| stats.errors == 0));
}

#[tokio::test]
async fn what_was_fetched_before_a_purge_is_not_stored_after_it_anywhere() {
    let redis = Redis::start(&[]);
    let settings = settings(&redis);
    let (one, other) = (connected(&settings).await, connected(&settings).await);
    let era = one.era();
    other.purge(&Purge::Name("/a".into())).await;
    until(|| one.era() != era).await;
    one.put_since(key("/a"), entry("/a"), era);
    assert!(one.peek(&key("/a")).is_none());
    one.settled().await;
    assert_eq!(find(&one, "/a").await, None);
    assert_eq!(find(&other, "/a").await, None);
    store(&one, "/a");
    one.settled().await;
    assert_eq!(find(&other, "/a").await, Some(Tier::L2));
}

#[tokio::test]
async fn a_redis_that_is_killed_costs_its_entries_and_nothing_else() {
    let mut redis = Redis::start(&[]);
    let mut settings = settings(&redis);
    settings.l2.failures = 3;
    let tiers = connected(&settings).await;
    store(&tiers, "/before");
    tiers.settled().await;
    redis.kill();
    for number in 0..100 {
        let name = format!("/{number}");
        assert_eq!(find(&tiers, &name).await, None);
        store(&tiers, &name);
        assert_eq!(find(&tiers, &name).await, Some(Tier::L1));
    }
    until(|| tiers.stats().l2.is_some_and(|stats| stats.circuit == Circuit::Open)).await;
    tiers.settled().await;
    redis.restart();
    until(|| tiers.is_shared()).await;
    store(&tiers, "/after");
    tiers.settled().await;
    let other = connected(&settings).await;
    assert_eq!(find(&other, "/after").await, Some(Tier::L2));
    assert_eq!(find(&other, "/before").await, None);
    assert_eq!(find(&tiers, "/before").await, Some(Tier::L1));
}

#[tokio::test]
async fn a_purge_that_redis_could_not_be_told_of_holds_when_it_comes_back_with_what_was_meant() {
    let mut redis = Redis::start(&[]);
    let settings = settings(&redis);
    let (one, other) = (connected(&settings).await, connected(&settings).await);
    store(&one, "/a");
    store(&one, "/b");
    store(&one, "/c");
    one.settled().await;
    assert_eq!(find(&other, "/a").await, Some(Tier::L2));
    redis.cli(&["SAVE"]);
    redis.kill();
    until(|| one.stats().l2.is_some_and(|stats| stats.circuit != Circuit::Closed)).await;
    let purged = one.purge(&Purge::Name("/a".into())).await;
    assert_eq!((purged.removed, purged.shared), (1, Reach::Pending));
    one.remove(&key("/b"));
    redis.restart();
    until(|| one.is_shared() && other.is_shared()).await;
    assert_eq!(redis.cli(&["EXISTS", &format!("outwork:{}", key("/a")), &format!("outwork:{}", key("/b"))]), "2");
    until(|| other.peek(&key("/a")).is_none()).await;
    for name in ["/a", "/b"] {
        assert_eq!((find(&one, name).await, find(&other, name).await), (None, None), "{name}");
    }
    assert_eq!(find(&other, "/c").await, Some(Tier::L2));
}

#[tokio::test]
async fn more_than_can_wait_to_be_told_is_told_as_one() {
    let mut redis = Redis::start(&[]);
    let settings = settings(&redis);
    let one = connected(&settings).await;
    let other = connected(&settings).await;
    store(&one, "/a");
    one.settled().await;
    redis.cli(&["SAVE"]);
    redis.kill();
    until(|| one.stats().l2.is_some_and(|stats| stats.circuit != Circuit::Closed)).await;
    for number in 0..3000 {
        one.remove(&key(&number.to_string()));
    }
    one.settled().await;
    redis.restart();
    until(|| one.is_shared() && other.is_shared()).await;
    assert_eq!(find(&other, "/a").await, None, "it may have been removed");
    assert!(one.peek(&key("/a")).is_some(), "but not from memory");
}

#[tokio::test]
async fn a_redis_that_stands_still_is_waited_for_a_few_times_and_then_not_at_all() {
    let redis = Redis::start(&[]);
    let mut settings = settings(&redis);
    settings.l2.timeout = Duration::from_millis(5);
    settings.l2.failures = 3;
    settings.l2.retry = Duration::from_secs(3600);
    let tiers = connected(&settings).await;
    redis.signal("STOP");
    for number in 0..200 {
        assert_eq!(find(&tiers, &format!("/{number}")).await, None);
    }
    let stats = tiers.stats().l2.unwrap();
    assert_eq!(stats.circuit, Circuit::Open);
    assert!((3..10).contains(&stats.errors), "{stats:?}");
    assert_eq!(stats.misses, 200);
    let purged = tiers.purge(&Purge::All).await;
    assert_eq!(purged.shared, Reach::Pending);
    redis.signal("CONT");
}

#[tokio::test]
async fn a_redis_that_goes_on_after_standing_still_is_used_again() {
    let redis = Redis::start(&[]);
    let mut settings = settings(&redis);
    settings.l2.timeout = Duration::from_millis(5);
    settings.l2.failures = 3;
    let tiers = connected(&settings).await;
    store(&tiers, "/a");
    tiers.settled().await;
    redis.signal("STOP");
    for number in 0..10 {
        assert_eq!(find(&tiers, &format!("/{number}")).await, None);
    }
    assert!(!tiers.is_shared());
    redis.signal("CONT");
    until(|| tiers.is_shared()).await;
    let other = connected(&{
        let mut patient = settings.clone();
        patient.l2.timeout = Duration::from_secs(5);
        patient
    })
    .await;
    assert_eq!(find(&other, "/a").await, Some(Tier::L2));
}

#[tokio::test]
async fn a_redis_that_has_lost_everything_is_noticed_and_memory_stays() {
    let redis = Redis::start(&[]);
    let settings = settings(&redis);
    let (one, other) = (connected(&settings).await, connected(&settings).await);
    one.purge(&Purge::Name("/x".into())).await;
    one.purge(&Purge::Name("/y".into())).await;
    store(&one, "/a");
    one.settled().await;
    assert_eq!(find(&other, "/a").await, Some(Tier::L2));
    redis.cli(&["FLUSHALL"]);
    // Whoever asks next notices.
    assert_eq!(find(&other, "/b").await, None);
    until(|| one.is_shared() && other.is_shared()).await;
    let count =
        || redis.cli(&["GET", "outwork:epoch"]).split_once('-').and_then(|(count, _)| count.parse::<u64>().ok());
    until(|| count().is_some_and(|count| count > 2)).await;
    assert!(one.peek(&key("/a")).is_some() && other.peek(&key("/a")).is_some());
    store(&one, "/c");
    one.settled().await;
    until_found(&other, "/c").await;
}

/// Another instance hears of a reset when it does.
async fn until_found(tiers: &Tiers, name: &str) {
    for _ in 0..1000 {
        if find(tiers, name).await.is_some() {
            return;
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    panic!("{name} is never found");
}

#[tokio::test]
async fn purges_that_were_missed_and_are_not_kept_any_more_purge_everything() {
    let mut redis = Redis::start(&[]);
    let settings = settings(&redis);
    let tiers = connected(&settings).await;
    store(&tiers, "/a");
    tiers.settled().await;
    redis.kill();
    until(|| tiers.stats().l2.is_some_and(|stats| stats.circuit != Circuit::Closed)).await;
    // When it is back, it counts three purges and knows of none.
    let dump = Redis::start(&[]);
    dump.cli(&["SET", "outwork:epoch", "3-00000000000000ab"]);
    dump.cli(&["SAVE"]);
    std::fs::copy(dump.dir.path().join("dump.rdb"), redis.dir.path().join("dump.rdb")).unwrap();
    redis.restart();
    until(|| tiers.peek(&key("/a")).is_none()).await;
    until(|| tiers.is_shared()).await;
    store(&tiers, "/a");
    assert!(tiers.peek(&key("/a")).is_some());
}

#[tokio::test]
async fn what_others_purged_while_this_instance_was_down_does_not_come_back_from_its_disk() {
    let redis = Redis::start(&[]);
    let dir = tempfile::tempdir().unwrap();
    let mut own = settings(&redis);
    own.l3.enabled = true;
    own.l3.path = dir.path().join("cache");
    own.l3.timeout = Duration::from_secs(5);
    let one = connected(&own).await;
    let other = connected(&settings(&redis)).await;
    other.purge(&Purge::Name("/x".into())).await;
    for name in ["/a", "/b", "/x"] {
        store(&one, name);
    }
    one.settled().await;
    // Its epoch is kept with the next purge that it hears of.
    other.purge(&Purge::Name("/y".into())).await;
    until(|| one.era() != Default::default()).await;
    one.close();
    drop(one);
    other.purge(&Purge::Name("/a".into())).await;
    redis.cli(&["DEL", &format!("outwork:{}", key("/b"))]);
    let one = connected(&own).await;
    assert_eq!(find(&one, "/a").await, None);
    assert_eq!(find(&one, "/b").await, Some(Tier::L3));
    one.settled().await;
    assert_eq!(find(&other, "/b").await, Some(Tier::L2), "what the disk had, Redis has again");
}

#[tokio::test]
async fn a_value_that_is_none_of_ours_is_counted_and_removed() {
    let redis = Redis::start(&[]);
    let tiers = connected(&settings(&redis)).await;
    let place = format!("outwork:{}", key("/a"));
    redis.cli(&["SET", &place, "rubbish"]);
    assert_eq!(find(&tiers, "/a").await, None);
    tiers.settled().await;
    assert_eq!(redis.cli(&["EXISTS", &place]), "0");
    assert_eq!(tiers.stats().l2.unwrap().circuit, Circuit::Closed);
}

#[tokio::test]
async fn a_redis_without_memory_is_read_and_not_waited_for() {
    let redis = Redis::start(&[]);
    let tiers = connected(&settings(&redis)).await;
    store(&tiers, "/a");
    tiers.settled().await;
    redis.cli(&["CONFIG", "SET", "maxmemory", "1"]);
    for number in 0..20 {
        store(&tiers, &format!("/{number}"));
    }
    tiers.settled().await;
    let stats = tiers.stats().l2.unwrap();
    assert_eq!((stats.errors, stats.circuit), (20, Circuit::Closed));
    assert!(tiers.is_shared());
}

#[tokio::test]
async fn a_password_is_used_and_a_wrong_one_opens_the_breaker() {
    let redis = Redis::start(&["--requirepass", "hunter2"]);
    let mut settings = settings(&redis);
    settings.l2.password = Some(Secret::new("hunter2"));
    connected(&settings).await;
    settings.l2.password = Some(Secret::new("hunter3"));
    let tiers = open(&settings);
    until(|| tiers.stats().l2.is_some_and(|stats| stats.circuit == Circuit::Open)).await;
    assert_eq!(find(&tiers, "/a").await, None);
}

#[tokio::test]
async fn tls_is_spoken_with_a_server_that_the_named_authority_vouches_for() {
    let dir = tempfile::tempdir().unwrap();
    let (certificate, secret) = (dir.path().join("cert.pem"), dir.path().join("key.pem"));
    let config = dir.path().join("openssl.cnf");
    let names = "subjectAltName=DNS:localhost,IP:127.0.0.1\nbasicConstraints=CA:FALSE\n";
    std::fs::write(&config, format!("[req]\ndistinguished_name=dn\nx509_extensions=ext\n[dn]\n[ext]\n{names}"))
        .unwrap();
    let made = std::process::Command::new("openssl")
        .args(["req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes", "-days", "2"])
        .args(["-subj", "/CN=localhost", "-config"])
        .arg(&config)
        .arg("-out")
        .arg(&certificate)
        .arg("-keyout")
        .arg(&secret)
        .output()
        .unwrap();
    assert!(made.status.success(), "{made:?}");
    let (certificate, secret) = (certificate.to_str().unwrap(), secret.to_str().unwrap());
    let port = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
    let mut redis = Redis::start(&[]);
    redis.kill();
    redis.port = port;
    redis.set(&[
        "--port",
        "0",
        "--tls-port",
        &port.to_string(),
        "--tls-cert-file",
        certificate,
        "--tls-key-file",
        secret,
        "--tls-auth-clients",
        "no",
    ]);
    redis.restart();
    let mut settings = settings(&redis);
    settings.l2.url = format!("rediss://localhost:{port}");
    settings.l2.ca = Some(certificate.into());
    let tiers = connected(&settings).await;
    store(&tiers, "/a");
    tiers.settled().await;
    let other = connected(&settings).await;
    assert_eq!(find(&other, "/a").await, Some(Tier::L2));
    settings.l2.ca = None;
    let tiers = open(&settings);
    until(|| tiers.stats().l2.is_some_and(|stats| stats.circuit == Circuit::Open)).await;
}

#[test]
fn futures_of_the_cache_may_go_to_any_thread() {
    fn is_send<T: Send>(_: T) {}
    let tiers = open(&Settings::default());
    is_send(tiers.get(&key("/a")));
    is_send(tiers.purge(&Purge::All));
    is_send(tiers.settled());
}

#[test]
fn a_cache_opens_and_closes_though_redis_is_not_there() {
    let mut settings = Settings::default();
    settings.l2.enabled = true;
    settings.l2.url = "redis://127.0.0.1:1".to_owned();
    let tiers = open(&settings);
    store(&tiers, "/a");
    assert!(tiers.peek(&key("/a")).is_some());
    drop(tiers);
}
