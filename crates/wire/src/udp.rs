//! UDP under IPv4 (RFC 768).

use std::net::{Ipv4Addr, SocketAddrV4};

use crate::checksum::Sum;
use crate::{Layer, WireError, bytes, ipv4};

/// Octets of a header.
pub const HEADER: usize = 8;

/// Whether a checksum is looked at.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Checksum {
    /// Refuse a datagram whose checksum is wrong.
    Verify,
    /// The packet came from this host with the checksum left to the hardware (`TP_STATUS_CSUMNOTREADY`), or the kernel has verified it.
    Trust,
}

/// A parsed datagram.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Datagram<'a> {
    /// Source.
    pub source: SocketAddrV4,
    /// Destination.
    pub destination: SocketAddrV4,
    /// As much as the length field states.
    pub payload: &'a [u8],
}

impl<'a> Datagram<'a> {
    /// Reads the datagram that `packet` carries. A zero checksum means that the sender computed none; it is accepted.
    pub fn parse(packet: &ipv4::Packet<'a>, checksum: Checksum) -> Result<Self, WireError> {
        if packet.protocol != ipv4::UDP {
            return Err(WireError::Unexpected(Layer::Udp));
        }
        if packet.is_fragment() {
            return Err(WireError::Fragment);
        }
        let [s0, s1, d0, d1, l0, l1, c0, c1]: [u8; HEADER] = bytes(packet.payload, 0, Layer::Udp)?;
        let length = usize::from(u16::from_be_bytes([l0, l1]));
        if length < HEADER {
            return Err(WireError::Malformed(Layer::Udp));
        }
        let whole = packet.payload.get(..length).ok_or(WireError::Truncated(Layer::Udp))?;
        if checksum == Checksum::Verify
            && [c0, c1] != [0, 0]
            && pseudo_header(packet.source, packet.destination, length as u16).bytes(whole).finish() != 0
        {
            return Err(WireError::Checksum(Layer::Udp));
        }
        Ok(Datagram {
            source: SocketAddrV4::new(packet.source, u16::from_be_bytes([s0, s1])),
            destination: SocketAddrV4::new(packet.destination, u16::from_be_bytes([d0, d1])),
            payload: whole.get(HEADER..).unwrap_or_default(),
        })
    }
}

/// The header of a datagram that carries `payload`, checksum filled in.
pub fn header(source: SocketAddrV4, destination: SocketAddrV4, payload: &[u8]) -> Result<[u8; HEADER], WireError> {
    let length = u16::try_from(HEADER + payload.len()).map_err(|_| WireError::TooLong(Layer::Udp))?;
    let mut header = [0; HEADER];
    header[0..2].copy_from_slice(&source.port().to_be_bytes());
    header[2..4].copy_from_slice(&destination.port().to_be_bytes());
    header[4..6].copy_from_slice(&length.to_be_bytes());
    let sum = pseudo_header(*source.ip(), *destination.ip(), length).bytes(&header).bytes(payload).finish();
    // A computed zero is sent as all ones, zero meaning "none".
    header[6..8].copy_from_slice(&if sum == 0 { 0xffff } else { sum }.to_be_bytes());
    Ok(header)
}

fn pseudo_header(source: Ipv4Addr, destination: Ipv4Addr, length: u16) -> Sum {
    Sum::pseudo(&source.octets(), &destination.octets(), ipv4::UDP, length)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const SOURCE: SocketAddrV4 = SocketAddrV4::new(Ipv4Addr::new(10, 0, 0, 1), 67);
    const DESTINATION: SocketAddrV4 = SocketAddrV4::new(Ipv4Addr::new(10, 0, 0, 9), 68);

    fn carried(payload: &[u8]) -> ipv4::Packet<'_> {
        ipv4::Packet {
            source: *SOURCE.ip(),
            destination: *DESTINATION.ip(),
            protocol: ipv4::UDP,
            ttl: 64,
            identification: 0,
            fragment_offset: 0,
            more_fragments: false,
            options: &[],
            payload,
        }
    }

    fn datagram(payload: &[u8]) -> Vec<u8> {
        [&header(SOURCE, DESTINATION, payload).unwrap()[..], payload].concat()
    }

    #[test]
    fn a_datagram_without_a_checksum_is_accepted() {
        let mut bytes = datagram(b"abc");
        bytes[6..8].fill(0);
        assert_eq!(Datagram::parse(&carried(&bytes), Checksum::Verify).unwrap().payload, b"abc");
    }

    #[test]
    fn a_wrong_checksum_is_refused_unless_it_was_left_to_the_hardware() {
        let mut bytes = datagram(b"abc");
        bytes[6] ^= 1;
        assert_eq!(Datagram::parse(&carried(&bytes), Checksum::Verify), Err(WireError::Checksum(Layer::Udp)));
        assert_eq!(Datagram::parse(&carried(&bytes), Checksum::Trust).unwrap().payload, b"abc");
    }

    #[test]
    fn a_length_field_shorter_or_longer_than_the_bytes_is_refused() {
        let mut bytes = datagram(b"abc");
        bytes[5] = 7;
        assert_eq!(Datagram::parse(&carried(&bytes), Checksum::Trust), Err(WireError::Malformed(Layer::Udp)));
        bytes[5] = 12;
        assert_eq!(Datagram::parse(&carried(&bytes), Checksum::Trust), Err(WireError::Truncated(Layer::Udp)));
    }

    #[test]
    fn a_fragment_is_not_a_datagram() {
        let bytes = datagram(b"abc");
        let first = ipv4::Packet { more_fragments: true, ..carried(&bytes) };
        assert_eq!(Datagram::parse(&first, Checksum::Verify), Err(WireError::Fragment));
    }

    #[test]
    fn a_sum_of_zero_is_sent_as_all_ones() {
        let plain = header(SOURCE, DESTINATION, &[0, 0]).unwrap();
        let sum = u16::from_be_bytes([plain[6], plain[7]]);
        let payload = sum.to_be_bytes();
        assert_eq!(header(SOURCE, DESTINATION, &payload).unwrap()[6..], [0xff, 0xff]);
        assert!(Datagram::parse(&carried(&datagram(&payload)), Checksum::Verify).is_ok());
    }

    proptest! {
        #[test]
        fn a_datagram_reads_back_and_any_flipped_bit_is_noticed(payload in proptest::collection::vec(any::<u8>(), 1..600), flip: prop::sample::Index) {
            let mut bytes = datagram(&payload);
            let parsed = Datagram::parse(&carried(&bytes), Checksum::Verify);
            prop_assert_eq!(parsed, Ok(Datagram { source: SOURCE, destination: DESTINATION, payload: &payload }));
            let bit = HEADER * 8 + flip.index(payload.len() * 8);
            bytes[bit / 8] ^= 1 << (bit % 8);
            prop_assert_eq!(Datagram::parse(&carried(&bytes), Checksum::Verify), Err(WireError::Checksum(Layer::Udp)));
        }
    }
}
