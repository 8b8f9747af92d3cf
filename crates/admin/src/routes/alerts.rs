//! What slows the server down, or soon will.

use std::sync::Arc;

use axum::extract::State;
use outwork_front::api::{Json, Problem, Timestamp, Viewer};
use outwork_telemetry::alerts::{Alert, Severity};
use serde::Serialize;
use utoipa::ToSchema;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use super::{Context, Shared};

pub(super) fn router() -> OpenApiRouter<Arc<Shared>> {
    OpenApiRouter::new().routes(routes!(alerts))
}

/// A condition that holds now. The data of the events `alert_started` and `alert_ended` of the topic `system`, too.
#[derive(Debug, Clone, Serialize, ToSchema)]
pub struct AlertRow {
    /// Which condition: also the label of the metric `outwork_alerts`.
    id: &'static str,
    /// `warning` or `critical`.
    #[schema(value_type = String)]
    severity: Severity,
    /// Since when it is an alert.
    since: Timestamp,
    /// What is the matter, with figures.
    what: String,
    /// What to do about it.
    advice: String,
    /// The settings that bear on it.
    settings: &'static [&'static str],
}

impl From<Alert> for AlertRow {
    fn from(Alert { id, severity, since, what, advice, settings }: Alert) -> Self {
        Self { id, severity, since: since.into(), what, advice, settings }
    }
}

/// Alerts, the worst first.
#[derive(Debug, Serialize, ToSchema)]
struct AlertList {
    /// The alerts.
    items: Vec<AlertRow>,
}

/// The conditions that hold now, the worst first, each with what to do about it.
#[utoipa::path(get, path = "/alerts", tag = "system",
    responses((status = 200, body = AlertList), (status = 401, body = Problem)))]
async fn alerts(_: Viewer, State(shared): Context) -> Json<AlertList> {
    Json(AlertList { items: shared.admin.alerts.active().into_iter().map(AlertRow::from).collect() })
}
