//! Failures that come one after another: each is counted by whoever has them, and the first is told of.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

/// After so long without a failure, the next one is another matter.
const QUIET: Duration = Duration::from_secs(10);

/// Failures of one kind, of any number of threads.
#[derive(Debug)]
pub struct Episode {
    began: Instant,
    /// Milliseconds from then to the latest, and one more; 0 before the first.
    latest: AtomicU64,
}

impl Default for Episode {
    fn default() -> Self {
        Self { began: Instant::now(), latest: AtomicU64::new(0) }
    }
}

impl Episode {
    /// There is a failure: whether it is the first after a quiet time.
    pub fn begins(&self) -> bool {
        self.begins_at(self.began.elapsed())
    }

    fn begins_at(&self, now: Duration) -> bool {
        let millis = |time: Duration| u64::try_from(time.as_millis()).unwrap_or(u64::MAX);
        let now = millis(now).saturating_add(1);
        let before = self.latest.swap(now, Ordering::Relaxed);
        before == 0 || now.saturating_sub(before) > millis(QUIET)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn failures_that_follow_each_other_are_one_episode_however_long_it_lasts() {
        let (episode, millis) = (Episode::default(), Duration::from_millis);
        let begins =
            |times: &[u64]| times.iter().copied().filter(|time| episode.begins_at(millis(*time))).collect::<Vec<_>>();
        assert_eq!(begins(&[0, 0, 50, 9_000, 18_000, 28_000]), [0]);
        assert_eq!(begins(&[38_001, 38_051, 100_000]), [38_001, 100_000]);
    }

    #[test]
    fn of_threads_that_fail_at_once_one_tells() {
        let episode = Episode::default();
        let told = std::thread::scope(|scope| {
            let threads: Vec<_> = (0..8).map(|_| scope.spawn(|| episode.begins_at(Duration::ZERO))).collect();
            threads.into_iter().map(|thread| thread.join().unwrap()).filter(|told| *told).count()
        });
        assert_eq!(told, 1);
    }
}
