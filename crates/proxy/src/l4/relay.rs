//! Bytes of a connection on their way, in both directions.
//!
//! What comes is read into a buffer of the thread and written at once, so that a connection that waits holds none. Where a read fills that buffer, much
//! is on its way, and what follows goes from socket to socket through a pipe; where little comes through that, it is read again.

use std::cell::{Cell, RefCell};
use std::future::poll_fn;
use std::io;
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use outwork_net::splice::Pipe;
use tokio::io::{AsyncRead, AsyncWrite, Interest, ReadBuf};
use tokio::time::{Instant, sleep_until};

use super::metrics::End;
use super::rule::Live;
use crate::upstream::wire::Wire;

/// Bytes of the buffer of a thread.
const BUFFER: usize = 64 << 10;
/// Bytes that a pipe has room for.
const PIPE: usize = 256 << 10;
/// Pipes that a thread has at most, those that wait for the next who needs one among them: each takes two files. Where there is none, bytes are copied.
pub(super) const PIPES: usize = 64;
/// Where less comes through a pipe at once, it is not worth one.
const LITTLE: usize = 16 << 10;

/// What the connections of a thread use in turn.
pub(super) struct Desk {
    buffer: RefCell<Box<[u8]>>,
    pipes: RefCell<Vec<Pipe>>,
    /// Those in use.
    lent: Cell<usize>,
}

impl Desk {
    pub(super) fn new() -> Self {
        Self { buffer: RefCell::new(vec![0; BUFFER].into_boxed_slice()), pipes: RefCell::default(), lent: Cell::new(0) }
    }

    /// An empty pipe; `None` where the kernel gives none.
    fn pipe(&self) -> Option<Pipe> {
        if self.lent.get() >= PIPES {
            return None;
        }
        let pipe = self.pipes.borrow_mut().pop().or_else(|| Pipe::new(PIPE).ok())?;
        self.lent.set(self.lent.get() + 1);
        Some(pipe)
    }

    fn give_back(&self, pipe: Pipe) {
        self.lent.set(self.lent.get().saturating_sub(1));
        if pipe.held() == 0 {
            self.pipes.borrow_mut().push(pipe);
        }
    }
}

/// Why nothing more goes in a direction.
enum Broken {
    /// It cannot be read from.
    Source,
    /// It cannot be written to.
    Sink,
}

/// How far what is read from has come.
#[derive(PartialEq, Eq)]
enum Source {
    Open,
    Ended,
    Failed,
}

/// One direction.
struct Way {
    /// What was read and not taken yet.
    held: Vec<u8>,
    taken: usize,
    pipe: Option<Pipe>,
    /// Much is on its way.
    wide: bool,
    source: Source,
    unflushed: bool,
    done: bool,
    /// Bytes since somebody asked.
    moved: u64,
    /// Those of them that were not copied.
    spliced: u64,
}

impl Way {
    fn new(first: Vec<u8>) -> Self {
        Self {
            held: first,
            taken: 0,
            pipe: None,
            wide: false,
            source: Source::Open,
            unflushed: false,
            done: false,
            moved: 0,
            spliced: 0,
        }
    }

    /// Moves what there is; ready once there is nothing more to come and the other side knows.
    fn poll(
        &mut self,
        from: &mut Wire,
        to: &mut Wire,
        desk: &Desk,
        context: &mut Context<'_>,
    ) -> Poll<Result<(), Broken>> {
        loop {
            ready!(self.write_held(to, context)).map_err(|_| Broken::Sink)?;
            ready!(self.pour(to, context)).map_err(|_| Broken::Sink)?;
            match self.source {
                Source::Open => {}
                Source::Failed => return Poll::Ready(Err(Broken::Source)),
                Source::Ended => {
                    self.pipe.take().into_iter().for_each(|pipe| desk.give_back(pipe));
                    // Who has gone already needs no telling.
                    let _ = ready!(Pin::new(&mut *to).poll_shutdown(context));
                    return Poll::Ready(Ok(()));
                }
            }
            if self.wide && from.plain().is_some() && to.plain().is_some() {
                if self.poll_fill(from, desk, context).is_pending() {
                    self.pipe.take().into_iter().for_each(|pipe| desk.give_back(pipe));
                    return Poll::Pending;
                }
                continue;
            }
            if self.poll_read(from, to, desk, context)?.is_pending() {
                if self.unflushed {
                    ready!(Pin::new(&mut *to).poll_flush(context)).map_err(|_| Broken::Sink)?;
                    self.unflushed = false;
                }
                return Poll::Pending;
            }
        }
    }

    fn write_held(&mut self, to: &mut Wire, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        while let Some(rest) = self.held.get(self.taken..).filter(|rest| !rest.is_empty()) {
            match ready!(Pin::new(&mut *to).poll_write(context, rest))? {
                0 => return Poll::Ready(Err(io::ErrorKind::WriteZero.into())),
                written => self.taken += written,
            }
            self.unflushed = true;
        }
        if self.taken > 0 {
            (self.held, self.taken) = (Vec::new(), 0);
        }
        Poll::Ready(Ok(()))
    }

    /// Empties the pipe.
    fn pour(&mut self, to: &Wire, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        let (Some(pipe), Some(to)) = (&mut self.pipe, to.plain()) else { return Poll::Ready(Ok(())) };
        while pipe.held() > 0 {
            ready!(to.poll_write_ready(context))?;
            match to.try_io(Interest::WRITABLE, || pipe.pour(to)) {
                Ok(0) => return Poll::Ready(Err(io::ErrorKind::WriteZero.into())),
                Ok(_) => {}
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                Err(error) => return Poll::Ready(Err(error)),
            }
        }
        Poll::Ready(Ok(()))
    }

