//! Who is let in: tokens for enrolment, certificates, and which sites are there.

use std::sync::Arc;
use std::time::{Duration, SystemTime};

use axum::extract::State;
use axum::response::{IntoResponse, Response};
use http::StatusCode;
use outwork_front::api::{Admin, Json, Operator, Page, PageQuery, Path, Problem, Query, Timestamp, Viewer};
use outwork_front::filter::Network;
use rusqlite::Connection;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use super::{number, page};
use crate::controller::store::Query as Asked;
use crate::controller::store::documents::{list, revision};
use crate::controller::store::enrolments::{self, Certified, Enrolment};
use crate::controller::store::health::presence;
use crate::controller::{Controller, ControllerError};
use crate::network::Kind;

/// How long a token is good where nobody says, and at most.
const LIFE: Duration = Duration::from_secs(3600);
const MAX_LIFE: Duration = Duration::from_secs(30 * 86_400);
/// The longest name of a site.
const NAME: usize = 64;
/// Networks that a token may name.
const NETWORKS: usize = 256;

/// Their routes.
pub(super) fn router() -> OpenApiRouter<Arc<Controller>> {
    OpenApiRouter::new()
        .routes(routes!(list_enrolments, add_enrolment))
        .routes(routes!(remove_enrolment))
        .routes(routes!(list_presence))
        .routes(routes!(site_certificates, revoke_site))
}

/// A token for enrolment, without its secret.
#[derive(Debug, Serialize, ToSchema)]
struct EnrolmentView {
    /// Its number.
    id: i64,
    /// The site that it is for.
    site: String,
    /// The networks that the site may come with; null where nobody has said which.
    subnets: Option<Vec<String>>,
    /// When it was made.
    created: Timestamp,
    /// By whom.
    created_by: String,
    /// From when on it is good no longer.
    expires: Timestamp,
    /// When it was used; null where it was not.
    used: Option<Timestamp>,
}

impl From<Enrolment> for EnrolmentView {
    fn from(enrolment: Enrolment) -> Self {
        let Enrolment { id, site, subnets, created, created_by, expires, used } = enrolment;
        let (created, expires) = (created.into(), expires.into());
        Self { id, site, subnets, created, created_by, expires, used: used.map(Timestamp::from) }
    }
}

/// A token to make.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
struct NewEnrolment {
    /// The site that it is for: 1 to 64 letters, digits, `-`, `_` and `.`.
    site: String,
    /// The networks that the site may come with, and networks within them, where the network does not know it yet. Absent, any that overlap no other site's, and not a default route.
    subnets: Option<Vec<String>>,
    /// Seconds that it is good for: an hour when absent, 30 days at most.
    expires_in: Option<u64>,
}

/// A token just made.
#[derive(Serialize, ToSchema)]
struct NewToken {
    /// The token itself. It is shown here and never again.
    token: String,
    #[serde(flatten)]
    enrolment: EnrolmentView,
}

/// How a site is to the controller.
#[derive(Debug, Serialize, ToSchema)]
struct PresenceView {
    /// What it is called.
    site: String,
    /// `connected`, `gone`, or `unknown` where it has never come.
    status: String,
    /// When it was heard of last.
    last_seen: Option<Timestamp>,
    /// The version of the network that it has said it holds.
    version: Option<u64>,
    /// Whether that is the one of now.
    current: bool,
    /// Why it does not take up what it was told, where that is so.
    refused: Option<String>,
    /// The release that it runs; none where it has not said.
    release: Option<String>,
}

/// A certificate of a site.
#[derive(Debug, Serialize, ToSchema)]
struct CertificateView {
    /// Its serial number in hexadecimal.
    serial: String,
    /// When it was made.
    issued: Timestamp,
    /// Until when it is good.
    expires: Timestamp,
    /// From when on it is believed no longer.
    revoked: Option<Timestamp>,
}

/// The certificates of a site.
#[derive(Debug, Serialize, ToSchema)]
struct CertificateList {
    /// Those whose time is not over.
    items: Vec<CertificateView>,
}

/// Certificates that were revoked.
#[derive(Debug, Serialize, ToSchema)]
struct Revoked {
    /// How many.
    certificates: usize,
}

/// Tokens for enrolment without their secrets, the latest first.
#[utoipa::path(get, path = "/enrolments", tag = "controller", params(PageQuery),
    responses((status = 200, body = Page<EnrolmentView>), (status = 401, body = Problem), (status = 403, body = Problem)))]
async fn list_enrolments(
    _: Admin,
    State(controller): State<Arc<Controller>>,
    Query(query): Query<PageQuery>,
) -> Result<Json<Page<EnrolmentView>>, Problem> {
    let (limit, before) = (query.rows(), number(query.after)?);
    let read = move |connection: &Connection| enrolments::list(connection, before, limit + 1);
    let rows = controller.store().read(Asked::Enrolment, read).await?;
    Ok(page(rows, limit, |row| row.id.to_string(), EnrolmentView::from))
}

/// Make a token that lets one site in, once. The answer is the only place that ever shows it.
#[utoipa::path(post, path = "/enrolments", tag = "controller", request_body = NewEnrolment,
    responses((status = 201, body = NewToken), (status = 400, body = Problem), (status = 401, body = Problem),
        (status = 403, body = Problem), (status = 409, body = Problem)))]
