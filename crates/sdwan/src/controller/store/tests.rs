use std::time::{Duration, UNIX_EPOCH};

use outwork_store::database::Migrations;
use serde_json::{Value as Json, json};
use tempfile::TempDir;

use super::documents::{Edit, Expect, edit};
use super::enrolments::{Certified, TokenRefusal};
use super::retention::SPAN;
use super::*;
use crate::channel::message::{EventReport, PathReport};
use crate::channel::token::Token;
use crate::network::Kind;

/// A database with the tables, and a connection that may do everything.
pub(in crate::controller) fn open() -> (TempDir, Connection) {
    let dir = TempDir::new().unwrap();
    let options = DatabaseOptions::new(dir.path().join("sdwan.db"));
    Database::open_apart(&options, &[tables::MIGRATIONS]).unwrap();
    let connection = Connection::open(&options.path).unwrap();
    (dir, connection)
}

fn at(seconds: u64) -> SystemTime {
    UNIX_EPOCH + Duration::from_secs(1_800_000_000 + seconds)
}

fn run<T>(work: impl Future<Output = T>) -> T {
    tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap().block_on(work)
}

fn path(uplink: &str, state: &str, latency_ms: f64) -> PathReport {
    PathReport {
        uplink: uplink.to_owned(),
        site: "south".to_owned(),
        remote_uplink: "dsl".to_owned(),
        via: String::new(),
        state: state.to_owned(),
        chosen: state == "up",
        latency_ms,
        jitter_ms: 1.0,
        loss: 0.25,
        mos: 4.0,
        sent: 5,
        received: 6,
    }
}

fn report(sequence: u64, time: SystemTime, paths: Vec<PathReport>) -> Report {
    let at_ms = time.duration_since(UNIX_EPOCH).unwrap().as_millis() as u64;
    let event = EventReport {
        at_ms,
        kind: "path".to_owned(),
        about: "fibre-south/dsl".to_owned(),
        before: "up".to_owned(),
        after: "down".to_owned(),
        why: "three hellos were missed".to_owned(),
    };
    Report { sequence, at_ms, paths, events: vec![event] }
}

fn site(connection: &mut Connection, name: &str) {
    let body = Some(json!({ "name": name }));
    let edits = [Edit { kind: Kind::Site, id: name.to_owned(), body, expect: Expect::New }];
    edit(connection, &edits, "ann", at(0)).unwrap().unwrap();
}

fn count(connection: &Connection, table: &str) -> u64 {
    connection.query_row(&format!("SELECT count(*) FROM {table}"), [], |row| row.get::<_, i64>(0)).unwrap() as u64
}

