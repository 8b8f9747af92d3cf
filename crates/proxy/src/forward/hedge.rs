//! Requests that another backend is asked, too, where the first takes long.

use std::future::Future;
use std::pin::pin;
use std::sync::Arc;

use futures_util::future::{Either, select};
use outwork_balance::{Extra, MemberId};
use tokio::time::timeout;

use super::pick;
use super::retry::is_idempotent;
use super::{Answered, Call, Failure, Proxied};
use crate::config::Hedge;
use crate::metrics::Hedged;
use crate::pick::Taken;
use crate::pool::endpoint::Endpoint;

/// A backend that was asked, and what came of it.
pub(super) type Tried = (Taken, Arc<Endpoint>, Result<Answered, Failure>);

impl Proxied {
    /// Asks this backend, and another one where that takes long. What comes back is the first good answer, or the last bad one; those who have failed before that
    /// are put to `tried`.
    pub(super) async fn hedged(
        &self,
        call: &Call,
        first: (Taken, Arc<Endpoint>),
        tried: &mut Vec<MemberId>,
        hedge: &Hedge,
    ) -> Tried {
        let id = first.0.id();
        let mut one = pin!(self.asked(call, first));
        if !is_idempotent(&call.head.method) {
            return one.await;
        }
        if let Ok(tried) = timeout(hedge.after, &mut one).await {
            return tried;
        }
        let hedges = &self.pool.metrics().hedges;
        // Who still sends a body has not waited for the answer yet.
        if !call.content.is_complete() {
            return one.await;
        }
        let others: Vec<MemberId> = tried.iter().copied().chain([id]).collect();
        let Ok(other) = pick::another(&self.pool, call, &others) else {
            hedges.of(Hedged::Alone).inc();
            return one.await;
        };
        let Ok(_held) = call.snapshot.balance.again(Extra::Hedge, Some(other.0.member()), self.pool.now()) else {
            hedges.of(Hedged::Budget).inc();
            return one.await;
        };
        hedges.of(Hedged::Asked).inc();
        let two = pin!(self.asked(call, other));
        match select(one, two).await {
            Either::Left((done, two)) => self.or_else(call, done, two, tried).await.0,
            Either::Right((done, one)) => {
                let (done, is_first) = self.or_else(call, done, one, tried).await;
                if is_first {
                    hedges.of(Hedged::Won).inc();
                }
                done
            }
        }
    }

    /// This, if it is good, or else what the other comes to. Whether it is this.
    async fn or_else(
        &self,
        call: &Call,
        done: Tried,
        other: impl Future<Output = Tried>,
        tried: &mut Vec<MemberId>,
    ) -> (Tried, bool) {
        if matches!(&done.2, Ok(reply) if !self.is_failure(call, reply)) {
            return (done, true);
        }
        tried.push(done.0.id());
        (other.await, false)
    }

    async fn asked(&self, call: &Call, (mut taken, endpoint): (Taken, Arc<Endpoint>)) -> Tried {
        let attempted = self.attempt(call, &mut taken, &endpoint).await;
        (taken, endpoint, attempted)
    }
}
