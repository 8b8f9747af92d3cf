//! Bytes to what is decided by. Whatever is out of the ordinary is left to the kernel: it knows all of it.

use std::net::{Ipv4Addr, Ipv6Addr};

use super::frame::{read, word};
use crate::layout::{Address, FlowKey, HAS_LINKS, Link, Reason, Vip};
use crate::tables::Tables;

pub(crate) const ETHERNET: usize = 14;
pub(crate) const TAG: usize = 4;
pub(crate) const V4: usize = 20;
pub(crate) const V6: usize = 40;
pub(crate) const ICMP: usize = 8;

pub(crate) const TCP: u8 = 6;
pub(crate) const UDP: u8 = 17;

const ETHERTYPE_V4: u16 = 0x0800;
const ETHERTYPE_V6: u16 = 0x86dd;
const ETHERTYPE_VLAN: u16 = 0x8100;
const ETHERTYPE_SERVICE_VLAN: u16 = 0x88a8;
/// More fragments, or an offset (RFC 791 section 3.1).
const FRAGMENT: u16 = 0x3fff;
const OFFSET: u16 = 0x1fff;
/// RFC 8200 section 4.5.
const OFFSET_V6: u16 = 0xfff8;
/// The extension header of IPv6 that parts of packets have.
const PART: u8 = 44;
/// The longest extension header that is looked behind, in units of eight octets beside the first: tc has as much at hand.
const LONGEST_EXTENSION: u8 = 5;

pub(crate) const FIN: u8 = 0x01;
pub(crate) const SYN: u8 = 0x02;
pub(crate) const RST: u8 = 0x04;
pub(crate) const ACK: u8 = 0x10;

/// What a frame says.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Packet {
    /// Whose packet it is: of an ICMP error, the flow that it speaks of, as the client's packets have it.
    pub(crate) key: FlowKey,
    /// Who sent this very packet.
    pub(crate) from: Address,
    /// Octets of the frame.
    pub(crate) frame: u32,
    /// Octets of the IP packet.
    pub(crate) length: u32,
    /// The interface that the kernel would say it came in by: of a tagged frame, the VLAN's.
    pub(crate) ingress: u32,
    /// Where the IP header is.
    pub(crate) l3: usize,
    pub(crate) is_v6: bool,
    pub(crate) hops: u8,
    /// Type of service, or traffic class.
    pub(crate) class: u8,
    pub(crate) tcp: u8,
    pub(crate) is_error: bool,
}

/// Reads a frame down to its ports, or says why it is not ours.
pub(crate) fn parse(frame: &[u8], ingress: u32, tables: &Tables) -> Result<Packet, Reason> {
    let mut packet = Packet { frame: frame.len() as u32, ingress, l3: ETHERNET, ..Packet::default() };
    let mut ethertype = word(frame, 12).ok_or(Reason::PassMalformed)?;
    if ethertype == ETHERTYPE_VLAN || ethertype == ETHERTYPE_SERVICE_VLAN {
        let inner = word(frame, ETHERNET + 2).ok_or(Reason::PassMalformed)?;
        let tag = word(frame, ETHERNET).filter(|_| ethertype == ETHERTYPE_VLAN).ok_or(Reason::PassVlan)?;
        packet.ingress = interface(ingress, tag & 0x0fff, tables).ok_or(Reason::PassVlan)?;
        packet.l3 += TAG;
        ethertype = inner;
    }
    match ethertype {
        ETHERTYPE_V4 => packet.read_v4(frame, tables)?,
        ETHERTYPE_V6 => packet.read_v6(frame, tables)?,
        _ => return Err(Reason::PassOther),
    }
    Ok(packet)
}

/// The interface of a frame with this tag. A tag without a VLAN (802.1Q section 6.9.1: a priority) changes nothing.
fn interface(ingress: u32, vlan: u16, tables: &Tables) -> Option<u32> {
    match vlan {
        0 => Some(ingress),
        _ if tables.control.flags & HAS_LINKS == 0 => None,
        vlan => tables.tags.get(&Link { parent: ingress, vlan, zero: 0 }).copied(),
    }
}

