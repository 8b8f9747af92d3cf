//! The generator against a model of a server, in simulated time.

use std::collections::BTreeMap;
use std::net::Ipv4Addr;
use std::time::Duration;

use outwork_engine::sim::{self, Event, Node, Quality, World};
use outwork_engine::{Rng, Time};

use super::generator::{Generator, Plan, RelayId};
use super::report::Report;
use super::{BenchOptions, Rate, Scenario};

const GENERATOR: Node = Node(0);
const SERVER: Node = Node(1);

fn plan(scenario: Scenario, clients: u32, rate: Rate) -> Plan {
    Plan {
        scenario,
        clients,
        rate,
        window: 8,
        duration: Duration::from_secs(2),
        timeout: Duration::from_secs(1),
        seed: 1,
        relays: vec![Ipv4Addr::new(10, 0, 0, 2), Ipv4Addr::new(10, 0, 0, 3)],
        relay_information: vec![vec![1, 2, 0, 1], vec![1, 2, 0, 2], vec![1, 2, 0, 3]],
    }
}

/// What is wrong with a server.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Fault {
    None,
    /// Gives every client the same address.
    OneAddressForAll,
    /// Refuses requests.
    Naks,
    /// Forgets option 82.
    ForgetsRelayInformation,
    /// Answers with another client's hardware address.
    OtherClient,
    /// Acknowledges another address than it offered.
    OtherAddress,
    /// Leaves out the lease time.
    NoLeaseTime,
    /// Sends every answer twice.
    Stutters,
    /// Does not answer.
    Silent,
}

/// A server by the book but for its fault, and what it was asked.
struct Model {
    fault: Fault,
    leases: BTreeMap<[u8; 6], u32>,
    asked: Vec<Vec<u8>>,
}

fn option(message: &[u8], code: u8) -> Option<&[u8]> {
    let mut rest = &message[240..];
    while rest[0] != 255 {
        if rest[0] == 0 {
            rest = &rest[1..];
            continue;
        }
        let (value, after) = rest[2..].split_at(rest[1].into());
        if rest[0] == code {
            return Some(value);
        }
        rest = after;
    }
    None
}

impl Model {
    fn new(fault: Fault) -> Model {
        Model { fault, leases: BTreeMap::new(), asked: Vec::new() }
    }

    fn kinds(&self) -> Vec<u8> {
        self.asked.iter().map(|message| option(message, 53).unwrap()[0]).collect()
    }

    fn answer(&mut self, request: &[u8]) -> Option<Vec<u8>> {
        self.asked.push(request.to_vec());
        let chaddr: [u8; 6] = request[28..34].try_into().unwrap();
        let kind = match option(request, 53)? {
            _ if self.fault == Fault::Silent => return None,
            [1] => 2,
            [3] if self.fault == Fault::Naks => 6,
            [3 | 8] => 5,
            _ => return None,
        };
        let free = self.leases.len() as u32 + 1;
        let mut number =
            if self.fault == Fault::OneAddressForAll { 1 } else { *self.leases.entry(chaddr).or_insert(free) };
        if self.fault == Fault::OtherAddress && kind == 5 {
            number += 1000;
        }
        let inform = option(request, 53) == Some(&[8]);
        let mut reply = request[..240].to_vec();
        reply[0] = 2;
        let yiaddr = if kind == 6 || inform { 0 } else { 0x0a01_0000 + number };
        reply[16..20].copy_from_slice(&yiaddr.to_be_bytes());
        if self.fault == Fault::OtherClient {
            reply[33] ^= 1;
        }
        reply.extend_from_slice(&[53, 1, kind, 54, 4, 10, 0, 0, 1]);
        if !inform && self.fault != Fault::NoLeaseTime {
            reply.extend_from_slice(&[51, 4, 0, 0, 14, 16]);
        }
        if let (Some(information), true) = (option(request, 82), self.fault != Fault::ForgetsRelayInformation) {
            reply.extend_from_slice(&[82, information.len() as u8]);
            reply.extend_from_slice(information);
        }
        reply.push(255);
        Some(reply)
    }
}

