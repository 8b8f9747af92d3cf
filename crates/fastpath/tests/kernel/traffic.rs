//! Real clients through a service to real backends: by every tier, every way, both protocols and both kinds of addresses.

use std::collections::{BTreeMap, BTreeSet};
use std::net::{IpAddr, TcpStream};
use std::time::Duration;

use outwork_balance::{Health, Pool};
use outwork_engine::Time;
use outwork_fastpath::settings::{Failed, Rate};
use outwork_fastpath::{
    ControlPlane as _, Fastpath, Mode, Protocol, Reason, ServiceSettings, Settings, Tier, Vip, Way,
};
use rustix::net::{AddressFamily, RecvFlags, SocketType, recv, socket};

use crate::site::{
    FAMILIES, Family, PATIENCE, Site, Waiting, ask, attended, exchange, pool_settings, serve, serve_all, settings,
};

const NATIVE: Tier = Tier::Xdp(Mode::Native);
const SKB: Tier = Tier::Xdp(Mode::Skb);

fn tally(fastpath: &Fastpath, reason: Reason) -> u64 {
    fastpath.tallies().unwrap().into_iter().find(|(one, _)| *one == reason).unwrap().1.packets
}

/// TCP and UDP over IPv4 and IPv6, to all backends, with as much as fills windows.
fn everything_arrives(tier: Tier, way: Way) {
    let site = Site::new(tier);
    let mut fastpath = site.open(tier, None);
    serve_all(&mut fastpath, ServiceSettings { way, ..ServiceSettings::default() });
    attended(&site, &fastpath, || {
        for family in FAMILIES {
            let mut connections: Vec<(TcpStream, usize)> = (0..24).map(|_| site.connect(family)).collect();
            let met: BTreeSet<usize> = connections.iter().map(|(_, who)| *who).collect();
            assert_eq!(met, BTreeSet::from([0, 1, 2]), "{tier} {way:?} {family:?}");
            for (stream, _) in &mut connections {
                exchange(stream, 100);
            }
            exchange(&mut connections[0].0, 1 << 20);
            // All are kept: the port of one that is gone may be given to the next, which is the same flow then.
            let (mut met, mut sockets) = (BTreeSet::new(), Vec::new());
            for flow in 0..24u8 {
                sockets.push(site.socket(family));
                let socket = sockets.last().unwrap();
                let who = ask(socket, &[flow; 100]);
                met.insert(who);
                for question in 0..5 {
                    assert_eq!(ask(socket, &[question; 1200]), who, "a flow stays where it is");
                }
            }
            assert_eq!(met, BTreeSet::from([0, 1, 2]), "{tier} {way:?} {family:?}");
        }
    });
    let (forward, back) = (tally(&fastpath, Reason::SentForward), tally(&fastpath, Reason::SentReturn));
    assert!(forward > 300, "{:?}", fastpath.tallies());
    assert_eq!(back > 300, way == Way::Nat, "{:?}", fastpath.tallies());
    for statistics in fastpath.statistics().unwrap() {
        assert_eq!(statistics.tally.flows, statistics.backends.iter().map(|(_, tally)| tally.flows).sum::<u64>());
        assert!(statistics.tally.flows >= 24, "{statistics:?}");
        for (_, tally) in &statistics.backends {
            assert!(tally.to.packets > 0 && (tally.from.packets > 0) == (way == Way::Nat), "{statistics:?}");
        }
    }
}

#[test]
fn everything_arrives_by_xdp_in_the_driver() {
    everything_arrives(NATIVE, Way::Nat);
}

#[test]
fn everything_arrives_by_xdp_after_the_driver() {
    everything_arrives(SKB, Way::Nat);
}

#[test]
fn everything_arrives_by_tc_with_segments_and_checksums_left_to_the_card() {
    everything_arrives(Tier::Tc, Way::Nat);
}

#[test]
fn backends_answer_for_themselves_by_xdp_in_the_driver() {
    everything_arrives(NATIVE, Way::Direct);
}

#[test]
fn backends_answer_for_themselves_by_xdp_after_the_driver() {
    everything_arrives(SKB, Way::Direct);
}

#[test]
fn backends_answer_for_themselves_by_tc() {
    everything_arrives(Tier::Tc, Way::Direct);
}

