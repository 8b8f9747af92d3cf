//! `outwork backends`.

use std::io::{self, Write};
use std::time::Duration;

use outwork_config::duration_text;
use serde_json::{Value as Json, json};
use ureq::http::Method;

use super::listeners::passed;
use super::{items, rows};
use crate::cli::Global;
use crate::cli::backends::{BackendsCommand, Drain, Eject, Said, Weight, Which};
use crate::client::{Client, ClientError, escaped};
use crate::local::print_json;
use crate::table::{cell, printable, span};

/// `outwork backends`.
pub(crate) fn backends(global: &Global, command: &BackendsCommand) -> anyhow::Result<()> {
    let client = Client::new(global)?;
    let lasting = |which: &Which, action: &str, lasts: &Option<Duration>, done: &str| {
        change(global, &client, which, asked(action, *lasts), done)
    };
    match command {
        BackendsCommand::List { pool } => list(global, &client, pool.as_deref()),
        BackendsCommand::Drain(Drain { which, lasts }) => lasting(which, "drain", lasts, "gets no new requests"),
        BackendsCommand::Eject(Eject { which, lasts }) => lasting(which, "eject", lasts, "is left out"),
        BackendsCommand::Admit(which) => change(global, &client, which, json!({ "action": "admit" }), "is let in"),
        BackendsCommand::Weight(Weight { which, weight }) => {
            let (weight, done) = match weight {
                Said::Weight(weight) => (Json::from(*weight), format!("weighs {weight}")),
                Said::Configured => (Json::Null, "weighs what the configuration says".to_owned()),
            };
            change(global, &client, which, json!({ "action": "weight", "weight": weight }), &done)
        }
    }
}

/// What the server is asked to do with a backend, and for how long, where that is said.
fn asked(action: &str, lasts: Option<Duration>) -> Json {
    let mut asked = json!({ "action": action });
    if let Some(lasts) = lasts {
        asked["for"] = duration_text(lasts).into();
    }
    asked
}

fn where_to_look(error: ClientError) -> ClientError {
    match error {
        ClientError::Refused(problem) => {
            ClientError::Refused(Box::new(problem.where_to_look("`outwork backends list` shows what there is")))
        }
        error => error,
    }
}

fn list(global: &Global, client: &Client, pool: Option<&str>) -> anyhow::Result<()> {
    let mut answer = client.get("/proxy/pools").map_err(where_to_look)?;
    if let (Some(pool), Some(pools)) = (pool, answer.as_array_mut()) {
        let names: Vec<String> = pools.iter().map(|one| cell(&one["name"])).collect();
        pools.retain(|one| one["name"] == pool);
        anyhow::ensure!(!pools.is_empty(), "there is no pool {pool:?}; there are {}", names.join(", "));
    }
    if global.json {
        return print_json(&answer);
    }
    let mut out = anstream::stdout();
    for (index, pool) in pools(&answer).iter().enumerate() {
        if index > 0 {
            writeln!(out)?;
        }
        let name = printable(&cell(&pool["name"]));
        let panics =
            if pool["panics"] == true { ", too few are usable: all are used, whatever their health" } else { "" };
        let open = if carried(pool) == "requests" { "under way" } else { "open" };
        writeln!(out, "{name}: {}, {} {open}{panics}", cell(&pool["policy"]), cell(&pool["requests"]))?;
        backends_of(&mut out, pool)?;
        names_of(&mut out, pool)?;
        absent_from(&mut out, pool)?;
    }
    if pools(&answer).is_empty() {
        writeln!(out, "no pools")?;
    }
    Ok(())
}

fn backends_of(out: &mut impl Write, pool: &Json) -> io::Result<()> {
    // All are of one priority nearly everywhere.
    let ranked =
        items(&pool["backends"]).iter().any(|backend| backend["priority"].as_u64().is_some_and(|rank| rank > 0));
    let (open, all) = match carried(pool) {
        "connections" => (">OPEN", ">CONNECTIONS"),
        "sessions" => (">OPEN", ">SESSIONS"),
        _ => (">UNDER WAY", ">REQUESTS"),
    };
    let mut columns = vec!["BACKEND", "STATE", ">WEIGHT", open, all, ">FAILED", ">LATENCY", "PROBLEM"];
    if ranked {
        columns.insert(2, ">PRIORITY");
    }
    let is_passed = items(&pool["backends"]).iter().any(|backend| backend["passed"].is_object());
    if is_passed {
        columns.push("PASSED ON BY A TIER");
    }
    let empty = match items(&pool["names"]).iter().any(|name| name["addresses"] == 0) {
        true => "it has no backends: their names stand for no address that is known",
        false => "it has no backends",
    };
    rows(out, &columns, &pool["backends"], empty, |backend| {
        let latency = backend["latency_ms"].as_f64().map_or_else(|| "-".into(), |ms| format!("{ms:.1} ms"));
        let count = |name: &str| cell(&backend[name]);
        let mut cells = vec![
            count("key"),
            state(backend, pool["checked"] == true),
            weight(backend),
            count("requests"),
            count("total"),
            count("failures"),
            latency,
            problem(backend),
        ];
        if ranked {
            cells.insert(2, count("priority"));
        }
        cells.extend(is_passed.then(|| passed(&backend["passed"])));
        cells
    })
}

