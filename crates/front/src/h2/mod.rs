//! HTTP/2 (RFC 9113): the `h2` crate's connections, our requests and responses.
//!
//! - `cork`: has the answers of one turn leave together.

mod cork;

use std::cell::{Cell, OnceCell, RefCell};
use std::future::poll_fn;
use std::io;
use std::rc::Rc;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::{Duration, Instant};

use bytes::Bytes;
use futures_util::StreamExt;
use h2::server::{Builder, SendResponse};
use h2::{Reason, RecvStream, SendStream};
use http::header::{CONNECTION, CONTENT_LENGTH, DATE, EXPECT, HOST, TRANSFER_ENCODING};
use http::{HeaderValue, Method, StatusCode, Uri, Version};
use tokio::io::{AsyncRead, AsyncWrite};

use self::cork::Cork;
use crate::door::Serving;
use crate::door::metrics::Protocol;
use crate::door::pace::Pace;
use crate::door::pulse::Beat;
use crate::door::worker::Worker;
use crate::file::{self, DirectReader, FileTransfer};
use crate::filter::Visit;
use crate::message::{
    Answer, Body, BodyError, BodySource, FilePart, Origin, Request, RequestBody, Response, Streamed, Transfer,
};
use crate::problem::Problem;

/// Streams that a client may have open at once.
const STREAMS: u32 = 128;
/// Bytes that a client may send on a stream before they are asked for, and on all streams together.
const STREAM_WINDOW: u32 = 256 << 10;
const CONNECTION_WINDOW: u32 = 1 << 20;
/// Bytes of a body that are handed over at once.
const PIECE: usize = 64 << 10;
/// How long, and how many bytes of it, content that nobody wants is ignored before its stream is reset.
const LINGER: Duration = Duration::from_secs(2);
const UNWANTED: usize = STREAM_WINDOW as usize;

/// Serves a connection until it ends.
pub(crate) async fn serve<S>(io: S, worker: &Rc<Worker>, origin: Rc<Origin>, beat: Beat) -> io::Result<()>
where
    S: AsyncRead + AsyncWrite + Unpin,
{
    let serving = worker.serving();
    let options = &serving.options;
    let mut builder = Builder::new();
    builder
        .max_concurrent_streams(STREAMS)
        .initial_window_size(STREAM_WINDOW)
        .initial_connection_window_size(CONNECTION_WINDOW)
        .max_header_list_size(u32::try_from(options.max_head).unwrap_or(u32::MAX));
    let pulse = Rc::clone(&beat.pulse);
    pulse.allow(worker.now(), options.header_timeout);
    let cork = Cork::new(io);
    let mut handshake = std::pin::pin!(builder.handshake::<_, Bytes>(cork.share()));
    let connection = poll_fn(|context| {
        pulse.poll(context, |context| match handshake.as_mut().poll(context) {
            Poll::Ready(connection) => Poll::Ready(connection.map_err(failed)),
            Poll::Pending => cork.end_turn(context),
        })
    });
    let mut connection = connection.await?;
    let open = Rc::new(Cell::new(0u32));
    let mut leaving = false;
    loop {
        let idle = open.get() == 0;
        if pulse.set_idle(idle) != idle || idle {
            match idle {
                true => pulse.allow(worker.now(), worker.serving().options.keep_alive),
                false => pulse.forever(),
            }
        }
        if pulse.is_stopping() && !leaving {
            leaving = true;
            connection.graceful_shutdown();
        }
        let accepted = poll_fn(|context| {
            pulse.poll(context, |context| match connection.poll_accept(context) {
                Poll::Ready(accepted) => Poll::Ready(accepted.transpose().map_err(failed)),
                Poll::Pending => cork.end_turn(context),
            })
        });
        let Some((request, respond)) = accepted.await? else { return Ok(()) };
        let stream = Stream {
            worker: Rc::clone(worker),
            serving: worker.serving(),
            origin: Rc::clone(&origin),
            sent: Cell::new(0),
            pace: OnceCell::new(),
            body: OnceCell::new(),
            _open: Open::new(&open, &pulse),
        };
        stream.begin(request, respond);
    }
}

