//! Turns two readings of the metrics into points: rates of counters, values of gauges, quantiles of what a histogram
//! recorded in between. Sans-IO: the caller reads the clock and the registry.

use std::collections::HashMap;
use std::time::Instant;

use crate::family::{Desc, Family, Kind, Labels, QUANTILES, SeriesName, Unit, Value};
use crate::histogram::Snapshot;

/// Cells of one metric that are series of their own: more would fill the history's table, and nobody looks at each.
const MAX_CELLS: usize = 64;

/// One value of one series.
#[derive(Debug, Clone, PartialEq)]
pub struct Point {
    /// The series, as Prometheus writes it: see [`Sampler`].
    pub series: String,
    /// A rate a second, a value, or a quantile; seconds for durations.
    pub value: f64,
}

/// Samples every metric declared with `=> history`.
///
/// A series has the metric's name without `outwork_`, unit and `_total`: `outwork_dhcp_latency_seconds` is `dhcp_latency`.
///
/// | metric | series | value |
/// |---|---|---|
/// | counter | `name_rate{labels}` | increase a second |
/// | gauge | `name{labels}` | the value |
/// | either, with labels | the same without labels | the sum over all labels |
/// | histogram | `name_p50{labels}`, `name_p95`, `name_p99` | the quantile of the interval |
/// | | `name_avg{labels}`, `name_max{labels}` | mean and maximum of the interval |
/// | | `name_rate{labels}` | values recorded a second |
///
/// A metric of more than 64 cells, such as the pools of a large site, has the sum alone.
///
/// An interval in which a histogram recorded nothing has no quantile, mean or maximum.
#[derive(Debug, Default)]
pub struct Sampler {
    at: Option<Instant>,
    counters: HashMap<String, f64>,
    histograms: HashMap<String, Snapshot>,
}

impl Sampler {
    /// Bytes of memory that the last reading takes, the allocator's rounding aside.
    pub fn memory(&self) -> usize {
        let counters: usize = self.counters.keys().map(String::capacity).sum();
        let histograms: usize = self.histograms.iter().map(|(key, snapshot)| key.capacity() + snapshot.memory()).sum();
        counters + histograms + table(&self.counters) + table(&self.histograms)
    }

    /// Compares with the reading before. The first reading gives only gauges.
    pub fn observe(&mut self, now: Instant, families: &[Family]) -> Vec<Point> {
        let elapsed = self.at.map(|at| now.saturating_duration_since(at).as_secs_f64()).filter(|s| *s > 0.0);
        let (before, mut after) = (std::mem::take(self), Self { at: Some(now), ..Self::default() });
        let mut points = Vec::new();
        for family in families.iter().filter(|family| family.desc.history) {
            let name = stem(&family.desc);
            let mut sum = None;
            let each = family.samples.len() <= MAX_CELLS;
            for sample in &family.samples {
                let labels = &sample.labels;
                match &sample.value {
                    Value::Number(total) if family.desc.kind == Kind::Counter => {
                        let series = series(name, "_rate", labels);
                        // A counter that went back belongs to a cell made anew: it counted from zero.
                        let rate = before
                            .counters
                            .get(&series)
                            .zip(elapsed)
                            .map(|(then, elapsed)| (if total >= then { total - then } else { *total }) / elapsed);
                        after.counters.insert(series.clone(), *total);
                        let Some(value) = rate else { continue };
                        *sum.get_or_insert(0.0) += value;
                        points.extend(each.then_some(Point { series, value }));
                    }
                    Value::Number(value) => {
                        *sum.get_or_insert(0.0) += value;
                        points.extend(each.then(|| Point { series: series(name, "", labels), value: *value }));
                    }
                    Value::Histogram(snapshot) => {
                        let key = series(name, "", labels);
                        if let Some((then, elapsed)) = before.histograms.get(&key).zip(elapsed).filter(|_| each) {
                            let interval = snapshot.since(then);
                            let point = |(suffix, value)| Point { series: series(name, suffix, labels), value };
                            points.extend(read(&interval, family.desc.unit.scale(), elapsed).into_iter().map(point));
                        }
                        after.histograms.insert(key, snapshot.clone());
                    }
                }
            }
            if let Some(value) = sum.filter(|_| family.samples.iter().any(|sample| !sample.labels.is_empty())) {
                let suffix = if family.desc.kind == Kind::Counter { "_rate" } else { "" };
                points.push(Point { series: series(name, suffix, &Labels::new()), value });
            }
        }
        *self = after;
        points
    }
}

