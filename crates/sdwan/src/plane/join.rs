//! Packets of a run put together, as a network card would (GRO), so that a device takes them as one: where they lie, by a list of parts.
//!
//! Packets of one flow are joined when cutting the whole gives them back: TCP without gaps, with equal headers but for number, length and checksum; UDP with equal headers;
//! all as long as the first but the last. Whose checksum is wrong stays alone, for one that is made anew would hide it. Flows may be mixed; within a flow nothing is overtaken.

use std::net::IpAddr;
use std::ops::Range;

use outwork_net::tun::VnetHeader;
use outwork_wire::checksum::{Sum, checksum};
use outwork_wire::octets::{read, word, write};

use super::packet::{
    ACK, FLAGS, FRAGMENT, IDENTIFICATION, IP_CHECK, OFFSET, PUSH, Packet, SEQUENCE, TCP, TCP_CHECK, TCP_HEADER, TOTAL,
    UDP_CHECK, UDP_HEADER, UDP_LENGTH, V4, V6, WHOLE,
};

/// So many packets are joined at a time: a run of the kernel's has no more.
pub const PARTS: usize = 128;
/// So many become one: what every kernel takes (`UDP_MAX_SEGMENTS`).
pub const MOST: usize = 64;
/// Octets of the longest packet.
const LONGEST: usize = 65_535;
/// Flows that may be mixed. One more ends what was joined of another.
const OPEN: usize = 8;
/// Octets of the longest headers of what is joined.
const HEADERS: usize = V6 + 60;

/// What the device takes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Offload {
    /// Segments of TCP (`TUN_F_TSO4`, `TUN_F_TSO6`).
    pub tcp: bool,
    /// Datagrams of UDP (`TUN_F_USO4`, `TUN_F_USO6`).
    pub udp: bool,
}

/// Where some octets lie.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Part {
    /// In which of the caller's buffers.
    pub buffer: usize,
    /// Where in it.
    pub range: Range<usize>,
}

/// What goes into one write.
#[derive(Debug, Clone, Copy, Default)]
struct Joined {
    first: usize,
    last: usize,
    count: usize,
    /// Octets of the first one's headers.
    headers: usize,
    /// Octets of the first one's payload.
    segment: usize,
    /// Octets of all payloads.
    payload: usize,
    push: bool,
}

/// A flow whose next packet may yet be joined.
#[derive(Debug, Clone, Copy)]
struct Open {
    joined: usize,
    packet: Packet,
    shape: Shape,
    /// By how much identifications grow.
    step: Option<u16>,
}

/// What of a packet decides whether it may be joined.
#[derive(Debug, Clone, Copy)]
struct Shape {
    /// The headers, without what may differ.
    common: [u8; HEADERS],
    headers: usize,
    payload: usize,
    sequence: u32,
    identification: u16,
    /// Identifications say nothing of a packet that may not be cut (RFC 6864 section 4.1), and IPv6 has none.
    atomic: bool,
    push: bool,
}

impl Shape {
    /// None of what stays alone.
    fn read(octets: &[u8], packet: &Packet, offload: Offload) -> Option<Shape> {
        let is_tcp = packet.protocol == TCP;
        let wanted = packet.has_ports() && if is_tcp { offload.tcp } else { offload.udp };
        if !wanted || packet.length != octets.len() || packet.header > V6 {
            return None;
        }
        let segment = octets.get(packet.header..)?;
        let (headers, push) = if is_tcp { plain_tcp(segment)? } else { (plain_udp(segment)?, false) };
        let headers = packet.header + headers;
        let (identification, atomic) = match packet.source {
            IpAddr::V4(_) => (word(octets, IDENTIFICATION)?, plain_v4(octets)?),
            IpAddr::V6(_) => (0, true),
        };
        let payload = octets.len().checked_sub(headers).filter(|payload| *payload > 0)?;
        let length = u16::try_from(segment.len()).ok()?;
        if pseudo(octets, packet.protocol, length)?.bytes(segment).finish() != 0 {
            return None;
        }
        let sequence = if is_tcp { u32::from_be_bytes(read(segment, SEQUENCE)?) } else { 0 };
        let mut common = [0; HEADERS];
        write(&mut common, 0, octets.get(..headers)?)?;
        forget(&mut common, packet)?;
        Some(Shape { common, headers, payload, sequence, identification, atomic, push })
    }
}

