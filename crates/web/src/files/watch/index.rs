//! Who depends on what: inodes that are watched, names in folders, and the flags of those that looked there.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

/// Raised when something has changed that its owner was made of.
#[derive(Debug, Default)]
pub(super) struct Flag(AtomicBool);

impl Flag {
    pub(super) fn raise(&self) {
        self.0.store(true, Ordering::Release);
    }

    pub(super) fn is_raised(&self) -> bool {
        self.0.load(Ordering::Acquire)
    }
}

/// A watched inode as the kernel calls it.
pub(super) type Place = i32;

/// What a flag is raised for.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Dependency {
    pub(super) place: Place,
    /// A name in that folder, or the inode itself.
    pub(super) name: Option<Box<[u8]>>,
}

#[derive(Debug, Default)]
struct Dependents {
    of_itself: Vec<Arc<Flag>>,
    of_names: HashMap<Box<[u8]>, Vec<Arc<Flag>>>,
}

impl Dependents {
    fn all(&self) -> impl Iterator<Item = &Arc<Flag>> {
        self.of_itself.iter().chain(self.of_names.values().flatten())
    }

    fn is_empty(&self) -> bool {
        self.of_itself.is_empty() && self.of_names.is_empty()
    }
}

/// Everything that is watched.
#[derive(Debug, Default)]
pub(super) struct Index {
    places: HashMap<Place, Dependents>,
}

impl Index {
    pub(super) fn len(&self) -> usize {
        self.places.len()
    }

    pub(super) fn knows(&self, place: Place) -> bool {
        self.places.contains_key(&place)
    }

    /// From now on the flag is raised when that changes.
    pub(super) fn add(&mut self, dependency: &Dependency, flag: &Arc<Flag>) {
        let place = self.places.entry(dependency.place).or_default();
        match &dependency.name {
            None => place.of_itself.push(Arc::clone(flag)),
            Some(name) => place.of_names.entry(name.clone()).or_default().push(Arc::clone(flag)),
        }
    }

    /// No longer. True where nobody depends on the inode any more.
    pub(super) fn remove(&mut self, dependency: &Dependency, flag: &Arc<Flag>) -> bool {
        let Some(place) = self.places.get_mut(&dependency.place) else { return false };
        let forget = |flags: &mut Vec<Arc<Flag>>| {
            if let Some(at) = flags.iter().position(|other| Arc::ptr_eq(other, flag)) {
                flags.swap_remove(at);
            }
        };
        match &dependency.name {
            None => forget(&mut place.of_itself),
            Some(name) => {
                if let Some(flags) = place.of_names.get_mut(name) {
                    forget(flags);
                    if flags.is_empty() {
                        place.of_names.remove(name);
                    }
                }
            }
        }
        let unused = place.is_empty();
        if unused {
            self.places.remove(&dependency.place);
        }
        unused
    }

    /// A name in a folder has changed.
    pub(super) fn name_changed(&self, place: Place, name: &[u8]) {
        let flags = self.places.get(&place).and_then(|place| place.of_names.get(name));
        flags.into_iter().flatten().for_each(|flag| flag.raise());
    }

    /// An inode itself has changed, and whatever was looked up in it may have.
    pub(super) fn itself_changed(&self, place: Place) {
        if let Some(place) = self.places.get(&place) {
            place.all().for_each(|flag| flag.raise());
        }
    }

    /// The kernel watches an inode no longer.
    pub(super) fn gone(&mut self, place: Place) {
        self.itself_changed(place);
        self.places.remove(&place);
    }

    /// Nobody knows what has changed.
    pub(super) fn raise_all(&self) {
        self.places.values().flat_map(Dependents::all).for_each(|flag| flag.raise());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn on(place: Place, name: Option<&[u8]>) -> Dependency {
        Dependency { place, name: name.map(Into::into) }
    }

    fn raised(flags: &[&Arc<Flag>]) -> Vec<bool> {
        flags.iter().map(|flag| flag.is_raised()).collect()
    }

    #[test]
    fn a_change_is_told_to_those_whom_it_concerns() {
        let mut index = Index::default();
        let [a, b, itself, elsewhere] = [(); 4].map(|()| Arc::new(Flag::default()));
        index.add(&on(1, Some(b"a")), &a);
        index.add(&on(1, Some(b"b")), &b);
        index.add(&on(1, None), &itself);
        index.add(&on(2, Some(b"a")), &elsewhere);
        index.name_changed(1, b"a");
        index.name_changed(1, b"c");
        index.name_changed(9, b"a");
        assert_eq!(raised(&[&a, &b, &itself, &elsewhere]), [true, false, false, false]);
        index.itself_changed(1);
        assert_eq!(raised(&[&a, &b, &itself, &elsewhere]), [true, true, true, false]);
        index.raise_all();
        assert!(elsewhere.is_raised());
    }

    #[test]
    fn an_inode_that_nobody_depends_on_is_forgotten() {
        let mut index = Index::default();
        let [a, b] = [(); 2].map(|()| Arc::new(Flag::default()));
        for flag in [&a, &b] {
            index.add(&on(1, Some(b"x")), flag);
            index.add(&on(1, None), flag);
        }
        assert!(!index.remove(&on(1, Some(b"x")), &a));
        assert!(!index.remove(&on(1, None), &a));
        index.itself_changed(1);
        assert_eq!(raised(&[&a, &b]), [false, true]);
        assert!(!index.remove(&on(1, Some(b"x")), &b));
        assert!(index.remove(&on(1, None), &b));
        assert!(!index.remove(&on(1, None), &b), "it is gone already");
        assert_eq!(index.len(), 0);
    }

    #[test]
    fn what_the_kernel_no_longer_watches_counts_as_changed() {
        let mut index = Index::default();
        let flag = Arc::new(Flag::default());
        index.add(&on(1, Some(b"x")), &flag);
        index.gone(1);
        assert!(flag.is_raised() && !index.knows(1));
    }
}
