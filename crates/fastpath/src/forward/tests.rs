//! What the engine does to single frames. That it does so in every case that frames and tables make is what the test beside the kernel's programs looks at.

use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use outwork_balance::{MemberSettings, Policy, Pool, PoolSettings};
use outwork_wire::MacAddr;

use super::*;
use crate::frames::{self, ACK, FIN, RST, SYN, Spec, error, fault};
use crate::layout::{BackendTally, FlowKey, Protocol, ServiceTally, State, Vip, Way};
use crate::registry::{Apply, Registry};
use crate::settings::{Rate, ServiceSettings, Settings, Sizes};
use crate::tables::Prefix;

const NOW: Time = Time::from_secs(100);
const CLIENT: &str = "203.0.113.1:1024";
const SERVICE: &str = "198.51.100.1:80";

struct Bench {
    registry: Registry,
    tables: Tables,
    now: Time,
}

fn to_everywhere(_: &Query) -> Hop {
    Hop::To { ifindex: 7, destination: MacAddr([2, 0, 0, 0, 0, 7]), source: MacAddr([2, 0, 0, 0, 0, 8]) }
}

impl Bench {
    fn new(settings: Settings) -> Bench {
        let sizes = Sizes { flows: 64, services: 4, backends: 8, places: 1 << 19, sources: 64, prefixes: 2 };
        let (registry, begin) = Registry::new(Settings { sizes, ..settings });
        let mut tables = Tables::new(&sizes);
        begin.iter().for_each(|write| tables.apply(write).unwrap());
        Bench { registry, tables, now: NOW }
    }

    fn serve(&mut self, at: &str, protocol: Protocol, settings: ServiceSettings, members: &[&str]) {
        let members = members.iter().map(|key| MemberSettings::new(*key)).collect();
        let pool = Pool::new(PoolSettings { members, policy: Policy::Maglev, ..PoolSettings::default() }).unwrap();
        let vip = Vip::new(at.parse().unwrap(), protocol);
        for write in self.registry.serve(vip, settings, &pool, |key| key.parse().ok(), self.now).unwrap() {
            self.tables.apply(&write).unwrap();
        }
    }

    fn forward(&mut self, frame: &[u8]) -> (Verdict, Vec<u8>) {
        self.forward_by(frame, &to_everywhere)
    }

    fn forward_by(&mut self, frame: &[u8], routes: &impl Routes) -> (Verdict, Vec<u8>) {
        let mut room = [vec![0; 64], frame.to_vec()].concat();
        let mut frame = Frame::new(&mut room, 64, frame.len()).unwrap();
        let verdict = forward(&mut frame, 3, &mut self.tables, routes, self.now);
        (verdict, frame.bytes().to_vec())
    }

    fn reason(&mut self, spec: &Spec) -> Reason {
        self.forward(&spec.build()).0.reason()
    }
}

fn nat() -> Bench {
    let mut bench = Bench::new(Settings::default());
    bench.serve(SERVICE, Protocol::Tcp, ServiceSettings::default(), &["10.0.0.1:8080"]);
    bench
}

fn spec(from: &str, to: &str, tcp: Option<u8>) -> Spec {
    Spec::new(from.parse().unwrap(), to.parse().unwrap(), tcp)
}

#[test]
fn a_packet_to_a_service_leaves_for_its_backend_and_the_answer_comes_from_the_service() {
    for (client, service, backend, tcp) in [
        (CLIENT, SERVICE, "10.0.0.1:8080", Some(SYN)),
        ("[2001:db8:9::1]:1024", "[2001:db8::1]:80", "[fd00::1]:8080", Some(SYN)),
        ("203.0.113.1:1024", "198.51.100.1:53", "10.0.0.1:5353", None),
        ("[2001:db8:9::1]:1024", "[2001:db8::1]:53", "[fd00::1]:5353", None),
    ] {
        let mut bench = Bench::new(Settings::default());
        let protocol = if tcp.is_some() { Protocol::Tcp } else { Protocol::Udp };
        bench.serve(service, protocol, ServiceSettings::default(), &[backend]);
        let (verdict, out) = bench.forward(&spec(client, service, tcp).build());
        assert_eq!(verdict, Verdict::Send { ifindex: 7, reason: Reason::SentForward });
        let mut expected = spec(client, backend, tcp);
        expected.hops = 63;
        let mut expected = expected.build();
        expected[..12].copy_from_slice(&[2, 0, 0, 0, 0, 7, 2, 0, 0, 0, 0, 8]);
        assert_eq!(out, expected);
        let (verdict, out) = bench.forward(&spec(backend, client, tcp.map(|flags| flags | ACK)).build());
        assert_eq!(verdict, Verdict::Send { ifindex: 7, reason: Reason::SentReturn });
        let mut expected = spec(service, client, tcp.map(|flags| flags | ACK));
        expected.hops = 63;
        assert_eq!(out[12..], expected.build()[12..]);
    }
}

