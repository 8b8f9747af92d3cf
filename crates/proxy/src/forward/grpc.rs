//! Calls of gRPC: how they are told of their end, and how long they may take. Plain functions of fields and time.

use std::time::{Duration, Instant};

use http::header::CONTENT_TYPE;
use http::{HeaderMap, HeaderName, HeaderValue, StatusCode};
use outwork_balance::Outcome;
use outwork_front::message::Response;

/// How long a call may take, as its client says.
pub(super) const TIMEOUT: HeaderName = HeaderName::from_static("grpc-timeout");
const STATUS: HeaderName = HeaderName::from_static("grpc-status");
const MESSAGE: HeaderName = HeaderName::from_static("grpc-message");
/// A call that may take longer has no deadline here.
const LONG: Duration = Duration::from_secs(30 * 24 * 3600);
/// What is beyond the digits that a time may have.
const BEYOND: u128 = 100_000_000;

/// How a call ends that no backend has ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Status {
    DeadlineExceeded,
    ResourceExhausted,
    Unavailable,
}

/// When a call is to have ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Deadline {
    pub(super) at: Instant,
    /// How long it was until then when the call came.
    given: Duration,
}

impl Deadline {
    /// That of a call that comes now, and has so long.
    pub(super) fn new(now: Instant, given: Duration) -> Self {
        Self { at: now + given, given }
    }

    /// What is left until then, as backends are told it.
    pub(super) fn left(self, now: Instant) -> HeaderValue {
        left(self.at.saturating_duration_since(now))
    }

    /// What it says of a backend that it has come before its answer: nothing, unless that has had the call for half of the time, or more.
    pub(super) fn judge(self, had: Duration) -> Outcome {
        match had.saturating_mul(2) >= self.given {
            true => Outcome::TimedOut,
            false => Outcome::Cancelled,
        }
    }
}

impl Status {
    /// What a status of HTTP is there.
    pub(super) fn of(status: StatusCode) -> Self {
        match status {
            StatusCode::GATEWAY_TIMEOUT => Self::DeadlineExceeded,
            StatusCode::TOO_MANY_REQUESTS | StatusCode::PAYLOAD_TOO_LARGE => Self::ResourceExhausted,
            _ => Self::Unavailable,
        }
    }

    fn code(self) -> &'static str {
        match self {
            Self::DeadlineExceeded => "4",
            Self::ResourceExhausted => "8",
            Self::Unavailable => "14",
        }
    }
}

/// Whether a request with these fields is a call.
pub(super) fn is_call(headers: &HeaderMap) -> bool {
    headers.get(CONTENT_TYPE).is_some_and(|kind| kind.as_bytes().starts_with(b"application/grpc"))
}

/// Whether it is one as browsers make them, which have the fields after the content within it (gRPC-Web).
pub(super) fn is_of_web(headers: &HeaderMap) -> bool {
    headers.get(CONTENT_TYPE).is_some_and(|kind| kind.as_bytes().starts_with(b"application/grpc-web"))
}

/// The answer to a call that ends before it has one.
pub(super) fn ended(status: Status, detail: &'static str) -> Response {
    let mut response = Response::new(StatusCode::OK);
    response.headers = trailers(status, detail);
    response.headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/grpc"));
    response
}

/// What comes after the content of an answer whose call ends like this.
pub(super) fn trailers(status: Status, detail: &'static str) -> HeaderMap {
    let fields = [(STATUS, status.code()), (MESSAGE, detail)];
    fields.into_iter().map(|(name, value)| (name, HeaderValue::from_static(value))).collect()
}

/// How long a call may take; `None` where its client does not say, or says it in no way that is understood.
pub(super) fn patience(headers: &HeaderMap) -> Option<Duration> {
    let (unit, digits) = headers.get(TIMEOUT)?.as_bytes().split_last()?;
    if !is_call(headers) || !(1..=8).contains(&digits.len()) || !digits.iter().all(u8::is_ascii_digit) {
        return None;
    }
    let count: u64 = std::str::from_utf8(digits).ok()?.parse().ok()?;
    let patience = match unit {
        b'H' => Duration::from_secs(count * 3600),
        b'M' => Duration::from_secs(count * 60),
        b'S' => Duration::from_secs(count),
        b'm' => Duration::from_millis(count),
        b'u' => Duration::from_micros(count),
        b'n' => Duration::from_nanos(count),
        _ => return None,
    };
    (patience < LONG).then_some(patience)
}

/// What is left of that time, to as small a part of a second as there are digits for.
fn left(left: Duration) -> HeaderValue {
    let counts = [(left.as_nanos(), 'n'), (left.as_micros(), 'u'), (left.as_millis(), 'm')];
    let (count, unit) = counts.into_iter().find(|(count, _)| *count < BEYOND).unwrap_or((left.as_secs().into(), 'S'));
    // Nothing at all is no time that could be said.
    HeaderValue::try_from(format!("{}{unit}", count.clamp(1, BEYOND - 1))).unwrap_or(HeaderValue::from_static("1n"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn said(kind: &'static str, timeout: &'static str) -> Option<Duration> {
        let fields = [(CONTENT_TYPE, kind), (TIMEOUT, timeout)];
        patience(&fields.into_iter().map(|(name, value)| (name, HeaderValue::from_static(value))).collect())
    }

    #[test]
    fn a_call_says_how_long_it_may_take() {
        let of = |timeout| said("application/grpc+proto", timeout);
        for (timeout, millis) in [("2H", 7_200_000), ("3M", 180_000), ("4S", 4000), ("5m", 5), ("6000u", 6)] {
            assert_eq!(of(timeout), Some(Duration::from_millis(millis)), "{timeout}");
        }
        assert_eq!(of("99999999n"), Some(Duration::from_nanos(99_999_999)));
        for wrong in ["", "S", "1", "1s", "-1S", "+1S", "1.5S", " 1S", "123456789n", "99999999H"] {
            assert_eq!(of(wrong), None, "{wrong}");
        }
        assert_eq!(said("application/json", "1S"), None, "it is no call");
    }

    #[test]
    fn what_is_left_is_said_as_exactly_as_there_are_digits_for() {
        let of = |nanos| left(Duration::from_nanos(nanos));
        let said = [0, 7, 99_999_999, 100_000_000, 150_000_000_000].map(of);
        assert_eq!(said, ["1n", "7n", "99999999n", "100000u", "150000m"]);
        assert_eq!(left(Duration::from_secs(200_000)), "200000S");
    }

    #[test]
    fn a_deadline_is_held_against_who_has_had_the_call_for_half_of_the_time() {
        let now = Instant::now();
        let deadline = Deadline::new(now, Duration::from_secs(2));
        let of = |millis| deadline.judge(Duration::from_millis(millis));
        assert_eq!([0, 999, 1000, 2000].map(of).map(Outcome::failed), [None, None, Some(true), Some(true)]);
        assert_eq!(deadline.left(now + Duration::from_secs(1)), "1000000u");
        assert_eq!(deadline.left(now + Duration::from_secs(3)), "1n");
    }

    #[test]
    fn limits_and_times_have_statuses_of_their_own() {
        let of = |status: u16| Status::of(StatusCode::from_u16(status).unwrap()).code();
        assert_eq!([504, 429, 413, 503, 502].map(of), ["4", "8", "8", "14", "14"]);
    }
}
