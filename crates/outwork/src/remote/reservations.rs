//! `outwork reservations`.

use std::fs::File;
use std::io::{self, Read, Write};
use std::net::Ipv4Addr;
use std::path::Path;

use anyhow::Context;
use outwork_config::{Ipv4Net, toml_text};
use serde_json::{Value as Json, json};
use ureq::http::Method;

use super::{done, items, rows};
use crate::cli::Global;
use crate::cli::reservations::{Field, ReservationArgs, ReservationsCommand};
use crate::client::{Client, ClientError, escaped, query};
use crate::local::print_json;
use crate::table::{cell, printable, write_pairs};

/// Octets of a reservation in JSON at most.
const MOST: u64 = 1 << 20;

/// What the API shows of a reservation, and does not take.
const SHOWN_ONLY: [&str; 3] = ["id", "source", "warning"];

/// `outwork reservations`.
pub(crate) fn reservations(global: &Global, command: &ReservationsCommand) -> anyhow::Result<()> {
    let client = Client::new(global)?;
    let one = |id: &str| format!("/dhcp/reservations/{}", escaped(id));
    match command {
        ReservationsCommand::List => list(global, &client),
        ReservationsCommand::Get { wanted } => {
            let id = id_of(&client, wanted)?;
            show(global, &client.get(&one(&id)).map_err(where_to_look)?)
        }
        ReservationsCommand::Add { address, says } => {
            let mut body = says.json_body.as_deref().map_or_else(|| Ok(json!({})), read)?;
            says.put_over(&mut body);
            if let Some(address) = address {
                body["address"] = json!(address);
                if body["subnet_id"].is_null() {
                    body["subnet_id"] = subnet_of(&client, *address)?;
                }
            }
            tidy(&mut body);
            let answer = client.change(Method::POST, "/dhcp/reservations", Some(&body))?;
            let told = if answer["identifier"].is_object() { &answer } else { &body };
            let what =
                body["address"].as_str().map_or_else(|| "made a reservation".into(), |at| format!("reserved {at}"));
            let (kind, value) = (cell(&told["identifier"]["kind"]), cell(&told["identifier"]["value"]));
            done(global, &answer, &format!("{what} for {kind} {value}"))?;
            warn(&answer)
        }
        ReservationsCommand::Update { wanted, address, clear, says } => {
            let id = id_of(&client, wanted)?;
            let body = changed(&client, &one(&id), *address, clear, says)?;
            let answer = client.change(Method::PUT, &one(&id), Some(&body)).map_err(where_to_look)?;
            done(global, &answer, &format!("changed reservation {id}"))?;
            warn(&answer)
        }
        ReservationsCommand::Remove { wanted } => {
            let id = id_of(&client, wanted)?;
            let answer = client.change(Method::DELETE, &one(&id), None).map_err(where_to_look)?;
            done(global, &answer, &format!("removed reservation {id}"))
        }
    }
}

fn list(global: &Global, client: &Client) -> anyhow::Result<()> {
    let answer = client.get("/dhcp/reservations")?;
    if global.json {
        return print_json(&answer);
    }
    let columns = ["ID", ">SUBNET", "ADDRESS", "BY", "VALUE", "HOSTNAME", "SOURCE"];
    rows(&mut anstream::stdout(), &columns, &answer["items"], "no reservations", |reservation| {
        vec![
            cell(&reservation["id"]),
            cell(&reservation["subnet_id"]),
            cell(&reservation["address"]),
            cell(&reservation["identifier"]["kind"]),
            cell(&reservation["identifier"]["value"]),
            cell(&reservation["hostname"]),
            cell(&reservation["source"]),
        ]
    })?;
    Ok(())
}

fn show(global: &Global, reservation: &Json) -> anyhow::Result<()> {
    if global.json {
        return print_json(reservation);
    }
    let identifier = &reservation["identifier"];
    let mut pairs = vec![
        ("id".to_owned(), cell(&reservation["id"])),
        ("source".to_owned(), cell(&reservation["source"])),
        (printable(&cell(&identifier["kind"])), cell(&identifier["value"])),
    ];
    // Every other field, whatever the server's version has: what is set.
    let known = ["identifier", "options"].iter().chain(&SHOWN_ONLY);
    for (field, value) in reservation.as_object().into_iter().flatten() {
        let empty = value.is_null() || value.as_array().is_some_and(Vec::is_empty);
        if empty || known.clone().any(|known| known == field) {
            continue;
        }
        let value = match value {
            Json::Array(items) => items.iter().map(cell).collect::<Vec<_>>().join(", "),
            value => cell(value),
        };
        match field.strip_suffix("_seconds") {
            Some(field) => pairs.push((printable(&field.replace('_', " ")), format!("{value} s"))),
            None => pairs.push((printable(&field.trim_end_matches("_id").replace('_', " ")), value)),
        }
    }
    for (name, value) in reservation["options"].as_object().into_iter().flatten() {
        pairs.push((format!("option {}", printable(name)), toml_text(value)));
    }
    let pairs: Vec<_> = pairs.iter().map(|(name, value)| (name.as_str(), value.clone())).collect();
    write_pairs(&mut anstream::stdout(), &pairs)?;
    Ok(())
}

