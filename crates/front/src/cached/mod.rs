//! Answers that are kept and given again (RFC 9111), for any handler.
//!
//! - [`config`], [`rules`]: how the answers of a route are cached, as it is written and as it is used.
//! - `structured`, `control`: cache directives, of responses to all caches or to some, and of requests.
//! - `storing`: whether a response is stored, and how long it lives.
//! - `key`: which requests get the same response.
//! - `purging`: what is purged, by the names that it is kept under.
//! - `policy`: what becomes of a request, given what is stored. With the three above it decides; what follows performs.
//! - `stored`: what is kept of a response beside its content.
//! - `serve`: finding and giving what is stored.
//! - `flight`, `fetch`: asking the handler, once for all who want the same.
//! - `popular`, [`cron`], [`warm`]: what is fetched before anybody asks.
//! - [`edge`]: the cache before this one; `owed`: what it has yet to be told of, as it outlives a restart.
//! - [`api`]: the routes for admins.
//! - `status`, [`metrics`]: what is said of it, to clients and to admins.
//!
//! Deliberately absent: where the bytes lie (`outwork-cache`), parts of responses (RFC 9111 section 3.3: a range is answered out of a whole), and responses
//! to any method but GET.

pub mod api;
mod changes;
pub mod config;
mod control;
pub mod cron;
pub mod edge;
mod fetch;
mod flight;
mod key;
pub mod metrics;
mod owed;
mod policy;
mod popular;
pub mod purging;
pub mod rules;
mod serve;
mod status;
mod stored;
mod storing;
mod structured;
pub mod warm;

use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};

use http::request::Parts;
use http::{Method, StatusCode};
use outwork_cache::{Clock, Key, Tiers};
use parking_lot::Mutex;

use crate::message::{Answer, Handler, Origin, ReadyHead, Repeated, Request, RequestBody, Response};
pub use changes::{Changes, Changing};
use config::Cookies;
use fetch::{Fetch, Fetched, How};
use flight::{Flights, Followed, Role};
use key::{Target, cookies, word};
use metrics::{CachedMetrics, Limit, Outcome};
use policy::{Asked, Facts, Forward, Plan, plan};
use popular::Popular;
use rules::KeyRules;
pub use rules::Rules;
use serve::{Held, What};
use status::Forwarded;
use storing::Lasting;

/// How often a request that waited in vain joins again before it goes past the cache.
const JOINS: usize = 4;

/// Rules of keys that a purge knows of: those of this configuration, and of earlier ones.
const MOST_KEYS: usize = 256;

/// What all routes that cache share.
pub struct Store {
    tiers: Arc<Tiers>,
    clock: Clock,
    metrics: Arc<CachedMetrics>,
    flights: Arc<Flights>,
    /// Bytes on their way in, and how many may be.
    gathering: AtomicUsize,
    most: usize,
    /// Numbers what varies.
    nonces: AtomicU64,
    /// What counts of requests, by the rules of each route that has kept answers here.
    keys: Mutex<Vec<KeyRules>>,
    /// What is asked for often, and whether anybody wants to know.
    popular: Mutex<Popular>,
    predicting: AtomicBool,
}

impl Store {
    /// Over these tiers. So many bytes may be on their way in at once; what comes beyond is passed through. Of `popular` answers at most is kept count.
    pub fn new(tiers: Arc<Tiers>, clock: Clock, most: usize, popular: usize) -> Arc<Self> {
        Arc::new(Self {
            tiers,
            clock,
            metrics: Arc::default(),
            flights: Arc::default(),
            gathering: AtomicUsize::new(0),
            most,
            nonces: AtomicU64::new(0),
            keys: Mutex::default(),
            popular: Mutex::new(Popular::new(popular)),
            predicting: AtomicBool::new(false),
        })
    }

    /// The tiers below.
    pub fn tiers(&self) -> &Arc<Tiers> {
        &self.tiers
    }

    /// What it counts.
    pub fn metrics(&self) -> &Arc<CachedMetrics> {
        &self.metrics
    }

    /// Answers are kept by these rules from now on.
    fn keep_by(&self, rules: &KeyRules) {
        let mut keys = self.keys.lock();
        if !keys.contains(rules) {
            if keys.len() == MOST_KEYS {
                keys.remove(0);
            }
            keys.push(rules.clone());
        }
    }

