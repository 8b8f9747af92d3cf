//! Clients on the server's own link, from DISCOVER to RELEASE, across restarts of the server.

use super::client::{Client, Given, Kind};
use super::site::{LAN, SERVER, Site};
use super::wait_for;

/// What a client on the link must have been told, whatever made it ask.
fn assert_told(client: &Client, given: &Given, lease_time: &str) {
    let expected = Given {
        event: given.event.clone(),
        address: given.address.clone(),
        router: SERVER.to_owned(),
        name_server: "10.1.0.53".to_owned(),
        lease_time: lease_time.to_owned(),
        server: SERVER.to_owned(),
    };
    assert_eq!(*given, expected);
    wait_for("the address on the interface", String::new, || {
        client.addresses().contains(&format!("{}/24", given.address)).then_some(())
    });
}

fn from_discover_to_release(kind: Kind) {
    let site = Site::running(LAN);
    let client = Client::start(&site, kind, site.plug("client"));
    let first = client.bound(&site);
    assert_told(&client, &first, "4");
    let lease = site.lease(&first.address).unwrap();
    assert_eq!((lease["state"].as_str(), lease["mac"].as_str()), (Some("active"), Some(client.mac().as_str())));

    let second = client.renewed(&site);
    assert_eq!(second.address, first.address);
    assert_told(&client, &second, "4");

    client.release();
    wait_for(
        "the lease to be released",
        || format!("{:?}\n{}", site.lease(&first.address), site.log()),
        || (site.lease_state(&first.address) == "released").then_some(()),
    );
}

fn keeps_its_address_across_restarts(kind: Kind) {
    let mut site = Site::running(LAN);
    let client = Client::start(&site, kind, site.plug("client"));
    let first = client.bound(&site);
    site.kill();
    site.start();
    assert_eq!(site.lease_state(&first.address), "active", "the lease outlives kill -9");
    assert_eq!(client.renewed(&site).address, first.address);
    site.terminate();
    site.start();
    assert_eq!(client.renewed(&site).address, first.address);
    assert_eq!(client.addresses(), [format!("{}/24", first.address)]);
}

#[test]
fn dhclient_goes_from_discover_to_release() {
    from_discover_to_release(Kind::Dhclient);
}

#[test]
fn dhcpcd_goes_from_discover_to_release() {
    from_discover_to_release(Kind::Dhcpcd);
}

#[test]
fn udhcpc_goes_from_discover_to_release() {
    from_discover_to_release(Kind::Udhcpc);
}

#[test]
fn dhclient_keeps_its_address_when_the_server_is_killed_and_when_it_is_restarted() {
    keeps_its_address_across_restarts(Kind::Dhclient);
}

#[test]
fn dhcpcd_keeps_its_address_when_the_server_is_killed_and_when_it_is_restarted() {
    keeps_its_address_across_restarts(Kind::Dhcpcd);
}

#[test]
fn udhcpc_keeps_its_address_when_the_server_is_killed_and_when_it_is_restarted() {
    keeps_its_address_across_restarts(Kind::Udhcpc);
}

#[test]
fn three_clients_on_one_link_get_three_addresses() {
    let site = Site::running(LAN);
    let kinds = [Kind::Dhclient, Kind::Dhcpcd, Kind::Udhcpc];
    let clients = kinds.map(|kind| Client::start(&site, kind, site.plug(&format!("{kind:?}").to_lowercase())));
    let addresses: std::collections::BTreeSet<_> = clients.iter().map(|client| client.bound(&site).address).collect();
    assert_eq!(addresses.len(), 3, "{addresses:?}");
}

#[test]
fn an_interface_that_appears_after_the_start_is_served() {
    let site = Site::running(&LAN.replace(r#"["lan"]"#, r#"["late"]"#));
    let client = site.lab.namespace("client");
    site.lab.veth((&site.server, "late"), (&client, "eth0"));
    site.server.ip("addr del 10.1.0.1/24 dev lan");
    site.server.ip("addr add 10.1.0.1/24 dev late");
    let client = Client::start(&site, Kind::Udhcpc, client);
    assert_told(&client, &client.bound(&site), "4");
}

#[test]
fn dhcpcd_declines_an_address_that_another_host_holds_and_is_given_another() {
    // The server asks nobody, so that the client is the one who finds out.
    let settings = LAN.replace("4s", "1h").replace("[dhcp]", "[dhcp]\nconflict_detection = \"off\"");
    let site = Site::running(&settings);
    // The first address that is given out, and a host that has it without a lease.
    site.plug("squatter").ip("addr add 10.1.0.10/24 dev eth0");
    let client = Client::start(&site, Kind::DhcpcdWithArp, site.plug("client"));
    let given = client.bound(&site);
    assert_ne!(given.address, "10.1.0.10");
    assert_told(&client, &given, "3600");
    assert_eq!(site.lease_state("10.1.0.10"), "declined");
    assert_eq!(site.lease(&given.address).unwrap()["mac"], client.mac());
    let other = Client::start(&site, Kind::Udhcpc, site.plug("other"));
    assert_ne!(other.bound(&site).address, "10.1.0.10", "what was declined is kept back from others too");
}
