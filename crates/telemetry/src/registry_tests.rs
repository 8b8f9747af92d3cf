use std::sync::Arc;
use std::time::Duration;

use super::*;
use crate::{labels, metrics};

labels! {
    /// What became of a packet.
    enum Outcome as "outcome" { Answered = "answered", Dropped = "dropped" }
}

labels! {
    /// Where it came from.
    enum Source as "source" { Raw = "raw", Relay = "relay" }
}

metrics! {
    /// Metrics of a service that exists for these tests.
    struct EchoMetrics, prefix "outwork_echo" {
        /// Packets received,
        /// over two lines of help.
        received: Counter by Outcome => history,
        /// Bytes read.
        read: Counter in bytes,
        /// Packets by both labels.
        both: Counter by (Source, Outcome),
        /// Connections of a \ listener.
        open: Gauge by ["listener", "side"] max 2,
        /// Time to answer.
        answer_time: Histogram in seconds => history,
        /// Batch sizes.
        batch: Histogram by Source,
    }
}

fn registry() -> (Registry, Arc<EchoMetrics>) {
    let (registry, metrics) = (Registry::default(), Arc::new(EchoMetrics::default()));
    registry.register(metrics.clone()).unwrap();
    (registry, metrics)
}

fn has(text: &str, line: &str) -> bool {
    text.lines().any(|l| l == line)
}

#[test]
fn names_carry_the_unit_and_counters_end_in_total() {
    let (registry, metrics) = registry();
    metrics.received.of(Outcome::Dropped).add(3);
    metrics.read.add(1500);
    let text = registry.prometheus();
    assert!(has(&text, "# HELP outwork_echo_received_total Packets received, over two lines of help."), "{text}");
    assert!(has(&text, "# TYPE outwork_echo_received_total counter"));
    assert!(has(&text, "outwork_echo_received_total{outcome=\"answered\"} 0"));
    assert!(has(&text, "outwork_echo_received_total{outcome=\"dropped\"} 3"));
    assert!(has(&text, "outwork_echo_read_bytes_total 1500"));
}

#[test]
fn a_pair_of_labels_has_a_cell_for_every_combination() {
    let (registry, metrics) = registry();
    metrics.both.of((Source::Relay, Outcome::Answered)).inc();
    let text = registry.prometheus();
    assert!(has(&text, "outwork_echo_both_total{source=\"relay\",outcome=\"answered\"} 1"), "{text}");
    assert!(has(&text, "outwork_echo_both_total{source=\"raw\",outcome=\"dropped\"} 0"));
}

#[test]
fn a_histogram_is_a_summary_in_seconds_with_its_maximum() {
    let (registry, metrics) = registry();
    for ms in 1..=100 {
        metrics.answer_time.record(Duration::from_millis(ms));
    }
    let text = registry.prometheus();
    let value = |series: &str| -> f64 {
        let line = text.lines().find(|l| l.starts_with(series)).unwrap();
        line.rsplit(' ').next().unwrap().parse().unwrap()
    };
    assert!(has(&text, "# TYPE outwork_echo_answer_time_seconds summary"));
    assert!(has(&text, "# TYPE outwork_echo_answer_time_seconds_max gauge"));
    assert!((value("outwork_echo_answer_time_seconds{quantile=\"0.99\"}") - 0.099).abs() < 0.001);
    assert!((value("outwork_echo_answer_time_seconds_sum") - 5.05).abs() < 1e-9);
    assert!((value("outwork_echo_answer_time_seconds_count") - 100.0).abs() < 1e-9);
    assert!((value("outwork_echo_answer_time_seconds_max") - 0.1).abs() < 1e-9);
    assert!(has(&text, "outwork_echo_batch{source=\"raw\",quantile=\"0.5\"} NaN"), "{text}");
}

