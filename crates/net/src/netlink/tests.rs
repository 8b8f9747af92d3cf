use std::net::IpAddr;

use super::*;
use crate::poll;
use crate::testing::{Lab, Namespace};

fn prefix(text: &str) -> Prefix {
    let (address, length) = text.split_once('/').unwrap();
    Prefix { address: address.parse().unwrap(), length: length.parse().unwrap() }
}

fn ip(text: &str) -> IpAddr {
    text.parse().unwrap()
}

/// What a program of iproute2 says in a namespace.
pub(super) fn said(namespace: &Namespace, program: &str, words: &str) -> String {
    let output = namespace.command(program).args(words.split_whitespace()).output().unwrap();
    assert!(output.status.success(), "{program} {words}: {}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).unwrap()
}

/// Two hosts with a cable between them, a line to the kernel of the first, and the index of its end of the cable.
pub(super) fn cable(lab: &Lab) -> (Namespace, Namespace, Connection, u32) {
    let (host, peer) = (lab.namespace("host"), lab.namespace("peer"));
    lab.veth((&host, "eth0"), (&peer, "eth0"));
    let mut kernel = host.run(|| Connection::open().unwrap());
    let index = kernel.link("eth0").unwrap().unwrap().index;
    (host, peer, kernel, index)
}

#[test]
fn links_are_found_by_name_and_listed_as_ip_says_they_are() {
    let lab = Lab::new();
    let (host, peer, mut kernel, index) = cable(&lab);
    host.ip("link set eth0 address 02:00:00:00:00:07 mtu 1400");
    let link = kernel.link("eth0").unwrap().unwrap();
    assert_eq!((link.name.as_str(), link.mtu, link.index), ("eth0", 1400, index));
    assert_eq!(link.mac.unwrap().to_string(), "02:00:00:00:00:07");
    assert!(link.up && link.carrier && !link.loopback);
    let told = said(&host, "ip", "-j -d link show eth0");
    for what in [
        format!("\"ifindex\":{index}"),
        format!("\"gso_max_size\":{}", link.gso_max_size),
        format!("\"gso_max_segs\":{}", link.gso_max_segs),
        "LOWER_UP".to_owned(),
    ] {
        assert!(told.contains(&what), "{what} of {told}");
    }

    peer.ip("link set eth0 down");
    let link = kernel.link("eth0").unwrap().unwrap();
    assert!(link.up && !link.carrier, "the other end of the cable is dead");
    let names: Vec<String> = kernel.links().unwrap().into_iter().map(|link| link.name).collect();
    assert_eq!(names, ["lo", "eth0"]);
    assert_eq!(kernel.link("eth1").unwrap(), None);
}

#[test]
fn of_a_link_only_what_is_named_is_set() {
    let lab = Lab::new();
    let (host, _peer, mut kernel, index) = cable(&lab);
    let before = kernel.link("eth0").unwrap().unwrap();
    kernel.set_link(index, &LinkSettings { mtu: Some(1300), ..LinkSettings::default() }).unwrap();
    assert_eq!(kernel.link("eth0").unwrap(), Some(Link { mtu: 1300, ..before.clone() }));
    let sizes = LinkSettings { gso_max_size: Some(20_000), gso_max_segs: Some(12), ..LinkSettings::default() };
    kernel.set_link(index, &sizes).unwrap();
    let told = said(&host, "ip", "-j -d link show eth0");
    assert!(told.contains("\"gso_max_size\":20000") && told.contains("\"gso_max_segs\":12"), "{told}");
    assert!(kernel.link("eth0").unwrap().unwrap().up);
    kernel.set_link(index, &LinkSettings { up: Some(false), ..LinkSettings::default() }).unwrap();
    let link = kernel.link("eth0").unwrap().unwrap();
    assert_eq!(link, Link { mtu: 1300, gso_max_size: 20_000, gso_max_segs: 12, up: false, carrier: false, ..before });

    let error = kernel.set_link(index, &LinkSettings { mtu: Some(7), ..LinkSettings::default() }).unwrap_err();
    assert!(error.to_string().contains(&format!("cannot set mtu 7 of link {index}")), "{error}");
    assert!(error.words.contains("mtu"), "the kernel says what it does not like: {error}");
}

#[test]
fn addresses_of_both_families_come_and_go() {
    let lab = Lab::new();
    let (host, peer, mut kernel, index) = cable(&lab);
    let addresses = ["10.1.0.1/24", "10.2.0.1/16", "fd00::1/64"].map(prefix);
    let (asked, known) = (Uniqueness::Asked, Uniqueness::Known);
    addresses.iter().for_each(|address| kernel.add_address(index, *address, known).unwrap());
    kernel.add_address(index, addresses[0], asked).expect("one that is there stays");
    let told = said(&host, "ip", "-j addr show eth0");
    for local in ["\"local\":\"10.1.0.1\",\"prefixlen\":24", "\"local\":\"10.2.0.1\"", "\"local\":\"fd00::1\""] {
        assert!(told.contains(local), "{local} of {told}");
    }
    let listed = kernel.addresses(Some(index)).unwrap();
    let ours: Vec<Prefix> = listed.iter().map(|address| address.prefix).filter(|one| addresses.contains(one)).collect();
    assert_eq!(ours, addresses);
    assert!(listed.iter().all(|address| address.link == index));
    assert!(listed.iter().all(|address| !address.tentative || !addresses.contains(&address.prefix)));
    // The other end has this one, and says so to who asks.
    peer.ip("addr add fd00::2/64 dev eth0 nodad");
    kernel.add_address(index, prefix("fd00::2/64"), asked).unwrap();
    let asked: Vec<_> = kernel.addresses(Some(index)).unwrap();
    assert!(asked.iter().any(|address| address.prefix == prefix("fd00::2/64") && address.tentative));
    assert!(kernel.addresses(None).unwrap().iter().any(|address| address.prefix == prefix("127.0.0.1/8")));

    kernel.remove_address(index, addresses[2]).unwrap();
    kernel.remove_address(index, addresses[0]).unwrap();
    let told = said(&host, "ip", "-j addr show eth0");
    assert!(!told.contains("10.1.0.1") && told.contains("10.2.0.1") && !told.contains("fd00::1"), "{told}");
    let error = kernel.remove_address(index, addresses[0]).unwrap_err();
    assert!(error.is_missing() && error.to_string().contains("10.1.0.1/24"), "{error}");
}

#[test]
fn routes_of_both_families_are_added_replaced_and_removed_with_all_that_is_said_of_them() {
    let lab = Lab::new();
    let (host, _peer, mut kernel, index) = cable(&lab);
    kernel.add_address(index, prefix("10.1.0.1/24"), Uniqueness::Known).unwrap();
    kernel.add_address(index, prefix("fd00::1/64"), Uniqueness::Known).unwrap();
    let mut plain = Route { protocol: 77, ..Route::new(prefix("10.9.0.0/16"), index) };
    let full = Route {
        gateway: Some(ip("10.1.0.2")),
        table: 1000,
        metric: 50,
        source: Some(ip("10.1.0.1")),
        mtu: Some(1280),
        protocol: 77,
        ..Route::new(prefix("0.0.0.0/0"), index)
    };
    let v6 = Route {
        gateway: Some(ip("fd00::2")),
        metric: 20,
        mtu: Some(1300),
        protocol: 77,
        ..Route::new(prefix("fd09::/32"), index)
    };
    let across = Route { gateway: Some(ip("fd00::2")), protocol: 77, ..Route::new(prefix("10.8.0.0/16"), index) };
    for route in [plain, full, v6, across] {
        kernel.add_route(&route).unwrap();
        let error = kernel.add_route(&route).unwrap_err();
        assert!(error.is_present() && error.to_string().contains(&route.destination.to_string()), "{error}");
    }
    let ours = RouteQuery { protocol: Some(77), ..RouteQuery::default() };
    let mut listed = kernel.routes(&ours).unwrap();
    listed.sort_by_key(|route| route.destination);
    assert_eq!(listed, [full, across, plain, v6]);
    let told = said(&host, "ip", "-j route show table 1000");
    for what in
        ["\"dst\":\"default\"", "\"gateway\":\"10.1.0.2\"", "\"metric\":50", "\"prefsrc\":\"10.1.0.1\"", "\"mtu\":1280"]
    {
        assert!(told.contains(what), "{what} of {told}");
    }

    plain.mtu = Some(1200);
    kernel.replace_route(&plain).unwrap();
    kernel.replace_route(&Route { mtu: Some(1290), ..v6 }).unwrap();
    let main = RouteQuery { table: Some(route::MAIN), link: Some(index), protocol: Some(77) };
    let mut listed = kernel.routes(&main).unwrap();
    listed.sort_by_key(|route| route.destination);
    assert_eq!(listed, [across, plain, Route { mtu: Some(1290), ..v6 }]);
    assert_eq!(kernel.routes(&RouteQuery { table: Some(4711), ..RouteQuery::default() }).unwrap(), []);

    for route in [plain, full, across, Route { mtu: Some(1290), ..v6 }] {
        kernel.remove_route(&route).unwrap();
        assert!(kernel.remove_route(&route).unwrap_err().is_missing());
    }
    assert_eq!(kernel.routes(&ours).unwrap(), []);
    let told = said(&host, "ip", "-j route show");
    assert!(told.contains("10.1.0.0/24") && !told.contains("10.9.0.0"), "{told}");
}

#[test]
fn packets_with_a_mark_are_routed_by_a_table_of_their_own() {
    let lab = Lab::new();
    let (host, _peer, mut kernel, index) = cable(&lab);
    kernel.add_address(index, prefix("10.1.0.1/24"), Uniqueness::Known).unwrap();
    kernel.add_route(&Route { table: 1000, ..Route::new(prefix("10.9.0.0/16"), index) }).unwrap();
    let mark = Some(Mark { value: 0x4200, mask: 0xff00 });
    let rules = [false, true].map(|v6| Rule { mark, protocol: 77, ..Rule::new(v6, 100, 1000) });
    rules.iter().for_each(|rule| kernel.add_rule(rule).unwrap());
    assert_eq!(kernel.rules(Some(77)).unwrap(), rules);
    assert!(said(&host, "ip", "-j route get 10.9.0.1 mark 0x4207").contains("\"dev\":\"eth0\""));
    assert!(kernel.add_rule(&rules[0]).unwrap_err().is_present());
    rules.iter().for_each(|rule| kernel.remove_rule(rule).unwrap());
    assert_eq!(kernel.rules(Some(77)).unwrap(), []);
    assert!(kernel.remove_rule(&rules[1]).unwrap_err().is_missing());
}

#[test]
fn rules_pass_wide_routes_over_and_know_what_this_host_sends_from_a_port_or_an_address() {
    let lab = Lab::new();
    let (host, _peer, mut kernel, index) = cable(&lab);
    kernel.add_address(index, prefix("10.1.0.1/24"), Uniqueness::Known).unwrap();
    host.ip("route add default via 10.1.0.2");
    kernel.add_route(&Route { table: 1000, ..Route::new(prefix("0.0.0.0/0"), 1) }).unwrap();
    let before = kernel.rules(None).unwrap();
    assert!(
        before.iter().any(|rule| *rule == Rule { protocol: 2, ..Rule::new(false, 32766, route::MAIN) }),
        "{before:?}"
    );
    let ours = |rule: Rule| [rule, Rule { v6: true, ..rule }].map(|rule| Rule { protocol: 77, ..rule });
    let rules = [
        ours(Rule { suppress: Some(0), ..Rule::new(false, 100, route::MAIN) }),
        ours(Rule { own_port: Some(51820), ..Rule::new(false, 101, route::MAIN) }),
        [
            Rule { own_address: Some(ip("10.1.0.1")), protocol: 77, ..Rule::new(false, 102, route::MAIN) },
            Rule { own_address: Some(ip("fd01::1")), protocol: 77, ..Rule::new(true, 102, route::MAIN) },
        ],
        ours(Rule::new(false, 103, 1000)),
    ];
    rules.iter().flatten().for_each(|rule| kernel.add_rule(rule).unwrap());
    let mut listed = kernel.rules(Some(77)).unwrap();
    listed.sort_by_key(|rule| (rule.priority, rule.v6));
    assert_eq!(listed, rules.concat());
    let by = |words: &str| {
        let told = said(&host, "ip", &format!("-j route get {words}"));
        let at = told.find("\"dev\":\"").unwrap() + 7;
        told[at..].split('"').next().unwrap().to_owned()
    };
    assert_eq!(by("10.1.0.9"), "eth0", "what is connected comes first");
    assert_eq!(by("192.0.2.9"), "lo", "the default route does not");
    assert_eq!(by("192.0.2.9 ipproto udp sport 51820"), "eth0");
    assert_eq!(by("192.0.2.9 ipproto udp sport 51821"), "lo");
    assert_eq!(by("192.0.2.9 from 10.1.0.1"), "eth0");
    assert_eq!(by("192.0.2.9 from 127.0.0.1"), "lo");
    assert_eq!(by("192.0.2.9 ipproto tcp sport 51820"), "lo");
    rules.iter().flatten().for_each(|rule| kernel.remove_rule(rule).unwrap());
    assert_eq!(kernel.rules(None).unwrap(), before);
}

#[test]
fn a_network_is_not_routed_by_its_address_where_somebody_else_does_that() {
    let lab = Lab::new();
    let (host, _peer, mut kernel, index) = cable(&lab);
    for text in ["10.1.0.1/24", "fd00::1/64"] {
        kernel.add_bare_address(index, prefix(text)).unwrap();
    }
    let listed = kernel.addresses(Some(index)).unwrap();
    let ours: Vec<_> = listed.iter().filter(|one| !one.prefix.to_string().starts_with("fe80")).collect();
    assert!(ours.len() == 2 && ours.iter().all(|one| !one.routed), "{listed:?}");
    for family in ["-4", "-6"] {
        let told = said(&host, "ip", &format!("{family} route show"));
        assert!(!told.contains("10.1.0.0/24") && !told.contains("fd00::"), "{told}");
    }
}

/// Waits until something is told that fits.
fn await_event(events: &mut Events, mut fits: impl FnMut(&Event) -> bool) {
    let mut found = false;
    while !found {
        poll::wait(&mut [poll::Entry::readable(events)], None).unwrap();
        events.drain(|event| found |= fits(&event)).unwrap();
    }
}

#[test]
fn a_lost_carrier_addresses_and_routes_are_told_to_who_subscribed() {
    let lab = Lab::new();
    let (host, peer, _kernel, index) = cable(&lab);
    let mut events = host.run(|| Events::subscribe().unwrap());
    events.drain(|_| ()).unwrap();
    peer.ip("link set eth0 down");
    await_event(
        &mut events,
        |event| matches!(event, Event::Link(link) if link.index == index && link.up && !link.carrier),
    );
    peer.ip("link set eth0 up");
    await_event(&mut events, |event| matches!(event, Event::Link(link) if link.index == index && link.carrier));

    let told = |text: &str| Address { link: index, prefix: prefix(text), tentative: false, routed: true };
    host.ip("addr add 10.1.0.1/24 dev eth0");
    await_event(&mut events, |event| *event == Event::Address(told("10.1.0.1/24")));
    host.ip("addr add fd00::1/64 dev eth0 nodad");
    await_event(&mut events, |event| *event == Event::Address(told("fd00::1/64")));
    let route = Route { metric: 7, protocol: 77, ..Route::new(prefix("10.9.0.0/16"), index) };
    host.ip("route add 10.9.0.0/16 dev eth0 metric 7 proto 77");
    await_event(&mut events, |event| *event == Event::Route(route));
    host.ip("route del 10.9.0.0/16");
    await_event(&mut events, |event| *event == Event::RouteGone(route));
    host.ip("addr del 10.1.0.1/24 dev eth0");
    await_event(&mut events, |event| *event == Event::AddressGone(told("10.1.0.1/24")));
    host.ip("link set eth0 down");
    await_event(&mut events, |event| matches!(event, Event::Link(link) if link.index == index && !link.up));
    host.ip("link del eth0");
    await_event(&mut events, |event| matches!(event, Event::LinkGone(link) if link.name == "eth0"));
}

#[test]
fn who_listens_too_late_is_told_that_changes_were_missed() {
    let lab = Lab::new();
    let (host, _peer, mut kernel, index) = cable(&lab);
    let mut events = host.run(|| Events::subscribe().unwrap());
    // Room for a few changes only.
    sys::socket::set(events.as_fd(), libc::SOL_SOCKET, libc::SO_RCVBUF, 0).unwrap();
    (0..100).for_each(|round| {
        kernel.set_link(index, &LinkSettings { mtu: Some(1300 + round), ..LinkSettings::default() }).unwrap();
    });
    let (mut missed, mut told) = (0, 0);
    events.drain(|event| if event == Event::Missed { missed += 1 } else { told += 1 }).unwrap();
    assert!(missed == 1 && told < 100, "{missed} times, {told} told");
    kernel.set_link(index, &LinkSettings { mtu: Some(1500), ..LinkSettings::default() }).unwrap();
    await_event(&mut events, |event| matches!(event, Event::Link(link) if link.mtu == 1500));
}

#[test]
fn a_refusal_says_what_was_asked_and_what_the_kernel_says() {
    let lab = Lab::new();
    let (host, _peer, mut kernel, index) = cable(&lab);
    let route = Route { gateway: Some(ip("192.0.2.1")), ..Route::new(prefix("10.9.0.0/16"), index) };
    let error = kernel.add_route(&route).unwrap_err();
    assert_eq!(error.source.raw_os_error(), Some(libc::ENETUNREACH));
    let text = error.to_string();
    assert!(text.starts_with(&format!("cannot add the route to 10.9.0.0/16 via 192.0.2.1 on link {index}")), "{text}");
    assert!(text.ends_with("the kernel says \"Nexthop has invalid gateway\""), "{text}");

    let text = host.run(|| {
        let mut kernel = Connection::open().unwrap();
        sys::process::set_capabilities(0, 0).unwrap();
        kernel.set_link(index, &LinkSettings { up: Some(false), ..LinkSettings::default() }).unwrap_err().to_string()
    });
    assert!(
        text.contains("cannot set down of link") && text.ends_with("it takes the capability CAP_NET_ADMIN"),
        "{text}"
    );
}

#[test]
fn a_table_of_thousands_of_routes_is_listed_to_the_last_one_or_not_at_all() {
    let lab = Lab::new();
    let (_host, _peer, mut kernel, index) = cable(&lab);
    let route = |number: u32| Route {
        table: 1000,
        ..Route::new(Prefix::host(IpAddr::V4((0x0a09_0000 + number).into())), index)
    };
    (0..3000).for_each(|number| kernel.add_route(&route(number)).unwrap());
    let mut listed = kernel.routes(&RouteQuery { table: Some(1000), ..RouteQuery::default() }).unwrap();
    listed.sort_by_key(|route| route.destination);
    assert_eq!(listed, (0..3000).map(route).collect::<Vec<_>>());

    let all = question(libc::RTM_GETROUTE, &[libc::AF_INET as u8, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0]);
    let refused = kernel.list_at_most(2000, &all, route::read).unwrap_err();
    assert_eq!(refused.source.to_string(), "there are more than 2000");
    let again = kernel.routes(&RouteQuery { table: Some(1000), ..RouteQuery::default() }).unwrap();
    assert_eq!(again.len(), 3000, "the line is good for another question");
}

#[test]
fn routes_that_lead_nowhere_are_listed_apart() {
    let lab = Lab::new();
    let (host, _peer, mut kernel, index) = cable(&lab);
    kernel.add_address(index, prefix("10.1.0.1/24"), Uniqueness::Known).unwrap();
    assert_eq!(kernel.dead_ends(route::MAIN).unwrap(), []);
    for words in [
        "route add blackhole 10.2.0.0/16",
        "route add unreachable 10.3.0.0/16 metric 7",
        "route add prohibit fd03::/48",
        "route add blackhole 10.4.0.0/16 table 1000",
        "route add throw 10.5.0.0/16",
        "route add 10.6.0.0/16 via 10.1.0.2",
    ] {
        host.ip(words);
    }
    let mut found = kernel.dead_ends(route::MAIN).unwrap();
    found.sort_by_key(|route| route.destination);
    let told: Vec<_> = found.iter().map(|route| (route.destination, route.link, route.metric)).collect();
    let of = |text, metric| (prefix(text), 0, metric);
    assert_eq!(told, [of("10.2.0.0/16", 0), of("10.3.0.0/16", 7), of("fd03::/48", 1024)]);
    let unicast = kernel.routes(&RouteQuery { table: Some(route::MAIN), ..RouteQuery::default() }).unwrap();
    assert!(unicast.iter().any(|route| route.destination == prefix("10.6.0.0/16")));
    assert!(unicast.iter().all(|route| route.destination != prefix("10.2.0.0/16")));
}
