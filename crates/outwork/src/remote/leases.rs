//! `outwork leases` and `outwork subnets`.

use std::collections::HashSet;
use std::fs::File;
use std::io::{self, BufRead, IsTerminal, Write};
use std::net::Ipv4Addr;
use std::path::Path;

use anyhow::Context;
use serde_json::{Value as Json, json};
use ureq::http::Method;

use super::{done, items};
use crate::cli::Global;
use crate::cli::leases::{LeasesCommand, ListArgs};
use crate::cli::octets;
use crate::client::{Client, query};
use crate::local::print_json;
use crate::table::{Table, cell, percent, write_pairs};

/// The most leases asked for at once.
const PAGE: usize = 1000;

/// `outwork leases`.
pub(crate) fn leases(global: &Global, command: &LeasesCommand) -> anyhow::Result<()> {
    let client = Client::new(global)?;
    let one = |address: &Ipv4Addr| format!("/dhcp/leases/{address}");
    match command {
        LeasesCommand::List(args) => list(global, &client, args),
        LeasesCommand::Get { client: wanted } => get(global, &client, wanted),
        LeasesCommand::Add { address, mac, client_id, hostname, lease_time } => {
            let mut body = json!({"address": address, "mac": mac});
            for (name, value) in [("client_id", client_id), ("hostname", hostname)] {
                if let Some(value) = value {
                    body[name] = json!(value);
                }
            }
            if let Some(time) = lease_time {
                body["lease_time"] = json!(time.as_secs());
            }
            let answer = client.change(Method::POST, "/dhcp/leases", Some(&body))?;
            done(global, &answer, &format!("added a lease of {address}"))
        }
        LeasesCommand::Update { address, change } => {
            let mut body = json!({});
            if let Some(hostname) = &change.hostname {
                body["hostname"] = if hostname.is_empty() { Json::Null } else { json!(hostname) };
            }
            if let Some(time) = change.lease_time {
                body["lease_time"] = json!(time.as_secs());
            }
            let answer = client.change(Method::PATCH, &one(address), Some(&body))?;
            done(global, &answer, &format!("changed the lease of {address}"))
        }
        LeasesCommand::Release { address } => {
            let answer = client.change(Method::DELETE, &one(address), None)?;
            done(global, &answer, &format!("released {address}"))
        }
        LeasesCommand::Wipe { subnet, yes } => {
            if !yes && !confirmed(&format!("End every lease of subnet {subnet}?"))? {
                anyhow::bail!("nothing was done; --yes does it without asking");
            }
            let answer = client.change(Method::POST, &format!("/dhcp/subnets/{subnet}/wipe"), None)?;
            let count = answer["removed"].as_u64().map_or_else(String::new, |count| format!(": {count} ended"));
            done(global, &answer, &format!("wiped subnet {subnet}{count}"))
        }
        LeasesCommand::Export { output } => export(&client, output.as_deref()),
        LeasesCommand::Import { file } => {
            let answer = if file == Path::new("-") {
                client.upload("/dhcp/leases/import", &mut io::stdin().lock())?
            } else {
                let mut from = File::open(file).with_context(|| format!("cannot read {}", file.display()))?;
                client.upload("/dhcp/leases/import", &mut from)?
            };
            imported(global, &answer)
        }
    }
}

/// What an import did; an error if a row of the file was refused.
fn imported(global: &Global, report: &Json) -> anyhow::Result<()> {
    let count = |name: &str| report[name].as_u64().unwrap_or_default();
    let refused = count("failed");
    if global.json {
        print_json(report)?;
    } else {
        for (name, title) in [("faults", "REFUSED"), ("notes", "TAKEN, BUT")] {
            let lines = items(&report[name]);
            if lines.is_empty() {
                continue;
            }
            let mut table = Table::new(&[">LINE", "ADDRESS", title]);
            for line in lines {
                table.row([cell(&line["line"]), cell(&line["address"]), cell(&line["detail"])]);
            }
            table.write(&mut anstream::stdout(), "")?;
        }
        let new = count("imported").saturating_sub(count("updated"));
        let leases = |count: u64| format!("{count} {}", if count == 1 { "lease" } else { "leases" });
        writeln!(
            anstream::stdout(),
            "{} imported, {} updated, {} unchanged; {refused} refused",
            leases(new),
            count("updated"),
            count("unchanged"),
        )?;
    }
    match refused {
        0 => Ok(()),
        1 => anyhow::bail!("a row of the file was refused"),
        _ => anyhow::bail!("{refused} rows of the file were refused"),
    }
}

