//! Benchmarks of the admin API: one at a time, for a while, against targets that may be loaded; what they came to is kept.

use std::collections::VecDeque;
use std::net::{IpAddr, SocketAddr};
use std::path::Path as File;
use std::sync::{Arc, Weak};
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

use super::kept::{Ended, Kept};
use super::sequence::Sequence;
use super::{Kind, Options, Report};
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
    /// What hears of a benchmark's end.
    itself: Weak<Benchmarks>,
    runs: Mutex<Runs>,
    kept: Kept,
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
    ended: Ended,
    /// While it is under way.
    loads: Option<Sequence>,
}

/// How far a benchmark has come.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
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
    /// How many loads it has, one after the other: four of a suite, one of all others.
    parts: usize,
    /// The figures of each that has begun, in their order; of the one under way, those so far.
    results: Vec<Report>,
    /// The last of these: of a benchmark with one load, what came of it.
    result: Option<Report>,
    /// What to look at, where nothing came of one of them.
    hint: Option<String>,
}

/// What is to be measured.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct Wanted {
    /// Who is loaded: an address or a name, and a port. It is this machine, of a network for benchmarks (198.18.0.0/15, 2001:2::/48), or of one in
    /// `proxy.benchmark.targets`.
    target: String,
    /// What is measured, as the path may say it: `throughput`, `latency`, `connections` or `mixed`; unset, all of them, one after the other.
    kind: Option<String>,
    /// By what: `tcp` or `udp`.
    #[serde(default = "tcp")]
    protocol: String,
    /// For how long, such as `30s`; 10 minutes at most. Of a suite, each of the four.
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
    let router = OpenApiRouter::new().routes(routes!(suite, elsewhere)).routes(routes!(begin)).routes(routes!(list));
    router.routes(routes!(one, cancel)).with_state(benchmarks)
}

/// Begin a suite of benchmarks: `throughput`, `latency`, `connections` and `mixed`, one after the other, each as long as is asked for. It is one benchmark with one number, is ended as one,
/// and says how far it has come by `parts` and `results`. With `kind`, it is that one alone.
#[utoipa::path(post, path = "/benchmark", tag = "proxy", request_body = Wanted,
    responses((status = 202, body = RunView), (status = 400, body = Problem), (status = 403, body = Problem), (status = 409, body = Problem)))]
async fn suite(
    Admin(caller): Admin,
    State(benchmarks): State<Arc<Benchmarks>>,
    Json(wanted): Json<Wanted>,
) -> Result<(StatusCode, Json<RunView>), Problem> {
    caller.does("benchmark.begin", wanted.kind.as_deref().unwrap_or("suite"), wanted.told());
    let one = wanted.kind.as_deref().map(|kind| kind_of(kind).map_err(|told| Problem::invalid("kind", told)));
    match one.transpose()? {
        Some(kind) => benchmarks.run(wanted, &[kind], &caller.name).await,
        None => benchmarks.run(wanted, Kind::ALL, &caller.name).await,
    }
}

/// Say where benchmarks are: they are begun here, and looked at elsewhere.
#[utoipa::path(get, path = "/benchmark", tag = "proxy", responses((status = 403, body = Problem), (status = 404, body = Problem)))]
async fn elsewhere(_: Admin) -> Problem {
    Problem::not_found(
        "benchmarks are begun here, by POST; GET /api/v1/proxy/benchmarks lists them, and /api/v1/proxy/benchmarks/ID is one of them",
    )
}

/// A kind by its word, or what there is.
fn kind_of(word: &str) -> Result<Kind, String> {
    word.parse().map_err(|_| {
        let words: Vec<&str> = Kind::ALL.iter().map(|kind| kind.word()).collect();
        let all = "and POST /api/v1/proxy/benchmark for all of them";
        format!("there is no benchmark {word:?}; there are {}, {all}", words.join(", "))
    })
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
    caller.does("benchmark.begin", &kind, wanted.told());
    let said = wanted.kind.as_deref().filter(|said| *said != kind);
    if let Some(said) = said {
        return Err(Problem::invalid("kind", format!("{said:?}, and the path says {kind:?}: leave it out here")));
    }
    let kind = kind_of(&kind).map_err(Problem::not_found)?;
    benchmarks.run(wanted, &[kind], &caller.name).await
}

/// Benchmarks that were run, the newest first: the last 50, those before a restart included.
#[utoipa::path(get, path = "/benchmarks", tag = "proxy",
    responses((status = 200, body = Vec<RunView>), (status = 403, body = Problem)))]
async fn list(_: Admin, State(benchmarks): State<Arc<Benchmarks>>) -> Json<Vec<RunView>> {
    Json(benchmarks.runs.lock().kept.iter().map(Run::view).collect())
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
    let ended = Arc::clone(&benchmarks);
    tokio::task::spawn_blocking(move || ended.end(Some(id))).await.map_err(Problem::internal)?;
    benchmarks.view(id).map(Json)
}

