//! Flows stay where they are: a worker's memory of which path each took.
//!
//! A fixed table in sets of four. A flow moves when its path no longer carries, or breaks the limits of its class while another keeps them; never because
//! another is better. Who finds a full set takes the place of who was quiet longest.
//!
//! The application of a flow is remembered as well. Its name comes with the first data: a flow that has sent none before has nothing under way that could be
//! overtaken, and chooses its path anew with what it is known to be. One that has stays where it is, unless the class that it is of by now has better paths only.

use std::ops::Range;
use std::time::Duration;

use outwork_engine::Time;
use parking_lot::{Mutex, MutexGuard};

use super::policy::AppId;
use super::site::PathId;
use super::table::{Found, Pick};

const WAYS: usize = 4;
/// A flow that was quiet for so long begins anew.
const QUIET: Duration = Duration::from_secs(300);

#[derive(Debug, Clone, Copy, Default)]
struct Slot {
    /// 0 is free.
    hash: u64,
    path: u32,
    /// In units of 2^30 nanoseconds, a little more than a second; wraps after 19 hours. Who comes back after just so long goes on where it was.
    seen: u16,
    /// 0 is none, and [`WAITS`] that its name may come; others are one more than the application's number.
    application: u16,
}

/// In place of the path of a flow that has yet to choose one.
const NOWHERE: u32 = u32::MAX;
/// In place of the application of a flow that has sent no data so far.
const WAITS: u16 = u16::MAX;

/// What a flow has shown of its application.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Shown {
    /// Nothing, and nothing is waited for: its beginning was not seen, or it has shown no name that an application has.
    Nothing,
    /// Nothing so far: it has begun.
    Waits,
    /// This.
    Is(AppId),
}

/// What became of a flow's packet.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Fate {
    /// It goes where the last one went.
    Stays,
    /// It is the first.
    New,
    /// Its path will no longer do.
    Moves {
        /// The path before.
        from: PathId,
    },
}

/// The time as places have it.
fn second(now: Time) -> u16 {
    (now.as_nanos() >> 30) as u16
}

impl Slot {
    fn age(&self, second: u16) -> u16 {
        second.wrapping_sub(self.seen)
    }

    fn is_quiet(&self, second: u16) -> bool {
        self.hash == 0 || u64::from(self.age(second)) > QUIET.as_secs()
    }

    fn is(&self, hash: u64, second: u16) -> bool {
        self.hash == hash && !self.is_quiet(second)
    }
}

/// A table of flows.
#[derive(Debug)]
pub struct FlowTable {
    slots: Box<[Slot]>,
    /// That of applications whose numbers flows have.
    generation: u64,
    evicted: u64,
    moved: u64,
}

impl FlowTable {
    /// For at least `flows` flows, 16 octets each.
    pub fn new(flows: usize) -> FlowTable {
        let count = flows.clamp(WAYS, 1 << 24).next_power_of_two();
        FlowTable { slots: vec![Slot::default(); count].into(), generation: 0, evicted: 0, moved: 0 }
    }

    /// Where the packet of a flow goes; none when no path carries. No allocation.
    pub fn route(&mut self, now: Time, hash: u64, found: &Found<'_>) -> Option<(Pick, Fate)> {
        let (slot, is_new) = self.slot(now, hash)?;
        if !is_new && slot.path != NOWHERE {
            let from = PathId(slot.path);
            if found.keeps(from) {
                return Some((found.stay(from)?, Fate::Stays));
            }
            let pick = found.pick(hash)?;
            slot.path = pick.path.0;
            self.moved += 1;
            return Some((pick, Fate::Moves { from }));
        }
        let pick = found.pick(hash)?;
        slot.path = pick.path.0;
        Some((pick, Fate::New))
    }

    /// A flow begins: it chooses its path anew, and may show its name.
    pub fn begins(&mut self, now: Time, hash: u64) {
        if let Some((slot, _)) = self.slot(now, hash) {
            (slot.path, slot.application) = (NOWHERE, WAITS);
        }
    }

