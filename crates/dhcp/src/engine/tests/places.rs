use super::*;
use crate::policy::{Clash, Identifier, IdentifierKind, Reservation};

fn reservation(id: u64, kind: IdentifierKind, bytes: &[u8], address: Option<Ipv4Addr>) -> Reservation {
    Reservation {
        id,
        subnet: Some(1),
        identifier: Identifier { kind, bytes: bytes.to_vec() },
        address,
        hostname: None,
        classes: ClassSet::default(),
        scope: Default::default(),
    }
}

pub(super) fn by_mac(id: u64, client: u8, address: Ipv4Addr) -> Reservation {
    reservation(id, IdentifierKind::Mac, &[2, 0, 0, 0, 0, client], Some(address))
}

#[test]
fn fresh_addresses_are_given_in_order_then_those_unused_longest() {
    let mut server = Server::lan();
    for client in 0..10 {
        assert_eq!(server.bind(&discover(client)), ip(10 + client));
    }
    for client in [4, 2, 7] {
        server.pass(1);
        server.send(&release(client, ip(10 + client)));
    }
    let next: Vec<_> = (20..23).map(|client| server.bind(&discover(client))).collect();
    assert_eq!(next, [ip(14), ip(12), ip(17)]);
    assert_eq!(server.send(&discover(23)).silent(), Silence::NoAddress);
}

#[test]
fn a_returning_client_gets_its_address_back() {
    let mut server = Server::lan();
    let address = server.bind(&discover(1));
    server.send(&release(1, address));
    server.bind(&discover(2));
    assert_eq!(server.bind(&discover(1)), address, "after a release");
    server.pass(50_000);
    assert_eq!(server.state(address), Some(State::Expired));
    server.bind(&discover(3));
    assert_eq!(server.bind(&discover(1)), address, "after it ran out");
    server.pass(50_000);
    server.restart();
    assert_eq!(server.bind(&discover(1)), address, "after a restart");
}

#[test]
fn an_expired_client_may_extend_what_nobody_took() {
    let mut server = Server::lan();
    let address = server.bind(&discover(1));
    server.pass(50_000);
    assert_eq!(server.send(&rebind(1, address)).heard(Kind::Ack).address, address);
    assert_eq!(server.state(address), Some(State::Active));
}

#[test]
fn a_client_holds_one_address_a_link() {
    let tables = format!("{LAN}[[dhcp.subnet.reservation]]\nmac = '02:00:00:00:00:01'\naddress = '192.0.2.50'\n");
    let mut server = Server::lan();
    let old = server.bind(&discover(1));
    server.adopt("", &tables);
    assert_eq!(server.bind(&discover(1)), ip(50));
    assert_eq!((server.state(old), server.engine.totals().active), (Some(State::Released), 1));
}

#[test]
fn a_client_is_offered_one_address_at_a_time() {
    let classes = "[[dhcp.class]]\nname = 'a'\ntest = \"option[60].text == 'a'\"\n\
                   [[dhcp.class]]\nname = 'b'\ntest = \"option[60].text == 'b'\"\n";
    let lan = LAN.replace(
        "pools = [",
        "pools = [{ range = '192.0.2.100-192.0.2.199', allow_classes = ['a'] }, \
         { range = '192.0.2.200-192.0.2.250', allow_classes = ['b'] },",
    );
    let mut server = Server::new("", &format!("{classes}{lan}"));
    for round in 0..20 {
        for class in [&b"a"[..], b"b"] {
            server.offer(&discover(1).option(60, class).ask(ip(100 + round)));
            assert_eq!(server.engine.offers, 1);
        }
    }
}

#[test]
fn the_names_of_the_network_and_its_broadcast_address_are_never_given() {
    let tables =
        "[[dhcp.subnet]]\nid = 1\nprefix = '192.0.2.4/30'\ninterface = 'lan0'\npools = [{ range = '192.0.2.4/30' }]\n";
    let mut server = Server::new("", tables);
    assert_eq!(server.offer(&discover(1).ask(ip(4))), ip(5));
    assert_eq!(server.offer(&discover(2).ask(ip(7))), ip(6));
    assert_eq!(server.send(&request(3, ip(7))).nak(), "address may not be given to this client");
    assert_eq!(server.engine.pool_use(0)[0].total, 2);
    let tables = tables.replace("/30", "/31");
    let mut server = Server::new("", &tables);
    assert_eq!((server.offer(&discover(1)), server.offer(&discover(2))), (ip(4), ip(5)), "RFC 3021");
}

