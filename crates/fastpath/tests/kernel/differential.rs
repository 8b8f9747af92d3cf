//! The same frames through the program in the kernel and through the engine: the same verdict, the same bytes, the same counters, the same flows.

use std::collections::BTreeMap;
use std::net::{IpAddr, SocketAddr, TcpListener};
use std::os::fd::OwnedFd;
use std::time::Duration;

use outwork_balance::{Health, MemberSettings, Policy, Pool, PoolSettings};
use outwork_engine::{Rng, Time};
use outwork_fastpath::forward::{Frame, Hop, Query, Routes, Verdict, forward};
use outwork_fastpath::layout::{FlowKey, Link, Reason};
use outwork_fastpath::registry::{Apply, Registry};
use outwork_fastpath::settings::{Failed, HashBy, Rate};
use outwork_fastpath::tables::Tables;
use outwork_fastpath::{ControlPlane as _, Fastpath, Mode, Protocol, ServiceSettings, Settings, Sizes, Tier, Vip, Way};
use outwork_wire::MacAddr;
use rustix::net::{AddressFamily, SocketType};

use crate::frames::{ACK, FIN, RST, SYN, Spec, error, extended, fault};
use crate::lab::Lab;

/// The room with the programs, and what the kernel knows there of ways and neighbours.
struct Site {
    lab: Lab,
    interfaces: BTreeMap<&'static str, u32>,
    connected: Connected,
}

/// Connections with sockets that stand where services do.
struct Connected {
    /// Who has them, and with which service.
    ends: Vec<(SocketAddr, SocketAddr)>,
    /// What keeps them.
    _listeners: [TcpListener; 2],
    _clients: Vec<OwnedFd>,
}

/// What the kernel knows, for a tier.
struct Known<'a> {
    site: &'a Site,
    /// tc looks at the lengths of segments itself.
    by_length: bool,
}

impl Routes for Known<'_> {
    fn hop(&self, query: &Query) -> Hop {
        self.site.hop(&Query { length: if self.by_length { query.length } else { 0 }, ..*query })
    }

    fn has_socket(&self, key: &FlowKey) -> bool {
        let at =
            |address: outwork_fastpath::layout::Address, port| SocketAddr::new(address.ip(), u16::from_be_bytes(port));
        let ends = (at(key.source, key.source_port), at(key.destination, key.destination_port));
        self.site.connected.ends.contains(&ends)
    }
}

/// Octets that the kernel runs programs by hand on at least.
const SHORTEST: usize = 14;

/// Whether the kernel runs a program of tc on the frame by hand: not with a tag, which is found beside the frame there, nor without a whole IP header.
fn tc_runs(frame: &[u8]) -> bool {
    match frame[12..14] {
        [0x81, 0] | [0x88, 0xa8] => false,
        [0x08, 0] => frame.len() >= 34,
        [0x86, 0xdd] => frame.len() >= 54,
        _ => frame.len() > SHORTEST,
    }
}

const CLIENTS: u8 = 1;
const BACKENDS: u8 = 2;

/// Has a client connect from addresses and ports that clients have which are met.
fn connect(lab: &Lab) -> Connected {
    lab.ip("out", &format!("link set p0 address {}", mac(CLIENTS)));
    for words in
        ["10.1.0.9/24 dev p0", "203.0.113.5/32 dev p0", "fd01::9/64 dev p0 nodad", "2001:db8:9::5/128 dev p0 nodad"]
    {
        lab.ip("out", &format!("addr add {words}"));
    }
    lab.ip("out", "route add default via 10.1.0.1");
    lab.ip("out", "-6 route add default via fd01::1");
    let [v4, v6] = ["198.51.100.1:80", "[2001:db8::1]:80"].map(|text| text.parse::<SocketAddr>().unwrap());
    lab.ip("site", "addr add 198.51.100.1/32 dev lo");
    lab.ip("site", "addr add 2001:db8::1/128 dev lo nodad");
    let listeners = lab.within("site", || [v4, v6].map(|at| TcpListener::bind(at).unwrap()));
    let (mut ends, mut clients) = (vec![], vec![]);
    for (service, client) in [(v4, "203.0.113.5"), (v6, "2001:db8:9::5")] {
        for port in 1024..1030 {
            let from = SocketAddr::new(client.parse().unwrap(), port);
            let family = if from.is_ipv4() { AddressFamily::INET } else { AddressFamily::INET6 };
            clients.push(lab.within("out", || {
                let socket = rustix::net::socket(family, SocketType::STREAM, None).unwrap();
                rustix::net::bind(&socket, &from).unwrap();
                rustix::net::connect(&socket, &service).unwrap();
                socket
            }));
            ends.push((from, service));
        }
    }
    Connected { ends, _listeners: listeners, _clients: clients }
}

