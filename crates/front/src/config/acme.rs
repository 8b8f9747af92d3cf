//! Certificates by ACME.

use std::fmt;
use std::path::PathBuf;
use std::str::FromStr;

use base64::Engine;
use base64::prelude::BASE64_URL_SAFE_NO_PAD;
use http::Uri;
use outwork_config::{At, Fault, Secret, choice, section, text_setting};

use crate::acme::Settings;

choice! {
    /// How an ACME server sees that a name is ours.
    pub enum AcmeChallenge {
        /// In the handshake of TLS, at port 443 of the name (RFC 8737).
        TlsAlpn01 = "tls-alpn-01",
        /// In clear text, at port 80 of the name (RFC 8555 section 8.3).
        Http01 = "http-01",
    }
}

section! {
    /// Certificates by ACME, for the names that listeners have under `tls.acme`.
    pub struct AcmeSettings {
        /// Whether the terms of service of the certificate authority are accepted. Nothing is ordered without.
        pub accept_terms: bool = false,
        /// Who the authority writes to when there is trouble.
        pub email: Option<String>,
        /// The ACME server: `letsencrypt`, `letsencrypt-staging`, or the URL of its directory.
        pub directory: AcmeDirectory = AcmeDirectory(LETS_ENCRYPT.1.to_owned()),
        /// Certificates, PEM, that the ACME server itself is verified by instead of the public ones.
        pub root: Option<PathBuf>,
        /// The challenges that are answered, the most preferred first; after a failure another one is tried.
        pub challenges: Vec<AcmeChallenge> = vec![AcmeChallenge::TlsAlpn01, AcmeChallenge::Http01],
        /// An account elsewhere that the one at the ACME server is to be bound to.
        pub external_account: Option<ExternalAccount>,
    }
    check usable;
}

section! {
    /// An account elsewhere that the one at the ACME server is to be bound to.
    #[required_keys]
    pub struct ExternalAccount {
        /// Its name.
        pub key_id: String,
        /// Its key, base64url.
        pub hmac_key: Secret,
    }
    check decodes;
}

fn usable(acme: &AcmeSettings, at: &mut At<'_>) {
    if acme.challenges.is_empty() {
        let fault = Fault::new("no challenge may be answered").expected("tls-alpn-01, http-01, or both");
        at.fault("challenges", fault.help("leave it out for both"));
    }
    if acme.email.as_ref().is_some_and(|email| !email.contains('@') || email.contains(char::is_whitespace)) {
        at.fault("email", Fault::new("it is no address").expected("an address such as \"ops@example.org\""));
    }
}

fn decodes(account: &ExternalAccount, at: &mut At<'_>) {
    if account.key().is_none() {
        let fault = Fault::new("it is not base64url").expected("the key as the authority shows it").secret();
        at.fault("hmac_key", fault);
    }
}

impl ExternalAccount {
    fn key(&self) -> Option<Vec<u8>> {
        let text = self.hmac_key.expose().trim_end_matches('=');
        BASE64_URL_SAFE_NO_PAD.decode(text).ok().filter(|key| !key.is_empty())
    }
}

impl AcmeSettings {
    /// Which server is asked, and as whom.
    pub fn settings(&self) -> Settings {
        Settings {
            directory: self.directory.0.clone(),
            email: self.email.clone(),
            root: self.root.clone(),
            challenges: self.challenges.clone(),
            external_account: self.external_account.as_ref().and_then(|one| Some((one.key_id.clone(), one.key()?))),
        }
    }
}

/// Directories that have a name of their own.
const LETS_ENCRYPT: (&str, &str) = ("letsencrypt", "https://acme-v02.api.letsencrypt.org/directory");
const STAGING: (&str, &str) = ("letsencrypt-staging", "https://acme-staging-v02.api.letsencrypt.org/directory");

/// An ACME server, by the URL of its directory.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AcmeDirectory(String);

/// A text names no ACME server.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("it is neither a name that is known here nor an https URL")]
pub struct NoDirectory;

impl FromStr for AcmeDirectory {
    type Err = NoDirectory;

    fn from_str(text: &str) -> Result<Self, NoDirectory> {
        if let Some((_, url)) = [LETS_ENCRYPT, STAGING].into_iter().find(|(name, _)| *name == text) {
            return Ok(Self(url.to_owned()));
        }
        let uri: Uri = text.parse().map_err(|_| NoDirectory)?;
        match uri.scheme_str() == Some("https") && uri.host().is_some() {
            true => Ok(Self(text.to_owned())),
            false => Err(NoDirectory),
        }
    }
}

impl fmt::Display for AcmeDirectory {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let known = [LETS_ENCRYPT, STAGING].into_iter().find(|(_, url)| *url == self.0);
        f.write_str(known.map_or(self.0.as_str(), |(name, _)| name))
    }
}

text_setting!(
    AcmeDirectory,
    "letsencrypt, letsencrypt-staging, or a URL such as",
    "https://acme.example.org/directory"
);
