//! The cache before this one, as of a content delivery network: what it is told with every answer, and word of purges.
//!
//! Purges go out one after the other, in their order, from a thread of their own; one that fails is sent again after a while that doubles. What is given
//! up, finds no room, or was not sent when the process ended is owed as a purge of everything, which is tried until it is taken, and lets newer ones by.

use std::io;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::mpsc::{Receiver, RecvTimeoutError, SyncSender, sync_channel};
use std::time::{Duration, Instant};

use http::{HeaderName, HeaderValue};
use outwork_cache::Purge;
use serde_json::{Value as Json, json};
use ureq::Agent;
use ureq::tls::TlsConfig;

use super::config::{Edge as Settings, Provider};
use super::metrics::{CachedMetrics, EdgeOutcome};
use super::owed::Owed;

/// What goes out to the cache before this one with every answer that is stored here.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct EdgeFields {
    /// How long it may keep it, where that is said.
    pub(crate) lifetime: Option<(HeaderName, HeaderValue)>,
    /// The field that it knows tags by, and what parts them.
    pub(crate) tags: (HeaderName, &'static str),
}

impl From<&Settings> for EdgeFields {
    fn from(settings: &Settings) -> Self {
        let (lifetime, tags) = match settings.provider {
            Provider::Fastly => ("surrogate-control", ("surrogate-key", " ")),
            Provider::Cloudflare => ("cdn-cache-control", ("cache-tag", ",")),
            Provider::Generic => ("cdn-cache-control", ("surrogate-key", " ")),
        };
        let value = |ttl: Duration| HeaderValue::try_from(format!("max-age={}", ttl.as_secs())).ok();
        let lifetime = settings.ttl.and_then(value).map(|value| (HeaderName::from_static(lifetime), value));
        Self { lifetime, tags: (HeaderName::from_static(tags.0), tags.1) }
    }
}

/// What became of a purge.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Told {
    /// It is on its way.
    Queued,
    /// The provider knows no such purge.
    Unsupported,
    /// Too many wait already: it will be told to throw out everything.
    Everything,
}

/// A request that tells of a purge.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Word {
    url: String,
    body: Option<Json>,
}

/// What a provider is told of a purge; `None` where it knows no such.
fn word(provider: Provider, url: &str, purge: &Purge) -> Option<Word> {
    let base = url.trim_end_matches('/');
    let post = |url: String, body: Json| Some(Word { url, body: Some(body) });
    match (provider, purge) {
        (Provider::Generic, Purge::Name(name)) => post(url.to_owned(), json!({ "urls": [name] })),
        (Provider::Generic, Purge::Prefix(prefix)) => post(url.to_owned(), json!({ "prefixes": [prefix] })),
        (Provider::Generic, Purge::Tag(tag)) => post(url.to_owned(), json!({ "tags": [tag] })),
        (Provider::Generic, Purge::All) => post(url.to_owned(), json!({ "all": true })),
        // https://developers.cloudflare.com/api/resources/cache/methods/purge/
        (Provider::Cloudflare, Purge::Name(name)) => post(url.to_owned(), json!({ "files": [name] })),
        (Provider::Cloudflare, Purge::Prefix(prefix)) => {
            post(url.to_owned(), json!({ "prefixes": [prefix.split_once("://").map_or(&**prefix, |(_, rest)| rest)] }))
        }
        (Provider::Cloudflare, Purge::Tag(tag)) => post(url.to_owned(), json!({ "tags": [tag] })),
        (Provider::Cloudflare, Purge::All) => post(url.to_owned(), json!({ "purge_everything": true })),
        // https://www.fastly.com/documentation/reference/api/purging/
        (Provider::Fastly, Purge::Name(name)) => {
            let origin = base
                .split_once("://")
                .map(|(scheme, rest)| format!("{scheme}://{}", rest.split('/').next().unwrap_or(rest)));
            let target = name.split_once("://").map_or(&**name, |(_, rest)| rest);
            Some(Word { url: format!("{}/purge/{target}", origin?), body: None })
        }
        (Provider::Fastly, Purge::Tag(tag)) => post(format!("{base}/purge"), json!({ "surrogate_keys": [tag] })),
        (Provider::Fastly, Purge::All) => Some(Word { url: format!("{base}/purge_all"), body: None }),
        (Provider::Fastly, Purge::Prefix(_)) => None,
    }
}

