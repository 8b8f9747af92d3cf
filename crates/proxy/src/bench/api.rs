//! Benchmarks of the admin API: one at a time, for a while, against targets that may be loaded; what they came to is kept as long as this process runs.

use std::collections::VecDeque;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use axum::extract::State;
use axum::http::StatusCode;
use outwork_front::api::{Admin, Json, Path, Problem, Timestamp};
use outwork_front::filter::{Network, Networks};
use parking_lot::Mutex;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use super::{Kind, Load, Options, Report};
use crate::config::Protocol;

/// Benchmarks that are kept.
const KEPT: usize = 50;
/// The longest that one may take.
const LONGEST: Duration = Duration::from_secs(600);
/// How long an answer may take.
const TIMEOUT: Duration = Duration::from_secs(2);
/// Networks that are for benchmarks (RFC 2544, RFC 5180).
const LAB: [&str; 2] = ["198.18.0.0/15", "2001:2::/48"];

/// Benchmarks that were run, and the one that is.
#[derive(Default)]
pub struct Benchmarks {
    runs: Mutex<Runs>,
    /// What may be loaded beside this machine and the networks of labs.
    targets: Mutex<Vec<Network>>,
}

#[derive(Default)]
struct Runs {
    last: u64,
    /// The newest first.
    kept: VecDeque<Run>,
}

struct Run {
    id: u64,
    by: String,
    began: SystemTime,
    state: RunState,
    /// While it is under way.
    load: Option<Load>,
    /// As it ended.
    report: Option<Report>,
}

/// How far a benchmark has come.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, ToSchema)]
#[serde(rename_all = "lowercase")]
pub enum RunState {
    /// It is under way: its figures are those so far.
    Running,
    /// It has come to its end.
    Done,
    /// It was ended before.
    Cancelled,
}

/// A benchmark.
#[derive(Debug, Serialize, ToSchema)]
pub struct RunView {
    /// Its number.
    id: u64,
    /// Who wanted it.
    by: String,
    /// When it began.
    began: Timestamp,
    /// How far it has come.
    state: RunState,
    /// Its figures; of one under way, those so far.
    result: Report,
    /// What to look at, where nothing came of it.
    hint: Option<String>,
}

/// What is to be measured.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct Wanted {
    /// Who is loaded: an address or a name, and a port. It is this machine, of a network for benchmarks (198.18.0.0/15, 2001:2::/48), or of one in
    /// `proxy.benchmark.targets`.
    target: String,
    /// By what: `tcp` or `udp`.
    #[serde(default = "tcp")]
    protocol: String,
    /// For how long, such as `30s`; 10 minutes at most.
    #[serde(default = "ten_seconds")]
    duration: String,
    /// Octets that are sent at a time.
    #[serde(default = "packet_size")]
    packet_size: usize,
    /// Connections, or sockets of UDP, at once.
    #[serde(default = "connections")]
    connections: usize,
    /// Threads.
    #[serde(default = "workers")]
    workers: usize,
}

fn tcp() -> String {
    Protocol::Tcp.word().to_owned()
}

fn ten_seconds() -> String {
    "10s".to_owned()
}

fn packet_size() -> usize {
    1400
}

fn connections() -> usize {
    16
}

fn workers() -> usize {
    1
}

/// The routes, to be nested under `/api/v1/proxy`.
pub fn router(benchmarks: Arc<Benchmarks>) -> OpenApiRouter {
    let router = OpenApiRouter::new().routes(routes!(begin)).routes(routes!(list));
    router.routes(routes!(one, cancel)).with_state(benchmarks)
}

/// Begin a benchmark: `throughput`, `latency`, `connections` or `mixed`. One runs at a time.
#[utoipa::path(post, path = "/benchmark/{kind}", tag = "proxy", params(("kind" = String, Path,)), request_body = Wanted,
    responses((status = 202, body = RunView), (status = 400, body = Problem), (status = 403, body = Problem), (status = 404, body = Problem), (status = 409, body = Problem)))]
