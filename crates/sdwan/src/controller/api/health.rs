//! Paths and tunnels as sites have reported them, how they are and were, and what has happened.

use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use axum::extract::State;
use outwork_front::api::{Json, Page, PageQuery, Path, Problem, Query, Timestamp, Viewer};
use rusqlite::Connection;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use super::{number, page};
use crate::controller::Controller;
use crate::controller::store::Query as Asked;
use crate::controller::store::health::{self, Happened, Health, PathFilter};

/// What a history is of at most, where nobody says, and from when on it is told in spans.
const USUAL: Duration = Duration::from_secs(3600);
const BY_REPORT: Duration = Duration::from_secs(6 * 3600);

/// Their routes.
pub(super) fn router() -> OpenApiRouter<Arc<Controller>> {
    OpenApiRouter::new()
        .routes(routes!(reported_paths))
        .routes(routes!(network_tunnels))
        .routes(routes!(network_health))
        .routes(routes!(path_health))
        .routes(routes!(reported_events))
}

/// A path of the network.
#[derive(Debug, Serialize, ToSchema)]
struct ReportedPath {
    /// Its number.
    id: i64,
    /// The site at its near end, which has reported it.
    site: String,
    /// The uplink by which it leaves.
    uplink: String,
    /// The site that it leads to.
    remote_site: String,
    /// The uplink by which it comes in there.
    remote_uplink: String,
    /// The hub that passes it on.
    via: Option<String>,
    /// `new`, `down`, `trial`, `up`, `suspect`, `unknown` while its site is not connected, or `gone` where it is reported no longer.
    state: String,
    /// Whether new flows take it.
    chosen: bool,
    /// One way, in milliseconds.
    latency_ms: f64,
    /// In milliseconds, as in RFC 3550.
    jitter_ms: f64,
    /// The part that is lost, from 0 to 1.
    loss: f64,
    /// What a call would sound like, from 1 to 4.5.
    mos: f64,
    /// When it was reported last.
    updated: Timestamp,
}

/// A tunnel of the network: what two uplinks have between them, as both ends have reported it last.
#[derive(Debug, Serialize, ToSchema)]
struct NetworkTunnel {
    /// The number of the path from the first end.
    id: i64,
    /// The site at the first end.
    site: String,
    /// Its uplink.
    uplink: String,
    /// What that site takes it for.
    state: String,
    /// When it said so last.
    updated: Timestamp,
    /// The site at the other end.
    remote_site: String,
    /// Its uplink.
    remote_uplink: String,
    /// What that site takes it for; none where it has not reported it.
    remote_state: Option<String>,
    /// When it said so last.
    remote_updated: Option<Timestamp>,
    /// The hub that passes it on; none where it goes straight.
    via: Option<String>,
}

/// How a path was, at a report or in a span.
#[derive(Debug, Clone, PartialEq, Serialize, ToSchema)]
pub(crate) struct WasView {
    /// When, or when the span begins.
    pub(crate) at: Timestamp,
    /// The part of the reports that had it up, from 0 to 1.
    pub(crate) up: f64,
    /// One way, in milliseconds.
    pub(crate) latency_ms: f64,
    /// The longest.
    pub(crate) latency_max_ms: f64,
    /// In milliseconds, as in RFC 3550.
    pub(crate) jitter_ms: f64,
    /// The part that was lost, from 0 to 1.
    pub(crate) loss: f64,
    /// The greatest.
    pub(crate) loss_max: f64,
    /// What a call would have sounded like, from 1 to 4.5.
    pub(crate) mos: f64,
    /// The lowest.
    pub(crate) mos_min: f64,
    /// How many reports.
    pub(crate) count: u32,
}

impl From<&Health> for WasView {
    fn from(health: &Health) -> Self {
        let Health { at, up, latency_ms, latency_max_ms, jitter_ms, loss, loss_max, mos, mos_min, count, .. } = *health;
        let at = at.into();
        Self { at, up, latency_ms, latency_max_ms, jitter_ms, loss, loss_max, mos, mos_min, count }
    }
}

/// The same of one path, with what went by it.
#[derive(Debug, Serialize, ToSchema)]
struct PathHealth {
    #[serde(flatten)]
    was: WasView,
    /// Datagrams with packets that were sent by it.
    sent: u64,
    /// Datagrams with packets that came by it.
    received: u64,
}

