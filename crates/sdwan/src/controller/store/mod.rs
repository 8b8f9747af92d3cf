//! What the controller keeps, in SQLite: one thread writes, others read.
//!
//! - [`documents`]: what the network is to be, and who has changed it.
//! - [`health`]: what sites report.
//! - [`enrolments`]: tokens and certificates.
//! - [`retention`]: what is rolled up, and what goes in time.
//! - `tables`: the tables.
//!
//! Reports share transactions: what has come while one is written goes into the next.

pub mod documents;
pub mod enrolments;
pub mod health;
pub mod retention;
mod tables;

use std::sync::Arc;
use std::time::{Instant, SystemTime};

use outwork_store::database::maintenance::{give_back, optimize};
use outwork_store::database::{Database, DatabaseError, DatabaseOptions};
use outwork_telemetry::{labels, metrics};
use parking_lot::Mutex;
use rusqlite::Connection;
use tokio::sync::oneshot;

use crate::channel::message::Report;
use retention::Aged;

/// Reports that may wait for the writer.
const WAITING: usize = 4096;
/// Spans that are rolled up, rows that are deleted and pages that are given back in one go.
const SPANS: usize = 4;
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
        /// Reports of sites in one transaction.
        report_batch: Histogram,
        /// Reports of sites that were refused, as too many waited.
        reports_refused: Counter => history,
    }
}

/// Why a report is not kept. It may come again.
#[derive(Debug, thiserror::Error)]
pub enum KeepError {
    /// Too many wait.
    #[error("{WAITING} reports wait already")]
    Busy,
    /// The database refused all that were to be kept with it.
    #[error("the database did not keep it")]
    Failed,
}

/// A report that waits, and who is to be told.
struct Waiting {
    site: String,
    report: Report,
    kept: oneshot::Sender<bool>,
}

/// The database of the controller.
pub struct Store {
    database: Database,
    metrics: Arc<StoreMetrics>,
    waiting: Arc<Mutex<Vec<Waiting>>>,
}

impl Store {
    /// Opens or creates it.
    ///
    /// # Errors
    /// When it cannot be opened, or is of a later version.
    pub fn open(options: &DatabaseOptions) -> Result<Store, DatabaseError> {
        let database = Database::open_apart(options, &[tables::MIGRATIONS])?;
        Ok(Store { database, metrics: Arc::default(), waiting: Arc::default() })
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

    /// Keeps a report of a site, together with others that have come.
    ///
    /// # Errors
    /// When too many wait, or the database refuses. It is not kept then.
    pub async fn report(&self, site: String, report: Report) -> Result<(), KeepError> {
        let (kept, told) = oneshot::channel();
        let first = {
            let mut waiting = self.waiting.lock();
            if waiting.len() >= WAITING {
                self.metrics.reports_refused.inc();
                return Err(KeepError::Busy);
            }
            waiting.push(Waiting { site, report, kept });
            waiting.len() == 1
        };
        // Whoever comes while that waits for the writer goes along.
        if first {
            let (waiting, metrics) = (Arc::clone(&self.waiting), Arc::clone(&self.metrics));
            let written = self.write(Query::Report, move |connection| {
                let batch = std::mem::take(&mut *waiting.lock());
                metrics.report_batch.record_value(batch.len() as u64);
                let reports = batch.iter().map(|one| (one.site.as_str(), &one.report));
                let outcome = health::keep(connection, reports, SystemTime::now());
                for one in batch {
                    // Who has gone need not be told.
                    let _ = one.kept.send(outcome.is_ok());
                }
                outcome
            });
            if let Err(error) = written.await {
                tracing::warn!(%error, "reports of sites are not kept");
                // Where it did not even begin, nobody else would.
                self.waiting.lock().clear();
            }
        }
        match told.await {
            Ok(true) => Ok(()),
            Ok(false) | Err(_) => Err(KeepError::Failed),
        }
    }

    /// Rolls up, deletes what is over and gives room back, in slices. Says whether there is more to do.
    ///
    /// # Errors
    /// Those of SQLite.
    pub async fn maintain(&self, now: SystemTime, ends: [(Aged, SystemTime); 3]) -> Result<bool, DatabaseError> {
        let rolled =
            self.write(Query::Maintenance, move |connection| retention::roll_up(connection, now, SPANS)).await?;
        let mut more = rolled.more;
        for (aged, before) in ends {
            let prune = move |connection: &mut Connection| aged.prune(connection, before, ROWS);
            more |= self.write(Query::Maintenance, prune).await?.more;
        }
        Ok(more)
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

fn timed<T>(metrics: &StoreMetrics, query: Query, work: impl FnOnce() -> T) -> T {
    let begun = Instant::now();
    let done = work();
    metrics.query_duration.of(query).record(begun.elapsed());
    done
}

#[cfg(test)]
pub(super) mod tests;
