//! PostgreSQL: a pool of connections, which threads of their own speak for.
//!
//! - [`connection`]: one connection: opened, asked, told to stop.
//! - [`decode`]: values as PostgreSQL sends them.
//! - [`listen`]: what it tells of tables that have changed.
//! - [`tls`]: connections that are encrypted.

mod connection;
mod decode;
mod listen;
mod tls;

use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Weak};
use std::time::{Duration, Instant};

use parking_lot::Mutex;
use tokio::runtime::Handle;
use tokio::sync::{OwnedSemaphorePermit, Semaphore, oneshot};
use tokio::task::JoinHandle;

use super::Shared;
use super::address::Server;
use super::config::Database;
use super::error::QueryError;
use super::metrics::{Counted, PoolCells, SqlMetrics};
use super::parameter::Value;
use super::query::Prepared;
use super::render::Form;
use super::source::Output;
use connection::{Connection, Opening, Stop};

/// A database of PostgreSQL's.
#[derive(Debug)]
pub(super) struct Postgres {
    pool: Arc<Pool>,
    runtime: Handle,
    /// What goes on beside requests.
    tasks: Vec<JoinHandle<()>>,
}

/// The connections.
#[derive(Debug)]
struct Pool {
    opening: Opening,
    size: usize,
    min_idle: usize,
    max_lifetime: Duration,
    idle_timeout: Duration,
    connect_timeout: Duration,
    query_timeout: Duration,
    queue: usize,
    /// One for each connection that may be in use.
    permits: Arc<Semaphore>,
    waiting: AtomicUsize,
    /// Connections that nobody uses, the last one used last.
    idle: Mutex<Vec<Resting>>,
    /// Whether the server could not be reached the last time.
    down: AtomicBool,
    cells: PoolCells,
    metrics: Arc<SqlMetrics>,
}

#[derive(Debug)]
struct Resting {
    connection: Connection,
    since: Instant,
    /// When it was last known to work.
    asked: Instant,
    _counted: Counted,
}

/// A connection in use.
struct Held {
    connection: Connection,
    /// Whether it was used before, and may have died since.
    reused: bool,
    _permit: OwnedSemaphorePermit,
    _used: Counted,
}

/// Has a server prepare statements, and gives what it says of those that it does not take, by their numbers.
///
/// # Errors
/// Why it cannot be asked.
pub(super) async fn examine(
    name: &str,
    server: &Server,
    settings: &Database,
    runtime: &Handle,
    statements: &[(usize, &str)],
) -> Result<Vec<(usize, String)>, String> {
    let opened = Opening::new(name, server, settings, runtime)?.open().await;
    let connection = opened.map_err(|error| error.to_string())?;
    let mut refused = Vec::new();
    for (index, sql) in statements {
        refused.extend(connection.refuses(sql).await?.map(|why| (*index, why)));
    }
    Ok(refused)
}

impl Postgres {
    /// A pool for this server.
    ///
    /// # Errors
    /// When certificates or threads cannot be had.
    pub(super) fn new(name: &str, server: &Server, settings: &Database, shared: &Arc<Shared>) -> Result<Self, String> {
        let runtime = shared.runtime()?;
        let opening = Opening::new(name, server, settings, &runtime)?;
        let pool = Arc::new(Pool {
            opening,
            size: settings.pool_size.into(),
            min_idle: settings.min_idle.into(),
            max_lifetime: settings.max_lifetime,
            idle_timeout: settings.idle_timeout,
            connect_timeout: settings.connect_timeout,
            query_timeout: settings.query_timeout,
            queue: settings.queue as usize,
            permits: Arc::new(Semaphore::new(settings.pool_size.into())),
            waiting: AtomicUsize::new(0),
            idle: Mutex::default(),
            down: AtomicBool::new(false),
            cells: PoolCells::new(&shared.metrics, name),
            metrics: Arc::clone(&shared.metrics),
        });
        let mut tasks = vec![runtime.spawn(keep(Arc::downgrade(&pool), settings.health_check))];
        if let Some(channel) = &settings.listen {
            let asking = listen::Asking { interval: settings.health_check, patience: settings.connect_timeout };
            let told = listen::run(pool.opening.clone(), channel.clone(), asking, Arc::downgrade(shared));
            tasks.push(runtime.spawn(told));
        }
        Ok(Self { pool, runtime, tasks })
    }

