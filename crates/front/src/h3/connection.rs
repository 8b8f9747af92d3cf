//! One connection, from its handshake to its end.

use std::cell::{Cell, RefCell};
use std::collections::VecDeque;
use std::future::poll_fn;
use std::io;
use std::pin::{Pin, pin};
use std::rc::Rc;
use std::task::Poll;
use std::time::Duration;

use quinn::{ConnectionError, RecvStream, SendStream};
use tokio::time::{Instant, sleep};

use super::control::{self, CONTROL, ENABLE_CONNECT_PROTOCOL, MAX_FIELD_SECTION_SIZE, RESERVED};
use super::frame::{GOAWAY, SETTINGS, write_integer};
use super::{Code, request};
use crate::door::metrics::Cut;
use crate::door::pulse::{Beat, Pulse};
use crate::door::worker::Worker;
use crate::message::Origin;
use crate::stream::{Exchange, Open};

/// Requests that a client may have given up, beyond those that it has let us answer. Who goes on only has us work.
const GIVEN_UP: u32 = 256;
/// Responses of a connection that have ended, of which it is known whether they have arrived.
const LAST: usize = 32;
/// How long what was sent may take to arrive before a connection is closed.
const FAREWELL: Duration = Duration::from_secs(2);
/// From one request of a client to its next (RFC 9000 section 2.1).
const NEXT: u64 = 4;
/// What a GOAWAY names that turns no request away yet (RFC 9114 section 5.2).
const EVERY: u64 = (1 << 62) - NEXT;
/// What is said of the connection does not wait for what is sent of its responses.
const AHEAD: i32 = 1;
/// How often the peer of a request under way hears something at least: most clients take a connection for dead that is silent for thirty seconds.
const WORD: Duration = Duration::from_secs(10);

/// What the streams of a connection share.
pub(super) struct Connection {
    quic: quinn::Connection,
    pub(super) worker: Rc<Worker>,
    /// Whose the requests are: of the address that the handshake has shown to be the client's. Where its datagrams seem to come from later, anybody could
    /// have written on them (RFC 9000 section 9.3.2).
    origin: Rc<Origin>,
    pulse: Rc<Pulse>,
    /// Requests under way.
    open: Rc<Cell<u32>>,
    /// Requests that were given up, less those that were answered.
    given_up: Cell<u32>,
    /// The streams of which there is one each, as bits.
    critical: Cell<u64>,
    /// The responses that ended last.
    last: RefCell<VecDeque<SendStream>>,
}

/// What happens to a connection.
enum Event {
    Request(SendStream, RecvStream),
    OneWay(RecvStream),
    /// The first request under way has begun, the last one has ended, or the server stops.
    Turn,
    /// What the client was told last has arrived.
    Heard,
    /// Nothing may have been said for some time.
    Silence,
}

/// How far a connection is on its way out (RFC 9114 section 5.2).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Way {
    Staying,
    /// Its client was told to ask elsewhere. What it asks until it hears of that is answered.
    Leaving,
    /// It was told which request is the last. What it asks after that it may ask elsewhere, and none of that is looked at.
    Last,
}

/// Until something has arrived.
type Arrival<'a> = Pin<Box<dyn Future<Output = ()> + 'a>>;

/// Serves a connection until it ends.
pub(super) async fn serve(
    quic: quinn::Connection,
    worker: &Rc<Worker>,
    origin: Rc<Origin>,
    beat: Beat,
    idle_timeout: Duration,
) -> io::Result<()> {
    let connection = Rc::new(Connection {
        quic: quic.clone(),
        worker: Rc::clone(worker),
        origin,
        pulse: Rc::clone(&beat.pulse),
        open: Rc::default(),
        given_up: Cell::new(0),
        critical: Cell::new(0),
        last: RefCell::default(),
    });
    let ended = connection.run(WORD.min(idle_timeout / 3)).await;
    // The client is told, unless it knows. What has not arrived by now never will.
    quic.close(Code::NO_ERROR.into(), b"");
    drop(beat);
    ended
}

