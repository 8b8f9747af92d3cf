//! What the fuzz targets do with what a site is given by its device and by other sites, and what must hold whatever it is. Public API only: the test
//! `crates/sdwan/tests/hostile.rs` includes this file and replays the corpora through it.
#![allow(clippy::expect_used, clippy::indexing_slicing)]

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use outwork_engine::Time;
use outwork_net::tun::VnetHeader;
use outwork_sdwan::control::seen::Word;
use outwork_sdwan::engine::flow::Flows;
use outwork_sdwan::engine::hello::Hello;
use outwork_sdwan::engine::mtu::Probe;
use outwork_sdwan::engine::policy::{AppId, Application, Matcher};
use outwork_sdwan::plane::fec::decoder::{Budget, Decoder};
use outwork_sdwan::plane::fec::encoder::Encoder;
use outwork_sdwan::plane::fragment::fragment;
use outwork_sdwan::plane::frame::{self, Frame, Part, Shape};
use outwork_sdwan::plane::join::{Joiner, MOST, Offload, PARTS};
use outwork_sdwan::plane::names::Names;
use outwork_sdwan::plane::packet::{Packet, clamp, mark};
use outwork_sdwan::plane::relay::Passage;
use outwork_sdwan::plane::split::{Layout, Pieces, fits, split};
use outwork_wire::checksum::{Sum, checksum};

const TCP: u8 = 6;
const UDP: u8 = 17;
/// What takes more is refused for that.
const ROOM: usize = 1 << 16;

/// A packet of a device, behind its header and the octets that its path takes (two of them): read, changed, cut into segments and into parts.
pub fn device(bytes: &[u8]) {
    let (Some(header), Some(rest)) = (VnetHeader::read(bytes), bytes.get(VnetHeader::LENGTH..)) else { return };
    let [high, low, octets @ ..] = rest else { return };
    let mtu = usize::from(u16::from_be_bytes([*high, *low]) % 9001);
    let Ok(packet) = Packet::read(octets) else { return };
    assert!(packet.header <= packet.length && packet.length <= octets.len());
    assert!(packet.has_ports() || (packet.source_port, packet.destination_port) == (0, 0) || packet.protocol == 132);
    changed(octets, &packet, mtu);
    let layout = Layout { head: 16, front: 0, tail: 16, pad_to: 16, mtu };
    let mut out = vec![0xee; ROOM];
    if let Ok(pieces) = split(&header, octets, &layout, &mut out) {
        let longest = stands(&layout, &pieces, &out);
        let kind = header.kind & !VnetHeader::ECN;
        assert!(longest <= packet.length);
        match kind {
            // Where headers fill the path, each has an octet of payload all the same.
            VnetHeader::TCP4 | VnetHeader::TCP6 => assert!(longest <= mtu.max(packet.header + 61)),
            _ => assert!(longest <= mtu || !fits(&header, &packet, mtu)),
        }
        pieces.filter(|_| kind != VnetHeader::NONE).for_each(|range| {
            let piece = Packet::read(&out[range]).expect("what was cut can be read");
            assert_eq!(piece.flow(None), packet.flow(None));
        });
    }
    let mut out = vec![0xee; ROOM];
    if let Ok(parts) = fragment(&header, octets, &layout, &mut out) {
        assert!(stands(&layout, &parts, &out) <= mtu && packet.divisible);
        let payload: Vec<u8> =
            parts.flat_map(|range| out[range].get(packet.header..).unwrap_or_default().to_vec()).collect();
        assert_eq!(payload.len(), packet.length - packet.header, "nothing is left out, and nothing is twice");
        assert!(header.needs_checksum() || payload == octets[packet.header..packet.length]);
    }
}

/// Pieces stand one behind the other, and what is around them is left alone. The longest.
fn stands(layout: &Layout, pieces: &Pieces, out: &[u8]) -> usize {
    let (mut end, mut longest) = (0, 0);
    for range in pieces.clone() {
        assert!(range.start >= end + layout.head && range.end + layout.tail <= out.len());
        assert!(out[end..range.start].iter().all(|octet| *octet == 0xee));
        (end, longest) = (range.end, longest.max(range.len()));
    }
    assert_eq!(longest, pieces.longest());
    longest
}

/// Neither its length nor anything but what it says changes.
fn changed(octets: &[u8], packet: &Packet, mtu: usize) {
    let mut marked = octets.to_vec();
    if mark(&mut marked, 46).is_some() {
        let after = Packet::read(&marked).expect("it is a packet as before");
        assert_eq!((after.dscp(), after.class & 3, after.length), (46, packet.class & 3, packet.length));
        assert_eq!(marked[12..], octets[12..]);
    }
    let mut clamped = octets.to_vec();
    if clamp(&mut clamped, packet, mtu) {
        assert!(!clamp(&mut clamped, packet, mtu), "once is enough");
    }
    assert_eq!(Packet::read(&clamped).as_ref(), Ok(packet));
}

