//! A frame in the middle of a buffer: headers grow into the room before it.

pub(crate) use outwork_wire::octets::{read, word};

/// A frame with room around it.
#[derive(Debug)]
pub struct Frame<'a> {
    room: &'a mut [u8],
    start: usize,
    end: usize,
}

impl<'a> Frame<'a> {
    /// The frame that lies in `room` from `start` on, `length` octets long. `None` where it would not fit.
    pub fn new(room: &'a mut [u8], start: usize, length: usize) -> Option<Frame<'a>> {
        let end = start.checked_add(length).filter(|end| *end <= room.len())?;
        Some(Frame { room, start, end })
    }

    /// The frame.
    pub fn bytes(&self) -> &[u8] {
        self.room.get(self.start..self.end).unwrap_or_default()
    }

    /// Where it begins in its room.
    pub fn start(&self) -> usize {
        self.start
    }

    /// Makes it longer by `octets` at its beginning, or shorter. `None` where there is no room, and nothing has changed.
    pub(crate) fn grow(&mut self, octets: isize) -> Option<()> {
        let start = self.start.checked_add_signed(-octets).filter(|start| *start <= self.end)?;
        self.start = start;
        Some(())
    }

    /// So many octets at `at` of the frame.
    pub(crate) fn read<const N: usize>(&self, at: usize) -> Option<[u8; N]> {
        read(self.bytes(), at)
    }

    /// Puts `octets` at `at` of the frame.
    pub(crate) fn write(&mut self, at: usize, octets: &[u8]) -> Option<()> {
        let (from, to) = (self.start.checked_add(at)?, self.start.checked_add(at)?.checked_add(octets.len())?);
        let place = self.room.get_mut(from..to).filter(|_| to <= self.end)?;
        place.copy_from_slice(octets);
        Some(())
    }
}
