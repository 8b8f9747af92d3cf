//! What the file says of the service: `[dhcp]` and the tables in it.

mod interface;

pub use interface::{InterfaceRule, InterfaceRuleError};

use crate::options::{self, OptionTable};
use crate::policy::{IdentifierKind, compile};
use outwork_config::{
    Affinity, ByteSize, Fault, Faults, Ipv4Net, Node, Setting, choice, days, hours, millis, mins, secs, section,
};
use serde_json::{Value as Json, json};
use std::net::{Ipv4Addr, SocketAddrV4};
use std::time::Duration;

section! {
    /// The DHCPv4 server.
    pub struct Dhcp {
        /// Whether the service runs. Unset, it does if anything else is set here.
        pub enabled: Option<bool> [restart],
        /// Interfaces whose directly attached clients are served, through packet sockets. One that does not exist yet is picked up when it appears.
        /// `*` is every Ethernet interface that is up and has an IPv4 address, as they come and go; `eth*` those whose names begin so; `!docker0` not that one.
        pub interfaces: Vec<InterfaceRule> [restart],
        /// UDP addresses for relayed and unicast traffic. Each has to be this machine's at the start; 0.0.0.0 is all of them.
        pub listen: Vec<SocketAddrV4> [restart] = vec![SocketAddrV4::new(Ipv4Addr::LOCALHOST, 6767)],
        /// Worker threads; 0 means one for every two cores, of those that `affinity` names if it names any, and at most 8: they take turns at
        /// deciding, and the disk and the kernel need the rest.
        pub workers: u16 [restart, range 0..=256] = 0,
        /// Whether each worker stays on a processor of its own, or processors that they stay on in turn, such as "0-3".
        pub affinity: Affinity [restart] = Affinity::Anywhere,
        /// Packets received in one go.
        pub batch: u16 [restart, range 1..=1024] = 64,
        /// UDP messages come and go in runs that pass through the kernel as one (segmentation and receive offload): less work a message
        /// behind busy relay agents. Not with a relay agent on this host, or in a guest of it, that listens with packet sockets, as dhcrelay does.
        pub offload: bool [restart] = false,
        /// Kernel receive buffer of each socket.
        pub receive_buffer: ByteSize [restart] = ByteSize::mib(8),
        /// Answers a worker holds back until their lease is on disk.
        pub queue_size: u32 [restart, range 1..=1_000_000] = 10_000,
        /// What happens to requests when that many answers wait.
        pub when_full: WhenFull [restart] = WhenFull::Drop,
        /// Leases ended in one go when their time is up; the server serves packets in between.
        pub expiry_slice: u32 [restart, range 1..=100_000] = 256,
        /// We speak for our networks: a client that asks for an address it can't have there is told so at once.
        pub authoritative: bool = true,
        /// How long a lease lasts.
        pub lease_time: Duration [range secs(1)..] = hours(12),
        /// The least a client may ask for; the usual time if unset.
        pub min_lease_time: Option<Duration> [range secs(1)..],
        /// The most a client may ask for; the usual time if unset.
        pub max_lease_time: Option<Duration> [range secs(1)..],
        /// T1: when a client begins to renew. Half the lease if unset.
        pub renew_time: Option<Duration> [range secs(1)..],
        /// T2: when a client begins to ask any server. Seven eighths of the lease if unset.
        pub rebind_time: Option<Duration> [range secs(1)..],
        /// How long an offer holds its address.
        pub offer_time: Duration [range secs(1)..=mins(60)] = secs(60),
        /// The most addresses held by offers nobody has asked for yet: bounds a flood of made-up clients.
        pub max_offers: u32 = 1_000_000,
        /// Part of a pool's free addresses that offers to clients never seen before may hold while such offers go unanswered. The rest is for those that return.
        pub offer_share: f64 [range 0.0..=1.0] = 0.5,
        /// How long such an offer holds its address while more than half of that part is held.
        pub short_offer_time: Duration [range secs(1)..=mins(60)] = secs(5),
        /// A renewal this early in its lease (as a part of it) is confirmed as it stands, without a write. 0 writes always.
        pub lease_cache: f64 [range 0.0..=0.5] = 0.0,
        /// Packets a second one client may send; 0 is any number.
        pub client_rate: u32 = 50,
        /// Packets one client may send at once.
        pub client_burst: u32 [range 1..=10_000] = 100,
        /// Packets a second from one circuit that a relay agent names (option 82), however many clients it claims to be; 0 is any number.
        pub circuit_rate: u32 = 1000,
        /// Packets from one circuit at once.
        pub circuit_burst: u32 [range 1..=1_000_000] = 4000,
        /// Option 61 identifies a client; otherwise its hardware address alone.
        pub match_client_id: bool = true,
        /// Option 61 is echoed, as RFC 6842 says.
        pub echo_client_id: bool = true,
        /// Relay agent information is kept with the lease.
        pub store_relay: bool = true,
        /// Option 82 identifies directly attached clients too, where a switch puts it in and lets no client do so.
        pub link_relay_info: bool = false,
        /// A client that asks for it gets its address in two messages instead of four (RFC 4039).
        pub rapid_commit: bool = false,
        /// How long an address that a client declined or a probe found in use is not handed out.
        pub decline_time: Duration [range secs(1)..] = days(1),
        /// Addresses that one client, or one circuit that a relay agent names, may have quarantined within `decline_time`; 0 is any number.
        pub decline_limit: u32 [range 0..=100_000] = 10,
        /// Part of a pool that quarantine at clients' words may hold. What is declined beyond that is only given to others later.
        pub decline_share: f64 [range 0.0..=1.0] = 0.25,
        /// How long a lease that has ended is kept for its client to come back to.
        pub keep_ended: Duration = days(90),
        /// Ask the link whether an address is in use before offering it.
        pub conflict_detection: Conflicts = Conflicts::Arp,
        /// How long such a probe waits for an answer.
        pub probe_timeout: Duration [restart, range millis(10)..=secs(5)] = millis(500),
        /// How long an address that nobody answered for counts as free.
        pub probe_cache: Duration = mins(10),
        /// Addresses probed for one request before the client must ask again.
        pub probe_attempts: u8 [range 1..=16] = 3,
        /// Relay agents, by prefix, that may ask who has a lease (RFC 4388).
        pub leasequery: Vec<Ipv4Net>,
        /// Use of a pool from which a warning is given, as a part of it.
        pub warn_utilisation: f64 [range 0.0..=1.0] = 0.9,
        /// What a reservation may know its client by, in the order tried.
        pub identifiers: Vec<IdentifierKind> = IdentifierKind::ALL.to_vec(),
        /// Expression whose value is the `flex` identifier.
        pub flex_identifier: Option<String>,
        /// `siaddr`: where to boot from.
        pub next_server: Option<Ipv4Addr>,
        /// `sname`: the boot server's name.
        pub server_hostname: Option<String>,
        /// `file`: what to boot. With an HTTP URI here or in option 67, clients that boot over HTTP are told so in option 60 too.
        pub boot_file: Option<String>,
        /// Options for every client, by name or code.
        pub options: OptionTable,
        /// Options of your own.
        pub option_definition: Vec<OptionDefinition>,
        /// Client classes, tested in this order.
        pub class: Vec<Class>,
        /// Shared networks: links with several subnets.
        pub network: Vec<Network>,
        /// Subnets.
        pub subnet: Vec<Subnet>,
        /// Reservations that hold wherever their client is, unless the subnet has one for it. An address counts only where it fits.
        pub reservation: Vec<Reservation>,
    }
    check compile::check;
}

