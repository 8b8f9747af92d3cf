//! Many packets that a TUN device hands over as one (TSO, USO) cut into what they are: each with its own headers and checksums, all of them laid out so that
//! what they are sealed into stands one behind the other and leaves as one run.

use std::net::IpAddr;
use std::ops::Range;

use outwork_net::tun::VnetHeader;
use outwork_wire::checksum::Sum;
use outwork_wire::octets::{read, word, write};

use super::packet::{
    CWR, FIN, FLAGS, IDENTIFICATION, IP_CHECK, Malformed, OFFSET, PUSH, Packet, SEQUENCE, TCP, TCP_CHECK, TCP_HEADER,
    TOTAL, UDP, UDP_CHECK, UDP_HEADER, UDP_LENGTH, V6,
};

/// How packets lie in the buffer that they leave from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Layout {
    /// Octets left before each packet.
    pub head: usize,
    /// So many of these are sealed with it, and padded with it.
    pub front: usize,
    /// Octets left behind each packet and its padding.
    pub tail: usize,
    /// Packets are padded to a multiple of this.
    pub pad_to: usize,
    /// But not beyond this. Segments of TCP are cut to be no longer; all else is as long as it is.
    pub mtu: usize,
}

impl Layout {
    /// Octets of a packet with its padding.
    pub fn padded(&self, length: usize) -> usize {
        let padded = (length + self.front).next_multiple_of(self.pad_to.max(1)) - self.front;
        padded.min(self.mtu.max(length))
    }

    /// Octets that a packet takes with all that is around it.
    pub fn stride(&self, length: usize) -> usize {
        self.head + self.padded(length) + self.tail
    }
}

/// Why nothing was split.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[allow(missing_docs)]
pub enum SplitError {
    #[error("what the device gave is no packet: {0}")]
    Malformed(#[from] Malformed),
    #[error("the device says {said} octets of headers, in a packet of {has}")]
    Headers { said: usize, has: usize },
    #[error("the device says that it is segments of kind {0:#x}, which is none of those that were asked for")]
    Kind(u8),
    #[error("the device says kind {kind:#x}, and the packet is of protocol {protocol}, or a part")]
    Protocol { kind: u8, protocol: u8 },
    #[error("the device says segments of no octets")]
    Segment,
    #[error(
        "the device says that a checksum of what begins at {start} goes {offset} behind it, where none is in a packet of {has} octets"
    )]
    Checksum { start: usize, offset: usize, has: usize },
    #[error("it may not be cut on its way")]
    Indivisible,
    #[error("packets of {mtu} octets have no room for parts behind {headers} of headers")]
    Narrow { mtu: usize, headers: usize },
    #[error("the packets need {needs} octets, and the buffer has {has}")]
    NoRoom { needs: usize, has: usize },
}

/// Where the packets lie, in order. All are as long as the first one, but the last may be shorter.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Pieces {
    next: usize,
    count: usize,
    head: usize,
    stride: usize,
    length: usize,
    last: usize,
}

impl Pieces {
    /// So many of them, each of `length` octets and the last of `last`.
    pub(super) fn new(layout: &Layout, count: usize, length: usize, last: usize) -> Pieces {
        let stride = layout.stride(if count > 1 { length } else { last });
        Pieces { next: 0, count, head: layout.head, stride, length, last }
    }

    /// Octets that all of them take with what is around them.
    pub(super) fn needs(&self, layout: &Layout) -> usize {
        self.count.saturating_sub(1) * self.stride + layout.stride(self.last)
    }

    /// Octets from the beginning of one to that of the next.
    pub fn stride(&self) -> usize {
        self.stride
    }

    /// Octets of the longest one.
    pub fn longest(&self) -> usize {
        if self.count > 1 { self.length } else { self.last }
    }
}

impl Iterator for Pieces {
    type Item = Range<usize>;

    fn next(&mut self) -> Option<Range<usize>> {
        let left = self.count.checked_sub(self.next)?;
        let length = match left {
            0 => return None,
            1 => self.last,
            _ => self.length,
        };
        let start = self.head + self.next * self.stride;
        self.next += 1;
        Some(start..start + length)
    }

    fn size_hint(&self) -> (usize, Option<usize>) {
        let left = self.count - self.next;
        (left, Some(left))
    }
}

impl ExactSizeIterator for Pieces {}

/// Whether all packets that a whole is split into fit into `mtu` octets. Segments of TCP are cut until they do.
pub fn fits(header: &VnetHeader, packet: &Packet, mtu: usize) -> bool {
    match header.kind & !VnetHeader::ECN {
        VnetHeader::TCP4 | VnetHeader::TCP6 => true,
        VnetHeader::UDP => packet.length.min(packet.header + UDP_HEADER + usize::from(header.segment)) <= mtu,
        _ => packet.length <= mtu,
    }
}