#[test]
fn a_datagram_without_a_checksum_stays_without_one() {
    let mut bench = Bench::new(Settings::default());
    bench.serve("198.51.100.1:53", Protocol::Udp, ServiceSettings::default(), &["10.0.0.1:5353"]);
    let mut bare = spec(CLIENT, "198.51.100.1:53", None);
    bare.unsummed = true;
    let (_, out) = bench.forward(&bare.build());
    assert_eq!(out[40..42], [0, 0]);
}

#[test]
fn a_checksum_of_a_datagram_that_comes_out_as_zero_is_sent_as_all_ones() {
    let mut bench = Bench::new(Settings::default());
    bench.serve("198.51.100.1:53", Protocol::Udp, ServiceSettings::default(), &["10.0.0.1:5353"]);
    let mut sums = std::collections::BTreeSet::new();
    for payload in 0..=u16::MAX {
        let mut frame = spec("203.0.113.1:1024", "198.51.100.1:53", None).build();
        // The first two octets of the payload take the sum through all that it can be.
        frame[42..44].copy_from_slice(&payload.to_be_bytes());
        frame[40..42].copy_from_slice(&[0, 0]);
        let (from, to) = ("203.0.113.1".parse().unwrap(), "198.51.100.1".parse().unwrap());
        let sum = match frames::pseudo(from, to, 17, &frame[34..]) {
            0 => 0xffff,
            sum => sum,
        };
        frame[40..42].copy_from_slice(&sum.to_be_bytes());
        let (_, out) = bench.forward(&frame);
        assert_eq!(fault(&out), None, "{payload}");
        sums.insert(u16::from_be_bytes([out[40], out[41]]));
    }
    assert!(!sums.contains(&0) && sums.contains(&0xffff));
}

#[test]
fn a_direct_return_changes_nothing_above_ethernet_and_a_tunnel_nothing_at_all() {
    let ways = [(Way::Direct, "10.0.0.1:80"), (Way::Tunnel, "10.0.0.1:80"), (Way::Tunnel, "[fd00::1]:80")];
    for (client, service) in [(CLIENT, SERVICE), ("[2001:db8:9::1]:1024", "[2001:db8::1]:80")] {
        for (way, backend) in ways {
            let settings = Settings {
                tunnel_v4: Some("10.0.0.254".parse().unwrap()),
                tunnel_v6: Some("fd00::fe".parse().unwrap()),
                ..Settings::default()
            };
            let mut bench = Bench::new(settings);
            let v6 = if way == Way::Direct && client.starts_with('[') { "[fd00::1]:80" } else { backend };
            bench.serve(service, Protocol::Tcp, ServiceSettings { way, ..ServiceSettings::default() }, &[v6]);
            let mut sent = spec(client, service, Some(SYN));
            sent.class = 0xb9;
            let frame = sent.build();
            let (verdict, out) = bench.forward(&frame);
            assert_eq!(verdict.reason(), Reason::SentForward);
            let outer = match (way, v6.starts_with('[')) {
                (Way::Direct, _) => 0,
                (_, false) => 20,
                (_, true) => 40,
            };
            assert_eq!(out[14 + outer..], frame[14..], "{way:?} to {backend}");
            assert_eq!(out.len(), frame.len() + outer);
            assert_eq!(fault(&out), None);
            if outer == 20 {
                assert_eq!((out[15], out[23]), (0xb9, if client.starts_with('[') { 41 } else { 4 }));
            }
        }
    }
}

