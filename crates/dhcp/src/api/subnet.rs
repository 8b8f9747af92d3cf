//! Subnets and their pools: how full they are.

use super::lease::usual_time;
use crate::engine::{Engine, PoolUse};
use serde::Serialize;
use utoipa::ToSchema;

/// Addresses of pools, by what they are doing.
#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize, ToSchema)]
pub struct Counts {
    /// Addresses that can be handed out.
    pub total: u64,
    /// Bound to a client.
    pub active: u64,
    /// Offered to one.
    pub offered: u64,
    /// In quarantine.
    pub declined: u64,
    /// Held by nobody.
    pub free: u64,
    /// Part that somebody holds, 0 to 1.
    pub utilisation: f64,
}

impl Counts {
    fn of<'p>(pools: impl IntoIterator<Item = &'p PoolUse>) -> Self {
        let mut counts = Self::default();
        for pool in pools {
            counts.total += pool.total;
            counts.active += u64::from(pool.active);
            counts.offered += u64::from(pool.offered);
            counts.declined += u64::from(pool.declined);
        }
        counts.complete()
    }

    fn complete(mut self) -> Self {
        let held = self.active + self.offered + self.declined;
        self.free = self.total.saturating_sub(held);
        self.utilisation = if self.total == 0 { 0.0 } else { (held as f64 / self.total as f64).min(1.0) };
        self
    }

    fn add(&mut self, other: &Self) {
        self.total += other.total;
        self.active += other.active;
        self.offered += other.offered;
        self.declined += other.declined;
    }
}

/// A pool.
#[derive(Debug, Clone, PartialEq, Serialize, ToSchema)]
pub struct PoolView {
    /// First and last address, `192.0.2.100-192.0.2.199`.
    pub range: String,
    /// True if its use has reached `dhcp.warn_utilisation`.
    pub warning: bool,
    /// How full it is.
    #[serde(flatten)]
    pub counts: Counts,
}

/// A subnet.
#[derive(Debug, Clone, PartialEq, Serialize, ToSchema)]
pub struct SubnetView {
    /// Its id.
    pub id: u32,
    /// What people call it.
    pub name: Option<String>,
    /// Its prefix.
    pub prefix: String,
    /// Name of the shared network it is part of.
    pub shared_network: Option<String>,
    /// Lease time of a client that asks for none.
    pub lease_time_seconds: u32,
    /// Its pools.
    pub pools: Vec<PoolView>,
    /// Reservations in it.
    pub reservations: usize,
    /// How full its pools are.
    #[serde(flatten)]
    pub counts: Counts,
}

/// Every subnet.
#[derive(Debug, Clone, PartialEq, Serialize, ToSchema)]
pub struct SubnetList {
    /// The subnets, ascending by prefix.
    pub items: Vec<SubnetView>,
}

/// The service in figures.
#[derive(Debug, Clone, Default, PartialEq, Serialize, ToSchema)]
pub struct Summary {
    /// Subnets.
    pub subnets: usize,
    /// Pools.
    pub pools: usize,
    /// Pools whose use has reached `dhcp.warn_utilisation`.
    pub pools_warned: usize,
    /// Leases known, ended ones included.
    pub leases: usize,
    /// Reservations, of the file and of the API.
    pub reservations: usize,
    /// How full all pools are together.
    #[serde(flatten)]
    pub counts: Counts,
}

/// Subnets by index, at most `count` of them.
pub(super) fn subnets(engine: &Engine, first: usize, count: usize) -> Vec<SubnetView> {
    let policy = engine.policy();
    let warn_at = f64::from(policy.rules.warn_at);
    let chosen = policy.subnets.iter().enumerate().skip(first).take(count);
    let view = |(index, subnet): (usize, &crate::policy::Subnet)| {
        let usage = engine.pool_use(index);
        let pool = |pool: &PoolUse| {
            let counts = Counts::of([pool]);
            let warning = warn_at > 0.0 && counts.utilisation >= warn_at;
            PoolView { range: format!("{}-{}", pool.first, pool.last), warning, counts }
        };
        SubnetView {
            id: subnet.id,
            name: subnet.name.clone(),
            prefix: subnet.prefix(),
            shared_network: policy.networks.get(subnet.network).and_then(|network| network.name.clone()),
            lease_time_seconds: usual_time(policy, index, None),
            pools: usage.iter().map(pool).collect(),
            reservations: engine.reservations().in_subnet(subnet.id),
            counts: Counts::of(&usage),
        }
    };
    chosen.map(view).collect()
}

impl Summary {
    /// Figures of these subnets; leases and reservations are the engine's.
    pub(super) fn add(&mut self, engine: &Engine, subnets: &[SubnetView]) {
        self.leases = engine.leases().len();
        self.reservations = engine.reservations().len();
        self.subnets += subnets.len();
        for subnet in subnets {
            self.pools += subnet.pools.len();
            self.pools_warned += subnet.pools.iter().filter(|pool| pool.warning).count();
            self.counts.add(&subnet.counts);
        }
        self.counts = self.counts.complete();
    }
}
