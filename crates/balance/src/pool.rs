//! Who is in a pool: an immutable snapshot. The owner makes another one of it, and swaps them under the workers.

use std::fmt;
use std::sync::Arc;

use outwork_engine::Time;

use crate::breaker::{Held, Refused, Resource, Scope};
use crate::ledger::Ledger;
use crate::member::{Member, Standing};
use crate::outlier::{self, Ejection};
use crate::rank::{self, Rank};
use crate::settings::{MAX_MEMBERS, MAX_WEIGHT, MemberSettings, PoolSettings};

/// A snapshot of a pool.
#[derive(Debug)]
pub struct Pool {
    settings: PoolSettings,
    /// By key.
    slots: Vec<Slot>,
    ranks: Vec<Rank>,
    ledger: Arc<Ledger>,
    generation: u64,
}

/// A member's place in a snapshot: what the settings say of it, beside what is known of it.
#[derive(Debug)]
pub struct Slot {
    member: Arc<Member>,
    settings: MemberSettings,
    leaving: Option<Time>,
}

impl Slot {
    /// What is known of it.
    pub fn member(&self) -> &Arc<Member> {
        &self.member
    }

    /// What the settings say of it, or said when it still was in them.
    pub fn settings(&self) -> &MemberSettings {
        &self.settings
    }

    /// Until when it may go on with what it has, when it is no longer in the settings.
    pub fn leaving(&self) -> Option<Time> {
        self.leaving
    }

    /// What it may be used for, in this snapshot.
    pub fn standing(&self, now: Time, trust_unknown: bool) -> Standing {
        match self.leaving {
            Some(until) if now < until => Standing::Draining,
            Some(_) => Standing::Drained,
            None => self.member.standing(now, trust_unknown),
        }
    }

    /// What it may go on with: that of before its draining, until the deadline of that.
    pub(crate) fn standing_for_established(&self, now: Time, trust_unknown: bool) -> Standing {
        match self.standing(now, trust_unknown) {
            Standing::Draining if self.member.draining().is_some_and(|until| until <= now) => Standing::Drained,
            Standing::Draining => self.member.fitness(now, trust_unknown),
            other => other,
        }
    }
}

/// A pool that cannot be.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum PoolError {
    /// Two members have the same key.
    Duplicate {
        /// The key.
        key: String,
    },
    /// A weight above [`MAX_WEIGHT`].
    Weight {
        /// Whose.
        key: String,
        /// The weight.
        weight: u32,
    },
    /// More members than [`MAX_MEMBERS`], those that drain included.
    TooMany {
        /// How many.
        members: usize,
    },
}

impl fmt::Display for PoolError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            PoolError::Duplicate { key } => write!(f, "backend `{key}` is in the pool twice: leave one out"),
            PoolError::Weight { key, weight } => {
                write!(f, "backend `{key}` has weight {weight}: expected 0 to {MAX_WEIGHT}")
            }
            PoolError::TooMany { members } => write!(
                f,
                "the pool has {members} backends, those that drain included: expected at most {MAX_MEMBERS}, divide it"
            ),
        }
    }
}

impl std::error::Error for PoolError {}

/// How many members of a pool are what.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Census {
    /// May be used for anything.
    pub usable: usize,
    /// Fail their checks.
    pub unhealthy: usize,
    /// Are ejected.
    pub ejected: usize,
    /// Drain, or are drained.
    pub draining: usize,
}

impl Pool {
    /// A pool that nobody knew before. Its members start with all of their weight: they cannot all start slowly.
    ///
    /// # Errors
    /// When its members cannot be a pool.
    pub fn new(settings: PoolSettings) -> Result<Pool, PoolError> {
        Pool::with(settings, Arc::default(), None)
    }

    /// The pool that the settings say now. Who was in it keeps what is known of it. Who is no longer in the settings stays for as long as
    /// [`PoolSettings::drain`] says, for the flows that it has. Nothing of this snapshot changes: who does not want the new one drops it.
    ///
    /// # Errors
    /// When its members cannot be a pool.
    pub fn rebuild(&self, settings: PoolSettings, now: Time) -> Result<Pool, PoolError> {
        Pool::with(settings, Arc::clone(&self.ledger), Some((self, now)))
    }

