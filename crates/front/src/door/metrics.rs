//! Every metric of the front door, declared once.

use std::time::Duration;

use http::StatusCode;
use outwork_telemetry::{labels, metrics};

use crate::file::FileTransfer;
use crate::metrics::StatusClass;
use crate::tls::Session;

labels! {
    /// Why a connection ended that did not end by itself.
    pub enum Cut as "reason" {
        Full = "full", Client = "client", Tls = "tls", Late = "late", Broken = "broken", Flood = "flood", Accept = "accept",
        Proxy = "proxy"
    }
}

labels! {
    /// What of a request took longer than it may.
    pub enum Late as "part" { Body = "body", Handler = "handler", Answer = "answer" }
}

labels! {
    /// The version of HTTP.
    pub enum Protocol as "protocol" { Http1 = "http1", Http2 = "http2", Http3 = "http3" }
}

labels! {
    /// What a client of HTTP/2 has sent too much of, or had us send.
    pub enum Flood as "reason" {
        Reset = "reset", Induced = "induced_reset", Head = "head", Continuation = "continuation", Data = "data",
        Settings = "settings", Ping = "ping", Priority = "priority", Window = "window_update", Unknown = "unknown"
    }
}

labels! {
    /// What a handshake of TLS led to.
    pub enum Handshake as "handshake" {
        Full12 = "full_tls12", Resumed12 = "resumed_tls12", Full13 = "full_tls13", Resumed13 = "resumed_tls13",
        Quic = "quic"
    }
}

impl Handshake {
    pub(crate) fn of(session: &Session) -> Self {
        match (session.version, session.resumed) {
            ("TLSv1.3", false) => Self::Full13,
            ("TLSv1.3", true) => Self::Resumed13,
            (_, false) => Self::Full12,
            (_, true) => Self::Resumed12,
        }
    }
}

metrics! {
    /// Metrics of the front door.
    pub struct DoorMetrics, prefix "outwork_front" {
        /// Connections accepted.
        connections: Counter => history,
        /// Connections open now.
        connections_open: Gauge => history,
        /// Connections that were turned away or cut: full, too many of one client, failed TLS handshake, too slow, broken, too many
        /// requests begun and given up, failed accept, from a proxy that did not say whose they are.
        connections_cut: Counter by Cut => history,
        /// Connections of HTTP/2 that ended because their client sent more than it had use for, by what of: streams opened and reset, streams
        /// that we had to reset, heads far beyond their size, heads in too many pieces, content in too many, and frames that ask for nothing.
        /// Each is among the connections cut for a flood, too.
        http2_floods: Counter by Flood,
        /// Requests answered, by class of status.
        requests: Counter by StatusClass => history,
        /// Requests that were given up: a body that came too slowly, a handler that took too long, an answer that the client took too
        /// slowly.
        requests_late: Counter by Late => history,
        /// Requests whose client went away while their answer was made.
        requests_abandoned: Counter => history,
        /// Requests by version of HTTP.
        protocols: Counter by Protocol => history,
        /// Time from a request's head to its answer's head.
        request_time: Histogram in seconds => history,
        /// Content of requests that brought any.
        request_body_size: Histogram in bytes,
        /// Content of answers as it was sent, compressed where it was; 0 where there was none.
        response_body_size: Histogram in bytes,
        /// Handshakes of TLS, by version, and by whether an earlier session went on.
        tls_handshakes: Counter by Handshake => history,
        /// Of the connections, those over QUIC.
        quic_connections: Counter,
        /// Clients that had to show that they receive what is sent to their address.
        quic_retries: Counter,
        /// Datagrams that one thread received for another, after their client had moved.
        quic_passed_on: Counter,
        /// Such datagrams that the other thread had no room for.
        quic_dropped: Counter,
        /// Received of clients.
        received: Counter in bytes => history,
        /// Sent to clients.
        sent: Counter in bytes => history,
        /// Answers given by heart: to a head that came before, byte for byte, and whose answer stands.
        repeated: Counter => history,
        /// Memory for answers that are known by heart.
        known: Gauge in bytes,
        /// Answers that were let go of to make room for others, or not kept because there was none.
        known_crowded: Counter,
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
