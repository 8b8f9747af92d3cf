//! Clients that have us work for nothing, or wait for them.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use bytes::Bytes;

use super::*;
use crate::door::Options;
use crate::door::metrics::{Cut, Flood, Late};
use crate::door::tests::Site;
use crate::message::{Answer, Body, Handler, Request, Response, Streamed};

const SHORT: Duration = Duration::from_millis(300);
const STREAMS: u32 = 128;

fn running() -> Running {
    Running::new(Options::default())
}

/// One request after the other, with numbers that a client may use.
fn streams(count: u32) -> impl Iterator<Item = u32> {
    (0..count).map(|at| 2 * at + 1)
}

/// All that a client says of a flood: what comes first, and then the same again and again.
fn flood(first: Vec<u8>, again: &[u8], times: usize) -> Vec<u8> {
    [first, again.repeat(times)].concat()
}

/// A client says all of it and is sent away, and others are served.
fn sends_away(of: &[Flood], said: Vec<u8>) {
    let running = running();
    let mut other = Client::new(&running, &[]);
    let mut client = Client::new(&running, &[]);
    client.say(&said);
    let heard = client.wait(&Event::Closed);
    let told = heard.iter().rev().nth(1);
    assert_eq!(told, Some(&Event::Goaway(Reason::ENHANCE_YOUR_CALM)), "{of:?}: {} heard", heard.len());
    other.say(&get(1, "/now"));
    assert_eq!(other.content(1), "at once");
    let mut another = Client::new(&running, &[]);
    another.say(&get(1, "/now"));
    assert_eq!(another.content(1), "at once");
    // Of what the crate has told by itself, the client may know first.
    let floods = || of.iter().map(|of| running.metrics.http2_floods.of(*of).get()).sum::<u64>();
    until(|| floods() > 0);
    assert_eq!((floods(), running.metrics.connections_cut.of(Cut::Flood).get()), (1, 1), "{of:?}");
}

/// A head with a field of 4000 bytes that is referred to many times.
fn bomb(references: usize) -> Vec<u8> {
    let field = [&[0x40][..], &text(false, "a"), &text(false, &"x".repeat(4000))].concat();
    frame(kind::HEADERS, WHOLE, 1, &[&block(&GET), &field[..], &[0xbe].repeat(references)].concat())
}

#[test]
fn who_sends_more_than_it_has_use_for_is_sent_away_and_counted() {
    // CVE-2023-44487.
    let rapid = streams(400).flat_map(|stream| [get(stream, "/never"), reset(stream, 8)].concat());
    sends_away(&[Flood::Reset], rapid.collect());
    // CVE-2025-8671: the client has us reset its streams.
    let lines = [GET[0], GET[1], GET[2], GET[3], ("connection", "close")];
    let malformed = streams(400).flat_map(|stream| headers(WHOLE, stream, &lines));
    sends_away(&[Flood::Induced], malformed.collect());
    let overflowing = streams(400).flat_map(|stream| [get(stream, "/never"), window(stream, u32::MAX >> 1)].concat());
    sends_away(&[Flood::Induced, Flood::Window], overflowing.collect());
    let beyond = (0..500).map(|at| 2 * at + 1).flat_map(|stream| get(stream, "/never"));
    sends_away(&[Flood::Induced], beyond.collect());
    // CVE-2024-27316, with pieces of nothing and of something.
    let begun = || frame(kind::HEADERS, flag::END_STREAM, 1, &block(&GET));
    sends_away(&[Flood::Continuation], flood(begun(), &frame(kind::CONTINUATION, 0, 1, &[]), 100));
    let piece = block(&[("a", &"x".repeat(4000))]);
    sends_away(&[Flood::Continuation], flood(begun(), &frame(kind::CONTINUATION, 0, 1, &piece), 20));
    // Heads that are small on the wire.
    sends_away(&[Flood::Head], bomb(1000));
    // CVE-2019-9512, 9515, and their like.
    sends_away(&[Flood::Ping], flood(Vec::new(), &frame(kind::PING, 0, 0, &[0; 8]), 2000));
    sends_away(&[Flood::Settings], flood(Vec::new(), &settings(&[]), 2000));
    sends_away(&[Flood::Settings], flood(Vec::new(), &settings(&[(4, 0), (4, 1), (1, 0), (5, 1 << 14)]), 2000));
    sends_away(&[Flood::Window], flood(Vec::new(), &window(0, 1), 2000));
    sends_away(&[Flood::Window], flood(get(1, "/never"), &window(1, 1), 2000));
    sends_away(&[Flood::Priority], flood(Vec::new(), &priority(1, 3), 2000));
    sends_away(&[Flood::Unknown], flood(Vec::new(), &frame(0xbe, 0, 1, b"x"), 2000));
    // CVE-2019-9518: content that is none, and content in crumbs that nobody reads.
    sends_away(&[Flood::Data], flood(post(1, "/never"), &data(0, 1, b""), 2000));
    sends_away(&[Flood::Data], flood(post(1, "/never"), &data(flag::PADDED, 1, b"\0"), 2000));
    sends_away(&[Flood::Data], flood(post(1, "/never"), &data(0, 1, b"x"), 4000));
}

