//! What is decided once for all workers, by one thread: handshakes, who there is, whose addresses are behind which tunnel.
//!
//! - [`peers`]: handshakes of all tunnels.
//! - [`sites`]: what the engine decides of paths to sites, put to work.
//! - [`seen`]: where sites behind NATs are seen from outside.
//! - [`carriers`]: which uplinks have one. [`narrow`]: which peers are on ways that take less.
//! - [`events`]: what has happened lately.
//! - [`told`]: what others are told of all that; [`explain`], what becomes of a flow and why.

pub mod carriers;
pub mod events;
pub mod explain;
pub mod narrow;
pub mod peers;
pub mod seen;
pub mod sites;
pub mod told;

use std::collections::{BTreeMap, BTreeSet};
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;
use std::sync::mpsc::{Receiver, SyncSender};
use std::time::Duration;

use outwork_engine::Time;
use outwork_net::carrier::{Reason, Way};
use outwork_net::poll::{self, Entry, Waker};
use outwork_wireguard::gate::Limits;
use outwork_wireguard::peer::Settings;
use outwork_wireguard::{Identity, PresharedKey, PublicKey};

use crate::engine::hello::VERSION;
use crate::engine::mtu::Probe;
use crate::engine::policy::PolicyError;
use crate::engine::prefix::Prefix;
use crate::plane::account::Accounts;
use crate::plane::outbound::Posts;
use crate::plane::relay::{self, Relay};
use crate::plane::shared::{Notice, Shared};
use crate::plane::tunnel::{Once, Owner, Tunnel, TunnelId, UplinkIndex, own};
use crate::plane::view::View;
use carriers::Carriers;
use explain::{Explained, Question};
use narrow::Narrow;
use peers::{News, Peers};
use sites::{Foreign, Sites, Todo};
use told::Paths;

/// Notices that are heard before timers have their turn.
const TURN: usize = 256;
/// How long it waits at most.
const LONGEST: Duration = Duration::from_secs(3600);

/// The traffic class of what sites tell each other, and of handshakes: network control (RFC 4594 section 3.2: CS6).
const CONTROL: u8 = 48 << 2;

/// Whether no waiting mends why a datagram did not leave.
fn mends_not(reason: Reason) -> bool {
    matches!(
        reason,
        Reason::NetworkUnreachable
            | Reason::HostUnreachable
            | Reason::InterfaceDown
            | Reason::NoSource
            | Reason::Forbidden
    )
}

/// Somebody to be joined to.
#[derive(Debug, Clone)]
pub struct Wanted {
    /// What it is called.
    pub name: String,
    /// By which uplink.
    pub uplink: UplinkIndex,
    /// Who it is.
    pub remote: PublicKey,
    /// What both were given beforehand.
    pub psk: PresharedKey,
    /// Where it is, if that is known.
    pub endpoint: Option<SocketAddr>,
    /// How often it hears of us.
    pub keepalive: Option<Duration>,
    /// What is behind it.
    pub networks: Vec<Prefix>,
}

/// Whom this site is joined to.
#[derive(Debug, Clone)]
pub struct Plan {
    /// Peers that are no sites.
    pub peers: Vec<Wanted>,
    /// Sites, if there are any.
    pub sites: Option<sites::Plan>,
    /// Octets of the longest packet.
    pub mtu: u16,
}

/// Where somebody is: by which uplink of ours, and who.
pub type Endpoint = (UplinkIndex, PublicKey, SocketAddr);

/// What control is told to do.
#[derive(Debug)]
pub enum Order {
    /// This is to be so. Answered when it is.
    Join(Box<Plan>, SyncSender<Result<(), PolicyError>>),
    /// Who there is.
    Tell(SyncSender<Vec<Told>>),
    /// How paths to sites are, and what has happened to them.
    Paths(SyncSender<Paths>),
    /// Where everybody is.
    Endpoints(SyncSender<Vec<Endpoint>>),
    /// Where everybody was a moment ago.
    Meet(Vec<Endpoint>),
    /// At an uplink we are known by these keys from now on, one of which we were known by before. Answered when it is so.
    Be(UplinkIndex, Box<Identity>, SyncSender<()>),
    /// Whether those whom tunnels of an uplink lead to have shown that they know a key of ours there: each by its name, a site by that of the site.
    Knows(UplinkIndex, PublicKey, SyncSender<BTreeMap<String, bool>>),
    /// What becomes of a flow.
    Explain(Box<Question>, SyncSender<Explained>),
}

