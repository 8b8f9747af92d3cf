//! What hubs pass on: where no path of their own joins two sites, or none works, a site that both reach stands between them.
//!
//! What is passed on is a datagram of WireGuard between the two, whole: sealed with keys that the hub has none of, and sealed again on its way to the hub and on
//! from it. So a path by a hub is a tunnel like any other, with hellos, counters, a window against replays and a length of packets of its own; the hub reads nothing,
//! forges nothing, and can only be late or silent, which both ends see. What that costs, a second sealing at each end, is paid by those paths alone.
//!
//! What stands before the datagram, inside the tunnel to the hub, says by which uplinks it is to leave and to arrive. A hub takes it only from the site whose
//! uplink it is said to be from, and passes it on once: what was passed on already is not passed on again, so that nothing goes in circles.

use std::fmt;
use std::net::{IpAddr, Ipv6Addr, SocketAddr, SocketAddrV6};
use std::sync::Arc;

use arc_swap::{ArcSwapOption, Guard};
use outwork_wireguard::PublicKey;
use outwork_wireguard::session::OVERHEAD;

use super::tunnel::{Owner, Tunnel};

/// Octets of the name of an uplink.
pub const PLACE: usize = 8;
/// Octets in front of the datagram.
pub const LENGTH: usize = 24;

/// After the 0 that is no version of IP. Hellos, probes and frames have others.
const KIND: u8 = 32;
/// A hub has passed it on.
const PASSED: u8 = 1;
/// It is no packet of anybody: a handshake, a hello, a probe.
const OURS: u8 = 2;
/// Octets by which packets are shorter that a hub passes on.
const LESS: u16 = (LENGTH + OVERHEAD) as u16;
/// Where others have an address, whoever is reached by a hub has one that nobody has (RFC 6666: 100::/64).
const NOWHERE: [u16; 4] = [0x100, 0, 0, 0];

/// An uplink of a site, as all sites call it: the beginning of its public key.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Place(u64);

impl Place {
    /// That of a key.
    pub fn of(key: &PublicKey) -> Place {
        Place(key.0.first_chunk().map_or(0, |octets| u64::from_be_bytes(*octets)))
    }

    /// From octets; none when they are too few.
    pub fn read(octets: &[u8]) -> Option<Place> {
        octets.first_chunk().map(|octets| Place(u64::from_be_bytes(*octets)))
    }

    /// As octets.
    pub fn octets(self) -> [u8; PLACE] {
        self.0.to_be_bytes()
    }
}

impl fmt::Debug for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Place({:016x})", self.0)
    }
}

/// What stands before a datagram that is passed on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Passage {
    /// Whom it is for.
    pub to: Place,
    /// Who sent it.
    pub from: Place,
    /// Octets of the datagram: what is behind is padding.
    pub length: u16,
    /// Whether it is between ourselves, and no packet: those are not counted as traffic.
    pub ours: bool,
    /// Whether a hub has passed it on.
    pub passed: bool,
}

impl Passage {
    /// As octets.
    pub fn encode(&self) -> [u8; LENGTH] {
        let flags = if self.passed { PASSED } else { 0 } | if self.ours { OURS } else { 0 };
        let mut octets = [0; LENGTH];
        let fields: [&[u8]; 5] =
            [&[0, KIND, flags, 0], &self.length.to_be_bytes(), &[0, 0], &self.to.octets(), &self.from.octets()];
        for (slot, octet) in octets.iter_mut().zip(fields.into_iter().flatten()) {
            *slot = *octet;
        }
        octets
    }

    /// From octets, and the datagram behind it; none when they are none.
    pub fn decode(octets: &[u8]) -> Option<(Passage, &[u8])> {
        let (front, rest) = octets.split_first_chunk::<LENGTH>()?;
        let [0, KIND, flags, _, l0, l1, _, _, places @ ..] = front else { return None };
        let (to, from) = places.split_at_checked(PLACE)?;
        let length = u16::from_be_bytes([*l0, *l1]);
        let passage = Passage {
            to: Place::read(to)?,
            from: Place::read(from)?,
            length,
            ours: flags & OURS != 0,
            passed: flags & PASSED != 0,
        };
        Some((passage, rest.get(..usize::from(length))?))
    }
}

