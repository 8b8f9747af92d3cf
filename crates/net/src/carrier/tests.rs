use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use super::*;
use crate::poll;
use crate::testing::{self, Lab, Namespace};

const LOOPBACKS: [&str; 2] = ["127.0.0.1:0", "[::1]:0"];
/// DSCP EF, and ECT(1).
const EXPEDITED: u8 = 46 << 2 | 1;

fn options(address: &str) -> Options {
    Options { receive_buffer: 4 << 20, ..Options::new(address.parse().unwrap()) }
}

fn socket(address: &str) -> Socket {
    Socket::bind(&options(address)).unwrap()
}

fn way(to: SocketAddr) -> Way {
    Way { to, from: None, tos: 0, mark: 0 }
}

fn octets(length: usize) -> Vec<u8> {
    (0..length).map(|at| (at * 31 / 7) as u8).collect()
}

/// Sends datagrams, all of which must leave.
fn send(socket: &Socket, way: Way, octets: &[u8], segment: usize) {
    assert_eq!(socket.send(&way, octets, segment), Sent { octets: octets.len(), stopped: None });
}

/// What comes until `length` octets have come: they, and the run that each of them came in.
fn receive(socket: &Socket, length: usize) -> (Vec<u8>, Vec<Received>) {
    let (mut room, mut all, mut runs) = (vec![0; 1 << 16], vec![], vec![]);
    while all.len() < length {
        poll::wait(&mut [poll::Entry::readable(socket)], None).unwrap();
        while let Some(run) = socket.receive(&mut room).unwrap() {
            all.extend_from_slice(&room[..run.length]);
            runs.push(run);
        }
    }
    (all, runs)
}

fn shapes(runs: &[Received]) -> Vec<(usize, usize)> {
    runs.iter().map(|run| (run.length, run.segment)).collect()
}

/// What the kernel has heard by now: to whom, from whom, why and the MTU.
fn failures(socket: &Socket) -> Vec<(SocketAddr, Option<IpAddr>, Reason, usize)> {
    let mut told = vec![];
    socket.failures(|failure| told.push((failure.to, failure.told_by, failure.reason, failure.mtu))).unwrap();
    told
}

fn set(namespace: &Namespace, setting: &str) {
    assert!(namespace.command("sysctl").args(["-qw", setting]).status().unwrap().success());
}

/// A cable, with addresses .1 and ::1 at the left end, .2 and ::2 at the right.
fn cable(lab: &Lab, left: &Namespace, right: &Namespace, name: &str, number: u8) {
    lab.veth((left, name), (right, name));
    for (namespace, host) in [(left, 1), (right, 2)] {
        namespace.ip(&format!("addr add 10.{number}.0.{host}/24 dev {name}"));
        namespace.ip(&format!("-6 addr add fd00:{number}::{host}/64 dev {name} nodad"));
    }
}

#[test]
fn runs_come_and_go_whole_and_a_long_one_as_several() {
    for address in LOOPBACKS {
        let (server, client) = (socket(address), socket(address));
        // 54 datagrams of 1200 octets are as many as a run has octets for; 64 of 100 as many as it may have.
        for (length, segment, expected) in [
            (100 * 1200 + 700, 1200, &[(64_800, 1200), (55_900, 1200)][..]),
            (130 * 100, 100, &[(6400, 100), (6400, 100), (200, 100)]),
            (50, 50, &[(50, 50)]),
            (50, 0, &[(50, 50)]),
            (50, 1000, &[(50, 50)]),
        ] {
            let sent = octets(length);
            send(&client, way(server.local()), &sent, segment);
            let (come, runs) = receive(&server, length);
            assert!(come == sent, "{length} octets to {address}");
            assert_eq!(shapes(&runs), expected, "{address}");
            assert!(runs.iter().all(|run| run.from == client.local() && run.to == server.local().ip()));
        }
        assert_eq!(client.send(&way(server.local()), &[], 100), Sent { octets: 0, stopped: None });
        assert_eq!(server.receive(&mut [0; 100]).unwrap(), None);
        assert!(client.sends_runs());
    }
}