#[test]
fn excluded_addresses_are_never_given() {
    let tables = format!("{LAN}exclude = ['192.0.2.10-192.0.2.12', '192.0.2.12-192.0.2.13', '192.0.2.15']\n");
    let mut server = Server::new("", &tables);
    assert_eq!(server.engine.pool_use(0)[0].total, 5);
    assert_eq!(server.offer(&discover(9).ask(ip(12))), ip(14));
    let rest: Vec<_> = (0..4).map(|client| server.offer(&discover(client))).collect();
    assert_eq!(rest, [16, 17, 18, 19].map(ip));
    assert_eq!(server.send(&request(20, ip(11))).nak(), "address may not be given to this client");
}

#[test]
fn an_exclusion_made_live_ends_leases_at_their_next_renewal_and_one_lifted_gives_its_addresses_back() {
    let mut server = Server::lan();
    let address = server.bind(&discover(1));
    let excluding = format!("{LAN}exclude = ['192.0.2.10-192.0.2.18']\n");
    server.adopt("", &excluding);
    assert_eq!(server.send(&renew(1, address)).nak(), "address may not be given to this client");
    assert_eq!(server.bind(&discover(1)), ip(19));
    assert_eq!(server.send(&discover(2)).silent(), Silence::NoAddress);
    server.adopt("", LAN);
    let rest: Vec<_> = (2..11).map(|client| server.offer(&discover(client))).collect();
    assert!(rest.iter().all(|address| *address < ip(19)), "{rest:?}");
}

#[test]
fn subnets_of_a_shared_network_serve_one_link() {
    let tables = "[[dhcp.network]]\nname = 'office'\ninterface = 'lan0'\n\
         [[dhcp.subnet]]\nid = 1\nnetwork = 'office'\nprefix = '192.0.2.0/24'\npools = [{ range = '192.0.2.10-192.0.2.11' }]\n\
         [[dhcp.subnet]]\nid = 2\nnetwork = 'office'\nprefix = '198.51.100.0/24'\npools = [{ range = '198.51.100.10' }]\n\
         [[dhcp.subnet]]\nid = 3\nprefix = '203.0.113.0/24'\npools = [{ range = '203.0.113.10-203.0.113.20' }]\n";
    let mut server = Server::new("", tables);
    let given: Vec<_> = (0..3).map(|client| server.bind(&discover(client))).collect();
    assert_eq!(given, [ip(10), ip(11), [198, 51, 100, 10].into()]);
    assert_eq!(server.send(&discover(3)).silent(), Silence::NoAddress, "the other network is not on this link");
    let ack = server.send(&renew(2, given[2])).heard(Kind::Ack);
    assert_eq!(ack.options[&code::SUBNET_MASK], [255, 255, 255, 0]);
    assert_eq!(server.engine.leases().at(given[2]).unwrap().subnet, 2);
    server.send(&reboot(4, [203, 0, 113, 10].into())).nak();
    server.send(&rebind(2, given[2])).heard(Kind::Ack);
}

#[test]
fn pools_networks_and_subnets_serve_the_classes_they_admit() {
    let classes = "[[dhcp.class]]\nname = 'phone'\ntest = \"option[60].text == 'phone'\"\n";
    let lan = LAN.replace(
        "pools = [{ range = '192.0.2.10-192.0.2.19' }]",
        "pools = [{ range = '192.0.2.10-192.0.2.12', allow_classes = ['phone'] }, { range = '192.0.2.20-192.0.2.21' }]",
    );
    let mut server = Server::new("", &format!("{classes}{lan}"));
    let phone = |client| discover(client).option(60, b"phone");
    assert_eq!(server.bind(&phone(1)), ip(10));
    assert_eq!(server.bind(&discover(2)), ip(20));
    assert_eq!(server.offer(&discover(3).ask(ip(11))), ip(21), "the pool is not for it");
    assert_eq!(server.send(&renew(1, ip(10))).nak(), "address may not be given to this client");
    let closed = format!("{classes}{}allow_classes = ['phone']\n", LAN);
    let mut server = Server::new("", &closed);
    assert_eq!(server.send(&discover(1)).silent(), Silence::NoAddress);
    server.bind(&phone(1));
    let network = "[[dhcp.network]]\nname = 'n'\ninterface = 'lan0'\nallow_classes = ['phone']\n";
    let mut server = Server::new("", &format!("{classes}{network}{LAN}network = 'n'\n"));
    assert_eq!(server.send(&discover(1)).silent(), Silence::NotAdmitted);
    server.bind(&phone(1));
}

