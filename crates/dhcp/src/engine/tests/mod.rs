//! The engine's rules, one sentence each, and everything it does held against a model.
//!
//! - `exchange`: the message types in every state (RFC 2131 section 4.3).
//! - `places`: which address: pools, classes, networks, exclusions, reservations.
//! - `classes`: who is a member of which class.
//! - `boot`: machines that boot from the network.
//! - `wire`: what an answer says and where it goes.
//! - `time`: what ends by itself, limits, probes, restarts, new configurations.
//! - `queries`: leasequery and the operator's edits.
//! - `settings`: what a file may not say.
//! - `simulation`: many clients doing anything, against a simple model.
//!
//! Bytes that mean harm are in the crate's own `tests/hostile.rs`.

mod boot;
mod classes;
mod exchange;
mod places;
mod queries;
mod settings;
mod simulation;
mod time;
mod wire;

use super::*;
use crate::codec::{COOKIE, HEADER, Message, code};
use crate::config::Dhcp;
use crate::policy::{Request, Via};
use outwork_engine::Unix;
use std::collections::BTreeMap;
use std::net::SocketAddrV4;

/// The server's address on the link.
const US: Ipv4Addr = Ipv4Addr::new(192, 0, 2, 1);
const NONE: Ipv4Addr = Ipv4Addr::UNSPECIFIED;
const START: Seconds = 1_700_000_000;

/// One subnet on the link with ten addresses.
const LAN: &str = "[[dhcp.subnet]]\nid = 1\nprefix = '192.0.2.0/24'\ninterface = 'lan0'\n\
                   pools = [{ range = '192.0.2.10-192.0.2.19' }]\n";

fn ip(last: u8) -> Ipv4Addr {
    Ipv4Addr::new(192, 0, 2, last)
}

outwork_config::section! {
    /// The file.
    pub struct Root {
        /// The service.
        pub dhcp: Dhcp,
    }
}

/// Reads a file: settings of `[dhcp]`, then its tables. Probes and rate limits are off unless said.
fn load(settings: &str, tables: &str) -> Result<Dhcp, String> {
    let mut text = "[dhcp]\n".to_owned();
    for (key, value) in [("conflict_detection", "'off'"), ("client_rate", "0")] {
        if !settings.contains(key) {
            text += &format!("{key} = {value}\n");
        }
    }
    text += &format!("{settings}\n{tables}");
    let sources = outwork_config::Sources { file: Some(("test.toml".into(), text)), ..Default::default() };
    outwork_config::load::<Root>(sources).map(|read| read.value.dhcp).map_err(|faults| faults.to_string())
}

fn policy(settings: &str, tables: &str, generation: u64) -> Arc<Policy> {
    let dhcp = load(settings, tables).unwrap_or_else(|faults| panic!("{faults}"));
    Arc::new(Policy::compile(&dhcp, generation).unwrap_or_else(|faults| panic!("{faults:?}")))
}

/// What is wrong with a file.
fn faults(settings: &str, tables: &str) -> String {
    load(settings, tables).err().unwrap_or_default()
}

/// A request in the making.
#[derive(Debug, Clone)]
struct Packet {
    kind: Kind,
    mac: Vec<u8>,
    ciaddr: Ipv4Addr,
    giaddr: Ipv4Addr,
    broadcast: bool,
    options: Vec<(u8, Vec<u8>)>,
    /// Seen through the packet socket of the link.
    link: bool,
    /// Sent to our own address; by UDP everything is.
    unicast: bool,
    secs: u16,
}

fn packet(kind: Kind, client: u8) -> Packet {
    let mac = vec![2, 0, 0, 0, 0, client];
    Packet {
        kind,
        mac,
        ciaddr: NONE,
        giaddr: NONE,
        broadcast: false,
        options: Vec::new(),
        link: true,
        unicast: false,
        secs: 0,
    }
}

fn discover(client: u8) -> Packet {
    packet(Kind::Discover, client)
}

