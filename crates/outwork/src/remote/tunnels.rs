//! `outwork tunnels` and `outwork paths`.

use std::io::Write;

use serde_json::json;

use super::rows;
use crate::cli::Global;
use crate::client::Client;
use crate::local::print_json;
use crate::table::{bytes, cell};

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
    writeln!(out)?;
    let columns = ["PEER", "UPLINK", "ENDPOINT", ">KEYS OF", ">SENT", ">RECEIVED", ">REFUSED", "NETWORKS"];
    rows(&mut out, &columns, &tunnels["items"], "no tunnels", |tunnel| {
        let own = |name: &str| cell(&tunnel[name]);
        let amount = |name: &str| bytes(tunnel[name].as_f64().unwrap_or_default());
        let age = tunnel["keys_age_seconds"].as_f64().map_or_else(|| "none".to_owned(), |age| format!("{age:.0} s ago"));
        let networks = tunnel["networks"].as_array().into_iter().flatten().map(cell).collect::<Vec<_>>().join(", ");
        vec![
            own("peer"),
            own("uplink"),
            own("endpoint"),
            age,
            amount("sent_bytes"),
            amount("received_bytes"),
            own("refused"),
            networks,
        ]
    })?;
    Ok(())
}

/// Events that are shown.
const EVENTS: usize = 20;

/// `outwork paths`.
pub(crate) fn paths(global: &Global) -> anyhow::Result<()> {
    let client = Client::new(global)?;
    let (paths, events) = (client.get("/sdwan/paths")?, client.get("/sdwan/events")?);
    if global.json {
        return print_json(&json!({ "paths": paths["items"], "events": events["items"] }));
    }
    let mut out = anstream::stdout();
    let columns = ["SITE", "UPLINK", "THEIRS", "STATE", ">LATENCY", ">JITTER", ">LOSS", ">SENT", ">RECEIVED", "ENDPOINT"];
    rows(&mut out, &columns, &paths["items"], "no paths: there is no other site", |path| {
        let own = |name: &str| cell(&path[name]);
        let millis = |name: &str| path[name].as_f64().map_or_else(|| "-".to_owned(), |ms| format!("{ms:.1} ms"));
        let state = if path["chosen"] == true { format!("{}, taken", own("state")) } else { own("state") };
        let loss = path["loss"].as_f64().unwrap_or_default() * 100.0;
        vec![
            own("site"),
            own("uplink"),
            own("remote_uplink"),
            state,
            millis("latency_ms"),
            millis("jitter_ms"),
            format!("{loss:.1} %"),
            own("sent"),
            own("received"),
            own("endpoint"),
        ]
    })?;
    let mut latest = events["items"].clone();
    latest.as_array_mut().into_iter().for_each(|events| events.truncate(EVENTS));
    writeln!(out)?;
    rows(&mut out, &["OF", "FROM", "TO", "WHY"], &latest, "nothing has happened", |event| {
        ["of", "from", "to", "why"].map(|name| cell(&event[name])).to_vec()
    })?;
    Ok(())
}
