use std::time::Duration;

use serde_json::json;

use super::*;
use crate::controller::api::tests::{ADMIN, Lab, OPERATOR, VIEWER};

#[test]
fn parts_of_a_list_follow_each_other_until_there_is_nothing_more() {
    let list = || vec![3_u64, 5, 8, 9];
    let ask = |after: Option<&str>, limit| PartQuery { after: after.map(str::to_owned), limit };
    let of = |query: PartQuery| query.of(list(), |number| *number).unwrap();
    assert_eq!(of(PartQuery::default()), (list(), None));
    assert_eq!(of(ask(None, Some(2))), (vec![3, 5], Some("5".to_owned())));
    assert_eq!(of(ask(Some("5"), Some(2))), (vec![8, 9], None));
    // What is gone meanwhile does no harm.
    assert_eq!(of(ask(Some("6"), Some(1))), (vec![8], Some("8".to_owned())));
    assert_eq!(of(ask(None, Some(0))).0, [3], "nothing at all would never end");
    assert!(ask(Some("x"), None).of(list(), |number| *number).is_err());
    let places = ask(Some("1"), Some(2)).of_places(vec!["a", "b", "c", "d"]).unwrap();
    assert_eq!(places, (vec!["b", "c"], Some("3".to_owned())));
}

#[test]
fn of_a_list_there_is_what_was_asked_for_and_nothing_else() {
    let query = |site: Option<&str>, state: Option<&str>| ListQuery {
        site: site.map(str::to_owned),
        state: state.map(str::to_owned),
        ..ListQuery::default()
    };
    let is_for = |query: ListQuery| query.is_for(|site| leads_to("north fibre-dsl by hub", site), "up");
    assert!(is_for(ListQuery::default()) && is_for(query(Some("north"), Some("up"))));
    assert!(!is_for(query(Some("nor"), None)) && !is_for(query(None, Some("down"))));
    assert!(leads_to("phone", "phone") && !leads_to("phones", "phone"));
    let event = EventTold {
        number: 1,
        at: outwork_engine::Time::default(),
        kind: "path",
        count: 1,
        since: outwork_engine::Time::default(),
        site: "north".to_owned(),
        of: "north fibre-dsl".to_owned(),
        class: None,
        strategy: None,
        from: "up".to_owned(),
        to: "down".to_owned(),
        why: String::new(),
    };
    let text = |text: &str| Some(text.to_owned());
    for (query, expected) in [
        (EventQuery::default(), true),
        (EventQuery { site: text("north"), kind: text("path"), state: text("down"), ..EventQuery::default() }, true),
        (EventQuery { site: text("south"), ..EventQuery::default() }, false),
        (EventQuery { kind: text("mtu"), ..EventQuery::default() }, false),
        (EventQuery { state: text("up"), ..EventQuery::default() }, false),
    ] {
        assert_eq!(query.is_for(&event), expected, "{query:?}");
    }
}

/// The routes of a process that is a controller and no site.
fn controller() -> Lab {
    Lab::new("/api/v1/sdwan", |controller| {
        router(Place { controller: Some(Arc::clone(controller)), ..Place::default() })
    })
}

#[test]
fn who_changes_the_network_where_its_controller_is_gets_to_the_place_of_that() {
    let lab = controller();
    for (method, path, there) in [
        ("POST", "sites", "/api/v1/controller/sites"),
        ("GET", "policies?limit=2", "/api/v1/controller/policies?limit=2"),
        ("PUT", "uplinks/north/fibre", "/api/v1/controller/uplinks/north/fibre"),
        ("DELETE", "applications/mail", "/api/v1/controller/applications/mail"),
        ("GET", "policies/calls/traffic", "/api/v1/controller/policies/calls/traffic"),
        ("GET", "paths", "/api/v1/controller/paths"),
        ("GET", "tunnels?state=up", "/api/v1/controller/tunnels?state=up"),
        ("GET", "events", "/api/v1/controller/events"),
    ] {
        let (status, head, _) = lab.send(OPERATOR, method, path, "");
        assert_eq!(status, 307, "{method} {path}");
        assert!(head.contains(&format!("location: {there}\r\n")), "{head}");
    }
    assert_eq!(lab.ask(usize::MAX, "POST", "sites", "{}").0, 401, "strangers learn nothing");
    let (status, told) = lab.ask(VIEWER, "GET", "status", "");
    assert_eq!(
        (status, told),
        (
            200,
            json!({ "site": false, "controller": "/api/v1/controller", "held_back": false, "follows": null, "hidden": [] })
        )
    );
}

