//! Where the memory is.

use std::collections::BTreeMap;
use std::sync::Arc;

use outwork_admin::routes::MemoryReport;
use outwork_dhcp::server::Service;
use tikv_jemalloc_ctl::{epoch, stats};

/// What the allocator and the services say of their memory.
pub(super) fn report(dhcp: Option<Arc<Service>>) -> Box<dyn Fn() -> MemoryReport + Send + Sync> {
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
        let mut parts = BTreeMap::new();
        if let Some(dhcp) = &dhcp {
            parts.insert("dhcp_leases".to_owned(), dhcp.read(|engine| engine.leases().memory()) as u64);
        }
        MemoryReport { allocator, parts }
    })
}
