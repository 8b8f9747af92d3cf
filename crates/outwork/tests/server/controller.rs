//! A controller of sites: its documents by commands and by the API, who may change them, and what is wrong with them.

use serde_json::{Value as Json, json};

use crate::binary::{Place, curl, field, said, text};

fn controller() -> Place {
    let mut place = Place::with("[controller]\nlisten = ['HOST:8068']\n");
    place.start();
    place
}

/// What the API answers to who has a token, head and body.
fn ask(place: &Place, token: &str, path: &str, options: &[&str]) -> (String, Json) {
    let mut curl = curl();
    curl.args(["-i", "-H", &format!("Authorization: Bearer {token}"), "-H", "Content-Type: application/json"]);
    let answer = said(curl.args(options).arg(format!("http://{}:8067/api/v1/controller/{path}", place.host())));
    let (head, body) = answer.split_once("\r\n\r\n").expect("a head");
    (head.to_owned(), serde_json::from_str(body).unwrap_or_default())
}

fn status(head: &str) -> &str {
    head.split(' ').nth(1).expect("a status")
}

/// The token of this machine.
fn own(place: &Place) -> String {
    std::fs::read_to_string(place.data().join("admin.token")).expect("the token").trim().to_owned()
}

#[test]
fn documents_come_change_and_go_by_commands_and_each_change_is_written_down() {
    let place = controller();
    place.must(&["sdwan", "classes", "add", "gold", "latency=20ms", "loss=0.001"]);
    place.must(&["sdwan", "policies", "add", "calls", "class=gold", "ports=[\"5060-5061\"]"]);
    place.must(&["sdwan", "policies", "edit", "calls", "priority=10"]);
    let shown = place.must(&["sdwan", "policies", "get", "calls"]);
    assert!(shown.contains("5060-5061") && shown.contains("gold"), "{shown}");
    let unchanged = place.outwork(&["sdwan", "policies", "edit", "calls", "priority=10"]);
    assert!(text(&unchanged.stderr).contains("nothing would change"), "{unchanged:?}");
    let listed: Json = serde_json::from_str(&place.must(&["sdwan", "policies", "list", "--json"])).expect("JSON");
    let policy = &listed["items"][0];
    assert_eq!(
        (&policy["id"], &policy["version"], &policy["body"]["priority"]),
        (&json!("calls"), &json!(2), &json!(10))
    );
    // What a policy needs stays.
    let needed = place.outwork(&["sdwan", "classes", "remove", "gold"]);
    assert!(!needed.status.success() && text(&needed.stderr).contains("policy calls"), "{needed:?}");
    place.must(&["sdwan", "policies", "edit", "calls", "--clear", "class"]);
    place.must(&["sdwan", "classes", "remove", "gold"]);
    place.must(&["sdwan", "policies", "remove", "calls"]);
    let changes: Json = serde_json::from_str(&place.must(&["sdwan", "changes", "--json"])).expect("JSON");
    let what: Vec<_> =
        changes["items"].as_array().expect("a list").iter().map(|change| change["what"].clone()).collect();
    let expected = ["policy.remove", "class.remove", "policy.change", "policy.change", "policy.add", "class.add"];
    assert_eq!(json!(what), json!(expected));
}

