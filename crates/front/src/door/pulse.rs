//! Deadlines of connections, cheap enough to move with every read and write: a cell that the worker looks at a few times a second.

use std::cell::{Cell, RefCell};
use std::io;
use std::rc::Rc;
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use slab::Slab;

/// Microseconds since the worker started.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Tick(u64);

impl Tick {
    const NEVER: Self = Self(u64::MAX);

    pub(crate) fn at(since_start: Duration) -> Self {
        Self(u64::try_from(since_start.as_micros()).unwrap_or(u64::MAX))
    }

    fn after(self, duration: Duration) -> Self {
        Self(self.0.saturating_add(u64::try_from(duration.as_micros()).unwrap_or(u64::MAX)))
    }
}

/// What a connection waits for, and until when.
#[derive(Debug)]
pub(crate) struct Pulse {
    deadline: Cell<Tick>,
    idle: Cell<bool>,
    end: Cell<Option<End>>,
    waker: RefCell<Option<Waker>>,
}

/// Why a connection is told to end.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum End {
    /// Its deadline has passed.
    Late,
    /// Another process takes over: the next answer is the last.
    Retiring,
    /// The server stops: requests under way end, no other begins.
    Stopping,
}

impl Pulse {
    fn new() -> Self {
        Self {
            deadline: Cell::new(Tick::NEVER),
            idle: Cell::new(false),
            end: Cell::new(None),
            waker: RefCell::new(None),
        }
    }

    /// From now on there is this much time.
    pub(crate) fn allow(&self, now: Tick, time: Duration) {
        self.deadline.set(now.after(time));
    }

    /// Adds what `bytes` may take at `rate` bytes a second. However much has come, silence may last no longer than `most` from now.
    pub(crate) fn earn(&self, bytes: usize, rate: u64, now: Tick, most: Duration) {
        let deadline = self.deadline.get();
        if deadline == Tick::NEVER {
            return;
        }
        let earned = (bytes as u64).saturating_mul(1_000_000).checked_div(rate).unwrap_or(u64::MAX);
        let later = Tick(deadline.0.saturating_add(earned)).min(now.after(most));
        self.deadline.set(later.max(deadline));
    }

    /// There is no deadline: somebody else has to do something.
    pub(crate) fn forever(&self) {
        self.deadline.set(Tick::NEVER);
    }

    /// Takes back that it was late.
    pub(crate) fn forgive(&self) {
        if self.end.get() == Some(End::Late) {
            self.end.set(None);
        }
        self.forever();
    }

    /// Says whether it is between two requests, where it can be ended without harm; returns what was said before.
    pub(crate) fn set_idle(&self, idle: bool) -> bool {
        self.idle.replace(idle)
    }

    /// Whether the answer under way, or the next one, is the last.
    pub(crate) fn is_stopping(&self) -> bool {
        matches!(self.end.get(), Some(End::Stopping | End::Retiring))
    }