/// The history of a path.
#[derive(Debug, Serialize, ToSchema)]
struct PathHistory {
    /// Seconds of a span; none where each is a report.
    span_seconds: Option<u64>,
    /// How it was, the oldest first.
    items: Vec<PathHealth>,
}

/// Something that has happened at a site.
#[derive(Debug, Serialize, ToSchema)]
struct ReportedEvent {
    /// Its number, ascending.
    id: i64,
    /// When, by the clock of the site.
    at: Timestamp,
    /// At which site.
    site: String,
    /// `path`, `mtu` or `switch`.
    kind: String,
    /// What it is about.
    of: String,
    /// What was before.
    from: String,
    /// What is now.
    to: String,
    /// Why.
    why: String,
}

/// Which paths, and which page of them.
#[derive(Debug, Clone, Default, Deserialize, utoipa::IntoParams)]
#[into_params(parameter_in = Query)]
#[serde(deny_unknown_fields)]
struct PathQuery {
    /// From or to this site.
    site: Option<String>,
    /// In this state.
    state: Option<String>,
    /// `next` of the page before; absent for the first page.
    after: Option<String>,
    /// Rows a page: 100 when absent, 999 at most.
    limit: Option<usize>,
}

/// Which events, and which page of them.
#[derive(Debug, Clone, Default, Deserialize, utoipa::IntoParams)]
#[into_params(parameter_in = Query)]
#[serde(deny_unknown_fields)]
struct EventQuery {
    /// At this site.
    site: Option<String>,
    /// `next` of the page before; absent for the first page.
    after: Option<String>,
    /// Rows a page: 100 when absent, 999 at most.
    limit: Option<usize>,
}

/// Which part of a history.
#[derive(Debug, Clone, Default, Deserialize, utoipa::IntoParams)]
#[into_params(parameter_in = Query)]
#[serde(deny_unknown_fields)]
struct HistoryQuery {
    /// From, in seconds since 1970; an hour ago when absent.
    from: Option<u64>,
    /// Until, in seconds since 1970; now when absent.
    until: Option<u64>,
}

/// From when until when, and whether that is told by report.
pub(super) fn span(
    controller: &Controller,
    from: Option<u64>,
    until: Option<u64>,
) -> Result<((SystemTime, SystemTime), bool), Problem> {
    let at = |seconds: u64| UNIX_EPOCH + Duration::from_secs(seconds.min(1 << 40));
    let until = until.map_or_else(SystemTime::now, at);
    let from = from.map_or_else(|| until.checked_sub(USUAL).unwrap_or(UNIX_EPOCH), at);
    let length = until.duration_since(from).map_err(|_| Problem::invalid("until", "it is before `from`"))?;
    Ok(((from, until), length <= BY_REPORT || controller.span().is_none()))
}

/// How a path is, or was: at a report or in a span.
#[derive(Debug, Clone, PartialEq, Serialize, ToSchema)]
pub(crate) struct HealthView {
    /// The number of the path.
    pub(crate) path: i64,
    /// The site at its near end; none where that is this one.
    pub(crate) site: Option<String>,
    /// The uplink by which it leaves.
    pub(crate) uplink: String,
    /// The site that it leads to.
    pub(crate) remote_site: String,
    /// The uplink by which it comes in there.
    pub(crate) remote_uplink: String,
    /// The hub that passes it on; none where it goes straight.
    pub(crate) via: Option<String>,
    /// What it is taken for now, whenever the rest was so: `new`, `down`, `trial`, `up`, `suspect`, `unknown` while its site is
    /// not connected, or `gone` where it is reported no longer.
    pub(crate) state: String,
    #[serde(flatten)]
    pub(crate) was: WasView,
}

/// Which paths, when, and which page of that.
#[derive(Debug, Clone, Default, Deserialize, utoipa::IntoParams)]
#[into_params(parameter_in = Query)]
#[serde(deny_unknown_fields)]
pub(crate) struct HealthQuery {
    /// From or to this site.
    pub(crate) site: Option<String>,
    /// Of this number.
    pub(crate) path: Option<i64>,
    /// In this state now.
    pub(crate) state: Option<String>,
    /// How they were from then on, in seconds since 1970. Without it and `until`, how they are.
    pub(crate) from: Option<u64>,
    /// How they were until then; now when only `from` is there.
    pub(crate) until: Option<u64>,
    /// `next` of the page before; absent for the first page.
    pub(crate) after: Option<String>,
    /// Rows a page: 100 when absent, 999 at most.
    pub(crate) limit: Option<usize>,
}

