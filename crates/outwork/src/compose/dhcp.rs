//! The DHCP service in this process.

use std::net::{SocketAddr, SocketAddrV4};
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::Context;
use outwork_admin::routes::{Listener, StoreStatus};
use outwork_admin::{ServiceApi, ServiceState, State};
use outwork_dhcp::metrics::DhcpMetrics;
use outwork_dhcp::policy::Policy;
use outwork_dhcp::server::{self, Events, Server, Service, Status};
use outwork_front::events::Hub;
use outwork_proxy::l4::Layer4;
use outwork_store::log::{Health, Recovery};
use outwork_telemetry::Registry;

use super::front::Front;
use super::ports::{self, Protocol};
use super::store::{CommitMetrics, StoreFigures};
use super::{LEASES, cannot};
use crate::settings::Settings;

/// The running service.
pub(super) struct Dhcp {
    pub(super) service: Arc<Service>,
    pub(super) commits: Arc<CommitMetrics>,
    server: Server,
}

impl Dhcp {
    /// Opens the leases, binds the sockets and starts the workers.
    pub(super) fn start(settings: &Settings, registry: &Registry, hub: &Arc<Hub>) -> anyhow::Result<Self> {
        let policy = Policy::compile(&settings.dhcp, 1).map_err(|faults| {
            let lines: Vec<_> = faults.iter().map(|(path, fault)| format!("dhcp.{path}: {}", fault.found())).collect();
            cannot("the configuration does not compile", lines.join("; "))
        })?;
        let metrics = Arc::new(DhcpMetrics::default());
        registry.register(Arc::clone(&metrics) as _)?;
        let (asked, told) = (Arc::clone(hub), Arc::clone(hub));
        let events = Events {
            live: Box::new(move || asked.is_live("dhcp")),
            publish: Box::new(move |events| {
                for event in events {
                    told.publish("dhcp", event.kind, || outwork_dhcp::api::event_json(event));
                }
            }),
        };
        warn_of(settings);
        let policy = Arc::new(policy);
        let began = Instant::now();
        let (service, recovery) = Service::open(settings.store.log(LEASES), Arc::clone(&policy), metrics, Some(events))
            .with_context(|| {
                format!("the leases in {} cannot be read", settings.store.data_dir.join(LEASES).display())
            })?;
        tell(&recovery, service.status().known, began.elapsed());
        outwork_dhcp::api::reservation::adopt(&service, policy);
        let figures = StoreFigures::new(&service);
        let commits = Arc::clone(&figures.commits);
        registry.register(figures as _)?;
        let server = Server::start(&service, &server::Options::from(&settings.dhcp))
            .map_err(|error| ports::explained(error.into(), Protocol::Udp, ports::ANOTHER))?;
        Ok(Self { service, commits, server })
    }

    /// Where UDP is listened.
    pub(super) fn listening(&self) -> &[SocketAddrV4] {
        self.server.listening()
    }

    /// What the admin API serves of it.
    pub(super) fn api(&self) -> ServiceApi {
        let service = Arc::clone(&self.service);
        ServiceApi {
            name: "dhcp",
            router: outwork_dhcp::api::router(Arc::clone(&self.service)),
            state: Box::new(move || state(&service)),
        }
    }

    /// Sends what can still be sent, and closes the log.
    pub(super) fn stop(self, within: Duration) -> anyhow::Result<()> {
        self.server.stop(within);
        self.service.log().close().map_err(|failure| cannot("the log was not closed cleanly", failure))
    }
}

/// Says what of the configuration should be looked at.
pub(super) fn warn_of(settings: &Settings) {
    for (path, warning) in outwork_dhcp::policy::compile::warnings(&settings.dhcp) {
        let advice = warning.advice().unwrap_or_default();
        tracing::warn!(setting = format!("dhcp.{path}"), advice, "{}", warning.found());
    }
}

/// Says what came back from the disk, and what did not.
fn tell(recovery: &Recovery, leases: usize, elapsed: Duration) {
    let Recovery { snapshot_records, log_records, .. } = *recovery;
    tracing::info!(leases, snapshot_records, log_records, ?elapsed, "the leases were read");
    if let Some(torn) = &recovery.torn {
        tracing::warn!(
            ?torn,
            "the log ended in the middle of a write that was never acknowledged; it was cut off there"
        );
    }
    if recovery.dropped > 0 {
        tracing::warn!(
            records = recovery.dropped,
            "changes behind a hole that a power loss left in the log were dropped with it: a durability weaker than fsync allows that"
        );
    }
    if recovery.given_up > 0 {
        tracing::warn!(
            records = recovery.given_up,
            "an earlier `outwork store repair` gave up changes that could not be read"
        );
    }
}

fn state(service: &Service) -> ServiceState {
    state_of(&service.status())
}

