use std::future::Future;
use std::sync::Mutex;
use std::time::Duration;

use bytes::Bytes;
use http::header::{AGE, ETAG, HOST};
use http::{HeaderMap, HeaderName, HeaderValue};
use outwork_cache::{Settings, UnixMillis};
use tokio::sync::{mpsc, oneshot};

use super::config::Cache;
use super::*;
use crate::message::{Body, BodyError, FilePart, Streamed};
use crate::route::Conditions;

mod fetching;
mod settings;
mod warming;

/// Sun, 06 Nov 1994 08:49:37 GMT
const START: u64 = 784_111_777_000;

type Answering = dyn Fn(&Request, usize) -> Answer + Send + Sync;

/// A handler that is told what to answer, and remembers what it was asked.
struct Inner {
    answer: Box<Answering>,
    asked: Mutex<Vec<Parts>>,
}

impl Handler for Inner {
    fn handle(&self, request: Request) -> Answer {
        let count = {
            let mut asked = self.asked.lock().unwrap();
            asked.push(request.head.clone());
            asked.len()
        };
        (self.answer)(&request, count)
    }
}

struct Site {
    cached: Cached,
    changes: Arc<Changes>,
    inner: Arc<Inner>,
    clock: Arc<AtomicU64>,
}

/// An answer as its client sees it.
#[derive(Debug)]
struct Got {
    status: u16,
    fields: HeaderMap,
    body: Result<Bytes, String>,
    /// It was there at once.
    now: bool,
}

impl Got {
    fn field(&self, name: &str) -> &str {
        self.fields.get(name).map_or("", |value| value.to_str().unwrap())
    }

    fn text(&self) -> &str {
        std::str::from_utf8(self.body.as_ref().unwrap()).unwrap()
    }

    fn cache(&self) -> &str {
        self.field("cache-status").strip_prefix("Outwork; ").unwrap_or_default()
    }
}

impl Site {
    fn new(
        change: impl FnOnce(&mut Cache),
        answer: impl Fn(&Request, usize) -> Answer + Send + Sync + 'static,
    ) -> Self {
        Self::with_room(1 << 30, change, answer)
    }

    fn with_room(
        most: usize,
        change: impl FnOnce(&mut Cache),
        answer: impl Fn(&Request, usize) -> Answer + Send + Sync + 'static,
    ) -> Self {
        let inner = Arc::new(Inner { answer: Box::new(answer), asked: Mutex::default() });
        let clock = Arc::new(AtomicU64::new(START));
        let time = Arc::clone(&clock);
        let time: Clock = Arc::new(move || UnixMillis(time.load(Ordering::Relaxed)));
        let tiers = Tiers::open(&Settings::default(), Arc::clone(&time)).unwrap();
        let mut settings = Cache::default();
        change(&mut settings);
        let rules = Rules::new(&settings, "test", None);
        let store = Store::new(tiers, time, most, 100);
        let mut changes = Changes::default();
        let everything = Conditions { hosts: vec![], path: "/*".parse().unwrap(), methods: vec![], fields: vec![] };
        changes.add(&everything, rules.clone(), Arc::clone(&store));
        let cached = Cached::new(Arc::clone(&inner) as _, rules, store);
        Self { cached, changes: Arc::new(changes), inner, clock }
    }

    /// The same store and handler under other settings, as after a reload.
    fn change(&mut self, change: impl FnOnce(&mut Cache)) {
        let mut settings = Cache::default();
        change(&mut settings);
        let rules = Rules::new(&settings, "test", None);
        self.cached = Cached::new(Arc::clone(&self.inner) as _, rules, Arc::clone(&self.cached.0.store));
    }

    /// Time passes.
    fn pass(&self, seconds: u64) {
        self.clock.fetch_add(seconds * 1000, Ordering::Relaxed);
    }

    fn times_asked(&self) -> usize {
        self.inner.asked.lock().unwrap().len()
    }

    fn last_asked(&self) -> Parts {
        self.inner.asked.lock().unwrap().last().unwrap().clone()
    }