fn failed(error: h2::Error) -> io::Error {
    match error.is_io() {
        true => error.into_io().unwrap_or_else(|| io::ErrorKind::ConnectionReset.into()),
        false => io::Error::other(error),
    }
}

/// Counts a stream of its connection; the last to end leaves the connection idle.
struct Open {
    open: Rc<Cell<u32>>,
    pulse: Rc<crate::door::pulse::Pulse>,
}

impl Open {
    fn new(open: &Rc<Cell<u32>>, pulse: &Rc<crate::door::pulse::Pulse>) -> Self {
        open.set(open.get() + 1);
        Self { open: Rc::clone(open), pulse: Rc::clone(pulse) }
    }
}

impl Drop for Open {
    fn drop(&mut self) {
        self.open.set(self.open.get().saturating_sub(1));
        if self.open.get() == 0 {
            // The connection sets its new deadline.
            self.pulse.wake();
        }
    }
}

/// A request and its response.
struct Stream {
    worker: Rc<Worker>,
    serving: Arc<Serving>,
    origin: Rc<Origin>,
    /// Bytes of the response's content handed over.
    sent: Cell<u64>,
    /// Its deadlines, once there is something to wait for.
    pace: OnceCell<Rc<Pace>>,
    /// Its content, if there is any.
    body: OnceCell<Rc<Incoming>>,
    _open: Open,
}

impl Stream {
    /// Answers, at once where the answer is there and is in memory.
    fn begin(self, request: http::Request<RecvStream>, respond: SendResponse<Bytes>) {
        let started = Instant::now();
        self.worker.metrics.protocols.of(Protocol::Http2).inc();
        let is_head = request.method() == Method::HEAD;
        let (mut request, refused) = self.take(request);
        let visit = Visit::begin(&self.serving.entry, &mut request, started);
        let answer = match refused {
            Some(problem) => problem.answer(&request.head).into(),
            None => self.serving.handler.handle(request),
        };
        match answer {
            Answer::Now(response) => {
                let (response, visit) = self.answered(response, visit, started);
                // The client has room for so much, or soon will.
                let little = matches!(&response.body, Body::Full(content) if content.len() <= PIECE);
                if (is_head || little || response.body.is_empty()) && !self.is_unread() {
                    return self.ended(visit, self.send_now(response, is_head, respond));
                }
                drop(tokio::task::spawn_local(async move { self.finish(visit, response, is_head, respond).await }));
            }
            Answer::Later(response) => drop(tokio::task::spawn_local(async move {
                let response = self.pace().answer(response).await.unwrap_or_else(|| Problem::late().into_response());
                let (response, visit) = self.answered(response, visit, started);
                self.finish(visit, response, is_head, respond).await;
            })),
        }
    }

    /// Sends a response, and sees what is left of the request to its end: many a client that still sends takes a response that ends for a
    /// failure, or waits for ever, though it may end early (RFC 9113 section 8.1). So what is little, and is on its way, comes first.
    async fn finish(&self, visit: Visit, response: Response, is_head: bool, respond: SendResponse<Bytes>) {
        if self.body.get().is_some_and(|body| body.comes) {
            self.linger().await;
        }
        self.ended(visit, self.send(response, is_head, respond).await);
        self.linger().await;
    }

    /// There is a response: it gets what every response gets.
    fn answered(&self, mut response: Response, mut visit: Visit, started: Instant) -> (Response, Visit) {
        self.worker.metrics.answered(response.status, started.elapsed());
        visit.answered(&self.serving.entry, &mut response);
        (response, visit)
    }

    fn pace(&self) -> &Rc<Pace> {
        self.pace.get_or_init(|| Pace::begin(&self.worker, &self.serving.options))
    }

    fn ended(&self, mut visit: Visit, sent: Result<(), SendError>) {
        visit.sent(self.sent.get(), sent.is_ok());
        if let Err(error) = sent {
            tracing::debug!(peer = %self.origin.peer, %error, "a stream ended before its response did");
        }
    }

