//! Two sites while the machine has no processor to spare: nothing is wrong with any path, and nothing is to be done about one.

use std::net::UdpSocket;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use serde_json::Value as Json;

use super::super::wait_for;
use super::sites::{Sites, inner};

/// How long all processors are busy: twenty seconds, or as many as `OUTWORK_SOAK` says.
fn long() -> Duration {
    let said = std::env::var("OUTWORK_SOAK").ok();
    let seconds =
        |text: String| text.parse().unwrap_or_else(|_| panic!("OUTWORK_SOAK is {text:?}, no number of seconds"));
    Duration::from_secs(said.map_or(20, seconds))
}

/// Between datagrams of the call.
const EVERY: Duration = Duration::from_millis(5);

/// The events of a site, the latest first.
fn events(sites: &Sites, site: usize) -> Vec<Json> {
    sites.sites[site].json(&["paths"])["events"].as_array().unwrap().clone()
}

/// The number of the latest event of a site.
fn latest(sites: &Sites, site: usize) -> u64 {
    events(sites, site).iter().filter_map(|event| event["number"].as_u64()).max().unwrap_or(0)
}

/// How often a path was suspected: of doubts that came to nothing, one event counts several.
fn doubts(events: &[Json]) -> u64 {
    let doubts = events.iter().filter(|event| event["kind"] == "path" && event["to"] == "suspect");
    doubts.map(|event| event["count"].as_u64().unwrap_or(1)).sum()
}

#[test]
fn no_path_goes_down_and_no_traffic_moves_while_all_processors_are_busy() {
    // As the defaults have it, but for the trial: paths are up in a moment.
    let sites = Sites::with("", "");
    sites.wait_until_all_are_up();
    let [here, there] = [&sites.sites[0].server, &sites.sites[1].server];
    let far = there.run(|| UdpSocket::bind((inner(1), 7001))).unwrap();
    far.set_read_timeout(Some(Duration::from_millis(200))).unwrap();
    let near = here.run(|| UdpSocket::bind((inner(0), 7001))).unwrap();
    near.connect((inner(1), 7001)).unwrap();
    let (done, came) = (AtomicBool::new(false), AtomicU64::new(0));
    std::thread::scope(|scope| {
        scope.spawn(|| {
            let mut octets = [0; 64];
            while !done.load(Ordering::SeqCst) {
                came.fetch_add(u64::from(far.recv_from(&mut octets).is_ok()), Ordering::SeqCst);
            }
        });
        scope.spawn(|| {
            while !done.load(Ordering::SeqCst) {
                // What finds no room for a moment is one datagram less.
                let _ = near.send(&[7; 64]);
                std::thread::sleep(EVERY);
            }
        });
        wait_for("the call to arrive", || sites.told(), || (came.load(Ordering::SeqCst) > 50).then_some(()));
        // What traffic that has just begun does to paths is over.
        std::thread::sleep(Duration::from_secs(2));
        let before = [latest(&sites, 0), latest(&sites, 1)];
        let doubted = [0, 1].map(|site| doubts(&events(&sites, site)));
        let heard = came.load(Ordering::SeqCst);
        let (begun, long) = (Instant::now(), long());
        let processors = std::thread::available_parallelism().map_or(2, usize::from);
        let busy: Vec<_> = (0..processors)
            .map(|_| {
                scope.spawn(move || {
                    let mut turns = 0_u64;
                    while begun.elapsed() < long {
                        turns = std::hint::black_box(turns.wrapping_add(1));
                    }
                    turns
                })
            })
            .collect();
        for thread in busy {
            assert!(thread.join().unwrap() > 0);
        }
        done.store(true, Ordering::SeqCst);
        assert!(came.load(Ordering::SeqCst) > heard + 500, "the call went on: {}", sites.told());
        for (site, before) in before.into_iter().enumerate() {
            let all = events(&sites, site);
            // The oldest are forgotten: a long soak says so rather than judge what it has not seen.
            let oldest = all.iter().filter_map(|event| event["number"].as_u64()).min().unwrap_or(0);
            assert!(oldest <= before + 1, "site {site}: more has happened than is remembered, since {oldest}");
            let doubted = doubts(&all).saturating_sub(doubted[site]);
            println!("site {site}: a path was suspected {doubted} times in {} s", long.as_secs());
            let new = all.into_iter().filter(|event| event["number"].as_u64() > Some(before));
            let wrong = |event: &Json| event["kind"] == "switch" || event["kind"] == "path" && event["to"] == "down";
            // From one cable to the other nothing leads: those paths were never up, and are not this test's.
            let wrong: Vec<_> = new.filter(wrong).filter(|event| event["from"] != "new").collect();
            assert!(wrong.is_empty(), "site {site}: {wrong:#?}\n{}", sites.told());
        }
    });
}
