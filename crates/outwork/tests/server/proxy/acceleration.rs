//! What accelerates and what could, told by the commands and the API; benchmarks of the API. Packets themselves are for tests/e2e.

use std::io::{Read, Write};
use std::net::TcpListener;

use serde_json::Value as Json;

use crate::binary::{Place, curl, json, text, until_some};

const RULES: &str = "\n[[front.listener]]\naddress = 'HOST:8080'\n[[front.route]]\npath = '/app/*'\nproxy = { pool = 'app' }\n\
    basic_auth = { users = { ann = '$2b$04$ZBHHuNVOBPTBk1qjaHGTpucHTPEf6aUVyH2oDmS6cYTdWw3uTTDoC' } }\n\
    [proxy.pool.app]\nbackend = [{ url = 'http://10.255.255.1:80' }]\n\
    [proxy.pool.db]\npolicy = 'maglev'\nbackend = [{ url = 'tcp://10.255.255.1:80' }]\n\
    [[proxy.listener]]\nname = 'db'\naddress = ['HOST:5432']\npool = 'db'\nforwarding = 'nat'\n\
    [[proxy.listener]]\nname = 'own'\naddress = ['HOST:5433']\npool = 'db'\n";

fn rule<'a>(rules: &'a Json, name: &str) -> &'a Json {
    let rules = rules.as_array().expect("a list");
    rules.iter().find(|rule| rule["rule"] == name).expect("the rule is listed")
}

#[test]
fn every_rule_is_listed_with_its_path_its_tier_and_what_keeps_it_from_the_fast_path() {
    let mut place = Place::with(RULES);
    place.start();
    let rules = json(&place.outwork(&["rules", "--json"]));
    let reasons = |name: &str| -> Vec<String> {
        let reasons = rule(&rules, name)["reasons"].as_array().expect("a list");
        reasons.iter().map(|reason| reason["reason"].as_str().expect("a word").to_owned()).collect()
    };
    assert_eq!((&rule(&rules, "db")["path"], &rule(&rules, "db")["tier"]), (&"fast".into(), &"application".into()));
    assert_eq!(reasons("db"), ["tier"], "no tier is named");
    assert_eq!((&rule(&rules, "own")["path"], reasons("own")), (&"slow".into(), vec!["forwarding".to_owned()]));
    assert_eq!(
        (&rule(&rules, "/app/*")["kind"], reasons("/app/*")),
        (&"route".into(), vec!["http".to_owned(), "auth".to_owned()])
    );
    let shown = place.must(&["rules"]);
    assert!(shown.starts_with("RULE ") && shown.contains("proxy.acceleration.tiers names none"), "{shown}");
    let checked = text(&place.outwork(&["check"]).stderr);
    assert!(checked.contains("proxy.listener[0].forwarding") && checked.contains("proxy.acceleration"), "{checked}");
}

#[test]
fn the_seven_tiers_are_listed_with_and_without_a_server() {
    let mut place = Place::with(RULES);
    let names = |told: &Json| -> Vec<String> {
        told["tiers"]
            .as_array()
            .expect("a list")
            .iter()
            .map(|tier| tier["tier"].as_str().expect("a word").to_owned())
            .collect()
    };
    let seven = ["dpdk", "xdp", "af_xdp", "sr-iov", "tc", "application", "sockets"];
    let alone = place.outwork(&["tiers", "--json"]);
    assert!(text(&alone.stderr).contains("no server runs here"), "{alone:?}");
    let told = json(&alone);
    assert_eq!(names(&told), seven);
    assert!(told["tiers"].as_array().expect("a list").iter().all(|tier| tier["in_use"] == false), "{told}");
    place.start();
    let told = json(&place.outwork(&["tiers", "--json"]));
    assert_eq!(names(&told), seven);
    for tier in told["tiers"].as_array().expect("a list") {
        assert_eq!(tier["available"] == false, tier["why_not"].is_string(), "{tier}");
        let used = ["application", "sockets"].iter().any(|name| tier["tier"] == *name);
        assert_eq!(tier["in_use"] == true, used, "{tier}");
    }
    let lo = told["interfaces"].as_array().expect("a list").iter().find(|one| one["name"] == "lo").expect("lo");
    assert!(lo["mtu"].as_u64().is_some_and(|mtu| mtu > 0) && lo["receive_queues"] == 1, "{lo}");
    let shown = place.must(&["tiers"]);
    assert!(shown.starts_with("kernel ") && shown.contains("\nTIER ") && shown.contains("\nINTERFACE "), "{shown}");
}

