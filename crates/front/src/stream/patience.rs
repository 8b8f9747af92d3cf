//! How long a client may keep us waiting. Time that it takes is used up, and what moves meanwhile gives some of it back: who moves nothing for too long is
//! late, and who moves too little for long is, too.

use std::pin::pin;
use std::task::Poll;
use std::time::{Duration, Instant};

/// A store of time that waiting empties and progress fills.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Patience {
    left: Duration,
    most: Duration,
    /// Bytes a second.
    rate: u64,
}

impl Patience {
    /// Time to wait while nothing moves, and the bytes a second that are enough.
    pub(crate) fn new(most: Duration, rate: u64) -> Self {
        Self { left: most, most, rate: rate.max(1) }
    }

    /// So many bytes have moved.
    pub(crate) fn moved(&mut self, bytes: usize) {
        let earned = Duration::from_micros((bytes as u64).saturating_mul(1_000_000) / self.rate);
        self.left = self.left.saturating_add(earned).min(self.most);
    }

    /// It has kept us waiting for so long.
    pub(crate) fn waited(&mut self, time: Duration) {
        self.left = self.left.saturating_sub(time);
    }

    /// What is left.
    pub(crate) fn left(&self) -> Duration {
        self.left
    }

    /// Waits for something that the client has to do; `None` when it is late.
    pub(crate) async fn wait<T>(&mut self, something: impl Future<Output = T>) -> Option<T> {
        let mut something = pin!(something);
        // Where there is nothing to wait for, nobody looks at a clock.
        let at_once = std::future::poll_fn(|context| Poll::Ready(something.as_mut().poll(context)));
        if let Poll::Ready(done) = at_once.await {
            return Some(done);
        }
        let began = Instant::now();
        let done = tokio::time::timeout(self.left, something).await;
        self.waited(began.elapsed());
        done.ok()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const fn secs(secs: u64) -> Duration {
        Duration::from_secs(secs)
    }

    #[test]
    fn who_moves_enough_may_go_on_for_ever_and_who_moves_too_little_is_late_in_the_end() {
        let mut enough = Patience::new(secs(30), 1000);
        let mut too_little = enough.clone();
        for _ in 0..100 {
            enough.waited(secs(20));
            enough.moved(20_000);
            assert_eq!(enough.left(), secs(30));
        }
        let rounds = (0..100).take_while(|_| {
            too_little.waited(secs(2));
            too_little.moved(1000);
            too_little.left() > secs(1)
        });
        assert_eq!(rounds.count(), 28);
    }

    #[test]
    fn nobody_gathers_more_than_the_first_time() {
        let mut patience = Patience::new(secs(30), 1);
        patience.moved(usize::MAX);
        patience.waited(secs(29));
        assert_eq!(patience.left(), secs(1));
        patience.waited(secs(2));
        assert_eq!(patience.left(), Duration::ZERO);
    }

    #[test]
    fn waiting_uses_the_time_up() {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap();
        runtime.block_on(async {
            let mut patience = Patience::new(Duration::from_millis(5), 1);
            assert_eq!(patience.wait(std::future::ready(1)).await, Some(1));
            assert_eq!(patience.left(), Duration::from_millis(5));
            assert_eq!(patience.wait(std::future::pending::<()>()).await, None);
            assert_eq!(patience.left(), Duration::ZERO);
        });
    }
}
