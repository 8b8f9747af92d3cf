//! How one is chosen among those who stand for election. Each policy is a chooser, which a worker owns: what it remembers is nobody else's.
//!
//! A chooser tries what its policy says; when that cannot be had (excluded, at its limit), it takes the next best, and in the end looks at everybody.

pub(crate) mod choices;
pub(crate) mod least;
pub mod maglev;
pub(crate) mod round_robin;

use outwork_engine::Rng;

use crate::attempt::Attempt;
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
            Chooser::Hash => cohort.table().and_then(|table| by_hash(attempt, cohort, table, hash)),
        };
        chosen.or_else(|| {
            // From a place that follows from the flow, so that hashed flows keep their member even here.
            let start = crate::hash::below(hash, group.members.len());
            let (before, from) = group.members.split_at_checked(start)?;
            from.iter().chain(before).find_map(|index| attempt.take(*index))
        })
    }
}

fn by_hash(attempt: &mut Attempt<'_>, cohort: &Cohort, table: &Maglev, hash: u64) -> Option<Lease> {
    (0..TRIES as u32).find_map(|after| attempt.take(*cohort.slots().get(table.lookup(hash, after)?)?))
}
