//! IPv4 prefixes: `192.0.2.0/24`.

use std::fmt;
use std::net::Ipv4Addr;
use std::str::FromStr;

use serde::{Serialize, Serializer};

/// An IPv4 network in CIDR notation. Bits past the prefix are zero.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Ipv4Net {
    first: Ipv4Addr,
    length: u8,
}

/// What is wrong with a text that should be an IPv4 prefix.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum PrefixError {
    /// There is no slash.
    #[error("it has no /length")]
    NoLength,
    /// What stands before the slash is no IPv4 address.
    #[error("what stands before the slash is no IPv4 address")]
    Address,
    /// The length is no number from 0 to 32.
    #[error("the length is no number from 0 to 32")]
    Length,
    /// Bits past the prefix are set.
    #[error("bits past the prefix are set; the network is {0}")]
    HostBits(Ipv4Net),
}

impl PrefixError {
    /// What to write instead, where that is known.
    fn advice(&self) -> Option<String> {
        match self {
            PrefixError::HostBits(network) => Some(format!("write \"{network}\"")),
            PrefixError::NoLength | PrefixError::Address | PrefixError::Length => None,
        }
    }
}

impl Ipv4Net {
    /// The network of this length (at most 32) that an address is in.
    pub const fn containing(address: Ipv4Addr, length: u8) -> Self {
        let length = if length > 32 { 32 } else { length };
        Self { first: Ipv4Addr::from_bits(address.to_bits() & mask_bits(length)), length }
    }

    /// The length of the prefix in bits.
    pub const fn length(self) -> u8 {
        self.length
    }

    /// The subnet mask.
    pub const fn mask(self) -> Ipv4Addr {
        Ipv4Addr::from_bits(mask_bits(self.length))
    }

    /// The lowest address: the network's own, unless the prefix is 31 or 32 bits long.
    pub const fn first(self) -> Ipv4Addr {
        self.first
    }

    /// The highest address.
    pub const fn last(self) -> Ipv4Addr {
        Ipv4Addr::from_bits(self.first.to_bits() | !mask_bits(self.length))
    }

    /// The directed broadcast address; none where the prefix is 31 (RFC 3021) or 32 bits long.
    pub const fn broadcast(self) -> Option<Ipv4Addr> {
        if self.length >= 31 { None } else { Some(self.last()) }
    }

    /// The first and the last address that a host can have: neither the network's own nor broadcast.
    pub const fn hosts(self) -> (Ipv4Addr, Ipv4Addr) {
        match self.broadcast() {
            None => (self.first, self.last()),
            Some(last) => (Ipv4Addr::from_bits(self.first.to_bits() + 1), Ipv4Addr::from_bits(last.to_bits() - 1)),
        }
    }

    /// Whether an address is in it.
    pub const fn contains(self, address: Ipv4Addr) -> bool {
        address.to_bits() & mask_bits(self.length) == self.first.to_bits()
    }

    /// Whether some address is in both.
    pub const fn overlaps(self, other: Ipv4Net) -> bool {
        self.contains(other.first) || other.contains(self.first)
    }
}

const fn mask_bits(length: u8) -> u32 {
    match length {
        0 => 0,
        length => u32::MAX << (32 - length as u32),
    }
}

impl FromStr for Ipv4Net {
    type Err = PrefixError;

    fn from_str(text: &str) -> Result<Self, PrefixError> {
        let (address, length) = text.trim().split_once('/').ok_or(PrefixError::NoLength)?;
        let address: Ipv4Addr = address.parse().map_err(|_| PrefixError::Address)?;
        let digits = !length.is_empty() && length.bytes().all(|b| b.is_ascii_digit());
        let length: u8 = length.parse().ok().filter(|length| *length <= 32 && digits).ok_or(PrefixError::Length)?;
        let net = Self::containing(address, length);
        if net.first == address { Ok(net) } else { Err(PrefixError::HostBits(net)) }
    }
}

impl fmt::Display for Ipv4Net {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(&format!("{}/{}", self.first, self.length))
    }
}

impl Serialize for Ipv4Net {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

crate::text_setting!(Ipv4Net, "an IPv4 prefix such as", "192.0.2.0/24", advice PrefixError::advice);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_prefix_knows_its_ends() {
        let net: Ipv4Net = "192.0.2.128/25".parse().unwrap();
        assert_eq!((net.first(), net.last()), ([192, 0, 2, 128].into(), [192, 0, 2, 255].into()));
        assert_eq!(net.hosts(), ([192, 0, 2, 129].into(), [192, 0, 2, 254].into()));
        assert_eq!(net.broadcast(), Some([192, 0, 2, 255].into()));
        assert_eq!(net.mask(), Ipv4Addr::new(255, 255, 255, 128));
        assert!(net.contains([192, 0, 2, 200].into()) && !net.contains([192, 0, 2, 127].into()));
    }

    #[test]
    fn the_shortest_and_the_longest_prefixes_hold() {
        let all: Ipv4Net = "0.0.0.0/0".parse().unwrap();
        assert_eq!((all.first(), all.last()), (Ipv4Addr::UNSPECIFIED, Ipv4Addr::BROADCAST));
        let one: Ipv4Net = "192.0.2.7/32".parse().unwrap();
        assert_eq!((one.hosts(), one.broadcast()), ((one.first(), one.first()), None));
        let pair: Ipv4Net = "192.0.2.6/31".parse().unwrap();
        assert_eq!((pair.hosts(), pair.broadcast()), ((pair.first(), pair.last()), None));
        assert!(all.overlaps(one) && one.overlaps(all) && one.overlaps(pair));
    }

    #[test]
    fn a_prefix_with_host_bits_is_refused_and_the_network_named() {
        let network = Ipv4Net::containing([192, 0, 2, 0].into(), 24);
        assert_eq!("192.0.2.1/24".parse::<Ipv4Net>(), Err(PrefixError::HostBits(network)));
        for wrong in ["192.0.2.0", "192.0.2.0/33", "192.0.2.0/", "192.0.2.0/+8", "192.0.2/24", "::/0", "/8"] {
            assert!(wrong.parse::<Ipv4Net>().is_err(), "{wrong}");
        }
    }
}