    /// What lies under a key, or is on its way there, is not given any more.
    fn invalidate(&self, primary: &Key) {
        self.flights.doom(primary);
        self.tiers.remove(primary);
        self.metrics.invalidated.inc();
    }

    /// A number that no other record of what varies has, here or on another instance but by accident.
    fn nonce(&self) -> u64 {
        let count = self.nonces.fetch_add(1, Ordering::Relaxed);
        ((self.clock)().0 << 20) ^ count
    }
}

/// Keeps the answers of a handler, and gives them again.
pub struct Cached(Arc<Route>);

/// A route's handler with what caches its answers.
pub(crate) struct Route {
    inner: Arc<dyn Handler>,
    rules: Rules,
    store: Arc<Store>,
    fetches: Arc<AtomicUsize>,
}

/// A request, and what is known of it.
struct Ask {
    head: Parts,
    origin: Rc<Origin>,
    primary: Key,
    facts: Facts,
    asked: Asked,
}

/// Marks a request whose only purpose is to have the cache filled, or made fresh.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Refresh;

/// Marks a request of somebody who is known otherwise than by `Authorization`. What answers it is theirs, as it would be with that field
/// (RFC 9111 section 3.5).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Personal;

impl Cached {
    /// Around a handler.
    pub fn new(inner: Arc<dyn Handler>, rules: Rules, store: Arc<Store>) -> Self {
        store.keep_by(&rules.key);
        Self(Arc::new(Route { inner, rules, store, fetches: Arc::default() }))
    }
}

impl Handler for Cached {
    fn handle(&self, mut request: Request) -> Answer {
        let route = &self.0;
        // How long what was answered may be used is for the cache to say.
        request.head.extensions.remove::<Repeated>();
        let head = &request.head;
        if head.method != Method::GET && head.method != Method::HEAD {
            return Arc::clone(route).direct(request, Forwarded::because(Forward::Method));
        }
        let facts = Facts::of_request(head);
        if facts.upgrade || !matches!(request.body, RequestBody::Empty) || route.bypasses(head, facts) {
            return Arc::clone(route).direct(request, Forwarded::because(Forward::Bypass));
        }
        let primary = Target::new(head, request.origin.tls, &route.rules.key).key(&head.headers, &route.rules);
        let asked = Asked {
            control: facts.control(&head.headers, route.rules.client_control),
            authorized: facts.authorized,
            refresh: head.extensions.get::<Refresh>().is_some(),
        };
        let found = route.peek(&primary, &head.headers);
        if let What::Held(held) = &found.what {
            let now = (route.store.clock)();
            let step = plan(&asked, Some(&held.stored), Forward::UriMiss, now);
            if matches!(step, Plan::Serve | Plan::ServeStale) {
                if step == Plan::ServeStale {
                    route.refresh(head, &request.origin, asked, primary, held);
                }
                route.count(if step == Plan::Serve { Outcome::Hit } else { Outcome::Stale });
                return route.serve(held, head, facts, now).into();
            }
        }
        if matches!(found.what, What::Pass) && !asked.control.only_if_cached {
            let pass = Forwarded { detail: Some("known-uncacheable"), ..Forwarded::because(Forward::Miss) };
            return Arc::clone(route).direct(request, pass);
        }
        let Request { head, origin, .. } = request;
        let ask = Ask { head, origin, primary, facts, asked };
        Answer::Later(Box::pin(Arc::clone(route).answer(ask)))
    }
}

impl Route {
    fn count(&self, outcome: Outcome) {
        self.store.metrics.requests.of(outcome).inc();
    }

    fn predicts(&self) -> bool {
        self.rules.predict && self.store.predicting.load(Ordering::Relaxed)
    }

    fn bypasses(&self, head: &Parts, facts: Facts) -> bool {
        let rules = &self.rules;
        let headers = &head.headers;
        rules.bypass_headers.iter().any(|name| headers.contains_key(name))
            || (facts.cookies
                && (rules.cookies == Cookies::Bypass
                    || (!rules.bypass_cookies.is_empty()
                        && cookies(headers)
                            .any(|(name, _)| rules.bypass_cookies.iter().any(|pattern| pattern.fits(name))))))
    }

