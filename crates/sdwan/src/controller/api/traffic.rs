//! What policies have carried, as sites have reported it.

use std::sync::Arc;

use axum::extract::State;
use outwork_front::api::{Json, Path, Problem, Query, Timestamp, Viewer};
use rusqlite::Connection;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use super::health::span;
use crate::controller::Controller;
use crate::controller::store::Query as Asked;
use crate::controller::store::documents::get;
use crate::controller::store::traffic::{self, Sent};
use crate::network::Kind;

/// Their routes.
pub(super) fn router() -> OpenApiRouter<Arc<Controller>> {
    OpenApiRouter::new().routes(routes!(network_traffic)).routes(routes!(policy_traffic))
}

/// Of which time, and by whom.
#[derive(Debug, Clone, Default, Deserialize, utoipa::IntoParams)]
#[into_params(parameter_in = Query)]
#[serde(deny_unknown_fields)]
struct TrafficQuery {
    /// By this site alone.
    site: Option<String>,
    /// From, in seconds since 1970; an hour ago when absent. Times begin with the five minutes that they are in.
    from: Option<u64>,
    /// Until, in seconds since 1970; now when absent.
    until: Option<u64>,
}

/// What was sent in a part of the time.
#[derive(Debug, Serialize, ToSchema)]
struct StepTraffic {
    /// When it begins.
    at: Timestamp,
    /// Packets.
    packets: u64,
    /// Their octets.
    octets: u64,
}

/// What a site has sent.
#[derive(Debug, Serialize, ToSchema)]
struct SiteTraffic {
    /// What it is called.
    site: String,
    /// Packets.
    packets: u64,
    /// Their octets.
    octets: u64,
}

/// What flows under a policy have sent in a time.
#[derive(Debug, Serialize, ToSchema)]
struct PolicyTraffic {
    /// The policy.
    policy: String,
    /// Packets.
    packets: u64,
    /// Their octets.
    octets: u64,
    /// Seconds of a part of the time.
    step_seconds: u64,
    /// What was sent in each part in which anything was, the oldest first.
    items: Vec<StepTraffic>,
    /// What each site has sent of it: 999 at most, those with most octets.
    sites: Vec<SiteTraffic>,
}

/// What flows under a policy have sent.
#[derive(Debug, Serialize, ToSchema)]
struct PolicySent {
    /// The policy; none for those under none.
    policy: Option<String>,
    /// Packets.
    packets: u64,
    /// Their octets.
    octets: u64,
}

/// What was sent under each policy in a time.
#[derive(Debug, Serialize, ToSchema)]
struct TrafficList {
    /// It, most octets first: 999 policies at most.
    items: Vec<PolicySent>,
}

/// What was sent under each policy, also under those that are there no longer, in a time.
#[utoipa::path(get, path = "/traffic", tag = "controller", params(TrafficQuery),
    responses((status = 200, body = TrafficList), (status = 400, body = Problem), (status = 401, body = Problem)))]
async fn network_traffic(
    _: Viewer,
    State(controller): State<Arc<Controller>>,
    Query(TrafficQuery { site, from, until }): Query<TrafficQuery>,
) -> Result<Json<TrafficList>, Problem> {
    let range = (span(&controller, from, until)?.0, controller.span());
    let read = move |connection: &Connection| traffic::of_all(connection, site.as_deref(), range);
    let found = controller.store().read(Asked::History, read).await?;
    let view = |Sent { of, packets, octets }| {
        let policy = Some(of).filter(|policy: &String| !policy.is_empty());
        PolicySent { policy, packets, octets }
    };
    Ok(Json(TrafficList { items: found.into_iter().map(view).collect() }))
}

/// What flows under a policy have sent in a time: in all, in each part of the time, and by each site.
#[utoipa::path(get, path = "/policies/{name}/traffic", tag = "controller",
    params(("name" = String, Path, description = "The name of the policy"), TrafficQuery),
    responses((status = 200, body = PolicyTraffic), (status = 400, body = Problem), (status = 401, body = Problem),
        (status = 404, body = Problem)))]
async fn policy_traffic(
    _: Viewer,
    State(controller): State<Arc<Controller>>,
    Path(policy): Path<String>,
    Query(TrafficQuery { site, from, until }): Query<TrafficQuery>,
) -> Result<Json<PolicyTraffic>, Problem> {
    let range = (span(&controller, from, until)?.0, controller.span());
    let name = policy.clone();
    let read = move |connection: &Connection| {
        let is_there = get(connection, Kind::Policy, &name)?.is_some();
        Ok((traffic::of_policy(connection, &name, site.as_deref(), range)?, is_there))
    };
    let (found, is_there) = controller.store().read(Asked::History, read).await?;
    if !is_there && found.steps.is_empty() {
        let why = format!("there is no policy {policy:?}, and nothing was sent under one of that name in this time");
        return Err(Problem::not_found(why));
    }
    let sum = |of: fn(&Sent<std::time::SystemTime>) -> u64| found.steps.iter().map(of).fold(0, u64::saturating_add);
    let step = |sent: &Sent<std::time::SystemTime>| {
        let Sent { of, packets, octets } = *sent;
        StepTraffic { at: of.into(), packets, octets }
    };
    Ok(Json(PolicyTraffic {
        policy,
        packets: sum(|sent| sent.packets),
        octets: sum(|sent| sent.octets),
        step_seconds: found.step.unsigned_abs() / 1000,
        items: found.steps.iter().map(step).collect(),
        sites: found
            .sites
            .into_iter()
            .map(|Sent { of, packets, octets }| SiteTraffic { site: of, packets, octets })
            .collect(),
    }))
}
