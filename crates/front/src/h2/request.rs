//! A request and its response.

use std::future::poll_fn;
use std::io;
use std::rc::Rc;
use std::task::{Context, Poll};
use std::time::{Duration, Instant};

use bytes::Bytes;
use h2::ext;
use h2::server::SendResponse;
use h2::{Reason, RecvStream, SendStream};
use http::header::{CONTENT_LENGTH, COOKIE, EXPECT, Entry};
use http::uri::PathAndQuery;
use http::{HeaderMap, HeaderValue, Method, StatusCode, Uri, Version};

use super::tunnel::Tunnel;
use crate::door::metrics::Protocol;
use crate::door::pace::Pace;
use crate::filter::Visit;
use crate::interim;
use crate::message::{Answer, Body, BodyError, BodySource, Local, Request, RequestBody, Response, Upgrade};
use crate::problem::Problem;
use crate::stream::{Exchange, Incoming, PIECE, SendError, Sink, Source, joined, switch};

/// Bytes that a client may send on a stream before they are asked for.
pub(super) const STREAM_WINDOW: u32 = 256 << 10;
/// How long, and how many bytes of it, content that nobody wants is ignored before its stream is reset.
const LINGER: Duration = Duration::from_secs(2);
const UNWANTED: usize = STREAM_WINDOW as usize;

/// A request and its response.
pub(super) struct Stream {
    exchange: Exchange,
    /// Its content, if there is any.
    body: Option<Rc<Incoming<Received>>>,
    /// That is little, and its client does not wait to be asked for it.
    comes: bool,
    /// What the client sends once the stream is switched to another protocol, where it asks for that (RFC 8441 section 4), or is connected to
    /// somebody (RFC 9113 section 8.5).
    switch: Option<RecvStream>,
}

impl Stream {
    /// Answers a request, at once where the answer is there and is in memory.
    pub(super) fn begin(exchange: Exchange, request: http::Request<RecvStream>, respond: SendResponse<Bytes>) {
        let started = Instant::now();
        exchange.worker.metrics.protocols.of(Protocol::Http2).inc();
        let is_head = request.method() == Method::HEAD;
        let (stream, mut request, refused) = Self::take(exchange, request);
        let serving = &stream.exchange.serving;
        let visit = Visit::begin(&serving.entry, &mut request, started);
        let answer = match refused {
            Some(problem) => problem.answer(&request.head).into(),
            None => serving.handler.handle(request),
        };
        match answer {
            Answer::Now(response) => {
                let response = switch::checked(response, stream.switch.is_some());
                let (response, visit) = stream.exchange.answered(response, visit, started);
                // The client has room for so much, or soon will.
                let little = matches!(&response.body, Body::Full(content) if content.len() <= PIECE);
                let stays = stream.switch.is_none();
                if (is_head || little || response.body.is_empty()) && !stream.is_unread() && stays {
                    return stream.send_now(visit, response, is_head, respond);
                }
                drop(tokio::task::spawn_local(async move {
                    let mut stream = stream;
                    stream.finish(visit, response, is_head, respond).await;
                }));
            }
            Answer::Later(response) => drop(tokio::task::spawn_local(async move {
                let (mut stream, mut respond) = (stream, respond);
                let Some(response) = stream.answer(response, &mut respond).await else {
                    visit.abandoned();
                    return stream.exchange.worker.metrics.requests_abandoned.inc();
                };
                let response = switch::checked(response, stream.switch.is_some());
                let (response, visit) = stream.exchange.answered(response, visit, started);
                stream.finish(visit, response, is_head, respond).await;
            })),
        }
    }

    /// The answer of a handler; `None` once the client has given its request up, for then nobody is to work for it any more.
    async fn answer(&self, response: Local<Response>, respond: &mut SendResponse<Bytes>) -> Option<Response> {
        let mut response = std::pin::pin!(self.exchange.pace().answer(response));
        poll_fn(|context| match respond.poll_reset(context) {
            Poll::Ready(_) => Poll::Ready(None),
            Poll::Pending => {
                let mut told = Vec::new();
                let polled = interim::hearing(&mut told, || response.as_mut().poll(context));
                for (status, fields) in told {
                    let mut head = http::Response::new(());
                    (*head.status_mut(), *head.headers_mut()) = (status, fields);
                    // Where it cannot be told any more, nor can what follows, and that will say so.
                    let _ = respond.send_informational(head);
                }
                polled.map(Some)
            }
        })
        .await
        .map(|response| response.unwrap_or_else(|| Problem::late().into_response()))
    }

