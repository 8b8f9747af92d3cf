//! The arguments of `outwork reservations`.

use std::net::Ipv4Addr;
use std::path::PathBuf;
use std::time::Duration;

use clap::{ArgGroup, Args, Subcommand, ValueEnum};
use serde_json::{Value as Json, json};

use super::{duration, octets};

/// `outwork reservations`.
#[derive(Debug, Subcommand)]
pub(crate) enum ReservationsCommand {
    /// Lists reservations, of the file and of the API
    List,
    /// Shows a reservation
    #[command(after_help = "\
Examples:
  outwork reservations get 192.0.2.20
  outwork reservations get config-0 --json")]
    Get {
        /// Its address or id, from `outwork reservations list`.
        #[arg(value_name = "ADDRESS")]
        wanted: String,
    },
    /// Keeps an address for a client, from this moment on, or tells it what others are not told
    #[command(
        after_help = "\
Examples:
  outwork reservations add --subnet 3 192.0.2.20 --mac 02:00:5e:10:00:01 --hostname printer
  outwork reservations add --subnet 3 192.0.2.21 --circuit-id 0a0b0c
  outwork reservations add --subnet 3 192.0.2.22 --remote-id 'text:switch 7'
  outwork reservations add --mac 02:00:5e:10:00:02 --class phones --option domain-name-servers=192.0.2.53
  outwork reservations add 192.0.2.23 --mac 02:00:5e:10:00:03 --next-server 192.0.2.5 --boot-file pxelinux.0
  outwork reservations get 1767225600000 --json | jq '.identifier.value = \"02:00:5e:10:00:04\" | .address = null' |
    outwork reservations add --json-body -",
        group = ArgGroup::new("who")
            .args(["mac", "client_id", "circuit_id", "remote_id", "flex", "json_body"])
            .required(true)
            .multiple(true)
    )]
    Add {
        /// The address; without one the client gets one from a pool, and what else is said here.
        address: Option<Ipv4Addr>,
        #[command(flatten)]
        says: Box<ReservationArgs>,
    },
    /// Changes a reservation of the API: what is not named stays as it is
    #[command(after_help = "\
Examples:
  outwork reservations update 192.0.2.20 --address 192.0.2.24 --hostname printer-2
  outwork reservations update 1767225600000 --option ntp-servers='[\"192.0.2.1\", \"192.0.2.2\"]' --lease-time 8h
  outwork reservations update 1767225600000 --clear classes --clear hostname
  outwork reservations update 1767225600000 --json-body reservation.json")]
    Update {
        /// Its address or id, from `outwork reservations list`.
        #[arg(value_name = "ADDRESS")]
        wanted: String,
        /// The address.
        #[arg(long, value_name = "ADDRESS")]
        address: Option<Ipv4Addr>,
        /// Takes this out; can be given again.
        #[arg(long, value_name = "FIELD")]
        clear: Vec<Field>,
        #[command(flatten)]
        says: Box<ReservationArgs>,
    },
    /// Ends a reservation; reservations of the file are removed there
    #[command(after_help = "\
Examples:
  outwork reservations remove 192.0.2.30
  outwork reservations remove 7")]
    Remove {
        /// Its address or id, from `outwork reservations list`.
        #[arg(value_name = "ADDRESS")]
        wanted: String,
    },
}

/// What a reservation says.
#[derive(Debug, Args)]
pub(crate) struct ReservationArgs {
    /// The subnet's id. A new reservation without it is in the subnet that has the address; without an address, wherever its
    /// client is.
    #[arg(long, value_name = "ID")]
    pub(crate) subnet: Option<u32>,
    #[command(flatten)]
    identifier: IdentifierArgs,
    /// The hostname that the client is told.
    #[arg(long, value_name = "NAME")]
    hostname: Option<String>,
    /// An option, by name or code; can be given again. The value is a text, or JSON: a number, a list, a table.
    #[arg(long, value_name = "NAME=VALUE", value_parser = option)]
    option: Vec<(String, Json)>,
    /// A class that it is in, by name; can be given again. They replace those it was in.
    #[arg(long, value_name = "NAME")]
    class: Vec<String>,
    /// Where to boot from (siaddr).
    #[arg(long, value_name = "ADDRESS")]
    next_server: Option<Ipv4Addr>,
    /// The boot server's name (sname).
    #[arg(long, value_name = "NAME")]
    server_hostname: Option<String>,
    /// What to boot (file).
    #[arg(long, value_name = "FILE")]
    boot_file: Option<String>,
    /// How long its leases last.
    #[arg(long, value_name = "DURATION", value_parser = duration)]
    lease_time: Option<Duration>,
    /// The least that it may ask for.
    #[arg(long, value_name = "DURATION", value_parser = duration)]
    min_lease_time: Option<Duration>,
    /// The most that it may ask for.
    #[arg(long, value_name = "DURATION", value_parser = duration)]
    max_lease_time: Option<Duration>,
    /// When it begins to renew (T1).
    #[arg(long, value_name = "DURATION", value_parser = duration)]
    renew_time: Option<Duration>,
    /// When it begins to ask any server (T2).
    #[arg(long, value_name = "DURATION", value_parser = duration)]
    rebind_time: Option<Duration>,
    /// A reservation in JSON, as the API takes and shows it, which the other options change; `-` is standard input.
    #[arg(long, value_name = "FILE")]
    pub(crate) json_body: Option<PathBuf>,
}

