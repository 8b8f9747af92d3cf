//! Bytes to messages and messages to bytes (RFC 2131 section 2, RFC 3396, option overload of RFC 2132 section 9.3).
#![deny(clippy::disallowed_methods)]

mod decode;
mod encode;
mod relay;

#[cfg(test)]
mod tests;

pub use decode::{Malformed, Message};
pub use encode::Reply;
pub use relay::RelayInfo;

/// Fixed header in front of the options: BOOTP fields and the magic cookie.
pub const HEADER: usize = 240;
/// The magic cookie that marks the options field (RFC 2131 section 3).
pub const COOKIE: [u8; 4] = [99, 130, 83, 99];
/// BOOTP's smallest message; some relay agents and clients discard anything shorter (RFC 1542 section 2.1).
pub const MINIMUM: usize = 300;

/// Option codes the server itself reads or writes; every other option is data.
#[allow(missing_docs)]
pub mod code {
    pub const PAD: u8 = 0;
    pub const SUBNET_MASK: u8 = 1;
    pub const HOST_NAME: u8 = 12;
    pub const REQUESTED_ADDRESS: u8 = 50;
    pub const LEASE_TIME: u8 = 51;
    pub const OVERLOAD: u8 = 52;
    pub const MESSAGE_TYPE: u8 = 53;
    pub const SERVER_ID: u8 = 54;
    pub const PARAMETER_REQUEST: u8 = 55;
    pub const MESSAGE: u8 = 56;
    pub const MAX_MESSAGE_SIZE: u8 = 57;
    pub const RENEWAL_TIME: u8 = 58;
    pub const REBINDING_TIME: u8 = 59;
    pub const VENDOR_CLASS: u8 = 60;
    pub const CLIENT_ID: u8 = 61;
    pub const BOOT_FILE: u8 = 67;
    pub const RAPID_COMMIT: u8 = 80;
    pub const CLIENT_FQDN: u8 = 81;
    pub const RELAY_AGENT: u8 = 82;
    pub const LAST_TRANSACTION: u8 = 91;
    pub const ASSOCIATED_IP: u8 = 92;
    pub const MACHINE_ID: u8 = 97;
    pub const SUBNET_SELECTION: u8 = 118;
    pub const MUD_URL: u8 = 161;
    pub const END: u8 = 255;
}

/// DHCP message type, option 53 (RFC 2132 section 9.6; leasequery: RFC 4388 section 6.1).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[allow(missing_docs)]
#[repr(u8)]
pub enum Kind {
    Discover = 1,
    Offer = 2,
    Request = 3,
    Decline = 4,
    Ack = 5,
    Nak = 6,
    Release = 7,
    Inform = 8,
    LeaseQuery = 10,
    LeaseUnassigned = 11,
    LeaseUnknown = 12,
    LeaseActive = 13,
}

impl Kind {
    /// The message type a wire value stands for; `None` for a value this server does not speak.
    pub fn from_wire(value: u8) -> Option<Self> {
        Some(match value {
            1 => Self::Discover,
            2 => Self::Offer,
            3 => Self::Request,
            4 => Self::Decline,
            5 => Self::Ack,
            6 => Self::Nak,
            7 => Self::Release,
            8 => Self::Inform,
            10 => Self::LeaseQuery,
            11 => Self::LeaseUnassigned,
            12 => Self::LeaseUnknown,
            13 => Self::LeaseActive,
            _ => return None,
        })
    }

    /// Name in lower case, for metrics, events and logs.
    pub fn name(self) -> &'static str {
        match self {
            Self::Discover => "discover",
            Self::Offer => "offer",
            Self::Request => "request",
            Self::Decline => "decline",
            Self::Ack => "ack",
            Self::Nak => "nak",
            Self::Release => "release",
            Self::Inform => "inform",
            Self::LeaseQuery => "leasequery",
            Self::LeaseUnassigned => "leaseunassigned",
            Self::LeaseUnknown => "leaseunknown",
            Self::LeaseActive => "leaseactive",
        }
    }
}