    /// Fills an empty pipe.
    fn poll_fill(&mut self, from: &Wire, desk: &Desk, context: &mut Context<'_>) -> Poll<()> {
        let Some(from) = from.plain() else { return Poll::Ready(()) };
        if ready!(from.poll_read_ready(context)).is_err() {
            self.source = Source::Failed;
            return Poll::Ready(());
        }
        if self.pipe.is_none() {
            self.pipe = desk.pipe();
        }
        let Some(pipe) = &mut self.pipe else {
            self.wide = false;
            return Poll::Ready(());
        };
        match from.try_io(Interest::READABLE, || pipe.fill(from)) {
            Ok(0) => self.source = Source::Ended,
            Ok(moved) => {
                self.moved += moved as u64;
                self.spliced += moved as u64;
                self.wide = moved >= LITTLE;
            }
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
            Err(_) => self.source = Source::Failed,
        }
        Poll::Ready(())
    }

    /// Reads, and writes what was read at once.
    fn poll_read(
        &mut self,
        from: &mut Wire,
        to: &mut Wire,
        desk: &Desk,
        context: &mut Context<'_>,
    ) -> Result<Poll<()>, Broken> {
        self.pipe.take().into_iter().for_each(|pipe| desk.give_back(pipe));
        let mut buffer = desk.buffer.borrow_mut();
        let mut read = ReadBuf::new(&mut buffer);
        match Pin::new(from).poll_read(context, &mut read) {
            Poll::Pending => return Ok(Poll::Pending),
            // TLS that ends without saying so: many leave like that who have said all.
            Poll::Ready(Err(error)) if error.kind() == io::ErrorKind::UnexpectedEof => {
                self.source = Source::Ended;
                return Ok(Poll::Ready(()));
            }
            Poll::Ready(Err(_)) => {
                self.source = Source::Failed;
                return Ok(Poll::Ready(()));
            }
            Poll::Ready(Ok(())) => {}
        }
        let is_full = read.remaining() == 0;
        let read = read.filled();
        if read.is_empty() {
            self.source = Source::Ended;
            return Ok(Poll::Ready(()));
        }
        self.moved += read.len() as u64;
        self.unflushed = true;
        let written = match Pin::new(to).poll_write(context, read) {
            Poll::Ready(written) => written.map_err(|_| Broken::Sink)?,
            Poll::Pending => 0,
        };
        self.held.extend_from_slice(read.get(written..).unwrap_or_default());
        self.wide = is_full;
        Ok(Poll::Ready(()))
    }
}

/// How long a connection may stand still.
#[derive(Debug, Clone, Copy)]
pub(super) struct Patience {
    pub(super) idle: Duration,
    /// Once one side has ended.
    pub(super) half_closed: Duration,
}

/// Moves bytes until both sides have ended, one breaks off, or nothing moves for too long. `first` goes to the backend before all else.
pub(super) async fn run(
    mut client: Wire,
    mut backend: Wire,
    first: Vec<u8>,
    patience: Patience,
    desk: &Desk,
    live: &Live,
) -> End {
    let (mut out, mut back) = (Way::new(first), Way::new(Vec::new()));
    let (mut last, mut broken) = (Instant::now(), None);
    let still = sleep_until(last + patience.idle);
    tokio::pin!(still);
    let end = poll_fn(|context| {
        if !out.done {
            match out.poll(&mut client, &mut backend, desk, context) {
                Poll::Pending => {}
                Poll::Ready(Ok(())) => out.done = true,
                Poll::Ready(Err(Broken::Source)) => return Poll::Ready(End::Client),
                // It may have answered before it broke off.
                Poll::Ready(Err(Broken::Sink)) => (out.done, broken) = (true, Some(End::Backend)),
            }
        }
        if !back.done {
            match back.poll(&mut backend, &mut client, desk, context) {
                Poll::Pending => {}
                Poll::Ready(Ok(())) => back.done = true,
                Poll::Ready(Err(Broken::Source)) => return Poll::Ready(End::Backend),
                Poll::Ready(Err(Broken::Sink)) => (back.done, broken) = (true, Some(End::Client)),
            }
        }
        let (sent, received) = (std::mem::take(&mut back.moved), std::mem::take(&mut out.moved));
        if sent > 0 || received > 0 {
            live.cells.sent.add(sent);
            live.cells.received.add(received);
            live.cells.spliced.add(std::mem::take(&mut out.spliced) + std::mem::take(&mut back.spliced));
            last = Instant::now();
        }
        if out.done && back.done {
            return Poll::Ready(broken.unwrap_or(End::Closed));
        }
        let half = out.done || back.done;
        let until = last + if half { patience.half_closed } else { patience.idle };
        // It is looked at when it is due; only what is due earlier than it was has to be moved.
        if until < still.deadline() {
            still.as_mut().reset(until);
        }
        while still.as_mut().poll(context).is_ready() {
            if until <= Instant::now() {
                return Poll::Ready(if half { End::HalfClosed } else { End::Idle });
            }
            still.as_mut().reset(until);
        }
        Poll::Pending
    })
    .await;
    match end {
        End::Client => reset(&backend),
        End::Backend => reset(&client),
        _ => {}
    }
    end
}

/// Has a connection end as the other did: at once, whatever is under way.
pub(super) fn reset(wire: &Wire) {
    if let Some(tcp) = wire.tcp() {
        // Where that is refused, it ends all the same.
        let _ = tcp.set_zero_linger();
    }
}
