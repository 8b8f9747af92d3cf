//! What the database measures of itself.

use outwork_telemetry::{labels, metrics};

labels! {
    /// What a job does to the database.
    pub enum Side as "kind" { Write = "write", Read = "read" }
}

metrics! {
    /// Metrics of the database.
    pub struct DatabaseMetrics, prefix "outwork_sqlite" {
        /// Jobs done.
        queries: Counter by Side,
        /// Time that a job took, its wait for a connection apart.
        query_time: Histogram in seconds by Side => history,
        /// Jobs that wait for a connection.
        waiting: Gauge by Side => history,
        /// Connections at work.
        busy: Gauge by Side,
        /// Jobs refused because too many waited.
        refused: Counter by Side,
        /// Jobs that panicked.
        panics: Counter by Side,
    }
}
