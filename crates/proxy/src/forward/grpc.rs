//! Calls of gRPC: how long they may take. Plain functions of fields and time. How they are told of their end, the front door knows, which ends some itself.

use std::time::{Duration, Instant};

use http::request::Parts;
use http::{HeaderName, HeaderValue};
use outwork_balance::Outcome;
pub(super) use outwork_front::grpc::{Status, ended, is_call, is_of_web, trailers};

/// How long a call may take, as its client says.
pub(super) const TIMEOUT: HeaderName = HeaderName::from_static("grpc-timeout");
/// A call that may take longer has no deadline here.
const LONG: Duration = Duration::from_secs(30 * 24 * 3600);
/// What is beyond the digits that a time may have.
const BEYOND: u128 = 100_000_000;

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

/// How long a call may take; `None` where its client does not say, or says it in no way that is understood.
pub(super) fn patience(head: &Parts) -> Option<Duration> {
    let (unit, digits) = head.headers.get(TIMEOUT)?.as_bytes().split_last()?;
    if !is_call(head) || !(1..=8).contains(&digits.len()) || !digits.iter().all(u8::is_ascii_digit) {
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
    use http::header::CONTENT_TYPE;

    use super::*;

    fn said(kind: &'static str, timeout: &'static str) -> Option<Duration> {
        let (mut head, ()) = http::Request::post("/").body(()).unwrap().into_parts();
        let fields = [(CONTENT_TYPE, kind), (TIMEOUT, timeout)];
        head.headers.extend(fields.map(|(name, value)| (name, HeaderValue::from_static(value))));
        patience(&head)
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
}
