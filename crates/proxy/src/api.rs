//! The routes of pools under `/api/v1/proxy`.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, TryFromFloatSecsError};

use axum::extract::{Path, State};
use outwork_balance::settings::MAX_WEIGHT;
use outwork_balance::{Health, Resource, Slot, Standing as Fitness};
use outwork_config::{days, duration_text, parse_duration};
use outwork_engine::Time;
use outwork_front::api::{Json, Operator, Problem, Viewer};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use crate::acceleration::figures::{Passed, Passes};
use crate::address::Cargo;
use crate::l4::{Layer4, Listening};
use crate::metrics::Ejected;
use crate::pool::names::Question;
use crate::pool::orders::{ByHand, OrderError, Standing, obey};
use crate::pool::watch::Watch;
use crate::pool::{Pool, Pools, Snapshot};

/// The longest that somebody may be left out by hand.
const LONGEST: Duration = days(7);

/// What took so long before this is no latency of now.
const LATELY: Duration = Duration::from_secs(10);

/// The routes, to be nested under `/api/v1/proxy`.
pub fn router(pools: Arc<Pools>, layer4: Arc<Layer4>) -> OpenApiRouter {
    let listeners = OpenApiRouter::new().routes(routes!(listeners)).with_state((layer4, Arc::clone(&pools)));
    OpenApiRouter::new().routes(routes!(list)).routes(routes!(change)).with_state(pools).merge(listeners)
}

/// An address at which connections or datagrams are passed on.
#[derive(Debug, Serialize, ToSchema)]
pub struct ListenerView {
    /// What its listener is called.
    name: String,
    /// The address.
    address: String,
    /// `tcp` or `udp`.
    protocol: String,
    /// The pool of who asks for no name that has another.
    pool: Option<String>,
    /// The names that have other pools.
    sni: Vec<SniView>,
    /// Whether TLS ends here.
    tls: bool,
    /// Who passes packets on.
    forwarding: String,
    /// Connections, or sessions of UDP, of the listener that are open. These figures are of all of its addresses.
    active: usize,
    /// All that were accepted.
    total: u64,
    /// All that came to nothing.
    refused: u64,
    /// Bytes of clients.
    received: u64,
    /// Bytes to clients.
    sent: u64,
    /// What a tier of acceleration has passed on for it beside these; `null` where none does.
    passed: Option<Passed>,
}

/// Names and their pool.
#[derive(Debug, Serialize, ToSchema)]
pub struct SniView {
    /// The names.
    names: Vec<String>,
    /// The pool.
    pool: String,
}

/// Listeners that pass connections and datagrams on as they come.
#[utoipa::path(get, path = "/listeners", tag = "proxy",
    responses((status = 200, body = Vec<ListenerView>), (status = 401, body = Problem)))]
async fn listeners(_: Viewer, State((layer4, pools)): State<(Arc<Layer4>, Arc<Pools>)>) -> Json<Vec<ListenerView>> {
    let passed = &pools.shared().passed;
    Json(layer4.listening().iter().map(|one| ListenerView::of(one, passed)).collect())
}

impl ListenerView {
    fn of(listening: &Listening, passed: &Passes) -> Self {
        let Listening { address, settings, active, opened, refused, received, sent } = listening;
        let sni = settings.sni.iter().map(|route| SniView {
            names: route.names.iter().map(ToString::to_string).collect(),
            pool: route.pool.clone(),
        });
        Self {
            name: settings.label(),
            address: address.to_string(),
            protocol: settings.protocol.to_string(),
            pool: settings.pool.clone(),
            sni: sni.collect(),
            tls: settings.tls.is_some(),
            forwarding: settings.forwarding.to_string(),
            active: *active,
            total: *opened,
            refused: *refused,
            received: *received,
            sent: *sent,
            passed: passed.of_listener(&settings.label()),
        }
    }
}