    /// The request in the form that handlers know: the target in origin form, and what HTTP/2 calls authority as `Host`; and why no handler
    /// is to have it.
    fn take(&self, request: http::Request<RecvStream>) -> (Request, Option<Problem>) {
        let (mut head, body) = request.into_parts();
        let options = &self.serving.options;
        let mut refused = None;
        head.version = Version::HTTP_2;
        if head.method != Method::CONNECT {
            if let Some(authority) = head.uri.authority() {
                match HeaderValue::from_str(authority.as_str()) {
                    Ok(host) => drop(head.headers.insert(HOST, host)),
                    Err(_) => refused = Some(Problem::new(StatusCode::BAD_REQUEST, "the authority is malformed")),
                }
            }
            let target = head.uri.path_and_query().cloned().map_or_else(|| Uri::from_static("/"), Uri::from);
            if target.path_and_query().is_some_and(|target| target.as_str().len() > options.max_target) {
                refused = Some(Problem::new(StatusCode::URI_TOO_LONG, "the request target is too long"));
            }
            head.uri = target;
        }
        let limit = options.max_body;
        let announced = head.headers.get(CONTENT_LENGTH).and_then(|value| value.to_str().ok()?.parse::<u64>().ok());
        if announced.is_some_and(|length| length > limit) {
            refused = Some(Problem::too_large(limit));
        }
        let body = match body.is_end_stream() {
            true => RequestBody::Empty,
            false => {
                let (stream, pace) = (RefCell::new(body), Rc::clone(self.pace()));
                let comes =
                    announced.is_some_and(|length| length <= UNWANTED as u64) && !head.headers.contains_key(EXPECT);
                let incoming = Incoming { stream, received: Cell::new(0), announced, comes, limit, pace };
                RequestBody::Source(Rc::clone(self.body.get_or_init(|| Rc::new(incoming))) as Rc<dyn BodySource>)
            }
        };
        (Request { head, body, origin: Rc::clone(&self.origin) }, refused)
    }

    /// Whether there is content that nobody wants any more.
    fn is_unread(&self) -> bool {
        self.body.get().is_some_and(|body| Rc::strong_count(body) == 1 && !body.stream.borrow().is_end_stream())
    }

    /// Ignores a while what still comes of it, if it is little. What is more ends in a reset of the stream.
    async fn linger(&self) {
        let Some(body) = self.body.get().filter(|_| self.is_unread()) else { return };
        let mut ignored = 0;
        self.pace().lingering(LINGER);
        while ignored < UNWANTED {
            match self.pace().next(|context| body.stream.borrow_mut().poll_data(context)).await {
                Ok(Some(Ok(part))) => {
                    ignored += part.len();
                    // Where it cannot be given back, the stream has ended.
                    let _ = body.stream.borrow_mut().flow_control().release_capacity(part.len());
                }
                _ => return,
            }
        }
    }

    /// Sends what is in memory, and shared: to hand all of it over costs nothing.
    fn send_now(&self, response: Response, is_head: bool, mut respond: SendResponse<Bytes>) -> Result<(), SendError> {
        let (head, follows) = self.head(&response, is_head);
        let mut stream = respond.send_response(head, !follows)?;
        if let (true, Body::Full(content)) = (follows, response.body) {
            self.count(content.len());
            stream.send_data(content, true)?;
        }
        Ok(())
    }

    async fn send(&self, response: Response, is_head: bool, mut respond: SendResponse<Bytes>) -> Result<(), SendError> {
        let (head, follows) = self.head(&response, is_head);
        let mut stream = respond.send_response(head, !follows)?;
        if !follows {
            return Ok(());
        }
        self.pace().sending();
        self.send_body(&mut stream, response.body, true).await
    }

