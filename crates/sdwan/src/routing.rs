//! The ways to what is behind others: a routing table of ours, and the rules by which the kernel asks it.
//!
//! Nothing of this is in the main table, so that nothing that is this machine's own is replaced or outdone. For each family of which there is anything in our table, three rules
//! follow each other: the main table without its default route; the main table with it, for datagrams of our own sockets, which so never go into the tunnel that they carry; and ours. What
//! this machine is connected to, and what it has routes of its own for, stays; a site may have all the rest, the Internet too.
//!
//! Where one does, whoever asks this machine at the address of an uplink, such as by SSH, is answered by that uplink and not by the tunnel: before all of ours come two rules, our table without
//! what is as wide as the Internet, as a site that is known is answered by its tunnel, and the main table for what this machine itself sends from such an address.
//!
//! Routes go with their interfaces. Rules do not: they are removed at the end, and after a crash they find a table that is empty until the next start takes them up, or
//! [sweeps](sweep) them away. All of it bears the number of its maker, so that it is known as ours.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::net::{IpAddr, SocketAddr};

use outwork_net::netlink::route::MAIN;
use outwork_net::netlink::{self, Connection, Prefix, Route, RouteQuery, Rule};

use crate::config::Uplink;

/// Who has made our routes and rules (`/etc/iproute2/rt_protos` has none of this number).
const PROTOCOL: u8 = 157;
/// The metric that the kernel gives routes of IPv6 that name none; ours name it, so that they read as they were written.
const METRIC: u32 = 1024;
/// The places of our rules, from the first on.
const OWN_PORTS: u32 = 1;
const NARROW: u32 = 2;
const OWN_ADDRESSES: u32 = 3;
const OURS: u32 = 4;
/// A network of so few bits, or fewer, is the Internet or a part of it, and nobody's own: it is wider than all that are set aside for those (RFC 1918, RFC 4193).
pub const WIDE: u8 = 6;
/// Who makes routes that are this machine's own: the kernel, whoever sets it up at its start, the administrator, router advertisements, and DHCP (`/etc/iproute2/rt_protos`). Not
/// daemons of routing, whose tables may be those of the Internet.
const OWN: [u8; 5] = [KERNEL, 3, 4, 9, 16];
const KERNEL: u8 = 2;

/// Why the ways are not as they should be.
#[derive(Debug, thiserror::Error)]
pub enum RoutingError {
    /// The kernel refuses.
    #[error("sdwan.tunnel: {0}")]
    Kernel(#[from] netlink::Error),
    /// Somebody else uses the table.
    #[error(
        "sdwan.tunnel.table: there is a route in table {table} that is not ours: {route}\n  = expected: a table that nobody else uses\n  = help: choose another number; `ip route show table {table}` says what is in it"
    )]
    Foreign {
        /// Which.
        table: u32,
        /// The first of them.
        route: Box<Route>,
    },
}

/// A way to a network: by a link, and with which address what this machine itself sends there leaves.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Way {
    /// The network.
    pub network: Prefix,
    /// The index of the link.
    pub link: u32,
    /// The address; none where the link's own will do.
    pub source: Option<IpAddr>,
}

/// How packets come to our links.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Routing {
    table: u32,
    priority: u32,
    routes: Vec<Route>,
    rules: Vec<Rule>,
}

impl Routing {
    /// Ways by a table, and rules from a priority on. Of two ways to one network the first counts. `sockets` are those of ours that tunnels leave by; `own` are the addresses of
    /// uplinks, which this machine answers from by what is its own way.
    pub fn new(table: u32, priority: u32, ways: &[Way], (sockets, own): (&[SocketAddr], &BTreeSet<IpAddr>)) -> Routing {
        let mut by_network = BTreeMap::new();
        for Way { network, link, source } in ways {
            let (network, link, source) = (masked(*network), *link, *source);
            let route = Route { table, metric: METRIC, source, protocol: PROTOCOL, ..Route::new(network, link) };
            by_network.entry(network).or_insert(route);
        }
        let routes: Vec<Route> = by_network.into_values().collect();
        let mut rules = vec![];
        for v6 in [false, true] {
            if !routes.iter().any(|route| route.destination.address.is_ipv6() == v6) {
                continue;
            }
            let of = |place, table| Rule { protocol: PROTOCOL, ..Rule::new(v6, priority + place, table) };
            rules.push(Rule { suppress: Some(0), ..of(0, MAIN) });
            let ports = sockets.iter().filter(|socket| socket.is_ipv6() == v6).map(SocketAddr::port);
            let ports: BTreeSet<u16> = ports.collect();
            rules.extend(ports.into_iter().map(|port| Rule { own_port: Some(port), ..of(OWN_PORTS, MAIN) }));
            let is_wide = |route: &Route| route.destination.address.is_ipv6() == v6 && route.destination.length <= WIDE;
            if routes.iter().any(is_wide) && own.iter().any(|address| address.is_ipv6() == v6) {
                rules.push(Rule { suppress: Some(WIDE), ..of(NARROW, table) });
                let own = own.iter().filter(|address| address.is_ipv6() == v6);
                rules.extend(own.map(|own| Rule { own_address: Some(*own), ..of(OWN_ADDRESSES, MAIN) }));
            }
            rules.push(of(OURS, table));
        }
        Routing { table, priority, routes, rules }
    }

