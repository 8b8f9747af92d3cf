//! The registry: every service's metrics in one place, rendered as Prometheus text (exposition format 0.0.4).
//!
//! What is recorded as a distribution is there twice: under its own name as a summary over the life of the process, whose quantiles are within 1 %; and with
//! `_distribution` before its unit as a histogram, whose few buckets can be added up over processes and looked at by interval. A name has one type. Where labels make
//! very many of a kind, there are summaries alone.

use std::borrow::Cow;
use std::collections::BTreeSet;
use std::fmt::Write;
use std::sync::Arc;

use parking_lot::RwLock;

use crate::family::{Collect, Desc, Family, Kind, Labels, QUANTILES, Sample, SeriesName, Unit, Value};

/// The content type of [`Registry::prometheus`].
pub const PROMETHEUS_CONTENT_TYPE: &str = "text/plain; version=0.0.4; charset=utf-8";

/// Upper bounds of buckets: as they are written, and in what is recorded.
type Bounds = [(&'static str, u64); 16];

/// Those of durations, recorded in nanoseconds: each some two and a half times the one before.
const OF_SECONDS: Bounds = [
    ("0.0001", 100_000),
    ("0.00025", 250_000),
    ("0.00063", 630_000),
    ("0.0016", 1_600_000),
    ("0.004", 4_000_000),
    ("0.01", 10_000_000),
    ("0.025", 25_000_000),
    ("0.063", 63_000_000),
    ("0.16", 160_000_000),
    ("0.4", 400_000_000),
    ("1", 1_000_000_000),
    ("2.5", 2_500_000_000),
    ("6.3", 6_300_000_000),
    ("16", 16_000_000_000),
    ("40", 40_000_000_000),
    ("100", 100_000_000_000),
];
/// Those of bytes and other numbers: each four times the one before.
const OF_NUMBERS: Bounds = [
    ("1", 1),
    ("4", 1 << 2),
    ("16", 1 << 4),
    ("64", 1 << 6),
    ("256", 1 << 8),
    ("1024", 1 << 10),
    ("4096", 1 << 12),
    ("16384", 1 << 14),
    ("65536", 1 << 16),
    ("262144", 1 << 18),
    ("1048576", 1 << 20),
    ("4194304", 1 << 22),
    ("16777216", 1 << 24),
    ("67108864", 1 << 26),
    ("268435456", 1 << 28),
    ("1073741824", 1 << 30),
];

/// Two services declared the same metric.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
#[error("the metric {0} is declared twice; each name belongs to one service")]
pub struct DuplicateMetric(pub &'static str);

/// Every service's metrics. Reading takes no lock that a hot path takes.
#[derive(Default)]
pub struct Registry {
    sources: RwLock<Vec<Arc<dyn Collect>>>,
}

impl Registry {
    /// Adds a service's metrics.
    ///
    /// # Errors
    /// When a name is already taken.
    pub fn register(&self, source: Arc<dyn Collect>) -> Result<(), DuplicateMetric> {
        let mut sources = self.sources.write();
        let mut families = Vec::new();
        sources.iter().for_each(|source| source.collect(&mut families));
        source.collect(&mut families);
        let mut names = BTreeSet::new();
        if let Some(twice) = families.iter().find(|family| !names.insert(family.desc.name)) {
            return Err(DuplicateMetric(twice.desc.name));
        }
        sources.push(source);
        Ok(())
    }

    /// Every metric as it reads now, and a counter of lookups that found a dynamic label set full.
    pub fn gather(&self) -> Vec<Family> {
        let mut families = Vec::new();
        self.sources.read().iter().for_each(|source| source.collect(&mut families));
        let full = |family: &Family| {
            let labels = vec![("metric", family.desc.name.into())];
            family.overflow.map(|n| Sample { labels, value: Value::Number(n as f64) })
        };
        let samples: Vec<_> = families.iter().filter_map(full).collect();
        families.push(Family {
            desc: Desc {
                name: "outwork_metrics_label_overflow_total",
                help: "Lookups that found a metric's label set full and were given its cell labelled other; of paths and tunnels of sites, how many have no cell.",
                kind: Kind::Counter,
                unit: Unit::None,
                history: false,
            },
            samples,
            overflow: None,
        });
        families
    }

    /// Every metric as Prometheus text.
    pub fn prometheus(&self) -> String {
        let mut text = String::with_capacity(32 * 1024);
        for family in self.gather() {
            render(&family, &mut text);
        }
        text
    }
}

/// One family with its HELP and TYPE. What was recorded as a histogram is a summary over the life of the process, a gauge of its maximum, and a histogram of few buckets.
fn render(family: &Family, text: &mut String) {
    if family.samples.is_empty() {
        return;
    }
    let Desc { name, help, kind, unit, .. } = &family.desc;
    let kind = match kind {
        Kind::Counter => "counter",
        Kind::Gauge => "gauge",
        Kind::Histogram => "summary",
    };
    head(text, name, "", help, kind);
    for Sample { labels, value } in &family.samples {
        let series = SeriesName { name, suffix: "", labels, quantile: None };
        match value {
            Value::Number(number) => line(text, &series, *number),
            Value::Histogram(snapshot) => {
                for (q, quantile, _) in QUANTILES {
                    let value =
                        if snapshot.count() == 0 { f64::NAN } else { snapshot.quantile(q) as f64 * unit.scale() };
                    line(text, &SeriesName { quantile: Some(quantile), ..series }, value);
                }
                line(text, &SeriesName { suffix: "_sum", ..series }, snapshot.sum() as f64 * unit.scale());
                line(text, &SeriesName { suffix: "_count", ..series }, snapshot.count() as f64);
            }
        }
    }
    let mut maxima = family.samples.iter().filter_map(|sample| match &sample.value {
        Value::Histogram(snapshot) => Some((&sample.labels, snapshot.max() as f64 * unit.scale())),
        Value::Number(_) => None,
    });
    if let Some(first) = maxima.next() {
        head(text, name, "_max", "The largest value since the start.", "gauge");
        for (labels, max) in std::iter::once(first).chain(maxima) {
            line(text, &SeriesName { name, suffix: "_max", labels, quantile: None }, max);
        }
    }
    render_distributions(family, text);
}

/// The name of the histogram of what is a summary under its own.
fn distribution(name: &str, unit: Unit) -> String {
    let unit = match unit {
        Unit::None => "",
        Unit::Seconds => "_seconds",
        Unit::Bytes => "_bytes",
    };
    format!("{}_distribution{unit}", name.strip_suffix(unit).unwrap_or(name))
}

/// Cells of a family that have histograms beside their summaries at most: those of thousands of backends would be most of what is scraped.
const WITH_BUCKETS: usize = 256;

/// The histograms of a family. Of a cell without a value there is none: most of those that labels make are never used.
fn render_distributions(family: &Family, text: &mut String) {
    if family.samples.len() > WITH_BUCKETS {
        return;
    }
    let recorded = family.samples.iter().filter_map(|sample| match &sample.value {
        Value::Histogram(snapshot) if snapshot.count() > 0 => Some((&sample.labels, snapshot)),
        _ => None,
    });
    let (name, unit) = (distribution(family.desc.name, family.desc.unit), family.desc.unit);
    let bounds = if unit == Unit::Seconds { OF_SECONDS } else { OF_NUMBERS };
    for (index, (labels, snapshot)) in recorded.enumerate() {
        if index == 0 {
            head(text, &name, "", family.desc.help, "histogram");
        }
        let counts = snapshot.up_to(bounds.map(|(_, bound)| bound));
        let buckets = bounds.iter().map(|(word, _)| *word).zip(counts);
        for (word, count) in buckets.chain([("+Inf", snapshot.count())]) {
            let mut labels: Labels = labels.clone();
            labels.push(("le", Cow::Borrowed(word)));
            line(text, &SeriesName { name: &name, suffix: "_bucket", labels: &labels, quantile: None }, count as f64);
        }
        let series = SeriesName { name: &name, suffix: "_sum", labels, quantile: None };
        line(text, &series, snapshot.sum() as f64 * unit.scale());
        line(text, &SeriesName { suffix: "_count", ..series }, snapshot.count() as f64);
    }
}

// Writing into a String cannot fail.
fn head(text: &mut String, name: &str, suffix: &str, help: &str, kind: &str) {
    let help = help.trim().replace('\\', "\\\\").replace('\n', "\\n");
    let _ = writeln!(text, "# HELP {name}{suffix} {help}\n# TYPE {name}{suffix} {kind}");
}

fn line(text: &mut String, series: &SeriesName<'_>, value: f64) {
    let _ = writeln!(text, "{series} {value}");
}

#[cfg(test)]
#[path = "registry_tests.rs"]
mod tests;
