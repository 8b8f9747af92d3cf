//! IPv4 headers (RFC 791).

use std::net::Ipv4Addr;

use crate::checksum::checksum;
use crate::{Layer, WireError, be16, bytes};

/// Octets of a header without options.
pub const HEADER: usize = 20;
/// Protocol number of ICMP.
pub const ICMP: u8 = 1;
/// Protocol number of UDP.
pub const UDP: u8 = 17;

/// A parsed IPv4 packet.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Packet<'a> {
    /// Source.
    pub source: Ipv4Addr,
    /// Destination.
    pub destination: Ipv4Addr,
    /// What the payload is.
    pub protocol: u8,
    /// Hops left.
    pub ttl: u8,
    /// Identification, shared by the fragments of one datagram.
    pub identification: u16,
    /// Where the payload belongs in the whole datagram, in octets.
    pub fragment_offset: u16,
    /// Whether fragments follow this one.
    pub more_fragments: bool,
    /// The options as they stand, padding included.
    pub options: &'a [u8],
    /// As much as the total length states: link padding is cut off.
    pub payload: &'a [u8],
}

impl<'a> Packet<'a> {
    /// Reads a packet and verifies its header checksum. Options are carried, not interpreted.
    pub fn parse(packet: &'a [u8]) -> Result<Self, WireError> {
        let header: [u8; HEADER] = bytes(packet, 0, Layer::Ipv4)?;
        let header_length = usize::from(header[0] & 0x0f) * 4;
        let total_length = usize::from(u16::from_be_bytes([header[2], header[3]]));
        if header[0] >> 4 != 4 || header_length < HEADER || total_length < header_length {
            return Err(WireError::Malformed(Layer::Ipv4));
        }
        let whole = packet.get(..total_length).ok_or(WireError::Truncated(Layer::Ipv4))?;
        let (head, payload) = whole.split_at_checked(header_length).ok_or(WireError::Truncated(Layer::Ipv4))?;
        if checksum(head) != 0 {
            return Err(WireError::Checksum(Layer::Ipv4));
        }
        let fragment = be16(head, 6, Layer::Ipv4)?;
        Ok(Packet {
            source: bytes::<4>(head, 12, Layer::Ipv4)?.into(),
            destination: bytes::<4>(head, 16, Layer::Ipv4)?.into(),
            protocol: header[9],
            ttl: header[8],
            identification: u16::from_be_bytes([header[4], header[5]]),
            fragment_offset: (fragment & 0x1fff) << 3,
            more_fragments: fragment & 0x2000 != 0,
            options: head.get(HEADER..).unwrap_or_default(),
            payload,
        })
    }

    /// Whether this is a piece of a larger datagram: the first one too, since it lacks the rest.
    pub fn is_fragment(&self) -> bool {
        self.more_fragments || self.fragment_offset != 0
    }
}

/// The header, without options, of an unfragmented packet that carries `payload_length` octets.
pub fn header(
    source: Ipv4Addr,
    destination: Ipv4Addr,
    protocol: u8,
    ttl: u8,
    payload_length: usize,
) -> Result<[u8; HEADER], WireError> {
    let total = u16::try_from(HEADER + payload_length).map_err(|_| WireError::TooLong(Layer::Ipv4))?;
    let mut header = [0; HEADER];
    header[0] = 0x45;
    header[2..4].copy_from_slice(&total.to_be_bytes());
    // Identification stays zero: RFC 6864 section 4.1 lets an atomic datagram (don't fragment, no offset) carry any value.
    header[6] = 0x40;
    header[8] = ttl;
    header[9] = protocol;
    header[12..16].copy_from_slice(&source.octets());
    header[16..20].copy_from_slice(&destination.octets());
    let sum = checksum(&header);
    header[10..12].copy_from_slice(&sum.to_be_bytes());
    Ok(header)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn packet(payload: &[u8]) -> Vec<u8> {
        let head = header(Ipv4Addr::new(10, 0, 0, 1), Ipv4Addr::BROADCAST, UDP, 64, payload.len()).unwrap();
        [&head[..], payload].concat()
    }

    /// Recomputes the checksum after a test has changed the header.
    fn sealed(mut packet: Vec<u8>, header_length: usize) -> Vec<u8> {
        packet[10..12].fill(0);
        let sum = checksum(&packet[..header_length]);
        packet[10..12].copy_from_slice(&sum.to_be_bytes());
        packet
    }

    #[test]
    fn link_padding_is_not_payload() {
        let mut bytes = packet(b"abc");
        bytes.extend_from_slice(&[0; 23]);
        assert_eq!(Packet::parse(&bytes).unwrap().payload, b"abc");
    }

    #[test]
    fn options_are_carried_and_stepped_over() {
        let mut bytes = packet(b"abc");
        bytes[0] = 0x46;
        bytes[3] += 4;
        bytes.splice(HEADER..HEADER, [1, 1, 1, 0]);
        let bytes = sealed(bytes, 24);
        let parsed = Packet::parse(&bytes).unwrap();
        assert_eq!((parsed.options, parsed.payload), (&[1, 1, 1, 0][..], &b"abc"[..]));
    }

    #[test]
    fn the_first_and_the_later_fragments_are_told_from_whole_packets() {
        for (flags, offset, more) in [(0x2000u16, 0, true), (0x2001, 8, true), (0x0010, 128, false)] {
            let mut bytes = packet(b"abc");
            bytes[6..8].copy_from_slice(&flags.to_be_bytes());
            let bytes = sealed(bytes, HEADER);
            let parsed = Packet::parse(&bytes).unwrap();
            assert_eq!((parsed.fragment_offset, parsed.more_fragments, parsed.is_fragment()), (offset, more, true));
        }
        assert!(!Packet::parse(&packet(b"abc")).unwrap().is_fragment());
    }

    #[test]
    fn a_wrong_version_header_length_or_total_length_is_malformed() {
        let broken = |at: usize, value: u8| {
            let mut bytes = packet(b"abc");
            bytes[at] = value;
            Packet::parse(&bytes).map(|_| ())
        };
        assert_eq!(broken(0, 0x65), Err(WireError::Malformed(Layer::Ipv4)));
        assert_eq!(broken(0, 0x44), Err(WireError::Malformed(Layer::Ipv4)));
        assert_eq!(broken(3, 19), Err(WireError::Malformed(Layer::Ipv4)));
        assert_eq!(broken(3, 200), Err(WireError::Truncated(Layer::Ipv4)));
        assert_eq!(broken(8, 63), Err(WireError::Checksum(Layer::Ipv4)));
    }

    #[test]
    fn a_payload_past_the_length_field_is_too_long() {
        let attempt = |length| header(Ipv4Addr::LOCALHOST, Ipv4Addr::LOCALHOST, UDP, 64, length).map(|_| ());
        assert_eq!(attempt(65515), Ok(()));
        assert_eq!(attempt(65516), Err(WireError::TooLong(Layer::Ipv4)));
    }

    proptest! {
        #[test]
        fn a_packet_reads_back_as_written(addresses: [u32; 2], protocol: u8, ttl: u8, payload in proptest::collection::vec(any::<u8>(), 0..600)) {
            let (source, destination) = (addresses[0].into(), addresses[1].into());
            let head = header(source, destination, protocol, ttl, payload.len()).unwrap();
            let bytes = [&head[..], &payload].concat();
            prop_assert_eq!(Packet::parse(&bytes), Ok(Packet {
                source, destination, protocol, ttl, identification: 0, fragment_offset: 0, more_fragments: false,
                options: &[], payload: &payload,
            }));
        }
    }
}