fn state_of(status: &Status) -> ServiceState {
    let (open, closed): (Vec<_>, Vec<_>) = status.interfaces.iter().partition(|interface| interface.open);
    let why = closed.iter().map(|interface| {
        let why = interface.problem.as_deref().unwrap_or("not there yet");
        format!("{}: {why}", interface.name)
    });
    let why: Vec<_> = why.collect();
    if let Health::Failed(failure) = &status.store {
        return ServiceState {
            state: State::Failed,
            ready: false,
            detail: format!("leases are not written: {failure}"),
        };
    }
    if let Some(refused) = &status.refused {
        return ServiceState {
            state: State::Failed,
            ready: false,
            detail: format!("leases are not written: {refused}"),
        };
    }
    if open.is_empty() && status.listening.is_empty() {
        let why = if why.is_empty() {
            "neither dhcp.listen nor dhcp.interfaces names one".to_owned()
        } else {
            why.join("; ")
        };
        return ServiceState { state: State::Failed, ready: false, detail: format!("no client is heard: {why}") };
    }
    let mut detail = format!("{} leases active", status.totals.active);
    if !why.is_empty() {
        let configured = status.interfaces.len();
        detail.push_str(&format!(
            "; degraded: {} of {configured} interfaces not served: {}",
            why.len(),
            why.join("; ")
        ));
    }
    ServiceState { state: State::Running, ready: true, detail }
}

/// How the leases' log is.
pub(super) fn store_status(dhcp: Option<&Dhcp>, settings: &Settings) -> Box<dyn Fn() -> StoreStatus + Send + Sync> {
    let service = dhcp.map(|dhcp| Arc::clone(&dhcp.service));
    let durability = settings.store.durability.to_string();
    Box::new(move || {
        let durability = durability.clone();
        let Some(service) = &service else {
            return StoreStatus { health: "ok", error: None, durability, pending_bytes: 0, durable_lsn: 0 };
        };
        let durable_lsn = service.log().durable().0;
        match service.log().health() {
            Health::Ok => StoreStatus { health: "ok", error: None, durability, pending_bytes: 0, durable_lsn },
            Health::Failed(failure) => StoreStatus {
                health: "failed",
                error: Some(failure.to_string()),
                durability,
                pending_bytes: failure.pending_bytes as u64,
                durable_lsn,
            },
        }
    })
}

/// Every socket that something listens on.
pub(super) fn listeners(
    dhcp: Option<&Dhcp>,
    front: Option<Arc<Front>>,
    layer4: Arc<Layer4>,
    admin: Vec<(SocketAddr, bool)>,
) -> Box<dyn Fn() -> Vec<Listener> + Send + Sync> {
    let service = dhcp.map(|dhcp| Arc::clone(&dhcp.service));
    Box::new(move || {
        let listener = |service: &str, address: String, protocol: &str| Listener {
            service: service.to_owned(),
            address,
            protocol: protocol.to_owned(),
        };
        let http = |service: &str, (address, tls): &(SocketAddr, bool)| {
            listener(service, address.to_string(), if *tls { "https" } else { "http" })
        };
        let mut all: Vec<_> = admin.iter().map(|one| http("admin", one)).collect();
        let web = front.as_ref().map(|front| front.addresses()).unwrap_or_default();
        all.extend(web.iter().map(|one| http("front", one)));
        let passed_on = layer4.listening();
        all.extend(
            passed_on.iter().map(|one| listener("proxy", one.address.to_string(), &one.settings.protocol.to_string())),
        );
        if let Some(status) = service.as_ref().map(|service| service.status()) {
            all.extend(status.listening.iter().map(|address| listener("dhcp", address.to_string(), "dhcp")));
            let open = status.interfaces.iter().filter(|interface| interface.open);
            all.extend(open.map(|interface| listener("dhcp", interface.name.clone(), "dhcp")));
        }
        all
    })
}

#[cfg(test)]
mod tests {
    use outwork_dhcp::engine::Totals;
    use outwork_dhcp::server::InterfaceStatus;

    use super::*;

    fn status(listening: &[&str], interfaces: &[(&str, Option<&str>)]) -> Status {
        let interface = |(name, problem): &(&str, Option<&str>)| InterfaceStatus {
            name: (*name).to_owned(),
            open: problem.is_none(),
            problem: problem.map(str::to_owned),
        };
        Status {
            totals: Totals { active: 7, ..Totals::default() },
            known: 7,
            store: Health::Ok,
            refused: None,
            listening: listening.iter().map(|address| address.parse().unwrap()).collect(),
            interfaces: interfaces.iter().map(interface).collect(),
            generation: 1,
        }
    }

    #[test]
    fn a_server_that_hears_no_client_is_not_ready_and_says_why() {
        let deaf = state_of(&status(&[], &[("lan0", Some("it does not exist")), ("lan1", None)][..1]));
        assert_eq!((deaf.state, deaf.ready), (State::Failed, false));
        assert_eq!(deaf.detail, "no client is heard: lan0: it does not exist");
        let nowhere = state_of(&status(&[], &[]));
        assert!(!nowhere.ready && nowhere.detail.contains("dhcp.interfaces"), "{}", nowhere.detail);
    }

    #[test]
    fn a_server_with_some_of_its_interfaces_is_ready_and_says_which_are_missing() {
        let gone = ("lan1", Some("it does not exist"));
        for status in
            [status(&[], &[("lan0", None), gone]), status(&["127.0.0.1:6767"], &[("lan0", Some("down")), gone])]
        {
            let state = state_of(&status);
            assert_eq!((state.state, state.ready), (State::Running, true));
            assert!(state.detail.starts_with("7 leases active; degraded: "), "{}", state.detail);
            assert!(
                state.detail.contains(" of 2 interfaces not served") && state.detail.contains("lan1: it does"),
                "{}",
                state.detail
            );
        }
        assert_eq!(state_of(&status(&["127.0.0.1:67"], &[])).detail, "7 leases active");
    }
}
