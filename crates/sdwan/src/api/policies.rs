//! Classes, policies, and what becomes of a flow.

use std::net::IpAddr;
use std::sync::Arc;
use std::sync::atomic::AtomicU64;
use std::sync::atomic::Ordering::Relaxed;

use axum::extract::State;
use outwork_front::api::{Json, Problem, Query, Viewer};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use super::PartQuery;
use crate::config::matching::{Dscp, Protocol};
use crate::config::policy::{PRESETS, PolicySettings, StrategyKind};
use crate::control::explain::{Considered, Explained, Question};
use crate::engine::class::Class;
use crate::engine::policy::Flow;
use crate::millis::millis;
use crate::plane::account::Account;
use crate::service::Service;

/// Their routes.
pub(super) fn router() -> OpenApiRouter<Arc<Service>> {
    OpenApiRouter::new().routes(routes!(classes)).routes(routes!(policies)).routes(routes!(explain))
}

/// A class of traffic.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct ClassView {
    /// What it is called.
    name: String,
    /// Whether it is there though nobody says so.
    preset: bool,
    /// Whether flows under no policy are of it.
    default: bool,
    /// The longest way in one direction, in milliseconds; none is no limit.
    latency_ms: Option<f64>,
    /// In milliseconds, as in RFC 3550; none is no limit.
    jitter_ms: Option<f64>,
    /// The part that may be lost, from 0 to 1; none is no limit.
    loss: Option<f64>,
}

/// The classes, the default one last.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct ClassList {
    /// They.
    items: Vec<ClassView>,
    /// `after` of the next part; null on the last one.
    next: Option<String>,
}

/// A policy. An empty list does not matter.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct PolicyView {
    /// What it is called.
    name: String,
    /// The lowest is asked first.
    priority: u32,
    /// Networks that flows come from.
    sources: Vec<String>,
    /// Networks that they go to.
    destinations: Vec<String>,
    /// Protocols.
    protocols: Vec<String>,
    /// Ports that they come from.
    source_ports: Vec<String>,
    /// Ports that they go to.
    ports: Vec<String>,
    /// Traffic classes that their packets come with.
    dscp: Vec<String>,
    /// Applications.
    applications: Vec<String>,
    /// The class that they are of.
    class: String,
    /// `best`, `ordered`, `weighted`, `duplicate` or `fec`.
    strategy: String,
    /// Uplinks, the preferred first, for `ordered`.
    uplinks: Vec<String>,
    /// Packets of a group, for `fec`.
    data: Option<u8>,
    /// Packets that mend it, for `fec`.
    parity: Option<u8>,
    /// The traffic class that their packets are given; none, they keep theirs.
    mark: Option<String>,
    /// Packets that were sent under it.
    packets: u64,
    /// Octets of these.
    bytes: u64,
}

/// The policies, in the order in which they are asked.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct PolicyList {
    /// They.
    items: Vec<PolicyView>,
    /// `after` of the next part; null on the last one.
    next: Option<String>,
}

/// A flow that is asked about.
#[derive(Debug, Clone, Deserialize, utoipa::IntoParams)]
#[into_params(parameter_in = Query)]
#[serde(deny_unknown_fields)]
pub(super) struct ExplainQuery {
    /// The address that it comes from.
    #[param(value_type = String)]
    source: IpAddr,
    /// The address that it goes to.
    #[param(value_type = String)]
    destination: IpAddr,
    /// The protocol, by name or number; `tcp` when absent.
    protocol: Option<String>,
    /// The port that it comes from; 0 when absent.
    source_port: Option<u16>,
    /// The port that it goes to; 0 when absent.
    port: Option<u16>,
    /// The traffic class of its packets, by name or number; 0 when absent.
    dscp: Option<String>,
    /// The name of the server that it asks for (SNI).
    name: Option<String>,
}

