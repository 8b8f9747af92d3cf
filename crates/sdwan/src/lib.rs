//! Joins sites over every uplink they have, and moves traffic off a bad link before anyone notices.
//!
//! - [`config`]: what the configuration says.
//! - [`engine`]: decides which paths there are, how they fare, and which of them a flow takes.
//! - [`plane`]: what packets go through on their way.
//! - [`control`]: handshakes, and what workers are to know.
//! - [`qos`]: how uplinks are shaped. [`kernel`]: what is left to the kernel's WireGuard.
//! - `plan`: from the one to the other.
//! - [`lab`]: sites to practise on, on one machine.
//! - [`service`]: devices, sockets and threads: the shell around all of it.
//! - [`api`], [`metrics`]: what is told of it; [`bench`], what it costs.
//!
//! Absent so far: the controller.

pub mod api;
pub mod bench;
pub mod config;
pub mod control;
pub mod engine;
pub mod kernel;
pub mod lab;
pub mod metrics;
mod plan;
pub mod plane;
pub mod qos;
pub mod service;

pub use outwork_wireguard::PublicKey;
