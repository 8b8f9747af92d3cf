//! Certificates of listeners, and how they speak TLS.

use std::fmt;
use std::net::IpAddr;
use std::path::PathBuf;
use std::str::FromStr;
use std::time::Duration;

use outwork_config::{At, Fault, choice, days, hours, secs, section, text_setting};

use crate::tls::{ClientAuth, Http3, Offer, Profile, Source, TlsFiles};

/// Settings that certificates come from.
const SOURCES: [&str; 3] = ["certificate", "acme", "local"];
/// Names that one listener may have certificates for by `acme`, or by `local`.
const MOST_NAMES: usize = 100;

choice! {
    /// A version of TLS.
    pub enum TlsVersion {
        /// TLS 1.2 (RFC 5246).
        V1_2 = "1.2",
        /// TLS 1.3 (RFC 8446).
        V1_3 = "1.3",
    }
}

choice! {
    /// Which cipher suites are spoken: two of Mozilla's recommendations.
    pub enum Ciphers {
        /// TLS 1.3 and its suites alone.
        Modern = "modern",
        /// Those of TLS 1.3, and of TLS 1.2 those with forward secrecy and AEAD.
        Intermediate = "intermediate",
    }
}

choice! {
    /// A protocol above TLS (RFC 7301).
    pub enum Alpn {
        /// HTTP/2.
        H2 = "h2",
        /// HTTP/1.1.
        Http1 = "http/1.1",
    }
}

choice! {
    /// What clients get that ask for a name that there is no certificate for.
    pub enum UnknownNames {
        /// The first certificate.
        Default = "default",
        /// An alert, `unrecognized_name`.
        Refuse = "refuse",
    }
}

choice! {
    /// What of clients that show no certificate.
    pub enum ClientAuthMode {
        /// They get no connection.
        Require = "require",
        /// They get one. Routes say with `client_certificate` for what a certificate is needed, and `client_subject` in the access log is
        /// that of who has shown one.
        Optional = "optional",
    }
}

section! {
    /// TLS of a listener: where its certificates come from, and how it speaks. Clients get the certificate for the name that they
    /// ask for; whoever asks for none gets the first.
    pub struct TlsSettings {
        /// The certificate chain, PEM, leaf first. A file that changes is taken up within seconds.
        pub certificate: Option<PathBuf>,
        /// The private key of `certificate`, PEM.
        pub key: Option<PathBuf>,
        /// More certificates. Of several for one name, a client gets the first that it can verify.
        pub certificates: Vec<CertificateFiles>,
        /// Names to order certificates for by ACME, one each: see `front.acme`.
        pub acme: Vec<HostName>,
        /// Names and addresses to be certified by the local authority, for development: `outwork tls ca` says how to trust it.
        pub local: Vec<LocalName>,
        /// What clients get that ask for a name that there is no certificate for.
        pub unknown_names: UnknownNames = UnknownNames::Default,
        /// The cipher suites.
        pub ciphers: Ciphers = Ciphers::Intermediate,
        /// The lowest version; by default 1.2, and 1.3 with the modern cipher suites.
        pub min_version: Option<TlsVersion>,
        /// Protocols, the most preferred first; unset, `h2` and `http/1.1`, and nothing is said of any by listeners of layer 4.
        pub alpn: Option<Vec<Alpn>>,
        /// Tickets that a client gets, to resume its session with; 0 turns resumption off.
        pub tickets: u8 [range 0..=16] = 2,
        /// Certificates of clients.
        pub client_auth: Option<ClientAuthSettings>,
        /// HTTP/3, at the UDP port of the listener's number.
        pub http3: Http3Settings,
    }
    check complete;
}

