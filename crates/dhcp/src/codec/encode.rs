//! Writing replies: options in the order given, long ones split (RFC 3396), what does not fit spilled into `file` and `sname` (option 52).

use super::{COOKIE, HEADER, Kind, MINIMUM, Message, code};
use std::net::Ipv4Addr;

/// Largest message every client takes (RFC 2131 section 2): 576 bytes of IP datagram, so 548 of payload.
const DEFAULT_SIZE: usize = 548;
const IP_UDP: usize = 28;
const SNAME: std::ops::Range<usize> = 44..108;
const FILE: std::ops::Range<usize> = 108..236;

/// Bytes that an option of `len` bytes takes, split as RFC 3396 says.
fn size(len: usize) -> usize {
    len + 2 * len.div_ceil(255).max(1)
}

/// A reply being written into a caller's buffer. Create it, add options, then [`finish`](Self::finish).
#[derive(Debug)]
pub struct Reply<'o> {
    out: &'o mut Vec<u8>,
    limit: usize,
    overload: u8,
    dropped: u32,
    /// Bytes kept back for the options that must come last.
    reserve: usize,
    file_at: usize,
    sname_at: usize,
}

impl<'o> Reply<'o> {
    /// Begins a reply of the given type to `request`, echoing what RFC 2131 table 3 says to echo. `out` is cleared.
    pub fn new(out: &'o mut Vec<u8>, request: &Message<'_>, kind: Kind) -> Self {
        let asked = request.option(code::MAX_MESSAGE_SIZE).and_then(|v| <[u8; 2]>::try_from(v).ok());
        let limit = asked.map_or(DEFAULT_SIZE, |v| {
            usize::from(u16::from_be_bytes(v)).saturating_sub(IP_UDP).clamp(DEFAULT_SIZE, 1472)
        });
        out.clear();
        out.resize(HEADER, 0);
        let header = request.bytes();
        out[0] = 2;
        out[1] = header[1];
        out[2] = header[2];
        out[4..8].copy_from_slice(&header[4..8]);
        out[10..12].copy_from_slice(&header[10..12]);
        out[24..44].copy_from_slice(&header[24..44]);
        out[236..240].copy_from_slice(&COOKIE);
        let mut reply = Self {
            out,
            limit,
            overload: 0,
            dropped: 0,
            // END, and option 52 itself.
            reserve: 4,
            file_at: FILE.start,
            sname_at: SNAME.start,
        };
        reply.option(code::MESSAGE_TYPE, &[kind as u8]);
        reply
    }

    /// Keeps room for an option of `len` bytes that [`finish`](Self::finish) adds last (option 82: RFC 3046 section 2.2).
    /// One that could never fit gets none.
    pub fn keep_room(&mut self, len: usize) {
        let size = size(len);
        if self.out.len() + self.reserve + size <= self.limit {
            self.reserve += size;
        }
    }

    /// Sets the broadcast bit (a relayed DHCPNAK: RFC 2131 section 4.3.2).
    pub fn set_broadcast(&mut self) {
        self.out[10] |= 0x80;
    }

    /// Sets `ciaddr`.
    pub fn ciaddr(&mut self, address: Ipv4Addr) {
        self.out[12..16].copy_from_slice(&address.octets());
    }

    /// Sets `yiaddr`.
    pub fn yiaddr(&mut self, address: Ipv4Addr) {
        self.out[16..20].copy_from_slice(&address.octets());
    }

    /// Sets `siaddr`, the next server to boot from.
    pub fn siaddr(&mut self, address: Ipv4Addr) {
        self.out[20..24].copy_from_slice(&address.octets());
    }

    /// Sets hardware type and address, for a leasequery answer about another client.
    pub fn hardware(&mut self, htype: u8, address: &[u8]) {
        let len = address.len().min(16);
        self.out[1] = htype;
        self.out[2] = len as u8;
        self.out[28..44].fill(0);
        if let (Some(to), Some(from)) = (self.out.get_mut(28..28 + len), address.get(..len)) {
            to.copy_from_slice(from);
        }
    }

    /// Sets `sname`. It can then not be overloaded.
    pub fn sname(&mut self, name: &str) {
        Self::text(&mut self.out[SNAME], name);
        self.sname_at = SNAME.end;
    }

    /// Sets `file`. It can then not be overloaded.
    pub fn file(&mut self, name: &str) {
        Self::text(&mut self.out[FILE], name);
        self.file_at = FILE.end;
    }

    fn text(field: &mut [u8], value: &str) {
        let len = value.len().min(field.len() - 1);
        if let (Some(to), Some(from)) = (field.get_mut(..len), value.as_bytes().get(..len)) {
            to.copy_from_slice(from);
        }
    }

    /// Adds an option where it fits: the options field, then `file`, then `sname`. An option that fits nowhere is left out and counted.
    pub fn option(&mut self, option: u8, value: &[u8]) {
        let size = size(value.len());
        if self.out.len() + size + self.reserve <= self.limit {
            Self::put(self.out, option, value);
            return;
        }
        // One byte of each overloaded field is its own END.
        if value.len() <= 255 {
            for (bit, at, end) in [(1, self.file_at, FILE.end), (2, self.sname_at, SNAME.end)] {
                if at + size < end {
                    self.out[at] = option;
                    self.out[at + 1] = value.len() as u8;
                    self.out[at + 2..at + size].copy_from_slice(value);
                    self.overload |= bit;
                    if bit == 1 {
                        self.file_at += size
                    } else {
                        self.sname_at += size
                    }
                    return;
                }
            }
        }
        self.dropped += 1;
    }

    fn put(out: &mut Vec<u8>, option: u8, value: &[u8]) {
        if value.is_empty() {
            out.extend_from_slice(&[option, 0]);
        }
        for piece in value.chunks(255) {
            out.push(option);
            out.push(piece.len() as u8);
            out.extend_from_slice(piece);
        }
    }

    /// Ends the options and pads to BOOTP's minimum. `last` is left out if there is no room for all of it (RFC 3046
    /// section 2.2). Returns how many options were left out for want of room.
    pub fn finish(mut self, last: Option<(u8, &[u8])>) -> u32 {
        if self.overload != 0 {
            Self::put(self.out, code::OVERLOAD, &[self.overload]);
            if self.overload & 1 != 0 {
                self.out[self.file_at] = code::END;
            }
            if self.overload & 2 != 0 {
                self.out[self.sname_at] = code::END;
            }
        }
        if let Some((option, value)) = last {
            if self.out.len() + size(value.len()) < self.limit {
                Self::put(self.out, option, value);
            } else {
                self.dropped += 1;
            }
        }
        self.out.push(code::END);
        if self.out.len() < MINIMUM {
            self.out.resize(MINIMUM, 0);
        }
        self.dropped
    }
}