impl Connection {
    /// While a request is under way, something is said each `word`.
    async fn run(self: &Rc<Self>, word: Duration) -> io::Result<()> {
        let (pulse, worker) = (&self.pulse, &self.worker);
        pulse.allow(worker.now(), worker.serving().options.header_timeout);
        let mut control = self.control().await?;
        let (mut requests, mut one_way) = (pin!(self.quic.accept_bi()), pin!(self.quic.accept_uni()));
        let (mut served, mut next, mut way) = (0u32, 0u64, Way::Staying);
        let mut arrival: Option<Arrival<'_>> = None;
        let mut silence = pin!(sleep(word));
        loop {
            let is_idle = self.open.get() == 0;
            match (way, is_idle) {
                (Way::Staying, true) if served > 0 => {
                    pulse.allow(worker.now(), worker.serving().options.keep_alive);
                }
                (Way::Staying, true) => {}
                _ => pulse.forever(),
            }
            let worn = served >= worker.serving().options.requests_per_connection;
            let leaves = pulse.is_stopping() || worn || self.has_moved();
            if leaves && way == Way::Staying {
                way = Way::Leaving;
                arrival = Some(self.leave(&mut control).await?);
                continue;
            }
            if way == Way::Last && is_idle && arrival.is_none() {
                arrival = Some(Box::pin(self.farewell()));
            }
            let event = poll_fn(|context| {
                pulse.poll(context, |context| {
                    if let Poll::Ready(stream) = requests.as_mut().poll(context) {
                        requests.set(self.quic.accept_bi());
                        return Poll::Ready(Ok(stream.map(|(send, receive)| Event::Request(send, receive))));
                    }
                    if let Poll::Ready(stream) = one_way.as_mut().poll(context) {
                        one_way.set(self.quic.accept_uni());
                        return Poll::Ready(Ok(stream.map(Event::OneWay)));
                    }
                    if arrival.as_mut().is_some_and(|arrival| arrival.as_mut().poll(context).is_ready()) {
                        arrival = None;
                        return Poll::Ready(Ok(Ok(Event::Heard)));
                    }
                    if !is_idle && silence.as_mut().poll(context).is_ready() {
                        return Poll::Ready(Ok(Ok(Event::Silence)));
                    }
                    let turns = (self.open.get() == 0) != is_idle || (pulse.is_stopping() && way == Way::Staying);
                    if turns { Poll::Ready(Ok(Ok(Event::Turn))) } else { Poll::Pending }
                })
            });
            match event.await {
                Ok(Ok(Event::Turn)) => {}
                Ok(Ok(Event::Silence)) => {
                    self.say_nothing(&mut control).await?;
                    silence.as_mut().reset(Instant::now() + word);
                }
                Ok(Ok(Event::OneWay(stream))) => {
                    drop(tokio::task::spawn_local(control::listen(Rc::clone(self), stream)))
                }
                Ok(Ok(Event::Request(mut send, mut receive))) if way == Way::Last => {
                    // Whichever of the two is over already needs no telling.
                    let _ = (send.reset(Code::REQUEST_REJECTED.into()), receive.stop(Code::REQUEST_REJECTED.into()));
                }
                Ok(Ok(Event::Request(send, receive))) => {
                    served = served.saturating_add(1);
                    next = u64::from(quinn::VarInt::from(send.id())) + NEXT;
                    let exchange = Exchange::new(worker, &self.origin, None, Open::new(&self.open, pulse));
                    tokio::task::spawn_local(request::serve(Rc::clone(self), exchange, send, receive));
                }
                Ok(Ok(Event::Heard)) if way == Way::Last => return Ok(()),
                Ok(Ok(Event::Heard)) => {
                    way = Way::Last;
                    self.goaway(&mut control, next).await?;
                }
                Ok(Err(error)) => return self.ended(error),
                // It has nothing more to ask: it is told before it is closed, for it may be about to.
                Err(error)
                    if error.kind() == io::ErrorKind::TimedOut && is_idle && served > 0 && way == Way::Staying =>
                {
                    pulse.forgive();
                    way = Way::Leaving;
                    arrival = Some(self.leave(&mut control).await?);
                }
                Err(error) => return Err(error),
            }
        }
    }

    /// Opens our control stream, which begins with our settings (RFC 9114 section 7.2.4).
    async fn control(&self) -> io::Result<SendStream> {
        let mut settings = Vec::new();
        write_integer(&mut settings, MAX_FIELD_SECTION_SIZE);
        write_integer(&mut settings, self.max_head() as u64);
        write_integer(&mut settings, ENABLE_CONNECT_PROTOCOL);
        write_integer(&mut settings, 1);
        let mut begin = Vec::new();
        write_integer(&mut begin, CONTROL);
        write_integer(&mut begin, SETTINGS);
        write_integer(&mut begin, settings.len() as u64);
        begin.append(&mut settings);
        let mut stream = self.wait(self.quic.open_uni()).await?.map_err(io::Error::other)?;
        self.wait(stream.write_all(&begin)).await?.map_err(io::Error::other)?;
        stream.set_priority(AHEAD).map_err(io::Error::other)?;
        Ok(stream)
    }