async fn begin(
    Admin(caller): Admin,
    State(benchmarks): State<Arc<Benchmarks>>,
    Path(kind): Path<String>,
    Json(wanted): Json<Wanted>,
) -> Result<(StatusCode, Json<RunView>), Problem> {
    caller.does(
        "benchmark.begin",
        &kind,
        format!("{} over {} for {}", wanted.target, wanted.protocol, wanted.duration),
    );
    let kind: Kind = kind.parse().map_err(|_| {
        let words: Vec<&str> = Kind::ALL.iter().map(|kind| kind.word()).collect();
        Problem::not_found(format!("there is no benchmark {kind:?}; there are {}", words.join(", ")))
    })?;
    let resolved = tokio::net::lookup_host(&wanted.target).await;
    let resolved =
        resolved.map_err(|error| Problem::invalid("target", format!("{error}: expected ADDRESS:PORT or NAME:PORT")))?;
    let addresses: Vec<SocketAddr> = resolved.collect();
    let target = benchmarks.allowed(&addresses).ok_or_else(|| {
        let told =
            "expected this machine, an address of 198.18.0.0/15 or 2001:2::/48, or one of proxy.benchmark.targets";
        Problem::invalid("target", format!("{} is not to be loaded: {told}", wanted.target))
    })?;
    let options = wanted.options(kind, target)?;
    let view = tokio::task::spawn_blocking(move || benchmarks.begin(options, caller.name.clone()));
    let view = view.await.unwrap_or_else(|error| Err(Problem::internal(error)))?;
    Ok((StatusCode::ACCEPTED, Json(view)))
}

/// Benchmarks that were run since the start of this process, the newest first.
#[utoipa::path(get, path = "/benchmarks", tag = "proxy",
    responses((status = 200, body = Vec<RunView>), (status = 403, body = Problem)))]
async fn list(_: Admin, State(benchmarks): State<Arc<Benchmarks>>) -> Json<Vec<RunView>> {
    let mut runs = benchmarks.runs.lock();
    runs.settle();
    Json(runs.kept.iter().filter_map(Run::view).collect())
}

/// A benchmark: how far it has come, and what came of it.
#[utoipa::path(get, path = "/benchmarks/{id}", tag = "proxy", params(("id" = u64, Path,)),
    responses((status = 200, body = RunView), (status = 403, body = Problem), (status = 404, body = Problem)))]
async fn one(
    _: Admin,
    State(benchmarks): State<Arc<Benchmarks>>,
    Path(id): Path<u64>,
) -> Result<Json<RunView>, Problem> {
    benchmarks.view(id).map(Json)
}

/// End a benchmark before its time.
#[utoipa::path(delete, path = "/benchmarks/{id}", tag = "proxy", params(("id" = u64, Path,)),
    responses((status = 200, body = RunView), (status = 403, body = Problem), (status = 404, body = Problem)))]
async fn cancel(
    Admin(caller): Admin,
    State(benchmarks): State<Arc<Benchmarks>>,
    Path(id): Path<u64>,
) -> Result<Json<RunView>, Problem> {
    caller.does("benchmark.cancel", id.to_string(), String::new());
    benchmarks.end(id);
    benchmarks.view(id).map(Json)
}

impl Wanted {
    fn options(&self, kind: Kind, target: SocketAddr) -> Result<Options, Problem> {
        let protocol: Protocol =
            self.protocol.parse().map_err(|_| Problem::invalid("protocol", "expected \"tcp\" or \"udp\""))?;
        let duration = outwork_config::parse_duration(&self.duration);
        let duration = duration.ok_or_else(|| Problem::invalid("duration", "expected a duration such as \"30s\""))?;
        if duration > LONGEST {
            return Err(Problem::invalid("duration", "at most 10m; `outwork bench proxy` measures longer"));
        }
        let options = Options {
            kind,
            target,
            protocol,
            packet_size: self.packet_size,
            connections: self.connections,
            workers: self.workers,
            duration,
            timeout: TIMEOUT,
        };
        match options.fault() {
            Some((name, told)) => Err(Problem::invalid(name, told)),
            None => Ok(options),
        }
    }
}

impl Benchmarks {
    /// None were run yet.
    pub fn new() -> Arc<Benchmarks> {
        Arc::default()
    }

    /// What may be loaded from now on.
    pub fn set_targets(&self, targets: &[Network]) {
        *self.targets.lock() = targets.to_vec();
    }

    /// The first address that may be loaded.
    fn allowed(&self, addresses: &[SocketAddr]) -> Option<SocketAddr> {
        let lab: Vec<Network> = LAB.iter().filter_map(|network| network.parse().ok()).collect();
        let networks: Vec<Network> = lab.into_iter().chain(self.targets.lock().iter().copied()).collect();
        let networks = Networks::of(&networks);
        let is_allowed = |ip: IpAddr| ip.to_canonical().is_loopback() || networks.contains(ip);
        addresses.iter().copied().find(|address| is_allowed(address.ip()))
    }

