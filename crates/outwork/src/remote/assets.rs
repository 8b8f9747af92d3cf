//! `outwork assets`.

use std::io::Write;
use std::path::Path;

use outwork_web::assets;
use serde_json::{Value as Json, json};

use super::{items, rows};
use crate::cli::Global;
use crate::cli::assets::AssetsCommand;
use crate::client::{Client, ClientError};
use crate::local::print_json;
use crate::settings;
use crate::table::{bytes, cell, printable, time, write_pairs};

/// `outwork assets`.
pub(crate) fn assets(global: &Global, command: &AssetsCommand) -> anyhow::Result<()> {
    let ask = || anyhow::Ok(Client::new(global)?.get("/web/assets").map_err(where_to_look)?);
    match command {
        AssetsCommand::List => list(global, &ask()?),
        AssetsCommand::Faults => faults(global, &ask()?),
        AssetsCommand::Build { output, site } => build(global, output, site.as_deref()),
    }
}

fn where_to_look(error: ClientError) -> ClientError {
    match error {
        ClientError::Refused(problem) => {
            let help = "the server has no sites while it has no front.listener";
            ClientError::Refused(Box::new(problem.where_to_look(help)))
        }
        error => error,
    }
}

fn size(value: &Json) -> String {
    value.as_f64().map_or_else(|| "-".into(), bytes)
}

fn list(global: &Global, answer: &Json) -> anyhow::Result<()> {
    if global.json {
        return print_json(answer);
    }
    let mut out = anstream::stdout();
    let sites = items(&answer["sites"]);
    if sites.is_empty() {
        writeln!(out, "no site has assets; files.assets of a route turns them on")?;
    }
    for (index, site) in sites.iter().enumerate() {
        if index > 0 {
            writeln!(out)?;
        }
        let state = match (site["failure"].as_str(), site["building"].as_bool()) {
            (Some(failure), _) => format!("not made: {failure}"),
            (None, Some(true)) => "being made".to_owned(),
            (None, _) => format!("made in {}", time(site["seconds"].as_f64().unwrap_or_default())),
        };
        write_pairs(
            &mut out,
            &[
                ("site", cell(&site["name"])),
                ("folder", cell(&site["root"])),
                ("state", state),
                ("files", cell(&site["files"])),
                ("faults", items(&site["faults"]).len().to_string()),
                ("before", size(&site["before"])),
                ("after", size(&site["after"])),
            ],
        )?;
        writeln!(out)?;
        let columns = ["FILE", ">BEFORE", ">AFTER", "URL"];
        rows(&mut out, &columns, &site["assets"], "nothing was made", |asset| {
            vec![cell(&asset["path"]), size(&asset["before"]), size(&asset["after"]), cell(&asset["url"])]
        })?;
        if let Some(left @ 1..) = site["left_out"].as_u64() {
            writeln!(out, "and {left} more")?;
        }
    }
    Ok(())
}

fn faults(global: &Global, answer: &Json) -> anyhow::Result<()> {
    let of = |site: &Json| json!({"name": site["name"], "failure": site["failure"], "faults": site["faults"]});
    let sites: Vec<Json> = items(&answer["sites"]).iter().map(of).collect();
    if global.json {
        return print_json(&json!({ "sites": sites }));
    }
    let mut out = anstream::stdout();
    let mut any = false;
    for site in &sites {
        let failure = site["failure"].as_str().map(|failure| format!("nothing is made: {failure}"));
        let told = items(&site["faults"]).iter().map(|fault| {
            let place = match (fault["line"].as_u64(), fault["column"].as_u64()) {
                (Some(line), Some(column)) => format!(":{line}:{column}"),
                _ => String::new(),
            };
            format!("{}{place}: {}; {}", cell(&fault["path"]), cell(&fault["found"]), cell(&fault["help"]))
        });
        for line in failure.into_iter().chain(told) {
            any = true;
            writeln!(out, "{}  {}", printable(&cell(&site["name"])), printable(&line))?;
        }
    }
    if !any {
        writeln!(out, "nothing is wrong with any file")?;
    }
    Ok(())
}

fn build(global: &Global, output: &Path, site: Option<&str>) -> anyhow::Result<()> {
    let settings = settings::load(global)?.value;
    let with_assets = settings.front.route.iter().filter_map(|route| {
        let files = route.files.as_ref()?;
        Some((route.name(), files, files.assets.as_ref()?))
    });
    let found: Vec<_> = with_assets.filter(|(name, ..)| site.is_none_or(|site| site == name)).collect();
    let (files, assets) = match &*found {
        [(_, files, assets)] => (files, assets),
        [] => anyhow::bail!("no such site has assets; front.route[].files.assets turns them on"),
        several => {
            let names: Vec<&str> = several.iter().map(|(name, ..)| name.as_str()).collect();
            anyhow::bail!("several sites have assets; choose one with --site: {}", names.join(", "))
        }
    };
    let (entries, faults) = assets::build(files, assets, output)?;
    let sum = |of: fn(&assets::Entry) -> u64| entries.iter().map(of).sum::<u64>();
    let (before, after) = (sum(|entry| entry.before), sum(|entry| entry.after));
    let told: Vec<String> = faults.iter().map(ToString::to_string).collect();
    let answer = json!({"output": output, "files": entries.len(), "before": before, "after": after, "faults": told});
    let words = format!(
        "{} files written to {}: {} became {}",
        entries.len(),
        output.display(),
        bytes(before as f64),
        bytes(after as f64)
    );
    super::done(global, &answer, &words)?;
    for fault in &told {
        writeln!(anstream::stderr(), "{}", printable(fault))?;
    }
    match told.len() {
        0 => Ok(()),
        1 => anyhow::bail!("something is wrong with a file"),
        count => anyhow::bail!("{count} things are wrong with files"),
    }
}
