//! Every certificate in use: where it comes from, and what becomes of it.
//!
//! - `keep`: looks after them for as long as the process runs.

mod keep;

#[cfg(test)]
pub(crate) use keep::Told;

use std::path::{Path, PathBuf};
use std::sync::{Arc, Weak};
use std::time::SystemTime;

use parking_lot::{Mutex, RwLock};
use tokio::sync::Notify;

use super::certificate::{Certificate, TlsError, TlsFiles, certificates};
use super::files::{self, Stamp, stamp};
use super::local::{Authority, ROOT, self_signed};
use super::metrics::{Issuer, Replacement, TlsMetrics};
use super::x509::Facts;
use super::{Offer, State, Tls};
use crate::acme::{Challenges, Settings, Storage};

/// The directory of ACME.
const ACME: &str = "acme";
/// The directory of the local authority.
const LOCAL: &str = "local";

/// Where a certificate comes from.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub enum Source {
    /// Files that someone else looks after.
    Files(TlsFiles),
    /// ACME: a certificate for this name.
    Acme(String),
    /// Our own authority, for development: one certificate for these names and addresses.
    Local(Vec<String>),
}

impl Source {
    pub(crate) fn issuer(&self) -> Issuer {
        match self {
            Self::Files(_) => Issuer::Files,
            Self::Acme(_) => Issuer::Acme,
            Self::Local(_) => Issuer::Local,
        }
    }
}

/// A certificate in use, by what it is for: another one takes its place in time.
#[derive(Debug)]
pub struct Entry {
    /// Where it comes from.
    pub source: Source,
    certificate: RwLock<Arc<Certificate>>,
    renewal: Mutex<Renewal>,
    /// Files as they stood when they were read.
    stamps: Mutex<Stamps>,
}

/// How the next certificate is coming along.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Renewal {
    /// When it is tried for next; `None` for files, which are read when they change.
    pub next: Option<SystemTime>,
    /// Why the last attempt failed.
    pub error: Option<String>,
    /// Attempts that failed since the last that did not.
    pub failures: u32,
}

#[derive(Debug, Default)]
struct Stamps {
    read: (Stamp, Stamp),
    /// A state of the files that could not be used, and how often it was looked at.
    refused: Option<((Stamp, Stamp), u32)>,
}

impl Entry {
    pub(super) fn new(source: Source, certificate: Certificate) -> Arc<Self> {
        let stamps = Stamps { read: source.stamps(), refused: None };
        Arc::new(Self {
            source,
            certificate: RwLock::new(Arc::new(certificate)),
            renewal: Mutex::default(),
            stamps: Mutex::new(stamps),
        })
    }

    /// The certificate that clients get now.
    pub fn certificate(&self) -> Arc<Certificate> {
        Arc::clone(&self.certificate.read())
    }

    /// How the next one is coming along.
    pub fn renewal(&self) -> Renewal {
        self.renewal.lock().clone()
    }

    /// What people call it: its first name.
    pub fn name(&self) -> String {
        self.certificate.read().facts.name()
    }

    /// Takes up what was left of attempts before this start.
    pub(crate) fn resume(&self, failures: u32, error: Option<String>) {
        let mut renewal = self.renewal.lock();
        (renewal.failures, renewal.error) = (failures, error);
    }

    /// Says when the next certificate is tried for.
    pub(crate) fn set_next(&self, next: SystemTime) {
        self.renewal.lock().next = Some(next);
    }

    fn replace(&self, certificate: Certificate) {
        *self.certificate.write() = Arc::new(certificate);
    }
}

impl Source {
    fn stamps(&self) -> (Stamp, Stamp) {
        match self {
            Self::Files(files) => (stamp(&files.certificate), stamp(&files.key)),
            _ => (None, None),
        }
    }
}

/// Which of several listeners' TLS cannot be offered, and why.
#[derive(Debug, thiserror::Error)]
#[error("{source}")]
pub struct OfferError {
    /// The listener, from 0, in the order that they were given.
    pub listener: usize,
    /// Why.
    pub source: TlsError,
}

/// Every certificate in use.
pub struct Certificates {
    /// What is kept of them.
    dir: PathBuf,
    listeners: Mutex<Vec<Weak<Tls>>>,
    authority: Mutex<Option<Arc<Authority>>>,
    challenges: Arc<Challenges>,
    acme: Mutex<Option<Arc<Settings>>>,
    /// Told when there is something new for ACME to do.
    acme_changed: Notify,
    /// What is measured of them.
    pub metrics: Arc<TlsMetrics>,
}

impl Certificates {
    /// None so far. `dir` is where ours are kept, and is made when there are some; `acme` says where those of ACME come from.
    pub fn new(dir: &Path, acme: Option<Settings>) -> Arc<Self> {
        Arc::new(Self {
            dir: std::path::absolute(dir).unwrap_or_else(|_| dir.to_owned()),
            listeners: Mutex::default(),
            authority: Mutex::default(),
            challenges: Arc::default(),
            acme: Mutex::new(acme.map(Arc::new)),
            acme_changed: Notify::new(),
            metrics: Arc::default(),
        })
    }

