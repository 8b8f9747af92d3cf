//! What `outwork sdwan` shows of what a controller has been told, and what it says where there is none.

use std::io::Write;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use serde_json::{Value as Json, json};

use super::sdwan::lines;
use super::{items, rows};
use crate::cli::Global;
use crate::cli::sdwan::PageArgs;
use crate::client::{Client, ClientError, Problem, escaped, query};
use crate::local::print_json;
use crate::table::{cell, percent, printable, write_pairs};

/// Rows of one answer at most.
const PAGE: usize = 999;

/// The part of a list that is asked for, and what the next one begins behind.
fn part(
    client: &Client,
    path: &str,
    filter: &[(&'static str, Option<String>)],
    page: &PageArgs,
) -> anyhow::Result<(Vec<Json>, Option<String>)> {
    let wanted = if page.all { usize::MAX } else { page.limit.get() };
    let (mut found, mut after) = (vec![], page.after.clone());
    loop {
        let limit = Some((wanted - found.len()).min(PAGE).to_string());
        let values = [filter, &[("limit", limit), ("after", after.clone())]].concat();
        let answer = client.get(&format!("{path}{}", query(&values)))?;
        found.extend(items(&answer["items"]).iter().cloned());
        let next = answer["next"].as_str().map(str::to_owned);
        // A server that gives the same point again would keep us here for ever.
        let ends = next.is_none() || next == after || found.len() >= wanted;
        after = next;
        if ends {
            return Ok((found, after));
        }
    }
}

/// Shows a part of a list.
fn list(
    global: &Global,
    (found, next): (Vec<Json>, Option<String>),
    columns: &[&'static str],
    empty: &str,
    cells: impl Fn(&Json) -> Vec<String>,
) -> anyhow::Result<()> {
    if global.json {
        return print_json(&json!({ "items": found, "next": next }));
    }
    let shown = found.len();
    rows(&mut anstream::stdout(), columns, &Json::from(found), empty, cells)?;
    if let Some(next) = next {
        writeln!(anstream::stderr(), "{shown} and more; --all lists all, --after {} goes on", printable(&next))?;
    }
    Ok(())
}

fn in_millis(value: &Json) -> String {
    value.as_f64().map_or_else(|| "-".to_owned(), |ms| format!("{ms:.1} ms"))
}

/// The paths of the network.
pub(super) fn paths(
    global: &Global,
    client: &Client,
    (site, state): (Option<&str>, Option<&str>),
    page: &PageArgs,
) -> anyhow::Result<()> {
    let filter = [("site", site.map(str::to_owned)), ("state", state.map(str::to_owned))];
    let found = part(client, "/controller/paths", &filter, page)?;
    let columns =
        [">NUMBER", "SITE", "UPLINK", "TO", "THEIRS", "STATE", ">LATENCY", ">JITTER", ">LOSS", ">MOS", "REPORTED"];
    list(global, found, &columns, "no paths: no site has reported one", |path| {
        let own = |name: &str| cell(&path[name]);
        let state = if path["chosen"] == true { format!("{}, taken", own("state")) } else { own("state") };
        let theirs = path["via"].as_str().map_or_else(|| own("remote_uplink"), |hub| format!("by {hub}"));
        let [latency, jitter] = ["latency_ms", "jitter_ms"].map(|name| in_millis(&path[name]));
        let mos = path["mos"].as_f64().map_or_else(|| "-".to_owned(), |mos| format!("{mos:.1}"));
        let ends = [own("id"), own("site"), own("uplink"), own("remote_site"), theirs, state];
        [&ends[..], &[latency, jitter, percent(&path["loss"]), mos, own("updated")]].concat()
    })
}

/// How a path was.
pub(super) fn path(global: &Global, client: &Client, number: i64, last: Duration) -> anyhow::Result<()> {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    let from = now.saturating_sub(last).as_secs().to_string();
    let answer = client.get(&format!("/controller/paths/{number}/health{}", query(&[("from", Some(from))])))?;
    if global.json {
        return print_json(&answer);
    }
    let columns = ["AT", ">UP", ">LATENCY", ">MOST", ">JITTER", ">LOSS", ">MOS", ">REPORTS", ">SENT", ">RECEIVED"];
    rows(&mut anstream::stdout(), &columns, &answer["items"], "nothing was reported of it in that time", |health| {
        let own = |name: &str| cell(&health[name]);
        let [latency, most, jitter] =
            ["latency_ms", "latency_max_ms", "jitter_ms"].map(|name| in_millis(&health[name]));
        let mos = health["mos"].as_f64().map_or_else(|| "-".to_owned(), |mos| format!("{mos:.1}"));
        let begins = [own("at"), percent(&health["up"]), latency, most, jitter, percent(&health["loss"]), mos];
        [&begins[..], &[own("count"), own("sent"), own("received")]].concat()
    })?;
    if let Some(seconds) = answer["span_seconds"].as_u64() {
        writeln!(anstream::stderr(), "each row is {seconds} s of reports; up to six hours are told by report")?;
    }
    Ok(())
}

/// What has happened at sites.
pub(super) fn events(global: &Global, client: &Client, site: Option<&str>, page: &PageArgs) -> anyhow::Result<()> {
    let found = part(client, "/controller/events", &[("site", site.map(str::to_owned))], page)?;
    let columns = ["AT", "SITE", "KIND", "OF", "FROM", "TO", "WHY"];
    list(global, found, &columns, "nothing has happened", |event| {
        ["at", "site", "kind", "of", "from", "to", "why"].map(|key| cell(&event[key])).to_vec()
    })
}

/// The certificates of a site.
pub(super) fn certificates(global: &Global, client: &Client, site: &str) -> anyhow::Result<()> {
    let answer = client.get(&format!("/controller/sites/{}/certificates", escaped(site)))?;
    if global.json {
        return print_json(&answer);
    }
    let columns = ["SERIAL", "ISSUED", "EXPIRES", "REVOKED"];
    rows(&mut anstream::stdout(), &columns, &answer["items"], "no certificate that would still be good", |one| {
        ["serial", "issued", "expires", "revoked"].map(|key| cell(&one[key])).to_vec()
    })?;
    Ok(())
}

/// Who has changed what of the network.
pub(super) fn changes(global: &Global, client: &Client, page: &PageArgs) -> anyhow::Result<()> {
    let found = part(client, "/controller/changes", &[], page)?;
    let columns = [">NUMBER", "AT", "WHO", "WHAT", "TARGET"];
    list(global, found, &columns, "no changes", |change| {
        ["id", "at", "who", "what", "target"].map(|key| cell(&change[key])).to_vec()
    })
}

/// What a change was.
pub(super) fn change(global: &Global, client: &Client, number: i64) -> anyhow::Result<()> {
    // They are listed downwards: what comes behind the next number is this one.
    let behind = [("limit", Some("1".to_owned())), ("after", Some(number.saturating_add(1).to_string()))];
    let answer = client.get(&format!("/controller/changes{}", query(&behind)))?;
    let found = items(&answer["items"]).first().filter(|change| change["id"].as_i64() == Some(number));
    let Some(change) = found else {
        anyhow::bail!("there is no change {number}, or the log keeps it no longer; `outwork sdwan changes` lists them");
    };
    if global.json {
        return print_json(change);
    }
    let mut out = anstream::stdout();
    let own = ["id", "at", "who", "what", "target", "revision"];
    write_pairs(&mut out, &own.map(|key| (if key == "id" { "number" } else { key }, cell(&change[key]))))?;
    let detail: Json = change["detail"].as_str().and_then(|text| serde_json::from_str(text).ok()).unwrap_or_default();
    for line in lines(&detail["before"], &detail["after"]) {
        writeln!(out, "  {}", printable(&line))?;
    }
    Ok(())
}

/// The refusal of a server that has no such thing.
fn missing(error: anyhow::Error) -> Result<Box<Problem>, anyhow::Error> {
    match error.downcast::<ClientError>()? {
        ClientError::Refused(problem) if problem.is_missing() => Ok(problem),
        error => Err(error.into()),
    }
}

/// What a server says of itself in its network; nothing of one that is neither a site nor a controller, and none where it does not say.
fn standing(client: &Client) -> Option<Json> {
    match client.get("/sdwan/status") {
        Ok(standing) => Some(standing),
        Err(ClientError::Refused(problem)) if problem.is_missing() => Some(Json::Null),
        Err(_) => None,
    }
}

/// Where the controller is, for who has asked a server that is none; the error as it is where that is not why.
pub(super) fn elsewhere(client: &Client, error: anyhow::Error) -> anyhow::Error {
    match missing(error) {
        Ok(problem) => match standing(client) {
            Some(standing) if standing["controller"].is_null() => elsewhere_by(*problem, &standing),
            _ => ClientError::Refused(problem).into(),
        },
        Err(error) => error,
    }
}

fn elsewhere_by(problem: Problem, standing: &Json) -> anyhow::Error {
    let at: Vec<_> = items(&standing["follows"]["addresses"]).iter().map(cell).collect();
    let (why, help) = match (standing["site"] == true, at.is_empty()) {
        (true, false) => (
            format!("this server is a site; that is for its controller, at {}", printable(&at.join(", "))),
            "run it there, or say with --url where the admin API of that one is; `outwork sdwan status`, `outwork paths` and `outwork tunnels` are of this site",
        ),
        (true, true) => (
            "this server is a site that follows no controller: its network is in its configuration file".to_owned(),
            "sdwan.controller.address says whom it follows; a [controller] section makes a server one",
        ),
        (false, _) => (
            "this server is no controller, and no site of a network".to_owned(),
            "say with --url where the admin API of the controller is; a [controller] section makes a server one",
        ),
    };
    ClientError::Refused(Box::new(problem.which_is_not_here(why, help))).into()
}

/// How a site stands, where it is a site that was asked and no controller.
pub(super) fn site_status(global: &Global, client: &Client, error: anyhow::Error) -> anyhow::Result<()> {
    let problem = missing(error)?;
    let here = match standing(client) {
        Some(here) if here["controller"].is_null() => here,
        _ => return Err(ClientError::Refused(problem).into()),
    };
    if here["site"] != true {
        return Err(elsewhere_by(*problem, &here));
    }
    if global.json {
        return print_json(&here);
    }
    super::sdwan::hidden(&here)?;
    let (mut out, follows) = (anstream::stdout(), &here["follows"]);
    if follows.is_null() {
        writeln!(out, "this site follows no controller: its network is in its configuration file")?;
        return Ok(());
    }
    let since = |what: String, at: &Json| if at.is_null() { what } else { format!("{what}, since {}", cell(at)) };
    let connected = match follows["connected"] == true {
        true => since(format!("yes, at {}", cell(&follows["address"])), &follows["connected_since"]),
        false => "no: all goes on as it was told last".to_owned(),
    };
    let version = match follows["version"].as_u64().unwrap_or_default() {
        0 => "none yet".to_owned(),
        version => since(version.to_string(), &follows["since"]),
    };
    let addresses = items(&follows["addresses"]).iter().map(cell).collect::<Vec<_>>().join(", ");
    write_pairs(
        &mut out,
        &[
            ("site", follows["site"].as_str().map_or_else(|| "not enrolled".to_owned(), str::to_owned)),
            ("controller", addresses),
            ("connected", connected),
            ("version", version),
            ("certificate until", cell(&follows["certificate_expires"])),
            ("reports waiting", cell(&follows["reports_waiting"])),
            ("error", cell(&follows["error"])),
        ],
    )?;
    Ok(())
}
