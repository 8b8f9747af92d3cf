//! Sites: what the engine decides of paths, put to work. Paths are tunnels; what both ends tell each other goes by them.
//!
//! - `index`: whose what is.
//! - `ranks`: by which tunnels hubs are reached, and others by this one.

mod index;
mod quiet;
mod ranks;

#[cfg(test)]
mod tests;

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::net::SocketAddr;
use std::ops::Bound::{Excluded, Unbounded};
use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;
use std::time::Duration;

use outwork_engine::Time;
use outwork_wireguard::message::{HEADER, TAG};
use outwork_wireguard::peer::Settings;
use outwork_wireguard::session::OVERHEAD;
use outwork_wireguard::{PresharedKey, PublicKey};

use self::index::Index as Known;
use self::quiet::Quiet;
use super::events::{Events, Happened};
use super::explain::words;
use super::peers::Peers;
use super::seen::{self, Word};
use crate::engine::damp::Why;
use crate::engine::hello::{self, Hello, VERSION};
use crate::engine::liveness::{Cause, State};
use crate::engine::mtu::Probe;
use crate::engine::policy::{LaneId, PolicyError};
use crate::engine::quality::Quality;
use crate::engine::site::{Dial, PathId, PathKey, PathSpec, Reach, SiteId, UplinkId};
use crate::engine::table::Table;
use crate::engine::{Engine, Event, Input, Network, Output, Timer};
use crate::metrics::PathMetrics;
use crate::plane::gauge::Gauge;
use crate::plane::relay::{Place, Relay};
use crate::plane::tunnel::{Owner, Tunnel, TunnelId, UplinkIndex};
use crate::plane::view::Relays;

/// How often the engine is told what tunnels have carried of which nothing is due, and of how many at a time: all of them have their turn, and what that takes
/// does not grow with them.
const FEED: Duration = Duration::from_millis(10);
const FED: usize = 256;

/// Workers are given tables no more often than that: each has a word of every site in it.
const TABLES: Duration = Duration::from_millis(1);

/// How often who cannot be dialled is heard at least: NATs forget sooner who says nothing (RFC 4787 section 4.3).
const OPEN: Duration = Duration::from_secs(25);

/// What there is beside what the engine knows.
#[derive(Debug, Clone)]
pub struct Plan {
    /// What the engine is to know.
    pub network: Network,
    /// Our uplinks, by their numbers.
    pub own: BTreeMap<UplinkId, UplinkIndex>,
    /// Those of others: whose, the key, and where it can be dialled.
    pub remote: BTreeMap<UplinkId, Remote>,
    /// What sites are called.
    pub names: BTreeMap<SiteId, String>,
    /// What uplinks are called.
    pub uplinks: BTreeMap<UplinkId, String>,
    /// What classes, applications and policies are called.
    pub rules: Rules,
}

/// What classes, applications and policies are called, by their numbers.
#[derive(Debug, Clone, Default)]
#[allow(missing_docs)]
pub struct Rules {
    pub classes: Vec<String>,
    pub applications: Vec<String>,
    pub policies: Vec<String>,
}

/// An uplink of another site.
#[derive(Debug, Clone)]
pub struct Remote {
    /// Who is there.
    pub key: PublicKey,
    /// The key that takes over from that one, while it does.
    pub next: Option<PublicKey>,
    /// The first that it ever had.
    pub first: PublicKey,
    /// Where it is, if it can be dialled.
    pub endpoint: Option<SocketAddr>,
}

impl Remote {
    /// As hubs call it: keys that take over leave that as it is.
    pub fn place(&self) -> Place {
        Place::of(&self.first)
    }

    /// All keys by which it is known.
    pub fn keys(&self) -> impl Iterator<Item = &PublicKey> {
        std::iter::once(&self.key).chain(&self.next)
    }
}

/// One path at work.
#[derive(Debug)]
struct Path {
    key: PathKey,
    dial: Dial,
    /// Where the plan has it dialled; it may be elsewhere by now.
    planned: Option<SocketAddr>,
    tunnel: Arc<Tunnel>,
    gauge: Arc<Gauge>,
    /// What the engine was told that it has carried.
    fed: (u64, u64),
}

