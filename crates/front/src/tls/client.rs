//! Certificates of clients: whose are accepted, and what is known of one that was.

use std::path::PathBuf;
use std::sync::Arc;

use rustls::RootCertStore;
use rustls::crypto::CryptoProvider;
use rustls::crypto::aws_lc_rs::default_provider;
use rustls::server::WebPkiClientVerifier;
use rustls::server::danger::ClientCertVerifier;

use super::certificate::{TlsError, certificates};
use super::x509::Facts;
use crate::config::ClientAuthMode;

/// Whether clients show certificates, and who has to have signed them.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ClientAuth {
    /// The authorities, PEM.
    pub ca: PathBuf,
    /// What of clients without one.
    pub mode: ClientAuthMode,
}

/// What verifies clients, and what it was made of.
pub(crate) struct Verifier {
    pub(crate) verifier: Arc<dyn ClientCertVerifier>,
    /// The authorities as they stood in the file.
    pub(crate) authorities: Vec<Vec<u8>>,
}

impl ClientAuth {
    /// Whether the authorities can be used.
    ///
    /// # Errors
    /// Why not.
    pub fn check(&self) -> Result<(), TlsError> {
        self.verifier(&Arc::new(default_provider())).map(drop)
    }

    /// Reads the authorities.
    pub(crate) fn verifier(&self, provider: &Arc<CryptoProvider>) -> Result<Verifier, TlsError> {
        let refused = |reason: String| TlsError::ClientCa { path: self.ca.clone(), reason };
        let text = std::fs::read(&self.ca).map_err(|source| TlsError::Read { path: self.ca.clone(), source })?;
        let authorities = certificates(&text, &self.ca)?;
        let mut roots = RootCertStore::empty();
        for authority in &authorities {
            roots.add(authority.clone()).map_err(|error| refused(error.to_string()))?;
        }
        let builder = WebPkiClientVerifier::builder_with_provider(Arc::new(roots), Arc::clone(provider));
        let builder = match self.mode {
            ClientAuthMode::Require => builder,
            ClientAuthMode::Optional => builder.allow_unauthenticated(),
        };
        let verifier = builder.build().map_err(|error| refused(error.to_string()))?;
        Ok(Verifier { verifier, authorities: authorities.iter().map(|one| one.to_vec()).collect() })
    }
}

/// A client that has shown a certificate, which was verified.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ClientCertificate {
    /// Whose it is, as RFC 4514 writes it.
    pub subject: String,
    /// Who signed it.
    pub issuer: String,
    /// The common name of the subject.
    pub common_name: Option<String>,
    /// The DNS names in it.
    pub names: Vec<String>,
    /// The serial number in hexadecimal.
    pub serial: String,
    /// SHA-256 of it, in hexadecimal.
    pub fingerprint: String,
}

impl ClientCertificate {
    /// What a verified certificate says.
    pub(crate) fn read(certificate: &[u8]) -> Option<Self> {
        let facts = Facts::read(certificate).ok()?;
        Some(Self {
            serial: facts.serial_hex(),
            fingerprint: facts.fingerprint_hex(),
            subject: facts.subject,
            issuer: facts.issuer,
            common_name: facts.common_name,
            names: facts.names,
        })
    }
}
