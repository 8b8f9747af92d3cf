//! One request, or one flow, that a member has.

use std::sync::Arc;

use outwork_engine::Time;

use crate::breaker::{Refused, Resource, Scope};
use crate::member::{Member, MemberId};
use crate::outlier::{self, Ejection};
use crate::pool::{Pool, Slot};

/// How a member did what it was asked.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Outcome {
    /// It answered, be it that the client was wrong (4xx).
    Answered,
    /// It answered that it failed: 500, 501, 505 and above.
    ServerError,
    /// It answered for one behind it that does not: 502, 503, 504.
    GatewayError,
    /// It could not be connected to.
    ConnectFailed,
    /// It took too long.
    TimedOut,
    /// It broke off, before its answer or within it.
    Reset,
    /// The client went away, or did not need it any more: that says nothing of the member.
    Cancelled,
}

impl Outcome {
    /// That of an HTTP status.
    pub const fn of_status(status: u16) -> Outcome {
        match status {
            502..=504 => Outcome::GatewayError,
            500.. => Outcome::ServerError,
            _ => Outcome::Answered,
        }
    }

    /// Whether the member failed; `None` when nobody knows.
    pub const fn failed(self) -> Option<bool> {
        match self {
            Outcome::Cancelled => None,
            Outcome::Answered => Some(false),
            _ => Some(true),
        }
    }

    /// Whether it is a failure to answer at all, for itself or for another.
    pub const fn is_gateway_failure(self) -> bool {
        matches!(self, Outcome::GatewayError | Outcome::ConnectFailed | Outcome::TimedOut | Outcome::Reset)
    }
}

/// A member that was picked. It counts as in flight until this is dropped, however that comes about.
#[derive(Debug)]
#[must_use = "a lease that is dropped at once is no longer counted"]
pub struct Lease {
    member: Arc<Member>,
    begun: Time,
    how: How,
    seen: Seen,
}

/// What is known of how a member did.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Seen {
    Nothing,
    /// Its answer has begun, and was a good one so far.
    Begun,
    All,
}

/// What made a member the one.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum How {
    /// The policy of the pool.
    Policy,
    /// The same, where too few are healthy and health is ignored. To be counted.
    Panic,
    /// It was named.
    Sticky,
}

impl Lease {
    /// Counts a request for the member of `slot`, within its limits and those of its pool.
    pub(crate) fn take(pool: &Pool, slot: &Slot, how: How, now: Time) -> Result<Lease, Refused> {
        let (member, resource) = (slot.member(), Resource::Requests);
        if !member.gauge(resource).enter(slot.settings().limits.requests) {
            return Err(Refused { resource, scope: Scope::Member });
        }
        // Nothing between the two can panic, and dropping a lease gives back both.
        if !member.ledger.gauge(resource).enter(pool.settings().limits.requests) {
            member.gauge(resource).leave();
            return Err(Refused { resource, scope: Scope::Pool });
        }
        Ok(Lease { member: Arc::clone(member), begun: now, how, seen: Seen::Nothing })
    }

    /// Who was picked.
    pub fn member(&self) -> &Arc<Member> {
        &self.member
    }

    /// Its number, to exclude it the next time.
    pub fn id(&self) -> MemberId {
        self.member.id()
    }

    /// Why it was.
    pub fn how(&self) -> How {
        self.how
    }

    /// When it was picked.
    pub fn begun(&self) -> Time {
        self.begun
    }

    /// Takes in that the member has begun to answer, well so far, and in what time. How it did is for [`Lease::observe`] to say at the end: a member that begins
    /// each answer and breaks it off would look as if it did well.
    pub fn begin(&mut self, pool: &Pool, now: Time) {
        if self.seen == Seen::Nothing {
            self.seen = Seen::Begun;
            self.member.latency.observe(now.since(self.begun), now, pool.settings().latency_decay);
        }
    }

    /// Whether its answer has begun, and nobody has said how it went on.
    pub fn is_open(&self) -> bool {
        self.seen == Seen::Begun
    }

    /// Takes in how the member did, and in what time, unless that was taken in when its answer began. Only the first call counts. An ejection that comes of it is
    /// returned.
    pub fn observe(&mut self, pool: &Pool, outcome: Outcome, now: Time) -> Option<Ejection> {
        let before = std::mem::replace(&mut self.seen, Seen::All);
        let failed = outcome.failed().filter(|_| before != Seen::All)?;
        if before == Seen::Nothing {
            let (latency, decay) = (now.since(self.begun), pool.settings().latency_decay);
            match failed {
                false => self.member.latency.observe(latency, now, decay),
                true => self.member.latency.observe_failure(latency, now, decay),
            }
        }
        outlier::record(pool, &self.member, outcome, now)
    }

    /// [`Lease::observe`], and the end.
    pub fn finish(mut self, pool: &Pool, outcome: Outcome, now: Time) -> Option<Ejection> {
        self.observe(pool, outcome, now)
    }
}

impl Drop for Lease {
    fn drop(&mut self) {
        self.member.gauge(Resource::Requests).leave();
        self.member.ledger.gauge(Resource::Requests).leave();
    }
}
