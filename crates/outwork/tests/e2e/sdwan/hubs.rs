//! Sites that do not reach each other, and a hub that both reach.

use std::net::UdpSocket;
use std::time::Duration;

use serde_json::Value as Json;

use super::super::site::Site;
use super::super::wait_for;
use super::peer::Keys;
use super::transfer;

/// Two sites, `north` and `south`, and a hub with a cable to each of them. There is no way from one cable to the other.
struct Star {
    sites: [Site; 2],
    hub: Site,
}

const NAMES: [&str; 2] = ["north", "south"];

/// The end of a cable: 1 is the site's, 2 the hub's.
fn outer(site: usize, end: usize) -> String {
    format!("192.0.{}.{end}", 2 + site)
}

fn inner(site: usize) -> String {
    format!("10.{}.0.1", 101 + site)
}

pub(super) fn section(own: &str, number: usize, key: &Keys, more: &str) -> String {
    format!(
        "[sdwan]\nsubnets = ['10.{network}.0.0/16']\n{own}[sdwan.tunnel]\naddresses = ['10.{network}.0.1/16']\nworkers = 1\n\
         [sdwan.health]\ntrial = '100ms'\ninterval = '200ms'\n\
         [[sdwan.uplink]]\nname = 'wan'\nprivate_key = '{}'\n{more}",
        key.private,
        network = 101 + number,
    )
}

pub(super) fn other(name: &str, number: usize, more: &str, key: &Keys, endpoint: Option<String>) -> String {
    let endpoint = endpoint.map(|at| format!("endpoint = '{at}:51820'\n")).unwrap_or_default();
    format!(
        "[[sdwan.site]]\nname = '{name}'\nsubnets = ['10.{}.0.0/16']\n{more}[[sdwan.site.uplink]]\nname = 'wan'\npublic_key = '{}'\n{endpoint}",
        101 + number,
        key.public,
    )
}

impl Star {
    /// All of it, started.
    fn new() -> Star {
        let (mut sites, mut hub) = ([Site::new(""), Site::new("")], Site::new(""));
        let (keys, key) = ([Keys::new(), Keys::new()], Keys::new());
        for (number, site) in sites.iter().enumerate() {
            site.lab.veth((&site.server, "wan"), (&hub.server, NAMES[number]));
            site.server.ip(&format!("addr add {}/24 dev wan", outer(number, 1)));
            hub.server.ip(&format!("addr add {}/24 dev {}", outer(number, 2), NAMES[number]));
        }
        let endpoint = |number| format!("endpoint = '{}:51820'\n", outer(number, 1));
        for (number, site) in sites.iter_mut().enumerate() {
            let far = 1 - number;
            let own = section("", number, &keys[number], &endpoint(number));
            let to_hub = other("hub", 2, "hub = true\n", &key, Some(outer(number, 2)));
            let to_far = other(NAMES[far], far, "", &keys[far], Some(outer(far, 1)));
            site.configure(&format!("{own}{to_hub}{to_far}"));
        }
        // That of the hub is another one for each: it has two addresses.
        let own = section("hub = true\n", 2, &key, &format!("endpoint = '{}:51820'\n", outer(0, 2)));
        let to = [0, 1].map(|number| other(NAMES[number], number, "", &keys[number], Some(outer(number, 1))));
        hub.configure(&format!("{own}{}", to.concat()));
        hub.start();
        sites.iter_mut().for_each(Site::start);
        Star { sites, hub }
    }

    fn told(&self) -> String {
        let told = |site: &Site| format!("{:#}\n{}", site.json(&["paths"]), site.log());
        format!("{}\n{}\n{}", told(&self.sites[0]), told(&self.sites[1]), told(&self.hub))
    }

    /// The paths from a site to the other one.
    fn paths(&self, site: usize) -> Vec<Json> {
        let paths = self.sites[site].json(&["paths"])["paths"].as_array().unwrap().clone();
        paths.into_iter().filter(|path| path["site"] == NAMES[1 - site]).collect()
    }

