//! Whole frames, appended to a caller's buffer: nothing is allocated when it has the room.

use std::net::{Ipv4Addr, SocketAddrV4};

use crate::ethernet::{self, Frame, VlanTag};
use crate::icmp::Echo;
use crate::udp::{Checksum, Datagram};
use crate::{Layer, MacAddr, WireError, arp, ipv4, udp};

/// Hops given to what this host sends (RFC 1700, "IP time to live parameter").
const TTL: u8 = 64;

/// The Ethernet part of a frame to be written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Link {
    /// Who shall take the frame.
    pub destination: MacAddr,
    /// The sending interface.
    pub source: MacAddr,
    /// The 802.1Q tag to carry.
    pub vlan: Option<VlanTag>,
}

/// Appends an Ethernet frame with a UDP datagram. `out` is left as it was when the payload is too long.
pub fn udp_frame(
    link: Link,
    source: SocketAddrV4,
    destination: SocketAddrV4,
    payload: &[u8],
    out: &mut Vec<u8>,
) -> Result<(), WireError> {
    let udp = udp::header(source, destination, payload)?;
    let ip = ipv4::header(*source.ip(), *destination.ip(), ipv4::UDP, TTL, udp.len() + payload.len())?;
    ethernet::write(link.destination, link.source, link.vlan, ethernet::IPV4, out);
    out.extend_from_slice(&ip);
    out.extend_from_slice(&udp);
    out.extend_from_slice(payload);
    Ok(())
}

/// Appends an Ethernet frame with an ARP packet.
pub fn arp_frame(link: Link, packet: &arp::Packet, out: &mut Vec<u8>) {
    ethernet::write(link.destination, link.source, link.vlan, ethernet::ARP, out);
    packet.write(out);
}

/// Appends an Ethernet frame with an ICMP echo. `out` is left as it was when the data is too long.
pub fn echo_frame(
    link: Link,
    source: Ipv4Addr,
    destination: Ipv4Addr,
    echo: &Echo<'_>,
    out: &mut Vec<u8>,
) -> Result<(), WireError> {
    let ip = ipv4::header(source, destination, ipv4::ICMP, TTL, crate::icmp::HEADER + echo.data.len())?;
    ethernet::write(link.destination, link.source, link.vlan, ethernet::IPV4, out);
    out.extend_from_slice(&ip);
    echo.write(out);
    Ok(())
}

/// Reads a frame down to its UDP datagram.
pub fn parse_udp(frame: &[u8], checksum: Checksum) -> Result<(Frame<'_>, Datagram<'_>), WireError> {
    let frame = Frame::parse(frame)?;
    if frame.ethertype != ethernet::IPV4 {
        return Err(WireError::Unexpected(Layer::Ipv4));
    }
    let packet = ipv4::Packet::parse(frame.payload)?;
    Ok((frame, Datagram::parse(&packet, checksum)?))
}

#[cfg(test)]
mod tests;