fn mac(last: u8) -> MacAddr {
    MacAddr([2, 0, 0, 0, 9, last])
}

impl Site {
    fn new() -> Site {
        let lab = Lab::new(&["site", "out"]);
        for (interface, peer) in [("c0", "p0"), ("b0", "p1"), ("v5", "p2"), ("v7", "p3"), ("off", "p4")] {
            lab.cable(("site", interface), ("out", peer));
            lab.set("site", &format!("ipv6.conf.{interface}.router_solicitations=0"));
        }
        // Interfaces that stand for VLANs: kernels without 802.1Q have none.
        for (interface, last, v4, v6) in [
            ("c0", 0xc0, "10.1.0.1/24", "fd01::1/64"),
            ("b0", 0xb0, "10.2.0.1/24", "fd02::1/64"),
            ("v5", 0x55, "10.5.0.1/24", "fd05::1/64"),
            ("v7", 0x77, "10.7.0.1/24", "fd07::1/64"),
            ("off", 0x0f, "10.8.0.1/24", "fd08::1/64"),
        ] {
            lab.ip("site", &format!("link set {interface} address {}", mac(last)));
            lab.ip("site", &format!("addr add {v4} dev {interface}"));
            lab.ip("site", &format!("addr add {v6} dev {interface} nodad"));
        }
        lab.set("site", "ipv4.conf.off.forwarding=0");
        lab.set("site", "ipv6.conf.off.forwarding=0");
        for (address, interface, last) in [
            ("10.1.0.9", "c0", CLIENTS),
            ("fd01::9", "c0", CLIENTS),
            ("10.2.0.2", "b0", BACKENDS),
            ("10.2.0.3", "b0", BACKENDS + 1),
            ("fd02::2", "b0", BACKENDS),
            ("fd02::3", "b0", BACKENDS + 1),
            ("10.5.0.2", "v5", 5),
            ("fd05::2", "v5", 5),
        ] {
            lab.ip("site", &format!("neigh replace {address} lladdr {} dev {interface} nud permanent", mac(last)));
        }
        for route in [
            "203.0.113.0/24 via 10.1.0.9 dev c0",
            "192.0.2.0/24 via 10.1.0.9 dev c0",
            "10.4.0.0/24 via 10.2.0.2 dev b0 mtu lock 600",
            "2001:db8:9::/48 via fd01::9 dev c0",
            "2001:db8:dead::/48 via fd01::9 dev c0",
            "fd04::/64 via fd02::2 dev b0 mtu lock 1280",
        ] {
            lab.ip("site", &format!("route add {route}"));
        }
        lab.ip("site", "route add blackhole 10.3.0.0/24");
        lab.ip("site", "route add blackhole fd03::/64");
        let interfaces = ["c0", "b0", "v5", "v7", "off"].map(|name| (name, lab.index("site", name)));
        let connected = connect(&lab);
        Site { lab, interfaces: interfaces.into(), connected }
    }

    fn index(&self, name: &str) -> u32 {
        self.interfaces[name]
    }

    /// What the kernel answers there, said once more.
    fn hop(&self, query: &Query) -> Hop {
        match self.next(query) {
            Hop::To { .. } | Hop::Unresolved { .. } if query.length > 1500 => Hop::TooLong,
            hop => hop,
        }
    }

