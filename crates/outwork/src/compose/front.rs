//! The front door in this process.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, anyhow};
use outwork_admin::{ServiceApi, ServiceState, State};
use outwork_front::Tls;
use outwork_front::cached::api::Caching;
use outwork_front::coding::{CodingMetrics, Compressor};
use outwork_front::config::Listener;
use outwork_front::door::{
    self, Bound, Buffers, Door, DoorError, DoorMetrics, Farewell, Handed, Place, Prepared, Serving,
};
use outwork_front::filter::{Kit, Networks};
use outwork_front::https::Https;
use outwork_front::message::Handler;
use outwork_front::tls::{Certificates, Offer};
use outwork_front::traffic;
use outwork_telemetry::Registry;
use outwork_web::assets::{self, Workshop};
use outwork_web::files::{self, Shared};
use outwork_web::metrics::WebMetrics;
use outwork_web::sql::api::Queries;
use outwork_web::sql::{self, Databases};
use parking_lot::Mutex;

use super::ports::{self, Protocol};
use super::proxy::{self, Proxy};
use super::{cache, cannot};
use crate::certificates::told;
use crate::report;
use crate::routes::{MadeOf, Site};
use crate::settings::Settings;

/// What was made of files: a directory in the data directory.
const ASSETS: &str = "assets";
/// How long a start waits for the addresses of backends. Who has none by then gets requests later.
pub(super) const NAMES: Duration = Duration::from_secs(2);

/// The running door.
pub(super) struct Front {
    pub(super) caching: Arc<Caching>,
    door: Mutex<Option<Door>>,
    listening: Mutex<Vec<Listening>>,
    certificates: Arc<Certificates>,
    /// What handlers share, those of a later configuration too.
    pub(super) shared: Shared,
    /// What routes query.
    pub(super) queries: Arc<Queries>,
    /// Middleware, which outlives a reload.
    pub(super) kit: Kit,
    pub(super) metrics: Arc<DoorMetrics>,
}

/// A listener at work.
#[derive(Clone)]
struct Listening {
    /// As it is configured.
    wanted: SocketAddr,
    /// Where it is.
    address: SocketAddr,
    tls: Option<Arc<Tls>>,
}

/// Listeners that are bound and not yet served.
pub(super) struct BoundFront {
    bound: Bound,
    listening: Vec<Listening>,
}

/// Listeners of another configuration, ready to be taken up.
pub(super) struct Listeners {
    listening: Vec<Listening>,
    /// What those that stay are to offer, with the keys of the listeners.
    pub(super) offers: Vec<(String, Arc<Tls>, Offer)>,
    prepared: Prepared,
}

impl BoundFront {
    /// Binds every listener, with the sockets that another process has handed over where they are the same; `None` where none is configured.
    pub(super) fn bind(
        settings: &Settings,
        certificates: &Certificates,
        handed: Vec<Handed>,
    ) -> anyhow::Result<Option<Self>> {
        let front = &settings.front;
        if front.listener.is_empty() {
            return Ok(None);
        }
        let tls = open_tls(settings, vec![None; front.listener.len()], certificates).map_err(|error| anyhow!(error))?;
        let taken: Vec<u16> = handed.iter().map(|handed| handed.address.port()).collect();
        let told = |error: DoorError| ports::explained(error.into(), Protocol::Tcp, ports::ANOTHER);
        front.listener.iter().try_for_each(|listener| vacant(listener, &taken)).map_err(told)?;
        let bound = Bound::bind(&places(&front.listener, &tls), front.threads(), handed).map_err(told)?;
        let listening = listening(&front.listener, tls, bound.addresses());
        Ok(Some(Self { bound, listening }))
    }

