//! Where clients get no answer because no subnet is for them, there is no address to answer from, or the kernel sends
//! nothing there: told in the log, and kept for a while for whoever asks.

use super::port::CLIENT_PORT;
use crate::policy::Locator;
use parking_lot::Mutex;
use std::fmt;
use std::io;
use std::net::{Ipv4Addr, SocketAddrV4};
use std::time::{Duration, Instant};

/// Places known at a time. A client can name any address: what finds no room is in the counters alone.
const PLACES: usize = 32;
/// How long a place is told of after the last request there.
const RECENT: Duration = Duration::from_secs(180);
/// How often the log tells of one place.
const TELL: Duration = Duration::from_secs(60);

/// A place whose clients get no answer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Unserved {
    /// No subnet holds this address of the client's link, by link or subnet selection.
    Selected(Ipv4Addr),
    /// No subnet holds or names this relay agent.
    Relay(Ipv4Addr),
    /// Clients have addresses of this /24, which are of no subnet.
    Clients(Ipv4Addr),
    /// No subnet names this interface or holds our address there.
    Interface(String, Ipv4Addr),
    /// This interface has no address to answer from.
    NoAddress(String),
    /// The kernel does not send to this relay agent, for this reason (`errno`).
    RelayUnsendable(Ipv4Addr, i32),
    /// The kernel does not send to clients with addresses of this /24, for this reason (`errno`).
    ClientsUnsendable(Ipv4Addr, i32),
}

impl Unserved {
    /// Whom an answer to this address was for, which the kernel did not send.
    pub(super) fn unsendable(to: SocketAddrV4, errno: i32) -> Self {
        match to.port() {
            CLIENT_PORT => Self::ClientsUnsendable(network(*to.ip()), errno),
            _ => Self::RelayUnsendable(*to.ip(), errno),
        }
    }
}

/// The /24 of a client: clients are many, and each of them would be a place.
fn network(address: Ipv4Addr) -> Ipv4Addr {
    Ipv4Addr::from(u32::from(address) & !255)
}

impl From<Locator<'_>> for Unserved {
    fn from(locator: Locator<'_>) -> Self {
        match locator {
            Locator::Selected(address) => Self::Selected(address),
            Locator::Relay(address) => Self::Relay(address),
            Locator::Client(address) => Self::Clients(network(address)),
            Locator::Interface(name, address) => Self::Interface(name.to_owned(), address),
        }
    }
}

impl fmt::Display for Unserved {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Selected(address) => {
                write!(f, "clients of the link {address} (option 82 or 118): no subnet holds it")
            }
            Self::Relay(address) => {
                write!(f, "clients of the relay agent {address}: no subnet holds that address or names it")
            }
            Self::Clients(prefix) => write!(f, "clients that have addresses of {prefix}/24: no subnet holds those"),
            Self::Interface(name, address) => {
                write!(f, "clients on the interface {name}: no subnet names it or holds our address there, {address}")
            }
            Self::NoAddress(name) => {
                write!(f, "clients on the interface {name}: it has no IPv4 address to answer from")
            }
            Self::RelayUnsendable(address, errno) => {
                write!(f, "clients of the relay agent {address}: cannot send to it: {}", reason(*errno))
            }
            Self::ClientsUnsendable(prefix, errno) => {
                write!(f, "clients that have addresses of {prefix}/24: cannot send to them: {}", reason(*errno))
            }
        }
    }
}

impl Unserved {
    /// What to do about it.
    pub fn advice(&self) -> String {
        match self {
            Self::Selected(address) => format!("add a [[dhcp.subnet]] holding {address}"),
            Self::Relay(address) => {
                format!("add a [[dhcp.subnet]] holding {address}, or name {address} in the `relay` of one")
            }
            Self::Clients(prefix) => {
                format!("add a [[dhcp.subnet]] holding addresses of {prefix}/24, or let these clients ask anew")
            }
            Self::Interface(name, address) => {
                format!("add a [[dhcp.subnet]] holding {address}, or name {name} as the `interface` of one")
            }
            Self::NoAddress(name) => format!("give {name} an address of the subnet that its clients are to be in"),
            Self::RelayUnsendable(address, _) => {
                format!("is there a route? `ip route get {address}` says; a firewall may refuse it, too")
            }
            Self::ClientsUnsendable(prefix, _) => {
                format!("is there a route to {prefix}/24? `ip route` says; a firewall may refuse it, too")
            }
        }
    }
}

