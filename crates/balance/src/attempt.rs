//! One pick under way: who may be taken for it, and what stood in the way of the others.

use std::net::IpAddr;

use outwork_engine::Time;

use crate::breaker::{Resource, Scope};
use crate::lease::{How, Lease};
use crate::member::{MemberId, Standing};
use crate::pool::{Pool, Slot};

/// What is asked for.
#[derive(Debug, Clone, Copy, Default)]
pub struct Ask<'a> {
    /// The hash of what the same member should serve: a session, a path, a flow. Policies that hash use it.
    pub hash: Option<u64>,
    /// Who asks. Policies that hash use it when there is no hash, and [`crate::Policy::IpHash`] before it.
    pub client: Option<IpAddr>,
    /// Who has been tried already.
    pub exclude: &'a [MemberId],
    /// The key of the member that is to serve this, if it may: by a cookie, say. It may even when it drains.
    pub sticky: Option<&'a str>,
    /// Whether this belongs to a flow that is under way: then a policy that hashes may give it to a member that drains.
    pub established: bool,
}

/// One pick under way.
#[derive(Debug)]
pub(crate) struct Attempt<'a> {
    pub(crate) pool: &'a Pool,
    pub(crate) ask: &'a Ask<'a>,
    pub(crate) now: Time,
    pub(crate) how: How,
    /// Somebody was excluded.
    pub(crate) excluded: bool,
    /// Somebody was at a limit; whose limit.
    pub(crate) limited: Option<Scope>,
}

impl<'a> Attempt<'a> {
    pub(crate) fn new(pool: &'a Pool, ask: &'a Ask<'a>, now: Time) -> Attempt<'a> {
        Attempt { pool, ask, now, how: How::Policy, excluded: false, limited: None }
    }

    /// The weight of a member at this moment.
    pub(crate) fn weight(&self, index: u32) -> f64 {
        let Some(slot) = self.pool.slots().get(index as usize) else { return 1.0 };
        let weight = f64::from(slot.settings().weight);
        match &self.pool.settings().slow_start {
            Some(slow) => weight * slow.share(slot.member().up_since(self.now), self.now),
            None => weight,
        }
    }

    /// The member, when it may be taken as far as can be seen.
    pub(crate) fn admitted(&mut self, index: u32) -> Option<&'a Slot> {
        let slot = self.pool.slots().get(index as usize)?;
        if !self.may_use(slot) {
            return None;
        }
        if self.ask.exclude.contains(&slot.member().id()) {
            self.excluded = true;
            return None;
        }
        if !slot.member().gauge(Resource::Requests).has_room(slot.settings().limits.requests) {
            self.limited = Some(Scope::Member);
            return None;
        }
        Some(slot)
    }

    /// Takes the member, if it may be taken.
    pub(crate) fn take(&mut self, index: u32) -> Option<Lease> {
        let slot = self.admitted(index)?;
        let taken = Lease::take(self.pool, slot, self.how, self.now);
        taken.map_err(|refused| self.limited = Some(refused.scope)).ok()
    }

    fn may_use(&self, slot: &Slot) -> bool {
        let (now, trust) = (self.now, self.pool.settings().trust_unknown);
        match slot.standing(now, trust) {
            Standing::Usable => true,
            Standing::Unhealthy | Standing::Ejected => self.how == How::Panic,
            Standing::Draining => {
                let goes_on = self.how == How::Sticky || self.ask.established;
                goes_on && slot.standing_for_established(now, trust) == Standing::Usable
            }
            Standing::Drained => false,
        }
    }
}
