//! Middleware, composed by hand: what stands between a connection and the handler of a route.
//!
//! The order, from outside in. What is off is not there, and costs nothing; what has nothing to wait for answers at once.
//! 1. Whose request it is (`proxies`), its id (`id`), its line in the access log (`log`): `visit`, for every request, routed or not.
//! 2. Who may come, by address (`addresses`), and whether there is anything to ask for (maintenance).
//! 3. Limits on requests (`rate`).
//! 4. Preflights of CORS (`cors`), which have no credentials. What is refused further out tells its page why, too.
//! 5. Certificates of clients (`certificates`), names and passwords (`auth`, `turns`, `users`), tokens (`jwt`), what others say when they are
//!    asked (`forward`).
//! 6. How much may be sent along (`body`), changes to the request's fields (`fields`), time to answer in.
//! 7. The response cache, response compression, another target (`rewrite`), the handler. So the cache knows answers by the targets that
//!    clients ask for, and they are purged by those.
//!
//! What the cache asks by itself, to be warm, passes 2 to 5 unasked: it is nobody's request.
//!
//! On the way back: pages in the place of errors (`pages`), changes to the answer's fields, fields that tell browsers to be careful, CORS, what is left of limits.
//!
//! - `config`: what the configuration says of all this. `layers`: 2 to 7, put together. `kit`: what outlives a reload. `networks`, `clients`: addresses, and their connections.
//!   `watched`: files that may change.
//!
//! Deliberately absent: the PROXY protocol, and signing in by OAuth.

mod addresses;
mod auth;
mod body;
mod certificates;
pub(crate) mod clients;
pub mod config;
pub(crate) mod cors;
mod fields;
mod forward;
mod id;
mod jwt;
mod kit;
mod layers;
mod log;
mod metrics;
mod networks;
mod pages;
mod proxies;
mod rate;
mod rewrite;
mod turns;
mod users;
mod visit;
mod watched;

use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use http::header::{CACHE_CONTROL, RETRY_AFTER};
use http::request::Parts;
use http::{HeaderMap, HeaderValue, StatusCode};

pub use addresses::ListError;
pub use auth::AuthError;
pub use clients::{Clients, Place};
pub use fields::{Owned, take_out};
pub use jwt::{JwtError, KeyError, ShortSecret, short_secret};
pub use kit::{General, Kit, KitError, Prepared, Route, Taken, missing, missing_issuer};
pub use layers::Layers;
pub use log::{AccessLog, LogError, LogField};
pub use metrics::FilterMetrics;
pub use networks::{Network, NetworkError, NetworkMap, Networks};
pub use pages::{ErrorPages, PageError, Statuses};
pub use proxies::{ClientField, Proxies};
pub use rate::CounterError;
pub use rewrite::{Original, Reroute, Rewritten};
pub use users::{Hash, HashError, UsersError};
pub(crate) use visit::Visit;
pub use visit::{Entry, Ids};

use crate::cached::Refresh;
use crate::interim;
use crate::message::{Answer, Handler, Local, Repeated, Request, RequestBody, Response};
use crate::problem::{Media, Problem};
use addresses::Addresses;
use auth::BasicAuth;
use cors::{Cors, Told};
use fields::{Defaults, FieldRules};
use forward::Forward;
use jwt::{Bearer, Moment};
use metrics::Refused;
use pages::Pages;
use rate::{Limiter, Verdict};

/// A handler behind the middleware of its route.
pub struct Filtered(Arc<Chain>);

/// The middleware of a route, and its handler.
pub(crate) struct Chain {
    pub(crate) inner: Arc<dyn Handler>,
    pub(crate) metrics: Arc<FilterMetrics>,
    /// The number of the route.
    pub(crate) route: usize,
    pub(crate) unlogged: bool,
    pub(crate) addresses: Option<Arc<Addresses>>,
    pub(crate) closed: Option<Closed>,
    pub(crate) limits: Vec<Arc<Limiter>>,
    pub(crate) cors: Option<Arc<Cors>>,
    pub(crate) certified: Option<config::Certified>,
    pub(crate) auth: Option<Arc<BasicAuth>>,
    pub(crate) jwt: Option<Arc<Bearer>>,
    pub(crate) forward: Option<Arc<Forward>>,
    pub(crate) max_body: Option<u64>,
    pub(crate) request_fields: Option<FieldRules>,
    /// Fields that requests do not have from their clients.
    pub(crate) owned: Option<Owned>,
    pub(crate) timeout: Option<Duration>,
    pub(crate) response_fields: Option<FieldRules>,
    pub(crate) security: Option<Defaults>,
    pub(crate) pages: Option<Arc<Pages>>,
    /// Those that whoever answers has, which come before these.
    pub(crate) own_pages: Option<Arc<dyn ErrorPages>>,
}