    async fn send_body(&self, stream: &mut SendStream<Bytes>, body: Body, last: bool) -> Result<(), SendError> {
        match body {
            body if body.is_empty() => Ok(stream.send_data(Bytes::new(), last)?),
            Body::Empty => Ok(()),
            Body::Full(content) => self.send_part(stream, content, last).await,
            Body::File(part) => self.send_file(stream, part, last).await,
            Body::Pieces(pieces) => {
                let count = pieces.len();
                for (index, piece) in pieces.into_iter().enumerate() {
                    Box::pin(self.send_body(stream, piece, last && index + 1 == count)).await?;
                }
                Ok(())
            }
            Body::Stream(body) => self.send_stream(stream, body).await,
        }
    }

    fn head(&self, response: &Response, is_head: bool) -> (http::Response<()>, bool) {
        let status = response.status;
        let mut fields = response.headers.clone();
        let said = fields.remove(CONTENT_LENGTH);
        for name in [CONNECTION, TRANSFER_ENCODING] {
            fields.remove(name);
        }
        fields.remove("keep-alive");
        for ready in response.ready_heads() {
            fields.extend(ready.fields.iter().map(|(name, value)| (name.clone(), value.clone())));
        }
        if let Some(hit) = response.hit {
            fields.extend(hit.fields());
        }
        if !fields.contains_key(DATE) {
            fields.extend(HeaderValue::from_bytes(&self.worker.date()).ok().map(|date| (DATE, date)));
        }
        let bodiless = status == StatusCode::NO_CONTENT || status == StatusCode::NOT_MODIFIED;
        let length = match response.body.length() {
            Some(0) if bodiless || is_head => said,
            Some(length) => Some(HeaderValue::from(length)),
            None => None,
        };
        if let Some(length) = length.filter(|_| status != StatusCode::NO_CONTENT) {
            fields.insert(CONTENT_LENGTH, length);
        }
        let mut head = http::Response::new(());
        (*head.status_mut(), *head.headers_mut()) = (status, fields);
        (head, !bodiless && !is_head && !response.body.is_empty())
    }

    async fn send_file(&self, stream: &mut SendStream<Bytes>, part: FilePart, last: bool) -> Result<(), SendError> {
        let (mut at, end) = (part.offset, part.offset.saturating_add(part.length));
        let metrics = &self.worker.metrics;
        if let Transfer::Direct(direct) = &part.transfer {
            metrics.file_parts.of(FileTransfer::Direct).inc();
            let mut reader = DirectReader::new(&part, direct);
            loop {
                let read = match self.pace().ours(reader.next()).await {
                    Ok(Some(read)) => read,
                    Ok(None) => return Ok(()),
                    Err(error) => return self.reset(stream, error),
                };
                metrics.direct_refused.add(read.refused.into());
                at += read.piece.as_ref().len() as u64;
                self.send_part(stream, Bytes::from_owner(read.piece), last && at == end).await?;
            }
        }
        metrics.file_parts.of(FileTransfer::Read).inc();
        while at < end {
            // Read when there is room for it: what waits for a slow client is on disk, not in memory.
            let wanted = usize::try_from(end - at).unwrap_or(usize::MAX).min(PIECE);
            let mut piece = vec![0; self.room(stream, wanted).await?.min(wanted)];
            let piece = match file::read_cached(&part.file, &mut piece, at) {
                Ok(Some(0)) => Err(io::ErrorKind::UnexpectedEof.into()),
                Ok(Some(read)) => {
                    piece.truncate(read);
                    Ok(Bytes::from(piece))
                }
                Ok(None) => {
                    metrics.file_waits.inc();
                    self.pace().ours(file::read(&part.file, at..end, piece.len())).await
                }
                Err(error) => Err(error),
            };
            let piece = match piece {
                Ok(piece) => piece,
                Err(error) => return self.reset(stream, error),
            };
            at += piece.len() as u64;
            self.send_part(stream, piece, last && at == end).await?;
        }
        Ok(())
    }

    async fn send_stream(&self, stream: &mut SendStream<Bytes>, mut body: Streamed) -> Result<(), SendError> {
        loop {
            match self.pace().ours(next_or_reset(stream, &mut body)).await? {
                Some(Ok(part)) => self.send_part(stream, part, false).await?,
                Some(Err(error)) => return self.reset(stream, io::Error::other(error)),
                None => return Ok(stream.send_data(Bytes::new(), true)?),
            }
        }
    }