/// The sites of this one.
#[derive(Debug)]
pub struct Sites {
    plan: Plan,
    engine: Engine,
    paths: BTreeMap<PathId, Path>,
    of_tunnel: HashMap<TunnelId, PathId>,
    owners: BTreeMap<SiteId, Owner>,
    table: Option<Arc<Table>>,
    /// When that was made.
    tabled: Time,
    events: Events,
    /// Whose what is.
    index: Known,
    /// Whom hubs know by which name.
    relays: Arc<Relays>,
    /// When the engine was last told what tunnels have carried of which nothing is due, and up to which path.
    fed: (Time, PathId),
    /// How often counters of tunnels were read.
    reads: u64,
    /// Where uplinks that cannot be dialled are seen from outside, ours and others.
    seen: BTreeMap<Place, SocketAddr>,
    /// What others call our uplinks.
    own: BTreeMap<UplinkIndex, Place>,
    /// When a hub was last asked for that.
    asked: Time,
    /// When paths were last made anew for what hubs say of who is seen where, and whether they are to be again.
    thought: Option<Time>,
    stale: bool,
    said: Vec<Todo>,
    measures: Arc<PathMetrics>,
}

/// What a site says that nobody here understands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Foreign {
    /// A hello, of this version.
    Version(u8),
    /// Something else.
    Unknown,
}

/// What is to be done about what the engine says.
#[derive(Debug)]
pub enum Todo {
    /// To be sealed with the keys of a tunnel and sent.
    Hello(Arc<Tunnel>, [u8; hello::LENGTH]),
    /// The same.
    Probe(Arc<Tunnel>, Probe),
    /// Workers are to know another view.
    View,
    /// A session is wanted.
    Wanted(TunnelId),
    /// To be sealed and sent; nobody waits for it.
    Say(Arc<Tunnel>, Vec<u8>),
    /// Other paths can be than there were.
    Join,
    /// Workers are to look into their sockets, and then [`Sites::looked`] is to be called.
    Look,
}

impl Sites {
    /// The sites of a plan. What is done by chance follows from `seed`.
    ///
    /// # Errors
    /// When its policies cannot be compiled.
    pub fn new(plan: Plan, seed: u64, now: Time) -> Result<Sites, PolicyError> {
        let engine = Engine::new(&plan.network, seed, now)?;
        let (paths, of_tunnel, owners) = Default::default();
        let mut sites = Sites {
            plan,
            engine,
            paths,
            of_tunnel,
            owners,
            table: None,
            tabled: Time::ZERO,
            events: Events::default(),
            index: Known::default(),
            relays: Arc::default(),
            fed: (now, PathId(0)),
            reads: 0,
            seen: BTreeMap::new(),
            own: BTreeMap::new(),
            asked: now,
            thought: None,
            stale: false,
            said: vec![],
            measures: Arc::default(),
        };
        sites.outputs(now);
        Ok(sites)
    }

    /// The same, and what is measured is told there.
    #[must_use]
    pub fn measured(self, measures: &Arc<PathMetrics>) -> Sites {
        Sites { measures: Arc::clone(measures), ..self }
    }

    /// Goes on with another plan. Paths that are in both go on. On an error nothing has changed.
    ///
    /// # Errors
    /// When its policies cannot be compiled.
    pub fn configure(&mut self, plan: Plan, now: Time) -> Result<(), PolicyError> {
        self.engine.configure(&self.network(&plan), now)?;
        self.plan = plan;
        Ok(())
    }

    /// Goes on with what is known by now of who is seen where.
    ///
    /// # Errors
    /// None that the plan did not have before.
    pub fn rethink(&mut self, now: Time) -> Result<(), PolicyError> {
        (self.thought, self.stale) = (Some(now), false);
        self.engine.configure(&self.network(&self.plan), now)
    }

