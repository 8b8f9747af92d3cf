//! Failed attempts by address: after a few a minute, the address is told to wait until the minute is over. Sans-IO.

use std::collections::HashMap;
use std::net::IpAddr;
use std::time::{Duration, Instant};

const WINDOW: Duration = Duration::from_secs(60);
const ALLOWED: u32 = 10;
/// Addresses remembered at once. When full, addresses that are not known share one allowance.
const ADDRESSES: usize = 4096;

/// Who failed lately.
#[derive(Debug, Default)]
pub(super) struct Attempts {
    by_address: HashMap<IpAddr, Window>,
    others: Window,
}

#[derive(Debug, Default, Clone, Copy)]
struct Window {
    since: Option<Instant>,
    failed: u32,
}

impl Window {
    fn is_over(&self, now: Instant) -> bool {
        self.since.is_none_or(|since| now.saturating_duration_since(since) >= WINDOW)
    }

    fn wait(&self, now: Instant) -> Option<Duration> {
        let since = self.since.filter(|_| self.failed >= ALLOWED && !self.is_over(now))?;
        Some(WINDOW.saturating_sub(now.saturating_duration_since(since)))
    }
}

impl Attempts {
    /// How long this address has to wait; `None` when it may try.
    pub(super) fn wait(&self, address: IpAddr, now: Instant) -> Option<Duration> {
        match self.by_address.get(&network(address)) {
            Some(window) => window.wait(now),
            None if self.by_address.len() >= ADDRESSES => self.others.wait(now),
            None => None,
        }
    }

    /// Notes a failure.
    pub(super) fn failed(&mut self, address: IpAddr, now: Instant) {
        let address = network(address);
        if self.by_address.len() >= ADDRESSES && !self.by_address.contains_key(&address) {
            self.by_address.retain(|_, window| !window.is_over(now));
        }
        let window = if self.by_address.len() < ADDRESSES || self.by_address.contains_key(&address) {
            self.by_address.entry(address).or_default()
        } else {
            &mut self.others
        };
        if window.is_over(now) {
            *window = Window { since: Some(now), failed: 0 };
        }
        window.failed += 1;
    }
}

/// An IPv6 subscriber has a whole /64 to try from.
fn network(address: IpAddr) -> IpAddr {
    match address.to_canonical() {
        IpAddr::V6(v6) => IpAddr::V6((u128::from(v6) & !u128::from(u64::MAX)).into()),
        v4 => v4,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn fail(attempts: &mut Attempts, address: &str, times: u32, now: Instant) {
        (0..times).for_each(|_| attempts.failed(address.parse().unwrap(), now));
    }

    #[test]
    fn an_address_that_keeps_failing_waits_for_the_rest_of_the_minute() {
        let (mut attempts, start) = (Attempts::default(), Instant::now());
        let wait = |attempts: &Attempts, address: &str, at| attempts.wait(address.parse().unwrap(), at);
        fail(&mut attempts, "192.0.2.1", ALLOWED - 1, start);
        assert_eq!(wait(&attempts, "192.0.2.1", start), None);
        fail(&mut attempts, "192.0.2.1", 1, start);
        assert_eq!(wait(&attempts, "192.0.2.1", start + Duration::from_secs(20)), Some(Duration::from_secs(40)));
        assert_eq!(wait(&attempts, "192.0.2.2", start), None);
        assert_eq!(wait(&attempts, "192.0.2.1", start + WINDOW), None);
    }

    #[test]
    fn an_ipv6_neighbour_in_the_same_64_shares_the_allowance() {
        let (mut attempts, now) = (Attempts::default(), Instant::now());
        fail(&mut attempts, "2001:db8::1", ALLOWED, now);
        assert!(attempts.wait("2001:db8::ffff".parse().unwrap(), now).is_some());
        assert!(attempts.wait("2001:db8:0:1::1".parse().unwrap(), now).is_none());
    }

    #[test]
    fn a_flood_of_addresses_stays_within_its_bound_and_is_still_limited() {
        let (mut attempts, now) = (Attempts::default(), Instant::now());
        for i in 0..2 * ADDRESSES as u32 {
            attempts.failed(std::net::Ipv4Addr::from(0x0a00_0000 + i).into(), now);
        }
        assert_eq!(attempts.by_address.len(), ADDRESSES);
        assert!(attempts.wait("198.51.100.1".parse().unwrap(), now).is_some());
        attempts.failed("198.51.100.1".parse().unwrap(), now + WINDOW);
        assert_eq!(attempts.by_address.len(), 1);
    }
}
