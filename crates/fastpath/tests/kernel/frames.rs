//! Frames for tests: built right, and looked at whether they still are.
#![allow(dead_code)]

use std::net::{IpAddr, SocketAddr};

use outwork_wire::checksum::Sum;

pub(crate) const FIN: u8 = 0x01;
pub(crate) const SYN: u8 = 0x02;
pub(crate) const RST: u8 = 0x04;
pub(crate) const ACK: u8 = 0x10;

/// A frame to be built.
#[derive(Debug, Clone)]
pub(crate) struct Spec {
    pub(crate) tag: Option<u16>,
    pub(crate) from: SocketAddr,
    pub(crate) to: SocketAddr,
    /// TCP with these flags; else UDP.
    pub(crate) tcp: Option<u8>,
    pub(crate) payload: usize,
    pub(crate) hops: u8,
    pub(crate) class: u8,
    /// UDP without a checksum.
    pub(crate) unsummed: bool,
    /// A checksum of the pseudo header alone, as it is left to cards.
    pub(crate) left_to_card: bool,
    /// Octets after the packet.
    pub(crate) padding: usize,
    /// The field of IPv4's header with flags and offset.
    pub(crate) fragment: u16,
}

impl Spec {
    pub(crate) fn new(from: SocketAddr, to: SocketAddr, tcp: Option<u8>) -> Spec {
        Spec {
            tag: None,
            from,
            to,
            tcp,
            payload: 10,
            hops: 64,
            class: 0,
            unsummed: false,
            left_to_card: false,
            padding: 0,
            fragment: 0x4000,
        }
    }

    pub(crate) fn build(&self) -> Vec<u8> {
        let segment = self.segment();
        let protocol = if self.tcp.is_some() { 6 } else { 17 };
        let mut packet = ip(self.from.ip(), self.to.ip(), protocol, self.hops, self.class, self.fragment, &segment);
        packet.extend(vec![0; self.padding]);
        ethernet(self.tag, self.from.is_ipv6(), &packet)
    }

    fn segment(&self) -> Vec<u8> {
        let mut segment = [self.from.port().to_be_bytes(), self.to.port().to_be_bytes()].concat();
        let payload: Vec<u8> = (0..self.payload).map(|at| at as u8 ^ 0x5a).collect();
        let check = match self.tcp {
            Some(flags) => {
                segment.extend_from_slice(&[0, 0, 0, 1, 0, 0, 0, 2, 0x50, flags, 0x20, 0, 0, 0, 0, 0]);
                16
            }
            None => {
                segment.extend_from_slice(&(8 + self.payload as u16).to_be_bytes());
                segment.extend_from_slice(&[0, 0]);
                6
            }
        };
        segment.extend(payload);
        let protocol = if self.tcp.is_some() { 6 } else { 17 };
        if self.left_to_card {
            let nothing = vec![0; segment.len()];
            let sum = !pseudo(self.from.ip(), self.to.ip(), protocol, &nothing);
            segment[check..check + 2].copy_from_slice(&sum.to_be_bytes());
        } else if !self.unsummed {
            let sum = match pseudo(self.from.ip(), self.to.ip(), protocol, &segment) {
                0 if self.tcp.is_none() => 0xffff,
                sum => sum,
            };
            segment[check..check + 2].copy_from_slice(&sum.to_be_bytes());
        }
        segment
    }
}

/// The checksum of `content` under the pseudo header.
pub(crate) fn pseudo(from: IpAddr, to: IpAddr, protocol: u8, content: &[u8]) -> u16 {
    let mut sum = Sum::default();
    for address in [from, to] {
        sum = match address {
            IpAddr::V4(v4) => sum.bytes(&v4.octets()),
            IpAddr::V6(v6) => sum.bytes(&v6.octets()),
        };
    }
    sum.number(protocol.into()).number(content.len() as u16).bytes(content).finish()
}

pub(crate) fn ip(
    from: IpAddr,
    to: IpAddr,
    protocol: u8,
    hops: u8,
    class: u8,
    fragment: u16,
    content: &[u8],
) -> Vec<u8> {
    match (from, to) {
        (IpAddr::V4(from), IpAddr::V4(to)) => {
            let mut header = vec![0x45, class];
            header.extend_from_slice(&(20 + content.len() as u16).to_be_bytes());
            header.extend_from_slice(&[0x12, 0x34]);
            header.extend_from_slice(&fragment.to_be_bytes());
            header.extend_from_slice(&[hops, protocol, 0, 0]);
            header.extend_from_slice(&from.octets());
            header.extend_from_slice(&to.octets());
            let sum = outwork_wire::checksum::checksum(&header);
            header[10..12].copy_from_slice(&sum.to_be_bytes());
            [&header, content].concat()
        }
        (IpAddr::V6(from), IpAddr::V6(to)) => {
            let mut header = vec![0x60 | class >> 4, class << 4 | 0x3, 0x21, 0x43];
            header.extend_from_slice(&(content.len() as u16).to_be_bytes());
            header.extend_from_slice(&[protocol, hops]);
            header.extend_from_slice(&from.octets());
            header.extend_from_slice(&to.octets());
            [&header, content].concat()
        }
        _ => panic!("{from} and {to} are of two kinds"),
    }
}

