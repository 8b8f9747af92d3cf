//! Gathers what is written in one turn, so that the answers to many streams leave together: in one TLS record and one call to the kernel. What passes
//! is looked at on its way.

use std::cell::RefCell;
use std::io;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll, ready};

use bytes::{Buf, BytesMut};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use super::watch::{Breach, Watch};
use crate::door::metrics::Flood;
use crate::door::worker::Worker;

/// Bytes that are gathered before they have to leave.
const GATHERED: usize = 64 << 10;
/// Of which so much that its client does not take is moved to where it takes no more than it is.
const LITTLE: usize = 16 << 10;
/// A stream whose writes wait for [`end_turn`](Self::end_turn).
pub(super) struct Cork<S>(Rc<RefCell<Corked<S>>>);

struct Corked<S> {
    stream: S,
    gathered: BytesMut,
    watch: Watch,
    worker: Rc<Worker>,
}

impl<S> Cork<S> {
    pub(super) fn new(stream: S, watch: Watch, worker: &Rc<Worker>) -> Self {
        let worker = Rc::clone(worker);
        Self(Rc::new(RefCell::new(Corked { stream, gathered: BytesMut::new(), watch, worker })))
    }

    /// Why the connection has to end, if it has to. Nothing is read from then on.
    pub(super) fn breach(&self) -> Option<Breach> {
        self.0.borrow().watch.breach()
    }

    /// What there was too much of, where the crate says that there was.
    pub(super) fn excess(&self) -> Flood {
        self.0.borrow().watch.excess()
    }

    /// The same stream, for who ends a turn.
    pub(super) fn share(&self) -> Self {
        Self(Rc::clone(&self.0))
    }
}

impl<S: AsyncRead + AsyncWrite + Unpin> Cork<S> {
    /// Lets what was gathered go. Nothing else is there to be done: ready only with an error.
    pub(super) fn end_turn<T>(&self, context: &mut Context<'_>) -> Poll<io::Result<T>> {
        let corked = &mut *self.0.borrow_mut();
        corked.watch.end_turn();
        if corked.drain(context)?.is_pending() {
            corked.shrink();
            return Poll::Pending;
        }
        ready!(Pin::new(&mut corked.stream).poll_flush(context))?;
        Poll::Pending
    }

    /// Writes past the crate, ends our side, and is ready with what that came to.
    pub(super) fn poll_last(&self, context: &mut Context<'_>, words: &mut &[u8]) -> Poll<io::Result<()>> {
        let corked = &mut *self.0.borrow_mut();
        corked.gathered.extend_from_slice(std::mem::take(words));
        ready!(corked.drain(context))?;
        Pin::new(&mut corked.stream).poll_shutdown(context)
    }

    /// Ignores what the client still sends, until it ends its side or has sent `most` bytes: a reset would take our last words from it.
    pub(super) fn poll_ignore(&self, context: &mut Context<'_>, most: &mut usize) -> Poll<io::Result<()>> {
        let Corked { stream, worker, .. } = &mut *self.0.borrow_mut();
        let mut scratch = worker.scratch.borrow_mut();
        loop {
            let mut buffer = ReadBuf::new(&mut scratch);
            ready!(Pin::new(&mut *stream).poll_read(context, &mut buffer))?;
            match most.checked_sub(buffer.filled().len().max(1)) {
                Some(left) if !buffer.filled().is_empty() => *most = left,
                _ => return Poll::Ready(Ok(())),
            }
        }
    }
}

impl<S: AsyncWrite + Unpin> Corked<S> {
    fn drain(&mut self, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        if self.gathered.is_empty() {
            return Poll::Ready(Ok(()));
        }
        while !self.gathered.is_empty() {
            let written = ready!(Pin::new(&mut self.stream).poll_write(context, &self.gathered))?;
            if written == 0 {
                return Poll::Ready(Err(io::ErrorKind::WriteZero.into()));
            }
            self.gathered.advance(written);
        }
        // An idle connection holds no room; the thread keeps one for whichever writes next.
        *self.worker.gathered.borrow_mut() = std::mem::take(&mut self.gathered);
        Poll::Ready(Ok(()))
    }
}

impl<S> Corked<S> {
    /// What a client does not take now may have to wait for long: where that is little, it takes little room.
    fn shrink(&mut self) {
        if self.gathered.len() <= LITTLE && self.gathered.capacity() > 2 * LITTLE {
            let left = BytesMut::from(&*self.gathered);
            *self.worker.gathered.borrow_mut() = std::mem::replace(&mut self.gathered, left);
        }
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for Cork<S> {
    fn poll_read(self: Pin<&mut Self>, context: &mut Context<'_>, buffer: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let Corked { stream, watch, worker, .. } = &mut *self.0.borrow_mut();
        if watch.breach().is_some() {
            return Poll::Pending;
        }
        let before = buffer.filled().len();
        ready!(Pin::new(stream).poll_read(context, buffer))?;
        let read = buffer.filled().get(before..).unwrap_or_default();
        let passes = watch.receive(read, worker.now().elapsed());
        if passes < read.len() {
            buffer.set_filled(before + passes);
            // Nobody is woken: whoever polled the crate looks for a breach.
            return if passes == 0 { Poll::Pending } else { Poll::Ready(Ok(())) };
        }
        Poll::Ready(Ok(()))
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for Cork<S> {
    fn poll_write(self: Pin<&mut Self>, context: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        let corked = &mut *self.0.borrow_mut();
        if corked.gathered.len() >= GATHERED {
            ready!(corked.drain(context))?;
        }
        if corked.gathered.is_empty() {
            corked.gathered = std::mem::take(&mut *corked.worker.gathered.borrow_mut());
            corked.gathered.clear();
            corked.gathered.reserve(GATHERED);
        }
        let taken = bytes.len().min(GATHERED.saturating_sub(corked.gathered.len()));
        let before = corked.gathered.len();
        corked.gathered.extend_from_slice(bytes.get(..taken).unwrap_or_default());
        corked.watch.send(corked.gathered.get_mut(before..).unwrap_or_default(), corked.worker.now().elapsed());
        Poll::Ready(Ok(taken))
    }

    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        // The end of the turn does that.
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        let corked = &mut *self.0.borrow_mut();
        ready!(corked.drain(context))?;
        Pin::new(&mut corked.stream).poll_shutdown(context)
    }
}
