use super::*;

const RELAY: Ipv4Addr = Ipv4Addr::new(192, 0, 2, 2);

fn unicast(address: Ipv4Addr, port: u16) -> Destination {
    Destination::Unicast(SocketAddrV4::new(address, port))
}

#[test]
fn an_offer_goes_to_the_hardware_address_unless_the_client_asks_for_broadcast() {
    let mut server = Server::lan();
    assert_eq!(server.send(&discover(1)).heard(Kind::Offer).destination, Destination::Hardware(ip(10)));
    assert_eq!(server.send(&discover(1).broadcast()).heard(Kind::Offer).destination, Destination::Broadcast);
    assert_eq!(server.send(&request(1, ip(10))).heard(Kind::Ack).destination, Destination::Hardware(ip(10)));
    assert_eq!(server.send(&reboot(1, ip(10)).broadcast()).heard(Kind::Ack).destination, Destination::Broadcast);
    let nameless = Packet { mac: Vec::new(), ..discover(2).id(b"infiniband") };
    assert_eq!(server.send(&nameless).heard(Kind::Offer).destination, Destination::Broadcast);
}

#[test]
fn who_has_an_address_is_answered_there() {
    let mut server = Server::lan();
    let address = server.bind(&discover(1));
    for packet in [renew(1, address), rebind(1, address).broadcast(), packet(Kind::Inform, 1).from(address)] {
        assert_eq!(server.send(&packet).heard(Kind::Ack).destination, unicast(address, 68));
    }
}

#[test]
fn what_came_through_a_relay_agent_goes_back_through_it() {
    let mut server = Server::lan();
    let offer = server.send(&discover(1).relay(RELAY)).heard(Kind::Offer);
    assert_eq!((offer.address, offer.destination), (ip(10), unicast(RELAY, 67)));
    assert_eq!(offer.bytes[24..28], RELAY.octets());
    let ack = server.send(&request(1, ip(10)).relay(RELAY).from(ip(10))).heard(Kind::Ack);
    assert_eq!(ack.destination, unicast(RELAY, 67), "giaddr before ciaddr");
    let own_port = discover(2).relay(RELAY).option(82, &[19, 0]);
    assert_eq!(server.send(&own_port).heard(Kind::Offer).destination, unicast(RELAY, 6868), "RFC 8357");
}

#[test]
fn a_nak_on_the_link_is_broadcast_even_if_ciaddr_is_set() {
    let mut server = Server::lan();
    server.bind(&discover(2));
    let nak = server.send(&rebind(1, ip(10))).heard(Kind::Nak);
    assert_eq!((nak.destination, nak.address), (Destination::Broadcast, NONE));
    assert_eq!(nak.bytes[10..28], [0; 18], "no flag, no address");
    let nak = server.send(&renew(1, ip(12))).heard(Kind::Nak);
    assert_eq!(nak.destination, Destination::Broadcast);
}

#[test]
fn a_relayed_nak_sets_the_broadcast_bit() {
    let mut server = Server::lan();
    let nak = server.send(&reboot(1, [10, 9, 9, 9].into()).relay(RELAY)).heard(Kind::Nak);
    assert_eq!((nak.destination, nak.bytes[10]), (unicast(RELAY, 67), 0x80));
}

#[test]
fn a_nak_says_why_and_nothing_it_must_not() {
    let mut server = Server::new("options = { domain-name = 'x' }", LAN);
    let nak = server.send(&renew(1, ip(12)).id(b"me").list(&[1, 3, 15, 51])).heard(Kind::Nak);
    assert_eq!(nak.order, [53, 54, 56, 61]);
}