/// Tells the cache before this one of purges.
pub struct Edge {
    words: SyncSender<Word>,
    provider: Provider,
    url: String,
    owed: Arc<Owed>,
    metrics: Arc<CachedMetrics>,
}

impl Edge {
    /// Begins to, with what this file says that it has missed.
    ///
    /// # Errors
    /// When no thread can be started.
    pub fn start(settings: &Settings, metrics: &Arc<CachedMetrics>, file: PathBuf) -> io::Result<Self> {
        let (words, told) = sync_channel(settings.queue as usize);
        let owed = Arc::new(Owed::open(file, Arc::clone(metrics)));
        let (provider, url) = (settings.provider, settings.url.clone());
        let sender = Sender::new(settings, Arc::clone(&owed), Arc::clone(metrics));
        std::thread::Builder::new().name("cache-edge".to_owned()).spawn(move || sender.run(&told))?;
        Ok(Self { words, provider, url, owed, metrics: Arc::clone(metrics) })
    }

    /// Who runs it, as the configuration says.
    pub fn provider(&self) -> String {
        self.provider.to_string()
    }

    /// Passes a purge on. Once this has returned, it is not lost with the process.
    pub fn purge(&self, purge: &Purge) -> Told {
        let Some(word) = word(self.provider, &self.url, purge) else { return Told::Unsupported };
        self.owed.one_more();
        match self.words.try_send(word) {
            Ok(()) => Told::Queued,
            Err(_) => {
                self.owed.everything();
                self.owed.one_less();
                self.metrics.edge_purges.of(EdgeOutcome::Dropped).inc();
                Told::Everything
            }
        }
    }
}

/// The thread's part.
struct Sender {
    agent: Agent,
    provider: Provider,
    token_file: Option<PathBuf>,
    attempts: u32,
    pause: Duration,
    /// What purges everything.
    everything: Option<Word>,
    owed: Arc<Owed>,
    metrics: Arc<CachedMetrics>,
}

/// The longest pause between two attempts.
const LONGEST: Duration = Duration::from_secs(300);

/// When everything is to be purged, where that is owed.
struct Turn {
    due: Instant,
    pause: Duration,
}

/// Why word did not arrive.
#[derive(Debug, thiserror::Error)]
enum EdgeError {
    #[error("cannot read the token: {0}")]
    Token(io::Error),
    #[error("{0}")]
    Transport(#[from] ureq::Error),
    #[error("it answers {0}")]
    Status(u16),
}

impl EdgeError {
    /// Whether it may go better another time.
    fn may_pass(&self) -> bool {
        match self {
            Self::Token(_) | Self::Transport(_) => true,
            Self::Status(status) => *status >= 500 || matches!(status, 408 | 425 | 429),
        }
    }

    /// Whether it is this purge that is refused, as one of what the cache does not have: any other one would be taken.
    fn is_about_it(&self) -> bool {
        matches!(self, Self::Status(400 | 413 | 422))
    }
}

impl Sender {
    fn new(settings: &Settings, owed: Arc<Owed>, metrics: Arc<CachedMetrics>) -> Self {
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let tls = TlsConfig::builder().unversioned_rustls_crypto_provider(provider).build();
        let config = Agent::config_builder().tls_config(tls).http_status_as_error(false).max_redirects(0);
        let config =
            config.timeout_global(Some(settings.timeout)).user_agent(concat!("outwork/", env!("CARGO_PKG_VERSION")));
        Self {
            agent: config.build().into(),
            provider: settings.provider,
            token_file: settings.token_file.clone(),
            attempts: settings.attempts,
            pause: settings.pause,
            everything: word(settings.provider, &settings.url, &Purge::All),
            owed,
            metrics,
        }
    }

