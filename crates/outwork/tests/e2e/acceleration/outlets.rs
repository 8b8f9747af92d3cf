//! Backends that are reached by interfaces which a tier does not have, or not any more.

use std::collections::BTreeSet;

use super::{Rooms, SOURCES, VIP, exchange};
use crate::wait_for;

/// What is for a backend that is reached by an interface which the tier does not have is served by sockets.
fn serves_beside(tier: &str, word: &str, what: &str) {
    let mut rooms = Rooms::new();
    let among = |interfaces: &str| rooms.configure_alone(&format!("interfaces = [{interfaces}]\ntiers = ['{tier}']"));
    among("'c0', 'b1'");
    rooms.site.start();
    let mut met = BTreeSet::new();
    for source in SOURCES {
        let (mut stream, who, seen) = rooms.connect_somehow(source);
        exchange(&mut stream, 5_000);
        met.insert((who, seen == source));
    }
    assert_eq!(met, BTreeSet::from([(0, true), (1, false)]), "{}", rooms.site.log());
    let says = |rule: &serde_json::Value, reason: &str| {
        let reasons = rule["reasons"].as_array().unwrap().clone();
        let is_it = |one: &serde_json::Value| {
            let detail = one["detail"].as_str().unwrap();
            let found = format!("10.2.2.2:80 is reached by b2, which has no {what}");
            one["reason"] == reason && detail.contains(&found)
        };
        assert!(reasons.iter().any(is_it), "{rule}");
    };
    let rule = rooms.rule();
    assert_eq!(rule["tier"], word, "{rule}");
    says(&rule, "port");

    rooms.site.configure(&format!(
        "[[proxy.listener]]\nname = 'stream'\naddress = ['{VIP}']\npool = 'tcp'\nforwarding = 'nat'\n\
         [proxy.pool.tcp]\npolicy = 'ip_hash'\nbackend = [{{ url = 'tcp://10.2.2.2:80' }}]\n\
         [proxy.acceleration]\ninterfaces = ['c0', 'b1']\ntiers = ['{tier}']\n"
    ));
    // What leaves by a reload goes on for a while.
    rooms.site.terminate();
    rooms.site.start();
    let rule = rooms.rule();
    assert_eq!(rule["tier"], "application", "{rule}");
    says(&rule, "tier");
    let (mut stream, who, seen) = rooms.connect_somehow(10);
    exchange(&mut stream, 5_000);
    assert_eq!((who, seen), (1, 1), "{}", rooms.site.log());
}

#[test]
fn what_is_for_a_backend_that_no_port_leads_to_is_served_by_sockets_and_rules_say_so() {
    serves_beside("af_xdp", "af_xdp-native", "port");
}

#[test]
fn an_interface_that_is_made_anew_gets_its_program_again_and_until_then_sockets_serve() {
    let mut rooms = Rooms::new();
    rooms.configure("tiers = ['tc']");
    rooms.site.start();
    assert_eq!(rooms.met(), BTreeSet::from([0, 1]), "{}", rooms.site.log());
    rooms.site.server.ip("link del b2");
    rooms.site.lab.veth((&rooms.backends[1], "eth0"), (&rooms.site.server, "b2"));
    rooms.backends[1].ip("addr add 10.2.2.2/24 dev eth0");
    rooms.backends[1].ip("route add default via 10.2.2.1");
    rooms.site.server.ip("addr add 10.2.2.1/24 dev b2");
    let is_passed = || {
        let met: Vec<_> =
            SOURCES.map(|source| rooms.connect_somehow(source)).map(|(_, who, seen)| (who, seen)).collect();
        let own = met.iter().zip(SOURCES).filter(|((_, seen), source)| seen == source).map(|((who, _), _)| *who);
        (own.collect::<BTreeSet<u8>>() == BTreeSet::from([0, 1])).then_some(())
    };
    wait_for("the new interface to have a program", || rooms.site.log(), is_passed);
}

#[test]
fn what_is_for_a_backend_from_which_no_answer_comes_to_xdp_is_served_by_sockets_and_rules_say_so() {
    serves_beside("xdp", "xdp-native", "program");
}

#[test]
fn what_is_for_a_backend_from_which_no_answer_comes_to_tc_is_served_by_sockets_and_rules_say_so() {
    serves_beside("tc", "tc", "program");
}
