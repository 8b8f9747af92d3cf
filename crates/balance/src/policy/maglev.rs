//! Maglev hashing: a table in which every member has its part, and keeps nearly all of it when others come or go (Eisenbud et al., NSDI 2016, section 3.4).
//!
//! Every member has an order of preference over the places of the table, which follows from its key alone. In turn, each takes the next place that it
//! prefers of those that are left. Weights are how often a member's turn comes.

use crate::hash;

/// Sizes that a table may have: primes just above powers of two. They are far apart on purpose: a table of another size moves all flows.
const SIZES: [usize; 8] = [65_537, 131_101, 262_147, 524_309, 1_048_583, 2_097_169, 4_194_319, 8_388_617];
/// A table has at least so many places a member, so that rounding is one part in a hundred.
const PLACES: usize = 100;
/// The last part of the table is filled by looking for what is free next to what is preferred, for that is where most of the time would go: to the paper's
/// walks nearly every place is taken then. What may move because of it is this part at most.
const REST: usize = 256;
/// One turn.
const TURN: u64 = 1 << 32;

/// The size of the table for so many members: the one that it had, as long as it is not too small, nor eight times what is needed.
pub(crate) fn size(members: usize, before: Option<usize>) -> usize {
    let needed = members * PLACES;
    let fitting = |size: &usize| *size >= needed;
    let [smallest, .., largest] = SIZES;
    let fresh = SIZES.into_iter().find(fitting).unwrap_or(largest);
    before.filter(fitting).filter(|before| *before <= (8 * fresh).max(smallest)).unwrap_or(fresh)
}

/// Which member gets which hash.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Maglev {
    entries: Box<[u16]>,
}

/// A member on its way through the places that it prefers.
struct Walker {
    /// The next place.
    at: u32,
    skip: u32,
    /// Turns earned and not taken, and earned each round, in parts of [`TURN`].
    earned: u64,
    rate: u64,
}

impl Maglev {
    /// The table of members with these keys and weights; entries count them in this order. Same members, same table, on any machine.
    pub(crate) fn new<'a>(members: impl Iterator<Item = (&'a str, u32)>, size: usize) -> Maglev {
        let members: Vec<_> = members.collect();
        let rates = rates(&members);
        let places = size as u64;
        let walker = |((key, _), rate): (&(&str, u32), u64)| Walker {
            at: (hash::bytes(key.as_bytes(), 1) % places) as u32,
            skip: (hash::bytes(key.as_bytes(), 2) % (places - 1) + 1) as u32,
            earned: 0,
            rate,
        };
        let mut walkers: Vec<Walker> = members.iter().zip(rates).map(walker).collect();
        let mut entries = vec![0u16; if walkers.is_empty() { 0 } else { size }].into_boxed_slice();
        let (mut taken, mut left) = (Taken::new(size), entries.len());
        while left > 0 {
            for (member, walker) in walkers.iter_mut().enumerate() {
                walker.earned += walker.rate;
                while walker.earned >= TURN && left > 0 {
                    walker.earned -= TURN;
                    let place = if left > size / REST { walker.next(&mut taken) } else { walker.next_from(&mut taken) };
                    if let Some(entry) = entries.get_mut(place as usize) {
                        *entry = member as u16;
                    }
                    left -= 1;
                }
            }
        }
        Maglev { entries }
    }

    /// Its places, each with the number of its member. Their number is a prime.
    pub fn entries(&self) -> &[u16] {
        &self.entries
    }

    /// The place of `hash`. Its upper half counts: one that is weak is to be mixed before.
    pub fn place(&self, hash: u64) -> u32 {
        hash::below(hash, self.entries.len() as u32)
    }

    /// The member at `place`, or the one to take after so many that could not be used: the same each time, and those that have the same first one
    /// are spread over all others. It follows from the place alone, so that a copy of the table in which the unusable are replaced
    /// decides the same for every flow.
    pub fn member(&self, place: u32, after: u32) -> Option<usize> {
        let place = match after {
            0 => place,
            _ => self.place(hash::mix(u64::from(after) << 32 | u64::from(place))),
        };
        self.entries.get(place as usize).map(|member| usize::from(*member))
    }
}

