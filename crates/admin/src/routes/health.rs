//! What machines ask: alive, ready, metrics.

use axum::extract::State;
use axum::response::{IntoResponse, Response};
use http::StatusCode;
use http::header::CONTENT_TYPE;
use outwork_front::api::{Json, Problem, Viewer};
use outwork_telemetry::PROMETHEUS_CONTENT_TYPE;
use serde::Serialize;
use std::sync::Arc;
use utoipa::ToSchema;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use super::{Context, Shared};

pub(super) fn router() -> OpenApiRouter<Arc<Shared>> {
    OpenApiRouter::new().routes(routes!(healthz)).routes(routes!(readyz)).routes(routes!(metrics))
}

/// Whether the process is alive: it answers.
#[utoipa::path(get, path = "/healthz", tag = "health", security(()), responses((status = 200, body = String)))]
async fn healthz() -> &'static str {
    "ok\n"
}

/// Whether every service is ready.
#[derive(Serialize, ToSchema)]
struct Readiness {
    /// Whether all are.
    ready: bool,
    /// The services that are not.
    waiting_for: Vec<String>,
}

/// Whether every service is ready to serve.
#[utoipa::path(get, path = "/readyz", tag = "health", security(()),
    responses((status = 200, body = Readiness), (status = 503, body = Readiness)))]
async fn readyz(State(shared): Context) -> (StatusCode, Json<Readiness>) {
    let waiting = shared.services.iter().filter(|(_, state)| !state().ready);
    let waiting_for: Vec<_> = waiting.map(|(name, _)| (*name).to_owned()).collect();
    let ready = waiting_for.is_empty();
    let status = if ready { StatusCode::OK } else { StatusCode::SERVICE_UNAVAILABLE };
    (status, Json(Readiness { ready, waiting_for }))
}

/// Every metric as Prometheus text, unless `admin.metrics` is off. Needs a viewer's token unless `admin.metrics_public` is set or implied by loopback.
#[utoipa::path(get, path = "/metrics", tag = "health", security((), ("token" = []), ("session" = [])),
    responses((status = 200, body = String, content_type = "text/plain"), (status = 401, body = Problem),
        (status = 404, body = Problem)))]
async fn metrics(State(shared): Context, parts: http::request::Parts) -> Result<Response, Problem> {
    if !shared.admin.metrics_public {
        let mut parts = parts;
        <Viewer as axum::extract::FromRequestParts<()>>::from_request_parts(&mut parts, &()).await?;
    }
    if !shared.admin.metrics {
        return Err(Problem::not_found("there are no metrics here: admin.metrics is off"));
    }
    Ok(([(CONTENT_TYPE, PROMETHEUS_CONTENT_TYPE)], shared.admin.registry.prometheus()).into_response())
}