    /// Polls something of the connection, which fails once the connection has to end.
    pub(crate) fn poll<T>(
        &self,
        context: &mut Context<'_>,
        mut attempt: impl FnMut(&mut Context<'_>) -> Poll<io::Result<T>>,
    ) -> Poll<io::Result<T>> {
        match self.end.get() {
            Some(End::Late) => return Poll::Ready(Err(io::ErrorKind::TimedOut.into())),
            Some(End::Stopping) if self.idle.get() => return Poll::Ready(Err(io::ErrorKind::ConnectionAborted.into())),
            _ => {}
        }
        let polled = attempt(context);
        if polled.is_pending() {
            self.watch(context);
        }
        polled
    }

    /// Polls something that is ours to do; `None` once the time is over, and it is still not done. The client has not been late in any case.
    pub(crate) fn poll_in_time<T>(
        &self,
        context: &mut Context<'_>,
        attempt: impl FnOnce(&mut Context<'_>) -> Poll<T>,
    ) -> Poll<Option<T>> {
        let done = match attempt(context) {
            Poll::Ready(done) => Some(done),
            Poll::Pending if self.end.get() == Some(End::Late) => None,
            Poll::Pending => {
                self.watch(context);
                return Poll::Pending;
            }
        };
        self.forgive();
        Poll::Ready(done)
    }

    /// Has the end of the time wake this task.
    fn watch(&self, context: &Context<'_>) {
        let mut waker = self.waker.borrow_mut();
        match &*waker {
            Some(known) if known.will_wake(context.waker()) => {}
            _ => *waker = Some(context.waker().clone()),
        }
    }

    /// Has whoever polls it look again.
    pub(crate) fn wake(&self) {
        if let Some(waker) = self.waker.borrow_mut().take() {
            waker.wake();
        }
    }

    /// Ends the connection after the request it is at.
    pub(crate) fn stop(&self) {
        if self.end.get() != Some(End::Late) {
            self.finish(End::Stopping);
        }
    }

    fn finish(&self, end: End) {
        self.end.set(Some(end));
        self.wake();
    }
}

/// The connections of a worker.
#[derive(Default)]
pub(crate) struct Pulses(RefCell<Slab<Rc<Pulse>>>);

impl Pulses {
    /// A connection begins.
    pub(crate) fn begin(self: &Rc<Self>) -> Beat {
        let pulse = Rc::new(Pulse::new());
        let key = self.0.borrow_mut().insert(Rc::clone(&pulse));
        Beat { pulse, key, pulses: Rc::clone(self) }
    }

    /// Connections open.
    pub(crate) fn len(&self) -> usize {
        self.0.borrow().len()
    }

    /// Ends those whose deadline has passed; says how many.
    pub(crate) fn expire(&self, now: Tick) -> usize {
        let mut late = 0;
        for (_, pulse) in self.0.borrow().iter() {
            if pulse.deadline.get() < now && pulse.end.get() != Some(End::Late) {
                pulse.finish(End::Late);
                late += 1;
            }
        }
        late
    }

    /// Ends every connection, each after the request it is at or the next one.
    pub(crate) fn retire(&self) {
        for (_, pulse) in self.0.borrow().iter().filter(|(_, pulse)| pulse.end.get().is_none()) {
            pulse.finish(End::Retiring);
        }
    }

    /// Ends every connection, each after the request it is at.
    pub(crate) fn stop(&self) {
        self.0.borrow().iter().for_each(|(_, pulse)| pulse.stop());
    }

    /// Ends every connection now.
    pub(crate) fn kill(&self) {
        self.0.borrow().iter().for_each(|(_, pulse)| pulse.finish(End::Late));
    }
}

/// A connection among those of its worker; dropped, it has ended.
pub(crate) struct Beat {
    pub(crate) pulse: Rc<Pulse>,
    key: usize,
    pulses: Rc<Pulses>,
}

impl Drop for Beat {
    fn drop(&mut self) {
        self.pulses.0.borrow_mut().try_remove(self.key);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(seconds: u64) -> Tick {
        Tick::at(Duration::from_secs(seconds))
    }

    fn poll(pulse: &Pulse) -> Poll<Result<(), io::ErrorKind>> {
        let mut context = Context::from_waker(Waker::noop());
        pulse.poll(&mut context, |_| Poll::<io::Result<()>>::Pending).map_err(|error| error.kind())
    }

    const TEN: Duration = Duration::from_secs(10);

    /// How long a body lasts of which so many bytes come each second, at 1000 a second at least; at most a day.
    fn lasts(each: usize) -> u64 {
        let pulses = Rc::new(Pulses::default());
        let beat = pulses.begin();
        beat.pulse.allow(at(0), TEN);
        let late = |second: &u64| {
            beat.pulse.earn(each, 1_000, at(*second), TEN);
            pulses.expire(at(*second)) > 0
        };
        (1..86_400).find(late).unwrap_or(86_400)
    }

    #[test]
    fn a_body_at_the_least_rate_lives_and_a_slower_one_dies() {
        assert_eq!([1_000, 1_001, 1 << 30].map(lasts), [86_400; 3]);
        assert_eq!([0, 1, 500, 900].map(lasts), [11, 11, 21, 101]);
    }

    #[test]
    fn much_at_once_buys_no_long_silence() {
        let pulses = Rc::new(Pulses::default());
        let beat = pulses.begin();
        beat.pulse.allow(at(0), TEN);
        beat.pulse.earn(1 << 30, 1_000, at(5), TEN);
        assert_eq!(pulses.expire(at(15)), 0);
        assert_eq!(poll(&beat.pulse), Poll::Pending);
        assert_eq!((pulses.expire(at(16)), pulses.expire(at(16))), (1, 0));
        assert_eq!(poll(&beat.pulse), Poll::Ready(Err(io::ErrorKind::TimedOut)));
        beat.pulse.forgive();
        beat.pulse.earn(1, 1_000, at(20), TEN);
        assert_eq!(pulses.expire(at(1 << 20)), 0, "who has no deadline earns none");
    }

    #[test]
    fn what_is_done_when_its_time_ends_is_still_taken() {
        let pulses = Rc::new(Pulses::default());
        let beat = pulses.begin();
        let mut context = Context::from_waker(Waker::noop());
        let mut poll = |attempt: Poll<u8>| beat.pulse.poll_in_time(&mut context, |_| attempt);
        beat.pulse.allow(at(0), TEN);
        assert_eq!(poll(Poll::Pending), Poll::Pending);
        assert_eq!(pulses.expire(at(11)), 1);
        assert_eq!(poll(Poll::Ready(7)), Poll::Ready(Some(7)));
        beat.pulse.allow(at(11), TEN);
        assert_eq!(pulses.expire(at(22)), 1);
        assert_eq!(poll(Poll::Pending), Poll::Ready(None));
        assert_eq!(self::poll(&beat.pulse), Poll::Pending, "there is time for another answer");
    }

    #[test]
    fn a_stop_ends_idle_connections_at_once_and_others_after_their_request() {
        let pulses = Rc::new(Pulses::default());
        let (idle, busy) = (pulses.begin(), pulses.begin());
        idle.pulse.set_idle(true);
        pulses.stop();
        assert_eq!(poll(&idle.pulse), Poll::Ready(Err(io::ErrorKind::ConnectionAborted)));
        assert_eq!(poll(&busy.pulse), Poll::Pending);
        assert!(busy.pulse.is_stopping());
        drop(idle);
        assert_eq!(pulses.len(), 1);
        pulses.kill();
        assert_eq!(poll(&busy.pulse), Poll::Ready(Err(io::ErrorKind::TimedOut)));
    }
}
