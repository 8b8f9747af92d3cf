//! The state of everything, memory, the configuration in force, reload, and the API's own description.

use std::collections::BTreeMap;
use std::sync::Arc;

use axum::Extension;
use axum::body::Bytes;
use axum::extract::State;
use axum::response::{IntoResponse, Response};
use http::StatusCode;
use http::header::CONTENT_TYPE;
use outwork_front::api::{Admin, Json, Operator, Problem, Timestamp, Viewer};
use outwork_telemetry::process::Usage;
use serde::Serialize;
use utoipa::ToSchema;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use super::{AlertRow, Context, Shared, State as Condition};

pub(super) fn router() -> OpenApiRouter<Arc<Shared>> {
    OpenApiRouter::new()
        .routes(routes!(status))
        .routes(routes!(memory))
        .routes(routes!(config))
        .routes(routes!(reload))
        .routes(routes!(upgrade))
        .routes(routes!(openapi))
}

/// How a service is.
#[derive(Debug, Serialize, ToSchema)]
struct Service {
    /// Its name.
    name: &'static str,
    /// Its state.
    state: Condition,
    /// Whether it can serve.
    ready: bool,
    /// A sentence for the operator.
    detail: String,
}

/// How the append log of the services is.
#[derive(Debug, Clone, Serialize, ToSchema)]
pub struct StoreStatus {
    /// `ok` or `failed`.
    pub health: &'static str,
    /// Why it failed.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub error: Option<String>,
    /// What an acknowledgement waits for: `fsync`, `os` or `none`.
    pub durability: String,
    /// Bytes that wait for the disk.
    pub pending_bytes: u64,
    /// The sequence number up to which everything is on disk.
    pub durable_lsn: u64,
}

/// A socket that something listens on.
#[derive(Debug, Clone, Serialize, ToSchema)]
pub struct Listener {
    /// Whose it is.
    pub service: String,
    /// Its address.
    pub address: String,
    /// What is spoken there: `http`, `https`, `dhcp`; `tcp` and `udp` where it is passed on as it comes.
    pub protocol: String,
}

/// The state of everything.
#[derive(Debug, Serialize, ToSchema)]
struct Status {
    /// The product's version.
    version: &'static str,
    /// When the process started.
    started: Timestamp,
    /// For how long it has run.
    uptime_seconds: u64,
    /// The machine's name.
    host: String,
    /// The configuration file; null when there is none.
    config_file: Option<String>,
    /// The services.
    services: Vec<Service>,
    /// Their store.
    store: StoreStatus,
    /// Every listener.
    listeners: Vec<Listener>,
    /// The conditions that hold, the worst first: those of `/alerts`.
    alerts: Vec<AlertRow>,
}

/// The state of everything.
#[utoipa::path(get, path = "/status", tag = "system",
    responses((status = 200, body = Status), (status = 401, body = Problem)))]
async fn status(_: Viewer, State(shared): Context) -> Json<Status> {
    let admin = &shared.admin;
    let service = |(name, state): &(&'static str, super::AskState)| {
        let super::ServiceState { state, ready, detail } = state();
        Service { name, state, ready, detail }
    };
    Json(Status {
        version: admin.version,
        started: admin.started.into(),
        uptime_seconds: admin.process.uptime().as_secs(),
        host: admin.host.clone(),
        config_file: admin.config_file.as_ref().map(|path| path.display().to_string()),
        services: shared.services.iter().map(service).collect(),
        store: (admin.store)(),
        listeners: (admin.listeners)(),
        alerts: admin.alerts.active().into_iter().map(AlertRow::from).collect(),
    })
}

/// What the allocator and the services say of their memory, in bytes.
#[derive(Debug, Clone, Default, Serialize, ToSchema)]
pub struct MemoryReport {
    /// The allocator's figures: `allocated`, `active`, `resident`, `mapped`, `retained`, `metadata`.
    pub allocator: BTreeMap<String, u64>,
    /// The large tables and caches, by name.
    pub parts: BTreeMap<String, u64>,
}

/// Memory in bytes.
#[derive(Debug, Serialize, ToSchema)]
struct Memory {
    /// Resident memory of the process, as the kernel counts it.
    resident: Option<u64>,
    /// Virtual memory of the process.
    r#virtual: Option<u64>,
    #[serde(flatten)]
    report: MemoryReport,
}

/// Where the memory is.
#[utoipa::path(get, path = "/memory", tag = "system",
    responses((status = 200, body = Memory), (status = 401, body = Problem)))]
