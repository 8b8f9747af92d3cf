//! Sites: what the engine decides of paths, put to work. Paths are tunnels; what both ends tell each other goes by them.

use std::collections::{BTreeMap, BTreeSet, HashMap, VecDeque};
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;
use std::time::Duration;

use outwork_engine::Time;
use outwork_wireguard::message::{HEADER, TAG};
use outwork_wireguard::peer::Settings;
use outwork_wireguard::session::OVERHEAD;
use outwork_wireguard::{Index, PresharedKey, PublicKey};

use super::peers::Peers;
use crate::engine::hello::{self, Hello};
use crate::engine::liveness::State;
use crate::engine::mtu::Probe;
use crate::engine::policy::PolicyError;
use crate::engine::quality::Quality;
use crate::engine::site::{Dial, PathId, PathKey, PathSpec, SiteId, UplinkId};
use crate::engine::table::Table;
use crate::engine::{Engine, Event, Input, Network, Output};
use crate::plane::gauge::Gauge;
use crate::plane::tunnel::{Owner, Tunnel, TunnelId, UplinkIndex};

/// Events that are remembered.
const EVENTS: usize = 1024;
/// How often what tunnels have carried is told to the engine while some are watched closely.
const FEED: Duration = Duration::from_millis(10);

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
    /// Where it is, if it can be dialled.
    pub endpoint: Option<SocketAddr>,
}

/// Something that has happened, and when.
#[derive(Debug, Clone)]
pub struct Happened {
    /// Counts them.
    pub number: u64,
    /// When.
    pub at: Time,
    /// What.
    pub event: Event,
}

