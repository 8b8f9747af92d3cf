//! What a site keeps on disk: who it is to the controller, and what it was told last.

use std::io;
use std::path::{Path, PathBuf};
use std::time::SystemTime;

use outwork_front::tls::Facts;
use outwork_store::file::{create_private_dir, replace_private};
use rcgen::KeyPair;
use rustls::ClientConfig;
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, PrivatePkcs8KeyDer};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

use crate::channel::tls::{self, TlsError};
use crate::network::delta::{Delta, Held};

/// Why something is not kept, or cannot be read.
#[derive(Debug, thiserror::Error)]
pub enum KeepError {
    /// A file.
    #[error("{path}: {source}")]
    File {
        /// Which.
        path: PathBuf,
        /// What the system says.
        source: io::Error,
    },
    /// A file that is none of ours.
    #[error("{path} cannot be read: {source}; remove it, and enrol this site again with `outwork sdwan enrol`")]
    Unreadable {
        /// Which.
        path: PathBuf,
        /// What is wrong.
        source: serde_json::Error,
    },
    /// What is kept is of another network, or of none.
    #[error("{path} is not what this site was told: remove it, and the controller tells everything again")]
    Foreign {
        /// Which.
        path: PathBuf,
    },
    /// What is kept makes no sense to this version.
    #[error("{path} has what this version does not understand: {faults}")]
    Misunderstood {
        /// Which.
        path: PathBuf,
        /// What is wrong.
        faults: String,
    },
    /// What the controller says and what this site's own file says do not go together. It counts all the same, as it did before.
    #[error("what this site's own file says does not go together with what its controller says: {0}")]
    Clash(String),
    /// A certificate or a key.
    #[error("the certificate of this site cannot be used: {0}; enrol it again with `outwork sdwan enrol`")]
    Certificate(String),
}

/// Who a site is to its controller.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Identity {
    /// What it is called.
    pub site: String,
    /// The network that it is of.
    pub network: String,
    /// Who signs what the network is, base64.
    pub verifier: String,
    /// The controller's authority, PEM.
    pub authority: String,
    /// The site's certificate, PEM.
    pub certificate: String,
    /// The private key to it, PEM. It has never been anywhere else.
    pub key: String,
}

impl std::fmt::Debug for Identity {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Identity").field("site", &self.site).field("network", &self.network).finish_non_exhaustive()
    }
}

impl Identity {
    /// Its key.
    ///
    /// # Errors
    /// When it is none.
    pub fn key(&self) -> Result<KeyPair, KeepError> {
        KeyPair::from_pem(&self.key).map_err(|error| KeepError::Certificate(error.to_string()))
    }

    fn der(text: &str) -> Result<CertificateDer<'static>, KeepError> {
        CertificateDer::from_pem_slice(text.as_bytes()).map_err(|error| KeepError::Certificate(error.to_string()))
    }

    /// How it speaks to the controller.
    ///
    /// # Errors
    /// When a certificate or the key cannot be used.
    pub fn client(&self) -> Result<ClientConfig, KeepError> {
        let key = PrivateKeyDer::Pkcs8(PrivatePkcs8KeyDer::from(self.key()?.serialize_der()));
        let failed = |error: TlsError| KeepError::Certificate(error.to_string());
        tls::site(&Identity::der(&self.authority)?, Identity::der(&self.certificate)?, key).map_err(failed)
    }

    /// Whether two thirds of the time of its certificate are over.
    pub fn is_old(&self, now: SystemTime) -> bool {
        let begins = |facts: &Facts| facts.not_before.checked_add(facts.life() / 3 * 2);
        self.facts().is_none_or(|facts| begins(&facts).is_none_or(|begins| begins <= now))
    }

    /// From when on it is late for another certificate: half of the time in which that is asked for is over. None where the certificate cannot be read.
    pub fn late(&self) -> Option<SystemTime> {
        self.facts().and_then(|facts| facts.not_before.checked_add(facts.life() / 6 * 5))
    }

    /// Until when its certificate is good; none where it cannot be read.
    pub fn expires(&self) -> Option<SystemTime> {
        self.facts().map(|facts| facts.not_after)
    }

    fn facts(&self) -> Option<Facts> {
        Identity::der(&self.certificate).ok().and_then(|der| Facts::read(&der).ok())
    }
}

/// What proves that the site was told what it holds.
#[derive(Debug, Serialize, Deserialize)]
struct Proof {
    /// Which version.
    version: u64,
    /// As the controller has made it.
    proof: String,
}

