//! The routes under `/api/v1/sdwan`.
//!
//! - `around`: whom this site follows, and how its paths fare. `elsewhere`: where the network is changed.
//! - `keys`: how another key takes over from that of an uplink.
//! - `policies`: classes, policies, and what becomes of a flow.
//! - `qos`: how uplinks are shaped.

mod around;
mod elsewhere;
mod keys;
mod policies;
mod qos;

use std::collections::BTreeSet;
use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;
use std::time::{SystemTime, UNIX_EPOCH};

use axum::extract::State;
use outwork_front::api::{Json, Problem, Query, Viewer};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use crate::control::Told;
use crate::control::told::{EventTold, PathOf, PathTold, Paths, SiteTold};
use crate::controller::Controller;
use crate::follower::Follower;
use crate::kernel::Carried;
use crate::millis::millis;
use crate::service::Service;

/// What this process is in the network.
#[derive(Clone, Default)]
pub struct Place {
    /// A site, where it has uplinks.
    pub service: Option<Arc<Service>>,
    /// The controller.
    pub controller: Option<Arc<Controller>>,
    /// Somebody who follows one.
    pub follower: Option<Arc<Follower>>,
}

/// The routes, to be nested under `/api/v1/sdwan`.
pub fn router(place: Place) -> OpenApiRouter {
    let Some(service) = place.service.clone() else { return around::of_controller().with_state(place) };
    let around = around::router().with_state(place);
    OpenApiRouter::new()
        .routes(routes!(uplinks))
        .routes(routes!(tunnels))
        .routes(routes!(sites))
        .routes(routes!(paths))
        .routes(routes!(events))
        .merge(keys::router())
        .merge(policies::router())
        .merge(qos::router())
        .with_state(service)
        .merge(around)
}

/// Which part of a list. All of it where nothing is said.
#[derive(Debug, Clone, Default, Deserialize, utoipa::IntoParams)]
#[into_params(parameter_in = Query)]
#[serde(deny_unknown_fields)]
pub(crate) struct PartQuery {
    /// `next` of the part before; absent for the first one.
    after: Option<String>,
    /// How many, 999 at most; all of them when absent.
    limit: Option<usize>,
}

impl PartQuery {
    /// The part of a list that is asked for, and what the next one begins behind. `number` grows along the list and is the same for the same thing the next time.
    fn of<T>(self, list: Vec<T>, number: impl Fn(&T) -> u64) -> Result<(Vec<T>, Option<String>), Problem> {
        let after = self.after.map(|after| after.parse::<u64>()).transpose();
        let after = after.map_err(|_| Problem::invalid("after", "expected `next` of the part before"))?;
        let mut rest = list.into_iter().skip_while(|one| after.is_some_and(|after| number(one) <= after));
        let part: Vec<T> = rest.by_ref().take(self.limit.map_or(usize::MAX, |limit| limit.clamp(1, 999))).collect();
        let next = part.last().filter(|_| rest.next().is_some()).map(|last| number(last).to_string());
        Ok((part, next))
    }

    /// The same of a list that nothing but a place tells apart in.
    fn of_places<T>(self, list: Vec<T>) -> Result<(Vec<T>, Option<String>), Problem> {
        let list = list.into_iter().zip(1..).collect();
        let (part, next) = self.of(list, |(_, place)| *place)?;
        Ok((part.into_iter().map(|(one, _)| one).collect(), next))
    }
}

/// Which of a list, and which part of those. All of it where nothing is said.
#[derive(Debug, Clone, Default, Deserialize, utoipa::IntoParams)]
#[into_params(parameter_in = Query)]
#[serde(deny_unknown_fields)]
pub(crate) struct ListQuery {
    /// Of this site: that it is, or leads to.
    site: Option<String>,
    /// In this state.
    state: Option<String>,
    /// `next` of the part before; absent for the first one.
    after: Option<String>,
    /// How many, 999 at most; all of them when absent.
    limit: Option<usize>,
}

impl ListQuery {
    /// Whether what is of a site and in a state is asked for.
    fn is_for(&self, is_of: impl FnOnce(&str) -> bool, state: &str) -> bool {
        self.site.as_deref().is_none_or(is_of) && self.state.as_deref().is_none_or(|wanted| wanted == state)
    }

