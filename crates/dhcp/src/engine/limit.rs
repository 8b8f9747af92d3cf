//! The packets a client may send: GCRA over a fixed table, so that a flood of made-up clients costs no memory.

const CELLS: usize = 1 << 16;
/// Ticks of the cells: microseconds, so that a rate is kept to the packet.
const SECOND: u64 = 1_000_000;

/// A bucket a client, many clients a bucket when hashes meet. 512 KiB, never grows.
#[derive(Debug)]
pub(super) struct Limiter {
    /// Theoretical arrival time in microseconds since 1970.
    cells: Vec<u64>,
}

impl Limiter {
    pub(super) fn new() -> Self {
        Self { cells: vec![0; CELLS] }
    }

    /// True if a client whose key hashes to `hash` may send one more packet at `now` milliseconds since 1970.
    pub(super) fn admit(&mut self, hash: u64, now: u64, rate: u32, burst: u32) -> bool {
        if rate == 0 {
            return true;
        }
        let now = now.saturating_mul(SECOND / 1000);
        let step = (SECOND / u64::from(rate)).max(1);
        let allowance = step * u64::from(burst.max(1));
        let Some(cell) = self.cells.get_mut(hash as usize % CELLS) else { return true };
        // A cell that lies further ahead than any burst can put it is of a clock since set back.
        let ahead = Some(cell.saturating_sub(now)).filter(|ahead| *ahead <= allowance).unwrap_or(0);
        if ahead + step > allowance {
            return false;
        }
        *cell = now.saturating_add(ahead + step);
        true
    }
}
