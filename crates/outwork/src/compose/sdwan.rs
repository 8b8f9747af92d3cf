//! The tunnels in this process.

use std::path::Path;
use std::sync::Arc;

use outwork_admin::{ServiceApi, ServiceState, State};
use outwork_sdwan::api::router;
use outwork_sdwan::metrics::{QosMetrics, SdwanMetrics};
use outwork_sdwan::qos;
use outwork_sdwan::service::{Handed, Service};
use outwork_telemetry::Registry;

use super::cannot;
use crate::settings::Settings;

/// Keys that were made here, and what is remembered of shaping: a directory in the data directory.
pub(crate) const KEYS: &str = "sdwan";

/// Starts them, where there are any, in the place of those of another process if there is what it has left.
pub(super) fn start(
    settings: &Settings,
    registry: &Registry,
    handed: Option<Handed>,
) -> anyhow::Result<Option<Arc<Service>>> {
    let keys: &Path = &settings.store.data_dir.join(KEYS);
    if !settings.sdwan.is_on() {
        // What a crash has left of the time when there were uplinks.
        match qos::roll_back(keys) {
            Ok(undone) => undone.iter().for_each(|one| {
                tracing::info!(
                    interface = one.interface,
                    outcome = one.outcome,
                    detail = one.detail,
                    "an interface was still shaped"
                );
            }),
            Err(error) => tracing::warn!(%error, "interfaces may still be shaped"),
        }
        return Ok(None);
    }
    let service =
        Service::succeed(&settings.sdwan, keys, handed).map_err(|error| cannot("tunnels do not start", error))?;
    let service = Arc::new(service);
    registry.register(SdwanMetrics::of(service.shared()) as _)?;
    registry.register(QosMetrics::of(&service) as _)?;
    Ok(Some(service))
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