    /// Which part of what is.
    fn part(self) -> PartQuery {
        PartQuery { after: self.after, limit: self.limit }
    }
}

/// Which events, and which part of those. All of them where nothing is said.
#[derive(Debug, Clone, Default, Deserialize, utoipa::IntoParams)]
#[into_params(parameter_in = Query)]
#[serde(deny_unknown_fields)]
pub(crate) struct EventQuery {
    /// About this site.
    site: Option<String>,
    /// Of this kind: `path`, `mtu` or `switch`.
    kind: Option<String>,
    /// That have come to this: a state, or a path.
    state: Option<String>,
    /// `next` of the part before; absent for the first one.
    after: Option<String>,
    /// How many, 999 at most; all of them when absent.
    limit: Option<usize>,
}

impl EventQuery {
    fn is_for(&self, event: &EventTold) -> bool {
        let is = |wanted: Option<&str>, said: &str| wanted.is_none_or(|wanted| wanted == said);
        let EventQuery { site, kind, state, .. } = self;
        is(site.as_deref(), &event.site) && is(kind.as_deref(), event.kind) && is(state.as_deref(), &event.to)
    }
}

/// An uplink.
#[derive(Debug, Serialize, ToSchema)]
pub struct UplinkView {
    /// What it is called.
    name: String,
    /// Who we are there, in base64: what others are to know us by.
    public_key: String,
    /// The key that takes over from that, which others are to know besides; none where none does.
    next_public_key: Option<String>,
    /// The first key that it ever had, where that is another: hubs know it by that, and others are to know it besides where paths go by hubs.
    first_public_key: Option<String>,
    /// How it stands with the key that takes over.
    rotation: Option<keys::RotationView>,
    /// Since when the key is there, in Unix time, in milliseconds; 0 where that is not known.
    key_since_ms: u64,
    /// Where it listens.
    listens: Vec<String>,
}

/// The uplinks.
#[derive(Debug, Serialize, ToSchema)]
pub struct UplinkList {
    /// They.
    items: Vec<UplinkView>,
    /// `after` of the next part; null on the last one.
    next: Option<String>,
}

/// To whom tunnels lead.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize, ToSchema)]
#[serde(rename_all = "lowercase")]
enum TunnelsTo {
    /// To whoever speaks WireGuard and is no site of ours.
    Peers,
    /// To sites.
    Sites,
}

/// Which tunnels, and which part of them.
#[derive(Debug, Deserialize, utoipa::IntoParams)]
#[into_params(parameter_in = Query)]
#[serde(deny_unknown_fields)]
struct TunnelQuery {
    /// Those to `peers` or to `sites` alone.
    to: Option<TunnelsTo>,
    /// Those that lead to this site, or peer.
    site: Option<String>,
    /// In this state: `up` with keys, `down` without.
    state: Option<String>,
    /// `next` of the part before; absent for the first one.
    after: Option<String>,
    /// How many, 999 at most; all of them when absent.
    limit: Option<usize>,
}

/// The path that a tunnel is.
#[derive(Debug, Serialize, ToSchema)]
pub struct TunnelPath {
    /// Its number.
    id: u32,
    /// The uplink of theirs.
    remote_uplink: String,
    /// The hub that passes it on; none where it goes straight.
    via: Option<String>,
}

/// A tunnel.
#[derive(Debug, Serialize, ToSchema)]
pub struct TunnelView {
    /// Whom it leads to: a peer, or a site.
    peer: String,
    /// The path that it is; none where it leads to a peer.
    path: Option<TunnelPath>,
    /// The uplink of ours.
    uplink: String,
    /// Who carries it: `process`, or `kernel`, which counts nothing of what it refuses.
    carrier: &'static str,
    /// Its key, in base64.
    public_key: String,
    /// Where it is; none as long as nobody knows.
    endpoint: Option<String>,
    /// The networks behind it; none of a site, which says itself what they are.
    networks: Vec<String>,
    /// Seconds since its keys were made; none without a session.
    keys_age_seconds: Option<f64>,
    /// Octets of the longest packet that fits.
    mtu: u16,
    /// Octets of packets that were sent by it.
    sent_bytes: u64,
    /// Octets of packets that came by it.
    received_bytes: u64,
    /// Datagrams that were forged, altered, replayed or too late.
    refused: u64,
    /// Packets whose source is not behind it.
    foreign: u64,
}

