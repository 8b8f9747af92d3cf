//! Counters and gauges: what the hot path touches, one relaxed atomic each.

use std::cell::Cell;
use std::sync::atomic::{AtomicI64, AtomicU64, AtomicUsize, Ordering::Relaxed};

/// Copies of a counter that threads spread over. A power of two.
const SHARDS: usize = 8;

static NEXT_SHARD: AtomicUsize = AtomicUsize::new(0);

thread_local! {
    static SHARD: Cell<usize> = const { Cell::new(usize::MAX) };
}

/// The copy this thread writes: threads take turns when they first count something.
fn shard() -> usize {
    SHARD.with(|shard| {
        if shard.get() == usize::MAX {
            shard.set(NEXT_SHARD.fetch_add(1, Relaxed) % SHARDS);
        }
        shard.get()
    })
}

#[derive(Debug, Default)]
#[repr(align(64))]
struct Padded(AtomicU64);

/// A number that only grows. Threads write cache-line-sized copies of their own, summed when read.
#[derive(Debug, Default)]
pub struct Counter([Padded; SHARDS]);

impl Counter {
    /// Counts one.
    pub fn inc(&self) {
        self.add(1);
    }

    /// Counts `n` at once: what a batch uses.
    pub fn add(&self, n: u64) {
        self.0[shard() % SHARDS].0.fetch_add(n, Relaxed);
    }

    /// The total so far.
    pub fn get(&self) -> u64 {
        self.0.iter().fold(0, |sum, shard| sum.wrapping_add(shard.0.load(Relaxed)))
    }
}

/// A number that goes up and down.
#[derive(Debug, Default)]
pub struct Gauge(AtomicI64);

impl Gauge {
    /// Replaces the value.
    pub fn set(&self, value: i64) {
        self.0.store(value, Relaxed);
    }

    /// Adds `n`, which may be negative.
    pub fn add(&self, n: i64) {
        self.0.fetch_add(n, Relaxed);
    }

    /// Adds one.
    pub fn inc(&self) {
        self.add(1);
    }

    /// Takes one away.
    pub fn dec(&self) {
        self.add(-1);
    }

    /// The value now.
    pub fn get(&self) -> i64 {
        self.0.load(Relaxed)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_counter_loses_nothing_between_threads() {
        let counter = Counter::default();
        std::thread::scope(|scope| {
            for _ in 0..2 * SHARDS {
                scope.spawn(|| (0..1000).for_each(|_| counter.inc()));
            }
        });
        assert_eq!(counter.get(), 2 * SHARDS as u64 * 1000);
    }

    #[test]
    fn a_gauge_goes_up_and_down() {
        let gauge = Gauge::default();
        gauge.set(5);
        gauge.dec();
        gauge.add(-6);
        gauge.inc();
        assert_eq!(gauge.get(), -1);
    }
}
