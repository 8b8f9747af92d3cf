//! The command line: what can be asked, and the help that says so.

pub(crate) mod assets;
pub(crate) mod backends;
pub(crate) mod bench;
pub(crate) mod bench_sdwan;
pub(crate) mod cache;
pub(crate) mod db;
pub(crate) mod host;
pub(crate) mod lab;
pub(crate) mod leases;
pub(crate) mod octets;
pub(crate) mod paths;
pub(crate) mod qos;
pub(crate) mod queries;
pub(crate) mod reservations;
pub(crate) mod sdwan;
pub(crate) mod store;
pub(crate) mod tiers;

use std::path::PathBuf;
use std::time::Duration;

use clap::parser::ValueSource;
use clap::{ArgMatches, Args, CommandFactory, Parser, Subcommand, ValueEnum};
use outwork_config::parse_duration;

/// The edge of a site in one binary.
///
/// With no configuration, `outwork run` serves on loopback without privileges and prints where to look.
#[derive(Debug, Parser)]
#[command(
    name = "outwork",
    version,
    arg_required_else_help = true,
    subcommand_required = true,
    after_help = "\
Examples:
  outwork run                            start with the defaults
  outwork config init && outwork check   write a starter file, and check it
  outwork leases list --q printer        find leases on the running server

Every key of the file can be given as a variable (OUTWORK__DHCP__LEASE_TIME=2h) or a flag (--set dhcp.lease_time=2h)."
)]
pub(crate) struct Cli {
    #[command(flatten)]
    pub(crate) global: Global,
    #[command(subcommand)]
    pub(crate) command: Command,
}

/// What every command takes.
#[derive(Clone, Debug, Args)]
#[command(next_help_heading = "Global options")]
pub(crate) struct Global {
    /// The configuration file. Without it: ./outwork.toml, else /etc/outwork/outwork.toml, else a built-in one to practise with.
    #[arg(long, short, global = true, value_name = "FILE", env = "OUTWORK_CONFIG")]
    pub(crate) config: Option<PathBuf>,
    /// Sets one key, over the file and the environment; may be given many times.
    #[arg(long, global = true, value_name = "KEY=VALUE")]
    pub(crate) set: Vec<String>,
    /// Prints data as JSON; an error too, on standard output: {"error": {"message": …}}, with an exit code other than 0.
    #[arg(long, global = true)]
    pub(crate) json: bool,
    /// When to use colours.
    #[arg(long, global = true, value_name = "WHEN", default_value = "auto")]
    pub(crate) color: Color,
    /// The server to ask. Without it, the one on this machine: where it says in its data directory that it listens, or else where the
    /// configuration has it listen.
    #[arg(long, global = true, value_name = "URL", env = "OUTWORK_URL")]
    pub(crate) url: Option<String>,
    /// The access token. On the server's own machine, root and the user that it runs as need none: they can read
    /// admin.token in its data directory.
    #[arg(long, global = true, value_name = "TOKEN", env = "OUTWORK_TOKEN", hide_env_values = true)]
    pub(crate) token: Option<String>,
    /// Certificates (PEM) to trust for an https server instead of the public ones.
    #[arg(long, global = true, value_name = "FILE", env = "OUTWORK_CA")]
    pub(crate) ca: Option<PathBuf>,
}

/// When to use colours.
#[derive(Clone, Copy, Debug, ValueEnum)]
pub(crate) enum Color {
    /// On a terminal.
    Auto,
    /// Always.
    Always,
    /// Never.
    Never,
}

/// What can be asked.
#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Runs the server
    ///
    /// It stays in the foreground until SIGTERM or SIGINT, then drains and exits. SIGHUP reloads the configuration.
    #[command(after_help = "\
