//! The sans-IO kit: what an engine that takes bytes and time, and gives outputs and deadlines, is made of.
//!
//! - [`time`]: [`Time`], an instant handed in by the shell; [`Unix`], a wall clock second; [`Epoch`], how the two relate.
//! - [`calendar`]: [`Calendar`], deadlines by the second, due ones taken in bounded slices.
//! - [`expiring`]: [`ExpiringMap`], a map with a capacity whose entries lapse.
//! - [`bucket`]: [`TokenBuckets`], a rate limit for each of many clients in a fixed amount of memory.
//! - [`rng`]: [`Rng`], a small seeded generator. Not for secrets.
//! - [`sim`]: many seeds, a virtual clock and a network that loses, doubles and reorders. For tests.
//!
//! Absent on purpose: clocks, threads, sockets and entropy. A seed comes from the shell, which has asked the operating system for it.
#![deny(clippy::disallowed_methods)]

pub mod bucket;
pub mod calendar;
pub mod expiring;
pub mod rng;
pub mod sim;
pub mod time;

pub use bucket::TokenBuckets;
pub use calendar::Calendar;
pub use expiring::ExpiringMap;
pub use rng::Rng;
pub use time::{Epoch, Time, Unix};
