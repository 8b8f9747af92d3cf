//! The frames that pass between a client and the `h2` crate, looked at on their way.
//!
//! The crate is lax here and there, and has one code for errors that RFC 9113 tells apart: what breaks a rule of framing does not reach it. And frames
//! that ask for nothing have a price: who sends more of them than time, requests and content pay for is sent away.

use std::time::Duration;

use h2::Reason;

use super::debt::Debt;
use super::frame::{Frames, Head, LARGEST, Part, flag, kind};
use super::hpack;
use crate::door::metrics::Flood;

/// What a connection begins with (RFC 9113 section 3.4).
const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";
/// Streams that a client is known to be still sending on. Of older ones, the crate knows what to do.
const SENDING: usize = 256;
/// Bytes of field blocks that are kept for a turn, and what a connection keeps of the room for them.
const BLOCKS: usize = 64 << 10;
const KEPT: usize = 1 << 10;

/// Such frames that a stream is worth that is given up, or one that was answered.
const STREAM: u32 = 4;
/// Bytes sent of which each such frame may have as many: windows are opened for what arrives.
const CARRIED: usize = 1 << 10;
/// What a frame of content has at least that opens windows, and how many: the stream's and the connection's. With less, a client could have us send
/// octet by octet.
const CRUMB: usize = 32;
const WINDOWS: u32 = 2;

/// `SETTINGS_INITIAL_WINDOW_SIZE`.
const INITIAL_WINDOW: [u8; 2] = [0, 4];

/// Why a connection has to end.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Breach {
    /// What the client is told.
    pub(super) code: Reason,
    /// What there was too much of.
    pub(super) flood: Option<Flood>,
}

const fn breach<T>(code: Reason) -> Result<T, Breach> {
    Err(Breach { code, flood: None })
}

/// The field block under way, and those of this turn.
#[derive(Debug, Default)]
struct Blocks {
    /// The stream whose block goes on with the next frame, or 0.
    open: u32,
    trailers: bool,
    continuations: usize,
    bytes: Vec<u8>,
    /// Where each ends, but for the last.
    ends: Vec<usize>,
}

impl Blocks {
    fn begin(&mut self, trailers: bool) {
        // What found no room has no end of its own.
        if self.ends.last().copied().unwrap_or(0) != self.bytes.len() {
            self.ends.push(self.bytes.len());
        }
        (self.trailers, self.continuations) = (trailers, 0);
    }

    fn add(&mut self, part: &[u8]) {
        if self.bytes.len() + part.len() <= BLOCKS {
            self.bytes.extend_from_slice(part);
        }
    }

    fn last(&self) -> &[u8] {
        self.bytes.get(self.ends.last().copied().unwrap_or(0)..).unwrap_or_default()
    }

    fn iter(&self) -> impl Iterator<Item = &[u8]> {
        let begins = std::iter::once(&0).chain(&self.ends);
        let ends = self.ends.iter().copied().chain([self.bytes.len()]);
        begins.zip(ends).filter_map(|(begin, end)| self.bytes.get(*begin..end))
    }

    fn forget(&mut self) {
        match self.bytes.capacity() > KEPT || self.ends.capacity() > KEPT / size_of::<usize>() {
            true => (self.bytes, self.ends) = Default::default(),
            false => (self.bytes.clear(), self.ends.clear()).1,
        }
    }
}

/// What passes on a connection.
#[derive(Debug, Default)]
pub(super) struct Watch {
    received: Frames,
    sent: Frames,
    /// Octets of the preface that have come.
    preface: usize,
    /// The first settings have come.
    settled: bool,
    /// The frame that comes, the octets of its payload that are there, and those at its beginning that say something of it.
    incoming: Head,
    at: usize,
    front: [u8; 6],
    /// The frame that leaves, and the octets of its payload that have.
    leaving: Head,
    left: usize,
    /// Bytes that nothing was taken off the debt for.
    carried: usize,
    /// The last stream that was opened, and whether some before it were not.
    last: u32,
    gaps: bool,
    /// Streams that the client has not ended, in order; and up to which they are not known any more.
    sending: Vec<u32>,
    forgotten: u32,
    blocks: Blocks,
    continuations: usize,
    debt: Debt,
    now: Duration,
    breach: Option<Breach>,
}

impl Watch {
    /// For a connection whose heads may have so many bytes.
    pub(super) fn new(max_head: usize) -> Self {
        // As many as the crate would take.
        let least = (max_head / LARGEST).max(1);
        Self { continuations: (least + least / 4).max(5), ..Self::default() }
    }

