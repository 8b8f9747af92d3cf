//! `outwork host`: the machine beside what the configuration wants of it.

mod demand;

use std::io::{self, Write};
use std::process::ExitCode;

use anyhow::Context;
use outwork_host::apply::{self, Done};
use outwork_host::before::Before;
use outwork_host::demand::Wanting;
use outwork_host::machine::Machine;
use outwork_host::report::Report;
use outwork_host::{drop_in, limits};
use outwork_store::lock;
use serde_json::{Map, json};

use crate::cli::Global;
use crate::cli::host::HostCommand;
use crate::compose::prepare_data_dir;
use crate::local::print_json;
use crate::settings::{self, Settings};
use crate::table::{Table, printable};

/// `outwork host`.
pub(crate) fn host(global: &Global, command: Option<&HostCommand>) -> anyhow::Result<ExitCode> {
    let settings = settings::load(global)?.value;
    let machine = Machine::here();
    match command {
        None => check(global, &settings, &machine, false),
        Some(HostCommand::Check { strict }) => check(global, &settings, &machine, *strict),
        Some(HostCommand::Apply { dry_run: true }) => {
            tell(global, &apply::rehearse(&machine, &wanting(&settings, &machine)), "everything is as wanted", "")
        }
        Some(HostCommand::Apply { dry_run: false }) => {
            let done = change(&settings, &machine)?;
            tell(global, &done, "everything is as wanted", "`outwork host rollback` puts it back")
        }
        Some(HostCommand::Rollback { dry_run: true, force }) => {
            let before = Before::read(&settings.store.data_dir)?;
            tell(global, &apply::rehearse_back(&machine, &before, *force), "there is nothing to put back", "")
        }
        Some(HostCommand::Rollback { dry_run: false, force }) => {
            let mut before = Before::read(&settings.store.data_dir)?;
            let done = apply::roll_back(&machine, &mut before, *force)?;
            tell(global, &done, "there is nothing to put back", "")
        }
        Some(HostCommand::Sysctl) => {
            let lines = drop_in::lines(&machine, &wanting(&settings, &machine));
            if global.json {
                let values: Map<_, _> = lines.into_iter().map(|line| (line.name, json!(line.value))).collect();
                print_json(&values.into())?;
            } else {
                write!(anstream::stdout(), "{}", drop_in::text(&lines))?;
            }
            Ok(ExitCode::SUCCESS)
        }
    }
}

fn wanting(settings: &Settings, machine: &Machine) -> Wanting {
    Wanting::new(&demand::of(settings), &settings.host, machine)
}

/// This machine, and this process on it.
pub(crate) fn report(settings: &Settings) -> Report {
    let machine = Machine::here();
    Report::look(&machine, &wanting(settings, &machine), Some("self"))
}

/// Settings that ask for more than this machine gives.
pub(crate) fn short(settings: &Settings) -> Vec<String> {
    let mut short: Vec<String> = report(settings).items.into_iter().flat_map(|row| row.settings).collect();
    short.sort();
    short.dedup();
    short
}

fn check(global: &Global, settings: &Settings, machine: &Machine, strict: bool) -> anyhow::Result<ExitCode> {
    // Limits are those of the server: what this command has says nothing of it.
    let server = limits::server(machine, &settings.store.data_dir.join(lock::FILE)).map(|number| number.to_string());
    let report = Report::look(machine, &wanting(settings, machine), server.as_deref());
    let failed = strict && report.differs > 0;
    if global.json {
        print_json(&serde_json::to_value(&report)?)?;
    } else {
        show(&report)?;
    }
    Ok(if failed { ExitCode::FAILURE } else { ExitCode::SUCCESS })
}

fn show(report: &Report) -> anyhow::Result<()> {
    let mut out = anstream::stdout();
    let mut table = Table::new(&["WHAT", "NOW", "WANTED", "STATE", "FOR", "WHY"]);
    for row in &report.items {
        let now = row.now.clone().unwrap_or_else(|| "-".to_owned());
        let services = if row.services.is_empty() { "-".to_owned() } else { row.services.join(", ") };
        let state = row.state.word().to_owned();
        table.row([row.name.clone(), now, row.wanted.clone(), state, services, row.why.clone()]);
    }
    table.write(&mut out, "nothing is wanted of this machine: no service is configured, and [host] names nothing")?;
    // Why something is not there, `--json` says.
    let there = report.items.iter().filter(|row| row.now.is_some());
    remarks(
        &mut out,
        there.flat_map(|row| {
            let short = row.settings.iter().map(|setting| format!("{setting} asks for more than there is"));
            short.chain(row.remark.clone()).map(|told| (row.name.as_str(), told))
        }),
    )?;
    let Report { good, differs, absent, .. } = report;
    writeln!(out, "{good} as wanted, {differs} not, {absent} not to be had here")?;
    if *differs > 0 {
        writeln!(out, "`outwork host apply --dry-run` says what would be changed")?;
    }
    Ok(())
}

/// Makes the machine as wanted.
fn change(settings: &Settings, machine: &Machine) -> anyhow::Result<Vec<Done>> {
    prepare_data_dir(settings)?;
    let mut before = Before::read(&settings.store.data_dir)?;
    let mut all = Vec::new();
    // Other queues are other things to set.
    for _ in 0..2 {
        let wanting = wanting(settings, machine);
        let done =
            apply::apply(machine, &wanting, &mut before).context("nobody would know what the machine was before")?;
        let has_queues = done.iter().any(|one| one.is_change() && one.name.ends_with(" queues"));
        all.extend(done);
        if !has_queues {
            break;
        }
    }
    Ok(all)
}

/// Tells what became of things; fails where something is not as it was to be, though it could be.
fn tell(global: &Global, done: &[Done], nothing: &str, then: &str) -> anyhow::Result<ExitCode> {
    let changed = done.iter().filter(|one| one.is_change()).count();
    let failed = done.iter().filter(|one| one.outcome.is_failure()).count();
    let exit = if failed > 0 { ExitCode::FAILURE } else { ExitCode::SUCCESS };
    if global.json {
        print_json(&json!({"items": done, "changed": changed, "failed": failed}))?;
        return Ok(exit);
    }
    let mut out = anstream::stdout();
    let mut table = Table::new(&["WHAT", "FROM", "TO", "OUTCOME"]);
    for one in done {
        let from = one.from.clone().unwrap_or_else(|| "-".to_owned());
        table.row([one.name.clone(), from, one.to.clone(), one.outcome.word().to_owned()]);
    }
    table.write(&mut out, nothing)?;
    remarks(&mut out, done.iter().filter_map(|one| Some((one.name.as_str(), one.remark.clone()?))))?;
    if changed > 0 {
        let then = if then.is_empty() { String::new() } else { format!("; {then}") };
        writeln!(out, "{changed} changed{then}")?;
    }
    Ok(exit)
}

/// Writes what is to be known of things; what holds of many of them, once.
fn remarks<'a>(out: &mut impl Write, told: impl Iterator<Item = (&'a str, String)>) -> io::Result<()> {
    let mut all: Vec<(String, Vec<&str>)> = Vec::new();
    for (name, remark) in told {
        match all.iter_mut().find(|(known, _)| *known == remark) {
            Some((_, names)) => names.push(name),
            None => all.push((remark, vec![name])),
        }
    }
    all.iter().try_for_each(|(remark, names)| writeln!(out, "{}: {}", printable(&names.join(", ")), printable(remark)))
}