    /// The same table and priority without anything in it.
    fn without(&self) -> Routing {
        Routing { routes: vec![], rules: vec![], ..*self }
    }

    /// Whether there is no way.
    pub fn is_empty(&self) -> bool {
        self.routes.is_empty()
    }

    /// Whether a rule stands where those of this do.
    fn is_at(&self, rule: &Rule) -> bool {
        (self.priority..=self.priority.saturating_add(OURS)).contains(&rule.priority)
    }

    /// Makes it so, in the place of what there was `before`, whose links and ours are `links`.
    ///
    /// # Errors
    /// When somebody else uses the table, and then nothing has changed; when the kernel refuses something, and then what came before that is done.
    pub fn establish(
        &self,
        kernel: &mut Connection,
        links: &[u32],
        before: Option<&Routing>,
    ) -> Result<(), RoutingError> {
        // Who wants nothing of the table does not mind whose it is.
        let there = if self.is_empty() { vec![] } else { self.look(kernel, links)? };
        for route in self.routes.iter().filter(|route| !there.contains(route)) {
            // Nothing of anybody else's has come this far.
            match there.iter().any(|other| other.destination == route.destination) {
                true => kernel.replace_route(route)?,
                false => kernel.add_route(route)?,
            }
        }
        let rules = kernel.rules(Some(PROTOCOL))?;
        for rule in self.rules.iter().filter(|rule| !rules.contains(rule)) {
            kernel.add_rule(rule)?;
        }
        let is_ours = |rule: &Rule| self.is_at(rule) || before.is_some_and(|before| before.is_at(rule));
        for rule in rules.iter().filter(|rule| is_ours(rule) && !self.rules.contains(rule)) {
            gone(kernel.remove_rule(rule))?;
        }
        let mut tables = BTreeSet::from([self.table]);
        tables.extend(before.map(|before| before.table));
        let mut old = vec![];
        for table in tables {
            let ours = RouteQuery { table: Some(table), protocol: Some(PROTOCOL), ..RouteQuery::default() };
            old.extend(kernel.routes(&ours)?.into_iter().filter(|route| links.contains(&route.link)));
        }
        for link in links {
            // Where ways were before they had a table of their own.
            let main = RouteQuery { link: Some(*link), table: Some(MAIN), protocol: Some(PROTOCOL) };
            old.extend(kernel.routes(&main)?);
        }
        old.iter()
            .filter(|route| !self.routes.contains(route))
            .try_for_each(|route| gone(kernel.remove_route(route)))?;
        Ok(sweep_but(kernel, Some(self)).map(drop)?)
    }

    /// What there is in the table, all of which is ours.
    ///
    /// # Errors
    /// When somebody else uses it.
    pub fn look(&self, kernel: &mut Connection, links: &[u32]) -> Result<Vec<Route>, RoutingError> {
        let there = kernel.routes(&RouteQuery { table: Some(self.table), ..RouteQuery::default() })?;
        let is_ours = |route: &Route| route.protocol == PROTOCOL && links.contains(&route.link);
        match there.iter().find(|route| !is_ours(route)) {
            Some(route) => Err(RoutingError::Foreign { table: self.table, route: Box::new(*route) }),
            None => Ok(there),
        }
    }

    /// Takes all of it back.
    ///
    /// # Errors
    /// When the kernel refuses something.
    pub fn withdraw(&self, kernel: &mut Connection, links: &[u32]) -> Result<(), RoutingError> {
        self.without().establish(kernel, links, None)
    }

