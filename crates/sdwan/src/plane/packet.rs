//! What the plane has to know of a packet, and what it changes of one that passes: its class, and how long segments a connection may agree on.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use outwork_wire::checksum::{growth, replaced};
use outwork_wire::octets::{read, word, write};

use crate::engine::policy::{AppId, Flow};

/// Protocol numbers.
pub(super) const ICMP: u8 = 1;
pub(crate) const TCP: u8 = 6;
pub(crate) const UDP: u8 = 17;
pub(super) const ICMP_V6: u8 = 58;
pub(crate) const SCTP: u8 = 132;

/// Octets of IP headers without options.
pub(super) const V4: usize = 20;
pub(super) const V6: usize = 40;

/// Where things are in a header of TCP (RFC 9293 section 3.1).
pub(super) const TCP_HEADER: usize = 20;
pub(super) const SEQUENCE: usize = 4;
pub(super) const OFFSET: usize = 12;
pub(super) const FLAGS: usize = 13;
pub(super) const TCP_CHECK: usize = 16;
pub(super) const FIN: u8 = 0x01;
pub(super) const SYN: u8 = 0x02;
pub(super) const PUSH: u8 = 0x08;
pub(super) const ACK: u8 = 0x10;
pub(super) const CWR: u8 = 0x80;

/// Where things are in a header of UDP.
pub(super) const UDP_HEADER: usize = 8;
pub(super) const UDP_LENGTH: usize = 4;
pub(super) const UDP_CHECK: usize = 6;

/// Where things are in a header of IPv4.
pub(super) const TOTAL: usize = 2;
pub(super) const IDENTIFICATION: usize = 4;
pub(super) const FRAGMENT: usize = 6;
pub(super) const IP_CHECK: usize = 10;
/// In the word at [`FRAGMENT`] (RFC 791 section 3.1): may not be cut; more parts follow, or an offset.
pub(super) const WHOLE: u16 = 0x4000;
const PART: u16 = 0x3fff;

/// Extension headers of IPv6 that are looked behind (RFC 8200 section 4): options of each hop, routing, part, authentication, options of the destination.
const HOPS: u8 = 0;
const ROUTING: u8 = 43;
const PART_V6: u8 = 44;
const AUTHENTICATION: u8 = 51;
const OPTIONS: u8 = 60;
/// So many of them, at most: the RFC knows of no use for more than seven.
const EXTENSIONS: usize = 8;
/// An offset in units of eight octets, and whether more parts follow (RFC 8200 section 4.5).
const PLACE_V6: u16 = 0xfff9;

/// Why octets are no packet that the plane carries.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[allow(missing_docs)]
pub enum Malformed {
    #[error("there are no octets, where an IP packet was expected")]
    Empty,
    #[error("it is of IP version {0}, where 4 or 6 was expected")]
    Version(u8),
    #[error("it ends within a header")]
    Cut,
    #[error("its header says {said} octets, and it has {has}")]
    Length { said: usize, has: usize },
    #[error("it has more than {EXTENSIONS} extension headers")]
    Extensions,
}

/// What is read of a packet.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Packet {
    /// Who sent it.
    pub source: IpAddr,
    /// For whom it is.
    pub destination: IpAddr,
    /// What is behind the IP header and its extensions.
    pub protocol: u8,
    /// Of TCP, UDP and SCTP; else 0. A part of a packet has none, the first part neither: so all parts go the same way.
    pub source_port: u16,
    /// The same.
    pub destination_port: u16,
    /// Type of service, or traffic class: DSCP and ECN.
    pub class: u8,
    /// Octets of all of it.
    pub length: usize,
    /// Octets of the IP header and its extensions.
    pub header: usize,
    /// Whether it is a part of a packet.
    pub part: bool,
    /// Whether it may be cut on its way: IPv4 without "don't fragment".
    pub divisible: bool,
}

