//! Many sites that reach each other by hubs: the memory of each, and what happens when a hub dies.

use std::collections::BTreeMap;
use std::fmt;
use std::time::{Duration, Instant};

use outwork_engine::{Rng, Time};
use outwork_telemetry::{Histogram, Latency};
use serde::Serialize;

use super::{BenchError, Counted, columns, row, within};
use crate::engine::policy::LaneId;
use crate::engine::site::SiteId;
use crate::engine::world::{self, HUBS, Line, SPOKES, World};
use crate::engine::{Engine, Event};

/// What is asked for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Options {
    /// Sites beside the two hubs.
    pub sites: u32,
    /// Uplinks of each.
    pub uplinks: u32,
    /// All of it follows from it.
    pub seed: u64,
}

/// What came of it.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Report {
    /// `simulation`.
    pub kind: &'static str,
    /// What was measured.
    pub measured: &'static str,
    /// Sites beside the two hubs.
    pub sites: u32,
    /// Paths of all sites and hubs.
    pub paths: usize,
    /// Seconds that were simulated.
    pub simulated_seconds: f64,
    /// Seconds that it took.
    pub seconds: f64,
    /// Hellos of a site in a second, in the mean.
    pub hellos_per_site_and_second: f64,
    /// Octets of a site's engine at the end, in the mean.
    pub bytes_per_site: Option<u64>,
    /// Octets of a hub's engine, for each site that it knows.
    pub hub_bytes_per_site: Option<u64>,
    /// Calls that went by the hub that died.
    pub calls_by_hub: u64,
    /// Those that went by the other one in the end.
    pub moved: u64,
    /// Until they did, in simulated time.
    pub convergence: Latency,
    /// Datagrams that were lost meanwhile, of ten a second and call.
    pub lost: u64,
}

const MEASURED: &str = "engines alone, in simulated time: each site calls the next one by one of two hubs, one hub dies; memory is what engines give back when they are let go of, after \
    all that; tunnels, sockets and tables that workers hold are not among it";

const LINE: Line = Line { jitter: Duration::from_millis(5), ..Line::CLEAN };
const EVERY: Duration = Duration::from_millis(100);

/// Measures.
///
/// # Errors
/// When an option is out of bounds.
pub fn run(options: &Options, counted: Counted) -> Result<Report, BenchError> {
    within("sites", options.sites, 5..=u64::from(SPOKES))?;
    within("uplinks", options.uplinks, 1..=4)?;
    let begun = Instant::now();
    let networks = world::hubs_and_spokes(options.sites, options.uplinks);
    let mut world = World::new(&networks, LINE, &mut Rng::new(options.seed))?;
    drop(networks);
    let pairs = world::ring(options.sites);
    world.talk(&pairs, Duration::from_secs(10), EVERY);
    let by = |world: &World, hub: SiteId| -> Vec<(SiteId, SiteId)> {
        let goes = |pair: &&(SiteId, SiteId)| world.way(**pair).is_some_and(|way| way.via == Some(hub));
        pairs.iter().filter(goes).copied().collect()
    };
    let [one, other] = HUBS;
    let dies = if by(&world, one).len() >= by(&world, other).len() { one } else { other };
    let affected = by(&world, dies);
    world.take_events();
    world.live(dies, false);
    let (cut, first) = (world.now(), world.next_number());
    world.talk(&pairs, Duration::from_secs(3), EVERY);
    world.run(EVERY);
    let events = world.take_events();
    let convergence = Histogram::default();
    let switches = switches(&world, &events, dies);
    let after = affected.iter().filter_map(|pair| switches.get(pair)).map(|at| at.since(cut));
    after.for_each(|after| convergence.record(after));
    let stay = by(&world, dies);
    let (lost, now, hellos) = (world.missing(first), world.now().since(Time::ZERO).as_secs_f64(), world.hellos());
    let engines = world.into_engines();
    let paths = engines.iter().map(|(_, engine)| engine.paths().count()).sum();
    let (hubs, spokes): (Vec<_>, Vec<_>) = engines.into_iter().partition(|(id, _)| HUBS.contains(id));
    let each = |octets: u64, count: u64| octets / count.max(1);
    let sites = u64::from(options.sites);
    Ok(Report {
        kind: "simulation",
        measured: MEASURED,
        sites: options.sites,
        paths,
        simulated_seconds: now,
        seconds: begun.elapsed().as_secs_f64(),
        hellos_per_site_and_second: hellos as f64 / now.max(f64::EPSILON) / sites as f64,
        bytes_per_site: given_back(spokes, counted).map(|octets| each(octets, sites)),
        hub_bytes_per_site: given_back(hubs, counted).map(|octets| each(octets, 2 * sites)),
        calls_by_hub: affected.len() as u64,
        moved: (affected.len() - affected.iter().filter(|pair| stay.contains(pair)).count()) as u64,
        convergence: Latency::of(&convergence),
        lost,
    })
}

/// When the calls of each pair first went by something else than a hub that died.
fn switches(world: &World, events: &[(Time, SiteId, Event)], dies: SiteId) -> BTreeMap<(SiteId, SiteId), Time> {
    let mut first = BTreeMap::new();
    for (at, from, event) in events {
        let Event::Switch { site, lane: LaneId(1), to: Some(to), .. } = event else { continue };
        if world.key(*from, *to).is_some_and(|key| key.via != Some(dies)) {
            first.entry((*from, *site)).or_insert(*at);
        }
    }
    first
}

/// Octets that engines give back to the allocator when they are let go of.
fn given_back(engines: Vec<(SiteId, Engine)>, counted: Counted) -> Option<u64> {
    let (_, before) = counted()?;
    drop(engines);
    let (_, after) = counted()?;
    Some(after.saturating_sub(before))
}

impl Report {
    /// What is not as it should be.
    pub fn hint(&self) -> Option<String> {
        let stay = self.calls_by_hub - self.moved;
        (stay > 0).then(|| format!("{stay} calls go by a hub that is dead"))
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Report { sites, paths, simulated_seconds, seconds, .. } = self;
        writeln!(f, "simulation: {sites} sites, two hubs, {paths} paths, {simulated_seconds:.1} s in {seconds:.1} s")?;
        writeln!(f, "  {}", self.measured)?;
        for (name, octets) in [("octets of a site", self.bytes_per_site), ("of a hub, a site", self.hub_bytes_per_site)]
        {
            if let Some(octets) = octets {
                writeln!(f, "  {name:<24} {octets:>10}")?;
            }
        }
        writeln!(f, "  hellos/s of a site       {:>10.1}", self.hellos_per_site_and_second)?;
        writeln!(f, "  calls by the dead hub    {:>10}  of which {} moved", self.calls_by_hub, self.moved)?;
        writeln!(f, "  datagrams lost           {:>10}", self.lost)?;
        columns(f, "ms, simulated")?;
        row(f, "until calls moved", &self.convergence, 1e3)
    }
}
