//! Many sites in one process: engines that hear each other by lines that lose, delay, go one way and die, in a time that only the caller moves.
//!
//! For simulations: `outwork bench sdwan`, and tests. Everything follows from a seed.

use std::cmp::{Ordering, Reverse};
use std::collections::{BTreeMap, BinaryHeap};
use std::net::Ipv4Addr;
use std::sync::Arc;
use std::time::Duration;

use outwork_engine::{Rng, Time};

use super::class::{Class, ClassId};
use super::hello::{self, Hello};
use super::mtu::Probe;
use super::policy::{Flow, Match, Policy, PolicyError, PolicyId, Strategy};
use super::prefix::Prefix;
use super::site::{Families, PathId, PathKey, Reach, Site, SiteId, Uplink, UplinkId};
use super::table::{Pick, Table};
use super::{Engine, Event, Input, Network, Output, Settings, Silence};

/// Uplinks that one site can have numbers for.
const UPLINKS: u32 = 16;
/// The sites that others reach each other by. Their numbers are beyond all others'.
pub const HUBS: [SiteId; 2] = [SiteId(60_001), SiteId(60_002)];
/// The most sites beside them.
pub const SPOKES: u32 = 60_000;
/// What passing something on takes a hub.
const PASSING_ON: Duration = Duration::from_millis(1);

/// Octets of a datagram of a call.
const SHORT: u16 = 200;

/// One direction between an uplink and everybody else.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Line {
    /// How long what goes by it takes,
    pub delay: Duration,
    /// and up to how much longer.
    pub jitter: Duration,
    /// The part that it loses, from 0 to 1.
    pub loss: f64,
    /// Octets of the longest packet that it takes: those that are longer are lost without a word.
    pub longest: u16,
}

impl Line {
    /// One without faults.
    pub const CLEAN: Line =
        Line { delay: Duration::from_millis(10), jitter: Duration::ZERO, loss: 0.0, longest: u16::MAX };
    /// One that loses everything.
    pub const DEAD: Line = Line { loss: 1.0, ..Line::CLEAN };
}

/// What sites send each other.
#[derive(Debug, Clone, Copy)]
enum Message {
    Hello(Hello),
    Probe(Probe),
    /// Of a path of whom it reaches.
    Silent(PathId, Silence),
    /// A datagram, by its number, and its octets.
    Data(u64, u16),
}

impl Message {
    fn length(&self) -> usize {
        match self {
            Message::Hello(_) => hello::LENGTH,
            Message::Probe(probe) => probe.length(),
            Message::Silent(..) => hello::LENGTH,
            Message::Data(_, octets) => usize::from(*octets),
        }
    }
}

/// Something under way.
#[derive(Debug)]
struct Arrival {
    at: Time,
    /// Of what arrives at the same time the first one sent is the first.
    order: u64,
    place: usize,
    path: PathId,
    message: Message,
}

impl Ord for Arrival {
    fn cmp(&self, other: &Arrival) -> Ordering {
        (self.at, self.order).cmp(&(other.at, other.order))
    }
}

impl PartialOrd for Arrival {
    fn partial_cmp(&self, other: &Arrival) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl PartialEq for Arrival {
    fn eq(&self, other: &Arrival) -> bool {
        self.cmp(other) == Ordering::Equal
    }
}

impl Eq for Arrival {}

/// A site in it.
#[derive(Debug)]
struct Dweller {
    id: SiteId,
    engine: Engine,
    table: Arc<Table>,
    /// By the numbers of paths.
    keys: Vec<Option<PathKey>>,
    paths: BTreeMap<PathKey, PathId>,
    alive: bool,
    /// The earliest entry among the timers.
    queued: Time,
}

/// Sites, and all that is between them.
#[derive(Debug)]
pub struct World {
    now: Time,
    rng: Rng,
    sites: Vec<Dweller>,
    places: BTreeMap<SiteId, usize>,
    /// Outward and inward.
    lines: BTreeMap<UplinkId, [Line; 2]>,
    under_way: BinaryHeap<Reverse<Arrival>>,
    timers: BinaryHeap<Reverse<(Time, usize)>>,
    order: u64,
    events: Vec<(Time, SiteId, Event)>,
    hellos: u64,
    said: u64,
    /// Octets of a datagram, where its path takes so many.
    octets: u16,
    arrived: BTreeMap<u64, Time>,
}

/// The paths of an engine: by their numbers, and by what they lead by.
fn known(engine: &Engine) -> (Vec<Option<PathKey>>, BTreeMap<PathKey, PathId>) {
    let (mut keys, mut paths) = (vec![], BTreeMap::new());
    for (path, spec, ..) in engine.paths() {
        let place = path.0 as usize;
        keys.resize(keys.len().max(place + 1), None);
        if let Some(slot) = keys.get_mut(place) {
            *slot = Some(spec.key);
        }
        paths.insert(spec.key, path);
    }
    (keys, paths)
}

impl World {
    /// The sites that these networks are those of, every uplink with the same line.
    ///
    /// # Errors
    /// When the policies of one cannot be compiled.
    pub fn new(networks: &[Network], line: Line, rng: &mut Rng) -> Result<World, PolicyError> {
        let mut world = World {
            now: Time::ZERO,
            rng: Rng::new(rng.next_u64()),
            sites: Vec::with_capacity(networks.len()),
            places: BTreeMap::new(),
            lines: BTreeMap::new(),
            under_way: BinaryHeap::new(),
            timers: BinaryHeap::new(),
            order: 0,
            events: vec![],
            hellos: 0,
            said: 0,
            octets: SHORT,
            arrived: BTreeMap::new(),
        };
        for network in networks {
            let id = network.own.id;
            let mut engine = Engine::new(network, world.rng.next_u64(), world.now)?;
            let (keys, paths) = known(&engine);
            let table = engine.make_table();
            world.places.insert(id, world.sites.len());
            world.lines.extend(network.own.uplinks.iter().map(|uplink| (uplink.id, [line; 2])));
            world.sites.push(Dweller { id, engine, table, keys, paths, alive: true, queued: Time::MAX });
        }
        for place in 0..world.sites.len() {
            world.drain(place);
        }
        Ok(world)
    }