impl Walker {
    /// Takes the next place of its order that is free. There is one, and it is found: the size is a prime, so a walk comes to every place.
    fn next(&mut self, taken: &mut Taken) -> u32 {
        loop {
            let at = self.step(taken.size);
            if taken.take(at) {
                return at;
            }
        }
    }

    /// Takes the first free place from the next of its order on.
    fn next_from(&mut self, taken: &mut Taken) -> u32 {
        let place = taken.first_free(self.step(taken.size));
        taken.take(place);
        place
    }

    fn step(&mut self, size: u32) -> u32 {
        let (at, to_wrap) = (self.at, size - self.skip);
        self.at = if at >= to_wrap { at - to_wrap } else { at + self.skip };
        at
    }
}

/// Which places are taken, a bit each: an eighth of the table's size stays in a near cache.
struct Taken {
    words: Vec<u64>,
    size: u32,
}

impl Taken {
    fn new(size: usize) -> Taken {
        let mut words = vec![0; size.div_ceil(64)];
        // What lies beyond the last place is nobody's.
        if let Some(last) = words.last_mut().filter(|_| !size.is_multiple_of(64)) {
            *last = u64::MAX << (size % 64);
        }
        Taken { words, size: size as u32 }
    }

    /// Whether `place` was free.
    fn take(&mut self, place: u32) -> bool {
        let bit = 1 << (place % 64);
        let Some(word) = self.words.get_mut((place / 64) as usize) else { return false };
        let free = *word & bit == 0;
        *word |= bit;
        free
    }

    /// The first free place from `place` on, round the end; `place` itself when there is none.
    fn first_free(&self, place: u32) -> u32 {
        let start = (place / 64) as usize;
        let (before, from) = self.words.split_at_checked(start).unwrap_or((&[], &self.words));
        let earlier = !(u64::MAX << (place % 64));
        let numbered = (start..).zip(from).chain((0..).zip(before)).chain((start..).zip(from.first()));
        let mut hidden = Some(earlier);
        let mut free = numbered.map(|(number, word)| (number, word | hidden.take().unwrap_or(0)));
        let found = free.find(|(_, word)| *word != u64::MAX);
        found.map_or(place, |(number, word)| number as u32 * 64 + word.trailing_ones())
    }
}

