//! Who stands where: levels of priority, and in each the own zone before the others.

use std::collections::BTreeMap;
use std::sync::Arc;

use crate::policy;
use crate::policy::maglev::{self, Maglev};
use crate::pool::Slot;
use crate::settings::PoolSettings;

/// A level of priority.
#[derive(Debug)]
pub struct Rank {
    priority: u32,
    cohorts: Vec<Cohort>,
}

/// Members of one level between whom the policy chooses.
#[derive(Debug)]
pub struct Cohort {
    own_zone: bool,
    slots: Vec<u32>,
    table: Option<Arc<Maglev>>,
}

impl Rank {
    /// Its priority; 0 comes first.
    pub fn priority(&self) -> u32 {
        self.priority
    }

    /// The own zone and the others, or all in one.
    pub fn cohorts(&self) -> &[Cohort] {
        &self.cohorts
    }
}

impl Cohort {
    /// Whether it is our zone's part of a level.
    pub fn own_zone(&self) -> bool {
        self.own_zone
    }

    /// Indices into [`crate::Pool::slots`], by key. Without those of weight 0.
    pub fn slots(&self) -> &[u32] {
        &self.slots
    }

    /// Which of [`Cohort::slots`] gets which hash, where the policy hashes.
    pub fn table(&self) -> Option<&Arc<Maglev>> {
        self.table.as_ref()
    }

    /// The table for a fast path that knows of no health: for each place of [`Cohort::table`], the slot that a new flow gets for which this cohort was
    /// chosen, limits aside. `None` where nobody is `usable`, or there is no table.
    pub fn resolve(&self, slots: &[Slot], usable: impl Fn(&Slot) -> bool) -> Option<Vec<u32>> {
        let table = self.table.as_ref()?;
        let mut may = vec![false; slots.len()];
        for (may, slot) in may.iter_mut().zip(slots) {
            *may = usable(slot);
        }
        let is_usable = |index: &u32| may.get(*index as usize).copied().unwrap_or(false);
        let stand: Vec<u32> = self.slots.iter().copied().filter(is_usable).collect();
        let places = 0..table.entries().len() as u32;
        places.map(|place| policy::candidates(table, &self.slots, &stand, place).find(is_usable)).collect()
    }

    /// Keys and weights, which are all that a table is made of.
    fn shares<'a>(&'a self, slots: &'a [Slot]) -> impl Iterator<Item = (&'a str, u32)> {
        shares(&self.slots, slots)
    }
}

fn shares<'a>(indices: &'a [u32], slots: &'a [Slot]) -> impl Iterator<Item = (&'a str, u32)> {
    let slots = indices.iter().filter_map(|index| slots.get(*index as usize));
    slots.map(|slot| (slot.member().key(), slot.settings().weight))
}

/// The ranks of `slots`. Tables are taken over from those of `before` where nothing has changed for them, and keep their size where they can, for a table of
/// another size moves every flow.
pub(crate) fn ranks(slots: &[Slot], settings: &PoolSettings, before: Option<(&[Rank], &[Slot])>) -> Vec<Rank> {
    let mut levels: BTreeMap<u32, Vec<u32>> = BTreeMap::new();
    for (index, slot) in slots.iter().enumerate().filter(|(_, slot)| slot.settings().weight > 0) {
        levels.entry(slot.settings().priority).or_default().push(index as u32);
    }
    let table = |priority: u32, own_zone: bool, members: &[u32]| {
        if !settings.policy.hashes() {
            return None;
        }
        let old = before.and_then(|(ranks, slots)| {
            let rank = ranks.iter().find(|rank| rank.priority == priority)?;
            let cohort = rank.cohorts.iter().find(|cohort| cohort.own_zone == own_zone)?;
            Some((cohort.table.as_ref()?, cohort, slots))
        });
        if let Some((table, cohort, old_slots)) = old
            && cohort.shares(old_slots).eq(shares(members, slots))
        {
            return Some(Arc::clone(table));
        }
        let size = maglev::size(members.len(), old.map(|(table, ..)| table.entries().len()));
        Some(Arc::new(Maglev::new(shares(members, slots), size)))
    };
    let rank = |(priority, members): (u32, Vec<u32>)| {
        let parts = split(&members, slots, settings).unwrap_or_else(|| vec![(false, members)]);
        let cohorts = parts.into_iter().map(|(own_zone, members)| Cohort {
            own_zone,
            table: table(priority, own_zone, &members),
            slots: members,
        });
        Rank { priority, cohorts: cohorts.collect() }
    };
    levels.into_iter().map(rank).collect()
}

/// The own zone's part of a level and the rest, unless that makes no difference or too few are in the own zone.
fn split(members: &[u32], slots: &[Slot], settings: &PoolSettings) -> Option<Vec<(bool, Vec<u32>)>> {
    let preference = settings.zone.as_ref()?;
    let is_own = |index: &u32| {
        let zone = slots.get(*index as usize).and_then(|slot| slot.settings().zone.as_deref());
        zone == Some(preference.zone.as_str())
    };
    let (own, rest): (Vec<u32>, Vec<u32>) = members.iter().partition(|index| is_own(index));
    let enough = own.len() >= preference.at_least.max(1) as usize && !rest.is_empty();
    enough.then(|| vec![(true, own), (false, rest)])
}
