//! A new configuration: read, checked and prepared everywhere, then taken up everywhere or nowhere.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use futures_util::FutureExt;
use futures_util::future::BoxFuture;
use outwork_admin::routes::Reloaded;
use outwork_config::{Effective, Fault, Faults, Origin, diff};
use outwork_dhcp::policy::Policy;
use outwork_dhcp::server::Service;
use outwork_front::Tls;
use outwork_front::api::Problem;
use outwork_front::events::Hub;
use outwork_front::tls::{Certificates, Offer};
use outwork_sdwan::service::Service as Tunnels;
use outwork_telemetry::logs::Logs;
use parking_lot::Mutex;
use serde_json::{Value as Json, json};

use super::front::Front;
use super::proxy::Proxy;
use crate::certificates::told;
use crate::cli::Global;
use crate::local::places;
use crate::report;
use crate::routes::MadeOf;
use crate::settings::{self, Read, Settings};

/// The configuration in force.
pub(super) struct Current(Mutex<State>);

struct State {
    read: Read,
    generation: u64,
}

impl Current {
    /// The configuration at the start.
    pub(super) fn new(read: Read) -> Arc<Self> {
        Arc::new(Self(Mutex::new(State { read, generation: 1 })))
    }

    /// Its values.
    pub(super) fn settings(&self) -> Settings {
        self.0.lock().read.value.clone()
    }

    /// Its file.
    pub(super) fn file(&self) -> Option<PathBuf> {
        self.0.lock().read.file.clone()
    }

    /// Its values with their origins, secrets masked.
    pub(super) fn effective(&self) -> Vec<Effective> {
        self.0.lock().read.effective.clone()
    }
}

/// Why a reload was refused. Nothing has changed then.
#[derive(Debug, thiserror::Error)]
pub(super) enum Refusal {
    /// The configuration has faults: what `outwork check` says of them, for people and for programs.
    #[error("{0}")]
    Faults(String, Vec<Json>),
    #[error("{}", pinned(.0))]
    Pinned(Vec<(String, Origin)>),
    #[error("{0}")]
    Prepare(String),
}

impl Refusal {
    /// That of a configuration that cannot be read.
    fn unread(error: &anyhow::Error) -> Self {
        match error.downcast_ref::<Faults>() {
            Some(faults) => {
                let told = format!("{}{}", faults.render(false), places(faults));
                let list = faults.to_json();
                Self::Faults(told, list.as_array().cloned().unwrap_or_default())
            }
            None => Self::Prepare(report::text(error)),
        }
    }

    /// The setting that it is about, where it is one.
    pub(super) fn key(&self) -> Option<&str> {
        match self {
            Refusal::Pinned(keys) => keys.first().map(|(key, _)| key.as_str()),
            Refusal::Faults(..) | Refusal::Prepare(_) => None,
        }
    }

    /// Each thing that is wrong, as `outwork check --json` tells it.
    fn faults(&self) -> Vec<Json> {
        let fault = |key: &str, found: &str| json!({ "severity": "error", "key": key, "found": found });
        match self {
            Refusal::Faults(_, faults) => faults.clone(),
            Refusal::Pinned(keys) => {
                let pinned = |(key, origin): &(String, Origin)| {
                    let mut fault = fault(key, "this cannot change while running");
                    fault["origin"] = json!(origin.to_string());
                    fault["help"] = json!("restart, or put it back");
                    fault
                };
                keys.iter().map(pinned).collect()
            }
            // What could not be made ready says by which key, where there is one.
            Refusal::Prepare(why) => {
                let keyed = why.split_once(": ").filter(|(key, _)| key.contains('.') && !key.contains([' ', '/']));
                let (key, found) = keyed.unwrap_or(("", why));
                vec![fault(key, found)]
            }
        }
    }
}

