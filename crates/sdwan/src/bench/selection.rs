//! The path of a flow, of tables as large as wanted, and making them anew.

use std::fmt;
use std::hint::black_box;
use std::sync::Arc;
use std::time::{Duration, Instant};

use arc_swap::ArcSwap;
use outwork_engine::{Rng, Time};
use outwork_telemetry::{Histogram, Latency};
use serde::Serialize;

use super::{BenchError, Counted, allocated, columns, on_threads, row, slower, within};
use crate::engine::class::{Class, ClassId};
use crate::engine::flow::FlowTable;
use crate::engine::hello::{Claim, Hello};
use crate::engine::policy::{Flow, Match, Policy, PolicyError, PolicyId, Strategy};
use crate::engine::site::{PATHS_A_SITE, PathId, Reach, SiteId};
use crate::engine::table::Table;
use crate::engine::world::{self, SPOKES};
use crate::engine::{Engine, Input, Network, Output};

/// What is asked for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Options {
    /// Sites, each with one uplink.
    pub sites: u32,
    /// Paths to all of them: as many for each site as this site has uplinks.
    pub paths: u32,
    /// Policies.
    pub policies: u32,
    /// Selections of each thread.
    pub iterations: u64,
    /// Threads.
    pub concurrency: u32,
    /// What is done by chance follows from it.
    pub seed: u64,
}

/// What came of it.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Report {
    /// `path-selection`.
    pub kind: &'static str,
    /// What was measured.
    pub measured: &'static str,
    /// Sites.
    pub sites: u32,
    /// Paths that there were.
    pub paths: usize,
    /// Policies.
    pub policies: u32,
    /// Threads.
    pub concurrency: u32,
    /// Seconds until the last thread was through.
    pub seconds: f64,
    /// Selections of all threads in one of them.
    pub selections_per_second: f64,
    /// Each selection, with one reading of the clock.
    pub selection: Latency,
    /// A reading of the clock, and nothing else.
    pub clock: Latency,
    /// Flows for which no path was found.
    pub without_path: u64,
    /// Octets that were allocated by selections.
    pub allocated_bytes: Option<u64>,
    /// One path goes down, or comes back: until there is another table.
    pub rebuild_of_one: Latency,
    /// All paths by one uplink go down.
    pub rebuild_of_uplink: Latency,
    /// All is configured anew.
    pub rebuild_of_all: Latency,
}

const MEASURED: &str = "what a worker does for a flow: the table in force, policy, class, stickiness, path; each one by itself, between two readings of the clock, which are in the figure; \
    flows are random and few of them follow their like. A rebuild is from the input to the table that workers read";

/// The number of the site that the table is of.
const OWN: SiteId = SiteId(65_000);
const NOW: Time = Time::from_secs(100);
/// Random flows.
const FLOWS: usize = 1 << 14;
/// Flows that a worker knows.
const KNOWN: usize = 1 << 16;

impl Options {
    fn check(&self) -> Result<u32, BenchError> {
        within("sites", self.sites, 1..=u64::from(SPOKES))?;
        within("policies", self.policies, 0..=256)?;
        within("iterations", self.iterations, 1..=1_000_000_000)?;
        within("concurrency", self.concurrency, 1..=1024)?;
        let most = u64::from(self.sites) * PATHS_A_SITE as u64;
        within("paths", self.paths, u64::from(self.sites)..=most)?;
        Ok(self.paths / self.sites)
    }
}

/// The policies differ in what they look at.
fn policy(number: u32, sites: u32) -> Policy {
    let port = 1024 + number as u16 * 64;
    let ports = vec![port..=port + 63];
    let far = world::site(SiteId(number * 37 % sites + 1), 0, Reach::Public);
    let matches = match number % 4 {
        0 => Match { destinations: far.subnets, ..Match::default() },
        1 => Match { protocols: vec![17], destination_ports: ports, ..Match::default() },
        2 => Match { protocols: vec![6], destination_ports: ports, destinations: far.subnets, ..Match::default() },
        _ => Match { dscp: vec![(number % 64) as u8], source_ports: ports, ..Match::default() },
    };
    let strategies = [Strategy::Best, Strategy::Weighted, Strategy::Duplicate];
    let strategy = strategies.into_iter().nth(number as usize % 3).unwrap_or(Strategy::Best);
    Policy { id: PolicyId(number), priority: number, matches, class: ClassId((number % 4) as u8), strategy, mark: None }
}

