//! `outwork sdwan` at the controller.

use std::fs::File;
use std::io::{self, Read, Write};
use std::path::Path;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use anyhow::Context;
use serde_json::{Map, Value as Json, json};
use ureq::http::Method;

use super::reported::{certificates, change, changes, elsewhere, events, path, paths, site_status};
use super::{done, items, rows};
use crate::cli::Global;
use crate::cli::sdwan::{DocumentArgs, DocumentCommand, PolicyCommand, SdwanCommand, SharedCommand};
use crate::client::{Client, escaped, query};
use crate::local::print_json;
use crate::table::{bytes, cell, printable, write_pairs};

/// Octets of a document in JSON at most.
const MOST: u64 = 1 << 20;

/// `outwork sdwan`, but for what a site does itself.
pub(crate) fn sdwan(global: &Global, command: &SdwanCommand) -> anyhow::Result<()> {
    let client = Client::new(global)?;
    asked(global, &client, command).or_else(|error| match command {
        SdwanCommand::Status => site_status(global, &client, error),
        // What a site does for itself, no controller does.
        SdwanCommand::Enrol { .. } | SdwanCommand::RotateKey { .. } => Err(error),
        _ => Err(elsewhere(&client, error)),
    })
}

fn asked(global: &Global, client: &Client, command: &SdwanCommand) -> anyhow::Result<()> {
    match command {
        SdwanCommand::Token { site, expires, subnets } => {
            let mut body = json!({ "site": site });
            if let Some(subnets) = subnets {
                let subnets = subnets.iter().map(|text| text.trim()).filter(|text| !text.is_empty());
                body["subnets"] = subnets.collect();
            }
            if let Some(expires) = expires {
                body["expires_in"] = json!(expires.as_secs());
            }
            let answer = client.change(Method::POST, "/controller/enrolments", Some(&body))?;
            if global.json {
                return print_json(&answer);
            }
            let until = printable(&cell(&answer["expires"]));
            writeln!(
                anstream::stderr(),
                "token for the site {site}, good once and until {until}; it is shown this once:"
            )?;
            writeln!(anstream::stdout(), "{}", printable(&cell(&answer["token"])))?;
            Ok(())
        }
        SdwanCommand::Tokens => tokens(global, client),
        SdwanCommand::Withdraw { number } => {
            let answer = client.change(Method::DELETE, &format!("/controller/enrolments/{number}"), None)?;
            done(global, &answer, &format!("the token {number} lets nobody in"))
        }
        SdwanCommand::Enrol { shown, controller } => crate::enrolment::enrol(global, shown, controller),
        SdwanCommand::Revoke { site } => {
            let path = format!("/controller/sites/{}/certificates", escaped(site));
            let answer = client.change(Method::DELETE, &path, None)?;
            done(
                global,
                &answer,
                &format!("{site} is believed no longer: {} certificates", cell(&answer["certificates"])),
            )
        }
        SdwanCommand::RotateKey { uplink, abandon } => rotate(global, client, uplink.as_deref(), *abandon),
        SdwanCommand::Status => status(global, client),
        SdwanCommand::Paths { number: Some(number), last, .. } => path(global, client, *number, *last),
        SdwanCommand::Paths { number: None, site, state, page, .. } => {
            paths(global, client, (site.as_deref(), state.as_deref()), page)
        }
        SdwanCommand::Events { site, page } => events(global, client, site.as_deref(), page),
        SdwanCommand::Certificates { site } => certificates(global, client, site),
        SdwanCommand::Changes { number: Some(number), .. } => change(global, client, *number),
        SdwanCommand::Changes { number: None, page } => changes(global, client, page),
        SdwanCommand::Undo { change, check } => {
            let which = change.map(|change| format!("/{change}")).unwrap_or_default();
            let answer =
                client.change(Method::POST, &format!("/controller/changes{which}/undo{}", tried(*check)), None)?;
            differences(global, &answer)
        }
        SdwanCommand::Accept { beyond } => {
            let which = query(&[("beyond", beyond.map(|version| version.to_string()))]);
            let answer = client.change(Method::POST, &format!("/controller/changes/accept{which}"), None)?;
            done(global, &answer, &format!("all sites are told version {}", cell(&answer["version"])))
        }
        SdwanCommand::Sites(command) => document(global, client, "sites", command),
        SdwanCommand::Uplinks(command) => document(global, client, "uplinks", command),
        SdwanCommand::Classes(command) => document(global, client, "classes", command),
        SdwanCommand::Applications(command) => document(global, client, "applications", command),
        SdwanCommand::Policies(PolicyCommand::Document(command)) => document(global, client, "policies", command),
        SdwanCommand::Policies(PolicyCommand::Traffic { name, last, site }) => {
            traffic(global, client, name.as_deref(), (*last, site.as_deref()))
        }
        SdwanCommand::Settings(command) => shared(global, client, command),
    }
}

