//! Orders certificates when they are due, one after the other, for as long as the process runs.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use instant_acme::{Account, CertificateIdentifier};
use rustls::pki_types::Der;
use tokio::time::timeout;

use super::directory::Directory;
use super::schedule::{Attempts, Held, Window, due};
use super::storage::Storage;
use super::{AcmeError, Settings, account, order};
use crate::tls::{Certificate, Certificates, Entry, Facts, Source};

/// How long one order may take.
const PATIENCE: Duration = Duration::from_secs(300);
/// The longest sleep: the clock of the machine may be set meanwhile.
const NAP: Duration = Duration::from_secs(60);
/// From one question for the authority's suggestion to the next, at least and where that failed.
const WINDOW_PAUSE: Duration = Duration::from_secs(6 * 3600);
/// After a restart there are no longer waits than this many failures bring: someone may have mended what was wrong.
const FRESH_FAILURES: u32 = 3;

/// Looks after every certificate that comes by ACME. Within a tokio runtime.
pub async fn run(certificates: Arc<Certificates>) {
    let mut worker = Worker { certificates, courses: BTreeMap::new(), session: None };
    loop {
        let pause = worker.turn().await;
        tokio::select! {
            () = tokio::time::sleep(pause) => {}
            () = worker.certificates.acme_changed() => {}
        }
    }
}

struct Worker {
    certificates: Arc<Certificates>,
    courses: BTreeMap<String, Course>,
    session: Option<Session>,
}

/// An account that is open, and what it was opened with.
struct Session {
    settings: Arc<Settings>,
    directory: Directory,
    account: Account,
}

/// What is known of one name.
struct Course {
    attempts: Attempts,
    window: Option<Window>,
    /// When the authority is asked for its suggestion next.
    ask: SystemTime,
    /// Spreads what is due; chosen again with each certificate.
    chance: f64,
}

impl Worker {
    /// Does what is due, and says how long nothing is.
    async fn turn(&mut self) -> Duration {
        let Some(settings) = self.certificates.acme_settings() else { return NAP };
        let storage = Storage::new(&self.certificates.acme_dir(), &settings.directory);
        let entries: Vec<_> = self
            .certificates
            .entries()
            .into_iter()
            .filter_map(|entry| match &entry.source {
                Source::Acme(name) => Some((name.clone(), entry)),
                _ => None,
            })
            .collect();
        self.courses.retain(|name, _| entries.iter().any(|(known, _)| known == name));
        let mut pause = NAP;
        for (name, entry) in entries {
            let now = SystemTime::now();
            let course =
                self.courses.entry(name.clone()).or_insert_with(|| Course::begin(&storage, &name, &entry, now));
            if course.due(&entry, now) <= now {
                self.order(&settings, &storage, &name, &entry).await;
            } else if course.ask <= now && !entry.certificate().provisional {
                self.ask(&settings, &storage, &name, &entry).await;
            }
            let now = SystemTime::now();
            if let Some(course) = self.courses.get(&name) {
                let next = course.due(&entry, now);
                entry.set_next(next);
                pause = pause.min(next.duration_since(now).unwrap_or_default());
            }
        }
        pause
    }

    /// Orders a certificate, and remembers what came of it.
    async fn order(&mut self, settings: &Arc<Settings>, storage: &Storage, name: &str, entry: &Arc<Entry>) {
        tracing::info!(name, directory = settings.directory, "ordering a certificate");
        let failures = self.courses.get(name).map_or(0, |course| course.attempts.failures);
        let replaces = self.courses.get(name).and_then(|course| course.window).filter(|_| failures == 0);
        let replaces = replaces.and_then(|_| identifier(&entry.certificate().facts));
        // Another kind of challenge each time: one may be what the network lets through.
        let mut kinds = settings.challenges.clone();
        let turn = failures as usize % kinds.len().max(1);
        kinds.rotate_left(turn);
        let attempt = async {
            let challenges = self.certificates.challenges();
            let account = self.account(settings, storage).await?;
            let issued = match order::issue(&account, name, &kinds, replaces.clone(), &challenges).await {
                Err(error) if error.is_unknown_account() => {
                    tracing::warn!(
                        directory = settings.directory,
                        "the server knows our account no more; making another"
                    );
                    self.session = None;
                    storage.put_account_aside()?;
                    let account = self.account(settings, storage).await?;
                    order::issue(&account, name, &kinds, None, &challenges).await?
                }
                issued => issued?,
            };
            Ok(storage.keep_certificate(name, &issued.chain, &issued.key)?)
        };
        let outcome = timeout(PATIENCE, attempt).await.unwrap_or(Err(AcmeError::Late(PATIENCE)));
        self.conclude(storage, name, entry, outcome);
    }

