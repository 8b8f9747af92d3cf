//! The controller's own authority: it certifies the controller, and the sites that it has taken in.

use std::io;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use aws_lc_rs::rand;
use outwork_front::tls::Facts;
use outwork_store::file::replace_private;
use rcgen::{
    BasicConstraints, CertificateParams, DistinguishedName, DnType, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair,
    KeyUsagePurpose, PKCS_ED25519, PublicKeyData, SerialNumber, SignatureAlgorithm,
};
use rustls::ServerConfig;
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, PrivatePkcs8KeyDer};

use crate::channel::tls::{self, NAME, TlsError, fingerprint};

/// How long the authority is good, and the controller's certificate, whose key lives as long as the process.
const LIFE: Duration = Duration::from_secs(3650 * 86_400);
/// Clocks of sites may be this much behind.
const SKEW: Duration = Duration::from_secs(3600);

/// Why there is no authority, or no certificate of it.
#[derive(Debug, thiserror::Error)]
pub enum AuthorityError {
    /// A file.
    #[error("{path}: {source}")]
    File {
        /// Which.
        path: PathBuf,
        /// What the system says.
        source: io::Error,
    },
    /// A file has no certificate in it.
    #[error(
        "{path} has no certificate: restore it from a backup with the key beside it, or remove both, and enrol all sites again"
    )]
    Damaged {
        /// Which.
        path: PathBuf,
    },
    /// A certificate without its key: a new one in its place would know none of the sites.
    #[error(
        "{path} is there, and {missing} beside it is not: restore both from one backup, or remove the first as well, and enrol all sites again"
    )]
    Half {
        /// What is there.
        path: PathBuf,
        /// What is not.
        missing: PathBuf,
    },
    /// A certificate cannot be made.
    #[error("no certificate can be made: {0}")]
    Made(#[from] rcgen::Error),
    /// No randomness.
    #[error("the system gives no randomness")]
    Random,
    /// TLS does not take what was made.
    #[error(transparent)]
    Tls(#[from] TlsError),
}

/// The authority.
pub struct Authority {
    root: CertificateDer<'static>,
    pem: String,
    issuer: Issuer<'static, KeyPair>,
}

/// A certificate that was made.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Issued {
    /// It, PEM.
    pub pem: String,
    /// Its serial number in hexadecimal.
    pub serial: String,
    /// Until when it is good.
    pub expires: SystemTime,
}

/// The key of somebody else (Ed25519).
struct Theirs<'a>(&'a [u8]);

impl PublicKeyData for Theirs<'_> {
    fn der_bytes(&self) -> &[u8] {
        self.0
    }

    fn algorithm(&self) -> &'static SignatureAlgorithm {
        &PKCS_ED25519
    }
}

impl Authority {
    /// The one that is kept in `dir`; where there is none, one is made.
    ///
    /// # Errors
    /// When it cannot be read or made.
    pub fn open(dir: &Path, now: SystemTime) -> Result<Authority, AuthorityError> {
        let (path, key_path) = (dir.join("authority.pem"), dir.join("authority.key"));
        // The key is written first: without the root it has signed nothing that anyone believes.
        let kept = (read(&path)?, read(&key_path)?);
        if let (Some(_), None) = kept {
            return Err(AuthorityError::Half { path, missing: key_path });
        }
        if let (Some(pem), Some(key)) = kept {
            let damaged = || AuthorityError::Damaged { path: path.clone() };
            let root = CertificateDer::from_pem_slice(pem.as_bytes()).map_err(|_| damaged())?;
            let name = Facts::read(&root).ok().and_then(|facts| facts.common_name).ok_or_else(damaged)?;
            let issuer = Issuer::new(root_params(&name, now), KeyPair::from_pem(&key)?);
            return Ok(Authority { root, pem, issuer });
        }
        let mut id = [0; 4];
        rand::fill(&mut id).map_err(|_| AuthorityError::Random)?;
        let params = root_params(&format!("Outwork controller {:08x}", u32::from_be_bytes(id)), now);
        let key = KeyPair::generate()?;
        let root = params.self_signed(&key)?;
        for (path, text) in [(&key_path, key.serialize_pem()), (&path, root.pem())] {
            let failed = |source| AuthorityError::File { path: path.clone(), source };
            replace_private(path, text.as_bytes()).map_err(failed)?;
        }
        Ok(Authority { root: root.der().clone(), pem: root.pem(), issuer: Issuer::new(params, key) })
    }

