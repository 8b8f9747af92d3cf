//! A stream that was switched to another protocol: bytes in DATA frames, both ways (RFC 8441 section 5).

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use bytes::{Buf, Bytes};
use h2::{Reason, RecvStream, SendStream};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use super::request::failed;

/// A stream of HTTP/2 as bytes, whichever side of it this is.
pub struct Tunnel {
    send: SendStream<Bytes>,
    receive: RecvStream,
    /// What has come and is not read yet.
    read: Bytes,
    ended: bool,
}

impl Tunnel {
    /// With both sides of it.
    pub fn new(send: SendStream<Bytes>, receive: RecvStream) -> Self {
        Self { send, receive, read: Bytes::new(), ended: false }
    }
}

impl AsyncRead for Tunnel {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        while self.read.is_empty() {
            match ready!(self.receive.poll_data(context)) {
                Some(part) => self.read = part.map_err(failed)?,
                None => return Poll::Ready(Ok(())),
            }
        }
        let taken = self.read.len().min(buffer.remaining());
        buffer.put_slice(self.read.get(..taken).unwrap_or_default());
        self.read.advance(taken);
        // One that has ended meanwhile needs no window.
        let _ = self.receive.flow_control().release_capacity(taken);
        Poll::Ready(Ok(()))
    }
}

impl AsyncWrite for Tunnel {
    fn poll_write(mut self: Pin<&mut Self>, context: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        if bytes.is_empty() {
            return Poll::Ready(Ok(0));
        }
        self.send.reserve_capacity(bytes.len());
        let room = match self.send.capacity() {
            0 => match ready!(self.send.poll_capacity(context)) {
                Some(room) => room.map_err(failed)?,
                None => return Poll::Ready(Err(io::ErrorKind::BrokenPipe.into())),
            },
            room => room,
        };
        let taken = room.min(bytes.len());
        let part = Bytes::copy_from_slice(bytes.get(..taken).unwrap_or_default());
        self.send.send_data(part, false).map_err(failed)?;
        Poll::Ready(Ok(taken))
    }

    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        // The connection sends what it has.
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        if !std::mem::replace(&mut self.ended, true) {
            self.send.send_data(Bytes::new(), true).map_err(failed)?;
        }
        Poll::Ready(Ok(()))
    }
}

impl Drop for Tunnel {
    fn drop(&mut self) {
        // As a connection that is closed in the middle (RFC 8441 section 5).
        if !self.ended {
            self.send.send_reset(Reason::CANCEL);
        }
    }
}
