use std::collections::BTreeMap;
use std::convert::Infallible;

use super::*;
use crate::poll;
use crate::testing::Lab;

const LOOPBACK: SocketAddrV4 = SocketAddrV4::new(Ipv4Addr::LOCALHOST, 0);

fn socket(address: SocketAddrV4) -> UdpSocket {
    UdpSocket::bind(&Options::new(address)).unwrap()
}

fn offloading(address: SocketAddrV4) -> UdpSocket {
    UdpSocket::bind(&Options { offload: true, ..Options::new(address) }).unwrap()
}

fn path(to: SocketAddrV4) -> Path {
    Path { to, from: Ipv4Addr::UNSPECIFIED, interface: 0 }
}

fn push(outbox: &mut Outbox, path: Path, payload: &[u8]) {
    outbox
        .push(path, |out| {
            out.extend_from_slice(payload);
            Ok::<_, Infallible>(())
        })
        .unwrap();
}

/// Sends one datagram, which must leave.
fn send(socket: &UdpSocket, path: Path, payload: &[u8]) {
    let mut outbox = Outbox::new(1);
    push(&mut outbox, path, payload);
    let report = socket.send(&mut outbox);
    assert_eq!(report.sent, 1, "{report:?}");
}

/// A DHCP message as far as steering goes: its client's hardware address.
fn message(client: u32) -> [u8; 240] {
    let mut message = [0; 240];
    message[28..34].copy_from_slice(&[2, 0, 0, 0, 0, 0]);
    message[30..34].copy_from_slice(&client.to_be_bytes());
    message
}

fn payloads(inbox: &Inbox) -> Vec<Vec<u8>> {
    inbox.datagrams().map(|datagram| datagram.payload.to_vec()).collect()
}

#[test]
fn a_batch_comes_with_its_sources_its_destination_and_its_interface() {
    let (server, client) = (socket("0.0.0.0:0".parse().unwrap()), socket(LOOPBACK));
    let to = SocketAddrV4::new(Ipv4Addr::new(127, 0, 0, 9), server.local().port());
    let mut outbox = Outbox::new(100);
    // Each longer than the one before, so that none can leave together with it.
    (0..100u8).for_each(|number| push(&mut outbox, path(to), &vec![number; 30 + usize::from(number)]));
    let report = client.send(&mut outbox);
    assert_eq!((report.sent, report.blocked, outbox.is_empty()), (100, false, true));

    let mut inbox = Inbox::new(70, 20);
    assert_eq!(server.receive(&mut inbox).unwrap(), 70, "one batch is more than one system call takes");
    let first = inbox.datagrams().next().unwrap();
    assert_eq!((first.payload, first.truncated), (&[0; 20][..], true));
    assert_eq!((first.source, first.destination), (client.local(), *to.ip()));
    assert_eq!(
        first.interface,
        crate::interfaces().unwrap().iter().find(|interface| interface.loopback).unwrap().index
    );
    assert_eq!(server.receive(&mut inbox).unwrap(), 30);
    assert_eq!(
        inbox.datagrams().map(|datagram| datagram.payload[0]).collect::<Vec<_>>(),
        (70..100).collect::<Vec<_>>()
    );
    assert_eq!(server.receive(&mut inbox).unwrap(), 0);
    assert_eq!(inbox.datagrams().count(), 0);
}

#[test]
fn neighbours_of_the_same_way_and_length_travel_as_one_and_arrive_as_they_were() {
    let (server, other, client) = (offloading(LOOPBACK), offloading(LOOPBACK), offloading(LOOPBACK));
    let mut outbox = Outbox::new(200);
    let mut sent: Vec<Vec<u8>> = (0..70u8).map(|number| vec![number; 300]).collect();
    sent.extend([vec![70; 100], vec![71; 300], vec![72; 301], vec![73; 301]]);
    sent.iter().for_each(|payload| push(&mut outbox, path(server.local()), payload));
    push(&mut outbox, path(other.local()), b"to another");
    sent.push(vec![74; 301]);
    push(&mut outbox, path(server.local()), &[74; 301]);
    let report = client.send(&mut outbox);
    assert_eq!((report.sent, report.failed, outbox.is_empty()), (sent.len() + 1, 0, true));

    let mut inbox = Inbox::of_runs(64, 1000);
    // 64 of 300 octets; 6 and the shorter one that ends their run; one of 300; two of 301; and behind what went elsewhere, one.
    assert_eq!(server.receive(&mut inbox).unwrap(), 5);
    assert_eq!(payloads(&inbox), sent);
    assert!(inbox.datagrams().all(|datagram| !datagram.truncated && datagram.source == client.local()));
    other.receive(&mut inbox).unwrap();
    assert_eq!(payloads(&inbox), [b"to another"]);
}

