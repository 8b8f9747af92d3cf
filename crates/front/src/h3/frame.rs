//! Frames of HTTP/3 (RFC 9114 section 7), and variable-length integers (RFC 9000 section 16).

use bytes::{Buf, Bytes, BytesMut};

use super::Code;

/// Types of frames (RFC 9114 section 7.2).
pub(super) const DATA: u64 = 0x0;
pub(super) const HEADERS: u64 = 0x1;
pub(super) const CANCEL_PUSH: u64 = 0x3;
pub(super) const SETTINGS: u64 = 0x4;
pub(super) const GOAWAY: u64 = 0x7;
pub(super) const MAX_PUSH_ID: u64 = 0xd;
/// A server sends this.
const PUSH_PROMISE: u64 = 0x5;
/// They were something else in HTTP/2 (RFC 9114 section 11.2.1).
const OF_HTTP2: [u64; 4] = [0x2, 0x6, 0x8, 0x9];

/// Bytes that a type and a length have at most.
const HEADER: usize = 16;

/// What a frame is for whoever reads its stream.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Use {
    /// It is wanted whole, if it has this many bytes at most.
    Whole(usize),
    /// Its payload is wanted as it comes.
    Pass,
    /// It is skipped.
    Skip,
}

/// What was read of a stream.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Part {
    /// A frame, its type and its payload.
    Whole(u64, Bytes),
    /// Some of the payload of a frame that passes.
    Some(Bytes),
    /// A frame that was wanted whole is larger than that. What follows it cannot be read.
    TooLarge(u64),
}

/// Takes frames out of the bytes of a stream.
#[derive(Debug, Default)]
pub(super) struct Frames {
    input: Bytes,
    /// Type and length of the next frame, as far as they are there.
    header: BytesMut,
    under_way: Option<Frame>,
}

#[derive(Debug)]
struct Frame {
    kind: u64,
    using: Use,
    left: u64,
    gathered: BytesMut,
}

impl Frames {
    /// Takes the next bytes of the stream. Those before must be used up: [`next`](Self::next) has said so.
    pub(super) fn push(&mut self, bytes: Bytes) {
        self.input = bytes;
    }

    /// Whether a frame ends where the input does.
    pub(super) fn is_between(&self) -> bool {
        self.under_way.is_none() && self.header.is_empty() && self.input.is_empty()
    }

    /// What comes next; `None` when there has to be more input.
    pub(super) fn next(&mut self, mut using: impl FnMut(u64) -> Result<Use, Code>) -> Result<Option<Part>, Code> {
        loop {
            let Some(frame) = &mut self.under_way else {
                let Some((kind, left)) = header(&mut self.header, &mut self.input) else { return Ok(None) };
                if kind == PUSH_PROMISE || OF_HTTP2.contains(&kind) {
                    return Err(Code::FRAME_UNEXPECTED);
                }
                let using = using(kind)?;
                if let Use::Whole(most) = using
                    && left > most as u64
                {
                    return Ok(Some(Part::TooLarge(kind)));
                }
                self.under_way = Some(Frame { kind, using, left, gathered: BytesMut::new() });
                continue;
            };
            let here = usize::try_from(frame.left).unwrap_or(usize::MAX).min(self.input.len());
            if here == 0 && frame.left > 0 {
                return Ok(None);
            }
            let payload = self.input.split_to(here);
            frame.left -= here as u64;
            let (kind, done) = (frame.kind, frame.left == 0);
            let part = match frame.using {
                // All of it came at once, which is the rule.
                Use::Whole(_) if done && frame.gathered.is_empty() => Some(Part::Whole(kind, payload)),
                Use::Whole(_) => {
                    frame.gathered.extend_from_slice(&payload);
                    done.then(|| Part::Whole(kind, frame.gathered.split().freeze()))
                }
                Use::Pass if payload.is_empty() => None,
                Use::Pass => Some(Part::Some(payload)),
                Use::Skip => None,
            };
            if done {
                self.under_way = None;
            }
            if part.is_some() {
                return Ok(part);
            }
        }
    }
}

/// Type and length of a frame.
fn header(so_far: &mut BytesMut, input: &mut Bytes) -> Option<(u64, u64)> {
    let read = |bytes: &[u8]| {
        let mut left = bytes;
        let (kind, length) = (integer(&mut left)?, integer(&mut left)?);
        Some((kind, length, bytes.len() - left.len()))
    };
    if so_far.is_empty()
        && let Some((kind, length, used)) = read(input)
    {
        input.advance(used);
        return Some((kind, length));
    }
    while !input.is_empty() && so_far.len() < HEADER {
        so_far.extend_from_slice(&input.split_to(1));
        if let Some((kind, length, _)) = read(so_far) {
            so_far.clear();
            return Some((kind, length));
        }
    }
    None
}