/// A path that a flow might take.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct ConsideredView {
    /// What it is called.
    path: String,
    /// `new`, `down`, `trial`, `up` or `suspect`.
    state: &'static str,
    /// Whether it keeps the limits of the class.
    keeps_limits: bool,
    /// Whether it is taken: as the `first`, or as the `second` of two.
    taken: Option<&'static str>,
    /// One way, in milliseconds.
    latency_ms: f64,
    /// In milliseconds.
    jitter_ms: f64,
    /// The part that is lost, from 0 to 1.
    loss: f64,
}

/// What becomes of a flow that begins now.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct ExplainView {
    /// The site, or the peer, that it goes to; none where nobody is there.
    to: Option<String>,
    /// The application that it is taken for.
    application: Option<String>,
    /// The policy that it falls under.
    policy: Option<String>,
    /// The class that it is of.
    class: Option<String>,
    /// How paths are chosen for it.
    strategy: Option<String>,
    /// The traffic class that its packets are given; none, they keep theirs.
    mark: Option<String>,
    /// The paths that lead there.
    paths: Vec<ConsideredView>,
    /// Why all that is so, sentence by sentence.
    why: Vec<String>,
}

/// The classes of traffic, and what each needs of its path.
#[utoipa::path(get, path = "/classes", tag = "sdwan", params(PartQuery),
    responses((status = 200, body = ClassList), (status = 400, body = Problem), (status = 401, body = Problem)))]
async fn classes(
    _: Viewer,
    State(service): State<Arc<Service>>,
    Query(query): Query<PartQuery>,
) -> Result<Json<ClassList>, Problem> {
    let said = service.said();
    let last = said.classes.len().saturating_sub(1);
    let view = |(place, (name, class)): (usize, &(String, Class))| ClassView {
        name: name.clone(),
        preset: PRESETS.iter().any(|(preset, _)| preset == name),
        default: place == last,
        latency_ms: class.latency.map(millis),
        jitter_ms: class.jitter.map(millis),
        loss: class.loss,
    };
    let (items, next) = query.of_places(said.classes.iter().enumerate().map(view).collect())?;
    Ok(Json(ClassList { items, next }))
}

/// The policies, in the order in which they are asked.
#[utoipa::path(get, path = "/policies", tag = "sdwan", params(PartQuery),
    responses((status = 200, body = PolicyList), (status = 400, body = Problem), (status = 401, body = Problem)))]
async fn policies(
    _: Viewer,
    State(service): State<Arc<Service>>,
    Query(query): Query<PartQuery>,
) -> Result<Json<PolicyList>, Problem> {
    let accounts = service.shared().accounts.load();
    let view = |policy: &PolicySettings| {
        let account = accounts.iter().find(|(name, _)| *name == policy.name).map(|(_, account)| account);
        let of = |counter: fn(&Account) -> &AtomicU64| account.map_or(0, |account| counter(account).load(Relaxed));
        policy_view(policy, of(|account| &account.packets), of(|account| &account.octets))
    };
    let (items, next) = query.of_places(service.said().policies.iter().map(view).collect())?;
    Ok(Json(PolicyList { items, next }))
}

fn texts<T: ToString>(list: &[T]) -> Vec<String> {
    list.iter().map(ToString::to_string).collect()
}

fn policy_view(policy: &PolicySettings, packets: u64, bytes: u64) -> PolicyView {
    let group = Some(policy.group()).filter(|_| policy.strategy == StrategyKind::Fec);
    PolicyView {
        name: policy.name.clone(),
        priority: policy.priority,
        sources: texts(&policy.sources),
        destinations: texts(&policy.destinations),
        protocols: texts(&policy.protocols),
        source_ports: texts(&policy.source_ports),
        ports: texts(&policy.ports),
        dscp: texts(&policy.dscp),
        applications: policy.applications.clone(),
        class: policy.class.clone().unwrap_or_default(),
        strategy: policy.strategy.to_string(),
        uplinks: policy.uplinks.clone(),
        data: group.map(|(data, _)| data),
        parity: group.map(|(_, parity)| parity),
        mark: policy.mark.map(|mark| mark.to_string()),
        packets,
        bytes,
    }
}

