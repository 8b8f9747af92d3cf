//! One connection over HTTP/1.1, HTTP/2 or HTTP/3, and a request on it.

use std::cell::{Cell, RefCell};
use std::error::Error;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use bytes::{Buf, Bytes};
use h3::error::{Code, StreamError};
use http::header::{ACCEPT, CONTENT_LENGTH, HOST, USER_AGENT};
use http::{HeaderMap, HeaderValue, Method, Request, StatusCode, Uri};
use http_body_util::{BodyExt, Full};
use hyper::client::conn::{TrySendError, http1, http2};
use hyper_util::rt::TokioIo;
use outwork_front::tls::trust;
use quinn::crypto::rustls::QuicClientConfig;
use rustls::ClientConfig;
use rustls::crypto::aws_lc_rs;
use rustls::pki_types::ServerName;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;

use super::{BenchError, Options, Protocol, Trust};

/// How many times a request that was not begun with is made again.
const AGAIN: u32 = 3;

/// What came back.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Answer {
    pub(super) status: StatusCode,
    /// Bytes of its content.
    pub(super) bytes: u64,
}

/// Why nothing did.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Failure {
    /// There is no connection.
    Connect,
    /// There is no session of TLS.
    Tls,
    /// The connection, or the stream, ended before the answer.
    Broken,
    /// The connection had ended before the request was made on it.
    Unsent,
    /// The server says that it has not begun with it: it ends the connection, or refuses the stream (RFC 9113 section 8.7, RFC 9114 section 4.1.1).
    Rejected,
    /// It took too long.
    Timeout,
}

impl Failure {
    pub(super) fn name(self) -> &'static str {
        match self {
            Self::Connect => "connect",
            Self::Tls => "tls",
            Self::Broken | Self::Unsent => "broken",
            Self::Rejected => "rejected",
            Self::Timeout => "timeout",
        }
    }

    fn of_answer(error: &hyper::Error) -> Self {
        let error = error.source().and_then(|source| source.downcast_ref::<h2::Error>());
        // A GOAWAY that lets the stream live is told to nobody.
        let rejects = |error: &h2::Error| error.is_go_away() || error.reason() == Some(h2::Reason::REFUSED_STREAM);
        match error {
            Some(error) if error.is_remote() && rejects(error) => Self::Rejected,
            _ => Self::Broken,
        }
    }

    fn of_request<T>(error: &TrySendError<T>) -> Self {
        if error.message().is_some() { Self::Unsent } else { Self::of_answer(error.error()) }
    }

    fn of_stream(error: &StreamError) -> Self {
        match error {
            StreamError::RemoteClosing { .. }
            | StreamError::RemoteTerminate { code: Code::H3_REQUEST_REJECTED, .. } => Self::Rejected,
            _ => Self::Broken,
        }
    }

    /// Of a request over HTTP/3 whose head could not be handed over whole.
    fn of_head(error: &StreamError) -> Self {
        match error {
            StreamError::ConnectionError { .. } => Self::Unsent,
            _ => Self::of_stream(error),
        }
    }
}

/// What all connections share.
pub(super) struct Client {
    protocol: Protocol,
    address: SocketAddr,
    name: String,
    tls: Option<Arc<ClientConfig>>,
    method: Method,
    /// For HTTP/1.1 the target alone.
    target: Uri,
    fields: HeaderMap,
    content: Bytes,
    /// Connections opened.
    pub(super) connected: AtomicU64,
    /// Requests made again.
    pub(super) retried: AtomicU64,
}

impl Client {
    pub(super) fn new(options: &Options, secure: bool) -> Result<Self, BenchError> {
        let host = options.url.host().ok_or(BenchError::Url("the URL names no host"))?;
        let authority = options.url.authority().ok_or(BenchError::Url("the URL names no host"))?.as_str();
        let mut fields = HeaderMap::new();
        fields.insert(USER_AGENT, HeaderValue::from_static(concat!("outwork/", env!("CARGO_PKG_VERSION"))));
        fields.insert(ACCEPT, HeaderValue::from_static("*/*"));
        if options.protocol == Protocol::Http1 {
            let host =
                HeaderValue::from_str(authority).map_err(|_| BenchError::Url("the URL's host cannot be used"))?;
            fields.insert(HOST, host);
        }
        if !options.content.is_empty() && options.protocol != Protocol::Http1 {
            fields.insert(CONTENT_LENGTH, options.content.len().into());
        }
        for (name, value) in &options.fields {
            fields.insert(name, value.clone());
        }
        let path = options.url.path_and_query().map_or("/", |path| path.as_str());
        let target = match options.protocol {
            Protocol::Http1 => path.parse(),
            _ => format!("{}://{authority}{path}", if secure { "https" } else { "http" }).parse(),
        };
        Ok(Self {
            protocol: options.protocol,
            address: options.address,
            name: host.trim_start_matches('[').trim_end_matches(']').to_owned(),
            tls: secure.then(|| tls(&options.trust, options.protocol)).transpose()?.map(Arc::new),
            method: options.method.clone(),
            target: target.map_err(|_| BenchError::Url("the URL's path cannot be used"))?,
            fields,
            content: options.content.clone(),
            connected: AtomicU64::new(0),
            retried: AtomicU64::new(0),
        })
    }

