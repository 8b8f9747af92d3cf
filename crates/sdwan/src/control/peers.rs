//! All tunnels' handshakes: whom a message is for, and what becomes of it. Keys go straight to where workers find them.
//!
//! Sans-IO: datagrams and time come in, datagrams and news go out.

use std::cmp::Reverse;
use std::collections::{BTreeMap, BinaryHeap, HashMap, VecDeque};
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use outwork_engine::{Rng, Time};
use outwork_wireguard::gate::{Gate, Limits, Reason, Verdict};
use outwork_wireguard::index::{self, Table};
use outwork_wireguard::noise::{Bound, Noise, Snow};
use outwork_wireguard::peer::{Context, Input, Output, Refusal, Settings};
use outwork_wireguard::stamp::Clock;
use outwork_wireguard::{Entropy, Identity, Index, Peer, PresharedKey, PublicKey};

use crate::plane::relay;
use crate::plane::shared::REASONS;
use crate::plane::tunnel::{Once, Owner, Receiving, Tunnel, TunnelId, UplinkIndex};

/// Why a message of a handshake changed nothing. For a counter each.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, thiserror::Error)]
pub enum Unheard {
    /// The gate kept it out.
    #[error("{0}")]
    Gate(#[from] Reason),
    /// The peer had no use for it.
    #[error("{0}")]
    Peer(#[from] Refusal),
    /// Whoever wrote it has a key that nobody here knows, or answers what nobody asked.
    #[error("of nobody that is configured here")]
    Stranger,
    /// It is data, or came by an uplink that is not ours.
    #[error("no message of a handshake")]
    NoHandshake,
    /// There are so many that whoever wrote it has to show where it is: it was sent a cookie.
    #[error("answered with a cookie, there being so many")]
    Busy,
}

impl Unheard {
    /// Its word among [`REASONS`].
    pub fn reason(&self) -> &'static str {
        match self {
            Unheard::Gate(Reason::Malformed(_)) | Unheard::NoHandshake => "malformed",
            Unheard::Gate(Reason::Mac1) => "mac1",
            Unheard::Busy => "cookie",
            Unheard::Gate(Reason::Rate) => "rate",
            Unheard::Gate(Reason::Noise(_)) | Unheard::Peer(Refusal::Noise(_)) => "forged",
            Unheard::Stranger | Unheard::Peer(Refusal::WrongPeer) => "stranger",
            Unheard::Peer(Refusal::Replayed) => "replayed",
            Unheard::Peer(Refusal::TooFast) => "too-fast",
            Unheard::Peer(Refusal::NotAwaited) => "not-awaited",
            Unheard::Peer(Refusal::NoIndex | Refusal::NoEndpoint) => "no-room",
        }
    }

    /// Its place there.
    pub fn place(&self) -> usize {
        REASONS.iter().position(|word| *word == self.reason()).unwrap_or_default()
    }
}

/// What is to be done, and what has happened.
#[derive(Debug, PartialEq, Eq)]
pub enum News {
    /// To be sent.
    Send {
        /// By which uplink.
        uplink: UplinkIndex,
        /// To whom.
        to: SocketAddr,
        /// From which address of ours; none, the kernel chooses.
        from: Option<IpAddr>,
        /// What.
        datagram: Vec<u8>,
    },
    /// There are new keys to seal with.
    Keys(TunnelId),
    /// There are none any more.
    Lost(TunnelId),
    /// The other end is there now.
    Endpoint(TunnelId, SocketAddr),
    /// Nobody answered: what waits for a session waits in vain.
    GaveUp(TunnelId),
}

/// Who we are at one uplink.
#[derive(Debug)]
struct Local {
    keys: Identity,
    /// The first key that there ever was: hubs know the uplink by it.
    name: PublicKey,
    gate: Gate,
}

/// One tunnel's.
#[derive(Debug)]
struct Ours {
    tunnel: Arc<Tunnel>,
    remote: PublicKey,
    /// The key of theirs that takes over from that.
    next: Option<PublicKey>,
    peer: Peer,
    /// The earliest entry among the timers.
    queued: Time,
}

/// What tells a tunnel from all others.
fn by(tunnel: &Tunnel, remote: PublicKey) -> (UplinkIndex, PublicKey, Option<Owner>) {
    (tunnel.uplink, remote, tunnel.relay.as_ref().and_then(|relay| relay::hub(&relay.address)))
}

/// What handshakes are made with that go straight, or by a hub. Those by a hub are bound to that: they have the same two keys as those that go straight, and a hub
/// that sends one on by the straight way is not heard there.
fn noise(hub: Option<Owner>) -> &'static dyn Noise {
    const BY_A_HUB: &Bound = &Bound::to(b"Outwork SD-WAN v1, by a hub");
    match hub {
        Some(_) => BY_A_HUB,
        None => &Snow,
    }
}