/// Whether an IPv4 header is of the plain kind: no options, right checksum. Whether the packet may not be cut.
fn plain_v4(octets: &[u8]) -> Option<bool> {
    let [first]: [u8; 1] = read(octets, 0)?;
    let fragment = word(octets, FRAGMENT)?;
    let plain = first == 0x45 && fragment & !WHOLE == 0 && checksum(octets.get(..V4)?) == 0;
    plain.then_some(fragment & WHOLE != 0)
}

/// Octets of a header of TCP that has nothing to say but where its payload belongs, and whether somebody waits for it.
fn plain_tcp(segment: &[u8]) -> Option<(usize, bool)> {
    let [offset, flags] = read(segment, OFFSET)?;
    let length = usize::from(offset >> 4) * 4;
    let plain = offset & 0x0f == 0 && flags & !PUSH == ACK && (TCP_HEADER..=segment.len()).contains(&length);
    plain.then_some((length, flags & PUSH != 0))
}

/// Octets of a header of UDP. A datagram without a checksum (RFC 768) stays alone: it would get one.
fn plain_udp(segment: &[u8]) -> Option<usize> {
    let plain = usize::from(word(segment, UDP_LENGTH)?) == segment.len() && word(segment, UDP_CHECK)? != 0;
    plain.then_some(UDP_HEADER)
}

/// The sum of the pseudo header of a packet without options or extensions.
fn pseudo(octets: &[u8], protocol: u8, length: u16) -> Option<Sum> {
    let (from, to, end) = if octets.first()? >> 4 == 4 { (12, 16, V4) } else { (8, 24, V6) };
    Some(Sum::pseudo(octets.get(from..to)?, octets.get(to..end)?, protocol, length))
}

/// Takes out of headers what packets that are joined differ in.
fn forget(headers: &mut [u8], packet: &Packet) -> Option<()> {
    match packet.source {
        IpAddr::V4(_) => {
            write(headers, TOTAL, &[0; 4])?;
            write(headers, IP_CHECK, &[0; 2])?;
        }
        IpAddr::V6(_) => write(headers, 4, &[0; 2])?,
    }
    let own = headers.get_mut(packet.header..)?;
    if packet.protocol == TCP {
        write(own, SEQUENCE, &[0; 4])?;
        write(own, FLAGS, &[0])?;
        write(own, TCP_CHECK, &[0; 2])
    } else {
        write(own, UDP_LENGTH, &[0; 4])
    }
}

/// Packets of a run, and what of them goes together.
#[derive(Debug)]
pub struct Joiner {
    offload: Offload,
    parts: [Part; PARTS],
    /// The part behind each, within what is joined.
    behind: [usize; PARTS],
    used: usize,
    joined: [Joined; PARTS],
    count: usize,
    open: [Option<Open>; OPEN],
    /// Which one ends when there is no room for another.
    turn: usize,
}

impl Joiner {
    /// One for a device that takes `offload`.
    pub fn new(offload: Offload) -> Joiner {
        Joiner {
            offload,
            parts: std::array::from_fn(|_| Part::default()),
            behind: [0; PARTS],
            used: 0,
            joined: [Joined::default(); PARTS],
            count: 0,
            open: [None; OPEN],
            turn: 0,
        }
    }

