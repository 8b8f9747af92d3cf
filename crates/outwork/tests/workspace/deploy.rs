//! What lies in `deploy/` fits the program.

use super::root;

/// The values of a directive of the unit, in their order.
fn unit(directive: &str) -> Vec<String> {
    of("outwork.service", directive)
}

/// The same of another unit.
fn of(file: &str, directive: &str) -> Vec<String> {
    let text = std::fs::read_to_string(root().join("deploy").join(file)).unwrap();
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

#[test]
fn databases_are_looked_after_each_week_by_the_program_and_with_the_configuration_of_the_service() {
    let maintenance = "outwork-maintenance.service";
    let run = unit("ExecStart").concat().replace(" run ", " db maintain ");
    assert_eq!(of(maintenance, "ExecStart"), [run]);
    for directive in ["User", "StateDirectory", "StateDirectoryMode", "UMask"] {
        assert_eq!(of(maintenance, directive), unit(directive), "{directive}");
    }
    let timer = ["OnCalendar", "Persistent", "WantedBy"].map(|directive| of("outwork-maintenance.timer", directive));
    assert_eq!(timer.concat(), ["weekly", "true", "timers.target"]);
    let header = std::fs::read_to_string(root().join("deploy/outwork.service")).unwrap();
    assert!(header.contains("enable --now outwork outwork-maintenance.timer"), "nobody would be told to have it run");
}