    /// Sends a response, and sees what is left of the request to its end: many a client that still sends takes a response that ends for a
    /// failure, or waits for ever, though it may end early (RFC 9113 section 8.1). So what is little, and is on its way, comes first.
    async fn finish(&mut self, visit: Visit, mut response: Response, is_head: bool, respond: SendResponse<Bytes>) {
        let connects = self.switch.is_some();
        if let Some(upgrade) = response.take_upgrade(connects)
            && let Some(receive) = self.switch.take()
        {
            let sent = self.switch_over(response, upgrade, receive, respond).await;
            return self.exchange.ended(visit, sent);
        }
        if self.comes {
            self.linger().await;
        }
        self.exchange.ended(visit, self.send(response, is_head, respond).await);
        self.linger().await;
    }

    /// Gives the stream to whoever speaks the other protocol, until that has ended.
    async fn switch_over(
        &self,
        mut response: Response,
        upgrade: Upgrade,
        receive: RecvStream,
        mut respond: SendResponse<Bytes>,
    ) -> Result<(), SendError> {
        switch::accept(&mut response);
        let (mut head, _) = self.head(&response, false);
        head.headers_mut().remove(CONTENT_LENGTH);
        let send = respond.send_response(head, false)?;
        upgrade(Box::new(Tunnel::new(send, receive))).await;
        Ok(())
    }

    /// The request in the form that handlers know, and why no handler is to have it.
    fn take(exchange: Exchange, request: http::Request<RecvStream>) -> (Self, Request, Option<Problem>) {
        let (mut head, body) = request.into_parts();
        head.version = Version::HTTP_2;
        let authority = head.uri.authority().map(|authority| HeaderValue::from_str(authority.as_str()));
        let (path, target) = (head.uri.path(), head.uri.path_and_query().map_or("", PathAndQuery::as_str));
        // RFC 9113 section 8.3.1. Of the two, the first knows where there is no target, and the second where there is only a query.
        let protocol = head.extensions.get::<ext::Protocol>();
        let whole = || path.starts_with('/') && matches!(head.uri.scheme_str(), Some("http" | "https"));
        let fits = match head.method {
            Method::CONNECT if protocol.is_some() => whole(),
            _ if protocol.is_some() => false,
            Method::CONNECT => path.is_empty(),
            Method::OPTIONS if target == "*" => true,
            _ => {
                path.starts_with('/')
                    && target.starts_with('/')
                    && matches!(head.uri.scheme_str(), None | Some("http" | "https"))
            }
        };
        let switches = fits && switch::is_asked_for(&mut head);
        if head.method != Method::CONNECT {
            head.uri = head.uri.path_and_query().cloned().map_or_else(|| Uri::from_static("/"), Uri::from);
        }
        if head.headers.get_all(COOKIE).iter().nth(1).is_some()
            && let Entry::Occupied(mut cookies) = head.headers.entry(COOKIE)
            && let Some(whole) = joined(cookies.iter().cloned().collect())
        {
            cookies.insert(whole);
        }
        let settled = match authority.transpose() {
            Ok(authority) if fits => exchange.settle(&mut head, authority),
            Ok(_) => Err(Problem::new(StatusCode::BAD_REQUEST, "the request target is malformed")),
            Err(_) => Err(Problem::new(StatusCode::BAD_REQUEST, "the authority is malformed")),
        };
        let (announced, refused) = match settled {
            Ok(announced) => (announced, None),
            Err(problem) => (None, Some(problem)),
        };
        let mut stream = Self { exchange, body: None, comes: false, switch: None };
        let content = match body.is_end_stream() {
            _ if switches => {
                stream.switch = Some(body);
                RequestBody::Empty
            }
            true => RequestBody::Empty,
            false => {
                stream.comes =
                    announced.is_some_and(|length| length <= UNWANTED as u64) && !head.headers.contains_key(EXPECT);
                let incoming = Rc::new(Incoming::new(
                    &stream.exchange,
                    Received(body),
                    (announced, head.headers.contains_key(EXPECT)),
                ));
                stream.body = Some(Rc::clone(&incoming));
                RequestBody::Source(incoming as Rc<dyn BodySource>)
            }
        };
        let origin = Rc::clone(&stream.exchange.origin);
        (stream, Request { head, body: content, origin }, refused)
    }

    /// Whether there is content that nobody wants any more.
    fn is_unread(&self) -> bool {
        self.body.as_ref().is_some_and(|body| Rc::strong_count(body) == 1 && !body.source().0.is_end_stream())
    }

