//! What clients see.

use std::sync::atomic::{AtomicUsize, Ordering};

use rustls::client::Resumption;
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::aws_lc_rs::default_provider;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName, UnixTime};
use rustls::{AlertDescription, ClientConfig, DigitallySignedStruct, HandshakeKind, SignatureScheme};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio_rustls::TlsConnector;

use super::*;
use crate::config::{ClientAuthMode, TlsVersion};

/// Takes any certificate: the tests look at it themselves. Counts those that it was shown.
#[derive(Debug, Default)]
pub(crate) struct Anyone(pub(crate) Arc<AtomicUsize>);

impl ServerCertVerifier for Anyone {
    fn verify_server_cert(
        &self,
        _: &CertificateDer<'_>,
        _: &[CertificateDer<'_>],
        _: &ServerName<'_>,
        _: &[u8],
        _: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        self.0.fetch_add(1, Ordering::Relaxed);
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        _: &[u8],
        _: &CertificateDer<'_>,
        _: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        Ok(HandshakeSignatureValid::assertion())
    }

    fn verify_tls13_signature(
        &self,
        _: &[u8],
        _: &CertificateDer<'_>,
        _: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        Ok(HandshakeSignatureValid::assertion())
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        default_provider().signature_verification_algorithms.supported_schemes()
    }
}

/// A client; with a certificate and key as PEM where it has one.
pub(crate) fn client(
    versions: &[&'static rustls::SupportedProtocolVersion],
    identity: Option<&(String, String)>,
) -> ClientConfig {
    let builder = ClientConfig::builder_with_provider(Arc::new(default_provider()))
        .with_protocol_versions(versions)
        .unwrap()
        .dangerous()
        .with_custom_certificate_verifier(Arc::<Anyone>::default());
    let mut config = match identity {
        None => builder.with_no_client_auth(),
        Some((certificate, key)) => {
            let chain = vec![CertificateDer::from_pem_slice(certificate.as_bytes()).unwrap()];
            builder.with_client_auth_cert(chain, PrivateKeyDer::from_pem_slice(key.as_bytes()).unwrap()).unwrap()
        }
    };
    config.resumption = Resumption::in_memory_sessions(16);
    config
}

pub(crate) struct Met {
    /// The names in the certificate that the client got.
    names: Vec<String>,
    kind: HandshakeKind,
    session: Session,
}

/// A handshake, and an octet in each direction.
pub(crate) async fn meet(tls: &Tls, client: &Arc<ClientConfig>, name: &str) -> std::io::Result<Met> {
    meet_at(tls, client, name, [127, 0, 0, 1].into()).await
}

/// The same at this address.
async fn meet_at(tls: &Tls, client: &Arc<ClientConfig>, name: &str, address: IpAddr) -> std::io::Result<Met> {
    let (near, far) = tokio::io::duplex(64 << 10);
    let asked = async {
        let name = ServerName::try_from(name.to_owned()).unwrap();
        let mut stream = TlsConnector::from(Arc::clone(client)).connect(name, near).await?;
        stream.write_all(b"?").await?;
        // Tickets of TLS 1.3 come with the first octet that is read.
        stream.read_exact(&mut [0]).await?;
        let connection = stream.get_ref().1;
        let names = connection.peer_certificates().map(|chain| Facts::read(&chain[0]).unwrap().names);
        Ok::<_, std::io::Error>((names.unwrap_or_default(), connection.handshake_kind().unwrap()))
    };
    let answered = async {
        let Accepted::Stream(mut stream) = accept(tls, far, address).await? else {
            panic!("nobody asked for a challenge")
        };
        stream.read_exact(&mut [0]).await?;
        stream.write_all(b"!").await?;
        stream.flush().await?;
        Ok::<_, std::io::Error>(Session::of(stream.get_ref().1))
    };
    let (asked, answered) = tokio::join!(asked, answered);
    let (names, kind) = asked?;
    Ok(Met { names, kind, session: answered? })
}

const BOTH: &[&rustls::SupportedProtocolVersion] = rustls::ALL_VERSIONS;
const V1_2: &[&rustls::SupportedProtocolVersion] = &[&rustls::version::TLS12];
const V1_3: &[&rustls::SupportedProtocolVersion] = &[&rustls::version::TLS13];

fn alert(outcome: std::io::Result<Met>) -> Option<AlertDescription> {
    let error = outcome.err()?;
    match error.get_ref()?.downcast_ref::<rustls::Error>()? {
        rustls::Error::AlertReceived(alert) => Some(*alert),
        _ => None,
    }
}

/// A site with three certificates.
fn site(folder: &Path) -> Offer {
    let ca = Ca::new("ca");
    let first = ca.write(folder, "first", &["first.test"], DAY);
    let exact = ca.write(folder, "exact", &["www.example.test"], DAY);
    let wild = ca.write(folder, "wild", &["*.example.test", "example.test"], DAY);
    offer(&[&first, &exact, &wild])
}

#[tokio::test]
async fn a_client_gets_the_certificate_for_the_name_it_asks_for() {
    let dir = tempfile::tempdir().unwrap();
    let tls = opened(&Certificates::new(dir.path(), None), &site(dir.path()));
    let client = Arc::new(client(BOTH, None));
    for (asked, got) in [
        ("first.test", "first.test"),
        ("WWW.Example.test", "www.example.test"),
        ("mail.example.test", "*.example.test"),
        ("example.test", "*.example.test"),
        ("a.b.example.test", "first.test"),
        ("unknown.test", "first.test"),
        // Nobody asks for an address by name.
        ("192.0.2.1", "first.test"),
    ] {
        let met = meet(&tls, &client, asked).await.unwrap();
        assert_eq!(met.names[0], got, "{asked}");
    }
}

#[tokio::test]
async fn unknown_names_are_refused_by_an_alert_where_that_is_wanted() {
    let dir = tempfile::tempdir().unwrap();
    let mut offer = site(dir.path());
    offer.profile.unknown_names = UnknownNames::Refuse;
    let tls = opened(&Certificates::new(dir.path(), None), &offer);
    let client = Arc::new(client(BOTH, None));
    let refused = meet(&tls, &client, "unknown.test").await;
    assert_eq!(alert(refused), Some(AlertDescription::UnrecognisedName));
    assert_eq!(meet(&tls, &client, "192.0.2.1").await.unwrap().names[0], "first.test");
    assert_eq!(meet(&tls, &client, "www.example.test").await.unwrap().names[0], "www.example.test");
}

#[tokio::test]
async fn who_asks_for_no_name_gets_the_certificate_of_the_address_it_has_come_to() {
    let (dir, ca) = (tempfile::tempdir().unwrap(), Ca::new("ca"));
    let first = ca.write(dir.path(), "first", &["first.test", "192.0.2.1"], DAY);
    let second = ca.write(dir.path(), "second", &["second.test", "192.0.2.2"], DAY);
    let certificates = Certificates::new(dir.path(), None);
    let tls = opened(&certificates, &offer(&[&first, &second]));
    let client = Arc::new(client(BOTH, None));
    for (name, address, expected) in [
        ("192.0.2.1", "192.0.2.1", "first.test"),
        ("192.0.2.2", "192.0.2.2", "second.test"),
        ("192.0.2.2", "::ffff:192.0.2.2", "second.test"),
        ("192.0.2.3", "192.0.2.3", "first.test"),
        ("first.test", "192.0.2.2", "first.test"),
    ] {
        let met = meet_at(&tls, &client, name, address.parse().unwrap()).await.unwrap();
        assert_eq!(met.names[0], expected, "{name} at {address}");
    }
}

#[test]
fn of_two_certificates_for_a_name_a_client_gets_the_one_that_it_can_verify() {
    let (dir, ca) = (tempfile::tempdir().unwrap(), Ca::new("ca"));
    let kinds = [&rcgen::PKCS_ECDSA_P256_SHA256, &rcgen::PKCS_RSA_SHA256];
    let certificates = kinds.map(|algorithm| {
        let (certificate, key) = ca.sign_with(&["a.test"], DAY, algorithm);
        Certificate::load(&written(dir.path(), "a", &certificate, &key)).unwrap()
    });
    let table = Table::new(&certificates);
    let chosen = |schemes: &[SignatureScheme]| {
        let chosen = table.choose(Some("a.test"), schemes).unwrap();
        certificates.iter().position(|certificate| Arc::ptr_eq(&certificate.key, chosen)).unwrap()
    };
    assert_eq!(chosen(&[SignatureScheme::RSA_PSS_SHA256, SignatureScheme::ECDSA_NISTP256_SHA256]), 0);
    assert_eq!(chosen(&[SignatureScheme::RSA_PSS_SHA256]), 1);
    assert_eq!(chosen(&[SignatureScheme::ED25519]), 0, "the handshake says what is wrong");
}

#[tokio::test]
async fn sessions_go_on_after_a_reload_and_never_where_resumption_is_off() {
    let dir = tempfile::tempdir().unwrap();
    let certificates = Certificates::new(dir.path(), None);
    let offer = site(dir.path());
    let tls = opened(&certificates, &offer);
    for (versions, name) in [(V1_2, "TLSv1.2"), (V1_3, "TLSv1.3")] {
        let client = Arc::new(client(versions, None));
        let met = meet(&tls, &client, "first.test").await.unwrap();
        assert_eq!(
            (met.kind == HandshakeKind::Resumed, met.session.resumed, met.session.version),
            (false, false, name)
        );
        certificates.prepare(vec![(Arc::clone(&tls), offer.clone())], None).unwrap().commit();
        let met = meet(&tls, &client, "first.test").await.unwrap();
        assert_eq!((met.kind, met.session.resumed), (HandshakeKind::Resumed, true), "{name}");
    }
    let off = Offer { profile: Profile { tickets: 0, ..Profile::default() }, ..offer };
    let tls = opened(&certificates, &off);
    for versions in [V1_2, V1_3] {
        let client = Arc::new(client(versions, None));
        for _ in 0..2 {
            assert!(!meet(&tls, &client, "first.test").await.unwrap().session.resumed);
        }
    }
}

#[tokio::test]
async fn no_client_may_send_data_before_the_handshake_is_over() {
    let dir = tempfile::tempdir().unwrap();
    let tls = opened(&Certificates::new(dir.path(), None), &site(dir.path()));
    let mut eager = client(V1_3, None);
    eager.enable_early_data = true;
    let eager = Arc::new(eager);
    meet(&tls, &eager, "first.test").await.unwrap();
    let name = ServerName::try_from("first.test").unwrap();
    let mut again = rustls::ClientConnection::new(Arc::clone(&eager), name).unwrap();
    assert!(again.early_data().is_none(), "the ticket does not allow it");
    assert!(meet(&tls, &eager, "first.test").await.unwrap().session.resumed, "there was a ticket");
}

#[tokio::test]
async fn a_client_shows_its_certificate_where_it_is_asked_to_and_is_known_by_it() {
    let (dir, ca) = (tempfile::tempdir().unwrap(), Ca::new("clients"));
    let clients = dir.path().join("clients.pem");
    std::fs::write(&clients, &ca.pem).unwrap();
    let of_mode = |mode| {
        let mut offer = site(dir.path());
        offer.profile.client_auth = Some(ClientAuth { ca: clients.clone(), mode });
        offer
    };
    let certificates = Certificates::new(dir.path(), None);
    let optional = opened(&certificates, &of_mode(ClientAuthMode::Optional));
    let required = opened(&certificates, &of_mode(ClientAuthMode::Require));
    let life = DAY * 36_500;
    let identity = Ca::new("others").sign(&["eve"], life);
    let (nobody, eve) = (Arc::new(client(BOTH, None)), Arc::new(client(BOTH, Some(&identity))));
    let ann = ca.sign_from(&["ann"], UNIX_EPOCH, life);
    let client = Arc::new(client(BOTH, Some(&ann)));
    for tls in [&optional, &required] {
        let met = meet(tls, &client, "first.test").await.unwrap();
        let shown = met.session.client.unwrap();
        assert_eq!((shown.subject.as_str(), shown.issuer.as_str()), ("CN=ann", "CN=clients"));
        assert_eq!((shown.common_name.as_deref(), shown.fingerprint.len()), (Some("ann"), 64));
        assert!(meet(tls, &eve, "first.test").await.is_err(), "signed by somebody else");
    }
    assert_eq!(meet(&optional, &nobody, "first.test").await.unwrap().session.client, None);
    assert_eq!(alert(meet(&required, &nobody, "first.test").await), Some(AlertDescription::CertificateRequired));
}

#[tokio::test]
async fn no_session_goes_on_that_began_when_less_was_asked_of_clients() {
    let (dir, ca) = (tempfile::tempdir().unwrap(), Ca::new("clients"));
    let clients = dir.path().join("clients.pem");
    std::fs::write(&clients, &ca.pem).unwrap();
    let certificates = Certificates::new(dir.path(), None);
    let mut offer = site(dir.path());
    offer.profile.client_auth = Some(ClientAuth { ca: clients.clone(), mode: ClientAuthMode::Optional });
    let tls = opened(&certificates, &offer);
    let nobody = Arc::new(client(V1_3, None));
    meet(&tls, &nobody, "first.test").await.unwrap();
    assert!(meet(&tls, &nobody, "first.test").await.unwrap().session.resumed);
    offer.profile.client_auth = Some(ClientAuth { ca: clients, mode: ClientAuthMode::Require });
    certificates.prepare(vec![(Arc::clone(&tls), offer)], None).unwrap().commit();
    assert_eq!(alert(meet(&tls, &nobody, "first.test").await), Some(AlertDescription::CertificateRequired));
}

#[tokio::test]
async fn a_client_that_speaks_too_old_a_version_is_refused() {
    let dir = tempfile::tempdir().unwrap();
    let mut offer = site(dir.path());
    offer.profile.min_version = TlsVersion::V1_3;
    let tls = opened(&Certificates::new(dir.path(), None), &offer);
    let refused = meet(&tls, &Arc::new(client(V1_2, None)), "first.test").await;
    assert_eq!(alert(refused), Some(AlertDescription::ProtocolVersion));
    let met = meet(&tls, &Arc::new(client(BOTH, None)), "first.test").await.unwrap();
    assert_eq!((met.session.version, met.session.server_name.as_deref()), ("TLSv1.3", Some("first.test")));
    assert!(met.session.cipher.starts_with("TLS_AES_"), "{}", met.session.cipher);
}
