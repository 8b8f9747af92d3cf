//! One certificate with its chain and key: read from PEM, and judged.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use rustls::crypto::aws_lc_rs::default_provider;
use rustls::pki_types::pem::{self, PemObject};
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::sign::CertifiedKey;
use rustls::{Error as RustlsError, InconsistentKeys};

use super::x509::Facts;

/// A certificate chain and its key, as PEM files.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct TlsFiles {
    /// The chain, leaf first.
    pub certificate: PathBuf,
    /// The private key: PKCS#8, PKCS#1 or SEC1.
    pub key: PathBuf,
}

/// Why a certificate cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum TlsError {
    /// A file cannot be read.
    #[error("{path}: cannot be read: {source}", path = path.display())]
    Read {
        /// The file.
        path: PathBuf,
        /// What the system said.
        source: std::io::Error,
    },
    /// A file is not PEM.
    #[error("{path}: cannot be read as PEM: {source}", path = path.display())]
    Pem {
        /// The file.
        path: PathBuf,
        /// What is wrong.
        source: pem::Error,
    },
    /// The file has no certificate.
    #[error("{path}: no certificate in it; expected a PEM chain, leaf first", path = .0.display())]
    NoCertificate(PathBuf),
    /// The file has no key.
    #[error("{path}: no private key in it; expected one as PKCS#8, PKCS#1 or SEC1", path = .0.display())]
    NoKey(PathBuf),
    /// The key needs a passphrase.
    #[error(
        "{path}: the private key is encrypted; a server starts without anyone to ask: `openssl pkey -in KEY -out PLAIN` takes the passphrase off",
        path = .0.display()
    )]
    EncryptedKey(PathBuf),
    /// A certificate of the chain is none.
    #[error("{path}: certificate {position} of the chain: it is not an X.509 certificate", path = path.display())]
    Malformed {
        /// The file.
        path: PathBuf,
        /// Its place in the file, from 1.
        position: usize,
    },
    /// The key is of none of the certificates.
    #[error("{key}: this is not the key of the certificate in {certificate}", certificate = files.certificate.display(), key = files.key.display())]
    KeyMismatch {
        /// The files.
        files: TlsFiles,
    },
    /// The key is of a certificate further down.
    #[error(
        "{certificate}: the chain is out of order: the key in {key} is that of certificate {position} ({subject}), which has to stand first",
        certificate = files.certificate.display(),
        key = files.key.display()
    )]
    LeafNotFirst {
        /// The files.
        files: TlsFiles,
        /// Where the leaf stands, from 1.
        position: usize,
        /// Whose it is.
        subject: String,
    },
    /// Something else that rustls refuses.
    #[error("{certificate} with {key}: {source}", certificate = files.certificate.display(), key = files.key.display())]
    Refused {
        /// The files.
        files: TlsFiles,
        /// What rustls says.
        source: RustlsError,
    },
    /// The certificates that clients have to be signed by cannot be used.
    #[error("{path}: cannot be used to verify clients: {reason}", path = path.display())]
    ClientCa {
        /// The file.
        path: PathBuf,
        /// Why.
        reason: String,
    },
    /// The combination of settings is one that rustls refuses.
    #[error("these settings of TLS cannot be used together: {0}")]
    Settings(RustlsError),
    /// What is kept of certificates cannot be read or written.
    #[error("{path}: {source}", path = path.display())]
    Storage {
        /// The file or directory.
        path: PathBuf,
        /// What the system said.
        source: std::io::Error,
    },
    /// A certificate cannot be made.
    #[error("a certificate for {names} cannot be made: {reason}")]
    Issue {
        /// For which names.
        names: String,
        /// Why.
        reason: String,
    },
}

/// A certificate that can be used.
#[derive(Debug)]
pub struct Certificate {
    /// The chain and the key.
    pub(crate) key: Arc<CertifiedKey>,
    /// What the leaf says.
    pub facts: Facts,
    /// Where the chain stops to be one: a certificate, from 1, that the one before it is not signed by.
    pub broken_at: Option<usize>,
    /// It only stands in for one that has yet to come.
    pub provisional: bool,
}

/// Something about a certificate that someone should look at.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Remark {
    /// Nobody accepts it any more.
    #[error("the certificate has expired")]
    Expired,
    /// It is not good yet.
    #[error("the certificate is not valid yet")]
    NotYetValid,
    /// It has little time left.
    #[error("the certificate expires in {0}")]
    ExpiresSoon(String),
    /// The chain is not one.
    #[error("certificate {0} of the chain is not the one that signed certificate {before}", before = .0 - 1)]
    ChainBroken(usize),
    /// No name in it, so no client asks for it.
    #[error("the certificate has no DNS name and no address (subjectAltName); clients accept it for none")]
    NoName,
}

/// Less than this, or than a quarter of its whole life, is little time left.
const SOON: Duration = Duration::from_secs(14 * 86_400);

