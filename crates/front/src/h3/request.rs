//! A request and its response.

use std::future::poll_fn;
use std::io;
use std::pin::{Pin, pin};
use std::rc::Rc;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::Instant;

use bytes::Bytes;
use http::header::{CONTENT_LENGTH, EXPECT};
use http::{HeaderMap, Method, StatusCode};
use quinn::{ReadError, RecvStream, SendStream, WriteError};

use super::Code;
use super::connection::Connection;
use super::frame::{self, CANCEL_PUSH, DATA, Frames, GOAWAY, HEADERS, MAX_PUSH_ID, Part, SETTINGS, Use};
use super::head::{self, Wrong};
use super::qpack::{self, Lines, Unreadable};
use super::tunnel::Tunnel;
use crate::door::metrics::Protocol;
use crate::door::pace::Pace;
use crate::filter::Visit;
use crate::interim;
use crate::message::{Answer, Body, BodyError, Local, Request, RequestBody, Response, Upgrade};
use crate::problem::Problem;
use crate::stream::{Exchange, Incoming, SendError, Sink, Source, switch};

/// Serves one.
pub(super) async fn serve(connection: Rc<Connection>, exchange: Exchange, send: SendStream, receive: RecvStream) {
    let mut sending = Sending {
        stream: Some(send),
        head: Bytes::new(),
        is_framed: false,
        unwanted: None,
        reset: Code::INTERNAL_ERROR,
    };
    let receiving = Receiving {
        connection: Rc::clone(&connection),
        stream: receive,
        frames: Frames::default(),
        stage: Stage::Head,
        next: None,
        trailers: None,
    };
    let serving = Arc::clone(&exchange.serving);
    let begun = tokio::time::timeout(serving.options.header_timeout, begin(&exchange, receiving)).await;
    let started = Instant::now();
    let mut content = None;
    let (is_head, visit, answer, switch) = match begun.unwrap_or(Err(Failed::Request(Code::REQUEST_CANCELLED))) {
        Ok(Begun { mut request, refused, unannounced, switch }) => {
            content = unannounced;
            let is_head = request.head.method == Method::HEAD;
            let visit = Visit::begin(&serving.entry, &mut request, started);
            let answer = match refused {
                Some(problem) => problem.answer(&request.head).into(),
                None => serving.handler.handle(request),
            };
            (is_head, visit, answer, switch)
        }
        Err(Failed::Head(problem)) => {
            let visit = Visit::misunderstood(&serving.entry, &exchange.origin, started);
            (false, visit, problem.into_response().into(), None)
        }
        Err(Failed::Request(code)) => {
            sending.reset = code;
            return connection.given_up();
        }
        Err(Failed::Connection(code)) => return connection.fail(code),
    };
    exchange.worker.metrics.protocols.of(Protocol::Http3).inc();
    let response = match answer {
        Answer::Now(response) => response,
        Answer::Later(response) => match sending.answer(&exchange, response).await {
            Some(response) => response,
            None => {
                exchange.worker.metrics.requests_abandoned.inc();
                visit.abandoned();
                sending.reset = Code::REQUEST_CANCELLED;
                return connection.given_up();
            }
        },
    };
    let response = switch::checked(response, switch.is_some());
    let (mut response, visit) = exchange.answered(response, visit, started);
    if let Some(upgrade) = response.take_upgrade(switch.is_some())
        && let Some(receiving) = switch
    {
        let sent = sending.switch_over(&exchange, response, upgrade, receiving).await;
        if matches!(sent, Err(SendError::Closed)) {
            connection.given_up();
        }
        return exchange.ended(visit, sent);
    }
    let sent = sending.respond(&exchange, response, is_head).await;
    match (&sent, sending.stream.take_if(|_| sent.is_ok())) {
        (Ok(()), Some(stream)) => connection.answered(stream),
        (Err(SendError::Closed), _) => connection.given_up(),
        _ => {}
    }
    let answered = sent.is_ok();
    exchange.ended(visit, sent);
    let patience = serving.options.header_timeout;
    drop((exchange, serving));
    if let Some(content) = content.filter(|content| answered && Rc::strong_count(content) == 1) {
        // Whoever is told to send no more while there is only the end to send may take that for a failure of the request.
        let _ = tokio::time::timeout(patience, content.end()).await;
    }
}

