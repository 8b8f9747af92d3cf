//! HTTP/3 on real sockets of loopback. The client is another implementation, the `h3` crate; where the rules are to be broken, its streams are written
//! byte by byte.

mod connections;
mod leaving;
mod messages;
mod rules;
mod tunnels;

use std::future::poll_fn;
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use bytes::{Buf, Bytes};
use http::{HeaderMap, Method, StatusCode};
use quinn::crypto::rustls::QuicClientConfig;
use quinn::{ClientConfig, Endpoint, TransportConfig};

use crate::config::Http3Settings;
use crate::door::tests::Site;
use crate::door::{Bound, Buffers, Door, DoorMetrics, Farewell, Options, Place, Serving, Threads};
use crate::filter::Entry;
use crate::message::{Answer, Handler, Request, Response};
use crate::tls::tests::{Ca, DAY, handshake, offer, opened};
use crate::tls::{Certificates, Http3, Offer, Tls};

/// What other doors serve, and who asks.
struct Here;

impl Handler for Here {
    fn handle(&self, request: Request) -> Answer {
        if request.head.method == Method::CONNECT {
            return switched(StatusCode::OK, request.head.uri.to_string()).into();
        }
        match request.head.uri.path() {
            "/who" => {
                let session = request.origin.session.as_ref().unwrap();
                let client = session.client.as_ref().map_or("nobody", |client| client.common_name.as_deref().unwrap());
                let text =
                    format!("{client} at {} {:?}", session.server_name.as_deref().unwrap(), request.head.version);
                Response::full(StatusCode::OK, "text/plain", text).into()
            }
            "/peer" => Response::full(StatusCode::OK, "text/plain", request.origin.peer.to_string()).into(),
            "/slow" => Answer::Later(Box::pin(async {
                tokio::time::sleep(Duration::from_millis(300)).await;
                Response::full(StatusCode::OK, "text/plain", vec![b'x'; 300_000])
            })),
            "/switch" => {
                let wanted = &request.head.headers;
                assert!(wanted["upgrade"] == "websocket" && wanted.contains_key("sec-websocket-key"));
                let version = wanted["sec-websocket-version"].to_str().unwrap().to_owned();
                switched(StatusCode::SWITCHING_PROTOCOLS, version).into()
            }
            "/last" => Answer::Later(Box::pin(async {
                let mut body = request.body;
                while let Some(part) = body.part().await {
                    if part.is_err() {
                        return Response::full(StatusCode::BAD_REQUEST, "text/plain", "malformed");
                    }
                }
                let last = body.trailers().expect("some").remove("x-last").expect("this one");
                Response::full(StatusCode::OK, "text/plain", last.as_bytes().to_vec())
            })),
            "/hint" => Answer::Later(Box::pin(async {
                let link = HeaderMap::from_iter([(http::header::LINK, "</a.css>; rel=preload".parse().unwrap())]);
                crate::interim::tell(StatusCode::EARLY_HINTS, link);
                tokio::task::yield_now().await;
                let whole = request.body.whole(100).await.unwrap();
                Response::full(StatusCode::OK, "text/plain", whole)
            })),
            // It does not want the body.
            "/deaf" => Response::full(StatusCode::OK, "text/plain", "what?").into(),
            _ => Site.handle(request),
        }
    }
}

/// Says this first, and then what it hears; it breaks off who says so.
fn switched(status: StatusCode, word: String) -> Response {
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    let mut response = Response::new(status);
    response.upgrade = Some(Box::new(move |mut stream| {
        Box::pin(async move {
            stream.write_all(word.as_bytes()).await.unwrap();
            let mut some = vec![0; 10_000];
            loop {
                let read = stream.read(&mut some).await.unwrap_or(0);
                match &some[..read] {
                    b"break" => return,
                    b"" => break,
                    heard => stream.write_all(heard).await.unwrap(),
                }
            }
            stream.shutdown().await.unwrap();
        })
    }));
    response
}

struct Running {
    door: Option<Door>,
    metrics: Arc<DoorMetrics>,
    tls: Arc<Tls>,
    certificates: Arc<Certificates>,
    offer: Offer,
    dir: tempfile::TempDir,
}

fn http3() -> Http3 {
    Http3Settings::default().http3().unwrap()
}

impl Running {
    fn new(options: Options, threads: usize) -> Self {
        Self::with(options, threads, http3(), |_, _| {})
    }

