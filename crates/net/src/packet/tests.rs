use std::convert::Infallible;
use std::net::{Ipv4Addr, SocketAddrV4};

use outwork_wire::frame::{self, Link};
use outwork_wire::icmp::Echo;
use outwork_wire::{MacAddr, arp, ethernet, ipv4};

use super::*;
use crate::testing::{Lab, Namespace};
use crate::{interfaces, poll};

const SERVER: MacAddr = MacAddr([2, 0, 0, 0, 0, 1]);
const CLIENT: MacAddr = MacAddr([2, 0, 0, 0, 0, 2]);
const SERVER_IP: Ipv4Addr = Ipv4Addr::new(10, 1, 0, 1);
const CLIENT_IP: Ipv4Addr = Ipv4Addr::new(10, 1, 0, 2);

/// A server and a client on one cable.
struct Cable {
    _lab: Lab,
    server: Namespace,
    client: Namespace,
}

impl Cable {
    fn new() -> Cable {
        let lab = Lab::new();
        let (server, client) = (lab.namespace("server"), lab.namespace("client"));
        lab.veth((&server, "eth0"), (&client, "eth0"));
        for (namespace, mac, address) in [(&server, SERVER, SERVER_IP), (&client, CLIENT, CLIENT_IP)] {
            namespace.ip(&format!("link set eth0 address {mac}"));
            namespace.ip(&format!("addr add {address}/24 dev eth0"));
        }
        Cable { _lab: lab, server, client }
    }
}

fn eth0() -> Interface {
    interfaces().unwrap().into_iter().find(|interface| interface.name == "eth0").unwrap()
}

fn open(namespace: &Namespace, capture: Capture) -> PacketSocket {
    namespace.run(|| PacketSocket::open(&eth0(), capture, 0).unwrap())
}

/// Sends frames, all of which must leave.
fn send(socket: &PacketSocket, frames: &[Vec<u8>]) {
    let mut outbox = Outbox::new(frames.len());
    for frame in frames {
        outbox
            .push(|out| {
                out.extend_from_slice(frame);
                Ok::<_, Infallible>(())
            })
            .unwrap();
    }
    let report = socket.send(&mut outbox);
    assert_eq!(report.sent, frames.len(), "{report:?}");
}

fn datagram(to: MacAddr, destination: &str, payload: &[u8]) -> Vec<u8> {
    let (source, destination) = (SocketAddrV4::new(Ipv4Addr::UNSPECIFIED, 68), destination.parse().unwrap());
    let mut out = Vec::new();
    frame::udp_frame(Link { destination: to, source: CLIENT, vlan: None }, source, destination, payload, &mut out)
        .unwrap();
    out
}

/// Receives until a payload is `last`, and gives them all.
fn payloads_until(socket: &PacketSocket, last: &[u8]) -> Vec<Vec<u8>> {
    let mut inbox = Inbox::new(64, 2000);
    let mut payloads: Vec<Vec<u8>> = Vec::new();
    while payloads.last().is_none_or(|payload| payload != last) {
        poll::wait(&mut [poll::Entry::readable(socket)], None).unwrap();
        socket.receive(&mut inbox).unwrap();
        for received in inbox.frames() {
            assert!(!received.truncated);
            let (_, datagram) = frame::parse_udp(received.bytes, received.checksum).unwrap();
            payloads.push(datagram.payload.to_vec());
        }
    }
    payloads
}

