//! Commands that ask a running server.

mod assets;
mod backends;
mod cache;
mod leases;
mod listeners;
mod profile;
mod qos;
mod queries;
mod reported;
mod reservations;
mod sdwan;
mod tiers;
mod tls;
mod tunnels;

use std::fs::File;
use std::io::{self, Write};
use std::path::Path;
use std::time::{Duration, Instant};

use anyhow::Context;
use serde_json::{Value as Json, json};
use ureq::http::Method;

use crate::cli::{Global, LogCommand, TokenCommand};
use crate::client::{Client, ClientError, escaped};
use crate::local::print_json;
use crate::report;
use crate::settings::PRACTICE_NAME;
use crate::table::{Table, bytes, cell, printable, span, time, write_pairs};

pub(crate) use assets::assets;
pub(crate) use backends::backends;
pub(crate) use cache::cache;
pub(crate) use leases::{leases, subnets};
pub(crate) use listeners::listeners;
pub(crate) use profile::{cpu_profile, heap_dump, threads};
pub(crate) use qos::qos;
pub(crate) use queries::queries;
pub(crate) use reservations::reservations;
pub(crate) use sdwan::sdwan;
pub(crate) use tiers::{rules, tiers};
pub(crate) use tls::tls;
pub(crate) use tunnels::{paths, tunnels};

/// What is said where a reload is refused.
const GOES_ON: &str = "nothing has changed, and what ran before goes on; mend it and reload again";

/// How long a successor may take to be ready, and to serve.
const READY: Duration = Duration::from_secs(60);
const SERVING: Duration = Duration::from_secs(600);
/// How long nobody may listen there, with the successor gone, until it is clear that nobody will.
const GONE: Duration = Duration::from_secs(3);
/// Between two looks at whether it does.
const PAUSE: Duration = Duration::from_millis(100);

/// `outwork reload`.
pub(crate) fn reload(global: &Global) -> anyhow::Result<()> {
    let answer = Client::to_take_up(global, Duration::ZERO)?.change(Method::POST, "/reload", None);
    let answer = answer.map_err(|error| match error {
        ClientError::Refused(problem) => ClientError::Refused(Box::new(problem.what_holds(GOES_ON))),
        error => error,
    })?;
    if global.json {
        return print_json(&answer);
    }
    for warning in items(&answer["warnings"]) {
        let (key, found) = (cell(&warning["key"]), cell(&warning["found"]));
        let line = if key.is_empty() { found } else { format!("{key}: {found}") };
        let help = warning["help"].as_str().map(|help| format!("; {help}")).unwrap_or_default();
        report::warn(&format!("{line}{help}"))?;
    }
    let mut out = anstream::stdout();
    let changed = items(&answer["changed"]);
    if changed.is_empty() {
        writeln!(out, "reloaded; nothing has changed")?;
    } else {
        writeln!(out, "reloaded; changed:")?;
        changed.iter().try_for_each(|key| writeln!(out, "  {}", printable(&cell(key))))?;
    }
    Ok(())
}

/// `outwork upgrade`.
pub(crate) fn upgrade(global: &Global) -> anyhow::Result<()> {
    let client = Client::to_take_up(global, Duration::ZERO)?;
    let before = client.get("/status")?;
    // A server without a proxy says nothing of it.
    let told = client.get("/proxy/acceleration").unwrap_or_default();
    if let Some(flows) = told["ending_flows"].as_u64().filter(|flows| *flows > 0) {
        let why = printable(&cell(&told["ending_because"]));
        report::warn(&format!("{flows} flows that the kernel passes on are cut by this upgrade: {why}"))?;
    }
    // The successor reads the configuration and binds what it needs first.
    let answer = Client::to_take_up(global, READY)?.change(Method::POST, "/upgrade", None)?;
    let process = cell(&answer["process"]);
    if !global.json {
        writeln!(anstream::stderr(), "process {process} is ready; waiting until it serves")?;
    }
    let begun = Instant::now();
    let mut refused: Option<Instant> = None;
    loop {
        // Its secret is another one.
        let status = Client::new(global)?.get("/status");
        refused = match &status {
            // The sockets are in one process or another for as long as either lives.
            Err(error) if error.is_refused() && !Path::new("/proc").join(&process).exists() => {
                refused.or_else(|| Some(Instant::now()))
            }
            _ => None,
        };
        anyhow::ensure!(
            refused.is_none_or(|since| since.elapsed() < GONE),
            "process {process} has ended, and nobody serves in its place; the server's log says why"
        );
        if let Some(after) = status.ok().filter(|after| after["started"] != before["started"]) {
            let version = |status: &Json| cell(&status["version"]);
            let words = format!("process {process} serves: version {}, after {}", version(&after), version(&before));
            let answer =
                json!({"process": answer["process"], "version": after["version"], "before": before["version"]});
            return done(global, &answer, &words);
        }
        anyhow::ensure!(
            begun.elapsed() < SERVING,
            "process {process} does not come to serve; the server's log says why"
        );
        std::thread::sleep(PAUSE);
    }
}