/// One tunnel, as it is.
#[derive(Debug, Clone)]
pub struct Told {
    /// What it is called.
    pub name: String,
    /// By which uplink.
    pub uplink: UplinkIndex,
    /// Who it is.
    pub remote: PublicKey,
    /// Where it is.
    pub endpoint: Option<SocketAddr>,
    /// What is behind it.
    pub networks: Vec<Prefix>,
    /// How long ago its keys were made; none without a session.
    pub keys: Option<Duration>,
    /// The path that it is; none of one to a plain peer.
    pub path: Option<told::PathOf>,
    /// The tunnel.
    pub tunnel: Arc<Tunnel>,
}

/// One that is joined to.
#[derive(Debug)]
struct Joined {
    wanted: Wanted,
    tunnel: Arc<Tunnel>,
    keys: Option<Time>,
}

/// Control.
pub struct Control {
    shared: Arc<Shared>,
    peers: Peers,
    posts: Posts,
    notices: Receiver<Notice>,
    orders: Receiver<Order>,
    waker: Arc<Waker>,
    carriers: Carriers,
    joined: BTreeMap<TunnelId, Joined>,
    /// Since when tunnels to sites have the keys that they have.
    keys_of_paths: BTreeMap<TunnelId, Time>,
    sites: Option<Sites>,
    narrow: Narrow,
    /// The number of the next tunnel or owner: none is used again.
    next: u32,
    /// Octets of the longest packet.
    mtu: u16,
    /// Workers were asked to look into their sockets: the number of the question, and when.
    looking: Option<(u64, Time)>,
}

impl Control {
    /// Control of `shared`.
    pub fn new(
        shared: Arc<Shared>,
        peers: Peers,
        (notices, orders): (Receiver<Notice>, Receiver<Order>),
        (waker, carriers): (Arc<Waker>, Carriers),
    ) -> Control {
        let (joined, sites, looking) = Default::default();
        let (narrow, posts) = (Narrow::default(), shared.lines.posts(0));
        Control {
            shared,
            peers,
            posts,
            notices,
            orders,
            waker,
            carriers,
            joined,
            keys_of_paths: BTreeMap::new(),
            sites,
            narrow,
            next: 0,
            mtu: 0,
            looking,
        }
    }

    /// Works until it is to stop.
    pub fn run(mut self) {
        while !self.shared.is_stopping() {
            let now = self.shared.clock.now();
            let sites = self.sites.as_ref().and_then(Sites::poll_timeout);
            let due = [self.peers.poll_timeout(), sites, self.carriers.poll_timeout(), self.narrow.poll_timeout()];
            let until = due.into_iter().flatten().min().map_or(LONGEST, |at| at.since(now).min(LONGEST));
            let waker = Arc::clone(&self.waker);
            let mut entries = [Entry::readable(&*waker), Entry::readable(self.carriers.events())];
            if let Err(error) = poll::wait(&mut entries, Some(until)) {
                tracing::warn!(%error, "control of tunnels cannot wait");
            }
            let changed = entries.last().is_some_and(Entry::is_readable);
            waker.drain();
            if changed || self.carriers.poll_timeout().is_some_and(|at| at <= self.shared.clock.now()) {
                self.look_for_uplinks();
            }
            self.turn();
        }
    }

    /// Hears what has become of interfaces and addresses.
    fn look_for_uplinks(&mut self) {
        if self.carriers.look(self.shared.clock.now(), &self.shared.lines) {
            self.posts = self.shared.lines.posts(0);
            self.shared.has_lines();
        }
        if self.carriers.moved() {
            self.shared.has_moved();
            self.shared.view.load().tunnels().for_each(|tunnel| tunnel.forget_source());
        }
    }

