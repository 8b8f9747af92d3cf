//! The body of an answer on its way to the client.

use std::pin::Pin;
use std::rc::Rc;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::{Duration, Instant};

use bytes::Bytes;
use futures_util::Stream;
use outwork_balance::Outcome;
use outwork_front::message::{BodyError, Trailers};
use tokio::time::{Sleep, sleep_until};

use super::{grpc, told, trailers};
use crate::metrics::Drained;
use crate::pick::Taken;
use crate::pool::endpoint::Endpoint;
use crate::pool::{Pool, Snapshot};
use crate::upstream::local::Local;
use crate::upstream::under_way::Present;
use crate::upstream::{Exchange, ExchangeError};

/// Gives the body part by part, and the connection back at its end.
pub(super) struct Relay {
    exchange: Option<Exchange>,
    trailers: Option<Trailers>,
    taken: Option<Taken>,
    endpoint: Arc<Endpoint>,
    pool: Arc<Pool>,
    snapshot: Arc<Snapshot>,
    local: Rc<Local>,
    /// Set once it is asked for.
    present: Option<Present>,
    /// How long the body may stand still.
    patience: Duration,
    /// Set once it does.
    still: Option<Pin<Box<Sleep>>>,
    /// When the call of gRPC is over whose answer it is, where its client says so.
    deadline: Option<Pin<Box<Sleep>>>,
    /// Whether its client looks for how it ends after the content.
    is_told: bool,
}

impl Relay {
    pub(super) fn new(
        (exchange, trailers): (Exchange, Option<Trailers>),
        taken: Taken,
        endpoint: &Arc<Endpoint>,
        pool: &Arc<Pool>,
        snapshot: &Arc<Snapshot>,
        local: &Rc<Local>,
    ) -> Self {
        Self {
            exchange: Some(exchange),
            trailers,
            taken: Some(taken),
            endpoint: Arc::clone(endpoint),
            pool: Arc::clone(pool),
            snapshot: Arc::clone(snapshot),
            local: Rc::clone(local),
            present: None,
            patience: snapshot.settings.connections.idle_timeout,
            still: None,
            deadline: None,
            is_told: false,
        }
    }

    /// The same, which ends at this time, and tells its client so as calls of gRPC are told, or breaks off.
    pub(super) fn until(mut self, deadline: Instant, is_told: bool) -> Self {
        self.deadline = Some(Box::pin(sleep_until(deadline.into())));
        self.is_told = is_told;
        self
    }

    /// The time is over that the client gives the call, which says nothing of the backend.
    fn out_of_time(&mut self) -> Option<Result<Bytes, BodyError>> {
        self.deadline = None;
        let exchange = self.exchange.as_ref()?;
        // Content whose length was said cannot end before that.
        let told = self.trailers.clone().filter(|_| self.is_told && exchange.remaining().is_none());
        self.end(Outcome::Cancelled);
        match told {
            Some(trailers) => {
                trailers.set(grpc::trailers(grpc::Status::DeadlineExceeded, told::OUT_OF_TIME));
                None
            }
            None => Some(Err(BodyError::Source(Box::new(ExchangeError::Late)))),
        }
    }

    fn poll_patience(&mut self, context: &mut Context<'_>) -> Poll<()> {
        let patience = self.patience;
        self.still.get_or_insert_with(|| Box::pin(tokio::time::sleep(patience))).as_mut().poll(context)
    }

    /// Ready once the backend may not go on with it.
    fn poll_over(&mut self, context: &Context<'_>) -> Poll<()> {
        let Some(taken) = &self.taken else { return Poll::Pending };
        self.present.get_or_insert_with(|| self.local.enter(taken.id())).poll_over(context)
    }

    /// The end, be it good or not.
    fn end(&mut self, outcome: Outcome) {
        self.present = None;
        let (Some(exchange), Some(mut taken)) = (self.exchange.take(), self.taken.take()) else { return };
        self.pool.metrics().sent.add(exchange.sent());
        self.pool.ended(&self.snapshot, taken.lease(), outcome);
        if let Some(conn) = exchange.into_conn(Instant::now()).filter(|_| outcome == Outcome::Answered) {
            self.local.park(taken.id(), &self.endpoint, conn, &self.snapshot);
        }
    }

    fn broken(&mut self, error: ExchangeError) -> BodyError {
        let (pool, backend) = (&*self.pool.name, &*self.endpoint.key);
        tracing::debug!(pool, backend, %error, "an answer ends before its end");
        if matches!(error, ExchangeError::Drained) {
            self.pool.metrics().drained.of(Drained::Answer).inc();
        }
        // Who has said how long an answer is owes the rest. Of others, nobody knows whether there is something to say, nor whether it is the client's turn.
        let is_owed = self.exchange.as_ref().is_some_and(|exchange| exchange.remaining().is_some());
        let outcome = match &error {
            ExchangeError::Client(_) | ExchangeError::Drained | ExchangeError::BeforeItsTurn => Outcome::Cancelled,
            ExchangeError::Late if is_owed => Outcome::TimedOut,
            ExchangeError::Late => Outcome::Cancelled,
            _ => Outcome::Reset,
        };
        if outcome.failed() == Some(true) {
            self.endpoint.cells.failures.inc();
        }
        self.end(outcome);
        BodyError::Source(Box::new(error))
    }
}

impl Stream for Relay {
    type Item = Result<Bytes, BodyError>;

    fn poll_next(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        let this = self.get_mut();
        // Also where there is always something: a client that takes its time would never be waited for.
        if this.poll_over(context).is_ready() {
            return Poll::Ready(Some(Err(this.broken(ExchangeError::Drained))));
        }
        if this.deadline.as_mut().is_some_and(|deadline| deadline.as_mut().poll(context).is_ready()) {
            return Poll::Ready(this.out_of_time());
        }
        let Some(exchange) = &mut this.exchange else { return Poll::Ready(None) };
        match exchange.poll_part(context) {
            Poll::Ready(Some(Ok(part))) => {
                this.still = None;
                this.pool.metrics().received.add(part.len() as u64);
                Poll::Ready(Some(Ok(part)))
            }
            Poll::Ready(Some(Err(error))) => Poll::Ready(Some(Err(this.broken(error)))),
            Poll::Ready(None) => {
                if let (Some(slot), Some(came)) = (&this.trailers, exchange.trailers()) {
                    slot.set(trailers::of_answer(came));
                }
                this.end(Outcome::Answered);
                Poll::Ready(None)
            }
            Poll::Pending if this.poll_patience(context).is_ready() => {
                let late = this.exchange.as_mut().map_or(ExchangeError::Late, Exchange::late);
                Poll::Ready(Some(Err(this.broken(late))))
            }
            Poll::Pending => Poll::Pending,
        }
    }
}
