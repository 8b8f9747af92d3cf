//! Connections to backends, and requests on them.
//!
//! - this file: a connection, and a request with its answer, whatever is spoken.
//! - `dial`: how a connection is opened. `wire`: what it runs on.
//! - `h1`: requests over HTTP/1.1. `h2`: requests over HTTP/2.
//! - `local`: what one thread has of a pool: connections that wait for their next request, and those that many share.
//! - `under_way`: what takes long, and ends where its backend may not go on with it.

pub(crate) mod dial;
pub(crate) mod h1;
pub(crate) mod h2;
pub(crate) mod local;
pub(crate) mod under_way;
pub(crate) mod wire;

use std::io;
use std::rc::Rc;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Instant;

use bytes::Bytes;
use http::{HeaderMap, StatusCode};
use outwork_front::message::{BodyError, RequestBody};

use crate::address::Speech;
use crate::announce::Announced;
use crate::limits::Room;
use crate::metrics::ProxyMetrics;
use crate::pool::endpoint::Endpoint;
use crate::pool::{Pool, Snapshot};
use dial::{Agreed, DialError, OwnEnd};
use wire::Wire;

/// Why an exchange with a backend failed.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ExchangeError {
    /// The connection ended, or could not be written to, before anything was answered.
    #[error("the backend ended the connection before it answered")]
    NoAnswer,
    /// The connection ended, or was given up, while the answers to others were waited for. It says nothing of this request, nor of who was to answer it.
    #[error("the connection ended before it was this request's turn")]
    BeforeItsTurn,
    /// The backend says that it has not begun with the request.
    #[error("the backend has not begun with it")]
    NotBegun,
    /// What is asked for is another protocol, which the backend has no streams for.
    #[error("the backend lets no stream of HTTP/2 switch to another protocol")]
    NoSwitch,
    /// The connection failed.
    #[error("the connection to the backend failed: {0}")]
    Io(#[from] io::Error),
    /// What came is no HTTP.
    #[error("{0}")]
    Malformed(&'static str),
    /// It took too long.
    #[error("the backend took too long to answer")]
    Late,
    /// The backend has left, or is drained, and so has the time gone that it had for this.
    #[error("the backend was taken out, and its time to go on with what it had is over")]
    Drained,
    /// The client's part failed: its body.
    #[error("{0}")]
    Client(BodyError),
}

/// The head of an answer.
#[derive(Debug)]
pub(crate) struct Reply {
    pub(crate) status: StatusCode,
    pub(crate) headers: HeaderMap,
}

/// Answers before the answer (RFC 9110 section 15.2) that a backend has given and nobody has taken yet.
#[derive(Debug, Default)]
pub(crate) struct Early {
    waiting: Vec<Reply>,
    count: usize,
}

impl Early {
    /// Those of one request that are passed on; what is beyond is left out.
    const MOST: usize = 16;

    fn put(&mut self, status: StatusCode, headers: HeaderMap) {
        self.count += 1;
        if self.count <= Self::MOST {
            self.waiting.push(Reply { status, headers });
        }
    }
}

/// The content of a request, as an attempt to send it takes it.
pub(crate) struct Body(pub(crate) Box<dyn BodyParts>);

impl std::fmt::Debug for Body {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Body")
    }
}

/// Parts of the content of a request.
pub(crate) trait BodyParts {
    /// The next part; `None` at the end.
    fn poll_part(&mut self, context: &mut Context<'_>) -> Poll<Option<Result<Bytes, BodyError>>>;

    /// The fields that came after them, once they have ended.
    fn trailers(&mut self) -> Option<HeaderMap>;
}

impl BodyParts for RequestBody {
    fn poll_part(&mut self, context: &mut Context<'_>) -> Poll<Option<Result<Bytes, BodyError>>> {
        match self {
            Self::Empty => Poll::Ready(None),
            Self::Source(source) => source.poll_part(context),
        }
    }

    fn trailers(&mut self) -> Option<HeaderMap> {
        RequestBody::trailers(self)
    }
}

/// An open connection, as long as this is there.
#[derive(Debug)]
pub(crate) struct Counted {
    metrics: Arc<ProxyMetrics>,
    _room: Option<Room>,
}

impl Counted {
    pub(crate) fn new(metrics: &Arc<ProxyMetrics>, room: Option<Room>) -> Self {
        metrics.connections.inc();
        Self { metrics: Arc::clone(metrics), _room: room }
    }
}

impl Drop for Counted {
    fn drop(&mut self) {
        self.metrics.connections.dec();
    }
}

/// A connection that takes a request.
#[derive(Debug)]
pub(crate) enum Link {
    /// For this request alone, until its answer has ended.
    Http1(h1::Conn),
    /// Shared with others, whose answers come in the order of the requests.
    Piped(Rc<h1::pipe::Pipe>),
    /// Shared with others.
    Http2(Rc<h2::Session>),
}

/// Whether a connection may be one of HTTP/2: a switch to another protocol is asked for over HTTP/1.1 alone.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Version {
    Any,
    Http1,
    /// It is none of HTTP.
    Other,
}

/// What a connection has to be.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Wanted<'a> {
    pub(crate) version: Version,
    /// Whose it is, where backends are told: nobody else's request may go by it then.
    pub(crate) announced: Option<&'a Rc<Announced>>,
    /// Whether the answers to others may come before it.
    pub(crate) piped: bool,
}

impl Wanted<'_> {
    /// One that is anybody's.
    pub(crate) const ANY: Self = Self { version: Version::Any, announced: None, piped: false };
}