/// What becomes of a packet that is the kernel's because it is a part of one, or has options. What of TCP is for a service is nobody's: the kernel listens there as well,
/// knows nothing of the connection, and would end it by a reset. Of the parts of a packet the first one says for whom it is; without it, the kernel makes nothing of the others.
fn unusual(destination: Address, segment: Option<&[u8]>, tables: &Tables, left: Reason) -> Reason {
    let ports: Option<[u8; 4]> = segment.and_then(|segment| read(segment, 0));
    let is_ours = |[_, _, d0, d1]: [u8; 4]| tables.services.contains_key(&Vip::of(destination, [d0, d1], TCP));
    if ports.is_some_and(is_ours) { Reason::DropUnusual } else { left }
}

/// The beginning of a segment of TCP behind an extension header of this kind (RFC 8200 section 4).
fn behind(kind: u8, content: &[u8]) -> Option<&[u8]> {
    let [next, length, offset @ ..]: [u8; 4] = read(content, 0)?;
    let length = match kind {
        PART if u16::from_be_bytes(offset) & OFFSET_V6 != 0 => return None,
        PART => 0,
        _ if length > LONGEST_EXTENSION => return None,
        _ => length,
    };
    content.get(8 * (1 + usize::from(length))..).filter(|_| next == TCP)
}

impl Packet {
    fn read_v4(&mut self, frame: &[u8], tables: &Tables) -> Result<(), Reason> {
        let header: [u8; V4] = read(frame, self.l3).ok_or(Reason::PassMalformed)?;
        let [first, class, length @ .., hops, protocol, _, _] = header.first_chunk::<12>().copied().unwrap_or_default();
        let [l0, l1, _, _, f0, f1] = length;
        let words = usize::from(first & 0x0f);
        self.length = u32::from(u16::from_be_bytes([l0, l1]));
        let length = self.length as usize;
        if first >> 4 != 4 || words < 5 || length < words * 4 || self.l3 + length > frame.len() {
            return Err(Reason::PassMalformed);
        }
        let address =
            |at| read::<4>(&header, at).map(|octets| Address::from(std::net::IpAddr::V4(Ipv4Addr::from(octets))));
        let (source, destination) = address(12).zip(address(16)).ok_or(Reason::PassMalformed)?;
        self.from = source;
        let fragment = u16::from_be_bytes([f0, f1]);
        if words != 5 || fragment & FRAGMENT != 0 {
            let left = if words != 5 { Reason::PassOptions } else { Reason::PassFragment };
            let says_ports = protocol == TCP && fragment & OFFSET == 0;
            let segment = frame.get(self.l3 + words * 4..self.l3 + length).filter(|_| says_ports);
            return Err(unusual(destination, segment, tables, left));
        }
        (self.hops, self.class) = (hops, class);
        self.key = FlowKey { source, destination, protocol, ..FlowKey::default() };
        let content = frame.get(self.l3 + V4..self.l3 + length).ok_or(Reason::PassMalformed)?;
        match protocol {
            1 => self.read_error_v4(content).ok_or(Reason::PassIcmp),
            _ => self.read_ports(content),
        }
    }

