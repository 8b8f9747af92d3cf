//! Backends that speak HTTP/2: one connection for many requests, streams both ways, and what comes after the content.

use std::io::Write;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering::SeqCst};

use bytes::Bytes;
use h2::server::SendResponse;
use h2::{RecvStream, SendStream};
use http::{HeaderMap, HeaderValue, Request, Response};
use tokio::net::{TcpListener, TcpStream};

use super::extras::count;
use super::{body, site};
use crate::binary::{Place, get, json, until};

/// A service that does not work.
const LAME: &str = "app.Lame";

/// A call that is not answered.
const NEVER: &str = "/echo.Echo/Never";

/// A server of gRPC, as far as HTTP/2 goes: it sends back what it gets, part by part, and after that the fields that came after it.
pub(super) struct Grpc {
    pub(super) address: SocketAddr,
    connections: Arc<AtomicUsize>,
    serving: Arc<AtomicBool>,
}

impl Grpc {
    pub(super) fn start(host: &str) -> Self {
        let listener = std::net::TcpListener::bind((host, 0)).expect("a port");
        listener.set_nonblocking(true).expect("a mode");
        let address = listener.local_addr().expect("an address");
        let (connections, serving): (Arc<AtomicUsize>, _) = (Arc::default(), Arc::new(AtomicBool::new(true)));
        let (opened, works) = (Arc::clone(&connections), Arc::clone(&serving));
        std::thread::spawn(move || {
            runtime().block_on(async {
                let listener = TcpListener::from_std(listener).expect("a listener");
                while let Ok((stream, _)) = listener.accept().await {
                    opened.fetch_add(1, SeqCst);
                    tokio::spawn(serve(stream, Arc::clone(&works)));
                }
            });
        });
        Self { address, connections, serving }
    }
}

pub(super) fn runtime() -> tokio::runtime::Runtime {
    tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime")
}

async fn serve(stream: TcpStream, serving: Arc<AtomicBool>) {
    let Ok(mut connection) = h2::server::handshake(stream).await else { return };
    while let Some(Ok((request, respond))) = connection.accept().await {
        tokio::spawn(answer(request, respond, Arc::clone(&serving)));
    }
}

async fn answer(request: Request<RecvStream>, mut respond: SendResponse<Bytes>, serving: Arc<AtomicBool>) {
    let (head, mut body) = request.into_parts();
    if head.uri.path() == NEVER {
        return std::future::pending().await;
    }
    let said = head.headers.get("grpc-timeout").cloned().unwrap_or(HeaderValue::from_static("none"));
    let response = Response::builder().header("content-type", "application/grpc").header("x-timeout", said);
    let response = response.header("x-te", head.headers.get("te").cloned().unwrap_or(HeaderValue::from_static("none")));
    let mut stream = respond.send_response(response.body(()).expect("a head"), false).expect("it is heard");
    if head.uri.path() == "/grpc.health.v1.Health/Check" {
        let asked = body.data().await.and_then(Result::ok).unwrap_or_default();
        let status = if serving.load(SeqCst) && !asked.ends_with(LAME.as_bytes()) { 1 } else { 2 };
        stream.send_data(Bytes::copy_from_slice(&[0, 0, 0, 0, 2, 8, status]), false).expect("it is heard");
        return end(&mut stream, None);
    }
    while let Some(part) = body.data().await {
        let Ok(part) = part else { return };
        body.flow_control().release_capacity(part.len()).expect("a window");
        if stream.send_data(part, false).is_err() {
            return;
        }
    }
    end(&mut stream, body.trailers().await.ok().flatten());
}

fn end(stream: &mut SendStream<Bytes>, came: Option<HeaderMap>) {
    let mut trailers = came.unwrap_or_default();
    trailers.insert("grpc-status", HeaderValue::from_static("0"));
    stream.send_trailers(trailers).expect("they are heard");
}

