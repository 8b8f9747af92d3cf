//! Gathers what is written in one turn, so that the answers to many streams leave together: in one TLS record and one call to the kernel.

use std::cell::RefCell;
use std::io;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll, ready};

use bytes::{Buf, BytesMut};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

/// Bytes that are gathered before they have to leave.
const GATHERED: usize = 64 << 10;
/// Room that is made at first.
const FIRST: usize = 16 << 10;
/// Room that is kept from one turn to the next; an idle connection holds none.
const KEPT: usize = 4 << 10;

/// A stream whose writes wait for [`end_turn`](Self::end_turn).
pub(super) struct Cork<S>(Rc<RefCell<Corked<S>>>);

struct Corked<S> {
    stream: S,
    gathered: BytesMut,
}

impl<S> Cork<S> {
    pub(super) fn new(stream: S) -> Self {
        Self(Rc::new(RefCell::new(Corked { stream, gathered: BytesMut::new() })))
    }

    /// The same stream, for who ends a turn.
    pub(super) fn share(&self) -> Self {
        Self(Rc::clone(&self.0))
    }
}

impl<S: AsyncWrite + Unpin> Cork<S> {
    /// Lets what was gathered go. Nothing else is there to be done: ready only with an error.
    pub(super) fn end_turn<T>(&self, context: &mut Context<'_>) -> Poll<io::Result<T>> {
        let corked = &mut *self.0.borrow_mut();
        ready!(corked.drain(context))?;
        ready!(Pin::new(&mut corked.stream).poll_flush(context))?;
        Poll::Pending
    }
}

impl<S: AsyncWrite + Unpin> Corked<S> {
    fn drain(&mut self, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        while !self.gathered.is_empty() {
            let written = ready!(Pin::new(&mut self.stream).poll_write(context, &self.gathered))?;
            if written == 0 {
                return Poll::Ready(Err(io::ErrorKind::WriteZero.into()));
            }
            self.gathered.advance(written);
        }
        if self.gathered.capacity() > KEPT {
            self.gathered = BytesMut::new();
        }
        Poll::Ready(Ok(()))
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for Cork<S> {
    fn poll_read(self: Pin<&mut Self>, context: &mut Context<'_>, buffer: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.0.borrow_mut().stream).poll_read(context, buffer)
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for Cork<S> {
    fn poll_write(self: Pin<&mut Self>, context: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        let corked = &mut *self.0.borrow_mut();
        if corked.gathered.len() >= GATHERED {
            ready!(corked.drain(context))?;
        }
        if corked.gathered.capacity() == 0 {
            corked.gathered.reserve(FIRST);
        }
        let taken = bytes.len().min(GATHERED.saturating_sub(corked.gathered.len()));
        corked.gathered.extend_from_slice(bytes.get(..taken).unwrap_or_default());
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
