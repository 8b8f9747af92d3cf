//! How another key takes over from that of an uplink.

use std::sync::Arc;

use axum::extract::{Path, State};
use outwork_front::api::{Json, Operator, Problem};
use serde::Serialize;
use utoipa::ToSchema;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use super::{UplinkList, UplinkView};
use crate::keys::{KeyTold, KeysError};
use crate::service::Service;

/// The routes.
pub(super) fn router() -> OpenApiRouter<Arc<Service>> {
    OpenApiRouter::new().routes(routes!(rotate_all, abandon_all)).routes(routes!(rotate, abandon))
}

/// How it stands with a key that takes over.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct RotationView {
    /// `announced`: others are told of the new key, and not all have shown that they know it; `taken-up`: they have, and the old one is dropped soon.
    state: &'static str,
    /// When the new key was made, in Unix time, in milliseconds.
    began_ms: u64,
    /// When the old one is dropped at the latest, in Unix time, in milliseconds.
    until_ms: u64,
    /// Who has not shown yet that they know the new key: they are cut off when the old one is dropped.
    waits_for: Vec<String>,
}

/// An uplink with its keys.
pub(super) fn view(told: KeyTold, listens: Vec<String>) -> UplinkView {
    let KeyTold { published, rotation, since_ms } = told;
    let rotation = rotation.map(|rotation| RotationView {
        state: rotation.state,
        began_ms: rotation.began_ms,
        until_ms: rotation.until_ms,
        waits_for: rotation.waits_for,
    });
    UplinkView {
        name: published.uplink,
        public_key: published.key.to_string(),
        next_public_key: published.next.map(|key| key.to_string()),
        first_public_key: published.first.map(|key| key.to_string()),
        rotation,
        key_since_ms: since_ms,
        listens,
    }
}

fn problem(error: KeysError) -> Problem {
    match error {
        KeysError::Unknown { .. } => Problem::not_found(error),
        KeysError::Configured { .. }
        | KeysError::Kernel { .. }
        | KeysError::UnderWay { .. }
        | KeysError::NotUnderWay { .. }
        | KeysError::None => Problem::conflict(None, error),
        KeysError::Key { .. } | KeysError::File { .. } | KeysError::Silent => Problem::internal(error),
    }
}

/// Does something that waits for the disk and for control.
async fn ask(
    service: Arc<Service>,
    what: impl FnOnce(&Service) -> Result<Vec<KeyTold>, KeysError> + Send + 'static,
) -> Result<Json<UplinkList>, Problem> {
    let told = tokio::task::spawn_blocking(move || what(&service).map(|told| (told, service)));
    let (told, service) = told.await.map_err(Problem::internal)?.map_err(problem)?;
    let listens = |name: &str| {
        let bound = service.uplinks().iter().find(|bound| bound.name == name);
        bound.iter().flat_map(|bound| &bound.listens).map(ToString::to_string).collect()
    };
    let items = told.into_iter().map(|told| {
        let listens = listens(&told.published.uplink);
        view(told, listens)
    });
    Ok(Json(UplinkList { items: items.collect(), next: None }))
}

/// Make keys that take over from those of all uplinks whose keys are kept by this site.
#[utoipa::path(post, path = "/rotation", tag = "sdwan",
    responses((status = 200, body = UplinkList), (status = 403, body = Problem), (status = 409, body = Problem)))]
async fn rotate_all(
    Operator(caller): Operator,
    State(service): State<Arc<Service>>,
) -> Result<Json<UplinkList>, Problem> {
    caller.does("key.rotate", "", "");
    ask(service, |service| service.rotate_key(None)).await
}

/// Give the keys up that take over.
#[utoipa::path(delete, path = "/rotation", tag = "sdwan",
    responses((status = 200, body = UplinkList), (status = 403, body = Problem), (status = 409, body = Problem)))]
async fn abandon_all(
    Operator(caller): Operator,
    State(service): State<Arc<Service>>,
) -> Result<Json<UplinkList>, Problem> {
    caller.does("key.abandon", "", "");
    ask(service, |service| service.abandon_key(None)).await
}

/// Make a key that takes over from that of an uplink.
#[utoipa::path(post, path = "/uplinks/{uplink}/rotation", tag = "sdwan", params(("uplink" = String, Path)),
    responses((status = 200, body = UplinkList), (status = 403, body = Problem), (status = 404, body = Problem),
        (status = 409, body = Problem)))]
async fn rotate(
    Operator(caller): Operator,
    State(service): State<Arc<Service>>,
    Path(uplink): Path<String>,
) -> Result<Json<UplinkList>, Problem> {
    caller.does("key.rotate", &uplink, "");
    ask(service, move |service| service.rotate_key(Some(&uplink))).await
}

/// Give the key up that takes over from that of an uplink: who has it goes back to the one before.
#[utoipa::path(delete, path = "/uplinks/{uplink}/rotation", tag = "sdwan", params(("uplink" = String, Path)),
    responses((status = 200, body = UplinkList), (status = 403, body = Problem), (status = 404, body = Problem),
        (status = 409, body = Problem)))]
async fn abandon(
    Operator(caller): Operator,
    State(service): State<Arc<Service>>,
    Path(uplink): Path<String>,
) -> Result<Json<UplinkList>, Problem> {
    caller.does("key.abandon", &uplink, "");
    ask(service, move |service| service.abandon_key(Some(&uplink))).await
}
