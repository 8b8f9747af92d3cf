use std::collections::BTreeMap;
use std::rc::Rc;
use std::time::Duration;

use outwork_balance::Ask;
use outwork_telemetry::Registry;

use super::gauges::Gauges;
use super::*;
use crate::config::Backend;
use crate::pick::Asking;
use crate::upstream::local::Local;

/// A pool of this backend that forgets at once who has left, and panics below so much.
fn app(url: &str, panic_threshold: u32) -> Proxy {
    let settings = Settings { panic_threshold, drain: Duration::ZERO, ..Settings::of(url.parse().unwrap()) };
    Proxy { pool: BTreeMap::from([("app".to_owned(), settings)]), ..Proxy::default() }
}

fn become_what_is_said(pools: &Pools, proxy: &Proxy) {
    pools.commit(pools.prepare(proxy, &[]).unwrap());
}

fn spot(address: &str) -> Vec<Spot> {
    vec![Spot { address: address.parse().unwrap(), part: None }]
}

fn keys(pool: &Pool) -> Vec<String> {
    pool.snapshot().members().map(|member| member.key().to_owned()).collect()
}

#[test]
fn what_a_name_stands_for_since_a_reload_was_made_ready_holds_after_it() {
    let pools = Pools::new([0; 16], Orders::default());
    become_what_is_said(&pools, &app("http://app.test:80", 50));
    let pool = Arc::clone(&pools.all()["app"]);
    let question = pool.snapshot().questions().pop_first().unwrap();
    let prepared = pools.prepare(&app("http://app.test:80", 7), &[]).unwrap();
    assert!(pool.found(question.clone(), spot("192.0.2.1")).unwrap());
    assert_eq!((pool.snapshot().settings.panic_threshold, keys(&pool).len()), (50, 1));
    pools.commit(prepared);
    assert_eq!(pool.snapshot().settings.panic_threshold, 7);
    assert!(keys(&pool)[0].contains("192.0.2.1"), "{:?}", keys(&pool));
    // And the other way round: what is looked up later changes nothing of the settings.
    assert!(pool.found(question, spot("192.0.2.2")).unwrap());
    assert_eq!(pool.snapshot().settings.panic_threshold, 7);
}

#[test]
fn metrics_of_backends_and_pools_that_have_left_are_forgotten() {
    let pools = Pools::new([0; 16], Orders::default());
    let registry = Registry::default();
    registry.register(Arc::clone(pools.metrics()) as _).unwrap();
    registry.register(Gauges::of(&pools) as _).unwrap();
    become_what_is_said(&pools, &app("http://app.test:80", 50));
    let pool = Arc::clone(&pools.all()["app"]);
    let question = pool.snapshot().questions().pop_first().unwrap();
    for address in ["192.0.2.1", "192.0.2.2"] {
        assert!(pool.found(question.clone(), spot(address)).unwrap());
        let snapshot = pool.snapshot();
        let endpoint = snapshot.members().filter_map(|member| snapshot.endpoint(member.id())).last().unwrap();
        endpoint.cells.requests.inc();
        endpoint.cells.time.record(Duration::from_millis(1));
    }
    // Nobody is left in it whose time is over.
    pool.refresh().unwrap();
    let snapshot = pool.snapshot();
    let endpoint = snapshot.members().find_map(|member| snapshot.endpoint(member.id())).unwrap();
    endpoint.cells.responses.count(503);
    endpoint.cells.check_failures.inc();
    let text = registry.prometheus();
    assert!(text.contains("192.0.2.2") && !text.contains("192.0.2.1"), "{text}");
    assert!(text.contains("outwork_proxy_usable{pool=\"app\"}"), "{text}");
    let has = |name: &str, end: &str| {
        let begin = format!("outwork_proxy_{name}{{pool=\"app\",backend=\"");
        let is_it = |line: &str| line.starts_with(&begin) && line.contains("192.0.2.2") && line.ends_with(end);
        assert!(text.lines().any(is_it), "{name} {end}\n{text}");
    };
    has("backend_active", "\"} 0");
    has("backend_check_failures_total", "\"} 1");
    has("backend_responses_total", ",class=\"5xx\"} 1");
    has("backend_responses_total", ",class=\"2xx\"} 0");
    assert!(text.contains("outwork_proxy_pool_requests_total{pool=\"app\",outcome=\"answered\"} 0\n"), "{text}");
    become_what_is_said(&pools, &Proxy::default());
    let text = registry.prometheus();
    assert!(!text.contains("pool=\"app\""), "{text}");
}

#[test]
fn what_a_backend_weighs_by_hand_it_weighs_through_reloads_until_that_is_taken_back() {
    let pools = Pools::new([0; 16], Orders::default());
    become_what_is_said(&pools, &app("http://192.0.2.1:80", 50));
    let pool = Arc::clone(&pools.all()["app"]);
    let key = keys(&pool).remove(0);
    let weight = || pool.snapshot().balance.slots()[0].settings().weight;
    let say = |weight| {
        let by_hand = ByHand::Weight(weight);
        let there = |_: &str| true;
        pools.shared().orders.take("app", &key, by_hand, there, || ()).unwrap();
    };
    let prepared = pools.prepare(&app("http://192.0.2.1:80", 7), &[]).unwrap();
    let member = pool.snapshot().members().next().unwrap().id();
    say(Some(0));
    pool.refresh().unwrap();
    assert_eq!(weight(), 0);
    // What was made ready before it was said, and what is made since.
    pools.commit(prepared);
    assert_eq!((weight(), pool.snapshot().settings.panic_threshold), (0, 7));
    become_what_is_said(&pools, &app("http://192.0.2.1:80", 50));
    assert_eq!(weight(), 0);
    assert_eq!(pools.weighed_by_hand(), [format!("{key} of app (weight 0)")]);
    assert!(pools.by_hand().is_empty(), "nobody has taken it out");
    say(None);
    pool.refresh().unwrap();
    assert_eq!((weight(), pools.weighed_by_hand().len()), (1, 0));
    assert_eq!(pool.snapshot().members().next().unwrap().id(), member, "what is known of it is kept");
}

#[test]
fn who_waits_for_room_sees_the_backends_that_come_meanwhile() {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    tokio::task::LocalSet::new().block_on(&runtime, async {
        let pools = Pools::new([0; 16], Orders::default());
        let full = |url: &str| {
            let mut proxy = app("http://192.0.2.1:80", 50);
            let settings = proxy.pool.get_mut("app").unwrap();
            settings.limits.pending = 1;
            settings.backend = vec![Backend { max_requests: Some(1), ..settings.backend[0].clone() }];
            settings.backend[0].url = url.parse().unwrap();
            proxy
        };
        become_what_is_said(&pools, &full("http://192.0.2.1:80"));
        let pool = Arc::clone(&pools.all()["app"]);
        let (local, snapshot): (Rc<Local>, _) = (Local::of(&pool), pool.snapshot());
        let asking = Asking { pool: &pool, snapshot: &snapshot, local: &local };
        let ((_held, first), newer) = asking.pick(&Ask::default()).await.unwrap();
        assert!(first.key.contains("192.0.2.1") && newer.is_none());
        let another = async {
            tokio::task::yield_now().await;
            become_what_is_said(&pools, &full("http://192.0.2.2:80"));
        };
        let ask = Ask::default();
        let (picked, ()) = futures_util::join!(asking.pick(&ask), another);
        let ((taken, second), newer) = picked.unwrap();
        assert!(second.key.contains("192.0.2.2"), "{}", second.key);
        assert!(newer.is_some_and(|newer| newer.endpoint(taken.id()).is_some()));
    });
}