    /// Sends until nobody has anything to say any more.
    fn run(self, words: &Receiver<Word>) {
        let mut turn = Turn { due: Instant::now(), pause: self.pause };
        loop {
            let next = match self.owed.debt() {
                Some(_) => words.recv_timeout(turn.due.saturating_duration_since(Instant::now())),
                None => words.recv().map_err(RecvTimeoutError::from),
            };
            match next {
                Ok(word) => {
                    self.deliver(&word);
                    self.owed.one_less();
                }
                Err(RecvTimeoutError::Timeout) => {}
                Err(RecvTimeoutError::Disconnected) => return,
            }
            self.make_good(&mut turn);
        }
    }

    /// Has everything purged, where that is owed and it is time.
    fn make_good(&self, turn: &mut Turn) {
        let Some((debt, everything)) = self.owed.debt().zip(self.everything.as_ref()) else { return };
        if Instant::now() < turn.due {
            return;
        }
        match self.send(everything) {
            Ok(()) => {
                self.metrics.edge_purges.of(EdgeOutcome::Sent).inc();
                self.owed.settle(debt);
                tracing::info!(url = everything.url, "the cache before this one was told to throw out everything");
                turn.pause = self.pause;
            }
            Err(error) => {
                self.metrics.edge_purges.of(EdgeOutcome::Retried).inc();
                let (url, again) = (&everything.url, turn.pause.as_secs_f64());
                tracing::warn!(url, again, %error, "the cache before this one could not be told to throw out everything");
                turn.due = Instant::now() + turn.pause;
                turn.pause = turn.pause.saturating_mul(2).min(LONGEST);
            }
        }
    }

    fn deliver(&self, word: &Word) {
        let mut pause = self.pause;
        for attempt in 1..=self.attempts {
            let error = match self.send(word) {
                Ok(()) => return self.metrics.edge_purges.of(EdgeOutcome::Sent).inc(),
                Err(error) => error,
            };
            if error.is_about_it() {
                self.metrics.edge_purges.of(EdgeOutcome::Failed).inc();
                let url = &word.url;
                return tracing::warn!(url, %error, "the cache before this one does not take a purge: it knows nothing that this could mean");
            }
            // Where everything is owed, nothing is lost with this one, and the next one need not wait.
            if !error.may_pass() || attempt == self.attempts || self.owed.debt().is_some() {
                self.metrics.edge_purges.of(EdgeOutcome::Failed).inc();
                self.owed.everything();
                let url = &word.url;
                tracing::warn!(url, attempt, %error, "the cache before this one was not told of a purge: it will be told to throw out everything");
                return;
            }
            self.metrics.edge_purges.of(EdgeOutcome::Retried).inc();
            std::thread::sleep(pause);
            pause = pause.saturating_mul(2).min(LONGEST);
        }
    }

    fn send(&self, word: &Word) -> Result<(), EdgeError> {
        let mut request = self.agent.post(&word.url);
        if let Some(file) = &self.token_file {
            let token = std::fs::read_to_string(file).map_err(EdgeError::Token)?;
            let token = token.trim();
            request = match self.provider {
                Provider::Fastly => request.header("fastly-key", token),
                Provider::Generic | Provider::Cloudflare => request.header("authorization", format!("Bearer {token}")),
            };
        }
        let response = match &word.body {
            Some(body) => request.header("content-type", "application/json").send(body.to_string())?,
            None => request.send_empty()?,
        };
        match response.status().as_u16() {
            200..=299 => Ok(()),
            status => Err(EdgeError::Status(status)),
        }
    }
}

#[cfg(test)]
#[path = "edge_tests.rs"]
mod tests;