/// Bytes of a map's own table.
pub(crate) fn table<K, V>(map: &HashMap<K, V>) -> usize {
    map.capacity() * (size_of::<(K, V)>() + 1)
}

/// What a histogram's interval gives, by suffix.
fn read(interval: &Snapshot, scale: f64, elapsed: f64) -> Vec<(&'static str, f64)> {
    let mut values = vec![("_rate", interval.count() as f64 / elapsed)];
    if interval.count() > 0 {
        values.extend(QUANTILES.map(|(q, _, suffix)| (suffix, interval.quantile(q) as f64 * scale)));
        values.extend([("_avg", interval.mean() * scale), ("_max", interval.max() as f64 * scale)]);
    }
    values
}

fn series(name: &str, suffix: &str, labels: &Labels) -> String {
    SeriesName { name, suffix, labels, quantile: None }.to_string()
}

/// The metric's name without `outwork_`, unit and `_total`.
fn stem(desc: &Desc) -> &'static str {
    let name = desc.name.strip_prefix("outwork_").unwrap_or(desc.name);
    let name = name.strip_suffix("_total").unwrap_or(name);
    let unit = match desc.unit {
        Unit::None => "",
        Unit::Seconds => "_seconds",
        Unit::Bytes => "_bytes",
    };
    name.strip_suffix(unit).unwrap_or(name)
}

