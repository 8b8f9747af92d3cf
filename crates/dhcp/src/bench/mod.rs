//! What `outwork bench dhcp` runs: a relay agent with many clients behind it, against any DHCPv4 server.
//!
//! - `message`: DHCP messages, written and read apart from the server's codec, whose mistakes it would otherwise share.
//! - `population`: the clients, and who holds which address.
//! - `exchange`: what is under way, found by its transaction id.
//! - `generator`: decides what is sent when, and judges the replies; sans-IO.
//! - `report`: what came out, for people and as JSON.
//! - `shell`: sockets and the clock.
//!
//! Absent on purpose: clients that broadcast. Clients behind a relay agent need no address on this host, and a server does the same work for them.

mod deadline;
mod exchange;
mod generator;
mod message;
mod population;
mod report;
mod shell;

use std::net::{Ipv4Addr, SocketAddrV4};
use std::str::FromStr;
use std::time::Duration;

pub use exchange::MAX_OUTSTANDING;
pub use report::Report;
pub use shell::{BenchError, run};

/// What the clients do.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Scenario {
    /// Clients that the server has not seen get an address: DISCOVER, OFFER, REQUEST, ACK. Ends early when every client has one.
    Dora,
    /// All clients get an address first, unmeasured; then they renew it, one after the other.
    Renew,
    /// All clients get an address first, unmeasured; then 60 % renew, 20 % begin anew, 10 % reboot, 5 % release and 5 % ask for options only.
    Mixed,
    /// All clients begin at the same moment, as after a power cut, and repeat their requests as RFC 2131 section 4.1 says until each has an address.
    Avalanche,
}

impl Scenario {
    /// Every scenario.
    pub const ALL: [Scenario; 4] = [Scenario::Dora, Scenario::Renew, Scenario::Mixed, Scenario::Avalanche];

    /// Its name on the command line.
    pub fn name(self) -> &'static str {
        match self {
            Scenario::Dora => "dora",
            Scenario::Renew => "renew",
            Scenario::Mixed => "mixed",
            Scenario::Avalanche => "avalanche",
        }
    }
}

/// A text that names no scenario or rate.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`{given}` is not a {what}: expected {expected}")]
pub struct BadChoice {
    given: String,
    what: &'static str,
    expected: &'static str,
}

impl FromStr for Scenario {
    type Err = BadChoice;

    fn from_str(text: &str) -> Result<Self, BadChoice> {
        let expected = "dora, renew, mixed or avalanche";
        let bad = || BadChoice { given: text.to_owned(), what: "scenario", expected };
        Scenario::ALL.into_iter().find(|scenario| scenario.name() == text).ok_or_else(bad)
    }
}

/// How fast exchanges begin.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Rate {
    /// A new one as soon as one ends: as fast as the server answers (closed loop).
    Max,
    /// So many a second, however the server fares; latency counts from when a message was due, not from when it left (open loop).
    PerSecond(f64),
}

impl FromStr for Rate {
    type Err = BadChoice;

    fn from_str(text: &str) -> Result<Self, BadChoice> {
        if text == "max" {
            return Ok(Rate::Max);
        }
        let rate = text.parse().ok().filter(|rate: &f64| rate.is_finite() && *rate > 0.0);
        let expected = "`max` or exchanges a second above zero";
        rate.map(Rate::PerSecond).ok_or_else(|| BadChoice { given: text.to_owned(), what: "rate", expected })
    }
}

/// What to run against which server.
#[derive(Debug, Clone, PartialEq)]
pub struct BenchOptions {
    /// The server.
    pub target: SocketAddrV4,
    /// Addresses of this host to relay from (`giaddr`), the clients shared out among them; none for the one that leads to the server.
    pub relays: Vec<Ipv4Addr>,
    /// The relay agent's port. 67 needs privileges; another one needs a server that knows RFC 8357, and is announced as that says.
    pub relay_port: u16,
    /// Adds a relay agent information option (RFC 3046) and checks that it comes back as it was.
    pub relay_information: bool,
    /// What the clients do.
    pub scenario: Scenario,
    /// How many clients there are, at most [`MAX_OUTSTANDING`].
    pub clients: u32,
    /// How fast exchanges begin. An avalanche begins all at once and has no use for it.
    pub rate: Rate,
    /// How long exchanges begin; for an avalanche, after how long it is given up.
    pub duration: Duration,
    /// After how long a message counts as lost.
    pub timeout: Duration,
    /// Exchanges under way at a time when the rate is [`Rate::Max`].
    pub window: u32,
    /// Chooses the clients' hardware addresses: another seed, other clients.
    pub seed: u64,
    /// Messages come and go in runs: see [`outwork_net::udp::Options::offload`]. Not for a server that listens with a packet
    /// socket at the other end of a virtual link.
    pub offload: bool,
}

impl BenchOptions {
    /// The defaults: four-way exchanges of 100,000 clients for ten seconds as fast as the server answers 256 at a time.
    pub fn new(target: SocketAddrV4) -> BenchOptions {
        BenchOptions {
            target,
            relays: Vec::new(),
            relay_port: 67,
            relay_information: false,
            scenario: Scenario::Dora,
            clients: 100_000,
            rate: Rate::Max,
            duration: Duration::from_secs(10),
            timeout: Duration::from_secs(1),
            window: 256,
            seed: 0,
            offload: false,
        }
    }
}

#[cfg(test)]
mod tests;
