//! The PROXY protocol, versions 1 and 2 (haproxy's `proxy-protocol.txt`, 2020): what a proxy writes in front of a connection or a datagram that it passes
//! on, so that whoever gets it knows whose it is.
//!
//! - `v1`: a line of text. `v2`: octets, with a checksum and what else is known of the client.
//!
//! Absent on purpose: certificates and names out of the TLS that a proxy has ended; that there was one is told.

mod v1;
mod v2;

use std::net::{IpAddr, SocketAddr};

pub use v1::write as write_v1;
pub use v2::write as write_v2;

/// The longest header that is read: 16 KiB hold a certificate of the client beside everything else.
pub const LONGEST: usize = 16 << 10;

/// A header.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Header<'a> {
    /// Whose connection it is.
    pub ends: Ends<'a>,
    /// What else is told of it.
    pub extras: Extras<'a>,
}

/// The ends of a connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Ends<'a> {
    /// The proxy speaks for itself, as when it looks whether we are there: the ends are those of its own connection.
    Own,
    /// The proxy does not know them, or has no way to write them.
    Unknown,
    /// Addresses and ports; both are of one family.
    Internet {
        /// What they are ports of.
        transport: Transport,
        /// The client's end.
        source: SocketAddr,
        /// The end that the client has connected to.
        destination: SocketAddr,
    },
    /// Unix sockets. Paths end before their first zero; abstract ones begin with one, and have all 108 octets.
    Unix {
        /// What kind of sockets they are.
        transport: Transport,
        /// The client's end.
        source: &'a [u8],
        /// The end that the client has connected to.
        destination: &'a [u8],
    },
}

/// What carries the bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Transport {
    /// TCP, or a Unix stream.
    Stream,
    /// UDP, or Unix datagrams.
    Datagram,
}

/// What version 2 may tell beside the ends.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Extras<'a> {
    /// The protocol that was agreed on by ALPN.
    pub alpn: Option<&'a [u8]>,
    /// The name that the client has asked for.
    pub authority: Option<&'a [u8]>,
    /// What the proxy calls the connection: 128 octets at most.
    pub unique_id: Option<&'a [u8]>,
    /// Whether the client has come by TLS, where that is told.
    pub tls: Option<bool>,
    /// Whether there is a checksum. One that is read has been verified.
    pub checksum: bool,
}

/// Why bytes are not the header that they were taken for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum ProxyError {
    /// They begin with something else.
    #[error("there is no PROXY header")]
    Absent,
    /// It is not what the protocol describes.
    #[error("the PROXY header is malformed: {0}")]
    Malformed(&'static str),
    /// It has changed on its way.
    #[error("the checksum of the PROXY header does not match")]
    Checksum,
    /// It is longer than [`LONGEST`], or than it can say.
    #[error("the PROXY header is too long")]
    TooLong,
}

impl<'a> Header<'a> {
    /// Reads the header that bytes begin with, and how many of them it has. `None` where they end before it does.
    ///
    /// # Errors
    /// As soon as it is clear that more bytes would not make one of them.
    pub fn read(bytes: &'a [u8]) -> Result<Option<(Self, usize)>, ProxyError> {
        match bytes.first() {
            None => Ok(None),
            Some(first) if v1::SIGNATURE.first() == Some(first) => v1::read(bytes),
            Some(_) => v2::read(bytes),
        }
    }
}

/// Whether bytes, of which there may be more to come, begin with a signature; `None` where they end within it.
fn begins(bytes: &[u8], signature: &[u8]) -> Result<Option<()>, ProxyError> {
    if bytes.starts_with(signature) {
        return Ok(Some(()));
    }
    if signature.starts_with(bytes) { Ok(None) } else { Err(ProxyError::Absent) }
}

/// Two ends of one family: where one is of IPv4 alone, as IPv6 has it.
fn of_one_family(source: SocketAddr, destination: SocketAddr) -> (SocketAddr, SocketAddr) {
    let mapped = |end: SocketAddr| match end.ip() {
        IpAddr::V4(address) => SocketAddr::new(address.to_ipv6_mapped().into(), end.port()),
        IpAddr::V6(_) => end,
    };
    match source.is_ipv4() == destination.is_ipv4() {
        true => (source, destination),
        false => (mapped(source), mapped(destination)),
    }
}

#[cfg(test)]
mod tests;
