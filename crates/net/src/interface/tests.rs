use super::*;
use crate::poll;
use crate::testing::Lab;

#[test]
fn interfaces_are_listed_with_all_that_is_known_of_them() {
    let lab = Lab::new();
    let (host, peer) = (lab.namespace("host"), lab.namespace("peer"));
    lab.veth((&host, "eth0"), (&peer, "eth0"));
    host.ip("link set eth0 address 02:00:00:00:00:07 mtu 1400");
    host.ip("addr add 10.1.0.1/24 dev eth0");
    host.ip("addr add 10.2.0.1/16 dev eth0");
    host.ip("link add eth1 type veth peer name eth2");
    let interfaces = host.run(|| interfaces().unwrap());
    let named = |name: &str| interfaces.iter().find(|interface| interface.name == name).unwrap();

    assert_eq!(interfaces.len(), 4);
    let address = |a, b, prefix_length| Address { address: Ipv4Addr::new(10, a, 0, b), prefix_length };
    let eth0 = named("eth0");
    assert_eq!((eth0.mac, eth0.mtu), (Some(MacAddr([2, 0, 0, 0, 0, 7])), 1400));
    assert_eq!(eth0.addresses, [address(1, 1, 24), address(2, 1, 16)]);
    assert!(eth0.up && eth0.running && !eth0.loopback);
    assert!(!named("eth1").up && !named("eth1").running && named("eth1").addresses.is_empty());
    assert!(named("lo").loopback && named("lo").mac.is_none());
}

#[test]
fn a_watch_tells_of_an_interface_and_an_address_that_appear() {
    let lab = Lab::new();
    let (host, peer) = (lab.namespace("host"), lab.namespace("peer"));
    let watch = host.run(|| Watch::new().unwrap());
    watch.drain().unwrap();
    assert!(!watch.drain().unwrap(), "nothing has changed");
    let changed = || {
        poll::wait(&mut [poll::Entry::readable(&watch)], None).unwrap();
        watch.drain().unwrap()
    };

    lab.veth((&host, "late"), (&peer, "late"));
    assert!(changed());
    let late = || host.run(|| interfaces().unwrap()).into_iter().find(|interface| interface.name == "late");
    assert!(late().is_some());
    host.ip("addr add 10.1.0.1/24 dev late");
    assert!(changed());
    assert_eq!(late().unwrap().addresses.len(), 1);
    host.ip("link del late");
    assert!(changed());
    assert!(late().is_none());
}

#[test]
fn a_network_contains_its_addresses_and_no_others() {
    let address = |prefix_length| Address { address: Ipv4Addr::new(10, 1, 2, 3), prefix_length };
    assert!(address(24).contains(Ipv4Addr::new(10, 1, 2, 250)) && !address(24).contains(Ipv4Addr::new(10, 1, 3, 3)));
    assert!(address(32).contains(Ipv4Addr::new(10, 1, 2, 3)) && !address(32).contains(Ipv4Addr::new(10, 1, 2, 2)));
    assert!(address(0).contains(Ipv4Addr::new(192, 0, 2, 1)));
}
