//! What is decided once for all workers, by one thread: handshakes, who there is, whose addresses are behind which tunnel.
//!
//! - [`peers`]: handshakes of all tunnels.
//! - [`sites`]: what the engine decides of paths to sites, put to work.
//! - [`carriers`]: which uplinks have one.
//! - [`told`]: what others are told of all that; [`explain`], what becomes of a flow and why.

pub mod carriers;
pub mod explain;
pub mod peers;
pub mod sites;
pub mod told;

use std::collections::{BTreeMap, BTreeSet};
use std::net::SocketAddr;
use std::sync::Arc;
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
use crate::plane::outbound::Posts;
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

/// What control is told to do.
#[derive(Debug)]
pub enum Order {
    /// This is to be so. Answered when it is.
    Join(Box<Plan>, SyncSender<Result<(), PolicyError>>),
    /// Who there is.
    Tell(SyncSender<Vec<Told>>),
    /// How paths to sites are, and what has happened to them.
    Paths(SyncSender<Paths>),
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
    /// Handshakes that came to nothing.
    unheard: u64,
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
        Control { shared, peers, posts, notices, orders, waker, carriers, joined, sites: None, next: 0, unheard: 0 }
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
        match (sites, &mut self.sites) {
            (Some(plan), Some(sites)) => sites.configure(plan, now)?,
            (Some(plan), none) => *none = Some(Sites::new(plan, self.shared.seed, now)?),
            (None, there) => {
                let ended = there.take();
                ended.iter().flat_map(Sites::tunnels).for_each(|(_, tunnel)| self.peers.remove(tunnel.id));
            }
        }
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
        let view = View::new(networks, tunnels, paths).with(table);
        let owners: BTreeSet<Owner> = view.tunnels().map(|tunnel| tunnel.owner).collect();
        self.shared.gauges.store(Arc::new(self.sites.iter().flat_map(Sites::gauges).cloned().collect()));
        self.shared.view.store(Arc::new(view));
        self.shared.twice.keep(|owner| owners.contains(&owner));
        self.shared.groups.keep(|owner| owners.contains(&owner));
    }

    /// Does what the engine says.
    fn decided(&mut self) {
        let now = self.shared.clock.now();
        let todo = self.sites.as_mut().map(|sites| sites.outputs(now)).unwrap_or_default();
        for todo in todo {
            match todo {
                Todo::Hello(tunnel, octets) => self.hello(now, &tunnel, &octets),
                Todo::Probe(tunnel, probe) => self.probe(now, &tunnel, &probe),
                Todo::View => {
                    let table = self.sites.as_ref().and_then(Sites::table).cloned();
                    let view = self.shared.view.load().with(table);
                    self.shared.view.store(Arc::new(view));
                }
                Todo::Wanted(id) => self.wanted(now, id),
            }
        }
        self.news();
    }

    /// How hellos, probes and handshakes go: a link full of other things is to look no worse for that.
    fn urgent(&self, to: SocketAddr) -> Way {
        Way { to, from: None, tos: CONTROL, mark: self.shared.marking.load().control }
    }

    fn hello(&mut self, now: Time, tunnel: &Arc<Tunnel>, octets: &[u8]) {
        let (Some(datagram), Some(to)) = (sites::seal(now, tunnel, octets, usize::MAX), tunnel.endpoint()) else {
            // Who cannot be dialled has to come to us.
            return self.wanted(now, tunnel.id);
        };
        let stuck = match self.posts.of(tunnel.uplink, to.is_ipv4()) {
            None => true,
            Some(socket) => {
                let sent = socket.send(&self.urgent(to), &datagram, datagram.len());
                sent.stopped.is_some_and(mends_not)
            }
        };
        if let Some(sites) = self.sites.as_mut().filter(|_| stuck) {
            sites.stuck(now, tunnel.id);
        }
    }

    /// Sends a probe, or the answer to one, exactly as long as it says. One that does not leave is one that is lost.
    fn probe(&mut self, now: Time, tunnel: &Tunnel, probe: &Probe) {
        let mut octets = probe.encode().to_vec();
        octets.resize(probe.length(), 0);
        let datagram = sites::seal(now, tunnel, &octets, octets.len());
        let (Some(datagram), Some(to)) = (datagram, tunnel.endpoint()) else { return };
        let Some(socket) = self.posts.of(tunnel.uplink, to.is_ipv4()) else { return };
        if let Some(reason) = socket.send(&self.urgent(to), &datagram, datagram.len()).stopped {
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
                if let Err(why) = self.peers.datagram(now, uplink, from, &datagram) {
                    self.unheard += 1;
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
                    let Some(socket) = self.posts.of(uplink, to.is_ipv4()) else {
                        tracing::debug!(%to, "no uplink is of the address family of a peer");
                        continue;
                    };
                    let sent = socket.send(&self.urgent(to), &datagram, datagram.len());
                    if let Some(reason) = sent.stopped {
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
