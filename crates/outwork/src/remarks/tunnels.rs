//! Networks behind others that this machine has routes of its own to, uplinks that no path goes by, and answers that may go another way than they came.

use outwork_config::Fault;
use outwork_net::netlink::Prefix;
use outwork_sdwan::config::Sdwan;
use outwork_sdwan::config::answers::astray;
use outwork_sdwan::config::families::apart;
use outwork_sdwan::routing::{Hidden, hidden_here, masked};

use crate::settings::Settings;

/// Where each network behind others stands.
fn networks(sdwan: &Sdwan) -> Vec<(String, Prefix)> {
    let peers =
        sdwan.peer.iter().enumerate().map(|(at, peer)| (format!("sdwan.peer[{at}].allowed_ips"), &peer.allowed_ips));
    let sites = sdwan.site.iter().enumerate().map(|(at, site)| (format!("sdwan.site[{at}].subnets"), &site.subnets));
    let each = peers.chain(sites).flat_map(|(key, networks)| {
        let prefix = |(at, net): (usize, &_)| (format!("{key}[{at}]"), of(net));
        networks.iter().enumerate().map(prefix).collect::<Vec<_>>()
    });
    each.collect()
}

fn of(net: &outwork_front::filter::Network) -> Prefix {
    masked(Prefix { address: net.address(), length: net.length() })
}

/// Remarks on those that packets do not come to by tunnels, or not all of them, as the machine is now.
pub(super) fn of_routes(settings: &Settings) -> Vec<(String, Fault)> {
    let sdwan = &settings.sdwan;
    if !sdwan.is_on() || !sdwan.tunnel.routes {
        return vec![];
    }
    let networks = networks(sdwan);
    let prefixes: Vec<Prefix> = networks.iter().map(|(_, prefix)| *prefix).collect();
    match hidden_here(&prefixes, sdwan.tunnel.name.as_str()) {
        Ok(hidden) => remarks(&networks, &hidden),
        // The start asks again, and says why not.
        Err(_) => vec![],
    }
}

/// Remarks on uplinks that have no address family in common with any that they would reach.
pub(super) fn of_families(settings: &Settings) -> Vec<(String, Fault)> {
    apart(&settings.sdwan)
}

/// Remarks on uplinks that leave by one default route, and on ports that are forwarded where the Internet is behind a tunnel.
pub(super) fn of_answers(settings: &Settings) -> Vec<(String, Fault)> {
    astray(&settings.sdwan)
}

fn remarks(networks: &[(String, Prefix)], hidden: &[Hidden]) -> Vec<(String, Fault)> {
    let of_one = |one: &Hidden| {
        let (key, _) = networks.iter().find(|(_, prefix)| *prefix == one.network)?;
        let help = "give one of the two other addresses, or remove that route if it is not wanted";
        Some((key.clone(), Fault::new(one.to_string()).help(help)))
    };
    hidden.iter().filter_map(of_one).collect()
}

#[cfg(test)]
mod tests {
    use outwork_config::{Sources, load};

    use super::*;

    #[test]
    fn a_network_that_this_machine_keeps_to_itself_is_remarked_upon_where_it_stands() {
        let key = "xTIBA5rboUvnH4htodjb6e697QjLERt1NAB4mZqp8Dg=";
        let text = format!(
            "[[sdwan.uplink]]\nname = 'wan'\n[[sdwan.peer]]\npublic_key = '{key}'\nallowed_ips = ['10.1.0.0/16', '10.2.0.0/16']\n"
        );
        let sources = Sources { file: Some(("outwork.toml".into(), text)), ..Sources::default() };
        let settings = load::<Settings>(sources).map_err(|faults| faults.render(false)).unwrap().value;
        let networks = networks(&settings.sdwan);
        let own = Prefix { address: "10.2.0.0".parse().unwrap(), length: 24 };
        let hidden = Hidden { network: networks[1].1, own, is_whole: false, is_dropped: false };
        let told = remarks(&networks, &[hidden]);
        let [(key, fault)] = told.as_slice() else { panic!("one is hidden") };
        assert_eq!(key, "sdwan.peer[0].allowed_ips[1]");
        assert_eq!(
            fault.found(),
            "not all goes to 10.2.0.0/16 by tunnels: this machine has a route of its own to 10.2.0.0/24, which comes first"
        );
    }
}