    /// Sends a frame that means nothing (RFC 9114 section 7.2.8), so that neither side takes the other for gone while an answer, or a tunnel, is silent.
    async fn say_nothing(&self, control: &mut SendStream) -> io::Result<()> {
        let mut frame = Vec::new();
        write_integer(&mut frame, RESERVED);
        write_integer(&mut frame, 0);
        self.wait(control.write_all(&frame)).await?.map_err(io::Error::other)
    }

    /// Has the client ask elsewhere from when it hears of it.
    async fn leave(&self, control: &mut SendStream) -> io::Result<Arrival<'_>> {
        self.goaway(control, EVERY).await?;
        Ok(Box::pin(self.within_reason("a client does not say that it knows its connection ends", self.heard())))
    }

    /// Tells the client from which request on none is looked at.
    async fn goaway(&self, control: &mut SendStream, from: u64) -> io::Result<()> {
        let (mut goaway, mut id) = (Vec::new(), Vec::new());
        write_integer(&mut id, from);
        write_integer(&mut goaway, GOAWAY);
        write_integer(&mut goaway, id.len() as u64);
        goaway.append(&mut id);
        self.pulse.allow(self.worker.now(), FAREWELL);
        self.wait(control.write_all(&goaway)).await?.map_err(io::Error::other)
    }

    /// Waits until the client has what was said so far. Of a stream that goes on it is not told what has arrived, but of one that has ended it is: one
    /// that means nothing (RFC 9114 section 6.2.3) goes after it.
    async fn heard(&self) {
        let Ok(mut after) = self.quic.open_uni().await else { return };
        let mut kind = Vec::new();
        write_integer(&mut kind, RESERVED);
        // Whichever of these fails, the connection has ended, or the client wants no more of the stream: it is there.
        let _ = (after.set_priority(AHEAD), after.write_all(&kind).await, after.finish());
        let _ = after.stopped().await;
    }

    async fn within_reason(&self, otherwise: &'static str, something: impl Future<Output = ()>) {
        if tokio::time::timeout(FAREWELL, something).await.is_err() {
            tracing::debug!(peer = %self.quic.remote_address(), "{otherwise}");
        }
    }

    /// Waits for something that depends on the client.
    async fn wait<T>(&self, something: impl Future<Output = T>) -> io::Result<T> {
        let mut something = pin!(something);
        poll_fn(|context| self.pulse.poll(context, |context| something.as_mut().poll(context).map(Ok))).await
    }

    /// Sees to it that what was said last arrives.
    async fn farewell(&self) {
        let last = self.last.take();
        let arrived = async {
            self.heard().await;
            for stream in &last {
                // It may be that nobody waits for it any more.
                let _ = stream.stopped().await;
            }
        };
        self.within_reason("a client has not acknowledged the end of its response", arrived).await;
    }

    fn ended(&self, error: ConnectionError) -> io::Result<()> {
        match error {
            ConnectionError::ApplicationClosed(_) => Ok(()),
            // It went without a word, which nobody has to who does not wait for anything.
            ConnectionError::TimedOut if self.open.get() == 0 => Ok(()),
            error => Err(io::Error::other(error)),
        }
    }

    /// Whether the client is at another address, as it seems. What it has begun goes on there (RFC 9000 section 9); what it asks next it is to ask by a
    /// connection that shows whose it is.
    fn has_moved(&self) -> bool {
        self.quic.remote_address().ip() != self.origin.peer.ip()
    }

    /// What a head may measure, as the client is told.
    pub(super) fn max_head(&self) -> usize {
        self.worker.serving().options.max_head
    }

    /// Ends it: the client has done what it must not.
    pub(super) fn fail(&self, code: Code) {
        tracing::debug!(peer = %self.quic.remote_address(), code = %format_args!("{:#x}", code.0), "a client breaks the rules of HTTP/3");
        self.quic.close(code.into(), b"");
    }

    /// Whether a stream is the first of its kind.
    pub(super) fn first(&self, kind: u64) -> bool {
        let (bit, before) = (1 << kind, self.critical.get());
        self.critical.set(before | bit);
        before & bit == 0
    }

    /// A request was answered whole.
    pub(super) fn answered(&self, response: SendStream) {
        self.settled();
        let mut last = self.last.borrow_mut();
        if last.len() == LAST {
            last.pop_front();
        }
        last.push_back(response);
    }

    /// The client has let something come to its end.
    pub(super) fn settled(&self) {
        self.given_up.set(self.given_up.get().saturating_sub(1));
    }

    /// The client has given a request up, or made none of it.
    pub(super) fn given_up(&self) {
        self.given_up.set(self.given_up.get() + 1);
        if self.given_up.get() > GIVEN_UP && self.quic.close_reason().is_none() {
            self.worker.metrics.connections_cut.of(Cut::Flood).inc();
            self.fail(Code::EXCESSIVE_LOAD);
        }
    }
}
