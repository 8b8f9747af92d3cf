//! The dashboard for Grafana asks for metrics that there are.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use serde_json::Value as Json;

use crate::binary::{Place, curl, json};

/// Without a listener there is no front door, and nothing of it to count.
const DOOR: &str = "[[front.listener]]\naddress = 'HOST:8080'\n[[front.route]]\npath = '/'\nrespond = {}\n";

/// Every value of a key, wherever it stands.
fn all<'a>(value: &'a Json, key: &str, found: &mut Vec<&'a Json>) {
    match value {
        Json::Array(items) => items.iter().for_each(|item| all(item, key, found)),
        Json::Object(fields) => {
            found.extend(fields.get(key));
            fields.values().for_each(|field| all(field, key, found));
        }
        _ => {}
    }
}

/// The metrics of an expression, and those of them whose `rate` it asks for. Texts are values of labels, and what stands in braces are labels.
fn metrics(expression: &str) -> (BTreeSet<String>, BTreeSet<String>) {
    let (mut names, mut rates) = (BTreeSet::new(), BTreeSet::new());
    let (mut word, mut before, mut depth, mut quoted) = (String::new(), String::new(), 0, false);
    for letter in expression.chars().chain([' ']) {
        match letter {
            '"' => quoted = !quoted,
            _ if quoted => {}
            'a'..='z' | 'A'..='Z' | '0'..='9' | '_' | ':' if depth == 0 => word.push(letter),
            _ => {
                if word.starts_with("outwork_") || word.starts_with("process_") {
                    rates.extend((before == "rate").then(|| word.clone()));
                    names.insert(word.clone());
                }
                if !word.is_empty() {
                    before = std::mem::take(&mut word);
                }
                depth += i32::from(letter == '{') - i32::from(letter == '}');
            }
        }
    }
    (names, rates)
}

/// What the server declares, each name as Prometheus has it, and whether it only grows.
fn declared(place: &Place) -> BTreeMap<String, bool> {
    let token = std::fs::read_to_string(place.data().join("admin.token")).expect("the secret of this machine");
    let mut curl = curl();
    curl.args(["-H", &format!("Authorization: Bearer {}", token.trim())]);
    let answer = json(&curl.arg(format!("http://{}:8067/api/v1/metrics/now", place.host())).output().expect("curl"));
    let mut names = BTreeMap::new();
    for metric in answer["metrics"].as_array().expect("a list") {
        let name = metric["name"].as_str().expect("a name");
        if metric["kind"] == "histogram" {
            let unit = ["_seconds", "_bytes"].into_iter().find(|unit| name.ends_with(unit)).unwrap_or_default();
            let distribution = format!("{}_distribution{unit}", name.strip_suffix(unit).expect("its unit"));
            let series = ["_bucket", "_sum", "_count"].map(|suffix| (format!("{distribution}{suffix}"), true));
            names.extend(series);
        } else {
            names.insert(name.to_owned(), metric["kind"] == "counter");
        }
    }
    names
}

#[test]
fn metrics_are_found_in_an_expression_wherever_they_stand() {
    let found = metrics("sum by (outwork) (rate(outwork_a_total{outwork_b=~\"$x\",c=\"process_d\"}[5m])) / process_e");
    let set = |names: &[&str]| names.iter().map(|name| (*name).to_owned()).collect::<BTreeSet<_>>();
    assert_eq!(found, (set(&["outwork_a_total", "process_e"]), set(&["outwork_a_total"])));
}

#[test]
fn no_metric_says_its_unit_twice() {
    let mut place = Place::with(DOOR);
    place.start();
    let twice =
        |name: &&String| ["bytes", "seconds", "total"].iter().any(|word| name.contains(&format!("_{word}_{word}")));
    assert_eq!(declared(&place).keys().filter(twice).collect::<Vec<_>>(), Vec::<&String>::new());
}

#[test]
fn the_dashboard_of_the_proxy_asks_for_metrics_that_the_server_has() {
    let mut place = Place::with(DOOR);
    place.start();
    let declared = declared(&place);
    let file = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../deploy/grafana/outwork-proxy.json");
    let text = std::fs::read_to_string(file).expect("the dashboard");
    let dashboard: Json = serde_json::from_str(&text).expect("JSON");
    let (mut expressions, mut definitions, mut sources, mut ids) = (vec![], vec![], vec![], vec![]);
    all(&dashboard, "expr", &mut expressions);
    all(&dashboard["templating"], "definition", &mut definitions);
    all(&dashboard, "datasource", &mut sources);
    all(&dashboard["panels"], "id", &mut ids);
    assert!(expressions.len() > 40 && definitions.len() >= 2, "{} expressions", expressions.len());
    for expression in expressions.iter().chain(&definitions).map(|expression| expression.as_str().expect("a text")) {
        let (names, rates) = metrics(expression);
        assert!(!names.is_empty(), "{expression}: which metric is that of?");
        for name in names {
            let grows = declared.get(&name).unwrap_or_else(|| panic!("{expression}: there is no metric {name}"));
            assert!(!rates.contains(&name) || *grows, "{expression}: {name} does not only grow, and has no rate");
        }
    }
    // Whoever takes it in chooses where its figures come from.
    assert!(sources.iter().all(|source| source["uid"] == "${datasource}"), "{sources:?}");
    assert_eq!(dashboard["templating"]["list"][0]["name"], "datasource");
    let count = ids.len();
    ids.sort_by_key(|id| id.as_u64());
    ids.dedup();
    assert_eq!(ids.len(), count, "each panel has a number of its own");
}