/// DHCPREQUEST while selecting.
fn request(client: u8, address: Ipv4Addr) -> Packet {
    packet(Kind::Request, client).ask(address).server(US)
}

/// DHCPREQUEST in INIT-REBOOT.
fn reboot(client: u8, address: Ipv4Addr) -> Packet {
    packet(Kind::Request, client).ask(address)
}

/// DHCPREQUEST while rebinding: broadcast on the link.
fn rebind(client: u8, address: Ipv4Addr) -> Packet {
    packet(Kind::Request, client).from(address)
}

/// DHCPREQUEST while renewing: unicast.
fn renew(client: u8, address: Ipv4Addr) -> Packet {
    Packet { link: false, ..rebind(client, address) }
}

fn release(client: u8, address: Ipv4Addr) -> Packet {
    Packet { link: false, ..packet(Kind::Release, client).from(address).server(US) }
}

fn decline(client: u8, address: Ipv4Addr) -> Packet {
    packet(Kind::Decline, client).ask(address).server(US)
}

impl Packet {
    fn option(mut self, code: u8, value: &[u8]) -> Self {
        self.options.push((code, value.to_vec()));
        self
    }

    fn ask(self, address: Ipv4Addr) -> Self {
        self.option(code::REQUESTED_ADDRESS, &address.octets())
    }

    fn server(self, address: Ipv4Addr) -> Self {
        self.option(code::SERVER_ID, &address.octets())
    }

    fn id(self, id: &[u8]) -> Self {
        self.option(code::CLIENT_ID, id)
    }

    fn time(self, seconds: u32) -> Self {
        self.option(code::LEASE_TIME, &seconds.to_be_bytes())
    }

    fn list(self, codes: &[u8]) -> Self {
        self.option(code::PARAMETER_REQUEST, codes)
    }

    fn from(self, ciaddr: Ipv4Addr) -> Self {
        Self { ciaddr, ..self }
    }

    fn relay(self, giaddr: Ipv4Addr) -> Self {
        Self { giaddr, link: false, ..self }
    }

    fn broadcast(self) -> Self {
        Self { broadcast: true, ..self }
    }

    /// Heard by the packet socket, though sent to our own address.
    fn by_link(self) -> Self {
        Self { link: true, unicast: true, ..self }
    }

    fn secs(self, secs: u16) -> Self {
        Self { secs, ..self }
    }

    /// Option 82 with a circuit id.
    fn port(self, circuit: &[u8]) -> Self {
        self.option(code::RELAY_AGENT, &[&[1, circuit.len() as u8][..], circuit].concat())
    }

    fn bytes(&self) -> Vec<u8> {
        let mut bytes = vec![0; HEADER];
        bytes[..3].copy_from_slice(&[1, 1, self.mac.len() as u8]);
        bytes[4..8].copy_from_slice(&[1, 2, 3, 4]);
        bytes[8..10].copy_from_slice(&self.secs.to_be_bytes());
        bytes[10] = if self.broadcast { 0x80 } else { 0 };
        bytes[12..16].copy_from_slice(&self.ciaddr.octets());
        bytes[24..28].copy_from_slice(&self.giaddr.octets());
        bytes[28..28 + self.mac.len()].copy_from_slice(&self.mac);
        bytes[236..240].copy_from_slice(&COOKIE);
        bytes.extend_from_slice(&[53, 1, self.kind as u8]);
        for (code, value) in &self.options {
            bytes.extend_from_slice(&[*code, value.len() as u8]);
            bytes.extend_from_slice(value);
        }
        bytes.push(255);
        bytes
    }

    fn via(&self) -> Via<'static> {
        let source = if self.giaddr.is_unspecified() { self.ciaddr } else { self.giaddr };
        let destination = if self.link && !self.unicast { Ipv4Addr::BROADCAST } else { US };
        let source = SocketAddrV4::new(source, 6868);
        Via { interface: "lan0", server: US, source, destination, link: self.link }
    }
}

