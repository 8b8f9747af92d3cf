//! HTTP/1.0 and HTTP/1.1 (RFC 9112).
//!
//! - `head`: the head of a request, read strictly.
//! - `chunked`: the framing of a request's body.
//! - `connection`: one connection, from its first byte to its last.
//! - `known`: answers that are known by heart.
//! - `response`: the head of a response, and how its body is framed.
//! - `dissect`: the requests in bytes, for who looks for bytes that are read in two ways.

pub(crate) mod chunked;
pub(crate) mod connection;
mod dissect;
pub(crate) mod head;
pub(crate) mod known;
pub(crate) mod response;

pub use chunked::{Decoder, Piece};
pub use dissect::{Dissected, End, Taken, dissect};
pub use head::Framing;
pub(crate) use response::push_field;

#[cfg(test)]
mod smuggling_tests;