/// A pool.
#[derive(Debug, Serialize, ToSchema)]
pub struct PoolView {
    /// What routes call it.
    name: String,
    /// How a backend is chosen.
    policy: String,
    /// What it is for: `requests`, `connections`, or `sessions` of UDP.
    carries: &'static str,
    /// Requests under way.
    requests: u32,
    /// Attempts at requests a second, lately.
    rate: f64,
    /// Requests that wait until a backend has room for one more.
    waiting: i64,
    /// Requests that were turned away because there were as many as there may be.
    refused: u64,
    /// Attempts beyond the first, so far.
    retries: u64,
    /// Backends that were ejected because they failed requests, so far.
    ejections: u64,
    /// Whether backends are checked.
    checked: bool,
    /// How many seconds a backend that drains may go on with what it has, where nobody says otherwise.
    drain_seconds: f64,
    /// How many seconds a backend is left out that is ejected by hand, where nobody says otherwise.
    ejection_seconds: f64,
    /// In percent: where fewer backends than this are healthy, all of them are used.
    panic_threshold: u32,
    /// Whether that is so now.
    panics: bool,
    /// Its backends.
    backends: Vec<BackendView>,
    /// Names of backends that are looked up.
    names: Vec<NameView>,
    /// What holds by hand of backends that are not there now; `admit` takes it back, and `weight` without a weight what they weigh.
    absent: Vec<AbsentView>,
}

/// A name of backends.
#[derive(Debug, Serialize, ToSchema)]
pub struct NameView {
    /// The name.
    name: String,
    /// What is looked up: `host`, the addresses of that name, or `service`, the records of a service and where its targets are.
    kind: &'static str,
    /// Who is asked.
    asked: String,
    /// Addresses that it stands for, as far as anybody knows.
    addresses: usize,
    /// Why what it stands for is not known, or not all of it. What it stood for stays then.
    problem: Option<String>,
    /// Seconds since the last look-up ended; `null` before the first has.
    tried_ago: Option<f64>,
    /// Seconds until the next one; `null` while one is under way.
    next_in: Option<f64>,
}

/// A backend that is not there, neither in the configuration nor in what its name stands for, and of which something was said by hand.
#[derive(Debug, Serialize, ToSchema)]
pub struct AbsentView {
    /// What it is known by.
    key: String,
    /// Seconds that it may go on with what it has, should it come: it is drained.
    drains_for: Option<f64>,
    /// Seconds that it is left out, should it come.
    ejected_for: Option<f64>,
    /// What it weighs, should it come, in the place of what the configuration says.
    weight: Option<u32>,
}

/// A backend.
#[derive(Debug, Serialize, ToSchema)]
pub struct BackendView {
    /// What it is known by.
    key: String,
    /// Where it is.
    address: String,
    /// What it may be used for.
    state: BackendState,
    /// What its checks say.
    health: BackendHealth,
    /// Seconds that it has been that, or the server has run; `null` until somebody has looked.
    state_for: Option<f64>,
    /// What the last check has found wrong with it.
    problem: Option<String>,
    /// Seconds since its last check.
    checked_ago: Option<f64>,
    /// Its part of the requests.
    weight: u32,
    /// What that would be as the configuration has it, where another was said by hand; `null` where none was.
    configured_weight: Option<u32>,
    /// 0 is used first.
    priority: u32,
    /// Where it is.
    zone: Option<String>,
    /// The part of its weight that it has so far, where it starts slowly.
    share: Option<f64>,
    /// Seconds until it has all of its weight, where it starts slowly.
    starts_for: Option<f64>,
    /// Requests under way.
    requests: u32,
    /// Attempts at requests a second, lately.
    rate: f64,
    /// Those a second that it fails.
    failure_rate: f64,
    /// Requests so far.
    total: u64,
    /// Those that it failed.
    failures: u64,
    /// Connections opened to it.
    connections: u64,
    /// Milliseconds until it begins to answer, lately; `null` where it has not answered lately.
    latency_ms: Option<f64>,
    /// Seconds until it is let in again, where it is ejected.
    ejected_for: Option<f64>,
    /// What has ejected it: `consecutive-5xx`, `consecutive-gateway`, `success-rate`, `failure-percentage`, or `hand`.
    ejected_by: Option<&'static str>,
    /// The same in words, such as `answered 502, 503 or 504 5 times in a row`; `null` where it was done by hand.
    ejected_because: Option<String>,
    /// Seconds until it may not go on with what it has, where it drains.
    drains_for: Option<f64>,
    /// What a tier of acceleration has passed on to it beside these; `null` where none does.
    passed: Option<Passed>,
    /// Whether it is on its way out because it is no longer in the configuration, or in what its name stands for.
    leaving: bool,
}