impl Dhcp {
    /// Whether the service runs.
    pub fn is_enabled(&self) -> bool {
        self.enabled.unwrap_or_else(|| *self != Self::default())
    }
}

section! {
    /// An option of your own.
    #[required_keys]
    pub struct OptionDefinition {
        /// What options tables call it.
        pub name: String,
        /// Its code.
        pub code: u8 [range 1..=254],
        /// What it holds: `bool`, `u8`, `ipv4`, `string`, `hex`, `fqdn`, `record` and so on.
        pub r#type: String,
        /// The space of sub-options it belongs to; ordinary options if unset.
        pub space: Option<String>,
        /// The space whose sub-options it carries.
        pub encapsulate: Option<String>,
        /// It holds a list.
        pub array: bool = false,
        /// Types of its fields, if it is a record.
        pub record: Vec<String>,
    }
}

section! {
    /// A class of clients.
    #[required_keys]
    pub struct Class {
        /// What `member('...')`, `allow_classes` and `require_classes` call it. `ALL`, `KNOWN` (has a reservation), `UNKNOWN` and
        /// `VENDOR_CLASS_` with the text of option 60 exist without being defined; members of `DROP` are not answered.
        pub name: String,
        /// Expression that its members fulfil. Without one, only a reservation or `require_classes` puts a client in.
        pub test: Option<String>,
        /// Tested only where a subnet or pool requires it.
        pub only_if_required: bool = false,
        /// How long its members' leases last.
        pub lease_time: Option<Duration> [range secs(1)..],
        /// The least they may ask for.
        pub min_lease_time: Option<Duration> [range secs(1)..],
        /// The most they may ask for.
        pub max_lease_time: Option<Duration> [range secs(1)..],
        /// T1.
        pub renew_time: Option<Duration> [range secs(1)..],
        /// T2.
        pub rebind_time: Option<Duration> [range secs(1)..],
        /// `siaddr`: where to boot from.
        pub next_server: Option<Ipv4Addr>,
        /// `sname`: the boot server's name.
        pub server_hostname: Option<String>,
        /// `file`: what to boot. With an HTTP URI here or in option 67, clients that boot over HTTP are told so in option 60 too.
        pub boot_file: Option<String>,
        /// Options for its members.
        pub options: OptionTable,
    }
}