/// What says that a change is only tried.
fn tried(check: bool) -> &'static str {
    if check { "?dry_run=true" } else { "" }
}

/// Says what has changed, or would, key by key.
fn differences(global: &Global, answer: &Json) -> anyhow::Result<()> {
    if global.json {
        return print_json(answer);
    }
    let mut out = anstream::stdout();
    let is_made = answer["made"] == true;
    for item in items(&answer["items"]) {
        let verb = match (item["before"].is_object(), item["after"].is_object(), is_made) {
            (false, _, true) => "added",
            (false, _, false) => "would be added",
            (true, true, true) => "changed",
            (true, true, false) => "would be changed",
            (true, false, true) => "removed",
            (true, false, false) => "would be removed",
        };
        writeln!(out, "{} {} {verb}", printable(&cell(&item["kind"])), printable(&cell(&item["id"])))?;
        for line in lines(&item["before"], &item["after"]) {
            writeln!(out, "  {}", printable(&line))?;
        }
    }
    if let Some(count) = answer["other_releases"].as_u64().filter(|count| *count > 0) {
        writeln!(
            anstream::stderr(),
            "{count} sites run another release than this controller, and refuse what theirs does not know: see `outwork sdwan status`"
        )?;
    }
    if !is_made {
        writeln!(anstream::stderr(), "nothing was changed: this was a check")?;
    }
    Ok(())
}

/// What stands in one and not, or otherwise, in the other: a line each.
pub(super) fn lines(before: &Json, after: &Json) -> Vec<String> {
    let keys = |body: &Json| body.as_object().into_iter().flatten().map(|(key, _)| key.clone()).collect::<Vec<_>>();
    let mut all = keys(before);
    all.extend(keys(after).into_iter().filter(|key| before.get(key).is_none()));
    let differs = all.into_iter().filter(|key| before.get(key) != after.get(key));
    let line = |key: String| {
        let side = |sign: char, body: &Json| body.get(&key).map(|value| format!("{sign} {key} = {}", text(value)));
        [side('-', before), side('+', after)].into_iter().flatten().collect::<Vec<_>>()
    };
    differs.flat_map(line).collect()
}

/// What flows under a policy have sent, or under each.
fn traffic(
    global: &Global,
    client: &Client,
    name: Option<&str>,
    (last, site): (Duration, Option<&str>),
) -> anyhow::Result<()> {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    let from = now.saturating_sub(last).as_secs().to_string();
    let which = query(&[("from", Some(from)), ("site", site.map(str::to_owned))]);
    let amount = |one: &Json| [cell(&one["packets"]), bytes(one["octets"].as_f64().unwrap_or_default())];
    let Some(name) = name else {
        let answer = client.get(&format!("/controller/traffic{which}"))?;
        if global.json {
            return print_json(&answer);
        }
        let columns = ["POLICY", ">PACKETS", ">OCTETS"];
        rows(&mut anstream::stdout(), &columns, &answer["items"], "nothing was sent", |one| {
            let policy = one["policy"].as_str().map_or_else(|| "(none)".to_owned(), str::to_owned);
            [vec![policy], amount(one).to_vec()].concat()
        })?;
        return Ok(());
    };
    let answer = client.get(&format!("{}/traffic{which}", place("policies", name)))?;
    if global.json {
        return print_json(&answer);
    }
    let [packets, octets] = amount(&answer);
    let mut out = anstream::stdout();
    write_pairs(&mut out, &[("policy", name.to_owned()), ("packets", packets), ("octets", octets)])?;
    rows(&mut out, &["SITE", ">PACKETS", ">OCTETS"], &answer["sites"], "nothing was sent", |one| {
        [vec![cell(&one["site"])], amount(one).to_vec()].concat()
    })?;
    Ok(())
}