    /// TLS for listeners, all or none.
    ///
    /// # Errors
    /// Of the first that cannot be offered.
    pub fn open(&self, offers: &[Offer]) -> Result<Vec<Arc<Tls>>, OfferError> {
        let mut fresh = Fresh::new(self, offers, self.acme_settings());
        let opened = offers.iter().enumerate().map(|(listener, offer)| {
            let entries = offer.sources.iter().map(|source| fresh.entry(source)).collect::<Result<Vec<_>, _>>();
            let opened =
                entries.and_then(|entries| Tls::new(offer.profile.clone(), entries, Arc::clone(&self.challenges)));
            opened.map_err(|source| OfferError { listener, source })
        });
        let opened = opened.collect::<Result<Vec<_>, _>>()?;
        self.listeners.lock().extend(opened.iter().map(Arc::downgrade));
        Ok(opened)
    }

    /// Makes ready what listeners are to offer from now on, and where ACME asks, and reads files again. Nothing changes until the
    /// [`commit`](Prepared::commit).
    ///
    /// # Errors
    /// As [`open`](Self::open).
    pub fn prepare(&self, offers: Vec<(Arc<Tls>, Offer)>, acme: Option<Settings>) -> Result<Prepared<'_>, OfferError> {
        let (listeners, offers): (Vec<_>, Vec<_>) = offers.into_iter().unzip();
        let acme = acme.map(Arc::new);
        let mut fresh = Fresh::new(self, &offers, acme.clone());
        let prepared = listeners.into_iter().zip(&offers).enumerate().map(|(listener, (tls, offer))| {
            let entries = offer.sources.iter().map(|source| fresh.entry(source)).collect::<Result<Vec<_>, _>>();
            let ready = entries.and_then(|entries| Ok((tls.with(offer.profile.clone())?, entries)));
            let (state, entries) = ready.map_err(|source| OfferError { listener, source })?;
            Ok((tls, state, entries))
        });
        let listeners = prepared.collect::<Result<Vec<_>, OfferError>>()?;
        Ok(Prepared { replaced: fresh.replaced, certificates: self, listeners, acme })
    }

    /// What is in use, each once.
    pub fn entries(&self) -> Vec<Arc<Entry>> {
        let mut entries: Vec<Arc<Entry>> = Vec::new();
        for tls in self.tls() {
            for entry in tls.entries() {
                if !entries.iter().any(|known| Arc::ptr_eq(known, &entry)) {
                    entries.push(entry);
                }
            }
        }
        entries
    }

    /// The challenges of the orders that are under way.
    pub fn challenges(&self) -> Arc<Challenges> {
        Arc::clone(&self.challenges)
    }

    pub(crate) fn acme_settings(&self) -> Option<Arc<Settings>> {
        self.acme.lock().clone()
    }

    /// Where what is kept of ACME servers lies.
    pub(crate) fn acme_dir(&self) -> PathBuf {
        self.dir.join(ACME)
    }

    /// Waits until there may be something new for ACME to do.
    pub(crate) async fn acme_changed(&self) {
        self.acme_changed.notified().await;
    }

    /// Puts a certificate that was ordered in the place of the one before.
    pub(crate) fn renewed(&self, entry: &Entry, certificate: Certificate) {
        self.install(entry, certificate);
        *entry.renewal.lock() = Renewal::default();
    }

    /// The root of the local authority, where there is one: its file, its text, and what it says.
    pub(super) fn root(&self) -> Result<Option<(PathBuf, String, Facts)>, TlsError> {
        let path = self.dir.join(LOCAL).join(ROOT);
        let Some(pem) = files::read(&path)? else { return Ok(None) };
        let root = certificates(&pem, &path)?.swap_remove(0);
        let facts = Facts::read(&root).map_err(|_| TlsError::Malformed { path: path.clone(), position: 1 })?;
        Ok(Some((path, String::from_utf8_lossy(&pem).into_owned(), facts)))
    }

    fn tls(&self) -> Vec<Arc<Tls>> {
        let mut listeners = self.listeners.lock();
        listeners.retain(|tls| tls.strong_count() > 0);
        listeners.iter().filter_map(Weak::upgrade).collect()
    }

    /// Puts a certificate in the place of another; new connections get it.
    fn install(&self, entry: &Entry, certificate: Certificate) {
        let (facts, issuer) = (&certificate.facts, entry.source.issuer());
        tracing::info!(
            certificate = facts.name(),
            names = facts.all_names(),
            before = entry.certificate().facts.all_names(),
            issuer = issuer.as_str(),
            expires = %crate::api::Timestamp::from(facts.not_after),
            fingerprint = facts.fingerprint_hex(),
            "a certificate was replaced"
        );
        self.metrics.certificates_replaced.of((issuer, Replacement::Replaced)).inc();
        entry.replace(certificate);
        self.tls().iter().for_each(|tls| tls.refresh());
    }

    /// The authority for development, made when it is first needed. It is made for names that nobody owns, and for `names`.
    fn authority(&self, names: &[String]) -> Result<Arc<Authority>, TlsError> {
        let mut authority = self.authority.lock();
        match &*authority {
            Some(authority) => Ok(Arc::clone(authority)),
            None => {
                let opened = Arc::new(Authority::open(&self.dir.join(LOCAL), names, SystemTime::now())?);
                Ok(Arc::clone(authority.insert(opened)))
            }
        }
    }
}

