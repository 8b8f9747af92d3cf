//! HTTP/2 (RFC 9113): the `h2` crate's connections, our requests and responses.
//!
//! - `connection`: one connection, from its preface to its end.
//! - `request`: a request and its response. `tunnel`: a stream that was switched to another protocol.
//! - `cork`: has the answers of one turn leave together.
//! - `watch`: the frames that pass: rules that the crate takes lightly, and floods.
//! - `frame`: what a frame is; `debt`: what one costs that asks for nothing.
//! - `hpack`: what can be told of a field block from outside.

mod connection;
mod cork;
mod debt;
mod frame;
mod hpack;
mod request;
mod tunnel;
mod watch;

pub(crate) use connection::serve;
pub use tunnel::Tunnel;

#[cfg(test)]
mod tests;