#[test]
fn a_batch_of_runs_comes_into_rooms_of_their_own() {
    let (server, client) = (socket(LOOPBACKS[0]), socket(LOOPBACKS[0]));
    let sent = octets(3000);
    for segment in [1000, 500, 3000, 100] {
        send(&client, way(server.local()), &sent, segment);
    }
    let (mut rooms, mut found) = (vec![vec![0; 1 << 16]; 3], [Received::NOTHING; 20]);
    assert_eq!(server.receive_batch(&mut rooms, &mut found).unwrap(), 3, "there are three rooms");
    assert_eq!(shapes(&found[..4]), [(3000, 1000), (3000, 500), (3000, 3000), (0, 1)]);
    assert!(rooms.iter().all(|room| room[..3000] == sent));
    assert_eq!(server.receive_batch(&mut rooms, &mut found).unwrap(), 1);
    assert_eq!(shapes(&found[..1]), [(3000, 100)]);
    assert_eq!(server.receive_batch(&mut rooms, &mut found).unwrap(), 0);
}

#[test]
fn what_does_not_fit_is_missing_as_whole_datagrams_and_counted() {
    let (server, client) = (socket(LOOPBACKS[0]), socket(LOOPBACKS[0]));
    let mut room = [0; 2500];
    send(&client, way(server.local()), &octets(5000), 1000);
    let run = server.receive(&mut room).unwrap().unwrap();
    assert_eq!((run.length, run.segment), (2000, 1000));
    assert!(room[..2000] == octets(2000));
    send(&client, way(server.local()), &octets(2501), 2501);
    let run = server.receive(&mut room).unwrap().unwrap();
    assert_eq!((run.length, run.segment), (0, 1));
    send(&client, way(server.local()), &octets(2500), 2500);
    assert_eq!(server.receive(&mut room).unwrap().unwrap().length, 2500);
    assert_eq!(server.counters(), Counters { truncated: 2, runs_refused: 0 });
}

#[test]
fn the_traffic_class_arrives_with_its_ecn() {
    for address in LOOPBACKS {
        let (server, client) = (socket(address), socket(address));
        for (tos, length) in [(EXPEDITED, 3000), (EXPEDITED, 10), (0, 3000)] {
            send(&client, Way { tos, ..way(server.local()) }, &octets(length), 1000);
            assert_eq!(receive(&server, length).1[0].tos, tos, "{address}");
        }
    }
}

#[test]
fn runs_and_single_datagrams_bear_the_mark_that_they_are_given() {
    let lab = Lab::new();
    let host = lab.namespace("host");
    let rules = "table inet watch { counter marked { packets 0 bytes 0; }; chain out { type filter hook output priority 0; meta mark 0x77 counter name marked; }; }";
    assert!(host.command("nft").arg(rules).status().unwrap().success());
    host.run(|| {
        for address in LOOPBACKS {
            let (server, client) = (socket(address), socket(address));
            for (mark, length) in [(0x77, 3000), (0x77, 10), (0, 3000), (0x78, 10)] {
                send(&client, Way { mark, tos: EXPEDITED, ..way(server.local()) }, &octets(length), 1000);
                receive(&server, length);
            }
        }
    });
    let output = host.command("nft").args(["list", "counter", "inet", "watch", "marked"]).output().unwrap();
    let told = String::from_utf8(output.stdout).unwrap();
    // A run counts as one packet where its device takes runs, as this one does.
    assert!(told.contains("packets 4 "), "{told}");
}

#[test]
fn an_answer_leaves_from_the_address_that_was_asked() {
    let lab = Lab::new();
    let host = lab.namespace("host");
    host.ip("-6 addr add fd00::9/128 dev lo nodad");
    host.run(|| {
        for (any, loopback, asked) in [("0.0.0.0:0", LOOPBACKS[0], "127.0.0.9"), ("[::]:0", LOOPBACKS[1], "fd00::9")] {
            let (server, client) = (socket(any), socket(loopback));
            let asked: IpAddr = asked.parse().unwrap();
            send(&client, way(SocketAddr::new(asked, server.local().port())), b"question", 4);
            let question = receive(&server, 8).1[0];
            assert_eq!((question.to, question.from), (asked, client.local()));
            assert_eq!(question.interface, 1, "the loopback interface is the first of any namespace");
            let back = Way { from: Some(question.to), tos: EXPEDITED, ..way(question.from) };
            send(&server, back, b"answers", 4);
            let answer = receive(&client, 7).1[0];
            assert_eq!((answer.from.ip(), answer.tos, answer.segment), (asked, EXPEDITED, 4));
            // An address that this host has not, or not any longer.
            let foreign: IpAddr = if asked.is_ipv4() { "192.0.2.1" } else { "2001:db8::1" }.parse().unwrap();
            let sent = server.send(&Way { from: Some(foreign), ..back }, &octets(100), 10);
            // Over IPv4 newer kernels say that no route leads from there.
            let newer = asked.is_ipv4() && sent.stopped == Some(Reason::NetworkUnreachable);
            assert!(sent.octets == 0 && (newer || sent.stopped == Some(Reason::NoSource)), "{sent:?}");
            assert!(server.sends_runs(), "that says nothing of runs");
        }
    });
}

