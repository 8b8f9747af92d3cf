//! The streams of a client that go one way (RFC 9114 section 6.2): control, and the two of QPACK, which have nothing to say without a dynamic table.

use std::rc::Rc;

use bytes::Bytes;
use quinn::RecvStream;

use super::Code;
use super::connection::Connection;
use super::frame::{self, CANCEL_PUSH, DATA, Frames, GOAWAY, HEADERS, MAX_PUSH_ID, Part, SETTINGS, Use};

/// Types of streams (RFC 9114 section 6.2, RFC 9204 section 4.2).
pub(super) const CONTROL: u64 = 0x0;
const PUSH: u64 = 0x1;
const ENCODER: u64 = 0x2;
const DECODER: u64 = 0x3;
/// The first of those that mean nothing to anybody.
pub(super) const RESERVED: u64 = 0x21;
/// Of a setting, the fields that a client is ready to take.
pub(super) const MAX_FIELD_SECTION_SIZE: u64 = 0x6;
/// Of a setting, that a request may ask for another protocol (RFC 9220 section 3).
pub(super) const ENABLE_CONNECT_PROTOCOL: u64 = 0x8;
/// Settings of HTTP/2 that have no meaning here (RFC 9114 section 7.2.4.1).
const OF_HTTP2: [u64; 5] = [0x0, 0x2, 0x3, 0x4, 0x5];
/// Bytes of a frame on the control stream.
const FRAME: usize = 4 << 10;

/// Listens to a stream for as long as there is one.
pub(super) async fn listen(connection: Rc<Connection>, mut stream: RecvStream) {
    let mut input = Vec::with_capacity(8);
    let kind = loop {
        if let Some(kind) = frame::integer(&mut &input[..]) {
            break kind;
        }
        // A stream without a type means nothing, whichever way it ends.
        let Ok(Some(octet)) = stream.read_chunk(1, true).await else { return };
        input.extend_from_slice(&octet.bytes);
    };
    let meaning: fn(&mut Meaning, Bytes) -> Result<(), Code> = match kind {
        CONTROL => Meaning::control,
        ENCODER => Meaning::encoder,
        DECODER => Meaning::decoder,
        // Only servers push.
        PUSH => return connection.fail(Code::STREAM_CREATION_ERROR),
        _ => {
            // It may be about anything (RFC 9114 section 6.2.3). Where it has ended meanwhile, nobody has to be told.
            let _ = stream.stop(Code::STREAM_CREATION_ERROR.into());
            return;
        }
    };
    if !connection.first(kind) {
        return connection.fail(Code::STREAM_CREATION_ERROR);
    }
    let mut state = Meaning::default();
    let code = loop {
        match stream.read_chunk(FRAME, true).await {
            Ok(Some(chunk)) => {
                if let Err(code) = meaning(&mut state, chunk.bytes) {
                    break code;
                }
            }
            Ok(None) | Err(quinn::ReadError::Reset(_)) => break Code::CLOSED_CRITICAL_STREAM,
            Err(_) => return,
        }
    };
    connection.fail(code);
}

/// What a client has said on one of these streams.
#[derive(Default)]
struct Meaning {
    frames: Frames,
    settings: bool,
    /// The last push that a client is ready for.
    pushes: Option<u64>,
    /// The last push of ours that it has use for.
    goaway: Option<u64>,
    /// Octets of a number that goes on.
    number: u32,
}

impl Meaning {
    fn control(&mut self, bytes: Bytes) -> Result<(), Code> {
        self.frames.push(bytes);
        while let Some(part) = self.frames.next(use_of)? {
            match part {
                Part::Whole(kind, payload) => self.frame(kind, &payload)?,
                // What it skips is nothing it knows, but the settings come first all the same.
                Part::Some(_) if self.settings => {}
                Part::Some(_) => return Err(Code::MISSING_SETTINGS),
                Part::TooLarge(_) => return Err(Code::EXCESSIVE_LOAD),
            }
        }
        Ok(())
    }

    fn frame(&mut self, kind: u64, mut payload: &[u8]) -> Result<(), Code> {
        match (kind, self.settings) {
            (SETTINGS, false) => {
                self.settings = true;
                return settings(payload);
            }
            (SETTINGS, true) => return Err(Code::FRAME_UNEXPECTED),
            (_, false) => return Err(Code::MISSING_SETTINGS),
            (_, true) => {}
        }
        let number = frame::integer(&mut payload).filter(|_| payload.is_empty()).ok_or(Code::FRAME_ERROR)?;
        match kind {
            // It only ever grows (RFC 9114 section 7.2.7).
            MAX_PUSH_ID if self.pushes.replace(number).is_some_and(|before| before > number) => Err(Code::ID_ERROR),
            // It only ever shrinks (RFC 9114 section 5.2).
            GOAWAY if self.goaway.replace(number).is_some_and(|before| before < number) => Err(Code::ID_ERROR),
            // Nothing is ever pushed that could be cancelled (RFC 9114 section 7.2.3).
            CANCEL_PUSH => Err(Code::ID_ERROR),
            _ => Ok(()),
        }
    }

    /// Nothing may be put into a table that has no room: all that can be said is that it has none (RFC 9204 section 4.3.1).
    fn encoder(&mut self, bytes: Bytes) -> Result<(), Code> {
        match bytes.iter().all(|octet| *octet == 0x20) {
            true => Ok(()),
            false => Err(Code::QPACK_ENCODER_STREAM_ERROR),
        }
    }