    /// Takes in the next packet: its octets, and where they lie. False when there is no room: write what there is, [`Joiner::clear`], and give it again.
    #[must_use]
    pub fn push(&mut self, buffer: usize, range: Range<usize>, octets: &[u8]) -> bool {
        if self.used == PARTS {
            return false;
        }
        let Ok(packet) = Packet::read(octets) else {
            // Whose it is nobody knows: it overtakes nobody.
            self.open = [None; OPEN];
            self.alone(Part { buffer, range }, None);
            return true;
        };
        let shape = Shape::read(octets, &packet, self.offload);
        if packet.has_ports() {
            if let Some(place) =
                self.open.iter().position(|open| open.is_some_and(|open| is_flow(&open.packet, &packet)))
            {
                if shape.is_some_and(|shape| self.extend(place, &shape, Part { buffer, range: range.clone() })) {
                    return true;
                }
                self.end(place);
            }
        } else {
            // A part of a packet may be of any flow between the two.
            let between =
                |open: &Open| (open.packet.source, open.packet.destination) == (packet.source, packet.destination);
            self.open.iter_mut().filter(|open| open.as_ref().is_some_and(between)).for_each(|open| *open = None);
        }
        let joined = self.alone(Part { buffer, range }, shape.as_ref());
        if let Some(shape) = shape.filter(|shape| !shape.push) {
            self.begin(Open { joined, packet, shape, step: None });
        }
        true
    }

    /// Puts a packet behind those of its flow, if it belongs there.
    fn extend(&mut self, place: usize, shape: &Shape, part: Part) -> bool {
        let Some(open) = self.open.get_mut(place).and_then(Option::as_mut) else { return false };
        let Some(joined) = self.joined.get_mut(open.joined) else { return false };
        let step = shape.identification.wrapping_sub(open.shape.identification);
        let in_step = open.step.map_or(step == 1 || step == 0 && shape.atomic, |known| known == step);
        let in_order = shape.sequence == open.shape.sequence.wrapping_add(open.shape.payload as u32);
        let fits = joined.count < MOST
            && shape.payload <= joined.segment
            && joined.headers + joined.payload + shape.payload <= LONGEST;
        let same = shape.headers == joined.headers && shape.common == open.shape.common;
        if !(in_step && fits && same) || !in_order && open.packet.protocol == TCP {
            return false;
        }
        joined.count += 1;
        joined.payload += shape.payload;
        joined.push = shape.push;
        if let Some(behind) = self.behind.get_mut(joined.last) {
            *behind = self.used;
        }
        joined.last = self.used;
        open.step = Some(step);
        (open.shape.sequence, open.shape.payload) = (shape.sequence, shape.payload);
        open.shape.identification = shape.identification;
        if shape.push || shape.payload < joined.segment {
            self.end(place);
        }
        let start = part.range.start + shape.headers;
        self.keep(Part { range: start..part.range.end, ..part });
        true
    }

    fn end(&mut self, place: usize) {
        if let Some(open) = self.open.get_mut(place) {
            *open = None;
        }
    }

    fn begin(&mut self, open: Open) {
        let free = self.open.iter().position(Option::is_none);
        let place = free.unwrap_or(self.turn);
        if free.is_none() {
            self.turn = (self.turn + 1) % OPEN;
        }
        if let Some(slot) = self.open.get_mut(place) {
            *slot = Some(open);
        }
    }

    fn keep(&mut self, part: Part) {
        if let Some(slot) = self.parts.get_mut(self.used) {
            *slot = part;
            self.used += 1;
        }
    }

    /// Begins what others may be joined to. Its number.
    fn alone(&mut self, part: Part, shape: Option<&Shape>) -> usize {
        let (headers, payload) = shape.map_or((0, 0), |shape| (shape.headers, shape.payload));
        let push = shape.is_some_and(|shape| shape.push);
        let number = self.count;
        if let Some(slot) = self.joined.get_mut(number) {
            *slot = Joined { first: self.used, last: self.used, count: 1, headers, segment: payload, payload, push };
            self.count += 1;
        }
        self.keep(part);
        number
    }

