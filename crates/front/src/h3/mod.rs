//! HTTP/3 (RFC 9114) over QUIC.
//!
//! - `socket`: UDP sockets of threads, and how datagrams find the thread of their connection.
//! - `listener`: connections that begin.
//! - `connection`: one of them, from its handshake to its end.
//! - `control`: the streams on which a client says something of the connection.
//! - `request`: a request and its response. `tunnel`: a stream that was switched to another protocol.
//! - `head`: a request's head from its fields.
//! - `frame`: frames, and the integers that they are made of.
//! - `qpack`: fields.
//!
//! Deliberately absent: a dynamic table of QPACK, server push, early data (anyone who recorded it could send it again), datagrams.

mod connection;
mod control;
mod frame;
mod head;
pub(crate) mod listener;
pub(crate) mod qpack;
mod request;
pub(crate) mod socket;
mod tunnel;

use quinn::VarInt;

/// An error code (RFC 9114 section 8.1, RFC 9204 section 6).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Code(u32);

impl Code {
    const NO_ERROR: Self = Self(0x100);
    const INTERNAL_ERROR: Self = Self(0x102);
    const STREAM_CREATION_ERROR: Self = Self(0x103);
    const CLOSED_CRITICAL_STREAM: Self = Self(0x104);
    const FRAME_UNEXPECTED: Self = Self(0x105);
    const FRAME_ERROR: Self = Self(0x106);
    const EXCESSIVE_LOAD: Self = Self(0x107);
    const ID_ERROR: Self = Self(0x108);
    const SETTINGS_ERROR: Self = Self(0x109);
    const MISSING_SETTINGS: Self = Self(0x10a);
    const REQUEST_REJECTED: Self = Self(0x10b);
    const REQUEST_CANCELLED: Self = Self(0x10c);
    const REQUEST_INCOMPLETE: Self = Self(0x10d);
    const MESSAGE_ERROR: Self = Self(0x10e);
    const CONNECT_ERROR: Self = Self(0x10f);
    const QPACK_DECOMPRESSION_FAILED: Self = Self(0x200);
    const QPACK_ENCODER_STREAM_ERROR: Self = Self(0x201);
    const QPACK_DECODER_STREAM_ERROR: Self = Self(0x202);
}

impl From<Code> for VarInt {
    fn from(code: Code) -> Self {
        Self::from_u32(code.0)
    }
}

#[cfg(test)]
mod tests;