/// `outwork status`.
pub(crate) fn status(global: &Global) -> anyhow::Result<()> {
    let answer = Client::new(global)?.get("/status")?;
    if global.json {
        return print_json(&answer);
    }
    let mut out = anstream::stdout();
    let uptime = answer["uptime_seconds"].as_u64().map_or_else(|| "-".into(), span);
    let store = &answer["store"];
    let health = match store["error"].as_str() {
        Some(error) => format!("{}: {error}", cell(&store["health"])),
        None => cell(&store["health"]),
    };
    write_pairs(
        &mut out,
        &[
            ("version", cell(&answer["version"])),
            ("host", cell(&answer["host"])),
            ("up", format!("{uptime}, since {}", cell(&answer["started"]))),
            ("configuration", answer["config_file"].as_str().unwrap_or(PRACTICE_NAME).to_owned()),
            ("store", health),
            ("durability", cell(&store["durability"])),
            ("waiting for disk", bytes(store["pending_bytes"].as_f64().unwrap_or(0.0))),
        ],
    )?;
    writeln!(out)?;
    rows(&mut out, &["SERVICE", "STATE", "READY", "DETAIL"], &answer["services"], "no services", |service| {
        let ready = if service["ready"] == true { "yes" } else { "no" };
        vec![cell(&service["name"]), cell(&service["state"]), ready.into(), cell(&service["detail"])]
    })?;
    writeln!(out)?;
    rows(&mut out, &["LISTENER", "PROTOCOL", "SERVICE"], &answer["listeners"], "no listeners", |listener| {
        ["address", "protocol", "service"].map(|name| cell(&listener[name])).into()
    })?;
    writeln!(out)?;
    rows(&mut out, &["ALERT", "SEVERITY", "SINCE", "WHAT"], &answer["alerts"], "no alerts", |alert| {
        ["id", "severity", "since", "what"].map(|name| cell(&alert[name])).into()
    })?;
    for alert in items(&answer["alerts"]) {
        writeln!(out, "{}: {}", printable(&cell(&alert["id"])), printable(&cell(&alert["advice"])))?;
    }
    Ok(())
}

/// `outwork stats`.
pub(crate) fn stats(global: &Global, filter: Option<&str>, memory: bool) -> anyhow::Result<()> {
    let client = Client::new(global)?;
    let mut out = anstream::stdout();
    if memory {
        let answer = client.get("/memory")?;
        if global.json {
            return print_json(&answer);
        }
        let mut table = Table::new(&["MEMORY", ">AMOUNT"]);
        flatten("", &answer, &mut table);
        table.write(&mut out, "the server says nothing about its memory")?;
        return Ok(());
    }
    let mut answer = client.get("/metrics/now")?;
    if let (Some(filter), Some(metrics)) = (filter, answer["metrics"].as_array_mut()) {
        metrics.retain(|metric| metric["name"].as_str().is_some_and(|name| name.contains(filter)));
        anyhow::ensure!(!metrics.is_empty(), "no metric has {filter} in its name; `outwork stats` shows them all");
    }
    if global.json {
        return print_json(&answer);
    }
    let mut table = Table::new(&["METRIC", "LABELS", ">VALUE", ">AVG", ">P50", ">P95", ">P99", ">MAX", "UNIT"]);
    for metric in items(&answer["metrics"]) {
        for sample in items(&metric["samples"]) {
            let labels = sample["labels"].as_object().into_iter().flatten();
            let labels: Vec<_> = labels.map(|(name, value)| format!("{name}={}", cell(value))).collect();
            let count = || sample.get("count").map_or_else(|| "-".into(), cell);
            let value = sample.get("value").map_or_else(count, |value| measured(value, &metric["unit"]));
            let quantile =
                |name: &str| sample.get(name).map_or_else(String::new, |value| measured(value, &metric["unit"]));
            table.row([
                cell(&metric["name"]),
                labels.join(" "),
                value,
                quantile("avg"),
                quantile("p50"),
                quantile("p95"),
                quantile("p99"),
                quantile("max"),
                cell(&metric["unit"]),
            ]);
        }
    }
    table.write(&mut out, "no metrics")?;
    Ok(())
}

