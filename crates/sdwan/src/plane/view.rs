//! What workers know: whose addresses are whose, and by which tunnel packets for them go. Made anew on every change, read without a lock.

use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::Arc;

use foldhash::fast::FixedState;

use super::relay::Place;
use super::tunnel::{Owner, Tunnel, UplinkIndex};
use crate::engine::prefix::{Addresses, Prefix};
use crate::engine::site::PathId;
use crate::engine::table::Table;

/// Whom hubs know by which name.
#[derive(Debug, Default)]
pub struct Relays {
    /// Our own uplinks.
    pub own: HashMap<Place, UplinkIndex, FixedState>,
    /// Whose an uplink is, of those for whom this site passes something on, and by which tunnel it is reached best.
    pub others: HashMap<Place, (Owner, Option<Arc<Tunnel>>), FixedState>,
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
    pub fn passing(&self, relays: Relays) -> View {
        View { relays: Arc::new(relays), ..self.with(self.table.clone()) }
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
