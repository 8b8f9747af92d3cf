//! Names and passwords (RFC 7617).
//!
//! A password is hashed on a thread of its own, few at a time; one that was right is remembered for a while, under a digest with a key that
//! this process alone has. Who sends wrong ones is asked to wait: each is counted before it is hashed, so that none gets by while others
//! are under way, and one that was right is given back.

use std::collections::HashMap;
use std::hash::{BuildHasher, RandomState};
use std::io;
use std::sync::Arc;
use std::time::Duration;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use http::header::{AUTHORIZATION, RETRY_AFTER, WWW_AUTHENTICATE};
use http::request::Parts;
use http::{HeaderMap, HeaderValue, StatusCode};
use parking_lot::{Mutex, RwLock};
use sha2::{Digest, Sha256};
use tokio::sync::Semaphore;

use super::config::BasicAuth as Settings;
use super::metrics::{FilterMetrics, Login};
use super::networks::client;
use super::rate::{self, Cells, Rate};
use super::turns::{self, Entered, Told, Turn, Turns};
use super::users::{Users, UsersError};
use super::watched::Watched;
use crate::message::{Local, Request, Response};
use crate::problem::Problem;

/// Passwords that are remembered.
const KNOWN: usize = 4096;
/// Addresses whose wrong passwords are counted at a time.
const ADDRESSES: usize = 65_536;

/// Asks for names and passwords.
#[derive(Debug)]
pub(crate) struct BasicAuth {
    pub(crate) settings: Settings,
    users: RwLock<Arc<Users>>,
    file: Watched,
    challenge: HeaderValue,
    failures: Cells,
    hasher: RandomState,
    known: Mutex<HashMap<[u8; 32], u64>>,
    key: [u8; 32],
    hashing: Arc<Semaphore>,
    turns: Arc<Turns>,
    metrics: Arc<FilterMetrics>,
}

/// Why nobody could sign in.
#[derive(Debug, thiserror::Error)]
pub enum AuthError {
    /// A file cannot be read.
    #[error("basic_auth.file: cannot read {path}: {source}")]
    File {
        /// The file.
        path: String,
        /// The kernel's answer.
        source: io::Error,
    },
    /// A file is none of users.
    #[error("basic_auth.file: {path}: {error}")]
    Users {
        /// The file.
        path: String,
        /// What is wrong with it.
        error: UsersError,
    },
    /// The kernel has no randomness.
    #[error("basic_auth: {0}")]
    Random(getrandom::Error),
}

/// What is made of a request's credentials.
pub(crate) enum Checked {
    /// They are right: the name.
    Pass(Box<str>),
    /// They are not.
    Refuse(Response),
    /// It takes a while to tell.
    Later(Local<Result<Box<str>, Response>>),
}

impl BasicAuth {
    pub(crate) fn new(settings: Settings, metrics: &Arc<FilterMetrics>) -> Result<Arc<Self>, AuthError> {
        let mut key = [0; 32];
        getrandom::fill(&mut key).map_err(AuthError::Random)?;
        let file = Watched::new(settings.file.iter().cloned().collect());
        // Checked when the configuration was read.
        let challenge = HeaderValue::try_from(format!("Basic realm=\"{}\", charset=\"UTF-8\"", settings.realm));
        let auth = Self {
            users: RwLock::default(),
            file,
            challenge: challenge.unwrap_or_else(|_| HeaderValue::from_static("Basic realm=\"Restricted\"")),
            failures: Cells::new(Rate::new(settings.failures, Duration::from_secs(60), None), ADDRESSES),
            hasher: RandomState::new(),
            known: Mutex::default(),
            key,
            hashing: Arc::new(Semaphore::new(threads())),
            turns: Arc::default(),
            metrics: Arc::clone(metrics),
            settings,
        };
        auth.refresh()?;
        Ok(Arc::new(auth))
    }

    /// What is made of a request's credentials at `now`, in nanoseconds.
    pub(crate) fn check(self: &Arc<Self>, request: &Request, now: u64) -> Checked {
        self.look(now);
        let head = &request.head;
        let Some((name, password)) = credentials(&head.headers) else {
            self.metrics.logins.of(Login::Missing).inc();
            return Checked::Refuse(self.challenge(head, "a name and a password are needed"));
        };
        let digest = self.digest(&name, &password);
        if self.known.lock().get(&digest).is_some_and(|until| now < *until) {
            self.metrics.logins.of(Login::Remembered).inc();
            return Checked::Pass(name);
        }
        let client = client(request.origin.peer.ip());
        let (first, told) = match self.turns.enter((client, digest)) {
            Entered::First(turn, told) => (Some(turn), told),
            Entered::Joined(told) => (None, told),
            Entered::Busy => {
                self.metrics.logins.of(Login::Busy).inc();
                return Checked::Refuse(busy(head));
            }
        };
        let joined = first.is_none();
        if let Some(turn) = first {
            let address = self.hasher.hash_one(client);
            let (verdict, _) = self.failures.take(address, now);
            if !verdict.allowed {
                self.metrics.logins.of(Login::Throttled).inc();
                let wait = verdict.retry_after.div_ceil(1_000_000_000).max(1);
                let detail = format!("too many wrong passwords; try again in {wait} s");
                let problem = Problem::new(StatusCode::TOO_MANY_REQUESTS, detail);
                return Checked::Refuse(after(problem.answer(head), wait));
            }
            let charge = Charge { address, now, until: now.saturating_add(verdict.reset) };
            let sent = Sent { name: name.clone(), password, digest };
            // It goes on without the request, and keeps its turn for as long as it takes.
            tokio::spawn(Arc::clone(self).verify(turn, sent, charge));
        }
        let (refusal, busy) = (self.challenge(head, "the name or the password is wrong"), busy(head));
        Checked::Later(Box::pin(Arc::clone(self).hear(told, joined, name, refusal, busy)))
    }

