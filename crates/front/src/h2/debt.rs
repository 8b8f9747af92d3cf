//! The price of frames.

use std::time::Duration;

/// Frames that ask for nothing and that a client may send at once, and how long it takes until it may send another.
pub(super) const ALLOWED: u32 = 1024;
const PAUSE: Duration = Duration::from_micros(15_625);

/// What a client's frames cost that asked for nothing, as the time at which it would have paid for them (a generic cell rate).
#[derive(Debug, Default)]
pub(super) struct Debt {
    until: Duration,
}

impl Debt {
    /// Whether it may be that much.
    pub(super) fn charge(&mut self, frames: u32, now: Duration) -> bool {
        self.until = self.until.max(now) + PAUSE * frames;
        self.until - now <= PAUSE * ALLOWED
    }

    pub(super) fn repay(&mut self, frames: u32) {
        self.until = self.until.saturating_sub(PAUSE * frames);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_debt_has_a_bound_and_time_and_work_pay_for_it() {
        let (mut debt, now) = (Debt::default(), Duration::from_secs(100));
        assert!(debt.charge(ALLOWED, now) && !debt.charge(1, now));
        debt.repay(3);
        assert!(debt.charge(2, now) && !debt.charge(1, now));
        assert!(debt.charge(63, now + Duration::from_secs(1)) && !debt.charge(1, now + Duration::from_secs(1)));
        debt.repay(u32::MAX);
        assert!(debt.charge(ALLOWED, now) && !debt.charge(1, now), "nothing is paid in advance");
        assert!(debt.charge(ALLOWED, now + Duration::from_secs(1 << 20)), "time pays for all of it");
    }
}