    /// What the time is.
    pub fn now(&self) -> Time {
        self.now
    }

    /// Makes the line of an uplink another one.
    pub fn set(&mut self, uplink: UplinkId, outward: Line, inward: Line) {
        self.lines.insert(uplink, [outward, inward]);
    }

    /// Datagrams have so many octets from now on. By a path that is known to take less they are as long as it takes: who sends them is told, and does as he is told.
    pub fn lengthen(&mut self, octets: u16) {
        self.octets = octets;
    }

    /// A site stops, or goes on as it was.
    pub fn live(&mut self, site: SiteId, alive: bool) {
        let Some(place) = self.places.get(&site).copied() else { return };
        if let Some(dweller) = self.sites.get_mut(place) {
            dweller.alive = alive;
        }
        self.wait_for(place);
    }

    /// Configures a site anew, as who has been told everything again is. Of a path that is there no more, what is under way is lost.
    ///
    /// # Errors
    /// When its policies cannot be compiled: nothing has changed then.
    pub fn configure(&mut self, network: &Network) -> Result<(), PolicyError> {
        let Some(place) = self.places.get(&network.own.id).copied() else { return Ok(()) };
        let Some(dweller) = self.sites.get_mut(place) else { return Ok(()) };
        dweller.engine.configure(network, self.now)?;
        (dweller.keys, dweller.paths) = known(&dweller.engine);
        self.drain(place);
        Ok(())
    }

    /// Something happens at a site.
    pub fn input(&mut self, site: SiteId, input: Input) {
        if let Some(place) = self.places.get(&site).copied() {
            self.put(place, input);
        }
    }

    /// Where a flow from a site goes.
    pub fn pick(&self, from: SiteId, flow: &Flow) -> Option<Pick> {
        self.dweller(from)?.table.look_up(flow)?.pick(flow.hash(1))
    }

    /// What a path of a site leads by.
    pub fn key(&self, site: SiteId, path: PathId) -> Option<PathKey> {
        self.dweller(site)?.keys.get(path.0 as usize).copied().flatten()
    }

    /// What a call between two sites goes by.
    pub fn way(&self, (from, to): (SiteId, SiteId)) -> Option<PathKey> {
        self.key(from, self.pick(from, &call(from, to))?.path)
    }

    /// Has a site send a datagram of a flow as its table says. Its number: where no path carries, it is lost.
    pub fn say(&mut self, from: SiteId, flow: &Flow) -> u64 {
        let number = self.said;
        self.said += 1;
        let pick = self.pick(from, flow);
        let paths = pick.into_iter().flat_map(|pick| [Some(pick.path), pick.second]).flatten();
        if let Some(place) = self.places.get(&from).copied() {
            for path in paths {
                self.put(place, Input::Traffic { path, sent: 1, received: 0 });
                let takes = self.sites.get(place).and_then(|dweller| dweller.engine.mtu(path)).unwrap_or(u16::MAX);
                self.send(place, path, Message::Data(number, self.octets.min(takes)));
            }
        }
        number
    }

    /// Has those of each pair call each other, one datagram in `every`, for so long.
    pub fn talk(&mut self, pairs: &[(SiteId, SiteId)], time: Duration, every: Duration) {
        let until = self.now + time;
        while self.now < until {
            for (from, to) in pairs {
                self.say(*from, &call(*from, *to));
            }
            self.run(every);
        }
    }

