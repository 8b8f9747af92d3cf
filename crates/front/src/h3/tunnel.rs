//! A stream that was switched to another protocol: bytes in DATA frames, both ways (RFC 9114 section 4.4, RFC 9220).

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use bytes::{Buf, Bytes, BytesMut};
use quinn::SendStream;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use super::Code;
use super::frame::{self, DATA};
use super::request::Receiving;

/// Bytes of a frame at most.
const PIECE: usize = 16 << 10;

/// The stream as bytes.
pub(super) struct Tunnel {
    send: SendStream,
    receive: Receiving,
    /// What has come and is not read yet.
    read: Bytes,
    /// A frame that is not written yet.
    frame: BytesMut,
    ended: bool,
    /// The client has broken it off.
    given_up: bool,
}

impl Tunnel {
    pub(super) fn new(send: SendStream, receive: Receiving) -> Self {
        Self { send, receive, read: Bytes::new(), frame: BytesMut::new(), ended: false, given_up: false }
    }

    /// Writes what is left of the frame under way.
    fn poll_frame(&mut self, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        while !self.frame.is_empty() {
            match ready!(Pin::new(&mut self.send).poll_write(context, &self.frame)) {
                Ok(written) => self.frame.advance(written),
                Err(error) => return Poll::Ready(Err(self.broken(error.into()))),
            }
        }
        Poll::Ready(Ok(()))
    }

    /// Takes down whether the client has broken it off.
    fn broken(&mut self, error: io::Error) -> io::Error {
        self.given_up |= error.kind() == io::ErrorKind::ConnectionReset;
        error
    }
}

impl AsyncRead for Tunnel {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        while self.read.is_empty() {
            match ready!(self.receive.poll_bytes(context)) {
                Ok(Some(bytes)) => self.read = bytes,
                Ok(None) => return Poll::Ready(Ok(())),
                Err(error) => return Poll::Ready(Err(self.broken(error))),
            }
        }
        let taken = self.read.len().min(buffer.remaining());
        buffer.put_slice(self.read.get(..taken).unwrap_or_default());
        self.read.advance(taken);
        Poll::Ready(Ok(()))
    }
}

impl AsyncWrite for Tunnel {
    fn poll_write(mut self: Pin<&mut Self>, context: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        ready!(self.poll_frame(context))?;
        let part = bytes.get(..bytes.len().min(PIECE)).unwrap_or_default();
        if !part.is_empty() {
            let mut header = Vec::with_capacity(9);
            frame::write_integer(&mut header, DATA);
            frame::write_integer(&mut header, part.len() as u64);
            self.frame.extend_from_slice(&header);
            self.frame.extend_from_slice(part);
        }
        // What the client has no room for goes before the next part.
        if let Poll::Ready(Err(error)) = self.poll_frame(context) {
            return Poll::Ready(Err(error));
        }
        Poll::Ready(Ok(part.len()))
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.poll_frame(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        ready!(self.poll_frame(context))?;
        if !std::mem::replace(&mut self.ended, true) {
            self.send.finish().map_err(io::Error::other)?;
        }
        Poll::Ready(Ok(()))
    }
}

impl Drop for Tunnel {
    fn drop(&mut self) {
        // As a connection that is closed in the middle (RFC 9114 section 4.4). One that is over needs no telling.
        if !self.ended {
            let _ = self.send.reset(Code::CONNECT_ERROR.into());
        }
        // As of requests: a client may give up as many as it lets come to an end.
        if self.ended || self.given_up {
            self.receive.switched(self.given_up);
        }
    }
}
