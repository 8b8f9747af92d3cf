//! The circuit breaker: what fails again and again is left alone for a while.
//!
//! Closed, everything is let through. After as many failures in a row as are allowed it opens, and nothing is. When it has been open for
//! its time one attempt is let through, the probe: it closes the breaker, or opens it anew.

use std::time::{Duration, Instant};

use outwork_engine::Time;
use parking_lot::Mutex;

/// What a breaker lets through.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Circuit {
    /// Everything.
    Closed,
    /// One attempt, whose outcome decides.
    HalfOpen,
    /// Nothing.
    Open,
}

#[derive(Debug)]
enum State {
    Closed {
        failures: u32,
    },
    Open {
        until: Time,
    },
    /// The probe counts as lost when nothing is heard of it until then.
    HalfOpen {
        until: Time,
    },
}

/// A breaker. Pure: time is handed in.
#[derive(Debug)]
pub(crate) struct Breaker {
    /// Failures in a row that open it.
    allowed: u32,
    /// How long it stays open, and how long it waits for a probe.
    pause: Duration,
    state: State,
}

impl Breaker {
    /// A closed one.
    pub(crate) fn new(allowed: u32, pause: Duration) -> Self {
        Self { allowed: allowed.max(1), pause, state: State::Closed { failures: 0 } }
    }

    /// Whether an attempt may be made now.
    pub(crate) fn admits(&mut self, now: Time) -> bool {
        match self.state {
            State::Closed { .. } => true,
            State::Open { until } | State::HalfOpen { until } if now >= until => {
                self.state = State::HalfOpen { until: now + self.pause };
                true
            }
            State::Open { .. } | State::HalfOpen { .. } => false,
        }
    }

    /// An attempt that was admitted has succeeded. One that began before the breaker opened proves nothing.
    pub(crate) fn succeeded(&mut self) {
        if !matches!(self.state, State::Open { .. }) {
            self.state = State::Closed { failures: 0 };
        }
    }

    /// An attempt that was admitted has failed. Whether that has opened the breaker.
    pub(crate) fn failed(&mut self, now: Time) -> bool {
        match &mut self.state {
            State::Open { .. } => return false,
            State::Closed { failures } if *failures + 1 < self.allowed => {
                *failures += 1;
                return false;
            }
            State::Closed { .. } | State::HalfOpen { .. } => {}
        }
        self.state = State::Open { until: now + self.pause };
        true
    }

    /// What it lets through.
    pub(crate) fn circuit(&self) -> Circuit {
        match self.state {
            State::Closed { .. } => Circuit::Closed,
            State::HalfOpen { .. } => Circuit::HalfOpen,
            State::Open { .. } => Circuit::Open,
        }
    }
}

/// A breaker with a clock, for every thread.
#[derive(Debug)]
pub struct Fuse {
    breaker: Mutex<Breaker>,
    start: Instant,
}

impl Fuse {
    /// A closed one, which so many failures in a row open, and open again for that pause.
    pub fn new(allowed: u32, pause: Duration) -> Self {
        Self { breaker: Mutex::new(Breaker::new(allowed, pause)), start: Instant::now() }
    }

    fn now(&self) -> Time {
        Time::ZERO + self.start.elapsed()
    }

    /// Whether an attempt may be made now. Who is admitted tells how it went.
    pub fn admits(&self) -> bool {
        self.breaker.lock().admits(self.now())
    }

    /// An attempt that was admitted has succeeded.
    pub fn succeeded(&self) {
        self.breaker.lock().succeeded();
    }

    /// An attempt that was admitted has failed. Whether that has opened the breaker.
    pub fn failed(&self) -> bool {
        self.breaker.lock().failed(self.now())
    }

    /// What it lets through.
    pub fn circuit(&self) -> Circuit {
        self.breaker.lock().circuit()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const PAUSE: Duration = Duration::from_secs(1);

    fn at(millis: u64) -> Time {
        Time::from_millis(millis)
    }

    fn open() -> Breaker {
        let mut breaker = Breaker::new(3, PAUSE);
        assert_eq!([0, 0, 0].map(|now| breaker.failed(at(now))), [false, false, true]);
        breaker
    }

    #[test]
    fn failures_in_a_row_open_it_and_a_success_among_them_starts_the_count_anew() {
        let mut breaker = Breaker::new(3, PAUSE);
        for _ in 0..5 {
            breaker.failed(at(0));
            breaker.failed(at(0));
            breaker.succeeded();
        }
        assert_eq!(breaker.circuit(), Circuit::Closed);
        assert!(!open().admits(at(999)));
    }

    #[test]
    fn after_its_pause_one_probe_is_admitted_and_closes_it() {
        let mut breaker = open();
        assert!(breaker.admits(at(1000)));
        assert_eq!(breaker.circuit(), Circuit::HalfOpen);
        assert!(!breaker.admits(at(1000)), "one is enough");
        breaker.succeeded();
        assert!(breaker.admits(at(1001)) && breaker.admits(at(1001)));
    }

    #[test]
    fn a_probe_that_fails_opens_it_for_another_pause() {
        let mut breaker = open();
        assert!(breaker.admits(at(1000)));
        assert!(breaker.failed(at(1500)));
        assert!(!breaker.admits(at(2499)));
        assert!(breaker.admits(at(2500)));
    }

    #[test]
    fn a_probe_that_nothing_is_heard_of_is_followed_by_another() {
        let mut breaker = open();
        assert!(breaker.admits(at(1000)));
        assert!(!breaker.admits(at(1999)));
        assert!(breaker.admits(at(2000)));
    }

    #[test]
    fn what_ends_after_it_opened_changes_nothing() {
        let mut breaker = open();
        breaker.succeeded();
        assert!(!breaker.failed(at(900)));
        assert_eq!(breaker.circuit(), Circuit::Open);
        assert!(breaker.admits(at(1000)), "late failures do not lengthen the pause");
    }
}
