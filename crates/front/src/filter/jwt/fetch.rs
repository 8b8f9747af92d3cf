//! Keys that an issuer publishes: fetched by a thread of their own, at the start, once in a while, and when somebody asks for one that is not
//! among them.

use std::fmt;
use std::io;
use std::path::Path;
use std::sync::Arc;
use std::sync::mpsc::{Receiver, RecvTimeoutError, SyncSender, sync_channel};
use std::time::Duration;

use parking_lot::Mutex;
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject;
use tokio::sync::watch;
use ureq::Agent;
use ureq::tls::{Certificate, RootCerts, TlsConfig};

use super::issuer::Keys;
use super::key::{Key, KeyError, Secrets};
use crate::filter::config::JwtIssuer;
use crate::filter::metrics::{FilterMetrics, KeyFetch};
use crate::message::Local;

/// The largest set of keys.
const LARGEST: u64 = 512 << 10;
/// The pause after a fetch that failed; it doubles with each that follows, up to the time between two that go well.
const PAUSE: Duration = Duration::from_secs(1);

/// A thread that fetches keys. Dropped, it ends with the fetch that is under way.
pub(super) struct Fetching {
    wake: SyncSender<()>,
    rounds: Arc<Rounds>,
    refetch: u64,
    patience: Duration,
    metrics: Arc<FilterMetrics>,
}

/// Fetches that are made and asked for.
struct Rounds {
    now: Mutex<Round>,
    ended: watch::Sender<u64>,
}

#[derive(Default)]
struct Round {
    is_under_way: bool,
    /// When somebody last had one made, in nanoseconds.
    asked: Option<u64>,
}

/// Why there are no new keys.
#[derive(Debug, thiserror::Error)]
enum FetchError {
    #[error("{0}")]
    Transport(#[from] ureq::Error),
    #[error("it answers {0}")]
    Status(u16),
    #[error("{0}")]
    Set(#[from] KeyError),
}

/// The thread's part.
struct Fetcher {
    issuer: String,
    url: String,
    agent: Agent,
    refresh: Duration,
    keys: Arc<Keys>,
    rounds: Arc<Rounds>,
    metrics: Arc<FilterMetrics>,
    /// The set as it came last.
    content: Option<Vec<u8>>,
    /// Failures since then.
    failures: u32,
}

/// Certificates of who may vouch for the server, where the configuration names a file of them.
pub(super) fn authorities(file: &Path) -> io::Result<Vec<CertificateDer<'static>>> {
    let read = |error| io::Error::other(format!("it is no PEM: {error}"));
    let content = std::fs::read(file)?;
    let all: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(&content).collect();
    let all = all.map_err(read)?;
    match all.is_empty() {
        true => Err(io::Error::other("it has no CERTIFICATE")),
        false => Ok(all),
    }
}

impl Fetching {
    /// Begins to, from this URL.
    pub(super) fn start(
        name: &str,
        url: &str,
        settings: &JwtIssuer,
        authorities: Option<Vec<CertificateDer<'static>>>,
        keys: &Arc<Keys>,
        metrics: &Arc<FilterMetrics>,
    ) -> io::Result<Self> {
        let (wake, woken) = sync_channel(1);
        // The first one is made without being asked for.
        let first = Round { is_under_way: true, asked: None };
        let rounds = Arc::new(Rounds { now: Mutex::new(first), ended: watch::Sender::new(0) });
        let fetcher = Fetcher {
            issuer: name.to_owned(),
            url: url.to_owned(),
            agent: agent(settings, authorities),
            refresh: settings.refresh,
            keys: Arc::clone(keys),
            rounds: Arc::clone(&rounds),
            metrics: Arc::clone(metrics),
            content: None,
            failures: 0,
        };
        std::thread::Builder::new().name("jwt-keys".to_owned()).spawn(move || fetcher.run(&woken))?;
        let refetch = u64::try_from(settings.refetch.as_nanos()).unwrap_or(u64::MAX);
        // Beyond its own time, a fetch takes no longer than it takes to read what came.
        let patience = settings.timeout + Duration::from_secs(1);
        Ok(Self { wake, rounds, refetch, patience, metrics: Arc::clone(metrics) })
    }

