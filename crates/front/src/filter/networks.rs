//! Networks as the configuration writes them, and sets of them that are searched fast.

use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::str::FromStr;

/// A network in CIDR notation, of IPv4 or IPv6, or one address.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Network {
    first: IpAddr,
    length: u8,
}

/// What is wrong with a text that should be a network.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum NetworkError {
    /// What stands before the slash is no address.
    #[error("what stands before the slash is no IP address")]
    Address,
    /// The length does not fit the address.
    #[error("the length is no number from 0 to 32, or to 128 for IPv6")]
    Length,
    /// Bits past the prefix are set.
    #[error("bits past the prefix are set; the network is {0}")]
    HostBits(Network),
}

impl NetworkError {
    fn advice(&self) -> Option<String> {
        match self {
            Self::HostBits(network) => Some(format!("write \"{network}\"")),
            Self::Address | Self::Length => None,
        }
    }
}

/// What stands before an IPv4 address that a translator has put into IPv6 (RFC 6052 section 2.1): 64:ff9b::/96.
const TRANSLATED: u128 = 0x0064_ff9b << 96;

/// The IPv4 address that a translator has put into this one.
fn translated(address: IpAddr) -> Option<Ipv4Addr> {
    let bits = number(address);
    let low = bits & u128::from(u32::MAX);
    (bits ^ low == TRANSLATED).then(|| Ipv4Addr::from_bits(low as u32))
}

/// An address as a number: IPv4 is mapped into IPv6, so that one client has one number whichever socket it comes through.
pub(crate) fn number(address: IpAddr) -> u128 {
    match address {
        IpAddr::V4(v4) => v4.to_ipv6_mapped().to_bits(),
        IpAddr::V6(v6) => v6.to_bits(),
    }
}

/// Who is counted as one client: an IPv4 address, also one that was translated, or the /64 that an IPv6 subscriber has to choose from.
pub(crate) fn client(address: IpAddr) -> u128 {
    let address = address.to_canonical();
    match translated(address).map_or(address, IpAddr::V4) {
        IpAddr::V4(v4) => v4.to_ipv6_mapped().to_bits(),
        IpAddr::V6(v6) => v6.to_bits() & !u128::from(u64::MAX),
    }
}

impl Network {
    /// Its first address.
    pub fn address(self) -> IpAddr {
        self.first
    }

    /// How many of its bits are the network's.
    pub fn length(self) -> u8 {
        self.length
    }

    /// Bits of its prefix, of the addresses as numbers.
    fn bits(self) -> u8 {
        if self.first.is_ipv4() { 96 + self.length } else { self.length }
    }

    /// The lowest and the highest address, as numbers.
    fn range(self) -> (u128, u128) {
        let first = number(self.first);
        let free = match self.first {
            IpAddr::V4(_) => 32 - u32::from(self.length),
            IpAddr::V6(_) => 128 - u32::from(self.length),
        };
        (first, first | u128::MAX.checked_shr(128 - free).unwrap_or(0))
    }
}

impl FromStr for Network {
    type Err = NetworkError;

    fn from_str(text: &str) -> Result<Self, NetworkError> {
        let (address, length) = match text.trim().split_once('/') {
            Some((address, length)) => (address, Some(length)),
            None => (text.trim(), None),
        };
        let address: IpAddr = address.parse().map_err(|_| NetworkError::Address)?;
        let most = if address.is_ipv4() { 32 } else { 128 };
        let length = match length {
            None => most,
            Some(length) => {
                let digits = !length.is_empty() && length.bytes().all(|byte| byte.is_ascii_digit());
                length.parse().ok().filter(|length| *length <= most && digits).ok_or(NetworkError::Length)?
            }
        };
        let first = match address {
            IpAddr::V4(v4) => {
                IpAddr::V4((v4.to_bits() & u32::MAX.checked_shl(32 - u32::from(length)).unwrap_or(0)).into())
            }
            IpAddr::V6(v6) => IpAddr::V6(Ipv6Addr::from_bits(
                v6.to_bits() & u128::MAX.checked_shl(128 - u32::from(length)).unwrap_or(0),
            )),
        };
        let network = Self { first, length };
        if first == address { Ok(network) } else { Err(NetworkError::HostBits(network)) }
    }
}

impl fmt::Display for Network {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.first, self.length)
    }
}

outwork_config::text_setting!(Network, "a network such as", "10.0.0.0/8", advice NetworkError::advice);

/// From the first address to the last, what the narrowest network says, and how many bits that has.
type Range<T> = (u128, u128, (u8, T));

/// Networks, each with what is said of it. Of networks within each other the narrowest speaks for an address; of two alike, the first.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NetworkMap<T> {
    /// Disjoint, in order.
    ranges: Box<[Range<T>]>,
}

