//! What stands before a packet of a TUN device: how it comes apart, and what of its checksum is missing (`virtio_net_hdr` of the kernel; VIRTIO 1.2, section
//! 5.1.6).

/// A header, as its numbers are.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct VnetHeader {
    /// [`VnetHeader::NEEDS_CHECKSUM`], or [`VnetHeader::VALID`], or neither.
    pub flags: u8,
    /// What it is a run of: one of [`VnetHeader::NONE`], [`VnetHeader::TCP4`], [`VnetHeader::TCP6`] and [`VnetHeader::UDP`].
    pub kind: u8,
    /// Octets of the headers that each packet of the run has: those of IP and of TCP or UDP. A hint only.
    pub header_length: u16,
    /// Octets of payload of each packet of the run, of which the last may have less. 0 for one packet.
    pub segment: u16,
    /// Where, in the packet, that begins which the checksum is of; it goes to the end.
    pub checksum_start: u16,
    /// Where, from there, the checksum stands. What stands there is the sum of the pseudo-header.
    pub checksum_offset: u16,
}

impl VnetHeader {
    /// Octets.
    pub const LENGTH: usize = 10;
    /// The checksum is to be completed (`VIRTIO_NET_HDR_F_NEEDS_CSUM`).
    pub const NEEDS_CHECKSUM: u8 = 1;
    /// The checksum has been verified (`VIRTIO_NET_HDR_F_DATA_VALID`).
    pub const VALID: u8 = 2;
    /// One packet.
    pub const NONE: u8 = 0;
    /// A run of TCP over IPv4.
    pub const TCP4: u8 = 1;
    /// A run of TCP over IPv6.
    pub const TCP6: u8 = 4;
    /// A run of UDP over either (`VIRTIO_NET_HDR_GSO_UDP_L4`).
    pub const UDP: u8 = 5;
    /// Beside TCP: the first of the run says that the window was made less (`CWR`, RFC 3168), and the others do not.
    pub const ECN: u8 = 0x80;

    /// Reads the header before a packet. `None` when it is too short.
    pub fn read(octets: &[u8]) -> Option<VnetHeader> {
        let [flags, kind, h0, h1, s0, s1, c0, c1, o0, o1] = *octets.first_chunk()?;
        Some(VnetHeader {
            flags,
            kind,
            header_length: u16::from_le_bytes([h0, h1]),
            segment: u16::from_le_bytes([s0, s1]),
            checksum_start: u16::from_le_bytes([c0, c1]),
            checksum_offset: u16::from_le_bytes([o0, o1]),
        })
    }

    /// The octets that stand before the packet.
    pub fn write(&self) -> [u8; VnetHeader::LENGTH] {
        let [h0, h1] = self.header_length.to_le_bytes();
        let [s0, s1] = self.segment.to_le_bytes();
        let [c0, c1] = self.checksum_start.to_le_bytes();
        let [o0, o1] = self.checksum_offset.to_le_bytes();
        [self.flags, self.kind, h0, h1, s0, s1, c0, c1, o0, o1]
    }

    /// Whether the checksum is to be completed.
    pub fn needs_checksum(&self) -> bool {
        self.flags & VnetHeader::NEEDS_CHECKSUM != 0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_header_is_read_as_it_was_written_and_in_the_order_of_the_standard() {
        let header = VnetHeader {
            flags: VnetHeader::NEEDS_CHECKSUM,
            kind: VnetHeader::TCP6,
            header_length: 0x0102,
            segment: 0x0304,
            checksum_start: 0x0506,
            checksum_offset: 0x0708,
        };
        let octets = header.write();
        assert_eq!(octets, [1, 4, 2, 1, 4, 3, 6, 5, 8, 7]);
        assert_eq!(VnetHeader::read(&[&octets[..], b"packet"].concat()), Some(header));
        (0..VnetHeader::LENGTH).for_each(|length| assert_eq!(VnetHeader::read(&octets[..length]), None));
        assert!(header.needs_checksum() && !VnetHeader::default().needs_checksum());
    }
}
