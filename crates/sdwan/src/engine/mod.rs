//! Decides which paths there are, how they fare, and which of them each flow takes. Hellos, counters and time in; hellos, tables and events out.
//!
//! - [`site`]: sites, uplinks, and the paths that follow from them; [`prefix`], who is behind which.
//! - [`hello`]: what both ends of a path tell each other.
//! - [`quality`]: round trip, jitter, loss; [`liveness`], whether it is there at all; [`mtu`], how long packets may be.
//! - [`class`]: what kinds of traffic need; [`policy`], which kind a flow is.
//! - [`damp`]: when traffic changes its path, and why.
//! - [`table`]: where flows go, as workers read it; [`flow`], what keeps them there.
//! - `doubt`: how silence is judged where other paths, and our own lateness, say something about it; `proof`, what the other end's silence proves.
//! - `message`: what goes in and comes out. `decide`: how all of this becomes a table. `memory`: what it takes.
//! - [`world`]: many of these in one process, for simulations.
//!
//! Absent on purpose: clocks, sockets, threads, keys. A hello is only handed in when the tunnel has found it authentic.
#![deny(clippy::disallowed_methods)]

pub mod class;
pub mod damp;
mod decide;
mod doubt;
pub mod flow;
pub mod hello;
pub mod liveness;
mod memory;
mod message;
pub mod mtu;
pub mod policy;
pub mod prefix;
mod proof;
pub mod quality;
pub mod site;
pub mod table;
pub mod world;

#[cfg(test)]
mod tests;

use std::cmp::Reverse;
use std::collections::{BTreeMap, BTreeSet, BinaryHeap, VecDeque};
use std::sync::Arc;
use std::time::Duration;

use class::{CLASSES, Class, ClassId, Verdict};
use damp::{Flaps, Seat};
use hello::Hello;
use liveness::{Cause, Change, Liveness, Measured, State};
pub use message::{Event, Input, Network, Output, Settings, Silence};
use mtu::{MtuChange, PathMtu, Probe};
use outwork_engine::{Rng, Time};
use policy::{Matcher, PolicyError};
use prefix::Addresses;
use proof::History;
use quality::Quality;
use site::{PathId, PathKey, PathSpec, Site, SiteId, UplinkId};
use table::Entry;

/// Events that wait to be taken. Those beyond are lost, and counted.
const EVENTS: usize = 8192;

/// How long paths by a hub wait for others at the beginning.
const FIRST: Duration = Duration::from_secs(1);

/// What a deadline is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Timer {
    /// A hello, or silence.
    Path(PathId),
    /// A look at a site's paths, by its place.
    Site(u32),
}

/// Something that is due: taken by [`Engine::poll_due`].
#[derive(Debug)]
pub struct Due {
    at: Time,
    /// What it is.
    pub timer: Timer,
}

/// One path.
#[derive(Debug)]
struct Path {
    spec: PathSpec,
    /// The place of its site.
    site: u32,
    quality: Quality,
    liveness: Liveness,
    mtu: PathMtu,
    verdicts: [Verdict; CLASSES],
    flaps: Flaps,
    /// What was sent by it, and when.
    sent: History,
    /// When we last sent something by it. Flows stay on paths that new ones no longer take.
    busy: Option<Time>,
    /// The earliest entry among the timers.
    queued: Time,
}

impl Path {
    fn measured(&self) -> Measured {
        let quality = &self.quality;
        Measured { jitter: quality.jitter_of_arrival(), round_trip: quality.rtt(), loses: quality.is_lossy() }
    }
}

/// One other site.
#[derive(Debug)]
struct Remote {
    id: SiteId,
    paths: Vec<PathId>,
    /// By lane.
    seats: Vec<Seat>,
    entry: Arc<Entry>,
    /// The last traffic.
    busy: Option<Time>,
    needed: bool,
    /// Whether a path works that needs no hub: those that do rest then.
    direct: bool,
    dirty: bool,
    queued: Time,
}

