//! What is read of packets, and what is changed of them.

use super::*;
use crate::plane::icmp::too_big;
use crate::plane::packet::{Malformed, Packet, SYN, clamp, mark};
use outwork_engine::sim;

#[test]
fn a_packet_is_known_by_its_addresses_ports_class_and_lengths() {
    for (v6, protocol) in [(false, TCP), (true, TCP), (false, UDP), (true, UDP)] {
        let mut plain = Plain::new(v6, protocol);
        (plain.class, plain.payload) = (46 << 2 | 1, vec![1; 10]);
        let mut octets = plain.build();
        let length = octets.len();
        octets.extend([0; 5]);
        let packet = Packet::read(&octets).unwrap();
        let (source, destination) = plain.addresses();
        let expected = Packet {
            source,
            destination,
            protocol,
            source_port: 40_000,
            destination_port: 443,
            class: plain.class,
            length,
            header: plain.transport(),
            part: false,
            divisible: false,
        };
        assert_eq!((packet, packet.dscp(), packet.has_ports()), (expected, 46, true));
        let mut other = packet.flow(None);
        other.source_port += 1;
        assert_ne!(packet.flow(None).hash(1), other.hash(1));
        assert_eq!((packet.flow(None).dscp, packet.flow(None).destination_port), (46, 443));
    }
}

#[test]
fn ports_are_found_behind_options_and_extension_headers() {
    let mut plain = Plain::new(false, UDP);
    plain.extension = vec![1; 40];
    let packet = Packet::read(&plain.build()).unwrap();
    assert_eq!((packet.header, packet.source_port), (60, 40_000));
    plain.v6 = true;
    // Options, authentication of 16 octets, and a part that is all there is.
    plain.extension = [&[51, 0, 1, 4, 0, 0, 0, 0][..], &[44, 2], &[0; 14], &[UDP, 0, 0, 0, 0, 0, 0, 1]].concat();
    let packet = Packet::read(&plain.build()).unwrap();
    assert_eq!((packet.header, packet.source_port, packet.protocol, packet.part), (72, 40_000, UDP, false));
    plain.extension = [60, 0, 1, 4, 0, 0, 0, 0].repeat(9);
    assert_eq!(Packet::read(&plain.build()), Err(Malformed::Extensions));
    plain.extension = vec![UDP, 30, 1, 4, 0, 0, 0, 0];
    assert_eq!(Packet::read(&plain.build()), Err(Malformed::Cut));
}

#[test]
fn all_parts_of_a_packet_are_of_one_flow_without_ports() {
    let mut plain = Plain::new(false, UDP);
    plain.payload = vec![1; 64];
    let mut flows = vec![];
    for fragment in [0x2000, 0x2008, 0x0010] {
        plain.fragment = fragment;
        let packet = Packet::read(&plain.build()).unwrap();
        assert!(packet.part && packet.divisible && !packet.has_ports());
        flows.push(packet.flow(None));
    }
    assert!(flows.iter().all(|flow| *flow == flows[0] && flow.source_port == 0));
    plain.v6 = true;
    for place in [[0, 1], [0, 9], [0, 16]] {
        plain.extension = [&[44, 0, 1, 4, 0, 0, 0, 0, UDP, 0][..], &place, &[0, 0, 0, 7]].concat();
        let packet = Packet::read(&plain.build()).unwrap();
        assert!(packet.part && (packet.protocol, packet.source_port, packet.header) == (UDP, 0, 56));
    }
}

#[test]
fn octets_cut_short_or_altered_are_read_in_bounds_or_refused() {
    assert_eq!(Packet::read(&[]), Err(Malformed::Empty));
    assert_eq!(Packet::read(&[0x50; 40]), Err(Malformed::Version(5)));
    sim::seeds(2000, |rng| {
        let mut plain = Plain::new(rng.chance(0.5), if rng.chance(0.5) { TCP } else { UDP });
        plain.flags |= SYN;
        let length = 4 * rng.below(11) as usize;
        plain.options = octets(rng, length);
        let mut octets = plain.build();
        assert!((0..octets.len()).all(|length| Packet::read(&octets[..length]).is_err()));
        for _ in 0..rng.below(4) {
            let at = rng.below(octets.len() as u64) as usize;
            octets[at] = rng.next_u32() as u8;
        }
        if let Ok(packet) = Packet::read(&octets) {
            assert!(packet.header <= packet.length && packet.length <= octets.len());
            let mut out = [0; 1280];
            assert!(too_big(&octets, &packet, 1400, &mut out).is_none_or(|length| length <= 1280));
            let length = octets.len();
            clamp(&mut octets, &packet, 1000);
            assert_eq!(octets.len(), length);
        }
    });
}

/// A SYN whose greatest segment size stands at an even or an odd place.
fn syn(v6: bool, odd: bool, size: u16) -> Plain {
    let [s0, s1] = size.to_be_bytes();
    let mut plain = Plain::new(v6, TCP);
    plain.flags = SYN;
    plain.options = if odd { vec![1, 2, 4, s0, s1, 1, 1, 0] } else { vec![3, 2, 2, 4, s0, s1, 1, 0] };
    plain
}