#[test]
fn clients_with_a_reservation_are_known_and_may_have_pools_of_their_own() {
    let lan = LAN.replace(
        "pools = [{ range = '192.0.2.10-192.0.2.19' }]",
        "pools = [{ range = '192.0.2.10-192.0.2.19', allow_classes = ['KNOWN'] }, \
         { range = '192.0.2.20-192.0.2.29', allow_classes = ['guest'] }]\nreservation = [{ mac = '02:00:00:00:00:01' }]",
    );
    let class = "[[dhcp.class]]\nname = 'guest'\ntest = \"member('UNKNOWN') and option[60].text == 'g'\"\n";
    let mut server = Server::new("", &format!("{class}{lan}"));
    assert_eq!(server.bind(&discover(1)), ip(10));
    assert_eq!(server.bind(&discover(2).option(60, b"g")), ip(20));
    assert_eq!(server.send(&discover(3)).silent(), Silence::NoAddress);
    // Unknown once its reservation goes.
    server.adopt("", &format!("{class}{}", lan.replace("reservation = [{ mac = '02:00:00:00:00:01' }]", "")));
    assert_eq!(server.send(&renew(1, ip(10))).nak(), "address may not be given to this client");
}

#[test]
fn required_classes_are_evaluated_where_they_are_required_and_decide_the_lease_time() {
    let tables = "[[dhcp.class]]\nname = 'short'\nonly_if_required = true\nlease_time = '5m'\noptions = { domain-name = 'short' }\n\
         [[dhcp.class]]\nname = 'never'\nonly_if_required = true\nlease_time = '1m'\n";
    let lan = LAN
        .replace("'192.0.2.10-192.0.2.19' }", "'192.0.2.10', require_classes = ['short'] }, { range = '192.0.2.20' }");
    let mut server = Server::new("", &format!("{tables}{lan}"));
    let offer = server.send(&discover(1).list(&[15])).heard(Kind::Offer);
    assert_eq!((offer.lease_time(), offer.text(15)), (300, "short"));
    let ack = server.send(&request(1, ip(10)).list(&[15])).heard(Kind::Ack);
    assert_eq!((ack.lease_time(), ack.text(15)), (300, "short"));
    assert_eq!(server.engine.leases().at(ip(10)).unwrap().expires, START + 300);
    assert_eq!(server.send(&discover(2)).heard(Kind::Offer).lease_time(), 43_200);
}

#[test]
fn lease_times_stay_within_their_range() {
    let mut server = Server::new("lease_time = '1h'\nmin_lease_time = '10m'\nmax_lease_time = '2h'", LAN);
    for (asked, given) in [(1, 600), (600, 600), (5000, 5000), (7200, 7200), (9000, 7200), (u32::MAX, 7200), (0, 600)] {
        assert_eq!(server.send(&discover(1).time(asked)).heard(Kind::Offer).lease_time(), given);
    }
    assert_eq!(server.send(&discover(1)).heard(Kind::Offer).lease_time(), 3600);
    let ack = server.send(&request(1, ip(10)).time(4000)).heard(Kind::Ack);
    assert_eq!(
        (ack.lease_time(), ack.number(code::RENEWAL_TIME), ack.number(code::REBINDING_TIME)),
        (4000, 2000, 3500)
    );
    let mut server = Server::lan();
    assert_eq!(server.send(&discover(1).time(60)).heard(Kind::Offer).lease_time(), 43_200, "no range: one time");
}

