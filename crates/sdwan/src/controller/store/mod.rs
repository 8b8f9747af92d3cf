//! What the controller keeps, in SQLite: one thread writes, others read.
//!
//! - [`documents`]: what the network is to be. [`changes`]: who has changed it, and what takes that back.
//! - [`health`]: what sites report.
//! - [`enrolments`]: tokens and certificates. [`claims`]: which networks a site may come with.
//! - [`retention`]: what is rolled up, and what goes in time.
//! - `tables`: the tables.
//! - [`traffic`]: what policies have carried.
//!
//! Reports share transactions: what has come while one is written goes into the next, as far as one may be long.

pub mod changes;
pub mod claims;
pub mod documents;
pub mod enrolments;
pub mod health;
pub mod retention;
mod tables;
pub mod traffic;

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime};

use outwork_store::database::maintenance::{give_back, optimize};
use outwork_store::database::{Database, DatabaseError, DatabaseOptions};
use outwork_telemetry::{Gauge, labels, metrics};
use parking_lot::Mutex;
use rusqlite::Connection;
use tokio::sync::oneshot;

use health::Note;
use retention::Aged;

/// What may wait for the writer: reports and the like, and rows of them.
const WAITING: usize = 16_384;
const ROWS_WAITING: usize = 200_000;
/// Rows that are written in one transaction, or a few more: others want to change something as well.
const ROWS_AT_ONCE: usize = 20_000;
/// Spans that are rolled up, rows that are deleted and pages that are given back in one go.
const SPANS: usize = 1;
const ROWS: u32 = 5000;
const PAGES: u32 = 500;

labels! {
    /// What the database is asked to do.
    pub enum Query as "query" {
        Documents = "documents",
        Change = "change",
        Delta = "delta",
        Report = "report",
        History = "history",
        Enrolment = "enrolment",
        Maintenance = "maintenance",
    }
}

metrics! {
    /// What the controller measures of its database.
    pub struct StoreMetrics, prefix "outwork_sdwan_db" {
        /// Time that the controller's database took for what it was asked to do, waiting apart.
        query_duration: Histogram in seconds by Query => history,
        /// Connections to the controller's database.
        connections: Gauge,
        /// Those at work.
        connections_active: Gauge => history,
        /// Reports of sites in one transaction.
        report_batch: Histogram,
        /// Reports of sites that were refused, as too many waited.
        reports_refused: Counter => history,
        /// Octets of the controller's database that hold something.
        size: Gauge in bytes => history,
        /// Rows that went before their time, as the database was larger than `max_size`.
        shed_rows: Counter => history,
    }
}

/// Why a report is not kept. It may come again.
#[derive(Debug, thiserror::Error)]
pub enum KeepError {
    /// Too much waits.
    #[error("too many reports wait already")]
    Busy,
    /// The database refused all that were to be kept with it.
    #[error("the database did not keep it")]
    Failed,
}

/// What waits, and who is to be told.
struct Waiting {
    site: String,
    note: Note,
    kept: oneshot::Sender<bool>,
}

/// What waits to be written, the first first.
#[derive(Default)]
struct Queue {
    notes: VecDeque<Waiting>,
    rows: usize,
    /// Whether somebody is at it.
    is_written: bool,
}

impl Queue {
    /// What is written at once.
    fn batch(&mut self) -> Vec<Waiting> {
        let (mut batch, mut rows) = (vec![], 0);
        while rows < ROWS_AT_ONCE
            && let Some(one) = self.notes.pop_front()
        {
            rows += one.note.rows();
            batch.push(one);
        }
        self.rows -= rows;
        batch
    }
}

/// The database of the controller.
pub struct Store {
    database: Arc<Database>,
    metrics: Arc<StoreMetrics>,
    waiting: Arc<Mutex<Queue>>,
}

impl Store {
    /// Opens or creates it.
    ///
    /// # Errors
    /// When it cannot be opened, or is of a later version.
    pub fn open(options: &DatabaseOptions) -> Result<Store, DatabaseError> {
        let database = Database::open_apart(options, &[tables::MIGRATIONS])?;
        let metrics = Arc::new(StoreMetrics::default());
        // One writes.
        metrics.connections.set(1 + options.readers as i64);
        Ok(Store { database: Arc::new(database), metrics, waiting: Arc::default() })
    }

    /// What it measures, to be registered.
    pub fn metrics(&self) -> &Arc<StoreMetrics> {
        &self.metrics
    }

