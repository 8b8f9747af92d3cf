//! What is decided once for all workers, by one thread: handshakes, who there is, whose addresses are behind which tunnel.
//!
//! - [`peers`]: handshakes of all tunnels.
//! - [`sites`]: what the engine decides of paths to sites, put to work.
//! - [`seen`]: where sites behind NATs are seen from outside.
//! - [`carriers`]: which uplinks have one.
//! - [`told`]: what others are told of all that; [`explain`], what becomes of a flow and why.

pub mod carriers;
pub mod explain;
pub mod peers;
pub mod seen;
pub mod sites;
pub mod told;

use std::collections::{BTreeMap, BTreeSet};
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;
use std::sync::mpsc::{Receiver, SyncSender};
use std::time::Duration;

use outwork_engine::Time;
use outwork_net::carrier::{Reason, Way};
use outwork_net::poll::{self, Entry, Waker};
use outwork_wireguard::peer::Settings;
use outwork_wireguard::{PresharedKey, PublicKey};

use crate::engine::mtu::Probe;
use crate::engine::policy::PolicyError;
use crate::engine::prefix::Prefix;
use crate::plane::account::Accounts;
use crate::plane::outbound::Posts;
use crate::plane::relay::{self, Relay};
use crate::plane::shared::{Notice, Shared};
use crate::plane::tunnel::{Owner, Tunnel, TunnelId, UplinkIndex};
use crate::plane::view::View;
use carriers::Carriers;
use explain::{Explained, Question};
use peers::{News, Peers};
use sites::{Sites, Todo};
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
#[derive(Debug)]
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
    sites: Option<Sites>,
    /// The number of the next tunnel or owner: none is used again.
    next: u32,
    /// Octets of the longest packet.
    mtu: u16,
}

impl Control {
    /// Control of `shared`. What it sends leaves by `posts`.
    pub fn new(
        shared: Arc<Shared>,
        peers: Peers,
        posts: Posts,
        (notices, orders): (Receiver<Notice>, Receiver<Order>),
        (waker, carriers): (Arc<Waker>, Carriers),
    ) -> Control {
        let joined = BTreeMap::new();
        Control { shared, peers, posts, notices, orders, waker, carriers, joined, sites: None, next: 0, mtu: 0 }
    }

    /// Works until it is to stop.
    pub fn run(mut self) {
        while !self.shared.is_stopping() {
            let now = self.shared.clock.now();
            let due = [self.peers.poll_timeout(), self.sites.as_ref().and_then(Sites::poll_timeout)];
            let until = due.into_iter().flatten().min().map_or(LONGEST, |at| at.since(now).min(LONGEST));
            let waker = Arc::clone(&self.waker);
            let mut entries = [Entry::readable(&*waker), Entry::readable(self.carriers.events())];
            if let Err(error) = poll::wait(&mut entries, Some(until)) {
                tracing::warn!(%error, "control of tunnels cannot wait");
            }
            let changed = entries.last().is_some_and(Entry::is_readable);
            waker.drain();
            if changed {
                self.carriers.look();
            }
            self.turn();
        }
    }

