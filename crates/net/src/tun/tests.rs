use std::collections::BTreeSet;
use std::io::{Read, Write};
use std::net::{IpAddr, Shutdown, SocketAddr, TcpListener, TcpStream, UdpSocket};

use super::*;
use crate::netlink::{Event, Events, Prefix, Uniqueness};
use crate::testing::{Lab, Namespace};
use crate::{Waker, poll, sys};

const MTU: usize = 1400;

/// A host with a TUN device.
struct Host {
    namespace: Namespace,
    tun: Tun,
    queues: Vec<Queue>,
    addresses: [IpAddr; 2],
}

/// A host whose device is switched on and has an address of each family, which end in `last`.
fn host(lab: &Lab, last: u8, options: &Options) -> Host {
    let namespace = lab.namespace(&format!("host{last}"));
    let (tun, queues) = namespace.run(|| Tun::open(options).unwrap());
    let mut kernel = namespace.run(|| Connection::open().unwrap());
    let addresses = [IpAddr::from([10, 9, 0, last]), IpAddr::from([0xfd09, 0, 0, 0, 0, 0, 0, u16::from(last)])];
    for (address, length) in addresses.into_iter().zip([24, 64]) {
        kernel.add_address(tun.index(), Prefix { address, length }, Uniqueness::Known).unwrap();
    }
    let settings = LinkSettings { up: Some(true), mtu: Some(MTU as u32), ..LinkSettings::default() };
    kernel.set_link(tun.index(), &settings).unwrap();
    Host { namespace, tun, queues, addresses }
}

/// A packet that was carried from one host to the other.
struct Carried {
    /// Whether it came from the first.
    out: bool,
    queue: usize,
    header: VnetHeader,
    length: usize,
    protocol: i32,
}

impl Carried {
    /// Whether it stands for several.
    fn is_run(&self) -> bool {
        self.header.kind != VnetHeader::NONE
    }
}

/// Carries all that the one's kernel hands over to that of the other, and back, by parts, while `traffic` lasts.
fn carried<T>(left: &Host, right: &Host, traffic: impl FnOnce() -> T) -> (Vec<Carried>, T) {
    let end = Waker::new().unwrap();
    std::thread::scope(|scope| {
        let carrier = scope.spawn(|| carry(left, right, &end));
        // A test that fails must not leave the carrier at work for ever.
        let outcome = std::panic::catch_unwind(std::panic::AssertUnwindSafe(traffic));
        end.wake();
        let carried = carrier.join().unwrap();
        (carried, outcome.unwrap_or_else(|cause| std::panic::resume_unwind(cause)))
    })
}

fn carry(left: &Host, right: &Host, end: &Waker) -> Vec<Carried> {
    let ways: Vec<(bool, usize, &Queue, &Queue)> = [(true, left, right), (false, right, left)]
        .into_iter()
        .flat_map(|(out, from, to)| {
            from.queues.iter().zip(&to.queues).enumerate().map(move |(at, (a, b))| (out, at, a, b))
        })
        .collect();
    let (mut buffer, mut carried) = (vec![0; ROOM], Vec::new());
    loop {
        let mut entries: Vec<_> = ways.iter().map(|(_, _, from, _)| poll::Entry::readable(*from)).collect();
        entries.push(poll::Entry::readable(end));
        poll::wait(&mut entries, None).unwrap();
        if entries.last().unwrap().is_readable() {
            return carried;
        }
        for (out, queue, from, to) in &ways {
            while let Some(length) = from.receive(&mut buffer).unwrap() {
                let (header, packet) = buffer[..length].split_at(VnetHeader::LENGTH);
                let parts: Vec<_> = [header].into_iter().chain(packet.chunks(1000)).map(IoSlice::new).collect();
                assert!(to.send(&parts).unwrap());
                let protocol = i32::from(if packet[0] >> 4 == 4 { packet[9] } else { packet[6] });
                let header = VnetHeader::read(header).unwrap();
                carried.push(Carried { out: *out, queue: *queue, header, length: packet.len(), protocol });
            }
        }
    }
}

/// Sends a few MiB by TCP from the one host to the other, and looks at what arrives.
fn stream(from: &Host, to: &Host, address: IpAddr) {
    let listener = to.namespace.run(|| TcpListener::bind((address, 0)).unwrap());
    let data: Vec<u8> = (0..3_000_000u32).map(|number| (number.wrapping_mul(2_654_435_761) >> 24) as u8).collect();
    let mut sender = from.namespace.run(|| TcpStream::connect(listener.local_addr().unwrap()).unwrap());
    let mut receiver = listener.accept().unwrap().0;
    std::thread::scope(|scope| {
        scope.spawn(|| {
            sender.write_all(&data).unwrap();
            sender.shutdown(Shutdown::Write).unwrap();
        });
        let mut received = Vec::new();
        receiver.read_to_end(&mut received).unwrap();
        assert!(received == data, "{} octets of {} arrived, or others", received.len(), data.len());
    });
}