impl Packet {
    /// Reads a packet. What follows its end is not looked at.
    ///
    /// # Errors
    /// When it is neither IPv4 nor IPv6, or ends before it should.
    pub fn read(octets: &[u8]) -> Result<Packet, Malformed> {
        match octets.first().map(|first| first >> 4) {
            Some(4) => read_v4(octets),
            Some(6) => read_v6(octets),
            Some(version) => Err(Malformed::Version(version)),
            None => Err(Malformed::Empty),
        }
    }

    /// Reads the ports behind the IP header.
    fn with_ports(mut self, octets: &[u8]) -> Result<Packet, Malformed> {
        if matches!(self.protocol, TCP | UDP | SCTP) && !self.part {
            let within = octets.get(self.header..self.length).ok_or(Malformed::Cut)?;
            self.source_port = word(within, 0).ok_or(Malformed::Cut)?;
            self.destination_port = word(within, 2).ok_or(Malformed::Cut)?;
        }
        Ok(self)
    }

    /// Whether it is TCP or UDP with its ports: order counts only among those that have the same ones.
    pub fn has_ports(&self) -> bool {
        matches!(self.protocol, TCP | UDP) && !self.part
    }

    /// Differentiated services (RFC 2474).
    pub fn dscp(&self) -> u8 {
        self.class >> 2
    }

    /// What policies know it by; its hash is [`Flow::hash`].
    pub fn flow(&self, application: Option<AppId>) -> Flow {
        Flow {
            source: self.source,
            destination: self.destination,
            protocol: self.protocol,
            source_port: self.source_port,
            destination_port: self.destination_port,
            dscp: self.dscp(),
            application,
        }
    }
}

/// Who sent a packet: all that is asked of one that was sealed by somebody who is known.
pub fn source(octets: &[u8]) -> Option<IpAddr> {
    match octets.first()? >> 4 {
        4 => read::<4>(octets, 12).map(|source| Ipv4Addr::from(source).into()),
        6 => read::<16>(octets, 8).map(|source| Ipv6Addr::from(source).into()),
        _ => None,
    }
}

fn read_v4(octets: &[u8]) -> Result<Packet, Malformed> {
    let fixed: [u8; V4] = read(octets, 0).ok_or(Malformed::Cut)?;
    let [first, class, l0, l1, _, _, f0, f1, _, protocol, _, _, s0, s1, s2, s3, d0, d1, d2, d3] = fixed;
    let (header, length) = (usize::from(first & 0x0f) * 4, usize::from(u16::from_be_bytes([l0, l1])));
    if header < V4 || length < header {
        return Err(Malformed::Cut);
    }
    if length > octets.len() {
        return Err(Malformed::Length { said: length, has: octets.len() });
    }
    let fragment = u16::from_be_bytes([f0, f1]);
    let packet = Packet {
        source: Ipv4Addr::new(s0, s1, s2, s3).into(),
        destination: Ipv4Addr::new(d0, d1, d2, d3).into(),
        protocol,
        source_port: 0,
        destination_port: 0,
        class,
        length,
        header,
        part: fragment & PART != 0,
        divisible: fragment & WHOLE == 0,
    };
    packet.with_ports(octets)
}

fn read_v6(octets: &[u8]) -> Result<Packet, Malformed> {
    let [first, second, _, _, l0, l1, next, _]: [u8; 8] = read(octets, 0).ok_or(Malformed::Cut)?;
    let source: [u8; 16] = read(octets, 8).ok_or(Malformed::Cut)?;
    let destination: [u8; 16] = read(octets, 24).ok_or(Malformed::Cut)?;
    let length = V6 + usize::from(u16::from_be_bytes([l0, l1]));
    let whole = octets.get(..length).ok_or(Malformed::Length { said: length, has: octets.len() })?;
    let (protocol, header, part) = behind_extensions(whole, next)?;
    let packet = Packet {
        source: Ipv6Addr::from(source).into(),
        destination: Ipv6Addr::from(destination).into(),
        protocol,
        source_port: 0,
        destination_port: 0,
        class: first << 4 | second >> 4,
        length,
        header,
        part,
        divisible: false,
    };
    packet.with_ports(octets)
}

