//! By which tunnel a hub is reached best, and by which this site, as a hub, reaches others best. Looked at anew for a site of whose paths one has changed.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::Arc;

use super::Sites;
use crate::engine::liveness::State;
use crate::engine::site::SiteId;
use crate::plane::tunnel::{Tunnel, UplinkIndex};
use crate::plane::view::{Reached, Relays};

impl Sites {
    /// Has what goes by a site, and what this one passes on to it, take the best tunnels to it.
    pub(super) fn rank(&self, site: SiteId) {
        let ranked = self.index.straight(site).iter().filter_map(|id| {
            let (path, (spec, state)) = (self.paths.get(id)?, self.engine.known(*id)?);
            let rank = match state {
                State::Up => 0,
                State::Suspect => 1,
                State::Trial => 2,
                State::New | State::Down => 3,
            };
            Some(((rank, !self.engine.carries(*id), spec.backup, spec.metered, spec.cost, *id), path))
        });
        let mut ranked: Vec<_> = ranked.collect();
        ranked.sort_by_key(|(rank, _)| *rank);
        let (mut best, mut to) = (BTreeMap::new(), BTreeMap::new());
        for (_, path) in &ranked {
            best.entry(path.key.own).or_insert(&path.tunnel);
            to.entry(path.key.remote).or_insert(&path.tunnel);
        }
        for (own, paths) in self.index.by_hub(site) {
            let carrier = best.get(&own).copied();
            for relay in paths.iter().filter_map(|id| self.paths.get(id)?.tunnel.relay.as_ref()) {
                relay.go_by(carrier);
            }
        }
        for (remote, tunnel) in to {
            let place = self.plan.remote.get(&remote).map(|remote| remote.place());
            if let Some(reached) = place.and_then(|place| self.relays.others.get(&place)) {
                reached.go_by(tunnel);
            }
        }
    }

    /// Says whom this site knows, should it be a hub, and has everything take the best tunnels.
    pub(super) fn rank_all(&mut self) {
        let own = self.own.iter().map(|(uplink, place)| (*place, *uplink)).collect();
        let mut relays = Relays { own, ..Relays::default() };
        for path in self.paths.values().filter(|path| self.plan.network.own.hub && path.key.via.is_none()) {
            if let Some(remote) = self.plan.remote.get(&path.key.remote) {
                let reached = || Reached::new(path.tunnel.owner, &path.tunnel);
                relays.others.entry(remote.place()).or_insert_with(reached);
            }
        }
        self.relays = Arc::new(relays);
        self.index.sites().into_iter().for_each(|site| self.rank(site));
    }

    /// Whom hubs know by which name.
    pub fn relays(&self) -> &Arc<Relays> {
        &self.relays
    }

    /// The tunnel of ours that leads to somebody by a hub.
    pub fn passed_on(&self, uplink: UplinkIndex, to: &SocketAddr) -> Option<&Arc<Tunnel>> {
        self.paths.get(&self.index.at(uplink, *to)?).map(|path| &path.tunnel)
    }
}