#[test]
fn a_change_is_tried_before_it_is_made_and_taken_back_afterwards() {
    let place = controller();
    place.must(&["sdwan", "policies", "add", "calls", "class=voice"]);
    let tried = place.must(&["sdwan", "policies", "edit", "calls", "class=video", "--check"]);
    for line in ["policy calls would be changed", "- class = voice", "+ class = video"] {
        assert!(tried.contains(line), "{tried}");
    }
    let odd = place.outwork(&["sdwan", "policies", "edit", "calls", "class=nowhere", "--check"]);
    assert!(!odd.status.success() && text(&odd.stderr).contains("nowhere"), "{odd:?}");
    assert!(place.must(&["sdwan", "policies", "remove", "calls", "--check"]).contains("would be removed"));
    let class = || place.must(&["sdwan", "policies", "get", "calls"]);
    assert!(class().contains("voice"));
    place.must(&["sdwan", "policies", "edit", "calls", "class=video"]);
    assert!(place.must(&["sdwan", "undo", "--check"]).contains("would be changed") && class().contains("video"));
    let undone = place.must(&["sdwan", "undo"]);
    assert!(undone.contains("policy calls changed") && class().contains("voice"), "{undone}");
    let late = place.outwork(&["sdwan", "undo", "2"]);
    assert!(!late.status.success() && text(&late.stderr).contains("was changed since"), "{late:?}");
    let sent = place.must(&["sdwan", "policies", "traffic", "calls", "--last", "6h"]);
    assert!(sent.contains("nothing was sent"), "{sent}");
    assert!(place.must(&["sdwan", "policies", "traffic"]).contains("nothing was sent"));
}

#[test]
fn changes_are_listed_a_few_at_a_time_and_each_says_what_it_was() {
    let place = controller();
    place.must(&["sdwan", "policies", "add", "calls", "class=voice"]);
    place.must(&["sdwan", "policies", "edit", "calls", "class=video"]);
    place.must(&["sdwan", "policies", "remove", "calls"]);
    let part = |line: &[&str]| -> Json {
        let line = [&["sdwan", "changes", "--json"], line].concat();
        serde_json::from_str(&place.must(&line)).expect("JSON")
    };
    let numbers = |part: &Json| -> Vec<Json> {
        part["items"].as_array().expect("a list").iter().map(|change| change["id"].clone()).collect()
    };
    let first = part(&["--limit", "2"]);
    assert_eq!((json!(numbers(&first)), &first["next"]), (json!([3, 2]), &json!("2")));
    assert_eq!(json!(numbers(&part(&["--limit", "2", "--after", "2"]))), json!([1]));
    assert_eq!(json!(numbers(&part(&["--all"]))), json!([3, 2, 1]));
    let goes_on = place.outwork(&["sdwan", "changes", "--limit", "1"]);
    assert!(text(&goes_on.stderr).contains("--after 3 goes on"), "{goes_on:?}");
    let was = place.must(&["sdwan", "changes", "2"]);
    for line in ["policy.change", "- class = voice", "+ class = video"] {
        assert!(was.contains(line), "{line}: {was}");
    }
    assert!(place.must(&["sdwan", "changes", "3"]).contains("- class = video"));
    let none = place.outwork(&["sdwan", "changes", "99"]);
    assert!(!none.status.success() && text(&none.stderr).contains("there is no change 99"), "{none:?}");
}

#[test]
fn what_sites_have_reported_is_listed_where_none_has_as_well() {
    let place = controller();
    place.must(&["sdwan", "sites", "add", "north"]);
    for (line, said) in [
        (&["paths", "--state", "up"][..], "no site has reported one"),
        (&["paths", "7", "--last", "6h"], "nothing was reported of it"),
        (&["events", "--site", "north"], "nothing has happened"),
        (&["certificates", "north"], "no certificate"),
    ] {
        let shown = place.must(&[&["sdwan"][..], line].concat());
        assert!(shown.contains(said), "{line:?}: {shown}");
        let read: Json =
            serde_json::from_str(&place.must(&[&["sdwan"][..], line, &["--json"]].concat())).expect("JSON");
        assert_eq!(read["items"], json!([]), "{line:?}");
    }
}

#[test]
fn who_asks_a_server_that_is_no_controller_is_told_so() {
    let place = Place::running();
    for line in [&["status"][..], &["changes"], &["tokens"], &["policies", "get", "calls"], &["sites", "add", "a"]] {
        let refused = place.outwork(&[&["sdwan"][..], line].concat());
        let said = text(&refused.stderr);
        assert!(!refused.status.success() && said.contains("no controller, and no site"), "{line:?}: {said}");
        assert!(said.contains("[controller]") && !said.contains("openapi"), "{line:?}: {said}");
    }
    // Of what a controller does not have, it says that itself.
    let place = controller();
    let missing = place.outwork(&["sdwan", "policies", "get", "calls"]);
    assert!(text(&missing.stderr).contains("there is no policy"), "{missing:?}");
}

