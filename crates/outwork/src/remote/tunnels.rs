//! `outwork tunnels` and `outwork paths`.

use std::io::Write;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use outwork_front::api::Timestamp;
use serde_json::{Value as Json, json};

use super::{items, rows};
use crate::cli::Global;
use crate::cli::paths::{FlowArgs, PathsCommand};
use crate::client::{Client, query};
use crate::local::print_json;
use crate::table::{bytes, cell, percent, printable, write_pairs};

/// `outwork tunnels`.
pub(crate) fn tunnels(global: &Global) -> anyhow::Result<()> {
    let client = Client::new(global)?;
    let (uplinks, tunnels) = (client.get("/sdwan/uplinks")?, client.get("/sdwan/tunnels")?);
    if global.json {
        return print_json(&json!({ "uplinks": uplinks["items"], "tunnels": tunnels["items"] }));
    }
    let mut out = anstream::stdout();
    rows(&mut out, &["UPLINK", "LISTENS", "PUBLIC KEY"], &uplinks["items"], "no uplinks", |uplink| {
        let listens = uplink["listens"].as_array().into_iter().flatten().map(cell).collect::<Vec<_>>().join(", ");
        vec![cell(&uplink["name"]), listens, cell(&uplink["public_key"])]
    })?;
    for uplink in items(&uplinks["items"]).iter().filter(|uplink| uplink["rotation"].is_object()) {
        let own = |value: &Json| printable(&cell(value));
        let hours = uplink["rotation"]["until_ms"].as_f64().unwrap_or_default() / 3.6e6 - now_hours();
        let who = items(&uplink["rotation"]["waits_for"]).iter().map(own).collect::<Vec<_>>().join(", ");
        let next = own(&uplink["next_public_key"]);
        match uplink["rotation"]["state"] == "taken-up" {
            true => {
                writeln!(out, "{}: all know the new key {next}; the old one is dropped soon", own(&uplink["name"]))?
            }
            false => writeln!(
                out,
                "{}: the key {next} takes over; the old one is dropped in {hours:.1} h at the latest; without the new one yet: {who}",
                own(&uplink["name"])
            )?,
        }
    }
    writeln!(out)?;
    let columns = ["TO", "UPLINK", "ENDPOINT", ">KEYS OF", ">SENT", ">RECEIVED", ">REFUSED", "NETWORKS"];
    rows(&mut out, &columns, &tunnels["items"], "no tunnels", |tunnel| {
        let own = |name: &str| cell(&tunnel[name]);
        let amount = |name: &str| bytes(tunnel[name].as_f64().unwrap_or_default());
        let age =
            tunnel["keys_age_seconds"].as_f64().map_or_else(|| "none".to_owned(), |age| format!("{age:.0} s ago"));
        let networks = tunnel["networks"].as_array().into_iter().flatten().map(cell).collect::<Vec<_>>().join(", ");
        let (theirs, hub) = (&tunnel["path"]["remote_uplink"], tunnel["path"]["via"].as_str());
        let to = theirs.as_str().map_or_else(|| own("peer"), |theirs| format!("{}/{}", own("peer"), printable(theirs)));
        vec![
            to,
            own("uplink"),
            hub.map_or_else(|| own("endpoint"), |hub| format!("by {}", printable(hub))),
            age,
            amount("sent_bytes"),
            amount("received_bytes"),
            own("refused"),
            networks,
        ]
    })?;
    Ok(())
}

/// Hours since 1970.
fn now_hours() -> f64 {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_secs_f64() / 3600.0
}

/// Events that are shown.
const EVENTS: usize = 20;

