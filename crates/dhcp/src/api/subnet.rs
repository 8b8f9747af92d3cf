//! Subnets and their pools: how full they are.

use super::lease::usual_time;
use crate::engine::{Engine, PoolUse, Totals};
use serde::Serialize;
use utoipa::ToSchema;

/// Addresses by what they are doing: of a pool those that it can hand out, of more than a pool all.
#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize, ToSchema)]
pub struct Counts {
    /// Addresses that pools can hand out.
    pub total: u64,
    /// Bound to a client.
    pub active: u64,
    /// Offered to one.
    pub offered: u64,
    /// In quarantine.
    pub declined: u64,
    /// Of `total`, those that nobody holds.
    pub free: u64,
    /// Part of `total` that somebody holds, 0 to 1.
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
        counts.free = counts.total.saturating_sub(counts.active + counts.offered + counts.declined);
        counts.complete()
    }

    /// Of a subnet: leases outside of pools, and of reserved addresses, take nothing that others could get, but are leases.
    fn of_subnet(pools: &[PoolUse], leases: Totals) -> Self {
        let Totals { active, offered, declined } = leases;
        let [active, offered, declined] = [active, offered, declined].map(|count| count as u64);
        Self { active, offered, declined, ..Self::of(pools) }
    }

    fn complete(mut self) -> Self {
        let held = self.total.saturating_sub(self.free);
        self.utilisation = if self.total == 0 { 0.0 } else { held as f64 / self.total as f64 };
        self
    }

    fn add(&mut self, other: &Self) {
        self.total += other.total;
        self.active += other.active;
        self.offered += other.offered;
        self.declined += other.declined;
        self.free += other.free;
    }
}

/// A pool.
#[derive(Debug, Clone, PartialEq, Serialize, ToSchema)]
pub struct PoolView {
    /// First and last address, `192.0.2.100-192.0.2.199`.
    pub range: String,
    /// True if its use has reached `dhcp.warn_utilisation`.
    pub warning: bool,
    /// Addresses of the range that are kept for clients of reservations, and so are none of `total`.
    pub reserved: u64,
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
    /// Its leases, in pools and outside of them, and how full its pools are.
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
    /// All leases, and how full all pools are together.
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
            PoolView { range: format!("{}-{}", pool.first, pool.last), warning, reserved: pool.reserved, counts }
        };
        SubnetView {
            id: subnet.id,
            name: subnet.name.clone(),
            prefix: subnet.prefix(),
            shared_network: policy.networks.get(subnet.network).and_then(|network| network.name.clone()),
            lease_time_seconds: usual_time(policy, index, None),
            pools: usage.iter().map(pool).collect(),
            reservations: engine.reservations().in_subnet(subnet.id),
            counts: Counts::of_subnet(&usage, engine.subnet_totals(index)),
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
