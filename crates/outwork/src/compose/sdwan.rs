//! The tunnels in this process.

use std::path::Path;
use std::sync::Arc;

use outwork_admin::{ServiceApi, ServiceState, State};
use outwork_sdwan::api::router;
use outwork_sdwan::metrics::SdwanMetrics;
use outwork_sdwan::service::{Handed, Service};
use outwork_telemetry::Registry;

use super::cannot;
use crate::settings::Settings;

/// Keys that were made here: a directory in the data directory.
const KEYS: &str = "sdwan";

/// Starts them, where there are any, in the place of those of another process if there is what it has left.
pub(super) fn start(
    settings: &Settings,
    registry: &Registry,
    handed: Option<Handed>,
) -> anyhow::Result<Option<Arc<Service>>> {
    if !settings.sdwan.is_on() {
        return Ok(None);
    }
    let keys: &Path = &settings.store.data_dir.join(KEYS);
    let service =
        Service::succeed(&settings.sdwan, keys, handed).map_err(|error| cannot("tunnels do not start", error))?;
    registry.register(SdwanMetrics::of(service.shared()) as _)?;
    Ok(Some(Arc::new(service)))
}

/// What they bring to the admin API.
pub(super) fn api(service: &Arc<Service>) -> ServiceApi {
    let shared = Arc::clone(service.shared());
    ServiceApi {
        name: "sdwan",
        router: router(Arc::clone(service)),
        state: Box::new(move || {
            let view = shared.view.load();
            let (all, up) =
                view.tunnels().fold((0, 0), |(all, up), tunnel| (all + 1, up + usize::from(tunnel.sealer().is_some())));
            ServiceState { state: State::Running, ready: true, detail: format!("{up} of {all} tunnels have keys") }
        }),
    }
}