/// The tunnels.
#[derive(Debug, Serialize, ToSchema)]
pub struct TunnelList {
    /// They.
    items: Vec<TunnelView>,
    /// `after` of the next part; null on the last one.
    next: Option<String>,
}

/// A site other than ours.
#[derive(Debug, Serialize, ToSchema)]
pub struct SiteView {
    /// What it is called.
    name: String,
    /// `up` where a path to it carries traffic, else `down`.
    state: &'static str,
    /// The networks behind it.
    subnets: Vec<String>,
    /// What its uplinks are called.
    uplinks: Vec<String>,
}

/// The sites.
#[derive(Debug, Serialize, ToSchema)]
pub struct SiteList {
    /// They.
    items: Vec<SiteView>,
    /// `after` of the next part; null on the last one.
    next: Option<String>,
}

/// A path: a pair of uplinks, of this site and of another.
#[derive(Debug, Serialize, ToSchema)]
pub struct PathView {
    /// Its number.
    id: u32,
    /// The site that it leads to.
    site: String,
    /// The uplink of ours.
    uplink: String,
    /// The uplink of theirs.
    remote_uplink: String,
    /// The hub that passes it on; none where it goes straight.
    via: Option<String>,
    /// Octets of the longest packet that it takes.
    mtu: u16,
    /// `new`, `down`, `trial`, `up` or `suspect`.
    state: &'static str,
    /// Whether new flows take it.
    chosen: bool,
    /// Whether it has keys.
    keys: bool,
    /// Where the other end is; none as long as nobody knows.
    endpoint: Option<String>,
    /// One way, in milliseconds: half of the round trip.
    latency_ms: f64,
    /// In milliseconds, as in RFC 3550.
    jitter_ms: f64,
    /// The part that is lost, from 0 to 1.
    loss: f64,
    /// How a call by it would be liked, from 1 to 4.5 (ITU-T G.107).
    mos: f64,
    /// Datagrams with packets that were sent by it.
    sent: u64,
    /// Datagrams with packets that came by it.
    received: u64,
}

/// The paths.
#[derive(Debug, Serialize, ToSchema)]
pub struct PathList {
    /// They.
    items: Vec<PathView>,
    /// `after` of the next part; null on the last one.
    next: Option<String>,
}

/// Something that has happened to a path, or to the traffic of a site.
#[derive(Debug, Serialize, ToSchema)]
pub struct EventView {
    /// Counts them.
    number: u64,
    /// When, in Unix time, in milliseconds; of several in a row, the last one.
    at_ms: u64,
    /// When it was the first time.
    since_ms: u64,
    /// How often in a row: doubts of a path that came to nothing are one event.
    count: u32,
    /// `path`: it is taken for something else; `mtu`: it takes longer packets, or no longer as long ones; `switch`: traffic to a site takes another path, or, where
    /// none works and `from` is `to`, still tries the last one that did.
    kind: &'static str,
    /// The site that it is about; empty where its path is there no longer.
    site: String,
    /// The path, or the site.
    of: String,
    /// Of a switch, the class of the traffic that takes another path.
    class: Option<String>,
    /// Of a switch, how paths of that traffic are chosen.
    strategy: Option<String>,
    /// What it was before, or which path.
    from: String,
    /// What it is now, or which path.
    to: String,
    /// Why, where that is known.
    why: String,
}

/// What has happened, the latest first.
#[derive(Debug, Serialize, ToSchema)]
pub struct EventList {
    /// It.
    items: Vec<EventView>,
    /// `after` of the next part; null on the last one.
    next: Option<String>,
}

/// The uplinks of this site, and who they are.
#[utoipa::path(get, path = "/uplinks", tag = "sdwan", params(PartQuery),
    responses((status = 200, body = UplinkList), (status = 400, body = Problem), (status = 401, body = Problem)))]
