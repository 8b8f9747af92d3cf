//! Many requests at once on one connection, one behind the other (pipelining, RFC 9112 section 9.3.2).
//!
//! What the requests of one turn of a thread say goes out in one write, and what is answered comes in as it lies there, many answers at a time: so what a system call
//! costs is paid once for all of them. A task of its own reads and writes, whichever of them come and go. Those who wait are woken by it, each for its answer.
//!
//! - this file: the connection, a request, and who reads and writes. `line`: what is made of bytes that come. `dissect`: the same of bytes from nowhere.

mod dissect;
mod line;

#[cfg(test)]
mod tests;

use std::cell::{Cell, RefCell};
use std::future::Future;
use std::io;
use std::pin::Pin;
use std::rc::{Rc, Weak};
use std::task::{Context, Poll, ready};
use std::time::Instant;

use bytes::{Bytes, BytesMut};
use http::{HeaderMap, Method};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use super::super::wire::Wire;
use super::super::{Counted, Early, ExchangeError, Reply};
use super::{Conn, READ, SCRATCH};
pub use dissect::{Told, dissect};
use line::{Begun, Flow, Line};

/// A connection that many share.
#[derive(Debug)]
pub(crate) struct Pipe {
    line: RefCell<Line>,
    pub(crate) opened: Instant,
    /// When the last answer ended.
    idle_since: Cell<Instant>,
    pub(crate) served: Cell<u32>,
    /// The answers that there had been when it was last looked at, if more were to come.
    seen: Cell<Option<u64>>,
    /// Since when the same answer is waited for, as far as anybody has looked.
    stuck_since: Cell<Option<Instant>>,
    _counted: Counted,
}

impl Pipe {
    /// Has many requests share a connection, on a thread that serves. It has carried one already, and is known to go on after that.
    pub(crate) fn of(conn: Conn) -> Rc<Self> {
        let Conn { wire, opened, idle_since, served, announced: _, _counted } = conn;
        let pipe = Rc::new(Self {
            line: RefCell::default(),
            opened,
            idle_since: Cell::new(idle_since),
            served: Cell::new(served),
            seen: Cell::new(None),
            stuck_since: Cell::new(None),
            _counted,
        });
        let driver = Driver { pipe: Rc::downgrade(&pipe), wire, rest: BytesMut::new(), unflushed: false };
        tokio::task::spawn_local(driver);
        pipe
    }

    /// Whether it takes one more request now, of so many at most.
    pub(crate) fn has_room(&self, most: u32) -> bool {
        let line = self.line.borrow();
        line.len() < most as usize && !line.is_closing() && !line.is_held_up() && self.stuck_since.get().is_none()
    }

    /// Requests that it has now.
    pub(crate) fn load(&self) -> usize {
        self.line.borrow().len()
    }

    /// Whether it takes no more, whatever is left of it.
    pub(crate) fn is_over(&self) -> bool {
        self.line.borrow().is_closing()
    }

    /// Whether it has shown that its backend does not get along with requests one behind the other.
    pub(crate) fn is_spoilt(&self) -> bool {
        self.line.borrow().is_spoilt()
    }

    /// How long nobody has used it; `None` while somebody does.
    pub(crate) fn idle_since(&self) -> Option<Instant> {
        self.line.borrow().is_idle().then(|| self.idle_since.get())
    }

    /// Looks whether it moves, which is done from time to time: where it does not, nobody else is to wait behind the answer that it has come to. Since when that is so.
    pub(crate) fn look(&self, now: Instant) -> Option<Instant> {
        let mut line = self.line.borrow_mut();
        let waits = (!line.is_idle()).then(|| line.answered());
        let is_stuck = waits.is_some() && waits == self.seen.replace(waits);
        if is_stuck {
            line.spare_those_behind();
        }
        let since = is_stuck.then(|| self.stuck_since.get().unwrap_or(now));
        self.stuck_since.set(since);
        since
    }
}

impl Drop for Pipe {
    fn drop(&mut self) {
        // It ends with this.
        self.line.get_mut().wake_driver();
    }
}

/// A request and its answer.
#[derive(Debug)]
pub(crate) struct Exchange {
    pipe: Rc<Pipe>,
    /// What its connection knows it by, as long as it has to know it.
    number: Option<usize>,
    /// All of the content, where it is here.
    whole: Option<Bytes>,
    length: Option<u64>,
    pub(crate) early: Early,
}

impl Exchange {
    /// Sends a request without content; `write` writes its head. It goes out with those of others.
    pub(crate) fn begin(pipe: &Rc<Pipe>, method: Method, write: impl FnOnce(&mut BytesMut)) -> Self {
        pipe.served.set(pipe.served.get().saturating_add(1));
        let number = pipe.line.borrow_mut().join(method, write);
        Self { pipe: Rc::clone(pipe), number: Some(number), whole: None, length: None, early: Early::default() }
    }

    /// The head of the answer.
    pub(crate) fn poll_reply(&mut self, context: &mut Context<'_>) -> Poll<Result<Reply, ExchangeError>> {
        let Some(number) = self.number else { return Poll::Ready(Err(ExchangeError::NoAnswer)) };
        let mut line = self.pipe.line.borrow_mut();
        if let Some(early) = line.take_early(number) {
            self.early = early;
        }
        let Some(begun) = line.take_head(number, context) else { return Poll::Pending };
        let Begun { reply, length, whole } = begun?;
        self.length = length;
        if whole.is_some() {
            self.whole = whole;
            self.number = None;
            line.leave(number);
        }
        Poll::Ready(Ok(reply))
    }

