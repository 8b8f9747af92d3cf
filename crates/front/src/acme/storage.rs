//! What is kept of an ACME server: the account, the certificates with their keys, and what has been tried. A folder for each
//! server, in which nothing is for anyone else's eyes.

use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use instant_acme::AccountCredentials;
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use super::AcmeError;
use super::schedule::Attempts;
use crate::tls::files::{read, replace};
use crate::tls::x509::hex;
use crate::tls::{Certificate, TlsError, TlsFiles};

/// The folder of one ACME server.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Storage(PathBuf);

/// The account, as it is kept.
#[derive(Serialize, Deserialize)]
pub(super) struct KeptAccount {
    /// The address that the server was told of.
    pub(super) email: Option<String>,
    /// Its name at the server, and its key.
    pub(super) credentials: AccountCredentials,
}

/// What has been tried for a name, as it is kept: a restart begins no new series of attempts.
#[derive(Serialize, Deserialize)]
struct KeptAttempts {
    failures: u32,
    /// Unix seconds.
    last: Option<u64>,
    retry_after: Option<u64>,
    error: Option<String>,
}

impl Storage {
    /// That of the server with this directory, in `dir`.
    pub(crate) fn new(dir: &Path, directory: &str) -> Self {
        let host = directory.split('/').nth(2).unwrap_or_default();
        let host: String = host.chars().map(|c| if c.is_ascii_alphanumeric() || c == '.' { c } else { '-' }).collect();
        // Two directories of one host are two servers.
        let digest = Sha256::digest(directory.as_bytes());
        Self(dir.join(format!("{host}-{}", hex(digest.get(..4).unwrap_or_default()))))
    }

    fn account_path(&self) -> PathBuf {
        self.0.join("account.json")
    }

    /// The account, where there is one.
    pub(super) fn account(&self) -> Result<Option<KeptAccount>, AcmeError> {
        let path = self.account_path();
        let Some(text) = read(&path)? else { return Ok(None) };
        serde_json::from_slice(&text).map(Some).map_err(|source| AcmeError::Kept { path, source })
    }

    pub(super) fn keep_account(&self, account: &KeptAccount) -> Result<(), AcmeError> {
        let path = self.account_path();
        let text =
            serde_json::to_vec_pretty(account).map_err(|source| AcmeError::Kept { path: path.clone(), source })?;
        Ok(replace(&path, &text)?)
    }

    /// Puts an account aside that the server knows no more.
    pub(super) fn put_account_aside(&self) -> Result<(), AcmeError> {
        let path = self.account_path();
        std::fs::rename(&path, self.0.join("account.unknown.json"))
            .map_err(|source| AcmeError::Tls(TlsError::Storage { path, source }))
    }

    fn certificate_path(&self, name: &str) -> PathBuf {
        self.0.join(format!("{name}.pem"))
    }

    /// The certificate for a name, where there is one.
    pub(crate) fn certificate(&self, name: &str) -> Result<Option<Certificate>, TlsError> {
        let path = self.certificate_path(name);
        let Some(text) = read(&path)? else { return Ok(None) };
        let files = TlsFiles { certificate: path.clone(), key: path };
        Certificate::from_pem(&text, &text, &files).map(Some)
    }

    /// Keeps a certificate and its key, in one file: a crash leaves both or neither.
    pub(super) fn keep_certificate(&self, name: &str, chain: &str, key: &str) -> Result<Certificate, TlsError> {
        let path = self.certificate_path(name);
        let text = format!("{key}{chain}");
        let files = TlsFiles { certificate: path.clone(), key: path.clone() };
        // What cannot be used takes nothing's place.
        let certificate = Certificate::from_pem(text.as_bytes(), text.as_bytes(), &files)?;
        replace(&path, text.as_bytes())?;
        Ok(certificate)
    }

    fn attempts_path(&self, name: &str) -> PathBuf {
        self.0.join(format!("{name}.json"))
    }

    /// What has been tried for a name, and why the last attempt failed.
    pub(crate) fn attempts(&self, name: &str) -> (Attempts, Option<String>) {
        let kept = read(&self.attempts_path(name)).ok().flatten();
        let Some(kept) = kept.and_then(|text| serde_json::from_slice::<KeptAttempts>(&text).ok()) else {
            return (Attempts::default(), None);
        };
        let moment = |seconds: Option<u64>| UNIX_EPOCH.checked_add(Duration::from_secs(seconds?));
        let attempts =
            Attempts { failures: kept.failures, last: moment(kept.last), retry_after: moment(kept.retry_after) };
        (attempts, kept.error)
    }

    pub(super) fn keep_attempts(&self, name: &str, attempts: &Attempts, error: Option<&str>) -> Result<(), AcmeError> {
        let path = self.attempts_path(name);
        let seconds = |moment: Option<SystemTime>| Some(moment?.duration_since(UNIX_EPOCH).ok()?.as_secs());
        let kept = KeptAttempts {
            failures: attempts.failures,
            last: seconds(attempts.last),
            retry_after: seconds(attempts.retry_after),
            error: error.map(str::to_owned),
        };
        let text = serde_json::to_vec(&kept).map_err(|source| AcmeError::Kept { path: path.clone(), source })?;
        Ok(replace(&path, &text)?)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tls::tests::{Ca, DAY};

    #[test]
    fn certificates_and_attempts_are_kept_by_server_and_name() {
        let dir = tempfile::tempdir().unwrap();
        let storage = Storage::new(dir.path(), "https://acme.test:14000/dir");
        assert_ne!(storage, Storage::new(dir.path(), "https://acme.test:14000/other"));
        assert!(storage.certificate("a.test").unwrap().is_none() && storage.account().unwrap().is_none());
        let (certificate, key) = Ca::new("ca").sign(&["a.test"], DAY);
        let kept = storage.keep_certificate("a.test", &certificate, &key).unwrap();
        assert_eq!(storage.certificate("a.test").unwrap().unwrap().facts, kept.facts);
        assert!(storage.keep_certificate("a.test", &certificate, "").is_err());
        assert_eq!(storage.certificate("a.test").unwrap().unwrap().facts, kept.facts);
        assert_eq!(storage.attempts("a.test"), (Attempts::default(), None));
        let last = Some(UNIX_EPOCH + Duration::from_secs(1_800_000_000));
        let attempts = Attempts { failures: 3, last, retry_after: None };
        storage.keep_attempts("a.test", &attempts, Some("no")).unwrap();
        assert_eq!(storage.attempts("a.test"), (attempts, Some("no".to_owned())));
        std::fs::write(storage.attempts_path("a.test"), "{").unwrap();
        assert_eq!(storage.attempts("a.test"), (Attempts::default(), None), "nothing depends on them");
    }
}
