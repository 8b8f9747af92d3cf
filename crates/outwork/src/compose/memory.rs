//! Where the memory is.

use std::collections::BTreeMap;
use std::sync::Arc;

use outwork_admin::routes::MemoryReport;
use outwork_dhcp::server::Service;
use outwork_front::events::Hub;
use outwork_sdwan::follower::Follower;
use outwork_sdwan::service::Service as Tunnels;
use outwork_telemetry::history::History;
use outwork_telemetry::process::Usage;
use tikv_jemalloc_ctl::{epoch, stats};

use super::front::Front;

/// What the allocator and the services say of their memory. `other` is what the allocator gave to none of the named parts;
/// `outside_allocator` is code, stacks and SQLite, which has an allocator of its own.
pub(super) fn report(
    dhcp: Option<Arc<Service>>,
    history: Arc<History>,
    hub: Arc<Hub>,
    front: Option<Arc<Front>>,
    tunnels: Option<Arc<Tunnels>>,
    follower: Option<Arc<Follower>>,
) -> Box<dyn Fn() -> MemoryReport + Send + Sync> {
    Box::new(move || {
        let mut allocator = BTreeMap::new();
        // The statistics are those of the last epoch; a failure only leaves them older.
        if let Err(error) = epoch::advance() {
            tracing::debug!(%error, "the allocator's figures are not of this moment");
        }
        let figures = [
            ("allocated", stats::allocated::read()),
            ("active", stats::active::read()),
            ("resident", stats::resident::read()),
            ("mapped", stats::mapped::read()),
            ("retained", stats::retained::read()),
            ("metadata", stats::metadata::read()),
        ];
        for (name, figure) in figures {
            if let Ok(bytes) = figure {
                allocator.insert(name.to_owned(), bytes as u64);
            }
        }
        let mut parts = vec![("metrics_history", history.memory()), ("event_streams", hub.memory())];
        if let Some(front) = &front {
            parts.push(("files", usize::try_from(front.shared.metrics.kept.get()).unwrap_or(0)));
            parts.push(("known_answers", usize::try_from(front.metrics.known.get()).unwrap_or(0)));
            let responses = front.caching.store.tiers().stats().l1.bytes.unwrap_or_default();
            parts.push(("response_cache", usize::try_from(responses).unwrap_or(usize::MAX)));
            let (_, results) = front.queries.databases().shared().cache.kept();
            parts.push(("query_cache", usize::try_from(results).unwrap_or(usize::MAX)));
        }
        if let Some(dhcp) = &dhcp {
            parts.extend(dhcp.memory());
        }
        if let Some(tunnels) = &tunnels {
            parts.extend(tunnels.memory());
        }
        if let Some(follower) = &follower {
            parts.push(("sdwan_reports", follower.memory()));
        }
        let mut parts: BTreeMap<_, _> =
            parts.into_iter().map(|(name, bytes)| (name.to_owned(), bytes as u64)).collect();
        let named: u64 = parts.values().sum();
        if let Some(allocated) = allocator.get("allocated") {
            parts.insert("other".to_owned(), allocated.saturating_sub(named));
        }
        if let Some((process, own)) = Usage::read().resident_bytes.zip(allocator.get("resident")) {
            parts.insert("outside_allocator".to_owned(), process.saturating_sub(*own));
        }
        MemoryReport { allocator, parts }
    })
}
