//! `outwork cache`.

use std::io::Write;
use std::net::SocketAddr;

use serde_json::{Value as Json, json};
use ureq::http::{Method, Uri};

use super::{items, rows};
use crate::cli::Global;
use crate::cli::cache::{CacheCommand, PurgeArgs};
use crate::client::{Client, ClientError};
use crate::local::print_json;
use crate::table::{bytes, cell, printable, write_pairs};

/// `outwork cache`.
pub(crate) fn cache(global: &Global, command: &CacheCommand) -> anyhow::Result<()> {
    let client = Client::new(global)?;
    match command {
        CacheCommand::Stats { top } => stats(global, &client, *top),
        CacheCommand::Purge(args) => purge(global, &client, args),
        CacheCommand::Warm { urls } => {
            let answer =
                client.change(Method::POST, "/cache/warm", Some(&json!({"urls": urls}))).map_err(where_to_look)?;
            if !global.json {
                let mut out = anstream::stdout();
                for url in items(&answer["unstored"]) {
                    let status = url["status"].as_u64().map(|status| format!("{status}, ")).unwrap_or_default();
                    let line = format!("{} is not in the cache: {status}{}", cell(&url["url"]), cell(&url["why"]));
                    writeln!(out, "{}", printable(&line))?;
                }
            }
            super::done(global, &answer, &warmed(&answer))
        }
    }
}

/// How many URLs are in the cache now, and how many are still to come.
fn warmed(answer: &Json) -> String {
    let count = |name: &str| answer[name].as_u64().unwrap_or_default();
    let (queued, pending) = (count("queued"), count("pending"));
    let noun = if queued == 1 { "URL" } else { "URLs" };
    let mut line = format!("{} of {queued} {noun} fetched into the cache", count("stored"));
    if pending > 0 {
        line.push_str(&format!("; {pending} still to be fetched: the log names those that cannot be kept"));
    }
    line
}

fn where_to_look(error: ClientError) -> ClientError {
    match error {
        ClientError::Refused(problem) => {
            let help = "the server has no cache while it has no front.listener";
            ClientError::Refused(Box::new(problem.where_to_look(help)))
        }
        error => error,
    }
}

fn stats(global: &Global, client: &Client, top: usize) -> anyhow::Result<()> {
    let mut answer = client.get("/cache").map_err(where_to_look)?;
    let most = client.get(&format!("/cache/top?limit={top}"))?;
    if global.json {
        answer["top"] = most["items"].clone();
        return print_json(&answer);
    }
    let mut out = anstream::stdout();
    let rate =
        |json: &Json| json["hit_rate"].as_f64().map_or_else(|| "-".into(), |rate| format!("{:.1}%", rate * 100.0));
    let size = |json: &Json| json.as_f64().map_or_else(|| "-".into(), bytes);
    let columns = [
        "TIER",
        "KIND",
        ">ENTRIES",
        ">SIZE",
        ">LIMIT",
        ">HITS",
        ">MISSES",
        ">HIT RATE",
        ">EVICTED",
        ">ERRORS",
        "CIRCUIT",
    ];
    rows(&mut out, &columns, &answer["tiers"], "no tiers", |tier| {
        let entries = if tier["entries"].is_null() { "-".into() } else { cell(&tier["entries"]) };
        vec![
            cell(&tier["tier"]),
            cell(&tier["kind"]),
            entries,
            size(&tier["bytes"]),
            size(&tier["limit"]),
            cell(&tier["hits"]),
            cell(&tier["misses"]),
            rate(tier),
            cell(&tier["evictions"]),
            cell(&tier["errors"]),
            cell(&tier["circuit"]),
        ]
    })?;
    writeln!(out)?;
    let requests = &answer["requests"];
    let count = |name: &str| cell(&requests[name]);
    write_pairs(
        &mut out,
        &[
            ("requests hit", count("hit")),
            ("stale, refreshed behind", count("stale")),
            ("stale for an error", count("stood_in")),
            ("revalidated", count("revalidated")),
            ("collapsed", count("collapsed")),
            ("missed", count("miss")),
            ("passed", count("pass")),
            ("hit rate", rate(requests)),
            ("answers stored", cell(&answer["stored"])),
            ("fetches under way", cell(&answer["fetches"])),
        ],
    )?;
    if !items(&most["items"]).is_empty() {
        writeln!(out)?;
        let or_none = |json: &Json| if json.is_null() { "-".into() } else { cell(json) };
        rows(&mut out, &[">HITS", ">SIZE", ">STATUS", "ENCODING", "TYPE", "ENTRY"], &most["items"], "", |entry| {
            vec![
                cell(&entry["hits"]),
                size(&entry["bytes"]),
                cell(&entry["status"]),
                or_none(&entry["encoding"]),
                or_none(&entry["media_type"]),
                cell(&entry["name"]),
            ]
        })?;
    }
    Ok(())
}

