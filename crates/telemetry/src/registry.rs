//! The registry: every service's metrics in one place, rendered as Prometheus text (exposition format 0.0.4).

use std::collections::BTreeSet;
use std::fmt::Write;
use std::sync::Arc;

use parking_lot::RwLock;

use crate::family::{Collect, Desc, Family, Kind, QUANTILES, Sample, SeriesName, Unit, Value};

/// The content type of [`Registry::prometheus`].
pub const PROMETHEUS_CONTENT_TYPE: &str = "text/plain; version=0.0.4; charset=utf-8";

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
                help: "Lookups that found a metric's label set full and were given its cell labelled other.",
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

/// One family with its HELP and TYPE. A histogram is a summary over the life of the process, and a gauge of its maximum.
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
