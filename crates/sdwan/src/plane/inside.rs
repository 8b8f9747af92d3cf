//! What a datagram of a tunnel has inside, and whether whoever sent it may say such a thing. Sites tell each other more than packets; a peer that is no site is a
//! plain one of WireGuard, of which nothing but packets is taken.

use outwork_wireguard::session::Inner;

use super::frame::Frame;
use super::relay::Passage;
use super::tunnel::Tunnel;

/// What is inside.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Inside {
    /// Nothing.
    Keepalive,
    /// A packet.
    Packet,
    /// A packet that comes twice or is of a group, or what mends one.
    Frame(Frame),
    /// A datagram that a hub passes on.
    Passage,
    /// What control is to hear: hellos, probes, who is seen where.
    Control,
    /// What sites say to each other, of somebody who is none.
    NotOfASite,
    /// Nothing that anybody can read.
    Unreadable,
}

/// Reads what came by a tunnel.
pub fn read(tunnel: &Tunnel, inner: Inner, octets: &[u8]) -> Inside {
    match inner {
        Inner::Keepalive => Inside::Keepalive,
        Inner::V4 | Inner::V6 => Inside::Packet,
        Inner::Malformed => Inside::Unreadable,
        Inner::Control if !tunnel.is_of_site() => Inside::NotOfASite,
        Inner::Control => match Frame::decode(octets) {
            Some(frame) => Inside::Frame(frame),
            None if Passage::decode(octets).is_some() => Inside::Passage,
            None => Inside::Control,
        },
    }
}

#[cfg(test)]
mod tests {
    use outwork_wireguard::PublicKey;

    use super::*;
    use crate::control::seen::Word;
    use crate::engine::hello::{Claim, Hello};
    use crate::engine::mtu::Probe;
    use crate::plane::frame::{Part, Shape};
    use crate::plane::relay::Place;
    use crate::plane::tunnel::{Owner, TunnelId, UplinkIndex};

    /// One of each kind that sites say to each other, and what it is of a site.
    fn kinds() -> Vec<(&'static str, Vec<u8>, Inside)> {
        let hello = Hello {
            sequence: 1,
            count: 1,
            stamp: 2,
            echo: None,
            claim: Claim::Uses,
            hurry: true,
            late: 9,
            sent: 3,
            expected: 4,
            got: 5,
            pace: 6,
            want: 7,
        };
        let probe = |answer| Probe { number: 8, size: 80, answer };
        let place = Place::of(&PublicKey([7; 32]));
        let at = "192.0.2.1:9".parse().unwrap();
        let passage = Passage { to: place, from: place, length: 3, ours: false, passed: false };
        let shape = Shape::new(4, 2);
        let frame = |part| Frame { stream: 1, number: 2, part };
        let frames = [Part::Twice, Part::Data { place: 1, shape }, Part::Parity { row: 1, shape }].map(frame);
        let mut kinds = vec![
            ("a hello", hello.encode().to_vec(), Inside::Control),
            ("a question", Word::Where(vec![place]).encode(), Inside::Control),
            ("an answer", Word::There(vec![(place, at)]).encode(), Inside::Control),
            ("a datagram to pass on", [&passage.encode()[..], &[4, 0, 0]].concat(), Inside::Passage),
            ("what nobody knows yet", vec![0, 99, 1, 2], Inside::Control),
        ];
        kinds.extend([false, true].map(|answer| ("a probe", probe(answer).encode().to_vec(), Inside::Control)));
        kinds
            .extend(frames.map(|frame| ("a frame", [&frame.encode()[..], &[0x45; 40]].concat(), Inside::Frame(frame))));
        kinds
    }

    #[test]
    fn of_a_plain_peer_nothing_but_packets_is_taken_whatever_sites_say_to_each_other() {
        let plain = Tunnel::new(TunnelId(1), "phone", UplinkIndex(0), Owner(1), 1420);
        let site = Tunnel::new(TunnelId(2), "site", UplinkIndex(0), Owner(2), 1420).of_site();
        for (what, octets, inside) in kinds() {
            assert_eq!(read(&site, Inner::Control, &octets), inside, "{what} of a site");
            assert_eq!(read(&plain, Inner::Control, &octets), Inside::NotOfASite, "{what} of a plain peer");
        }
        for tunnel in [&plain, &site] {
            let of = |inner| read(tunnel, inner, &[]);
            assert_eq!([of(Inner::V4), of(Inner::V6)], [Inside::Packet; 2]);
            assert_eq!((of(Inner::Keepalive), of(Inner::Malformed)), (Inside::Keepalive, Inside::Unreadable));
        }
    }
}