#[test]
fn options_come_as_asked_with_the_mask_before_the_routers() {
    let settings =
        "options = { routers = ['192.0.2.1'], domain-name-servers = ['192.0.2.53'], domain-name = 'example.net' }";
    let mut server = Server::new(settings, LAN);
    let offer = server.send(&discover(1).list(&[15, 3, 6, 1, 3, 99])).heard(Kind::Offer);
    assert_eq!(offer.order, [53, 54, 51, 58, 59, 1, 15, 3, 6]);
    assert_eq!(offer.options[&1], [255, 255, 255, 0]);
    assert_eq!(offer.options[&54], US.octets());
    let offer = server.send(&discover(1).list(&[])).heard(Kind::Offer);
    assert_eq!(offer.order, [53, 54, 51, 58, 59, 1], "nothing unasked");
}

#[test]
fn a_client_cannot_ask_for_what_the_server_alone_says() {
    let mut server = Server::lan();
    let all: Vec<u8> = (0..=255).collect();
    let offer = server.send(&discover(1).list(&all[..255])).heard(Kind::Offer);
    assert_eq!(offer.order, [53, 54, 51, 58, 59, 1]);
}

#[test]
fn the_narrowest_scope_that_sets_an_option_wins() {
    let tables = format!(
        "[[dhcp.class]]\nname = 'a'\ntest = \"option[60].text == 'v'\"\noptions = {{ domain-name = 'class', tftp-server-name = 'class' }}\n\
         {}options = {{ domain-name = 'subnet' }}\nreservation = [{{ mac = '02:00:00:00:00:02', options = {{ domain-name = 'own' }} }}]\n",
        LAN.replace(
            "'192.0.2.10-192.0.2.19' }",
            "'192.0.2.10-192.0.2.11' }, { range = '192.0.2.12', options = { domain-name = 'pool' } }"
        )
    );
    let mut server = Server::new("options = { domain-name = 'global', tftp-server-name = 'global' }", &tables);
    let asking = |client| discover(client).list(&[15, 66]).option(60, b"v");
    let offer = server.send(&asking(1)).heard(Kind::Offer);
    assert_eq!((offer.text(15), offer.text(66)), ("subnet", "class"));
    assert_eq!(server.send(&asking(2)).heard(Kind::Offer).text(15), "own");
    assert_eq!(server.send(&asking(3)).heard(Kind::Offer).text(15), "pool");
}

#[test]
fn boot_fields_are_the_classes_before_the_subnets() {
    let tables = format!(
        "[[dhcp.class]]\nname = 'uefi'\ntest = \"option[93].hex == 0x0007\"\nboot_file = 'uefi.efi'\n\
         {LAN}boot_file = 'pxelinux.0'\nnext_server = '192.0.2.5'\nserver_hostname = 'boot'\n"
    );
    let mut server = Server::new("boot_file = 'global'", &tables);
    let bios = server.send(&discover(1)).heard(Kind::Offer);
    assert_eq!((&bios.bytes[108..119], &bios.bytes[20..24]), (&b"pxelinux.0\0"[..], &[192, 0, 2, 5][..]));
    assert_eq!(&bios.bytes[44..49], b"boot\0");
    let uefi = server.send(&discover(2).option(93, &[0, 7])).heard(Kind::Offer);
    assert_eq!(&uefi.bytes[108..117], b"uefi.efi\0");
}

#[test]
fn the_client_identifier_is_echoed_even_where_room_is_short() {
    let settings =
        "options = { domain-name = 'x', vendor-encapsulated-options = 'hex:".to_owned() + &"00".repeat(250) + "' }";
    let mut server = Server::new(&settings, LAN);
    let full = discover(1).id(&[9; 200]).list(&[43, 15]).relay(RELAY).option(82, &[&[1, 60][..], &[7; 60]].concat());
    let offer = server.send(&full).heard(Kind::Offer);
    assert_eq!(offer.options[&61], [9; 200]);
    assert!(offer.bytes.len() <= 548);
    let mut server = Server::new("echo_client_id = false", LAN);
    assert!(!server.send(&discover(1).id(b"me")).heard(Kind::Offer).options.contains_key(&61));
}

