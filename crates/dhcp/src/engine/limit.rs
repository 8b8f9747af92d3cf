//! The packets a client may send: GCRA over a fixed table, so that a flood of made-up clients costs no memory.

use super::Seconds;

const CELLS: usize = 1 << 16;
/// Ticks a second the cells count in.
const TICKS: u64 = 1000;

/// A bucket a client, many clients a bucket when hashes meet. 256 KiB, never grows.
#[derive(Debug)]
pub(super) struct Limiter {
    /// Theoretical arrival time in milliseconds since `epoch`, wrapping.
    cells: Vec<u32>,
    epoch: Seconds,
}

impl Limiter {
    pub(super) fn new(epoch: Seconds) -> Self {
        Self { cells: vec![0; CELLS], epoch }
    }

    /// True if a client whose key hashes to `hash` may send one more packet at `now` milliseconds since 1970.
    pub(super) fn admit(&mut self, hash: u64, now_ms: u64, rate: u32, burst: u32) -> bool {
        if rate == 0 {
            return true;
        }
        let now = now_ms.saturating_sub(u64::from(self.epoch) * TICKS) as u32;
        let step = (TICKS as u32 / rate).max(1);
        let allowance = step.saturating_mul(burst.max(1));
        let Some(cell) = self.cells.get_mut(hash as usize % CELLS) else { return true };
        // A cell that lies in the past, or further ahead than any burst can put it (a clock set back), starts anew.
        let ahead = cell.wrapping_sub(now);
        let ahead = if ahead > allowance { 0 } else { ahead };
        if ahead + step > allowance {
            return false;
        }
        *cell = now.wrapping_add(ahead + step);
        true
    }
}