#[test]
fn a_flow_stays_with_its_backend_when_others_come_and_a_new_one_does_not_have_to() {
    let mut bench = nat();
    let flows: Vec<Spec> =
        (0..30).map(|port| spec(&format!("203.0.113.1:{}", 1024 + port), SERVICE, Some(SYN))).collect();
    flows.iter().for_each(|flow| drop(bench.forward(&flow.build())));
    bench.serve(SERVICE, Protocol::Tcp, ServiceSettings::default(), &["10.0.0.1:8080", "10.0.0.2:8080"]);
    for flow in &flows {
        let (_, out) = bench.forward(&Spec { tcp: Some(ACK), ..flow.clone() }.build());
        assert_eq!(out[30..34], [10, 0, 0, 1]);
    }
    let news = (0..30).filter(|port| {
        let (_, out) = bench.forward(&spec(&format!("203.0.113.2:{}", 1024 + port), SERVICE, Some(SYN)).build());
        out[30..34] == [10, 0, 0, 2]
    });
    assert!((5..25).contains(&news.count()));
}

#[test]
fn flows_of_a_backend_that_is_gone_go_to_another() {
    let mut bench = nat();
    bench.forward(&spec(CLIENT, SERVICE, Some(SYN)).build());
    bench.serve(SERVICE, Protocol::Tcp, ServiceSettings::default(), &["10.0.0.2:8080"]);
    let (verdict, out) = bench.forward(&spec(CLIENT, SERVICE, Some(ACK)).build());
    assert_eq!((verdict.reason(), &out[30..34]), (Reason::SentForward, &[10, 0, 0, 2][..]));
    assert_eq!(
        bench.reason(&spec("10.0.0.1:8080", CLIENT, Some(ACK))),
        Reason::PassNoService,
        "nor does it answer any longer"
    );
}

#[test]
fn a_flow_is_over_after_the_silence_that_its_state_allows() {
    let backend = "10.0.0.1:8080";
    for (flags, answer, silence) in
        [(SYN, None, 60), (SYN, Some(ACK), 3600), (SYN, Some(ACK | FIN), 120), (SYN, Some(RST), 120)]
    {
        let mut bench = nat();
        bench.forward(&spec(CLIENT, SERVICE, Some(flags)).build());
        if let Some(flags) = answer {
            bench.forward(&spec(backend, CLIENT, Some(SYN | ACK)).build());
            bench.forward(&spec(CLIENT, SERVICE, Some(flags)).build());
        }
        bench.now = NOW + Duration::from_secs(silence);
        assert_eq!(bench.reason(&Spec { payload: 0, ..spec(backend, CLIENT, Some(ACK)) }), Reason::SentReturn);
        // That was a packet of it, too.
        bench.now += Duration::from_secs(silence + 1);
        assert_eq!(bench.reason(&spec(backend, CLIENT, Some(ACK))), Reason::PassNoService, "{flags} {answer:?}");
    }
}

#[test]
fn a_connection_by_the_port_of_one_that_has_ended_is_a_new_one() {
    let mut bench = nat();
    bench.forward(&spec(CLIENT, SERVICE, Some(SYN)).build());
    bench.forward(&spec(CLIENT, SERVICE, Some(FIN | ACK)).build());
    let before = bench.tables.service_tallies[0].flows;
    bench.forward(&spec(CLIENT, SERVICE, Some(SYN)).build());
    assert_eq!((before, bench.tables.service_tallies[0].flows), (1, 2));
}

#[test]
fn answers_to_two_services_by_one_backend_and_port_are_not_taken_for_each_other() {
    let mut bench = nat();
    let both = ["10.0.0.1:8080", "10.0.0.2:8080"];
    bench.serve(SERVICE, Protocol::Tcp, ServiceSettings::default(), &both);
    bench.serve("198.51.100.2:80", Protocol::Tcp, ServiceSettings::default(), &both);
    for port in 1024..1056 {
        let client = format!("203.0.113.1:{port}");
        let (_, first) = bench.forward(&spec(&client, SERVICE, Some(SYN)).build());
        let (_, second) = bench.forward(&spec(&client, "198.51.100.2:80", Some(SYN)).build());
        assert_ne!(first[30..34], second[30..34], "the same client and port at the same backend are one connection");
    }
}

