//! A tunnel as workers see it: what to seal with, where it goes, whose packets come out of it, what has passed.

use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::sync::atomic::Ordering::{AcqRel, Acquire, Relaxed, Release};
use std::sync::atomic::{AtomicU8, AtomicU16, AtomicU64};

use arc_swap::{ArcSwapOption, Guard};
use outwork_net::carrier::{Reason, Way};
use outwork_wireguard::session::{Opener, Sealer};

use super::relay::{self, Relay};

/// A tunnel of ours: to one peer by one uplink. The number stays as long as the tunnel does.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct TunnelId(pub u32);

/// One of our uplinks, by its place.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct UplinkIndex(pub u16);

/// Whose packets come out of a tunnel: a site, or a peer that is none.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Owner(pub u32);

/// What control is told of a tunnel once, until it has heard it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Once {
    /// A session is wanted.
    Wanted = 1,
    /// The other end is somewhere else.
    Moved = 2,
    /// Nothing leaves.
    Stuck = 4,
    /// ICMP says that packets are too long.
    Hint = 8,
}

/// What sites say to each other by one tunnel that control may have yet to hear: nobody keeps out what others say.
pub const WORDS: u16 = 128;

/// What has passed a tunnel since it was made. Workers add once a run.
#[derive(Debug, Default)]
pub struct Tallies {
    /// Datagrams sent, what is between ourselves among them.
    pub sent: AtomicU64,
    /// Octets of the packets in them.
    pub sent_octets: AtomicU64,
    /// Datagrams that came, authentic and new.
    pub received: AtomicU64,
    /// Octets of the packets in them.
    pub received_octets: AtomicU64,
    /// Packets that found no session, and no room to wait for one.
    pub unsent: AtomicU64,
    /// Datagrams that were forged, altered, replayed or too late.
    pub refused: AtomicU64,
    /// Packets whose source is somebody else's.
    pub foreign: AtomicU64,
}

/// Where the other end is, and where it reaches us.
#[derive(Debug, Clone, Copy)]
struct At {
    endpoint: SocketAddr,
    /// Our address that it knows, as far as that is known: a NAT or a firewall between lets only what comes from there pass.
    source: Option<IpAddr>,
    /// The one that the kernel took for none of this host's.
    refused: Option<IpAddr>,
}

/// A tunnel. Control writes it, workers read.
#[derive(Debug)]
pub struct Tunnel {
    /// Which it is.
    pub id: TunnelId,
    /// What whoever it leads to is called.
    pub name: Box<str>,
    /// By which uplink it leaves.
    pub uplink: UplinkIndex,
    /// Whose packets come out of it.
    pub owner: Owner,
    /// What has passed.
    pub tallies: Tallies,
    /// How a hub passes it on; none of one that goes straight.
    pub relay: Option<Relay>,
    sealer: ArcSwapOption<Sealer>,
    at: ArcSwapOption<At>,
    mtu: AtomicU16,
    /// Whether it leads to a site, and not to a plain peer.
    of_site: bool,
    /// What control has been told, of [`Once`].
    told: AtomicU8,
    /// Words that control has yet to hear.
    words: AtomicU16,
}

impl Tunnel {
    /// One without a session, for packets of at most `mtu` octets.
    pub fn new(id: TunnelId, name: &str, uplink: UplinkIndex, owner: Owner, mtu: u16) -> Tunnel {
        Tunnel {
            id,
            name: name.into(),
            uplink,
            owner,
            tallies: Tallies::default(),
            relay: None,
            sealer: ArcSwapOption::empty(),
            at: ArcSwapOption::empty(),
            mtu: AtomicU16::new(mtu),
            of_site: false,
            told: AtomicU8::new(0),
            words: AtomicU16::new(0),
        }
    }

    /// The same, to a site: more is taken of it than packets.
    #[must_use]
    pub fn of_site(self) -> Tunnel {
        Tunnel { of_site: true, ..self }
    }

    /// Whether it leads to a site.
    pub fn is_of_site(&self) -> bool {
        self.of_site
    }

