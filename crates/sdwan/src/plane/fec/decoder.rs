//! What is missing of groups, found when enough has come that mends.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};
use std::time::Duration;

use outwork_engine::Time;

use super::PREFIX;
use super::field::{Square, add, coefficient, undo};
use crate::plane::frame::{Frame, Part, Shape};

/// Octets of sums of one stream, at most: as many groups as are open have some.
const ROOM: usize = 128 << 10;
/// Groups that are known at once, however long their packets are.
const GROUPS: std::ops::RangeInclusive<usize> = 4..=64;
/// What comes later than that behind the first of its group is missed by nobody any more.
const LATE: Duration = Duration::from_secs(1);
const ROWS: usize = Shape::PARITY as usize;
const PLACES: usize = Shape::DATA as usize;

/// Octets that many decoders may take together.
#[derive(Debug)]
pub struct Budget(AtomicUsize);

impl Budget {
    /// So many.
    pub fn new(octets: usize) -> Budget {
        Budget(AtomicUsize::new(octets))
    }

    /// Octets that nobody has taken.
    pub fn left(&self) -> usize {
        self.0.load(Relaxed)
    }

    fn take(&self, octets: usize) -> bool {
        self.0.fetch_update(Relaxed, Relaxed, |left| left.checked_sub(octets)).is_ok()
    }

    fn give(&self, octets: usize) {
        self.0.fetch_add(octets, Relaxed);
    }
}

/// What is known of one group.
#[derive(Debug, Clone, Copy, Default)]
struct Group {
    /// None of them yet.
    number: Option<u32>,
    begun: Time,
    /// By place: what has come, or was mended.
    had: u32,
    /// By row: what has come that mends.
    rows: u8,
    /// Packets; 0 until that is said.
    data: u8,
    longest: usize,
    /// Where its sums are; none before there is something to sum up, and when nothing more is to be done.
    sums: Option<usize>,
    /// Nothing more is to be done.
    done: bool,
}

/// The groups of one stream that came last.
#[derive(Debug)]
pub struct Decoder {
    parity: u8,
    /// Octets of each sum that there is room for.
    room: usize,
    groups: Box<[Group]>,
    /// By row, of one group each. As many as groups were open at a time.
    sums: Vec<Box<[u8]>>,
    /// Those of no group: all zeroes.
    free: Vec<usize>,
    /// Empty until something is mended.
    mended: Box<[u8]>,
    /// Packets that were mended.
    count: u64,
    budget: Arc<Budget>,
}

impl Decoder {
    /// A stream of packets of at most `mtu` octets, groups of which are mended as `shape` says, as far as `budget` has room for their sums.
    pub fn new(shape: Shape, mtu: usize, budget: &Arc<Budget>) -> Decoder {
        let room = mtu + PREFIX;
        let each = room * usize::from(shape.parity());
        let count = (ROOM / each).clamp(*GROUPS.start(), *GROUPS.end());
        Decoder {
            parity: shape.parity(),
            room,
            groups: vec![Group::default(); count].into(),
            sums: vec![],
            free: vec![],
            mended: Box::default(),
            count: 0,
            budget: Arc::clone(budget),
        }
    }

    /// Octets of the sums of a group.
    fn each(&self) -> usize {
        self.room * usize::from(self.parity)
    }

    /// Octets of all sums.
    pub fn octets(&self) -> usize {
        self.sums.len() * self.each()
    }

    /// Takes what stands behind a frame of its stream. Says whether it is a packet that is to be handed on; what it lets be mended is handed to `each`.
    pub fn push(&mut self, now: Time, frame: &Frame, octets: &[u8], each: impl FnMut(&[u8])) -> bool {
        let Some(at) = self.group(now, frame.number) else {
            // So late that nobody knows whether it was mended: twice is better than never.
            return matches!(frame.part, Part::Data { .. });
        };
        let fresh = match frame.part {
            Part::Data { place, shape } => self.data(now, at, (place, shape), octets),
            Part::Parity { row, shape } => {
                self.mends(now, at, (row, shape.data()), octets);
                false
            }
            Part::Twice => return false,
        };
        self.mend(now, at, each);
        fresh
    }

    /// Packets that were mended.
    pub fn mended(&self) -> u64 {
        self.count
    }

    /// The place of a group; none where later ones have it.
    fn group(&mut self, now: Time, number: u32) -> Option<usize> {
        let at = number as usize % self.groups.len().max(1);
        match self.groups.get(at)?.number {
            Some(known) if known == number => {}
            // Half of all numbers are before, and half behind.
            Some(known) if number.wrapping_sub(known) > u32::MAX / 2 => return None,
            _ => {
                self.end(at);
                *self.groups.get_mut(at)? = Group { number: Some(number), begun: now, ..Group::default() };
            }
        }
        Some(at)
    }

    /// Nothing more is to be done for a group: others have its sums from now on.
    fn end(&mut self, at: usize) {
        let Some(group) = self.groups.get_mut(at) else { return };
        group.done = true;
        let Some(sums) = group.sums.take() else { return };
        let longest = group.longest;
        for sum in self.sums.get_mut(sums).into_iter().flat_map(|sums| sums.chunks_exact_mut(self.room)) {
            sum.get_mut(..longest).unwrap_or_default().fill(0);
        }
        self.free.push(sums);
    }

