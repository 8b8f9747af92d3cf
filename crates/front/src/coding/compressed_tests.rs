use std::rc::Rc;

use futures_util::stream;
use http::header::ACCEPT_ENCODING;

use super::*;
use crate::coding::encoder::decode;
use crate::message::{Origin, ReadyHead, RequestBody};

/// Answers with what a function makes.
struct Fixed<F>(F);

impl<F: Fn() -> Response + Send + Sync> Handler for Fixed<F> {
    fn handle(&self, _: Request) -> Answer {
        (self.0)().into()
    }
}

struct Answered {
    response: Response,
    body: Vec<u8>,
    /// The parts that a stream came in.
    parts: usize,
}

impl Answered {
    fn field(&self, name: &str) -> Option<&str> {
        let ready = self.response.ready.as_ref().and_then(|ready| ready.fields.get(name));
        self.response.headers.get(name).or(ready).map(|value| value.to_str().unwrap())
    }

    fn coding(&self) -> Option<&str> {
        self.field("content-encoding")
    }
}

fn ask(
    compressor: &Arc<Compressor>,
    method: Method,
    accept: &str,
    make: impl Fn() -> Response + Send + Sync + 'static,
) -> Answered {
    let handler = Compressed::new(Arc::new(Fixed(make)), Compression::default(), Arc::clone(compressor));
    let (mut head, ()) = http::Request::new(()).into_parts();
    head.method = method;
    head.headers.insert(ACCEPT_ENCODING, HeaderValue::from_str(accept).unwrap());
    let address = ([127, 0, 0, 1], 1).into();
    let origin = Rc::new(Origin { peer: address, local: address, to: None, tls: false, session: None });
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(async {
        let mut response = match handler.handle(Request { head, body: RequestBody::Empty, origin }) {
            Answer::Now(response) => response,
            Answer::Later(response) => response.await,
        };
        let (mut body, mut parts) = (Vec::new(), 0);
        match std::mem::replace(&mut response.body, Body::Empty) {
            Body::Full(content) => body.extend_from_slice(&content),
            Body::Stream(mut stream) => {
                while let Some(part) = stream.parts.next().await {
                    body.extend_from_slice(&part.unwrap());
                    parts += 1;
                }
            }
            other => body.extend_from_slice(&Part::gather(Part::of(&other)).unwrap()),
        }
        Answered { response, body, parts }
    })
}

fn compressor() -> Arc<Compressor> {
    Compressor::new(2, Arc::default())
}

fn get(accept: &str, make: impl Fn() -> Response + Send + Sync + 'static) -> Answered {
    ask(&compressor(), Method::GET, accept, make)
}

fn page(length: usize) -> Response {
    Response::full(StatusCode::OK, "text/html; charset=utf-8", "<p>ab</p>\n".repeat(length / 10))
}

fn with(name: &'static str, value: &'static str) -> impl Fn() -> Response + Send + Sync {
    move || {
        let mut response = page(3000);
        response.headers.insert(name, HeaderValue::from_static(value));
        response
    }
}

#[test]
fn small_and_large_contents_are_compressed_in_the_coding_that_was_chosen() {
    for coding in Coding::ALL {
        for length in [2000, 200_000] {
            let got = get(coding.token(), move || page(length));
            assert_eq!((got.coding(), got.field("vary")), (Some(coding.token()), Some("accept-encoding")));
            assert!(got.body.len() < length / 2);
            assert_eq!(decode(*coding, &got.body).unwrap().len(), length, "{coding} {length}");
        }
    }
}

#[test]
fn what_is_not_worth_it_or_not_allowed_is_left_as_it_is() {
    let alike = |got: Answered| got.coding().is_none_or(|coding| coding == "other") && got.body.len() == 3000;
    assert!(get("gzip", || page(500)).coding().is_none());
    assert!(get("gzip", || Response::full(StatusCode::OK, "image/png", vec![0; 3000])).coding().is_none());
    for (name, value) in [
        ("content-encoding", "other"),
        ("cache-control", "public, No-Transform"),
        ("content-range", "bytes 0-2999/9000"),
        ("repr-digest", "sha-256=:x:"),
    ] {
        assert!(alike(get("gzip", with(name, value))), "{name}");
    }
    for status in [StatusCode::PARTIAL_CONTENT, StatusCode::NO_CONTENT, StatusCode::NOT_MODIFIED] {
        let got = get("gzip", move || Response { status, ..page(3000) });
        assert!(got.coding().is_none(), "{status}");
    }
}

