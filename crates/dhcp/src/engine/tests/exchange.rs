use super::*;

#[test]
fn a_discover_is_offered_an_address_and_a_request_for_it_is_acknowledged() {
    let mut server = Server::lan();
    let offer = server.send(&discover(1)).heard(Kind::Offer);
    assert_eq!((offer.address, offer.durable), (ip(10), false));
    assert_eq!(server.state(ip(10)), Some(State::Offered));
    assert!(server.disk.is_empty(), "an offer promises nothing");
    let ack = server.send(&request(1, ip(10))).heard(Kind::Ack);
    assert_eq!((ack.address, ack.lease_time(), ack.durable), (ip(10), 43_200, true));
    assert_eq!((server.state(ip(10)), server.disk.len()), (Some(State::Active), 1));
}

#[test]
fn a_client_that_discovers_again_is_offered_the_same_address() {
    let mut server = Server::lan();
    for _ in 0..5 {
        assert_eq!(server.offer(&discover(1)), ip(10));
    }
    assert_eq!(server.engine.offers, 1);
    server.bind(&discover(1));
    assert_eq!(server.offer(&discover(1)), ip(10));
    assert_eq!(server.state(ip(10)), Some(State::Active), "an offer takes no lease away");
}

#[test]
fn one_address_is_never_offered_to_two_clients_in_a_burst() {
    let mut server = Server::lan();
    let mut offered: Vec<_> = (0..10).map(|client| server.offer(&discover(client).ask(ip(10)))).collect();
    offered.sort_unstable();
    assert_eq!(offered, (10..20).map(ip).collect::<Vec<_>>());
    assert_eq!(server.send(&discover(10)).silent(), Silence::NoAddress);
}

#[test]
fn the_address_a_client_asks_for_is_offered_if_it_is_free_and_allowed() {
    let mut server = Server::lan();
    assert_eq!(server.offer(&discover(1).ask(ip(15))), ip(15));
    assert_eq!(server.offer(&discover(2).ask(ip(15))), ip(10), "taken");
    assert_eq!(server.offer(&discover(3).ask(ip(99))), ip(11), "in no pool");
    assert_eq!(server.offer(&discover(4).ask([10, 9, 9, 9].into())), ip(12), "not ours");
}

#[test]
fn a_request_to_another_server_frees_what_was_offered_and_gets_silence() {
    let mut server = Server::lan();
    server.offer(&discover(1));
    assert_eq!(server.send(&packet(Kind::Request, 1).ask(ip(10)).server(ip(2))).silent(), Silence::OtherServer);
    assert_eq!((server.state(ip(10)), server.engine.offers), (None, 0));
    let bound = server.bind(&discover(2));
    assert_eq!(server.send(&packet(Kind::Request, 2).ask(bound).server(ip(2))).silent(), Silence::OtherServer);
    assert_eq!(server.state(bound), Some(State::Active), "a lease is not given up that way");
}

#[test]
fn a_selecting_request_for_what_another_holds_is_refused() {
    let mut server = Server::lan();
    let theirs = server.bind(&discover(1));
    assert_eq!(server.send(&request(2, theirs)).nak(), "address is in use");
    server.offer(&discover(2));
    assert_eq!(server.send(&request(3, ip(11))).nak(), "address is in use");
}

#[test]
fn a_selecting_request_is_honoured_after_a_restart_forgot_the_offer() {
    let mut server = Server::lan();
    let address = server.offer(&discover(1));
    server.restart();
    assert_eq!(server.send(&request(1, address)).heard(Kind::Ack).address, address);
}

#[test]
fn a_request_that_names_no_address_gets_silence() {
    let mut server = Server::lan();
    assert_eq!(server.send(&packet(Kind::Request, 1)).silent(), Silence::BadAddress);
    assert_eq!(server.send(&packet(Kind::Request, 1).server(US)).silent(), Silence::BadAddress);
}

#[test]
fn a_rebooting_client_gets_its_lease_confirmed() {
    let mut server = Server::lan();
    let address = server.bind(&discover(1));
    assert_eq!(server.send(&reboot(1, address)).heard(Kind::Ack).address, address);
}

