//! Packets that the kernel passes on, in this process.

use std::sync::Arc;

use anyhow::{Context, anyhow};
use outwork_proxy::acceleration::{Accelerator, Prepared, make_functions};
use outwork_proxy::pool::Pools;
use outwork_telemetry::Registry;

use crate::settings::Settings;

/// Makes the virtual functions that are wanted, while this process may.
pub(super) fn functions(settings: &Settings) -> anyhow::Result<()> {
    make_functions(&settings.proxy).map_err(|error| anyhow!(error))
}

/// Has the kernel pass on what it can. The names of backends have been looked up by now.
pub(super) fn start(settings: &Settings, pools: &Arc<Pools>, registry: &Registry) -> anyhow::Result<Arc<Accelerator>> {
    let accelerator = Accelerator::new(pools);
    registry.register(Arc::clone(accelerator.metrics()) as _)?;
    let prepared = prepare(&accelerator, settings).map_err(|error| anyhow!(error))?;
    accelerator.commit(prepared).context("nobody can look after proxy.acceleration")?;
    Ok(accelerator)
}

/// Makes ready what a configuration wants.
///
/// # Errors
/// The key of what cannot be, and why.
pub(super) fn prepare(accelerator: &Accelerator, settings: &Settings) -> Result<Prepared, String> {
    accelerator.prepare(&settings.proxy, settings.front.rules())
}

/// Takes it up.
pub(super) fn commit(accelerator: &Accelerator, prepared: Prepared) {
    if let Err(error) = accelerator.commit(prepared) {
        tracing::error!(%error, "nobody can look after proxy.acceleration; sockets serve");
    }
}