#[test]
fn a_narrow_link_on_the_way_is_told_with_its_mtu() {
    let lab = Lab::new();
    let (near, router, far) = (lab.namespace("near"), lab.namespace("router"), lab.namespace("far"));
    cable(&lab, &near, &router, "eth0", 1);
    cable(&lab, &router, &far, "eth1", 2);
    set(&router, "net.ipv4.ip_forward=1");
    set(&router, "net.ipv6.conf.all.forwarding=1");
    router.ip("link set eth1 mtu 1300");
    near.ip("route add default via 10.1.0.2");
    near.ip("-6 route add default via fd00:1::2");
    for (any, to, by) in [("0.0.0.0:0", "10.2.0.2:4500", "10.1.0.2"), ("[::]:0", "[fd00:2::2]:4500", "fd00:1::2")] {
        let (client, server) = (near.run(|| socket(any)), far.run(|| socket(to)));
        let (to, by): (SocketAddr, IpAddr) = (to.parse().unwrap(), by.parse().unwrap());
        let sent = octets(4000);
        let (mut told, mut quote) = (vec![], vec![]);
        // The link may not be ready for what is sent first: what is lost then is sent again.
        while told.is_empty() {
            send(&client, way(to), &sent, 1400);
            let mut entries = [poll::Entry::readable(&client)];
            poll::wait(&mut entries, Some(std::time::Duration::from_millis(200))).unwrap();
            if entries[0].has_errors() {
                let mut each = |failure: Failure<'_>| {
                    told.push((failure.to, failure.told_by, failure.reason, failure.mtu));
                    quote = failure.quote.to_vec();
                };
                client.failures(&mut each).unwrap();
            }
        }
        assert_eq!(told[0], (to, Some(by), Reason::TooLong, 1300));
        // An ICMP message need not bring more than the header of what it is about.
        assert!(!quote.is_empty() && [&sent[..1400], &sent[1400..]].iter().any(|sent| sent.starts_with(&quote)));

        // What has been learnt does not keep a probe from leaving, unless that is wanted.
        while !failures(&client).is_empty() {}
        send(&client, way(to), &sent[..1400], 1400);
        client.set_path_mtu(PathMtu::Follow).unwrap();
        assert_eq!(client.send(&way(to), &sent[..1400], 1400).stopped, Some(Reason::TooLong));
        assert_eq!(client.send(&way(to), &sent, 1400), Sent { octets: 0, stopped: Some(Reason::TooLong) });
        send(&client, way(to), &sent, 1200);
        client.set_path_mtu(PathMtu::Fragment).unwrap();
        send(&client, way(to), &sent[..1401], 1401);
        // What was short enough came as well.
        while !receive(&server, 1).1.iter().any(|run| run.length == 1401) {}
    }
}

#[test]
fn what_is_too_long_for_the_interface_is_refused_and_runs_go_on() {
    let lab = Lab::new();
    let (host, peer) = (lab.namespace("host"), lab.namespace("peer"));
    cable(&lab, &host, &peer, "eth0", 1);
    for (any, to) in [("0.0.0.0:0", "10.1.0.2:4500"), ("[::]:0", "[fd00:1::2]:4500")] {
        let (client, server) = (host.run(|| socket(any)), peer.run(|| socket(to)));
        let to: SocketAddr = to.parse().unwrap();
        let sent = client.send(&way(to), &octets(1600), 1600);
        assert_eq!(sent, Sent { octets: 0, stopped: Some(Reason::TooLong) });
        let mut entries = [poll::Entry::readable(&client)];
        poll::wait(&mut entries, None).unwrap();
        assert!(entries[0].has_errors());
        let (told_to, told_by, reason, mtu) = failures(&client)[0];
        assert_eq!((told_to.ip(), told_by, reason, mtu), (to.ip(), None, Reason::TooLong, 1500));
        assert_eq!(client.send(&way(to), &octets(4800), 1600), Sent { octets: 0, stopped: Some(Reason::TooLong) });
        // A run is never fragmented; its datagrams are, where that is wanted.
        client.set_path_mtu(PathMtu::Fragment).unwrap();
        send(&client, way(to), &octets(4800), 1600);
        let (come, runs) = receive(&server, 4800);
        assert!(come == octets(4800));
        assert_eq!(shapes(&runs), [(1600, 1600); 3]);
        assert_eq!((client.sends_runs(), client.counters().runs_refused), (true, 0));
    }
}

