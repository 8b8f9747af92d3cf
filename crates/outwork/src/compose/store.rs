//! What the log of the leases measures of itself.

use std::sync::{Arc, Weak};

use outwork_dhcp::server::Service;
use outwork_telemetry::{Collect, Desc, Family, Kind, Sample, Unit, Value};

outwork_telemetry::metrics! {
    /// What every commit tells.
    pub(super) struct CommitMetrics, prefix "outwork_store" {
        /// Time to write and sync one batch of changes.
        commit: Histogram in seconds => history,
        /// Changes written.
        records: Counter => history,
        /// Bytes written for them.
        written: Counter in bytes,
    }
}

/// The metrics of a log: those of its commits, and its own counts.
pub(super) struct StoreFigures {
    pub(super) commits: Arc<CommitMetrics>,
    /// Weak: the registry outlives the service.
    service: Weak<Service>,
}

impl StoreFigures {
    /// Begins to listen to the log's commits.
    pub(super) fn new(service: &Arc<Service>) -> Arc<Self> {
        let commits = Arc::new(CommitMetrics::default());
        let told = Arc::clone(&commits);
        service.log().on_commit(Box::new(move |commit| {
            told.commit.record(commit.elapsed);
            told.records.add(commit.records as u64);
            told.written.add(commit.bytes as u64);
        }));
        Arc::new(Self { commits, service: Arc::downgrade(service) })
    }
}

impl Collect for StoreFigures {
    fn collect(&self, families: &mut Vec<Family>) {
        self.commits.collect(families);
        let Some(service) = self.service.upgrade() else { return };
        let stats = service.log().stats();
        let mut push = |name, help, kind, unit, value: u64| {
            let desc = Desc { name, help, kind, unit, history: false };
            let samples = vec![Sample { labels: Vec::new(), value: Value::Number(value as f64) }];
            families.push(Family { desc, samples, overflow: None });
        };
        let (counter, gauge, none) = (Kind::Counter, Kind::Gauge, Unit::None);
        push("outwork_store_failures_total", "Failed attempts to write or sync.", counter, none, stats.failures);
        push("outwork_store_refused_total", "Changes refused because too much waited.", counter, none, stats.refused);
        push("outwork_store_compactions_total", "Snapshots taken.", counter, none, stats.compactions);
        let failed = stats.compaction_failures;
        push("outwork_store_compaction_failures_total", "Snapshots that failed.", counter, none, failed);
        push(
            "outwork_store_pending_bytes",
            "Bytes that wait for the disk.",
            gauge,
            Unit::Bytes,
            stats.pending_bytes as u64,
        );
        push("outwork_store_log_bytes", "Bytes in segments of the log.", gauge, Unit::Bytes, stats.log_bytes);
    }
}