    /// Waits for what comes of a turn.
    async fn hear(
        self: Arc<Self>,
        told: Told,
        joined: bool,
        name: Box<str>,
        refusal: Response,
        busy: Response,
    ) -> Result<Box<str>, Response> {
        let (count, heard) = match turns::outcome(told).await {
            Some(true) => (Login::Remembered, Ok(name)),
            Some(false) => (Login::Wrong, Err(refusal)),
            // The turn that this one had joined was refused.
            None => return Err(busy),
        };
        if joined {
            self.metrics.logins.of(count).inc();
        }
        heard
    }

    /// Hashes a password when its turn has come.
    async fn verify(self: Arc<Self>, turn: Turn, sent: Sent, charge: Charge) {
        let began = rate::clock();
        // It is never closed.
        let _place = Arc::clone(&self.hashing).acquire_owned().await;
        let users = Arc::clone(&self.users.read());
        let (of, Sent { name, password, digest }) = (Arc::clone(&users), sent);
        let right = tokio::task::spawn_blocking(move || of.verify(&name, &password)).await;
        let right = matches!(right, Ok(true));
        self.metrics.logins.of(if right { Login::Right } else { Login::Wrong }).inc();
        if right {
            let now = charge.now.saturating_add(rate::clock().saturating_sub(began));
            self.failures.give_back(charge.address, charge.until, now);
            self.remember(digest, &users, charge.now);
        }
        turn.end(right);
    }

    fn challenge(&self, head: &Parts, detail: &'static str) -> Response {
        let mut response = Problem::new(StatusCode::UNAUTHORIZED, detail).answer(head);
        response.headers.insert(WWW_AUTHENTICATE, self.challenge.clone());
        response
    }

    /// A name and a password in a form that tells neither.
    fn digest(&self, name: &str, password: &[u8]) -> [u8; 32] {
        let inner = |text: &[u8]| Sha256::new().chain_update(self.key).chain_update(text).finalize();
        let both = [&inner(name.as_bytes())[..], &inner(password)].concat();
        inner(&both).into()
    }

    /// Remembers what was right by these users, unless there are others by now.
    fn remember(&self, digest: [u8; 32], users: &Arc<Users>, now: u64) {
        let time = u64::try_from(self.settings.remember.as_nanos()).unwrap_or(u64::MAX);
        if time == 0 {
            return;
        }
        let mut known = self.known.lock();
        if !Arc::ptr_eq(users, &self.users.read()) {
            return;
        }
        if known.len() >= KNOWN {
            known.retain(|_, until| now < *until);
        }
        // Where all are in use, they are hashed again: dear, but no more than that.
        if known.len() >= KNOWN {
            known.clear();
        }
        known.insert(digest, now.saturating_add(time));
    }

    /// Has the file of users read again where it has changed.
    fn look(self: &Arc<Self>, now: u64) {
        if !self.file.are_due(now) {
            return;
        }
        let auth = Arc::clone(self);
        tokio::task::spawn_blocking(move || {
            if let Err(error) = auth.refresh() {
                tracing::warn!("{error}; the users before stay");
            }
        });
    }

    /// Reads the file of users, if it has changed.
    fn refresh(&self) -> Result<(), AuthError> {
        // Checked when the configuration was read.
        let listed =
            self.settings.users.iter().filter_map(|(name, hash)| Some((name.clone(), hash.expose().parse().ok()?)));
        let mut users = HashMap::new();
        if let Some(file) = &self.settings.file {
            if !self.file.have_changed() {
                return Ok(());
            }
            users = Users::read(file)?;
        }
        users.extend(listed);
        *self.users.write() = Arc::new(Users::new(users));
        // Whoever has another password now, or none, is found out.
        self.known.lock().clear();
        Ok(())
    }
}

/// A name and a password, and their digest.
struct Sent {
    name: Box<str>,
    password: Vec<u8>,
    digest: [u8; 32],
}

/// What an attempt has cost its address: one wrong password, at `now`, that would have come back by `until`.
struct Charge {
    address: u64,
    now: u64,
    until: u64,
}

/// Passwords that are hashed at once: half of what the machine can do is left for requests.
fn threads() -> usize {
    (std::thread::available_parallelism().map_or(1, usize::from) / 2).clamp(1, 8)
}

/// Name and password of a request.
fn credentials(headers: &HeaderMap) -> Option<(Box<str>, Vec<u8>)> {
    let value = headers.get(AUTHORIZATION)?.to_str().ok()?;
    let (scheme, token) = value.split_once(' ')?;
    if !scheme.eq_ignore_ascii_case("basic") {
        return None;
    }
    let mut name = STANDARD.decode(token.trim()).ok()?;
    let colon = memchr::memchr(b':', &name)?;
    let password = name.split_off(colon + 1);
    name.pop();
    Some((String::from_utf8(name).ok()?.into(), password))
}

/// The answer to who finds no turn.
fn busy(head: &Parts) -> Response {
    let problem = Problem::new(StatusCode::SERVICE_UNAVAILABLE, "too many people are signing in at once");
    after(problem.answer(head), 1)
}

fn after(mut response: Response, seconds: u64) -> Response {
    response.headers.insert(RETRY_AFTER, seconds.into());
    response
}

#[cfg(test)]
#[path = "auth_tests.rs"]
mod tests;
