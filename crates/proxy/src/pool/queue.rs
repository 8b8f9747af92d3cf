//! Requests that wait until a backend has room for one more.

use std::collections::VecDeque;
use std::future::poll_fn;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering::SeqCst};
use std::task::{Poll, Waker};

use parking_lot::Mutex;

/// Who waits, on whatever thread, first come first served.
#[derive(Debug, Default)]
pub(crate) struct Queue {
    /// As many as there are in the line: looked at before the lock is.
    count: AtomicUsize,
    line: Mutex<VecDeque<Arc<Place>>>,
}

#[derive(Debug, Default)]
struct Place {
    called: AtomicBool,
    waker: Mutex<Option<Waker>>,
}

/// A place in the line. Who leaves it before its turn leaves nothing behind.
pub(crate) struct Waiting<'a> {
    queue: &'a Queue,
    place: Arc<Place>,
    served: bool,
}

impl Queue {
    /// Takes a place, unless there are `most` taken already.
    pub(crate) fn enter(&self, most: usize) -> Option<Waiting<'_>> {
        let mut line = self.line.lock();
        if line.len() >= most {
            return None;
        }
        let place = Arc::<Place>::default();
        line.push_back(Arc::clone(&place));
        self.count.store(line.len(), SeqCst);
        Some(Waiting { queue: self, place, served: false })
    }

    /// There is room for one more.
    pub(crate) fn wake_one(&self) {
        if self.count.load(SeqCst) == 0 {
            return;
        }
        let called = {
            let mut line = self.line.lock();
            let place = line.pop_front();
            self.count.store(line.len(), SeqCst);
            place
        };
        if let Some(place) = called {
            place.call();
        }
    }

    /// Everything may be another than it was.
    pub(crate) fn wake_all(&self) {
        let all = {
            let mut line = self.line.lock();
            self.count.store(0, SeqCst);
            std::mem::take(&mut *line)
        };
        all.iter().for_each(|place| place.call());
    }

    #[cfg(test)]
    fn len(&self) -> usize {
        self.line.lock().len()
    }
}

impl Place {
    fn call(&self) {
        self.called.store(true, SeqCst);
        if let Some(waker) = self.waker.lock().take() {
            waker.wake();
        }
    }
}

impl Waiting<'_> {
    /// It was called, and somebody else was faster: it is the first again.
    pub(crate) fn again(&self) {
        if self.place.called.swap(false, SeqCst) {
            let mut line = self.queue.line.lock();
            line.push_front(Arc::clone(&self.place));
            self.queue.count.store(line.len(), SeqCst);
        }
    }

    /// It has what it waited for.
    pub(crate) fn served(mut self) {
        self.served = true;
    }

    /// Waits for its turn.
    pub(crate) async fn turn(&self) {
        poll_fn(|context| {
            *self.place.waker.lock() = Some(context.waker().clone());
            match self.place.called.load(SeqCst) {
                true => Poll::Ready(()),
                false => Poll::Pending,
            }
        })
        .await
    }
}

impl Drop for Waiting<'_> {
    fn drop(&mut self) {
        {
            let mut line = self.queue.line.lock();
            line.retain(|place| !Arc::ptr_eq(place, &self.place));
            self.queue.count.store(line.len(), SeqCst);
        }
        // Called, and gone without what it was called for: somebody else may have it.
        if !self.served && self.place.called.load(SeqCst) {
            self.queue.wake_one();
        }
    }
}

#[cfg(test)]
mod tests {
    use std::task::Context;

    use super::*;

    fn is_called(waiting: &Waiting<'_>) -> bool {
        std::pin::pin!(waiting.turn()).as_mut().poll(&mut Context::from_waker(Waker::noop())).is_ready()
    }

    #[test]
    fn who_came_first_is_called_first_and_who_finds_the_line_full_is_turned_away() {
        let queue = Queue::default();
        let (first, second) = (queue.enter(2).unwrap(), queue.enter(2).unwrap());
        assert!(queue.enter(2).is_none());
        assert!(!is_called(&first));
        queue.wake_one();
        assert!(is_called(&first) && !is_called(&second));
        let third = queue.enter(2).unwrap();
        queue.wake_all();
        assert!(is_called(&second) && is_called(&third));
    }

    #[test]
    fn who_gives_up_leaves_its_place_to_the_next() {
        let queue = Queue::default();
        let (first, second) = (queue.enter(2).unwrap(), queue.enter(2).unwrap());
        let third = queue.enter(3).unwrap();
        drop(first);
        queue.wake_one();
        assert!(is_called(&second) && !is_called(&third));
        drop(second);
        assert!(is_called(&third), "called, and gone without taking anything");
        third.again();
        assert!(!is_called(&third));
        queue.wake_one();
        third.served();
        assert_eq!(queue.len(), 0);
        queue.wake_one();
    }
}
