//! Listeners over real sockets: TLS, limits, and the graceful end.

#![allow(clippy::unwrap_used, clippy::panic)]

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use axum::routing::{get, post};
use axum::{Extension, Router};
use outwork_front::api::{Json, Problem};
use outwork_front::{Binding, FrontMetrics, Limits, Peer, Server, Tls, TlsError, TlsFiles};
use serde::Deserialize;
use tokio::runtime::Runtime;
use tokio::sync::oneshot;
use tokio::task::JoinHandle;
use ureq::tls::TlsConfig;

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Body {
    inner: Inner,
}

#[derive(Deserialize)]
struct Inner {
    count: u8,
}

struct Running {
    address: SocketAddr,
    metrics: Arc<FrontMetrics>,
    stop: oneshot::Sender<()>,
    served: JoinHandle<()>,
    runtime: Runtime,
}

const LIMITS: Limits = Limits {
    connections: 4,
    header_timeout: Duration::from_millis(300),
    keep_alive: Duration::from_secs(20),
    request_timeout: Duration::from_secs(20),
    body_bytes: 1000,
    drain: Duration::from_secs(10),
};

fn start(tls: Option<Arc<Tls>>) -> Running {
    start_with(tls, LIMITS)
}

fn start_with(tls: Option<Arc<Tls>>, limits: Limits) -> Running {
    let router = Router::new()
        .route("/peer", get(|Extension(peer): Extension<Peer>| async move { format!("{} {}", peer.address, peer.tls) }))
        .route(
            "/slow",
            get(|| async {
                tokio::time::sleep(Duration::from_millis(500)).await;
                "done"
            }),
        )
        .route(
            "/last",
            get(|| async {
                BEGUN.store(true, Ordering::SeqCst);
                tokio::time::sleep(Duration::from_millis(200)).await;
                "done"
            }),
        )
        .route("/never", get(std::future::pending::<&str>))
        .route("/json", post(|Json(body): Json<Body>| async move { body.inner.count.to_string() }));
    let metrics = Arc::new(FrontMetrics::default());
    let runtime = Runtime::new().unwrap();
    let binding = Binding { address: "127.0.0.1:0".parse().unwrap(), tls };
    let server = runtime.block_on(Server::bind(vec![binding], limits, metrics.clone())).unwrap();
    let address = server.addresses()[0].0;
    let (stop, stopped) = oneshot::channel();
    let served = runtime.spawn(server.run(router, async move {
        let _ = stopped.await;
    }));
    Running { address, metrics, stop, served, runtime }
}

fn files(certificate: &str) -> TlsFiles {
    let folder = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests/tls");
    TlsFiles { certificate: folder.join(certificate), key: folder.join("key.pem") }
}

/// A handler has begun with `/last`, which one test asks for.
static BEGUN: AtomicBool = AtomicBool::new(false);

/// Reads until the server closes.
fn rest(mut stream: TcpStream) -> String {
    let mut bytes = Vec::new();
    stream.read_to_end(&mut bytes).unwrap();
    String::from_utf8_lossy(&bytes).into_owned()
}

fn get_path(address: SocketAddr, path: &str) -> TcpStream {
    let mut stream = TcpStream::connect(address).unwrap();
    stream.write_all(format!("GET {path} HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n").as_bytes()).unwrap();
    stream
}

#[test]
fn a_handler_knows_its_peer_with_and_without_tls() {
    let plain = start(None);
    let stream = get_path(plain.address, "/peer");
    let own = stream.local_addr().unwrap();
    assert!(rest(stream).ends_with(&format!("{own} false")));
    let secure = start(Some(Tls::load(files("cert.pem")).unwrap()));
    rustls::crypto::aws_lc_rs::default_provider().install_default().unwrap();
    let trusting = TlsConfig::builder().disable_verification(true).build();
    let agent: ureq::Agent = ureq::Agent::config_builder().tls_config(trusting).build().into();
    let text =
        agent.get(format!("https://{}/peer", secure.address)).call().unwrap().body_mut().read_to_string().unwrap();
    assert!(text.ends_with(" true"), "{text}");
    // Plain HTTP is no TLS: an alert, and the end.
    assert!(!rest(get_path(secure.address, "/peer")).contains("HTTP"));
}

#[test]
fn certificates_that_cannot_work_are_refused_with_their_file() {
    let missing = Tls::load(files("missing.pem")).err().unwrap();
    assert!(matches!(missing, TlsError::Read { .. }) && missing.to_string().contains("missing.pem"), "{missing}");
    let empty = Tls::load(files("key.pem")).err().unwrap();
    assert!(matches!(empty, TlsError::NoCertificate(_)), "{empty}");
}

