//! What outlives a reload: counts of limits, the access log, connections to Redis, passwords that were right.
//!
//! A new configuration is prepared first, with what it has in common with the one in force, and taken up when nothing else refuses it.

use std::collections::{BTreeMap, HashMap};
use std::io;
use std::sync::Arc;
use std::time::Duration;

use http::StatusCode;
use parking_lot::Mutex;

use super::addresses::{Addresses, ListError};
use super::auth::{AuthError, BasicAuth};
use super::config::{self, AccessLogSettings, Shared};
use super::cors::Cors;
use super::fields::{Defaults, FieldRules, Owned};
use super::forward::Forward;
use super::jwt::{self, Bearer, Issuer, JwtError};
use super::log::{AccessLog, LogError};
use super::metrics::FilterMetrics;
use super::networks::{Network, Networks};
use super::pages::{ErrorPages, PageError, Pages};
use super::proxies::{ClientField, Proxies};
use super::rate::{Counter, CounterError, Limiter};
use super::users::Users;
use super::visit::{Entry, Ids};
use super::{Chain, Closed, Filtered};
use crate::ask::Ask;
use crate::message::Handler;
use crate::traffic::{Counted, Listed, Traffic};

/// Middleware of a running door.
#[derive(Debug, Default)]
pub struct Kit {
    metrics: Arc<FilterMetrics>,
    traffic: Arc<Traffic>,
    kept: Mutex<Kept>,
}

/// What a configuration leaves to the next.
#[derive(Debug, Default, Clone)]
struct Kept {
    log: Option<Arc<AccessLog>>,
    /// By what they belong to and their place there.
    limits: HashMap<(String, usize), Arc<Limiter>>,
    auths: HashMap<String, Arc<BasicAuth>>,
    /// By their names.
    issuers: HashMap<String, Arc<Issuer>>,
    counter: Option<(config::Redis, Arc<Counter>)>,
    routes: Option<Counted>,
}

/// What `[front]` says of middleware.
#[derive(Debug, Clone, Copy)]
pub struct General<'a> {
    /// Proxies whose word is taken.
    pub trusted_proxies: &'a [Network],
    /// Where they tell whose request it is.
    pub client_field: ClientField,
    /// Ids of requests.
    pub request_id: Option<&'a config::RequestId>,
    /// The access log.
    pub access_log: Option<&'a AccessLogSettings>,
    /// Where limits are counted together with other servers.
    pub redis: Option<&'a config::Redis>,
    /// Who issues tokens, by name.
    pub jwt_issuers: &'a BTreeMap<String, config::JwtIssuer>,
    /// Who sends questions about requests, where there is somebody.
    pub asker: Option<&'a Arc<dyn Ask>>,
    /// What holds for every route that does not say otherwise.
    pub shared: Shared<'a>,
}

/// What a route says of middleware.
#[derive(Debug, Clone, Copy)]
pub struct Route<'a> {
    /// Its number; `None` for requests that have no route.
    pub index: Option<usize>,
    /// What it says instead of `[front]`.
    pub shared: Shared<'a>,
    /// Bytes that a request may bring along, where that is less than the connection lets through.
    pub max_body: Option<u64>,
    /// How long it may take to answer.
    pub timeout: Option<Duration>,
    /// Whether its requests have a line in the access log.
    pub logged: bool,
}

