//! What encrypts connections to backends.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::{CryptoProvider, verify_tls12_signature, verify_tls13_signature};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName, UnixTime};
use rustls::{ClientConfig, DigitallySignedStruct, RootCertStore, SignatureScheme};

use crate::config::UpstreamTls;

/// Why connections to backends cannot be encrypted.
#[derive(Debug, thiserror::Error)]
pub enum UpstreamTlsError {
    /// A file cannot be read, or is not what it should be.
    #[error("{key}: cannot read {path}: {reason}")]
    File {
        /// The setting.
        key: &'static str,
        /// The file.
        path: PathBuf,
        /// Why.
        reason: String,
    },
    /// There is nobody to trust.
    #[error("ca: there is no certificate of an authority to trust; name one, or install ca-certificates")]
    NoRoots,
    /// The certificate and the key do not belong together, or cannot be used.
    #[error("certificate: {0}")]
    Certificate(rustls::Error),
    /// The name is none that a certificate could have.
    #[error("name: {0:?} is no name of a server")]
    Name(String),
}

/// What encrypts the connections of a pool.
#[derive(Debug, Clone)]
pub(crate) struct Encryption {
    pub(crate) config: Arc<ClientConfig>,
    /// The same without HTTP/2.
    pub(crate) http1: Arc<ClientConfig>,
    /// The name that every backend has to prove.
    pub(crate) name: Option<ServerName<'static>>,
}

impl Encryption {
    pub(crate) fn new(settings: &UpstreamTls) -> Result<Self, UpstreamTlsError> {
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let builder = ClientConfig::builder_with_provider(Arc::clone(&provider)).with_safe_default_protocol_versions();
        let builder = builder.map_err(UpstreamTlsError::Certificate)?;
        let builder = match settings.verify {
            true => builder.with_root_certificates(roots(settings.ca.as_deref())?),
            false => builder.dangerous().with_custom_certificate_verifier(Arc::new(Anybody(provider))),
        };
        let mut config = match (&settings.certificate, &settings.key) {
            (Some(certificate), Some(key)) => {
                let chain = certificates("certificate", certificate)?;
                let read = PrivateKeyDer::from_pem_file(key);
                let read = read.map_err(|error| unreadable("key", key, &error))?;
                builder.with_client_auth_cert(chain, read).map_err(UpstreamTlsError::Certificate)?
            }
            _ => builder.with_no_client_auth(),
        };
        config.alpn_protocols = vec![b"http/1.1".to_vec()];
        let http1 = Arc::new(config.clone());
        if settings.http2 {
            config.alpn_protocols.insert(0, b"h2".to_vec());
        }
        let name = settings.name.as_ref().map(|name| server_name(name)).transpose()?;
        Ok(Self { config: Arc::new(config), http1, name })
    }
}

/// The name of a server, as certificates have it.
pub(crate) fn server_name(name: &str) -> Result<ServerName<'static>, UpstreamTlsError> {
    ServerName::try_from(name.to_owned()).map_err(|_| UpstreamTlsError::Name(name.to_owned()))
}

fn roots(ca: Option<&Path>) -> Result<RootCertStore, UpstreamTlsError> {
    let mut roots = RootCertStore::empty();
    match ca {
        Some(path) => {
            for certificate in certificates("ca", path)? {
                roots.add(certificate).map_err(|error| unreadable("ca", path, &error))?;
            }
        }
        None => {
            roots.add_parsable_certificates(rustls_native_certs::load_native_certs().certs);
        }
    }
    if roots.is_empty() { Err(UpstreamTlsError::NoRoots) } else { Ok(roots) }
}

fn certificates(key: &'static str, path: &Path) -> Result<Vec<CertificateDer<'static>>, UpstreamTlsError> {
    let read = CertificateDer::pem_file_iter(path).and_then(Iterator::collect::<Result<Vec<_>, _>>);
    let read = read.map_err(|error| unreadable(key, path, &error))?;
    match read.is_empty() {
        true => Err(unreadable(key, path, &"there is no certificate in it")),
        false => Ok(read),
    }
}

fn unreadable(key: &'static str, path: &Path, reason: &dyn std::fmt::Display) -> UpstreamTlsError {
    UpstreamTlsError::File { key, path: path.to_owned(), reason: reason.to_string() }
}

/// Takes everybody for who they say they are, as `verify = false` asks for. That they have the key of what they show is still verified.
#[derive(Debug)]
struct Anybody(Arc<CryptoProvider>);

impl ServerCertVerifier for Anybody {
    fn verify_server_cert(
        &self,
        _certificate: &CertificateDer<'_>,
        _chain: &[CertificateDer<'_>],
        _name: &ServerName<'_>,
        _ocsp: &[u8],
        _now: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        verify_tls12_signature(message, certificate, signature, &self.0.signature_verification_algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        verify_tls13_signature(message, certificate, signature, &self.0.signature_verification_algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.0.signature_verification_algorithms.supported_schemes()
    }
}
