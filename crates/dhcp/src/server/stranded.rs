//! Leases whose subnet is no longer in the configuration as they know it.

use super::service::Service;
use crate::lease::State;
use std::collections::BTreeMap;
use std::net::Ipv4Addr;

/// Leases looked at in one hold of the engine.
const SLICE: usize = 1024;
/// Subnets that the log names; the others are counted.
const NAMED: usize = 20;

/// Live leases of one subnet that lie in no subnet, or in one of another id.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Stranded {
    /// The subnet that the leases name.
    pub subnet: u32,
    /// The id and prefix of the subnet that holds their addresses by now.
    pub moved: Option<(u32, String)>,
    /// The prefix that the subnet they name has by now, if there is one.
    pub prefix: Option<String>,
    /// How many leases.
    pub leases: u64,
}

impl Service {
    /// Live leases that the configuration in force no longer has in their subnet. None of them is lost: they follow their
    /// address. Looks at all leases, in slices.
    pub fn stranded(&self) -> Vec<Stranded> {
        let now = super::service::now().unix;
        let mut found: BTreeMap<(u32, Option<u32>), u64> = BTreeMap::new();
        let mut from = Some(Ipv4Addr::UNSPECIFIED);
        while let Some(first) = from {
            from = self.read(|engine| {
                let mut leases = engine.leases().range(first);
                for lease in leases.by_ref().take(SLICE) {
                    if lease.state != State::Active || lease.expires <= now {
                        continue;
                    }
                    let policy = engine.policy();
                    let holder = policy.subnet_of(lease.address).and_then(|index| policy.subnets.get(index));
                    let holder = holder.map(|subnet| subnet.id);
                    if holder != Some(lease.subnet) {
                        *found.entry((lease.subnet, holder)).or_default() += 1;
                    }
                }
                leases.next().map(|lease| lease.address)
            });
        }
        self.read(|engine| {
            let policy = engine.policy();
            let prefix = |id| Some(policy.subnets.get(policy.subnet_by_id(id)?)?.prefix());
            let stranded = |((subnet, holder), leases): ((u32, Option<u32>), u64)| Stranded {
                subnet,
                moved: holder.and_then(|id| Some((id, prefix(id)?))),
                prefix: prefix(subnet),
                leases,
            };
            found.into_iter().map(stranded).collect()
        })
    }

    /// Warns of them, a line a subnet.
    pub(super) fn warn_of_stranded(&self) {
        let stranded = self.stranded();
        for Stranded { subnet, moved, prefix, leases } in stranded.iter().take(NAMED) {
            let (subnet, leases) = (*subnet, *leases);
            match (moved, prefix) {
                (Some((id, holder)), _) => tracing::warn!(
                    subnet,
                    leases,
                    now = format!("{id} ({holder})"),
                    "live leases lie in a subnet of another id by now: they are kept, and renewed in that one"
                ),
                (None, Some(prefix)) => tracing::warn!(
                    subnet,
                    leases,
                    prefix,
                    "the subnet has another prefix now, and live leases lie outside of it: they are kept until they run \
                     out, but not renewed; put the prefix back under an id to serve them"
                ),
                (None, None) => tracing::warn!(
                    subnet,
                    leases,
                    "the subnet is gone, and leases live in it: they are kept until they run out, but not renewed; put \
                     the subnet back to serve them"
                ),
            }
        }
        let others = stranded.get(NAMED..).unwrap_or_default();
        if !others.is_empty() {
            let leases: u64 = others.iter().map(|stranded| stranded.leases).sum();
            tracing::warn!(subnets = others.len(), leases, "more subnets have live leases that they no longer serve");
        }
    }
}