/// `outwork paths`.
pub(crate) fn paths(global: &Global, command: Option<&PathsCommand>) -> anyhow::Result<()> {
    let client = Client::new(global)?;
    if let Some(PathsCommand::Explain(flow)) = command {
        return explain(global, &client, flow);
    }
    let (paths, events) = (client.get("/sdwan/paths")?, client.get("/sdwan/events")?);
    if global.json {
        return print_json(&json!({ "paths": paths["items"], "events": events["items"] }));
    }
    let mut out = anstream::stdout();
    let columns =
        ["SITE", "UPLINK", "THEIRS", "STATE", ">LATENCY", ">JITTER", ">LOSS", ">MTU", ">SENT", ">RECEIVED", "ENDPOINT"];
    rows(&mut out, &columns, &paths["items"], "no paths: there is no other site", |path| {
        let own = |name: &str| cell(&path[name]);
        let state = if path["chosen"] == true { format!("{}, taken", own("state")) } else { own("state") };
        let loss = path["loss"].as_f64().unwrap_or_default() * 100.0;
        vec![
            own("site"),
            own("uplink"),
            own("remote_uplink"),
            state,
            in_millis(&path["latency_ms"]),
            in_millis(&path["jitter_ms"]),
            format!("{loss:.1} %"),
            own("mtu"),
            own("sent"),
            own("received"),
            path["via"].as_str().map_or_else(|| own("endpoint"), |hub| format!("by {}", printable(hub))),
        ]
    })?;
    let mut latest = events["items"].clone();
    latest.as_array_mut().into_iter().for_each(|events| events.truncate(EVENTS));
    writeln!(out)?;
    rows(&mut out, &["WHEN", "OF", "FROM", "TO", "WHY"], &latest, "nothing has happened", |event| {
        let class = event["class"].as_str().map(|class| format!(" ({})", printable(class))).unwrap_or_default();
        let [of, from, to, why] = ["of", "from", "to", "why"].map(|name| cell(&event[name]));
        let often = event["count"].as_u64().filter(|count| *count > 1).map(|count| format!(" ({count} times)"));
        vec![at(&event["at_ms"]), of + &class, from, to, why + &often.unwrap_or_default()]
    })?;
    Ok(())
}

/// `outwork paths explain`.
fn explain(global: &Global, client: &Client, flow: &FlowArgs) -> anyhow::Result<()> {
    let port = |port: Option<u16>| port.map(|port| port.to_string());
    let asked = query(&[
        ("source", Some(flow.source.to_string())),
        ("destination", Some(flow.destination.to_string())),
        ("protocol", Some(flow.protocol.clone())),
        ("source_port", port(flow.source_port)),
        ("port", port(flow.port)),
        ("dscp", flow.dscp.clone()),
        ("name", flow.name.clone()),
    ]);
    let told = client.get(&format!("/sdwan/explain{asked}"))?;
    if global.json {
        return print_json(&told);
    }
    let mut out = anstream::stdout();
    let names = ["to", "application", "policy", "class", "strategy", "mark"];
    write_pairs(&mut out, &names.map(|name| (name, cell(&told[name]))))?;
    writeln!(out)?;
    let columns = ["PATH", "TAKEN", "STATE", "LIMITS", ">LATENCY", ">JITTER", ">LOSS"];
    rows(&mut out, &columns, &told["paths"], "no paths", |path| {
        let own = |name: &str| cell(&path[name]);
        let limits = if path["keeps_limits"] == true { "kept" } else { "broken" };
        let [latency, jitter] = ["latency_ms", "jitter_ms"].map(|name| in_millis(&path[name]));
        vec![own("path"), own("taken"), own("state"), limits.to_owned(), latency, jitter, percent(&path["loss"])]
    })?;
    writeln!(out)?;
    items(&told["why"]).iter().try_for_each(|why| writeln!(out, "- {}", printable(&cell(why))))?;
    Ok(())
}

/// A moment in Unix milliseconds.
fn at(value: &Json) -> String {
    let millis = value.as_u64().map(Duration::from_millis);
    millis.map_or_else(|| "-".to_owned(), |since| Timestamp::from(UNIX_EPOCH + since).to_string())
}

fn in_millis(value: &Json) -> String {
    value.as_f64().map_or_else(|| "-".to_owned(), |ms| format!("{ms:.1} ms"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_event_says_when_it_was_in_utc() {
        assert_eq!(at(&json!(1_800_000_000_250_u64)), "2027-01-15T08:00:00.250Z");
        assert_eq!(at(&Json::Null), "-");
    }
}
