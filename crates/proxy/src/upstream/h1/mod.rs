//! Requests over HTTP/1.1 (RFC 9112).
//!
//! An [`Exchange`] has a connection for as long as one request and its answer last. The body of the request goes out while the answer comes in, whoever of
//! the two is looked at: a backend that answers before it has read everything, or that answers bit by bit what it reads, gets along.
//!
//! - `head`: the head of an answer. `pipe`: connections that many requests share.

mod head;
pub(crate) mod pipe;

use std::cell::RefCell;
use std::io::{self, IoSlice};
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll, Waker, ready};
use std::time::Instant;

use bytes::{Buf, Bytes, BytesMut};
use http::{HeaderMap, Method, StatusCode};
use outwork_front::h1::{Decoder, Framing, Piece};
use outwork_front::message::BodyError;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use super::wire::Wire;
use super::{Body, Counted, Early, ExchangeError, Reply};
use crate::announce::Announced;
use head::{Frame, Head};

/// Bytes that are read at once.
const READ: usize = 64 << 10;

/// Content that is copied behind what goes before it.
const SMALL: usize = 4 << 10;
/// Bytes that are written at once, but for larger parts.
const GATHERED: usize = 16 << 10;

thread_local! {
    /// What heads are read into. Nearly always one read brings a whole one.
    static SCRATCH: RefCell<Box<[u8]>> = RefCell::new(vec![0; READ].into());
}

/// A connection that is open.
#[derive(Debug)]
pub(crate) struct Conn {
    wire: Wire,
    pub(crate) opened: Instant,
    /// When its last answer ended.
    pub(crate) idle_since: Instant,
    pub(crate) served: u32,
    /// Whose requests it carries, where the backend was told.
    pub(crate) announced: Option<Rc<Announced>>,
    _counted: Counted,
}

impl Conn {
    pub(crate) fn new(wire: Wire, now: Instant, counted: Counted) -> Self {
        Self { wire, opened: now, idle_since: now, served: 0, announced: None, _counted: counted }
    }

    /// Whether nothing has come since the last answer: neither its end, nor what nobody asked for. It costs no system call unless something has.
    pub(crate) fn is_quiet(&mut self) -> bool {
        let mut space = [0; 1];
        let mut buffer = ReadBuf::new(&mut space);
        let mut context = Context::from_waker(Waker::noop());
        Pin::new(&mut self.wire).poll_read(&mut context, &mut buffer).is_pending()
    }
}

/// A request under way.
#[derive(Debug)]
pub(crate) struct Exchange {
    conn: Conn,
    method: Method,
    upload: Upload,
    /// What was read, and is not understood or given on yet.
    input: BytesMut,
    /// What was read with the head, before all of that: it lies in one piece with the fields.
    behind: Bytes,
    download: Download,
    /// Fields that came after the content.
    trailers: Option<HeaderMap>,
    keep_alive: bool,
    /// Bytes of content.
    pub(crate) sent: u64,
    pub(crate) early: Early,
}

/// The request on its way out.
#[derive(Debug)]
struct Upload {
    /// What is to be written before anything else.
    out: BytesMut,
    /// The part of the body that is being written.
    part: Bytes,
    /// What comes after it.
    end: &'static [u8],
    body: Source,
    chunked: bool,
    /// The backend takes nothing more.
    refused: bool,
}

/// Where the body comes from.
#[derive(Debug)]
enum Source {
    /// There is no more.
    Done,
    /// The backend has to ask for it first.
    Held(Body),
    Open(Body),
}

/// The answer on its way in.
#[derive(Debug)]
enum Download {
    Head,
    Framed(Decoder),
    UntilClose,
    Done,
}

impl Exchange {
    /// Sends a request whose head is written already. `body` follows it, in chunks where its length is not in the head; where it is `held`, once
    /// the backend asks for it.
    pub(crate) fn new(
        conn: Conn,
        method: Method,
        head: BytesMut,
        body: Option<Body>,
        (chunked, held): (bool, bool),
    ) -> Self {
        let body = match body {
            None => Source::Done,
            Some(body) if held => Source::Held(body),
            Some(body) => Source::Open(body),
        };
        let upload = Upload { out: head, part: Bytes::new(), end: b"", body, chunked, refused: false };
        let (input, behind, download) = (BytesMut::new(), Bytes::new(), Download::Head);
        let (trailers, early) = (None, Early::default());
        Self { conn, method, upload, input, behind, download, trailers, keep_alive: false, sent: 0, early }
    }

