//! An authority of our own, for development: who trusts its root sees no warning for the names it certifies.

use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use rcgen::{
    BasicConstraints, CertificateParams, CidrSubnet, DistinguishedName, DnType, ExtendedKeyUsagePurpose,
    GeneralSubtree, IsCa, Issuer, KeyPair, KeyUsagePurpose, NameConstraints,
};
use rustls::RootCertStore;
use rustls::client::verify_server_cert_signed_by_trust_anchor;
use rustls::crypto::aws_lc_rs::default_provider;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, PrivatePkcs8KeyDer, UnixTime};
use rustls::server::ParsedCertificate;

use super::certificate::{Certificate, TlsError, TlsFiles, certificates};
use super::files;
use super::x509::{Facts, hex};

/// The root's file in the directory of the authority.
pub(super) const ROOT: &str = "ca.pem";
/// How long the root is good.
const ROOT_LIFE: Duration = Duration::from_secs(3650 * 86_400);
/// How long a certificate is good that it signs.
const LEAF_LIFE: Duration = Duration::from_secs(7 * 86_400);
/// How long one is good that stands in for another.
const STAND_IN_LIFE: Duration = Duration::from_secs(365 * 86_400);
/// Clocks of clients may be this much behind.
const SKEW: Duration = Duration::from_secs(3600);

/// Names that nobody owns (RFC 6761, RFC 2606, RFC 8375, and the TLD that ICANN keeps for private use). The root is for
/// these, so that whoever steals its key cannot pass for a site of the world.
const NAMES: [&str; 7] = ["localhost", "test", "example", "invalid", "local", "internal", "home.arpa"];

/// Addresses that nobody owns (RFC 6890): those of the machine, of private networks and of links.
const NETWORKS: [(&str, u8); 9] = [
    ("127.0.0.0", 8),
    ("10.0.0.0", 8),
    ("172.16.0.0", 12),
    ("192.168.0.0", 16),
    ("169.254.0.0", 16),
    ("100.64.0.0", 10),
    ("::1", 128),
    ("fc00::", 7),
    ("fe80::", 10),
];

/// The authority.
pub(crate) struct Authority {
    /// The root, as PEM.
    pub(crate) path: PathBuf,
    root: CertificateDer<'static>,
    issuer: Issuer<'static, KeyPair>,
}

impl Authority {
    /// The one that is kept in `dir`; where there is none, one is made: for names and addresses that nobody owns, and for
    /// `names`.
    pub(crate) fn open(dir: &Path, names: &[String], now: SystemTime) -> Result<Self, TlsError> {
        let (path, key_path) = (dir.join(ROOT), dir.join("ca.key"));
        let root_files = TlsFiles { certificate: path.clone(), key: key_path.clone() };
        let kept = match (files::read(&path)?, files::read(&key_path)?) {
            (Some(root), Some(key)) => Some((root, key)),
            // The key is written first: without the root it has signed nothing that anyone trusts.
            _ => None,
        };
        if let Some((root, key)) = kept {
            let certificate = Certificate::from_pem(&root, &key, &root_files)?;
            let failed = |reason: String| TlsError::Issue { names: "the local authority".into(), reason };
            let key = std::str::from_utf8(&key).map_err(|error| failed(error.to_string()))?;
            let key = KeyPair::from_pem(key).map_err(|error| failed(error.to_string()))?;
            let name = certificate.facts.common_name.clone().unwrap_or_default();
            let root = certificates(&root, &path)?.swap_remove(0);
            return Ok(Self { path, root, issuer: Issuer::new(root_params(&name, &[], now)?, key) });
        }
        let mut id = [0; 4];
        getrandom::fill(&mut id).map_err(|error| failed(names, &error.to_string()))?;
        let key = KeyPair::generate().map_err(|error| failed(names, &error.to_string()))?;
        let params = root_params(&format!("Outwork local authority {}", hex(&id)), names, now)?;
        let root = params.self_signed(&key).map_err(|error| failed(names, &error.to_string()))?;
        files::replace(&key_path, key.serialize_pem().as_bytes())?;
        files::replace(&path, root.pem().as_bytes())?;
        let der = root.der().clone();
        let fingerprint = Facts::read(&der).map(|facts| facts.fingerprint_hex()).unwrap_or_default();
        tracing::info!(root = %path.display(), fingerprint, "a local authority was made; `outwork tls ca` says how to trust it");
        Ok(Self { path, root: der, issuer: Issuer::new(params, key) })
    }

