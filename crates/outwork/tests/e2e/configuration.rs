//! Checking a configuration, and changing it while clients are served.

use super::load::{DISCOVER, Relay};
use super::site::{LAN, Site};
use super::wait_for;

const ANOTHER_SUBNET: &str = r#"
[[dhcp.subnet]]
id = 3
prefix = "10.3.0.0/24"
pools = [{ range = "10.3.0.10-10.3.0.20" }]
"#;

/// A relay in the subnet that only a reload brings.
fn relay_in_the_other_subnet(site: &Site) -> Relay {
    let namespace = site.plug("relay");
    namespace.ip("addr add 10.3.0.1/24 dev eth0");
    namespace.ip("route add 10.1.0.0/24 dev eth0");
    site.server.ip("route add 10.3.0.0/24 dev lan");
    Relay::new(&namespace, [10, 3, 0, 1], ([10, 1, 0, 1], 67))
}

#[test]
fn check_names_every_fault_with_its_line_and_what_to_do() {
    let site = Site::new(
        "[dhcp]\nlease_tim = \"2h\"\nworkers = \"many\"\n\n[[dhcp.subnet]]\nid = 1\nprefix = \"10.1.0.0/33\"\n",
    );
    let output = site.outwork(&["check"]);
    assert_eq!(output.status.code(), Some(1));
    let said = String::from_utf8(output.stderr).unwrap();
    let line = |text: &str| {
        let file = std::fs::read_to_string(site.config()).unwrap();
        let number = file.lines().position(|line| line.starts_with(text)).unwrap() + 1;
        format!("outwork.toml:{number}")
    };
    for expected in ["lease_time", "dhcp.workers", "10.1.0.0/33", &line("lease_tim"), &line("workers"), &line("prefix")]
    {
        assert!(said.contains(expected), "no {expected} in\n{said}");
    }
}

#[test]
fn a_faulty_configuration_does_not_start() {
    let mut site = Site::new("[dhcp]\nlease_time = \"soon\"\n");
    let said = site.start_in_vain();
    assert!(said.contains("dhcp.lease_time") && said.contains("outwork.toml:"), "{said}");
}

#[test]
fn a_reload_brings_a_subnet_while_clients_are_served() {
    let site = Site::running(LAN);
    let mut relay = relay_in_the_other_subnet(&site);
    let mac = relay.new_client();
    assert_eq!(relay.ask(mac, DISCOVER, None), None, "the subnet is not there yet");
    site.configure(&format!("{LAN}{ANOTHER_SUBNET}"));
    site.admin(&["reload"]);
    let (_, address) = relay.lease();
    assert_eq!(address.octets()[..3], [10, 3, 0]);
}

#[test]
fn sighup_reloads() {
    let site = Site::running(LAN);
    let mut relay = relay_in_the_other_subnet(&site);
    site.configure(&format!("{LAN}{ANOTHER_SUBNET}"));
    site.hang_up();
    let (_, address) = relay.lease();
    assert_eq!(address.octets()[..3], [10, 3, 0]);
}

#[test]
fn a_refused_reload_names_the_setting_and_changes_nothing() {
    let site = Site::running(LAN);
    let mut relay = relay_in_the_other_subnet(&site);
    // A new subnet, which could be taken up, beside a setting that cannot change.
    site.configure(&format!("{}{ANOTHER_SUBNET}", LAN.replace("[dhcp]", "[dhcp]\nbatch = 7")));
    let output = site.outwork(&["reload", "--token", &site.token()]);
    let said = String::from_utf8(output.stderr).unwrap();
    assert!(!output.status.success() && said.contains("dhcp.batch"), "{said}");
    let mac = relay.new_client();
    assert_eq!(relay.ask(mac, DISCOVER, None), None, "nothing of the refused configuration is in force");

    site.hang_up();
    wait_for(
        "the refusal in the log",
        || site.log(),
        || site.log().lines().any(|line| line.contains("dhcp.batch")).then_some(()),
    );
    assert!(site.ready());
    site.configure(&format!("{LAN}{ANOTHER_SUBNET}"));
    site.admin(&["reload"]);
    relay.lease();
}