    /// Runs a query.
    ///
    /// # Errors
    /// Why it has no answer.
    pub(super) async fn run(
        &self,
        query: &Arc<Prepared>,
        values: Vec<Value>,
        form: Form,
    ) -> Result<Output, QueryError> {
        let (mut done, comes) = oneshot::channel();
        let (pool, query) = (Arc::clone(&self.pool), Arc::clone(query));
        self.runtime.spawn(async move {
            let outcome = pool.run(&query, &values, form, &mut done).await;
            // Nobody may want it any more.
            let _ = done.send(outcome);
        });
        comes.await.unwrap_or(Err(QueryError::Failed))
    }
}

impl Drop for Postgres {
    fn drop(&mut self) {
        self.tasks.iter().for_each(JoinHandle::abort);
    }
}

type Done = oneshot::Sender<Result<Output, QueryError>>;

impl Pool {
    async fn run(&self, query: &Prepared, values: &[Value], form: Form, done: &mut Done) -> Result<Output, QueryError> {
        let since = Instant::now();
        let mut held = tokio::select! {
            held = self.acquire() => held?,
            () = done.closed() => return Err(QueryError::Unreachable),
        };
        // A connection may have died while it rested. What only reads is asked again then; what changes something must not be.
        if query.write && held.reused {
            let works = tokio::time::timeout(self.connect_timeout, held.connection.works()).await;
            if works != Ok(true) {
                held = self.anew(held).await?;
            }
        }
        self.metrics.wait_time.record(since.elapsed());
        let begun = Instant::now();
        let mut outcome = self.ask(&mut held, query, values, form, done).await;
        let is_dead = matches!(outcome, Err(QueryError::Unreachable)) && held.connection.is_closed();
        if is_dead && held.reused && !query.write {
            held = self.anew(held).await?;
            outcome = self.ask(&mut held, query, values, form, done).await;
        }
        self.metrics.query_time.record(begun.elapsed());
        self.put_back(held);
        outcome
    }

    /// Another connection in the place of one that has died, as those that rest have, most likely.
    async fn anew(&self, dead: Held) -> Result<Held, QueryError> {
        drop(dead);
        self.idle.lock().clear();
        self.acquire().await
    }

    /// Asks one connection, and has the server stop when it takes too long or nobody wants the answer any more.
    async fn ask(
        &self,
        held: &mut Held,
        query: &Prepared,
        values: &[Value],
        form: Form,
        done: &mut Done,
    ) -> Result<Output, QueryError> {
        let stop = held.connection.stop();
        let finished = {
            let asked = held.connection.run(query, values, form, &self.metrics);
            tokio::pin!(asked);
            let finished = tokio::select! {
                outcome = &mut asked => Some(outcome),
                () = tokio::time::sleep(self.query_timeout) => None,
                () = done.closed() => None,
            };
            match finished {
                // More rows are on their way, and nobody reads them.
                Some(Err(QueryError::TooLarge)) => {
                    self.stop(stop).await;
                    Err(QueryError::TooLarge)
                }
                Some(Err(QueryError::Unreachable)) if query.write => return Err(QueryError::Unsettled),
                Some(outcome) => return outcome,
                None => {
                    self.stop(stop).await;
                    match query.write {
                        false => Err(QueryError::Timeout),
                        // It may be past stopping, and then it is made: whoever has to forget has to know.
                        true => match tokio::time::timeout(STOP, asked).await {
                            Ok(Err(QueryError::Unreachable)) | Err(_) => Err(QueryError::Unsettled),
                            Ok(outcome) => outcome,
                        },
                    }
                }
            }
        };
        // What stops this query might stop the next one on this connection, too.
        held.connection.give_up();
        finished
    }

    /// Tells the server to stop what a connection is at.
    async fn stop(&self, stop: Stop) {
        self.metrics.stopped.inc();
        if tokio::time::timeout(STOP, stop.send()).await.is_err() {
            tracing::debug!(database = self.opening.name(), "PostgreSQL could not be told to stop a query in time");
        }
    }

    /// A connection: one that rests, or a new one.
    async fn acquire(&self) -> Result<Held, QueryError> {
        let deadline = tokio::time::Instant::now() + self.connect_timeout;
        let permit = match Arc::clone(&self.permits).try_acquire_owned() {
            Ok(permit) => permit,
            Err(_) => self.wait(deadline).await?,
        };
        let used = Counted::new(&self.cells.used);
        let now = Instant::now();
        while let Some(Resting { connection, .. }) = self.pop() {
            if !connection.is_closed() && now.duration_since(connection.opened()) < self.max_lifetime {
                return Ok(Held { connection, reused: true, _permit: permit, _used: used });
            }
        }
        let connection = match tokio::time::timeout_at(deadline, self.open()).await {
            Ok(opened) => opened?,
            Err(_) => return Err(self.unreachable("it took longer than connect_timeout")),
        };
        Ok(Held { connection, reused: false, _permit: permit, _used: used })
    }

