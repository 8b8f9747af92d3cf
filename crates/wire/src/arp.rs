//! ARP for IPv4 over Ethernet (RFC 826), with the probe and the announcement of RFC 5227.

use std::net::Ipv4Addr;

use crate::{Layer, MacAddr, WireError, be16, bytes};

/// Octets of an ARP packet.
pub const LENGTH: usize = 28;

/// What an ARP packet does.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Operation {
    /// Who has the target address?
    Request,
    /// The sender has the sender address.
    Reply,
}

/// An ARP packet.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Packet {
    /// Request or reply.
    pub operation: Operation,
    /// Hardware address of the sender.
    pub sender_mac: MacAddr,
    /// Protocol address of the sender; 0.0.0.0 in a probe.
    pub sender: Ipv4Addr,
    /// Hardware address of the target; zero in a request.
    pub target_mac: MacAddr,
    /// Protocol address of the target.
    pub target: Ipv4Addr,
}

impl Packet {
    /// The probe of RFC 5227 section 2.1.1: asks for `target` without claiming any address, so that no cache learns from it.
    pub fn probe(sender_mac: MacAddr, target: Ipv4Addr) -> Packet {
        Packet {
            operation: Operation::Request,
            sender_mac,
            sender: Ipv4Addr::UNSPECIFIED,
            target_mac: MacAddr::ZERO,
            target,
        }
    }

    /// Reads an ARP packet; other hardware and protocol types are malformed, other operations unexpected.
    pub fn parse(packet: &[u8]) -> Result<Packet, WireError> {
        let header: [u8; 6] = bytes(packet, 0, Layer::Arp)?;
        if header != [0, 1, 8, 0, 6, 4] {
            return Err(WireError::Malformed(Layer::Arp));
        }
        let operation = match be16(packet, 6, Layer::Arp)? {
            1 => Operation::Request,
            2 => Operation::Reply,
            _ => return Err(WireError::Unexpected(Layer::Arp)),
        };
        Ok(Packet {
            operation,
            sender_mac: MacAddr(bytes(packet, 8, Layer::Arp)?),
            sender: bytes::<4>(packet, 14, Layer::Arp)?.into(),
            target_mac: MacAddr(bytes(packet, 18, Layer::Arp)?),
            target: bytes::<4>(packet, 24, Layer::Arp)?.into(),
        })
    }

    /// Appends the packet's [`LENGTH`] octets.
    pub fn write(&self, out: &mut Vec<u8>) {
        let operation = match self.operation {
            Operation::Request => 1,
            Operation::Reply => 2,
        };
        out.extend_from_slice(&[0, 1, 8, 0, 6, 4, 0, operation]);
        out.extend_from_slice(&self.sender_mac.0);
        out.extend_from_slice(&self.sender.octets());
        out.extend_from_slice(&self.target_mac.0);
        out.extend_from_slice(&self.target.octets());
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn a_probe_claims_no_address() {
        let probe = Packet::probe(MacAddr([2, 0, 0, 0, 0, 1]), Ipv4Addr::new(10, 0, 0, 9));
        assert_eq!(
            (probe.operation, probe.sender, probe.target_mac),
            (Operation::Request, Ipv4Addr::UNSPECIFIED, MacAddr::ZERO)
        );
    }

    #[test]
    fn arp_for_something_else_than_ipv4_over_ethernet_is_malformed() {
        let mut packet = Vec::new();
        Packet::probe(MacAddr::ZERO, Ipv4Addr::LOCALHOST).write(&mut packet);
        for at in 0..6 {
            let mut other = packet.clone();
            other[at] ^= 0x40;
            assert_eq!(Packet::parse(&other), Err(WireError::Malformed(Layer::Arp)));
        }
        packet[7] = 3;
        assert_eq!(Packet::parse(&packet), Err(WireError::Unexpected(Layer::Arp)));
    }

    proptest! {
        #[test]
        fn a_packet_reads_back_as_written_and_truncated_when_cut(reply: bool, macs: [[u8; 6]; 2], addresses: [u32; 2], cut in 0..LENGTH) {
            let packet = Packet {
                operation: if reply { Operation::Reply } else { Operation::Request },
                sender_mac: MacAddr(macs[0]),
                sender: addresses[0].into(),
                target_mac: MacAddr(macs[1]),
                target: addresses[1].into(),
            };
            let mut bytes = Vec::new();
            packet.write(&mut bytes);
            prop_assert_eq!(bytes.len(), LENGTH);
            prop_assert_eq!(Packet::parse(&bytes), Ok(packet));
            prop_assert_eq!(Packet::parse(&bytes[..cut]), Err(WireError::Truncated(Layer::Arp)));
        }
    }
}