section! {
    /// HTTP/3 (RFC 9114): HTTP over QUIC, with the same certificates. `alpn` and `min_version` are about TCP: QUIC has TLS 1.3 and HTTP/3.
    pub struct Http3Settings {
        /// Whether it is spoken.
        pub enabled: bool = true,
        /// Requests that a client may have under way at once on a connection.
        pub max_streams: u32 [range 1..=10_000] = 128,
        /// How long a connection may be silent, to the last packet. One without a request under way ends after `front.limits.keep_alive`.
        pub idle_timeout: Duration [range secs(1)..=hours(1)] = secs(75),
        /// Handshakes under way on a thread, beyond which clients first have to show that they receive what is sent to their address: it costs them
        /// a round trip, and who forges addresses all of our attention. 0 asks everyone.
        pub retry_above: u32 = 256,
        /// For how long clients of HTTP/1 and HTTP/2 remember that HTTP/3 is spoken here (`Alt-Svc`, RFC 7838); 0 does not tell them.
        pub advertise: Duration [range secs(0)..=days(365)] = days(1),
        /// The UDP port that they are told of, where it is not that of the listener: something before it passes another one on.
        pub advertise_port: Option<u16> [range 1..],
    }
}

section! {
    /// A certificate and its key.
    #[required_keys]
    pub struct CertificateFiles {
        /// The certificate chain, PEM, leaf first.
        pub certificate: PathBuf,
        /// The private key, PEM.
        pub key: PathBuf,
    }
}

section! {
    /// Whether clients show certificates, and who has to have signed them. `client_certificate` of a route says which are good for it.
    #[required_keys]
    pub struct ClientAuthSettings {
        /// The certificates of those who sign, PEM.
        pub ca: PathBuf,
        /// What of clients that show none.
        pub mode: ClientAuthMode = ClientAuthMode::Require,
    }
}

fn complete(tls: &TlsSettings, at: &mut At<'_>) {
    match (&tls.certificate, &tls.key) {
        (Some(_), None) => at.fault("certificate", Fault::new("there is no key for it").help("add `key`")),
        (None, Some(_)) => at.fault("key", Fault::new("there is no certificate for it").help("add `certificate`")),
        _ => {}
    }
    // What was to give one may be there, and not be readable.
    let unread = |key: &str| SOURCES.iter().any(|source| key.starts_with(source));
    if tls.offer().sources.is_empty() && !at.left_out().any(unread) {
        at.fault(
            "",
            Fault::new("there is no certificate").expected("certificate and key, certificates, acme, or local"),
        );
    }
    if tls.ciphers == Ciphers::Modern && tls.min_version == Some(TlsVersion::V1_2) {
        let fault =
            Fault::new("TLS 1.2 has none of the modern cipher suites").expected("\"1.3\" with ciphers = \"modern\"");
        at.fault("min_version", fault.help("leave it out, or choose ciphers = \"intermediate\""));
    }
    for (key, names) in [("acme", tls.acme.len()), ("local", tls.local.len())] {
        if names > MOST_NAMES {
            at.fault(key, Fault::new(format!("{names} names")).expected(format!("{MOST_NAMES} at most")));
        }
    }
    let alpn = tls.alpn.as_deref().unwrap_or_default();
    for (index, protocol) in alpn.iter().enumerate() {
        if alpn.iter().take(index).any(|other| other == protocol) {
            at.fault(&format!("alpn[{index}]"), Fault::new(format!("{protocol} stands here twice")));
        }
    }
}