#[test]
fn option_82_is_echoed_unchanged_at_the_end() {
    let mut server = Server::lan();
    let relay = [1, 3, 1, 2, 3, 2, 1, 9, 200, 0];
    let offer = server.send(&discover(1).relay(RELAY).option(82, &relay).id(b"me")).heard(Kind::Offer);
    assert_eq!((offer.order.last(), &offer.options[&82][..]), (Some(&82), &relay[..]));
    let nak = server.send(&reboot(1, [10, 9, 9, 9].into()).relay(RELAY).option(82, &relay)).heard(Kind::Nak);
    assert_eq!(nak.order.last(), Some(&82));
}

#[test]
fn a_relay_agent_may_speak_in_the_servers_name() {
    let mut server = Server::lan();
    let name = [11, 4, 192, 0, 2, 99];
    let relayed = |packet: Packet| packet.relay(RELAY).option(82, &name);
    let offer = server.send(&relayed(discover(1))).heard(Kind::Offer);
    assert_eq!(offer.options[&54], [192, 0, 2, 99]);
    let selecting = relayed(packet(Kind::Request, 1).ask(ip(10)).server(ip(99)));
    assert_eq!(server.send(&selecting).heard(Kind::Ack).options[&54], [192, 0, 2, 99]);
    let other = relayed(packet(Kind::Request, 1).ask(ip(10)).server(ip(98)));
    assert_eq!(server.send(&other).silent(), Silence::OtherServer);
    assert_eq!(server.send(&relayed(packet(Kind::Decline, 1).ask(ip(10)).server(US))).silent(), Silence::Done);
}

const TWO: &str = "[[dhcp.subnet]]\nid = 1\nprefix = '192.0.2.0/24'\ninterface = 'lan0'\npools = [{ range = '192.0.2.10-192.0.2.19' }]\n\
                   [[dhcp.subnet]]\nid = 2\nprefix = '198.51.100.0/24'\nrelay = ['10.0.0.9']\npools = [{ range = '198.51.100.10-198.51.100.19' }]\n";
const THERE: Ipv4Addr = Ipv4Addr::new(198, 51, 100, 10);

#[test]
fn the_subnet_is_the_relay_agents() {
    let mut server = Server::new("", TWO);
    assert_eq!(server.offer(&discover(1).relay([198, 51, 100, 1].into())), THERE);
    assert_eq!(
        server.offer(&discover(2).relay([10, 0, 0, 9].into())),
        Ipv4Addr::new(198, 51, 100, 11),
        "by configuration"
    );
    assert_eq!(server.send(&discover(3).relay([10, 0, 0, 8].into())).silent(), Silence::NoSubnet);
}

#[test]
fn link_selection_comes_before_subnet_selection_and_the_relay_agents_address() {
    let mut server = Server::new("", TWO);
    let link = discover(1).relay(RELAY).option(82, &[5, 4, 198, 51, 100, 0]);
    let offer = server.send(&link).heard(Kind::Offer);
    assert_eq!((offer.address, offer.destination), (THERE, unicast(RELAY, 67)));
    let both = discover(1).relay(RELAY).option(118, &[192, 0, 2, 0]).option(82, &[5, 4, 198, 51, 100, 0]);
    assert_eq!(server.offer(&both), THERE);
    let nowhere = discover(1).relay(RELAY).option(82, &[5, 4, 10, 0, 0, 0]);
    assert_eq!(server.send(&nowhere).silent(), Silence::NoSubnet);
}

#[test]
fn subnet_selection_chooses_and_is_confirmed() {
    let mut server = Server::new("", TWO);
    let offer = server.send(&discover(1).relay(RELAY).option(118, &[198, 51, 100, 0])).heard(Kind::Offer);
    assert_eq!((offer.address, offer.destination), (THERE, unicast(RELAY, 67)));
    assert_eq!(offer.options.get(&118), Some(&vec![198, 51, 100, 0]), "RFC 3011 section 2");
}