impl ExplainQuery {
    fn question(self) -> Result<Question, Problem> {
        let protocol = self.protocol.as_deref().unwrap_or("tcp").parse::<Protocol>();
        let protocol = protocol.map_err(|error| Problem::invalid("protocol", error))?;
        let dscp = self.dscp.as_deref().unwrap_or("0").parse::<Dscp>();
        let dscp = dscp.map_err(|error| Problem::invalid("dscp", error))?;
        let (source, destination) = (self.source.to_canonical(), self.destination.to_canonical());
        if source.is_ipv4() != destination.is_ipv4() {
            return Err(Problem::invalid("destination", "it is of another version of IP than the source"));
        }
        let flow = Flow {
            source,
            destination,
            protocol: protocol.0,
            source_port: self.source_port.unwrap_or(0),
            destination_port: self.port.unwrap_or(0),
            dscp: dscp.0,
            application: None,
        };
        Ok(Question { flow, name: self.name })
    }
}

/// What becomes of a flow that begins now: its application, policy, class and path, and why. Flows that are under way stay where they are while their path keeps the
/// limits of their class.
#[utoipa::path(get, path = "/explain", tag = "sdwan", params(ExplainQuery),
    responses((status = 200, body = ExplainView), (status = 400, body = Problem), (status = 401, body = Problem)))]
async fn explain(
    _: Viewer,
    State(service): State<Arc<Service>>,
    Query(query): Query<ExplainQuery>,
) -> Result<Json<ExplainView>, Problem> {
    let question = query.question()?;
    let explained = tokio::task::spawn_blocking(move || service.explain(question)).await.map_err(Problem::internal)?;
    Ok(Json(explain_view(explained.map_err(Problem::internal)?)))
}

fn explain_view(explained: Explained) -> ExplainView {
    let Explained { to, application, policy, lane, paths, why } = explained;
    let path = |path: Considered| ConsideredView {
        path: path.name,
        state: path.state,
        keeps_limits: path.keeps,
        taken: path.taken,
        latency_ms: millis(path.figures.latency),
        jitter_ms: millis(path.figures.jitter),
        loss: path.figures.loss,
    };
    ExplainView {
        to,
        application,
        policy,
        class: lane.as_ref().map(|lane| lane.class.clone()),
        strategy: lane.as_ref().map(|lane| lane.strategy.clone()),
        mark: lane.and_then(|lane| lane.mark).map(|mark| Dscp(mark).to_string()),
        paths: paths.into_iter().map(path).collect(),
        why,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn query(source: &str, destination: &str) -> ExplainQuery {
        let [source, destination] = [source, destination].map(|text| text.parse().unwrap());
        ExplainQuery { source, destination, protocol: None, source_port: None, port: Some(443), dscp: None, name: None }
    }

    #[test]
    fn what_is_asked_about_a_flow_is_checked_and_what_is_not_said_is_tcp_of_no_class() {
        let Question { flow, .. } = query("10.0.0.1", "::ffff:10.0.0.2").question().unwrap();
        assert_eq!((flow.protocol, flow.dscp, flow.destination_port), (6, 0, 443));
        assert!(flow.destination.is_ipv4(), "what is mapped is what it stands for");
        let said = ExplainQuery { protocol: Some("udp".into()), dscp: Some("EF".into()), ..query("::1", "::2") };
        let flow = said.question().unwrap().flow;
        assert_eq!((flow.protocol, flow.dscp), (17, 46));
        for wrong in [
            query("10.0.0.1", "::2"),
            ExplainQuery { protocol: Some("http".into()), ..query("::1", "::2") },
            ExplainQuery { dscp: Some("64".into()), ..query("::1", "::2") },
        ] {
            assert!(wrong.question().is_err());
        }
    }
}
