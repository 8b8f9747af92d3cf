//! SQLite for what is queried: one writer on its own thread, a small pool of readers, each behind a bounded queue.
//!
//! * `metrics`   what it measures of itself
//! * `options`   the pragmas, typed
//! * `migration` numbered steps per component, applied once
//! * [`maintenance`] whether a file is sound, and what it can give back
//! * `reply`     the answer of a job, to wait for or to await
//!
//! Nothing here knows of an async runtime: a [`Reply`] is a plain future.

pub mod maintenance;
mod metrics;
mod migration;
mod options;
mod reply;

#[cfg(test)]
mod tests;

use std::collections::VecDeque;
use std::fmt;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use parking_lot::{Condvar, Mutex};
use rusqlite::{Connection, ErrorCode};

pub use metrics::{DatabaseMetrics, Side};
pub use migration::Migrations;
pub use options::{DatabaseOptions, JournalMode, Synchronous};
pub use reply::Reply;

use crate::file::create_private;

/// Why the database did not do what it was asked to.
#[derive(Debug, thiserror::Error)]
pub enum DatabaseError {
    /// SQLite refused.
    #[error("{path}: {source}{}", advice(.source))]
    Sqlite {
        /// The database file.
        path: PathBuf,
        /// What SQLite said.
        source: rusqlite::Error,
    },
    /// An option that cannot work.
    #[error("store.sqlite: {option} is {got}: expected {expected}")]
    Option {
        /// The option's name.
        option: &'static str,
        /// What it was set to.
        got: String,
        /// What it may be.
        expected: &'static str,
    },
    /// SQLite does not do what a pragma asks for on this file.
    #[error(
        "{path}: journal_mode {wanted} is not possible here, SQLite stays at {got}: choose another journal_mode or a local file system"
    )]
    JournalMode {
        /// The database file.
        path: PathBuf,
        /// The mode asked for.
        wanted: &'static str,
        /// The mode it has.
        got: String,
    },
    /// The database was written by a later version, or its migrations were changed.
    #[error("{path}: migration {step} of {component} is {fault}: run the version of Outwork that wrote this database")]
    Migration {
        /// The database file.
        path: PathBuf,
        /// Whose tables.
        component: String,
        /// The step, counted from 1.
        step: usize,
        /// What is wrong with it.
        fault: &'static str,
    },
    /// The operating system refused.
    #[error("cannot {action} {path}: {source}")]
    Io {
        /// What was tried.
        action: &'static str,
        /// On what.
        path: PathBuf,
        /// What the system said.
        source: std::io::Error,
    },
    /// Too many jobs wait already.
    #[error("{limit} database jobs wait already: the database is overloaded, try again later")]
    Busy {
        /// The limit, `queue`.
        limit: usize,
    },
    /// The database has been closed, or the job panicked.
    #[error("the database was closed before the job was done, or the job panicked")]
    Canceled,
}

fn advice(error: &rusqlite::Error) -> &'static str {
    match error.sqlite_error_code() {
        Some(ErrorCode::DatabaseCorrupt) => {
            ": the file is damaged; restore it from a backup, or recover it with `sqlite3 FILE .recover`, or move it away: the next start makes a new one. It holds tokens, the audit log and the history; leases are not in it"
        }
        Some(ErrorCode::NotADatabase) => {
            ": this is no SQLite database, or its head is damaged; restore it from a backup, or move it away: the next start makes a new one. It holds tokens, the audit log and the history; leases are not in it"
        }
        Some(ErrorCode::DiskFull) => ": free space on this file system",
        Some(ErrorCode::ReadOnly) => ": make the file and its directory writable for the user Outwork runs as",
        Some(ErrorCode::CannotOpen) => ": check that the directory exists and is writable for the user Outwork runs as",
        Some(ErrorCode::DatabaseBusy | ErrorCode::DatabaseLocked) => ": another process holds the database",
        _ => "",
    }
}

/// An open database. Dropping it does what waits, then closes it.
pub struct Database {
    path: Arc<Path>,
    writer: Arc<JobQueue>,
    readers: Arc<JobQueue>,
    metrics: Arc<DatabaseMetrics>,
    /// Each gives its connection back at its end; the writer's is the first.
    threads: Mutex<Vec<JoinHandle<Connection>>>,
}

