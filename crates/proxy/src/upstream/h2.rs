//! Requests over HTTP/2 (RFC 9113): many at once on one connection of a thread.

use std::cell::{Cell, RefCell};
use std::future::poll_fn;
use std::io;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll, ready};
use std::time::Instant;

use bytes::Bytes;
use h2::client::{ResponseFuture, SendRequest};
use h2::ext::Protocol;
use h2::{Ping, PingPong, Reason, RecvStream, SendStream};
use http::{HeaderMap, Request, StatusCode};
use outwork_front::Tunnel;
use tokio::sync::Mutex;

use super::wire::Wire;
use super::{Body, Counted, Early, ExchangeError, Reply};

/// Bytes that a backend may send on a stream, and on a connection, before they are asked for.
const STREAM_WINDOW: u32 = 1 << 20;
const CONNECTION_WINDOW: u32 = 8 << 20;
/// Bytes that a head may have.
const HEAD: u32 = 64 << 10;
/// Bytes of a body that wait for the connection to take them.
const BUFFER: usize = 256 << 10;
/// Requests at once on one connection, whatever the backend allows.
const STREAMS: usize = 1000;

/// A connection that is open.
#[derive(Debug)]
pub(crate) struct Session {
    send: RefCell<SendRequest<Bytes>>,
    pub(crate) opened: Instant,
    /// When the last of its requests ended.
    idle_since: Cell<Instant>,
    streams: Cell<usize>,
    pub(crate) served: Cell<u32>,
    /// Asks whether the backend is there.
    ping: Option<Mutex<PingPong>>,
    /// It has ended, or takes no more.
    gone: Rc<Cell<bool>>,
    _counted: Counted,
}

impl Session {
    /// Begins to speak HTTP/2 on this connection, on a thread that serves.
    pub(crate) async fn begin(wire: Wire, now: Instant, counted: Counted) -> Result<Rc<Self>, h2::Error> {
        let mut builder = h2::client::Builder::new();
        builder
            .enable_push(false)
            .initial_window_size(STREAM_WINDOW)
            .initial_connection_window_size(CONNECTION_WINDOW)
            .max_header_list_size(HEAD)
            .max_send_buffer_size(BUFFER);
        let (send, mut connection) = builder.handshake::<_, Bytes>(wire).await?;
        let ping = connection.ping_pong().map(Mutex::new);
        let gone = Rc::new(Cell::new(false));
        let ended = Rc::clone(&gone);
        tokio::task::spawn_local(async move {
            if let Err(error) = connection.await {
                tracing::debug!(%error, "a connection to a backend ends");
            }
            ended.set(true);
        });
        Ok(Rc::new(Self {
            send: RefCell::new(send),
            opened: now,
            idle_since: Cell::new(now),
            streams: Cell::new(0),
            served: Cell::new(0),
            ping,
            gone,
            _counted: counted,
        }))
    }

    /// Whether streams may switch to another protocol (RFC 8441 section 3), once the backend has said what it takes: its settings are the first that it says,
    /// and what it says to a question comes after them.
    pub(crate) async fn switches(&self) -> bool {
        let enabled = || self.send.borrow().is_extended_connect_protocol_enabled();
        if let Some(ping) = self.ping.as_ref().filter(|_| !enabled()) {
            let mut ping = ping.lock().await;
            if !enabled()
                && let Err(error) = ping.ping(Ping::opaque()).await
            {
                tracing::debug!(%error, "a backend does not say what it takes");
            }
        }
        enabled()
    }

    /// Whether it takes one more request now.
    pub(crate) fn has_room(&self) -> bool {
        let most = self.send.borrow().current_max_send_streams().min(STREAMS);
        !self.gone.get() && self.streams.get() < most
    }

    pub(crate) fn is_gone(&self) -> bool {
        self.gone.get()
    }

    /// How long nobody has used it; `None` while somebody does.
    pub(crate) fn idle_since(&self) -> Option<Instant> {
        (self.streams.get() == 0).then(|| self.idle_since.get())
    }
}

