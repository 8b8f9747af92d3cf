//! What queries count.

use std::sync::Arc;

use outwork_telemetry::{Counter, Gauge, Histogram, labels, metrics};

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
/// Statements that have figures of their own.
const STATEMENTS: usize = 256;

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
        idle: Gauge by ["database"] max DATABASES => history,
        /// Requests that wait for a connection.
        waiting: Gauge by ["database"] max DATABASES => history,
        /// Connections opened.
        opened: Counter by ["database"] max DATABASES,
        /// Connections that could not be opened.
        unreachable: Counter by ["database"] max DATABASES,
        /// Queries that got no connection: none came free in time, too many waited already, or none could be opened.
        turned_away: Counter by ["database"] max DATABASES => history,
        /// Queries that were stopped because they took too long.
        timeouts: Counter by ["database"] max DATABASES => history,
        /// Time that a statement took with the wait for its connection, by route. What was kept is not asked for.
        statement_time: Histogram in seconds by ["route"] max STATEMENTS => history,
        /// Requests for a statement that were answered with what was kept, or with what another request was asking for.
        statement_hits: Counter by ["route"] max STATEMENTS => history,
        /// Requests for a statement that ended in an error which is not the client's.
        statement_failures: Counter by ["route"] max STATEMENTS => history,
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

impl SqlMetrics {
    /// Forgets the figures of statements whose routes are gone.
    pub fn retain_statements(&self, is_there: impl Fn(&str) -> bool) {
        let wanted = |[route]: &[String; 1]| is_there(route);
        self.statement_time.retain(wanted);
        self.statement_hits.retain(wanted);
        self.statement_failures.retain(wanted);
    }
}

/// Those of one statement, and of the pool that it waits for.
#[derive(Debug, Clone)]
pub struct StatementCells {
    /// Time of each run.
    pub time: Arc<Histogram>,
    /// Answered without a run.
    pub hits: Arc<Counter>,
    /// Ended in an error of ours.
    pub failures: Arc<Counter>,
    /// Got no connection.
    pub turned_away: Arc<Counter>,
    /// Took too long.
    pub timeouts: Arc<Counter>,
}

impl StatementCells {
    /// Those of the statement of this route, which asks this database.
    pub fn new(metrics: &SqlMetrics, route: &str, database: &str) -> Self {
        Self {
            time: metrics.statement_time.cell([route]),
            hits: metrics.statement_hits.cell([route]),
            failures: metrics.statement_failures.cell([route]),
            turned_away: metrics.turned_away.cell([database]),
            timeouts: metrics.timeouts.cell([database]),
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