#[test]
fn a_packet_travels_whole_in_another_one_to_a_backend_that_answers_for_itself() {
    for tier in [NATIVE, SKB, Tier::Tc] {
        let site = Site::new(tier);
        let mut fastpath = site.open(tier, None);
        let tunnel = ServiceSettings { way: Way::Tunnel, ..ServiceSettings::default() };
        for (service, backend) in
            [(Family::V4, Family::V4), (Family::V6, Family::V6), (Family::V4, Family::V6), (Family::V6, Family::V4)]
        {
            let pool = Pool::new(pool_settings(backend, &[1])).unwrap();
            serve(&mut fastpath, service, Protocol::Udp, tunnel, &pool);
            // What unpacks tunnels in kernels that do: it is enough to see what comes.
            let raw = site.lab.within("two", || {
                let family = if backend == Family::V4 { AddressFamily::INET } else { AddressFamily::INET6 };
                let protocol = if service == Family::V4 { 4 } else { 41 };
                let protocol = rustix::net::Protocol::from_raw(std::num::NonZeroU32::new(protocol).unwrap());
                let raw = socket(family, SocketType::RAW, Some(protocol)).unwrap();
                rustix::net::sockopt::set_socket_timeout(
                    &raw,
                    rustix::net::sockopt::Timeout::Recv,
                    Some(PATIENCE / 100),
                )
                .unwrap();
                raw
            });
            let client = site.socket(service);
            let packet = attended(&site, &fastpath, || {
                let mut waiting = Waiting::begin();
                loop {
                    client.send(b"a question").unwrap();
                    let mut buffer = [0; 2048];
                    if let Ok((length, _)) = recv(&raw, &mut buffer, RecvFlags::empty()) {
                        return buffer[..length].to_vec();
                    }
                    assert!(!waiting.is_over(), "nothing comes: {:?}", fastpath.tallies());
                }
            });
            // Of IPv4, the socket gives the outer header as well.
            let inner = &packet[if backend == Family::V4 { 20 } else { 0 }..];
            let (header, from): (usize, IpAddr) = match service {
                Family::V4 => (20, <[u8; 4]>::try_from(&inner[12..16]).unwrap().into()),
                Family::V6 => (40, <[u8; 16]>::try_from(&inner[8..24]).unwrap().into()),
            };
            let mut frame = vec![0; 14];
            frame[12..].copy_from_slice(if service == Family::V4 { &[8, 0] } else { &[0x86, 0xdd] });
            frame.extend_from_slice(inner);
            if let Tier::Xdp(_) = tier {
                assert_eq!(crate::frames::fault(&frame), None);
            }
            assert_eq!((&inner[header + 8..], Family::of(from)), (&b"a question"[..], service), "{tier} {packet:02x?}");
        }
    }
}

#[test]
fn a_backend_that_fails_keeps_its_connections_and_gets_no_new_ones() {
    for tier in [NATIVE, Tier::Tc] {
        let site = Site::new(tier);
        let mut fastpath = site.open(tier, None);
        let vip = Vip::new(Family::V4.vip(), Protocol::Tcp);
        let pool = Pool::new(pool_settings(Family::V4, &[0, 1, 2])).unwrap();
        serve(&mut fastpath, Family::V4, Protocol::Tcp, ServiceSettings::default(), &pool);
        let mut connections: Vec<(TcpStream, usize)> = (0..24).map(|_| site.connect(Family::V4)).collect();
        assert!(connections.iter().any(|(_, who)| *who == 1));
        assert!(fastpath.fail(&vip, Family::V4.backend(1)).unwrap());
        let after: BTreeSet<usize> = (0..24).map(|_| site.connect(Family::V4).1).collect();
        assert_eq!(after, BTreeSet::from([0, 2]), "at once");
        pool.find(&Family::V4.backend(1).to_string()).unwrap().member().set_health(Health::Unhealthy, Time::ZERO);
        serve(&mut fastpath, Family::V4, Protocol::Tcp, ServiceSettings::default(), &pool);
        let after: BTreeSet<usize> = (0..24).map(|_| site.connect(Family::V4).1).collect();
        assert_eq!(after, BTreeSet::from([0, 2]), "and by the table");
        connections.iter_mut().for_each(|(stream, _)| exchange(stream, 1000));
        let flows = fastpath.flows(usize::MAX, Fastpath::kernel_time()).unwrap();
        assert!(flows.len() >= 72, "{}", flows.len());
    }
}