/// The engine of one site.
#[derive(Debug)]
pub struct Engine {
    settings: Settings,
    classes: Vec<Class>,
    matcher: Arc<Matcher>,
    routes: Arc<Addresses<Option<u32>>>,
    paths: Vec<Option<Path>>,
    remotes: Vec<Remote>,
    without_carrier: BTreeSet<UplinkId>,
    timers: BinaryHeap<Reverse<(Time, Timer)>>,
    dirty: Vec<u32>,
    outputs: VecDeque<Output>,
    table_is_old: bool,
    epoch: u64,
    events_lost: u64,
    paths_left_out: usize,
    /// Until when everything that came was handed in, whether that is asked for, and by which paths.
    looked: Time,
    looks: bool,
    waiting: Vec<PathId>,
    /// Paths whose silence the other end is to hear of then.
    quiet: Vec<PathId>,
    /// When this engine was last called. What is found due before that is no lateness of who calls it.
    now: Time,
    /// How late this engine was called of late, and when that was.
    late: (Duration, Time),
    /// How often a lane was left with the last path that worked.
    kept: u64,
    /// When a path was first found that traffic has to leave, since that was last asked.
    left: Option<Time>,
    rng: Rng,
}

impl Engine {
    /// The engine of a network. What it does by chance follows from `seed`.
    pub fn new(network: &Network, seed: u64, now: Time) -> Result<Engine, PolicyError> {
        let mut engine = Engine {
            settings: network.settings,
            classes: vec![],
            matcher: Arc::new(Matcher::compile(&[], &[], 1)?),
            routes: Arc::new(Addresses::longest([])),
            paths: vec![],
            remotes: vec![],
            without_carrier: BTreeSet::new(),
            timers: BinaryHeap::new(),
            dirty: vec![],
            outputs: VecDeque::new(),
            table_is_old: true,
            epoch: 0,
            events_lost: 0,
            paths_left_out: 0,
            looked: now,
            looks: false,
            waiting: vec![],
            quiet: vec![],
            now,
            late: (Duration::ZERO, now),
            kept: 0,
            left: None,
            rng: Rng::new(seed),
        };
        engine.configure(network, now)?;
        Ok(engine)
    }

    /// Goes on with another network. Paths that are in both keep what is known of them, and traffic stays where it is. On an error nothing has changed.
    pub fn configure(&mut self, network: &Network, now: Time) -> Result<(), PolicyError> {
        let matcher = Matcher::compile(&network.policies, &network.applications, network.classes.len())?;
        self.now = now;
        let (specs, left_out) = site::paths(&network.own, &network.sites);
        let mut sites: Vec<&Site> = network.sites.iter().filter(|site| site.id != network.own.id).collect();
        sites.sort_by_key(|site| site.id);
        sites.dedup_by_key(|site| site.id);
        let place: BTreeMap<SiteId, u32> = sites.iter().map(|site| site.id).zip(0..).collect();
        let same_classes = self.classes == network.classes;
        let same_mtu = self.settings.mtu == network.settings.mtu;
        (self.settings, self.classes, self.paths_left_out) = (network.settings, network.classes.clone(), left_out);
        let of_site = self.keep_paths(&specs, &place, same_classes, now);
        if !same_mtu {
            self.bound(now);
        }
        self.keep_remotes(&sites, of_site, &matcher, now);
        let subnets = sites.iter().zip(0..).flat_map(|(site, place)| site.subnets.iter().map(move |net| (*net, place)));
        self.routes = Arc::new(Addresses::longest(subnets));
        self.matcher = Arc::new(matcher);
        self.table_is_old = true;
        self.settle(now);
        Ok(())
    }

