//! Who is too slow, over HTTP/1 and HTTP/2, and who is only slow.

use std::future::poll_fn;
use std::task::Poll;

use h2::client::{ResponseFuture, SendRequest};
use h2::{Reason, SendStream};
use http::Request as Asked;

use super::super::metrics::Late;
use super::*;

const SHORT: Duration = Duration::from_millis(300);

impl Running {
    fn late(&self, what: Late) -> u64 {
        self.metrics.requests_late.of(what).get()
    }
}

/// Runs with a connection of HTTP/2.
fn over_http_2<T>(running: &Running, run: impl AsyncFnOnce(SendRequest<Bytes>) -> T) -> T {
    let address = running.door.as_ref().unwrap().addresses()[0];
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(async {
        let stream = tokio::net::TcpStream::connect(address).await.unwrap();
        let (send, connection) = h2::client::handshake(stream).await.unwrap();
        let connection = tokio::spawn(connection);
        let outcome = tokio::time::timeout(Duration::from_secs(20), run(send)).await.unwrap();
        connection.abort();
        outcome
    })
}

/// Begins a request, with content to follow or without.
async fn begin(client: &SendRequest<Bytes>, method: Method, path: &str) -> (ResponseFuture, SendStream<Bytes>) {
    let mut client = client.clone().ready().await.unwrap();
    let ends = method == Method::GET;
    let request = Asked::builder().method(method).uri(format!("http://a{path}")).body(()).unwrap();
    client.send_request(request, ends).unwrap()
}

async fn answer(response: ResponseFuture) -> (StatusCode, String) {
    let (head, mut body) = response.await.unwrap().into_parts();
    let mut text = Vec::new();
    while let Some(part) = body.data().await {
        let part = part.unwrap();
        body.flow_control().release_capacity(part.len()).unwrap();
        text.extend_from_slice(&part);
    }
    (head.status, String::from_utf8_lossy(&text).into_owned())
}

#[test]
fn a_body_over_http_2_that_stalls_ends_early_and_the_other_requests_of_its_connection_do_not() {
    let running = Running::new(Options { request_timeout: SHORT, ..Options::default() });
    over_http_2(&running, async |client| {
        let (response, mut body) = begin(&client, Method::POST, "/echo").await;
        body.send_data(Bytes::from_static(b"hel"), false).unwrap();
        let (status, text) = answer(response).await;
        assert!(status == StatusCode::BAD_REQUEST && text.contains("ends early"), "{status} {text}");
        let (response, _) = begin(&client, Method::GET, "/now").await;
        assert_eq!(answer(response).await.1, "at once");
    });
    assert_eq!((running.late(Late::Body), running.metrics.connections_cut.of(Cut::Late).get()), (1, 0));
}

#[test]
fn who_drips_is_cut_off_though_it_is_never_silent() {
    let dripped = Options { request_timeout: SHORT, min_rate: 1 << 20, ..Options::default() };
    let running = Running::new(dripped);
    let mut stream = running.connect();
    stream.write_all(b"POST /echo HTTP/1.1\r\nHost: a\r\nContent-Length: 100000\r\n\r\n").unwrap();
    // Once it is answered, nobody listens any more.
    while running.late(Late::Body) == 0 && stream.write_all(b"x").is_ok() {
        std::thread::sleep(Duration::from_millis(10));
    }
    assert!(read(&mut stream).contains("ends early"));
    over_http_2(&running, async |client| {
        let (response, mut body) = begin(&client, Method::POST, "/echo").await;
        let drip = async {
            while body.send_data(Bytes::from_static(b"x"), false).is_ok() {
                tokio::time::sleep(Duration::from_millis(10)).await;
            }
            std::future::pending::<()>().await;
        };
        tokio::select! {
            (_, text) = answer(response) => assert!(text.contains("ends early"), "{text}"),
            () = drip => {}
        }
    });
    assert_eq!(running.late(Late::Body), 2);
}

