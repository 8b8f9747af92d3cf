//! `outwork db`: the databases of a server, whether it is running or not.

use std::io::Write;
use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::ensure;
use outwork_store::database::maintenance::{Maintained, maintain};
use serde_json::{Value as Json, json};

use crate::cli::Global;
use crate::cli::db::DbCommand;
use crate::compose::sdwan::controlled;
use crate::local::print_json;
use crate::settings::{self, Settings};
use crate::table::{Table, bytes, printable};

/// The databases that there are, each with how long a lock of it is waited for.
fn files(settings: &Settings) -> Vec<(PathBuf, std::time::Duration)> {
    let store = settings.store.database();
    let controller = settings.controller.database(&controlled(&settings.store.data_dir));
    let all = [(store.path, store.busy_timeout), (controller.path, controller.busy_timeout)];
    all.into_iter().filter(|(path, _)| path.exists()).collect()
}

/// `outwork db`. Fails where one is damaged.
pub(crate) fn databases(global: &Global, command: &DbCommand) -> anyhow::Result<ExitCode> {
    let DbCommand::Maintain { check } = command;
    let settings = settings::load(global)?.value;
    let files = files(&settings);
    let dir = settings.store.data_dir.display();
    ensure!(
        !files.is_empty(),
        "there is no database in {dir} yet\n  = help: `outwork run` makes it; --config names the configuration of another place"
    );
    let mut done = vec![];
    for (path, patience) in files {
        let maintained = maintain(&path, patience, !check)?;
        done.push((path, maintained));
    }
    if global.json {
        print_json(&Json::from(done.iter().map(|(path, one)| as_json(path, one)).collect::<Vec<_>>()))?;
    } else {
        tell(&done)?;
    }
    let is_sound = done.iter().all(|(_, one)| one.faults.is_empty());
    Ok(if is_sound { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

fn as_json(path: &std::path::Path, one: &Maintained) -> Json {
    let Maintained { faults, before, after, free } = one;
    json!({ "file": path, "faults": faults, "bytes_before": before, "bytes": after, "free_bytes": free })
}

fn tell(done: &[(PathBuf, Maintained)]) -> anyhow::Result<()> {
    let mut out = anstream::stdout();
    let mut table = Table::new(&["DATABASE", "STATE", ">BEFORE", ">NOW", ">FREE IN IT"]);
    for (path, one) in done {
        let state = if one.faults.is_empty() { "sound" } else { "damaged" };
        let amount = |number: u64| bytes(number as f64);
        table.row([
            path.display().to_string(),
            state.to_owned(),
            amount(one.before),
            amount(one.after),
            amount(one.free),
        ]);
    }
    table.write(&mut out, "no databases")?;
    for (path, one) in done {
        for fault in &one.faults {
            writeln!(out, "{}: {}", path.display(), printable(fault))?;
        }
        if !one.faults.is_empty() {
            writeln!(
                anstream::stderr(),
                "restore {} from a backup, or recover it with `sqlite3 FILE .recover` while no server runs",
                path.display()
            )?;
        }
    }
    Ok(())
}