/// What the numbers of a series are: `per_second`, `seconds`, `bytes`, `bytes_per_second`, or nothing for plain numbers and
/// series that are not known.
pub fn unit_of(series: &str, families: &[Family]) -> &'static str {
    let name = series.split('{').next().unwrap_or_default();
    let of = |family: &Family| name.strip_prefix(stem(&family.desc)).map(|suffix| (family.desc.clone(), suffix));
    let known = |(desc, suffix): &(Desc, &str)| match desc.kind {
        Kind::Counter => *suffix == "_rate",
        Kind::Gauge => suffix.is_empty(),
        Kind::Histogram => matches!(*suffix, "_rate" | "_avg" | "_max") || QUANTILES.iter().any(|(.., q)| q == suffix),
    };
    match families.iter().filter_map(of).find(known) {
        Some((Desc { kind: Kind::Counter, unit: Unit::Bytes, .. }, _)) => "bytes_per_second",
        // CPU seconds a second are a plain number: cores.
        Some((Desc { kind: Kind::Counter, unit: Unit::Seconds, .. }, _)) | None => "",
        Some((_, "_rate")) => "per_second",
        Some((Desc { unit: Unit::Seconds, .. }, _)) => "seconds",
        Some((Desc { unit: Unit::Bytes, .. }, _)) => "bytes",
        Some(_) => "",
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::{Collect, labels, metrics};

    labels! {
        /// Which.
        enum Which as "which" { A = "a", B = "b" }
    }

    metrics! {
        /// Metrics of these tests.
        struct TestMetrics, prefix "t" {
            /// Kept.
            hits: Counter by Which => history,
            /// Kept.
            level: Gauge => history,
            /// Kept.
            time: Histogram in seconds => history,
            /// Not kept.
            hidden: Counter,
        }
    }

    metrics! {
        /// A metric with as many cells as there are pools.
        struct PoolMetrics, prefix "t" {
            /// Kept.
            used: Gauge by ["pool"] max 4096 => history,
        }
    }

    fn families(metrics: &TestMetrics) -> Vec<Family> {
        let mut families = Vec::new();
        metrics.collect(&mut families);
        families
    }

    fn value(points: &[Point], series: &str) -> Option<f64> {
        points.iter().find(|point| point.series == series).map(|point| point.value)
    }

    #[test]
    fn counters_become_rates_and_their_sum_over_labels() {
        let (metrics, mut sampler, start) = (TestMetrics::default(), Sampler::default(), Instant::now());
        metrics.hits.of(Which::A).add(1000);
        metrics.hidden.inc();
        assert_eq!(value(&sampler.observe(start, &families(&metrics)), "t_hits_rate"), None);
        metrics.hits.of(Which::A).add(50);
        metrics.hits.of(Which::B).add(30);
        let points = sampler.observe(start + Duration::from_secs(10), &families(&metrics));
        assert_eq!(value(&points, "t_hits_rate{which=\"a\"}"), Some(5.0));
        assert_eq!(value(&points, "t_hits_rate{which=\"b\"}"), Some(3.0));
        assert_eq!(value(&points, "t_hits_rate"), Some(8.0));
        assert!(points.iter().all(|point| !point.series.contains("hidden")));
    }

    #[test]
    fn a_histogram_gives_the_quantiles_of_the_interval_alone() {
        let (metrics, mut sampler, start) = (TestMetrics::default(), Sampler::default(), Instant::now());
        (0..1000).for_each(|_| metrics.time.record(Duration::from_secs(5)));
        sampler.observe(start, &families(&metrics));
        (0..100).for_each(|_| metrics.time.record(Duration::from_millis(2)));
        let points = sampler.observe(start + Duration::from_secs(10), &families(&metrics));
        let p99 = value(&points, "t_time_p99").unwrap();
        assert!((p99 - 0.002).abs() < 0.00002, "{p99}");
        assert_eq!(value(&points, "t_time_rate"), Some(10.0));
        let points = sampler.observe(start + Duration::from_secs(20), &families(&metrics));
        assert_eq!(value(&points, "t_time_p99"), None);
        assert_eq!(value(&points, "t_time_rate"), Some(0.0));
    }

    #[test]
    fn of_a_metric_with_very_many_cells_only_the_sum_is_kept() {
        let (pools, mut sampler) = (PoolMetrics::default(), Sampler::default());
        let mut look = |count: usize| {
            (0..count).for_each(|pool| pools.used.cell([&pool.to_string()]).set(2));
            let mut families = Vec::new();
            pools.collect(&mut families);
            sampler.observe(Instant::now(), &families)
        };
        assert_eq!(look(MAX_CELLS).len(), MAX_CELLS + 1);
        assert_eq!(look(MAX_CELLS + 1), [Point { series: "t_used".into(), value: 2.0 * (MAX_CELLS + 1) as f64 }]);
    }

    #[test]
    fn a_series_has_the_unit_of_its_metric() {
        let metrics = families(&TestMetrics::default());
        let units = ["t_hits_rate{which=\"a\"}", "t_level", "t_time_p99", "t_time_rate", "t_time", "other"];
        let units = units.map(|series| unit_of(series, &metrics));
        assert_eq!(units, ["per_second", "", "seconds", "per_second", "", ""]);
    }

    #[test]
    fn a_counter_that_starts_again_never_gives_a_negative_rate() {
        let (mut sampler, start) = (Sampler::default(), Instant::now());
        let old = TestMetrics::default();
        old.hits.of(Which::A).add(1000);
        sampler.observe(start, &families(&old));
        let new = TestMetrics::default();
        new.hits.of(Which::A).add(20);
        let points = sampler.observe(start + Duration::from_secs(10), &families(&new));
        assert_eq!(value(&points, "t_hits_rate{which=\"a\"}"), Some(2.0));
    }
}