    /// Why the connection has to end, if it has to.
    pub(super) fn breach(&self) -> Option<Breach> {
        self.breach
    }

    /// What there was too much of, where the crate says that there was.
    pub(super) fn excess(&self) -> Flood {
        match self.incoming.kind {
            kind::DATA => Flood::Data,
            kind::HEADERS | kind::CONTINUATION => Flood::Head,
            kind::RST_STREAM => Flood::Reset,
            _ => Flood::Induced,
        }
    }

    /// Looks at what a client has sent, and says how much of it may go on.
    pub(super) fn receive(&mut self, bytes: &[u8], now: Duration) -> usize {
        self.now = now;
        let mut rest = bytes;
        while let Some(expected) = PREFACE.get(self.preface) {
            let Some(octet) = rest.split_off_first() else { return bytes.len() };
            if octet != expected {
                self.breach = Some(Breach { code: Reason::PROTOCOL_ERROR, flood: None });
                return bytes.len() - rest.len() - 1;
            }
            self.preface += 1;
        }
        while let Some(part) = self.received.next(&mut rest) {
            let held = match part {
                Part::Head(head) => self.head(head),
                Part::Payload(payload) => self.payload(payload),
            };
            if let Err(breach) = held {
                self.breach = Some(breach);
                // A frame that lacks its last octet is none.
                return (bytes.len() - rest.len()).saturating_sub(1);
            }
        }
        bytes.len()
    }

    fn head(&mut self, head: Head) -> Result<(), Breach> {
        let Head { length, kind, stream, .. } = head;
        (self.incoming, self.at) = (head, 0);
        if length > LARGEST {
            return breach(Reason::FRAME_SIZE_ERROR);
        }
        if !self.settled && (kind != kind::SETTINGS || head.has(flag::ACK)) {
            return breach(Reason::PROTOCOL_ERROR);
        }
        self.settled = true;
        if self.blocks.open != 0 && (kind != kind::CONTINUATION || stream != self.blocks.open) {
            return breach(Reason::PROTOCOL_ERROR);
        }
        // What every frame of a kind has: its stream, and its size (RFC 9113 section 6).
        let opened = stream <= self.last && stream % 2 == 1;
        let fits = match kind {
            kind::DATA | kind::RST_STREAM | kind::CONTINUATION => opened,
            kind::HEADERS => stream % 2 == 1,
            kind::PRIORITY => stream != 0,
            kind::SETTINGS | kind::PING | kind::GOAWAY => stream == 0,
            kind::WINDOW_UPDATE => stream == 0 || opened,
            kind::PUSH_PROMISE => false,
            _ => true,
        };
        if !fits {
            return breach(Reason::PROTOCOL_ERROR);
        }
        let measured = match kind {
            kind::DATA => length >= head.padded(),
            kind::HEADERS => length >= head.padded() + head.priority(),
            kind::PRIORITY => length == 5,
            kind::RST_STREAM | kind::WINDOW_UPDATE => length == 4,
            kind::SETTINGS if head.has(flag::ACK) => length == 0,
            kind::SETTINGS => length.is_multiple_of(6),
            kind::PING => length == 8,
            kind::GOAWAY => length >= 8,
            _ => true,
        };
        if !measured {
            return breach(Reason::FRAME_SIZE_ERROR);
        }
        self.state(head)
    }

    /// What a frame does to its stream, and what it costs.
    fn state(&mut self, head: Head) -> Result<(), Breach> {
        let Head { length, kind, stream, .. } = head;
        let ends = head.has(flag::END_STREAM);
        match kind {
            kind::DATA => {
                self.goes_on(stream, false)?;
                match ends {
                    true => self.finish(stream),
                    false if length == 0 => self.charge(Flood::Data, 1)?,
                    false => {}
                }
            }
            kind::HEADERS => {
                let trailers = stream <= self.last;
                match trailers {
                    true => self.goes_on(stream, self.gaps)?,
                    false => self.open(stream, ends),
                }
                if trailers && ends {
                    self.finish(stream);
                }
                self.blocks.begin(trailers);
                self.goes_on_with_block(head)?;
            }
            kind::CONTINUATION if self.blocks.open == 0 => return breach(Reason::PROTOCOL_ERROR),
            kind::CONTINUATION => {
                self.blocks.continuations += usize::from(!head.has(flag::END_HEADERS));
                if self.blocks.continuations > self.continuations {
                    return self.flood(Flood::Continuation);
                }
                self.goes_on_with_block(head)?;
            }
            kind::RST_STREAM => {
                self.finish(stream);
                self.charge(Flood::Reset, STREAM)?;
            }
            kind::SETTINGS if head.has(flag::ACK) => {}
            kind::SETTINGS => self.charge(Flood::Settings, 1)?,
            kind::PING => self.charge(Flood::Ping, 1)?,
            kind::PRIORITY => self.charge(Flood::Priority, 1)?,
            kind::WINDOW_UPDATE => self.charge(Flood::Window, 1)?,
            _ => self.charge(Flood::Unknown, 1)?,
        }
        Ok(())
    }

