//! What encrypts connections to backends.

use std::path::PathBuf;
use std::sync::Arc;

use outwork_front::tls::trust::{self, TrustError};
use rustls::ClientConfig;
use rustls::pki_types::pem::{self, PemObject};
use rustls::pki_types::{PrivateKeyDer, ServerName};

use crate::config::UpstreamTls;

/// Why connections to backends cannot be encrypted.
#[derive(Debug, thiserror::Error)]
pub enum UpstreamTlsError {
    /// It is not known whom to trust, or what to show.
    #[error("{key}: {source}")]
    Certificates {
        /// The setting.
        key: &'static str,
        /// Why.
        source: TrustError,
    },
    /// The key cannot be read.
    #[error("key: cannot read {path}: {source}")]
    Key {
        /// The file.
        path: PathBuf,
        /// Why.
        source: pem::Error,
    },
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
    /// The same without HTTP: nothing is said of what is spoken.
    pub(crate) bare: Arc<ClientConfig>,
    /// The name that every backend has to prove.
    pub(crate) name: Option<ServerName<'static>>,
}

impl Encryption {
    pub(crate) fn new(settings: &UpstreamTls) -> Result<Self, UpstreamTlsError> {
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let builder = ClientConfig::builder_with_provider(Arc::clone(&provider)).with_safe_default_protocol_versions();
        let builder = builder.map_err(UpstreamTlsError::Certificate)?;
        let builder = match settings.verify {
            true => builder.with_root_certificates(trust::authorities(settings.ca.as_deref()).map_err(about("ca"))?),
            false => builder.dangerous().with_custom_certificate_verifier(trust::anyone(provider)),
        };
        let mut config = match (&settings.certificate, &settings.key) {
            (Some(certificate), Some(key)) => {
                let chain = trust::certificates(certificate).map_err(about("certificate"))?;
                let read = PrivateKeyDer::from_pem_file(key);
                let read = read.map_err(|source| UpstreamTlsError::Key { path: key.clone(), source })?;
                builder.with_client_auth_cert(chain, read).map_err(UpstreamTlsError::Certificate)?
            }
            _ => builder.with_no_client_auth(),
        };
        let bare = Arc::new(config.clone());
        config.alpn_protocols = vec![b"http/1.1".to_vec()];
        let http1 = Arc::new(config.clone());
        if settings.http2 {
            config.alpn_protocols.insert(0, b"h2".to_vec());
        }
        let name = settings.name.as_ref().map(|name| server_name(name)).transpose()?;
        Ok(Self { config: Arc::new(config), http1, bare, name })
    }
}

/// The name of a server, as certificates have it.
pub(crate) fn server_name(name: &str) -> Result<ServerName<'static>, UpstreamTlsError> {
    ServerName::try_from(name.to_owned()).map_err(|_| UpstreamTlsError::Name(name.to_owned()))
}

/// What is wrong with the files of this setting.
fn about(key: &'static str) -> impl Fn(TrustError) -> UpstreamTlsError {
    move |source| UpstreamTlsError::Certificates { key, source }
}