/// What tells a tunnel from all others, and which it is.
type ByKey = HashMap<(UplinkIndex, PublicKey, Option<Owner>), TunnelId>;

/// Forgets the keys of a tunnel, but for what is another's by now.
fn forget(by_key: &mut ByKey, id: TunnelId, ours: &Ours) {
    for key in [Some(ours.remote), ours.next].into_iter().flatten() {
        let place = by(&ours.tunnel, key);
        if by_key.get(&place) == Some(&id) {
            by_key.remove(&place);
        }
    }
}

/// The handshakes.
pub struct Peers {
    locals: BTreeMap<UplinkIndex, Local>,
    tunnels: BTreeMap<TunnelId, Ours>,
    /// By which uplink of ours, who is there, and the hub that passes it on.
    by_key: ByKey,
    /// Whose responses and cookies are.
    expected: HashMap<Index, TunnelId>,
    table: Arc<Table<Receiving>>,
    clock: Clock,
    entropy: Box<dyn Entropy + Send>,
    rng: Rng,
    timers: BinaryHeap<Reverse<(Time, TunnelId)>>,
    news: VecDeque<News>,
}

impl Peers {
    /// Nobody yet. Sessions are found in `table`; the wall clock shows `unix`, since 1970, at `now`; `seed` is for jitter.
    pub fn new(
        table: Arc<Table<Receiving>>,
        (now, unix): (Time, Duration),
        entropy: Box<dyn Entropy + Send>,
        seed: u64,
    ) -> Peers {
        Peers {
            locals: BTreeMap::new(),
            tunnels: BTreeMap::new(),
            by_key: HashMap::new(),
            expected: HashMap::new(),
            table,
            clock: Clock::new(now, unix),
            entropy,
            rng: Rng::new(seed),
            timers: BinaryHeap::new(),
            news: VecDeque::new(),
        }
    }

    /// The wall clock shows `unix` now, since 1970. It may have been set since the last time, as that of a machine that knows no time when it starts is: those who have heard of us
    /// before believe no initiation that is stamped with 1970. Stamps grow all the same.
    pub fn set_clock(&mut self, now: Time, unix: Duration) {
        self.clock.set(now, unix);
    }

    /// We are known by these keys at an uplink. False without randomness. Tunnels go on where one of the keys is one of those before; else they end.
    pub fn be(&mut self, now: Time, uplink: UplinkIndex, keys: &Identity, limits: Limits) -> bool {
        let goes_on = |local: &&mut Local| local.keys.keys().any(|key| keys.find(key.public()).is_some());
        if let Some(local) = self.locals.get_mut(&uplink).filter(goes_on) {
            local.gate.be(keys);
            local.keys = keys.clone();
            return true;
        }
        self.leave(uplink);
        let gate = Gate::new(keys, limits, now, self.entropy.as_mut());
        let local = gate.map(|gate| Local { keys: keys.clone(), name: *keys.oldest().public(), gate });
        let done = local.is_some();
        self.locals.extend(local.map(|local| (uplink, local)));
        done
    }

    /// Hubs know an uplink by this key: the first that it ever had, which keys that take over from it leave as it is.
    pub fn call(&mut self, uplink: UplinkIndex, name: PublicKey) {
        if let Some(local) = self.locals.get_mut(&uplink) {
            local.name = name;
        }
    }

    /// By which keys hubs know our uplinks.
    pub fn own(&self) -> impl Iterator<Item = (UplinkIndex, &PublicKey)> {
        self.locals.iter().map(|(uplink, local)| (*uplink, &local.name))
    }

