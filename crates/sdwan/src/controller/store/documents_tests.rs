use std::time::{Duration, UNIX_EPOCH};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;

use super::super::changes::audited;
use super::super::tests::open;
use super::*;
use crate::network::delta::Held;

const NOW: SystemTime = UNIX_EPOCH;

fn of(kind: Kind, body: Json, expect: Expect) -> Edit {
    Edit { kind, id: kind.id_of(&body).unwrap(), body: Some(body), expect }
}

fn new(kind: Kind, body: Json) -> Edit {
    of(kind, body, Expect::New)
}

fn gone(kind: Kind, id: &str) -> Edit {
    Edit { kind, id: id.to_owned(), body: None, expect: Expect::Any }
}

fn made(connection: &mut Connection, edits: &[Edit]) {
    edit(connection, edits, "ann", NOW).unwrap().unwrap();
}

fn policy(name: &str, priority: u32) -> Json {
    json!({ "name": name, "priority": priority, "ports": [format!("{priority}")] })
}

#[test]
fn a_change_that_knows_what_is_there_is_made_and_counted_and_says_by_whom() {
    let (_dir, mut connection) = open();
    made(&mut connection, &[new(Kind::Policy, policy("a", 1))]);
    let later = NOW + Duration::from_secs(5);
    let change = of(Kind::Policy, policy("a", 2), Expect::Version(1));
    let done = edit(&mut connection, std::slice::from_ref(&change), "bob", later).unwrap().unwrap().remove(0).unwrap();
    assert_eq!((done.version, done.body["priority"].clone()), (2, json!(2)));
    assert_eq!((done.created_by.as_str(), done.created), ("ann", NOW));
    assert_eq!((done.updated_by.as_str(), done.updated), ("bob", later));
    // The same again comes too late.
    let late = edit(&mut connection, &[change], "bob", later).unwrap().unwrap_err();
    assert_eq!(late, EditError::Stale(Box::new(done)));
    let audited = audited(&connection, None, 10).unwrap();
    let told: Vec<_> = audited.iter().map(|row| (row.who.as_str(), row.what.as_str(), row.target.as_str())).collect();
    assert_eq!(told, [("bob", "policy.change", "a"), ("ann", "policy.add", "a")]);
    let detail: Json = serde_json::from_str(&audited[0].detail).unwrap();
    assert_eq!((detail["before"]["priority"].clone(), detail["after"]["priority"].clone()), (json!(1), json!(2)));
}

#[test]
fn what_is_there_is_not_made_again_and_what_is_not_there_is_not_changed() {
    let (_dir, mut connection) = open();
    made(&mut connection, &[new(Kind::Policy, policy("a", 1))]);
    let again = edit(&mut connection, &[new(Kind::Policy, policy("a", 9))], "ann", NOW).unwrap();
    assert!(matches!(again, Err(EditError::Exists(there)) if there.version == 1));
    for expect in [Expect::Any, Expect::Version(1)] {
        let missing = edit(&mut connection, &[of(Kind::Policy, policy("b", 1), expect)], "ann", NOW).unwrap();
        assert_eq!(missing, Err(EditError::Missing));
    }
}

#[test]
fn of_changes_that_make_no_sense_together_none_is_made() {
    let (_dir, mut connection) = open();
    let odd = json!({ "name": "odd", "class": "nowhere" });
    let edits = [new(Kind::Policy, policy("a", 1)), new(Kind::Policy, odd)];
    let refused = edit(&mut connection, &edits, "ann", NOW).unwrap().unwrap_err();
    assert!(matches!(refused, EditError::Invalid(faults) if faults[0].is_of(Kind::Policy, "odd")));
    assert_eq!((all(&connection).unwrap().len(), revision(&connection).unwrap().0), (0, 0));
    assert!(audited(&connection, None, 10).unwrap().is_empty());
}

#[test]
fn what_others_need_does_not_go() {
    let (_dir, mut connection) = open();
    let user = json!({ "name": "user", "class": "gold" });
    made(&mut connection, &[new(Kind::Class, json!({ "name": "gold" })), new(Kind::Policy, user)]);
    let refused = edit(&mut connection, &[gone(Kind::Class, "gold")], "ann", NOW).unwrap().unwrap_err();
    assert!(matches!(refused, EditError::Invalid(faults) if faults[0].is_of(Kind::Policy, "user")));
}

