//! What is joined, cut again, against what came.

use std::collections::HashMap;

use super::*;
use crate::plane::join::{Joiner, MOST, Offload, PARTS};
use crate::plane::packet::{Packet, SYN};
use crate::plane::split::{Layout, split};
use outwork_engine::sim;

const ALL: Offload = Offload { tcp: true, udp: true };

/// One write, as a device gets it, and how many packets are in it.
type Written = (VnetHeader, Vec<u8>, usize);

/// Joins packets that lie in buffers, each behind some octets of another.
fn join(offload: Offload, packets: &[Vec<u8>]) -> Vec<Written> {
    let mut joiner = Joiner::new(offload);
    let mut buffers: Vec<Vec<u8>> = packets.iter().map(|packet| [&[0; 16], &packet[..]].concat()).collect();
    let mut written = vec![];
    for (number, packet) in packets.iter().enumerate() {
        if !joiner.push(number, 16..16 + packet.len(), packet) {
            write_all(&joiner, &mut buffers, &mut written);
            joiner.clear();
            assert!(joiner.is_empty() && joiner.push(number, 16..16 + packet.len(), packet));
        }
    }
    write_all(&joiner, &mut buffers, &mut written);
    written
}

fn write_all(joiner: &Joiner, buffers: &mut [Vec<u8>], written: &mut Vec<Written>) {
    for write in joiner.writes() {
        let first = write.first();
        let header = write.amend(&mut buffers[first.buffer][first.range]).unwrap();
        assert_eq!(write.parts().len(), write.count());
        let octets = write.parts().flat_map(|part| buffers[part.buffer][part.range.clone()].to_vec()).collect();
        written.push((header, octets, write.count()));
    }
}

/// What was joined, cut again.
fn cut(written: &[Written]) -> Vec<Vec<u8>> {
    let layout = Layout { head: 0, tail: 0, pad_to: 1, mtu: 65_535 };
    let mut out = vec![0; 200_000];
    let mut packets = vec![];
    for (header, octets, count) in written {
        // What stays alone may be anything.
        if *count == 1 {
            assert_eq!(*header, VnetHeader::default());
            packets.push(octets.clone());
            continue;
        }
        assert_eq!(Packet::read(octets).unwrap().length, octets.len());
        let pieces = split(header, octets, &layout, &mut out).unwrap();
        assert_eq!(pieces.len(), *count);
        packets.extend(pieces.map(|range| out[range].to_vec()));
    }
    packets
}

/// A flow that sends.
struct Sender {
    plain: Plain,
    segment: usize,
    /// By how much identifications grow.
    step: u16,
}

impl Sender {
    fn new(rng: &mut Rng, port: u16) -> Sender {
        let mut plain = Plain::new(rng.chance(0.4), if rng.chance(0.7) { TCP } else { UDP });
        plain.pair = rng.below(3) as u8;
        plain.ports.0 = port;
        plain.sequence = if rng.chance(0.3) { u32::MAX - 5000 } else { rng.next_u32() };
        plain.identification = if rng.chance(0.3) { u16::MAX - 3 } else { rng.next_u32() as u16 };
        plain.options = if rng.chance(0.5) { vec![1, 1, 8, 10, 0, 0, 0, 1, 0, 0, 0, 2] } else { vec![] };
        plain.fragment = if rng.chance(0.7) { 0x4000 } else { 0 };
        let step = if plain.fragment == 0 || rng.chance(0.9) { 1 } else { rng.below(3) as u16 };
        Sender { plain, segment: [40, 101, 1000, 1400][rng.below(4) as usize], step }
    }