/// What is gathered for a set of offers.
struct Fresh<'a> {
    certificates: &'a Certificates,
    entries: Vec<Arc<Entry>>,
    replaced: Vec<(Arc<Entry>, Certificate, (Stamp, Stamp))>,
    seen: Vec<Source>,
    local: Vec<String>,
    acme: Option<Arc<Settings>>,
}

impl<'a> Fresh<'a> {
    fn new(certificates: &'a Certificates, offers: &[Offer], acme: Option<Arc<Settings>>) -> Self {
        let sources = offers.iter().flat_map(|offer| &offer.sources);
        let local = sources.filter_map(|source| match source {
            Source::Local(names) => Some(names.clone()),
            Source::Files(_) | Source::Acme(_) => None,
        });
        let local = local.flatten().collect();
        Self { entries: certificates.entries(), certificates, replaced: Vec::new(), seen: Vec::new(), local, acme }
    }

    /// The entry of a source: the one that is in use, or a new one.
    fn entry(&mut self, source: &Source) -> Result<Arc<Entry>, TlsError> {
        let known = self.entries.iter().find(|entry| entry.source == *source).map(Arc::clone);
        let entry = match (source, known) {
            (Source::Files(files), Some(entry)) => {
                if !self.seen.contains(source) {
                    let stamps = source.stamps();
                    self.replaced.push((Arc::clone(&entry), Certificate::load(files)?, stamps));
                }
                entry
            }
            (_, Some(entry)) => entry,
            (Source::Files(files), None) => {
                let stamps = source.stamps();
                let entry = Entry::new(source.clone(), Certificate::load(files)?);
                // As they stood before they were read: what changes meanwhile is seen later.
                entry.stamps.lock().read = stamps;
                entry
            }
            (Source::Acme(name), None) => Entry::new(source.clone(), self.ordered(name)?),
            (Source::Local(names), None) => {
                let authority = self.certificates.authority(&self.local)?;
                let now = SystemTime::now();
                let entry = Entry::new(source.clone(), authority.issue(names, now)?);
                entry.renewal.lock().next = Some(renewal_time(&entry.certificate(), now));
                entry
            }
        };
        self.seen.push(source.clone());
        self.entries.push(Arc::clone(&entry));
        Ok(entry)
    }
}

impl Fresh<'_> {
    /// The certificate that was ordered for a name before; where there is none yet, one that stands in for it, so that the
    /// listener serves at once.
    fn ordered(&self, name: &str) -> Result<Certificate, TlsError> {
        if let Some(settings) = &self.acme {
            let storage = Storage::new(&self.certificates.acme_dir(), &settings.directory);
            match storage.certificate(name) {
                Ok(Some(certificate)) => return Ok(certificate),
                Ok(None) => {}
                Err(error) => tracing::warn!(%error, "a certificate that was kept cannot be used; another is ordered"),
            }
        }
        self_signed(name, SystemTime::now())
    }
}

/// When a certificate of ours is renewed: at two thirds of its life.
pub(crate) fn renewal_time(certificate: &Certificate, now: SystemTime) -> SystemTime {
    let facts = &certificate.facts;
    facts.not_before.checked_add(facts.life() / 3 * 2).unwrap_or(now)
}

/// What listeners are to offer, ready and not yet in force.
#[must_use = "without a commit what was offered before stays in force"]
pub struct Prepared<'a> {
    certificates: &'a Certificates,
    replaced: Vec<(Arc<Entry>, Certificate, (Stamp, Stamp))>,
    listeners: Vec<(Arc<Tls>, State, Vec<Arc<Entry>>)>,
    acme: Option<Arc<Settings>>,
}

impl Prepared<'_> {
    /// New connections get it from now on.
    pub fn commit(self) {
        for (entry, certificate, stamps) in self.replaced {
            *entry.stamps.lock() = Stamps { read: stamps, refused: None };
            if entry.certificate().facts.fingerprint != certificate.facts.fingerprint {
                self.certificates.install(&entry, certificate);
            }
        }
        for (tls, state, entries) in self.listeners {
            tls.take_up(state, entries);
        }
        *self.certificates.acme.lock() = self.acme;
        self.certificates.acme_changed.notify_one();
    }
}
