//! HTTP/2 (RFC 9113): the `h2` crate's connections, our requests and responses.
//!
//! - `cork`: has the answers of one turn leave together.

mod cork;

use std::cell::Cell;
use std::future::poll_fn;
use std::io;
use std::rc::Rc;
use std::task::{Context, Poll};
use std::time::{Duration, Instant};

use bytes::Bytes;
use h2::server::{Builder, SendResponse};
use h2::{Reason, RecvStream, SendStream};
use http::{HeaderValue, Method, StatusCode, Uri, Version};
use tokio::io::{AsyncRead, AsyncWrite};

use self::cork::Cork;
use crate::door::metrics::Protocol;
use crate::door::pulse::Beat;
use crate::door::worker::Worker;
use crate::message::{Answer, Body, BodyError, Origin, Request, RequestBody, Response};
use crate::stream::{Exchange, Incoming, Open, Patience, SendError, Sink, Source};

/// Streams that a client may have open at once.
const STREAMS: u32 = 128;
/// Bytes that a client may send on a stream before they are asked for, and on all streams together.
const STREAM_WINDOW: u32 = 256 << 10;
const CONNECTION_WINDOW: u32 = 1 << 20;

/// How long a client may take to part after its last response.
const FAREWELL: Duration = Duration::from_secs(2);

/// Serves a connection until it ends. `alt_svc` says where the same is served over HTTP/3.
pub(crate) async fn serve<S>(
    io: S,
    worker: &Rc<Worker>,
    origin: Rc<Origin>,
    beat: Beat,
    alt_svc: Option<HeaderValue>,
) -> io::Result<()>
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
        let is_idle = open.get() == 0;
        match is_idle {
            true if leaving => pulse.allow(worker.now(), FAREWELL),
            true => pulse.allow(worker.now(), worker.serving().options.keep_alive),
            false => pulse.forever(),
        }
        if pulse.is_stopping() && !leaving {
            leaving = true;
            connection.graceful_shutdown();
        }
        let accepted = poll_fn(|context| {
            pulse.poll(context, |context| match connection.poll_accept(context) {
                Poll::Ready(accepted) => Poll::Ready(accepted.transpose().map(Some).map_err(failed)),
                // The first request under way has begun or the last one has ended, or the server stops.
                Poll::Pending if (open.get() == 0) != is_idle || (pulse.is_stopping() && !leaving) => {
                    Poll::Ready(Ok(None))
                }
                Poll::Pending => cork.end_turn(context),
            })
        });
        let (request, respond) = match accepted.await {
            Ok(None) => continue,
            Ok(Some(Some(accepted))) => accepted,
            Ok(Some(None)) => return Ok(()),
            Err(error) if error.kind() == io::ErrorKind::TimedOut && is_idle => {
                if leaving {
                    return Ok(());
                }
                // It has nothing more to ask: it is told before it is closed.
                leaving = true;
                pulse.forgive();
                connection.graceful_shutdown();
                continue;
            }
            Err(error) => return Err(error),
        };
        let exchange = Exchange::new(worker, &origin, alt_svc.clone(), Open::new(&open, &pulse));
        begin(exchange, request, respond);
    }
}

fn failed(error: h2::Error) -> io::Error {
    match error.is_io() {
        true => error.into_io().unwrap_or_else(|| io::ErrorKind::ConnectionReset.into()),
        false => io::Error::other(error),
    }
}

/// Answers a request, at once where the answer is there and is in memory.
fn begin(exchange: Exchange, request: http::Request<RecvStream>, respond: SendResponse<Bytes>) {
    let started = Instant::now();
    exchange.worker.metrics.protocols.of(Protocol::Http2).inc();
    let is_head = request.method() == Method::HEAD;
    let answer = match take(&exchange, request) {
        Ok(request) => exchange.serving.handler.handle(request),
        Err(status) => Response::new(status).into(),
    };
    match answer {
        Answer::Now(response) => {
            exchange.worker.metrics.answered(response.status, started.elapsed());
            match response.body {
                Body::Empty | Body::Full(_) => exchange.ended(send_now(&exchange, response, is_head, respond)),
                _ => drop(tokio::task::spawn_local(async move {
                    exchange.ended(send(&exchange, response, is_head, respond).await);
                })),
            }
        }
        Answer::Later(response) => drop(tokio::task::spawn_local(async move {
            let response = response.await;
            exchange.worker.metrics.answered(response.status, started.elapsed());
            exchange.ended(send(&exchange, response, is_head, respond).await);
        })),
    }
}

