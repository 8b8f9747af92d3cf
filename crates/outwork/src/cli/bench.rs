//! The arguments of `outwork bench`.

use std::net::Ipv4Addr;
use std::str::FromStr;
use std::time::Duration;

use clap::{Args, Subcommand, ValueEnum};
use http::{HeaderName, HeaderValue, Method, Uri};

use super::bench_sdwan::SdwanBench;
use super::duration;

/// `outwork bench`.
#[derive(Debug, Subcommand)]
pub(crate) enum BenchCommand {
    /// Loads a DHCPv4 server as a relay agent would, and reports what it bears
    ///
    /// It works against any server that serves relayed requests, and needs a subnet there for the relay agent's address: the
    /// server chooses by it. `dora` uses each client once and ends when all have an address, so give it enough clients for its
    /// rate and duration, and the server a pool for them. Exits with 1 if nothing was answered. Reported: offered, answered and lost exchanges,
    /// exchanges a second, latency percentiles, and whether one address was ever given to two clients.
    #[command(after_help = "\
Examples:
  outwork bench dhcp --target 127.0.0.1:6767
  outwork bench dhcp --target 192.0.2.1:67 --scenario renew --clients 50000 --rate 10000 --duration 30s
  outwork bench dhcp --target 192.0.2.1:67 --scenario avalanche --json > result.json")]
    Dhcp(DhcpArgs),
    /// Loads what passes connections or datagrams on, and reports what goes through and how long it takes
    ///
    /// The target is a listener of layer 4, or a server behind one, that answers with what it is sent; `throughput` and `connections` over TCP are content with one that takes
    /// it. Exits with 1 if nothing was answered, or connections failed. With --json it writes an object, and of a suite an array of four.
    #[command(after_help = "\
Examples:
  outwork bench proxy 127.0.0.1:7 --duration 5s
  outwork bench proxy 127.0.0.1:5432 --kind connections
  outwork bench proxy 10.0.0.1:53 --protocol udp --kind latency --connections 64 --packet-size 64
  outwork bench proxy 10.0.0.1:7 --kind throughput --workers 2 --duration 30s --json > result.json")]
    Proxy(ProxyArgs),
    /// Loads a web server over HTTP/1.1, HTTP/2 or HTTP/3, and reports what it bears
    ///
    /// It works against any server. All connections are open before the first request that is measured. At a rate, a request that is due while the
    /// server is still at the one before counts from when it was due; what was never sent is counted as missed. What the server says it has not begun with is asked again on another
    /// connection, and counted as retried. Exits with 1 if nothing was answered, or anything failed or was an error.
    #[command(after_help = "\
Examples:
  outwork bench web http://127.0.0.1:8068/
  outwork bench web --http 3 --insecure --connections 16 --streams 32 https://localhost:8443/app.js
  outwork bench web --rate 5000 --duration 1m https://www.example.org/ --json > result.json")]
    Web(WebArgs),
    /// Measures what engine and plane of SD-WAN cost on this machine, in one process
    ///
    /// Each report says what was measured and what was not. Exits with 1 if something was not as it should be.
    #[command(subcommand)]
    Sdwan(SdwanBench),
}

/// `outwork bench proxy`.
#[derive(Debug, Args)]
pub(crate) struct ProxyArgs {
    /// Who is loaded: an address or a name, and a port.
    #[arg(value_name = "HOST:PORT")]
    pub(crate) target: String,
    /// What is measured; `suite` is all four kinds, one after the other, each for as long.
    #[arg(long, value_name = "KIND", default_value = "suite", value_parser = ["suite", "throughput", "latency", "connections", "mixed"])]
    pub(crate) kind: String,
    /// What is spoken.
    #[arg(long, value_name = "PROTOCOL", default_value = "tcp", value_parser = ["tcp", "udp"])]
    pub(crate) protocol: String,
    /// Octets that are sent at a time.
    #[arg(long, value_name = "OCTETS", default_value_t = 1400)]
    pub(crate) packet_size: usize,
    /// Connections, or sockets of UDP, at once.
    #[arg(long, value_name = "COUNT", default_value_t = 16)]
    pub(crate) connections: usize,
    /// Threads.
    #[arg(long, value_name = "COUNT", default_value_t = 1)]
    pub(crate) workers: usize,
    /// How long to measure.
    #[arg(long, value_name = "DURATION", default_value = "10s", value_parser = duration)]
    pub(crate) duration: Duration,
    /// After how long an answer counts as lost.
    #[arg(long, value_name = "DURATION", default_value = "2s", value_parser = duration)]
    pub(crate) timeout: Duration,
}