/// What a backend may be used for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, ToSchema)]
#[serde(rename_all = "lowercase")]
pub enum BackendState {
    /// Anything.
    Usable,
    /// Nothing: its checks fail.
    Unhealthy,
    /// Nothing for a while: it failed requests.
    Ejected,
    /// What it has already.
    Draining,
    /// Nothing: its time to drain is over.
    Drained,
}

/// What the checks of a backend say.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, ToSchema)]
#[serde(rename_all = "lowercase")]
pub enum BackendHealth {
    /// Nothing yet, or there are none.
    Unknown,
    /// It answers as it should.
    Healthy,
    /// It does not.
    Unhealthy,
}

/// Pools and their backends.
#[utoipa::path(get, path = "/pools", tag = "proxy",
    responses((status = 200, body = Vec<PoolView>), (status = 401, body = Problem)))]
async fn list(_: Viewer, State(pools): State<Arc<Pools>>) -> Json<Vec<PoolView>> {
    Json(pools.all().values().map(|pool| PoolView::of(pool)).collect())
}

/// What becomes of a backend.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize, ToSchema)]
#[serde(rename_all = "lowercase")]
pub enum Action {
    /// It gets no new requests, and goes on with what it has for the time that is said.
    Drain,
    /// It gets requests again, by whomever and for whatever it was drained or left out. What it weighs stays.
    Admit,
    /// It gets nothing for the time that is said.
    Eject,
    /// It weighs `weight`, until that is taken back.
    Weight,
}

/// A change of a backend.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct BackendChange {
    /// What it is known by.
    backend: String,
    /// What becomes of it.
    action: Action,
    /// For how long, as the configuration writes it, such as `1500ms`; unset, as the configuration says. Of `drain` and `eject`.
    #[serde(rename = "for")]
    lasts: Option<String>,
    /// The same in seconds, which may have a fraction. One of both is enough.
    seconds: Option<f64>,
    /// Its part of the requests; unset, as the configuration says. 0 is nothing but what is tied to it. Of `weight`.
    weight: Option<u32>,
}

/// Drain a backend, leave it out, let it in again, or say what it weighs. It holds through restarts.
#[utoipa::path(post, path = "/pools/{pool}/backends", tag = "proxy", params(("pool" = String, Path,)), request_body = BackendChange,
    responses((status = 200, body = PoolView), (status = 400, body = Problem), (status = 403, body = Problem), (status = 404, body = Problem), (status = 409, body = Problem)))]
