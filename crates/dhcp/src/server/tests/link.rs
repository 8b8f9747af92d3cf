//! Clients on a link: packet sockets, interfaces that come and go, and probes.

use super::*;

/// A server and a client on one cable, in namespaces of their own.
struct Cable {
    lab: Lab,
    server: Namespace,
    client: Namespace,
}

const SERVER_MAC: MacAddr = MacAddr([2, 0, 0, 0, 1, 1]);

impl Cable {
    fn new() -> Self {
        let cable = Self::unplugged();
        cable.plug();
        cable
    }

    fn unplugged() -> Self {
        let lab = Lab::new();
        let (server, client) = (lab.namespace("server"), lab.namespace("client"));
        Self { lab, server, client }
    }

    fn plug(&self) {
        self.lab.veth((&self.server, "lan0"), (&self.client, "eth0"));
        self.server.ip(&format!("link set lan0 address {SERVER_MAC}"));
        self.server.ip("addr add 10.7.0.1/24 dev lan0");
    }

    fn host(&self) -> Host {
        self.client.run(|| {
            let list = interfaces().unwrap();
            let interface = list.into_iter().find(|interface| interface.name == "eth0").unwrap();
            Host { socket: PacketSocket::open(&interface, Capture::Datagrams { port: 68 }, 0).unwrap(), interface }
        })
    }
}

/// A client without an address.
struct Host {
    socket: PacketSocket,
    interface: Interface,
}

impl Host {
    fn mac(&self) -> MacAddr {
        self.interface.mac.unwrap()
    }

    fn send(&self, to: MacAddr, payload: &[u8], source: &str, destination: &str) {
        let mut outbox = packet::Outbox::new(1);
        let link = Link { destination: to, source: self.mac(), vlan: None };
        let (source, destination) = (source.parse().unwrap(), destination.parse().unwrap());
        outbox.push(|out| frame::udp_frame(link, source, destination, payload, out)).unwrap();
        assert_eq!(self.socket.send(&mut outbox).sent, 1);
    }

    fn broadcast(&self, payload: &[u8]) {
        self.send(MacAddr::BROADCAST, payload, "0.0.0.0:68", "255.255.255.255:67");
    }

    /// The next reply, who its frame went to, and its IP destination.
    fn receive(&self) -> (Reply, MacAddr, Ipv4Addr) {
        let mut inbox = packet::Inbox::new(1, 1600);
        let wait = poll::wait(&mut [poll::Entry::readable(&self.socket)], Some(Duration::from_secs(20))).unwrap();
        assert_eq!(wait, 1, "an answer comes");
        self.socket.receive(&mut inbox).unwrap();
        let received = inbox.frames().next().unwrap();
        let (ethernet, datagram) = frame::parse_udp(received.bytes, received.checksum).unwrap();
        assert_eq!(datagram.source.port(), 67);
        (read(datagram.payload), ethernet.destination, *datagram.destination.ip())
    }
}

const LINK: &str = "interfaces = ['lan0']\nlisten = []\nconflict_detection = 'off'\n\
    [[dhcp.subnet]]\nid = 1\nprefix = '10.7.0.0/24'\npools = [{ range = '10.7.0.10-10.7.0.99' }]\n";

fn heard(running: &Running) -> bool {
    running.service.status().interfaces.iter().all(|interface| interface.open)
}

#[test]
fn a_client_on_the_link_is_answered_where_it_can_hear() {
    let cable = Cable::new();
    let running = cable.server.run(|| run(LINK));
    let host = cable.host();
    host.broadcast(&message(Kind::Discover, 1, host.mac(), &[]));
    let (offer, to, destination) = host.receive();
    assert_eq!((offer.kind, offer.server), (Some(Kind::Offer), Ipv4Addr::new(10, 7, 0, 1)));
    assert_eq!((to, destination), (host.mac(), offer.address), "to its hardware address, before it can answer ARP");

    let (wanted, server) = (offer.address.octets(), offer.server.octets());
    let options = [(code::REQUESTED_ADDRESS, &wanted[..]), (code::SERVER_ID, &server)];
    let mut request = message(Kind::Request, 2, host.mac(), &options);
    request[10] = 0x80;
    host.broadcast(&request);
    let (ack, to, destination) = host.receive();
    assert_eq!((ack.kind, ack.address), (Some(Kind::Ack), offer.address));
    assert_eq!((to, destination), (MacAddr::BROADCAST, Ipv4Addr::BROADCAST), "as it asked");

    // Renewing: from its address to ours, and back the same way.
    let mut renewal = message(Kind::Request, 3, host.mac(), &[]);
    renewal[12..16].copy_from_slice(&wanted);
    host.send(SERVER_MAC, &renewal, &format!("{}:68", ack.address), "10.7.0.1:67");
    let (renewed, to, destination) = host.receive();
    assert_eq!((renewed.kind, to, destination), (Some(Kind::Ack), host.mac(), ack.address));

    let wrong = [(code::REQUESTED_ADDRESS, &[192, 168, 1, 1][..])];
    host.broadcast(&message(Kind::Request, 4, host.mac(), &wrong));
    let (nak, to, destination) = host.receive();
    assert_eq!((nak.kind, to, destination), (Some(Kind::Nak), MacAddr::BROADCAST, Ipv4Addr::BROADCAST));
    drop(running);
}

