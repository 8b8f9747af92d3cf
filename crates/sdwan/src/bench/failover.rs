//! From a failure to another path, in simulated time.

use std::fmt;
use std::time::Duration;

use outwork_engine::{Rng, Time};
use outwork_telemetry::{Histogram, Latency};
use serde::Serialize;

use super::{BenchError, columns, row, within};
use crate::engine::liveness::State;
use crate::engine::policy::LaneId;
use crate::engine::site::{PathKey, SiteId, UplinkId};
use crate::engine::world::{self, Line, World};
use crate::engine::{Event, Input};

/// What is asked for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Options {
    /// Runs of each failure.
    pub iterations: u64,
    /// Uplinks of each of the two sites.
    pub uplinks: u32,
    /// Each run follows from it and from its number.
    pub seed: u64,
}

/// What fails.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Failure {
    /// The kernel says that there is no carrier.
    Cable,
    /// Nothing passes any more, in either direction, and nobody says so.
    Silence,
    /// The same, on the way out alone.
    OneWay,
    /// A third is lost.
    BrownOut,
    /// What is longer than [`NARROW`] is lost, and nobody says so.
    Mtu,
}

impl Failure {
    const ALL: [Failure; 5] = [Failure::Cable, Failure::Silence, Failure::OneWay, Failure::BrownOut, Failure::Mtu];

    fn word(self) -> &'static str {
        match self {
            Failure::Cable => "cable",
            Failure::Silence => "silence",
            Failure::OneWay => "one-way",
            Failure::BrownOut => "brown-out",
            Failure::Mtu => "mtu",
        }
    }

    /// How the uplink's line is from now on: outward and inward.
    fn lines(self) -> (Line, Line) {
        let (brown, narrow) = (Line { loss: 0.3, ..LINE }, Line { longest: NARROW, ..LINE });
        match self {
            Failure::Cable | Failure::Silence => (Line::DEAD, Line::DEAD),
            Failure::OneWay => (Line::DEAD, LINE),
            Failure::BrownOut => (brown, brown),
            Failure::Mtu => (narrow, narrow),
        }
    }

    /// How long it is looked at.
    fn lasts(self) -> Duration {
        match self {
            Failure::BrownOut | Failure::Mtu => Duration::from_secs(5),
            Failure::Cable | Failure::Silence | Failure::OneWay => Duration::from_secs(1),
        }
    }
}

/// One failure, in all its runs.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Case {
    /// `cable`, `silence`, `one-way`, `brown-out` or `mtu`.
    pub failure: &'static str,
    /// Runs.
    pub runs: u64,
    /// Those after which traffic was on another uplink; of `mtu`, or as long as the line takes.
    pub left: u64,
    /// From the failure until an end took a path for dead; of `mtu`, or knew that it takes less.
    pub detection: Latency,
    /// From the failure until new packets took another uplink; of `mtu`, or were as long as the line takes.
    pub switching: Latency,
    /// Datagrams that were lost, one in a millisecond, as time.
    pub outage: Latency,
}

/// What came of it. Times are of the simulation.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Report {
    /// `failover`.
    pub kind: &'static str,
    /// What was measured.
    pub measured: &'static str,
    /// `simulated`.
    pub time: &'static str,
    /// Uplinks of each site.
    pub uplinks: u32,
    /// Failures.
    pub cases: Vec<Case>,
}

const MEASURED: &str = "two engines over simulated lines of 20 ms and up to 10 ms of jitter; times are of the simulation and not of this machine: kernel, sockets and threads are not among \
    them. A datagram is sent every millisecond; of the case `mtu` each has 1,400 octets, as long as the path is not known to take less";

/// Two of them are between the sites.
const LINE: Line = Line { jitter: Duration::from_millis(5), ..Line::CLEAN };
const CALL: (SiteId, SiteId) = (SiteId(1), SiteId(2));
/// Octets of the longest packet that a line takes that was narrowed, and of the datagrams that it is to take.
const NARROW: u16 = 1300;
const LONG: u16 = 1400;
const MILLISECOND: Duration = Duration::from_millis(1);

/// What came of one run: times since the failure, and how many datagrams were lost.
struct Outcome {
    detection: Option<Duration>,
    switching: Option<Duration>,
    lost: u64,
}

