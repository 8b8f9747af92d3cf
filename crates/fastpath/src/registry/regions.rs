//! Which part of the places a table has. What is given back may still be read by a packet on its way, and is taken again only when everybody is done.

use std::collections::BTreeMap;

/// A part of the places.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Region {
    pub(crate) start: u32,
    pub(crate) size: u32,
}

impl Region {
    /// The part that a service says; `None` where it has none.
    pub(crate) fn of(table: u64) -> Option<Region> {
        let region = Region { start: (table >> 32) as u32, size: table as u32 };
        (region.size > 0).then_some(region)
    }

    /// As a service says it.
    pub(crate) fn packed(self) -> u64 {
        u64::from(self.start) << 32 | u64::from(self.size)
    }
}

/// What is free, by where it begins. Regions begin at even places, two to an element of the map.
#[derive(Debug)]
pub(crate) struct Regions {
    free: BTreeMap<u32, u32>,
    retired: Vec<Region>,
}

impl Regions {
    pub(crate) fn new(size: u32) -> Regions {
        Regions { free: BTreeMap::from([(0, size)]), retired: vec![] }
    }

    /// The first that is large enough.
    pub(crate) fn allocate(&mut self, size: u32) -> Option<Region> {
        let taken = even(size)?;
        let start = self.free.iter().find(|(_, free)| **free >= taken).map(|(start, _)| *start)?;
        self.cut(start, start, taken);
        Some(Region { start, size })
    }

    /// Takes a certain region. Says whether it was free.
    pub(crate) fn take(&mut self, region: Region) -> bool {
        let Some(size) = even(region.size) else { return false };
        let end = u64::from(region.start) + u64::from(size);
        let around = self.free.range(..=region.start).next_back().map(|(start, size)| (*start, *size));
        match around.filter(|(start, size)| end <= u64::from(*start) + u64::from(*size)) {
            Some((start, _)) => {
                self.cut(start, region.start, size);
                true
            }
            None => false,
        }
    }

    /// Gives a region back, once everybody is done with it.
    pub(crate) fn retire(&mut self, region: Region) {
        self.retired.push(region);
    }

    /// Frees what was retired: the caller sees to it that everybody is done. Says whether there was anything.
    pub(crate) fn settle(&mut self) -> bool {
        let any = !self.retired.is_empty();
        for region in std::mem::take(&mut self.retired) {
            self.free.insert(region.start, even(region.size).unwrap_or(region.size));
        }
        let mut merged: BTreeMap<u32, u32> = BTreeMap::new();
        for (start, size) in std::mem::take(&mut self.free) {
            match merged.last_entry() {
                Some(mut last) if last.key() + last.get() == start => *last.get_mut() += size,
                _ => drop(merged.insert(start, size)),
            }
        }
        self.free = merged;
        any
    }

    /// The size of the largest that is free.
    pub(crate) fn largest(&self) -> u32 {
        self.free.values().copied().max().unwrap_or(0)
    }

    fn cut(&mut self, free: u32, start: u32, size: u32) {
        let Some(whole) = self.free.remove(&free) else { return };
        let (before, after) = (start - free, whole - (start - free) - size);
        for (start, size) in [(free, before), (start + size, after)] {
            if size > 0 {
                self.free.insert(start, size);
            }
        }
    }
}

fn even(size: u32) -> Option<u32> {
    size.checked_next_multiple_of(2)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_retired_is_taken_again_only_when_everybody_is_done() {
        let mut regions = Regions::new(100);
        let (a, b) = (regions.allocate(41).unwrap(), regions.allocate(41).unwrap());
        assert_eq!((a.start, b.start, regions.largest()), (0, 42, 16), "even places");
        assert_eq!(regions.allocate(41), None);
        regions.retire(a);
        assert_eq!(regions.allocate(41), None);
        assert!(regions.settle());
        assert_eq!(regions.allocate(41), Some(a));
        assert!(!regions.settle());
    }

    #[test]
    fn neighbours_that_are_free_are_one_region() {
        let mut regions = Regions::new(100);
        let all: Vec<Region> = (0..5).filter_map(|_| regions.allocate(20)).collect();
        all.iter().for_each(|region| regions.retire(*region));
        regions.settle();
        assert_eq!(regions.allocate(100), Some(Region { start: 0, size: 100 }));
    }

    #[test]
    fn a_certain_region_is_taken_once() {
        let mut regions = Regions::new(100);
        let region = Region { start: 10, size: 31 };
        assert!(regions.take(region));
        assert!(!regions.take(region));
        assert!(!regions.take(Region { start: 90, size: 20 }), "beyond the end");
        assert_eq!(regions.allocate(58), Some(Region { start: 42, size: 58 }));
        assert_eq!(Region::of(region.packed()), Some(region));
        assert_eq!(Region::of(0), None);
    }
}
