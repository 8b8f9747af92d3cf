//! One HTTP/1 connection, from its first byte to its last.

mod files;
mod repeat;
mod streams;

use std::cell::{Cell, RefCell};
use std::future::poll_fn;
use std::io::{self, IoSlice};
use std::pin::Pin;
use std::rc::Rc;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::{Duration, Instant};

use bytes::{Buf, Bytes, BytesMut};
use http::{HeaderMap, HeaderValue, StatusCode};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;

use super::chunked::{Decoder, Piece};
use super::head::{Framing, Head, Reject, parse};
use super::known::{Place, Seen};
use super::response::{Asked, Follows, alt_svc_line, write_head, write_interim};
use crate::door::metrics::{Cut, Late, Protocol};
use crate::door::pulse::{Beat, Pulse};
use crate::door::worker::Worker;
use crate::door::{Options, Serving};
use crate::filter::Visit;
use crate::interim::{self, Told};
use crate::message::{Answer, Body, BodyError, BodySource, Origin, Repeated, Request, RequestBody, Response, Rewound};
use crate::problem::Problem;

/// What a client that speaks HTTP/2 at once says first (RFC 9113 section 3.4).
const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";
/// What a client hears that asks whether its body is wanted.
const CONTINUE: &[u8] = b"HTTP/1.1 100 Continue\r\n\r\n";
/// Content that is copied behind what goes before it.
const SMALL: usize = 4 << 10;
/// Of a body that no handler wanted, so much is read for the sake of the connection; beyond that it is closed.
const UNWANTED: u64 = 64 << 10;
/// Bytes that a client may send ahead of its turn while an answer is made, and still be looked after.
const AHEAD: usize = 16 << 10;
/// How long a connection that is closed early is still listened to, so that the client gets to read its answer.
const LINGER: Duration = Duration::from_secs(2);

/// What an HTTP/1 connection runs on.
pub(crate) trait Transport: AsyncRead + AsyncWrite + Unpin + 'static {
    /// The socket, if what is written to it leaves as it is.
    fn plain(&self) -> Option<&TcpStream>;
}

impl Transport for TcpStream {
    fn plain(&self) -> Option<&TcpStream> {
        Some(self)
    }
}

/// How a connection ended that did not fail.
pub(crate) enum Ended<S> {
    /// It is closed.
    Closed,
    /// The client speaks HTTP/2; this is what it has said so far.
    Http2(S, Bytes, Beat),
}

struct Connection<S> {
    io: RefCell<Option<S>>,
    /// What was read and not yet understood.
    input: RefCell<BytesMut>,
    decoder: RefCell<Decoder>,
    /// Content of the body so far.
    received: Cell<u64>,
    /// The body failed: nobody knows where the next request would begin.
    broken: Cell<bool>,
    /// What is still to be written of `100 Continue`.
    invitation: Cell<&'static [u8]>,
    /// The line that says where the same is served over HTTP/3.
    alt_svc: Box<[u8]>,
    /// Bytes written for the response under way.
    written: Cell<u64>,
    beat: Beat,
    worker: Rc<Worker>,
    /// What is served, as of the request under way.
    serving: RefCell<Arc<Serving>>,
}

/// What the beginning of the input is.
enum Begin {
    Head(Box<Head>),
    /// A head that has come before; its bytes.
    Again(Box<Head>, Box<[u8]>),
    /// A head whose answer is known by heart, at this place.
    Known(usize),
    Rejected(Reject),
    Http2,
    /// The client has ended the connection.
    End,
}

