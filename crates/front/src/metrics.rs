//! Every metric of the HTTP front, declared once.

use outwork_telemetry::{labels, metrics};

labels! {
    /// The first digit of a status.
    pub enum StatusClass as "status" {
        Informational = "1xx", Success = "2xx", Redirection = "3xx", ClientError = "4xx", ServerError = "5xx"
    }
}

labels! {
    /// Why a caller was not let in.
    pub enum AuthFailure as "reason" {
        Missing = "missing", Unknown = "unknown", Forbidden = "forbidden",
        Forgery = "forgery", RateLimited = "rate_limited"
    }
}

labels! {
    /// Why a connection ended before its first request.
    pub enum Refusal as "reason" { Full = "full", Tls = "tls", Silent = "silent", Accept = "accept" }
}

metrics! {
    /// Metrics of the HTTP listeners, callers and event streams.
    pub struct FrontMetrics, prefix "outwork_http" {
        /// Connections accepted.
        connections: Counter,
        /// Connections open now.
        connections_open: Gauge => history,
        /// Connections turned away: full, failed TLS handshake, no request in time, failed accept.
        connections_refused: Counter by Refusal,
        /// Requests answered, by class of status.
        requests: Counter by StatusClass => history,
        /// Time from a request's head to its answer's head.
        request_time: Histogram in seconds => history,
        /// Callers not let in.
        auth_failures: Counter by AuthFailure => history,
        /// Browser sessions open now.
        sessions: Gauge,
        /// Changes whose audit row could not be written.
        audit_failed: Counter,
        /// Event streams open now.
        event_streams: Gauge,
        /// Events left out because a topic was over its rate.
        events_dropped: Counter,
    }
}

impl From<http::StatusCode> for StatusClass {
    fn from(status: http::StatusCode) -> Self {
        match status.as_u16() / 100 {
            1 => Self::Informational,
            2 => Self::Success,
            3 => Self::Redirection,
            4 => Self::ClientError,
            _ => Self::ServerError,
        }
    }
}