    /// A client may say that it has given a stream up (RFC 9204 section 4.4.2). There is nothing else that it could refer to.
    fn decoder(&mut self, bytes: Bytes) -> Result<(), Code> {
        const CANCELLATION: u8 = 0x40;
        for octet in bytes {
            let goes_on = match self.number {
                0 if octet & 0xc0 == CANCELLATION => octet & 0x3f == 0x3f,
                1..=9 => octet & 0x80 != 0,
                _ => return Err(Code::QPACK_DECODER_STREAM_ERROR),
            };
            self.number = if goes_on { self.number + 1 } else { 0 };
        }
        Ok(())
    }
}

/// What frames are for on the control stream.
fn use_of(kind: u64) -> Result<Use, Code> {
    match kind {
        SETTINGS | GOAWAY | MAX_PUSH_ID | CANCEL_PUSH => Ok(Use::Whole(FRAME)),
        DATA | HEADERS => Err(Code::FRAME_UNEXPECTED),
        _ => Ok(Use::Pass),
    }
}

/// The settings of a client: whatever they are, we send less than it may take. They are to be well-formed (RFC 9114 section 7.2.4).
fn settings(mut payload: &[u8]) -> Result<(), Code> {
    let mut seen = Vec::new();
    while !payload.is_empty() {
        let (Some(setting), Some(_value)) = (frame::integer(&mut payload), frame::integer(&mut payload)) else {
            return Err(Code::FRAME_ERROR);
        };
        if OF_HTTP2.contains(&setting) || seen.contains(&setting) || seen.len() > 64 {
            return Err(Code::SETTINGS_ERROR);
        }
        seen.push(setting);
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn control(bytes: &[&[u8]]) -> Result<(), Code> {
        let mut meaning = Meaning::default();
        // One at a time, for that is how they may come.
        bytes.concat().iter().try_for_each(|octet| meaning.control(Bytes::copy_from_slice(&[*octet])))
    }

    const NO_SETTINGS: &[u8] = &[0x4, 0];

    #[test]
    fn settings_come_first_and_once() {
        assert_eq!(control(&[&[0x4, 4, 0x6, 0x44, 0x00, 0x21][..4]]), Ok(()));
        assert_eq!(control(&[&[0x4, 5, 0x6, 0x44, 0x00, 0x21, 0x1]]), Ok(()));
        assert_eq!(control(&[&[0x7, 1, 0]]), Err(Code::MISSING_SETTINGS));
        assert_eq!(control(&[&[0x21, 1, 0]]), Err(Code::MISSING_SETTINGS));
        assert_eq!(control(&[NO_SETTINGS, NO_SETTINGS]), Err(Code::FRAME_UNEXPECTED));
        assert_eq!(control(&[&[0x4, 1, 0x6]]), Err(Code::FRAME_ERROR));
        assert_eq!(control(&[&[0x4, 2, 0x4, 1]]), Err(Code::SETTINGS_ERROR));
        assert_eq!(control(&[&[0x4, 4, 0x6, 1, 0x6, 1]]), Err(Code::SETTINGS_ERROR));
        assert_eq!(control(&[&[0x4, 0xbf, 0xff, 0xff, 0xff]]), Err(Code::EXCESSIVE_LOAD));
    }

    #[test]
    fn what_has_no_place_there_is_refused_and_what_is_unknown_is_skipped() {
        let after = |frames: &[u8]| control(&[NO_SETTINGS, frames]);
        assert_eq!(after(&[0x21, 3, 1, 2, 3, 0xd, 1, 5, 0xd, 1, 6, 0x7, 1, 9, 0x7, 1, 8]), Ok(()));
        assert_eq!(after(&[0x0, 1, 0]), Err(Code::FRAME_UNEXPECTED));
        assert_eq!(after(&[0x1, 1, 0]), Err(Code::FRAME_UNEXPECTED));
        assert_eq!(after(&[0xd, 1, 6, 0xd, 1, 5]), Err(Code::ID_ERROR));
        assert_eq!(after(&[0x7, 1, 8, 0x7, 1, 9]), Err(Code::ID_ERROR));
        assert_eq!(after(&[0x3, 1, 0]), Err(Code::ID_ERROR));
        assert_eq!(after(&[0xd, 2, 1, 1]), Err(Code::FRAME_ERROR));
    }

    #[test]
    fn qpack_has_nothing_to_say_without_a_dynamic_table() {
        let encoder = |bytes: &'static [u8]| Meaning::default().encoder(Bytes::from_static(bytes));
        assert_eq!(encoder(&[0x20]), Ok(()));
        for wrong in [&[0x21][..], &[0x3f, 0x01], &[0x80], &[0x41, b'a', 0]] {
            assert_eq!(encoder(wrong), Err(Code::QPACK_ENCODER_STREAM_ERROR));
        }
        let decoder = |bytes: &'static [u8]| Meaning::default().decoder(Bytes::from_static(bytes));
        assert_eq!(decoder(&[0x44, 0x7f, 0x80, 0x01, 0x48]), Ok(()));
        for wrong in [&[0x84][..], &[0x01], &[0x7f, 0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 0x80]] {
            assert_eq!(decoder(wrong), Err(Code::QPACK_DECODER_STREAM_ERROR));
        }
    }
}