fn rotate(global: &Global, client: &Client, uplink: Option<&str>, abandon: bool) -> anyhow::Result<()> {
    let place = uplink.map(|uplink| format!("/{}", escaped(uplink))).unwrap_or_default();
    let method = if abandon { Method::DELETE } else { Method::POST };
    let answer = client.change(method, &format!("/sdwan/rotation{place}"), None)?;
    if global.json {
        return print_json(&answer);
    }
    let columns = ["UPLINK", "PUBLIC KEY", "NEXT PUBLIC KEY"];
    rows(&mut anstream::stdout(), &columns, &answer["items"], "no uplinks", |uplink| {
        ["name", "public_key", "next_public_key"].map(|key| cell(&uplink[key])).to_vec()
    })?;
    if !abandon {
        let say =
            "others that no controller tells are to have it as next_public_key; `outwork tunnels` says who knows it";
        writeln!(anstream::stderr(), "{say}")?;
    }
    Ok(())
}

/// All rows of a list.
fn all(client: &Client, path: &str) -> anyhow::Result<Json> {
    let (mut found, mut after) = (vec![], None);
    loop {
        let answer = client.get(&format!("{path}{}", query(&[("after", after)])))?;
        found.extend(items(&answer["items"]).iter().cloned());
        after = answer["next"].as_str().map(str::to_owned);
        if after.is_none() {
            return Ok(Json::from(found));
        }
    }
}

fn status(global: &Global, client: &Client) -> anyhow::Result<()> {
    let sites = all(client, "/controller/presence")?;
    let here = client.get("/sdwan/status")?;
    if global.json {
        return print_json(&json!({ "items": sites, "held_back": here["held_back"], "hidden": here["hidden"] }));
    }
    if here["held_back"] == true {
        let say = "this controller came out of an older backup and tells sites nothing until `outwork sdwan accept`: look at `outwork sdwan changes` first";
        writeln!(anstream::stderr(), "{say}")?;
    }
    let columns = ["SITE", "STATUS", "LAST HEARD OF", "RELEASE", ">VERSION", "CURRENT"];
    rows(&mut anstream::stdout(), &columns, &sites, "no sites", |site| {
        let current = match site["refused"].as_str() {
            _ if site["current"] == true => "yes".to_owned(),
            None => "no".to_owned(),
            Some(why) => format!("no: {why}"),
        };
        let mut columns = ["site", "status", "last_seen", "release", "version"].map(|key| cell(&site[key])).to_vec();
        columns.push(current);
        columns
    })?;
    hidden(&here)
}

/// Says which networks behind others the machine that was asked keeps from its tunnels.
pub(super) fn hidden(here: &Json) -> anyhow::Result<()> {
    for one in items(&here["hidden"]) {
        writeln!(anstream::stderr(), "{}", printable(&cell(&one["why"])))?;
    }
    Ok(())
}

fn tokens(global: &Global, client: &Client) -> anyhow::Result<()> {
    let tokens = all(client, "/controller/enrolments")?;
    if global.json {
        return print_json(&json!({ "items": tokens }));
    }
    let columns = [">NUMBER", "SITE", "NETWORKS", "MADE BY", "EXPIRES", "USED"];
    rows(&mut anstream::stdout(), &columns, &tokens, "no tokens", |token| {
        let mut cells = ["id", "site", "subnets", "created_by", "expires", "used"].map(|key| text(&token[key]));
        // Those that overlap nobody's.
        if token["subnets"].is_null() {
            cells[2] = "any free".to_owned();
        }
        cells.to_vec()
    })?;
    Ok(())
}

/// Where a document is.
fn place(kind: &str, name: &str) -> String {
    let name: Vec<_> = name.split('/').map(escaped).collect();
    format!("/controller/{kind}/{}", name.join("/"))
}

