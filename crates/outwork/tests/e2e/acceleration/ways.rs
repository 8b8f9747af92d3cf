//! How packets get to backends beside IPv4 with addresses rewritten: as they came, in other packets, and by IPv6.

use std::collections::BTreeSet;
use std::net::{SocketAddr, TcpStream, UdpSocket};

use outwork_net::testing::Namespace;
use rustix::net::{AddressFamily, SocketType, ipproto};

use super::{Rooms, SOURCES, Site, VIP, answer_at, exchange, run};
use crate::{PATIENCE, wait_for};

/// Where clients find the service by IPv6.
pub(super) const VIP_V6: &str = "[2001:db8:1::1]:80";

/// A client, a balancer and two backends on one link. Backends have the address of the service, and answer by themselves.
fn on_one_link() -> Rooms {
    let site = Site::new("");
    let switch = site.lab.namespace("switch");
    switch.ip("link add br0 type bridge forward_delay 0");
    switch.ip("link set br0 up");
    let plug = |room: &Namespace, interface: &str, port: &str, address: &str| {
        site.lab.veth((room, interface), (&switch, port));
        switch.ip(&format!("link set {port} master br0"));
        room.ip(&format!("addr add {address}/24 dev {interface}"));
        // XDP sees frames as the wire has them, and what it sends to a veth arrives where somebody receives by NAPI.
        run(room, "ethtool", &["-K", interface, "tx", "off"]);
        run(&switch, "ethtool", &["-K", port, "tx", "off", "gro", "on"]);
    };
    plug(&site.server, "l0", "p0", "10.9.0.1");
    run(&site.server, "sysctl", &["-qw", "net.ipv4.ip_forward=1"]);
    let vip = VIP.trim_end_matches(":80");
    site.server.ip(&format!("addr add {vip}/32 dev lo"));
    let client = site.lab.namespace("client");
    plug(&client, "eth0", "p1", "10.9.0.2");
    SOURCES.for_each(|source| client.ip(&format!("addr add 10.9.0.{source}/24 dev eth0")));
    // There is room for another header.
    client.ip("link set eth0 mtu 1400");
    let backends =
        [("one", "p2", "10.9.0.101", 0), ("two", "p3", "10.9.0.102", 1)].map(|(name, port, address, number)| {
            let backend = site.lab.namespace(name);
            plug(&backend, "eth0", port, address);
            // It has the service's address, and says so to nobody.
            run(&backend, "sysctl", &["-qw", "net.ipv4.conf.all.arp_ignore=1", "net.ipv4.conf.all.arp_announce=2"]);
            backend.ip(&format!("addr add {vip}/32 dev lo"));
            answer_at(&backend, number, ["0.0.0.0:80", VIP]);
            // A packet whose next hop is not known yet would go to the balancer's sockets.
            let link = backend.command("cat").arg("/sys/class/net/eth0/address").output().unwrap();
            let link = String::from_utf8(link.stdout).unwrap();
            site.server.ip(&format!("neigh replace {address} lladdr {} dev l0 nud permanent", link.trim()));
            backend
        });
    Rooms { site, client, backends }
}

/// Takes packets out of those that carry them, as a kernel with tunnels does: one that tests run on may have none.
fn unpack(room: &Namespace) {
    let raw = |protocol| rustix::net::socket(AddressFamily::INET, SocketType::RAW, Some(protocol)).unwrap();
    let (outer, inner) = room.run(|| (raw(ipproto::IPIP), raw(ipproto::RAW)));
    let (outer, inner) = (UdpSocket::from(outer), UdpSocket::from(inner));
    let own = VIP.replace(":80", ":0");
    std::thread::spawn(move || {
        let mut packet = [0; 65_536];
        while let Ok(length) = outer.recv(&mut packet) {
            let header = usize::from(packet[0] & 0x0f) * 4;
            let _ = inner.send_to(&packet[header..length], own.as_str());
        }
    });
}

