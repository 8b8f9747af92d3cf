//! From what the configuration says to what control is to do.

mod policies;

use std::collections::BTreeMap;
use std::net::SocketAddr;

use outwork_config::HostPort;
use outwork_front::filter::Network as Net;

use crate::config::{CarrierKind, FarUplink, PeerSettings, Sdwan, SiteSettings, Uplink as OwnUplink};
use crate::control::sites::{self, Remote};
use crate::control::{Plan, Wanted};
use crate::engine::Network;
use crate::engine::policy::{Matcher, PolicyError};
use crate::engine::prefix::Prefix;
use crate::engine::site::{Families, Reach, Site, SiteId, Uplink, UplinkId};
use crate::plane::tunnel::UplinkIndex;
use policies::Policies;

/// The number of this site.
const OWN: SiteId = SiteId(0);

/// Numbers that sites and uplinks have been given: each keeps its own through reloads, wherever it stands in the configuration, and its paths go on.
#[derive(Debug, Clone, Default)]
pub struct Numbers {
    sites: BTreeMap<String, u32>,
    uplinks: BTreeMap<String, u32>,
}

/// The number of something by its name: the next one, if it has none yet. None is used again.
fn number(known: &mut BTreeMap<String, u32>, name: &str) -> u32 {
    let next = known.len() as u32;
    *known.entry(name.to_owned()).or_insert(next)
}

impl Plan {
    /// What `settings` say.
    pub fn of(settings: &Sdwan, numbers: &mut Numbers) -> Plan {
        let sites = (!settings.site.is_empty()).then(|| all_sites(settings, numbers));
        Plan { peers: peers(settings), sites, mtu: settings.tunnel.mtu }
    }

    /// Whether control will take it: nothing else can be wrong with it.
    ///
    /// # Errors
    /// When its policies cannot be compiled.
    pub fn check(&self) -> Result<(), PolicyError> {
        let Some(sites) = &self.sites else { return Ok(()) };
        let Network { policies, applications, classes, .. } = &sites.network;
        Matcher::compile(policies, applications, classes.len()).map(drop)
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
            endpoint: peer.endpoint.as_ref().and_then(HostPort::address),
            keepalive: peer.keepalive,
            networks: prefixes(&peer.allowed_ips),
        })
    };
    settings.peer.iter().filter_map(of).collect()
}

/// Who can begin to talk to an uplink that has, or has not, an endpoint.
fn reach(endpoint: Option<&HostPort>) -> Reach {
    if endpoint.is_some() { Reach::Public } else { Reach::Closed }
}

fn own_uplink(id: UplinkId, uplink: &OwnUplink) -> Uplink {
    let families = Families {
        v4: uplink.listen.iter().any(SocketAddr::is_ipv4),
        v6: uplink.listen.iter().any(SocketAddr::is_ipv6),
    };
    let OwnUplink { endpoint, cost, bandwidth, metered, backup, .. } = uplink;
    let reach = reach(endpoint.as_ref());
    Uplink { id, reach, families, cost: *cost, bandwidth: *bandwidth, metered: *metered, backup: *backup }
}

fn far_uplink(id: UplinkId, uplink: &FarUplink) -> Uplink {
    let FarUplink { endpoint, cost, bandwidth, metered, backup, .. } = uplink;
    // Of who dials, the families are known when it has come, and those of a name when it was found: any will do.
    let at = endpoint.as_ref().and_then(HostPort::address);
    let is = |wanted: fn(&SocketAddr) -> bool| at.as_ref().is_none_or(wanted);
    let families = Families { v4: is(SocketAddr::is_ipv4), v6: is(SocketAddr::is_ipv6) };
    let reach = reach(endpoint.as_ref());
    Uplink { id, reach, families, cost: *cost, bandwidth: *bandwidth, metered: *metered, backup: *backup }
}

