//! One connection, from its preface to its end.

use std::cell::Cell;
use std::future::poll_fn;
use std::io;
use std::rc::Rc;
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use h2::server::{Builder, Connection, SendResponse};
use h2::{Reason, RecvStream};
use http::HeaderValue;
use tokio::io::{AsyncRead, AsyncWrite};

use super::cork::Cork;
use super::debt::ALLOWED;
use super::request::{STREAM_WINDOW, Stream, failed};
use super::watch::{Breach, Watch};
use crate::door::metrics::Cut;
use crate::door::pulse::{Beat, Pulse};
use crate::door::worker::Worker;
use crate::message::Origin;
use crate::stream::{Exchange, Open};

/// Streams that a client may have open at once.
const STREAMS: u32 = 128;
/// Bytes that a client may send on all streams together before they are asked for.
const CONNECTION_WINDOW: u32 = 1 << 20;
/// How long a client may take to part after its last response, and how many bytes of it are ignored meanwhile.
const FAREWELL: Duration = Duration::from_secs(2);
const IGNORED: usize = 256 << 10;
/// What a client hears that says something else than what a connection begins with: GOAWAY, PROTOCOL_ERROR, and no stream was looked at.
const NO_PREFACE: &[u8] = &[0, 0, 8, 7, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1];

/// What happens to a connection.
enum Event {
    Request(http::Request<RecvStream>, SendResponse<Bytes>),
    /// The first request under way has begun, the last one has ended, or the server stops.
    Turn,
    /// Its client has broken a rule, and has to hear of it.
    Breach(Breach),
    /// It has broken one, and the crate has told it.
    Told(Breach),
    Over,
}

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
    let pulse = Rc::clone(&beat.pulse);
    pulse.allow(worker.now(), options.header_timeout);
    let cork = Cork::new(io, Watch::new(options.max_head), worker);
    let mut handshake = std::pin::pin!(builder(options.max_head).handshake::<_, Bytes>(cork.share()));
    let connection = poll_fn(|context| {
        pulse.poll(context, |context| match handshake.as_mut().poll(context) {
            Poll::Ready(connection) => Poll::Ready(connection.map(Some).map_err(failed)),
            Poll::Pending if cork.breach().is_some() => Poll::Ready(Ok(None)),
            Poll::Pending => cork.end_turn(context),
        })
    });
    let Some(mut connection) = connection.await? else {
        let mut words = NO_PREFACE;
        poll_fn(|context| pulse.poll(context, |context| cork.poll_last(context, &mut words))).await?;
        linger(&cork, worker, &pulse).await;
        return Err(io::Error::other("the client does not begin with the preface of HTTP/2"));
    };
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
        let event = poll_fn(|context| {
            let turns = || (open.get() == 0) != is_idle || (pulse.is_stopping() && !leaving);
            pulse.poll(context, |context| poll_event(&mut connection, &cork, context, turns))
        });
        match event.await {
            Ok(Event::Request(request, respond)) => {
                let exchange = Exchange::new(worker, &origin, alt_svc.clone(), Open::new(&open, &pulse));
                Stream::begin(exchange, request, respond);
            }
            Ok(Event::Turn) => {}
            Ok(Event::Over) => {
                if leaving {
                    // It may still be reading, and say so.
                    drop(connection);
                    linger(&cork, worker, &pulse).await;
                }
                return Ok(());
            }
            Ok(Event::Breach(breach)) => {
                count(worker, breach);
                tell(connection, &cork, worker, &pulse, breach.code).await?;
                return part(&cork, worker, &pulse, breach).await;
            }
            Ok(Event::Told(breach)) => {
                count(worker, breach);
                drop(connection);
                return part(&cork, worker, &pulse, breach).await;
            }
            Err(error) if error.kind() == io::ErrorKind::TimedOut && is_idle => {
                if leaving {
                    // It does not say that it has heard. Where what it asked meanwhile ends, it is told all the same (RFC 9113 section 6.8).
                    pulse.forgive();
                    tell(connection, &cork, worker, &pulse, Reason::NO_ERROR).await?;
                    linger(&cork, worker, &pulse).await;
                    return Ok(());
                }
                // It has nothing more to ask: it is told before it is closed.
                leaving = true;
                pulse.forgive();
                connection.graceful_shutdown();
            }
            Err(error) => return Err(error),
        }
    }
}