#[test]
fn a_histogram_has_buckets_that_can_be_added_up_under_a_name_of_their_own() {
    let (registry, metrics) = registry();
    for ms in [1, 3, 50, 200_000] {
        metrics.answer_time.record(Duration::from_millis(ms));
    }
    metrics.batch.of(Source::Relay).record_value(16);
    let text = registry.prometheus();
    let name = "outwork_echo_answer_time_distribution_seconds";
    assert!(has(&text, &format!("# TYPE {name} histogram")), "{text}");
    for (bound, count) in [("0.0001", 0), ("0.0016", 1), ("0.004", 2), ("0.063", 3), ("100", 3), ("+Inf", 4)] {
        assert!(has(&text, &format!("{name}_bucket{{le=\"{bound}\"}} {count}")), "{bound}: {text}");
    }
    assert!(has(&text, &format!("{name}_count 4")));
    assert!(text.lines().any(|line| line.starts_with(&format!("{name}_sum 200.05"))), "{text}");
    assert_eq!(text.lines().filter(|line| line.starts_with(&format!("{name}_bucket"))).count(), 17);
    // Those of numbers are others, and of what has recorded nothing there are none.
    let of_batch = "outwork_echo_batch_distribution_bucket{source=\"relay\",le=";
    assert!(has(&text, &format!("{of_batch}\"4\"}} 0")) && has(&text, &format!("{of_batch}\"16\"}} 1")), "{text}");
    assert!(!text.contains("outwork_echo_batch_distribution_bucket{source=\"raw\""));
    // Each name has one type.
    let types: Vec<&str> = text.lines().filter(|line| line.starts_with("# TYPE")).collect();
    let names: BTreeSet<_> = types.iter().filter_map(|line| line.split(' ').nth(2)).collect();
    assert_eq!(names.len(), types.len(), "{types:?}");
}

#[test]
fn bounds_of_buckets_grow_and_are_what_is_written() {
    for (bounds, scale) in [(OF_SECONDS, 1e-9), (OF_NUMBERS, 1.0)] {
        assert!(bounds.iter().zip(bounds.iter().skip(1)).all(|(one, next)| one.1 < next.1));
        for (word, bound) in bounds {
            let written: f64 = word.parse().unwrap();
            assert!((written - bound as f64 * scale).abs() < written * 1e-9, "{word}");
        }
    }
}

#[test]
fn label_values_and_help_are_escaped() {
    let (registry, metrics) = registry();
    metrics.open.cell(["a\"b\\c\nd", "in"]).set(7);
    let text = registry.prometheus();
    assert!(has(&text, r#"outwork_echo_open{listener="a\"b\\c\nd",side="in"} 7"#), "{text}");
    assert!(has(&text, r"# HELP outwork_echo_open Connections of a \\ listener."));
}

#[test]
fn a_full_dynamic_label_set_shares_one_cell_and_counts_it() {
    let (registry, metrics) = registry();
    for listener in ["a", "b", "c", "d"] {
        metrics.open.cell([listener, "in"]).inc();
    }
    let text = registry.prometheus();
    assert!(has(&text, "outwork_echo_open{listener=\"b\",side=\"in\"} 1"));
    assert!(has(&text, "outwork_echo_open{listener=\"other\",side=\"other\"} 2"), "{text}");
    assert!(has(&text, "outwork_metrics_label_overflow_total{metric=\"outwork_echo_open\"} 2"));
    metrics.open.retain(|values| values[0] != "a");
    assert!(!registry.prometheus().contains("listener=\"a\""));
    metrics.open.cell(["e", "in"]).set(9);
    assert!(has(&registry.prometheus(), "outwork_echo_open{listener=\"e\",side=\"in\"} 9"));
}

#[test]
fn a_name_is_declared_by_one_service_only() {
    let (registry, _) = registry();
    let again = registry.register(Arc::new(EchoMetrics::default()));
    assert_eq!(again, Err(DuplicateMetric("outwork_echo_received_total")));
}