/// A listener of each protocol at `vip` whose packets get to backends by `forwarding`.
pub(super) fn configure(rooms: &Rooms, forwarding: &str, vip: &str, backends: [&str; 2], acceleration: &str) {
    let list = |scheme: &str| {
        let [one, two] = backends.map(|backend| format!("{{ url = '{scheme}://{backend}:80' }}"));
        format!("[{one}, {two}]")
    };
    let check = "{ interval = '50ms', timeout = '200ms', unhealthy_threshold = 1, healthy_threshold = 1";
    rooms.site.configure(&format!(
        "[[proxy.listener]]\nname = 'stream'\naddress = ['{vip}']\npool = 'tcp'\nforwarding = '{forwarding}'\n\
         [[proxy.listener]]\nname = 'datagrams'\nprotocol = 'udp'\naddress = ['{vip}']\npool = 'udp'\nforwarding = '{forwarding}'\n\
         [proxy.pool.tcp]\npolicy = 'ip_hash'\nbackend = {}\nhealth_check = {check} }}\n\
         [proxy.pool.udp]\npolicy = 'ip_hash'\nbackend = {}\nhealth_check = {check}, port = 80 }}\n\
         [proxy.acceleration]\n{acceleration}\n",
        list("tcp"),
        list("udp"),
    ));
}

/// That nothing of the listener of streams has come to sockets.
fn sockets_had_nothing(rooms: &Rooms) {
    let listener = rooms.site.json(&["listeners"])[0].clone();
    assert_eq!((&listener["name"], &listener["total"]), (&"stream".into(), &0.into()), "{listener}");
}

/// Clients are served by backends that answer past the balancer.
fn serves_past_the_balancer(forwarding: &str, tier: &str, word: &str) {
    let mut rooms = on_one_link();
    if forwarding == "ipip" {
        rooms.backends.iter().for_each(unpack);
    }
    let acceleration = format!("interfaces = ['l0']\ntiers = ['{tier}']\ntunnel_v4 = '10.9.0.1'");
    configure(&rooms, forwarding, VIP, ["10.9.0.101", "10.9.0.102"], &acceleration);
    rooms.site.start();
    rooms.wait_for_tier(word);
    assert_eq!(rooms.met(), BTreeSet::from([0, 1]), "{}", rooms.site.log());
    let asked: BTreeSet<u8> = SOURCES.map(|source| rooms.ask(source)).collect();
    assert_eq!(asked, BTreeSet::from([0, 1]));
    let (mut stream, _) = rooms.connect(10);
    // Of no more than a packet: what unpacks others takes them one by one.
    (0..10).for_each(|_| exchange(&mut stream, 1_000));
    sockets_had_nothing(&rooms);
    rooms.lose_the_second_backend();
    assert_eq!(rooms.met(), BTreeSet::from([0]));
    rooms.site.terminate();
}

#[test]
fn backends_on_the_link_get_packets_by_xdp_as_they_came_and_answer_by_themselves() {
    serves_past_the_balancer("dsr", "xdp", "xdp-native");
}

#[test]
fn backends_on_the_link_get_packets_by_tc_as_they_came_and_answer_by_themselves() {
    serves_past_the_balancer("dsr", "tc", "tc");
}

#[test]
fn backends_on_the_link_get_packets_by_af_xdp_as_they_came_and_answer_by_themselves() {
    serves_past_the_balancer("dsr", "af_xdp", "af_xdp-native");
}

#[test]
fn backends_get_packets_in_others_by_xdp_and_answer_by_themselves() {
    serves_past_the_balancer("ipip", "xdp", "xdp-native");
}

#[test]
fn backends_get_packets_in_others_by_tc_and_answer_by_themselves() {
    serves_past_the_balancer("ipip", "tc", "tc");
}