fn builder(max_head: usize) -> Builder {
    let mut builder = Builder::new();
    builder
        .max_concurrent_streams(STREAMS)
        .initial_window_size(STREAM_WINDOW)
        .initial_connection_window_size(CONNECTION_WINDOW)
        .enable_connect_protocol()
        .max_header_list_size(u32::try_from(max_head).unwrap_or(u32::MAX))
        // What is reset is counted by `watch`, in a way that lets a long life of a connection pay for it.
        .max_local_error_reset_streams(None)
        .max_pending_accept_reset_streams(ALLOWED as usize);
    builder
}

/// What happens next; `turns` says whether something has that the crate knows nothing of.
fn poll_event<S: AsyncRead + AsyncWrite + Unpin>(
    connection: &mut Connection<Cork<S>, Bytes>,
    cork: &Cork<S>,
    context: &mut Context<'_>,
    turns: impl Fn() -> bool,
) -> Poll<io::Result<Event>> {
    let event = match connection.poll_accept(context) {
        Poll::Ready(Some(Ok((request, respond)))) => Event::Request(request, respond),
        Poll::Ready(Some(Err(error))) if error.is_go_away() && error.is_library() => {
            let code = error.reason().unwrap_or(Reason::INTERNAL_ERROR);
            let flood = (code == Reason::ENHANCE_YOUR_CALM).then(|| cork.excess());
            Event::Told(Breach { code, flood })
        }
        Poll::Ready(Some(Err(error))) => return Poll::Ready(Err(failed(error))),
        Poll::Ready(None) => Event::Over,
        Poll::Pending => match cork.breach() {
            Some(breach) => Event::Breach(breach),
            None if turns() => Event::Turn,
            None => return cork.end_turn(context),
        },
    };
    Poll::Ready(Ok(event))
}

/// Counts a client that has sent too much of something.
fn count(worker: &Worker, breach: Breach) {
    if let Some(of) = breach.flood {
        worker.metrics.connections_cut.of(Cut::Flood).inc();
        worker.metrics.http2_floods.of(of).inc();
    }
}

/// Has the crate tell a client why its connection ends.
async fn tell<S: AsyncRead + AsyncWrite + Unpin>(
    mut connection: Connection<Cork<S>, Bytes>,
    cork: &Cork<S>,
    worker: &Worker,
    pulse: &Pulse,
    code: Reason,
) -> io::Result<()> {
    pulse.allow(worker.now(), FAREWELL);
    connection.abrupt_shutdown(code);
    let told = poll_fn(|context| {
        pulse.poll(context, |context| match connection.poll_closed(context) {
            Poll::Ready(closed) => Poll::Ready(closed.map_err(failed)),
            Poll::Pending => cork.end_turn(context),
        })
    });
    told.await
}

/// Sees to it that the client hears our last words.
async fn linger<S: AsyncRead + AsyncWrite + Unpin>(cork: &Cork<S>, worker: &Worker, pulse: &Pulse) {
    let mut most = IGNORED;
    pulse.forgive();
    pulse.allow(worker.now(), FAREWELL);
    // However it ends, nobody is kept waiting.
    let _ = poll_fn(|context| pulse.poll(context, |context| cork.poll_ignore(context, &mut most))).await;
}

/// Parts from a client that was told what it has done.
async fn part<S: AsyncRead + AsyncWrite + Unpin>(
    cork: &Cork<S>,
    worker: &Worker,
    pulse: &Pulse,
    breach: Breach,
) -> io::Result<()> {
    linger(cork, worker, pulse).await;
    match breach.flood {
        Some(_) => Ok(()),
        None => Err(io::Error::other(h2::Error::from(breach.code))),
    }
}
