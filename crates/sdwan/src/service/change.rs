//! Another configuration in the place of the one in force: wholly, or not at all.
//!
//! What can be known to be wrong is, before anything changes. What the kernel may refuse comes first then, stage by stage, and each stage knows how to go back to what was in
//! force; the last is what sessions and paths are of, which cannot fail. So whoever is refused finds everything as it was: paths, sessions, routes, shaping.

use std::collections::BTreeSet;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::sync::mpsc::sync_channel;

use outwork_front::filter::Network;
use outwork_net::netlink::{self, Address, Connection, LinkSettings, Prefix, Uniqueness};

use super::{PATIENCE, Said, Service, ServiceError, lock};
use crate::config::Sdwan;
use crate::config::families::apart;
use crate::control::{Order, Plan};
use crate::plan::Numbers;
use crate::qos::Shape;
use crate::routing::{Hidden, Routing, Way, own_addresses};

/// Networks that are named in the log, of those that this machine keeps to itself.
const NAMED: usize = 16;

/// What was taken up last.
pub(super) struct InForce {
    /// A line to the kernel of the network namespace that the service was started in.
    line: Connection,
    /// None before the first.
    settings: Option<Sdwan>,
    /// None before the first, and once it is somebody else's.
    pub(super) routing: Option<Routing>,
    /// What was said of it in the log.
    hidden: Vec<Hidden>,
    /// What was said there of uplinks that no path goes by.
    apart: Vec<String>,
}

impl InForce {
    /// Nothing yet.
    pub(super) fn nothing() -> netlink::Result<InForce> {
        Ok(InForce { line: Connection::open()?, settings: None, routing: None, hidden: vec![], apart: vec![] })
    }

    /// What was taken up last.
    pub(super) fn settings(&self) -> Option<&Sdwan> {
        self.settings.as_ref()
    }

    /// Takes routes and rules back. What fails is logged.
    pub(super) fn withdraw(&mut self, links: &[u32]) {
        let Some(routing) = self.routing.take() else { return };
        if let Err(error) = routing.withdraw(&mut self.line, links) {
            tracing::warn!(%error, "rules of the routing to tunnels stay: the next start removes them");
        }
    }

    /// Says which uplinks have no family in common with any that they would reach, if they are others than before.
    fn remark_apart(&mut self, settings: &Sdwan) {
        let apart: Vec<_> = apart(settings).into_iter().map(|(_, remark)| remark.found().to_owned()).collect();
        apart.iter().filter(|one| !self.apart.contains(one)).for_each(|one| tracing::warn!("{one}"));
        self.apart = apart;
    }

    /// Says which networks this machine keeps to itself, if they are others than before.
    fn remark(&mut self, links: &[u32]) {
        let Some(routing) = &self.routing else { return };
        let hidden = match routing.hidden(&mut self.line, links) {
            Ok(hidden) => hidden,
            Err(error) => {
                tracing::warn!(%error, "it is not known which networks this machine has routes of its own to");
                return;
            }
        };
        let news = hidden.iter().filter(|one| !self.hidden.contains(one));
        for one in news.take(NAMED) {
            match one.is_whole {
                true => tracing::warn!("{one}"),
                false => tracing::info!("{one}"),
            }
        }
        self.hidden = hidden;
    }
}

/// What changes one after the other.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Stage {
    /// How uplinks are shaped.
    Shaping,
    /// Whom the kernel's WireGuard is joined to.
    Carrier,
    /// The device and its addresses.
    Device,
    /// Routes and rules.
    Routing,
    /// Whom this process is joined to.
    Joining,
}

/// In this order, and back in the other one.
const STAGES: [Stage; 5] = [Stage::Shaping, Stage::Carrier, Stage::Device, Stage::Routing, Stage::Joining];

/// A configuration as the stages take it.
struct Prepared<'a> {
    settings: &'a Sdwan,
    /// The same, with addresses in the place of the names of endpoints.
    found: Sdwan,
    plan: Plan,
    routing: Routing,
    addresses: Vec<Prefix>,
}

impl Service {
    /// Does what the settings say, as far as that can be done while it runs: how uplinks are shaped, who is joined to, addresses and routes.
    ///
    /// # Errors
    /// When something stands in the way, or the kernel refuses. Everything is as it was before then; what could not be put back is logged.
    pub fn apply(&self, settings: &Sdwan) -> Result<(), ServiceError> {
        // Held throughout: two at once would mix.
        let mut in_force = lock(&self.in_force);
        let mut numbers = lock(&self.numbers).clone();
        let mut wanted = self.prepare(settings, &mut numbers);
        wanted.plan.check()?;
        wanted.routing = self.route(settings, &mut in_force.line)?;
        if !wanted.routing.is_empty() {
            wanted.routing.look(&mut in_force.line, &self.links())?;
        }
        let shape = self.qos.shape();
        for (done, stage) in STAGES.into_iter().enumerate() {
            if let Err(error) = self.perform(stage, &wanted, &mut in_force) {
                // The one that has failed may have done a part.
                for stage in STAGES.into_iter().take(done + 1).rev() {
                    self.put_back(stage, &wanted, &shape, &mut in_force);
                }
                return Err(error);
            }
        }
        self.said.store(Arc::new(Said::of(settings)));
        self.keys.heed(&settings.keys);
        *lock(&self.numbers) = numbers;
        in_force.routing = Some(wanted.routing);
        in_force.settings = Some(settings.clone());
        self.remark(&mut in_force);
        in_force.remark_apart(settings);
        Ok(())
    }

