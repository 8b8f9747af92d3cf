//! Threads that run queries one after the other, as many as are needed and may be, and a queue before them.

use std::collections::VecDeque;
use std::future::Future;
use std::sync::Arc;
use std::time::{Duration, Instant};

use parking_lot::{Condvar, Mutex};
use rusqlite::InterruptHandle;
use tokio::sync::oneshot;

use super::session::{Opening, Role, Session};
use crate::sql::error::QueryError;
use crate::sql::metrics::{Counted, PoolCells};

/// How many threads there are, and how long they have patience.
#[derive(Debug, Clone, Copy)]
pub(super) struct Size {
    /// At most.
    pub(super) most: usize,
    /// Those that stay.
    pub(super) least: usize,
    /// How long others stay without work.
    pub(super) idle_timeout: Duration,
    /// How long a connection is used.
    pub(super) max_lifetime: Duration,
    /// Work that may wait.
    pub(super) queue: usize,
    /// How long it may wait.
    pub(super) connect_timeout: Duration,
    /// How long it may take.
    pub(super) query_timeout: Duration,
}

/// The threads and their queue.
#[derive(Debug)]
pub(super) struct Lane {
    shared: Arc<Shared>,
}

#[derive(Debug)]
struct Shared {
    opening: Opening,
    size: Size,
    cells: PoolCells,
    state: Mutex<State>,
    wake: Condvar,
}

#[derive(Debug, Default)]
struct State {
    queue: VecDeque<Job>,
    threads: usize,
    /// Threads that have work.
    busy: usize,
    closed: bool,
}

/// What a thread does; with an error where it has no connection. It says when the thread is free again.
/// How long a change may take to stop, until it is told again.
const STOP: Duration = Duration::from_millis(50);

type Work = Box<dyn FnOnce(Result<&mut Session, QueryError>, Busy) + Send>;

struct Job {
    ticket: Arc<Ticket>,
    work: Work,
    /// Told when it begins.
    begun: oneshot::Sender<()>,
    waiting: Counted,
    since: Instant,
}

impl std::fmt::Debug for Job {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Job").field("since", &self.since).finish_non_exhaustive()
    }
}

/// How far a job is. Whoever gave it can stop it at any time, and nothing but it.
#[derive(Default)]
struct Ticket(Mutex<Stage>);

#[derive(Default)]
enum Stage {
    #[default]
    Waiting,
    Running(InterruptHandle),
    Over,
}

impl Ticket {
    /// Begins; false where nobody wants it any more.
    fn begin(&self, handle: InterruptHandle) -> bool {
        let mut stage = self.0.lock();
        let wanted = matches!(*stage, Stage::Waiting);
        if wanted {
            *stage = Stage::Running(handle);
        }
        wanted
    }

    fn end(&self) {
        *self.0.lock() = Stage::Over;
    }
}

/// Stops a job when whoever gave it goes.
struct Wanted {
    ticket: Arc<Ticket>,
    shared: Arc<Shared>,
}

impl Wanted {
    /// Has it stopped where it is. Between two statements nothing is.
    fn stop(&self) {
        if let Stage::Running(handle) = &*self.ticket.0.lock() {
            handle.interrupt();
        }
    }
}

impl Drop for Wanted {
    fn drop(&mut self) {
        let mut stage = self.ticket.0.lock();
        match std::mem::replace(&mut *stage, Stage::Over) {
            // The lock is held: the connection runs this job and no other.
            Stage::Running(handle) => {
                handle.interrupt();
                self.shared.opening.metrics.stopped.inc();
            }
            Stage::Waiting => {
                drop(stage);
                self.shared.state.lock().queue.retain(|job| !Arc::ptr_eq(&job.ticket, &self.ticket));
            }
            Stage::Over => {}
        }
    }
}

impl Lane {
    /// Starts the threads that are always there.
    pub(super) fn new(opening: Opening, size: Size, cells: PoolCells) -> Self {
        let shared = Shared { opening, size, cells, state: Mutex::default(), wake: Condvar::new() };
        let lane = Self { shared: Arc::new(shared) };
        let mut state = lane.shared.state.lock();
        while state.threads < size.least && lane.shared.start(&mut state) {}
        drop(state);
        lane
    }