#[test]
fn beside_a_udp_socket_each_packet_is_heard_once() {
    let cable = Cable::new();
    let toml = LINK.replace("listen = []", "listen = ['0.0.0.0:67']");
    let running = cable.server.run(|| run(&toml));
    let host = cable.host();
    host.broadcast(&message(Kind::Discover, 1, host.mac(), &[]));
    let (offer, to, _) = host.receive();
    assert_eq!(to, host.mac());
    let (wanted, server) = (offer.address.octets(), offer.server.octets());
    let options = [(code::REQUESTED_ADDRESS, &wanted[..]), (code::SERVER_ID, &server)];
    host.broadcast(&message(Kind::Request, 2, host.mac(), &options));
    assert_eq!(host.receive().0.kind, Some(Kind::Ack));
    cable.client.ip(&format!("addr add {}/24 dev eth0", offer.address));
    let mut renewal = message(Kind::Request, 3, host.mac(), &[]);
    renewal[12..16].copy_from_slice(&wanted);
    host.send(SERVER_MAC, &renewal, &format!("{}:68", offer.address), "10.7.0.1:67");
    let (renewed, ..) = host.receive();
    assert_eq!((renewed.kind, renewed.xid), (Some(Kind::Ack), 3));
    assert_eq!(running.metrics().requests.of(RequestType::Discover).get(), 1);
    assert_eq!(running.metrics().requests.of(RequestType::Request).get(), 2);
}

#[test]
fn without_packet_sockets_a_client_on_the_link_is_answered_by_broadcast() {
    let cable = Cable::new();
    let toml = LINK.replace("interfaces = ['lan0']\nlisten = []", "listen = ['0.0.0.0:67']");
    let _running = cable.server.run(|| run(&toml));
    let host = cable.host();
    host.broadcast(&message(Kind::Discover, 1, host.mac(), &[]));
    let (offer, to, destination) = host.receive();
    assert_eq!((offer.kind, offer.server), (Some(Kind::Offer), Ipv4Addr::new(10, 7, 0, 1)));
    assert_eq!((to, destination), (MacAddr::BROADCAST, Ipv4Addr::BROADCAST));
}

#[test]
fn an_interface_that_appears_goes_and_comes_back_is_served() {
    let cable = Cable::unplugged();
    let running = cable.server.run(|| run(LINK));
    let missing = &running.service.status().interfaces[0];
    assert!(!missing.open && missing.problem.as_deref().unwrap().contains("does not exist"), "{missing:?}");
    for round in 0..2 {
        cable.plug();
        until("the interface is heard", || heard(&running));
        let host = cable.host();
        // Until its address is known too, nobody can be answered from it.
        until("an offer", || {
            host.broadcast(&message(Kind::Discover, round, host.mac(), &[]));
            let mut entries = [poll::Entry::readable(&host.socket)];
            poll::wait(&mut entries, Some(Duration::from_millis(100))).unwrap() == 1
        });
        assert_eq!(host.receive().0.kind, Some(Kind::Offer));
        cable.server.ip("link del lan0");
        until("the interface is missed", || !heard(&running));
    }
}

#[test]
fn a_star_serves_every_interface_with_an_address_as_it_comes_and_goes() {
    let cable = Cable::unplugged();
    let toml = LINK.replace("'lan0'", "'*', '!spare*'");
    let running = cable.server.run(|| run(&toml));
    let served = || running.service.status().interfaces;
    let names = || served().iter().filter(|one| one.open).map(|one| one.name.clone()).collect::<Vec<_>>();
    let none = served();
    assert_eq!((none.len(), none[0].name.as_str(), none[0].open), (1, "*", false), "loopback is none: {none:?}");
    cable.plug();
    cable.lab.veth((&cable.server, "spare0"), (&cable.client, "eth1"));
    cable.server.ip("addr add 10.8.0.1/24 dev spare0");
    until("the interface is heard", || names() == ["lan0"]);
    let host = cable.host();
    host.broadcast(&message(Kind::Discover, 1, host.mac(), &[]));
    assert_eq!(host.receive().0.kind, Some(Kind::Offer));
    cable.lab.veth((&cable.server, "lan1"), (&cable.client, "eth2"));
    cable.server.ip("addr add 10.9.0.1/24 dev lan1");
    until("the second one is heard too", || names() == ["lan0", "lan1"]);
    cable.server.ip("addr del 10.9.0.1/24 dev lan1");
    until("it is left alone without an address", || names() == ["lan0"]);
    cable.server.ip("link set lan0 down");
    until("what is down is not served", || names().is_empty());
    cable.server.ip("link set lan0 up");
    until("it is served again", || names() == ["lan0"]);
    assert_eq!(served().len(), 1, "what only fits a rule is forgotten when it goes: {:?}", served());
}

