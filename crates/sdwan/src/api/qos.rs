//! How uplinks are shaped.

use std::sync::Arc;

use axum::extract::State;
use outwork_front::api::{Json, Operator, Problem, Viewer};
use serde::Serialize;
use utoipa::ToSchema;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use crate::qos::report::UplinkReport;
use crate::qos::{QosError, Undone};
use crate::service::Service;

/// The routes.
pub(super) fn router() -> OpenApiRouter<Arc<Service>> {
    OpenApiRouter::new().routes(routes!(shaped)).routes(routes!(shape)).routes(routes!(roll_back))
}

/// How uplinks are shaped.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct QosView {
    /// Whether any is to be.
    enabled: bool,
    /// They.
    uplinks: Vec<UplinkReport>,
}

/// What was taken back.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct UndoneList {
    /// Each interface that was shaped.
    items: Vec<Undone>,
}

/// Does something that asks the kernel, on a thread that may wait for it.
async fn ask<T: Send + 'static>(
    service: &Arc<Service>,
    what: impl FnOnce(&Service) -> Result<T, QosError> + Send + 'static,
) -> Result<T, Problem> {
    let service = Arc::clone(service);
    let told = tokio::task::spawn_blocking(move || what(&service)).await.map_err(Problem::internal)?;
    told.map_err(|error| match error {
        QosError::Foreign { .. } => Problem::conflict(Some("sdwan.qos".to_owned()), error),
        error => Problem::internal(error),
    })
}

fn view(service: &Service) -> Result<QosView, QosError> {
    Ok(QosView { enabled: service.qos().is_on(), uplinks: service.qos().report()? })
}

/// How uplinks are shaped, and what has passed.
#[utoipa::path(get, path = "/qos", tag = "sdwan",
    responses((status = 200, body = QosView), (status = 401, body = Problem)))]
async fn shaped(_: Viewer, State(service): State<Arc<Service>>) -> Result<Json<QosView>, Problem> {
    ask(&service, view).await.map(Json)
}

/// Shape uplinks again that were rolled back, or whose trees somebody has taken away.
#[utoipa::path(post, path = "/qos/apply", tag = "sdwan",
    responses((status = 200, body = QosView), (status = 403, body = Problem), (status = 409, body = Problem)))]
async fn shape(Operator(caller): Operator, State(service): State<Arc<Service>>) -> Result<Json<QosView>, Problem> {
    caller.does("qos.apply", "", "");
    if !service.qos().is_on() {
        let why = "no uplink is to be shaped: set enabled = true in [sdwan.qos], and reload";
        return Err(Problem::conflict(Some("sdwan.qos.enabled".to_owned()), why));
    }
    let shaped = |service: &Service| service.shape_again().and_then(|()| view(service));
    ask(&service, shaped).await.map(Json)
}

/// Take shaping back, until it is applied again or a reload changes what is said of tunnels.
#[utoipa::path(post, path = "/qos/rollback", tag = "sdwan",
    responses((status = 200, body = UndoneList), (status = 403, body = Problem)))]
async fn roll_back(
    Operator(caller): Operator,
    State(service): State<Arc<Service>>,
) -> Result<Json<UndoneList>, Problem> {
    caller.does("qos.rollback", "", "");
    let items = ask(&service, Service::shape_no_longer).await?;
    Ok(Json(UndoneList { items }))
}