#[test]
fn who_sends_a_little_of_it_stays() {
    let sizes = frame(kind::HEADERS, WHOLE, 1, &[&[0x20].repeat(9000)[..], &block(&GET)].concat());
    let cases = [
        flood(Vec::new(), &frame(kind::PING, 0, 0, &[0; 8]), 800),
        flood(Vec::new(), &settings(&[]), 800),
        flood(Vec::new(), &[window(0, 1), priority(1, 3), frame(0xbe, 0, 0, b"x")].concat(), 250),
        flood(get(1, "/now"), &window(1, 1), 800),
        streams(200).flat_map(|stream| [get(stream, "/never"), reset(stream, 8)].concat()).collect(),
        // As much is read as was sent.
        sizes,
        bomb(2),
    ];
    let running = running();
    for said in cases {
        let mut client = Client::new(&running, &[]);
        client.say(&said);
        assert_eq!(client.lives().last(), Some(&Event::Pong(*b"are you?")));
        client.say(&get(801, "/now"));
        assert_eq!(client.content(801), "at once");
    }
    assert_eq!(running.metrics.connections_cut.of(Cut::Flood).get(), 0);
}

#[test]
fn who_lets_as_much_be_answered_as_it_gives_up_stays() {
    let running = running();
    let mut client = Client::new(&running, &[]);
    for round in 0..600 {
        let stream = 4 * round + 1;
        client.say(&[get(stream, "/never"), reset(stream, 8), get(stream + 2, "/now")].concat());
        assert_eq!(client.content(stream + 2), "at once");
    }
    assert_eq!(client.ends(Ends::Lives), Ok(()));
}

/// Requests that a handler works at, and parts of answers that were made.
#[derive(Default)]
struct Work {
    now: AtomicUsize,
    most: AtomicUsize,
    parts: AtomicUsize,
}

/// Counted while it is there.
struct Working(Arc<Work>);

impl Working {
    fn new(work: &Arc<Work>) -> Self {
        let now = work.now.fetch_add(1, Ordering::Relaxed) + 1;
        work.most.fetch_max(now, Ordering::Relaxed);
        Self(Arc::clone(work))
    }
}

impl Drop for Working {
    fn drop(&mut self) {
        self.0.now.fetch_sub(1, Ordering::Relaxed);
    }
}

struct Counting(Arc<Work>);

impl Handler for Counting {
    fn handle(&self, request: Request) -> Answer {
        let working = Working::new(&self.0);
        match request.head.uri.path() {
            "/work" => Answer::Later(Box::pin(async move {
                let _working = working;
                std::future::pending().await
            })),
            "/parts" => {
                let parts = futures_util::stream::repeat_with(move || {
                    working.0.parts.fetch_add(1, Ordering::Relaxed);
                    Ok(Bytes::from_static(&[b'x'; 1000]))
                });
                let mut response = Response::new(http::StatusCode::OK);
                response.body = Body::Stream(Streamed { length: None, parts: Box::pin(parts), trailers: None });
                response.into()
            }
            _ => Site.handle(request),
        }
    }
}