    fn turn(&mut self) {
        self.peers.set_clock(self.shared.clock.now(), self.shared.clock.unix());
        while let Ok(order) = self.orders.try_recv() {
            self.order(order);
        }
        // Asked before the queue is emptied: what workers have told of before they answered is in it.
        let looked = self.looking.filter(|(number, _)| self.shared.have_looked(*number));
        let mut is_empty = false;
        for _ in 0..TURN {
            let Ok(notice) = self.notices.try_recv() else {
                is_empty = true;
                break;
            };
            self.notice(notice);
            self.news();
        }
        let now = self.shared.clock.now();
        if let (Some((_, until)), true) = (looked, is_empty) {
            self.looking = None;
            self.sites.iter_mut().for_each(|sites| sites.looked(now, until));
        }
        self.peers.handle_timeout(now);
        let joined = &self.joined;
        self.narrow.handle_timeout(now, self.mtu, |id| joined.get(&id).map(|joined| &*joined.tunnel));
        self.news();
        if let Some(sites) = &mut self.sites {
            for (uplink, carrier) in self.carriers.changes() {
                sites.carrier(now, uplink, carrier);
            }
            sites.handle_timeout(now);
        }
        self.decided();
        // What is left is heard in the next turn.
        if let Ok(notice) = self.notices.try_recv() {
            self.notice(notice);
            self.news();
            self.waker.wake();
        }
    }

    fn order(&mut self, order: Order) {
        match order {
            Order::Join(plan, done) => {
                // Who asked may have gone.
                let _ = done.send(self.plan(*plan));
            }
            Order::Paths(to) => {
                // As above.
                let _ = to.send(told::paths(self.shared.clock.now(), self.sites.as_ref()));
            }
            Order::Endpoints(to) => {
                // As above.
                let _ = to.send(self.peers.endpoints().collect());
            }
            Order::Meet(known) => {
                self.peers.meet(self.shared.clock.now(), &known);
                self.news();
            }
            Order::Be(uplink, keys, done) => {
                let now = self.shared.clock.now();
                self.peers.be(now, uplink, &keys, Limits::default());
                self.publish();
                self.news();
                // As above.
                let _ = done.send(());
            }
            Order::Knows(uplink, key, to) => {
                // As above.
                let _ = to.send(self.who_knows(uplink, &key));
            }
            Order::Explain(question, to) => {
                let view = self.shared.view.load();
                // As above.
                let _ = to.send(explain::explain(&view, self.sites.as_ref(), self.shared.seed, &question));
            }
            Order::Tell(to) => {
                let now = self.shared.clock.now();
                let told = |joined: &Joined| Told {
                    name: joined.wanted.name.clone(),
                    uplink: joined.wanted.uplink,
                    remote: joined.wanted.remote,
                    endpoint: joined.tunnel.endpoint(),
                    networks: joined.wanted.networks.clone(),
                    keys: joined.keys.map(|at| now.since(at)),
                    path: None,
                    tunnel: Arc::clone(&joined.tunnel),
                };
                let keys = |tunnel: TunnelId| self.keys_of_paths.get(&tunnel).map(|at| now.since(*at));
                let of_paths = self.sites.iter().flat_map(|sites| told::tunnels(sites, keys));
                // As above.
                let _ = to.send(self.joined.values().map(told).chain(of_paths).collect());
            }
        }
    }

    /// Who knows a key of ours at an uplink. One tunnel to a site that has shown it shows it of that site.
    fn who_knows(&self, uplink: UplinkIndex, key: &PublicKey) -> BTreeMap<String, bool> {
        let mut all = BTreeMap::new();
        let peers = self.joined.values().map(|joined| (&joined.tunnel, format!("peer {}", joined.wanted.name)));
        let of_site = |sites: &Sites, (path, tunnel)| {
            let site = sites.led_to(path)?;
            Some((tunnel, format!("site {site}")))
        };
        let sites = self.sites.iter();
        let sites = sites.flat_map(|sites| sites.tunnels().filter_map(|path| of_site(sites, path)).collect::<Vec<_>>());
        for (tunnel, name) in peers.chain(sites).filter(|(tunnel, _)| tunnel.uplink == uplink) {
            *all.entry(name).or_insert(false) |= self.peers.knows(tunnel.id, key);
        }
        all
    }