#[test]
fn a_connection_agrees_on_segments_that_fit_and_its_checksum_stays_right() {
    for (v6, odd) in [(false, false), (false, true), (true, false), (true, true)] {
        for size in [1460, 1400, 0xffff] {
            let mut octets = syn(v6, odd, size).build();
            let packet = Packet::read(&octets).unwrap();
            assert!(clamp(&mut octets, &packet, 1420));
            assert_eq!(octets, syn(v6, odd, if v6 { 1360 } else { 1380 }).build());
            assert!(!clamp(&mut octets, &packet, 1420), "once is enough");
        }
    }
}

#[test]
fn what_begins_no_connection_or_asks_for_less_is_left_alone() {
    let mut later = syn(false, false, 1460);
    later.flags = ACK;
    let mut none = syn(false, false, 1460);
    none.options = vec![1, 1, 3, 3, 7, 0, 2, 4, 5, 180, 0, 0];
    let mut part = syn(false, false, 1460);
    part.fragment = 0x2000;
    let mut broken = syn(false, false, 1460);
    broken.options = vec![3, 0, 2, 4, 5, 180, 0, 0];
    for plain in [later, none, part, broken, syn(false, false, 1200), Plain::new(true, UDP)] {
        let mut octets = plain.build();
        let packet = Packet::read(&octets).unwrap();
        assert!(!clamp(&mut octets, &packet, 1420));
        assert_eq!(octets, plain.build());
    }
}

#[test]
fn a_packet_gets_another_class_and_keeps_its_ecn_and_a_right_checksum() {
    for v6 in [false, true] {
        let mut plain = Plain::new(v6, UDP);
        plain.class = 10 << 2 | 3;
        let mut octets = plain.build();
        assert_eq!(mark(&mut octets, 46), Some(()));
        plain.class = 46 << 2 | 3;
        assert_eq!(octets, plain.build());
    }
    assert_eq!((mark(&mut [0x45], 1), mark(&mut [0x50; 40], 1)), (None, None));
}

#[test]
fn who_sends_too_much_is_told_how_much_fits() {
    let mut plain = Plain::new(false, UDP);
    plain.payload = vec![7; 1500];
    let octets = plain.build();
    let packet = Packet::read(&octets).unwrap();
    let mut out = [0; 1280];
    let length = too_big(&octets, &packet, 1420, &mut out).unwrap();
    let message = &out[..length];
    let read = Packet::read(message).unwrap();
    assert_eq!((length, read.length, read.protocol), (576, 576, 1));
    assert_eq!(
        (read.source, read.destination),
        (packet.destination, packet.source),
        "not from here: the kernel takes nothing of its own"
    );
    assert_eq!((book(&[&message[..20]]), book(&[&message[20..]])), (0, 0));
    assert_eq!((&message[20..22], &message[24..28]), (&[3, 4][..], &[0, 0, 5, 140][..]));
    assert_eq!(message[28..], octets[..548]);

    plain.v6 = true;
    let octets = plain.build();
    let packet = Packet::read(&octets).unwrap();
    let length = too_big(&octets, &packet, 1420, &mut out).unwrap();
    let message = &out[..length];
    let read = Packet::read(message).unwrap();
    assert_eq!((length, read.protocol), (1280, 58));
    assert_eq!((read.source, read.destination), (packet.destination, packet.source));
    assert_eq!((&message[40..42], &message[44..48]), (&[2, 0][..], &[0, 0, 5, 140][..]));
    assert_eq!(book(&[&message[8..40], &[0, 58], &1240u16.to_be_bytes(), &message[40..]]), 0);
    assert_eq!(message[48..], octets[..1232]);
}

#[test]
fn nobody_is_told_of_what_may_be_cut_of_errors_or_of_what_goes_to_more_than_one() {
    let mut out = [0; 1280];
    let mut tell = |plain: &Plain, kind: Option<u8>, group: bool| {
        let mut octets = plain.build();
        if let Some(kind) = kind {
            octets[plain.transport()] = kind;
        }
        let first = if plain.v6 { (24, 0xff) } else { (16, 224) };
        octets[first.0] = if group { first.1 } else { octets[first.0] };
        let packet = Packet::read(&octets).unwrap();
        too_big(&octets, &packet, 1420, &mut out).is_some()
    };
    let (v4, v6) = (Plain::new(false, UDP), Plain::new(true, UDP));
    assert!(tell(&v4, None, false) && tell(&v6, None, false));
    assert!(!tell(&v4, None, true) && !tell(&v6, None, true));
    for fragment in [0, 0x2000, 0x4001] {
        assert!(!tell(&Plain { fragment, ..v4.clone() }, None, false));
    }
    let (v4, v6) = (Plain { protocol: 1, ..v4 }, Plain { protocol: 58, ..v6 });
    assert!(tell(&v4, Some(8), false) && !tell(&v4, Some(3), false));
    assert!(tell(&v6, Some(128), false) && !tell(&v6, Some(2), false));
}
