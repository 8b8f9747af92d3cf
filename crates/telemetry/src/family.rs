//! What a metric is (name, kind, unit, help) and what it reads at one moment: the form that every exposition starts from.

use std::borrow::Cow;
use std::fmt::{self, Write};

use crate::histogram::Snapshot;

/// How a metric behaves.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// Only grows.
    Counter,
    /// Goes up and down.
    Gauge,
    /// A distribution; shown as quantiles, sum, count and maximum.
    Histogram,
}

/// What a number counts. It is part of the metric's name, as Prometheus asks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Unit {
    /// Things; the name says which.
    None,
    /// Time. Histograms record nanoseconds and show seconds.
    Seconds,
    /// Bytes.
    Bytes,
}

/// A metric as declared.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Desc {
    /// The full Prometheus name, with prefix, unit and `_total`.
    pub name: &'static str,
    /// One sentence for its reader.
    pub help: &'static str,
    /// Counter, gauge or histogram.
    pub kind: Kind,
    /// What it counts.
    pub unit: Unit,
    /// Whether the history keeps it.
    pub history: bool,
}

/// Label names and values, in declaration order.
pub type Labels = Vec<(&'static str, Cow<'static, str>)>;

/// What one cell reads.
#[derive(Debug, Clone, PartialEq)]
pub enum Value {
    /// A counter's total or a gauge's value, in the unit of the metric.
    Number(f64),
    /// A histogram's contents, in the unit it recorded.
    Histogram(Snapshot),
}

/// One cell of a metric.
#[derive(Debug, Clone, PartialEq)]
pub struct Sample {
    /// The cell's labels; empty for a metric without labels.
    pub labels: Labels,
    /// What it reads.
    pub value: Value,
}

/// A metric and all of its cells.
#[derive(Debug, Clone, PartialEq)]
pub struct Family {
    /// The declaration.
    pub desc: Desc,
    /// The cells.
    pub samples: Vec<Sample>,
    /// Lookups that found a dynamic label set full, or what there is that has no cell. `None` for closed label sets, which cannot be.
    pub overflow: Option<u64>,
}

/// Something that has metrics: the struct that [`metrics!`](crate::metrics) declares, or a reader of the system.
pub trait Collect: Send + Sync {
    /// Appends every family as it reads now.
    fn collect(&self, families: &mut Vec<Family>);
}

/// A kind of cell.
pub trait Cell: Default + Send + Sync {
    /// What the cell reads now.
    fn value(&self) -> Value;
}

impl Cell for crate::Counter {
    fn value(&self) -> Value {
        Value::Number(self.get() as f64)
    }
}

impl Cell for crate::Gauge {
    fn value(&self) -> Value {
        Value::Number(self.get() as f64)
    }
}

impl Cell for crate::Histogram {
    fn value(&self) -> Value {
        Value::Histogram(self.snapshot())
    }
}

/// One metric with whatever labels it has.
pub trait Cells {
    /// Every cell with its labels, and the overflow count of a dynamic label set.
    fn read(&self) -> (Vec<Sample>, Option<u64>);
}

impl<C: Cell> Cells for C {
    fn read(&self) -> (Vec<Sample>, Option<u64>) {
        (vec![Sample { labels: Vec::new(), value: self.value() }], None)
    }
}

impl Unit {
    /// What a recorded histogram value is multiplied by to be shown in this unit.
    pub fn scale(self) -> f64 {
        match self {
            Unit::Seconds => 1e-9,
            Unit::None | Unit::Bytes => 1.0,
        }
    }
}

/// The quantiles that are shown: the share, Prometheus's label value, the suffix of the history's series.
pub const QUANTILES: [(f64, &str, &str); 3] = [(0.5, "0.5", "_p50"), (0.95, "0.95", "_p95"), (0.99, "0.99", "_p99")];

/// A series as Prometheus writes it: `name{label="value",...}`.
pub struct SeriesName<'a> {
    /// The metric's name.
    pub name: &'a str,
    /// Appended to the name: `_sum`, `_count`, `_max`, or nothing.
    pub suffix: &'a str,
    /// The cell's labels.
    pub labels: &'a Labels,
    /// The `quantile` label of a summary.
    pub quantile: Option<&'a str>,
}

impl fmt::Display for SeriesName<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name)?;
        f.write_str(self.suffix)?;
        let labels = self.labels.iter().map(|(name, value)| (*name, value.as_ref()));
        let mut separator = '{';
        for (name, value) in labels.chain(self.quantile.map(|q| ("quantile", q))) {
            f.write_char(separator)?;
            separator = ',';
            write!(f, "{name}=\"")?;
            for c in value.chars() {
                match c {
                    '\\' => f.write_str("\\\\")?,
                    '"' => f.write_str("\\\"")?,
                    '\n' => f.write_str("\\n")?,
                    c => f.write_char(c)?,
                }
            }
            f.write_char('"')?;
        }
        if separator == ',' { f.write_char('}') } else { Ok(()) }
    }
}
