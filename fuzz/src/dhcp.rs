//! What the fuzz targets do with bytes, and what must hold whatever they are. Public API only: the test
//! `crates/dhcp/tests/hostile.rs` includes this file and replays the corpus through it.
#![allow(clippy::expect_used, clippy::panic)]

use outwork_dhcp::codec::{Kind, MINIMUM, Malformed, Message, RelayInfo, Reply, code};
use outwork_dhcp::config::Dhcp;
use outwork_dhcp::engine::{Decision, Engine, Now, Silence, encode};
use outwork_dhcp::lease::{Change, State};
use outwork_dhcp::policy::{Policy, Request, Via};
use std::net::{Ipv4Addr, SocketAddrV4};
use std::sync::Arc;

/// The most a reply may take of an Ethernet frame's datagram.
const LARGEST: usize = 1472;

const FILE: &str = "[dhcp]
conflict_detection = 'ping'
rapid_commit = true
lease_cache = 0.2
leasequery = ['0.0.0.0/0']
min_lease_time = '1m'
max_lease_time = '2h'
lease_time = '1h'
max_offers = 64
flex_identifier = 'concat(option[60].text, relay4[2].hex)'
options = { routers = ['192.0.2.1'], domain-name-servers = ['192.0.2.53'], domain-name = 'example.net' }
[[dhcp.class]]
name = 'boot'
test = \"option[93].hex == 0x0007 or substring(option[60].hex, 0, 9) == 'PXEClient'\"
boot_file = 'ipxe.efi'
[[dhcp.class]]
name = 'known'
test = \"member('KNOWN') and not member('boot')\"
only_if_required = true
options = { domain-name = 'known' }
[[dhcp.network]]
name = 'n'
interface = 'lan0'
relay = ['10.0.0.9']
[[dhcp.subnet]]
id = 1
network = 'n'
prefix = '192.0.2.0/24'
require_classes = ['known']
pools = [{ range = '192.0.2.0-192.0.2.127' }]
exclude = ['192.0.2.20-192.0.2.29']
reservation = [{ mac = '02:00:00:00:00:01', address = '192.0.2.77', hostname = 'one' }, { flex = 'v', address = '192.0.2.78' }]
[[dhcp.subnet]]
id = 2
network = 'n'
prefix = '198.51.100.0/28'
pools = [{ range = '198.51.100.0/28', allow_classes = ['boot'] }]
";

/// The policy that hostile bytes meet: a bit of everything.
pub fn policy() -> Arc<Policy> {
    outwork_config::section! {
        /// The file.
        pub struct Root {
            /// The service.
            pub dhcp: Dhcp,
        }
    }
    let sources = outwork_config::Sources { file: Some(("fuzz.toml".into(), FILE.into())), ..Default::default() };
    let root = outwork_config::load::<Root>(sources).unwrap_or_else(|faults| panic!("{faults}")).value;
    Arc::new(Policy::compile(&root.dhcp, 1).unwrap_or_else(|faults| panic!("{faults:?}")))
}

/// Decodes a datagram, reads all of it, and answers it at the tightest.
pub fn codec(bytes: &[u8]) {
    let Ok(message) = Message::decode(bytes) else { return };
    assert!(message.chaddr().len() <= 16);
    let total: usize = message.codes().filter_map(|option| message.option(option)).map(<[u8]>::len).sum();
    assert!(total <= bytes.len(), "options longer than the datagram");
    if let Some(relay) = message.relay() {
        assert!(relay.well_formed());
        for sub in [RelayInfo::CIRCUIT_ID, RelayInfo::LINK_SELECTION, 0, 255] {
            assert!(relay.get(sub).is_none_or(|value| value.len() <= relay.bytes().len()));
        }
    }
    let mut out = Vec::new();
    let mut reply = Reply::new(&mut out, &message, Kind::Ack);
    let relay = message.option(code::RELAY_AGENT);
    if let Some(relay) = relay {
        reply.keep_room(relay.len());
    }
    let given: Vec<u8> = message.codes().filter(|option| !matches!(*option, 52 | 53 | 57 | 82)).collect();
    for option in &given {
        reply.option(*option, message.option(*option).unwrap_or_default());
    }
    let dropped = reply.finish(relay.map(|relay| (code::RELAY_AGENT, relay)));
    assert!((MINIMUM..=LARGEST).contains(&out.len()), "{} bytes", out.len());
    // As a request it reads back as what was put in, but for what found no room.
    assert_eq!(out[240..243], [53, 1, 5]);
    (out[0], out[242]) = (1, 3);
    let back = match Message::decode(&out) {
        Ok(back) => back,
        // Option 52 was one too many.
        Err(Malformed::TooManyOptions) if given.len() > 90 => return,
        Err(malformed) => panic!("our own reply: {malformed}"),
    };
    let lost = given.iter().chain(relay.map(|_| &code::RELAY_AGENT)).filter(|option| back.option(**option).is_none());
    assert_eq!(lost.count(), dropped as usize);
    for option in back.codes().filter(|option| !matches!(*option, 52 | 53)) {
        assert_eq!(back.option(option), message.option(option), "option {option}");
    }
}

