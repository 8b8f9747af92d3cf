//! What time does: offers lapse, leases run out, quarantines end. In bounded slices, so that a million leases that end
//! together disturb nobody.

use super::{Engine, Event};
use crate::lease::{INFINITE, Seconds, State};
use outwork_engine::{Calendar, Unix};
use std::net::Ipv4Addr;

impl Engine {
    /// Handles at most `limit` deadlines that have passed. Returns how many were handled; `limit` means there may be more.
    pub fn handle_timeout(&mut self, now: Seconds, limit: usize) -> usize {
        let mut due = std::mem::take(&mut self.due);
        due.clear();
        let taken = self.calendar.take_due(Unix(now), limit, &mut due);
        for (address, second) in due.drain(..) {
            self.lapse(address, second, now);
        }
        self.due = due;
        taken
    }

    /// When [`handle_timeout`](Self::handle_timeout) is next wanted.
    pub fn poll_timeout(&self) -> Option<Seconds> {
        self.calendar.next().map(|second| second.0)
    }

    /// Sees to it that the end of what holds an address is noticed. An entry that comes due earlier serves: when it does,
    /// the lease is looked at again, so that a renewal leaves the calendar alone.
    pub(super) fn schedule(&mut self, address: Ipv4Addr, expires: Seconds) {
        let Some(slot) = self.leases.find(address) else { return };
        let due = self.leases.get(slot).map_or(0, |lease| lease.due);
        if expires == INFINITE || (due != 0 && due <= expires) {
            return;
        }
        // Lifetimes that are shortened leave entries behind that nobody waits for; they may not outgrow the leases.
        if self.calendar.len() > 2 * self.leases.len() + 65_536 {
            self.calendar = Calendar::default();
            for lease in self.leases.range(Ipv4Addr::UNSPECIFIED).filter(|lease| lease.due != 0) {
                self.calendar.schedule(Unix(lease.due), (lease.address, lease.due));
            }
        }
        self.leases.update(slot, |lease| lease.due = expires);
        self.calendar.schedule(Unix(expires), (address, expires));
    }

    fn lapse(&mut self, address: Ipv4Addr, second: Seconds, now: Seconds) {
        let Some(slot) = self.leases.find(address) else { return };
        if self.leases.get(slot).is_none_or(|lease| lease.due != second) {
            return;
        }
        self.leases.update(slot, |lease| lease.due = 0);
        let Some((state, expires)) = self.leases.get(slot).map(|lease| (lease.state, lease.expires)) else { return };
        if !state.holds() {
            return;
        }
        if expires > now {
            self.schedule(address, expires);
            return;
        }
        match state {
            State::Offered => self.withdraw_offer(address),
            State::Declined => {
                self.journal.record(|out| crate::lease::Change::write_forget(address, out));
                self.forget(address);
                self.event(|| Event { address: Some(address), ..Event::new("reclaim") });
            }
            _ => {
                self.leases.update(slot, |lease| lease.state = State::Expired);
                self.expired += 1;
                self.moved(address, Some(State::Active), Some(State::Expired));
                self.pools.freed(&self.policy, address);
                if self.watched
                    && let Some(lease) = self.leases.get(slot)
                {
                    let event = Event::of("expire", lease);
                    self.events.push(event);
                }
            }
        }
    }

    /// Takes an address out of the table, and what an offer displaced there, and gives it back to its pool.
    pub(super) fn forget(&mut self, address: Ipv4Addr) {
        self.displaced.remove(&address);
        let Some(lease) = self.leases.remove(address) else { return };
        self.moved(address, Some(lease.state), None);
        self.pools.freed(&self.policy, address);
    }

    /// An offer came to nothing: the lease that ended there before stands again, so that its client finds it.
    pub(super) fn withdraw_offer(&mut self, address: Ipv4Addr) {
        let Some(mut ended) = self.displaced.remove(&address) else { return self.forget(address) };
        if self.displaced.is_empty() {
            // What an avalanche of returning clients took is given back.
            self.displaced.shrink_to(0);
        }
        ended.due = self.leases.at(address).map_or(0, |offer| offer.due);
        let state = ended.state;
        self.leases.insert(ended);
        self.moved(address, Some(State::Offered), Some(state));
        self.pools.freed(&self.policy, address);
    }
}
