//! Who is believed to be who: the controller by its authority, which a token names and which is kept from then on; a site by a certificate of that authority.

use std::sync::Arc;

use aws_lc_rs::digest::{SHA256, digest};
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::client::{Resumption, verify_server_cert_signed_by_trust_anchor, verify_server_name};
use rustls::crypto::aws_lc_rs::default_provider;
use rustls::crypto::{WebPkiSupportedAlgorithms, verify_tls12_signature, verify_tls13_signature};
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName, UnixTime};
use rustls::server::{ParsedCertificate, VerifierBuilderError, WebPkiClientVerifier};
use rustls::version::TLS13;
use rustls::{
    CertificateError, ClientConfig, DigitallySignedStruct, Error, RootCertStore, ServerConfig, SignatureScheme,
};

/// What the certificate of a controller is for. Sites know where it is; who it is, its authority says.
pub const NAME: &str = "controller.sdwan.internal";

/// The protocol, as both sides say it (ALPN, RFC 7301): the way in which they understand each other. A controller goes on with who says none, as sites of before that was said do.
pub const PROTOCOL: &[u8] = b"outwork-sdwan/1";

/// A certificate that cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum TlsError {
    /// What TLS says.
    #[error("TLS: {0}")]
    Tls(#[from] Error),
    /// The authority cannot be one.
    #[error("TLS: {0}")]
    Verifier(#[from] VerifierBuilderError),
}

/// The name for a handshake with a controller.
///
/// # Errors
/// Never: the name is one.
pub fn name() -> Result<ServerName<'static>, Error> {
    ServerName::try_from(NAME).map_err(|_| Error::General(format!("{NAME} is no name")))
}

/// SHA-256 of a certificate.
pub fn fingerprint(certificate: &CertificateDer<'_>) -> [u8; 32] {
    let mut fingerprint = [0; 32];
    fingerprint.copy_from_slice(digest(&SHA256, certificate).as_ref());
    fingerprint
}

fn roots(authority: &CertificateDer<'_>) -> Result<RootCertStore, Error> {
    let mut roots = RootCertStore::empty();
    roots.add(authority.clone().into_owned())?;
    Ok(roots)
}

/// How a site speaks that has a certificate.
///
/// # Errors
/// When a certificate or the key cannot be used.
pub fn site(
    authority: &CertificateDer<'_>,
    certificate: CertificateDer<'static>,
    key: PrivateKeyDer<'static>,
) -> Result<ClientConfig, TlsError> {
    let builder =
        ClientConfig::builder_with_provider(Arc::new(default_provider())).with_protocol_versions(&[&TLS13])?;
    let builder = builder.with_root_certificates(roots(authority)?);
    let mut config = builder.with_client_auth_cert(vec![certificate], key)?;
    config.resumption = Resumption::disabled();
    config.alpn_protocols = vec![PROTOCOL.to_vec()];
    Ok(config)
}

/// How a site speaks that has none yet, to a controller whose authority has this fingerprint.
///
/// # Errors
/// When TLS cannot be had.
pub fn stranger(authority: [u8; 32]) -> Result<ClientConfig, TlsError> {
    let builder =
        ClientConfig::builder_with_provider(Arc::new(default_provider())).with_protocol_versions(&[&TLS13])?;
    let verifier = Arc::new(Pinned(authority));
    let mut config = builder.dangerous().with_custom_certificate_verifier(verifier).with_no_client_auth();
    config.resumption = Resumption::disabled();
    config.alpn_protocols = vec![PROTOCOL.to_vec()];
    Ok(config)
}

/// How a controller speaks: to sites with a certificate of its authority, and to who has none.
///
/// # Errors
/// When a certificate or the key cannot be used.
pub fn controller(
    authority: &CertificateDer<'static>,
    certificate: CertificateDer<'static>,
    key: PrivateKeyDer<'static>,
) -> Result<ServerConfig, TlsError> {
    let provider = Arc::new(default_provider());
    let verifier = WebPkiClientVerifier::builder_with_provider(Arc::new(roots(authority)?), Arc::clone(&provider));
    let verifier = verifier.allow_unauthenticated().build()?;
    let builder = ServerConfig::builder_with_provider(provider).with_protocol_versions(&[&TLS13])?;
    // The authority goes along: who comes for the first time knows but its fingerprint.
    let chain = vec![certificate, authority.clone()];
    let mut config = builder.with_client_cert_verifier(verifier).with_single_cert(chain, key)?;
    // Each connection shows its certificate: it may have been revoked.
    config.send_tls13_tickets = 0;
    config.alpn_protocols = vec![PROTOCOL.to_vec()];
    Ok(config)
}

/// Believes an authority that has this fingerprint, and whoever has a certificate of it.
#[derive(Debug)]
struct Pinned([u8; 32]);

fn algorithms() -> WebPkiSupportedAlgorithms {
    default_provider().signature_verification_algorithms
}

impl ServerCertVerifier for Pinned {
    fn verify_server_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        server_name: &ServerName<'_>,
        _ocsp_response: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        let authority = intermediates.iter().find(|one| fingerprint(one) == self.0);
        let authority = authority.ok_or(Error::InvalidCertificate(CertificateError::UnknownIssuer))?;
        let certificate = ParsedCertificate::try_from(end_entity)?;
        verify_server_cert_signed_by_trust_anchor(&certificate, &roots(authority)?, &[], now, algorithms().all)?;
        verify_server_name(&certificate, server_name)?;
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        verify_tls12_signature(message, certificate, signature, &algorithms())
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        verify_tls13_signature(message, certificate, signature, &algorithms())
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        algorithms().supported_schemes()
    }
}
