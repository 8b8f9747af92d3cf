//! Limits on requests: by client, host, route, header field, or several of them together.
//!
//! - `cells`: counts by key, in a table that never grows.
//! - `shared`: the same counts in Redis.

mod cells;
mod shared;

use std::hash::{BuildHasher, Hash, Hasher, RandomState};
use std::sync::Arc;

use http::header::{HOST, HeaderName, HeaderValue, RETRY_AFTER};
use http::{HeaderMap, StatusCode};

pub(crate) use cells::{Cells, Rate, Verdict};
pub(crate) use shared::Counter;
pub use shared::CounterError;

use super::config::{RateFields, RateKey, RateLimit, RateStore};
use super::metrics::{FilterMetrics, Limited};
use super::networks::client;
use crate::grpc;
use crate::message::{Local, Request, Response};
use crate::problem::Problem;

/// A limit and what was counted for it. It outlives a reload that does not change it.
#[derive(Debug)]
pub(crate) struct Limiter {
    pub(crate) settings: RateLimit,
    rate: Rate,
    cells: Cells,
    hasher: RandomState,
    /// Where it is counted together with other servers, under this name.
    shared: Option<(Arc<Counter>, String)>,
    policy: HeaderValue,
}

/// What a limit says of a request.
pub(crate) enum Checked {
    /// At once.
    Now(Verdict),
    /// When Redis has answered.
    Later(Local<Verdict>),
}

impl Limiter {
    /// A limit without counts. `scope` says what it belongs to, and is the same on every server that counts together.
    pub(crate) fn new(settings: RateLimit, scope: &str, counter: Option<&Arc<Counter>>) -> Self {
        let rate = Rate::new(settings.limit, settings.window, settings.burst);
        let cells = Cells::new(rate, settings.keys as usize);
        let name = format!("{scope}:{}:{}:{}", settings.limit, settings.window.as_millis(), rate.burst);
        let counter = counter.filter(|_| settings.store == RateStore::Redis);
        let policy = format!("\"default\";q={};w={}", settings.limit, seconds_up(settings.window.as_nanos()));
        // Digits and quotes are a field value.
        let policy = HeaderValue::try_from(policy).unwrap_or_else(|_| HeaderValue::from_static(""));
        let shared = counter.map(|counter| (Arc::clone(counter), name));
        Self { settings, rate, cells, hasher: RandomState::new(), shared, policy }
    }

    /// Whether it is counted there: in that Redis, or in this process alone.
    pub(crate) fn counts_in(&self, counter: Option<&Arc<Counter>>) -> bool {
        let counter = counter.filter(|_| self.settings.store == RateStore::Redis);
        match (&self.shared, counter) {
            (None, None) => true,
            (Some((known, _)), Some(counter)) => Arc::ptr_eq(known, counter),
            _ => false,
        }
    }

    /// Counts a request to this route at `now`, in nanoseconds of any clock that does not go back.
    pub(crate) fn check(
        self: &Arc<Self>,
        request: &Request,
        route: usize,
        now: u64,
        metrics: &Arc<FilterMetrics>,
    ) -> Checked {
        let key = || self.settings.key.iter().map(|key| Part::of(key, request, route));
        let mut hasher = self.hasher.build_hasher();
        key().for_each(|part| part.hash(&mut hasher));
        let hash = hasher.finish();
        let Some((counter, name)) = &self.shared else { return Checked::Now(self.count(hash, now, metrics)) };
        let (limiter, metrics) = (Arc::clone(self), Arc::clone(metrics));
        let asked = counter.ask(format!("{name}:{}", digest(key())), self.rate);
        Checked::Later(Box::pin(async move {
            match asked.await {
                Some(verdict) => verdict,
                None => limiter.count(hash, now, &metrics),
            }
        }))
    }

    fn count(&self, hash: u64, now: u64, metrics: &FilterMetrics) -> Verdict {
        let (verdict, forgotten) = self.cells.take(hash, now);
        if forgotten {
            metrics.rate_forgotten.inc();
        }
        verdict
    }