#[test]
fn a_response_that_others_get_compressed_says_so_to_caches() {
    for accept in ["", "identity", "gzip"] {
        assert_eq!(get(accept, || page(3000)).field("vary"), Some("accept-encoding"), "{accept:?}");
    }
    let got = get("gzip", with("vary", "origin, Accept-Encoding"));
    assert_eq!(got.response.headers.get_all(VARY).iter().count(), 1);
    assert!(get("gzip", || Response::full(StatusCode::OK, "image/png", vec![0; 3000])).field("vary").is_none());
    let got = get("gzip", || Response::new(StatusCode::NOT_MODIFIED));
    assert_eq!(got.field("vary"), Some("accept-encoding"));
}

#[test]
fn fields_that_were_ready_stay_and_those_of_the_bytes_as_they_were_change() {
    let make = || {
        let mut response = page(3000);
        let fields = [
            (ETAG, HeaderValue::from_static("\"x\"")),
            (ACCEPT_RANGES, HeaderValue::from_static("bytes")),
            (CACHE_CONTROL, HeaderValue::from_static("max-age=1")),
        ];
        response.ready = Some(ReadyHead::new(fields.into_iter().collect()));
        response
    };
    let got = get("br", make);
    assert_eq!((got.field("etag"), got.field("cache-control")), (Some("W/\"x\""), Some("max-age=1")));
    assert_eq!(got.field("accept-ranges"), None);
    let plain = get("", make);
    assert_eq!((plain.field("etag"), plain.field("accept-ranges")), (Some("\"x\""), Some("bytes")));
    assert_eq!(get("br", with("etag", "W/\"y\"")).field("etag"), Some("W/\"y\""));
}

#[test]
fn head_is_told_what_get_would_be_but_not_how_long() {
    let got = ask(&compressor(), Method::HEAD, "gzip", || page(3000));
    assert_eq!((got.coding(), got.field("content-length"), got.body.len()), (Some("gzip"), None, 0));
    let said = || {
        let mut response = Response::new(StatusCode::OK);
        response.headers.insert(CONTENT_TYPE, HeaderValue::from_static("text/html"));
        response.headers.insert(CONTENT_LENGTH, HeaderValue::from_static("3000"));
        response
    };
    let got = ask(&compressor(), Method::HEAD, "gzip", said);
    assert_eq!((got.coding(), got.field("content-length")), (Some("gzip"), None));
}

#[test]
fn a_client_that_does_not_take_it_as_it_is_gets_it_coded_or_not_at_all() {
    let image = || Response::full(StatusCode::OK, "image/png", vec![0; 300]);
    let got = get("identity;q=0, gzip", image);
    assert_eq!((got.response.status, got.coding()), (StatusCode::OK, Some("gzip")));
    assert_eq!(decode(Coding::Gzip, &got.body).unwrap(), vec![0; 300]);
    let got = get("identity;q=0", image);
    assert_eq!((got.response.status, got.field("vary")), (StatusCode::NOT_ACCEPTABLE, Some("accept-encoding")));
}

#[test]
fn where_all_is_busy_a_content_is_sent_as_it_is() {
    let compressor = Compressor::new(1, Arc::default());
    let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
    let (hold, release) = std::sync::mpsc::channel::<()>();
    let (begun, begins) = std::sync::mpsc::channel();
    let busy = std::thread::spawn({
        let compressor = Arc::clone(&compressor);
        move || {
            let work = move || {
                begun.send(()).unwrap();
                release.recv()
            };
            runtime.block_on(compressor.run(Patience::None, work))
        }
    });
    begins.recv().unwrap();
    let got = ask(&compressor, Method::GET, "gzip", || page(100_000));
    assert_eq!(got.coding(), None);
    assert_eq!((got.body.len(), got.field("vary")), (100_000, Some("accept-encoding")));
    assert_eq!(compressor.metrics().uncompressed.of(Uncompressed::Busy).get(), 1);
    drop(hold);
    busy.join().unwrap();
}

