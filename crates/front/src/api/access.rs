//! Who calls: a bearer token or a browser session becomes a [`Caller`] with a role.

use std::collections::HashMap;
use std::fmt;
use std::str::FromStr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use axum::extract::FromRequestParts;
use http::header::{AUTHORIZATION, COOKIE, HOST, ORIGIN};
use http::request::Parts;
use http::{HeaderMap, Method};
use parking_lot::Mutex;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::attempts::Attempts;
use super::audit::{AuditLog, AuditSlot};
use super::session::{self, Sessions};
use super::{Problem, StorageError, Timestamp, TokenHash, TokenRecord, TokenStore};
use crate::metrics::{AuthFailure, FrontMetrics};
use crate::serve::Peer;

/// Tokens remembered between requests.
const CACHED: usize = 1024;
/// How long a token is remembered: a token removed by another process works no longer than this.
const CACHED_FOR: Duration = Duration::from_secs(15);
/// A header no longer than this is looked at.
const MAX_TOKEN: usize = 256;

/// What a caller may do; each role may do what those before it may.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "lowercase")]
pub enum Role {
    /// Look.
    Viewer,
    /// Change what a service holds: leases, reservations.
    Operator,
    /// Change the configuration and who may call.
    Admin,
}

impl Role {
    /// The role's name.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Viewer => "viewer",
            Self::Operator => "operator",
            Self::Admin => "admin",
        }
    }
}

impl fmt::Display for Role {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl FromStr for Role {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        [Self::Viewer, Self::Operator, Self::Admin]
            .into_iter()
            .find(|role| role.as_str() == text)
            .ok_or_else(|| format!("`{text}` is not a role; expected viewer, operator or admin"))
    }
}

/// Who calls. As an extractor it refuses whoever has no valid token, whatever its role.
#[derive(Debug, Clone)]
pub struct Caller {
    /// The number of the token.
    pub token: i64,
    /// The name of the token.
    pub name: String,
    /// What it may do.
    pub role: Role,
    /// Where the request came from.
    pub peer: Peer,
    slot: AuditSlot,
}

impl Caller {
    /// Says what this request changes, for the audit log. The last note counts. Never a secret.
    pub fn note(&self, detail: impl Into<String>) {
        self.slot.note(detail.into());
    }
}

/// Everything that decides who is let in. An extension of every request that [`audited`](super::audited) wraps.
pub struct Access {
    pub(super) tokens: Arc<dyn TokenStore>,
    pub(super) audit: Arc<dyn AuditLog>,
    pub(super) sessions: Mutex<Sessions>,
    pub(super) metrics: Arc<FrontMetrics>,
    attempts: Mutex<Attempts>,
    cache: Mutex<HashMap<[u8; 32], (TokenRecord, Instant)>>,
}

impl Access {
    /// Access by the tokens of this store, changes written to this log.
    pub fn new(tokens: Arc<dyn TokenStore>, audit: Arc<dyn AuditLog>, metrics: Arc<FrontMetrics>) -> Arc<Self> {
        Arc::new(Self {
            tokens,
            audit,
            sessions: Mutex::default(),
            metrics,
            attempts: Mutex::default(),
            cache: Mutex::default(),
        })
    }

    /// Forgets a token at once: what its removal calls.
    pub fn forget(&self, token: i64) {
        self.cache.lock().retain(|_, (record, _)| record.id != token);
        self.sessions.lock().end_all_of(token);
    }

    /// The token behind a hash, if it may still be used.
    ///
    /// # Errors
    /// A [`Problem`] to answer with: unknown, expired, too many failures from this peer, or the storage failed.
    pub(super) async fn token(self: &Arc<Self>, hash: TokenHash, peer: Peer) -> Result<TokenRecord, Problem> {
        let now = Instant::now();
        let cached = self.cache.lock().get(&hash.0).cloned();
        let record = match &cached {
            Some((record, until)) if now < *until => record.clone(),
            _ => {
                // A token that was good lately is looked up even where others keep failing from the same address.
                let wait = self.attempts.lock().wait(peer.address.ip(), now).filter(|_| cached.is_none());
                if let Some(wait) = wait {
                    self.metrics.auth_failures.of(AuthFailure::RateLimited).inc();
                    return Err(Problem::too_many(wait, "too many failed attempts from this address"));
                }
                self.look_up(hash, now).await?.ok_or_else(|| {
                    self.attempts.lock().failed(peer.address.ip(), now);
                    self.metrics.auth_failures.of(AuthFailure::Unknown).inc();
                    tracing::warn!(peer = %peer.address, "an unknown token was presented");
                    Problem::unauthorized("this token is not known; `outwork token create` makes one")
                })?
            }
        };
        if record.expires.is_some_and(|expires| expires <= Timestamp::now()) {
            self.metrics.auth_failures.of(AuthFailure::Expired).inc();
            return Err(Problem::unauthorized("this token has expired"));
        }
        Ok(record)
    }

    async fn look_up(self: &Arc<Self>, hash: TokenHash, now: Instant) -> Result<Option<TokenRecord>, Problem> {
        let this = self.clone();
        let found = blocking(move || {
            let found = this.tokens.find(&hash)?.filter(|record| record.hash == hash);
            if let Some(record) = &found {
                let at = Timestamp::now();
                if record.last_used.is_none_or(|last| last.unix() + 60 <= at.unix()) {
                    this.tokens.touch(record.id, at)?;
                }
            }
            Ok(found)
        })
        .await?;
        let mut cache = self.cache.lock();
        cache.remove(&hash.0);
        if cache.len() >= CACHED {
            cache.retain(|_, (_, until)| now < *until);
        }
        if let Some(record) = found.as_ref().filter(|_| cache.len() < CACHED) {
            cache.insert(hash.0, (record.clone(), now + CACHED_FOR));
        }
        Ok(found)
    }

