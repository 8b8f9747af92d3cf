//! What Outwork knows about itself.
//!
//! - `cell`: counters and gauges, one relaxed atomic on the hot path.
//! - `histogram`: log-linear histograms, quantiles within 1 %, intervals by difference.
//! - `labels`: closed label sets (an index) and bounded dynamic ones (looked up once).
//! - `latency`: how long answers took, as benchmarks report it.
//! - `declare`: [`metrics!`] and [`labels!`], where a service declares everything it measures.
//! - `family`: what a metric is and reads: the form all expositions share.
//! - `registry`: every service's metrics, and Prometheus text.
//! - `process`: the process itself, from `/proc/self`.
//! - `threads`: what each of its threads is doing.
//! - `sampler`: two readings of the metrics become points.
//! - `alerts`: conditions that hold now, without flapping.
//! - `history`: points of the last hour in memory, older ones behind a seam; queries over both.
//! - `logs`: text or JSON to standard error, a level a service, changeable live.
//!
//! Deliberately absent: pushing metrics anywhere, exemplars, labels without a bound.

pub mod alerts;
mod cell;
mod declare;
mod family;
mod histogram;
pub mod history;
mod labels;
mod latency;
pub mod logs;
pub mod process;
mod registry;
mod sampler;
pub mod threads;

pub use cell::{Counter, Gauge};
pub use family::{Cell, Cells, Collect, Desc, Family, Kind, Labels, QUANTILES, Sample, SeriesName, Unit, Value};
pub use histogram::{Histogram, Snapshot};
pub use labels::{By, Dynamic, Label};
pub use latency::Latency;
pub use registry::{DuplicateMetric, PROMETHEUS_CONTENT_TYPE, Registry};
pub use sampler::{Point, Sampler, unit_of};
