//! Fewest requests in flight by weight; among equals whoever's turn it is.
//!
//! Counts change under every worker's hands, so no order of them can be kept without a lock: they are looked at. Of pools with more members than
//! [`WINDOW`], a window is, which moves on by its length with every choice: each member is looked at every so often, and the cost has a bound.

use crate::attempt::Attempt;
use crate::breaker::Resource;
use crate::lease::Lease;
use crate::policy::round_robin::Turns;

/// Members that are looked at for one choice.
pub(crate) const WINDOW: usize = 128;

#[derive(Debug)]
pub(crate) struct Least {
    group: usize,
    /// Where the next window begins.
    start: usize,
}

impl Least {
    pub(crate) fn new(attempt: &Attempt<'_>, group: usize, members: &[u32], turns: &mut Turns) -> Least {
        for index in members {
            turns.enter(group, *index, attempt.weight(*index));
        }
        Least { group, start: 0 }
    }

    pub(crate) fn choose(&mut self, attempt: &mut Attempt<'_>, members: &[u32], turns: &mut Turns) -> Option<Lease> {
        let (first, rest) = match members.len() <= WINDOW {
            true => (members, &[][..]),
            false => {
                let (before, from) = members.split_at_checked(self.start).unwrap_or((&[], members));
                let window = from.get(..WINDOW).unwrap_or(from);
                self.start = (self.start + WINDOW) % members.len();
                (window, before.get(..WINDOW - window.len()).unwrap_or(before))
            }
        };
        let mut best: Option<(f64, u64, u32)> = None;
        for index in first.iter().chain(rest).copied() {
            let Some(slot) = attempt.pool.slots().get(index as usize) else { continue };
            let load = f64::from(slot.member().gauge(Resource::Requests).now()) / attempt.weight(index);
            // Whether it may be taken is asked last, for it costs the most and few get that far.
            if best.is_some_and(|(least, ..)| load > least) {
                continue;
            }
            let turn = turns.next(self.group, index);
            let better = best.is_none_or(|(least, first, _)| load < least || turn < first);
            if better && attempt.admitted(index).is_some() {
                best = Some((load, turn, index));
            }
        }
        let (_, turn, index) = best?;
        turns.take(self.group, index, turn, attempt.weight(index));
        attempt.take(index)
    }
}