    /// The head of the answer. Answers that come before it are kept apart, but for the switch to another protocol.
    pub(crate) fn poll_reply(&mut self, context: &mut Context<'_>) -> Poll<Result<Reply, ExchangeError>> {
        loop {
            let uploading = self.poll_upload(context);
            if let Poll::Ready(Err(error @ ExchangeError::Client(_))) = uploading {
                return Poll::Ready(Err(error));
            }
            let head = ready!(self.poll_head(context))?;
            let reply = Reply { status: head.status, headers: head.headers };
            match reply.status {
                StatusCode::SWITCHING_PROTOCOLS => {
                    self.download = Download::UntilClose;
                    return Poll::Ready(Ok(reply));
                }
                StatusCode::CONTINUE => self.release(),
                status if status.is_informational() => self.early.put(status, reply.headers),
                _ => {
                    self.keep_alive = head.keep_alive;
                    self.download = match head.framing {
                        Frame::UntilClose => Download::UntilClose,
                        Frame::Framed(Framing::None | Framing::Length(0)) => Download::Done,
                        Frame::Framed(framing) => Download::Framed(Decoder::new(framing)),
                    };
                    return Poll::Ready(Ok(reply));
                }
            }
        }
    }

    /// The body may go out, whether it was asked for or not.
    pub(crate) fn release(&mut self) {
        self.upload.body = match std::mem::replace(&mut self.upload.body, Source::Done) {
            Source::Held(body) => Source::Open(body),
            other => other,
        };
    }

    /// Whether the body waits to be asked for.
    pub(crate) fn is_held(&self) -> bool {
        matches!(self.upload.body, Source::Held(_))
    }

    /// Whether all of the request is out.
    pub(crate) fn is_sent(&self) -> bool {
        self.upload.is_empty() && matches!(self.upload.body, Source::Done)
    }

    fn poll_head(&mut self, context: &mut Context<'_>) -> Poll<Result<Head, ExchangeError>> {
        // What came after an answer that was not the last.
        self.join();
        let mut fresh = !self.input.is_empty();
        loop {
            if fresh {
                let (input, method) = (&self.input[..], &self.method);
                let parsed = head::parse(input, method, |_, _| Bytes::copy_from_slice(input));
                if let Some((reply, length, _)) = parsed.map_err(ExchangeError::Malformed)? {
                    self.input.advance(length);
                    return Poll::Ready(Ok(reply));
                }
            }
            let read = SCRATCH.with_borrow_mut(|scratch| {
                let mut buffer = ReadBuf::new(scratch);
                ready!(Pin::new(&mut self.conn.wire).poll_read(context, &mut buffer))?;
                let read = buffer.filled();
                if read.is_empty() {
                    return Poll::Ready(Err(match self.input.is_empty() {
                        true => ExchangeError::NoAnswer,
                        false => ExchangeError::Io(io::ErrorKind::UnexpectedEof.into()),
                    }));
                }
                if self.input.is_empty() {
                    let parsed = head::parse(read, &self.method, |_, _| Bytes::copy_from_slice(read));
                    if let Some((reply, length, whole)) = parsed.map_err(ExchangeError::Malformed)? {
                        self.behind = whole.slice(length..);
                        return Poll::Ready(Ok(Some(reply)));
                    }
                }
                self.input.extend_from_slice(read);
                Poll::Ready(Ok(None))
            });
            match ready!(read) {
                Ok(Some(reply)) => return Poll::Ready(Ok(reply)),
                Ok(None) => fresh = true,
                Err(ExchangeError::Io(error)) if self.input.is_empty() && is_reset(&error) => {
                    return Poll::Ready(Err(ExchangeError::NoAnswer));
                }
                Err(error) => return Poll::Ready(Err(error)),
            }
        }
    }