    /// The same, passed on by a hub.
    #[must_use]
    pub fn by(self, relay: Option<Relay>) -> Tunnel {
        Tunnel { relay, ..self }
    }

    /// Whether its datagrams may come from there: of a tunnel by a hub from that hub alone, of any other from wherever the other end is by now.
    pub fn may_come_from(&self, from: &SocketAddr) -> bool {
        match &self.relay {
            Some(relay) => relay.address == *from,
            None => relay::hub(from).is_none(),
        }
    }

    /// What to seal with; none without a session.
    pub fn sealer(&self) -> Guard<Option<Arc<Sealer>>> {
        self.sealer.load()
    }

    /// Where the other end is, as far as anybody knows.
    pub fn endpoint(&self) -> Option<SocketAddr> {
        self.at.load().as_deref().map(|at| at.endpoint)
    }

    /// The way of what goes there, with a type of service and a mark.
    pub fn way(&self, tos: u8, mark: u32) -> Option<Way> {
        self.at.load().as_deref().map(|at| Way { to: at.endpoint, from: at.source, tos, mark })
    }

    /// Whether this is all known already of what came from there, to that address of ours where one is told.
    pub fn is_at(&self, from: &SocketAddr, own: Option<IpAddr>) -> bool {
        let is = |at: &At| at.endpoint == *from && (own.is_none() || own == at.source || own == at.refused);
        self.at.load().as_deref().is_some_and(is)
    }

    /// Whether it is of the source alone that nothing leaves that way: this host has it no longer. It is forgotten then, and the kernel chooses.
    pub fn gives_up_source(&self, way: &Way, reason: Reason) -> bool {
        let is_of_source = matches!(reason, Reason::NoSource | Reason::NetworkUnreachable);
        if way.from.is_none() || !is_of_source {
            return false;
        }
        self.at.rcu(|at| {
            at.as_deref().map(|at| match at.source == way.from {
                true => Arc::new(At { source: None, refused: at.source, ..*at }),
                false => Arc::new(*at),
            })
        });
        true
    }

    /// Octets of the longest packet that fits.
    pub fn mtu(&self) -> u16 {
        let own = self.mtu.load(Relaxed);
        self.relay.as_ref().map_or(own, |relay| own.min(relay.mtu()))
    }

    /// Other packets fit from now on.
    pub fn set_mtu(&self, mtu: u16) {
        self.mtu.store(mtu, Relaxed);
    }

    /// Whether control is to be told: true for who says so first. Again only after [`Tunnel::done`].
    pub fn first(&self, once: Once) -> bool {
        let bit = once as u8;
        self.told.load(Acquire) & bit == 0 && self.told.fetch_or(bit, AcqRel) & bit == 0
    }

    /// Control has heard it, or could not be told.
    pub(crate) fn done(&self, once: Once) {
        self.told.fetch_and(!(once as u8), Release);
    }

    /// Whether control is to hear another word of this tunnel: not while it has as many to hear as one may say.
    pub(super) fn may_speak(&self) -> bool {
        self.words.fetch_update(Relaxed, Relaxed, |words| (words < WORDS).then_some(words + 1)).is_ok()
    }

    /// Control has heard a word, or could not be told.
    pub(crate) fn spoke(&self) {
        // There are as many as were let through.
        let _ = self.words.fetch_update(Relaxed, Relaxed, |words| words.checked_sub(1));
    }

    pub(crate) fn set_sealer(&self, sealer: Option<Arc<Sealer>>) {
        self.sealer.store(sealer);
    }

    pub(crate) fn set_endpoint(&self, endpoint: Option<SocketAddr>) {
        self.at.store(endpoint.map(|endpoint| Arc::new(At { endpoint, source: None, refused: None })));
    }

    /// The other end, which is there, reaches us at an address of ours.
    pub(crate) fn set_source(&self, from: SocketAddr, own: IpAddr) {
        self.at.rcu(|at| {
            at.as_deref().map(|at| match at.endpoint == from && at.refused != Some(own) {
                true => Arc::new(At { source: Some(own), ..*at }),
                false => Arc::new(*at),
            })
        });
    }