    fn next(&self, query: &Query) -> Hop {
        if query.ingress == self.index("off") {
            return Hop::NoForwarding;
        }
        let to = |interface: &str, own: u8, other: u8| Hop::To {
            ifindex: self.index(interface),
            destination: mac(other),
            source: mac(own),
        };
        let unresolved =
            |interface: &str| Hop::Unresolved { address: query.destination, ifindex: self.index(interface) };
        let text = match query.destination {
            IpAddr::V4(v4) => format!("{}.{}.{}/{}", v4.octets()[0], v4.octets()[1], v4.octets()[2], v4.octets()[3]),
            IpAddr::V6(v6) if v6.segments()[0] == 0x2001 => format!("{:x}:{:x}", v6.segments()[1], v6.segments()[2]),
            IpAddr::V6(v6) if v6.segments()[1..4] != [0; 3] => "elsewhere".to_owned(),
            IpAddr::V6(v6) => format!("{:x}/{:x}", v6.segments()[0], (v6.to_bits() as u64)),
        };
        match text.split_once('/').unwrap_or((text.as_str(), "")) {
            // Its own addresses, and those of everybody in a network, or of its routers (RFC 4291 section 2.6.1).
            ("10.1.0" | "10.2.0" | "10.5.0", "1" | "255") | ("fd01" | "fd02" | "fd05", "0" | "1") => Hop::Local,
            ("10.1.0" | "fd01", "9") => to("c0", 0xc0, CLIENTS),
            ("203.0.113" | "192.0.2" | "db8:9" | "db8:dead", _) => to("c0", 0xc0, CLIENTS),
            ("10.1.0" | "fd01", _) => unresolved("c0"),
            ("10.2.0" | "fd02", "2") => to("b0", 0xb0, BACKENDS),
            ("10.2.0" | "fd02", "3") => to("b0", 0xb0, BACKENDS + 1),
            ("10.2.0" | "fd02", _) => unresolved("b0"),
            ("10.3.0" | "fd03", _) => Hop::Unroutable,
            ("10.4.0", _) if query.length > 600 => Hop::TooLong,
            ("fd04", _) if query.length > 1280 => Hop::TooLong,
            ("10.4.0" | "fd04", _) => to("b0", 0xb0, BACKENDS),
            ("10.5.0" | "fd05", "2") => to("v5", 0x55, 5),
            ("10.5.0" | "fd05", _) => unresolved("v5"),
            _ => Hop::Local,
        }
    }
}

/// The programs and the engine, told the same.
struct Pair {
    tier: Tier,
    kernel: Fastpath,
    registry: Registry,
    tables: Tables,
    now: Time,
    services: Vec<Service>,
}

struct Service {
    vip: Vip,
    settings: ServiceSettings,
    pool: Pool,
}

fn settings() -> Settings {
    Settings {
        sizes: Sizes { flows: 1 << 15, services: 32, backends: 256, places: 1 << 22, sources: 1 << 14, prefixes: 64 },
        source_rate: Some(Rate { per_second: 1, burst: 20 }),
        tunnel_v4: Some("10.2.0.1".parse().unwrap()),
        tunnel_v6: Some("fd02::1".parse().unwrap()),
        ..Settings::default()
    }
}

fn pool(members: &[&str]) -> PoolSettings {
    let members = members.iter().map(|key| MemberSettings::new(*key)).collect();
    PoolSettings { members, policy: Policy::Maglev, drain: Duration::from_secs(3), ..PoolSettings::default() }
}

fn at(key: &str) -> Option<SocketAddr> {
    key.parse().ok()
}

const EVERYWHERE_V4: [&str; 8] = [
    "10.2.0.2:8080",
    "10.2.0.3:8081",
    "10.2.0.99:8080",
    "10.3.0.2:80",
    "10.4.0.2:8080",
    "10.5.0.2:8080",
    "10.2.0.1:80",
    "10.1.0.9:9000",
];
const EVERYWHERE_V6: [&str; 8] = [
    "[fd02::2]:8080",
    "[fd02::3]:8081",
    "[fd02::99]:8080",
    "[fd03::2]:80",
    "[fd04::2]:8080",
    "[fd05::2]:8080",
    "[fd02::1]:80",
    "[fd01::9]:9000",
];

/// XDP completes what was left to a card.
fn settings_of(tier: Tier) -> Settings {
    Settings { has_cables: matches!(tier, Tier::Xdp(_)), ..settings() }
}