/// Serves a connection until it ends. `alt_svc` says where the same is served over HTTP/3.
pub(crate) async fn serve<S: Transport>(
    io: S,
    worker: Rc<Worker>,
    origin: Rc<Origin>,
    beat: Beat,
    may_be_http2: bool,
    alt_svc: Option<&HeaderValue>,
) -> io::Result<Ended<S>> {
    let connection = Rc::new(Connection {
        io: RefCell::new(Some(io)),
        input: RefCell::default(),
        decoder: RefCell::new(Decoder::new(Framing::None)),
        received: Cell::new(0),
        broken: Cell::new(false),
        invitation: Cell::new(b""),
        alt_svc: alt_svc.map_or_else(Box::default, alt_svc_line),
        written: Cell::new(0),
        beat,
        serving: RefCell::new(worker.serving()),
        worker,
    });
    let mut patience = connection.options(|options| options.header_timeout);
    let mut served = 0u32;
    loop {
        connection.pulse().set_idle(true);
        connection.pulse().allow(connection.worker.now(), patience);
        let most = connection.options(|options| options.requests_per_connection);
        let known = Some(&*origin).filter(|_| served + 1 < most && connection.worker.repeats.get());
        let begin = poll_fn(|context| connection.poll_begin(context, may_be_http2 && served == 0, known)).await?;
        connection.pulse().set_idle(false);
        let (head, again) = match begin {
            Begin::Known(at) => {
                served += 1;
                connection.repeat(at).await?;
                patience = connection.options(|options| options.keep_alive);
                continue;
            }
            Begin::End => return Ok(Ended::Closed),
            Begin::Http2 => {
                let Some(Connection { io, input, beat, .. }) = Rc::into_inner(connection) else {
                    return Err(io::ErrorKind::NotConnected.into());
                };
                let io = io.into_inner().ok_or(io::ErrorKind::NotConnected)?;
                return Ok(Ended::Http2(io, input.into_inner().freeze(), beat));
            }
            Begin::Rejected(reject) => {
                connection.serve_as_of_now();
                Box::pin(connection.refuse(reject, &origin)).await?;
                return Box::pin(connection.close_gently()).await;
            }
            Begin::Head(head) => (*head, None),
            Begin::Again(head, bytes) => (*head, Some(bytes)),
        };
        served += 1;
        connection.serve_as_of_now();
        let most = connection.options(|options| options.requests_per_connection);
        let last = served >= most || connection.pulse().is_stopping();
        let goes_on = connection.exchange(head, again, last, &origin).await;
        connection.count_received();
        if !goes_on? {
            return Ok(Ended::Closed);
        }
        patience = connection.options(|options| options.keep_alive);
    }
}

impl<S: Transport> Connection<S> {
    fn options<T>(&self, get: impl FnOnce(&Options) -> T) -> T {
        get(&self.serving.borrow().options)
    }

    /// From now on there is this much time.
    fn allow(&self, time: impl FnOnce(&Options) -> Duration) {
        self.pulse().allow(self.worker.now(), self.options(time));
    }

    fn pulse(&self) -> &Pulse {
        &self.beat.pulse
    }

    /// What is served may have been replaced since the last request.
    fn serve_as_of_now(&self) {
        if !self.worker.serves(&self.serving.borrow()) {
            self.serving.replace(self.worker.serving());
        }
    }