#[test]
fn of_two_who_change_the_same_the_second_is_told_what_the_first_has_done() {
    let place = controller();
    let token = own(&place);
    let made = json!({ "body": { "name": "calls", "class": "voice" } }).to_string();
    let (head, _) = ask(&place, &token, "policies", &["-d", &made]);
    assert_eq!((status(&head), field(&head, "etag")), ("201", Some("\"1\"")), "{head}");
    let first = json!({ "body": { "name": "calls", "class": "video" } }).to_string();
    let put = |tag: &str, body: &str| {
        ask(&place, &token, "policies/calls", &["-X", "PUT", "-H", &format!("If-Match: {tag}"), "-d", body])
    };
    let (head, body) = put("\"1\"", &first);
    assert_eq!((status(&head), &body["version"]), ("200", &json!(2)), "{head}");
    let second = json!({ "body": { "name": "calls", "class": "bulk" } }).to_string();
    let (head, body) = put("\"1\"", &second);
    assert_eq!((status(&head), &body["key"]), ("412", &json!("version")));
    let told = body["detail"].as_str().expect("a text");
    assert!(told.contains("version 2") && told.contains("\"class\":\"video\""), "{told}");
    assert_eq!(status(&put("\"2\"", &second).0), "200");
    let (head, body) = ask(&place, &token, "policies/calls", &["-X", "PUT", "-d", &second]);
    assert_eq!((status(&head), &body["key"]), ("400", &json!("version")), "a change says of which version it is");
}

#[test]
fn lists_come_in_pages() {
    let place = controller();
    for name in ["a", "b", "c"] {
        place.must(&["sdwan", "classes", "add", name]);
    }
    let token = own(&place);
    let (mut found, mut path) = (vec![], "classes?limit=2".to_owned());
    loop {
        let (_, page) = ask(&place, &token, &path, &[]);
        let items = page["items"].as_array().expect("a list");
        assert!(items.len() <= 2, "{page}");
        found.extend(items.iter().map(|item| item["id"].clone()));
        match page["next"].as_str() {
            Some(next) => path = format!("classes?limit=2&after={next}"),
            None => break,
        }
    }
    assert_eq!(json!(found), json!(["a", "b", "c"]));
}

#[test]
fn what_makes_no_sense_is_refused_by_its_field_and_nothing_is_kept() {
    let place = controller();
    let token = own(&place);
    let body = json!({ "body": { "name": "calls", "class": "nowhere", "ports": ["443"] } }).to_string();
    let (head, problem) = ask(&place, &token, "policies", &["-d", &body]);
    assert_eq!((status(&head), &problem["key"]), ("422", &json!("body.class")), "{problem:#}");
    assert_eq!(problem["faults"][0]["id"], "calls");
    let (head, _) = ask(&place, &token, "colours", &[]);
    assert_eq!(status(&head), "404");
    let listed: Json = serde_json::from_str(&place.must(&["sdwan", "policies", "list", "--json"])).expect("JSON");
    assert_eq!(listed["items"], json!([]));
}

#[test]
fn who_may_only_look_changes_nothing_and_makes_no_tokens() {
    let place = controller();
    let viewer = place.must(&["token", "create", "screen"]);
    let viewer = viewer.trim();
    let body = json!({ "body": { "name": "gold" } }).to_string();
    assert_eq!(status(&ask(&place, viewer, "classes", &[]).0), "200");
    assert_eq!(status(&ask(&place, viewer, "classes", &["-d", &body]).0), "403");
    let site = json!({ "site": "north" }).to_string();
    assert_eq!(status(&ask(&place, viewer, "enrolments", &["-d", &site]).0), "403");
    assert_eq!(status(&ask(&place, viewer, "enrolments", &[]).0), "403");
    assert_eq!(status(&ask(&place, "none", "classes", &[]).0), "401");
}