Examples:
  outwork run
  outwork run --config /etc/outwork/outwork.toml
  OUTWORK__DHCP__LEASE_TIME=2h outwork run")]
    Run,
    /// Checks the configuration and reports every fault in it
    ///
    /// Reads the file, the environment and --set as `run` would, starts nothing, and exits with 1 if anything is wrong. It looks at certificates,
    /// folders and files that are named, and has databases that it can reach prepare the queries of routes, without running them.
    #[command(after_help = "\
Examples:
  outwork check
  outwork check --config new.toml && outwork reload
  outwork check --strict         a warning is a failure, too
  outwork check --json | jq '.[].key'")]
    Check {
        /// Exits with 1 where there is a warning, too.
        #[arg(long)]
        strict: bool,
    },
    /// Prints the JSON Schema of the configuration
    ///
    /// Editors that know TOML complete and check with it: put `#:schema ./outwork.schema.json` atop the file.
    #[command(after_help = "\
Examples:
  outwork schema > outwork.schema.json
  outwork schema | jq '.properties.dhcp.properties.lease_time'")]
    Schema,
    /// Shows or starts the configuration
    #[command(subcommand)]
    Config(ConfigCommand),
    /// Has the running server take up its changed configuration
    ///
    /// Everywhere or nowhere: a setting that cannot change while running refuses the whole reload by its name. The server reads
    /// the file that it was started with; --config only says where to find the server.
    #[command(after_help = "\
Examples:
  outwork check && outwork reload")]
    Reload,
    /// Has the program that lies on disk now take the place of the running server
    ///
    /// No connection is refused: the new process takes the listeners over, and the old one answers what it was asked before it ends. Where
    /// the new one cannot start, nothing changes. SIGUSR2 does the same. Settings that need a restart are taken up, too.
    #[command(after_help = "\
Examples:
  install -m 0755 outwork /usr/local/bin/outwork && outwork upgrade
  outwork check && outwork upgrade      instead of a restart")]
    Upgrade,
    /// Says how the running server is: services, listeners, storage
    #[command(after_help = "\
Examples:
  outwork status
  outwork status --url https://edge.example.net:8067 --json")]
    Status,
    /// Shows the running server's metrics, or what its memory is used for
    #[command(after_help = "\
Examples:
  outwork stats                every metric
  outwork stats dhcp           those with dhcp in their names
  outwork stats --memory       memory by allocator and by table")]
    Stats {
        /// Only metrics with this in their names.
        #[arg(value_name = "NAME", conflicts_with = "memory")]
        filter: Option<String>,
        /// What memory is used for.
        #[arg(long)]
        memory: bool,
    },
    /// Writes what the running server's memory is used for, by the stacks that allocated it
    ///
    /// `jeprof` and `pprof` open the file together with this program. One allocation in about every MiB is in it.
    #[command(after_help = "\
Examples:
  outwork heap-dump --output outwork.heap && jeprof --text $(which outwork) outwork.heap
  outwork heap-dump --output later.heap && jeprof --text --base=outwork.heap $(which outwork) later.heap")]
    HeapDump {
        /// Where to.
        #[arg(long, short, value_name = "FILE")]
        output: PathBuf,
    },
    /// Writes what the running server's processor time is used for, from now on for a while
    #[command(after_help = "\
Examples:
  outwork cpu-profile --output outwork.folded && flamegraph.pl outwork.folded > outwork.svg
  outwork cpu-profile --seconds 30 --pprof --output outwork.cpu && pprof -http : $(which outwork) outwork.cpu")]
    CpuProfile {
        /// Where to.
        #[arg(long, short, value_name = "FILE")]
        output: PathBuf,
        /// For how long.
        #[arg(long, value_name = "N", default_value_t = 10, value_parser = clap::value_parser!(u16).range(1..=300))]
        seconds: u16,
        /// Samples for each second of processor time.
        #[arg(long, value_name = "N", default_value_t = 99, value_parser = clap::value_parser!(u16).range(1..=1000))]
        hertz: u16,
        /// Writes what `pprof` and `jeprof` open, instead of a line for each stack.
        #[arg(long)]
        pprof: bool,
    },
    /// Says what each thread of the running server is doing: its processors, its time, and where it waits
    #[command(after_help = "\