#[test]
fn a_rebooting_client_that_moved_is_told_so() {
    let mut server = Server::lan();
    let reason = server.send(&reboot(1, [10, 0, 0, 5].into())).nak();
    assert_eq!(reason, "requested address is not of this network");
}

#[test]
fn a_rebooting_client_we_know_nothing_of_gets_silence() {
    let mut server = Server::lan();
    assert_eq!(server.send(&reboot(1, ip(12))).silent(), Silence::UnknownClient);
    assert!(server.engine.leases().is_empty());
}

#[test]
fn a_rebooting_client_with_the_wrong_address_is_refused() {
    let mut server = Server::lan();
    server.bind(&discover(1));
    assert_eq!(server.send(&reboot(1, ip(15))).nak(), "the lease is for another address");
    server.bind(&discover(2));
    assert_eq!(server.send(&reboot(3, ip(11))).nak(), "address is in use");
}

#[test]
fn renewing_and_rebinding_start_the_lease_anew() {
    let mut server = Server::lan();
    let address = server.bind(&discover(1));
    for make in [renew, rebind] {
        server.pass(20_000);
        let ack = server.send(&make(1, address)).heard(Kind::Ack);
        assert_eq!((ack.address, ack.lease_time()), (address, 43_200));
        assert_eq!(server.engine.leases().at(address).unwrap().expires, server.now + 43_200);
    }
    assert_eq!(server.disk.len(), 3);
}

#[test]
fn extending_a_lease_that_does_not_exist_is_refused() {
    let mut server = Server::lan();
    assert_eq!(server.send(&renew(1, ip(12))).nak(), "no such lease");
    assert_eq!(server.send(&renew(1, ip(99))).nak(), "address may not be given to this client");
    server.bind(&discover(1));
    assert_eq!(server.send(&rebind(1, ip(12))).nak(), "the lease is for another address");
}

#[test]
fn renewing_an_address_of_no_network_of_ours_gets_silence() {
    let mut server = Server::lan();
    assert_eq!(server.send(&renew(1, [10, 0, 0, 5].into())).silent(), Silence::NoSubnet);
}

#[test]
fn where_we_are_not_authoritative_no_client_of_another_server_is_refused() {
    let mut server = Server::new("authoritative = false", LAN);
    server.bind(&discover(1));
    let wrong = [reboot(2, [10, 0, 0, 5].into()), reboot(2, ip(10)), rebind(2, ip(15)), rebind(2, ip(99))];
    for packet in wrong {
        assert_eq!(server.send(&packet).silent(), Silence::UnknownClient);
    }
}

#[test]
fn a_client_of_ours_is_refused_whether_we_are_authoritative_or_not() {
    let mut server = Server::new("authoritative = false", LAN);
    let address = server.bind(&discover(1));
    assert_eq!(server.send(&request(2, address)).nak(), "address is in use", "it chose us");
    assert_eq!(server.send(&reboot(1, ip(15))).nak(), "the lease is for another address");
    server.adopt("authoritative = false", &format!("{LAN}exclude = ['192.0.2.10']\n"));
    assert_eq!(server.send(&renew(1, address)).nak(), "address may not be given to this client");
}

#[test]
fn clients_that_have_just_begun_are_left_to_another_server() {
    let mut server = Server::new("", &format!("{LAN}min_secs = 4\n"));
    let secs = |packet: &Packet, secs: u8| {
        let mut bytes = packet.bytes();
        bytes[9] = secs;
        (bytes, packet.via())
    };
    let mut send = |packet: &Packet, tried: u8| {
        let (bytes, via) = secs(packet, tried);
        server.send_bytes(&bytes, via)
    };
    assert_eq!(send(&discover(1), 3).silent(), Silence::MinSecs);
    assert_eq!(send(&discover(1), 4).heard(Kind::Offer).address, ip(10));
    assert_eq!(send(&request(1, ip(10)), 0).heard(Kind::Ack).bytes[8..10], [0, 0], "RFC 2131 table 3");
    assert_eq!(send(&discover(1), 0).heard(Kind::Offer).address, ip(10), "it is a client of ours by now");
    assert_eq!(send(&reboot(1, ip(10)), 0).heard(Kind::Ack).address, ip(10));
}

