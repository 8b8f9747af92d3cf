//! What there is at uplinks that are shaped, and what has passed: as the kernel counts it.

use outwork_net::netlink::{self, Connection};
use serde::Serialize;
use utoipa::ToSchema;

use super::look;
use super::tree::{There, Wanted, Whose};
use crate::config::matching::Dscp;

/// An uplink that is to be shaped.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, ToSchema)]
pub struct UplinkReport {
    /// What it is called.
    pub uplink: String,
    /// Its interface.
    pub interface: String,
    /// Bits a second that it is held to.
    pub rate: u64,
    /// `shaped`; `rolled-back` where that was taken back by hand; `missing` where somebody has taken the tree away; `foreign` where somebody has put another in its place; `absent` where the
    /// interface is gone.
    pub state: &'static str,
    /// The queue of its classes: `fq_codel`, or `bfifo`, which is first in, first out; none where it is not shaped.
    pub queue: Option<String>,
    /// Its classes, `control` first.
    pub classes: Vec<QosClassReport>,
}

/// A class of what leaves by an uplink.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, ToSchema)]
pub struct QosClassReport {
    /// What it is called.
    pub class: String,
    /// Bits a second that it always may have.
    pub rate: u64,
    /// Bits a second that it has at most.
    pub ceiling: u64,
    /// The lowest is first asked to take what others leave.
    pub priority: u32,
    /// Traffic classes of packets that belong to it.
    pub dscp: Vec<String>,
    /// The mark of datagrams of tunnels that belong to it.
    pub mark: String,
    /// Octets that have left.
    pub bytes: u64,
    /// Packets that have left.
    pub packets: u64,
    /// Packets that were dropped.
    pub drops: u64,
    /// Octets that wait.
    pub backlog_bytes: u64,
    /// Packets that wait.
    pub backlog_packets: u64,
}

impl UplinkReport {
    /// What there is now.
    pub(super) fn look(kernel: &mut Connection, wanted: &Wanted, idle: bool) -> netlink::Result<UplinkReport> {
        let link = kernel.link(&wanted.interface)?;
        let there = link.as_ref().map(|link| look(kernel, link.index)).transpose()?;
        let state = match there.as_ref().map(There::whose) {
            None => "absent",
            Some(Whose::Ours) => "shaped",
            Some(Whose::Kernel) if idle => "rolled-back",
            Some(Whose::Kernel) => "missing",
            Some(Whose::Foreign(_)) => "foreign",
        };
        let seen = match &link {
            Some(link) if state == "shaped" => kernel.classes(link.index)?,
            _ => vec![],
        };
        let there = there.unwrap_or_default();
        let leaf = |handle| there.qdiscs.iter().find(|qdisc| qdisc.parent == Some(handle));
        let classes = wanted.branches.iter().filter_map(|branch| {
            let handle = branch.class.handle;
            let known = seen.iter().find(|report| report.class.handle == handle)?;
            let statistics = known.statistics;
            // A queue that drops by itself tells nobody above.
            let drops = leaf(handle).map_or(0, |queue| queue.statistics.drops).max(statistics.drops);
            Some(QosClassReport {
                class: branch.name.clone(),
                rate: known.class.rate.saturating_mul(8),
                ceiling: known.class.ceil.saturating_mul(8),
                priority: known.class.priority,
                dscp: branch.dscp.iter().map(|number| Dscp(*number).to_string()).collect(),
                mark: format!("{:#x}", branch.mark),
                bytes: statistics.octets,
                packets: statistics.packets,
                drops: drops.into(),
                backlog_bytes: statistics.queued_octets.into(),
                backlog_packets: statistics.queued_packets.into(),
            })
        });
        let first = wanted.branches.first().filter(|_| state == "shaped").and_then(|first| leaf(first.class.handle));
        Ok(UplinkReport {
            uplink: wanted.uplink.clone(),
            interface: wanted.interface.clone(),
            rate: wanted.rate,
            state,
            queue: first.map(|queue| queue.kind.clone()),
            classes: classes.collect(),
        })
    }
}