    fn with(
        options: Options,
        threads: usize,
        http3: Http3,
        change: impl FnOnce(&mut Offer, &tempfile::TempDir),
    ) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let files = Ca::new("ca").write(dir.path(), "a", &["a.test"], DAY);
        let mut offer = offer(&[&files]);
        offer.profile.http3 = Some(http3);
        change(&mut offer, &dir);
        let certificates = Certificates::new(dir.path(), None);
        let tls = opened(&certificates, &offer);
        let place = Place {
            address: (Ipv4Addr::LOCALHOST, 0).into(),
            tls: Some(Arc::clone(&tls)),
            http3: true,
            backlog: 64,
            buffers: Buffers::default(),
            proxies: crate::filter::Networks::of(&[]),
        };
        let metrics = Arc::new(DoorMetrics::default());
        let serving = Serving { options, handler: Box::new(Here), entry: Entry::default() };
        let door = Bound::bind(&[place], Threads::of(threads), Vec::new()).unwrap().serve(serving, &metrics).unwrap();
        Self { door: Some(door), metrics, tls, certificates, offer, dir }
    }

    fn address(&self) -> SocketAddr {
        self.door.as_ref().unwrap().addresses()[0]
    }

    async fn quic(&self, client: &Endpoint) -> Result<quinn::Connection, quinn::ConnectionError> {
        client.connect(self.address(), "a.test").unwrap().await
    }

    async fn client(&self) -> Client {
        Client::over(self.quic(&endpoint()).await.unwrap()).await
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        if let Some(door) = self.door.take() {
            door.stop(Farewell::Brief, Duration::from_secs(5));
        }
    }
}

/// An endpoint of a client that takes any certificate.
fn endpoint() -> Endpoint {
    endpoint_with(None, TransportConfig::default())
}

fn endpoint_with(identity: Option<&(String, String)>, transport: TransportConfig) -> Endpoint {
    endpoint_of(handshake::client(&[&rustls::version::TLS13], identity), transport)
}

fn endpoint_of(mut tls: rustls::ClientConfig, transport: TransportConfig) -> Endpoint {
    tls.alpn_protocols = vec![b"h3".to_vec()];
    let mut config = ClientConfig::new(Arc::new(QuicClientConfig::try_from(tls).unwrap()));
    config.transport_config(Arc::new(transport));
    let mut endpoint = Endpoint::client((Ipv4Addr::LOCALHOST, 0).into()).unwrap();
    endpoint.set_default_client_config(config);
    endpoint
}

/// A connection of the `h3` crate.
struct Client {
    quic: quinn::Connection,
    requests: Requests,
    closed: Option<tokio::task::JoinHandle<h3::error::ConnectionError>>,
}

/// An answer to it.
struct Answered {
    status: StatusCode,
    fields: HeaderMap,
    content: Vec<u8>,
}

type Failed = h3::error::StreamError;

impl Client {
    async fn over(quic: quinn::Connection) -> Self {
        let (mut driver, requests) = h3::client::new(h3_quinn::Connection::new(quic.clone())).await.unwrap();
        let closed = tokio::spawn(async move { poll_fn(|context| driver.poll_close(context)).await });
        Self { quic, requests, closed: Some(closed) }
    }

    async fn send(&mut self, method: Method, path: &str, content: Option<&[u8]>) -> Result<Answered, Failed> {
        ask(&mut self.requests, method, path, content).await
    }

    /// How it was closed, for whoever asks first.
    async fn closed(&mut self) -> h3::error::ConnectionError {
        self.closed.take().unwrap().await.unwrap()
    }

    async fn get(&mut self, path: &str) -> Result<Answered, Failed> {
        self.send(Method::GET, path, None).await
    }
}

impl Drop for Client {
    fn drop(&mut self) {
        self.quic.close(0x100u32.into(), b"");
    }
}

type Requests = h3::client::SendRequest<h3_quinn::OpenStreams, Bytes>;

async fn ask(requests: &mut Requests, method: Method, path: &str, content: Option<&[u8]>) -> Result<Answered, Failed> {
    let request = http::Request::builder().method(method).uri(format!("https://a.test{path}"));
    let mut stream = requests.send_request(request.body(()).unwrap()).await?;
    if let Some(content) = content {
        for part in content.chunks(10_000) {
            stream.send_data(Bytes::copy_from_slice(part)).await?;
        }
    }
    stream.finish().await?;
    let (head, ()) = stream.recv_response().await?.into_parts();
    let mut content = Vec::new();
    while let Some(mut part) = stream.recv_data().await? {
        content.extend_from_slice(&part.copy_to_bytes(part.remaining()));
    }
    Ok(Answered { status: head.status, fields: head.headers, content })
}