/// Waits until each host takes what is sent to its address: of an IPv6 address the kernel makes that so a moment after it was added. TCP tries again.
fn meet(left: &Host, right: &Host, address: IpAddr) {
    let listener = right.namespace.run(|| TcpListener::bind((address, 0)).unwrap());
    let to = listener.local_addr().unwrap();
    carried(left, right, || left.namespace.run(|| TcpStream::connect(to).unwrap()));
}

#[test]
fn tcp_goes_through_in_superpackets_longer_than_the_mtu() {
    let lab = Lab::new();
    let (left, right) = (host(&lab, 1, &Options::new("ow0")), host(&lab, 2, &Options::new("ow0")));
    let offloads = left.tun.offloads();
    assert!(offloads.checksums && offloads.tcp, "any kernel since 2.6.27 has these: {offloads}");
    for (address, kind, headers) in [(0, VnetHeader::TCP4, 20), (1, VnetHeader::TCP6, 40)] {
        let address = right.addresses[address];
        let (packets, ()) = carried(&left, &right, || stream(&left, &right, address));
        let runs: Vec<_> = packets.iter().filter(|one| one.out && one.is_run()).collect();
        let longest = runs.iter().map(|one| one.length).max().unwrap();
        assert!(longest > 8 * MTU, "the longest has {longest} octets");
        for run in runs {
            let VnetHeader { segment, checksum_start, checksum_offset, .. } = run.header;
            assert_eq!((run.header.kind, run.protocol, run.header.needs_checksum()), (kind, libc::IPPROTO_TCP, true));
            assert_eq!((checksum_start, checksum_offset), (headers, 16));
            assert!(usize::from(segment) + usize::from(headers) + 20 <= MTU && usize::from(segment) < run.length);
        }
    }
}

#[test]
fn superpackets_are_no_longer_than_was_asked() {
    let lab = Lab::new();
    let bounded = Options { gso_max_size: Some(20_000), gso_max_segs: Some(12), ..Options::new("ow0") };
    let (left, right) = (host(&lab, 1, &bounded), host(&lab, 2, &Options::new("ow0")));
    let (packets, ()) = carried(&left, &right, || stream(&left, &right, right.addresses[0]));
    assert!(packets.iter().any(|one| one.out && one.is_run()));
    for one in packets.iter().filter(|one| one.out && one.is_run()) {
        assert!(one.length <= 20_000 && one.length.div_ceil(usize::from(one.header.segment)) <= 13, "{}", one.length);
    }
    let link = left.namespace.run(|| Connection::open().unwrap().link("ow0").unwrap().unwrap());
    assert_eq!((link.gso_max_size, link.gso_max_segs, link.index), (20_000, 12, left.tun.index()));
}

#[test]
fn without_offload_every_packet_is_whole_and_fits_the_mtu() {
    let lab = Lab::new();
    let plain = Options { offload: false, ..Options::new("ow0") };
    let (left, right) = (host(&lab, 1, &plain), host(&lab, 2, &plain));
    assert_eq!(left.tun.offloads(), Offloads::default());
    let (packets, ()) = carried(&left, &right, || stream(&left, &right, right.addresses[1]));
    assert!(packets.len() > 2000);
    assert!(packets.iter().all(|one| one.length <= MTU && !one.is_run() && !one.header.needs_checksum()));
}

#[test]
fn a_run_of_udp_goes_through_as_one_where_the_kernel_has_that() {
    let lab = Lab::new();
    let (left, right) = (host(&lab, 1, &Options::new("ow0")), host(&lab, 2, &Options::new("ow0")));
    for (from, to) in left.addresses.into_iter().zip(right.addresses) {
        meet(&left, &right, to);
        let receiver = right.namespace.run(|| UdpSocket::bind((to, 0)).unwrap());
        let sender = left.namespace.run(|| UdpSocket::bind((from, 0)).unwrap());
        sys::socket::set(sender.as_fd(), libc::SOL_UDP, libc::UDP_SEGMENT, 1000).unwrap();
        let data: Vec<u8> = (0..9500u32).map(|number| (number / 100) as u8).collect();
        let (packets, ()) = carried(&left, &right, || {
            sender.send_to(&data, receiver.local_addr().unwrap()).unwrap();
            for datagram in data.chunks(1000) {
                let mut room = [0; 2000];
                let length = receiver.recv(&mut room).unwrap();
                assert_eq!(&room[..length], datagram);
            }
        });
        let udp: Vec<_> = packets.iter().filter(|one| one.out && one.protocol == libc::IPPROTO_UDP).collect();
        match left.tun.offloads().udp {
            true => assert_eq!((udp.len(), udp[0].header.kind, udp[0].header.segment), (1, VnetHeader::UDP, 1000)),
            false => assert_eq!(udp.len(), 10),
        }
    }
}

