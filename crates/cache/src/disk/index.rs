//! Where everything lies: 16 bytes an entry, and what a hash table leaves free. Pure.

use hashbrown::{HashTable, hash_table};

use crate::entry::Key;

/// Records begin at multiples of this.
pub(super) const UNIT: u64 = 64;

const SLOT_BITS: u32 = 12;
const UNITS_BITS: u32 = 22;
const HEAT_BITS: u32 = 2;
/// Segments that can be told apart.
pub(super) const SLOTS: usize = 1 << SLOT_BITS;
/// Units of the longest record.
pub(super) const LONGEST: u32 = (1 << UNITS_BITS) - 1;

/// A place on disk: segment, first unit, number of units, and how often it was read of late (0 to 3), in 12, 28, 22 and 2 bits.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Place(u64);

impl Place {
    pub(super) fn new(slot: u16, first: u32, units: u32) -> Self {
        let units = u64::from(units.min(LONGEST));
        Self((u64::from(first) << SLOT_BITS | u64::from(slot)) << (UNITS_BITS + HEAT_BITS) | units << HEAT_BITS)
    }

    pub(super) fn slot(self) -> usize {
        (self.0 >> (UNITS_BITS + HEAT_BITS)) as usize & (SLOTS - 1)
    }

    /// In bytes.
    pub(super) fn offset(self) -> u64 {
        (self.0 >> (SLOT_BITS + UNITS_BITS + HEAT_BITS)) * UNIT
    }

    /// In bytes, up to the next unit.
    pub(super) fn length(self) -> usize {
        ((self.0 >> HEAT_BITS) as usize & LONGEST as usize) * UNIT as usize
    }

    fn heat(self) -> u64 {
        self.0 & 3
    }

    fn is(self, other: Self) -> bool {
        self.0 >> HEAT_BITS == other.0 >> HEAT_BITS
    }
}

/// What becomes of a record whose segment goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Fate {
    /// It was replaced or removed before.
    Dead,
    /// Nobody read it. It is not in the index any more.
    Cold,
    /// It was read, and is to be written anew.
    Hot,
}

/// Half a key to its place. Who reads compares the whole key.
#[derive(Debug, Default)]
pub(super) struct Index(HashTable<(u64, Place)>);

/// Which half.
pub(super) fn tag(key: &Key) -> u64 {
    key.low()
}

impl Index {
    /// Where a record lies; that it is read is noted.
    pub(super) fn read(&mut self, tag: u64) -> Option<Place> {
        let (_, place) = self.0.find_mut(tag, |slot| slot.0 == tag)?;
        if place.heat() < 3 {
            place.0 += 1;
        }
        Some(*place)
    }

    pub(super) fn put(&mut self, tag: u64, place: Place) {
        match self.0.entry(tag, |slot| slot.0 == tag, |slot| slot.0) {
            hash_table::Entry::Occupied(mut slot) => *slot.get_mut() = (tag, place),
            hash_table::Entry::Vacant(vacant) => drop(vacant.insert((tag, place))),
        }
    }

    pub(super) fn remove(&mut self, tag: u64) -> bool {
        self.0.find_entry(tag, |slot| slot.0 == tag).map(|slot| slot.remove()).is_ok()
    }

    /// Removes it if it still lies there.
    pub(super) fn remove_from(&mut self, tag: u64, place: Place) -> bool {
        self.0.find_entry(tag, |slot| slot.0 == tag && slot.1.is(place)).map(|slot| slot.remove()).is_ok()
    }

    /// What becomes of the record at a place whose segment goes.
    pub(super) fn judge(&mut self, tag: u64, place: Place, keep: bool) -> Fate {
        match self.0.find_entry(tag, |slot| slot.0 == tag && slot.1.is(place)) {
            Err(_) => Fate::Dead,
            Ok(slot) if keep && slot.get().1.heat() > 0 => Fate::Hot,
            Ok(slot) => {
                slot.remove();
                Fate::Cold
            }
        }
    }

    /// Forgets everything of a segment. It looks at every entry.
    pub(super) fn forget(&mut self, slot: usize) -> usize {
        let before = self.0.len();
        self.0.retain(|(_, place)| place.slot() != slot);
        before - self.0.len()
    }

    pub(super) fn clear(&mut self) {
        self.0 = HashTable::new();
    }

    pub(super) fn len(&self) -> usize {
        self.0.len()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_place_holds_its_extremes() {
        for (slot, first, units) in [(0, 0, 1), (4095, (1 << 28) - 1, LONGEST), (7, 1 << 20, 12)] {
            let place = Place::new(slot, first, units);
            assert_eq!(place.slot(), usize::from(slot));
            assert_eq!(place.offset(), u64::from(first) * 64);
            assert_eq!(place.length(), units as usize * 64);
            assert_eq!(place.heat(), 0);
        }
        assert_eq!(size_of::<(u64, Place)>(), 16);
    }

    #[test]
    fn what_was_read_is_hot_and_what_was_replaced_is_dead() {
        let mut index = Index::default();
        let places = [1, 2, 3, 4].map(|first| Place::new(5, first, 1));
        for (tag, place) in (0..).zip(places) {
            index.put(tag, place);
        }
        for _ in 0..9 {
            assert!(index.read(1).is_some_and(|place| place.is(places[1])));
        }
        index.put(2, Place::new(6, 0, 1));
        assert!(index.remove(3) && !index.remove(3));
        let fates = [0, 1, 2, 3].map(|at| index.judge(at as u64, places[at], true));
        assert_eq!(fates, [Fate::Cold, Fate::Hot, Fate::Dead, Fate::Dead]);
        assert_eq!(index.judge(1, places[1], false), Fate::Cold);
        assert_eq!(index.forget(6), 1);
        assert_eq!(index.len(), 0);
    }

    #[test]
    fn only_what_still_lies_there_is_removed_from_a_place() {
        let mut index = Index::default();
        index.put(1, Place::new(0, 0, 1));
        index.read(1);
        assert!(!index.remove_from(1, Place::new(0, 1, 1)));
        assert!(index.remove_from(1, Place::new(0, 0, 1)), "however often it was read");
    }
}