    /// Runs `job` where nothing can be changed.
    ///
    /// # Errors
    /// Those of SQLite, and when too many wait.
    pub async fn read<T: Send + 'static>(
        &self,
        query: Query,
        job: impl FnOnce(&Connection) -> rusqlite::Result<T> + Send + 'static,
    ) -> Result<T, DatabaseError> {
        let metrics = Arc::clone(&self.metrics);
        self.database.read(move |connection| timed(&metrics, query, || job(connection))).await
    }

    /// Runs `job` where changes are made, after those before it.
    ///
    /// # Errors
    /// Those of SQLite, and when too many wait.
    pub async fn write<T: Send + 'static>(
        &self,
        query: Query,
        job: impl FnOnce(&mut Connection) -> rusqlite::Result<T> + Send + 'static,
    ) -> Result<T, DatabaseError> {
        let metrics = Arc::clone(&self.metrics);
        self.database.call(move |connection| timed(&metrics, query, || job(connection))).await
    }

    /// Keeps something of a site, together with what has come of others.
    ///
    /// # Errors
    /// When too much waits, or the database refuses. It is not kept then.
    pub async fn keep(&self, site: &str, note: Note) -> Result<(), KeepError> {
        let (kept, told) = oneshot::channel();
        let rows = note.rows();
        let begins = {
            let mut queue = self.waiting.lock();
            if queue.notes.len() >= WAITING || queue.rows + rows > ROWS_WAITING {
                self.metrics.reports_refused.inc();
                return Err(KeepError::Busy);
            }
            queue.rows += rows;
            queue.notes.push_back(Waiting { site: site.to_owned(), note, kept });
            !std::mem::replace(&mut queue.is_written, true)
        };
        if begins {
            // By itself: who has brought the first of it may go.
            let (database, waiting) = (Arc::clone(&self.database), Arc::clone(&self.waiting));
            tokio::spawn(write(database, waiting, Arc::clone(&self.metrics)));
        }
        match told.await {
            Ok(true) => Ok(()),
            Ok(false) | Err(_) => Err(KeepError::Failed),
        }
    }

    /// Rolls up into spans of this length, if that is wanted, deletes what is over and gives room back, in slices. Says whether there is more to do.
    ///
    /// # Errors
    /// Those of SQLite.
    pub async fn maintain(
        &self,
        now: SystemTime,
        span: Option<Duration>,
        ends: [(Aged, SystemTime); 3],
    ) -> Result<bool, DatabaseError> {
        let roll_up = move |connection: &mut Connection| match span {
            Some(span) => retention::roll_up(connection, now, span, SPANS).map(|rolled| rolled.more),
            None => retention::pass_over(connection, now).map(|()| false),
        };
        let mut more = self.write(Query::Maintenance, roll_up).await?;
        for (aged, before) in ends {
            let prune = move |connection: &mut Connection| aged.prune(connection, before, ROWS);
            more |= self.write(Query::Maintenance, prune).await?.more;
        }
        Ok(more)
    }

    /// Makes room before its time, in slices, where the file holds more than `most` octets. Says how many rows went.
    ///
    /// # Errors
    /// Those of SQLite.
    pub async fn shed(&self, most: u64) -> Result<usize, DatabaseError> {
        let mut gone = 0;
        loop {
            let used = self.read(Query::Maintenance, retention::used).await?;
            self.metrics.size.set(used.cast_signed());
            if used <= most {
                return Ok(gone);
            }
            match self.write(Query::Maintenance, |connection| retention::shed(connection, ROWS)).await? {
                0 => return Ok(gone),
                rows => {
                    gone += rows;
                    self.metrics.shed_rows.add(rows as u64);
                }
            }
        }
    }

    /// Gives pages back that hold nothing, in slices, and has SQLite look at its tables again.
    ///
    /// # Errors
    /// Those of SQLite.
    pub async fn tidy(&self) -> Result<(), DatabaseError> {
        self.write(Query::Maintenance, |connection| optimize(connection)).await?;
        while self.write(Query::Maintenance, |connection| give_back(connection, PAGES)).await? {}
        Ok(())
    }

    /// Does what waits, and closes it.
    pub fn close(&self) {
        self.database.close();
    }
}

/// Writes what waits, until nothing does.
async fn write(database: Arc<Database>, waiting: Arc<Mutex<Queue>>, metrics: Arc<StoreMetrics>) {
    loop {
        let (queue, metrics) = (Arc::clone(&waiting), Arc::clone(&metrics));
        let written = database.call(move |connection| {
            let batch = queue.lock().batch();
            let reports = batch.iter().filter(|one| matches!(one.note, Note::Report(_))).count();
            metrics.report_batch.record_value(reports as u64);
            let notes = batch.iter().map(|one| (one.site.as_str(), &one.note));
            let outcome = timed(&metrics, Query::Report, || health::keep(connection, notes, SystemTime::now()));
            for one in batch {
                // Who has gone need not be told.
                let _ = one.kept.send(outcome.is_ok());
            }
            outcome
        });
        let failed = written.await.err();
        let mut queue = waiting.lock();
        if let Some(error) = failed {
            tracing::warn!(%error, "reports of sites are not kept");
            // Where it did not even begin, it would not the next time. Who waits is told.
            *queue = Queue::default();
        }
        if queue.notes.is_empty() {
            queue.is_written = false;
            return;
        }
    }
}

/// A connection at work, until this is dropped.
struct Active<'a>(&'a Gauge);

impl<'a> Active<'a> {
    fn new(active: &'a Gauge) -> Self {
        active.inc();
        Self(active)
    }
}

impl Drop for Active<'_> {
    fn drop(&mut self) {
        self.0.dec();
    }
}

fn timed<T>(metrics: &StoreMetrics, query: Query, work: impl FnOnce() -> T) -> T {
    let begun = Instant::now();
    let active = Active::new(&metrics.connections_active);
    let done = work();
    drop(active);
    metrics.query_duration.of(query).record(begun.elapsed());
    done
}

#[cfg(test)]
pub(super) mod tests;