#[test]
fn a_boot_rom_without_a_lease_of_ours_is_not_refused() {
    let mut server = Server::lan();
    let rom = |packet: Packet| packet.option(code::VENDOR_CLASS, b"PXEClient:Arch:00007");
    assert_eq!(server.send(&rom(rebind(1, ip(12)))).silent(), Silence::UnknownClient);
    assert_eq!(server.send(&rom(reboot(1, ip(12)))).silent(), Silence::UnknownClient);
    assert_eq!(server.send(&rom(renew(1, ip(99)))).silent(), Silence::UnknownClient, "in no pool of ours");
    server.bind(&discover(2));
    assert_eq!(server.send(&rom(rebind(1, ip(10)))).silent(), Silence::UnknownClient, "another's with us");
    assert_eq!(server.send(&renew(1, ip(12))).nak(), "no such lease");
    server.bind(&discover(1));
    assert_eq!(server.send(&rom(rebind(1, ip(10)))).nak(), "address is in use", "a client of ours");
}

#[test]
fn only_the_owner_releases_a_lease() {
    let mut server = Server::lan();
    let address = server.bind(&discover(1));
    assert_eq!(server.send(&release(2, address)).silent(), Silence::NotOwner);
    assert_eq!(server.send(&release(1, ip(15))).silent(), Silence::NotOwner);
    let elsewhere = Packet { options: vec![(code::SERVER_ID, ip(2).octets().to_vec())], ..release(1, address) };
    assert_eq!(server.send(&elsewhere).silent(), Silence::OtherServer);
    assert_eq!(server.state(address), Some(State::Active));
    assert_eq!(server.send(&release(1, address)).silent(), Silence::Done);
    assert_eq!((server.state(address), server.disk.len()), (Some(State::Released), 2));
    assert_eq!(server.send(&release(1, address)).silent(), Silence::NotOwner, "it is released once");
}

#[test]
fn only_the_owner_declines_an_address() {
    let mut server = Server::lan();
    let address = server.bind(&discover(1));
    assert_eq!(server.send(&decline(2, address)).silent(), Silence::NotOwner);
    assert_eq!(server.send(&decline(1, ip(15))).silent(), Silence::NotOwner);
    assert_eq!(server.send(&packet(Kind::Decline, 1).server(US)).silent(), Silence::BadAddress);
    let elsewhere = packet(Kind::Decline, 1).ask(address).server(ip(2));
    assert_eq!(server.send(&elsewhere).silent(), Silence::OtherServer);
    assert_eq!(server.state(address), Some(State::Active));
    assert_eq!(server.send(&decline(1, address)).silent(), Silence::Done);
    assert_eq!(server.state(address), Some(State::Declined));
}

#[test]
fn a_client_that_declined_gets_another_address() {
    let mut server = Server::lan();
    let address = server.bind(&discover(1));
    server.send(&decline(1, address));
    let other = server.bind(&discover(1).ask(address));
    assert_ne!(other, address);
    assert_eq!(server.send(&request(1, address)).nak(), "address is in use");
}

#[test]
fn an_inform_gets_its_configuration_and_no_lease() {
    let mut server = Server::new("options = { domain-name = 'example.net' }", LAN);
    let ack = server.send(&packet(Kind::Inform, 1).from(ip(200)).list(&[15, 51])).heard(Kind::Ack);
    assert_eq!((ack.address, ack.text(15)), (NONE, "example.net"));
    for absent in [code::LEASE_TIME, code::RENEWAL_TIME, code::REBINDING_TIME] {
        assert!(!ack.options.contains_key(&absent));
    }
    assert!(server.engine.leases().is_empty());
    assert_eq!(server.send(&packet(Kind::Inform, 1)).silent(), Silence::BadAddress);
}

