//! The proxy in this process: pools, what looks after them, listeners of layer 4, and what the kernel passes on for them.

use std::os::fd::OwnedFd;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context;
use outwork_admin::{ServiceApi, ServiceState, State};
use outwork_front::Tls;
use outwork_front::door;
use outwork_front::filter::Network;
use outwork_front::tls::{Certificates, Offer};
use outwork_proxy::acceleration::{self, Accelerator};
use outwork_proxy::bench::{self, api::Benchmarks};
use outwork_proxy::config::{Listener, Protocol as Carried};
use outwork_proxy::l4::{Handed, L4Error, Layer4, Prepared as PreparedListeners};
use outwork_proxy::pool::gauges::Gauges;
use outwork_proxy::pool::keeper::Keeper;
use outwork_proxy::pool::orders::Orders;
use outwork_proxy::pool::{Pools, PreparedPools};
use outwork_proxy::secret;
use outwork_telemetry::Registry;
use parking_lot::Mutex;

use super::cannot;
use super::ports::{self, Protocol};
use crate::certificates::told;
use crate::report;
use crate::settings::Settings;

/// What signs cookies that name backends, in the data directory.
const KEY: &str = "proxy.key";
/// What was said of backends by hand, there too.
const ORDERS: &str = "proxy.orders";
/// What came of benchmarks, there too.
const BENCHMARKS: &str = "benchmarks.json";

/// The running proxy.
pub(super) struct Proxy {
    /// What requests and connections are passed on to.
    pub(super) pools: Arc<Pools>,
    keeper: Mutex<Option<Keeper>>,
    pub(super) layer4: Arc<Layer4>,
    accelerator: Arc<Accelerator>,
    pub(super) benchmarks: Arc<Benchmarks>,
    certificates: Arc<Certificates>,
    /// TLS of each listener that has any, by what it is called.
    encrypted: Mutex<Vec<(String, Arc<Tls>)>>,
}

/// TLS of a listener that stays, with the key of that listener, and what it is to offer.
type Stays = (String, Arc<Tls>, Offer);

/// TLS of each listener, and those of them that stay.
type Encrypted = (Vec<Option<Arc<Tls>>>, Vec<Stays>);

/// What another configuration needs, ready to be taken up.
pub(super) struct Prepared {
    pub(super) pools: PreparedPools,
    listeners: PreparedListeners,
    /// Made ready after all else, by [`Proxy::accelerate`].
    accelerated: Option<acceleration::Prepared>,
    /// What benchmarks may load.
    targets: Vec<Network>,
    encrypted: Vec<(String, Arc<Tls>)>,
    /// What those that stay are to offer, with the keys of the listeners.
    pub(super) offers: Vec<Stays>,
    keeper: Option<Keeper>,
}

impl Proxy {
    /// Without anything to do yet.
    pub(super) fn new(
        settings: &Settings,
        registry: &Registry,
        certificates: &Arc<Certificates>,
    ) -> anyhow::Result<Arc<Self>> {
        let key = settings.store.data_dir.join(KEY);
        let orders = settings.store.data_dir.join(ORDERS);
        let kept = Orders::keep(&orders).with_context(|| format!("{}", orders.display()))?;
        let pools = Pools::new(secret::keep(&key).with_context(|| format!("{}", key.display()))?, kept);
        registry.register(Arc::clone(pools.metrics()) as _)?;
        registry.register(Gauges::of(&pools) as _)?;
        let layer4 = Arc::new(Layer4::new(settings.proxy.workers, &settings.proxy.affinity));
        registry.register(Arc::clone(layer4.metrics()) as _)?;
        let accelerator = Accelerator::new(&pools, &settings.store.data_dir);
        registry.register(Arc::clone(accelerator.metrics()) as _)?;
        Ok(Arc::new(Self {
            pools,
            keeper: Mutex::default(),
            layer4,
            accelerator,
            benchmarks: Benchmarks::new(),
            certificates: Arc::clone(certificates),
            encrypted: Mutex::default(),
        }))
    }

    /// The same as [`prepare`](Self::prepare), at a start: with the sockets that another process has handed over.
    pub(super) fn begin(&self, settings: &Settings, handed: Vec<Handed>) -> anyhow::Result<Prepared> {
        let prepared = self.prepare_with(settings, handed).and_then(|mut prepared| {
            self.accelerate(settings, &mut prepared)?;
            Ok(prepared)
        });
        prepared.map_err(|error| cannot("the proxy does not start", error))
    }

