use super::*;
use crate::lease::{Detail, INFINITE};

const ASKER: Ipv4Addr = Ipv4Addr::new(10, 9, 9, 9);

fn server() -> Server {
    Server::new("leasequery = ['10.9.9.0/24']", LAN)
}

fn query() -> Packet {
    Packet { mac: Vec::new(), ..packet(Kind::LeaseQuery, 0) }.relay(ASKER)
}

#[test]
fn the_memory_of_each_part_grows_with_what_is_in_it() {
    let mut server = Server::lan();
    let of = |server: &Server, name| server.engine.memory().into_iter().find(|(part, _)| *part == name).unwrap().1;
    let grown = |server: &Server, before: &[(&'static str, usize)]| {
        let now = server.engine.memory();
        let grown = before.iter().zip(now).filter(|(before, now)| now.1 > before.1);
        grown.map(|(before, _)| before.0).collect::<Vec<_>>()
    };
    let empty = server.engine.memory();
    assert!(of(&server, "dhcp_rate_limits") >= 1 << 20, "its cells are there from the start");
    for client in 0..8 {
        server.bind(&discover(client));
    }
    assert_eq!(grown(&server, &empty), ["dhcp_leases", "dhcp_calendar", "dhcp_journal"]);
    let bound = server.engine.memory();
    server.pass(100_000);
    assert_eq!(grown(&server, &bound), ["dhcp_pools"], "those that are free again stand in their queue");
    assert!(of(&server, "dhcp_calendar") < bound[2].1);
}

#[test]
fn a_query_by_address_tells_who_has_it() {
    let mut server = server();
    let client = discover(1).id(b"me").option(12, b"printer").option(60, b"vendor").relay(ip(2)).option(82, &[1, 1, 7]);
    let address = server.bind(&client);
    server.pass(100);
    let active = server.send(&query().from(address).list(&[12, 51, 60, 82, 91])).heard(Kind::LeaseActive);
    assert_eq!((&active.bytes[12..16], &active.bytes[16..20]), (&address.octets()[..], &[0; 4][..]));
    assert_eq!((active.bytes[2], &active.bytes[28..34]), (6, &[2, 0, 0, 0, 0, 1][..]));
    assert_eq!((active.options[&61].as_slice(), active.text(12), active.text(60)), (&b"me"[..], "printer", "vendor"));
    assert_eq!((active.lease_time(), active.number(code::LAST_TRANSACTION)), (43_100, 100));
    assert_eq!((active.options[&82].as_slice(), active.order.last()), (&[1, 1, 7][..], Some(&82)));
    let terse = server.send(&query().from(address)).heard(Kind::LeaseActive);
    assert_eq!(terse.order, [53, 54, 61], "no more than is asked for");
}

#[test]
fn a_query_by_address_tells_ours_from_unknown() {
    let mut server = server();
    server.offer(&discover(1));
    let unassigned = server.send(&query().from(ip(10))).heard(Kind::LeaseUnassigned);
    assert_eq!(unassigned.bytes[12..16], ip(10).octets());
    server.send(&query().from(ip(200))).heard(Kind::LeaseUnassigned);
    server.send(&query().from([203, 0, 113, 1].into())).heard(Kind::LeaseUnknown);
}

#[test]
fn a_query_by_hardware_address_or_identifier_tells_the_latest_and_names_the_others() {
    let mut server = server();
    let (one, two) = (server.bind(&discover(1).id(b"a")), server.bind(&discover(1).id(b"b")));
    server.pass(10);
    server.send(&renew(1, one).id(b"a")).heard(Kind::Ack);
    let by_mac = Packet { mac: vec![2, 0, 0, 0, 0, 1], ..query() }.list(&[92]);
    let active = server.send(&by_mac).heard(Kind::LeaseActive);
    assert_eq!((&active.bytes[12..16], &active.options[&92][..]), (&one.octets()[..], &two.octets()[..]));
    let active = server.send(&query().id(b"b").list(&[92])).heard(Kind::LeaseActive);
    assert_eq!((&active.bytes[12..16], active.options.get(&92)), (&two.octets()[..], None));
    server.send(&query().id(b"c")).heard(Kind::LeaseUnknown);
    server.send(&release(1, two).id(b"b"));
    server.send(&query().id(b"b")).heard(Kind::LeaseUnknown);
}

#[test]
fn a_query_for_a_client_that_has_no_lease_is_answered_as_unknown() {
    let mut server = server();
    let address = server.bind(&discover(1).id(b"one"));
    let by_mac = |client: u8| Packet { mac: vec![2, 0, 0, 0, 0, client], ..query() };
    server.send(&by_mac(1)).heard(Kind::LeaseActive);
    server.send(&query().id(b"one")).heard(Kind::LeaseActive);
    server.send(&by_mac(2)).heard(Kind::LeaseUnknown);
    server.send(&query().id(b"two")).heard(Kind::LeaseUnknown);
    server.send(&release(1, address).id(b"one"));
    server.send(&by_mac(1)).heard(Kind::LeaseUnknown);
    server.send(&query().id(b"one")).heard(Kind::LeaseUnknown);
    server.send(&query().from(address)).heard(Kind::LeaseUnassigned);
}

#[test]
fn only_relay_agents_that_are_allowed_may_ask() {
    let mut server = server();
    let address = server.bind(&discover(1));
    for stranger in [[10, 9, 8, 255], [10, 9, 10, 0]] {
        assert_eq!(server.send(&query().relay(stranger.into()).from(address)).silent(), Silence::QueryRefused);
    }
    assert_eq!(server.send(&Packet { giaddr: NONE, ..query() }.from(address)).silent(), Silence::QueryRefused);
    assert_eq!(server.send(&query()).silent(), Silence::NoClient, "about nobody");
    let mut server = Server::lan();
    assert_eq!(server.send(&query().from(address)).silent(), Silence::QueryRefused);
}

#[test]
fn an_endless_lease_is_told_as_one() {
    let mut server = Server::new("leasequery = ['10.9.9.0/24']\nmax_lease_time = '4294967295s'", LAN);
    server.bind(&discover(1).time(INFINITE));
    server.pass(1000);
    assert_eq!(server.send(&query().from(ip(10)).list(&[51])).heard(Kind::LeaseActive).lease_time(), INFINITE);
}

fn lease(address: Ipv4Addr, state: State, expires: Seconds) -> Lease {
    let mut chaddr = [0; 16];
    chaddr[..6].copy_from_slice(&[2, 0, 0, 0, 0, 99]);
    Lease {
        address,
        subnet: 1,
        starts: START,
        expires,
        state,
        htype: 1,
        hlen: 6,
        due: 0,
        chaddr,
        details: crate::lease::Details::pack([(Detail::HostName, &b"by-hand"[..])]),
    }
}

#[test]
fn a_lease_put_in_by_hand_is_its_clients() {
    let mut server = Server::lan();
    server.engine.put_lease(lease(ip(15), State::Active, START + 1000));
    server.save();
    assert_eq!(server.bind(&discover(99)), ip(15));
    server.engine.put_lease(lease(ip(16), State::Released, START));
    audit(&server.engine);
    let all: Vec<_> = (0..9).map(|client| server.offer(&discover(client))).collect();
    assert!(all.contains(&ip(16)));
    server.restart();
    assert_eq!(server.state(ip(15)), Some(State::Active));
}

#[test]
fn the_operator_releases_what_is_held_whatever_its_state() {
    let mut server = Server::lan();
    let active = server.bind(&discover(1));
    let declined = server.bind(&discover(2));
    server.send(&decline(2, declined));
    let offered = server.offer(&discover(3));
    for (address, after) in [(active, Some(State::Released)), (declined, None), (offered, None)] {
        assert!(server.engine.release_address(address, server.now));
        assert!(!server.engine.release_address(address, server.now));
        assert_eq!(server.state(address), after);
        audit(&server.engine);
    }
    server.save();
    server.restart();
    assert_eq!((server.state(active), server.state(declined)), (Some(State::Released), None));
    let given: Vec<_> = (4..14).map(|client| server.bind(&discover(client))).collect();
    assert_eq!(given.len(), 10);
}

#[test]
fn a_wiped_subnet_forgets_its_leases_in_slices_and_gives_its_addresses_again() {
    let mut server = Server::lan();
    for client in 0..9 {
        server.bind(&discover(client));
    }
    server.offer(&discover(9));
    let (mut from, mut wiped, mut slices) = (NONE, 0, 0);
    loop {
        let (count, next) = server.engine.wipe(1, from, 4);
        (wiped, slices) = (wiped + count, slices + 1);
        audit(&server.engine);
        match next {
            Some(next) => from = next,
            None => break,
        }
    }
    assert_eq!((wiped, slices, server.engine.leases().len()), (10, 3, 0));
    server.save();
    server.restart();
    assert!(server.engine.leases().is_empty());
    let mut again: Vec<_> = (20..30).map(|client| server.bind(&discover(client))).collect();
    again.sort_unstable();
    assert_eq!(again, (10..20).map(ip).collect::<Vec<_>>());
    assert_eq!(server.engine.wipe(2, NONE, 4).0, 0);
}

#[test]
fn pools_say_how_full_they_are_and_warn_once_each_way() {
    let mut server = Server::new("warn_utilisation = 0.5", LAN);
    for client in 0..4 {
        server.bind(&discover(client));
    }
    assert!(server.engine.pool_warnings().is_empty());
    server.offer(&discover(4));
    let warnings = server.engine.pool_warnings();
    assert_eq!(warnings.iter().map(|w| (w.high, w.held)).collect::<Vec<_>>(), [(true, 5)]);
    assert!(server.engine.pool_warnings().is_empty());
    let used = &server.engine.pool_use(0)[0];
    assert_eq!((used.active, used.offered, used.total, used.utilisation()), (4, 1, 10, 0.5));
    server.pass(61);
    assert_eq!(server.engine.pool_warnings().iter().map(|w| w.high).collect::<Vec<_>>(), [false]);
}

#[test]
fn a_query_tells_how_long_it_is_until_renewal_and_rebinding_while_they_are_to_come() {
    let tables = format!("{LAN}renew_time = '1000s'\nrebind_time = '2000s'\n");
    let mut server = Server::new("leasequery = ['10.9.9.0/24']\nlease_time = '4000s'", &tables);
    let address = server.bind(&discover(1));
    let ask = query().from(address).list(&[51, 58, 59]);
    let mut told = |seconds| {
        server.pass(seconds);
        let active = server.send(&ask).heard(Kind::LeaseActive);
        [51, 58, 59].map(|option| active.options.contains_key(&option).then(|| active.number(option)))
    };
    assert_eq!(told(400), [Some(3600), Some(600), Some(1600)]);
    assert_eq!(told(1000), [Some(2600), None, Some(600)]);
    assert_eq!(told(1000), [Some(1600), None, None]);
}

#[test]
fn what_the_relay_agent_said_is_told_after_renewals_that_passed_it_by() {
    let mut server = server();
    let address = server.bind(&discover(1).relay(ip(2)).port(b"port 7"));
    server.pass(100);
    server.send(&renew(1, address)).heard(Kind::Ack);
    let active = server.send(&query().from(address).list(&[82])).heard(Kind::LeaseActive);
    assert_eq!(&active.options[&82][2..], b"port 7");
    // The asker's own comes back to it, unless it asks for the lease's.
    let own = query().from(address).port(b"asker");
    assert_eq!(&server.send(&own).heard(Kind::LeaseActive).options[&82][2..], b"asker");
    assert_eq!(&server.send(&own.list(&[82])).heard(Kind::LeaseActive).options[&82][2..], b"port 7");
    // A client that came to our own link has left its relay agent behind.
    server.send(&rebind(1, address)).heard(Kind::Ack);
    let active = server.send(&query().from(address).list(&[82])).heard(Kind::LeaseActive);
    assert!(!active.options.contains_key(&82));
}

#[test]
fn a_client_known_by_its_port_keeps_its_reserved_address_when_it_renews_by_unicast() {
    let tables = format!("{LAN}reservation = [{{ circuit_id = 'port 7', address = '192.0.2.77' }}]\n");
    let mut server = Server::new("", &tables);
    let address = server.bind(&discover(1).relay(ip(2)).port(b"port 7"));
    assert_eq!(address, ip(77));
    server.pass(100);
    assert_eq!(server.send(&renew(1, address)).heard(Kind::Ack).address, address);
}

#[test]
fn a_query_by_identifier_is_answered_where_hardware_addresses_identify() {
    let mut server = Server::new("leasequery = ['10.9.9.0/24']\nmatch_client_id = false", LAN);
    let address = server.bind(&discover(1).id(b"me"));
    server.bind(&discover(2));
    let active = server.send(&query().id(b"me")).heard(Kind::LeaseActive);
    assert_eq!((&active.bytes[12..16], &active.options[&61][..]), (&address.octets()[..], &b"me"[..]));
    server.send(&renew(1, address).id(b"you")).heard(Kind::Ack);
    server.send(&query().id(b"me")).heard(Kind::LeaseUnknown);
    assert_eq!(server.send(&query().id(b"you")).heard(Kind::LeaseActive).bytes[12..16], address.octets());
}

#[test]
fn a_pools_size_is_what_it_can_hand_out() {
    let reserved = "reservation = [{ mac = '02:00:00:00:00:63', address = '192.0.2.18' }, { mac = '02:00:00:00:00:64', address = '192.0.2.11' }]\n";
    let tables = format!("{LAN}exclude = ['192.0.2.10-192.0.2.14']\n{reserved}");
    let mut server = Server::new("warn_utilisation = 1.0", &tables);
    let figures = |server: &Server| {
        let used = &server.engine.pool_use(0)[0];
        (used.total, used.active + used.offered + used.declined)
    };
    assert_eq!(figures(&server), (4, 0));
    assert_eq!(server.bind(&discover(0x63)), ip(18));
    assert_eq!(figures(&server), (4, 0), "what is reserved is no part of it");
    for client in 0..4 {
        assert_eq!(server.engine.pool_warnings(), []);
        server.bind(&discover(client));
    }
    let warnings = server.engine.pool_warnings();
    assert_eq!(warnings.iter().map(|w| (w.high, w.held, w.total)).collect::<Vec<_>>(), [(true, 4, 4)]);
    // Reservations that come and go live, and with the file.
    server.engine.reserve(places::by_mac(1, 0, ip(15)), b"{}").unwrap();
    assert_eq!(figures(&server), (3, 3));
    audit(&server.engine);
    server.engine.reserve(places::by_mac(1, 0, ip(16)), b"{}").unwrap();
    assert_eq!(figures(&server), (3, 3));
    audit(&server.engine);
    server.engine.unreserve(1).unwrap();
    assert_eq!(figures(&server), (4, 4));
    server.adopt("", &format!("{LAN}exclude = ['192.0.2.10-192.0.2.14']\n"));
    assert_eq!(figures(&server), (5, 5));
    server.adopt("", LAN);
    assert_eq!(figures(&server), (10, 5));
    server.adopt("", &tables);
    assert_eq!(figures(&server), (4, 4));
}
