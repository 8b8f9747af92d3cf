//! Who has changed what of the network, what would come of a change, and taking one back.

use std::sync::Arc;

use axum::extract::State;
use axum::response::{IntoResponse, Response};
use outwork_front::api::{Caller, Json, Operator, Page, PageQuery, Path, Problem, Query, Timestamp, Viewer};
use rusqlite::Connection;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use utoipa::ToSchema;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use super::documents::refused;
use super::{number, page};
use crate::controller::Controller;
use crate::controller::store::Query as Asked;
use crate::controller::store::changes::{Audited, UndoError, audited};
use crate::controller::store::documents::{AHEAD, Differs, EditError};
use crate::controller::store::health::of_other_releases;
use crate::network::Kind;

/// Their routes.
pub(super) fn router() -> OpenApiRouter<Arc<Controller>> {
    OpenApiRouter::new()
        .routes(routes!(network_changes))
        .routes(routes!(undo_latest))
        .routes(routes!(undo_change))
        .routes(routes!(accept))
}

/// A change of the network.
#[derive(Debug, Serialize, ToSchema)]
struct NetworkChange {
    /// Its number, ascending.
    id: i64,
    /// When.
    at: Timestamp,
    /// Who: the name of a token, or `site` and its name.
    who: String,
    /// What, as `policy.change`.
    what: String,
    /// On what.
    target: String,
    /// What was there before and after, as JSON.
    detail: String,
    /// The version of the network that it has made, together with all that were made at once; none where it has made none, and cannot be taken back.
    revision: Option<u64>,
}

/// What a document says, and what it would say.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct DocumentChange {
    /// What it is about.
    kind: Kind,
    /// What it is known by.
    id: String,
    /// What it says; none where it is not there.
    #[schema(value_type = Option<Object>)]
    before: Option<Value>,
    /// What it would say; none where it would go.
    #[schema(value_type = Option<Object>)]
    after: Option<Value>,
}

/// What changes come to.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct ChangeList {
    /// Whether they are made, and not only tried.
    made: bool,
    /// Each document that they are about.
    items: Vec<DocumentChange>,
    /// How many sites run another release than this controller: they refuse documents with what theirs does not know, and stay as they are.
    other_releases: u64,
}

impl ChangeList {
    /// Of these.
    pub(super) async fn new(controller: &Controller, made: bool, differs: Vec<Differs>) -> Result<ChangeList, Problem> {
        let view = |Differs { kind, id, before, after }| DocumentChange { kind, id, before, after };
        let count = |connection: &Connection| of_other_releases(connection, env!("CARGO_PKG_VERSION"));
        let other_releases = controller.store().read(Asked::Documents, count).await?;
        Ok(ChangeList { made, items: differs.into_iter().map(view).collect(), other_releases })
    }
}

/// Whether a change is only tried.
#[derive(Debug, Clone, Copy, Default, Deserialize, utoipa::IntoParams)]
#[into_params(parameter_in = Query)]
#[serde(deny_unknown_fields)]
pub(super) struct TryQuery {
    /// Nothing is changed: the answer says what would be, or what is wrong with it.
    #[serde(default)]
    pub(super) dry_run: bool,
}

impl TryQuery {
    /// What it is called in the audit log where nothing is changed.
    pub(super) const CALLED: &str = "controller.try";
}

/// Who has changed what of the network, the latest first.
#[utoipa::path(get, path = "/changes", tag = "controller", params(PageQuery),
    responses((status = 200, body = Page<NetworkChange>), (status = 400, body = Problem), (status = 401, body = Problem)))]
async fn network_changes(
    _: Viewer,
    State(controller): State<Arc<Controller>>,
    Query(query): Query<PageQuery>,
) -> Result<Json<Page<NetworkChange>>, Problem> {
    let (limit, before) = (query.rows(), number(query.after)?);
    let read = move |connection: &Connection| audited(connection, before, limit + 1);
    let found = controller.store().read(Asked::History, read).await?;
    let view = |row: Audited| {
        let Audited { id, at, who, what, target, detail, revision } = row;
        NetworkChange { id, at: at.into(), who, what, target, detail, revision }
    };
    Ok(page(found, limit, |row| row.id.to_string(), view))
}

