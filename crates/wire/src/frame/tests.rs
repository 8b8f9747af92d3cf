//! Whole frames, as written and as mangled by a hostile wire.

use std::net::{Ipv4Addr, SocketAddrV4};

use super::{Link, arp_frame, echo_frame, parse_udp, udp_frame};
use crate::ethernet::{Frame, VlanTag};
use crate::icmp::Echo;
use crate::udp::Checksum;
use crate::{Layer, MacAddr, WireError, arp, ipv4};

const LINK: Link = Link { destination: MacAddr::BROADCAST, source: MacAddr([2, 0, 0, 0, 0, 1]), vlan: None };
const SOURCE: SocketAddrV4 = SocketAddrV4::new(Ipv4Addr::new(10, 0, 0, 1), 67);
const DESTINATION: SocketAddrV4 = SocketAddrV4::new(Ipv4Addr::BROADCAST, 68);

fn samples() -> Vec<Vec<u8>> {
    let mut frames = vec![Vec::new(); 4];
    udp_frame(LINK, SOURCE, DESTINATION, &[0x55; 300], &mut frames[0]).unwrap();
    udp_frame(Link { vlan: Some(VlanTag(7)), ..LINK }, SOURCE, DESTINATION, b"short", &mut frames[1]).unwrap();
    arp_frame(LINK, &arp::Packet::probe(LINK.source, *SOURCE.ip()), &mut frames[2]);
    let echo = Echo { reply: false, identifier: 7, sequence: 9, data: b"are you there" };
    echo_frame(LINK, *SOURCE.ip(), Ipv4Addr::new(10, 0, 0, 9), &echo, &mut frames[3]).unwrap();
    frames
}

#[test]
fn a_small_datagram_is_built_byte_for_byte() {
    // As Linux sends it, but for the identification; both checksums were worked out apart from this crate.
    let mut frame = Vec::new();
    let link = Link { destination: MacAddr([2, 0, 0, 0, 0, 2]), ..LINK };
    let (source, destination) = ("192.0.2.1:1000".parse().unwrap(), "192.0.2.2:2000".parse().unwrap());
    udp_frame(link, source, destination, b"hi", &mut frame).unwrap();
    let expected = [
        0x02, 0, 0, 0, 0, 2, 0x02, 0, 0, 0, 0, 1, 0x08, 0x00, // Ethernet
        0x45, 0, 0, 30, 0, 0, 0x40, 0, 64, 17, 0xb6, 0xcb, 192, 0, 2, 1, 192, 0, 2, 2, // IPv4
        0x03, 0xe8, 0x07, 0xd0, 0, 10, 0x07, 0xb5, b'h', b'i', // UDP
    ];
    assert_eq!(frame, expected);
}

#[test]
fn a_tagged_datagram_reads_back_with_its_tag() {
    let frame = &samples()[1];
    let (link, datagram) = parse_udp(frame, Checksum::Verify).unwrap();
    assert_eq!(link.vlan.map(VlanTag::id), Some(7));
    assert_eq!((datagram.source, datagram.destination, datagram.payload), (SOURCE, DESTINATION, &b"short"[..]));
}

#[test]
fn a_frame_of_another_protocol_is_not_a_datagram() {
    assert_eq!(parse_udp(&samples()[2], Checksum::Verify).unwrap_err(), WireError::Unexpected(Layer::Ipv4));
    assert_eq!(parse_udp(&samples()[3], Checksum::Verify).unwrap_err(), WireError::Unexpected(Layer::Udp));
}

#[test]
fn frames_are_appended_after_what_the_buffer_holds() {
    let mut out = b"before".to_vec();
    udp_frame(LINK, SOURCE, DESTINATION, b"x", &mut out).unwrap();
    assert!(out.starts_with(b"before"));
    assert!(parse_udp(&out[6..], Checksum::Verify).is_ok());
}

#[test]
fn a_payload_too_long_leaves_the_buffer_alone() {
    let mut out = Vec::new();
    let result = udp_frame(LINK, SOURCE, DESTINATION, &vec![0; 65508], &mut out);
    assert_eq!(result, Err(WireError::TooLong(Layer::Ipv4)));
    assert!(out.is_empty());
}

/// SplitMix64: enough to mangle frames, the same in every run.
struct Mangler(u64);

impl Mangler {
    fn below(&mut self, bound: usize) -> usize {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        ((z ^ (z >> 31)) % bound.max(1) as u64) as usize
    }

    fn mangle(&mut self, frame: &mut Vec<u8>) {
        for _ in 0..=self.below(6) {
            let at = self.below(frame.len());
            match self.below(4) {
                0 => frame.truncate(at),
                1 => frame.insert(at.min(frame.len()), self.below(256) as u8),
                // Extremes reach the edges of length fields that random values rarely do.
                2 => frame.iter_mut().skip(at).take(1).for_each(|byte| *byte = if *byte < 0x80 { 0xff } else { 0 }),
                _ => frame.iter_mut().skip(at).take(1).for_each(|byte| *byte ^= 1 << (at % 8)),
            }
        }
    }
}

#[test]
fn two_hundred_thousand_mangled_frames_panic_no_parser() {
    let mut mangler = Mangler(1);
    let (samples, mut refused) = (samples(), 0);
    for round in 0..200_000 {
        let mut frame = samples[round % samples.len()].clone();
        mangler.mangle(&mut frame);
        let Ok(parsed) = Frame::parse(&frame) else {
            refused += 1;
            continue;
        };
        let _ = arp::Packet::parse(parsed.payload);
        let _ = Echo::parse(parsed.payload);
        refused += u32::from(ipv4::Packet::parse(parsed.payload).is_err());
        let _ = parse_udp(&frame, Checksum::Trust);
        let _ = parse_udp(&frame, Checksum::Verify);
    }
    assert!(refused > 100_000, "the mangler does mangle: {refused}");
}