    /// The next packet: mostly what can be joined, sometimes anything else.
    fn next(&mut self, rng: &mut Rng) -> Vec<u8> {
        let mut one = self.plain.clone();
        one.payload = octets(rng, self.segment);
        match rng.below(30) {
            0 => one.flags |= [FIN, SYN, CWR, 0x04, 0x20, 0x40][rng.below(6) as usize],
            1 => one.payload.clear(),
            2 => one.payload.truncate(rng.below(self.segment as u64) as usize),
            3 => one.payload.push(1),
            4 => one.flags |= PUSH,
            5 => self.plain.acknowledged += 1,
            6 => self.plain.window ^= 1,
            7 => one.class ^= 1 + rng.below(255) as u8,
            8 => one.sequence = one.sequence.wrapping_add(rng.below(5) as u32),
            9 => one.fragment |= 0x2000 >> rng.below(3),
            10 => one.extension = if one.v6 { vec![one.protocol, 0, 1, 4, 0, 0, 0, 0] } else { vec![1, 1, 1, 0] },
            11 => self.plain.identification = self.plain.identification.wrapping_add(1),
            12 => one.protocol = 1,
            13 => self.plain.options = vec![1; self.plain.options.len()],
            _ => {}
        }
        self.plain.sequence = one.sequence.wrapping_add(one.payload.len() as u32);
        self.plain.identification = self.plain.identification.wrapping_add(self.step);
        let mut packet = one.build();
        if rng.chance(0.02) {
            let at = rng.below(packet.len() as u64) as usize;
            packet[at] ^= 1 << rng.below(8);
        }
        if rng.chance(0.005) {
            packet.truncate(rng.below(packet.len() as u64) as usize);
        }
        packet
    }
}

/// Identifications of packets that may not be cut are no more than decoration.
fn bare(packet: &[u8]) -> Vec<u8> {
    let mut packet = packet.to_vec();
    if packet.len() >= 20 && packet[0] == 0x45 && packet[6] & 0xe0 == 0x40 && book(&[&packet[..20]]) == 0 {
        packet[4..6].fill(0);
        packet[10..12].fill(0);
        // A sum has two forms of zero.
        let check = book(&[&packet[..20]]);
        packet[10..12].copy_from_slice(&check.to_be_bytes());
    }
    packet
}

fn stream(rng: &mut Rng) -> Vec<Vec<u8>> {
    let flows = 1 + rng.below(12);
    let mut senders: Vec<_> = (0..flows).map(|port| Sender::new(rng, port as u16)).collect();
    let mut packets = vec![];
    while packets.len() < 300 {
        let sender = &mut senders[rng.below(flows) as usize];
        for _ in 0..1 + rng.below(6) {
            packets.push(sender.next(rng));
        }
    }
    packets
}

#[test]
fn what_was_joined_is_cut_into_the_packets_that_came_and_none_overtakes_another_of_its_flow() {
    sim::seeds(60, |rng| {
        let packets = stream(rng);
        let offload = Offload { tcp: rng.chance(0.9), udp: rng.chance(0.7) };
        let got = cut(&join(offload, &packets));
        assert_eq!(got.len(), packets.len());
        let mut places: HashMap<Vec<u8>, Vec<usize>> = HashMap::new();
        for (place, packet) in got.iter().enumerate().rev() {
            places.entry(bare(packet)).or_default().push(place);
        }
        let place = |packet: &Vec<u8>| places.get_mut(&bare(packet)).and_then(Vec::pop);
        let order: Vec<usize> = packets.iter().map(place).map(|place| place.expect("it comes out")).collect();
        let read: Vec<_> = packets.iter().map(|packet| Packet::read(packet).ok()).collect();
        for (later, packet) in read.iter().enumerate() {
            for (earlier, other) in read[..later].iter().enumerate() {
                let ordered = match (packet, other) {
                    (Some(one), Some(other)) => {
                        let pair = (one.source, one.destination) == (other.source, other.destination);
                        let same = (one.protocol, one.source_port) == (other.protocol, other.source_port);
                        pair && (same || !one.has_ports() || !other.has_ports())
                    }
                    _ => true,
                };
                assert!(!ordered || order[earlier] < order[later], "{later} has overtaken {earlier}");
            }
        }
    });
}

fn run(plain: &Plain, count: usize, segment: usize) -> Vec<Vec<u8>> {
    let mut whole = plain.clone();
    whole.payload = (0..count * segment).map(|at| (at * 7) as u8).collect();
    whole.pieces(segment)
}

fn counts(written: &[Written]) -> Vec<usize> {
    written.iter().map(|(_, _, count)| *count).collect()
}

