//! The deadlines of one request among several of a connection (HTTP/2): those that an HTTP/1 connection has for the request that it is at.

use std::future::poll_fn;
use std::io;
use std::rc::Rc;
use std::task::{Context, Poll};
use std::time::Duration;

use super::Options;
use super::metrics::Late;
use super::pulse::Beat;
use super::worker::Worker;
use crate::message::{Local, Response};

/// A request with a deadline that moves: with what arrives of its body, then with what leaves of its answer.
pub(crate) struct Pace {
    beat: Beat,
    worker: Rc<Worker>,
    rate: u64,
    request: Duration,
    send: Duration,
}

impl Pace {
    /// From now on the request has its time.
    pub(crate) fn begin(worker: &Rc<Worker>, options: &Options) -> Rc<Self> {
        let (request, send) = (options.request_timeout, options.send_timeout);
        let pace =
            Self { beat: worker.pulses.begin(), worker: Rc::clone(worker), rate: options.min_rate, request, send };
        pace.beat.pulse.allow(worker.now(), request);
        Rc::new(pace)
    }

    /// The answer of a handler, unless it takes too long.
    pub(crate) async fn answer(&self, mut response: Local<Response>) -> Option<Response> {
        let pulse = &self.beat.pulse;
        let response = poll_fn(|context| pulse.poll_in_time(context, |context| response.as_mut().poll(context))).await;
        if response.is_none() {
            self.worker.metrics.requests_late.of(Late::Handler).inc();
        }
        response
    }

    /// Polls for more of the body, which fails once it is late. It may still be in time for the answer.
    pub(crate) fn poll_body<T>(
        &self,
        context: &mut Context<'_>,
        attempt: impl FnMut(&mut Context<'_>) -> Poll<T>,
    ) -> Poll<io::Result<T>> {
        let polled = self.poll(context, attempt);
        if matches!(polled, Poll::Ready(Err(_))) {
            self.worker.metrics.requests_late.of(Late::Body).inc();
            self.beat.pulse.forgive();
        }
        polled
    }

    /// So much of the body has arrived.
    pub(crate) fn received(&self, bytes: usize) {
        self.beat.pulse.earn(bytes, self.rate, self.worker.now(), self.request);
    }

    /// Waits for the client to make room for the answer.
    pub(crate) async fn room<T>(&self, mut attempt: impl FnMut(&mut Context<'_>) -> Poll<T>) -> io::Result<T> {
        let room = self.next(&mut attempt).await;
        if room.is_err() {
            self.worker.metrics.requests_late.of(Late::Answer).inc();
        }
        room
    }

    /// From now on there is so much time for the rest.
    pub(crate) fn lingering(&self, time: Duration) {
        self.beat.pulse.allow(self.worker.now(), time);
    }

    /// What comes next in that time.
    pub(crate) async fn next<T>(&self, mut attempt: impl FnMut(&mut Context<'_>) -> Poll<T>) -> io::Result<T> {
        poll_fn(|context| self.poll(context, &mut attempt)).await
    }

    /// From now on the client has its time to take the answer.
    pub(crate) fn sending(&self) {
        self.beat.pulse.allow(self.worker.now(), self.send);
    }

    /// So much of the answer has left.
    pub(crate) fn sent(&self, bytes: usize) {
        self.beat.pulse.earn(bytes, self.rate, self.worker.now(), self.send);
    }

    /// Waits for something of ours, for which the client is not to pay; then it has its time again.
    pub(crate) async fn ours<T>(&self, wait: impl Future<Output = T>) -> T {
        self.beat.pulse.forever();
        let done = wait.await;
        self.sending();
        done
    }

    fn poll<T>(
        &self,
        context: &mut Context<'_>,
        mut attempt: impl FnMut(&mut Context<'_>) -> Poll<T>,
    ) -> Poll<io::Result<T>> {
        self.beat.pulse.poll(context, |context| attempt(context).map(Ok))
    }
}
