//! The tunnels in this process, the controller of a network of sites, and the one that this site follows.

use std::path::{Path, PathBuf};
use std::sync::{Arc, OnceLock};

use outwork_admin::{ServiceApi, ServiceState, State};
use outwork_config::Origin;
use outwork_sdwan::api::{Place, router};
use outwork_sdwan::config::network::Written;
use outwork_sdwan::controller::{self, Controller};
use outwork_sdwan::follower::enrol::uplinks;
use outwork_sdwan::follower::keep::KeepError;
use outwork_sdwan::follower::said::Said;
use outwork_sdwan::follower::{Follower, TakeUp};
use outwork_sdwan::metrics::{QosMetrics, SdwanMetrics};
use outwork_sdwan::service::{Handed, Service};
use outwork_sdwan::{qos, routing};
use outwork_telemetry::Registry;
use tokio::task::JoinHandle;

use super::cannot;
use super::reload::Reload;
use crate::settings::{Read, Settings};

/// Keys that were made here, and what is remembered of shaping: a directory in the data directory.
const KEYS: &str = "sdwan";
/// What the controller has said: a directory in that one.
const SAID: &str = "controller";
/// What is kept of a controller that is this process: a directory in the data directory.
const CONTROLLER: &str = "controller";

/// Where keys are that were made here, and what is remembered of shaping.
pub(crate) fn keys(data_dir: &Path) -> PathBuf {
    data_dir.join(KEYS)
}

/// Where it is kept what the controller has said.
pub(crate) fn said(data_dir: &Path) -> PathBuf {
    keys(data_dir).join(SAID)
}

/// Where a controller keeps what it has.
pub(crate) fn controlled(data_dir: &Path) -> PathBuf {
    data_dir.join(CONTROLLER)
}

/// What the controller of this site has said, for all of this process: the directory of its data stays the same for as long as it runs.
fn said_here(data_dir: &Path) -> &'static Arc<Said> {
    static SAID: OnceLock<Arc<Said>> = OnceLock::new();
    SAID.get_or_init(|| Said::new(&said(data_dir)))
}

/// Keys of `sdwan` that the file, a variable or a flag says.
fn written(read: &Read) -> Written {
    let said = read.effective.iter().filter(|entry| entry.origin != Origin::Default);
    Written::new(said.filter_map(|entry| entry.key.strip_prefix("sdwan.").map(str::to_owned)))
}

/// Puts what the controller of this site has said over what the file says. Where a reload cannot read that, tunnels stay as they were; a start that cannot has the file alone.
///
/// # Errors
/// What the file says that does not go together with that. It lies over the file all the same: a start goes by it, and a reload is refused.
pub(super) fn overlay(read: &mut Read) -> Result<(), String> {
    let (said, written) = (Arc::clone(said_here(&read.value.store.data_dir)), written(read));
    match said.overlay(&mut read.value.sdwan, &written) {
        Ok(None) => {}
        Ok(Some(error @ KeepError::Clash(_))) => return Err(error.to_string()),
        Ok(Some(error)) => {
            tracing::error!(%error, "what the controller has said cannot be read: it stays in force as it was read last");
        }
        Err(error) => {
            tracing::error!(%error, "what the controller has said cannot be read, and is left out: the file counts alone");
        }
    }
    Ok(())
}