    /// The network of a plan, with what is known by now of who is seen where.
    fn network(&self, plan: &Plan) -> Network {
        let mut network = plan.network.clone();
        for site in std::iter::once(&mut network.own).chain(&mut network.sites) {
            for uplink in site.uplinks.iter_mut().filter(|uplink| uplink.reach == Reach::Closed) {
                let own = plan.own.get(&uplink.id).and_then(|index| self.own.get(index)).copied();
                let place = own.or_else(|| plan.remote.get(&uplink.id).map(|remote| remote.place()));
                if place.is_some_and(|place| self.seen.contains_key(&place)) {
                    uplink.reach = Reach::Discovered;
                }
            }
        }
        network
    }

    /// Asks hubs where those are that cannot be dialled, and have no path without them.
    fn ask(&mut self, now: Time) {
        self.asked = now;
        let mut questions: BTreeMap<TunnelId, (Arc<Tunnel>, Vec<Place>)> = BTreeMap::new();
        // Where no other path works.
        let lost = self.index.hidden().iter().filter(|id| !self.engine.rests(**id));
        for path in lost.filter_map(|id| self.paths.get(id)) {
            let Some(relay) = &path.tunnel.relay else { continue };
            if let Some(carrier) = relay.carrier().as_ref() {
                let (_, places) = questions.entry(carrier.id).or_insert_with(|| (Arc::clone(carrier), vec![]));
                places.push(relay.to);
            }
        }
        for (tunnel, places) in questions.into_values() {
            let words = places.chunks(seen::MOST - 1).map(|some| Word::Where(some.to_vec()).encode());
            self.said.extend(words.map(|word| Todo::Say(Arc::clone(&tunnel), word)));
        }
    }

    /// Somebody asks where others are seen, or a hub says it.
    fn heard(&mut self, now: Time, from: PathId, word: Word) {
        let Some(path) = self.paths.get(&from).filter(|path| path.key.via.is_none()) else { return };
        match word {
            Word::Where(places) if self.plan.network.own.hub => {
                let own = self.plan.remote.get(&path.key.remote).map(|remote| remote.place());
                let (Some(own), Some(at)) = (own, path.tunnel.endpoint()) else { return };
                let others = places.iter().filter_map(|asked| {
                    let id = self.index.reaching(asked).iter().find(|id| self.engine.is_up(**id))?;
                    Some((*asked, self.paths.get(id)?.tunnel.endpoint()?))
                });
                let seen = std::iter::once((own, at)).chain(others).take(seen::MOST).collect();
                let tunnel = Arc::clone(&path.tunnel);
                self.said.push(Todo::Say(tunnel, Word::There(seen).encode()));
            }
            Word::There(seen) => {
                let [own, others @ ..] = &seen[..] else { return };
                if !self.index.is_hub(path.key.site) {
                    return;
                }
                let mut news: Vec<_> =
                    others.iter().filter(|(place, _)| self.index.is_closed(place)).copied().collect();
                news.extend(self.own.get(&path.tunnel.uplink).map(|place| (*place, own.1)));
                for (place, at) in news {
                    if self.seen.insert(place, at) != Some(at) {
                        tracing::info!(?place, %at, "a hub says where an uplink behind a NAT is");
                        self.stale = true;
                    }
                }
                self.think(now);
            }
            Word::Where(_) => {}
        }
    }

    /// Has paths made anew for what hubs say, no more often than they are asked: all of them are looked at.
    fn think(&mut self, now: Time) {
        if self.stale && self.thought.is_none_or(|before| now.since(before) >= self.pause()) {
            (self.thought, self.stale) = (Some(now), false);
            self.said.push(Todo::Join);
        }
    }

    /// How a path by a hub goes; none of one that goes straight.
    fn relay(&mut self, peers: &Peers, key: &PathKey, number: &mut impl FnMut() -> u32) -> Option<Relay> {
        let (uplink, remote) = self.ends(key)?;
        let hub = *self.owners.entry(key.via?).or_insert_with(|| Owner(number()));
        let (_, own) = peers.own().find(|(own, _)| *own == uplink)?;
        Some(Relay::new(Place::of(own), remote.place(), hub))
    }