/// What a reservation says after a change.
fn changed(
    client: &Client,
    path: &str,
    address: Option<Ipv4Addr>,
    clear: &[Field],
    says: &ReservationArgs,
) -> anyhow::Result<Json> {
    let mut body = match &says.json_body {
        Some(file) => read(file)?,
        None => client.get(path)?,
    };
    tidy(&mut body);
    let before = body.clone();
    if let Some(body) = body.as_object_mut() {
        clear.iter().flat_map(|field| field.keys()).for_each(|key| {
            body.remove(*key);
        });
    }
    says.put_over(&mut body);
    if let Some(address) = address {
        body["address"] = json!(address);
    }
    if says.json_body.is_none() && body == before {
        anyhow::bail!("nothing would change; `outwork reservations update --help` shows what can");
    }
    Ok(body)
}

/// A reservation in JSON, from a file or from standard input.
fn read(path: &Path) -> anyhow::Result<Json> {
    let mut text = String::new();
    let outcome = match path.as_os_str() == "-" {
        true => io::stdin().lock().take(MOST).read_to_string(&mut text),
        false => File::open(path).and_then(|file| file.take(MOST).read_to_string(&mut text)),
    };
    outcome.with_context(|| format!("cannot read {}", path.display()))?;
    let body: Json = serde_json::from_str(&text).with_context(|| format!("{} is no JSON", path.display()))?;
    anyhow::ensure!(body.is_object(), "{} is no JSON object", path.display());
    Ok(body)
}

/// Leaves out what only the answers have, so that an answer can be sent back.
fn tidy(body: &mut Json) {
    if let Some(body) = body.as_object_mut() {
        body.retain(|field, _| !SHOWN_ONLY.contains(&field.as_str()));
    }
}

/// What helps where a reservation is not there.
const SEE_RESERVATIONS: &str = "`outwork reservations list` shows them all";

fn where_to_look(error: ClientError) -> ClientError {
    match error {
        ClientError::Refused(problem) => ClientError::Refused(Box::new(problem.where_to_look(SEE_RESERVATIONS))),
        error => error,
    }
}

/// The id of the one reservation that is meant by its id or its address.
fn id_of(client: &Client, wanted: &str) -> anyhow::Result<String> {
    let Ok(address) = wanted.parse::<Ipv4Addr>() else { return Ok(wanted.to_owned()) };
    let (mut found, mut after) = (Vec::new(), None);
    loop {
        let answer = client.get(&format!("/dhcp/reservations{}", query(&[("after", after)])))?;
        let its = items(&answer["items"]).iter().filter(|one| one["address"] == address.to_string());
        found.extend(its.map(|one| cell(&one["id"])));
        after = answer["next"].as_str().map(str::to_owned);
        if after.is_none() {
            break;
        }
    }
    match found.as_slice() {
        [id] => Ok(id.clone()),
        [] => anyhow::bail!("no reservation has the address {address}\n  = help: {SEE_RESERVATIONS}"),
        ids => anyhow::bail!("{address} has several reservations: name one by its id: {}", ids.join(", ")),
    }
}

/// The id of the subnet that has an address.
fn subnet_of(client: &Client, address: Ipv4Addr) -> anyhow::Result<Json> {
    let answer = client.get("/dhcp/subnets")?;
    let holds = |subnet: &&Json| {
        let net = subnet["prefix"].as_str().and_then(|prefix| prefix.parse::<Ipv4Net>().ok());
        net.is_some_and(|net| net.contains(address))
    };
    let found = items(&answer["items"]).iter().find(holds).map(|subnet| subnet["id"].clone());
    found.with_context(|| format!("{address} is in no subnet; `outwork subnets` lists them"))
}

/// Passes on what the server warns of; with --json it is in the answer, too.
fn warn(reservation: &Json) -> anyhow::Result<()> {
    if let Some(warning) = reservation["warning"].as_str() {
        writeln!(anstream::stderr(), "warning: {}", printable(warning))?;
    }
    Ok(())
}
