//! Bytes to and from the headers that an edge meets on the wire. Pure: no clock, no socket, no allocation but the caller's `Vec`.
//!
//! - [`octets`]: octets at a place, or none.
//! - [`checksum`]: the internet checksum, summed four bytes at a time, and amended.
//! - [`ethernet`]: [`MacAddr`], Ethernet II headers and the 802.1Q tag.
//! - [`arp`]: ARP for IPv4 over Ethernet.
//! - [`ipv4`]: IPv4 headers, options carried as bytes, fragments told apart.
//! - [`quic`]: connection ids of QUIC.
//! - [`udp`]: UDP datagrams under IPv4.
//! - [`icmp`]: ICMP echo.
//! - [`frame`]: whole frames written into a caller's buffer.
//! - [`hello`]: what a client of TLS asks for.
//! - [`proxy`]: the PROXY protocol, in front of what a proxy passes on.
//!
//! Parsers borrow from the input and refuse what is cut short; none of them panics, whatever the input.
//! Absent on purpose: reassembly of fragments (a DHCP server wants none), TCP, and IPv6.
#![deny(clippy::disallowed_methods)]

pub mod arp;
pub mod checksum;
pub mod ethernet;
pub mod frame;
pub mod hello;
pub mod icmp;
pub mod ipv4;
pub mod octets;
pub mod proxy;
pub mod quic;
pub mod udp;

pub use ethernet::MacAddr;

/// The protocol layer that a [`WireError`] speaks of.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Layer {
    /// Ethernet II.
    Ethernet,
    /// ARP.
    Arp,
    /// IPv4.
    Ipv4,
    /// UDP.
    Udp,
    /// ICMP.
    Icmp,
}

impl std::fmt::Display for Layer {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Layer::Ethernet => "Ethernet",
            Layer::Arp => "ARP",
            Layer::Ipv4 => "IPv4",
            Layer::Udp => "UDP",
            Layer::Icmp => "ICMP",
        })
    }
}

/// Why bytes are not the header they were taken for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum WireError {
    /// The bytes end before the header, or before the length that the header states.
    #[error("the {0} packet is cut short")]
    Truncated(Layer),
    /// A field holds a value that the protocol does not allow: version, header length, hardware type.
    #[error("the {0} header is malformed")]
    Malformed(Layer),
    /// The checksum does not match.
    #[error("the {0} checksum does not match")]
    Checksum(Layer),
    /// A well formed packet of a kind that this parser is not for: another ethertype, protocol or ICMP type.
    #[error("not the {0} packet looked for")]
    Unexpected(Layer),
    /// A piece of a larger datagram (RFC 791 section 3.2); nothing here reassembles.
    #[error("the IPv4 packet is a fragment")]
    Fragment,
    /// A payload longer than the 16-bit length fields can state.
    #[error("the {0} payload is too long")]
    TooLong(Layer),
}

impl WireError {
    /// A short stable word for a metric label.
    pub fn reason(self) -> &'static str {
        match self {
            WireError::Truncated(_) => "truncated",
            WireError::Malformed(_) => "malformed",
            WireError::Checksum(_) => "checksum",
            WireError::Unexpected(_) => "unexpected",
            WireError::Fragment => "fragment",
            WireError::TooLong(_) => "too_long",
        }
    }
}

/// The `N` bytes at `at`, or `Truncated`.
fn bytes<const N: usize>(buffer: &[u8], at: usize, layer: Layer) -> Result<[u8; N], WireError> {
    octets::read(buffer, at).ok_or(WireError::Truncated(layer))
}

/// The big-endian `u16` at `at`, or `Truncated`.
fn be16(buffer: &[u8], at: usize, layer: Layer) -> Result<u16, WireError> {
    bytes(buffer, at, layer).map(u16::from_be_bytes)
}