#[test]
fn a_reservation_finds_its_client_by_each_kind_of_identifier() {
    let port = |packet: Packet, sub: u8, value: &[u8]| {
        packet.relay(ip(2)).option(82, &[&[sub, value.len() as u8][..], value].concat())
    };
    let kinds = [
        ("mac = '02:00:00:00:00:01'", discover(1)),
        ("client_id = 'hex:0102'", discover(9).id(&[1, 2])),
        ("circuit_id = 'port 7'", port(discover(9), 1, b"port 7")),
        ("remote_id = 'switch 3'", port(discover(9), 2, b"switch 3")),
        ("flex = 'door'", discover(9).option(60, b"door")),
    ];
    for (said, packet) in kinds {
        let tables = format!("{LAN}reservation = [{{ {said}, address = '192.0.2.77', hostname = 'own' }}]\n");
        let mut server = Server::new("flex_identifier = 'option[60].text'", &tables);
        assert_ne!(server.bind(&discover(200)), ip(77));
        let offer = server.send(&packet.clone().list(&[12])).heard(Kind::Offer);
        assert_eq!((offer.address, offer.text(12)), (ip(77), "own"), "{said}");
        assert_eq!(server.bind(&packet), ip(77));
        assert_eq!(server.engine.leases().at(ip(77)).unwrap().host_name().as_deref(), Some("own"));
        assert_eq!(server.send(&request(201, ip(77))).nak(), "address is in use");
    }
}

/// Two networks, and a reservation outside of both with an address of the first.
fn two_lans(reserved: &str) -> Server {
    let other = "[[dhcp.subnet]]\nid = 2\nprefix = '198.51.100.0/24'\nrelay = ['198.51.100.1']\n\
                 pools = [{ range = '198.51.100.10-198.51.100.19' }]\n";
    let class = "[[dhcp.class]]\nname = 'vip'\nlease_time = '5m'\n";
    let anywhere = "[[dhcp.reservation]]\nmac = '02:00:00:00:00:01'\naddress = '192.0.2.77'\nhostname = 'roamer'\n\
                    classes = ['vip']\noptions = { domain-name = 'vip.example' }\n";
    Server::new("", &format!("{class}{LAN}{reserved}{other}{anywhere}"))
}

#[test]
fn a_reservation_outside_of_subnets_holds_wherever_its_client_is() {
    let mut server = two_lans("");
    let own = |heard: &Heard| (heard.text(12).to_owned(), heard.text(15).to_owned(), heard.lease_time());
    let roamer = ("roamer".to_owned(), "vip.example".to_owned(), 300);
    let home = server.send(&discover(1).list(&[12, 15])).heard(Kind::Offer);
    assert_eq!((home.address, own(&home)), (ip(77), roamer.clone()));
    let relay = Ipv4Addr::new(198, 51, 100, 1);
    let away = server.send(&discover(1).relay(relay).list(&[12, 15])).heard(Kind::Offer);
    assert_eq!((away.address, own(&away)), (Ipv4Addr::new(198, 51, 100, 10), roamer), "its address fits only at home");
    assert_eq!(server.bind(&discover(1).relay(relay)), away.address);
    let renewal = Packet { link: false, ..renew(1, away.address) };
    assert_eq!(server.send(&renewal).heard(Kind::Ack).address, away.address);
    server.pass(61);
    assert_eq!(server.send(&request(2, ip(77))).nak(), "address may not be given to this client");
    assert!(!server.send(&discover(2).list(&[12])).heard(Kind::Offer).options.contains_key(&12));
}

#[test]
fn a_subnets_own_reservation_comes_before_one_outside() {
    let mut server = two_lans("reservation = [{ client_id = 'me', address = '192.0.2.50' }]\n");
    assert_eq!(server.offer(&discover(1).id(b"me")), ip(50), "whatever the order of identifiers");
    assert_eq!(server.offer(&discover(1)), ip(77));
}

#[test]
fn reservations_outside_of_subnets_clash_with_their_like_alone() {
    let mut server = two_lans("");
    let anywhere = |id, client, address| Reservation { subnet: None, ..by_mac(id, client, address) };
    assert_eq!(server.engine.reserve(anywhere(1, 1, ip(60)), b"{}"), Err(Clash::Anywhere));
    assert_eq!(server.engine.reserve(anywhere(1, 2, ip(77)), b"{}"), Err(Clash::Address(ip(77))));
    server.engine.reserve(anywhere(1, 2, ip(60)), b"{}").unwrap();
    server.engine.reserve(by_mac(2, 2, ip(61)), b"{}").unwrap();
    assert_eq!(server.offer(&discover(2)), ip(61));
    server.engine.unreserve(2).unwrap();
    assert_eq!(server.offer(&discover(2)), ip(60));
    assert_eq!(server.engine.reservations().in_subnet(1), 0);
}