section! {
    /// A shared network.
    #[required_keys]
    pub struct Network {
        /// What subnets call it.
        pub name: String,
        /// Interface its clients are attached to.
        pub interface: Option<String>,
        /// Relay agents that speak for it.
        pub relay: Vec<Ipv4Addr>,
        /// Serves only members of these classes.
        pub allow_classes: Vec<String>,
        /// How long leases in it last.
        pub lease_time: Option<Duration> [range secs(1)..],
        /// The least a client may ask for.
        pub min_lease_time: Option<Duration> [range secs(1)..],
        /// The most a client may ask for.
        pub max_lease_time: Option<Duration> [range secs(1)..],
        /// T1.
        pub renew_time: Option<Duration> [range secs(1)..],
        /// T2.
        pub rebind_time: Option<Duration> [range secs(1)..],
        /// `siaddr`: where to boot from.
        pub next_server: Option<Ipv4Addr>,
        /// `sname`: the boot server's name.
        pub server_hostname: Option<String>,
        /// `file`: what to boot. With an HTTP URI here or in option 67, clients that boot over HTTP are told so in option 60 too.
        pub boot_file: Option<String>,
        /// Options for its clients.
        pub options: OptionTable,
    }
}

section! {
    /// A subnet.
    #[required_keys]
    pub struct Subnet {
        /// Its number. Leases name it, so it never changes.
        pub id: u32 [range 1..],
        /// What people call it.
        pub name: Option<String>,
        /// Its prefix.
        pub prefix: Ipv4Net,
        /// The shared network it is part of.
        pub network: Option<String>,
        /// Interface its clients are attached to.
        pub interface: Option<String>,
        /// Relay agents that speak for it.
        pub relay: Vec<Ipv4Addr>,
        /// Serves only members of these classes.
        pub allow_classes: Vec<String>,
        /// Offers nothing to a client that has tried for less seconds (its `secs`): leaves it to a server beside this one.
        pub min_secs: u16 = 0,
        /// Classes tested for its clients alone.
        pub require_classes: Vec<String>,
        /// How long leases in it last.
        pub lease_time: Option<Duration> [range secs(1)..],
        /// The least a client may ask for.
        pub min_lease_time: Option<Duration> [range secs(1)..],
        /// The most a client may ask for.
        pub max_lease_time: Option<Duration> [range secs(1)..],
        /// T1.
        pub renew_time: Option<Duration> [range secs(1)..],
        /// T2.
        pub rebind_time: Option<Duration> [range secs(1)..],
        /// How long an offer holds its address.
        pub offer_time: Option<Duration> [range secs(1)..],
        /// `siaddr`: where to boot from.
        pub next_server: Option<Ipv4Addr>,
        /// `sname`: the boot server's name.
        pub server_hostname: Option<String>,
        /// `file`: what to boot. With an HTTP URI here or in option 67, clients that boot over HTTP are told so in option 60 too.
        pub boot_file: Option<String>,
        /// Options for its clients.
        pub options: OptionTable,
        /// Ranges handed out.
        pub pools: Vec<Pool>,
        /// Addresses and ranges that are not.
        pub exclude: Vec<Range>,
        /// Addresses kept for one client each.
        pub reservation: Vec<Reservation>,
    }
}

section! {
    /// A range of addresses handed out.
    #[required_keys]
    pub struct Pool {
        /// First and last address, or a prefix.
        pub range: Range,
        /// Serves only members of these classes.
        pub allow_classes: Vec<String>,
        /// Classes tested for its clients alone.
        pub require_classes: Vec<String>,
        /// Options for its clients.
        pub options: OptionTable,
    }
}

