//! Content that comes part by part.

use std::future::poll_fn;
use std::io;
use std::task::Poll;

use bytes::Bytes;
use futures_util::StreamExt;

use super::{Connection, SMALL, Transport};
use crate::h1::response::{Follows, push_chunk_size, push_field};
use crate::message::{BodyError, Streamed, Trailers};

/// Bytes of small parts that go out together at most.
const GATHERED: usize = 16 << 10;

impl<S: Transport> Connection<S> {
    /// Sends the head and what follows it. What is small goes along with what is there right after it; nothing waits for what is not there yet.
    pub(super) async fn send_stream(&self, head: &[u8], mut stream: Streamed, follows: Follows) -> io::Result<()> {
        let mut out = Vec::with_capacity(head.len() + SMALL);
        out.extend_from_slice(head);
        let mut promised = stream.length;
        let failed = loop {
            let part = match self.next_part(&mut stream, &mut out).await? {
                None => break None,
                Some(Err(error)) => break Some(io::Error::other(error)),
                Some(Ok(part)) => part,
            };
            if let Some(left) = &mut promised {
                match left.checked_sub(part.len() as u64) {
                    Some(less) => *left = less,
                    None => break Some(io::Error::other("the body is longer than it said")),
                }
            }
            self.send_part(&part, &mut out, follows).await?;
        };
        self.allow(|options| options.send_timeout);
        let failed = failed.or_else(|| {
            promised.filter(|left| *left > 0).map(|_| io::Error::other("the body is shorter than it said"))
        });
        if failed.is_none() && follows == Follows::Chunks {
            out.extend_from_slice(b"0\r\n");
            if let Some(trailers) = stream.trailers.as_ref().and_then(Trailers::take) {
                trailers.iter().for_each(|(name, value)| push_field(&mut out, name.as_str(), value.as_bytes()));
            }
            out.extend_from_slice(b"\r\n");
        }
        // Of content that breaks off, the client gets what there was.
        self.write([&out, &[], &[]]).await?;
        failed.map_or(Ok(()), Err)
    }

    /// The next part that is not empty. What has gathered goes out before one is waited for.
    async fn next_part(
        &self,
        stream: &mut Streamed,
        out: &mut Vec<u8>,
    ) -> io::Result<Option<Result<Bytes, BodyError>>> {
        loop {
            let at_once = poll_fn(|context| Poll::Ready(stream.parts.as_mut().poll_next(context))).await;
            let part = match at_once {
                Poll::Ready(part) => part,
                Poll::Pending => {
                    self.send_gathered(out).await?;
                    // Whoever makes the content takes its time; the client's begins with the next write.
                    self.pulse().forever();
                    stream.parts.next().await
                }
            };
            self.allow(|options| options.send_timeout);
            match part {
                Some(Ok(part)) if part.is_empty() => {}
                part => return Ok(part),
            }
        }
    }

    /// Sends a part, or puts it to what has gathered.
    async fn send_part(&self, part: &[u8], out: &mut Vec<u8>, follows: Follows) -> io::Result<()> {
        let chunked = follows == Follows::Chunks;
        if chunked {
            push_chunk_size(out, part.len());
        }
        let end: &[u8] = if chunked { b"\r\n" } else { b"" };
        if part.len() <= SMALL && out.len() + part.len() <= GATHERED {
            out.extend_from_slice(part);
            out.extend_from_slice(end);
            return Ok(());
        }
        self.write([out, part, end]).await?;
        out.clear();
        self.flush().await
    }

    async fn send_gathered(&self, out: &mut Vec<u8>) -> io::Result<()> {
        if out.is_empty() {
            return Ok(());
        }
        self.write([out, &[], &[]]).await?;
        out.clear();
        self.flush().await
    }
}