#[test]
fn a_slow_honest_upload_lives_longer_than_the_time_without_any() {
    const PIECES: usize = 12;
    let patient = Options { request_timeout: Duration::from_secs(2), min_rate: 16, ..Options::default() };
    let running = Running::new(patient);
    let mut stream = running.connect();
    stream.write_all(b"POST /echo HTTP/1.1\r\nHost: a\r\nConnection: close\r\nContent-Length: 1200\r\n\r\n").unwrap();
    let uploading = std::thread::spawn(move || {
        for _ in 0..PIECES {
            std::thread::sleep(Duration::from_millis(250));
            stream.write_all(&[b'x'; 100]).unwrap();
        }
        read(&mut stream)
    });
    over_http_2(&running, async |client| {
        let (response, mut body) = begin(&client, Method::POST, "/echo").await;
        for index in 1..=PIECES {
            tokio::time::sleep(Duration::from_millis(250)).await;
            body.send_data(Bytes::from_static(&[b'x'; 100]), index == PIECES).unwrap();
        }
        let (status, text) = answer(response).await;
        assert_eq!((status, text.len()), (StatusCode::OK, 1200));
    });
    assert_eq!(body(&uploading.join().unwrap()).len(), 1200);
    assert_eq!(running.late(Late::Body), 0);
}

#[test]
fn a_handler_that_takes_too_long_is_answered_for() {
    let running = Running::new(Options { request_timeout: SHORT, ..Options::default() });
    let over_1 = running.ask(&get("/never"));
    assert!(over_1.starts_with("HTTP/1.1 504 ") && over_1.contains("connection: close"), "{over_1}");
    assert!(body(&over_1).contains("This server is at fault"), "{over_1}");
    over_http_2(&running, async |client| {
        let (response, _) = begin(&client, Method::GET, "/never").await;
        assert_eq!(answer(response).await.0, StatusCode::GATEWAY_TIMEOUT);
    });
    assert_eq!(running.late(Late::Handler), 2);
}

#[test]
fn who_takes_nothing_of_its_answer_over_http_2_loses_it() {
    let running = Running::new(Options { send_timeout: SHORT, ..Options::default() });
    over_http_2(&running, async |client| {
        for path in ["/file", "/large"] {
            let (response, _) = begin(&client, Method::GET, path).await;
            let mut body = response.await.unwrap().into_body();
            let error = loop {
                // The window of the stream is not given back.
                match body.data().await {
                    Some(Ok(_)) => {}
                    Some(Err(error)) => break error,
                    None => panic!("the window is smaller than the answer"),
                }
            };
            assert_eq!(error.reason(), Some(Reason::CANCEL), "{path}");
        }
    });
    assert_eq!(running.late(Late::Answer), 2);
}

#[test]
fn a_stream_whose_content_nobody_wants_is_not_reset_while_that_is_little() {
    let running = Running::new(Options::default());
    over_http_2(&running, async |client| {
        let (response, mut body) = begin(&client, Method::POST, "/now").await;
        assert_eq!(answer(response).await.1, "at once");
        // What was sent of the first stream came before this.
        let (response, _) = begin(&client, Method::GET, "/now").await;
        assert_eq!(answer(response).await.1, "at once");
        let reset = poll_fn(|context| Poll::Ready(body.poll_reset(context).is_ready())).await;
        assert!(!reset, "it is listened to");
        body.send_data(Bytes::from_static(b"unwanted"), true).unwrap();
    });
}

#[test]
fn little_content_that_is_on_its_way_comes_before_the_answer() {
    let running = Running::new(Options::default());
    over_http_2(&running, async |client| {
        let mut client = client.ready().await.unwrap();
        let mut begin = |expect: bool| {
            let request = Asked::builder().method(Method::POST).uri("http://a/now").header("content-length", "8");
            let request = if expect { request.header("expect", "100-continue") } else { request };
            client.send_request(request.body(()).unwrap(), false).unwrap()
        };
        let (mut response, mut body) = begin(false);
        let (waits, _open) = begin(true);
        assert_eq!(answer(waits).await.1, "at once", "who waits to be asked for its content does not wait for ever");
        let answered = poll_fn(|context| Poll::Ready(std::pin::pin!(&mut response).poll(context).is_ready())).await;
        assert!(!answered);
        body.send_data(Bytes::from_static(b"unwanted"), true).unwrap();
        assert_eq!(answer(response).await.1, "at once");
    });
}