    /// We are nobody at an uplink any more: its tunnels end.
    pub fn leave(&mut self, uplink: UplinkIndex) {
        let of_uplink = self.tunnels.values().filter(|ours| ours.tunnel.uplink == uplink);
        for id in of_uplink.map(|ours| ours.tunnel.id).collect::<Vec<_>>() {
            self.remove(id);
        }
        self.locals.remove(&uplink);
    }

    /// Makes a tunnel. False where its uplink has no key, or a tunnel to the same peer that goes the same way: straight, or by the same hub.
    pub fn add(&mut self, now: Time, tunnel: Arc<Tunnel>, settings: Settings) -> bool {
        let (id, key) = (tunnel.id, by(&tunnel, settings.remote));
        if !self.locals.contains_key(&tunnel.uplink) || self.by_key.contains_key(&key) || self.tunnels.contains_key(&id)
        {
            return false;
        }
        tunnel.set_endpoint(settings.endpoint);
        let remote = settings.remote;
        let peer = Peer::new(settings, Rng::new(self.rng.next_u64()), now);
        self.by_key.insert(key, id);
        self.tunnels.insert(id, Ours { tunnel, remote, next: None, peer, queued: Time::MAX });
        // The plan has as many tunnels as it has, and may have more the next time.
        let tunnels = u32::try_from(self.tunnels.len()).unwrap_or(u32::MAX);
        self.table.make_room(tunnels.saturating_mul(index::EACH));
        self.wait_for(id);
        true
    }

    /// Changes what is said of a tunnel; its session goes on.
    pub fn set(&mut self, id: TunnelId, psk: PresharedKey, keepalive: Option<Duration>) {
        if let Some(ours) = self.tunnels.get_mut(&id) {
            ours.peer.set_psk(psk);
            ours.peer.set_keepalive(keepalive);
        }
        self.wait_for(id);
    }

    /// A tunnel by its number.
    pub fn tunnel(&self, id: TunnelId) -> Option<&Arc<Tunnel>> {
        self.tunnels.get(&id).map(|ours| &ours.tunnel)
    }

    /// Whether a tunnel leads to whoever has this key.
    pub fn is(&self, id: TunnelId, remote: &PublicKey) -> bool {
        self.tunnels.get(&id).is_some_and(|ours| ours.remote == *remote || ours.next.as_ref() == Some(remote))
    }

    /// Whoever a tunnel leads to is known by these keys from now on: `next` takes over from `remote`. Its session goes on.
    pub fn know(&mut self, now: Time, id: TunnelId, remote: PublicKey, next: Option<PublicKey>) {
        let Some(ours) = self.tunnels.get_mut(&id) else { return };
        if (ours.remote, ours.next) == (remote, next) {
            return;
        }
        forget(&mut self.by_key, id, ours);
        (ours.remote, ours.next) = (remote, next);
        ours.peer.set_remotes(now, remote, next);
        self.by_key.extend([Some(remote), next].into_iter().flatten().map(|key| (by(&ours.tunnel, key), id)));
        self.wait_for(id);
    }

    /// Whether whoever a tunnel leads to has shown that they know a key of ours.
    pub fn knows(&self, id: TunnelId, own: &PublicKey) -> bool {
        self.tunnels.get(&id).is_some_and(|ours| ours.peer.knows(own))
    }

    /// Ends a tunnel.
    pub fn remove(&mut self, id: TunnelId) {
        self.step(id, |peer, cx| peer.close(cx));
        if let Some(ours) = self.tunnels.remove(&id) {
            forget(&mut self.by_key, id, &ours);
            ours.tunnel.set_endpoint(None);
        }
    }

    /// A message of a handshake came, to that address of ours. Its answers leave from there, and so does all that goes to who has written it.
    ///
    /// # Errors
    /// When it changes nothing.
    pub fn datagram(
        &mut self,
        now: Time,
        uplink: UplinkIndex,
        (from, own): (SocketAddr, Option<IpAddr>),
        datagram: &[u8],
    ) -> Result<(), Unheard> {
        let before = self.news.len();
        let heard = self.hear(now, uplink, from, datagram);
        for news in self.news.iter_mut().skip(before) {
            if let News::Send { to, from: source, .. } = news
                && *to == from
            {
                *source = own;
            }
        }
        let id = heard?;
        if let (Some(ours), Some(own)) = (self.tunnels.get(&id), own) {
            ours.tunnel.set_source(from, own);
        }
        Ok(())
    }