    /// Waits until both take the path by the hub, or the one that goes straight.
    fn wait_until_by(&self, hub: Option<&str>) {
        let takes = |site| {
            let taken = self.paths(site).into_iter().find(|path| path["chosen"] == true && path["state"] == "up");
            taken.is_some_and(|path| path["via"].as_str() == hub)
        };
        let what = format!("both to go by {hub:?}");
        wait_for(&what, || self.told(), || (takes(0) && takes(1)).then_some(()));
    }

    /// Octets go through the tunnels from the first to the second and back.
    fn speaks(&self) {
        let [north, south] = [0, 1].map(|site| {
            let socket = self.sites[site].server.run(|| UdpSocket::bind((inner(site), 0))).unwrap();
            socket.set_read_timeout(Some(Duration::from_millis(200))).unwrap();
            socket
        });
        let (to, mut heard) = (south.local_addr().unwrap(), [0; 9]);
        wait_for(
            "a datagram there and back",
            || self.told(),
            || {
                // As long as there is no way, it may be refused.
                let _ = north.send_to(b"x", to);
                let (length, from) = south.recv_from(&mut heard).ok()?;
                let _ = south.send_to(&heard[..length], from);
                north.recv_from(&mut heard).ok()
            },
        );
    }

    fn metric(&self, name: &str) -> f64 {
        let told = self.hub.get("/metrics").unwrap();
        told.lines().find_map(|line| line.strip_prefix(&format!("{name} "))?.trim().parse().ok()).unwrap()
    }

    /// Packets that have gone through the hub's device.
    fn read_by_hub(&self) -> u64 {
        let output = self.hub.server.command("ip").args(["-s", "-j", "link", "show", "outwork0"]).output().unwrap();
        let told: Json = serde_json::from_slice(&output.stdout).unwrap();
        ["rx", "tx"].map(|way| told[0]["stats64"][way]["packets"].as_u64().unwrap()).into_iter().sum()
    }
}

#[test]
fn sites_that_do_not_reach_each_other_speak_by_a_hub_which_reads_nothing_and_counts() {
    let star = Star::new();
    star.wait_until_by(Some("hub"));
    let before = star.read_by_hub();
    let [north, south] = [&star.sites[0].server, &star.sites[1].server];
    transfer(north, south, &inner(1));
    transfer(south, north, &inner(0));
    // Octets of 6 MB in packets of no more than 1420.
    let passed = star.metric("outwork_sdwan_relayed_total");
    assert!(passed > 4200.0, "{passed} datagrams passed on");
    assert!(star.metric("outwork_sdwan_relayed_bytes_total") > 6e6);
    assert!(star.read_by_hub() < before + 100, "what is passed on does not go through the hub's device");
    for path in star.paths(0).into_iter().filter(|path| path["via"] == "hub") {
        assert!(path["mtu"].as_u64().unwrap() <= 1420 - 24 - 32 && path["endpoint"].is_null(), "{path}");
    }
    // The hub is a site like the others.
    transfer(north, &star.hub.server, &inner(2));
}

#[test]
fn a_hub_stands_in_while_no_other_path_works_and_rests_while_one_does() {
    let star = Star::new();
    star.wait_until_by(Some("hub"));
    star.speaks();
    let [north, south] = [&star.sites[0], &star.sites[1]];
    north.lab.veth((&north.server, "straight"), (&south.server, "straight"));
    let route = |site: usize, word: &str| {
        let (from, to) = (outer(site, 1), outer(1 - site, 1));
        star.sites[site].server.ip(&format!("route {word} {to}/32 dev straight src {from}"));
    };
    (0..2).for_each(|site| route(site, "add"));
    star.wait_until_by(None);
    star.speaks();
    let rests = || star.paths(0).iter().all(|path| path["via"].is_null() || path["state"] == "new");
    wait_for("the path by the hub to rest", || star.told(), || rests().then_some(()));
    north.server.ip("link set straight down");
    star.wait_until_by(Some("hub"));
    star.speaks();
}
