//! Addresses of links.

use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use super::message::{Request, attributes, number};
use super::{Asked, Connection, Result, change, question};

/// Octets of an `ifaddrmsg`.
const STRUCTURE: usize = 8;

/// An address, and how many of its first bits name the network.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Prefix {
    /// The address.
    pub address: IpAddr,
    /// Bits of the network part, 0 to 32 or 128.
    pub length: u8,
}

impl Prefix {
    /// The prefix of an address alone.
    pub fn host(address: IpAddr) -> Prefix {
        Prefix { address, length: if address.is_ipv4() { 32 } else { 128 } }
    }
}

impl fmt::Display for Prefix {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.address, self.length)
    }
}

/// An address of a link.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Address {
    /// The index of the link.
    pub link: u32,
    /// The address, and the length of its network's prefix.
    pub prefix: Prefix,
    /// Whether it may not be used yet: the kernel still asks whether somebody else has it (RFC 4862 section 5.4), or was told so.
    pub tentative: bool,
    /// Whether the kernel has routed the network of the address by the link, in the main table.
    pub routed: bool,
}

/// Whether nobody else has an IPv6 address. Of an IPv4 address the kernel never asks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Uniqueness {
    /// The kernel asks the link first; the address is [tentative](Address::tentative) for about a second.
    Asked,
    /// It is known, as on a tunnel, where there is nobody to ask: the address is of use at once.
    Known,
}

impl Connection {
    /// The addresses of a link, or of all, the primary one of each first.
    pub fn addresses(&mut self, link: Option<u32>) -> Result<Vec<Address>> {
        let all = question(libc::RTM_GETADDR, &structure(libc::AF_UNSPEC, 0, link.unwrap_or_default()));
        self.list(&all, |body| read(body).filter(|address| link.is_none_or(|link| address.link == link)))
            .asked(|| of(link, "list the addresses"))
    }

    /// Gives a link an address. One that it has already stays.
    pub fn add_address(&mut self, link: u32, prefix: Prefix, uniqueness: Uniqueness) -> Result<()> {
        let flags = Some(libc::IFA_F_NODAD).filter(|_| uniqueness == Uniqueness::Known);
        let request = about(libc::RTM_NEWADDR, libc::NLM_F_CREATE | libc::NLM_F_REPLACE, link, prefix)
            .number(libc::IFA_FLAGS, flags);
        self.ask(request).asked(|| format!("add the address {prefix} to link {link}"))
    }

    /// The same of an address that nobody else has, without a route to its network: somebody else sets that.
    pub fn add_bare_address(&mut self, link: u32, prefix: Prefix) -> Result<()> {
        let flags = Some(libc::IFA_F_NODAD | libc::IFA_F_NOPREFIXROUTE);
        let request = about(libc::RTM_NEWADDR, libc::NLM_F_CREATE | libc::NLM_F_REPLACE, link, prefix)
            .number(libc::IFA_FLAGS, flags);
        self.ask(request).asked(|| format!("add the address {prefix} to link {link}"))
    }

    /// Takes an address from a link.
    pub fn remove_address(&mut self, link: u32, prefix: Prefix) -> Result<()> {
        let request = about(libc::RTM_DELADDR, 0, link, prefix);
        self.ask(request).asked(|| format!("remove the address {prefix} from link {link}"))
    }
}

/// An action, and the link that it is done to, if to one.
pub(super) fn of(link: Option<u32>, action: &str) -> String {
    match link {
        Some(link) => format!("{action} of link {link}"),
        None => action.to_owned(),
    }
}

fn about(kind: u16, flags: i32, link: u32, prefix: Prefix) -> Request {
    let octets = octets(prefix.address);
    // The address itself, and that of the other end, which is the same but on a link between two.
    change(kind, flags, &structure(family(prefix.address), prefix.length, link))
        .attribute(libc::IFA_LOCAL, &octets)
        .attribute(libc::IFA_ADDRESS, &octets)
}

/// An `ifaddrmsg`.
fn structure(family: i32, length: u8, link: u32) -> [u8; STRUCTURE] {
    let [i0, i1, i2, i3] = link.to_ne_bytes();
    [family as u8, length, 0, 0, i0, i1, i2, i3]
}

/// The family of an address.
pub(super) fn family(address: IpAddr) -> i32 {
    if address.is_ipv4() { libc::AF_INET } else { libc::AF_INET6 }
}

/// The octets of an address.
pub(super) fn octets(address: IpAddr) -> Vec<u8> {
    match address {
        IpAddr::V4(address) => address.octets().into(),
        IpAddr::V6(address) => address.octets().into(),
    }
}

/// The address of 4 or 16 octets.
pub(super) fn from_octets(octets: &[u8]) -> Option<IpAddr> {
    let v4 = || <[u8; 4]>::try_from(octets).ok().map(|octets| Ipv4Addr::from(octets).into());
    let v6 = || <[u8; 16]>::try_from(octets).ok().map(|octets| Ipv6Addr::from(octets).into());
    v4().or_else(v6)
}

/// Reads an `ifaddrmsg` with its attributes.
pub(crate) fn read(body: &[u8]) -> Option<Address> {
    let [_, length, flags, ..] = *body.first_chunk::<STRUCTURE>()?;
    let (mut local, mut other, mut flags) = (None, None, u32::from(flags));
    for (kind, value) in attributes(body.get(STRUCTURE..)?) {
        match kind {
            libc::IFA_LOCAL => local = from_octets(value),
            libc::IFA_ADDRESS => other = from_octets(value),
            libc::IFA_FLAGS => flags = number(value, 0)?,
            _ => {}
        }
    }
    // On a link between two IFA_ADDRESS is the other end's; IFA_LOCAL is this host's on any link, and absent where both are one (IPv6).
    let prefix = Prefix { address: local.or(other)?, length };
    let tentative = flags & (libc::IFA_F_TENTATIVE | libc::IFA_F_DADFAILED) != 0;
    let routed = flags & libc::IFA_F_NOPREFIXROUTE == 0;
    Some(Address { link: number(body, 4)?, prefix, tentative, routed })
}

/// A question for all IPv4 addresses, for who reads them another way.
pub(crate) fn all_v4() -> Request {
    question(libc::RTM_GETADDR, &structure(libc::AF_INET, 0, 0))
}
