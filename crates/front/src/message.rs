//! What handlers take and give: a request with its body, and a response whose body may be a file that the kernel sends.

use std::borrow::Cow;
use std::cell::RefCell;
use std::fmt;
use std::fs::File;
use std::future::Future;
use std::io;
use std::net::SocketAddr;
use std::pin::Pin;
use std::rc::Rc;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::{Buf, Bytes, BytesMut};
use futures_util::Stream;
use http::header::{AGE, CONTENT_TYPE, DATE, HOST};
use http::request::Parts;
use http::{HeaderMap, HeaderName, HeaderValue, Method, StatusCode, Uri};
use outwork_net::Mapping;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use crate::problem::Problem;
use crate::tls::Session;

/// A future that stays on the thread of its connection.
pub type Local<T> = Pin<Box<dyn Future<Output = T>>>;

/// Where a connection comes from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Origin {
    /// The client's end.
    pub peer: SocketAddr,
    /// Our end.
    pub local: SocketAddr,
    /// The end that the client has connected to, where that is not `local`: which one of all, or what a proxy in front of us says.
    pub to: Option<SocketAddr>,
    /// True if the connection is encrypted.
    pub tls: bool,
    /// What was agreed on in the handshake of TLS: version, name, the client's certificate. It is the connection's, also where a proxy tells who
    /// the client is.
    pub session: Option<Arc<Session>>,
}

impl Origin {
    /// The end that the client has connected to.
    pub fn destination(&self) -> SocketAddr {
        self.to.unwrap_or(self.local)
    }
}

/// A request whose head has been read.
pub struct Request {
    /// Method, target, version and header fields. The target is in origin form; its authority, if the client gave one there, has become `Host`.
    pub head: Parts,
    /// What follows the head.
    pub body: RequestBody,
    /// Where it comes from.
    pub origin: Rc<Origin>,
}

/// The content of a request.
pub enum RequestBody {
    /// None.
    Empty,
    /// It comes from the connection when it is asked for.
    Source(Rc<dyn BodySource>),
}

/// Where a request's content comes from.
pub trait BodySource {
    /// The next part; `None` at the end.
    fn poll_part(&self, context: &mut Context<'_>) -> Poll<Option<Result<Bytes, BodyError>>>;

    /// Bytes that are still to come, where they are known.
    fn remaining(&self) -> Option<u64>;

    /// The fields that came after the content (RFC 9110 section 6.5), once that has ended. They are given once.
    fn trailers(&self) -> Option<HeaderMap> {
        None
    }
}

impl RequestBody {
    /// The next part of the content; `None` at the end.
    ///
    /// # Errors
    /// When it is malformed, too large or ends early. Nothing comes after that.
    pub async fn part(&mut self) -> Option<Result<Bytes, BodyError>> {
        match self {
            Self::Empty => None,
            Self::Source(source) => std::future::poll_fn(|context| source.poll_part(context)).await,
        }
    }

    /// The fields that came after the content, once that has ended. They are given once.
    pub fn trailers(&self) -> Option<HeaderMap> {
        match self {
            Self::Empty => None,
            Self::Source(source) => source.trailers(),
        }
    }

    /// All of the content.
    ///
    /// # Errors
    /// As [`part`](Self::part), and when it is larger than `limit` bytes.
    pub async fn whole(mut self, limit: usize) -> Result<Bytes, BodyError> {
        let too_large = || BodyError::TooLarge { limit: limit as u64 };
        let mut whole = BytesMut::new();
        while let Some(part) = self.part().await {
            let part = part?;
            if whole.len() + part.len() > limit {
                return Err(too_large());
            }
            whole.extend_from_slice(&part);
        }
        Ok(whole.freeze())
    }
}

/// Answers requests. Called on the thread of the connection; slow work belongs elsewhere.
pub trait Handler: Send + Sync {
    /// Begins to answer.
    fn handle(&self, request: Request) -> Answer;

    /// Whether it answers CORS preflights for methods that its route does not answer otherwise.
    fn answers_preflights(&self) -> bool {
        false
    }
}

impl<T: Handler + ?Sized> Handler for Arc<T> {
    fn handle(&self, request: Request) -> Answer {
        (**self).handle(request)
    }