/// A request that is under way, as far as its connection is concerned.
#[derive(Debug)]
pub(crate) struct Under(Rc<Session>);

impl Drop for Under {
    fn drop(&mut self) {
        self.0.streams.set(self.0.streams.get().saturating_sub(1));
        self.0.idle_since.set(Instant::now());
    }
}

/// A request and its answer.
#[derive(Debug)]
pub(crate) struct Exchange {
    response: ResponseFuture,
    upload: Upload,
    receive: Option<RecvStream>,
    /// Fields that came after the content.
    trailers: Option<HeaderMap>,
    length: Option<u64>,
    pub(crate) sent: u64,
    pub(crate) early: Early,
    /// It asks for another protocol.
    switches: bool,
    /// It has been switched to it.
    switched: bool,
    under: Under,
}

/// The content of the request on its way out.
#[derive(Debug)]
struct Upload {
    stream: SendStream<Bytes>,
    part: Bytes,
    /// There is more to come.
    body: Option<Body>,
}

impl Exchange {
    /// Sends a request, whose content follows.
    pub(crate) async fn begin(
        session: &Rc<Session>,
        request: Request<()>,
        body: Option<Body>,
    ) -> Result<Self, ExchangeError> {
        session.streams.set(session.streams.get() + 1);
        session.served.set(session.served.get().saturating_add(1));
        let under = Under(Rc::clone(session));
        let mut send = session.send.borrow().clone();
        poll_fn(|context| send.poll_ready(context)).await.map_err(|error| session.failed(error))?;
        // What a stream becomes that is switched to another protocol begins with its answer.
        let switches = request.extensions().get::<Protocol>().is_some();
        let begun = send.send_request(request, body.is_none() && !switches);
        let (response, stream) = begun.map_err(|error| session.failed(error))?;
        let upload = Upload { stream, part: Bytes::new(), body };
        let (receive, trailers, length, early) = (None, None, None, Early::default());
        Ok(Self { response, upload, receive, trailers, length, sent: 0, early, switches, switched: false, under })
    }

    /// The head of the answer.
    pub(crate) fn poll_reply(&mut self, context: &mut Context<'_>) -> Poll<Result<Reply, ExchangeError>> {
        if let Poll::Ready(Err(error @ ExchangeError::Client(_))) = self.poll_upload(context) {
            return Poll::Ready(Err(error));
        }
        while let Poll::Ready(Some(Ok(head))) = self.response.poll_informational(context) {
            let (head, ()) = head.into_parts();
            if head.status != StatusCode::CONTINUE {
                self.early.put(head.status, head.headers);
            }
        }
        let response = ready!(Pin::new(&mut self.response).poll(context));
        let (head, body) = response.map_err(|error| self.under.0.failed(error))?.into_parts();
        self.length =
            head.headers.get(http::header::CONTENT_LENGTH).and_then(|value| value.to_str().ok()?.parse().ok());
        self.receive = Some(body);
        self.switched = self.switches && head.status.is_success();
        Poll::Ready(Ok(Reply { status: head.status, headers: head.headers }))
    }

    pub(crate) fn is_switched(&self) -> bool {
        self.switched
    }

    /// The stream, once it speaks another protocol, and what counts it.
    pub(crate) fn into_switched(self) -> Option<(Tunnel, Under)> {
        let receive = self.receive.filter(|_| self.switched)?;
        Some((Tunnel::new(self.upload.stream, receive), self.under))
    }

    /// Whether all of the request is out.
    pub(crate) fn is_sent(&self) -> bool {
        self.upload.body.is_none() && self.upload.part.is_empty()
    }