    /// What tokens say of it.
    pub fn fingerprint(&self) -> [u8; 32] {
        fingerprint(&self.root)
    }

    /// What the network is called that it is the authority of.
    pub fn network(&self) -> String {
        self.fingerprint().iter().map(|octet| format!("{octet:02x}")).collect()
    }

    /// Its certificate, PEM.
    pub fn pem(&self) -> &str {
        &self.pem
    }

    /// How the controller speaks.
    ///
    /// # Errors
    /// When no certificate can be made.
    pub fn server(&self, now: SystemTime) -> Result<ServerConfig, AuthorityError> {
        let mut params = CertificateParams::new(vec![NAME.to_owned()])?;
        params.distinguished_name = named(NAME);
        params.not_before = before(now).into();
        params.not_after = after(now, LIFE).into();
        params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
        params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
        params.use_authority_key_identifier_extension = true;
        let key = KeyPair::generate()?;
        let certificate = params.signed_by(&key, &self.issuer)?;
        let key = PrivateKeyDer::Pkcs8(PrivatePkcs8KeyDer::from(key.serialize_der()));
        Ok(tls::controller(&self.root, certificate.der().clone(), key)?)
    }

    /// A certificate for a site that has the private key to `key`.
    ///
    /// # Errors
    /// When none can be made.
    pub fn issue(&self, site: &str, key: &[u8], life: Duration, now: SystemTime) -> Result<Issued, AuthorityError> {
        let mut serial = [0; 16];
        rand::fill(&mut serial).map_err(|_| AuthorityError::Random)?;
        // A positive number of always as many octets (RFC 5280 section 4.1.2.2).
        serial[0] = serial[0] & 0x3f | 0x40;
        let mut params = CertificateParams::default();
        params.distinguished_name = named(site);
        let expires = after(now, life);
        params.not_before = before(now).into();
        params.not_after = expires.into();
        params.serial_number = Some(SerialNumber::from_slice(&serial));
        params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
        params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ClientAuth];
        params.use_authority_key_identifier_extension = true;
        let certificate = params.signed_by(&Theirs(key), &self.issuer)?;
        let serial = serial.iter().map(|octet| format!("{octet:02x}")).collect();
        Ok(Issued { pem: certificate.pem(), serial, expires })
    }
}

fn read(path: &Path) -> Result<Option<String>, AuthorityError> {
    match std::fs::read_to_string(path) {
        Ok(text) => Ok(Some(text)),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(source) => Err(AuthorityError::File { path: path.to_owned(), source }),
    }
}

fn before(now: SystemTime) -> SystemTime {
    now.checked_sub(SKEW).unwrap_or(UNIX_EPOCH)
}

fn after(now: SystemTime, life: Duration) -> SystemTime {
    now.checked_add(life).unwrap_or(now)
}

fn named(name: &str) -> DistinguishedName {
    let mut named = DistinguishedName::new();
    named.push(DnType::CommonName, name);
    named
}