/// Why there is no request.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Failed {
    /// The stream ends.
    Request(Code),
    /// It ends with an answer: the head cannot be read.
    Head(Problem),
    /// The connection ends.
    Connection(Code),
}

impl From<Wrong> for Failed {
    fn from(wrong: Wrong) -> Self {
        match wrong {
            Wrong::Unreadable(Unreadable::TooLarge) => {
                let status = StatusCode::REQUEST_HEADER_FIELDS_TOO_LARGE;
                Self::Head(Problem::new(status, "the header fields are too large"))
            }
            Wrong::Unreadable(Unreadable::Malformed) => Self::Connection(Code::QPACK_DECOMPRESSION_FAILED),
            Wrong::Malformed(why) => {
                tracing::debug!(why, "a request is malformed");
                Self::Request(Code::MESSAGE_ERROR)
            }
        }
    }
}

/// What a head has begun.
struct Begun {
    request: Request,
    /// Why no handler is to have it.
    refused: Option<Problem>,
    /// Its content, of which nothing is known but that the stream had not ended with the head.
    unannounced: Option<Rc<Incoming<Receiving>>>,
    /// What follows, where its stream is to be somebody else's.
    switch: Option<Receiving>,
}

/// Reads a head.
async fn begin(exchange: &Exchange, mut receiving: Receiving) -> Result<Begun, Failed> {
    let section = match poll_fn(|context| receiving.poll_part(context)).await? {
        Some(Part::Whole(_, section)) => section,
        Some(Part::TooLarge(_)) => return Err(Wrong::Unreadable(Unreadable::TooLarge).into()),
        Some(Part::Some(_)) | None => return Err(Failed::Request(Code::REQUEST_INCOMPLETE)),
    };
    let lines = Lines::new(section, receiving.connection.max_head()).map_err(Wrong::from)?;
    let (mut head, authority) = head::request(lines)?;
    receiving.stage = Stage::Content;
    let (announced, refused) = match exchange.settle(&mut head, authority) {
        Ok(announced) => (announced, None),
        Err(problem) => (None, Some(problem)),
    };
    let origin = Rc::clone(&exchange.origin);
    if switch::is_asked_for(&mut head) {
        receiving.stage = Stage::Tunnel;
        let request = Request { head, body: RequestBody::Empty, origin };
        return Ok(Begun { request, refused, unannounced: None, switch: Some(receiving) });
    }
    let expects = head.headers.contains_key(EXPECT);
    // Most have none, and say so with the head.
    let first = poll_fn(|context| Poll::Ready(receiving.poll_part(context))).await;
    let mut unannounced = None;
    let body = match first {
        Poll::Ready(Ok(None)) if announced.is_some_and(|announced| announced > 0) => {
            return Err(Failed::Request(Code::MESSAGE_ERROR));
        }
        Poll::Ready(Ok(None)) => RequestBody::Empty,
        Poll::Ready(Err(failed)) => return Err(failed),
        first => {
            let silent = first.is_pending() && announced.is_none_or(|announced| announced == 0);
            match first {
                Poll::Ready(Ok(Some(Part::Some(bytes)))) => receiving.next = Some(bytes),
                Poll::Ready(Ok(Some(part))) => receiving.trailed_by(part)?,
                _ => {}
            }
            let content = Rc::new(Incoming::new(exchange, receiving, (announced, expects)));
            unannounced = silent.then(|| Rc::clone(&content));
            RequestBody::Source(content)
        }
    };
    Ok(Begun { request: Request { head, body, origin }, refused, unannounced, switch: None })
}

/// How far a request has come.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Stage {
    Head,
    Content,
    Trailers,
    /// Bytes of another protocol (RFC 9114 section 4.4).
    Tunnel,
}

impl Stage {
    /// What a frame is for (RFC 9114 section 4.1).
    fn take(&mut self, kind: u64, max_head: usize) -> Result<Use, Code> {
        match (kind, *self) {
            (HEADERS, Self::Head) => Ok(Use::Whole(max_head)),
            (HEADERS, Self::Content) => {
                *self = Self::Trailers;
                Ok(Use::Whole(max_head))
            }
            (DATA, Self::Content | Self::Tunnel) => Ok(Use::Pass),
            (HEADERS | DATA | SETTINGS | GOAWAY | CANCEL_PUSH | MAX_PUSH_ID, _) => Err(Code::FRAME_UNEXPECTED),
            _ => Ok(Use::Skip),
        }
    }
}

