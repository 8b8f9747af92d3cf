//! The content of a response, whatever it is made of, to a stream.

use std::io;
use std::task::{Context, Poll};

use bytes::Bytes;
use futures_util::StreamExt;
use http::HeaderMap;

use super::Exchange;
use crate::door::pace::Pace;
use crate::file::{self, DirectReader, FileTransfer};
use crate::message::{Body, BodyError, FilePart, Streamed, Trailers, Transfer};

/// Bytes of a body that are handed over at once.
pub(crate) const PIECE: usize = 64 << 10;

/// The sending side of a stream.
pub(crate) trait Sink {
    /// Bytes that the client has room for, at least one and `wanted` at most. One that makes it too slowly loses the stream, and what it holds of
    /// our memory.
    async fn room(&mut self, pace: &Pace, wanted: usize) -> Result<usize, SendError>;

    /// Hands over what there is room for; with the last of it the stream ends.
    async fn send(&mut self, pace: &Pace, part: Bytes, last: bool) -> Result<(), SendError>;

    /// Ends the stream with fields that come after the content.
    async fn send_trailers(&mut self, pace: &Pace, fields: HeaderMap) -> Result<(), SendError>;

    /// Ready once the client has no more use for it.
    fn poll_unwanted(&mut self, context: &mut Context<'_>) -> Poll<SendError>;

    /// Ends the stream so that the client knows that something is missing.
    fn reset(&mut self);
}

/// Why a response did not reach its end.
#[derive(Debug, thiserror::Error)]
pub(crate) enum SendError {
    #[error(transparent)]
    Http2(#[from] h2::Error),
    #[error("{0}")]
    Http3(quinn::WriteError),
    #[error("the client has closed the stream")]
    Closed,
    #[error("the client takes it too slowly")]
    Stalled,
    #[error("its content failed: {0}")]
    Content(io::Error),
}

impl Exchange {
    /// Sends a body.
    pub(crate) async fn send_body(&self, sink: &mut impl Sink, body: Body, last: bool) -> Result<(), SendError> {
        match body {
            body if body.is_empty() => sink.send(self.pace(), Bytes::new(), last).await,
            Body::Empty => Ok(()),
            Body::Full(content) => self.send_part(sink, content, last).await,
            Body::File(part) => self.send_file(sink, part, last).await,
            Body::Pieces(pieces) => {
                let count = pieces.len();
                for (index, piece) in pieces.into_iter().enumerate() {
                    Box::pin(self.send_body(sink, piece, last && index + 1 == count)).await?;
                }
                Ok(())
            }
            Body::Stream(body) => self.send_stream(sink, body).await,
        }
    }

    async fn send_file(&self, sink: &mut impl Sink, part: FilePart, last: bool) -> Result<(), SendError> {
        let (mut at, end) = (part.offset, part.offset.saturating_add(part.length));
        let metrics = &self.worker.metrics;
        if let Transfer::Direct(direct) = &part.transfer {
            metrics.file_parts.of(FileTransfer::Direct).inc();
            let mut reader = DirectReader::new(&part, direct);
            loop {
                let read = match self.pace().ours(reader.next()).await {
                    Ok(Some(read)) => read,
                    Ok(None) => return Ok(()),
                    Err(error) => return failed(sink, error),
                };
                metrics.direct_refused.add(read.refused.into());
                at += read.piece.as_ref().len() as u64;
                self.send_part(sink, Bytes::from_owner(read.piece), last && at == end).await?;
            }
        }
        metrics.file_parts.of(FileTransfer::Read).inc();
        while at < end {
            // Read when there is room for it: what waits for a slow client is on disk, not in memory.
            let wanted = usize::try_from(end - at).unwrap_or(usize::MAX).min(PIECE);
            let mut piece = vec![0; sink.room(self.pace(), wanted).await?.min(wanted)];
            let piece = match file::read_cached(&part.file, &mut piece, at) {
                Ok(Some(0)) => Err(io::ErrorKind::UnexpectedEof.into()),
                Ok(Some(read)) => {
                    piece.truncate(read);
                    Ok(Bytes::from(piece))
                }
                Ok(None) => {
                    metrics.file_waits.inc();
                    self.pace().ours(file::read(&part.file, at..end, piece.len())).await
                }
                Err(error) => Err(error),
            };
            let piece = match piece {
                Ok(piece) => piece,
                Err(error) => return failed(sink, error),
            };
            at += piece.len() as u64;
            self.send_part(sink, piece, last && at == end).await?;
        }
        Ok(())
    }

    async fn send_stream(&self, sink: &mut impl Sink, mut body: Streamed) -> Result<(), SendError> {
        let mut left = body.length;
        loop {
            match self.pace().ours(next_or_unwanted(sink, &mut body)).await? {
                Some(Ok(part)) => {
                    if let Some(announced) = left {
                        let Some(rest) = announced.checked_sub(part.len() as u64) else {
                            return failed(sink, io::Error::other("it is longer than was said"));
                        };
                        left = Some(rest);
                    }
                    self.send_part(sink, part, false).await?;
                }
                Some(Err(error)) => return failed(sink, io::Error::other(error)),
                None if left.is_some_and(|left| left > 0) => {
                    return failed(sink, io::ErrorKind::UnexpectedEof.into());
                }
                None => {
                    return match body.trailers.as_ref().and_then(Trailers::take) {
                        Some(trailers) => sink.send_trailers(self.pace(), trailers).await,
                        None => sink.send(self.pace(), Bytes::new(), true).await,
                    };
                }
            }
        }
    }

    async fn send_part(&self, sink: &mut impl Sink, mut part: Bytes, last: bool) -> Result<(), SendError> {
        while !part.is_empty() {
            let room = sink.room(self.pace(), part.len().min(PIECE)).await?;
            let piece = part.split_to(room.min(part.len()));
            self.count(piece.len());
            sink.send(self.pace(), piece, last && part.is_empty()).await?;
        }
        Ok(())
    }
}

fn failed(sink: &mut impl Sink, error: io::Error) -> Result<(), SendError> {
    sink.reset();
    Err(SendError::Content(error))
}

/// The next part, unless the client has no more use for it.
async fn next_or_unwanted(
    sink: &mut impl Sink,
    body: &mut Streamed,
) -> Result<Option<Result<Bytes, BodyError>>, SendError> {
    std::future::poll_fn(|context| {
        if let Poll::Ready(error) = sink.poll_unwanted(context) {
            return Poll::Ready(Err(error));
        }
        body.parts.poll_next_unpin(context).map(Ok)
    })
    .await
}
