//! How many connections and sessions there may be, and how fast they may begin.

use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering::Relaxed};
use std::time::Duration;

use outwork_front::filter::{Clients, Place};

use super::Shared;
use super::metrics::Refused;
use super::rule::Rule;

/// How fast something may happen: a generic cell rate, of all threads together.
#[derive(Debug, Default)]
pub(super) struct Rate(AtomicU64);

impl Rate {
    /// Whether it may happen once more, where `burst` may at once, and so many in each second after that; 0 is no limit. `now` is since whenever.
    pub(super) fn admits(&self, now: Duration, per_second: u32, burst: u32) -> bool {
        let Some(pause) = 1_000_000_000_u64.checked_div(per_second.into()) else { return true };
        let now = u64::try_from(now.as_nanos()).unwrap_or(u64::MAX);
        let ahead = pause.saturating_mul(u64::from(burst.max(1)) - 1);
        let next = |due: u64| {
            let due = due.max(now);
            (due - now <= ahead).then(|| due.saturating_add(pause))
        };
        self.0.fetch_update(Relaxed, Relaxed, next).is_ok()
    }
}

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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn so_many_may_begin_at_once_and_so_many_in_each_second_after_that() {
        let rate = Rate::default();
        let admitted =
            |at: u64, tries: usize| (0..tries).filter(|_| rate.admits(Duration::from_millis(at), 10, 3)).count();
        assert_eq!(admitted(1_000, 10), 3);
        assert_eq!((admitted(1_050, 10), admitted(1_100, 10), admitted(1_350, 10)), (0, 1, 2));
        assert_eq!(admitted(60_000, 10), 3, "what was not used is not saved up");
    }

    #[test]
    fn without_a_rate_all_may_begin() {
        let rate = Rate::default();
        assert!((0..1000).all(|_| rate.admits(Duration::ZERO, 0, 0)));
    }
}