/// Plays a plan against a server over a network of that quality.
fn play(plan: Plan, server: &mut Model, quality: Quality, rng: &mut Rng) -> Report {
    let mut world = World::new(rng, quality);
    let mut generator = Generator::new(plan, world.now());
    loop {
        generator.handle_timeout(world.now());
        if generator.is_finished() {
            return generator.finish();
        }
        let mut message = Vec::new();
        while generator.poll_transmit(world.now(), &mut message).is_some() {
            world.send(GENERATOR, SERVER, std::mem::take(&mut message));
        }
        match world.step(generator.poll_timeout()) {
            Event::Arrival(arrival) if arrival.to == SERVER => {
                let Some(reply) = server.answer(&arrival.message) else { continue };
                let times = if server.fault == Fault::Stutters { 2 } else { 1 };
                (0..times).for_each(|_| world.send(SERVER, GENERATOR, reply.clone()));
            }
            Event::Arrival(arrival) => generator.handle_reply(&arrival.message, world.now()),
            Event::Deadline => {}
            Event::Quiet => panic!("the generator waits for nothing"),
        }
    }
}

fn play_perfectly(plan: Plan, fault: Fault) -> (Report, Model) {
    let mut server = Model::new(fault);
    let report = play(plan, &mut server, Quality::PERFECT, &mut Rng::new(1));
    (report, server)
}

#[test]
fn four_way_exchanges_at_a_rate_are_all_answered_and_timed() {
    let (report, _) = play_perfectly(plan(Scenario::Dora, 1000, Rate::PerSecond(200.0)), Fault::None);
    // The model answers after a millisecond each way; the last exchange ends past the second it began in.
    assert_eq!((report.offered, report.answered, report.lost, report.duplicate_addresses), (400, 400, 0, 0));
    assert_eq!((report.exchanges_per_second, report.requests_per_second), (200.0, 400.0));
    for (latency, millis) in [(report.discover_to_offer, 2.0), (report.request_to_ack, 2.0), (report.exchange, 4.0)] {
        assert_eq!(latency.count, 400);
        for time in [latency.p50, latency.p999] {
            assert!((time / 1000.0 - millis).abs() < 0.05, "{latency:?}");
        }
    }
    assert_eq!(report.answer.count, 800, "an answer is an offer or an acknowledgement");
    assert_eq!((report.bound, report.seconds), (400, 2.0));
}

#[test]
fn at_full_speed_the_window_is_kept_full_until_the_clients_run_out() {
    let (report, _) = play_perfectly(plan(Scenario::Dora, 100, Rate::Max), Fault::None);
    assert_eq!((report.answered, report.bound), (100, 100));
    // 100 clients, 8 at a time, 4 ms each: 13 rounds.
    assert!((report.seconds - 0.052).abs() < 1e-6, "{}", report.seconds);
    assert!((report.exchanges_per_second - 100.0 / 0.052).abs() < 1e-3, "{}", report.exchanges_per_second);
}

#[test]
fn messages_are_those_of_a_relay_agent() {
    let (_, server) = play_perfectly(plan(Scenario::Dora, 2, Rate::Max), Fault::None);
    assert_eq!(server.kinds(), [1, 1, 3, 3]);
    for (index, message) in server.asked.iter().enumerate() {
        let relay = 2 + (index % 2) as u8;
        assert!(message.len() >= 300);
        assert_eq!((&message[..4], &message[24..28]), (&[1, 1, 6, 1][..], &[10, 0, 0, relay][..]));
        assert_eq!(option(message, 82), Some(&[1, 2, 0, 1 + (index % 2) as u8][..]));
        let client = [&[1][..], &message[28..34]].concat();
        assert_eq!(option(message, 61), Some(&client[..]));
    }
    let request = &server.asked[2];
    assert_eq!((option(request, 54), request[12..16].to_vec()), (Some(&[10, 0, 0, 1][..]), vec![0; 4]));
    assert_eq!(option(request, 50), Some(&[10, 1, 0, 1][..]));
}

#[test]
fn renewals_carry_ciaddr_and_neither_server_nor_requested_address() {
    let (report, server) = play_perfectly(plan(Scenario::Renew, 20, Rate::PerSecond(100.0)), Fault::None);
    assert_eq!((report.prepared, report.offered, report.answered), (20, 200, 200));
    assert_eq!((report.discover_to_offer.count, report.request_to_ack.count), (0, 200));
    assert_eq!(server.asked.len(), 240);
    for renewal in &server.asked[40..] {
        let chaddr: [u8; 6] = renewal[28..34].try_into().unwrap();
        let address = (0x0a01_0000 + server.leases[&chaddr]).to_be_bytes();
        assert_eq!((&renewal[12..16], option(renewal, 50), option(renewal, 54)), (&address[..], None, None));
    }
}

