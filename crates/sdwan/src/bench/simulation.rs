//! Many sites that reach each other by hubs: the memory of each, what happens when a hub dies, and what does not when all of them are told everything anew.

use std::collections::BTreeMap;
use std::fmt;
use std::time::{Duration, Instant};

use outwork_engine::{Rng, Time};
use outwork_telemetry::{Histogram, Latency};
use serde::Serialize;

use super::{BenchError, Counted, columns, ends, row, within};
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
    /// Octets of a tunnel with one session, its handshakes, keys and windows: each path has one beside what the engine knows of it.
    pub bytes_per_tunnel: Option<u64>,
    /// Paths of a site, in the mean, and of a hub to each site.
    pub paths_per_site: u64,
    /// See above.
    pub hub_paths_per_site: u64,
    /// Calls that went by the hub that died.
    pub calls_by_hub: u64,
    /// Those that went by the other one in the end.
    pub moved: u64,
    /// Until they did, in simulated time.
    pub convergence: Latency,
    /// Datagrams that were lost meanwhile, of ten a second and call.
    pub lost: u64,
    /// Datagrams that were lost after that, while all sites that live were configured anew, one after the other: as by a controller that has begun again.
    pub lost_by_restart: u64,
    /// Calls that took another path for that.
    pub moved_by_restart: u64,
}

const MEASURED: &str = "engines alone, in simulated time: each site calls the next one by one of two hubs, one hub dies, and then all others are configured anew; memory is what engines give back when they are let go of, after \
    all that, and beside it what a tunnel with a session does; what workers, sockets and the kernel hold is not among it";

const LINE: Line = Line { jitter: Duration::from_millis(5), ..Line::CLEAN };
/// Tunnels whose memory is measured.
const TUNNELS: u16 = 500;
const EVERY: Duration = Duration::from_millis(100);
/// So many parts of all sites are told everything anew, one after the other.
const PARTS: usize = 10;

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
    let lost = world.missing(first);
    let (lost_by_restart, moved_by_restart) = restart(&mut world, options, dies, &pairs)?;
    let (now, hellos) = (world.now().since(Time::ZERO).as_secs_f64(), world.hellos());
    let engines = world.into_engines();
    let (hubs, spokes): (Vec<_>, Vec<_>) = engines.into_iter().partition(|(id, _)| HUBS.contains(id));
    let count = |all: &[(SiteId, Engine)]| all.iter().map(|(_, engine)| engine.paths().count()).sum::<usize>();
    let (paths_of_spokes, paths_of_hubs) = (count(&spokes), count(&hubs));
    let each = |octets: u64, count: u64| octets / count.max(1);
    let sites = u64::from(options.sites);
    Ok(Report {
        kind: "simulation",
        measured: MEASURED,
        sites: options.sites,
        paths: paths_of_spokes + paths_of_hubs,
        simulated_seconds: now,
        seconds: begun.elapsed().as_secs_f64(),
        hellos_per_site_and_second: hellos as f64 / now.max(f64::EPSILON) / sites as f64,
        bytes_per_site: given_back(spokes, counted).map(|octets| each(octets, sites)),
        hub_bytes_per_site: given_back(hubs, counted).map(|octets| each(octets, 2 * sites)),
        bytes_per_tunnel: ends::octets(TUNNELS, counted)?,
        paths_per_site: each(paths_of_spokes as u64, sites),
        hub_paths_per_site: each(paths_of_hubs as u64, 2 * sites),
        calls_by_hub: affected.len() as u64,
        moved: (affected.len() - affected.iter().filter(|pair| stay.contains(pair)).count()) as u64,
        convergence: Latency::of(&convergence),
        lost,
        lost_by_restart,
        moved_by_restart,
    })
}

/// Has all sites that live be configured anew while they call each other. Datagrams that were lost, and calls that took another path.
fn restart(
    world: &mut World,
    options: &Options,
    dead: SiteId,
    pairs: &[(SiteId, SiteId)],
) -> Result<(u64, u64), BenchError> {
    let networks = world::hubs_and_spokes(options.sites, options.uplinks);
    world.take_events();
    let first = world.next_number();
    for part in networks.chunks(networks.len().div_ceil(PARTS).max(1)) {
        for network in part.iter().filter(|network| network.own.id != dead) {
            world.configure(network)?;
        }
        world.talk(pairs, EVERY, EVERY);
    }
    world.talk(pairs, Duration::from_secs(1), EVERY);
    world.run(EVERY);
    let is_moved = |event: &Event| matches!(event, Event::Switch { lane: LaneId(1), .. });
    let moved = world.take_events().iter().filter(|(_, site, event)| *site != dead && is_moved(event)).count();
    Ok((world.missing(first), moved as u64))
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
        let (stay, lost) = (self.calls_by_hub - self.moved, self.lost_by_restart);
        if stay > 0 {
            return Some(format!("{stay} calls go by a hub that is dead"));
        }
        (lost > 0).then(|| format!("{lost} datagrams were lost while sites were configured anew"))
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Report { sites, paths, simulated_seconds, seconds, .. } = self;
        writeln!(f, "simulation: {sites} sites, two hubs, {paths} paths, {simulated_seconds:.1} s in {seconds:.1} s")?;
        writeln!(f, "  {}", self.measured)?;
        let (tunnel, hub) = (self.bytes_per_tunnel, self.hub_bytes_per_site);
        for (name, octets) in
            [("octets of a site", self.bytes_per_site), ("of a hub, a site", hub), ("of a tunnel", tunnel)]
        {
            if let Some(octets) = octets {
                writeln!(f, "  {name:<24} {octets:>10}")?;
            }
        }
        writeln!(f, "  hellos/s of a site       {:>10.1}", self.hellos_per_site_and_second)?;
        writeln!(f, "  calls by the dead hub    {:>10}  of which {} moved", self.calls_by_hub, self.moved)?;
        writeln!(f, "  datagrams lost           {:>10}", self.lost)?;
        let (lost, moved) = (self.lost_by_restart, self.moved_by_restart);
        writeln!(f, "  lost by a restart        {lost:>10}  and {moved} calls moved")?;
        columns(f, "ms, simulated")?;
        row(f, "until calls moved", &self.convergence, 1e3)
    }
}
