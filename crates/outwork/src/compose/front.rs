//! The front door in this process.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context;
use outwork_front::cached::api::Caching;
use outwork_front::coding::{CodingMetrics, Compressor};
use outwork_front::door::{Bound, Door, DoorMetrics, Place, Serving};
use outwork_front::{Tls, TlsFiles};
use outwork_telemetry::Registry;
use outwork_web::files::Shared;
use outwork_web::metrics::WebMetrics;
use parking_lot::Mutex;

use super::{cache, cannot};
use crate::routes::MadeOf;
use crate::settings::Settings;

/// The running door.
pub(super) struct Front {
    pub(super) caching: Arc<Caching>,
    door: Mutex<Option<Door>>,
    addresses: Vec<(SocketAddr, bool)>,
    pub(super) tls: Vec<Arc<Tls>>,
    /// What handlers share, those of a later configuration too.
    pub(super) shared: Shared,
}

impl Front {
    /// Binds every listener and begins to serve; `None` where none is configured.
    pub(super) fn start(settings: &Settings, registry: &Registry) -> anyhow::Result<Option<Arc<Self>>> {
        let front = &settings.front;
        if front.listener.is_empty() {
            return Ok(None);
        }
        let mut places = Vec::with_capacity(front.listener.len());
        for (index, listener) in front.listener.iter().enumerate() {
            let tls = listener.tls.as_ref().map(|files| Tls::load(TlsFiles::from(files))).transpose();
            let tls = tls.with_context(|| format!("front.listener[{index}].tls"))?;
            let backlog = i32::try_from(listener.backlog).unwrap_or(i32::MAX);
            places.push(Place { address: listener.address, tls, backlog });
        }
        let store = cache::open(&settings.cache, registry)?;
        let (coding, web) = (Arc::<CodingMetrics>::default(), Arc::<WebMetrics>::default());
        registry.register(Arc::clone(&coding) as _)?;
        registry.register(Arc::clone(&web) as _)?;
        // As many at once as there are cores: compressing does nothing but compute.
        let cores = std::thread::available_parallelism().map_or(1, usize::from);
        let shared = Shared { compressor: Compressor::new(cores, coding), metrics: web };
        let made_of = MadeOf { files: &shared, store: &store, edge: settings.cache.cdn.as_ref() };
        let handler = front.handler(&made_of).map_err(|error| cannot("the front door does not open", error))?;
        let bound = Bound::bind(&places, front.threads())?;
        let addresses = bound.addresses().iter().copied().zip(places.iter().map(|place| place.tls.is_some())).collect();
        let metrics = Arc::new(DoorMetrics::default());
        registry.register(Arc::clone(&metrics) as _)?;
        let caching = cache::start(&settings.cache, store, Arc::clone(&handler))?;
        let door = bound.serve(Serving { options: front.limits.options(), handler: Box::new(handler) }, &metrics)?;
        let tls = places.into_iter().filter_map(|place| place.tls).collect();
        Ok(Some(Arc::new(Self { caching, door: Mutex::new(Some(door)), addresses, tls, shared })))
    }

    /// Where it listens, and whether encrypted.
    pub(super) fn addresses(&self) -> &[(SocketAddr, bool)] {
        &self.addresses
    }

    /// Serves something else from the next request on.
    pub(super) fn replace(&self, serving: Serving) {
        if let Some(door) = &*self.door.lock() {
            door.replace(serving);
        }
    }

    /// Accepts no more, and lets requests under way end.
    pub(super) fn stop(&self, patience: Duration) {
        if let Some(door) = self.door.lock().take() {
            door.stop(patience);
        }
        // What waits to be written below memory.
        self.caching.store.tiers().close();
    }
}