/// Where it is kept.
#[derive(Debug, Clone)]
pub struct Keep {
    dir: PathBuf,
}

impl Keep {
    /// In this directory.
    pub fn new(dir: &Path) -> Keep {
        Keep { dir: dir.to_owned() }
    }

    fn identity_file(&self) -> PathBuf {
        self.dir.join("identity.json")
    }

    /// The file that has what the site was told.
    pub fn network_file(&self) -> PathBuf {
        self.dir.join("network.json")
    }

    /// Who the site is; none where it was not enrolled.
    ///
    /// # Errors
    /// When it is kept, and cannot be read.
    pub fn identity(&self) -> Result<Option<Identity>, KeepError> {
        read(&self.identity_file())
    }

    /// Keeps who the site is.
    ///
    /// # Errors
    /// When it cannot be written.
    pub fn keep_identity(&self, identity: &Identity) -> Result<(), KeepError> {
        self.write(&self.identity_file(), identity)
    }

    /// Keeps who the site is in the place of who it was. Says whether that was done: not where somebody has written another one since, as whoever enrols it anew does.
    ///
    /// # Errors
    /// When it cannot be read or written.
    pub fn replace_identity(&self, before: &Identity, next: &Identity) -> Result<bool, KeepError> {
        if self.identity()?.as_ref() != Some(before) {
            return Ok(false);
        }
        self.keep_identity(next).map(|()| true)
    }

    /// What the site was told last; version 0 where that was nothing.
    ///
    /// # Errors
    /// When it cannot be read, or is of another network.
    pub fn held(&self, identity: &Identity) -> Result<Held, KeepError> {
        let nothing = Held::nothing(identity.network.as_str());
        let path = self.network_file();
        match read::<Delta>(&path)? {
            None => Ok(nothing),
            // It was enrolled anew, in another network.
            Some(delta) if delta.network != identity.network => Ok(nothing),
            Some(delta) => nothing.with(delta).map_err(|_| KeepError::Foreign { path }),
        }
    }

    fn proof_file(&self) -> PathBuf {
        self.dir.join("told.json")
    }

    /// What proves to the controller that it has told a version; empty where there is none of that one.
    pub fn proof(&self, version: u64) -> String {
        // Without one, all but a controller that came out of a backup is as it was.
        let kept = read::<Proof>(&self.proof_file()).ok().flatten();
        kept.filter(|kept| kept.version == version).map(|kept| kept.proof).unwrap_or_default()
    }

    /// Keeps what proves that.
    ///
    /// # Errors
    /// When it cannot be written.
    pub fn keep_proof(&self, version: u64, proof: String) -> Result<(), KeepError> {
        self.write(&self.proof_file(), &Proof { version, proof })
    }

    /// Since when the site holds what it was told last.
    pub fn since(&self) -> Option<SystemTime> {
        std::fs::metadata(self.network_file()).and_then(|data| data.modified()).ok()
    }

    /// Keeps what the site was told, so that it is there after a power loss.
    ///
    /// # Errors
    /// When it cannot be written.
    pub fn keep_held(&self, held: &Held) -> Result<(), KeepError> {
        let path = self.network_file();
        if held.version > 0 {
            return self.write(&path, &held.whole());
        }
        match std::fs::remove_file(&path) {
            Err(source) if source.kind() != io::ErrorKind::NotFound => Err(KeepError::File { path, source }),
            _ => Ok(()),
        }
    }

    fn write(&self, path: &Path, what: &impl Serialize) -> Result<(), KeepError> {
        let failed = |source| KeepError::File { path: path.to_owned(), source };
        let above = self.dir.parent().map_or(Ok(()), make);
        above.and_then(|()| make(&self.dir)).map_err(failed)?;
        let text = serde_json::to_vec(what).map_err(|error| failed(error.into()))?;
        replace_private(path, &text).map_err(failed)
    }
}

fn make(dir: &Path) -> io::Result<()> {
    match create_private_dir(dir) {
        Err(error) if error.kind() != io::ErrorKind::AlreadyExists => Err(error),
        _ => Ok(()),
    }
}

fn read<T: DeserializeOwned>(path: &Path) -> Result<Option<T>, KeepError> {
    match std::fs::read(path) {
        Ok(text) => {
            let unreadable = |source| KeepError::Unreadable { path: path.to_owned(), source };
            serde_json::from_slice(&text).map(Some).map_err(unreadable)
        }
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(source) => Err(KeepError::File { path: path.to_owned(), source }),
    }
}
