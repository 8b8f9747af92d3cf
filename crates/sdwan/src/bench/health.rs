//! Hellos, and what is decided by them.

use std::collections::BTreeMap;
use std::fmt;
use std::hint::black_box;
use std::time::{Duration, Instant};

use outwork_engine::Time;
use outwork_telemetry::{Histogram, Latency};
use serde::Serialize;

use super::{BenchError, Counted, allocated, columns, row, slower, within};
use crate::engine::hello::{Claim, Echo, Hello};
use crate::engine::liveness::{LivenessSettings, State};
use crate::engine::site::{PathId, Reach, SiteId};
use crate::engine::world::{self, HUBS};
use crate::engine::{Engine, Event, Input, Output};

/// What is asked for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Options {
    /// Sites that are watched closely, each by one path.
    pub targets: u32,
    /// Rounds: hellos to each of them and from each of them.
    pub iterations: u64,
    /// What is done by chance follows from it.
    pub seed: u64,
}

/// What came of it.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Report {
    /// `health-check`.
    pub kind: &'static str,
    /// What was measured.
    pub measured: &'static str,
    /// Paths that are watched.
    pub targets: u32,
    /// Rounds.
    pub iterations: u64,
    /// Milliseconds between hellos of a path.
    pub interval_ms: u64,
    /// Hellos that were made.
    pub said: u64,
    /// To make one, with the timers: the mean of a round each.
    pub saying: Latency,
    /// Hellos that were taken in.
    pub heard: u64,
    /// To take one in and decide.
    pub hearing: Latency,
    /// Paths that were taken for dead, though none was.
    pub downs: u64,
    /// Paths that could be watched so closely by one core that did nothing else.
    pub paths_per_core: f64,
    /// Octets that were allocated, tables that were made anew among them.
    pub allocated_bytes: Option<u64>,
}

const MEASURED: &str = "hellos made, written, read and taken in, and what is decided by them, in one process and on one thread; sealing, opening and sockets are not among it, and the network \
    between is of simulated time";

/// There and back.
const ROUND_TRIP: Duration = Duration::from_millis(10);

/// What another site answers.
fn answer(sequence: u32, now: Time, last: Option<&Hello>) -> Hello {
    Hello {
        sequence,
        count: 1,
        stamp: now.as_nanos(),
        echo: last.map(|last| Echo { stamp: last.stamp, held: 0 }),
        claim: Claim::Uses,
        hurry: false,
        late: 0,
        sent: sequence,
        expected: last.map_or(0, |last| last.sent),
        got: last.map_or(0, |last| last.sent),
        pace: 40,
        want: 30,
    }
}

/// Nanoseconds of the mean.
fn mean(histogram: &Histogram) -> f64 {
    histogram.snapshot().mean()
}

/// Measures.
///
/// # Errors
/// When an option is out of bounds.
pub fn run(options: &Options, counted: Counted) -> Result<Report, BenchError> {
    within("targets", options.targets, 1..=10_000)?;
    within("iterations", options.iterations, 1..=10_000_000)?;
    let sites = (1..=options.targets).map(|id| world::site(SiteId(id), 1, Reach::Public)).collect();
    let network = world::network(world::site(HUBS[0], 1, Reach::Public), sites);
    let fast = LivenessSettings::default().fast;
    let mut now = Time::from_secs(100);
    let mut engine = Engine::new(&network, options.seed, now)?;
    let paths: Vec<PathId> = engine.paths().map(|(id, ..)| id).collect();
    let (saying, hearing) = (Histogram::default(), Histogram::default());
    let (mut said, mut downs) = (0, 0);
    let mut last: BTreeMap<PathId, Hello> = BTreeMap::new();
    let mut probes = vec![];
    let before = counted();
    for round in 0..options.iterations {
        now += fast;
        // Who has traffic is watched closely.
        for path in &paths {
            engine.handle_input(now, Input::Traffic { path: *path, sent: 1, received: 0 });
        }
        let begun = Instant::now();
        engine.handle_timeout(now);
        let mut own = 0;
        while let Some(output) = engine.poll_output() {
            match output {
                Output::Hello(path, hello) => {
                    black_box(hello.encode());
                    own += 1;
                    last.insert(path, hello);
                }
                Output::Probe(path, probe) => probes.push(Input::Probe(path, probe.answered())),
                Output::Event(event) => downs += u64::from(is_down(&event)),
                Output::Mtu(..) | Output::Silent { .. } | Output::Table(_) => {}
                Output::Look => engine.handle_input(now, Input::Looked(now)),
            }
        }
        let took = begun.elapsed().as_nanos() as u64;
        if let Some(each) = took.checked_div(own) {
            saying.record_many(each, own);
        }
        said += own;
        let arrival = now + ROUND_TRIP;
        // Paths are as long as they are thought to be: that is asked now and then, and is not what is measured.
        probes.drain(..).for_each(|answer| engine.handle_input(arrival, answer));
        for path in &paths {
            let octets = answer(round as u32 + 1, arrival, last.get(path)).encode();
            let begun = Instant::now();
            if let Some(hello) = Hello::decode(&octets) {
                engine.handle_input(arrival, Input::Hello(*path, hello));
            }
            while let Some(output) = engine.poll_output() {
                match output {
                    Output::Hello(path, hello) => {
                        last.insert(path, hello);
                    }
                    Output::Event(event) => downs += u64::from(is_down(&event)),
                    Output::Probe(path, probe) => probes.push(Input::Probe(path, probe.answered())),
                    Output::Table(table) => drop(table),
                    Output::Mtu(..) | Output::Silent { .. } => {}
                    Output::Look => engine.handle_input(arrival, Input::Looked(arrival)),
                }
            }
            hearing.record(begun.elapsed());
        }
    }
    let allocated_bytes = before.zip(counted()).map(|(before, after)| after.0 - before.0);
    let each = mean(&saying) + mean(&hearing);
    let interval = fast.as_nanos() as f64;
    Ok(Report {
        kind: "health-check",
        measured: MEASURED,
        targets: options.targets,
        iterations: options.iterations,
        interval_ms: fast.as_millis() as u64,
        said,
        saying: Latency::of(&saying),
        heard: options.iterations * paths.len() as u64,
        hearing: Latency::of(&hearing),
        downs,
        paths_per_core: if each > 0.0 { interval / each } else { 0.0 },
        allocated_bytes,
    })
}

fn is_down(event: &Event) -> bool {
    matches!(event, Event::Path { change, .. } if change.to == State::Down)
}

impl Report {
    /// What is wrong where a hello is to be taken in, and decided upon, within so many microseconds, 99 % of them.
    pub fn slower_than(&self, at_most_us: u32) -> Option<String> {
        slower("a hello is taken in", &self.hearing, at_most_us)
    }

    /// What is not as it should be.
    pub fn hint(&self) -> Option<String> {
        (self.downs > 0).then(|| format!("{} paths were taken for dead, and none was", self.downs))
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Report { targets, iterations, interval_ms, .. } = self;
        writeln!(f, "health check: {targets} paths, {iterations} rounds of {interval_ms} ms")?;
        writeln!(f, "  {}", self.measured)?;
        writeln!(f, "  paths/core               {:>10.0}", self.paths_per_core)?;
        writeln!(f, "  taken for dead           {:>10}", self.downs)?;
        allocated(f, self.allocated_bytes)?;
        columns(f, "us")?;
        row(f, "a hello made", &self.saying, 1.0)?;
        row(f, "a hello taken in", &self.hearing, 1.0)
    }
}