fn network(options: &Options, uplinks: u32) -> Network {
    let sites = (1..=options.sites).map(|id| world::site(SiteId(id), 1, Reach::Public)).collect();
    Network {
        classes: vec![Class::VOICE, Class::VIDEO, Class::TRANSACTIONAL, Class::BULK],
        policies: (0..options.policies).map(|number| policy(number, options.sites)).collect(),
        ..world::network(world::site(OWN, uplinks, Reach::Public), sites)
    }
}

/// A hello that nothing is wrong with, and after which nothing is to be heard for long.
fn hello(sequence: u32) -> Hello {
    Hello {
        sequence,
        count: 1,
        stamp: NOW.as_nanos(),
        echo: None,
        claim: Claim::Uses,
        hurry: false,
        late: 0,
        sent: sequence,
        expected: 0,
        got: 0,
        pace: 60_000,
        want: 60_000,
    }
}

/// The last table that an engine has made; all else that it says is dropped.
fn newest(engine: &mut Engine) -> Option<Arc<Table>> {
    let mut newest = None;
    while let Some(output) = engine.poll_output() {
        if let Output::Table(table) = output {
            newest = Some(table);
        }
    }
    newest
}

/// An engine whose paths are all up, and how many hellos each has heard.
struct Ready {
    engine: Engine,
    paths: Vec<PathId>,
    sequence: u32,
}

impl Ready {
    fn new(network: &Network, seed: u64) -> Result<Ready, PolicyError> {
        let engine = Engine::new(network, seed, NOW)?;
        let paths = engine.paths().map(|(id, ..)| id).collect();
        let mut ready = Ready { engine, paths, sequence: 0 };
        ready.hear_of_all();
        Ok(ready)
    }

    fn hear_of_all(&mut self) {
        self.sequence += 1;
        for path in &self.paths {
            self.engine.handle_input(NOW, Input::Hello(*path, hello(self.sequence)));
        }
    }

    /// Records how long it takes until there is another table, if there is one.
    fn rebuild(&mut self, times: &Histogram, input: Input) {
        let begun = Instant::now();
        self.engine.handle_input(NOW, input);
        if newest(&mut self.engine).is_some() {
            times.record(begun.elapsed());
        }
    }
}

fn flows(sites: u32, rng: &mut Rng) -> Vec<Flow> {
    let flow = |rng: &mut Rng| {
        let to = SiteId(1 + rng.below(u64::from(sites)) as u32);
        Flow {
            protocol: if rng.chance(0.5) { 6 } else { 17 },
            source_port: rng.next_u32() as u16,
            destination_port: rng.below(8192) as u16,
            dscp: rng.below(64) as u8,
            ..world::call(OWN, to)
        }
    };
    (0..FLOWS).map(|_| flow(rng)).collect()
}

/// What one thread has done.
struct Done {
    took: Duration,
    without_path: u64,
    allocated: Option<u64>,
}

/// Measures.
///
/// # Errors
/// When an option is out of bounds, or there are no threads.
pub fn run(options: &Options, counted: Counted) -> Result<Report, BenchError> {
    let uplinks = options.check()?;
    let network = network(options, uplinks);
    let mut ready = Ready::new(&network, options.seed)?;
    let table = newest(&mut ready.engine).ok_or(BenchError::NoPath)?;
    let flows = flows(options.sites, &mut Rng::new(options.seed));
    let (shared, times, clock) = (ArcSwap::new(table), Histogram::default(), Histogram::default());
    let work = |number: u32| -> Result<Done, BenchError> {
        Ok(select(options, number, (&shared, &flows), (&times, &clock), counted))
    };
    let done = on_threads(options.concurrency, work)?;
    let seconds = done.iter().map(|done| done.took.as_secs_f64()).fold(f64::EPSILON, f64::max);
    let [one, uplink, all] = rebuilds(&mut ready, &network)?;
    Ok(Report {
        kind: "path-selection",
        measured: MEASURED,
        sites: options.sites,
        paths: ready.paths.len(),
        policies: options.policies,
        concurrency: options.concurrency,
        seconds,
        selections_per_second: (options.iterations * u64::from(options.concurrency)) as f64 / seconds,
        selection: Latency::of(&times),
        clock: Latency::of(&clock),
        without_path: done.iter().map(|done| done.without_path).sum(),
        allocated_bytes: done.iter().map(|done| done.allocated).sum(),
        rebuild_of_one: Latency::of(&one),
        rebuild_of_uplink: Latency::of(&uplink),
        rebuild_of_all: Latency::of(&all),
    })
}