    fn with(mut settings: PoolSettings, ledger: Arc<Ledger>, before: Option<(&Pool, Time)>) -> Result<Pool, PoolError> {
        let mut members = std::mem::take(&mut settings.members);
        members.sort_by(|a, b| a.key.cmp(&b.key));
        if let Some(twice) = members.array_windows().find(|[a, b]| a.key == b.key).map(|[a, _]| a) {
            return Err(PoolError::Duplicate { key: twice.key.clone() });
        }
        if let Some(heavy) = members.iter().find(|member| member.weight > MAX_WEIGHT) {
            return Err(PoolError::Weight { key: heavy.key.clone(), weight: heavy.weight });
        }
        let mut slots = Vec::with_capacity(members.len());
        if let Some((old, now)) = before {
            let gone = old
                .slots
                .iter()
                .filter(|slot| members.binary_search_by(|member| member.key.as_str().cmp(slot.member.key())).is_err());
            slots.extend(gone.filter_map(|slot| {
                let until = slot.leaving.unwrap_or(now + settings.drain);
                (now < until).then(|| Slot {
                    member: Arc::clone(&slot.member),
                    settings: slot.settings.clone(),
                    leaving: Some(until),
                })
            }));
        }
        slots.extend(members.into_iter().map(|settings| {
            let known = before.and_then(|(old, _)| old.find(&settings.key)).map(|slot| Arc::clone(&slot.member));
            let up = before.map(|(_, now)| now);
            let member = known.unwrap_or_else(|| Arc::new(Member::new(&settings.key, &ledger, up)));
            Slot { member, settings, leaving: None }
        }));
        if slots.len() > MAX_MEMBERS {
            return Err(PoolError::TooMany { members: slots.len() });
        }
        slots.sort_by(|a, b| a.member.key().cmp(b.member.key()));
        let ranks = rank::ranks(&slots, &settings, before.map(|(old, _)| (old.ranks.as_slice(), old.slots.as_slice())));
        let generation = ledger.next_generation();
        Ok(Pool { settings, slots, ranks, ledger, generation })
    }

    /// What its owner says of it, but for the members: those are in [`Pool::slots`].
    pub fn settings(&self) -> &PoolSettings {
        &self.settings
    }

    /// Its members by key, those that are leaving included.
    pub fn slots(&self) -> &[Slot] {
        &self.slots
    }

    /// The member with this key.
    pub fn find(&self, key: &str) -> Option<&Slot> {
        self.slots.get(self.index(key)? as usize)
    }

    pub(crate) fn index(&self, key: &str) -> Option<u32> {
        self.slots.binary_search_by(|slot| slot.member.key().cmp(key)).ok().map(|index| index as u32)
    }

    /// The counts that it shares with every snapshot of the same pool.
    pub fn ledger(&self) -> &Arc<Ledger> {
        &self.ledger
    }

    /// The levels of priority, first things first.
    pub fn ranks(&self) -> &[Rank] {
        &self.ranks
    }

    /// Whether it has members, of which none has any weight.
    pub fn is_weightless(&self) -> bool {
        self.ranks.is_empty() && !self.slots.is_empty()
    }

    pub(crate) fn generation(&self) -> u64 {
        self.generation
    }

    /// How many members are what.
    pub fn census(&self, now: Time) -> Census {
        let mut census = Census::default();
        for slot in &self.slots {
            *match slot.standing(now, self.settings.trust_unknown) {
                Standing::Usable => &mut census.usable,
                Standing::Unhealthy => &mut census.unhealthy,
                Standing::Ejected => &mut census.ejected,
                Standing::Draining | Standing::Drained => &mut census.draining,
            } += 1;
        }
        census
    }

    /// Whether so few members of a level are usable that all of it is used, whatever their health.
    pub fn panics(&self, now: Time) -> bool {
        crate::level::Plan::new(self, now).levels.iter().any(|level| level.panicking)
    }

    /// When the next member that is leaving has left: a rebuild with the same settings takes it out.
    pub fn next_departure(&self) -> Option<Time> {
        self.slots.iter().filter_map(|slot| slot.leaving).min()
    }

    /// Counts one `resource` as under way, for the pool and for `member`, if that is known. Retries and hedges are a matter of
    /// [`Pool::again`].
    ///
    /// # Errors
    /// When a limit is reached.
    pub fn hold(&self, resource: Resource, member: Option<&Arc<Member>>) -> Result<Held, Refused> {
        // A member that is in another snapshot only has no limits here; the pool's hold for it, too.
        let slot = member.and_then(|member| self.find(member.key()));
        let own = slot.and_then(|slot| slot.settings.limits.of(resource));
        Held::take(&self.ledger, member, resource, (self.settings.limits.of(resource), own))
    }

    /// Counts a retry or a hedged request as under way: within the limits, and covered by the budget of the pool.
    ///
    /// # Errors
    /// When a limit is reached, or the budget is spent.
    pub fn again(&self, extra: Extra, member: Option<&Arc<Member>>, now: Time) -> Result<Held, Refused> {
        let (resource, budget, floor) = match extra {
            Extra::Retry => (Resource::Retries, self.settings.retry, &self.ledger.retry_floor),
            Extra::Hedge => (Resource::Hedges, self.settings.hedge, &self.ledger.hedge_floor),
        };
        let held = self.hold(resource, member)?;
        let gauge = self.ledger.gauge(resource);
        let active = self.ledger.gauge(Resource::Requests).now() + self.ledger.gauge(Resource::Pending).now();
        if !budget.covers(gauge.now(), active, floor, now) {
            gauge.refuse();
            return Err(Refused { resource, scope: Scope::Budget });
        }
        Ok(held)
    }

    /// Compares how members answered since the last sweep, and ejects those that stand out. One thread calls it every
    /// [`crate::OutlierSettings::interval`].
    pub fn sweep(&self, now: Time) -> Vec<Ejection> {
        outlier::sweep(self, now)
    }
}

/// What is done beyond what a client asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Extra {
    /// The same again, elsewhere, after a failure.
    Retry,
    /// The same elsewhere while the first is under way.
    Hedge,
}