/// The root's parameters. Signing needs of them what does not depend on `now`.
fn root_params(name: &str, now: SystemTime) -> CertificateParams {
    let mut params = CertificateParams::default();
    params.distinguished_name = named(name);
    params.not_before = before(now).into();
    params.not_after = after(now, LIFE).into();
    params.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
    params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
    params
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use rustls::ClientConfig;
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
    use tokio_rustls::{TlsAcceptor, TlsConnector};

    use super::*;

    const DAY: Duration = Duration::from_secs(86_400);

    /// What the controller knows of who comes: the common name of its certificate, if it has one; an error where one of both refuses.
    fn meet(server: ServerConfig, client: ClientConfig) -> Result<Option<String>, String> {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(async {
            let (near, far) = tokio::io::duplex(1 << 16);
            let come = async {
                let mut stream = TlsConnector::from(Arc::new(client)).connect(tls::name().unwrap(), near).await?;
                stream.write_all(b"x").await?;
                stream.read_u8().await
            };
            let accept = async {
                let mut stream = TlsAcceptor::from(Arc::new(server)).accept(far).await?;
                stream.read_u8().await?;
                stream.write_all(b"y").await?;
                let certificate = stream.get_ref().1.peer_certificates().and_then(|chain| chain.first());
                io::Result::Ok(certificate.and_then(|der| Facts::read(der).ok()?.common_name))
            };
            let (came, known) = tokio::join!(come, accept);
            came.map_err(|error| error.to_string())?;
            known.map_err(|error| error.to_string())
        })
    }

    fn site_of(authority: &Authority, believed: &Authority, life: Duration, now: SystemTime) -> ClientConfig {
        let key = KeyPair::generate_for(&PKCS_ED25519).unwrap();
        let issued = authority.issue("north", key.der_bytes(), life, now).unwrap();
        let certificate = CertificateDer::from_pem_slice(issued.pem.as_bytes()).unwrap();
        assert_eq!(Facts::read(&certificate).unwrap().serial_hex(), issued.serial);
        let key = PrivateKeyDer::Pkcs8(PrivatePkcs8KeyDer::from(key.serialize_der()));
        tls::site(&believed.root, certificate, key).unwrap()
    }

    #[test]
    fn a_site_and_its_controller_know_each_other_after_a_restart_of_it_as_well() {
        let dir = tempfile::tempdir().unwrap();
        let now = SystemTime::now();
        let first = Authority::open(dir.path(), now).unwrap();
        let site = site_of(&first, &first, DAY, now);
        let again = Authority::open(dir.path(), now).unwrap();
        assert_eq!(again.network(), first.network());
        assert_eq!(meet(again.server(now).unwrap(), site), Ok(Some("north".to_owned())));
        let later = site_of(&again, &first, DAY, now);
        assert_eq!(meet(first.server(now).unwrap(), later), Ok(Some("north".to_owned())));
    }

    #[test]
    fn half_of_what_was_kept_is_not_replaced_by_something_that_knows_no_site() {
        let dir = tempfile::tempdir().unwrap();
        let now = SystemTime::now();
        let network = Authority::open(dir.path(), now).unwrap().network();
        let [pem, key] = ["authority.pem", "authority.key"].map(|name| dir.path().join(name));
        let kept = std::fs::read(&key).unwrap();
        std::fs::remove_file(&key).unwrap();
        let Err(error) = Authority::open(dir.path(), now) else { panic!("another was made") };
        assert!(error.to_string().contains("authority.key"), "{error}");
        std::fs::write(&key, kept).unwrap();
        assert_eq!(Authority::open(dir.path(), now).unwrap().network(), network);
        // A key alone has signed nothing that anyone believes.
        std::fs::remove_file(&pem).unwrap();
        assert_ne!(Authority::open(dir.path(), now).unwrap().network(), network);
    }

    #[test]
    fn who_comes_for_the_first_time_knows_the_controller_by_the_fingerprint_in_its_token() {
        let (dir, other) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        let now = SystemTime::now();
        let [own, other] = [&dir, &other].map(|dir| Authority::open(dir.path(), now).unwrap());
        let met = meet(own.server(now).unwrap(), tls::stranger(own.fingerprint()).unwrap());
        assert_eq!(met, Ok(None));
        assert!(meet(other.server(now).unwrap(), tls::stranger(own.fingerprint()).unwrap()).is_err());
    }

    #[test]
    fn certificates_of_others_and_those_that_are_over_are_refused() {
        let (dir, other) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        let now = SystemTime::now();
        let [own, other] = [&dir, &other].map(|dir| Authority::open(dir.path(), now).unwrap());
        assert!(meet(own.server(now).unwrap(), site_of(&other, &own, DAY, now)).is_err());
        let past = now - 30 * DAY;
        assert!(meet(own.server(now).unwrap(), site_of(&own, &own, DAY, past)).is_err());
        assert!(meet(other.server(now).unwrap(), site_of(&own, &own, DAY, now)).is_err());
    }
}