impl Answered {
    fn text(&self) -> &str {
        std::str::from_utf8(&self.content).unwrap()
    }

    fn field(&self, name: &str) -> Option<&str> {
        self.fields.get(name).map(|value| value.to_str().unwrap())
    }
}

/// Runs a client, whose thread is its own.
fn run<T>(client: impl Future<Output = T>) -> T {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    tokio::task::LocalSet::new()
        .block_on(&runtime, async { tokio::time::timeout(Duration::from_secs(60), client).await.expect("it ends") })
}

/// A field section of literals.
fn section(lines: &[(&str, &str)]) -> Vec<u8> {
    let mut out = vec![0, 0];
    for (name, value) in lines {
        assert!(name.len() < 7 + 128);
        match name.len().checked_sub(7) {
            None => out.push(0x20 | name.len() as u8),
            Some(rest) => out.extend([0x27, rest as u8]),
        }
        out.extend(name.as_bytes());
        match value.len().checked_sub(127) {
            None => out.push(value.len() as u8),
            Some(mut rest) => {
                out.push(0x7f);
                while rest >= 128 {
                    out.push(rest as u8 | 0x80);
                    rest >>= 7;
                }
                out.push(rest as u8);
            }
        }
        out.extend(value.as_bytes());
    }
    out
}

fn frame(kind: u64, payload: &[u8]) -> Vec<u8> {
    let mut out = Vec::new();
    super::frame::write_integer(&mut out, kind);
    super::frame::write_integer(&mut out, payload.len() as u64);
    out.extend_from_slice(payload);
    out
}

const GET: [(&str, &str); 4] = [(":method", "GET"), (":scheme", "https"), (":authority", "a.test"), (":path", "/now")];

/// A head like that of a GET of `/now`, with some lines in the place of others.
fn head(changed: &[(&'static str, &str)]) -> Vec<u8> {
    let kept = GET.iter().filter(|(name, _)| changed.iter().all(|(other, _)| other != name)).copied();
    let (pseudo, fields): (Vec<_>, Vec<_>) =
        kept.chain(changed.iter().copied()).partition(|(name, _)| name.starts_with(':'));
    frame(super::frame::HEADERS, &section(&[pseudo, fields].concat()))
}

/// The bytes of a stream after these, or with what code it was reset.
async fn exchange(quic: &quinn::Connection, bytes: &[u8]) -> Result<Vec<u8>, u64> {
    let (mut send, mut receive) = quic.open_bi().await.unwrap();
    send.write_all(bytes).await.unwrap();
    let _ = send.finish();
    match receive.read_to_end(10 << 20).await {
        Ok(all) => Ok(all),
        Err(quinn::ReadToEndError::Read(quinn::ReadError::Reset(code))) => Err(code.into_inner()),
        Err(quinn::ReadToEndError::Read(quinn::ReadError::ConnectionLost(error))) => Err(closed_with(&error)),
        Err(other) => panic!("{other}"),
    }
}

/// The status of a response, as its bytes begin.
fn status(bytes: &[u8]) -> String {
    let mut frames = super::frame::Frames::default();
    frames.push(Bytes::copy_from_slice(bytes));
    let Ok(Some(super::frame::Part::Whole(1, section))) = frames.next(|_| Ok(super::frame::Use::Whole(1 << 20))) else {
        panic!("a response begins with its head: {bytes:x?}")
    };
    let (name, value) = super::qpack::Lines::new(section, 1 << 20).unwrap().next().unwrap().unwrap();
    assert_eq!(name, ":status");
    String::from_utf8(value.to_vec()).unwrap()
}

fn closed_with(error: &quinn::ConnectionError) -> u64 {
    match error {
        quinn::ConnectionError::ApplicationClosed(closed) => closed.error_code.into_inner(),
        other => panic!("{other}"),
    }
}

/// Asks several at once, and gives what they came to.
fn at_once(
    client: &Client,
    count: usize,
    path: &'static str,
) -> impl Future<Output = Vec<Result<Answered, Failed>>> + use<> {
    let asked: Vec<_> = (0..count)
        .map(|_| {
            let mut requests = client.requests.clone();
            tokio::task::spawn_local(async move { ask(&mut requests, Method::GET, path, None).await })
        })
        .collect();
    async {
        let mut answers = Vec::new();
        for one in asked {
            answers.push(one.await.unwrap());
        }
        answers
    }
}

fn limits() -> Options {
    Options::default()
}