impl ReservationArgs {
    /// Puts what is given over what a reservation says in the API.
    pub(crate) fn put_over(&self, body: &mut Json) {
        if let Some((kind, value)) = self.identifier.given() {
            body["identifier"] = json!({"kind": kind, "value": value});
        }
        let seconds = |time: Option<Duration>| time.map(|time| json!(time.as_secs()));
        let classes = (!self.class.is_empty()).then(|| json!(self.class));
        for (field, value) in [
            ("subnet_id", self.subnet.map(Json::from)),
            ("hostname", self.hostname.clone().map(Json::from)),
            ("classes", classes),
            ("next_server", self.next_server.map(|address| json!(address))),
            ("server_hostname", self.server_hostname.clone().map(Json::from)),
            ("boot_file", self.boot_file.clone().map(Json::from)),
            ("lease_time_seconds", seconds(self.lease_time)),
            ("min_lease_time_seconds", seconds(self.min_lease_time)),
            ("max_lease_time_seconds", seconds(self.max_lease_time)),
            ("renew_time_seconds", seconds(self.renew_time)),
            ("rebind_time_seconds", seconds(self.rebind_time)),
        ] {
            if let Some(value) = value {
                body[field] = value;
            }
        }
        if !self.option.is_empty() && !body["options"].is_object() {
            body["options"] = json!({});
        }
        for (name, value) in &self.option {
            body["options"][name.as_str()] = value.clone();
        }
    }
}

/// An option's name and its value: JSON where it is a number, a truth, a list or a table, and else the text itself.
fn option(text: &str) -> Result<(String, Json), &'static str> {
    let (name, value) = text.split_once('=').ok_or("expected NAME=VALUE, such as domain-name-servers=192.0.2.53")?;
    let value =
        serde_json::from_str(value).ok().filter(|value: &Json| !value.is_null()).unwrap_or_else(|| value.into());
    Ok((name.trim().to_owned(), value))
}

/// What can be taken out of a reservation.
#[derive(Clone, Copy, Debug, ValueEnum)]
pub(crate) enum Field {
    /// The subnet: it holds wherever its client is.
    Subnet,
    /// The address: the client gets one from a pool.
    Address,
    /// The hostname.
    Hostname,
    /// Every option.
    Options,
    /// Every class.
    Classes,
    /// Where to boot from.
    NextServer,
    /// The boot server's name.
    ServerHostname,
    /// What to boot.
    BootFile,
    /// Every time: those of the subnet count.
    Times,
}

impl Field {
    /// Its fields in the API.
    pub(crate) fn keys(self) -> &'static [&'static str] {
        match self {
            Field::Subnet => &["subnet_id"],
            Field::Address => &["address"],
            Field::Hostname => &["hostname"],
            Field::Options => &["options"],
            Field::Classes => &["classes"],
            Field::NextServer => &["next_server"],
            Field::ServerHostname => &["server_hostname"],
            Field::BootFile => &["boot_file"],
            Field::Times => &[
                "lease_time_seconds",
                "min_lease_time_seconds",
                "max_lease_time_seconds",
                "renew_time_seconds",
                "rebind_time_seconds",
            ],
        }
    }
}

/// How a reservation knows its client: one of these.
#[derive(Debug, Args)]
#[group(multiple = false)]
struct IdentifierArgs {
    /// By hardware address.
    #[arg(long, value_name = "MAC", value_parser = octets::mac)]
    mac: Option<String>,
    /// By client identifier (option 61): hex, or text as text:WORDS. In the configuration file text stands as it is, and hex needs
    /// its marks: 0a:0b:0c or hex:0a0b0c; so for the two below.
    #[arg(long, value_name = "HEX", value_parser = octets::identifier)]
    client_id: Option<String>,
    /// By the relay agent's circuit id (option 82.1): hex, or text as text:WORDS.
    #[arg(long, value_name = "HEX", value_parser = octets::identifier)]
    circuit_id: Option<String>,
    /// By the relay agent's remote id (option 82.2): hex, or text as text:WORDS.
    #[arg(long, value_name = "HEX", value_parser = octets::identifier)]
    remote_id: Option<String>,
    /// By the value of the configured flex expression, written as in the configuration file: text as it is, or hex such as
    /// hex:0a0b0c or 0a:0b:0c.
    #[arg(long, value_name = "VALUE")]
    flex: Option<String>,
}

impl IdentifierArgs {
    /// The kind's word in the API, and the value.
    fn given(&self) -> Option<(&'static str, &str)> {
        let kinds = [
            ("mac", &self.mac),
            ("client_id", &self.client_id),
            ("circuit_id", &self.circuit_id),
            ("remote_id", &self.remote_id),
            ("flex", &self.flex),
        ];
        kinds.into_iter().find_map(|(kind, value)| Some((kind, value.as_deref()?)))
    }
}