/// What is behind the extension headers of IPv6, where, and whether it is but a part of it. Nothing is looked at behind the header that says so.
fn behind_extensions(packet: &[u8], mut next: u8) -> Result<(u8, usize, bool), Malformed> {
    let mut at = V6;
    for _ in 0..=EXTENSIONS {
        if !matches!(next, HOPS | ROUTING | PART_V6 | AUTHENTICATION | OPTIONS) {
            return if at <= packet.len() { Ok((next, at, false)) } else { Err(Malformed::Cut) };
        }
        let [following, length, p0, p1] = read(packet, at).ok_or(Malformed::Cut)?;
        at += match next {
            PART_V6 => 8,
            // (RFC 4302 section 2.2) Its unit is another one.
            AUTHENTICATION => 4 * (2 + usize::from(length)),
            _ => 8 * (1 + usize::from(length)),
        };
        // Without an offset and with nothing to follow it is whole all the same (RFC 6946).
        if next == PART_V6 && u16::from_be_bytes([p0, p1]) & PLACE_V6 != 0 {
            return if at <= packet.len() { Ok((following, at, true)) } else { Err(Malformed::Cut) };
        }
        next = following;
    }
    Err(Malformed::Extensions)
}

/// Gives a packet another class, and leaves ECN as it is (RFC 2474 section 3). None when it is no such packet.
pub fn mark(octets: &mut [u8], dscp: u8) -> Option<()> {
    let [first, second] = read(octets, 0)?;
    match first >> 4 {
        4 => {
            let after = [first, dscp << 2 | second & 3];
            let check = word(octets, IP_CHECK)?;
            write(octets, 0, &after)?;
            write(octets, IP_CHECK, &replaced(check, growth([first, second], after)).to_be_bytes())
        }
        6 => {
            let class = dscp << 2 | second >> 4 & 3;
            write(octets, 0, &[0x60 | class >> 4, class << 4 | second & 0x0f])
        }
        _ => None,
    }
}

/// Makes a segment that begins a connection ask for no longer ones than fit into packets of `mtu` octets; true when it asked for longer ones. Its checksum has to be
/// whole: on the way out that is after [`super::split`].
pub fn clamp(octets: &mut [u8], packet: &Packet, mtu: usize) -> bool {
    lower(octets, packet, mtu).is_some()
}

/// Options of IP and TCP do not count (RFC 6691 section 2): who sends them makes his segments shorter by them.
fn lower(octets: &mut [u8], packet: &Packet, mtu: usize) -> Option<()> {
    if packet.protocol != TCP || packet.part {
        return None;
    }
    let segment = octets.get_mut(packet.header..packet.length)?;
    let [offset, flags] = read(segment, OFFSET)?;
    if flags & SYN == 0 {
        return None;
    }
    let at = TCP_HEADER + maximum(segment.get(TCP_HEADER..usize::from(offset >> 4) * 4)?)?;
    let ip = if packet.source.is_ipv4() { V4 } else { V6 };
    let after = u16::try_from(mtu.saturating_sub(ip + TCP_HEADER)).ok()?;
    let (before, check) = (word(segment, at)?, word(segment, TCP_CHECK)?);
    if before <= after {
        return None;
    }
    write(segment, at, &after.to_be_bytes())?;
    // Sums are of pairs: at an odd place it is in two of them, its octets the other way round.
    let growth = match at % 2 {
        0 => growth(before.to_be_bytes(), after.to_be_bytes()),
        _ => growth(before.to_le_bytes(), after.to_le_bytes()),
    };
    write(segment, TCP_CHECK, &replaced(check, growth).to_be_bytes())
}

/// Where the greatest segment size stands in options of TCP (RFC 9293 section 3.2).
fn maximum(options: &[u8]) -> Option<usize> {
    let mut at = 0;
    loop {
        match options.get(at..)? {
            [1, ..] => at += 1,
            [2, 4, _, _, ..] => return Some(at + 2),
            [kind, length, ..] if *kind != 0 && *length >= 2 => at += usize::from(*length),
            _ => return None,
        }
    }
}