    fn answers_preflights(&self) -> bool {
        (**self).answers_preflights()
    }
}

/// An answer, at once where that is possible: it then costs no allocation and no trip through the scheduler.
pub enum Answer {
    /// It is there.
    Now(Response),
    /// It comes.
    Later(Local<Response>),
}

impl Answer {
    /// The response, once it is there.
    pub async fn response(self) -> Response {
        match self {
            Self::Now(response) => response,
            Self::Later(response) => response.await,
        }
    }
}

impl From<Response> for Answer {
    fn from(response: Response) -> Self {
        Self::Now(response)
    }
}

/// A response.
pub struct Response {
    /// Its status.
    pub status: StatusCode,
    /// Its header fields. `Content-Length` and `Transfer-Encoding` follow from the body and are written by the connection; a `Content-Length`
    /// that is here stands for a body that is not sent, as for HEAD.
    pub headers: HeaderMap,
    /// Header fields that were made ready before, beside those above.
    pub ready: Option<Arc<ReadyHead>>,
    /// What a cache says of a response that it had.
    pub hit: Option<Hit>,
    /// Its content.
    pub body: Body,
    /// Those of its route, made ready likewise.
    pub also: Option<Arc<ReadyHead>>,
    /// What takes over the connection once the head is sent: with a status of 101, or a success in answer to CONNECT (RFC 9110 section 9.3.6).
    pub upgrade: Option<Upgrade>,
    /// What is known of it beside what is sent.
    pub note: Option<Box<Note>>,
    /// The number of the route that it is of.
    pub route: Option<u16>,
    /// Who was asked for it, where it was not made here.
    pub asked: Option<Asked>,
}

/// Who was asked for a response.
#[derive(Debug, Clone)]
pub struct Asked {
    /// The one that was asked last.
    pub whom: Arc<dyn Named>,
    /// How many were asked, one that was asked twice counted twice.
    pub attempts: u32,
    /// Microseconds until the last of them began to answer; 0 where none has. It is in each response, and so small.
    took: u32,
}

impl Asked {
    /// `took` is how long it took the last of them to begin to answer.
    pub fn new(whom: Arc<dyn Named>, attempts: u32, took: Option<Duration>) -> Self {
        let micros = |took: Duration| u32::try_from(took.as_micros().max(1)).unwrap_or(u32::MAX);
        Self { whom, attempts, took: took.map_or(0, micros) }
    }

    /// How long it took the last of them to begin to answer, to the microsecond, and a little more than an hour at most.
    pub fn took(&self) -> Option<Duration> {
        (self.took > 0).then(|| Duration::from_micros(self.took.into()))
    }
}

/// Whoever has a name for logs. Who asks has it in its hands already: nothing is shared anew for that.
pub trait Named: fmt::Debug + Send + Sync {
    /// Its name.
    fn name(&self) -> &Backend;
}

impl Named for Backend {
    fn name(&self) -> &Backend {
        self
    }
}

/// A backend, and what it is one of.
#[derive(Debug, PartialEq, Eq)]
pub struct Backend {
    /// Its pool.
    pub pool: Box<str>,
    /// What it is known by there; `None` stands for any of the pool, where none could be asked.
    pub backend: Option<Box<str>>,
}

/// What is known of a response beside what is sent.
#[derive(Debug, Default)]
pub struct Note {
    /// It is an error, whose content gets the request's id before it is sent.
    pub problem: Option<Problem>,
    /// Who asked, as its credentials say.
    pub user: Option<Box<str>>,
    /// It has no line in the access log.
    pub unlogged: bool,
    /// The request, where it is an error: what failed lately is shown with it.
    pub about: Option<Box<Subject>>,
    /// What went wrong, where that is told.
    pub why: Option<Cow<'static, str>>,
    /// The same request would get the same answer, as long as this says so.
    pub standing: Option<Standing>,
}

/// An extension of requests whose head has come before, byte for byte. Who answers out of the head alone may say that the answer stands
/// ([`Note::standing`]); who lets anything else decide (the client's address, a count, a clock) takes this out before others are asked.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Repeated;

/// Says of an answer whether the same request would get it again now, and counts where it does, as for a request.
#[derive(Clone)]
pub struct Standing(Arc<dyn Fn() -> bool + Send + Sync>);

impl Standing {
    /// As long as `stands` says so.
    pub fn new(stands: impl Fn() -> bool + Send + Sync + 'static) -> Self {
        Self(Arc::new(stands))
    }

    /// For as long as the configuration is the same.
    pub fn always() -> Self {
        Self::new(|| true)
    }