    /// Has this machine answer from the addresses that its uplinks have by now, where these or its default routes have become others since this was last asked.
    ///
    /// # Errors
    /// When the kernel refuses. It is tried again the next time.
    pub fn tend_routes(&self, seen: &mut u64) -> Result<(), ServiceError> {
        let moves = self.shared.moves();
        if moves == *seen {
            return Ok(());
        }
        let mut in_force = lock(&self.in_force);
        let InForce { line, settings, routing, .. } = &mut *in_force;
        let (Some(settings), Some(before)) = (settings.as_ref(), routing.as_ref()) else { return Ok(()) };
        let wanted = self.route(settings, line)?;
        if wanted != *before {
            wanted.establish(line, &self.links(), Some(before))?;
            *routing = Some(wanted);
        }
        self.remark(&mut in_force);
        *seen = moves;
        Ok(())
    }

    /// Looks which networks this machine keeps to itself.
    fn remark(&self, in_force: &mut InForce) {
        in_force.remark(&self.links());
        self.hidden.store(Arc::new(in_force.hidden.clone()));
    }

    /// Networks behind others that this machine keeps to itself, wholly or in part, as it was when its interfaces, addresses, default routes or settings last became others.
    pub fn hidden(&self) -> Arc<Vec<Hidden>> {
        self.hidden.load_full()
    }

    /// Dials who is dialled by a name where that is found now.
    ///
    /// # Errors
    /// When the kernel refuses, or control does not answer.
    pub(crate) fn rejoin(&self) -> Result<(), ServiceError> {
        let mut in_force = lock(&self.in_force);
        let Some(settings) = in_force.settings.clone() else { return Ok(()) };
        // Nobody has come or gone: all keep their numbers.
        let wanted = self.prepare(&settings, &mut lock(&self.numbers).clone());
        [Stage::Carrier, Stage::Joining].into_iter().try_for_each(|stage| self.perform(stage, &wanted, &mut in_force))
    }

    /// The links that are ours.
    pub(super) fn links(&self) -> Vec<u32> {
        std::iter::once(self.device.index()).chain(self.kernel.links()).collect()
    }

