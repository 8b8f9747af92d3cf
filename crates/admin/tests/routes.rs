//! What the routes answer, and that the OpenAPI document tells of all of them.

#![allow(clippy::unwrap_used)]

mod site;

use std::collections::BTreeSet;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant, UNIX_EPOCH};

use outwork_admin::AdminSettings;
use outwork_store::tokens::Role;
use outwork_telemetry::alerts::{Finding, Severity};
use outwork_telemetry::history::INTERVAL;
use serde_json::{Value, json};
use site::Site;

const OPEN: [&str; 5] = ["/healthz", "/readyz", "/metrics", "/api/v1/openapi.json", "/api/v1/session"];

#[test]
fn every_mounted_route_is_in_the_document_and_every_documented_route_is_mounted() {
    let site = Site::start();
    let document = site.send("GET", "/api/v1/openapi.json", &[], None).json();
    assert_eq!(document["info"]["version"], "1.2.3");
    let documented: BTreeSet<String> = document["paths"].as_object().unwrap().keys().cloned().collect();
    // axum tells its paths in its debug form alone.
    let mounted = regex::Regex::new(r#"RouteId\(\d+\): "([^"]+)""#).unwrap();
    let mounted: BTreeSet<String> = mounted.captures_iter(&site.router).map(|found| found[1].to_owned()).collect();
    // The dashboard is the fallback: the root, and everything below it.
    let mounted: BTreeSet<String> = mounted.into_iter().filter(|path| path != "/" && !path.contains("{*")).collect();
    assert!(mounted.contains("/api/v1/thing/thing"), "{mounted:?}");
    assert_eq!(documented, mounted);
    let operations =
        document["paths"].as_object().unwrap().values().flat_map(|path| path.as_object().unwrap().values());
    let names: Vec<_> = operations.map(|operation| operation["operationId"].as_str().unwrap()).collect();
    assert_eq!(names.iter().collect::<BTreeSet<_>>().len(), names.len(), "an operation's name is its own: {names:?}");
    for (path, methods) in document["paths"].as_object().unwrap() {
        for method in methods.as_object().unwrap().keys().filter(|key| *key != "parameters") {
            let answer = site.send(&method.to_uppercase(), &path.replace("{id}", "1"), &[], None);
            let expected: &[u16] = match (method.as_str(), OPEN.contains(&path.as_str())) {
                ("get", true) if path != "/api/v1/session" => &[200],
                ("post", true) => &[415],
                _ => &[401],
            };
            assert!(expected.contains(&answer.status), "{method} {path}: {} {}", answer.status, answer.text);
            let answers = methods[method]["responses"].as_object().unwrap();
            let declared = answers.contains_key(&answer.status.to_string()) || path.contains("/thing/");
            assert!(declared || answer.status == 415, "{method} {path} does not declare {}", answer.status);
        }
    }
}

#[test]
fn ready_means_that_every_service_is() {
    let site = Site::start();
    assert_eq!(site.send("GET", "/healthz", &[], None).text, "ok\n");
    assert_eq!(site.send("GET", "/readyz", &[], None).status, 200);
    site.ready.store(false, Ordering::Relaxed);
    let waiting = site.send("GET", "/readyz", &[], None);
    assert_eq!((waiting.status, waiting.json()), (503, json!({"ready": false, "waiting_for": ["thing"]})));
}

#[test]
fn metrics_are_open_on_loopback_and_need_a_token_elsewhere() {
    let site = Site::start();
    let text = site.send("GET", "/metrics", &[], None);
    assert!(text.header("content-type").starts_with("text/plain; version=0.0.4"));
    assert!(text.text.contains("# TYPE outwork_http_requests_total counter"));
    let closed = Site::with(AdminSettings { metrics_public: Some(false), ..AdminSettings::default() });
    assert_eq!(closed.send("GET", "/metrics", &[], None).status, 401);
    let viewer = closed.token("scraper", Role::Viewer);
    assert_eq!(closed.ask("GET", "/metrics", &viewer, None).status, 200);
    let off = Site::with(AdminSettings { metrics: false, ..AdminSettings::default() });
    let answer = off.send("GET", "/metrics", &[], None);
    assert!(answer.status == 404 && answer.text.contains("admin.metrics is off"), "{}", answer.text);
    let public = AdminSettings { listen: vec!["192.0.2.1:8067".parse().unwrap()], ..AdminSettings::default() };
    assert!(!public.metrics_are_public());
}

#[test]
fn the_state_of_everything_is_in_the_shape_that_the_dashboard_reads() {
    let site = Site::start();
    let viewer = site.token("eye", Role::Viewer);
    let ask = |path: &str| site.ask("GET", path, &viewer, None).json();
    let status = ask("/api/v1/status");
    assert_eq!((&status["version"], &status["host"]), (&json!("1.2.3"), &json!("testhost")));
    let service = json!({"name": "thing", "state": "running", "ready": true, "detail": "one thing"});
    assert_eq!(status["services"], json!([service]));
    assert_eq!(status["store"]["durable_lsn"], 7);
    let memory = ask("/api/v1/memory");
    assert!(memory["resident"].as_u64().unwrap() > 0 && memory["allocator"]["allocated"] == 5);
    let host = ask("/api/v1/host");
    assert_eq!((&host["differs"], &host["items"][0]["state"]), (&json!(1), &json!("differs")));
    assert_eq!(host["items"][0]["settings"], json!(["front.listener[0].backlog"]));
    let config = ask("/api/v1/config");
    let listen = config["items"].as_array().unwrap().iter().find(|item| item["key"] == "listen").unwrap();
    assert_eq!((&listen["value"], &listen["origin"]), (&json!(["127.0.0.1:8067"]), &json!("default")));
    let metrics = ask("/api/v1/metrics/now");
    let time = metrics["metrics"].as_array().unwrap().iter().find(|m| m["name"] == "outwork_http_request_time_seconds");
    let time = time.unwrap();
    assert_eq!((&time["kind"], &time["unit"]), (&json!("histogram"), &json!("seconds")));
    assert!(time["samples"][0]["p99"].as_f64().unwrap() > 0.0 && time["samples"][0]["count"].as_u64().unwrap() > 0);
}

#[test]
fn history_comes_back_from_memory_and_from_the_store() {
    let site = Site::start();
    let viewer = site.token("eye", Role::Viewer);
    let start = 1_800_000_000;
    for n in 0..4 {
        let now = Instant::now() + INTERVAL * n;
        site.history.observe(start + u64::from(n) * 10, now, &site.registry.gather()).unwrap();
    }
    let query = format!("name=process_threads&name=no_such&from={start}&to={}&step=10", start + 40);
    let answer = site.ask("GET", &format!("/api/v1/metrics/history?{query}"), &viewer, None).json();
    assert_eq!((&answer["start"], &answer["step"]), (&json!(start), &json!(10)));
    let values = answer["series"][0]["values"].as_array().unwrap();
    assert!(values.len() == 4 && values.iter().all(|value| value.as_f64().is_some_and(|threads| threads > 0.0)));
    assert_eq!(answer["series"][1]["values"], json!([Value::Null, Value::Null, Value::Null, Value::Null]));
    // A new process has nothing in memory: the store answers.
    let archive = outwork_admin::StoreArchive::open(site.database.clone()).unwrap();
    let history = outwork_telemetry::history::History::new(Some(archive.clone()));
    let query = outwork_telemetry::history::Query {
        series: vec!["process_threads".into()],
        from: start,
        to: start + 40,
        step: Some(10),
    };
    assert!(history.query(&query).unwrap().series[0].iter().all(Option::is_some));
    // Two days on, the points are gone and their window answers.
    let now = UNIX_EPOCH + Duration::from_secs(start + 2 * 86_400);
    let day = Duration::from_secs(86_400);
    archive.tend(now, day * 90, day * 365).unwrap();
    let window = outwork_telemetry::history::Query { to: start + 300, step: Some(300), ..query };
    assert!(history.query(&window).unwrap().series[0][0].is_some());
    archive.tend(now, day, day).unwrap();
    assert!(history.query(&window).unwrap().series[0][0].is_none(), "retention is over");
}

#[test]
fn a_window_is_not_told_beside_the_points_it_was_made_of() {
    use outwork_telemetry::history::Archive;
    let site = Site::start();
    let archive = outwork_admin::StoreArchive::open(site.database.clone()).unwrap();
    // A server that began in the middle of a five-minute window.
    let start = 1_800_000_000 + 100;
    let point = |value: f64| outwork_telemetry::Point { series: "leases".to_owned(), value };
    for n in 0..3 {
        archive.append(start + n * 10, &[point(n as f64)]).unwrap();
    }
    let day = Duration::from_secs(86_400);
    archive.tend(UNIX_EPOCH + Duration::from_secs(start + 900), day * 90, day * 365).unwrap();
    let told = archive.read("leases", start - 300, start + 600).unwrap();
    assert_eq!(told, [(start, 0.0), (start + 10, 1.0), (start + 20, 2.0)]);
}

#[test]
fn log_levels_change_live() {
    let site = Site::start();
    let operator = site.token("hand", Role::Operator);
    let changed = site.ask("PUT", "/api/v1/log/levels", &operator, Some(r#"{"levels": {"dhcp": "trace"}}"#));
    assert_eq!(changed.json()["levels"]["dhcp"], "trace");
    let levels = site.ask("GET", "/api/v1/log/levels", &operator, None).json();
    assert_eq!((&levels["levels"]["dhcp"], &levels["levels"]["store"]), (&json!("trace"), &json!("info")));
    assert_eq!(site::logs().levels().services["dhcp"].word(), "trace");
}

#[test]
fn wrong_paths_and_methods_are_problems_and_the_dashboard_has_the_rest() {
    let site = Site::start();
    let gone = site.send("GET", "/api/v1/nothing", &[], None);
    assert_eq!((gone.status, gone.header("content-type")), (404, "application/problem+json"));
    let method = site.send("POST", "/api/v1/status", &[], None);
    assert_eq!((method.status, method.json()["status"].as_u64()), (405, Some(405)));
    let page = site.send("GET", "/", &[], None);
    assert!(page.text.starts_with("<!doctype html>") && page.header("content-type").starts_with("text/html"));
    assert_eq!(site.send("GET", "/settings", &[], None).header("location"), "/#/settings");
    assert_eq!(gone.header("cache-control"), "");
    let viewer = site.token("eye", Role::Viewer);
    assert_eq!(site.ask("GET", "/api/v1/status", &viewer, None).header("cache-control"), "no-store");
}

#[test]
fn alerts_that_hold_are_listed_with_what_to_do_and_counted() {
    let site = Site::start();
    let viewer = site.token("eye", Role::Viewer);
    let ask = |path: &str| site.ask("GET", path, &viewer, None);
    assert_eq!(ask("/api/v1/alerts").json(), json!({ "items": [] }));
    let finding = Finding {
        id: "slow",
        severity: Severity::Warning,
        holds: true,
        patience: Duration::ZERO,
        what: "it takes 9 s".into(),
        advice: "make it faster".into(),
        settings: &["a.b"],
    };
    site.alerts.observe(Instant::now(), UNIX_EPOCH, Duration::ZERO, vec![finding]);
    let row = json!({"id": "slow", "severity": "warning", "since": "1970-01-01T00:00:00.000Z", "what": "it takes 9 s",
        "advice": "make it faster", "settings": ["a.b"]});
    assert_eq!(ask("/api/v1/alerts").json(), json!({ "items": [row] }));
    assert_eq!(ask("/api/v1/status").json()["alerts"], json!([row]));
    assert!(ask("/metrics").text.contains("\noutwork_alerts{alert=\"slow\"} 1\n"));
    assert_eq!(site.send("GET", "/api/v1/alerts", &[], None).status, 401);
}

#[test]
fn admins_alone_look_at_where_memory_and_time_go_and_upgrade() {
    let site = Site::start();
    for (name, role) in [("eye", Role::Viewer), ("hand", Role::Operator)] {
        let other = site.token(name, role);
        for (method, path) in [("GET", "profile/heap"), ("GET", "profile/cpu?seconds=1"), ("POST", "upgrade")] {
            let refused = site.ask(method, &format!("/api/v1/{path}"), &other, None);
            assert!(refused.status == 403 && refused.text.contains("this needs the role admin"), "{}", refused.text);
        }
    }
    let admin = site.token("head", Role::Admin);
    let ask = |path: &str| site.ask("GET", path, &admin, None);
    let heap = ask("/api/v1/profile/heap");
    assert!(heap.header("content-disposition").contains("outwork.heap") && heap.text == "heap_v2/1");
    let cpu = ask("/api/v1/profile/cpu?seconds=2&hertz=50&form=pprof");
    assert_eq!((cpu.status, cpu.text.as_str()), (200, "CpuProfile { time: 2s, hertz: 50, form: Pprof }"));
    for wrong in ["seconds=301", "seconds=0", "hertz=1001", "form=else", "minutes=1"] {
        assert_eq!(ask(&format!("/api/v1/profile/cpu?{wrong}")).status, 400, "{wrong}");
    }
    let upgraded = site.ask("POST", "/api/v1/upgrade", &admin, None);
    assert_eq!((upgraded.status, upgraded.json()), (202, json!({"process": 7})));
}