/// Names that stand for nothing, or that could not be looked up.
fn names_of(out: &mut impl Write, pool: &Json) -> io::Result<()> {
    let ails = |name: &&Json| name["addresses"] == 0 || !name["problem"].is_null();
    let ailing: Json = items(&pool["names"]).iter().filter(ails).cloned().collect();
    if items(&ailing).is_empty() {
        return Ok(());
    }
    writeln!(out)?;
    rows(out, &["NAME", ">ADDRESSES", "ASKED", "TRIED", "NEXT", "PROBLEM"], &ailing, "", |name| {
        let seconds = |key: &str| name[key].as_f64();
        let tried = seconds("tried_ago").map_or_else(|| "not yet".into(), |ago| format!("{} ago", span(ago as u64)));
        let next = seconds("next_in").map_or_else(|| "now".into(), |wait| format!("in {}", span(wait.ceil() as u64)));
        let problem = name["problem"].as_str().unwrap_or_default().to_owned();
        vec![cell(&name["name"]), cell(&name["addresses"]), cell(&name["asked"]), tried, next, problem]
    })
}

/// What holds by hand of backends that are not there.
fn absent_from(out: &mut impl Write, pool: &Json) -> io::Result<()> {
    if items(&pool["absent"]).is_empty() {
        return Ok(());
    }
    writeln!(out)?;
    rows(out, &["ABSENT BACKEND", "BY HAND"], &pool["absent"], "", |absent| {
        let left = |key: &str| absent[key].as_f64().map(|seconds| span(seconds.ceil() as u64));
        let taken_out = match (left("drains_for"), left("ejected_for")) {
            (Some(_), _) => Some("drained, should it come back, until it is admitted".to_owned()),
            (None, Some(left)) => Some(format!("left out for {left}, should it come back")),
            (None, None) => None,
        };
        let weight = absent["weight"].as_u64().map(|weight| format!("weighs {weight}, should it come back"));
        let how: Vec<String> = taken_out.into_iter().chain(weight).collect();
        vec![cell(&absent["key"]), how.join("; ")]
    })
}

fn pools(answer: &Json) -> &[Json] {
    answer.as_array().map(Vec::as_slice).unwrap_or_default()
}

/// What passes through a pool. A server of before said nothing of it.
fn carried(pool: &Json) -> &str {
    pool["carries"].as_str().unwrap_or("requests")
}

/// What a backend may be used for, and for how long where that ends. Who is used because nobody checks it is not said to be well.
fn state(backend: &Json, is_checked: bool) -> String {
    let left = |name: &str| backend[name].as_f64().map(|seconds| span(seconds.ceil() as u64));
    let word = cell(&backend["state"]);
    match left("ejected_for").or_else(|| left("drains_for")) {
        Some(left) => format!("{word} for {left}"),
        None if word == "usable" && !is_checked => "usable, not checked".to_owned(),
        None if word == "usable" && backend["health"] == "unknown" => "usable, not checked yet".to_owned(),
        None => word,
    }
}

/// What it weighs, and what it would if nobody had said so by hand.
fn weight(backend: &Json) -> String {
    let weight = cell(&backend["weight"]);
    match backend["configured_weight"].as_u64() {
        Some(configured) => format!("{weight} (configured: {configured})"),
        None => weight,
    }
}

/// Why it is not used: what its last check has found, or what has ejected it.
fn problem(backend: &Json) -> String {
    let because = backend["ejected_because"].as_str().or_else(|| backend["ejected_by"].as_str());
    match (backend["problem"].as_str(), because) {
        (Some(problem), _) => problem.to_owned(),
        (None, Some("hand")) => "left out by hand".to_owned(),
        (None, Some(why)) => why.to_owned(),
        (None, None) => String::new(),
    }
}

fn change(global: &Global, client: &Client, which: &Which, mut body: Json, done: &str) -> anyhow::Result<()> {
    let path = format!("/proxy/pools/{}/backends", escaped(&which.pool));
    body["backend"] = which.backend.as_str().into();
    let answer = client.change(Method::POST, &path, Some(&body)).map_err(where_to_look)?;
    let mut words = format!("{} of {} {done}", which.backend, which.pool);
    let has_none = |backend: &Json| backend["weight"] == 0;
    if body["action"] == "weight" && items(&answer["backends"]).iter().all(has_none) {
        words.push_str(&format!("; no backend of {} has any weight now", which.pool));
    }
    if body["action"] == "eject" && answer["panics"] == true {
        let least = cell(&answer["panic_threshold"]);
        words.push_str(&format!(
            "; but the pool {} is in panic: requests still go to it, because fewer than {least} % of its backends are well",
            which.pool
        ));
    }
    super::done(global, &answer, &words)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_server_is_told_the_time_that_was_said_and_no_other() {
        let lasts = |text: &str| asked("drain", crate::cli::duration(text).ok())["for"].clone();
        for (text, told) in [("1500ms", "1s500ms"), ("1.5s", "1s500ms"), ("0s", "0s"), ("90", "1m30s"), ("10m", "10m")]
        {
            assert_eq!(lasts(text), told, "{text}");
        }
        assert_eq!(asked("eject", None), json!({ "action": "eject" }));
    }
}