/// Packets of a run, each with its length in two bytes before it: joined, cut again, and what they were. A length whose upper bit is set asks for right checksums.
pub fn run(mut bytes: &[u8]) {
    let mut packets = vec![];
    while let [high, low, rest @ ..] = bytes
        && packets.len() < 3 * PARTS
    {
        let length = usize::from(u16::from_be_bytes([high & 0x7f, *low])).min(rest.len());
        let (packet, rest) = rest.split_at(length);
        let mut packet = packet.to_vec();
        if high & 0x80 != 0 {
            seal(&mut packet);
        }
        packets.push(packet);
        bytes = rest;
    }
    for offload in [(true, true), (true, false), (false, false)] {
        let offload = Offload { tcp: offload.0, udp: offload.1 };
        let mut came: Vec<_> = packets.iter().map(|packet| bare(packet)).collect();
        let mut left: Vec<_> = joined(offload, &packets).iter().map(|packet| bare(packet)).collect();
        came.sort();
        left.sort();
        assert!(came == left, "what was joined is not what came");
    }
}

/// Joins packets, and cuts what came of it again.
fn joined(offload: Offload, packets: &[Vec<u8>]) -> Vec<Vec<u8>> {
    let mut joiner = Joiner::new(offload);
    let (mut buffers, mut left) = (packets.to_vec(), vec![]);
    for (buffer, packet) in packets.iter().enumerate() {
        if !joiner.push(buffer, 0..packet.len(), packet) {
            written(&joiner, &mut buffers, &mut left);
            joiner.clear();
            assert!(joiner.push(buffer, 0..packet.len(), packet));
        }
    }
    written(&joiner, &mut buffers, &mut left);
    left
}

fn written(joiner: &Joiner, buffers: &mut [Vec<u8>], left: &mut Vec<Vec<u8>>) {
    let layout = Layout { head: 0, front: 0, tail: 0, pad_to: 1, mtu: 65_535 };
    for write in joiner.writes() {
        assert!((1..=MOST).contains(&write.count()));
        let first = write.first();
        let header = write.amend(&mut buffers[first.buffer][first.range]).expect("it lies there");
        let whole: Vec<u8> = write.parts().flat_map(|part| buffers[part.buffer][part.range.clone()].to_vec()).collect();
        if write.count() == 1 {
            assert_eq!(header, VnetHeader::default());
            left.push(whole);
            continue;
        }
        let mut out = vec![0; 2 * whole.len() + 64 * 128];
        let pieces = split(&header, &whole, &layout, &mut out).expect("what is joined can be cut");
        assert_eq!(pieces.len(), write.count());
        left.extend(pieces.map(|range| out[range].to_vec()));
    }
}

/// Where the header of TCP or UDP begins, and where in it the checksum stands.
fn check_of(packet: &Packet) -> Option<(usize, usize)> {
    let at = match packet.protocol {
        TCP => 16,
        UDP => 6,
        _ => return None,
    };
    (!packet.part && packet.header + at + 2 <= packet.length).then_some((packet.header, at))
}

/// The checksum of TCP or UDP over what stands there now.
fn sum(octets: &[u8], packet: &Packet, from: usize) -> Sum {
    let (source, destination) = if octets[0] >> 4 == 4 { (12..16, 16..20) } else { (8..24, 24..40) };
    let length = (packet.length - from) as u16;
    Sum::pseudo(&octets[source], &octets[destination], packet.protocol, length).bytes(&octets[from..packet.length])
}

/// Makes lengths and checksums right, so that what lies behind them is reached.
fn seal(octets: &mut [u8]) {
    let total = octets.len() as u16;
    match octets.first().map(|first| first >> 4) {
        Some(4) if octets.len() >= 20 => {
            octets[2..4].copy_from_slice(&total.to_be_bytes());
            octets[10..12].fill(0);
            let header = (usize::from(octets[0] & 15) * 4).clamp(20, octets.len());
            let check = checksum(&octets[..header]);
            octets[10..12].copy_from_slice(&check.to_be_bytes());
        }
        Some(6) if octets.len() >= 40 => octets[4..6].copy_from_slice(&(total - 40).to_be_bytes()),
        _ => return,
    }
    let Ok(packet) = Packet::read(octets) else { return };
    let Some((from, at)) = check_of(&packet) else { return };
    if packet.protocol == UDP {
        octets[from + 4..from + 6].copy_from_slice(&(total - from as u16).to_be_bytes());
    }
    octets[from + at..from + at + 2].fill(0);
    let check = match sum(octets, &packet, from).finish() {
        0 => 0xffff,
        check => check,
    };
    octets[from + at..from + at + 2].copy_from_slice(&check.to_be_bytes());
}