    /// Whether a network is so wide that it matters from which address this machine sends there.
    pub fn is_wide(&self) -> bool {
        self.routes.iter().any(|route| route.destination.length <= WIDE)
    }

    /// Networks that this machine keeps to itself, wholly or in part, for it has routes of its own to them that are not by `links`.
    ///
    /// # Errors
    /// When the kernel does not say which.
    pub fn hidden(&self, kernel: &mut Connection, links: &[u32]) -> netlink::Result<Vec<Hidden>> {
        let own = own_routes(kernel, links)?;
        Ok(self.routes.iter().filter_map(|route| hidden(&own, route.destination)).collect())
    }
}

/// The addresses of uplinks that this machine is asked at: those that they listen at, and where they listen at all, those of their interface. Where the kernel chooses that, it is the one that
/// the default route leads by. Links of ours have none.
///
/// # Errors
/// When the kernel does not say.
pub fn own_addresses(kernel: &mut Connection, uplinks: &[Uplink], links: &[u32]) -> netlink::Result<BTreeSet<IpAddr>> {
    let listens = uplinks.iter().flat_map(|uplink| &uplink.listen).map(SocketAddr::ip);
    let mut own: BTreeSet<IpAddr> = listens.filter(|address| !address.is_unspecified()).collect();
    let mut doors = BTreeSet::new();
    for uplink in uplinks.iter().filter(|uplink| uplink.listen.iter().any(|at| at.ip().is_unspecified())) {
        match &uplink.interface {
            Some(name) => doors.extend(kernel.link(name.as_str())?.map(|link| link.index)),
            None => doors.extend(defaults(kernel, links)?.iter().map(|route| route.link)),
        }
    }
    let at_doors = kernel.addresses(None)?.into_iter().filter(|address| doors.contains(&address.link));
    own.extend(at_doors.filter(|address| !address.tentative).map(|address| address.prefix.address));
    own.retain(|address| !is_of_a_link(*address) && !address.is_loopback());
    Ok(own)
}

/// The default routes of this machine that are not by `links`.
fn defaults(kernel: &mut Connection, links: &[u32]) -> netlink::Result<Vec<Route>> {
    let mut all = vec![];
    for protocol in OWN {
        let query = RouteQuery { table: Some(MAIN), protocol: Some(protocol), ..RouteQuery::default() };
        let is_default = |route: &Route| route.destination.length == 0 && !links.contains(&route.link);
        all.extend(kernel.routes(&query)?.into_iter().filter(is_default));
    }
    Ok(all)
}

/// A network behind others that this machine has a route of its own to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Hidden {
    /// The network.
    pub network: Prefix,
    /// Where the other route leads.
    pub own: Prefix,
    /// Whether no packet for the network comes to the tunnel; else those for a part of it do not.
    pub is_whole: bool,
    /// Whether that route leads nowhere, so that what does not come to the tunnel is dropped.
    pub is_dropped: bool,
}

impl fmt::Display for Hidden {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Hidden { network, own, is_whole, is_dropped } = self;
        let what = if *is_whole { "nothing goes to" } else { "not all goes to" };
        let route = if *is_dropped { "drops what goes to" } else { "has a route of its own to" };
        write!(f, "{what} {network} by tunnels: this machine {route} {own}, which comes first")
    }
}

/// Of some networks those that this machine keeps to itself, as it is now. Routes by the interface of a name do not count.
///
/// # Errors
/// When the kernel does not say.
pub fn hidden_here(networks: &[Prefix], interface: &str) -> netlink::Result<Vec<Hidden>> {
    let mut kernel = Connection::open()?;
    let link = kernel.link(interface)?.map(|link| link.index);
    let own = own_routes(&mut kernel, link.as_slice())?;
    Ok(networks.iter().filter_map(|network| hidden(&own, masked(*network))).collect())
}

/// Removes rules that nobody is behind any longer: their table has nothing of ours. Says how many those were.
///
/// # Errors
/// When the kernel refuses something.
pub fn sweep() -> netlink::Result<usize> {
    sweep_but(&mut Connection::open()?, None)
}