    /// A certificate for these names and addresses, with a key that is nowhere but in memory.
    pub(crate) fn issue(&self, names: &[String], now: SystemTime) -> Result<Certificate, TlsError> {
        let told = |reason: &dyn std::fmt::Display| failed(names, reason);
        let mut params = CertificateParams::new(names).map_err(|error| told(&error))?;
        params.distinguished_name = DistinguishedName::new();
        if let Some(first) = names.first() {
            params.distinguished_name.push(DnType::CommonName, first.as_str());
        }
        params.not_before = now.checked_sub(SKEW).unwrap_or(UNIX_EPOCH).into();
        params.not_after = now.checked_add(LEAF_LIFE).unwrap_or(now).into();
        params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
        params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
        params.use_authority_key_identifier_extension = true;
        let key = KeyPair::generate().map_err(|error| told(&error))?;
        let leaf = params.signed_by(&key, &self.issuer).map_err(|error| told(&error))?;
        self.verify(leaf.der(), now).map_err(|error| {
            let root = self.path.display();
            told(&format_args!(
                "{error}: the authority was made for other names; to have another made, which clients have to be told to \
                 trust, remove {root} and start again"
            ))
        })?;
        let key = PrivateKeyDer::Pkcs8(PrivatePkcs8KeyDer::from(key.serialize_der()));
        let files = TlsFiles { certificate: self.path.clone(), key: self.path.clone() };
        Certificate::from_der(vec![leaf.der().clone()], key, &files)
    }

    /// Sees to it that clients who trust the root accept the certificate: its constraints are among what they look at.
    fn verify(&self, leaf: &CertificateDer<'_>, now: SystemTime) -> Result<(), rustls::Error> {
        let mut roots = RootCertStore::empty();
        roots.add(self.root.clone())?;
        let algorithms = default_provider().signature_verification_algorithms.all;
        let now = UnixTime::since_unix_epoch(now.duration_since(UNIX_EPOCH).unwrap_or_default());
        verify_server_cert_signed_by_trust_anchor(&ParsedCertificate::try_from(leaf)?, &roots, &[], now, algorithms)
    }
}

/// A certificate that nobody trusts, for as long as there is no other.
pub(super) fn self_signed(name: &str, now: SystemTime) -> Result<Certificate, TlsError> {
    let names = [name.to_owned()];
    let mut params = CertificateParams::new(names.clone()).map_err(|error| failed(&names, &error))?;
    params.distinguished_name = DistinguishedName::new();
    params.distinguished_name.push(DnType::CommonName, "Outwork, until there is a certificate");
    params.not_before = now.checked_sub(SKEW).unwrap_or(UNIX_EPOCH).into();
    params.not_after = now.checked_add(STAND_IN_LIFE).unwrap_or(now).into();
    let key = KeyPair::generate().map_err(|error| failed(&names, &error))?;
    let certificate = params.self_signed(&key).map_err(|error| failed(&names, &error))?;
    let key = PrivateKeyDer::Pkcs8(PrivatePkcs8KeyDer::from(key.serialize_der()));
    let files = TlsFiles { certificate: PathBuf::new(), key: PathBuf::new() };
    let made = Certificate::from_der(vec![certificate.der().clone()], key, &files)?;
    Ok(Certificate { provisional: true, ..made })
}

fn failed(names: &[String], reason: &(impl std::fmt::Display + ?Sized)) -> TlsError {
    TlsError::Issue { names: names.join(", "), reason: reason.to_string() }
}

/// The root's parameters. Signing needs of them what does not depend on `names` and `now`.
fn root_params(name: &str, names: &[String], now: SystemTime) -> Result<CertificateParams, TlsError> {
    let mut params = CertificateParams::default();
    params.distinguished_name = DistinguishedName::new();
    params.distinguished_name.push(DnType::CommonName, name);
    params.distinguished_name.push(DnType::OrganizationName, "Outwork");
    params.not_before = now.checked_sub(SKEW).unwrap_or(UNIX_EPOCH).into();
    params.not_after = now.checked_add(ROOT_LIFE).unwrap_or(now).into();
    params.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
    params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
    let mut permitted: Vec<_> = NAMES.iter().map(|name| GeneralSubtree::DnsName((*name).to_owned())).collect();
    for (network, length) in NETWORKS {
        let network = network.parse().map_err(|error| failed(names, &error))?;
        permitted.push(GeneralSubtree::IpAddress(CidrSubnet::from_addr_prefix(network, length)));
    }
    for name in names {
        permitted.push(match name.parse::<std::net::IpAddr>() {
            Ok(address) => {
                let length = if address.is_ipv4() { 32 } else { 128 };
                GeneralSubtree::IpAddress(CidrSubnet::from_addr_prefix(address, length))
            }
            Err(_) => GeneralSubtree::DnsName(name.trim_start_matches("*.").to_owned()),
        });
    }
    params.name_constraints = Some(NameConstraints { permitted_subtrees: permitted, excluded_subtrees: Vec::new() });
    Ok(params)
}
