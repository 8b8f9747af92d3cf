//! Which uplinks have a carrier: the kernel tells at once when a cable is pulled, and when an interface or an address comes that an uplink waits for.
//!
//! An uplink that is bound to an interface has that one's carrier. One that listens at addresses of this host has the carrier of the interface that has one of them. One
//! that listens at every address has none that could be told of.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use outwork_engine::Time;
use outwork_net::netlink::{Address, Connection, Event, Events, Link, Result};

use crate::plane::lines::Lines;
use crate::plane::tunnel::UplinkIndex;
use crate::qos::Qos;
use crate::uplinks::{Uplink, Uplinks};

/// How often it is tried to bind what is missing, where nothing is told.
const PAUSE: Duration = Duration::from_secs(2);

/// The carriers of uplinks.
pub struct Carriers {
    events: Events,
    uplinks: Uplinks,
    /// Shapes an interface that is made anew.
    qos: Arc<Qos>,
    there: There,
    known: BTreeMap<UplinkIndex, bool>,
    changed: Vec<(UplinkIndex, bool)>,
    /// When it was last tried to bind what is missing.
    tried: Time,
    moved: bool,
}

/// The interfaces of this host, as far as uplinks have to do with them.
#[derive(Debug, Default)]
struct There {
    /// By index, with name and carrier.
    links: BTreeMap<u32, (String, bool)>,
    /// Which interface has an address that uplinks listen at.
    addresses: BTreeSet<(IpAddr, u32)>,
    /// Of these, those that an interface has had. One that none ever has, such as one that a route makes this host's, says nothing.
    seen: BTreeSet<IpAddr>,
}

impl There {
    /// Whether a change of a link changes where packets leave.
    fn link(&mut self, link: Link) -> bool {
        let Link { name, index, carrier, .. } = link;
        self.links.insert(index, (name.clone(), carrier)) != Some((name, carrier))
    }

    fn address(&mut self, address: Address) {
        if !address.tentative {
            self.addresses.insert((address.prefix.address, address.link));
            self.seen.insert(address.prefix.address);
        }
    }

    /// The index and the carrier of an interface.
    fn find(&self, name: &str) -> Option<(u32, bool)> {
        self.links.iter().find(|(_, (own, _))| own == name).map(|(index, (_, carrier))| (*index, *carrier))
    }

    /// Whether one of these addresses is at an interface that has a carrier.
    fn reaches(&self, addresses: &[IpAddr]) -> bool {
        addresses.iter().any(|address| {
            let all = u32::MIN..=u32::MAX;
            let mut links = self.addresses.range((*address, *all.start())..=(*address, *all.end()));
            let has_carrier = |(_, link): &(IpAddr, u32)| self.links.get(link).is_some_and(|(_, carrier)| *carrier);
            !self.seen.contains(address) || links.any(has_carrier)
        })
    }

    fn has_carrier(&self, uplink: &Uplink) -> bool {
        uplink.is_bound()
            && match &uplink.device {
                Some(device) => self.find(device).is_some_and(|(_, carrier)| carrier),
                None => uplink.addresses().is_none_or(|addresses| self.reaches(&addresses)),
            }
    }
}

impl Carriers {
    /// Watches the interfaces of these uplinks, in the network namespace of this thread.
    ///
    /// # Errors
    /// What the kernel says.
    pub fn watch(uplinks: Uplinks, qos: Arc<Qos>) -> Result<Carriers> {
        let (there, known, changed) = Default::default();
        let events = Events::subscribe()?;
        let mut carriers = Carriers { events, uplinks, qos, there, known, changed, tried: Time::ZERO, moved: false };
        carriers.ask()?;
        carriers.note(&[]);
        Ok(carriers)
    }

    /// Is readable when something has changed.
    pub fn events(&self) -> &Events {
        &self.events
    }

    /// When [`Carriers::look`] is to be called, whatever the kernel tells.
    pub fn poll_timeout(&self) -> Option<Time> {
        self.uplinks.lacks().then(|| self.tried + PAUSE)
    }

    fn is_due(&self, now: Time) -> bool {
        self.poll_timeout().is_some_and(|at| at <= now)
    }

    /// Asks how all of them are now.
    fn ask(&mut self) -> Result<()> {
        let mut kernel = Connection::open()?;
        let (links, addresses) = (kernel.links()?, kernel.addresses(None)?);
        (self.there.links, self.there.addresses) = Default::default();
        for link in links {
            self.there.link(link);
        }
        for address in addresses.into_iter().filter(|address| listens(&self.uplinks, address)) {
            self.there.address(address);
        }
        Ok(())
    }