/// `outwork token`.
pub(crate) fn token(global: &Global, command: &TokenCommand) -> anyhow::Result<()> {
    if let TokenCommand::Create { name, role, expires, offline: true } = command {
        return crate::local::create_token(global, name, *role, *expires);
    }
    let client = Client::new(global)?;
    let mut out = anstream::stdout();
    match command {
        TokenCommand::Create { name, role, expires, offline: _ } => {
            let mut body = json!({"name": name, "role": role.word()});
            if let Some(expires) = expires {
                body["expires_in"] = json!(expires.as_secs());
            }
            let answer = client.change(Method::POST, "/tokens", Some(&body))?;
            if global.json {
                return print_json(&answer);
            }
            writeln!(anstream::stderr(), "token {name} of role {}; it is shown this once:", role.word())?;
            writeln!(out, "{}", printable(&cell(&answer["token"])))?;
        }
        TokenCommand::List => {
            let answer = client.get("/tokens")?;
            if global.json {
                return print_json(&answer);
            }
            let columns = ["ID", "NAME", "ROLE", "CREATED", "LAST USED", "EXPIRES"];
            rows(&mut out, &columns, &answer["items"], "no tokens", |token| {
                ["id", "name", "role", "created", "last_used", "expires"].map(|name| cell(&token[name])).into()
            })?;
        }
        TokenCommand::Revoke { wanted } => {
            let found = client.get("/tokens")?;
            let is_meant = |one: &&Json| ["name", "id"].iter().any(|key| cell(&one[*key]) == *wanted);
            let Some(meant) = items(&found["items"]).iter().find(is_meant) else {
                anyhow::bail!("no token has the name or id {wanted}; `outwork token list` shows them all");
            };
            let (id, name) = (cell(&meant["id"]), cell(&meant["name"]));
            client.change(Method::DELETE, &format!("/tokens/{}", escaped(&id)), None)?;
            let revoked = json!({"revoked": {"id": meant["id"], "name": meant["name"]}});
            done(global, &revoked, &format!("revoked token {id}, {name}"))?;
        }
    }
    Ok(())
}

/// `outwork log`.
pub(crate) fn log(global: &Global, command: &LogCommand) -> anyhow::Result<()> {
    let client = Client::new(global)?;
    let mut answer = client.get("/log/levels")?;
    if let LogCommand::Set { levels } = command {
        for (service, level) in levels {
            answer["levels"][service] = json!(level);
        }
        let body = json!({"levels": answer["levels"]});
        let changed = client.change(Method::PUT, "/log/levels", Some(&body))?;
        answer = if changed["levels"].is_object() { changed } else { body };
    }
    if global.json {
        return print_json(&answer);
    }
    let mut table = Table::new(&["SERVICE", "LEVEL"]);
    for (service, level) in answer["levels"].as_object().into_iter().flatten() {
        table.row([service.clone(), cell(level)]);
    }
    table.write(&mut anstream::stdout(), "the server names no levels")?;
    Ok(())
}

/// Fetches into a file, all of it or an error.
fn fetch(client: &Client, path: &str, media_type: &str, output: &Path) -> anyhow::Result<()> {
    let context = || format!("cannot write {}", output.display());
    let mut to = File::create(output).with_context(context)?;
    let size = client.download(path, media_type, &mut to).with_context(context)?;
    to.sync_all().with_context(context)?;
    writeln!(anstream::stderr(), "wrote {size} bytes to {}", output.display())?;
    Ok(())
}

/// The elements of an answer's array.
fn items(json: &Json) -> &[Json] {
    json.as_array().map_or(&[], Vec::as_slice)
}

/// Writes an answer's array as a table.
fn rows(
    out: &mut impl Write,
    columns: &[&'static str],
    json: &Json,
    empty: &str,
    cells: impl Fn(&Json) -> Vec<String>,
) -> io::Result<()> {
    let mut table = Table::new(columns);
    items(json).iter().for_each(|item| table.row(cells(item)));
    table.write(out, empty)
}

/// Says that a change was made: in words, or as the server's answer; where it has none, the words are that.
fn done(global: &Global, answer: &Json, words: &str) -> anyhow::Result<()> {
    if global.json {
        return match answer {
            Json::Null => print_json(&json!({"done": words})),
            answer => print_json(answer),
        };
    }
    writeln!(anstream::stdout(), "{}", printable(words))?;
    Ok(())
}

/// A measured value: a size or a time in the unit that suits it, anything else as it is.
fn measured(value: &Json, unit: &Json) -> String {
    match (value.as_f64(), unit.as_str()) {
        (Some(size), Some("bytes")) => bytes(size),
        (Some(seconds), Some("seconds")) => time(seconds),
        _ => cell(value),
    }
}

/// Nested sizes as rows.
fn flatten(path: &str, json: &Json, table: &mut Table) {
    match json {
        Json::Object(fields) => fields.iter().for_each(|(name, value)| {
            let path = if path.is_empty() { name.clone() } else { format!("{path}.{name}") };
            flatten(&path, value, table);
        }),
        Json::Array(items) => {
            items.iter().enumerate().for_each(|(index, item)| flatten(&format!("{path}[{index}]"), item, table));
        }
        value => {
            let size = value.as_f64().map(bytes);
            table.row([path.to_owned(), size.unwrap_or_else(|| cell(value))]);
        }
    }
}