async fn memory(_: Viewer, State(shared): Context) -> Json<Memory> {
    let usage = Usage::read();
    let report = (shared.admin.memory)();
    Json(Memory { resident: usage.resident_bytes, r#virtual: usage.virtual_bytes, report })
}

/// One setting in force.
#[derive(Debug, Serialize, ToSchema)]
struct Setting {
    /// Its path.
    key: String,
    /// Its value; secrets are masked.
    value: serde_json::Value,
    /// Where the value came from.
    origin: String,
}

/// The configuration in force.
#[derive(Debug, Serialize, ToSchema)]
struct Config {
    /// Every setting.
    items: Vec<Setting>,
}

/// The configuration in force, and where each value came from.
#[utoipa::path(get, path = "/config", tag = "system",
    responses((status = 200, body = Config), (status = 401, body = Problem)))]
async fn config(_: Viewer, State(shared): Context) -> Json<Config> {
    let settings = (shared.admin.config)().into_iter();
    let items =
        settings.map(|one| Setting { key: one.key, value: one.value, origin: one.origin.to_string() }).collect();
    Json(Config { items })
}

/// What a reload changed.
#[derive(Debug, Default, Serialize, ToSchema)]
pub struct Reloaded {
    /// The keys whose values changed.
    pub changed: Vec<String>,
    /// What should be looked at, and is no fault, as `outwork check --json` tells it.
    #[schema(value_type = Vec<Object>)]
    pub warnings: Vec<serde_json::Value>,
}

/// What subscribers of `system` are told.
#[derive(Serialize)]
struct Changed {
    changed: Vec<String>,
}

/// Read the configuration again and take it up, everywhere or nowhere.
#[utoipa::path(post, path = "/reload", tag = "system",
    responses((status = 200, body = Reloaded), (status = 401, body = Problem), (status = 403, body = Problem),
        (status = 422, description = "Refused; `key` names the setting", body = Problem)))]
async fn reload(Operator(caller): Operator, State(shared): Context) -> Result<Json<Reloaded>, Problem> {
    caller.does("config.reload", "", "");
    match (shared.admin.reload)().await {
        Ok(reloaded) => {
            let changed = &reloaded.changed;
            caller.does("config.reload", "", changed.join(", "));
            shared.admin.hub.publish("system", "reloaded", || Changed { changed: changed.clone() });
            Ok(Json(reloaded))
        }
        Err(problem) => {
            caller.does("config.reload", problem.key.clone().unwrap_or_default(), problem.detail.clone());
            Err(problem)
        }
    }
}

/// A process that takes another's place.
#[derive(Debug, Serialize, ToSchema)]
struct Successor {
    /// Its number.
    process: u32,
}

/// Have the program that lies on disk now take the place of the one that runs. No connection is refused, and requests under way are answered.
#[utoipa::path(post, path = "/upgrade", tag = "system",
    responses((status = 202, description = "It is ready, and serves as soon as this process has let go", body = Successor),
        (status = 401, body = Problem), (status = 403, body = Problem),
        (status = 409, description = "It cannot start, and nothing has changed", body = Problem)))]
async fn upgrade(Admin(caller): Admin, State(shared): Context) -> Result<(StatusCode, Json<Successor>), Problem> {
    caller.does("process.upgrade", "", "");
    let process = (shared.admin.upgrade)().await.inspect_err(|problem| {
        caller.does("process.upgrade", "", problem.detail.clone());
    })?;
    caller.does("process.upgrade", "", format!("process {process}"));
    Ok((StatusCode::ACCEPTED, Json(Successor { process })))
}

/// The API's description as JSON, written once.
#[derive(Clone)]
pub(super) struct OpenApiDocument(Result<Bytes, String>);

impl From<utoipa::openapi::OpenApi> for OpenApiDocument {
    fn from(document: utoipa::openapi::OpenApi) -> Self {
        Self(document.to_json().map(Bytes::from).map_err(|error| error.to_string()))
    }
}

/// This document.
#[utoipa::path(get, path = "/openapi.json", tag = "system", security(()),
    responses((status = 200, description = "OpenAPI 3.1", body = serde_json::Value, content_type = "application/json")))]
async fn openapi(Extension(document): Extension<OpenApiDocument>) -> Result<Response, Problem> {
    let text = document.0.map_err(Problem::internal)?;
    Ok(([(CONTENT_TYPE, "application/json")], text).into_response())
}
