//! The routes of the admin API, and the router that puts them together with those of the services.
//!
//! - `health`: `/healthz`, `/readyz`, `/metrics`.
//! - `status`: the state of everything, memory, the configuration, reload.
//! - `metrics`: metrics as JSON, now and over time.
//! - `host`: the machine beside what is wanted of it.
//! - `log`: log levels.
//! - `profile`: where memory and time go, for the tools that read such profiles.
//! - `tokens`: API tokens.
//! - `audit`: the audit log.
//! - `alerts`: what slows the server down.

mod alerts;
mod audit;
mod health;
mod host;
mod log;
mod metrics;
mod profile;
mod status;
mod tokens;

use std::path::PathBuf;
use std::sync::Arc;
use std::time::SystemTime;

use axum::Router;
use axum::extract::Request;
use axum::response::{IntoResponse, Response};
use futures_util::future::BoxFuture;
use http::HeaderValue;
use http::header::CACHE_CONTROL;
use outwork_config::Effective;
use outwork_front::api::{Access, Problem, audited, session_router};
use outwork_front::events::{self, Hub};
use outwork_host::report::Report;
use outwork_store::database::Database;
use outwork_telemetry::Registry;
use outwork_telemetry::alerts::Alerts;
use outwork_telemetry::history::History;
use outwork_telemetry::logs::Logs;
use outwork_telemetry::process::Process;
use serde::{Deserialize, Serialize};
use utoipa::openapi::security::{ApiKey, ApiKeyValue, HttpAuthScheme, HttpBuilder, SecurityScheme};
use utoipa::{Modify, OpenApi, ToSchema};
use utoipa_axum::router::OpenApiRouter;

pub use alerts::AlertRow;
pub use profile::{CpuProfile, Form, Profiler};
pub use status::{Listener, MemoryReport, Reloaded, StoreStatus};

use crate::dashboard::{self, Asset};

/// The state of a service.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "lowercase")]
pub enum State {
    /// At work.
    Running,
    /// Not configured, or stopped.
    Stopped,
    /// It cannot work; the detail says why.
    Failed,
}

/// How a service is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ServiceState {
    /// Its state.
    pub state: State,
    /// Whether it can serve: `/readyz` needs it of every service.
    pub ready: bool,
    /// A sentence for the operator.
    pub detail: String,
}

/// Asks a service how it is; called at every status and readiness request.
pub type AskState = Box<dyn Fn() -> ServiceState + Send + Sync>;

/// What a service brings to the admin API.
pub struct ServiceApi {
    /// Its name: its routes are under `/api/v1/NAME`.
    pub name: &'static str,
    /// Its routes, relative to that, each guarded by a role.
    pub router: OpenApiRouter,
    /// How it is.
    pub state: AskState,
}

type Reload = dyn Fn() -> BoxFuture<'static, Result<Reloaded, Problem>> + Send + Sync;

type Upgrade = dyn Fn() -> BoxFuture<'static, Result<u32, Problem>> + Send + Sync;

/// What the admin API works on. The closures are what only the binary knows.
pub struct Admin {
    /// The product's version.
    pub version: &'static str,
    /// The machine's name.
    pub host: String,
    /// The configuration file, where there is one.
    pub config_file: Option<PathBuf>,
    /// When the process started.
    pub started: SystemTime,
    /// The process itself.
    pub process: Arc<Process>,
    /// Every metric.
    pub registry: Arc<Registry>,
    /// The metrics' history.
    pub history: Arc<History>,
    /// The conditions that hold.
    pub alerts: Arc<Alerts>,
    /// Log levels.
    pub logs: Logs,
    /// Live events. Its topics are `metrics`, `system` and the services'.
    pub hub: Arc<Hub>,
    /// Tokens and the audit log.
    pub database: Arc<Database>,
    /// Who is let in.
    pub access: Arc<Access>,
    /// Whether `/metrics` needs no token: see [`AdminSettings::metrics_are_public`](crate::AdminSettings::metrics_are_public).
    pub metrics_public: bool,
    /// Whether there is `/metrics`.
    pub metrics: bool,
    /// How the store of the services is.
    pub store: Box<dyn Fn() -> StoreStatus + Send + Sync>,
    /// Every listener of every service.
    pub listeners: Box<dyn Fn() -> Vec<Listener> + Send + Sync>,
    /// The configuration in force, secrets masked.
    pub config: Box<dyn Fn() -> Vec<Effective> + Send + Sync>,
    /// Reads the configuration again and takes it up; returns what that has changed.
    pub reload: Box<Reload>,
    /// Has the program that lies on disk take this one's place; returns its process number once it is ready to.
    pub upgrade: Box<Upgrade>,
    /// What the allocator and the services say of their memory.
    pub memory: Box<dyn Fn() -> MemoryReport + Send + Sync>,
    /// The machine beside what is wanted of it.
    pub machine: Box<dyn Fn() -> Report + Send + Sync>,
    /// Looks at where memory and time go.
    pub profiler: Box<dyn Profiler>,
}