    /// Lets so much time pass.
    pub fn run(&mut self, time: Duration) {
        let until = self.now + time;
        loop {
            let arrival = self.under_way.peek().map_or(Time::MAX, |Reverse(next)| next.at);
            let due = self.timers.peek().map_or(Time::MAX, |Reverse((at, _))| *at);
            if arrival.min(due) > until {
                self.now = until;
                return;
            }
            self.now = self.now.max(arrival.min(due));
            if arrival <= due {
                self.deliver();
            } else {
                self.wake();
            }
        }
    }

    /// What has happened since this was last asked.
    pub fn take_events(&mut self) -> Vec<(Time, SiteId, Event)> {
        std::mem::take(&mut self.events)
    }

    /// Hellos that were sent.
    pub fn hellos(&self) -> u64 {
        self.hellos
    }

    /// The number of the next datagram.
    pub fn next_number(&self) -> u64 {
        self.said
    }

    /// When a datagram first arrived.
    pub fn arrived(&self, number: u64) -> Option<Time> {
        self.arrived.get(&number).copied()
    }

    /// Of the datagrams from `first` on, those that have not arrived.
    pub fn missing(&self, first: u64) -> u64 {
        let arrived = self.arrived.range(first..).count() as u64;
        self.said.saturating_sub(first).saturating_sub(arrived)
    }

    /// The engines, with nothing around them.
    pub fn into_engines(self) -> Vec<(SiteId, Engine)> {
        self.sites.into_iter().map(|dweller| (dweller.id, dweller.engine)).collect()
    }

    fn dweller(&self, site: SiteId) -> Option<&Dweller> {
        self.sites.get(*self.places.get(&site)?)
    }

    fn put(&mut self, place: usize, input: Input) {
        let now = self.now;
        if let Some(dweller) = self.sites.get_mut(place).filter(|dweller| dweller.alive) {
            dweller.engine.handle_input(now, input);
            self.drain(place);
        }
    }

    /// Does what an engine says, and sees to it that it is called when it wants.
    fn drain(&mut self, place: usize) {
        while let Some(dweller) = self.sites.get_mut(place)
            && let Some(output) = dweller.engine.poll_output()
        {
            match output {
                Output::Table(table) => dweller.table = table,
                Output::Event(event) => self.events.push((self.now, dweller.id, event)),
                Output::Hello(path, hello) => {
                    self.hellos += 1;
                    self.send(place, path, Message::Hello(hello));
                }
                Output::Probe(path, probe) => self.send(place, path, Message::Probe(probe)),
                Output::Silent { by, of, silence } => {
                    if let Some((_, theirs)) = self.other_end(place, of) {
                        self.send(place, by, Message::Silent(theirs, silence));
                    }
                }
                Output::Mtu(..) => {}
                // Nothing that has come waits anywhere.
                Output::Look => dweller.engine.handle_input(self.now, Input::Looked(self.now)),
            }
        }
        self.wait_for(place);
    }

    fn wait_for(&mut self, place: usize) {
        let Some(dweller) = self.sites.get_mut(place).filter(|dweller| dweller.alive) else { return };
        if let Some((at, _)) = dweller.engine.poll_timeout()
            && at < dweller.queued
        {
            dweller.queued = at;
            self.timers.push(Reverse((at, place)));
        }
    }

    fn wake(&mut self) {
        let Some(Reverse((at, place))) = self.timers.pop() else { return };
        let now = self.now;
        // Entries that an earlier one has overtaken say nothing.
        let Some(dweller) = self.sites.get_mut(place).filter(|dweller| dweller.queued == at) else { return };
        dweller.queued = Time::MAX;
        if dweller.alive {
            dweller.engine.handle_timeout(now);
            self.drain(place);
        }
    }

    fn is_alive(&self, site: SiteId) -> bool {
        self.dweller(site).is_some_and(|dweller| dweller.alive)
    }

    /// Where a path leads, and what it is called there.
    fn other_end(&self, place: usize, path: PathId) -> Option<(usize, PathId)> {
        let from = self.sites.get(place)?;
        let key = from.keys.get(path.0 as usize).copied().flatten()?;
        let back = PathKey { site: from.id, own: key.remote, remote: key.own, via: key.via };
        let to = self.places.get(&key.site).copied()?;
        Some((to, self.sites.get(to)?.paths.get(&back).copied()?))
    }

