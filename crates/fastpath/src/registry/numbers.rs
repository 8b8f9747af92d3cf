//! Who has which place in an array. A number that is given back is the last to be taken again: what still bears it has time to go.

use std::collections::VecDeque;

#[derive(Debug)]
pub(crate) struct Numbers {
    free: VecDeque<u32>,
}

impl Numbers {
    pub(crate) fn new(size: u32) -> Numbers {
        Numbers { free: (0..size).collect() }
    }

    pub(crate) fn left(&self) -> usize {
        self.free.len()
    }

    pub(crate) fn next(&mut self) -> Option<u32> {
        self.free.pop_front()
    }

    /// Takes a certain number. Says whether it was free.
    pub(crate) fn take(&mut self, number: u32) -> bool {
        let at = self.free.iter().position(|free| *free == number);
        at.and_then(|at| self.free.remove(at)).is_some()
    }

    pub(crate) fn give_back(&mut self, number: u32) {
        self.free.push_back(number);
    }
}
