//! A backend for a request, or a place in the line.

use std::sync::Arc;

use outwork_balance::{Ask, How, Lease, Member, MemberId, NoBackend, hash};
use tokio::time::timeout;

use super::{Call, head, unix_now};
use crate::config::HashKey;
use crate::metrics::Absent;
use crate::pool::Pool;
use crate::pool::endpoint::Endpoint;

/// A backend that has one more request, until this goes. Then there is room for another.
pub(super) struct Taken {
    lease: Option<Lease>,
    member: Arc<Member>,
    named: bool,
    pool: Arc<Pool>,
}

impl Taken {
    fn new(lease: Lease, pool: &Arc<Pool>) -> Self {
        let (member, named) = (Arc::clone(lease.member()), lease.how() == How::Sticky);
        Self { lease: Some(lease), member, named, pool: Arc::clone(pool) }
    }

    pub(super) fn id(&self) -> MemberId {
        self.member.id()
    }

    pub(super) fn member(&self) -> &Arc<Member> {
        &self.member
    }

    /// Whether the client named it.
    pub(super) fn is_named(&self) -> bool {
        self.named
    }

    /// What is told of how it went.
    pub(super) fn lease(&mut self) -> Option<&mut Lease> {
        self.lease.as_mut()
    }
}

impl Drop for Taken {
    fn drop(&mut self) {
        drop(self.lease.take());
        self.pool.queue.wake_one();
    }
}

/// A request that waits, for as long as this is there: its client may leave, and then nobody comes back to what waits.
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

/// Picks a backend that is none of those that were tried. Where all that could be have as much as they may have, it waits.
pub(super) async fn pick(pool: &Arc<Pool>, call: &Call, tried: &[MemberId]) -> Result<(Taken, Arc<Endpoint>), Absent> {
    let limits = &call.snapshot.settings.limits;
    match attempt(pool, call, tried) {
        Err(NoBackend::MemberLimits | NoBackend::PoolLimit) if limits.pending > 0 => {}
        Err(reason) => return Err(reason.into()),
        Ok(picked) => return Ok(picked),
    }
    let waiting = pool.queue.enter(limits.pending as usize).ok_or(Absent::QueueFull)?;
    let _counted = Counted::new(pool);
    let turn = timeout(limits.pending_timeout, async {
        loop {
            match attempt(pool, call, tried) {
                Err(NoBackend::MemberLimits | NoBackend::PoolLimit) => {}
                Err(reason) => return Err(reason.into()),
                Ok(picked) => return Ok(picked),
            }
            waiting.again();
            waiting.turn().await;
        }
    });
    let picked = turn.await.unwrap_or(Err(Absent::QueueTimeout));
    if picked.is_ok() {
        waiting.served();
    }
    picked
}

/// The same without waiting.
pub(super) fn attempt(pool: &Arc<Pool>, call: &Call, tried: &[MemberId]) -> Result<(Taken, Arc<Endpoint>), NoBackend> {
    let snapshot = &call.snapshot;
    let sticky = snapshot.sticky.as_ref().filter(|_| tried.is_empty()).and_then(|sticky| {
        let value = head::cookie(&call.head.headers, &sticky.cookie)?;
        sticky.member(value, unix_now())
    });
    let ask = Ask {
        hash: hashed(&snapshot.settings.hash, call),
        client: Some(call.origin.peer.ip()),
        exclude: tried,
        sticky,
        established: false,
    };
    let lease = call.local.picker.borrow_mut().pick(&snapshot.balance, &ask, pool.now())?;
    let endpoint = snapshot.endpoint(lease.id()).cloned();
    endpoint.map(|endpoint| (Taken::new(lease, pool), endpoint)).ok_or(NoBackend::Empty)
}

/// The hash of what goes to the same backend; `None` where that is the client.
fn hashed(key: &HashKey, call: &Call) -> Option<u64> {
    let (uri, headers) = (&call.head.uri, &call.head.headers);
    let of = |bytes: &[u8]| Some(hash::bytes(bytes, 0));
    match key {
        HashKey::Client => None,
        HashKey::Path => of(uri.path().as_bytes()),
        HashKey::Target => of(uri.path_and_query().map_or("", |target| target.as_str()).as_bytes()),
        HashKey::Host => of(headers.get(http::header::HOST)?.as_bytes()),
        HashKey::Field(name) => of(headers.get(name)?.as_bytes()),
        HashKey::Cookie(name) => of(head::cookie(headers, name)?),
    }
}