impl Pair {
    fn new(site: &Site, tier: Tier) -> Pair {
        let settings = settings_of(tier);
        let (registry, begin) = Registry::new(settings);
        let mut tables = Tables::new(&settings.sizes);
        begin.iter().for_each(|write| tables.apply(write).unwrap());
        let kernel = Fastpath::open_with_clock(settings).unwrap();
        let mut pair = Pair { tier, kernel, registry, tables, now: Time::from_secs(1000), services: vec![] };
        pair.change(|registry| {
            registry.deny(["192.0.2.0/24", "2001:db8:dead::/48"].map(|text| text.parse().unwrap())).unwrap()
        });
        pair.kernel.deny(["192.0.2.0/24", "2001:db8:dead::/48"].map(|text| text.parse().unwrap())).unwrap();
        if let Tier::Xdp(_) = tier {
            let link =
                |interface, parent, vlan| (site.index(interface), Link { parent: site.index(parent), vlan, zero: 0 });
            let links = [link("v5", "b0", 5), link("v7", "c0", 7)];
            pair.change(|registry| registry.link(links));
            pair.kernel.link(links).unwrap();
        }
        // Answers of who is behind interfaces that stand for VLANs come by their parent, as XDP has them, and by none, as tc has them.
        let outlets = ["c0", "b0"].map(|name| site.index(name));
        pair.change(|registry| registry.open_outlets(outlets));
        pair.kernel.open_outlets(outlets).unwrap();
        let nat = ServiceSettings::default();
        let (direct, tunnel) =
            (ServiceSettings { way: Way::Direct, ..nat }, ServiceSettings { way: Way::Tunnel, ..nat });
        let by_source = ServiceSettings { hash: HashBy::Source, failed: Failed::Move, ..nat };
        let limited = ServiceSettings { syn_rate: Some(Rate { per_second: 1, burst: 2 }), ..nat };
        let both: Vec<&str> = EVERYWHERE_V4.iter().chain(&EVERYWHERE_V6).copied().collect();
        for (address, protocol, settings, members) in [
            ("198.51.100.1:80", Protocol::Tcp, nat, &EVERYWHERE_V4[..]),
            ("198.51.100.1:53", Protocol::Udp, by_source, &EVERYWHERE_V4),
            ("198.51.100.9:80", Protocol::Tcp, nat, &EVERYWHERE_V4),
            ("[2001:db8::1]:80", Protocol::Tcp, nat, &EVERYWHERE_V6),
            ("[2001:db8::1]:53", Protocol::Udp, by_source, &EVERYWHERE_V6),
            ("198.51.100.2:80", Protocol::Tcp, direct, &EVERYWHERE_V4),
            ("[2001:db8::2]:53", Protocol::Udp, direct, &EVERYWHERE_V6),
            ("198.51.100.3:53", Protocol::Udp, tunnel, &both),
            ("[2001:db8::3]:80", Protocol::Tcp, tunnel, &both),
            ("198.51.100.4:80", Protocol::Tcp, nat, &[]),
            ("198.51.100.5:80", Protocol::Tcp, limited, &["10.2.0.2:8080"]),
        ] {
            let (vip, pool) = (Vip::new(address.parse().unwrap(), protocol), Pool::new(pool(members)).unwrap());
            pair.services.push(Service { vip, settings, pool });
            pair.serve(pair.services.len() - 1);
        }
        pair
    }

    fn change(&mut self, change: impl FnOnce(&mut Registry) -> Vec<outwork_fastpath::Write>) {
        for write in change(&mut self.registry) {
            self.tables.apply(&write).unwrap();
        }
    }

    fn serve(&mut self, service: usize) {
        let Service { vip, settings, pool } = &self.services[service];
        self.kernel.serve(*vip, *settings, pool, at, self.now).unwrap();
        for write in self.registry.serve(*vip, *settings, pool, at, self.now).unwrap() {
            self.tables.apply(&write).unwrap();
        }
    }