#[test]
fn rapid_commit_binds_at_once_where_it_is_allowed() {
    let mut server = Server::new("rapid_commit = true", LAN);
    let ack = server.send(&discover(1).option(code::RAPID_COMMIT, &[])).heard(Kind::Ack);
    assert_eq!((ack.address, ack.durable), (ip(10), true));
    assert_eq!(ack.options.get(&code::RAPID_COMMIT), Some(&vec![]));
    assert_eq!((server.state(ip(10)), server.disk.len()), (Some(State::Active), 1));
    let ack = server.send(&renew(1, ip(10)).option(code::RAPID_COMMIT, &[])).heard(Kind::Ack);
    assert!(!ack.options.contains_key(&code::RAPID_COMMIT));
    let mut server = Server::lan();
    server.send(&discover(1).option(code::RAPID_COMMIT, &[])).heard(Kind::Offer);
}

#[test]
fn a_client_without_identifier_and_hardware_address_gets_silence() {
    let mut server = Server::lan();
    let nobody = Packet { mac: Vec::new(), ..discover(1) };
    assert_eq!(server.send(&nobody).silent(), Silence::NoClient);
    let first = server.bind(&nobody.clone().id(b"one"));
    let second = server.bind(&nobody.id(b"two"));
    assert_ne!(first, second);
}

#[test]
fn an_identifier_identifies_and_a_hardware_address_only_without_one() {
    let mut server = Server::lan();
    let one = server.bind(&discover(1).id(b"one"));
    let two = server.bind(&discover(1).id(b"two"));
    assert_ne!(one, two);
    let moved = discover(9).id(b"one");
    assert_eq!(server.offer(&moved), one);
    assert_eq!(server.send(&release(1, one)).silent(), Silence::NotOwner);
    assert_eq!(server.send(&release(9, one).id(b"one")).silent(), Silence::Done);
}

#[test]
fn a_boot_rom_and_the_system_it_boots_share_a_lease() {
    let mut server = Server::lan();
    let rom = server.bind(&discover(1));
    let system = server.bind(&discover(1).id(b"\xff\0\0\0\x01duid"));
    assert_eq!(rom, system);
    assert_eq!(server.engine.totals().active, 1);
    assert_eq!(server.send(&renew(1, system)).nak(), "address is in use");
}

#[test]
fn where_hardware_addresses_alone_identify_identifiers_are_only_shown() {
    let mut server = Server::new("match_client_id = false", LAN);
    let one = server.bind(&discover(1).id(b"one"));
    assert_eq!(server.bind(&discover(1).id(b"two")), one);
    let lease = server.engine.leases().at(one).unwrap();
    assert_eq!((lease.client_id(), lease.details.get(crate::lease::Detail::ShownId)), (None, Some(&b"two"[..])));
}

#[test]
fn clients_keep_their_leases_when_what_identifies_them_changes() {
    let mut server = Server::lan();
    let address = server.bind(&discover(1).id(b"one"));
    for settings in ["match_client_id = false", "match_client_id = true"] {
        server.adopt(settings, LAN);
        assert_eq!(server.send(&renew(1, address).id(b"one")).heard(Kind::Ack).address, address);
        assert_eq!(server.bind(&discover(1).id(b"one")), address);
    }
    assert_eq!(server.engine.totals().active, 1);
}

#[test]
fn members_of_the_class_drop_are_never_answered() {
    let class = "[[dhcp.class]]\nname = 'DROP'\ntest = \"starts_with(pkt4.mac, 0x02000000000a)\"\n";
    let mut server = Server::new("", &format!("{class}{LAN}"));
    assert_eq!(server.send(&discover(10)).silent(), Silence::DropClass);
    server.offer(&discover(1));
}

#[test]
fn what_happened_is_told_once_to_who_watches() {
    let mut server = Server::lan();
    server.send(&discover(1));
    server.engine.watch(true);
    let address = server.bind(&discover(2).option(code::HOST_NAME, b"printer"));
    server.send(&decline(2, address));
    let mut events = Vec::new();
    server.engine.take_events(&mut events);
    let told: Vec<_> = events.iter().map(|event| (event.kind, event.address)).collect();
    assert_eq!(told, [("offer", Some(address)), ("ack", Some(address)), ("decline", Some(address))]);
    assert_eq!((events[1].hostname.as_deref(), events[1].subnet), (Some("printer"), Some(1)));
}