    fn count(&self, outcome: Outcome) -> u64 {
        self.cached.0.store.metrics.requests.of(outcome).get()
    }

    fn begin(&self, line: &str, lines: &[(&'static str, &str)]) -> Answer {
        let (method, uri) = line.split_once(' ').unwrap();
        let mut request = http::Request::builder().method(method).uri(uri).header(HOST, "a.example");
        for (name, value) in lines {
            request = request.header(*name, *value);
        }
        let end = ([127, 0, 0, 1], 1).into();
        let origin = Rc::new(Origin { peer: end, local: end, to: None, tls: false, session: None });
        let (head, ()) = request.body(()).unwrap().into_parts();
        self.changes.watch(Request { head, body: RequestBody::Empty, origin }, &self.cached)
    }

    async fn ask_with(&self, line: &str, lines: &[(&'static str, &str)]) -> Got {
        got(self.begin(line, lines)).await
    }

    async fn ask(&self, line: &str) -> Got {
        self.ask_with(line, &[]).await
    }

    async fn get(&self) -> Got {
        self.ask("GET /").await
    }
}

async fn got(answer: Answer) -> Got {
    let now = matches!(answer, Answer::Now(_));
    let response = match answer {
        Answer::Now(response) => response,
        Answer::Later(response) => response.await,
    };
    let mut fields = response.headers.clone();
    fields.extend(response.ready.iter().flat_map(|ready| ready.fields.clone()));
    fields.extend(response.hit.into_iter().flat_map(crate::message::Hit::fields));
    let body = fetch::whole(response.body).await.map_err(|error| error.to_string());
    Got { status: response.status.as_u16(), fields, body, now }
}

/// Runs on one thread, as the front door does.
fn run<T>(test: impl Future<Output = T>) -> T {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    tokio::task::LocalSet::new().block_on(&runtime, test)
}

fn response(status: u16, lines: &[(&'static str, &str)], body: impl Into<Bytes>) -> Response {
    let mut response = Response::new(StatusCode::from_u16(status).unwrap());
    for (name, value) in lines {
        response.headers.append(HeaderName::from_static(name), HeaderValue::from_str(value).unwrap());
    }
    response.body = Body::Full(body.into());
    response
}

/// An answer that comes once it is let go, if it ever is.
fn held_back(response: impl FnOnce() -> Response + 'static, gate: oneshot::Receiver<()>) -> Answer {
    Answer::Later(Box::pin(async move {
        let _ = gate.await;
        response()
    }))
}

/// A gate for the first answer.
fn gate() -> (oneshot::Sender<()>, Mutex<Option<oneshot::Receiver<()>>>) {
    let (open, gate) = oneshot::channel();
    (open, Mutex::new(Some(gate)))
}

type Parts2 = mpsc::UnboundedSender<Result<Bytes, BodyError>>;

/// A body whose parts are sent by the test.
fn streamed(mut response: Response, length: Option<u64>) -> (Parts2, Response) {
    let (send, mut parts) = mpsc::unbounded_channel();
    let parts = Box::pin(futures_util::stream::poll_fn(move |context| parts.poll_recv(context)));
    response.body = Body::Stream(Streamed { length, parts, trailers: None });
    (send, response)
}

/// A site whose first answer streams, whose later ones say which they are.
fn streaming(change: impl FnOnce(&mut Cache), length: Option<u64>) -> (Site, mpsc::UnboundedReceiver<Parts2>) {
    let (tell, told) = mpsc::unbounded_channel();
    let site = Site::new(change, move |_, count| {
        let whole = response(200, &[("cache-control", "max-age=60")], format!("answer {count}"));
        if count > 1 {
            return whole.into();
        }
        let (send, response) = streamed(whole, length);
        tell.send(send).unwrap();
        response.into()
    });
    (site, told)
}

/// Begins with something, which does not end at once.
async fn waits<T>(begun: &mut std::pin::Pin<Box<impl Future<Output = T>>>) -> bool {
    std::future::poll_fn(|context| std::task::Poll::Ready(begun.as_mut().poll(context).is_pending())).await
}

/// Lets everything run that can.
async fn settle() {
    for _ in 0..50 {
        tokio::task::yield_now().await;
    }
}

fn numbered(lines: &'static [(&'static str, &'static str)]) -> impl Fn(&Request, usize) -> Answer + Send + Sync {
    move |_, count| response(200, lines, format!("answer {count}")).into()
}

const MINUTE: &[(&str, &str)] = &[("cache-control", "max-age=60")];

#[test]
fn what_is_stored_is_given_at_once_with_its_age_until_it_is_stale() {
    run(async {
        let site = Site::new(|_| {}, numbered(MINUTE));
        let first = site.get().await;
        assert_eq!(
            (first.text(), first.cache(), first.now),
            ("answer 1", "fwd=uri-miss; fwd-status=200; stored", false)
        );
        assert!(!first.fields.contains_key(AGE));
        site.pass(7);
        let second = site.get().await;
        assert_eq!(
            (second.text(), second.cache(), second.field("age"), second.now),
            ("answer 1", "hit; ttl=53", "7", true)
        );
        assert_eq!(second.field("date"), "Sun, 06 Nov 1994 08:49:37 GMT");
        site.pass(53);
        let third = site.get().await;
        assert_eq!((third.text(), third.cache()), ("answer 2", "fwd=uri-miss; fwd-status=200; stored"));
        assert_eq!((site.count(Outcome::Miss), site.count(Outcome::Hit)), (2, 1));
    });
}

/// RFC 9111 section 4.3.
#[test]
fn a_stale_response_is_asked_for_by_its_validators_and_a_304_makes_it_fresh() {
    run(async {
        let site = Site::new(
            |_| {},
            |request, count| match request.head.headers.get("if-none-match") {
                None => response(
                    200,
                    &[
                        ("cache-control", "max-age=60"),
                        ("etag", "\"x\""),
                        ("x-count", "1"),
                        ("last-modified", "Sat, 05 Nov 1994 08:49:37 GMT"),
                    ],
                    "content",
                )
                .into(),
                Some(_) => {
                    response(304, &[("cache-control", "max-age=90"), ("x-count", &count.to_string())], "").into()
                }
            },
        );
        site.get().await;
        site.pass(60);
        let again = site.ask_with("GET /", &[("if-none-match", "\"mine\""), ("range", "bytes=0-0")]).await;
        assert_eq!((again.status, again.text(), again.field("x-count")), (206, "c", "2"));
        assert_eq!(again.cache(), "fwd=stale; fwd-status=304; stored");
        let asked = site.last_asked().headers;
        assert_eq!(asked["if-none-match"], "\"x\"");
        assert_eq!(asked["if-modified-since"], "Sat, 05 Nov 1994 08:49:37 GMT");
        assert!(!asked.contains_key("range"));
        site.pass(89);
        assert_eq!(site.get().await.cache(), "hit; ttl=1");
        assert_eq!(site.count(Outcome::Revalidated), 1);
    });
}

/// RFC 9111 section 4.3.4.
#[test]
fn a_304_that_speaks_of_another_response_makes_nothing_fresh() {
    run(async {
        let site = Site::new(
            |_| {},
            |request, count| match request.head.headers.get("if-none-match") {
                None => response(200, &[("cache-control", "max-age=60"), ("etag", "\"x\"")], format!("answer {count}"))
                    .into(),
                Some(_) => response(304, &[("etag", "\"y\"")], "").into(),
            },
        );
        site.get().await;
        site.pass(60);
        assert_eq!(site.get().await.text(), "answer 3");
    });
}

/// RFC 5861 section 3.
#[test]
fn a_stale_response_is_given_while_another_is_fetched_behind_it() {
    run(async {
        let site = Site::new(|_| {}, numbered(&[("cache-control", "max-age=60, stale-while-revalidate=30")]));
        site.get().await;
        site.pass(65);
        let stale = site.get().await;
        assert_eq!((stale.text(), stale.cache(), stale.now), ("answer 1", "hit; ttl=-5", true));
        settle().await;
        assert_eq!(site.get().await.text(), "answer 2");
        assert_eq!((site.times_asked(), site.count(Outcome::Stale)), (2, 1));
    });
}

/// RFC 5861 section 4.
#[test]
fn a_stale_response_stands_in_for_an_error_and_the_error_is_given_once_it_may_no_longer() {
    run(async {
        let site = Site::new(
            |_| {},
            |_, count| match count {
                1 => response(200, &[("cache-control", "max-age=60, stale-if-error=30")], "content").into(),
                _ => response(503, &[], "down").into(),
            },
        );
        site.get().await;
        site.pass(80);
        let stood_in = site.get().await;
        assert_eq!((stood_in.status, stood_in.text(), stood_in.field("age")), (200, "content", "80"));
        assert_eq!(stood_in.cache(), "fwd=stale; fwd-status=503; detail=stale-if-error");
        site.pass(10);
        assert_eq!(site.get().await.status, 503);
        assert_eq!(site.count(Outcome::StoodIn), 1);
    });
}

#[test]
fn a_handler_that_takes_too_long_is_an_error() {
    run(async {
        let (_open, gate) = gate();
        let site = Site::new(
            |settings| settings.fetch_timeout = Duration::from_millis(10),
            move |_, _| held_back(|| response(200, MINUTE, "late"), gate.lock().unwrap().take().unwrap()),
        );
        assert_eq!(site.get().await.status, 504);
        assert_eq!(site.cached.0.store.metrics.limited.of(Limit::Timeout).get(), 1);
    });
}

#[test]
fn parts_and_conditions_are_answered_out_of_what_is_stored() {
    run(async {
        let site = Site::new(
            |_| {},
            numbered(&[("cache-control", "max-age=60"), ("etag", "\"x\""), ("content-type", "text/plain")]),
        );
        let part = site.ask_with("GET /", &[("range", "bytes=0-5")]).await;
        assert_eq!((part.status, part.text(), part.field("content-range")), (206, "answer", "bytes 0-5/8"));
        assert!(!site.last_asked().headers.contains_key("range"), "the whole is fetched");
        let known = site.ask_with("GET /", &[("if-none-match", "W/\"x\"")]).await;
        assert_eq!((known.status, known.text(), known.now), (304, "", true));
        assert!(
            known.fields.contains_key(ETAG)
                && known.fields.contains_key(AGE)
                && !known.fields.contains_key("content-type")
        );
        let parts = site.ask_with("GET /", &[("range", "bytes=0-0,-1")]).await;
        assert!(
            parts.status == 206 && parts.text().contains("\r\ncontent-range: bytes 7-7/8\r\n\r\n1\r\n"),
            "{parts:?}"
        );
        assert_eq!(site.ask_with("GET /", &[("range", "bytes=9-")]).await.field("content-range"), "bytes */8");
        assert_eq!(site.ask_with("GET /", &[("if-match", "\"y\"")]).await.status, 412);
        assert_eq!(site.times_asked(), 1);
    });
}

#[test]
fn head_is_answered_out_of_get() {
    run(async {
        let site = Site::new(|_| {}, numbered(MINUTE));
        assert_eq!(site.ask("HEAD /").await.status, 200);
        assert_eq!(site.last_asked().method, Method::GET);
        assert_eq!(site.get().await.cache(), "hit; ttl=60");
        assert_eq!(site.ask("HEAD /").await.cache(), "hit; ttl=60");
    });
}

/// RFC 9111 section 4.1.
#[test]
fn requests_get_the_variant_that_is_theirs() {
    run(async {
        let site = Site::new(
            |_| {},
            |request, count| {
                let coding =
                    request.head.headers.get("accept-encoding").map_or("none", |coding| coding.to_str().unwrap());
                response(
                    200,
                    &[("cache-control", "max-age=60"), ("vary", "Accept-Encoding")],
                    format!("{coding} {count}"),
                )
                .into()
            },
        );
        let ask = async |coding: &'static str| site.ask_with("GET /", &[("accept-encoding", coding)]).await;
        assert_eq!(ask("gzip").await.text(), "gzip 1");
        let other = ask("br").await;
        assert_eq!((other.text(), other.cache()), ("br 2", "fwd=vary-miss; fwd-status=200; stored"));
        assert_eq!(site.get().await.text(), "none 3");
        let again = ask("GZIP;q=1.0").await;
        assert_eq!((again.text(), again.now), ("gzip 1", true));
        assert_eq!(ask("br").await.text(), "br 2");
    });
}

#[test]
fn who_waits_for_another_variant_fetches_its_own() {
    run(async {
        let (open, gate) = gate();
        let site = Site::new(
            |_| {},
            move |request, _| {
                let coding = request.head.headers["accept-encoding"].to_str().unwrap().to_owned();
                let whole =
                    move || response(200, &[("cache-control", "max-age=60"), ("vary", "Accept-Encoding")], coding);
                match gate.lock().unwrap().take() {
                    Some(gate) => held_back(whole, gate),
                    None => whole().into(),
                }
            },
        );
        let ask = |coding: &'static str| {
            let site = &site;
            async move { site.ask_with("GET /", &[("accept-encoding", coding)]).await }
        };
        let asks = futures_util::future::join3(ask("gzip"), ask("br"), ask("gzip"));
        let ((one, two, three), ()) = futures_util::future::join(asks, async {
            settle().await;
            open.send(()).unwrap();
        })
        .await;
        assert_eq!((one.text(), two.text(), three.text(), site.times_asked()), ("gzip", "br", "gzip", 2));
    });
}

/// RFC 9111 section 4.4.
#[test]
fn an_unsafe_request_makes_invalid_what_it_may_have_changed() {
    run(async {
        let site = Site::new(
            |_| {},
            |request, count| match request.head.method {
                Method::GET => {
                    response(200, &[("cache-control", "max-age=60"), ("vary", "x-a")], format!("answer {count}")).into()
                }
                Method::POST => {
                    response(201, &[("location", "/new"), ("content-location", "http://a.example/other")], "").into()
                }
                Method::PUT => response(200, &[("location", "http://b.example/new")], "").into(),
                _ => response(500, &[], "").into(),
            },
        );
        let warm = async || {
            for path in ["GET /", "GET /new", "GET /other", "GET /apart"] {
                site.ask(path).await;
                site.ask_with(path, &[("x-a", "1")]).await;
            }
        };
        let is_there = async |path: &str, value: &str| {
            let begun = site.begin(path, &[("x-a", value), ("cache-control", "only-if-cached")]);
            got(begun).await.status == 200
        };
        warm().await;
        site.ask("POST /").await;
        for (path, there) in [("GET /", false), ("GET /new", false), ("GET /other", false), ("GET /apart", true)] {
            assert_eq!(is_there(path, "1").await, there, "{path}");
        }
        warm().await;
        site.ask("PUT /").await;
        assert!(
            !is_there("GET /", "1").await && is_there("GET /new", "1").await,
            "another site says nothing of this one"
        );
        warm().await;
        site.ask("DELETE /").await;
        assert!(is_there("GET /", "1").await, "it has failed");
    });
}

#[test]
fn what_is_fetched_while_it_becomes_invalid_is_not_stored() {
    run(async {
        let (open, gate) = gate();
        let site = Site::new(
            |_| {},
            move |request, count| {
                let whole = move || response(200, MINUTE, format!("answer {count}"));
                match gate.lock().unwrap().take().filter(|_| request.head.method == Method::GET) {
                    Some(gate) => held_back(whole, gate),
                    None => whole().into(),
                }
            },
        );
        let (old, ()) = futures_util::future::join(site.get(), async {
            settle().await;
            site.ask("POST /").await;
            open.send(()).unwrap();
        })
        .await;
        assert_eq!((old.text(), site.get().await.text()), ("answer 1", "answer 3"));
    });
}

/// RFC 9111 section 3.5.
#[test]
fn who_names_itself_gets_its_own() {
    run(async {
        let site = Site::new(|_| {}, numbered(MINUTE));
        site.get().await;
        let own = site.ask_with("GET /", &[("authorization", "basic eA==")]).await;
        assert_eq!((own.text(), own.cache()), ("answer 2", "fwd=bypass; fwd-status=200"));
        assert_eq!(site.get().await.text(), "answer 1");
    });
}

#[test]
fn rules_send_requests_past_the_cache() {
    run(async {
        let site = Site::new(
            |settings| {
                (settings.bypass_headers, settings.bypass_cookies) = (vec!["x-preview".into()], vec!["session*".into()])
            },
            numbered(MINUTE),
        );
        site.get().await;
        for lines in [("x-preview", "1"), ("cookie", "a=b; session_id=7")] {
            let past = site.ask_with("GET /", &[lines]).await;
            assert_eq!((past.cache(), past.now), ("fwd=bypass; fwd-status=200", true), "{lines:?}");
        }
        assert_eq!(site.ask_with("GET /", &[("cookie", "sess=1")]).await.cache(), "hit; ttl=60");
    });
}

/// RFC 9111 section 5.2.1.7.
#[test]
fn who_takes_only_what_is_stored_is_told_that_there_is_nothing() {
    run(async {
        let site = Site::new(|_| {}, numbered(MINUTE));
        let none = site.ask_with("GET /", &[("cache-control", "only-if-cached")]).await;
        assert_eq!((none.status, site.times_asked()), (504, 0));
    });
}

#[test]
fn fetches_are_bounded_and_requests_beyond_them_go_past_the_cache() {
    run(async {
        let (_open, gate) = gate();
        let site = Site::new(
            |settings| settings.max_fetches = 1,
            move |_, count| match gate.lock().unwrap().take() {
                Some(gate) => held_back(|| response(200, MINUTE, ""), gate),
                None => response(200, MINUTE, format!("answer {count}")).into(),
            },
        );
        let mut first = Box::pin(site.get());
        assert!(waits(&mut first).await);
        settle().await;
        let past = site.ask("GET /other").await;
        assert_eq!((past.text(), past.cache()), ("answer 2", "fwd=uri-miss; fwd-status=200"));
        assert_eq!(site.cached.0.store.metrics.limited.of(Limit::Fetches).get(), 1);
    });
}

#[test]
fn what_is_meant_for_this_cache_is_seen_by_no_client() {
    run(async {
        let site = Site::new(
            |_| {},
            |_, count| {
                let lines = [
                    ("outwork-cache-control", "no-store"),
                    ("surrogate-control", "max-age=1"),
                    ("cdn-cache-control", "max-age=2"),
                    ("surrogate-key", "a"),
                ];
                let mut response = response(200, &lines, format!("answer {count}"));
                response.ready = Some(ReadyHead::new(std::mem::take(&mut response.headers)));
                response.into()
            },
        );
        for _ in 0..2 {
            let got = site.get().await;
            assert!(
                ["outwork-cache-control", "surrogate-control", "surrogate-key"]
                    .iter()
                    .all(|name| !got.fields.contains_key(*name)),
                "{got:?}"
            );
            assert_eq!(got.field("cdn-cache-control"), "max-age=2");
        }
    });
}

#[test]
fn files_and_pieces_are_stored_as_what_they_hold() {
    run(async {
        let path = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(path.path(), "0123456789").unwrap();
        let file = Arc::new(path.reopen().unwrap());
        let site = Site::new(
            |_| {},
            move |_, _| {
                let mut response = response(200, MINUTE, "");
                let part = FilePart { file: Arc::clone(&file), offset: 2, length: 4, transfer: Default::default() };
                response.body =
                    Body::Pieces(vec![Body::Full("<".into()), Body::File(part), Body::Empty, Body::Full(">".into())]);
                response.into()
            },
        );
        assert_eq!(site.get().await.text(), "<2345>");
        settle().await;
        assert_eq!((site.get().await.text(), site.times_asked()), ("<2345>", 1));
    });
}

#[test]
fn the_key_is_told_where_the_rules_say_so() {
    run(async {
        let site = Site::new(|settings| settings.debug = true, numbered(MINUTE));
        let (first, second) = (site.get().await, site.get().await);
        let key = first.cache().split("key=").nth(1).unwrap().to_owned();
        assert!(key.len() == 34 && second.cache() == format!("hit; ttl=60; key={key}"), "{first:?} {second:?}");
    });
}

#[test]
fn of_requests_whose_answers_are_their_own_none_waits_for_another_once_that_is_known() {
    run(async {
        for name in ["authorization", "cookie"] {
            let site = Site::new(|settings| settings.default_ttl = Duration::from_secs(60), numbered(&[]));
            let own = site.ask_with("GET /", &[(name, "a=1")]).await;
            assert!(own.cache().ends_with(&format!("detail={name}")), "{own:?}");
            let known = site.ask_with("GET /", &[(name, "a=2")]).await;
            assert_eq!(
                (known.text(), known.cache()),
                ("answer 2", "fwd=miss; fwd-status=200; detail=known-uncacheable")
            );
            assert_eq!(site.get().await.cache(), "fwd=uri-miss; fwd-status=200; stored", "others are not concerned");
        }
    });
}

#[test]
fn what_is_gone_is_not_given_out_of_what_was_there_before() {
    let settings = |settings: &mut Cache| settings.stale_while_revalidate = Duration::from_secs(60);
    let site = Site::new(settings, |_, count| match count {
        1 => response(200, &[("cache-control", "max-age=10")], "there").into(),
        _ => response(404, &[], "gone").into(),
    });
    run(async {
        assert_eq!(site.get().await.text(), "there");
        site.pass(11);
        assert_eq!(site.get().await.text(), "there", "it is stale, and asked for again behind the answer");
        settle().await;
        for _ in 0..2 {
            let got = site.get().await;
            assert_eq!((got.status, got.text()), (404, "gone"));
        }
        assert_eq!(site.times_asked(), 4, "and nothing is stored of the error");
    });
}

#[test]
fn who_goes_on_with_a_change_that_nobody_waits_for_has_it_invalidate_when_it_is_done() {
    run(async {
        let going_on = Arc::new(Mutex::new(None));
        let kept = Arc::clone(&going_on);
        let site = Site::new(
            |_| {},
            move |request, count| {
                if request.head.method == Method::GET {
                    return response(200, &[("cache-control", "max-age=60")], count.to_string()).into();
                }
                *kept.lock().unwrap() = request.head.extensions.get::<Changing>().cloned();
                Answer::Later(Box::pin(std::future::pending()))
            },
        );
        assert_eq!((site.get().await.text(), site.get().await.text()), ("1", "1"));
        let leave = || {
            drop(site.begin("PUT /", &[]));
            // What remembers for the test what was asked does not go on with it.
            site.inner.asked.lock().unwrap().iter_mut().for_each(|asked| asked.extensions.clear());
        };
        leave();
        assert_eq!(site.get().await.text(), "1", "it is not done yet");
        drop(going_on.lock().unwrap().take());
        assert_eq!(site.get().await.text(), "3");
        // So does one that nobody goes on with.
        leave();
        drop(going_on.lock().unwrap().take());
        assert_eq!(site.get().await.text(), "5");
    });
}

#[test]
fn a_change_that_was_lost_sight_of_invalidates_and_one_that_was_refused_does_not() {
    run(async {
        let site = Site::new(
            |_| {},
            |request, count| match request.head.method.as_str() {
                "GET" => response(200, &[("cache-control", "max-age=60")], count.to_string()).into(),
                "PUT" => response(504, &[], "no").into(),
                _ => response(409, &[], "no").into(),
            },
        );
        assert_eq!((site.get().await.text().to_owned(), site.ask("POST /").await.status), ("1".to_owned(), 409));
        assert_eq!((site.get().await.text().to_owned(), site.ask("PUT /").await.status), ("1".to_owned(), 504));
        assert_eq!(site.get().await.text(), "4");
    });
}
