//! `outwork store`: the leases' log of a server that is not running.

use std::io::Write;
use std::path::Path;
use std::process::ExitCode;

use anyhow::Context;
use outwork_store::log::{self, CheckReport, Damage, RepairReport};
use serde_json::{Value as Json, json};

use crate::cli::Global;
use crate::cli::store::StoreCommand;
use crate::compose::LEASES;
use crate::local::print_json;
use crate::settings;
use crate::table::Table;

/// `outwork store`. Fails while the log is damaged.
pub(crate) fn store(global: &Global, command: &StoreCommand) -> anyhow::Result<ExitCode> {
    let dir = settings::load(global)?.value.store.log(LEASES).dir;
    if !dir.exists() {
        anyhow::bail!(
            "there is no data in {} yet\n  = help: `outwork run` makes it; --config names the configuration of another place",
            dir.display()
        );
    }
    let found = log::check(&dir).with_context(|| format!("the leases' log in {}", dir.display()))?;
    let repair = matches!(command, StoreCommand::Repair { yes: true }) && !found.damage.is_empty();
    let done = repair.then(|| log::repair(&dir)).transpose()?;
    if global.json {
        print_json(&as_json(&dir, &found, done.as_ref()))?;
    } else {
        tell(&dir, &found)?;
        match (&done, command) {
            (Some(done), _) => tell_repair(&dir, done)?,
            (None, _) if found.damage.is_empty() => {}
            (None, StoreCommand::Repair { .. }) => {
                writeln!(
                    anstream::stderr(),
                    "nothing was changed; --yes keeps what can be read, and gives up the rest"
                )?;
            }
            (None, StoreCommand::Check) => {
                writeln!(anstream::stderr(), "restore a backup, or keep what can be read: `outwork store repair`")?;
            }
        }
    }
    Ok(if found.damage.is_empty() || done.is_some() { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

/// What was found, for people.
fn tell(dir: &Path, found: &CheckReport) -> anyhow::Result<()> {
    let mut out = anstream::stdout();
    if !found.damage.is_empty() {
        let mut table = Table::new(&["DAMAGED FILE", ">AT BYTE", ">BYTES", "LOST"]);
        for damage in &found.damage {
            table.row([name(damage), damage.offset.to_string(), damage.bytes.to_string(), lost(damage)]);
        }
        table.write(&mut out, "")?;
        writeln!(out)?;
    }
    let state = if found.damage.is_empty() { "no damage" } else { "damaged" };
    let (snapshot, log) = (found.snapshot_records, found.log_records);
    writeln!(out, "{}: {state}", dir.display())?;
    writeln!(out, "{} can be read: {snapshot} of the snapshot, {log} behind it", records(snapshot + log))?;
    if found.lost > 0 || found.lost_more {
        writeln!(out, "{} cannot", count_of_lost(found.lost, found.lost_more))?;
    }
    if found.given_up > 0 {
        let were = if found.given_up == 1 { "was" } else { "were" };
        writeln!(out, "{} {were} given up by an earlier repair", records(found.given_up))?;
    }
    for (path, offset) in &found.copies {
        writeln!(
            out,
            "{}: of the two copies of its head, the one at byte {offset} is damaged; nothing is lost, and the next snapshot replaces the file",
            path.display()
        )?;
    }
    if let Some(torn) = &found.torn {
        let (path, offset, bytes) = (torn.path.display(), torn.offset, torn.bytes);
        writeln!(
            out,
            "{path} ends with {bytes} bytes, from byte {offset}, of a write that was never acknowledged; the next start cuts them off"
        )?;
    }
    if found.dropped > 0 {
        let dropped = records(found.dropped);
        let (lie, them) = if found.dropped == 1 { ("lies", "it") } else { ("lie", "them") };
        writeln!(
            out,
            "{dropped} {lie} behind a hole that a power loss left, never acknowledged; the next start drops {them}"
        )?;
    }
    Ok(())
}

fn tell_repair(dir: &Path, done: &RepairReport) -> anyhow::Result<()> {
    let mut out = anstream::stdout();
    let lost = count_of_lost(done.lost, done.lost_more);
    writeln!(out, "repaired: kept {}, gave up {lost}", records(done.snapshot_records + done.log_records))?;
    if let Some(aside) = &done.set_aside {
        writeln!(out, "the files as they were are in {}; nothing reads them any more", aside.display())?;
    }
    writeln!(out, "{} can be used again: `outwork run`", dir.display())?;
    Ok(())
}

fn name(damage: &Damage) -> String {
    damage.path.file_name().map_or_else(String::new, |name| name.to_string_lossy().into_owned())
}

fn lost(damage: &Damage) -> String {
    let of = if damage.snapshot { " of the snapshot" } else { "" };
    match damage.lost {
        Some((first, last)) if first == last => format!("record {first}{of}"),
        Some((first, last)) => format!("records {first} to {last}{of}"),
        None => format!("unknown{of}"),
    }
}

fn records(count: u64) -> String {
    if count == 1 { "1 record".into() } else { format!("{count} records") }
}

fn count_of_lost(lost: u64, more: bool) -> String {
    match (lost, more) {
        (0, true) => "an unknown number of records".into(),
        (lost, true) => format!("{}, perhaps more,", records(lost)),
        (lost, false) => records(lost),
    }
}

/// What was found and done, for machines.
fn as_json(dir: &Path, found: &CheckReport, done: Option<&RepairReport>) -> Json {
    let damage = |damage: &Damage| {
        let lost = damage.lost.map(|(first, last)| json!({"first": first.0, "last": last.0}));
        json!({"file": damage.path, "offset": damage.offset, "bytes": damage.bytes, "snapshot": damage.snapshot, "lost": lost})
    };
    let torn = found.torn.as_ref().map(|torn| json!({"file": torn.path, "offset": torn.offset, "bytes": torn.bytes}));
    json!({
        "directory": dir,
        "damage": found.damage.iter().map(damage).collect::<Vec<_>>(),
        "snapshot_records": found.snapshot_records,
        "log_records": found.log_records,
        "lost": found.lost,
        "lost_more": found.lost_more,
        "given_up": found.given_up,
        "damaged_copies": found.copies.iter().map(|(file, offset)| json!({"file": file, "offset": offset})).collect::<Vec<_>>(),
        "torn": torn,
        "dropped": found.dropped,
        "repaired": done.is_some(),
        "set_aside": done.and_then(|done| done.set_aside.as_ref()),
    })
}
