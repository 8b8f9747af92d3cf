//! Sites, uplinks, classes, applications, policies and settings: one kind of route for each kind of document.

use std::sync::Arc;

use axum::extract::State;
use axum::response::{IntoResponse, Response};
use http::header::{ETAG, IF_MATCH};
use http::{HeaderMap, HeaderValue, StatusCode};
use outwork_front::api::{Caller, Json, Operator, Page, PageQuery, Path, Problem, Query, Timestamp, Viewer};
use serde::{Deserialize, Serialize};
use serde_json::Value;
use utoipa::ToSchema;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use super::changes::{ChangeList, TryQuery};
use super::page;
use crate::controller::Controller;
use crate::controller::store::Query as Asked;
use crate::controller::store::claims::overlaps;
use crate::controller::store::documents::{Edit, EditError, Expect, Stored, get, list};
use crate::network::Kind;

/// Their routes.
pub(super) fn router() -> OpenApiRouter<Arc<Controller>> {
    OpenApiRouter::new()
        .routes(routes!(list_documents, add_document))
        .routes(routes!(get_document, change_document, remove_document))
        .routes(routes!(get_uplink, change_uplink, remove_uplink))
}

/// A document.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct DocumentView {
    /// What it is known by.
    id: String,
    /// Counts its changes: what a change of it names in `If-Match`, or as `version`.
    version: u64,
    /// When it was made.
    created: Timestamp,
    /// By whom.
    created_by: String,
    /// When it was changed last.
    updated: Timestamp,
    /// By whom.
    updated_by: String,
    /// What it says, in the words of the configuration file: those of `[[sdwan.site]]`, `[[sdwan.site.uplink]]` with its `site`, `[sdwan.class.NAME]` and
    /// `[sdwan.application.NAME]` with their `name`, and `[[sdwan.policy]]`; settings, known as `network`, have `health`, `default_class` and `qos.class` of `[sdwan]`, and count
    /// where a site's own file does not say them.
    #[schema(value_type = Object)]
    body: Value,
    /// What should be looked at, and is no fault: networks of a site that overlap others'. Of what was just changed alone.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    warnings: Vec<String>,
}

impl From<Stored> for DocumentView {
    fn from(stored: Stored) -> Self {
        let Stored { kind: _, id, version, body, created, created_by, updated, updated_by } = stored;
        let (created, updated) = (created.into(), updated.into());
        Self { id, version, created, created_by, updated, updated_by, body, warnings: vec![] }
    }
}

/// A document to make or change.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct DocumentInput {
    /// What it is to say, in the words of the configuration file.
    #[schema(value_type = Object)]
    body: Value,
    /// The version that a change is of. The header `If-Match` says the same; one of both is needed.
    version: Option<u64>,
}

/// A document with its version as a tag.
fn tagged(status: StatusCode, stored: Stored, warnings: Vec<String>) -> Response {
    let tag = HeaderValue::from_str(&format!("\"{}\"", stored.version));
    let view = DocumentView { warnings, ..DocumentView::from(stored) };
    let mut response = (status, Json(view)).into_response();
    if let Ok(tag) = tag {
        response.headers_mut().insert(ETAG, tag);
    }
    response
}

/// The kind that a path has.
fn kind(word: &str) -> Result<Kind, Problem> {
    let kinds = || Kind::ALL.map(Kind::plural).join(", ");
    let found = Kind::ALL.into_iter().find(|kind| kind.plural() == word);
    found.ok_or_else(|| Problem::not_found(format!("there are no {word:?}: expected one of {}", kinds())))
}

/// The version that a change is of, by its header or by its body.
fn expected(headers: &HeaderMap, version: Option<u64>) -> Result<Expect, Problem> {
    let said = headers.get(IF_MATCH).map(|value| value.to_str().unwrap_or_default().trim().to_owned());
    let header = match said.as_deref() {
        None => None,
        Some("*") => return Ok(Expect::Any),
        Some(tag) => {
            let number = tag.strip_prefix('"').and_then(|tag| tag.strip_suffix('"')).unwrap_or(tag).parse::<u64>();
            Some(number.map_err(|_| Problem::invalid("If-Match", "expected the ETag of the document, or *"))?)
        }
    };
    match (header, version) {
        (Some(header), Some(version)) if header != version => {
            Err(Problem::invalid("version", format!("it is {version}, and If-Match says {header}")))
        }
        (Some(version), _) | (None, Some(version)) => Ok(Expect::Version(version)),
        (None, None) => {
            let why = "which version is changed has to be said: by the header If-Match with the ETag of the document, or as `version`";
            Err(Problem::invalid("version", why))
        }
    }
}