    /// Makes it so. On an error nothing has changed.
    fn plan(&mut self, plan: Plan) -> Result<(), PolicyError> {
        let now = self.shared.clock.now();
        let Plan { peers, sites, mtu } = plan;
        self.mtu = mtu;
        match (sites, &mut self.sites) {
            (Some(plan), Some(sites)) => sites.configure(plan, now)?,
            (Some(plan), none) => {
                *none = Some(Sites::new(plan, self.shared.seed, now)?.measured(&self.shared.measures));
                self.carriers.tell_all();
            }
            (None, there) => {
                let ended = there.take();
                ended.iter().flat_map(Sites::tunnels).for_each(|(_, tunnel)| self.peers.remove(tunnel.id));
            }
        }
        let rules = self.sites.as_ref().map(|sites| &sites.plan().rules.policies);
        let names = rules.into_iter().flatten().map(String::as_str);
        let accounts = Accounts::new(names, &self.shared.accounts.load());
        self.shared.accounts.store(Arc::new(accounts));
        self.join(peers, mtu);
        if let Some(sites) = &mut self.sites {
            sites.join(&mut self.peers, now, mtu, &mut self.next);
        }
        self.publish();
        self.decided();
        Ok(())
    }

    /// Has workers know who there is.
    fn publish(&mut self) {
        let of_peer = |joined: &Joined| {
            let owner = joined.tunnel.owner;
            joined.wanted.networks.iter().map(move |network| (*network, owner)).collect::<Vec<_>>()
        };
        let networks = self.joined.values().flat_map(of_peer).chain(self.sites.iter().flat_map(Sites::networks));
        let tunnels = self.joined.values().map(|joined| Arc::clone(&joined.tunnel));
        let paths = self.sites.iter().flat_map(Sites::tunnels).map(|(id, tunnel)| (id, Arc::clone(tunnel)));
        let table = self.sites.as_ref().and_then(Sites::table).cloned();
        let relays = self.sites.as_ref().map(Sites::relays).cloned().unwrap_or_default();
        let view = View::new(networks, tunnels, paths).with(table).passing(relays);
        let owners: BTreeSet<Owner> = view.tunnels().map(|tunnel| tunnel.owner).collect();
        self.shared.gauges.store(Arc::new(self.sites.iter().flat_map(Sites::gauges).cloned().collect()));
        self.shared.view.store(Arc::new(view));
        let engine = self.sites.as_ref().map_or(0, |sites| sites.engine().memory());
        self.shared.engine.store(engine as u64, Relaxed);
        let peers = &self.peers;
        self.keys_of_paths.retain(|id, _| peers.tunnel(*id).is_some());
        let now = self.shared.clock.now();
        self.shared.twice.keep(now, |owner| owners.contains(&owner));
        self.shared.groups.keep(now, |owner| owners.contains(&owner));
    }

    /// Does what the engine says.
    fn decided(&mut self) {
        let now = self.shared.clock.now();
        let mut joined = false;
        let todo = self.sites.as_mut().map(|sites| sites.outputs(now)).unwrap_or_default();
        // What was left without another view, as the last path that worked is kept, is no failover.
        let left = self.sites.as_mut().and_then(Sites::take_left);
        for todo in todo {
            joined |= matches!(todo, Todo::Join);
            match todo {
                Todo::Hello(tunnel, octets) => self.hello(now, &tunnel, &octets),
                Todo::Probe(tunnel, probe) => self.probe(now, &tunnel, &probe),
                Todo::View => {
                    let table = self.sites.as_ref().and_then(Sites::table).cloned();
                    let view = self.shared.view.load().with(table);
                    self.shared.view.store(Arc::new(view));
                    if let Some(left) = left {
                        self.shared.measures.failover.record(self.shared.clock.now().since(left));
                    }
                }
                Todo::Look => self.looking = Some((self.shared.knock(), now)),
                Todo::Wanted(id) => self.wanted(now, id),
                Todo::Say(tunnel, octets) => self.say(now, &tunnel, &octets),
                Todo::Join => self.rejoin(now),
            }
        }
        self.news();
        if joined {
            // Of new paths there is something to say.
            self.decided();
        }
    }

    /// How hellos, probes and handshakes go: a link full of other things is to look no worse for that.
    fn urgent(&self, to: SocketAddr, from: Option<IpAddr>) -> Way {
        Way { to, from, tos: CONTROL, mark: self.shared.marking.load().control }
    }