    /// Sees to it that a group has sums. Where there is no room for any it is mended by nobody: false.
    fn begin(&mut self, now: Time, at: usize) -> bool {
        if self.groups.get(at).is_none_or(|group| group.done) {
            return false;
        }
        if self.groups.get(at).is_some_and(|group| group.sums.is_some()) {
            return true;
        }
        if self.free.is_empty() {
            // What mends it has not come, and would come too late.
            let late = |group: &Group| group.sums.is_some() && now.since(group.begun) > LATE;
            if let Some(late) = self.groups.iter().position(late) {
                self.end(late);
            } else if self.budget.take(self.each()) {
                self.free.push(self.sums.len());
                self.sums.push(vec![0; self.each()].into());
            }
        }
        let sums = self.free.pop();
        if let Some(group) = self.groups.get_mut(at) {
            (group.sums, group.done) = (sums, sums.is_none());
        }
        sums.is_some()
    }

    /// What is summed up in a row of the group at `at`.
    fn sum(&mut self, at: usize, row: u8) -> Option<&mut [u8]> {
        let sums = self.groups.get(at)?.sums?;
        let start = usize::from(row) * self.room;
        self.sums.get_mut(sums)?.get_mut(start..start + self.room)
    }

    /// Takes a packet. False where it was there, or was mended.
    fn data(&mut self, now: Time, at: usize, (place, shape): (u8, Shape), packet: &[u8]) -> bool {
        let bit = 1u32.checked_shl(place.into()).unwrap_or_default();
        let (Some(group), Ok(length)) = (self.groups.get_mut(at), u16::try_from(packet.len())) else { return true };
        if group.had & bit != 0 {
            return false;
        }
        group.had |= bit;
        if PREFIX + packet.len() > self.room || group.had.count_ones() >= u32::from(shape.data()) {
            // It is handed on, and what it would help to mend is not; or nothing is missing.
            self.end(at);
            return true;
        }
        if !self.begin(now, at) {
            return true;
        }
        if let Some(group) = self.groups.get_mut(at) {
            group.longest = group.longest.max(PREFIX + packet.len());
        }
        for row in 0..self.parity {
            let factor = coefficient(row, place);
            if let Some((prefix, rest)) = self.sum(at, row).and_then(|sum| sum.split_at_mut_checked(PREFIX)) {
                add(prefix, &length.to_be_bytes(), factor);
                add(rest, packet, factor);
            }
        }
        true
    }

    /// Takes what mends a group of `data` packets.
    fn mends(&mut self, now: Time, at: usize, (row, data): (u8, u8), octets: &[u8]) {
        if row >= self.parity || !self.begin(now, at) {
            return;
        }
        let room = self.room;
        let Some(group) = self.groups.get_mut(at).filter(|group| group.rows >> row & 1 == 0) else { return };
        // What it is filled up with is behind it, and adds nothing.
        let octets = octets.get(..octets.len().min(room)).unwrap_or_default();
        group.rows |= 1 << row;
        group.data = data;
        group.longest = group.longest.max(octets.len());
        if let Some(sum) = self.sum(at, row) {
            add(sum, octets, 1);
        }
    }

    /// Hands to `each` what was missing of a group, if that can be told.
    fn mend(&mut self, now: Time, at: usize, mut each: impl FnMut(&[u8])) {
        let Some(group) = self.groups.get(at).copied().filter(|group| !group.done && group.data > 0) else { return };
        let (mut places, mut missing) = ([0; PLACES], 0);
        for place in (0..group.data).filter(|place| group.had.checked_shr((*place).into()).unwrap_or_default() & 1 == 0)
        {
            if let Some(slot) = places.get_mut(missing) {
                (*slot, missing) = (place, missing + 1);
            }
        }
        let (mut rows, mut usable) = ([0; ROWS], 0);
        for row in (0..self.parity).filter(|row| group.rows >> row & 1 != 0) {
            if let Some(slot) = rows.get_mut(usable) {
                (*slot, usable) = (row, usable + 1);
            }
        }
        if missing > usable {
            return;
        }
        if missing == 0 || now.since(group.begun) > LATE {
            return self.end(at);
        }
        let (places, rows) = (places.get(..missing).unwrap_or_default(), rows.get(..missing).unwrap_or_default());
        let Some(undone): Option<Square<ROWS>> = undo(rows, places) else { return self.end(at) };
        if self.mended.is_empty() {
            self.mended = vec![0; self.room].into();
        }
        for (place, factors) in places.iter().zip(undone) {
            self.find(at, group.longest, rows, &factors);
            let length = self.mended.first_chunk().map_or(0, |length| usize::from(u16::from_be_bytes(*length)));
            if let Some(packet) = self.mended.get(PREFIX..PREFIX + length).filter(|_| PREFIX + length <= group.longest)
            {
                each(packet);
                self.count += 1;
            }
            if let Some(group) = self.groups.get_mut(at) {
                group.had |= 1u32.checked_shl((*place).into()).unwrap_or_default();
            }
        }
        self.end(at);
    }

    /// Adds up one packet with its length.
    fn find(&mut self, at: usize, longest: usize, rows: &[u8], factors: &[u8]) {
        let mut mended = std::mem::take(&mut self.mended);
        mended.get_mut(..longest).unwrap_or_default().fill(0);
        for (row, factor) in rows.iter().zip(factors) {
            if let Some(sum) = self.sum(at, *row).and_then(|sum| sum.get(..longest)) {
                add(&mut mended, sum, *factor);
            }
        }
        self.mended = mended;
    }
}

impl Drop for Decoder {
    fn drop(&mut self) {
        self.budget.give(self.octets());
    }
}