#[test]
fn identifiers_are_tried_in_the_order_the_file_gives() {
    let tables = format!(
        "{LAN}reservation = [{{ mac = '02:00:00:00:00:01', address = '192.0.2.71' }}, {{ client_id = 'me', address = '192.0.2.72' }}]\n"
    );
    let mut server = Server::new("", &tables);
    assert_eq!(server.offer(&discover(1).id(b"me")), ip(71));
    let mut server = Server::new("identifiers = ['client_id', 'mac']", &tables);
    assert_eq!(server.offer(&discover(1).id(b"me")), ip(72));
    let mut server = Server::new("identifiers = ['circuit_id']", &tables);
    assert_eq!(server.offer(&discover(1).id(b"me")), ip(10));
}

#[test]
fn a_reserved_address_of_a_pool_is_for_nobody_else() {
    let mut server =
        Server::new("", &format!("{LAN}reservation = [{{ mac = '02:00:00:00:00:01', address = '192.0.2.11' }}]\n"));
    assert_eq!(server.offer(&discover(2).ask(ip(11))), ip(10));
    assert_eq!(server.offer(&discover(3)), ip(12));
    assert_eq!(server.send(&request(4, ip(11))).nak(), "address may not be given to this client");
    assert_eq!(server.bind(&discover(1)), ip(11));
}

#[test]
fn a_reservation_made_live_moves_its_client_at_its_next_word() {
    let mut server = Server::lan();
    let old = server.bind(&discover(1));
    server.engine.reserve(by_mac(1, 1, ip(60)), b"{}").unwrap();
    assert_eq!(server.send(&renew(1, old)).nak(), "another address is reserved for this client");
    assert_eq!(server.offer(&discover(1).ask(old)), ip(60));
    assert_eq!(server.state(old), Some(State::Active), "until it takes the other");
    assert_eq!(server.send(&request(1, ip(60))).heard(Kind::Ack).address, ip(60));
    assert_eq!(server.state(old), Some(State::Released));
}

#[test]
fn a_reservation_made_live_takes_an_address_from_who_has_it() {
    let mut server = Server::lan();
    let address = server.bind(&discover(1));
    server.engine.reserve(by_mac(1, 2, address), b"{}").unwrap();
    let meanwhile = server.bind(&discover(2));
    assert_ne!(meanwhile, address, "its holder still uses it");
    assert_eq!(server.send(&renew(1, address)).nak(), "address may not be given to this client");
    assert_ne!(server.bind(&discover(1)), address);
    assert_eq!(server.send(&renew(2, meanwhile)).nak(), "another address is reserved for this client");
    assert_eq!(server.bind(&discover(2)), address);
}

#[test]
fn an_unreserved_address_goes_back_to_its_pool() {
    let mut server = Server::lan();
    for address in 10..19 {
        server.engine.reserve(by_mac(address.into(), 100 + address, ip(address)), b"{}").unwrap();
    }
    assert_eq!(server.offer(&discover(1)), ip(19));
    assert_eq!(server.send(&discover(2)).silent(), Silence::NoAddress);
    server.engine.unreserve(12).unwrap();
    assert_eq!(server.offer(&discover(2)), ip(12));
    server.engine.reserve(by_mac(13, 113, ip(99)), b"{}").unwrap();
    assert_eq!(server.offer(&discover(3)), ip(13), "a changed reservation lets go of what it had");
    assert!(server.engine.unreserve(12).is_none());
    server.save();
    assert!(server.disk.iter().all(|record| Change::is_reservation(record)));
}

