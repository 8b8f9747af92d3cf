//! What a file may not say: each fault names its key and its line.

use super::*;

fn refused(settings: &str, tables: &str, said: &[&str]) {
    let faults = faults(settings, tables);
    for text in said {
        assert!(faults.contains(text), "{text:?} is not in:\n{faults}\nof {settings}\n{tables}");
    }
}

#[test]
fn no_time_in_any_scope_may_be_zero() {
    let tables = format!(
        "[[dhcp.class]]\nname = 'c'\nKEY = '0s'\n[[dhcp.network]]\nname = 'n'\nKEY = '0s'\n{LAN}KEY = '0s'\n\
         reservation = [{{ mac = '02:00:00:00:00:01', KEY = '0s' }}]\n"
    );
    for key in ["lease_time", "min_lease_time", "max_lease_time", "renew_time", "rebind_time"] {
        let faults = faults(&format!("{key} = '0s'"), &tables.replace("KEY", key));
        for scope in ["", "class[0].", "network[0].", "subnet[0].", "subnet[0].reservation[0]."] {
            assert!(faults.contains(&format!("dhcp.{scope}{key}")), "{scope}{key}: {faults}");
        }
    }
    refused("", &format!("{LAN}offer_time = '0s'\n"), &["dhcp.subnet[0].offer_time"]);
}

#[test]
fn times_that_contradict_each_other_or_what_they_inherit_are_refused() {
    refused("min_lease_time = '13h'", LAN, &["dhcp.min_lease_time: 13h, and lease_time is 12h", "test.toml:4"]);
    refused(
        "max_lease_time = '11h'",
        LAN,
        &["dhcp.max_lease_time: 11h, and lease_time is 12h", "no less than lease_time"],
    );
    let inherited = format!("{LAN}max_lease_time = '1h'\n");
    refused("", &inherited, &["dhcp.subnet[0].max_lease_time: 1h, and lease_time is 12h (inherited)", "test.toml:10"]);
    let own = format!("{LAN}lease_time = '1d'\nmax_lease_time = '1h'\n");
    refused("", &own, &["dhcp.subnet[0].max_lease_time: 1h, and lease_time is 1d"]);
    refused("max_lease_time = '1d'", &format!("{LAN}lease_time = '2d'\n"), &["dhcp.subnet[0].lease_time: 2d"]);
    refused("renew_time = '12h'", LAN, &["dhcp.renew_time", "less than rebind_time"]);
    refused("rebind_time = '12h'", LAN, &["dhcp.rebind_time", "less than lease_time"]);
    refused("rebind_time = '5h'", LAN, &["dhcp.rebind_time", "half of lease_time"]);
    let class = "[[dhcp.class]]\nname = 'c'\nlease_time = '1h'\n";
    refused("renew_time = '2h'\nrebind_time = '3h'", &format!("{class}{LAN}"), &["dhcp.class[0].lease_time: 1h"]);
    let network = "[[dhcp.network]]\nname = 'n'\nlease_time = '1h'\n";
    let lan = LAN.replace("interface = 'lan0'", "interface = 'lan0'\nnetwork = 'n'");
    let reserved = "reservation = [{ mac = '02:00:00:00:00:01', rebind_time = '2h' }]\n";
    refused(
        "",
        &format!("{network}{lan}{reserved}"),
        &["dhcp.subnet[0].reservation[0].rebind_time: 2h", "lease_time is 1h (inherited)"],
    );
    let anywhere = "[[dhcp.reservation]]\nmac = '02:00:00:00:00:01'\nmin_lease_time = '13h'\n";
    refused("", &format!("{LAN}{anywhere}"), &["dhcp.reservation[0].min_lease_time: 13h"]);
    let agreeing =
        "lease_time = '1h'\nmin_lease_time = '1h'\nmax_lease_time = '1h'\nrenew_time = '30m'\nrebind_time = '50m'";
    assert_eq!(faults(agreeing, &format!("{LAN}lease_time = '1h'\n")), "");
    assert_eq!(faults("renew_time = '12h'", &format!("{LAN}min_lease_time = '1h'\n")).matches("error:").count(), 1);
}

#[test]
fn an_interface_or_relay_agent_that_leads_to_two_networks_is_refused_with_both_names() {
    let other = |place: &str| format!("[[dhcp.subnet]]\nid = 2\nprefix = '198.51.100.0/24'\n{place}\n");
    let said = [
        "dhcp.subnet[1].interface",
        "lan0",
        "subnet 1 (192.0.2.0/24)",
        "subnet 2 (198.51.100.0/24)",
        "join them with [[dhcp.network]]",
    ];
    refused("", &format!("{LAN}{}", other("interface = 'lan0'")), &said);
    let relayed = format!("{LAN}relay = ['10.0.0.1']\n{}", other("relay = ['10.0.0.2', '10.0.0.1']"));
    refused("", &relayed, &["dhcp.subnet[1].relay[1]", "relay agent 10.0.0.1"]);
    let network = "[[dhcp.network]]\nname = 'n'\ninterface = 'lan0'\n";
    refused("", &format!("{network}{LAN}"), &["dhcp.subnet[0].interface", "network \"n\""]);
    let lan = LAN.replace("interface = 'lan0'", "interface = 'lan0'\nnetwork = 'n'");
    assert_eq!(faults("", &format!("{network}{lan}{}", other("interface = 'lan0'\nnetwork = 'n'"))), "");
}

#[test]
fn the_file_is_held_to_what_the_api_is() {
    let long = |octets: usize| "x".repeat(octets);
    refused("", &format!("{LAN}boot_file = '{}'\n", long(128)), &["dhcp.subnet[0].boot_file", "1 to 127 octets"]);
    refused(&format!("server_hostname = '{}'", long(64)), LAN, &["dhcp.server_hostname", "1 to 63 octets"]);
    let reserved = |said: &str| format!("{LAN}reservation = [{{ mac = '02:00:00:00:00:01', {said} }}]\n");
    refused("", &reserved("address = '192.0.2.255'"), &["dhcp.subnet[0].reservation[0].address", "broadcast address"]);
    refused(
        "",
        &reserved("hostname = 'a printer'"),
        &["dhcp.subnet[0].reservation[0].hostname", "printer-2.example.com"],
    );
    refused("", &reserved("boot_file = ''"), &["dhcp.subnet[0].reservation[0].boot_file"]);
    let most = format!("boot_file = '{}', server_hostname = '{}', hostname = 'a.example'", long(127), long(63));
    assert_eq!(faults("", &reserved(&most)), "");
}

#[test]
fn a_test_that_waits_to_be_required_is_required_somewhere() {
    let class = "[[dhcp.class]]\nname = 'c'\ntest = \"option[60].exists\"\nonly_if_required = true\n";
    refused("", &format!("{class}{LAN}"), &["dhcp.class[0].only_if_required", "never tested"]);
    assert_eq!(faults("", &format!("{class}{LAN}require_classes = ['c']\n")), "");
    let pool = LAN.replace("-192.0.2.19'", "-192.0.2.19', require_classes = ['c']");
    assert_eq!(faults("", &format!("{class}{pool}")), "");
}
