//! Checksums that were left to a card that is none (veth, `CHECKSUM_PARTIAL`): they are the sum of the pseudo header alone, and are completed here. That another is
//! the same by chance does no harm: it is complete, and comes out as it was.

use super::frame::Frame;
use super::packet::{Packet, UDP, V4, V6};

const TCP_CHECK: usize = 16;
const UDP_CHECK: usize = 6;

/// The longest that is completed: the driver of a veth takes no frame of more than a page.
const LONGEST: usize = 64 * 60;

/// Completes the checksum of a packet of TCP or UDP, where it is not.
pub(crate) fn complete(frame: &mut Frame<'_>, packet: &Packet) -> Option<()> {
    let header = if packet.is_v6 { V6 } else { V4 };
    let (l4, end) = (packet.l3 + header, packet.l3 + packet.length as usize);
    let is_udp = packet.key.protocol == UDP;
    let at = l4 + if is_udp { UDP_CHECK } else { TCP_CHECK };
    let length = end.checked_sub(l4)?;
    // Of mapped addresses the parts that are not IPv4's add what is nothing in this arithmetic.
    let pseudo = words(&packet.key.source.0) + words(&packet.key.destination.0);
    let pseudo = fold(pseudo + u64::from(packet.key.protocol) + length as u64);
    if u16::from_be_bytes(frame.read(at)?) != pseudo || length >= LONGEST {
        return Some(());
    }
    // The sum of the pseudo header is among what is summed.
    let check = match !fold(words(frame.bytes().get(l4..end)?)) {
        0 if is_udp => 0xffff,
        check => check,
    };
    frame.write(at, &check.to_be_bytes())
}

fn words(octets: &[u8]) -> u64 {
    let (words, rest) = octets.as_chunks::<2>();
    let last = rest.first().map_or(0, |octet| u64::from(*octet) << 8);
    words.iter().map(|word| u64::from(u16::from_be_bytes(*word))).sum::<u64>() + last
}

fn fold(mut sum: u64) -> u16 {
    while sum > 0xffff {
        sum = (sum & 0xffff) + (sum >> 16);
    }
    sum as u16
}