    /// Makes tunnels of the paths that there are now, and ends those of paths that are gone. `next` gives numbers to tunnels and owners.
    pub fn join(&mut self, peers: &mut Peers, now: Time, mtu: u16, next: &mut u32) {
        let mut number = || {
            *next += 1;
            *next - 1
        };
        let before: BTreeMap<PathKey, Path> =
            std::mem::take(&mut self.paths).into_values().map(|path| (path.key, path)).collect();
        self.of_tunnel.clear();
        self.own = peers.own().map(|(uplink, key)| (uplink, Place::of(key))).collect();
        let places: BTreeSet<Place> =
            self.plan.remote.values().map(Remote::place).chain(self.own.values().copied()).collect();
        self.seen.retain(|place, _| places.contains(place));
        let spec = |(id, spec, state, quality): (_, &PathSpec, _, &Quality)| (id, *spec, state, quality.figures());
        let specs: Vec<_> = self.engine.paths().map(spec).collect();
        let there: BTreeSet<SiteId> = specs.iter().map(|(_, spec, ..)| spec.key.site).collect();
        self.owners.retain(|site, _| there.contains(site));
        let mut by_hub = |spec: &PathSpec| self.relay(peers, &spec.key, &mut number);
        let specs: Vec<_> = specs.into_iter().map(|all| (by_hub(&all.1), all)).collect();
        let way = |relay: Option<&Relay>| relay.map(|relay| (relay.from, relay.address));
        let ways: BTreeMap<_, _> = specs.iter().map(|(relay, (_, spec, ..))| (spec.key, way(relay.as_ref()))).collect();
        let goes_on = |key: &PathKey, path: &Path| {
            let remote = self.ends(key).map(|(_, remote)| remote);
            let is_same = ways.get(key) == Some(&way(path.tunnel.relay.as_ref()));
            is_same && remote.is_some_and(|remote| remote.keys().any(|key| peers.is(path.tunnel.id, key)))
        };
        // First those that end: another path may have the key of one of them.
        let (kept, ended): (BTreeMap<_, _>, BTreeMap<_, _>) =
            before.into_iter().partition(|(key, path)| goes_on(key, path));
        ended.into_values().for_each(|path| peers.remove(path.tunnel.id));
        for (key, path) in &kept {
            if let Some((_, remote)) = self.ends(key) {
                peers.know(now, path.tunnel.id, remote.key, remote.next);
            }
        }
        let mut before = kept;
        for (relay, (id, spec, state, figures)) in specs {
            let Some((uplink, remote)) = self.ends(&spec.key) else { continue };
            if relay.is_none() && spec.key.via.is_some() {
                continue;
            }
            // By a hub both can.
            let dial = if relay.is_some() { Dial::Both } else { spec.dial };
            let seen = self.seen.get(&remote.place()).copied();
            let dials = dial != Dial::Theirs;
            let planned = remote.endpoint.filter(|_| dials && relay.is_none());
            let straight = remote.endpoint.or(seen).filter(|_| dials);
            let endpoint = relay.as_ref().map(|relay| relay.address).or(straight);
            let keepalive = (dials && relay.is_none() && self.is_closed(&spec.key)).then_some(OPEN);
            let mtu = self.engine.mtu(id).unwrap_or(mtu);
            // Anew each time, for names may have changed.
            let gauge = Arc::new(self.gauge(&spec.key));
            gauge.set_state(state);
            gauge.set_figures(&figures);
            let path = match before.remove(&spec.key) {
                Some(path) => {
                    path.tunnel.set_mtu(mtu);
                    peers.set(path.tunnel.id, PresharedKey::default(), keepalive);
                    // Who was last heard elsewhere is there, unless it is heard no longer, or the plan has it moved.
                    let is_lost = !matches!(state, State::Up | State::Suspect | State::Trial);
                    let has_moved = planned.is_some() && planned != path.planned;
                    let elsewhere = |at: &SocketAddr| path.tunnel.endpoint() != Some(*at);
                    if let Some(at) = endpoint.filter(|at| (is_lost || has_moved) && elsewhere(at)) {
                        peers.moved(now, path.tunnel.id, at);
                    }
                    Path { dial, planned, gauge, ..path }
                }
                None => {
                    let owner = *self.owners.entry(spec.key.site).or_insert_with(|| Owner(number()));
                    let name = self.name(&spec.key);
                    let tunnel =
                        Arc::new(Tunnel::new(TunnelId(number()), &name, uplink, owner, mtu).by(relay).of_site());
                    let (key, psk) = (remote.key, PresharedKey::default());
                    let settings = Settings { remote: key, psk, endpoint, keepalive };
                    if !peers.add(now, Arc::clone(&tunnel), settings) {
                        tracing::warn!(path = name, "two paths have the same key at both ends: this one is left out");
                        continue;
                    }
                    peers.know(now, tunnel.id, remote.key, remote.next);
                    Path { key: spec.key, dial, planned, tunnel, gauge, fed: (0, 0) }
                }
            };
            self.of_tunnel.insert(path.tunnel.id, id);
            self.paths.insert(id, path);
        }
        self.index = Known::new(&self.plan, &self.paths);
        self.rank_all();
    }

