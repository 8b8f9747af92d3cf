//! Serves an axum router over HTTP/1.1 and HTTP/2, plain or TLS, on several listeners.

use std::io;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::os::fd::AsFd;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering::Relaxed};
use std::task::{Context, Poll};
use std::time::{Duration, Instant};

use axum::Router;
use axum::body::Body;
use axum::extract::DefaultBodyLimit;
use axum::response::IntoResponse;
use bytes::Bytes;
use hyper::body::{Frame, Incoming, SizeHint};
use hyper::service::Service;
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use hyper_util::server::conn::auto::Builder;
use hyper_util::service::TowerToHyperService;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{OwnedSemaphorePermit, Semaphore, watch};
use tokio::task::JoinSet;
use tokio::time::timeout;

use crate::api::Problem;
use crate::door::Handed;
use crate::door::episode::Episode;
use crate::metrics::{FrontMetrics, Refusal, StatusClass};
use crate::tls::{Accepted, Tls, accept};

/// Where to listen, and whether with TLS.
#[derive(Clone)]
pub struct Binding {
    /// Address and port; port 0 lets the system choose.
    pub address: SocketAddr,
    /// The certificate; `None` is plain HTTP.
    pub tls: Option<Arc<Tls>>,
}

/// What a client may take.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    /// Connections open at once, over all listeners.
    pub connections: usize,
    /// From the connection to the end of the first head; for a later one, from the end of `keep_alive` on.
    pub header_timeout: Duration,
    /// How long a connection may wait for its next request.
    pub keep_alive: Duration,
    /// How long a request may take until its answer begins.
    pub request_timeout: Duration,
    /// Bytes of a request body.
    pub body_bytes: usize,
    /// How long requests under way may take to end when the server stops.
    pub drain: Duration,
}

/// Who is at the other end of a connection: an extension of every request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Peer {
    /// Its address.
    pub address: SocketAddr,
    /// Whether it came over TLS.
    pub tls: bool,
}

/// Why a listener did not start.
#[derive(Debug, thiserror::Error)]
#[error("cannot listen on {address}: {source}\n  = help: {advice}")]
pub struct ServeError {
    /// The address.
    pub address: SocketAddr,
    /// What the system said.
    pub source: io::Error,
    advice: &'static str,
}

/// Listeners that are bound and not yet serving.
pub struct Server {
    /// Each with the address that it was configured with.
    listeners: Vec<(TcpListener, SocketAddr, Binding)>,
    limits: Limits,
    metrics: Arc<FrontMetrics>,
}

impl Server {
    /// Binds every listener, or none. Within a tokio runtime.
    ///
    /// # Errors
    /// Names the address that could not be bound.
    pub async fn bind(bindings: Vec<Binding>, limits: Limits, metrics: Arc<FrontMetrics>) -> Result<Self, ServeError> {
        Self::take_over(bindings, limits, metrics, Vec::new()).await
    }

    /// The same, with the sockets that another process has handed over where the addresses are the same.
    ///
    /// # Errors
    /// Names the address that could not be bound.
    pub async fn take_over(
        bindings: Vec<Binding>,
        limits: Limits,
        metrics: Arc<FrontMetrics>,
        mut handed: Vec<Handed>,
    ) -> Result<Self, ServeError> {
        let mut listeners = Vec::with_capacity(bindings.len());
        for mut binding in bindings {
            let refused = |source: io::Error| {
                let advice = match source.kind() {
                    io::ErrorKind::AddrInUse => "stop what listens there, or choose another port",
                    io::ErrorKind::PermissionDenied => {
                        "choose a port above 1023, or give the process CAP_NET_BIND_SERVICE"
                    }
                    io::ErrorKind::AddrNotAvailable => "the address is not one of this machine",
                    _ => "check the address",
                };
                ServeError { address: binding.address, source, advice }
            };
            let before = handed.iter().position(|one| one.address == binding.address);
            let listener = match before.and_then(|before| handed.swap_remove(before).tcp.pop()) {
                Some(socket) => TcpListener::from_std(socket.into()).map_err(refused)?,
                None => TcpListener::bind(binding.address).await.map_err(refused)?,
            };
            let configured = binding.address;
            binding.address = listener.local_addr().map_err(refused)?;
            listeners.push((listener, configured, binding));
        }
        Ok(Self { listeners, limits, metrics })
    }

    /// The bound addresses, in the order they were given, and whether each speaks TLS.
    pub fn addresses(&self) -> Vec<(SocketAddr, bool)> {
        self.listeners.iter().map(|(.., binding)| (binding.address, binding.tls.is_some())).collect()
    }

    /// Copies of its sockets, for a process that is to take them over.
    ///
    /// # Errors
    /// When the process has too many open files.
    pub fn hand_over(&self) -> io::Result<Vec<Handed>> {
        let handed = self.listeners.iter().map(|(listener, configured, _)| {
            let copy = listener.as_fd().try_clone_to_owned()?;
            Ok(Handed { address: *configured, tcp: vec![copy], quic: None })
        });
        handed.collect()
    }