async fn uplinks(
    _: Viewer,
    State(service): State<Arc<Service>>,
    Query(query): Query<PartQuery>,
) -> Result<Json<UplinkList>, Problem> {
    let listens = |uplink: &crate::service::Bound| uplink.listens.iter().map(ToString::to_string).collect();
    let told = service.keys().told().into_iter().zip(service.uplinks());
    let (items, next) = query.of_places(told.map(|(told, uplink)| keys::view(told, listens(uplink))).collect())?;
    Ok(Json(UplinkList { items, next }))
}

/// Whether a tunnel of this name leads to a site: it is that peer, or one of its paths.
fn leads_to(name: &str, site: &str) -> bool {
    name.strip_prefix(site).is_some_and(|rest| rest.is_empty() || rest.starts_with(' '))
}

/// The tunnels of this site, and how they are (`up` with keys, `down` without): those to peers, and those to sites, of which each is a path.
#[utoipa::path(get, path = "/tunnels", tag = "sdwan", params(TunnelQuery),
    responses((status = 200, body = TunnelList), (status = 400, body = Problem), (status = 401, body = Problem)))]
async fn tunnels(
    _: Viewer,
    State(service): State<Arc<Service>>,
    Query(TunnelQuery { to, site, state, after, limit }): Query<TunnelQuery>,
) -> Result<Json<TunnelList>, Problem> {
    let query = ListQuery { site, state, after, limit };
    let asked = Arc::clone(&service);
    let all = tokio::task::spawn_blocking(move || (asked.tell(), asked.carried())).await.map_err(Problem::internal)?;
    let (told, carried) = (all.0.map_err(Problem::internal)?, all.1.map_err(Problem::internal)?);
    let uplink = |place: usize| service.uplinks().get(place).map(|uplink| uplink.name.clone()).unwrap_or_default();
    let of_kernel = |told: &Carried| TunnelView {
        peer: told.name.clone(),
        path: None,
        uplink: uplink(told.place),
        carrier: "kernel",
        public_key: told.remote.to_string(),
        endpoint: told.endpoint.map(|at| at.to_string()),
        networks: told.networks.iter().map(ToString::to_string).collect(),
        keys_age_seconds: told.keys.map(|age| age.as_secs_f64()),
        mtu: told.mtu,
        sent_bytes: told.sent,
        received_bytes: told.received,
        refused: 0,
        foreign: 0,
    };
    let view = |told: &Told| {
        let tallies = &told.tunnel.tallies;
        TunnelView {
            peer: told.name.clone(),
            path: told.path.clone().map(|PathOf { id, remote, via }| TunnelPath { id, remote_uplink: remote, via }),
            uplink: uplink(usize::from(told.uplink.0)),
            carrier: "process",
            public_key: told.remote.to_string(),
            endpoint: told.endpoint.map(|at| at.to_string()),
            networks: told.networks.iter().map(ToString::to_string).collect(),
            keys_age_seconds: told.keys.map(|age| age.as_secs_f64()),
            mtu: told.tunnel.mtu(),
            sent_bytes: tallies.sent_octets.load(Relaxed),
            received_bytes: tallies.received_octets.load(Relaxed),
            refused: tallies.refused.load(Relaxed),
            foreign: tallies.foreign.load(Relaxed),
        }
    };
    let of_whom = |told: &&Told| to.is_none_or(|to| (to == TunnelsTo::Sites) == told.path.is_some());
    let of_kernel = carried.iter().filter(|_| to != Some(TunnelsTo::Sites)).map(of_kernel);
    let all = told.iter().filter(of_whom).map(view).chain(of_kernel);
    let state = |tunnel: &TunnelView| if tunnel.keys_age_seconds.is_some() { "up" } else { "down" };
    let found = all.filter(|tunnel| query.is_for(|site| leads_to(&tunnel.peer, site), state(tunnel))).collect();
    let (items, next) = query.part().of_places(found)?;
    Ok(Json(TunnelList { items, next }))
}

