//! Turns two readings of the metrics into points: rates of counters, values of gauges, quantiles of what a histogram
//! recorded in between. Sans-IO: the caller reads the clock and the registry.

use std::collections::HashMap;
use std::time::Instant;

use crate::family::{Family, Labels, QUANTILES, SeriesName, Value};
use crate::histogram::Snapshot;

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
/// | metric | series | value |
/// |---|---|---|
/// | counter | `name_total{labels}` | increase a second |
/// | gauge | `name{labels}` | the value |
/// | either, with labels | `name` | the sum over all labels |
/// | histogram | `name{labels,quantile="0.5"}`, `"0.95"`, `"0.99"` | the quantile of the interval |
/// | | `name_avg{labels}`, `name_max{labels}` | mean and maximum of the interval |
/// | | `name_count{labels}` | values recorded a second |
///
/// An interval in which a histogram recorded nothing has no quantile, mean or maximum.
#[derive(Debug, Default)]
pub struct Sampler {
    at: Option<Instant>,
    counters: HashMap<String, f64>,
    histograms: HashMap<String, Snapshot>,
}

impl Sampler {
    /// Compares with the reading before. The first reading gives only gauges.
    pub fn observe(&mut self, now: Instant, families: &[Family]) -> Vec<Point> {
        let elapsed = self.at.map(|at| now.saturating_duration_since(at).as_secs_f64()).filter(|s| *s > 0.0);
        let (before, mut after) = (std::mem::take(self), Self { at: Some(now), ..Self::default() });
        let mut points = Points(Vec::new());
        for family in families.iter().filter(|family| family.desc.history) {
            let mut sum = None;
            for sample in &family.samples {
                let (name, labels) = (family.desc.name, &sample.labels);
                match &sample.value {
                    Value::Number(total) if family.desc.kind == crate::Kind::Counter => {
                        let series = points.name(name, "", labels, None);
                        // A counter that went back belongs to a cell made anew: it counted from zero.
                        let rate = before
                            .counters
                            .get(&series)
                            .zip(elapsed)
                            .map(|(then, elapsed)| (if total >= then { total - then } else { *total }) / elapsed);
                        after.counters.insert(series.clone(), *total);
                        let Some(rate) = rate else { continue };
                        *sum.get_or_insert(0.0) += rate;
                        points.0.push(Point { series, value: rate });
                    }
                    Value::Number(value) => {
                        *sum.get_or_insert(0.0) += value;
                        points.push(name, "", labels, None, *value);
                    }
                    Value::Histogram(snapshot) => {
                        let series = points.name(name, "", labels, None);
                        if let Some((then, elapsed)) = before.histograms.get(&series).zip(elapsed) {
                            points.push_interval(family, labels, &snapshot.since(then), elapsed);
                        }
                        after.histograms.insert(series, snapshot.clone());
                    }
                }
            }
            if let Some(sum) = sum.filter(|_| family.samples.iter().any(|sample| !sample.labels.is_empty())) {
                points.push(family.desc.name, "", &Labels::new(), None, sum);
            }
        }
        *self = after;
        points.0
    }
}

struct Points(Vec<Point>);

impl Points {
    fn name(&self, name: &str, suffix: &str, labels: &Labels, quantile: Option<&str>) -> String {
        SeriesName { name, suffix, labels, quantile }.to_string()
    }

    fn push(&mut self, name: &str, suffix: &str, labels: &Labels, quantile: Option<&str>, value: f64) {
        let series = self.name(name, suffix, labels, quantile);
        self.0.push(Point { series, value });
    }

    fn push_interval(&mut self, family: &Family, labels: &Labels, interval: &Snapshot, elapsed: f64) {
        let (name, scale) = (family.desc.name, family.desc.unit.scale());
        self.push(name, "_count", labels, None, interval.count() as f64 / elapsed);
        if interval.count() == 0 {
            return;
        }
        for (q, quantile) in QUANTILES {
            self.push(name, "", labels, Some(quantile), interval.quantile(q) as f64 * scale);
        }
        self.push(name, "_avg", labels, None, interval.mean() * scale);
        self.push(name, "_max", labels, None, interval.max() as f64 * scale);
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

    fn read(metrics: &TestMetrics) -> Vec<Family> {
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
        assert_eq!(value(&sampler.observe(start, &read(&metrics)), "t_hits_total"), None);
        metrics.hits.of(Which::A).add(50);
        metrics.hits.of(Which::B).add(30);
        let points = sampler.observe(start + Duration::from_secs(10), &read(&metrics));
        assert_eq!(value(&points, "t_hits_total{which=\"a\"}"), Some(5.0));
        assert_eq!(value(&points, "t_hits_total{which=\"b\"}"), Some(3.0));
        assert_eq!(value(&points, "t_hits_total"), Some(8.0));
        assert!(points.iter().all(|point| !point.series.contains("hidden")));
    }

    #[test]
    fn a_histogram_gives_the_quantiles_of_the_interval_alone() {
        let (metrics, mut sampler, start) = (TestMetrics::default(), Sampler::default(), Instant::now());
        (0..1000).for_each(|_| metrics.time.record(Duration::from_secs(5)));
        sampler.observe(start, &read(&metrics));
        (0..100).for_each(|_| metrics.time.record(Duration::from_millis(2)));
        let points = sampler.observe(start + Duration::from_secs(10), &read(&metrics));
        let p99 = value(&points, "t_time_seconds{quantile=\"0.99\"}").unwrap();
        assert!((p99 - 0.002).abs() < 0.00002, "{p99}");
        assert_eq!(value(&points, "t_time_seconds_count"), Some(10.0));
        let points = sampler.observe(start + Duration::from_secs(20), &read(&metrics));
        assert_eq!(value(&points, "t_time_seconds{quantile=\"0.99\"}"), None);
        assert_eq!(value(&points, "t_time_seconds_count"), Some(0.0));
    }

    #[test]
    fn a_counter_that_starts_again_never_gives_a_negative_rate() {
        let (mut sampler, start) = (Sampler::default(), Instant::now());
        let old = TestMetrics::default();
        old.hits.of(Which::A).add(1000);
        sampler.observe(start, &read(&old));
        let new = TestMetrics::default();
        new.hits.of(Which::A).add(20);
        let points = sampler.observe(start + Duration::from_secs(10), &read(&new));
        assert_eq!(value(&points, "t_hits_total{which=\"a\"}"), Some(2.0));
    }
}
