//! `outwork qos`.

use std::io::Write;
use std::process::ExitCode;

use anyhow::Context;
use outwork_sdwan::qos::{FAILED, roll_back as take_back};
use outwork_store::lock::{DirLock, LockError};
use serde_json::{Value as Json, json};
use ureq::http::Method;

use super::{items, rows};
use crate::cli::Global;
use crate::cli::qos::QosCommand;
use crate::client::Client;
use crate::compose::sdwan::keys;
use crate::local::print_json;
use crate::settings;
use crate::table::{bytes, cell, printable};

/// `outwork qos`.
pub(crate) fn qos(global: &Global, command: Option<&QosCommand>) -> anyhow::Result<ExitCode> {
    match command {
        None | Some(QosCommand::Show) => show(global, &Client::new(global)?.get("/sdwan/qos")?)?,
        Some(QosCommand::Apply) => {
            show(global, &Client::new(global)?.change(Method::POST, "/sdwan/qos/apply", None)?)?;
        }
        Some(QosCommand::Rollback) => return roll_back(global),
    }
    Ok(ExitCode::SUCCESS)
}

/// Bits a second, for people.
fn rate(bits: &Json) -> String {
    let bits = bits.as_f64().unwrap_or_default();
    let units = [(1e9, "Gbit/s"), (1e6, "Mbit/s"), (1e3, "kbit/s")];
    let (unit, name) = units.into_iter().find(|(unit, _)| bits >= *unit).unwrap_or((1.0, "bit/s"));
    let number = format!("{:.2}", bits / unit);
    format!("{} {name}", number.trim_end_matches('0').trim_end_matches('.'))
}

fn show(global: &Global, answer: &Json) -> anyhow::Result<()> {
    if global.json {
        return print_json(answer);
    }
    let mut out = anstream::stdout();
    if items(&answer["uplinks"]).is_empty() {
        writeln!(
            out,
            "no uplink is shaped: [sdwan.qos] enabled = true, and a bandwidth for uplinks, have them shaped"
        )?;
    }
    for (place, uplink) in items(&answer["uplinks"]).iter().enumerate() {
        let own = |name: &str| printable(&cell(&uplink[name]));
        let gap = if place > 0 { "\n" } else { "" };
        let queue = uplink["queue"].as_str().map(|queue| format!(", queues {}", printable(queue))).unwrap_or_default();
        let at = rate(&uplink["rate"]);
        writeln!(out, "{gap}{} at {}: {}, {at}{queue}", own("uplink"), own("interface"), own("state"))?;
        let columns =
            ["CLASS", ">ALWAYS", ">AT MOST", ">PRIORITY", ">SENT", ">PACKETS", ">DROPPED", ">WAITING", "DSCP"];
        let empty = "there is no tree of ours: `outwork qos apply` puts it back";
        rows(&mut out, &columns, &uplink["classes"], empty, |class| {
            let own = |name: &str| cell(&class[name]);
            let amount = |name: &str| bytes(class[name].as_f64().unwrap_or_default());
            let dscp: Vec<String> = items(&class["dscp"]).iter().map(cell).collect();
            vec![
                own("class"),
                rate(&class["rate"]),
                rate(&class["ceiling"]),
                own("priority"),
                amount("bytes"),
                own("packets"),
                own("drops"),
                amount("backlog_bytes"),
                dscp.join(" "),
            ]
        })?;
    }
    Ok(())
}

/// Asks the server, or where none runs does it.
fn roll_back(global: &Global) -> anyhow::Result<ExitCode> {
    let told = match global.url {
        Some(_) => None,
        None => by_ourselves(global)?,
    };
    let told = match told {
        Some(told) => told,
        None => Client::new(global)?.change(Method::POST, "/sdwan/qos/rollback", None)?["items"].clone(),
    };
    let failed = items(&told).iter().filter(|one| one["outcome"] == FAILED).count();
    if global.json {
        print_json(&json!({ "items": told, "failed": failed }))?;
    } else {
        let mut out = anstream::stdout();
        rows(&mut out, &["INTERFACE", "OUTCOME", "DETAIL"], &told, "there is nothing to take back", |one| {
            ["interface", "outcome", "detail"].map(|name| cell(&one[name])).to_vec()
        })?;
    }
    Ok(if failed > 0 { ExitCode::FAILURE } else { ExitCode::SUCCESS })
}

/// Takes back what a server that is gone has left; none where one runs here.
fn by_ourselves(global: &Global) -> anyhow::Result<Option<Json>> {
    let data_dir = settings::load(global)?.value.store.data_dir;
    if !data_dir.exists() {
        return Ok(Some(json!([])));
    }
    // It stays until all is done: no server starts meanwhile.
    let _lock = match DirLock::take(&data_dir) {
        Err(LockError::Held { .. }) => return Ok(None),
        taken => taken.context("store.data_dir")?,
    };
    let undone = take_back(&keys(&data_dir))?;
    Ok(Some(serde_json::to_value(undone)?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rates_are_shown_in_the_unit_that_suits_them() {
        let shown = |bits: u64| rate(&json!(bits));
        assert_eq!(
            [shown(1_000_000), shown(95_500_000), shown(10_000_000_000)],
            ["1 Mbit/s", "95.5 Mbit/s", "10 Gbit/s"]
        );
        assert_eq!([shown(64_000), shown(100), shown(0)], ["64 kbit/s", "100 bit/s", "0 bit/s"]);
    }
}
