use std::net::{TcpListener, TcpStream, UdpSocket};
use std::os::fd::AsFd;

use super::super::tests::{cable, said};
use super::*;
use crate::sys::socket;
use crate::testing::{Lab, Namespace};

const ROOT_MAJOR: u16 = 0x6f;

fn handle(minor: u16) -> Handle {
    Handle { major: ROOT_MAJOR, minor }
}

/// A tree with three classes below one, the last of which takes what no filter knows.
fn plant(kernel: &mut Connection, link: u32) -> [Class; 4] {
    kernel.add_tree(link, Tree { major: ROOT_MAJOR, default_class: 0x30 }).unwrap();
    let all = Class::new(handle(1), 12_500_000);
    let below = |minor, rate, priority| Class {
        parent: Some(handle(1)),
        ceil: 12_500_000,
        priority,
        ..Class::new(handle(minor), rate)
    };
    let classes = [all, below(0x10, 5_000_000, 0), below(0x20, 2_500_000, 1), below(0x30, 1_250_000, 2)];
    classes.iter().for_each(|class| kernel.set_class(link, class).unwrap());
    classes
}

/// A socket in the one namespace that sends to one in the other.
fn pair(from: &Namespace, to: &Namespace, local: &str, remote: &str) -> (UdpSocket, UdpSocket) {
    let receiver = to.run(|| UdpSocket::bind((remote, 0)).unwrap());
    let sender = from.run(|| UdpSocket::bind((local, 0)).unwrap());
    sender.connect(receiver.local_addr().unwrap()).unwrap();
    (sender, receiver)
}

/// Sends so many datagrams, and waits until the other has them.
fn send((sender, receiver): &(UdpSocket, UdpSocket), count: usize) {
    for _ in 0..count {
        sender.send(&[7; 200]).unwrap();
        assert_eq!(receiver.recv(&mut [0; 300]).unwrap(), 200);
    }
}

#[test]
fn a_tree_is_read_back_as_it_was_planted_and_is_what_tc_shows() {
    let lab = Lab::new();
    let (host, _peer, mut kernel, link) = cable(&lab);
    let classes = plant(&mut kernel, link);
    let read: Vec<Class> = kernel.classes(link).unwrap().into_iter().map(|report| report.class).collect();
    let near = |a: u32, b: u32| a.abs_diff(b) <= 1;
    assert!(read.iter().zip(&classes).all(|(read, class)| near(read.burst, class.burst)), "{read:?}");
    let exact: Vec<Class> =
        read.iter().zip(&classes).map(|(read, class)| Class { burst: class.burst, ..*read }).collect();
    assert_eq!(exact, classes);
    let qdiscs = kernel.qdiscs(link).unwrap();
    assert_eq!((qdiscs[0].kind.as_str(), qdiscs[0].handle, qdiscs[0].parent), ("htb", handle(0), None));
    assert!(said(&host, "tc", "qdisc show dev eth0").contains("qdisc htb 6f: root"));
    let told = said(&host, "tc", "class show dev eth0");
    assert!(told.contains("class htb 6f:1 root rate 100Mbit ceil 100Mbit burst 50000b"), "{told}");
    assert!(told.contains("class htb 6f:20 parent 6f:1 prio 1 rate 20Mbit ceil 100Mbit burst 10000b"), "{told}");

    // More octets a second than 32 bits can say, and again less.
    let mut fast = Class::new(handle(1), 12_500_000_000);
    fast.burst = 1_000_000;
    kernel.set_class(link, &fast).unwrap();
    let class = kernel.classes(link).unwrap()[0].class;
    assert_eq!((class.rate, class.ceil), (fast.rate, fast.ceil));
    assert!(said(&host, "tc", "class show dev eth0").contains("6f:1 root rate 100Gbit ceil 100Gbit"));
    kernel.set_class(link, &classes[0]).unwrap();
    assert_eq!(kernel.classes(link).unwrap()[0].class.rate, 12_500_000);

    let error = kernel.add_tree(link, Tree { major: 1, default_class: 0 }).unwrap_err();
    assert!(error.is_present() && error.to_string().contains("the root of link"), "{error}");
    assert!(!kernel.remove_tree(link, 1).unwrap(), "there is another");
    assert!(kernel.remove_tree(link, ROOT_MAJOR).unwrap());
    assert_eq!(kernel.classes(link).unwrap(), []);
    assert!(!kernel.remove_tree(link, ROOT_MAJOR).unwrap());
}