    /// Begins to serve.
    pub(super) fn start(
        self,
        settings: &Settings,
        registry: &Registry,
        certificates: &Arc<Certificates>,
        proxy: &Proxy,
        prepared: proxy::Prepared,
    ) -> anyhow::Result<Arc<Front>> {
        let front = &settings.front;
        let store = cache::open(&settings.cache, registry)?;
        let (coding, web) = (Arc::<CodingMetrics>::default(), Arc::<WebMetrics>::default());
        registry.register(Arc::clone(&coding) as _)?;
        registry.register(Arc::clone(&web) as _)?;
        // As many at once as there are cores: compressing does nothing but compute.
        let cores = std::thread::available_parallelism().map_or(1, usize::from);
        let workshop = Workshop::new(settings.store.data_dir.join(ASSETS));
        registry.register(Arc::clone(workshop.metrics()) as _)?;
        let shared = Shared::new(Compressor::new(cores, coding), web, workshop);
        let sql = sql::Shared::new(&settings.web).context("web.query_cache")?;
        registry.register(sql.collector())?;
        let databases = Databases::open(&settings.web, sql);
        let databases = databases.map_err(|error| cannot("the front door does not open", error))?;
        let kit = Kit::default();
        registry.register(Arc::clone(kit.metrics()) as _)?;
        registry.register(Arc::clone(&kit.traffic().metrics) as _)?;
        let made_of = MadeOf {
            kit: &kit,
            files: &shared,
            store: &store,
            edge: settings.cache.cdn.as_ref(),
            databases: &databases,
            web: &settings.web,
            pools: &prepared.pools,
        };
        let site = front.site(&made_of).map_err(|error| cannot("the front door does not open", error))?;
        let handler = handler(settings, &self.listening, certificates, Arc::clone(&site.routes));
        let metrics = Arc::new(DoorMetrics::default());
        registry.register(Arc::clone(&metrics) as _).context("front")?;
        proxy.commit(prepared, NAMES);
        let caching = cache::start(&settings.cache, &settings.store.data_dir, store, site.routes)?;
        let door = self.bound.serve(Serving { options: front.options(), handler, entry: site.entry }, &metrics)?;
        kit.commit(site.taken);
        shared.adopt(&site.folders);
        Ok(Arc::new(Front {
            caching,
            door: Mutex::new(Some(door)),
            listening: Mutex::new(self.listening),
            certificates: Arc::clone(certificates),
            shared,
            queries: Queries::new(Arc::new(databases)),
            kit,
            metrics,
        }))
    }
}

impl Front {
    /// Where it listens, and whether encrypted.
    pub(super) fn addresses(&self) -> Vec<(SocketAddr, bool)> {
        self.listening.lock().iter().map(|one| (one.address, one.tls.is_some())).collect()
    }

    /// Binds what is new of the listeners that this configuration has.
    ///
    /// # Errors
    /// The listener that cannot be had, and why.
    pub(super) fn prepare(&self, settings: &Settings) -> Result<Listeners, String> {
        let wanted = &settings.front.listener;
        let mut before = self.listening.lock().clone();
        let taken: Vec<u16> = before.iter().map(|one| one.address.port()).collect();
        let (mut known, mut offers) = (Vec::with_capacity(wanted.len()), Vec::new());
        for (index, listener) in wanted.iter().enumerate() {
            let at = before.iter().position(|one| one.wanted == listener.address);
            let tls = at.and_then(|at| before.remove(at).tls);
            if let (Some(tls), Some(settings)) = (&tls, &listener.tls) {
                offers.push((format!("front.listener[{index}].tls"), Arc::clone(tls), settings.offer()));
            }
            known.push(tls.filter(|_| listener.tls.is_some()));
        }
        let tls = open_tls(settings, known, &self.certificates)?;
        let told = |error: DoorError| report::text(&ports::explained(error.into(), Protocol::Tcp, ports::ANOTHER));
        wanted.iter().try_for_each(|listener| vacant(listener, &taken)).map_err(told)?;
        let door = self.door.lock();
        let door = door.as_ref().ok_or("the front door is closing")?;
        let prepared = door.prepare(&places(wanted, &tls)).map_err(told)?;
        let listening = listening(wanted, tls, prepared.addresses());
        Ok(Listeners { listening, offers, prepared })
    }

    /// Serves something else from the next request on.
    pub(super) fn replace(&self, settings: &Settings, site: Site, listeners: Listeners) {
        self.kit.commit(site.taken);
        self.shared.adopt(&site.folders);
        let routes = self.kit.traffic().routes();
        let is_there = |label: &str| routes.iter().flatten().any(|route| route.label == label);
        self.queries.databases().shared().metrics.retain_statements(is_there);
        let handler = handler(settings, &listeners.listening, &self.certificates, site.routes);
        if let Some(door) = &*self.door.lock() {
            let serving = Serving { options: settings.front.options(), handler, entry: site.entry };
            door.replace(serving, listeners.prepared);
        }
        *self.listening.lock() = listeners.listening;
    }

    /// Copies of its sockets, for a process that is to take them over.
    pub(super) fn hand_over(&self) -> std::io::Result<Vec<Handed>> {
        self.door.lock().as_ref().map_or(Ok(Vec::new()), Door::hand_over)
    }

    /// Lets go of what another process is to have: the folders of the cache and of assets. Answers come from memory and from their sources from here on,
    /// and of files, what was made before.
    pub(super) fn release(&self) {
        self.shared.workshop.close();
        self.caching.store.tiers().close();
    }

    /// Accepts no more, and lets requests under way end.
    pub(super) fn stop(&self, farewell: Farewell, patience: Duration) {
        if let Some(door) = self.door.lock().take() {
            door.stop(farewell, patience);
        }
        self.kit.close();
        // What waits to be written below memory.
        self.release();
    }
}

