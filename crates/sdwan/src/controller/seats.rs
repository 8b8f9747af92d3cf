//! Sites that are connected, each once: who comes again takes the place of who was there. And what each may cost the others in a time, however often it comes.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use parking_lot::Mutex;
use tokio::sync::watch;

use super::ControllerMetrics;
use super::allowance::{Allowance, Spent};

/// Changes of the network that a site may bring about: all sites are told of each.
const CHANGES: (Duration, u32) = (Duration::from_secs(60), 20);
/// Events that are kept of a site: some hundred an hour, and a bad day at once.
const EVENTS: (Duration, u32) = (Duration::from_secs(10), 4096);
/// Reports at once: what has waited for a controller that was away.
const REPORTS: u32 = 720;

/// Of what there is so much for each site.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Of {
    Reports,
    Events,
    Changes,
}

/// The sites.
pub(super) struct Seats {
    most: usize,
    allowed: [Allowance; 3],
    metrics: Arc<ControllerMetrics>,
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    last: u64,
    taken: usize,
    of: BTreeMap<String, Site>,
}

#[derive(Debug, Default)]
struct Site {
    /// The connection that counts: its number, and how it is told to end.
    seat: Option<(u64, watch::Sender<Option<Arc<str>>>)>,
    spent: [Spent; 3],
}

/// A site that is connected; dropped, it is so no longer.
pub(super) struct Seat<'a> {
    of: &'a Seats,
    site: &'a str,
    /// Counts connections.
    pub(super) number: u64,
    watched: watch::Receiver<Option<Arc<str>>>,
}

impl Seats {
    /// So many at once, which report so often.
    pub(super) fn new(most: usize, report: Duration, metrics: Arc<ControllerMetrics>) -> Seats {
        // Clocks differ, and what was not kept comes again.
        let reports = Allowance::new(report / 2, REPORTS);
        let allowed = [reports, Allowance::new(EVENTS.0, EVENTS.1), Allowance::new(CHANGES.0, CHANGES.1)];
        Seats { most, allowed, metrics, state: Mutex::default() }
    }

    /// Gives a site its seat; who had it is told that it has come again. None where too many are connected.
    pub(super) fn sit<'a>(&'a self, site: &'a str, from: &str) -> Option<Seat<'a>> {
        let state = &mut *self.state.lock();
        let is_there = state.of.get(site).is_some_and(|site| site.seat.is_some());
        if !is_there && state.taken >= self.most {
            return None;
        }
        state.last += 1;
        let (end, watched) = watch::channel(None);
        let seat = &mut state.of.entry(site.to_owned()).or_default().seat;
        match seat.replace((state.last, end)) {
            None => {
                state.taken += 1;
                self.metrics.sites.inc();
            }
            Some((_, before)) => {
                let why = format!("this site has come again, from {from}: two servers must not be one site");
                before.send_replace(Some(why.into()));
            }
        }
        Some(Seat { of: self, site, number: state.last, watched })
    }

    /// Parts from a site, and says why.
    pub(super) fn end(&self, site: &str, why: &str) {
        if let Some((_, end)) = self.state.lock().of.get(site).and_then(|site| site.seat.as_ref()) {
            end.send_replace(Some(why.into()));
        }
    }

    /// Whether this is the connection of a site that counts.
    pub(super) fn counts(&self, seat: &Seat<'_>) -> bool {
        let state = self.state.lock();
        let own = state.of.get(seat.site).and_then(|site| site.seat.as_ref());
        own.is_some_and(|(number, _)| *number == seat.number)
    }

    /// Takes as much of what a site may do as there is, at most `wanted`.
    pub(super) fn take(&self, site: &str, of: Of, wanted: usize, now: Instant) -> usize {
        let state = &mut *self.state.lock();
        let Some(site) = state.of.get_mut(site) else { return 0 };
        match (self.allowed.get(of as usize), site.spent.get_mut(of as usize)) {
            (Some(allowed), Some(spent)) => allowed.take_some(spent, wanted, now),
            _ => 0,
        }
    }