#[test]
fn a_port_where_nobody_listens_is_told_and_hinders_nothing_to_others() {
    // A port where somebody listened goes on being heard at for as long as a program that was started meanwhile has its socket: here nobody ever did.
    let lab = Lab::new();
    let host = lab.namespace("host");
    host.run(|| {
        for address in LOOPBACKS {
            let (server, client) = (socket(address), socket(address));
            let mut closed = server.local();
            closed.set_port(9);
            for _ in 0..3 {
                send(&client, way(closed), b"to a closed port", 16);
                // The answer has come already; neither what is sent nor what is received next hears of it.
                send(&client, way(server.local()), &octets(3000), 1000);
            }
            send(&client, way(closed), b"to a closed port", 16);
            assert_eq!(client.receive(&mut [0; 100]).unwrap(), None);
            assert_eq!(shapes(&receive(&server, 9000).1), [(3000, 1000); 3]);

            let mut entries = [poll::Entry::readable(&client)];
            poll::wait(&mut entries, None).unwrap();
            assert!(entries[0].has_errors());
            let mut count = 0;
            let told = client.failures(|failure| {
                assert_eq!((failure.to, failure.told_by), (closed, Some(closed.ip())));
                assert_eq!((failure.reason, failure.mtu), (Reason::PortUnreachable, 0));
                assert_eq!(failure.quote, b"to a closed port");
                count += 1;
            });
            assert_eq!((told.unwrap(), count), (4, 4));
            let mut entries = [poll::Entry::readable(&client)];
            assert_eq!(poll::wait(&mut entries, Some(std::time::Duration::ZERO)).unwrap(), 0);
            assert!(!entries[0].has_errors());
        }
    });
}

#[test]
fn the_reasons_why_nothing_leaves_are_told_apart() {
    let lab = Lab::new();
    let host = lab.namespace("host");
    host.ip("route add unreachable 192.0.2.0/24");
    host.ip("route add prohibit 198.51.100.0/24");
    host.ip("-6 route add unreachable 2001:db8:1::/64");
    host.ip("-6 route add prohibit 2001:db8:2::/64");
    host.run(|| {
        for (any, ways) in [
            ("0.0.0.0:0", ["203.0.113.1:1", "192.0.2.1:1", "198.51.100.1:1"]),
            ("[::]:0", ["[2001:db8::1]:1", "[2001:db8:1::1]:1", "[2001:db8:2::1]:1"]),
        ] {
            let client = socket(any);
            let reasons = [Reason::NetworkUnreachable, Reason::HostUnreachable, Reason::Forbidden];
            for (to, reason) in ways.iter().zip(reasons) {
                let sent = client.send(&way(to.parse().unwrap()), &octets(3000), 1000);
                assert_eq!(sent, Sent { octets: 0, stopped: Some(reason) }, "{to}");
                assert_eq!(client.blocked(to.parse().unwrap()), Some(reason), "{to}");
            }
            assert!(client.sends_runs());
        }
    });
}