    fn hello(&mut self, now: Time, tunnel: &Arc<Tunnel>, octets: &[u8]) {
        let mtu = if tunnel.relay.is_some() { octets.len() } else { usize::MAX };
        let (Some(datagram), Some(_)) = (sites::seal(now, tunnel, octets, mtu), tunnel.endpoint()) else {
            // Who cannot be dialled has to come to us.
            return self.wanted(now, tunnel.id);
        };
        let stopped = match &tunnel.relay {
            Some(relay) => self.pass(now, relay, &datagram),
            None => self.send_by(tunnel, &datagram),
        };
        if let Some(sites) = self.sites.as_mut().filter(|_| stopped.is_some_and(mends_not)) {
            sites.stuck(now, tunnel.id);
        }
    }

    /// Says something that is said again should it be lost.
    fn say(&self, now: Time, tunnel: &Tunnel, octets: &[u8]) {
        let Some(datagram) = sites::seal(now, tunnel, octets, usize::from(tunnel.mtu())) else { return };
        let stopped = match &tunnel.relay {
            Some(relay) => self.pass(now, relay, &datagram),
            None => self.send_by(tunnel, &datagram),
        };
        if let Some(reason) = stopped {
            tracing::debug!(tunnel = tunnel.id.0, %reason, "what is said of other paths or sites does not leave");
        }
    }

    /// Somebody is seen where nobody knew: other paths can be.
    fn rejoin(&mut self, now: Time) {
        if let Some(sites) = &mut self.sites {
            match sites.rethink(now) {
                Ok(()) => sites.join(&mut self.peers, now, self.mtu, &mut self.next),
                Err(error) => tracing::warn!(%error, "paths to sites behind NATs are not made"),
            }
        }
        self.publish();
    }

    /// Sends a datagram. Why it did not leave, if it did not.
    fn send(&self, uplink: UplinkIndex, (to, from): (SocketAddr, Option<IpAddr>), datagram: &[u8]) -> Option<Reason> {
        let Some(socket) = self.posts.of(uplink, to.is_ipv4()) else { return Some(Reason::NoSource) };
        socket.send(&self.urgent(to, from), datagram, datagram.len()).stopped
    }

    /// Sends a datagram by a tunnel that no hub passes on. Why it did not leave, if it did not.
    fn send_by(&self, tunnel: &Tunnel, datagram: &[u8]) -> Option<Reason> {
        let Some(way) = tunnel.way(0, 0) else { return Some(Reason::NoSource) };
        let stopped = self.send(tunnel.uplink, (way.to, way.from), datagram)?;
        match tunnel.gives_up_source(&way, stopped) {
            true => self.send(tunnel.uplink, (way.to, None), datagram),
            false => Some(stopped),
        }
    }

    /// Has a hub pass on what is between ourselves. Why it did not leave, if it did not; as long as there is no way to the hub, that is for the path to it to tell.
    fn pass(&self, now: Time, relay: &Relay, datagram: &[u8]) -> Option<Reason> {
        let carrier = relay.carrier();
        let carrier = carrier.as_ref()?;
        let octets = [&relay.passage(datagram.len(), true)?.encode()[..], datagram].concat();
        if octets.len() > usize::from(carrier.mtu()) {
            return Some(Reason::TooLong);
        }
        let sealed = sites::seal(now, carrier, &octets, usize::from(carrier.mtu()))?;
        self.send_by(carrier, &sealed)
    }

    /// Sends a probe, or the answer to one, exactly as long as it says. One that does not leave is one that is lost.
    fn probe(&mut self, now: Time, tunnel: &Tunnel, probe: &Probe) {
        let mut octets = probe.encode().to_vec();
        octets.resize(probe.length(), 0);
        let datagram = sites::seal(now, tunnel, &octets, octets.len());
        let (Some(datagram), Some(to)) = (datagram, tunnel.endpoint()) else { return };
        let stopped = match &tunnel.relay {
            Some(relay) => self.pass(now, relay, &datagram),
            None => self.send_by(tunnel, &datagram),
        };
        if let Some(reason) = stopped {
            tracing::debug!(%to, %reason, size = probe.size, "a probe does not leave");
        }
    }