fn list(global: &Global, client: &Client, args: &ListArgs) -> anyhow::Result<()> {
    let wanted = if args.all { usize::MAX } else { args.limit.get() };
    let mut found: Vec<Json> = Vec::new();
    let mut after = args.after.clone();
    let mut total = Json::Null;
    loop {
        let page = client.get(&format!(
            "/dhcp/leases{}",
            query(&[
                ("subnet", args.subnet.map(|id| id.to_string())),
                ("state", args.state.map(|state| state.word().into())),
                ("q", args.q.clone()),
                ("limit", Some((wanted - found.len()).min(PAGE).to_string())),
                ("after", after.clone()),
            ])
        ))?;
        found.extend(items(&page["items"]).iter().cloned());
        total = page.get("total").cloned().unwrap_or(total);
        let next = page["next"].as_str().map(str::to_owned);
        // A server that gives the same point again would keep us here for ever.
        let ends = next.is_none() || next == after || found.len() >= wanted;
        after = next;
        if ends {
            break;
        }
    }
    if global.json {
        return print_json(&json!({"items": found, "next": after, "total": total}));
    }
    let shown = found.len();
    lease_table(&found)?;
    if let Some(next) = after {
        let next = crate::table::printable(&next);
        writeln!(anstream::stderr(), "{shown} of {}; --all lists all, --after {next} goes on", cell(&total))?;
    }
    Ok(())
}

fn lease_table(leases: &[Json]) -> io::Result<()> {
    let mut table = Table::new(&["ADDRESS", "STATE", "MAC", "HOSTNAME", ">SUBNET", "EXPIRES", "RESERVED", "CLIENT ID"]);
    for lease in leases {
        table.row([
            cell(&lease["address"]),
            cell(&lease["state"]),
            cell(&lease["mac"]),
            cell(&lease["hostname"]),
            cell(&lease["subnet_id"]),
            expiry(lease),
            if lease["fixed"] == true { "yes".into() } else { "-".into() },
            cell(&lease["client_id"]),
        ]);
    }
    table.write(&mut anstream::stdout(), "no leases")
}

/// When a lease ends. Of one that never does, the API says the end of the year 9999.
fn expiry(lease: &Json) -> String {
    match lease["expires"].as_str() {
        Some(moment) if moment.starts_with("9999-12-31") => "never".into(),
        _ => cell(&lease["expires"]),
    }
}

