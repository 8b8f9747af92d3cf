//! What is done to a packet. Sums are amended, never made anew: what was wrong before stays wrong, and is found out by whom it was for.

use outwork_wire::checksum::{checksum, growth, replaced};

use super::decide::{Change, Leaving, Order};
use super::frame::Frame;
use super::packet::{ETHERNET, ICMP, Packet, TAG, UDP, V4, V6};
use crate::layout::{Address, Control};

const IP_CHECK: usize = 10;
const IP_TTL: usize = 8;
const IP_SOURCE: usize = 12;
const IP_DESTINATION: usize = 16;
const IP6_HOPS: usize = 7;
const IP6_SOURCE: usize = 8;
const IP6_DESTINATION: usize = 24;
const TCP_CHECK: usize = 16;
const UDP_CHECK: usize = 6;
const ICMP_CHECK: usize = 2;

/// Changes the frame as ordered. `None` where there is no room for it.
pub(crate) fn carry_out(frame: &mut Frame<'_>, packet: &Packet, order: &Order, control: &Control) -> Option<()> {
    let ethertype: [u8; 2] = if packet.is_v6 { [0x86, 0xdd] } else { [0x08, 0x00] };
    match order.change {
        Change::Forward | Change::Return => {
            match packet.is_v6 {
                true => nat_v6(frame, packet, order)?,
                false => nat_v4(frame, packet, order)?,
            }
            order.leaving.map_or(Some(()), |leaving| link(frame, packet, &leaving, 0, ethertype).map(|_| ()))
        }
        Change::Direct => link(frame, packet, &order.leaving?, 0, ethertype).map(|_| ()),
        Change::Tunnel if order.address.is_v4() => {
            let at = link(frame, packet, &order.leaving?, V4, [0x08, 0x00])?;
            frame.write(at, &outer_v4(packet, order, control))
        }
        Change::Tunnel => {
            let at = link(frame, packet, &order.leaving?, V6, [0x86, 0xdd])?;
            frame.write(at, &outer_v6(packet, order, control))
        }
    }
}

/// Whose the packet was, or for whom, as its own header says. An ICMP error may be of somebody on the way.
fn outer(packet: &Packet, order: &Order) -> Address {
    if order.change == Change::Return { packet.from } else { order.before }
}

/// Of two places, of the source and of the destination: that in a packet's own header, and the other one, which is that in what an ICMP error brought along.
fn places(order: &Order, source: usize, destination: usize) -> (usize, usize) {
    if order.change == Change::Return { (source, destination) } else { (destination, source) }
}

fn amend(frame: &mut Frame<'_>, at: usize, growth: u64) -> Option<()> {
    let check = u16::from_be_bytes(frame.read(at)?);
    frame.write(at, &replaced(check, growth).to_be_bytes())
}

/// Brings the ports and the checksum of TCP or UDP up to date. UDP's may be absent (RFC 768), and is never zero otherwise.
fn ports(frame: &mut Frame<'_>, packet: &Packet, order: &Order, l4: usize, by_address: u64) -> Option<()> {
    let is_udp = packet.key.protocol == UDP;
    let at = l4 + if is_udp { UDP_CHECK } else { TCP_CHECK };
    let check = u16::from_be_bytes(frame.read(at)?);
    frame.write(l4 + if order.change == Change::Return { 0 } else { 2 }, &order.port)?;
    if is_udp && check == 0 {
        return Some(());
    }
    let check = match replaced(check, by_address + growth(order.port_before, order.port)) {
        0 if is_udp => 0xffff,
        check => check,
    };
    frame.write(at, &check.to_be_bytes())
}

