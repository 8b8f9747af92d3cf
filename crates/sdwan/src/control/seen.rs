//! Where sites behind NATs are seen from outside. Who cannot be dialled dials a hub, which sees the address that its NAT shows; two of these ask the hub where
//! the other is, and dial each other at the same time, by which each opens its own NAT for the other (RFC 5128 section 3.3). As long as nothing comes of that,
//! as between NATs that show everyone another address, the hub passes on what they say.
//!
//! The first octet is 0, as that of hellos. Numbers are big-endian.

use std::net::{IpAddr, Ipv6Addr, SocketAddr};

use crate::plane::relay::{PLACE, Place};

/// Uplinks that are asked about at once.
pub const MOST: usize = 16;

const QUESTION: u8 = 33;
const ANSWER: u8 = 34;
/// Octets in front.
const HEAD: usize = 4;
/// Octets of an uplink and where it is seen: its name, the port, and the address as one of IPv6.
const SEEN: usize = PLACE + 2 + 16;

/// What a site and a hub say to each other about that.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Word {
    /// Where are these seen, and where am I?
    Where(Vec<Place>),
    /// There: who asked comes first, by the uplink by which it asked.
    There(Vec<(Place, SocketAddr)>),
}

impl Word {
    /// As octets. What is beyond [`MOST`] is left out.
    pub fn encode(&self) -> Vec<u8> {
        let head = |kind: u8, count: usize| vec![0, kind, 0, count.min(MOST) as u8];
        match self {
            Word::Where(places) => {
                let mut octets = head(QUESTION, places.len());
                octets.extend(places.iter().take(MOST).flat_map(|place| place.octets()));
                octets
            }
            Word::There(seen) => {
                let mut octets = head(ANSWER, seen.len());
                for (place, at) in seen.iter().take(MOST) {
                    let address = match at.ip() {
                        IpAddr::V4(v4) => v4.to_ipv6_mapped(),
                        IpAddr::V6(v6) => v6,
                    };
                    octets.extend(place.octets());
                    octets.extend(at.port().to_be_bytes());
                    octets.extend(address.octets());
                }
                octets
            }
        }
    }

    /// From octets, and maybe padding; none when they are something else, or cut short.
    pub fn decode(octets: &[u8]) -> Option<Word> {
        let ([0, kind, _, count], rest) = octets.split_first_chunk::<HEAD>()? else { return None };
        let count = usize::from(*count);
        match *kind {
            QUESTION if count <= MOST => {
                let places = rest.get(..count * PLACE)?.chunks_exact(PLACE);
                Some(Word::Where(places.filter_map(Place::read).collect()))
            }
            ANSWER if count <= MOST => {
                let seen = |octets: &[u8]| {
                    let (place, at) = octets.split_at_checked(PLACE)?;
                    let (port, address) = at.split_first_chunk::<2>()?;
                    let address = Ipv6Addr::from(*address.first_chunk::<16>()?).to_canonical();
                    Some((Place::read(place)?, SocketAddr::new(address, u16::from_be_bytes(*port))))
                };
                Some(Word::There(rest.get(..count * SEEN)?.chunks_exact(SEEN).filter_map(seen).collect()))
            }
            _ => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use outwork_engine::sim;
    use outwork_wireguard::PublicKey;

    use super::*;
    use crate::engine::hello::Hello;
    use crate::engine::mtu::Probe;

    #[test]
    fn what_is_said_of_who_is_seen_where_survives_its_way_and_half_of_it_is_none() {
        sim::seeds(200, |rng| {
            let mut place = || Place::of(&PublicKey([rng.next_u32() as u8; 32]));
            let places: Vec<_> = (0..MOST).map(|_| place()).collect();
            let at = ["192.0.2.7:51820", "[2001:db8::7]:9"].map(|at| at.parse().unwrap());
            let seen = places.iter().zip(at.iter().cycle()).map(|(place, at)| (*place, *at)).collect();
            for word in [Word::Where(places.clone()), Word::There(seen)] {
                let mut octets = word.encode();
                assert!((0..octets.len()).all(|length| Word::decode(&octets[..length]).is_none()));
                octets.extend([0; 13]);
                assert_eq!(Word::decode(&octets), Some(word));
                assert!(Hello::decode(&octets).is_none() && Probe::decode(&octets).is_none());
            }
            let mut noise = vec![0; rng.below(99) as usize];
            rng.fill(&mut noise);
            let _ = Word::decode(&noise);
        });
    }

    #[test]
    fn no_more_is_said_at_once_than_is_heard() {
        let place = Place::of(&PublicKey([7; 32]));
        let Some(Word::Where(heard)) = Word::decode(&Word::Where(vec![place; 99]).encode()) else { panic!("unheard") };
        assert_eq!(heard.len(), MOST);
    }
}