async fn change(
    Operator(caller): Operator,
    State(pools): State<Arc<Pools>>,
    Path(name): Path<String>,
    Json(change): Json<BackendChange>,
) -> Result<Json<PoolView>, Problem> {
    caller.does("backends.change", &name, change.told());
    change.fits()?;
    let given = change.time()?;
    let all = pools.all();
    let pool = all.get(&name).ok_or_else(|| Problem::not_found(format!("there is no pool {name:?} in proxy.pool")))?;
    let snapshot = pool.snapshot();
    let is_absent = snapshot.balance.find(&change.backend).is_none();
    let is_taken_back = || pools.shared().orders.of(&name).iter().any(|order| change.takes_back(order));
    // Who is not there is said nothing of; what was said is taken back.
    if is_absent && !is_taken_back() {
        return Err(no_such(&name, &change.backend, &snapshot));
    }
    let by_hand = match change.action {
        Action::Drain => ByHand::Drain(given.unwrap_or(snapshot.settings.drain)),
        Action::Eject => ByHand::Eject(given.unwrap_or(snapshot.settings.outlier.base_ejection)),
        Action::Admit => ByHand::Admit,
        Action::Weight => ByHand::Weight(change.weight),
    };
    let (name, backend) = (&*name, &*change.backend);
    // What does not hold after a crash was not done.
    let kept = tokio::task::block_in_place(|| {
        let there = |pool: &str| all.contains_key(pool);
        pools.shared().orders.take(name, backend, by_hand, there, || obey(pool, backend, by_hand))
    });
    kept.map_err(|error| match error {
        OrderError::Full => Problem::conflict(None, error),
        OrderError::File(_) => Problem::internal(error),
    })?;
    if let ByHand::Weight(_) = by_hand {
        let weighed = tokio::task::block_in_place(|| pool.refresh());
        weighed.map_err(|error| {
            Problem::internal(format!("it is kept, and holds from the next change of the pool on: {error}"))
        })?;
    }
    pool.changed();
    let BackendChange { action, weight, .. } = &change;
    tracing::info!(pool = name, backend, ?action, weight, "a backend was changed by hand");
    Ok(Json(PoolView::of(pool)))
}

impl BackendChange {
    /// For who wants to know who did what.
    fn told(&self) -> String {
        match (self.action, self.weight) {
            (Action::Weight, Some(weight)) => format!("Weight {weight} {}", self.backend),
            (Action::Weight, None) => format!("Weight configured {}", self.backend),
            (action, _) => format!("{action:?} {}", self.backend),
        }
    }

    /// Refuses what says nothing with this action.
    fn fits(&self) -> Result<(), Problem> {
        let time = self.lasts.is_some().then_some("for").or(self.seconds.is_some().then_some("seconds"));
        if let Some(key) = time.filter(|_| self.action == Action::Weight) {
            return Err(Problem::invalid(key, "a weight holds until it is taken back"));
        }
        if self.weight.is_some() && self.action != Action::Weight {
            return Err(Problem::invalid("weight", "only the action `weight` has one"));
        }
        if self.weight.is_some_and(|weight| weight > MAX_WEIGHT) {
            return Err(Problem::invalid("weight", format!("at most {MAX_WEIGHT}")));
        }
        Ok(())
    }

    /// For how long, where that is said.
    fn time(&self) -> Result<Option<Duration>, Problem> {
        let (key, time) = match (&self.lasts, self.seconds) {
            (Some(_), Some(_)) => return Err(Problem::invalid("for", "`seconds` says the same already: one of both")),
            (Some(text), None) => {
                let expected = || Problem::invalid("for", format!("{text:?} is no duration such as 1500ms or 10m"));
                ("for", parse_duration(text).ok_or_else(expected)?)
            }
            (None, Some(seconds)) => {
                let expected = |error: TryFromFloatSecsError| {
                    Problem::invalid("seconds", format!("{seconds} are no time: {error}"))
                };
                ("seconds", Duration::try_from_secs_f64(seconds).map_err(expected)?)
            }
            (None, None) => return Ok(None),
        };
        match time > LONGEST {
            true => Err(Problem::invalid(key, format!("at most {}", duration_text(LONGEST)))),
            false => Ok(Some(time)),
        }
    }

    /// Whether there is something of this that it takes back.
    fn takes_back(&self, order: &Standing) -> bool {
        let is_some = match self.action {
            Action::Admit => order.drains.is_some() || order.ejected.is_some(),
            Action::Weight => self.weight.is_none() && order.weight.is_some(),
            Action::Drain | Action::Eject => false,
        };
        is_some && order.backend == self.backend
    }
}

fn no_such(pool: &str, backend: &str, snapshot: &Snapshot) -> Problem {
    let known: Vec<&str> = snapshot.balance.slots().iter().map(|slot| slot.member().key()).collect();
    let known = if known.is_empty() { "none now".to_owned() } else { known.join(", ") };
    Problem::not_found(format!("the pool {pool:?} has no backend {backend:?}; it has {known}"))
}

