//! Looks after certificates for as long as the process runs: reads files that have changed, renews our own, and says what is
//! about to expire.

use std::mem::{Discriminant, discriminant};
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use super::{Certificates, Entry, Renewal, Source, renewal_time};
use crate::tls::certificate::{Certificate, Remark, TlsFiles};
use crate::tls::metrics::Replacement;

/// How often the files are looked at.
const LOOK: Duration = Duration::from_secs(2);
/// Looks at files that cannot be used before someone is told: a chain may be written before its key.
const PATIENCE: u32 = 3;
/// How long a certificate of ours that could not be made waits for the next attempt.
const AGAIN: Duration = Duration::from_secs(60);
/// How often the same is told again.
const REMINDER: Duration = Duration::from_secs(86_400);

impl Certificates {
    /// Looks after them until it is dropped. Within a tokio runtime.
    pub async fn keep(self: Arc<Self>) {
        let mut told = Told::default();
        let mut beat = tokio::time::interval(LOOK);
        beat.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        loop {
            beat.tick().await;
            let certificates = Arc::clone(&self);
            let looked = tokio::task::spawn_blocking(move || {
                certificates.look(SystemTime::now(), &mut told);
                told
            });
            told = looked.await.unwrap_or_else(|error| {
                tracing::error!(%error, "certificates could not be looked after");
                Told::default()
            });
        }
    }

    /// One look.
    pub(crate) fn look(&self, now: SystemTime, told: &mut Told) {
        let entries = self.entries();
        for entry in &entries {
            match &entry.source {
                Source::Files(files) => self.look_at_files(entry, files),
                Source::Acme(_) => {}
                Source::Local(names) => self.renew_local(entry, names, now),
            }
        }
        self.measure(&entries, now);
        told.look(&entries, now);
    }

    fn look_at_files(&self, entry: &Entry, files: &TlsFiles) {
        let stamps = entry.source.stamps();
        let mut known = entry.stamps.lock();
        if known.read == stamps {
            known.refused = None;
            return;
        }
        let looks = known.refused.as_ref().filter(|(refused, _)| *refused == stamps).map_or(0, |(_, looks)| *looks);
        if looks > PATIENCE {
            return;
        }
        match Certificate::load(files) {
            Ok(certificate) => {
                (known.read, known.refused) = (stamps, None);
                drop(known);
                *entry.renewal.lock() = Renewal::default();
                if entry.certificate().facts.fingerprint != certificate.facts.fingerprint {
                    self.install(entry, certificate);
                }
            }
            Err(error) => {
                known.refused = Some((stamps, looks + 1));
                drop(known);
                if looks == PATIENCE {
                    self.failed(entry, &error.to_string(), None);
                }
            }
        }
    }

    fn renew_local(&self, entry: &Entry, names: &[String], now: SystemTime) {
        if entry.renewal.lock().next.is_some_and(|next| now < next) {
            return;
        }
        match self.authority(names).and_then(|authority| authority.issue(names, now)) {
            Ok(certificate) => {
                let next = Some(renewal_time(&certificate, now));
                self.install(entry, certificate);
                *entry.renewal.lock() = Renewal { next, ..Renewal::default() };
            }
            Err(error) => {
                self.failed(entry, &error.to_string(), now.checked_add(AGAIN));
            }
        }
    }

    /// Remembers and tells that there is no new certificate, and when the next one is tried for; the one before stays in use.
    pub(crate) fn failed(&self, entry: &Entry, error: &str, next: Option<SystemTime>) {
        let issuer = entry.source.issuer();
        self.metrics.certificates_replaced.of((issuer, Replacement::Failed)).inc();
        let mut renewal = entry.renewal.lock();
        renewal.failures = renewal.failures.saturating_add(1);
        renewal.error = Some(error.to_owned());
        renewal.next = next;
        let (certificate, issuer) = (entry.name(), issuer.as_str());
        tracing::warn!(certificate, issuer, error, "there is no new certificate; the one before stays in use");
    }

    fn measure(&self, entries: &[Arc<Entry>], now: SystemTime) {
        let expiry = &self.metrics.certificate_expiry;
        let labels = entries.iter().map(|entry| [entry.name(), entry.source.issuer().as_str().to_owned()]);
        let labels: Vec<_> = labels.collect();
        expiry.retain(|known| labels.contains(known));
        for (entry, [name, issuer]) in entries.iter().zip(&labels) {
            let left = match entry.certificate().facts.not_after.duration_since(now) {
                Ok(left) => i64::try_from(left.as_secs()).unwrap_or(i64::MAX),
                Err(past) => i64::try_from(past.duration().as_secs()).map_or(i64::MIN, |past| -past),
            };
            expiry.cell([name, issuer]).set(left);
        }
    }
}

/// What was told of which certificate, and when, so that it is told once a day.
#[derive(Default)]
pub(crate) struct Told(Vec<([u8; 32], Vec<Discriminant<Remark>>, SystemTime)>);

impl Told {
    fn look(&mut self, entries: &[Arc<Entry>], now: SystemTime) {
        let mut told = Vec::with_capacity(entries.len());
        for entry in entries {
            let certificate = entry.certificate();
            let remarks = certificate.remarks(now);
            if remarks.is_empty() {
                continue;
            }
            let kinds: Vec<_> = remarks.iter().map(discriminant).collect();
            let fingerprint = certificate.facts.fingerprint;
            let before = self.0.iter().find(|(known, before, _)| *known == fingerprint && *before == kinds);
            let recent = before.map(|(.., at)| *at);
            let recent = recent.filter(|at| now.duration_since(*at).is_ok_and(|since| since < REMINDER));
            if recent.is_none() {
                for remark in remarks {
                    let (name, issuer) = (entry.name(), entry.source.issuer().as_str());
                    tracing::warn!(certificate = name, issuer, "{remark}");
                }
            }
            told.push((fingerprint, kinds, recent.unwrap_or(now)));
        }
        self.0 = told;
    }

    /// Certificates that something was told of.
    #[cfg(test)]
    pub(crate) fn len(&self) -> usize {
        self.0.len()
    }

    /// When something was told of one of them.
    #[cfg(test)]
    pub(crate) fn at(&self, index: usize) -> Option<SystemTime> {
        self.0.get(index).map(|(.., at)| *at)
    }
}
