//! Sockets and tiers beside each other: whoever has a connection keeps it, whatever is taken up or given up meanwhile.

use std::net::TcpStream;

use super::{Rooms, exchange, run};
use crate::wait_for;

/// A connection by sockets: the backend sees the balancer.
fn connect_by_sockets(rooms: &Rooms, source: u8) -> TcpStream {
    let (mut stream, _, seen) = rooms.connect_somehow(source);
    exchange(&mut stream, 5_000);
    assert_eq!(seen, 1, "{}", rooms.site.log());
    stream
}

/// Configures a listener and no tier.
fn without_tiers(rooms: &Rooms) {
    rooms.configure_alone("");
}

/// Connections of sockets live through a reload that adds a tier.
fn lives_through_a_tier_that_is_added(tiers: &str, word: &str) {
    let mut rooms = Rooms::new();
    without_tiers(&rooms);
    rooms.site.start();
    let mut streams: Vec<TcpStream> = (10..14).map(|source| connect_by_sockets(&rooms, source)).collect();
    rooms.configure(tiers);
    rooms.site.admin(&["reload"]);
    rooms.wait_for_tier(word);
    let (mut passed, _) = rooms.connect(15);
    for stream in &mut streams {
        exchange(stream, 50_000);
    }
    exchange(&mut passed, 50_000);
    let left = || rooms.metric("packets_total{verdict=\"passed\",reason=\"socket\"}");
    // Behind the driver, frames of sockets' connections do not come to whoever counts.
    if !word.ends_with("-skb") {
        wait_for("packets of sockets to be counted", || rooms.site.log(), || (left() > 0.0).then_some(()));
    }
    drop(streams);
    rooms.site.terminate();
}

#[test]
fn connections_of_sockets_live_through_a_reload_that_adds_xdp() {
    lives_through_a_tier_that_is_added("tiers = ['xdp']", "xdp-native");
}

#[test]
fn connections_of_sockets_live_through_a_reload_that_adds_tc() {
    lives_through_a_tier_that_is_added("tiers = ['tc']", "tc");
}

#[test]
fn connections_of_sockets_live_through_a_reload_that_adds_af_xdp() {
    lives_through_a_tier_that_is_added("tiers = ['af_xdp']", "af_xdp-native");
}

#[test]
fn connections_of_sockets_live_through_a_reload_that_adds_af_xdp_behind_the_driver() {
    lives_through_a_tier_that_is_added("tiers = ['af_xdp']\nmode = 'skb'", "af_xdp-skb");
}

#[test]
fn connections_of_sockets_live_on_when_the_kernel_begins_to_route() {
    let mut rooms = Rooms::new();
    let route =
        |rooms: &Rooms, on: &str| run(&rooms.site.server, "sysctl", &["-qw", &format!("net.ipv4.ip_forward={on}")]);
    route(&rooms, "0");
    rooms.configure("tiers = ['tc']");
    rooms.site.start();
    let mut stream = connect_by_sockets(&rooms, 10);
    route(&rooms, "1");
    rooms.wait_for_tier("tc");
    exchange(&mut stream, 50_000);
    let (mut passed, _) = rooms.connect(11);
    exchange(&mut passed, 50_000);
    exchange(&mut stream, 50_000);
}

#[test]
fn connections_live_through_changes_of_how_their_listener_forwards() {
    let mut rooms = Rooms::new();
    let configure = |rooms: &Rooms, forwarding: &str| {
        rooms.configure_as(forwarding, "interfaces = ['c0', 'b1', 'b2']\ntiers = ['xdp']");
    };
    configure(&rooms, "sockets");
    rooms.site.start();
    let mut own = connect_by_sockets(&rooms, 10);
    configure(&rooms, "nat");
    rooms.site.admin(&["reload"]);
    rooms.wait_for_tier("xdp-native");
    let (mut passed, _) = rooms.connect(11);
    exchange(&mut own, 50_000);
    configure(&rooms, "sockets");
    rooms.site.admin(&["reload"]);
    let mut other = connect_by_sockets(&rooms, 12);
    for stream in [&mut own, &mut passed, &mut other] {
        exchange(stream, 50_000);
    }
}

/// Flows of a tier live through a reload that takes it away, which lets go of the interfaces once they have ended.
fn flows_live_through_a_tier_that_is_taken_away(tiers: &str, word: &str) {
    let mut rooms = Rooms::new();
    rooms.configure(tiers);
    rooms.site.start();
    rooms.wait_for_tier(word);
    let mut streams: Vec<TcpStream> = (10..14).map(|source| rooms.connect(source).0).collect();
    streams.iter_mut().for_each(|stream| exchange(stream, 5_000));
    without_tiers(&rooms);
    rooms.site.admin(&["reload"]);
    assert_eq!(rooms.rule()["tier"], "application", "what is new is for sockets");
    let mut own = connect_by_sockets(&rooms, 15);
    assert_eq!(rooms.ask_somehow(16).1, 1);
    streams.iter_mut().for_each(|stream| exchange(stream, 50_000));
    exchange(&mut own, 50_000);
    // It comes back before they have ended, and goes again.
    rooms.configure(tiers);
    rooms.site.admin(&["reload"]);
    rooms.wait_for_tier(word);
    streams.push(rooms.connect(16).0);
    streams.iter_mut().for_each(|stream| exchange(stream, 5_000));
    exchange(&mut own, 5_000);
    without_tiers(&rooms);
    rooms.site.admin(&["reload"]);
    streams.iter_mut().for_each(|stream| exchange(stream, 5_000));
    assert!(!rooms.site.log().contains("interfaces are left to the kernel"), "{}", rooms.site.log());
    drop(streams);
    let is_left = || rooms.site.log().contains("interfaces are left to the kernel").then_some(());
    wait_for("interfaces to be let go of", || rooms.site.log(), is_left);
    assert!(!rooms.site.log().contains("are cut"), "{}", rooms.site.log());
    exchange(&mut own, 5_000);
    rooms.site.terminate();
}

#[test]
fn flows_live_through_a_reload_that_takes_xdp_away() {
    flows_live_through_a_tier_that_is_taken_away("tiers = ['xdp']\ntimeouts = { datagrams = '100ms' }", "xdp-native");
}

#[test]
fn flows_live_through_a_reload_that_takes_tc_away() {
    flows_live_through_a_tier_that_is_taken_away("tiers = ['tc']\ntimeouts = { datagrams = '100ms' }", "tc");
}

#[test]
fn flows_live_through_a_reload_that_takes_af_xdp_away() {
    flows_live_through_a_tier_that_is_taken_away("tiers = ['af_xdp']", "af_xdp-native");
}

#[test]
fn flows_live_through_a_reload_that_takes_af_xdp_behind_the_driver_away() {
    flows_live_through_a_tier_that_is_taken_away("tiers = ['af_xdp']\nmode = 'skb'", "af_xdp-skb");
}
