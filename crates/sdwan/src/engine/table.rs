//! Where a flow goes, precomputed: an immutable value that workers read without a lock.
//!
//! For each site and lane a [`Choice`]; a change of one site makes that site's entry new, and shares the rest with the table before.

use std::sync::Arc;

use super::damp::Fitness;
use super::policy::{Flow, LaneId, Matcher, PolicyId, Ruling, Strategy};
use super::prefix::Addresses;
use super::site::{PATHS_A_SITE, PathId, SiteId};

/// How packets of a lane are put on paths.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Mode {
    /// On the first.
    First,
    /// By the flow's hash and the paths' weights.
    Weighted,
    /// On the first two.
    Duplicate,
    /// On the first, and what mends it on the second.
    Fec {
        /// Packets of a group.
        data: u8,
        /// Packets that mend it.
        parity: u8,
    },
}

impl From<&Strategy> for Mode {
    fn from(strategy: &Strategy) -> Mode {
        match strategy {
            Strategy::Best | Strategy::Ordered(_) => Mode::First,
            Strategy::Weighted => Mode::Weighted,
            Strategy::Duplicate => Mode::Duplicate,
            Strategy::Fec { data, parity } => Mode::Fec { data: *data, parity: *parity },
        }
    }
}

/// The paths of a lane to a site, by their places in the site's list, the preferred first.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Choice {
    order: [u8; PATHS_A_SITE],
    weights: [u8; PATHS_A_SITE],
    /// So many keep the class's limits,
    good: u8,
    /// and so many carry.
    usable: u8,
    mode: Mode,
}

impl Choice {
    /// From places, fitness and weights in the order of preference; what is out is left out.
    pub fn new(mode: Mode, order: impl IntoIterator<Item = (u8, Fitness, u8)>) -> Choice {
        let mut choice = Choice { order: [0; PATHS_A_SITE], weights: [0; PATHS_A_SITE], good: 0, usable: 0, mode };
        let usable = order.into_iter().filter(|(_, fitness, _)| *fitness < Fitness::Out);
        for ((place, fitness, weight), slot) in usable.zip(0..PATHS_A_SITE) {
            (choice.order[slot], choice.weights[slot]) = (place, weight);
            choice.good += u8::from(fitness == Fitness::Good && choice.good == choice.usable);
            choice.usable += 1;
        }
        choice
    }

    /// Places of paths that will do: those that keep the limits, or all that carry if none does.
    fn fit(&self) -> &[u8] {
        let fit = if self.good > 0 { self.good } else { self.usable };
        self.order.get(..usize::from(fit)).unwrap_or(&self.order)
    }

    /// The paths that traffic is on.
    pub fn carrying<'a>(&'a self, paths: &'a [PathId]) -> impl Iterator<Item = PathId> + 'a {
        let count = match self.mode {
            Mode::First => usize::from(self.usable).min(1),
            Mode::Weighted => self.fit().len(),
            Mode::Duplicate | Mode::Fec { .. } => usize::from(self.usable).min(2),
        };
        self.order.iter().take(count).filter_map(|place| paths.get(usize::from(*place)).copied())
    }

    /// The second path of what goes by two.
    pub fn second(&self, paths: &[PathId]) -> Option<PathId> {
        self.carrying(paths).nth(1)
    }

    /// Whether another choice sends flows where this one does.
    pub fn is_alike(&self, other: &Choice) -> bool {
        let set = |choice: &Choice, count: u8| {
            choice.order.iter().take(usize::from(count)).fold(0u16, |set, one| set | 1 << (one % 16))
        };
        let firsts = if matches!(self.mode, Mode::Duplicate | Mode::Fec { .. }) { 2 } else { 1 };
        let weight = |choice: &Choice| {
            let mut all: Vec<_> = choice.order.iter().zip(choice.weights).take(usize::from(choice.usable)).collect();
            all.sort_unstable();
            all.into_iter().map(|(_, weight)| weight).collect::<Vec<_>>()
        };
        self.mode == other.mode
            && (self.good, self.usable) == (other.good, other.usable)
            && self.order[..firsts.min(usize::from(self.usable))] == other.order[..firsts.min(usize::from(self.usable))]
            && set(self, self.good) == set(other, other.good)
            && set(self, self.usable) == set(other, other.usable)
            && (self.mode != Mode::Weighted || weight(self) == weight(other))
    }
}

/// What the table has of a site.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Entry {
    /// Whose it is.
    pub site: SiteId,
    /// Its paths.
    pub paths: Box<[PathId]>,
    /// By lane.
    pub choices: Box<[Choice]>,
}

