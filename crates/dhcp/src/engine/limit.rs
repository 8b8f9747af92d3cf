//! What somebody may send, or do: GCRA over a fixed table, so that a flood of made-up clients costs no memory.

use std::time::Duration;

/// Ticks of the cells: microseconds, so that a rate is kept to the packet.
const SECOND: u64 = 1_000_000;

/// So many at once, and one more each `step`.
#[derive(Debug, Clone, Copy)]
pub(super) struct Rate {
    /// Microseconds.
    step: u64,
    burst: u64,
}

impl Rate {
    /// So many a second; `None` is any number.
    pub(super) fn per_second(rate: u32, burst: u32) -> Option<Self> {
        let step = SECOND.checked_div(rate.into())?.max(1);
        Some(Self { step, burst: burst.max(1).into() })
    }

    /// So many within a time; `None` is any number.
    pub(super) fn within(time: Duration, count: u32) -> Option<Self> {
        let step = time.as_secs().saturating_mul(SECOND).checked_div(count.into())?.max(1);
        Some(Self { step, burst: count.into() })
    }
}

/// A bucket each, many to a bucket when hashes meet. Never grows.
#[derive(Debug)]
pub(super) struct Limiter {
    /// Theoretical arrival time in microseconds since 1970.
    cells: Vec<u64>,
}

impl Limiter {
    pub(super) fn new(cells: usize) -> Self {
        Self { cells: vec![0; cells.max(1)] }
    }

    /// Bytes of memory behind it.
    pub(super) fn memory(&self) -> usize {
        self.cells.capacity() * size_of::<u64>()
    }

    /// True if there is room for one more of whose key hashes to `hash`, at `now` milliseconds since 1970.
    pub(super) fn admit(&mut self, hash: u64, now: u64, rate: Option<Rate>) -> bool {
        let Some(Rate { step, burst }) = rate else { return true };
        let now = now.saturating_mul(SECOND / 1000);
        let allowance = step.saturating_mul(burst);
        let index = (hash % self.cells.len() as u64) as usize;
        let Some(cell) = self.cells.get_mut(index) else { return true };
        // A cell that lies further ahead than any burst can put it is of a clock since set back.
        let ahead = Some(cell.saturating_sub(now)).filter(|ahead| *ahead <= allowance).unwrap_or(0);
        if ahead.saturating_add(step) > allowance {
            return false;
        }
        *cell = now.saturating_add(ahead).saturating_add(step);
        true
    }
}
