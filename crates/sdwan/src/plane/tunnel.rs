//! A tunnel as workers see it: what to seal with, where it goes, whose packets come out of it, what has passed.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::Ordering::{AcqRel, Acquire, Relaxed, Release};
use std::sync::atomic::{AtomicBool, AtomicU16, AtomicU64};

use arc_swap::{ArcSwapOption, Guard};
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
    endpoint: ArcSwapOption<SocketAddr>,
    mtu: AtomicU16,
    wanted: AtomicBool,
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
            endpoint: ArcSwapOption::empty(),
            mtu: AtomicU16::new(mtu),
            wanted: AtomicBool::new(false),
        }
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
        self.endpoint.load().as_deref().copied()
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

    /// Packets wait for a session: true for who says so first. Said again only after [`Tunnel::heard`].
    pub fn want(&self) -> bool {
        !self.wanted.load(Acquire) && !self.wanted.swap(true, AcqRel)
    }

    /// Control knows that a session is wanted; or does not, there having been no room to tell it.
    pub(crate) fn heard(&self) {
        self.wanted.store(false, Release);
    }

    pub(crate) fn set_sealer(&self, sealer: Option<Arc<Sealer>>) {
        self.sealer.store(sealer);
    }

    pub(crate) fn set_endpoint(&self, endpoint: Option<SocketAddr>) {
        self.endpoint.store(endpoint.map(Arc::new));
    }
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