/// Why a change is not made, for who has asked for it.
pub(super) fn refused(kind: Kind, id: &str, error: EditError) -> Problem {
    let there = |stored: &Stored| {
        let Stored { version, updated_by, .. } = stored;
        (*version, Timestamp::from(stored.updated), updated_by.clone(), stored.body.to_string())
    };
    match error {
        EditError::Missing => Problem::not_found(format!("there is no {kind} {id:?}")),
        EditError::Exists(stored) => {
            let (version, at, who, body) = there(&stored);
            let why = format!("there is a {kind} {id:?} already, version {version} of {at} by {who}: {body}");
            Problem::conflict(Some("body.name".to_owned()), why)
        }
        EditError::Stale(stored) => {
            let (version, at, who, body) = there(&stored);
            let why = format!("{who} has changed it at {at}: it is version {version} now: {body}");
            Problem::conflict(Some("version".to_owned()), why)
        }
        EditError::Invalid(faults) => {
            let own = faults.iter().find(|fault| fault.is_of(kind, id));
            let key = own.map(|fault| format!("body.{}", fault.field).trim_end_matches('.').to_owned());
            let told = own.or(faults.first()).map(ToString::to_string).unwrap_or_default();
            let more = faults.len().saturating_sub(1);
            let told = if more == 0 { told } else { format!("{told} (and {more} more)") };
            Problem::refused(key, faults.iter().map(|fault| fault.to_json()).collect(), told)
        }
    }
}

/// Makes a change, or only tries it. One that was made is answered with this status, and with what there is now.
async fn change(
    controller: &Controller,
    caller: &Caller,
    edit: Edit,
    TryQuery { dry_run }: TryQuery,
    status: StatusCode,
) -> Result<Response, Problem> {
    let (kind, id) = (edit.kind, edit.id.clone());
    if dry_run {
        let tried = controller.try_out(vec![edit]).await?.map_err(|error| refused(kind, &id, error))?;
        return Ok(Json(ChangeList::new(controller, false, tried).await?).into_response());
    }
    let done = controller.edit(vec![edit], &caller.name).await?.map_err(|error| refused(kind, &id, error))?;
    match status {
        StatusCode::NO_CONTENT => Ok(status.into_response()),
        _ => changed(controller, status, done.into_iter().next().flatten()).await,
    }
}

/// What a request is called in the audit log.
fn called(what: &'static str, tried: TryQuery) -> &'static str {
    if tried.dry_run { TryQuery::CALLED } else { what }
}

/// What `If-Match` does not find is 412 (RFC 9110 section 13.1.1); what a body takes for granted stays a conflict.
fn unmatched(problem: Problem, headers: &HeaderMap) -> Problem {
    let is_stale = problem.status == StatusCode::CONFLICT.as_u16() && problem.key.as_deref() == Some("version");
    match is_stale && headers.contains_key(IF_MATCH) {
        true => Problem::unmatched(problem.key, problem.detail),
        false => problem,
    }
}

/// What is to be said to who has changed a document, besides what it says now.
async fn changed(controller: &Controller, status: StatusCode, stored: Option<Stored>) -> Result<Response, Problem> {
    let stored = stored.ok_or_else(|| Problem::internal("it is not there"))?;
    let warnings = match stored.kind {
        Kind::Site => {
            let id = stored.id.clone();
            let look = move |connection: &rusqlite::Connection| overlaps(connection, &id);
            controller.store().read(Asked::Documents, look).await?
        }
        _ => vec![],
    };
    Ok(tagged(status, stored, warnings))
}

/// Documents of a kind (`sites`, `uplinks`, `classes`, `applications`, `policies`, `settings`), by what they are known by.
#[utoipa::path(get, path = "/{kind}", tag = "controller",
    params(("kind" = String, Path, description = "Their kind"), PageQuery),
    responses((status = 200, body = Page<DocumentView>), (status = 401, body = Problem), (status = 404, body = Problem)))]
