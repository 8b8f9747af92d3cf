//! `outwork queries`.

use std::io::Write;

use serde_json::{Value as Json, json};
use ureq::http::Method;

use super::{items, rows};
use crate::cli::Global;
use crate::cli::queries::QueriesCommand;
use crate::client::{Client, ClientError};
use crate::local::print_json;
use crate::table::{bytes, cell, write_pairs};

/// `outwork queries`.
pub(crate) fn queries(global: &Global, command: &QueriesCommand) -> anyhow::Result<()> {
    let client = Client::new(global)?;
    match command {
        QueriesCommand::Stats => stats(global, &client.get("/web/queries").map_err(where_to_look)?),
        QueriesCommand::Invalidate { tables, database, .. } => {
            let body = json!({"database": database, "tables": tables});
            let answer = client.change(Method::POST, "/web/queries/invalidate", Some(&body)).map_err(where_to_look)?;
            let removed = answer["removed"].as_u64().unwrap_or_default();
            let noun = if removed == 1 { "result was" } else { "results were" };
            let mut line = format!("{removed} {noun} forgotten");
            let untouched: Vec<String> = items(&answer["untouched"]).iter().map(cell).collect();
            if !untouched.is_empty() {
                line.push_str(&format!("; nothing was kept that is made of {}", untouched.join(", ")));
            }
            let routes = client.get("/front/routes")?;
            let keeps = |route: &&Json| {
                let is_of = database.as_ref().is_none_or(|database| route["database"] == **database);
                route["answers"] == "query" && route["cached"] == true && is_of
            };
            let keeping: Vec<String> =
                items(&routes["items"]).iter().filter(keeps).map(|one| cell(&one["route"])).collect();
            if !keeping.is_empty() && !global.json {
                line.push_str(&format!(
                    "; {} may give answers that are kept by URL (cache) all the same: `outwork cache purge` forgets those",
                    keeping.join(", ")
                ));
            }
            super::done(global, &answer, &line)
        }
    }
}

fn where_to_look(error: ClientError) -> ClientError {
    match error {
        ClientError::Refused(problem) => {
            let help = "the server has no queries while it has no front.listener";
            ClientError::Refused(Box::new(problem.where_to_look(help)))
        }
        error => error,
    }
}

fn stats(global: &Global, answer: &Json) -> anyhow::Result<()> {
    if global.json {
        return print_json(answer);
    }
    let mut out = anstream::stdout();
    let columns = ["DATABASE", "URL", ">USED", ">IDLE", ">AT MOST", ">WAITING", ">OPENED", ">UNREACHABLE"];
    rows(&mut out, &columns, &answer["databases"], "no databases", |database| {
        let keys = ["name", "url", "used", "idle", "pool_size", "waiting", "opened", "unreachable"];
        keys.iter().map(|key| cell(&database[*key])).collect()
    })?;
    writeln!(out)?;
    let counts = ["queries", "lookups"].into_iter().flat_map(|key| items(&answer[key]));
    let names: Vec<(String, String)> =
        counts.map(|count| (count["name"].as_str().unwrap_or_default().to_owned(), cell(&count["count"]))).collect();
    let mut pairs: Vec<(&str, String)> = names.iter().map(|(name, count)| (name.as_str(), count.clone())).collect();
    pairs.push(("results kept", cell(&answer["kept_results"])));
    pairs.push(("memory of them", answer["kept_bytes"].as_f64().map_or_else(|| "-".into(), bytes)));
    write_pairs(&mut out, &pairs)?;
    Ok(())
}