/// An answer as its receiver reads it.
#[derive(Debug)]
struct Heard {
    kind: Kind,
    address: Ipv4Addr,
    destination: Destination,
    options: BTreeMap<u8, Vec<u8>>,
    order: Vec<u8>,
    bytes: Vec<u8>,
    durable: bool,
}

impl Heard {
    fn number(&self, option: u8) -> u32 {
        u32::from_be_bytes(self.options[&option].as_slice().try_into().unwrap())
    }

    fn lease_time(&self) -> u32 {
        self.number(code::LEASE_TIME)
    }

    fn text(&self, option: u8) -> &str {
        std::str::from_utf8(&self.options[&option]).unwrap()
    }
}

#[derive(Debug)]
enum Got {
    Silent(Silence),
    #[allow(dead_code, reason = "shown when an expectation fails")]
    Probe(Ipv4Addr),
    Heard(Box<Heard>),
}

impl Got {
    fn heard(self, kind: Kind) -> Heard {
        match self {
            Self::Heard(heard) if heard.kind == kind => *heard,
            other => panic!("expected {kind:?}, got {other:?}"),
        }
    }

    fn nak(self) -> String {
        self.heard(Kind::Nak).text(code::MESSAGE).to_owned()
    }

    fn silent(self) -> Silence {
        match self {
            Self::Silent(silence) => silence,
            other => panic!("expected silence, got {other:?}"),
        }
    }
}

/// An engine, its clock, and a disk that holds all it journalled.
struct Server {
    engine: Engine,
    now: Seconds,
    disk: Vec<Vec<u8>>,
}

impl Server {
    fn new(settings: &str, tables: &str) -> Self {
        let mut engine = Engine::new(policy(settings, tables, 1), 7);
        engine.start(START);
        Self { engine, now: START, disk: Vec::new() }
    }

    fn lan() -> Self {
        Self::new("", LAN)
    }

    fn now(&self) -> Now {
        Now { unix: self.now, millis: u64::from(self.now) * 1000 }
    }

    fn save(&mut self) {
        self.disk.extend(self.engine.journal.records().map(<[u8]>::to_vec));
        self.engine.journal.clear();
    }

    fn send(&mut self, packet: &Packet) -> Got {
        let got = self.send_bytes(&packet.bytes(), packet.via());
        audit(&self.engine);
        got
    }

    fn send_bytes(&mut self, bytes: &[u8], via: Via<'_>) -> Got {
        let request = Request { message: Message::decode(bytes).unwrap(), via };
        let policy = Arc::clone(self.engine.policy());
        let facts = policy.facts(&request);
        let decision = self.engine.handle(self.now(), &request, &facts);
        self.save();
        match decision {
            Decision::Silent(silence) => Got::Silent(silence),
            Decision::Probe(address) => Got::Probe(address),
            Decision::Answer(answer) => {
                let mut bytes = Vec::new();
                let (destination, _) = encode(&policy, &request, &answer, &mut bytes);
                Got::Heard(Box::new(heard(&bytes, destination, &answer)))
            }
        }
    }

    /// The address offered.
    fn offer(&mut self, packet: &Packet) -> Ipv4Addr {
        self.send(packet).heard(Kind::Offer).address
    }

    /// DISCOVER to ACK; the address.
    fn bind(&mut self, packet: &Packet) -> Ipv4Addr {
        let address = self.offer(packet);
        let request = Packet { kind: Kind::Request, ..packet.clone() };
        let options = request.options.iter().filter(|(code, _)| *code != 50).cloned().collect();
        let request = Packet { options, ..request }.ask(address).server(US);
        let ack = self.send(&request).heard(Kind::Ack);
        assert_eq!(ack.address, address);
        address
    }

    fn state(&self, address: Ipv4Addr) -> Option<State> {
        self.engine.leases().at(address).map(|lease| lease.state)
    }

    /// Lets time pass and what is due happen.
    fn pass(&mut self, seconds: u32) {
        self.now += seconds;
        while self.engine.handle_timeout(self.now, 64) > 0 {}
        self.save();
        audit(&self.engine);
    }

