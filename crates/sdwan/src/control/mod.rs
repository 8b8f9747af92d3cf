//! What is decided once for all workers: handshakes, paths, what the machine has to have.
//!
//! - [`peers`]: handshakes of all tunnels.

pub mod peers;