    pub(crate) fn stands(&self) -> bool {
        (self.0)()
    }
}

impl fmt::Debug for Standing {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Standing")
    }
}

/// The request that an error is about.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Subject {
    /// Its method.
    pub method: Method,
    /// Its target.
    pub uri: Uri,
    /// The host that it was for.
    pub host: Option<HeaderValue>,
}

impl Subject {
    /// That with this head.
    pub fn of(head: &Parts) -> Self {
        Self { method: head.method.clone(), uri: head.uri.clone(), host: head.headers.get(HOST).cloned() }
    }
}

/// What a cache says of a response that it had: the two fields that change from one second to the next, which the connection writes by itself.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Hit {
    /// Seconds since it was made: `Age` (RFC 9111 section 5.1).
    pub age: u64,
    /// Seconds that it is still fresh, negative where it is not any more: `Cache-Status` (RFC 9211). `None` where another field says it.
    pub ttl: Option<i64>,
}

/// Takes the connection, or the stream, over.
pub type Upgrade = Box<dyn FnOnce(Box<dyn Duplex>) -> Local<()>>;

/// A stream of bytes in both directions.
pub trait Duplex: AsyncRead + AsyncWrite + Unpin {}

impl<T: AsyncRead + AsyncWrite + Unpin> Duplex for T {}

/// Header fields that many responses share, kept as HTTP/1.1 writes them and as the others take them.
#[derive(Debug)]
pub struct ReadyHead {
    pub(crate) lines: Bytes,
    /// `Date` is among them.
    pub(crate) dated: bool,
    /// The fields.
    pub fields: HeaderMap,
}

impl ReadyHead {
    /// Writes the fields once. `Content-Length` and `Transfer-Encoding` have no place here.
    pub fn new(fields: HeaderMap) -> Arc<Self> {
        let mut lines = Vec::with_capacity(fields.len() * 40);
        for (name, value) in &fields {
            crate::h1::push_field(&mut lines, name.as_str(), value.as_bytes());
        }
        Arc::new(Self { lines: lines.into(), dated: fields.contains_key(DATE), fields })
    }
}

/// The content of a response.
pub enum Body {
    /// None.
    Empty,
    /// All of it, in memory.
    Full(Bytes),
    /// A part of a file. It must not shrink meanwhile; a connection that cannot send all of it is closed.
    File(FilePart),
    /// Several, one after the other, none of them a stream.
    Pieces(Vec<Body>),
    /// Parts as they come, of a length that may be known.
    Stream(Streamed),
}

/// A part of a file.
#[derive(Debug, Clone)]
pub struct FilePart {
    /// The open file.
    pub file: Arc<File>,
    /// Where the part begins.
    pub offset: u64,
    /// Its bytes.
    pub length: u64,
    /// How it is sent where that can be chosen.
    pub transfer: Transfer,
}

/// How a part of a file is sent. What the connection cannot do is replaced by [`Read`](Self::Read).
#[derive(Debug, Clone, Default)]
pub enum Transfer {
    /// The kernel sends it by itself (`sendfile(2)`); clear HTTP/1 only.
    #[default]
    Kernel,
    /// The kernel copies it from memory that the file is mapped to from its beginning; clear HTTP/1 only.
    Mapped(Arc<Mapping>),
    /// It is read past the page cache: the same file, opened with `O_DIRECT`.
    Direct(Arc<File>),
    /// It is read and written.
    Read,
}

/// A body that comes in parts.
pub struct Streamed {
    /// Its bytes, where they are known before.
    pub length: Option<u64>,
    /// The parts.
    pub parts: Pin<Box<dyn Stream<Item = Result<Bytes, BodyError>>>>,
    /// What comes after them.
    pub trailers: Option<Trailers>,
}

/// Fields that come after a body (RFC 9110 section 6.5). Whoever makes its parts sets them before the end.
#[derive(Debug, Clone, Default)]
pub struct Trailers(Rc<RefCell<Option<HeaderMap>>>);

impl Trailers {
    /// These are they.
    pub fn set(&self, fields: HeaderMap) {
        self.0.replace(Some(fields).filter(|fields| !fields.is_empty()));
    }

    /// What was set, if anything was.
    pub(crate) fn take(&self) -> Option<HeaderMap> {
        self.0.take()
    }
}