fn why(error: UndoError) -> Problem {
    let changed = |why: String| Problem::conflict(Some("change".to_owned()), why);
    match error {
        UndoError::Unknown => Problem::not_found("there is no such change, or the log keeps it no longer"),
        UndoError::NotOfDocuments(what) => changed(format!(
            "{what} is no change of a site, an uplink, a class, an application, a policy or the settings of all sites"
        )),
        UndoError::Changed(error) => match *error {
            EditError::Stale(there) | EditError::Exists(there) => {
                let (kind, id, who) = (there.kind, &there.id, &there.updated_by);
                let at = Timestamp::from(there.updated);
                changed(format!("the {kind} {id:?} was changed since, at {at} by {who}: take that back first"))
            }
            _ => changed("what it has changed is not there any more: take back first what removed it".to_owned()),
        },
    }
}

async fn undo(
    controller: &Controller,
    caller: &Caller,
    change: Option<i64>,
    query: TryQuery,
) -> Result<Response, Problem> {
    let which = change.map_or_else(|| "the latest".to_owned(), |change| change.to_string());
    caller.does(if query.dry_run { TryQuery::CALLED } else { "controller.undo" }, which, "");
    let undone = match query.dry_run {
        true => controller.try_undo(change).await?,
        false => controller.undo(change, &caller.name).await?,
    };
    let made = undone.map_err(why)?;
    let made = made.map_err(|error| match error {
        // What faults are about is said by each.
        EditError::Invalid(_) => refused(Kind::Site, "", error),
        error => why(UndoError::Changed(Box::new(error))),
    })?;
    Ok(Json(ChangeList::new(controller, !query.dry_run, made).await?).into_response())
}

/// Take the latest change of documents back, with all that was made at once. Sites are told at once. Certificates of a site that was removed do not come back: it is enrolled anew.
#[utoipa::path(post, path = "/changes/undo", tag = "controller", params(TryQuery),
    responses((status = 200, body = ChangeList), (status = 401, body = Problem), (status = 403, body = Problem),
        (status = 404, body = Problem), (status = 409, body = Problem), (status = 422, body = Problem)))]
async fn undo_latest(
    Operator(caller): Operator,
    State(controller): State<Arc<Controller>>,
    Query(query): Query<TryQuery>,
) -> Result<Response, Problem> {
    undo(&controller, &caller, None, query).await
}

/// Take a change of documents back, with all that was made at once, unless they were changed since.
#[utoipa::path(post, path = "/changes/{id}/undo", tag = "controller",
    params(("id" = i64, Path, description = "The number of the change"), TryQuery),
    responses((status = 200, body = ChangeList), (status = 401, body = Problem), (status = 403, body = Problem),
        (status = 404, body = Problem), (status = 409, body = Problem), (status = 422, body = Problem)))]
async fn undo_change(
    Operator(caller): Operator,
    State(controller): State<Arc<Controller>>,
    Path(id): Path<i64>,
    Query(query): Query<TryQuery>,
) -> Result<Response, Problem> {
    undo(&controller, &caller, Some(id), query).await
}

/// Which version is gone beyond.
#[derive(Debug, Clone, Copy, Default, Deserialize, utoipa::IntoParams)]
#[into_params(parameter_in = Query)]
#[serde(deny_unknown_fields)]
struct AcceptQuery {
    /// A version that a site holds and cannot show that it was told: the network's becomes the one after it. Not needed where it is this controller that holds sites back.
    beyond: Option<u64>,
}

/// What the network is from now on.
#[derive(Debug, Serialize, ToSchema)]
struct Accepted {
    /// Its version.
    version: u64,
}

/// Have all sites told what the network is here, though some were told a later version: a controller that came out of an older backup tells them nothing before that.
#[utoipa::path(post, path = "/changes/accept", tag = "controller", params(AcceptQuery),
    responses((status = 200, body = Accepted), (status = 400, body = Problem), (status = 401, body = Problem),
        (status = 403, body = Problem), (status = 409, body = Problem)))]
async fn accept(
    Operator(caller): Operator,
    State(controller): State<Arc<Controller>>,
    Query(AcceptQuery { beyond }): Query<AcceptQuery>,
) -> Result<Json<Accepted>, Problem> {
    let said = beyond.map(|beyond| format!("beyond {beyond}")).unwrap_or_default();
    caller.does("controller.accept", "the network", said);
    let none = || match beyond {
        Some(beyond) => {
            let why = format!("expected a version from that of now on, and {AHEAD} more at most: found {beyond}");
            Problem::invalid("beyond", why)
        }
        None => Problem::conflict(None, "nothing is held back: sites are told what the network is"),
    };
    let version = controller.bring_into_force(beyond, &caller.name).await?.ok_or_else(none)?;
    Ok(Json(Accepted { version }))
}