#[test]
fn datagrams_of_a_backend_that_fails_go_elsewhere_where_that_is_asked_for() {
    let site = Site::new(NATIVE);
    let mut fastpath = site.open(NATIVE, None);
    let moving = ServiceSettings { failed: Failed::Move, ..ServiceSettings::default() };
    let pool = Pool::new(pool_settings(Family::V4, &[0, 1, 2])).unwrap();
    serve(&mut fastpath, Family::V4, Protocol::Udp, moving, &pool);
    attended(&site, &fastpath, || {
        let sockets: Vec<_> = (0..24).map(|_| site.socket(Family::V4)).collect();
        let _: Vec<usize> = sockets.iter().map(|socket| ask(socket, b"who?")).collect();
    });
    let sockets: Vec<_> = (0..24).map(|_| site.socket(Family::V4)).collect();
    let before: BTreeMap<usize, usize> = sockets.iter().map(|socket| ask(socket, b"who?")).enumerate().collect();
    pool.find(&Family::V4.backend(1).to_string()).unwrap().member().set_health(Health::Unhealthy, Time::ZERO);
    serve(&mut fastpath, Family::V4, Protocol::Udp, moving, &pool);
    for (socket, who) in sockets.iter().zip(before.values()) {
        let now = ask(socket, b"who?");
        assert!(if *who == 1 { now != 1 } else { now == *who }, "{who} is {now} now");
    }
}

#[test]
fn a_flood_of_connections_is_held_to_the_rate_of_its_service_and_others_go_on() {
    for tier in [NATIVE, Tier::Tc] {
        let site = Site::new(tier);
        let mut fastpath = site.open(tier, None);
        let pool = Pool::new(pool_settings(Family::V4, &[0, 1, 2])).unwrap();
        let limited =
            ServiceSettings { syn_rate: Some(Rate { per_second: 1, burst: 5 }), ..ServiceSettings::default() };
        serve(&mut fastpath, Family::V4, Protocol::Tcp, limited, &pool);
        serve_v6(&mut fastpath);
        // The first five, and what a client's patience of a moment does not see.
        let short = Duration::from_millis(300);
        let vip = Family::V4.vip();
        let through =
            site.lab.within("client", || (0..12).filter(|_| TcpStream::connect_timeout(&vip, short).is_ok()).count());
        assert!((5..12).contains(&through), "{through}");
        assert!(tally(&fastpath, Reason::DropSynRate) > 0);
        for _ in 0..12 {
            exchange(&mut site.connect(Family::V6).0, 100);
        }
    }
}

fn serve_v6(fastpath: &mut Fastpath) {
    let pool = Pool::new(pool_settings(Family::V6, &[0, 1, 2])).unwrap();
    serve(fastpath, Family::V6, Protocol::Tcp, ServiceSettings::default(), &pool);
}

#[test]
fn packets_of_one_source_are_held_to_their_rate() {
    let site = Site::new(NATIVE);
    let mut fastpath = site.open(NATIVE, None);
    serve_all(&mut fastpath, ServiceSettings::default());
    let socket = site.socket(Family::V4);
    attended(&site, &fastpath, || ask(&socket, b"who?"));
    fastpath.set(Settings { source_rate: Some(Rate { per_second: 1, burst: 3 }), ..settings() }).unwrap();
    while socket.recv(&mut [0; 10]).is_ok() {}
    for _ in 0..50 {
        socket.send(b"who?").unwrap();
    }
    let answers = (0..50).take_while(|_| socket.recv(&mut [0; 10]).is_ok()).count();
    assert!((3..10).contains(&answers), "{answers}");
    assert!(tally(&fastpath, Reason::DropSourceRate) > 30);
    fastpath.set(settings()).unwrap();
    attended(&site, &fastpath, || ask(&socket, b"who?"));
}

#[test]
fn who_is_denied_hears_nothing_and_is_counted() {
    let site = Site::new(NATIVE);
    let mut fastpath = site.open(NATIVE, None);
    serve_all(&mut fastpath, ServiceSettings::default());
    fastpath.deny(["10.1.0.0/24", "fd01::/16"].map(|text| text.parse().unwrap())).unwrap();
    for family in FAMILIES {
        let socket = site.socket(family);
        socket.send(b"who?").unwrap();
        assert!(socket.recv(&mut [0; 10]).is_err());
    }
    assert!(tally(&fastpath, Reason::DropDenied) >= 2);
    fastpath.deny([]).unwrap();
    attended(&site, &fastpath, || FAMILIES.map(|family| ask(&site.socket(family), b"who?")));
}