impl<T: Copy + PartialEq> NetworkMap<T> {
    /// Sorts them.
    pub fn new(networks: impl IntoIterator<Item = (Network, T)>) -> Self {
        let with_range = |(network, said): (Network, T)| (network.range(), (network.bits(), said));
        let mut sorted: Vec<((u128, u128), (u8, T))> = networks.into_iter().map(with_range).collect();
        sorted.sort_by_key(|((first, last), _)| (*first, std::cmp::Reverse(*last)));
        sorted.dedup_by_key(|(range, _)| *range);
        let mut ranges = Ranges(Vec::with_capacity(sorted.len()));
        // Networks that are open: each lies within the one before it.
        let mut open: Vec<((u128, u128), (u8, T))> = Vec::new();
        let mut next = 0;
        for ((first, last), said) in sorted {
            while let Some(((_, end), outer)) = open.pop_if(|((_, end), _)| *end < first) {
                ranges.push(next, end, outer);
                next = next.max(end.saturating_add(1));
            }
            if let Some((_, outer)) = open.last().filter(|_| next < first) {
                ranges.push(next, first - 1, *outer);
            }
            next = first;
            open.push(((first, last), said));
        }
        while let Some(((_, end), outer)) = open.pop() {
            ranges.push(next, end, outer);
            match end.checked_add(1) {
                Some(after) => next = next.max(after),
                // There is no address after this.
                None => break,
            }
        }
        Self { ranges: ranges.0.into() }
    }

    /// What is said of an address. One that was translated from IPv4 has two forms, and the narrower network of either speaks for it.
    pub fn get(&self, address: IpAddr) -> Option<T> {
        let as_it_stands = self.find(address);
        let as_ipv4 = translated(address).and_then(|v4| self.find(v4.into()));
        let said = match (as_it_stands, as_ipv4) {
            (Some(one), Some(other)) => Some(if other.0 > one.0 { other } else { one }),
            (one, other) => one.or(other),
        };
        said.map(|(_, said)| said)
    }

    /// What the narrowest network says, and how many bits it has.
    fn find(&self, address: IpAddr) -> Option<(u8, T)> {
        let number = number(address);
        let after = self.ranges.partition_point(|(first, _, _)| *first <= number);
        let (_, last, said) = self.ranges.get(after.checked_sub(1)?)?;
        (number <= *last).then_some(*said)
    }

    /// Whether nothing is said of any address.
    pub fn is_empty(&self) -> bool {
        self.ranges.is_empty()
    }
}

struct Ranges<T>(Vec<(u128, u128, T)>);

impl<T: Copy + PartialEq> Ranges<T> {
    /// Adds a range, if there is anything of it.
    fn push(&mut self, first: u128, last: u128, said: T) {
        if first > last {
            return;
        }
        match self.0.last_mut() {
            Some((_, end, same)) if *same == said && end.checked_add(1) == Some(first) => *end = last,
            _ => self.0.push((first, last, said)),
        }
    }
}

/// Networks, as a list of them without more.
pub type Networks = NetworkMap<()>;

impl Networks {
    /// Sorts them.
    pub fn of(networks: &[Network]) -> Self {
        Self::new(networks.iter().map(|network| (*network, ())))
    }

    /// Whether an address lies in one of them.
    pub fn contains(&self, address: IpAddr) -> bool {
        self.get(address).is_some()
    }
}

/// Reads networks from a text: one a line, `#` begins a comment.
///
/// # Errors
/// The number of the first line that is no network, from 1, and why.
pub(super) fn parse_list(text: &str) -> Result<Vec<Network>, (usize, NetworkError)> {
    let mut networks = Vec::new();
    for (index, line) in text.lines().enumerate() {
        let line = line.split('#').next().unwrap_or_default().trim();
        if !line.is_empty() {
            networks.push(line.parse().map_err(|error| (index + 1, error))?);
        }
    }
    Ok(networks)
}

#[cfg(test)]
mod tests {
    use outwork_engine::rng::Rng;

    use super::*;

    fn net(text: &str) -> Network {
        text.parse().unwrap()
    }

    fn address(text: &str) -> IpAddr {
        text.parse().unwrap()
    }

    #[test]
    fn networks_of_both_families_are_read_and_bits_past_the_prefix_refused() {
        for text in ["10.0.0.0/8", "0.0.0.0/0", "192.0.2.1/32", "2001:db8::/32", "::/0", "::1/128"] {
            assert_eq!(net(text).to_string(), text);
        }
        assert_eq!(net("192.0.2.7"), net("192.0.2.7/32"));
        assert_eq!("10.0.0.1/8".parse::<Network>(), Err(NetworkError::HostBits(net("10.0.0.0/8"))));
        for (text, error) in [
            ("10.0.0/8", NetworkError::Address),
            ("10.0.0.0/33", NetworkError::Length),
            ("::/129", NetworkError::Length),
            ("::/+1", NetworkError::Length),
        ] {
            assert_eq!(text.parse::<Network>(), Err(error), "{text}");
        }
    }