#[test]
fn a_mix_holds_every_kind_of_message_and_no_fault_of_its_own() {
    let (report, server) = play_perfectly(plan(Scenario::Mixed, 50, Rate::PerSecond(1000.0)), Fault::None);
    let kinds = server.kinds();
    let share = |kind| kinds[100..].iter().filter(|asked| **asked == kind).count();
    // Of 2000: 400 DISCOVERs; 400 + 1200 + 200 REQUESTs; 100 RELEASEs; 100 INFORMs. Clients without a lease make the others rarer.
    assert!((300..500).contains(&share(1)) && (1500..2000).contains(&share(3)), "{} {}", share(1), share(3));
    assert!((50..150).contains(&share(7)) && (50..150).contains(&share(8)), "{} {}", share(7), share(8));
    assert_eq!(share(7) as u64, report.releases);
    assert_eq!(report.answered + report.unsent + report.releases, 2000);
    assert_eq!((report.malformed, report.mismatched, report.orphans, report.duplicate_addresses), (0, 0, 0, 0));
}

#[test]
fn an_avalanche_over_a_bad_network_ends_with_an_address_for_everyone() {
    sim::seeds(20, |rng| {
        let mut server = Model::new(Fault::None);
        let plan = Plan { duration: Duration::from_secs(3600), ..plan(Scenario::Avalanche, 50, Rate::Max) };
        let report = play(plan, &mut server, Quality::BAD, rng);
        assert_eq!((report.bound, report.answered, report.duplicate_addresses), (50, 50, 0));
        assert!(report.retransmissions > 0);
        // A first wait is at least three seconds, and with a fifth of all messages lost somebody waits.
        assert!(report.all_bound_after.unwrap() > 3.0);
    });
}

#[test]
fn an_avalanche_that_no_server_answers_backs_off_and_is_given_up() {
    let plan = Plan { duration: Duration::from_secs(130), ..plan(Scenario::Avalanche, 10, Rate::Max) };
    let (report, server) = play_perfectly(plan, Fault::Silent);
    assert_eq!((report.lost, report.bound, report.all_bound_after, report.seconds), (10, 0, None, 130.0));
    // Sent at 0, about 4, 12, 28, 60 and 124 seconds.
    assert_eq!(server.asked.len(), 60);
    let secs = |message: &[u8]| u16::from_be_bytes([message[8], message[9]]);
    assert!((119..=129).contains(&secs(server.asked.last().unwrap())));
}

#[test]
fn an_address_given_to_two_clients_is_counted() {
    let (report, _) = play_perfectly(plan(Scenario::Dora, 10, Rate::Max), Fault::OneAddressForAll);
    assert_eq!((report.answered, report.duplicate_addresses), (10, 9));
}

#[test]
fn an_address_that_was_released_may_go_to_another() {
    use super::population::{Binding, Population};
    let (now, later) = (Time::from_secs(1), Time::from_secs(100));
    let mut population = Population::new(3, 0);
    let binding = Binding { address: Ipv4Addr::new(10, 1, 0, 1), server: Ipv4Addr::new(10, 0, 0, 1) };
    let clients: Vec<_> = (0..3).map(|number| population.take_nth(number).unwrap()).collect();
    assert!(population.bind(clients[0], binding, later, now));
    assert!(population.bind(clients[0], binding, later, now), "its own");
    population.unbind(clients[0]);
    assert!(population.bind(clients[1], binding, later, now), "released");
    assert!(population.bind(clients[2], binding, later, later), "expired");
    assert!(!population.bind(clients[0], binding, later + Duration::from_secs(1), now), "still held");
}

