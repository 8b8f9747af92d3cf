//! What a packet costs, and a change: `cargo run --release -p outwork-fastpath --example packets`, as root. Programs are run by hand (`BPF_PROG_TEST_RUN`), so that
//! nothing but them is measured: no card, no stack. With `--json`, each figure is an object on a line.
#![allow(clippy::unwrap_used, clippy::panic, clippy::print_stdout, dead_code)]

#[path = "../tests/kernel/frames.rs"]
mod frames;
#[path = "../tests/kernel/lab.rs"]
mod lab;

use std::net::{Ipv4Addr, SocketAddr};
use std::time::{Duration, Instant};

use frames::{ACK, SYN, Spec};
use lab::Lab;
use outwork_balance::{Health, MemberSettings, Policy, Pool, PoolSettings};
use outwork_engine::{Rng, Time};
use outwork_fastpath::forward::{Frame, Hop, Query, forward};
use outwork_fastpath::tables::Tables;
use outwork_fastpath::{
    Apply, ControlPlane as _, Fastpath, Mode, Protocol, Registry, ServiceSettings, Settings, Sink as _, Sizes, Tier,
    Vip, Way,
};
use outwork_wire::MacAddr;

const TIERS: [Tier; 2] = [Tier::Xdp(Mode::Native), Tier::Tc];
const FLOWS: u32 = 1_000_000;

/// A figure, as it is told.
fn tell(what: &str, value: impl std::fmt::Display, unit: &str) {
    match std::env::args().any(|argument| argument == "--json") {
        true => println!("{{\"what\": \"{what}\", \"value\": {value}, \"unit\": \"{unit}\"}}"),
        false => println!("{what:60} {value:>12} {unit}"),
    }
}

fn millis(took: Duration) -> String {
    format!("{:.3}", took.as_secs_f64() * 1e3)
}

fn main() {
    let lab = Lab::new(&["here", "there"]);
    lab.cable(("here", "h0"), ("there", "t0"));
    lab.ip("here", "addr add 10.0.0.1/8 dev h0");
    for neighbour in ["10.0.0.2", "198.51.100.1", "198.51.100.2", "203.0.113.1"] {
        lab.ip("here", &format!("neigh replace {neighbour} lladdr 02:00:00:00:00:02 dev h0 nud permanent"));
    }
    lab.ip("here", "route add 0.0.0.0/0 via 10.0.0.2 dev h0");
    let ingress = lab.index("here", "h0");
    lab.within("here", || {
        packets(ingress);
        many_flows(ingress);
        veth(&lab, ingress);
        changes();
        engine();
    });
}

fn sizes() -> Sizes {
    Sizes { flows: FLOWS, ..Sizes::default() }
}

fn pool(members: &[String]) -> Pool {
    Pool::new(of(members)).unwrap()
}

/// A pool of these, of which nobody who goes stays for a while.
fn of(members: &[String]) -> PoolSettings {
    let members = members.iter().map(|key| MemberSettings::new(key.clone())).collect();
    PoolSettings { members, policy: Policy::Maglev, drain: Duration::ZERO, ..PoolSettings::default() }
}

fn serve(fastpath: &mut Fastpath, at: &str, protocol: Protocol, way: Way, members: &[String]) {
    let settings = ServiceSettings { way, ..ServiceSettings::default() };
    let vip = Vip::new(at.parse().unwrap(), protocol);
    fastpath.serve(vip, settings, &pool(members), |key| key.parse().ok(), Fastpath::kernel_time()).unwrap();
}

fn spec(from: &str, to: &str, tcp: Option<u8>) -> Spec {
    Spec {
        payload: if tcp.is_some() { 6 } else { 18 },
        hops: 255,
        ..Spec::new(from.parse().unwrap(), to.parse().unwrap(), tcp)
    }
}

/// The median of what runs of `repeat` took each.
fn median(runs: usize, mut one: impl FnMut(usize) -> u32) -> u32 {
    let mut nanos: Vec<u32> = (0..runs).map(&mut one).collect();
    nanos.sort_unstable();
    nanos[nanos.len() / 2]
}

