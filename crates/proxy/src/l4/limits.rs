//! How many connections and sessions there may be, and how fast they may begin.

use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};

use outwork_front::filter::{Clients, Place};

use super::Shared;
use super::metrics::Refused;
use super::rule::Rule;
use crate::limits::Rate;

/// What is open, of all threads and listeners.
#[derive(Debug, Default)]
pub(super) struct Open {
    all: AtomicUsize,
    rate: Rate,
    clients: Arc<Clients>,
}

/// A place among what is open. It is given back with this.
pub(super) struct Seat {
    shared: Arc<Shared>,
    rule: Arc<Rule>,
    of_client: Option<Place>,
}

impl Seat {
    /// A place for a connection or a session, or why there is none.
    pub(super) fn take(shared: &Arc<Shared>, rule: &Arc<Rule>) -> Result<Self, Refused> {
        let (settings, live, global) = (&rule.settings, &rule.live, shared.limits.load());
        // From here on, whoever is turned away gives back what it has taken.
        let counted = live.active.fetch_add(1, Relaxed);
        let everywhere = shared.open.all.fetch_add(1, Relaxed);
        live.cells.active.inc();
        let seat = Self { shared: Arc::clone(shared), rule: Arc::clone(rule), of_client: None };
        if settings.max_connections.is_some_and(|most| counted >= most as usize) {
            return Err(Refused::Full);
        }
        if everywhere >= global.max_connections as usize {
            return Err(Refused::Everywhere);
        }
        let (now, rate) = (shared.began.elapsed(), settings.connection_rate);
        if !live.rate.admits(now, rate, settings.connection_burst.unwrap_or(rate)) {
            return Err(Refused::Rate);
        }
        let rate = global.connection_rate;
        if !shared.open.rate.admits(now, rate, global.connection_burst.unwrap_or(rate)) {
            return Err(Refused::Rate);
        }
        Ok(seat)
    }

    /// The same, now that it is known whose it is.
    pub(super) fn of_client(mut self, local: SocketAddr, client: IpAddr) -> Result<Self, Refused> {
        let most = self.rule.settings.max_connections_per_client;
        if most > 0 {
            self.of_client = Some(self.shared.open.clients.enter(local, client, most).ok_or(Refused::Client)?);
        }
        Ok(self)
    }
}

impl Drop for Seat {
    fn drop(&mut self) {
        drop(self.of_client.take());
        self.rule.live.cells.active.dec();
        self.rule.live.active.fetch_sub(1, Relaxed);
        self.shared.open.all.fetch_sub(1, Relaxed);
    }
}