    /// What memory does not answer.
    async fn answer(self: Arc<Self>, ask: Ask) -> Response {
        for _ in 0..JOINS {
            let found = self.find(&ask.primary, &ask.head.headers).await;
            let (held, miss) = match found.what {
                What::Held(held) => (Some(held), Forward::Miss),
                What::Pass => (None, Forward::Miss),
                What::Nothing(why) => (None, why),
            };
            let now = (self.store.clock)();
            let (why, held) = match (plan(&ask.asked, held.as_ref().map(|held| &*held.stored), miss, now), held) {
                (Plan::Serve, Some(held)) => {
                    self.count(Outcome::Hit);
                    return self.serve(&held, &ask.head, ask.facts, now);
                }
                (Plan::ServeStale, Some(held)) => {
                    self.refresh(&ask.head, &ask.origin, ask.asked, ask.primary, &held);
                    self.count(Outcome::Stale);
                    return self.serve(&held, &ask.head, ask.facts, now);
                }
                (Plan::GatewayTimeout, _) => {
                    self.count(Outcome::OnlyIfCached);
                    let mut response = plain(StatusCode::GATEWAY_TIMEOUT);
                    self.tell(
                        &mut response,
                        Forwarded { detail: Some("only-if-cached"), ..Forwarded::because(miss) },
                        &found.key,
                    );
                    return response;
                }
                (Plan::Fetch(why @ (Forward::Miss | Forward::Bypass)), _) => {
                    return self.past(ask, Forwarded::because(why)).await;
                }
                (Plan::Revalidate(why), held) => (why, held),
                (Plan::Fetch(why), _) => (why, None),
                (Plan::Serve | Plan::ServeStale, None) => (miss, None),
            };
            if held.is_none() && self.is_known(&ask) {
                return self
                    .past(ask, Forwarded { detail: Some("known-uncacheable"), ..Forwarded::because(Forward::Miss) })
                    .await;
            }
            match self.store.flights.join(found.key, ask.primary) {
                Role::Lead(lead) => {
                    let Some(seat) = self.seat() else { return self.past(ask, Forwarded::because(why)).await };
                    return self.lead(ask, lead, seat, why, held).await;
                }
                Role::Follow(follower) => match follower.follow(&ask.head.headers, ask.facts.conditional).await {
                    Followed::Whole(held) if ask.may_have(&held.stored) => {
                        self.count(Outcome::Collapsed);
                        let forwarded = Forwarded { collapsed: true, ..Forwarded::because(why) };
                        return self.serve_fetched(&held, &ask.head, ask.facts, forwarded);
                    }
                    Followed::Flowing(announced, reader) if ask.may_have(&announced.stored) => {
                        self.count(Outcome::Collapsed);
                        let forwarded = Forwarded { collapsed: true, ..Forwarded::because(why) };
                        return self.flow(&announced, reader, forwarded);
                    }
                    Followed::Other => continue,
                    Followed::Whole(_) | Followed::Flowing(..) | Followed::Released => {
                        return self.past(ask, Forwarded::because(why)).await;
                    }
                },
                Role::Full => {
                    self.store.metrics.limited.of(Limit::Followers).inc();
                    return self.past(ask, Forwarded::because(why)).await;
                }
            }
        }
        self.past(ask, Forwarded::because(Forward::Miss)).await
    }

    /// Whether responses to such requests are known not to be stored, so that nobody should wait for one.
    fn is_known(&self, ask: &Ask) -> bool {
        let is_there = |lasting| {
            let entry = self.store.tiers.peek(&word(&ask.primary, lasting));
            entry.is_some_and(|entry| serve::record(&entry).is_some_and(|record| self.is_pass(record)))
        };
        (ask.facts.authorized && is_there(Lasting::Authorized))
            || (ask.facts.cookies && self.rules.cookies == Cookies::Explicit && is_there(Lasting::Cookies))
    }

