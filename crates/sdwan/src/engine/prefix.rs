//! Prefixes of both families, and maps from addresses: flat, sorted, searched by halves.

use std::cmp::Reverse;
use std::net::IpAddr;

/// An address and how many of its bits count.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Prefix {
    address: IpAddr,
    length: u8,
}

impl Prefix {
    /// The prefix that `address` lies in; none when the family has not as many bits.
    pub fn new(address: IpAddr, length: u8) -> Option<Prefix> {
        let address = match address {
            IpAddr::V4(v4) if length <= 32 => {
                IpAddr::from(std::net::Ipv4Addr::from(v4.to_bits() & mask(length, 32) as u32))
            }
            IpAddr::V6(v6) if length <= 128 => IpAddr::from(std::net::Ipv6Addr::from(v6.to_bits() & mask(length, 128))),
            _ => return None,
        };
        Some(Prefix { address, length })
    }

    /// Whether `address` lies in it.
    pub fn contains(self, address: IpAddr) -> bool {
        Prefix::new(address, self.length) == Some(self)
    }

    /// The first and last address as numbers, in its family.
    fn range(self) -> Range {
        match self.address {
            IpAddr::V4(v4) => Range::V4(v4.to_bits(), v4.to_bits() | !(mask(self.length, 32) as u32)),
            IpAddr::V6(v6) => Range::V6(v6.to_bits(), v6.to_bits() | !mask(self.length, 128)),
        }
    }
}

impl std::fmt::Display for Prefix {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}/{}", self.address, self.length)
    }
}

enum Range {
    V4(u32, u32),
    V6(u128, u128),
}

/// The upper `length` of the lower `bits` bits.
fn mask(length: u8, bits: u8) -> u128 {
    let all = u128::MAX >> (128 - u32::from(bits));
    all & !all.checked_shr(u32::from(length)).unwrap_or(0)
}

/// A number that has a next one, but for the last.
pub trait Key: Ord + Copy {
    /// The next number.
    fn next(self) -> Option<Self>;
}

impl Key for u16 {
    fn next(self) -> Option<Self> {
        self.checked_add(1)
    }
}

impl Key for u32 {
    fn next(self) -> Option<Self> {
        self.checked_add(1)
    }
}

impl Key for u128 {
    fn next(self) -> Option<Self> {
        self.checked_add(1)
    }
}

/// A value for every key, the same from one start to the next.
#[derive(Debug, Clone)]
pub struct Intervals<K, V> {
    starts: Box<[K]>,
    values: Box<[V]>,
    /// Before the first start.
    before: V,
}

impl<K: Key, V: Clone + PartialEq> Intervals<K, V> {
    /// From starts in order, of which the last of several equal ones counts.
    pub(super) fn of(before: V, points: impl IntoIterator<Item = (K, V)>) -> Self {
        let (mut starts, mut values): (Vec<K>, Vec<V>) = Default::default();
        for (start, value) in points {
            if starts.last() == Some(&start) {
                starts.pop();
                values.pop();
            }
            if values.last().unwrap_or(&before) != &value {
                starts.push(start);
                values.push(value);
            }
        }
        Intervals { starts: starts.into(), values: values.into(), before }
    }

    /// What holds for `key`. No allocation.
    pub fn at(&self, key: K) -> &V {
        let index = self.starts.partition_point(|start| *start <= key);
        index.checked_sub(1).and_then(|index| self.values.get(index)).unwrap_or(&self.before)
    }

    /// Intervals held.
    pub fn len(&self) -> usize {
        self.starts.len()
    }

    /// Whether one value holds for all.
    pub fn is_empty(&self) -> bool {
        self.starts.is_empty()
    }
}

impl<K: Key, V: Copy + Ord> Intervals<K, Option<V>> {
    /// For ranges that lie in one another or apart, as prefixes do: the narrowest counts, and of equal ones that with the lowest value.
    pub fn nested(mut ranges: Vec<(K, K, V)>) -> Self {
        ranges.sort_unstable_by_key(|(first, last, value)| (*first, Reverse(*last), Reverse(*value)));
        let mut open: Vec<(K, V)> = vec![];
        let mut points: Vec<(K, Option<V>)> = vec![];
        let close = |open: &mut Vec<(K, V)>, points: &mut Vec<_>, until: Option<K>| {
            while let Some((last, _)) = open.last().copied().filter(|(last, _)| until.is_none_or(|until| *last < until))
            {
                open.pop();
                points.extend(last.next().map(|next| (next, open.last().map(|(_, value)| *value))));
            }
        };
        for (first, last, value) in ranges {
            close(&mut open, &mut points, Some(first));
            points.push((first, Some(value)));
            open.push((last, value));
        }
        close(&mut open, &mut points, None);
        Intervals::of(None, points)
    }
}

/// As many policies as can be told apart.
pub const POLICIES: usize = 256;

/// Some of the policies, by their place in the order of priority.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Set([u64; POLICIES / 64]);

impl Set {
    /// Adds one.
    pub fn insert(&mut self, place: usize) {
        if let Some(word) = self.0.get_mut(place / 64) {
            *word |= 1 << (place % 64);
        }
    }

    /// Takes one away.
    pub fn remove(&mut self, place: usize) {
        if let Some(word) = self.0.get_mut(place / 64) {
            *word &= !(1 << (place % 64));
        }
    }

    /// What is in both.
    pub fn and(&self, other: &Set) -> Set {
        Set(std::array::from_fn(|word| self.0[word] & other.0[word]))
    }