fn packets(ingress: u32) {
    let (mut fastpath, _) = Fastpath::open(Settings { sizes: sizes(), ..Settings::default() }, None).unwrap();
    serve(&mut fastpath, "198.51.100.3:80", Protocol::Udp, Way::Direct, &["10.0.0.2:80".to_owned()]);
    // Two services that send everything to each other: what comes out goes in again, as long as it has hops.
    for protocol in [Protocol::Tcp, Protocol::Udp] {
        serve(&mut fastpath, "198.51.100.1:80", protocol, Way::Nat, &["198.51.100.2:80".to_owned()]);
        serve(&mut fastpath, "198.51.100.2:80", protocol, Way::Nat, &["198.51.100.1:80".to_owned()]);
    }
    serve(&mut fastpath, "198.51.100.4:80", Protocol::Tcp, Way::Nat, &["10.0.0.2:80".to_owned()]);
    fastpath.deny(["192.0.2.0/24".parse().unwrap()]).unwrap();
    for tier in TIERS {
        let run = |spec: &Spec, repeat: u32| fastpath.run(tier, &spec.build(), ingress, repeat).unwrap().nanos;
        let other = spec("203.0.113.1:1000", "198.51.100.9:80", None);
        let denied = spec("192.0.2.1:1000", "198.51.100.1:80", None);
        let direct = spec("203.0.113.1:1000", "198.51.100.3:80", None);
        let (udp, tcp) =
            (spec("203.0.113.1:1000", "198.51.100.1:80", None), spec("203.0.113.1:1000", "198.51.100.1:80", Some(ACK)));
        let new = |port: usize| spec(&format!("203.0.113.1:{}", 1024 + port), "198.51.100.4:80", Some(SYN));
        let answer = |port: usize| spec("10.0.0.2:80", &format!("203.0.113.1:{}", 1024 + port), Some(SYN | ACK));
        // One run by itself has the clock in it.
        let clock = median(2001, |_| run(&other, 1)).saturating_sub(median(5, |_| run(&other, 1_000_000)));
        let nanos = |what: &str, nanos: u32| tell(&format!("{tier}, {what}"), nanos, "ns");
        nanos("for no service, left to the kernel", median(5, |_| run(&other, 1_000_000)));
        nanos("denied", median(5, |_| run(&denied, 1_000_000)));
        nanos("known flow, direct return, UDP", median(5, |_| run(&direct, 1_000_000)));
        nanos("known flow, NAT, UDP", median(2001, |_| run(&udp, 250)));
        nanos("known flow, NAT, TCP", median(2001, |_| run(&tcp, 250)));
        nanos("new flow, NAT, TCP", median(20_000, |port| run(&new(port), 1)).saturating_sub(clock));
        nanos("answer, NAT, TCP", median(20_000, |port| run(&answer(port), 1)).saturating_sub(clock));
    }
}

fn many_flows(ingress: u32) {
    let (mut fastpath, _) = Fastpath::open(Settings { sizes: sizes(), ..Settings::default() }, None).unwrap();
    let members: Vec<String> = (2..102).map(|last| format!("10.0.0.{last}:80")).collect();
    serve(&mut fastpath, "198.51.100.1:80", Protocol::Udp, Way::Nat, &members);
    let mut frame = spec("100.64.0.0:1", "198.51.100.1:80", None).build();
    let mut client = |number: u32| {
        let address = Ipv4Addr::from(u32::from(Ipv4Addr::new(100, 64, 0, 0)) + number / 16);
        frame[26..30].copy_from_slice(&address.octets());
        frame[34..36].copy_from_slice(&(1024 + (number % 16) as u16).to_be_bytes());
        frame[40..42].copy_from_slice(&[0, 0]);
        fastpath.run(TIERS[0], &frame, ingress, 1).unwrap().nanos
    };
    let first: u64 = (0..FLOWS).map(|number| u64::from(client(number))).sum();
    let mut rng = Rng::new(1);
    let known: u64 = (0..200_000).map(|_| u64::from(client(rng.below(FLOWS.into()) as u32))).sum();
    // The clock of a run by itself is in these.
    tell("one of a million flows, new, NAT, UDP, by XDP", first / u64::from(FLOWS), "ns");
    tell("one of a million flows, known, NAT, UDP, by XDP", known / 200_000, "ns");
    let begin = Instant::now();
    let swept = loop {
        let swept = fastpath.sweep(Fastpath::kernel_time()).unwrap();
        if swept.whole {
            break swept;
        }
    };
    tell("flows at once in the kernel's table", swept.flows, "flows");
    tell("a sweep through them", millis(begin.elapsed()), "ms");
}