    /// A backend comes, goes, fails or drains.
    fn disturb(&mut self, rng: &mut Rng) {
        let chosen = rng.below(self.services.len() as u64 - 2) as usize;
        let now = self.now;
        if rng.chance(0.1) {
            let vip = self.services[chosen].vip;
            self.kernel.retire(&vip).unwrap();
            return self.change(|registry| registry.retire(&vip).unwrap());
        }
        let service = &mut self.services[chosen];
        let slots = service.pool.slots();
        if slots.is_empty() {
            return;
        }
        let slot = &slots[rng.below(slots.len() as u64) as usize];
        match rng.below(5) {
            0 => slot.member().set_health(Health::Unhealthy, now),
            1 => slot.member().set_health(Health::Healthy, now),
            2 => slot.member().drain(now + Duration::from_secs(2)),
            3 => slot.member().undrain(),
            _ => {
                let all: Vec<&str> =
                    if service.vip.socket().is_ipv4() { EVERYWHERE_V4.into() } else { EVERYWHERE_V6.into() };
                let some: Vec<&str> = all.into_iter().filter(|_| rng.chance(0.7)).collect();
                service.pool = service.pool.rebuild(pool(&some), now).unwrap();
            }
        }
        self.serve(chosen);
    }

    /// One frame through both. Says what became of it, and what leaves.
    fn run(&mut self, site: &Site, frame: &[u8], ingress: u32) -> (Verdict, Vec<u8>) {
        self.kernel.set_clock(self.now);
        let ran = self.kernel.run(self.tier, frame, ingress, 1).unwrap_or_else(|error| panic!("{error}: {frame:02x?}"));
        let mut room = [vec![0; 256], frame.to_vec()].concat();
        let mut own = Frame::new(&mut room, 256, frame.len()).unwrap();
        let routes = Known { site, by_length: matches!(self.tier, Tier::Xdp(_)) };
        let verdict = forward(&mut own, ingress, &mut self.tables, &routes, self.now);
        let expected = match (self.tier, verdict) {
            (Tier::Xdp(_), Verdict::Pass(_)) => 2,
            (Tier::Xdp(_), Verdict::Drop(_)) => 1,
            (Tier::Xdp(_), Verdict::Send { ifindex, .. }) if ifindex == ingress => 3,
            (Tier::Xdp(_), Verdict::Send { .. }) => 4,
            (Tier::Tc, Verdict::Pass(_)) => u32::MAX,
            (Tier::Tc, Verdict::Drop(_)) => 2,
            (Tier::Tc, Verdict::Send { .. }) => 7,
        };
        assert_eq!(ran.result, expected, "{verdict:?} of {frame:02x?}");
        if !matches!(verdict, Verdict::Drop(_)) {
            assert_eq!(ran.frame, own.bytes(), "{verdict:?} of {frame:02x?}");
        }
        (verdict, own.bytes().to_vec())
    }

    fn compare(&mut self) {
        let tallies = self.kernel.tallies().unwrap();
        for ((reason, kernel), own) in tallies.iter().zip(&self.tables.tallies) {
            assert_eq!(kernel, own, "{reason:?}");
        }
        for statistics in self.kernel.statistics().unwrap() {
            let number = self.registry.number(&statistics.vip).unwrap();
            assert_eq!(statistics.tally, self.tables.service_tallies[number as usize], "{}", statistics.vip);
            for ((at, tally), (_, number)) in statistics.backends.iter().zip(self.registry.backends(&statistics.vip)) {
                assert_eq!(*tally, self.tables.backend_tallies[number as usize], "{at} of {}", statistics.vip);
            }
        }
        let kernel: BTreeMap<_, _> = self.kernel.entries().unwrap().into_iter().collect();
        let own: BTreeMap<_, _> = self.tables.flows.iter().map(|(key, flow)| (*key, *flow)).collect();
        assert_eq!(kernel.len(), own.len());
        for (key, flow) in own {
            assert_eq!(kernel.get(&key), Some(&flow), "{key:?}");
        }
    }
}