    /// Writes what is there to be written. An error that is not the client's says nothing of the answer, which may be there.
    fn poll_upload(&mut self, context: &mut Context<'_>) -> Poll<Result<(), ExchangeError>> {
        if self.upload.refused {
            return Poll::Ready(Ok(()));
        }
        loop {
            // What is there of the body goes out with the head.
            let body = self.upload.poll_fill(&mut self.sent, context);
            if let Poll::Ready(Err(error)) = body {
                self.upload.body = Source::Done;
                self.upload.refused = true;
                return Poll::Ready(Err(ExchangeError::Client(error)));
            }
            let had = !self.upload.is_empty();
            let written = ready!(self.upload.poll_write(&mut self.conn.wire, context));
            if let Err(error) = written {
                // It may have answered, and want nothing more.
                self.upload.refused = true;
                return Poll::Ready(Err(error.into()));
            }
            if had && body.is_ready() && !matches!(self.upload.body, Source::Done) {
                continue;
            }
            let flushed = Pin::new(&mut self.conn.wire).poll_flush(context);
            return if body.is_pending() { Poll::Pending } else { flushed.map_err(Into::into) };
        }
    }

    /// All that is left of the answer, where that is here already.
    pub(crate) fn take_rest(&mut self) -> Option<Bytes> {
        match &self.download {
            Download::Done => Some(Bytes::new()),
            Download::Framed(decoder) => {
                let left = usize::try_from(decoder.remaining()?).ok()?;
                let rest = match self.behind.len() >= left {
                    true => self.behind.split_to(left),
                    false if self.behind.is_empty() && self.input.len() >= left => self.input.split_to(left).freeze(),
                    false => return None,
                };
                self.download = Download::Done;
                Some(rest)
            }
            _ => None,
        }
    }

    /// Bytes of content that are still to come, where that is known.
    pub(crate) fn remaining(&self) -> Option<u64> {
        match &self.download {
            Download::Framed(decoder) => decoder.remaining(),
            Download::Done => Some(0),
            _ => None,
        }
    }

    /// The next part of the content; `None` at its end.
    pub(crate) fn poll_part(&mut self, context: &mut Context<'_>) -> Poll<Option<Result<Bytes, ExchangeError>>> {
        if let Poll::Ready(Err(error @ ExchangeError::Client(_))) = self.poll_upload(context) {
            return Poll::Ready(Some(Err(error)));
        }
        self.join();
        loop {
            let until_close = match &mut self.download {
                Download::Done => return Poll::Ready(None),
                Download::Head => return Poll::Ready(Some(Err(ExchangeError::NoAnswer))),
                Download::UntilClose if !self.input.is_empty() => {
                    return Poll::Ready(Some(Ok(self.input.split().freeze())));
                }
                Download::UntilClose => true,
                Download::Framed(decoder) => {
                    if decoder.is_done() {
                        self.trailers = decoder.take_trailers();
                        self.download = Download::Done;
                        continue;
                    }
                    if !self.input.is_empty() {
                        match decoder.decode(&self.input) {
                            Ok(Piece::End) => self.download = Download::Done,
                            Ok(Piece::Framing(length)) => self.input.advance(length),
                            Ok(Piece::Content(length)) => {
                                return Poll::Ready(Some(Ok(self.input.split_to(length).freeze())));
                            }
                            Err(_) => {
                                let why = "the framing of the answer's body is malformed";
                                return Poll::Ready(Some(Err(ExchangeError::Malformed(why))));
                            }
                        }
                        continue;
                    }
                    false
                }
            };
            self.input.reserve(READ);
            match ready!(tokio_util::io::poll_read_buf(Pin::new(&mut self.conn.wire), context, &mut self.input)) {
                Ok(0) if until_close => self.download = Download::Done,
                Ok(0) => return Poll::Ready(Some(Err(io::Error::from(io::ErrorKind::UnexpectedEof).into()))),
                Ok(_) => {}
                Err(error) => return Poll::Ready(Some(Err(error.into()))),
            }
        }
    }

    /// The fields that came after the content, once that has ended.
    pub(crate) fn trailers(&mut self) -> Option<HeaderMap> {
        self.trailers.take()
    }

    /// Puts what was read with the head where what is read after it goes.
    fn join(&mut self) {
        if !self.behind.is_empty() {
            let after = std::mem::take(&mut self.input);
            self.input.extend_from_slice(&std::mem::take(&mut self.behind));
            self.input.extend_from_slice(&after);
        }
    }