async fn list_documents(
    _: Viewer,
    State(controller): State<Arc<Controller>>,
    Path(word): Path<String>,
    Query(query): Query<PageQuery>,
) -> Result<Json<Page<DocumentView>>, Problem> {
    let (kind, limit, after) = (kind(&word)?, query.rows(), query.after.unwrap_or_default());
    let read = move |connection: &rusqlite::Connection| list(connection, kind, &after, limit + 1);
    let rows = controller.store().read(Asked::Documents, read).await?;
    Ok(page(rows, limit, |row| row.id.clone(), DocumentView::from))
}

/// Make a document. Sites are told at once.
#[utoipa::path(post, path = "/{kind}", tag = "controller", request_body = DocumentInput,
    params(("kind" = String, Path, description = "Its kind"), TryQuery),
    responses((status = 200, description = "What would come of it", body = ChangeList), (status = 201, body = DocumentView), (status = 400, body = Problem), (status = 401, body = Problem),
        (status = 403, body = Problem), (status = 404, body = Problem), (status = 409, body = Problem),
        (status = 422, body = Problem)))]
async fn add_document(
    Operator(caller): Operator,
    State(controller): State<Arc<Controller>>,
    Path(word): Path<String>,
    Query(tried): Query<TryQuery>,
    Json(DocumentInput { body, version }): Json<DocumentInput>,
) -> Result<Response, Problem> {
    let kind = kind(&word)?;
    if version.is_some() {
        return Err(Problem::invalid("version", "what is made has no version yet"));
    }
    let id = kind.id_of(&body);
    let id = id.ok_or_else(|| Problem::invalid("body.name", "it needs a name, and an uplink its site besides"))?;
    caller.does(called("controller.add", tried), format!("{kind} {id}"), body.to_string());
    let edit = Edit { kind, id, body: Some(body), expect: Expect::New };
    change(&controller, &caller, edit, tried, StatusCode::CREATED).await
}

async fn read_one(controller: &Controller, kind: Kind, id: String) -> Result<Response, Problem> {
    let read = {
        let id = id.clone();
        move |connection: &rusqlite::Connection| get(connection, kind, &id)
    };
    let stored = controller.store().read(Asked::Documents, read).await?;
    let stored = stored.ok_or_else(|| Problem::not_found(format!("there is no {kind} {id:?}")))?;
    Ok(tagged(StatusCode::OK, stored, vec![]))
}

async fn change_one(
    controller: &Controller,
    caller: &Caller,
    (kind, id): (Kind, String),
    headers: &HeaderMap,
    tried: TryQuery,
    DocumentInput { body, version }: DocumentInput,
) -> Result<Response, Problem> {
    caller.does(called("controller.change", tried), format!("{kind} {id}"), body.to_string());
    let expect = expected(headers, version)?;
    if kind.id_of(&body).as_deref() != Some(id.as_str()) {
        let why = format!("what it is known by cannot change: expected what stands in the path, {id:?}");
        return Err(Problem::invalid("body.name", why));
    }
    let edit = Edit { kind, id, body: Some(body), expect };
    let done = change(controller, caller, edit, tried, StatusCode::OK).await;
    done.map_err(|problem| unmatched(problem, headers))
}

async fn remove_one(
    controller: &Controller,
    caller: &Caller,
    (kind, id): (Kind, String),
    headers: &HeaderMap,
    tried: TryQuery,
) -> Result<Response, Problem> {
    caller.does(called("controller.remove", tried), format!("{kind} {id}"), "");
    let expect = match headers.contains_key(IF_MATCH) {
        true => expected(headers, None)?,
        false => Expect::Any,
    };
    let edit = Edit { kind, id, body: None, expect };
    let done = change(controller, caller, edit, tried, StatusCode::NO_CONTENT).await;
    done.map_err(|problem| unmatched(problem, headers))
}