    /// Has keys fetched, at `now` in nanoseconds, unless that was done just before: the end of that, or of what is under way.
    pub(super) fn ask(&self, now: u64) -> Option<Local<()>> {
        let mut round = self.rounds.now.lock();
        if !round.is_under_way {
            if round.asked.is_some_and(|asked| now.saturating_sub(asked) < self.refetch) {
                self.metrics.jwt_key_fetches.of(KeyFetch::TooSoon).inc();
                return None;
            }
            *round = Round { is_under_way: true, asked: Some(now) };
            // Where word waits already, that is enough.
            let _ = self.wake.try_send(());
        }
        let mut ended = self.rounds.ended.subscribe();
        drop(round);
        let patience = self.patience;
        Some(Box::pin(async move {
            // However it ends, what there is then is looked at.
            let _ = tokio::time::timeout(patience, ended.changed()).await;
        }))
    }
}

impl fmt::Debug for Fetching {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Fetching")
    }
}

fn agent(settings: &JwtIssuer, authorities: Option<Vec<CertificateDer<'static>>>) -> Agent {
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let mut tls = TlsConfig::builder().unversioned_rustls_crypto_provider(provider);
    if let Some(authorities) = authorities {
        let certificates = authorities.iter().map(|one| Certificate::from_der(one).to_owned());
        tls = tls.root_certs(RootCerts::from(certificates));
    }
    let config = Agent::config_builder().tls_config(tls.build()).http_status_as_error(false).max_redirects(0);
    let config =
        config.timeout_global(Some(settings.timeout)).user_agent(concat!("outwork/", env!("CARGO_PKG_VERSION")));
    config.build().into()
}

impl Fetcher {
    fn run(mut self, woken: &Receiver<()>) {
        loop {
            // Who has asked until now gets what is fetched now.
            woken.try_iter().for_each(drop);
            self.rounds.now.lock().is_under_way = true;
            self.refresh();
            self.rounds.now.lock().is_under_way = false;
            self.rounds.ended.send_modify(|rounds| *rounds = rounds.wrapping_add(1));
            if woken.recv_timeout(self.pause()) == Err(RecvTimeoutError::Disconnected) {
                return;
            }
        }
    }

    /// How long until the next one.
    fn pause(&self) -> Duration {
        match self.failures.checked_sub(1) {
            None => self.refresh,
            Some(doublings) => PAUSE.saturating_mul(1 << doublings.min(16)).min(self.refresh),
        }
    }

    fn refresh(&mut self) {
        let (issuer, url) = (&self.issuer, &self.url);
        match self.fetch() {
            Ok(content) if self.content.as_ref() == Some(&content) => self.fetched(KeyFetch::Unchanged),
            Ok(content) => match Key::of_set(&content, Secrets::Refused) {
                Ok(keys) => {
                    self.keys.fetched(keys);
                    self.content = Some(content);
                    self.fetched(KeyFetch::Fetched);
                }
                // An issuer that takes all its keys back means that.
                Err(error @ KeyError::Unusable(_)) => {
                    tracing::warn!(issuer, url, %error, "an issuer of tokens has no keys any more: none of its tokens are taken");
                    self.keys.fetched(Vec::new());
                    self.content = Some(content);
                    self.fetched(KeyFetch::Fetched);
                }
                Err(error) => self.failed(&error.into()),
            },
            Err(error) => self.failed(&error),
        }
    }

    fn fetched(&mut self, outcome: KeyFetch) {
        self.metrics.jwt_key_fetches.of(outcome).inc();
        if std::mem::take(&mut self.failures) > 0 {
            tracing::info!(
                issuer = self.issuer,
                url = self.url,
                "the keys of an issuer of tokens can be fetched again"
            );
        }
    }

    fn failed(&mut self, error: &FetchError) {
        self.metrics.jwt_key_fetches.of(KeyFetch::Failed).inc();
        let (issuer, url) = (&self.issuer, &self.url);
        // Of those that follow, nobody needs to hear.
        match self.failures {
            0 => {
                tracing::warn!(issuer, url, %error, "the keys of an issuer of tokens cannot be fetched; those that there were stay good")
            }
            _ => tracing::debug!(issuer, url, %error, "the keys of an issuer of tokens cannot be fetched"),
        }
        self.failures = self.failures.saturating_add(1);
    }

    fn fetch(&self) -> Result<Vec<u8>, FetchError> {
        let accept = "application/jwk-set+json, application/json";
        let mut response = self.agent.get(&self.url).header("accept", accept).call()?;
        match response.status().as_u16() {
            200 => Ok(response.body_mut().with_config().limit(LARGEST).read_to_vec()?),
            status => Err(FetchError::Status(status)),
        }
    }
}