    fn request(&self) -> Request<()> {
        let mut request = Request::new(());
        *request.method_mut() = self.method.clone();
        *request.uri_mut() = self.target.clone();
        *request.headers_mut() = self.fields.clone();
        request
    }

    async fn connect(&self) -> Result<Sender, Failure> {
        let sender = match (self.protocol, &self.tls) {
            (Protocol::Http3, Some(tls)) => self.quic(tls).await?,
            (_, tls) => {
                let stream = TcpStream::connect(self.address).await.map_err(|_| Failure::Connect)?;
                stream.set_nodelay(true).map_err(|_| Failure::Connect)?;
                match tls {
                    None => self.over(stream).await?,
                    Some(tls) => {
                        let name = ServerName::try_from(self.name.clone()).map_err(|_| Failure::Tls)?;
                        let stream = TlsConnector::from(Arc::clone(tls)).connect(name, stream).await;
                        let stream = stream.map_err(|_| Failure::Tls)?;
                        if self.protocol == Protocol::Http2 && stream.get_ref().1.alpn_protocol() != Some(b"h2") {
                            return Err(Failure::Tls);
                        }
                        self.over(stream).await?
                    }
                }
            }
        };
        self.connected.fetch_add(1, Ordering::Relaxed);
        Ok(sender)
    }

    async fn over(&self, stream: impl AsyncRead + AsyncWrite + Unpin + 'static) -> Result<Sender, Failure> {
        let io = TokioIo::new(stream);
        if self.protocol == Protocol::Http1 {
            let (sender, connection) = http1::handshake(io).await.map_err(|_| Failure::Broken)?;
            // Its end is told to who asks next.
            tokio::task::spawn_local(async move { connection.await.map_err(drop) });
            return Ok(Sender::Http1(sender));
        }
        let mut builder = http2::Builder::new(Here);
        // As wide as clients that fetch whole pages have it.
        builder.initial_stream_window_size(1 << 20).initial_connection_window_size(16 << 20);
        let (sender, connection) = builder.handshake(io).await.map_err(|_| Failure::Broken)?;
        tokio::task::spawn_local(async move { connection.await.map_err(drop) });
        Ok(Sender::Http2(sender))
    }

    async fn quic(&self, tls: &Arc<ClientConfig>) -> Result<Sender, Failure> {
        let any: SocketAddr = match self.address {
            SocketAddr::V4(_) => ([0, 0, 0, 0], 0).into(),
            SocketAddr::V6(_) => ([0u16; 8], 0).into(),
        };
        let mut endpoint = quinn::Endpoint::client(any).map_err(|_| Failure::Connect)?;
        let tls = QuicClientConfig::try_from(Arc::clone(tls)).map_err(|_| Failure::Tls)?;
        endpoint.set_default_client_config(quinn::ClientConfig::new(Arc::new(tls)));
        let connecting = endpoint.connect(self.address, &self.name).map_err(|_| Failure::Connect)?;
        let connection = connecting.await.map_err(|error| match error {
            quinn::ConnectionError::TimedOut => Failure::Connect,
            _ => Failure::Tls,
        })?;
        let made = h3::client::new(h3_quinn::Connection::new(connection)).await;
        let (mut driver, sender) = made.map_err(|_| Failure::Broken)?;
        tokio::task::spawn_local(async move {
            driver.wait_idle().await;
            drop(endpoint);
        });
        Ok(Sender::Http3(sender))
    }
}

/// Runs what HTTP/2 has to do beside requests on the same thread.
#[derive(Clone, Copy)]
struct Here;

impl<F: Future + 'static> hyper::rt::Executor<F> for Here {
    fn execute(&self, future: F) {
        tokio::task::spawn_local(async move {
            future.await;
        });
    }
}

/// What requests are made with.
enum Sender {
    Http1(http1::SendRequest<Full<Bytes>>),
    Http2(http2::SendRequest<Full<Bytes>>),
    Http3(h3::client::SendRequest<h3_quinn::OpenStreams, Bytes>),
}

impl Sender {
    /// For a request beside others, where that can be.
    fn share(&self) -> Option<Self> {
        match self {
            Self::Http1(_) => None,
            Self::Http2(sender) => Some(Self::Http2(sender.clone())),
            Self::Http3(sender) => Some(Self::Http3(sender.clone())),
        }
    }