/// Waits for something that comes soon if it comes at all.
fn until(come: impl Fn() -> bool) {
    let begun = Instant::now();
    while !come() {
        assert!(begun.elapsed() < Duration::from_secs(60), "it does not come");
        std::thread::yield_now();
    }
}

/// Waits until nobody works any more.
fn until_idle(work: &Work) {
    until(|| work.now.load(Ordering::Relaxed) == 0);
}

#[test]
fn nobody_works_for_a_request_that_was_given_up() {
    let work = Arc::new(Work::default());
    let running = Running::with(Options::default(), Counting(Arc::clone(&work)));
    let mut client = Client::new(&running, &[]);
    for stream in streams(100) {
        client.say(&get(stream, "/work"));
    }
    client.lives();
    for stream in streams(100) {
        client.say(&reset(stream, 8));
    }
    until_idle(&work);
    assert_eq!(client.ends(Ends::Lives), Ok(()));
    // Nor of a client that was sent away, however much it has begun.
    let rapid = (100..1000).map(|at| 2 * at + 1).flat_map(|stream| [get(stream, "/work"), reset(stream, 8)].concat());
    client.say(&rapid.collect::<Vec<_>>());
    assert_eq!(client.wait(&Event::Closed).iter().rev().nth(1), Some(&Event::Goaway(Reason::ENHANCE_YOUR_CALM)));
    until_idle(&work);
    let most = work.most.load(Ordering::Relaxed);
    assert!(most <= 256 + STREAMS as usize, "{most} at once");
}

#[test]
fn answers_that_nobody_takes_are_not_made_and_end() {
    let work = Arc::new(Work::default());
    let options = Options { send_timeout: SHORT, ..Options::default() };
    let running = Running::with(options, Counting(Arc::clone(&work)));
    let mut client = Client::new(&running, &[(4, 0)]);
    // Nothing of these fits: what is made in parts, what is there whole, and what is small.
    let paths = ["/parts", "/large", "/now", "/file"];
    for (stream, path) in streams(STREAMS).zip(paths.iter().cycle()) {
        client.say(&get(stream, path));
    }
    let mut cancelled = 0;
    while cancelled < STREAMS {
        match client.hear() {
            Event::Reset(_, Reason::CANCEL) => cancelled += 1,
            Event::Status(_, 200) => {}
            other => panic!("{other:?}"),
        }
    }
    until_idle(&work);
    assert_eq!(work.parts.load(Ordering::Relaxed), STREAMS as usize / paths.len(), "one part of each waits");
    assert_eq!(running.metrics.requests_late.of(Late::Answer).get(), u64::from(STREAMS));
    client.say(&[window(0, 1), settings(&[(4, 100)]), get(1001, "/now")].concat());
    assert_eq!(client.content(1001), "at once", "the connection goes on");
}

#[test]
fn a_client_has_so_many_streams_open_at_once_and_those_end() {
    let running = Running::new(Options { request_timeout: SHORT, ..Options::default() });
    let mut client = Client::new(&running, &[]);
    for stream in streams(STREAMS + 1) {
        client.say(&post(stream, "/echo"));
    }
    let (mut refused, mut ended) = (Vec::new(), 0);
    while ended < STREAMS {
        match client.hear() {
            Event::Reset(stream, Reason::REFUSED_STREAM) => refused.push(stream),
            Event::Status(_, 400) => ended += 1,
            Event::Content(..) | Event::End(_) | Event::Reset(_, Reason::NO_ERROR) => {}
            other => panic!("{other:?}"),
        }
    }
    assert_eq!(refused, [2 * STREAMS + 1]);
    assert_eq!(running.metrics.requests_late.of(Late::Body).get(), u64::from(STREAMS));
}

#[test]
fn who_takes_nothing_at_all_does_not_stay() {
    let options = Options { send_timeout: SHORT, keep_alive: SHORT, request_timeout: SHORT, ..Options::default() };
    let running = Running::new(options);
    let mut client = Client::new(&running, &[(4, u32::MAX >> 1)]);
    client.say(&window(0, (u32::MAX >> 1) - 65_535));
    for stream in streams(STREAMS) {
        client.say(&get(stream, "/large"));
    }
    // It reads nothing: what was sent fills the sockets, and the rest waits.
    until(|| running.metrics.connections_open.get() == 0);
}