    /// Serves a request, which may have come `again` with the same bytes; whether another may follow.
    async fn exchange(
        self: &Rc<Self>,
        mut head: Head,
        again: Option<Box<[u8]>>,
        last: bool,
        origin: &Rc<Origin>,
    ) -> io::Result<bool> {
        let started = Instant::now();
        self.worker.metrics.protocols.of(Protocol::Http1).inc();
        let asked = Asked::new(&head.parts, head.keep_alive && !last);
        let limit = self.options(|options| options.max_body);
        let too_large = matches!(head.framing, Framing::Length(length) if length > limit);
        *self.decoder.borrow_mut() = Decoder::new(head.framing);
        self.received.set(0);
        self.invitation.set(if head.expects_continue { CONTINUE } else { b"" });
        let body = match head.framing {
            Framing::None | Framing::Length(0) => RequestBody::Empty,
            _ => RequestBody::Source(Rc::clone(self) as Rc<dyn BodySource>),
        };
        self.allow(|options| options.request_timeout);
        // What follows a head is not of it: no two requests with a body are the same.
        let again = again.filter(|_| matches!(body, RequestBody::Empty));
        if again.is_some() {
            head.parts.extensions.insert(Repeated);
        }
        let mut request = Request { head: head.parts, body, origin: Rc::clone(origin) };
        let serving = Arc::clone(&self.serving.borrow());
        let mut visit = Visit::begin(&serving.entry, &mut request, started);
        let answer = match too_large {
            true => Problem::too_large(limit).answer(&request.head).into(),
            false => serving.handler.handle(request),
        };
        let mut again = again;
        let answer = match answer {
            Answer::Now(response) => Some(response),
            Answer::Later(mut response) => {
                // Much may change until it comes.
                again = None;
                let made = loop {
                    let mut told = Vec::new();
                    let made = poll_fn(|context| {
                        let poll = |context: &mut Context<'_>| response.as_mut().poll(context);
                        match interim::hearing(&mut told, || self.pulse().poll_in_time(context, poll)) {
                            Poll::Ready(answer) => Poll::Ready(Some(Some(answer))),
                            Poll::Pending if !told.is_empty() => Poll::Ready(Some(None)),
                            Poll::Pending => self.poll_gone(context).map(|()| None),
                        }
                    });
                    let made = made.await;
                    if !told.is_empty() {
                        Box::pin(self.tell(told, asked)).await?;
                    }
                    match made {
                        Some(None) => {}
                        Some(Some(answer)) => break Some(answer),
                        None => break None,
                    }
                };
                let Some(answer) = made else {
                    self.worker.metrics.requests_abandoned.inc();
                    visit.abandoned();
                    return Ok(false);
                };
                answer
            }
        };
        let late = answer.is_none();
        let mut response = answer.unwrap_or_else(|| self.give_up());
        let upgrade = response.take_upgrade(asked.connects);
        // A client that still waits for its invitation may send the body all the same, or not: nobody can tell what comes next.
        let undecided = !self.invitation.get().is_empty();
        // A client that did not wait for its tunnel may have sent what was to go through it, and that is no request.
        let refused = asked.connects && upgrade.is_none();
        let goes_on = !undecided && !refused && !too_large && !late && !self.pulse().is_stopping();
        let asked = Asked { keep_alive: asked.keep_alive && goes_on && self.can_skip_body(), ..asked };
        let took = started.elapsed();
        self.worker.metrics.answered(response.status, took);
        visit.answered(&serving.entry, &mut response, took);
        if let Some(again) = again {
            self.learn(again, &mut response, asked, origin);
        }
        let keep_alive = self.respond(response, asked, visit).await?;
        if let Some(upgrade) = upgrade {
            let io = self.io.borrow_mut().take().ok_or(io::ErrorKind::NotConnected)?;
            let read = self.input.borrow_mut().split().freeze();
            self.pulse().forever();
            upgrade(Box::new(Rewound::new(io, read))).await;
            return Ok(false);
        }
        if keep_alive && (self.decoder.borrow().is_done() || Box::pin(self.skip_body()).await?) {
            return Ok(true);
        }
        Box::pin(self.close_gently()).await.map(|_: Ended<S>| false)
    }

    /// Sends answers before the answer. An old client would take one for it (RFC 9110 section 15.2).
    async fn tell(&self, told: Vec<Told>, asked: Asked) -> io::Result<()> {
        let invitation = self.invitation.get();
        let is_begun = !invitation.is_empty() && invitation != CONTINUE;
        if asked.version != http::Version::HTTP_11 || is_begun {
            return Ok(());
        }
        let mut head = Vec::with_capacity(256);
        // Of this version, the invitation is the connection's own.
        for (status, fields) in told.iter().filter(|(status, _)| *status != StatusCode::CONTINUE) {
            write_interim(&mut head, *status, fields);
        }
        self.write([&head, &[], &[]]).await?;
        self.flush().await
    }

    /// Nothing more comes of the request's body.
    fn count_received(&self) {
        let received = self.received.take();
        if received > 0 {
            self.worker.metrics.request_body_size.record_value(received);
        }
    }

    /// The answer of a handler that takes too long.
    fn give_up(&self) -> Response {
        self.worker.metrics.requests_late.of(Late::Handler).inc();
        Problem::late().into_response()
    }

    /// Reads until there is a head. Where `known` is the connection's origin, its answer may be known by heart.
    fn poll_begin(
        &self,
        context: &mut Context<'_>,
        may_be_http2: bool,
        known: Option<&Origin>,
    ) -> Poll<io::Result<Begin>> {
        let limits = &self.options(Options::head_limits);
        let mut input = self.input.borrow_mut();
        let mut fresh = !input.is_empty();
        loop {
            if fresh {
                match begin(&input, limits, may_be_http2) {
                    Some(begin) => {
                        if let Begin::Head(head) = &begin {
                            input.advance(head.bytes);
                        }
                        return Poll::Ready(Ok(begin));
                    }
                    // The first bytes of a head: the client is no longer idle.
                    None => self.head_begun(),
                }
            }
            let mut scratch = self.worker.scratch.borrow_mut();
            let Some(read) = ready!(self.poll_read(context, &mut scratch))? else {
                return Poll::Ready(if input.is_empty() { Ok(Begin::End) } else { Err(cut()) });
            };
            if !input.is_empty() {
                input.extend_from_slice(read);
                fresh = true;
                continue;
            }
            // Nearly always a read brings one whole head: it is understood where it lies.
            let seen = match known.filter(|_| !self.pulse().is_stopping()) {
                Some(origin) => self.worker.known.borrow_mut().find(read, &Place::new(origin, &self.alt_svc)),
                None => Seen::New,
            };
            if let Seen::Known(at) = seen {
                return Poll::Ready(Ok(Begin::Known(at)));
            }
            match begin(read, limits, may_be_http2) {
                Some(Begin::Head(head)) if seen == Seen::Again && head.bytes == read.len() => {
                    return Poll::Ready(Ok(Begin::Again(head, read.into())));
                }
                Some(Begin::Head(head)) => {
                    input.extend_from_slice(read.get(head.bytes..).unwrap_or_default());
                    return Poll::Ready(Ok(Begin::Head(head)));
                }
                Some(begin) => {
                    input.extend_from_slice(read);
                    return Poll::Ready(Ok(begin));
                }
                None => {
                    input.extend_from_slice(read);
                    fresh = false;
                    self.head_begun();
                }
            }
        }
    }