/// A packet that a client might send.
fn from_client(rng: &mut Rng, tagged: bool) -> Spec {
    let pick = |rng: &mut Rng, of: &[&str]| of[rng.below(of.len() as u64) as usize].to_owned();
    let is_v6 = rng.chance(0.4);
    let mut from = pick(
        rng,
        &["203.0.113.", "203.0.113.", "203.0.113.", "203.0.113.", "203.0.113.", "10.1.0.", "10.1.0.", "192.0.2."],
    ) + &(2 + rng.below(9)).to_string();
    let mut to = pick(
        rng,
        &[
            "198.51.100.1",
            "198.51.100.1",
            "198.51.100.9",
            "198.51.100.2",
            "198.51.100.3",
            "198.51.100.4",
            "198.51.100.5",
            "198.51.100.5",
            "198.51.100.7",
        ],
    );
    if is_v6 {
        let network = pick(rng, &["2001:db8:9::", "2001:db8:9:1::", "fd01::", "2001:db8:dead::"]);
        from = format!("{network}{:x}", 2 + rng.below(9));
        to = pick(rng, &["2001:db8::1", "2001:db8::1", "2001:db8::2", "2001:db8::3", "2001:db8::7"]);
    }
    let from = SocketAddr::new(from.parse().unwrap(), 1024 + rng.below(6) as u16);
    let tcp = rng.chance(0.6);
    let to = SocketAddr::new(to.parse().unwrap(), if tcp { 80 } else { 53 });
    let flags = [SYN, SYN, SYN, ACK, ACK, ACK, ACK | FIN, RST, RST | ACK, SYN | ACK, FIN, 0][rng.below(12) as usize];
    let mut spec = Spec::new(from, to, tcp.then_some(flags));
    // tc looks at what the interface takes, tunnels aside.
    spec.payload = [0, 1, 10, 500, 577, 1200, 1221, 1460][rng.below(if tagged { 8 } else { 7 }) as usize];
    spec.hops = [255, 2, 1, 0].get(rng.below(20) as usize).copied().unwrap_or(64);
    spec.class = [0, 0, 0xb8, 3][rng.below(4) as usize];
    spec.unsummed = !tcp && rng.chance(0.3);
    // tc is told by the kernel.
    spec.left_to_card = tagged && rng.chance(0.3);
    spec.padding = [0, 0, 0, 17][rng.below(4) as usize];
    spec.fragment = [0, 0x2000, 0x00b9].get(rng.below(20) as usize).copied().unwrap_or(0x4000);
    if spec.payload + spec.padding > 1460 {
        spec.padding = 0;
    }
    if tagged && rng.chance(0.2) {
        spec.tag = Some([7, 7, 0x6007, 0xe000, 8][rng.below(5) as usize]);
    }
    spec
}

/// A packet as the other side of a flow that is known might send it: an answer of the backend, or an error about one.
fn about_a_flow(pair: &Pair, rng: &mut Rng) -> Option<Vec<u8>> {
    let mut flows: Vec<_> = pair.tables.flows.iter().map(|(key, flow)| (*key, *flow)).collect();
    flows.sort_by_key(|(key, _)| *key);
    let (key, flow) = *flows.get(rng.below(flows.len() as u64) as usize)?;
    let socket = |address: outwork_fastpath::layout::Address, port: [u8; 2]| {
        SocketAddr::new(address.ip(), u16::from_be_bytes(port))
    };
    let flags = [ACK, ACK, SYN | ACK, FIN | ACK, RST][rng.below(5) as usize];
    let tcp = (key.protocol == 6).then_some(flags);
    let (source, destination) = (socket(key.source, key.source_port), socket(key.destination, key.destination_port));
    if flow.reply == 1 && rng.chance(0.3) {
        // What comes of the client's packets, by the backend's own word or that of somebody on the way.
        let complaint = Spec::new(destination, source, tcp);
        let (router, kinds): (IpAddr, &[u8]) = match source.is_ipv4() {
            true => ("10.2.0.77".parse().unwrap(), &[3, 11, 12, 5]),
            false => ("fd02::77".parse().unwrap(), &[1, 2, 3, 4]),
        };
        let whose = if rng.chance(0.5) { source.ip() } else { router };
        return Some(error(whose, &complaint, kinds[rng.below(4) as usize]));
    }
    if flow.reply == 1 {
        let mut spec = Spec::new(source, destination, tcp);
        spec.hops = [64, 64, 1][rng.below(3) as usize];
        spec.payload = [0, 100, 1300][rng.below(3) as usize];
        spec.unsummed = tcp.is_none() && rng.chance(0.3);
        return Some(spec.build());
    }
    // What the backend sends to the client, in the service's name.
    let complaint = Spec::new(destination, source, tcp);
    let (router, kinds): (IpAddr, &[u8]) = match source.is_ipv4() {
        true => ("203.0.113.77".parse().unwrap(), &[3, 11, 12, 5, 8]),
        false => ("2001:db8:9::77".parse().unwrap(), &[1, 2, 3, 4, 128]),
    };
    Some(error(router, &complaint, kinds[rng.below(5) as usize]))
}