#[test]
fn reservations_that_clash_are_refused() {
    let mut server = Server::lan();
    server.engine.reserve(by_mac(1, 1, ip(60)), b"{}").unwrap();
    assert!(server.engine.reserve(by_mac(2, 1, ip(61)), b"{}").is_err(), "one client");
    assert!(server.engine.reserve(by_mac(2, 2, ip(60)), b"{}").is_err(), "one address");
    server.engine.reserve(by_mac(1, 1, ip(62)), b"{}").unwrap();
    assert_eq!(server.engine.reservations().at(ip(60)).map(|r| r.id), None);
    assert_eq!(server.engine.reservations().at(ip(62)).map(|r| r.id), Some(1));
    assert_eq!(server.engine.journal.len(), 2, "what is refused is not recorded");
}

#[test]
fn the_files_reservations_win_and_the_apis_come_back_when_the_file_lets_go() {
    let mut server = Server::lan();
    server.engine.reserve(by_mac(1, 1, ip(60)), b"{}").unwrap();
    let file = format!("{LAN}reservation = [{{ mac = '02:00:00:00:00:01', address = '192.0.2.70' }}]\n");
    server.adopt("", &file);
    assert_eq!(server.offer(&discover(1)), ip(70));
    server.engine.reserve(by_mac(2, 2, ip(61)), b"{}").unwrap();
    server.adopt("", &file.replace(".70' }", ".70' }, { mac = '02:00:00:00:00:02' }"));
    assert!(server.engine.unreserve(2).is_some(), "what is set aside can be taken back");
    server.adopt("", LAN);
    assert_eq!(server.offer(&discover(1)), ip(60));
    assert_eq!(server.engine.reservations().len(), 1);
}

#[test]
fn a_reserved_client_whose_address_a_stranger_uses_is_served_from_the_pool() {
    let mut server =
        Server::new("", &format!("{LAN}reservation = [{{ mac = '02:00:00:00:00:01', address = '192.0.2.60' }}]\n"));
    assert_eq!(server.bind(&discover(1)), ip(60));
    server.send(&decline(1, ip(60)));
    let other = server.bind(&discover(1));
    assert_eq!(other, ip(10));
    server.send(&renew(1, other)).heard(Kind::Ack);
    server.pass(86_401);
    assert_eq!(server.offer(&discover(1)), ip(60), "until the quarantine ends");
}

#[test]
fn a_returning_client_gets_its_address_back_though_an_offer_of_it_lapsed() {
    let mut server = Server::lan();
    let address = server.bind(&discover(1).id(b"me"));
    server.send(&release(1, address).id(b"me"));
    server.bind(&discover(2));
    let ended = server.engine.leases().at(address).cloned();
    // Offered to itself, and not asked for.
    assert_eq!(server.offer(&discover(1).id(b"me")), address);
    assert_eq!(server.offer(&discover(1).id(b"me")), address, "offered again");
    server.pass(61);
    assert_eq!(server.engine.leases().at(address).map(|lease| lease.state), Some(State::Released));
    // Offered to another, who chose another server.
    assert_eq!(server.offer(&discover(3).ask(address)), address);
    server.send(&packet(Kind::Request, 3).ask(address).server(ip(2)));
    let due = server.engine.leases().at(address).map(|lease| lease.due).unwrap();
    assert_eq!(server.engine.leases().at(address).cloned(), ended.map(|lease| Lease { due, ..lease }));
    // Offered, and taken back by the operator.
    assert_eq!(server.offer(&discover(3).ask(address)), address);
    assert!(server.engine.release_address(address, server.now));
    for client in 4..11 {
        assert_ne!(server.bind(&discover(client)), address);
    }
    assert_eq!(server.bind(&discover(1).id(b"me")), address);
    server.send(&release(1, address).id(b"me"));
    assert_eq!(server.bind(&discover(3).ask(address)), address);
    assert!(server.engine.displaced.is_empty(), "a lease in its place replaces it for good");
}

#[test]
fn an_ended_lease_behind_an_offer_stays_on_disk() {
    let mut server = Server::lan();
    let address = server.bind(&discover(1));
    server.send(&release(1, address));
    server.offer(&discover(2).ask(address));
    let kept: Vec<_> = server.engine.kept(NONE).map(|(at, lease)| (at, lease.map(|lease| lease.state))).collect();
    assert_eq!(kept, [(address, Some(State::Released))]);
    server.engine.wipe(1, NONE, 10);
    server.save();
    server.restart();
    assert!(server.engine.leases().is_empty());
}