    fn head_begun(&self) {
        if self.pulse().set_idle(false) {
            self.allow(|options| options.header_timeout);
        }
    }

    /// Reads into `scratch`; `None` at the end.
    fn poll_read<'a>(&self, context: &mut Context<'_>, scratch: &'a mut [u8]) -> Poll<io::Result<Option<&'a [u8]>>> {
        let mut buffer = ReadBuf::new(scratch);
        let mut io = self.io.borrow_mut();
        let Some(io) = io.as_mut() else { return Poll::Ready(Err(io::ErrorKind::NotConnected.into())) };
        ready!(self.pulse().poll(context, |context| Pin::new(&mut *io).poll_read(context, &mut buffer)))?;
        let length = buffer.filled().len();
        self.worker.metrics.received.add(length as u64);
        Poll::Ready(Ok(scratch.get(..length).filter(|read| !read.is_empty())))
    }

    /// Ready once the client has ended its side of the connection, where that is taken for going away. What it sends ahead is kept for its turn;
    /// who has sent much is still there, and is not looked at any more.
    fn poll_gone(&self, context: &mut Context<'_>) -> Poll<()> {
        if !self.options(|options| options.abort_on_close) || !self.decoder.borrow().is_done() {
            return Poll::Pending;
        }
        let mut input = self.input.borrow_mut();
        let mut scratch = self.worker.scratch.borrow_mut();
        let mut io = self.io.borrow_mut();
        let Some(io) = io.as_mut() else { return Poll::Pending };
        while input.len() < AHEAD {
            let mut buffer = ReadBuf::new(&mut scratch);
            match ready!(Pin::new(&mut *io).poll_read(context, &mut buffer)) {
                Ok(()) if !buffer.filled().is_empty() => input.extend_from_slice(buffer.filled()),
                Ok(()) | Err(_) => return Poll::Ready(()),
            }
            self.worker.metrics.received.add(buffer.filled().len() as u64);
        }
        Poll::Pending
    }

    /// Writes what is there of `parts`, in order.
    async fn write(&self, parts: [&[u8]; 3]) -> io::Result<()> {
        let mut parts = parts;
        poll_fn(|context| {
            loop {
                let [first, second, third] = &parts;
                let left = first.len() + second.len() + third.len();
                if left == 0 {
                    return Poll::Ready(Ok(()));
                }
                let slices = [IoSlice::new(first), IoSlice::new(second), IoSlice::new(third)];
                let mut written = ready!(self.poll_io(context, |io, context| match first.len() == left {
                    // One piece is less work for the kernel than a list with one piece in it.
                    true => io.poll_write(context, first),
                    false => io.poll_write_vectored(context, &slices),
                }))?;
                if written == 0 {
                    return Poll::Ready(Err(io::ErrorKind::WriteZero.into()));
                }
                self.sent(written);
                for part in &mut parts {
                    let taken = written.min(part.len());
                    *part = part.get(taken..).unwrap_or_default();
                    written -= taken;
                }
            }
        })
        .await
    }

    async fn flush(&self) -> io::Result<()> {
        poll_fn(|context| self.poll_io(context, |io, context| io.poll_flush(context))).await
    }