impl Entry {
    /// Octets that it takes.
    pub fn memory(&self) -> usize {
        size_of::<Entry>() + self.paths.len() * size_of::<PathId>() + self.choices.len() * size_of::<Choice>()
    }
}

/// Where each packet of a flow goes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Pick {
    /// The path.
    pub path: PathId,
    /// A second one: for the same packet again, or for what mends.
    pub second: Option<PathId>,
    /// What the second one is for.
    pub mode: Mode,
}

/// What is known of a flow's destination.
#[derive(Debug, Clone, Copy)]
pub struct Found<'a> {
    /// The site that it lies in.
    pub site: SiteId,
    /// The policy that it falls under.
    pub policy: Option<PolicyId>,
    /// Its lane.
    pub lane: LaneId,
    /// The traffic class that its packets are given; none, they keep theirs.
    pub mark: Option<u8>,
    paths: &'a [PathId],
    choice: &'a Choice,
}

impl Found<'_> {
    fn path(&self, place: u8) -> Option<PathId> {
        self.paths.get(usize::from(place)).copied()
    }

    /// Whether a flow that is on `path` may stay: it carries, and keeps the limits unless none does.
    pub fn keeps(&self, path: PathId) -> bool {
        self.choice.fit().iter().any(|place| self.path(*place) == Some(path))
    }

    /// Where a flow with this hash goes; none when no path carries.
    pub fn pick(&self, hash: u64) -> Option<Pick> {
        let fit = self.choice.fit();
        let place = match self.choice.mode {
            Mode::Weighted => {
                *fit.iter()
                    .zip(self.choice.weights)
                    .max_by(|a, b| {
                        let score = |(place, weight): &(&u8, u8)| rendezvous(hash, self.path(**place), *weight);
                        score(a).total_cmp(&score(b))
                    })?
                    .0
            }
            _ => *fit.first()?,
        };
        self.with_second(self.path(place)?)
    }

    /// Paths that carry, the best first.
    pub fn usable(&self) -> impl Iterator<Item = PathId> {
        let usable = self.choice.order.iter().take(usize::from(self.choice.usable));
        usable.filter_map(|place| self.path(*place))
    }

    /// The pick of a flow that stays on `path`. What goes twice has no place to stay: whoever gets it sees to the order.
    pub fn stay(&self, path: PathId) -> Option<Pick> {
        if self.choice.mode == Mode::Duplicate { self.pick(0) } else { self.with_second(path) }
    }

    fn with_second(&self, path: PathId) -> Option<Pick> {
        let mode = self.choice.mode;
        let second = match mode {
            Mode::First | Mode::Weighted => None,
            Mode::Duplicate | Mode::Fec { .. } => self.usable().find(|other| *other != path),
        };
        Some(Pick { path, second, mode })
    }
}

/// Highest random weight (Thaler and Ravishankar, 1998), each path as likely as its weight: -w / ln(u).
fn rendezvous(hash: u64, path: Option<PathId>, weight: u8) -> f64 {
    let mixed =
        outwork_balance::hash::mix(hash ^ outwork_balance::hash::mix(path.map_or(0, |path| u64::from(path.0) + 1)));
    let unit = ((mixed >> 11) as f64 + 0.5) / (1u64 << 53) as f64;
    -f64::from(weight.max(1)) / unit.ln()
}

/// Where all flows go.
#[derive(Debug, Clone)]
pub struct Table {
    /// Counts tables.
    pub epoch: u64,
    matcher: Arc<Matcher>,
    /// The place in `entries`.
    routes: Arc<Addresses<Option<u32>>>,
    entries: Box<[Arc<Entry>]>,
}

impl Table {
    /// A table of its parts.
    pub fn new(
        epoch: u64,
        matcher: Arc<Matcher>,
        routes: Arc<Addresses<Option<u32>>>,
        entries: Box<[Arc<Entry>]>,
    ) -> Table {
        Table { epoch, matcher, routes, entries }
    }

    /// What a flow's destination and policy say; none when it lies in no site's subnets. No allocation, no lock.
    pub fn look_up(&self, flow: &Flow) -> Option<Found<'_>> {
        let entry = self.entries.get((*self.routes.at(flow.destination))? as usize)?;
        let Ruling { policy, lane, mark } = self.matcher.decide(flow);
        let choice = entry.choices.get(usize::from(lane.0))?;
        Some(Found { site: entry.site, policy, lane, mark, paths: &entry.paths, choice })
    }

    /// The policies.
    pub fn matcher(&self) -> &Matcher {
        &self.matcher
    }
}