    /// Makes the paths be these; gives those of each site.
    fn keep_paths(
        &mut self,
        specs: &[PathSpec],
        place: &BTreeMap<SiteId, u32>,
        same_classes: bool,
        now: Time,
    ) -> Vec<Vec<PathId>> {
        // A number that goes free now may still stand in tables that workers read: it is used again with the next network.
        let mut free = (0..self.paths.len()).filter(|index| self.paths[*index].is_none()).collect::<Vec<_>>();
        free.reverse();
        let mut known: BTreeMap<PathKey, (usize, Path)> = BTreeMap::new();
        for (index, slot) in self.paths.iter_mut().enumerate() {
            known.extend(slot.take().map(|path| (path.spec.key, (index, path))));
        }
        let mut of_site = vec![vec![]; place.len()];
        let mut fresh = vec![];
        for spec in specs {
            let Some(site) = place.get(&spec.key.site).copied() else { continue };
            match known.remove(&spec.key) {
                Some((index, path)) => {
                    let verdicts = if same_classes { path.verdicts } else { Default::default() };
                    self.paths[index] = Some(Path { spec: *spec, site, verdicts, ..path });
                    of_site[site as usize].push(PathId(index as u32));
                }
                None => fresh.push((*spec, site)),
            }
        }
        // Half of a vector that grows by itself would be empty: paths are what a site's memory goes to.
        self.paths.reserve_exact(fresh.len().saturating_sub(free.len()));
        for (spec, site) in fresh {
            let index = free.pop().unwrap_or_else(|| {
                self.paths.push(None);
                self.paths.len() - 1
            });
            let mut liveness = Liveness::new(&self.settings.liveness, now, &mut self.rng);
            if self.without_carrier.contains(&spec.key.own) {
                let _ = liveness.carrier(false, now, &self.settings.liveness);
            }
            let direct = |other: &PathSpec| other.key.site == spec.key.site && other.key.via.is_none();
            if spec.key.via.is_some() && specs.iter().any(direct) {
                let _ = liveness.rest(now, now + FIRST, &self.settings.liveness);
            }
            let (quality, verdicts, flaps, sent) = Default::default();
            let mtu = PathMtu::new(&self.settings.mtu, now);
            self.paths[index] =
                Some(Path { spec, site, quality, liveness, mtu, verdicts, flaps, sent, busy: None, queued: Time::MAX });
            of_site[site as usize].push(PathId(index as u32));
        }
        of_site
    }

    fn keep_remotes(&mut self, sites: &[&Site], of_site: Vec<Vec<PathId>>, matcher: &Matcher, now: Time) {
        let old_lanes = self.matcher.lanes().to_vec();
        let mut known: BTreeMap<SiteId, Remote> = self.remotes.drain(..).map(|remote| (remote.id, remote)).collect();
        for (site, paths) in sites.iter().zip(of_site) {
            let old = known.remove(&site.id);
            let seat = |lane: &policy::Lane| {
                let index = old_lanes.iter().position(|old| old == lane)?;
                old.as_ref()?
                    .seats
                    .get(index)
                    .copied()
                    .filter(|seat| seat.path().is_none_or(|path| paths.contains(&path)))
            };
            let seats = matcher.lanes().iter().map(|lane| seat(lane).unwrap_or_default()).collect();
            let entry = Arc::new(Entry { site: site.id, paths: paths.clone().into(), choices: Box::default() });
            let (busy, needed) = old.as_ref().map_or((None, false), |old| (old.busy, old.needed));
            self.remotes.push(Remote {
                id: site.id,
                paths,
                seats,
                entry,
                busy,
                needed,
                direct: false,
                dirty: false,
                queued: Time::MAX,
            });
        }
        // All deadlines anew: places and numbers may be others' now.
        self.timers.clear();
        self.dirty.clear();
        for index in 0..self.paths.len() {
            if let Some(path) = &mut self.paths[index] {
                path.queued = Time::MAX;
                self.wait_for(PathId(index as u32));
            }
        }
        for place in 0..self.remotes.len() as u32 {
            self.direct(now, place);
            self.soil(place);
            self.look_again(place, now);
        }
    }