#[test]
fn tokens_for_sites_are_shown_once_and_what_is_kept_outlives_the_server() {
    let mut place = controller();
    let token = place.must(&["sdwan", "token", "north", "--expires", "10m"]);
    assert!(token.starts_with("outwork_enrol_"), "{token}");
    place.must(&["sdwan", "sites", "add", "south", "subnets=[\"10.2.0.0/16\"]"]);
    place.stop(9);
    place.start();
    let admin = own(&place);
    let (_, tokens) = ask(&place, &admin, "enrolments", &[]);
    let one = &tokens["items"][0];
    assert_eq!((&one["site"], &one["used"]), (&json!("north"), &Json::Null));
    assert!(!tokens.to_string().contains(token.trim()), "the secret is nowhere");
    let status_of = place.must(&["sdwan", "status"]);
    assert!(status_of.contains("south") && status_of.contains("unknown"), "{status_of}");
}

#[test]
fn databases_are_looked_after_with_and_without_a_server() {
    let mut place = controller();
    place.must(&["sdwan", "classes", "add", "gold"]);
    let with: Json = serde_json::from_str(&place.must(&["db", "maintain", "--json"])).expect("JSON");
    place.stop(15);
    let without: Json = serde_json::from_str(&place.must(&["db", "maintain", "--check", "--json"])).expect("JSON");
    for done in [with, without] {
        let faults: Vec<_> = done.as_array().expect("a list").iter().map(|one| one["faults"].clone()).collect();
        assert_eq!(json!(faults), json!([[], []]), "the store's database and the controller's");
    }
}

#[test]
fn settings_of_all_sites_are_shown_and_changed_by_commands() {
    let place = controller();
    assert!(place.must(&["sdwan", "settings", "show"]).contains("each site goes by its own file"));
    let tried = place.must(&["sdwan", "settings", "edit", "health.misses=5", "--check"]);
    assert!(tried.contains("would be added"), "{tried}");
    assert!(place.must(&["sdwan", "settings", "show"]).contains("each site goes by its own file"), "it was only tried");
    place.must(&["sdwan", "settings", "edit", "health.misses=5", "default_class=voice"]);
    let change = ["sdwan", "settings", "edit", "qos.class.bulk.share=0.2", "--clear", "default_class"];
    let tried = place.must(&[&change[..], &["--check"]].concat());
    assert!(tried.contains("would be changed") && tried.contains("- default_class = voice"), "{tried}");
    place.must(&change);
    let shown: Json = serde_json::from_str(&place.must(&["sdwan", "settings", "show", "--json"])).expect("JSON");
    let expected = json!({ "health": { "misses": 5 }, "qos": { "class": { "bulk": { "share": 0.2 } } } });
    assert_eq!((&shown["version"], &shown["body"]), (&json!(2), &expected));
    assert!(place.must(&["sdwan", "settings", "show"]).contains("qos.class.bulk.share"));
    for (odd, said) in [("health.misses=99", "health.misses"), ("tunnel.mtu=1400", "each site's own file")] {
        let refused = place.outwork(&["sdwan", "settings", "edit", odd]);
        assert!(!refused.status.success() && text(&refused.stderr).contains(said), "{refused:?}");
    }
}

#[test]
fn a_token_says_which_networks_it_is_for_and_sites_that_overlap_are_pointed_out() {
    let place = controller();
    place.must(&["sdwan", "token", "north", "--subnets", "10.1.0.0/16,fd01::/48"]);
    let tokens = place.must(&["sdwan", "tokens"]);
    assert!(tokens.contains("10.1.0.0/16, fd01::/48"), "{tokens}");
    place.must(&["sdwan", "sites", "add", "south", "subnets=[\"10.2.0.0/16\"]"]);
    let west = place.outwork(&["sdwan", "sites", "add", "west", "subnets=[\"10.2.7.0/24\"]"]);
    assert!(west.status.success() && text(&west.stderr).contains("behind site south"), "{west:?}");
}
