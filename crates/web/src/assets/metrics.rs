//! What assets count.

use outwork_telemetry::metrics;

/// Sites that have figures of their own.
const SITES: usize = 64;

metrics! {
    /// Metrics of assets.
    #[derive(Debug)]
    pub struct AssetMetrics, prefix "outwork_assets" {
        /// Times that everything was made that had changed.
        builds: Counter by ["site"] max SITES => history,
        /// Times that nothing could be made, so that what was made before is served on.
        failures: Counter by ["site"] max SITES,
        /// What is wrong with files now.
        faults: Gauge by ["site"] max SITES => history,
        /// Time that a build took.
        build_time: Histogram in seconds,
        /// Contents made anew.
        made: Counter by ["site"] max SITES,
        /// Contents that had been made before.
        remembered: Counter by ["site"] max SITES,
        /// Bytes of the files that something was made of.
        before: Gauge in bytes by ["site"] max SITES,
        /// Bytes of what was made of them.
        after: Gauge in bytes by ["site"] max SITES,
        /// Names by content that are served, those of contents that are no more included.
        versions: Gauge by ["site"] max SITES,
    }
}