/// How much of a turn each earns in a round: its weight by a power of two near the mean, so that one weight more or less changes nothing for the others.
fn rates(members: &[(&str, u32)]) -> Vec<u64> {
    let sum: u64 = members.iter().map(|(_, weight)| u64::from(*weight)).sum();
    let mean = sum / (members.len() as u64).max(1);
    let shift = mean.max(1).ilog2();
    members.iter().map(|(_, weight)| (u64::from((*weight).max(1)) * TURN) >> shift).collect()
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;
    use crate::settings::MAX_MEMBERS;

    fn members(count: usize) -> Vec<(String, u32)> {
        (0..count).map(|n| (format!("10.{}.{}.{}:80", n >> 16, n >> 8 & 255, n & 255), 1)).collect()
    }

    fn table(members: &[(String, u32)], size: usize) -> Maglev {
        Maglev::new(members.iter().map(|(key, weight)| (key.as_str(), *weight)), size)
    }

    fn shares(members: &[(String, u32)], table: &Maglev) -> Vec<f64> {
        let mut counts = vec![0u32; members.len()];
        table.entries().iter().for_each(|member| counts[usize::from(*member)] += 1);
        counts.into_iter().map(|count| f64::from(count) / table.entries().len() as f64).collect()
    }

    /// The part of all places that changed hands though both hands are in both tables and have the weight that they had.
    fn moved(before: &[(String, u32)], after: &[(String, u32)], size: usize) -> f64 {
        let (old, new) = (table(before, size), table(after, size));
        let (earlier, later): (BTreeSet<_>, BTreeSet<_>) = (before.iter().collect(), after.iter().collect());
        let before_stays: Vec<_> = before.iter().map(|member| later.contains(member)).collect();
        let after_stays: Vec<_> = after.iter().map(|member| earlier.contains(member)).collect();
        let moved = old.entries().iter().zip(new.entries()).filter(|(old, new)| {
            let (old, new) = (usize::from(**old), usize::from(**new));
            before[old].0 != after[new].0 && before_stays[old] && after_stays[new]
        });
        moved.count() as f64 / size as f64
    }

    #[test]
    fn sizes_are_primes_that_have_room_for_every_pool() {
        for size in SIZES {
            let divisor = (2..).take_while(|n| n * n <= size).find(|n| size % n == 0);
            assert_eq!(divisor, None, "{size}");
        }
        assert!(size(MAX_MEMBERS, None) >= MAX_MEMBERS * PLACES);
        assert_eq!((size(1, None), size(656, None)), (65_537, 131_101));
    }

    #[test]
    fn a_table_keeps_its_size_while_that_will_do() {
        assert_eq!(size(600, Some(131_101)), 131_101, "one member less does not move every flow");
        assert_eq!(size(1400, Some(131_101)), 262_147, "too small");
        assert_eq!(size(10, Some(1_048_583)), 65_537, "far too large");
    }

    #[test]
    fn everybody_has_the_part_that_its_weight_says() {
        let mut mixed = members(200);
        mixed.iter_mut().zip((1..=10).cycle()).for_each(|((_, weight), next)| *weight = next);
        let sum: u32 = mixed.iter().map(|(_, weight)| weight).sum();
        let table = table(&mixed, size(mixed.len(), None));
        for ((key, weight), share) in mixed.iter().zip(shares(&mixed, &table)) {
            let expected = f64::from(*weight) / f64::from(sum);
            assert!((share / expected - 1.0).abs() < 0.02, "{key}: {share} for {expected}");
        }
    }

    #[test]
    fn one_that_outweighs_all_others_together_leaves_them_their_part() {
        let mut two = members(3);
        two[1].1 = 65_535;
        let table = table(&two, size(2, None));
        let shares = shares(&two, &table);
        assert!(shares[1] > 0.9999 && shares[1] < 1.0, "{shares:?}");
    }

    #[test]
    fn few_flows_move_but_for_those_of_the_member_that_goes_or_comes() {
        for (count, gone) in [(3, 0), (3, 1), (100, 99), (1000, 0), (1000, 500), (1000, 999), (10_000, 7000)] {
            let (all, size) = (members(count), size(count, None));
            let mut fewer = all.clone();
            fewer.remove(gone);
            // The same tables the other way round are a member that comes.
            let part = moved(&all, &fewer, size);
            assert!(part <= 0.02, "{count} without {gone}: {part}");
        }
    }

    #[test]
    fn few_flows_move_but_for_those_of_the_member_that_is_reweighted() {
        let mut mixed = members(1000);
        mixed.iter_mut().zip([1, 2, 3, 5].into_iter().cycle()).for_each(|((_, weight), next)| *weight = next);
        let mut changed = mixed.clone();
        changed[500].1 = 7;
        let part = moved(&mixed, &changed, size(1000, None));
        assert!(part <= 0.02, "{part}");
    }

    #[test]
    fn who_cannot_be_used_is_replaced_by_all_others_alike() {
        let members = members(10);
        let table = table(&members, size(10, None));
        let mut seconds = [0u32; 10];
        for place in 0..table.entries().len() as u32 {
            if table.member(place, 0) == Some(3) {
                let second = (1..).find_map(|after| table.member(place, after).filter(|member| *member != 3)).unwrap();
                seconds[second] += 1;
            }
        }
        let mean = seconds.iter().sum::<u32>() / 9;
        assert!(seconds.iter().enumerate().all(|(n, count)| n == 3 || count.abs_diff(mean) < mean / 5), "{seconds:?}");
    }

    #[test]
    fn no_members_have_an_empty_table() {
        let table = table(&[], 65_537);
        assert_eq!((table.entries().len(), table.member(0, 0), table.member(0, 3)), (0, None, None));
    }
}