    /// The connection, where it may carry another request.
    pub(crate) fn into_conn(mut self, now: Instant) -> Option<Conn> {
        let over = matches!(self.download, Download::Done);
        let whole = self.is_sent() && !self.upload.refused && self.input.is_empty() && self.behind.is_empty();
        (over && whole && self.keep_alive).then(|| {
            self.conn.idle_since = now;
            self.conn.served += 1;
            self.conn
        })
    }

    /// What was switched to another protocol, with what was read of that already, and what counts the connection.
    pub(crate) fn into_wire(mut self) -> (Wire, Bytes, Counted) {
        self.join();
        (self.conn.wire, self.input.freeze(), self.conn._counted)
    }
}

impl Upload {
    fn is_empty(&self) -> bool {
        self.out.is_empty() && self.part.is_empty() && self.end.is_empty()
    }

    /// Takes parts of the body, where none is on its way out, and counts their bytes.
    fn poll_fill(&mut self, sent: &mut u64, context: &mut Context<'_>) -> Poll<Result<(), BodyError>> {
        // What ends a part goes before the next one.
        while self.part.is_empty() && self.end.is_empty() && self.out.len() < GATHERED {
            let Source::Open(body) = &mut self.body else { break };
            match ready!(body.0.poll_part(context)).transpose()? {
                Some(part) if part.is_empty() => {}
                Some(part) => {
                    *sent += part.len() as u64;
                    self.push(part);
                }
                None => {
                    let trailers = body.0.trailers();
                    self.body = Source::Done;
                    if self.chunked {
                        self.out.extend_from_slice(b"0\r\n");
                        for (name, value) in trailers.iter().flat_map(HeaderMap::iter) {
                            for piece in [name.as_str().as_bytes(), b": ", value.as_bytes(), b"\r\n"] {
                                self.out.extend_from_slice(piece);
                            }
                        }
                        self.out.extend_from_slice(b"\r\n");
                    }
                }
            }
        }
        Poll::Ready(Ok(()))
    }

    /// Takes a part of the body. A small one goes along with what is there.
    fn push(&mut self, part: Bytes) {
        if self.chunked {
            use std::fmt::Write;
            // Writing to memory does not fail.
            let _ = write!(self.out, "{:x}\r\n", part.len());
        }
        let end: &[u8] = if self.chunked { b"\r\n" } else { b"" };
        if part.len() <= SMALL {
            self.out.extend_from_slice(&part);
            self.out.extend_from_slice(end);
        } else {
            (self.part, self.end) = (part, end);
        }
    }

    fn poll_write<W: AsyncWrite + Unpin>(&mut self, wire: &mut W, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        while !self.is_empty() {
            let slices = [IoSlice::new(&self.out), IoSlice::new(&self.part), IoSlice::new(self.end)];
            let mut written = ready!(match self.part.is_empty() && self.end.is_empty() {
                // One piece is less work for the kernel than a list with one piece in it.
                true => Pin::new(&mut *wire).poll_write(context, &self.out),
                false => Pin::new(&mut *wire).poll_write_vectored(context, &slices),
            })?;
            if written == 0 {
                return Poll::Ready(Err(io::ErrorKind::WriteZero.into()));
            }
            let taken = written.min(self.out.len());
            self.out.advance(taken);
            written -= taken;
            let taken = written.min(self.part.len());
            self.part.advance(taken);
            written -= taken;
            self.end = self.end.get(written..).unwrap_or_default();
        }
        Poll::Ready(Ok(()))
    }
}

fn is_reset(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        io::ErrorKind::ConnectionReset | io::ErrorKind::BrokenPipe | io::ErrorKind::ConnectionAborted
    )
}

#[cfg(test)]
mod tests {
    use http::HeaderValue;

    use super::super::BodyParts;
    use super::*;

    /// Parts, and what comes after them.
    struct Parts(std::vec::IntoIter<Bytes>, Option<HeaderMap>);

    impl BodyParts for Parts {
        fn poll_part(&mut self, _: &mut Context<'_>) -> Poll<Option<Result<Bytes, BodyError>>> {
            Poll::Ready(self.0.next().map(Ok))
        }

