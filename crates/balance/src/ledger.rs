//! What is known of a pool whatever its members are: it outlives every change of them.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::Acquire, Ordering::Relaxed, Ordering::Release};

use crate::breaker::{Gauge, Lone, Resource};
use crate::budget::Floor;
use crate::outlier::Detector;

/// Counts of one pool.
#[derive(Debug, Default)]
pub struct Ledger {
    requests: Lone,
    connections: Lone,
    pending: Lone,
    retries: Lone,
    hedges: Lone,
    pub(crate) retry_floor: Floor,
    pub(crate) hedge_floor: Floor,
    /// Grows with every change of health, ejection or draining: what was planned before is out of date.
    version: AtomicU64,
    generations: AtomicU64,
    members: AtomicU64,
    ejecting: AtomicBool,
    ejections: [AtomicU64; Detector::ALL.len()],
    spared: AtomicU64,
}

impl Ledger {
    /// How much of `resource` is under way in the whole pool, and what was refused.
    pub fn gauge(&self, resource: Resource) -> &Gauge {
        match resource {
            Resource::Requests => &self.requests.0,
            Resource::Connections => &self.connections.0,
            Resource::Pending => &self.pending.0,
            Resource::Retries => &self.retries.0,
            Resource::Hedges => &self.hedges.0,
        }
    }

    /// Members ejected because of `detector`, since the pool is there.
    pub fn ejections(&self, detector: Detector) -> u64 {
        self.ejections.get(detector as usize).map_or(0, |count| count.load(Relaxed))
    }

    /// Members that would have been ejected if as many as may be had not been ejected already.
    pub fn spared(&self) -> u64 {
        self.spared.load(Relaxed)
    }

    pub(crate) fn version(&self) -> u64 {
        self.version.load(Acquire)
    }

    pub(crate) fn changed(&self) {
        self.version.fetch_add(1, Release);
    }

    pub(crate) fn next_generation(&self) -> u64 {
        self.generations.fetch_add(1, Relaxed)
    }

    pub(crate) fn next_member(&self) -> u64 {
        self.members.fetch_add(1, Relaxed)
    }

    pub(crate) fn count_ejection(&self, detector: Detector) {
        if let Some(count) = self.ejections.get(detector as usize) {
            count.fetch_add(1, Relaxed);
        }
    }

    pub(crate) fn count_spared(&self) {
        self.spared.fetch_add(1, Relaxed);
    }

    /// Runs `eject` unless another thread ejects at this moment, so that both together cannot eject more than may be. Nobody waits: who comes
    /// second gets `None`, and the next failure brings it back.
    pub(crate) fn alone<T>(&self, eject: impl FnOnce() -> T) -> Option<T> {
        /// Unlocks even when `eject` panics.
        struct Unlock<'a>(&'a AtomicBool);
        impl Drop for Unlock<'_> {
            fn drop(&mut self) {
                self.0.store(false, Release);
            }
        }
        self.ejecting.compare_exchange(false, true, Acquire, Relaxed).ok()?;
        let _unlock = Unlock(&self.ejecting);
        Some(eject())
    }
}