    fn wanted(&mut self, now: Time, id: TunnelId) {
        if let Err(why) = self.peers.wanted(now, id) {
            tracing::debug!(tunnel = id.0, %why, "no handshake is begun");
        }
    }

    /// Makes the tunnels to peers be these. Those that are there already go on.
    fn join(&mut self, wanted: Vec<Wanted>, mtu: u16) {
        let now = self.shared.clock.now();
        // Under another name it is another one: figures are kept by name.
        let key = |wanted: &Wanted| (wanted.uplink, wanted.remote, wanted.name.clone());
        let mut before: BTreeMap<_, _> = std::mem::take(&mut self.joined)
            .into_iter()
            .map(|(id, joined)| (key(&joined.wanted), (id, joined)))
            .collect();
        let mut fresh = vec![];
        for wanted in wanted {
            match before.remove(&key(&wanted)) {
                Some((id, joined)) => self.keep(now, id, joined, wanted, mtu),
                None => fresh.push(wanted),
            }
        }
        for (id, _) in before.into_values() {
            self.peers.remove(id);
            self.narrow.forget(id);
        }
        for wanted in fresh {
            let id = TunnelId(self.next);
            self.next += 1;
            let tunnel = Arc::new(Tunnel::new(id, &wanted.name, wanted.uplink, Owner(id.0), mtu));
            let settings = Settings {
                remote: wanted.remote,
                psk: wanted.psk.clone(),
                endpoint: wanted.endpoint,
                keepalive: wanted.keepalive,
            };
            if self.peers.add(now, Arc::clone(&tunnel), settings) {
                self.joined.insert(id, Joined { wanted, tunnel, keys: None });
            }
        }
        self.news();
    }

    /// Goes on with one that is there, as it is wanted now.
    fn keep(&mut self, now: Time, id: TunnelId, mut joined: Joined, wanted: Wanted, mtu: u16) {
        joined.tunnel.set_mtu(self.narrow.mtu(id, mtu));
        let before = std::mem::replace(&mut joined.wanted, wanted);
        let wanted = &joined.wanted;
        self.peers.set(id, wanted.psk.clone(), wanted.keepalive);
        if let Some(endpoint) = wanted.endpoint.filter(|_| wanted.endpoint != before.endpoint) {
            self.peers.moved(now, id, endpoint);
        }
        self.joined.insert(id, joined);
    }

    fn notice(&mut self, notice: Notice) {
        let now = self.shared.clock.now();
        self.shared.heard(&notice);
        match notice {
            Notice::Handshake { uplink, from, to, datagram } => {
                if let Err(why) = self.peers.datagram(now, uplink, (from, own(to)), &datagram) {
                    if let Some(counter) = self.shared.counters.handshakes.get(why.place()) {
                        counter.fetch_add(1, Relaxed);
                    }
                    tracing::debug!(%from, %why, "a handshake came to nothing");
                }
            }
            Notice::Wanted(id) => self.wanted(now, id),
            Notice::Confirmed(id, index) => self.peers.confirmed(now, id, index),
            Notice::Moved(id, from, own) => self.peers.reached(now, id, from, own),
            Notice::Control(id, at, octets) => {
                if let Some(tunnel) = self.peers.tunnel(id) {
                    tunnel.spoke();
                }
                let said = self.sites.as_mut().map_or(Ok(()), |sites| sites.control(at, id, &octets));
                if let Err(foreign) = said {
                    self.foreign(id, foreign);
                }
                self.decided();
            }
            Notice::Stuck(id, reason) => {
                self.told(id, Once::Stuck);
                tracing::debug!(tunnel = id.0, %reason, "nothing leaves by a tunnel");
                if let Some(sites) = self.sites.as_mut().filter(|_| mends_not(reason)) {
                    sites.stuck(now, id);
                }
                self.decided();
            }
            Notice::Hint(id, mtu) => {
                self.told(id, Once::Hint);
                tracing::debug!(tunnel = id.0, mtu, "somebody says that packets of a tunnel are too long");
                if let Some(sites) = &mut self.sites {
                    sites.hint(now, id, mtu);
                }
                if let Some(joined) = self.joined.get(&id) {
                    self.narrow.hint(now, &joined.tunnel, mtu);
                }
                self.decided();
            }
            Notice::Narrow { uplink, to, mtu } => {
                let is = |tunnel: &Tunnel| tunnel.uplink == uplink && tunnel.endpoint().is_some_and(|at| at.ip() == to);
                for joined in self.joined.values().filter(|joined| is(&joined.tunnel)) {
                    self.narrow.hint(now, &joined.tunnel, mtu);
                }
                if let Some(sites) = &mut self.sites {
                    sites.narrowed(now, mtu, is);
                }
                self.decided();
            }
        }
    }

