//! What the owner of a pool says of it.

use std::time::Duration;

use crate::breaker::Limits;
use crate::budget::BudgetSettings;
use crate::outlier::OutlierSettings;
use crate::slow::SlowStart;

/// Members of one pool at most: a place in a Maglev table is 16 bits.
pub const MAX_MEMBERS: usize = 65_535;
/// The greatest weight.
pub const MAX_WEIGHT: u32 = 65_535;

/// How a member is chosen among those of the same priority and zone.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Policy {
    /// In turn, by weight, and spread: 5, 1, 1 gives a turn of seven in which the light ones do not follow each other.
    #[default]
    RoundRobin,
    /// The fewest requests in flight by weight; whoever's turn it is among equals.
    LeastConn,
    /// The better of two random members, by latency, requests in flight and weight.
    Choices,
    /// The same member for the same client address, by a Maglev table.
    IpHash,
    /// The same member for the same hash, by a Maglev table.
    Maglev,
}

impl Policy {
    /// Whether it remembers whose turn it is.
    pub const fn takes_turns(self) -> bool {
        matches!(self, Policy::RoundRobin | Policy::LeastConn)
    }

    /// Whether it needs a Maglev table.
    pub const fn hashes(self) -> bool {
        matches!(self, Policy::IpHash | Policy::Maglev)
    }
}

/// A pool.
#[derive(Debug, Clone, PartialEq)]
pub struct PoolSettings {
    /// Who is in it, in any order.
    pub members: Vec<MemberSettings>,
    /// How one is chosen.
    pub policy: Policy,
    /// In percent: a level takes all of its share until fewer than 100 / this of it are usable (Envoy's overprovisioning factor; 140).
    /// Not below 100.
    pub overprovisioning: u32,
    /// In percent of a level: when fewer are usable, and no other level makes up for it, health is ignored there. 0 is never.
    pub panic_threshold: u32,
    /// Which zone is ours.
    pub zone: Option<ZonePreference>,
    /// How members that come up get their weight.
    pub slow_start: Option<SlowStart>,
    /// The time constant with which latencies are forgotten.
    pub latency_decay: Duration,
    /// How long what is taken out of the pool may go on with the flows that it has.
    pub drain: Duration,
    /// Whether a member is used that no check has seen yet.
    pub trust_unknown: bool,
    /// Limits of the whole pool.
    pub limits: Limits,
    /// Passive health checks.
    pub outlier: Option<OutlierSettings>,
    /// How much may be tried again.
    pub retry: BudgetSettings,
    /// How much may be asked twice at once.
    pub hedge: BudgetSettings,
}

impl Default for PoolSettings {
    fn default() -> Self {
        PoolSettings {
            members: vec![],
            policy: Policy::default(),
            overprovisioning: 140,
            panic_threshold: 50,
            zone: None,
            slow_start: None,
            latency_decay: Duration::from_secs(10),
            drain: Duration::from_secs(30),
            trust_unknown: true,
            limits: Limits::default(),
            outlier: None,
            retry: BudgetSettings { ratio: 0.2, floor: 10 },
            hedge: BudgetSettings { ratio: 0.0, floor: 0 },
        }
    }
}

/// A member of a pool.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MemberSettings {
    /// What it is known by as long as it lives, such as its address. Unique in the pool.
    pub key: String,
    /// Its part of the load, 0 to [`MAX_WEIGHT`]. With 0 it gets only what names it.
    pub weight: u32,
    /// 0 is used first; higher ones when that fails.
    pub priority: u32,
    /// Where it is.
    pub zone: Option<String>,
    /// Limits of this member.
    pub limits: Limits,
}

impl MemberSettings {
    /// A member of weight 1 and priority 0, without a zone or limits.
    pub fn new(key: impl Into<String>) -> Self {
        MemberSettings { key: key.into(), weight: 1, priority: 0, zone: None, limits: Limits::default() }
    }

    /// The same with another weight.
    pub fn weight(self, weight: u32) -> Self {
        MemberSettings { weight, ..self }
    }
}

/// Members of the own zone first, as long as enough of them are usable: zones are to a level what levels are to a pool.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ZonePreference {
    /// The zone that we are in.
    pub zone: String,
    /// A level with fewer members than this in our zone is used as if there were no zones, lest few members take the load of many.
    pub at_least: u32,
}