/// Why a body ends before its end.
#[derive(Debug, thiserror::Error)]
pub enum BodyError {
    /// The client sent something that is not a body.
    #[error("the request's body is malformed: {0}")]
    Malformed(&'static str),
    /// The client sent more than is allowed.
    #[error("the request's body is larger than {limit} bytes")]
    TooLarge {
        /// The limit.
        limit: u64,
    },
    /// The client sent less than it announced, or the connection failed.
    #[error("the request's body ends early: {0}")]
    Cut(io::Error),
    /// Whoever makes the content failed.
    #[error("{0}")]
    Source(Box<dyn std::error::Error + Send + Sync>),
}

impl Response {
    /// A response with nothing but a status.
    pub fn new(status: StatusCode) -> Self {
        let (headers, body) = (HeaderMap::new(), Body::Empty);
        Self {
            status,
            headers,
            ready: None,
            also: None,
            hit: None,
            body,
            upgrade: None,
            note: None,
            route: None,
            asked: None,
        }
    }

    /// A response with a content that is in memory.
    pub fn full(status: StatusCode, media_type: &'static str, content: impl Into<Bytes>) -> Self {
        let mut response = Self::new(status);
        response.headers.insert(CONTENT_TYPE, HeaderValue::from_static(media_type));
        response.body = Body::Full(content.into());
        response
    }

    /// What takes the connection over, if something does; `connects` says that the request was a CONNECT.
    pub(crate) fn take_upgrade(&mut self, connects: bool) -> Option<Upgrade> {
        let switches = self.status == StatusCode::SWITCHING_PROTOCOLS || (connects && self.status.is_success());
        self.upgrade.take().filter(|_| switches)
    }

    /// The value of a field, wherever it stands; the first where there are several.
    pub fn field(&self, name: &HeaderName) -> Option<&HeaderValue> {
        let ready = || self.ready_heads().find_map(|head| head.fields.get(name));
        self.headers.get(name).or_else(ready)
    }

    /// The fields that were made ready before.
    pub(crate) fn ready_heads(&self) -> impl Iterator<Item = &Arc<ReadyHead>> {
        self.ready.iter().chain(&self.also)
    }

    /// Takes a field out, wherever it is kept.
    pub fn remove_field(&mut self, name: &HeaderName) {
        for slot in [&mut self.ready, &mut self.also] {
            // What was made ready is shared: without the field it is this response's own.
            if let Some(head) = slot.take_if(|head| head.fields.contains_key(name)) {
                for (name, value) in head.fields.iter().filter(|(other, _)| *other != name) {
                    self.headers.append(name.clone(), value.clone());
                }
            }
        }
        self.headers.remove(name);
    }

    /// What is known of it, to be added to.
    pub fn note_mut(&mut self) -> &mut Note {
        self.note.get_or_insert_default()
    }
}

impl Hit {
    /// What `Cache-Status` says before the number (RFC 9211 section 2).
    pub(crate) const STATUS: &str = "Outwork; hit; ttl=";

    /// As fields.
    pub(crate) fn fields(self) -> impl Iterator<Item = (HeaderName, HeaderValue)> {
        let status = self.ttl.and_then(|ttl| HeaderValue::try_from(format!("{}{ttl}", Self::STATUS)).ok());
        let status = status.map(|status| (HeaderName::from_static("cache-status"), status));
        [(AGE, HeaderValue::from(self.age))].into_iter().chain(status)
    }
}

impl Body {
    /// Its bytes, where they are known.
    pub fn length(&self) -> Option<u64> {
        match self {
            Self::Empty => Some(0),
            Self::Full(bytes) => Some(bytes.len() as u64),
            Self::File(part) => Some(part.length),
            Self::Pieces(pieces) => pieces.iter().map(Self::length).sum(),
            Self::Stream(stream) => stream.length,
        }
    }
}

/// A stream of which something was read already.
pub(crate) struct Rewound<S> {
    stream: S,
    read: Bytes,
}

impl<S> Rewound<S> {
    pub(crate) fn new(stream: S, read: Bytes) -> Self {
        Self { stream, read }
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for Rewound<S> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        if self.read.is_empty() {
            return Pin::new(&mut self.stream).poll_read(context, buffer);
        }
        let taken = self.read.len().min(buffer.remaining());
        buffer.put_slice(self.read.get(..taken).unwrap_or_default());
        self.read.advance(taken);
        Poll::Ready(Ok(()))
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for Rewound<S> {
    fn poll_write(mut self: Pin<&mut Self>, context: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write(context, bytes)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        slices: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write_vectored(context, slices)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(context)
    }
}