/// What became of a datagram.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Fate {
    /// No request; why.
    Malformed(&'static str),
    /// No answer; why.
    Silent(&'static str),
    /// Kept until a probe says more.
    Probed,
    /// Answered; with what.
    Answered(&'static str),
}

/// A server that takes anything.
pub struct Server {
    /// It.
    pub engine: Engine,
    /// Its clock.
    pub now: u32,
    /// All it wrote.
    pub disk: Vec<Vec<u8>>,
    out: Vec<u8>,
}

impl Default for Server {
    fn default() -> Self {
        Self::new()
    }
}

impl Server {
    /// One without leases.
    pub fn new() -> Self {
        let now = 1_700_000_000;
        let mut engine = Engine::new(policy(), 7);
        engine.start(now);
        Self { engine, now, disk: Vec::new(), out: Vec::new() }
    }

    fn now(&self) -> Now {
        Now { unix: self.now, millis: u64::from(self.now) * 1000 }
    }

    /// Receives a datagram.
    pub fn receive(&mut self, bytes: &[u8], link: bool) -> Fate {
        let message = match Message::decode(bytes) {
            Ok(message) => message,
            Err(malformed) => return Fate::Malformed(malformed.name()),
        };
        let source = SocketAddrV4::new(Ipv4Addr::new(192, 0, 2, 9), 68);
        let (server, destination) = (Ipv4Addr::new(192, 0, 2, 1), Ipv4Addr::BROADCAST);
        let request = Request { message, via: Via { interface: "lan0", server, source, destination, link } };
        let policy = Arc::clone(self.engine.policy());
        let facts = policy.facts(&request);
        let now = self.now();
        let mut decision = self.engine.handle(now, &request, &facts);
        if let Decision::Probe(address) = decision {
            self.engine.probed(address, bytes.len().is_multiple_of(7), now);
            decision = self.engine.handle_again(now, &request, &facts);
        }
        self.disk.extend(self.engine.journal.records().map(<[u8]>::to_vec));
        self.engine.journal.clear();
        match decision {
            Decision::Silent(silence) => {
                assert!(Silence::ALL.contains(&silence));
                Fate::Silent(silence.name())
            }
            Decision::Probe(_) => Fate::Probed,
            Decision::Answer(answer) => {
                encode(&policy, &request, &answer, &mut self.out);
                assert!((MINIMUM..=LARGEST).contains(&self.out.len()));
                assert_eq!(self.out.first(), Some(&2));
                if !answer.address.is_unspecified() && matches!(answer.kind, Kind::Offer | Kind::Ack) {
                    let lease = self.engine.leases().at(answer.address).expect("what is given is held");
                    assert!(lease.state.holds());
                }
                Fate::Answered(answer.kind.name())
            }
        }
    }

    /// Lets time pass.
    pub fn pass(&mut self, seconds: u32) {
        self.now = self.now.saturating_add(seconds);
        while self.engine.handle_timeout(self.now, 100) > 0 {}
    }

    /// Holds what it has against a recount, and against what a restart would bring back.
    pub fn check(&self) {
        let engine = &self.engine;
        let count = |state: State| engine.leases().range(Ipv4Addr::UNSPECIFIED).filter(|l| l.state == state).count();
        let totals = engine.totals();
        assert_eq!(totals.active, count(State::Active));
        assert_eq!(totals.offered, count(State::Offered));
        assert_eq!(totals.declined, count(State::Declined));
        let mut again = Engine::new(Arc::clone(engine.policy()), 8);
        for record in &self.disk {
            again.restore(Change::read(record).expect("our own record"));
        }
        again.start(self.now);
        for lease in engine.leases().range(Ipv4Addr::UNSPECIFIED).filter(|lease| lease.state == State::Active) {
            let back = again.leases().at(lease.address).expect("a lease that is on disk");
            assert_eq!((back.state, back.client(), back.expires), (State::Active, lease.client(), lease.expires));
        }
    }
}

/// A day in small steps: an operation byte, then what it needs. `0` and `1` are a datagram on the link or by UDP, its
/// length in two bytes before it; `2` lets time pass.
pub fn engine(mut bytes: &[u8]) {
    let mut server = Server::new();
    while let [operation, rest @ ..] = bytes {
        bytes = rest;
        match (operation & 3, bytes) {
            (link @ (0 | 1), [high, low, rest @ ..]) => {
                let length = usize::from(u16::from_be_bytes([*high, *low])).min(rest.len());
                let (datagram, rest) = rest.split_at(length);
                server.receive(datagram, link == 0);
                bytes = rest;
            }
            (2, _) => server.pass(u32::from(operation >> 2).pow(2)),
            _ => {}
        }
    }
    server.check();
}
