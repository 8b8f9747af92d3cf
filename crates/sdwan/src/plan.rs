//! From what the configuration says to what control is to do.

mod policies;

use std::collections::BTreeMap;
use std::net::SocketAddr;

use outwork_front::filter::Network as Net;

use crate::config::{CarrierKind, FarUplink, PeerSettings, Sdwan, SiteSettings, Uplink as OwnUplink};
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

fn all_sites(settings: &Sdwan) -> sites::Plan {
    let mut next = 0;
    let mut number = || {
        next += 1;
        UplinkId(next - 1)
    };
    let (mut own, mut remote, mut uplinks) = (BTreeMap::new(), BTreeMap::new(), BTreeMap::new());
    let mut here = vec![];
    for (uplink, index) in settings.uplink.iter().zip(0..) {
        let id = number();
        if uplink.carrier != CarrierKind::Process {
            continue;
        }
        own.insert(id, UplinkIndex(index));
        uplinks.insert(id, uplink.name.clone());
        here.push(own_uplink(id, uplink));
    }
    let mut names = BTreeMap::from([(OWN, "here".to_owned())]);
    let mut others = vec![];
    for (site, id) in settings.site.iter().zip(1..) {
        let SiteSettings { name, subnets, uplink } = site;
        let id = SiteId(id);
        names.insert(id, name.clone());
        let mut there = vec![];
        for uplink in uplink {
            let number = number();
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