impl HealthQuery {
    /// Whether it is about what was.
    pub(crate) fn is_of_before(&self) -> bool {
        self.from.is_some() || self.until.is_some()
    }

    /// How many rows.
    pub(crate) fn rows(&self) -> usize {
        rows(self.limit)
    }
}

fn health_view((path, health): (health::Path, Health)) -> HealthView {
    HealthView {
        path: path.id,
        site: Some(path.source),
        uplink: path.report.uplink,
        remote_site: path.report.site,
        remote_uplink: path.report.remote_uplink,
        via: Some(path.report.via).filter(|hub| !hub.is_empty()),
        state: path.report.state,
        was: WasView::from(&health),
    }
}

/// Where a page begins: behind a path, or within one.
fn begins(after: Option<&str>) -> Result<(i64, SystemTime), Problem> {
    let odd = || Problem::invalid("after", "expected `next` of the page before");
    let Some(after) = after else { return Ok((0, UNIX_EPOCH)) };
    let (path, at) = after.split_once('.').ok_or_else(odd)?;
    let at = Duration::from_millis(at.parse::<u64>().map_err(|_| odd())?.min(1 << 50));
    Ok((path.parse().map_err(|_| odd())?, UNIX_EPOCH + at))
}

/// How the paths of the network are, or were.
pub(crate) async fn health_of(controller: &Controller, query: HealthQuery) -> Result<Json<Page<HealthView>>, Problem> {
    let (limit, after) = (query.rows(), begins(query.after.as_deref())?);
    let range = if query.is_of_before() { Some(span(controller, query.from, query.until)?) } else { None };
    let filter = PathFilter { site: query.site, status: query.state, id: query.path };
    let read = move |connection: &Connection| health::of_paths(connection, &filter, range, after, limit + 1);
    let found = controller.store().read(Asked::History, read).await?;
    // What follows is later than that.
    let next = |(path, health): &(health::Path, Health)| {
        let at = health.at.duration_since(UNIX_EPOCH).unwrap_or_default();
        format!("{}.{}", path.id, at.as_millis() + 1)
    };
    Ok(page(found, limit, next, health_view))
}

/// How the paths of the network are as sites have reported them last; with `from` or `until` how they were: at each report for a span of six hours at most, in spans of `controller.roll_up_every`
/// for longer ones, path by path. Where reports are not rolled up, at each report.
#[utoipa::path(get, path = "/health", tag = "controller", params(HealthQuery),
    responses((status = 200, body = Page<HealthView>), (status = 400, body = Problem), (status = 401, body = Problem)))]
async fn network_health(
    _: Viewer,
    State(controller): State<Arc<Controller>>,
    Query(query): Query<HealthQuery>,
) -> Result<Json<Page<HealthView>>, Problem> {
    health_of(&controller, query).await
}

fn rows(limit: Option<usize>) -> usize {
    PageQuery { after: None, limit }.rows()
}

/// All paths of the network, as the sites at their near ends have reported them last.
#[utoipa::path(get, path = "/paths", tag = "controller", params(PathQuery),
    responses((status = 200, body = Page<ReportedPath>), (status = 400, body = Problem), (status = 401, body = Problem)))]
async fn reported_paths(
    _: Viewer,
    State(controller): State<Arc<Controller>>,
    Query(query): Query<PathQuery>,
) -> Result<Json<Page<ReportedPath>>, Problem> {
    let PathQuery { site, state, after, limit } = query;
    let (limit, after) = (rows(limit), number(after)?.unwrap_or(0));
    let filter = PathFilter { site, status: state, id: None };
    let read = move |connection: &Connection| health::paths(connection, &filter, after, limit + 1);
    let found = controller.store().read(Asked::History, read).await?;
    let view = |path: health::Path| ReportedPath {
        id: path.id,
        site: path.source,
        uplink: path.report.uplink,
        remote_site: path.report.site,
        remote_uplink: path.report.remote_uplink,
        via: Some(path.report.via).filter(|hub| !hub.is_empty()),
        state: path.report.state,
        chosen: path.report.chosen,
        latency_ms: path.report.latency_ms,
        jitter_ms: path.report.jitter_ms,
        loss: path.report.loss,
        mos: path.report.mos,
        updated: path.updated.into(),
    };
    Ok(page(found, limit, |path| path.id.to_string(), view))
}

