//! The front door in this process.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, anyhow};
use outwork_admin::{ServiceApi, ServiceState, State};
use outwork_front::Tls;
use outwork_front::cached::api::Caching;
use outwork_front::coding::{CodingMetrics, Compressor};
use outwork_front::door::{Bound, Door, DoorMetrics, Place, Serving};
use outwork_front::filter::Kit;
use outwork_front::https::Https;
use outwork_front::message::Handler;
use outwork_front::tls::{Certificates, Offer};
use outwork_telemetry::Registry;
use outwork_web::assets::{self, Workshop};
use outwork_web::files::Shared;
use outwork_web::metrics::WebMetrics;
use outwork_web::sql::api::Queries;
use outwork_web::sql::{self, Databases};
use parking_lot::Mutex;

use super::{cache, cannot};
use crate::routes::{MadeOf, Site};
use crate::settings::Settings;

/// What was made of files: a directory in the data directory.
const ASSETS: &str = "assets";

/// The running door.
pub(super) struct Front {
    pub(super) caching: Arc<Caching>,
    door: Mutex<Option<Door>>,
    addresses: Vec<(SocketAddr, bool)>,
    certificates: Arc<Certificates>,
    /// TLS by listener.
    tls: Vec<Option<Arc<Tls>>>,
    /// What handlers share, those of a later configuration too.
    pub(super) shared: Shared,
    /// What routes query.
    pub(super) queries: Arc<Queries>,
    /// Middleware, which outlives a reload.
    pub(super) kit: Kit,
}

impl Front {
    /// Binds every listener and begins to serve; `None` where none is configured.
    pub(super) fn start(
        settings: &Settings,
        registry: &Registry,
        certificates: &Arc<Certificates>,
    ) -> anyhow::Result<Option<Arc<Self>>> {
        let front = &settings.front;
        if front.listener.is_empty() {
            return Ok(None);
        }
        let encrypted =
            front.listener.iter().enumerate().filter_map(|(index, one)| Some((index, one.tls.as_ref()?.offer())));
        let (indexes, offers): (Vec<_>, Vec<_>) = encrypted.unzip();
        let opened = certificates.open(&offers).map_err(|error| {
            let index = indexes.get(error.listener).copied().unwrap_or_default();
            anyhow!(error.source).context(format!("front.listener[{index}].tls"))
        })?;
        let mut tls: Vec<Option<Arc<Tls>>> = vec![None; front.listener.len()];
        for (index, opened) in indexes.into_iter().zip(opened) {
            if let Some(tls) = tls.get_mut(index) {
                *tls = Some(opened);
            }
        }
        let store = cache::open(&settings.cache, registry)?;
        let (coding, web) = (Arc::<CodingMetrics>::default(), Arc::<WebMetrics>::default());
        registry.register(Arc::clone(&coding) as _)?;
        registry.register(Arc::clone(&web) as _)?;
        // As many at once as there are cores: compressing does nothing but compute.
        let cores = std::thread::available_parallelism().map_or(1, usize::from);
        let workshop = Workshop::new(settings.store.data_dir.join(ASSETS));
        registry.register(Arc::clone(workshop.metrics()) as _)?;
        let shared = Shared { compressor: Compressor::new(cores, coding), metrics: web, workshop };
        let sql = sql::Shared::new(&settings.web).context("web.query_cache")?;
        registry.register(sql.collector())?;
        let databases = Databases::open(&settings.web, sql);
        let databases = databases.map_err(|error| cannot("the front door does not open", error))?;
        let kit = Kit::default();
        registry.register(Arc::clone(kit.metrics()) as _)?;
        let edge = settings.cache.cdn.as_ref();
        let made_of =
            MadeOf { kit: &kit, files: &shared, store: &store, edge, databases: &databases, web: &settings.web };
        let site = front.site(&made_of).map_err(|error| cannot("the front door does not open", error))?;
        let place = |(listener, tls): (&outwork_front::config::Listener, &Option<Arc<Tls>>)| Place {
            address: listener.address,
            tls: tls.clone(),
            backlog: i32::try_from(listener.backlog).unwrap_or(i32::MAX),
        };
        let places: Vec<_> = front.listener.iter().zip(&tls).map(place).collect();
        let bound = Bound::bind(&places, front.threads())?;
        let addresses: Vec<_> = bound.addresses().iter().copied().zip(tls.iter().map(Option::is_some)).collect();
        let handler = handler(settings, &addresses, certificates, Arc::clone(&site.routes));
        let metrics = Arc::new(DoorMetrics::default());
        registry.register(Arc::clone(&metrics) as _).context("front")?;
        let caching = cache::start(&settings.cache, store, site.routes)?;
        let door = bound.serve(Serving { options: front.options(), handler, entry: site.entry }, &metrics)?;
        kit.commit(site.taken);
        let certificates = Arc::clone(certificates);
        let queries = Queries::new(Arc::new(databases));
        let door = Mutex::new(Some(door));
        Ok(Some(Arc::new(Self { caching, door, addresses, certificates, tls, shared, queries, kit })))
    }