pub(crate) fn ethernet(tag: Option<u16>, is_v6: bool, packet: &[u8]) -> Vec<u8> {
    let mut frame = vec![2, 0, 0, 0, 0, 0x11, 2, 0, 0, 0, 0, 0x22];
    if let Some(tag) = tag {
        frame.extend_from_slice(&[0x81, 0]);
        frame.extend_from_slice(&tag.to_be_bytes());
    }
    frame.extend_from_slice(if is_v6 { &[0x86, 0xdd] } else { &[0x08, 0x00] });
    frame.extend_from_slice(packet);
    frame
}

/// The same frame with options of IPv4, or with an extension header of IPv6 of this kind: it says nothing, or that this is all of the packet.
pub(crate) fn extended(frame: &[u8], kind: u8) -> Vec<u8> {
    let (ethernet, packet) = frame.split_at(14);
    let mut packet = packet.to_vec();
    match packet[0] >> 4 {
        4 => {
            drop(packet.splice(20..20, [1; 4]));
            packet[0] = 0x46;
            let length = u16::from_be_bytes([packet[2], packet[3]]) + 4;
            packet[2..4].copy_from_slice(&length.to_be_bytes());
            packet[10..12].fill(0);
            let sum = outwork_wire::checksum::checksum(&packet[..24]);
            packet[10..12].copy_from_slice(&sum.to_be_bytes());
        }
        _ => {
            let next = std::mem::replace(&mut packet[6], kind);
            drop(packet.splice(40..40, [next, 0, 0, 0, 0, 0, 0, 0]));
            let length = u16::from_be_bytes([packet[4], packet[5]]) + 8;
            packet[4..6].copy_from_slice(&length.to_be_bytes());
        }
    }
    [ethernet, &packet].concat()
}

/// An ICMP error of `router` about the packet that `complaint` would be.
pub(crate) fn error(router: IpAddr, complaint: &Spec, kind: u8) -> Vec<u8> {
    let inner = complaint.build().split_off(14);
    let whom = complaint.from.ip();
    let cut = &inner[..inner.len().min(if whom.is_ipv4() { 28 } else { 60 })];
    let mut message = [&[kind, 1, 0, 0, 0, 0, 5, 0], cut].concat();
    let (protocol, sum) = match router {
        IpAddr::V4(_) => (1, outwork_wire::checksum::checksum(&message)),
        IpAddr::V6(_) => (58, pseudo(router, whom, 58, &message)),
    };
    message[2..4].copy_from_slice(&sum.to_be_bytes());
    ethernet(None, whom.is_ipv6(), &ip(router, whom, protocol, 64, 0, 0, &message))
}

/// What is wrong with the checksums of a frame that carries a whole packet, tunnels included.
pub(crate) fn fault(frame: &[u8]) -> Option<String> {
    let l3 = if frame[12..14] == [0x81, 0] { 18 } else { 14 };
    packet_fault(&frame[l3..])
}

fn packet_fault(packet: &[u8]) -> Option<String> {
    let (from, to, protocol, content): (IpAddr, IpAddr, u8, &[u8]) = match packet[0] >> 4 {
        4 => {
            if outwork_wire::checksum::checksum(&packet[..20]) != 0 {
                return Some("the IPv4 header".to_owned());
            }
            let octets = |at: usize| <[u8; 4]>::try_from(&packet[at..at + 4]).unwrap();
            let length = usize::from(u16::from_be_bytes([packet[2], packet[3]]));
            (octets(12).into(), octets(16).into(), packet[9], &packet[20..length])
        }
        _ => {
            let octets = |at: usize| <[u8; 16]>::try_from(&packet[at..at + 16]).unwrap();
            let length = usize::from(u16::from_be_bytes([packet[4], packet[5]]));
            (octets(8).into(), octets(24).into(), packet[6], &packet[40..40 + length])
        }
    };
    match protocol {
        4 | 41 => packet_fault(content),
        1 => (outwork_wire::checksum::checksum(content) != 0).then(|| "ICMP".to_owned()),
        17 if content[6..8] == [0, 0] => None,
        _ => (pseudo(from, to, protocol, content) != 0).then(|| format!("protocol {protocol}")),
    }
}