#[test]
fn an_error_about_what_a_backend_sent_reaches_that_backend() {
    for (client, service, backend, router) in [
        (CLIENT, SERVICE, "10.0.0.1:8080", "203.0.113.254"),
        ("[2001:db8:9::1]:1024", "[2001:db8::1]:80", "[fd00::1]:8080", "2001:db8:9::fe"),
    ] {
        let mut bench = Bench::new(Settings::default());
        bench.serve(service, Protocol::Tcp, ServiceSettings::default(), &[backend]);
        bench.forward(&spec(client, service, Some(SYN)).build());
        let router: IpAddr = router.parse().unwrap();
        let kind = if router.is_ipv4() { 3 } else { 2 };
        let (verdict, out) = bench.forward(&error(router, &spec(service, client, Some(ACK)), kind));
        assert_eq!((verdict.reason(), fault(&out)), (Reason::SentIcmp, None));
        let backend: SocketAddr = backend.parse().unwrap();
        let inner = if router.is_ipv4() { 14 + 28 } else { 14 + 48 };
        let of_backend = match backend.ip() {
            IpAddr::V4(v4) => out[inner + 12..inner + 16] == v4.octets(),
            IpAddr::V6(v6) => out[inner + 8..inner + 24] == v6.octets(),
        };
        assert!(of_backend, "{out:02x?}");
        let unknown = spec(service, &client.replace("1024", "1025"), Some(ACK));
        assert_eq!(bench.forward(&error(router, &unknown, kind)).0, Verdict::Pass(Reason::PassIcmp));
    }
}

#[test]
fn a_packet_for_a_neighbour_that_is_not_known_is_rewritten_and_left_to_the_kernel_which_asks() {
    let mut bench = nat();
    let unresolved = |query: &Query| Hop::Unresolved { address: query.destination, ifindex: 9 };
    let (verdict, out) = bench.forward_by(&spec(CLIENT, SERVICE, Some(SYN)).build(), &unresolved);
    assert_eq!(verdict, Verdict::Pass(Reason::PassNeighbour));
    // The kernel takes the hop.
    assert_eq!(out[14..], spec(CLIENT, "10.0.0.1:8080", Some(SYN)).build()[14..]);
    let (verdict, _) = bench.forward_by(&spec("10.0.0.1:8080", CLIENT, Some(ACK)).build(), &unresolved);
    assert_eq!(verdict, Verdict::Drop(Reason::DropNeighbour), "the kernel would not take its own address from outside");
    assert_eq!(bench.tables.wanted.len(), 2);
}

#[test]
fn what_is_left_to_sockets_where_the_kernel_does_not_route_is_not_counted_as_passed_on() {
    let mut bench = nat();
    let off = |_: &Query| Hop::NoForwarding;
    for flags in [SYN, ACK] {
        let (verdict, _) = bench.forward_by(&spec(CLIENT, SERVICE, Some(flags)).build(), &off);
        assert_eq!(verdict, Verdict::Pass(Reason::PassNoForwarding));
    }
    assert_eq!(bench.tables.service_tallies[0], ServiceTally::default());
    assert!(bench.tables.backend_tallies.iter().all(|tally| *tally == BackendTally::default()));
    assert_eq!(bench.tables.tallies[Reason::PassNoForwarding as usize].packets, 2);
    assert_eq!(bench.reason(&spec(CLIENT, SERVICE, Some(ACK))), Reason::SentForward);
    assert_eq!(bench.tables.service_tallies[0].received.packets, 1);
}

#[test]
fn beyond_a_rate_connections_and_packets_are_dropped_and_counted() {
    let settings = Settings { source_rate: Some(Rate { per_second: 10, burst: 5 }), ..Settings::default() };
    let mut bench = Bench::new(settings);
    let limited = ServiceSettings { syn_rate: Some(Rate { per_second: 1, burst: 2 }), ..ServiceSettings::default() };
    bench.serve(SERVICE, Protocol::Tcp, limited, &["10.0.0.1:8080"]);
    let mut reasons = |client: &str, count: u16| -> Vec<Reason> {
        (0..count).map(|port| bench.reason(&spec(&format!("{client}:{}", 1024 + port), SERVICE, Some(SYN)))).collect()
    };
    let (sent, syn, source) = (Reason::SentForward, Reason::DropSynRate, Reason::DropSourceRate);
    assert_eq!(reasons("203.0.113.1", 6), [sent, sent, syn, syn, syn, source]);
    assert_eq!(reasons("203.0.113.2", 1), [syn], "another source, the same service");
    let tally = bench.tables.service_tallies[0];
    assert_eq!((tally.flows, tally.syn_refused, tally.source_refused, tally.received.packets), (2, 4, 1, 7));
    bench.now = NOW + Duration::from_secs(2);
    assert_eq!(bench.reason(&spec("203.0.113.1:2000", SERVICE, Some(SYN))), sent);
}

