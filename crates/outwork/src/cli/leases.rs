//! The arguments of `outwork leases`.

use std::net::Ipv4Addr;
use std::num::NonZeroUsize;
use std::path::PathBuf;
use std::time::Duration;

use clap::{Args, Subcommand, ValueEnum};

use super::{duration, octets};

/// `outwork leases`.
#[derive(Debug, Subcommand)]
pub(crate) enum LeasesCommand {
    /// Lists leases
    #[command(after_help = "\
Examples:
  outwork leases list
  outwork leases list --subnet 3 --state active --limit 20
  outwork leases list --q printer
  outwork leases list --all --json | jq -r '.items[].mac'")]
    List(ListArgs),
    /// Shows one client's leases, found by address, MAC, client id or hostname
    #[command(after_help = "\
Examples:
  outwork leases get 192.0.2.17
  outwork leases get 02:00:5e:10:00:01
  outwork leases get front-desk-printer")]
    Get {
        /// The address, MAC, client id or hostname, in full.
        client: String,
    },
    /// Adds a lease, for a client that has its address already
    #[command(after_help = "\
Examples:
  outwork leases add 192.0.2.17 --mac 02:00:5e:10:00:01 --hostname scanner --lease-time 1d")]
    Add {
        /// The address.
        address: Ipv4Addr,
        /// The client's hardware address.
        #[arg(long, value_name = "MAC", value_parser = octets::mac)]
        mac: String,
        /// The client identifier (option 61), if the client sends one: hex, or text as text:WORDS.
        #[arg(long, value_name = "HEX", value_parser = octets::identifier)]
        client_id: Option<String>,
        /// The client's hostname.
        #[arg(long, value_name = "NAME")]
        hostname: Option<String>,
        /// How long it lasts; the subnet's lease time without it.
        #[arg(long, value_name = "DURATION", value_parser = duration)]
        lease_time: Option<Duration>,
    },
    /// Changes a lease
    #[command(after_help = "\
Examples:
  outwork leases update 192.0.2.17 --hostname scanner-2
  outwork leases update 192.0.2.17 --lease-time 8h")]
    Update {
        /// Its address.
        address: Ipv4Addr,
        #[command(flatten)]
        change: ChangeArgs,
    },
    /// Releases a lease: its address is free at once, though the client may not know
    Release {
        /// Its address.
        address: Ipv4Addr,
    },
    /// Ends every lease of a subnet
    #[command(after_help = "\
Examples:
  outwork subnets
  outwork leases wipe 3 --yes")]
    Wipe {
        /// The subnet's id.
        subnet: u32,
        /// Does not ask.
        #[arg(long, short)]
        yes: bool,
    },
    /// Writes every lease as Kea's lease CSV
    #[command(after_help = "\
Examples:
  outwork leases export --output leases.csv
  outwork leases export | wc -l")]
    Export {
        /// Where to; standard output without it.
        #[arg(long, short, value_name = "FILE")]
        output: Option<PathBuf>,
    },
    /// Takes in leases from Kea's lease CSV
    #[command(after_help = "\
Examples:
  outwork leases import /var/lib/kea/kea-leases4.csv")]
    Import {
        /// The CSV file; `-` is standard input.
        file: PathBuf,
    },
}

/// `outwork leases list`.
#[derive(Debug, Args)]
pub(crate) struct ListArgs {
    /// Only those of this subnet.
    #[arg(long, value_name = "ID")]
    pub(crate) subnet: Option<u32>,
    /// Only those in this state.
    #[arg(long)]
    pub(crate) state: Option<State>,
    /// Only those with this in address, MAC, client id or hostname.
    #[arg(long, value_name = "TEXT")]
    pub(crate) q: Option<String>,
    /// The most to list, 1 or more.
    #[arg(long, value_name = "COUNT", default_value = "100", conflicts_with = "all", value_parser = limit)]
    pub(crate) limit: NonZeroUsize,
    /// Lists all there are.
    #[arg(long)]
    pub(crate) all: bool,
    /// Goes on after this point: `next` of an earlier answer.
    #[arg(long, value_name = "NEXT")]
    pub(crate) after: Option<String>,
}

pub(super) fn limit(text: &str) -> Result<NonZeroUsize, &'static str> {
    text.parse().map_err(|_| "expected 1 or more; --all lists every one")
}

/// What a lease's address is doing.
#[derive(Clone, Copy, Debug, ValueEnum)]
pub(crate) enum State {
    /// In use.
    Active,
    /// Offered, and not yet requested.
    Offered,
    /// Found in use by someone else: quarantined.
    Declined,
    /// Given back.
    Released,
    /// Run out.
    Expired,
}

impl State {
    pub(crate) fn word(self) -> &'static str {
        match self {
            State::Active => "active",
            State::Offered => "offered",
            State::Declined => "declined",
            State::Released => "released",
            State::Expired => "expired",
        }
    }
}

/// What `outwork leases update` changes: at least one.
#[derive(Debug, Args)]
#[group(required = true, multiple = true)]
pub(crate) struct ChangeArgs {
    /// The hostname; an empty one removes it.
    #[arg(long, value_name = "NAME")]
    pub(crate) hostname: Option<String>,
    /// How long it lasts from now.
    #[arg(long, value_name = "DURATION", value_parser = duration)]
    pub(crate) lease_time: Option<Duration>,
}
