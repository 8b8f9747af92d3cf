//! Joins sites over every uplink they have, and moves traffic off a bad link before anyone notices.
//!
//! - [`config`]: what the configuration says.
//! - [`engine`]: decides which paths there are, how they fare, and which of them a flow takes.
//! - [`plane`]: what packets go through on their way.
//! - [`control`]: handshakes, and what workers are to know.
//! - [`keys`]: who we are at uplinks, and how another key takes over.
//! - [`resolve`]: where endpoints are that have names.
//! - [`qos`]: how uplinks are shaped. [`kernel`]: what is left to the kernel's WireGuard. [`routing`]: by which table packets come to tunnels.
//! - `plan`: from the one to the other.
//! - [`lab`]: sites to practise on, on one machine.
//! - [`service`]: devices, sockets and threads: the shell around all of it.
//! - [`api`], [`metrics`]: what is told of it; [`bench`], what it costs.
//!
//! And what many sites have in common:
//! - [`network`]: what a network is to be: documents, their versions, and whose word counts.
//! - [`controller`]: keeps that, and says it to sites.
//! - [`follower`]: the site's side: takes it up, and reports.
//! - [`channel`]: what both say to each other.

pub mod api;
pub mod bench;
pub mod channel;
pub mod config;
pub mod control;
pub mod controller;
pub mod engine;
pub mod follower;
pub mod kernel;
pub mod keys;
pub mod lab;
pub mod metrics;
mod millis;
pub mod network;
mod plan;
pub mod plane;
pub mod qos;
pub mod resolve;
pub mod routing;
pub mod service;
pub mod uplinks;

pub use outwork_wireguard::PublicKey;