/// The tunnels of the network, each once: they come of uplinks, and are changed by those. One is in a state where either end says so.
#[utoipa::path(get, path = "/tunnels", tag = "controller", params(PathQuery),
    responses((status = 200, body = Page<NetworkTunnel>), (status = 400, body = Problem), (status = 401, body = Problem)))]
async fn network_tunnels(
    _: Viewer,
    State(controller): State<Arc<Controller>>,
    Query(query): Query<PathQuery>,
) -> Result<Json<Page<NetworkTunnel>>, Problem> {
    let PathQuery { site, state, after, limit } = query;
    let (limit, after) = (rows(limit), number(after)?.unwrap_or(0));
    let filter = PathFilter { site, status: state, id: None };
    let read = move |connection: &Connection| health::tunnels(connection, &filter, after, limit + 1);
    let found = controller.store().read(Asked::History, read).await?;
    let view = |tunnel: health::Tunnel| {
        let (state, updated) = tunnel.near;
        let (remote_state, remote_updated) = tunnel.far.unzip();
        NetworkTunnel {
            id: tunnel.id,
            site: tunnel.ends.0.0,
            uplink: tunnel.ends.0.1,
            state,
            updated: updated.into(),
            remote_site: tunnel.ends.1.0,
            remote_uplink: tunnel.ends.1.1,
            remote_state,
            remote_updated: remote_updated.map(Timestamp::from),
            via: Some(tunnel.via).filter(|hub| !hub.is_empty()),
        }
    };
    Ok(page(found, limit, |tunnel| tunnel.id.to_string(), view))
}

/// How a path was: at each report for a span of six hours at most, in spans of `controller.roll_up_every` for longer ones; at each report where they are not rolled up.
#[utoipa::path(get, path = "/paths/{id}/health", tag = "controller",
    params(("id" = i64, Path, description = "The number of the path"), HistoryQuery),
    responses((status = 200, body = PathHistory), (status = 400, body = Problem), (status = 401, body = Problem)))]
async fn path_health(
    _: Viewer,
    State(controller): State<Arc<Controller>>,
    Path(id): Path<i64>,
    Query(HistoryQuery { from, until }): Query<HistoryQuery>,
) -> Result<Json<PathHistory>, Problem> {
    let (range, by_report) = span(&controller, from, until)?;
    let read = move |connection: &Connection| match by_report {
        true => health::history(connection, id, range, health::MOST),
        false => health::spans(connection, id, range, health::MOST),
    };
    let found = controller.store().read(Asked::History, read).await?;
    let view = |health: Health| {
        let (sent, received) = health.datagrams;
        PathHealth { was: WasView::from(&health), sent, received }
    };
    let span_seconds = controller.span().filter(|_| !by_report).map(|span| span.as_secs());
    Ok(Json(PathHistory { span_seconds, items: found.into_iter().map(view).collect() }))
}

/// What has happened at sites, the latest first.
#[utoipa::path(get, path = "/events", tag = "controller", params(EventQuery),
    responses((status = 200, body = Page<ReportedEvent>), (status = 400, body = Problem), (status = 401, body = Problem)))]
async fn reported_events(
    _: Viewer,
    State(controller): State<Arc<Controller>>,
    Query(query): Query<EventQuery>,
) -> Result<Json<Page<ReportedEvent>>, Problem> {
    let EventQuery { site, after, limit } = query;
    let (limit, before) = (rows(limit), number(after)?);
    let read = move |connection: &Connection| health::events(connection, site.as_deref(), before, limit + 1);
    let found = controller.store().read(Asked::History, read).await?;
    let view = |happened: Happened| ReportedEvent {
        id: happened.id,
        at: (UNIX_EPOCH + Duration::from_millis(happened.event.at_ms)).into(),
        site: happened.site,
        kind: happened.event.kind,
        of: happened.event.about,
        from: happened.event.before,
        to: happened.event.after,
        why: happened.event.why,
    };
    Ok(page(found, limit, |happened| happened.id.to_string(), view))
}
