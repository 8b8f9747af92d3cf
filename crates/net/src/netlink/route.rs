//! Routes to one next hop.

use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use super::address::{family, from_octets, octets};
use super::message::{Request, attributes, number};
use super::{Asked, Connection, Prefix, Result, change, question};

/// Octets of an `rtmsg`.
const STRUCTURE: usize = 12;
/// The table that packets without a rule are routed by.
pub const MAIN: u32 = libc::RT_TABLE_MAIN as u32;
/// The next hop of another family than the destination's (`RTA_VIA`), and the greatest packet (`RTAX_MTU`, in `RTA_METRICS`).
const VIA: u16 = 18;
const MTU: u16 = 2;
/// What is dropped by a route of such a type: without a word, or with one that says that nobody or that no way is there.
const DEAD_ENDS: [u8; 3] = [libc::RTN_BLACKHOLE, libc::RTN_UNREACHABLE, libc::RTN_PROHIBIT];

/// A route.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Route {
    /// Where it leads.
    pub destination: Prefix,
    /// The index of the link that packets leave by.
    pub link: u32,
    /// The next hop; `None` when the destination is on the link itself.
    pub gateway: Option<IpAddr>,
    /// The table that it is in.
    pub table: u32,
    /// Of routes to one destination, that of the least metric is taken. 0 is what the kernel makes of it: 1024 for IPv6.
    pub metric: u32,
    /// The address that this host's own packets leave with.
    pub source: Option<IpAddr>,
    /// Octets of the longest packet that takes it.
    pub mtu: Option<u32>,
    /// Who made it (`/etc/iproute2/rt_protos`). 4 stands for the administrator.
    pub protocol: u8,
}

impl Route {
    /// A route in the main table, with nothing particular.
    pub fn new(destination: Prefix, link: u32) -> Route {
        Route {
            destination,
            link,
            gateway: None,
            table: MAIN,
            metric: 0,
            source: None,
            mtu: None,
            protocol: libc::RTPROT_STATIC,
        }
    }
}

impl fmt::Display for Route {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Route { destination, link, gateway, table, metric, .. } = self;
        write!(f, "{destination}")?;
        if let Some(gateway) = gateway {
            write!(f, " via {gateway}")?;
        }
        write!(f, " on link {link}, table {table}, metric {metric}")
    }
}

/// Which routes are asked for; what is absent does not matter.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct RouteQuery {
    /// Those by the link of this index.
    pub link: Option<u32>,
    /// Those in this table.
    pub table: Option<u32>,
    /// Those that this protocol has made.
    pub protocol: Option<u8>,
}

impl RouteQuery {
    fn covers(&self, route: &Route) -> bool {
        self.link.is_none_or(|link| route.link == link)
            && self.table.is_none_or(|table| route.table == table)
            && self.protocol.is_none_or(|protocol| route.protocol == protocol)
    }
}

impl Connection {
    /// Where a table leads nowhere on purpose (`blackhole`, `unreachable`, `prohibit`): what goes there is dropped, and no later rule is asked. Each has the link 0.
    pub fn dead_ends(&mut self, table: u32) -> Result<Vec<Route>> {
        let mut routes = Vec::new();
        for family in [libc::AF_INET, libc::AF_INET6] {
            for kind in DEAD_ENDS {
                let request = question(libc::RTM_GETROUTE, &Structure { family, kind, ..Structure::UNICAST }.octets())
                    .number(libc::RTA_TABLE, Some(table));
                let is_asked = |(found, route): &(u8, Route)| *found == kind && route.table == table;
                let found = self
                    .list(&request, |body| parse(body).filter(is_asked).map(|(_, route)| Route { link: 0, ..route }));
                routes.extend(found.asked(|| "list the routes that lead nowhere".to_owned())?);
            }
        }
        Ok(routes)
    }

    /// The routes that `query` asks for, of both families. Those of several next hops, and those that lead nowhere, are passed over.
    pub fn routes(&mut self, query: &RouteQuery) -> Result<Vec<Route>> {
        let mut routes = Vec::new();
        for family in [libc::AF_INET, libc::AF_INET6] {
            let structure = Structure { family, protocol: query.protocol.unwrap_or_default(), ..Structure::UNICAST };
            // The kernel picks by what it is told here: of a full table of the Internet, a few routes are handed over.
            let request = question(libc::RTM_GETROUTE, &structure.octets())
                .number(libc::RTA_TABLE, query.table)
                .number(libc::RTA_OIF, query.link);
            let found = self.list(&request, |body| read(body).filter(|route| query.covers(route)));
            match found.asked(|| "list the routes".to_owned()) {
                // A table that no route has been put into is not there.
                Err(error) if error.is_missing() && query.table.is_some() => {}
                found => routes.extend(found?),
            }
        }
        Ok(routes)
    }

    /// Adds a route.
    ///
    /// # Errors
    /// One that [is present](super::Error::is_present) when there is one to the same destination in the same table with the same metric.
    pub fn add_route(&mut self, route: &Route) -> Result<()> {
        let request = about(libc::RTM_NEWROUTE, libc::NLM_F_CREATE | libc::NLM_F_EXCL, route);
        self.ask(request).asked(|| format!("add the route to {route}"))
    }

