//! Whose what is, looked up at once. Made once for each set of paths, so that what a hello, a word or a change of one path costs does not grow with the sites
//! that there are.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::net::SocketAddr;

use super::{Path, Plan};
use crate::engine::site::{PathId, Reach, SiteId, UplinkId};
use crate::plane::relay::Place;
use crate::plane::tunnel::UplinkIndex;

/// What is looked up.
#[derive(Debug, Default)]
pub(super) struct Index {
    /// Sites that pass things on.
    hubs: BTreeSet<SiteId>,
    /// Uplinks of others that the plan has no endpoint of.
    closed: BTreeSet<Place>,
    /// Paths that go straight, by whom they lead to, and by which uplink of theirs.
    straight: BTreeMap<SiteId, Vec<PathId>>,
    reaching: HashMap<Place, Vec<PathId>>,
    /// Paths by a hub, by that and the uplink of ours.
    by_hub: BTreeMap<(SiteId, UplinkId), Vec<PathId>>,
    /// The same, by where handshakes say that the other end is.
    by_address: HashMap<(UplinkIndex, SocketAddr), PathId>,
    /// Those among them neither end of which can be dialled.
    hidden: Vec<PathId>,
}

impl Index {
    /// That of these paths.
    pub(super) fn new(plan: &Plan, paths: &BTreeMap<PathId, Path>) -> Index {
        let (sites, own) = (&plan.network.sites, &plan.network.own);
        let uplinks = sites.iter().chain([own]).flat_map(|site| &site.uplinks);
        let unreached: BTreeSet<UplinkId> =
            uplinks.filter(|uplink| uplink.reach == Reach::Closed).map(|uplink| uplink.id).collect();
        let mut index = Index {
            hubs: sites.iter().filter(|site| site.hub).map(|site| site.id).collect(),
            closed: plan
                .remote
                .values()
                .filter(|remote| remote.endpoint.is_none())
                .map(|remote| remote.place())
                .collect(),
            ..Index::default()
        };
        for (id, path) in paths {
            match path.key.via {
                None => {
                    index.straight.entry(path.key.site).or_default().push(*id);
                    if let Some(remote) = plan.remote.get(&path.key.remote) {
                        index.reaching.entry(remote.place()).or_default().push(*id);
                    }
                }
                Some(hub) => {
                    index.by_hub.entry((hub, path.key.own)).or_default().push(*id);
                    if [path.key.own, path.key.remote].iter().all(|end| unreached.contains(end)) {
                        index.hidden.push(*id);
                    }
                }
            }
            if let Some(relay) = &path.tunnel.relay {
                index.by_address.insert((path.tunnel.uplink, relay.address), *id);
            }
        }
        index
    }

    /// Whether a site passes things on.
    pub(super) fn is_hub(&self, site: SiteId) -> bool {
        self.hubs.contains(&site)
    }

    /// Whether the plan has no endpoint of an uplink of somebody.
    pub(super) fn is_closed(&self, place: &Place) -> bool {
        self.closed.contains(place)
    }

    /// The paths that lead straight to a site.
    pub(super) fn straight(&self, site: SiteId) -> &[PathId] {
        self.straight.get(&site).map_or(&[], Vec::as_slice)
    }

    /// The paths that lead straight to an uplink of somebody.
    pub(super) fn reaching(&self, place: &Place) -> &[PathId] {
        self.reaching.get(place).map_or(&[], Vec::as_slice)
    }

    /// What goes by a hub, by each uplink of ours.
    pub(super) fn by_hub(&self, hub: SiteId) -> impl Iterator<Item = (UplinkId, &[PathId])> {
        let all = (hub, UplinkId(0))..=(hub, UplinkId(u32::MAX));
        self.by_hub.range(all).map(|((_, own), paths)| (*own, paths.as_slice()))
    }

    /// Sites that a path leads straight to, or that pass one on.
    pub(super) fn sites(&self) -> BTreeSet<SiteId> {
        self.straight.keys().copied().chain(self.by_hub.keys().map(|(hub, _)| *hub)).collect()
    }

    /// The path to who is there.
    pub(super) fn at(&self, uplink: UplinkIndex, address: SocketAddr) -> Option<PathId> {
        self.by_address.get(&(uplink, address)).copied()
    }

    /// Paths by hubs neither end of which can be dialled.
    pub(super) fn hidden(&self) -> &[PathId] {
        &self.hidden
    }
}