impl TlsSettings {
    /// What the listener offers.
    pub fn offer(&self) -> Offer {
        let pair =
            |certificate: &PathBuf, key: &PathBuf| TlsFiles { certificate: certificate.clone(), key: key.clone() };
        let first = self.certificate.as_ref().zip(self.key.as_ref()).map(|(certificate, key)| pair(certificate, key));
        let others = self.certificates.iter().map(|files| pair(&files.certificate, &files.key));
        let mut sources: Vec<_> = first.into_iter().chain(others).map(Source::Files).collect();
        sources.extend(self.acme.iter().map(|name| Source::Acme(name.to_string())));
        if !self.local.is_empty() {
            sources.push(Source::Local(self.local.iter().map(ToString::to_string).collect()));
        }
        let profile = Profile {
            min_version: match (self.min_version, self.ciphers) {
                (Some(version), _) => version,
                (None, Ciphers::Modern) => TlsVersion::V1_3,
                (None, Ciphers::Intermediate) => TlsVersion::V1_2,
            },
            alpn: self.alpn.clone().unwrap_or_else(|| vec![Alpn::H2, Alpn::Http1]),
            tickets: self.tickets,
            unknown_names: self.unknown_names,
            client_auth: self.client_auth.as_ref().map(|auth| ClientAuth { ca: auth.ca.clone(), mode: auth.mode }),
            http3: self.http3.http3(),
        };
        Offer { profile, sources }
    }
}

impl TlsSettings {
    /// What a listener offers that passes on whatever is in it.
    pub fn offer_of_any(&self) -> Offer {
        let Offer { profile, sources } = self.offer();
        Offer { profile: Profile { alpn: self.alpn.clone().unwrap_or_default(), http3: None, ..profile }, sources }
    }
}

impl Http3Settings {
    /// As listeners take them; `None` where it is not spoken.
    pub fn http3(&self) -> Option<Http3> {
        self.enabled.then_some(Http3 {
            streams: self.max_streams,
            idle_timeout: self.idle_timeout,
            retry_above: self.retry_above,
            advertise: self.advertise,
            advertise_port: self.advertise_port,
        })
    }
}

/// A DNS name of a host, in small letters.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct HostName(String);

/// Why a text is no name of a host.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum HostNameError {
    /// RFC 1035 section 2.3.4.
    #[error("a name has at most 253 characters, and each of its parts from 1 to 63")]
    Length,
    /// RFC 1123 section 2.1.
    #[error(
        "the parts of a name have letters, digits and hyphens between them; others are written in punycode (xn--…)"
    )]
    Character,
    /// An address is no name.
    #[error("an address is no name")]
    Address,
    /// RFC 8555 section 7.1.3: only DNS-01 proves these.
    #[error("a wildcard needs a challenge in the DNS, which nobody here can write to; use certificate files for it")]
    Wildcard,
}

impl HostName {
    /// The name.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl FromStr for HostName {
    type Err = HostNameError;

    fn from_str(text: &str) -> Result<Self, HostNameError> {
        if text.parse::<IpAddr>().is_ok() {
            return Err(HostNameError::Address);
        }
        if text.starts_with("*.") {
            return Err(HostNameError::Wildcard);
        }
        if text.len() > 253 || text.split('.').any(|label| label.is_empty() || label.len() > 63) {
            return Err(HostNameError::Length);
        }
        let inner = |octet: u8| octet.is_ascii_alphanumeric() || octet == b'-';
        let fits = |label: &str| label.bytes().all(inner) && !label.starts_with('-') && !label.ends_with('-');
        match text.split('.').all(fits) {
            true => Ok(Self(text.to_ascii_lowercase())),
            false => Err(HostNameError::Character),
        }
    }
}

impl fmt::Display for HostName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

text_setting!(HostName, "the name of a host such as", "www.example.org");

/// What the local authority certifies: a name, `*.` and a name, or an address.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct LocalName(String);

impl FromStr for LocalName {
    type Err = HostNameError;

    fn from_str(text: &str) -> Result<Self, HostNameError> {
        if let Ok(address) = text.parse::<IpAddr>() {
            return Ok(Self(address.to_string()));
        }
        match text.strip_prefix("*.") {
            Some(parent) => Ok(Self(format!("*.{}", parent.parse::<HostName>()?))),
            None => text.parse().map(|HostName(name)| Self(name)),
        }
    }
}

impl fmt::Display for LocalName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

text_setting!(LocalName, "a name or an address such as", "localhost");
