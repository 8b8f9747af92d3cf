//! Answers that are known by heart: given, and learned.

use std::future::poll_fn;
use std::io;
use std::task::{Context, Poll};
use std::time::Instant;

use bytes::Bytes;

use super::{Connection, Transport};
use crate::door::metrics::Protocol;
use crate::h1::known::{self, Place};
use crate::h1::response::{Asked, Follows, place_of_date, write_head};
use crate::message::{Body, Origin, Response};

/// An answer on its way.
struct Repeating {
    /// What did not fit into the socket, which is this connection's own to send.
    rest: Option<Bytes>,
    route: Option<u16>,
    /// Bytes of its head.
    head: usize,
}

impl<S: Transport> Connection<S> {
    /// Answers by heart. Nothing else has happened on this thread since the answer was found.
    pub(super) async fn repeat(&self, at: usize) -> io::Result<()> {
        let Repeating { rest, route, head } = poll_fn(|context| Poll::Ready(self.begin_to_repeat(at, context))).await?;
        let mut sent = match &rest {
            Some(rest) => self.write([rest, &[], &[]]).await,
            None => Ok(()),
        };
        if sent.is_ok() {
            sent = self.flush().await;
        }
        let content = self.written.get().saturating_sub(head as u64);
        self.worker.content_sent(content);
        if let Some(traffic) = &self.serving.borrow().entry.traffic {
            traffic.sent(route, content);
        }
        sent
    }

    fn begin_to_repeat(&self, at: usize, context: &mut Context<'_>) -> io::Result<Repeating> {
        let started = Instant::now();
        self.serve_as_of_now();
        let worker = &self.worker;
        worker.metrics.protocols.of(Protocol::Http1).inc();
        worker.metrics.repeated.inc();
        self.written.set(0);
        self.allow(|options| options.send_timeout);
        let mut known = worker.known.borrow_mut();
        let answer = known.answer(at).ok_or(io::ErrorKind::NotFound)?;
        let (status, route, head) = (answer.status, answer.route, answer.head_bytes);
        let message = answer.message(&worker.date());
        let took = started.elapsed();
        worker.metrics.answered(status, took);
        if let Some(traffic) = &self.serving.borrow().entry.traffic {
            traffic.repeated(route, took);
        }
        let written = match self.poll_io(context, |io, context| io.poll_write(context, message)) {
            Poll::Ready(written) => written?,
            Poll::Pending => 0,
        };
        self.sent(written);
        let rest = message.get(written..).filter(|rest| !rest.is_empty()).map(Bytes::copy_from_slice);
        Ok(Repeating { rest, route, head })
    }

    /// Learns an answer to a head that has come again, where it stands. Errors are for whoever counts and shows them one by one.
    pub(super) fn learn(&self, head: Box<[u8]>, response: &mut Response, asked: Asked, origin: &Origin) {
        let standing = response.note.as_mut().and_then(|note| note.standing.take());
        let mut known = self.worker.known.borrow_mut();
        let (Some(standing), Body::Full(content)) = (standing, &response.body) else { return known.leave_alone(&head) };
        if !response.status.is_success() || !known.has_room(content.len()) {
            return known.leave_alone(&head);
        }
        let mut message = Vec::with_capacity(512 + content.len());
        let (follows, keep_alive) = write_head(&mut message, response, asked, &self.worker.date(), &self.alt_svc);
        if follows != Follows::Plain || !keep_alive {
            return known.leave_alone(&head);
        }
        let date = place_of_date(&message, response);
        let head_bytes = message.len();
        message.extend_from_slice(content);
        let place = Place::new(origin, &self.alt_svc);
        let message = (message, head_bytes, date);
        known.keep(known::Answer::new((head, &place), message, (response.status, response.route), standing));
    }
}