    /// Makes ready what a configuration says, but for what [`accelerate`](Self::accelerate) does. Nothing changes by it.
    ///
    /// # Errors
    /// What cannot be had, and why.
    pub(super) fn prepare(&self, settings: &Settings) -> Result<Prepared, String> {
        self.prepare_with(settings, Vec::new())
    }

    fn prepare_with(&self, settings: &Settings, handed: Vec<Handed>) -> Result<Prepared, String> {
        let proxy = &settings.proxy;
        let pools = self.pools.prepare(proxy, &settings.front.asked()).map_err(|error| error.to_string())?;
        let (tls, offers) = self.open_tls(settings)?;
        let taken: Vec<u16> = self.layer4.listening().iter().map(|one| one.address.port()).collect();
        let taken: Vec<u16> = taken.into_iter().chain(handed.iter().map(|one| one.address.port())).collect();
        proxy.listener.iter().try_for_each(|listener| vacant(listener, &taken))?;
        let listeners = self.layer4.prepare(proxy, &pools, &tls, handed);
        let listeners = listeners.map_err(|error| explained(error, settings))?;
        let labels = proxy.listener.iter().map(Listener::label);
        let encrypted = labels.zip(tls).filter_map(|(label, tls)| Some((label, tls?))).collect();
        let wanted = !proxy.pool.is_empty() || !settings.front.asked().is_empty();
        let keeper = (wanted && self.keeper.lock().is_none()).then(|| Keeper::start(&self.pools)).transpose();
        let keeper = keeper.map_err(|error| format!("nobody can look after proxy.pool: {error}"))?;
        let targets = proxy.benchmark.targets.clone();
        Ok(Prepared { pools, listeners, accelerated: None, targets, encrypted, offers, keeper })
    }

    /// The last of what is made ready, once all else of a configuration is: virtual functions of cards are made here. Where the configuration is not taken up after
    /// all, cards get back what they had, but who used those has lost them for a moment.
    ///
    /// # Errors
    /// What cannot be had, and why.
    pub(super) fn accelerate(&self, settings: &Settings, prepared: &mut Prepared) -> Result<(), String> {
        prepared.accelerated = Some(self.accelerator.prepare(&settings.proxy, settings.front.rules())?);
        Ok(())
    }

    /// TLS of each listener: what is known already, which may be to offer something else, and what is opened for the others.
    fn open_tls(&self, settings: &Settings) -> Result<Encrypted, String> {
        let (mut tls, mut offers) = (Vec::new(), Vec::new());
        for (index, listener) in settings.proxy.listener.iter().enumerate() {
            let key = format!("proxy.listener[{index}].tls");
            let Some(offer) = listener.offer() else {
                tls.push(None);
                continue;
            };
            let label = listener.label();
            let known = self.encrypted.lock().iter().find(|(other, _)| *other == label).map(|(_, tls)| Arc::clone(tls));
            if let Some(known) = known {
                offers.push((key, Arc::clone(&known), offer));
                tls.push(Some(known));
                continue;
            }
            let opened = self.certificates.open(&[offer]);
            let opened = opened.map_err(|error| format!("{key}: {}", told(&error.source, settings)))?;
            tls.push(opened.into_iter().next());
        }
        Ok((tls, offers))
    }

    /// Puts pools in force, and begins to look after them.
    pub(super) fn commit_pools(&self, pools: PreparedPools, keeper: Option<Keeper>) {
        self.pools.commit(pools);
        if let Some(keeper) = keeper {
            *self.keeper.lock() = Some(keeper);
        }
    }