/// Writes the packets of `octets` to `out`, and says where they are. Checksums that were left to be made are made.
///
/// # Errors
/// When the header speaks of something else than what follows it, or `out` is too small: nothing of worth is in it then.
pub fn split(header: &VnetHeader, octets: &[u8], layout: &Layout, out: &mut [u8]) -> Result<Pieces, SplitError> {
    let packet = Packet::read(octets)?;
    let octets = octets.get(..packet.length).ok_or(Malformed::Cut)?;
    let (said, has) = (usize::from(header.header_length), octets.len());
    if said > has {
        return Err(SplitError::Headers { said, has });
    }
    match header.kind & !VnetHeader::ECN {
        VnetHeader::NONE => one(header, octets, layout, out),
        VnetHeader::TCP4 | VnetHeader::TCP6 | VnetHeader::UDP => many(header, octets, &packet, layout, out),
        _ => Err(SplitError::Kind(header.kind)),
    }
}

fn one(header: &VnetHeader, octets: &[u8], layout: &Layout, out: &mut [u8]) -> Result<Pieces, SplitError> {
    let (length, stride) = (octets.len(), layout.stride(octets.len()));
    let room = SplitError::NoRoom { needs: stride, has: out.len() };
    let piece = out.get_mut(..stride).and_then(|out| out.get_mut(layout.head..layout.head + length)).ok_or(room)?;
    piece.copy_from_slice(octets);
    if header.flags & VnetHeader::NEEDS_CHECKSUM != 0 {
        let (start, offset) = (usize::from(header.checksum_start), usize::from(header.checksum_offset));
        complete(piece, start, offset).ok_or(SplitError::Checksum { start, offset, has: length })?;
    }
    Ok(Pieces::new(layout, 1, length, length))
}

/// Makes a checksum where that of the pseudo header stands. UDP's is never zero (RFC 768); that of TCP may be the other form of it as well.
fn complete(packet: &mut [u8], start: usize, offset: usize) -> Option<()> {
    let summed = packet.get_mut(start..)?;
    word(summed, offset)?;
    let check = made(Sum::default().bytes(summed));
    write(summed, offset, &check.to_be_bytes())
}

/// A checksum that is not zero.
pub(super) fn made(sum: Sum) -> u16 {
    match sum.finish() {
        0 => 0xffff,
        check => check,
    }
}

/// What packets that were one have in common.
struct Common<'a> {
    /// All headers of the first.
    headers: &'a [u8],
    /// Where that of TCP or UDP is.
    transport: usize,
    /// The sum of what is the same in the IPv4 headers.
    ip: Option<Sum>,
    identification: u16,
    /// The sum of what is the same in the pseudo headers, and in those of TCP or UDP.
    sum: Sum,
    /// First number and flags of TCP; none of UDP.
    tcp: Option<(u32, u8)>,
}

