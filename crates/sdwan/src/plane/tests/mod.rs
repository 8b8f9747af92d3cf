//! Packets built and cut the plain way, octet by octet, to hold the plane to.

mod fragment;
mod join;
mod names;
mod packet;
mod split;
mod workers;

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::ops::Range;

use outwork_engine::Rng;

use super::packet::{ACK, CWR, FIN, PUSH, TCP, UDP};
use outwork_net::tun::VnetHeader;

/// RFC 1071 as written.
fn book(pieces: &[&[u8]]) -> u16 {
    let mut sum = 0u32;
    for pair in pieces.concat().chunks(2) {
        sum += u32::from(u16::from_be_bytes([pair[0], *pair.get(1).unwrap_or(&0)]));
        sum = (sum & 0xffff) + (sum >> 16);
    }
    !(sum as u16)
}

/// A packet to be.
#[derive(Debug, Clone)]
struct Plain {
    v6: bool,
    /// Between which two.
    pair: u8,
    ports: (u16, u16),
    protocol: u8,
    sequence: u32,
    acknowledged: u32,
    flags: u8,
    window: u16,
    /// Of TCP.
    options: Vec<u8>,
    /// Of IP: options, or extension headers that end in this protocol.
    extension: Vec<u8>,
    class: u8,
    identification: u16,
    fragment: u16,
    payload: Vec<u8>,
}

impl Plain {
    fn new(v6: bool, protocol: u8) -> Plain {
        Plain {
            v6,
            pair: 1,
            ports: (40_000, 443),
            protocol,
            sequence: 1000,
            acknowledged: 77,
            flags: ACK,
            window: 512,
            options: vec![],
            extension: vec![],
            class: 0,
            identification: 9,
            fragment: 0x4000,
            payload: vec![],
        }
    }

    fn addresses(&self) -> (IpAddr, IpAddr) {
        match self.v6 {
            true => (
                Ipv6Addr::new(0xfd00, 0, 0, 0, 0, 0, 1, u16::from(self.pair)).into(),
                Ipv6Addr::new(0xfd00, 0, 0, 0, 0, 0, 2, u16::from(self.pair)).into(),
            ),
            false => (Ipv4Addr::new(10, 0, 1, self.pair).into(), Ipv4Addr::new(10, 0, 2, self.pair).into()),
        }
    }

    fn transport(&self) -> usize {
        if self.v6 { 40 + self.extension.len() } else { 20 + self.extension.len() }
    }

    fn headers(&self) -> usize {
        self.transport() + if self.protocol == TCP { 20 + self.options.len() } else { 8 }
    }

    fn build(&self) -> Vec<u8> {
        let mut own = vec![];
        own.extend(self.ports.0.to_be_bytes());
        own.extend(self.ports.1.to_be_bytes());
        match self.protocol {
            TCP => {
                own.extend(self.sequence.to_be_bytes());
                own.extend(self.acknowledged.to_be_bytes());
                own.extend([((20 + self.options.len()) << 2) as u8, self.flags]);
                own.extend(self.window.to_be_bytes());
                own.extend([0; 4]);
                own.extend(&self.options);
            }
            _ => own.extend([0; 4]),
        }
        own.extend(&self.payload);
        let mut packet = vec![];
        match (self.addresses(), self.v6) {
            ((IpAddr::V4(source), IpAddr::V4(destination)), _) => {
                packet.extend([0x45 + (self.extension.len() / 4) as u8, self.class, 0, 0]);
                packet.extend(self.identification.to_be_bytes());
                packet.extend(self.fragment.to_be_bytes());
                packet.extend([64, self.protocol, 0, 0]);
                packet.extend(source.octets());
                packet.extend(destination.octets());
            }
            ((IpAddr::V6(source), IpAddr::V6(destination)), _) => {
                let next = if self.extension.is_empty() { self.protocol } else { 60 };
                packet.extend([0x60 | self.class >> 4, self.class << 4, 3, 4, 0, 0, next, 64]);
                packet.extend(source.octets());
                packet.extend(destination.octets());
            }
            _ => unreachable!(),
        }
        packet.extend(&self.extension);
        packet.extend(own);
        finish(&mut packet, self.transport(), self.protocol);
        packet
    }

    /// All of it as a device hands it over: in place of the checksum the sum of the pseudo header.
    fn whole(&self, segment: usize) -> (VnetHeader, Vec<u8>) {
        let mut packet = self.build();
        let (start, offset) = (self.transport(), if self.protocol == TCP { 16 } else { 6 });
        let field = start + offset..start + offset + 2;
        let length = ((packet.len() - start) as u16).to_be_bytes();
        let sum = !book(&[&packet[addresses(&packet)], &[0, self.protocol], &length]);
        packet[field].copy_from_slice(&sum.to_be_bytes());
        let kind = match (self.protocol, self.v6) {
            (TCP, false) => VnetHeader::TCP4,
            (TCP, true) => VnetHeader::TCP6,
            _ => VnetHeader::UDP,
        };
        let ecn = if self.protocol == TCP && self.flags & CWR != 0 { VnetHeader::ECN } else { 0 };
        let header = VnetHeader {
            flags: VnetHeader::NEEDS_CHECKSUM,
            kind: kind | ecn,
            header_length: self.headers() as u16,
            segment: segment as u16,
            checksum_start: start as u16,
            checksum_offset: offset as u16,
        };
        (header, packet)
    }

    /// What it is cut into.
    fn pieces(&self, segment: usize) -> Vec<Vec<u8>> {
        let count = self.payload.len().div_ceil(segment).max(1);
        let one = |place: usize| {
            let at = place * segment;
            let mut one = self.clone();
            one.payload = self.payload[at..self.payload.len().min(at + segment)].to_vec();
            one.identification = self.identification.wrapping_add(place as u16);
            one.sequence = self.sequence.wrapping_add(at as u32);
            one.flags &= if place + 1 < count { !(FIN | PUSH) } else { !0 };
            one.flags &= if place > 0 { !CWR } else { !0 };
            one.build()
        };
        (0..count).map(one).collect()
    }
}

fn addresses(packet: &[u8]) -> Range<usize> {
    if packet[0] >> 4 == 4 { 12..20 } else { 8..40 }
}

/// Writes lengths and checksums.
fn finish(packet: &mut [u8], transport: usize, protocol: u8) {
    let total = packet.len();
    let v4 = packet[0] >> 4 == 4;
    if v4 {
        packet[2..4].copy_from_slice(&(total as u16).to_be_bytes());
        packet[10..12].fill(0);
        let check = book(&[&packet[..transport]]);
        packet[10..12].copy_from_slice(&check.to_be_bytes());
    } else {
        packet[4..6].copy_from_slice(&((total - 40) as u16).to_be_bytes());
    }
    let length = ((total - transport) as u16).to_be_bytes();
    let at = match protocol {
        TCP => transport + 16,
        UDP => {
            packet[transport + 4..transport + 6].copy_from_slice(&length);
            transport + 6
        }
        _ => return,
    };
    packet[at..at + 2].fill(0);
    let check = match book(&[&packet[addresses(packet)], &[0, protocol], &length, &packet[transport..]]) {
        0 if protocol == UDP => 0xffff,
        check => check,
    };
    packet[at..at + 2].copy_from_slice(&check.to_be_bytes());
}

fn octets(rng: &mut Rng, length: usize) -> Vec<u8> {
    let mut octets = vec![0; length];
    rng.fill(&mut octets);
    octets
}