/// `dhcp.workers (outwork.toml:7:11)`: each setting, and where its new value stands.
fn pinned(keys: &[(String, Origin)]) -> String {
    let named = keys.iter().map(|(key, origin)| match origin {
        Origin::Default => format!("{key} (now the default)"),
        origin => format!("{key} ({origin})"),
    });
    let named = named.collect::<Vec<_>>().join(", ");
    let (these, be) = if keys.len() == 1 { ("this setting", "it") } else { ("these settings", "they") };
    format!("{these} cannot change while running: {named}; restart, or put {be} back")
}

/// What a reload touches.
pub(super) struct Reload {
    pub(super) global: Global,
    pub(super) current: Arc<Current>,
    pub(super) logs: Logs,
    pub(super) dhcp: Option<Arc<Service>>,
    pub(super) front: Option<Arc<Front>>,
    pub(super) proxy: Arc<Proxy>,
    pub(super) tunnels: Option<Arc<Tunnels>>,
    pub(super) certificates: Arc<Certificates>,
    /// That of the admin API.
    pub(super) tls: Option<Arc<Tls>>,
    pub(super) hub: Arc<Hub>,
}

impl Reload {
    /// Reads the configuration again and takes it up. Returns the keys that changed, and what should be looked at.
    pub(super) async fn run(self: Arc<Self>) -> Result<Reloaded, Refusal> {
        let reload = Arc::clone(&self);
        let outcome =
            match tokio::task::spawn_blocking(move || outwork_net::thread::everywhere(|| reload.apply())).await {
                Ok(outcome) => outcome,
                Err(error) => Err(Refusal::Prepare(error.to_string())),
            };
        self.hub.publish("system", "reload", || match &outcome {
            Ok(reloaded) => json!({ "changed": reloaded.changed }),
            Err(refusal) => json!({ "refused": refusal.to_string() }),
        });
        outcome
    }