Examples:
  outwork threads
  outwork threads --json       with where each is in the kernel, if the server is root")]
    Threads,
    /// Creates, lists and revokes access tokens
    #[command(subcommand)]
    Token(TokenCommand),
    /// Finds and changes leases
    #[command(subcommand)]
    Leases(leases::LeasesCommand),
    /// Lists, adds, changes and removes reservations
    #[command(subcommand)]
    Reservations(reservations::ReservationsCommand),
    /// Lists subnets and how full they are
    #[command(after_help = "\
Examples:
  outwork subnets
  outwork subnets --json | jq '.items[] | select(.utilisation > 0.9)'")]
    Subnets {
        #[command(subcommand)]
        command: Option<SubnetsCommand>,
    },
    /// Shows, purges and fills the cache of answers
    #[command(subcommand)]
    Cache(cache::CacheCommand),
    /// Shows the backends that requests are passed on to, drains them, leaves them out and lets them in
    #[command(subcommand)]
    Backends(backends::BackendsCommand),
    /// Lists listeners of layer 4, and what each has open, accepted, refused and moved
    ///
    /// Figures are of all addresses of a listener. What programs of the kernel pass on is not among them: see `outwork rules` and the metrics.
    #[command(after_help = "\
Examples:
  outwork listeners
  outwork listeners --json | jq '.[] | select(.active > 1000) | .name'")]
    Listeners,
    /// Lists the tunnels of this site: whom they lead to, where that is, how old their keys are, what has passed; and who this site is to others
    #[command(after_help = "Examples:
  outwork tunnels
  outwork tunnels --json | jq '.tunnels[] | select(.keys_age_seconds == null) | .peer'")]
    Tunnels,
    /// Lists the paths to other sites: how each is, and which of them traffic takes; and what has happened to them lately
    #[command(after_help = "Examples:
  outwork paths
  outwork paths --json | jq '.paths[] | select(.state != \"up\")'
  outwork paths explain 10.1.0.5 10.2.0.9 --port 443 --name www.example.com")]
    Paths {
        #[command(subcommand)]
        command: Option<paths::PathsCommand>,
    },
    /// Shows how uplinks are shaped: the rate of each class, what has left, what waits and what was dropped
    ///
    /// [sdwan.qos] says whether they are, and how.
    #[command(after_help = "\
Examples:
  outwork qos
  outwork qos --json | jq '.uplinks[].classes[] | select(.drops > 0) | .class'
  outwork qos rollback")]
    Qos {
        #[command(subcommand)]
        command: Option<qos::QosCommand>,
    },
    /// Takes sites in and says what their network is, at the controller; has this site taken in, at a site
    #[command(subcommand)]
    Sdwan(sdwan::SdwanCommand),
    /// Shows the tiers of acceleration and the interfaces of this machine: what is in use, what could be, and why not
    ///
    /// From DPDK to plain sockets. Where no server runs, it says what this machine could do.
    #[command(after_help = "\
Examples:
  outwork tiers
  outwork tiers --json | jq '.tiers[] | select(.available) | .tier'
  outwork tiers vfs create eth0 8")]
    Tiers {
        #[command(subcommand)]
        command: Option<tiers::TiersCommand>,
    },
    /// Compares the machine with what the services want of it, changes it and puts it back
    ///
    /// Settings of the kernel, huge pages, interfaces and their interrupts, and the limits of the server that runs here: what is wanted by what is configured, and by [host].
    #[command(after_help = "\
Examples:
  outwork host
  outwork host check --json | jq '.items[] | select(.state == \"differs\") | .name'
  outwork host apply --dry-run")]
    Host {
        #[command(subcommand)]
        command: Option<host::HostCommand>,
    },
    /// Lists listeners of layer 4 and routes that pass requests on: which are for the fast path, which tier they have, and what keeps the others from it
    #[command(after_help = "\