impl Certificate {
    /// Reads the files.
    ///
    /// # Errors
    /// When they cannot be read, or do not belong together.
    pub fn load(files: &TlsFiles) -> Result<Self, TlsError> {
        let read = |path: &PathBuf| std::fs::read(path).map_err(|source| TlsError::Read { path: path.clone(), source });
        Self::from_pem(&read(&files.certificate)?, &read(&files.key)?, files)
    }

    /// Takes them from their text; `files` says in errors where that came from.
    ///
    /// # Errors
    /// As [`load`](Self::load).
    pub(crate) fn from_pem(chain: &[u8], key: &[u8], files: &TlsFiles) -> Result<Self, TlsError> {
        let chain = certificates(chain, &files.certificate)?;
        let key = private_key(key, &files.key)?;
        Self::from_der(chain, key, files)
    }

    /// Takes them as they are encoded.
    ///
    /// # Errors
    /// As [`load`](Self::load).
    pub(crate) fn from_der(
        chain: Vec<CertificateDer<'static>>,
        key: PrivateKeyDer<'static>,
        files: &TlsFiles,
    ) -> Result<Self, TlsError> {
        let facts = chain.iter().enumerate().map(|(index, certificate)| {
            let malformed = |_| TlsError::Malformed { path: files.certificate.clone(), position: index + 1 };
            Facts::read(certificate).map_err(malformed)
        });
        let facts = facts.collect::<Result<Vec<_>, _>>()?;
        let refused = |source| TlsError::Refused { files: files.clone(), source };
        let key = default_provider().key_provider.load_private_key(key).map_err(refused)?;
        let certified = CertifiedKey::new(chain, key);
        match certified.keys_match() {
            // A key that does not say whose it is.
            Ok(()) | Err(RustlsError::InconsistentKeys(InconsistentKeys::Unknown)) => {}
            Err(RustlsError::InconsistentKeys(_)) => return Err(mismatch(certified, &facts, files)),
            Err(other) => return Err(refused(other)),
        }
        let broken_at = facts.windows(2).position(|pair| match pair {
            [one, next] => one.issuer_der != next.subject_der,
            _ => false,
        });
        let Some(leaf) = facts.into_iter().next() else {
            return Err(TlsError::NoCertificate(files.certificate.clone()));
        };
        Ok(Self {
            key: Arc::new(certified),
            facts: leaf,
            broken_at: broken_at.map(|index| index + 2),
            provisional: false,
        })
    }

    /// What someone should look at.
    pub fn remarks(&self, now: SystemTime) -> Vec<Remark> {
        let mut remarks = Vec::new();
        match self.facts.not_after.duration_since(now) {
            Err(_) => remarks.push(Remark::Expired),
            Ok(_) if now < self.facts.not_before => remarks.push(Remark::NotYetValid),
            Ok(left) if left < SOON.min(self.facts.life() / 4) => remarks.push(Remark::ExpiresSoon(rough(left))),
            Ok(_) => {}
        }
        remarks.extend(self.broken_at.map(Remark::ChainBroken));
        if self.facts.names.is_empty() && self.facts.addresses.is_empty() {
            remarks.push(Remark::NoName);
        }
        remarks
    }
}

/// `3 days`, `5 hours`, `12 minutes`.
fn rough(time: Duration) -> String {
    let (count, unit) = match time.as_secs() {
        seconds @ ..7_200 => (seconds / 60, "minute"),
        seconds @ ..172_800 => (seconds / 3600, "hour"),
        seconds => (seconds / 86_400, "day"),
    };
    format!("{count} {unit}{}", if count == 1 { "" } else { "s" })
}

/// Whose key it is then.
fn mismatch(mut certified: CertifiedKey, facts: &[Facts], files: &TlsFiles) -> TlsError {
    let files = files.clone();
    for (index, facts) in facts.iter().enumerate().skip(1) {
        certified.cert.swap(0, index);
        if certified.keys_match().is_ok() {
            return TlsError::LeafNotFirst { files, position: index + 1, subject: facts.subject.clone() };
        }
    }
    TlsError::KeyMismatch { files }
}

/// The certificates of a PEM text; at least one.
pub(crate) fn certificates(text: &[u8], path: &Path) -> Result<Vec<CertificateDer<'static>>, TlsError> {
    let all = CertificateDer::pem_slice_iter(text).collect::<Result<Vec<_>, _>>();
    let all = all.map_err(|source| TlsError::Pem { path: path.to_owned(), source })?;
    if all.is_empty() {
        return Err(TlsError::NoCertificate(path.to_owned()));
    }
    Ok(all)
}

fn private_key(text: &[u8], path: &Path) -> Result<PrivateKeyDer<'static>, TlsError> {
    let path = path.to_owned();
    let encrypted = [&b"ENCRYPTED PRIVATE KEY"[..], b"Proc-Type: 4,ENCRYPTED"];
    if encrypted.iter().any(|mark| memchr::memmem::find(text, mark).is_some()) {
        return Err(TlsError::EncryptedKey(path));
    }
    PrivateKeyDer::from_pem_slice(text).map_err(|source| match source {
        pem::Error::NoItemsFound => TlsError::NoKey(path),
        source => TlsError::Pem { path, source },
    })
}