/// The same without those that somebody keeps.
fn sweep_but(kernel: &mut Connection, kept: Option<&Routing>) -> netlink::Result<usize> {
    let rules = kernel.rules(Some(PROTOCOL))?;
    let others: Vec<&Rule> = rules.iter().filter(|rule| kept.is_none_or(|kept| !kept.is_at(rule))).collect();
    let mut at_work = BTreeSet::new();
    for rule in others.iter().filter(|rule| rule.table != MAIN) {
        let ours = RouteQuery { table: Some(rule.table), protocol: Some(PROTOCOL), ..RouteQuery::default() };
        if !kernel.routes(&ours)?.is_empty() {
            at_work.extend((0..=OURS).filter_map(|place| Some((rule.v6, rule.priority.checked_sub(place)?))));
        }
    }
    let idle = others.into_iter().filter(|rule| !at_work.contains(&(rule.v6, rule.priority)));
    let idle: Vec<&Rule> = idle.collect();
    idle.iter().try_for_each(|rule| gone(kernel.remove_rule(rule)))?;
    Ok(idle.len())
}

/// It matters that it is gone, not who has removed it.
fn gone(removed: netlink::Result<()>) -> netlink::Result<()> {
    match removed {
        Err(error) if error.is_missing() => Ok(()),
        removed => removed,
    }
}

/// The bits of an address, the first one first.
fn bits(address: IpAddr) -> u128 {
    match address {
        IpAddr::V4(address) => u128::from(u32::from(address)) << 96,
        IpAddr::V6(address) => u128::from(address),
    }
}

/// Those of the first so many bits.
fn mask(length: u8) -> u128 {
    u128::MAX.checked_shl(128 - u32::from(length.min(128))).unwrap_or(0)
}

/// A network by its first address.
pub fn masked(Prefix { address, length }: Prefix) -> Prefix {
    let kept = bits(address) & mask(length);
    let address = match address {
        IpAddr::V4(_) => IpAddr::V4(((kept >> 96) as u32).into()),
        IpAddr::V6(_) => IpAddr::V6(kept.into()),
    };
    Prefix { address, length }
}

/// Networks in an order in which those within another one follow it; of each, whether what goes there is dropped.
type Networks = BTreeMap<(bool, u128, u8), (Prefix, bool)>;

/// The place of a network among them.
fn place(network: Prefix) -> (bool, u128, u8) {
    (network.address.is_ipv6(), bits(network.address), network.length)
}

/// Where this machine's own routes lead but by `links`; not its default route, which comes after ours, unless that leads nowhere: then ours are not asked.
fn own_routes(kernel: &mut Connection, links: &[u32]) -> netlink::Result<Networks> {
    let mut own = Networks::new();
    // Of routes to one network the kernel takes that of the least metric.
    let mut metrics = BTreeMap::<_, u32>::new();
    for protocol in OWN {
        let query = RouteQuery { table: Some(MAIN), protocol: Some(protocol), ..RouteQuery::default() };
        for route in kernel.routes(&query)?.into_iter().filter(|route| !links.contains(&route.link)) {
            let (to, metric) = (route.destination, route.metric);
            metrics.entry(place(to)).and_modify(|least| *least = metric.min(*least)).or_insert(metric);
            if to.length > 0 && !is_of_a_link(to.address) {
                own.insert(place(to), (to, false));
            }
        }
    }
    for Route { destination: to, metric, protocol, .. } in kernel.dead_ends(MAIN)? {
        // What the kernel says of itself stands for no route.
        let is_taken = metrics.get(&place(to)).is_none_or(|least| metric < *least);
        if protocol != KERNEL && is_taken && !is_of_a_link(to.address) {
            own.insert(place(to), (to, true));
        }
    }
    Ok(own)
}

/// Whether an address means something else on each link.
fn is_of_a_link(address: IpAddr) -> bool {
    matches!(address, IpAddr::V6(address) if address.is_unicast_link_local() || address.is_multicast())
}

fn hidden(own: &Networks, network: Prefix) -> Option<Hidden> {
    let (v6, start) = (network.address.is_ipv6(), bits(network.address));
    // The narrowest counts.
    let around = (0..=network.length).rev().find_map(|length| own.get(&(v6, start & mask(length), length)));
    let end = start | !mask(network.length);
    // Of all that there is, the rest is what this machine has no routes to, as is meant.
    let within = || match network.length {
        0 => None,
        _ => own.range((v6, start, network.length)..=(v6, end, u8::MAX)).next().map(|(_, own)| own),
    };
    let is_whole = around.is_some();
    around.or_else(within).map(|(own, is_dropped)| Hidden { network, own: *own, is_whole, is_dropped: *is_dropped })
}

#[cfg(test)]
mod tests;
