//! `outwork tiers` and `outwork rules`.

use std::io::Write;

use outwork_proxy::acceleration::api::AccelerationView;
use serde_json::{Value as Json, json};
use ureq::http::Method;

use super::{items, rows};
use crate::cli::Global;
use crate::cli::tiers::{FunctionsCommand, TiersCommand};
use crate::client::{Client, ClientError, escaped};
use crate::local::print_json;
use crate::report;
use crate::table::{cell, printable};

/// `outwork tiers`.
pub(crate) fn tiers(global: &Global, command: Option<&TiersCommand>) -> anyhow::Result<()> {
    let client = Client::new(global)?;
    match command {
        None | Some(TiersCommand::List) => list(global, &client),
        Some(TiersCommand::Vfs(FunctionsCommand::List)) => functions(global, &client),
        Some(TiersCommand::Vfs(FunctionsCommand::Create { device, count })) => {
            let noun = if *count == 1 { "virtual function" } else { "virtual functions" };
            set(global, &client, device, *count, &format!("{device} has {count} {noun}"))
        }
        Some(TiersCommand::Vfs(FunctionsCommand::Remove { device })) => {
            set(global, &client, device, 0, &format!("{device} has no virtual functions"))
        }
    }
}

fn where_to_look(error: ClientError) -> ClientError {
    match error {
        ClientError::Refused(problem) => {
            let help = "`outwork tiers vfs list` shows cards; the server has no proxy while it listens for nobody (front.listener, proxy.listener)";
            ClientError::Refused(Box::new(problem.where_to_look(help)))
        }
        error => error,
    }
}

/// What the server says; where none runs, what can be said without one.
fn list(global: &Global, client: &Client) -> anyhow::Result<()> {
    let answer = match client.get("/proxy/acceleration") {
        Err(error) if global.url.is_none() && error.is_refused() => {
            report::warn("no server runs here: nothing is in use; this is what the machine could do")?;
            serde_json::to_value(AccelerationView::of_this_machine())?
        }
        answer => answer.map_err(where_to_look)?,
    };
    if global.json {
        return print_json(&answer);
    }
    let mut out = anstream::stdout();
    writeln!(out, "kernel {}", printable(&cell(&answer["kernel"])))?;
    if let Some(problem) = answer["problem"].as_str() {
        writeln!(out, "{}", printable(problem))?;
    }
    writeln!(out)?;
    rows(&mut out, &["TIER", "STATE", "INTERFACES", "REMARK"], &answer["tiers"], "no tiers", |tier| {
        let state = match (tier["in_use"].as_bool(), tier["available"].as_bool()) {
            (Some(true), _) => "in use",
            (_, Some(true)) => "available",
            _ => "unavailable",
        };
        let remark = ["why_not", "remark"].iter().find_map(|key| tier[*key].as_str()).unwrap_or_default();
        vec![cell(&tier["tier"]), state.to_owned(), words(&tier["interfaces"]), remark.to_owned()]
    })?;
    writeln!(out)?;
    let columns = ["INTERFACE", "DRIVER", ">MTU", "QUEUES", "XDP", "VFS", "TIER"];
    rows(&mut out, &columns, &answer["interfaces"], "no interfaces", |one| {
        let modes = items(&one["xdp"]).iter().filter(|mode| mode["works"] != false);
        let modes: Vec<String> =
            modes.map(|mode| cell(&mode["mode"]) + if mode["works"].is_null() { "?" } else { "" }).collect();
        let functions = match &one["vfs_total"] {
            Json::Null => "-".to_owned(),
            total => format!("{} of {}", cell(&one["vfs"]), cell(total)),
        };
        vec![
            cell(&one["name"]),
            cell(&one["driver"]),
            cell(&one["mtu"]),
            format!("{} in, {} out", cell(&one["receive_queues"]), cell(&one["transmit_queues"])),
            modes.join(" "),
            functions,
            cell(&one["tier"]),
        ]
    })?;
    for one in items(&answer["interfaces"]) {
        // What stands in the way at an interface that nobody forwards by is nothing to do anything about.
        let concerns = if one["tier"].is_null() { &[] } else { items(&one["concerns"]) };
        let name = printable(&cell(&one["name"]));
        if let Some(why) = one["copied_because"].as_str() {
            writeln!(out, "{name}: frames are copied, for {}", printable(why))?;
        }
        for told in items(&one["tried"]).iter().chain(concerns) {
            writeln!(out, "{name}: {}", printable(&cell(told)))?;
        }
    }
    Ok(())
}

/// A list of words in a cell.
fn words(list: &Json) -> String {
    let words: Vec<String> = items(list).iter().map(cell).collect();
    if words.is_empty() { "-".to_owned() } else { words.join(", ") }
}

fn functions(global: &Global, client: &Client) -> anyhow::Result<()> {
    let answer = client.get("/proxy/acceleration/vfs").map_err(where_to_look)?;
    if global.json {
        return print_json(&answer);
    }
    let mut out = anstream::stdout();
    for card in items(&answer) {
        let made = items(&card["vfs"]).len();
        writeln!(out, "{}: {made} of {}", printable(&cell(&card["device"])), cell(&card["total"]))?;
        rows(&mut out, &[">NUMBER", "BUS", "DRIVER", "INTERFACE"], &card["vfs"], "none", |one| {
            ["number", "bus", "driver", "interface"].iter().map(|key| cell(&one[*key])).collect()
        })?;
    }
    if items(&answer).is_empty() {
        writeln!(out, "no card here can have virtual functions: `outwork tiers` says what that takes")?;
    }
    Ok(())
}

fn set(global: &Global, client: &Client, device: &str, count: u32, words: &str) -> anyhow::Result<()> {
    let path = format!("/proxy/acceleration/vfs/{}", escaped(device));
    let answer = client.change(Method::PUT, &path, Some(&json!({ "count": count }))).map_err(where_to_look)?;
    super::done(global, &answer, words)
}

/// `outwork rules`.
pub(crate) fn rules(global: &Global) -> anyhow::Result<()> {
    let answer = Client::new(global)?.get("/proxy/rules/classification").map_err(where_to_look)?;
    if global.json {
        return print_json(&answer);
    }
    let mut out = anstream::stdout();
    rows(&mut out, &["RULE", "KIND", "PROTOCOL", "POOL", "PATH", "TIER", "REASONS"], &answer, "no rules", |rule| {
        let reasons: Vec<String> = items(&rule["reasons"]).iter().map(|reason| cell(&reason["detail"])).collect();
        let own = ["rule", "kind", "protocol"].iter().map(|key| cell(&rule[*key]));
        let more = [words(&rule["pools"]), cell(&rule["path"]), cell(&rule["tier"]), reasons.join("; ")];
        own.chain(more).collect()
    })?;
    Ok(())
}