section! {
    /// A client and what is kept for it. One of `mac`, `client_id`, `circuit_id`, `remote_id` and `flex` says who it is.
    pub struct Reservation {
        /// Hardware address.
        pub mac: Option<String>,
        /// Client identifier: text, or hex such as `01:02:ab` or `hex:0102ab`.
        pub client_id: Option<String>,
        /// Circuit id of its relay agent: text, or hex such as `01:02:ab` or `hex:0102ab`.
        pub circuit_id: Option<String>,
        /// Remote id of its relay agent: text, or hex such as `01:02:ab` or `hex:0102ab`.
        pub remote_id: Option<String>,
        /// Value of `flex_identifier`: text, or hex such as `01:02:ab` or `hex:0102ab`.
        pub flex: Option<String>,
        /// Its address.
        pub address: Option<Ipv4Addr>,
        /// Its host name.
        pub hostname: Option<String>,
        /// Classes it is in.
        pub classes: Vec<String>,
        /// How long its leases last.
        pub lease_time: Option<Duration> [range secs(1)..],
        /// The least it may ask for.
        pub min_lease_time: Option<Duration> [range secs(1)..],
        /// The most it may ask for.
        pub max_lease_time: Option<Duration> [range secs(1)..],
        /// T1.
        pub renew_time: Option<Duration> [range secs(1)..],
        /// T2.
        pub rebind_time: Option<Duration> [range secs(1)..],
        /// `siaddr`: where to boot from.
        pub next_server: Option<Ipv4Addr>,
        /// `sname`: the boot server's name.
        pub server_hostname: Option<String>,
        /// `file`: what to boot. With an HTTP URI here or in option 67, clients that boot over HTTP are told so in option 60 too.
        pub boot_file: Option<String>,
        /// Options for it.
        pub options: OptionTable,
    }
}

choice! {
    /// What happens to requests when a worker's queue of waiting answers is full.
    pub enum WhenFull {
        /// They are dropped and counted; clients ask again.
        Drop = "drop",
        /// They stay in the kernel's buffer until there is room.
        Wait = "wait",
    }
}

choice! {
    /// How an address is probed before it is offered.
    pub enum Conflicts {
        /// It is not.
        Off = "off",
        /// By ARP, for clients on our link.
        Arp = "arp",
        /// By ARP for clients on our link, by ICMP echo for relayed ones.
        Ping = "ping",
    }
}

/// First and last address of a range, written `192.0.2.10-192.0.2.99`, as a prefix, or as one address.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Range {
    /// First address.
    pub first: Ipv4Addr,
    /// Last address.
    pub last: Ipv4Addr,
}

/// Why a text is no range.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct RangeError(String);

impl std::str::FromStr for Range {
    type Err = RangeError;

    fn from_str(text: &str) -> Result<Self, RangeError> {
        let address = |part: &str| {
            part.trim().parse::<Ipv4Addr>().map_err(|_| RangeError(format!("{:?} is not an IPv4 address", part.trim())))
        };
        if text.contains('/') {
            let net: Ipv4Net = text.parse().map_err(|error| RangeError(format!("{error}")))?;
            return Ok(Self { first: net.first(), last: net.last() });
        }
        let (first, last) = text.split_once('-').unwrap_or((text, text));
        let range = Self { first: address(first)?, last: address(last)? };
        if range.last < range.first {
            return Err(RangeError(format!("{} comes before {}", range.last, range.first)));
        }
        Ok(range)
    }
}

impl std::fmt::Display for Range {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        if self.first == self.last { write!(f, "{}", self.first) } else { write!(f, "{}-{}", self.first, self.last) }
    }
}

outwork_config::text_setting!(Range, "a range such as", "192.0.2.10-192.0.2.99");
outwork_config::text_setting!(IdentifierKind, "a kind of identifier such as", "mac");

impl Setting for options::Value {
    fn expected() -> String {
        "an option's value: text, a number, true or false, a list, or a table".to_owned()
    }

    fn read(node: &Node, faults: &mut Faults) -> Option<Self> {
        use outwork_config::Value;
        Some(match node.value() {
            Value::Bool(value) => Self::Bool(*value),
            Value::Int(value) => match i64::try_from(*value) {
                Ok(value) => Self::Integer(value),
                Err(_) => {
                    faults.on(node, Fault::new(format!("{value} is too large")).expected(Self::expected()));
                    return None;
                }
            },
            Value::Text(text) => Self::Text(text.clone()),
            Value::Array(items) => {
                Self::List(items.iter().map(|item| Self::read(item, faults)).collect::<Option<_>>()?)
            }
            Value::Table(table) => Self::Table(
                table
                    .iter()
                    .map(|(key, item)| Some((key.clone(), Self::read(item, faults)?)))
                    .collect::<Option<_>>()?,
            ),
            Value::Float(_) | Value::Datetime(_) => return faults.wrong(node),
        })
    }

    fn write(&self) -> Json {
        match self {
            Self::Bool(value) => json!(value),
            Self::Integer(value) => json!(value),
            Self::Text(value) => json!(value),
            Self::List(items) => items.iter().map(Setting::write).collect(),
            Self::Table(table) => table.iter().map(|(key, value)| (key.clone(), value.write())).collect(),
        }
    }

    fn schema() -> Json {
        json!({ "type": ["string", "integer", "boolean", "array", "object"] })
    }
}