/// What is said of a purged URL with a port that no listener has. URLs are kept as clients ask for them.
fn nobody_listens(client: &Client, body: &Json) -> anyhow::Result<String> {
    let url = body["url"].as_str().or(body["prefix"].as_str()).and_then(|url| url.parse::<Uri>().ok());
    let Some((url, scheme)) = url.as_ref().and_then(|url| Some((url, url.scheme_str()?))) else {
        return Ok(String::new());
    };
    let port = url.port_u16().unwrap_or(if scheme.eq_ignore_ascii_case("https") { 443 } else { 80 });
    let status = client.get("/status")?;
    let has = |one: &Json| one["address"].as_str().and_then(|at| at.parse::<SocketAddr>().ok()).map(|at| at.port());
    let known =
        items(&status["listeners"]).iter().filter(|one| one["service"] == "front").any(|one| has(one) == Some(port));
    Ok(match known {
        true => String::new(),
        false => format!("; no [[front.listener]] has the port {port}: name the URL as clients ask for it"),
    })
}

fn purge(global: &Global, client: &Client, args: &PurgeArgs) -> anyhow::Result<()> {
    let of = |key: &'static str, texts: &[String]| texts.iter().map(|text| json!({ key: text })).collect::<Vec<_>>();
    let mut purges = [of("url", &args.urls), of("prefix", &args.prefix), of("tag", &args.tag)].concat();
    if args.all {
        purges.push(json!({"all": true}));
    }
    let mut reports = Vec::with_capacity(purges.len());
    for body in &purges {
        let report = client.change(Method::POST, "/cache/purge", Some(body)).map_err(where_to_look)?;
        if !global.json {
            let count = report["removed"].as_u64().unwrap_or_default();
            let what =
                body.as_object().and_then(|body| body.values().next()).and_then(Json::as_str).unwrap_or("everything");
            let noun = if count == 1 { "entry" } else { "entries" };
            let mut line = match count {
                0 => format!("purged {what}: nothing of it was in memory{}", nobody_listens(client, body)?),
                _ => format!("purged {what}: {count} {noun} left memory"),
            };
            for (name, place) in [("shared", "Redis"), ("disk", "the disk"), ("edge", "the CDN")] {
                match report[name].as_str() {
                    Some("pending") => line.push_str(&format!("; {place} will be told when it can be reached")),
                    Some("queued") => line.push_str(&format!("; {place} is being told")),
                    Some("unsupported") => line.push_str(&format!("; {place} knows no such purge")),
                    Some("everything") => {
                        line.push_str(&format!(
                            "; too many purges wait for {place}: it will be told to throw out everything"
                        ));
                    }
                    _ => {}
                }
            }
            writeln!(anstream::stdout(), "{}", printable(&line))?;
        }
        reports.push(report);
    }
    match global.json {
        true => print_json(&json!({"purges": reports})),
        false => Ok(()),
    }
}