    /// Takes in what happens.
    pub fn handle_input(&mut self, now: Time, input: Input) {
        self.now = now;
        match input {
            Input::Hello(id, hello) => self.hello(now, id, &hello),
            Input::Traffic { path, sent, received } => self.traffic(now, path, sent, received),
            Input::Carrier(uplink, carrier) => {
                let changed =
                    if carrier { self.without_carrier.remove(&uplink) } else { self.without_carrier.insert(uplink) };
                for index in (0..self.paths.len() as u32).map(PathId).filter(|_| changed) {
                    let settings = self.settings.liveness;
                    if let Some(path) = self.path_mut(index).filter(|path| path.spec.key.own == uplink) {
                        let change = path.liveness.carrier(carrier, now, &settings);
                        let site = path.site;
                        self.soil(site);
                        self.changed(now, index, change);
                    }
                }
            }
            Input::Probe(id, probe) => self.probe(now, id, &probe),
            Input::Hint(id, size) => {
                let settings = self.settings.mtu;
                if let Some(path) = self.path_mut(id) {
                    path.mtu.hint(size, &settings);
                    self.wait_for(id);
                }
            }
            Input::Looked(until) => self.looked(now, until),
            Input::Silent { by, of, silence } => self.silent(now, by, of, silence),
            Input::SocketError(id) => {
                let settings = self.settings.liveness;
                if let Some(path) = self.path_mut(id) {
                    let change = path.liveness.socket_error(now, &settings);
                    self.changed(now, id, change);
                }
            }
        }
        self.settle(now);
    }

    fn hello(&mut self, now: Time, id: PathId, hello: &Hello) {
        let (liveness, verdict, classes) =
            (self.settings.liveness, self.settings.verdict, std::mem::take(&mut self.classes));
        let rests = self.rests(id);
        if let Some(path) = self.path_mut(id).filter(|_| !rests) {
            let proven = path.liveness.is_proven();
            let latest = path.quality.hello(now, hello);
            let change = if latest { path.liveness.hello(now, hello, &liveness) } else { path.liveness.heard(now) };
            if latest && path.quality.is_swallowed() {
                path.mtu.doubt();
            }
            if latest && path.quality.sample().is_some_and(|took| took > liveness.timeout) {
                path.quality.too_late();
            }
            if latest && path.quality.loses_now() {
                path.liveness.hasten(now, &liveness);
            }
            let figures = (&path.quality.figures(), path.quality.recent_loss());
            let verdicts = path.verdicts.iter_mut().zip(&classes);
            let turned = verdicts.fold(false, |any, (one, class)| one.judge(now, class, figures, &verdict) | any);
            let site = path.site;
            if turned || path.liveness.is_proven() != proven {
                self.soil(site);
            }
            self.changed(now, id, change);
            if latest {
                self.witness(now, id, hello.late);
            }
        }
        self.classes = classes;
    }

    fn traffic(&mut self, now: Time, id: PathId, sent: u32, received: u32) {
        let settings = self.settings;
        let Some(path) = self.path_mut(id) else { return };
        path.quality.traffic(sent, received);
        path.sent.note(now, path.quality.sent(), 0);
        let (site, quiet) = (path.site, path.busy.is_none_or(|busy| now.since(busy) >= settings.quiet));
        if sent > 0 {
            path.busy = Some(now);
        }
        if received > 0 {
            let change = path.liveness.heard(now);
            self.changed(now, id, change);
        }
        if let Some(remote) = self.remotes.get_mut(site as usize).filter(|_| sent > 0 || received > 0) {
            remote.busy = Some(now);
            if sent > 0 && quiet || !remote.needed {
                remote.needed = true;
                self.soil(site);
                self.look_again(site, now);
            }
        }
    }

    fn probe(&mut self, now: Time, id: PathId, probe: &Probe) {
        let settings = self.settings.mtu;
        let Some(path) = self.path_mut(id) else { return };
        if !probe.answer {
            return self.outputs.push_back(Output::Probe(id, probe.answered()));
        }
        let change = path.mtu.answer(now, probe, path.measured(), &settings);
        self.resized(id, change);
        self.wait_for(id);
    }