/// A place that passes everything on to this.
pub(super) fn place(more: &str) -> (Place, Grpc) {
    let mut place = Place::new();
    let grpc = Grpc::start(place.host());
    place.change(|text| {
        let (host, address) = (place.host(), grpc.address);
        format!(
            "{text}\n[[front.listener]]\naddress = '{host}:8080'\n[[front.route]]\npath = '/*'\nproxy = {{ pool = 'app' }}\n\
             [proxy.pool.app]\nbackend = [{{ url = 'h2c://{address}' }}]\n{more}\n"
        )
    });
    place.start();
    (place, grpc)
}

#[test]
fn a_call_goes_both_ways_at_once_and_what_comes_after_it_arrives() {
    let (place, grpc) = place("");
    let host = place.host().to_owned();
    runtime().block_on(async {
        let stream = TcpStream::connect((host.as_str(), 8080)).await.expect("it listens");
        let (mut send, connection) = h2::client::handshake(stream).await.expect("HTTP/2");
        tokio::spawn(connection);
        for _ in 0..3 {
            let request = Request::post(format!("http://{host}:8080/echo.Echo/Both"));
            let request = request.header("content-type", "application/grpc").header("te", "trailers");
            let (response, mut up) = send.send_request(request.body(()).expect("a head"), false).expect("it is heard");
            let response = response.await.expect("a head");
            assert_eq!(response.headers()["x-te"], "trailers");
            let mut down = response.into_body();
            for part in ["one", "two", "three"] {
                up.send_data(Bytes::from(part), false).expect("it is heard");
                assert_eq!(down.data().await.expect("a part").expect("whole"), part, "before the next is sent");
            }
            let trailers =
                HeaderMap::from_iter([("x-last".parse().expect("a name"), HeaderValue::from_static("words"))]);
            up.send_trailers(trailers).expect("they are heard");
            assert!(down.data().await.is_none());
            let trailers = down.trailers().await.expect("whole").expect("some");
            assert_eq!(trailers["grpc-status"], "0");
            assert_eq!(trailers["x-last"], "words");
        }
    });
    assert_eq!(grpc.connections.load(SeqCst), 1);
}

#[test]
fn a_call_ends_once_the_time_of_its_backend_is_over_and_so_does_the_connection() {
    let (place, grpc) = place("");
    let host = place.host().to_owned();
    runtime().block_on(async {
        let stream = TcpStream::connect((host.as_str(), 8080)).await.expect("it listens");
        let (mut send, connection) = h2::client::handshake(stream).await.expect("HTTP/2");
        tokio::spawn(connection);
        let request = Request::post(format!("http://{host}:8080/echo.Echo/Both"));
        let request = request.header("content-type", "application/grpc").body(()).expect("a head");
        let (response, mut up) = send.send_request(request, false).expect("it is heard");
        let mut down = response.await.expect("a head").into_body();
        up.send_data(Bytes::from("one"), false).expect("it is heard");
        assert_eq!(down.data().await.expect("a part").expect("whole"), "one");
        place.must(&["backends", "drain", "app", &format!("h2c://{}", grpc.address), "--for", "1s"]);
        assert!(down.data().await.expect("it does not end as if all were said").is_err());
    });
    assert_eq!(count(&place, "outwork_proxy_drained_total{what=\"answer\"}"), 1);
    until("the connection to end", || count(&place, "outwork_proxy_connections") == 0);
}

#[test]
fn a_call_as_browsers_make_them_breaks_off_where_its_time_is_over() {
    let (place, _grpc) = place("");
    let host = place.host().to_owned();
    runtime().block_on(async {
        let stream = TcpStream::connect((host.as_str(), 8080)).await.expect("it listens");
        let (mut send, connection) = h2::client::handshake(stream).await.expect("HTTP/2");
        tokio::spawn(connection);
        let mut request = call(&host, "/echo.Echo/Both", "3S");
        request.headers_mut().insert("content-type", HeaderValue::from_static("application/grpc-web+proto"));
        let (response, mut up) = send.send_request(request, false).expect("it is heard");
        let mut down = response.await.expect("a head").into_body();
        up.send_data(Bytes::from("one"), false).expect("it is heard");
        assert_eq!(down.data().await.expect("a part").expect("whole"), "one");
        assert!(down.data().await.expect("it does not end as if all were said").is_err());
    });
}

