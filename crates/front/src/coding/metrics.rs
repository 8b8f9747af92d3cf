//! What compression counts.

use outwork_telemetry::{labels, metrics};

use super::Coding;

labels! {
    /// Why a content was sent as it is that would have been compressed.
    pub enum Uncompressed as "reason" {
        /// Everything that compresses was busy.
        Busy = "busy",
        /// It would not have become smaller.
        Larger = "larger",
        /// It could not be read or encoded.
        Failed = "failed",
    }
}

metrics! {
    /// Metrics of compression.
    pub struct CodingMetrics, prefix "outwork_compression" {
        /// Contents compressed whole.
        contents: Counter by Coding => history,
        /// Contents compressed as they came.
        streams: Counter by Coding,
        /// Contents being compressed as they come, now.
        streams_open: Gauge,
        /// Contents sent as they are that would have been compressed: all busy, not made smaller, failed.
        uncompressed: Counter by Uncompressed,
        /// Bytes before compression.
        read: Counter in bytes => history,
        /// Bytes after compression.
        written: Counter in bytes => history,
        /// Time to compress a whole content.
        time: Histogram in seconds,
    }
}
