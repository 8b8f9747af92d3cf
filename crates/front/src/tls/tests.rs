//! Certificates by name, replaced and judged; handshakes with rustls as the client.

mod authority;
mod files;
pub(crate) mod handshake;

use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use rcgen::{
    BasicConstraints, CertificateParams, DistinguishedName, DnType, IsCa, Issuer, KeyPair, SignatureAlgorithm,
};

use super::*;

/// A moment at which the certificates of the tests are good.
pub(crate) fn now() -> SystemTime {
    UNIX_EPOCH + Duration::from_secs(1_800_000_000)
}

pub(crate) const DAY: Duration = Duration::from_secs(86_400);

/// An authority that signs what a test needs.
pub(crate) struct Ca {
    pub(crate) pem: String,
    issuer: Issuer<'static, KeyPair>,
}

impl Ca {
    pub(crate) fn new(name: &str) -> Self {
        let mut params = CertificateParams::default();
        params.distinguished_name = DistinguishedName::new();
        params.distinguished_name.push(DnType::CommonName, name);
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let key = KeyPair::generate().unwrap();
        let root = params.self_signed(&key).unwrap();
        Self { pem: root.pem(), issuer: Issuer::new(params, key) }
    }

    /// A certificate for these names that is good from `now` for `life`, and its key, as PEM.
    pub(crate) fn sign(&self, names: &[&str], life: Duration) -> (String, String) {
        self.sign_with(names, life, &rcgen::PKCS_ECDSA_P256_SHA256)
    }

    /// Likewise from another moment on.
    pub(crate) fn sign_from(&self, names: &[&str], from: SystemTime, life: Duration) -> (String, String) {
        self.made(names, from, life, &rcgen::PKCS_ECDSA_P256_SHA256)
    }

    pub(crate) fn sign_with(
        &self,
        names: &[&str],
        life: Duration,
        algorithm: &'static SignatureAlgorithm,
    ) -> (String, String) {
        self.made(names, now(), life, algorithm)
    }

    fn made(
        &self,
        names: &[&str],
        from: SystemTime,
        life: Duration,
        algorithm: &'static SignatureAlgorithm,
    ) -> (String, String) {
        let names: Vec<String> = names.iter().map(|name| (*name).to_owned()).collect();
        let mut params = CertificateParams::new(names.clone()).unwrap();
        params.distinguished_name = DistinguishedName::new();
        params.distinguished_name.push(DnType::CommonName, names.first().map_or("nobody", String::as_str));
        (params.not_before, params.not_after) = (from.into(), (from + life).into());
        let key = KeyPair::generate_for(algorithm).unwrap();
        (params.signed_by(&key, &self.issuer).unwrap().pem(), key.serialize_pem())
    }

    /// Such a certificate in files of a folder.
    pub(crate) fn write(&self, folder: &Path, file: &str, names: &[&str], life: Duration) -> TlsFiles {
        let (certificate, key) = self.sign(names, life);
        written(folder, file, &certificate, &key)
    }
}

pub(crate) fn written(folder: &Path, file: &str, certificate: &str, key: &str) -> TlsFiles {
    let path = |kind: &str| -> PathBuf { folder.join(format!("{file}.{kind}")) };
    std::fs::write(path("pem"), certificate).unwrap();
    std::fs::write(path("key"), key).unwrap();
    TlsFiles { certificate: path("pem"), key: path("key") }
}

pub(crate) fn offer(files: &[&TlsFiles]) -> Offer {
    let sources = files.iter().map(|files| Source::Files((*files).clone())).collect();
    Offer { profile: Profile::default(), sources }
}

pub(crate) fn opened(certificates: &Certificates, offer: &Offer) -> Arc<Tls> {
    certificates.open(std::slice::from_ref(offer)).unwrap().remove(0)
}