/// Where handshakes say that somebody is who is reached by a hub.
pub fn address(place: Place, hub: Owner) -> SocketAddr {
    let [a, b, c, d] = NOWHERE;
    let [e, f, g, h] = [48, 32, 16, 0].map(|shift| (place.0 >> shift) as u16);
    SocketAddrV6::new(Ipv6Addr::new(a, b, c, d, e, f, g, h), 0, 0, hub.0).into()
}

/// The hub by which such an address is reached; none of one that somebody has.
pub fn hub(address: &SocketAddr) -> Option<Owner> {
    match address {
        SocketAddr::V6(at) if at.port() == 0 && at.ip().segments().starts_with(&NOWHERE) => Some(Owner(at.scope_id())),
        _ => None,
    }
}

/// The address that a datagram that a hub passed on was sent to.
pub const HERE: IpAddr = IpAddr::V6(Ipv6Addr::UNSPECIFIED);

/// How a tunnel by a hub goes.
#[derive(Debug)]
pub struct Relay {
    /// To which uplink.
    pub to: Place,
    /// From which of ours.
    pub from: Place,
    /// Where handshakes say that the other end is.
    pub address: SocketAddr,
    carrier: ArcSwapOption<Tunnel>,
}

impl Relay {
    /// One that nothing carries yet.
    pub fn new(from: Place, to: Place, hub: Owner) -> Relay {
        Relay { to, from, address: address(to, hub), carrier: ArcSwapOption::empty() }
    }

    /// The tunnel to the hub that carries it.
    pub fn carrier(&self) -> Guard<Option<Arc<Tunnel>>> {
        self.carrier.load()
    }

    /// It goes by another tunnel from now on.
    pub(crate) fn go_by(&self, carrier: Option<&Arc<Tunnel>>) {
        if self.carrier.load().as_ref().map(Arc::as_ptr) != carrier.map(Arc::as_ptr) {
            self.carrier.store(carrier.cloned());
        }
    }

    /// Octets of the longest packet that fits into what carries it.
    pub fn mtu(&self) -> u16 {
        self.carrier().as_ref().map_or(u16::MAX, |carrier| carrier.mtu().saturating_sub(LESS))
    }

    /// What stands before a datagram.
    pub fn passage(&self, length: usize, ours: bool) -> Option<Passage> {
        let length = u16::try_from(length).ok()?;
        Some(Passage { to: self.to, from: self.from, length, ours, passed: false })
    }
}

#[cfg(test)]
mod tests {
    use outwork_engine::sim;

    use super::*;
    use crate::engine::hello::Hello;
    use crate::engine::mtu::Probe;
    use crate::plane::frame::Frame;

    #[test]
    fn what_stands_before_a_datagram_survives_its_way_and_padding_is_left_behind() {
        sim::seeds(300, |rng| {
            let datagram: Vec<u8> = (0..rng.below(200)).map(|_| rng.next_u32() as u8).collect();
            let passage = Passage {
                to: Place(rng.next_u64()),
                from: Place(rng.next_u64()),
                length: datagram.len() as u16,
                ours: rng.chance(0.5),
                passed: rng.chance(0.5),
            };
            let mut octets = passage.encode().to_vec();
            octets.extend(&datagram);
            let cut = rng.below(octets.len() as u64) as usize;
            assert_eq!(Passage::decode(&octets[..cut]), None, "half of it is none");
            octets.extend([0; 7]);
            assert_eq!(Passage::decode(&octets), Some((passage, &datagram[..])));
            assert!(Hello::decode(&octets).is_none() && Probe::decode(&octets).is_none());
            assert!(Frame::decode(&octets).is_none());
        });
    }

    #[test]
    fn whoever_is_reached_by_a_hub_is_somewhere_else_by_another_hub_and_nobody_else_is_there() {
        let (place, hub_of) = (Place(0xfedc_ba98_7654_3210), hub);
        assert_eq!(address(place, Owner(7)).to_string(), "[100::fedc:ba98:7654:3210%7]:0");
        assert_eq!(hub_of(&address(place, Owner(7))), Some(Owner(7)));
        assert_ne!(address(place, Owner(7)), address(place, Owner(8)));
        for real in ["192.0.2.1:51820", "[2001:db8::1]:51820", "[100::1]:51820"] {
            assert_eq!(hub_of(&real.parse().unwrap()), None, "{real}");
        }
    }
}
