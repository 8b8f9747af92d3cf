//! The content of a request: no larger than it may be or than it was said to be, and not slower.

use std::cell::{Cell, RefCell, RefMut};
use std::future::poll_fn;
use std::rc::Rc;
use std::task::{Context, Poll, ready};

use bytes::Bytes;
use http::{HeaderMap, StatusCode};

use super::Exchange;
use crate::door::pace::Pace;
use crate::door::worker::Worker;
use crate::interim;
use crate::message::{BodyError, BodySource};

/// Where content comes from.
pub(crate) trait Source {
    /// The next part; `None` at the end.
    fn poll_data(&mut self, context: &mut Context<'_>) -> Poll<Option<Result<Bytes, BodyError>>>;

    /// The fields that come after the content, once that has ended.
    fn poll_trailers(&mut self, _: &mut Context<'_>) -> Poll<Result<Option<HeaderMap>, BodyError>> {
        Poll::Ready(Ok(None))
    }

    /// A part is in the handler's hands: the client may send as much again.
    fn taken(&mut self, bytes: usize) -> Result<(), BodyError>;

    /// Nobody wants what is still to come. `malformed` says that it is the client's fault.
    fn refuse(&mut self, malformed: bool);
}

/// The content of a request.
pub(crate) struct Incoming<S: Source> {
    worker: Rc<Worker>,
    source: RefCell<S>,
    pace: Rc<Pace>,
    received: Cell<u64>,
    announced: Option<u64>,
    /// Its client waits to be asked for it.
    expects: Cell<bool>,
    limit: u64,
    ended: Cell<bool>,
    trailers: RefCell<Option<HeaderMap>>,
}

impl<S: Source> Incoming<S> {
    /// `announced` is how long the head says that it is, and `expects` that its client waits to be asked for it.
    pub(crate) fn new(exchange: &Exchange, source: S, (announced, expects): (Option<u64>, bool)) -> Self {
        Self {
            worker: Rc::clone(&exchange.worker),
            source: RefCell::new(source),
            pace: Rc::clone(exchange.pace()),
            received: Cell::new(0),
            announced,
            expects: Cell::new(expects),
            limit: exchange.serving.options.max_body,
            ended: Cell::new(false),
            trailers: RefCell::default(),
        }
    }

    /// Where it comes from, for who reads what no handler wanted.
    pub(crate) fn source(&self) -> RefMut<'_, S> {
        self.source.borrow_mut()
    }

    /// Waits until it turns out whether there is any, where nobody wants to know; where there is none, nobody is told to send no more of it.
    pub(crate) async fn end(&self) {
        if self.ended.get() || self.received.get() > 0 {
            return;
        }
        let part = poll_fn(|context| self.source.borrow_mut().poll_data(context)).await;
        self.ended.set(part.is_none());
    }

    /// The next part, and whether it fits what came before.
    fn poll_checked(&self, context: &mut Context<'_>) -> Poll<Option<Result<Bytes, BodyError>>> {
        let mut source = self.source.borrow_mut();
        let part = ready!(self.pace.poll_body(context, |context| source.poll_data(context))).map_err(BodyError::Cut)?;
        let wrong = |why| Poll::Ready(Some(Err(BodyError::Malformed(why))));
        let Some(part) = part.transpose()? else {
            return match self.announced {
                Some(announced) if announced != self.received.get() => wrong("it is shorter than its Content-Length"),
                _ => {
                    let trailers = self.pace.poll_body(context, |context| source.poll_trailers(context));
                    self.trailers.replace(ready!(trailers).map_err(BodyError::Cut)??);
                    Poll::Ready(None)
                }
            };
        };
        let received = self.received.get() + part.len() as u64;
        self.received.set(received);
        self.worker.metrics.received.add(part.len() as u64);
        self.pace.received(part.len());
        if self.announced.is_some_and(|announced| received > announced) {
            return wrong("it is longer than its Content-Length");
        }
        if received > self.limit {
            return Poll::Ready(Some(Err(BodyError::TooLarge { limit: self.limit })));
        }
        source.taken(part.len())?;
        Poll::Ready(Some(Ok(part)))
    }
}

impl<S: Source> BodySource for Incoming<S> {
    fn poll_part(&self, context: &mut Context<'_>) -> Poll<Option<Result<Bytes, BodyError>>> {
        if self.ended.get() {
            return Poll::Ready(None);
        }
        let part = self.poll_checked(context);
        if self.expects.take() && part.is_pending() {
            interim::tell(StatusCode::CONTINUE, HeaderMap::new());
        }
        let part = ready!(part);
        if let Some(Err(error)) = &part {
            self.source.borrow_mut().refuse(matches!(error, BodyError::Malformed(_)));
        }
        self.ended.set(!matches!(part, Some(Ok(_))));
        Poll::Ready(part)
    }

    fn trailers(&self) -> Option<HeaderMap> {
        self.trailers.take()
    }

    fn remaining(&self) -> Option<u64> {
        self.announced.map(|announced| announced.saturating_sub(self.received.get()))
    }
}

impl<S: Source> Drop for Incoming<S> {
    fn drop(&mut self) {
        if !self.ended.get() {
            self.source.get_mut().refuse(false);
        }
        if self.received.get() > 0 {
            self.worker.metrics.request_body_size.record_value(self.received.get());
        }
    }
}
