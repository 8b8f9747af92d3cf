//! The front door in this process.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context;
use outwork_front::door::{Bound, Door, DoorMetrics, Place, Serving};
use outwork_front::filter::{Kit, Taken};
use outwork_front::{Tls, TlsFiles};
use outwork_telemetry::Registry;
use parking_lot::Mutex;

use super::cannot;
use crate::settings::Settings;

/// The running door.
pub(super) struct Front {
    door: Mutex<Option<Door>>,
    addresses: Vec<(SocketAddr, bool)>,
    pub(super) tls: Vec<Arc<Tls>>,
    /// Middleware, which outlives a reload.
    pub(super) kit: Kit,
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
        let kit = Kit::default();
        let (serving, taken) = front.serving(&kit).map_err(|error| cannot("the front door does not open", error))?;
        let bound = Bound::bind(&places, front.threads())?;
        let addresses = bound.addresses().iter().copied().zip(places.iter().map(|place| place.tls.is_some())).collect();
        let metrics = Arc::new(DoorMetrics::default());
        registry.register(Arc::clone(&metrics) as _)?;
        registry.register(Arc::clone(kit.metrics()) as _)?;
        let door = bound.serve(serving, &metrics)?;
        kit.commit(taken);
        let tls = places.into_iter().filter_map(|place| place.tls).collect();
        Ok(Some(Arc::new(Self { door: Mutex::new(Some(door)), addresses, tls, kit })))
    }

    /// Where it listens, and whether encrypted.
    pub(super) fn addresses(&self) -> &[(SocketAddr, bool)] {
        &self.addresses
    }

    /// Serves something else from the next request on.
    pub(super) fn replace(&self, (serving, taken): (Serving, Taken)) {
        self.kit.commit(taken);
        if let Some(door) = &*self.door.lock() {
            door.replace(serving);
        }
    }

    /// Accepts no more, and lets requests under way end.
    pub(super) fn stop(&self, patience: Duration) {
        if let Some(door) = self.door.lock().take() {
            door.stop(patience);
        }
        self.kit.close();
    }
}
