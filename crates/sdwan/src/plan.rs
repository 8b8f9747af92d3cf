//! From what the configuration says to what control is to do.

mod policies;

use std::collections::{BTreeMap, BTreeSet};
use std::net::SocketAddr;

use outwork_balance::hash;
use outwork_front::filter::Network as Net;

use crate::config::{FarUplink, PeerSettings, Sdwan, SiteSettings, Uplink as OwnUplink};
use crate::control::sites::{self, Remote};
use crate::control::{Plan, Wanted};
use crate::engine::prefix::Prefix;
use crate::engine::site::{Families, Reach, Site, SiteId, Uplink, UplinkId};
use crate::engine::{Network, Settings};
use crate::plane::tunnel::UplinkIndex;
use policies::Policies;

/// The number of this site.
const OWN: SiteId = SiteId(0);

impl Plan {
    /// What `settings` say.
    pub fn of(settings: &Sdwan) -> Plan {
        let sites = (!settings.site.is_empty()).then(|| all_sites(settings));
        Plan { peers: peers(settings), sites, mtu: settings.tunnel.mtu }
    }
}

fn prefixes(networks: &[Net]) -> Vec<Prefix> {
    networks.iter().filter_map(|net| Prefix::new(net.address(), net.length())).collect()
}

fn peers(settings: &Sdwan) -> Vec<Wanted> {
    let of = |peer: &PeerSettings| {
        let uplink = u16::try_from(settings.uplink_of(peer)?).ok()?;
        Some(Wanted {
            name: peer.called(),
            uplink: UplinkIndex(uplink),
            remote: peer.public_key.0,
            psk: peer.preshared(),
            endpoint: peer.endpoint,
            keepalive: peer.keepalive,
            networks: prefixes(&peer.allowed_ips),
        })
    };
    settings.peer.iter().filter_map(of).collect()
}

/// Who can begin to talk to an uplink that has, or has not, an endpoint.
fn reach(endpoint: Option<SocketAddr>) -> Reach {
    if endpoint.is_some() { Reach::Public } else { Reach::Closed }
}

fn own_uplink(id: UplinkId, uplink: &OwnUplink) -> Uplink {
    let families = Families {
        v4: uplink.listen.iter().any(SocketAddr::is_ipv4),
        v6: uplink.listen.iter().any(SocketAddr::is_ipv6),
    };
    let OwnUplink { endpoint, cost, bandwidth, metered, backup, .. } = uplink;
    let reach = reach(*endpoint);
    Uplink { id, reach, families, cost: *cost, bandwidth: *bandwidth, metered: *metered, backup: *backup }
}

fn far_uplink(id: UplinkId, uplink: &FarUplink) -> Uplink {
    let FarUplink { endpoint, cost, bandwidth, metered, backup, .. } = uplink;
    // Of who dials, the families are known when it has come: any will do.
    let is = |wanted: fn(&SocketAddr) -> bool| endpoint.as_ref().is_none_or(wanted);
    let families = Families { v4: is(SocketAddr::is_ipv4), v6: is(SocketAddr::is_ipv6) };
    let reach = reach(*endpoint);
    Uplink { id, reach, families, cost: *cost, bandwidth: *bandwidth, metered: *metered, backup: *backup }
}

/// Numbers that names have whatever else there is, so that paths stay what they are when other sites come and go. Two names have the same wish once in a long while: the later
/// one takes the next that is free.
struct Numbers(BTreeSet<u32>);

impl Numbers {
    /// Below are those of this site, which never change.
    const FIRST: u32 = 1 << 16;

    fn of(&mut self, name: &str) -> u32 {
        let wish = hash::bytes(name.as_bytes(), 0) as u32;
        let free = (0..=u32::MAX)
            .map(|step| wish.wrapping_add(step))
            .find(|number| *number >= Numbers::FIRST && !self.0.contains(number));
        // There are fewer names than numbers.
        let number = free.unwrap_or(wish);
        self.0.insert(number);
        number
    }
}

