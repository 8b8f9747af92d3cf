//! Flows stay where they are: a worker's memory of which path each took.
//!
//! A fixed table in sets of four. A flow moves when its path no longer carries, or breaks the limits of its class while another keeps them; never because
//! another is better. Who finds a full set takes the place of who was quiet longest.

use std::time::Duration;

use outwork_engine::Time;

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
    /// In units of 2^30 nanoseconds, a little more than a second; wraps.
    seen: u32,
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

/// The flows of one worker.
#[derive(Debug)]
pub struct FlowTable {
    slots: Box<[Slot]>,
    evicted: u64,
    moved: u64,
}

impl FlowTable {
    /// For at least `flows` flows, 16 octets each.
    pub fn new(flows: usize) -> FlowTable {
        let count = flows.clamp(WAYS, 1 << 24).next_power_of_two();
        FlowTable { slots: vec![Slot::default(); count].into(), evicted: 0, moved: 0 }
    }

    /// Where the packet of a flow goes; none when no path carries. No allocation.
    pub fn route(&mut self, now: Time, hash: u64, found: &Found<'_>) -> Option<(Pick, Fate)> {
        let hash = hash.max(1);
        let second = (now.as_nanos() >> 30) as u32;
        let sets = self.slots.len() / WAYS;
        let start = (hash >> 32) as usize % sets * WAYS;
        let set = self.slots.get_mut(start..start + WAYS)?;
        let age = |slot: &Slot| second.wrapping_sub(slot.seen);
        let quiet = |slot: &Slot| slot.hash == 0 || u64::from(age(slot)) > QUIET.as_secs();
        if let Some(slot) = set.iter_mut().find(|slot| slot.hash == hash && !quiet(slot)) {
            slot.seen = second;
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
        let slot = set.iter_mut().max_by_key(|slot| (quiet(slot), age(slot)))?;
        self.evicted += u64::from(!quiet(slot));
        *slot = Slot { hash, path: pick.path.0, seen: second };
        Some((pick, Fate::New))
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
