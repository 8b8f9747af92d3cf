//! What mends a group, summed up while its packets pass.

use std::time::Duration;

use outwork_engine::Time;

use super::PREFIX;
use super::field::{add, coefficient};
use crate::plane::frame::{Frame, Part, Shape};

/// A group that is not full by then is closed as it is: what it has lost is not to be missed any longer.
pub const PATIENCE: Duration = Duration::from_millis(20);

/// The groups of one stream, one after the other.
#[derive(Debug)]
pub struct Encoder {
    stream: u32,
    group: u32,
    shape: Shape,
    count: u8,
    /// Octets of the longest, with its length.
    longest: usize,
    begun: Time,
    /// Octets of each sum that there is room for.
    room: usize,
    sums: Box<[u8]>,
}

impl Encoder {
    /// A stream that nobody has heard of, of packets of at most `mtu` octets.
    pub fn new(stream: u32, shape: Shape, mtu: usize) -> Encoder {
        let room = mtu + PREFIX;
        let sums = vec![0; room * usize::from(shape.parity())].into();
        Encoder { stream, group: 0, shape, count: 0, longest: 0, begun: Time::ZERO, room, sums }
    }

    /// What its groups are.
    pub fn shape(&self) -> Shape {
        self.shape
    }

    /// Takes a packet into the group. None where it is too long, or the group is full and not closed yet.
    pub fn push(&mut self, now: Time, packet: &[u8]) -> Option<Frame> {
        let (length, place, shape) = (u16::try_from(packet.len()).ok()?, self.count, self.shape);
        if PREFIX + packet.len() > self.room || self.is_full() {
            return None;
        }
        if place == 0 {
            self.begun = now;
        }
        for (sum, row) in self.sums.chunks_exact_mut(self.room).zip(0..) {
            let factor = coefficient(row, place);
            let (prefix, rest) = sum.split_at_mut_checked(PREFIX)?;
            add(prefix, &length.to_be_bytes(), factor);
            add(rest, packet, factor);
        }
        (self.count, self.longest) = (place + 1, self.longest.max(PREFIX + packet.len()));
        Some(Frame { stream: self.stream, number: self.group, part: Part::Data { place, shape } })
    }

    /// Whether the group is to be closed before another packet.
    pub fn is_full(&self) -> bool {
        self.count >= self.shape.data()
    }

    /// When the group is to be closed at the latest; none while it is empty.
    pub fn due(&self) -> Option<Time> {
        (self.count > 0).then(|| self.begun + PATIENCE)
    }

    /// Hands what mends the group to `each`, and begins the next one.
    pub fn close(&mut self, mut each: impl FnMut(Frame, &[u8])) {
        if self.count == 0 {
            return;
        }
        let shape = Shape::new(self.count, self.shape.parity());
        for (sum, row) in self.sums.chunks_exact_mut(self.room).zip(0..) {
            let sum = sum.get_mut(..self.longest).unwrap_or_default();
            each(Frame { stream: self.stream, number: self.group, part: Part::Parity { row, shape } }, sum);
            sum.fill(0);
        }
        (self.group, self.count, self.longest) = (self.group.wrapping_add(1), 0, 0);
    }
}