    fn pop(&self) -> Option<Resting> {
        self.idle.lock().pop()
    }

    /// Waits until a connection may be used, if there is room to wait.
    async fn wait(&self, deadline: tokio::time::Instant) -> Result<OwnedSemaphorePermit, QueryError> {
        /// Goes, however the wait ends.
        struct Place<'a>(&'a AtomicUsize);

        impl Drop for Place<'_> {
            fn drop(&mut self) {
                self.0.fetch_sub(1, Ordering::AcqRel);
            }
        }

        if self.waiting.fetch_add(1, Ordering::AcqRel) >= self.queue {
            self.waiting.fetch_sub(1, Ordering::AcqRel);
            return Err(QueryError::Full);
        }
        let _place = Place(&self.waiting);
        let _waiting = Counted::new(&self.cells.waiting);
        match tokio::time::timeout_at(deadline, Arc::clone(&self.permits).acquire_owned()).await {
            Ok(Ok(permit)) => Ok(permit),
            _ => Err(QueryError::Busy),
        }
    }

    async fn open(&self) -> Result<Connection, QueryError> {
        match self.opening.open().await {
            Ok(connection) => {
                self.cells.opened.inc();
                if self.down.swap(false, Ordering::AcqRel) {
                    tracing::info!(database = self.opening.name(), "the database is reached again");
                }
                Ok(connection)
            }
            Err(error) => Err(self.unreachable(&error.to_string())),
        }
    }

    /// Says that the server cannot be reached, once.
    fn unreachable(&self, error: &str) -> QueryError {
        self.cells.unreachable.inc();
        if !self.down.swap(true, Ordering::AcqRel) {
            tracing::warn!(database = self.opening.name(), error, "the database cannot be reached");
        }
        QueryError::Unreachable
    }

    fn put_back(&self, held: Held) {
        let Held { connection, .. } = held;
        self.rest(connection);
    }

    fn rest(&self, connection: Connection) {
        if connection.is_closed() {
            return;
        }
        let now = Instant::now();
        let mut idle = self.idle.lock();
        if idle.len() < self.size {
            idle.push(Resting { connection, since: now, asked: now, _counted: Counted::new(&self.cells.idle) });
        }
    }

    /// Lets go of connections that are old or not needed, asks those that rest whether they work, and opens those that are to be there.
    async fn tend(&self, interval: Duration) {
        let now = Instant::now();
        {
            let mut idle = self.idle.lock();
            idle.retain(|resting| {
                !resting.connection.is_closed() && now.duration_since(resting.connection.opened()) < self.max_lifetime
            });
            // The first have rested the longest.
            while idle.len() > self.min_idle
                && idle.first().is_some_and(|resting| now.duration_since(resting.since) >= self.idle_timeout)
            {
                idle.remove(0);
            }
        }
        loop {
            // Whoever is asked must not be used meanwhile.
            let Ok(_permit) = Arc::clone(&self.permits).try_acquire_owned() else { return };
            let due = |resting: &Resting| now.duration_since(resting.asked) >= interval && resting.asked < now;
            let found = {
                let mut idle = self.idle.lock();
                idle.iter().position(due).map(|at| idle.remove(at))
            };
            let Some(mut resting) = found else { break };
            if let Ok(true) = tokio::time::timeout(self.connect_timeout, resting.connection.works()).await {
                resting.asked = Instant::now();
                let mut idle = self.idle.lock();
                let place = idle.iter().position(|other| other.since > resting.since).unwrap_or(idle.len());
                idle.insert(place, resting);
            }
        }
        loop {
            let Ok(_permit) = Arc::clone(&self.permits).try_acquire_owned() else { return };
            // This permit is one of those in use.
            let used = self.size.saturating_sub(self.permits.available_permits() + 1);
            if used + self.idle.lock().len() >= self.min_idle {
                return;
            }
            match tokio::time::timeout(self.connect_timeout, self.open()).await {
                Ok(Ok(connection)) => self.rest(connection),
                Ok(Err(_)) => return,
                Err(_) => {
                    self.unreachable("it took longer than connect_timeout");
                    return;
                }
            }
        }
    }
}

/// How long a server has to stop a query.
const STOP: Duration = Duration::from_secs(2);

/// Looks after the connections of a pool for as long as it is there.
async fn keep(pool: Weak<Pool>, interval: Duration) {
    loop {
        let Some(pool) = pool.upgrade() else { return };
        pool.tend(interval).await;
        drop(pool);
        tokio::time::sleep(interval).await;
    }
}
