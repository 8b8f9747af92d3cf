//! SQLite: a pool of threads, each with a connection that only reads, and one more whose connection changes.
//!
//! - [`lane`]: the threads, and what waits for them.
//! - [`session`]: a connection, and queries that it runs.

mod lane;
mod session;

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use outwork_cache::UnixMillis;

use super::config::Database;
use super::error::QueryError;
use super::metrics::{PoolCells, SqlMetrics};
use super::parameter::Value;
use super::query::Prepared;
use super::render::Form;
use super::source::{Looked, Output};
use lane::{Lane, Size};
use session::{Opening, Role};

/// A database of SQLite's.
#[derive(Debug)]
pub(super) struct Sqlite {
    readers: Lane,
    /// Changes, and looks whether others have changed something: its own changes are none for it.
    writer: Lane,
    interval: Duration,
    /// When that was looked at last, in milliseconds since 1970.
    looked: AtomicU64,
}

/// Has SQLite prepare statements, and gives what it says of those that it does not take, by their numbers.
///
/// # Errors
/// Why the file cannot be opened.
pub(super) fn examine(
    name: &str,
    path: &Path,
    settings: &Database,
    statements: &[(usize, &str)],
) -> Result<Vec<(usize, String)>, String> {
    let opening = opening(name, path, settings, &Arc::default(), Role::Reader);
    let session = session::Session::open(&opening).map_err(|error| error.to_string())?;
    Ok(statements.iter().filter_map(|(index, sql)| Some((*index, session.refuses(sql)?))).collect())
}

fn opening(name: &str, path: &Path, settings: &Database, metrics: &Arc<SqlMetrics>, role: Role) -> Opening {
    Opening {
        database: name.to_owned(),
        path: path.to_owned(),
        role,
        busy_timeout: settings.query_timeout,
        prepared: settings.prepared.into(),
        pragmas: settings.pragmas.clone(),
        metrics: Arc::clone(metrics),
    }
}

impl Sqlite {
    /// A pool for this file. It is opened by the first who needs it.
    pub(super) fn new(name: &str, path: &Path, settings: &Database, metrics: &Arc<SqlMetrics>) -> Self {
        let opening = |role| opening(name, path, settings, metrics, role);
        let size = |most, least, idle_timeout, max_lifetime| Size {
            most,
            least,
            idle_timeout,
            max_lifetime,
            queue: settings.queue as usize,
            connect_timeout: settings.connect_timeout,
            query_timeout: settings.query_timeout,
        };
        let cells = PoolCells::new(metrics, name);
        let reading =
            size(settings.pool_size.into(), settings.min_idle.into(), settings.idle_timeout, settings.max_lifetime);
        // It knows what is its own change, so it stays.
        let writing = size(1, 0, Duration::MAX, Duration::MAX);
        Self {
            readers: Lane::new(opening(Role::Reader), reading, cells.clone()),
            writer: Lane::new(opening(Role::Writer), writing, cells),
            interval: settings.change_check,
            looked: AtomicU64::new(0),
        }
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
        let lane = if query.write { &self.writer } else { &self.readers };
        let query = Arc::clone(query);
        lane.run(move |session| session.run(&query, &values, form)).await
    }

    /// Whether results that are kept are to be given only after a [`look`](Self::look).
    pub(super) fn is_look_due(&self, now: UnixMillis) -> bool {
        let looked = self.looked.load(Ordering::Acquire);
        UnixMillis(looked).after(self.interval) <= now
            // Of several at once, one looks.
            && (self.interval.is_zero()
                || self.looked.compare_exchange(looked, now.0, Ordering::AcqRel, Ordering::Acquire).is_ok())
    }

    /// Looks whether another process has changed something.
    pub(super) async fn look(&self) -> Looked {
        let looked = match self.writer.run_if_free(session::Session::look) {
            Some(look) => look.await.unwrap_or(Looked::Unknown),
            None => Looked::Unknown,
        };
        if looked == Looked::Unknown {
            self.looked.store(0, Ordering::Release);
        }
        looked
    }
}