impl<'a> Common<'a> {
    fn read(header: &VnetHeader, octets: &'a [u8], packet: &Packet) -> Option<Common<'a>> {
        let transport = packet.header;
        let segment = octets.get(transport..)?;
        let (length, check, tcp) = match packet.protocol {
            TCP => {
                let flags = u8::from_be_bytes(read(segment, FLAGS)?);
                let words = u8::from_be_bytes(read(segment, OFFSET)?) >> 4;
                let length = usize::from(words) * 4;
                (length, TCP_CHECK, Some((u32::from_be_bytes(read(segment, SEQUENCE)?), flags)))
            }
            _ => (UDP_HEADER, UDP_CHECK, None),
        };
        let own = segment.get(..length).filter(|_| tcp.is_none() || length >= TCP_HEADER)?;
        let left_to_us = header.flags & VnetHeader::NEEDS_CHECKSUM != 0;
        let sum = match left_to_us {
            // It is there already, with the length of all. So the kernel has said which destination is the last one, whatever routing headers say.
            true => Sum::default().number(word(own, check)?).number(!(segment.len() as u16)),
            false => match (packet.source, packet.destination) {
                (IpAddr::V4(source), IpAddr::V4(to)) => Sum::pseudo(&source.octets(), &to.octets(), packet.protocol, 0),
                (IpAddr::V6(source), IpAddr::V6(to)) => Sum::pseudo(&source.octets(), &to.octets(), packet.protocol, 0),
                _ => return None,
            },
        };
        // All of it but number, flags, length and checksum.
        let sum = match tcp {
            Some(_) => {
                let sum = sum.bytes(own.get(..SEQUENCE)?).bytes(own.get(SEQUENCE + 4..OFFSET)?);
                sum.bytes(own.get(OFFSET + 2..TCP_CHECK)?).bytes(own.get(TCP_CHECK + 2..)?)
            }
            None => sum.bytes(own.get(..UDP_LENGTH)?),
        };
        let ip = match packet.source {
            IpAddr::V4(_) => {
                let ip = octets.get(..transport)?;
                let sum = Sum::default().bytes(ip.get(..TOTAL)?).bytes(ip.get(IDENTIFICATION + 2..IP_CHECK)?);
                Some(sum.bytes(ip.get(IP_CHECK + 2..)?))
            }
            IpAddr::V6(_) => None,
        };
        let headers = octets.get(..transport + length)?;
        Some(Common { headers, transport, ip, identification: word(octets, IDENTIFICATION)?, sum, tcp })
    }

    /// Writes one packet: the headers, of which it is the one at `place`, and `payload`, which begins `at` octets behind that of the first.
    fn write(&self, piece: &mut [u8], place: usize, at: usize, payload: &[u8], last: bool) -> Option<()> {
        write(piece, 0, self.headers)?;
        write(piece, self.headers.len(), payload)?;
        let total = piece.len();
        match self.ip {
            Some(sum) => {
                let identification = self.identification.wrapping_add(place as u16);
                let check = sum.number(total as u16).number(identification).finish();
                let [l0, l1] = (total as u16).to_be_bytes();
                let [i0, i1] = identification.to_be_bytes();
                write(piece, TOTAL, &[l0, l1, i0, i1])?;
                write(piece, IP_CHECK, &check.to_be_bytes())?;
            }
            None => write(piece, 4, &((total - V6) as u16).to_be_bytes())?,
        }
        let own = piece.get_mut(self.transport..)?;
        let length = own.len() as u16;
        let sum = self.sum.number(length).bytes(payload);
        let Some((sequence, flags)) = self.tcp else {
            write(own, UDP_LENGTH, &length.to_be_bytes())?;
            return write(own, UDP_CHECK, &made(sum.number(length)).to_be_bytes());
        };
        let ends = if last { 0 } else { FIN | PUSH };
        let begins = if place == 0 { 0 } else { CWR };
        let sequence = sequence.wrapping_add(at as u32).to_be_bytes();
        let offset_and_flags = [u8::from_be_bytes(read(own, OFFSET)?), flags & !ends & !begins];
        write(own, SEQUENCE, &sequence)?;
        write(own, OFFSET, &offset_and_flags)?;
        let check = sum.bytes(&sequence).bytes(&offset_and_flags).finish();
        write(own, TCP_CHECK, &check.to_be_bytes())
    }
}

fn many(
    header: &VnetHeader,
    octets: &[u8],
    packet: &Packet,
    layout: &Layout,
    out: &mut [u8],
) -> Result<Pieces, SplitError> {
    let is_tcp = packet.protocol == TCP;
    let fits = match header.kind & !VnetHeader::ECN {
        VnetHeader::TCP4 => is_tcp && packet.source.is_ipv4(),
        VnetHeader::TCP6 => is_tcp && packet.source.is_ipv6(),
        _ => packet.protocol == UDP && header.kind & VnetHeader::ECN == 0,
    };
    if !fits || packet.part {
        return Err(SplitError::Protocol { kind: header.kind, protocol: packet.protocol });
    }
    if header.segment == 0 {
        return Err(SplitError::Segment);
    }
    let (start, offset) = (usize::from(header.checksum_start), usize::from(header.checksum_offset));
    let expected = (packet.header, if is_tcp { TCP_CHECK } else { UDP_CHECK });
    if header.flags & VnetHeader::NEEDS_CHECKSUM != 0 && (start, offset) != expected {
        return Err(SplitError::Checksum { start, offset, has: octets.len() });
    }
    let common = Common::read(header, octets, packet).ok_or(Malformed::Cut)?;
    let (headers, payload) = octets.split_at_checked(common.headers.len()).ok_or(Malformed::Cut)?;
    let most = if is_tcp { layout.mtu.saturating_sub(headers.len()).max(1) } else { usize::MAX };
    let segment = usize::from(header.segment).min(most);
    let count = payload.len().div_ceil(segment).max(1);
    let (length, last) = (headers.len() + segment, headers.len() + payload.len() - (count - 1) * segment);
    let pieces = Pieces::new(layout, count, length, last);
    let room = SplitError::NoRoom { needs: pieces.needs(layout), has: out.len() };
    let out = out.get_mut(..pieces.needs(layout)).ok_or(room)?;
    for (place, range) in pieces.clone().enumerate() {
        let at = place * segment;
        let part = payload.get(at..payload.len().min(at + segment)).ok_or(Malformed::Cut)?;
        let piece = out.get_mut(range).ok_or(room)?;
        common.write(piece, place, at, part, place + 1 == count).ok_or(Malformed::Cut)?;
    }
    Ok(pieces)
}
