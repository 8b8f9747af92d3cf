//! What a site sets up in the kernel goes with it.

use std::collections::BTreeSet;

use outwork_net::testing::Namespace;

use super::{INNER, INNER_V6, Pair};

/// A service that has nothing to do with tunnels.
const OTHER: &str =
    "[[front.listener]]\naddress = '127.0.0.1:8080'\n[[front.route]]\npath = '/'\nrespond = { body = 'x' }\n";

fn ip(room: &Namespace, words: &str) -> String {
    let output = room.command("ip").args(words.split_whitespace()).output().unwrap();
    assert!(output.status.success(), "ip {words}: {}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).unwrap()
}

/// Addresses, rules and routes, but for what the kernel does with addresses of links when it sees fit.
fn all(room: &Namespace) -> BTreeSet<String> {
    let told = ["addr show", "-4 rule show", "-6 rule show", "-4 route show table all", "-6 route show table all"];
    let told = told.map(|words| ip(room, words)).concat();
    told.lines().filter(|line| !line.contains("fe80:")).map(|line| line.trim().to_owned()).collect()
}

fn rules(room: &Namespace) -> usize {
    let told = ip(room, "-4 rule show") + &ip(room, "-6 rule show");
    told.lines().filter(|line| line.starts_with("3000")).count()
}

#[test]
fn addresses_routes_and_rules_go_with_the_process_and_after_a_crash_with_the_next_start() {
    let mut pair = Pair::new();
    let before = all(&pair.site.server);
    pair.start("");
    let there = ip(&pair.site.server, "route show table 51857") + &ip(&pair.site.server, "-6 route show table 51857");
    assert!(INNER[1..].iter().chain(&INNER_V6[1..]).all(|address| there.contains(address)), "{there}");
    let during = all(&pair.site.server);
    let ours = rules(&pair.site.server);
    // Of IPv4 the main table, the port and ours; of IPv6 nothing is listened at.
    assert_eq!(ours, 3 + 2, "{during:#?}");
    pair.site.terminate();
    assert_eq!(all(&pair.site.server), before);

    pair.site.start();
    pair.site.kill();
    assert_eq!(rules(&pair.site.server), ours, "nobody could remove them");
    assert!(!ip(&pair.site.server, "route show table all").contains("table 51857"), "they lead nowhere");
    pair.site.start();
    assert_eq!(rules(&pair.site.server), ours, "the next start takes them up");
    assert!(ip(&pair.site.server, "route show table 51857").contains(INNER[1]));
    pair.site.terminate();
    assert_eq!(all(&pair.site.server), before);

    pair.site.start();
    pair.site.kill();
    pair.site.configure(OTHER);
    pair.site.start();
    assert_eq!(all(&pair.site.server), before, "who has no tunnels any longer has them removed");
    pair.site.terminate();
}

#[test]
fn what_another_table_is_named_for_moves_there_by_a_reload_and_leaves_nothing_behind() {
    let mut pair = Pair::new();
    pair.start("");
    let section = super::section(&pair.keys[0], &pair.keys[1], 0, "");
    let moved = section.replace("workers = 2\n", "workers = 2\ntable = 777\nrule_priority = 20_000\n");
    pair.site.configure(&moved);
    pair.site.admin(&["reload"]);
    assert!(ip(&pair.site.server, "route show table 777").contains(INNER[1]));
    assert_eq!(rules(&pair.site.server), 0);
    let told = all(&pair.site.server);
    assert!(!told.iter().any(|line| line.contains("lookup 51857") || line.contains("table 51857")), "{told:#?}");
    pair.site.configure(&moved.replace("table = 777\n", "routes = false\n"));
    pair.site.admin(&["reload"]);
    let told = all(&pair.site.server);
    assert!(
        !told.iter().any(|line| line.ends_with("lookup 777") || line.contains("table 777") || line.starts_with("2000")),
        "{told:#?}"
    );
    assert!(told.iter().any(|line| line.starts_with("10.99.0.0/24 dev outwork0")), "{told:#?}");
}