Examples:
  outwork rules
  outwork rules --json | jq '.[] | select(.path == \"slow\") | .reasons'")]
    Rules,
    /// Shows the databases that routes query, and forgets results that are out of date
    #[command(subcommand)]
    Queries(queries::QueriesCommand),
    /// Shows what is made of files before they are served, or makes it
    #[command(subcommand)]
    Assets(assets::AssetsCommand),
    /// Shows the certificates of the running server, and the root of its local authority
    #[command(subcommand)]
    Tls(TlsCommand),
    /// Shows or changes what the running server logs
    #[command(subcommand)]
    Log(LogCommand),
    /// Checks and repairs the files of a server that is not running
    #[command(subcommand)]
    Store(store::StoreCommand),
    /// Looks after the databases of a server that runs or does not
    #[command(subcommand)]
    Db(db::DbCommand),
    /// Converts another server's configuration
    #[command(subcommand)]
    Import(ImportCommand),
    /// Makes the hash of a password, for `basic_auth.users` and password files
    ///
    /// The password is asked for, or read from standard input where that is no terminal: one line.
    #[command(after_help = "\
Examples:
  outwork hash-password
  outwork hash-password --user ann >> /etc/outwork/users
  outwork hash-password --bcrypt < password.txt")]
    HashPassword {
        /// Writes a line of a password file: the name, a colon and the hash.
        #[arg(long, value_name = "NAME")]
        user: Option<String>,
        /// Makes a bcrypt hash, which other servers read, too, instead of an Argon2 one.
        #[arg(long)]
        bcrypt: bool,
    },
    /// Measures a server under load
    #[command(subcommand)]
    Bench(bench::BenchCommand),
    /// Builds networks to practise on, on this machine, and breaks them
    #[command(subcommand)]
    Lab(lab::LabCommand),
    /// Prints completions for a shell
    #[command(after_help = "\
Examples:
  outwork completions bash > /etc/bash_completion.d/outwork
  outwork completions zsh > ~/.zfunc/_outwork
  outwork completions fish > ~/.config/fish/completions/outwork.fish")]
    Completions {
        /// The shell.
        shell: clap_complete::Shell,
    },
    /// Prints the manual page
    #[command(after_help = "\
Examples:
  outwork man | man -l -
  outwork man --dir /usr/share/man/man1     a page for each command")]
    Man {
        /// Writes a page for each command into this directory instead.
        #[arg(long, value_name = "DIR")]
        dir: Option<PathBuf>,
    },
}

impl Command {
    /// The refusal of an option that this command would take no notice of.
    pub(crate) fn misplaced(&self, matches: &ArgMatches) -> Option<clap::Error> {
        let (ignored, help): (&[&str], _) = match self {
            Self::Reload => (
                &["set"],
                "the server reads its own file, environment and flags: change the file, or start it with --set",
            ),
            Self::Config(ConfigCommand::Init { .. }) => {
                (&["config", "set"], "what to write is named by itself: `outwork config init FILE`")
            }
            Self::Schema
            | Self::Completions { .. }
            | Self::Man { .. }
            | Self::Import(_)
            | Self::HashPassword { .. }
            | Self::Lab(_)
            | Self::Bench(_) => (&["config", "set"], "this command reads no configuration"),
            _ => return None,
        };
        let mut innermost = matches;
        while let Some((_, inner)) = innermost.subcommand() {
            innermost = inner;
        }
        let given = |id: &&&str| innermost.value_source(id) == Some(ValueSource::CommandLine);
        let option = ignored.iter().find(given)?;
        let text = format!("--{option} has no effect here: {help}");
        Some(Cli::command().error(clap::error::ErrorKind::ArgumentConflict, text))
    }
}