/// A route that is closed for a while.
#[derive(Debug, Clone)]
pub(crate) struct Closed {
    pub(crate) status: StatusCode,
    pub(crate) message: String,
    pub(crate) retry_after: Option<HeaderValue>,
    pub(crate) open_for: Networks,
}

/// What is to be done with the answer.
#[derive(Default)]
struct After {
    cors: Option<Told>,
    /// Of the limits, the one of which least is left.
    left: Option<(usize, Verdict)>,
    user: Option<Box<str>>,
    /// Whether nobody but the client may keep it, as far as it does not say itself.
    private: bool,
    /// Fields that it gets because of who asked.
    fields: HeaderMap,
    /// What the client would have an error written as, where there are pages for that.
    likes: Media,
}

/// What limits make of a request.
enum Step {
    Pass,
    Refuse(Response),
    Wait(Local<Vec<Verdict>>),
}

impl Filtered {
    pub(crate) fn new(chain: Chain) -> Self {
        Self(Arc::new(chain))
    }
}

impl Handler for Filtered {
    fn handle(&self, request: Request) -> Answer {
        self.0.admit(request)
    }

    fn answers_preflights(&self) -> bool {
        self.0.cors.is_some()
    }
}

impl Chain {
    fn admit(self: &Arc<Self>, mut request: Request) -> Answer {
        if self.looks_beyond_the_head() {
            request.head.extensions.remove::<Repeated>();
        }
        if request.head.extensions.get::<Refresh>().is_some() {
            return self.pass_on(request, After::default());
        }
        let likes = self.pages.as_ref().map(|_| Media::preferred(&request.head.headers)).unwrap_or_default();
        let cors = self.cors.as_ref().map(|cors| cors.decide(&request.head));
        let mut after = After { cors, likes, ..After::default() };
        if let Some(response) = self.turned_away(&request) {
            return self.refuse(after, response, &request.head.headers);
        }
        match self.limit(&request, &mut after) {
            Step::Pass => self.authenticate(request, after),
            Step::Refuse(response) => self.refuse(after, response, &request.head.headers),
            Step::Wait(waited) => {
                let chain = Arc::clone(self);
                Answer::Later(Box::pin(async move {
                    if let Some(response) = chain.judge(waited.await, &request, &mut after) {
                        return chain.refuse(after, response, &request.head.headers).response().await;
                    }
                    chain.authenticate(request, after).response().await
                }))
            }
        }
    }

    /// Whether the same head may get another answer next time: by whose request it is, and how many there were.
    fn looks_beyond_the_head(&self) -> bool {
        let by_whose = self.addresses.is_some() || self.certified.is_some() || self.auth.is_some();
        by_whose || self.jwt.is_some() || self.forward.is_some() || self.closed.is_some() || !self.limits.is_empty()
    }

    /// The answer to who may not come, or comes while it is closed.
    fn turned_away(&self, request: &Request) -> Option<Response> {
        let address = request.origin.peer.ip();
        if self.addresses.as_ref().is_some_and(|list| !list.allow(address)) {
            let problem = Problem::new(StatusCode::FORBIDDEN, "requests from this address are not taken");
            return Some(self.refused(Refused::Address, problem, &request.head));
        }
        let closed = self.closed.as_ref()?;
        closed.holds_for(address).then(|| {
            let problem = Problem::new(closed.status, closed.message.clone());
            let mut response = self.refused(Refused::Maintenance, problem, &request.head);
            response.headers.extend(closed.retry_after.clone().map(|after| (RETRY_AFTER, after)));
            response
        })
    }

    fn refused(&self, why: Refused, problem: Problem, head: &Parts) -> Response {
        self.metrics.refused.of(why).inc();
        problem.answer(head)
    }