    /// Addresses or routes of this host are others: the kernel chooses until the other end is heard again.
    pub(crate) fn forget_source(&self) {
        self.at.rcu(|at| at.as_deref().map(|at| Arc::new(At { source: None, refused: None, ..*at })));
    }
}

/// The address of this host that a datagram was sent to, if answers can leave from there.
pub fn own(to: IpAddr) -> Option<IpAddr> {
    Some(to).filter(|to| !to.is_unspecified() && !to.is_multicast())
}

/// What datagrams of one index are opened with.
#[derive(Debug)]
pub struct Receiving {
    /// The keys.
    pub opener: Arc<Opener>,
    /// Whose it is.
    pub tunnel: Arc<Tunnel>,
}

#[cfg(test)]
mod tests {
    use outwork_wireguard::PublicKey;

    use super::*;
    use crate::plane::relay::Place;

    #[test]
    fn what_goes_to_somebody_leaves_from_where_they_reach_us_until_the_kernel_knows_it_no_longer() {
        let tunnel = Tunnel::new(TunnelId(1), "peer", UplinkIndex(0), Owner(1), 1420);
        let [there, elsewhere]: [SocketAddr; 2] = ["192.0.2.1:7", "192.0.2.2:7"].map(|at| at.parse().unwrap());
        let [own, other]: [IpAddr; 2] = ["198.51.100.1", "198.51.100.2"].map(|at| at.parse().unwrap());
        assert!(tunnel.way(0, 0).is_none() && !tunnel.is_at(&there, None));
        tunnel.set_endpoint(Some(there));
        let from = || tunnel.way(0, 0).unwrap().from;
        assert!(from().is_none() && tunnel.is_at(&there, None) && !tunnel.is_at(&there, Some(own)));
        tunnel.set_source(elsewhere, other);
        assert_eq!(from(), None, "it is not there");
        tunnel.set_source(there, own);
        let way = tunnel.way(184, 7).unwrap();
        assert_eq!(way, Way { to: there, from: Some(own), tos: 184, mark: 7 });
        assert!(tunnel.is_at(&there, Some(own)) && !tunnel.is_at(&there, Some(other)));

        assert!(!tunnel.gives_up_source(&way, Reason::HostUnreachable) && from() == Some(own));
        tunnel.set_source(there, other);
        assert!(tunnel.gives_up_source(&way, Reason::NoSource) && from() == Some(other), "it was of the one before");
        let way = tunnel.way(0, 0).unwrap();
        assert!(tunnel.gives_up_source(&way, Reason::NetworkUnreachable) && from().is_none());
        assert!(
            !tunnel.gives_up_source(&Way { from: None, ..way }, Reason::NetworkUnreachable),
            "it is of the network"
        );
        tunnel.set_source(there, other);
        assert!(from().is_none() && tunnel.is_at(&there, Some(other)), "nobody tells of it again and again");
        tunnel.forget_source();
        tunnel.set_source(there, other);
        assert_eq!(from(), Some(other), "addresses of this host have changed meanwhile");
        tunnel.set_endpoint(Some(elsewhere));
        assert_eq!(from(), None);
    }

    #[test]
    fn what_a_hub_passes_on_is_of_tunnels_by_that_hub_and_moves_no_others() {
        let [own, far] = [1, 2].map(|octet| Place::of(&PublicKey([octet; 32])));
        let tunnel = || Tunnel::new(TunnelId(1), "site", UplinkIndex(0), Owner(1), 1420);
        let (straight, by_hub) = (tunnel(), tunnel().by(Some(Relay::new(own, far, Owner(7)))));
        let real: SocketAddr = "192.0.2.1:51820".parse().unwrap();
        let [hub, other] = [7, 8].map(|hub| relay::address(far, Owner(hub)));
        assert_eq!([real, hub, other].map(|from| straight.may_come_from(&from)), [true, false, false]);
        assert_eq!([real, hub, other].map(|from| by_hub.may_come_from(&from)), [false, true, false]);
    }
}
