//! The `outwork` binary.
//!
//! - `compose`: wires the services together: `outwork run`.
//! - `alerts`: what slows the services down, and what to do about it.
//! - `bench`: `outwork bench`.
//! - `caching`: the `[cache]` section.
//! - `certificates`: what `outwork check` says of them.
//! - `cli`: the command line and its help.
//! - `databases`: `outwork db`.
//! - `enrolment`: `outwork sdwan enrol`: a site shows its token.
//! - `environment`: variables that look like ours, and set nothing.
//! - `host`: `outwork host`: the machine beside what is wanted of it.
//! - `settings`: the whole configuration, and where its text comes from.
//! - `lab`: `outwork lab`: networks to practise on.
//! - `local`: commands that need the configuration alone.
//! - `remote`: commands that ask a running server, through `client`.
//! - `sample`: the site that is served where there is no configuration, and servers behind it.
//! - `password`: `outwork hash-password`.
//! - `redirection`: what routes say of redirections.
//! - `remarks`: what `outwork check` remarks on of the front door.
//! - `report`: what went wrong, for people and for machines.
//! - `starting`: what `outwork check` finds that a start would fail for.
//! - `storage`: `outwork store`, for a server that is not running.
//! - `table`: output for people.

mod alerts;
mod bench;
mod caching;
mod certificates;
mod cli;
mod client;
mod compose;
mod databases;
mod enrolment;
mod environment;
mod host;
mod lab;
mod local;
mod password;
mod redirection;
mod remarks;
mod remote;
mod report;
mod routes;
mod sample;
mod settings;
mod starting;
mod storage;
mod table;

use std::process::ExitCode;

use clap::{CommandFactory, FromArgMatches};

use crate::cli::bench::BenchCommand;
use crate::cli::lab::LabCommand;
use crate::cli::sdwan::SdwanCommand;
use crate::cli::{Cli, Color, Command, ConfigCommand, ImportCommand, SubnetsCommand};

#[global_allocator]
static ALLOCATOR: tikv_jemallocator::Jemalloc = tikv_jemallocator::Jemalloc;

fn main() -> ExitCode {
    // A command line that cannot be read has no options yet.
    let json = std::env::args_os().any(|arg| arg == "--json");
    let matches = Cli::command().try_get_matches().unwrap_or_else(|error| report::usage(&error, json));
    let cli = Cli::from_arg_matches(&matches).unwrap_or_else(|error| report::usage(&error, json));
    if let Some(refusal) = cli.command.misplaced(&matches) {
        report::usage(&refusal, json);
    }
    match cli.global.color {
        Color::Auto => anstream::ColorChoice::Auto,
        Color::Always => anstream::ColorChoice::Always,
        Color::Never => anstream::ColorChoice::Never,
    }
    .write_global();
    perform(&cli).unwrap_or_else(|error| report::tell(&error, cli.global.json))
}

/// Does what was asked.
fn perform(cli: &Cli) -> anyhow::Result<ExitCode> {
    let global = &cli.global;
    match &cli.command {
        Command::Check { strict } => return local::check(global, *strict),
        Command::Schema => local::schema()?,
        Command::Config(ConfigCommand::Show { below, changed }) => local::show(global, below.as_deref(), *changed)?,
        Command::Config(ConfigCommand::Init { file, force }) => local::init(global, file, *force)?,
        Command::Completions { shell } => local::completions(*shell)?,
        Command::Man { dir } => local::man(dir.as_deref())?,
        Command::Reload => remote::reload(global)?,
        Command::Upgrade => remote::upgrade(global)?,
        Command::Status => remote::status(global)?,
        Command::Stats { filter, memory } => remote::stats(global, filter.as_deref(), *memory)?,
        Command::HeapDump { output } => remote::heap_dump(global, output)?,
        Command::CpuProfile { output, seconds, hertz, pprof } => {
            remote::cpu_profile(global, output, *seconds, *hertz, *pprof)?;
        }
        Command::Threads => remote::threads(global)?,
        Command::Token(command) => remote::token(global, command)?,
        Command::Leases(command) => remote::leases(global, command)?,
        Command::Reservations(command) => remote::reservations(global, command)?,
        Command::Subnets { command: None | Some(SubnetsCommand::List) } => remote::subnets(global)?,
        Command::Cache(command) => remote::cache(global, command)?,
        Command::Backends(command) => remote::backends(global, command)?,
        Command::Tiers { command } => remote::tiers(global, command.as_ref())?,
        Command::Host { command } => return host::host(global, command.as_ref()),
        Command::Listeners => remote::listeners(global)?,
        Command::Tunnels => remote::tunnels(global)?,
        Command::Paths { command } => remote::paths(global, command.as_ref())?,
        Command::Qos { command } => return remote::qos(global, command.as_ref()),
        Command::Sdwan(SdwanCommand::Enrol { shown, controller }) => enrolment::enrol(global, shown, controller)?,
        Command::Sdwan(command) => remote::sdwan(global, command)?,
        Command::Rules => remote::rules(global)?,
        Command::Queries(command) => remote::queries(global, command)?,
        Command::Assets(command) => remote::assets(global, command)?,
        Command::Tls(command) => remote::tls(global, command)?,
        Command::Log(command) => remote::log(global, command)?,
        Command::Store(command) => return storage::store(global, command),
        Command::Db(command) => return databases::databases(global, command),
        Command::Run => compose::run(global)?,
        Command::Import(ImportCommand::Kea { file, output, force }) => {
            local::import_kea(global, file, output.as_deref(), *force)?;
        }
        Command::HashPassword { user, bcrypt } => password::hash(global, user.as_deref(), *bcrypt)?,
        Command::Bench(BenchCommand::Dhcp(args)) => return bench::dhcp(global, args),
        Command::Bench(BenchCommand::Proxy(args)) => return bench::proxy(global, args),
        Command::Bench(BenchCommand::Web(args)) => return bench::web(global, args),
        Command::Lab(LabCommand::Sdwan(args)) => lab::sdwan(global, args)?,
        Command::Bench(BenchCommand::Sdwan(command)) => return bench::sdwan(global, command),
    }
    Ok(ExitCode::SUCCESS)
}