/// Why middleware cannot be set up. Each names its setting, below `front` or the route.
#[derive(Debug, thiserror::Error)]
pub enum KitError {
    /// A list of networks.
    #[error("{0}{1}")]
    List(String, ListError),
    /// Users.
    #[error("{0}{1}")]
    Auth(String, AuthError),
    /// A page of errors.
    #[error("{0}{1}")]
    Page(String, PageError),
    /// Who issues tokens.
    #[error("{0}")]
    Jwt(#[from] JwtError),
    /// Questions about requests.
    #[error("{0}forward_auth.url: nobody here sends questions about requests")]
    Asker(String),
    /// The access log.
    #[error("access_log: {0}")]
    Log(#[from] LogError),
    /// Redis.
    #[error("redis: {0}")]
    Redis(#[from] CounterError),
}

/// The middleware of a new configuration.
#[derive(Debug)]
pub struct Prepared<'a> {
    general: General<'a>,
    metrics: Arc<FilterMetrics>,
    traffic: Arc<Traffic>,
    before: Kept,
    next: Kept,
    entry: Entry,
    addresses: HashMap<String, Option<Arc<Addresses>>>,
    pages: HashMap<String, Option<Arc<Pages>>>,
}

/// What a new configuration leaves to the one after it, once it is in force.
#[derive(Debug)]
pub struct Taken(Kept);

impl Route<'_> {
    /// What the names of its settings begin with, below `front`.
    fn scope(&self) -> String {
        self.index.map_or_else(String::new, |index| format!("route[{index}]."))
    }
}

impl KitError {
    /// Whether it is for the want of a right to look, which somebody else may have.
    pub fn is_denial(&self) -> bool {
        let source = match self {
            Self::List(_, ListError::File { source, .. })
            | Self::Auth(_, AuthError::File { source, .. })
            | Self::Page(_, PageError { source, .. })
            | Self::Jwt(JwtError::File { source, .. }) => source,
            _ => return false,
        };
        source.kind() == io::ErrorKind::PermissionDenied
    }
}

/// What would keep the middleware of a route, or that of `[front]`, from being set up: files that cannot be read or used. Nothing is started.
pub fn missing(route: Option<usize>, shared: Shared<'_>) -> Vec<KitError> {
    let scope = || route.map_or_else(String::new, |index| format!("route[{index}]."));
    let addresses = shared.addresses.and_then(|settings| Addresses::new(settings).err());
    let users = shared.basic_auth.filter(|auth| auth.enabled).and_then(|auth| auth.file.as_ref());
    let users = users.and_then(|file| Users::read(file).err());
    let pages = shared.error_pages.and_then(|settings| Pages::read(settings).err());
    let addresses = addresses.map(|error| KitError::List(scope(), error));
    let users = users.map(|error| KitError::Auth(scope(), error));
    addresses.into_iter().chain(users).chain(pages.map(|error| KitError::Page(scope(), error))).collect()
}

/// The same of an issuer of tokens.
pub fn missing_issuer(name: &str, issuer: &config::JwtIssuer) -> Vec<KitError> {
    jwt::missing(name, issuer).into_iter().map(KitError::Jwt).collect()
}

impl Kit {
    /// What all of it counts.
    pub fn metrics(&self) -> &Arc<FilterMetrics> {
        &self.metrics
    }

    /// What is counted of routes, and what failed.
    pub fn traffic(&self) -> &Arc<Traffic> {
        &self.traffic
    }

    /// Makes ready what every request meets.
    ///
    /// # Errors
    /// When a file cannot be opened, or an address is none.
    pub fn prepare<'a>(&self, general: General<'a>) -> Result<Prepared<'a>, KitError> {
        let before = self.kept.lock().clone();
        let mut next = Kept::default();
        if let Some(settings) = general.access_log {
            let same = before.log.clone().filter(|log| log.settings() == settings);
            next.log = Some(match same {
                Some(log) => log,
                None => AccessLog::open(settings.clone(), &self.metrics)?,
            });
        }
        if let Some(settings) = general.redis {
            let same = before.counter.clone().filter(|(known, _)| known == settings);
            next.counter = Some(match same {
                Some(known) => known,
                None => (settings.clone(), Counter::start(settings, &self.metrics)?),
            });
        }
        for (name, settings) in general.jwt_issuers {
            let same = before.issuers.get(name).filter(|issuer| issuer.settings == *settings);
            let issuer = match same {
                Some(same) => Arc::clone(same),
                None => Issuer::new(name, settings.clone(), &self.metrics)?,
            };
            next.issuers.insert(name.clone(), issuer);
        }
        let id = general.request_id.map(|id| Ids { field: id.header.name().clone(), trust: id.trust });
        let proxies = Proxies::new(general.trusted_proxies, general.client_field).map(Arc::new);
        let entry = Entry { proxies, id, log: next.log.clone(), traffic: None };
        let (metrics, traffic) = (Arc::clone(&self.metrics), Arc::clone(&self.traffic));
        let (addresses, pages) = (HashMap::new(), HashMap::new());
        Ok(Prepared { general, metrics, traffic, before, next, entry, addresses, pages })
    }

    /// It is in force. The access log is opened again, for somebody may have moved it away.
    pub fn commit(&self, Taken(next): Taken) {
        if let Some(log) = &next.log {
            log.reopen();
        }
        if let Some(routes) = &next.routes {
            routes.commit();
        }
        *self.kept.lock() = next;
    }

    /// Writes what is left of the access log.
    pub fn close(&self) {
        if let Some(log) = self.kept.lock().log.take() {
            log.close();
        }
    }
}