    /// Serves until `shutdown` ends; then stops accepting, lets requests under way finish for the drain time, and closes.
    pub async fn run(self, router: Router, shutdown: impl Future<Output = ()> + Send) {
        let (stop, stopped) = watch::channel(false);
        let seats = Arc::new(Semaphore::new(self.limits.connections));
        let router = router.layer(DefaultBodyLimit::max(self.limits.body_bytes));
        let mut accepting = JoinSet::new();
        for (listener, _, binding) in self.listeners {
            let connections = Connections {
                binding,
                router: router.clone(),
                limits: self.limits,
                metrics: self.metrics.clone(),
                seats: seats.clone(),
                stopped: stopped.clone(),
            };
            accepting.spawn(connections.accept(listener));
        }
        shutdown.await;
        stop.send_replace(true);
        while accepting.join_next().await.is_some() {}
    }
}

/// One listener at work.
#[derive(Clone)]
struct Connections {
    binding: Binding,
    router: Router,
    limits: Limits,
    metrics: Arc<FrontMetrics>,
    seats: Arc<Semaphore>,
    stopped: watch::Receiver<bool>,
}

impl Connections {
    async fn accept(mut self, listener: TcpListener) {
        let (mut open, unaccepted) = (JoinSet::new(), Episode::default());
        loop {
            let accepted = tokio::select! {
                accepted = listener.accept() => accepted,
                _ = self.stopped.wait_for(|stopped| *stopped) => break,
                Some(_) = open.join_next() => continue,
            };
            match accepted {
                Ok((stream, address)) => self.seat(stream, address, &mut open),
                Err(error) => {
                    self.metrics.connections_refused.of(Refusal::Accept).inc();
                    if unaccepted.begins() {
                        tracing::warn!(%error, listener = %self.binding.address, "cannot accept connections; those that follow are counted only");
                    }
                    // Out of descriptors: accepting again at once would spin.
                    tokio::time::sleep(Duration::from_millis(100)).await;
                }
            }
        }
        drop(listener);
        let drained = timeout(self.limits.drain, async { while open.join_next().await.is_some() {} }).await;
        if drained.is_err() {
            tracing::warn!(connections = open.len(), "closing connections that did not end in time");
            open.shutdown().await;
        }
    }

    fn seat(&self, stream: TcpStream, address: SocketAddr, open: &mut JoinSet<()>) {
        let Ok(seat) = self.seats.clone().try_acquire_owned() else {
            self.metrics.connections_refused.of(Refusal::Full).inc();
            return;
        };
        // Answers are written whole; waiting to fill a segment only delays them.
        if let Err(error) = stream.set_nodelay(true) {
            tracing::debug!(%error, "TCP_NODELAY");
        }
        self.metrics.connections.inc();
        self.metrics.connections_open.inc();
        let this = self.clone();
        let seat = Seat { _permit: seat, metrics: self.metrics.clone() };
        open.spawn(async move {
            let _seat = seat;
            this.connection(stream, address).await;
        });
    }

    async fn connection(self, stream: TcpStream, address: SocketAddr) {
        let Some(tls) = &self.binding.tls else {
            return self.http(stream, Peer { address, tls: false }).await;
        };
        let here = stream.local_addr().map_or(IpAddr::V4(Ipv4Addr::UNSPECIFIED), |address| address.ip());
        match timeout(self.limits.header_timeout, accept(tls, stream, here)).await {
            Ok(Ok(Accepted::Stream(stream))) => self.http(stream, Peer { address, tls: true }).await,
            Ok(Ok(Accepted::Challenged)) => {}
            failed => {
                self.metrics.connections_refused.of(Refusal::Tls).inc();
                if let Ok(Err(error)) = failed {
                    tracing::debug!(%address, %error, "TLS handshake");
                }
            }
        }
    }

