//! `outwork backends`.

use std::io::Write;
use std::time::Duration;

use serde_json::{Value as Json, json};
use ureq::http::Method;

use super::rows;
use crate::cli::Global;
use crate::cli::backends::{BackendsCommand, Drain, Eject, Which};
use crate::client::{Client, ClientError, escaped};
use crate::local::print_json;
use crate::table::{cell, printable, span};

/// `outwork backends`.
pub(crate) fn backends(global: &Global, command: &BackendsCommand) -> anyhow::Result<()> {
    let client = Client::new(global)?;
    let lasting = |which, action, lasts: &Option<Duration>, done| {
        change(global, &client, which, action, lasts.map(|lasts| lasts.as_secs()), done)
    };
    match command {
        BackendsCommand::List { pool } => list(global, &client, pool.as_deref()),
        BackendsCommand::Drain(Drain { which, lasts }) => lasting(which, "drain", lasts, "gets no new requests"),
        BackendsCommand::Eject(Eject { which, lasts }) => lasting(which, "eject", lasts, "is left out"),
        BackendsCommand::Admit(which) => change(global, &client, which, "admit", None, "is let in"),
    }
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
        writeln!(out, "{name}: {}, {} under way{panics}", cell(&pool["policy"]), cell(&pool["requests"]))?;
        let columns = ["BACKEND", "STATE", ">WEIGHT", ">UNDER WAY", ">REQUESTS", ">FAILED", ">LATENCY", "PROBLEM"];
        rows(&mut out, &columns, &pool["backends"], "it has no backends", |backend| {
            let latency = backend["latency_ms"].as_f64().map_or_else(|| "-".into(), |ms| format!("{ms:.1} ms"));
            let count = |name: &str| cell(&backend[name]);
            vec![
                count("key"),
                state(backend),
                count("weight"),
                count("requests"),
                count("total"),
                count("failures"),
                latency,
                problem(backend),
            ]
        })?;
    }
    if pools(&answer).is_empty() {
        writeln!(out, "no pools")?;
    }
    Ok(())
}

fn pools(answer: &Json) -> &[Json] {
    answer.as_array().map(Vec::as_slice).unwrap_or_default()
}

/// What a backend may be used for, and for how long where that ends.
fn state(backend: &Json) -> String {
    let left = |name: &str| backend[name].as_f64().map(|seconds| span(seconds.ceil() as u64));
    let word = cell(&backend["state"]);
    match left("ejected_for").or_else(|| left("drains_for")) {
        Some(left) => format!("{word} for {left}"),
        None => word,
    }
}

/// Why it is not used: what its last check has found, or what has ejected it.
fn problem(backend: &Json) -> String {
    match (backend["problem"].as_str(), backend["ejected_by"].as_str()) {
        (Some(problem), _) => problem.to_owned(),
        (None, Some("hand")) => "left out by hand".to_owned(),
        (None, Some("consecutive-5xx")) => "answered 5xx several times in a row".to_owned(),
        (None, Some("consecutive-gateway")) => "gave no answer several times in a row".to_owned(),
        (None, Some("success-rate")) => "fails more than the others".to_owned(),
        (None, Some("failure-percentage")) => "fails too large a part of its requests".to_owned(),
        (None, Some(other)) => other.to_owned(),
        (None, None) => String::new(),
    }
}

fn change(
    global: &Global,
    client: &Client,
    which: &Which,
    action: &str,
    seconds: Option<u64>,
    done: &str,
) -> anyhow::Result<()> {
    let path = format!("/proxy/pools/{}/backends", escaped(&which.pool));
    let mut body = json!({ "backend": which.backend, "action": action });
    if let Some(seconds) = seconds {
        body["seconds"] = seconds.into();
    }
    let answer = client.change(Method::POST, &path, Some(&body)).map_err(where_to_look)?;
    super::done(global, &answer, &format!("{} of {} {done}", which.backend, which.pool))
}