fn reason(errno: i32) -> io::Error {
    io::Error::from_raw_os_error(errno)
}

#[derive(Debug)]
struct Entry {
    place: Unserved,
    last: Instant,
    told: Instant,
    /// Requests since it was told.
    untold: u64,
}

/// The places of the last minutes.
#[derive(Debug, Default)]
pub(super) struct Places(Mutex<Vec<Entry>>);

impl Places {
    /// Takes note of a request. Returns how many there were since the log told of the place, if it is time to.
    pub(super) fn note(&self, place: &Unserved, now: Instant) -> Option<u64> {
        let mut entries = self.0.lock();
        if let Some(entry) = entries.iter_mut().find(|entry| entry.place == *place) {
            entry.last = now;
            entry.untold += 1;
            let due = now.saturating_duration_since(entry.told) >= TELL;
            return due.then(|| {
                entry.told = now;
                std::mem::take(&mut entry.untold)
            });
        }
        if entries.len() >= PLACES {
            entries.retain(|entry| now.saturating_duration_since(entry.last) < RECENT);
        }
        let room = entries.len() < PLACES;
        if room {
            entries.push(Entry { place: place.clone(), last: now, told: now, untold: 0 });
        }
        room.then_some(1)
    }

    /// The places where a request came lately, by when they were first seen.
    pub(super) fn recent(&self, now: Instant) -> Vec<Unserved> {
        let mut entries = self.0.lock();
        entries.retain(|entry| now.saturating_duration_since(entry.last) < RECENT);
        entries.iter().map(|entry| entry.place.clone()).collect()
    }

    /// Forgets them all: the configuration is another.
    pub(super) fn clear(&self) {
        self.0.lock().clear();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_place_is_told_once_a_minute_and_forgotten_some_minutes_after_its_last_request() {
        let (places, start) = (Places::default(), Instant::now());
        let at = |seconds| start + Duration::from_secs(seconds);
        let relay = Unserved::Relay([10, 9, 0, 1].into());
        assert_eq!(places.note(&relay, at(0)), Some(1));
        assert!((1..60).all(|second| places.note(&relay, at(second)).is_none()));
        assert_eq!(places.note(&relay, at(60)), Some(60));
        assert_eq!(places.recent(at(239)), std::slice::from_ref(&relay));
        assert_eq!(places.recent(at(240)), []);
        assert_eq!(places.note(&relay, at(240)), Some(1));
        places.clear();
        assert_eq!(places.recent(at(240)), []);
    }

    #[test]
    fn only_so_many_places_are_known_at_a_time() {
        let (places, start) = (Places::default(), Instant::now());
        let relay = |last: u32| Unserved::Relay(Ipv4Addr::from(0x0a00_0000 + last));
        let told = (0..1000).filter(|last| places.note(&relay(*last), start).is_some()).count();
        assert_eq!((told, places.recent(start).len()), (PLACES, PLACES));
        assert!(places.note(&relay(2000), start + RECENT).is_some(), "the old ones made room");
    }

    #[test]
    fn what_is_told_names_the_place_and_what_to_do() {
        let relay = Unserved::Relay([10, 9, 0, 1].into());
        assert!(relay.advice().starts_with("add a [[dhcp.subnet]] holding 10.9.0.1"), "{}", relay.advice());
        let link = Unserved::from(Locator::Interface("lan0", [192, 0, 2, 1].into()));
        assert!(link.to_string().contains("lan0") && link.advice().contains("192.0.2.1"), "{link}");
        assert_eq!(
            Unserved::from(Locator::Client([10, 9, 1, 77].into())),
            Unserved::from(Locator::Client([10, 9, 1, 78].into()))
        );
    }
}
