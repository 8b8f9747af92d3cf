//! TLS from PEM files.

use std::path::PathBuf;
use std::sync::Arc;

use parking_lot::RwLock;
use rustls::ServerConfig;
use rustls::pki_types::pem::{self, PemObject};
use rustls::pki_types::{CertificateDer, PrivateKeyDer};

/// A certificate chain and its key, as PEM files.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TlsFiles {
    /// The chain, leaf first.
    pub certificate: PathBuf,
    /// The private key: PKCS#8, PKCS#1 or SEC1.
    pub key: PathBuf,
}

/// Why TLS cannot be offered.
#[derive(Debug, thiserror::Error)]
pub enum TlsError {
    /// A file cannot be read as PEM.
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
    /// The certificate and the key do not work together.
    #[error("{certificate} with {key}: {source}", certificate = files.certificate.display(), key = files.key.display())]
    Refused {
        /// The files.
        files: TlsFiles,
        /// What rustls says.
        source: rustls::Error,
    },
}

/// The certificate in use. Connections that are open keep theirs when it is replaced.
pub struct Tls {
    files: TlsFiles,
    config: RwLock<Arc<ServerConfig>>,
}

impl Tls {
    /// Loads the files.
    ///
    /// # Errors
    /// When they cannot be read, or do not belong together.
    pub fn load(files: TlsFiles) -> Result<Arc<Self>, TlsError> {
        let config = RwLock::new(read(&files)?);
        Ok(Arc::new(Self { files, config }))
    }

    /// Reads the same files again: what a reload does after a renewal. The certificate in use stays until the
    /// [`commit`](Prepared::commit).
    ///
    /// # Errors
    /// As [`load`](Self::load).
    pub fn prepare(&self) -> Result<Prepared<'_>, TlsError> {
        Ok(Prepared { tls: self, config: read(&self.files)? })
    }

    pub(crate) fn config(&self) -> Arc<ServerConfig> {
        self.config.read().clone()
    }
}

/// A certificate that was read and can be used, and is not yet.
#[must_use = "without a commit the certificate before stays in use"]
pub struct Prepared<'a> {
    tls: &'a Tls,
    config: Arc<ServerConfig>,
}

impl Prepared<'_> {
    /// New connections get this certificate from now on.
    pub fn commit(self) {
        *self.tls.config.write() = self.config;
    }
}

fn read(files: &TlsFiles) -> Result<Arc<ServerConfig>, TlsError> {
    let broken = |path: &PathBuf| {
        let path = path.clone();
        move |source| TlsError::Pem { path, source }
    };
    let chain = CertificateDer::pem_file_iter(&files.certificate)
        .and_then(Iterator::collect::<Result<Vec<_>, _>>)
        .map_err(broken(&files.certificate))?;
    if chain.is_empty() {
        return Err(TlsError::NoCertificate(files.certificate.clone()));
    }
    let key = PrivateKeyDer::from_pem_file(&files.key).map_err(broken(&files.key))?;
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let refused = |source| TlsError::Refused { files: files.clone(), source };
    let mut config = ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .and_then(|builder| builder.with_no_client_auth().with_single_cert(chain, key))
        .map_err(refused)?;
    config.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
    Ok(Arc::new(config))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_prepared_certificate_is_used_from_its_commit_on_and_one_that_cannot_be_read_never() {
        let folder = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests/tls");
        let files = TlsFiles { certificate: folder.join("cert.pem"), key: folder.join("key.pem") };
        let tls = Tls::load(files).unwrap();
        let first = tls.config();
        let prepared = tls.prepare().unwrap();
        assert!(Arc::ptr_eq(&first, &tls.config()), "nothing else of the reload may have been refused yet");
        prepared.commit();
        assert!(!Arc::ptr_eq(&first, &tls.config()));
        let gone = Tls {
            files: TlsFiles { key: folder.join("gone.pem"), ..tls.files.clone() },
            config: RwLock::new(first.clone()),
        };
        assert!(gone.prepare().is_err());
        assert!(Arc::ptr_eq(&first, &gone.config()));
    }
}
