//! The numbers by which the ends of a session call it on the wire, and whose a number is: looked up by workers without a lock.
//!
//! A number's low bits are its place in a table of fixed size, and the others are random, so that a datagram of a session that is gone finds nobody.

use std::fmt;
use std::sync::{Arc, Mutex, PoisonError};

use arc_swap::ArcSwapOption;

use crate::{Entropy, entropy};

/// What one end calls a session.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Index(pub u32);

impl fmt::Debug for Index {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Index({:08x})", self.0)
    }
}

/// Who gives numbers out.
pub trait Indices: Send + Sync {
    /// One that nobody has; `None` when all are in use, or there is no randomness.
    fn reserve(&self, entropy: &mut dyn Entropy) -> Option<Index>;
    /// It is free again, and finds nobody.
    fn release(&self, index: Index);
}

struct Entry<T> {
    index: Index,
    value: T,
}

/// All sessions of one static key, handshakes under way among them.
pub struct Table<T> {
    slots: Box<[ArcSwapOption<Entry<Arc<T>>>]>,
    /// A power of two less one.
    mask: u32,
    places: Mutex<Places>,
}

/// Which places are taken, and by which number.
struct Places {
    taken: Vec<Option<Index>>,
    free: Vec<u32>,
}

impl<T> Table<T> {
    /// Room for `sessions`, rounded up to a power of two, at most 2^20: 12 random bits are to be left. A peer needs up to six.
    pub fn new(sessions: u32) -> Table<T> {
        let size = sessions.clamp(1, 1 << 20).next_power_of_two();
        let places = Places { taken: vec![None; size as usize], free: (0..size).rev().collect() };
        Table { slots: (0..size).map(|_| ArcSwapOption::empty()).collect(), mask: size - 1, places: Mutex::new(places) }
    }

    /// From here on, `index` is `value`'s. False when it was not reserved, or was released.
    pub fn put(&self, index: Index, value: Arc<T>) -> bool {
        // Under the lock, so that a release cannot come between.
        let places = self.places.lock().unwrap_or_else(PoisonError::into_inner);
        let place = (index.0 & self.mask) as usize;
        let reserved = places.taken.get(place) == Some(&Some(index));
        if let Some(slot) = self.slots.get(place).filter(|_| reserved) {
            slot.store(Some(Arc::new(Entry { index, value })));
        }
        reserved
    }

    /// Whose `index` is.
    pub fn find(&self, index: Index) -> Option<Arc<T>> {
        let slot = self.slots.get((index.0 & self.mask) as usize)?.load();
        slot.as_ref().filter(|entry| entry.index == index).map(|entry| entry.value.clone())
    }

    /// Octets that the table takes, with what there is of each session but for what that refers to.
    pub fn memory(&self) -> usize {
        let place = size_of::<ArcSwapOption<Entry<Arc<T>>>>() + size_of::<Option<Index>>() + size_of::<u32>();
        self.slots.len() * place + self.used() * (size_of::<Entry<Arc<T>>>() + size_of::<T>())
    }

    /// Numbers in use.
    pub fn used(&self) -> usize {
        self.slots.len() - self.places.lock().unwrap_or_else(PoisonError::into_inner).free.len()
    }
}

impl<T: Send + Sync> Indices for Table<T> {
    fn reserve(&self, entropy: &mut dyn Entropy) -> Option<Index> {
        let random = u32::from_le_bytes(entropy::secret(entropy)?);
        let mut places = self.places.lock().unwrap_or_else(PoisonError::into_inner);
        // Any free place, so that places say little about how many there are and who came first.
        let chosen = ((u64::from(random) * places.free.len() as u64) >> 32) as usize;
        let place = (chosen < places.free.len()).then(|| places.free.swap_remove(chosen))?;
        // The draw is spent on both, which leaves the upper bits as random as they were.
        let index = Index(random & !self.mask | place);
        if let Some(taken) = places.taken.get_mut(place as usize) {
            *taken = Some(index);
        }
        Some(index)
    }

    fn release(&self, index: Index) {
        let mut places = self.places.lock().unwrap_or_else(PoisonError::into_inner);
        let place = index.0 & self.mask;
        if places.taken.get(place as usize) != Some(&Some(index)) {
            return;
        }
        if let Some(slot) = self.slots.get(place as usize) {
            slot.store(None);
        }
        if let Some(taken) = places.taken.get_mut(place as usize) {
            *taken = None;
        }
        places.free.push(place);
    }
}

impl<T> fmt::Debug for Table<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Table").field("used", &self.used()).field("size", &self.slots.len()).finish()
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use outwork_engine::Rng;
    use outwork_engine::sim::seeds;

    use super::*;

    #[test]
    fn a_table_says_what_a_map_would() {
        seeds(20, |rng| {
            let table = Table::new(16);
            let mut model: BTreeMap<Index, u32> = BTreeMap::new();
            let mut gone = vec![];
            for step in 0..500 {
                if rng.chance(0.6) {
                    match table.reserve(rng) {
                        Some(index) => {
                            assert!(table.put(index, Arc::new(step)));
                            assert_eq!(model.insert(index, step), None, "{index:?} is somebody's");
                        }
                        None => assert_eq!(model.len(), 16),
                    }
                } else if let Some(index) = model.keys().nth(rng.below(16) as usize).copied() {
                    table.release(index);
                    table.release(index);
                    model.remove(&index);
                    gone.push(index);
                }
                assert_eq!(table.used(), model.len());
                model.iter().for_each(|(index, value)| assert_eq!(table.find(*index).as_deref(), Some(value)));
                for index in gone.iter().filter(|index| !model.contains_key(index)) {
                    assert_eq!(table.find(*index), None);
                    assert!(!table.put(*index, Arc::new(0)), "who was released is not put");
                }
            }
        });
    }

    #[test]
    fn a_number_that_was_reserved_finds_nobody_before_it_is_put() {
        let table = Table::<u8>::new(4);
        let index = table.reserve(&mut Rng::new(1)).unwrap();
        assert_eq!(table.find(index), None);
        assert_eq!(table.find(Index(!index.0)), None);
    }
}