/// The receiving side of a stream.
pub(super) struct Receiving {
    connection: Rc<Connection>,
    stream: RecvStream,
    frames: Frames,
    stage: Stage,
    /// What was read of the content with the head.
    next: Option<Bytes>,
    /// The fields after it.
    trailers: Option<HeaderMap>,
}

impl Receiving {
    /// Takes in what comes after the content.
    fn trailed_by(&mut self, part: Part) -> Result<(), Failed> {
        let Part::Whole(_, section) = part else { return Err(Wrong::Unreadable(Unreadable::TooLarge).into()) };
        let lines = Lines::new(section, self.connection.max_head()).map_err(Wrong::from)?;
        self.trailers = Some(head::trailers(lines)?);
        Ok(())
    }

    /// The next bytes of a stream that was switched to another protocol; `None` at its end.
    pub(super) fn poll_bytes(&mut self, context: &mut Context<'_>) -> Poll<io::Result<Option<Bytes>>> {
        match ready!(self.poll_part(context)) {
            Ok(Some(Part::Some(bytes))) => Poll::Ready(Ok(Some(bytes))),
            Ok(_) => Poll::Ready(Ok(None)),
            Err(Failed::Connection(code)) => {
                self.connection.fail(code);
                Poll::Ready(Err(io::ErrorKind::ConnectionAborted.into()))
            }
            Err(_) => Poll::Ready(Err(io::ErrorKind::ConnectionReset.into())),
        }
    }

    /// What a stream was switched to has come to its end, or the client has given it up.
    pub(super) fn switched(&self, given_up: bool) {
        match given_up {
            true => self.connection.given_up(),
            false => self.connection.settled(),
        }
    }

    /// What comes next; `None` at the end.
    fn poll_part(&mut self, context: &mut Context<'_>) -> Poll<Result<Option<Part>, Failed>> {
        let max_head = self.connection.max_head();
        loop {
            match self.frames.next(|kind| self.stage.take(kind, max_head)) {
                Ok(None) => {}
                Ok(part) => return Poll::Ready(Ok(part)),
                Err(code) => return Poll::Ready(Err(Failed::Connection(code))),
            }
            let chunk = pin!(self.stream.read_chunk(usize::MAX, true));
            match ready!(chunk.poll(context)) {
                Ok(Some(chunk)) => self.frames.push(chunk.bytes),
                Ok(None) if self.frames.is_between() => return Poll::Ready(Ok(None)),
                // RFC 9114 section 7.1.
                Ok(None) => return Poll::Ready(Err(Failed::Connection(Code::FRAME_ERROR))),
                Err(ReadError::Reset(_)) => return Poll::Ready(Err(Failed::Request(Code::REQUEST_CANCELLED))),
                Err(_) => return Poll::Ready(Err(Failed::Request(Code::REQUEST_INCOMPLETE))),
            }
        }
    }
}

impl Source for Receiving {
    fn poll_data(&mut self, context: &mut Context<'_>) -> Poll<Option<Result<Bytes, BodyError>>> {
        if let Some(next) = self.next.take() {
            return Poll::Ready(Some(Ok(next)));
        }
        let cut = |kind: io::ErrorKind| Poll::Ready(Some(Err(BodyError::Cut(kind.into()))));
        loop {
            let failed = match ready!(self.poll_part(context)) {
                Ok(Some(Part::Some(bytes))) => return Poll::Ready(Some(Ok(bytes))),
                Ok(None) => return Poll::Ready(None),
                Ok(Some(part)) => match self.trailed_by(part) {
                    // The end of the stream comes after them.
                    Ok(()) => continue,
                    Err(failed) => failed,
                },
                Err(failed) => failed,
            };
            return match failed {
                Failed::Connection(code) => {
                    self.connection.fail(code);
                    cut(io::ErrorKind::ConnectionAborted)
                }
                Failed::Head(_) | Failed::Request(Code::MESSAGE_ERROR) => {
                    Poll::Ready(Some(Err(BodyError::Malformed("the fields after it are malformed, or too large"))))
                }
                Failed::Request(_) => cut(io::ErrorKind::ConnectionReset),
            };
        }
    }