#[test]
fn a_run_of_one_flow_is_one_write_whose_header_says_what_it_is() {
    for (v6, protocol, kind) in [
        (false, TCP, VnetHeader::TCP4),
        (true, TCP, VnetHeader::TCP6),
        (false, UDP, VnetHeader::UDP),
        (true, UDP, VnetHeader::UDP),
    ] {
        let mut plain = Plain::new(v6, protocol);
        plain.payload = (0..10_000).map(|at| (at * 7) as u8).collect();
        plain.flags |= PUSH;
        let written = join(ALL, &plain.pieces(1001));
        let (header, octets) = plain.whole(1001);
        let expected = VnetHeader { kind, ..header };
        assert_eq!(written, [(expected, octets, 10)], "as the kernel would have handed it over");
    }
}

#[test]
fn flows_that_take_turns_are_joined_each_for_itself() {
    let mut other = Plain::new(false, TCP);
    other.ports.0 = 2;
    let (one, other) = (run(&Plain::new(false, TCP), 20, 1000), run(&other, 20, 900));
    let mixed: Vec<_> = one.into_iter().zip(other).flat_map(|(one, other)| [one, other]).collect();
    assert_eq!(counts(&join(ALL, &mixed)), [20, 20]);
}

#[test]
fn no_write_is_longer_than_a_packet_may_be_or_has_more_parts_than_the_kernel_takes() {
    assert_eq!(counts(&join(ALL, &run(&Plain::new(false, TCP), 100, 1400))), [46, 46, 8]);
    assert_eq!(counts(&join(ALL, &run(&Plain::new(true, UDP), PARTS + 10, 10))), [MOST, MOST, 10]);
}

#[test]
fn what_a_device_does_not_take_is_not_joined() {
    let (tcp, udp) = (run(&Plain::new(false, TCP), 3, 100), run(&Plain::new(false, UDP), 3, 100));
    assert_eq!(counts(&join(Offload { tcp: true, udp: false }, &udp)), [1, 1, 1]);
    assert_eq!(counts(&join(Offload { tcp: false, udp: true }, &tcp)), [1, 1, 1]);
}

#[test]
fn a_packet_with_a_wrong_checksum_stays_alone_and_as_it_is() {
    for (at, protocol) in [(8, TCP), (60, TCP), (60, UDP)] {
        let mut packets = run(&Plain::new(false, protocol), 5, 100);
        packets[2][at] ^= 1;
        let written = join(ALL, &packets);
        assert_eq!(counts(&written), [2, 1, 2]);
        assert_eq!(written[1].1, packets[2]);
    }
}

#[test]
fn a_datagram_without_a_checksum_gets_none() {
    let mut packets = run(&Plain::new(false, UDP), 3, 100);
    packets.iter_mut().for_each(|packet| packet[26..28].fill(0));
    assert_eq!(counts(&join(ALL, &packets)), [1, 1, 1]);
}

#[test]
fn a_push_ends_what_is_joined_and_is_said_once() {
    let mut plain = Plain::new(false, TCP);
    plain.payload = vec![1; 300];
    plain.flags |= PUSH;
    let first = plain.pieces(100);
    plain.sequence += 300;
    plain.identification += 3;
    let written = join(ALL, &[first, plain.pieces(100)].concat());
    assert_eq!(counts(&written), [3, 3]);
    assert!(written.iter().all(|(_, octets, _)| octets[33] == ACK | PUSH));
}

#[test]
fn a_part_of_a_packet_is_not_overtaken_by_what_came_behind_it() {
    let packets = run(&Plain::new(false, UDP), 4, 100);
    let mut part = Plain::new(false, UDP);
    part.fragment = 0x2000;
    part.payload = vec![9; 64];
    let mixed = [&packets[..2], &[part.build()], &packets[2..]].concat();
    assert_eq!(counts(&join(ALL, &mixed)), [2, 1, 2]);
}

#[test]
fn more_flows_than_are_kept_open_are_joined_less_and_lose_nothing() {
    let flows: Vec<_> = (0..20u16)
        .map(|port| {
            let mut plain = Plain::new(false, TCP);
            plain.ports.0 = port;
            run(&plain, 3, 100)
        })
        .collect();
    let mixed: Vec<_> = (0..3).flat_map(|turn| flows.iter().map(move |flow| flow[turn].clone())).collect();
    let mut got = cut(&join(ALL, &mixed));
    let mut expected = mixed.clone();
    got.sort();
    expected.sort();
    assert_eq!(got, expected);
}
