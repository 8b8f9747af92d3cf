//! How long answers took, as the reports of benchmarks have it.

use serde::{Deserialize, Serialize};

use crate::Histogram;

/// How long answers took, in microseconds; in JSON the names say so.
#[derive(Debug, Clone, Copy, PartialEq, Default, Serialize, Deserialize)]
pub struct Latency {
    /// How many answers there were.
    pub count: u64,
    /// The mean.
    #[serde(rename = "mean_us")]
    pub mean: f64,
    /// Half of them took at most this long.
    #[serde(rename = "p50_us")]
    pub p50: f64,
    /// 95 % of them.
    #[serde(rename = "p95_us")]
    pub p95: f64,
    /// 99 % of them.
    #[serde(rename = "p99_us")]
    pub p99: f64,
    /// 99.9 % of them.
    #[serde(rename = "p999_us")]
    pub p999: f64,
    /// The longest.
    #[serde(rename = "max_us")]
    pub max: f64,
}

impl Latency {
    /// Of a histogram of nanoseconds.
    pub fn of(histogram: &Histogram) -> Self {
        let snapshot = histogram.snapshot();
        let micros = |nanos: u64| nanos as f64 / 1000.0;
        Self {
            count: snapshot.count(),
            mean: snapshot.mean() / 1000.0,
            p50: micros(snapshot.quantile(0.50)),
            p95: micros(snapshot.quantile(0.95)),
            p99: micros(snapshot.quantile(0.99)),
            p999: micros(snapshot.quantile(0.999)),
            max: micros(snapshot.max()),
        }
    }

    /// The names of the columns of its row, in ms.
    pub const COLUMNS: [&str; 6] = ["mean", "p50", "p95", "p99", "p99.9", "max"];

    /// Its row of a table, in microseconds.
    pub fn row(&self) -> [f64; 6] {
        [self.mean, self.p50, self.p95, self.p99, self.p999, self.max]
    }
}