    fn poll_trailers(&mut self, _: &mut Context<'_>) -> Poll<Result<Option<HeaderMap>, BodyError>> {
        Poll::Ready(Ok(self.trailers.take()))
    }

    fn taken(&mut self, _: usize) -> Result<(), BodyError> {
        // QUIC gives the client room for what is read.
        Ok(())
    }

    fn refuse(&mut self, malformed: bool) {
        let code = if malformed { Code::MESSAGE_ERROR } else { Code::NO_ERROR };
        // One that has ended meanwhile needs no telling.
        let _ = self.stream.stop(code.into());
    }
}

/// A client that has no more use for a response says so.
type Unwanted = Pin<Box<dyn Future<Output = Result<Option<quinn::VarInt>, quinn::StoppedError>>>>;

/// The sending side of a stream. Dropped before its end, it tells the client that something is missing.
struct Sending {
    stream: Option<SendStream>,
    /// What goes before the first part of the content.
    head: Bytes,
    /// The content has one frame, of which the head is written; else each part has its own.
    is_framed: bool,
    unwanted: Option<Unwanted>,
    /// What the client is told then.
    reset: Code,
}

impl Sending {
    /// The answer of a handler; `None` once the client has given its request up, for then nobody is to work for it any more.
    async fn answer(&mut self, exchange: &Exchange, response: Local<Response>) -> Option<Response> {
        let mut response = pin!(exchange.pace().answer(response));
        loop {
            let mut told = Vec::new();
            let made = poll_fn(|context| match interim::hearing(&mut told, || response.as_mut().poll(context)) {
                Poll::Ready(response) => Poll::Ready(Some(Some(response))),
                Poll::Pending if !told.is_empty() => Poll::Ready(Some(None)),
                Poll::Pending => self.poll_unwanted(context).map(|_| None),
            });
            let made = made.await;
            for (status, fields) in told {
                self.head = head_frame(status, &fields).into();
                self.write(exchange.pace(), Bytes::new()).await.ok()?;
            }
            if let Some(response) = made? {
                return Some(response.unwrap_or_else(|| Problem::late().into_response()));
            }
        }
    }

    /// Gives the stream to whoever speaks the other protocol, until that has ended.
    async fn switch_over(
        &mut self,
        exchange: &Exchange,
        mut response: Response,
        upgrade: Upgrade,
        receiving: Receiving,
    ) -> Result<(), SendError> {
        exchange.pace().sending();
        switch::accept(&mut response);
        let (mut fields, _) = exchange.head(&response, false);
        fields.remove(CONTENT_LENGTH);
        self.head = head_frame(response.status, &fields).into();
        self.write(exchange.pace(), Bytes::new()).await?;
        let Some(stream) = self.stream.take() else { return Err(SendError::Closed) };
        upgrade(Box::new(Tunnel::new(stream, receiving))).await;
        Ok(())
    }

    async fn respond(&mut self, exchange: &Exchange, response: Response, is_head: bool) -> Result<(), SendError> {
        exchange.pace().sending();
        let (fields, follows) = exchange.head(&response, is_head);
        let mut head = head_frame(response.status, &fields);
        let length = response.body.length().filter(|_| follows);
        if let Some(length) = length {
            frame::write_integer(&mut head, DATA);
            frame::write_integer(&mut head, length);
            self.is_framed = true;
        }
        self.head = head.into();
        match response.body {
            body if follows => {
                if matches!(body, Body::Stream(_)) {
                    // It may be long until there is something to say after it.
                    self.write(exchange.pace(), Bytes::new()).await?;
                }
                exchange.send_body(self, body, true).await
            }
            _ => self.send(exchange.pace(), Bytes::new(), true).await,
        }
    }