/// One path at work.
#[derive(Debug)]
struct Path {
    key: PathKey,
    dial: Dial,
    /// Where the plan has it dialled; it may be elsewhere by now.
    endpoint: Option<SocketAddr>,
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
    events: VecDeque<Happened>,
    happened: u64,
    fed: Time,
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
            events: VecDeque::new(),
            happened: 0,
            fed: now,
        };
        sites.outputs(now);
        Ok(sites)
    }

    /// Goes on with another plan. Paths that are in both go on. On an error nothing has changed.
    ///
    /// # Errors
    /// When its policies cannot be compiled.
    pub fn configure(&mut self, plan: Plan, now: Time) -> Result<(), PolicyError> {
        self.engine.configure(&plan.network, now)?;
        self.plan = plan;
        Ok(())
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
        let spec = |(id, spec, state, quality): (_, &PathSpec, _, &Quality)| (id, *spec, state, quality.figures());
        let specs: Vec<_> = self.engine.paths().map(spec).collect();
        let there: Vec<SiteId> = specs.iter().map(|(_, spec, ..)| spec.key.site).collect();
        self.owners.retain(|site, _| there.contains(site));
        let keys: BTreeSet<PathKey> = specs.iter().map(|(_, spec, ..)| spec.key).collect();
        let goes_on = |key: &PathKey, path: &Path| {
            let remote = self.ends(key).map(|(_, remote)| remote.key);
            keys.contains(key) && remote.is_some_and(|remote| peers.is(path.tunnel.id, &remote))
        };
        // First those that end: another path may have the key of one of them.
        let (kept, ended): (BTreeMap<_, _>, BTreeMap<_, _>) =
            before.into_iter().partition(|(key, path)| goes_on(key, path));
        ended.into_values().for_each(|path| peers.remove(path.tunnel.id));
        let mut before = kept;
        for (id, spec, state, figures) in specs {
            let Some((uplink, remote)) = self.ends(&spec.key) else { continue };
            let dials = spec.dial != Dial::Theirs;
            let endpoint = remote.endpoint.filter(|_| dials);
            let mtu = self.engine.mtu(id).unwrap_or(mtu);
            // Anew each time, for names may have changed.
            let gauge = Arc::new(self.gauge(&spec.key));
            gauge.set_state(state);
            gauge.set_figures(&figures);
            let path = match before.remove(&spec.key) {
                Some(path) => {
                    path.tunnel.set_mtu(mtu);
                    if let Some(endpoint) = endpoint.filter(|_| endpoint != path.endpoint) {
                        peers.moved(now, path.tunnel.id, endpoint);
                    }
                    Path { dial: spec.dial, endpoint, gauge, ..path }
                }
                None => {
                    let owner = *self.owners.entry(spec.key.site).or_insert_with(|| Owner(number()));
                    let name = self.name(&spec.key);
                    let tunnel = Arc::new(Tunnel::new(TunnelId(number()), &name, uplink, owner, mtu));
                    let (key, psk) = (remote.key, PresharedKey::default());
                    let settings = Settings { remote: key, psk, endpoint, keepalive: None };
                    if !peers.add(now, Arc::clone(&tunnel), settings) {
                        tracing::warn!(path = name, "two paths have the same key at both ends: this one is left out");
                        continue;
                    }
                    Path { key: spec.key, dial: spec.dial, endpoint, tunnel, gauge, fed: (0, 0) }
                }
            };
            self.of_tunnel.insert(path.tunnel.id, id);
            self.paths.insert(id, path);
        }
    }

    /// Both ends of a path; none of one that is passed on by a hub, which has no tunnel of its own.
    fn ends(&self, key: &PathKey) -> Option<(UplinkIndex, Remote)> {
        let own = self.plan.own.get(&key.own).copied()?;
        let remote = self.plan.remote.get(&key.remote).cloned()?;
        key.via.is_none().then_some((own, remote))
    }

    /// What a path is called.
    pub fn name(&self, key: &PathKey) -> String {
        let uplink = |id| self.plan.uplinks.get(&id).map_or("?", String::as_str);
        let site = self.plan.names.get(&key.site).map_or("?", String::as_str);
        format!("{site} {}-{}", uplink(key.own), uplink(key.remote))
    }

    /// Where what is measured of a path is told.
    fn gauge(&self, key: &PathKey) -> Gauge {
        let uplink = |id| self.plan.uplinks.get(&id).map_or("?", String::as_str);
        let site = self.plan.names.get(&key.site).map_or("?", String::as_str);
        Gauge::new(site, uplink(key.own), uplink(key.remote))
    }

    /// Something that both ends tell each other came by a tunnel.
    pub fn control(&mut self, now: Time, tunnel: TunnelId, octets: &[u8]) {
        let Some(path) = self.of_tunnel.get(&tunnel).copied() else { return };
        let hello = Hello::decode(octets).map(|hello| Input::Hello(path, hello));
        let input = hello.or_else(|| Probe::decode(octets).map(|probe| Input::Probe(path, probe)));
        if let Some(input) = input {
            self.feed(now);
            self.engine.handle_input(now, input);
            if let (Some(path), Some(figures)) = (self.paths.get(&path), self.engine.figures(path)) {
                path.gauge.set_figures(&figures);
            }
        }
    }

    /// Somebody on the way says that datagrams by an uplink may be `mtu` octets long, with all that is around them. Who does not know their session is not heard.
    pub fn hint(&mut self, now: Time, uplink: UplinkIndex, session: Option<Index>, mtu: usize) {
        let is = |tunnel: &Tunnel| {
            tunnel.uplink == uplink && tunnel.sealer().as_ref().is_some_and(|sealer| Some(sealer.remote()) == session)
        };
        let Some((id, path)) = self.paths.iter().find(|(_, path)| is(&path.tunnel)) else { return };
        let outside = match path.tunnel.endpoint() {
            Some(SocketAddr::V6(_)) => 40 + 8,
            _ => 20 + 8,
        };
        if let Some(Ok(size)) = mtu.checked_sub(outside + OVERHEAD).map(u16::try_from) {
            let input = Input::Hint(*id, size);
            self.engine.handle_input(now, input);
        }
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

    /// Tells the engine what tunnels have carried since it was last told.
    fn feed(&mut self, now: Time) {
        self.fed = now;
        for (id, path) in &mut self.paths {
            let tallies = &path.tunnel.tallies;
            let (sent, received) = (tallies.sent.load(Relaxed), tallies.received.load(Relaxed));
            let (before_sent, before_received) = std::mem::replace(&mut path.fed, (sent, received));
            let (sent, received) = (sent.wrapping_sub(before_sent), received.wrapping_sub(before_received));
            if sent > 0 || received > 0 {
                let input = Input::Traffic { path: *id, sent: sent as u32, received: received as u32 };
                self.engine.handle_input(now, input);
            }
        }
    }

    /// Does what is due.
    pub fn handle_timeout(&mut self, now: Time) {
        if now.since(self.fed) >= FEED || self.engine.poll_timeout().is_some_and(|(at, _)| at <= now) {
            self.feed(now);
        }
        self.engine.handle_timeout(now);
    }

    /// When [`Sites::handle_timeout`] is to be called next.
    pub fn poll_timeout(&self) -> Option<Time> {
        self.engine.poll_timeout().map(|(at, _)| at)
    }

    /// Takes what the engine says; gives what is to be done about it.
    pub fn outputs(&mut self, now: Time) -> Vec<Todo> {
        let mut todo = vec![];
        while let Some(output) = self.engine.poll_output() {
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
                Output::Mtu(id, mtu) => {
                    if let Some(path) = self.paths.get(&id) {
                        path.tunnel.set_mtu(mtu);
                    }
                }
                Output::Table(table) => {
                    self.table = Some(table);
                    todo.push(Todo::View);
                }
                Output::Event(event) => {
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
                    self.log(&event);
                    if self.events.len() == EVENTS {
                        self.events.pop_front();
                    }
                    self.happened += 1;
                    self.events.push_back(Happened { number: self.happened, at: now, event });
                }
            }
        }
        todo
    }

    fn log(&self, event: &Event) {
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
            Event::Switch { site, lane, from, to, why } => {
                let site = self.plan.names.get(site).map_or("?", String::as_str);
                let (from, to) = (from.as_ref().map(name), to.as_ref().map(name));
                tracing::info!(site, lane = lane.0, from, to, %why, "traffic takes another path");
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
