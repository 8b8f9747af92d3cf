//! Circuit breakers: how much of everything may be under way, for a pool and for a member.
//!
//! What is under way is counted by guards ([`Held`], and [`crate::Lease`] for requests), so no path out of a request can forget to give back.

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering::Relaxed};

use crate::ledger::Ledger;
use crate::member::Member;

/// What is counted.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Resource {
    /// Requests in flight (of L4: flows).
    Requests,
    /// Open connections.
    Connections,
    /// Requests that wait for a connection.
    Pending,
    /// Requests in flight that are tried again.
    Retries,
    /// Requests in flight that are asked twice at once.
    Hedges,
}

impl Resource {
    /// All of them.
    pub const ALL: [Resource; 5] =
        [Resource::Requests, Resource::Connections, Resource::Pending, Resource::Retries, Resource::Hedges];
}

/// The most of each that may be under way at once; `None` is no limit.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Limits {
    /// Requests in flight.
    pub requests: Option<u32>,
    /// Open connections.
    pub connections: Option<u32>,
    /// Requests that wait for a connection.
    pub pending: Option<u32>,
    /// Retries in flight.
    pub retries: Option<u32>,
    /// Hedged requests in flight.
    pub hedges: Option<u32>,
}

impl Limits {
    /// The limit of `resource`.
    pub const fn of(&self, resource: Resource) -> Option<u32> {
        match resource {
            Resource::Requests => self.requests,
            Resource::Connections => self.connections,
            Resource::Pending => self.pending,
            Resource::Retries => self.retries,
            Resource::Hedges => self.hedges,
        }
    }
}

/// How much of one thing is under way, and how often more was refused.
#[derive(Debug, Default)]
pub struct Gauge {
    now: AtomicU32,
    refused: AtomicU64,
}

impl Gauge {
    /// How much is under way.
    pub fn now(&self) -> u32 {
        self.now.load(Relaxed)
    }

    /// How often more was refused.
    pub fn refused(&self) -> u64 {
        self.refused.load(Relaxed)
    }

    /// Whether one more fits below `limit` at this moment.
    pub fn has_room(&self, limit: Option<u32>) -> bool {
        limit.is_none_or(|limit| self.now() < limit)
    }

    /// Counts one more, unless `limit` is reached: then the refusal is counted.
    pub(crate) fn enter(&self, limit: Option<u32>) -> bool {
        let Some(limit) = limit else {
            self.now.fetch_add(1, Relaxed);
            return true;
        };
        let entered = self.now.fetch_update(Relaxed, Relaxed, |now| (now < limit).then(|| now + 1)).is_ok();
        if !entered {
            self.refuse();
        }
        entered
    }

    pub(crate) fn refuse(&self) {
        self.refused.fetch_add(1, Relaxed);
    }

    /// Counts one less. Only guards call this.
    pub(crate) fn leave(&self) {
        self.now.fetch_sub(1, Relaxed);
    }
}

/// A gauge that many threads write has its cache line for itself.
#[derive(Debug, Default)]
#[repr(align(64))]
pub(crate) struct Lone(pub(crate) Gauge);

/// Whose limit refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Scope {
    /// That of the pool.
    Pool,
    /// That of the member.
    Member,
    /// That of the budget for retries or hedges.
    Budget,
}

/// A breaker is open: so much is under way already.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Refused {
    /// What there is too much of.
    pub resource: Resource,
    /// Whose limit it is.
    pub scope: Scope,
}

impl fmt::Display for Refused {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let resource = match self.resource {
            Resource::Requests => "requests in flight",
            Resource::Connections => "connections",
            Resource::Pending => "requests that wait for a connection",
            Resource::Retries => "retries in flight",
            Resource::Hedges => "hedged requests in flight",
        };
        let scope = match self.scope {
            Scope::Pool => "the limit of the pool",
            Scope::Member => "the limit of the backend",
            Scope::Budget => "the budget of the pool",
        };
        write!(f, "{scope} for {resource} is reached")
    }
}

impl std::error::Error for Refused {}

/// One of something that is under way, for the pool and, where one is known, for its member. Dropping it gives it back.
#[derive(Debug)]
#[must_use = "what is dropped at once is no longer counted"]
pub struct Held {
    ledger: Arc<Ledger>,
    member: Option<Arc<Member>>,
    resource: Resource,
}

impl Held {
    pub(crate) fn take(
        ledger: &Arc<Ledger>,
        member: Option<&Arc<Member>>,
        resource: Resource,
        (pool_limit, member_limit): (Option<u32>, Option<u32>),
    ) -> Result<Held, Refused> {
        if !ledger.gauge(resource).enter(pool_limit) {
            return Err(Refused { resource, scope: Scope::Pool });
        }
        // From here on the guard sees to the pool's count, whatever happens; it knows of the member only once that counts as well.
        let mut held = Held { ledger: Arc::clone(ledger), member: None, resource };
        if let Some(member) = member {
            if !member.gauge(resource).enter(member_limit) {
                return Err(Refused { resource, scope: Scope::Member });
            }
            held.member = Some(Arc::clone(member));
        }
        Ok(held)
    }

    /// What it counts as.
    pub fn resource(&self) -> Resource {
        self.resource
    }
}

impl Drop for Held {
    fn drop(&mut self) {
        self.ledger.gauge(self.resource).leave();
        if let Some(member) = &self.member {
            member.gauge(self.resource).leave();
        }
    }
}