    /// Whether nobody can dial our end of a path: a NAT is to be kept open.
    fn is_closed(&self, key: &PathKey) -> bool {
        self.plan.network.own.uplinks.iter().any(|uplink| uplink.id == key.own && uplink.reach == Reach::Closed)
    }

    /// Both ends of a path.
    fn ends(&self, key: &PathKey) -> Option<(UplinkIndex, Remote)> {
        let own = self.plan.own.get(&key.own).copied()?;
        let remote = self.plan.remote.get(&key.remote).cloned()?;
        Some((own, remote))
    }

    /// What a path is called.
    pub fn name(&self, key: &PathKey) -> String {
        let uplink = |id| self.plan.uplinks.get(&id).map_or("?", String::as_str);
        let site = self.plan.names.get(&key.site).map_or("?", String::as_str);
        let via = self.via(key).map(|hub| format!(" by {hub}")).unwrap_or_default();
        format!("{site} {}-{}{via}", uplink(key.own), uplink(key.remote))
    }

    /// What the hub is called that passes a path on.
    pub fn via(&self, key: &PathKey) -> Option<&str> {
        key.via.map(|hub| self.plan.names.get(&hub).map_or("?", String::as_str))
    }

    /// Where what is measured of a path is told.
    fn gauge(&self, key: &PathKey) -> Gauge {
        let uplink = |id| self.plan.uplinks.get(&id).map_or("?", String::as_str);
        let site = self.plan.names.get(&key.site).map_or("?", String::as_str);
        Gauge::new(site, uplink(key.own), uplink(key.remote)).by(self.via(key))
    }

    /// Something that both ends tell each other came by a tunnel.
    ///
    /// # Errors
    /// When nobody here understands it.
    pub fn control(&mut self, now: Time, tunnel: TunnelId, octets: &[u8]) -> Result<(), Foreign> {
        let Some(path) = self.of_tunnel.get(&tunnel).copied() else { return Ok(()) };
        if let Some(word) = Word::decode(octets) {
            self.heard(now, path, word);
            return Ok(());
        }
        if let Some(quiet) = Quiet::decode(octets) {
            self.hear_of_silence(now, path, &quiet);
            return Ok(());
        }
        let hello = Hello::decode(octets).map(|hello| Input::Hello(path, hello));
        let input = hello.or_else(|| Probe::decode(octets).map(|probe| Input::Probe(path, probe)));
        let Some(input) = input else {
            let version = Hello::version(octets).filter(|version| *version != VERSION);
            return Err(version.map_or(Foreign::Unknown, Foreign::Version));
        };
        self.feed(now, path);
        self.engine.handle_input(now, input);
        if hello.is_some() {
            self.engine.sample(path).iter().for_each(|took| self.measures.health_check.record(*took));
        }
        if let (Some(path), Some(figures)) = (self.paths.get(&path), self.engine.figures(path)) {
            path.gauge.set_figures(&figures);
        }
        Ok(())
    }

    /// Somebody on the way says that datagrams of a tunnel may be `mtu` octets long, with all that is around them.
    pub fn hint(&mut self, now: Time, tunnel: TunnelId, mtu: usize) {
        if let Some(id) = self.of_tunnel.get(&tunnel).copied() {
            self.hint_path(now, id, mtu);
        }
    }