#[test]
fn the_uplinks_of_a_site_go_with_it() {
    let (_dir, mut connection) = open();
    let uplink = json!({
        "site": "north", "name": "fibre", "public_key": "xTIBA5rboUvnH4htodjb6e697QjLERt1NAB4mZqp8Dg=",
    });
    made(&mut connection, &[new(Kind::Site, json!({ "name": "north" })), new(Kind::Uplink, uplink)]);
    made(&mut connection, &[gone(Kind::Site, "north")]);
    assert!(all(&connection).unwrap().is_empty());
    let told: Vec<_> = audited(&connection, None, 2).unwrap().into_iter().map(|row| row.what).collect();
    assert_eq!(told, ["uplink.remove", "site.remove"]);
}

#[test]
fn pages_follow_each_other_whatever_comes_in_between() {
    let (_dir, mut connection) = open();
    for name in ["b", "d", "f"] {
        made(&mut connection, &[new(Kind::Policy, policy(name, 1))]);
    }
    let ids = |after: &str, connection: &Connection| {
        let page = list(connection, Kind::Policy, after, 2).unwrap();
        page.into_iter().map(|one| one.id).collect::<Vec<_>>()
    };
    assert_eq!(ids("", &connection), ["b", "d"]);
    made(&mut connection, &[new(Kind::Policy, policy("a", 1)), new(Kind::Policy, policy("e", 1))]);
    assert_eq!(ids("d", &connection), ["e", "f"]);
}

#[test]
fn a_site_of_any_version_comes_to_the_one_of_now() {
    let (_dir, mut connection) = open();
    let mut held = vec![Held::nothing("net")];
    let steps: [&[Edit]; 5] = [
        &[new(Kind::Policy, policy("a", 1)), new(Kind::Policy, policy("b", 2))],
        &[of(Kind::Policy, policy("a", 3), Expect::Any)],
        &[gone(Kind::Policy, "b")],
        &[new(Kind::Policy, policy("b", 4)), gone(Kind::Policy, "a")],
        &[new(Kind::Class, json!({ "name": "gold" }))],
    ];
    for step in steps {
        made(&mut connection, step);
        let delta = delta(&connection, "net", held.last().unwrap().version).unwrap().unwrap();
        held.push(held.last().unwrap().with(delta).unwrap());
    }
    let last = held.last().unwrap().clone();
    assert_eq!(last.documents, all(&connection).unwrap());
    for earlier in &held[..held.len() - 1] {
        let delta = delta(&connection, "net", earlier.version).unwrap().unwrap();
        assert_eq!(delta.from.is_none(), earlier.version == 0, "whoever has something is told what is other");
        assert_eq!(earlier.with(delta).unwrap(), last);
    }
    assert_eq!(delta(&connection, "net", last.version).unwrap(), None);
}

#[test]
fn who_has_missed_more_than_is_remembered_or_comes_from_the_future_is_told_everything() {
    let (_dir, mut connection) = open();
    for number in 0..4 {
        made(&mut connection, &[new(Kind::Policy, policy(&format!("p{number}"), 1))]);
    }
    connection.execute("UPDATE revisions SET floor = 3", []).unwrap();
    let from = |held| delta(&connection, "net", held).unwrap().unwrap().from;
    assert_eq!((from(2), from(3), from(99)), (None, Some(3), None));
}

#[test]
fn who_was_told_another_version_of_the_same_number_shows_that_this_one_came_out_of_a_backup() {
    let (_dir, mut connection) = open();
    made(&mut connection, &[new(Kind::Site, json!({ "name": "north" })), new(Kind::Policy, policy("a", 1))]);
    let kept = mark(&connection, 1).unwrap();
    for name in ["b", "c", "d"] {
        made(&mut connection, &[new(Kind::Policy, policy(name, 1))]);
    }
    let ours = mark(&connection, 3).unwrap();
    assert!(ours != 0 && ours != kept && mark(&connection, 9).unwrap() == 0);
    assert!(!hold_back(&mut connection, "north", (1, kept), NOW).unwrap(), "both histories have that");
    assert!(!hold_back(&mut connection, "north", (3, ours), NOW).unwrap());
    assert!(!hold_back(&mut connection, "north", (3, 0), NOW).unwrap(), "of before there were marks");
    let other = ours.wrapping_add(1).max(1);
    assert!(hold_back(&mut connection, "north", (3, other), NOW).unwrap());
    assert!(
        !hold_back(&mut connection, "north", (2, other), NOW).unwrap(),
        "once: whoever held anything is told everything"
    );
    assert_eq!(accept(&mut connection, None, "ann", NOW).unwrap(), Some(5), "later than its own");
    for held in [3, 4] {
        assert_eq!(delta(&connection, "net", held).unwrap().unwrap().from, None);
    }
}