#[test]
fn a_run_comes_apart_for_a_socket_that_knows_nothing_of_runs_and_on_a_link_too_narrow_for_its_datagrams() {
    let lab = Lab::new();
    let (host, peer) = (lab.namespace("host"), lab.namespace("peer"));
    lab.veth((&host, "eth0"), (&peer, "eth0"));
    for (namespace, address) in [(&host, "10.1.0.1/24"), (&peer, "10.1.0.2/24")] {
        namespace.ip(&format!("addr add {address} dev eth0"));
        namespace.ip("link set eth0 mtu 800");
    }
    let server = host.run(|| std::net::UdpSocket::bind("10.1.0.1:67").unwrap());
    let client = peer.run(|| offloading("10.1.0.2:68".parse().unwrap()));
    for length in [400, 1200] {
        let mut outbox = Outbox::new(8);
        (0..5u8).for_each(|number| push(&mut outbox, path("10.1.0.1:67".parse().unwrap()), &vec![number; length]));
        let report = client.send(&mut outbox);
        assert_eq!((report.sent, report.failed), (5, 0), "{length}: {report:?}");
        for number in 0..5 {
            let mut room = [0; 2000];
            assert_eq!(server.recv(&mut room).unwrap(), length);
            assert_eq!(room[..length], vec![number; length]);
        }
    }
}

#[test]
fn a_run_to_where_no_way_leads_is_reported_whole() {
    let lab = Lab::new();
    lab.namespace("alone").run(|| {
        let client = offloading("0.0.0.0:0".parse().unwrap());
        let mut outbox = Outbox::new(4);
        (0..3).for_each(|_| push(&mut outbox, path("192.0.2.1:67".parse().unwrap()), b"no route"));
        let report = client.send(&mut outbox);
        assert_eq!((report.sent, report.failed, outbox.is_empty()), (0, 3, true));
    });
}

#[test]
fn an_answer_leaves_from_the_address_that_was_asked() {
    let (server, client) = (socket("0.0.0.0:0".parse().unwrap()), socket(LOOPBACK));
    let from = Ipv4Addr::new(127, 0, 0, 9);
    send(&server, Path { to: client.local(), from, interface: 0 }, b"answer");
    let mut inbox = Inbox::new(4, 100);
    client.receive(&mut inbox).unwrap();
    assert_eq!(inbox.datagrams().map(|datagram| *datagram.source.ip()).collect::<Vec<_>>(), [from]);
}

#[test]
fn a_group_keeps_each_client_with_one_socket_and_spreads_them_over_all() {
    let group = UdpSocket::bind_group(&Options::new(LOOPBACK), 4).unwrap();
    let sender = socket(LOOPBACK);
    for _ in 0..3 {
        (0..64).for_each(|client| send(&sender, path(group[0].local()), &message(client)));
    }
    send(&sender, path(group[0].local()), b"too short to have an address");

    let mut inbox = Inbox::new(256, 300);
    let mut owners = BTreeMap::new();
    for (index, socket) in group.iter().enumerate() {
        socket.receive(&mut inbox).unwrap();
        for datagram in inbox.datagrams() {
            let client = datagram.payload.get(30..34).filter(|_| datagram.payload.len() == 240);
            owners.entry(client.map(<[u8]>::to_vec)).or_insert_with(Vec::new).push(index);
        }
    }
    assert_eq!(owners.remove(&None), Some(vec![0]));
    assert_eq!(owners.len(), 64);
    let mut load = [0; 4];
    for sockets in owners.values() {
        assert!(sockets.len() == 3 && sockets.iter().all(|socket| *socket == sockets[0]), "{sockets:?}");
        load[sockets[0]] += 1;
    }
    assert!(load.iter().all(|clients| *clients >= 8), "{load:?}");
}

#[test]
fn an_address_in_use_is_named_and_a_lone_socket_does_not_share_it() {
    let first = socket(LOOPBACK);
    let error = UdpSocket::bind(&Options::new(first.local())).unwrap_err();
    assert!(error.to_string().contains(&first.local().to_string()), "{error}");
    assert_eq!(error.source.kind(), std::io::ErrorKind::AddrInUse);
}

#[test]
fn what_the_kernel_drops_is_counted() {
    let server = UdpSocket::bind(&Options { receive_buffer: 4096, ..Options::new(LOOPBACK) }).unwrap();
    let client = socket(LOOPBACK);
    (0..100).for_each(|_| send(&client, path(server.local()), &[0; 500]));
    let mut inbox = Inbox::new(200, 500);
    let received = server.receive(&mut inbox).unwrap();
    assert!(received < 100);
    assert_eq!(server.drops().unwrap() as usize, 100 - received);
}

