//! Leases: the record, the table that holds a million of them, and their form on disk.
#![deny(clippy::disallowed_methods)]

mod record;
mod table;

#[cfg(test)]
mod tests;

pub use record::{Change, RecordError};
pub use table::{Slot, Table};

use std::net::Ipv4Addr;

/// Seconds since 1970 in UTC: what a lease's times are kept in, since they outlive the process.
pub type Seconds = u32;

/// A lease time that never ends (RFC 2131 section 3.3).
pub const INFINITE: u32 = u32::MAX;

/// What an address in the table is doing.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[repr(u8)]
pub enum State {
    /// Offered, not yet asked for. Kept in memory only.
    Offered = 1,
    /// Bound to its client.
    Active = 2,
    /// In use by a stranger, says a client or a probe; quarantined until `expires`.
    Declined = 3,
    /// Given back by its client, who gets it again if it returns in time.
    Released = 4,
    /// Ran out; its client gets it again if it returns in time.
    Expired = 5,
}

impl State {
    /// The state a stored value stands for.
    pub fn from_wire(value: u8) -> Option<Self> {
        Some(match value {
            1 => Self::Offered,
            2 => Self::Active,
            3 => Self::Declined,
            4 => Self::Released,
            5 => Self::Expired,
            _ => return None,
        })
    }

    /// Lower-case name, as in the API.
    pub fn name(self) -> &'static str {
        match self {
            Self::Offered => "offered",
            Self::Active => "active",
            Self::Declined => "declined",
            Self::Released => "released",
            Self::Expired => "expired",
        }
    }

    /// True if nobody else may have the address now.
    pub fn holds(self) -> bool {
        matches!(self, Self::Offered | Self::Active | Self::Declined)
    }
}

/// Things of varying length a lease remembers, packed into one allocation as tag, length, bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
pub enum Detail {
    /// Client identifier, option 61.
    ClientId = 1,
    /// Host name, option 12 or the name of option 81.
    HostName = 2,
    /// Relay agent information, option 82, whole (kept for leasequery: RFC 4388 section 6.4.2).
    Relay = 3,
    /// Vendor class, option 60.
    VendorClass = 4,
    /// The relay agent's address, four bytes.
    Giaddr = 5,
    /// Client identifier of a client that the configuration identifies by hardware address alone: shown, not compared.
    ShownId = 6,
    /// Where the manufacturer says how the device uses the network, option 161 (RFC 8520 section 10).
    MudUrl = 7,
}

/// Packed [`Detail`]s. Each is at most 255 bytes: longer ones are cut, client identifiers excepted, which the decoder bounds.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Details(Box<[u8]>);

impl Details {
    /// Packs what is given, leaving out what is empty.
    pub fn pack<'v>(items: impl IntoIterator<Item = (Detail, &'v [u8])>) -> Self {
        let mut bytes = Vec::with_capacity(64);
        for (tag, value) in items {
            let value = value.get(..value.len().min(255)).unwrap_or_default();
            if !value.is_empty() {
                bytes.push(tag as u8);
                bytes.push(value.len() as u8);
                bytes.extend_from_slice(value);
            }
        }
        Self(bytes.into_boxed_slice())
    }

    /// Takes packed bytes back from disk; `None` if they don't parse.
    pub fn from_bytes(bytes: &[u8]) -> Option<Self> {
        let mut rest = bytes;
        while let [_, len, tail @ ..] = rest {
            rest = tail.get(usize::from(*len)..)?;
        }
        rest.is_empty().then(|| Self(bytes.into()))
    }

    /// The packed bytes.
    pub fn bytes(&self) -> &[u8] {
        &self.0
    }

    /// One detail.
    pub fn get(&self, wanted: Detail) -> Option<&[u8]> {
        let mut rest: &[u8] = &self.0;
        while let [tag, len, tail @ ..] = rest {
            let (value, next) = tail.split_at_checked(usize::from(*len))?;
            if *tag == wanted as u8 {
                return Some(value);
            }
            rest = next;
        }
        None
    }
}

/// One address and who has it. 60 bytes, and one allocation for its details.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Lease {
    /// The address.
    pub address: Ipv4Addr,
    /// The subnet's stable id.
    pub subnet: u32,
    /// When the client was last heard: start of the present lifetime.
    pub starts: Seconds,
    /// When it runs out; [`INFINITE`] never does.
    pub expires: Seconds,
    /// What the address is doing.
    pub state: State,
    /// Hardware type.
    pub htype: u8,
    /// Used bytes of `chaddr`.
    pub hlen: u8,
    /// The second of the calendar entry that watches over it; 0 if none does.
    pub due: Seconds,
    /// Hardware address.
    pub chaddr: [u8; 16],
    /// Identifier, names and relay information.
    pub details: Details,
}

impl Lease {
    /// The hardware address.
    pub fn hardware(&self) -> &[u8] {
        self.chaddr.get(..usize::from(self.hlen)).unwrap_or_default()
    }

    /// The client identifier, if the client gave one.
    pub fn client_id(&self) -> Option<&[u8]> {
        self.details.get(Detail::ClientId)
    }

    /// The client identifier, whether it identifies the client or is only shown.
    pub fn any_client_id(&self) -> Option<&[u8]> {
        self.client_id().or_else(|| self.details.get(Detail::ShownId))
    }

    /// The host name, as far as it is text.
    pub fn host_name(&self) -> Option<std::borrow::Cow<'_, str>> {
        self.details.get(Detail::HostName).map(String::from_utf8_lossy)
    }

    /// Where the client says that a description of what it does is (RFC 8520).
    pub fn mud_url(&self) -> Option<&str> {
        self.details.get(Detail::MudUrl).and_then(|url| std::str::from_utf8(url).ok())
    }

    /// Who holds the lease.
    pub fn client(&self) -> Client<'_> {
        match self.client_id() {
            Some(id) => Client::Id(id),
            None => Client::Hardware(self.htype, self.hardware()),
        }
    }
}

/// Who a client is: its identifier, else its hardware address (RFC 2131 section 4.2).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Client<'a> {
    /// Option 61.
    Id(&'a [u8]),
    /// `htype` and `chaddr`.
    Hardware(u8, &'a [u8]),
}