impl Prepared<'_> {
    /// Has these routes counted, by their numbers; `None` for one that only sends requests on.
    pub fn count(&mut self, routes: Vec<Option<Listed>>) {
        let counted = self.traffic.count(routes);
        self.entry.traffic = Some(counted.clone());
        self.next.routes = Some(counted);
    }

    /// What is done with every request.
    pub fn entry(&self) -> Entry {
        self.entry.clone()
    }

    /// What is to be kept, once it is in force.
    pub fn taken(self) -> Taken {
        Taken(self.next)
    }

    /// What all of it counts.
    pub fn metrics(&self) -> &Arc<FilterMetrics> {
        &self.metrics
    }

    /// Puts a handler behind the middleware of its route; where there is none, it stays as it is.
    ///
    /// # Errors
    /// When a file cannot be read.
    pub fn wrap(&mut self, route: Route<'_>, inner: Arc<dyn Handler>) -> Result<Arc<dyn Handler>, KitError> {
        self.wrap_with(route, None, inner)
    }

    /// The same, for one that has pages for errors itself: what middleware refuses gets these, too.
    ///
    /// # Errors
    /// As [`wrap`](Self::wrap).
    pub(super) fn wrap_with(
        &mut self,
        route: Route<'_>,
        own_pages: Option<Arc<dyn ErrorPages>>,
        inner: Arc<dyn Handler>,
    ) -> Result<Arc<dyn Handler>, KitError> {
        let shared = route.shared.over(self.general.shared);
        // What a route does not say itself it has in common with the others.
        let scope = |says: bool| if says { route.scope() } else { String::new() };
        let addresses = match shared.addresses {
            Some(settings) => self.addresses(scope(route.shared.addresses.is_some()), settings)?,
            None => None,
        };
        let limits = shared.rate_limit.unwrap_or_default();
        let limits = self.limits(&scope(route.shared.rate_limit.is_some()), limits);
        let auth = match shared.basic_auth.filter(|auth| auth.enabled) {
            Some(settings) => Some(self.auth(scope(route.shared.basic_auth.is_some()), settings)?),
            None => None,
        };
        let jwt = shared.jwt.filter(|jwt| jwt.enabled).map(|settings| self.jwt(settings));
        let forward = shared.forward_auth.filter(|forward| forward.enabled);
        let forward = forward.map(|settings| {
            let asker =
                self.general.asker.ok_or_else(|| KitError::Asker(scope(route.shared.forward_auth.is_some())))?;
            Ok::<_, KitError>(Forward::new(settings.clone(), asker, &self.metrics).map(Arc::new))
        });
        let forward = forward.transpose()?.flatten();
        let request_fields = shared.request_headers.and_then(FieldRules::new);
        let of_rules = request_fields.iter().flat_map(FieldRules::owned);
        let of_tokens = jwt.iter().flat_map(|jwt| jwt.owned());
        let of_others = forward.iter().flat_map(|forward| forward.owned());
        let ids = self.entry.id.iter().map(|ids| &ids.field);
        let owned = Owned::new(of_rules.chain(of_tokens).chain(of_others).chain(ids));
        let unlogged = !route.logged && self.entry.log.is_some();
        let chain = Chain {
            metrics: Arc::clone(&self.metrics),
            route: route.index.unwrap_or(usize::MAX),
            unlogged,
            addresses,
            closed: shared.maintenance.and_then(closed),
            limits,
            cors: shared.cors.and_then(Cors::new),
            certified: shared.client_certificate.filter(|certified| certified.enabled).cloned(),
            auth,
            jwt,
            forward,
            max_body: route.max_body,
            request_fields,
            owned,
            timeout: route.timeout,
            response_fields: shared.response_headers.and_then(FieldRules::new),
            security: shared.security_headers.and_then(Defaults::security),
            pages: self.pages(&route)?,
            own_pages,
            inner,
        };
        match chain.does_nothing() {
            true => Ok(chain.inner),
            false => Ok(Arc::new(Filtered::new(chain))),
        }
    }

    fn addresses(&mut self, scope: String, settings: &config::Addresses) -> Result<Option<Arc<Addresses>>, KitError> {
        if let Some(known) = self.addresses.get(&scope) {
            return Ok(known.clone());
        }
        let list = Addresses::new(settings).map_err(|error| KitError::List(scope.clone(), error))?;
        Ok(self.addresses.entry(scope).or_insert(list.map(Arc::new)).clone())
    }

    /// The pages for errors of a route, but for those that its handler has itself.
    pub(super) fn pages(&mut self, route: &Route<'_>) -> Result<Option<Arc<Pages>>, KitError> {
        let Some(settings) = route.shared.over(self.general.shared).error_pages else { return Ok(None) };
        let scope = if route.shared.error_pages.is_some() { route.scope() } else { String::new() };
        if let Some(known) = self.pages.get(&scope) {
            return Ok(known.clone());
        }
        let pages = Pages::read(settings).map_err(|error| KitError::Page(scope.clone(), error))?;
        Ok(self.pages.entry(scope).or_insert(pages.map(Arc::new)).clone())
    }

    fn limits(&mut self, scope: &str, settings: &[config::RateLimit]) -> Vec<Arc<Limiter>> {
        let counter = self.next.counter.as_ref().map(|(_, counter)| counter);
        let same_counter = |limit: &Limiter| limit.counts_in(counter);
        let limit = |(index, settings): (usize, &config::RateLimit)| {
            let key = (scope.to_owned(), index);
            let before =
                self.before.limits.get(&key).filter(|limit| limit.settings == *settings && same_counter(limit));
            let fresh = || Arc::new(Limiter::new(settings.clone(), &format!("{scope}rate_limit[{index}]"), counter));
            Arc::clone(self.next.limits.entry(key).or_insert_with(|| before.cloned().unwrap_or_else(fresh)))
        };
        settings.iter().enumerate().map(limit).collect()
    }

    /// Who asks for tokens; where no issuer is named, those of the only one.
    fn jwt(&self, settings: &config::Jwt) -> Arc<Bearer> {
        let is_meant = |name: &String| settings.issuers.is_empty() || settings.issuers.contains(name);
        let names = self.general.jwt_issuers.keys().filter(|name| is_meant(name));
        let issuers = names.filter_map(|name| self.next.issuers.get(name)).cloned().collect();
        Arc::new(Bearer::new(settings.clone(), issuers, &self.metrics))
    }

    fn auth(&mut self, scope: String, settings: &config::BasicAuth) -> Result<Arc<BasicAuth>, KitError> {
        if let Some(known) = self.next.auths.get(&scope) {
            return Ok(Arc::clone(known));
        }
        let before = self.before.auths.get(&scope).filter(|auth| auth.settings == *settings);
        let auth = match before {
            Some(same) => Arc::clone(same),
            None => {
                BasicAuth::new(settings.clone(), &self.metrics).map_err(|error| KitError::Auth(scope.clone(), error))?
            }
        };
        Ok(Arc::clone(self.next.auths.entry(scope).or_insert(auth)))
    }
}

impl Chain {
    /// Whether a request would meet nothing in it.
    fn does_nothing(&self) -> bool {
        let by_whose = self.addresses.is_none() && self.certified.is_none() && self.auth.is_none();
        let by_whose = by_whose && self.jwt.is_none() && self.forward.is_none();
        let before = by_whose && self.closed.is_none() && self.limits.is_empty();
        let within = self.max_body.is_none() && self.request_fields.is_none() && self.pages.is_none();
        let within = within && self.owned.is_none();
        let after = self.timeout.is_none() && self.response_fields.is_none() && self.security.is_none();
        before && within && after && self.cors.is_none() && !self.unlogged
    }
}

fn closed(settings: &config::Maintenance) -> Option<Closed> {
    settings.enabled.then(|| Closed {
        // Checked when the configuration was read.
        status: StatusCode::from_u16(settings.status).unwrap_or(StatusCode::SERVICE_UNAVAILABLE),
        message: settings.message.clone(),
        retry_after: settings.retry_after.map(|after| after.as_secs().into()),
        open_for: Networks::of(&settings.allow),
    })
}