#[test]
fn broadcasts_to_the_port_are_taken_and_nothing_else() {
    let cable = Cable::new();
    let server = open(&cable.server, Capture::Broadcasts { port: 67 });
    let everything = open(&cable.server, Capture::Datagrams { port: 67 });
    let client = open(&cable.client, Capture::Arp);
    let mut fragment = datagram(MacAddr::BROADCAST, "255.255.255.255:67", b"fragment");
    fragment[20] = 0x20;
    let mut tcp = datagram(MacAddr::BROADCAST, "255.255.255.255:67", b"not UDP");
    tcp[23] = 6;
    send(
        &client,
        &[
            datagram(MacAddr::BROADCAST, "255.255.255.255:68", b"another port"),
            datagram(SERVER, "10.1.0.1:67", b"unicast"),
            datagram(MacAddr([2, 0, 0, 0, 0, 9]), "10.1.0.9:67", b"for another host"),
            fragment,
            tcp,
            vec![0xff; 14],
            datagram(MacAddr::BROADCAST, "10.1.0.255:67", b"to the subnet"),
            datagram(MacAddr::BROADCAST, "255.255.255.255:67", b"to all"),
        ],
    );
    assert_eq!(payloads_until(&server, b"to all"), [&b"to the subnet"[..], b"to all"]);
    assert_eq!(payloads_until(&everything, b"to all"), [&b"unicast"[..], b"to the subnet", b"to all"]);
    assert_eq!(server.drops().unwrap(), 0);
}

#[test]
fn a_datagram_whose_checksum_was_left_to_the_hardware_is_trusted() {
    let cable = Cable::new();
    let server = open(&cable.server, Capture::Broadcasts { port: 67 });
    // A veth leaves the checksum of what this host's UDP sends undone: verified, it would be wrong.
    let client = cable.client.run(|| std::net::UdpSocket::bind("10.1.0.2:68").unwrap());
    client.set_broadcast(true).unwrap();
    client.send_to(b"discover", "255.255.255.255:67").unwrap();
    assert_eq!(payloads_until(&server, b"discover").len(), 1);
}

#[test]
fn options_in_the_ip_header_do_not_hide_the_port() {
    let cable = Cable::new();
    let server = open(&cable.server, Capture::Broadcasts { port: 67 });
    let client = open(&cable.client, Capture::Arp);
    let mut frame = datagram(MacAddr::BROADCAST, "255.255.255.255:67", b"with options");
    frame[14] = 0x46;
    frame[17] += 4;
    frame.splice(34..34, [1, 1, 1, 0]);
    frame[24..26].fill(0);
    let sum = outwork_wire::checksum::checksum(&frame[14..38]);
    frame[24..26].copy_from_slice(&sum.to_be_bytes());
    send(&client, &[frame]);
    assert_eq!(payloads_until(&server, b"with options").len(), 1);
}

#[test]
fn a_group_takes_each_frame_once_and_keeps_each_client_with_one_socket() {
    let cable = Cable::new();
    let group =
        cable.server.run(|| PacketSocket::open_group(&eth0(), Capture::Broadcasts { port: 67 }, 1 << 20, 4).unwrap());
    let watcher = open(&cable.server, Capture::Broadcasts { port: 67 });
    let client = open(&cable.client, Capture::Arp);
    let message = |number: u32| {
        let mut message = vec![0; 240];
        message[30..34].copy_from_slice(&number.to_be_bytes());
        datagram(MacAddr::BROADCAST, "255.255.255.255:67", &message)
    };
    for _ in 0..2 {
        send(&client, &(0..64).map(message).collect::<Vec<_>>());
    }
    send(&client, &[datagram(MacAddr::BROADCAST, "255.255.255.255:67", b"last")]);
    assert_eq!(payloads_until(&watcher, b"last").len(), 129);

    let mut inbox = Inbox::new(256, 2000);
    let (mut seen, mut busy) = (std::collections::BTreeMap::new(), 0);
    for (index, socket) in group.iter().enumerate() {
        socket.receive(&mut inbox).unwrap();
        let clients = inbox.frames().filter(|frame| frame.bytes.len() == 282).map(|frame| frame.bytes[72..76].to_vec());
        clients.for_each(|client| seen.entry(client).or_insert_with(Vec::new).push(index));
        busy += u32::from(inbox.frames().count() >= 8);
    }
    assert_eq!((seen.len(), busy), (64, 4));
    assert!(seen.values().all(|sockets| sockets.len() == 2 && sockets[0] == sockets[1]), "{seen:?}");
}

