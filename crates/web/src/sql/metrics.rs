//! What queries count.

use std::sync::Arc;

use outwork_telemetry::{Counter, Gauge, labels, metrics};

labels! {
    /// How a query ended.
    pub enum Outcome as "outcome" {
        Answered = "answered",
        Empty = "empty",
        Invalid = "invalid",
        Refused = "refused",
        Full = "full",
        Unavailable = "unavailable",
        Timeout = "timeout",
        TooLarge = "too-large",
        Failed = "failed"
    }
}

labels! {
    /// What became of a look for a result that is kept.
    pub enum Lookup as "result" { Hit = "hit", Collapsed = "collapsed", Miss = "miss" }
}

labels! {
    /// Why results were forgotten.
    pub enum Cause as "cause" { Route = "route", Api = "api", Notified = "notified", Changed = "changed", Reconnected = "reconnected" }
}

/// Databases that have figures of their own.
const DATABASES: usize = 64;

metrics! {
    /// Metrics of queries.
    #[derive(Debug)]
    pub struct SqlMetrics, prefix "outwork_sql" {
        /// Requests, by how they ended.
        queries: Counter by Outcome => history,
        /// Time from when a query has its connection until its answer is written.
        query_time: Histogram in seconds => history,
        /// Time that queries waited for a connection.
        wait_time: Histogram in seconds,
        /// Connections that are in use.
        used: Gauge by ["database"] max DATABASES => history,
        /// Connections that are open and not in use.
        idle: Gauge by ["database"] max DATABASES,
        /// Requests that wait for a connection.
        waiting: Gauge by ["database"] max DATABASES,
        /// Connections opened.
        opened: Counter by ["database"] max DATABASES,
        /// Connections that could not be opened.
        unreachable: Counter by ["database"] max DATABASES,
        /// Statements prepared. Each connection does so once for each.
        prepared: Counter,
        /// Statements that a connection had prepared already.
        reused: Counter,
        /// Queries that the database was told to stop.
        stopped: Counter,
        /// Looks for results that are kept.
        lookups: Counter by Lookup => history,
        /// Results kept now.
        kept_results: Gauge,
        /// Memory of the results that are kept.
        kept: Gauge in bytes => history,
        /// Results that made room for others.
        evicted: Counter,
        /// Results that were too large to be kept.
        oversized: Counter,
        /// Times that results were forgotten because a table has changed, by how that was known.
        invalidations: Counter by Cause,
    }
}

/// Those of one database.
#[derive(Debug, Clone)]
pub struct PoolCells {
    /// Connections in use.
    pub used: Arc<Gauge>,
    /// Connections that wait.
    pub idle: Arc<Gauge>,
    /// Requests that wait.
    pub waiting: Arc<Gauge>,
    /// Connections opened.
    pub opened: Arc<Counter>,
    /// Connections not opened.
    pub unreachable: Arc<Counter>,
}

impl PoolCells {
    /// Those of this database.
    pub fn new(metrics: &SqlMetrics, database: &str) -> Self {
        Self {
            used: metrics.used.cell([database]),
            idle: metrics.idle.cell([database]),
            waiting: metrics.waiting.cell([database]),
            opened: metrics.opened.cell([database]),
            unreachable: metrics.unreachable.cell([database]),
        }
    }
}

/// One more, until this goes.
#[derive(Debug)]
pub struct Counted(Arc<Gauge>);

impl Counted {
    /// Counts.
    pub fn new(gauge: &Arc<Gauge>) -> Self {
        gauge.inc();
        Self(Arc::clone(gauge))
    }
}

impl Drop for Counted {
    fn drop(&mut self) {
        self.0.dec();
    }
}