fn get(global: &Global, client: &Client, wanted: &str) -> anyhow::Result<()> {
    let found: Vec<Json> = match wanted.parse::<Ipv4Addr>() {
        Ok(address) => vec![client.get(&format!("/dhcp/leases/{address}"))?],
        Err(_) => {
            // A text of hex digits may be any of the three. A host name is in no index: it is asked for where these know nobody.
            let whole = [
                ("mac", octets::mac(wanted).ok()),
                ("client_id", octets::identifier(wanted).ok()),
                ("hostname", Some(wanted.to_owned())),
            ];
            let mut found: Vec<Json> = Vec::new();
            for (name, value) in whole.into_iter().filter(|(_, value)| value.is_some()) {
                if name == "hostname" && !found.is_empty() {
                    break;
                }
                let known: HashSet<String> = found.iter().map(|lease| cell(&lease["address"])).collect();
                let mut after = None;
                loop {
                    let values = [(name, value.clone()), ("limit", Some(PAGE.to_string())), ("after", after.clone())];
                    let page = client.get(&format!("/dhcp/leases{}", query(&values)))?;
                    let new = |lease: &&Json| !known.contains(&cell(&lease["address"]));
                    found.extend(items(&page["items"]).iter().filter(new).cloned());
                    let next = page["next"].as_str().map(str::to_owned);
                    if next.is_none() || next == after {
                        break;
                    }
                    after = next;
                }
            }
            found
        }
    };
    if found.is_empty() {
        anyhow::bail!("no lease has the address, MAC, client id or hostname {wanted}");
    }
    if global.json {
        return print_json(&Json::Array(found));
    }
    let mut out = anstream::stdout();
    for (index, lease) in found.iter().enumerate() {
        if index > 0 {
            writeln!(out)?;
        }
        let relay = &lease["relay"];
        write_pairs(
            &mut out,
            &[
                ("address", cell(&lease["address"])),
                ("state", cell(&lease["state"])),
                ("mac", cell(&lease["mac"])),
                ("client id", cell(&lease["client_id"])),
                ("hostname", cell(&lease["hostname"])),
                ("vendor class", cell(&lease["vendor_class"])),
                ("subnet", cell(&lease["subnet_id"])),
                ("starts", cell(&lease["starts"])),
                ("expires", expiry(lease)),
                ("reserved", if lease["fixed"] == true { "yes".into() } else { "no".into() }),
                ("relay", cell(&relay["giaddr"])),
                ("circuit id", cell(&relay["circuit_id"])),
                ("remote id", cell(&relay["remote_id"])),
            ],
        )?;
    }
    Ok(())
}

fn export(client: &Client, output: Option<&Path>) -> anyhow::Result<()> {
    const PATH: &str = "/dhcp/leases/export";
    const CSV: &str = "text/csv";
    match output {
        Some(path) => super::fetch(client, PATH, CSV, path),
        None => Ok(client.download(PATH, CSV, &mut io::stdout().lock()).map(drop)?),
    }
}

/// Asks a person; where there is none to ask, the answer is no.
fn confirmed(question: &str) -> anyhow::Result<bool> {
    if !io::stdin().is_terminal() {
        return Ok(false);
    }
    write!(anstream::stderr(), "{question} [y/N] ")?;
    let mut answer = String::new();
    io::stdin().lock().read_line(&mut answer)?;
    Ok(matches!(answer.trim(), "y" | "Y" | "yes"))
}

/// `outwork subnets`.
pub(crate) fn subnets(global: &Global) -> anyhow::Result<()> {
    let answer = Client::new(global)?.get("/dhcp/subnets")?;
    if global.json {
        return print_json(&answer);
    }
    let columns = [
        "ID",
        "PREFIX",
        "NAME",
        ">ADDRESSES",
        ">ACTIVE",
        ">OFFERED",
        ">DECLINED",
        ">FREE",
        ">USED",
        ">RESERVED",
        "REMARK",
    ];
    let mut table = Table::new(&columns);
    let figures = |of: &Json, reserved: &str| {
        let [total, active, offered, declined, free, reserved] =
            ["total", "active", "offered", "declined", "free", reserved].map(|name| cell(&of[name]));
        [total, active, offered, declined, free, percent(&of["utilisation"]), reserved]
    };
    for subnet in items(&answer["items"]) {
        let name = [cell(&subnet["id"]), cell(&subnet["prefix"]), cell(&subnet["name"])];
        table.row(name.into_iter().chain(figures(subnet, "reservations")).chain([String::new()]));
        for pool in items(&subnet["pools"]) {
            let remark = match (pool["free"].as_u64(), &pool["warning"]) {
                (Some(0), _) => "full",
                (_, Json::Bool(true)) => "nearly full",
                _ => "",
            };
            let name = [String::new(), format!("  {}", cell(&pool["range"])), String::new()];
            table.row(name.into_iter().chain(figures(pool, "reserved")).chain([remark.into()]));
        }
    }
    table.write(&mut anstream::stdout(), "no subnets")?;
    Ok(())
}