    /// Counts a request for every limit.
    fn limit(self: &Arc<Self>, request: &Request, after: &mut After) -> Step {
        if self.limits.is_empty() {
            return Step::Pass;
        }
        let now = rate::clock();
        let checks = self.limits.iter().map(|limit| limit.check(request, self.route, now, &self.metrics));
        let mut verdicts = Vec::new();
        let mut waiting = Vec::new();
        for (index, check) in checks.enumerate() {
            match check {
                rate::Checked::Now(verdict) => verdicts.push(verdict),
                rate::Checked::Later(verdict) => {
                    waiting.push((index, verdict));
                    verdicts.push(Verdict::PENDING);
                }
            }
        }
        if waiting.is_empty() {
            return self.judge(verdicts, request, after).map_or(Step::Pass, Step::Refuse);
        }
        Step::Wait(Box::pin(async move {
            for (index, verdict) in waiting {
                let verdict = verdict.await;
                verdicts.get_mut(index).into_iter().for_each(|place| *place = verdict);
            }
            verdicts
        }))
    }

    /// The answer to who is beyond a limit.
    fn judge(&self, verdicts: Vec<Verdict>, request: &Request, after: &mut After) -> Option<Response> {
        let mut refusal = None;
        for (index, (limit, verdict)) in self.limits.iter().zip(verdicts).enumerate() {
            let less =
                after.left.as_ref().is_none_or(|(_, least)| verdict.remaining < least.remaining || !verdict.allowed);
            if !limit.settings.dry_run && less {
                after.left = Some((index, verdict));
            }
            if !limit.judge(verdict, &self.metrics) && refusal.is_none() {
                self.metrics.refused.of(Refused::Rate).inc();
                refusal = Some(limit.refusal(verdict, request));
            }
        }
        refusal
    }

    fn authenticate(self: &Arc<Self>, request: Request, mut after: After) -> Answer {
        if let (Some(cors), Some(told)) = (&self.cors, &after.cors)
            && let Some(response) = cors.preflight(&request.head, told)
        {
            self.metrics.preflights.inc();
            return self.finish(after, response).into();
        }
        let certified = self.certified.as_ref();
        if let Some(problem) = certified.and_then(|certified| certificates::refusal(certified, &request.origin)) {
            let response = self.refused(Refused::Certificate, problem, &request.head);
            return self.finish(after, response).into();
        }
        let Some(auth) = &self.auth else { return self.ask_for_token(request, after) };
        match auth.check(&request, rate::clock()) {
            auth::Checked::Pass(user) => {
                after.user = Some(user);
                self.ask_for_token(request, after)
            }
            auth::Checked::Refuse(response) => {
                self.metrics.refused.of(Refused::Credentials).inc();
                self.refuse(after, response, &request.head.headers)
            }
            auth::Checked::Later(checked) => {
                let chain = Arc::clone(self);
                Answer::Later(Box::pin(async move {
                    let fields = chain.fields_for_pages(&request.head.headers);
                    match checked.await {
                        Ok(user) => {
                            after.user = Some(user);
                            chain.ask_for_token(request, after).response().await
                        }
                        Err(response) => {
                            chain.metrics.refused.of(Refused::Credentials).inc();
                            chain.refuse(after, response, &fields).response().await
                        }
                    }
                }))
            }
        }
    }

    fn ask_for_token(self: &Arc<Self>, mut request: Request, after: After) -> Answer {
        let Some(jwt) = self.jwt.clone() else { return self.ask_others(request, after) };
        match jwt.check(&mut request.head, Moment::now()) {
            Ok(checked) => self.with_token(checked, request, after),
            Err(fetched) => {
                let chain = Arc::clone(self);
                Answer::Later(Box::pin(async move {
                    fetched.await;
                    let checked = jwt.check_again(&mut request.head, Moment::now());
                    chain.with_token(checked, request, after).response().await
                }))
            }
        }
    }

    fn with_token(self: &Arc<Self>, checked: jwt::Checked, request: Request, mut after: After) -> Answer {
        match checked {
            Ok(passed) => {
                after.user = passed.user.or(after.user);
                after.private = passed.in_query;
                self.ask_others(request, after)
            }
            Err(refusal) => {
                after.user = refusal.user.or(after.user);
                self.metrics.refused.of(refusal.why).inc();
                self.refuse(after, refusal.response, &request.head.headers)
            }
        }
    }

    fn ask_others(self: &Arc<Self>, mut request: Request, mut after: After) -> Answer {
        let Some(forward) = self.forward.clone() else { return self.pass_on(request, after) };
        let chain = Arc::clone(self);
        Answer::Later(Box::pin(async move {
            match forward.check(&mut request).await {
                Ok(passed) => {
                    after.user = passed.user.or(after.user);
                    after.fields = passed.fields;
                    chain.pass_on(request, after).response().await
                }
                Err(response) => {
                    chain.metrics.refused.of(Refused::Asked).inc();
                    chain.refuse(after, response, &request.head.headers).response().await
                }
            }
        }))
    }