#[test]
fn a_controller_that_came_out_of_a_backup_goes_on_from_where_its_sites_are() {
    let (_dir, mut connection) = open();
    made(&mut connection, &[new(Kind::Policy, policy("a", 1))]);
    assert!(!hold_back(&mut connection, "north", (9, 1), NOW).unwrap(), "there is no such site");
    made(&mut connection, &[new(Kind::Site, json!({ "name": "north" }))]);
    let told = mark(&connection, 2).unwrap();
    assert!(!hold_back(&mut connection, "north", (2, told), NOW).unwrap(), "it has what there is");
    assert_eq!(accept(&mut connection, None, "ann", NOW).unwrap(), None, "nothing is held back");
    assert!(hold_back(&mut connection, "north", (9, 1), NOW).unwrap() && is_held_back(&connection).unwrap());
    assert!(!hold_back(&mut connection, "north", (9, 1), NOW).unwrap(), "once");
    assert_eq!(accept(&mut connection, None, "ann", NOW).unwrap(), Some(10));
    assert!(!is_held_back(&connection).unwrap());
    let ahead = Held { version: 9, ..Held::nothing("net") };
    let told = ahead.with(delta(&connection, "net", 9).unwrap().unwrap()).unwrap();
    assert_eq!((told.version, &told.documents), (10, &all(&connection).unwrap()));
    made(&mut connection, &[new(Kind::Policy, policy("b", 1))]);
    assert_eq!(delta(&connection, "net", 10).unwrap().unwrap().from, Some(10));
    // Of who cannot show it, somebody says it.
    assert_eq!(accept(&mut connection, Some(20), "ann", NOW).unwrap(), Some(21));
    assert_eq!(delta(&connection, "net", 20).unwrap().unwrap().from, None);
    for odd in [20, 22 + AHEAD, u64::MAX] {
        assert_eq!(accept(&mut connection, Some(odd), "ann", NOW).unwrap(), None, "{odd}");
    }
}

#[test]
fn a_document_is_so_long_and_no_longer_and_there_are_so_many_of_a_kind() {
    let (_dir, mut connection) = open();
    let refused = |connection: &mut Connection, edits: &[Edit]| {
        let Err(EditError::Invalid(faults)) = edit(connection, edits, "ann", NOW).unwrap() else {
            panic!("it is made")
        };
        faults[0].to_string()
    };
    let names: Vec<_> = (0..2000).map(|number| format!("host-{number}.example.com")).collect();
    let long = new(Kind::Application, json!({ "name": "long", "names": names }));
    let why = refused(&mut connection, &[long]);
    assert!(why.contains("application long") && why.contains("octets long"), "{why}");
    assert_eq!((all(&connection).unwrap().len(), revision(&connection).unwrap().0), (0, 0));
    let mut documents = Documents::default();
    for number in 0..most(Kind::Site) {
        documents.insert(Kind::Site, format!("s{number}"), json!({}));
    }
    let last = new(Kind::Site, json!({ "name": "s0" }));
    assert!(excess(&documents, &last).is_none());
    documents.insert(Kind::Site, "more", json!({}));
    let why = excess(&documents, &last).unwrap().to_string();
    assert!(why.contains("more than 16384 sites"), "{why}");
}

#[test]
fn a_site_has_so_many_uplinks_whoever_adds_them() {
    let (_dir, mut connection) = open();
    made(&mut connection, &[new(Kind::Site, json!({ "name": "north" }))]);
    let uplink = |number: u8| {
        let key = STANDARD.encode([number + 1; 32]);
        new(Kind::Uplink, json!({ "site": "north", "name": format!("u{number}"), "public_key": key }))
    };
    let uplinks: Vec<_> = (0..=64).map(uplink).collect();
    made(&mut connection, &uplinks[..64]);
    let Err(EditError::Invalid(faults)) = edit(&mut connection, &uplinks[64..], "site north", NOW).unwrap() else {
        panic!("it is made")
    };
    assert!(faults[0].to_string().contains("more than 64 uplinks"), "{}", faults[0]);
}

#[test]
fn a_network_that_could_not_be_sent_is_not_made() {
    let (_dir, mut connection) = open();
    // As if there were thousands: what counts is how long all of it is.
    let fill = "INSERT INTO applications (id, body, version, revision, created, created_by, updated, updated_by)
        WITH RECURSIVE n (i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 1000)
        SELECT 'a' || i, json_object('name', 'a' || i, 'names', json_array(hex(zeroblob(9000)))), 1, 1, 0, '', 0, ''
        FROM n";
    connection.execute(fill, []).unwrap();
    let gold = [new(Kind::Class, json!({ "name": "gold" }))];
    let Err(EditError::Invalid(faults)) = edit(&mut connection, &gold, "ann", NOW).unwrap() else {
        panic!("it is made")
    };
    assert!(faults[0].to_string().contains("sites could not be told of it"), "{}", faults[0]);
    connection.execute("DELETE FROM applications", []).unwrap();
    made(&mut connection, &gold);
}
