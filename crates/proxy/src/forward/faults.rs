//! Faults that requests meet on purpose: a plain function of the request and chance.

use std::time::Duration;

use http::{HeaderMap, StatusCode};
use outwork_engine::Rng;

use crate::config::FaultInjection;

/// What a request meets.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(super) struct Met {
    /// It waits for so long first.
    pub(super) delay: Option<Duration>,
    /// It goes nowhere, and this is its answer.
    pub(super) abort: Option<StatusCode>,
}

impl Met {
    pub(super) fn by(settings: &FaultInjection, headers: &HeaderMap, chance: &mut Rng) -> Self {
        if settings.only.as_ref().is_some_and(|only| !headers.contains_key(only)) {
            return Self::default();
        }
        let mut part = |percent: f64| chance.chance(percent / 100.0);
        let delay = part(settings.delay).then_some(settings.time);
        let abort = part(settings.abort).then(|| StatusCode::from_u16(settings.status).ok()).flatten();
        Self { delay, abort }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn as_many_requests_meet_a_fault_as_are_to() {
        let settings = FaultInjection { delay: 25.0, abort: 10.0, status: 500, ..FaultInjection::default() };
        let mut chance = Rng::new(7);
        let met: Vec<Met> = (0..10_000).map(|_| Met::by(&settings, &HeaderMap::new(), &mut chance)).collect();
        let delayed = met.iter().filter(|met| met.delay == Some(settings.time)).count();
        let aborted = met.iter().filter(|met| met.abort == Some(StatusCode::INTERNAL_SERVER_ERROR)).count();
        assert!((2400..2600).contains(&delayed) && (900..1100).contains(&aborted), "{delayed}, {aborted}");
    }

    #[test]
    fn a_field_says_who_meets_one() {
        let settings = FaultInjection { abort: 100.0, only: Some("X-Fault".into()), ..FaultInjection::default() };
        let mut headers = HeaderMap::new();
        assert_eq!(Met::by(&settings, &headers, &mut Rng::new(7)), Met::default());
        headers.insert("x-fault", http::HeaderValue::from_static("1"));
        assert_eq!(Met::by(&settings, &headers, &mut Rng::new(7)).abort, Some(StatusCode::SERVICE_UNAVAILABLE));
    }
}
