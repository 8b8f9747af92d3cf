//! HTTP/1.0 and HTTP/1.1 (RFC 9112).
//!
//! - `head`: the head of a request, read strictly.
//! - `chunked`: the framing of a request's body.
//! - `connection`: one connection, from its first byte to its last.
//! - `response`: the head of a response, and how its body is framed.

pub(crate) mod chunked;
pub(crate) mod connection;
pub(crate) mod head;
pub(crate) mod response;

pub(crate) use response::push_field;
