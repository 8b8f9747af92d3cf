//! What a hit costs.
#![allow(missing_docs, clippy::expect_used)]

use std::rc::Rc;
use std::sync::Arc;

use http::header::{CACHE_CONTROL, ETAG, HOST};
use http::{HeaderMap, HeaderValue, StatusCode};
use outwork_cache::{Settings, Tiers, system_clock};
use outwork_front::answer::Respond;
use outwork_front::cached::config::Cache;
use outwork_front::cached::{Cached, Rules, Store};
use outwork_front::message::{Answer, Body, Handler, Origin, Request, RequestBody};
use tikv_jemalloc_ctl::thread::allocatedp;

#[global_allocator]
static ALLOCATOR: tikv_jemallocator::Jemalloc = tikv_jemallocator::Jemalloc;

fn request() -> Request {
    let request = http::Request::get("/styles/site.css?v=3")
        .header(HOST, "www.example.org")
        .header("accept-encoding", "gzip, br")
        .header("user-agent", "a browser")
        .body(())
        .expect("a request");
    let end = ([127, 0, 0, 1], 1).into();
    let origin = Rc::new(Origin { peer: end, local: end, to: None, tls: true, session: None });
    Request { head: request.into_parts().0, body: RequestBody::Empty, origin }
}

#[test]
fn a_hit_in_memory_allocates_nothing_and_is_there_at_once() {
    let fields = HeaderMap::from_iter([
        (CACHE_CONTROL, HeaderValue::from_static("max-age=3600")),
        (ETAG, HeaderValue::from_static("\"x\"")),
    ]);
    let inner = Arc::new(Respond::new(StatusCode::OK, fields, "body { margin: 0 }"));
    let clock = system_clock();
    let tiers = Tiers::open(&Settings::default(), Arc::clone(&clock)).unwrap();
    let store = Store::new(tiers, clock, 1 << 20, 1);
    let cached = Cached::new(inner, Rules::new(&Cache::default(), "", None), store);
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    tokio::task::LocalSet::new().block_on(&runtime, async {
        let Answer::Later(first) = cached.handle(request()) else { panic!("it has to be fetched") };
        assert!(matches!(first.await.body, Body::Full(_)));
    });
    let requests: Vec<_> = (0..100).map(|_| request()).collect();
    let allocated = allocatedp::read().unwrap();
    let before = allocated.get();
    let mut hits = 0;
    for request in requests {
        match cached.handle(request) {
            Answer::Now(response) if response.hit.is_some() => hits += 1,
            _ => {}
        }
    }
    assert_eq!((hits, allocated.get() - before), (100, 0));
}
