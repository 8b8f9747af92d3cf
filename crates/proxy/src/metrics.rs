//! What the proxy counts.

use std::sync::Arc;

use outwork_balance::{Detector, NoBackend};
use outwork_telemetry::{Counter, Label, labels, metrics};

labels! {
    /// How a request to a backend ended.
    pub enum Ended as "outcome" {
        Answered = "answered",
        ServerError = "server-error",
        GatewayError = "gateway-error",
        ConnectFailed = "connect-failed",
        TimedOut = "timed-out",
        Reset = "reset",
        Cancelled = "cancelled",
        Deadline = "deadline"
    }
}

labels! {
    /// Why there was no backend for a request.
    pub enum Absent as "reason" {
        Empty = "empty",
        Weightless = "weightless",
        Unhealthy = "unhealthy",
        Draining = "draining",
        Excluded = "excluded",
        BackendLimits = "backend-limits",
        PoolLimit = "pool-limit",
        QueueFull = "queue-full",
        QueueTimeout = "queue-timeout",
        Rate = "rate",
        Connections = "connections",
        Everywhere = "everywhere",
        RateEverywhere = "rate-everywhere",
        ConnectionsEverywhere = "connections-everywhere"
    }
}

labels! {
    /// Why a request was tried again, or was not.
    pub enum Retried as "outcome" { Again = "again", Budget = "budget", NotSafe = "not-safe", Spent = "spent" }
}

labels! {
    /// What became of a request that took long, and that another backend could be asked, too.
    pub enum Hedged as "outcome" { Asked = "asked", Won = "won", Budget = "budget", Alone = "alone" }
}

labels! {
    /// What became of a copy of a request.
    pub enum Mirrored as "outcome" { Sent = "sent", Failed = "failed", NotWhole = "not-whole", Full = "full" }
}

labels! {
    /// What ended because its backend had left, or was drained, and the time for what it had was over.
    pub enum Drained as "what" { Request = "request", Answer = "answer", Tunnel = "tunnel" }
}

labels! {
    /// Faults that are made on purpose.
    pub enum Injected as "fault" { Delay = "delay", Abort = "abort" }
}

labels! {
    /// What ejected a backend.
    pub enum Ejected as "detector" {
        Consecutive5xx = "consecutive-5xx",
        ConsecutiveGateway = "consecutive-gateway",
        SuccessRate = "success-rate",
        FailurePercentage = "failure-percentage"
    }
}

labels! {
    /// What became of a health check.
    pub enum Checked as "outcome" { Passed = "passed", Failed = "failed" }
}

labels! {
    /// What an answer says of a request, by the first digit of its status.
    pub enum Class as "class" { Informational = "1xx", Successful = "2xx", Redirection = "3xx", ClientError = "4xx", ServerError = "5xx" }
}

/// Pools that have figures of their own.
const POOLS: usize = 256;
/// Backends that have.
pub(crate) const BACKENDS: usize = 4096;

metrics! {
    /// Metrics of the proxy.
    #[derive(Debug)]
    pub struct ProxyMetrics, prefix "outwork_proxy" {
        /// Requests to backends, by how they ended. One that is tried again counts each time. `deadline` is a call of gRPC whose client gave it no more time.
        requests: Counter by Ended => history,
        /// Requests for which there was no backend.
        refused: Counter by Absent => history,
        /// Failures of backends that could have been tried again, by what became of that.
        retries: Counter by Retried => history,
        /// Requests that took long, by whether another backend was asked, too; `won` counts those that it answered first.
        hedges: Counter by Hedged => history,
        /// Copies of requests for pools whose answers nobody gets.
        mirrored: Counter by Mirrored,
        /// What ended because its backend had left, or was drained, for longer than `drain` or `--for`: a `request` before its answer had begun, an `answer` or a `tunnel` in the
        /// midst of it.
        drained: Counter by Drained => history,
        /// Faults that requests have met on purpose.
        injected: Counter by Injected,
        /// Requests that wait for a backend to have room.
        waiting: Gauge,
        /// Connections to backends that were opened.
        connections_opened: Counter => history,
        /// Connections to backends that are open.
        connections: Gauge => history,
        /// Requests that found an open connection.
        connections_reused: Counter => history,
        /// Connections that waited for a request and made room for others, for there may be no more of them.
        connections_evicted: Counter => history,
        /// Requests behind others on a connection that ended before their turn, and that were asked again by themselves.
        pipelined_again: Counter => history,
        /// Bytes of bodies sent to backends.
        sent: Counter in bytes => history,
        /// Bytes of bodies that backends have sent.
        received: Counter in bytes => history,
        /// Connections that have been switched to another protocol.
        tunnels: Gauge => history,
        /// Requests to a backend.
        backend_requests: Counter by ["pool", "backend"] max BACKENDS => history,
        /// Answers of a backend, by the class of their status.
        backend_responses: Counter by ["pool", "backend", "class"] max BACKENDS * Class::ALL.len(),
        /// Those that it failed.
        backend_failures: Counter by ["pool", "backend"] max BACKENDS,
        /// Time until it began to answer.
        backend_time: Histogram in seconds by ["pool", "backend"] max BACKENDS => history,
        /// Connections opened to it.
        backend_connections: Counter by ["pool", "backend"] max BACKENDS,
        /// What it may be used for: 1 for anything, 2 for what it has (it drains), 3 for nothing, for it is ejected, 4 for nothing, for it fails its checks, 5 for nothing, for its
        /// time to drain is over. 0 until somebody has looked.
        backend_state: Gauge by ["pool", "backend"] max BACKENDS,
        /// Health checks that a backend has failed.
        backend_check_failures: Counter by ["pool", "backend"] max BACKENDS,
        /// Requests to the backends of a pool, by how they ended. One that is tried again counts each time.
        pool_requests: Counter by ["pool", "outcome"] max POOLS * Ended::ALL.len(),
        /// Attempts at requests of a pool beyond the first.
        pool_retries: Counter by ["pool"] max POOLS,
        /// Backends of a pool that were ejected because they failed requests.
        pool_ejections: Counter by ["pool"] max POOLS,
        /// Requests of a pool that wait for a backend to have room.
        pool_waiting: Gauge by ["pool"] max POOLS,
        /// Backends of a pool that may be used.
        usable: Gauge by ["pool"] max POOLS => history,
        /// Backends of a pool that fail their checks.
        unhealthy: Gauge by ["pool"] max POOLS => history,
        /// Backends of a pool that are ejected.
        ejected: Gauge by ["pool"] max POOLS => history,
        /// Backends of a pool that are on their way out.
        draining: Gauge by ["pool"] max POOLS => history,
        /// 1 where so few backends of a pool are usable that all of them are used, whatever their health.
        panics: Gauge by ["pool"] max POOLS,
        /// Backends that were ejected, by what saw it.
        ejections: Counter by Ejected => history,
        /// Health checks.
        checks: Counter by Checked,
        /// Names of backends that could not be looked up.
        unresolved: Counter,
    }
}