/// The request in the form that handlers know.
fn take(exchange: &Exchange, request: http::Request<RecvStream>) -> Result<Request, StatusCode> {
    let (mut head, body) = request.into_parts();
    head.version = Version::HTTP_2;
    let authority = head.uri.authority().map(|authority| HeaderValue::from_str(authority.as_str()));
    let authority = authority.transpose().map_err(|_| StatusCode::BAD_REQUEST)?;
    if head.method != Method::CONNECT {
        head.uri = head.uri.path_and_query().cloned().map_or_else(|| Uri::from_static("/"), Uri::from);
    }
    let announced = exchange.settle(&mut head, authority)?;
    let body = match body.is_end_stream() {
        true => RequestBody::Empty,
        false => RequestBody::Source(Rc::new(Incoming::new(exchange, Received(body), announced))),
    };
    Ok(Request { head, body, origin: Rc::clone(&exchange.origin) })
}

/// The response without its content, and whether that follows.
fn head(exchange: &Exchange, response: &Response, is_head: bool) -> (http::Response<()>, bool) {
    let (fields, follows) = exchange.head(response, is_head);
    let mut head = http::Response::new(());
    (*head.status_mut(), *head.headers_mut()) = (response.status, fields);
    (head, follows)
}

/// Sends what is in memory, and shared: to hand all of it over costs nothing.
fn send_now(
    exchange: &Exchange,
    response: Response,
    is_head: bool,
    mut respond: SendResponse<Bytes>,
) -> Result<(), SendError> {
    let (head, follows) = head(exchange, &response, is_head);
    let mut stream = respond.send_response(head, !follows)?;
    if let (true, Body::Full(content)) = (follows, response.body) {
        exchange.count(content.len());
        stream.send_data(content, true)?;
    }
    Ok(())
}

async fn send(
    exchange: &Exchange,
    response: Response,
    is_head: bool,
    mut respond: SendResponse<Bytes>,
) -> Result<(), SendError> {
    let (head, follows) = head(exchange, &response, is_head);
    let stream = respond.send_response(head, !follows)?;
    let options = &exchange.serving.options;
    let mut sending = Sending { stream, patience: Patience::new(options.send_timeout, options.min_rate) };
    match follows {
        true => exchange.send_body(&mut sending, response.body, true).await,
        false => Ok(()),
    }
}

/// The content of a response on its way.
struct Sending {
    stream: SendStream<Bytes>,
    patience: Patience,
}

impl Sink for Sending {
    async fn room(&mut self, wanted: usize) -> Result<usize, SendError> {
        let stream = &mut self.stream;
        stream.reserve_capacity(wanted);
        let room = poll_fn(|context| match stream.capacity() {
            0 => stream.poll_capacity(context),
            room => Poll::Ready(Some(Ok(room))),
        });
        match self.patience.wait(room).await {
            Some(Some(room)) => Ok(room?),
            Some(None) => Err(SendError::Closed),
            None => {
                stream.send_reset(Reason::CANCEL);
                Err(SendError::Stalled)
            }
        }
    }

    async fn send(&mut self, part: Bytes, last: bool) -> Result<(), SendError> {
        self.patience.moved(part.len());
        Ok(self.stream.send_data(part, last)?)
    }

    async fn send_whole(&mut self, content: Bytes, last: bool) -> Result<(), SendError> {
        Ok(self.stream.send_data(content, last)?)
    }

    fn poll_unwanted(&mut self, context: &mut Context<'_>) -> Poll<SendError> {
        self.stream.poll_reset(context).map(|reset| reset.map_or_else(SendError::Http2, |_| SendError::Closed))
    }

    fn reset(&mut self) {
        self.stream.send_reset(Reason::INTERNAL_ERROR);
    }
}

/// The content of a request as it comes.
struct Received(RecvStream);

impl Source for Received {
    fn poll_data(&mut self, context: &mut Context<'_>) -> Poll<Option<Result<Bytes, BodyError>>> {
        let cut = |error| BodyError::Cut(failed(error));
        self.0.poll_data(context).map(|part| part.map(|part| part.map_err(cut)))
    }

    fn taken(&mut self, bytes: usize) -> Result<(), BodyError> {
        self.0.flow_control().release_capacity(bytes).map_err(|error| BodyError::Cut(failed(error)))
    }

    fn refuse(&mut self, _: bool) {
        // The connection resets a stream that nobody holds any more.
    }
}