    fn hear(&mut self, now: Time, uplink: UplinkIndex, from: SocketAddr, datagram: &[u8]) -> Result<TunnelId, Unheard> {
        let Some(local) = self.locals.get_mut(&uplink) else { return Err(Unheard::NoHandshake) };
        let verdict =
            local.gate.judge(now, from, datagram, (&local.keys, noise(relay::hub(&from))), self.entropy.as_mut());
        let (id, input) = match verdict {
            Verdict::Initiation { sender, heard } => {
                (self.by_key.get(&(uplink, heard.remote, relay::hub(&from))), Input::Initiation { from, sender, heard })
            }
            Verdict::Response(response) => (self.expected.get(&response.receiver), Input::Response { from, response }),
            Verdict::CookieReply(reply) => (self.expected.get(&reply.receiver), Input::CookieReply(reply)),
            Verdict::Transport(_) => return Err(Unheard::NoHandshake),
            Verdict::Busy(reply) => {
                self.news.push_back(News::Send { uplink, to: from, from: None, datagram: reply.to_vec() });
                return Err(Unheard::Busy);
            }
            Verdict::Drop(reason) => return Err(reason.into()),
        };
        let id = id.copied().ok_or(Unheard::Stranger)?;
        // What was sent by one uplink, or by a hub, is answered by the same: another has other keys.
        let is_theirs = |ours: &Ours| ours.tunnel.uplink == uplink && ours.tunnel.may_come_from(&from);
        if !self.tunnels.get(&id).is_some_and(is_theirs) {
            return Err(Unheard::Stranger);
        }
        self.input(now, id, input).unwrap_or(Err(Unheard::Stranger)).map(|()| id)
    }

    /// Something is to be sent and there is no session, or a worker was told to have new keys made.
    ///
    /// # Errors
    /// When nothing can be begun.
    pub fn wanted(&mut self, now: Time, id: TunnelId) -> Result<(), Unheard> {
        if let Some(ours) = self.tunnels.get(&id) {
            ours.tunnel.done(Once::Wanted);
        }
        self.input(now, id, Input::Wanted).unwrap_or(Err(Unheard::Stranger))
    }

    /// A worker opened the first datagram of a session.
    pub fn confirmed(&mut self, now: Time, id: TunnelId, index: Index) {
        // Whoever is gone meanwhile has no more use for it.
        let _ = self.input(now, id, Input::Confirmed(index));
    }

    /// A worker opened a datagram of a tunnel that came from there to that address of ours.
    pub fn reached(&mut self, now: Time, id: TunnelId, from: SocketAddr, own: Option<IpAddr>) {
        self.moved(now, id, from);
        if let (Some(ours), Some(own)) = (self.tunnels.get(&id), own) {
            ours.tunnel.set_source(from, own);
        }
    }

    /// The other end of a tunnel is somewhere else.
    pub fn moved(&mut self, now: Time, id: TunnelId, to: SocketAddr) {
        if let Some(ours) = self.tunnels.get(&id) {
            ours.tunnel.done(Once::Moved);
        }
        // As above.
        let _ = self.input(now, id, Input::Moved(to));
    }

    /// Does what is due.
    pub fn handle_timeout(&mut self, now: Time) {
        let mut due = vec![];
        while let Some(Reverse((at, id))) = self.timers.peek().copied().filter(|Reverse((at, _))| *at <= now) {
            self.timers.pop();
            // Those that were overtaken by an earlier one are passed over.
            if let Some(ours) = self.tunnels.get_mut(&id).filter(|ours| ours.queued == at) {
                ours.queued = Time::MAX;
                due.push(id);
            }
        }
        for id in due {
            // What workers did may have put it off.
            let at = self.tunnels.get(&id).and_then(|ours| ours.peer.poll_timeout());
            if at.is_some_and(|(at, _)| at <= now) {
                self.step(id, |peer, cx| peer.handle_timeout(now, cx));
            }
            self.wait_for(id);
        }
    }

