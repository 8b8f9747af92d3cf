//! Tells who sent a packet that its way takes no packets so long (RFC 1191, RFC 8201).

use std::net::{IpAddr, Ipv6Addr};

use outwork_wire::checksum::{Sum, checksum};
use outwork_wire::ipv4;
use outwork_wire::octets::{read, word, write};

use super::packet::{FRAGMENT, ICMP, ICMP_V6, Packet, V4, V6};

/// Octets of the header.
const HEADER: usize = 8;
/// So long such a message is at most (RFC 1812 section 4.3.2.3, RFC 4443 section 2.4).
const LONGEST_V4: usize = 576;
const LONGEST_V6: usize = 1280;
/// No path of IPv6 takes less (RFC 8200 section 5).
const LEAST_V6: usize = 1280;
const TTL: u8 = 64;
/// Where a part of an IPv4 packet belongs in it.
const OFFSET: u16 = 0x1fff;

/// Writes to `out` what tells the sender of `octets` that packets may be `mtu` octets long; gives its length.
///
/// It comes from whom the packet was for. An address of this host will not do: Linux takes nothing that an interface brings from an address of its own (a martian, RFC 1812
/// section 5.3.7), and one of nobody's fails the check of the reverse path where that is strict. Whom the packet was for is behind the device, for it was routed there.
///
/// None where nobody is to be told (RFC 1122 section 3.2.2, RFC 4443 section 2.4): the packet may be cut on its way, is a later part of one, is itself an error, comes from or goes
/// to more than one; and where `out` has no room. How often it is told is for who calls.
pub fn too_big(octets: &[u8], packet: &Packet, mtu: usize, out: &mut [u8]) -> Option<usize> {
    let octets = octets.get(..packet.length)?;
    let of_one = !packet.source.is_unspecified() && !packet.source.is_multicast();
    if packet.divisible || !of_one || is_error(octets, packet) {
        return None;
    }
    match (packet.source, packet.destination) {
        (IpAddr::V4(source), IpAddr::V4(destination)) => {
            let alone = word(octets, FRAGMENT)? & OFFSET == 0 && !source.is_broadcast();
            if !alone || destination.is_multicast() || destination.is_broadcast() {
                return None;
            }
            let quoted = octets.get(..octets.len().min(LONGEST_V4 - V4 - HEADER))?;
            let [m0, m1] = u16::try_from(mtu).unwrap_or(u16::MAX).to_be_bytes();
            let header = ipv4::header(destination, source, ICMP, TTL, HEADER + quoted.len()).ok()?;
            let message = out.get_mut(..V4 + HEADER + quoted.len())?;
            write(message, 0, &header)?;
            write(message, V4, &[3, 4, 0, 0, 0, 0, m0, m1])?;
            write(message, V4 + HEADER, quoted)?;
            let check = checksum(message.get(V4..)?);
            write(message, V4 + 2, &check.to_be_bytes())?;
            Some(message.len())
        }
        // RFC 4443 would tell who sends to a group as well, but nobody could say so: a group is no source.
        (IpAddr::V6(source), IpAddr::V6(destination)) if !destination.is_multicast() => {
            too_big_v6(octets, source, mtu, destination, out)
        }
        _ => None,
    }
}

fn too_big_v6(octets: &[u8], source: Ipv6Addr, mtu: usize, from: Ipv6Addr, out: &mut [u8]) -> Option<usize> {
    let quoted = octets.get(..octets.len().min(LONGEST_V6 - V6 - HEADER))?;
    let length = u16::try_from(HEADER + quoted.len()).ok()?;
    let [l0, l1] = length.to_be_bytes();
    let [m0, m1, m2, m3] = u32::try_from(mtu.max(LEAST_V6)).unwrap_or(u32::MAX).to_be_bytes();
    let message = out.get_mut(..V6 + usize::from(length))?;
    write(message, 0, &[0x60, 0, 0, 0, l0, l1, ICMP_V6, TTL])?;
    write(message, 8, &from.octets())?;
    write(message, 24, &source.octets())?;
    write(message, V6, &[2, 0, 0, 0, m0, m1, m2, m3])?;
    write(message, V6 + HEADER, quoted)?;
    let check = Sum::pseudo(&from.octets(), &source.octets(), ICMP_V6, length).bytes(message.get(V6..)?).finish();
    write(message, V6 + 2, &check.to_be_bytes())?;
    Some(message.len())
}

/// Whether it is itself an error: nobody is told of these. A part counts as one, for what it is of is not in it.
fn is_error(octets: &[u8], packet: &Packet) -> bool {
    let kind = || read(octets, packet.header).map_or(0, |[kind]: [u8; 1]| kind);
    match packet.protocol {
        ICMP | ICMP_V6 if packet.part => true,
        ICMP => !matches!(kind(), 0 | 8 | 13..=18),
        ICMP_V6 => kind() < 128,
        _ => false,
    }
}