/// Starts them, where there are any, in the place of those of another process if there is what it has left.
pub(super) fn start(
    settings: &Settings,
    registry: &Registry,
    handed: Option<Handed>,
) -> anyhow::Result<Option<Arc<Service>>> {
    let keys: &Path = &keys(&settings.store.data_dir);
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
        match routing::sweep() {
            Ok(0) => {}
            Ok(rules) => tracing::info!(rules, "rules of the routing to tunnels were still there, and are removed"),
            Err(error) => tracing::warn!(%error, "rules of the routing to tunnels may still be there"),
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

/// Starts the controller, where this process is one.
pub(super) async fn start_controller(
    settings: &Settings,
    registry: &Registry,
) -> anyhow::Result<Option<Arc<Controller>>> {
    if !settings.controller.is_on() {
        return Ok(None);
    }
    let dir = controlled(&settings.store.data_dir);
    let started = Controller::start(&settings.controller, &dir).await;
    let controller = started.map_err(|error| cannot("the controller does not start", error))?;
    registry.register(Arc::clone(controller.metrics()) as _)?;
    registry.register(Arc::clone(controller.store().metrics()) as _)?;
    Ok(Some(controller))
}

/// A site that follows a controller, and what that takes.
pub(super) struct Following {
    follower: Arc<Follower>,
    tasks: [JoinHandle<()>; 3],
}

impl Following {
    /// Follows the controller that the settings name, where they do. What it says is taken up as a changed file is.
    pub(super) fn start(
        settings: &Settings,
        tunnels: Option<&Arc<Service>>,
        reload: &Arc<Reload>,
        registry: &Registry,
    ) -> anyhow::Result<Option<Following>> {
        let (Some(tunnels), Some(follow)) = (tunnels, settings.sdwan.controller.clone()) else { return Ok(None) };
        let reload = Arc::clone(reload);
        let take_up: TakeUp = Box::new(move || {
            let reload = Arc::clone(&reload);
            Box::pin(async move { reload.run().await.map(drop).map_err(|refusal| refusal.to_string()) })
        });
        let heard = Arc::clone(said_here(&settings.store.data_dir));
        let follower = Follower::sharing(follow, heard, uplinks(&settings.sdwan, &tunnels.keys().published()), take_up);
        registry.register(Arc::clone(follower.metrics()) as _)?;
        let gather = tokio::spawn(Arc::clone(&follower).gather(Arc::clone(tunnels)));
        let run = tokio::spawn(Arc::clone(&follower).run());
        let (renewed, own, said) = (Arc::clone(&follower), Arc::clone(tunnels), settings.sdwan.clone());
        let renew = tokio::spawn(async move {
            let mut changed = own.keys().watch();
            // The other end of it goes with the service, which is held here.
            while changed.changed().await.is_ok() {
                renewed.renew(uplinks(&said, &own.keys().published()));
            }
        });
        Ok(Some(Following { follower, tasks: [gather, run, renew] }))
    }

    /// Who follows.
    pub(super) fn follower(&self) -> Arc<Follower> {
        Arc::clone(&self.follower)
    }

    /// Follows no longer. Everything else goes on as it was told last.
    pub(super) fn stop(&self) {
        self.tasks.iter().for_each(JoinHandle::abort);
    }

    /// How it stands, in a sentence.
    fn told(follower: &Follower) -> String {
        let told = follower.told();
        let site = told.site.map(|site| format!("site {site}, ")).unwrap_or_default();
        match (told.connected, told.error) {
            (Some(at), None) => format!("{site}version {} of the controller at {at}", told.version),
            (Some(at), Some(error)) => {
                format!("{site}version {} of the controller at {at}, and not what it said since: {error}", told.version)
            }
            (None, error) => format!("{site}without its controller: {}", error.unwrap_or_else(|| "not yet".to_owned())),
        }
    }
}

/// What they bring to the admin API: a site, a controller, or a process that is both.
pub(super) fn api(
    service: Option<&Arc<Service>>,
    following: Option<&Following>,
    controller: Option<&Arc<Controller>>,
) -> Option<ServiceApi> {
    let follower = following.map(Following::follower);
    let place = Place { service: service.cloned(), controller: controller.cloned(), follower: follower.clone() };
    if place.service.is_none() && place.controller.is_none() {
        return None;
    }
    let shared = service.map(|service| Arc::clone(service.shared()));
    Some(ServiceApi {
        name: "sdwan",
        router: router(place),
        state: Box::new(move || {
            let Some(shared) = &shared else {
                let detail = "no site, but the controller of one or more".to_owned();
                return ServiceState { state: State::Running, ready: true, detail };
            };
            let view = shared.view.load();
            let (all, up) =
                view.tunnels().fold((0, 0), |(all, up), tunnel| (all + 1, up + usize::from(tunnel.sealer().is_some())));
            let told = follower.as_ref().map(|follower| format!("; {}", Following::told(follower))).unwrap_or_default();
            let detail = format!("{up} of {all} tunnels have keys{told}");
            // Without its controller it serves as it was told last.
            ServiceState { state: State::Running, ready: true, detail }
        }),
    })
}

/// What the controller brings to the admin API.
pub(super) fn controller_api(controller: &Arc<Controller>) -> ServiceApi {
    let own = Arc::clone(controller);
    ServiceApi {
        name: "controller",
        router: controller::api::router(Arc::clone(controller)),
        state: Box::new(move || {
            let held_back = if own.is_held_back() { ", and are told nothing until `outwork sdwan accept`" } else { "" };
            let detail = format!("{} sites are connected{held_back}", own.connected());
            ServiceState { state: State::Running, ready: true, detail }
        }),
    }
}