#[test]
fn a_relayed_client_that_renews_by_unicast_is_served_whatever_socket_heard_it() {
    let mut server = Server::new("", TWO);
    let address = server.bind(&discover(1).relay([198, 51, 100, 1].into()));
    assert_eq!(address, THERE);
    let ack = server.send(&renew(1, address).by_link()).heard(Kind::Ack);
    assert_eq!((ack.address, ack.destination), (address, unicast(address, 68)));
    assert_eq!(ack.options[&1], [255, 255, 255, 0]);
    assert_eq!(server.send(&rebind(1, address)).nak(), "requested address is not of this network", "it moved here");
    server.send(&packet(Kind::Inform, 1).from(address).by_link()).heard(Kind::Ack);
    assert_eq!(server.send(&release(1, address).by_link()).silent(), Silence::Done);
    assert_eq!(server.state(address), Some(State::Released));
}

#[test]
fn option_82_counts_only_where_a_relay_agent_vouches_for_it_and_is_echoed_always() {
    let tables = format!(
        "[[dhcp.class]]\nname = 'vip'\ntest = \"relay4[1].text == 'port 7'\"\nlease_time = '5m'\n\
         {}",
        TWO.replacen(
            "\n[[dhcp.subnet]]\nid = 2",
            "\nreservation = [{ circuit_id = 'port 7', address = '192.0.2.77' }]\n[[dhcp.subnet]]\nid = 2",
            1
        )
    );
    let forged = [&[1, 6][..], b"port 7", &[5, 4, 198, 51, 100, 0, 11, 4, 192, 0, 2, 99]].concat();
    let mut server = Server::new("", &tables);
    let offer = server.send(&discover(1).option(82, &forged)).heard(Kind::Offer);
    assert_eq!((offer.address, offer.lease_time(), &offer.options[&54][..]), (ip(10), 43_200, &US.octets()[..]));
    assert_eq!(offer.options[&82], forged);
    server.bind(&discover(1).option(82, &forged));
    assert_eq!(server.engine.leases().at(ip(10)).unwrap().details.get(crate::lease::Detail::Relay), None);
    // Where switches put it in and clients can't, it says who a client is, but not where it is.
    let mut server = Server::new("link_relay_info = true", &tables);
    let offer = server.send(&discover(1).option(82, &forged)).heard(Kind::Offer);
    assert_eq!((offer.address, offer.lease_time(), &offer.options[&54][..]), (ip(77), 300, &US.octets()[..]));
}

#[test]
fn ipv6_only_is_told_to_who_asks_alone() {
    let mut server =
        Server::new("options = { v6-only-preferred = 1800, v4-captive-portal = 'https://portal.example/' }", LAN);
    let offer = server.send(&discover(1).list(&[1, 108])).heard(Kind::Offer);
    assert_eq!(offer.number(108), 1800, "RFC 8925 section 3.2");
    assert!(!offer.options.contains_key(&114));
    let offer = server.send(&discover(1).list(&[1, 114])).heard(Kind::Offer);
    assert!(!offer.options.contains_key(&108), "RFC 8925 section 3.3: never unasked");
    assert_eq!(offer.text(114), "https://portal.example/", "RFC 8910 section 2.1");
}

#[test]
fn the_devices_mud_url_is_kept_with_its_lease() {
    let mut server = Server::lan();
    let url = b"https://example.com/lightbulb2000";
    let address = server.bind(&discover(1).option(161, url));
    server.restart();
    let lease = server.engine.leases().at(address).unwrap();
    assert_eq!(lease.details.get(crate::lease::Detail::MudUrl), Some(&url[..]), "RFC 8520 section 10");
    assert!(
        !server.send(&discover(1).list(&[161])).heard(Kind::Offer).options.contains_key(&161),
        "it is the client's to say"
    );
}
