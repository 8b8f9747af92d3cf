//! Networks, and sets of them in which a longer one says no more than a shorter one.

use std::collections::{BTreeMap, HashSet};
use std::net::IpAddr;
use std::str::FromStr;

use crate::layout::Address;

/// A network: all addresses that begin with the same bits.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Prefix {
    address: IpAddr,
    length: u8,
}

impl Prefix {
    /// The network of `address` that so many bits say. `None` where an address has not so many.
    pub fn new(address: IpAddr, length: u8) -> Option<Prefix> {
        // Packets of IPv4 are looked up as such.
        if let IpAddr::V6(v6) = address
            && let Some(v4) = v6.to_ipv4_mapped()
            && (96..=128).contains(&length)
        {
            return Prefix::new(IpAddr::V4(v4), length - 96);
        }
        let bits = bits_of(address);
        (length <= bits).then(|| {
            let address = match address {
                IpAddr::V4(v4) => IpAddr::V4((v4.to_bits() & mask(length, 32) as u32).into()),
                IpAddr::V6(v6) => IpAddr::V6((v6.to_bits() & mask(length, 128)).into()),
            };
            Prefix { address, length }
        })
    }

    /// Its first address.
    pub fn address(&self) -> IpAddr {
        self.address
    }

    /// Bits that are the same.
    pub fn length(&self) -> u8 {
        self.length
    }

    /// The same of mapped addresses.
    fn mapped(&self) -> (u8, u128) {
        let bits = u128::from_be_bytes(Address::from(self.address).0);
        (128 - bits_of(self.address) + self.length, bits)
    }
}

fn bits_of(address: IpAddr) -> u8 {
    if address.is_ipv4() { 32 } else { 128 }
}

fn mask(length: u8, bits: u8) -> u128 {
    let host = u32::from(bits - length);
    u128::MAX.checked_shl(host).unwrap_or(0)
}

/// A text that is not a network.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error(
    "`{0}` is not a network: expected an address, or one with the number of bits that count, such as `192.0.2.0/24` or `2001:db8::/32`"
)]
pub struct NotAPrefix(pub String);

impl FromStr for Prefix {
    type Err = NotAPrefix;

    fn from_str(text: &str) -> Result<Prefix, NotAPrefix> {
        let wrong = || NotAPrefix(text.to_owned());
        let (address, length) = match text.split_once('/') {
            Some((address, length)) => (address, Some(length.parse().map_err(|_| wrong())?)),
            None => (text, None),
        };
        let address: IpAddr = address.parse().map_err(|_| wrong())?;
        Prefix::new(address, length.unwrap_or(bits_of(address))).ok_or_else(wrong)
    }
}

impl std::fmt::Display for Prefix {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}/{}", self.address, self.length)
    }
}

/// A set of networks. A lookup costs as much as it has different lengths.
#[derive(Debug, Clone, Default)]
pub struct PrefixSet {
    by_length: BTreeMap<u8, HashSet<u128>>,
}

impl PrefixSet {
    /// Adds a network.
    pub fn insert(&mut self, prefix: Prefix) {
        let (length, bits) = prefix.mapped();
        self.by_length.entry(length).or_default().insert(bits);
    }

    /// Takes a network out.
    pub fn remove(&mut self, prefix: &Prefix) {
        let (length, bits) = prefix.mapped();
        if let Some(networks) = self.by_length.get_mut(&length) {
            networks.remove(&bits);
            if networks.is_empty() {
                self.by_length.remove(&length);
            }
        }
    }

    /// Whether the address is in one of the networks.
    pub fn covers(&self, address: Address) -> bool {
        let bits = u128::from_be_bytes(address.0);
        // Networks of IPv4 addresses are those of at least 96 bits, of which nobody on IPv6 has the first.
        let own = |length: u8| !address.is_v4() || length >= 96;
        self.by_length.iter().any(|(length, networks)| own(*length) && networks.contains(&(bits & mask(*length, 128))))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn address(text: &str) -> Address {
        Address::from(text.parse::<IpAddr>().unwrap())
    }

    #[test]
    fn a_set_covers_what_its_networks_cover() {
        let mut set = PrefixSet::default();
        for text in ["10.0.0.0/8", "192.0.2.7", "2001:db8::/32", "::/1"] {
            set.insert(text.parse().unwrap());
        }
        for inside in ["10.255.0.1", "192.0.2.7", "2001:db8:ffff::1", "7fff::"] {
            assert!(set.covers(address(inside)), "{inside}");
        }
        for outside in ["11.0.0.1", "192.0.2.6", "8000::"] {
            assert!(!set.covers(address(outside)), "{outside}");
        }
        set.remove(&"10.0.0.0/8".parse().unwrap());
        assert!(!set.covers(address("10.255.0.1")));
    }

    #[test]
    fn the_bits_that_do_not_count_make_no_difference() {
        assert_eq!("10.1.2.3/8".parse::<Prefix>(), "10.0.0.0/8".parse());
        assert_eq!("10.1.2.3/0".parse::<Prefix>().unwrap().to_string(), "0.0.0.0/0");
        assert_eq!("::ffff:10.1.2.3/104".parse::<Prefix>(), "10.0.0.0/8".parse());
        assert_eq!("2001:db8::1/127".parse::<Prefix>().unwrap().to_string(), "2001:db8::/127");
    }

    #[test]
    fn what_is_not_a_network_is_refused_by_its_text() {
        for text in ["", "10.0.0.0/33", "10.0.0/8", "2001:db8::/129", "10.0.0.0/", "10.0.0.0/-1", "10.0.0.0/8/8"] {
            assert_eq!(text.parse::<Prefix>(), Err(NotAPrefix(text.to_owned())), "{text}");
        }
    }
}