/// Measures.
///
/// # Errors
/// When an option is out of bounds.
pub fn run(options: &Options) -> Result<Report, BenchError> {
    within("iterations", options.iterations, 1..=100_000)?;
    within("uplinks", options.uplinks, 2..=4)?;
    let cases = Failure::ALL.into_iter().map(|failure| case(options, failure)).collect::<Result<_, _>>()?;
    Ok(Report { kind: "failover", measured: MEASURED, time: "simulated", uplinks: options.uplinks, cases })
}

fn case(options: &Options, failure: Failure) -> Result<Case, BenchError> {
    let (detection, switching, outage) = (Histogram::default(), Histogram::default(), Histogram::default());
    let mut left = 0;
    for number in 0..options.iterations {
        let mut rng = Rng::new(options.seed.wrapping_add(number));
        let outcome = one(options, failure, &mut rng)?;
        outcome.detection.iter().for_each(|after| detection.record(*after));
        outcome.switching.iter().for_each(|after| switching.record(*after));
        outage.record(MILLISECOND * outcome.lost as u32);
        left += u64::from(outcome.switching.is_some());
    }
    Ok(Case {
        failure: failure.word(),
        runs: options.iterations,
        left,
        detection: Latency::of(&detection),
        switching: Latency::of(&switching),
        outage: Latency::of(&outage),
    })
}

fn one(options: &Options, failure: Failure, rng: &mut Rng) -> Result<Outcome, BenchError> {
    let mut world = World::new(&world::pair(options.uplinks), LINE, rng)?;
    // It comes at any moment between two hellos.
    let quiet = Duration::from_secs(10) + MILLISECOND * rng.below(500) as u32;
    if failure == Failure::Mtu {
        world.lengthen(LONG);
    }
    world.talk(&[CALL], quiet, Duration::from_millis(20));
    let way = world.way(CALL).ok_or(BenchError::NoPath)?;
    let uplink = way.own;
    world.take_events();
    let (outward, inward) = failure.lines();
    world.set(uplink, outward, inward);
    let (cut, first) = (world.now(), world.next_number());
    if failure == Failure::Cable {
        world.input(CALL.0, Input::Carrier(uplink, false));
    }
    world.talk(&[CALL], failure.lasts(), MILLISECOND);
    // What is under way arrives.
    world.run(Duration::from_millis(200));
    let events = world.take_events();
    let is_news = |(_, site, event): &&(Time, SiteId, Event)| match event {
        Event::Path { change, .. } => change.to == State::Down,
        event => narrows(&world, *site, event, &way),
    };
    let down = events.iter().find(is_news);
    let is_over = |(_, site, event): &&(Time, SiteId, Event)| {
        *site == CALL.0 && (leaves(&world, event, uplink) || narrows(&world, *site, event, &way))
    };
    let switch = events.iter().find(is_over);
    let since = |found: Option<&(Time, SiteId, Event)>| found.map(|(at, ..)| at.since(cut));
    Ok(Outcome { detection: since(down), switching: since(switch), lost: world.missing(first) })
}

/// Whether an event is that the path that calls took, as the one who calls has it, takes shorter packets alone, which the line does as well.
fn narrows(world: &World, site: SiteId, event: &Event, way: &PathKey) -> bool {
    let Event::Mtu { path, change } = event else { return false };
    site == CALL.0 && change.to < change.from && change.to <= NARROW && world.key(site, *path).as_ref() == Some(way)
}

/// Whether an event takes calls to another uplink.
fn leaves(world: &World, event: &Event, uplink: UplinkId) -> bool {
    let Event::Switch { lane: LaneId(1), to: Some(to), .. } = event else { return false };
    world.key(CALL.0, *to).is_some_and(|key| key.own != uplink)
}

impl Report {
    /// What is not as it should be.
    pub fn hint(&self) -> Option<String> {
        let stayed = self.cases.iter().find(|case| case.left < case.runs)?;
        Some(format!(
            "after {} of {} failures of kind {} traffic stayed",
            stayed.runs - stayed.left,
            stayed.runs,
            stayed.failure
        ))
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "failover: two sites with {} uplinks each", self.uplinks)?;
        writeln!(f, "  {}", self.measured)?;
        columns(f, "ms, simulated")?;
        for Case { failure, runs, left, detection, switching, outage } in &self.cases {
            writeln!(f, "  {failure}: {left} of {runs} left")?;
            row(f, "  until it is known", detection, 1e3)?;
            row(f, "  until another is taken", switching, 1e3)?;
            row(f, "  datagrams lost", outage, 1e3)?;
        }
        Ok(())
    }
}