#[test]
fn a_frame_without_room_for_its_tunnel_is_dropped_as_a_fault() {
    let mut bench = Bench::new(Settings { tunnel_v4: Some("10.0.0.254".parse().unwrap()), ..Settings::default() });
    let tunnel = ServiceSettings { way: Way::Tunnel, ..ServiceSettings::default() };
    bench.serve(SERVICE, Protocol::Tcp, tunnel, &["10.0.0.1:80"]);
    let mut room = [vec![0; 19], spec(CLIENT, SERVICE, Some(SYN)).build()].concat();
    let length = room.len() - 19;
    let mut frame = Frame::new(&mut room, 19, length).unwrap();
    let verdict = forward(&mut frame, 3, &mut bench.tables, &to_everywhere, NOW);
    assert_eq!(verdict, Verdict::Drop(Reason::DropFault));
}

#[test]
fn a_checksum_that_was_left_to_a_card_is_completed_where_frames_come_by_cables() {
    for (client, service, backend) in
        [(CLIENT, SERVICE, "10.0.0.1:8080"), ("[2001:db8:9::1]:1024", "[2001:db8::1]:80", "[fd00::1]:8080")]
    {
        for (tcp, payload) in [(Some(SYN), 0), (Some(ACK), 1), (Some(ACK), 1399), (None, 7), (None, 512)] {
            let mut bench = Bench::new(Settings { has_cables: true, ..Settings::default() });
            let protocol = if tcp.is_some() { Protocol::Tcp } else { Protocol::Udp };
            bench.serve(service, protocol, ServiceSettings::default(), &[backend]);
            let left = Spec { payload, left_to_card: true, padding: 3, ..spec(client, service, tcp) };
            assert!(fault(&left.build()).is_some());
            let (verdict, out) = bench.forward(&left.build());
            assert_eq!((verdict.reason(), fault(&out)), (Reason::SentForward, None), "{client} {tcp:?} {payload}");
        }
    }
    let mut bench = nat();
    let (_, out) = bench.forward(&Spec { left_to_card: true, ..spec(CLIENT, SERVICE, Some(SYN)) }.build());
    assert!(fault(&out).is_some(), "what is wrong on a wire stays wrong");
}

#[test]
fn an_answer_to_a_question_that_nobody_here_has_heard_makes_its_flow_while_tables_are_young() {
    let members = ["10.0.0.1:8080", "10.0.0.2:8080"];
    let mut before = Bench::new(Settings::default());
    before.serve(SERVICE, Protocol::Tcp, ServiceSettings::default(), &members);
    for port in 1024..1056 {
        let client = format!("203.0.113.1:{port}");
        let (_, out) = before.forward(&spec(&client, SERVICE, Some(SYN)).build());
        let backend = format!("10.0.0.{}:8080", out[33]);
        let other = format!("10.0.0.{}:8080", 3 - out[33]);
        let mut after = Bench::new(Settings::default());
        after.serve(SERVICE, Protocol::Tcp, ServiceSettings::default(), &members);
        let answer = |from: &str| spec(from, &client, Some(ACK));
        assert_eq!(after.reason(&answer(&backend)), Reason::PassNoService);
        after.tables.adopts_until = (NOW + Duration::from_secs(60)).as_nanos();
        assert_eq!(after.reason(&answer(&other)), Reason::PassNoService, "whom the client would not have got");
        assert_eq!(after.reason(&answer(&backend)), Reason::SentReturn);
        let (_, out) = after.forward(&spec(&client, SERVICE, Some(ACK)).build());
        assert_eq!(format!("10.0.0.{}:8080", out[33]), backend);
        assert_eq!(after.tables.service_tallies[0].flows, 0, "the flow goes on");
    }
}

#[test]
fn what_would_leave_where_nobody_can_is_the_kernels_as_it_came_and_an_answer_is_nobodys() {
    struct Inside;
    impl Routes for Inside {
        fn hop(&self, query: &Query) -> Hop {
            to_everywhere(query)
        }

        fn leaves_by(&self, _: u32) -> bool {
            false
        }
    }
    let mut bench = nat();
    let frame = spec(CLIENT, SERVICE, Some(SYN)).build();
    assert_eq!(bench.forward_by(&frame, &Inside), (Verdict::Pass(Reason::PassLocal), frame));
    // Of a flow from before.
    assert_eq!(bench.reason(&spec(CLIENT, SERVICE, Some(SYN))), Reason::SentForward);
    let answer = spec("10.0.0.1:8080", CLIENT, Some(ACK)).build();
    assert_eq!(bench.forward_by(&answer, &Inside).0, Verdict::Drop(Reason::DropUnroutable));
}