    /// Has all paths keep to other settings.
    fn bound(&mut self, now: Time) {
        let settings = self.settings.mtu;
        for id in (0..self.paths.len() as u32).map(PathId) {
            let change = self.path_mut(id).and_then(|path| path.mtu.configure(&settings, now));
            self.resized(id, change);
        }
    }

    fn resized(&mut self, id: PathId, change: Option<MtuChange>) {
        if let Some(change) = change {
            self.outputs.push_back(Output::Mtu(id, change.to));
            self.tell(Event::Mtu { path: id, change });
        }
    }

    /// Does what is due.
    pub fn handle_timeout(&mut self, now: Time) {
        while let Some(due) = self.poll_due(now) {
            self.handle_due(now, due);
        }
        self.settle(now);
    }

    /// Takes the first of what is due, for who has to look at something before it is done: by [`Engine::handle_due`], and at the end [`Engine::handle_timeout`].
    pub fn poll_due(&mut self, now: Time) -> Option<Due> {
        self.timers.peek().filter(|Reverse((at, _))| *at <= now)?;
        let Reverse((at, timer)) = self.timers.pop()?;
        let late = now.since(at);
        if late >= self.lateness(now) {
            self.late = (late, now);
        }
        Some(Due { at, timer })
    }

    /// Does it.
    pub fn handle_due(&mut self, now: Time, due: Due) {
        self.now = now;
        match due.timer {
            Timer::Path(id) => self.path_timeout(now, due.at, id),
            Timer::Site(place) => self.site_timeout(now, due.at, place),
        }
    }

    /// The paths whose silence is judged once everything that had come is handed in.
    pub fn waiting(&self) -> &[PathId] {
        &self.waiting
    }

    /// The paths to the site of this place.
    pub fn paths_to(&self, place: u32) -> &[PathId] {
        self.remotes.get(place as usize).map_or(&[], |remote| &remote.paths)
    }

    fn path_timeout(&mut self, now: Time, at: Time, id: PathId) {
        let Settings { liveness: settings, mtu, .. } = self.settings;
        let rests = self.rests(id);
        let late = self.lateness(now).as_millis().min(255) as u8;
        // Entries that an earlier one has overtaken say nothing.
        let Some(path) = self.paths.get_mut(id.0 as usize).and_then(Option::as_mut).filter(|path| path.queued == at)
        else {
            return;
        };
        path.queued = Time::MAX;
        if rests {
            let change = path.liveness.rest(now, now + settings.interval, &settings);
            return self.changed(now, id, change);
        }
        let change = self.judge(now, id);
        self.tell_silence(now, id);
        let Some(path) = self.paths.get_mut(id.0 as usize).and_then(Option::as_mut) else { return };
        if let Some(mut hello) = path.liveness.poll(now, &settings, &mut self.rng) {
            hello.late = late;
            path.quality.stamp(now, &mut hello);
            path.sent.note(now, hello.sent, hello.sequence);
            self.outputs.push_back(Output::Hello(id, hello));
        }
        let resized = path.mtu.timeout(now, &mtu);
        let probes = path.mtu.poll(now, path.liveness.is_needed(), path.measured(), &mtu);
        self.outputs.extend(probes.into_iter().flatten().map(|probe| Output::Probe(id, probe)));
        self.resized(id, resized);
        self.changed(now, id, change);
    }

    fn site_timeout(&mut self, now: Time, at: Time, place: u32) {
        let quiet = self.settings.quiet;
        let Some(remote) = self.remotes.get_mut(place as usize).filter(|remote| remote.queued == at) else { return };
        remote.queued = Time::MAX;
        remote.needed &= remote.busy.is_some_and(|busy| now.since(busy) < quiet);
        self.soil(place);
        self.look_again(place, now);
    }

