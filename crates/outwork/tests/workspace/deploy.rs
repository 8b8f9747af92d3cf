//! What lies in `deploy/` fits the program.

use super::root;

/// The values of a directive of the unit, in their order.
fn unit(directive: &str) -> Vec<String> {
    let text = std::fs::read_to_string(root().join("deploy/outwork.service")).unwrap();
    let of_it = text.lines().filter_map(|line| line.strip_prefix(directive)?.strip_prefix('='));
    of_it.map(str::to_owned).collect()
}

#[test]
fn the_unit_gives_tunnels_their_device_and_no_others() {
    // It would hide the device, whatever else is allowed.
    assert_eq!(unit("PrivateDevices"), Vec::<String>::new());
    assert_eq!(unit("DevicePolicy"), ["closed"]);
    assert_eq!(unit("DeviceAllow"), ["/dev/net/tun rw"]);
}

#[test]
fn the_unit_lets_the_service_have_the_interfaces_addresses_routes_and_sockets_that_it_sets_up() {
    for directive in ["AmbientCapabilities", "CapabilityBoundingSet"] {
        let capabilities = unit(directive).concat();
        for needed in ["CAP_NET_ADMIN", "CAP_NET_RAW", "CAP_NET_BIND_SERVICE"] {
            assert!(capabilities.split(' ').any(|one| one == needed), "{directive}: {needed}");
        }
    }
    let families = unit("RestrictAddressFamilies").concat();
    for needed in ["AF_INET", "AF_INET6", "AF_NETLINK", "AF_PACKET", "AF_UNIX"] {
        assert!(families.split(' ').any(|one| one == needed), "{needed}");
    }
    assert_eq!(unit("SystemCallFilter"), ["@system-service"]);
}