/// A kernel whose sockets have all connections that it is asked about, and that routes or does not.
struct Occupied {
    routes: bool,
}

impl Routes for Occupied {
    fn hop(&self, query: &Query) -> Hop {
        if self.routes { to_everywhere(query) } else { Hop::NoForwarding }
    }

    fn has_socket(&self, _: &FlowKey) -> bool {
        true
    }
}

#[test]
fn a_connection_that_a_socket_has_is_left_to_it_and_one_that_is_opened_anew_or_is_known_is_not() {
    let mut bench = nat();
    let said = |flags| spec(CLIENT, SERVICE, Some(flags)).build();
    let verdict = |bench: &mut Bench, frame: &[u8]| bench.forward_by(frame, &Occupied { routes: true }).0.reason();
    for flags in [ACK, ACK | FIN, FIN, 0] {
        assert_eq!(verdict(&mut bench, &said(flags)), Reason::PassSocket);
    }
    assert_eq!(verdict(&mut bench, &said(RST)), Reason::PassNoFlow);
    assert_eq!(bench.tables.flows.len(), 0);
    assert_eq!(bench.tables.service_tallies[0], ServiceTally::default());
    assert_eq!(verdict(&mut bench, &said(SYN)), Reason::SentForward);
    assert_eq!(verdict(&mut bench, &said(ACK)), Reason::SentForward, "the client has another connection by now");
}

#[test]
fn a_connection_that_begins_with_sockets_stays_with_them_when_the_kernel_begins_to_route() {
    let mut bench = nat();
    let said = |flags| spec(CLIENT, SERVICE, Some(flags)).build();
    let verdict = |bench: &mut Bench, flags, routes| bench.forward_by(&said(flags), &Occupied { routes }).0.reason();
    assert_eq!(verdict(&mut bench, SYN, false), Reason::PassNoForwarding);
    assert_eq!(bench.tables.flows.len(), 0, "it is not the tables'");
    assert_eq!(verdict(&mut bench, ACK, false), Reason::PassSocket);
    assert_eq!(verdict(&mut bench, ACK, true), Reason::PassSocket);
}

#[test]
fn who_has_closed_a_flow_and_opens_a_connection_with_a_socket_by_the_same_port_keeps_it() {
    let mut bench = nat();
    let vip = Vip::new(SERVICE.parse().unwrap(), Protocol::Tcp);
    for flags in [SYN, ACK, ACK | FIN] {
        assert_eq!(bench.reason(&spec(CLIENT, SERVICE, Some(flags))), Reason::SentForward);
    }
    for write in bench.registry.retire(&vip).unwrap() {
        bench.tables.apply(&write).unwrap();
    }
    assert_eq!(bench.reason(&spec(CLIENT, SERVICE, Some(ACK))), Reason::SentForward, "its last words");
    assert_eq!(bench.reason(&spec(CLIENT, SERVICE, Some(SYN))), Reason::PassNoBackend);
    let said = spec(CLIENT, SERVICE, Some(ACK)).build();
    assert_eq!(bench.forward_by(&said, &Occupied { routes: true }).0.reason(), Reason::PassSocket);
    let answer = spec("10.0.0.1:8080", CLIENT, Some(ACK)).build();
    assert_eq!(bench.forward(&answer).0.reason(), Reason::PassNoService);
}

fn states(bench: &Bench) -> Vec<u8> {
    bench.tables.flows.iter().map(|(_, flow)| flow.state).collect()
}

#[test]
fn who_floods_without_asking_for_a_connection_is_held_to_the_rate_and_makes_nothing_that_lasts() {
    let mut bench = Bench::new(Settings::default());
    let limited = ServiceSettings { syn_rate: Some(Rate { per_second: 1, burst: 2 }), ..ServiceSettings::default() };
    bench.serve(SERVICE, Protocol::Tcp, limited, &["10.0.0.1:8080"]);
    let forged = |port: u16, flags| spec(&format!("203.0.113.1:{port}"), SERVICE, Some(flags));
    let reasons: Vec<Reason> = (1..=4).map(|port| bench.reason(&forged(port, ACK))).collect();
    let (sent, refused) = (Reason::SentForward, Reason::DropSynRate);
    assert_eq!(reasons, [sent, sent, refused, refused]);
    assert_eq!(bench.reason(&forged(5, SYN | ACK)), Reason::DropUnasked);
    // Nobody answers what is forged, or by a reset.
    (0..9).for_each(|_| assert_eq!(bench.reason(&forged(1, ACK)), sent));
    assert_eq!(states(&bench), [State::Opening as u8; 4]);
    bench.now = NOW + Duration::from_secs(61);
    assert_eq!(bench.reason(&spec("10.0.0.1:8080", "203.0.113.1:2", Some(ACK))), Reason::PassNoService, "it is over");
}

