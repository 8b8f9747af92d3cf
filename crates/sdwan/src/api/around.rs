//! Where this site stands in its network: whom it follows, how its paths fare, and where the network is changed.
//!
//! What the network is to be is changed under `/api/v1/controller`, where its controller is. A process that is one answers a change under `/api/v1/sdwan` with the place of the same
//! thing there (307, RFC 9110 section 15.4.8): one who writes to the one gets to the other. Elsewhere it says where the controller is.

use std::time::SystemTime;

use axum::extract::State;
use outwork_front::api::{Json, Page, Problem, Query, Timestamp, Viewer};
use serde::Serialize;
use utoipa::ToSchema;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use super::elsewhere::{self, THERE};
use super::{CARRY, Place, ask};
use crate::control::told::PathTold;
use crate::controller::api::health::{HealthQuery, HealthView, WasView, health_of};
use crate::controller::api::page;
use crate::follower::Told;
use crate::millis::millis;
use crate::routing::Hidden;

/// Their routes, for a process that is a site.
pub(super) fn router() -> OpenApiRouter<Place> {
    OpenApiRouter::new().routes(routes!(status)).routes(routes!(health)).merge(elsewhere::at_a_site())
}

/// The same, for a process that is a controller and no site.
pub(super) fn of_controller() -> OpenApiRouter<Place> {
    OpenApiRouter::new().routes(routes!(status)).routes(routes!(health)).merge(elsewhere::at_a_controller())
}

/// The controller that this site follows.
#[derive(Debug, PartialEq, Serialize, ToSchema)]
pub(super) struct FollowedView {
    /// Where it is looked for.
    addresses: Vec<String>,
    /// What this site is called there; none where it is not enrolled.
    site: Option<String>,
    /// The version of the network that is in force; 0 where nothing was said yet.
    version: u64,
    /// Since when; none where nothing was said yet.
    since: Option<Timestamp>,
    /// Whether the controller is there.
    connected: bool,
    /// At which address.
    address: Option<String>,
    /// Since when it is there.
    connected_since: Option<Timestamp>,
    /// Until when this site is believed; it asks for another certificate when two thirds of the time are over.
    certificate_expires: Option<Timestamp>,
    /// Reports that the controller does not have yet.
    reports_waiting: usize,
    /// Why it is not there, or what of what it said last was not taken up.
    error: Option<String>,
}

/// Where this site stands.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct StatusView {
    /// Whether this process is a site: whether it has uplinks.
    site: bool,
    /// Where what the network is to be is read and changed, where this process is its controller.
    controller: Option<&'static str>,
    /// Whether that tells sites nothing until somebody has said so, as it came out of an older backup.
    held_back: bool,
    /// The controller that this site follows; none where its file alone counts.
    follows: Option<FollowedView>,
    /// Networks behind others that packets do not come to by tunnels, or not all of them, as this machine has routes of its own to them.
    hidden: Vec<HiddenView>,
}

/// A network behind others that this machine keeps to itself.
#[derive(Debug, PartialEq, Serialize, ToSchema)]
pub(super) struct HiddenView {
    /// The network.
    network: String,
    /// Where the route leads that comes first.
    own: String,
    /// Whether nothing goes to the network by tunnels; else a part of it does.
    whole: bool,
    /// Whether that route leads nowhere: what does not go by tunnels is dropped.
    dropped: bool,
    /// The same in words.
    why: String,
}

impl HiddenView {
    fn of(hidden: &Hidden) -> HiddenView {
        HiddenView {
            network: hidden.network.to_string(),
            own: hidden.own.to_string(),
            whole: hidden.is_whole,
            dropped: hidden.is_dropped,
            why: hidden.to_string(),
        }
    }
}

fn followed(addresses: Vec<String>, told: Told, reports_waiting: usize) -> FollowedView {
    let Told { site, connected, connected_since, version, since, certificate_expires, certificate_late: _, error } =
        told;
    FollowedView {
        addresses,
        site,
        version,
        since: since.map(Timestamp::from),
        connected: connected.is_some(),
        address: connected.map(|at| at.to_string()),
        connected_since: connected_since.map(Timestamp::from),
        certificate_expires: certificate_expires.map(Timestamp::from),
        reports_waiting,
        error,
    }
}

/// Whether this site follows a controller, since when and how it stands with it, whether this process is one, and what this machine keeps from its tunnels.
#[utoipa::path(get, path = "/status", tag = "sdwan",
    responses((status = 200, body = StatusView), (status = 401, body = Problem)))]
async fn status(_: Viewer, State(place): State<Place>) -> Json<StatusView> {
    let follows = place.follower.as_ref().map(|follower| {
        let addresses = follower.addresses().iter().map(ToString::to_string).collect();
        followed(addresses, follower.told(), follower.waiting())
    });
    let controller = place.controller.is_some().then_some(THERE);
    let held_back = place.controller.as_ref().is_some_and(|controller| controller.is_held_back());
    let hidden = place.service.as_ref().map(|service| service.hidden()).unwrap_or_default();
    let hidden = hidden.iter().map(HiddenView::of).collect();
    Json(StatusView { site: place.service.is_some(), controller, held_back, follows, hidden })
}

fn view(now: SystemTime, path: PathTold) -> HealthView {
    let (latency_ms, loss, mos) = (millis(path.figures.latency), path.figures.loss, path.figures.mos());
    HealthView {
        path: path.id.into(),
        site: None,
        uplink: path.own,
        remote_site: path.site,
        remote_uplink: path.remote,
        via: path.via,
        state: path.state.to_owned(),
        was: WasView {
            at: now.into(),
            up: f64::from(u8::from(CARRY.contains(&path.state))),
            latency_ms,
            latency_max_ms: latency_ms,
            jitter_ms: millis(path.figures.jitter),
            loss,
            loss_max: loss,
            mos,
            mos_min: mos,
            count: 1,
        },
    }
}

/// How the paths of this site are. With `from` or `until` how those of the network were, by what sites have reported: the controller has that, so that another process answers 404.
/// Numbers of paths are those of `/paths` for what is, and those of the controller for what was.
#[utoipa::path(get, path = "/health", tag = "sdwan", params(HealthQuery),
    responses((status = 200, body = Page<HealthView>), (status = 400, body = Problem), (status = 401, body = Problem),
        (status = 404, body = Problem)))]
async fn health(
    _: Viewer,
    State(place): State<Place>,
    Query(query): Query<HealthQuery>,
) -> Result<Json<Page<HealthView>>, Problem> {
    let service = match (&place.service, &place.controller) {
        (Some(service), _) if !query.is_of_before() => service,
        (_, Some(controller)) => return health_of(controller, query).await,
        (_, None) => {
            let why = format!("what was is kept by the controller of the network: ask that one for {THERE}/health");
            return Err(Problem::not_found(why));
        }
    };
    let (limit, after) = (query.rows(), query.after.as_deref().map(str::parse::<u32>).transpose());
    let after = after.map_err(|_| Problem::invalid("after", "expected `next` of the page before"))?;
    let mut paths = ask(service).await?.paths;
    paths.retain(|path| {
        query.site.as_ref().is_none_or(|site| *site == path.site)
            && query.path.is_none_or(|number| number == i64::from(path.id))
            && query.state.as_ref().is_none_or(|state| state == path.state)
            && after.is_none_or(|after| path.id > after)
    });
    paths.sort_by_key(|path| path.id);
    let now = SystemTime::now();
    Ok(page(paths, limit, |path| path.id.to_string(), |path| view(now, path)))
}