/// `outwork bench web`.
#[derive(Debug, Args)]
pub(crate) struct WebArgs {
    /// What is asked for.
    #[arg(value_name = "URL")]
    pub(crate) page: Uri,
    /// What is spoken. HTTP/2 in clear text is spoken to servers that know it to come.
    #[arg(long, value_name = "VERSION", default_value = "1.1")]
    pub(crate) http: Http,
    /// Connections, all open at once.
    #[arg(long, value_name = "COUNT", default_value_t = 64, value_parser = clap::value_parser!(u32).range(1..))]
    pub(crate) connections: u32,
    /// Requests under way at a time on each connection of HTTP/2 and HTTP/3.
    #[arg(long, value_name = "COUNT", default_value_t = 16, value_parser = clap::value_parser!(u32).range(1..))]
    pub(crate) streams: u32,
    /// Requests started a second; `max` keeps every connection busy.
    #[arg(long, value_name = "RATE", default_value = "max")]
    pub(crate) rate: Rate,
    /// How long to measure.
    #[arg(long, value_name = "DURATION", default_value = "10s", value_parser = duration)]
    pub(crate) duration: Duration,
    /// How long to load before that.
    #[arg(long, value_name = "DURATION", default_value = "1s", value_parser = duration)]
    pub(crate) warm_up: Duration,
    /// After how long a request counts as failed.
    #[arg(long, value_name = "DURATION", default_value = "10s", value_parser = duration)]
    pub(crate) timeout: Duration,
    /// Threads that make requests.
    #[arg(long, value_name = "COUNT", default_value_t = 1, value_parser = clap::value_parser!(u16).range(1..=256))]
    pub(crate) threads: u16,
    /// The method.
    #[arg(long, value_name = "METHOD", default_value = "GET")]
    pub(crate) method: Method,
    /// A header field of every request; may be given many times.
    #[arg(long, short = 'H', value_name = "NAME: VALUE", value_parser = field)]
    pub(crate) header: Vec<(HeaderName, HeaderValue)>,
    /// The content of every request.
    #[arg(long, value_name = "TEXT", default_value = "")]
    pub(crate) body: String,
    /// Takes any certificate.
    #[arg(long)]
    pub(crate) insecure: bool,
}

/// A version of HTTP.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Http {
    /// HTTP/1.1.
    #[value(name = "1.1", alias = "1")]
    One,
    /// HTTP/2.
    #[value(name = "2")]
    Two,
    /// HTTP/3.
    #[value(name = "3")]
    Three,
}

fn field(text: &str) -> Result<(HeaderName, HeaderValue), String> {
    let (name, value) = text.split_once(':').ok_or("expected NAME: VALUE")?;
    let name = name.trim().parse().map_err(|_| format!("{name:?} is no field name"))?;
    let value = value.trim().parse().map_err(|_| format!("{value:?} is no field value"))?;
    Ok((name, value))
}

/// `outwork bench dhcp`.
#[derive(Debug, Args)]
pub(crate) struct DhcpArgs {
    /// The server: an IPv4 address or a name, and its port.
    #[arg(long, value_name = "HOST:PORT")]
    pub(crate) target: String,
    /// What the clients do.
    #[arg(long, default_value = "dora")]
    pub(crate) scenario: Scenario,
    /// How many clients there are, each with its own hardware address.
    #[arg(long, value_name = "COUNT", default_value_t = 10_000, value_parser = clap::value_parser!(u32).range(1..))]
    pub(crate) clients: u32,
    /// Exchanges started a second; `max` keeps as many under way as the server answers.
    #[arg(long, value_name = "RATE", default_value = "max")]
    pub(crate) rate: Rate,
    /// How long to load it.
    #[arg(long, value_name = "DURATION", default_value = "10s", value_parser = duration)]
    pub(crate) duration: Duration,
    /// Addresses of this host to relay from, by which the server chooses the subnet; the clients are shared out among them. Without it, the one that leads to the server.
    #[arg(long, value_name = "ADDRESS")]
    pub(crate) giaddr: Vec<Ipv4Addr>,
    /// The relay agent's port. Without it 67, which needs privileges, or 6768 for a server on another port than 67; a port
    /// other than 67 needs a server that knows RFC 8357.
    #[arg(long, value_name = "PORT")]
    pub(crate) relay_port: Option<u16>,
    /// Adds relay agent information (option 82), of a thousand circuits, and checks that it comes back as it was.
    #[arg(long)]
    pub(crate) option82: bool,
    /// Exchanges under way at a time at the rate `max`.
    #[arg(long, value_name = "COUNT", default_value_t = 256, value_parser = clap::value_parser!(u32).range(1..))]
    pub(crate) window: u32,
    /// After how long a message counts as lost.
    #[arg(long, value_name = "DURATION", default_value = "1s", value_parser = duration)]
    pub(crate) timeout: Duration,
    /// Chooses the clients' hardware addresses: another seed, other clients.
    #[arg(long, value_name = "NUMBER", default_value_t = 0)]
    pub(crate) seed: u64,
    /// Sends and receives messages in runs that pass through the kernel as one (UDP segmentation and receive offload): less
    /// work a message, so that more of this machine is left to a server on it. Not for a server behind a virtual link that
    /// listens with packet sockets.
    #[arg(long)]
    pub(crate) offload: bool,
}

/// What the clients of a load do.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Scenario {
    /// Discover, offer, request, acknowledge: each client once.
    Dora,
    /// Get an address once, then renew it over and over.
    Renew,
    /// Mostly renewals, with newcomers, releases and informs between them.
    Mixed,
    /// Everyone at once, as after a power cut, repeating until answered.
    Avalanche,
}

/// How fast exchanges are started.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Rate {
    /// As fast as the server answers.
    Max,
    /// So many a second.
    PerSecond(u32),
}

impl FromStr for Rate {
    type Err = &'static str;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        match (text, text.parse()) {
            ("max", _) => Ok(Rate::Max),
            (_, Ok(rate)) if rate > 0 => Ok(Rate::PerSecond(rate)),
            _ => Err("expected a number a second, or max"),
        }
    }
}
