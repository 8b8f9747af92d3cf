//! When messages count as lost.
#![deny(clippy::disallowed_methods)]

use std::cmp::Reverse;
use std::collections::{BinaryHeap, VecDeque};

use outwork_engine::Time;

/// Deadlines of exchanges, by transaction id. Most come in the order in which they are set, and cost next to nothing.
#[derive(Debug, Default)]
pub(super) struct Deadlines {
    /// Ascending.
    in_order: VecDeque<(Time, u32)>,
    others: BinaryHeap<Reverse<(Time, u32)>>,
}

impl Deadlines {
    pub(super) fn push(&mut self, deadline: Time, xid: u32) {
        if self.in_order.back().is_none_or(|(last, _)| *last <= deadline) {
            self.in_order.push_back((deadline, xid));
        } else {
            self.others.push(Reverse((deadline, xid)));
        }
    }

    /// The next deadline.
    pub(super) fn next(&self) -> Option<Time> {
        let in_order = self.in_order.front().map(|(deadline, _)| *deadline);
        in_order.into_iter().chain(self.others.peek().map(|other| other.0.0)).min()
    }

    /// Takes the next deadline, if it is not behind `now`.
    pub(super) fn pop(&mut self, now: Time) -> Option<(Time, u32)> {
        let next = self.next().filter(|next| *next <= now)?;
        if self.in_order.front().is_some_and(|(deadline, _)| *deadline == next) {
            self.in_order.pop_front()
        } else {
            self.others.pop().map(|other| other.0)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn deadlines_pass_in_order_however_they_were_set() {
        let mut deadlines = Deadlines::default();
        for (number, at) in [5, 3, 9, 4, 9, 1].into_iter().enumerate() {
            deadlines.push(Time::from_nanos(at), number as u32);
        }
        let mut passed = Vec::new();
        while let Some((deadline, _)) = deadlines.pop(Time::from_nanos(8)) {
            passed.push(deadline);
        }
        assert_eq!(passed, [1, 3, 4, 5].map(Time::from_nanos));
        assert_eq!(deadlines.next(), Some(Time::from_nanos(9)));
    }
}
