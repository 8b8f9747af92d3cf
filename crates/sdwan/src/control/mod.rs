//! What is decided once for all workers, by one thread: handshakes, who there is, whose addresses are behind which tunnel.
//!
//! - [`peers`]: handshakes of all tunnels.

pub mod peers;

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::mpsc::{Receiver, SyncSender};
use std::time::Duration;

use outwork_engine::Time;
use outwork_net::carrier::Way;
use outwork_net::poll::{self, Entry, Waker};
use outwork_wireguard::peer::Settings;
use outwork_wireguard::{PresharedKey, PublicKey};

use crate::engine::prefix::Prefix;
use crate::plane::outbound::Posts;
use crate::plane::shared::{Notice, Shared};
use crate::plane::tunnel::{Owner, Tunnel, TunnelId, UplinkIndex};
use crate::plane::view::View;
use peers::{News, Peers};

/// Notices that are heard before timers have their turn.
const TURN: usize = 256;
/// How long it waits at most.
const LONGEST: Duration = Duration::from_secs(3600);

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

/// What control is told to do.
#[derive(Debug)]
pub enum Order {
    /// These are to be joined to, for packets of at most so many octets, and nobody else. Answered when it is so.
    Join(Vec<Wanted>, u16, SyncSender<()>),
    /// Who there is.
    Tell(SyncSender<Vec<Told>>),
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
    joined: BTreeMap<TunnelId, Joined>,
    /// The number of the next tunnel: none is used again.
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
        waker: Arc<Waker>,
    ) -> Control {
        Control { shared, peers, posts, notices, orders, waker, joined: BTreeMap::new(), next: 0, unheard: 0 }
    }

    /// Works until it is to stop.
    pub fn run(mut self) {
        while !self.shared.is_stopping() {
            let now = self.shared.clock.now();
            let until = self.peers.poll_timeout().map_or(LONGEST, |at| at.since(now).min(LONGEST));
            let waker = Arc::clone(&self.waker);
            if let Err(error) = poll::wait(&mut [Entry::readable(&*waker)], Some(until)) {
                tracing::warn!(%error, "control of tunnels cannot wait");
            }
            waker.drain();
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
        // What is left is heard in the next turn.
        if let Ok(notice) = self.notices.try_recv() {
            self.notice(notice);
            self.news();
            self.waker.wake();
        }
    }

    fn order(&mut self, order: Order) {
        match order {
            Order::Join(wanted, mtu, done) => {
                self.join(wanted, mtu);
                // Who asked may have gone.
                let _ = done.send(());
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

    /// Makes the tunnels be these. Those that are there already go on.
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
        let networks = self
            .joined
            .values()
            .flat_map(|joined| joined.wanted.networks.iter().map(|network| (*network, joined.tunnel.owner)));
        let tunnels = self.joined.values().map(|joined| Arc::clone(&joined.tunnel));
        self.shared.view.store(Arc::new(View::new(networks, tunnels)));
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
            Notice::Wanted(id) => {
                if let Err(why) = self.peers.wanted(now, id) {
                    tracing::debug!(tunnel = id.0, %why, "no handshake is begun");
                }
            }
            Notice::Confirmed(id, index) => self.peers.confirmed(now, id, index),
            Notice::Moved(id, to) => self.peers.moved(now, id, to),
            // Only sites have something between themselves, and none is joined so far.
            Notice::Control(..) => {}
            Notice::Stuck(id, reason) => {
                if let Some(joined) = self.joined.get(&id) {
                    tracing::debug!(peer = joined.wanted.name, %reason, "nothing leaves for a peer");
                }
            }
            Notice::Failure { to, reason, mtu, .. } => {
                tracing::debug!(%to, %reason, mtu, "a datagram of a tunnel did not get there");
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
                    let sent = socket.send(&Way { to, from: None, tos: 0 }, &datagram, datagram.len());
                    if let Some(reason) = sent.stopped {
                        tracing::debug!(%to, %reason, "a handshake does not leave");
                    }
                }
                News::Keys(id) => {
                    let now = self.shared.clock.now();
                    if let Some(joined) = self.joined.get_mut(&id) {
                        if joined.keys.replace(now).is_none() {
                            let (peer, endpoint) = (&joined.wanted.name, joined.tunnel.endpoint());
                            tracing::info!(peer, endpoint = ?endpoint, "a tunnel is up");
                        }
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