    /// When to call [`Engine::handle_timeout`] at the latest, and what for.
    pub fn poll_timeout(&self) -> Option<(Time, Timer)> {
        self.timers.peek().map(|Reverse(next)| *next)
    }

    /// What is to be done next. However many inputs made the table old, there is one new one.
    pub fn poll_output(&mut self) -> Option<Output> {
        if let Some(output) = self.outputs.pop_front() {
            return Some(output);
        }
        std::mem::take(&mut self.table_is_old).then(|| Output::Table(self.make_table()))
    }

    /// The same, but for a new table: that takes the longer the more sites there are, and who has many inputs at a time needs one after all of them.
    pub fn poll_without_table(&mut self) -> Option<Output> {
        self.outputs.pop_front()
    }

    /// Whether there is to be a new table.
    pub fn owes_table(&self) -> bool {
        self.table_is_old
    }

    /// Events that found no room.
    pub fn events_lost(&self) -> u64 {
        self.events_lost
    }

    /// How often all paths of a lane to a site had stopped working, and traffic went on trying the last one.
    pub fn kept(&self) -> u64 {
        self.kept
    }

    /// When a path was first found that traffic has to leave, since this was last asked.
    pub fn take_left(&mut self) -> Option<Time> {
        self.left.take()
    }

    /// The round trip that the last hello of a path showed, if it did.
    pub fn sample(&self, id: PathId) -> Option<Duration> {
        self.paths.get(id.0 as usize)?.as_ref()?.quality.sample()
    }

    /// When something authentic came by a path last.
    pub fn last_heard(&self, id: PathId) -> Option<Time> {
        Some(self.paths.get(id.0 as usize)?.as_ref()?.liveness.last_heard())
    }

    /// Paths that are more than a site can have.
    pub fn paths_left_out(&self) -> usize {
        self.paths_left_out
    }

    /// Octets of the longest packet that may go by a path; none where there is no such path.
    pub fn mtu(&self, id: PathId) -> Option<u16> {
        Some(self.paths.get(id.0 as usize)?.as_ref()?.mtu.mtu())
    }

    /// All paths there are.
    pub fn paths(&self) -> impl Iterator<Item = (PathId, &PathSpec, State, &Quality)> {
        let known = self.paths.iter().zip(0..).filter_map(|(path, id)| Some((PathId(id), path.as_ref()?)));
        known.map(|(id, path)| (id, &path.spec, path.liveness.state(), &path.quality))
    }

    /// What a path is, and what it is taken for; none where it is gone.
    pub fn known(&self, id: PathId) -> Option<(&PathSpec, State)> {
        let path = self.paths.get(id.0 as usize)?.as_ref()?;
        Some((&path.spec, path.liveness.state()))
    }

    /// What was measured of a path; none where it is gone.
    pub fn figures(&self, id: PathId) -> Option<quality::Figures> {
        Some(self.paths.get(id.0 as usize)?.as_ref()?.quality.figures())
    }

    /// Whether a path keeps the limits of a class; none where there is no such path.
    pub fn keeps(&self, id: PathId, class: ClassId) -> Option<bool> {
        let path = self.paths.get(id.0 as usize)?.as_ref()?;
        Some(path.verdicts.get(usize::from(class.0)).is_none_or(Verdict::is_kept))
    }

    fn path_mut(&mut self, id: PathId) -> Option<&mut Path> {
        self.paths.get_mut(id.0 as usize)?.as_mut()
    }

    /// Puts the next deadline of a path among the timers, unless an earlier one is there.
    fn wait_for(&mut self, id: PathId) {
        let Settings { liveness, mtu, .. } = self.settings;
        let Some(path) = self.paths.get_mut(id.0 as usize).and_then(Option::as_mut) else { return };
        let probe = path.mtu.due(path.liveness.is_needed(), &mtu);
        // Whose pace is another one now may have been silent for too long already.
        let due = path.liveness.due(path.measured(), &liveness).min(probe).max(self.now);
        if due < path.queued && due < Time::MAX {
            path.queued = due;
            self.timers.push(Reverse((due, Timer::Path(id))));
        }
    }