/// `outwork subnets`.
#[derive(Debug, Subcommand)]
pub(crate) enum SubnetsCommand {
    /// The same as `outwork subnets`
    List,
}

/// `outwork config`.
#[derive(Debug, Subcommand)]
pub(crate) enum ConfigCommand {
    /// Shows every key, its value, and where that came from
    ///
    /// Of the file, the environment and --set as they are here and now: a running server may not have taken them up yet.
    #[command(after_help = "\
Examples:
  outwork config show
  outwork config show dhcp --changed
  OUTWORK__DHCP__WORKERS=4 outwork config show --json")]
    Show {
        /// Only keys below this one.
        #[arg(value_name = "KEY")]
        below: Option<String>,
        /// Only what differs from having written nothing: keys that the file, a variable or a flag set.
        #[arg(long)]
        changed: bool,
    },
    /// Writes a starter file: examples, and every key with its default, all commented out
    #[command(after_help = "\
Examples:
  outwork config init
  outwork config init /etc/outwork/outwork.toml
  outwork config init - | less")]
    Init {
        /// Where to; `-` is standard output.
        #[arg(value_name = "FILE", default_value = "outwork.toml")]
        file: PathBuf,
        /// Replaces a file that is there.
        #[arg(long)]
        force: bool,
    },
}

/// `outwork token`.
#[derive(Debug, Subcommand)]
pub(crate) enum TokenCommand {
    /// Creates a token and prints it; it is shown this once
    #[command(after_help = "\
Examples:
  outwork token create grafana --role viewer
  outwork token create ansible --role operator --expires 90d
  outwork token create first --role admin --offline      before the first start")]
    Create {
        /// Who or what will use it.
        name: String,
        /// What it may do.
        #[arg(long, default_value = "viewer")]
        role: Role,
        /// How long it is good for, such as 90d; without it, until it is revoked.
        #[arg(long, value_name = "DURATION", value_parser = duration)]
        expires: Option<Duration>,
        /// Writes to the data directory itself, for a server that is not running yet.
        #[arg(long)]
        offline: bool,
    },
    /// Lists tokens: never the secret itself
    List,
    /// Ends a token at once
    #[command(after_help = "\
Examples:
  outwork token revoke grafana
  outwork token revoke 3")]
    Revoke {
        /// Its name or id, from `outwork token list`.
        #[arg(value_name = "NAME")]
        wanted: String,
    },
}

/// What a token may do.
#[derive(Clone, Copy, Debug, ValueEnum)]
pub(crate) enum Role {
    /// Reads.
    Viewer,
    /// Changes leases, reservations and log levels, and reloads.
    Operator,
    /// Everything, tokens included.
    Admin,
}

impl Role {
    pub(crate) fn word(self) -> &'static str {
        match self {
            Role::Viewer => "viewer",
            Role::Operator => "operator",
            Role::Admin => "admin",
        }
    }
}

/// `outwork tls`.
#[derive(Debug, Subcommand)]
pub(crate) enum TlsCommand {
    /// Lists the certificates in use: for which names, from where, until when
    #[command(after_help = "\
Examples:
  outwork tls status
  outwork tls status --json | jq '.items[] | select(.expires_in_seconds < 864000) | .name'")]
    Status,
    /// Prints the root of the local authority, and says how to trust it
    ///
    /// The local authority certifies what a listener has under tls.local. The certificate goes to standard output, the advice
    /// to standard error.
    #[command(after_help = "\
Examples:
  outwork tls ca > outwork-ca.pem
  outwork tls ca > /usr/local/share/ca-certificates/outwork.crt && update-ca-certificates
  curl --cacert <(outwork tls ca) https://localhost:8443/")]
    Ca,
}