#[test]
fn a_connection_that_is_taken_up_midway_goes_to_the_same_backend_and_lasts_once_both_sides_have_spoken() {
    let members = ["10.0.0.1:8080", "10.0.0.2:8080", "10.0.0.3:8080"];
    let mut before = Bench::new(Settings::default());
    before.serve(SERVICE, Protocol::Tcp, ServiceSettings::default(), &members);
    for port in 1024..1056 {
        let client = format!("203.0.113.1:{port}");
        let (_, out) = before.forward(&spec(&client, SERVICE, Some(SYN)).build());
        let backend = format!("10.0.0.{}:8080", out[33]);
        let mut after = Bench::new(Settings::default());
        after.serve(SERVICE, Protocol::Tcp, ServiceSettings::default(), &members);
        let (_, out) = after.forward(&spec(&client, SERVICE, Some(ACK)).build());
        assert_eq!(format!("10.0.0.{}:8080", out[33]), backend);
        assert_eq!(after.reason(&spec(&backend, &client, Some(ACK))), Reason::SentReturn);
        assert_eq!(states(&after), [State::Opening as u8; 2]);
        after.forward(&spec(&client, SERVICE, Some(ACK)).build());
        assert_eq!(states(&after), [State::Established as u8; 2]);
    }
}

#[test]
fn a_connection_whose_answers_go_another_way_lasts_once_its_client_has_spoken_twice() {
    let mut bench = Bench::new(Settings::default());
    let direct = ServiceSettings { way: Way::Direct, ..ServiceSettings::default() };
    bench.serve(SERVICE, Protocol::Tcp, direct, &["10.0.0.1:80"]);
    for (flags, state) in [(SYN, State::Opening), (ACK, State::Established)] {
        bench.forward(&spec(CLIENT, SERVICE, Some(flags)).build());
        assert_eq!(states(&bench), [state as u8]);
    }
}

#[test]
fn a_network_is_denied_services_and_nothing_else() {
    for (client, service, backend, router, networks) in [
        (CLIENT, SERVICE, "10.0.0.1:8080", "203.0.113.254", ["203.0.113.0/24", "10.0.0.0/8"]),
        (
            "[2001:db8:9::1]:1024",
            "[2001:db8::1]:80",
            "[fd00::1]:8080",
            "2001:db8:9::fe",
            ["2001:db8:9::/48", "fd00::/8"],
        ),
    ] {
        let mut bench = Bench::new(Settings::default());
        bench.serve(service, Protocol::Tcp, ServiceSettings::default(), &[backend]);
        let [clients, backends] = networks.map(|text| text.parse().unwrap());
        let deny = |bench: &mut Bench, network: Prefix| {
            let writes = bench.registry.deny([network]).unwrap();
            writes.iter().for_each(|write| bench.tables.apply(write).unwrap());
        };
        deny(&mut bench, backends);
        assert_eq!(bench.reason(&spec(client, service, Some(SYN))), Reason::SentForward);
        assert_eq!(bench.reason(&spec(backend, client, Some(SYN | ACK))), Reason::SentReturn, "backends answer");
        deny(&mut bench, clients);
        let elsewhere = service.replace("80", "22");
        assert_eq!(bench.reason(&spec(client, &elsewhere, Some(SYN))), Reason::PassNoService);
        assert_eq!(bench.reason(&spec(client, service, Some(ACK))), Reason::DropDenied);
        let complaint = error(router.parse().unwrap(), &spec(service, client, Some(ACK)), 3);
        assert_eq!(bench.forward(&complaint).0, Verdict::Drop(Reason::DropDenied));
        assert_eq!(bench.tables.service_tallies[0].received.packets, 1, "what is denied is nothing to a service");
    }
}

