//! Tells who follows pools that something has changed: who is in them, and what may be used.

use std::time::{Duration, Instant};

use parking_lot::{Condvar, Mutex};

/// Beats with each change. There is one who follows.
#[derive(Debug, Default)]
pub(crate) struct Pulse {
    /// When the first change was that nobody has heard of yet.
    since: Mutex<Option<Instant>>,
    beat: Condvar,
}

impl Pulse {
    /// Something has changed.
    pub(crate) fn beat(&self) {
        let mut since = self.since.lock();
        if since.is_none() {
            *since = Some(Instant::now());
        }
        self.beat.notify_all();
    }

    /// Waits for a change, or so long; when the first was that is new.
    pub(crate) fn wait(&self, patience: Duration) -> Option<Instant> {
        let mut since = self.since.lock();
        if since.is_none() {
            self.beat.wait_for(&mut since, patience);
        }
        since.take()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_change_is_heard_of_once_and_by_its_first_moment() {
        let pulse = Pulse::default();
        assert_eq!(pulse.wait(Duration::ZERO), None);
        let before = Instant::now();
        pulse.beat();
        let between = Instant::now();
        pulse.beat();
        let first = pulse.wait(Duration::MAX).unwrap();
        assert!((before..=between).contains(&first));
        assert_eq!(pulse.wait(Duration::ZERO), None);
    }

    #[test]
    fn who_waits_is_woken_by_a_change() {
        let pulse = Pulse::default();
        std::thread::scope(|scope| {
            let waits = scope.spawn(|| pulse.wait(Duration::from_secs(600)));
            pulse.beat();
            assert!(waits.join().unwrap().is_some());
        });
    }
}
