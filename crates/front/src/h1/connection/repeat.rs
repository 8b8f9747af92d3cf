//! Answers that are known by heart: given, and learned.

use std::future::poll_fn;
use std::io;
use std::task::{Context, Poll};
use std::time::Instant;

use bytes::Bytes;

use super::{Connection, Transport};
use crate::door::metrics::Protocol;
use crate::h1::known::{self, Known, Place};
use crate::h1::response::{Asked, Follows, place_of_date, write_head};
use crate::message::{Body, Origin, Response};

impl<S: Transport> Connection<S> {
    /// Answers by heart. Nothing else has happened on this thread since the answer was found.
    pub(super) async fn repeat(&self, at: usize) -> io::Result<()> {
        if let Some(rest) = poll_fn(|context| Poll::Ready(self.begin_to_repeat(at, context))).await? {
            self.write([&rest, &[], &[]]).await?;
        }
        self.flush().await
    }

    /// The same; gives what does not fit into the socket, which is this connection's own to send.
    fn begin_to_repeat(&self, at: usize, context: &mut Context<'_>) -> io::Result<Option<Bytes>> {
        let started = Instant::now();
        self.serve_as_of_now();
        let worker = &self.worker;
        worker.metrics.protocols.of(Protocol::Http1).inc();
        self.written.set(0);
        self.allow(|options| options.send_timeout);
        let mut known = worker.known.borrow_mut();
        let answer = known.answer(at).ok_or(io::ErrorKind::NotFound)?;
        let (status, route, content) = (answer.status, answer.route, answer.content());
        let message = answer.message(&worker.date());
        let took = started.elapsed();
        worker.metrics.answered(status, took);
        if let Some(traffic) = &self.serving.borrow().entry.traffic {
            traffic.repeated(route, took, content);
        }
        let written = match self.poll_io(context, |io, context| io.poll_write(context, message)) {
            Poll::Ready(written) => written?,
            Poll::Pending => 0,
        };
        self.sent(written);
        Ok(message.get(written..).filter(|rest| !rest.is_empty()).map(Bytes::copy_from_slice))
    }

    /// Learns an answer to a head that has come again, where it stands.
    pub(super) fn learn(&self, head: Box<[u8]>, response: &mut Response, asked: Asked, origin: &Origin) {
        let entry = &self.serving.borrow().entry;
        let Some(standing) = response.note.as_mut().and_then(|note| note.standing.take()) else { return };
        let Body::Full(content) = &response.body else { return };
        if !entry.has_no_eye_for_requests() || !Known::takes(content.len() as u64) {
            return;
        }
        let mut message = Vec::with_capacity(512 + content.len());
        let (follows, keep_alive) = write_head(&mut message, response, asked, &self.worker.date(), &self.alt_svc);
        if follows != Follows::Plain || !keep_alive {
            return;
        }
        let date = place_of_date(&message, response);
        let head_bytes = message.len();
        message.extend_from_slice(content);
        let place = Place::new(origin, &self.alt_svc);
        let message = (message, head_bytes, date);
        let answer = known::Answer::new((head, &place), message, (response.status, response.route), standing);
        self.worker.known.borrow_mut().keep(answer);
    }
}