fn nat_v4(frame: &mut Frame<'_>, packet: &Packet, order: &Order) -> Option<()> {
    let (ip, l4) = (packet.l3, packet.l3 + V4);
    let by_address = growth(order.before.0, order.address.0);
    let address = order.address.0.last_chunk::<4>()?;
    let mut header = growth(outer(packet, order).0, order.address.0);
    let (own, brought) = places(order, IP_SOURCE, IP_DESTINATION);
    if order.leaving.is_some() {
        let [hops, protocol]: [u8; 2] = frame.read(ip + IP_TTL)?;
        let after = [hops.checked_sub(1)?, protocol];
        header += growth([hops, protocol], after);
        frame.write(ip + IP_TTL, &after)?;
    }
    frame.write(ip + own, address)?;
    amend(frame, ip + IP_CHECK, header)?;
    if !packet.is_error {
        return ports(frame, packet, order, l4, by_address);
    }
    // The inner header's checksum makes up for its address: only the port changes what ICMP's is of.
    let inner = l4 + ICMP;
    frame.write(inner + brought, address)?;
    amend(frame, inner + IP_CHECK, by_address)?;
    amend(frame, l4 + ICMP_CHECK, growth(order.port_before, order.port))?;
    frame.write(inner + V4 + places(order, 0, 2).1, &order.port)
}

fn nat_v6(frame: &mut Frame<'_>, packet: &Packet, order: &Order) -> Option<()> {
    let (ip, l4) = (packet.l3, packet.l3 + V6);
    let by_address = growth(order.before.0, order.address.0);
    if order.leaving.is_some() {
        let [hops]: [u8; 1] = frame.read(ip + IP6_HOPS)?;
        frame.write(ip + IP6_HOPS, &[hops.checked_sub(1)?])?;
    }
    let (own, brought) = places(order, IP6_SOURCE, IP6_DESTINATION);
    frame.write(ip + own, &order.address.0)?;
    if !packet.is_error {
        return ports(frame, packet, order, l4, by_address);
    }
    // The address changes twice: in the pseudo header, and in what the error brought along.
    let inner = l4 + ICMP;
    frame.write(inner + brought, &order.address.0)?;
    let by_outer = growth(outer(packet, order).0, order.address.0);
    amend(frame, l4 + ICMP_CHECK, by_outer + by_address + growth(order.port_before, order.port))?;
    frame.write(inner + V6 + places(order, 0, 2).1, &order.port)
}

/// Makes room for, or takes away, what the new headers differ by, and writes Ethernet's. Says where the IP header begins.
fn link(frame: &mut Frame<'_>, packet: &Packet, leaving: &Leaving, outer: usize, ethertype: [u8; 2]) -> Option<usize> {
    let header = ETHERNET + if leaving.vlan == 0 { 0 } else { TAG };
    frame.grow((header + outer) as isize - packet.l3 as isize)?;
    frame.write(0, &leaving.destination.0)?;
    frame.write(6, &leaving.source.0)?;
    if leaving.vlan != 0 {
        frame.write(12, &[0x81, 0x00])?;
        frame.write(14, &leaving.vlan.to_be_bytes())?;
    }
    frame.write(header - 2, &ethertype)?;
    Some(header)
}

fn inner_protocol(packet: &Packet) -> u8 {
    if packet.is_v6 { 41 } else { 4 }
}

/// The header that carries a packet (RFC 2003). ECN and class are those of the packet (RFC 6040 section 4.1).
fn outer_v4(packet: &Packet, order: &Order, control: &Control) -> [u8; V4] {
    let [l0, l1] = ((packet.length + V4 as u32) as u16).to_be_bytes();
    let tail = |address: Address| address.0.last_chunk::<4>().copied().unwrap_or_default();
    let ([s0, s1, s2, s3], [d0, d1, d2, d3]) = (tail(control.tunnel_v4), tail(order.address));
    let header = |c0, c1| {
        let protocol = inner_protocol(packet);
        [0x45, packet.class, l0, l1, 0, 0, 0x40, 0, 64, protocol, c0, c1, s0, s1, s2, s3, d0, d1, d2, d3]
    };
    let [c0, c1] = checksum(&header(0, 0)).to_be_bytes();
    header(c0, c1)
}

/// The same over IPv6 (RFC 2473).
fn outer_v6(packet: &Packet, order: &Order, control: &Control) -> [u8; V6] {
    let [l0, l1] = (packet.length as u16).to_be_bytes();
    let class = packet.class;
    let head = [0x60 | class >> 4, class << 4, 0, 0, l0, l1, inner_protocol(packet), 64];
    let mut header = [0; V6];
    let parts = head.iter().chain(&control.tunnel_v6.0).chain(&order.address.0);
    header.iter_mut().zip(parts).for_each(|(to, from)| *to = *from);
    header
}