impl Wanted {
    /// For the audit log.
    fn told(&self) -> String {
        format!("{} over {} for {}", self.target, self.protocol, self.duration)
    }

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
        Arc::new_cyclic(|itself| Benchmarks { itself: Weak::clone(itself), ..Benchmarks::default() })
    }

    /// Takes in what is in this file, which keeps what is run from now on.
    pub fn keep(&self, file: &File) {
        let kept = self.kept.open(file);
        let mut runs = self.runs.lock();
        runs.last = kept.iter().map(|ended| ended.id).max().unwrap_or(0);
        runs.kept = kept.into_iter().take(KEPT).map(|ended| Run { ended, loads: None }).collect();
    }

    /// Ends what is under way, and keeps what came of it.
    pub fn stop(&self) {
        self.end(None);
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

    /// Begins what is wanted: these, one after the other.
    async fn run(
        self: &Arc<Self>,
        wanted: Wanted,
        kinds: &[Kind],
        by: &str,
    ) -> Result<(StatusCode, Json<RunView>), Problem> {
        let resolved = tokio::net::lookup_host(&wanted.target).await;
        let resolved = resolved
            .map_err(|error| Problem::invalid("target", format!("{error}: expected ADDRESS:PORT or NAME:PORT")))?;
        let addresses: Vec<SocketAddr> = resolved.collect();
        let target = self.allowed(&addresses).ok_or_else(|| {
            let told =
                "expected this machine, an address of 198.18.0.0/15 or 2001:2::/48, or one of proxy.benchmark.targets";
            Problem::invalid("target", format!("{} is not to be loaded: {told}", wanted.target))
        })?;
        let parts = kinds.iter().map(|kind| wanted.options(*kind, target)).collect::<Result<Vec<_>, _>>()?;
        let (own, by) = (Arc::clone(self), by.to_owned());
        let view = tokio::task::spawn_blocking(move || own.begin(parts, &by));
        let view = view.await.unwrap_or_else(|error| Err(Problem::internal(error)))?;
        Ok((StatusCode::ACCEPTED, Json(view)))
    }

    fn begin(&self, parts: Vec<Options>, by: &str) -> Result<RunView, Problem> {
        let mut runs = self.runs.lock();
        if let Some(running) = runs.kept.iter().find(|run| run.loads.is_some()) {
            let told = format!("benchmark {} is under way: wait for it, or end it", running.ended.id);
            return Err(Problem::conflict(None, told));
        }
        let (id, count, itself) = (runs.last + 1, parts.len(), Weak::clone(&self.itself));
        let over = move || {
            if let Some(benchmarks) = itself.upgrade() {
                drop(benchmarks.settle(Some(id), RunState::Done));
            }
        };
        let loads = Sequence::start(parts, over).map_err(Problem::internal)?;
        runs.last = id;
        let run = Run { ended: Ended::new(id, by, SystemTime::now(), count), loads: Some(loads) };
        let view = run.view();
        runs.kept.push_front(run);
        runs.kept.truncate(KEPT);
        Ok(view)
    }

    fn view(&self, id: u64) -> Result<RunView, Problem> {
        let runs = self.runs.lock();
        let run = runs.kept.iter().find(|run| run.ended.id == id).map(Run::view);
        run.ok_or_else(|| Problem::not_found(format!("there is no benchmark {id}; the last {KEPT} are kept")))
    }

    /// Ends one before its time, or whichever there is, where it is under way.
    fn end(&self, id: Option<u64>) {
        if let Some(mut loads) = self.settle(id, RunState::Cancelled) {
            loads.cancel();
            loads.wait();
        }
    }

    /// Writes down what has come of one, or of whichever there is, where it is under way. It is no more from here on.
    fn settle(&self, id: Option<u64>, state: RunState) -> Option<Sequence> {
        let loads = {
            let mut runs = self.runs.lock();
            let is_it = |run: &&mut Run| run.loads.is_some() && id.is_none_or(|id| run.ended.id == id);
            let run = runs.kept.iter_mut().find(is_it)?;
            let loads = run.loads.take()?;
            (run.ended.results, run.ended.state) = (loads.reports(), state);
            loads
        };
        self.kept.write(|| {
            let runs = self.runs.lock();
            runs.kept.iter().filter(|run| run.loads.is_none()).map(|run| run.ended.clone()).collect()
        });
        Some(loads)
    }
}