impl Database {
    /// Opens or creates the database: pragmas, then the migrations of the store's own tables, then `migrations`.
    pub fn open(options: &DatabaseOptions, migrations: &[Migrations]) -> Result<Self, DatabaseError> {
        let own = [crate::audit::MIGRATIONS, crate::tokens::MIGRATIONS, crate::history::MIGRATIONS];
        Self::open_apart(options, &[&own[..], migrations].concat())
    }

    /// Opens or creates a database that has the tables of `migrations` and no others.
    pub fn open_apart(options: &DatabaseOptions, migrations: &[Migrations]) -> Result<Self, DatabaseError> {
        options.check()?;
        if let Some(dir) = options.path.parent().filter(|dir| !dir.as_os_str().is_empty()) {
            let failed = |source| DatabaseError::Io { action: "create", path: dir.to_owned(), source };
            std::fs::create_dir_all(dir).map_err(failed)?;
        }
        // SQLite would leave the mode to the umask; its write-ahead log and shared memory get the mode of this file.
        match create_private(&options.path) {
            Err(source) if source.kind() != std::io::ErrorKind::AlreadyExists => {
                return Err(DatabaseError::Io { action: "create", path: options.path.clone(), source });
            }
            _ => {}
        }
        let mut connection = options.connect_writer()?;
        for migrations in migrations {
            migrations.apply(&options.path, &mut connection)?;
        }
        let metrics = Arc::new(DatabaseMetrics::default());
        let queue = |side| Arc::new(JobQueue::new(side, options.queue, Arc::clone(&metrics)));
        let database = Self {
            path: options.path.as_path().into(),
            writer: queue(Side::Write),
            readers: queue(Side::Read),
            metrics: Arc::clone(&metrics),
            threads: Mutex::default(),
        };
        database.spawn("sqlite-write", &database.writer, connection)?;
        for _ in 0..options.readers {
            database.spawn("sqlite-read", &database.readers, options.connect_reader()?)?;
        }
        Ok(database)
    }

    fn spawn(&self, name: &str, queue: &Arc<JobQueue>, mut connection: Connection) -> Result<(), DatabaseError> {
        let queue = Arc::clone(queue);
        let work = move || {
            queue.work(&mut connection);
            connection
        };
        let failed = |source| DatabaseError::Io { action: "start a thread for", path: self.path.to_path_buf(), source };
        let thread = std::thread::Builder::new().name(name.to_owned()).spawn(work).map_err(failed)?;
        self.threads.lock().push(thread);
        Ok(())
    }

    /// Runs `job` on the writer's connection, after those before it. What must be atomic opens a transaction.
    pub fn call<T, F>(&self, job: F) -> Reply<T>
    where
        T: Send + 'static,
        F: FnOnce(&mut Connection) -> rusqlite::Result<T> + Send + 'static,
    {
        self.submit(&self.writer, job)
    }

    /// Runs `job` on one of the readers' connections, which cannot change anything.
    pub fn read<T, F>(&self, job: F) -> Reply<T>
    where
        T: Send + 'static,
        F: FnOnce(&Connection) -> rusqlite::Result<T> + Send + 'static,
    {
        self.submit(&self.readers, |connection| job(connection))
    }

    fn submit<T, F>(&self, queue: &JobQueue, job: F) -> Reply<T>
    where
        T: Send + 'static,
        F: FnOnce(&mut Connection) -> rusqlite::Result<T> + Send + 'static,
    {
        let (sender, reply) = reply::pair();
        let path = Arc::clone(&self.path);
        let run = move |connection: &mut Connection| {
            let result = job(connection);
            sender.send(result.map_err(|source| DatabaseError::Sqlite { path: path.to_path_buf(), source }));
        };
        match queue.push(Box::new(run)) {
            Ok(()) => reply,
            Err(error) => Reply::failed(error),
        }
    }

