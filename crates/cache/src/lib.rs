//! The byte cache: memory, over Redis, over disk.
//!
//! - [`tiers`]: [`Tiers`], all of it as one: lookups go down, hits come up, purges reach every corner.
//! - [`entry`]: keys, entries, time.
//! - [`flights`]: fetches under way, so that one fetches for all.
//! - [`config`]: the `[cache]` section.
//! - `local`: what all of it needs of this instance: memory, bans, clock.
//! - `purge`: what is purged, and how it stays purged.
//! - `memory`: L1, S3-FIFO or LRU in shards.
//! - `remote`: L2, Redis, and how instances tell each other of purges through it.
//! - `disk`: L3, a ring of segments.
//! - [`codec`]: entries as bytes, for disk and Redis.
//! - `behind`: what waits to be written to them.
//! - [`breaker`]: what fails again and again is left alone for a while.
//! - [`server`]: a Redis server, and as whom it is spoken to.
//! - [`metrics`]: what all of it counts.
//!
//! Deliberately absent: HTTP. What may be cached, for how long, under which key, and what the bytes mean is decided by whoever uses it.

mod behind;
pub mod breaker;
pub mod codec;
pub mod config;
mod disk;
pub mod entry;
pub mod flights;
mod local;
mod memory;
pub mod metrics;
mod purge;
mod remote;
pub mod server;
pub mod tiers;

pub use config::Settings;
pub use disk::DiskError;
pub use entry::{Clock, Decoded, Entry, Key, UnixMillis, system_clock};
pub use flights::{Flights, Follower, LeadGuard, Role};
pub use metrics::{CacheMetrics, Tier};
pub use purge::{Era, Purge};
pub use remote::RemoteError;
pub use tiers::{CacheError, Circuit, Purged, Reach, Stats, TierStats, Tiers, Top};