#[test]
fn a_backend_that_has_calls_run_out_of_time_is_named_in_the_log_and_left_out() {
    let outlier =
        "outlier = { consecutive_5xx = 0, consecutive_gateway = 3, success_rate = false }\npanic_threshold = 0";
    let log = "[front.access_log]\nfile = 'access.log'\nfields = ['status', 'backend']";
    let (mut place, grpc) = place(&format!("{outlier}\n{log}"));
    let host = place.host().to_owned();
    until("it to be left out", || {
        runtime().block_on(async {
            let stream = TcpStream::connect((host.as_str(), 8080)).await.expect("it listens");
            let (mut send, connection) = h2::client::handshake(stream).await.expect("HTTP/2");
            tokio::spawn(connection);
            let (response, _up) = send.send_request(call(&host, NEVER, "200m"), false).expect("it is heard");
            assert_eq!(response.await.expect("a head").headers()["grpc-status"], "4");
        });
        json(&place.outwork(&["backends", "list", "--json"]))[0]["backends"][0]["ejected_by"] == "consecutive-gateway"
    });
    let url = format!("h2c://{}", grpc.address);
    let labels = format!("pool=\"app\",backend=\"{url}\"");
    assert!(count(&place, &format!("outwork_proxy_backend_failures_total{{{labels}}}")) >= 3);
    assert!(count(&place, "outwork_proxy_pool_requests_total{pool=\"app\",outcome=\"deadline\"}") >= 3);
    assert!(place.stop(15).success());
    let log = std::fs::read_to_string(place.path().join("access.log")).expect("a log");
    let named = |line: &&str| line.contains(&*url) && line.contains("200");
    assert!(log.lines().filter(named).count() >= 3, "{log}");
}

/// A request for a call of this method, which may take so long.
fn call(host: &str, path: &str, timeout: &str) -> Request<()> {
    let request = Request::post(format!("http://{host}:8080{path}")).header("te", "trailers");
    let request = request.header("content-type", "application/grpc").header("grpc-timeout", timeout);
    request.body(()).expect("a head")
}

#[test]
fn a_call_ends_once_the_time_is_over_that_its_client_gives_it() {
    let (place, _grpc) = place("");
    let host = place.host().to_owned();
    runtime().block_on(async {
        let stream = TcpStream::connect((host.as_str(), 8080)).await.expect("it listens");
        let (mut send, connection) = h2::client::handshake(stream).await.expect("HTTP/2");
        tokio::spawn(connection);
        let (response, _up) = send.send_request(call(&host, NEVER, "100m"), false).expect("it is heard");
        let response = response.await.expect("a head");
        assert_eq!(response.status(), 200);
        assert_eq!(response.headers()["grpc-status"], "4");
        let (response, mut up) = send.send_request(call(&host, "/echo.Echo/Both", "3S"), false).expect("it is heard");
        let response = response.await.expect("a head");
        let left = response.headers()["x-timeout"].to_str().expect("text");
        let micros = left.strip_suffix('u').and_then(|left| left.parse::<u32>().ok()).expect("a time");
        assert!(micros < 3_000_000, "some of it has passed: {micros}");
        let mut down = response.into_body();
        up.send_data(Bytes::from("one"), false).expect("it is heard");
        assert_eq!(down.data().await.expect("a part").expect("whole"), "one");
        assert!(down.data().await.is_none(), "though nobody has ended it");
        assert_eq!(down.trailers().await.expect("whole").expect("some")["grpc-status"], "4");
    });
    let ended = |how: &str| count(&place, &format!("outwork_proxy_requests_total{{outcome=\"{how}\"}}"));
    assert_eq!(["deadline", "answered", "timed-out"].map(ended), [1, 1, 0], "the one that was never answered");
}

#[test]
fn a_call_that_is_one_too_many_is_told_that_there_is_a_limit() {
    let (place, _grpc) = place("limits = { requests = 1, pending = 0 }");
    let host = place.host().to_owned();
    runtime().block_on(async {
        let stream = TcpStream::connect((host.as_str(), 8080)).await.expect("it listens");
        let (mut send, connection) = h2::client::handshake(stream).await.expect("HTTP/2");
        tokio::spawn(connection);
        let (held, _up) = send.send_request(call(&host, "/echo.Echo/Both", "1H"), false).expect("it is heard");
        let held = held.await.expect("a head");
        let (refused, _up) = send.send_request(call(&host, "/echo.Echo/Both", "1H"), true).expect("it is heard");
        let refused = refused.await.expect("a head");
        assert_eq!(refused.status(), 200);
        assert_eq!(refused.headers()["grpc-status"], "8");
        drop(held);
    });
}

