//! The numbers by which the ends of a session call it on the wire, and whose a number is: looked up by workers without a lock.
//!
//! A number's low bits are its place in a table that grows as it has to, and the others are random, so that a datagram of a session that is gone finds nobody.

use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};

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

type Slot<T> = ArcSwapOption<Entry<Arc<T>>>;
/// [`PART`] of them; none before there is need.
type Part<T> = OnceLock<Box<[Slot<T>]>>;

/// Sessions that a table has room for at most: 12 random bits are left of a number.
pub const MOST: u32 = 1 << 20;
/// Sessions of a peer at once, at most: those that take over from each other, and handshakes under way of both sides.
pub const EACH: u32 = 6;
/// Places that are made at once.
const PART: usize = 1 << 12;

/// All sessions of one static key, handshakes under way among them.
pub struct Table<T> {
    /// Those that are made stay where they are, for workers that look into them.
    parts: Box<[Part<T>]>,
    places: Mutex<Places>,
}

/// Which places are taken, and by which number.
struct Places {
    taken: Vec<Option<Index>>,
    free: Vec<u32>,
}

impl<T> Table<T> {
    /// Room for so many sessions, [`MOST`] at most. A peer needs [`EACH`].
    pub fn new(sessions: u32) -> Table<T> {
        let parts = (0..MOST as usize / PART).map(|_| OnceLock::new()).collect();
        let table = Table { parts, places: Mutex::new(Places { taken: vec![], free: vec![] }) };
        table.make_room(sessions);
        table
    }

    /// Room for so many, at most [`MOST`], if there is less yet. It is never taken back: who had many may have them again.
    pub fn make_room(&self, sessions: u32) {
        let wanted = sessions.min(MOST);
        let mut places = self.places();
        let had = places.taken.len() as u32;
        if wanted <= had {
            return;
        }
        for part in self.parts.iter().take((wanted as usize).div_ceil(PART)) {
            part.get_or_init(|| (0..PART).map(|_| ArcSwapOption::empty()).collect());
        }
        places.taken.resize(wanted as usize, None);
        places.free.extend(had..wanted);
    }

    /// So many it has room for.
    pub fn room(&self) -> usize {
        self.places().taken.len()
    }

    fn places(&self) -> MutexGuard<'_, Places> {
        self.places.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The place of a number.
    fn slot(&self, index: Index) -> Option<&Slot<T>> {
        let place = place(index);
        self.parts.get(place / PART)?.get()?.get(place % PART)
    }

    /// From here on, `index` is `value`'s. False when it was not reserved, or was released.
    pub fn put(&self, index: Index, value: Arc<T>) -> bool {
        // Under the lock, so that a release cannot come between.
        let places = self.places();
        let reserved = places.taken.get(place(index)) == Some(&Some(index));
        if let Some(slot) = self.slot(index).filter(|_| reserved) {
            slot.store(Some(Arc::new(Entry { index, value })));
        }
        reserved
    }

    /// Whose `index` is.
    pub fn find(&self, index: Index) -> Option<Arc<T>> {
        let slot = self.slot(index)?.load();
        slot.as_ref().filter(|entry| entry.index == index).map(|entry| entry.value.clone())
    }

    /// Octets that the table takes, with what there is of each session but for what that refers to.
    pub fn memory(&self) -> usize {
        let parts = self.parts.iter().filter(|part| part.get().is_some()).count() * PART * size_of::<Slot<T>>();
        let places = self.room() * (size_of::<Option<Index>>() + size_of::<u32>());
        size_of_val(&*self.parts) + parts + places + self.used() * (size_of::<Entry<Arc<T>>>() + size_of::<T>())
    }

    /// Numbers in use.
    pub fn used(&self) -> usize {
        let places = self.places();
        places.taken.len() - places.free.len()
    }
}

/// Where in a table a number is.
fn place(index: Index) -> usize {
    (index.0 & (MOST - 1)) as usize
}

impl<T: Send + Sync> Indices for Table<T> {
    fn reserve(&self, entropy: &mut dyn Entropy) -> Option<Index> {
        let random = u32::from_le_bytes(entropy::secret(entropy)?);
        let mut places = self.places();
        // Any free place, so that places say little about how many there are and who came first.
        let chosen = ((u64::from(random) * places.free.len() as u64) >> 32) as usize;
        let place = (chosen < places.free.len()).then(|| places.free.swap_remove(chosen))?;
        // The draw is spent on both, which leaves the upper bits as random as they were.
        let index = Index(random & !(MOST - 1) | place);
        if let Some(taken) = places.taken.get_mut(place as usize) {
            *taken = Some(index);
        }
        Some(index)
    }

    fn release(&self, index: Index) {
        let mut places = self.places();
        let place = place(index);
        if places.taken.get(place) != Some(&Some(index)) {
            return;
        }
        if let Some(slot) = self.slot(index) {
            slot.store(None);
        }
        if let Some(taken) = places.taken.get_mut(place) {
            *taken = None;
        }
        places.free.push(place as u32);
    }
}

impl<T> fmt::Debug for Table<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Table").field("used", &self.used()).field("room", &self.room()).finish()
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
    fn a_table_that_grows_keeps_whom_it_has_and_is_bounded() {
        let (table, mut rng) = (Table::new(0), Rng::new(1));
        assert_eq!((table.reserve(&mut rng), table.room()), (None, 0));
        let mut all = vec![];
        for room in [3, 2, PART as u32 + 1, 3 * PART as u32] {
            table.make_room(room);
            while let Some(index) = table.reserve(&mut rng) {
                assert!(table.put(index, Arc::new(all.len())));
                all.push(index);
            }
            assert!(all.iter().enumerate().all(|(number, index)| table.find(*index).as_deref() == Some(&number)));
        }
        assert_eq!((all.len(), table.room(), table.used()), (3 * PART, 3 * PART, 3 * PART));
        let most = Table::<u8>::new(u32::MAX);
        assert_eq!(most.room(), MOST as usize);
        let last = most.reserve(&mut rng).unwrap();
        assert!(most.put(last, Arc::new(7)) && most.find(last).is_some());
    }

    #[test]
    fn a_number_that_was_reserved_finds_nobody_before_it_is_put() {
        let table = Table::<u8>::new(4);
        let index = table.reserve(&mut Rng::new(1)).unwrap();
        assert_eq!(table.find(index), None);
        assert_eq!(table.find(Index(!index.0)), None);
    }
}