fn all_sites(settings: &Sdwan) -> sites::Plan {
    let (mut sites, mut numbers) = (Numbers(BTreeSet::new()), Numbers(BTreeSet::new()));
    let (mut own, mut remote, mut uplinks) = (BTreeMap::new(), BTreeMap::new(), BTreeMap::new());
    let mut here = vec![];
    for (uplink, index) in settings.uplink.iter().zip(0..) {
        let id = UplinkId(u32::from(index));
        own.insert(id, UplinkIndex(index));
        uplinks.insert(id, uplink.name.clone());
        here.push(own_uplink(id, uplink));
    }
    let mut names = BTreeMap::from([(OWN, "here".to_owned())]);
    let mut others = vec![];
    for site in &settings.site {
        let SiteSettings { name, subnets, uplink } = site;
        let id = SiteId(sites.of(name));
        names.insert(id, name.clone());
        let mut there = vec![];
        for uplink in uplink {
            let number = UplinkId(numbers.of(&uplink.public_key.to_string()));
            uplinks.insert(number, uplink.name.clone());
            remote.insert(number, Remote { key: uplink.public_key.0, endpoint: uplink.endpoint });
            there.push(far_uplink(number, uplink));
        }
        others.push(Site { id, subnets: prefixes(subnets), hub: false, uplinks: there });
    }
    let own_site = Site { id: OWN, subnets: prefixes(&settings.subnets), hub: false, uplinks: here };
    let Policies { classes, applications, policies, rules } = policies::of(settings);
    let health = &settings.health;
    let mut engine = Settings::default();
    engine.liveness.fast = health.fast;
    engine.liveness.misses = health.misses;
    engine.liveness.interval = health.interval;
    engine.liveness.probes = health.probes;
    engine.liveness.trial = health.trial;
    engine.damp.cooldown = health.cooldown;
    engine.mtu.most = settings.tunnel.mtu;
    let network = Network { own: own_site, sites: others, classes, applications, policies, settings: engine };
    sites::Plan { network, own, remote, names, uplinks, rules }
}

#[cfg(test)]
mod tests {
    use outwork_config::{Sources, load};

    use super::*;

    const KEYS: [&str; 3] = [
        "xTIBA5rboUvnH4htodjb6e697QjLERt1NAB4mZqp8Dg=",
        "HIgo9xNzJMWLKASShiTqIybxZ0U3wGLiUeJ1PKf8ykw=",
        "TrMvSoP4jYQlY6RIzBgbssQqY3vxI2Pi+y71lOWWXX0=",
    ];

    /// The numbers of the sites of these places, and of their uplinks.
    fn numbers(sites: &[usize]) -> Vec<(SiteId, UplinkId)> {
        let site = |number: &usize| {
            let key = KEYS[*number];
            format!("[[site]]\nname = 'site{number}'\n[[site.uplink]]\nname = 'dsl'\npublic_key = '{key}'\n")
        };
        let text = format!("[[uplink]]\nname = 'fibre'\n{}", sites.iter().map(site).collect::<String>());
        let sources = Sources { file: Some(("outwork.toml".into(), text)), ..Sources::default() };
        let plan = all_sites(&load::<Sdwan>(sources).unwrap().value);
        plan.network.sites.iter().map(|site| (site.id, site.uplinks[0].id)).collect()
    }

    #[test]
    fn paths_have_the_same_numbers_whatever_other_sites_come_and_go() {
        let all = numbers(&[0, 1, 2]);
        assert_eq!(numbers(&[2]), all[2..]);
        assert_eq!(numbers(&[1, 0]), [all[1], all[0]]);
        assert!(all.iter().all(|(site, uplink)| *site != OWN && uplink.0 >= Numbers::FIRST));
    }

    #[test]
    fn two_names_with_the_same_wish_have_two_numbers() {
        let mut numbers = Numbers(BTreeSet::new());
        let first = numbers.of("one");
        assert_eq!(numbers.of("one"), first.wrapping_add(1).max(Numbers::FIRST));
    }
}