    /// Ignores a while what still comes of it, if it is little. What is more ends in a reset of the stream.
    async fn linger(&self) {
        let Some(body) = self.body.as_ref().filter(|_| self.is_unread()) else { return };
        let pace = self.exchange.pace();
        let mut ignored = 0;
        pace.lingering(LINGER);
        while ignored < UNWANTED {
            match pace.next(|context| body.source().0.poll_data(context)).await {
                Ok(Some(Ok(part))) => {
                    ignored += part.len();
                    // Where it cannot be given back, the stream has ended.
                    let _ = body.source().0.flow_control().release_capacity(part.len());
                }
                _ => return,
            }
        }
    }

    /// The response without its content, and whether that follows.
    fn head(&self, response: &Response, is_head: bool) -> (http::Response<()>, bool) {
        let (fields, follows) = self.exchange.head(response, is_head);
        let mut head = http::Response::new(());
        (*head.status_mut(), *head.headers_mut()) = (response.status, fields);
        (head, follows)
    }

    /// Sends what is in memory at once, if the client has room for it; else as it makes room, in its time.
    fn send_now(self, visit: Visit, response: Response, is_head: bool, mut respond: SendResponse<Bytes>) {
        let (head, follows) = self.head(&response, is_head);
        let mut stream = match respond.send_response(head, !follows) {
            Ok(stream) => stream,
            Err(error) => return self.exchange.ended(visit, Err(error.into())),
        };
        let (true, Body::Full(content)) = (follows, response.body) else { return self.exchange.ended(visit, Ok(())) };
        stream.reserve_capacity(content.len());
        if stream.capacity() >= content.len() {
            self.exchange.count(content.len());
            let sent = stream.send_data(content, true).map_err(SendError::from);
            return self.exchange.ended(visit, sent);
        }
        drop(tokio::task::spawn_local(async move {
            self.exchange.pace().sending();
            let sent = self.exchange.send_body(&mut Sending(stream), Body::Full(content), true).await;
            self.exchange.ended(visit, sent);
        }));
    }

    async fn send(&self, response: Response, is_head: bool, mut respond: SendResponse<Bytes>) -> Result<(), SendError> {
        let (head, follows) = self.head(&response, is_head);
        let mut sending = Sending(respond.send_response(head, !follows)?);
        if !follows {
            return Ok(());
        }
        self.exchange.pace().sending();
        self.exchange.send_body(&mut sending, response.body, true).await
    }
}

/// The content of a response on its way.
struct Sending(SendStream<Bytes>);

impl Sink for Sending {
    async fn room(&mut self, pace: &Pace, wanted: usize) -> Result<usize, SendError> {
        let stream = &mut self.0;
        stream.reserve_capacity(wanted);
        let room = pace.room(|context| match stream.capacity() {
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

    async fn send(&mut self, _: &Pace, part: Bytes, last: bool) -> Result<(), SendError> {
        Ok(self.0.send_data(part, last)?)
    }

    async fn send_trailers(&mut self, _: &Pace, fields: HeaderMap) -> Result<(), SendError> {
        Ok(self.0.send_trailers(fields)?)
    }

    fn poll_unwanted(&mut self, context: &mut Context<'_>) -> Poll<SendError> {
        self.0.poll_reset(context).map(|reset| reset.map_or_else(SendError::Http2, |_| SendError::Closed))
    }

    fn reset(&mut self) {
        self.0.send_reset(Reason::INTERNAL_ERROR);
    }
}

/// The content of a request as it comes.
struct Received(RecvStream);

impl Source for Received {
    fn poll_data(&mut self, context: &mut Context<'_>) -> Poll<Option<Result<Bytes, BodyError>>> {
        let cut = |error| BodyError::Cut(failed(error));
        self.0.poll_data(context).map(|part| part.map(|part| part.map_err(cut)))
    }

    fn poll_trailers(&mut self, context: &mut Context<'_>) -> Poll<Result<Option<HeaderMap>, BodyError>> {
        self.0.poll_trailers(context).map_err(|error| BodyError::Cut(failed(error)))
    }

    fn taken(&mut self, bytes: usize) -> Result<(), BodyError> {
        self.0.flow_control().release_capacity(bytes).map_err(|error| BodyError::Cut(failed(error)))
    }

    fn refuse(&mut self, _: bool) {
        // The connection resets a stream that nobody holds any more.
    }
}

pub(super) fn failed(error: h2::Error) -> io::Error {
    match error.is_io() {
        true => error.into_io().unwrap_or_else(|| io::ErrorKind::ConnectionReset.into()),
        false => io::Error::other(error),
    }
}