#[test]
fn packets_fall_into_classes_by_their_codepoint_and_their_mark_in_both_families() {
    let lab = Lab::new();
    let (host, peer, mut kernel, link) = cable(&lab);
    for (namespace, last) in [(&host, 1), (&peer, 2)] {
        namespace.ip(&format!("addr add 10.1.0.{last}/24 dev eth0"));
        namespace.ip(&format!("addr add fd00::{last}/64 dev eth0 nodad"));
    }
    // The kernel takes what is sent to an IPv6 address a moment after it was added; TCP tries again until it does.
    let listener = peer.run(|| TcpListener::bind("[fd00::2]:0").unwrap());
    host.run(|| TcpStream::connect(listener.local_addr().unwrap()).unwrap());
    plant(&mut kernel, link);
    kernel.add_filter(link, 1, Match::Dscp(46), handle(0x10)).unwrap();
    kernel.add_filter(link, 2, Match::Mark { value: 0x4200, mask: 0xff00 }, handle(0x20)).unwrap();
    let v4 = pair(&host, &peer, "10.1.0.1", "10.1.0.2");
    let v6 = pair(&host, &peer, "fd00::1", "fd00::2");
    let set = |socket: &UdpSocket, level, name, value| socket::set(socket.as_fd(), level, name, value).unwrap();
    let sent = |kernel: &mut Connection, minor| {
        let reports = kernel.classes(link).unwrap();
        reports.iter().find(|report| report.class.handle == handle(minor)).unwrap().statistics
    };

    [&v4, &v6].iter().for_each(|pair| send(pair, 3));
    assert_eq!((sent(&mut kernel, 0x10).packets, sent(&mut kernel, 0x20).packets), (0, 0));
    assert!(sent(&mut kernel, 0x30).packets >= 6, "what no filter knows");
    // The two low bits are not of the codepoint (RFC 3168).
    set(&v4.0, libc::IPPROTO_IP, libc::IP_TOS, 46 << 2 | 2);
    set(&v6.0, libc::IPPROTO_IPV6, libc::IPV6_TCLASS, 46 << 2 | 1);
    send(&v4, 5);
    assert_eq!(
        sent(&mut kernel, 0x10),
        Statistics { packets: 5, octets: 5 * (200 + 28 + 14), ..Statistics::default() }
    );
    send(&v6, 7);
    assert_eq!((sent(&mut kernel, 0x10).packets, sent(&mut kernel, 0x20).packets), (12, 0));
    // A codepoint with the same high bits is another one.
    set(&v4.0, libc::IPPROTO_IP, libc::IP_TOS, 47 << 2);
    set(&v6.0, libc::IPPROTO_IPV6, libc::IPV6_TCLASS, 44 << 2);
    [&v4, &v6].iter().for_each(|pair| set(&pair.0, libc::SOL_SOCKET, libc::SO_MARK, 0x4207));
    [&v4, &v6].iter().for_each(|pair| send(pair, 2));
    assert_eq!((sent(&mut kernel, 0x10).packets, sent(&mut kernel, 0x20).packets), (12, 4));
    // Who sends may name the class itself.
    let named = pair(&host, &peer, "10.1.0.1", "10.1.0.2");
    set(&named.0, libc::SOL_SOCKET, libc::SO_PRIORITY, handle(0x10).number() as i32);
    send(&named, 4);
    assert_eq!(sent(&mut kernel, 0x10).packets, 16);
    assert!(sent(&mut kernel, 1).packets >= 26, "what passes below is counted above as well");
}

#[test]
fn filters_are_read_back_in_their_order_and_removed_one_by_one() {
    let lab = Lab::new();
    let (host, _peer, mut kernel, link) = cable(&lab);
    plant(&mut kernel, link);
    let marked = Match::Mark { value: 7, mask: u32::MAX };
    kernel.add_filter(link, 5, marked, handle(0x20)).unwrap();
    (0..64).for_each(|codepoint| {
        kernel.add_filter(link, 100 + u16::from(codepoint), Match::Dscp(codepoint), handle(0x10)).unwrap();
    });
    said(&host, "tc", "filter add dev eth0 parent 6f: prio 9 u32 match u32 0 0 flowid 6f:30");
    let filters = kernel.filters(link, ROOT_MAJOR).unwrap();
    assert_eq!(filters[0], Filter { priority: 5, matching: Some(marked), class: Some(handle(0x20)) });
    assert_eq!(filters.len(), 66);
    let ours: Vec<_> = filters.iter().filter(|filter| filter.priority >= 100).map(|filter| filter.matching).collect();
    assert_eq!(ours, (0..64).map(|codepoint| Some(Match::Dscp(codepoint))).collect::<Vec<_>>());
    let foreign = filters.iter().find(|filter| filter.priority == 9).unwrap();
    assert_eq!((foreign.matching, foreign.class), (None, None));
    assert!(
        said(&host, "tc", "filter show dev eth0 parent 6f:").contains("pref 5 bpf chain 0 handle 0x1 flowid 6f:20")
    );

    assert!(kernel.remove_class(link, handle(0x20)).is_err(), "a filter leads to it");
    kernel.remove_filter(link, ROOT_MAJOR, 5).unwrap();
    assert!(kernel.filters(link, ROOT_MAJOR).unwrap().iter().all(|filter| filter.priority != 5));
    assert!(kernel.remove_filter(link, ROOT_MAJOR, 5).unwrap_err().is_missing());
    kernel.remove_class(link, handle(0x20)).unwrap();
    assert_eq!(kernel.classes(link).unwrap().len(), 3);
}