#[test]
fn flows_are_spread_over_the_queues_and_each_stays_in_one() {
    let lab = Lab::new();
    let wide = Options { queues: 3, ..Options::new("ow0") };
    let (left, right) = (host(&lab, 1, &wide), host(&lab, 2, &wide));
    assert_eq!((left.queues.len(), right.queues.len()), (3, 3));
    let receiver = right.namespace.run(|| UdpSocket::bind((right.addresses[0], 0)).unwrap());
    let to = receiver.local_addr().unwrap();
    let mut all = BTreeSet::new();
    for _ in 0..64 {
        let sender = left.namespace.run(|| UdpSocket::bind((left.addresses[0], 0)).unwrap());
        let (packets, ()) = carried(&left, &right, || {
            for _ in 0..4 {
                sender.send_to(b"one flow", to).unwrap();
                receiver.recv(&mut [0; 100]).unwrap();
            }
        });
        let udp = packets.iter().filter(|one| one.out && one.protocol == libc::IPPROTO_UDP);
        let queues: BTreeSet<usize> = udp.map(|one| one.queue).collect();
        assert_eq!(queues.len(), 1, "a flow is not torn apart");
        all.extend(queues);
    }
    assert_eq!(all.len(), 3);
}

/// An answer of a datagram over IPv4, without payload.
fn answer(from: SocketAddr, to: SocketAddr) -> Vec<u8> {
    let (IpAddr::V4(source), IpAddr::V4(destination)) = (from.ip(), to.ip()) else { unreachable!() };
    let mut packet = vec![0x45, 0, 0, 28, 0, 1, 0, 0, 64, 17, 0, 0];
    packet.extend(source.octets().into_iter().chain(destination.octets()));
    let sum: u32 = packet.chunks(2).map(|pair| u32::from(u16::from_be_bytes([pair[0], pair[1]]))).sum();
    let check = !((sum & 0xffff) + (sum >> 16)) as u16;
    packet[10..12].copy_from_slice(&check.to_be_bytes());
    // Without a checksum of UDP.
    packet.extend([from.port(), to.port(), 8, 0].into_iter().flat_map(u16::to_be_bytes));
    packet
}

/// The queues that hand over datagrams for an address.
fn queues_of(host: &Host, to: IpAddr) -> BTreeSet<usize> {
    let IpAddr::V4(to) = to else { unreachable!() };
    let mut buffer = vec![0; ROOM];
    let mut found = BTreeSet::new();
    for (place, queue) in host.queues.iter().enumerate() {
        while let Some(length) = queue.receive(&mut buffer).unwrap() {
            let packet = &buffer[VnetHeader::LENGTH..length];
            found.extend((packet[0] >> 4 == 4 && packet[9] == 17 && packet[16..20] == to.octets()).then_some(place));
        }
    }
    found
}

#[test]
fn an_answer_by_another_queue_does_not_move_a_flow() {
    let lab = Lab::new();
    let host = host(&lab, 1, &Options { queues: 3, ..Options::new("ow0") });
    assert!(host.tun.is_steered(), "root may load programs");
    let far = SocketAddr::from(([10, 9, 0, 2], 6000));
    let mut all = BTreeSet::new();
    for _ in 0..96 {
        let sender = host.namespace.run(|| UdpSocket::bind((host.addresses[0], 0)).unwrap());
        let own = sender.local_addr().unwrap();
        let send = || {
            sender.send_to(b"one flow", far).unwrap();
            queues_of(&host, far.ip())
        };
        let before = send();
        assert_eq!(before.len(), 1);
        for queue in &host.queues {
            let header = VnetHeader::default().write();
            assert!(queue.send(&[IoSlice::new(&header), IoSlice::new(&answer(far, own))]).unwrap());
            sender.recv(&mut [0; 10]).unwrap();
            assert_eq!(send(), before);
        }
        all.extend(before);
    }
    assert_eq!(all.len(), 3, "flows are spread");
}