fn all_sites(settings: &Sdwan, numbers: &mut Numbers) -> sites::Plan {
    let (mut own, mut remote, mut uplinks) = (BTreeMap::new(), BTreeMap::new(), BTreeMap::new());
    let mut here = vec![];
    for (uplink, index) in settings.uplink.iter().zip(0..) {
        // First of all, so that they have the numbers of their places.
        let id = UplinkId(number(&mut numbers.uplinks, &format!("own {}", uplink.name)));
        if uplink.carrier != CarrierKind::Process {
            continue;
        }
        own.insert(id, UplinkIndex(index));
        uplinks.insert(id, uplink.name.clone());
        here.push(own_uplink(id, uplink));
    }
    let mut names = BTreeMap::from([(OWN, "here".to_owned())]);
    let mut others = vec![];
    for site in &settings.site {
        let SiteSettings { name, subnets, hub, uplink } = site;
        let id = SiteId(OWN.0 + 1 + number(&mut numbers.sites, name));
        names.insert(id, name.clone());
        let (mut there, mut there_names) = (vec![], vec![]);
        for uplink in uplink {
            // By its name: keys change. Of two with one name, which is bad style and no fault, the second is another.
            let same = there_names.iter().filter(|other| **other == uplink.name).count();
            let known = format!("far {name}\0{}\0{same}", uplink.name);
            there_names.push(uplink.name.as_str());
            let number = UplinkId(number(&mut numbers.uplinks, &known));
            uplinks.insert(number, uplink.name.clone());
            let [next, first] = [uplink.next_public_key, uplink.first_public_key].map(|key| key.map(|key| key.0));
            let key = uplink.public_key.0;
            let endpoint = uplink.endpoint.as_ref().and_then(HostPort::address);
            let known = Remote { key, next, first: first.unwrap_or(key), endpoint };
            remote.insert(number, known);
            there.push(far_uplink(number, uplink));
        }
        others.push(Site { id, subnets: prefixes(subnets), hub: *hub, uplinks: there });
    }
    let own_site = Site { id: OWN, subnets: prefixes(&settings.subnets), hub: settings.hub, uplinks: here };
    let Policies { classes, applications, policies, rules } = policies::of(settings);
    let engine = settings.health.engine(settings.site.len(), settings.tunnel.mtu);
    let network = Network { own: own_site, sites: others, classes, applications, policies, settings: engine };
    sites::Plan { network, own, remote, names, uplinks, rules }
}

#[cfg(test)]
mod tests {
    use outwork_config::{Sources, load};

    use super::*;
    use crate::config::Sdwan;

    fn site(name: &str, octet: u8) -> String {
        let key = outwork_wireguard::PublicKey([octet; 32]);
        format!(
            "[[site]]\nname = '{name}'\nsubnets = ['10.{octet}.0.0/16']\n[[site.uplink]]\nname = 'wan'\npublic_key = '{key}'\n"
        )
    }

    fn plan(numbers: &mut Numbers, sites: &[String]) -> sites::Plan {
        let text = format!("[[uplink]]\nname = 'wan'\n{}", sites.concat());
        let settings = load::<Sdwan>(Sources { file: Some(("outwork.toml".into(), text)), ..Sources::default() });
        Plan::of(&settings.unwrap().value, numbers).sites.unwrap()
    }

    #[test]
    fn the_engine_is_told_how_paths_are_watched_where_there_are_as_many_sites() {
        let sites = |count: u16| -> Vec<String> {
            let key = |number: u16| {
                let [high, low] = number.to_be_bytes();
                outwork_wireguard::PublicKey(std::array::from_fn(|at| [high, low][at % 2]))
            };
            let site = |number| {
                format!("[[site]]\nname = 's{number}'\n[[site.uplink]]\nname = 'a'\npublic_key = '{}'\n", key(number))
            };
            (1..=count).map(site).collect()
        };
        let settings = |sites: &[String]| plan(&mut Numbers::default(), sites).network.settings;
        assert_eq!(settings(&sites(2)), crate::engine::Settings::default());
        let many = settings(&sites(501)).liveness;
        assert_eq!((many.interval.as_secs(), many.probes), (15, 3));
        let mut with = vec!["[health]\ngain = '50ms'\n[tunnel]\nmtu = 1300\n".to_owned()];
        with.extend(sites(1));
        let said = settings(&with);
        assert_eq!((said.damp.least, said.mtu.most), (50.0, 1300));
    }

    #[test]
    fn a_site_and_its_uplinks_keep_their_numbers_wherever_they_stand_in_the_configuration() {
        let mut numbers = Numbers::default();
        let [north, south, east] = [("north", 1), ("south", 2), ("east", 3)].map(|(name, octet)| site(name, octet));
        let known = |plan: &sites::Plan, name: &str| {
            let site = plan.network.sites.iter().find(|site| plan.names[&site.id] == name).unwrap();
            (site.id, site.uplinks[0].id)
        };
        let before = plan(&mut numbers, &[north.clone(), south.clone()]);
        let after = plan(&mut numbers, &[east.clone(), south.clone()]);
        assert_eq!(known(&before, "south"), known(&after, "south"));
        let again = plan(&mut numbers, &[south, north, east]);
        assert_eq!(known(&before, "north"), known(&again, "north"));
        let ids: std::collections::BTreeSet<_> = ["north", "south", "east"].map(|name| known(&again, name)).into();
        assert_eq!((ids.len(), again.own.keys().next()), (3, Some(&UplinkId(0))));
        let [old, fresh] = [2, 9].map(|octet| outwork_wireguard::PublicKey([octet; 32]));
        let rotated = site("south", 2).replace(&old.to_string(), &fresh.to_string());
        let rotated = plan(&mut numbers, &[format!("{rotated}first_public_key = '{old}'\n")]);
        assert_eq!(known(&rotated, "south"), known(&again, "south"), "by another key it is the same");
        let remote = &rotated.remote[&known(&rotated, "south").1];
        assert_eq!((remote.key, remote.place()), (fresh, crate::plane::relay::Place::of(&old)));
    }
}
