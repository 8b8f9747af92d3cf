//! The `outwork` binary.
//!
//! - `compose`: wires the services together: `outwork run`.
//! - `alerts`: what slows the services down, and what to do about it.
//! - `bench`: `outwork bench`.
//! - `cli`: the command line and its help.
//! - `settings`: the whole configuration, and where its text comes from.
//! - `local`: commands that need the configuration alone.
//! - `remote`: commands that ask a running server, through `client`.
//! - `storage`: `outwork store`, for a server that is not running.
//! - `table`: output for people.

mod alerts;
mod bench;
mod cli;
mod client;
mod compose;
mod local;
mod remote;
mod routes;
mod settings;
mod storage;
mod table;

use std::io::{self, Write};
use std::process::ExitCode;

use anstyle::{AnsiColor, Style};
use clap::Parser;
use outwork_config::Faults;

use crate::cli::bench::BenchCommand;
use crate::cli::{Cli, Color, Command, ConfigCommand, ImportCommand};

#[global_allocator]
static ALLOCATOR: tikv_jemallocator::Jemalloc = tikv_jemallocator::Jemalloc;

fn main() -> ExitCode {
    let cli = Cli::parse();
    match cli.global.color {
        Color::Auto => anstream::ColorChoice::Auto,
        Color::Always => anstream::ColorChoice::Always,
        Color::Never => anstream::ColorChoice::Never,
    }
    .write_global();
    perform(&cli).unwrap_or_else(|error| report(&error))
}

/// Does what was asked.
fn perform(cli: &Cli) -> anyhow::Result<ExitCode> {
    let global = &cli.global;
    match &cli.command {
        Command::Check => return local::check(global),
        Command::Schema => local::schema()?,
        Command::Config(ConfigCommand::Show { below, changed }) => local::show(global, below.as_deref(), *changed)?,
        Command::Config(ConfigCommand::Init { file, force }) => local::init(file, *force)?,
        Command::Completions { shell } => local::completions(*shell)?,
        Command::Man { dir } => local::man(dir.as_deref())?,
        Command::Reload => remote::reload(global)?,
        Command::Status => remote::status(global)?,
        Command::Stats { filter, memory } => remote::stats(global, filter.as_deref(), *memory)?,
        Command::Token(command) => remote::token(global, command)?,
        Command::Leases(command) => remote::leases(global, command)?,
        Command::Reservations(command) => remote::reservations(global, command)?,
        Command::Subnets => remote::subnets(global)?,
        Command::Log(command) => remote::log(global, command)?,
        Command::Store(command) => return storage::store(global, command),
        Command::Run => compose::run(global)?,
        Command::Import(ImportCommand::Kea { file, output }) => local::import_kea(global, file, output.as_deref())?,
        Command::Bench(BenchCommand::Dhcp(args)) => return bench::dhcp(global, args),
    }
    Ok(ExitCode::SUCCESS)
}

/// Says what went wrong. A reader that has gone away, as `head` does, is no error.
fn report(error: &anyhow::Error) -> ExitCode {
    let broken_pipe = |cause: &(dyn std::error::Error + 'static)| {
        cause.downcast_ref::<io::Error>().is_some_and(|error| error.kind() == io::ErrorKind::BrokenPipe)
    };
    if error.chain().any(broken_pipe) {
        return ExitCode::SUCCESS;
    }
    let mut out = anstream::stderr();
    let red = Style::new().bold().fg_color(Some(AnsiColor::Red.into()));
    // Where even standard error is gone, the exit code is what is left to say.
    let _ = match error.downcast_ref::<Faults>() {
        Some(faults) => write!(out, "{}", faults.render(true)),
        None => writeln!(out, "{red}error{red:#}: {error:#}"),
    };
    ExitCode::FAILURE
}