    fn poll_io<T>(
        &self,
        context: &mut Context<'_>,
        mut attempt: impl FnMut(Pin<&mut S>, &mut Context<'_>) -> Poll<io::Result<T>>,
    ) -> Poll<io::Result<T>> {
        let mut io = self.io.borrow_mut();
        let Some(io) = io.as_mut() else { return Poll::Ready(Err(io::ErrorKind::NotConnected.into())) };
        self.pulse().poll(context, |context| attempt(Pin::new(&mut *io), context))
    }

    fn sent(&self, bytes: usize) {
        self.written.set(self.written.get() + bytes as u64);
        self.worker.metrics.sent.add(bytes as u64);
        let (rate, most) = self.options(|options| (options.min_rate, options.send_timeout));
        self.pulse().earn(bytes, rate, self.worker.now(), most);
    }

    /// Sends a response; whether the connection stays open.
    async fn respond(&self, response: Response, asked: Asked, mut visit: Visit) -> io::Result<bool> {
        self.written.set(0);
        let mut head = std::mem::take(&mut *self.worker.out.borrow_mut());
        head.clear();
        let (follows, keep_alive) = write_head(&mut head, &response, asked, &self.worker.date(), &self.alt_svc);
        self.allow(|options| options.send_timeout);
        let mut body = response.body;
        let head_bytes = head.len();
        match &mut body {
            Body::Stream(stream) if !asked.takes_trailers => stream.trailers = None,
            // Copying so little costs less than a second piece.
            Body::Full(content) if content.len() <= SMALL && follows != Follows::Nothing => {
                head.extend_from_slice(content);
                body = Body::Empty;
            }
            _ => {}
        }
        let mut outcome = self.send(&head, body, follows).await;
        if outcome.is_ok() {
            outcome = self.flush().await;
        }
        let content = self.written.get().saturating_sub(head_bytes as u64);
        visit.sent(&self.serving.borrow().entry, content, outcome.is_ok());
        self.worker.content_sent(content);
        self.worker.give_back(head);
        outcome.map(|()| keep_alive)
    }

    async fn send(&self, head: &[u8], body: Body, follows: Follows) -> io::Result<()> {
        match (body, follows) {
            (Body::Empty, _) | (_, Follows::Nothing) => self.write([head, &[], &[]]).await,
            (Body::Full(content), _) => self.write([head, &content, &[]]).await,
            // What these need while they run is not for every idle connection to hold.
            (body, follows) => Box::pin(self.send_long(head, body, follows)).await,
        }
    }

    async fn send_long(&self, mut head: &[u8], body: Body, follows: Follows) -> io::Result<()> {
        match body {
            Body::Empty | Body::Full(_) => self.write([head, &[], &[]]).await,
            Body::File(part) => self.send_file(head, part).await,
            Body::Pieces(pieces) => {
                for piece in pieces {
                    Box::pin(self.send(head, piece, follows)).await?;
                    head = &[];
                }
                Ok(())
            }
            Body::Stream(stream) => self.send_stream(head, stream, follows).await,
        }
    }

    /// Answers what is not a request. The connection ends with it, for nobody knows where the next request would begin.
    async fn refuse(&self, reject: Reject, origin: &Origin) -> io::Result<()> {
        self.worker.metrics.answered(reject.status, Duration::ZERO);
        let serving = Arc::clone(&self.serving.borrow());
        let mut visit = Visit::misunderstood(&serving.entry, origin, Instant::now());
        let mut response = Problem::new(reject.status, reject.why).into_response();
        visit.answered(&serving.entry, &mut response, Duration::ZERO);
        let asked = Asked {
            is_head: false,
            connects: false,
            version: http::Version::HTTP_11,
            keep_alive: false,
            takes_trailers: false,
        };
        self.respond(response, asked, visit).await.map(drop)
    }

    /// Whether what is left of the body is little enough to be read for the sake of the connection.
    fn can_skip_body(&self) -> bool {
        !self.broken.get() && self.decoder.borrow().remaining().is_none_or(|left| left <= UNWANTED)
    }

    /// Reads what no handler wanted of the body; false where that is too much.
    async fn skip_body(self: &Rc<Self>) -> io::Result<bool> {
        let mut skipped = 0;
        self.allow(|options| options.header_timeout);
        while let Some(part) = poll_fn(|context| BodySource::poll_part(&**self, context)).await {
            match part {
                Ok(part) => skipped += part.len() as u64,
                Err(_) => return Ok(false),
            }
            if skipped > UNWANTED {
                return Ok(false);
            }
        }
        Ok(true)
    }

    /// Ends the connection from our side, and waits a little for the client's: a reset would take the last answer from it.
    async fn close_gently<T>(&self) -> io::Result<Ended<T>> {
        self.pulse().allow(self.worker.now(), LINGER);
        poll_fn(|context| self.poll_io(context, |io, context| io.poll_shutdown(context))).await?;
        let mut ignored = 0u64;
        while ignored < UNWANTED * 4 {
            let read = poll_fn(|context| {
                let mut scratch = self.worker.scratch.borrow_mut();
                self.poll_read(context, &mut scratch).map_ok(|read| read.map(<[u8]>::len))
            });
            match read.await {
                Ok(Some(read)) => ignored += read as u64,
                Ok(None) | Err(_) => break,
            }
        }
        Ok(Ended::Closed)
    }

    fn poll_invite(&self, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        while !self.invitation.get().is_empty() {
            let left = self.invitation.get();
            let written = ready!(self.poll_io(context, |io, context| io.poll_write(context, left)))?;
            self.invitation.set(left.get(written..).unwrap_or_default());
            if self.invitation.get().is_empty() {
                // With TLS it would otherwise wait for the answer that waits for it. Where it cannot leave at once, the answer takes it along.
                let _ = self.poll_io(context, |io, context| io.poll_flush(context))?;
            }
        }
        Poll::Ready(Ok(()))
    }
}

impl<S: Transport> BodySource for Connection<S> {
    fn poll_part(&self, context: &mut Context<'_>) -> Poll<Option<Result<Bytes, BodyError>>> {
        let part = ready!(self.poll_content(context));
        if let Some(Err(error)) = &part {
            self.broken.set(true);
            // Late with its body, it may still be in time for the answer.
            if matches!(error, BodyError::Cut(error) if error.kind() == io::ErrorKind::TimedOut) {
                self.worker.metrics.connections_cut.of(Cut::Late).inc();
                self.worker.metrics.requests_late.of(Late::Body).inc();
                self.pulse().forgive();
            }
        }
        Poll::Ready(part)
    }