    fn poll_upload(&mut self, context: &mut Context<'_>) -> Poll<Result<(), ExchangeError>> {
        let upload = &mut self.upload;
        loop {
            while !upload.part.is_empty() {
                upload.stream.reserve_capacity(upload.part.len());
                let room = match upload.stream.capacity() {
                    0 => match ready!(upload.stream.poll_capacity(context)) {
                        Some(Ok(room)) => room,
                        // The backend wants nothing more of it, which says nothing of its answer.
                        Some(Err(_)) | None => {
                            upload.part.clear();
                            upload.body = None;
                            return Poll::Ready(Ok(()));
                        }
                    },
                    room => room,
                };
                let part = upload.part.split_to(room.min(upload.part.len()));
                if upload.stream.send_data(part, false).is_err() {
                    upload.part.clear();
                    upload.body = None;
                    return Poll::Ready(Ok(()));
                }
            }
            let Some(body) = &mut upload.body else { return Poll::Ready(Ok(())) };
            match ready!(body.0.poll_part(context)) {
                Some(Ok(part)) => {
                    self.sent += part.len() as u64;
                    upload.part = part;
                }
                None => {
                    let trailers = body.0.trailers();
                    upload.body = None;
                    // A stream that has ended takes none, and needs none.
                    let _ = match trailers {
                        Some(trailers) => upload.stream.send_trailers(trailers),
                        None => upload.stream.send_data(Bytes::new(), true),
                    };
                }
                Some(Err(error)) => {
                    upload.body = None;
                    upload.stream.send_reset(Reason::CANCEL);
                    return Poll::Ready(Err(ExchangeError::Client(error)));
                }
            }
        }
    }

    /// All that is left of the answer, where it is known that that is nothing.
    pub(crate) fn take_rest(&self) -> Option<Bytes> {
        self.receive.as_ref().is_some_and(RecvStream::is_end_stream).then(Bytes::new)
    }

    /// Bytes of content, where they are known.
    pub(crate) fn remaining(&self) -> Option<u64> {
        self.length
    }

    /// The next part of the content; `None` at its end.
    pub(crate) fn poll_part(&mut self, context: &mut Context<'_>) -> Poll<Option<Result<Bytes, ExchangeError>>> {
        if let Poll::Ready(Err(error @ ExchangeError::Client(_))) = self.poll_upload(context) {
            return Poll::Ready(Some(Err(error)));
        }
        let Some(receive) = &mut self.receive else { return Poll::Ready(None) };
        match ready!(receive.poll_data(context)) {
            Some(Ok(part)) => {
                // Whoever asks for a part has room for the next: one that has ended meanwhile needs no window.
                let _ = receive.flow_control().release_capacity(part.len());
                Poll::Ready(Some(Ok(part)))
            }
            Some(Err(error)) => Poll::Ready(Some(Err(self.under.0.failed(error)))),
            None => {
                let trailers = ready!(receive.poll_trailers(context));
                match trailers {
                    Ok(trailers) => {
                        self.trailers = trailers;
                        Poll::Ready(None)
                    }
                    Err(error) => Poll::Ready(Some(Err(self.under.0.failed(error)))),
                }
            }
        }
    }

    /// The fields that came after the content, once that has ended.
    pub(crate) fn trailers(&mut self) -> Option<HeaderMap> {
        self.trailers.take()
    }
}

impl Session {
    /// What an error of the crate's means for a request.
    fn failed(&self, error: h2::Error) -> ExchangeError {
        if error.is_go_away() || error.is_io() {
            self.gone.set(true);
        }
        match error.reason() {
            // It has not begun with it (RFC 9113 section 8.7).
            Some(Reason::REFUSED_STREAM) => ExchangeError::NotBegun,
            _ if error.is_io() => ExchangeError::NoAnswer,
            Some(Reason::NO_ERROR) if error.is_go_away() => ExchangeError::NoAnswer,
            Some(Reason::PROTOCOL_ERROR | Reason::FRAME_SIZE_ERROR | Reason::COMPRESSION_ERROR) => {
                ExchangeError::Malformed("the backend's answer is no HTTP/2")
            }
            _ => ExchangeError::Io(io::Error::other(error)),
        }
    }
}
