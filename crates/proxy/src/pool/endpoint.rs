//! Where the members of a pool are.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;

use http::HeaderValue;
use outwork_balance::MemberSettings;
use outwork_front::message;
use outwork_telemetry::{Counter, Gauge, Histogram};
use rustls::ClientConfig;
use rustls::pki_types::ServerName;

use super::names::Spot;
use super::tls::{self, Encryption, UpstreamTlsError};
use crate::address::{self, Place, Speech};
use crate::config::Backend;
use crate::metrics::{Classes, ProxyMetrics};
use crate::upstream::Version;

/// A member of a pool, as far as it is to be reached.
#[derive(Debug)]
pub(crate) struct Endpoint {
    /// What it is known by: its URL, and where that is a name, one of its addresses.
    pub(crate) key: String,
    pub(crate) target: Target,
    pub(crate) speech: Speech,
    pub(crate) tls: Option<Tls>,
    /// What `Host` says where the backend's own is asked for.
    pub(crate) authority: HeaderValue,
    pub(crate) settings: Backend,
    pub(crate) cells: Cells,
    /// What logs call it.
    named: message::Backend,
}

/// What encrypts connections to it.
#[derive(Debug, Clone)]
pub(crate) struct Tls {
    encryption: Encryption,
    /// The name that it has to prove.
    pub(crate) name: ServerName<'static>,
}

impl Tls {
    /// What it is offered, so that this version is what comes of it.
    pub(crate) fn config(&self, version: Version) -> &Arc<ClientConfig> {
        match version {
            Version::Any => &self.encryption.config,
            Version::Http1 => &self.encryption.http1,
            Version::Other => &self.encryption.bare,
        }
    }
}

/// Where it is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Target {
    Address(SocketAddr),
    Unix(PathBuf),
}

/// What is counted of a member.
#[derive(Debug, Clone)]
pub(crate) struct Cells {
    pub(crate) requests: Arc<Counter>,
    pub(crate) failures: Arc<Counter>,
    pub(crate) time: Arc<Histogram>,
    pub(crate) opened: Arc<Counter>,
    pub(crate) state: Arc<Gauge>,
    pub(crate) check_failures: Arc<Counter>,
    pub(crate) responses: Classes,
}

impl std::fmt::Display for Target {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Address(address) => address.fmt(f),
            Self::Unix(path) => write!(f, "{}", path.display()),
        }
    }
}

impl Target {
    /// The same with another port, where it has one.
    pub(crate) fn with_port(&self, port: u16) -> Self {
        match self {
            Self::Address(address) => Self::Address(SocketAddr::new(address.ip(), port)),
            other => other.clone(),
        }
    }
}

impl Endpoint {
    /// Those of one backend: as many as its name stands for addresses.
    pub(crate) fn of(
        backend: &Backend,
        spots: &[Spot],
        encryption: Option<&Encryption>,
        (metrics, pool): (&ProxyMetrics, &str),
    ) -> Result<Vec<Self>, UpstreamTlsError> {
        let url = &backend.url;
        let alone = |target: Target| vec![(url.to_string(), target, backend.clone())];
        let targets = match &url.place {
            Place::Address(address) => alone(Target::Address(*address)),
            Place::Unix(path) => alone(Target::Unix(path.clone())),
            Place::Name { port, .. } => {
                let named = |Spot { address, .. }: &Spot| {
                    (format!("{url} at {address}"), Target::Address((*address, *port).into()), backend.clone())
                };
                spots.iter().map(named).collect()
            }
            Place::Service(_) => {
                let given = spots.iter().filter_map(|spot| Some((spot.address, spot.part?)));
                let given = given.map(|(address, part)| {
                    let address = SocketAddr::new(address, part.port);
                    (format!("{url} at {address}"), Target::Address(address), part.of(backend))
                });
                given.collect()
            }
        };
        let tls = match encryption {
            Some(encryption) if url.speech.is_encrypted() => {
                let host = match &url.place {
                    Place::Address(address) => address.ip().to_string(),
                    Place::Name { host, .. } => host.clone(),
                    // Not the target's: whoever answers for DNS could name any (RFC 6125 section 6.2.1).
                    Place::Service(name) => address::domain(name).to_owned(),
                    Place::Unix(_) => "localhost".to_owned(),
                };
                let name = encryption.name.clone().map_or_else(|| tls::server_name(&host), Ok)?;
                Some(Tls { encryption: encryption.clone(), name })
            }
            _ => None,
        };
        let authority = HeaderValue::try_from(url.authority());
        let authority = authority.unwrap_or_else(|_| HeaderValue::from_static("localhost"));
        let made = targets.into_iter().map(|(key, target, settings)| Self {
            cells: Cells::new(metrics, pool, &key),
            named: message::Backend { pool: pool.into(), backend: Some(key.as_str().into()) },
            key,
            target,
            speech: url.speech,
            tls: tls.clone(),
            authority: authority.clone(),
            settings,
        });
        Ok(made.collect())
    }

    /// Whether a connection to the other would be one to this.
    pub(crate) fn is_reached_like(&self, other: &Self) -> bool {
        let same_tls = match (&self.tls, &other.tls) {
            (None, None) => true,
            (Some(one), Some(other)) => {
                Arc::ptr_eq(&one.encryption.config, &other.encryption.config) && one.name == other.name
            }
            _ => false,
        };
        same_tls && self.speech == other.speech && self.target == other.target
    }

    /// What balancing has to know of it.
    pub(crate) fn member(&self) -> MemberSettings {
        let limits = outwork_balance::Limits { requests: self.settings.max_requests, ..Default::default() };
        MemberSettings {
            key: self.key.clone(),
            weight: self.settings.weight,
            priority: self.settings.priority,
            zone: self.settings.zone.clone(),
            limits,
        }
    }
}

impl message::Named for Endpoint {
    fn name(&self) -> &message::Backend {
        &self.named
    }
}

impl Cells {
    fn new(metrics: &ProxyMetrics, pool: &str, backend: &str) -> Self {
        let labels = [pool, backend];
        Self {
            requests: metrics.backend_requests.cell(labels),
            failures: metrics.backend_failures.cell(labels),
            time: metrics.backend_time.cell(labels),
            opened: metrics.backend_connections.cell(labels),
            state: metrics.backend_state.cell(labels),
            check_failures: metrics.backend_check_failures.cell(labels),
            responses: Classes::new(metrics, pool, backend),
        }
    }
}
