//! What time does: offers lapse, leases run out, quarantines end. In bounded slices, so that a million leases that end
//! together disturb nobody.

use super::{Engine, Event};
use crate::lease::{Change, INFINITE, Lease, Seconds, State};
use outwork_engine::Unix;
use std::net::Ipv4Addr;

/// Entries that the calendar may have besides two for each lease.
const SPARE_ENTRIES: usize = 65_536;
/// Entries looked at, once there are more, for each that is added.
const SWEEP_STEPS: usize = 4;

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
        // A few steps each time keep the pace: half of what is looked at goes.
        if self.calendar.len() > 2 * self.leases.len() + SPARE_ENTRIES {
            let (leases, orphans) = (&self.leases, &mut self.orphans);
            self.calendar.sweep(SWEEP_STEPS, |(address, second)| {
                let awaited = leases.at(*address).is_some_and(|lease| lease.due == *second);
                if !awaited && orphans.get(address) == Some(second) {
                    orphans.remove(address);
                }
                awaited
            });
        }
        self.leases.update(slot, |lease| lease.due = expires);
        self.calendar.schedule(Unix(expires), (address, expires));
    }

    fn lapse(&mut self, address: Ipv4Addr, second: Seconds, now: Seconds) {
        if self.orphans.get(&address) == Some(&second) {
            self.orphans.remove(&address);
        }
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
            State::Offered => {
                self.pools.lapsed(&self.policy, address, now);
                self.withdraw_offer(address);
            }
            State::Declined => {
                self.journal.record(|out| Change::write_forget(address, out));
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

    /// Looks at no more than `scan` leases, and forgets those that ended longer ago than they are kept. Returns how many;
    /// the next call goes on behind them, and after the last lease at the first.
    pub fn forget_ended(&mut self, now: Seconds, scan: usize) -> usize {
        let mut stale = Vec::new();
        let mut next = Ipv4Addr::UNSPECIFIED;
        for (seen, lease) in self.leases.range(self.swept).enumerate() {
            if seen == scan {
                next = lease.address;
                break;
            }
            if self.is_stale(lease, now) {
                stale.push(lease.address);
            }
        }
        self.swept = next;
        for address in &stale {
            self.journal.record(|out| Change::write_forget(*address, out));
            self.forget(*address);
        }
        stale.len()
    }

    fn is_stale(&self, lease: &Lease, now: Seconds) -> bool {
        let quiet_since = match lease.state {
            State::Released | State::Expired => lease.expires,
            // An endless lease of a subnet that is gone: nobody can renew or release it.
            State::Active if lease.expires == INFINITE && self.policy.subnet_of(lease.address).is_none() => {
                lease.starts
            }
            _ => return false,
        };
        quiet_since.saturating_add(self.policy.rules.keep_ended) <= now
    }

    /// Takes an address out of the table, and what an offer displaced there, and gives it back to its pool.
    pub(super) fn forget(&mut self, address: Ipv4Addr) {
        self.displaced.remove(&address);
        let Some(lease) = self.leases.remove(address) else { return };
        if lease.due != 0 {
            self.orphans.insert(address, lease.due);
        }
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
