//! What a worker asks: who serves this?

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use outwork_engine::{Rng, Time};

use crate::attempt::{Ask, Attempt};
use crate::breaker::{Resource, Scope};
use crate::hash;
use crate::lease::{How, Lease};
use crate::ledger::Ledger;
use crate::level::{Group, Plan, WHOLE};
use crate::member::{MemberId, Standing};
use crate::policy::Chooser;
use crate::policy::round_robin::Turns;
use crate::pool::Pool;
use crate::settings::Policy;

/// Why nobody serves it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum NoBackend {
    /// The pool has no members.
    Empty,
    /// All members have weight 0.
    Weightless,
    /// All fail their checks or are ejected, and there is no panic threshold.
    Unhealthy,
    /// Those that could have are on their way out.
    Draining,
    /// Those that could have are excluded by the one who asks.
    Excluded,
    /// Those that could have are at their limits.
    MemberLimits,
    /// The pool is at its limit.
    PoolLimit,
}

impl NoBackend {
    /// All of them, in order.
    pub const ALL: [NoBackend; 7] = [
        NoBackend::Empty,
        NoBackend::Weightless,
        NoBackend::Unhealthy,
        NoBackend::Draining,
        NoBackend::Excluded,
        NoBackend::MemberLimits,
        NoBackend::PoolLimit,
    ];

    /// As a label of a metric.
    pub const fn name(self) -> &'static str {
        match self {
            NoBackend::Empty => "empty",
            NoBackend::Weightless => "weightless",
            NoBackend::Unhealthy => "unhealthy",
            NoBackend::Draining => "draining",
            NoBackend::Excluded => "excluded",
            NoBackend::MemberLimits => "member_limits",
            NoBackend::PoolLimit => "pool_limit",
        }
    }
}

impl fmt::Display for NoBackend {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            NoBackend::Empty => "the pool has no backends",
            NoBackend::Weightless => "no backend of the pool has any weight",
            NoBackend::Unhealthy => "no backend is healthy",
            NoBackend::Draining => "the backends that are left are draining",
            NoBackend::Excluded => "every backend that is usable has been tried",
            NoBackend::MemberLimits => "every backend that is usable has as many requests as it may have",
            NoBackend::PoolLimit => "the pool has as many requests as it may have",
        })
    }
}

impl std::error::Error for NoBackend {}

/// Picks members of one pool for one worker, whatever snapshot of the pool is current. What it remembers is its own; what all know is in the members.
#[derive(Debug)]
pub struct Picker {
    rng: Rng,
    turns: Turns,
    /// The snapshot and the version of the ledger that the plan is of.
    made_of: Option<(Arc<Ledger>, u64, u64)>,
    /// The slots of that snapshot.
    members: Vec<MemberId>,
    plan: Plan,
    /// As the plan's levels and groups.
    choosers: Vec<Vec<Chooser>>,
}

impl Picker {
    /// A picker with the generator of its worker. Workers need different ones, or they will all do the same.
    pub fn new(mut rng: Rng) -> Picker {
        let turns = Turns::new(&mut rng);
        Picker { rng, turns, made_of: None, members: vec![], plan: Plan::default(), choosers: vec![] }
    }

    /// Picks a member.
    ///
    /// # Errors
    /// When nobody can serve it, with what was in the way of the one that came nearest.
    pub fn pick(&mut self, pool: &Pool, ask: &Ask<'_>, now: Time) -> Result<Lease, NoBackend> {
        let requests = pool.ledger().gauge(Resource::Requests);
        if !requests.has_room(pool.settings().limits.requests) {
            requests.refuse();
            return Err(NoBackend::PoolLimit);
        }
        let mut attempt = Attempt::new(pool, ask, now);
        if let Some(index) = ask.sticky.and_then(|key| pool.index(key)) {
            attempt.how = How::Sticky;
            if let Some(lease) = attempt.take(index) {
                return Ok(lease);
            }
        }
        let mut fresh = self.refresh(pool, ask, now, false);
        let hash = self.hash(pool.settings().policy, ask);
        loop {
            let home = drawn(self.plan.levels.iter().map(|level| level.share), hash::mix(hash ^ 1));
            for number in from(home, self.plan.levels.len()) {
                if let Some(lease) = self.pick_in(number, pool, &mut attempt, hash) {
                    return Ok(lease);
                }
            }
            // There may be somebody of whom the plan does not know yet.
            if fresh || !self.refresh(pool, ask, now, true) {
                break;
            }
            fresh = true;
        }
        Err(match attempt.limited {
            Some(Scope::Member) => NoBackend::MemberLimits,
            Some(Scope::Pool | Scope::Budget) => NoBackend::PoolLimit,
            None if attempt.excluded => NoBackend::Excluded,
            None => absence(pool, now),
        })
    }

