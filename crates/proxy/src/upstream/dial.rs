//! How a connection to a backend is opened.

use std::io;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use outwork_front::door::Buffers;
use rustls::pki_types::ServerName;
use rustls::{AlertDescription, ClientConfig};
use tokio::io::AsyncWriteExt;
use tokio::net::{TcpSocket, TcpStream, UnixStream};
use tokio::time::timeout;
use tokio_rustls::TlsConnector;

use super::wire::Wire;
use crate::metrics::Absent;
use crate::pool::endpoint::Target;

/// Why there is no connection.
#[derive(Debug, thiserror::Error)]
pub(crate) enum DialError {
    #[error("it cannot be connected to: {0}")]
    Connect(io::Error),
    #[error("its TLS handshake failed: {0}")]
    Tls(io::Error),
    #[error("it speaks no HTTP/2: {0}")]
    Http2(h2::Error),
    #[error("it takes too long to connect to")]
    Late,
    #[error("there are as many connections as there may be")]
    Full(Absent),
}

impl DialError {
    /// The same, for somebody else who waited for this connection.
    pub(crate) fn again(&self) -> Self {
        let copy = |error: &io::Error| match error.get_ref().and_then(|inner| inner.downcast_ref::<rustls::Error>()) {
            Some(tls) => io::Error::new(error.kind(), tls.clone()),
            None => io::Error::new(error.kind(), error.to_string()),
        };
        match self {
            Self::Connect(error) => Self::Connect(copy(error)),
            Self::Tls(error) => Self::Tls(copy(error)),
            Self::Http2(error) => Self::Http2(error.reason().unwrap_or(h2::Reason::INTERNAL_ERROR).into()),
            Self::Late => Self::Late,
            Self::Full(reason) => Self::Full(*reason),
        }
    }

    /// Whether it is well, and speaks no version of HTTP that was offered (RFC 7301 section 3.2).
    pub(crate) fn is_of_version(&self) -> bool {
        let Self::Tls(error) = self else { return false };
        let tls = error.get_ref().and_then(|error| error.downcast_ref::<rustls::Error>());
        matches!(tls, Some(rustls::Error::AlertReceived(AlertDescription::NoApplicationProtocol)))
    }
}

/// What is spoken on a connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Agreed {
    Http1,
    Http2,
}

/// Our end of a connection.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct OwnEnd {
    /// The address that it comes from, which need not be of this machine.
    pub(crate) source: Option<IpAddr>,
    /// What the kernel keeps for it.
    pub(crate) buffers: Buffers,
}

/// Opens a connection, with these bytes before anything else is said, TLS included. Says what was agreed
/// on with ALPN, if anything was.
pub(crate) async fn dial_as(
    from: OwnEnd,
    first: &[u8],
    target: &Target,
    tls: Option<(&Arc<ClientConfig>, &ServerName<'static>)>,
    patience: Duration,
) -> Result<(Wire, Option<Agreed>), DialError> {
    timeout(patience, connect(from, first, target, tls)).await.unwrap_or(Err(DialError::Late))
}

async fn connect_from(from: OwnEnd, target: SocketAddr) -> io::Result<TcpStream> {
    let source = from.source.filter(|source| source.is_ipv4() == target.is_ipv4());
    let socket = if target.is_ipv4() { TcpSocket::new_v4() } else { TcpSocket::new_v6() }?;
    from.buffers.set(&socket)?;
    if let Some(source) = source {
        outwork_net::transparent::allow(&socket, target.is_ipv4()).map_err(|error| error.source)?;
        outwork_net::transparent::port_with_connection(&socket).map_err(|error| error.source)?;
        socket.bind((source, 0).into())?;
    }
    socket.connect(target).await
}

async fn connect(
    from: OwnEnd,
    first: &[u8],
    target: &Target,
    tls: Option<(&Arc<ClientConfig>, &ServerName<'static>)>,
) -> Result<(Wire, Option<Agreed>), DialError> {
    let mut tcp = match target {
        Target::Unix(path) => {
            let mut unix = UnixStream::connect(path).await.map_err(DialError::Connect)?;
            unix.write_all(first).await.map_err(DialError::Connect)?;
            return Ok((Wire::Unix(unix), None));
        }
        Target::Address(address) => connect_from(from, *address).await.map_err(DialError::Connect)?,
    };
    // Where it is refused, small answers wait for each other, and nothing is lost.
    let _ = tcp.set_nodelay(true);
    tcp.write_all(first).await.map_err(DialError::Connect)?;
    let Some((config, name)) = tls else { return Ok((Wire::Tcp(tcp), None)) };
    let connector = TlsConnector::from(Arc::clone(config));
    let tls = connector.connect(name.clone(), tcp).await.map_err(DialError::Tls)?;
    let agreed = match tls.get_ref().1.alpn_protocol() {
        Some(b"h2") => Agreed::Http2,
        _ => Agreed::Http1,
    };
    Ok((Wire::Tls(Box::new(tls)), Some(agreed)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_speaks_no_version_that_was_offered_is_told_from_who_fails() {
        let tls =
            |alert| DialError::Tls(io::Error::new(io::ErrorKind::InvalidData, rustls::Error::AlertReceived(alert)));
        assert!(tls(AlertDescription::NoApplicationProtocol).is_of_version());
        assert!(!tls(AlertDescription::HandshakeFailure).is_of_version());
        assert!(!DialError::Tls(io::ErrorKind::UnexpectedEof.into()).is_of_version());
        assert!(!DialError::Connect(io::ErrorKind::ConnectionRefused.into()).is_of_version());
    }
}