#[test]
fn a_full_socket_keeps_whole_datagrams_back_and_a_full_queue_loses_them() {
    let lab = Lab::new();
    let (host, peer) = (lab.namespace("host"), lab.namespace("peer"));
    cable(&lab, &host, &peer, "eth0", 1);
    host.ip("neigh add 10.1.0.2 lladdr 02:00:00:00:00:02 dev eth0");
    // So slow that nothing of note leaves while the test runs.
    let shape = |limit: &str| {
        let words =
            ["qdisc", "replace", "dev", "eth0", "root", "tbf", "rate", "8kbit", "burst", "1600", "limit", limit];
        assert!(host.command("tc").args(words).status().unwrap().success());
    };
    let to = way("10.1.0.2:4500".parse().unwrap());
    shape("10000000");
    let client = host.run(|| Socket::bind(&Options { send_buffer: 20_000, ..options("0.0.0.0:0") }).unwrap());
    let sent = client.send(&to, &octets(1_000_000), 1000);
    assert_eq!(sent.stopped, Some(Reason::Blocked));
    assert!(sent.octets > 0 && sent.octets % 1000 == 0, "{sent:?}");
    let mut entries = [poll::Entry::readable(&client).or_writable(true)];
    poll::wait(&mut entries, Some(std::time::Duration::ZERO)).unwrap();
    assert!(!entries[0].is_writable());

    shape("3000");
    let client = host.run(|| Socket::bind(&Options { offload: false, ..options("0.0.0.0:0") }).unwrap());
    let sent = client.send(&to, &octets(100_000), 1000);
    assert_eq!(sent.stopped, Some(Reason::NoBuffers));
    assert!(sent.octets < 10_000 && sent.octets % 1000 == 0, "{sent:?}");
}

#[test]
fn datagrams_leave_one_by_one_where_runs_are_refused() {
    let (server, client) = (socket(LOOPBACKS[0]), socket(LOOPBACKS[0]));
    // The kernel takes no runs from a socket that sends no checksums.
    socket::set(client.as_fd(), libc::SOL_SOCKET, libc::SO_NO_CHECK, 1).unwrap();
    let sent = octets(70 * 1000 + 300);
    for _ in 0..2 {
        send(&client, way(server.local()), &sent, 1000);
        let (come, runs) = receive(&server, sent.len());
        assert!(come == sent);
        assert_eq!(runs.len(), 71);
        assert!(!client.sends_runs());
        assert_eq!(client.counters().runs_refused, 1, "it is tried no second time");
    }
}

#[test]
fn a_socket_that_is_to_know_nothing_of_runs_neither_sends_nor_is_given_any() {
    for address in LOOPBACKS {
        let plain = Socket::bind(&Options { offload: false, ..options(address) }).unwrap();
        let (with_runs, sent) = (socket(address), octets(3500));
        for (from, to) in [(&plain, &with_runs), (&with_runs, &plain)] {
            send(from, way(to.local()), &sent, 1000);
            let (come, runs) = receive(to, sent.len());
            assert!(come == sent);
            assert_eq!(shapes(&runs), [(1000, 1000), (1000, 1000), (1000, 1000), (500, 500)]);
        }
        assert_eq!(plain.counters(), Counters::default());
    }
}

#[test]
fn each_flow_reaches_one_socket_of_a_group_and_all_get_some() {
    for address in LOOPBACKS {
        let group = Socket::bind_group(&options(address), 2).unwrap();
        let clients: Vec<_> = (0..64).map(|_| socket(address)).collect();
        for _ in 0..3 {
            clients.iter().for_each(|client| send(client, way(group[0].local()), &octets(300), 100));
        }
        let (mut owners, mut room) = (BTreeMap::new(), [0; 1000]);
        for (index, socket) in group.iter().enumerate() {
            assert_eq!(socket.local(), group[0].local());
            while let Some(run) = socket.receive(&mut room).unwrap() {
                owners.entry(run.from).or_insert_with(Vec::new).push(index);
            }
        }
        assert_eq!(owners.len(), 64);
        assert!(owners.values().all(|sockets| sockets == &[sockets[0]; 3]), "{owners:?}");
        let first = owners.values().filter(|sockets| sockets[0] == 0).count();
        assert!((8..=56).contains(&first), "{first} of 64");
    }
}

#[test]
fn sockets_of_both_families_and_of_two_interfaces_share_a_port() {
    let lab = Lab::new();
    let (host, peer) = (lab.namespace("host"), lab.namespace("peer"));
    cable(&lab, &host, &peer, "eth0", 1);
    cable(&lab, &host, &peer, "eth1", 2);
    let bound = |address: &str, device: &str| {
        let options = Options { device: Some(device.to_owned()), ..options(address) };
        host.run(|| Socket::bind(&options)).unwrap()
    };
    let by_second = [bound("0.0.0.0:4500", "eth1"), bound("[::]:4500", "eth1")];
    let by_first = [bound("0.0.0.0:4500", "eth0"), bound("[::]:4500", "eth0")];
    for (at, (any, to)) in [("0.0.0.0:0", "10.2.0.1:4500"), ("[::]:0", "[fd00:2::1]:4500")].into_iter().enumerate() {
        let client = peer.run(|| socket(any));
        // The link may not be ready for what is sent first.
        let mut ready = 0;
        while ready == 0 {
            send(&client, way(to.parse().unwrap()), b"by the second", 13);
            let mut entries = [poll::Entry::readable(&by_second[at])];
            ready = poll::wait(&mut entries, Some(std::time::Duration::from_millis(200))).unwrap();
        }
        assert_eq!(receive(&by_second[at], 13).0[..13], *b"by the second");
        assert_eq!(by_first[at].receive(&mut [0; 100]).unwrap(), None);
    }
    let missing = Options { device: Some("missing".to_owned()), ..options("0.0.0.0:0") };
    assert!(host.run(|| Socket::bind(&missing)).unwrap_err().to_string().contains("on missing"));
}

