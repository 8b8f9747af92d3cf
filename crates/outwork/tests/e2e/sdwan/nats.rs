//! Sites behind NATs, and a hub that is not.

use std::net::UdpSocket;
use std::time::Duration;

use outwork_net::testing::Namespace;
use serde_json::Value as Json;

use super::super::site::Site;
use super::super::wait_for;
use super::hubs::{other, section};
use super::peer::Keys;
use super::transfer;

const NAMES: [&str; 2] = ["north", "south"];
const HUB: &str = "203.0.113.1";

/// Two sites behind a NAT each, and the link `outside`, where these are, and the hub.
struct Natted {
    sites: [Site; 2],
    nats: [Namespace; 2],
    hub: Site,
}

fn inner(site: usize) -> String {
    format!("10.{}.0.1", 101 + site)
}

/// Where a site is seen from outside.
fn outside(site: usize) -> String {
    format!("203.0.113.{}", 11 + site)
}

impl Natted {
    /// All of it, started. NATs have another port for each destination where they are to be `symmetric`.
    fn new(symmetric: bool) -> Natted {
        let (mut sites, mut hub) = ([Site::new(""), Site::new("")], Site::new(""));
        let (keys, key) = ([Keys::new(), Keys::new()], Keys::new());
        hub.server.ip("link add outside type bridge forward_delay 0");
        hub.server.ip(&format!("addr add {HUB}/24 dev outside"));
        hub.server.ip("link set outside up");
        let nats = [0, 1].map(|number| {
            let (site, nat) = (&sites[number].server, hub.lab.namespace(&format!("nat{number}")));
            hub.lab.veth((&hub.server, NAMES[number]), (&nat, "wan"));
            hub.server.ip(&format!("link set {} master outside", NAMES[number]));
            nat.ip(&format!("addr add {}/24 dev wan", outside(number)));
            hub.lab.veth((&nat, "inside"), (site, "wan"));
            nat.ip(&format!("addr add 192.168.{number}.1/24 dev inside"));
            site.ip(&format!("addr add 192.168.{number}.2/24 dev wan"));
            site.ip(&format!("route add default via 192.168.{number}.1"));
            let ports = if symmetric { " random" } else { "" };
            // As home routers do: what nobody has asked for is dropped, and not even answered.
            let rules = format!(
                "table ip nat {{ chain out {{ type nat hook postrouting priority 100; oifname wan masquerade{ports}; }}; \
                 chain in {{ type filter hook input priority 0; iifname wan ct state new drop; }}; }}"
            );
            assert!(nat.command("nft").arg(rules).status().unwrap().success());
            let forward = "echo 1 > /proc/sys/net/ipv4/ip_forward";
            assert!(nat.command("sh").args(["-c", forward]).status().unwrap().success());
            nat
        });
        for (number, site) in sites.iter_mut().enumerate() {
            let far = 1 - number;
            let own = section("", number, &keys[number], "");
            let to_hub = other("hub", 2, "hub = true\n", &key, Some(HUB.to_owned()));
            let to_far = other(NAMES[far], far, "", &keys[far], None);
            site.configure(&format!("{own}{to_hub}{to_far}"));
        }
        let own = section("hub = true\n", 2, &key, &format!("endpoint = '{HUB}:51820'\n"));
        let to = [0, 1].map(|number| other(NAMES[number], number, "", &keys[number], None));
        hub.configure(&format!("{own}{}", to.concat()));
        hub.start();
        sites.iter_mut().for_each(Site::start);
        Natted { sites, nats, hub }
    }

    fn told(&self) -> String {
        let told = |site: &Site| format!("{:#}\n{}", site.json(&["paths"]), site.log());
        format!("{}\n{}\n{}", told(&self.sites[0]), told(&self.sites[1]), told(&self.hub))
    }

    /// The path that a site takes to the other.
    fn taken(&self, site: usize) -> Option<Json> {
        let paths = self.sites[site].json(&["paths"])["paths"].as_array().unwrap().clone();
        let is = |path: &Json| path["site"] == NAMES[1 - site] && path["chosen"] == true && path["state"] == "up";
        paths.into_iter().find(is)
    }

    fn wait_until_by(&self, hub: Option<&str>) {
        let takes = |site| self.taken(site).is_some_and(|path| path["via"].as_str() == hub);
        let what = format!("both to go by {hub:?}");
        wait_for(&what, || self.told(), || (takes(0) && takes(1)).then_some(()));
    }
}

#[test]
fn two_sites_behind_nats_open_them_for_each_other_where_a_hub_sees_them() {
    let net = Natted::new(false);
    net.wait_until_by(None);
    for site in 0..2 {
        let path = net.taken(site).unwrap();
        let at = path["endpoint"].as_str().unwrap().to_owned();
        assert!(at.starts_with(&format!("{}:", outside(1 - site))), "{path}");
    }
    let [north, south] = [&net.sites[0].server, &net.sites[1].server];
    transfer(north, south, &inner(1));
    transfer(south, &net.hub.server, &inner(2));
    // What the hub knows is told again after a reload.
    net.sites[0].admin(&["reload"]);
    transfer(south, north, &inner(0));
    net.wait_until_by(None);
}

#[test]
fn where_nats_show_everybody_another_address_the_hub_goes_on_passing_on() {
    let net = Natted::new(true);
    net.wait_until_by(Some("hub"));
    transfer(&net.sites[0].server, &net.sites[1].server, &inner(1));
}

#[test]
fn a_nat_that_has_forgotten_a_site_is_opened_anew_and_the_hub_hears_it_there() {
    let net = Natted::new(false);
    net.wait_until_by(None);
    // It takes another port for the site from now on.
    let rules = "flush chain ip nat out; add rule ip nat out oifname wan ip protocol udp masquerade to :40000-40100";
    assert!(net.nats[0].command("nft").arg(rules).status().unwrap().success());
    // What is masqueraded by a link is forgotten when that goes.
    net.nats[0].ip("link set wan down");
    net.nats[0].ip("link set wan up");
    let [north, hub] = [&net.sites[0].server, &net.hub.server];
    let heard = hub.run(|| UdpSocket::bind((inner(2), 7))).unwrap();
    heard.set_read_timeout(Some(Duration::from_millis(200))).unwrap();
    let sends = north.run(|| UdpSocket::bind((inner(0), 0))).unwrap();
    wait_for(
        "a datagram at the hub from where the site is seen now",
        || net.told(),
        || {
            let _ = sends.send_to(b"x", (inner(2), 7));
            heard.recv_from(&mut [0; 9]).ok()?;
            let paths = net.hub.json(&["paths"])["paths"].as_array().unwrap().clone();
            let path = paths.into_iter().find(|path| path["site"] == NAMES[0])?;
            path["endpoint"].as_str()?.starts_with(&format!("{}:40", outside(0))).then_some(())
        },
    );
    net.wait_until_by(None);
}
