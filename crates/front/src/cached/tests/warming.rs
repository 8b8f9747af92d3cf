//! Filling ahead of requests.

use super::*;

/// Asks a handler from its own thread, like [`Warmer`](super::warm::Warmer), and waits for a count to be reached.
pub(super) fn until(reached: impl Fn() -> bool) {
    while !reached() {
        std::thread::sleep(Duration::from_millis(1));
    }
}

pub(super) fn warming(lines: &str) -> config::Warming {
    outwork_config::section! {
        /// What holds the settings in these tests.
        struct Root {
            /// Them.
            warming: config::Warming,
        }
    }
    let sources = outwork_config::Sources { file: Some(("test.toml".into(), lines.into())), ..Default::default() };
    outwork_config::load::<Root>(sources).unwrap().value.warming
}

#[test]
fn the_cache_is_filled_at_the_start_and_on_request_and_what_is_there_is_made_fresh() {
    use super::metrics::Warmed;
    use super::warm::{Address, Warmer};
    let site =
        Site::new(|_| {}, numbered(&[("cache-control", "max-age=60"), ("etag", "\"x\""), ("vary", "accept-encoding")]));
    let store = Arc::clone(&site.cached.0.store);
    let settings = warming(
        "[warming]\nsite = 'http://A.example'\non_start = ['/', 'http://a.example/b']\nheaders = { accept-encoding = 'br' }\n",
    );
    let warmer = Warmer::start(Arc::clone(&store), Arc::new(Cached(Arc::clone(&site.cached.0))), settings).unwrap();
    let count = |cause| store.metrics.warmed.of(cause).get();
    until(|| count(Warmed::Start) == 2);
    run(async {
        assert!(site.ask_with("GET /b", &[("accept-encoding", "br")]).await.now);
    });
    let first: Address = "http://a.example/".parse().unwrap();
    warmer.warm(vec![first]).unwrap();
    until(|| count(Warmed::Asked) == 1);
    assert_eq!(site.last_asked().headers["if-none-match"], "\"x\"", "it is asked for though it is there");
    assert_eq!(site.times_asked(), 3);
}

#[test]
fn who_has_urls_fetched_is_told_what_is_not_in_the_cache_and_why() {
    use super::warm::{Fate, Warmer};
    let site = Site::new(
        |_| {},
        |request, _| match request.head.uri.path() {
            "/kept" => response(200, &[("cache-control", "max-age=60")], "kept").into(),
            "/own" => response(200, &[("cache-control", "no-store")], "own").into(),
            "/broken" => response(500, &[], "broken").into(),
            _ => response(404, &[], "none").into(),
        },
    );
    let store = Arc::clone(&site.cached.0.store);
    let handler: Arc<dyn Handler> = Arc::new(Cached(Arc::clone(&site.cached.0)));
    let warmer = Warmer::start(Arc::clone(&store), handler, config::Warming::default()).unwrap();
    let urls = ["kept", "own", "broken", "none"];
    let fetch = |warmer: &Warmer| {
        let addresses = urls.iter().map(|path| format!("http://a.example/{path}").parse().unwrap()).collect();
        let mut told = warmer.warm(addresses).unwrap();
        let mut fates: Vec<(usize, Fate)> = std::iter::from_fn(|| told.blocking_recv()).collect();
        fates.sort_by_key(|(index, _)| *index);
        fates.into_iter().map(|(_, fate)| fate).collect::<Vec<_>>()
    };
    let fates = fetch(&warmer);
    let of = |index: usize| (fates[index].status.unwrap().as_u16(), fates[index].unstored.as_deref().unwrap_or(""));
    assert_eq!((fates.len(), of(0)), (4, (200, "")));
    assert_eq!(of(1), (200, "it says no-store"));
    assert!(of(2).0 == 500 && of(2).1.contains("status_ttl"), "{:?}", of(2));
    assert!(of(3).0 == 404 && of(3).1.contains("status_ttl"), "{:?}", of(3));
    assert_eq!(store.metrics.warmed.of(metrics::Warmed::Failed).get(), 1);
    // A handler without a cache, and a door without a route.
    let bare = Arc::clone(&site.inner) as Arc<dyn Handler>;
    let warmer = Warmer::start(store, bare, config::Warming::default()).unwrap();
    let fates = fetch(&warmer);
    let why = |index: usize| fates[index].unstored.as_deref();
    assert_eq!((why(0), why(3)), (Some("its route does not cache"), Some("no route is for it")));
}

#[test]
fn what_is_due_by_the_clock_or_often_asked_for_is_fetched_before_it_is_stale() {
    use super::metrics::Warmed;
    use super::warm::Warmer;
    let site = Site::new(|_| {}, numbered(&[("cache-control", "max-age=60"), ("vary", "x-a")]));
    let store = Arc::clone(&site.cached.0.store);
    let settings = warming(
        "[warming]\nsite = 'http://a.example'\nscheduled = [{ cron = '0 9 * * *', paths = ['/daily'] }]\npredict = { enabled = true, threshold = 3 }\n",
    );
    let _warmer = Warmer::start(Arc::clone(&store), Arc::new(Cached(Arc::clone(&site.cached.0))), settings).unwrap();
    until(|| store.predicting.load(Ordering::Relaxed));
    run(async {
        for path in ["GET /often", "GET /often", "GET /often", "GET /seldom"] {
            site.ask_with(path, &[("x-a", "7"), ("x-b", "8")]).await;
        }
    });
    site.pass(55);
    until(|| store.metrics.warmed.of(Warmed::Predicted).get() == 1);
    let asked = site.last_asked();
    assert_eq!(
        (asked.uri.path(), &asked.headers["x-a"], asked.headers.contains_key("x-b")),
        ("/often", &HeaderValue::from_static("7"), false)
    );
    // Eleven minutes later it is nine o'clock.
    site.pass(11 * 60);
    until(|| store.metrics.warmed.of(Warmed::Schedule).get() == 1);
    assert!(site.inner.asked.lock().unwrap().iter().any(|asked| asked.uri.path() == "/daily"));
}