/// A variable-length integer from the beginning of `bytes`; `None` where it is not all there.
pub(super) fn integer(bytes: &mut &[u8]) -> Option<u64> {
    let length = 1 << (bytes.first()? >> 6);
    let (number, rest) = bytes.split_at_checked(length)?;
    *bytes = rest;
    let value = number.iter().fold(0u64, |value, octet| value << 8 | u64::from(*octet));
    // Two bits say the length.
    Some(value & (u64::MAX >> (64 - 8 * length + 2)))
}

/// Appends a variable-length integer.
pub(super) fn write_integer(out: &mut Vec<u8>, number: u64) {
    match number {
        0..=0x3f => out.push(number as u8),
        0x40..=0x3fff => out.extend_from_slice(&(number as u16 | 0x4000).to_be_bytes()),
        0x4000..=0x3fff_ffff => out.extend_from_slice(&(number as u32 | 0x8000_0000).to_be_bytes()),
        _ => out.extend_from_slice(&(number | 0xc000_0000_0000_0000).to_be_bytes()),
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// RFC 9000 appendix A.1.
    #[test]
    fn integers_are_read_and_written_as_in_the_rfc() {
        let examples: [(&[u8], u64); 4] = [
            (&[0xc2, 0x19, 0x7c, 0x5e, 0xff, 0x14, 0xe8, 0x8c], 151_288_809_941_952_652),
            (&[0x9d, 0x7f, 0x3e, 0x7d], 494_878_333),
            (&[0x7b, 0xbd], 15_293),
            (&[0x25], 37),
        ];
        for (bytes, number) in examples {
            let mut written = Vec::new();
            write_integer(&mut written, number);
            assert_eq!((written.as_slice(), integer(&mut &*bytes)), (bytes, Some(number)));
            assert_eq!(integer(&mut &bytes[..bytes.len() - 1]), None);
        }
        assert_eq!(integer(&mut &[0x40, 0x25][..]), Some(37));
    }

    fn frame(kind: u64, payload: &[u8]) -> Vec<u8> {
        let mut out = Vec::new();
        write_integer(&mut out, kind);
        write_integer(&mut out, payload.len() as u64);
        out.extend_from_slice(payload);
        out
    }

    fn using(kind: u64) -> Result<Use, Code> {
        Ok(match kind {
            HEADERS => Use::Whole(100),
            DATA => Use::Pass,
            _ => Use::Skip,
        })
    }

    /// What is read when the bytes come in pieces of this size: heads, and content.
    fn read(bytes: &[u8], size: usize) -> Result<(Vec<Bytes>, Vec<u8>, bool), Code> {
        let (mut frames, mut heads, mut content) = (Frames::default(), Vec::new(), Vec::new());
        for piece in bytes.chunks(size) {
            frames.push(Bytes::copy_from_slice(piece));
            while let Some(part) = frames.next(using)? {
                match part {
                    Part::Whole(_, payload) => heads.push(payload),
                    Part::Some(some) => content.extend_from_slice(&some),
                    Part::TooLarge(_) => return Ok((heads, content, false)),
                }
            }
        }
        Ok((heads, content, frames.is_between()))
    }

    #[test]
    fn frames_are_read_however_their_bytes_come() {
        let unknown = frame(0x21_0000_0021, b"grease");
        let bytes = [
            unknown.clone(),
            frame(HEADERS, b"the head"),
            frame(DATA, b"one "),
            frame(DATA, b""),
            unknown,
            frame(DATA, b"two"),
            frame(HEADERS, b""),
        ];
        let bytes = bytes.concat();
        for size in 1..=bytes.len() {
            let (heads, content, whole) = read(&bytes, size).unwrap();
            assert_eq!(heads, [&b"the head"[..], b""], "{size}");
            assert_eq!(content, b"one two");
            assert!(whole);
        }
        assert!(!read(&bytes[..bytes.len() - 1], 7).unwrap().2, "the last one is cut");
    }

    #[test]
    fn what_only_servers_send_and_what_was_something_else_before_is_unexpected() {
        for kind in [PUSH_PROMISE, 0x2, 0x6, 0x8, 0x9] {
            assert_eq!(read(&frame(kind, b"x"), 9).unwrap_err(), Code::FRAME_UNEXPECTED);
        }
    }

    #[test]
    fn a_head_that_is_too_large_is_not_gathered() {
        let mut announced = Vec::new();
        write_integer(&mut announced, HEADERS);
        write_integer(&mut announced, 1 << 60);
        let mut frames = Frames::default();
        frames.push(announced.into());
        assert_eq!(frames.next(using), Ok(Some(Part::TooLarge(HEADERS))));
    }

    proptest! {
        #[test]
        fn any_bytes_give_the_same_in_any_pieces(bytes in prop::collection::vec(any::<u8>(), 0..300), size in 1usize..40) {
            prop_assert_eq!(read(&bytes, size), read(&bytes, usize::MAX));
        }
    }
}
