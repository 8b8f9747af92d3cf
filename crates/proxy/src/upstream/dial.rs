//! How a connection to a backend is opened.

use std::io;
use std::sync::Arc;
use std::time::Duration;

use rustls::ClientConfig;
use rustls::pki_types::ServerName;
use tokio::net::{TcpStream, UnixStream};
use tokio::time::timeout;
use tokio_rustls::TlsConnector;

use super::wire::Wire;
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
}

/// What is spoken on a connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Agreed {
    Http1,
    Http2,
}

/// Opens a connection, and says what was agreed on with ALPN, if anything was.
pub(crate) async fn dial(
    target: &Target,
    tls: Option<(&Arc<ClientConfig>, &ServerName<'static>)>,
    patience: Duration,
) -> Result<(Wire, Option<Agreed>), DialError> {
    timeout(patience, connect(target, tls)).await.unwrap_or(Err(DialError::Late))
}

async fn connect(
    target: &Target,
    tls: Option<(&Arc<ClientConfig>, &ServerName<'static>)>,
) -> Result<(Wire, Option<Agreed>), DialError> {
    let tcp = match target {
        Target::Unix(path) => {
            let unix = UnixStream::connect(path).await.map_err(DialError::Connect)?;
            return Ok((Wire::Unix(unix), None));
        }
        Target::Address(address) => TcpStream::connect(address).await.map_err(DialError::Connect)?,
    };
    // Where it is refused, small answers wait for each other, and nothing is lost.
    let _ = tcp.set_nodelay(true);
    let Some((config, name)) = tls else { return Ok((Wire::Tcp(tcp), None)) };
    let connector = TlsConnector::from(Arc::clone(config));
    let tls = connector.connect(name.clone(), tcp).await.map_err(DialError::Tls)?;
    let agreed = match tls.get_ref().1.alpn_protocol() {
        Some(b"h2") => Agreed::Http2,
        _ => Agreed::Http1,
    };
    Ok((Wire::Tls(Box::new(tls)), Some(agreed)))
}