#[test]
fn a_database_of_a_later_version_is_left_alone() {
    let dir = TempDir::new().unwrap();
    let options = DatabaseOptions::new(dir.path().join("sdwan.db"));
    let later = ["CREATE TABLE later (one INTEGER) STRICT"];
    let steps: Box<[&'static str]> = tables::MIGRATIONS.steps.iter().copied().chain(later).collect();
    let later = Migrations { steps: Box::leak(steps), ..tables::MIGRATIONS };
    drop(Database::open_apart(&options, &[later]).unwrap());
    let Err(error) = Store::open(&options) else { panic!("it was opened") };
    assert!(error.to_string().contains("unknown to this version"), "{error}");
}

#[test]
fn the_tables_have_the_indexes_that_their_questions_need() {
    let (_dir, connection) = open();
    let plan = |sql: &str| {
        let mut statement = connection.prepare(&format!("EXPLAIN QUERY PLAN {sql}")).unwrap();
        let lines = statement.query_map([], |row| row.get::<_, String>(3)).unwrap();
        lines.map(Result::unwrap).collect::<Vec<_>>().join("\n")
    };
    for (sql, index) in [
        ("SELECT * FROM sites WHERE status = 'gone'", "idx_sites_status"),
        ("SELECT * FROM sites WHERE last_seen < 5", "idx_sites_last_seen"),
        ("SELECT * FROM paths WHERE status = 'down'", "idx_paths_status"),
        ("SELECT * FROM sdwan_path_health WHERE path_id = 4 AND timestamp > 5", "idx_path_health_path_time"),
        ("SELECT * FROM sdwan_path_health WHERE timestamp > 5", "idx_path_health_time"),
        ("SELECT * FROM policies ORDER BY priority", "idx_policies_priority"),
        ("SELECT * FROM audit_logs WHERE username = 'a' AND timestamp > 5", "idx_audit_logs_user_time"),
        ("SELECT * FROM audit_logs WHERE event_type = 'a' AND timestamp > 5", "idx_audit_logs_event_time"),
        ("SELECT * FROM traffic_stats WHERE policy_id = 'a' AND timestamp > 5", "idx_traffic_stats_policy_time"),
    ] {
        assert!(plan(sql).contains(index), "{sql}: {}", plan(sql));
    }
    let of_pair = plan("SELECT * FROM paths WHERE source_site_id = 'a' AND dest_site_id = 'b'");
    assert!(of_pair.contains("USING INDEX"), "{of_pair}");
}

#[test]
fn a_report_is_kept_once_however_often_it_comes() {
    let (_dir, mut connection) = open();
    site(&mut connection, "north");
    let first = report(7, at(10), vec![path("fibre", "up", 10.0), path("lte", "down", 0.0)]);
    for _ in 0..2 {
        health::keep(&mut connection, [("north", &first)].into_iter(), at(11)).unwrap();
    }
    assert_eq!((count(&connection, "sdwan_path_health"), count(&connection, "events")), (2, 1));
    assert_eq!((count(&connection, "paths"), count(&connection, "traffic_stats")), (2, 2));
    let paths = health::paths(&connection, &health::PathFilter::default(), 0, 10).unwrap();
    let told: Vec<_> = paths.iter().map(|path| (path.report.uplink.as_str(), path.report.state.as_str())).collect();
    assert_eq!(told, [("fibre", "up"), ("lte", "down")]);
    assert_eq!(health::presence(&connection, "north").unwrap().last_seen, Some(at(10)));
    // The lte modem is gone.
    let second = report(8, at(20), vec![path("fibre", "up", 12.0)]);
    health::keep(&mut connection, [("north", &second)].into_iter(), at(21)).unwrap();
    let gone = health::PathFilter { status: Some("gone".to_owned()), site: Some("south".to_owned()) };
    let gone = health::paths(&connection, &gone, 0, 10).unwrap();
    assert_eq!(gone.iter().map(|path| path.report.uplink.as_str()).collect::<Vec<_>>(), ["lte"]);
    let events = health::events(&connection, Some("north"), None, 10).unwrap();
    assert_eq!((events.len(), events[0].event.at_ms), (2, second.at_ms));
    assert!(health::events(&connection, Some("south"), None, 10).unwrap().is_empty());
}

#[test]
fn reports_are_rolled_up_in_slices_and_what_is_old_goes_once_that_is_done() {
    let (_dir, mut connection) = open();
    site(&mut connection, "north");
    let spans = 5;
    for number in 0..spans * 10 {
        // Every tenth says that it is down.
        let state = if number % 10 == 9 { "down" } else { "up" };
        let time = at(number * 30);
        let one = report(number, time, vec![path("fibre", state, number as f64 % 10.0)]);
        health::keep(&mut connection, [("north", &one)].into_iter(), time).unwrap();
    }
    let later = at(spans * 300 + 120);
    // Nothing goes that was not rolled up.
    assert_eq!(Aged::Reports.prune(&connection, later, 5).unwrap().done, 5, "traffic alone");
    assert_eq!(count(&connection, "sdwan_path_health"), 50);
    let first = retention::roll_up(&mut connection, later, 2).unwrap();
    assert_eq!((first.done, first.more), (2, true));
    let rest = retention::roll_up(&mut connection, later, 10).unwrap();
    assert_eq!((rest.done, rest.more), (3, false));
    let told = health::spans(&connection, 1, at(0), later).unwrap();
    assert_eq!((told.len(), told[0].at, told[1].at), (5, at(0), at(0) + SPAN));
    let one = told[2];
    assert_eq!((one.count, one.up, one.latency_ms, one.latency_max_ms), (10, 0.9, 4.5, 9.0));
    let mut slices = 0;
    while Aged::Reports.prune(&connection, at(900), 7).unwrap().more {
        slices += 1;
    }
    assert!(slices >= 4, "{slices}");
    assert_eq!(health::history(&connection, 1, at(0), later).unwrap().len(), 20);
    assert_eq!(Aged::Spans.prune(&connection, at(600), 100).unwrap().done, 2);
    assert_eq!(Aged::Log.prune(&connection, at(300), 100).unwrap().done, 10 + 1, "events, and that the site came");
}

#[test]
fn reports_that_come_together_are_written_together_and_each_site_is_told() {
    let dir = TempDir::new().unwrap();
    let store = Store::open(&DatabaseOptions::new(dir.path().join("sdwan.db"))).unwrap();
    run(async {
        let sites: Vec<_> = (0..50).map(|number| format!("site{number}")).collect();
        // The writer is held until all wait.
        let (release, held) = std::sync::mpsc::channel::<()>();
        let hold = store.write(Query::Maintenance, move |_| {
            // An error says that the test is over.
            let _ = held.recv();
            Ok(())
        });
        let all = async {
            let mut ends = vec![];
            for name in &sites {
                ends.push(Box::pin(store.report(name.clone(), report(1, at(1), vec![path("a", "up", 1.0)]))));
            }
            let mut first = true;
            // Each is begun before the writer goes on.
            std::future::poll_fn(|context| {
                ends.retain_mut(|end| end.as_mut().poll(context).is_pending());
                if std::mem::take(&mut first) {
                    assert_eq!(ends.len(), 50);
                    release.send(()).unwrap();
                }
                if ends.is_empty() { std::task::Poll::Ready(()) } else { std::task::Poll::Pending }
            })
            .await;
        };
        let (held, ()) = tokio::join!(hold, all);
        held.unwrap();
        let kept = store.read(Query::History, |c| Ok(count(c, "reported"))).await.unwrap();
        assert_eq!((kept, store.metrics().report_batch.snapshot().max()), (50, 50));
    });
}

fn certified(serial: &str, site: &str) -> Certified {
    let (issued, expires) = (at(0), at(1_000_000));
    Certified { serial: serial.to_owned(), site: site.to_owned(), issued, expires, revoked: None }
}

fn uplinks() -> Vec<Json> {
    vec![json!({ "name": "fibre", "public_key": "xTIBA5rboUvnH4htodjb6e697QjLERt1NAB4mZqp8Dg=", "cost": 3 })]
}

#[test]
fn a_token_lets_its_site_in_once_and_in_time() {
    let (_dir, mut connection) = open();
    let token = Token::random([0; 32]).unwrap();
    let life = Duration::from_secs(60);
    enrolments::add(&connection, &token, "north", life, "ann", at(0)).unwrap();
    let stored: Vec<u8> = connection.query_row("SELECT hash FROM enrolments", [], |row| row.get(0)).unwrap();
    assert_ne!(stored, token.secret, "the secret itself is nowhere");
    let of = |connection: &Connection, secret: &[u8], seconds| {
        enrolments::site_of(connection, &token.key, secret, at(seconds)).unwrap()
    };
    assert_eq!(of(&connection, &[0; 32], 1), Err(TokenRefusal::Unknown));
    assert_eq!(of(&connection, &token.secret, 60), Err(TokenRefusal::Expired));
    assert_eq!(of(&connection, &token.secret, 59), Ok("north".to_owned()));
    let edits = enrolments::brought(&connection, "north", &["10.1.0.0/16".to_owned()], &uplinks()).unwrap();
    let shown = (&token.key[..], &token.secret[..]);
    enrolments::enrol(&mut connection, shown, &edits, &certified("01", "north"), at(2)).unwrap().unwrap();
    let documents = documents::all(&connection).unwrap();
    assert_eq!(documents.get(Kind::Uplink, "north/fibre").unwrap()["cost"], 3);
    assert_eq!(of(&connection, &token.secret, 3), Err(TokenRefusal::Used));
    let again = enrolments::enrol(&mut connection, shown, &[], &certified("02", "north"), at(4)).unwrap();
    assert_eq!(again, Err(TokenRefusal::Used));
    assert!(enrolments::is_good(&connection, "01", "north").unwrap());
    assert!(!enrolments::is_good(&connection, "02", "north").unwrap());
    assert!(!enrolments::is_good(&connection, "01", "south").unwrap());
}

#[test]
fn what_a_site_says_of_its_uplinks_later_changes_who_they_are_and_not_what_they_are_worth() {
    let (_dir, mut connection) = open();
    let edits = enrolments::brought(&connection, "north", &[], &uplinks()).unwrap();
    edit(&mut connection, &edits, "site north", at(0)).unwrap().unwrap();
    assert!(enrolments::brought(&connection, "north", &[], &uplinks()).unwrap().is_empty());
    let mut told = uplinks();
    told[0]["endpoint"] = json!("192.0.2.1:51820");
    told[0]["cost"] = json!(99);
    let edits = enrolments::brought(&connection, "north", &[], &told).unwrap();
    edit(&mut connection, &edits, "site north", at(1)).unwrap().unwrap();
    let there = documents::get(&connection, Kind::Uplink, "north/fibre").unwrap().unwrap();
    assert_eq!((&there.body["endpoint"], &there.body["cost"]), (&json!("192.0.2.1:51820"), &json!(3)));
}

#[test]
fn a_site_that_is_revoked_or_removed_is_believed_no_longer() {
    let (_dir, mut connection) = open();
    for name in ["north", "south"] {
        site(&mut connection, name);
        enrolments::certify(&connection, &certified(name, name)).unwrap();
    }
    let token = Token::random([0; 32]).unwrap();
    enrolments::add(&connection, &token, "north", Duration::from_secs(60), "ann", at(0)).unwrap();
    assert_eq!(enrolments::revoke(&mut connection, "north", "ann", at(1)).unwrap(), 1);
    assert!(!enrolments::is_good(&connection, "north", "north").unwrap());
    assert!(enrolments::list(&connection, None, 10).unwrap().is_empty());
    assert!(enrolments::is_good(&connection, "south", "south").unwrap());
    let gone = [Edit { kind: Kind::Site, id: "south".to_owned(), body: None, expect: Expect::Any }];
    edit(&mut connection, &gone, "ann", at(2)).unwrap().unwrap();
    assert!(!enrolments::is_good(&connection, "south", "south").unwrap());
}

#[test]
fn a_path_by_a_hub_is_another_one_than_that_which_goes_straight() {
    let (_dir, mut connection) = open();
    site(&mut connection, "north");
    let by_hub = PathReport { via: "hub".to_owned(), ..path("fibre", "up", 30.0) };
    let both = report(1, at(10), vec![path("fibre", "down", 10.0), by_hub]);
    health::keep(&mut connection, [("north", &both)].into_iter(), at(11)).unwrap();
    let paths = health::paths(&connection, &health::PathFilter::default(), 0, 10).unwrap();
    let told: Vec<_> = paths.iter().map(|path| (path.report.via.as_str(), path.report.state.as_str())).collect();
    assert_eq!(told, [("", "down"), ("hub", "up")]);
}