    fn conclude(&mut self, storage: &Storage, name: &str, entry: &Arc<Entry>, outcome: Result<Certificate, AcmeError>) {
        let now = SystemTime::now();
        let Some(course) = self.courses.get_mut(name) else { return };
        course.attempts.last = Some(now);
        let error = match outcome {
            Ok(certificate) => {
                *course = Course {
                    attempts: Attempts { failures: 0, last: Some(now), retry_after: None },
                    window: None,
                    ask: now,
                    chance: chance(&certificate.facts.fingerprint),
                };
                self.certificates.renewed(entry, certificate);
                None
            }
            Err(error) => {
                course.attempts.failures = course.attempts.failures.saturating_add(1);
                course.attempts.retry_after = self.session.as_ref().and_then(|session| session.directory.retry_after());
                // The next attempt begins anew: the directory may be another by then.
                self.session = None;
                let error = error.to_string();
                self.certificates.failed(entry, &error, Some(course.due(entry, now)));
                Some(error)
            }
        };
        if let Err(error) = storage.keep_attempts(name, &course.attempts, error.as_deref()) {
            tracing::warn!(name, %error, "what was tried for a certificate was not kept");
        }
    }

    /// Asks when the authority suggests to renew (RFC 9773).
    async fn ask(&mut self, settings: &Arc<Settings>, storage: &Storage, name: &str, entry: &Arc<Entry>) {
        let asked = async {
            let account = self.account(settings, storage).await?;
            match identifier(&entry.certificate().facts) {
                Some(identifier) => Ok(Some(account.renewal_info(&identifier).await?)),
                None => Ok::<_, AcmeError>(None),
            }
        };
        let asked = timeout(PATIENCE, asked).await.unwrap_or(Err(AcmeError::Late(PATIENCE)));
        let now = SystemTime::now();
        let Some(course) = self.courses.get_mut(name) else { return };
        course.ask = now.checked_add(WINDOW_PAUSE).unwrap_or(now);
        match asked {
            Ok(Some((info, again))) => {
                let window = info.suggested_window;
                course.window = Some(Window { start: window.start.into(), end: window.end.into() });
                course.ask = now.checked_add(again.max(WINDOW_PAUSE)).unwrap_or(now);
            }
            Ok(None) => {}
            // Nothing depends on it: without a suggestion there is the certificate's own life.
            Err(error) => tracing::debug!(name, %error, "no suggestion of when to renew"),
        }
    }

    /// The account, opened where it is not.
    async fn account(&mut self, settings: &Arc<Settings>, storage: &Storage) -> Result<Account, AcmeError> {
        if let Some(session) = self.session.as_ref().filter(|session| session.settings == *settings) {
            return Ok(session.account.clone());
        }
        let directory = Directory::new(settings.root.as_deref())?;
        let account = account::open(settings, storage, &directory).await?;
        self.session = Some(Session { settings: Arc::clone(settings), directory, account: account.clone() });
        Ok(account)
    }
}

impl Course {
    /// As it was left.
    fn begin(storage: &Storage, name: &str, entry: &Entry, now: SystemTime) -> Self {
        let (mut attempts, error) = storage.attempts(name);
        entry.resume(attempts.failures, error);
        attempts.failures = attempts.failures.min(FRESH_FAILURES);
        let chance = chance(&entry.certificate().facts.fingerprint);
        // Many certificates ask one after the other, not all at once after each start.
        let ask = now.checked_add(Duration::from_secs(3600).mul_f64(chance)).unwrap_or(now);
        Self { attempts, window: None, ask, chance }
    }

    fn due(&self, entry: &Entry, now: SystemTime) -> SystemTime {
        let certificate = entry.certificate();
        let held = match certificate.provisional {
            true => Held::Nothing,
            false => Held::Valid { from: certificate.facts.not_before, until: certificate.facts.not_after },
        };
        due(held, self.window, &self.attempts, now, self.chance)
    }
}

/// From 0 to 1, by chance, and the same for the same certificate: a certificate's fingerprint is as good as dice.
fn chance(fingerprint: &[u8; 32]) -> f64 {
    let [high, low, ..] = *fingerprint;
    f64::from(u16::from_be_bytes([high, low])) / f64::from(u16::MAX)
}

/// What a certificate is called when it is asked about (RFC 9773 section 4.1).
fn identifier(facts: &Facts) -> Option<CertificateIdentifier<'static>> {
    let authority = facts.authority_key.as_deref()?;
    Some(CertificateIdentifier::new(Der::from_slice(authority), Der::from_slice(&facts.serial)).into_owned())
}