/// A document.
#[utoipa::path(get, path = "/{kind}/{name}", tag = "controller",
    params(("kind" = String, Path, description = "Its kind"), ("name" = String, Path, description = "Its name")),
    responses((status = 200, body = DocumentView), (status = 401, body = Problem), (status = 404, body = Problem)))]
async fn get_document(
    _: Viewer,
    State(controller): State<Arc<Controller>>,
    Path((word, id)): Path<(String, String)>,
) -> Result<Response, Problem> {
    read_one(&controller, kind(&word)?, id).await
}

/// Change a document, of the version that is said. Sites are told at once.
#[utoipa::path(put, path = "/{kind}/{name}", tag = "controller", request_body = DocumentInput,
    params(("kind" = String, Path, description = "Its kind"), ("name" = String, Path, description = "Its name"),
        ("If-Match" = Option<String>, Header, description = "The ETag of the version that is changed, or `*`"), TryQuery),
    responses((status = 200, body = DocumentView), (status = 400, body = Problem), (status = 401, body = Problem),
        (status = 403, body = Problem), (status = 404, body = Problem), (status = 409, body = Problem),
        (status = 412, body = Problem), (status = 422, body = Problem)))]
async fn change_document(
    Operator(caller): Operator,
    State(controller): State<Arc<Controller>>,
    Path((word, id)): Path<(String, String)>,
    Query(tried): Query<TryQuery>,
    headers: HeaderMap,
    Json(input): Json<DocumentInput>,
) -> Result<Response, Problem> {
    change_one(&controller, &caller, (kind(&word)?, id), &headers, tried, input).await
}

/// Remove a document; with a site go its uplinks, and it is believed no longer. Sites are told at once.
#[utoipa::path(delete, path = "/{kind}/{name}", tag = "controller",
    params(("kind" = String, Path, description = "Its kind"), ("name" = String, Path, description = "Its name"),
        ("If-Match" = Option<String>, Header, description = "The ETag of the version that is removed"), TryQuery),
    responses((status = 200, description = "What would come of it", body = ChangeList), (status = 204), (status = 401, body = Problem), (status = 403, body = Problem),
        (status = 404, body = Problem), (status = 409, body = Problem), (status = 412, body = Problem),
        (status = 422, body = Problem)))]
async fn remove_document(
    Operator(caller): Operator,
    State(controller): State<Arc<Controller>>,
    Path((word, id)): Path<(String, String)>,
    Query(tried): Query<TryQuery>,
    headers: HeaderMap,
) -> Result<Response, Problem> {
    remove_one(&controller, &caller, (kind(&word)?, id), &headers, tried).await
}

/// An uplink of a site.
#[utoipa::path(get, path = "/uplinks/{site}/{name}", tag = "controller",
    params(("site" = String, Path, description = "Its site"), ("name" = String, Path, description = "Its name")),
    responses((status = 200, body = DocumentView), (status = 401, body = Problem), (status = 404, body = Problem)))]
async fn get_uplink(
    _: Viewer,
    State(controller): State<Arc<Controller>>,
    Path((site, name)): Path<(String, String)>,
) -> Result<Response, Problem> {
    read_one(&controller, Kind::Uplink, format!("{site}/{name}")).await
}

/// Change an uplink of a site, of the version that is said.
#[utoipa::path(put, path = "/uplinks/{site}/{name}", tag = "controller", request_body = DocumentInput,
    params(("site" = String, Path, description = "Its site"), ("name" = String, Path, description = "Its name"),
        ("If-Match" = Option<String>, Header, description = "The ETag of the version that is changed, or `*`"), TryQuery),
    responses((status = 200, body = DocumentView), (status = 400, body = Problem), (status = 401, body = Problem),
        (status = 403, body = Problem), (status = 404, body = Problem), (status = 409, body = Problem),
        (status = 412, body = Problem), (status = 422, body = Problem)))]
async fn change_uplink(
    Operator(caller): Operator,
    State(controller): State<Arc<Controller>>,
    Path((site, name)): Path<(String, String)>,
    Query(tried): Query<TryQuery>,
    headers: HeaderMap,
    Json(input): Json<DocumentInput>,
) -> Result<Response, Problem> {
    change_one(&controller, &caller, (Kind::Uplink, format!("{site}/{name}")), &headers, tried, input).await
}

