use serde_json::json;

use super::*;

fn hub() -> Arc<Hub> {
    Hub::new(&["metrics", "dhcp"], Arc::default())
}

fn listen(hub: &Hub, topic: &str) {
    hub.topic(topic).unwrap().listeners.fetch_add(1, Relaxed);
}

#[test]
fn an_event_nobody_listens_to_is_not_even_made() {
    let hub = hub();
    listen(&hub, "metrics");
    hub.publish("dhcp", "lease", || -> serde_json::Value { panic!("made for nobody") });
    hub.publish("no_such_topic", "x", || -> serde_json::Value { panic!("made for nobody") });
    assert!(hub.is_live("metrics") && !hub.is_live("dhcp"));
    assert!(hub.topic("dhcp").unwrap().tail.lock().remembered.is_empty());
}

#[test]
fn an_event_carries_its_time_kind_and_own_fields_in_one_object() {
    let hub = hub();
    listen(&hub, "dhcp");
    hub.publish("dhcp", "lease_granted", || json!({"address": "192.0.2.7"}));
    let (_, events, _) = hub.topic("dhcp").unwrap().follow(Some(0));
    let event: serde_json::Value = serde_json::from_str(&events[0].json).unwrap();
    assert_eq!((&event["kind"], &event["address"]), (&json!("lease_granted"), &json!("192.0.2.7")));
    assert!(event["time"].as_str().unwrap().ends_with('Z'));
}

#[test]
fn whoever_reconnects_gets_what_came_in_between_and_nothing_twice() {
    let hub = hub();
    listen(&hub, "dhcp");
    (0..10).for_each(|n| hub.publish("dhcp", "n", || json!({ "n": n })));
    let topic = hub.topic("dhcp").unwrap();
    let (_, missed, mut receiver) = topic.follow(Some(7));
    assert_eq!(missed.iter().map(|event| event.sequence).collect::<Vec<_>>(), [8, 9, 10]);
    hub.publish("dhcp", "n", || json!({}));
    assert_eq!(receiver.try_recv().unwrap().sequence, 11);
    let (position, missed, _) = topic.follow(Some(999));
    assert_eq!((position, missed.len()), (11, 0));
}

#[test]
fn memory_and_rate_are_bounded_and_what_is_left_out_leaves_a_gap() {
    let hub = hub();
    listen(&hub, "dhcp");
    (0..3 * RATE).for_each(|n| hub.publish("dhcp", "n", || json!({ "n": n })));
    let topic = hub.topic("dhcp").unwrap();
    let tail = topic.tail.lock();
    assert_eq!((tail.remembered.len(), tail.last), (REMEMBERED, u64::from(3 * RATE)));
}

#[test]
fn a_second_admits_its_rate_and_the_next_one_begins_anew() {
    let now = Instant::now();
    let mut tail = Tail { last: 0, remembered: VecDeque::new(), second: now, in_second: 0 };
    assert_eq!((0..RATE + 5).filter(|_| tail.admit(now)).count(), RATE as usize);
    assert_eq!(tail.last, 5);
    assert!(tail.admit(now + Duration::from_secs(1)));
}
