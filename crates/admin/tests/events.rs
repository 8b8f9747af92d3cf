//! The live stream over a real connection.

#![allow(clippy::unwrap_used)]

mod site;

use outwork_store::tokens::Role;
use serde_json::json;
use site::Site;

#[test]
fn a_listener_gets_the_topics_it_asked_for_and_no_others() {
    let site = Site::start();
    let token = site.token("eye", Role::Viewer);
    let mut events = site.events("?topics=thing", &token, None);
    site.hub.publish("system", "ignored", || json!({}));
    site.hub.publish("thing", "made", || json!({"n": 1}));
    let event = events.next().unwrap();
    assert_eq!((event.topic.as_str(), &event.data["kind"], &event.data["n"]), ("thing", &json!("made"), &json!(1)));
}

#[test]
fn whoever_reconnects_with_its_last_id_gets_what_it_missed() {
    let site = Site::start();
    let token = site.token("eye", Role::Viewer);
    let mut events = site.events("?topics=thing", &token, None);
    (1..=5).for_each(|n| site.hub.publish("thing", "n", || json!({ "n": n })));
    let second = (events.next(), events.next()).1.unwrap();
    assert_eq!(second.data["n"], 2);
    drop(events);
    site.hub.publish("thing", "n", || json!({"n": 6}));
    let mut events = site.events("?topics=thing", &token, Some(&second.id));
    let missed: Vec<_> = (0..4).map(|_| events.next().unwrap().data["n"].as_u64().unwrap()).collect();
    assert_eq!(missed, [3, 4, 5, 6]);
}

#[test]
fn a_listener_that_fell_behind_is_told_how_many_events_it_missed() {
    let site = Site::start();
    let token = site.token("eye", Role::Viewer);
    let mut events = site.events("?topics=thing", &token, None);
    site.hub.publish("thing", "n", || json!({"n": 0}));
    let first = events.next().unwrap();
    drop(events);
    (1..=900).for_each(|n| site.hub.publish("thing", "n", || json!({ "n": n })));
    let mut events = site.events("?topics=thing", &token, Some(&first.id));
    let lagged = events.next().unwrap();
    assert_eq!((lagged.topic.as_str(), &lagged.data["topic"]), ("lagged", &json!("thing")));
    let next = events.next().unwrap();
    assert_eq!(lagged.data["missed"].as_u64().unwrap() + 1, next.data["n"].as_u64().unwrap());
}

#[test]
fn an_unknown_topic_is_refused_by_name() {
    let site = Site::start();
    let token = site.token("eye", Role::Viewer);
    let refused = site.ask("GET", "/api/v1/events?topics=thing,nothing", &token, None);
    assert_eq!((refused.status, &refused.json()["key"]), (400, &json!("topics")));
    assert_eq!(site.send("GET", "/api/v1/events", &[], None).status, 401);
}

#[test]
fn streams_end_when_the_hub_closes_so_that_a_stop_need_not_wait() {
    let mut site = Site::start();
    let token = site.token("eye", Role::Viewer);
    let mut events = site.events("", &token, None);
    assert_eq!(site.metrics.event_streams.get(), 1);
    site.hub.close();
    assert_eq!(events.next(), None);
    site.stop();
    assert_eq!((site.metrics.event_streams.get(), site.metrics.connections_open.get()), (0, 0));
}

#[test]
fn whoever_watches_gets_the_metrics_of_each_second() {
    let site = Site::start();
    let token = site.token("eye", Role::Viewer);
    site.sample();
    let mut events = site.events("?topics=metrics,system", &token, None);
    // The first sample has no rates yet.
    let second = (events.next(), events.next()).1.unwrap();
    assert_eq!((second.topic.as_str(), &second.data["kind"]), ("metrics", &json!("sample")));
    let values = &second.data["values"];
    assert!(values["process_resident_memory"].as_f64().unwrap() > 0.0, "{values}");
    assert!(
        values["process_cpu_rate"].as_f64().is_some() && values["http_requests_rate"].as_f64().is_some(),
        "{values}"
    );
}