#[test]
fn a_card_without_virtual_functions_is_told_so_and_the_attempt_is_audited() {
    let mut place = Place::with(RULES);
    place.start();
    let refused = place.outwork(&["tiers", "vfs", "create", "lo", "2"]);
    assert!(
        !refused.status.success() && text(&refused.stderr).contains("`lo` has no virtual functions"),
        "{refused:?}"
    );
    place.must(&["tiers", "vfs", "list"]);
    let (_, audit) = ask(&place, "GET", "/audit", "");
    assert!(audit.to_string().contains("vfs.set"), "{audit}");
}

/// Asks the admin API: the status, and the answer.
fn ask(place: &Place, method: &str, path: &str, body: &str) -> (String, Json) {
    let token = std::fs::read_to_string(place.data().join("admin.token")).expect("the token of this machine");
    let url = format!("http://{}:8067/api/v1{path}", place.host());
    let mut curl = curl();
    curl.args(["-sS", "-X", method, "-w", "\n%{http_code}", "-H", &format!("Authorization: Bearer {}", token.trim())]);
    if !body.is_empty() {
        curl.args(["-H", "Content-Type: application/json", "-d", body]);
    }
    let said = text(&curl.arg(url).output().expect("curl").stdout);
    let (answer, status) = said.rsplit_once('\n').expect("a status");
    // Behind the head, where that is shown.
    let answer = answer.rsplit_once("\r\n\r\n").map_or(answer, |(_, answer)| answer);
    (status.to_owned(), serde_json::from_str(answer).unwrap_or_default())
}