#[test]
fn a_connection_that_says_nothing_is_closed() {
    let running = start(None);
    assert_eq!(rest(TcpStream::connect(running.address).unwrap()), "");
    let mut teasing = TcpStream::connect(running.address).unwrap();
    teasing.write_all(b"PRI * HT").unwrap();
    assert_eq!(rest(teasing), "", "the beginning of HTTP/2 and no more");
    let mut half = TcpStream::connect(running.address).unwrap();
    half.write_all(b"GET / HTTP/1.1\r\nhost: ").unwrap();
    rest(half);
}

#[test]
fn an_answer_that_does_not_begin_in_time_is_a_problem_and_the_connection_goes_on() {
    let running = start_with(None, Limits { request_timeout: Duration::from_millis(50), ..LIMITS });
    let mut stream = TcpStream::connect(running.address).unwrap();
    stream
        .write_all(b"GET /never HTTP/1.1\r\nhost: x\r\n\r\nGET /peer HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n")
        .unwrap();
    let answers = rest(stream);
    assert!(answers.starts_with("HTTP/1.1 503 ") && answers.contains("admin.request_timeout"), "{answers}");
    assert!(answers.contains("HTTP/1.1 200 "), "{answers}");
}

#[test]
fn a_connection_waits_for_its_next_request_longer_than_for_a_head_and_no_longer_than_it_may() {
    let patient = start(None);
    let mut stream = TcpStream::connect(patient.address).unwrap();
    stream.write_all(b"GET /peer HTTP/1.1\r\nhost: x\r\n\r\n").unwrap();
    let mut first = [0; 12];
    stream.read_exact(&mut first).unwrap();
    // Much longer than a first head may take.
    std::thread::sleep(LIMITS.header_timeout * 3);
    stream.write_all(b"GET /peer HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n").unwrap();
    assert!(rest(stream).contains("HTTP/1.1 200 "));
    let hasty = start_with(None, Limits { keep_alive: Duration::from_millis(50), ..LIMITS });
    let mut stream = TcpStream::connect(hasty.address).unwrap();
    stream.write_all(b"GET /slow HTTP/1.1\r\nhost: x\r\n\r\n").unwrap();
    // An answer that is made for longer than that is no waiting.
    assert!(rest(stream).ends_with("done"));
}

#[test]
fn connections_over_the_limit_are_turned_away_and_counted() {
    let running = start(None);
    let held: Vec<_> = (0..LIMITS.connections).map(|_| get_path(running.address, "/slow")).collect();
    // Answered in the order of acceptance, so the four are seated once the fifth is closed.
    let mut over = TcpStream::connect(running.address).unwrap();
    let mut byte = [0];
    assert!(matches!(over.read(&mut byte), Ok(0) | Err(_)));
    assert!(held.into_iter().all(|stream| rest(stream).ends_with("done")));
    assert!(running.metrics.connections.get() == LIMITS.connections as u64);
}

#[test]
fn a_body_that_is_too_large_or_wrong_is_a_problem_that_names_what() {
    let running = start(None);
    let agent: ureq::Agent = ureq::Agent::config_builder().http_status_as_error(false).build().into();
    let send = |body: String| -> (u16, Problem) {
        let request = agent.post(format!("http://{}/json", running.address)).header("content-type", "application/json");
        let mut response = request.send(body).unwrap();
        (response.status().as_u16(), response.body_mut().read_json().unwrap())
    };
    let (status, problem) = send(format!("{{\"inner\": \"{}\"}}", "x".repeat(2000)));
    assert_eq!((status, problem.status), (413, 413));
    for (body, key) in [
        (r#"{"inner": {"count": 999}}"#, Some("inner.count")),
        (r#"{"inner": {}}"#, Some("inner.count")),
        (r#"{"inner": {"count": 1}, "outer": 2}"#, Some("outer")),
        (r#"{"inner": {"count": 1}} trailing"#, None),
        ("{", None),
    ] {
        let (status, problem) = send(body.into());
        assert_eq!((status, problem.key.as_deref()), (400, key), "{body}: {problem:?}");
    }
}

#[test]
fn a_stop_lets_requests_under_way_finish_and_takes_no_new_ones() {
    let Running { address, stop, served, runtime, .. } = start(None);
    let last = get_path(address, "/last");
    while !BEGUN.load(Ordering::SeqCst) {
        std::thread::yield_now();
    }
    stop.send(()).unwrap();
    assert!(rest(last).ends_with("done"));
    runtime.block_on(served).unwrap();
    assert!(TcpStream::connect(address).is_err());
}

#[test]
fn a_port_in_use_is_named_with_what_to_do() {
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let binding = Binding { address: taken.local_addr().unwrap(), tls: None };
    let runtime = Runtime::new().unwrap();
    let refused = runtime.block_on(Server::bind(vec![binding], LIMITS, Arc::default())).err().unwrap().to_string();
    assert!(
        refused.contains(&taken.local_addr().unwrap().to_string())
            && refused.contains("= help:")
            && refused.contains("another port"),
        "{refused}"
    );
}
