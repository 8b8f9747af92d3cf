//! Frames, and their heads (RFC 9113 sections 4.1 and 6).

/// The largest payload that we take: what everybody has to, for we announce no other (RFC 9113 section 4.2).
pub(super) const LARGEST: usize = 16 << 10;

pub(super) mod kind {
    pub(in crate::h2) const DATA: u8 = 0x0;
    pub(in crate::h2) const HEADERS: u8 = 0x1;
    pub(in crate::h2) const PRIORITY: u8 = 0x2;
    pub(in crate::h2) const RST_STREAM: u8 = 0x3;
    pub(in crate::h2) const SETTINGS: u8 = 0x4;
    pub(in crate::h2) const PUSH_PROMISE: u8 = 0x5;
    pub(in crate::h2) const PING: u8 = 0x6;
    pub(in crate::h2) const GOAWAY: u8 = 0x7;
    pub(in crate::h2) const WINDOW_UPDATE: u8 = 0x8;
    pub(in crate::h2) const CONTINUATION: u8 = 0x9;
}

pub(super) mod flag {
    pub(in crate::h2) const ACK: u8 = 0x1;
    pub(in crate::h2) const END_STREAM: u8 = 0x1;
    pub(in crate::h2) const END_HEADERS: u8 = 0x4;
    pub(in crate::h2) const PADDED: u8 = 0x8;
    pub(in crate::h2) const PRIORITY: u8 = 0x20;
}

/// The head of a frame (RFC 9113 section 4.1).
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Head {
    pub(super) length: usize,
    pub(super) kind: u8,
    pub(super) flags: u8,
    pub(super) stream: u32,
}

impl Head {
    fn read([l0, l1, l2, kind, flags, s0, s1, s2, s3]: [u8; 9]) -> Self {
        let length = u32::from_be_bytes([0, l0, l1, l2]) as usize;
        Self { length, kind, flags, stream: u32::from_be_bytes([s0, s1, s2, s3]) & u32::MAX >> 1 }
    }

    pub(super) fn has(&self, flag: u8) -> bool {
        self.flags & flag != 0
    }

    /// Whether an octet says how much padding there is.
    pub(super) fn padded(&self) -> usize {
        usize::from(self.has(flag::PADDED))
    }

    /// Octets of the priority of a HEADERS frame.
    pub(super) fn priority(&self) -> usize {
        if self.has(flag::PRIORITY) { 5 } else { 0 }
    }
}

/// Takes frames apart, whatever pieces they come in.
#[derive(Debug, Default)]
pub(super) struct Frames {
    head: [u8; 9],
    /// Octets of the head that are there.
    read: usize,
    /// Octets of the payload that are still to come.
    left: usize,
}

pub(super) enum Part<'a> {
    Head(Head),
    Payload(&'a [u8]),
}

impl Frames {
    /// Takes the next part off `bytes`.
    pub(super) fn next<'a>(&mut self, bytes: &mut &'a [u8]) -> Option<Part<'a>> {
        if bytes.is_empty() {
            return None;
        }
        if self.left > 0 {
            let (payload, rest) = bytes.split_at(self.left.min(bytes.len()));
            self.left -= payload.len();
            *bytes = rest;
            return Some(Part::Payload(payload));
        }
        let room = self.head.get_mut(self.read..).unwrap_or_default();
        let (octets, rest) = bytes.split_at(room.len().min(bytes.len()));
        room.iter_mut().zip(octets).for_each(|(room, octet)| *room = *octet);
        self.read += octets.len();
        *bytes = rest;
        if self.read < self.head.len() {
            return None;
        }
        let head = Head::read(self.head);
        (self.read, self.left) = (0, head.length);
        Some(Part::Head(head))
    }
}
