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
    line: Mutex<Line>,
}

#[derive(Debug, Default)]
struct Line {
    /// In the order in which they came.
    places: VecDeque<Arc<Place>>,
    next: u64,
}

#[derive(Debug, Default)]
struct Place {
    number: u64,
    called: AtomicBool,
    waker: Mutex<Option<Waker>>,
}

/// A place in the line. Who leaves it before its turn leaves nothing behind.
pub(crate) struct Waiting<'a> {
    queue: &'a Queue,
    place: Arc<Place>,
}

impl Line {
    /// Where a place is, or would be.
    fn find(&self, place: &Place) -> Result<usize, usize> {
        self.places.binary_search_by_key(&place.number, |place| place.number)
    }
}

impl Queue {
    /// Takes a place, unless there are `most` taken already.
    pub(crate) fn enter(&self, most: usize) -> Option<Waiting<'_>> {
        let mut line = self.line.lock();
        if line.places.len() >= most {
            return None;
        }
        let place = Arc::new(Place { number: line.next, ..Place::default() });
        line.next += 1;
        line.places.push_back(Arc::clone(&place));
        self.count.store(line.places.len(), SeqCst);
        Some(Waiting { queue: self, place })
    }

    /// There is room for one more.
    pub(crate) fn wake_one(&self) {
        if self.count.load(SeqCst) == 0 {
            return;
        }
        let called = {
            let mut line = self.line.lock();
            // Who was called already looks for itself.
            let first = line.places.iter().position(|place| !place.called.load(SeqCst));
            let place = first.and_then(|first| line.places.remove(first));
            self.count.store(line.places.len(), SeqCst);
            place
        };
        if let Some(place) = called {
            place.call();
        }
    }

    /// Everything may be another than it was. All look, and who finds nothing has the place that it had.
    pub(crate) fn wake_all(&self) {
        let all: Vec<_> = self.line.lock().places.iter().cloned().collect();
        all.iter().for_each(|place| place.call());
    }

    #[cfg(test)]
    fn len(&self) -> usize {
        self.line.lock().places.len()
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
    /// It looks once more, and is where it was: what comes free from here on it hears of.
    pub(crate) fn again(&self) {
        if self.place.called.swap(false, SeqCst) {
            let mut line = self.queue.line.lock();
            if let Err(at) = line.find(&self.place) {
                line.places.insert(at, Arc::clone(&self.place));
            }
            self.queue.count.store(line.places.len(), SeqCst);
        }
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
            if let Ok(at) = line.find(&self.place) {
                line.places.remove(at);
            }
            self.queue.count.store(line.places.len(), SeqCst);
        }
        // Called, and gone without a look: somebody else may have what it was called for.
        if self.place.called.load(SeqCst) {
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
    fn who_was_called_with_all_others_and_finds_nothing_has_the_place_that_it_had() {
        let queue = Queue::default();
        let waiting: Vec<_> = (0..3).map(|_| queue.enter(3).unwrap()).collect();
        queue.wake_all();
        assert!(queue.enter(3).is_none(), "they are still there");
        // On whatever thread, in whatever order.
        waiting[2].again();
        queue.wake_one();
        assert!(is_called(&waiting[2]), "the others look for themselves");
        [0, 2, 1].into_iter().for_each(|at: usize| waiting[at].again());
        queue.wake_one();
        let called: Vec<bool> = waiting.iter().map(is_called).collect();
        assert_eq!(called, [true, false, false]);
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
        third.again();
        drop(third);
        assert_eq!(queue.len(), 0);
        queue.wake_one();
    }
}
