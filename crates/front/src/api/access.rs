//! Who calls: a bearer token or a browser session becomes a [`Caller`] with a role.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime};

use axum::extract::FromRequestParts;
use http::header::{AUTHORIZATION, COOKIE, HOST, ORIGIN};
use http::request::Parts;
use http::uri::Authority;
use http::{HeaderMap, HeaderValue, Method};
use outwork_store::database::Database;
use outwork_store::tokens::{self, LOCAL, Secret, Token};
use parking_lot::Mutex;
use sha2::{Digest, Sha256};

use super::attempts::Attempts;
use super::audit::AuditSlot;
use super::session::{self, Sessions};
use super::{Problem, Role};
use crate::metrics::{AuthFailure, FrontMetrics};
use crate::serve::Peer;

/// Tokens remembered between requests.
const CACHED: usize = 1024;
/// How long a token is remembered: a token removed by another process works no longer than this.
const CACHED_FOR: Duration = Duration::from_secs(15);
/// How exact `last_used` of a token is.
const TOUCHED_EVERY: Duration = Duration::from_secs(60);
/// A header no longer than this is looked at.
const MAX_TOKEN: usize = 256;

/// Who calls. As an extractor it refuses whoever has no valid token, whatever its role.
#[derive(Debug, Clone)]
pub struct Caller {
    /// The number of the token; 0 for the secret of the data directory.
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
    /// Says what this request does, for the audit log: `lease.release` on `192.0.2.7`. Never a secret. To be said before
    /// the work, so that the row of a failure names it too; said again, it replaces what was said.
    pub fn does(&self, action: &'static str, target: impl Into<String>, detail: impl Into<String>) {
        self.slot.does(action, target.into(), detail.into());
    }
}

/// Under which name a token is remembered.
#[derive(PartialEq, Eq, Hash)]
enum Key {
    /// The SHA-256 of the secret that was presented.
    Presented([u8; 32]),
    /// The number of the token that a session stands for.
    Number(i64),
}

/// What a request presents.
enum Credential {
    Bearer(String),
    /// The number of the session's token.
    Session(i64),
}

/// Everything that decides who is let in. An extension of every request that [`audited`](super::audited) wraps.
pub struct Access {
    pub(super) database: Arc<Database>,
    sessions: Mutex<Sessions>,
    pub(super) metrics: Arc<FrontMetrics>,
    attempts: Mutex<Attempts>,
    cache: Mutex<HashMap<Key, (Token, Instant)>>,
    /// Held for a look-up by an address that has failed too often.
    suspects: tokio::sync::Mutex<()>,
    local: Option<Local>,
}

/// The secret that callers on this machine read from the data directory. It lives as long as the process.
struct Local {
    hash: [u8; 32],
    since: SystemTime,
}

impl Local {
    /// No table numbers a token so.
    const NUMBER: i64 = 0;

    fn token(&self) -> Token {
        let (name, role) = (LOCAL.to_owned(), tokens::Role::Admin);
        Token { id: Self::NUMBER, name, role, created: self.since, last_used: None, expires: None }
    }
}

impl Access {
    /// Access by the tokens of this database; changes are written to its audit log.
    pub fn new(database: Arc<Database>, metrics: Arc<FrontMetrics>) -> Arc<Self> {
        Arc::new(Self::with(database, metrics, None))
    }

    /// Access by those, and by a secret that makes its caller the admin `local`. Only its hash is kept.
    pub fn with_local(database: Arc<Database>, metrics: Arc<FrontMetrics>, secret: &Secret) -> Arc<Self> {
        let local = Local { hash: Sha256::digest(secret.expose().as_bytes()).into(), since: SystemTime::now() };
        Arc::new(Self::with(database, metrics, Some(local)))
    }