/// Applies the same to metrics that have the same labels.
macro_rules! retain {
    ($self:ident, $stays:expr, $($metric:ident)*) => { $($self.$metric.retain($stays);)* };
}

impl ProxyMetrics {
    /// Forgets what belongs to pools that have left.
    pub(crate) fn keep_pools(&self, stays: impl Fn(&str) -> bool) {
        retain!(self, |[pool]| stays(pool), pool_retries pool_ejections pool_waiting usable unhealthy ejected draining panics);
        self.pool_requests.retain(|[pool, _]| stays(pool));
        self.keep_backends(|pool, _| stays(pool));
    }

    /// Forgets what belongs to backends that have left.
    pub(crate) fn keep_backends(&self, stays: impl Fn(&str, &str) -> bool) {
        retain!(
            self,
            |[pool, backend]| stays(pool, backend),
            backend_requests backend_failures backend_time backend_connections backend_state backend_check_failures
        );
        self.backend_responses.retain(|[pool, backend, _]| stays(pool, backend));
    }
}

/// The counters of one pool, by how requests end: looked up once, for that takes a lock.
#[derive(Debug)]
pub(crate) struct Endings([Arc<Counter>; Ended::ALL.len()]);

impl Endings {
    pub(crate) fn new(metrics: &ProxyMetrics, pool: &str) -> Self {
        Self(std::array::from_fn(|index| {
            let ended = Ended::ALL.get(index).map_or("", |ended| ended.as_str());
            metrics.pool_requests.cell([pool, ended])
        }))
    }

    pub(crate) fn count(&self, ended: Ended) {
        if let Some(counter) = self.0.get(ended.index()) {
            counter.inc();
        }
    }
}

/// Those of one backend, by the classes of its answers.
#[derive(Debug, Clone)]
pub(crate) struct Classes([Arc<Counter>; Class::ALL.len()]);

impl Classes {
    pub(crate) fn new(metrics: &ProxyMetrics, pool: &str, backend: &str) -> Self {
        Self(std::array::from_fn(|index| {
            let class = Class::ALL.get(index).map_or("", |class| class.as_str());
            metrics.backend_responses.cell([pool, backend, class])
        }))
    }

    /// Counts an answer. What is no class of RFC 9110 section 15 is none.
    pub(crate) fn count(&self, status: u16) {
        let class = usize::from(status / 100).checked_sub(1);
        if let Some(counter) = class.and_then(|class| self.0.get(class)) {
            counter.inc();
        }
    }
}

impl From<outwork_balance::Outcome> for Ended {
    fn from(outcome: outwork_balance::Outcome) -> Self {
        use outwork_balance::Outcome;
        match outcome {
            Outcome::Answered => Self::Answered,
            Outcome::ServerError => Self::ServerError,
            Outcome::GatewayError => Self::GatewayError,
            Outcome::ConnectFailed => Self::ConnectFailed,
            Outcome::TimedOut => Self::TimedOut,
            Outcome::Reset => Self::Reset,
            Outcome::Cancelled => Self::Cancelled,
        }
    }
}

impl From<NoBackend> for Absent {
    fn from(reason: NoBackend) -> Self {
        match reason {
            NoBackend::Empty => Self::Empty,
            NoBackend::Weightless => Self::Weightless,
            NoBackend::Unhealthy => Self::Unhealthy,
            NoBackend::Draining => Self::Draining,
            NoBackend::Excluded => Self::Excluded,
            NoBackend::MemberLimits => Self::BackendLimits,
            NoBackend::PoolLimit => Self::PoolLimit,
        }
    }
}

impl From<Detector> for Ejected {
    fn from(detector: Detector) -> Self {
        match detector {
            Detector::Consecutive5xx => Self::Consecutive5xx,
            Detector::ConsecutiveGateway => Self::ConsecutiveGateway,
            Detector::SuccessRate => Self::SuccessRate,
            Detector::FailurePercentage => Self::FailurePercentage,
        }
    }
}