impl PoolView {
    fn of(pool: &Pool) -> Self {
        let (snapshot, now) = (pool.snapshot(), pool.now());
        let requests = snapshot.balance.ledger().gauge(Resource::Requests);
        let (names, absent) = (NameView::all(pool, &snapshot, now), AbsentView::all(pool, &snapshot));
        let by_hand = pool.shared.orders.weights(&pool.name);
        let watch = pool.watch.lock();
        let slots = snapshot.balance.slots().iter();
        let view = |slot| BackendView::of(pool, &snapshot, slot, (&*watch, &by_hand));
        let backends: Vec<BackendView> = slots.map(view).collect();
        Self {
            name: pool.name.clone(),
            policy: snapshot.settings.policy.to_string(),
            carries: match (snapshot.settings.takes(Cargo::Requests), snapshot.settings.takes(Cargo::Datagrams)) {
                (true, _) => "requests",
                (false, true) => "sessions",
                (false, false) => "connections",
            },
            requests: requests.now(),
            rate: backends.iter().map(|backend| backend.rate).sum(),
            waiting: pool.figures.waiting.get(),
            refused: requests.refused(),
            retries: pool.figures.retries.get(),
            ejections: pool.figures.ejections.get(),
            checked: snapshot.settings.health_check.is_some(),
            drain_seconds: snapshot.settings.drain.as_secs_f64(),
            ejection_seconds: snapshot.settings.outlier.base_ejection.as_secs_f64(),
            panic_threshold: snapshot.settings.panic_threshold,
            panics: snapshot.balance.panics(now),
            backends,
            names,
            absent,
        }
    }
}

impl NameView {
    fn all(pool: &Pool, snapshot: &Snapshot, now: Time) -> Vec<Self> {
        let looks = pool.looks.lock();
        let view = |question: Question| {
            let look = looks.get(&question).cloned().unwrap_or_default();
            Self {
                name: question.name().to_owned(),
                kind: if matches!(question, Question::Service(_)) { "service" } else { "host" },
                asked: look.whom,
                addresses: pool.stands_for(&question),
                problem: look.problem,
                tried_ago: look.tried.map(|at| now.since(at).as_secs_f64()),
                next_in: look.due.map(|at| at.since(now).as_secs_f64()),
            }
        };
        snapshot.questions().into_iter().map(view).collect()
    }
}

impl AbsentView {
    fn all(pool: &Pool, snapshot: &Snapshot) -> Vec<Self> {
        let orders = pool.shared.orders.of(&pool.name).into_iter();
        let absent = orders.filter(|order| snapshot.balance.find(&order.backend).is_none());
        let seconds = |lasts: Duration| lasts.as_secs_f64();
        let view = |order: Standing| Self {
            key: order.backend,
            drains_for: order.drains.map(seconds),
            ejected_for: order.ejected.map(seconds),
            weight: order.weight,
        };
        absent.map(view).collect()
    }
}