    fn with(database: Arc<Database>, metrics: Arc<FrontMetrics>, local: Option<Local>) -> Self {
        let (sessions, attempts, cache) = (Mutex::default(), Mutex::default(), Mutex::default());
        Self { database, sessions, metrics, attempts, cache, suspects: tokio::sync::Mutex::default(), local }
    }

    /// Forgets a token at once: what its removal calls.
    pub fn forget(&self, token: i64) {
        self.cache.lock().retain(|_, (cached, _)| cached.id != token);
        self.sessions(|sessions| sessions.end_all_of(token));
    }

    /// Works on the open sessions, and counts them.
    pub(super) fn sessions<T>(&self, work: impl FnOnce(&mut Sessions) -> T) -> T {
        let mut sessions = self.sessions.lock();
        let result = work(&mut sessions);
        self.metrics.sessions.set(sessions.len() as i64);
        result
    }

    /// The token behind a presented secret.
    ///
    /// # Errors
    /// A [`Problem`] to answer with: unknown or expired, too many failures from this peer, or the database failed.
    pub(super) async fn present(&self, secret: &str, peer: Peer) -> Result<Token, Problem> {
        let now = Instant::now();
        let hash: [u8; 32] = Sha256::digest(secret.as_bytes()).into();
        // By hash, like those of the table: how long it takes tells nothing about any secret.
        if let Some(local) = self.local.as_ref().filter(|local| local.hash == hash) {
            return Ok(local.token());
        }
        let key = || Key::Presented(hash);
        let cached = self.cache.lock().get(&key()).cloned();
        if let Some((token, _)) = cached.filter(|(token, until)| now < *until && !has_expired(token)) {
            return Ok(token);
        }
        // A good token passes though others keep failing from its address. Where they do, look-ups wait for each other:
        // guesses cannot fill the database's queue.
        let wait = self.attempts.lock().wait(peer.address.ip(), now);
        let turn = if wait.is_some() { Some(self.suspects.lock().await) } else { None };
        let (presented, at) = (secret.to_owned(), SystemTime::now());
        let found = self.database.read(move |db| tokens::verify_lookup(db, &presented, at)).await?;
        drop(turn);
        self.remember(key(), found.as_ref(), now);
        if let Some(token) = found {
            self.touch(&token, at);
            return Ok(token);
        }
        if let Some(wait) = wait {
            self.refused(AuthFailure::RateLimited);
            return Err(Problem::too_many(wait, "too many failed attempts from this address"));
        }
        self.attempts.lock().failed(peer.address.ip(), now);
        self.refused(AuthFailure::Unknown);
        tracing::warn!(peer = %peer.address, "an unknown token was presented");
        Err(Problem::unauthorized("this token is not known, or has expired; `outwork token create` makes one"))
    }

    /// The token that a session stands for.
    async fn of_session(&self, number: i64) -> Result<Token, Problem> {
        if let Some(local) = self.local.as_ref().filter(|_| number == Local::NUMBER) {
            return Ok(local.token());
        }
        let now = Instant::now();
        let cached = self.cache.lock().get(&Key::Number(number)).cloned();
        if let Some((token, _)) = cached.filter(|(token, until)| now < *until && !has_expired(token)) {
            return Ok(token);
        }
        let all = self.database.read(tokens::list).await?;
        let found = all.into_iter().find(|token| token.id == number && !has_expired(token));
        self.remember(Key::Number(number), found.as_ref(), now);
        found.ok_or_else(|| {
            self.refused(AuthFailure::Unknown);
            Problem::unauthorized("the token of this session was removed, or has expired; sign in with another")
        })
    }

    fn remember(&self, key: Key, found: Option<&Token>, now: Instant) {
        let mut cache = self.cache.lock();
        cache.remove(&key);
        if cache.len() >= CACHED {
            cache.retain(|_, (_, until)| now < *until);
        }
        if let Some(token) = found.filter(|_| cache.len() < CACHED) {
            cache.insert(key, (token.clone(), now + CACHED_FOR));
        }
    }

