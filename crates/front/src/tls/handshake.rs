//! From a connection to an encrypted one, and what was agreed on.

use std::io;
use std::net::IpAddr;
use std::time::Duration;

use rustls::server::Acceptor;
use rustls::{CipherSuite, HandshakeKind, ProtocolVersion, ServerConnection};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio_rustls::LazyConfigAcceptor;
use tokio_rustls::server::TlsStream;

use super::{Answer, ClientCertificate, Tls};

/// What was agreed on with a client.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Session {
    /// `TLSv1.3` or `TLSv1.2`.
    pub version: &'static str,
    /// The cipher suite by its name in the registry of IANA; empty over QUIC, which does not tell.
    pub cipher: &'static str,
    /// The name that the client asked for.
    pub server_name: Option<String>,
    /// Whether an earlier session goes on; QUIC does not tell.
    pub resumed: bool,
    /// The client, where it has shown a certificate that was verified.
    pub client: Option<ClientCertificate>,
}

impl Session {
    /// What a finished handshake has agreed on.
    pub(crate) fn of(connection: &ServerConnection) -> Self {
        let client = connection.peer_certificates().and_then(|chain| chain.first());
        Self {
            version: match connection.protocol_version() {
                Some(ProtocolVersion::TLSv1_3) => "TLSv1.3",
                _ => "TLSv1.2",
            },
            cipher: connection.negotiated_cipher_suite().map_or("", |suite| cipher_name(suite.suite())),
            server_name: connection.server_name().map(str::to_owned),
            resumed: connection.handshake_kind() == Some(HandshakeKind::Resumed),
            client: client.and_then(|certificate| ClientCertificate::read(certificate)),
        }
    }
}

fn cipher_name(suite: CipherSuite) -> &'static str {
    match suite {
        CipherSuite::TLS13_AES_128_GCM_SHA256 => "TLS_AES_128_GCM_SHA256",
        CipherSuite::TLS13_AES_256_GCM_SHA384 => "TLS_AES_256_GCM_SHA384",
        CipherSuite::TLS13_CHACHA20_POLY1305_SHA256 => "TLS_CHACHA20_POLY1305_SHA256",
        other => other.as_str().unwrap_or("unknown"),
    }
}

/// How a handshake ended.
pub enum Accepted<S> {
    /// There is an encrypted connection.
    Stream(Box<TlsStream<S>>),
    /// An ACME server has seen what it wanted to see.
    Challenged,
}

/// Does the handshake of a new connection that has come to this address.
///
/// # Errors
/// What is wrong with the handshake, or with the connection.
pub async fn accept<S: AsyncRead + AsyncWrite + Unpin>(
    tls: &Tls,
    stream: S,
    address: IpAddr,
) -> io::Result<Accepted<S>> {
    let start = LazyConfigAcceptor::new(Acceptor::default(), stream).await?;
    match tls.answer(&start.client_hello(), address) {
        Answer::Serve(config) => match start.into_stream(config).into_fallible().await {
            Ok(stream) => Ok(Accepted::Stream(Box::new(stream))),
            Err((error, io)) => {
                close_gently(io).await;
                Err(error)
            }
        },
        Answer::Challenge(config) => {
            // Whoever asked closes once it has the certificate (RFC 8737 section 3).
            let mut stream = start.into_stream(config).await?;
            stream.shutdown().await?;
            Ok(Accepted::Challenged)
        }
        Answer::UnrecognizedName => {
            let name = start.client_hello().server_name().unwrap_or_default().to_owned();
            refuse_name(start.io).await?;
            Err(io::Error::other(format!("no certificate for {name:?}")))
        }
    }
}

/// Tells a client in the middle of its handshake that nobody of the name that it asks for is here.
///
/// # Errors
/// Where it does not take that.
pub async fn refuse_name<S: AsyncRead + AsyncWrite + Unpin>(mut io: S) -> io::Result<()> {
    io.write_all(&UNRECOGNIZED_NAME).await?;
    close_gently(io).await;
    Ok(())
}

/// How long a client may take to read why its handshake failed.
const LINGER: Duration = Duration::from_secs(1);
/// What is read and ignored meanwhile.
const IGNORED: usize = 64 << 10;

/// Ends a connection whose last record says why. What the client has sent is read, for a reset would take that record from it.
async fn close_gently<S: AsyncRead + AsyncWrite + Unpin>(mut io: S) {
    let close = async {
        io.shutdown().await?;
        let (mut buffer, mut ignored) = ([0; 512], 0);
        while ignored < IGNORED {
            match io.read(&mut buffer).await? {
                0 => break,
                read => ignored += read,
            }
        }
        io::Result::Ok(())
    };
    // However it goes, the connection has failed already.
    let _ = tokio::time::timeout(LINGER, close).await;
}

/// A record with the fatal alert `unrecognized_name` (RFC 8446 sections 5.1 and 6; RFC 6066 section 3).
const UNRECOGNIZED_NAME: [u8; 7] = [21, 3, 3, 0, 2, 2, 112];