    /// [`run`](Self::run) for the API.
    pub(super) fn as_problem(self: Arc<Self>) -> BoxFuture<'static, Result<Reloaded, Problem>> {
        self.run()
            .map(|outcome| {
                outcome.map_err(|refusal| {
                    Problem::refused(refusal.key().map(str::to_owned), refusal.faults().into(), &refusal)
                })
            })
            .boxed()
    }

    fn apply(&self) -> Result<Reloaded, Refusal> {
        // Held throughout: two reloads at once would mix.
        let mut state = self.current.0.lock();
        // The file of the start, though no option named it: were another looked for, the loss of a file would put the practice
        // network in force.
        let global =
            Global { config: state.read.file.clone().or_else(|| self.global.config.clone()), ..self.global.clone() };
        let mut read = settings::load(&global).map_err(|error| Refusal::unread(&error))?;
        super::sdwan::overlay(&mut read).map_err(Refusal::Prepare)?;
        let changes = diff(&state.read.value, &read.value);
        let fixed =
            changes.iter().filter(|change| !change.live).map(|change| (change.key.clone(), read.origin(&change.key)));
        let (before, after) = (&state.read.value, &read.value);
        // Without its own key, for what else was set or is no longer.
        let service = before.dhcp.is_enabled() != after.dhcp.is_enabled() && before.dhcp.enabled == after.dhcp.enabled;
        let door = before.front.listener.is_empty() != after.front.listener.is_empty();
        let turned = [("dhcp.enabled", service), ("front.listener", door)].into_iter().filter(|(_, turned)| *turned);
        let turned = turned.map(|(key, _)| (key.to_owned(), read.origin(key)));
        let fixed: Vec<_> = fixed.chain(turned).collect();
        if !fixed.is_empty() {
            return Err(Refusal::Pinned(fixed));
        }
        let generation = state.generation + 1;
        let policy = Policy::compile(&read.value.dhcp, generation).map_err(|faults| {
            let lines = faults.iter().map(|(path, fault)| format!("dhcp.{path}: {}", fault.found()));
            Refusal::Prepare(lines.collect::<Vec<_>>().join("\n"))
        })?;
        let front = self.front.as_ref();
        let databases = front.map(|front| {
            let before = front.queries.databases();
            before.with(&read.value.web).map(|after| (before, Arc::new(after)))
        });
        let databases = databases.transpose().map_err(Refusal::Prepare)?;
        let mut proxy = self.proxy.prepare(&read.value).map_err(Refusal::Prepare)?;
        let pools = &proxy.pools;
        // Made ready in any case: a folder may have come in the place of another though no setting has changed.
        let made = front.zip(databases.as_ref()).map(|(front, (_, databases))| {
            let (kit, files, store, web) = (&front.kit, &front.shared, &front.caching.store, &read.value.web);
            let made_of = MadeOf { kit, files, store, edge: read.value.cache.cdn.as_ref(), databases, web, pools };
            read.value.front.site(&made_of)
        });
        let site = made.transpose().map_err(Refusal::Prepare)?;
        let listeners = front.map(|front| front.prepare(&read.value)).transpose().map_err(Refusal::Prepare)?;
        // The certificates' files may have changed though no setting has.
        let mut offers = listeners.as_ref().map(|listeners| listeners.offers.clone()).unwrap_or_default();
        offers.extend(proxy.offers.iter().cloned());
        if let (Some(tls), Some(files)) = (&self.tls, read.value.admin.tls_files()) {
            offers.push(("admin.tls".to_owned(), Arc::clone(tls), Offer::from(files)));
        }
        let keys: Vec<_> = offers.iter().map(|(key, ..)| key.clone()).collect();
        let offers = offers.into_iter().map(|(_, tls, offer)| (tls, offer)).collect();
        let certificates = self.certificates.prepare(offers, read.value.acme());
        let certificates = certificates.map_err(|error| {
            let key = keys.get(error.listener).map_or("tls", String::as_str);
            Refusal::Prepare(format!("{key}: {}", told(&error.source, &read.value)))
        })?;
        self.proxy.accelerate(&read.value, &mut proxy).map_err(Refusal::Prepare)?;
        let levels = changes.iter().any(|change| change.key.starts_with("log."));
        if levels {
            self.logs.set(read.value.log.levels()).map_err(|error| Refusal::Prepare(error.to_string()))?;
        }
        // The last that can refuse, for what it has done and taken back others may have seen: either tunnels are others, and so is everything below, or nothing is.
        if let Some(tunnels) =
            self.tunnels.as_ref().filter(|_| changes.iter().any(|change| change.key.starts_with("sdwan")))
            && let Err(refused) = tunnels.apply(&read.value.sdwan)
        {
            if let Some(Err(error)) = levels.then(|| self.logs.set(state.read.value.log.levels())) {
                tracing::error!(%error, "the levels of the log stay as the refused configuration has them");
            }
            return Err(Refusal::Prepare(refused.to_string()));
        }
        certificates.commit();
        // Before routes lead to pools that come: what was said of their backends by hand holds for the first request.
        self.proxy.commit(proxy, Duration::ZERO);
        if let (Some(front), Some(site), Some(listeners)) = (front, site, listeners) {
            front.caching.warmer.replace(Arc::clone(&site.routes), read.value.cache.warming.clone());
            front.replace(&read.value, site, listeners);
        }
        if let (Some(front), Some((before, databases))) = (front, databases) {
            front.queries.replace(Arc::clone(&databases));
            tokio::runtime::Handle::current().block_on(databases.forget_replaced(&before));
        }
        if let Some(dhcp) = self.dhcp.as_ref().filter(|_| changes.iter().any(|change| change.key.starts_with("dhcp"))) {
            super::dhcp::warn_of(&read.value);
            outwork_dhcp::api::reservation::adopt(dhcp, Arc::new(policy));
        }
        let warnings = read.warnings.iter().map(Fault::to_json).collect();
        state.read = read;
        state.generation = generation;
        Ok(Reloaded { changed: changes.into_iter().map(|change| change.key).collect(), warnings })
    }
}