#[test]
fn a_leaf_has_the_queue_that_it_is_given_where_the_kernel_knows_it() {
    let lab = Lab::new();
    let (host, _peer, mut kernel, link) = cable(&lab);
    plant(&mut kernel, link);
    kernel.set_leaf(link, handle(0x10), Leaf::Fifo { packets: 33 }).unwrap();
    assert!(said(&host, "tc", "qdisc show dev eth0").contains("parent 6f:10 limit 33p"));
    kernel.set_leaf(link, handle(0x10), Leaf::Fifo { packets: 34 }).unwrap();
    let leaf = |kernel: &mut Connection| {
        let qdiscs = kernel.qdiscs(link).unwrap();
        qdiscs.into_iter().find(|qdisc| qdisc.parent == Some(handle(0x10))).unwrap()
    };
    assert_eq!(leaf(&mut kernel).kind, "pfifo");
    assert!(said(&host, "tc", "qdisc show dev eth0").contains("parent 6f:10 limit 34p"));
    match kernel.set_leaf(link, handle(0x10), Leaf::FqCodel) {
        Ok(()) => assert_eq!(leaf(&mut kernel).kind, "fq_codel"),
        Err(error) => {
            assert!(error.is_missing() && error.to_string().contains("sch_fq_codel"), "{error}");
            assert_eq!(leaf(&mut kernel).kind, "pfifo", "what was there stays");
        }
    }
}

#[test]
fn a_root_without_classes_comes_back_as_it_was() {
    let lab = Lab::new();
    let (host, _peer, mut kernel, link) = cable(&lab);
    said(&host, "tc", "qdisc add dev eth0 root handle 9: bfifo limit 44444");
    let before = kernel.qdiscs(link).unwrap().remove(0);
    assert_eq!((before.kind.as_str(), before.handle), ("bfifo", Handle { major: 9, minor: 0 }));
    assert_eq!(Leaf::of(&before), Some(Leaf::Octets { octets: 44_444 }));
    kernel.remove_root(link, before.handle).unwrap();
    plant(&mut kernel, link);
    kernel.set_leaf(link, handle(0x10), Leaf::Octets { octets: 20_000 }).unwrap();
    let leaf = kernel.qdiscs(link).unwrap().into_iter().find(|qdisc| qdisc.parent == Some(handle(0x10))).unwrap();
    assert_eq!(Leaf::of(&leaf), Some(Leaf::Octets { octets: 20_000 }));
    let error = kernel.restore_root(link, "bfifo", before.handle, &before.options).unwrap_err();
    assert!(error.is_present() && error.to_string().contains("sch_bfifo"), "{error}");
    assert!(kernel.remove_tree(link, ROOT_MAJOR).unwrap());
    kernel.restore_root(link, "bfifo", before.handle, &before.options).unwrap();
    assert!(said(&host, "tc", "qdisc show dev eth0").starts_with("qdisc bfifo 9: root refcnt"));
    assert_eq!(kernel.qdiscs(link).unwrap()[0].options, before.options);
}

#[test]
fn programs_that_were_not_made_here_match_nothing_known() {
    for matching in
        [Match::Dscp(0), Match::Dscp(63), Match::Mark { value: 0, mask: 0 }, Match::Mark { value: 9, mask: 15 }]
    {
        let program = matching.program().octets();
        assert_eq!(Match::of(&program), Some(matching));
        for cut in 0..program.len() {
            assert_eq!(Match::of(&program[..cut]), None);
        }
        let mut other = program.clone();
        other[0] ^= 1;
        assert_eq!(Match::of(&other), None);
    }
}