    /// Finds out who sent this request.
    async fn authenticate(self: &Arc<Self>, parts: &Parts) -> Result<Caller, Problem> {
        let peer = peer_of(parts)?;
        let slot = parts.extensions.get::<AuditSlot>().cloned().unwrap_or_default();
        let hash = if let Some(token) = bearer(&parts.headers) {
            TokenHash::of(token)
        } else if let Some(hash) = self.session_of(&parts.headers) {
            if !is_safe(&parts.method) {
                self.same_origin(&parts.headers)?;
            }
            hash
        } else {
            self.metrics.auth_failures.of(AuthFailure::Missing).inc();
            let detail = "send `Authorization: Bearer TOKEN`, or sign in; `outwork token create` makes a token";
            return Err(Problem::unauthorized(detail));
        };
        let record = self.token(hash, peer).await?;
        let caller = Caller { token: record.id, name: record.name, role: record.role, peer, slot };
        caller.slot.called_by(&caller);
        Ok(caller)
    }

    /// Whether this caller's token is still good: what long streams ask now and then.
    pub(crate) async fn still_valid(self: &Arc<Self>, parts: &Parts) -> bool {
        self.authenticate(parts).await.is_ok()
    }

    pub(super) fn session_of(&self, headers: &HeaderMap) -> Option<TokenHash> {
        let id = session::cookie(headers)?;
        self.sessions.lock().token_of(id, Instant::now())
    }

    /// A browser sends its cookie with whatever page asks. A foreign page can neither set our header nor hide its origin.
    pub(super) fn same_origin(&self, headers: &HeaderMap) -> Result<(), Problem> {
        let text = |name| headers.get(name).and_then(|value: &http::HeaderValue| value.to_str().ok());
        let foreign_site = text("sec-fetch-site").is_some_and(|site| !matches!(site, "same-origin" | "none"));
        let authority = |origin: &str| origin.split_once("://").map(|(_, rest)| rest.to_ascii_lowercase());
        let host = headers.get(HOST).and_then(|host| host.to_str().ok()).map(str::to_ascii_lowercase);
        let foreign_origin = headers.contains_key(ORIGIN)
            && text(ORIGIN.as_str()).and_then(authority).is_none_or(|origin| Some(origin) != host);
        if foreign_site || foreign_origin || !headers.contains_key("x-outwork") {
            self.metrics.auth_failures.of(AuthFailure::Forgery).inc();
            return Err(Problem::forbidden(
                "a change by a browser session has to come from this site, with the header X-Outwork: 1",
            ));
        }
        Ok(())
    }
}

/// Runs what blocks, and turns its failure into a [`Problem`].
pub(super) async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> Result<T, StorageError> + Send + 'static,
) -> Result<T, Problem> {
    tokio::task::spawn_blocking(work).await.map_err(Problem::internal)?.map_err(Problem::internal)
}

pub(super) fn is_safe(method: &Method) -> bool {
    matches!(*method, Method::GET | Method::HEAD | Method::OPTIONS)
}

pub(super) fn peer_of(parts: &Parts) -> Result<Peer, Problem> {
    parts.extensions.get::<Peer>().copied().ok_or_else(|| Problem::internal("a request without a peer"))
}

/// The token of `Authorization: Bearer`, RFC 6750 section 2.1; the scheme's case does not matter (RFC 9110 section 11.1).
fn bearer(headers: &HeaderMap) -> Option<&str> {
    let (scheme, token) = headers.get(AUTHORIZATION)?.to_str().ok()?.split_once(' ')?;
    Some(token.trim()).filter(|token| scheme.eq_ignore_ascii_case("bearer") && token.len() <= MAX_TOKEN)
}

impl<S: Send + Sync> FromRequestParts<S> for Caller {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, Problem> {
        if let Some(caller) = parts.extensions.get::<Self>() {
            return Ok(caller.clone());
        }
        let access = parts.extensions.get::<Arc<Access>>().cloned();
        let access = access.ok_or_else(|| Problem::internal("a route outside the API's access layer"))?;
        let caller = access.authenticate(parts).await?;
        parts.extensions.insert(caller.clone());
        Ok(caller)
    }
}

async fn caller_with(role: Role, parts: &mut Parts) -> Result<Caller, Problem> {
    let caller = Caller::from_request_parts(parts, &()).await?;
    if caller.role >= role {
        return Ok(caller);
    }
    if let Some(access) = parts.extensions.get::<Arc<Access>>() {
        access.metrics.auth_failures.of(AuthFailure::Forbidden).inc();
    }
    Err(Problem::forbidden(format!("this needs the role {role}; the token `{}` has {}", caller.name, caller.role)))
}

macro_rules! guards {
    ($($(#[$meta:meta])* $guard:ident),+) => {
        $(
            $(#[$meta])*
            #[derive(Debug, Clone)]
            pub struct $guard(pub Caller);

            impl<S: Send + Sync> FromRequestParts<S> for $guard {
                type Rejection = Problem;

                async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, Problem> {
                    caller_with(Role::$guard, parts).await.map(Self)
                }
            }
        )+
    };
}

guards! {
    /// Lets in every role.
    Viewer,
    /// Lets in operators and admins.
    Operator,
    /// Lets in admins.
    Admin
}

/// Cookies of a request, by name.
pub(super) fn cookie_named<'a>(headers: &'a HeaderMap, wanted: &str) -> Option<&'a str> {
    let lines = headers.get_all(COOKIE).into_iter().filter_map(|value| value.to_str().ok());
    lines.flat_map(|line| line.split(';')).find_map(|pair| {
        let (name, value) = pair.trim().split_once('=')?;
        (name == wanted).then_some(value)
    })
}