async fn ask(service: &Arc<Service>) -> Result<Paths, Problem> {
    let service = Arc::clone(service);
    let told = tokio::task::spawn_blocking(move || service.paths()).await.map_err(Problem::internal)?;
    told.map_err(Problem::internal)
}

/// Other sites, those among them that no path leads to: `up` where a path to it carries traffic, else `down`.
#[utoipa::path(get, path = "/sites", tag = "sdwan", params(ListQuery),
    responses((status = 200, body = SiteList), (status = 400, body = Problem), (status = 401, body = Problem)))]
async fn sites(
    _: Viewer,
    State(service): State<Arc<Service>>,
    Query(query): Query<ListQuery>,
) -> Result<Json<SiteList>, Problem> {
    let Paths { sites, paths, .. } = ask(&service).await?;
    let reached: BTreeSet<_> =
        paths.iter().filter(|path| CARRY.contains(&path.state)).map(|path| path.site.as_str()).collect();
    let state = |name: &str| if reached.contains(name) { "up" } else { "down" };
    let view = |site: SiteTold| SiteView {
        state: state(&site.name),
        name: site.name,
        subnets: site.networks.iter().map(ToString::to_string).collect(),
        uplinks: site.uplinks,
    };
    let found =
        sites.into_iter().filter(|site| query.is_for(|wanted| wanted == site.name, state(&site.name))).collect();
    let (part, next) = query.part().of_places(found)?;
    Ok(Json(SiteList { items: part.into_iter().map(view).collect(), next }))
}

/// States of a path that carries traffic.
const CARRY: [&str; 2] = ["up", "suspect"];

/// The paths to other sites, and how they are.
#[utoipa::path(get, path = "/paths", tag = "sdwan", params(ListQuery),
    responses((status = 200, body = PathList), (status = 400, body = Problem), (status = 401, body = Problem)))]
async fn paths(
    _: Viewer,
    State(service): State<Arc<Service>>,
    Query(query): Query<ListQuery>,
) -> Result<Json<PathList>, Problem> {
    let view = |path: PathTold| PathView {
        id: path.id,
        site: path.site,
        uplink: path.own,
        remote_uplink: path.remote,
        via: path.via,
        mtu: path.mtu,
        state: path.state,
        chosen: path.chosen,
        keys: path.keys,
        endpoint: path.endpoint.map(|at| at.to_string()),
        latency_ms: millis(path.figures.latency),
        jitter_ms: millis(path.figures.jitter),
        loss: path.figures.loss,
        mos: path.figures.mos(),
        sent: path.datagrams.0,
        received: path.datagrams.1,
    };
    let mut paths = ask(&service).await?.paths;
    paths.retain(|path| query.is_for(|site| site == path.site, path.state));
    paths.sort_by_key(|path| path.id);
    let (part, next) = query.part().of(paths, |path| path.id.into())?;
    Ok(Json(PathList { items: part.into_iter().map(view).collect(), next }))
}

/// What has happened to paths and to the traffic of sites, the latest first.
#[utoipa::path(get, path = "/events", tag = "sdwan", params(EventQuery),
    responses((status = 200, body = EventList), (status = 400, body = Problem), (status = 401, body = Problem)))]
async fn events(
    _: Viewer,
    State(service): State<Arc<Service>>,
    Query(query): Query<EventQuery>,
) -> Result<Json<EventList>, Problem> {
    let Paths { now, mut events, .. } = ask(&service).await?;
    events.retain(|event| query.is_for(event));
    events.reverse();
    let (events, next) =
        PartQuery { after: query.after, limit: query.limit }.of(events, |event| u64::MAX - event.number)?;
    let wall = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    let unix = |at| wall.saturating_sub(now.since(at)).as_millis() as u64;
    let view = |event: EventTold| EventView {
        number: event.number,
        at_ms: unix(event.at),
        since_ms: unix(event.since),
        count: event.count,
        kind: event.kind,
        site: event.site,
        of: event.of,
        class: event.class,
        strategy: event.strategy,
        from: event.from,
        to: event.to,
        why: event.why,
    };
    Ok(Json(EventList { items: events.into_iter().map(view).collect(), next }))
}

#[cfg(test)]
mod tests;