    async fn ask(&mut self, client: &Client) -> Result<Answer, Failure> {
        let request = client.request();
        let mut response = match self {
            Self::Http3(sender) => {
                let failed = |error| Failure::of_stream(&error);
                // A server that has answered may want no more of the request (RFC 9114 section 4.1), which is no failure.
                let sent = |sent| match sent {
                    Err(StreamError::RemoteTerminate { code: Code::H3_NO_ERROR, .. }) => Ok(()),
                    sent => sent.map_err(failed),
                };
                let mut stream = sender.send_request(request).await.map_err(|error| Failure::of_head(&error))?;
                if !client.content.is_empty() {
                    sent(stream.send_data(client.content.clone()).await)?;
                }
                sent(stream.finish().await)?;
                let status = stream.recv_response().await.map_err(failed)?.status();
                let mut bytes = 0;
                while let Some(part) = stream.recv_data().await.map_err(|_| Failure::Broken)? {
                    bytes += part.remaining() as u64;
                }
                return Ok(Answer { status, bytes });
            }
            Self::Http1(sender) => {
                sender.ready().await.map_err(|_| Failure::Unsent)?;
                let answer = sender.try_send_request(request.map(|()| Full::new(client.content.clone()))).await;
                answer.map_err(|error| Failure::of_request(&error))?
            }
            Self::Http2(sender) => {
                sender.ready().await.map_err(|_| Failure::Unsent)?;
                let answer = sender.try_send_request(request.map(|()| Full::new(client.content.clone()))).await;
                answer.map_err(|error| Failure::of_request(&error))?
            }
        };
        let mut bytes = 0;
        while let Some(frame) = response.body_mut().frame().await {
            bytes += frame.map_err(|_| Failure::Broken)?.data_ref().map_or(0, |part| part.len() as u64);
        }
        Ok(Answer { status: response.status(), bytes })
    }

    /// Whether another request can be made with it.
    fn is_open(&self) -> bool {
        match self {
            Self::Http1(sender) => !sender.is_closed(),
            Self::Http2(sender) => !sender.is_closed(),
            Self::Http3(_) => true,
        }
    }
}

/// A place for a connection, which is opened again when it has ended.
pub(super) struct Slot {
    client: Arc<Client>,
    sender: RefCell<Option<Sender>>,
    /// Counts the connections, so that the end of one is not taken for that of the next.
    number: Cell<u64>,
    opening: tokio::sync::Mutex<()>,
}

impl Slot {
    pub(super) fn new(client: Arc<Client>) -> Self {
        Self { client, sender: RefCell::default(), number: Cell::new(0), opening: tokio::sync::Mutex::default() }
    }

    /// Opens the connection, where that works.
    pub(super) async fn open(&self, patience: Duration) {
        if let Ok(Ok(sender)) = tokio::time::timeout(patience, self.client.connect()).await {
            self.put(sender);
        }
    }

    fn put(&self, sender: Sender) {
        self.number.set(self.number.get() + 1);
        self.sender.replace(Some(sender));
    }

    /// What a request can be made with now.
    fn take(&self) -> Option<Sender> {
        let mut slot = self.sender.borrow_mut();
        let sender = slot.as_ref().filter(|sender| sender.is_open())?;
        sender.share().or_else(|| slot.take())
    }

    async fn sender(&self) -> Result<Sender, Failure> {
        if let Some(sender) = self.take() {
            return Ok(sender);
        }
        // One of those that wait opens it, for all.
        let _alone = self.opening.lock().await;
        if let Some(sender) = self.take() {
            return Ok(sender);
        }
        self.put(self.client.connect().await?);
        self.take().ok_or(Failure::Broken)
    }

    /// Makes a request and takes its answer whole. What the server has not begun with is asked again on another connection: nothing can come of it twice.
    pub(super) async fn ask(&self) -> Result<Answer, Failure> {
        for _ in 0..AGAIN {
            match self.ask_once().await {
                Err(Failure::Unsent) => {}
                Err(Failure::Rejected) => drop(self.client.retried.fetch_add(1, Ordering::Relaxed)),
                answer => return answer,
            }
        }
        self.ask_once().await
    }

    async fn ask_once(&self) -> Result<Answer, Failure> {
        let mut sender = self.sender().await?;
        let number = self.number.get();
        let answer = sender.ask(&self.client).await;
        match (&answer, &sender) {
            (Ok(_), Sender::Http1(_)) => {
                self.sender.replace(Some(sender));
            }
            (Err(_), _) if number == self.number.get() => {
                self.sender.replace(None);
            }
            _ => {}
        }
        answer
    }
}

/// How servers are to show who they are.
fn tls(trust: &Trust, protocol: Protocol) -> Result<ClientConfig, BenchError> {
    let provider = Arc::new(aws_lc_rs::default_provider());
    let builder = ClientConfig::builder_with_provider(Arc::clone(&provider)).with_safe_default_protocol_versions();
    let builder = builder.map_err(|error| BenchError::Trust(error.to_string()))?;
    let file = match trust {
        Trust::Anyone => None,
        Trust::File(path) => Some(Some(path.as_path())),
        Trust::System => Some(None),
    };
    let builder =
        match file.map(trust::authorities).transpose().map_err(|error| BenchError::Trust(error.to_string()))? {
            Some(authorities) => builder.with_root_certificates(authorities),
            None => builder.dangerous().with_custom_certificate_verifier(trust::anyone(provider)),
        };
    let mut config = builder.with_no_client_auth();
    let spoken: &[u8] = match protocol {
        Protocol::Http1 => b"http/1.1",
        Protocol::Http2 => b"h2",
        Protocol::Http3 => b"h3",
    };
    config.alpn_protocols = vec![spoken.to_vec()];
    Ok(config)
}
