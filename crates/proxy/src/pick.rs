//! A backend for a request or a connection, or a place in the line.

use std::sync::Arc;

use outwork_balance::{Ask, How, Lease, Member, MemberId, NoBackend, Outcome};
use tokio::time::timeout;

use crate::limits::Seat;
use crate::metrics::Absent;
use crate::pool::endpoint::Endpoint;
use crate::pool::{Pool, Snapshot};
use crate::upstream::local::Local;

/// A backend that has one more request, or connection, until this goes. Then there is room for another.
pub(crate) struct Taken {
    lease: Option<Lease>,
    member: Arc<Member>,
    named: bool,
    pool: Arc<Pool>,
    /// Its place among all that is under way.
    seat: Option<Seat>,
}

impl Taken {
    fn new(lease: Lease, pool: &Arc<Pool>) -> Self {
        let (member, named) = (Arc::clone(lease.member()), lease.how() == How::Sticky);
        Self { lease: Some(lease), member, named, pool: Arc::clone(pool), seat: None }
    }

    pub(crate) fn id(&self) -> MemberId {
        self.member.id()
    }

    pub(crate) fn member(&self) -> &Arc<Member> {
        &self.member
    }

    /// Whether the client named it.
    pub(crate) fn is_named(&self) -> bool {
        self.named
    }

    /// It has this place until it ends.
    pub(crate) fn sits_at(&mut self, seat: Option<Seat>) {
        self.seat = seat;
    }

    /// What is told of how it went.
    pub(crate) fn lease(&mut self) -> Option<&mut Lease> {
        self.lease.as_mut()
    }
}

impl Drop for Taken {
    fn drop(&mut self) {
        let mut lease = self.lease.take();
        // Who did not want the rest of an answer says nothing against it.
        if lease.as_ref().is_some_and(Lease::is_open) {
            self.pool.ended(&self.pool.snapshot(), lease.as_mut(), Outcome::Answered);
        }
        drop(lease);
        self.pool.queue.wake_one();
    }
}

/// One that waits, for as long as this is there: its client may leave, and then nobody comes back to what waits.
struct Counted<'a>(&'a Pool);

impl<'a> Counted<'a> {
    fn new(pool: &'a Pool) -> Self {
        pool.metrics().waiting.inc();
        pool.figures.waiting.inc();
        Self(pool)
    }
}

impl Drop for Counted<'_> {
    fn drop(&mut self) {
        self.0.metrics().waiting.dec();
        self.0.figures.waiting.dec();
    }
}

/// Who asks a pool for a backend.
#[derive(Clone, Copy)]
pub(crate) struct Asking<'a> {
    pub(crate) pool: &'a Arc<Pool>,
    pub(crate) snapshot: &'a Snapshot,
    pub(crate) local: &'a Local,
}

/// A backend, and what the pool is by then where somebody has waited for it.
pub(crate) type Picked = ((Taken, Arc<Endpoint>), Option<Arc<Snapshot>>);

impl Asking<'_> {
    /// Picks a backend. Where all that could be have as much as they may have, it waits, and sees who comes and leaves meanwhile.
    pub(crate) async fn pick(&self, ask: &Ask<'_>) -> Result<Picked, Absent> {
        let (pool, limits) = (self.pool, &self.snapshot.settings.limits);
        match self.attempt(ask) {
            Err(NoBackend::MemberLimits | NoBackend::PoolLimit) if limits.pending > 0 => {}
            Err(reason) => return Err(reason.into()),
            Ok(picked) => return Ok((picked, None)),
        }
        let waiting = pool.queue.enter(limits.pending as usize).ok_or(Absent::QueueFull)?;
        let _counted = Counted::new(pool);
        let turn = timeout(limits.pending_timeout, async {
            loop {
                waiting.again();
                let snapshot = pool.snapshot();
                match (Asking { snapshot: &snapshot, ..*self }).attempt(ask) {
                    Err(NoBackend::MemberLimits | NoBackend::PoolLimit) => {}
                    Err(reason) => return Err(reason.into()),
                    Ok(picked) => return Ok((picked, Some(snapshot))),
                }
                waiting.turn().await;
            }
        });
        turn.await.unwrap_or(Err(Absent::QueueTimeout))
    }

    /// The same without waiting. Who asks beside others, or after them, takes nobody's turn: whoever comes next would begin where this one did.
    pub(crate) fn attempt(&self, ask: &Ask<'_>) -> Result<(Taken, Arc<Endpoint>), NoBackend> {
        let picker = if ask.exclude.is_empty() { &self.local.picker } else { &self.local.aside };
        let lease = picker.borrow_mut().pick(&self.snapshot.balance, ask, self.pool.now())?;
        let endpoint = self.snapshot.endpoint(lease.id()).cloned();
        endpoint.map(|endpoint| (Taken::new(lease, self.pool), endpoint)).ok_or(NoBackend::Empty)
    }
}