impl Run {
    fn view(&self) -> RunView {
        let Ended { id, by, parts, .. } = &self.ended;
        let (state, results) = match &self.loads {
            Some(loads) => (RunState::Running, loads.reports()),
            None => (self.ended.state, self.ended.results.clone()),
        };
        let hint = results.iter().find_map(Report::hint).filter(|_| state == RunState::Done);
        let began = Timestamp::from(self.ended.began());
        RunView { id: *id, by: by.clone(), began, state, parts: *parts, result: results.last().cloned(), results, hint }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_this_machine_labs_and_named_networks_are_loaded() {
        let benchmarks = Benchmarks::new();
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

    /// Loads a socket that takes connections and says nothing.
    fn options(kind: Kind, target: &std::net::TcpListener, duration: Duration) -> Options {
        Options {
            kind,
            target: target.local_addr().unwrap(),
            protocol: Protocol::Tcp,
            packet_size: 1,
            connections: 1,
            workers: 1,
            duration,
            timeout: TIMEOUT,
        }
    }

    /// Waits for the end of one.
    fn ended(benchmarks: &Benchmarks, id: u64) -> RunView {
        let began = std::time::Instant::now();
        loop {
            let view = benchmarks.view(id).unwrap();
            if view.state != RunState::Running {
                return view;
            }
            assert!(began.elapsed() < Duration::from_secs(60), "{view:?}");
            std::thread::yield_now();
        }
    }

    #[test]
    fn one_runs_at_a_time_and_what_was_cancelled_is_kept_with_its_figures() {
        let benchmarks = Benchmarks::new();
        let target = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let long = vec![options(Kind::Connections, &target, Duration::from_secs(3600))];
        let begun = benchmarks.begin(long.clone(), "ann").unwrap();
        assert_eq!((begun.id, begun.state, begun.parts), (1, RunState::Running, 1));
        assert!(benchmarks.begin(long.clone(), "ben").is_err());
        benchmarks.end(Some(1));
        let view = benchmarks.view(1).unwrap();
        assert_eq!((view.state, view.results.len()), (RunState::Cancelled, 1));
        assert!(benchmarks.view(2).is_err());
        for _ in 0..KEPT {
            let id = benchmarks.begin(long.clone(), "ann").unwrap().id;
            benchmarks.end(Some(id));
        }
        assert!(benchmarks.view(1).is_err() && benchmarks.view(2).is_ok());
    }

    #[test]
    fn a_suite_runs_its_loads_one_after_the_other_and_ends_with_the_one_that_is_cancelled() {
        let benchmarks = Benchmarks::new();
        let target = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let parts = |duration| Kind::ALL.iter().map(|kind| options(*kind, &target, duration)).collect::<Vec<_>>();
        let begun = benchmarks.begin(parts(Duration::from_millis(100)), "ann").unwrap();
        assert_eq!((begun.parts, begun.results.len()), (4, 1));
        let view = ended(&benchmarks, begun.id);
        let kinds: Vec<&str> = view.results.iter().map(|report| report.kind.as_str()).collect();
        assert_eq!(kinds, ["throughput", "latency", "connections", "mixed"]);
        assert_eq!((view.state, view.result.as_ref()), (RunState::Done, view.results.last()));
        assert!(view.hint.unwrap().contains("sends nothing back"), "of the second");
        let begun = benchmarks.begin(parts(Duration::from_secs(3600)), "ann").unwrap();
        benchmarks.end(Some(begun.id));
        let view = benchmarks.view(begun.id).unwrap();
        assert_eq!((view.state, view.results.len(), view.hint), (RunState::Cancelled, 1, None));
    }

    #[test]
    fn what_was_run_outlives_the_process_and_numbers_go_on() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("benchmarks.json");
        let target = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let before = Benchmarks::new();
        before.keep(&file);
        let short = vec![options(Kind::Connections, &target, Duration::from_millis(100))];
        let done = before.begin(short.clone(), "ann").unwrap().id;
        let done = ended(&before, done);
        before.begin(vec![options(Kind::Latency, &target, Duration::from_secs(3600))], "ben").unwrap();
        before.stop();
        let after = Benchmarks::new();
        after.keep(&file);
        let again = after.view(done.id).unwrap();
        assert_eq!((again.by.as_str(), again.state), ("ann", RunState::Done));
        let opened = |view: &RunView| view.results.iter().map(|report| report.opened).collect::<Vec<_>>();
        assert_eq!(opened(&again), opened(&done));
        assert_eq!(again.began.to_string(), done.began.to_string());
        assert_eq!(after.view(2).unwrap().state, RunState::Cancelled);
        assert_eq!(after.begin(short.clone(), "ann").unwrap().id, 3);
        std::fs::write(&file, "{").unwrap();
        let other = Benchmarks::new();
        other.keep(&file);
        assert_eq!(other.begin(short, "ann").unwrap().id, 1, "it is begun anew");
    }
}