    /// Notes the use of a token, to the minute. Nobody waits for it.
    fn touch(&self, token: &Token, at: SystemTime) {
        let (id, last) = (token.id, token.last_used);
        if last.and_then(|last| at.duration_since(last).ok()).is_some_and(|since| since < TOUCHED_EVERY) {
            return;
        }
        let touched = self.database.call(move |db| tokens::touch(db, id, at));
        tokio::spawn(async move {
            if let Err(error) = touched.await {
                tracing::warn!(%error, "the use of a token was not noted");
            }
        });
    }

    fn refused(&self, reason: AuthFailure) {
        self.metrics.auth_failures.of(reason).inc();
    }

    /// Finds out who sent this request.
    async fn authenticate(&self, parts: &Parts) -> Result<Caller, Problem> {
        let peer = peer_of(parts)?;
        let slot = parts.extensions.get::<AuditSlot>().cloned().unwrap_or_default();
        let token = match self.credential(&parts.headers) {
            Some(Credential::Bearer(secret)) => self.present(&secret, peer).await?,
            Some(Credential::Session(number)) => {
                if !is_safe(&parts.method) {
                    self.same_origin(parts)?;
                }
                self.of_session(number).await?
            }
            None => {
                self.refused(AuthFailure::Missing);
                let detail = "send `Authorization: Bearer TOKEN`, or sign in; `outwork token create` makes a token";
                return Err(Problem::unauthorized(detail));
            }
        };
        let caller = Caller { token: token.id, name: token.name, role: token.role.into(), peer, slot };
        caller.slot.called_by(&caller.name, caller.role);
        Ok(caller)
    }

    fn credential(&self, headers: &HeaderMap) -> Option<Credential> {
        if let Some(secret) = bearer(headers) {
            return Some(Credential::Bearer(secret.to_owned()));
        }
        let id = session::cookie(headers)?;
        self.sessions(|sessions| sessions.token_of(id, Instant::now())).map(Credential::Session)
    }

    /// Whether this caller's token is still good: what long streams ask now and then.
    pub(crate) async fn still_valid(&self, parts: &Parts) -> bool {
        self.authenticate(parts).await.is_ok()
    }

    /// A browser sends its cookie with whatever page asks. A foreign page can neither set our header nor hide its origin.
    pub(super) fn same_origin(&self, Parts { uri, headers, .. }: &Parts) -> Result<(), Problem> {
        let text = |name| headers.get(name).and_then(|value: &HeaderValue| value.to_str().ok());
        let foreign_site = text("sec-fetch-site").is_some_and(|site| !matches!(site, "same-origin" | "none"));
        let authority = |origin: &str| origin.split_once("://").map(|(_, rest)| rest.to_ascii_lowercase());
        // HTTP/2 has no Host: the request's own URI names the authority (RFC 9113 section 8.3.1, RFC 9112 section 3.2.2).
        let host = uri.authority().map(Authority::as_str).or_else(|| text(HOST.as_str())).map(str::to_ascii_lowercase);
        let foreign_origin = headers.contains_key(ORIGIN)
            && text(ORIGIN.as_str()).and_then(authority).is_none_or(|origin| Some(origin) != host);
        let wrong = if foreign_site || foreign_origin {
            "a page of another site asks: what a browser signs in to or changes has to be asked by this site's own pages"
        } else if !headers.contains_key("x-outwork") {
            "send the header `X-Outwork: 1`, which no page of another site can; with `Authorization: Bearer TOKEN` in \
             place of a session's cookie, changes need neither it nor a session"
        } else {
            return Ok(());
        };
        self.refused(AuthFailure::Forgery);
        Err(Problem::forbidden(wrong))
    }
}

fn has_expired(token: &Token) -> bool {
    token.expires.is_some_and(|expires| expires <= SystemTime::now())
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
        access.refused(AuthFailure::Forbidden);
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
