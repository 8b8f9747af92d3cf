//! How one is chosen among those who stand for election. Each policy is a chooser, which a worker owns: what it remembers is nobody else's.
//!
//! A chooser tries what its policy says; when that cannot be had (excluded, at its limit), it takes the next best, and in the end looks at everybody.

pub(crate) mod choices;
pub(crate) mod least;
pub mod maglev;
pub(crate) mod round_robin;

use outwork_engine::Rng;

use crate::attempt::Attempt;
use crate::hash;
use crate::lease::Lease;
use crate::level::Group;
use crate::policy::choices::Choices;
use crate::policy::least::Least;
use crate::policy::maglev::Maglev;
use crate::policy::round_robin::{RoundRobin, Turns};
use crate::rank::Cohort;
use crate::settings::Policy;

/// Choices that a policy makes before everybody is looked at.
pub(crate) const TRIES: usize = 32;

/// The chooser of one group.
#[derive(Debug)]
pub(crate) enum Chooser {
    RoundRobin(RoundRobin),
    Least(Least),
    Choices(Choices),
    Hash,
}

impl Chooser {
    /// The chooser of the group with this number. `turns` know whose turn it was, whatever plan that was in.
    pub(crate) fn new(attempt: &Attempt<'_>, number: usize, members: &[u32], turns: &mut Turns) -> Chooser {
        match attempt.pool.settings().policy {
            Policy::RoundRobin => Chooser::RoundRobin(RoundRobin::new(attempt, number, members, turns)),
            Policy::LeastConn => Chooser::Least(Least::new(attempt, number, members, turns)),
            Policy::Choices => Chooser::Choices(Choices::new(attempt, members)),
            Policy::IpHash | Policy::Maglev => Chooser::Hash,
        }
    }

    /// Takes a member of `group`. `hash` is that of the flow.
    pub(crate) fn choose(
        &mut self,
        attempt: &mut Attempt<'_>,
        (group, cohort): (&Group, &Cohort),
        hash: u64,
        turns: &mut Turns,
        rng: &mut Rng,
    ) -> Option<Lease> {
        if group.members.is_empty() && !attempt.ask.established {
            return None;
        }
        let chosen = match self {
            Chooser::RoundRobin(round) => round.choose(attempt, turns),
            Chooser::Least(least) => least.choose(attempt, &group.members, turns),
            Chooser::Choices(choices) => choices.choose(attempt, &group.members, rng),
            Chooser::Hash => {
                let table = cohort.table()?;
                return candidates(table, cohort.slots(), &group.members, table.place(hash))
                    .find_map(|index| attempt.take(index));
            }
        };
        chosen.or_else(|| around(&group.members, hash).find_map(|index| attempt.take(index)))
    }
}

/// All of `members`, from a place that follows from `hash`.
fn around(members: &[u32], hash: u64) -> impl Iterator<Item = u32> {
    let start = hash::below(hash, members.len() as u32) as usize;
    let (before, from) = members.split_at_checked(start).unwrap_or((&[], members));
    from.iter().chain(before).copied()
}

/// Slots in the order in which they are asked to take what falls on `place` of their table: `slots` as the table says, in the end all who
/// `stand` for election.
pub(crate) fn candidates(table: &Maglev, slots: &[u32], stand: &[u32], place: u32) -> impl Iterator<Item = u32> {
    let preferred = (0..TRIES as u32).filter_map(move |after| slots.get(table.member(place, after)?).copied());
    preferred.chain(around(stand, hash::mix(u64::from(place))))
}