/// Remove an uplink of a site.
#[utoipa::path(delete, path = "/uplinks/{site}/{name}", tag = "controller",
    params(("site" = String, Path, description = "Its site"), ("name" = String, Path, description = "Its name"),
        ("If-Match" = Option<String>, Header, description = "The ETag of the version that is removed"), TryQuery),
    responses((status = 200, description = "What would come of it", body = ChangeList), (status = 204), (status = 401, body = Problem), (status = 403, body = Problem),
        (status = 404, body = Problem), (status = 409, body = Problem), (status = 412, body = Problem),
        (status = 422, body = Problem)))]
async fn remove_uplink(
    Operator(caller): Operator,
    State(controller): State<Arc<Controller>>,
    Path((site, name)): Path<(String, String)>,
    Query(tried): Query<TryQuery>,
    headers: HeaderMap,
) -> Result<Response, Problem> {
    remove_one(&controller, &caller, (Kind::Uplink, format!("{site}/{name}")), &headers, tried).await
}

#[cfg(test)]
mod tests {
    use std::time::UNIX_EPOCH;

    use serde_json::json;

    use super::*;
    use crate::network::check::DocumentFault;

    fn headers(tag: Option<&'static str>) -> HeaderMap {
        tag.map(|tag| (IF_MATCH, HeaderValue::from_static(tag))).into_iter().collect()
    }

    #[test]
    fn the_version_of_a_change_is_said_by_header_or_body_and_by_both_alike() {
        let of = |tag, version| expected(&headers(tag), version).ok();
        assert_eq!(
            (of(Some("\"3\""), None), of(Some("3"), None)),
            (Some(Expect::Version(3)), Some(Expect::Version(3)))
        );
        assert_eq!(
            (of(None, Some(4)), of(Some("\"4\""), Some(4))),
            (Some(Expect::Version(4)), Some(Expect::Version(4)))
        );
        assert_eq!((of(Some("*"), None), of(None, None)), (Some(Expect::Any), None));
        assert_eq!((of(Some("\"3\""), Some(4)), of(Some("W/x"), None)), (None, None));
    }

    #[test]
    fn who_comes_too_late_is_told_what_is_there() {
        let stored = Stored {
            kind: Kind::Policy,
            id: "calls".to_owned(),
            version: 7,
            body: json!({ "name": "calls", "class": "voice" }),
            created: UNIX_EPOCH,
            created_by: "ann".to_owned(),
            updated: UNIX_EPOCH,
            updated_by: "bob".to_owned(),
        };
        let problem = refused(Kind::Policy, "calls", EditError::Stale(Box::new(stored)));
        assert_eq!((problem.status, problem.key.as_deref()), (409, Some("version")));
        for part in ["bob", "version 7", "\"class\":\"voice\""] {
            assert!(problem.detail.contains(part), "{}", problem.detail);
        }
    }

    #[test]
    fn what_if_match_does_not_find_is_412_and_what_a_body_says_a_conflict() {
        let stale = || Problem::conflict(Some("version".to_owned()), "bob has changed it");
        assert_eq!(unmatched(stale(), &headers(Some("\"3\""))).status, 412);
        assert_eq!(unmatched(stale(), &headers(None)).status, 409);
        let taken = Problem::conflict(Some("body.name".to_owned()), "there is one");
        assert_eq!(unmatched(taken, &headers(Some("\"3\""))).status, 409);
    }

    #[test]
    fn what_is_wrong_is_told_by_field() {
        let fault = DocumentFault {
            of: Some((Kind::Policy, "calls".to_owned())),
            field: "ports[0]".to_owned(),
            found: "found \"0\"".to_owned(),
            expected: None,
            help: None,
        };
        let problem = refused(Kind::Policy, "calls", EditError::Invalid(vec![fault]));
        assert_eq!((problem.status, problem.key.as_deref()), (422, Some("body.ports[0]")));
        assert_eq!(problem.faults.unwrap()[0]["key"], "ports[0]");
    }

    #[test]
    fn only_kinds_that_there_are_have_routes() {
        assert_eq!(kind("policies").ok(), Some(Kind::Policy));
        assert_eq!(kind("policy").unwrap_err().status, 404);
    }
}
