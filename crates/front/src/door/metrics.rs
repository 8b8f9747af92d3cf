//! Every metric of the front door, declared once.

use std::time::Duration;

use http::StatusCode;
use outwork_telemetry::{labels, metrics};

use crate::file::FileTransfer;
use crate::metrics::StatusClass;

labels! {
    /// Why a connection ended that did not end by itself.
    pub enum Cut as "reason" {
        Full = "full", Tls = "tls", Late = "late", Broken = "broken", Accept = "accept"
    }
}

labels! {
    /// The version of HTTP.
    pub enum Protocol as "protocol" { Http1 = "http1", Http2 = "http2", Http3 = "http3" }
}

metrics! {
    /// Metrics of the front door.
    pub struct DoorMetrics, prefix "outwork_front" {
        /// Connections accepted.
        connections: Counter,
        /// Connections open now.
        connections_open: Gauge => history,
        /// Connections that were turned away or cut: full, failed TLS handshake, too slow, broken, failed accept.
        connections_cut: Counter by Cut,
        /// Requests answered, by class of status.
        requests: Counter by StatusClass => history,
        /// Requests by version of HTTP.
        protocols: Counter by Protocol,
        /// Time from a request's head to its answer's head.
        request_time: Histogram in seconds => history,
        /// Bytes received of clients.
        received: Counter => history,
        /// Bytes sent to clients.
        sent: Counter => history,
        /// Parts of files sent, by how.
        file_parts: Counter by FileTransfer,
        /// Pieces of files that were not in the page cache, and were waited for by another thread.
        file_waits: Counter,
        /// Pieces of files that the file system would not read past the page cache.
        direct_refused: Counter,
    }
}

impl DoorMetrics {
    /// A request was answered.
    pub(crate) fn answered(&self, status: StatusCode, after: Duration) {
        self.requests.of(StatusClass::from(status)).inc();
        self.request_time.record(after);
    }
}