    /// A client that has ended its side of a stream has nothing more to say on it (RFC 9113 section 5.1). One that it has left out it cannot open any
    /// more (section 5.1.1).
    fn goes_on(&self, stream: u32, left_out: bool) -> Result<(), Breach> {
        match stream <= self.forgotten || self.sending.binary_search(&stream).is_ok() {
            true => Ok(()),
            false if left_out => breach(Reason::PROTOCOL_ERROR),
            false => breach(Reason::STREAM_CLOSED),
        }
    }

    fn open(&mut self, stream: u32, ends: bool) {
        self.gaps |= stream > self.last + 2;
        self.last = stream;
        if ends {
            return;
        }
        if self.sending.len() == SENDING {
            self.forgotten = self.sending.remove(0);
        }
        self.sending.push(stream);
    }

    fn finish(&mut self, stream: u32) {
        if let Ok(at) = self.sending.binary_search(&stream) {
            self.sending.remove(at);
        }
    }

    fn goes_on_with_block(&mut self, head: Head) -> Result<(), Breach> {
        let ends = head.has(flag::END_HEADERS);
        self.blocks.open = if ends { 0 } else { head.stream };
        if head.length == 0 && ends { self.block_ends() } else { Ok(()) }
    }

    /// A part of the payload of the frame that comes.
    fn payload(&mut self, payload: &[u8]) -> Result<(), Breach> {
        let (head, begin) = (self.incoming, self.at);
        self.at += payload.len();
        let front = match head.kind {
            kind::SETTINGS => {
                return payload.iter().enumerate().try_for_each(|(at, octet)| self.setting(begin + at, *octet));
            }
            kind::DATA => head.padded(),
            // Of the priority, the stream that it depends on.
            kind::HEADERS => head.padded() + head.priority().saturating_sub(1),
            kind::CONTINUATION => 0,
            _ => return Ok(()),
        };
        if begin < front {
            let room = self.front.get_mut(begin..front).unwrap_or_default();
            room.iter_mut().zip(payload).for_each(|(room, octet)| *room = *octet);
            if self.at >= front {
                self.front()?;
            }
        }
        if head.kind == kind::DATA {
            return Ok(());
        }
        let of_block = match head.kind {
            kind::HEADERS => head.padded() + head.priority()..head.length.saturating_sub(self.padding()),
            _ => 0..head.length,
        };
        let within = |at: usize| at.saturating_sub(begin).min(payload.len());
        self.blocks.add(payload.get(within(of_block.start)..within(of_block.end)).unwrap_or_default());
        match self.at == head.length && head.has(flag::END_HEADERS) {
            true => self.block_ends(),
            false => Ok(()),
        }
    }

    /// Octets of padding.
    fn padding(&self) -> usize {
        let [padding, ..] = self.front;
        usize::from(padding) * self.incoming.padded()
    }

    /// What stands at the beginning of a frame is there.
    fn front(&mut self) -> Result<(), Breach> {
        let head = self.incoming;
        let priority = if head.kind == kind::HEADERS { head.priority() } else { 0 };
        let content = head.length.checked_sub(head.padded() + priority + self.padding());
        let depends = self.front.get(head.padded()..).and_then(<[u8]>::first_chunk).copied().map(u32::from_be_bytes);
        match content {
            // RFC 9113 sections 6.1 and 6.2.
            None => breach(Reason::PROTOCOL_ERROR),
            Some(0) if head.kind == kind::DATA && !head.has(flag::END_STREAM) => self.charge(Flood::Data, 1),
            // RFC 7540 section 5.3.1. The crate would not decompress the rest, and misread whatever came after it.
            _ if priority > 0 && depends.is_some_and(|depends| depends & u32::MAX >> 1 == head.stream) => {
                breach(Reason::PROTOCOL_ERROR)
            }
            _ => Ok(()),
        }
    }

