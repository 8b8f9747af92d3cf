//! The DHCP service in this process.

use std::net::{SocketAddr, SocketAddrV4};
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context;
use outwork_admin::routes::{Listener, StoreStatus};
use outwork_admin::{ServiceApi, ServiceState, State};
use outwork_dhcp::metrics::DhcpMetrics;
use outwork_dhcp::policy::Policy;
use outwork_dhcp::server::{self, Events, Server, Service};
use outwork_front::events::Hub;
use outwork_store::log::Health;
use outwork_telemetry::Registry;

use super::store::StoreFigures;
use super::{LEASES, cannot};
use crate::settings::Settings;

/// The running service.
pub(super) struct Dhcp {
    pub(super) service: Arc<Service>,
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
        let policy = Arc::new(policy);
        let (service, recovery) = Service::open(settings.store.log(LEASES), Arc::clone(&policy), metrics, Some(events))
            .with_context(|| {
                format!("the leases in {} cannot be read", settings.store.data_dir.join(LEASES).display())
            })?;
        if let Some(torn) = &recovery.torn {
            tracing::warn!(
                ?torn,
                "the log ended in the middle of a write that was never acknowledged; it was cut off there"
            );
        }
        outwork_dhcp::api::reservation::adopt(&service, policy);
        registry.register(StoreFigures::new(&service) as _)?;
        let server = Server::start(&service, &server::Options::from(&settings.dhcp))?;
        Ok(Self { service, server })
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

fn state(service: &Service) -> ServiceState {
    let status = service.status();
    let closed: Vec<_> = status.interfaces.iter().filter(|interface| !interface.open).collect();
    let mut detail = format!("{} leases active", status.totals.active);
    for interface in &closed {
        let why = interface.problem.as_deref().unwrap_or("not there yet");
        detail.push_str(&format!("; {}: {why}", interface.name));
    }
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
    admin: Vec<(SocketAddr, bool)>,
) -> Box<dyn Fn() -> Vec<Listener> + Send + Sync> {
    let service = dhcp.map(|dhcp| Arc::clone(&dhcp.service));
    Box::new(move || {
        let listener = |service: &str, address: String, protocol: &str| Listener {
            service: service.to_owned(),
            address,
            protocol: protocol.to_owned(),
        };
        let http = admin
            .iter()
            .map(|(address, tls)| listener("admin", address.to_string(), if *tls { "https" } else { "http" }));
        let mut all: Vec<_> = http.collect();
        if let Some(status) = service.as_ref().map(|service| service.status()) {
            all.extend(status.listening.iter().map(|address| listener("dhcp", address.to_string(), "dhcp")));
            let open = status.interfaces.iter().filter(|interface| interface.open);
            all.extend(open.map(|interface| listener("dhcp", interface.name.clone(), "dhcp")));
        }
        all
    })
}