#[test]
fn what_a_server_gets_wrong_is_counted_by_its_kind() {
    let run = |fault| play_perfectly(plan(Scenario::Dora, 10, Rate::PerSecond(100.0)), fault).0;
    assert_eq!(run(Fault::Naks).naks, 10);
    for fault in [Fault::ForgetsRelayInformation, Fault::OtherClient, Fault::OtherAddress] {
        let report = run(fault);
        assert_eq!((report.mismatched, report.lost, report.answered), (10, 10, 0), "{fault:?}");
    }
    assert_eq!(run(Fault::NoLeaseTime).malformed, 10);
    let report = run(Fault::Stutters);
    // The last ACK comes a second time when all is over.
    assert_eq!((report.orphans, report.answered, report.lost), (19, 10, 0));
    assert_eq!(run(Fault::Silent).lost, 10);
}

#[test]
fn a_message_that_leaves_late_counts_from_when_it_was_due() {
    let mut generator = Generator::new(plan(Scenario::Dora, 1000, Rate::PerSecond(100.0)), Time::ZERO);
    let mut server = Model::new(Fault::None);
    // The generator gets the processor only after a second, and the server answers at once.
    let (now, mut message) = (Time::from_secs(1), Vec::new());
    while let Some(RelayId(_)) = generator.poll_transmit(now, &mut message) {
        let reply = server.answer(&std::mem::take(&mut message)).unwrap();
        generator.handle_reply(&reply, now);
    }
    let report = generator.finish();
    assert_eq!(report.exchange.count, 101);
    assert!(
        (report.exchange.max / 1e6 - 1.0).abs() < 0.01 && (report.exchange.p50 / 1e6 - 0.5).abs() < 0.02,
        "{report:?}"
    );
}

#[test]
fn no_reply_however_mangled_panics_the_generator() {
    sim::seeds(200, |rng| {
        let mut generator = Generator::new(plan(Scenario::Dora, 50, Rate::Max), Time::ZERO);
        let mut server = Model::new(Fault::None);
        let mut message = Vec::new();
        for step in 0..200 {
            let now = Time::from_millis(step);
            generator.handle_timeout(now);
            message.clear();
            if generator.poll_transmit(now, &mut message).is_none() {
                continue;
            }
            let Some(mut reply) = server.answer(&message) else { continue };
            for _ in 0..rng.below(4) {
                let at = rng.below(reply.len() as u64) as usize;
                match rng.below(3) {
                    0 => reply.truncate(at + 1),
                    1 => reply[at] = rng.next_u32() as u8,
                    _ => reply.insert(at, 255),
                }
            }
            generator.handle_reply(&reply, now);
        }
    });
}

#[test]
fn choices_are_read_from_their_names() {
    for scenario in Scenario::ALL {
        assert_eq!(scenario.name().parse(), Ok(scenario));
    }
    assert_eq!("max".parse(), Ok(Rate::Max));
    assert_eq!("2500.5".parse(), Ok(Rate::PerSecond(2500.5)));
    for text in ["", "0", "-1", "inf", "NaN", "fast"] {
        assert!(text.parse::<Rate>().is_err(), "{text}");
    }
    let error = "flood".parse::<Scenario>().unwrap_err().to_string();
    assert_eq!(error, "`flood` is not a scenario: expected dora, renew, mixed or avalanche");
}

#[test]
fn a_report_reads_as_a_table_and_as_json() {
    let (mut report, _) = play_perfectly(plan(Scenario::Dora, 100, Rate::Max), Fault::None);
    report.server = "10.0.0.1:67".to_owned();
    let table = report.to_string();
    assert!(
        table.starts_with("dora against 10.0.0.1:67: 100 clients, as fast as answered, 8 at a time, 0.05 s\n"),
        "{table}"
    );
    assert!(table.contains("duplicate addresses") && !table.contains("malformed"), "{table}");
    let json = serde_json::to_value(&report).unwrap();
    assert_eq!((&json["answered"], &json["exchange"]["count"]), (&100.into(), &100.into()));
}

#[test]
fn options_out_of_range_are_refused_before_anything_is_sent() {
    let defaults = BenchOptions::new("127.0.0.1:67".parse().unwrap());
    for options in [
        BenchOptions { clients: 0, ..defaults.clone() },
        BenchOptions { clients: super::MAX_OUTSTANDING + 1, ..defaults.clone() },
        BenchOptions { window: 0, ..defaults.clone() },
        BenchOptions { relay_port: 0, ..defaults.clone() },
    ] {
        assert!(matches!(super::run(&options), Err(super::BenchError::OutOfRange { .. })));
    }
}