    /// This host says so itself, of all tunnels that are such.
    pub fn narrowed(&mut self, now: Time, mtu: usize, is: impl Fn(&Tunnel) -> bool) {
        let ids: Vec<_> = self.paths.iter().filter(|(_, path)| is(&path.tunnel)).map(|(id, _)| *id).collect();
        ids.into_iter().for_each(|id| self.hint_path(now, id, mtu));
    }

    fn hint_path(&mut self, now: Time, id: PathId, mtu: usize) {
        let Some(path) = self.paths.get(&id) else { return };
        let outside = match path.tunnel.endpoint() {
            Some(SocketAddr::V6(_)) => 40 + 8,
            _ => 20 + 8,
        };
        if let Some(Ok(size)) = mtu.checked_sub(outside + OVERHEAD).map(u16::try_from) {
            self.engine.handle_input(now, Input::Hint(id, size));
        }
    }

    /// Everything that had come until some time was handed in.
    pub fn looked(&mut self, now: Time, until: Time) {
        for id in self.engine.waiting().to_vec() {
            self.feed(now, id);
        }
        self.engine.handle_input(now, Input::Looked(until));
    }

    /// When a path was first found that traffic has to leave, since this was last asked.
    pub fn take_left(&mut self) -> Option<Time> {
        self.engine.take_left()
    }

    /// Nothing leaves by a tunnel.
    pub fn stuck(&mut self, now: Time, tunnel: TunnelId) {
        if let Some(path) = self.of_tunnel.get(&tunnel) {
            self.engine.handle_input(now, Input::SocketError(*path));
        }
    }

    /// An uplink of ours has lost its carrier, or has it again.
    pub fn carrier(&mut self, now: Time, uplink: UplinkIndex, carrier: bool) {
        let ids = self.plan.own.iter().filter(|(_, index)| **index == uplink).map(|(id, _)| *id);
        for id in ids.collect::<Vec<_>>() {
            self.engine.handle_input(now, Input::Carrier(id, carrier));
        }
    }

    /// Tells the engine what the tunnel of a path has carried since it was last told.
    fn feed(&mut self, now: Time, id: PathId) {
        let Some(path) = self.paths.get_mut(&id) else { return };
        self.reads += 1;
        let tallies = &path.tunnel.tallies;
        let (sent, received) = (tallies.sent.load(Relaxed), tallies.received.load(Relaxed));
        let (before_sent, before_received) = std::mem::replace(&mut path.fed, (sent, received));
        let (sent, received) = (sent.wrapping_sub(before_sent), received.wrapping_sub(before_received));
        if sent > 0 || received > 0 {
            let input = Input::Traffic { path: id, sent: sent as u32, received: received as u32 };
            self.engine.handle_input(now, input);
        }
    }

    /// The same of some of those of which nothing is due: where traffic begins, the engine is to know it soon.
    fn feed_some(&mut self, now: Time) {
        let (_, last) = self.fed;
        let behind = self.paths.range((Excluded(last), Unbounded));
        let ids: Vec<_> = behind.chain(self.paths.range(..=last)).map(|(id, _)| *id).take(FED).collect();
        ids.iter().for_each(|id| self.feed(now, *id));
        self.fed = (now, ids.last().copied().unwrap_or(last));
    }

    /// Does what is due. Before that, the engine is told what the tunnels have carried that it is about.
    pub fn handle_timeout(&mut self, now: Time) {
        if now.since(self.fed.0) >= FEED {
            self.feed_some(now);
        }
        while let Some(due) = self.engine.poll_due(now) {
            match due.timer {
                Timer::Path(id) => self.feed(now, id),
                Timer::Site(place) => {
                    for id in self.engine.paths_to(place).to_vec() {
                        self.feed(now, id);
                    }
                }
            }
            self.engine.handle_due(now, due);
        }
        self.engine.handle_timeout(now);
        if now.since(self.asked) >= self.pause() {
            self.ask(now);
        }
        self.think(now);
    }

    /// How often counters of tunnels were read.
    pub fn reads(&self) -> u64 {
        self.reads
    }