/// The same rooms with addresses of IPv6: the client has several networks, for one is one client.
pub(super) fn by_ipv6() -> Rooms {
    let rooms = Rooms::new();
    let server = &rooms.site.server;
    run(server, "sysctl", &["-qw", "net.ipv6.conf.all.forwarding=1"]);
    server.ip("-6 addr add 2001:db8:1::1/128 dev lo nodad");
    server.ip("-6 addr add fd00:9::1/64 dev c0 nodad");
    rooms.client.ip("-6 addr add fd00:9::2/64 dev eth0 nodad");
    SOURCES.for_each(|source| rooms.client.ip(&format!("-6 addr add {}/128 dev eth0 nodad", source_v6(source))));
    server.ip("-6 route add fd00:9::/32 via fd00:9::2 dev c0");
    for (backend, (interface, net, number)) in rooms.backends.iter().zip([("b1", "fd00:2:1", 0), ("b2", "fd00:2:2", 1)])
    {
        server.ip(&format!("-6 addr add {net}::1/64 dev {interface} nodad"));
        backend.ip(&format!("-6 addr add {net}::2/64 dev eth0 nodad"));
        backend.ip(&format!("-6 route add default via {net}::1 dev eth0"));
        let own = format!("[{net}::2]:80");
        answer_at(backend, number, [&own, &own]);
    }
    rooms
}

/// An address of the client in a network of its own.
fn source_v6(source: u8) -> String {
    format!("fd00:9:0:{source:x}::{source:x}")
}

/// Which backend a connection from an address leads to, and the last octet of the address that it sees.
fn connect_v6(rooms: &Rooms, source: u8) -> (TcpStream, [u8; 2]) {
    rooms.client.ip(&format!("-6 route replace default via fd00:9::1 dev eth0 src {}", source_v6(source)));
    let address: SocketAddr = VIP_V6.parse().unwrap();
    let mut stream = rooms.client.run(|| TcpStream::connect_timeout(&address, PATIENCE)).unwrap();
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    let mut hello = [0; 2];
    std::io::Read::read_exact(&mut stream, &mut hello).unwrap();
    (stream, hello)
}

/// Clients are served over IPv6, with addresses rewritten both ways.
fn serves_ipv6(tier: &str, word: &str) {
    let mut rooms = by_ipv6();
    let acceleration = format!("interfaces = ['c0', 'b1', 'b2']\ntiers = ['{tier}']");
    configure(&rooms, "nat", VIP_V6, ["[fd00:2:1::2]", "[fd00:2:2::2]"], &acceleration);
    rooms.site.start();
    rooms.wait_for_tier(word);
    let met = |rooms: &Rooms| -> BTreeSet<u8> {
        let met = SOURCES.map(|source| {
            let (_, [who, seen]) = connect_v6(rooms, source);
            assert_eq!(seen, source, "the backend sees who it is: {}", rooms.site.log());
            who
        });
        met.collect()
    };
    assert_eq!(met(&rooms), BTreeSet::from([0, 1]), "{}", rooms.site.log());
    let (mut stream, _) = connect_v6(&rooms, 10);
    exchange(&mut stream, 300_000);
    let socket = rooms.client.run(|| {
        let socket = UdpSocket::bind("[::]:0").unwrap();
        socket.connect(VIP_V6).unwrap();
        socket
    });
    socket.set_read_timeout(Some(std::time::Duration::from_millis(100))).unwrap();
    let answer = wait_for(
        "an answer to a datagram",
        || rooms.site.log(),
        || {
            let mut answer = [0; 8];
            socket.send(b"who?").ok()?;
            socket.recv(&mut answer).ok().map(|length| answer[..length].to_vec())
        },
    );
    assert_eq!(answer[1], 10, "the backend sees who it is");
    sockets_had_nothing(&rooms);
    rooms.lose_the_second_backend();
    assert_eq!(met(&rooms), BTreeSet::from([0]));
    rooms.site.terminate();
}

#[test]
fn clients_of_ipv6_are_served_by_xdp_and_backends_see_who_they_are() {
    serves_ipv6("xdp", "xdp-native");
}

#[test]
fn clients_of_ipv6_are_served_by_tc_and_backends_see_who_they_are() {
    serves_ipv6("tc", "tc");
}