#[test]
fn benchmarks_of_the_api_are_begun_watched_ended_and_kept() {
    let mut place = Place::with(RULES);
    place.start();
    let listener = TcpListener::bind((place.host(), 0)).expect("a port");
    let target = listener.local_addr().expect("an address");
    std::thread::spawn(move || {
        for mut stream in listener.incoming().flatten() {
            std::thread::spawn(move || {
                let mut buffer = [0; 65_536];
                while let Ok(length) = stream.read(&mut buffer)
                    && length > 0
                    && stream.write_all(&buffer[..length]).is_ok()
                {}
            });
        }
    });
    let begin = |kind: &str, target: &str, more: &str| {
        let body = format!("{{\"target\": \"{target}\", \"connections\": 2, \"packet_size\": 64{more}}}");
        ask(&place, "POST", &format!("/proxy/benchmark/{kind}"), &body)
    };
    let target = target.to_string();
    let (status, begun) = begin("latency", &target, ", \"duration\": \"200ms\"");
    assert_eq!((status.as_str(), &begun["state"]), ("202", &"running".into()), "{begun}");
    let done = until_some("the benchmark to end", || {
        let (_, run) = ask(&place, "GET", "/proxy/benchmarks/1", "");
        (run["state"] == "done").then_some(run)
    });
    assert!(done["result"]["exchanges"].as_u64().is_some_and(|count| count > 0), "{done}");
    assert_eq!(
        (begin("mixed", &target, ", \"duration\": \"10m\"").0.as_str(), begin("latency", &target, "").0.as_str()),
        ("202", "409")
    );
    let (_, ended) = ask(&place, "DELETE", "/proxy/benchmarks/2", "");
    assert_eq!(ended["state"], "cancelled", "{ended}");
    let (_, all) = ask(&place, "GET", "/proxy/benchmarks", "");
    let ids: Vec<u64> = all.as_array().expect("a list").iter().filter_map(|run| run["id"].as_u64()).collect();
    assert_eq!(ids, [2, 1], "the newest first");
    assert_eq!(begin("latency", "10.255.255.1:80", "").0, "400");
    assert_eq!(begin("latency", &target, ", \"duration\": \"11m\"").0, "400");
    assert_eq!(begin("speed", &target, "").0, "404");
    // The kind may stand in the body, and is said in one way then.
    let told = |(status, problem): (String, Json)| (status, problem["detail"].as_str().unwrap_or_default().to_owned());
    let (status, detail) = told(begin("latency", &target, ", \"kind\": \"mixed\""));
    assert!(status == "400" && detail.contains("the path says \"latency\""), "{detail}");
    let body = format!("{{\"target\": \"{target}\", \"kind\": \"speed\"}}");
    let (status, detail) = told(ask(&place, "POST", "/proxy/benchmark", &body));
    assert!(status == "400" && detail.contains("throughput, latency, connections, mixed"), "{detail}");
    let (status, detail) = told(ask(&place, "GET", "/proxy/benchmark", ""));
    assert!(status == "404" && detail.contains("GET /api/v1/proxy/benchmarks"), "{detail}");
    let body = format!("{{\"target\": \"{target}\", \"connections\": 1, \"duration\": \"100ms\"}}");
    let (status, suite) = ask(&place, "POST", "/proxy/benchmark", &body);
    assert_eq!((status.as_str(), &suite["parts"], &suite["id"]), ("202", &4.into(), &3.into()), "{suite}");
    let done = until_some("the suite to end", || {
        let (_, run) = ask(&place, "GET", "/proxy/benchmarks/3", "");
        (run["state"] == "done").then_some(run)
    });
    let kinds: Vec<_> = done["results"].as_array().expect("results").iter().map(|one| one["kind"].as_str()).collect();
    assert_eq!(kinds, ["throughput", "latency", "connections", "mixed"].map(Some));
    place.change(|text| text + "[proxy.benchmark]\ntargets = ['10.255.255.0/24']\n");
    place.must(&["reload"]);
    assert_eq!(begin("latency", "10.255.255.1:80", ", \"duration\": \"100ms\"").0, "202");
    until_some("the one before to end", || {
        let (_, run) = ask(&place, "GET", "/proxy/benchmarks/4", "");
        (run["state"] == "done").then_some(())
    });
    // What is under way as the server ends is ended, too, and kept with the others.
    assert_eq!(begin("latency", &target, ", \"duration\": \"10m\"").0, "202");
    assert!(place.stop(15).success());
    place.start();
    let (_, all) = ask(&place, "GET", "/proxy/benchmarks", "");
    let states: Vec<_> = all.as_array().expect("a list").iter().map(|run| run["state"].as_str()).collect();
    assert_eq!(states, ["cancelled", "done", "done", "cancelled", "done"].map(Some));
}

#[test]
fn a_load_by_the_command_says_what_came_of_it() {
    let place = Place::new();
    let listener = TcpListener::bind((place.host(), 0)).expect("a port");
    let target = listener.local_addr().expect("an address").to_string();
    std::thread::spawn(move || listener.incoming().flatten().for_each(drop));
    let kind = ["--kind", "connections", "--duration", "200ms", "--connections", "2"];
    let said = place.must(&[&["bench", "proxy", &target], &kind[..]].concat());
    assert!(said.starts_with(&format!("connections of {target} over tcp, ")), "{said}");
    let suite = place.outwork(&["bench", "proxy", &target, "--duration", "100ms", "--timeout", "50ms", "--json"]);
    let kinds: Vec<_> = json(&suite).as_array().expect("four").iter().map(|one| one["kind"].clone()).collect();
    assert_eq!(kinds, ["throughput", "latency", "connections", "mixed"]);
    let vain = place.outwork(&["bench", "proxy", "127.255.255.254:9", "--duration", "100ms"]);
    assert!(!vain.status.success() && text(&vain.stderr).contains("nobody accepts connections"), "{vain:?}");
}