/// A packet without what may be another of the same meaning: checksums that are right, which have two forms of zero, and identifications of what may not be cut.
fn bare(octets: &[u8]) -> Vec<u8> {
    let mut bare = octets.to_vec();
    let Ok(packet) = Packet::read(octets) else { return bare };
    if let Some((from, at)) = check_of(&packet)
        && sum(octets, &packet, from).finish() == 0
    {
        bare[from + at..from + at + 2].fill(0);
    }
    if packet.source.is_ipv4() && checksum(&octets[..20]) == 0 && octets[0] == 0x45 {
        bare[10..12].fill(0);
        if octets[6] & 0xe0 == 0x40 {
            bare[4..6].fill(0);
        }
    }
    bare
}

/// What sites say to each other inside their tunnels: it is one thing or none, and written again it is the same.
pub fn inside(bytes: &[u8]) {
    let (hello, probe, frame) = (Hello::decode(bytes), Probe::decode(bytes), Frame::decode(bytes));
    let (passage, word) = (Passage::decode(bytes), Word::decode(bytes));
    let all = [hello.is_some(), probe.is_some(), frame.is_some(), passage.is_some(), word.is_some()];
    assert!(all.into_iter().filter(|is| *is).count() <= 1);
    assert!(bytes.first() == Some(&0) || all == [false; 5], "what is IP is nothing else");
    if let Some((passage, inner)) = passage {
        let again = [&passage.encode()[..], inner].concat();
        assert_eq!(Passage::decode(&again), Some((passage, inner)));
    }
    if let Some(word) = word {
        assert_eq!(Word::decode(&word.encode()), Some(word));
    }
    if let Some(hello) = hello {
        assert_eq!(Hello::decode(&hello.encode()), Some(hello));
    }
    if let Some(probe) = probe {
        assert!(probe.length() <= bytes.len());
        let mut again = probe.encode().to_vec();
        again.resize(probe.length(), 0);
        assert_eq!(Probe::decode(&again), Some(probe));
    }
    if let Some(frame) = frame {
        assert_eq!(Frame::decode(&frame.encode()), Some(frame));
        match frame.part {
            Part::Twice => {}
            Part::Data { place, shape } => assert!(place < shape.data() && shape.data() <= Shape::DATA),
            Part::Parity { row, shape } => assert!(row < shape.parity() && shape.parity() <= Shape::PARITY),
        }
    }
}

/// Names that are known, each of an application.
pub const NAMES: [&str; 2] = ["mail.test", "calls.test"];

/// What a worker knows of the names of flows.
pub struct Known {
    names: Names,
    flows: Flows,
    matcher: Matcher,
    now: Time,
}

impl Default for Known {
    fn default() -> Self {
        Self::new()
    }
}

impl Known {
    /// Nothing so far.
    pub fn new() -> Known {
        let one = |name: &str| Application { names: vec![name.to_owned()], ports: vec![] };
        let matcher = Matcher::compile(&[], &NAMES.map(one), 1).expect("applications");
        Known { names: Names::default(), flows: Flows::new(1024), matcher, now: Time::from_secs(1) }
    }

    /// Passes a segment of the flow from a port: its application by then.
    pub fn pass(&mut self, port: u16, flags: u8, sequence: u32, payload: &[u8]) -> Option<usize> {
        let mut octets = vec![0x45, 0, 0, 0, 0, 0, 0x40, 0, 64, TCP, 0, 0, 10, 0, 0, 1, 10, 0, 0, 2];
        octets.extend(port.to_be_bytes());
        octets.extend(443_u16.to_be_bytes());
        octets.extend(sequence.to_be_bytes());
        octets.extend([0, 0, 0, 0, 0x50, flags, 0, 64, 0, 0, 0, 0]);
        octets.extend(payload);
        seal(&mut octets);
        self.packet(&octets)
    }

    /// The same of whatever it is.
    fn packet(&mut self, octets: &[u8]) -> Option<usize> {
        let packet = Packet::read(octets).ok()?;
        let of = (self.now, packet.flow(None).hash(1));
        let found = self.names.application(&self.flows, &self.matcher, of, (octets, &packet));
        found.map(|AppId(number)| {
            assert!(usize::from(number) < NAMES.len());
            usize::from(number)
        })
    }
}