#[test]
fn a_socket_tells_what_buffers_it_was_given() {
    let asked = Options { receive_buffer: 32 << 20, send_buffer: 3 << 20, ..options(LOOPBACKS[1]) };
    let socket = Socket::bind(&asked).unwrap();
    // Tests run as root, whom `rmem_max` does not bind.
    assert_eq!(socket.buffers(), Buffers { receive: 32 << 20, send: 3 << 20 });
    let default = Socket::bind(&Options::new(LOOPBACKS[0].parse().unwrap())).unwrap();
    assert!(default.buffers().receive > 0 && default.buffers().receive < 32 << 20);
    assert_eq!(default.drops().unwrap(), 0);
    assert_eq!(default.local().ip(), Ipv4Addr::LOCALHOST);
    assert_eq!(socket.local().ip(), Ipv6Addr::LOCALHOST);
}

#[test]
fn what_icmp_says_that_anybody_can_send_stops_nothing_and_ends_no_runs() {
    let lab = Lab::new();
    let host = lab.namespace("host");
    host.run(|| {
        let (server, client) = (socket(LOOPBACKS[0]), socket(LOOPBACKS[0]));
        let (raw, stranger) = (testing::icmp().unwrap(), "203.0.113.9:7".parse().unwrap());
        let mut told = 0;
        for code in 0..=15 {
            let lie = testing::unreachable(code, client.local(), stranger, b"anything");
            let say = || raw.send_to(&lie, "127.0.0.1:0").unwrap();
            say();
            assert_eq!(client.receive(&mut [0; 100]).unwrap(), None, "{code}");
            for length in [3000, 100] {
                say();
                send(&client, way(server.local()), &octets(length), 1000);
                receive(&server, length);
            }
            say();
            assert_eq!(client.blocked(server.local()), None, "{code}");
            client.failures(|failure| told += usize::from(failure.to.port() == 7)).unwrap();
        }
        assert_eq!(told, 16 * 4, "all of them were heard");
        assert_eq!((client.sends_runs(), client.counters().runs_refused), (true, 0));
    });
}

#[test]
fn what_icmp_could_say_as_well_is_asked_of_this_host_as_often_as_it_is_said() {
    let error = io::Error::from_raw_os_error;
    let outcome = |said: &[i32], ask: fn() -> io::Result<()>| {
        let mut said = said.iter().copied();
        let sent = patiently(|| said.next().map_or(Ok(1), |code| Err(error(code))), ask);
        sent.map_err(|error| error.raw_os_error().unwrap())
    };
    let [unreachable, no_network] = [libc::EHOSTUNREACH, libc::ENETUNREACH];
    assert_eq!(outcome(&[unreachable; 5], || Ok(())), Ok(1), "it is of others, however often");
    assert_eq!(outcome(&[libc::EOPNOTSUPP, unreachable, libc::EACCES, libc::ECONNREFUSED], || Ok(())), Ok(1));
    let ask = || Err(io::Error::from_raw_os_error(libc::ENETUNREACH));
    assert_eq!(outcome(&[unreachable], ask), Err(no_network), "what this host says counts");
    assert_eq!(outcome(&[libc::EPROTO; 100], || Ok(())), Err(libc::ENOBUFS), "it ends");
    assert_eq!(outcome(&[libc::EMSGSIZE], ask), Ok(1));
    assert_eq!(outcome(&[libc::EMSGSIZE; 2], ask), Err(libc::EMSGSIZE));
    assert_eq!(outcome(&[libc::ENETDOWN, 0], || Ok(())), Err(libc::ENETDOWN), "ICMP never says that");
}
