//! QUIC of a listener: the same certificates, settings and tickets as over TCP, and what QUIC needs besides.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use arc_swap::ArcSwap;
use http::HeaderValue;
use quinn::crypto::rustls::QuicServerConfig;
use quinn::{TransportConfig, VarInt};
use rustls::ServerConfig;
use rustls::server::{ClientHello, ResolvesServerCert};
use rustls::sign::CertifiedKey;

use super::certificate::TlsError;
use super::profile::Profile;
use super::table::Table;
use crate::config::UnknownNames;

/// What is agreed on above QUIC (RFC 9114 section 3.1).
const ALPN: &[u8] = b"h3";
/// Bytes that a client may send on a stream before they are asked for, and on all streams together.
const STREAM_WINDOW: u32 = 256 << 10;
const CONNECTION_WINDOW: u32 = 1 << 20;
/// Bytes that a connection keeps until its client has acknowledged them.
const SEND_WINDOW: u64 = 2 << 20;
/// Streams that go one way, and that a client may have open: one each for control and the two of QPACK (RFC 9114 section 6.2), and some that are
/// there to be ignored.
const ONE_WAY: u32 = 8;
/// Connections of a thread that may wait until they are looked at, and the bytes that each and all of them may send meanwhile.
const WAITING: usize = 1024;
const WAITING_EACH: u64 = 16 << 10;
const WAITING_ALL: u64 = 4 << 20;

/// How HTTP/3 is spoken.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Http3 {
    /// Requests that a client may have under way at once on a connection.
    pub streams: u32,
    /// How long a connection may be silent, to the last packet.
    pub idle_timeout: Duration,
    /// Handshakes under way on a thread, beyond which clients first have to show that they receive what is sent to their address.
    pub retry_above: u32,
    /// For how long clients of HTTP/1 and HTTP/2 remember that HTTP/3 is spoken here.
    pub advertise: Duration,
    /// The port that they are told of, where it is not the listener's own.
    pub advertise_port: Option<u16>,
}

/// QUIC of one listener.
pub(crate) struct Quic {
    pub(crate) config: Arc<quinn::ServerConfig>,
    pub(crate) http3: Http3,
}

impl Quic {
    /// Of what is spoken over TCP. `before` gives the keys of the tokens that are out.
    pub(super) fn new(
        profile: &Profile,
        tcp: &ServerConfig,
        table: &Arc<ArcSwap<Table>>,
        before: Option<&Self>,
    ) -> Result<Option<Self>, TlsError> {
        let Some(http3) = &profile.http3 else { return Ok(None) };
        let mut tls = tcp.clone();
        tls.alpn_protocols = vec![ALPN.to_vec()];
        if profile.unknown_names == UnknownNames::Refuse {
            tls.cert_resolver = Arc::new(Known(Arc::clone(table)));
        }
        // Its initial packets have a suite of their own, which every profile has.
        let crypto = QuicServerConfig::try_from(tls)
            .map_err(|error| TlsError::Settings(rustls::Error::General(error.to_string())))?;
        let crypto = Arc::new(crypto);
        let mut config = match before {
            Some(before) => {
                let mut config = (*before.config).clone();
                config.crypto = crypto;
                config
            }
            None => quinn::ServerConfig::with_crypto(crypto),
        };
        config.transport_config(Arc::new(http3.transport()));
        config.max_incoming(WAITING).incoming_buffer_size(WAITING_EACH).incoming_buffer_size_total(WAITING_ALL);
        Ok(Some(Self { config: Arc::new(config), http3: http3.clone() }))
    }
}

impl Http3 {
    fn transport(&self) -> TransportConfig {
        let mut transport = TransportConfig::default();
        let idle = VarInt::from_u64(u64::try_from(self.idle_timeout.as_millis()).unwrap_or(u64::MAX));
        transport
            .max_concurrent_bidi_streams(self.streams.into())
            .max_concurrent_uni_streams(ONE_WAY.into())
            .stream_receive_window(STREAM_WINDOW.into())
            .receive_window(CONNECTION_WINDOW.into())
            .send_window(SEND_WINDOW)
            .max_idle_timeout(Some(idle.unwrap_or(VarInt::MAX).into()))
            .datagram_receive_buffer_size(None);
        transport
    }

    /// The value of `Alt-Svc` (RFC 7838 section 3) for a listener at this port.
    pub(super) fn alt_svc(&self, port: u16) -> Option<HeaderValue> {
        let port = self.advertise_port.unwrap_or(port);
        let age = self.advertise.as_secs();
        (age > 0).then(|| HeaderValue::try_from(format!("h3=\":{port}\"; ma={age}")).ok()).flatten()
    }
}

/// Looks certificates up for rustls, and knows nobody who is not there.
struct Known(Arc<ArcSwap<Table>>);

impl ResolvesServerCert for Known {
    fn resolve(&self, hello: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        let table = self.0.load();
        let known = hello.server_name().is_none_or(|name| table.knows(name));
        table.choose(hello.server_name(), hello.signature_schemes()).filter(|_| known).cloned()
    }
}

impl fmt::Debug for Known {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Known")
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::Http3Settings;

    #[test]
    fn http3_is_advertised_at_its_port_unless_it_is_to_be_unknown() {
        let http3 = Http3Settings::default().http3().unwrap();
        let value = |http3: &Http3| http3.alt_svc(443).map(|value| value.to_str().unwrap().to_owned());
        assert_eq!(value(&http3).as_deref(), Some("h3=\":443\"; ma=86400"));
        let elsewhere = Http3 { advertise_port: Some(8443), ..http3.clone() };
        assert_eq!(value(&elsewhere).as_deref(), Some("h3=\":8443\"; ma=86400"));
        assert_eq!(value(&Http3 { advertise: Duration::ZERO, ..http3 }), None);
    }
}