#[test]
fn both_versions_are_spread_by_ports_and_parts_of_packets_stay_together() {
    let lab = Lab::new();
    let options = Options { queues: 4, offload: false, ..Options::new("ow0") };
    let (left, right) = (host(&lab, 1, &options), host(&lab, 2, &options));
    for (from, to) in left.addresses.into_iter().zip(right.addresses) {
        meet(&left, &right, to);
        let receiver = right.namespace.run(|| UdpSocket::bind((to, 0)).unwrap());
        let mut spread = BTreeSet::new();
        let mut whole = BTreeSet::new();
        for _ in 0..96 {
            let sender = left.namespace.run(|| UdpSocket::bind((from, 0)).unwrap());
            for (octets, queues) in [(100, &mut spread), (4000, &mut whole)] {
                let (packets, ()) = carried(&left, &right, || {
                    sender.send_to(&vec![7; octets], receiver.local_addr().unwrap()).unwrap();
                    receiver.recv(&mut [0; 5000]).unwrap();
                });
                queues.extend(packets.iter().filter(|one| one.out).map(|one| one.queue));
            }
        }
        // Of IPv6 other messages, of neighbours and groups, may pass as well.
        assert_eq!(spread.len(), 4, "{from}");
        assert!(whole.len() == 1 || from.is_ipv6(), "{from}");
    }
}

#[test]
fn the_kernel_is_asked_for_less_until_it_agrees() {
    let knows = |known: u32| {
        move |flags: u32| match flags & !known {
            0 => Ok(()),
            _ => Err(io::Error::from_raw_os_error(libc::EINVAL)),
        }
    };
    let (tcp, csum) = (libc::TUN_F_TSO4 | libc::TUN_F_TSO6, libc::TUN_F_CSUM);
    let had = |offload, known| settle(offload, knows(known)).unwrap().to_string();
    assert_eq!(had(true, u32::MAX), "checksums, TCP and UDP segmentation");
    assert_eq!(had(true, csum | tcp), "checksums, TCP segmentation");
    assert_eq!(had(true, csum | libc::TUN_F_TSO4), "checksums");
    assert_eq!(had(true, 0), "none");
    assert_eq!(had(false, u32::MAX), "none");
    assert!(settle(true, |_| Err(io::Error::from_raw_os_error(libc::EBADFD))).is_err());
}

/// Waits until the device `ow0` is gone: for a moment, a program that another test starts has its queues as well.
fn await_end(events: &mut Events) {
    let mut gone = false;
    while !gone {
        poll::wait(&mut [poll::Entry::readable(events)], None).unwrap();
        events.drain(|event| gone |= matches!(event, Event::LinkGone(link) if link.name == "ow0")).unwrap();
    }
}

#[test]
fn a_device_is_gone_with_its_last_queue_and_no_program_inherits_one() {
    let lab = Lab::new();
    let namespace = lab.namespace("host");
    let there = || namespace.run(|| Connection::open().unwrap().link("ow0").unwrap());
    let (tun, mut queues) = namespace.run(|| Tun::open(&Options { queues: 2, ..Options::new("ow0") }).unwrap());
    assert_eq!((there().unwrap().index, tun.name()), (tun.index(), "ow0"));
    assert!(!there().unwrap().up);
    for queue in &queues {
        assert!(rustix::io::fcntl_getfd(queue).unwrap().contains(rustix::io::FdFlags::CLOEXEC));
        assert_eq!(queue.receive(&mut vec![0; ROOM]).unwrap(), None, "it does not block");
    }
    let mut events = namespace.run(|| Events::subscribe().unwrap());
    queues.pop();
    assert!(there().is_some());
    queues.clear();
    await_end(&mut events);
    assert_eq!(there(), None);
}

