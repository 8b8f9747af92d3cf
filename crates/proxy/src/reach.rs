//! A connection to a backend, for bytes of whatever kind: to another backend where that fails.

use std::net::IpAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use outwork_balance::{Ask, Extra, MemberId, Outcome};
use outwork_front::door::Buffers;

use crate::metrics::{Absent, Retried};
use crate::pick::{Asking, Taken};
use crate::pool::Snapshot;
use crate::pool::endpoint::Endpoint;
use crate::upstream::dial::{self, DialError, OwnEnd};
use crate::upstream::wire::Wire;
use crate::upstream::{Counted, Version};

/// What is to be connected to, and how.
pub(crate) struct Reach<'a> {
    pub(crate) asking: Asking<'a>,
    /// Who asks; who was tried is seen to here.
    pub(crate) ask: Ask<'a>,
    /// The address that it comes from, where that is none of ours.
    pub(crate) source: Option<IpAddr>,
    /// What a backend is told before anything else, TLS included: it is the connection that is announced.
    pub(crate) first: &'a [u8],
    /// What the kernel is to keep for it; what is not said here is said by the pool.
    pub(crate) buffers: Buffers,
    /// Hears which backend is tried.
    pub(crate) tries: &'a dyn Fn(MemberId),
}

/// A connection to a backend.
pub(crate) struct Reached {
    pub(crate) wire: Wire,
    pub(crate) taken: Taken,
    pub(crate) counted: Counted,
    /// To whom it is.
    pub(crate) endpoint: Arc<Endpoint>,
    /// How many were tried before.
    pub(crate) retries: u32,
    /// How long it took to open.
    pub(crate) took: Duration,
}

/// Why there is none.
pub(crate) enum Unreached {
    Nobody(Absent),
    Failed(DialError, Arc<Endpoint>),
}

impl Reach<'_> {
    pub(crate) async fn connect(&self) -> Result<Reached, Unreached> {
        let Asking { pool, local, .. } = self.asking;
        let mut waited: Option<Arc<Snapshot>> = None;
        let (mut tried, mut again, mut retries) = (Vec::new(), None, 0);
        loop {
            let sticky = self.ask.sticky.filter(|_| tried.is_empty());
            let asking = Asking { snapshot: waited.as_deref().unwrap_or(self.asking.snapshot), ..self.asking };
            let picked = asking.pick(&Ask { exclude: &tried, sticky, ..self.ask }).await;
            let (mut taken, endpoint) = match picked {
                Ok((picked, newer)) => {
                    waited = newer.or(waited);
                    picked
                }
                Err(Absent::Excluded) if !tried.is_empty() => {
                    // There is nobody else: whoever failed may have been unlucky.
                    tried.clear();
                    continue;
                }
                Err(reason) => return Err(Unreached::Nobody(reason)),
            };
            let snapshot = waited.as_deref().unwrap_or(self.asking.snapshot);
            let settings = &snapshot.settings;
            let room = local.room(pool, snapshot).await.map_err(Unreached::Nobody)?;
            (self.tries)(taken.id());
            endpoint.cells.requests.inc();
            let began = Instant::now();
            let tls = endpoint.tls.as_ref().map(|tls| (tls.config(Version::Other), &tls.name));
            let patience = settings.connections.connect_timeout;
            let from = OwnEnd { source: self.source, buffers: self.buffers.or(settings.connections.buffers()) };
            let dialled = dial::dial_as(from, self.first, &endpoint.target, tls, patience).await;
            let error = match dialled {
                Ok((wire, _)) => {
                    let took = began.elapsed();
                    pool.observe(snapshot, taken.lease(), Outcome::Answered);
                    pool.metrics().connections_opened.inc();
                    endpoint.cells.opened.inc();
                    endpoint.cells.time.record(took);
                    let counted = Counted::new(pool.shared_metrics(), Some(room));
                    return Ok(Reached { wire, taken, counted, endpoint, retries, took });
                }
                Err(error) => error,
            };
            endpoint.cells.failures.inc();
            let outcome = if matches!(error, DialError::Late) { Outcome::TimedOut } else { Outcome::ConnectFailed };
            pool.observe(snapshot, taken.lease(), outcome);
            let verdict = match retries < settings.retry.attempts {
                false => Retried::Spent,
                true => {
                    again = snapshot.balance.again(Extra::Retry, Some(taken.member()), pool.now()).ok();
                    if again.is_some() { Retried::Again } else { Retried::Budget }
                }
            };
            pool.metrics().retries.of(verdict).inc();
            if again.is_none() || verdict != Retried::Again {
                return Err(Unreached::Failed(error, endpoint));
            }
            retries += 1;
            tried.push(taken.id());
        }
    }
}