    /// What becomes of the request: whether it may go on, counted.
    pub(crate) fn judge(&self, verdict: Verdict, metrics: &FilterMetrics) -> bool {
        if verdict.allowed {
            return true;
        }
        metrics.rate_limited.of(if self.settings.dry_run { Limited::DryRun } else { Limited::Refused }).inc();
        self.settings.dry_run
    }

    /// The answer to who has used up the limit.
    pub(crate) fn refusal(&self, verdict: Verdict, request: &Request) -> Response {
        let detail = format!(
            "too many requests: {} in {} are allowed; try again in {} s",
            self.settings.limit,
            outwork_config::duration_text(self.settings.window),
            seconds_up(verdict.retry_after.into()),
        );
        let mut response = match grpc::is_call(&request.head) {
            true => grpc::ended(grpc::Status::ResourceExhausted, &detail),
            false => Problem::new(StatusCode::TOO_MANY_REQUESTS, detail).answer(&request.head),
        };
        response.headers.insert(RETRY_AFTER, seconds_up(verdict.retry_after.into()).max(1).into());
        response
    }

    /// Tells what is left.
    pub(crate) fn tell(&self, verdict: Verdict, headers: &mut HeaderMap) {
        let reset = seconds_up(verdict.reset.into());
        match self.settings.fields {
            RateFields::Off => {}
            RateFields::Three => {
                headers.insert(LIMIT, self.settings.limit.into());
                headers.insert(REMAINING, verdict.remaining.into());
                headers.insert(RESET, reset.into());
            }
            RateFields::Structured => {
                headers.insert(POLICY, self.policy.clone());
                let left = format!("\"default\";r={};t={reset}", verdict.remaining);
                headers.extend(HeaderValue::try_from(left).ok().map(|left| (RATE_LIMIT, left)));
            }
        }
    }
}

const LIMIT: HeaderName = HeaderName::from_static("ratelimit-limit");
const REMAINING: HeaderName = HeaderName::from_static("ratelimit-remaining");
const RESET: HeaderName = HeaderName::from_static("ratelimit-reset");
const POLICY: HeaderName = HeaderName::from_static("ratelimit-policy");
const RATE_LIMIT: HeaderName = HeaderName::from_static("ratelimit");

/// Nanoseconds as whole seconds, not fewer.
fn seconds_up(nanos: u128) -> u64 {
    u64::try_from(nanos.div_ceil(1_000_000_000)).unwrap_or(u64::MAX)
}

/// A part of what is counted together.
#[derive(Debug, PartialEq, Eq, Hash)]
enum Part<'r> {
    Client(u128),
    Route(usize),
    Text(&'r [u8]),
}

impl<'r> Part<'r> {
    fn of(key: &RateKey, request: &'r Request, route: usize) -> Self {
        let from = || Part::Client(client(request.origin.peer.ip()));
        let text = |name: &HeaderName| request.head.headers.get(name).map(|value| Part::Text(value.as_bytes()));
        match key {
            RateKey::Client => from(),
            RateKey::Route => Part::Route(route),
            RateKey::Host => text(&HOST).unwrap_or(Part::Text(b"")),
            // Who leaves the key out is not let through uncounted.
            RateKey::Header(name) => text(name).unwrap_or_else(from),
        }
    }
}

/// A key in a form that others may see, who must not learn what stands in a header field.
fn digest<'r>(key: impl Iterator<Item = Part<'r>>) -> String {
    use sha2::{Digest, Sha256};
    let mut hash = Sha256::new();
    for part in key {
        match part {
            Part::Client(client) => hash.update([&[0], &client.to_be_bytes()[..]].concat()),
            Part::Route(route) => hash.update([&[1], &(route as u64).to_be_bytes()[..]].concat()),
            Part::Text(text) => hash.update([&[2], &(text.len() as u64).to_be_bytes()[..], text].concat()),
        }
    }
    hash.finalize().iter().take(16).map(|byte| format!("{byte:02x}")).collect()
}

/// Time since the first call, in nanoseconds.
pub(crate) fn clock() -> u64 {
    use std::sync::OnceLock;
    use std::time::Instant;
    static START: OnceLock<Instant> = OnceLock::new();
    u64::try_from(START.get_or_init(Instant::now).elapsed().as_nanos()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests;