    /// Picks a member of one level.
    fn pick_in(&mut self, number: usize, pool: &Pool, attempt: &mut Attempt<'_>, hash: u64) -> Option<Lease> {
        let (level, rank) = (self.plan.levels.get(number)?, pool.ranks().get(number)?);
        let choosers = self.choosers.get_mut(number)?;
        attempt.how = if level.panicking { How::Panic } else { How::Policy };
        let home = drawn(level.groups.iter().map(|group| group.share), hash::mix(hash ^ 2));
        from(home, level.groups.len()).find_map(|number| {
            let (group, cohort) = (level.groups.get(number)?, rank.cohorts().get(number)?);
            let chooser = choosers.get_mut(number)?;
            chooser.choose(attempt, (group, cohort), hash, &mut self.turns, &mut self.rng)
        })
    }

    /// The hash of what is asked for; a random one where the policy does not hash, or has nothing to hash.
    fn hash(&mut self, policy: Policy, ask: &Ask<'_>) -> u64 {
        let by_client = || ask.client.map(hash::address);
        let hash = match policy {
            Policy::IpHash => by_client().or(ask.hash.map(hash::mix)),
            Policy::Maglev => ask.hash.map(hash::mix).or_else(by_client),
            _ => None,
        };
        hash.unwrap_or_else(|| self.rng.next_u64())
    }

    /// Makes the plan anew when it is not of this snapshot, or something has changed since and it is time for another, or `at_once`. Whether it
    /// has.
    fn refresh(&mut self, pool: &Pool, ask: &Ask<'_>, now: Time, at_once: bool) -> bool {
        // Read before anything that it stands for: what changes from here on is seen the next time.
        let (ledger, generation, version) = (pool.ledger(), pool.generation(), pool.ledger().version());
        let (same, current) = match &self.made_of {
            Some((of, old, at)) => {
                let same = Arc::ptr_eq(of, ledger) && *old == generation;
                (same, same && *at == version)
            }
            None => (false, false),
        };
        let current = current && now < self.plan.until && !self.turns.are_late();
        if current || (same && !at_once && now < self.plan.made + pace(pool.slots().len())) {
            return false;
        }
        if !same {
            self.renumber(pool);
        }
        self.made_of = Some((Arc::clone(ledger), generation, version));
        self.plan = Plan::new(pool, now);
        self.turns.resize(self.plan.levels.iter().map(|level| level.groups.len()).sum());
        let (attempt, mut number) = (Attempt::new(pool, ask, now), 0..);
        let (turns, levels) = (&mut self.turns, &self.plan.levels);
        let mut chooser =
            |group: &Group| Chooser::new(&attempt, number.next().unwrap_or_default(), &group.members, turns);
        self.choosers = levels.iter().map(|level| level.groups.iter().map(&mut chooser).collect()).collect();
        true
    }

    /// Takes over whose turn it is into another snapshot.
    fn renumber(&mut self, pool: &Pool) {
        let ids = pool.slots().iter().map(|slot| slot.member().id());
        if !pool.settings().policy.takes_turns() {
            self.members.clear();
            return;
        }
        let same_pool = self.made_of.as_ref().is_some_and(|(of, ..)| Arc::ptr_eq(of, pool.ledger()));
        let mut was: Vec<(MemberId, usize)> = vec![];
        if same_pool {
            was.extend(self.members.iter().enumerate().map(|(index, id)| (*id, index)));
            was.sort_unstable();
        }
        self.turns.renumber(ids.clone().map(|id| {
            let found = was.binary_search_by_key(&id, |(id, _)| *id).ok()?;
            was.get(found).map(|(_, index)| *index)
        }));
        self.members = ids.collect();
    }
}

/// How long a plan for so many members stands at least. Making one looks at everybody, which costs some nanoseconds each: where members change
/// one after another, as when a rack fails, that is a few percent of a worker's time at most. What a change means for the member itself is
/// seen at once; only the shares of others follow, within 10 ms for ten thousand.
fn pace(members: usize) -> Duration {
    /// Below this a plan costs no more than a pick.
    const FEW: usize = 100;
    if members <= FEW { Duration::ZERO } else { Duration::from_micros(members as u64) }
}

/// Which share `hash` falls into.
fn drawn(shares: impl Iterator<Item = u32>, hash: u64) -> usize {
    let point = hash::below(hash, WHOLE);
    let mut sum = 0;
    let mut ends = shares.map(|share| {
        sum += share;
        sum
    });
    ends.position(|end| point < end).unwrap_or(0)
}

/// 0 to `count` - 1, `first` first.
fn from(first: usize, count: usize) -> impl Iterator<Item = usize> {
    std::iter::once(first).filter(move |first| *first < count).chain((0..count).filter(move |other| *other != first))
}

/// Why there is nobody at all.
fn absence(pool: &Pool, now: Time) -> NoBackend {
    let indices = pool.ranks().iter().flat_map(|rank| rank.cohorts()).flat_map(|cohort| cohort.slots());
    let standings = indices.filter_map(|index| pool.slots().get(*index as usize)).map(|slot| {
        match slot.standing(now, pool.settings().trust_unknown) {
            Standing::Draining | Standing::Drained => NoBackend::Draining,
            Standing::Usable | Standing::Unhealthy | Standing::Ejected => NoBackend::Unhealthy,
        }
    });
    standings.min().unwrap_or(match pool.is_weightless() {
        true => NoBackend::Weightless,
        false => NoBackend::Empty,
    })
}