fn differ(tier: Tier, seed: u64, steps: usize) {
    let site = Site::new();
    site.lab.within("site", || {
        let mut pair = Pair::new(&site, tier);
        let mut rng = Rng::new(seed);
        let tagged = matches!(tier, Tier::Xdp(_));
        let mut seen = BTreeMap::<Reason, usize>::new();
        for step in 0..steps {
            let mut broken = false;
            let frame = match rng.below(10) {
                0..=5 => from_client(&mut rng, tagged).build(),
                6..=7 => match about_a_flow(&pair, &mut rng) {
                    Some(frame) => frame,
                    None => continue,
                },
                // Options, and extension headers.
                8 if rng.chance(0.2) => {
                    broken = true;
                    let mut frame = Spec { tag: None, ..from_client(&mut rng, false) }.build();
                    let kind = [0, 43, 44, 60][rng.below(4) as usize];
                    match frame[12] {
                        _ if rng.chance(0.7) => frame = extended(&frame, kind),
                        0x08 => frame[14] = 0x46,
                        _ => frame[20] = kind,
                    }
                    frame
                }
                // Headers with a few octets that are not what they were.
                8 => {
                    broken = true;
                    let mut frame = from_client(&mut rng, tagged).build();
                    for _ in 0..=rng.below(3) {
                        let length = frame.len().min(80) as u64;
                        let at = 12 + rng.below(length - 12) as usize;
                        frame[at] = rng.next_u32() as u8;
                    }
                    frame
                }
                _ => {
                    broken = true;
                    let mut frame = from_client(&mut rng, tagged).build();
                    frame.truncate(SHORTEST + rng.below(80) as usize);
                    frame
                }
            };
            if !tagged && !tc_runs(&frame) {
                continue;
            }
            let ingress = site.index(["c0", "c0", "c0", "c0", "b0", "b0", "off"][rng.below(7) as usize]);
            let (verdict, left) = pair.run(&site, &frame, ingress);
            *seen.entry(verdict.reason()).or_default() += 1;
            if !broken
                && matches!(verdict, Verdict::Send { .. } | Verdict::Pass(Reason::PassNeighbour | Reason::PassTooLong))
            {
                assert_eq!(fault(&left), None, "{verdict:?} of {frame:02x?} gives {left:02x?}");
            }
            if rng.chance(0.03) {
                pair.now += Duration::from_millis(
                    [0, 1, 20, 300, 800, 1200, 70_000][if rng.chance(0.03) { 6 } else { rng.below(6) as usize }],
                );
            }
            if rng.chance(0.01) {
                pair.disturb(&mut rng);
            }
            if step % 500 == 0 {
                pair.compare();
            }
        }
        pair.compare();
        let mut wanted: Vec<Reason> =
            Reason::ALL.iter().copied().filter(|reason| *reason != Reason::DropFault).collect();
        if !tagged {
            wanted.retain(|reason| !matches!(reason, Reason::PassVlan | Reason::PassTooLong | Reason::DropTooLong));
        }
        let missing: Vec<_> = wanted.into_iter().filter(|reason| !seen.contains_key(reason)).collect();
        assert!(missing.is_empty(), "no frame met {missing:?}: {seen:?}");
    });
}

#[test]
fn xdp_does_what_the_engine_does() {
    differ(Tier::Xdp(Mode::Native), 1, 12_000);
}

#[test]
fn tc_does_what_the_engine_does() {
    differ(Tier::Tc, 2, 12_000);
}

#[test]
fn a_frame_cut_anywhere_is_the_same_to_all() {
    let site = Site::new();
    site.lab.within("site", || {
        let mut rng = Rng::new(3);
        for tier in [Tier::Xdp(Mode::Native), Tier::Tc] {
            let mut pair = Pair::new(&site, tier);
            for _ in 0..30 {
                let mut whole = from_client(&mut rng, matches!(tier, Tier::Xdp(_)));
                whole.payload = 10;
                let whole = whole.build();
                for length in SHORTEST..whole.len() {
                    if matches!(tier, Tier::Xdp(_)) || tc_runs(&whole[..length]) {
                        pair.run(&site, &whole[..length], site.index("c0"));
                    }
                }
            }
            pair.compare();
        }
    });
}