    /// An octet of the settings.
    fn setting(&mut self, at: usize, octet: u8) -> Result<(), Breach> {
        if let Some(room) = self.front.get_mut(at % 6) {
            *room = octet;
        }
        let [id0, id1, v0, v1, v2, v3] = self.front;
        let too_large = [id0, id1] == INITIAL_WINDOW && u32::from_be_bytes([v0, v1, v2, v3]) > u32::MAX >> 1;
        match at % 6 == 5 && too_large {
            true => breach(Reason::FLOW_CONTROL_ERROR),
            false => Ok(()),
        }
    }

    /// A field block is there. Trailers have no pseudo-header fields (RFC 9113 section 8.1), which the crate does not look at.
    fn block_ends(&self) -> Result<(), Breach> {
        match self.blocks.trailers && hpack::has_pseudo(self.blocks.last()) {
            true => breach(Reason::PROTOCOL_ERROR),
            false => Ok(()),
        }
    }

    fn charge(&mut self, of: Flood, frames: u32) -> Result<(), Breach> {
        match self.debt.charge(frames, self.now) {
            true => Ok(()),
            false => self.flood(of),
        }
    }

    fn flood(&self, of: Flood) -> Result<(), Breach> {
        Err(Breach { code: Reason::ENHANCE_YOUR_CALM, flood: Some(of) })
    }

    /// Looks at what is sent to a client.
    pub(super) fn send(&mut self, bytes: &mut [u8], now: Duration) {
        self.now = now;
        self.carried += bytes.len();
        if self.carried >= CARRIED {
            self.debt.repay(u32::try_from(self.carried / CARRIED).unwrap_or(u32::MAX));
            self.carried %= CARRIED;
        }
        let (mut rest, mut amended) = (&*bytes, None);
        let whole = rest.len();
        while let Some(part) = self.sent.next(&mut rest) {
            match part {
                Part::Head(head) => {
                    (self.leaving, self.left) = (head, 0);
                    if matches!(head.kind, kind::DATA | kind::HEADERS) && head.has(flag::END_STREAM) {
                        self.debt.repay(STREAM);
                    } else if head.kind == kind::DATA && head.length >= CRUMB {
                        self.debt.repay(WINDOWS);
                    }
                }
                Part::Payload(payload) => {
                    let begin = self.left;
                    self.left += payload.len();
                    let code: usize = match self.leaving.kind {
                        kind::RST_STREAM => 3,
                        kind::GOAWAY => 7,
                        _ => continue,
                    };
                    // Of the code, the last octet says it all.
                    let Some((at, octet)) = code.checked_sub(begin).and_then(|at| Some((at, payload.get(at)?))) else {
                        continue;
                    };
                    let said = Reason::from(u32::from(*octet));
                    match self.leaving.kind {
                        kind::RST_STREAM => self.reset(said),
                        // The crate says this of whatever it cannot read.
                        _ if said == Reason::PROTOCOL_ERROR && self.breach.is_none() => {
                            amended = Some((whole - rest.len() - payload.len() + at, self.unreadable()));
                        }
                        _ => {}
                    }
                }
            }
        }
        if let Some((at, code)) = amended
            && let Some(octet) = bytes.get_mut(at)
        {
            *octet = u32::from(code) as u8;
        }
    }

    /// A stream is reset by us. Where that is the client's doing, it costs as much as if it had done so itself.
    fn reset(&mut self, code: Reason) {
        let induced =
            [Reason::PROTOCOL_ERROR, Reason::FLOW_CONTROL_ERROR, Reason::STREAM_CLOSED, Reason::REFUSED_STREAM];
        if induced.contains(&code)
            && let Err(breach) = self.charge(Flood::Induced, STREAM)
        {
            self.breach.get_or_insert(breach);
        }
    }

    /// What the crate could not read: if it was not a field block, it was the last frame.
    fn unreadable(&self) -> Reason {
        hpack::blame(self.blocks.iter()).unwrap_or(match self.incoming.kind {
            kind::HEADERS | kind::CONTINUATION => Reason::COMPRESSION_ERROR,
            _ => Reason::PROTOCOL_ERROR,
        })
    }

    /// Bytes that it holds beside itself.
    #[cfg(test)]
    pub(super) fn held(&self) -> usize {
        self.blocks.bytes.capacity() + self.blocks.ends.capacity() * 8 + self.sending.capacity() * 4
    }

    /// The turn ends: what came in it is understood.
    pub(super) fn end_turn(&mut self) {
        let begun = matches!(self.incoming.kind, kind::HEADERS | kind::CONTINUATION) && self.at < self.incoming.length;
        if self.blocks.open == 0 && !begun {
            self.blocks.forget();
        }
    }
}
