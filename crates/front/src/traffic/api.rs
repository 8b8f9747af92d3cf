//! What the admin API tells of routes and failures, under `/api/v1/front`.

use std::sync::Arc;

use axum::extract::State;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use super::failures::{Blame, Failure, KEPT};
use super::{Listed, Traffic};
use crate::api::{Json, Problem, Query, Timestamp, Viewer};

/// The routes, to be nested under `/api/v1/front`.
pub fn router(traffic: Arc<Traffic>) -> OpenApiRouter {
    OpenApiRouter::new().routes(routes!(front_routes)).routes(routes!(front_failures)).with_state(traffic)
}

/// A route, and what it has got since the start.
#[derive(Debug, Serialize, ToSchema)]
pub struct RouteView {
    /// The label of its figures: the metrics `outwork_front_route_*`.
    route: String,
    /// What answers: `files`, `query`, `redirect` or `respond`.
    answers: &'static str,
    /// With what: a folder, a statement, a target, a status.
    with: String,
    /// The database of a query.
    #[serde(skip_serializing_if = "Option::is_none")]
    database: Option<String>,
    /// Whether a query changes something.
    writes: bool,
    /// Whether its answers are cached as responses.
    cached: bool,
    /// How long the results of a query are kept; absent where they are not.
    #[serde(skip_serializing_if = "Option::is_none")]
    kept_seconds: Option<f64>,
    /// Requests.
    requests: u64,
    /// Of them, those answered with 4xx.
    client_errors: u64,
    /// Of them, those answered with 5xx.
    server_errors: u64,
    /// Bytes of content sent.
    sent_bytes: u64,
    /// Seconds to the answer's head that half of them took at most.
    p50: f64,
    /// Seconds that all but one in a hundred took at most.
    p99: f64,
}

impl RouteView {
    fn new(traffic: &Traffic, listed: &Listed) -> Self {
        let cells = super::Cells::new(&traffic.metrics, &listed.label);
        let time = cells.time.snapshot();
        let seconds = |nanoseconds: u64| nanoseconds as f64 * 1e-9;
        Self {
            route: listed.label.clone(),
            answers: listed.answers,
            with: listed.with.clone(),
            database: listed.database.clone(),
            writes: listed.writes,
            cached: listed.cached,
            kept_seconds: listed.kept.map(|kept| kept.as_secs_f64()),
            requests: time.count(),
            client_errors: cells.client_errors.get(),
            server_errors: cells.server_errors.get(),
            sent_bytes: cells.sent.get(),
            p50: seconds(time.quantile(0.5)),
            p99: seconds(time.quantile(0.99)),
        }
    }
}

/// The routes in force.
#[derive(Debug, Serialize, ToSchema)]
pub struct RouteList {
    /// In the order of the configuration.
    items: Vec<RouteView>,
}

/// The routes in force, and what each has got since the start.
#[utoipa::path(get, path = "/routes", tag = "front",
    responses((status = 200, body = RouteList), (status = 401, body = Problem)))]
async fn front_routes(_: Viewer, State(traffic): State<Arc<Traffic>>) -> Json<RouteList> {
    let routes = traffic.routes();
    Json(RouteList { items: routes.iter().flatten().map(|listed| RouteView::new(&traffic, listed)).collect() })
}

/// Whose failures.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize, ToSchema)]
#[serde(rename_all = "lowercase")]
enum Whose {
    /// Answers with 5xx.
    Server,
    /// Answers with 4xx.
    Client,
}

/// Which failures.
#[derive(Debug, Deserialize, utoipa::IntoParams)]
#[serde(deny_unknown_fields)]
struct FailureQuery {
    /// Whom they blame; `server` when absent.
    #[param(inline)]
    blame: Option<Whose>,
    /// At most so many; 50 when absent, and never more than 256.
    limit: Option<usize>,
}

/// An answer that was an error.
#[derive(Debug, Serialize, ToSchema)]
pub struct FailureView {
    /// When.
    time: Timestamp,
    /// Its status.
    status: u16,
    /// The method; null where it is not known.
    method: Option<String>,
    /// The host that was asked; null where it is not known.
    host: Option<String>,
    /// The path, without the query; null where it is not known.
    path: Option<String>,
    /// Its route; null where it had none.
    route: Option<String>,
    /// The request's id, which the client was told; null where it has none.
    request_id: Option<String>,
    /// What went wrong, as the client was told; null where it was told nothing but the status.
    detail: Option<String>,
}

impl From<Failure> for FailureView {
    fn from(failure: Failure) -> Self {
        Self {
            time: failure.at.into(),
            status: failure.status.as_u16(),
            method: failure.method.map(|method| method.to_string()),
            host: failure.host,
            path: failure.path,
            route: failure.route,
            request_id: failure.id,
            detail: failure.why,
        }
    }
}

/// The latest answers that were errors.
#[derive(Debug, Serialize, ToSchema)]
pub struct FailureList {
    /// The newest first.
    items: Vec<FailureView>,
}

/// The latest answers that were errors.
#[utoipa::path(get, path = "/failures", tag = "front", params(FailureQuery),
    responses((status = 200, body = FailureList), (status = 400, body = Problem), (status = 401, body = Problem)))]
async fn front_failures(
    _: Viewer,
    State(traffic): State<Arc<Traffic>>,
    Query(query): Query<FailureQuery>,
) -> Json<FailureList> {
    let blame = match query.blame {
        Some(Whose::Client) => Blame::Client,
        Some(Whose::Server) | None => Blame::Server,
    };
    let latest = traffic.failures.latest(blame, query.limit.unwrap_or(50).min(KEPT));
    Json(FailureList { items: latest.into_iter().map(FailureView::from).collect() })
}