#[test]
fn a_check_asks_after_the_service_that_it_is_told() {
    let check = |service: &str| {
        let often = "interval = '20ms', fast_interval = '20ms', unhealthy_threshold = 1, healthy_threshold = 1";
        format!("panic_threshold = 0\nhealth_check = {{ kind = 'grpc', service = '{service}', {often} }}")
    };
    let (place, _grpc) = place(&check(LAME));
    let health = || json(&place.outwork(&["backends", "list", "--json"]))[0]["backends"][0]["health"].clone();
    until("it to be found out", || health() == "unhealthy");
    place.change(|text| text.replace(LAME, "app.Well"));
    place.must(&["reload"]);
    until("the other to be found well", || health() == "healthy");
}

#[test]
fn many_requests_share_a_connection_and_clients_of_every_version_are_served() {
    let (place, grpc) = place("");
    let threads: Vec<_> = (0..16)
        .map(|number| {
            let url = site(&place);
            std::thread::spawn(move || {
                let version = if number % 2 == 0 { "--http1.1" } else { "--http2-prior-knowledge" };
                body(&get(&url, &[version, "-d", "hello"])).to_owned()
            })
        })
        .collect();
    for thread in threads {
        // curl shows what comes after the content, too.
        let answer = thread.join().expect("an answer");
        assert_eq!(answer.strip_suffix("grpc-status: 0\r\n").unwrap_or(&answer), "hello");
    }
    let threads = std::thread::available_parallelism().map_or(1, usize::from);
    let connections = grpc.connections.load(SeqCst);
    assert!(connections <= threads, "one for each thread that serves: {connections}");
    let with = get(&site(&place), &["--raw", "-H", "TE: trailers", "-d", "hello"]);
    assert!(with.ends_with("5\r\nhello\r\n0\r\ngrpc-status: 0\r\n\r\n"), "{with}");
    let without = get(&site(&place), &["--raw", "-d", "hello"]);
    assert!(without.ends_with("5\r\nhello\r\n0\r\n\r\n"), "who does not ask for them gets none: {without}");
}

#[test]
fn a_stream_becomes_a_websocket_to_a_backend_that_speaks_http_1() {
    let mut place = Place::new();
    let backend = super::backend::Backend::acting(place.host(), |seen, to| {
        assert_eq!((seen.field("upgrade"), seen.field("connection")), (Some("websocket"), Some("upgrade")), "{seen:?}");
        assert!(seen.field("sec-websocket-key").is_some_and(|key| key.len() == 24), "{seen:?}");
        if seen.line.starts_with("GET /page ") {
            return super::backend::answer(to, "200 OK", "", b"page");
        }
        let head = b"HTTP/1.1 101 Switching Protocols\r\nupgrade: websocket\r\nconnection: Upgrade\r\nsec-websocket-accept: x\r\n\r\nhello";
        to.write_all(head).expect("it is read");
        let mut from = to.try_clone().expect("the same stream");
        std::io::copy(&mut from, to).expect("an echo");
        false
    });
    super::configure(&place, &[&backend], "", "");
    place.start();
    let host = place.host().to_owned();
    runtime().block_on(async {
        let stream = TcpStream::connect((host.as_str(), 8080)).await.expect("it listens");
        let (mut send, connection) = h2::client::handshake(stream).await.expect("HTTP/2");
        tokio::spawn(connection);
        while !send.is_extended_connect_protocol_enabled() {
            tokio::task::yield_now().await;
        }
        let websocket = |path: &str| {
            let uri = format!("http://{host}:8080{path}");
            let mut request = Request::builder().method("CONNECT").uri(uri).body(()).expect("a head");
            request.extensions_mut().insert(h2::ext::Protocol::from_static("websocket"));
            request
        };
        let (response, _up) = send.send_request(websocket("/page"), false).expect("it is heard");
        assert_eq!(response.await.expect("a head").status(), 501, "a page would be heard as the other protocol");
        let request = websocket("/chat");
        let (response, mut up) = send.send_request(request, false).expect("it is heard");
        let response = response.await.expect("a head");
        let fields = response.headers();
        assert!(
            response.status() == 200 && !fields.contains_key("upgrade") && !fields.contains_key("content-length"),
            "{response:?}"
        );
        let mut down = response.into_body();
        let mut said = Vec::new();
        for (words, so_far) in [("", "hello"), (" there", "hello there"), (" again", "hello there again")] {
            if !words.is_empty() {
                up.send_data(Bytes::from(words), false).expect("it is heard");
            }
            while said.len() < so_far.len() {
                let part = down.data().await.expect("a part").expect("whole");
                down.flow_control().release_capacity(part.len()).expect("a window");
                said.extend_from_slice(&part);
            }
            assert_eq!(said, so_far.as_bytes());
        }
        up.send_data(Bytes::new(), true).expect("it is heard");
        while let Some(part) = down.data().await {
            assert!(part.expect("whole").is_empty(), "the backend's end is the client's");
        }
    });
}