/// Frames of 64 octets through a veth and back out by it, to a program that drops them there: the work of one core on this side.
fn veth(lab: &Lab, ingress: u32) {
    let (mut fastpath, _) =
        Fastpath::open(Settings { sizes: Sizes { flows: 1024, ..sizes() }, ..Settings::default() }, None).unwrap();
    serve(&mut fastpath, "198.51.100.3:80", Protocol::Udp, Way::Direct, &["10.0.0.2:80".to_owned()]);
    fastpath.attach("h0", TIERS[0]).unwrap();
    let _other_end = lab.within("there", || {
        let (mut fastpath, _) =
            Fastpath::open(Settings { sizes: Sizes { flows: 1024, ..sizes() }, ..Settings::default() }, None).unwrap();
        fastpath.deny(["203.0.113.0/24".parse().unwrap()]).unwrap();
        fastpath.attach("t0", TIERS[0]).unwrap();
        fastpath
    });
    let frame = spec("203.0.113.1:1000", "198.51.100.3:80", None).build();
    let count = 4_000_000;
    let begin = Instant::now();
    fastpath.run_live(&frame, ingress, count).unwrap();
    let rate = f64::from(count) / begin.elapsed().as_secs_f64() / 1e6;
    tell(
        &format!("through veth, direct return, UDP of {} octets", frame.len()),
        format!("{rate:.2}"),
        "million a second",
    );
}

fn changes() {
    let sizes = Sizes { flows: 1024, ..sizes() };
    let (mut fastpath, _) = Fastpath::open(Settings { sizes, ..Settings::default() }, None).unwrap();
    for count in [100usize, 1000, 10_000] {
        let keys: Vec<String> = (0..count).map(|n| format!("10.1.{}.{}:80", n >> 8, n & 255)).collect();
        let (vip, begin) = (Vip::new("198.51.100.1:80".parse().unwrap(), Protocol::Tcp), Instant::now());
        let pool = pool(&keys);
        let made = begin.elapsed();
        let at = |key: &str| key.parse::<SocketAddr>().ok();
        let serve = |fastpath: &mut Fastpath, pool: &Pool| {
            let begin = Instant::now();
            fastpath.serve(vip, ServiceSettings::default(), pool, at, Time::ZERO).unwrap();
            begin.elapsed()
        };
        let first = serve(&mut fastpath, &pool);
        let mut tables: Vec<Duration> = vec![];
        for key in keys.iter().take(20) {
            pool.find(key).unwrap().member().set_health(Health::Unhealthy, Time::ZERO);
            tables.push(serve(&mut fastpath, &pool));
        }
        let mut flags: Vec<Duration> = vec![];
        for key in keys.iter().skip(20).take(20) {
            let begin = Instant::now();
            assert!(fastpath.fail(&vip, at(key).unwrap()).unwrap());
            flags.push(begin.elapsed());
        }
        // One goes, and comes back: the table itself is another each time.
        let (mut now, mut rebuilt, mut without) = (pool, vec![], keys.clone());
        let gone = without.remove(count / 2);
        for round in 0..10 {
            let begin = Instant::now();
            let members = if round % 2 == 0 { &without } else { &keys };
            now = now.rebuild(of(members), Time::ZERO).unwrap();
            serve(&mut fastpath, &now);
            rebuilt.push(begin.elapsed());
        }
        assert!(now.find(&gone).is_some());
        [&mut tables, &mut flags, &mut rebuilt].into_iter().for_each(|times| times.sort_unstable());
        tell(&format!("{count} backends, the first table"), millis(made + first), "ms");
        tell(&format!("{count} backends, one fails: nobody new goes there after"), millis(flags[10]), "ms");
        tell(&format!("{count} backends, one fails: its table is made anew in"), millis(tables[10]), "ms");
        tell(&format!("{count} backends, one goes or comes: all tables are made anew in"), millis(rebuilt[5]), "ms");
        fastpath.withdraw(&vip).unwrap();
    }
}

/// The engine itself, as this profile builds it.
fn engine() {
    let settings = Settings { sizes: Sizes { flows: 1024, ..sizes() }, ..Settings::default() };
    let (mut registry, begin) = Registry::new(settings);
    let mut tables = Tables::new(&settings.sizes);
    let vip = Vip::new("198.51.100.1:80".parse().unwrap(), Protocol::Udp);
    let members = ["10.0.0.2:80".to_owned()];
    let writes =
        registry.serve(vip, ServiceSettings::default(), &pool(&members), |key| key.parse().ok(), Time::ZERO).unwrap();
    begin.iter().chain(&writes).for_each(|write| tables.apply(write).unwrap());
    let hop = |_: &Query| Hop::To { ifindex: 1, destination: MacAddr::ZERO, source: MacAddr::ZERO };
    let built = spec("203.0.113.1:1000", "198.51.100.1:80", None).build();
    let mut room = vec![0; 2048];
    let (begin, count) = (Instant::now(), 1_000_000);
    for _ in 0..count {
        room[256..256 + built.len()].copy_from_slice(&built);
        let mut frame = Frame::new(&mut room, 256, built.len()).unwrap();
        forward(&mut frame, 1, &mut tables, &hop, Time::from_secs(1));
    }
    tell("the engine in user space, known flow, NAT, UDP", begin.elapsed().as_nanos() / count, "ns");
}
