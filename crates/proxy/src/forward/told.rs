//! What a client is told where no backend has answered: whose fault it was, by the statuses that say so.

use std::sync::Arc;

use http::header::RETRY_AFTER;
use http::{HeaderValue, StatusCode};
use outwork_front::api::Fault;
use outwork_front::message::{Asked, Backend, BodyError, Response};
use outwork_front::problem::Problem;

use super::{Call, Proxied, Why, grpc};
use crate::metrics::Absent;
use crate::pool::endpoint::Endpoint;
use crate::upstream::ExchangeError;
use crate::upstream::dial::DialError;

/// A call of gRPC is over before its backend has ended it.
pub(super) const OUT_OF_TIME: &str = "the time that the client gives the call is over";

impl Proxied {
    /// There is nobody to answer.
    pub(super) fn refused(&self, call: &Call, reason: Absent) -> Response {
        self.pool.metrics().refused.of(reason).inc();
        let detail = match reason {
            Absent::Empty => "the pool has no backends",
            Absent::Weightless => "no backend is given any requests: all weigh 0",
            Absent::Unhealthy => "no backend is healthy",
            Absent::Draining => "the backends are on their way out",
            Absent::Excluded => "every backend has failed",
            Absent::BackendLimits | Absent::PoolLimit => "the backends have as many requests as they may have",
            Absent::QueueFull => "too many requests wait for a backend already",
            Absent::QueueTimeout => "no backend had room for the request in time",
            Absent::Rate | Absent::RateEverywhere => "as many requests have begun in this second as may begin",
            Absent::Connections | Absent::ConnectionsEverywhere => {
                "there are as many connections to backends as there may be"
            }
            Absent::Everywhere => "as many requests are under way as there may be",
        };
        let pool = &*self.pool.name;
        tracing::debug!(pool, ?reason, "there is no backend for a request");
        // Backends that are well, and get no more because somebody here has said so, are at no fault.
        let fault = match reason {
            Absent::Empty | Absent::Unhealthy | Absent::Excluded | Absent::QueueTimeout => Fault::Upstream,
            _ => Fault::Us,
        };
        let of_limits = [
            Absent::Rate,
            Absent::RateEverywhere,
            Absent::Connections,
            Absent::ConnectionsEverywhere,
            Absent::Everywhere,
            Absent::PoolLimit,
            Absent::BackendLimits,
            Absent::QueueFull,
        ];
        let is_limit = of_limits.contains(&reason);
        let ended = match is_limit || reason == Absent::QueueTimeout {
            true => grpc::Status::ResourceExhausted,
            false => grpc::Status::Unavailable,
        };
        let mut response = telling(fault, call, (StatusCode::SERVICE_UNAVAILABLE, ended), detail);
        let whom = Arc::new(Backend { pool: pool.into(), backend: None });
        response.asked = Some(Asked::new(whom, 0, None));
        if is_limit {
            // Of a rate, the next may begin within a second; when something ends nobody knows.
            response.headers.insert(RETRY_AFTER, HeaderValue::from_static("1"));
        }
        response
    }

    /// A call of gRPC has had no answer in the time that its client gives it.
    pub(super) fn out_of_time(&self) -> Response {
        let mut response = grpc::ended(grpc::Status::DeadlineExceeded, OUT_OF_TIME);
        let pool = &*self.pool.name;
        let whom = Arc::new(Backend { pool: pool.into(), backend: None });
        response.asked = Some(Asked::new(whom, 0, None));
        response
    }

    /// What was asked did not answer.
    pub(super) fn failed(&self, call: &Call, endpoint: &Endpoint, why: &Why) -> Response {
        let (pool, backend) = (&*self.pool.name, &*endpoint.key);
        let (status, detail) = match why {
            Why::Exchange(ExchangeError::Client(error)) => return client_failed(call, error),
            Why::Dial(DialError::Full(reason)) => return self.refused(call, *reason),
            Why::OutOfTime => return self.out_of_time(),
            Why::Dial(DialError::Late) => (StatusCode::GATEWAY_TIMEOUT, "the backend takes too long to connect to"),
            Why::Dial(_) => (StatusCode::BAD_GATEWAY, "the backend cannot be connected to"),
            Why::Exchange(ExchangeError::Drained) => {
                let detail = "the backend was taken out before it had answered";
                return blaming(Fault::Us, call, StatusCode::SERVICE_UNAVAILABLE, detail);
            }
            Why::Exchange(ExchangeError::Late) => (StatusCode::GATEWAY_TIMEOUT, "the backend takes too long to answer"),
            Why::Exchange(ExchangeError::NoSwitch) => {
                (StatusCode::BAD_GATEWAY, "the backend speaks HTTP/2, and takes no WebSockets over it")
            }
            Why::Exchange(ExchangeError::Malformed(_)) => {
                (StatusCode::BAD_GATEWAY, "the backend's answer is malformed")
            }
            Why::Exchange(_) => (StatusCode::BAD_GATEWAY, "the backend broke off before it answered"),
        };
        match why {
            Why::Dial(error) => tracing::debug!(pool, backend, %error, "a request was not answered"),
            Why::Exchange(error) => tracing::debug!(pool, backend, %error, "a request was not answered"),
            Why::OutOfTime => {}
        }
        bad(call, status, detail)
    }
}

/// The answer where no backend has given one. Calls of gRPC have their own way to be told, which is no error of HTTP.
pub(super) fn bad(call: &Call, status: StatusCode, detail: &'static str) -> Response {
    blaming(Fault::Upstream, call, status, detail)
}

/// The same, and whose fault it is.
pub(super) fn blaming(fault: Fault, call: &Call, status: StatusCode, detail: &'static str) -> Response {
    telling(fault, call, (status, grpc::Status::of(status)), detail)
}

/// The same, and how a call of gRPC ends by it.
fn telling(fault: Fault, call: &Call, (status, ended): (StatusCode, grpc::Status), detail: &'static str) -> Response {
    match grpc::is_call(&call.head) {
        true => grpc::ended(ended, detail),
        false => Problem::new(status, detail).fault(fault).answer(&call.head),
    }
}

/// The client did not send what it said it would.
fn client_failed(call: &Call, error: &BodyError) -> Response {
    let status = match error {
        BodyError::TooLarge { .. } => StatusCode::PAYLOAD_TOO_LARGE,
        BodyError::Cut(error) if error.kind() == std::io::ErrorKind::TimedOut => StatusCode::REQUEST_TIMEOUT,
        _ => StatusCode::BAD_REQUEST,
    };
    if status == StatusCode::PAYLOAD_TOO_LARGE && grpc::is_call(&call.head) {
        return grpc::ended(grpc::Status::of(status), "the request's body is larger than it may be");
    }
    Problem::new(status, error.to_string()).answer(&call.head)
}