/// `outwork log`.
#[derive(Debug, Subcommand)]
pub(crate) enum LogCommand {
    /// Shows the level of each service
    Levels,
    /// Changes levels until the next start
    #[command(after_help = "\
Examples:
  outwork log set dhcp=debug
  outwork log set default=warn net=trace")]
    Set {
        /// A service and its level: off, error, warn, info, debug or trace.
        #[arg(required = true, value_name = "SERVICE=LEVEL", value_parser = level)]
        levels: Vec<(String, String)>,
    },
}

/// `outwork import`.
#[derive(Debug, Subcommand)]
pub(crate) enum ImportCommand {
    /// Converts a Kea Dhcp4 configuration, and lists by name what could not be carried over
    #[command(after_help = "\
Examples:
  outwork import kea /etc/kea/kea-dhcp4.conf > outwork.toml
  outwork import kea kea-dhcp4.conf --output outwork.toml && outwork check --config outwork.toml")]
    Kea {
        /// Kea's file: JSON, comments included.
        file: PathBuf,
        /// Where to write the Outwork file; standard output without it, and for `-`.
        #[arg(long, short, value_name = "FILE")]
        output: Option<PathBuf>,
        /// Replaces a file that is there.
        #[arg(long)]
        force: bool,
    },
}

/// A duration such as `90d`; a number alone is of seconds, as everywhere on a command line.
pub(crate) fn duration(text: &str) -> Result<Duration, String> {
    let seconds = || text.parse().ok().map(Duration::from_secs);
    parse_duration(text).or_else(seconds).ok_or_else(|| "expected a duration such as 30s, 2h or 90d".into())
}

fn level(text: &str) -> Result<(String, String), String> {
    const LEVELS: [&str; 6] = ["off", "error", "warn", "info", "debug", "trace"];
    match text.split_once('=') {
        Some((service, level)) if !service.is_empty() && LEVELS.contains(&level) => Ok((service.into(), level.into())),
        Some(_) => Err(format!("expected one of {} after the =", LEVELS.join(", "))),
        None => Err("expected SERVICE=LEVEL such as dhcp=debug".into()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_command_line_is_sound() {
        Cli::command().debug_assert();
    }

    #[test]
    fn every_command_that_takes_arguments_shows_examples() {
        fn walk(command: &clap::Command) {
            let own = |arg: &&clap::Arg| !arg.is_global_set() && !["help", "version"].contains(&arg.get_id().as_str());
            if command.get_arguments().filter(own).count() > 1 {
                assert!(command.get_after_help().is_some(), "{}", command.get_name());
            }
            command.get_subcommands().for_each(walk);
        }
        Cli::command().get_subcommands().for_each(walk);
    }

    #[test]
    fn a_duration_without_a_unit_is_of_seconds() {
        let of = |text: &str| {
            let line =
                ["outwork", "bench", "dhcp", "--target", "127.0.0.1:6767", "--duration", text, "--timeout", text];
            Cli::try_parse_from(line).ok().map(|cli| match cli.command {
                Command::Bench(bench::BenchCommand::Dhcp(args)) => (args.duration, args.timeout),
                other => unreachable!("{other:?}"),
            })
        };
        let both = |seconds| Some((Duration::from_secs(seconds), Duration::from_secs(seconds)));
        assert_eq!((of("10"), of("10s"), of("2m")), (both(10), both(10), both(120)));
        assert!(of("-3").is_none() && of("soon").is_none() && of("1.5").is_none());
    }

    #[test]
    fn a_bench_takes_a_rate_or_max() {
        let rate = |text: &str| {
            let line = ["outwork", "bench", "dhcp", "--target", "127.0.0.1:6767", "--rate", text];
            Cli::try_parse_from(line).map(|cli| match cli.command {
                Command::Bench(bench::BenchCommand::Dhcp(args)) => args.rate,
                other => unreachable!("{other:?}"),
            })
        };
        assert_eq!(rate("max").ok(), Some(bench::Rate::Max));
        assert_eq!(rate("500").ok(), Some(bench::Rate::PerSecond(500)));
        assert!(rate("0").is_err() && rate("fast").is_err());
    }
}
