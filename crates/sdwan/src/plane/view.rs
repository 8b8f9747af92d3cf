//! What workers know: whose addresses are whose, and by which tunnel packets for them go. Made anew on every change, read without a lock.

use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::Arc;

use foldhash::fast::FixedState;

use super::tunnel::{Owner, Tunnel};
use crate::engine::prefix::{Addresses, Prefix};

/// A view.
#[derive(Debug)]
pub struct View {
    owners: Addresses<Option<Owner>>,
    peers: HashMap<Owner, Arc<Tunnel>, FixedState>,
}

impl View {
    /// Of the networks behind everybody, and the tunnels of peers that are no sites.
    pub fn new(
        networks: impl IntoIterator<Item = (Prefix, Owner)>,
        peers: impl IntoIterator<Item = Arc<Tunnel>>,
    ) -> View {
        let peers = peers.into_iter().map(|tunnel| (tunnel.owner, tunnel)).collect();
        View { owners: Addresses::longest(networks), peers }
    }

    /// Whose an address is.
    pub fn owner(&self, address: IpAddr) -> Option<Owner> {
        *self.owners.at(address)
    }

    /// All tunnels.
    pub fn tunnels(&self) -> impl Iterator<Item = &Arc<Tunnel>> {
        self.peers.values()
    }

    /// The tunnel to a peer.
    pub fn tunnel(&self, owner: Owner) -> Option<&Arc<Tunnel>> {
        self.peers.get(&owner)
    }
}
