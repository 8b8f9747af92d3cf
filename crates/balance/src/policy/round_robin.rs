//! Smooth weighted round robin, by earliest deadline first: whoever's turn comes next is at the top of a heap.
//!
//! A member of weight w has w turns in one unit of virtual time, evenly apart, so a turn costs O(log n) and shares are exact over a unit. Where
//! in a unit the first one lies differs from member to member by the golden ratio: equal weights would else come in one clump, and 5, 1, 1 as five,
//! then two. It also differs from worker to worker, for else all of them would begin with the same member.

use std::cmp::Reverse;
use std::collections::BinaryHeap;

use outwork_engine::Rng;

use crate::attempt::Attempt;
use crate::lease::Lease;
use crate::policy::TRIES;

/// One unit of virtual time.
const UNIT: f64 = (1u64 << 40) as f64;
/// Virtual time begins again long before it would overflow.
const LAST: u64 = 1 << 62;
/// The fractional part of the golden ratio.
const GOLDEN: f64 = 0.618_033_988_749_894_9;

/// When whose turn is next. Survives plans, so that a change of health does not begin every turn again.
#[derive(Debug)]
pub(crate) struct Turns {
    /// By slot: the virtual time of its next turn; 0 when it had none yet.
    next: Vec<u64>,
    /// By group, for each has a pace of its own: its virtual time.
    clocks: Vec<u64>,
    phase: f64,
    late: bool,
}

/// The virtual time from one turn of a member to its next.
fn stride(weight: f64) -> u64 {
    (UNIT / weight.max(1e-3)) as u64
}

impl Turns {
    pub(crate) fn new(rng: &mut Rng) -> Turns {
        Turns { next: vec![], clocks: vec![], phase: rng.unit(), late: false }
    }

    /// Takes over what is known of slots that have other numbers now: `was` says for each which one it was.
    pub(crate) fn renumber(&mut self, was: impl Iterator<Item = Option<usize>>) {
        self.next = was.map(|was| was.and_then(|was| self.next.get(was).copied()).unwrap_or(0)).collect();
    }

    /// Makes room for so many groups.
    pub(crate) fn resize(&mut self, groups: usize) {
        self.clocks.resize(groups, 0);
        if std::mem::take(&mut self.late) {
            self.next.fill(0);
            self.clocks.fill(0);
        }
    }

    /// Whether virtual time has come so far that turns have to begin anew.
    pub(crate) fn are_late(&self) -> bool {
        self.late
    }

    fn clock(&self, group: usize) -> u64 {
        self.clocks.get(group).copied().unwrap_or(0)
    }

    /// Lets `index` take turns. Its next one is no earlier than now, and within a stride: one that it was waiting for, or else one that its
    /// number says.
    pub(crate) fn enter(&mut self, group: usize, index: u32, weight: f64) -> u64 {
        let (now, stride) = (self.clock(group), stride(weight));
        let known = self.next.get(index as usize).copied().unwrap_or(0);
        if known != 0 && (now..=now.saturating_add(stride)).contains(&known) {
            return known;
        }
        let offset = (self.phase + f64::from(index) * GOLDEN).fract();
        let next = now + (stride as f64 * offset) as u64 + 1;
        self.set(index, next);
        next
    }

    /// When the next turn of `index` is, or now when it was passed over.
    pub(crate) fn next(&self, group: usize, index: u32) -> u64 {
        self.next.get(index as usize).copied().unwrap_or(0).max(self.clock(group))
    }

    fn set(&mut self, index: u32, next: u64) {
        if let Some(known) = self.next.get_mut(index as usize) {
            *known = next;
        }
    }

    /// Says that `index` has its turn, which was due at `at`. When its next is.
    pub(crate) fn take(&mut self, group: usize, index: u32, at: u64, weight: f64) -> u64 {
        if let Some(clock) = self.clocks.get_mut(group) {
            *clock = at.max(*clock);
            self.late |= at > LAST;
        }
        let next = at + stride(weight);
        self.set(index, next);
        next
    }
}

/// Turns as a heap: the earliest is at the top.
#[derive(Debug)]
pub(crate) struct RoundRobin {
    group: usize,
    heap: BinaryHeap<Reverse<(u64, u32)>>,
}

impl RoundRobin {
    pub(crate) fn new(attempt: &Attempt<'_>, group: usize, members: &[u32], turns: &mut Turns) -> RoundRobin {
        let entry = |index: &u32| Reverse((turns.enter(group, *index, attempt.weight(*index)), *index));
        RoundRobin { group, heap: members.iter().map(entry).collect() }
    }

    pub(crate) fn choose(&mut self, attempt: &mut Attempt<'_>, turns: &mut Turns) -> Option<Lease> {
        for _ in 0..TRIES {
            let mut top = self.heap.peek_mut()?;
            let Reverse((at, index)) = *top;
            // Who cannot be used now loses its turn: the others should not wait for it.
            *top = Reverse((turns.take(self.group, index, at, attempt.weight(index)), index));
            drop(top);
            if let Some(lease) = attempt.take(index) {
                return Some(lease);
            }
        }
        None
    }
}