#[test]
fn of_the_unusual_what_is_tcp_for_a_service_is_dropped_and_the_rest_is_the_kernels() {
    let first = |spec: Spec| Spec { fragment: 0x2000, ..spec };
    let mut bench = nat();
    let (to_service, elsewhere) = (spec(CLIENT, SERVICE, Some(ACK)), spec(CLIENT, "198.51.100.1:81", Some(ACK)));
    assert_eq!(bench.reason(&first(to_service.clone())), Reason::DropUnusual);
    assert_eq!(bench.reason(&Spec { fragment: 0x00b9, ..to_service.clone() }), Reason::PassFragment, "it has no ports");
    assert_eq!(bench.reason(&first(elsewhere.clone())), Reason::PassFragment);
    assert_eq!(bench.reason(&first(spec(CLIENT, SERVICE, None))), Reason::PassFragment, "sockets answer");
    for (spec, expected) in [(&to_service, Reason::DropUnusual), (&elsewhere, Reason::PassOptions)] {
        assert_eq!(bench.forward(&frames::extended(&spec.build(), 0)).0.reason(), expected);
    }
    let mut bench = Bench::new(Settings::default());
    bench.serve("[2001:db8::1]:80", Protocol::Tcp, ServiceSettings::default(), &["[fd00::1]:8080"]);
    for (port, dropped) in [(80, true), (81, false)] {
        let frame = spec("[2001:db8:9::1]:1024", &format!("[2001:db8::1]:{port}"), Some(ACK)).build();
        for (header, left) in [(0, Reason::PassOptions), (44, Reason::PassFragment), (60, Reason::PassOptions)] {
            let expected = if dropped { Reason::DropUnusual } else { left };
            assert_eq!(bench.forward(&frames::extended(&frame, header)).0.reason(), expected, "{port} {header}");
        }
    }
}

#[test]
fn what_goes_on_while_tables_are_young_is_no_new_connection_to_the_rate() {
    let mut bench = Bench::new(Settings::default());
    let limited = ServiceSettings { syn_rate: Some(Rate { per_second: 1, burst: 1 }), ..ServiceSettings::default() };
    bench.serve(SERVICE, Protocol::Tcp, limited, &["10.0.0.1:8080"]);
    bench.tables.adopts_until = (NOW + Duration::from_secs(60)).as_nanos();
    let mut reasons = |flags: u8, ports: std::ops::Range<u16>| -> Vec<Reason> {
        ports.map(|port| bench.reason(&spec(&format!("203.0.113.1:{port}"), SERVICE, Some(flags)))).collect()
    };
    assert_eq!(reasons(ACK, 1..9), [Reason::SentForward; 8]);
    assert_eq!(reasons(SYN, 11..13), [Reason::SentForward, Reason::DropSynRate]);
    bench.tables.adopts_until = 0;
    assert_eq!(bench.reason(&spec("203.0.113.1:21", SERVICE, Some(ACK))), Reason::DropSynRate);
}

#[test]
fn an_error_about_what_a_client_sent_reaches_that_client_in_the_name_of_the_service() {
    for (client, service, backend, router) in [
        (CLIENT, SERVICE, "10.0.0.1:8080", "10.0.0.254"),
        ("[2001:db8:9::1]:1024", "[2001:db8::1]:80", "[fd00::1]:8080", "fd00::fe"),
    ] {
        let mut bench = Bench::new(Settings::default());
        bench.serve(service, Protocol::Udp, ServiceSettings::default(), &[backend]);
        bench.forward(&spec(client, service, None).build());
        let [service, backend]: [SocketAddr; 2] = [service, backend].map(|text| text.parse().unwrap());
        let is_v4 = service.is_ipv4();
        for from in [backend.ip(), router.parse().unwrap()] {
            let kind = if is_v4 { 3 } else { 1 };
            let told = error(from, &Spec::new(client.parse().unwrap(), backend, None), kind);
            let (verdict, out) = bench.forward(&told);
            assert_eq!((verdict.reason(), fault(&out)), (Reason::SentIcmp, None));
            let expected = error(service.ip(), &Spec::new(client.parse().unwrap(), service, None), kind);
            // Of what was brought along, addresses and ports: the checksum of a datagram is not looked at there.
            let ends = |frame: &[u8]| match is_v4 {
                true => [&frame[26..34], &frame[54..66]].concat(),
                false => [&frame[22..54], &frame[70..106]].concat(),
            };
            assert_eq!(ends(&out), ends(&expected), "{from}");
        }
    }
}