    /// What a flow has shown.
    pub fn shown(&self, now: Time, hash: u64) -> Shown {
        let (hash, second) = (hash.max(1), second(now));
        let set = self.slots.get(self.set(hash)).unwrap_or_default();
        match set.iter().find(|slot| slot.is(hash, second)).map_or(0, |slot| slot.application) {
            0 => Shown::Nothing,
            WAITS => Shown::Waits,
            number => Shown::Is(AppId(number - 1)),
        }
    }

    /// A flow has shown its application, or that it will show none. With `anew` it has sent no data so far, and chooses its path anew.
    pub fn shows(&mut self, now: Time, hash: u64, application: Option<AppId>, anew: bool) {
        if let Some((slot, _)) = self.slot(now, hash) {
            slot.application = application.and_then(|AppId(number)| number.checked_add(1)).unwrap_or(0);
            if anew && application.is_some() {
                slot.path = NOWHERE;
            }
        }
    }

    /// Numbers of applications are those of this generation from now on. Those of another mean something else.
    pub fn be_of(&mut self, generation: u64) {
        if std::mem::replace(&mut self.generation, generation) == generation {
            return;
        }
        self.slots.iter_mut().for_each(|slot| slot.application = 0);
    }

    /// Where a flow with this hash may be.
    fn set(&self, hash: u64) -> Range<usize> {
        let sets = self.slots.len() / WAYS;
        let start = (hash >> 32) as usize % sets * WAYS;
        start..start + WAYS
    }

    /// The place of a flow, and whether it has only just got it: it is nowhere then.
    fn slot(&mut self, now: Time, hash: u64) -> Option<(&mut Slot, bool)> {
        let (hash, second) = (hash.max(1), second(now));
        let range = self.set(hash);
        let set = self.slots.get_mut(range)?;
        if let Some(place) = set.iter().position(|slot| slot.is(hash, second)) {
            let slot = set.get_mut(place)?;
            slot.seen = second;
            return Some((slot, false));
        }
        let slot = set.iter_mut().max_by_key(|slot| (slot.is_quiet(second), slot.age(second)))?;
        self.evicted += u64::from(!slot.is_quiet(second));
        *slot = Slot { hash, path: NOWHERE, seen: second, application: 0 };
        Some((slot, true))
    }

    /// Flows that were forgotten for others.
    pub fn evicted(&self) -> u64 {
        self.evicted
    }

    /// Flows that had to move.
    pub fn moved(&self) -> u64 {
        self.moved
    }
}

/// Tables that flows are spread over: who looks at one keeps no other waiting.
const SHARDS: usize = 256;

/// A table on lines of its own: two that are neighbours in memory are written by several threads.
#[derive(Debug)]
#[repr(align(128))]
struct Shard(Mutex<FlowTable>);

/// The flows of all workers.
///
/// They are in common, for a flow's packets and their answers come to different workers, and perhaps its packets do as well: what is known of it holds for all of them.
/// It costs a lock for each piece from the device, which is held for the length of one look, and which two workers want at a time once in hundreds of looks.
#[derive(Debug)]
pub struct Flows(Box<[Shard]>);

impl Flows {
    /// For at least `flows` flows.
    pub fn new(flows: usize) -> Flows {
        let each = flows.div_ceil(SHARDS);
        Flows((0..SHARDS).map(|_| Shard(Mutex::new(FlowTable::new(each)))).collect())
    }

    /// Octets that they take.
    pub fn memory(&self) -> usize {
        let slots = self.0.first().map_or(0, |shard| shard.0.lock().slots.len());
        self.0.len() * (size_of::<Shard>() + slots * size_of::<Slot>())
    }

    /// The table that a flow with this hash is in. None where there are no tables at all.
    fn shard(&self, hash: u64) -> Option<&Shard> {
        // Within its table its place follows from the high bits.
        self.0.get(hash.max(1) as usize % self.0.len().max(1))
    }

    /// The same, for who is alone with it as long as it is held.
    pub fn of(&self, hash: u64) -> Option<MutexGuard<'_, FlowTable>> {
        self.shard(hash).map(|shard| shard.0.lock())
    }

    /// The same, with applications of this generation.
    pub fn named(&self, hash: u64, generation: u64) -> Option<MutexGuard<'_, FlowTable>> {
        let mut table = self.of(hash)?;
        table.be_of(generation);
        Some(table)
    }
}