    /// Puts what was made ready in force, once the names of backends have been looked up, or so long has passed.
    pub(super) fn commit(&self, prepared: Prepared, patience: Duration) {
        let Prepared { pools, listeners, accelerated, targets, encrypted, keeper, .. } = prepared;
        self.commit_pools(pools, keeper);
        self.pools.wait_for_names(patience);
        let by_hand = self.pools.by_hand();
        if !by_hand.is_empty() {
            let backends = by_hand.join("; ");
            tracing::warn!(
                backends,
                "backends are drained, or left out, by hand; `outwork backends admit` lets them in again"
            );
        }
        let weighed = self.pools.weighed_by_hand();
        if !weighed.is_empty() {
            let backends = weighed.join("; ");
            tracing::warn!(
                backends,
                "backends weigh what was said by hand; `outwork backends weight POOL BACKEND configured` takes it back"
            );
        }
        self.benchmarks.set_targets(&targets);
        // Before anybody is accepted: a connection that a socket has would be another's for the kernel's programs.
        if let Some(Err(error)) = accelerated.map(|accelerated| self.accelerator.commit(accelerated)) {
            tracing::error!(%error, "nobody can look after proxy.acceleration; sockets serve");
        }
        self.layer4.commit(listeners);
        *self.encrypted.lock() = encrypted;
    }

    /// Lets go of what another process is to have: programs and tables of the kernel.
    /// Programs that give frames to ports of user space are held by what this returns, until the other has them.
    pub(super) fn release(&self) -> Vec<OwnedFd> {
        self.accelerator.leave()
    }

    /// Takes what the process before this one has let go of so.
    pub(super) fn inherit(&self, left: Vec<OwnedFd>) {
        self.accelerator.inherit(left);
    }

    /// Accepts no more connections, and lets those that are open end.
    pub(super) fn stop(&self, patience: Duration) {
        self.layer4.stop(patience);
        self.accelerator.stop();
    }

    /// Nobody is served any more: backends are looked after no longer.
    pub(super) fn end(&self) {
        drop(self.keeper.lock().take());
    }
}

/// Finds out that no other process listens where a listener is to be. At `ours` it is this one, or its predecessor.
fn vacant(listener: &Listener, ours: &[u16]) -> Result<(), String> {
    let wanted = listener.address.iter().filter(|address| !ours.contains(&address.port()));
    // Sockets of UDP are shared with nobody by chance: who binds first without saying so has the port alone.
    for address in wanted.filter(|_| listener.protocol == Carried::Tcp && !listener.transparent) {
        let error = |source| L4Error::Listen { address: *address, source };
        door::vacant(*address).map_err(|source| explained_as(error(source), Protocol::Tcp))?;
    }
    Ok(())
}

fn explained(error: L4Error, settings: &Settings) -> String {
    let is_udp = |address| {
        let mut udp = settings.proxy.listener.iter().filter(|listener| listener.protocol == Carried::Udp);
        udp.any(|listener| listener.address.contains(&address))
    };
    let protocol = match &error {
        L4Error::Listen { address, .. } if is_udp(*address) => Protocol::Udp,
        _ => Protocol::Tcp,
    };
    explained_as(error, protocol)
}

fn explained_as(error: L4Error, protocol: Protocol) -> String {
    report::text(&ports::explained(error.into(), protocol, ports::ANOTHER))
}

/// What the admin API serves of pools and listeners. Another process has let go of the data directory by then.
pub(super) fn api(proxy: &Arc<Proxy>, data_dir: &Path) -> ServiceApi {
    proxy.benchmarks.keep(&data_dir.join(BENCHMARKS));
    let told = Arc::clone(proxy);
    ServiceApi {
        name: "proxy",
        router: outwork_proxy::api::router(Arc::clone(&proxy.pools), Arc::clone(&proxy.layer4))
            .merge(acceleration::api::router(Arc::clone(&proxy.accelerator)))
            .merge(bench::api::router(Arc::clone(&proxy.benchmarks))),
        state: Box::new(move || {
            let (pools, listeners) = (told.pools.all().len(), told.layer4.listening().len());
            let state = if pools == 0 { State::Stopped } else { State::Running };
            let noun = |count: usize, one: &'static str, many: &'static str| if count == 1 { one } else { many };
            let mut detail = format!("{pools} {}", noun(pools, "pool", "pools"));
            if listeners > 0 {
                detail.push_str(&format!(", {listeners} {}", noun(listeners, "address", "addresses")));
            }
            let by_hand = told.pools.by_hand().len();
            if by_hand > 0 {
                detail.push_str(&format!(", {by_hand} {} taken out by hand", noun(by_hand, "backend", "backends")));
            }
            let weighed = told.pools.weighed_by_hand().len();
            if weighed > 0 {
                detail.push_str(&format!(", {weighed} {} weighed by hand", noun(weighed, "backend", "backends")));
            }
            ServiceState { state, ready: true, detail }
        }),
    }
}