    async fn http<S: AsyncRead + AsyncWrite + Unpin + Send + 'static>(mut self, stream: S, peer: Peer) {
        let Limits { header_timeout, keep_alive, request_timeout, .. } = self.limits;
        let activity = Arc::new(Activity::new());
        let service = Requests {
            router: TowerToHyperService::new(self.router),
            metrics: self.metrics.clone(),
            peer,
            activity: activity.clone(),
            patience: request_timeout,
        };
        let mut builder = Builder::new(TokioExecutor::new());
        // It begins with the end of the request before.
        builder.http1().timer(TokioTimer::new()).header_read_timeout(keep_alive + header_timeout);
        builder
            .http2()
            .timer(TokioTimer::new())
            .max_concurrent_streams(128)
            .keep_alive_interval(Duration::from_secs(20))
            .keep_alive_timeout(Duration::from_secs(20));
        let connection = builder.serve_connection(TokioIo::new(stream), service);
        tokio::pin!(connection);
        // Telling HTTP/1.1 from HTTP/2 waits for bytes without a limit of its own, so the first head has this one.
        let (first_head, idle) = (tokio::time::sleep(header_timeout), tokio::time::sleep(keep_alive));
        tokio::pin!(first_head, idle);
        let (mut waiting, mut stopping) = (true, false);
        let ended = loop {
            tokio::select! {
                ended = &mut connection => break ended,
                () = &mut first_head, if waiting => {
                    waiting = false;
                    if !activity.spoken.load(Relaxed) {
                        self.metrics.connections_refused.of(Refusal::Silent).inc();
                        return;
                    }
                }
                () = &mut idle, if !stopping => {
                    let quiet = activity.quiet();
                    if quiet >= keep_alive {
                        stopping = true;
                        connection.as_mut().graceful_shutdown();
                    } else {
                        idle.as_mut().reset(tokio::time::Instant::now() + (keep_alive - quiet));
                    }
                }
                _ = self.stopped.wait_for(|stopped| *stopped), if !stopping => {
                    stopping = true;
                    connection.as_mut().graceful_shutdown();
                }
            }
        };
        if let Err(error) = ended {
            tracing::debug!(peer = %peer.address, %error, "connection ended");
        }
    }
}

/// A place among the open connections, given back when dropped.
struct Seat {
    _permit: OwnedSemaphorePermit,
    metrics: Arc<FrontMetrics>,
}

impl Drop for Seat {
    fn drop(&mut self) {
        self.metrics.connections_open.dec();
    }
}

/// What a connection has been doing.
struct Activity {
    begun: Instant,
    /// Whether there was a request.
    spoken: AtomicBool,
    /// Requests whose answers are not through.
    under_way: AtomicUsize,
    /// When the last of them was, in milliseconds.
    ended: AtomicU64,
}

impl Activity {
    fn new() -> Self {
        Self {
            begun: Instant::now(),
            spoken: AtomicBool::new(false),
            under_way: AtomicUsize::new(0),
            ended: AtomicU64::new(0),
        }
    }

    fn begin(self: &Arc<Self>) -> UnderWay {
        self.spoken.store(true, Relaxed);
        self.under_way.fetch_add(1, Relaxed);
        UnderWay(Arc::clone(self))
    }

    fn millis(&self) -> u64 {
        self.begun.elapsed().as_millis() as u64
    }

    /// How long it has had nothing to do since its last request.
    fn quiet(&self) -> Duration {
        match self.under_way.load(Relaxed) {
            0 if self.spoken.load(Relaxed) => {
                Duration::from_millis(self.millis().saturating_sub(self.ended.load(Relaxed)))
            }
            _ => Duration::ZERO,
        }
    }
}

/// A request that is under way, until this is dropped.
struct UnderWay(Arc<Activity>);

impl Drop for UnderWay {
    fn drop(&mut self) {
        self.0.ended.store(self.0.millis(), Relaxed);
        self.0.under_way.fetch_sub(1, Relaxed);
    }
}

/// The content of an answer, with which its request ends.
struct Content {
    content: Body,
    _request: UnderWay,
}

impl hyper::body::Body for Content {
    type Data = Bytes;
    type Error = axum::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, axum::Error>>> {
        Pin::new(&mut self.content).poll_frame(context)
    }

    fn is_end_stream(&self) -> bool {
        self.content.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.content.size_hint()
    }
}

/// Passes a connection's requests to the router with their [`Peer`], and measures the answers.
struct Requests {
    router: TowerToHyperService<Router>,
    metrics: Arc<FrontMetrics>,
    peer: Peer,
    activity: Arc<Activity>,
    /// How long an answer may take to begin.
    patience: Duration,
}

impl Service<http::Request<Incoming>> for Requests {
    type Response = http::Response<Content>;
    type Error = std::convert::Infallible;
    type Future = futures_util::future::BoxFuture<'static, Result<Self::Response, Self::Error>>;

    fn call(&self, request: http::Request<Incoming>) -> Self::Future {
        let started = Instant::now();
        let (under_way, patience) = (self.activity.begin(), self.patience);
        let mut request = request.map(Body::new);
        request.extensions_mut().insert(self.peer);
        let (metrics, answer) = (self.metrics.clone(), self.router.call(request));
        Box::pin(async move {
            let response = match timeout(patience, answer).await {
                Ok(answer) => answer?,
                Err(_) => Problem::unavailable("the answer takes longer than admin.request_timeout").into_response(),
            };
            metrics.request_time.record(started.elapsed());
            metrics.requests.of(StatusClass::from(response.status())).inc();
            Ok(response.map(|content| Content { content, _request: under_way }))
        })
    }
}