    /// Hands over a part of the content after what goes before it.
    async fn write(&mut self, pace: &Pace, part: Bytes) -> Result<(), SendError> {
        let mut before = std::mem::take(&mut self.head);
        if !self.is_framed && !part.is_empty() {
            let mut frame = before.to_vec();
            frame::write_integer(&mut frame, DATA);
            frame::write_integer(&mut frame, part.len() as u64);
            before = frame.into();
        }
        let mut chunks = [before, part];
        let mut left = &mut chunks[..];
        while let Some(first) = left.first() {
            if first.is_empty() {
                left = left.get_mut(1..).unwrap_or_default();
                continue;
            }
            let Some(stream) = &mut self.stream else { return Err(SendError::Closed) };
            let rest = std::mem::take(&mut left);
            let written = pace.room(|context| pin!(stream.write_chunks(rest)).poll(context)).await;
            match written {
                Ok(Ok(written)) => left = rest.get_mut(written.chunks..).unwrap_or_default(),
                Ok(Err(WriteError::Stopped(_))) => {
                    self.reset = Code::REQUEST_CANCELLED;
                    return Err(SendError::Closed);
                }
                Ok(Err(error)) => return Err(SendError::Http3(error)),
                Err(_) => {
                    self.reset = Code::REQUEST_CANCELLED;
                    return Err(SendError::Stalled);
                }
            }
        }
        Ok(())
    }
}

/// The head of a response.
fn head_frame(status: StatusCode, fields: &HeaderMap) -> Vec<u8> {
    let mut section = Vec::with_capacity(256);
    qpack::write_response(&mut section, status, fields);
    let mut head = Vec::with_capacity(section.len() + 24);
    frame::write_integer(&mut head, HEADERS);
    frame::write_integer(&mut head, section.len() as u64);
    head.append(&mut section);
    head
}

impl Sink for Sending {
    async fn room(&mut self, _: &Pace, wanted: usize) -> Result<usize, SendError> {
        // What was sent before is on its way, or there would be no end to sending it.
        Ok(wanted)
    }

    async fn send(&mut self, pace: &Pace, part: Bytes, last: bool) -> Result<(), SendError> {
        self.write(pace, part).await?;
        match &mut self.stream {
            Some(stream) if last => stream.finish().map_err(|_| SendError::Closed),
            _ => Ok(()),
        }
    }

    async fn send_trailers(&mut self, pace: &Pace, fields: HeaderMap) -> Result<(), SendError> {
        let mut section = Vec::with_capacity(128);
        qpack::write_trailers(&mut section, &fields);
        let mut frame = std::mem::take(&mut self.head).to_vec();
        frame::write_integer(&mut frame, HEADERS);
        frame::write_integer(&mut frame, section.len() as u64);
        frame.append(&mut section);
        self.head = frame.into();
        self.send(pace, Bytes::new(), true).await
    }

    fn poll_unwanted(&mut self, context: &mut Context<'_>) -> Poll<SendError> {
        let Some(stream) = &self.stream else { return Poll::Ready(SendError::Closed) };
        let unwanted = self.unwanted.get_or_insert_with(|| Box::pin(stream.stopped()));
        unwanted.as_mut().poll(context).map(|_| SendError::Closed)
    }

    fn reset(&mut self) {
        if let Some(mut stream) = self.stream.take() {
            // One that the client has stopped needs no telling.
            let _ = stream.reset(self.reset.into());
        }
    }
}

impl Drop for Sending {
    fn drop(&mut self) {
        Sink::reset(self);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn frames_come_in_the_order_of_a_message() {
        let order = |kinds: &[u64]| {
            let mut stage = Stage::Head;
            kinds.iter().try_for_each(|kind| {
                let used = stage.take(*kind, 9)?;
                if stage == Stage::Head && used == Use::Whole(9) {
                    stage = Stage::Content;
                }
                Ok::<_, Code>(())
            })
        };
        assert_eq!(order(&[0x21, HEADERS, 0x21, DATA, DATA, HEADERS, 0x21]), Ok(()));
        for wrong in [
            &[DATA][..],
            &[HEADERS, HEADERS, HEADERS],
            &[HEADERS, HEADERS, DATA],
            &[SETTINGS],
            &[HEADERS, GOAWAY],
            &[HEADERS, MAX_PUSH_ID],
            &[CANCEL_PUSH],
        ] {
            assert_eq!(order(wrong), Err(Code::FRAME_UNEXPECTED), "{wrong:?}");
        }
    }
}