#[test]
fn a_file_is_read_and_compressed_elsewhere() {
    let make = || {
        let file = tempfile::tempfile().unwrap();
        FileExt::write_all_at(&file, &b"line\n".repeat(2000), 0).unwrap();
        let part = |offset, length| {
            Body::File(crate::message::FilePart {
                file: Arc::new(file.try_clone().unwrap()),
                offset,
                length,
                transfer: Default::default(),
            })
        };
        let mut response = page(0);
        response.body = Body::Pieces(vec![Body::Full("head\n".into()), part(0, 5000), part(5000, 5000)]);
        response
    };
    let got = get("zstd", make);
    assert_eq!(decode(Coding::Zstd, &got.body).unwrap(), [&b"head\n"[..], &b"line\n".repeat(2000)].concat());
}

fn streamed(kind: &'static str, length: Option<u64>, parts: Vec<Bytes>, pauses: bool) -> Response {
    let mut response = page(0);
    response.headers.insert(CONTENT_TYPE, HeaderValue::from_static(kind));
    let parts = stream::iter(parts).then(move |part| async move {
        if pauses {
            tokio::task::yield_now().await;
        }
        Ok(part)
    });
    response.body = Body::Stream(Streamed { length, parts: Box::pin(parts), trailers: None });
    response
}

#[test]
fn a_stream_is_compressed_as_it_comes_and_what_has_come_does_not_wait_for_more() {
    let lines = || (0..20).map(|line| Bytes::from(format!("line {line}\n").repeat(20))).collect::<Vec<_>>();
    let whole = lines().concat();
    for coding in Coding::ALL {
        let at_once = get(coding.token(), move || streamed("text/html", None, lines(), false));
        assert_eq!((at_once.parts, at_once.response.body.length()), (1, Some(0)), "{coding}");
        assert_eq!(decode(*coding, &at_once.body).unwrap(), whole, "{coding}");
        let slow = get(coding.token(), move || streamed("text/html", None, lines(), true));
        assert!(slow.parts >= 20, "{coding}: {}", slow.parts);
        assert_eq!(decode(*coding, &slow.body).unwrap(), whole, "{coding}");
    }
}

#[test]
fn large_parts_of_a_stream_go_through_other_threads_in_order() {
    let parts = || (0..5u8).map(|part| Bytes::from(vec![b'a' + part; 50_000])).collect::<Vec<_>>();
    let got = get("gzip", move || streamed("text/html", Some(250_000), parts(), false));
    assert_eq!((got.coding(), got.field("content-length")), (Some("gzip"), None));
    assert_eq!(decode(Coding::Gzip, &got.body).unwrap(), parts().concat());
}

#[test]
fn each_event_is_sent_when_it_happens() {
    let settings = Compression { types: vec!["text/event-stream".into()], ..Compression::default() };
    let events = || (0..5).map(|event| Bytes::from(format!("data: {event}\n\n"))).collect::<Vec<_>>();
    let shared = Arc::new(Shared { settings, compressor: compressor() });
    let asked = Asked {
        accepted: Accepted::of(&HeaderMap::from_iter([(ACCEPT_ENCODING, HeaderValue::from_static("gzip"))])),
        is_head: false,
    };
    let Answer::Now(response) = shared.pass(streamed("text/event-stream", None, events(), false), asked) else {
        panic!("it is there at once");
    };
    let Body::Stream(stream) = response.body else { panic!("it is a stream") };
    let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
    let parts: Vec<Bytes> = runtime.block_on(stream.parts.map(Result::unwrap).collect());
    assert_eq!(parts.len(), 6, "one for each event, and the end");
    assert_eq!(decode(Coding::Gzip, &parts.concat()).unwrap(), events().concat());
    assert_eq!(shared.compressor.metrics().streams_open.get(), 0);
}

#[test]
fn a_stream_that_fails_fails_for_the_client_too() {
    let make = || {
        let mut response = page(0);
        let parts = stream::iter([Ok(Bytes::from_static(b"some")), Err(BodyError::Malformed("it ends here"))]);
        response.body = Body::Stream(Streamed { length: None, parts: Box::pin(parts), trailers: None });
        response
    };
    let shared = Arc::new(Shared { settings: Compression::default(), compressor: compressor() });
    let accepted = Accepted::of(&HeaderMap::from_iter([(ACCEPT_ENCODING, HeaderValue::from_static("gzip"))]));
    let Answer::Now(response) = shared.pass(make(), Asked { accepted, is_head: false }) else { panic!("at once") };
    let Body::Stream(stream) = response.body else { panic!("it is a stream") };
    let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
    let parts: Vec<_> = runtime.block_on(stream.parts.collect());
    assert!(parts.last().unwrap().is_err());
}