    /// When [`Peers::handle_timeout`] is to be called next.
    pub fn poll_timeout(&self) -> Option<Time> {
        self.timers.peek().map(|Reverse((at, _))| *at)
    }

    /// What there is to do or to know.
    pub fn poll_news(&mut self) -> Option<News> {
        self.news.pop_front()
    }

    /// Where everybody is that is not reached by a hub: by which uplink of ours, and who.
    pub fn endpoints(&self) -> impl Iterator<Item = (UplinkIndex, PublicKey, SocketAddr)> {
        let straight = self.tunnels.values().filter(|ours| ours.tunnel.relay.is_none());
        straight.filter_map(|ours| Some((ours.tunnel.uplink, ours.remote, ours.tunnel.endpoint()?)))
    }

    /// They are there, says who knew them; each is asked at once for a new session.
    pub fn meet(&mut self, now: Time, known: &[(UplinkIndex, PublicKey, SocketAddr)]) {
        for (uplink, remote, at) in known {
            if let Some(id) = self.by_key.get(&(*uplink, *remote, None)).copied() {
                self.moved(now, id, *at);
                // One that cannot be asked now is asked when there is something for it.
                let _ = self.wanted(now, id);
            }
        }
    }

    /// Tunnels.
    pub fn len(&self) -> usize {
        self.tunnels.len()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.tunnels.is_empty()
    }

    /// Whether handshakes are asked for a sign of where they come from, there being so many of them.
    pub fn is_busy(&self, now: Time) -> bool {
        self.locals.values().any(|local| local.gate.busy(now))
    }

    fn input(&mut self, now: Time, id: TunnelId, input: Input<'_>) -> Option<Result<(), Unheard>> {
        let result = self.step(id, |peer, cx| peer.handle_input(now, input, cx))?;
        self.wait_for(id);
        Some(result.map_err(Unheard::from))
    }

    /// Has a peer do something, and does what follows.
    fn step<R>(&mut self, id: TunnelId, act: impl FnOnce(&mut Peer, &mut Context<'_>) -> R) -> Option<R> {
        let ours = self.tunnels.get_mut(&id)?;
        let local = self.locals.get(&ours.tunnel.uplink)?;
        let mut cx = Context {
            local: &local.keys,
            noise: noise(ours.tunnel.relay.as_ref().and_then(|relay| relay::hub(&relay.address))),
            clock: &mut self.clock,
            entropy: self.entropy.as_mut(),
            indices: &*self.table,
        };
        let result = act(&mut ours.peer, &mut cx);
        while let Some(output) = ours.peer.poll_output() {
            match output {
                Output::Send(to, datagram) => {
                    let way = ours.tunnel.way(0, 0).filter(|way| way.to == to);
                    let from = way.and_then(|way| way.from);
                    self.news.push_back(News::Send { uplink: ours.tunnel.uplink, to, from, datagram });
                }
                Output::Expect(index) => drop(self.expected.insert(index, id)),
                Output::Receive(opener) => {
                    self.expected.insert(opener.local(), id);
                    self.table.put(opener.local(), Arc::new(Receiving { opener, tunnel: Arc::clone(&ours.tunnel) }));
                }
                Output::Seal(sealer) => {
                    ours.tunnel.set_sealer(Some(sealer));
                    self.news.push_back(News::Keys(id));
                }
                Output::Forget(index) => drop(self.expected.remove(&index)),
                Output::Lost => {
                    ours.tunnel.set_sealer(None);
                    self.news.push_back(News::Lost(id));
                }
                Output::Endpoint(at) => {
                    ours.tunnel.set_endpoint(Some(at));
                    self.news.push_back(News::Endpoint(id, at));
                }
                Output::GaveUp => self.news.push_back(News::GaveUp(id)),
            }
        }
        Some(result)
    }

    /// Sees to it that a tunnel is looked at when it wants.
    fn wait_for(&mut self, id: TunnelId) {
        let Some(ours) = self.tunnels.get_mut(&id) else { return };
        let Some((at, _)) = ours.peer.poll_timeout() else { return };
        if at < ours.queued {
            ours.queued = at;
            self.timers.push(Reverse((at, id)));
        }
    }
}

#[cfg(test)]
#[path = "peers_tests.rs"]
mod tests;
