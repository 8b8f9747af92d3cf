//! A connection that was switched to another protocol: bytes go through, both ways, whatever they are.

use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use bytes::{Buf, Bytes, BytesMut};
use outwork_front::message::Duplex;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::time::{Instant, sleep_until};

use crate::metrics::{Drained, ProxyMetrics};
use crate::upstream::ExchangeError;
use crate::upstream::under_way::Present;

/// Bytes that are on their way in one direction at most.
const PIECE: usize = 16 << 10;

/// One direction.
struct Direction {
    buffer: BytesMut,
    /// The source has ended.
    ended: bool,
    /// So has, after it, what it goes to.
    closed: bool,
}

impl Direction {
    fn new(read: &[u8]) -> Self {
        Self { buffer: BytesMut::from(read), ended: false, closed: false }
    }

    /// Moves what there is; `Ready` at the end. `moved` is told of every byte.
    fn poll<R: AsyncRead + Unpin + ?Sized, W: AsyncWrite + Unpin + ?Sized>(
        &mut self,
        from: &mut R,
        to: &mut W,
        context: &mut Context<'_>,
        moved: &mut bool,
    ) -> Poll<io::Result<()>> {
        loop {
            while !self.buffer.is_empty() {
                let written = ready!(Pin::new(&mut *to).poll_write(context, &self.buffer))?;
                if written == 0 {
                    return Poll::Ready(Err(io::ErrorKind::WriteZero.into()));
                }
                self.buffer.advance(written);
                *moved = true;
            }
            if self.ended {
                if !self.closed {
                    ready!(Pin::new(&mut *to).poll_shutdown(context))?;
                    self.closed = true;
                }
                return Poll::Ready(Ok(()));
            }
            self.buffer.reserve(PIECE);
            match tokio_util::io::poll_read_buf(Pin::new(&mut *from), context, &mut self.buffer) {
                Poll::Ready(read) => {
                    self.ended = read? == 0;
                    *moved = true;
                }
                Poll::Pending => {
                    // Most stand still most of the time: what is not needed meanwhile is not held.
                    self.buffer = BytesMut::new();
                    ready!(Pin::new(&mut *to).poll_flush(context))?;
                    return Poll::Pending;
                }
            }
        }
    }
}

/// Moves bytes until both sides have ended, one fails, nothing moves for too long, or the backend may not go on with it. `read` is what came from the backend already.
pub(super) async fn run(
    mut client: Box<dyn Duplex>,
    mut backend: Box<dyn Duplex>,
    read: Bytes,
    (patience, present): (Duration, Present),
    metrics: &Arc<ProxyMetrics>,
) {
    metrics.tunnels.inc();
    let _counted = Counted(metrics);
    let (mut out, mut back) = (Direction::new(&[]), Direction::new(&read));
    let still = sleep_until(Instant::now() + patience);
    tokio::pin!(still);
    let ended: io::Result<()> = std::future::poll_fn(|context| {
        if present.poll_over(context).is_ready() {
            metrics.drained.of(Drained::Tunnel).inc();
            return Poll::Ready(Err(io::Error::other(ExchangeError::Drained)));
        }
        let mut moved = false;
        let there = out.poll(&mut *client, &mut *backend, context, &mut moved)?;
        let here = back.poll(&mut *backend, &mut *client, context, &mut moved)?;
        if there.is_ready() && here.is_ready() {
            return Poll::Ready(Ok(()));
        }
        if moved {
            still.as_mut().reset(Instant::now() + patience);
        }
        still.as_mut().poll(context).map(|()| Err(io::ErrorKind::TimedOut.into()))
    })
    .await;
    if let Err(error) = ended {
        tracing::debug!(%error, "a connection that was switched to another protocol ends");
    }
}

/// A tunnel, as long as this is there.
struct Counted<'a>(&'a ProxyMetrics);

impl Drop for Counted<'_> {
    fn drop(&mut self) {
        self.0.tunnels.dec();
    }
}