    /// What is in either.
    pub fn or(&self, other: &Set) -> Set {
        Set(std::array::from_fn(|word| self.0[word] | other.0[word]))
    }

    /// The first one.
    pub fn first(&self) -> Option<usize> {
        let word = self.0.iter().position(|word| *word != 0)?;
        Some(word * 64 + self.0[word].trailing_zeros() as usize)
    }
}

impl<K: Key> Intervals<K, Set> {
    /// For each key those whose ranges it lies in, and `always`. Ranges may overlap.
    pub fn sets(always: Set, ranges: &[(K, K, usize)]) -> Self {
        let mut turns: Vec<(K, bool, usize)> = Vec::with_capacity(ranges.len() * 2);
        for (first, last, place) in ranges.iter().filter(|(first, last, _)| first <= last) {
            turns.push((*first, true, *place));
            turns.extend(last.next().map(|next| (next, false, *place)));
        }
        turns.sort_unstable();
        // How often each is covered at this key: two ranges of one policy may overlap.
        let (mut covered, mut set) = ([0u32; POLICIES], Set::default());
        let points: Vec<_> = turns
            .into_iter()
            .map(|(key, begins, place)| {
                if let Some(count) = covered.get_mut(place) {
                    *count = if begins { *count + 1 } else { count.saturating_sub(1) };
                    if *count > 0 { set.insert(place) } else { set.remove(place) }
                }
                (key, set.or(&always))
            })
            .collect();
        Intervals::of(always, points)
    }
}

/// A value for every address.
#[derive(Debug, Clone)]
pub struct Addresses<V> {
    v4: Intervals<u32, V>,
    v6: Intervals<u128, V>,
}

/// The ranges of prefixes, by family.
type Ranges<V> = (Vec<(u32, u32, V)>, Vec<(u128, u128, V)>);

fn ranges<V>(prefixes: impl IntoIterator<Item = (Prefix, V)>) -> Ranges<V> {
    let (mut v4, mut v6) = (vec![], vec![]);
    for (prefix, value) in prefixes {
        match prefix.range() {
            Range::V4(first, last) => v4.push((first, last, value)),
            Range::V6(first, last) => v6.push((first, last, value)),
        }
    }
    (v4, v6)
}

impl<V: Clone + PartialEq> Addresses<V> {
    /// What holds for `address`.
    pub fn at(&self, address: IpAddr) -> &V {
        match address {
            IpAddr::V4(v4) => self.v4.at(v4.to_bits()),
            IpAddr::V6(v6) => self.v6.at(v6.to_bits()),
        }
    }

    /// Intervals of both families.
    pub fn len(&self) -> usize {
        self.v4.len() + self.v6.len()
    }

    /// Whether one value holds for all of each family.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
}

impl<V: Copy + Ord> Addresses<Option<V>> {
    /// The longest prefix that an address lies in says its value.
    pub fn longest(prefixes: impl IntoIterator<Item = (Prefix, V)>) -> Self {
        let (v4, v6) = ranges(prefixes);
        Addresses { v4: Intervals::nested(v4), v6: Intervals::nested(v6) }
    }
}

impl Addresses<Set> {
    /// For each address those whose prefixes it lies in, and `always`.
    pub fn sets(always: Set, prefixes: impl IntoIterator<Item = (Prefix, usize)>) -> Self {
        let (v4, v6) = ranges(prefixes);
        Addresses { v4: Intervals::sets(always, &v4), v6: Intervals::sets(always, &v6) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use outwork_engine::sim;

    #[test]
    fn a_prefix_forgets_the_bits_that_do_not_count() {
        let of = |text: &str, length| Prefix::new(text.parse().unwrap(), length);
        assert_eq!(of("10.1.2.3", 8), of("10.0.0.0", 8));
        assert_eq!(of("2001:db8::1", 32), of("2001:db8:ffff::", 32));
        assert_eq!((of("10.0.0.0", 33), of("::", 129)), (None, None));
        let all = of("10.0.0.0", 0).unwrap();
        assert!(all.contains("255.255.255.255".parse().unwrap()) && !all.contains("::".parse().unwrap()));
        assert!(of("10.0.0.1", 32).unwrap().contains("10.0.0.1".parse().unwrap()));
    }

    #[test]
    fn the_longest_prefix_counts_as_it_does_for_a_list_that_is_searched_through() {
        sim::seeds(200, |rng| {
            let address = |rng: &mut outwork_engine::Rng| match rng.chance(0.7) {
                true => IpAddr::from(std::net::Ipv4Addr::from((rng.below(4) << 30 | rng.below(64)) as u32)),
                false => {
                    IpAddr::from(std::net::Ipv6Addr::from(u128::from(rng.below(64)) << 64 | u128::from(rng.below(4))))
                }
            };
            let prefixes: Vec<_> = (0..rng.below(40))
                .filter_map(|_| {
                    let (address, length) = (address(rng), rng.below(129) as u8);
                    let length = if address.is_ipv4() { length % 33 } else { length };
                    Some((Prefix::new(address, length)?, rng.below(10)))
                })
                .collect();
            let map = Addresses::longest(prefixes.iter().copied());
            for _ in 0..200 {
                let address = address(rng);
                let inside = prefixes.iter().filter(|(prefix, _)| prefix.contains(address));
                let longest = inside.min_by_key(|(prefix, value)| (Reverse(prefix.length), *value));
                assert_eq!(*map.at(address), longest.map(|(_, value)| *value), "{address} in {prefixes:?}");
            }
        });
    }
}