#[test]
fn two_groups_on_one_host_do_not_mix() {
    let cable = Cable::new();
    let both: Vec<_> = (0..2)
        .map(|_| {
            cable.server.run(|| PacketSocket::open_group(&eth0(), Capture::Broadcasts { port: 67 }, 0, 2).unwrap())
        })
        .collect();
    let client = open(&cable.client, Capture::Arp);
    send(&client, &[datagram(MacAddr::BROADCAST, "255.255.255.255:67", b"short goes to the first")]);
    for group in both {
        assert_eq!(payloads_until(&group[0], b"short goes to the first").len(), 1);
    }
}

#[test]
fn an_address_in_use_answers_an_arp_probe_and_an_echo() {
    let cable = Cable::new();
    let (arp, echo) = (open(&cable.server, Capture::Arp), open(&cable.server, Capture::EchoReplies));
    let link = Link { destination: MacAddr::BROADCAST, source: SERVER, vlan: None };
    let mut inbox = Inbox::new(8, 2000);
    let first_frame = |socket: &PacketSocket, inbox: &mut Inbox| {
        poll::wait(&mut [poll::Entry::readable(socket)], None).unwrap();
        socket.receive(inbox).unwrap();
        inbox.frames().next().unwrap().bytes.to_vec()
    };

    let mut probe = Vec::new();
    frame::arp_frame(link, &arp::Packet::probe(SERVER, CLIENT_IP), &mut probe);
    send(&arp, &[probe]);
    let reply = first_frame(&arp, &mut inbox);
    let reply = arp::Packet::parse(ethernet::Frame::parse(&reply).unwrap().payload).unwrap();
    assert_eq!((reply.operation, reply.sender, reply.sender_mac), (arp::Operation::Reply, CLIENT_IP, CLIENT));

    let mut request = Vec::new();
    let question = Echo { reply: false, identifier: 7, sequence: 1, data: b"anybody there" };
    frame::echo_frame(Link { destination: CLIENT, ..link }, SERVER_IP, CLIENT_IP, &question, &mut request).unwrap();
    send(&echo, &[request]);
    let reply = first_frame(&echo, &mut inbox);
    let packet = ipv4::Packet::parse(ethernet::Frame::parse(&reply).unwrap().payload).unwrap();
    assert_eq!((packet.source, Echo::parse(packet.payload)), (CLIENT_IP, Ok(Echo { reply: true, ..question })));
}

#[test]
fn a_socket_outlives_its_interface_going_down_and_coming_up() {
    let cable = Cable::new();
    let server = open(&cable.server, Capture::Broadcasts { port: 67 });
    let client = open(&cable.client, Capture::Arp);
    cable.server.ip("link set eth0 down");
    assert_eq!(server.receive(&mut Inbox::new(4, 2000)).unwrap(), 0);
    cable.server.ip("link set eth0 up");
    send(&client, &[datagram(MacAddr::BROADCAST, "255.255.255.255:67", b"back")]);
    assert_eq!(payloads_until(&server, b"back").len(), 1);
}

#[test]
fn what_the_kernel_drops_is_counted() {
    let cable = Cable::new();
    let server = cable.server.run(|| PacketSocket::open(&eth0(), Capture::Broadcasts { port: 67 }, 4096).unwrap());
    let watcher = open(&cable.server, Capture::Broadcasts { port: 67 });
    let client = open(&cable.client, Capture::Arp);
    let mut frames = vec![datagram(MacAddr::BROADCAST, "255.255.255.255:67", &[0; 500]); 99];
    frames.push(datagram(MacAddr::BROADCAST, "255.255.255.255:67", b"last"));
    send(&client, &frames);
    assert_eq!(payloads_until(&watcher, b"last").len(), 100);
    let mut inbox = Inbox::new(200, 2000);
    let received = server.receive(&mut inbox).unwrap();
    assert!(received < 100);
    assert_eq!(server.drops().unwrap() as usize, 100 - received);
}

#[test]
fn an_interface_that_is_gone_is_named() {
    let lab = Lab::new();
    let namespace = lab.namespace("bare");
    namespace.run(|| {
        let loopback = interfaces().unwrap().remove(0);
        let gone = Interface { name: "gone0".to_owned(), index: 4242, ..loopback };
        let error = PacketSocket::open(&gone, Capture::Arp, 0).unwrap_err();
        assert!(error.to_string().contains("gone0"), "{error}");
    });
}
