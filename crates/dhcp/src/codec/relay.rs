//! Relay agent information, option 82 (RFC 3046) and the sub-options the server acts on.

use std::net::Ipv4Addr;

/// Sub-options of option 82.
#[derive(Debug, Clone, Copy)]
pub struct RelayInfo<'a>(&'a [u8]);

impl<'a> RelayInfo<'a> {
    /// Agent circuit id (RFC 3046 section 3.1).
    pub const CIRCUIT_ID: u8 = 1;
    /// Agent remote id (RFC 3046 section 3.2).
    pub const REMOTE_ID: u8 = 2;
    /// Link selection (RFC 3527).
    pub const LINK_SELECTION: u8 = 5;
    /// Server identifier override (RFC 5107).
    pub const SERVER_ID_OVERRIDE: u8 = 11;
    /// Relay source port (RFC 8357).
    pub const SOURCE_PORT: u8 = 19;

    /// Wraps the bytes of option 82.
    pub fn new(bytes: &'a [u8]) -> Self {
        Self(bytes)
    }

    /// The option as it came, to be echoed.
    pub fn bytes(self) -> &'a [u8] {
        self.0
    }

    /// True if every sub-option ends within the option.
    pub fn well_formed(self) -> bool {
        let mut rest = self.0;
        while let [_, len, tail @ ..] = rest {
            match tail.get(usize::from(*len)..) {
                Some(next) => rest = next,
                None => return false,
            }
        }
        rest.is_empty()
    }

    /// Bytes of one sub-option.
    pub fn get(self, wanted: u8) -> Option<&'a [u8]> {
        let mut rest = self.0;
        while let [code, len, tail @ ..] = rest {
            let (value, next) = tail.split_at_checked(usize::from(*len))?;
            if *code == wanted {
                return Some(value);
            }
            rest = next;
        }
        None
    }

    /// A sub-option of four bytes as an address.
    pub fn address(self, wanted: u8) -> Option<Ipv4Addr> {
        self.get(wanted).and_then(|v| <[u8; 4]>::try_from(v).ok()).map(Ipv4Addr::from)
    }
}