    /// What to write, in order.
    pub fn writes(&self) -> impl ExactSizeIterator<Item = Write<'_>> {
        self.joined.iter().take(self.count).map(|joined| Write { joiner: self, joined })
    }

    /// Whether there is nothing to write.
    pub fn is_empty(&self) -> bool {
        self.count == 0
    }

    /// Forgets all of it: it was written.
    pub fn clear(&mut self) {
        (self.used, self.count, self.open) = (0, 0, [None; OPEN]);
    }
}

fn is_flow(one: &Packet, other: &Packet) -> bool {
    let key = |packet: &Packet| (packet.source_port, packet.destination_port, packet.protocol);
    key(one) == key(other) && one.source == other.source && one.destination == other.destination
}

/// What goes into one write: a packet, or several that were joined.
#[derive(Debug, Clone, Copy)]
pub struct Write<'a> {
    joiner: &'a Joiner,
    joined: &'a Joined,
}

impl<'a> Write<'a> {
    /// The first packet with its headers, then the payloads of those joined to it. At most [`MOST`].
    pub fn parts(&self) -> impl ExactSizeIterator<Item = &'a Part> + use<'a> {
        Parts { joiner: self.joiner, next: self.joined.first, left: self.joined.count }
    }

    /// Where the first packet lies.
    pub fn first(&self) -> Part {
        self.joiner.parts.get(self.joined.first).cloned().unwrap_or_default()
    }

    /// Packets of it.
    pub fn count(&self) -> usize {
        self.joined.count
    }

    /// Makes the first packet's headers those of the whole; gives what stands in front. Of a packet that is alone nothing is changed.
    /// None when `packet` is not what lies at [`Write::first`].
    pub fn amend(&self, packet: &mut [u8]) -> Option<VnetHeader> {
        let Joined { count, headers, segment, payload, push, .. } = *self.joined;
        if count < 2 {
            return Some(VnetHeader::default());
        }
        let total = headers + payload;
        let is_v4 = packet.first()? >> 4 == 4;
        let ip = match is_v4 {
            true => {
                write(packet, TOTAL, &(total as u16).to_be_bytes())?;
                write(packet, IP_CHECK, &[0; 2])?;
                let check = checksum(packet.get(..V4)?);
                write(packet, IP_CHECK, &check.to_be_bytes())?;
                V4
            }
            false => {
                write(packet, 4, &((total - V6) as u16).to_be_bytes())?;
                V6
            }
        };
        let [protocol] = read(packet, if is_v4 { 9 } else { 6 })?;
        let length = (total - ip) as u16;
        let sum = pseudo(packet, protocol, length)?.folded().to_be_bytes();
        let own = packet.get_mut(ip..)?;
        let (kind, check) = match protocol {
            TCP => {
                let [flags]: [u8; 1] = read(own, FLAGS)?;
                write(own, FLAGS, &[if push { flags | PUSH } else { flags }])?;
                (if is_v4 { VnetHeader::TCP4 } else { VnetHeader::TCP6 }, TCP_CHECK)
            }
            _ => {
                write(own, UDP_LENGTH, &length.to_be_bytes())?;
                (VnetHeader::UDP, UDP_CHECK)
            }
        };
        write(own, check, &sum)?;
        Some(VnetHeader {
            flags: VnetHeader::NEEDS_CHECKSUM,
            kind,
            header_length: headers as u16,
            segment: segment as u16,
            checksum_start: ip as u16,
            checksum_offset: check as u16,
        })
    }
}

/// The parts of a write, one after the other.
struct Parts<'a> {
    joiner: &'a Joiner,
    next: usize,
    left: usize,
}

impl<'a> Iterator for Parts<'a> {
    type Item = &'a Part;

    fn next(&mut self) -> Option<&'a Part> {
        self.left = self.left.checked_sub(1)?;
        let part = self.joiner.parts.get(self.next);
        self.next = self.joiner.behind.get(self.next).copied().unwrap_or_default();
        part
    }

    fn size_hint(&self) -> (usize, Option<usize>) {
        (self.left, Some(self.left))
    }
}

impl ExactSizeIterator for Parts<'_> {}