    /// Fetches for a request and whoever wants the same meanwhile. The fetch goes on should the client go away.
    async fn lead(
        self: Arc<Self>,
        ask: Ask,
        lead: flight::Lead,
        seat: fetch::Seat,
        why: Forward,
        held: Option<Held>,
    ) -> Response {
        let (answer, fetched) = tokio::sync::oneshot::channel();
        let mut fetch = Fetch::new(Arc::clone(&self), &ask.head, &ask.origin, ask.asked, lead, seat, held);
        fetch.answer = Some(answer);
        fetch.asked_for = !ask.asked.refresh;
        let key = fetch.key();
        tokio::task::spawn_local(fetch.run());
        let forwarded = Forwarded::because(why);
        match fetched.await {
            Ok(Fetched::Own(response, detail)) => {
                let status = response.status;
                let mut response = match ask.facts.conditional && status == StatusCode::OK {
                    false => response,
                    // It was fetched without the conditions of the client.
                    true => match serve::conditioned(response, &ask.head) {
                        Some(response) => response,
                        None => return self.past(ask, Forwarded { detail, ..forwarded }).await,
                    },
                };
                self.count(Outcome::Miss);
                self.tell(&mut response, Forwarded { status: Some(status), detail, ..forwarded }, &key);
                response
            }
            Ok(Fetched::Held(held, how)) => {
                let (outcome, status, stored, detail) = match how {
                    How::Fetched => (Outcome::Miss, Some(held.stored.status), true, None),
                    How::Unchanged => (Outcome::Revalidated, Some(StatusCode::NOT_MODIFIED), true, None),
                    How::StoodIn(status) => (Outcome::StoodIn, Some(status), false, Some("stale-if-error")),
                };
                self.count(outcome);
                self.serve_fetched(&held, &ask.head, ask.facts, Forwarded { status, stored, detail, ..forwarded })
            }
            Ok(Fetched::Flowing(announced, reader)) => {
                let forwarded = Forwarded { status: Some(announced.stored.status), stored: true, ..forwarded };
                if ask.facts.conditional && announced.stored.status == StatusCode::OK {
                    return match reader.whole().await {
                        Some(held) => {
                            self.count(Outcome::Miss);
                            self.serve_fetched(&held, &ask.head, ask.facts, forwarded)
                        }
                        None => self.past(ask, Forwarded::because(why)).await,
                    };
                }
                self.count(Outcome::Miss);
                self.flow(&announced, reader, forwarded)
            }
            // The thread is about to end.
            Err(_) => plain(StatusCode::SERVICE_UNAVAILABLE),
        }
    }

    /// Fetches behind an answer.
    fn refresh(self: &Arc<Self>, head: &Parts, origin: &Rc<Origin>, asked: Asked, primary: Key, held: &Held) {
        let Role::Lead(lead) = self.store.flights.join(held.key, primary) else { return };
        let Some(seat) = self.seat() else { return };
        self.store.metrics.background.inc();
        let fetch = Fetch::new(Arc::clone(self), head, origin, asked, lead, seat, Some(held.clone()));
        tokio::task::spawn_local(fetch.run());
    }

    /// Sends a request on with its own conditions, and stores nothing.
    async fn past(self: Arc<Self>, ask: Ask, forwarded: Forwarded) -> Response {
        let request = Request { head: ask.head, body: RequestBody::Empty, origin: ask.origin };
        match self.direct(request, forwarded) {
            Answer::Now(response) => response,
            Answer::Later(response) => response.await,
        }
    }

    fn direct(self: Arc<Self>, request: Request, forwarded: Forwarded) -> Answer {
        self.count(Outcome::Pass);
        match self.inner.handle(request) {
            Answer::Now(response) => Answer::Now(self.passed(response, forwarded)),
            Answer::Later(response) => Answer::Later(Box::pin(async move { self.passed(response.await, forwarded) })),
        }
    }

    /// A response that goes through, without what is meant for this cache.
    fn passed(&self, mut response: Response, forwarded: Forwarded) -> Response {
        let consumed = &self.rules.consumed;
        storing::consume(&mut response.headers, &self.rules);
        if let Some(ready) =
            response.ready.as_ref().filter(|ready| consumed.iter().any(|name| ready.fields.contains_key(name)))
        {
            let mut fields = ready.fields.clone();
            storing::consume(&mut fields, &self.rules);
            response.ready = Some(ReadyHead::new(fields));
        }
        let status = response.status;
        if let Some(value) = (Forwarded { status: Some(status), ..forwarded }).value(None) {
            response.headers.append(status::CACHE_STATUS, value);
        }
        response
    }
}

impl Ask {
    /// RFC 9111 section 3.5.
    fn may_have(&self, stored: &stored::Stored) -> bool {
        !self.facts.authorized || stored.life.for_authorized
    }
}

/// A status and its name.
fn plain(status: StatusCode) -> Response {
    let text = format!("{}\n", status.canonical_reason().unwrap_or("error"));
    Response::full(status, "text/plain; charset=utf-8", text)
}

#[cfg(test)]
mod tests;