fn document(global: &Global, client: &Client, kind: &str, command: &DocumentCommand) -> anyhow::Result<()> {
    match command {
        DocumentCommand::List => {
            let found = all(client, &format!("/controller/{kind}"))?;
            if global.json {
                return print_json(&json!({ "items": found }));
            }
            let columns = ["NAME", ">VERSION", "CHANGED BY", "CHANGED", "SAYS"];
            rows(&mut anstream::stdout(), &columns, &found, &format!("no {kind}"), |one| {
                let [id, version, by, at] = ["id", "version", "updated_by", "updated"].map(|key| cell(&one[key]));
                vec![id, version, by, at, said(&one["body"])]
            })?;
            Ok(())
        }
        DocumentCommand::Get { name } => {
            let answer = client.get(&place(kind, name))?;
            if global.json {
                return print_json(&answer);
            }
            let own = ["version", "created", "created_by", "updated", "updated_by"];
            let mut pairs: Vec<_> = own.iter().map(|key| (*key, cell(&answer[*key]))).collect();
            let body = answer["body"].as_object();
            pairs.extend(body.into_iter().flatten().map(|(key, value)| (key.as_str(), text(value))));
            write_pairs(&mut anstream::stdout(), &pairs)?;
            Ok(())
        }
        DocumentCommand::Add { name, says, check } => {
            let mut body = whole(says)?.unwrap_or_default();
            named(kind, name, &mut body)?;
            put(&mut body, says);
            let path = format!("/controller/{kind}{}", tried(*check));
            let answer = client.change(Method::POST, &path, Some(&json!({ "body": body })))?;
            if *check {
                return differences(global, &answer);
            }
            warn(&answer)?;
            done(global, &answer, &format!("added {name} to the {kind}"))
        }
        DocumentCommand::Edit { name, says, clear, check } => {
            let there = client.get(&place(kind, name))?;
            let before = there["body"].as_object().cloned().unwrap_or_default();
            let mut body = whole(says)?.unwrap_or_else(|| before.clone());
            clear.iter().for_each(|key| drop(body.remove(key)));
            put(&mut body, says);
            anyhow::ensure!(
                body != before,
                "nothing would change; name what is to: `outwork sdwan {kind} edit --help`"
            );
            let change = json!({ "body": body, "version": there["version"] });
            let path = format!("{}{}", place(kind, name), tried(*check));
            let answer = client.change(Method::PUT, &path, Some(&change))?;
            if *check {
                return differences(global, &answer);
            }
            warn(&answer)?;
            done(global, &answer, &format!("changed {name} of the {kind}: version {}", cell(&answer["version"])))
        }
        DocumentCommand::Remove { name, check } => {
            let answer = client.change(Method::DELETE, &format!("{}{}", place(kind, name), tried(*check)), None)?;
            if *check {
                return differences(global, &answer);
            }
            done(global, &answer, &format!("removed {name} from the {kind}"))
        }
    }
}

/// Says what should be looked at in what was just changed.
fn warn(answer: &Json) -> anyhow::Result<()> {
    for warning in items(&answer["warnings"]) {
        crate::report::warn(&printable(&cell(warning)))?;
    }
    Ok(())
}

/// Where the settings for all sites are.
const SHARED: &str = "/controller/settings/network";

fn shared(global: &Global, client: &Client, command: &SharedCommand) -> anyhow::Result<()> {
    // There is one document of them, or none yet.
    let found = all(client, "/controller/settings")?;
    let there = items(&found).first().cloned();
    match command {
        SharedCommand::Show => {
            if global.json {
                return print_json(&there.unwrap_or_else(|| json!({ "body": {} })));
            }
            let Some(there) = there else {
                writeln!(anstream::stdout(), "nothing: each site goes by its own file")?;
                return Ok(());
            };
            let own = ["version", "updated", "updated_by"];
            let mut pairs: Vec<_> = own.iter().map(|key| ((*key).to_owned(), cell(&there[*key]))).collect();
            leaves("", &there["body"], &mut pairs);
            let pairs: Vec<_> = pairs.iter().map(|(key, value)| (key.as_str(), value.clone())).collect();
            write_pairs(&mut anstream::stdout(), &pairs)?;
            Ok(())
        }
        SharedCommand::Edit { says, clear, check } => {
            let before = there.as_ref().map_or_else(|| json!({}), |there| there["body"].clone());
            let mut body = whole(says)?.map_or_else(|| before.clone(), Json::Object);
            clear.iter().for_each(|key| take_out(&mut body, key));
            for (key, value) in &says.set {
                put_in(&mut body, key, value)?;
            }
            anyhow::ensure!(
                body != before,
                "nothing would change; name what is to: `outwork sdwan settings edit --help`"
            );
            let tried = tried(*check);
            let answer = match there {
                None => {
                    let path = format!("/controller/settings{tried}");
                    client.change(Method::POST, &path, Some(&json!({ "body": body })))?
                }
                Some(there) => {
                    let change = json!({ "body": body, "version": there["version"] });
                    client.change(Method::PUT, &format!("{SHARED}{tried}"), Some(&change))?
                }
            };
            if *check {
                return differences(global, &answer);
            }
            done(global, &answer, &format!("changed the settings of all sites: version {}", cell(&answer["version"])))
        }
    }
}