#[test]
fn a_machine_has_the_address_of_its_hardware_address_in_every_system_it_boots() {
    let tables = "[[dhcp.subnet]]\nid = 1\nprefix = '192.0.2.0/24'\ninterface = 'lan0'\n\
                  reservation = [{ mac = '02:00:00:00:00:01', address = '192.0.2.60' }]\n";
    let mut server = Server::new("", tables);
    let systems =
        [discover(1), discover(1).id(b"first"), discover(1), discover(1).id(b"anew"), discover(1).id(b"first")];
    for system in &systems {
        assert_eq!(server.bind(system), ip(60));
        assert_eq!(server.engine.totals().active, 1);
    }
    assert_eq!(server.send(&request(2, ip(60)).id(b"first")).nak(), "address may not be given to this client");
    server.send(&decline(1, ip(60)).id(b"first"));
    assert_eq!(server.send(&discover(1)).silent(), Silence::NoAddress, "a stranger has it");
}

#[test]
fn an_identifier_that_is_not_the_reservations_keeps_another_from_the_address() {
    let mut server =
        Server::new("", &format!("{LAN}reservation = [{{ circuit_id = 'port 7', address = '192.0.2.60' }}]\n"));
    let port = |client| discover(client).relay(ip(2)).option(82, b"\x01\x06port 7");
    assert_eq!(server.bind(&port(1)), ip(60));
    assert_eq!(server.offer(&port(2)), ip(10), "two hosts behind one port never have one address");
    server.send(&Packet { giaddr: ip(2), ..release(1, ip(60)) });
    assert_eq!(server.offer(&port(2)), ip(60));
}

#[test]
fn our_own_address_and_the_relay_agents_are_given_to_nobody() {
    let whole = LAN.replace("192.0.2.10-192.0.2.19", "192.0.2.1-192.0.2.4");
    let mut server = Server::new("", &whole);
    let agent = ip(2);
    assert_eq!(server.send(&request(9, US)).nak(), "address is in use");
    assert_eq!(server.bind(&discover(1).ask(US)), ip(2), "ours is the first of the pool");
    assert_eq!(server.state(US), Some(State::Declined));
    server.send(&release(1, ip(2)));
    assert_eq!(server.send(&request(2, agent).relay(agent)).nak(), "address is in use");
    assert_eq!(server.bind(&discover(2).ask(agent).relay(agent)), ip(3));
    assert_eq!(server.bind(&discover(3).relay(agent)), ip(4));
    assert_eq!(server.send(&discover(4).relay(agent)).silent(), Silence::NoAddress);
    server.restart();
    assert_eq!(server.send(&discover(4).relay(agent)).silent(), Silence::NoAddress);
}

#[test]
fn a_client_gives_back_what_it_has_whatever_its_network_admits_by_now() {
    let network = "[[dhcp.class]]\nname = 'phone'\ntest = \"option[60].text == 'phone'\"\n\
                   [[dhcp.network]]\nname = 'n'\ninterface = 'lan0'\n";
    let lan = format!("{LAN}network = 'n'\n");
    let mut server = Server::new("", &format!("{network}{lan}"));
    let (one, two) = (server.bind(&discover(1)), server.bind(&discover(2)));
    server.adopt("", &format!("{network}allow_classes = ['phone']\n{lan}"));
    assert_eq!(server.send(&renew(1, one)).silent(), Silence::NotAdmitted);
    assert_eq!(server.send(&release(1, one)).silent(), Silence::Done);
    assert_eq!(server.send(&decline(2, two)).silent(), Silence::Done);
    assert_eq!([one, two].map(|address| server.state(address)), [Some(State::Released), Some(State::Declined)]);
}

#[test]
fn addresses_that_no_host_can_have_are_reserved_for_nobody() {
    for (reserved, wrong) in [("192.0.2.0", true), ("192.0.2.255", true), ("192.0.2.254", false), ("10.0.0.1", true)] {
        let tables = format!("{LAN}reservation = [{{ mac = '02:00:00:00:00:01', address = '{reserved}' }}]\n");
        let faults = faults("", &tables);
        assert_eq!(faults.contains("reservation[0].address"), wrong, "{reserved}: {faults}");
    }
}