/// TLS for each listener that speaks it: what is known already, and what is opened for the others.
fn open_tls(
    settings: &Settings,
    known: Vec<Option<Arc<Tls>>>,
    certificates: &Certificates,
) -> Result<Vec<Option<Arc<Tls>>>, String> {
    let mut tls = known;
    let fresh = settings.front.listener.iter().zip(&tls).enumerate();
    let fresh =
        fresh.filter_map(|(index, (one, known))| Some((index, one.tls.as_ref()?.offer())).filter(|_| known.is_none()));
    let (indexes, offers): (Vec<_>, Vec<_>) = fresh.unzip();
    let opened = certificates.open(&offers).map_err(|error| {
        let index = indexes.get(error.listener).copied().unwrap_or_default();
        format!("front.listener[{index}].tls: {}", told(&error.source, settings))
    })?;
    for (index, opened) in indexes.into_iter().zip(opened) {
        if let Some(tls) = tls.get_mut(index) {
            *tls = Some(opened);
        }
    }
    Ok(tls)
}

/// Finds out that no other process listens where a listener is to be, unless that is wanted. At `ours` it is this one, or its predecessor.
fn vacant(listener: &Listener, ours: &[u16]) -> Result<(), DoorError> {
    let address = listener.address;
    match listener.shared || ours.contains(&address.port()) {
        true => Ok(()),
        false => door::vacant(address).map_err(|source| DoorError::Listen { address, source }),
    }
}

fn places(listeners: &[Listener], tls: &[Option<Arc<Tls>>]) -> Vec<Place> {
    let place = |(listener, tls): (&Listener, &Option<Arc<Tls>>)| Place {
        address: listener.address,
        tls: tls.clone(),
        http3: listener.tls.as_ref().is_some_and(|tls| tls.http3.enabled),
        backlog: i32::try_from(listener.backlog).unwrap_or(i32::MAX),
        buffers: Buffers { receive: listener.receive_buffer, send: listener.send_buffer },
        proxies: Networks::of(listener.proxy_protocol.as_ref().map_or(&[], |proxies| &proxies.from)),
    };
    listeners.iter().zip(tls).map(place).collect()
}

fn listening(listeners: &[Listener], tls: Vec<Option<Arc<Tls>>>, addresses: Vec<SocketAddr>) -> Vec<Listening> {
    let found = listeners.iter().zip(tls).zip(addresses);
    found.map(|((one, tls), address)| Listening { wanted: one.address, address, tls }).collect()
}

/// The routes, behind what listeners ask for before them. What none asks for costs nothing.
fn handler(
    settings: &Settings,
    listening: &[Listening],
    certificates: &Certificates,
    routes: Arc<dyn Handler>,
) -> Box<dyn Handler> {
    let listeners = || settings.front.listener.iter().zip(listening).map(|(one, at)| (one, at.address));
    let encrypted: Vec<_> = listeners().filter_map(|(one, at)| Some((at, one.https_port(at)?))).collect();
    let rules: Vec<_> = listeners().filter_map(|(one, at)| one.rule(at, &encrypted)).collect();
    match rules.is_empty() && settings.acme().is_none() {
        true => Box::new(routes),
        false => Box::new(Https::new(rules, certificates.challenges(), Box::new(routes))),
    }
}

/// What the admin API serves of files, assets and queries.
pub(super) fn web_api(front: &Front) -> ServiceApi {
    let databases = Arc::clone(&front.queries);
    let router = sql::api::router(Arc::clone(&front.queries)).merge(files::api::router(front.shared.clone()));
    ServiceApi {
        name: "web",
        router: router.merge(assets::api::router(Arc::clone(&front.shared.workshop))),
        state: Box::new(move || {
            let count = databases.databases().len();
            let noun = if count == 1 { "database" } else { "databases" };
            ServiceState { state: State::Running, ready: true, detail: format!("{count} {noun}") }
        }),
    }
}

/// What the admin API serves of it.
pub(super) fn api(door: Option<&Arc<Front>>, certificates: &Arc<Certificates>) -> ServiceApi {
    let (door, traffic) = (door.cloned(), door.map(|door| Arc::clone(door.kit.traffic())).unwrap_or_default());
    ServiceApi {
        name: "front",
        router: outwork_front::tls::api::router(Arc::clone(certificates)).merge(traffic::api::router(traffic)),
        state: Box::new(move || match door.as_ref().map_or(0, |door| door.listening.lock().len()) {
            0 => ServiceState { state: State::Stopped, ready: true, detail: "no listener is configured".to_owned() },
            1 => ServiceState { state: State::Running, ready: true, detail: "1 listener".to_owned() },
            count => ServiceState { state: State::Running, ready: true, detail: format!("{count} listeners") },
        }),
    }
}