#[test]
fn a_call_that_no_backend_answers_is_told_in_the_way_of_grpc() {
    let check = "panic_threshold = 0\nhealth_check = { kind = 'grpc', interval = '20ms', fast_interval = '20ms' }";
    let (place, grpc) = place(check);
    let call = || get(&site(&place), &["-H", "Content-Type: application/grpc", "-d", "x"]);
    assert!(call().ends_with('x'));
    grpc.serving.store(false, SeqCst);
    until("the check to fail", || call().contains("grpc-status: 14\r\n"));
    let told = call();
    assert!(
        told.starts_with("HTTP/1.1 200 OK\r\n") && told.contains("grpc-message: no backend is healthy\r\n"),
        "{told}"
    );
    let shown = place.must(&["backends", "list"]);
    assert!(shown.contains("unhealthy") && shown.contains("NOT_SERVING"), "{shown}");
    grpc.serving.store(true, SeqCst);
    until("the check to pass", || call().ends_with('x'));
}

#[test]
fn a_backend_behind_tls_has_to_prove_who_it_is() {
    let mut server = Place::new();
    server.change(|text| {
        let host = server.host();
        format!(
            "{text}\n[[front.listener]]\naddress = '{host}:8443'\ntls = {{ local = ['localhost', '{host}'] }}\n\
             [[front.route]]\npath = '/*'\nrespond = {{ body = 'encrypted' }}\n"
        )
    });
    server.start();
    let root = server.data().join("tls/local/ca.pem");
    let mut place = Place::new();
    let configure = |place: &Place, tls: &str| {
        place.change(|text| {
            let kept = text.split("# proxy").next().unwrap_or_default().to_owned();
            let (host, backend) = (place.host(), server.host());
            format!(
                "{kept}# proxy\n[[front.listener]]\naddress = '{host}:8080'\n[[front.route]]\npath = '/*'\nproxy = {{ pool = 'app' }}\n\
                 [proxy.pool.app]\nbackend = [{{ url = 'https://{backend}:8443' }}]\n{tls}\n"
            )
        });
    };
    configure(&place, &format!("tls = {{ ca = '{}' }}", root.display()));
    place.start();
    assert_eq!(body(&get(&site(&place), &[])), "encrypted");
    let metrics = get(&format!("http://{}:8067/metrics", server.host()), &[]);
    assert!(metrics.lines().any(|line| line.contains("protocol=\"http2\"} 1")), "HTTP/2 was agreed on: {metrics}");
    configure(&place, &format!("tls = {{ ca = '{}', name = 'other.test' }}", root.display()));
    place.must(&["reload"]);
    let refused = get(&site(&place), &[]);
    assert!(refused.contains(" 502 ") && refused.contains("the backend cannot be connected to"), "{refused}");
    configure(&place, "tls = { verify = false, http2 = false }");
    let said = place.must(&["reload"]);
    assert!(!said.is_empty());
    assert_eq!(body(&get(&site(&place), &[])), "encrypted");
}