    /// The next part of the content; `None` at its end.
    pub(crate) fn poll_part(&mut self, context: &mut Context<'_>) -> Poll<Option<Result<Bytes, ExchangeError>>> {
        if let Some(whole) = self.take_rest() {
            return Poll::Ready((!whole.is_empty()).then_some(Ok(whole)));
        }
        let Some(number) = self.number else { return Poll::Ready(None) };
        match self.pipe.line.borrow_mut().take_part(number, context) {
            Some(part) => Poll::Ready(part),
            None => Poll::Pending,
        }
    }

    /// All of the answer's content, where that is here.
    pub(crate) fn take_rest(&mut self) -> Option<Bytes> {
        self.whole.take()
    }

    /// Bytes of content, where they are known.
    pub(crate) fn remaining(&self) -> Option<u64> {
        self.length
    }

    /// The fields that came after the content, once that has ended.
    pub(crate) fn trailers(&mut self) -> Option<HeaderMap> {
        self.pipe.line.borrow_mut().take_trailers(self.number?)
    }

    /// It has waited for long enough: what becomes of it. Where others come first, nothing is said of the backend by that.
    pub(crate) fn late(&mut self) -> ExchangeError {
        self.number.map_or(ExchangeError::Late, |number| self.pipe.line.borrow_mut().late(number))
    }
}

impl Drop for Exchange {
    fn drop(&mut self) {
        if let Some(number) = self.number {
            self.pipe.line.borrow_mut().leave(number);
        }
    }
}

/// Who reads and writes, for as long as somebody has the connection.
struct Driver {
    pipe: Weak<Pipe>,
    wire: Wire,
    /// What was read, and is not understood yet.
    rest: BytesMut,
    unflushed: bool,
}

impl Future for Driver {
    type Output = ();

    fn poll(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<()> {
        let this = self.get_mut();
        let Some(pipe) = this.pipe.upgrade() else { return Poll::Ready(()) };
        let line = &mut *pipe.line.borrow_mut();
        line.wait(context);
        let worked = !line.is_idle();
        // What comes before a request is written is no answer to it.
        if let Poll::Ready(first) = this.poll_read(line, context) {
            if let Some(error) = &first {
                tracing::debug!(%error, "a connection to a backend that requests share ends");
            }
            line.fail(first);
        } else if this.poll_write(line, context).is_err() {
            // What it had to say before that was read.
            line.fail(None);
        }
        if worked && line.is_idle() {
            pipe.idle_since.set(Instant::now());
        }
        if line.is_over() { Poll::Ready(()) } else { Poll::Pending }
    }
}

impl Driver {
    /// Takes in what comes. It ends with the connection, and with what there is to say of the answer that was to come first.
    fn poll_read(&mut self, line: &mut Line, context: &mut Context<'_>) -> Poll<Option<ExchangeError>> {
        let mut flow = match line.is_full() {
            true => line.understand(&mut self.rest),
            false => Ok(Flow::More),
        };
        loop {
            match flow {
                Err(broken) => return Poll::Ready(broken.into()),
                Ok(Flow::Full) => return Poll::Pending,
                Ok(Flow::More) if line.is_over() => return Poll::Ready(None),
                Ok(Flow::More) => {}
            }
            // Heads are read where all read theirs, and content, or what a head had a beginning of, where it stays.
            let read = match self.rest.is_empty() && !line.is_held_up() {
                true => ready!(self.poll_read_heads(line, context)),
                false => ready!(self.poll_read_on(line, context)),
            };
            flow = match read {
                Ok(Some(flow)) => flow,
                Ok(None) => return Poll::Ready(line.ended(!self.rest.is_empty())),
                Err(error) => {
                    let begun = line.is_within_content() || !self.rest.is_empty();
                    return Poll::Ready(begun.then(|| error.into()));
                }
            };
        }
    }

    fn poll_read_heads(&mut self, line: &mut Line, context: &mut Context<'_>) -> Poll<io::Result<Option<Understood>>> {
        self.rest = BytesMut::new();
        SCRATCH.with_borrow_mut(|scratch| {
            let mut buffer = ReadBuf::new(scratch);
            ready!(Pin::new(&mut self.wire).poll_read(context, &mut buffer))?;
            let mut read = buffer.filled();
            if read.is_empty() {
                return Poll::Ready(Ok(None));
            }
            let understood = line.understand(&mut read);
            self.rest.extend_from_slice(read);
            Poll::Ready(Ok(Some(understood)))
        })
    }

    fn poll_read_on(&mut self, line: &mut Line, context: &mut Context<'_>) -> Poll<io::Result<Option<Understood>>> {
        self.rest.reserve(READ);
        let read = ready!(tokio_util::io::poll_read_buf(Pin::new(&mut self.wire), context, &mut self.rest))?;
        Poll::Ready(Ok((read > 0).then(|| line.understand(&mut self.rest))))
    }

    /// Writes what requests have to say.
    fn poll_write(&mut self, line: &mut Line, context: &mut Context<'_>) -> io::Result<()> {
        while !line.unwritten().is_empty() {
            match Pin::new(&mut self.wire).poll_write(context, line.unwritten()) {
                Poll::Ready(Ok(0)) => return Err(io::ErrorKind::WriteZero.into()),
                Poll::Ready(written) => line.wrote(written?),
                Poll::Pending => break,
            }
            self.unflushed = true;
        }
        if self.unflushed
            && let Poll::Ready(flushed) = Pin::new(&mut self.wire).poll_flush(context)
        {
            self.unflushed = false;
            flushed?;
        }
        Ok(())
    }
}

/// What came of bytes.
type Understood = Result<Flow, line::Broken>;