    fn read_v6(&mut self, frame: &[u8], tables: &Tables) -> Result<(), Reason> {
        let header: [u8; V6] = read(frame, self.l3).ok_or(Reason::PassMalformed)?;
        let [v0, v1, _, _, l0, l1, next, hops] = header.first_chunk().copied().unwrap_or_default();
        let length = usize::from(u16::from_be_bytes([l0, l1])) + V6;
        self.length = length as u32;
        if v0 >> 4 != 6 || self.l3 + length > frame.len() {
            return Err(Reason::PassMalformed);
        }
        self.is_v6 = true;
        let address = |at| read::<16>(&header, at).map(Address);
        let (source, destination) = address(8).zip(address(24)).ok_or(Reason::PassMalformed)?;
        self.from = source;
        if matches!(next, PART | 0 | 43 | 60) {
            let left = if next == PART { Reason::PassFragment } else { Reason::PassOptions };
            let segment = frame.get(self.l3 + V6..self.l3 + length).and_then(|content| behind(next, content));
            return Err(unusual(destination, segment, tables, left));
        }
        (self.hops, self.class) = (hops, v0 << 4 | v1 >> 4);
        self.key = FlowKey { source, destination, protocol: next, ..FlowKey::default() };
        let content = frame.get(self.l3 + V6..self.l3 + length).ok_or(Reason::PassMalformed)?;
        match next {
            58 => self.read_error_v6(content).ok_or(Reason::PassIcmp),
            _ => self.read_ports(content),
        }
    }

    /// What TCP and UDP have to be before anybody acts on their ports.
    fn read_ports(&mut self, content: &[u8]) -> Result<(), Reason> {
        let ports: Option<[u8; 4]> = read(content, 0);
        match self.key.protocol {
            TCP => {
                let [offset, flags]: [u8; 2] =
                    read(content, 12).filter(|_| content.len() >= 20).ok_or(Reason::PassMalformed)?;
                let words = usize::from(offset >> 4);
                if words < 5 || words * 4 > content.len() {
                    return Err(Reason::PassMalformed);
                }
                self.tcp = flags;
            }
            UDP => {
                let length = word(content, 4).filter(|_| content.len() >= 8).ok_or(Reason::PassMalformed)?;
                if length < 8 || usize::from(length) > content.len() {
                    return Err(Reason::PassMalformed);
                }
            }
            _ => return Err(Reason::PassOther),
        }
        let [s0, s1, d0, d1] = ports.ok_or(Reason::PassMalformed)?;
        (self.key.source_port, self.key.destination_port) = ([s0, s1], [d0, d1]);
        Ok(())
    }

    /// The ports of what an ICMP error complains of, whose first octets it has brought along (RFC 792).
    fn read_error_v4(&mut self, content: &[u8]) -> Option<()> {
        let [kind] = read(content, 0)?;
        let inner: [u8; V4] = read(content, ICMP)?;
        let [first] = read(&inner, 0)?;
        let fragment = word(&inner, 6)? & FRAGMENT;
        if !matches!(kind, 3 | 11 | 12) || first != 0x45 || fragment != 0 {
            return None;
        }
        let mapped = |at| read::<4>(&inner, at).map(|octets| Address(Ipv4Addr::from(octets).to_ipv6_mapped().octets()));
        self.complain(mapped(12)?, mapped(16)?, read::<1>(&inner, 9)?, read(content, ICMP + V4)?)
    }

    /// The same of ICMPv6 (RFC 4443 section 3).
    fn read_error_v6(&mut self, content: &[u8]) -> Option<()> {
        let [kind] = read(content, 0)?;
        let inner: [u8; V6] = read(content, ICMP)?;
        let [first] = read(&inner, 0)?;
        if !matches!(kind, 1..=4) || first >> 4 != 6 {
            return None;
        }
        let address = |at| read::<16>(&inner, at).map(|octets| Address(Ipv6Addr::from(octets).octets()));
        self.complain(address(8)?, address(24)?, read::<1>(&inner, 6)?, read(content, ICMP + V6)?)
    }

    /// Takes over the flow of an inner packet, turned round: the client is who it was for.
    fn complain(&mut self, source: Address, destination: Address, [protocol]: [u8; 1], ports: [u8; 8]) -> Option<()> {
        let [s0, s1, d0, d1, ..] = ports;
        if source != self.key.destination {
            return None;
        }
        self.key.source = destination;
        self.key.protocol = protocol;
        (self.key.source_port, self.key.destination_port) = ([d0, d1], [s0, s1]);
        self.is_error = true;
        Some(())
    }
}