    fn pass_on(self: &Arc<Self>, mut request: Request, after: After) -> Answer {
        if let Some(limit) = self.max_body {
            match body::limited(request.body, limit) {
                Ok(body) => request.body = body,
                Err(_) => {
                    let refusal = self.refused(Refused::Body, Problem::too_large(limit), &request.head);
                    return self.refuse(after, refusal, &request.head.headers);
                }
            }
        }
        if let Some(rules) = &self.request_fields {
            rules.request(&mut request.head.headers);
        }
        if let Some(owned) = self.owned.as_ref().filter(|_| !matches!(request.body, RequestBody::Empty)) {
            request.head.extensions.insert(owned.clone());
        }
        // What a late answer is written as; there is no head left by then.
        let late = self.timeout.map(|timeout| {
            let fields = &request.head.headers;
            (timeout, Problem::late().written_for(fields), self.fields_for_pages(fields))
        });
        match (self.inner.handle(request), late) {
            (Answer::Now(response), _) => self.finish(after, response).into(),
            (Answer::Later(response), None) => {
                let chain = Arc::clone(self);
                Answer::Later(Box::pin(async move {
                    let response = chain.made(response).await;
                    chain.finish(after, response)
                }))
            }
            (Answer::Later(response), Some((timeout, late, fields))) => {
                let chain = Arc::clone(self);
                Answer::Later(Box::pin(async move {
                    match tokio::time::timeout(timeout, chain.made(response)).await {
                        Ok(response) => chain.finish(after, response),
                        Err(_) => {
                            chain.metrics.refused.of(Refused::Time).inc();
                            chain.refuse(after, late.into_response(), &fields).response().await
                        }
                    }
                }))
            }
        }
    }

    /// The handler's answer. What it says before that (103 and the like) has its fields changed, too.
    async fn made(&self, response: Local<Response>) -> Response {
        match &self.response_fields {
            None => response.await,
            Some(rules) => interim::changing(response, |fields| rules.told(fields)).await,
        }
    }

    /// The fields of a request, where pages may be chosen by them once the request has gone.
    fn fields_for_pages(&self, fields: &HeaderMap) -> HeaderMap {
        self.own_pages.as_ref().map(|_| fields.clone()).unwrap_or_default()
    }

    /// Finishes an answer that was made here and not by the handler; `fields` are those of the request.
    fn refuse(self: &Arc<Self>, after: After, response: Response, fields: &HeaderMap) -> Answer {
        let Some(own) = &self.own_pages else { return self.finish(after, response).into() };
        match own.with_page(response, fields.clone()) {
            Answer::Now(response) => self.finish(after, response).into(),
            Answer::Later(response) => {
                let chain = Arc::clone(self);
                Answer::Later(Box::pin(async move { chain.finish(after, response.await) }))
            }
        }
    }

    /// What every answer of the route gets, whoever gave it.
    fn finish(&self, after: After, mut response: Response) -> Response {
        if let Some(pages) = &self.pages {
            pages.put(&mut response, after.likes);
        }
        if let Some(rules) = &self.response_fields {
            rules.response(&mut response);
        }
        if let Some(security) = &self.security {
            security.add(&mut response);
        }
        if let (Some(cors), Some(told)) = (&self.cors, after.cors) {
            cors.tell(told, &mut response);
        }
        if let Some((limit, verdict)) = after.left.and_then(|(index, verdict)| Some((self.limits.get(index)?, verdict)))
        {
            limit.tell(verdict, &mut response.headers);
        }
        if after.user.is_some() {
            response.note_mut().user = after.user;
        }
        for (name, value) in &after.fields {
            response.headers.append(name.clone(), value.clone());
        }
        if after.private && response.field(&CACHE_CONTROL).is_none() {
            response.headers.insert(CACHE_CONTROL, HeaderValue::from_static("private"));
        }
        if self.unlogged {
            response.note_mut().unlogged = true;
        }
        response
    }
}

impl Closed {
    fn holds_for(&self, address: IpAddr) -> bool {
        !self.open_for.contains(address)
    }
}

#[cfg(test)]
mod tests;
