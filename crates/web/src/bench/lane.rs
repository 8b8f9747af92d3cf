//! Requests one after the other, as fast as they are answered or at a rate.

use std::cell::RefCell;
use std::rc::Rc;
use std::time::{Duration, Instant};

use super::connection::{Failure, Slot};
use super::report::Tally;

/// Pause after a failure: a server that is gone is not asked again at once.
const PAUSE: Duration = Duration::from_millis(20);

/// When the requests of one lane are due. The lanes take turns, so that all together keep the rate evenly.
#[derive(Debug, Clone, Copy)]
pub(super) struct Schedule {
    /// From one request to the next.
    interval: Duration,
    /// From the beginning to the first.
    offset: Duration,
}

impl Schedule {
    /// That of the lane of this number among so many, of which all together make `rate` requests a second.
    pub(super) fn new(rate: f64, number: usize, lanes: usize) -> Self {
        let interval = Duration::from_secs_f64(lanes as f64 / rate);
        Self { interval, offset: interval.mul_f64(number as f64 / lanes as f64) }
    }

    /// When the request of this number is due.
    pub(super) fn due(&self, begin: Instant, request: u32) -> Instant {
        begin + self.offset + self.interval * request
    }

    /// How many requests are due before then.
    fn due_before(&self, begin: Instant, then: Instant) -> u64 {
        let passed = then.saturating_duration_since(begin + self.offset).as_nanos();
        u64::try_from(passed.div_ceil(self.interval.as_nanos().max(1))).unwrap_or(u64::MAX)
    }
}

pub(super) struct Lane {
    pub(super) slot: Rc<Slot>,
    pub(super) tally: Rc<RefCell<Tally>>,
    pub(super) schedule: Option<Schedule>,
    /// When the schedule begins, which is that of all lanes of a thread.
    pub(super) begin: Instant,
    pub(super) measure_from: Instant,
}

impl Lane {
    /// Makes requests until then.
    pub(super) async fn run(self, until: Instant, timeout: Duration) {
        let (begin, mut request) = (self.begin, 0);
        loop {
            if Instant::now() >= until {
                return self.miss(request, until);
            }
            let started = match self.schedule {
                None => Instant::now(),
                Some(schedule) => {
                    let due = schedule.due(begin, request);
                    request += 1;
                    if due >= until {
                        return;
                    }
                    match due > Instant::now() {
                        true => {
                            tokio::time::sleep_until(due.into()).await;
                            // That we wake late is not the server's fault.
                            Instant::now()
                        }
                        false => due,
                    }
                }
            };
            let answer = tokio::time::timeout(timeout, self.slot.ask()).await;
            let answer = answer.unwrap_or(Err(Failure::Timeout));
            let ended = Instant::now();
            if started >= self.measure_from {
                self.tally.borrow_mut().record(&answer, ended - started, ended <= until);
            }
            if answer.is_err() {
                tokio::time::sleep(PAUSE).await;
            }
        }
    }

    /// Counts what was due until then and was not sent, from this request on.
    fn miss(&self, next: u32, until: Instant) {
        let Some(schedule) = self.schedule else { return };
        let gone = schedule.due_before(self.begin, self.measure_from).max(next.into());
        self.tally.borrow_mut().missed += schedule.due_before(self.begin, until).saturating_sub(gone);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lanes_take_turns_and_keep_the_rate_together() {
        let begin = Instant::now();
        let lanes: Vec<_> = (0..4).map(|number| Schedule::new(1000.0, number, 4)).collect();
        let mut due: Vec<_> = lanes
            .iter()
            .flat_map(|lane| (0..3).map(|request| (lane.due(begin, request) - begin).as_micros()))
            .collect();
        due.sort_unstable();
        assert_eq!(due, (0..12).map(|request| request * 1000).collect::<Vec<_>>());
        for millis in [0, 1, 4, 5, 6] {
            let then = begin + Duration::from_millis(millis);
            assert_eq!(lanes.iter().map(|lane| lane.due_before(begin, then)).sum::<u64>(), millis);
        }
    }
}