/// Keys with dots, and their values.
fn leaves(above: &str, value: &Json, out: &mut Vec<(String, String)>) {
    match value {
        Json::Object(table) => {
            for (key, value) in table {
                let key = if above.is_empty() { key.clone() } else { format!("{above}.{key}") };
                leaves(&key, value, out);
            }
        }
        value => out.push((above.to_owned(), text(value))),
    }
}

/// Puts a value where a key with dots leads to.
fn put_in(body: &mut Json, key: &str, value: &str) -> anyhow::Result<()> {
    let mut place = body;
    for part in key.split('.') {
        anyhow::ensure!(!part.is_empty(), "{key:?} is no key: expected such as health.misses");
        let table = place.as_object_mut().with_context(|| format!("{key}: what lies above {part:?} is a value"))?;
        place = table.entry(part).or_insert_with(|| json!({}));
    }
    *place = serde_json::from_str(value).unwrap_or_else(|_| Json::from(value));
    Ok(())
}

/// Takes out what a key with dots leads to, and tables that have nothing any more.
fn take_out(body: &mut Json, key: &str) {
    let Some(table) = body.as_object_mut() else { return };
    let Some((first, rest)) = key.split_once('.') else {
        table.remove(key);
        return;
    };
    if let Some(below) = table.get_mut(first) {
        take_out(below, rest);
        if below.as_object().is_some_and(Map::is_empty) {
            table.remove(first);
        }
    }
}

/// A value as it would be written.
fn text(value: &Json) -> String {
    match value {
        Json::Array(list) => list.iter().map(cell).collect::<Vec<_>>().join(", "),
        value => cell(value),
    }
}

/// What a document says besides its name.
fn said(body: &Json) -> String {
    let fields = body.as_object().into_iter().flatten();
    let fields = fields.filter(|(key, value)| !["name", "site"].contains(&key.as_str()) && !value.is_null());
    fields.map(|(key, value)| format!("{key}={}", text(value))).collect::<Vec<_>>().join(" ")
}

/// All that it is to say, where that is given.
fn whole(says: &DocumentArgs) -> anyhow::Result<Option<Map<String, Json>>> {
    says.json_body.as_deref().map(read).transpose()
}

/// A document in JSON, from a file or from standard input.
fn read(path: &Path) -> anyhow::Result<Map<String, Json>> {
    let mut text = String::new();
    let outcome = match path.as_os_str() == "-" {
        true => io::stdin().lock().take(MOST).read_to_string(&mut text),
        false => File::open(path).and_then(|file| file.take(MOST).read_to_string(&mut text)),
    };
    outcome.with_context(|| format!("cannot read {}", path.display()))?;
    serde_json::from_str(&text).with_context(|| format!("{} is no JSON object", path.display()))
}

/// Puts the name in, and with an uplink its site.
fn named(kind: &str, name: &str, body: &mut Map<String, Json>) -> anyhow::Result<()> {
    let own = match (kind, name.split_once('/')) {
        ("uplinks", Some((site, own))) => {
            body.insert("site".to_owned(), site.into());
            own
        }
        ("uplinks", None) => anyhow::bail!("an uplink is named behind its site, such as north/{name}"),
        _ => name,
    };
    body.insert("name".to_owned(), own.into());
    Ok(())
}

/// Keys of documents that are lists.
const LISTS: [&str; 10] = [
    "applications",
    "destinations",
    "dscp",
    "names",
    "ports",
    "protocols",
    "source_ports",
    "sources",
    "subnets",
    "uplinks",
];

/// Puts keys over what is there. What is JSON is that; all else is text, and of a list its parts between commas.
fn put(body: &mut Map<String, Json>, says: &DocumentArgs) {
    for (key, value) in &says.set {
        body.insert(key.clone(), written(key, value));
    }
}

/// What the value of a key is.
fn written(key: &str, text: &str) -> Json {
    let json = serde_json::from_str::<Json>(text).ok();
    if LISTS.contains(&key) && !matches!(json, Some(Json::Array(_) | Json::Null)) {
        return text.split(',').map(str::trim).filter(|part| !part.is_empty()).collect();
    }
    json.unwrap_or_else(|| Json::from(text))
}