    /// What it measures of itself, to be registered.
    pub fn metrics(&self) -> &Arc<DatabaseMetrics> {
        &self.metrics
    }

    /// Does what waits and ends the threads; later jobs are refused.
    pub fn close(&self) {
        self.writer.close();
        self.readers.close();
        let own = std::thread::current().id();
        // The writer's connection is closed last: the last one brings the write-ahead log into the file, which readers may not, and none does where two go at once.
        for thread in std::mem::take(&mut *self.threads.lock()).into_iter().rev() {
            // The last owner may be a job: its thread ends by itself.
            if thread.thread().id() != own && thread.join().is_err() {
                tracing::error!("a database thread has panicked");
            }
        }
    }
}

impl Drop for Database {
    fn drop(&mut self) {
        self.close();
    }
}

impl fmt::Debug for Database {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Database").field("path", &self.path).finish_non_exhaustive()
    }
}

type Job = Box<dyn FnOnce(&mut Connection) + Send>;

/// Jobs for the threads of one kind.
struct JobQueue {
    jobs: Mutex<Jobs>,
    wake: Condvar,
    limit: usize,
    side: Side,
    metrics: Arc<DatabaseMetrics>,
}

#[derive(Default)]
struct Jobs {
    waiting: VecDeque<Job>,
    closed: bool,
}

impl JobQueue {
    fn new(side: Side, limit: usize, metrics: Arc<DatabaseMetrics>) -> Self {
        Self { jobs: Mutex::default(), wake: Condvar::new(), limit, side, metrics }
    }

    fn push(&self, job: Job) -> Result<(), DatabaseError> {
        let mut jobs = self.jobs.lock();
        if jobs.closed {
            return Err(DatabaseError::Canceled);
        }
        if jobs.waiting.len() >= self.limit {
            self.metrics.refused.of(self.side).inc();
            return Err(DatabaseError::Busy { limit: self.limit });
        }
        jobs.waiting.push_back(job);
        self.metrics.waiting.of(self.side).inc();
        drop(jobs);
        self.wake.notify_one();
        Ok(())
    }

    fn close(&self) {
        self.jobs.lock().closed = true;
        self.wake.notify_all();
    }

    fn work(&self, connection: &mut Connection) {
        let (busy, time) = (self.metrics.busy.of(self.side), self.metrics.query_time.of(self.side));
        while let Some(job) = self.next() {
            busy.inc();
            let started = Instant::now();
            if catch_unwind(AssertUnwindSafe(|| job(connection))).is_err() {
                self.metrics.panics.of(self.side).inc();
                tracing::error!("a database job has panicked; whoever waited for it is told so");
            }
            // A transaction that a job left open must not take in the next one's changes.
            if !connection.is_autocommit()
                && let Err(error) = connection.execute_batch("ROLLBACK")
            {
                tracing::error!(%error, "a transaction left open by a job cannot be rolled back");
            }
            time.record(started.elapsed());
            self.metrics.queries.of(self.side).inc();
            busy.dec();
        }
    }

    /// The next job; `None` once closed and empty.
    fn next(&self) -> Option<Job> {
        let mut jobs = self.jobs.lock();
        loop {
            if let Some(job) = jobs.waiting.pop_front() {
                self.metrics.waiting.of(self.side).dec();
                return Some(job);
            }
            if jobs.closed {
                return None;
            }
            self.wake.wait(&mut jobs);
        }
    }
}

/// Milliseconds since 1970, as tables store them.
pub fn millis(time: SystemTime) -> i64 {
    match time.duration_since(UNIX_EPOCH) {
        Ok(since) => i64::try_from(since.as_millis()).unwrap_or(i64::MAX),
        Err(before) => i64::try_from(before.duration().as_millis()).map_or(i64::MIN, |millis| -millis),
    }
}

/// The time of a stored number of milliseconds.
pub fn time(millis: i64) -> SystemTime {
    let distance = Duration::from_millis(millis.unsigned_abs());
    let time = if millis < 0 { UNIX_EPOCH.checked_sub(distance) } else { UNIX_EPOCH.checked_add(distance) };
    time.unwrap_or(UNIX_EPOCH)
}
