//! The programs in the kernel: held to the engine frame by frame, and with real clients in network namespaces. Needs root; what is missing fails a test.
//!
//! - `lab`: namespaces, cables, and who answers in them.
//! - `frames`: frames, built right.
//! - `site`: a client, a balancer and backends; `traffic`: what they say to each other.
//! - `guarded`: whom they turn away.
//! - `vlans`: tags.
//! - `lifetime`: how programs come, stay and go.
//! - `many`: as many flows as tables are made for.
//! - `sockets`: the same by the engine in user space.
//! - `dpdk`: the same on ports of DPDK, where that is built in.
//! - `differential`: the same frames through the programs and through the engine.
#![allow(clippy::unwrap_used, clippy::panic, clippy::print_stdout)]

mod differential;
#[cfg(feature = "dpdk")]
mod dpdk;
mod frames;
mod guarded;
mod lab;
mod lifetime;
mod many;
mod site;
mod sockets;
mod traffic;
mod vlans;