    #[test]
    fn the_narrowest_network_speaks_for_an_address() {
        let map = NetworkMap::new([
            (net("10.0.0.0/8"), 'a'),
            (net("10.1.0.0/16"), 'b'),
            (net("10.1.2.0/24"), 'c'),
            (net("2001:db8::/32"), 'd'),
            (net("10.0.0.0/8"), 'e'),
        ]);
        for (text, said) in [
            ("10.0.0.0", Some('a')),
            ("10.1.1.255", Some('b')),
            ("10.1.2.0", Some('c')),
            ("10.1.2.255", Some('c')),
            ("10.1.3.0", Some('b')),
            ("10.2.0.0", Some('a')),
            ("10.255.255.255", Some('a')),
            ("11.0.0.0", None),
            ("9.255.255.255", None),
            ("2001:db8:ffff::1", Some('d')),
            ("2001:db9::", None),
            ("::ffff:10.1.2.3", Some('c')),
        ] {
            assert_eq!(map.get(address(text)), said, "{text}");
        }
        let end = NetworkMap::new([(net("::/0"), 'a'), (net("ffff::/16"), 'b')]);
        assert_eq!(end.get(address("ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff")), Some('b'));
        let everything = Networks::of(&[net("0.0.0.0/0"), net("::/0")]);
        assert!(everything.contains(address("255.255.255.255")) && everything.contains(address("ffff::")));
        assert!(Networks::of(&[]).is_empty());
    }

    #[test]
    fn an_address_that_was_translated_from_ipv4_is_that_of_ipv4() {
        assert_eq!(client(address("64:ff9b::192.0.2.1")), client(address("192.0.2.1")));
        assert_ne!(client(address("64:ff9b::192.0.2.1")), client(address("64:ff9b::192.0.2.2")));
        assert_eq!(client(address("64:ff9b:1::192.0.2.1")), client(address("64:ff9b:1::192.0.2.2")), "another prefix");
        assert_eq!(client(address("2001:db8::1")), client(address("2001:db8::2")));
        let all = [(net("192.0.2.0/24"), 'a'), (net("::/0"), 'b'), (net("64:ff9b::/96"), 'c'), (net("0.0.0.0/0"), 'd')];
        let map = NetworkMap::new(all);
        for (text, said) in [
            ("64:ff9b::192.0.2.1", 'a'),
            ("64:ff9b::198.51.100.1", 'c'),
            ("64:ff9c::192.0.2.1", 'b'),
            ("198.51.100.1", 'd'),
        ] {
            assert_eq!(map.get(address(text)), Some(said), "{text}");
        }
        assert!(Networks::of(&[net("192.0.2.0/24")]).contains(address("64:ff9b::192.0.2.1")));
        assert!(!Networks::of(&[net("192.0.2.0/24")]).contains(address("64:ff9b::192.0.3.1")));
    }

    #[test]
    fn thousands_of_networks_say_what_a_search_of_all_of_them_says() {
        let mut rng = Rng::new(1);
        let networks: Vec<(Network, u64)> = (0..3000)
            .map(|index| {
                let length = 8 + rng.below(25) as u32;
                let bits = (rng.next_u32() & 0x0f0f_ffff) & u32::MAX.checked_shl(32 - length).unwrap_or(0);
                (format!("{}/{length}", Ipv4Addr::from(bits)).parse().unwrap(), index)
            })
            .collect();
        let map = NetworkMap::new(networks.iter().copied());
        for _ in 0..3000 {
            let address = IpAddr::V4((rng.next_u32() & 0x0f0f_ffff).into());
            let within = |network: &Network| (network.range().0..=network.range().1).contains(&number(address));
            let narrowest = networks.iter().filter(|(network, _)| within(network));
            let narrowest = narrowest.min_by_key(|(network, index)| (std::cmp::Reverse(network.length), *index));
            assert_eq!(map.get(address), narrowest.map(|(_, index)| *index), "{address}");
        }
    }

    #[test]
    fn a_list_has_comments_and_names_the_line_that_is_no_network() {
        assert_eq!(parse_list("# bad ones\n10.0.0.0/8 # all\n\n::1\n"), Ok(vec![net("10.0.0.0/8"), net("::1")]));
        assert_eq!(parse_list("::1\nnobody\n"), Err((2, NetworkError::Address)));
    }
}