#[test]
fn what_is_answered_with_another_place_is_in_the_description_of_the_api() {
    let lab = controller();
    let document = |router: OpenApiRouter<Place>| serde_json::to_value(router.into_openapi()).unwrap();
    let described = |document: &serde_json::Value| {
        let mut found = vec![];
        for (path, methods) in document["paths"].as_object().unwrap() {
            for (method, operation) in methods.as_object().unwrap() {
                if operation["responses"]["307"]["headers"]["location"].is_object() {
                    let count = operation["parameters"].as_array().map_or(0, Vec::len);
                    assert_eq!(count, path.matches('{').count(), "{operation}");
                    found.push((method.to_uppercase(), path.clone(), operation["operationId"].clone()));
                }
            }
        }
        found
    };
    let both = [around::of_controller(), around::router()].map(document).map(|document| described(&document));
    for (method, path, _) in &both[0] {
        let path = path.replace("{site}", "north").replace("{name}", "x");
        let (status, head, _) = lab.send(OPERATOR, method, path.trim_start_matches('/'), "");
        assert_eq!(status, 307, "{method} {path}");
        assert!(head.contains(&format!("location: /api/v1/controller{path}\r\n")), "{head}");
    }
    for found in &both {
        let names: BTreeSet<_> = found.iter().map(|(.., name)| name.to_string()).collect();
        assert_eq!(names.len(), found.len(), "each has a name of its own: {found:?}");
        let has =
            |method: &str, path: &str| found.iter().any(|(one, at, _)| (one.as_str(), at.as_str()) == (method, path));
        for (method, path) in [
            ("POST", "/sites"),
            ("PUT", "/policies/{name}"),
            ("DELETE", "/uplinks/{site}/{name}"),
            ("GET", "/settings"),
            ("GET", "/policies/{name}/traffic"),
        ] {
            assert!(has(method, path), "{method} {path}: {found:?}");
        }
    }
    // A site has lists of its own.
    let lists =
        |found: &[(String, String, _)]| found.iter().any(|(method, path, _)| method == "GET" && path == "/sites");
    assert_eq!(both.each_ref().map(|found| lists(found)), [true, false]);
}

#[test]
fn the_controller_says_how_paths_are_and_were() {
    let lab = controller();
    lab.report("north", &[10, 20, 30]);
    let (status, now) = lab.ask(VIEWER, "GET", "health", "");
    assert_eq!((status, now["items"].as_array().unwrap().len()), (200, 1), "{now}");
    let one = &now["items"][0];
    assert_eq!(
        (&one["site"], &one["remote_site"], &one["latency_ms"]),
        (&json!("north"), &json!("south"), &json!(30.0))
    );
    let keys = |row: &serde_json::Value| row.as_object().unwrap().keys().cloned().collect::<BTreeSet<_>>();
    let was = ["at", "up", "latency_ms", "latency_max_ms", "jitter_ms", "loss", "loss_max", "mos", "mos_min", "count"];
    let which = ["path", "site", "uplink", "remote_site", "remote_uplink", "via", "state"];
    assert_eq!(keys(one), was.into_iter().chain(which).map(str::to_owned).collect());
    let from = lab.begun() - 60;
    let (_, first) = lab.ask(VIEWER, "GET", &format!("health?from={from}&limit=2"), "");
    let latencies = |page: &serde_json::Value| {
        let items = page["items"].as_array().unwrap().iter();
        items.map(|item| item["latency_ms"].as_f64().unwrap()).collect::<Vec<_>>()
    };
    assert_eq!(latencies(&first), [10.0, 20.0]);
    let next = first["next"].as_str().unwrap();
    let (_, rest) = lab.ask(VIEWER, "GET", &format!("health?from={from}&limit=2&after={next}"), "");
    assert_eq!((latencies(&rest), &rest["next"]), (vec![30.0], &json!(null)));
    for (query, count) in [("site=south", 3), ("site=east", 0), ("path=1", 3), ("path=2", 0), ("state=down", 0)] {
        let (_, page) = lab.ask(VIEWER, "GET", &format!("health?from={from}&{query}"), "");
        assert_eq!(latencies(&page).len(), count, "{query}");
    }
    for odd in ["from=9&until=3", "after=x", "colour=red"] {
        assert_eq!(lab.ask(VIEWER, "GET", &format!("health?{odd}"), "").0, 400, "{odd}");
    }
}

#[test]
fn a_site_says_whom_it_follows_and_where_the_network_is_changed() {
    let lab = Lab::new("/api/v1/sdwan", |_| {
        let settings = crate::config::FollowSettings {
            address: vec!["192.0.2.9:8068".parse().unwrap()],
            report: Duration::from_secs(10),
            backlog: 9,
            backlog_size: outwork_config::ByteSize::mib(1),
        };
        let take_up: crate::follower::TakeUp = Box::new(|| Box::pin(async { Ok(()) }));
        let follower = Follower::new(settings, std::path::PathBuf::from("/nonexistent"), vec![], take_up);
        around::router().with_state(Place { follower: Some(follower), ..Place::default() })
    });
    let (_, told) = lab.ask(VIEWER, "GET", "status", "");
    let follows = &told["follows"];
    assert_eq!(
        (&told["controller"], &follows["addresses"], &follows["connected"], &follows["version"], &follows["since"]),
        (&json!(null), &json!(["192.0.2.9:8068"]), &json!(false), &json!(0), &json!(null))
    );
    let (status, problem) = lab.ask(ADMIN, "POST", "sites", "{}");
    let why = problem["detail"].as_str().unwrap();
    assert_eq!(status, 404);
    assert!(why.contains("192.0.2.9") && why.contains("/api/v1/controller/sites"), "{why}");
    let (status, problem) = lab.ask(VIEWER, "GET", "health?from=1", "");
    assert_eq!(status, 404, "{problem}");
}
