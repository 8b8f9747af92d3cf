//! WireGuard, sans-IO: datagrams, time and randomness come in; datagrams, keys to work with and deadlines come out.
//!
//! The source is the whitepaper (Jason A. Donenfeld, "WireGuard: Next Generation Kernel Network Tunnel"); sections in comments are its sections.
//!
//! - [`message`]: the four messages, read by reference and written into slices (5.4).
//! - [`keys`]: private, public and preshared keys, hidden from logs.
//! - [`entropy`]: where secrets come from; [`stamp`]: TAI64N, by which initiations are told from replays.
//! - [`noise`]: the handshake, behind a trait; `primitives` is what the library behind it computes with.
//! - [`mac`]: mac1, mac2, cookies; [`gate`]: what a datagram is, and whether it is worth a handshake's arithmetic now.
//! - [`session`]: sealing and opening packets in place, by many threads at a time; [`window`]: replays.
//! - [`index`]: the numbers by which sessions are called on the wire, looked up without a lock.
//! - [`peer`]: the state machine of one peer on one path: handshakes, timers, roaming, keys that take over from each other.
//!
//! A packet's way needs no state machine: a worker looks the receiver index up in [`index::Table`], opens with the [`session::Opener`] found there, and
//! seals with the [`session::Sealer`] that [`peer::Peer`] last announced. The machine sees what workers did by [`session::Activity`].
//!
//! Absent on purpose: sockets, clocks, threads, queues of packets that wait for a handshake, and which inner addresses a peer may use: the shell has these.
#![deny(clippy::disallowed_methods)]

pub mod entropy;
pub mod gate;
pub mod index;
pub mod keys;
pub mod mac;
pub mod message;
pub mod noise;
pub mod peer;
mod primitives;
pub mod session;
pub mod stamp;
pub mod window;
mod xchacha;

#[cfg(test)]
mod vectors;

pub use entropy::Entropy;
pub use index::Index;
pub use keys::{Identity, PresharedKey, PrivateKey, PublicKey};
pub use peer::Peer;