    /// Has a thread do something, and comes back with what came of it.
    pub(super) async fn run<T: Send + 'static>(
        &self,
        work: impl FnOnce(&mut Session) -> Result<T, QueryError> + Send + 'static,
    ) -> Result<T, QueryError> {
        self.push(work, false)?.await
    }

    /// The same, unless it would have to wait for something else.
    pub(super) fn run_if_free<T: Send + 'static>(
        &self,
        work: impl FnOnce(&mut Session) -> Result<T, QueryError> + Send + 'static,
    ) -> Option<impl Future<Output = Result<T, QueryError>> + Send> {
        self.push(work, true).ok()
    }

    fn push<T, W>(
        &self,
        work: W,
        only_if_free: bool,
    ) -> Result<impl Future<Output = Result<T, QueryError>> + Send + use<T, W>, QueryError>
    where
        T: Send + 'static,
        W: FnOnce(&mut Session) -> Result<T, QueryError> + Send + 'static,
    {
        let shared = &self.shared;
        let (begun, begins) = oneshot::channel();
        let (done, comes) = oneshot::channel();
        let ticket = Arc::<Ticket>::default();
        let own = Arc::clone(&ticket);
        let work: Work = Box::new(move |session, busy| {
            let outcome = session.and_then(work);
            own.end();
            // Whoever gets the answer finds the thread free.
            drop(busy);
            // Nobody may want it any more.
            let _ = done.send(outcome);
        });
        let waiting = Counted::new(&shared.cells.waiting);
        let job = Job { ticket: Arc::clone(&ticket), work, begun, waiting, since: Instant::now() };
        let mut state = shared.state.lock();
        // Threads that are free or can still be started take some of it at once.
        let free = shared.size.most.saturating_sub(state.busy);
        let limit = if only_if_free { free } else { free.saturating_add(shared.size.queue) };
        if state.queue.len() >= limit {
            return Err(QueryError::Full);
        }
        state.queue.push_back(job);
        if state.threads < state.busy + state.queue.len() && state.threads < shared.size.most {
            shared.start(&mut state);
        }
        drop(state);
        shared.wake.notify_one();
        let wanted = Wanted { ticket, shared: Arc::clone(shared) };
        let Size { connect_timeout, query_timeout, .. } = shared.size;
        Ok(async move {
            if tokio::time::timeout(connect_timeout, begins).await.is_err() {
                return Err(QueryError::Busy);
            }
            let mut comes = std::pin::pin!(comes);
            let in_time = tokio::time::timeout(query_timeout, &mut comes).await;
            if let Ok(outcome) = in_time {
                return outcome.unwrap_or(Err(QueryError::Failed));
            }
            if wanted.shared.opening.role == Role::Writer {
                wanted.shared.opening.metrics.stopped.inc();
                // It may be past stopping, and then it is made: whoever has to forget has to know.
                loop {
                    wanted.stop();
                    if let Ok(outcome) = tokio::time::timeout(STOP, &mut comes).await {
                        return outcome.unwrap_or(Err(QueryError::Failed)).map_err(|_| QueryError::Timeout);
                    }
                }
            }
            Err(QueryError::Timeout)
        })
    }
}

impl Drop for Lane {
    fn drop(&mut self) {
        self.shared.state.lock().closed = true;
        self.shared.wake.notify_all();
    }
}

impl Shared {
    /// Starts a thread; false where the system has none to give.
    fn start(self: &Arc<Self>, state: &mut State) -> bool {
        let shared = Arc::clone(self);
        let started = std::thread::Builder::new().name("sqlite".to_owned()).spawn(move || shared.serve());
        match started {
            Ok(_) => {
                state.threads += 1;
                true
            }
            Err(error) => {
                let database = self.opening.database.as_str();
                tracing::error!(database, %error, "cannot start a thread for queries");
                false
            }
        }
    }

    fn serve(self: Arc<Self>) {
        let leaving = Leaving(Arc::clone(&self));
        let mut session: Option<Session> = None;
        if self.size.least > 0 {
            session = self.open().ok();
        }
        while let Some(job) = self.next(session.is_some()) {
            let busy = Busy(Arc::clone(&self));
            let Job { ticket, work, begun, waiting, since } = job;
            drop(waiting);
            let now = Instant::now();
            if session.as_mut().is_some_and(|session| session.is_outdated(now, self.size.max_lifetime)) {
                session = None;
            }
            let opened = match &mut session {
                Some(session) => Ok(session),
                none => self.open().map(|opened| none.insert(opened)),
            };
            match opened {
                Ok(session) => {
                    if !ticket.begin(session.interrupt_handle()) {
                        continue;
                    }
                    let _used = Counted::new(&self.cells.used);
                    // Whoever waits for that may be gone.
                    let _ = begun.send(());
                    self.opening.metrics.wait_time.record(now.duration_since(since));
                    work(Ok(session), busy);
                }
                Err(error) => work(Err(error), busy),
            }
        }
        drop(leaving);
    }

    /// The next job; `None` where the thread is needed no longer.
    fn next(&self, has_session: bool) -> Option<Job> {
        let mut state = self.state.lock();
        loop {
            if let Some(job) = state.queue.pop_front() {
                state.busy += 1;
                return Some(job);
            }
            if state.closed {
                return None;
            }
            let _idle = has_session.then(|| Counted::new(&self.cells.idle));
            let stays = state.threads <= self.size.least;
            let timed_out = match Instant::now().checked_add(self.size.idle_timeout).filter(|_| !stays) {
                Some(until) => self.wake.wait_until(&mut state, until).timed_out(),
                None => {
                    self.wake.wait(&mut state);
                    false
                }
            };
            if timed_out && state.queue.is_empty() && state.threads > self.size.least {
                return None;
            }
        }
    }

    fn open(&self) -> Result<Session, QueryError> {
        match Session::open(&self.opening) {
            Ok(session) => {
                self.cells.opened.inc();
                Ok(session)
            }
            Err(error) => {
                self.cells.unreachable.inc();
                let (database, file) = (self.opening.database.as_str(), self.opening.path.display());
                tracing::warn!(database, %file, %error, "cannot open the database");
                Err(QueryError::Unopened)
            }
        }
    }
}

/// Work of a thread, which [`next`](Shared::next) has counted; however it ends, it is none any more then.
struct Busy(Arc<Shared>);

impl Drop for Busy {
    fn drop(&mut self) {
        self.0.state.lock().busy -= 1;
    }
}

/// Counts a thread out, however it ends.
struct Leaving(Arc<Shared>);

impl Drop for Leaving {
    fn drop(&mut self) {
        let mut state = self.0.state.lock();
        state.threads -= 1;
        // A thread that has panicked leaves work behind.
        if std::thread::panicking() && !state.queue.is_empty() && state.threads == state.busy && !state.closed {
            self.0.start(&mut state);
        }
    }
}