/// A packet of whatever there is, and then segments of a few flows, one after the other: a byte with the flow and what the segment is, how far from the octet that comes next it begins, how long it is, and that.
/// A flow whose application is known keeps it until it begins anew.
pub fn names(mut bytes: &[u8]) {
    let mut known = Known::new();
    known.packet(bytes);
    let mut flows: BTreeMap<u8, (u32, Option<usize>)> = BTreeMap::new();
    while let [what, off, length, rest @ ..] = bytes {
        let (payload, rest) = rest.split_at(usize::from(*length).min(rest.len()));
        bytes = rest;
        let flow = what & 7;
        let flags = [0x10, 0x18, 0x02, 0x12, 0x11, 0x04, 0x00, 0x1a][usize::from(what >> 3 & 7)];
        let (next, was) = flows.get(&flow).copied().unwrap_or((u32::MAX - 100, None));
        let begins = flags & 0x12 == 0x02;
        let sequence = next.wrapping_add(u32::from(*off)).wrapping_sub(u32::from(off >> 7) * 256);
        let found = known.pass(flow.into(), flags, sequence, payload);
        assert!(begins || was.is_none() || found == was, "a flow is of one application");
        let after = sequence.wrapping_add(payload.len() as u32 + u32::from(flags & 2 != 0));
        flows.insert(flow, (after, found));
        known.now += Duration::from_micros(u64::from(*what));
    }
}

/// Octets of the longest packet of a group here.
const MTU: usize = 300;

/// Room for the sums of all groups that there may be.
fn plenty() -> Arc<Budget> {
    Arc::new(Budget::new(1 << 24))
}

/// Groups of packets that are lost and mended, the first two bytes their shape; of each packet what becomes of it and its length. Whatever is handed on was sent, and once.
pub fn groups(bytes: &[u8]) {
    let [data, parity, rest @ ..] = bytes else { return };
    let shape = Shape::new(*data, *parity);
    let (mut encoder, mut decoder) = (Encoder::new(7, shape, MTU), Decoder::new(shape, MTU, &plenty()));
    let mut sent: BTreeMap<Vec<u8>, u32> = BTreeMap::new();
    let now = Time::from_secs(1);
    for (number, pair) in rest.chunks_exact(2).enumerate() {
        let (fate, length) = (pair[0], usize::from(pair[1]));
        let mut packet = vec![fate; 4 + length];
        packet[..4].copy_from_slice(&(number as u32).to_be_bytes());
        let frame = encoder.push(now, &packet).expect("there is room");
        sent.insert(packet.clone(), 0);
        for _ in 0..fate & 3 {
            hear(&mut decoder, now, &frame, &packet, &mut sent);
        }
        if encoder.is_full() || fate & 4 != 0 {
            let mut mends = vec![];
            encoder.close(|frame, octets| mends.push((frame, octets.to_vec())));
            // What came is forgotten with its group only when others have its place: nothing of it comes later here.
            for (row, (frame, octets)) in mends.iter().enumerate() {
                if fate >> (3 + row % 5) & 1 == 0 {
                    hear(&mut decoder, now, frame, octets, &mut sent);
                }
            }
        }
    }
    anything(bytes);
}

/// Takes one thing, and counts what is handed on.
fn hear(decoder: &mut Decoder, now: Time, frame: &Frame, octets: &[u8], sent: &mut BTreeMap<Vec<u8>, u32>) {
    let mut handed = vec![];
    if decoder.push(now, frame, octets, |packet| handed.push(packet.to_vec())) {
        handed.push(octets.to_vec());
    }
    for packet in handed {
        let count = sent.get_mut(&packet).expect("what is handed on was sent");
        *count += 1;
        assert_eq!(*count, 1, "once");
    }
}

/// Frames as they come, one behind the other, each with what a byte says of octets behind it: whatever is mended has room.
fn anything(mut bytes: &[u8]) {
    let mut decoder = Decoder::new(Shape::new(10, 2), MTU, &plenty());
    let mut now = Time::from_secs(1);
    while let Some((head, rest)) = bytes.split_at_checked(frame::LENGTH)
        && let [length, rest @ ..] = rest
    {
        let (octets, rest) = rest.split_at(usize::from(*length).min(rest.len()));
        if let Some(frame) = Frame::decode(head) {
            decoder.push(now, &frame, octets, |packet| assert!(packet.len() <= MTU));
        }
        now += Duration::from_millis(u64::from(*length));
        bytes = rest;
    }
}