/// Two servers share a subnet: the other one has 192.0.2.100 and up, and one pool of ours is not for everybody.
#[test]
fn a_client_of_another_server_of_the_link_is_not_told_off_for_its_address() {
    let class = "[[dhcp.class]]\nname = 'phone'\ntest = \"option[60].text == 'phone'\"\n";
    let tables = format!(
        "{class}{}exclude = ['192.0.2.15']\nreservation = [{{ mac = '02:00:00:00:00:63', address = '192.0.2.60' }}]\n",
        LAN.replace(
            "'192.0.2.10-192.0.2.19' }",
            "'192.0.2.10-192.0.2.19' }, { range = '192.0.2.30', allow_classes = ['phone'] }"
        )
    );
    for authoritative in [true, false] {
        let mut server = Server::new(&format!("authoritative = {authoritative}"), &tables);
        server.bind(&discover(9));
        for address in [ip(100), ip(15), ip(30), ip(12)] {
            assert_eq!(server.send(&reboot(1, address)).silent(), Silence::UnknownClient, "{address}");
            assert_eq!(server.send(&rebind(1, address)).silent(), Silence::UnknownClient, "{address}");
            assert_eq!(server.send(&rebind(1, address).relay(ip(2))).silent(), Silence::UnknownClient, "{address}");
        }
        let wrong = [reboot(1, [10, 0, 0, 5].into()), reboot(1, ip(10)), reboot(1, ip(60)), rebind(1, ip(60))];
        for packet in wrong {
            match server.send(&packet) {
                Got::Heard(heard) => assert!(authoritative && heard.kind == Kind::Nak),
                other => assert!(!authoritative, "{other:?}"),
            }
        }
    }
}

#[test]
fn a_subnet_may_leave_clients_to_another_server_for_some_seconds() {
    let mut server = Server::new("", &format!("{LAN}min_secs = 4\n"));
    assert_eq!(server.send(&discover(1)).silent(), Silence::MinSecs);
    assert_eq!(server.send(&discover(1).secs(3)).silent(), Silence::MinSecs);
    assert_eq!(server.send(&discover(1).secs(0x0300)).silent(), Silence::MinSecs, "3 in the wrong order of octets");
    let address = server.offer(&discover(1).secs(4));
    server.send(&request(1, address)).heard(Kind::Ack);
    server.send(&renew(1, address)).heard(Kind::Ack);
    assert_eq!(server.offer(&discover(2).secs(300)), ip(11));
}

#[test]
fn a_class_may_ask_how_long_a_client_has_tried_and_how_far_away_it_is() {
    let class = "[[dhcp.class]]\nname = 'DROP'\ntest = \"pkt4.secs == 7 and pkt4.hops == 0\"\n";
    let mut server = Server::new("", &format!("{class}{LAN}"));
    assert_eq!(server.send(&discover(1).secs(7)).silent(), Silence::DropClass);
    server.offer(&discover(1).secs(8));
}

#[test]
fn where_a_device_says_it_is_described_is_kept_with_its_lease_and_told() {
    let mut server = Server::lan();
    server.engine.watch(true);
    let url = b"https://example.net/lamp.json";
    let address = server.bind(&discover(1).option(code::MUD_URL, url));
    assert_eq!(server.engine.leases().at(address).unwrap().mud_url(), Some("https://example.net/lamp.json"));
    let mut events = Vec::new();
    server.engine.take_events(&mut events);
    assert!(events.iter().all(|event| event.mud_url.as_deref() == Some("https://example.net/lamp.json")));
    let other = server.bind(&discover(2).option(code::MUD_URL, b"http://example.net/\x01"));
    assert_eq!(server.engine.leases().at(other).unwrap().mud_url(), None, "RFC 8520 wants https");
    server.restart();
    assert!(server.engine.leases().at(address).unwrap().mud_url().is_some());
}
