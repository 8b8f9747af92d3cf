//! The `[cache]` section: the tiers, and what is around them.

use outwork_cache::config::{L1, L2, L3};
use outwork_config::{ByteSize, section};
use outwork_front::cached::config::{Edge, Warming};

section! {
    /// The cache of answers and query results: memory, over Redis, over disk. Routes use it that have `cache`.
    pub(crate) struct CacheSettings {
        /// Memory of this process.
        pub(crate) l1: L1,
        /// Redis, or what speaks its protocol: shared by all instances of a site, which also tell each other of purges through it.
        pub(crate) l2: L2,
        /// Disk of this machine. What lies there outlives a restart.
        pub(crate) l3: L3,
        /// Bytes that may wait to be written to Redis, and as many for the disk. What comes beyond stays in memory alone.
        pub(crate) queue: ByteSize [restart, range ByteSize::kib(64)..=ByteSize::gib(16)] = ByteSize::mib(64),
        /// Bytes of answers that are being taken in at once. Those beyond them go to their clients, and are not cached.
        pub(crate) fetching: ByteSize [restart, range ByteSize::mib(1)..=ByteSize::gib(1024)] = ByteSize::mib(256),
        /// Answers that are fetched before anybody asks.
        pub(crate) warming: Warming,
        /// The cache before this one, as of a content delivery network.
        pub(crate) cdn: Option<Edge> [restart],
    }
}

impl CacheSettings {
    /// Those of the tiers.
    pub(crate) fn tiers(&self) -> outwork_cache::Settings {
        outwork_cache::Settings { l1: self.l1.clone(), l2: self.l2.clone(), l3: self.l3.clone(), queue: self.queue }
    }
}