    /// A site has said what nobody here understands.
    fn foreign(&self, id: TunnelId, said: Foreign) {
        let counters = &self.shared.counters;
        let counter = match said {
            Foreign::Version(_) => &counters.other_version,
            Foreign::Unknown => &counters.unreadable,
        };
        let is_first = counter.fetch_add(1, Relaxed) == 0;
        let name = self.peers.tunnel(id).map(|tunnel| tunnel.name.to_string()).unwrap_or_default();
        match said {
            Foreign::Version(version) if is_first => tracing::warn!(
                path = name,
                version,
                ours = VERSION,
                "a site says hello in another version: no path to it comes up until both have the same release"
            ),
            _ => tracing::debug!(path = name, ?said, "a site says what nobody here understands"),
        }
    }

    /// What workers say of a tunnel once is heard: they may say it again.
    fn told(&self, id: TunnelId, once: Once) {
        if let Some(tunnel) = self.peers.tunnel(id) {
            tunnel.done(once);
        }
    }

    /// Does what came of it.
    fn news(&mut self) {
        while let Some(news) = self.peers.poll_news() {
            match news {
                News::Send { uplink, to, from, datagram } => {
                    let now = self.shared.clock.now();
                    let stopped = match relay::hub(&to) {
                        None => match self.send(uplink, (to, from), &datagram) {
                            // This host may have that address no longer.
                            Some(_) if from.is_some() => self.send(uplink, (to, None), &datagram),
                            stopped => stopped,
                        },
                        Some(_) => {
                            let tunnel = self.sites.as_ref().and_then(|sites| sites.passed_on(uplink, &to));
                            tunnel.and_then(|tunnel| self.pass(now, tunnel.relay.as_ref()?, &datagram))
                        }
                    };
                    if let Some(reason) = stopped {
                        tracing::debug!(%to, %reason, "a handshake does not leave");
                    }
                }
                News::Keys(id) => {
                    let now = self.shared.clock.now();
                    if let Some(tunnel) = self.peers.tunnel(id)
                        && let Some(sealer) = tunnel.sealer().as_ref()
                    {
                        self.shared.quoted.set(tunnel, sealer.remote());
                    }
                    if let Some(joined) = self.joined.get_mut(&id)
                        && joined.keys.replace(now).is_none()
                    {
                        let (peer, endpoint) = (&joined.wanted.name, joined.tunnel.endpoint());
                        tracing::info!(peer, endpoint = ?endpoint, "a tunnel is up");
                    }
                    if !self.joined.contains_key(&id) {
                        self.keys_of_paths.insert(id, now);
                    }
                    self.shared.has_keys();
                }
                News::Lost(id) => {
                    self.shared.quoted.forget(id);
                    self.keys_of_paths.remove(&id);
                    if let Some(joined) = self.joined.get_mut(&id) {
                        joined.keys = None;
                        tracing::info!(peer = joined.wanted.name, "a tunnel is down: its keys have ended");
                    }
                }
                News::Endpoint(id, at) => {
                    if let Some(joined) = self.joined.get(&id) {
                        tracing::debug!(peer = joined.wanted.name, %at, "a peer is there now");
                    }
                }
                News::GaveUp(id) => {
                    if let Some(joined) = self.joined.get(&id) {
                        let (peer, endpoint) = (&joined.wanted.name, joined.tunnel.endpoint());
                        tracing::warn!(peer, endpoint = ?endpoint, "a peer does not answer");
                    }
                }
            }
        }
    }
}

#[cfg(test)]
mod tests;