    fn send(&mut self, place: usize, path: PathId, message: Message) {
        let key = self.sites.get(place).and_then(|from| from.keys.get(path.0 as usize).copied().flatten());
        let (Some(key), Some((to, path))) = (key, self.other_end(place, path)) else { return };
        let (Some([outward, _]), Some([_, inward])) = (self.lines.get(&key.own), self.lines.get(&key.remote)) else {
            return;
        };
        let (outward, inward) = (*outward, *inward);
        let lost = self.rng.chance(outward.loss) | self.rng.chance(inward.loss);
        let is_too_long = message.length() > usize::from(outward.longest.min(inward.longest));
        if lost || is_too_long || key.via.is_some_and(|hub| !self.is_alive(hub)) {
            return;
        }
        let passing = if key.via.is_some() { PASSING_ON } else { Duration::ZERO };
        let jitter = outward.jitter.mul_f64(self.rng.unit()) + inward.jitter.mul_f64(self.rng.unit());
        let at = self.now + outward.delay + inward.delay + passing + jitter;
        self.order += 1;
        self.under_way.push(Reverse(Arrival { at, order: self.order, place: to, path, message }));
    }

    fn deliver(&mut self) {
        let Some(Reverse(Arrival { place, path, message, .. })) = self.under_way.pop() else { return };
        if self.sites.get(place).is_none_or(|dweller| !dweller.alive) {
            return;
        }
        match message {
            Message::Hello(hello) => self.put(place, Input::Hello(path, hello)),
            Message::Probe(probe) => self.put(place, Input::Probe(path, probe)),
            Message::Silent(of, silence) => self.put(place, Input::Silent { by: path, of, silence }),
            Message::Data(number, _) => {
                self.arrived.entry(number).or_insert(self.now);
                self.put(place, Input::Traffic { path, sent: 0, received: 1 });
            }
        }
    }
}

/// A site with the network 10.x.y.0/24, where x and y are its number's octets, and uplinks that all have the same reach.
pub fn site(id: SiteId, uplinks: u32, reach: Reach) -> Site {
    let families = Families { v4: true, v6: false };
    let uplink = |place: u32| Uplink {
        id: UplinkId(id.0 * UPLINKS + place),
        reach,
        families,
        cost: 0,
        bandwidth: 0,
        metered: false,
        backup: false,
    };
    let subnets = Prefix::new(address(id, 0).into(), 24).into_iter().collect();
    Site { id, subnets, hub: HUBS.contains(&id), uplinks: (0..uplinks.min(UPLINKS)).map(uplink).collect() }
}

/// An address in a site's network.
fn address(site: SiteId, host: u32) -> Ipv4Addr {
    Ipv4Addr::from(10 << 24 | site.0 << 8 | host)
}

/// The network of a site in which everything is a call.
pub fn network(own: Site, sites: Vec<Site>) -> Network {
    let policy = Policy {
        id: PolicyId(1),
        priority: 1,
        matches: Match::default(),
        class: ClassId(0),
        strategy: Strategy::Best,
        mark: None,
    };
    Network {
        own,
        sites,
        classes: vec![Class::VOICE, Class::BULK],
        applications: vec![],
        policies: vec![policy],
        settings: Settings::default(),
    }
}

/// The flow of a call between two sites.
pub fn call(from: SiteId, to: SiteId) -> Flow {
    Flow {
        source: address(from, 1).into(),
        destination: address(to, 1).into(),
        protocol: 17,
        source_port: 5060,
        destination_port: 5060,
        dscp: 46,
        application: None,
    }
}

/// Two sites, 1 and 2, with public uplinks.
pub fn pair(uplinks: u32) -> [Network; 2] {
    let sites = [1, 2].map(|id| site(SiteId(id), uplinks, Reach::Public));
    sites.clone().map(|own| network(own, sites.to_vec()))
}

/// Sites from 1 on that cannot dial each other, and two hubs that pass on what they say. Each knows the hubs, and the two before it and the two behind it in a
/// ring; hubs know everybody. At most [`SPOKES`].
pub fn hubs_and_spokes(spokes: u32, uplinks: u32) -> Vec<Network> {
    let hubs = HUBS.map(|id| site(id, uplinks, Reach::Public));
    let spokes: Vec<Site> = (1..=spokes.min(SPOKES)).map(|id| site(SiteId(id), uplinks, Reach::Closed)).collect();
    let count = spokes.len();
    let near = |place: usize| {
        let steps = [1, 2, count.saturating_sub(2), count.saturating_sub(1)];
        let others = steps.into_iter().filter_map(|step| spokes.get((place + step) % count.max(1)).cloned());
        hubs.iter().cloned().chain(others).collect::<Vec<_>>()
    };
    let everybody: Vec<Site> = hubs.iter().chain(&spokes).cloned().collect();
    let of_hubs = hubs.iter().map(|hub| network(hub.clone(), everybody.clone()));
    let of_spokes = spokes.iter().enumerate().map(|(place, spoke)| network(spoke.clone(), near(place)));
    of_hubs.chain(of_spokes).collect()
}

/// The pairs of a ring: each site and the next.
pub fn ring(spokes: u32) -> Vec<(SiteId, SiteId)> {
    (1..=spokes).map(|id| (SiteId(id), SiteId(id % spokes.max(1) + 1))).collect()
}