/// Opens a connection to a member, for which there is room, on a thread that serves.
pub(crate) async fn open(
    pool: &Pool,
    room: Room,
    snapshot: &Snapshot,
    endpoint: &Endpoint,
    wanted: Wanted<'_>,
) -> Result<Link, DialError> {
    let settings = &snapshot.settings.connections;
    let tls = endpoint.tls.as_ref().map(|tls| (tls.config(wanted.version), &tls.name));
    let first = wanted.announced.map(|announced| announced.header()).unwrap_or_default();
    let from = OwnEnd { source: None, buffers: settings.buffers() };
    let (wire, agreed) = dial::dial_as(from, &first, &endpoint.target, tls, settings.connect_timeout).await?;
    let metrics = pool.shared_metrics();
    metrics.connections_opened.inc();
    endpoint.cells.opened.inc();
    let mut link = speak(wire, endpoint.speech, agreed, Counted::new(metrics, Some(room))).await?;
    if let Link::Http1(conn) = &mut link {
        conn.announced = wanted.announced.cloned();
    }
    Ok(link)
}

/// Begins to speak on a connection.
pub(crate) async fn speak(
    wire: Wire,
    speech: Speech,
    agreed: Option<Agreed>,
    counted: Counted,
) -> Result<Link, DialError> {
    let now = Instant::now();
    match (speech, agreed) {
        (Speech::Http2, _) | (_, Some(Agreed::Http2)) => {
            Ok(Link::Http2(h2::Session::begin(wire, now, counted).await.map_err(DialError::Http2)?))
        }
        _ => Ok(Link::Http1(h1::Conn::new(wire, now, counted))),
    }
}

/// A request under way.
#[derive(Debug)]
pub(crate) enum Exchange {
    Http1(Box<h1::Exchange>),
    Piped(h1::pipe::Exchange),
    Http2(Box<h2::Exchange>),
}

macro_rules! each {
    ($exchange:expr, $one:ident => $what:expr) => {
        match $exchange {
            Exchange::Http1($one) => $what,
            Exchange::Piped($one) => $what,
            Exchange::Http2($one) => $what,
        }
    };
}

impl Exchange {
    /// The head of the answer.
    pub(crate) fn poll_reply(&mut self, context: &mut Context<'_>) -> Poll<Result<Reply, ExchangeError>> {
        each!(self, exchange => exchange.poll_reply(context))
    }

    /// What was answered before the answer.
    pub(crate) fn early(&mut self) -> Vec<Reply> {
        std::mem::take(&mut each!(self, exchange => &mut exchange.early).waiting)
    }

    /// The next part of the content; `None` at its end.
    pub(crate) fn poll_part(&mut self, context: &mut Context<'_>) -> Poll<Option<Result<Bytes, ExchangeError>>> {
        each!(self, exchange => exchange.poll_part(context))
    }

    /// All that is left of the answer, where that is here already.
    pub(crate) fn take_rest(&mut self) -> Option<Bytes> {
        each!(self, exchange => exchange.take_rest())
    }

    /// Bytes of content that are still to come, where that is known.
    pub(crate) fn remaining(&self) -> Option<u64> {
        each!(self, exchange => exchange.remaining())
    }

    /// Whether all of the request is out.
    pub(crate) fn is_sent(&self) -> bool {
        match self {
            Self::Http1(exchange) => exchange.is_sent(),
            // It goes out with those of others, all at once.
            Self::Piped(_) => true,
            Self::Http2(exchange) => exchange.is_sent(),
        }
    }

    /// Bytes of content that were sent.
    pub(crate) fn sent(&self) -> u64 {
        match self {
            Self::Http1(exchange) => exchange.sent,
            Self::Piped(_) => 0,
            Self::Http2(exchange) => exchange.sent,
        }
    }

    /// It has taken too long: what that is, for whoever waits for it.
    pub(crate) fn late(&mut self) -> ExchangeError {
        match self {
            Self::Piped(exchange) => exchange.late(),
            Self::Http1(_) | Self::Http2(_) => ExchangeError::Late,
        }
    }

    /// Whether the body waits for the backend to ask for it.
    pub(crate) fn is_held(&self) -> bool {
        matches!(self, Self::Http1(exchange) if exchange.is_held())
    }

    /// The body may go out, whether it was asked for or not.
    pub(crate) fn release(&mut self) {
        if let Self::Http1(exchange) = self {
            exchange.release();
        }
    }

    /// The fields that came after the content, once that has ended.
    pub(crate) fn trailers(&mut self) -> Option<HeaderMap> {
        each!(self, exchange => exchange.trailers())
    }

    /// Whether the stream, or the connection, speaks another protocol from here on.
    pub(crate) fn is_switched(&self) -> bool {
        matches!(self, Self::Http2(exchange) if exchange.is_switched())
    }

    /// The connection, where it may carry another request and belongs to nobody meanwhile.
    pub(crate) fn into_conn(self, now: Instant) -> Option<h1::Conn> {
        match self {
            Self::Http1(exchange) => exchange.into_conn(now),
            Self::Piped(_) | Self::Http2(_) => None,
        }
    }
}

/// Runs a test of what shares a thread.
#[cfg(test)]
fn on_a_thread(test: impl Future<Output = ()>) {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let test = async { tokio::time::timeout(std::time::Duration::from_secs(60), test).await.unwrap() };
    tokio::task::LocalSet::new().block_on(&runtime, test);
}
