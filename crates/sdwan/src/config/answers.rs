//! Answers that may leave by another way than their questions came, as the kernel's rules go by addresses and ports of this machine alone.

use std::net::SocketAddr;

use outwork_config::Fault;

use super::{CarrierKind, Sdwan, Uplink};
use crate::routing::WIDE;

/// The key of each with a remark.
pub fn astray(sdwan: &Sdwan) -> Vec<(String, Fault)> {
    let mut remarks = of_uplinks(sdwan);
    remarks.extend(of_ports(sdwan));
    remarks
}

/// Uplinks that the kernel chooses the interface of, where another one of their family has come before: of default routes it knows one best, and all of them leave by that.
fn of_uplinks(sdwan: &Sdwan) -> Vec<(String, Fault)> {
    let chosen = |uplink: &&Uplink| uplink.interface.is_none() && uplink.carrier == CarrierKind::Process;
    let speaks = |uplink: &Uplink, v4: bool| uplink.listen.iter().any(|at| at.is_ipv4() == v4);
    let shared = |(place, uplink): (usize, &Uplink)| {
        let before = || sdwan.uplink.iter().take(place).filter(chosen);
        let (v4, other) = [true, false]
            .into_iter()
            .filter(|v4| speaks(uplink, *v4))
            .find_map(|v4| Some((v4, before().find(|other| speaks(other, v4))?)))?;
        let found = format!(
            "neither {} nor {} names an interface: {} of both leaves by this machine's one best default route",
            other.name,
            uplink.name,
            if v4 { "IPv4" } else { "IPv6" }
        );
        // Who listens at one address may have rules by that.
        let by_address = uplink.listen.iter().any(|at: &SocketAddr| !at.ip().is_unspecified());
        let help = match by_address {
            true => {
                "name the interface of each; or have rules of your own lead by source address (`ip rule add from ADDRESS lookup TABLE`), before sdwan.tunnel.rule_priority"
            }
            false => "name the interface of each",
        };
        Some((format!("sdwan.uplink[{place}].interface"), Fault::new(found).help(help)))
    };
    sdwan.uplink.iter().enumerate().filter(|(_, uplink)| chosen(uplink)).filter_map(shared).collect()
}

/// Networks as wide as the Internet that are behind others: what this machine forwards to machines behind it is none of its own, and what those answer goes there.
fn of_ports(sdwan: &Sdwan) -> Vec<(String, Fault)> {
    if !sdwan.tunnel.routes || sdwan.uplink.is_empty() {
        return vec![];
    }
    let peers =
        sdwan.peer.iter().zip(0..).map(|(peer, place)| (format!("peer[{place}].allowed_ips"), &peer.allowed_ips));
    let sites = sdwan.site.iter().zip(0..).map(|(site, place)| (format!("site[{place}].subnets"), &site.subnets));
    let wide = peers.chain(sites).flat_map(|(key, networks)| {
        let wide = networks.iter().enumerate().filter(|(_, network)| network.length() <= WIDE);
        wide.map(move |(place, network)| (format!("sdwan.{key}[{place}]"), network))
    });
    wide.map(|(key, network)| {
        let found = format!(
            "{network} is behind a tunnel: who is let in to machines behind this site by a forwarded port (DNAT) is answered into it"
        );
        let help = "where ports are forwarded, mark such connections, and by that their packets (`ct mark set` and `meta mark set ct mark` in prerouting), and give the mark a rule of its own before sdwan.tunnel.rule_priority; else leave it";
        (key, Fault::new(found).help(help))
    })
    .collect()
}

#[cfg(test)]
mod tests {
    use outwork_config::{Sources, load};

    use super::*;

    fn told(text: &str) -> Vec<(String, String)> {
        let sources = Sources { file: Some(("outwork.toml".into(), text.to_owned())), ..Sources::default() };
        let settings = load::<Sdwan>(sources).map_err(|faults| faults.render(false)).unwrap().value;
        astray(&settings).into_iter().map(|(key, fault)| (key, fault.render(false))).collect()
    }

    fn uplink(name: &str, listen: &str, more: &str) -> String {
        format!("[[uplink]]\nname = '{name}'\nlisten = [{listen}]\n{more}\n")
    }

    #[test]
    fn two_uplinks_of_one_family_that_name_no_interface_share_a_default_route() {
        let (one, six) = (uplink("one", "'192.0.2.1:1'", ""), uplink("six", "'[::]:2'", ""));
        let two = uplink("two", "'198.51.100.1:1'", "");
        assert_eq!((told(&one), told(&format!("{one}{six}"))), (vec![], vec![]));
        let shared = told(&format!("{one}{six}{two}"));
        let [(key, remark)] = &shared[..] else { panic!("{shared:#?}") };
        assert_eq!(key, "sdwan.uplink[2].interface");
        let words = ["neither one nor two names an interface", "IPv4 of both", "ip rule add from ADDRESS"];
        assert!(words.iter().all(|word| remark.contains(word)), "{remark}");
        let all = told(&format!("{one}{}", uplink("all", "'0.0.0.0:2', '[::]:2'", "")));
        assert!(all.len() == 1 && !all[0].1.contains("ip rule"), "{all:#?}");
        for other in ["interface = 'wan2'", "carrier = 'auto'"] {
            assert_eq!(told(&format!("{one}{}", uplink("two", "'0.0.0.0:2'", other))), [], "{other}");
        }
    }

    #[test]
    fn where_the_internet_is_behind_a_tunnel_forwarded_ports_are_spoken_of() {
        let key = outwork_wireguard::PublicKey([1; 32]);
        let own = uplink("one", "'0.0.0.0:1'", "");
        let peer = |networks: &str| format!("[[peer]]\npublic_key = '{key}'\nallowed_ips = [{networks}]\n");
        let keys = |text: String| told(&text).into_iter().map(|(key, _)| key).collect::<Vec<_>>();
        assert_eq!(keys(format!("{own}{}", peer("'10.0.0.0/8', 'fd00::/8'"))), [""; 0]);
        let wide = peer("'10.0.0.0/8', '0.0.0.0/0', '::/0'");
        assert_eq!(keys(format!("{own}{wide}")), ["sdwan.peer[0].allowed_ips[1]", "sdwan.peer[0].allowed_ips[2]"]);
        assert_eq!(keys(format!("[tunnel]\nroutes = false\n{own}{wide}")), [""; 0], "somebody else sees to routes");
        let site = format!(
            "[[site]]\nname = 'far'\nsubnets = ['0.0.0.0/0']\n[[site.uplink]]\nname = 'a'\npublic_key = '{key}'\n"
        );
        assert_eq!(keys(format!("{own}{site}")), ["sdwan.site[0].subnets[0]"]);
    }
}
