//! Clients behind relay agents.

use std::process::{Child, Stdio};

use super::client::{Client, Kind};
use super::load::{ACK, DISCOVER, OFFER, REQUEST, Relay, written};
use super::site::{LAN, Site};
use super::wait_for;

const BEHIND_THE_RELAY: &str = r#"
[[dhcp.subnet]]
id = 2
prefix = "10.2.0.0/24"
lease_time = "4s"
pools = [{ range = "10.2.0.10-10.2.0.200" }]
options = { routers = ["10.2.0.1"], domain-name-servers = ["10.1.0.53"] }
"#;

/// dhcrelay, which ends with this.
struct Dhcrelay(Child);

impl Drop for Dhcrelay {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

#[test]
fn a_client_behind_dhcrelay_is_leased_renews_across_restarts_and_releases_and_its_circuit_is_kept() {
    let mut site = Site::running(&format!("{LAN}{BEHIND_THE_RELAY}"));
    let (relay, client) = (site.plug("relay"), site.lab.namespace("client"));
    site.lab.veth((&relay, "access"), (&client, "eth0"));
    relay.ip("addr add 10.1.0.2/24 dev eth0");
    relay.ip("addr add 10.2.0.1/24 dev access");
    let forwarding = relay.command("sysctl").args(["-qw", "net.ipv4.ip_forward=1"]).status().unwrap();
    assert!(forwarding.success());
    site.server.ip("route add 10.2.0.0/24 via 10.1.0.2");
    let log = std::fs::File::create(site.path("dhcrelay.log")).unwrap();
    let mut dhcrelay = relay.command("dhcrelay");
    dhcrelay.args(["-d", "-4", "-a", "-id", "access", "-iu", "eth0", "10.1.0.1"]);
    let _dhcrelay =
        Dhcrelay(dhcrelay.stdin(Stdio::null()).stdout(log.try_clone().unwrap()).stderr(log).spawn().unwrap());

    let client = Client::start(&site, Kind::Dhclient, client);
    let first = client.bound(&site);
    assert!(first.address.starts_with("10.2.0."), "{first:?}");
    assert_eq!((first.router.as_str(), first.lease_time.as_str()), ("10.2.0.1", "4"));
    let lease = site.lease(&first.address).unwrap();
    assert_eq!(lease["relay"]["giaddr"], "10.2.0.1", "{lease}");
    assert!(lease["relay"]["circuit_id"].to_string().contains("access"), "{lease}");
    assert_eq!(client.renewed(&site).address, first.address);
    site.kill();
    site.start();
    let lease = site.lease(&first.address).unwrap();
    assert!(lease["relay"]["circuit_id"].to_string().contains("access"), "{lease}");
    assert_eq!(client.renewed(&site).address, first.address);
    site.terminate();
    site.start();
    let lease = site.lease(&first.address).unwrap();
    assert_eq!(lease["relay"]["giaddr"], "10.2.0.1", "{lease}");
    assert!(lease["relay"]["circuit_id"].to_string().contains("access"), "{lease}");
    assert_eq!(client.renewed(&site).address, first.address);
    client.release();
    wait_for(
        "the lease to be released",
        || site.log(),
        || (site.lease_state(&first.address) == "released").then_some(()),
    );
}

#[test]
fn a_request_for_another_server_ends_the_offer_and_is_not_answered() {
    let site = Site::running(LAN);
    let relay = site.plug("relay");
    relay.ip("addr add 10.1.0.2/24 dev eth0");
    let mut relay = Relay::new(&relay, [10, 1, 0, 2], ([10, 1, 0, 1], 67));
    let mac = relay.new_client();
    let offer = relay.ask(mac, DISCOVER, None).unwrap();
    assert_eq!((offer.kind, offer.server), (OFFER, [10, 1, 0, 1].into()));
    assert_eq!(relay.ask(mac, REQUEST, Some((offer.address, [10, 1, 0, 9].into()))), None);
    let state = site.lease_state(&offer.address.to_string());
    assert!(state != "active" && state != "offered", "{state}");
    // The client may come back to us.
    let again = relay.ask(mac, DISCOVER, None).unwrap();
    let ack = relay.ask(mac, REQUEST, Some((again.address, again.server))).unwrap();
    assert_eq!((ack.kind, ack.address), (ACK, again.address));
    assert_eq!(site.lease(&ack.address.to_string()).unwrap()["mac"], written(mac));
}