    /// How many are connected.
    pub(super) fn len(&self) -> usize {
        self.state.lock().taken
    }

    /// Forgets what was spent by sites that are not connected and not in the network any more.
    pub(super) fn retain(&self, is_known: impl Fn(&str) -> bool) {
        self.state.lock().of.retain(|name, site| site.seat.is_some() || is_known(name));
    }
}

impl Seat<'_> {
    /// What says when it has to end: [`ended`] waits for that.
    pub(super) fn watched(&self) -> watch::Receiver<Option<Arc<str>>> {
        self.watched.clone()
    }
}

/// Waits until a seat has to be left, and says why.
pub(super) async fn ended(watched: &mut watch::Receiver<Option<Arc<str>>>) -> Arc<str> {
    let why = watched.wait_for(Option::is_some).await;
    why.ok().and_then(|why| why.clone()).unwrap_or_else(|| "the controller stops".into())
}

impl Drop for Seat<'_> {
    fn drop(&mut self) {
        let state = &mut *self.of.state.lock();
        let seat = state.of.get_mut(self.site).map(|site| &mut site.seat);
        // Not where it has come again meanwhile.
        if let Some(seat) = seat.filter(|seat| seat.as_ref().is_some_and(|(number, _)| *number == self.number)) {
            *seat = None;
            state.taken -= 1;
            self.of.metrics.sites.dec();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    #[test]
    fn a_site_has_one_seat_and_who_comes_again_takes_it() {
        let seats = Seats::new(2, SECOND, Arc::default());
        let first = seats.sit("north", "192.0.2.1:1").unwrap();
        let again = seats.sit("north", "192.0.2.2:1").unwrap();
        assert_eq!((seats.len(), seats.counts(&first), seats.counts(&again)), (1, false, true));
        let why = first.watched().borrow().clone().unwrap();
        assert!(why.contains("192.0.2.2:1"), "{why}");
        drop(first);
        assert!(seats.counts(&again) && again.watched().borrow().is_none());
        assert_eq!(seats.metrics.sites.get(), 1);
        // There is room for one more, and for who has a seat already.
        let south = seats.sit("south", "").unwrap();
        assert!(seats.sit("east", "").is_none());
        assert!(seats.sit("south", "").is_some());
        drop((again, south));
        assert_eq!(seats.len(), 0);
    }

    #[test]
    fn to_part_from_many_sites_ends_none_of_the_others() {
        let seats = Seats::new(500, SECOND, Arc::default());
        let names: Vec<_> = (0..400).map(|number| format!("site{number}")).collect();
        let all: Vec<_> = names.iter().map(|name| seats.sit(name, "").unwrap()).collect();
        names.iter().take(300).for_each(|name| seats.end(name, "it was removed"));
        let ended = all.iter().filter(|seat| seat.watched().borrow().is_some()).count();
        assert_eq!(ended, 300);
    }

    #[test]
    fn what_a_site_may_do_does_not_begin_anew_when_it_comes_again() {
        let (seats, now) = (Seats::new(2, 2 * SECOND, Arc::default()), Instant::now());
        assert_eq!(seats.take("north", Of::Changes, 1, now), 0, "who was never there may do nothing");
        for _ in 0..3 {
            let _seat = seats.sit("north", "");
            seats.take("north", Of::Changes, 7, now);
        }
        assert_eq!(seats.take("north", Of::Changes, 7, now), 0);
        assert_eq!(seats.take("north", Of::Changes, 7, now + CHANGES.0), 1);
        let reports = seats.take("north", Of::Reports, usize::MAX, now);
        assert_eq!((reports, seats.take("north", Of::Reports, 9, now + 2 * SECOND)), (REPORTS as usize, 2));
        seats.retain(|name| name != "north");
        assert_eq!(seats.take("north", Of::Events, 1, now), 0, "it is forgotten");
    }
}