    /// Where it listens, and whether encrypted.
    pub(super) fn addresses(&self) -> &[(SocketAddr, bool)] {
        &self.addresses
    }

    /// What its listeners are to offer from now on, by their TLS, with the keys of the listeners.
    pub(super) fn offers(&self, settings: &Settings) -> Vec<(String, Arc<Tls>, Offer)> {
        let listeners = settings.front.listener.iter().zip(&self.tls).enumerate();
        let offer = listeners.filter_map(|(index, (listener, tls))| {
            let (settings, tls) = (listener.tls.as_ref()?, tls.as_ref()?);
            Some((format!("front.listener[{index}].tls"), Arc::clone(tls), settings.offer()))
        });
        offer.collect()
    }

    /// Serves something else from the next request on.
    pub(super) fn replace(&self, settings: &Settings, site: Site) {
        self.kit.commit(site.taken);
        let handler = handler(settings, &self.addresses, &self.certificates, site.routes);
        if let Some(door) = &*self.door.lock() {
            door.replace(Serving { options: settings.front.options(), handler, entry: site.entry });
        }
    }

    /// Accepts no more, and lets requests under way end.
    pub(super) fn stop(&self, patience: Duration) {
        if let Some(door) = self.door.lock().take() {
            door.stop(patience);
        }
        self.kit.close();
        // What waits to be written below memory.
        self.caching.store.tiers().close();
    }
}

/// The routes, behind what listeners ask for before them. What none asks for costs nothing.
fn handler(
    settings: &Settings,
    addresses: &[(SocketAddr, bool)],
    certificates: &Certificates,
    routes: Arc<dyn Handler>,
) -> Box<dyn Handler> {
    let rules = settings.front.listener.iter().zip(addresses).filter_map(|(one, (address, _))| one.rule(*address));
    let rules: Vec<_> = rules.collect();
    match rules.is_empty() && settings.front.acme().is_none() {
        true => Box::new(routes),
        false => Box::new(Https::new(rules, certificates.challenges(), Box::new(routes))),
    }
}

/// The keys of listeners that are to speak TLS and did not, or the other way round: their clients would not follow.
pub(super) fn turned(before: &Settings, after: &Settings) -> Vec<String> {
    let pairs = before.front.listener.iter().zip(&after.front.listener).enumerate();
    let turned = pairs.filter(|(_, (before, after))| before.tls.is_some() != after.tls.is_some());
    turned.map(|(index, _)| format!("front.listener[{index}].tls")).collect()
}

/// What the admin API serves of queries and assets.
pub(super) fn web_api(door: &Front) -> ServiceApi {
    let databases = Arc::clone(&door.queries);
    let router = sql::api::router(Arc::clone(&databases)).merge(assets::api::router(Arc::clone(&door.shared.workshop)));
    ServiceApi {
        name: "web",
        router,
        state: Box::new(move || {
            let count = databases.databases().len();
            let noun = if count == 1 { "database" } else { "databases" };
            ServiceState { state: State::Running, ready: true, detail: format!("{count} {noun}") }
        }),
    }
}

/// What the admin API serves of it.
pub(super) fn api(door: Option<&Arc<Front>>, certificates: &Arc<Certificates>) -> ServiceApi {
    let addresses: Vec<_> = door.map(|door| door.addresses().to_vec()).unwrap_or_default();
    ServiceApi {
        name: "front",
        router: outwork_front::tls::api::router(Arc::clone(certificates)),
        state: Box::new(move || match addresses.len() {
            0 => ServiceState { state: State::Stopped, ready: true, detail: "no listener is configured".to_owned() },
            1 => ServiceState { state: State::Running, ready: true, detail: "1 listener".to_owned() },
            count => ServiceState { state: State::Running, ready: true, detail: format!("{count} listeners") },
        }),
    }
}
