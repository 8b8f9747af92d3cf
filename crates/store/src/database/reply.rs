//! The answer of a database job: a future for async code, a blocking wait for threads.

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, Waker};

use parking_lot::{Condvar, Mutex};

use super::DatabaseError;

type Answer<T> = Result<T, DatabaseError>;

/// The answer of a job under way. Dropping it does not stop the job.
#[must_use = "a job's failure is only seen in its reply"]
pub struct Reply<T>(Arc<Slot<T>>);

struct Slot<T> {
    state: Mutex<State<T>>,
    answered: Condvar,
}

enum State<T> {
    Pending(Option<Waker>),
    Answered(Option<Answer<T>>),
}

/// Where the job puts its answer. Dropped without one, the job counts as canceled.
pub(super) struct Sender<T>(Option<Arc<Slot<T>>>);

/// A sender and its reply.
pub(super) fn pair<T>() -> (Sender<T>, Reply<T>) {
    let slot = Arc::new(Slot { state: Mutex::new(State::Pending(None)), answered: Condvar::new() });
    (Sender(Some(Arc::clone(&slot))), Reply(slot))
}

impl<T> Sender<T> {
    pub(super) fn send(mut self, answer: Answer<T>) {
        if let Some(slot) = self.0.take() {
            slot.put(answer);
        }
    }
}

impl<T> Drop for Sender<T> {
    fn drop(&mut self) {
        if let Some(slot) = self.0.take() {
            slot.put(Err(DatabaseError::Canceled));
        }
    }
}

impl<T> Slot<T> {
    fn put(&self, answer: Answer<T>) {
        let before = std::mem::replace(&mut *self.state.lock(), State::Answered(Some(answer)));
        self.answered.notify_all();
        if let State::Pending(Some(waker)) = before {
            waker.wake();
        }
    }
}

impl<T> Reply<T> {
    pub(super) fn failed(error: DatabaseError) -> Self {
        let state = Mutex::new(State::Answered(Some(Err(error))));
        Self(Arc::new(Slot { state, answered: Condvar::new() }))
    }

    /// Blocks the thread until the job is done. Not for async code, which awaits the reply instead.
    pub fn wait(self) -> Answer<T> {
        let mut state = self.0.state.lock();
        loop {
            match &mut *state {
                State::Answered(answer) => return answer.take().unwrap_or(Err(DatabaseError::Canceled)),
                State::Pending(_) => self.0.answered.wait(&mut state),
            }
        }
    }
}

impl<T> Future for Reply<T> {
    type Output = Answer<T>;

    fn poll(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Self::Output> {
        match &mut *self.0.state.lock() {
            State::Answered(answer) => Poll::Ready(answer.take().unwrap_or(Err(DatabaseError::Canceled))),
            State::Pending(waker) => {
                *waker = Some(context.waker().clone());
                Poll::Pending
            }
        }
    }
}
