//! A configuration of every kind of key, for the tests to load.
#![allow(dead_code, missing_docs, clippy::expect_used, clippy::panic)]

use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::path::PathBuf;
use std::time::Duration;

use outwork_config::{
    At, ByteSize, Fault, Faults, Ipv4Net, Loaded, Secret, Sources, choice, hours, load, mins, secs, section,
};

section! {
    /// The site's file.
    pub struct Site {
        /// Where state is kept.
        pub data_dir: PathBuf [restart] = "/var/lib/outwork",
        /// The DHCP service.
        pub dhcp: Dhcp,
        /// The API.
        pub admin: Admin,
    }
}

section! {
    /// The DHCP service.
    pub struct Dhcp {
        /// Worker threads; 0 means one a core.
        pub workers: u16 [restart, range 0..=1024] = 0,
        /// How long a lease lasts when nothing more specific says so.
        pub lease_time: Duration [range secs(60)..=hours(24)] = hours(12),
        /// Interfaces to serve.
        pub interfaces: Vec<String>,
        /// What an acknowledgement waits for.
        pub durability: Durability = Durability::Fsync,
        /// The write buffer.
        pub buffer: ByteSize [range ByteSize::kib(4)..] = ByteSize::mib(64),
        /// The warning threshold, as a fraction.
        pub warn_at: f64 [range 0.0..=1.0] = 0.9,
        /// Per message kind logging.
        pub log: Log,
        /// The subnets.
        pub subnet: Vec<Subnet>,
        /// Named option sets.
        pub sets: BTreeMap<String, OptionSet>,
        /// Plain labels.
        pub labels: BTreeMap<String, String>,
    }
    check dhcp;
}

section! {
    /// Logging.
    pub struct Log {
        /// Whether to log each lease.
        pub leases: bool = true,
        /// The keyword as a key.
        pub r#type: Option<String>,
    }
    foreign LOG_OF_OTHERS;
}

const LOG_OF_OTHERS: outwork_config::expansion::Foreign = &[("severity", "write leases = true")];

section! {
    /// A subnet.
    #[required_keys]
    pub struct Subnet {
        /// Its number.
        pub id: u32 [range 1..],
        /// Its prefix.
        pub subnet: Ipv4Net,
        /// Its lease time.
        pub lease_time: Option<Duration> [range secs(60)..],
        /// Its pools.
        pub pool: Vec<Pool>,
    }
}

section! {
    /// A pool.
    #[required_keys]
    pub struct Pool {
        /// First address.
        pub first: Ipv4Addr,
        /// Last address.
        pub last: Ipv4Addr,
    }
    check pool;
}

section! {
    /// A set of options.
    pub struct OptionSet {
        /// Name servers.
        pub dns: Vec<IpAddr>,
    }
}

section! {
    /// The API.
    pub struct Admin {
        /// Where it listens.
        pub listen: SocketAddr [restart] = SocketAddr::from(([127, 0, 0, 1], 8067)),
        /// The password of its database.
        pub password: Option<Secret>,
        /// How long a session lasts.
        pub session: Duration = mins(30),
        /// The files of its certificates.
        pub tls: Tls,
    }
}

section! {
    /// Certificates.
    pub struct Tls {
        /// The chain.
        pub chain: PathBuf = "chain.pem",
        /// The authorities that are trusted.
        pub trusted: Vec<PathBuf>,
        /// Those of other names.
        pub names: BTreeMap<String, PathBuf>,
        /// The list of those revoked.
        pub revoked: Option<PathBuf>,
    }
}

choice! {
    /// What an acknowledgement waits for.
    pub enum Durability {
        /// The disk has it.
        Fsync = "fsync",
        /// The operating system has it.
        Os = "os",
        /// Nothing.
        None = "none",
    }
}

fn dhcp(dhcp: &Dhcp, at: &mut At<'_>) {
    for (index, subnet) in dhcp.subnet.iter().enumerate() {
        if dhcp.subnet.iter().take(index).any(|other| other.id == subnet.id) {
            at.fault(&format!("subnet[{index}].id"), Fault::new("another subnet has this id").help("count on"));
        }
    }
}

fn pool(pool: &Pool, at: &mut At<'_>) {
    if pool.first > pool.last {
        at.fault("", Fault::new("ends before it starts").expected("first <= last"));
    }
}

pub(crate) fn sources(file: &str, env: &[(&str, &str)], set: &[&str]) -> Sources {
    Sources {
        file: Some(("site.toml".into(), file.into())),
        env: env.iter().map(|(name, value)| (name.to_string(), value.to_string())).collect(),
        set: set.iter().map(ToString::to_string).collect(),
    }
}

pub(crate) fn good(file: &str, env: &[(&str, &str)], set: &[&str]) -> Loaded<Site> {
    load(sources(file, env, set)).unwrap_or_else(|faults| panic!("{faults}"))
}

pub(crate) fn bad(file: &str, env: &[(&str, &str)], set: &[&str]) -> Faults {
    load::<Site>(sources(file, env, set)).map(|_| ()).expect_err("the configuration is wrong")
}

/// Each fault as `key @ origin: found`.
pub(crate) fn lines(faults: &Faults) -> Vec<String> {
    faults.iter().map(|fault| format!("{} @ {}: {}", fault.key(), fault.origin(), fault.found())).collect()
}
