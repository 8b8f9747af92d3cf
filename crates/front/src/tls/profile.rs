//! What a listener speaks: versions, cipher suites, protocols, resumption, certificates of clients.

use std::fmt;
use std::sync::Arc;

use rustls::crypto::aws_lc_rs::Ticketer;
use rustls::server::{NoServerSessionStorage, ProducesTickets, ResolvesServerCert, WebPkiClientVerifier};
use rustls::{ServerConfig, version};

use super::certificate::TlsError;
use super::client::ClientAuth;
use super::provider::provider;
use super::quic::Http3;
use crate::config::{Alpn, ClientAuthMode, TlsVersion, UnknownNames};

/// What a listener speaks.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Profile {
    /// The lowest version. TLS 1.2 comes with the suites of Mozilla's intermediate policy: ECDHE with AEAD, no others.
    pub min_version: TlsVersion,
    /// Protocols above TLS, the most preferred first (RFC 7301).
    pub alpn: Vec<Alpn>,
    /// Tickets that a client gets to resume its session with; 0 turns resumption off.
    pub tickets: u8,
    /// What clients get that ask for a name that there is no certificate for.
    pub unknown_names: UnknownNames,
    /// Certificates of clients.
    pub client_auth: Option<ClientAuth>,
    /// HTTP/3.
    pub http3: Option<Http3>,
}

impl Default for Profile {
    fn default() -> Self {
        Self {
            min_version: TlsVersion::V1_2,
            alpn: vec![Alpn::H2, Alpn::Http1],
            tickets: 2,
            unknown_names: UnknownNames::Default,
            client_auth: None,
            http3: None,
        }
    }
}

/// Makes tickets with keys that change every six hours and are forgotten after twelve: shared by all threads, and kept when
/// certificates or settings change, so that clients go on resuming.
pub(crate) struct Tickets {
    ticketer: Arc<dyn ProducesTickets>,
    /// What was asked of the clients whose sessions are in the tickets. A ticket carries the client's certificate or none, and
    /// nobody verifies that again.
    asked: Asked,
}

/// Whether clients have to show a certificate, and signed by whom.
type Asked = Option<(ClientAuthMode, Vec<Vec<u8>>)>;

impl Profile {
    /// What rustls needs for it. `before` gives the tickets that are out, if they may still be taken.
    pub(crate) fn config(
        &self,
        resolver: Arc<dyn ResolvesServerCert>,
        before: Option<&Arc<Tickets>>,
    ) -> Result<(Arc<ServerConfig>, Arc<Tickets>), TlsError> {
        let provider = Arc::new(provider());
        let versions: &[_] = match self.min_version {
            TlsVersion::V1_2 => &[&version::TLS13, &version::TLS12],
            TlsVersion::V1_3 => &[&version::TLS13],
        };
        let (verifier, asked) = match &self.client_auth {
            Some(client_auth) => {
                let made = client_auth.verifier(&provider)?;
                (made.verifier, Some((client_auth.mode, made.authorities)))
            }
            None => (WebPkiClientVerifier::no_client_auth(), None),
        };
        let tickets = match before.filter(|before| before.asked == asked) {
            Some(before) => Arc::clone(before),
            None => Arc::new(Tickets { ticketer: Ticketer::new().map_err(TlsError::Settings)?, asked }),
        };
        let mut config = ServerConfig::builder_with_provider(provider)
            .with_protocol_versions(versions)
            .map_err(TlsError::Settings)?
            .with_client_cert_verifier(verifier)
            .with_cert_resolver(resolver);
        config.alpn_protocols = self.alpn.iter().map(|protocol| protocol.word().as_bytes().to_vec()).collect();
        // Sessions are in tickets alone: a memory of them would be one lock for all threads.
        config.session_storage = Arc::new(NoServerSessionStorage {});
        config.send_tls13_tickets = self.tickets.into();
        if self.tickets > 0 {
            config.ticketer = Arc::clone(&tickets.ticketer);
        }
        // Early data could be sent again by anyone who recorded it.
        config.max_early_data_size = 0;
        Ok((Arc::new(config), tickets))
    }
}

impl fmt::Debug for Tickets {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Tickets").finish_non_exhaustive()
    }
}
