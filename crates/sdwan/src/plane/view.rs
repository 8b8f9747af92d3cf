//! What workers know: whose addresses are whose, and by which tunnel packets for them go. Made anew on every change, read without a lock.

use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::Arc;

use arc_swap::{ArcSwap, Guard};
use foldhash::fast::FixedState;

use super::relay::{Passage, Place};
use super::tunnel::{Owner, Tunnel, UplinkIndex};
use crate::engine::prefix::{Addresses, Prefix};
use crate::engine::site::PathId;
use crate::engine::table::Table;

/// An uplink of somebody for whom this site passes something on. Control says by which tunnel that goes, workers read it.
#[derive(Debug)]
pub struct Reached {
    /// Whose it is.
    pub owner: Owner,
    tunnel: ArcSwap<Tunnel>,
}

impl Reached {
    /// One that is reached by a tunnel.
    pub fn new(owner: Owner, tunnel: &Arc<Tunnel>) -> Reached {
        Reached { owner, tunnel: ArcSwap::new(Arc::clone(tunnel)) }
    }

    /// By which tunnel it is reached best.
    pub fn tunnel(&self) -> Guard<Arc<Tunnel>> {
        self.tunnel.load()
    }

    /// It is reached by another one from now on.
    pub(crate) fn go_by(&self, tunnel: &Arc<Tunnel>) {
        if !Arc::ptr_eq(&self.tunnel.load(), tunnel) {
            self.tunnel.store(Arc::clone(tunnel));
        }
    }
}

/// Whom hubs know by which name.
#[derive(Debug, Default)]
pub struct Relays {
    /// Our own uplinks.
    pub own: HashMap<Place, UplinkIndex, FixedState>,
    /// Uplinks for whom this site passes something on.
    pub others: HashMap<Place, Reached, FixedState>,
}

impl Relays {
    /// To whom a datagram is passed on that came from somebody; none where it is not: because nobody is there, because it is of somebody else than it says, is for
    /// who sent it, or was passed on before, so that nothing goes in circles.
    pub fn next(&self, passage: &Passage, from: Owner) -> Option<&Reached> {
        let is_theirs = self.others.get(&passage.from).is_some_and(|known| known.owner == from);
        self.others.get(&passage.to).filter(|to| is_theirs && !passage.passed && to.owner != from)
    }
}

/// A view.
#[derive(Debug)]
pub struct View {
    owners: Arc<Addresses<Option<Owner>>>,
    peers: Arc<HashMap<Owner, Arc<Tunnel>, FixedState>>,
    /// Where flows to sites go.
    table: Option<Arc<Table>>,
    /// The tunnels of paths, by their number.
    paths: Arc<[Option<Arc<Tunnel>>]>,
    relays: Arc<Relays>,
}

impl View {
    /// Nobody.
    pub fn empty() -> View {
        View::new([], [], [])
    }

    /// Of the networks behind everybody, the tunnels of peers that are no sites, and those of paths. Flows to sites go nowhere yet.
    pub fn new(
        networks: impl IntoIterator<Item = (Prefix, Owner)>,
        peers: impl IntoIterator<Item = Arc<Tunnel>>,
        paths: impl IntoIterator<Item = (PathId, Arc<Tunnel>)>,
    ) -> View {
        let mut slots = vec![];
        for (PathId(id), tunnel) in paths {
            let place = id as usize;
            if slots.len() <= place {
                slots.resize(place + 1, None);
            }
            if let Some(slot) = slots.get_mut(place) {
                *slot = Some(tunnel);
            }
        }
        View {
            owners: Arc::new(Addresses::longest(networks)),
            peers: Arc::new(peers.into_iter().map(|tunnel| (tunnel.owner, tunnel)).collect()),
            table: None,
            paths: slots.into(),
            relays: Arc::default(),
        }
    }

    /// The same with another table.
    pub fn with(&self, table: Option<Arc<Table>>) -> View {
        let View { owners, peers, paths, relays, .. } = self;
        let relays = Arc::clone(relays);
        View { owners: Arc::clone(owners), peers: Arc::clone(peers), table, paths: Arc::clone(paths), relays }
    }

    /// The same with others that hubs know.
    pub fn passing(&self, relays: Arc<Relays>) -> View {
        View { relays, ..self.with(self.table.clone()) }
    }

    /// Whom hubs know by which name.
    pub fn relays(&self) -> &Relays {
        &self.relays
    }

    /// Whose an address is.
    pub fn owner(&self, address: IpAddr) -> Option<Owner> {
        *self.owners.at(address)
    }

    /// All tunnels.
    pub fn tunnels(&self) -> impl Iterator<Item = &Arc<Tunnel>> {
        self.peers.values().chain(self.paths.iter().flatten())
    }

    /// The tunnel to a peer; none to a site.
    pub fn peer(&self, owner: Owner) -> Option<&Arc<Tunnel>> {
        self.peers.get(&owner)
    }

    /// The tunnel of a path.
    pub fn path(&self, PathId(id): PathId) -> Option<&Arc<Tunnel>> {
        self.paths.get(id as usize)?.as_ref()
    }

    /// Where flows to sites go.
    pub fn table(&self) -> Option<&Table> {
        self.table.as_deref()
    }
}

#[cfg(test)]
mod tests {
    use outwork_wireguard::PublicKey;

    use super::*;
    use crate::plane::tunnel::TunnelId;

    #[test]
    fn a_hub_passes_on_once_and_only_what_is_of_whom_it_says() {
        let [north, south, stranger] = [1, 2, 3].map(|octet| Place::of(&PublicKey([octet; 32])));
        let tunnel = |id, owner| Arc::new(Tunnel::new(TunnelId(id), "site", UplinkIndex(0), Owner(owner), 1420));
        let to = |owner| Reached::new(Owner(owner), &tunnel(owner, owner));
        let others = [(north, to(1)), (south, to(2))].into_iter().collect();
        let relays = Relays { others, ..Relays::default() };
        let passage = Passage { to: south, from: north, length: 9, ours: false, passed: false };
        let next = |passage: Passage, from| relays.next(&passage, Owner(from)).map(|to| to.tunnel().owner);
        assert_eq!(next(passage, 1), Some(Owner(2)));
        assert_eq!(next(passage, 2), None, "it is not of whom it says");
        assert_eq!(next(Passage { passed: true, ..passage }, 1), None, "it was passed on before");
        assert_eq!(next(Passage { to: stranger, ..passage }, 1), None, "nobody is there");
        assert_eq!(next(Passage { from: stranger, ..passage }, 1), None, "nobody knows who sent it");
        assert_eq!(next(Passage { to: north, ..passage }, 1), None, "nobody needs a hub to reach itself");
        relays.others[&south].go_by(&tunnel(9, 2));
        let by = relays.next(&passage, Owner(1)).map(|to| to.tunnel().id);
        assert_eq!(by, Some(TunnelId(9)), "another path is the best by then");
    }
}