    fn turn(&mut self) {
        while let Ok(order) = self.orders.try_recv() {
            self.order(order);
        }
        for _ in 0..TURN {
            let Ok(notice) = self.notices.try_recv() else { break };
            self.notice(notice);
            self.news();
        }
        let now = self.shared.clock.now();
        self.peers.handle_timeout(now);
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
                    tunnel: Arc::clone(&joined.tunnel),
                };
                // As above.
                let _ = to.send(self.joined.values().map(told).collect());
            }
        }
    }

    /// Makes it so. On an error nothing has changed.
    fn plan(&mut self, plan: Plan) -> Result<(), PolicyError> {
        let now = self.shared.clock.now();
        let Plan { peers, sites, mtu } = plan;
        self.mtu = mtu;
        match (sites, &mut self.sites) {
            (Some(plan), Some(sites)) => sites.configure(plan, now)?,
            (Some(plan), none) => *none = Some(Sites::new(plan, self.shared.seed, now)?),
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
        let relays = self.sites.as_ref().map(|sites| sites.relays(&self.peers)).unwrap_or_default();
        let view = View::new(networks, tunnels, paths).with(table).passing(relays);
        let owners: BTreeSet<Owner> = view.tunnels().map(|tunnel| tunnel.owner).collect();
        self.shared.gauges.store(Arc::new(self.sites.iter().flat_map(Sites::gauges).cloned().collect()));
        self.shared.view.store(Arc::new(view));
        let now = self.shared.clock.now();
        self.shared.twice.keep(now, |owner| owners.contains(&owner));
        self.shared.groups.keep(now, |owner| owners.contains(&owner));
    }

    /// Does what the engine says.
    fn decided(&mut self) {
        let now = self.shared.clock.now();
        let mut joined = false;
        let todo = self.sites.as_mut().map(|sites| sites.outputs(now)).unwrap_or_default();
        for todo in todo {
            joined |= matches!(todo, Todo::Join);
            match todo {
                Todo::Hello(tunnel, octets) => self.hello(now, &tunnel, &octets),
                Todo::Probe(tunnel, probe) => self.probe(now, &tunnel, &probe),
                Todo::View => {
                    let table = self.sites.as_ref().and_then(Sites::table).cloned();
                    let view = self.shared.view.load().with(table);
                    self.shared.view.store(Arc::new(view));
                }
                Todo::Wanted(id) => self.wanted(now, id),
                Todo::Say(tunnel, octets) => self.say(now, &tunnel, &octets),
                Todo::Join => self.rejoin(now),
                Todo::Relays => {
                    let relays = self.sites.as_ref().map(|sites| sites.relays(&self.peers)).unwrap_or_default();
                    let view = self.shared.view.load().passing(relays);
                    self.shared.view.store(Arc::new(view));
                }
            }
        }
        self.news();
        if joined {
            // Of new paths there is something to say.
            self.decided();
        }
    }

    /// How hellos, probes and handshakes go: a link full of other things is to look no worse for that.
    fn urgent(&self, to: SocketAddr) -> Way {
        Way { to, from: None, tos: CONTROL, mark: self.shared.marking.load().control }
    }

    fn hello(&mut self, now: Time, tunnel: &Arc<Tunnel>, octets: &[u8]) {
        let mtu = if tunnel.relay.is_some() { octets.len() } else { usize::MAX };
        let (Some(datagram), Some(to)) = (sites::seal(now, tunnel, octets, mtu), tunnel.endpoint()) else {
            // Who cannot be dialled has to come to us.
            return self.wanted(now, tunnel.id);
        };
        let stopped = match &tunnel.relay {
            Some(relay) => self.pass(now, relay, &datagram),
            None => self.send(tunnel.uplink, to, &datagram),
        };
        if let Some(sites) = self.sites.as_mut().filter(|_| stopped.is_some_and(mends_not)) {
            sites.stuck(now, tunnel.id);
        }
    }

    /// Says something that is said again should it be lost.
    fn say(&self, now: Time, tunnel: &Tunnel, octets: &[u8]) {
        let (datagram, to) = (sites::seal(now, tunnel, octets, usize::from(tunnel.mtu())), tunnel.endpoint());
        let stopped = datagram.zip(to).and_then(|(datagram, to)| self.send(tunnel.uplink, to, &datagram));
        if let Some(reason) = stopped {
            tracing::debug!(?to, %reason, "what is asked about sites behind NATs does not leave");
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
    fn send(&self, uplink: UplinkIndex, to: SocketAddr, datagram: &[u8]) -> Option<Reason> {
        let Some(socket) = self.posts.of(uplink, to.is_ipv4()) else { return Some(Reason::NoSource) };
        socket.send(&self.urgent(to), datagram, datagram.len()).stopped
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
        self.send(carrier.uplink, carrier.endpoint()?, &sealed)
    }

    /// Sends a probe, or the answer to one, exactly as long as it says. One that does not leave is one that is lost.
    fn probe(&mut self, now: Time, tunnel: &Tunnel, probe: &Probe) {
        let mut octets = probe.encode().to_vec();
        octets.resize(probe.length(), 0);
        let datagram = sites::seal(now, tunnel, &octets, octets.len());
        let (Some(datagram), Some(to)) = (datagram, tunnel.endpoint()) else { return };
        let stopped = match &tunnel.relay {
            Some(relay) => self.pass(now, relay, &datagram),
            None => self.send(tunnel.uplink, to, &datagram),
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
        before.into_values().for_each(|(id, _)| self.peers.remove(id));
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
        joined.tunnel.set_mtu(mtu);
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
        match notice {
            Notice::Handshake { uplink, from, to: _, datagram } => {
                self.shared.heard_handshake();
                if let Err(why) = self.peers.datagram(now, uplink, from, &datagram) {
                    if let Some(counter) = self.shared.counters.handshakes.get(why.place()) {
                        counter.fetch_add(1, Relaxed);
                    }
                    tracing::debug!(%from, %why, "a handshake came to nothing");
                }
            }
            Notice::Wanted(id) => self.wanted(now, id),
            Notice::Confirmed(id, index) => self.peers.confirmed(now, id, index),
            Notice::Moved(id, to) => self.peers.moved(now, id, to),
            Notice::Control(id, at, octets) => {
                if let Some(sites) = &mut self.sites {
                    sites.control(at, id, &octets);
                }
                self.decided();
            }
            Notice::Stuck(id, reason) => {
                tracing::debug!(tunnel = id.0, %reason, "nothing leaves by a tunnel");
                if let Some(sites) = self.sites.as_mut().filter(|_| mends_not(reason)) {
                    sites.stuck(now, id);
                }
                self.decided();
            }
            Notice::Failure { uplink, to, reason, mtu, session } => {
                tracing::debug!(%to, %reason, mtu, "a datagram of a tunnel did not get there");
                if let Some(sites) = self.sites.as_mut().filter(|_| reason == Reason::TooLong) {
                    sites.hint(now, uplink, session, mtu);
                }
                self.decided();
            }
        }
    }

    /// Does what came of it.
    fn news(&mut self) {
        while let Some(news) = self.peers.poll_news() {
            match news {
                News::Send { uplink, to, datagram } => {
                    let now = self.shared.clock.now();
                    let stopped = match relay::hub(&to) {
                        None => self.send(uplink, to, &datagram),
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
                    if let Some(joined) = self.joined.get_mut(&id)
                        && joined.keys.replace(now).is_none()
                    {
                        let (peer, endpoint) = (&joined.wanted.name, joined.tunnel.endpoint());
                        tracing::info!(peer, endpoint = ?endpoint, "a tunnel is up");
                    }
                    self.shared.has_keys();
                }
                News::Lost(id) => {
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
