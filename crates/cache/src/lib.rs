//! The byte cache: memory, over Redis, over disk.
//!
//! - [`tiers`]: [`Tiers`], all of it as one: lookups go down, hits come up, purges reach every corner.
//! - [`entry`]: keys, entries, time.
//! - [`flights`]: fetches under way, so that one fetches for all.
//! - [`config`]: the `[cache]` section.
//! - `purge`: what is purged, and how it stays purged.
//! - `memory`: L1, S3-FIFO or LRU in shards.
//! - [`metrics`]: what all of it counts.
//!
//! Deliberately absent: HTTP. What may be cached, for how long, under which key, and what the bytes mean is decided by whoever uses it.

mod breaker;
pub mod config;
pub mod entry;
pub mod flights;
mod memory;
pub mod metrics;
mod purge;
pub mod tiers;

pub use config::Settings;
pub use entry::{Clock, Decoded, Entry, Key, UnixMillis, system_clock};
pub use flights::{Flights, Follower, LeadGuard, Role};
pub use metrics::{CacheMetrics, Tier};
pub use purge::{Era, Purge};
pub use tiers::{CacheError, Circuit, Purged, Reach, Stats, TierStats, Tiers};
