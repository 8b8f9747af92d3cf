//! What stands in front of each packet of a TUN device with offloads: `struct virtio_net_hdr` (virtio 1.2 section 5.1.6), little-endian.

use outwork_wire::octets::read;

/// Octets of it.
pub const LENGTH: usize = 10;
/// In `flags`: the checksum is still to be made. In its place stands the sum of the pseudo header.
pub const NEEDS_CHECKSUM: u8 = 1;
/// As `kind`: one packet.
pub const NONE: u8 = 0;
/// As `kind`: segments of TCP over IPv4.
pub const TCP_V4: u8 = 1;
/// As `kind`: segments of TCP over IPv6.
pub const TCP_V6: u8 = 4;
/// As `kind`: datagrams of UDP over either (`VIRTIO_NET_HDR_GSO_UDP_L4`).
pub const UDP: u8 = 5;
/// Beside a `kind` of TCP: the first segment says that the congestion window was reduced (RFC 3168 section 6.1.2).
pub const ECN: u8 = 0x80;

/// What a packet is that may be many.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct VnetHeader {
    /// [`NEEDS_CHECKSUM`] or nothing.
    pub flags: u8,
    /// Of what it is made (`gso_type`).
    pub kind: u8,
    /// Octets of all headers, as a hint (`hdr_len`).
    pub header_length: u16,
    /// Octets of payload in each of the packets but the last (`gso_size`).
    pub segment: u16,
    /// Where what is summed begins (`csum_start`).
    pub checksum_start: u16,
    /// Where the checksum is from there on (`csum_offset`).
    pub checksum_offset: u16,
}

impl VnetHeader {
    /// From what a device gave; none when it is cut short.
    pub fn read(octets: &[u8]) -> Option<VnetHeader> {
        let [flags, kind, h0, h1, s0, s1, b0, b1, o0, o1]: [u8; LENGTH] = read(octets, 0)?;
        Some(VnetHeader {
            flags,
            kind,
            header_length: u16::from_le_bytes([h0, h1]),
            segment: u16::from_le_bytes([s0, s1]),
            checksum_start: u16::from_le_bytes([b0, b1]),
            checksum_offset: u16::from_le_bytes([o0, o1]),
        })
    }

    /// As a device wants it.
    pub fn write(&self) -> [u8; LENGTH] {
        let [h0, h1] = self.header_length.to_le_bytes();
        let [s0, s1] = self.segment.to_le_bytes();
        let [b0, b1] = self.checksum_start.to_le_bytes();
        let [o0, o1] = self.checksum_offset.to_le_bytes();
        [self.flags, self.kind, h0, h1, s0, s1, b0, b1, o0, o1]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_header_reads_back_as_written_and_its_numbers_are_little_endian() {
        let header = VnetHeader {
            flags: NEEDS_CHECKSUM,
            kind: TCP_V4 | ECN,
            header_length: 0x0102,
            segment: 0x0304,
            checksum_start: 0x0506,
            checksum_offset: 0x0708,
        };
        let octets = header.write();
        assert_eq!(octets, [1, 0x81, 2, 1, 4, 3, 6, 5, 8, 7]);
        assert_eq!((VnetHeader::read(&octets), VnetHeader::read(&octets[1..])), (Some(header), None));
    }
}