        fn trailers(&mut self) -> Option<HeaderMap> {
            self.1.take()
        }
    }

    /// Takes so many octets, and then none for once.
    struct Narrow {
        most: usize,
        full: bool,
        taken: Vec<u8>,
    }

    impl AsyncWrite for Narrow {
        fn poll_write(mut self: Pin<&mut Self>, _: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
            self.full = !self.full;
            if !self.full {
                return Poll::Pending;
            }
            let taken = bytes.len().min(self.most);
            self.taken.extend_from_slice(&bytes[..taken]);
            Poll::Ready(Ok(taken))
        }

        fn poll_write_vectored(
            self: Pin<&mut Self>,
            context: &mut Context<'_>,
            slices: &[IoSlice<'_>],
        ) -> Poll<io::Result<usize>> {
            let all: Vec<u8> = slices.iter().flat_map(|slice| slice.iter().copied()).collect();
            self.poll_write(context, &all)
        }

        fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
            Poll::Ready(Ok(()))
        }

        fn poll_shutdown(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
            Poll::Ready(Ok(()))
        }
    }

    /// What goes out of these parts through something that takes so many octets at a time.
    fn written(sizes: &[usize], chunked: bool, most: usize) -> Vec<u8> {
        let parts: Vec<Bytes> = sizes.iter().map(|size| Bytes::from(vec![b'x'; *size])).collect();
        let body = Source::Open(Body(Box::new(Parts(parts.into_iter(), None))));
        let mut upload =
            Upload { out: BytesMut::from("HEAD"), part: Bytes::new(), end: b"", body, chunked, refused: false };
        let mut narrow = Narrow { most, full: false, taken: Vec::new() };
        let (mut context, mut sent) = (Context::from_waker(Waker::noop()), 0);
        while !matches!(upload.body, Source::Done) || !upload.is_empty() {
            assert!(upload.poll_fill(&mut sent, &mut context).is_ready());
            while let Poll::Ready(done) = upload.poll_write(&mut narrow, &mut context) {
                done.unwrap();
                if upload.is_empty() {
                    break;
                }
            }
        }
        assert_eq!(sent, sizes.iter().sum::<usize>() as u64);
        narrow.taken
    }

    #[test]
    fn fields_that_come_after_content_go_out_in_its_last_chunk() {
        let fields = HeaderMap::from_iter([("x-sum".parse().unwrap(), HeaderValue::from_static("7"))]);
        let said = |chunked| {
            let parts = Parts(vec![Bytes::from("abc")].into_iter(), Some(fields.clone()));
            let body = Source::Open(Body(Box::new(parts)));
            let mut upload =
                Upload { out: BytesMut::new(), part: Bytes::new(), end: b"", body, chunked, refused: false };
            assert!(upload.poll_fill(&mut 0, &mut Context::from_waker(Waker::noop())).is_ready());
            upload.out
        };
        assert_eq!(said(true), "3\r\nabc\r\n0\r\nx-sum: 7\r\n\r\n");
        assert_eq!(said(false), "abc", "there is no room for them");
    }

    #[test]
    fn parts_go_out_whole_and_in_order_however_little_is_taken_at_a_time() {
        let sizes = [3, SMALL + 1, 5, SMALL, 20_000, 1, GATHERED, 7];
        let chunks: Vec<u8> = sizes
            .iter()
            .flat_map(|size| [format!("{size:x}\r\n").into_bytes(), vec![b'x'; *size], b"\r\n".to_vec()].concat())
            .collect();
        let chunked = [b"HEAD", &chunks[..], b"0\r\n\r\n"].concat();
        let plain = [b"HEAD".to_vec(), vec![b'x'; sizes.iter().sum()]].concat();
        // Among them, whatever ends between the two octets that end a chunk.
        for most in (1..=17).chain([SMALL + 8, SMALL + 9, SMALL + 10, SMALL + 11, SMALL + 12, SMALL + 13, 1 << 20]) {
            assert!(written(&sizes, true, most) == chunked, "in chunks, {most} at a time");
            assert!(written(&sizes, false, most) == plain, "as it is, {most} at a time");
        }
    }
}