#[test]
fn a_datagram_that_cannot_be_sent_is_reported_and_holds_up_no_other() {
    let lab = Lab::new();
    let namespace = lab.namespace("alone");
    namespace.run(|| {
        let (server, client) = (socket(LOOPBACK), socket("0.0.0.0:0".parse().unwrap()));
        let mut outbox = Outbox::new(4);
        push(&mut outbox, path("192.0.2.1:67".parse().unwrap()), b"no route");
        push(&mut outbox, path(server.local()), b"one");
        push(&mut outbox, path("192.0.2.1:67".parse().unwrap()), b"no route");
        push(&mut outbox, path(server.local()), b"two");
        let report = client.send(&mut outbox);
        assert_eq!((report.sent, report.failed, report.no_buffers, report.blocked), (2, 2, 0, false));
        assert_eq!(report.refused, [(0, libc::ENETUNREACH), (2, libc::ENETUNREACH)]);
        assert_eq!(report.last_error.unwrap().kind(), std::io::ErrorKind::NetworkUnreachable);
        assert_eq!(server.receive(&mut Inbox::new(4, 10)).unwrap(), 2);
    });
}

#[test]
fn a_full_outbox_and_a_message_that_fails_are_refused_and_leave_no_trace() {
    let server = socket(LOOPBACK);
    let mut outbox = Outbox::new(1);
    let failed = outbox.push(path(server.local()), |out| {
        out.extend_from_slice(b"half");
        Err("broken")
    });
    assert_eq!(failed, Err(Refused::Message("broken")));
    push(&mut outbox, path(server.local()), b"whole");
    assert_eq!(outbox.push(path(server.local()), |_| Ok::<_, Infallible>(())), Err(Refused::Full));
    assert_eq!((outbox.len(), server.send(&mut outbox).sent), (1, 1));
    let mut inbox = Inbox::new(4, 100);
    server.receive(&mut inbox).unwrap();
    assert_eq!(inbox.datagrams().map(|datagram| datagram.payload).collect::<Vec<_>>(), [b"whole"]);
}

#[test]
fn broadcasts_are_left_to_packet_sockets_and_not_counted_as_lost() {
    let lab = Lab::new();
    let (host, peer) = (lab.namespace("host"), lab.namespace("peer"));
    lab.veth((&host, "eth0"), (&peer, "eth0"));
    host.ip("addr add 10.1.0.1/24 dev eth0");
    peer.ip("addr add 10.1.0.2/24 dev eth0");
    let options = Options { unicasts_only: true, ..Options::new("0.0.0.0:67".parse().unwrap()) };
    let server = host.run(|| UdpSocket::bind(&options).unwrap());
    let client = peer.run(|| socket("10.1.0.2:68".parse().unwrap()));
    for (to, payload) in
        [("255.255.255.255:67", b"broadcast"), ("10.1.0.255:67", b"broadcast"), ("10.1.0.1:67", b"unicast..")]
    {
        send(&client, path(to.parse().unwrap()), payload);
    }
    let mut inbox = Inbox::new(8, 100);
    let mut taken = Vec::new();
    while taken.is_empty() {
        poll::wait(&mut [poll::Entry::readable(&server)], None).unwrap();
        server.receive(&mut inbox).unwrap();
        taken.extend(inbox.datagrams().map(|datagram| datagram.payload.to_vec()));
    }
    assert_eq!(taken, [b"unicast.."]);
    assert_eq!(server.drops().unwrap(), 0);
}

#[test]
fn a_socket_bound_to_an_interface_takes_nothing_from_another() {
    let lab = Lab::new();
    let host = lab.namespace("host");
    host.ip("link add other type veth peer name unused");
    host.ip("link set other up");
    host.run(|| {
        let options = Options { device: Some("other".to_owned()), ..Options::new("0.0.0.0:0".parse().unwrap()) };
        let bound = UdpSocket::bind(&options).unwrap();
        let to = SocketAddrV4::new(Ipv4Addr::LOCALHOST, bound.local().port());
        let open = socket("127.0.0.2:0".parse().unwrap());
        send(&open, path(to), b"by loopback");
        assert_eq!(bound.receive(&mut Inbox::new(4, 100)).unwrap(), 0);
        let missing = Options { device: Some("missing".to_owned()), ..options };
        assert!(UdpSocket::bind(&missing).unwrap_err().to_string().contains("on missing"));
    });
}

#[test]
fn an_empty_datagram_comes_like_any_other() {
    for (server, mut inbox) in [(socket(LOOPBACK), Inbox::new(4, 100)), (offloading(LOOPBACK), Inbox::of_runs(4, 100))]
    {
        let client = socket(LOOPBACK);
        for payload in [&b"before"[..], b"", b"after"] {
            send(&client, path(server.local()), payload);
        }
        let mut all = Vec::new();
        while all.len() < 3 {
            poll::wait(&mut [poll::Entry::readable(&server)], None).unwrap();
            server.receive(&mut inbox).unwrap();
            all.extend(payloads(&inbox));
        }
        assert_eq!(all, [&b"before"[..], b"", b"after"]);
        assert!(inbox.datagrams().all(|datagram| datagram.source == client.local() && !datagram.truncated));
    }
}
