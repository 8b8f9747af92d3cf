//! What a route's settings change.

use super::config::Obeyed;
use super::*;

#[test]
fn a_lifetime_is_a_tenth_of_the_time_since_the_last_change_and_no_longer_than_the_settings_have_it() {
    // Ten hours before the start.
    let modified: &[(&str, &str)] = &[("last-modified", "Sat, 05 Nov 1994 22:49:37 GMT")];
    for (most, fresh) in [(86_400, 3600), (60, 60)] {
        run(async {
            let site = Site::new(|settings| settings.heuristic_max = Duration::from_secs(most), numbered(modified));
            site.get().await;
            site.pass(fresh - 1);
            assert_eq!(site.get().await.text(), "answer 1", "{most}");
            site.pass(2);
            assert_eq!(site.get().await.text(), "answer 2", "{most}");
        });
    }
}

#[test]
fn clients_have_as_much_of_a_say_as_the_settings_give_them() {
    for (obeyed, text, status) in
        [(Obeyed::All, "answer 2", 504), (Obeyed::Lenient, "answer 1", 504), (Obeyed::None, "answer 1", 200)]
    {
        run(async {
            let site = Site::new(|settings| settings.client_control = obeyed, numbered(MINUTE));
            site.get().await;
            assert_eq!(site.ask_with("GET /", &[("cache-control", "no-cache")]).await.text(), text, "{obeyed:?}");
            let other = site.ask_with("GET /other", &[("cache-control", "only-if-cached")]).await;
            assert_eq!(other.status, status, "{obeyed:?}");
        });
    }
}

#[test]
fn the_cache_is_filled_by_as_many_requests_at_once_as_the_settings_say() {
    use std::sync::atomic::{AtomicBool, AtomicUsize};

    use super::metrics::Warmed;
    use super::warm::Warmer;

    #[derive(Default)]
    struct Work {
        now: AtomicUsize,
        most: AtomicUsize,
        goes_on: AtomicBool,
    }
    let work = Arc::new(Work::default());
    let asked = Arc::clone(&work);
    let site = Site::new(
        |_| {},
        move |_, _| {
            let work = Arc::clone(&asked);
            Answer::Later(Box::pin(async move {
                let now = work.now.fetch_add(1, Ordering::SeqCst) + 1;
                work.most.fetch_max(now, Ordering::SeqCst);
                while !work.goes_on.load(Ordering::SeqCst) {
                    tokio::task::yield_now().await;
                }
                work.now.fetch_sub(1, Ordering::SeqCst);
                response(200, MINUTE, "warm")
            }))
        },
    );
    let settings = warming::warming(
        "[warming]\nsite = 'http://a.example'\nconcurrency = 2\non_start = ['/a', '/b', '/c', '/d', '/e', '/f']\n",
    );
    let store = Arc::clone(&site.cached.0.store);
    let _warmer = Warmer::start(Arc::clone(&store), Arc::new(Cached(Arc::clone(&site.cached.0))), settings).unwrap();
    warming::until(|| work.now.load(Ordering::SeqCst) >= 2);
    work.goes_on.store(true, Ordering::SeqCst);
    warming::until(|| store.metrics.warmed.of(Warmed::Start).get() == 6);
    assert_eq!(work.most.load(Ordering::SeqCst), 2);
}