    /// Between questions to hubs.
    fn pause(&self) -> Duration {
        self.plan.network.settings.liveness.interval
    }

    /// When [`Sites::handle_timeout`] is to be called next.
    pub fn poll_timeout(&self) -> Option<Time> {
        // The engine has timers as often as hubs are asked, where there is anybody to ask for.
        let engine = self.engine.poll_timeout().map(|(at, _)| at);
        let think = self.thought.filter(|_| self.stale).map(|before| before + self.pause());
        let table = self.engine.owes_table().then(|| self.tabled + TABLES);
        [engine, think, table].into_iter().flatten().min()
    }

    /// Takes what the engine says; gives what is to be done about it.
    pub fn outputs(&mut self, now: Time) -> Vec<Todo> {
        let (mut todo, mut changed) = (std::mem::take(&mut self.said), BTreeSet::new());
        let owes_table = |sites: &Sites| sites.engine.owes_table() && now.since(sites.tabled) >= TABLES;
        while let Some(output) = match owes_table(self) {
            true => self.engine.poll_output(),
            false => self.engine.poll_without_table(),
        } {
            match output {
                Output::Hello(id, hello) => {
                    if let Some(path) = self.paths.get(&id) {
                        todo.push(Todo::Hello(Arc::clone(&path.tunnel), hello.encode()));
                    }
                }
                Output::Probe(id, probe) => {
                    if let Some(path) = self.paths.get(&id) {
                        todo.push(Todo::Probe(Arc::clone(&path.tunnel), probe));
                    }
                }
                Output::Silent { by, of, silence } => {
                    if let (Some(path), Some(quiet)) = (self.paths.get(&by), self.quiet(by, of, silence)) {
                        todo.push(Todo::Say(Arc::clone(&path.tunnel), quiet.encode().to_vec()));
                    }
                }
                Output::Mtu(id, mtu) => {
                    if let Some(path) = self.paths.get(&id) {
                        path.tunnel.set_mtu(mtu);
                    }
                }
                Output::Table(table) => {
                    (self.table, self.tabled) = (Some(table), now);
                    todo.push(Todo::View);
                }
                Output::Event(event) => {
                    match &event {
                        Event::Path { path, .. } => changed.extend(self.paths.get(path).map(|path| path.key.site)),
                        Event::Switch { site, .. } => changed.extend([*site]),
                        Event::Mtu { .. } => {}
                    }
                    if let Event::Path { path, change } = &event
                        && let Some(path) = self.paths.get(path)
                    {
                        path.gauge.set_state(change.to);
                    }
                    // The other end may have begun anew, and know nothing of our keys.
                    if let Event::Path { path, change } = event
                        && change.to == State::Down
                        && let Some(path) = self.paths.get(&path).filter(|path| path.dial != Dial::Theirs)
                    {
                        todo.push(Todo::Wanted(path.tunnel.id));
                    }
                    let lane = match &event {
                        Event::Switch { lane, .. } => self.lane(*lane),
                        _ => None,
                    };
                    self.log(&event, lane.as_ref());
                    self.happened(now, event, lane);
                }
                Output::Look => todo.push(Todo::Look),
            }
        }
        changed.into_iter().for_each(|site| self.rank(site));
        todo
    }

    /// Remembers what has happened.
    fn happened(&mut self, now: Time, event: Event, lane: Option<(String, String)>) {
        match event {
            Event::Path { path, change } => {
                if change.cause == Some(Cause::Silence)
                    && let Some(heard) = self.engine.last_heard(path)
                    && matches!(change.from, State::Up | State::Suspect)
                {
                    self.measures.detection.record(now.since(heard));
                }
                if let (State::Suspect, State::Up) = (change.from, change.to) {
                    self.measures.doubts.inc();
                }
            }
            Event::Switch { why: Why::Last, .. } => self.measures.last_path_kept.inc(),
            Event::Switch { .. } | Event::Mtu { .. } => {}
        }
        self.events.add(now, event, lane);
    }

