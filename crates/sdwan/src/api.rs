//! The routes under `/api/v1/sdwan`.

use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;

use axum::extract::State;
use outwork_front::api::{Json, Problem, Viewer};
use serde::Serialize;
use utoipa::ToSchema;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use crate::control::Told;
use crate::service::Service;

/// The routes, to be nested under `/api/v1/sdwan`.
pub fn router(service: Arc<Service>) -> OpenApiRouter {
    OpenApiRouter::new().routes(routes!(uplinks)).routes(routes!(tunnels)).with_state(service)
}

/// An uplink.
#[derive(Debug, Serialize, ToSchema)]
pub struct UplinkView {
    /// What it is called.
    name: String,
    /// Who we are there, in base64: what others are to know us by.
    public_key: String,
    /// Where it listens.
    listens: Vec<String>,
}

/// The uplinks.
#[derive(Debug, Serialize, ToSchema)]
pub struct UplinkList {
    /// They.
    items: Vec<UplinkView>,
}

/// A tunnel.
#[derive(Debug, Serialize, ToSchema)]
pub struct TunnelView {
    /// Whom it leads to.
    peer: String,
    /// The uplink of ours.
    uplink: String,
    /// Its key, in base64.
    public_key: String,
    /// Where it is; none as long as nobody knows.
    endpoint: Option<String>,
    /// The networks behind it.
    networks: Vec<String>,
    /// Seconds since its keys were made; none without a session.
    keys_age_seconds: Option<f64>,
    /// Octets of the longest packet that fits.
    mtu: u16,
    /// Octets of packets that were sent by it.
    sent_bytes: u64,
    /// Octets of packets that came by it.
    received_bytes: u64,
    /// Datagrams that were forged, altered, replayed or too late.
    refused: u64,
    /// Packets whose source is not behind it.
    foreign: u64,
}

/// The tunnels.
#[derive(Debug, Serialize, ToSchema)]
pub struct TunnelList {
    /// They.
    items: Vec<TunnelView>,
}

/// The uplinks of this site, and who they are.
#[utoipa::path(get, path = "/uplinks", tag = "sdwan",
    responses((status = 200, body = UplinkList), (status = 401, body = Problem)))]
async fn uplinks(_: Viewer, State(service): State<Arc<Service>>) -> Json<UplinkList> {
    let view = |uplink: &crate::service::Bound| UplinkView {
        name: uplink.name.clone(),
        public_key: uplink.public_key.to_string(),
        listens: uplink.listens.iter().map(ToString::to_string).collect(),
    };
    Json(UplinkList { items: service.uplinks().iter().map(view).collect() })
}

/// The tunnels of this site, and how they are.
#[utoipa::path(get, path = "/tunnels", tag = "sdwan",
    responses((status = 200, body = TunnelList), (status = 401, body = Problem)))]
async fn tunnels(_: Viewer, State(service): State<Arc<Service>>) -> Result<Json<TunnelList>, Problem> {
    let asked = Arc::clone(&service);
    let told = tokio::task::spawn_blocking(move || asked.tell()).await.map_err(Problem::internal)?;
    let told = told.map_err(Problem::internal)?;
    let view = |told: &Told| {
        let tallies = &told.tunnel.tallies;
        let uplink = service.uplinks().get(usize::from(told.uplink.0));
        TunnelView {
            peer: told.name.clone(),
            uplink: uplink.map(|uplink| uplink.name.clone()).unwrap_or_default(),
            public_key: told.remote.to_string(),
            endpoint: told.endpoint.map(|at| at.to_string()),
            networks: told.networks.iter().map(ToString::to_string).collect(),
            keys_age_seconds: told.keys.map(|age| age.as_secs_f64()),
            mtu: told.tunnel.mtu(),
            sent_bytes: tallies.sent_octets.load(Relaxed),
            received_bytes: tallies.received_octets.load(Relaxed),
            refused: tallies.refused.load(Relaxed),
            foreign: tallies.foreign.load(Relaxed),
        }
    };
    Ok(Json(TunnelList { items: told.iter().map(view).collect() }))
}