    fn adopt(&mut self, settings: &str, tables: &str) {
        let generation = self.engine.policy().generation + 1;
        let all = self.engine.reservations.iter().chain(&self.engine.aside);
        let made = all.filter(|one| !one.from_file()).map(|one| Reservation::clone(one)).collect();
        self.engine.adopt(policy(settings, tables, generation), made);
        audit(&self.engine);
    }

    /// Dies and comes back with what the disk holds.
    fn restart(&mut self) {
        let mut engine = Engine::new(Arc::clone(self.engine.policy()), 8);
        for record in &self.disk {
            engine.restore(Change::read(record).unwrap());
        }
        engine.start(self.now);
        self.engine = engine;
        self.save();
        audit(&self.engine);
    }
}

/// Reads an answer's options where it spilled them too.
fn heard(bytes: &[u8], destination: Destination, answer: &Answer) -> Heard {
    let (mut options, mut order) = (BTreeMap::<u8, Vec<u8>>::new(), Vec::new());
    let mut walk = |mut rest: &[u8]| {
        while let [code, tail @ ..] = rest {
            match (code, tail) {
                (0, _) => rest = tail,
                (255, _) => break,
                (code, [len, tail @ ..]) => {
                    let (value, tail) = tail.split_at(usize::from(*len));
                    options.entry(*code).or_default().extend_from_slice(value);
                    order.push(*code);
                    rest = tail;
                }
                _ => panic!("truncated"),
            }
        }
        options.get(&code::OVERLOAD).map_or(0, |value| value[0])
    };
    let overload = walk(&bytes[240..]);
    if overload & 1 != 0 {
        walk(&bytes[108..236]);
    }
    if overload & 2 != 0 {
        walk(&bytes[44..108]);
    }
    let kind = Kind::from_wire(options[&code::MESSAGE_TYPE][0]).unwrap();
    let address = Ipv4Addr::new(bytes[16], bytes[17], bytes[18], bytes[19]);
    Heard { kind, address, destination, options, order, bytes: bytes.to_vec(), durable: answer.durable }
}

/// What must hold after every step, by a count of the whole table.
fn audit(engine: &Engine) {
    let all: Vec<&Lease> = engine.leases.range(NONE).collect();
    let everywhere = |state| all.iter().filter(|lease| lease.state == state).count();
    assert_eq!(engine.offers, everywhere(State::Offered), "offers");
    let totals = engine.totals();
    let states = [State::Active, State::Offered, State::Declined];
    assert_eq!([totals.active, totals.offered, totals.declined], states.map(everywhere), "totals");
    for (subnet, scope) in engine.policy.subnets.iter().enumerate() {
        for (index, pool) in scope.pools.iter().enumerate() {
            let free = engine.pools.get(subnet, index).unwrap();
            let own = |address| scope.pool_of(address) == Some(index) && engine.reservations.at(address).is_none();
            let counted = states.map(|state| all.iter().filter(|l| l.state == state && own(l.address)).count() as u32);
            assert_eq!([free.active, free.offered, free.declined], counted, "pool {}", pool.first);
            let addresses = u32::from(pool.first)..=u32::from(pool.last);
            if addresses.clone().count() < 300 {
                let usable = addresses.filter(|address| own((*address).into())).count() as u64;
                assert_eq!(free.usable, usable, "pool {}", pool.first);
            }
        }
    }
    for (address, ended) in &engine.displaced {
        let offer = engine.leases.at(*address);
        assert!(offer.is_some_and(|offer| offer.state == State::Offered) && !ended.state.holds(), "{address}");
    }
    let mut entries = Vec::new();
    engine.calendar.clone().take_due(Unix::MAX, usize::MAX, &mut entries);
    entries.sort_unstable();
    for lease in all.iter().filter(|lease| lease.state.holds() && lease.expires != crate::lease::INFINITE) {
        assert!(lease.due != 0 && lease.due <= lease.expires, "{} has no deadline", lease.address);
        assert!(entries.binary_search(&(lease.address, lease.due)).is_ok(), "{} is not in the calendar", lease.address);
    }
}