#[test]
fn an_address_that_a_stranger_uses_is_not_offered() {
    let cable = Cable::new();
    let toml = LINK.replace("'off'", "'arp'\nprobe_timeout = '200ms'");
    let running = cable.server.run(|| run(&toml));
    cable.client.ip("addr add 10.7.0.10/24 dev eth0");
    let host = cable.host();
    let discover = |xid| {
        let mut bytes = message(Kind::Discover, xid, mac(7), &[]);
        bytes[10] = 0x80;
        bytes
    };
    host.broadcast(&discover(1));
    let (offer, ..) = host.receive();
    assert_eq!((offer.kind, offer.address), (Some(Kind::Offer), [10, 7, 0, 11].into()));
    let quarantined = running.service.read(|engine| engine.leases().at([10, 7, 0, 10].into()).map(|lease| lease.state));
    assert_eq!(quarantined, Some(crate::lease::State::Declined));
    let probes = &running.metrics().probes;
    assert_eq!((probes.of(ProbeOutcome::InUse).get(), probes.of(ProbeOutcome::Free).get()), (1, 1));

    // Known to be free now: nobody is asked again.
    host.broadcast(&discover(2));
    assert_eq!(host.receive().0.address, offer.address);
    assert_eq!(probes.of(ProbeOutcome::Free).get(), 1);
}

#[test]
fn a_client_that_answers_for_its_own_address_is_no_stranger() {
    let cable = Cable::new();
    let toml = LINK.replace("'off'", "'arp'\nprobe_timeout = '200ms'");
    let _running = cable.server.run(|| run(&toml));
    cable.client.ip("addr add 10.7.0.10/24 dev eth0");
    let host = cable.host();
    host.broadcast(&message(Kind::Discover, 1, host.mac(), &[]));
    assert_eq!(host.receive().0.address, Ipv4Addr::new(10, 7, 0, 10));
}

#[test]
fn behind_a_relay_agent_addresses_are_asked_by_ping_and_only_so_many() {
    let lab = Lab::new();
    let alone = lab.namespace("alone");
    alone.run(|| {
        // All of 127/8 answers; 10.9.0.0/24 has no route, so that it can't even be asked and counts as free.
        let used = "listen = ['127.0.0.1:0']\nconflict_detection = 'ping'\nprobe_timeout = '200ms'\nprobe_attempts = 2\n\
            [[dhcp.subnet]]\nid = 1\nprefix = '127.9.0.0/24'\nrelay = ['127.0.0.1']\n\
            pools = [{ range = '127.9.0.10-127.9.0.19' }]\n";
        let running = run(used);
        let relay = Relay::new(running.listening());
        relay.send(Kind::Discover, 1, mac(1), &[]);
        let metrics = running.metrics();
        until("two were tried", || metrics.dropped.of(Dropped::ProbeAttempts).get() == 1);
        assert_eq!(metrics.probes.of(ProbeOutcome::InUse).get(), 2);
        assert_eq!(metrics.requests.of(RequestType::Discover).get(), 1, "it was received once");
        assert_eq!(running.service.read(|engine| engine.totals().declined), 2);
        let running = run(&RELAYED.replace("'off'", "'ping'"));
        assert_eq!(Relay::new(running.listening()).discover(mac(1)).kind, Some(Kind::Offer));
        assert_eq!(running.metrics().probes.of(ProbeOutcome::Failed).get(), 1);
    });
}

#[test]
fn an_arp_packet_of_the_prober_claims_no_address() {
    let cable = Cable::new();
    let toml = LINK.replace("'off'", "'arp'\nprobe_timeout = '200ms'");
    let _running = cable.server.run(|| run(&toml));
    let host = cable.host();
    let listener = cable.client.run(|| PacketSocket::open(&host.interface, Capture::Arp, 0).unwrap());
    host.broadcast(&message(Kind::Discover, 1, host.mac(), &[]));
    poll::wait(&mut [poll::Entry::readable(&listener)], None).unwrap();
    let mut inbox = packet::Inbox::new(1, 128);
    listener.receive(&mut inbox).unwrap();
    let received = inbox.frames().next().unwrap();
    let packet = arp::Packet::parse(ethernet::Frame::parse(received.bytes).unwrap().payload).unwrap();
    assert_eq!(packet, arp::Packet::probe(SERVER_MAC, [10, 7, 0, 10].into()));
    assert_eq!(host.receive().0.kind, Some(Kind::Offer));
}