#[test]
fn a_device_that_is_handed_over_stays_as_it_is_with_as_many_queues_as_are_wanted() {
    let lab = Lab::new();
    let namespace = lab.namespace("host");
    let options = |queues| Options { queues, ..Options::new("ow0") };
    let (device, queues) = namespace.run(|| Tun::open(&options(2)).unwrap());
    namespace.ip("addr add 10.9.0.1/24 dev ow0");
    namespace.ip("link set ow0 up");
    let shares = || queues.iter().map(|queue| queue.share().unwrap()).collect::<Vec<_>>();
    let refusal = |name: &str, files| namespace.run(|| Tun::adopt(&Options::new(name), files).unwrap_err().to_string());
    assert_eq!(refusal("ow1", shares()), "what was handed over is a queue of `ow0`, not of `ow1`");
    assert_eq!(refusal("ow0", vec![]), "what was handed over is a queue of `none`, not of `ow0`");
    let before = shares();
    drop(queues);
    let (adopted, mut queues) = namespace.run(|| Tun::adopt(&options(3), before).unwrap());
    assert_eq!((&adopted, queues.len()), (&device, 3));
    let before = queues.drain(..).map(|queue| queue.share().unwrap()).collect();
    let (adopted, queues) = namespace.run(|| Tun::adopt(&options(1), before).unwrap());
    assert_eq!((&adopted, queues.len()), (&device, 1));
    let socket = namespace.run(|| UdpSocket::bind("10.9.0.1:0").unwrap());
    socket.send_to(b"here?", "10.9.0.2:9").unwrap();
    let mut room = vec![0; ROOM];
    let mut heard = || queues[0].receive(&mut room).unwrap().map(|length| room[..length].ends_with(b"here?"));
    assert!(
        std::iter::repeat_with(&mut heard).take(100).flatten().any(|is_it| is_it),
        "all flows are in the one queue"
    );
}

#[test]
fn what_cannot_be_sent_or_received_is_said_or_refused() {
    let lab = Lab::new();
    let Host { namespace, queues, .. } = host(&lab, 1, &Options::new("ow0"));
    let queue = &queues[0];
    let header = VnetHeader::default();
    let packet = [0x45, 0, 0, 20, 0, 0, 0, 0, 64, 17, 0, 0, 10, 9, 0, 2, 10, 9, 0, 1];
    let send = |header: VnetHeader| queue.send(&[IoSlice::new(&header.write()), IoSlice::new(&packet)]);
    assert!(send(header).unwrap());
    let bad = VnetHeader { flags: VnetHeader::NEEDS_CHECKSUM, checksum_start: 4000, ..header };
    assert_eq!(send(bad).unwrap_err().source.raw_os_error(), Some(libc::EINVAL));
    assert!(queue.send(&[IoSlice::new(&[0]); MAX_PARTS + 1]).is_err());
    assert!(queue.receive(&mut vec![0; ROOM - 1]).is_err(), "too little room");

    namespace.ip("link set ow0 down");
    assert!(!send(header).unwrap());
    namespace.ip("link del ow0");
    let error = send(header).unwrap_err();
    assert!(error.to_string().starts_with("cannot send to the TUN device ow0"), "{error}");
    let error = queue.receive(&mut vec![0; ROOM]).unwrap_err();
    assert!(error.to_string().starts_with("cannot receive from the TUN device ow0"), "{error}");
}

#[test]
fn a_device_that_cannot_be_made_is_refused_with_what_to_do() {
    let lab = Lab::new();
    let (host, peer) = (lab.namespace("host"), lab.namespace("peer"));
    lab.veth((&host, "eth0"), (&peer, "eth0"));
    let refusal = |options: &Options| host.run(|| Tun::open(options).unwrap_err().to_string());
    for name in ["", "a-name-too-long-", "a/b", "a b", "..", "ow%d", "ow:1", "ow\n"] {
        let text = refusal(&Options::new(name));
        assert_eq!(text, Error::Name(name.to_owned()).to_string());
    }
    for queues in [0, 257] {
        let text = refusal(&Options { queues, ..Options::new("ow0") });
        assert_eq!(text, format!("a TUN device has 1 to 256 queues, not {queues}"));
    }
    let text = host.run(|| open(&Options::new("ow0"), Path::new("/dev/net/none"), vec![]).unwrap_err().to_string());
    assert!(text.starts_with("there is no /dev/net/none") && text.contains("modprobe tun"), "{text}");
    let text = host.run(|| {
        process::set_capabilities(0, 0).unwrap();
        Tun::open(&Options::new("ow0")).unwrap_err().to_string()
    });
    assert!(text.contains("CAP_NET_ADMIN"), "{text}");
    assert!(refusal(&Options::new("eth0")).contains("ip link del eth0"));
    let mut events = host.run(|| Events::subscribe().unwrap());
    let first = host.run(|| Tun::open(&Options::new("ow0")).unwrap());
    assert!(refusal(&Options::new("ow0")).contains("there is an interface `ow0` already"));
    drop(first);
    await_end(&mut events);
    let text = refusal(&Options { gso_max_segs: Some(1 << 20), ..Options::new("ow0") });
    assert!(text.starts_with("cannot set gso_max_segs 1048576 of link"), "{text}");
    // Nothing is left of it.
    await_end(&mut events);
}
