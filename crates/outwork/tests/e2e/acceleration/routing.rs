//! A kernel that does not route: as a machine is that nobody has made a router.

use serde_json::json;

use super::{Rooms, exchange, run};
use crate::wait_for;

/// Has the kernel of the balancer route, or not.
fn route(rooms: &Rooms, routes: bool) {
    run(&rooms.site.server, "sysctl", &["-qw", &format!("net.ipv4.ip_forward={}", u8::from(routes))]);
}

/// Connects by sockets: the backend sees the balancer.
fn connect_by_sockets(rooms: &Rooms, source: u8) {
    let (mut stream, _, seen) = rooms.connect_somehow(source);
    exchange(&mut stream, 5_000);
    assert_eq!(seen, 1, "{}", rooms.site.log());
}

#[test]
fn an_upgrade_that_cuts_flows_of_the_kernel_says_so_before() {
    let mut rooms = Rooms::new();
    rooms.configure("tiers = ['tc']");
    rooms.site.start();
    let (_stream, _) = rooms.connect(10);
    let are_counted = || (rooms.metric("flows") > 0.0).then_some(());
    wait_for("flows to be counted", || rooms.site.log(), are_counted);
    let upgraded = rooms.site.outwork(&["upgrade", "--token", &rooms.site.token()]);
    let told = String::from_utf8_lossy(&upgraded.stderr).into_owned();
    let says_so = told.contains("flows that the kernel passes on are cut by this upgrade: nothing keeps them");
    assert!(upgraded.status.success() && says_so && told.contains("`pins = true`"), "{told}");
}

#[test]
fn where_the_kernel_does_not_route_sockets_serve_and_rules_say_how_to_have_it_route() {
    let mut rooms = Rooms::new();
    route(&rooms, false);
    rooms.configure("tiers = ['tc']");
    rooms.site.start();
    let is_left = |rooms: &Rooms| {
        let rule = rooms.rule();
        let detail = rule["reasons"][0]["detail"].as_str().unwrap_or_default();
        (rule["path"] == "slow" && rule["tier"] == "application" && rule["reasons"][0]["reason"] == "no_forwarding")
            .then(|| detail.contains("`sysctl -w net.ipv4.conf.b1.forwarding=1`, or net.ipv4.ip_forward=1"))
    };
    assert_eq!(is_left(&rooms), Some(true), "{}", rooms.rule());
    connect_by_sockets(&rooms, 10);
    let told = rooms.site.json(&["tiers"]);
    let interfaces = told["interfaces"].as_array().unwrap();
    let concerns = |name: &str| interfaces.iter().find(|one| one["name"] == name).unwrap()["concerns"].to_string();
    assert!(concerns("c0").contains("net.ipv4.conf.c0.forwarding") && !concerns("c0").contains("ipv6"), "{told}");
    assert!(!concerns("lan").contains("forwarding"), "nobody forwards by it: {told}");

    route(&rooms, true);
    rooms.wait_for_tier("tc");
    let (mut stream, _) = rooms.connect(11);
    exchange(&mut stream, 5_000);
    drop(stream);
    assert!(rooms.site.log().contains("a listener is served by a tier now"), "{}", rooms.site.log());
    let listener = rooms.site.json(&["listeners"])[0].clone();
    assert!(listener["passed"]["flows"].as_u64().unwrap_or_default() <= 1, "sockets had the others: {listener}");

    route(&rooms, false);
    wait_for("the rule to be slow", || rooms.site.log(), || is_left(&rooms));
    connect_by_sockets(&rooms, 12);
    assert!(rooms.site.log().contains("a listener is served by no tier; its sockets serve"), "{}", rooms.site.log());
    assert_eq!(rooms.rule()["path"], json!("slow"));
}