#[cfg(test)]
mod tests {
    use outwork_sdwan::config::policy::{ApplicationSettings, ClassSettings, PolicySettings};
    use outwork_sdwan::config::{FarUplink, SiteSettings};

    use super::*;

    #[test]
    fn values_are_json_where_they_can_be_and_text_else() {
        let pair = |key: &str, value: &str| (key.to_owned(), value.to_owned());
        let set =
            vec![pair("latency", "20ms"), pair("ports", "[\"443\"]"), pair("priority", "7"), pair("metered", "true")];
        let mut body = Map::new();
        put(&mut body, &DocumentArgs { set, json_body: None });
        let expected = json!({ "latency": "20ms", "ports": ["443"], "priority": 7, "metered": true });
        assert_eq!(Json::Object(body), expected);
    }

    #[test]
    fn lists_are_written_with_commas_or_as_json() {
        for (value, list) in [
            ("5060", json!(["5060"])),
            ("5060, 5061,", json!(["5060", "5061"])),
            ("[443]", json!([443])),
            ("udp/3478-3481", json!(["udp/3478-3481"])),
            ("", json!([])),
        ] {
            assert_eq!(written("ports", value), list);
        }
        assert_eq!(written("subnets", "10.1.0.0/16,10.2.0.0/16"), json!(["10.1.0.0/16", "10.2.0.0/16"]));
        assert_eq!(written("names", "null"), Json::Null);
        assert_eq!(written("latency", "1,5"), json!("1,5"), "it is no list");
    }

    #[test]
    fn every_list_of_a_document_is_known_to_be_one_and_nothing_else_is() {
        let schemas = [
            outwork_config::schema::<PolicySettings>(),
            outwork_config::schema::<ApplicationSettings>(),
            outwork_config::schema::<ClassSettings>(),
            outwork_config::schema::<FarUplink>(),
            outwork_config::schema::<SiteSettings>(),
        ];
        let properties = schemas.iter().filter_map(|schema| schema["properties"].as_object()).flatten();
        // The uplinks of a site are documents of their own.
        let lists = properties.filter(|(key, of)| of["type"] == "array" && *key != "uplink");
        let lists: std::collections::BTreeSet<_> = lists.map(|(key, _)| key.as_str()).collect();
        assert_eq!(lists, LISTS.into());
    }

    #[test]
    fn of_a_change_each_key_is_told_that_is_another_and_no_other() {
        let before = json!({ "name": "calls", "class": "voice", "ports": ["5060"] });
        let after = json!({ "name": "calls", "ports": ["5060", "5061"], "mark": "EF" });
        assert_eq!(
            lines(&before, &after),
            ["- class = voice", "- ports = 5060", "+ ports = 5060, 5061", "+ mark = EF"]
        );
        assert_eq!(lines(&Json::Null, &json!({ "name": "calls" })), ["+ name = calls"]);
        assert!(lines(&after, &after).is_empty());
    }

    #[test]
    fn an_uplink_is_named_behind_its_site() {
        let mut body = Map::new();
        named("uplinks", "north/fibre", &mut body).unwrap();
        assert_eq!(Json::Object(body.clone()), json!({ "site": "north", "name": "fibre" }));
        assert!(named("uplinks", "fibre", &mut body).is_err());
        assert_eq!(place("uplinks", "north/my fibre"), "/controller/uplinks/north/my%20fibre");
    }

    #[test]
    fn settings_of_all_sites_are_named_with_dots() {
        let mut body =
            json!({ "health": { "misses": 5, "fast": "50ms" }, "qos": { "class": { "voice": { "share": 0.2 } } } });
        put_in(&mut body, "health.interval", "5s").unwrap();
        put_in(&mut body, "qos.class.bulk.share", "0.1").unwrap();
        take_out(&mut body, "qos.class.voice");
        take_out(&mut body, "health.fast");
        take_out(&mut body, "health.nothing.of.this");
        let expected = json!({
            "health": { "misses": 5, "interval": "5s" }, "qos": { "class": { "bulk": { "share": 0.1 } } },
        });
        assert_eq!(body, expected);
        take_out(&mut body, "qos.class.bulk.share");
        assert!(body.get("qos").is_none() && put_in(&mut body, "health.misses.more", "1").is_err());
    }
}