    /// The class of a lane, and how its paths are chosen.
    fn lane(&self, LaneId(id): LaneId) -> Option<(String, String)> {
        let lane = self.engine.lanes().get(usize::from(id))?;
        let class = self.plan.rules.classes.get(usize::from(lane.class.0)).cloned().unwrap_or_default();
        Some((class, words(self, &lane.strategy)))
    }

    fn log(&self, event: &Event, lane: Option<&(String, String)>) {
        let name = |id: &PathId| self.paths.get(id).map_or_else(|| format!("{id:?}"), |path| self.name(&path.key));
        match event {
            Event::Path { path, change } => {
                let (path, from, to) = (name(path), change.from.word(), change.to.word());
                let cause = change.cause.map(|cause| cause.to_string());
                match change.to {
                    State::Down => tracing::warn!(path, from, to, cause, "a path is down"),
                    State::Up if change.from != State::Suspect => tracing::info!(path, from, to, "a path is up"),
                    _ => tracing::debug!(path, from, to, "a path is taken for something else"),
                }
            }
            Event::Mtu { path, change } => {
                let (path, from, to) = (name(path), change.from, change.to);
                match to < from {
                    true => tracing::warn!(path, from, to, "a path takes no packets as long as before"),
                    false => tracing::info!(path, from, to, "a path takes longer packets"),
                }
            }
            Event::Switch { site, from, to, why, .. } => {
                let site = self.plan.names.get(site).map_or("?", String::as_str);
                let (from, to) = (from.as_ref().map(name), to.as_ref().map(name));
                let class = lane.map(|(class, _)| class);
                if matches!(event, Event::Switch { why: Why::Last, .. }) {
                    return tracing::warn!(site, class, to, "no path works, and the last one that did is still tried");
                }
                tracing::info!(site, class, from, to, %why, "traffic takes another path");
            }
        }
    }

    /// The table in force.
    pub fn table(&self) -> Option<&Arc<Table>> {
        self.table.as_ref()
    }

    /// The tunnels of paths, by their number.
    pub fn tunnels(&self) -> impl Iterator<Item = (PathId, &Arc<Tunnel>)> {
        self.paths.iter().map(|(id, path)| (*id, &path.tunnel))
    }

    /// What was measured of paths, in the order of their numbers.
    pub fn gauges(&self) -> impl Iterator<Item = &Arc<Gauge>> {
        self.paths.values().map(|path| &path.gauge)
    }

    /// Sites with what is behind them.
    pub fn networks(&self) -> impl Iterator<Item = (crate::engine::prefix::Prefix, Owner)> {
        self.plan.network.sites.iter().flat_map(|site| {
            let owner = self.owners.get(&site.id).copied();
            site.subnets.iter().filter_map(move |net| Some((*net, owner?)))
        })
    }

    /// What has happened lately, the oldest first.
    pub fn events(&self) -> impl Iterator<Item = &Happened> {
        self.events.iter()
    }

    /// What a path is called by its number; none where it is gone.
    pub fn called(&self, id: PathId) -> Option<String> {
        self.paths.get(&id).map(|path| self.name(&path.key))
    }

    /// The site that a path leads to, by the path's number; none where it is gone.
    pub fn led_to(&self, id: PathId) -> Option<&str> {
        let path = self.paths.get(&id)?;
        self.plan.names.get(&path.key.site).map(String::as_str)
    }

    /// What there is beside the engine.
    pub fn plan(&self) -> &Plan {
        &self.plan
    }

    /// What decides.
    pub fn engine(&self) -> &Engine {
        &self.engine
    }
}

/// Seals what both ends tell each other, padded to no more than `mtu` octets; none without a session.
pub fn seal(now: Time, tunnel: &Tunnel, octets: &[u8], mtu: usize) -> Option<Vec<u8>> {
    let mut buffer = vec![0; HEADER + octets.len().next_multiple_of(16) + TAG];
    buffer.get_mut(HEADER..HEADER + octets.len())?.copy_from_slice(octets);
    let sealed = tunnel.sealer().as_ref()?.seal(now, &mut buffer, HEADER..HEADER + octets.len(), mtu).ok()?;
    buffer.truncate(sealed.datagram.end);
    Some(buffer)
}