/// What handlers share: the admin's parts, and how to ask each service how it is.
struct Shared {
    admin: Admin,
    services: Vec<(&'static str, AskState)>,
}

/// The state of every handler here.
type Context = axum::extract::State<Arc<Shared>>;

#[derive(OpenApi)]
#[openapi(
    info(
        title = "Outwork",
        description = "The edge of a site. Send `Authorization: Bearer TOKEN`, or sign in for a session cookie; \
            changes by a session need the header `X-Outwork: 1`. Errors are RFC 9457 problem details.",
        license(name = "Apache-2.0 OR MIT", identifier = "Apache-2.0 OR MIT")
    ),
    modifiers(&Security),
    security(("token" = []), ("session" = []))
)]
struct Document;

struct Security;

impl Modify for Security {
    fn modify(&self, document: &mut utoipa::openapi::OpenApi) {
        let components = document.components.get_or_insert_default();
        let bearer = HttpBuilder::new().scheme(HttpAuthScheme::Bearer).build();
        components.add_security_scheme("token", SecurityScheme::Http(bearer));
        let cookie = ApiKey::Cookie(ApiKeyValue::new("outwork_session"));
        components.add_security_scheme("session", SecurityScheme::ApiKey(cookie));
    }
}

/// Everything that the admin listeners serve: health, the API with the services' routes, the dashboard.
pub fn router(admin: Admin, services: Vec<ServiceApi>, assets: &'static [Asset]) -> Router {
    let access = admin.access.clone();
    let api = OpenApiRouter::new()
        .merge(status::router())
        .merge(metrics::router())
        .merge(host::router())
        .merge(log::router())
        .merge(tokens::router())
        .merge(audit::router())
        .merge(alerts::router())
        .merge(profile::router());
    let hub = admin.hub.clone();
    let (mut states, mut service_routes) = (Vec::new(), OpenApiRouter::new());
    for ServiceApi { name, router, state } in services {
        states.push((name, state));
        service_routes = service_routes.nest(&format!("/{name}"), router);
    }
    let version = admin.version;
    let shared = Arc::new(Shared { admin, services: states });
    let api = api.with_state(shared.clone()).merge(session_router()).merge(events::router(hub)).merge(service_routes);
    let (router, mut document) = OpenApiRouter::with_openapi(Document::openapi())
        .nest("/api/v1", api)
        .merge(health::router().with_state(shared))
        .split_for_parts();
    document.info.version = version.into();
    let router = router
        .layer(axum::Extension(status::OpenApiDocument::from(document)))
        .layer(axum::middleware::map_response(never_stored))
        .method_not_allowed_fallback(|| async { Problem::method_not_allowed() });
    audited(router, access).fallback(move |request: Request| async move { dashboard::answer(assets, &request) })
}

/// What the API says is true now, and for this caller.
async fn never_stored(response: Response) -> Response {
    let mut response = response.into_response();
    response.headers_mut().entry(CACHE_CONTROL).or_insert(HeaderValue::from_static("no-store"));
    response.headers_mut().insert("x-content-type-options", HeaderValue::from_static("nosniff"));
    response
}
