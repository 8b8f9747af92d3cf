//! Socket addresses of IPv4 and IPv6 as the kernel lays them out (`sockaddr_in`, `sockaddr_in6`).

use std::net::{SocketAddr, SocketAddrV6};

/// Octets of the longest socket address used here (`sockaddr_in6`).
pub(crate) const LENGTH: usize = 28;

/// A socket address, or none.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Address {
    octets: [u8; LENGTH],
    length: u8,
}

impl Address {
    /// For a message of a socket that knows where it goes.
    pub(crate) const NONE: Address = Address { octets: [0; LENGTH], length: 0 };

    /// As the kernel takes it; empty for none.
    pub(crate) fn octets(&self) -> &[u8] {
        self.octets.get(..usize::from(self.length)).unwrap_or_default()
    }
}

impl From<SocketAddr> for Address {
    fn from(address: SocketAddr) -> Address {
        let mut octets = [0; LENGTH];
        let mut put =
            |at: usize, field: &[u8]| octets.iter_mut().skip(at).zip(field).for_each(|(to, from)| *to = *from);
        let (family, length) = match address {
            SocketAddr::V4(_) => (libc::AF_INET, 16),
            SocketAddr::V6(_) => (libc::AF_INET6, LENGTH as u8),
        };
        put(0, &(family as u16).to_ne_bytes());
        put(2, &address.port().to_be_bytes());
        match address {
            SocketAddr::V4(address) => put(4, &address.ip().octets()),
            SocketAddr::V6(address) => {
                put(8, &address.ip().octets());
                put(24, &address.scope_id().to_ne_bytes());
            }
        }
        Address { octets, length }
    }
}

/// Reads a socket address; `None` where it is of another family, or none.
pub(crate) fn parse(octets: &[u8]) -> Option<SocketAddr> {
    let port = u16::from_be_bytes(*octets.get(2..)?.first_chunk()?);
    match i32::from(u16::from_ne_bytes(*octets.first_chunk()?)) {
        libc::AF_INET => Some((*octets.get(4..)?.first_chunk::<4>()?, port).into()),
        libc::AF_INET6 => {
            let ip = octets.get(8..)?.first_chunk::<16>()?;
            let scope = u32::from_ne_bytes(*octets.get(24..)?.first_chunk()?);
            Some(SocketAddrV6::new((*ip).into(), port, 0, scope).into())
        }
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_is_read_as_it_was_written_and_a_cut_one_is_none() {
        let link_local = SocketAddrV6::new("fe80::1".parse().unwrap(), 51820, 0, 7).into();
        for address in ["192.0.2.1:51820".parse().unwrap(), "[2001:db8::1]:1".parse().unwrap(), link_local] {
            let written = Address::from(address);
            assert_eq!(parse(written.octets()), Some(address));
            let needed = if address.is_ipv4() { 8 } else { 28 };
            (0..needed).for_each(|cut| assert_eq!(parse(&written.octets()[..cut]), None));
        }
        assert!(Address::NONE.octets().is_empty());
        assert_eq!(parse(&[0; LENGTH]), None);
    }
}