    /// Puts a route in the place of that to the same destination in the same table with the same metric, or adds it. No packet goes without meanwhile.
    pub fn replace_route(&mut self, route: &Route) -> Result<()> {
        let request = about(libc::RTM_NEWROUTE, libc::NLM_F_CREATE | libc::NLM_F_REPLACE, route);
        self.ask(request).asked(|| format!("set the route to {route}"))
    }

    /// Removes a route.
    ///
    /// # Errors
    /// One that [is missing](super::Error::is_missing) when there is no such route.
    pub fn remove_route(&mut self, route: &Route) -> Result<()> {
        self.ask(about(libc::RTM_DELROUTE, 0, route)).asked(|| format!("remove the route to {route}"))
    }
}

/// An `rtmsg`.
struct Structure {
    family: i32,
    length: u8,
    protocol: u8,
    scope: u8,
    kind: u8,
}

impl Structure {
    const UNICAST: Structure =
        Structure { family: 0, length: 0, protocol: 0, scope: libc::RT_SCOPE_UNIVERSE, kind: libc::RTN_UNICAST };

    /// Its table stands in an attribute, where it has 32 bits.
    fn octets(&self) -> [u8; STRUCTURE] {
        let Structure { family, length, protocol, scope, kind } = *self;
        [family as u8, length, 0, 0, 0, protocol, scope, kind, 0, 0, 0, 0]
    }
}

fn about(kind: u16, flags: i32, route: &Route) -> Request {
    let Route { destination, link, gateway, table, metric, source, mtu, protocol } = *route;
    let family = family(destination.address);
    let scope = match (kind, gateway) {
        // Any: it is no part of what a route is known by.
        (libc::RTM_DELROUTE, _) => libc::RT_SCOPE_NOWHERE,
        (_, None) if family == libc::AF_INET => libc::RT_SCOPE_LINK,
        _ => libc::RT_SCOPE_UNIVERSE,
    };
    let structure = Structure { family, length: destination.length, protocol, scope, kind: libc::RTN_UNICAST };
    let mut request = change(kind, flags, &structure.octets())
        .attribute(libc::RTA_DST, &octets(destination.address))
        .number(libc::RTA_TABLE, Some(table))
        .number(libc::RTA_OIF, Some(link))
        .number(libc::RTA_PRIORITY, Some(metric).filter(|metric| *metric > 0));
    if let Some(gateway) = gateway {
        request = match gateway.is_ipv4() == destination.address.is_ipv4() {
            true => request.attribute(libc::RTA_GATEWAY, &octets(gateway)),
            false => {
                let family = super::address::family(gateway) as u16;
                request.attribute(VIA, &[&family.to_ne_bytes()[..], &octets(gateway)].concat())
            }
        };
    }
    if let Some(source) = source {
        request = request.attribute(libc::RTA_PREFSRC, &octets(source));
    }
    match mtu {
        Some(mtu) => request.nested(libc::RTA_METRICS, |metrics| metrics.number(MTU, Some(mtu))),
        None => request,
    }
}

/// Reads an `rtmsg` with its attributes. `None` for a route that is not to one next hop.
pub(super) fn read(body: &[u8]) -> Option<Route> {
    let (kind, route) = parse(body)?;
    (kind == libc::RTN_UNICAST && route.link != 0).then_some(route)
}

/// The same of a route of any type, with that.
fn parse(body: &[u8]) -> Option<(u8, Route)> {
    let [family, length, _, _, table, protocol, _, kind, flags @ ..] = *body.first_chunk::<STRUCTURE>()?;
    // Routes that the kernel keeps for single destinations, such as the path MTU that it has learnt.
    let kept = u32::from_ne_bytes(flags) & libc::RTM_F_CLONED != 0;
    let anywhere = match i32::from(family) {
        libc::AF_INET => Ipv4Addr::UNSPECIFIED.into(),
        libc::AF_INET6 => Ipv6Addr::UNSPECIFIED.into(),
        _ => return None,
    };
    if kept {
        return None;
    }
    let of_type = kind;
    let mut route = Route {
        table: table.into(),
        protocol,
        // 0 stands for none: no link has this index.
        ..Route::new(Prefix { address: anywhere, length }, 0)
    };
    for (kind, value) in attributes(body.get(STRUCTURE..)?) {
        match kind {
            libc::RTA_DST => route.destination.address = from_octets(value)?,
            libc::RTA_OIF => route.link = number(value, 0)?,
            libc::RTA_GATEWAY => route.gateway = from_octets(value),
            VIA => route.gateway = from_octets(value.get(2..)?),
            libc::RTA_PREFSRC => route.source = from_octets(value),
            libc::RTA_PRIORITY => route.metric = number(value, 0)?,
            libc::RTA_TABLE => route.table = number(value, 0)?,
            libc::RTA_METRICS => {
                route.mtu = attributes(value).find(|(kind, _)| *kind == MTU).and_then(|(_, value)| number(value, 0));
            }
            _ => {}
        }
    }
    Some((of_type, route))
}
