//! Uplinks whose interfaces come and go, that have addresses and no interface, and that lead by narrow ways.

use serde_json::Value as Json;

use super::super::wait_for;
use super::peer::{Keys, Other, WIREGUARD_GO};
use super::sites::{CABLES, Sites, inner, outer};
use super::{INNER, OUTER, section, transfer};
use crate::site::Site;

impl Sites {
    /// Lays a cable again, with the addresses that it had.
    fn lay(&self, cable: usize) {
        let [a, b] = &self.sites;
        a.lab.veth((&a.server, CABLES[cable]), (&b.server, CABLES[cable]));
        for (number, site) in self.sites.iter().enumerate() {
            site.server.ip(&format!("addr add {}/24 dev {}", outer(number, cable), CABLES[cable]));
        }
    }

    /// The state of the path by one cable, as a site has it.
    fn state(&self, site: usize, cable: usize) -> String {
        let is = |path: &Json| path["uplink"] == CABLES[cable] && path["remote_uplink"] == CABLES[cable];
        let path = self.paths(site).into_iter().find(is).unwrap();
        path["state"].as_str().unwrap().to_owned()
    }

    fn wait_for_state(&self, cable: usize, state: &str) {
        let is = |site: usize| self.state(site, cable) == state;
        let what = format!("the path by {} to be {state}", CABLES[cable]);
        wait_for(&what, || self.told(), || (is(0) && is(1)).then_some(()));
    }

    fn sockets(&self, site: usize, cable: usize) -> Option<String> {
        let told = self.sites[site].get("/metrics").unwrap();
        let begins = format!("outwork_sdwan_uplink_sockets{{uplink=\"{}\"}} ", CABLES[cable]);
        told.lines().find_map(|line| line.strip_prefix(&begins).map(str::to_owned))
    }
}

#[test]
fn an_uplink_whose_interface_is_made_anew_is_used_again_and_one_that_comes_late_is_taken_up() {
    let shaped = "[sdwan.qos]\nenabled = true\n[sdwan.qos.uplink.one]\nrate = 100_000_000\n";
    let mut sites = Sites::with("", shaped);
    sites.wait_until_all_are_up();
    let is_shaped = |sites: &Sites| {
        let output =
            sites.sites[0].server.command("tc").args(["qdisc", "show", "dev", "one", "root"]).output().unwrap();
        String::from_utf8(output.stdout).unwrap().contains("htb 6f57:")
    };
    assert!(is_shaped(&sites));
    sites.sites[0].server.ip("link del one");
    sites.wait_for_state(0, "down");
    sites.lay(0);
    sites.wait_until_all_are_up();
    assert!(is_shaped(&sites), "{}", sites.sites[0].log());

    // As it is at boot, where modems are slower than this.
    sites.sites[0].terminate();
    sites.sites[0].server.ip("link del one");
    sites.sites[0].start();
    sites.wait_for_state(1, "up");
    assert_eq!((sites.sockets(0, 0).as_deref(), sites.sockets(0, 1).as_deref()), (Some("0"), Some("1")));
    assert!(sites.sites[0].log().contains("an uplink is not there yet"), "{}", sites.sites[0].log());
    transfer(&sites.sites[0].server, &sites.sites[1].server, &inner(1));
    sites.lay(0);
    sites.wait_until_all_are_up();
    assert_eq!(sites.sockets(0, 0).as_deref(), Some("1"));
    assert!(is_shaped(&sites), "{}", sites.sites[0].log());
}

#[test]
fn a_pulled_cable_is_told_of_uplinks_that_have_an_address_and_no_interface() {
    // So slow that no silence is noticed before.
    let sites = Sites::amended("fast = '500ms'\n", "", |site, text| {
        let text = text.replace("interval = '200ms'", "interval = '1s'");
        CABLES.iter().enumerate().fold(text, |text, (cable, name)| {
            let port = 51820 + cable;
            text.replace(
                &format!("interface = '{name}'\nlisten = ['0.0.0.0:{port}']"),
                &format!("listen = ['{}:{port}']", outer(site, cable)),
            )
        })
    });
    sites.wait_for_state(0, "up");
    sites.wait_for_state(1, "up");
    sites.sites[1].server.ip("link set one down");
    let lost = |site: usize| {
        let events = sites.sites[site].json(&["paths"])["events"].as_array().unwrap().clone();
        events.into_iter().any(|event| {
            event["kind"] == "path" && event["to"] == "down" && event["why"] == "its uplink has no carrier"
        })
    };
    wait_for("both to have lost the carrier", || sites.told(), || (lost(0) && lost(1)).then_some(()));
    sites.sites[1].server.ip("link set one up");
    sites.wait_for_state(0, "up");
}

#[test]
fn what_goes_to_a_peer_on_a_narrow_way_is_made_short_enough_for_it() {
    let (mut site, far) = (Site::new(""), Site::new(""));
    let keys = [Keys::new(), Keys::new()];
    let router = site.lab.namespace("router");
    site.lab.veth((&site.server, "wan"), (&router, "left"));
    site.lab.veth((&far.server, "wan"), (&router, "right"));
    for (room, device, address) in [
        (&site.server, "wan", OUTER[0]),
        (&router, "left", "192.0.2.254"),
        (&router, "right", "198.51.100.254"),
        (&far.server, "wan", "198.51.100.2"),
    ] {
        room.ip(&format!("addr add {address}/24 dev {device}"));
    }
    assert!(router.command("sysctl").args(["-qw", "net.ipv4.ip_forward=1"]).status().unwrap().success());
    router.ip("link set right mtu 1400");
    far.server.ip("link set wan mtu 1400");
    site.server.ip("route add default via 192.0.2.254");
    far.server.ip("route add default via 198.51.100.254");
    site.configure(&section(&keys[0], &keys[1], 0, ""));
    site.start();
    let at = format!("{}:51820", OUTER[0]);
    let _other = Other::start(WIREGUARD_GO, &far.server, &keys[1], &keys[0], "", &at);
    transfer(&far.server, &site.server, INNER[0]);
    transfer(&site.server, &far.server, INNER[1]);
    assert!(site.log().contains("the way to a peer takes no packets as long as before"), "{}", site.log());
}