    async fn send_part(&self, stream: &mut SendStream<Bytes>, mut part: Bytes, last: bool) -> Result<(), SendError> {
        while !part.is_empty() {
            let room = self.room(stream, part.len().min(PIECE)).await?;
            let piece = part.split_to(room.min(part.len()));
            self.count(piece.len());
            let end = last && part.is_empty();
            stream.send_data(piece, end)?;
        }
        Ok(())
    }

    fn count(&self, bytes: usize) {
        if let Some(pace) = self.pace.get() {
            pace.sent(bytes);
        }
        self.sent.set(self.sent.get() + bytes as u64);
        self.worker.metrics.sent.add(bytes as u64);
    }

    /// Bytes that the client has room for. One that makes it too slowly loses the stream, and what it holds of our memory.
    async fn room(&self, stream: &mut SendStream<Bytes>, wanted: usize) -> Result<usize, SendError> {
        stream.reserve_capacity(wanted);
        let room = self.pace().room(|context| match stream.capacity() {
            0 => stream.poll_capacity(context),
            room => Poll::Ready(Some(Ok(room))),
        });
        match room.await {
            Ok(Some(room)) => Ok(room?),
            Ok(None) => Err(SendError::Closed),
            Err(_) => {
                stream.send_reset(Reason::CANCEL);
                Err(SendError::Stalled)
            }
        }
    }

    fn reset(&self, stream: &mut SendStream<Bytes>, error: io::Error) -> Result<(), SendError> {
        stream.send_reset(Reason::INTERNAL_ERROR);
        Err(SendError::Content(error))
    }
}

/// The next part, unless the client has no more use for it.
async fn next_or_reset(
    stream: &mut SendStream<Bytes>,
    body: &mut Streamed,
) -> Result<Option<Result<Bytes, BodyError>>, SendError> {
    poll_fn(|context| {
        if let Poll::Ready(reset) = stream.poll_reset(context) {
            return Poll::Ready(Err(reset.map_or_else(SendError::Http2, |_| SendError::Closed)));
        }
        body.parts.poll_next_unpin(context).map(Ok)
    })
    .await
}

/// Why a response did not reach its end.
#[derive(Debug, thiserror::Error)]
enum SendError {
    #[error(transparent)]
    Http2(#[from] h2::Error),
    #[error("the client has closed the stream")]
    Closed,
    #[error("the client takes it too slowly")]
    Stalled,
    #[error("its content failed: {0}")]
    Content(io::Error),
}

/// The content of a request.
struct Incoming {
    stream: RefCell<RecvStream>,
    received: Cell<u64>,
    announced: Option<u64>,
    /// It is little, and its client does not wait to be asked for it.
    comes: bool,
    limit: u64,
    pace: Rc<Pace>,
}

impl BodySource for Incoming {
    fn poll_part(&self, context: &mut Context<'_>) -> Poll<Option<Result<Bytes, BodyError>>> {
        let mut stream = self.stream.borrow_mut();
        let part = ready!(self.pace.poll_body(context, |context| stream.poll_data(context))).map_err(BodyError::Cut)?;
        let Some(part) = part else { return Poll::Ready(None) };
        let part = part.map_err(|error| BodyError::Cut(failed(error)))?;
        self.pace.received(part.len());
        let received = self.received.get() + part.len() as u64;
        self.received.set(received);
        if received > self.limit {
            return Poll::Ready(Some(Err(BodyError::TooLarge { limit: self.limit })));
        }
        // It is in the handler's hands: the client may send as much again.
        stream.flow_control().release_capacity(part.len()).map_err(|error| BodyError::Cut(failed(error)))?;
        Poll::Ready(Some(Ok(part)))
    }

    fn remaining(&self) -> Option<u64> {
        self.announced.map(|announced| announced.saturating_sub(self.received.get()))
    }
}
