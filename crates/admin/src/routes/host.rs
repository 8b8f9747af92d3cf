//! The machine beside what is wanted of it.

use std::sync::Arc;

use axum::extract::State;
use outwork_front::api::{Json, Problem, Viewer};
use outwork_host::report::Report;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use super::{Context, Shared};

pub(super) fn router() -> OpenApiRouter<Arc<Shared>> {
    OpenApiRouter::new().routes(routes!(host))
}

/// What is wanted of this machine, and how it is: settings of the kernel, huge pages, interfaces, limits of the process. `outwork host apply` changes it.
#[utoipa::path(get, path = "/host", tag = "system",
    responses((status = 200, body = Report), (status = 401, body = Problem)))]
async fn host(_: Viewer, State(shared): Context) -> Result<Json<Report>, Problem> {
    let looked = tokio::task::spawn_blocking(move || (shared.admin.machine)()).await;
    looked.map(Json).map_err(Problem::internal)
}