    fn remaining(&self) -> Option<u64> {
        self.decoder.borrow().remaining()
    }

    fn trailers(&self) -> Option<HeaderMap> {
        self.decoder.borrow_mut().take_trailers()
    }
}

impl<S: Transport> Connection<S> {
    fn poll_content(&self, context: &mut Context<'_>) -> Poll<Option<Result<Bytes, BodyError>>> {
        if self.broken.get() {
            return Poll::Ready(None);
        }
        let mut decoder = self.decoder.borrow_mut();
        loop {
            if decoder.is_done() {
                return Poll::Ready(None);
            }
            let mut input = self.input.borrow_mut();
            if input.is_empty() {
                ready!(self.poll_invite(context)).map_err(BodyError::Cut)?;
                let mut scratch = self.worker.scratch.borrow_mut();
                match ready!(self.poll_read(context, &mut scratch)).map_err(BodyError::Cut)? {
                    Some(read) => input.extend_from_slice(read),
                    None => return Poll::Ready(Some(Err(BodyError::Cut(cut())))),
                }
                let (rate, most) = self.options(|options| (options.min_rate, options.request_timeout));
                self.pulse().earn(input.len(), rate, self.worker.now(), most);
            }
            // It sends without having been asked to: it is not waiting for an invitation any more.
            self.invitation.set(b"");
            match decoder.decode(&input).map_err(BodyError::Malformed)? {
                Piece::End => return Poll::Ready(None),
                Piece::Framing(bytes) => input.advance(bytes),
                Piece::Content(bytes) => {
                    let received = self.received.get() + bytes as u64;
                    self.received.set(received);
                    let limit = self.options(|options| options.max_body);
                    if received > limit {
                        return Poll::Ready(Some(Err(BodyError::TooLarge { limit })));
                    }
                    return Poll::Ready(Some(Ok(input.split_to(bytes).freeze())));
                }
            }
        }
    }
}

/// What the input begins with; `None` where that cannot be told yet.
fn begin(input: &[u8], limits: &super::head::HeadLimits, may_be_http2: bool) -> Option<Begin> {
    if may_be_http2 && input.starts_with(PREFACE.get(..input.len().min(PREFACE.len())).unwrap_or_default()) {
        return (input.len() >= PREFACE.len()).then_some(Begin::Http2);
    }
    match parse(input, limits) {
        Ok(Some(head)) => Some(Begin::Head(Box::new(head))),
        Ok(None) => None,
        Err(reject) => Some(Begin::Rejected(reject)),
    }
}

fn cut() -> io::Error {
    io::Error::new(io::ErrorKind::UnexpectedEof, "the client ended the connection in the middle of a request")
}