async fn add_enrolment(
    Admin(caller): Admin,
    State(controller): State<Arc<Controller>>,
    Json(NewEnrolment { site, subnets, expires_in }): Json<NewEnrolment>,
) -> Result<Response, Problem> {
    caller.does("controller.invite", site.clone(), "");
    let fits = |c: char| c.is_ascii_alphanumeric() || "-_.".contains(c);
    if !(1..=NAME).contains(&site.len()) || !site.chars().all(fits) {
        let why = format!("{site:?} is no name of a site: expected 1 to {NAME} letters, digits, `-`, `_` and `.`");
        return Err(Problem::invalid("site", why));
    }
    let life = expires_in.map_or(LIFE, Duration::from_secs);
    if life.is_zero() || life > MAX_LIFE {
        return Err(Problem::invalid("expires_in", format!("expected 1 to {} seconds", MAX_LIFE.as_secs())));
    }
    if let Some(subnets) = &subnets {
        if subnets.len() > NETWORKS {
            return Err(Problem::invalid("subnets", format!("expected {NETWORKS} networks at most")));
        }
        if let Some((place, odd)) = subnets.iter().enumerate().find(|(_, text)| text.parse::<Network>().is_err()) {
            let why = format!("{odd:?} is no network: expected such as \"10.1.0.0/16\"");
            return Err(Problem::invalid(format!("subnets[{place}]"), why));
        }
    }
    let invited = controller.invite(&site, subnets, life, &caller.name).await;
    let (token, enrolment) = invited.map_err(|error| match error {
        ControllerError::Tokens(error) => Problem::conflict(Some("site".to_owned()), error),
        ControllerError::Database(error) => error.into(),
        error => Problem::internal(error),
    })?;
    let made = NewToken { token: token.reveal(), enrolment: enrolment.into() };
    Ok((StatusCode::CREATED, Json(made)).into_response())
}

/// Take a token away that was not used.
#[utoipa::path(delete, path = "/enrolments/{id}", tag = "controller",
    params(("id" = i64, Path, description = "Its number")),
    responses((status = 204), (status = 401, body = Problem), (status = 403, body = Problem),
        (status = 404, body = Problem)))]
async fn remove_enrolment(
    Admin(caller): Admin,
    State(controller): State<Arc<Controller>>,
    Path(id): Path<i64>,
) -> Result<StatusCode, Problem> {
    caller.does("controller.uninvite", id.to_string(), "");
    let who = caller.name.clone();
    let remove = move |connection: &mut Connection| enrolments::remove(connection, id, &who, SystemTime::now());
    match controller.store().write(Asked::Enrolment, remove).await? {
        true => Ok(StatusCode::NO_CONTENT),
        false => Err(Problem::not_found(format!("there is no token {id} that was not used"))),
    }
}

/// Which sites are connected, when each was heard of last, and which version of the network it holds.
#[utoipa::path(get, path = "/presence", tag = "controller", params(PageQuery),
    responses((status = 200, body = Page<PresenceView>), (status = 401, body = Problem)))]
async fn list_presence(
    _: Viewer,
    State(controller): State<Arc<Controller>>,
    Query(query): Query<PageQuery>,
) -> Result<Json<Page<PresenceView>>, Problem> {
    let (limit, after) = (query.rows(), query.after.unwrap_or_default());
    let read = move |connection: &Connection| {
        let (now, _) = revision(connection)?;
        let sites = list(connection, Kind::Site, &after, limit + 1)?.into_iter();
        let view = |site: String| {
            let presence = presence(connection, &site)?;
            let (version, last_seen) = (presence.version, presence.last_seen.map(Timestamp::from));
            let (status, refused, current) = (presence.status, presence.refused, version == Some(now));
            let release = Some(presence.release).filter(|release| !release.is_empty());
            Ok(PresenceView { site, status, last_seen, version, current, refused, release })
        };
        sites.map(|site| view(site.id)).collect::<rusqlite::Result<Vec<_>>>()
    };
    let rows = controller.store().read(Asked::History, read).await?;
    Ok(page(rows, limit, |row: &PresenceView| row.site.clone(), |row| row))
}

/// The certificates of a site.
#[utoipa::path(get, path = "/sites/{site}/certificates", tag = "controller",
    params(("site" = String, Path, description = "Its name")),
    responses((status = 200, body = CertificateList), (status = 401, body = Problem)))]
async fn site_certificates(
    _: Viewer,
    State(controller): State<Arc<Controller>>,
    Path(site): Path<String>,
) -> Result<Json<CertificateList>, Problem> {
    let read = move |connection: &Connection| enrolments::certificates(connection, Some(&site), SystemTime::now());
    let found = controller.store().read(Asked::Enrolment, read).await?;
    let view = |certified: Certified| CertificateView {
        serial: certified.serial,
        issued: certified.issued.into(),
        expires: certified.expires.into(),
        revoked: certified.revoked.map(Timestamp::from),
    };
    Ok(Json(CertificateList { items: found.into_iter().map(view).collect() }))
}

/// Believe a site no longer: its certificates and tokens are good for nothing from now on, and its connection ends. It goes on as it was told last until its tunnels are taken
/// away by removing it.
#[utoipa::path(delete, path = "/sites/{site}/certificates", tag = "controller",
    params(("site" = String, Path, description = "Its name")),
    responses((status = 200, body = Revoked), (status = 401, body = Problem), (status = 403, body = Problem)))]
async fn revoke_site(
    Operator(caller): Operator,
    State(controller): State<Arc<Controller>>,
    Path(site): Path<String>,
) -> Result<Json<Revoked>, Problem> {
    caller.does("controller.revoke", site.clone(), "");
    Ok(Json(Revoked { certificates: controller.revoke(&site, &caller.name).await? }))
}