    fn prepare<'a>(&self, settings: &'a Sdwan, numbers: &mut Numbers) -> Prepared<'a> {
        let found = self.names.resolve(settings);
        let left = self.kernel.left_to_us(&found);
        let (addresses, routing) = (addresses(settings), self.routing(settings, &BTreeSet::new()));
        Prepared { settings, plan: Plan::of(&left, numbers), found, routing, addresses }
    }

    /// The routing that the settings ask for, where uplinks have the addresses that they have now.
    fn route(&self, settings: &Sdwan, kernel: &mut Connection) -> netlink::Result<Routing> {
        let routing = self.routing(settings, &BTreeSet::new());
        if !routing.is_wide() {
            return Ok(routing);
        }
        let own = own_addresses(kernel, &settings.uplink, &self.links())?;
        Ok(self.routing(settings, &own))
    }

    /// The same where they have these.
    fn routing(&self, settings: &Sdwan, own: &BTreeSet<IpAddr>) -> Routing {
        let left = self.kernel.left_to_us(settings);
        let addresses = addresses(settings);
        let link = self.device.index();
        let way = |network: Prefix| Way { network, link, source: None };
        let networks = left.peer.iter().flat_map(|peer| &peer.allowed_ips);
        let networks = networks.chain(left.site.iter().flat_map(|site| &site.subnets));
        let mut ways: Vec<Way> = networks.map(|net| way(prefix(net))).collect();
        ways.extend(self.kernel.ways(settings));
        // The networks that the device's addresses are in, which the kernel would route in the main table, where they would come before what is behind others.
        ways.extend(addresses.iter().filter(|net| **net != Prefix::host(net.address)).map(|net| way(*net)));
        let ways = if settings.tunnel.routes { ways } else { vec![] };
        let sockets: Vec<SocketAddr> = self.uplinks.iter().flat_map(|uplink| uplink.listens.clone()).collect();
        Routing::new(settings.tunnel.table, settings.tunnel.rule_priority, &ways, (&sockets, own))
    }

    fn perform(&self, stage: Stage, wanted: &Prepared<'_>, in_force: &mut InForce) -> Result<(), ServiceError> {
        let settings = wanted.settings;
        match stage {
            Stage::Shaping => self.shared.marking.store(Arc::new(self.qos.apply(settings)?)),
            Stage::Carrier => self.kernel.apply(&wanted.found)?,
            Stage::Device => {
                let mtu = Some(u32::from(settings.tunnel.mtu));
                let link = LinkSettings { mtu, up: Some(true), ..LinkSettings::default() };
                in_force.line.set_link(self.device.index(), &link)?;
                address(&mut in_force.line, self.device.index(), &wanted.addresses, settings.tunnel.routes)?;
            }
            Stage::Routing => {
                let InForce { line, routing, .. } = in_force;
                wanted.routing.establish(line, &self.links(), routing.as_ref())?;
            }
            Stage::Joining => {
                let (done, answer) = sync_channel(1);
                self.ask(Order::Join(Box::new(wanted.plan.clone()), done))?;
                answer.recv_timeout(PATIENCE).map_err(|_| ServiceError::Silent)??;
            }
        }
        Ok(())
    }

    /// Puts the routes back that were in force before `wanted`.
    fn route_as_before(&self, wanted: &Prepared<'_>, in_force: &mut InForce) -> Result<(), ServiceError> {
        let InForce { line, routing, .. } = in_force;
        match routing {
            Some(before) => Ok(before.establish(line, &self.links(), Some(&wanted.routing))?),
            None => Ok(()),
        }
    }

    /// Goes back to what was in force before `wanted`, of which a stage has done something. What fails is logged: nobody could do more.
    fn put_back(&self, stage: Stage, wanted: &Prepared<'_>, shape: &Shape, in_force: &mut InForce) {
        let done = match (stage, in_force.settings.clone()) {
            (Stage::Shaping, _) => self.qos.restore(shape.clone()).map_err(ServiceError::from).map(|marking| {
                self.shared.marking.store(Arc::new(marking));
            }),
            (Stage::Routing, None) => {
                wanted.routing.withdraw(&mut in_force.line, &self.links()).map_err(ServiceError::from)
            }
            // The start has failed, and everything else goes with the service.
            (_, None) => Ok(()),
            (Stage::Routing, Some(_)) => self.route_as_before(wanted, in_force),
            (Stage::Joining, Some(before)) => {
                let before = self.prepare(&before, &mut lock(&self.numbers).clone());
                // It does not answer, or has not changed anything: so it is told, and not waited for.
                self.ask(Order::Join(Box::new(before.plan), sync_channel(1).0))
            }
            (stage, Some(before)) => {
                let before = self.prepare(&before, &mut lock(&self.numbers).clone());
                let done = self.perform(stage, &before, in_force);
                // With the last address of a link the kernel takes all its routes.
                let routed = if stage == Stage::Device { self.route_as_before(wanted, in_force) } else { Ok(()) };
                done.and(routed)
            }
        };
        if let Err(error) = done {
            tracing::error!(%error, ?stage, "what a refused change has done could not be put back wholly");
        }
    }
}

/// The addresses of the device.
fn addresses(settings: &Sdwan) -> Vec<Prefix> {
    settings.tunnel.addresses.iter().map(|own| Prefix { address: own.address, length: own.length }).collect()
}

fn prefix(network: &Network) -> Prefix {
    Prefix { address: network.address(), length: network.length() }
}

/// Has the link have these addresses, and none but those that the kernel itself gives it. Who routes their networks himself is told so.
fn address(kernel: &mut Connection, link: u32, wanted: &[Prefix], routed_by_us: bool) -> netlink::Result<()> {
    let is_own = |address: IpAddr| matches!(address, IpAddr::V6(v6) if v6.is_unicast_link_local());
    let there = kernel.addresses(Some(link))?;
    let add = |kernel: &mut Connection, known: &[Address]| {
        let is_known = |prefix: &Prefix| known.iter().any(|one| one.prefix == *prefix);
        wanted.iter().filter(|prefix| !is_known(prefix)).try_for_each(|prefix| match routed_by_us {
            true => kernel.add_bare_address(link, *prefix),
            false => kernel.add_address(link, *prefix, Uniqueness::Known),
        })
    };
    // First those that come, so that the link is not without any, and its routes stay.
    add(kernel, &there)?;
    let stays = |one: &Address| wanted.contains(&one.prefix) && one.routed != routed_by_us;
    for one in there.iter().filter(|one| !stays(one) && !is_own(one.prefix.address)) {
        match kernel.remove_address(link, one.prefix) {
            Err(error) if error.is_missing() => {}
            done => done?,
        }
    }
    // The first of a network may have taken others with it.
    let left = kernel.addresses(Some(link))?;
    add(kernel, &left)
}

#[cfg(test)]
mod tests;
