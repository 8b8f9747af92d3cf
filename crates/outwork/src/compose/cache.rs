//! The cache of answers in this process.

use std::path::Path;
use std::sync::Arc;

use anyhow::Context;
use outwork_admin::{ServiceApi, ServiceState, State};
use outwork_cache::{Tiers, system_clock};
use outwork_front::cached::Store;
use outwork_front::cached::api::{Caching, router};
use outwork_front::cached::edge::Edge;
use outwork_front::cached::warm::Warmer;
use outwork_front::message::Handler;
use outwork_telemetry::Registry;

use super::cannot;
use crate::caching::CacheSettings;

/// The file in the data directory that is there while the cache before this one has yet to be told of purges.
const OWED: &str = "cdn-owed";

/// Opens the tiers.
pub(super) fn open(settings: &CacheSettings, registry: &Registry) -> anyhow::Result<Arc<Store>> {
    let clock = system_clock();
    let tiers =
        Tiers::open(&settings.tiers(), Arc::clone(&clock)).map_err(|error| cannot("the cache does not open", error))?;
    registry.register(Arc::clone(&tiers) as _)?;
    let predicted = settings.warming.predict.most as usize;
    let store = Store::new(tiers, clock, settings.fetching.as_usize(), predicted);
    registry.register(Arc::clone(store.metrics()) as _)?;
    Ok(store)
}

/// Begins to fill it with what this handler answers, and to tell the cache before it of purges.
pub(super) fn start(
    settings: &CacheSettings,
    data_dir: &Path,
    store: Arc<Store>,
    handler: Arc<dyn Handler>,
) -> anyhow::Result<Arc<Caching>> {
    let edge = settings.cdn.as_ref().map(|cdn| Edge::start(cdn, store.metrics(), data_dir.join(OWED)));
    let edge = edge.transpose().context("cache.cdn")?;
    let warmer = Warmer::start(Arc::clone(&store), handler, settings.warming.clone()).context("cache.warming")?;
    Ok(Arc::new(Caching { store, warmer, edge }))
}

/// What it brings to the admin API.
pub(super) fn api(caching: &Arc<Caching>) -> ServiceApi {
    let store = Arc::clone(&caching.store);
    ServiceApi {
        name: "cache",
        router: router(Arc::clone(caching)),
        state: Box::new(move || {
            let stats = store.tiers().stats();
            let entries = stats.l1.entries.unwrap_or_default();
            ServiceState { state: State::Running, ready: true, detail: format!("{entries} entries in memory") }
        }),
    }
}