    /// Hears what has changed, and binds what can be bound now: such uplinks are handed to `lines`. Whether there are any.
    pub fn look(&mut self, now: Time, lines: &Lines) -> bool {
        let (there, uplinks) = (&mut self.there, &self.uplinks);
        let (mut missed, mut moved) = (false, false);
        let heard = self.events.drain(|event| match event {
            Event::Link(link) => moved |= there.link(link),
            Event::LinkGone(link) => {
                moved |= there.links.remove(&link.index).is_some();
                there.addresses.retain(|(_, at)| *at != link.index);
            }
            Event::Address(address) => {
                moved = true;
                if listens(uplinks, &address) {
                    there.address(address);
                }
            }
            Event::AddressGone(address) => {
                moved = true;
                there.addresses.remove(&(address.prefix.address, address.link));
            }
            // Where everything goes that no other route is for.
            Event::Route(route) | Event::RouteGone(route) => moved |= route.destination.length == 0,
            Event::Missed => missed = true,
        });
        self.moved |= moved || missed;
        let asked = if missed { self.ask() } else { Ok(()) };
        if let Err(error) = heard.and(asked) {
            tracing::warn!(%error, "nobody tells of cables that are pulled: hellos do, a little later");
        }
        if !self.moved && !self.is_due(now) {
            return false;
        }
        self.tried = now;
        let bound = self.uplinks.look(|name| self.there.find(name).map(|(index, _)| index), lines);
        if !bound.is_empty()
            && let Err(error) = self.qos.plant_again()
        {
            tracing::warn!(%error, "an uplink that is there again is not shaped: `outwork qos apply` tries again");
        }
        self.note(&bound);
        !bound.is_empty()
    }

    /// Notes who has a carrier now. Of those that are bound anew whatever was known is of before.
    fn note(&mut self, bound: &[UplinkIndex]) {
        for uplink in self.uplinks.iter() {
            let (index, carrier) = (uplink.index, self.there.has_carrier(uplink));
            // Of what had one from the start nothing is to be told.
            let before = self.known.insert(index, carrier).unwrap_or(true);
            if before && carrier && bound.contains(&index) {
                self.changed.push((index, false));
            }
            if before != carrier || bound.contains(&index) {
                self.changed.push((index, carrier));
            }
        }
    }

    /// What has changed since this was last asked.
    pub fn changes(&mut self) -> Vec<(UplinkIndex, bool)> {
        std::mem::take(&mut self.changed)
    }

    /// Who is asked next has not been told anything yet.
    pub fn tell_all(&mut self) {
        self.changed =
            self.known.iter().filter(|(_, carrier)| !**carrier).map(|(uplink, _)| (*uplink, false)).collect();
    }

    /// Whether interfaces, addresses or the ways to everywhere are others than when this was last asked: what leaves may have to leave from elsewhere.
    pub fn moved(&mut self) -> bool {
        std::mem::take(&mut self.moved)
    }
}

/// Whether an uplink listens at an address.
fn listens(uplinks: &Uplinks, address: &Address) -> bool {
    uplinks.iter().flat_map(Uplink::listens).any(|listens| listens.ip() == address.prefix.address)
}

#[cfg(test)]
mod tests {
    use outwork_net::netlink::Prefix;

    use super::*;

    fn link(index: u32, name: &str, carrier: bool) -> Link {
        Link {
            name: name.to_owned(),
            index,
            mac: None,
            mtu: 1500,
            up: true,
            carrier,
            loopback: false,
            gso_max_size: 0,
            gso_max_segs: 0,
        }
    }

    #[test]
    fn addresses_have_the_carrier_of_the_interface_that_has_one_of_them() {
        let mut there = There::default();
        let [own, other, nobodys]: [IpAddr; 3] =
            ["192.0.2.1", "2001:db8::1", "198.51.100.1"].map(|at| at.parse().unwrap());
        let at = |address, link, tentative| Address { link, prefix: Prefix::host(address), tentative, routed: true };
        assert!(there.link(link(7, "eth0", true)) && !there.link(link(7, "eth0", true)));
        assert!(there.reaches(&[nobodys]), "a route may make it this host's");
        there.address(at(own, 7, false));
        there.address(at(other, 8, true));
        assert!(there.reaches(&[own]) && there.seen.len() == 1);
        assert!(there.link(link(7, "eth0", false)) && !there.reaches(&[own]));
        there.link(link(8, "eth1", true));
        there.address(at(other, 8, false));
        assert!(there.reaches(&[own, other]) && !there.reaches(&[own]), "by the other");
        there.addresses.remove(&(own, 7));
        there.link(link(7, "eth0", true));
        assert!(!there.reaches(&[own]), "it was there, and is not");
        assert_eq!((there.find("eth1"), there.find("eth2")), (Some((8, true)), None));
        there.link(link(9, "eth1", false));
        there.links.remove(&8);
        assert_eq!(there.find("eth1"), Some((9, false)), "it was made anew");
    }
}