fn select(
    options: &Options,
    number: u32,
    (shared, flows): (&ArcSwap<Table>, &[Flow]),
    (times, clock): (&Histogram, &Histogram),
    counted: Counted,
) -> Done {
    let mut known = FlowTable::new(KNOWN);
    let mut without_path = 0;
    // Threads begin in different places.
    let start = flows.len() / options.concurrency.max(1) as usize * number as usize;
    let mut round = flows.iter().cycle().skip(start);
    let mut one = |times: Option<&Histogram>| {
        let Some(flow) = round.next() else { return };
        let begun = Instant::now();
        let table = shared.load();
        let found = table.look_up(flow).and_then(|found| known.route(NOW, flow.hash(options.seed), &found));
        let took = begun.elapsed();
        without_path += u64::from(black_box(found).is_none());
        if let Some(times) = times {
            times.record(took);
        }
    };
    // What is read for the first time is not what a worker has that is at work.
    (0..flows.len() as u64).for_each(|_| one(None));
    let (before, begun) = (counted(), Instant::now());
    (0..options.iterations).for_each(|_| one(Some(times)));
    let took = begun.elapsed();
    let allocated = before.zip(counted()).map(|(before, after)| after.0 - before.0);
    for _ in 0..options.iterations.min(100_000) {
        let begun = Instant::now();
        clock.record(begun.elapsed());
    }
    Done { took, without_path, allocated }
}

/// Of one path, of one uplink, of all.
fn rebuilds(ready: &mut Ready, network: &Network) -> Result<[Histogram; 3], BenchError> {
    let [one, uplink, all] = <[Histogram; 3]>::default();
    let some: Vec<PathId> = ready.paths.iter().step_by(ready.paths.len().div_ceil(50).max(1)).copied().collect();
    for path in some {
        ready.sequence += 1;
        ready.rebuild(&one, Input::Hello(path, Hello { claim: Claim::Deaf, ..hello(ready.sequence) }));
        ready.sequence += 1;
        ready.rebuild(&one, Input::Hello(path, hello(ready.sequence)));
    }
    let own = network.own.uplinks.first().map(|uplink| uplink.id);
    for id in own.into_iter().cycle().take(10) {
        ready.hear_of_all();
        newest(&mut ready.engine);
        ready.rebuild(&uplink, Input::Carrier(id, false));
        ready.engine.handle_input(NOW, Input::Carrier(id, true));
    }
    for _ in 0..10 {
        let begun = Instant::now();
        ready.engine.configure(network, NOW)?;
        if newest(&mut ready.engine).is_some() {
            all.record(begun.elapsed());
        }
    }
    Ok([one, uplink, all])
}

impl Report {
    /// What is wrong where a path is to be chosen within so many microseconds, 99 % of them.
    pub fn slower_than(&self, at_most_us: u32) -> Option<String> {
        slower("a path is chosen", &self.selection, at_most_us)
    }

    /// What is not as it should be.
    pub fn hint(&self) -> Option<String> {
        (self.without_path > 0).then(|| format!("{} flows found no path, and all of them should", self.without_path))
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Report { sites, paths, policies, concurrency, .. } = self;
        writeln!(f, "path selection: {sites} sites, {paths} paths, {policies} policies, {concurrency} threads")?;
        writeln!(f, "  {}", self.measured)?;
        writeln!(f, "  selections/s             {:>10.0}", self.selections_per_second)?;
        allocated(f, self.allocated_bytes)?;
        columns(f, "us")?;
        row(f, "selection", &self.selection, 1.0)?;
        row(f, "the clock alone", &self.clock, 1.0)?;
        columns(f, "ms")?;
        row(f, "rebuild, one path", &self.rebuild_of_one, 1e3)?;
        row(f, "rebuild, one uplink", &self.rebuild_of_uplink, 1e3)?;
        row(f, "rebuild, all", &self.rebuild_of_all, 1e3)
    }
}