    fn begin(&self, options: Options, by: String) -> Result<RunView, Problem> {
        let mut runs = self.runs.lock();
        runs.settle();
        if let Some(running) = runs.kept.iter().find(|run| run.load.is_some()) {
            let told = format!("benchmark {} is under way: wait for it, or end it", running.id);
            return Err(Problem::conflict(None, told));
        }
        let load = Load::start(options).map_err(Problem::internal)?;
        runs.last += 1;
        let id = runs.last;
        let run = Run { id, by, began: SystemTime::now(), state: RunState::Running, load: Some(load), report: None };
        runs.kept.push_front(run);
        runs.kept.truncate(KEPT);
        runs.kept.front().and_then(Run::view).ok_or_else(|| Problem::internal("it is gone"))
    }

    fn view(&self, id: u64) -> Result<RunView, Problem> {
        let mut runs = self.runs.lock();
        runs.settle();
        let run = runs.kept.iter().find(|run| run.id == id).and_then(Run::view);
        run.ok_or_else(|| Problem::not_found(format!("there is no benchmark {id}; the last {KEPT} are kept")))
    }

    /// Ends one before its time, where it is under way.
    fn end(&self, id: u64) {
        let mut runs = self.runs.lock();
        if let Some(run) = runs.kept.iter_mut().find(|run| run.id == id && run.load.is_some()) {
            run.settle(RunState::Cancelled);
        }
    }
}

impl Runs {
    /// Writes down what has come to its end.
    fn settle(&mut self) {
        let over = |run: &&mut Run| run.load.as_ref().is_some_and(Load::is_over);
        self.kept.iter_mut().filter(over).for_each(|run| run.settle(RunState::Done));
    }
}

impl Run {
    fn settle(&mut self, state: RunState) {
        if let Some(load) = self.load.take() {
            self.report = Some(load.report());
            self.state = state;
        }
    }

    fn view(&self) -> Option<RunView> {
        let result = self.report.clone().or_else(|| Some(self.load.as_ref()?.report()))?;
        let hint = result.hint().filter(|_| self.state == RunState::Done);
        Some(RunView {
            id: self.id,
            by: self.by.clone(),
            began: Timestamp::from(self.began),
            state: self.state,
            result,
            hint,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_this_machine_labs_and_named_networks_are_loaded() {
        let benchmarks = Benchmarks::default();
        let may = |text: &str| benchmarks.allowed(&[text.parse().unwrap()]).is_some();
        for (target, is_allowed) in [
            ("127.0.0.1:1", true),
            ("[::1]:1", true),
            ("[::ffff:127.0.0.1]:1", true),
            ("198.18.3.4:1", true),
            ("[2001:2::9]:1", true),
            ("10.0.0.1:1", false),
            ("8.8.8.8:1", false),
        ] {
            assert_eq!(may(target), is_allowed, "{target}");
        }
        benchmarks.set_targets(&["10.0.0.0/8".parse().unwrap()]);
        assert!(may("10.0.0.1:1") && !may("8.8.8.8:1"));
    }

    #[test]
    fn one_runs_at_a_time_and_what_was_cancelled_is_kept_with_its_figures() {
        let benchmarks = Benchmarks::default();
        let target = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let options = Options {
            kind: Kind::Connections,
            target: target.local_addr().unwrap(),
            protocol: Protocol::Tcp,
            packet_size: 1,
            connections: 1,
            workers: 1,
            duration: Duration::from_secs(3600),
            timeout: TIMEOUT,
        };
        let begun = benchmarks.begin(options.clone(), "ann".to_owned()).unwrap();
        assert_eq!((begun.id, begun.state), (1, RunState::Running));
        assert!(benchmarks.begin(options.clone(), "ben".to_owned()).is_err());
        benchmarks.end(1);
        assert_eq!(benchmarks.view(1).unwrap().state, RunState::Cancelled);
        assert!(benchmarks.view(2).is_err());
        for _ in 0..KEPT {
            let id = benchmarks.begin(options.clone(), "ann".to_owned()).unwrap().id;
            benchmarks.end(id);
        }
        assert!(benchmarks.view(1).is_err() && benchmarks.view(2).is_ok());
    }
}