    /// The next look at a site: soon while it is busy.
    fn look_again(&mut self, place: u32, now: Time) {
        let Some(remote) = self.remotes.get_mut(place as usize) else { return };
        let wait = if remote.needed { self.settings.look } else { self.settings.liveness.interval };
        let due = now + wait.mul_f64(0.75 + 0.25 * self.rng.unit());
        if due < remote.queued {
            remote.queued = due;
            self.timers.push(Reverse((due, Timer::Site(place))));
        }
    }

    /// Has a site decided anew when the input is through.
    fn soil(&mut self, place: u32) {
        if let Some(remote) = self.remotes.get_mut(place as usize).filter(|remote| !remote.dirty) {
            remote.dirty = true;
            self.dirty.push(place);
        }
    }

    fn changed(&mut self, now: Time, id: PathId, change: Option<Change>) {
        let damp = self.settings.damp;
        if let (Some(change), Some(path)) = (change, self.path_mut(id)) {
            if change.to == State::Trial {
                path.quality.begin_again();
            }
            if change.to == State::Down && matches!(change.from, State::Up | State::Suspect) {
                path.flaps.failed(now, &damp);
            }
            path.mtu.alive(path.liveness.is_up());
            let (site, direct) = (path.site, path.spec.key.via.is_none());
            // Suspicion alone moves nothing.
            if !matches!((change.from, change.to), (State::Up, State::Suspect) | (State::Suspect, State::Up)) {
                self.soil(site);
            }
            self.tell(Event::Path { path: id, change });
            if change.to == State::Suspect {
                self.inquire(now, id, site);
            }
            if direct {
                self.direct(now, site);
            }
            // A carrier that is lost is known of all paths by it.
            if change.to == State::Down && change.cause != Some(Cause::Carrier) {
                self.doubt_others(now, id, site);
            }
        }
        self.wait_for(id);
    }

    /// Kinds of traffic that are told apart, by their numbers.
    pub fn lanes(&self) -> &[policy::Lane] {
        self.matcher.lanes()
    }

    /// Whether a path carries.
    pub fn is_up(&self, id: PathId) -> bool {
        self.paths.get(id.0 as usize).and_then(Option::as_ref).is_some_and(|path| path.liveness.is_up())
    }

    /// Whether a path by a hub waits until no other one works.
    pub fn rests(&self, id: PathId) -> bool {
        let path = self.paths.get(id.0 as usize).and_then(Option::as_ref).filter(|path| path.spec.key.via.is_some());
        path.and_then(|path| self.remotes.get(path.site as usize)).is_some_and(|remote| remote.direct)
    }

    /// Looks whether a site is reached without a hub. If it no longer is, hubs are asked at once.
    fn direct(&mut self, now: Time, place: u32) {
        let Some(remote) = self.remotes.get(place as usize) else { return };
        let of = |id: &PathId| self.paths.get(id.0 as usize).and_then(Option::as_ref);
        let (direct, by_hub): (Vec<_>, Vec<_>) =
            remote.paths.iter().copied().partition(|id| of(id).is_some_and(|path| path.spec.key.via.is_none()));
        let works = direct.iter().any(|id| of(id).is_some_and(|path| path.liveness.is_up()));
        let before = remote.direct;
        if let Some(remote) = self.remotes.get_mut(place as usize) {
            remote.direct = works;
        }
        for id in by_hub.into_iter().filter(|_| works != before) {
            if let Some(path) = self.path_mut(id) {
                path.liveness.wake(now);
            }
            self.wait_for(id);
        }
    }

    fn tell(&mut self, event: Event) {
        if self.outputs.len() < EVENTS {
            self.outputs.push_back(Output::Event(event));
        } else {
            self.events_lost += 1;
        }
    }
}