impl BackendView {
    fn of(pool: &Pool, snapshot: &Snapshot, slot: &Slot, (watch, by_hand): (&Watch, &BTreeMap<String, u32>)) -> Self {
        let now = pool.now();
        let (member, settings, balanced) = (slot.member(), slot.settings(), snapshot.balance.settings());
        let endpoint = snapshot.endpoint(member.id());
        let state = slot.standing(now, balanced.trust_unknown);
        let left = |until: Time| until.since(now).as_secs_f64();
        let cells = endpoint.map(|endpoint| &endpoint.cells);
        let sight = watch.of(member.id());
        let check = sight.and_then(|sight| sight.check());
        let (rate, failure_rate) = sight.map(|sight| sight.rates()).unwrap_or_default();
        let by = || sight.and_then(|sight| sight.ejected_by()).map_or("hand", |by| Ejected::from(by).as_str());
        let starting = (state == Fitness::Usable).then(|| starting(snapshot, slot, now)).flatten();
        let address = endpoint.map(|endpoint| endpoint.target.to_string()).unwrap_or_default();
        let configured =
            endpoint.filter(|_| by_hand.contains_key(member.key())).map(|endpoint| endpoint.settings.weight);
        Self {
            key: member.key().to_owned(),
            passed: pool.shared.passed.of_backend(&pool.name, &address),
            address,
            state: match state {
                Fitness::Usable => BackendState::Usable,
                Fitness::Unhealthy => BackendState::Unhealthy,
                Fitness::Ejected => BackendState::Ejected,
                Fitness::Draining => BackendState::Draining,
                Fitness::Drained => BackendState::Drained,
            },
            health: match member.health() {
                Health::Unknown => BackendHealth::Unknown,
                Health::Healthy => BackendHealth::Healthy,
                Health::Unhealthy => BackendHealth::Unhealthy,
            },
            state_for: sight.map(|sight| sight.lasts(state, now).as_secs_f64()),
            problem: check.and_then(|check| check.problem.clone()),
            checked_ago: check.map(|check| now.since(check.at).as_secs_f64()),
            weight: settings.weight,
            configured_weight: configured,
            priority: settings.priority,
            zone: settings.zone.clone(),
            share: starting.map(|(share, _)| share),
            starts_for: starting.map(|(_, left)| left.as_secs_f64()),
            requests: member.gauge(Resource::Requests).now(),
            rate,
            failure_rate,
            total: cells.map_or(0, |cells| cells.requests.get()),
            failures: cells.map_or(0, |cells| cells.failures.get()),
            connections: cells.map_or(0, |cells| cells.opened.get()),
            latency_ms: member.latency().last(now, LATELY).map(|nanos| f64::from(nanos) / 1e6),
            ejected_for: (state == Fitness::Ejected).then(|| left(member.ejected_until())),
            ejected_by: (state == Fitness::Ejected).then(by),
            ejected_because: sight.filter(|_| state == Fitness::Ejected).and_then(|sight| sight.why_ejected()),
            drains_for: (state == Fitness::Draining)
                .then(|| left(slot.leaving().or(member.draining()).unwrap_or_default())),
            leaving: slot.leaving().is_some(),
        }
    }
}

/// The part of its weight that a member has so far, and how long it takes until it has all. Who was there from the beginning has it.
fn starting(snapshot: &Snapshot, slot: &Slot, now: Time) -> Option<(f64, Duration)> {
    let slow = snapshot.balance.settings().slow_start.as_ref()?;
    let up = Some(slot.member().up_since(now)).filter(|up| *up != Time::ZERO)?;
    let left = slow.window.checked_sub(now.since(up)).filter(|left| !left.is_zero())?;
    Some((slow.share(up, now), left))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_time_of_a_change_is_said_as_the_configuration_writes_one_or_in_seconds() {
        let time = |said: &str| {
            let change = format!("{{\"backend\": \"a\", \"action\": \"drain\"{said}}}");
            serde_json::from_str::<BackendChange>(&change).unwrap().time().map_err(|problem| problem.key)
        };
        let millis = |count| Ok(Some(Duration::from_millis(count)));
        for (said, expected) in [
            ("", Ok(None)),
            (", \"for\": \"1500ms\"", millis(1500)),
            (", \"for\": \"0.5s\"", millis(500)),
            (", \"for\": \"0s\"", millis(0)),
            (", \"seconds\": 90", millis(90_000)),
            (", \"seconds\": 1.5", millis(1500)),
        ] {
            assert_eq!(time(said), expected, "{said}");
        }
        let at = |key: &str| Err(Some(key.to_owned()));
        for (said, expected) in [
            (", \"for\": \"1s\", \"seconds\": 1", at("for")),
            (", \"for\": \"1\"", at("for")),
            (", \"for\": \"soon\"", at("for")),
            (", \"for\": \"8d\"", at("for")),
            (", \"seconds\": -1", at("seconds")),
            (", \"seconds\": 604801", at("seconds")),
        ] {
            assert_eq!(time(said), expected, "{said}");
        }
    }
}
